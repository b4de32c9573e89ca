"""What becomes of blocks that a transfer did not bring, and when nothing is left to do: is it the end?

They are tried again, or given up. A download passes over its content and may pass again over what was
given up (`Passes`). On demand, each reader learns what it will not get and decides itself (`Refusals`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from largefile.errors import IncompleteError
from largefile.rules.actions import Fault, Refused, Wait
from largefile.rules.demand import DemandPlan
from largefile.rules.flights import Flight
from largefile.rules.parked import Run
from largefile.rules.patience import Patience
from largefile.rules.spans import SpanPlan

__all__ = ["Ending", "Passes", "Refusals"]

_SHORT = Fault(IncompleteError("the transfer ended before its blocks were all there"))


class Ending(ABC):
    """What both kinds do.

    Parameters
    ----------
    plan, patience
        The scheduler's.
    """

    dead = False  #: all that is left was given up at once
    iterations = 1  #: passes over the outstanding blocks

    def __init__(self, plan: SpanPlan, patience: Patience) -> None:
        self._plan = plan
        self._patience = patience

    @property
    def remaining(self) -> int:
        """Blocks neither present, nor in flight, nor given up."""
        return 0 if self.dead else self._plan.remaining

    @property
    def given_up(self) -> int:
        """Blocks that are not tried any more in this pass."""
        return self._plan.given_up + (self._plan.remaining if self.dead else 0)

    def take_back(
        self,
        flight: Flight,
        missing: list[tuple[int, int]],
        fault: Fault | None,
        *,
        served: bool,
        in_flight: int,
        now: float,
    ) -> None:
        """Park what a transfer did not bring, or give it up; the rest as for `Patience.charge`."""
        fault = fault or _SHORT
        charge = self._patience.charge(flight, fault, served=served, in_flight=in_flight, now=now)
        runs = [
            Run(first, stop, charge.attempt, charge.passes, again=charge.blamed)
            for first, stop in ([(0, self._plan.num_blocks)] if flight.span.whole else missing)
        ]
        if charge.hopeless or (charge.blamed and self._is_condemned(flight)):
            self._give_up(runs, fault)
        else:
            for run in runs:
                self._plan.park(run, now + charge.delay)
        if charge.dead:
            self._give_up_host(fault, now)

    def _is_condemned(self, flight: Flight) -> bool:
        """Whether this transfer, which has failed, was given up before."""
        return False

    @abstractmethod
    def _give_up(self, runs: list[Run], fault: Fault) -> None:
        """Do not try these any more."""

    @abstractmethod
    def _give_up_host(self, fault: Fault, now: float) -> None:
        """Do not try anything any more."""

    @abstractmethod
    def landed(self) -> None:
        """A block landed."""

    @abstractmethod
    def idle(self, now: float) -> Wait | None:
        """Nothing is in flight and nothing may start: what to wait for; None: it is over."""

    @abstractmethod
    def outlives(self, fault: Fault, now: float) -> bool:
        """Nobody has got anything for a long time: does the job go on all the same?"""

    def become_whole(self) -> None:
        """Everything comes by itself."""
        self.dead = False

    def demand(self, first_block: int, stop_block: int, now: float, *, alone: bool) -> bool:
        """Have blocks fetched; `alone`: nothing is in flight."""
        raise ValueError("demand needs on_demand: here everything is fetched")

    def take_refused(self) -> list[Refused]:
        """What was demanded and given up since the last call."""
        return []


class Passes(Ending):
    """Given-up blocks wait for the next pass over the content, if there is one.

    Parameters
    ----------
    plan, patience
        The scheduler's.
    max_idle : int
        Passes in a row that may land nothing, after the first.
    """

    def __init__(self, plan: SpanPlan, patience: Patience, max_idle: int) -> None:
        super().__init__(plan, patience)
        self._max_idle = max_idle
        self._idle = 0
        self._permanent = False  # a fault that no further pass can cure

    def landed(self) -> None:
        self._idle = 0

    def _give_up(self, runs: list[Run], fault: Fault) -> None:
        self._plan.given += runs
        self._permanent |= not fault.retryable
        self.dead |= self._plan.window is not None  # no reader in order gets past it

    def _give_up_host(self, fault: Fault, now: float) -> None:
        self.dead = True

    def outlives(self, fault: Fault, now: float) -> bool:
        return False

    def idle(self, now: float) -> Wait | None:
        if not self.given_up or self._permanent or self._idle >= self._max_idle:
            return None
        self._idle += 1
        self.iterations += 1
        self.dead = False
        at = now + self._patience.delay(self._idle)
        self._patience.start_over(at)
        self._plan.revive(at)
        return Wait(at)


class Refusals(Ending):
    """Given-up blocks are told to whoever demanded them, and may be demanded anew.

    A host that is given up takes everything demanded with it, also what is in flight then and fails. The
    next demand tries it again at once, with a new beginning: readers that ask on and on are slowed by the
    delays between the tries.

    Parameters
    ----------
    plan, patience
        The scheduler's.
    """

    def __init__(self, plan: DemandPlan, patience: Patience) -> None:
        super().__init__(plan, patience)
        self._demands = plan
        self._refused: list[Refused] = []
        self._condemned = -1  # transfers of an earlier epoch share in the end of their host

    def demand(self, first_block: int, stop_block: int, now: float, *, alone: bool) -> bool:
        if not 0 <= first_block <= stop_block <= self._plan.num_blocks:
            raise ValueError(
                f"demanded are [{first_block}, {stop_block}) of {self._plan.num_blocks} blocks; "
                "it must be a run of them"
            )
        if alone and self._plan.exhausted:
            self._patience.start_over(now)  # failures of a time that is over say nothing about the host
        return self._demands.demand(first_block, stop_block, now)

    def landed(self) -> None:
        self._condemned = -1  # the host is alive after all

    def _is_condemned(self, flight: Flight) -> bool:
        return flight.epoch < self._condemned

    def _give_up(self, runs: list[Run], fault: Fault) -> None:
        for run in runs:
            self._refuse(self._demands.give_up(run), fault)

    def _give_up_host(self, fault: Fault, now: float) -> None:
        self._refuse(self._demands.give_up_parked(), fault)
        self._patience.start_over(now)
        self._condemned = self._patience.epoch

    def outlives(self, fault: Fault, now: float) -> bool:
        self._give_up_host(fault, now)
        return True  # who asks again may be luckier

    def _refuse(self, runs: list[tuple[int, int]], fault: Fault) -> None:
        self._refused += [Refused(first, stop, fault.error) for first, stop in runs]

    def idle(self, now: float) -> Wait | None:
        return None if self._demands.complete else Wait(None, for_reader=True)

    def take_refused(self) -> list[Refused]:
        refused, self._refused = self._refused, []
        return refused
