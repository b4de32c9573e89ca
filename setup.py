"""The compiled modules, and nothing else: everything about the package is in pyproject.toml."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("LARGEFILE_DEBUG") == "1"  # bounds checks and assertions
TRACE = os.environ.get("LARGEFILE_TRACE") == "1"  # line coverage of .pyx (Python 3.11 only)
SANITIZE = os.environ.get("LARGEFILE_SANITIZE") == "1"  # gcc's ASan and UBSan; see tests/sanitized.py

# Each variant has a folder of its own for what is generated: otherwise a release would be made of C that
# was generated with another variant's directives, since that looks up to date.
VARIANT = "sanitize" if SANITIZE else "debug" if DEBUG else "trace" if TRACE else "release"
BUILD = f"build/{VARIANT}"

directives = {
    "language_level": 3,
    "embedsignature": True,
    "freethreading_compatible": True,
    "binding": True,
    "autotestdict": False,
    "boundscheck": DEBUG,
    "wraparound": False,
    "cdivision": not DEBUG,
    "initializedcheck": DEBUG,
    "linetrace": TRACE,
}
macros = [("CYTHON_TRACE", "1")] if TRACE else []
flags = ["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O2", "-DCYTHON_WITHOUT_ASSERTIONS=1"]
# The directives of a release, so that what is looked at is what is shipped.
sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"] if SANITIZE else []
if SANITIZE:
    flags += ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-wrapv", *sanitizers]  # -fwrapv hides overflow

extensions = [
    Extension(
        ".".join(path.with_suffix("").parts),
        [str(path)],
        define_macros=macros,
        extra_compile_args=flags,
        extra_link_args=sanitizers,
    )
    for path in sorted(Path("largefile").rglob("*.pyx"))
]

setup(
    ext_modules=cythonize(extensions, compiler_directives=directives, build_dir=f"{BUILD}/cython"),
    options={"build": {"build_base": BUILD}},
)
