"""The lane for a DownloadCache that somebody else wrote: whole blocks, through its public methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from largefile.core.sink import BlockSink

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from largefile.core.ranges import ByteRange

__all__ = ["BlockLane", "BlockWriter"]


class BlockWriter(Protocol):
    """The part of a DownloadCache that a lane needs."""

    def content_length_and_block_size(self) -> tuple[int, int]: ...
    def next_outstanding(self, start_block: int) -> tuple[int, ByteRange] | None: ...
    def write_at(self, data: Buffer, off: int) -> int: ...


class BlockLane:
    """Each block is gathered in memory and handed to ``cache.write_at``; absent blocks only."""

    def __init__(self, cache: BlockWriter) -> None:
        self._cache = cache
        self._content_size, self._block_size = cache.content_length_and_block_size()
        self._buffer = bytearray(min(self._block_size, self._content_size))
        self._sink: BlockSink | None = None
        self._base = 0
        self._until = 0
        self._skipping = False

    def aim(self, sink: BlockSink, first_block: int, stop_block: int) -> None:
        """Point `sink` at the blocks `first_block` to `stop_block` - 1."""
        first = first_block * self._block_size
        stop = min(stop_block * self._block_size, self._content_size)
        sink.aim(self, first, stop, self._block_size, self._content_size)
        self._sink = sink
        if first < stop:
            self._place(sink)

    def settle(self, sink: BlockSink) -> None:
        """At a block's end, hand the block over."""
        if sink.at != self._until:
            return
        if not self._skipping:
            with memoryview(self._buffer)[: self._until - self._base] as block:
                self._cache.write_at(block, self._base)
        if sink.at < sink.stop:
            self._place(sink)

    def release(self) -> None:
        """Let go of the sink; after the transfer's end only."""
        if self._sink is not None:
            self._sink.release()
            self._sink = None

    def failure(self, sink: BlockSink) -> BaseException | None:
        """Why `sink` ended its transfer, if it was its own error."""
        return sink.error

    def _place(self, sink: BlockSink) -> None:
        self._base = sink.at
        missing = self._cache.next_outstanding(self._base // self._block_size)
        self._skipping = missing is None or missing[1].first > self._base
        if self._skipping:
            self._until = sink.stop if missing is None else min(missing[1].first, sink.stop)
            sink.place(None, 0, self._until)
        else:
            self._until = min(self._base + self._block_size, sink.stop)
            sink.place(self._buffer, 0, self._until)
