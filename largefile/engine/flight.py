"""One span under way: its fetches, and what its bad end means."""

from __future__ import annotations

from largefile.engine.store import Seat
from largefile.errors import InternalError, ProtocolError, StalledError
from largefile.events import Ended, Fetch, Outcome
from largefile.rules.actions import Fault, Span
from largefile.rules.verdict import BODIES, Kind, Verdict

__all__ = ["Flight", "as_error"]


#: Ends without an answer that a host may mean as "not so many at once".
UNANSWERED = {Outcome.CUT, Outcome.NETWORK, Outcome.TIMEOUT}


class Flight:
    """One span under way on one seat."""

    __slots__ = (
        "_began",
        "_had",
        "fetch",
        "fetches",
        "noted",
        "renewing",
        "seat",
        "span",
        "stopped",
        "verdict",
    )

    def __init__(self, span: Span, seat: Seat, fetch: Fetch, now: float) -> None:
        self.span = span
        self.seat = seat
        self.fetches = 1
        self.noted = span.first_block  # blocks below this one the scheduler knows to have landed
        self.stopped = ""  # why the scheduler had it stopped
        self.renewing = False  # its fetch was stopped, to go on by another
        self.begin(fetch, now)

    def begin(self, fetch: Fetch, now: float) -> None:
        """Go on by this fetch."""
        self.fetch = fetch
        self.verdict: Verdict | None = None
        self._began, self._had = now, self.seat.sink.received

    def measure(self, now: float) -> tuple[int, float]:
        """The bytes that came by the present fetch, and its seconds."""
        return self.seat.sink.received - self._had, now - self._began

    def excuse(self, seconds: float, now: float) -> None:
        """So many seconds went by, until now, in which nobody looked: it was not slow then."""
        self._began = min(now, self._began + seconds)

    def unanswered(self, fault: Fault, ended: Ended) -> Fault:
        """The transport's fault, marked if the host has hung up without a word."""
        return fault._replace(unanswered=self.verdict is None and ended.outcome in UNANSWERED)

    def fault(self, name: str) -> Fault | None:
        """What the scheduler or the verdict ended it for; None if it was the transport."""
        if self.stopped == "stalled":
            error = StalledError(f"no byte came from {name} for too long")
            return Fault(error, unanswered=self.verdict is None)
        if self.stopped:
            return Fault(InternalError(f"stopped: {self.stopped}"), blameless=True)
        if self.verdict is None:
            return None
        if self.verdict.kind not in BODIES:
            return verdict_fault(self.verdict)
        if self.seat.sink.overrun:
            return Fault(ProtocolError(f"{name} sent more than it had said"))
        return None


def verdict_fault(verdict: Verdict) -> Fault:
    """What a refused answer means for its span."""
    retryable = verdict.kind is Kind.RETRY
    return Fault(
        verdict.error or ProtocolError(verdict.reason),
        retryable=retryable,
        retry_after=verdict.retry_after,
        pushback=verdict.pushback,
        fatal=not retryable,
    )


def as_error(error: BaseException) -> Exception:
    """An Exception that stands for `error` in the scheduler's list."""
    return error if isinstance(error, Exception) else InternalError(repr(error))
