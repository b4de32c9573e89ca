"""Find or make the content that a file opened at a distance will read.

The source is asked who is there, before any cache is looked at. Openers of one name take turns, so that two
of them never make two of it, and the second finds what the first has made.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from largefile.disk.cache import DownloadCache
from largefile.engine.options import SessionOptions
from largefile.engine.shared import Lease, Shared, hold, is_open, let_go, register, turn
from largefile.engine.shelf import Shelf, block_size_for, temporary_cache
from largefile.errors import CacheBusyError, InternalError, UnsizedSourceError
from largefile.log import log
from largefile.rules.verdict import Kind
from largefile.wire.http import HTTPReader
from largefile.wire.readers import Probe

__all__ = ["Opening"]

#: What the first request asks for where nothing is there yet: the first block, or what is likely to be it.
FIRST, MOST = 64 << 10, 1 << 20


class Opening:
    """What one call of `largefile.open` wants: a content of `source`, under these conditions.

    Parameters
    ----------
    source
        Closed, or taken over by the lease.
    options
        See `SessionOptions`.
    block_size
        Bytes, for a cache that is made now; None: by the content's size.
    check
        Called now and then during the first request; what it raises ends it.
    """

    def __init__(
        self,
        source: HTTPReader,
        options: SessionOptions,
        block_size: int | None,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self._check = check
        self._source = source
        self._options = options
        self._block_size = block_size
        self._first = min(block_size or FIRST, MOST)  # bytes

    # --- the three places ------------------------------------------------------------------------

    def temporary(self) -> Lease:
        """Over a cache of its own, of which nothing is left."""
        return self._in_temporary(self._probe(self._first - 1))

    def over(self, cache: DownloadCache) -> Lease:
        """Over the caller's cache, which stays the caller's."""
        key = ("cache", id(cache))
        with turn(key):
            empty = not is_open(key) and not cache.cached_bytes_and_blocks()[1]
            probe = self._probe(self._first - 1 if empty else 0)
            size, _ = cache.content_length_and_block_size()
            if probe.identity.size != size:
                raise ValueError(f"cache size {size} does not match file size {probe.identity.size}")
            return self._use(key, hold(key) or register(key, Shared(cache, owned=False)), probe)

    def in_folder(self, folder: str | os.PathLike[str], stem: str) -> Lease:
        """Over the cache of that name in a folder, which is kept; a temporary one where that can not be."""
        shelf = Shelf(folder, stem)
        with turn((shelf.path, stem)):
            probe = self._probe(self._first - 1 if shelf.is_empty else 0)
            identity = probe.identity
            if not identity.resumable_with(identity)[0]:
                log().info("%s is not kept: %s", self._source.name, identity.resumable_with(identity)[1])
                return self._in_temporary(probe)
            try:
                return self._on_shelf(shelf, probe)
            except CacheBusyError as error:
                log().warning("%s is not kept: %s", self._source.name, error)
                return self._in_temporary(probe)

    def _on_shelf(self, shelf: Shelf, probe: Probe) -> Lease:
        for part in shelf.parts():
            shared = hold(part)
            if shared is not None and not shared.agrees_with(probe.identity):
                let_go(part, shared)
                continue
            if shared is None:
                cache = shelf.take(part, probe.identity, self._size_of_blocks(probe), self._source.name)
                if cache is None:
                    continue
                shared = register(part, Shared(cache, owned=True))
            return self._use(part, shared, probe)
        raise InternalError("the names have an end")

    def _in_temporary(self, probe: Probe) -> Lease:
        cache = temporary_cache(probe.identity, self._size_of_blocks(probe), self._source.name)
        key = object()
        return self._use(key, register(key, Shared(cache, owned=True)), probe)

    # --- how -------------------------------------------------------------------------------------

    def _probe(self, last: int) -> Probe:
        """The first answer; its body is let go of, where it would only be one byte."""
        probe = self._source.probe(0, last, self._check)
        if probe.identity.size is None:
            raise UnsizedSourceError(f"{self._source.name} does not say how large it is")
        partial = probe.verdict is not None and probe.verdict.kind is not Kind.WHOLE
        if probe.fetch is not None and partial and not last:
            self._source.transport().refuse(probe.fetch)
            return Probe(probe.identity)
        return probe

    def _size_of_blocks(self, probe: Probe) -> int:
        return self._block_size or block_size_for(probe.identity.size or 0)

    def _use(self, key: object, shared: Shared, probe: Probe) -> Lease:
        """A lease on what we hold. An engine that works goes on with the options that it began with."""
        try:
            if not shared.works:
                shared.begin(self._source, self._options, probe)
                shared.allow_private = self._source.allow_private
            elif shared.allow_private and not self._source.allow_private:
                raise CacheBusyError(self._source.name, "a file that may go to private addresses")
            else:
                shared.check(probe.identity)
                self._source.close()
            return Lease(key, shared)
        except BaseException:
            let_go(key, shared)
            raise
