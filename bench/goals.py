"""The goals, each beside what the same data says was reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from limits import limits_section
from report_transfers import QUIET, groups
from tables import MIB, Run, by_contender, cpu, head, median, of, quotient, row, size_text

Data = dict[str, Any]
Named = dict[str, list[Run]]

#: The Go package's figures, from another run on the same kind of machine: its wall and CPU by curl's.
GO = {"http-disk": (2.01 / 2.18, 1.47 / 2.02), "http-tmpfs": (0.95 / 1.81, 1.02 / 1.67)}
BUSY = (
    "**Some of it was measured beside other work** (the tables and lists below say the load): a first look, "
    "and no verdict. To be measured again on a machine that is left alone."
)
KEYS = {"wall": of("wall"), "CPU": cpu}


def goals_section(runs: list[Data]) -> list[str]:
    """A row for each goal that there is data for."""
    lines = [
        "## Goals",
        "",
        "Ratios are ours by theirs, of medians in one run. The best neighbour is the one with the least wall "
        "time, or with the least CPU time, which may be two; of *all others* it is the worst ratio. The Go "
        "package was measured in another run: its ratio goes by way of curl's, which is in both.",
        "",
        *([BUSY, ""] if any(_is_busy(data) for data in runs) else []),
        *head("", "goal", "reached", ""),
    ]
    by_kind: dict[str, Data] = {}
    tables: dict[str, Data] = {}
    for data in runs:
        by_kind[data.get("kind", "micro")] = data
        tables |= data.get("tables", {})
    for what, goal, found, text in _all(by_kind, tables):
        lines.append(row(what, f"<= {goal:g}", text, "met" if found <= goal else "**missed**"))
    return lines + limits_section(by_kind, tables)


def _is_busy(data: Data) -> bool:
    loads = [table["load"] for table in data.get("tables", {}).values()]
    loads.append(float(data.get("facts", {}).get("load before", 0)))
    return max(loads) > QUIET


Row = tuple[str, float, float, str]


def _all(kinds: dict[str, Data], tables: dict[str, Data]) -> Iterator[Row]:
    for name, title in (("http-disk", "HTTP, disk"), ("http-tmpfs", "HTTP, tmpfs")):
        if name in tables:
            title = f"{size_text(tables[name]['size'])}, {title}"
            yield from _field(tables[name], title, {"wall": 0.9, "CPU": 0.9}, {"wall": 0.7, "CPU": 0.7})
            yield from _go(name, tables[name], title)
    if "https-disk" in tables:
        title = f"{size_text(tables['https-disk']['size'])}, HTTPS, disk"
        yield from _field(tables["https-disk"], title, {"wall": 0.65, "CPU": 0.75}, {})
    if "speed" in kinds.get("streams", {}):
        named = by_contender(kinds["streams"]["speed"]["runs"])
        for key, goal in (("wall", 1.0), ("CPU", 1.6)):
            found = quotient(named["largefile, blocks"], named["curl"], KEYS[key])
            yield f"stream to nothing, by curl: {key}", goal, found, f"{found:.2f}"
    if "far-80" in tables:
        named = by_contender(tables["far-80"]["runs"])
        if "aria2c -x16 -s16" in named:
            found = quotient(named["largefile, 16"], named["aria2c -x16 -s16"], of("wall"))
            yield "80 ms, 16 connections, by aria2c -x16: wall", 0.9, found, f"{found:.2f}"
    if "blocks" in tables:
        for group, named in groups(tables["blocks"]).items():
            prefix = "largefile durable" if group == "durable" else "largefile"
            small, large = (named[f"{prefix}, blocks of {size}"] for size in ("64 KiB", "1 MiB"))
            found = quotient(small, large, cpu)
            yield f"64 KiB by 1 MiB blocks ({group}): CPU", 1.15, found, f"{found:.2f}"
    if "micro" in kinds:
        yield from _parts(kinds["micro"])
    if "memory" in kinds:
        for run in kinds["memory"]["runs"]:
            if run["size"] >= 8 << 30 and run["how"] == "16 connections":
                more = (run["peak"] - run["after_import"]) / MIB
                what = "durable" if run["durable"] else "not durable"
                yield f"8 GiB, 16 connections, {what}: peak MiB above import", 80, more, f"{more:.0f}"
    if "company" in kinds:
        named = by_contender(kinds["company"]["runs"])
        found = quotient(named["isolated thread"], named["isolated alone"], of("took"))
        text = f"{1 / found:.2f} of its speed"
        yield (
            "isolated, beside a busy thread, by alone: time",
            round(1 / 0.7, 2),
            found,
            f"{found:.2f} ({text})",
        )
    if "startup" in kinds:
        named = by_contender(kinds["startup"]["runs"])
        for ours, theirs, goal in (
            ("largefile get", "import pycurl, click", 50),
            ("import largefile", "pass", 80),
        ):
            more = 1000 * (median(named[ours], of("wall")) - median(named[theirs], of("wall")))
            yield f"`{ours}` above `{theirs}`, ms", goal, more, f"{more:.0f}"


def _field(table: Data, title: str, best: dict[str, float], rest: dict[str, float]) -> Iterator[Row]:
    """Ours by the best neighbour of each measure, by the worst of the others, and by the limit."""
    for group, named in groups(table).items():
        title_here = f"{title} ({group})" if len(groups(table)) > 1 else title
        ours = next(runs for runs in named.values() if runs[0]["ours"])
        theirs = {name: runs for name, runs in named.items() if not runs[0]["ours"] and not runs[0]["limit"]}
        for measure, key in KEYS.items():
            ranked = sorted(theirs, key=lambda name, key=key: median(theirs[name], key))
            ratios = [(quotient(ours, theirs[name], key), name) for name in ranked]
            found, name = ratios[0]
            yield f"{title_here}, best neighbour: {measure}", best[measure], found, f"{found:.2f} ({name})"
            if measure in rest and ratios[1:]:
                found, name = max(ratios[1:])
                yield f"{title_here}, all others: {measure}", rest[measure], found, f"{found:.2f} ({name})"
        limits = [(median(runs, of("wall")), name) for name, runs in named.items() if runs[0]["limit"]]
        if limits:
            _, name = min(limits)
            found = quotient(ours, named[name], of("wall"))
            yield f"{title_here}, one thread in C: wall", 1.0, found, f"{found:.2f} ({name})"


def _go(name: str, table: Data, title: str) -> Iterator[Row]:
    named = groups(table)["as they come"]
    if "curl" in named and "largefile" in named:
        for (measure, key), go in zip(KEYS.items(), GO[name], strict=True):
            found = quotient(named["largefile"], named["curl"], key) / go
            yield f"{title}, the Go package by way of curl: {measure}", 0.9, found, f"{found:.2f}"


def _parts(data: Data) -> Iterator[Row]:
    for each in data["benchmarks"]:
        if "us_a_block" in each.get("extra_info", {}):
            blocks, cost = each["params"]["blocks"], each["extra_info"]["us_a_block"]
            yield f"bookkeeping of a block of {blocks:,}, us", 3, cost, f"{cost:.2f}"
        if each["group"] == "resume 8 TiB" and each["name"] == "test_open_and_plan":
            found = each["stats"]["median"] * 1000
            yield "resume of 8 TiB in 2^20 blocks, to the first requests, ms", 50, found, f"{found:.0f}"
