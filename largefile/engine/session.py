"""One run of the engine over one store: scheduler, pump, committer and digest, put together and ended.

Every face of the library (cache, buffer, stream, seekable file) makes a Session over its store; nothing
else starts transfers. What it fetches, and in which order, is its `Shape`.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from largefile.core.byteranges import ByteRanges
from largefile.engine.blockmap import block_map
from largefile.engine.crew import Crew
from largefile.engine.job import Control
from largefile.engine.options import SessionOptions, engine_threads
from largefile.engine.pump import IDLE
from largefile.engine.reporter import RateMeter
from largefile.engine.store import Store
from largefile.errors import (
    CacheError,
    IncompleteError,
    LargeFileError,
    SourceChangedError,
    UnsizedSourceError,
)
from largefile.rules.actions import Refused
from largefile.rules.governor import Governor
from largefile.rules.identity import Identity, Match
from largefile.rules.schedule import Scheduler
from largefile.stats import DownloadStats
from largefile.wire.readers import MIB, Probe, Source

if TYPE_CHECKING:
    from largefile.engine.digester import Digester

__all__ = ["Session", "Shape"]

#: Bytes to fetch, from which on a second thread pays.
WORTH_A_THREAD = 32 * MIB


class Shape(NamedTuple):
    """What is fetched, and in which order: all of it, a window that follows a reader, or what is demanded.

    `window` and `head` are blocks, spans are bytes; see `largefile.rules.schedule.Scheduler`.
    """

    window: int | None = None
    head: int = 0
    on_demand: bool = False
    min_span: int = 1
    max_span: int = 64 << 20


EVERYTHING = Shape()


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
    shape
        By default everything is fetched.

    `run` does it all. `begin`, `step` and `end` are the same by the piece, for who turns the loop himself;
    one thread at a time may call them. Whatever `step` did, `end` comes after it.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        control: Control,
        options: SessionOptions | None = None,
        *,
        pin: Callable[[Identity], object] | None = None,
        shape: Shape = EVERYTHING,
    ) -> None:
        self._source = source
        self._store = store
        self._control = control
        self._pin = pin
        self._shape = shape
        #: Called on the thread that turns the loop, with demanded blocks that can not be had.
        self.on_refused: Callable[[Refused], object] | None = None
        self._options = options or SessionOptions()
        self._crew: Crew | None = None
        self._scheduler: Scheduler | None = None
        self._digester: Digester | None = None
        self._ended = False
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
        try:
            self.begin(expected, probe=probe, known=known)
            while self.step():
                pass
        finally:
            self.end()

    def begin(
        self, expected: Identity | None = None, *, probe: Probe | None = None, known: bool = False
    ) -> None:
        """Get the first answer, and what is needed to go on from it; arguments and errors as of `run`."""
        probe = self._open(expected, probe, known)
        self._source.begin_use()
        self.phase = "downloading"
        self._scheduler = scheduler = self._make_scheduler()
        self._crew = crew = self._make_crew(scheduler)
        crew.on_refused = self.on_refused
        self._control.on_cancel(crew.cancel)
        if probe.fetch is not None and probe.verdict is not None and probe.sink is not None:
            crew.adopt(probe.fetch, probe.verdict, probe.sink)

    def _make_crew(self, scheduler: Scheduler) -> Crew:
        """A transport for each thread of the engine."""
        transports = [self._source.transport()]
        while len(transports) < self._threads and (another := self._source.another_transport()) is not None:
            transports.append(another)
        return Crew(
            scheduler,
            self._source,
            self._store,
            transports,
            rate=self._options.rate,
            governor=self._make_governor(scheduler.concurrency),
            deadline=self._control.deadline,
            clock=self._options.clock,
        )

    @property
    def _is_governed(self) -> bool:
        """Whether it finds out how many transfers pay."""
        return self._options.adaptive and not self._shape.on_demand

    def _make_governor(self, start: int) -> Governor | None:
        if not self._is_governed:
            return None
        now = self._options.clock()
        # A window is made for a certain number of them.
        return Governor(start, now) if self._shape.window is None else Governor(start, now, most=start)

    @property
    def _begin_with(self) -> int:
        found = self._source.host().concurrency
        learns = self._is_governed and self._shape.window is None
        return found if learns and found is not None else self._options.concurrency

    @property
    def _threads(self) -> int:
        """How many threads are worth their start."""
        left = self._store.content_size - bytes_set(self._store.byte_ranges)
        few = self._shape.on_demand or left < WORTH_A_THREAD
        wanted = self._options.threads or engine_threads(encrypted=self._source.is_encrypted)
        return 1 if few else min(wanted, self._options.concurrency)

    def _make_scheduler(self) -> Scheduler:
        options, store, shape = self._options, self._store, self._shape
        return Scheduler(
            store.byte_ranges.bitmap,
            block_size=store.block_size,
            content_size=store.content_size,
            concurrency=self._begin_with,
            min_span=shape.min_span,
            max_span=shape.max_span,
            window=shape.window,
            head=shape.head,
            on_demand=shape.on_demand,
            tries=options.tries,
            stall_timeout=options.timeout,
            low_speed=options.low_speed,
            rng=random.Random(options.seed),
            wait_for_completion=options.wait_for_completion,
            max_iterations=options.max_iterations,
        )

    def step(self, limit: float = IDLE) -> bool:
        """Take one decision, and do it; False when nothing is missing. Raises what ended it early.

        It sleeps for at most `limit` seconds.
        """
        if self._crew is not None and self._crew.step(limit):
            return True
        self._control.check()
        if self._store.byte_ranges.bitmap.find_clear(self._shape.head) is not None:
            raise self.failure()
        return False

    def end(self) -> None:
        """Let go of what the steps have used; may be called twice, and without a `begin`."""
        if self._crew is not None and not self._ended:
            self._ended = True
            self._crew.end()
            self._source.end_use()

    def post(self, call: Callable[[Scheduler, float], object]) -> None:
        """Have ``call(scheduler, now)`` made before the next decision; after `begin`, from any thread."""
        if self._crew is not None:
            self._crew.post(call)

    def consumed(self, head_block: int) -> None:
        """The reader is done with so many blocks; see `Crew.consumed`. Before `begin` it is not heard."""
        if self._crew is not None:
            self._crew.consumed(head_block)

    def _open(self, expected: Identity | None, probe: Probe | None, known: bool) -> Probe:
        """The first answer, which must speak of the content that this store is for."""
        if probe is None:
            first, last = self._first_gap()
            probe = self._source.probe(first, last, self._control.check, self._control.deadline)
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

    def _first_gap(self) -> tuple[int, int]:
        """The first bytes that are needed, at most a MiB of them; one byte if none is missing."""
        ranges, size = self._store.byte_ranges, self._store.block_size
        block = ranges.bitmap.find_clear(self._shape.head)
        if block is None:
            return 0, 0
        gap = ranges.bitmap.find_set(block)
        stop = ranges.content_length if gap is None else gap * size
        return block * size, min(stop, block * size + MIB) - 1

    def _check_version(self, found: Identity, expected: Identity) -> None:
        """Whether bytes of `found` may join what the store holds, which is of `expected`."""
        if expected.compare(found) is Match.CONTRADICTORY:
            raise SourceChangedError(found.describe(), expected.describe())
        if self._source.is_anonymous or not self._resumed_blocks:
            return  # nothing ever tells its versions apart, or there is nothing that could be mixed
        agrees, why = expected.resumable_with(found._replace(digest=expected.digest))
        if not agrees:
            raise SourceChangedError(found.describe(), f"{expected.describe()} ({why})")

    def failure(self) -> Exception:
        """Why blocks are missing, once the loop is over: the error that stands for all others."""
        failures = self._scheduler.failures if self._scheduler is not None else []
        fatal = self._scheduler.error if self._scheduler is not None else None
        cause = fatal or (failures[-1] if failures else None)
        if isinstance(cause, LargeFileError):
            return cause
        gap = self._store.byte_ranges.next_clear(self._shape.head)
        error = IncompleteError(f"{self._source.name}: bytes {gap[1] if gap else ''} could not be had")
        error.__cause__ = cause
        return error

    @contextlib.contextmanager
    def _digesting(self, algorithm: str | None) -> Iterator[None]:
        if algorithm is not None:
            from largefile.engine.digester import Digester, Readable  # with hashlib, which loads OpenSSL

            if isinstance(self._store, Readable):
                self._digester = Digester(algorithm, self._store)
        try:
            yield
        finally:
            if self._digester is not None:
                self._digester.stop()

    def passed(self) -> int:
        """How many bytes, from the first on, are not read here any more."""
        return self._digester.position if self._digester is not None else self._store.content_size

    # --- what it has done ------------------------------------------------------------------------

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the status."""
        whole = self._crew is not None and self._crew.is_whole
        stream = ("the server gave the whole content where a range was asked for: one stream",)
        return (*self._source.notes, *(stream if whole else ()))

    def block_map(self, cells: int) -> list[float]:
        """How much of each of `cells` equal parts of the content is in place, from any thread."""
        return block_map(self._store.byte_ranges.bitmap, cells)

    def stats(self) -> DownloadStats:
        """A snapshot, from any thread."""
        ranges, crew, scheduler = self._store.byte_ranges, self._crew, self._scheduler
        blocks = ranges.count
        received = crew.received if crew is not None else 0
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
            connections=crew.connections if crew is not None else 0,
            phase=self.phase,
            elapsed=now - self._started,
        )


def bytes_set(ranges: ByteRanges) -> int:
    """How many bytes the set blocks have; the last block may be short."""
    size, short = ranges.content_length, ranges.num_blocks * ranges.block_size - ranges.content_length
    return ranges.count * ranges.block_size - (short if size and ranges.is_set(size - 1) else 0)
