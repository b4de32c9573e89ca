"""Uses of what counts: bitmaps, ranges, and which blocks are there."""

from __future__ import annotations

import copy
import operator
import pickle

from use_table import HUGE, Holder, Odd, refused, resized, use_of

from largefile.core import bitmap, byteranges, ranges
from largefile.core.bitmap import Bitmap
from largefile.core.byteranges import ByteRanges, ByteRangesTracker
from largefile.core.ranges import ByteRange


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
