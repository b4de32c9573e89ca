"""The index file: a header in two slots, and two tables with an entry of eight bytes a block.

========================  ==========================================================================
at                        what
========================  ==========================================================================
0 and 4096                header slots, written in turn (`largefile.disk.header`)
8192                      live table: an entry is stored as soon as a block is in place
next multiple of 4096     durable table: entries are copied here once the block's bytes are synced
========================  ==========================================================================

The tags of the two tables differ: a page of one that a disk writes in the other's place vouches for nothing.

Its size never changes. Where a reserved page cannot fail the tables are mapped; elsewhere they are kept
in memory and each change is written through, eight bytes at a time.

A filesystem that has found its disk broken shuts itself down, and then a store into a page that it has
written meanwhile is a SIGBUS: measured on XFS. So each page is made writable by a call that can say no just
before a store to it, and read by one before the map is.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
from typing import TYPE_CHECKING, Any

from largefile.core.bitmap import Bitmap
from largefile.core.entries import ENTRY_SIZE, EntryTable
from largefile.core.sink import drop, prefault
from largefile.disk.files import CacheFile, LocalFile
from largefile.disk.header import SLOT_SIZE, SLOTS, Chosen, Header, Layout, choose, encode
from largefile.errors import CacheIOError, IndexCorruptError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Index", "durable_id", "read_header"]

#: Looked at in one go: the entries of a page.
_PAGE = 4096
_ZEROS = bytes(_PAGE)
_STEP = 1 << 20


class Index:
    """An open index. Only the writer, which holds the lock, may call what changes it.

    Attributes
    ----------
    header : Header
        As last read or written.
    certain : bool
        Whether that is the last one: no later one can have been damaged or lost.
    live, durable : EntryTable
        The two tables.
    """

    def __init__(self, file: CacheFile, found: Chosen, *, writable: bool) -> None:
        self.file = file
        header, self._slot, self.certain = found
        self.header = header
        self._layout = Layout.of(header.num_blocks)
        self._mapped, self._buffer = _tables(file, self._layout.size, writable)
        blocks, file_id = header.num_blocks, header.file_id
        self.live = EntryTable(self._buffer, self._layout.live, blocks, file_id)
        self.durable = EntryTable(self._buffer, self._layout.durable, blocks, durable_id(file_id))

    @classmethod
    def create(cls, file: CacheFile, header: Header) -> None:
        """Write a new index into an empty file, and sync it."""
        size = Layout.of(header.num_blocks).size
        if not file.allocate(0, size):
            _write_zeros(file, size)
        file.write_at(encode(header), SLOTS[0])
        file.sync()

    @classmethod
    def open(cls, file: CacheFile, *, writable: bool) -> Index:
        """The index in `file`. IndexCorruptError, IndexVersionError; nothing is written."""
        found = read_header(file)
        header = found.header
        size = Layout.of(header.num_blocks).size
        if len(file.read_at(1, size - 1)) != 1 or file.read_at(1, size):
            raise IndexCorruptError(
                file.name, f"its size is not the {size} bytes of its {header.num_blocks} blocks"
            )
        for at in range(0, size, _STEP):  # where it cannot be read, the map would be a signal
            file.read_at(min(_STEP, size - at), at)
        if writable:
            file.allocate(0, size)  # a page without room behind it is not mapped
        return cls(file, found, writable=writable)

    @property
    def path(self) -> str:
        return self.file.name

    def seal(self, block: int, content: int) -> None:
        """Vouch in the live table for `block`, whose bytes are in place and hash to `content`."""
        self._touch(self._layout.live, block, block + 1)
        self.live.seal(block, content)
        if not self._mapped:
            self._write_through(self._layout.live, block, block + 1)

    def make_durable(self, start: int, stop: int) -> None:
        """Copy the live entries of blocks `start` to `stop` - 1, whose bytes are synced."""
        self._touch(self._layout.durable, start, stop)
        self.durable.copy_from(self.live, start, stop)
        if not self._mapped:
            self._write_through(self._layout.durable, start, stop)

    def restore(self, block: int) -> None:
        """Make the live entry of `block` what its durable twin is."""
        self._touch(self._layout.live, block, block + 1)
        self.live.copy_from(self.durable, block, block + 1)
        if not self._mapped:
            self._write_through(self._layout.live, block, block + 1)

    def forget(self, block: int) -> None:
        """Vouch for `block` no more, in either table."""
        self._touch(self._layout.live, block, block + 1)
        self._touch(self._layout.durable, block, block + 1)
        self.live.clear(block)
        self.durable.clear(block)
        if not self._mapped:
            self._write_through(self._layout.live, block, block + 1)
            self._write_through(self._layout.durable, block, block + 1)

    def keep_only(self, live: Bitmap, durable: Bitmap | None = None) -> None:
        """Zero every other entry of the live and, if it is given, of the durable table."""
        self._touch_others(self._layout.live, live)
        if durable is not None:
            self._touch_others(self._layout.durable, durable)
        gone = [(self._layout.live, self.live.keep_only(live))]
        if durable is not None:
            gone.append((self._layout.durable, self.durable.keep_only(durable)))
        for offset, count in gone:
            if count and not self._mapped:
                self._write_through(offset, 0, self.header.num_blocks)

    def sync(self) -> None:
        """All that was stored or written is on stable storage when this returns."""
        if isinstance(self.file, LocalFile):
            self.file.flush(self._buffer)
        self.file.sync()

    def write_header(self, **changes: Any) -> None:
        """Write the header with `changes` into the other slot, and sync it."""
        header = self.header.next(**changes)
        slot = 1 - self._slot
        self.file.write_at(encode(header), SLOTS[slot])
        self.header, self._slot, self.certain = header, slot, True
        self.sync()

    def refresh(self) -> Header:
        """Read the header again, as another process may have written it."""
        found = read_header(self.file)
        if found.header.file_id != self.header.file_id:
            raise IndexCorruptError(self.path, "it became the index of another download")
        self.header, self._slot, self.certain = found
        return self.header

    def drop_pages(self) -> None:
        """Give back the memory that a scan of the tables has brought in."""
        if self._mapped:
            drop(self._buffer, 0, self._layout.size)

    def release(self) -> None:
        """Let go of the tables. The file stays open; it belongs to who opened it."""
        self.live.release()
        self.durable.release()
        mapped: object = self._buffer
        if isinstance(mapped, memoryview):
            view, mapped = mapped, mapped.obj
            view.release()
        if isinstance(mapped, mmap.mmap):
            with contextlib.suppress(BufferError):
                mapped.close()

    def _touch(self, offset: int, start: int, stop: int) -> None:
        """Make the pages of these entries writable, or raise where a store would be a signal."""
        if not self._mapped:
            return
        number = prefault(self._buffer, offset + start * ENTRY_SIZE, (stop - start) * ENTRY_SIZE)
        if number not in (0, errno.EINVAL):  # EINVAL: the system has no such call
            raise CacheIOError(errno.EIO if number == errno.EFAULT else number, "store to", self.path)

    def _touch_others(self, offset: int, kept: Bitmap) -> None:
        """`_touch` the pages with entries of blocks that are not `kept`, where there is anything to zero."""
        if not self._mapped:
            return
        with memoryview(self._buffer) as view:
            for start in range(0, len(kept), _PAGE // ENTRY_SIZE):
                stop = min(start + _PAGE // ENTRY_SIZE, len(kept))
                with view[offset + start * ENTRY_SIZE : offset + stop * ENTRY_SIZE] as page:
                    # As bytes, since memoryviews are compared item by item: 40 ms for 2**20 blocks.
                    if kept.find_clear(start, stop) is not None and page.tobytes() != _ZEROS[: len(page)]:
                        self._touch(offset, start, stop)

    def _write_through(self, offset: int, start: int, stop: int) -> None:
        first, last = offset + start * ENTRY_SIZE, offset + stop * ENTRY_SIZE
        with memoryview(self._buffer) as view, view[first:last] as piece:
            self.file.write_at(piece, first)


def durable_id(file_id: bytes) -> bytes:
    """What binds the entries of the durable table, as the file id binds the live ones: its complement."""
    return bytes(255 - byte for byte in file_id)


def read_header(file: CacheFile) -> Chosen:
    """The header in force; read again once where it is in doubt, as a writer may have been writing it."""
    with contextlib.suppress(IndexCorruptError):
        found = _read_header(file)
        if found.certain:
            return found
    return _read_header(file)


def _read_header(file: CacheFile) -> Chosen:
    first, second = (file.read_at(SLOT_SIZE, at) for at in SLOTS)
    return choose(first, second, file.name)


def _tables(file: CacheFile, size: int, writable: bool) -> tuple[bool, Buffer]:
    """Whether the buffer is the file, and the buffer."""
    if writable:
        mapped = file.map(0, size)
        return (True, mapped) if mapped is not None else (False, bytearray(file.read_at(size, 0)))
    if isinstance(file, LocalFile):
        # A map also sees what the writer stores later.
        with contextlib.suppress(CacheIOError):
            return False, file.view(0, size)
    return False, file.read_at(size, 0)


def _write_zeros(file: CacheFile, size: int) -> None:
    """Room by writing: an index is small, and stores into it must not find the disk full."""
    piece = bytes(1 << 20)
    for at in range(0, size, len(piece)):
        file.write_at(memoryview(piece)[: min(len(piece), size - at)], at)
