"""Tables in Markdown, and medians of runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

Run = dict[str, Any]

MIB = 1 << 20


def head(*cells: str) -> list[str]:
    return [row(*cells), row("---", *("---:" for _ in cells[1:]))]


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def size_text(size: int) -> str:
    for unit, one in (("GiB", 1 << 30), ("MiB", MIB), ("MB", 10**6), ("KiB", 1 << 10)):
        if size >= one and size % one == 0:
            return f"{size // one:,} {unit}"
    return f"{size:,} bytes"


def by_contender(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs of each, in the order in which they first appear."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run["contender"], []).append(run)
    return found


def median(runs: list[Run], key: Callable[[Run], float]) -> float:
    return statistics.median(key(run) for run in runs)


def quartiles(runs: list[Run], key: Callable[[Run], float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper one."""
    return spread([key(run) for run in runs])


def spread(values: list[float]) -> tuple[float, float, float]:
    """The quartiles of values."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def quotient(ours: list[Run], theirs: list[Run], key: Callable[[Run], float]) -> float:
    """Of two medians."""
    return median(ours, key) / median(theirs, key)


def ratio(ours: list[Run], theirs: list[Run], key: Callable[[Run], float]) -> str:
    """Of two medians, with the rounds in which ours was the smaller one."""
    there = {run["round"]: key(run) for run in theirs}
    rounds = [(key(run), there[run["round"]]) for run in ours if run["round"] in there]
    less = sum(one < other for one, other in rounds)
    return f"{quotient(ours, theirs, key):.2f} ({less} of {len(rounds)})"


def of(name: str) -> Callable[[Run], float]:
    return lambda run: float(run[name])


def busy(run: Run) -> float:
    """Processors of the machine that were busy on the average; 0 where that was not counted."""
    return float(run.get("busy", 0.0) / run["wall"])


def cpu(run: Run) -> float:
    return float(run["user"] + run["system"])
