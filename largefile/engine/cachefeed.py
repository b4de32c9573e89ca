"""A cache as the store of a stream: blocks land in its file, and are read from there in order."""

from __future__ import annotations

from largefile.core.ranges import range_for_index
from largefile.disk.cache import LocalDownloadCache

__all__ = ["CacheFeed"]


class CacheFeed:
    """The blocks of `cache` from `first_block` on, each as soon as it is present."""

    held = 0  # a view of a file holds no place that anybody waits for

    def __init__(self, cache: LocalDownloadCache, first_block: int) -> None:
        self._cache = cache
        self._next = first_block

    @property
    def ready(self) -> bool:
        """Whether `take` has a block."""
        return not self.at_end and self._cache.byte_ranges.bitmap[self._next]

    @property
    def at_end(self) -> bool:
        """Whether every block was taken."""
        return self._next >= self._cache.num_blocks

    @property
    def freed(self) -> int:
        """Where the window begins."""
        return self._next

    def wait(self, timeout: float) -> None:
        """Wait until a block is `ready`, or for `wake`, at most `timeout` seconds."""
        self._cache.byte_ranges.wait_set(self._next * self._cache.block_size, timeout)

    def wake(self) -> None:
        """End a `wait`."""
        self._cache.byte_ranges.wake()

    @property
    def next(self) -> int:
        """The block that `take` gives."""
        return self._next

    def take(self) -> memoryview:
        """The next block, as a map of its own; only when `ready`."""
        view = self.taken(self._next)
        self._next += 1
        return view

    def taken(self, number: int) -> memoryview:
        """Block `number`, which is present."""
        cache = self._cache
        return cache.view(range_for_index(number, cache.content_size, cache.block_size))

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """The cache stays open, and so do its views."""
