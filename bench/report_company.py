"""The section of docs/performance.md that `company.py` has the data for."""

from __future__ import annotations

from typing import Any

from tables import by_contender, head, median, of, row, size_text

__all__ = ["COMPANY", "WAYS", "case", "company_section"]

WAYS = {"in-process": "largefile", "isolated": "largefile, isolate=True", "curl": "curl"}
COMPANY = {"alone": "alone", "thread": "beside a thread", "process": "beside a process"}


def case(how: str, company: str) -> str:
    return f"{how} {company}"


def company_section(data: dict[str, Any]) -> list[str]:
    """Medians, and for each way the speed beside company as a part of its speed alone."""
    found = by_contender(data["runs"])
    lines = [
        f"{size_text(data['size'])} over HTTP, medians of {data['rounds']} interleaved rounds, from the call "
        "on: alone, beside a Python thread that computes in the caller's process, and beside a process that "
        "computes. (The starved case: every third round.)",
        "",
        *head("", *(f"{text}, s" for text in COMPANY.values()), "speed beside a thread", "… a process"),
    ]
    for how, name in WAYS.items():
        times = {company: median(found[case(how, company)], of("took")) for company in COMPANY}
        parts = (f"{times['alone'] / times[company]:.2f}" for company in ("thread", "process"))
        lines.append(row(name, *(f"{took:.2f}" for took in times.values()), *parts))
    return lines
