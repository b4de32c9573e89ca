"""Stores that keep nothing: what comes is compared with what a cache holds, block by block, by its hash.

A finished content has the wrong digest: which block is wrong? `Comparison` takes the content once more and
notes the blocks that came otherwise. `Arbiter` takes these a third time, and the majority decides: a block
that was right in the cache stays, one that twice came otherwise, and alike, takes its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

from largefile.core.byteranges import ByteRanges
from largefile.core.ranges import ByteRange, range_for_index
from largefile.disk.blocklane import BlockLane
from largefile.disk.filelanes import BounceLane
from largefile.disk.writing import CacheWrites

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Arbiter", "Comparison"]


class Comparison:
    """What comes is hashed and thrown away; `different` has the hash of each block that `cache` has not."""

    def __init__(self, cache: CacheWrites) -> None:
        self._cache = cache
        self.content_size, self.block_size = cache.content_size, cache.block_size
        self.byte_ranges = ByteRanges(self.content_size, self.block_size)
        self.different: dict[int, int] = {}

    def lane(self, direct: bool = False) -> _ScratchLane:
        return _ScratchLane(self)

    def seal(self, block: int, content: int) -> None:
        """`block` came again, and hashes to `content`."""
        if not self._cache.vouches_for(block, content):
            self.different[block] = content
        self.byte_ranges.set_block(block)


class _ScratchLane(BounceLane):
    """Bytes go to a small buffer, and no further."""

    def __init__(self, store: Comparison) -> None:
        super().__init__(store)  # type: ignore[arg-type] # it has no file, and none is asked for

    def _prepare(self, first: int, stop: int) -> None:
        return None

    def _landed(self, came: memoryview, first: int) -> None:
        return None


class Arbiter:
    """Decides the blocks of `different` by what comes a third time.

    Where that is as it came the second time, it is written in place of what the cache has: `replaced` counts
    those, `undecided` the blocks that came in three ways.
    """

    def __init__(self, cache: CacheWrites, different: dict[int, int]) -> None:
        self._cache = cache
        self._different = different
        self.content_size, self.block_size = cache.content_size, cache.block_size
        self.byte_ranges = ByteRanges(self.content_size, self.block_size)
        for block in range(self.byte_ranges.num_blocks):
            if block not in different:
                self.byte_ranges.set_block(block)
        self.replaced: list[int] = []
        self.undecided: list[int] = []

    def lane(self, direct: bool = False) -> BlockLane:
        return BlockLane(self)

    def content_length_and_block_size(self) -> tuple[int, int]:
        return self.content_size, self.block_size

    def next_outstanding(self, start_block: int) -> tuple[int, ByteRange] | None:
        return self.byte_ranges.next_clear(start_block)

    def write_at(self, data: Buffer, off: int) -> int:
        """A whole block came the third time."""
        block, content = off // self.block_size, xxhash.xxh3_64_intdigest(data)
        if content == self._different[block]:
            # Missing for a moment: whoever is killed here fetches it again.
            self._cache.invalidate(range_for_index(block, self.content_size, self.block_size))
            self._cache.write_at(data, off)
            self.replaced.append(block)
        elif not self._cache.vouches_for(block, content):
            self.undecided.append(block)
        self.byte_ranges.set_block(block)
        return memoryview(data).nbytes
