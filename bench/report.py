"""From the data of the runs to docs/performance.md; no figure comes from anywhere else.

    python bench/report.py [DATA.json ...] > docs/performance.md

Takes what `transfers.py --json`, `networks.py --json`, `startup.py --json`, `memory.py --json`,
`streams.py --json`, `durability.py --json`, `company.py --json`, `shares.py --json`, `writers.py --json` and
`pytest --benchmark-json` wrote, in any order. `pictures.py` draws the same data.
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

from charts import links
from goals import goals_section
from report_company import company_section
from report_durability import durability_section
from report_shares import shares_section
from report_startup import startup_section
from report_streams import streams_section
from report_transfers import tables_section
from report_writers import writers_section
from tables import MIB, head, row, size_text

Data = dict[str, Any]

HEAD = """\
# Performance

Made by `bench/report.py` from the data of the runs; not edited by hand. The ratios are what to look at:
the digits are one machine's.
"""
RECIPES = {
    "transfers": "python bench/transfers.py --json transfers.json",
    "networks": "python bench/networks.py --json networks.json",
    "startup": "python bench/startup.py --json startup.json",
    "memory": "python bench/memory.py --json memory.json",
    "streams": "python bench/streams.py --size 1G --rounds 7 --json streams.json",
    "durability": "python bench/durability.py --json durability.json",
    "company": "python bench/company.py --json company.json",
    "shares": "python bench/shares.py --json shares.json",
    "writers": "python bench/writers.py --json writers.json",
    "micro": "pytest -c bench/pytest.ini bench --benchmark-json micro.json",
}
TITLES = {
    "transfers": "Whole downloads",
    "networks": "Networks in the small",
    "startup": "Start-up",
    "memory": "Memory",
    "streams": "Streams and seekable files",
    "durability": "What durability costs",
    "company": "Beside a busy thread",
    "shares": "Where the processor's time goes",
    "writers": "Writers of one file",
    "micro": "The parts",
}


# --- memory --------------------------------------------------------------------------------------


def memory_section(data: Data) -> list[str]:
    """The table of one `memory.py` run."""
    lines = [
        f"Peak memory of the process above what it had after `import largefile`, to {data['filesystem']}. "
        "It must not grow with the file.",
        "",
        *head("content", "options", "durable", "after import, MiB", "peak, MiB", "above import, MiB"),
    ]
    above: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for run in data["runs"]:
        more = run["peak"] - run["after_import"]
        above[run["how"], run["durable"]].append(more)
        cells = (f"{value / MIB:.1f}" for value in (run["after_import"], run["peak"], more))
        lines.append(row(size_text(run["size"]), run["how"], "yes" if run["durable"] else "no", *cells))
    for (how, durable), found in above.items():
        what = f"{how}, {'durable' if durable else 'not durable'}"
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
    "transfers": tables_section,
    "networks": tables_section,
    "startup": startup_section,
    "memory": memory_section,
    "streams": streams_section,
    "durability": durability_section,
    "company": company_section,
    "shares": shares_section,
    "writers": writers_section,
    "micro": micro_section,
}


def _facts(data: Data) -> Iterator[str]:
    if "facts" in data:
        versions: dict[str, str] = {}
        for table in data.get("tables", {}).values():
            versions |= table["versions"]
        for name, value in (versions | data["facts"]).items():
            if value:
                yield f"* {name}: {value}"
    else:  # pytest-benchmark's; its machine has a name, which is nobody's business
        machine = data["machine_info"]
        yield f"* date: {data['datetime'][:10]}"
        yield f"* system: {machine['system']} {machine['release']}, {machine['machine']}"
        yield f"* Python: {machine['python_implementation']} {machine['python_version']}"


def report(runs: list[Data]) -> str:
    """The whole page."""
    lines = [HEAD, *goals_section(runs), ""]
    for kind, title in TITLES.items():
        found = [data for data in runs if data.get("kind", "micro") == kind]
        if found:
            lines += [f"## {title}", "", f"    {RECIPES[kind]}", ""]
        for data in found:
            drawn = [] if "tables" in data else links(data)  # a table of downloads has its own below it
            lines += [*SECTIONS[kind](data), *drawn, "", *_facts(data), ""]
    return "\n".join(lines)


def main() -> None:
    print(report([json.loads(Path(name).read_text()) for name in sys.argv[1:]]), end="")


if __name__ == "__main__":
    main()
