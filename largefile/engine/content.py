"""One content that is fetched where it is read: an engine on demand over a store, for any number of readers.

Readers, on any threads, ask for blocks and wait for them. The engine has one thread, which sleeps while
nothing is wanted. What is asked for twice is fetched once: the scheduler leaves blocks alone that are
present, on their way, or asked for already. A block that can not be had fails those who wait for it at
that moment, and nobody else: the next reader makes it be tried again. What ends the engine (the source
changed, the disk is full) fails every reader of a missing block from then on; present ones stay readable.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from largefile.engine.job import Control, Job
from largefile.engine.options import SessionOptions
from largefile.engine.session import Session, Shape
from largefile.engine.store import Store
from largefile.errors import CacheError, InternalError, LargeFileError
from largefile.log import log
from largefile.rules.actions import Refused
from largefile.rules.identity import Identity
from largefile.rules.schedule import Scheduler
from largefile.stats import DownloadStats
from largefile.wire.readers import Probe, Source

__all__ = ["Content", "Run", "Wish", "merged"]

#: Requests are not cut shorter than this for the sake of more of them, nor longer than a reader can bear.
MIN_SPAN, MAX_SPAN = 1 << 20, 8 << 20
#: So many requests of a reader's go before all that is fetched ahead; the others wait for their turn.
HURRIED = 16
#: Seconds between two looks of a waiting reader at what it should have been told.
LOOK = 30.0
#: Seconds that the engine may take to stop; it never did.
STOP = 5.0

#: Blocks, from the first up to, not including, the second.
Run: TypeAlias = tuple[int, int]


@dataclass(eq=False, slots=True, weakref_slot=True)
class Wish:
    """Runs of blocks that somebody waits for."""

    runs: list[Run]
    error: Exception | None = None

    def fail(self, first: int, stop: int, error: Exception) -> None:
        """The blocks ``[first, stop)`` can not be had."""
        if self.error is None and any(a < stop and first < b for a, b in self.runs):
            self.error = error


class Content:
    """Fetch blocks of `source` into `store` when they are asked for.

    Parameters
    ----------
    source, store
        From where, to where. The source is closed when nothing more comes from it.
    options
        See `SessionOptions`.
    probe
        The source's first answer.
    expected
        Whose bytes the store holds already.
    pin
        Told whose bytes will come, before the first of them does.

    Raises
    ------
    SourceChangedError
        If what the source has now is not what the store holds.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        options: SessionOptions,
        probe: Probe,
        *,
        expected: Identity | None = None,
        pin: Callable[[Identity], object] | None = None,
    ) -> None:
        self._source = source
        self._block_size = store.block_size
        self._stride = max(1, MIN_SPAN // store.block_size)
        self._ranges = store.byte_ranges
        self._bitmap = store.byte_ranges.bitmap
        self._wishes: weakref.WeakSet[Wish] = weakref.WeakSet()  # the engine's thread alone touches it
        self._control = Control()
        shape = Shape(on_demand=True, min_span=MIN_SPAN, max_span=MAX_SPAN)
        self._session = Session(source, store, self._control, options, pin=pin, shape=shape)
        self._session.on_refused = self._refused
        self._begun = threading.Event()  # and a post is heard
        self._over = False
        self._thread = 0  # the engine's
        #: What ended the engine, if it ended before everything was there.
        self.error: BaseException | None = None
        self._refusal: BaseException | None = None  # … before it had begun
        self._job = Job(lambda: self._run(expected, probe), self._control, self._session.stats)
        self._wait_begun()

    # --- readers, from any thread ----------------------------------------------------------------

    def gap(self, first_block: int, stop_block: int) -> int | None:
        """The first missing block of ``[first_block, stop_block)``."""
        return self._bitmap.find_clear(first_block, stop_block)

    def ask(self, runs: list[Run], ahead: Iterable[Run] = ()) -> Wish:
        """Have these runs of blocks fetched before all others, and those `ahead` when there is time."""
        wish = Wish(runs)
        demanded = merged([*runs, *ahead])
        self._session.post(lambda scheduler, now: self._demand(scheduler, now, wish, demanded))
        return wish

    def wait(self, wish: Wish, check: Callable[[], object]) -> None:
        """Return when every block of `wish` is present; `check` is called now and then, and may raise.

        Raises
        ------
        LargeFileError
            What keeps a block from coming.
        """
        for first, stop in wish.runs:
            while True:
                # Asked first: what comes, or is told, after that is seen now or ends the wait.
                wakes, over = self._ranges.wakes, self._over or self._job.done
                gap = self._bitmap.find_clear(first, stop)
                if gap is None:
                    break
                check()
                if wish.error is not None:
                    raise again(wish.error)
                if over:
                    raise self._failure()
                self._ranges.wait_set(gap * self._block_size, LOOK, wakes)
                first = gap

    def wake(self) -> None:
        """Have every waiting reader look at what its `check` says."""
        self._ranges.wake()

    def close(self) -> None:
        """Stop within a second; who waits is told that it was cancelled. May be called twice."""
        self._control.cancel()
        if self.is_here:
            return  # a finalizer that came by: the loop ends when it is back there
        with contextlib.suppress(LargeFileError, TimeoutError):
            self._job.result(STOP)

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on the engine's thread."""
        return threading.get_ident() == self._thread and not self._over

    def stats(self) -> DownloadStats:
        """What was fetched so far, from any thread."""
        return self._session.stats()

    @property
    def identity(self) -> Identity | None:
        """Who the source said that the content is."""
        return self._session.identity

    def _wait_begun(self) -> None:
        """Raise what kept the engine from beginning; that takes no request any more."""
        try:
            self._begun.wait()
        except BaseException:
            self.close()
            raise
        if isinstance(self._refusal, BaseException):
            raise self._refusal

    def _failure(self) -> BaseException:
        if isinstance(self.error, Exception):
            return again(self.error)
        try:
            self._job.result(STOP)
        except Exception as error:  # noqa: BLE001 - the child of a fork is told whose engine it was
            return error
        return InternalError(f"the engine for {self._source.name} has ended, and blocks are missing")

    # --- the engine's thread ---------------------------------------------------------------------

    def _run(self, expected: Identity | None, probe: Probe) -> None:
        session = self._session
        self._thread = threading.get_ident()
        try:
            session.begin(expected, probe=probe)
            self._begun.set()
            while session.step():
                pass
        except BaseException as error:  # noqa: BLE001 - raised to whoever reads
            session.cache_errors += isinstance(error, CacheError)
            self.error = error
            self._refusal = None if self._begun.is_set() else error
        finally:
            self._wind_up()

    def _wind_up(self) -> None:
        try:
            self._session.end()
            self._source.close()
        except LargeFileError as error:
            self.error = self.error or error
        finally:
            self._session.phase = "done" if self._ranges.complete else "stopped"
            self._over = True
            self._begun.set()
            self._ranges.wake()

    def _demand(self, scheduler: Scheduler, now: float, wish: Wish, demanded: list[Run]) -> None:
        self._wishes.add(wish)
        for first, stop in demanded:
            scheduler.demand(first, stop, now)
        for first, stop in wish.runs:
            gap = self._bitmap.find_clear(first, stop)
            if gap is not None:
                for block in range(gap, stop, self._stride)[:HURRIED]:
                    scheduler.wanted(block)

    def _refused(self, refused: Refused) -> None:
        log().debug("%s: blocks %d-%d: %s", self._source.name, *refused)
        for wish in list(self._wishes):
            wish.fail(*refused)
        self._ranges.wake()


def merged(runs: Iterable[Run], hole: int = 0) -> list[Run]:
    """The same runs in order, those made one that overlap, touch, or have at most `hole` between them.

    Examples
    --------
    >>> merged([(7, 9), (0, 2), (1, 3), (3, 4), (5, 6)]), merged([(7, 9), (0, 4), (5, 6)], hole=1)
    ([(0, 4), (5, 6), (7, 9)], [(0, 9)])
    """
    found: list[Run] = []
    for first, stop in sorted(runs):
        if first >= stop:
            continue
        if found and first <= found[-1][1] + hole:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((first, stop))
    return found


def again(error: Exception) -> Exception:
    """The same error for one more reader, with a traceback of its own."""
    twin = copy.copy(error)
    twin.__cause__ = error.__cause__
    return twin
