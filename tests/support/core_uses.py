"""Each compiled class and each compiled function, used once in every way, and dropped.

A use holds nothing afterwards; `reused` is what all rounds share. What raises is a part of it: an error's
path has as much to give back as any other.
"""

from __future__ import annotations

import copy
import errno
import functools
import mmap
import operator
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from largefile.core import bitmap, byteranges, ranges, sink
from largefile.core.bitmap import Bitmap
from largefile.core.byteranges import ByteRanges, ByteRangesTracker
from largefile.core.entries import EntryTable, seal_of
from largefile.core.ranges import ByteRange
from largefile.core.reorder import Block, ReorderBuffer
from largefile.core.sink import BlockSink
from largefile.disk import sysfile

#: By full name. A compiled class or function that is not here fails the test.
USES: dict[str, Callable[[], object]] = {}
HUGE = 1 << 70
FILE_ID = bytes(range(16))
Use = Callable[[], object]


def use_of(*subjects: Any) -> Callable[[Use], Use]:
    def register(use: Use) -> Use:
        for subject in subjects:
            USES[f"{subject.__module__}.{subject.__qualname__}"] = use
        return use

    return register


def refused(function: Callable[..., object], *words: Any) -> None:
    """Such words are an error. Not pytest's `raises`: it would take most of the time."""
    try:
        function(*words)
    except (ValueError, TypeError, IndexError, OverflowError, BufferError, MemoryError, OSError):
        return
    raise AssertionError(f"{function} took {words}")


def resized(memory: bytearray) -> None:
    """A BufferError if anybody still has a view of it."""
    memory.append(1)


class Odd:
    """Not a number, and says so."""

    def __index__(self) -> int:
        raise ValueError("no number")


