"""The lanes of a cache file: through a small buffer, or straight through its map.

Bytes that come out of libcurl's buffer are copied once more for the kernel either way: by a store into a
mapped page, which the kernel has to zero first, or by ``pwrite`` out of a buffer that is still in the
processor's cache, for which it zeroes nothing and takes large folios. Measured on ext4 and on tmpfs the
second costs two thirds of the first, and the larger its pieces the less: with 256 KiB the kernel needs half
of the time that it needs with 32, as it takes larger folios, and more would not stay in the cache. So the map
is for drivers that fill a place themselves, which saves them a copy, and for who asks for it.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
from typing import TYPE_CHECKING, Protocol

from largefile.core.sink import STEP, BlockSink, drop
from largefile.disk.lanes import SpanLane, Store
from largefile.errors import CacheIOError, NotEnoughSpaceError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from largefile.disk.files import CacheFile

__all__ = ["BounceLane", "FileStore", "MapLane"]

#: A lane maps at most so much of its span at a time.
WINDOW = 64 << 20
_PAGE = mmap.ALLOCATIONGRANULARITY
_DROP = 1 << 20
#: What a bounce buffer holds: large enough for the kernel, small enough for the processor's cache.
PIECE = 256 << 10


class FileStore(Store, Protocol):
    """A store over a file."""

    @property
    def data(self) -> CacheFile: ...
    def prepare(self, first: int, stop: int, *, mapped: bool = False) -> None:
        """Make room on the disk for bytes `first` to `stop` - 1, if that was put off until now."""


class BounceLane(SpanLane):
    """Bytes go to a small buffer, and from there to the file by ``write_at``."""

    def __init__(self, store: FileStore) -> None:
        super().__init__(store)
        self._file_store = store
        self._bounce = bytearray(PIECE)
        self._bounced = memoryview(self._bounce)
        self._base = 0  # the position of the buffer's first byte

    def _prepare(self, first: int, stop: int) -> None:
        self._file_store.prepare(first, stop)

    def _place(self, sink: BlockSink, stop: int) -> int:
        self._base = sink.at
        stop = min(stop, sink.at + PIECE)
        # Whole blocks, where one fits: a place that ends with a block is hashed in one go.
        if stop - self._base > self._block_size:
            stop -= stop % self._block_size if stop != self._content_size else 0
        sink.place(self._bounce, 0, stop)
        return stop

    def _bytes(self, first: int, stop: int) -> memoryview:
        return self._bounced[first - self._base : stop - self._base]

    def _landed(self, came: memoryview, first: int) -> None:
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

    def _prepare(self, first: int, stop: int) -> None:
        self._file_store.prepare(first, stop, mapped=True)

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
            # Pages are populated at most this far ahead, and nothing is there yet: those bytes did not come.
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

    def _landed(self, came: memoryview, first: int) -> None:
        if self._view is None:
            super()._landed(came, first)

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
