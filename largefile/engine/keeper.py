"""The thread that makes a kept cache durable while it is filled now and then, and sleeps otherwise.

The committer of a download looks at its cache many times a second, as there always is something to do. A
file that is read at a distance may be left alone for hours, and its blocks may come long after they were
asked for: a server has said "later", or a limit holds them back. So it is what lands that wakes this one.
"""

from __future__ import annotations

import threading
from typing import Protocol

from largefile.errors import CachePoisonedError
from largefile.log import log

__all__ = ["Keeper"]


class Committable(Protocol):
    """What the keeper needs of a cache."""

    @property
    def landed(self) -> threading.Event: ...
    def commit(self) -> int: ...


class Keeper:
    """Commits `cache` a second after something has landed in it, from `start` to `close`.

    Parameters
    ----------
    cache : LocalDownloadCache
    interval : float
        Seconds from the news to the commit.

    A cache that is poisoned or closed takes nothing more, so that ends it: whoever fetches a block for such
    a cache is told by the cache itself. Any other error is logged, and what it left is tried again.

    Examples
    --------
    >>> class Cache:
    ...     landed = threading.Event()
    ...     def commit(self): print("commit")
    >>> keeper = Keeper(Cache(), interval=60)
    >>> keeper.start()
    >>> keeper.close()
    commit
    """

    def __init__(self, cache: Committable, interval: float = 1.0) -> None:
        self._cache = cache
        self._interval = interval
        self._closing = threading.Event()
        self._starting = threading.RLock()  # a finalizer may come in between
        self._thread: threading.Thread | None = None
        self._over = False  # nothing can become durable any more, or everything is

    def start(self) -> None:
        """Begin, if it has not begun yet."""
        with self._starting:
            if self._thread is None and not self._closing.is_set():
                thread = threading.Thread(target=self._run, name="largefile-keeper", daemon=True)
                thread.start()
                self._thread = thread

    def close(self) -> None:
        """Commit what is left, and end the thread; if that is the caller's own, when it is back there."""
        with self._starting:
            self._closing.set()
        self._cache.landed.set()
        if self.is_here:
            return
        if self._thread is not None:
            self._thread.join()
        elif not self._over:
            self._commit()
        self._over = True

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on its thread."""
        return self._thread is threading.current_thread()

    def _run(self) -> None:
        closing = False
        while not closing and not self._over:
            if not self._closing.is_set():  # a commit clears what `close` has set
                self._cache.landed.wait()
            closing = self._closing.wait(self._interval)  # asked before the commit: it is the last
            self._commit()

    def _commit(self) -> None:
        try:
            self._cache.commit()
        except (CachePoisonedError, ValueError) as error:  # ValueError: it was closed
            self._over = True
            log().warning("what was fetched is not durable: %s", error)
        except Exception:  # noqa: BLE001 - it is logged
            self._cache.landed.set()
            log().exception("what was fetched is not durable yet")
