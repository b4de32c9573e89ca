"""Runs of blocks that wait for their time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Parked", "Run", "Waiting"]


@dataclass(frozen=True, slots=True)
class Run:
    """Adjacent missing blocks and their history; see `Span` for the fields' meaning."""

    first: int
    stop: int
    attempt: int = 0
    passes: int = 0
    #: It comes back after a failure, so its next request is a retry.
    again: bool = False


class Waiting(NamedTuple):
    """A run, and the date (seconds) before which it must not start."""

    not_before: float
    run: Run


class Parked:
    """Waiting runs, by date and then by place.

    They do not overlap, so a block is found by its place, and no two are of one place. Each step costs a
    search and a move of memory, since a reader may ask for ten thousand ranges at once.

    Examples
    --------
    >>> parked = Parked()
    >>> parked.add(Run(8, 12), 0.5)
    >>> parked.add(Run(0, 4), 2.0)
    >>> [waiting.run.first for waiting in parked], parked.num_blocks
    ([8, 0], 8)
    >>> parked.at(3).not_before, parked.at(4)
    (2.0, None)
    """

    def __init__(self) -> None:
        self._by_date: list[Waiting] = []
        self._by_place: list[Waiting] = []
        #: How many blocks the runs have, present ones too.
        self.num_blocks = 0

    def __len__(self) -> int:
        return len(self._by_date)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._by_date)

    @property
    def first(self) -> Waiting | None:
        """The run that may go before all others."""
        return self._by_date[0] if self._by_date else None

    def at(self, block: int) -> Waiting | None:
        """The run that `block` belongs to."""
        index = bisect_right(self._by_place, block, key=_place) - 1
        found = self._by_place[index] if index >= 0 else None
        return found if found is not None and block < found.run.stop else None

    def add(self, run: Run, not_before: float) -> None:
        """Have it wait until `not_before`."""
        waiting = Waiting(not_before, run)
        insort(self._by_date, waiting, key=_date_and_place)
        insort(self._by_place, waiting, key=_place)
        self.num_blocks += run.stop - run.first

    def remove(self, waiting: Waiting) -> None:
        """It waits no more."""
        dated = bisect_left(self._by_date, _date_and_place(waiting), key=_date_and_place)
        placed = bisect_left(self._by_place, waiting.run.first, key=_place)
        del self._by_date[dated], self._by_place[placed]
        self.num_blocks -= waiting.run.stop - waiting.run.first

    def clear(self) -> None:
        """Nothing waits any more."""
        self._by_date.clear()
        self._by_place.clear()
        self.num_blocks = 0


def _date_and_place(waiting: Waiting) -> tuple[float, int]:
    return waiting.not_before, waiting.run.first


def _place(waiting: Waiting) -> int:
    return waiting.run.first
