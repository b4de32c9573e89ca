"""What the pump needs of a store, and the simplest store: a caller's own buffer."""

from __future__ import annotations

from typing import Protocol

from typing_extensions import Buffer

from largefile.core.byteranges import ByteRanges
from largefile.core.sink import BlockSink
from largefile.disk.lanes import BufferLane

__all__ = ["BufferStore", "Seat", "Store", "StoreLane"]


class StoreLane(Protocol):
    """The store's side of one connection; see `largefile.core.sink.Lane`."""

    def aim(self, sink: BlockSink, first_block: int, stop_block: int) -> None:
        """Aim `sink` at these blocks and place its first byte."""

    def settle(self, sink: BlockSink) -> None:
        """Take note of what is in place now: hash it, and seal the block that it ends."""

    def failure(self, sink: BlockSink) -> BaseException | None:
        """Why `sink` ended its transfer, in the store's own words; None if it was not its error."""

    def release(self) -> None:
        """Let go of what the last aim took; the transport has said Ended."""


class Store(Protocol):
    """Where blocks go. LocalDownloadCache, the bounce store of a foreign cache, and a buffer are stores."""

    @property
    def content_size(self) -> int: ...
    @property
    def block_size(self) -> int: ...
    @property
    def byte_ranges(self) -> ByteRanges: ...
    def lane(self) -> StoreLane: ...


class Seat:
    """One connection's sink and lane, used again for each span."""

    __slots__ = ("lane", "sink")

    def __init__(self, lane: StoreLane, sink: BlockSink | None = None) -> None:
        self.sink = sink or BlockSink()
        self.lane = lane

    def free(self) -> None:
        self.sink.release()
        self.lane.release()


class BufferStore:
    """A cache without a file: blocks go to their places in any writable buffer.

    Examples
    --------
    >>> store = BufferStore(bytearray(10), block_size=4)
    >>> store.byte_ranges.num_blocks
    3
    """

    def __init__(self, buffer: Buffer, block_size: int) -> None:
        view = memoryview(buffer)
        if view.readonly:
            raise TypeError("the buffer is read-only, a writable one is needed")
        self.buffer = view.cast("B") if view.nbytes else view
        self.content_size = view.nbytes
        self.block_size = block_size
        self.byte_ranges = ByteRanges(self.content_size, block_size)

    def lane(self) -> StoreLane:
        return BufferLane(self, self.buffer)

    def seal(self, block: int, content: int) -> None:
        """The block's bytes are in place."""
        self.byte_ranges.set_block(block)
