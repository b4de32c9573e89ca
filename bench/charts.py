"""What is drawn of each section of docs/performance.md: names, labels and figures, and nothing of how.

`report.py` links the pictures that `pictures.py` makes of this. A chart has panels side by side, with the
same bars; a bar is a list of values, whose median and quartiles are drawn, or parts that add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from report_company import COMPANY, WAYS, case
from report_shares import share
from report_transfers import groups
from tables import MIB, Run, by_contender, cpu, of, size_text

__all__ = ["Chart", "Panel", "charts", "links"]

Data = dict[str, Any]
Values = list[float]


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars from top to bottom."""

    label: str
    bars: dict[str, Values | dict[str, float]]
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture. `rows` have a title each, and panels with the same bars."""

    name: str  #: of the file, without ".png"
    title: str
    rows: list[tuple[str, list[Panel]]]
    ours: frozenset[str]
    limits: frozenset[str] = frozenset()


def charts(data: Data) -> Iterator[Chart]:
    """Those of one run's data."""
    yield from KINDS[data.get("kind", "micro")](data)


def links(data: Data) -> list[str]:
    """Markdown that shows them."""
    return [
        line for chart in charts(data) for line in ("", f"![{chart.title}](performance/{chart.name}.png)")
    ]


def _panel(label: str, named: dict[str, list[Run]], key: Callable[[Run], float]) -> Panel:
    return Panel(label, {name: [key(run) for run in runs] for name, runs in named.items()})


def _chart(name: str, title: str, *panels: Panel) -> Chart:
    return Chart(name, title, [("", list(panels))], frozenset(filter(_is_ours, panels[0].bars)))


def _is_ours(name: str) -> bool:
    return "largefile" in name


def tables(data: Data) -> Iterator[Chart]:
    """Of whole downloads."""
    for name, table in data["tables"].items():
        found = groups(table)
        rows = []
        for group, named in found.items():
            panels = [_panel("wall, s", named, of("wall")), _panel("CPU, s", named, cpu)]
            rows.append((group if len(found) > 1 else "", panels))
        every = {who: runs[0] for group in found.values() for who, runs in group.items()}
        ours = frozenset(who for who, run in every.items() if run["ours"])
        limits = frozenset(who for who, run in every.items() if run["limit"])
        title = f"{size_text(table['size'])} {table['what']}\n{table['rounds']} rounds: medians and quartiles"
        yield Chart(name, title, rows, ours, limits)


def startup(data: Data) -> Iterator[Chart]:
    named = by_contender(data["runs"])
    yield _chart(
        "startup",
        "Whole processes that fetch 1 KiB or nothing",
        _panel("wall, ms", named, lambda run: 1000 * run["wall"]),
        _panel("CPU, ms", named, lambda run: 1000 * cpu(run)),
    )


def memory(data: Data) -> Iterator[Chart]:
    named: dict[str, Values | dict[str, float]] = {}
    for run in data["runs"]:
        durable = "durable" if run["durable"] else "not durable"
        name = f"{size_text(run['size'])}, {run['how']}, {durable}"
        named[name] = [(run["peak"] - run["after_import"]) / MIB]
    chart = _chart("memory", "Peak memory of a download above `import largefile`", Panel("MiB", named))
    yield Chart(chart.name, chart.title, chart.rows, frozenset(named))


def streams(data: Data) -> Iterator[Chart]:
    if "speed" in data:
        named = by_contender(data["speed"]["runs"])
        title = f"{size_text(data['speed']['size'])} from nginx on loopback, to nothing"
        yield _chart("streams", title, _panel("wall, s", named, of("wall")), _panel("CPU, s", named, cpu))
    for part, title in (
        ("connections", "A source that gives 10 MB/s to each connection"),
        ("digest", "With a digest and without"),
    ):
        if part in data:
            named = by_contender(data[part]["runs"])
            panel = _panel("stream, s", named, of("seconds"))
            yield Chart(f"stream-{part}", title, [("", [panel])], frozenset(named))
    if "random" in data:
        ways = {run["way"]: [run] for run in data["random"]["runs"]}
        panels = [_panel("s", ways, of("seconds")), _panel("requests", ways, of("requests"))]
        title = f"{data['random']['count']:,} random reads of {size_text(data['random']['read'])}"
        yield Chart("random", title, [("", panels)], frozenset(ways))


def durability(data: Data) -> Iterator[Chart]:
    rows = []
    for wire, runs in data["wires"].items():
        named = by_contender(runs)
        rows.append((wire, [_panel("wall, s", named, of("seconds")), _panel("CPU, s", named, cpu)]))
    title = f"{size_text(data['size'])} to {data['filesystem']}: the wire, the disk, and ours"
    yield Chart("durability", title, rows, frozenset({"durable", "not durable"}))


def company(data: Data) -> Iterator[Chart]:
    found = by_contender(data["runs"])
    cases = [(how, where) for how in WAYS for where in COMPANY]
    named = {f"{WAYS[how]}, {COMPANY[where]}": found[case(how, where)] for how, where in cases}
    panel = _panel("s", named, of("took"))
    title = f"{size_text(data['size'])} alone, and beside somebody who computes"
    yield _chart("company", title, Panel(panel.label, panel.bars, logarithmic=True))


def shares(data: Data) -> Iterator[Chart]:
    for name, table in data["shares"].items():
        bars: dict[str, Values | dict[str, float]] = {}
        for who, runs in by_contender(table["runs"]).items():
            bars[who] = {part: share(runs, part) for part in data["parts"]}
        title = f"{table['title']}, {size_text(table['size'])}: where the processor's time goes"
        yield _chart(f"shares-{name}", title, Panel("CPU, s", bars))


def writers(data: Data) -> Iterator[Chart]:
    rows = []
    for place in data["places"]:
        named = by_contender(place["runs"])
        rows.append(
            (place["filesystem"], [_panel("wall, s", named, of("wall")), _panel("CPU, s", named, of("cpu"))])
        )
    yield Chart("writers", f"{size_text(data['size'])} written in pieces of 256 KiB", rows, frozenset())


def micro(data: Data) -> Iterator[Chart]:
    """Each group's other ways by ours, which is the first of its group."""
    bars: dict[str, Values | dict[str, float]] = {}
    first: dict[str, float] = {}
    for each in data["benchmarks"]:
        group, middle = each["group"], each["stats"]["median"]
        way = each["fullname"].rpartition("::test_")[2].partition("[")[0].replace("_", " ")
        if group in first:
            bars[f"{group}: {way}"] = [middle / first[group]]
        else:
            first[group] = middle
    panel = Panel("times ours", bars, logarithmic=True)
    yield _chart("micro", "The same tasks by other means: their time by ours", panel)


KINDS: dict[str, Callable[[Data], Iterator[Chart]]] = {
    "transfers": tables,
    "networks": tables,
    "startup": startup,
    "memory": memory,
    "streams": streams,
    "durability": durability,
    "company": company,
    "shares": shares,
    "writers": writers,
    "micro": micro,
}
