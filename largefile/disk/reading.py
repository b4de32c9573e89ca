"""What every cache of one file can tell and give: the side that only reads.

A read is checked block by block, from the block of its first byte to the block of its last, whatever the
alignment; bytes that were never downloaded do not come out.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from largefile.core.byteranges import ByteRanges
from largefile.core.ranges import ByteRange, range_for_index
from largefile.disk.files import CacheFile, LocalFile
from largefile.disk.index import Index
from largefile.disk.recovery import hash_block
from largefile.errors import CacheError, InvalidOffsetError, PartialFileError, UncachedRangeError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from largefile.rules.identity import Identity

__all__ = ["CacheReads"]


class CacheReads:
    """Reads and questions, over a data file and an index that somebody else opened."""

    def __init__(self, data: CacheFile, index: Index, ranges: ByteRanges) -> None:
        self._data = data
        self._index = index
        self._ranges = ranges
        self._told = -1  # the last byte that `tail` has answered
        self._waiting: list[int] = []  # what each waiter in `tail` has been told
        self._grown = threading.Condition()
        ranges.on_extend(lambda tail: self._tell())

    # --- questions ------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """Where the data is."""
        return self._data.name

    @property
    def content_size(self) -> int:
        """Bytes of the whole content."""
        return self._index.header.content_size

    @property
    def block_size(self) -> int:
        """Bytes of every block but perhaps the last."""
        return self._index.header.block_size

    @property
    def num_blocks(self) -> int:
        return self._index.header.num_blocks

    @property
    def byte_ranges(self) -> ByteRanges:
        """Which blocks are present; thread-safe. Only the cache may change it."""
        return self._ranges

    @property
    def identity(self) -> Identity:
        """What the content is, as the index has it."""
        return self._index.header.identity

    @property
    def url(self) -> str | None:
        """Where it came from, for people: scheme, host and path."""
        return self._index.header.url

    @property
    def complete(self) -> bool:
        """Whether every block is present."""
        return self._ranges.complete

    def content_length_and_block_size(self) -> tuple[int, int]:
        return self.content_size, self.block_size

    def cached_bytes_and_blocks(self) -> tuple[int, int]:
        """How many bytes and how many blocks are present."""
        blocks = self._ranges.bitmap.count()
        last = self.num_blocks - 1
        short = self.num_blocks * self.block_size - self.content_size
        whole = blocks * self.block_size
        return (whole - short if last >= 0 and self._ranges.bitmap[last] else whole), blocks

    def next_outstanding(self, start_block: int) -> tuple[int, ByteRange] | None:
        """The first absent block from `start_block` on, after the number to go on from; None: no more."""
        return self._ranges.next_clear(start_block)

    def next_cached(self, start_block: int) -> tuple[int, ByteRange] | None:
        """The first present block from `start_block` on, after the number to go on from; None: no more."""
        return self._ranges.next_set(start_block)

    def tail(self, timeout: float | None = None) -> ByteRange | None:
        """Wait until the present bytes that touch byte 0 are more than at the last call; give them.

        Once the content is complete each call answers at once. None after `timeout` seconds without news,
        and for an empty content. Raises CachePoisonedError if the cache fails meanwhile.

        Notes
        -----
        Go: ``LocalDownloadCache.Tail``.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._grown:
            since = self._told
            self._waiting.append(since)
            try:
                while True:
                    self._check()
                    found = self._ranges.tail()
                    if self._ranges.complete or (found is not None and found.last > self._told):
                        self._told = -1 if found is None else found.last
                        return found
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return None
                    self._wait(left)
            finally:
                self._waiting.remove(since)

    def wait_for(self, pos: int, timeout: float | None = None) -> bool:
        """Wait until the byte at `pos` is present; False if it is not after `timeout` seconds.

        Raises
        ------
        InvalidOffsetError
            If there is no such byte.
        ValueError
            If the cache is closed, now or meanwhile.
        CachePoisonedError
            If the cache has failed, or fails meanwhile.

        Examples
        --------
        >>> import os, tempfile
        >>> from largefile import LocalDownloadCache
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     data, index = os.path.join(folder, "x.part"), os.path.join(folder, "x.part.idx")
        ...     with LocalDownloadCache.create(data, index, 1000, 100) as cache:
        ...         _ = cache.write_at(bytes(100), 300)
        ...         cache.wait_for(399), cache.wait_for(0, timeout=0.01)
        (True, False)
        """
        if not 0 <= pos < self.content_size:
            raise InvalidOffsetError(pos, f"of a byte of the {self.content_size} there are")
        deadline = None if timeout is None else time.monotonic() + timeout
        looks = 0
        while True:
            wakes = self._ranges.wakes  # a close or a failure after the check ends the wait
            self._check()
            left = None if deadline is None else deadline - time.monotonic()
            if self._await(pos, left, wakes, looks):
                return True
            if left is not None and left <= 0:
                return False
            looks += 1

    # --- bytes ----------------------------------------------------------------------------------

    def read_at(self, size: int, off: int) -> bytes:
        """`size` bytes at `off`.

        Raises
        ------
        UncachedRangeError
            If any of them is in an absent block.
        InvalidOffsetError
            If they are not all within the content.

        Notes
        -----
        Go: ``LocalDownloadCache.ReadAt``, which let unaligned reads end in an absent block.
        """
        self._check_read(size, off)
        data = self._data.read_at(size, off) if size else b""
        if len(data) != size:
            raise self._cut_short(off + len(data))
        return data

    def readinto(self, buffer: Buffer, off: int) -> int:
        """Fill the whole of `buffer` from `off`; its size. Raises as `read_at` does."""
        with memoryview(buffer).cast("B") as view:
            self._check_read(len(view), off)
            if isinstance(self._data, LocalFile):
                count = self._data.readinto(view, off)
                if count != len(view):
                    raise self._cut_short(off + count)
            else:
                view[:] = self.read_at(len(view), off)
            return len(view)

    def view(self, range: ByteRange) -> memoryview:
        """The bytes of `range`, read-only and without a copy, as a map of its own.

        It stays valid after `close`, after the file got its final name, and beside any writer.
        """
        self._check_read(range.size, range.first)
        if isinstance(self._data, LocalFile):
            return self._data.view(range.first, range.size)
        return memoryview(self.read_at(range.size, range.first))

    def verify(self) -> list[ByteRange]:
        """Hash every present block; the ranges whose bytes are not those that were downloaded."""
        bad: list[ByteRange] = []
        for start, stop in list(self._ranges.bitmap.runs_set()):
            for block in range(start, stop):
                self._check()
                content = hash_block(self._data, block, self.content_size, self.block_size)
                if not self._index.live.check(block, content):
                    _append(bad, range_for_index(block, self.content_size, self.block_size))
        return bad

    # --- for the classes below ------------------------------------------------------------------

    def _check(self) -> None:
        """Raise unless the cache can be used."""

    def _cut_short(self, end: int) -> CacheError:
        """The data file ends within its content: somebody else has cut it."""
        return PartialFileError(self.path, f"it ends at {end}, within its content")

    def _gap(self, start: int, stop: int) -> int | None:
        """The first absent block of ``[start, stop)``."""
        return self._ranges.bitmap.find_clear(start, stop)

    def _wait(self, left: float | None) -> None:
        self._grown.wait(left)

    def _await(self, pos: int, left: float | None, wakes: int, looks: int) -> bool:
        """Look, for the `looks` + 1st time, and wait for a while; whether the byte is present."""
        return self._ranges.wait_set(pos, left, wakes)

    def _tell(self) -> None:
        with self._grown:
            self._grown.notify_all()

    def _wake(self) -> None:
        """Have every waiter check again whether there is something to wait for."""
        self._tell()
        self._ranges.wake()

    def _check_read(self, size: int, off: int) -> None:
        self._check()
        if size < 0:
            raise ValueError(f"size {size} must not be negative")
        if not 0 <= off <= self.content_size - size:
            raise InvalidOffsetError(off, f"between 0 and {self.content_size} with {size} bytes after it")
        if not size:
            return
        stop = (off + size - 1) // self.block_size + 1
        gap = self._gap(off // self.block_size, stop)
        if gap is None:
            return
        end = self._ranges.bitmap.find_set(gap, stop)
        first = gap * self.block_size
        beyond = min((stop if end is None else end) * self.block_size, self.content_size)
        raise UncachedRangeError(ByteRange(off, off + size - 1), ByteRange(first, beyond - 1))


def _append(found: list[ByteRange], more: ByteRange) -> None:
    """Add `more` to ascending ranges, merged with the last if they touch."""
    if found and found[-1].stop == more.first:
        more = ByteRange(found.pop().first, more.last)
    found.append(more)
