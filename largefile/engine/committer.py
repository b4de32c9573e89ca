"""The thread that makes what has landed durable: every second, every 256 MiB, and at the end.

The four steps of a commit are the cache's (`largefile.disk.commit`); here is only when. Nothing waits for
this thread but its `close`: connections go on landing blocks while it syncs.

Without durability it only waits, every 256 MiB, until the disk has taken them: so what it owes is bounded
either way (`largefile.rules.backlog`), and the sync of the publication is short. Clean pages of a content
that is too large for the memory are dropped, up to where the digest has come.

In between, many times a second, it has the disk begin with what the system owes it, without waiting: what
is left for a sync to wait for is then little. Measured: 1 GiB in 0.9 s, 1.4 s without.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from typing import Protocol, Self

from largefile.errors import CacheError
from largefile.log import log

__all__ = ["Committer"]

#: Seconds between two beginnings of write-back.
KICK = 0.03


class Committable(Protocol):
    """What the committer needs of a cache."""

    @property
    def commit_due(self) -> threading.Event: ...
    def sync_data(self) -> None: ...
    def commit(self) -> int: ...
    def write_back(self, goes_on: Callable[[], bool]) -> None: ...
    def start_writeback(self) -> None: ...
    def committing(self, *, durable: bool) -> contextlib.AbstractContextManager[None]: ...
    def drop_pages(self, until: int, *, short: bool) -> None: ...


class Committer:
    """Commits `cache` from a thread of its own, from `start` to `close`.

    Parameters
    ----------
    cache : LocalDownloadCache
    durable : bool
        Without it nothing is synced: the publication, or the next committer, does.
    interval : float
        Seconds between two commits.
    passed : callable
        How many bytes, from the first on, nobody will read again soon.

    Examples
    --------
    >>> class Cache:
    ...     commit_due = threading.Event()
    ...     def committing(self, durable): return contextlib.nullcontext()
    ...     def start_writeback(self): pass
    ...     def drop_pages(self, until, short): print("drop", until)
    ...     def sync_data(self): print("sync")
    ...     def commit(self): print("commit")
    >>> with Committer(Cache(), interval=60, passed=lambda: 7):
    ...     pass
    sync
    commit
    drop 7
    """

    def __init__(
        self,
        cache: Committable,
        *,
        durable: bool = True,
        interval: float = 1.0,
        passed: Callable[[], int] = lambda: 0,
    ) -> None:
        self._cache = cache
        self._interval = interval if durable else math.inf
        self._passed = passed
        self._closing = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="largefile-committer", daemon=True)
        self._durable = durable

    @property
    def error(self) -> BaseException | None:
        """Why it stopped early: a sync failed, and the cache is poisoned."""
        return self._error

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Make the last commit and end the thread. Raises what a commit has raised, once it is over."""
        self._closing.set()
        while self._thread.is_alive():
            self._cache.commit_due.set()  # again, as anybody's commit clears it
            self._thread.join(0.05)
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self.close()
        except CacheError:
            if error is None:
                raise
            log().exception("the last commit failed")

    def _run(self) -> None:
        try:
            with self._cache.committing(durable=self._durable):
                self._commit_all()
        except BaseException as error:  # noqa: BLE001 - kept for `close`, which raises it
            self._error = error

    def _commit_all(self) -> None:
        if self._durable:
            # A write-back error that a dead predecessor left behind is seen by the first sync after it.
            self._cache.sync_data()
        closing = False
        while not closing:
            if not self._closing.is_set():
                self._wait()
            closing = self._closing.is_set()  # asked before the commit takes its list: it is the last
            if self._durable:
                self._cache.commit()
            elif not closing:  # or who publishes syncs it all
                self._cache.write_back(lambda: not self._closing.is_set())
            self._cache.drop_pages(self._passed(), short=closing)

    def _wait(self) -> None:
        """Until the next commit is due; the disk is kept busy meanwhile."""
        until = time.monotonic() + self._interval
        while (left := until - time.monotonic()) > 0 and not self._cache.commit_due.wait(min(KICK, left)):
            self._cache.start_writeback()
