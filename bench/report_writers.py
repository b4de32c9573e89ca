"""The section of docs/performance.md that `writers.py` has the data for."""

from __future__ import annotations

from typing import Any

from tables import by_contender, head, median, of, ratio, row, size_text

__all__ = ["writers_section"]


def writers_section(data: dict[str, Any]) -> list[str]:
    """The table of one `writers.py` run."""
    lines = [
        f"{size_text(data['size'])} in all, in pieces of 256 KiB from memory: by one thread, by two to the "
        "same file, and by two to a file each. The kernel lets one write to a file at a time, whoever it is, "
        "and who waits for that keeps a processor busy: a second thread of an engine gains nothing by its "
        "writes.",
        "",
        *head("", "filesystem", "wall s", "by one writer's", "CPU s", "by one writer's"),
    ]
    for place in data["places"]:
        runs = by_contender(place["runs"])
        for name, of_one in runs.items():
            cells = []
            for key in (of("wall"), of("cpu")):
                cells += [f"{median(of_one, key):.2f}"]
                cells += [ratio(of_one, runs["one writer"], key) if name != "one writer" else ""]
            lines.append(row(name, place["filesystem"], *cells))
    return lines
