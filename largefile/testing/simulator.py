"""A transport without a network, on a clock that only moves when somebody waits.

The very pump, scheduler, rules, lanes and sinks of a download run over it, thousands of downloads a
minute, and the same seeds give the same download. A `poll` that waits moves the clock to the next thing
that happens; bodies come in chunks of random sizes, interleaved as their delays have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

from largefile.core.sink import PAUSE, BlockSink
from largefile.events import Answered, Ended, Fetch, Outcome
from largefile.testing.simulated_server import Act, SimulatedServer
from largefile.wire.transport import Accept

__all__ = ["SimulatedTransport", "Stuck", "TwoWriters", "VirtualClock"]


class Stuck(Exception):
    """A download that waits for nothing, or for ever."""


class TwoWriters(Exception):
    """A body was admitted to a place that another one is being written to."""


class VirtualClock:
    """Seconds since the beginning of a simulation.

    Examples
    --------
    >>> clock = VirtualClock()
    >>> clock.advance(2.5)
    >>> clock()
    2.5
    """

    def __init__(self, limit: float = 100_000.0) -> None:
        self._now = 0.0
        self._limit = limit

    def __call__(self) -> float:
        return self._now

    def advance(self, to: float) -> None:
        """Move on to the time `to`; never back.

        Raises
        ------
        Stuck
            Beyond the limit that it was made with, in seconds.
        """
        self._now = max(self._now, to)
        if self._now > self._limit:
            raise Stuck(f"not at its end after {self._limit} seconds")


@dataclass(eq=False, slots=True)
class _Transfer:
    fetch: Fetch
    sink: BlockSink
    act: Act
    accept: Accept | None = None
    answered: bool = False
    judged: bool = False
    held: bool = False
    sent: int = 0


class SimulatedTransport:
    """The driver's contract over a `SimulatedServer`.

    Parameters
    ----------
    server, clock
        Who answers, and when.
    seed : int
        Draws chunk sizes and the delays between chunks.
    max_chunk : int
        Largest chunk, in bytes.
    patience : int
        Polls after which a simulation counts as stuck.

    Raises
    ------
    Stuck
        From `poll`, when there were too many of them.
    """

    direct = False

    def __init__(
        self,
        server: SimulatedServer,
        clock: VirtualClock,
        *,
        seed: int = 0,
        max_chunk: int = 16_384,
        patience: int = 50_000,
    ) -> None:
        self._server = server
        self._clock = clock
        self._rng = Random(seed)
        self._max_chunk = max_chunk
        self._patience = patience
        self._transfers: dict[Fetch, _Transfer] = {}
        self._due: list[tuple[float, int, _Transfer]] = []
        self._count = 0
        self._news: list[Answered | Ended] = []
        self._woken = False
        self._speed = 0
        self._family = [self]
        self.most_in_flight = 0
        self.waited = 0.0

    def another(self, seed: int) -> SimulatedTransport:
        """One more on the same clock, to the same server; no place may have writers from two of them."""
        other = type(self)(self._server, self._clock, seed=seed, max_chunk=self._max_chunk)
        self._family.append(other)
        other._family = self._family
        return other

    # --- the contract ----------------------------------------------------------------------------

    def start(self, fetch: Fetch, sink: BlockSink, accept: Accept | None = None) -> None:
        """Ask the server."""
        if fetch in self._transfers:
            raise ValueError(f"{fetch} was started before")
        transfer = self._transfers[fetch] = _Transfer(fetch, sink, self._server.answer(fetch), accept)
        self.most_in_flight = max(self.most_in_flight, len(self._transfers))
        if transfer.act.delay is not None:
            self._schedule(transfer, transfer.act.delay)

    def admit(self, fetch: Fetch) -> None:
        """Let the body flow.

        Raises
        ------
        TwoWriters
            If a body that flows already may write to the same bytes.
        """
        transfer = self._transfers.get(fetch)
        if transfer is not None and transfer.answered and not transfer.judged:
            self._check_places(transfer.sink)
            transfer.judged = True
            self._schedule(transfer, 0.0)

    def refuse(self, fetch: Fetch) -> None:
        """Drop the body."""
        transfer = self._transfers.get(fetch)
        if transfer is not None and not transfer.judged:
            self._end(transfer, Outcome.REFUSED)

    def stop(self, fetch: Fetch) -> None:
        """End it, whatever it does."""
        transfer = self._transfers.get(fetch)
        if transfer is not None:
            self._end(transfer, Outcome.HALTED)

    def resume(self, fetch: Fetch) -> None:
        """Deliver a held chunk again, cut anew: now, or when time goes on."""
        transfer = self._transfers.get(fetch)
        if transfer is None or not transfer.held:
            return
        transfer.held = False
        if self._rng.random() < 0.5:
            self._feed(transfer)
        else:
            self._schedule(transfer, 0.0)

    def throttle(self, bytes_per_second: int) -> None:
        """Spread the chunks that come from now on."""
        self._speed = bytes_per_second

    def poll(self, timeout: float) -> Sequence[Answered | Ended]:
        """Let what is due happen, and time pass until there is news."""
        self._patience -= 1
        if self._patience < 0:
            raise Stuck("too many polls")
        began = self._clock()
        until = began + timeout
        while not self._news and not self._woken and self._due and self._due[0][0] <= until:
            at, _, transfer = heappop(self._due)
            self._clock.advance(at)
            if transfer.fetch in self._transfers:
                self._step(transfer)
        if not self._news and not self._woken:
            self._clock.advance(until)
        self.waited += self._clock() - began
        self._woken = False
        news, self._news = self._news, []
        return news

    def wake(self) -> None:
        """End the present poll, or the next."""
        self._woken = True

    def close(self) -> None:
        """Forget everything."""
        self._transfers.clear()
        self._due.clear()
        self._news.clear()

    def _check_places(self, sink: BlockSink) -> None:
        for other in (one for transport in self._family for one in transport._transfers.values()):
            if other.judged and max(sink.at, other.sink.at) < min(sink.stop, other.sink.stop):
                raise TwoWriters(f"[{sink.at}, {sink.stop}) and [{other.sink.at}, {other.sink.stop})")

    # --- what happens ----------------------------------------------------------------------------

    def _schedule(self, transfer: _Transfer, delay: float) -> None:
        self._count += 1
        heappush(self._due, (self._clock() + delay, self._count, transfer))

    def _step(self, transfer: _Transfer) -> None:
        """The next thing that a transfer does: its head, a chunk of its body, or its end."""
        act = transfer.act
        if not transfer.answered and act.response is not None:
            transfer.answered = True
            # A driver may ask, and need not.
            asked = transfer.accept if self._rng.random() < 0.5 else None
            if asked is not None and asked(transfer.fetch, act.response):
                self.admit(transfer.fetch)
            else:
                self._news.append(Answered(transfer.fetch, act.response))
        elif act.response is None or transfer.sent == len(act.body):
            if act.end is not None:
                self._end(transfer, act.end)
        else:
            self._feed(transfer)

    def _feed(self, transfer: _Transfer) -> None:
        size = self._rng.randint(1, self._max_chunk)
        chunk = bytearray(transfer.act.body[transfer.sent : transfer.sent + size])
        taken = transfer.sink(memoryview(chunk))
        chunk[:] = b"\xee" * len(chunk)  # the buffer is the driver's: whoever kept it reads garbage
        if taken == PAUSE:
            transfer.held = True
            return
        transfer.sent += len(chunk)
        if taken != len(chunk):
            self._end(transfer, Outcome.HALTED)
            return
        limits = [limit for limit in (self._speed, transfer.act.rate) if limit]
        pause = len(chunk) / min(limits) if limits else self._rng.uniform(0.0, 0.01)
        self._schedule(transfer, pause)

    def _end(self, transfer: _Transfer, outcome: Outcome) -> None:
        del self._transfers[transfer.fetch]
        self._news.append(Ended(transfer.fetch, outcome))
