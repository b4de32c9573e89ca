"""Every place in largefile that calls an operation of FileOps, found in its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from largefile.testing.disk.seam import OPERATIONS

__all__ = ["Site", "call_sites"]

_HERE = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Site:
    """A call: the file within largefile, the method, and the lines that the call is on."""

    file: str
    operation: str
    first: int
    last: int

    def has(self, operation: str, file: str, line: int) -> bool:
        """Whether an operation that was made from this line is this one."""
        return (operation, file) == (self.operation, self.file) and self.first <= line <= self.last

    def __str__(self) -> str:
        return f"{self.operation} at {self.file}:{self.first}"


def call_sites() -> list[Site]:
    """All of them, but for those of FileOps itself and of the tests' own code.

    Examples
    --------
    >>> sorted({site.file for site in call_sites() if site.operation == "mmap"})
    ['disk/files.py']
    """
    return [
        site
        for path in sorted(_HERE.rglob("*.py"))
        if path.name != "fileops.py" and path.relative_to(_HERE).parts[0] != "testing"
        for site in _sites(path)
    ]


def _sites(path: Path) -> Iterator[Site]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in OPERATIONS and _is_ops(node.value):
            yield Site(
                path.relative_to(_HERE).as_posix(), node.attr, node.lineno, node.end_lineno or node.lineno
            )


def _is_ops(node: ast.expr) -> bool:
    """Whether it is called `ops`, `_ops` or REAL, of whatever object."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in ("ops", "_ops", "REAL")
