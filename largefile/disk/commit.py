"""Group commit: how an entry becomes one that a power loss leaves true.

Four steps, with no way around them: take the list of the blocks that have landed; sync the data; copy
the entries of that list only; sync the index. What lands after the first step waits for the next commit.

A sync that fails is not tried again: the system forgets the pages that it could not write, and the
second try succeeds over lost bytes. The cache is poisoned instead, and the next open sorts out, block by
block, what can be believed.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from largefile.core.bitmap import Bitmap
from largefile.disk.files import CacheFile
from largefile.disk.header import State
from largefile.disk.index import Index
from largefile.errors import CacheError, CachePoisonedError

__all__ = ["GroupCommit"]

#: A commit is due when so many bytes have landed.
ENOUGH = 256 << 20


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
        self._enough = max(1, ENOUGH // index.header.block_size)
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
            runs = self._take()
            if not runs:
                return 0
            try:
                with self._poisoning("a sync failed"):
                    self._data.sync()
                    for start, stop in runs:
                        self._index.make_durable(start, stop)
                    self._index.sync()
            except BaseException:
                self._inherited = runs  # Ctrl-C between two steps: they are all made again
                self.landed.set()
                raise
            return sum(stop - start for start, stop in runs)

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
        inherited, self._inherited = self._inherited, []
        blocks = [self._landed.popleft() for _ in range(len(self._landed))]
        return inherited + list(_runs(sorted(blocks)))

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
