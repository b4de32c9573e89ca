"""The section of docs/performance.md that `durability.py` has the data for."""

from __future__ import annotations

import statistics
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
PERCENTILES = {"p99": "99 %", "p999": "99.9 %", "net99": "99 % net", "net999": "99.9 % net"}


def durability_section(data: Data) -> list[str]:
    """The tables of one `durability.py` run."""
    lines = [
        f"{size_text(data['size'])} to {data['filesystem']}, medians of interleaved rounds. *wire* is a "
        "stream to nothing, *dd* is `dd if=/dev/zero bs=1M conv=fdatasync`. Gaps are the times between two "
        "waits in poll of an engine's thread, *net* without its waits for a processor that others had; "
        "medians of the runs' percentiles.",
    ]
    for name, runs in data["wires"].items():
        lines += ["", f"### Wire: {name}", "", *_wire(by_contender(runs), data["size"])]
    return lines


def _wire(runs: dict[str, list[Data]], size: int) -> Iterator[str]:
    seconds = of("seconds")
    yield from head(
        "", "seconds", "MiB/s", "CPU s", "gaps", *(f"{name}, ms" for name in PERCENTILES.values())
    )
    for name in sorted(runs, key=["wire", "dd", "not durable", "durable"].index):
        of_one = runs[name]
        gaps = [""] * (1 + len(PERCENTILES))
        if "gaps" in of_one[0]:
            gaps = [f"{median(of_one, of('gaps')):.0f}"]
            gaps += [f"{median(of_one, of(key)) * 1000:.1f}" for key in PERCENTILES]
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
    net = [run["net999"] * 1000 for run in runs["durable"]]
    yield row(
        "99.9 % of the gaps, net, ms",
        f"{statistics.median(net):.1f} (to {max(net):.1f})",
        f"{GAP * 1000:.0f}",
    )
