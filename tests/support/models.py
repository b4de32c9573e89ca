"""Slow models of the compiled classes, the sizes at which fast code breaks, and the golden data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

GOLDEN = Path(__file__).parents[1] / "golden"

#: Where word arithmetic breaks; say so to Hypothesis.
WORD_EDGES = [0, 1, 63, 64, 65, 127, 128, 129]
#: Where 32-bit and signed 64-bit arithmetic breaks.
SIZE_EDGES = [0, 1, 63, 64, 65, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**62, 2**63 - 2, 2**63 - 1]


def golden(topic: str) -> list[dict[str, Any]]:
    """The cases of one golden file."""
    return json.loads((GOLDEN / f"{topic}.json").read_text())["cases"]


def sizes(least: int = 0, most: int = 2**63 - 1) -> st.SearchStrategy[int]:
    """Sizes and positions in bytes, with a liking for the edges."""
    edges = [edge for edge in SIZE_EDGES if least <= edge <= most]
    return st.sampled_from(edges) | st.integers(least, most)


@st.composite
def bits(draw):
    """A number of bits, and which of them are set: few, or whole runs."""
    count = draw(st.sampled_from(WORD_EDGES) | st.integers(0, 300))
    if not count:
        return 0, set()
    one = st.integers(0, count - 1)
    on = draw(st.sets(one))
    for start, stop in draw(st.lists(st.tuples(one, one), max_size=3)):
        on |= set(range(start, stop))
    return count, on


@st.composite
def geometries(draw):
    """A content size and a block size that make few blocks, also of very large contents."""
    blocks = draw(st.sampled_from(WORD_EDGES) | st.integers(0, 200))
    block_size = draw(sizes(1, 2**63 - 1))
    blocks = min(blocks, (2**63 - 1) // block_size)
    if not blocks:
        return 0, block_size
    return blocks * block_size - draw(st.integers(0, block_size - 1)), block_size


def runs(on: set[int], count: int) -> list[tuple[int, int]]:
    """The maximal runs of `on` in range(count), half-open."""
    found: list[tuple[int, int]] = []
    for bit in range(count):
        if bit in on:
            start = found.pop()[0] if found and found[-1][1] == bit else bit
            found.append((start, bit + 1))
    return found


class BlocksModel:
    """ByteRanges as a set of block numbers, with Python's own integers."""

    def __init__(self, content_size: int, block_size: int) -> None:
        self.size, self.block_size = content_size, block_size
        self.blocks = -(-content_size // block_size)
        self.on: set[int] = set()

    def block(self, pos: int) -> int:
        return pos // self.block_size if 0 <= pos < self.size else -1

    def set(self, pos: int) -> None:
        self.on |= {self.block(pos)} - {-1}

    def clear(self, pos: int) -> None:
        self.on -= {self.block(pos)}

    def span(self, start: int, stop: int) -> tuple[int, int]:
        return start * self.block_size, min(stop * self.block_size, self.size) - 1

    def off(self) -> set[int]:
        return set(range(self.blocks)) - self.on

    def runs_set(self) -> list[tuple[int, int]]:
        return [self.span(*run) for run in runs(self.on, self.blocks)]

    def runs_clear(self) -> list[tuple[int, int]]:
        return [self.span(*run) for run in runs(self.off(), self.blocks)]

    def head(self) -> int:
        return min(self.off(), default=self.blocks)

    def tail(self) -> tuple[int, int] | None:
        return self.span(0, self.head()) if self.head() else None
