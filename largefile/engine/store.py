"""What the pump needs of a store, and the store over somebody else's cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from largefile.core.byteranges import ByteRanges
from largefile.core.ranges import ByteRange
from largefile.core.sink import BlockSink
from largefile.errors import CacheError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from largefile.disk.cache import DownloadCache

__all__ = ["Backed", "ForeignStore", "Seat", "Store", "StoreLane"]


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
    def lane(self, direct: bool = False) -> StoreLane: ...


@runtime_checkable
class Backed(Protocol):
    """A store with a disk behind it, which may be slower than what comes."""

    @property
    def backlog(self) -> float:
        """What the disk owes, as a part of what it may: from 1 on, nothing more should come."""

    def wait_for_room(self, timeout: float) -> None:
        """Wait until it owes less, at most so many seconds. From any thread."""


class Seat:
    """One connection's sink and lane, used again for each span."""

    __slots__ = ("lane", "sink")

    def __init__(self, lane: StoreLane, sink: BlockSink | None = None) -> None:
        self.sink = sink or BlockSink()
        self.lane = lane

    def free(self) -> None:
        self.sink.release()
        self.lane.release()


class ForeignStore:
    """Somebody else's DownloadCache as a store: whole blocks, gathered in a buffer for each connection."""

    def __init__(self, cache: DownloadCache) -> None:
        self._cache = cache
        self.content_size, self.block_size = cache.content_length_and_block_size()
        self.byte_ranges = ByteRanges(self.content_size, self.block_size)
        start: int | None = 0
        while start is not None and (found := cache.next_cached(start)) is not None:
            start = found[0] if found[0] > start else None
            self.byte_ranges.set(found[1].first)

    def lane(self, direct: bool = False) -> StoreLane:
        from largefile.disk.blocklane import BlockLane  # few have a cache of their own

        return BlockLane(self)

    def next_outstanding(self, start_block: int) -> tuple[int, ByteRange] | None:
        return self.byte_ranges.next_clear(start_block)

    def content_length_and_block_size(self) -> tuple[int, int]:
        return self.content_size, self.block_size

    def readinto(self, buffer: Buffer, offset: int) -> int:
        """Fill `buffer` from `offset`, for the digest; its size."""
        with memoryview(buffer).cast("B") as view:
            data = self._cache.read_at(len(view), offset)
            if len(data) != len(view):
                raise CacheError(f"the cache gave {len(data)} bytes at {offset} where {len(view)} are needed")
            view[:] = data
            return len(view)

    def write_at(self, data: Buffer, off: int) -> int:
        written, needed = self._cache.write_at(data, off), memoryview(data).nbytes
        if written != needed:
            raise CacheError(f"the cache wrote {written} bytes at {off} where {needed} are needed")
        self.byte_ranges.set(off)
        return written
