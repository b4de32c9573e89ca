"""Which span next, when, and when to stop: every decision of a download, and nothing else.

Rules that this file keeps:

1.  It decides and never acts. No I/O, no clock, no lock, no randomness but `rng`: the same calls with the
    same arguments give the same answers. `now` is seconds on any clock that does not go back.
2.  It never *starts* a transfer while as many are in flight as allowed. An allowance that shrinks drains.
3.  A place never has two live writers. A block belongs to at most one span from `Start` until `ended`, and
    stopping a span does not free its blocks: only its end does. A body that begins at byte 0 may be
    admitted only when it is alone, and of several only one is (`granted_whole` says so).
4.  A present block is never asked for, except inside the whole body of a server that has no ranges.
5.  Nothing starts at or beyond ``head + window``, nor before the host's Retry-After.
6.  Unfinished work always has a transfer in flight, a timer (`Wait.until`), or a reader to wait for: its
    window is full, or nothing that it demanded is missing.
7.  FINISHED comes only when every block is present or given up, or after `cancel` or a fatal fault, and
    only when nothing is in flight.
8.  It ends. A request that lands no block costs its run an attempt, or a pass, and both are bounded; a host
    that gives nothing to anybody is given up as a whole; passes over given-up blocks are bounded too.
9.  On demand, a block is fetched only after `demand`, but for the adopted transfer and a whole body. Every
    demanded block ends up present, or is told once by `take_refused` and is as if it had never been
    demanded; unless the job ends by `cancel` or a fatal fault, which refuse nothing.

Theory of operation. `SpanPlan` knows the blocks and cuts spans, `Patience` knows what failures cost,
`Passes` or `Refusals` what becomes of blocks that are given up, and the scheduler knows the transfers in
flight. A span goes through

    Start -> granted (shortened, or made whole) -> landed, landed, ... -> ended

and whatever is missing of it at its end goes back to the plan, with a date before which it must not start,
or is given up. A span that landed a block has shown that it can be served: the rest begins with no
failures. One that landed nothing has failed once more than before.

In a window the blocks come in order, so a block given up means that the reader never gets past it, and all
that is left is given up with it. On demand nothing is given up for ever, so FINISHED needs every block.
A host that is given up has refused all that was demanded; the next demand tries it again, from the
beginning, and so does a demand after a time in which nothing was to be done.

Slow transfers are the business of `Stragglers`: they are renewed, or split. So nothing is ever asked for
twice at the same time, which rule 3 would need a spare place for.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from largefile.core.bitmap import Bitmap
from largefile.errors import StalledError
from largefile.rules.actions import (
    DRAINING,
    FINISHED,
    Action,
    Fault,
    Refused,
    Renew,
    Signal,
    Span,
    Split,
    Start,
    Stop,
    Wait,
)
from largefile.rules.ceiling import Ceiling
from largefile.rules.demand import DemandPlan
from largefile.rules.endings import Ending, Passes, Refusals
from largefile.rules.flights import Flight, Flights
from largefile.rules.parked import Run
from largefile.rules.patience import Patience
from largefile.rules.spans import SpanPlan
from largefile.rules.stragglers import Stragglers

__all__ = [
    "DRAINING",
    "FINISHED",
    "Action",
    "Fault",
    "Renew",
    "Scheduler",
    "Signal",
    "Span",
    "Split",
    "Start",
    "Stop",
    "Wait",
]

#: Times in a row that all who are asked are silent for too long: nothing will come any more.
MOST_SILENCES = 3


class Scheduler:
    """Decide what a download does next.

    Parameters
    ----------
    present : Bitmap
        Blocks in place. The caller sets bits, before it says `landed`; they are only read here.
    block_size, content_size : int
        In bytes; `present` has one bit for each block.
    concurrency : int
        Most transfers in flight.
    max_span : int
        Most bytes asked for at once, rounded down to whole blocks, but at least one.
    min_span : int
        A span that is cut as a share of what is left has no fewer bytes, rounded up to whole blocks, if so
        many are missing in a row and `max_span` allows it. With a window, the share is one of the window.
    window : int or None
        For a reader in order: blocks at or beyond ``head + window`` are not started.
    head : int
        The first block that such a reader wants; blocks before it are never fetched.
    tries : int
        Failures in a row before blocks are given up.
    backoff : float
        Seconds before the first retry; doubles with each, to at most 30.
    stall_timeout : float
        Seconds without a byte before a transfer is stopped; ``inf``: never. When that has happened three
        times in a row, and no byte came in between, the job ends.
    low_speed : float
        Bytes a second: what comes more slowly, over all transfers, counts as nothing for `stall_timeout`.
    rng : random.Random or None
        Spreads the delays; None: no spread.
    wait_for_completion : bool
        Try given-up blocks again after a pause, if only retryable faults were seen.
    max_iterations : int
        Passes in a row that may land nothing, with `wait_for_completion`.
    on_demand : bool
        Fetch only what `demand` names; there are no passes then, and there can not be a window.

    Raises
    ------
    ValueError
        If a number is out of range, or `present` has not one bit a block.

    Examples
    --------
    >>> present = Bitmap(4)
    >>> scheduler = Scheduler(present, block_size=10, content_size=35, concurrency=1)
    >>> action = scheduler.next_action(0.0)
    >>> action.span.first_block, action.span.stop_block
    (0, 2)
    >>> scheduler.next_action(0.0)
    Wait(until=20.0, for_reader=False)
    >>> present.set_run(0, 2)
    >>> scheduler.landed(0, 2), scheduler.ended(action.span, None, 1.0)
    (False, True)
    >>> scheduler.next_action(1.0).span.first_block
    2

    Notes
    -----
    Go: the request loops of ``CachingDownloader.Run`` and ``StreamingDownloader.Run``. The methods that
    return a bool say whether another pump, asleep now, may have something to do.
    """

    def __init__(
        self,
        present: Bitmap,
        *,
        block_size: int,
        content_size: int,
        concurrency: int,
        max_span: int = 64 << 20,
        window: int | None = None,
        head: int = 0,
        tries: int = 5,
        backoff: float = 0.5,
        stall_timeout: float = 20.0,
        low_speed: float = 0.0,
        rng: Random | None = None,
        wait_for_completion: bool = False,
        max_iterations: int = 10,
        on_demand: bool = False,
        min_span: int = 1,
    ) -> None:
        _check(concurrency >= 1, "concurrency", concurrency, "at least 1")
        _check(block_size >= 1, "block_size", block_size, "at least 1")
        _check(max_span >= 1, "max_span", max_span, "at least 1")
        _check(min_span >= 1, "min_span", min_span, "at least 1")
        _check(window is None or window >= 1, "window", window, "at least 1, or None")
        _check(window is None or not on_demand, "window", window, "None on demand")
        _check(tries >= 1, "tries", tries, "at least 1")
        _check(backoff > 0, "backoff", backoff, "above 0")
        _check(stall_timeout > 0, "stall_timeout", stall_timeout, "above 0")
        _check(0 <= head <= len(present), "head", head, f"from 0 to {len(present)}")
        blocks = -(-content_size // block_size)
        _check(len(present) == blocks, "len(present)", len(present), f"{blocks}, one for each block")
        least, most = -(-min_span // block_size), max(1, max_span // block_size)
        self._present = present
        self._patience = Patience(concurrency=concurrency, tries=tries, backoff=backoff, rng=rng)
        self._flights = Flights(stall_timeout, low_speed)
        self._stragglers = Stragglers(self._flights, block_size)
        self._plan: SpanPlan
        self._ending: Ending
        if on_demand:
            self._plan = plan = DemandPlan(present, max_blocks=most, min_blocks=least)
            self._ending = Refusals(plan, self._patience)
        else:
            self._plan = SpanPlan(present, max_blocks=most, min_blocks=least, window=window, head=head)
            self._ending = Passes(self._plan, self._patience, max_iterations if wait_for_completion else 0)
        self._planned = 1
        self._cancelled = False
        self.error: Exception | None = None  #: the fatal fault's
        self.retries = 0  #: requests made again after a failure
        self.finished = False  #: FINISHED was answered

    # --- decisions -------------------------------------------------------------------------------

    def next_action(self, now: float) -> Action:
        """Say what to do now: call until it answers Wait, DRAINING or FINISHED."""
        if self._plan.whole and self._plan.window_is_full:
            for flight in self._flights:
                flight.heard = now  # it is held back by us, not by the server
        stop = self._flights.next_stop(now)
        if stop is not None:
            if self._flights.silences >= MOST_SILENCES:
                self._end_in_silence(now)
            return stop
        if self._cancelled:
            return DRAINING if self._flights else self._finish()
        if self._ending.dead or self._plan.exhausted:
            if self._flights:
                return self._hurry() or self._wait()
            return self._ending.idle(now) or self._finish()
        return self._start_or_wait(now)

    def _end_in_silence(self, now: float) -> None:
        self._flights.silences = 0
        error = StalledError(f"no byte came from anywhere, {MOST_SILENCES} times in a row")
        if not self._ending.outlives(Fault(error), now):
            self._patience.record(error)
            self.error = error
            self.cancel()

    def _hurry(self) -> Renew | Split | None:
        """Something for a slow transfer, while there is nothing to start."""
        if self._flights.limited or self._plan.whole:
            return None
        return self._stragglers.next(self._patience.allowed - len(self._flights))

    def _start_or_wait(self, now: float) -> Action:
        patience = self._patience
        if len(self._flights) >= patience.allowed:
            return self._hurry() or self._wait()
        if now < patience.opens_at:
            return self._wait(patience.opens_at)
        # While nobody gets anything, blocks that never failed go first: a bad range is not a dead host.
        run = self._plan.take(
            now,
            shares=2 * max(self._planned, patience.concurrency),
            idle=not self._flights,
            fresh_first=patience.strikes > 0,
        )
        if run is not None:
            return Start(self._launch(run, now))
        if self._plan.exhausted:  # what was parked has landed meanwhile
            return self.next_action(now)
        if (action := self._hurry()) is not None:
            return action
        due = self._plan.due
        return self._wait(None if due is None or due <= now else due, for_reader=self._plan.held_by_window)

    def _launch(self, run: Run, now: float) -> Span:
        span = Span(run.first, run.stop, attempt=run.attempt, passes=run.passes, whole=self._plan.whole)
        patience = self._patience
        flight = Flight(span, self._left(span), now, patience.epoch, patience.cuts, since=now, began=now)
        self._flights.add(flight)
        self.retries += run.again
        return span

    def _left(self, span: Span) -> int:
        return self._plan.count_missing(span.first_block, span.stop_block)

    def _wait(self, until: float | None = None, for_reader: bool = False) -> Wait:
        """Wait for `until` or for the first transfer that would have stalled by then."""
        times = [at for at in (until, self._flights.first_stall) if at is not None]
        return Wait(min(times, default=None), for_reader)

    def _finish(self) -> Signal:
        self.finished = True
        return FINISHED

    # --- what happens to a transfer --------------------------------------------------------------

    def adopt(self, first_block: int, stop_block: int, now: float) -> Span:
        """Take in a transfer that was started before there was a plan; `granted` may shorten it further.

        It gets the free blocks from `first_block` to the next one that is not, at most to `stop_block`. If
        block 0 is not free, only the whole content can be adopted, and `granted_whole` must follow.

        Raises
        ------
        ValueError
            If the first block is present, in flight or beyond the window.
        """
        return self._launch(self._plan.claim(first_block, stop_block), now)

    def granted(self, span: Span, stop_block: int, now: float) -> bool:
        """The response carries the span's blocks up to `stop_block`; the rest may start at once.

        Less than one block can not land, so it is no prefix: the span stays as it is, with one block,
        and its transfer fails.
        """
        flight = self._flights[span]
        flight.heard = now
        flight.changing = False
        stop = max(stop_block, span.first_block + 1)
        if self._plan.whole or stop >= span.stop_block:
            return False
        self._plan.park(Run(stop, span.stop_block, span.attempt, span.passes), now)
        span.stop_block = stop
        flight.left = self._left(span)
        return True

    def granted_whole(self, span: Span, now: float) -> bool | None:
        """The response carries everything from byte 0: may it be admitted now?

        True: it is alone. False: the others are told to stop ("whole"); hold it back unadmitted until
        `in_flight` is 1 and ask again, or refuse it (a blameless `ended`), and a fresh one starts when they
        are gone. None: refuse it, as another transfer has the whole already or this one is being stopped;
        its span stays as it was.
        """
        flight = self._flights[span]
        if flight.stopping is not None:
            return None  # whoever has the whole had all others stopped; two would stop each other
        flight.heard = now
        self._plan.become_whole()
        self._ending.become_whole()
        span.first_block, span.stop_block, span.whole = 0, self._plan.num_blocks, True
        flight.left = self._left(span)
        flight.received = flight.heard_of = 0  # its bytes are counted from byte 0 now
        self._flights.stop_all("whole", but=flight)
        return len(self._flights) == 1

    def progress(self, span: Span, received: int, now: float) -> None:
        """So many bytes came for this span since its start; about four times a second is enough."""
        flight = self._flights[span]
        self._flights.hear(flight, received, now)
        self._stragglers.measure(flight, now)

    def renewed(self, span: Span, now: float) -> None:
        """It goes on from where it was, on another connection."""
        flight = self._flights[span]
        flight.heard = now
        flight.changing = False
        self._stragglers.renewed(flight, now)

    def lost(self, seconds: float, spans: Iterable[Span]) -> None:
        """So many seconds went by in which nobody looked at these transfers, so none of them stalls for that.

        Say it before what came meanwhile. Of spans that are not in flight nothing is noted.
        """
        _check(seconds >= 0, "seconds", seconds, "at least 0")
        self._flights.lost(seconds, spans)

    def landed(self, first_block: int, stop_block: int) -> bool:
        """Blocks [first_block, stop_block) are in place, and their bits are set."""
        self._plan.landed(first_block, stop_block)
        held = self._patience.strikes > 0
        for flight in self._flights:
            if flight.span.first_block <= first_block < flight.span.stop_block:
                self._look(flight)
        return held and self._patience.strikes == 0

    def _look(self, flight: Flight) -> None:
        """See whether a transfer brought something new: a whole body runs over present blocks, too."""
        left = self._left(flight.span)
        if left < flight.left:
            flight.left = left
            flight.landed = True
            self._flights.progressed()
            self._patience.landed(flight)
            self._ending.landed()

    def ended(self, span: Span, fault: Fault | None, now: float) -> bool:
        """The transfer is over, for whatever reason; what did not land goes back.

        `fault` None says that the transport is content; if blocks are missing, it has failed all the same.
        """
        flight = self._flights.remove(span)
        self._stragglers.ended(flight, now)
        in_flight = self._flights.company(flight)
        self._look(flight)
        if fault is not None and fault.retry_after is not None:
            self._patience.close_gate(now + fault.retry_after)
        if fault is not None and fault.fatal and not self._cancelled:
            self._patience.record(fault.error)
            self.error = fault.error
            self.cancel()
        missing = self._plan.missing(span.first_block, span.stop_block)
        if self._plan.whole and not span.whole:
            return True  # its blocks are the whole body's now
        if not missing:
            self._patience.ended_well(in_flight)
        elif self._cancelled:
            for first, stop in missing:
                self._plan.park(Run(first, stop), now)
        else:
            served = self._flights.served
            self._ending.take_back(flight, missing, fault, served=served, in_flight=in_flight, now=now)
        return True

    # --- what the reader and the caller do -------------------------------------------------------

    def consumed(self, head_block: int) -> bool:
        """The reader is done with every block before `head_block`; the window follows.

        Raises
        ------
        ValueError
            If it goes back, or past a block that is not present.
        """
        plan = self._plan
        _check(plan.head <= head_block <= plan.num_blocks, "head_block", head_block, f"{plan.head} or more")
        if plan.window is not None:
            hole = self._present.find_clear(plan.head, head_block)
            _check(hole is None, "head_block", head_block, f"at most {hole}, which is missing")
        moved = head_block > plan.head
        plan.head = head_block
        return moved and plan.window is not None

    def demand(self, first_block: int, stop_block: int, now: float) -> bool:
        """Fetch blocks [first_block, stop_block): those not present, in flight or demanded already.

        Raises
        ------
        ValueError
            If they are not blocks of the content, or nothing is fetched on demand here.
        """
        return self._ending.demand(first_block, stop_block, now, alone=not self._flights)

    def take_refused(self) -> list[Refused]:
        """What was demanded and given up since the last call, each missing block once."""
        return self._ending.take_refused()

    def wanted(self, block: int) -> bool:
        """A reader is blocked on `block`: it goes first, when it may go; on demand, if it was demanded."""
        _check(0 <= block < self._plan.num_blocks, "block", block, f"from 0 to {self._plan.num_blocks - 1}")
        self._plan.want(block)
        return True

    def cancel(self) -> bool:
        """Stop every transfer and start none."""
        self._cancelled = True
        self._flights.stop_all("cancelled")
        return True

    def hold(self, until: float) -> None:
        """Start nothing before `until`: the caller's own limit on requests, or what the host asked for."""
        self._patience.close_gate(until)

    def set_limited(self, limited: bool) -> None:
        """Whether the caller holds the transfers to a speed: then none of them is slow by itself."""
        self._flights.limited = limited

    def set_concurrency(self, concurrency: int, planned: int = 1) -> bool:
        """Change how many transfers may be in flight; those above it end by themselves.

        Where more are `planned` for soon, spans are as small as for those: they shall find something left.
        """
        _check(concurrency >= 1, "concurrency", concurrency, "at least 1")
        self._planned = planned
        self._patience.resize(concurrency)
        return True

    # --- numbers ---------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Transfers started and not ended."""
        return len(self._flights)

    @property
    def allowed(self) -> int:
        """Transfers that may be in flight now: `concurrency`, or less after failures."""
        return self._patience.allowed

    @property
    def concurrency(self) -> int:
        """Transfers that may be in flight when all is well."""
        return self._patience.concurrency

    @property
    def ceiling(self) -> Ceiling:
        """What the host was seen to refuse."""
        return self._patience.ceiling

    @property
    def remaining_blocks(self) -> int:
        """Blocks neither present, nor in flight, nor given up; whether demanded or not."""
        return self._ending.remaining

    @property
    def given_up(self) -> int:
        """Blocks that are not tried any more in this pass; on demand none, as `take_refused` has them."""
        return self._ending.given_up

    @property
    def iterations(self) -> int:
        """Passes over the outstanding blocks."""
        return self._ending.iterations

    @property
    def errors(self) -> int:
        """Failures seen, redirects and our own stops not counted."""
        return self._patience.errors

    @property
    def failures(self) -> list[Exception]:
        """The first and the last few errors, oldest first."""
        return self._patience.failures


def _check(holds: bool, name: str, value: object, needed: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value}; it must be {needed}")