@use_of(Bitmap, bitmap._Runs)
def bits() -> None:
    memory = bytearray(64)
    for one in (Bitmap(500), Bitmap(500, memory), Bitmap(0)):
        repr(one), len(one)
        refused(one.set, HUGE)
        refused(one.clear, -1)
        refused(operator.getitem, one, 500)
        refused(operator.getitem, one, Odd())
        refused(one.set_run, 3, HUGE)
        refused(one.clear_run, 9, 3)
        refused(one.find_set, -1)
        refused(one.count, -HUGE)
        refused(one.find_clear, Odd())
        refused(one.runs_set, -1)
        one.set_run(0, len(one) // 2)
        one.clear_run(0, len(one) // 4)
        if len(one):
            one.set(499), one.clear(0), one[499]
        one.find_set(), one.find_clear(3, 7), one.count(0, HUGE)
        assert list(one.copy().runs_clear()) == list(one.runs_clear())
        next(one.runs_set(1), None)  # an iterator that is not walked to its end
        words = one.words()
        refused(memoryview(words).cast("B").__setitem__, 0, 1)
        one = words  # the view is what is left of the bitmap
    del one, words
    refused(Bitmap, 513, memory)
    refused(Bitmap, 8, memoryview(memory)[1:])
    refused(Bitmap, -1)
    refused(Bitmap, 8, bytes(8))
    refused(Bitmap, 8, 5)
    refused(Bitmap, HUGE)
    refused(Bitmap, 1 << 62)
    refused(bitmap._Runs)
    # A cycle: a buffer that refers to the bitmap over it.
    holder = Holder(64)
    holder.held = Bitmap(500, holder)
    del holder
    resized(memory)


class Holder(bytearray):
    held: object = None


@use_of(ByteRange, ranges._Ranges)
def byte_ranges() -> None:
    one, other = ByteRange(1, 9), ByteRange(1, 10)
    one.first, one.last, one.size, one.stop, one.slice
    assert one < other > one <= other >= one != other
    assert one != (1, 9)
    refused(operator.lt, one, 5)
    assert {one: 1}[pickle.loads(pickle.dumps(one))] == 1
    assert copy.copy(one) == one == ByteRange(*one)
    str(one), repr(one), hash(one)
    refused(ByteRange, 5, 4)
    refused(ByteRange, 0, HUGE)
    refused(ByteRange, Odd(), 1)
    refused(ByteRange, 0, "x")
    refused(ByteRange, 0)
    next(ranges.ranges(0, 99, 10))
    assert sum(block.size for block in ranges.ranges(0, 99, 7)) == 100


@use_of(ranges.num_blocks, ranges.range_for_index, ranges.ranges)
def range_functions() -> None:
    ranges.num_blocks(1 << 40, 1000), ranges.range_for_index(7, 1 << 40, 1000), ranges.ranges(5, 4, 1)
    refused(ranges.num_blocks, -1, 1)
    refused(ranges.num_blocks, 1, HUGE)
    refused(ranges.range_for_index, HUGE, 10, 1)
    refused(ranges.range_for_index, 10, 10, 1)
    refused(ranges.ranges, 0, HUGE, 1)
    refused(ranges.ranges, 0, 9, 0)
    refused(ranges.ranges, Odd(), 9, 1)
    refused(ranges.num_blocks, None, 1)


@use_of(byteranges._Blocks, ByteRangesTracker, byteranges._Walk)
def trackers() -> None:
    for made in (ByteRangesTracker(1010, 10), ByteRanges(1010, 10)):
        made.set(15), made.set(1009), made.set(HUGE), made.clear(15), made.clear(-1), made.set(500)
        made.bitmap, made.content_length, made.block_size, made.num_blocks, made.count, repr(made)
        made.block(1009), made.is_set(3), made.is_clear(HUGE), made.next_set(0), made.next_clear(HUGE)
        list(made.all_set()), list(made.all_clear(50)), list(made.runs_set()), next(made.runs_clear())
        again = type(made).from_json(made.to_json())
        assert again.count == made.count
        refused(made.set, Odd())
        refused(made.block, "x")
        refused(made.all_set, Odd())
        text = made.to_json()
        for wrong in (text[:-3], text.replace('["', '["zz'), text.replace("1010", "-1"), 5, b"\xff"):
            refused(type(made).from_json, wrong)
    base = byteranges._Blocks
    base.from_json(base(10, 1).to_json()).all_clear()
    refused(byteranges._Walk)
    refused(base, -1, 1)
    refused(base, 5, 0)
    refused(base, 1 << 62, 1)
    refused(base, 5)


@use_of(ByteRanges, byteranges._Seeker)
def growing() -> None:
    owner = Owner()
    blocks = owner.blocks
    blocks.on_extend(owner.fails)
    future, shared = blocks.notify(), blocks.notify()
    assert future is shared
    refused(blocks.on_extend, 5)
    assert blocks.wait_tail(timeout=0) is None
    assert blocks.set_block(0)
    assert future.result(0) == blocks.tail() == owner.told_of
    assert blocks.wait_set(5)
    assert not blocks.wait_set(15, timeout=0)
    assert not blocks.wait_set(15, wakes=blocks.wakes - 1)
    blocks.wake()
    refused(blocks.wait_set, HUGE)
    refused(blocks.set_block, HUGE)
    refused(blocks.wait_set, Odd())
    refused(blocks.wait_set, 15, "x")
    spoiled = blocks.notify()
    spoiled.set_result(None)  # somebody else's future has a result already
    blocks.set(15), blocks.clear(15), blocks.is_set(15), blocks.head_block
    full = Bitmap(101)
    full.set_run(0, 101)
    refused(blocks.set_blocks_from, Bitmap(100))
    refused(blocks.set_blocks_from, None)
    blocks.set_blocks_from(full)
    assert blocks.complete
    assert blocks.notify().done()
    assert blocks.wait_tail(9) is not None
    ByteRanges(0, 1).notify().result(0)
    ByteRanges(0, 1).wait_tail()


class Owner:
    """Holds ByteRanges that call it back: a cycle through compiled code."""

    def __init__(self) -> None:
        self.blocks = ByteRanges(1010, 10)
        self.blocks.on_extend(self.told)

    def told(self, tail: ByteRange) -> None:
        self.told_of = tail

    def fails(self, tail: ByteRange) -> None:
        raise ValueError(tail)


@use_of(ReorderBuffer, Block)
def ring() -> None:
    one = ReorderBuffer(4, 4096, 7)
    repr(one), len(one), one.window, one.block_size, one.nbytes
    with memoryview(one) as memory:
        memory[0] = memory[4095] = memory[-1] = 1
    for number in (9, 8, 7):
        one.place(number), one.place(number), one.offer(number, 4000), one.is_offered(number)
    refused(one.place, 99)
    refused(one.place, HUGE)
    refused(one.offer, 10, 1)
    refused(one.offer, 8, 1)
    refused(one.offer, 10, 0)
    refused(one.offer, Odd(), 1)
    refused(one.take, ())
    refused(ReorderBuffer, 0, 1)
    refused(ReorderBuffer, 1 << 60, 8)
    refused(ReorderBuffer, 1, HUGE)
    refused(ReorderBuffer, 1 << 10, 1 << 50)
    refused(ReorderBuffer, 1, 1, -1)
    refused(Block)
    slot: list[Block | None] = [None]
    released = one.take(slot)
    assert released is slot[0] is not None
    view = memoryview(released)[1:]
    released.release(), released.release(), released.number, released.nbytes, len(released), repr(released)
    refused(memoryview, released)
    refused(one.take, [])
    one.take()  # and dropped
    with one.take() as dropped:
        refused(operator.setitem, memoryview(dropped), 0, 1)
    assert one.take() is None
    one.head, one.limit, one.freed, one.held, one.out_of_order, one.max_out_of_order
    del one, dropped, released, slot
    assert len(view) == 3999  # alone it keeps the ring


@use_of(EntryTable)
def table() -> None:
    memory = bytearray(808)
    one = EntryTable(memory, 8, 100, FILE_ID)
    twin = EntryTable(bytes(800), 0, 100, FILE_ID)  # read-only
    one.seal(5, 1), one.seal(99, 2), one.clear(99), one[5], one.is_sealed(5), one.check(5, 1), len(one)
    sealed, doubtful = Bitmap(100), Bitmap(100)
    one.scan(sealed), one.scan_pair(twin, sealed, doubtful), one.copy_from(twin, 0, 3), one.keep_only(sealed)
    refused(twin.seal, 0, 1)
    refused(twin.clear, 0)
    refused(twin.keep_only, sealed)
    refused(operator.getitem, one, 100)
    refused(one.seal, -1, 1)
    refused(one.copy_from, twin, 0, 101)
    refused(one.scan, Bitmap(99))
    refused(one.scan, None)
    refused(one.copy_from, None, 0, 1)
    refused(one.scan_pair, None, sealed, doubtful)
    refused(one.keep_only, None)
    refused(EntryTable, memory, 8, 101, FILE_ID)
    refused(EntryTable, memory, 1, 1, FILE_ID)
    refused(EntryTable, memory, 0, 1, b"")
    refused(EntryTable, 5, 0, 1, FILE_ID)
    released = EntryTable(memory, 0, 1, FILE_ID)
    released.release(), released.release()
    refused(operator.getitem, released, 0)
    refused(released.scan, sealed)
    refused(one.copy_from, released, 0, 1)
    holder = Holder(64)
    holder.held = EntryTable(holder, 0, 8, FILE_ID)
    del one, holder
    resized(memory)


@use_of(seal_of)
def seal() -> None:
    seal_of(FILE_ID, 7, 1 << 63)
    refused(seal_of, b"", 7, 1)
    refused(seal_of, FILE_ID, -1, 1)
    refused(seal_of, FILE_ID, 1, HUGE)
    refused(seal_of, bytearray(16), 1, 1)


class Lane:
    """Gives places of four bytes, refers to its sink, and fails as it is told."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.places = fails, 2
        self.memory = bytearray(64)
        self.sink = BlockSink()
        self.sink.aim(self, 0, 40, 8, 40)

    def settle(self, sink: BlockSink) -> None:
        if self.fails == "settle":
            raise ValueError(sink)

    def more(self, sink: BlockSink) -> bool:
        if self.fails == "more":
            raise KeyboardInterrupt
        if not self.places:
            return False
        self.places -= 1
        sink.place(self.memory, sink.at, sink.at + 4)
        return True


@use_of(BlockSink)
def sinks() -> None:
    lane = Lane()
    one = lane.sink
    assert one(b"0123456789") == sink.PAUSE
    assert one.held
    lane.places = 1
    assert one(b"0123456789") == 10
    assert not one.held
    one.at, one.first, one.stop, one.settled, one.received, one.overrun, one.error, one.halted
    one.limit = 12
    assert (one.limit, one(b"longer"), one.overrun) == (12, 0, True)
    refused(setattr, one, "limit", 99)
    refused(one.aim, lane, 5, 4, 1, 9)
    refused(one.aim, lane, 0, 1, 0, 1)
    refused(one.place, lane.memory, 62, 20)
    refused(one.place, lane.memory, 0, 99)
    refused(one.place, 5, 0, 13)
    refused(one.place, bytes(64), 0, 13)
    refused(one, "text")
    refused(one.advance, 1)
    one.shorten(20)
    one.place(None, 0, 20)
    one.halt()
    assert one(b"x") == 0
    for fails in ("settle", "more"):
        failing = Lane(fails)
        assert failing.sink(b"0123456789") == 0
        assert failing.sink.error is not None
        assert failing.sink(b"x") == 0
    memory = one_map()
    one.aim(lane, 0, 40, 8, 40)
    one.place(memory, 0, 40, populate=True)
    room = one.room()
    assert room is not None
    room[:3] = b"abc"
    assert one.advance(3)
    one(b"1234"), one.revoke()
    del room
    one.release()
    memory.close()  # BufferError if a view was left behind
    resized(lane.memory)
    kept = Lane()
    kept.sink.place(kept.memory, 0, 8)
    kept.sink(b"abc")
    del kept  # a cycle, with a place


def one_map() -> mmap.mmap:
    return mmap.mmap(-1, mmap.PAGESIZE)


@use_of(sink.prefault, sink.drop)
def pages() -> None:
    with one_map() as memory:
        assert sink.prefault(memory, 10, 99) in (0, errno.EINVAL)
        sink.drop(memory, 0, mmap.PAGESIZE)
        for function in (sink.prefault, sink.drop):
            refused(function, memory, 1, mmap.PAGESIZE)
            refused(function, b"", 0, 0)
            refused(function, memory, -1, 1)
            refused(function, None, 0, 0)


@functools.cache
def folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="largefile-uses-")


@use_of(sysfile.fallocate, sysfile.fs_magic, sysfile.start_writeback, sysfile.rename_noreplace)
def system() -> None:
    path = Path(folder().name) / "file"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    sysfile.fallocate(fd, 0, 4096, True), sysfile.fs_magic(fd), sysfile.start_writeback(fd)
    os.close(fd)
    assert sysfile.fallocate(-1, 0, 1, False)
    assert sysfile.start_writeback(-1)
    name = os.fsencode(path)
    assert sysfile.rename_noreplace(name, name)
    sysfile.rename_noreplace(name, name + b"2"), sysfile.rename_noreplace(name + b"2", name)
    refused(sysfile.rename_noreplace, "text", b"")
    refused(sysfile.rename_noreplace, None, b"")
    refused(sysfile.fallocate, HUGE, 0, 1, False)
    refused(sysfile.fs_magic, HUGE)
    refused(sysfile.fs_magic, -1)
