"""Writers of one file beside writers of two: what the kernel makes of several engines over one cache.

    python bench/writers.py [--size 1G] [--rounds 9] [--folder DIR] [--json FILE]

A write has its file for itself while the kernel copies (the inode's lock), so what several threads or
processes write to one file they write in turn, however many processors there are. Each contender writes SIZE
bytes in all, in pieces as our lanes do, each thread out of a buffer of its own and to a part of its own:
one thread, two to the same file, and two to a file each. Every file is compared with what was written.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xxhash
from measure import facts, filesystem, load
from report_writers import writers_section
from transfers import SHM, check_space
from web import parse_size, quick_digest

from largefile.disk.filelanes import PIECE

BUFFERS = [os.urandom(PIECE), os.urandom(PIECE)]


def write(path: Path, buffer: bytes, start: int, stop: int) -> None:
    """Fill this part of a file."""
    fd = os.open(path, os.O_WRONLY)
    try:
        for at in range(start, stop, PIECE):
            os.pwrite(fd, buffer, at)
    finally:
        os.close(fd)


class Writers:
    """Who takes turns in one folder; each answers its wall and CPU seconds."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._half = size // 2 // PIECE * PIECE
        self.contenders: dict[str, Callable[[], dict[str, float]]] = {
            "one writer": lambda: self._measured([[("one", 0), ("one", 1)]]),
            "two, one file": lambda: self._measured([[("one", 0)], [("one", 1)]]),
            "two, two files": lambda: self._measured([[("one", 0)], [("two", 0)]]),
        }

    def _measured(self, plan: list[list[tuple[str, int]]]) -> dict[str, float]:
        """Each thread's parts are files and halves."""
        parts: dict[str, set[int]] = {}
        for name, half in (part for mine in plan for part in mine):
            parts.setdefault(name, set()).add(half)
        for name, halves in parts.items():
            (self._folder / name).touch()
            os.truncate(self._folder / name, self._half * len(halves))

        def work(mine: list[tuple[str, int]]) -> None:
            for name, half in mine:
                start = half * self._half
                write(self._folder / name, BUFFERS[half], start, start + self._half)

        threads = [threading.Thread(target=work, args=[mine]) for mine in plan[1:]]
        began, cpu = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        work(plan[0])
        for thread in threads:
            thread.join()
        found = {"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu}
        for name, halves in parts.items():
            self._check(self._folder / name, sorted(halves))
        return found

    def _check(self, path: Path, halves: list[int]) -> None:
        expected = xxhash.xxh3_128()
        for half in halves:
            for _ in range(self._half // PIECE):
                expected.update(BUFFERS[half])
        if quick_digest(path) != expected.hexdigest():
            raise SystemExit(f"{path.name} has other bytes than were written")
        path.unlink()
        os.sync()


def play(folder: Path, size: int, rounds: int) -> dict[str, Any]:
    before, runs = load(), []
    contenders = Writers(folder, size).contenders
    names = list(contenders)
    for number in range(rounds + 1):  # the first warms up
        start = number % len(names)
        for name in [*names[start:], *names[:start]]:
            found = contenders[name]()
            if number:
                runs.append({"contender": name, "round": number, **found})
    runs.sort(key=lambda run: names.index(run["contender"]))
    return {"filesystem": filesystem(folder), "load": before, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=parse_size, default=1 << 30)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to use")
    parser.add_argument("--json", type=Path, help="write the data for report.py here")
    asked = parser.parse_args()
    data: dict[str, Any] = {"kind": "writers", "facts": facts(), "size": asked.size, "places": []}
    for where in (asked.folder, SHM):
        check_space(where, 2 * asked.size)
        with tempfile.TemporaryDirectory(dir=where, prefix="largefile-bench-") as folder:
            data["places"].append(play(Path(folder), asked.size, asked.rounds))
    print("\n".join(writers_section(data)))
    if asked.json is not None:
        asked.json.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
