"""Slow transfers: which one is made again on another connection, and which one gives away its end.

A connection may be bad for its whole life: a poor way through the network, a tired edge, a server that
drips. It is compared with the others, as only they tell what the way to this host is worth:

*Renewed* is a transfer that for seconds has had less than a tenth of what is usual here, if much of it is
left. It goes on where it is, on another connection, so nothing that came is lost, and nothing has two
writers. Twice at most for a span: a place that is slow for every connection is slow.

*Split* is the transfer that will take longest, when connections are free and there is nothing else for them.
It keeps what it is going to bring while the others bring the rest.

What is not compared here is a transfer of which next to nothing comes at all: that is a stall, and the
business of `largefile.rules.flights`.
"""

from __future__ import annotations

import math
from collections import deque

from largefile.rules.actions import Renew, Split
from largefile.rules.flights import Flight, Flights

__all__ = ["Stragglers"]

#: Seconds over which the speed of a transfer is taken.
PERIOD = 1.0
#: A transfer is slow below this share of what is usual.
SLOW = 0.1
#: … when it will take so many seconds more, as it is: making it again takes a while, too.
LONG = 2.0
#: … and was measured so often.
SURE = 2
#: A span is made again so often.
RENEWALS = 2
#: Ended transfers that tell what is usual, and how many of them it takes.
KEPT, FEW = 16, 3
#: A transfer is split when it will take so many seconds more.
WORTH_SPLITTING = 1.0


class Stragglers:
    """Watch the speeds of `flights`, and say what to do about the slow ones.

    Parameters
    ----------
    flights : Flights
        The scheduler's.
    block_size : int
        Bytes.

    Examples
    --------
    >>> from largefile.rules.actions import Span
    >>> flights = Flights(stall_timeout=20.0)
    >>> stragglers = Stragglers(flights, block_size=100)
    >>> flight = Flight(Span(0, 40), left=40, heard=0.0, epoch=0, cuts=0, since=0.0)
    >>> flights.add(flight)
    >>> for seconds in (1.0, 2.0):
    ...     flight.received += 100
    ...     stragglers.measure(flight, seconds)
    >>> flight.rate, stragglers.next(idle=1).stop_block  # the other one would bring as much in the same time
    (100.0, 21)
    """

    def __init__(self, flights: Flights, block_size: int) -> None:
        self._flights = flights
        self._block_size = block_size
        self._usual: deque[float] = deque(maxlen=KEPT)  # bytes a second of transfers that have ended
        self._measured = False  # since `next` was asked last

    def measure(self, flight: Flight, now: float) -> None:
        """Look at how much came; about four times a second is enough."""
        if not flight.received:
            flight.since = now  # how long it takes to answer is no speed
        passed = now - flight.since
        if passed >= PERIOD:
            flight.rate = (flight.received - flight.counted) / passed
            flight.since, flight.counted = now, flight.received
            flight.measured += 1
            self._measured = True

    def ended(self, flight: Flight, now: float) -> None:
        """What it had, on the whole, is what is usual."""
        if flight.received and now > flight.began and not flight.stopping:
            self._usual.append(flight.received / (now - flight.began))

    def next(self, idle: int) -> Renew | Split | None:
        """What to do about one of them; `idle` more could be under way, and there is nothing for them.

        It answers once for each new measurement, so that one thing is done at a time.
        """
        if not self._measured:
            return None
        self._measured = False
        return self._renew() or (self._split(idle) if idle > 0 else None)

    def renewed(self, flight: Flight, now: float) -> None:
        """It goes on, on another connection: nothing is known of that."""
        flight.rate, flight.measured, flight.renewals = None, 0, flight.renewals + 1
        flight.since, flight.counted = now, flight.received

    # --- how -------------------------------------------------------------------------------------

    def _renew(self) -> Renew | None:
        usual = self._typical()
        for flight in self._flights:
            if usual is None or not self._may_change(flight) or flight.renewals >= RENEWALS:
                continue
            slow = flight.measured >= SURE and flight.rate is not None and flight.rate < SLOW * usual
            if slow and self._seconds_left(flight) > LONG:
                flight.changing = True
                return Renew(flight.span)
        return None

    def _split(self, idle: int) -> Split | None:
        known = [flight for flight in self._flights if self._may_change(flight)]
        slowest = max(known, key=self._seconds_left, default=None)
        if slowest is None or slowest.rate is None or self._seconds_left(slowest) < WORTH_SPLITTING:
            return None
        begun = slowest.span.first_block + math.ceil(slowest.received / self._block_size)
        rest = slowest.span.stop_block - begun
        others = idle * (self._typical() or slowest.rate)
        kept = int(rest * slowest.rate / (slowest.rate + others)) if rest > 1 else rest
        if kept >= rest:
            return None
        slowest.changing = True
        return Split(slowest.span, begun + kept)

    def _may_change(self, flight: Flight) -> bool:
        return not (flight.stopping or flight.changing or flight.span.whole) and flight.rate is not None

    def _typical(self) -> float | None:
        """Bytes a second that are usual for one transfer; None while nobody knows."""
        flying = [flight.rate for flight in self._flights if flight.rate is not None]
        known = [*self._usual, *flying]
        return sorted(known)[len(known) // 2] if len(known) >= FEW else None

    def _seconds_left(self, flight: Flight) -> float:
        left = flight.left * self._block_size
        return left / flight.rate if flight.rate else math.inf
