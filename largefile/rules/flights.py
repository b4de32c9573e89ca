"""The transfers in flight, as the scheduler knows them: who is silent, who is served, who must stop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from largefile.rules.actions import Span, Stop, StopReason

__all__ = ["Flight", "Flights"]


class Flight:
    """A span on its way."""

    def __init__(
        self,
        span: Span,
        left: int,
        heard: float,
        epoch: int,
        cuts: int,
        since: float = 0.0,
        began: float = 0.0,
    ) -> None:
        self.span = span
        self.left = left  #: its blocks that were missing at the last look
        self.heard = heard  #: when its last byte came; seconds
        self.epoch = epoch  #: of `Patience`, when it began
        self.cuts = cuts  #: the same
        self.since = since  #: its speed is measured from here on …
        self.began = began
        self.received = 0  #: bytes
        self.counted = 0  #: … bytes that had come by then
        self.heard_of = 0  #: bytes that had come when it was `heard`
        self.rate: float | None = None  #: bytes a second, lately
        self.measured = 0  #: so often, on this connection
        self.renewals = 0  #: so often it was made again on another one
        self.changing = False  #: its transfer was told to be renewed or split
        self.landed = False  #: it put a block in place
        self.stopping: StopReason | None = None

    @property
    def stopped_by_us(self) -> bool:
        """We ended it, and not for anything that it did."""
        return self.stopping is not None and self.stopping != "stalled"


class Flights:
    """Spans in flight, in the order of their starts.

    A transfer is silent while less comes of it than its part of `low_speed` bytes a second: a server that
    drips keeps a connection alive, and nothing else.

    Examples
    --------
    >>> flights = Flights(stall_timeout=20.0)
    >>> span = Span(0, 4)
    >>> flights.add(Flight(span, left=4, heard=1.0, epoch=0, cuts=0))
    >>> flights.first_stall, flights.next_stop(1.0)
    (21.0, None)
    >>> flights.next_stop(21.0).why
    'stalled'
    """

    def __init__(self, stall_timeout: float, low_speed: float = 0.0) -> None:
        self.limited = False  #: they are held to a speed: however slow, they are not silent
        #: How often in a row transfers were silent for too long, while no other got any further.
        self.silences = 0
        self._stuck = 0  # the most that one of these had got: to get as far again is no progress
        self._silent_at = float("-inf")
        self._low_speed = low_speed
        self._stall_timeout = stall_timeout
        self._flights: dict[Span, Flight] = {}
        self._stops: list[Stop] = []

    def __len__(self) -> int:
        return len(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._flights.values())

    def __getitem__(self, span: Span) -> Flight:
        if span not in self._flights:
            raise ValueError(f"{span} is not in flight")
        return self._flights[span]

    def add(self, flight: Flight) -> None:
        """A transfer begins."""
        self._flights[flight.span] = flight

    def remove(self, span: Span) -> Flight:
        """A transfer ended: a stop that was not yet said is no more needed."""
        flight = self[span]
        del self._flights[span]
        self._stops = [stop for stop in self._stops if stop.span is not span]
        return flight

    def hear(self, flight: Flight, received: int, now: float) -> None:
        """So many bytes came since its start."""
        flight.received = max(received, flight.received)
        new, passed = flight.received - flight.heard_of, now - flight.heard
        least = 0.0 if self.limited else passed * self._low_speed / max(1, len(self))
        if new > 0 and new >= least:
            flight.heard, flight.heard_of = now, flight.received
            if flight.received > self._stuck:
                self.progressed()

    def progressed(self) -> None:
        """Something was brought that nobody had brought before."""
        self.silences = self._stuck = 0

    def stop(self, flight: Flight, why: StopReason) -> None:
        """Have it stopped; only the first reason is said, the last one counts."""
        if flight.stopping is None:
            self._stops.append(Stop(flight.span, why))
        flight.stopping = why

    def stop_all(self, why: StopReason, but: Flight | None = None) -> None:
        """Have every transfer but one stopped."""
        for flight in self:
            if flight is not but:
                self.stop(flight, why)

    def next_stop(self, now: float) -> Stop | None:
        """The next transfer to stop: because it was asked for, or because it was silent for too long."""
        for flight in self:
            if flight.stopping is None and now >= flight.heard + self._stall_timeout:
                self._count_silence(flight, now)
                self.stop(flight, "stalled")
        return self._stops.pop(0) if self._stops else None

    def _count_silence(self, flight: Flight, now: float) -> None:
        """Those that began together are silent together, and count once."""
        self._stuck = max(self._stuck, flight.received)
        if now >= self._silent_at + self._stall_timeout / 2:
            self._silent_at = now
            self.silences += 1

    def lost(self, seconds: float, spans: Iterable[Span]) -> None:
        """Nobody looked at these for so long: they were neither silent nor slow then, as far as we know."""
        for span in spans:
            if (flight := self._flights.get(span)) is not None:
                flight.heard += seconds
                flight.since += seconds
                flight.began += seconds

    @property
    def first_stall(self) -> float | None:
        """When the first transfer will have been silent for too long, if no byte comes."""
        heard = [flight.heard for flight in self if flight.stopping is None]
        until = min(heard) + self._stall_timeout if heard else None
        return None if until == float("inf") else until

    def company(self, flight: Flight) -> int:
        """Transfers that the host has let be together with this one, it included.

        Where one was silent to its end, others that never got a byte may be refused as well.
        """
        silent = flight.stopping == "stalled" and not flight.received
        return 1 + sum(bool(other.received) or not silent for other in self)

    @property
    def served(self) -> bool:
        """Some transfer gets bytes."""
        return any(flight.received and flight.stopping is None for flight in self)
