"""A transport without a network, on a clock that only moves when somebody waits.

The very pump, scheduler, rules, lanes and sinks of a download run over it, thousands of downloads a
minute, and the same seeds give the same download. A `poll` that waits moves the clock to the next thing
that happens; bodies come in chunks of random sizes, interleaved as their delays have it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

from largefile.core.sink import BlockSink
from largefile.errors import LargeFileError, NetworkError
from largefile.events import Answered, Ended, Fetch, Outcome, Response
from largefile.rules.actions import Fault
from largefile.rules.identity import Identity
from largefile.rules.ranged_http import judge
from largefile.rules.verdict import Kind, Verdict
from largefile.testing.simulated_server import Act, SimulatedServer
from largefile.wire.readers import Probe

__all__ = ["SimulatedSource", "SimulatedTransport", "Stuck", "TwoWriters", "VirtualClock"]

_USABLE = (Kind.ACCEPT, Kind.PREFIX, Kind.WHOLE)


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
    answered: bool = False
    judged: bool = False
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
        self.most_in_flight = 0

    # --- the contract ----------------------------------------------------------------------------

    def start(self, fetch: Fetch, sink: BlockSink) -> None:
        """Ask the server."""
        if fetch in self._transfers:
            raise ValueError(f"{fetch} was started before")
        transfer = self._transfers[fetch] = _Transfer(fetch, sink, self._server.answer(fetch))
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

    def throttle(self, bytes_per_second: int) -> None:
        """Spread the chunks that come from now on."""
        self._speed = bytes_per_second

    def poll(self, timeout: float) -> Sequence[Answered | Ended]:
        """Let what is due happen, and time pass until there is news."""
        self._patience -= 1
        if self._patience < 0:
            raise Stuck("too many polls")
        until = self._clock() + timeout
        while not self._news and not self._woken and self._due and self._due[0][0] <= until:
            at, _, transfer = heappop(self._due)
            self._clock.advance(at)
            if transfer.fetch in self._transfers:
                self._step(transfer)
        if not self._news and not self._woken:
            self._clock.advance(until)
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
        for other in self._transfers.values():
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
        transfer.sent += len(chunk)
        if taken != len(chunk):
            self._end(transfer, Outcome.HALTED)
            return
        chunk[:] = b"\xee" * len(chunk)  # the buffer is the driver's: whoever kept it reads garbage
        pause = len(chunk) / self._speed if self._speed else self._rng.uniform(0.0, 0.01)
        self._schedule(transfer, pause)

    def _end(self, transfer: _Transfer, outcome: Outcome) -> None:
        del self._transfers[transfer.fetch]
        self._news.append(Ended(transfer.fetch, outcome))


class SimulatedSource:
    """A source at a simulated server, judged by the rules of HTTP.

    Parameters
    ----------
    server, transport, clock
        The world.
    tries : int
        How often the first request is made.
    """

    def __init__(
        self, server: SimulatedServer, transport: SimulatedTransport, clock: VirtualClock, *, tries: int = 5
    ) -> None:
        self._server = server
        self._transport = transport
        self._clock = clock
        self._tries = tries
        self._identity: Identity | None = None
        self._content_type: str | None = None
        self._hops = 0

    @property
    def name(self) -> str:
        """What to call it."""
        return "simulated://content"

    def transport(self) -> SimulatedTransport:
        """The one that it was made with."""
        return self._transport

    def request(self, first: int | None, last: int | None) -> Fetch:
        """A fetch for these bytes."""
        return Fetch(first, last, self.name)

    def judge(self, fetch: Fetch, response: Response) -> Verdict:
        """As `rules.ranged_http` has it."""
        verdict = judge(
            fetch, response, self._identity, wall_now=self._clock(), pinned_type=self._content_type
        )
        if verdict.kind in _USABLE:
            self._hops = 0
        return verdict

    def redirected(self, fetch: Fetch, verdict: Verdict) -> bool:
        """Every address leads to the same server, ten times in a row."""
        self._hops += 1
        return verdict.kind is Kind.REDIRECT and self._hops <= 10

    def fault(self, ended: Ended) -> Fault:
        """Every bad end may be a good one next time."""
        error = NetworkError(f"{ended.outcome.value}: {self.name}")
        return Fault(error, pushback=ended.outcome is Outcome.CONNECT)

    def probe(self, first: int | None, last: int | None, cancelled: Callable[[], bool]) -> Probe:
        """Make the first request until it is answered well, and hold the answer.

        Raises
        ------
        TransferError
            When the tries are used up, or nothing helps.
        """
        error: LargeFileError = NetworkError("no tries")
        for tries in range(self._tries):
            fetch, sink = self.request(first, last), BlockSink()
            verdict = self._ask(fetch, sink)
            if verdict.kind in (*_USABLE, Kind.EMPTY) and verdict.identity is not None:
                self._identity, self._content_type = verdict.identity, verdict.content_type
                held = verdict.kind is not Kind.EMPTY
                return Probe(verdict.identity, fetch, verdict, sink) if held else Probe(verdict.identity)
            error = verdict.error or NetworkError(verdict.reason)
            if verdict.kind not in (Kind.RETRY, Kind.REDIRECT):
                raise error
            if verdict.plain:
                first = last = None
            self._clock.advance(self._clock() + max(0.5 * 2**tries, verdict.retry_after or 0.0))
        raise error

    def _ask(self, fetch: Fetch, sink: BlockSink) -> Verdict:
        self._transport.start(fetch, sink)
        news = self._transport.poll(20.0)
        verdict = Verdict(Kind.RETRY, "no answer")
        if news and isinstance(news[0], Answered):
            verdict = self.judge(fetch, news[0].response)
            if verdict.kind in _USABLE:
                return verdict
        self._transport.stop(fetch)
        self._transport.poll(0.0)
        return verdict

    def close(self) -> None:
        """Drop the transport's transfers."""
        self._transport.close()
