"""The section of docs/performance.md that `shares.py` has the data for."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from tables import by_contender, head, row, size_text

__all__ = ["share", "shares_section"]


def shares_section(data: dict[str, Any]) -> list[str]:
    lines = [
        "Seconds of processor time, from samples of perf; medians. The kernel copies each byte out of a "
        "socket and into the page cache whoever asks for it, and that, with its work for segments and pages, "
        "is the floor under every client. *Python* of ours is the start (the interpreter and imports), "
        "and then a callback for each 16 KiB, which is libcurl's bound."
    ]
    for table in data["shares"].values():
        lines += ["", *_table(table, data["parts"])]
    return lines


def share(runs: list[dict[str, Any]], part: str) -> float:
    """Seconds of processor time that went into `part`; the median of the runs."""
    return statistics.median(run["seconds"].get(part, 0.0) for run in runs)


def _table(table: dict[str, Any], parts: list[str]) -> Iterator[str]:
    named = by_contender(table["runs"])
    yield f"### {table['title']}, {size_text(table['size'])}, {table['filesystem']}"
    yield ""
    yield from head("", *(f"**{name}**" if name == "largefile" else name for name in named))
    totals = dict.fromkeys(named, 0.0)
    for part in parts:
        cells = {name: share(runs, part) for name, runs in named.items()}
        totals = {name: total + cells[name] for name, total in totals.items()}
        if max(cells.values()) >= 0.005:
            yield row(part, *(f"{seconds:.2f}" for seconds in cells.values()))
    yield row("all", *(f"{seconds:.2f}" for seconds in totals.values()))
