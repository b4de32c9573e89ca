"""Lanes: where one connection's bytes go, and what is done with them there.

A store gives each connection a lane, and the connection's sink calls it back in `settle` at marks: at
each block's end, and at least once every MiB within a block. All lanes share one core: hash what came
since the last mark while it is still in the processor's cache, and at a block's end tell the store
`seal(block, hash)`. They differ in the place that they hand out:

* `filelanes.MapLane`: a window of the file's map; pages that are finished are dropped behind the sink.
* `filelanes.BounceLane`: 256 KiB of memory, written to the file when it is full; the way of libcurl's bytes,
  and of all bytes where the file cannot be mapped.
* `blocklane.BlockLane`: memory of one block, given to the `write_at` of somebody else's DownloadCache.
* `BufferLane`: the caller's own buffer.

A block that is present already is not written again where a server sends it all the same: its bytes are
placed nowhere. A mark comes 16,384 times a GiB with 64 KiB blocks, so `settle` does little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import xxhash

from largefile.core.sink import BlockSink
from largefile.errors import InternalError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from largefile.core.bitmap import Bitmap
    from largefile.core.byteranges import ByteRanges

__all__ = ["BufferLane", "SpanLane", "Store"]


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


class SpanLane:
    """The core that the lanes over a bitmap of blocks share. One lane serves one sink at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._block_size = store.block_size
        self._content_size = store.content_size
        self._present: Bitmap = store.byte_ranges.bitmap
        self._sink: BlockSink | None = None
        self._until = 0  # the present place ends here
        self._run_stop = 0  # … and here the blocks that are absent, or present, as its own are
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
            if at < self._run_stop:
                self._until = self._place(sink, min(self._run_stop, sink.stop))
            else:
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

    def _landed(self, came: memoryview, first: int) -> None:
        """`came`, whose first byte is at position `first`, was hashed and is to be made part of the file."""

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
        self._run_stop = stop
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
            self._landed(came, first)
        if ends:
            self._partial = None
            self._store.seal((at - 1) // self._block_size, content)
        self._sealed(at)


class BufferLane(SpanLane):
    """Bytes go to their places in a buffer of the whole content."""

    def __init__(self, store: Store, buffer: Buffer) -> None:
        super().__init__(store)
        self._buffer = buffer
        self._view: memoryview | None = None  # only while aimed: a bytearray with a view cannot be resized

    def release(self) -> None:
        super().release()
        if self._view is not None:
            self._view.release()
            self._view = None

    def _prepare(self, first: int, stop: int) -> None:
        if self._view is None:
            with memoryview(self._buffer) as view:
                self._view = view.cast("B")

    def _place(self, sink: BlockSink, stop: int) -> int:
        sink.place(self._buffer, sink.at, stop)
        return stop

    def _bytes(self, first: int, stop: int) -> memoryview:
        if self._view is None:
            raise InternalError("bytes came for a lane that was released")
        return self._view[first:stop]
