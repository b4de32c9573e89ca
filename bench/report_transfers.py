"""The tables of `transfers.py` and `networks.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tables import MIB, Run, busy, by_contender, cpu, head, median, of, ratio, row, size_text

__all__ = ["groups", "table_lines", "tables_section"]

Data = dict[str, Any]
COLUMNS = (
    "wall s",
    "ours / it",
    "CPU s",
    "ours / it",
    "user s",
    "system s",
    "machine",
    "peak MiB",
    "requests",
    "connections",
)
#: A load above which figures say little: somebody else was running.
QUIET = 0.5
DURABLE = ("largefile durable", " + sync -d")


def groups(table: Data) -> dict[str, dict[str, list[Run]]]:
    """The contenders of one table, in the groups in which they are compared."""
    found: dict[str, dict[str, list[Run]]] = {"as they come": {}, "durable": {}}
    for name, runs in by_contender(table["runs"]).items():
        durable = name.startswith(DURABLE[0]) or name.endswith(DURABLE[1])
        found["durable" if durable else "as they come"][name] = runs
    return {name: group for name, group in found.items() if group}


def tables_section(data: Data) -> list[str]:
    """All tables of one run, each with its picture."""
    lines: list[str] = []
    for name, table in data["tables"].items():
        lines += [
            "",
            f"### {table['title']}",
            "",
            *table_lines(table),
            "",
            f"![{table['title']}](performance/{name}.png)",
        ]
    return lines[1:]


def table_lines(table: Data) -> list[str]:
    """One table, by groups. A ratio is ours, the group's first, by theirs."""
    lines = [
        f"{size_text(table['size'])} of random bytes {table['what']}; medians of {table['rounds']} "
        "interleaved rounds. In brackets: the rounds in which ours was less. *Machine*: processors that were "
        "busy on the average, the server's and the kernel's work included."
    ]
    if table["load"] > QUIET:
        lines += [
            "",
            f"**The machine was busy: load {table['load']} before.** Such figures are a first look.",
        ]
    for name, group in groups(table).items():
        if len(groups(table)) > 1:
            lines += ["", f"*{name[0].upper()}{name[1:]}:*"]
        lines += ["", *_rows(group)]
    for name, reasons in table["failures"].items():
        lines += ["", f"{name} failed {len(reasons)} times: `{_reason(reasons[0])}`"]
    return lines


def _reason(text: str) -> str:
    return " ".join(text.replace("`", "'").split())[-160:]


def _rows(group: dict[str, list[Run]]) -> Iterator[str]:
    reference = next((runs for runs in group.values() if runs[0]["ours"]), None)
    yield from head("", *COLUMNS)
    for name, runs in group.items():
        against = reference is not None and runs is not reference
        walls, cpus = (ratio(reference, runs, key) if against else "" for key in (of("wall"), cpu))
        yield row(
            f"**{name}**" if runs[0]["ours"] else name,
            f"{median(runs, of('wall')):.2f}",
            walls,
            f"{median(runs, cpu):.2f}",
            cpus,
            f"{median(runs, of('user')):.2f}",
            f"{median(runs, of('system')):.2f}",
            _machine(runs),
            f"{median(runs, of('peak')) / MIB:.0f}",
            _requests(runs),
            f"{median(runs, of('connections')):.0f}",
        )


def _machine(runs: list[Run]) -> str:
    """Processors that were busy, the server's and the kernel's work included."""
    found = median(runs, busy)
    return f"{found:.2f}" if found else ""


def _requests(runs: list[Run]) -> str:
    refused = median(runs, of("refused"))
    return f"{median(runs, of('requests')):.0f}" + (f" ({refused:.0f} refused)" if refused else "")
