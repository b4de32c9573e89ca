"""One thread's share of the work: the flights over one transport.

A flight is one span under way. It may take more than one fetch: a redirect is followed, and an answer
that ends inside a block goes on where it ended, since what came of that block is in its place already.

A pump decides nothing. The `Crew` tells it what to start and to stop, whether an answer may be placed is the
source's verdict, and what came of it goes to the scheduler. All pumps of a run share the scheduler, and
everything that speaks to it is done under their one lock; bytes flow outside of it, in `look`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from largefile.core.ranges import num_blocks
from largefile.core.sink import BlockSink
from largefile.engine.flight import Flight, as_error
from largefile.engine.store import Seat, Store
from largefile.errors import LargeFileError
from largefile.events import Answered, Ended, Fetch, Response
from largefile.log import log
from largefile.rules.rate import RateController
from largefile.rules.schedule import Fault, Scheduler, Span
from largefile.rules.verdict import BODIES, Kind, Verdict
from largefile.wire.address import LATER
from largefile.wire.readers import Source
from largefile.wire.transport import Transport

__all__ = ["IDLE", "TICK", "Common", "Pump"]

#: Seconds between two looks at how far each transfer has come.
TICK = 0.25
#: … and the longest sleep while nothing is under way: whoever has news wakes it.
IDLE = 60.0
#: Fetches with little or nothing in them that one flight may take: redirects, and a few bytes each.
MAX_FETCHES = 20
LITTLE = 16 << 10


class Common:
    """What the pumps of one run have in common. `lock` guards the scheduler, and whatever is told to it."""

    def __init__(
        self,
        scheduler: Scheduler,
        source: Source,
        store: Store,
        rate: RateController | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scheduler = scheduler
        self.source = source
        self.store = store
        self.rate = rate
        self.clock = clock
        self.lock = threading.Lock()
        self.num_blocks = num_blocks(store.content_size, store.block_size)
        self.cancelled = threading.Event()
        #: A whole body that waits until it is alone, and whose it is.
        self.waiting: tuple[Pump, Flight] | None = None
        #: The sink of a body from byte 0 on, which a window holds back.
        self.whole: BlockSink | None = None
        #: The first error that ended the whole job, if one did.
        self.error: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """Remember what ends the job; the first counts."""
        if self.error is None:
            self.error = error


class Pump:
    """Moves the flights over `transport`, which is its thread's own.

    Only `have`, `wake`, `halt` and the numbers may be used from other threads. But for `look` and `end`, the
    rest is called with the lock held.
    """

    def __init__(self, common: Common, transport: Transport) -> None:
        self._common = common
        self._transport = transport
        self._flights: dict[Fetch, Flight] = {}
        self._parked: list[tuple[Flight, Ended]] = []  # ended, and to go on where somebody else finds out
        self._spans: dict[Span, Flight | None] = {}  # None: it is to be started
        self._seats: list[Seat] = []
        self._all_seats: list[Seat] = []
        self._inbox: deque[Callable[[], object]] = deque()
        self._expected = common.clock()  # when it should look at the network, or be back from that
        self._next_tick = self._expected + TICK

    # --- what others call ------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """Transfers under way."""
        return len(self._flights)

    @property
    def load(self) -> int:
        """Spans under way, or about to start."""
        return len(self._spans)

    @property
    def received(self) -> int:
        """Body bytes that came, wanted or not."""
        return sum(seat.sink.received for seat in list(self._all_seats))

    @property
    def waited(self) -> float:
        """Seconds in which its thread has had nothing to do."""
        return self._transport.waited

    def __contains__(self, span: Span) -> bool:
        return span in self._spans

    def have(self, call: Callable[[], object]) -> None:
        """Have `call` made on this pump's thread, under the lock, before it sleeps again."""
        self._inbox.append(call)

    def wake(self) -> None:
        """End the present `look`, or the next."""
        self._transport.wake()

    def halt(self) -> None:
        """Let no more bytes in, at once: the end of every flight is near."""
        for seat in list(self._all_seats):
            seat.sink.halt()
        self._transport.wake()

    # --- what the crew has it do -----------------------------------------------------------------

    @property
    def has_more_to_do(self) -> bool:
        """Whether something was left for it since it caught up."""
        return bool(self._inbox)

    def catch_up(self) -> None:
        """Do what the others have left for it."""
        while self._inbox:
            self._inbox.popleft()()

    def entrust(self, span: Span) -> None:
        """This span is its own from now on, and is started before it sleeps again."""
        self._spans[span] = None
        self.have(lambda: self._start(span))

    def adopt(self, fetch: Fetch, verdict: Verdict, sink: BlockSink) -> None:
        """Take over an answered fetch, and its sink, that were made before the run began."""
        store, scheduler = self._common.store, self._common.scheduler
        size, first = store.block_size, fetch.first or 0
        gap = store.byte_ranges.bitmap.find_clear(first // size)
        if verdict.kind is Kind.WHOLE:
            stop = self._common.num_blocks
            gap = store.byte_ranges.bitmap.find_clear(0) if gap is None else gap
        elif gap is None or gap * size != first or verdict.last is None:
            self._transport.refuse(fetch)  # it does not begin where something is missing
            return
        else:
            stop = min(verdict.last // size + 1, self._common.num_blocks)
        if gap is None:
            self._transport.refuse(fetch)
            return
        span = scheduler.adopt(gap, stop, self._common.clock())
        flight = Flight(span, self._take_seat(sink), fetch, self._common.clock())
        self._flights[fetch] = self._spans[span] = flight
        if verdict.kind is not Kind.WHOLE:
            flight.seat.lane.aim(sink, span.first_block, span.stop_block)
        self._admit(flight, verdict)
        self._share_rate()

    def _start(self, span: Span) -> None:
        common = self._common
        seat = self._take_seat()
        seat.lane.aim(seat.sink, span.first_block, span.stop_block)
        fetch = common.source.request(seat.sink.at, seat.sink.stop - 1)
        self._flights[fetch] = self._spans[span] = Flight(span, seat, fetch, common.clock())
        if common.rate is not None:
            common.rate.took_request(common.clock())
        self._transport.start(fetch, seat.sink, self._accepts)
        self._share_rate()

    def stop(self, span: Span, why: str) -> None:
        """End this span's transfer."""
        flight = self._spans.get(span)
        if flight is not None:
            flight.stopped = why
            flight.seat.sink.halt()
            self._transport.stop(flight.fetch)

    def renew(self, span: Span) -> None:
        """Go on with this span on another connection."""
        flight = self._spans.get(span)
        if flight is not None and not flight.stopped and flight.seat.sink.at < flight.seat.sink.stop:
            flight.renewing = True
            self._transport.stop(flight.fetch)

    def split(self, span: Span, stop_block: int) -> None:
        """Have this span end there, or as soon after as it can."""
        flight = self._spans.get(span)
        if flight is not None and not flight.stopped:
            store = self._common.store
            stop = flight.seat.sink.shorten(stop_block * store.block_size)
            self._common.scheduler.granted(span, -(-stop // store.block_size), self._common.clock())

    @property
    def is_held(self) -> bool:
        """Whether a transfer waits for a place."""
        return any(flight.seat.sink.held for flight in self._flights.values())

    def resume_held(self) -> None:
        """Whoever waits for a place may look again."""
        for flight in self._flights.values():
            if flight.seat.sink.held:
                self._transport.resume(flight.fetch)

    def end(self) -> None:
        """Give back every seat; after the last step, whatever it was. May be called twice."""
        for flight in self._flights.values():
            self._transport.stop(flight.fetch)  # only an exception leaves flights behind
        if self._flights:
            self._transport.poll(0.0)
        self._flights.clear()
        self._parked.clear()
        self._spans.clear()
        self._share_rate()
        for seat in self._all_seats:
            seat.free()

    # --- bytes -----------------------------------------------------------------------------------

    def excuse(self, now: float) -> None:
        """While it did not look at the network (a slow disk, maybe) its transfers were not silent."""
        away = now - self._expected
        if away > TICK:
            self._common.scheduler.lost(away, self._spans)
            for flight in self._flights.values():
                flight.excuse(away, now)
            self._expected = now

    def look(self, until: float | None, limit: float) -> None:
        """Let bytes flow until there is news, or until then, or for `limit` seconds; and tell the news."""
        clock = self._common.clock
        now = clock()
        due = self._next_tick if self._flights or self._parked else now + IDLE
        timeout = min(limit, max(0.0, due - now if until is None else min(due, until) - now))
        self._expected = now + timeout
        news = self._transport.poll(timeout)
        with self._common.lock:
            now = clock()
            self.excuse(now)
            self._expected = now
            self._tell(news, now)
            if now >= self._next_tick:
                self._next_tick = now + TICK
                self._tick(now)

    def _tell(self, news: Sequence[Answered | Ended], now: float) -> None:
        for event in news:
            flight = self._flights.get(event.fetch)
            if flight is None:
                continue  # an answer that was refused before this run began
            if isinstance(event, Answered):
                self._answered(flight, event)
            else:
                del self._flights[event.fetch]
                self._common.source.ended(event.fetch, *flight.measure(now))
                self._ended(flight, event)
        for flight in self._flights.values():
            self._note(flight)
        self._ask_again()
        self._admit_waiting()

    def _ask_again(self) -> None:
        """Those who wait for an address may go on, or have been told to stop."""
        parked, self._parked = self._parked, []
        for flight, event in parked:
            self._ended(flight, event)

    def _tick(self, now: float) -> None:
        for flight in self._flights.values():
            sink = flight.seat.sink
            self._common.scheduler.progress(flight.span, sink.at - sink.first, now)
            self._leave_slow(flight, now)
        self._common.scheduler.lost(TICK, [flight.span for flight, _ in self._parked])
        self._share_rate()

    def _leave_slow(self, flight: Flight, now: float) -> None:
        """Go on elsewhere if the source knows a much faster place, and it is not we who are slow."""
        rate = self._common.rate
        limited = rate is not None and rate.bytes_per_second is not None
        if limited or flight.renewing or flight.span.whole:
            return
        if self._common.source.leaves(flight.fetch, *flight.measure(now)):
            self.renew(flight.span)

    def _share_rate(self) -> None:
        if (rate := self._common.rate) is not None:
            rate.register(self, len(self._flights))
            self._transport.throttle(rate.share(len(self._flights)))

    # --- what the transport says -----------------------------------------------------------------

    def _accepts(self, fetch: Fetch, response: Response) -> bool:
        """Whether the body is simply what was asked for. Asked inside of a driver's callback."""
        flight = self._flights.get(fetch)
        if flight is None or flight.stopped or self._common.cancelled.is_set():
            return False
        verdict = self._common.source.judge(fetch, response)
        whole = verdict.last is None or verdict.last + 1 >= flight.seat.sink.stop
        if verdict.kind not in (Kind.ACCEPT, Kind.PREFIX) or not whole:
            return False
        flight.verdict = verdict
        return True

    def _answered(self, flight: Flight, event: Answered) -> None:
        verdict = self._common.source.judge(event.fetch, event.response)
        flight.verdict = verdict
        if verdict.kind in BODIES:
            self._admit(flight, verdict)
        else:
            self._transport.refuse(event.fetch)

    def _admit(self, flight: Flight, verdict: Verdict) -> None:
        """Let the body flow, bounded by what the answer was found to hold."""
        store, scheduler, now = self._common.store, self._common.scheduler, self._common.clock()
        sink, span = flight.seat.sink, flight.span
        flight.verdict = verdict
        if verdict.kind is Kind.WHOLE:
            alone = scheduler.granted_whole(span, now)
            if alone is None:
                self._transport.refuse(flight.fetch)  # another has the whole, or this one is being stopped
                return
            if not alone:
                self._common.waiting = self, flight  # until the others have let go of their places
                return
            flight.noted = 0
            self._common.whole = sink
            flight.seat.lane.aim(sink, 0, self._common.num_blocks)
        elif verdict.last is not None and verdict.last + 1 < sink.stop:
            # Whole blocks stay with the span: what is left of the last one is asked for on this flight.
            stop_block = verdict.last // store.block_size + 1
            scheduler.granted(span, stop_block, now)
            sink.shorten(min(span.stop_block * store.block_size, store.content_size))
            sink.limit = min(verdict.last + 1, sink.stop)
        self._transport.admit(flight.fetch)

    def _admit_waiting(self) -> None:
        """A whole body that is alone now may flow, whosever it is."""
        if self._common.waiting is not None and self._common.scheduler.in_flight == 1:
            (pump, flight), self._common.waiting = self._common.waiting, None
            pump.have(lambda: pump._admit_alone(flight))
            pump.wake()

    def _admit_alone(self, flight: Flight) -> None:
        if flight.verdict is not None and flight.fetch in self._flights:
            self._admit(flight, flight.verdict)

    def _ended(self, flight: Flight, event: Ended) -> None:
        self._note(flight)
        sink, source = flight.seat.sink, self._common.source
        if sink.error is None and sink.at < sink.stop and self._goes_on(flight, event):
            return
        fault = self._fault(flight, event)
        flight.seat.free()
        self._seats.append(flight.seat)
        if fault is not None:
            blocks = flight.span.first_block, flight.span.stop_block - 1
            log().debug("%s: blocks %d-%d: %s", source.name, *blocks, fault.error)
        del self._spans[flight.span]
        now = self._common.clock()
        self._common.scheduler.progress(flight.span, sink.at - sink.first, now)
        self._common.scheduler.ended(flight.span, fault, now)
        self._share_rate()

    def _goes_on(self, flight: Flight, event: Ended) -> bool:
        """Whether the flight needs, and got or waits for, another fetch for the same span."""
        verdict, sink, source = flight.verdict, flight.seat.sink, self._common.source
        if flight.stopped or self._common.cancelled.is_set() or flight.fetches >= MAX_FETCHES:
            return False
        got = sink.at - (flight.fetch.first or 0)
        if flight.renewing:
            self._common.scheduler.renewed(flight.span, self._common.clock())
            flight.renewing = False
            after = source.request(sink.at, sink.stop - 1)
        elif verdict is not None and verdict.kind is not Kind.WHOLE and got and sink.at == sink.limit:
            after = source.request(sink.at, sink.stop - 1)
        else:
            try:
                moved = source.elsewhere(flight.fetch, verdict, sink.at, sink.stop - 1)
            except LargeFileError as error:
                self._common.fail(error)
                return False
            if moved is None:
                return False
            if moved is LATER:
                self._parked.append((flight, event))
                return True
            after = moved
        if source.host(after).opens_at > self._common.clock():
            flight.stopped = "too early"  # the scheduler has it asked for again when it may be
            source.ended(after, 0, 0.0)
            return False
        flight.begin(after, self._common.clock())
        flight.fetches += got < LITTLE
        sink.limit = sink.stop
        self._flights[after] = flight
        self._transport.start(after, sink, self._accepts)
        return True

    def _fault(self, flight: Flight, event: Ended) -> Fault | None:
        """Why the span ended before its end; None if it did not."""
        sink, common = flight.seat.sink, self._common
        if sink.error is not None:
            common.fail(flight.seat.lane.failure(sink) or sink.error)
        if common.error is not None:
            return Fault(as_error(common.error), retryable=False, fatal=True)
        if sink.at == sink.stop:
            return None
        if common.cancelled.is_set():
            flight.stopped = flight.stopped or "cancelled"
        return flight.fault(common.source.name) or flight.unanswered(common.source.fault(event), event)

    # --- seats and ends --------------------------------------------------------------------------

    def _note(self, flight: Flight) -> None:
        """Tell the scheduler which blocks have landed since the last look."""
        settled, store = flight.seat.sink.settled, self._common.store
        ended = settled == store.content_size
        block = self._common.num_blocks if ended else settled // store.block_size
        if block > flight.noted:
            self._common.scheduler.landed(flight.noted, block)
            flight.noted = block

    def _take_seat(self, sink: BlockSink | None = None) -> Seat:
        if self._seats and sink is None:
            return self._seats.pop()
        seat = Seat(self._common.store.lane(self._transport.direct), sink)
        self._all_seats.append(seat)
        return seat
