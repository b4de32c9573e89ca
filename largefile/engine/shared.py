"""Who shares what: the files of one process that read one cache have one engine, and no block comes twice.

A `Shared` is a cache and the engine that fills it. The registry knows each by a key, counts its users,
and closes it when the last one lets go; whoever comes for it meanwhile waits until it is closed. In the
child of a fork the registry is empty, as the engines are the parent's.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from largefile.disk.cache import DownloadCache, LocalDownloadCache
from largefile.engine.content import Content, Run, Wish
from largefile.engine.keeper import Keeper
from largefile.engine.options import SessionOptions
from largefile.engine.store import ForeignStore, Store
from largefile.engine.whose import recall, remember
from largefile.errors import CacheError, InternalError, SourceChangedError
from largefile.log import log
from largefile.rules.identity import Identity, Match
from largefile.wire.readers import Probe, Source

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Lease", "Shared", "hold", "is_open", "let_go", "register", "turn"]


class ReadableStore(Store, Protocol):
    """A store that gives back what is in it."""

    def readinto(self, buffer: Buffer, offset: int, /) -> int: ...


class Shared:
    """A cache and the engine that fills it. The last user closes both, but a cache of the caller's."""

    def __init__(self, cache: DownloadCache, owned: bool) -> None:
        self.cache = cache
        self.store: ReadableStore = cache if isinstance(cache, LocalDownloadCache) else ForeignStore(cache)
        self.users = 0
        self.allow_private = True  # whether the engine may go to private addresses
        self.gone = threading.Event()
        self.content: Content | None = None
        self._owned = owned
        self._fills: LocalDownloadCache | None = None
        self.keeper: Keeper | None = None
        if isinstance(cache, LocalDownloadCache):
            if cache.durable and not owned:
                cache.sync_data()  # a dead predecessor's write-back may have failed: seen before any read
            cache.begin_filling()
            self._fills = cache
            self.keeper = Keeper(cache) if cache.durable else None

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
        expected = self._expect(probe.identity)
        self.content = Content(source, self.store, options, probe, expected=expected, pin=self._pin)
        if self.keeper is not None:
            self.keeper.start()

    def _expect(self, found: Identity) -> Identity:
        """Whose bytes are here; ValueError if nothing can tell whether they are of `found`."""
        nobody = Identity(None, None, self.store.content_size)
        if isinstance(self.cache, LocalDownloadCache):
            known = self.cache.identity._replace(digest=None)
        else:
            known = (recall(self.cache) if self.store.byte_ranges.count else None) or nobody
        agrees, why = known.resumable_with(found)
        if self.store.byte_ranges.count and not agrees and known.difference(found) is None:
            if found.has_validator and not known.has_validator:
                why = "where these came from is not known"
            raise ValueError(
                "the cache holds blocks already, and nothing shows that they are of the version that the "
                f"server has now ({why}); needed is an empty cache, or one whose blocks came from a server "
                "that gives a strong ETag or Last-Modified"
            )
        return known

    def _pin(self, identity: Identity) -> None:
        if isinstance(self.cache, LocalDownloadCache):
            self.cache.pin(identity)
        else:
            remember(self.cache, identity)

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on a thread of this, which can not wait for itself."""
        engine = self.content is not None and self.content.is_here
        return engine or (self.keeper is not None and self.keeper.is_here)

    def close(self) -> None:
        """End the engine, and then the cache; every reader has left. What fails of it keeps nothing open."""
        with contextlib.ExitStack() as steps:  # the last one first
            if self._owned:
                steps.callback(self.cache.close)
            if self._fills is not None:
                steps.callback(self._fills.end_filling)
                self._fills = None
            if self.keeper is not None:
                steps.callback(self.keeper.close)
            if self.content is not None:
                steps.callback(self.content.close)


class Lease:
    """One open file's share of a content; `release` it once."""

    def __init__(self, key: object, shared: Shared) -> None:
        if shared.content is None:
            raise InternalError("a content is shared that nobody has begun")
        self.content = shared.content
        self.store = shared.store
        self.cache = shared.cache
        self._key = key
        self._shared = shared

    def ask(self, runs: list[Run], ahead: Iterable[Run] = ()) -> Wish:
        """See `Content.ask`."""
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
    if shared.is_here:  # the collector ran somebody's finalizer in the middle of our own work
        threading.Thread(target=_close, args=(key, shared), name="largefile-close", daemon=True).start()
    else:
        _close(key, shared)


def _close(key: object, shared: Shared) -> None:
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
            log().warning("a cache was not closed well: %s", error)


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    _open.clear()
    _turns.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
