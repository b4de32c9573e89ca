"""Group commit: how an entry becomes one that a power loss leaves true.

Four steps, with no way around them: take the list of the blocks that have landed; sync the data; copy
the entries of that list only; sync the index. What lands after the first step waits for the next commit.

A sync that fails is not tried again: the system forgets the pages that it could not write, and the
second try succeeds over lost bytes. The cache is poisoned instead, and the next open sorts out, block by
block, what can be believed.

While a committer is at work (`bounded`), what has landed and is not on the disk has a limit, which follows
the disk's speed. Nobody is stopped here; the engine asks for `backlog`, and waits for room.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from largefile.core.bitmap import Bitmap
from largefile.disk.files import CacheFile, LocalFile
from largefile.disk.header import State
from largefile.disk.index import Index
from largefile.disk.pages import CleanPages
from largefile.errors import CacheError, CachePoisonedError
from largefile.rules.backlog import LEAST, backlog_limit

__all__ = ["GroupCommit"]

#: A commit is due when so many bytes have landed.
ENOUGH = 256 << 20
#: Write-back is waited for by so many bytes at a time.
PIECE = 32 << 20


class GroupCommit:
    """What has landed and is not durable yet.

    Attributes
    ----------
    due : threading.Event
        Set when enough has landed, or when the cache was poisoned.
    landed : threading.Event
        Set while anything has landed that no commit has taken.
    poisoned : str or None
        Why nothing may be written any more.
    """

    def __init__(
        self, data: CacheFile, index: Index, pending: Bitmap, on_poison: Callable[[], object]
    ) -> None:
        self.due = threading.Event()
        self.landed = threading.Event()
        self.poisoned: str | None = None
        self._data = data
        self._index = index
        self._inherited = list(pending.runs_set())
        if self._inherited:
            self.landed.set()
        # Appended to by every connection's thread and taken from by the committer's; no lock is needed,
        # as each operation on a deque is atomic.
        self._landed: deque[int] = deque()
        self._pages: CleanPages | None = None
        self._taken = 0  # blocks off the list, and not on the disk yet
        self._memory: int | None = None  # None: nobody commits all the time, so there is no limit
        self._bytes = self._seconds = 0.0  # what the disk took, and how long it took
        self._room = threading.Event()
        self._limit()
        self._on_poison = on_poison
        self._lock = threading.Lock()

    def add(self, block: int) -> None:
        """`block` is in place and its live entry is stored."""
        self._landed.append(block)
        if not self.landed.is_set():  # `commit` clears it first, and takes the list then
            self.landed.set()
        if len(self._landed) >= self._enough and not self.due.is_set():
            self.due.set()

    def commit(self) -> int:
        """Make durable what has landed until now; how many blocks that was."""
        with self._lock:
            self.check()
            self.due.clear()
            self.landed.clear()
            inherited, self._inherited = self._inherited, []
            runs = inherited + self._take()
            if not runs:
                return 0
            try:
                with self._poisoning("a sync failed"):
                    with self._measured():
                        self._data.sync()
                    for start, stop in runs:
                        self._index.make_durable(start, stop)
                    self._index.sync()
            except BaseException:
                self._inherited = runs  # Ctrl-C between two steps: they are all made again
                self.landed.set()
                raise
            self._are_clean(runs)
            return sum(stop - start for start, stop in runs)

    def write_back(self, goes_on: Callable[[], bool] = lambda: True) -> None:
        """Wait until the disk has taken what has landed until now, as long as it `goes_on`. No entry says so:
        that is for a commit."""
        with self._lock:
            self.check()
            self.due.clear()
            runs = self._take()
            self._inherited += runs
            with self._poisoning("the disk did not take what was written"), self._measured():
                self._are_clean(
                    [piece for piece in self._pieces(runs) if goes_on() and self._has_taken(*piece)]
                )

    # --- how far the disk is behind -------------------------------------------------------------

    @contextlib.contextmanager
    def bounded(self, memory: int, pages: CleanPages | None, speed: float | None = None) -> Iterator[None]:
        """There is a limit to the backlog, on a machine with so many bytes of memory: somebody commits, or
        writes back, whenever it is due. `pages` has what is present, and is told what the disk has. `speed`
        is what is thought of the disk at first."""
        with self._lock:
            self._pages = pages
            self._are_written(self._inherited)
            self._are_written((block, block + 1) for block in list(self._landed))
        self._memory = memory
        self._limit(backlog_limit(memory, speed))
        try:
            yield
        finally:
            with self._lock:  # no commit of somebody else may be about to set a limit
                self._memory = self._pages = None
                self._limit()

    def drop_pages(self, end: int, *, short: bool) -> None:
        """Drop the pages of blocks before `end` that the disk has: long runs, or `short` ones as well."""
        with self._lock:
            if self._pages is not None:
                self._pages.drop(end, short=short)

    @property
    def backlog(self) -> float:
        """What has landed and is not on the disk, as a part of what may be: from 1 on it is too much."""
        return (len(self._landed) + self._taken) / self._most

    def wait_for_room(self, timeout: float) -> None:
        """Wait until the disk has caught up a bit, or for so many seconds."""
        self._room.clear()
        if self.backlog >= 1:  # asked again: what has made room meanwhile has set it before
            self._room.wait(timeout)

    def _limit(self, limit: float = math.inf) -> None:
        """Let the backlog have so many bytes.

        At half of it a commit is due, so that the other half comes in while the disk is busy with that.
        """
        size = self._index.header.block_size
        self._most = max(1.0, limit / size)
        self._enough = max(1, int(min(ENOUGH, limit / 2)) // size)
        if len(self._landed) >= self._enough:
            self.due.set()  # nothing more may come that would
        self._room.set()

    @contextlib.contextmanager
    def _measured(self) -> Iterator[None]:
        """What was taken off the list is brought to the disk meanwhile."""
        began, size = time.monotonic(), self._taken * self._index.header.block_size
        try:
            yield
        finally:
            self._taken = 0
            self._room.set()
        if self._memory is not None and size >= LEAST:  # of less, the time tells of anything but the speed
            # Older ones count half each time. One alone may have waited for what the next one finds done.
            self._bytes = self._bytes / 2 + size
            self._seconds = self._seconds / 2 + time.monotonic() - began
            self._limit(backlog_limit(self._memory, self._bytes / max(1e-9, self._seconds)))

    def _pieces(self, runs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """The same in short runs: whoever wants to end does not wait for more than one."""
        step = max(1, PIECE // self._index.header.block_size)
        for start, stop in runs:
            for first in range(start, stop, step):
                yield first, min(first + step, stop)

    def _has_taken(self, start: int, stop: int) -> bool:
        """Whether the disk has, now that it was waited for, blocks `start` to `stop` - 1."""
        size = self._index.header.block_size
        offset, end = start * size, min(stop * size, self._index.header.content_size)
        return isinstance(self._data, LocalFile) and self._data.wait_writeback(offset, end - offset)

    def _are_clean(self, runs: Iterable[tuple[int, int]]) -> None:
        if self._pages is not None:
            for start, stop in runs:
                self._pages.add(start, stop)

    def _are_written(self, runs: Iterable[tuple[int, int]]) -> None:
        if self._pages is not None:
            for start, stop in runs:
                self._pages.remove(start, stop)

    @contextlib.contextmanager
    def without(self, start: int, stop: int) -> Iterator[None]:
        """Take blocks `start` to `stop` - 1 off the list, and let no commit be under way meanwhile.

        A commit copies an entry some time after it has synced the bytes: were they replaced in between, the
        entry would be that of bytes that no sync has seen. If the body raises, the list is as it was: what is
        present still is to be made durable, and of what is not a commit copies an entry of zero.
        """
        with self._lock:
            landed, inherited = list(self._landed), self._inherited
            for _ in range(len(landed)):
                block = self._landed.popleft()
                if not start <= block < stop:
                    self._landed.append(block)
            pieces = [((a, min(b, start)), (max(a, stop), b)) for a, b in inherited]
            self._inherited = [(a, b) for both in pieces for a, b in both if a < b]
            self._are_written([(start, stop)])
            try:
                yield
            except BaseException:
                self._inherited = inherited
                self._landed.extend(block for block in landed if start <= block < stop)
                self.landed.set()
                raise

    def sync_data(self) -> None:
        """Sync the data once, so that an error that a dead predecessor left behind is seen."""
        with self._lock, self._poisoning("the first sync failed"):
            self.check()
            self._data.sync()

    def sync_index(self) -> None:
        """Sync the index, within `without`: a commit beside it would not be told that a sync failed."""
        with self._poisoning("a sync failed"):
            self._index.sync()

    def check(self) -> None:
        """Raise CachePoisonedError if a sync has failed."""
        if self.poisoned is not None:
            raise CachePoisonedError(self._data.name, self.poisoned)

    def poison(self, reason: str) -> None:
        """Trust nothing that no sync vouches for, and let nothing more be written."""
        if self.poisoned is not None:
            return
        self.poisoned = reason
        blocks = self._index.header.num_blocks
        durable, other = Bitmap(blocks), Bitmap(blocks)
        self._index.live.scan_pair(self._index.durable, durable, other)
        # The disk is failing: each of the two is tried, and either is enough for who opens it next.
        with contextlib.suppress(CacheError):
            self._index.keep_only(durable)
        with contextlib.suppress(CacheError):
            self._index.write_header(state=State.POISONED)
        self.due.set()
        self._on_poison()

    def _take(self) -> list[tuple[int, int]]:
        """The list, as ascending runs. Blocks that land from here on stay for the next one."""
        self._taken = count = len(self._landed)
        return list(_runs(sorted(self._landed.popleft() for _ in range(count))))

    @contextlib.contextmanager
    def _poisoning(self, what: str) -> Iterator[None]:
        try:
            yield
        except CachePoisonedError:
            raise
        except (CacheError, OSError) as error:
            self.poison(f"{what}: {error}")
            raise CachePoisonedError(self._data.name, f"{what}: {error}") from error


def _runs(blocks: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as half-open runs."""
    start = stop = -1
    for block in blocks:
        if block > stop:
            if stop >= 0:
                yield start, stop
            start = block
        stop = block + 1
    if stop >= 0:
        yield start, stop
