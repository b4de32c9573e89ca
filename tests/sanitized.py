"""Run pytest over compiled modules that were built with gcc's sanitizers: ``tox -e sanitize``.

    python tests/sanitized.py [WORDS FOR PYTEST ...]

Any byte that they touch outside of what was allocated, and any undefined behaviour, ends the process with
a report. First it is made sure that it would: `FAULTS` do such things, and must be caught.
"""

from __future__ import annotations

import importlib.machinery
import os
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

#: What must be caught, each in a process of its own, and a word of the report.
FAULTS = {
    # The runtime is there, and Python's own memory is in its hands.
    "import ctypes; memory = bytearray(64); to = (ctypes.c_char * 64).from_buffer(memory); "
    "ctypes.memset(ctypes.addressof(to), 0, 80)": "heap-buffer-overflow",
    # Our compiled code looks before it stores: a buffer that says it has more than it has.
    "import ctypes; from largefile.core.bitmap import Bitmap; memory = bytearray(64); "
    "to = (ctypes.c_char * 64).from_buffer(memory); "
    "Bitmap(640, (ctypes.c_char * 80).from_address(ctypes.addressof(to))).set(600)": "heap-buffer-overflow",
    "import ctypes; from largefile.core.bitmap import Bitmap; memory = ctypes.create_string_buffer(4096); "
    "bits = Bitmap(640, (ctypes.c_char * 80).from_address(ctypes.addressof(memory))); del memory; "
    "bits.count()": "heap-use-after-free",
}
#: Symbols that instrumented code refers to. UBSan's is looked for only: ours can not be had to overflow.
MARKS = (b"__asan_init", b"__ubsan_handle_add_overflow_abort")


def library(name: str) -> str:
    """The compiler's own `name`, which must be in a process before all else."""
    command = ["gcc", f"-print-file-name={name}"]
    found = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    if not found.is_absolute():
        raise SystemExit(f"gcc has no {name}")
    return str(found.resolve())


def environment(reports: str) -> dict[str, str]:
    """What a process needs; its reports go to files in the folder `reports`, past pytest's capture."""
    log = f"halt_on_error=1:log_path={reports}/report"
    return os.environ | {
        # Python itself is not built for it.
        "LD_PRELOAD": " ".join(map(library, ("libasan.so", "libubsan.so"))),
        "PYTHONMALLOC": "malloc",  # not its own pools, in which no overflow shows
        # No leaks, as an interpreter that ends leaves much behind: tests/isolated looks for them. And where
        # there is no memory malloc says so, as always.
        "ASAN_OPTIONS": f"{log}:detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": f"{log}:print_stacktrace=1",
        "LARGEFILE_SANITIZED": "1",
    }


def uninstrumented() -> list[str]:
    """The compiled modules that were built without."""
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    with resources.as_file(resources.files("largefile")) as package:
        modules = [path for path in Path(package).rglob("*") if path.name.endswith(suffixes)]
    if not modules:
        raise SystemExit("no compiled modules found")
    return [path.name for path in modules if not all(mark in path.read_bytes() for mark in MARKS)]


def main(words: list[str]) -> int:
    if plain := uninstrumented():
        raise SystemExit(f"built without sanitizers: {', '.join(plain)}")
    with tempfile.TemporaryDirectory(prefix="largefile-sanitized-") as folder:
        for fault, word in FAULTS.items():
            check_caught(fault, word, folder)
        print(f"{len(FAULTS)} deliberate faults were caught", flush=True)
        status = subprocess.run(
            [sys.executable, "-m", "pytest", *words], env=environment(folder), check=False
        ).returncode
        reports = take_reports(folder)
    # There are warnings too, of memory that was asked for and that no machine has.
    if found := any(word in reports for word in ("ERROR:", "runtime error:")):
        print(reports, end="")
    return status or found


def check_caught(fault: str, word: str, folder: str) -> None:
    command = [sys.executable, "-c", fault]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(folder), check=False)
    report = take_reports(folder)
    if done.returncode == 0 or word not in report:
        raise SystemExit(f"not caught, it ended with {done.returncode}: {fault}\n{done.stderr}{report}")


def take_reports(folder: str) -> str:
    text = ""
    for path in sorted(Path(folder).iterdir()):
        text += path.read_text(errors="replace")
        path.unlink()
    return text


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
