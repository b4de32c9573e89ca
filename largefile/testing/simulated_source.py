"""What the engine needs of a source, at a simulated server."""

from __future__ import annotations

import math
from collections.abc import Callable

from largefile.core.sink import BlockSink
from largefile.errors import LargeFileError, NetworkError
from largefile.events import Answered, Ended, Fetch, Outcome, Response
from largefile.rules.actions import Fault
from largefile.rules.hosts import Host
from largefile.rules.identity import Identity
from largefile.rules.ranged_http import judge
from largefile.rules.redirects import MAX_HOPS
from largefile.rules.verdict import Kind, Verdict
from largefile.testing.simulator import SimulatedTransport, VirtualClock
from largefile.wire.readers import Probe

__all__ = ["SimulatedSource"]

_USABLE = (Kind.ACCEPT, Kind.PREFIX, Kind.WHOLE)


class SimulatedSource:
    """A source at a simulated server, judged by the rules of HTTP.

    Parameters
    ----------
    transport, clock
        The world.
    tries : int
        How often the first request is made.
    """

    def __init__(self, transport: SimulatedTransport, clock: VirtualClock, *, tries: int = 5) -> None:
        self._transport = transport
        self._clock = clock
        self._tries = tries
        self._past_caches = False
        self.only_host = Host()
        self._identity: Identity | None = None
        self._content_type: str | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        return "simulated://content"

    @property
    def is_anonymous(self) -> bool:
        """It has validators."""
        return False

    @property
    def is_encrypted(self) -> bool:
        """Nothing is real here."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """None."""
        return ()

    def begin_use(self) -> None:
        return None

    def end_use(self) -> None:
        return None

    def transport(self) -> SimulatedTransport:
        """The one that it was made with."""
        return self._transport

    def another_transport(self) -> None:
        """Threads would not give the same download twice."""

    def request(self, first: int | None, last: int | None) -> Fetch:
        """A fetch for these bytes."""
        fields = (("Cache-Control", "no-cache"),) if self._past_caches else ()
        return Fetch(first, last, self.name, fields)

    def host(self, fetch: Fetch | None = None) -> Host:
        """The only one."""
        return self.only_host

    def judge(self, fetch: Fetch, response: Response) -> Verdict:
        """As `rules.ranged_http` has it."""
        now, pinned = self._clock(), self._identity
        verdict = judge(fetch, response, pinned, wall_now=now, pinned_type=self._content_type)
        self._past_caches |= verdict.stale
        if verdict.retry_after is not None:
            self.only_host.close(now + verdict.retry_after)
        return verdict

    def elsewhere(self, fetch: Fetch, verdict: Verdict | None, first: int, last: int) -> Fetch | None:
        """Every address leads to the same server, ten times in a row."""
        if verdict is None or verdict.kind is not Kind.REDIRECT or fetch.hops >= MAX_HOPS:
            return None
        onward = self.request(first, last)
        onward.hops = fetch.hops + 1
        return onward

    def leaves(self, fetch: Fetch, size: int, seconds: float) -> bool:
        """There is one server only."""
        return False

    def ended(self, fetch: Fetch, size: int, seconds: float) -> None:
        """Nothing is measured."""

    def fault(self, ended: Ended) -> Fault:
        """Every bad end may be a good one next time."""
        error = NetworkError(f"{ended.outcome.value}: {self.name}")
        return Fault(error, pushback=ended.outcome is Outcome.CONNECT)

    def probe(
        self,
        first: int | None,
        last: int | None,
        check: Callable[[], object],
        deadline: float = math.inf,
    ) -> Probe:
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
