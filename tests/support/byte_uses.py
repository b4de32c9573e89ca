"""Uses of what touches bytes: rings, entries, sinks, and calls of the system."""

from __future__ import annotations

import errno
import functools
import mmap
import operator
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from use_table import FILE_ID, HUGE, Holder, Odd, refused, resized, use_of

from largefile.core import sink
from largefile.core.bitmap import Bitmap
from largefile.core.entries import EntryTable, seal_of
from largefile.core.reorder import Block, ReorderBuffer
from largefile.core.sink import BlockSink
from largefile.disk import sysfile


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


@use_of(
    sysfile.fallocate,
    sysfile.fs_magic,
    sysfile.mount_id,
    sysfile.start_writeback,
    sysfile.wait_writeback,
    sysfile.rename_noreplace,
    sysfile.birth_of_file,
    sysfile.birth_of_name,
)
def system() -> None:
    path = Path(folder().name) / "file"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    (
        sysfile.fallocate(fd, 0, 4096, True),
        sysfile.fs_magic(fd),
        sysfile.mount_id(fd),
        sysfile.start_writeback(fd),
        sysfile.wait_writeback(fd, 0, 1),
        sysfile.birth_of_file(fd),
        sysfile.birth_of_name(os.fsencode(path)),
    )
    os.close(fd)
    assert sysfile.fallocate(-1, 0, 1, False)
    assert sysfile.start_writeback(-1)
    assert sysfile.wait_writeback(-1, 0, 1)
    name = os.fsencode(path)
    assert sysfile.rename_noreplace(name, name)
    sysfile.rename_noreplace(name, name + b"2"), sysfile.rename_noreplace(name + b"2", name)
    refused(sysfile.rename_noreplace, "text", b"")
    refused(sysfile.rename_noreplace, None, b"")
    refused(sysfile.fallocate, HUGE, 0, 1, False)
    assert sysfile.birth_of_file(-1) == sysfile.birth_of_name(b"/nowhere/x") == 0
    refused(sysfile.birth_of_file, HUGE)
    refused(sysfile.birth_of_name, "text")
    refused(sysfile.fs_magic, HUGE)
    for ask in (sysfile.fs_magic, sysfile.mount_id):
        with suppress(OSError):  # or 0, where the system has no such call
            ask(-1)
