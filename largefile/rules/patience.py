"""What failures cost: delays, fewer transfers, and the end of trying.

Three things are kept apart, because each has its own cure.

*The run's own failures* (`attempt`, kept with the run) delay that run alone, twice as long each time.

*Pushback*: the host wants fewer transfers, or may want it, as it did not even answer. The allowance halves,
once for all the transfers that were under way together, and grows by one with each transfer that ends
well, up to the ceiling: the number above which the host was seen to refuse.

*Strikes*: nobody gets anything. A failure is a strike if no block of the job landed since the last
strike, if its transfer began after that strike (so a burst of failures is one), and if no other
transfer is being served. A strike holds back every start, and halves what may start; a landed block
takes all of them back. `tries` strikes mean that the host is dead, and the job does not have to fail
block by block to see it: at most about ``2 * concurrency + tries`` requests.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import NamedTuple

from largefile.rules.actions import Fault
from largefile.rules.ceiling import Ceiling
from largefile.rules.flights import Flight

__all__ = ["Charge", "Patience"]

_DELAY_CAP = 30.0
_NEVER = float("-inf")
_KEPT = 4  # errors kept from the beginning, and as many from the end
_MAX_PASSES = 10  # blameless returns in a row before they count as failures


class Charge(NamedTuple):
    """What a failed transfer costs its blocks."""

    attempt: int
    passes: int
    delay: float  #: seconds before they may go again
    blamed: bool  #: it counts as a failure
    hopeless: bool  #: they are given up
    dead: bool  #: and everything else with them


class Patience:
    """Count failures and say what may still start, and when.

    Parameters
    ----------
    concurrency : int
        Transfers at once when all is well.
    tries : int
        Failures in a row, of a run or of the whole job, after which it is given up.
    backoff : float
        Delay after a first failure, in seconds; doubles to at most 30.
    rng : Random or None
        Spreads the delays over their upper half; None: no spread.

    Examples
    --------
    >>> patience = Patience(concurrency=8, tries=5, backoff=0.5)
    >>> [patience.delay(failures) for failures in range(4)]
    [0.0, 0.5, 1.0, 2.0]
    """

    def __init__(self, *, concurrency: int, tries: int, backoff: float, rng: Random | None = None) -> None:
        self.concurrency = concurrency
        self.tries = tries
        self.errors = 0
        self.strikes = 0
        #: Moves on with each strike and each forgiveness; a transfer remembers the one it began in.
        self.epoch = 0
        #: How often the allowance was cut; a transfer remembers this too.
        self.cuts = 0
        self.ceiling = Ceiling()
        self._allowance = concurrency
        self._backoff = backoff
        self._rng = rng
        self._gate = _NEVER  # the host's own word: nothing takes it back
        self._hold = _NEVER  # our guess: a landed block takes it back
        self._first: list[Exception] = []
        self._last: deque[Exception] = deque(maxlen=_KEPT)

    @property
    def allowed(self) -> int:
        """Transfers that may be in flight now."""
        level = self.ceiling.level
        allowance = self._allowance if level is None else min(self._allowance, level)
        return max(1, allowance >> self.strikes)

    @property
    def opens_at(self) -> float:
        """Nothing starts before this time."""
        return max(self._gate, self._hold)

    @property
    def failures(self) -> list[Exception]:
        """The first few and the last few errors, oldest first."""
        return [*self._first, *self._last]

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row; 0 for none."""
        if failures <= 0:
            return 0.0
        # The exponent is bounded because a float is: 0.5 * 2**1100 overflows.
        full = min(_DELAY_CAP, self._backoff * 2.0 ** min(failures - 1, 60))
        return full * self._rng.uniform(0.5, 1.0) if self._rng else full

    def resize(self, concurrency: int) -> None:
        """Change the limit; an allowance that was cut stays cut."""
        uncut = self._allowance >= self.concurrency
        self.concurrency = concurrency
        self._allowance = concurrency if uncut else min(self._allowance, concurrency)

    def close_gate(self, until: float) -> None:
        """The host wants no request before `until`."""
        self._gate = max(self._gate, until)

    def landed(self, flight: Flight) -> None:
        """A block of this transfer landed: the host is alive."""
        if flight.cuts < self.cuts:
            self.ceiling.confirm()
        if self.strikes:
            self.strikes = 0
            self.epoch += 1
            self._hold = _NEVER

    def ended_well(self, in_flight: int) -> None:
        """One of `in_flight` transfers brought all that it was asked for."""
        self.ceiling.ended_well(in_flight)
        self._allowance = min(self.concurrency, self._allowance + 1)

    def charge(self, flight: Flight, fault: Fault, *, served: bool, in_flight: int, now: float) -> Charge:
        """Settle the account of a transfer that did not bring all of its blocks.

        `served` says that some other transfer gets bytes; `in_flight` counts this one too.
        """
        span = flight.span
        attempt, passes = (0, 0) if flight.landed else (span.attempt, span.passes)
        if (fault.pushback or fault.unanswered) and not flight.stopped_by_us:
            self._push_back(in_flight, flight.cuts)
        # Refused while others are served: the number of transfers is refused, not this run.
        excused = (fault.blameless or (fault.pushback and served)) and span.passes < _MAX_PASSES
        if flight.stopped_by_us or excused:
            return Charge(attempt, passes + 1, self._pause(0, fault), False, False, False)
        self.record(fault.error)
        attempt += not flight.landed
        dead = not flight.landed and not served and self._strike(flight.epoch, now)
        hopeless = not fault.retryable or attempt >= self.tries
        return Charge(attempt, passes, self._pause(attempt, fault), True, hopeless, dead)

    def _pause(self, attempt: int, fault: Fault) -> float:
        # Even a run that moved on waits a little when the host asked for less.
        return max(self.delay(max(attempt, int(fault.pushback))), fault.retry_after or 0.0)

    def _push_back(self, in_flight: int, cuts: int) -> None:
        """Halve what may be in flight, once for all the transfers that were under way together."""
        self.ceiling.refused(in_flight)
        if cuts == self.cuts:
            self.cuts += 1
            self._allowance = min(self._allowance, max(1, in_flight // 2))

    def _strike(self, epoch: int, now: float) -> bool:
        """Nobody gets anything: is the host dead?"""
        if epoch == self.epoch:
            self.epoch += 1
            self.strikes += 1
            self._hold = now + self.delay(self.strikes)
        return self.strikes >= self.tries

    def record(self, error: Exception) -> None:
        """Count a failure and keep its error, or push out a middle one."""
        self.errors += 1
        if len(self._first) < _KEPT:
            self._first.append(error)
        else:
            self._last.append(error)

    def start_over(self, at: float) -> None:
        """A new pass begins at `at`."""
        self.strikes = 0
        self.epoch += 1
        self._hold = at
