"""A cache that another process writes: read while it grows, and never written to.

No wake-up crosses processes, so a follower polls: the entry after the head, after 1 ms, then twice as
long up to 50 ms. The state comes from the header, whether the writer is alive from its lock.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Self

from largefile.disk.fileops import REAL, MissingFileError
from largefile.disk.files import CacheFile, LocalFile, close_all
from largefile.disk.header import State
from largefile.disk.opening import facts_of, open_for_reading
from largefile.disk.reading import CacheReads
from largefile.disk.recovery import counts_live, counts_pairs
from largefile.errors import CachePoisonedError, SourceChangedError

__all__ = ["FollowerCache"]

_SHORT, _LONG = 0.001, 0.050  # seconds between two looks


class FollowerCache(CacheReads):
    """The reading side of a cache, in any process; ``LocalDownloadCache.open(…, read_only=True)`` gives one.

    Parameters
    ----------
    data, index : CacheFile
        Open for reading. They are closed with the follower.
    """

    def __init__(self, data: CacheFile, index: CacheFile) -> None:
        facts = facts_of(data, data.ops if isinstance(data, LocalFile) else REAL)
        opened = open_for_reading(data, index)
        super().__init__(data, opened.index, opened.ranges)
        self._closed = False
        self._delay = _SHORT
        # Who writes it has it mounted, and perhaps elsewhere.
        self._facts = facts._replace(mount=0)
        self._generation = opened.index.header.generation
        self._live = opened.live

    @property
    def state(self) -> State:
        """Where the download is in its life, as the header says now."""
        return self._index.refresh().state

    @property
    def owner(self) -> str:
        """The last known writer."""
        return self._index.header.owner

    def writer_alive(self) -> bool | None:
        """Whether a process holds the writer's lock; None where that cannot be told."""
        return self._index.file.is_locked() if isinstance(self._index.file, LocalFile) else None

    def replaced(self) -> bool:
        """Whether the index's name belongs to another file now, or to none: a restart, or the publication."""
        file = self._index.file
        if not isinstance(file, LocalFile):
            return False
        try:
            found = file.ops.stat(file.name)
        except MissingFileError:
            return True
        mine = file.stat()
        return (found.st_dev, found.st_ino) != (mine.st_dev, mine.st_ino)

    def refresh(self) -> None:
        """See what the writer has done since the last look.

        Raises
        ------
        CachePoisonedError
            If the writer found that the disk had lost something.
        SourceChangedError
            If the writer began again with another version of the content.
        FileNotFoundError
            If somebody has removed the files, and nobody writes them: nothing can come (the error is also a
            CacheIOError).
        """
        header = self._index.refresh()
        if header.state is State.POISONED:
            raise CachePoisonedError(self.path, "a sync failed in the process that writes it")
        if header.state is State.SUPERSEDED:
            raise SourceChangedError("another version", header.identity.describe())
        self._look(self._ranges.head_block, self.num_blocks, run=True)
        if not self.complete:
            self._check_named()

    def close(self) -> None:
        try:
            with self._grown:
                if self._closed:
                    return
                self._closed = True
                self._index.release()
                close_all(self._data, self._index.file)
        finally:
            self._wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check(self) -> None:
        if self._closed:
            raise ValueError(f"{self.path} is closed")

    def _check_named(self) -> None:
        """Raise if nothing can come any more: no name leads to the files, and nobody writes them."""
        gone = self.writer_alive() is False and self.replaced()
        # The state is looked at once more, and last: who ends a download says so before the name goes.
        if gone and self._index.refresh().state is State.FILLING:
            raise MissingFileError(errno.ENOENT, "following", self._index.path)

    def _gap(self, start: int, stop: int) -> int | None:
        gap = super()._gap(start, stop)
        if gap is not None:
            self._index.refresh()
            self._look(gap, stop, run=False)
            gap = super()._gap(start, stop)
        return gap

    def _wait(self, left: float | None) -> None:
        head = self._ranges.head_block
        self.refresh()
        if self._ranges.head_block != head:
            self._delay = _SHORT
            return
        self._grown.wait(self._delay if left is None else min(self._delay, left))
        self._delay = min(2 * self._delay, _LONG)

    def _await(self, pos: int, left: float | None, wakes: int, looks: int) -> bool:
        block = pos // self.block_size
        with self._grown:  # so that no file is closed under the look
            self._check()
            self.refresh()
            self._look(block, block + 1, run=False)
        delay = min(_SHORT * 2 ** min(looks, 10), _LONG)
        return self._ranges.wait_set(pos, delay if left is None else min(delay, left), wakes)

    def _look(self, start: int, stop: int, *, run: bool) -> None:
        """Believe new entries of the absent blocks in ``[start, stop)``; of a `run`, up to the first gap."""
        proves = self._proof()
        if proves is None:
            return
        block = self._ranges.bitmap.find_clear(start, stop)
        while block is not None:
            if proves(block):
                self._ranges.set_block(block)
            elif run:
                return
            block = self._ranges.bitmap.find_clear(block + 1, stop) if block + 1 < stop else None

    def _proof(self) -> Callable[[int], bool] | None:
        """What proves a block: a live entry, if its writer made a recovery in this boot, over this file."""
        header = self._index.header
        if header.generation != self._generation:
            self._generation = header.generation
            self._live = counts_live(self._index, self._facts)
        if not self._index.certain:
            return None
        if self._live:
            return self._index.live.is_sealed
        return self._is_durable if counts_pairs(self._index, self._facts) else None

    def _is_durable(self, block: int) -> bool:
        live, durable = self._index.live, self._index.durable
        contents = {table[block] & 0xFFFFFFFF for table in (live, durable)}
        return live.is_sealed(block) and durable.is_sealed(block) and len(contents) == 1
