"""Fuzz parsers with atheris, each in turn: ``python tests/fuzz/run.py [NAME ...] [-- LIBFUZZER OPTIONS]``.

LARGEFILE_FUZZ says how many executions each gets, 1,000,000 by default. A finding ends it with libFuzzer's
report and the input that did it; make that a test, and a seed.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # which PYTHONSAFEPATH leaves out

EXECUTIONS = 1_000_000
LONGEST = 2048  # bytes of an input


def main(words: list[str]) -> int:
    names, _, options = (" ".join(words)).partition("--")
    from harnesses import HARNESSES

    unknown = set(names.split()) - set(HARNESSES)
    if unknown:
        print(f"no harness {', '.join(sorted(unknown))}; there are {', '.join(HARNESSES)}", file=sys.stderr)
        return 2
    chosen = names.split() or list(HARNESSES)
    # libFuzzer ends its process, so each has one of its own.
    ended = {
        name: subprocess.run([sys.executable, __file__, "--one", name, *options.split()]) for name in chosen
    }
    found = [name for name, process in ended.items() if process.returncode]
    print(f"{len(chosen)} harnesses, findings: {', '.join(found) or 'none'}")
    return 1 if found else 0


def fuzz(name: str, options: list[str]) -> None:
    import atheris

    atheris.enabled_hooks.add("str")  # comparisons there guide it too
    with atheris.instrument_imports(include=["largefile", "email"]):
        importlib.import_module("email.utils")  # which is imported late
        from harnesses import HARNESSES
    harness = HARNESSES[name]
    runs = os.environ.get("LARGEFILE_FUZZ", str(EXECUTIONS))
    with tempfile.TemporaryDirectory(prefix="largefile-fuzz-") as folder:
        for number, seed in enumerate(harness.seeds):
            (Path(folder) / f"seed-{number}").write_bytes(seed)
        words = Path(folder).with_suffix(".dict")
        words.write_text("\n".join(quoted(word) for word in harness.words))
        usual = [
            f"-runs={runs}",
            f"-max_len={LONGEST}",
            f"-dict={words}",
            "-timeout=10",
            "-print_final_stats=1",
        ]
        print(f"--- {name}", file=sys.stderr, flush=True)
        atheris.Setup([name, folder, *usual, *options], harness.fuzz_one)
        atheris.Fuzz()


def quoted(word: bytes) -> str:
    return '"' + "".join(chr(b) if 32 < b < 127 and b not in b'"\\' else f"\\x{b:02x}" for b in word) + '"'


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        fuzz(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main(sys.argv[1:]))
