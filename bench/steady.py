"""Run a command while a virtual machine keeps its memory.

    python bench/steady.py 11G python bench/transfers.py --tables large-disk

A guest that gives free memory back to its host (free page reporting) pays for each page again when it is
used: the same 1 GiB by curl took the kernel here 1.3 to 5 s. What it gives back are large free pieces, of 2
MiB and more. So this touches SIZE bytes once and lets go of all of them but a page in each MiB: they are free
for whoever wants them, in pieces that are too small to be given back. Choose it as large as what the command
writes, and a few GiB; what is left has to hold the files that are read.
"""

from __future__ import annotations

import argparse
import mmap
import os
import subprocess
import sys

from measure import STEADY
from web import parse_size

PIECE = 1 << 20
STRIDE = 64 * PIECE


def hold(size: int) -> mmap.mmap:
    """Memory of which one page in each MiB is in use, and all was."""
    held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        held.madvise(mmap.MADV_NOHUGEPAGE)
    page = mmap.PAGESIZE
    for start in range(0, size, STRIDE):
        stop = min(start + STRIDE, size)
        held[start:stop:page] = bytes(len(range(start, stop, page)))
    for start in range(0, size, PIECE):
        held.madvise(mmap.MADV_DONTNEED, start + page, PIECE - page)
    return held


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", type=parse_size, help="bytes, or 8G; whole MiB")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    if not asked.command or asked.size < PIECE:
        parser.error("a size of at least 1M and a command are needed")
    size = asked.size - asked.size % PIECE
    held = hold(size)
    print(f"{size / 2**30:.1f} GiB are held", file=sys.stderr, flush=True)
    done = subprocess.run(asked.command, env={**os.environ, STEADY: str(size)}, check=False)
    held.close()
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
