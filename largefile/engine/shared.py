"""Who shares what: the files of one process that read one cache have one engine, and no block comes twice.

A `Shared` is a cache and the engine that fills it. The registry knows each by a key, counts its users,
and closes it when the last one lets go; whoever comes for it meanwhile waits until it is closed. In the
child of a fork the registry is empty, as the engines are the parent's.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from largefile.disk.cache import DownloadCache, LocalDownloadCache
from largefile.engine.content import Content, Run, Wish
from largefile.engine.keeper import Keeper
from largefile.engine.options import SessionOptions
from largefile.engine.store import ForeignStore, Store
from largefile.errors import CacheError, InternalError, SourceChangedError
from largefile.rules.identity import Identity, Match
from largefile.wire.readers import Probe, Source

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Lease", "Shared", "hold", "is_open", "let_go", "register", "turn"]

log = logging.getLogger("largefile")


class ReadableStore(Store, Protocol):
    """A store that gives back what is in it."""

    def readinto(self, buffer: Buffer, offset: int, /) -> int: ...


class Shared:
    """A cache and the engine that fills it. The last user closes both, but a cache of the caller's."""

    def __init__(self, cache: DownloadCache, owned: bool) -> None:
        self.cache = cache
        self.store: ReadableStore = cache if isinstance(cache, LocalDownloadCache) else ForeignStore(cache)
        self.users = 0
        self.gone = threading.Event()
        self.content: Content | None = None
        self._owned = owned
        durable = isinstance(cache, LocalDownloadCache) and cache.durable
        self.keeper = Keeper(cache, self._busy) if durable else None  # type: ignore[arg-type]

    def _busy(self) -> bool:
        return self.content is not None and self.content.stats().connections > 0

    @property
    def works(self) -> bool:
        """Whether missing blocks can still be had."""
        return self.content is not None and self.content.error is None

    def agrees_with(self, found: Identity) -> bool:
        """Whether the version that this is of may be the one that a server has now."""
        if isinstance(self.cache, LocalDownloadCache) and self.cache.identity.resumable_with(found)[0]:
            return True
        pinned = self.content.identity if self.content is not None else None
        return not self._owned and pinned is not None and pinned.compare(found) is not Match.CONTRADICTORY

    def check(self, found: Identity) -> None:
        """SourceChangedError if `found` is another version than this is of."""
        if not self.agrees_with(found):
            was = self.content.identity if self.content is not None else None
            raise SourceChangedError(found.describe(), was.describe() if was else "another version")

    def begin(self, source: Source, options: SessionOptions, probe: Probe) -> None:
        """Have `source` fill what is missing from now on, in the place of an engine that failed."""
        if self.content is not None:
            self.content.close()
        expected, pin = Identity(None, None, self.store.content_size), None
        if isinstance(self.cache, LocalDownloadCache):
            expected, pin = replace(self.cache.identity, digest=None), self.cache.pin
        self.content = Content(source, self.store, options, probe, expected=expected, pin=pin)

    def close(self) -> None:
        """End the engine, and then the cache; every reader has left."""
        if self.content is not None:
            self.content.close()
        if self.keeper is not None:
            self.keeper.close()
        if self._owned:
            self.cache.close()


class Lease:
    """One open file's share of a content; `release` it once."""

    def __init__(self, key: object, shared: Shared) -> None:
        if shared.content is None:
            raise InternalError("a content is shared that nobody has begun")
        self.content = shared.content
        self.store = shared.store
        self.cache = shared.cache
        self._keeper = shared.keeper
        self._key = key
        self._shared = shared

    def ask(self, runs: list[Run], ahead: Iterable[Run] = ()) -> Wish:
        """`Content.ask`, and what comes is made durable where it is kept."""
        if self._keeper is not None:
            self._keeper.touch()
        return self.content.ask(runs, ahead)

    def release(self) -> None:
        """Let go of it. The last one waits until the engine is over, and closes the cache."""
        let_go(self._key, self._shared)


# --- what is open ----------------------------------------------------------------------------------

_lock = threading.RLock()
_open: dict[object, Shared] = {}
_turns: weakref.WeakValueDictionary[object, threading.Lock] = weakref.WeakValueDictionary()


def register(key: object, shared: Shared) -> Shared:
    """A new one, with us as its first user."""
    with _lock:
        shared.users = 1
        _open[key] = shared
    return shared


def hold(key: object) -> Shared | None:
    """What is open under this key, with us as one more user; what is just being closed is waited for."""
    while True:
        with _lock:
            shared = _open.get(key)
            if shared is None:
                return None
            if shared.users:
                shared.users += 1
                return shared
        shared.gone.wait()


def let_go(key: object, shared: Shared) -> None:
    """We are no user any more; the last one closes it, and it is under its key until it is closed."""
    with _lock:
        shared.users -= 1
        if shared.users:
            return
    try:
        shared.close()
    finally:
        with _lock:
            if _open.get(key) is shared:
                del _open[key]
        shared.gone.set()


def turn(key: object) -> threading.Lock:
    """The lock of those who open this name."""
    with _lock:
        lock = _turns.get(key)
        if lock is None:
            lock = _turns[key] = threading.Lock()
        return lock


def is_open(key: object) -> bool:
    """Whether somebody uses what is under this key, or is just closing it."""
    return key in _open


@atexit.register
def _close_all() -> None:
    """While threads still run: a file that is only collected later finds its engine ended."""
    for shared in list(_open.values()):
        try:
            shared.close()
        except (CacheError, ValueError) as error:
            log.warning("a cache was not closed well: %s", error)


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    _open.clear()
    _turns.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
