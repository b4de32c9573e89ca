"""The section of docs/performance.md that `durability.py` has the data for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tables import MIB, by_contender, cpu, head, median, of, ratio, row, size_text

__all__ = ["durability_section"]

Data = dict[str, Any]

#: Durable beside not durable, where the disk is twice as quick as the wire …
PRICE = 1.05
#: … and otherwise beside the slower of the two.
OVERHEAD = 1.1
#: Seconds: the 99.9th percentile of the engine's gaps.
GAP = 0.05


def durability_section(data: Data) -> list[str]:
    """The tables of one `durability.py` run."""
    lines = [
        f"{size_text(data['size'])} to {data['filesystem']}, medians of interleaved rounds. *wire* is a "
        "stream to nothing, *dd* is `dd if=/dev/zero bs=1M conv=fdatasync`. Gaps are the times between two "
        "waits in poll of an engine's thread; of the percentiles of each run the worst one is given.",
    ]
    for name, runs in data["wires"].items():
        lines += ["", f"### Wire: {name}", "", *_wire(by_contender(runs), data["size"])]
    return lines


def _wire(runs: dict[str, list[Data]], size: int) -> Iterator[str]:
    seconds = of("seconds")
    yield from head("", "seconds", "MiB/s", "CPU s", "gaps", "99 %, ms", "99.9 %, ms", "longest, ms")
    for name in sorted(runs, key=["wire", "dd", "not durable", "durable"].index):
        of_one = runs[name]
        gaps = [f"{median(of_one, of('gaps')):.0f}"] if "gaps" in of_one[0] else [""] * 4
        if "gaps" in of_one[0]:
            gaps += [f"{max(run[key] for run in of_one) * 1000:.1f}" for key in ("p99", "p999", "longest")]
        took = median(of_one, seconds)
        yield row(name, f"{took:.2f}", f"{size / MIB / took:.0f}", f"{median(of_one, cpu):.2f}", *gaps)
    yield ""
    yield from head("", "found", "bound")
    wire, dd, durable = (median(runs[name], seconds) for name in ("wire", "dd", "durable"))
    if wire >= 2 * dd:
        yield row("durable / not durable", ratio(runs["durable"], runs["not durable"], seconds), f"{PRICE}")
    else:
        slower = "dd" if dd >= wire else "wire"
        yield row("durable / not durable", ratio(runs["durable"], runs["not durable"], seconds), "")
        yield row(f"durable / {slower}", f"{durable / max(dd, wire):.2f}", f"{OVERHEAD}")
    worst = max(run["p999"] for run in runs["durable"])
    yield row("99.9 % of the gaps, ms", f"{worst * 1000:.1f}", f"{GAP * 1000:.0f}")
