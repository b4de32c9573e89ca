"""One run of the engine over one store: scheduler, pump, committer and digest, put together and ended.

Every face of the library (cache, buffer, stream) makes a Session over its store; nothing else starts
transfers.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from largefile.core.byteranges import ByteRanges
from largefile.core.ranges import ByteRange
from largefile.engine.blockmap import block_map
from largefile.engine.digester import Digester, Readable
from largefile.engine.job import Control
from largefile.engine.options import SessionOptions
from largefile.engine.pump import Pump
from largefile.engine.reporter import RateMeter
from largefile.engine.store import Store
from largefile.errors import (
    CacheError,
    IncompleteError,
    LargeFileError,
    SourceChangedError,
    UnsizedSourceError,
)
from largefile.rules.identity import Identity, Match
from largefile.rules.schedule import Scheduler
from largefile.stats import DownloadStats
from largefile.wire.readers import MIB, Probe, Source

__all__ = ["Session"]

log = logging.getLogger("largefile")


class Session:
    """Fill `store` from `source`.

    Parameters
    ----------
    source, store
        From where, to where. The store's size must be the source's.
    control
        Cancels it, from any thread.
    options
        See `SessionOptions`.
    pin
        Told whose bytes will come, before the first of them does.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        control: Control,
        options: SessionOptions | None = None,
        *,
        pin: Callable[[Identity], object] | None = None,
    ) -> None:
        self._source = source
        self._store = store
        self._control = control
        self._pin = pin
        self._options = options or SessionOptions()
        self._pump: Pump | None = None
        self._scheduler: Scheduler | None = None
        self._digester: Digester | None = None
        self._meter = RateMeter()
        self._started = time.monotonic()
        self._resumed_blocks = store.byte_ranges.count
        self._resumed = bytes_set(store.byte_ranges)
        self.identity: Identity | None = None
        self.cache_errors = 0
        self.phase = "probing"
        control.block_map = self.block_map

    # --- the run ---------------------------------------------------------------------------------

    def run(
        self,
        expected: Identity | None = None,
        *,
        digest_by: str | None = None,
        probe: Probe | None = None,
        known: bool = False,
    ) -> str | None:
        """Fetch what is missing; the digest by `digest_by`, if one was asked for.

        Parameters
        ----------
        expected
            Whose bytes the store holds already.
        digest_by
            A hashlib name; the content is hashed while it comes.
        probe
            The first answer, where it was needed to make the store.
        known
            The blocks that the store holds came from this very source, which has compared every answer.

        Raises
        ------
        SourceChangedError
            If the source is not `expected` any more.
        TransferError, CacheError
            What kept it from being complete. What is in place stays.
        """
        try:
            with self._digesting(digest_by):
                if not self._store.byte_ranges.complete:
                    self._fetch(expected, probe, known)
                if self._digester is not None:
                    self.phase = "verifying"
                    return self._digester.result(self._control.check)
                return None
        except CacheError:
            self.cache_errors += 1
            raise
        finally:
            self.phase = "done" if self._store.byte_ranges.complete else "stopped"

    def _fetch(self, expected: Identity | None, probe: Probe | None, known: bool) -> None:
        probe = self._open(expected, probe, known)
        self.phase = "downloading"
        options, store = self._options, self._store
        transport = self._source.transport()
        self._scheduler = scheduler = Scheduler(
            store.byte_ranges.bitmap,
            block_size=store.block_size,
            content_size=store.content_size,
            concurrency=options.concurrency,
            tries=options.tries,
            stall_timeout=options.timeout,
            rng=random.Random(options.seed),
            wait_for_completion=options.wait_for_completion,
            max_iterations=options.max_iterations,
        )
        self._pump = pump = Pump(
            scheduler, self._source, store, transport, rate=options.rate, clock=options.clock
        )
        self._control.on_cancel(pump.cancel)
        if probe.fetch is not None and probe.verdict is not None and probe.sink is not None:
            pump.adopt(probe.fetch, probe.verdict, probe.sink)
        pump.run()
        self._control.check()
        self._check_complete(scheduler)

    def _open(self, expected: Identity | None, probe: Probe | None, known: bool) -> Probe:
        """The first answer, which must speak of the content that this store is for."""
        if probe is None:
            gap = next(self._store.byte_ranges.runs_clear())
            last = min(gap.last, gap.first + MIB - 1)
            probe = self._source.probe(gap.first, last, self._control.check)
        self._control.check()
        self.identity = probe.identity
        if probe.identity.size is None:
            raise UnsizedSourceError(f"{self._source.name} does not say how large it is")
        if probe.identity.size != self._store.content_size:
            raise SourceChangedError(probe.identity.describe(), f"{self._store.content_size} bytes")
        if not known:
            nobody = Identity(None, None, self._store.content_size)
            self._check_version(probe.identity, expected or nobody)
        if self._pin is not None:
            self._pin(probe.identity)
        return probe

    def _check_version(self, found: Identity, expected: Identity) -> None:
        """Whether bytes of `found` may join what the store holds, which is of `expected`."""
        if expected.compare(found) is Match.CONTRADICTORY:
            raise SourceChangedError(found.describe(), expected.describe())
        if self._source.is_anonymous or not self._resumed_blocks:
            return  # nothing ever tells its versions apart, or there is nothing that could be mixed
        agrees, why = expected.resumable_with(replace(found, digest=expected.digest))
        if not agrees:
            raise SourceChangedError(found.describe(), f"{expected.describe()} ({why})")

    def _check_complete(self, scheduler: Scheduler) -> None:
        if self._store.byte_ranges.complete:
            return
        if isinstance(scheduler.error, LargeFileError):
            raise scheduler.error
        failures = scheduler.failures
        gap: ByteRange = next(self._store.byte_ranges.runs_clear())
        cause = failures[-1] if failures else None
        if isinstance(cause, LargeFileError):
            raise cause
        raise IncompleteError(f"{self._source.name}: bytes {gap} could not be had") from cause

    @contextlib.contextmanager
    def _digesting(self, algorithm: str | None) -> Iterator[None]:
        if algorithm is not None and isinstance(self._store, Readable):
            self._digester = Digester(algorithm, self._store)
        try:
            yield
        finally:
            if self._digester is not None:
                self._digester.stop()

    # --- what it has done ------------------------------------------------------------------------

    def block_map(self, cells: int) -> list[float]:
        """How much of each of `cells` equal parts of the content is in place, from any thread."""
        return block_map(self._store.byte_ranges.bitmap, cells)

    def stats(self) -> DownloadStats:
        """A snapshot, from any thread."""
        ranges, pump, scheduler = self._store.byte_ranges, self._pump, self._scheduler
        blocks = ranges.count
        received = pump.received if pump is not None else 0
        now = time.monotonic()
        return DownloadStats(
            cached_or_streamed_bytes=bytes_set(ranges),
            cached_or_streamed_blocks=blocks,
            cache_errors=self.cache_errors,
            downloaded_bytes=received,
            downloaded_blocks=max(0, blocks - self._resumed_blocks),
            download_size=ranges.content_length,
            download_blocks=ranges.num_blocks,
            download_retries=scheduler.retries if scheduler is not None else 0,
            download_errors=scheduler.errors if scheduler is not None else 0,
            iterations=scheduler.iterations if scheduler is not None else 0,
            resumed_bytes=self._resumed,
            rate=self._meter.rate(received, now),
            connections=pump.connections if pump is not None else 0,
            phase=self.phase,
            elapsed=now - self._started,
        )


def bytes_set(ranges: ByteRanges) -> int:
    """How many bytes the set blocks have; the last block may be short."""
    size, short = ranges.content_length, ranges.num_blocks * ranges.block_size - ranges.content_length
    return ranges.count * ranges.block_size - (short if size and ranges.is_set(size - 1) else 0)
