"""The only loop: it asks the scheduler what to do, has the transport do it, and says what came of it.

The scheduler knows spans of blocks and no network; the transport knows fetches and no blocks. They meet
here and nowhere else, so a simulated transport with a virtual clock runs the very same loop. The pump
decides nothing itself: whether an answer may be placed is the source's verdict, when and what to ask
next is the scheduler's.

A flight is one span under way. It may take more than one fetch: a redirect is followed, and an answer
that ends inside a block goes on where it ended, since what came of that block is in its place already.

One thread at a time turns the loop, by `step`. What others have to say to the scheduler goes through
`post`, and how far a reader has come through `consumed`, which costs two stores while nobody waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from largefile.core.ranges import num_blocks
from largefile.core.sink import BlockSink
from largefile.engine.flight import Flight, as_error
from largefile.engine.pace import Pace
from largefile.engine.store import Seat, Store
from largefile.errors import InternalError, LargeFileError
from largefile.events import Answered, Ended, Fetch, Response
from largefile.rules.actions import Refused
from largefile.rules.rate import RateController
from largefile.rules.schedule import DRAINING, FINISHED, Fault, Scheduler, Span, Start, Stop, Wait
from largefile.rules.verdict import Kind, Verdict
from largefile.wire.readers import Source
from largefile.wire.transport import Transport

__all__ = ["IDLE", "Pump"]

log = logging.getLogger("largefile")

#: Seconds between two looks at how far each transfer has come.
TICK = 0.25
#: … and the longest sleep while nothing is under way: whoever has news wakes it.
IDLE = 60.0
#: Fetches with little or nothing in them that one flight may take: redirects, and a few bytes each.
MAX_FETCHES = 20
LITTLE = 16 << 10


class Pump:
    """Runs one transport for one scheduler until nothing is left to do.

    Parameters
    ----------
    scheduler, source, store, transport
        What to fetch, from where, to where, and by what. The pump's thread owns the transport.
    rate
        Limits on bytes and requests a second, changeable meanwhile.
    clock
        Seconds on any monotonic clock; a simulation passes its own.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        source: Source,
        store: Store,
        transport: Transport,
        *,
        rate: RateController | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scheduler = scheduler
        self._source = source
        self._store = store
        self._transport = transport
        self._rate = rate
        self._pace = Pace(rate, clock()) if rate is not None else None
        self._clock = clock
        self._last_block = num_blocks(store.content_size, store.block_size)
        self._flights: dict[Fetch, Flight] = {}
        self._seats: list[Seat] = []
        self._all_seats: list[Seat] = []
        self._seen = clock()  # when the network was last looked at
        self._next_tick = self._seen + TICK
        self._adopted: tuple[Fetch, Verdict, BlockSink] | None = None
        self._held: Flight | None = None  # a whole body that waits until it is alone
        self._cancelled = threading.Event()
        self._posted: deque[Callable[[Scheduler, float], object]] = deque()
        self._head = self._told_head = 0  # the block that the window begins with
        self._needs_reader = False  # it sleeps until `consumed`
        self._limit = IDLE  # seconds of the present step's sleep
        self._whole: BlockSink | None = None  # of a body from byte 0 on, which a window holds back
        #: Called, on the thread that turns the loop, with what was demanded and can not be had.
        self.on_refused: Callable[[Refused], object] | None = None
        #: The first error that ended the whole job, if one did.
        self.error: BaseException | None = None

    # --- what others call ------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """Transfers under way."""
        return len(self._flights)

    @property
    def received(self) -> int:
        """Body bytes that came, wanted or not."""
        return sum(seat.sink.received for seat in self._all_seats)

    def cancel(self) -> None:
        """Stop soon and keep what is in place. From any thread, any number of times."""
        self._cancelled.set()
        for seat in list(self._all_seats):
            seat.sink.halt()
        self._transport.wake()

    def post(self, call: Callable[[Scheduler, float], object]) -> None:
        """Have ``call(scheduler, now)`` made before the next decision. From any thread."""
        self._posted.append(call)
        self._transport.wake()

    def consumed(self, head_block: int) -> None:
        """The reader is done with so many blocks. From any thread; of several, the largest number counts."""
        if head_block <= self._head:
            return
        self._head = head_block
        # A body that came as a whole may have been held back since the loop went to sleep.
        if self._needs_reader or (self._whole is not None and self._whole.held):
            self._transport.wake()

    def adopt(self, fetch: Fetch, verdict: Verdict, sink: BlockSink) -> None:
        """Have the loop take over an answered fetch, and its sink, that were made before it began."""
        self._adopted = (fetch, verdict, sink)

    def _adopt(self, fetch: Fetch, verdict: Verdict, sink: BlockSink) -> None:
        size, first = self._store.block_size, fetch.first or 0
        gap = self._store.byte_ranges.bitmap.find_clear(first // size)
        if verdict.kind is Kind.WHOLE:
            stop = self._last_block
            gap = self._store.byte_ranges.bitmap.find_clear(0) if gap is None else gap
        elif gap is None or gap * size != first or verdict.last is None:
            self._transport.refuse(fetch)  # it does not begin where something is missing
            return
        else:
            stop = min(verdict.last // size + 1, self._last_block)
        if gap is None:
            self._transport.refuse(fetch)
            return
        span = self._scheduler.adopt(gap, stop, self._clock())
        flight = Flight(span, self._take_seat(sink), fetch)
        self._flights[fetch] = flight
        if verdict.kind is not Kind.WHOLE:
            flight.seat.lane.aim(sink, span.first_block, span.stop_block)
        self._admit(flight, verdict)
        self._share_rate()

    def run(self) -> None:
        """Work until the scheduler says FINISHED; raises what ended the job early."""
        try:
            while self.step():
                pass
        finally:
            self.end()

    def step(self, limit: float = IDLE) -> bool:
        """Take one decision, and do it; False when nothing is left to do. Raises what ended the job early.

        It sleeps for at most `limit` seconds.
        """
        self._limit = limit
        if self._adopted is not None:
            adopted, self._adopted = self._adopted, None
            self._adopt(*adopted)
        action = self._next_action()
        self._tell_refused()
        match action:
            case Start(span):
                self._start(span)
            case Stop(span, why):
                self._stop(span, why)
            case Wait(until, for_reader):
                self._wait(until, for_reader)
            case _ if action is DRAINING:
                self._poll(None)
            case _ if action is FINISHED:
                if self.error is not None:
                    raise self.error
                return False
            case _:
                raise InternalError(f"the scheduler answered {action!r}")
        return True

    def end(self) -> None:
        """Give back every seat; after the last step, whatever it was. May be called twice."""
        for flight in self._flights.values():
            self._transport.stop(flight.fetch)  # only an exception leaves flights behind
        if self._flights:
            self._transport.poll(0.0)
        self._flights.clear()
        self._share_rate()
        for seat in self._all_seats:
            seat.free()

    # --- actions ---------------------------------------------------------------------------------

    def _next_action(self) -> object:
        now = self._clock()
        self._look_away(now - self._seen)
        self._seen = now
        if self._head > self._told_head:
            self._told_head = self._head
            self._scheduler.consumed(self._told_head)
            self._resume_held()
        while self._posted:
            self._posted.popleft()(self._scheduler, now)
        if self._cancelled.is_set():
            self._scheduler.cancel()
        elif self._pace is not None:
            # Asked again at each tick, as the limit may have been changed by then.
            at = self._pace.next_start(self.received, len(self._flights), now)
            self._scheduler.hold(min(at, now + TICK))
        return self._scheduler.next_action(now)

    def _look_away(self, seconds: float) -> None:
        """So long nobody looked at the network: what was sent meanwhile is still to be seen."""
        if seconds > TICK:
            self._scheduler.lost(seconds)

    def _tell_refused(self) -> None:
        if self.on_refused is not None:
            for refused in self._scheduler.take_refused():
                self.on_refused(refused)

    def _resume_held(self) -> None:
        """Whoever waits for a place may look again."""
        for flight in self._flights.values():
            if flight.seat.sink.held:
                self._transport.resume(flight.fetch)

    def _wait(self, until: float | None, for_reader: bool) -> None:
        self._needs_reader = for_reader or any(flight.seat.sink.held for flight in self._flights.values())
        # Asked after it was said: a reader that moved a moment ago did not know that it had to wake us.
        if not (self._needs_reader and self._head > self._told_head):
            self._poll(until)
        self._needs_reader = False

    def _start(self, span: Span) -> None:
        seat = self._take_seat()
        seat.lane.aim(seat.sink, span.first_block, span.stop_block)
        fetch = self._source.request(seat.sink.at, seat.sink.stop - 1)
        self._flights[fetch] = Flight(span, seat, fetch)
        if self._rate is not None:
            self._rate.took_request(self._clock())
        self._transport.start(fetch, seat.sink, self._accepts)
        self._share_rate()

    def _stop(self, span: Span, why: str) -> None:
        for flight in self._flights.values():
            if flight.span is span:
                flight.stopped = why
                flight.seat.sink.halt()
                self._transport.stop(flight.fetch)
                return

    def _poll(self, until: float | None) -> None:
        now = self._clock()
        due = self._next_tick if self._flights else now + IDLE
        timeout = min(self._limit, max(0.0, due - now if until is None else min(due, until) - now))
        news = self._transport.poll(timeout)
        self._seen = self._clock()
        self._look_away(self._seen - now - timeout)  # a slow disk, maybe
        for event in news:
            flight = self._flights.get(event.fetch)
            if flight is None:
                continue  # an answer that was refused before this loop began
            if isinstance(event, Answered):
                self._answered(flight, event)
            else:
                del self._flights[event.fetch]
                self._ended(flight, event)
        for flight in self._flights.values():
            self._note(flight)
        self._admit_held()
        now = self._clock()
        if now >= self._next_tick:
            self._next_tick = now + TICK
            self._tick(now)

    def _tick(self, now: float) -> None:
        for flight in self._flights.values():
            sink = flight.seat.sink
            self._scheduler.progress(flight.span, sink.at - sink.first, now)
        self._share_rate()

    def _share_rate(self) -> None:
        if self._rate is not None:
            self._rate.register(self, len(self._flights))
            self._transport.throttle(self._rate.share(len(self._flights)))

    # --- what the transport says -----------------------------------------------------------------

    def _accepts(self, fetch: Fetch, response: Response) -> bool:
        """Whether the body is simply what was asked for. Asked inside of a driver's callback."""
        flight = self._flights.get(fetch)
        if flight is None or flight.stopped or self._cancelled.is_set():
            return False
        verdict = self._source.judge(fetch, response)
        whole = verdict.last is None or verdict.last + 1 >= flight.seat.sink.stop
        if verdict.kind not in (Kind.ACCEPT, Kind.PREFIX) or not whole:
            return False
        flight.verdict = verdict
        return True

    def _answered(self, flight: Flight, event: Answered) -> None:
        verdict = self._source.judge(event.fetch, event.response)
        flight.verdict = verdict
        if verdict.kind in (Kind.ACCEPT, Kind.PREFIX, Kind.WHOLE):
            self._admit(flight, verdict)
        else:
            self._transport.refuse(event.fetch)

    def _admit(self, flight: Flight, verdict: Verdict) -> None:
        """Let the body flow, bounded by what the answer was found to hold."""
        now, sink, span = self._clock(), flight.seat.sink, flight.span
        flight.verdict = verdict
        if verdict.kind is Kind.WHOLE:
            alone = self._scheduler.granted_whole(span, now)
            if alone is None:
                self._transport.refuse(flight.fetch)  # another has the whole, or this one is being stopped
                return
            if not alone:
                self._held = flight  # until the others have let go of their places
                return
            flight.noted = 0
            self._whole = sink
            flight.seat.lane.aim(sink, 0, self._last_block)
        elif verdict.last is not None and verdict.last + 1 < sink.stop:
            # Whole blocks stay with the span: what is left of the last one is asked for on this flight.
            stop_block = verdict.last // self._store.block_size + 1
            self._scheduler.granted(span, stop_block, now)
            sink.shorten(min(span.stop_block * self._store.block_size, self._store.content_size))
            sink.limit = min(verdict.last + 1, sink.stop)
        self._transport.admit(flight.fetch)

    def _admit_held(self) -> None:
        flight = self._held
        if flight is not None and len(self._flights) == 1:
            self._held = None
            if flight.verdict is not None and flight.fetch in self._flights:
                self._admit(flight, flight.verdict)

    def _ended(self, flight: Flight, event: Ended) -> None:
        self._note(flight)
        sink = flight.seat.sink
        if sink.error is None and sink.at < sink.stop and self._goes_on(flight, event):
            return
        fault = self._fault(flight, event)
        flight.seat.free()
        self._seats.append(flight.seat)
        if fault is not None:
            blocks = flight.span.first_block, flight.span.stop_block - 1
            log.debug("%s: blocks %d-%d: %s", self._source.name, *blocks, fault.error)
        self._scheduler.ended(flight.span, fault, self._clock())
        self._share_rate()

    def _goes_on(self, flight: Flight, event: Ended) -> bool:
        """Whether the flight needs, and got, another fetch for the same span."""
        verdict, sink = flight.verdict, flight.seat.sink
        if verdict is None or flight.stopped or self._cancelled.is_set() or flight.fetches >= MAX_FETCHES:
            return False
        got = sink.at - (flight.fetch.first or 0)
        if verdict.kind is not Kind.WHOLE and got and sink.at == sink.limit:
            after = self._source.request(sink.at, sink.stop - 1)
        else:
            try:
                moved = self._source.elsewhere(flight.fetch, verdict, sink.at, sink.stop - 1)
            except LargeFileError as error:
                self._fail(error)
                return False
            if moved is None:
                return False
            after = moved
        flight.verdict = None
        flight.fetch = after
        flight.fetches += got < LITTLE
        sink.limit = sink.stop
        self._flights[after] = flight
        self._transport.start(after, sink, self._accepts)
        return True

    def _fault(self, flight: Flight, event: Ended) -> Fault | None:
        """Why the span ended before its end; None if it did not."""
        sink = flight.seat.sink
        if sink.error is not None:
            self._fail(flight.seat.lane.failure(sink) or sink.error)
        if self.error is not None:
            return Fault(as_error(self.error), retryable=False, fatal=True)
        if sink.at == sink.stop:
            return None
        if self._cancelled.is_set():
            flight.stopped = flight.stopped or "cancelled"
        return flight.fault(self._source.name) or self._source.fault(event)

    def _fail(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error

    # --- seats and ends --------------------------------------------------------------------------

    def _note(self, flight: Flight) -> None:
        """Tell the scheduler which blocks have landed since the last look."""
        settled = flight.seat.sink.settled
        block = self._last_block if settled == self._store.content_size else settled // self._store.block_size
        if block > flight.noted:
            self._scheduler.landed(flight.noted, block)
            flight.noted = block

    def _take_seat(self, sink: BlockSink | None = None) -> Seat:
        if self._seats and sink is None:
            return self._seats.pop()
        seat = Seat(self._store.lane(self._transport.direct), sink)
        self._all_seats.append(seat)
        return seat
