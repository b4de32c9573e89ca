"""The section of docs/performance.md that `startup.py` has the data for."""

from __future__ import annotations

from typing import Any

from tables import MIB, by_contender, cpu, head, median, of, quartiles, row

__all__ = ["startup_section"]


def startup_section(data: dict[str, Any]) -> list[str]:
    lines = [
        f"Whole processes, medians of {data['rounds']} interleaved rounds. `largefile get`, "
        "`largefile.download` and curl fetch 1 KiB from nginx on loopback.",
        "",
        *head("", "wall ms", "quartiles", "CPU ms", "peak MiB"),
    ]
    for name, runs in by_contender(data["runs"]).items():
        low, middle, high = (1000 * value for value in quartiles(runs, of("wall")))
        cells = (
            f"{low:.0f}-{high:.0f}",
            f"{1000 * median(runs, cpu):.0f}",
            f"{median(runs, of('peak')) / MIB:.0f}",
        )
        lines.append(row(name, f"{middle:.0f}", *cells))
    return lines
