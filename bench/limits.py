"""What bounds the figures: what the same data says of the limits, where the machine was counted too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from report_company import COMPANY
from report_transfers import groups
from tables import Run, busy, by_contender, cpu, median, of

__all__ = ["limits_section"]

Data = dict[str, Any]
OURS, THREADS = "largefile", "largefile, two threads"
#: What a stream may take of curl's CPU time.
ALLOWED = 1.6
#: In what pieces libcurl hands over a body.
CHUNK = 16 << 10


def limits_section(kinds: dict[str, Data], tables: dict[str, Data]) -> list[str]:
    """A point for each limit that there is data for."""
    points = list(_points(kinds, tables))
    return ["", "What bounds these figures:", "", *points] if points else []


def _points(kinds: dict[str, Data], tables: dict[str, Data]) -> Iterator[str]:
    processors = _processors(kinds.get("transfers", {}))
    for name in ("http-disk", "http-tmpfs"):
        if name in tables:
            named = groups(tables[name])["as they come"]
            if OURS in named and median(named[OURS], busy):
                said = [*_plain(named, processors), *_writers(kinds, tables[name])]
                yield f"* *{tables[name]['title']}.* {' '.join(said)}"
    if "https-disk" in tables:
        named = groups(tables["https-disk"])["as they come"]
        if OURS in named and median(named[OURS], busy) and (best := _best(named)) is not None:
            yield (
                f"* *HTTPS.* Ours takes {median(named[OURS], cpu):.2f} s of CPU time in "
                f"{median(named[OURS], of('wall')):.2f} s, and the server encrypts beside it: "
                f"{_busy(named[OURS])} processors are busy, {_busy(named[best])} with {best}. "
                f"{_floor(named[OURS], processors)}"
            )
    yield from _stream(kinds)
    if "company" in kinds:
        took = by_contender(kinds["company"]["runs"])
        alone, thread, process = (median(took[f"isolated {where}"], of("took")) for where in COMPANY)
        yield (
            f"* *Beside a busy thread.* A busy process in its place leaves {alone / process:.2f} of the "
            f"speed, as there are {processors} processors for it, server and engine; the thread costs "
            f"{thread - process:.2f} s more, most of it to start the other process from beside it."
        )


def _processors(data: Data) -> int:
    """How many the machine has."""
    found = re.search(r"(\d+) CPUs", data.get("facts", {}).get("machine", ""))
    return int(found[1]) if found else 1


def _floor(runs: list[Run], processors: int) -> str:
    """What all of the work takes at least."""
    work = median(runs, lambda run: busy(run) * run["wall"])
    return (
        f"Spread over {processors} processors without a gap, all of that work would take "
        f"{work / processors:.2f} s."
    )


def _writers(kinds: dict[str, Data], table: Data) -> Iterator[str]:
    """What the kernel makes of a second writer where that table's files went."""
    for place in kinds.get("writers", {}).get("places", []):
        if table["what"].endswith(f" to {place['filesystem']}"):
            runs = by_contender(place["runs"])
            one, two, apart = (runs[name] for name in ("one writer", "two, one file", "two, two files"))
            wall, used = of("wall"), of("cpu")
            yield (
                "And the kernel lets one write to a file at a time: what one thread writes in "
                f"{median(one, wall):.2f} s, two threads write in {median(two, wall):.2f} s, and take "
                f"{median(two, used) / median(one, used):.1f} times the CPU time; to a file each in "
                f"{median(apart, wall):.2f} s."
            )


def _plain(named: dict[str, list[Run]], processors: int) -> Iterator[str]:
    ours = named[OURS]
    yield (
        f"Ours takes {median(ours, cpu):.2f} s of CPU time in {median(ours, of('wall')):.2f} s, and "
        f"{_busy(ours)} processors are busy, the server's work included. {_floor(ours, processors)}"
    )
    if (best := _best(named)) is not None:
        yield (f"{best} keeps {_busy(named[best])} busy, for {median(named[best], cpu):.2f} s of CPU time.")
    if THREADS in named:
        two = named[THREADS]
        yield (
            f"Two threads of ours take {median(two, of('wall')):.2f} s and {median(two, cpu):.2f} s of CPU "
            "time."
        )
    if (limit := _limit(named)) is not None:
        yield (
            f"A program in C that does nothing but receive and write takes {median(named[limit], cpu):.2f} s "
            f"of CPU time; ours {median(ours, of('system')):.2f} s in the kernel and "
            f"{median(ours, of('user')):.2f} s outside of it: the start of Python, a callback for each "
            "16 KiB that libcurl hands over, the copy and the hash."
        )


def _stream(kinds: dict[str, Data]) -> Iterator[str]:
    if "startup" not in kinds or "speed" not in kinds.get("streams", {}):
        return
    start = median(by_contender(kinds["startup"]["runs"])["largefile.download"], cpu)
    runs = by_contender(kinds["streams"]["speed"]["runs"])
    curl = median(runs["curl"], cpu)
    left = max(0.0, ALLOWED * curl - start - curl)
    callbacks = kinds["streams"]["speed"]["size"] // CHUNK
    yield (
        f"* *Stream.* curl's whole CPU time is {curl:.2f} s. Of ours, "
        f"{median(runs['largefile, blocks'], cpu):.2f} s, the start of Python, the imports and the first "
        f"answer are {start:.2f} s (a file of 1 KiB). What libcurl does is the same, so {ALLOWED:g} times "
        f"curl's leave {left:.2f} s for {callbacks:,} callbacks and a copy of every byte: "
        f"{left / callbacks * 1e6:.1f} us a callback, in which 16 KiB are copied as well."
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
