"""How many of the cases of a selftest came out how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Self

__all__ = ["OutcomeSummary"]


@dataclass(frozen=True, slots=True)
class OutcomeSummary:
    """Counts by outcome; a selftest names its outcomes, and which of them are bad."""

    outcomes: ClassVar[type[Enum]]
    bad: ClassVar[Collection[Enum]]

    counts: dict[Any, int]

    @classmethod
    def of(cls, results: Iterable[Any]) -> Self:
        """The counts of `results`, each of which has an `outcome`."""
        found = Counter(result.outcome for result in results)
        return cls({outcome: found[outcome] for outcome in cls.outcomes})

    @property
    def is_good(self) -> bool:
        return not any(self.counts[outcome] for outcome in self.bad)

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return {outcome.value: count for outcome, count in self.counts.items()}

    def __str__(self) -> str:
        parts = ", ".join(f"{count} {outcome.value}" for outcome, count in self.counts.items())
        return f"{sum(self.counts.values())} cases: {parts}"
