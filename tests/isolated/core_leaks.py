"""Run in a process of its own, ``core_leaks.py NAME``: does one of `use_table` over and over, and says what
of it stayed.

Counted, once everything has its final size: the interpreter's small objects, the bytes that malloc has given
out, the bytes of address space, open files, and the references to what no round owns.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import block_uses  # noqa: F401 - it fills the table
import byte_uses  # noqa: F401
from use_table import USES

SANITIZED = "LARGEFILE_SANITIZED" in os.environ  # which keeps what is given back: only used, not counted
ROUNDS = 200 if SANITIZED else 20_000 * int(os.environ.get("LARGEFILE_DEEP", "1"))
#: What may be more after so many rounds: less than one thing, or a word of memory, for each.
SLACK = {
    "objects": ROUNDS // 10,
    "references": ROUNDS // 10,
    "heap": 4 * ROUNDS,
    "space": 4 << 20,
    "files": 0,
}


class MallInfo2(ctypes.Structure):
    _fields_ = [
        *((f"_{number}", ctypes.c_size_t) for number in range(4)),
        ("hblkhd", ctypes.c_size_t),  # bytes in maps of their own
        *((f"_{number}", ctypes.c_size_t) for number in range(5, 7)),
        ("uordblks", ctypes.c_size_t),  # bytes given out otherwise
        *((f"_{number}", ctypes.c_size_t) for number in range(8, 10)),
    ]


def heap_reader() -> Callable[[], int]:
    """What says how many bytes malloc has given out; 0 where it is not GNU's."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return lambda: 0
    mallinfo2.restype = MallInfo2

    def read() -> int:
        found = mallinfo2()
        return int(found.uordblks + found.hblkhd)

    return read


HEAP = heap_reader()


def space() -> int:
    """Bytes of this process's address space; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
    except FileNotFoundError:
        return 0


def state(shared: list[object]) -> dict[str, int]:
    gc.collect()
    return {
        "objects": sys.getallocatedblocks(),
        "references": sum(sys.getrefcount(each) for each in shared),
        "heap": HEAP(),
        "space": space(),
        "files": len(list(Path("/dev/fd").iterdir())),
    }


def main(name: str) -> int:
    logging.getLogger("largefile").disabled = True  # what a callback raises is logged
    use = USES[name]
    # What is there anyway: None and its like (which have no count from Python 3.12 on), classes, functions.
    shared = [None, True, False, NotImplemented, (), "", b"", 0, 1, *use.__globals__.values()]
    for _ in range(ROUNDS // 5):
        use()
    state(shared)  # what counting itself needs
    before = state(shared)
    for _ in range(ROUNDS):
        use()
    grown = {what: count - before[what] for what, count in state(shared).items()}
    print(f"{name}, {ROUNDS} rounds: {grown}, {threading.active_count()} threads")
    leaks = not SANITIZED and any(grown[what] > SLACK[what] for what in SLACK)
    return int(leaks or threading.active_count() > 1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
