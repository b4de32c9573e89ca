"""Run in a process of its own: what the core allocates, it gives back, also where it raises."""

from __future__ import annotations

import gc
import resource
import sys
import threading
import weakref
from contextlib import suppress

from largefile.core.bitmap import Bitmap
from largefile.core.byteranges import ByteRanges, ByteRangesTracker
from largefile.core.ranges import ByteRange, ranges
from largefile.core.reorder import Block, ReorderBuffer

BITS = 1 << 20  # 128 KiB a bitmap, so that a lost one shows
PLACE = 1 << 18  # bytes; four of them a ring, so that a lost one shows
ROUNDS = 300


class Owner:
    """Holds ByteRanges that call it back: a cycle through compiled code."""

    def __init__(self) -> None:
        self.blocks = ByteRanges(BITS, 1)
        self.blocks.on_extend(self.told)

    def told(self, tail: ByteRange) -> None:
        self.tail = tail


def one_round() -> None:
    memory = bytearray(BITS // 8)
    bitmap = Bitmap(BITS, memory)
    bitmap.set_run(5, BITS - 5)
    list(bitmap.copy().runs_clear())
    for broken in (lambda: Bitmap(BITS + 1, memory), lambda: Bitmap(8, memoryview(memory)[1:])):
        with suppress(ValueError):
            broken()
    del bitmap
    memory.clear()  # BufferError if a view was left behind
    for cls in (ByteRanges, ByteRangesTracker):
        blocks = cls(BITS, 1)
        blocks.set(7)
        next(blocks.runs_clear())
        text = cls(640, 10).to_json()
        cls.from_json(text)
        for wrong in (text[:-5], text.replace('"0"]', '"zz"]'), text.replace('"0"]', '"0","0"]')):
            with suppress(ValueError):
                cls.from_json(wrong)
    owner = Owner()
    owner.blocks.notify()
    owner.blocks.set(0)
    owner.blocks.wait_tail(timeout=0)
    sum(block.size for block in ranges(0, 999, 7))
    one_ring()


def one_ring() -> None:
    """Every way in which a block's place, or the whole ring, is given back or refused."""
    ring = ReorderBuffer(4, PLACE)
    with memoryview(ring) as memory:
        memory[::4096] = bytes(memory.nbytes // 4096)
    for number in (2, 1, 0):
        ring.place(number)
        ring.offer(number, PLACE)
    for wrong in (lambda: ring.place(9), lambda: ring.offer(3, PLACE), lambda: ReorderBuffer(0, PLACE)):
        with suppress(ValueError):
            wrong()
    for unlike in (lambda: ReorderBuffer(1 << 60, 8), lambda: ReorderBuffer(1 << 20, 1 << 40), Block):
        with suppress(MemoryError, TypeError):
            unlike()
    dropped, released, _kept = ring.take(), ring.take(), ring.take()
    assert dropped is not None
    assert released is not None
    memoryview(dropped).release()
    view = memoryview(released)[1:]
    released.release()
    with suppress(ValueError):
        memoryview(released)
    assert ring.take() is None
    ReorderBuffer(1 << 15, 1)  # 24 bytes of notes a place
    assert (ring.held, len(view)) == (3, PLACE - 1)


def main() -> int:
    alive = weakref.WeakSet[Owner]()
    alive.add(Owner())
    for _ in range(50):
        one_round()
    gc.collect()
    blocks_before = sys.getallocatedblocks()
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(ROUNDS):
        one_round()
    gc.collect()
    grown = sys.getallocatedblocks() - blocks_before
    # ru_maxrss is in KiB on Linux and in bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before) * unit
    print(f"{grown} blocks, {peak} bytes, {len(alive)} owners, {threading.active_count()} threads")
    # One object lost a round would be ROUNDS; the interpreter's own caches move by a few dozen.
    return 0 if grown < ROUNDS and peak < 20 << 20 and not alive else 1


if __name__ == "__main__":
    raise SystemExit(main())
