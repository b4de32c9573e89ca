"""From the data of the runs to docs/performance.md; no figure comes from anywhere else.

    python bench/report.py [DATA.json ...] > docs/performance.md
    python bench/report.py streams.json > docs/performance-streams.md

Takes what `transfers.py --json`, `memory.py --json`, `streams.py --json`, `durability.py --json` and
`pytest --benchmark-json` wrote, in any order.
A ratio is that of two medians, with the rounds in which ours was the smaller one.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from report_durability import durability_section
from report_streams import streams_section
from tables import MIB, Run, cpu, head, median, of, ratio, row, size_text

Data = dict[str, Any]

#: Ours, and who it is measured against.
MATCHES = [
    ("largefile, 1 MiB blocks", ["curl", "aria2c"]),
    ("largefile, 64 KiB blocks", ["curl", "aria2c"]),
    ("largefile durable, 1 MiB blocks", ["curl + sync -d", "aria2c + sync -d"]),
    ("largefile durable, 64 KiB blocks", ["curl + sync -d", "aria2c + sync -d"]),
]
ORDER = list(dict.fromkeys(name for ours, others in MATCHES for name in [ours, *others]))
SMALL_BLOCKS = [
    ("largefile, 64 KiB blocks", "largefile, 1 MiB blocks"),
    ("largefile durable, 64 KiB blocks", "largefile durable, 1 MiB blocks"),
]

HEAD = """\
# Performance

Made by `bench/report.py` from the data of the runs; not edited by hand. The ratios are what to look at:
the digits are one machine's.
"""
RECIPES = {
    "transfers": "python bench/transfers.py --size 1G --rounds 9 --where both --json transfers.json",
    "memory": "python bench/memory.py --json memory.json",
    "streams": "python bench/streams.py --size 1G --rounds 7 --json streams.json",
    "durability": "python bench/durability.py --json durability.json",
    "micro": "pytest -c bench/pytest.ini bench --benchmark-json micro.json",
}
TITLES = {
    "transfers": "Whole downloads",
    "memory": "Memory",
    "streams": "Streams and seekable files",
    "durability": "What durability costs",
    "micro": "The parts",
}


# --- whole downloads -----------------------------------------------------------------------------


def transfers_section(data: Data) -> list[str]:
    """The tables of one `transfers.py` run."""
    lines = [
        f"{size_text(data['size'])} of random bytes from nginx on loopback, medians of {data['rounds']} "
        "interleaved rounds. Seconds and memory are those of the client's processes, Python's start and "
        "imports included; a peak below that of the measuring program itself cannot be seen.",
    ]
    for where, place in data["places"].items():
        by_name: dict[str, list[Run]] = {name: [] for name in ORDER}
        for run in place["runs"]:
            by_name[run["contender"]].append(run)
        lines += ["", f"### To {where} ({place['filesystem']})", "", *_medians(by_name)]
        lines += ["", *_ratios(by_name)]
    return lines


def _medians(by_name: dict[str, list[Run]]) -> Iterator[str]:
    yield from head("", "wall s", "user s", "system s", "CPU s", "peak MiB")
    for name, runs in by_name.items():
        if not runs:
            continue
        seconds = [median(runs, key) for key in (of("wall"), of("user"), of("system"), cpu)]
        yield row(name, *(f"{value:.2f}" for value in seconds), f"{median(runs, of('peak')) / MIB:.0f}")


def _ratios(by_name: dict[str, list[Run]]) -> Iterator[str]:
    yield from head("ours / theirs", "wall", "CPU")
    for ours, others in MATCHES:
        for other in others:
            if by_name[ours] and by_name[other]:
                found = (ratio(by_name[ours], by_name[other], key) for key in (of("wall"), cpu))
                yield row(f"{ours} / {other}", *found)
    for small, large in SMALL_BLOCKS:
        if by_name[small] and by_name[large]:
            found = (ratio(by_name[small], by_name[large], key) for key in (of("wall"), cpu))
            yield row(f"{small} / {large.split(', ')[1]}", *found)


# --- memory --------------------------------------------------------------------------------------


def memory_section(data: Data) -> list[str]:
    """The table of one `memory.py` run."""
    lines = [
        f"Peak memory of the process above what it had after `import largefile`, to {data['filesystem']}. "
        "It must not grow with the file.",
        "",
        *head("content", "durable", "after import, MiB", "peak, MiB", "above import, MiB"),
    ]
    above: dict[bool, list[float]] = defaultdict(list)
    for run in data["runs"]:
        more = run["peak"] - run["after_import"]
        above[run["durable"]].append(more)
        cells = (f"{value / MIB:.1f}" for value in (run["after_import"], run["peak"], more))
        lines.append(row(size_text(run["size"]), "yes" if run["durable"] else "no", *cells))
    for durable, found in above.items():
        what = "durable" if durable else "not durable"
        lines += ["", f"Largest less smallest content, {what}: {(found[-1] - found[0]) / MIB:.1f} MiB."]
    return lines


# --- parts ---------------------------------------------------------------------------------------


def micro_section(data: Data) -> list[str]:
    """One row a benchmark, by groups, from pytest-benchmark's own data."""
    groups: dict[str, list[Data]] = defaultdict(list)
    for each in data["benchmarks"]:
        groups[each["group"]].append(each)
    lines = [
        "Median time of one call, beside the same task in plain Python; every answer is checked. "
        "`bench/test_*.py` say whose wait each is.",
        "",
        *head("group", "benchmark", "median", "of the group's fastest", "more"),
    ]
    for group, members in groups.items():
        fastest = min(each["stats"]["median"] for each in members)
        for each in members:
            middle, more = each["stats"]["median"], each.get("extra_info") or {}
            extra = ", ".join(f"{name.replace('_', ' ')}: {value:,}" for name, value in more.items())
            lines.append(row(group, _name(each["fullname"]), _time(middle), f"{middle / fastest:.2f}", extra))
    return lines


def _name(fullname: str) -> str:
    name = fullname.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    return re.sub(r"\[\d+\]", "", name)  # the group says the size already


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


# --- all -----------------------------------------------------------------------------------------

SECTIONS = {
    "transfers": transfers_section,
    "memory": memory_section,
    "streams": streams_section,
    "durability": durability_section,
    "micro": micro_section,
}


def _facts(data: Data) -> Iterator[str]:
    if "facts" in data:
        for name, value in data["facts"].items():
            yield f"* {name}: {value}"
    else:  # pytest-benchmark's; its machine has a name, which is nobody's business
        machine = data["machine_info"]
        yield f"* date: {data['datetime'][:10]}"
        yield f"* system: {machine['system']} {machine['release']}, {machine['machine']}"
        yield f"* Python: {machine['python_implementation']} {machine['python_version']}"


def report(runs: list[Data]) -> str:
    """The whole page."""
    lines = [HEAD]
    for kind, title in TITLES.items():
        lines += [f"## {title}", "", f"    {RECIPES[kind]}", ""]
        found = [data for data in runs if data.get("kind", "micro") == kind]
        for data in found:
            lines += [*SECTIONS[kind](data), "", *_facts(data), ""]
        if not found:
            lines += ["Not measured yet.", ""]
    return "\n".join(lines)


def main() -> None:
    print(report([json.loads(Path(name).read_text()) for name in sys.argv[1:]]), end="")


if __name__ == "__main__":
    main()
