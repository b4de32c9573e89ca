"""Lanes: where one connection's bytes go, and what is done with them there.

A store gives each connection a lane, and the connection's sink calls it back in `settle` at marks: at
each block's end, and at least once every MiB within a block. All lanes share one core: hash what came
since the last mark while it is still in the processor's cache, and at a block's end tell the store
`seal(block, hash)`. They differ in the place that they hand out:

* `MapLane`: a window of the file's map; pages that are finished are dropped behind the sink.
* `BounceLane`: 1 MiB of private memory, written to the file at each mark; for files that cannot be mapped.
* `BlockLane`: memory of one block, given to the `write_at` of somebody else's DownloadCache.
* `BufferLane`: the caller's own buffer.

A block that is present already is not written again where a server sends it all the same: its bytes are
placed nowhere. A mark comes 16,384 times a GiB with 64 KiB blocks, so `settle` does little.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
from typing import TYPE_CHECKING, Protocol

import xxhash

from largefile.core.sink import STEP, BlockSink, drop
from largefile.errors import CacheIOError, NotEnoughSpaceError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from largefile.core.bitmap import Bitmap
    from largefile.core.byteranges import ByteRanges
    from largefile.disk.files import CacheFile

__all__ = ["BounceLane", "BufferLane", "FileStore", "MapLane", "SpanLane", "Store"]

#: A lane maps at most so much of its span at a time.
WINDOW = 64 << 20
_PAGE = mmap.ALLOCATIONGRANULARITY
_DROP = 1 << 20


class Store(Protocol):
    """What a lane needs of the store that made it."""

    @property
    def content_size(self) -> int: ...
    @property
    def block_size(self) -> int: ...
    @property
    def byte_ranges(self) -> ByteRanges: ...
    def seal(self, block: int, content: int) -> None:
        """The bytes of `block` are in place, and `content` is their xxh3_64."""


class FileStore(Store, Protocol):
    """A store over a file."""

    @property
    def data(self) -> CacheFile: ...
    def prepare(self, first: int, stop: int) -> None:
        """Make room on the disk for bytes `first` to `stop` - 1, if that was put off until now."""


class SpanLane:
    """The core that the lanes over a bitmap of blocks share. One lane serves one sink at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._block_size = store.block_size
        self._content_size = store.content_size
        self._present: Bitmap = store.byte_ranges.bitmap
        self._sink: BlockSink | None = None
        self._until = 0  # the present place ends here
        self._skipping = False  # … and is nowhere
        self._hashed = 0  # bytes before this are in the hash
        self._partial: xxhash.xxh3_64 | None = None  # of a block of which only a part has come

    def aim(self, sink: BlockSink, first_block: int, stop_block: int) -> None:
        """Point `sink` at the blocks `first_block` to `stop_block` - 1."""
        first = first_block * self._block_size
        stop = min(stop_block * self._block_size, self._content_size)
        self._prepare(first, stop)
        sink.aim(self, first, stop, self._block_size, self._content_size)
        self._sink, self._partial = sink, None
        if first < stop:
            self._next_place(sink)

    def settle(self, sink: BlockSink) -> None:
        """Every byte before ``sink.at`` is in place."""
        at = sink.at
        if not self._skipping:
            self._take(sink, at)
        if at < sink.stop and at == self._until:
            self._next_place(sink)

    def release(self) -> None:
        """Let go of the sink and of all memory; after the transfer's end only."""
        if self._sink is not None:
            self._sink.release()
            self._sink = None
        self._partial = None

    def failure(self, sink: BlockSink) -> BaseException | None:
        """Why `sink` ended its transfer, if it was its own error."""
        return sink.error

    # --- what the lanes differ in ---------------------------------------------------------------

    def _prepare(self, first: int, stop: int) -> None:
        """Room for the span."""

    def _place(self, sink: BlockSink, stop: int) -> int:
        """Place the sink at ``sink.at`` or raise; the place ends at the answer, at most `stop`."""
        raise NotImplementedError

    def _bytes(self, first: int, stop: int) -> memoryview:
        """The bytes that came since the last mark, where they are."""
        raise NotImplementedError

    def _landed(self, first: int, stop: int) -> None:
        """They were hashed and are to be made part of the file."""

    def _sealed(self, at: int) -> None:
        """Every byte before `at` is hashed and in the file; nothing here needs its memory any more."""

    # --- the core -------------------------------------------------------------------------------

    def _next_place(self, sink: BlockSink) -> None:
        """Up to the next present block the bytes have a place; over present ones they have none."""
        at, stop = sink.at, sink.stop
        block, stop_block = at // self._block_size, -(-stop // self._block_size)
        self._hashed = at
        self._skipping = at % self._block_size == 0 and self._present[block]
        if self._skipping:
            end = self._present.find_clear(block, stop_block)
        else:
            end = self._present.find_set(block + 1, stop_block)
        if end is not None:
            stop = min(stop, end * self._block_size)
        if self._skipping:
            self._until = stop
            sink.place(None, 0, stop)
        else:
            self._until = self._place(sink, stop)

    def _take(self, sink: BlockSink, at: int) -> None:
        """Hash the bytes up to `at`; at a block's end, seal the block."""
        first, self._hashed = self._hashed, at
        ends = at % self._block_size == 0 or at == self._content_size
        with self._bytes(first, at) as came:
            if ends and self._partial is None:
                content = xxhash.xxh3_64_intdigest(came)
            else:
                if self._partial is None:
                    self._partial = xxhash.xxh3_64()
                self._partial.update(came)
                content = self._partial.intdigest() if ends else 0
        self._landed(first, at)
        if ends:
            self._partial = None
            self._store.seal((at - 1) // self._block_size, content)
        self._sealed(at)


class BufferLane(SpanLane):
    """Bytes go to their places in a buffer of the whole content."""

    def __init__(self, store: Store, buffer: Buffer) -> None:
        super().__init__(store)
        self._buffer = buffer
        self._view = memoryview(buffer).cast("B")

    def _place(self, sink: BlockSink, stop: int) -> int:
        sink.place(self._buffer, sink.at, stop)
        return stop

    def _bytes(self, first: int, stop: int) -> memoryview:
        return self._view[first:stop]


class BounceLane(SpanLane):
    """Bytes go to a small buffer, and from there to the file by ``write_at``."""

    def __init__(self, store: FileStore) -> None:
        super().__init__(store)
        self._file_store = store
        self._bounce = bytearray(STEP)
        self._base = 0  # the position of the buffer's first byte

    def _prepare(self, first: int, stop: int) -> None:
        self._file_store.prepare(first, stop)

    def _place(self, sink: BlockSink, stop: int) -> int:
        self._base = sink.at
        stop = min(stop, sink.at + STEP)
        # Whole blocks, where one fits: a place that ends with a block is hashed in one go.
        if stop - self._base > self._block_size:
            stop -= stop % self._block_size if stop != self._content_size else 0
        sink.place(self._bounce, 0, stop)
        return stop

    def _bytes(self, first: int, stop: int) -> memoryview:
        return memoryview(self._bounce)[first - self._base : stop - self._base]

    def _landed(self, first: int, stop: int) -> None:
        with self._bytes(first, stop) as came:
            self._file_store.data.write_at(came, first)


class MapLane(BounceLane):
    """Bytes go straight into the file's map, a window of it at a time.

    Where the system has no memory for a map, that window takes the bounce buffer.
    """

    def __init__(self, store: FileStore) -> None:
        super().__init__(store)
        self._map: Buffer | None = None
        self._offset = 0  # of the map's first byte in the file
        self._view: memoryview | None = None
        self._dropped = 0  # pages before this position are dropped

    def release(self) -> None:
        super().release()
        self._unmap()

    def failure(self, sink: BlockSink) -> BaseException | None:
        """Why `sink` ended its transfer. The system says EFAULT of a page for "no room" and for "I/O error":
        writing to the same place tells which."""
        error = sink.error
        if self._map is None or not isinstance(error, OSError) or error.errno != errno.EFAULT:
            return error
        data = self._file_store.data
        try:
            # Pages are populated at most 2 MiB ahead, and nothing is there yet: those bytes did not come.
            data.write_at(bytes(min(self._until - sink.at, 2 * STEP)), sink.at)
        except (CacheIOError, NotEnoughSpaceError) as found:
            return found
        return CacheIOError(errno.EIO, "populate a page of", data.name)

    def _place(self, sink: BlockSink, stop: int) -> int:
        self._unmap(sink)
        at = sink.at
        if stop - at > WINDOW:
            stop = at + WINDOW
            if self._block_size <= WINDOW:
                stop -= stop % self._block_size
        offset = at // _PAGE * _PAGE
        mapped = self._file_store.data.map(offset, stop - offset)
        if mapped is None:
            return super()._place(sink, stop)
        self._map, self._view, self._offset, self._dropped = mapped, memoryview(mapped), offset, offset
        sink.place(mapped, at - offset, stop, populate=True)
        return stop

    def _bytes(self, first: int, stop: int) -> memoryview:
        if self._view is None:
            return super()._bytes(first, stop)
        return self._view[first - self._offset : stop - self._offset]

    def _landed(self, first: int, stop: int) -> None:
        if self._view is None:
            super()._landed(first, stop)

    def _sealed(self, at: int) -> None:
        if self._map is not None and at - self._dropped >= _DROP:
            drop(self._map, self._dropped - self._offset, at - self._dropped)
            self._dropped = at // _PAGE * _PAGE

    def _unmap(self, sink: BlockSink | None = None) -> None:
        mapped, self._map = self._map, None
        if mapped is None:
            return
        if self._view is not None:
            self._view.release()
            self._view = None
        if sink is not None and sink.at < sink.stop:
            sink.place(None, 0, sink.stop)  # lets go of the map; the caller places it anew
        # A reader that was abandoned may hold a view: then the map goes when the view does.
        with contextlib.suppress(BufferError):
            close = getattr(mapped, "close", None)
            if close is not None:
                close()
