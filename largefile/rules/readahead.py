"""How far to fetch beyond what a reader has asked for: twice as far each time, while it reads in order.

Laws:

1. Nothing is fetched ahead for the first read, nor for one that does not go on where the last one ended.
2. While reads go on in order, at least half of what was promised last stays asked for, and each new promise
   is twice the last one: one block, two, four, …, at most the limit.
3. What is ahead of the reader is never more than the limit, nor more than what it has read in order and a
   block: a reader that changes its mind has cost at most as much again as it has read.

A step back or forward by less than two blocks is still "in order": buffered readers read a bit again,
and archives skip the bit between two members.
"""

from __future__ import annotations

__all__ = ["ReadAhead"]

#: Steps of fewer bytes than this are in order, however small the blocks are.
NEAR = 128 << 10


class ReadAhead:
    """What one reader of a file should have fetched beside what it reads.

    Parameters
    ----------
    block_size : int
        Bytes; the first promise.
    limit : int
        Most bytes ahead; 0: never any.

    Raises
    ------
    ValueError
        If the block size is less than 1, or the limit negative.

    Examples
    --------
    >>> ahead = ReadAhead(block_size=1000, limit=4000)
    >>> [ahead.read(pos, 1000) for pos in (0, 1000, 2000, 3000, 4000, 9_999_000)]
    [None, (2000, 3000), (3000, 5000), (5000, 8000), None, None]
    """

    def __init__(self, block_size: int, limit: int) -> None:
        if block_size < 1:
            raise ValueError(f"block_size is {block_size}, needed is at least 1 byte")
        if limit < 0:
            raise ValueError(f"limit is {limit}, needed is 0 bytes or more")
        self._block_size = block_size
        self._limit = limit
        self._near = max(2 * block_size, NEAR)
        self._end: int | None = None  # where reading in order has come to
        self._until = 0  # fetching was asked for up to here
        self._promise = 0  # bytes ahead, when it was renewed last
        self._run = 0  # bytes read in order

    def read(self, pos: int, size: int) -> tuple[int, int] | None:
        """Bytes ``[pos, pos + size)`` are being read: which bytes to fetch beside them, if any.

        The answer begins where the last one ended, or with the end of this read, so that answers of reads
        in order never overlap.
        """
        stop, end = pos + size, self._end
        if end is None or abs(pos - end) >= self._near:
            self._begin(pos, stop)
            return None
        self._run += max(0, stop - end)
        self._end = max(stop, end)
        return self._renew()

    def _begin(self, pos: int, stop: int) -> None:
        """Reading in order may begin here."""
        self._end = self._until = stop
        self._promise, self._run = 0, stop - pos

    def _renew(self) -> tuple[int, int] | None:
        """The next bytes to fetch, once the reader has come near enough to the end of the last ones."""
        end = self._end or 0
        if self._until - end > self._promise // 2:
            return None
        promise = min(max(2 * self._promise, self._block_size), self._limit, self._run + self._block_size)
        first, until = max(self._until, end), end + promise
        if until <= first:
            return None
        self._promise, self._until = promise, until
        return first, until
