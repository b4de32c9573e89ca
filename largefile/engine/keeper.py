"""The thread that makes a kept cache durable while it is filled now and then, and sleeps otherwise.

The committer of a download looks at its cache many times a second, as there always is something to do. A
file that is read at a distance may be left alone for hours.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from largefile.errors import CacheError

__all__ = ["Keeper"]

log = logging.getLogger("largefile")


class Committable(Protocol):
    """What the keeper needs of a cache."""

    def commit(self) -> int: ...


class Keeper:
    """Commits `cache` a second after it was told that something comes, and each second while it does.

    Parameters
    ----------
    cache : LocalDownloadCache
    busy : callable
        Whether something may be coming now.
    interval : float
        Seconds from the news to the commit.

    Examples
    --------
    >>> class Cache:
    ...     def commit(self): print("commit")
    >>> keeper = Keeper(Cache(), lambda: False, interval=60)
    >>> keeper.touch()
    >>> keeper.close()
    commit
    """

    def __init__(self, cache: Committable, busy: Callable[[], bool], interval: float = 1.0) -> None:
        self._cache = cache
        self._busy = busy
        self._interval = interval
        self._news = threading.Event()
        self._closing = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def touch(self) -> None:
        """Something is about to come. From any thread, and cheap."""
        if self._news.is_set():
            return
        self._news.set()
        with self._starting:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name="largefile-keeper", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Commit what is left, and end the thread."""
        with self._starting:
            self._closing.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._news.wait()
                self._closing.wait(self._interval)
                if not self._busy():
                    self._news.clear()  # before the commit: who comes now is heard
                self._cache.commit()
        except (CacheError, ValueError) as error:
            log.warning("what was fetched is not durable: %s", error)
