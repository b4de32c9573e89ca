"""What bounds the figures: what the same data says of the limits, where the machine was counted too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from report_transfers import groups
from tables import Run, busy, by_contender, cpu, median, of

__all__ = ["limits_section"]

Data = dict[str, Any]
OURS, THREADS = "largefile", "largefile, two threads"


def limits_section(kinds: dict[str, Data], tables: dict[str, Data]) -> list[str]:
    """A point for each limit that there is data for."""
    points = list(_points(kinds, tables))
    return ["", "What bounds these figures:", "", *points] if points else []


def _points(kinds: dict[str, Data], tables: dict[str, Data]) -> Iterator[str]:
    for name in ("http-disk", "http-tmpfs"):
        if name in tables:
            named = groups(tables[name])["as they come"]
            if OURS in named and median(named[OURS], busy):
                yield f"* *{tables[name]['title']}.* {' '.join(_plain(named))}"
    if "https-disk" in tables:
        named = groups(tables["https-disk"])["as they come"]
        if OURS in named and median(named[OURS], busy) and (best := _best(named)) is not None:
            yield (
                f"* *HTTPS.* Ours takes {median(named[OURS], cpu):.2f} s of CPU time in "
                f"{median(named[OURS], of('wall')):.2f} s, and the server encrypts beside it: "
                f"{_busy(named[OURS])} processors are busy, {_busy(named[best])} with {best}."
            )
    yield from _stream(kinds)


def _plain(named: dict[str, list[Run]]) -> Iterator[str]:
    ours = named[OURS]
    yield (
        f"Ours takes {median(ours, cpu):.2f} s of CPU time in {median(ours, of('wall')):.2f} s, and "
        f"{_busy(ours)} processors are busy, the server's work included."
    )
    if (best := _best(named)) is not None:
        yield (f"{best} keeps {_busy(named[best])} busy, for {median(named[best], cpu):.2f} s of CPU time.")
    if THREADS in named:
        two = named[THREADS]
        yield (
            f"Two threads of ours take {median(two, of('wall')):.2f} s and {median(two, cpu):.2f} s of CPU "
            "time: libcurl hands over 16 KiB at a time, so a GiB is 65,536 callbacks, and each needs the "
            "interpreter (GIL)."
        )
    if (limit := _limit(named)) is not None:
        yield (
            f"A program in C that does nothing but receive and write takes {median(named[limit], cpu):.2f} s "
            f"of CPU time; ours {median(ours, of('system')):.2f} s in the kernel and "
            f"{median(ours, of('user')):.2f} s outside of it: the start of Python, these callbacks, the copy "
            "and the hash."
        )


def _stream(kinds: dict[str, Data]) -> Iterator[str]:
    if "startup" not in kinds or "speed" not in kinds.get("streams", {}):
        return
    start = median(by_contender(kinds["startup"]["runs"])["largefile.download"], cpu)
    runs = by_contender(kinds["streams"]["speed"]["runs"])
    yield (
        f"* *Stream.* curl's whole CPU time is {median(runs['curl'], cpu):.2f} s. Of ours, "
        f"{median(runs['largefile, blocks'], cpu):.2f} s, the start of Python, the imports and the first "
        f"answer are {start:.2f} s (a file of 1 KiB), and the callbacks come on top as above."
    )


def _best(named: dict[str, list[Run]]) -> str | None:
    """The neighbour with the least wall time."""
    theirs = [name for name, runs in named.items() if not runs[0]["ours"] and not runs[0]["limit"]]
    return min(theirs, key=lambda name: median(named[name], of("wall")), default=None)


def _limit(named: dict[str, list[Run]]) -> str | None:
    found = [name for name, runs in named.items() if runs[0]["limit"]]
    return min(found, key=lambda name: median(named[name], cpu), default=None)


def _busy(runs: list[Run]) -> str:
    return f"{median(runs, busy):.1f}"
