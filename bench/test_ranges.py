"""Walking over blocks and runs, and the Go package's index text."""

from __future__ import annotations

import json
from itertools import groupby
from typing import NamedTuple

import pytest

from largefile.core.byteranges import ByteRangesTracker
from largefile.core.ranges import ranges

MIB = 1 << 20
SIZES = [1 << 10, 1 << 16]
LARGE = [1 << 20]  # 1 TiB in blocks of 1 MiB


class PlainRange(NamedTuple):
    first: int
    last: int


def last_of(iterable):
    """Walk to the end, and give the last item."""
    item = None
    for item in iterable:  # noqa: B007 - it is the walk that is measured
        pass
    return item


def patchy(blocks):
    """Seven blocks of eight are there, as after a run with many connections."""
    tracker = ByteRangesTracker(blocks * MIB, MIB)
    for block in range(blocks):
        if block % 8 != 7:
            tracker.set(block * MIB)
    return tracker


def plain_patchy(blocks):
    return bytearray(b"\1\1\1\1\1\1\1\0" * (blocks // 8))


@pytest.mark.parametrize("blocks", SIZES)
@pytest.mark.benchmark(group="cut a content into blocks")
class TestRanges:
    """The wait of whoever lists blocks: one object for each, and nothing else."""

    def test_ranges(self, benchmark, blocks):
        size = blocks * MIB
        last = benchmark(lambda: last_of(ranges(0, size - 1, MIB)))
        assert (last.first, last.last) == (size - MIB, size - 1)

    def test_generator(self, benchmark, blocks):
        size = blocks * MIB

        def cut():
            return (PlainRange(at, min(at + MIB, size) - 1) for at in range(0, size, MIB))

        assert benchmark(lambda: last_of(cut())) == (size - MIB, size - 1)


@pytest.mark.parametrize("blocks", SIZES)
@pytest.mark.benchmark(group="walk the missing blocks")
class TestMissingBlocks:
    """The wait of `largefile info`, and of a caller that goes through `all_clear`."""

    def test_all_clear(self, benchmark, blocks):
        tracker = patchy(blocks)
        last = benchmark(lambda: last_of(tracker.all_clear()))
        assert last.first == (blocks - 1) * MIB

    def test_generator(self, benchmark, blocks):
        present = plain_patchy(blocks)

        def missing():
            at = present.find(0)
            while at >= 0:
                yield PlainRange(at * MIB, (at + 1) * MIB - 1)
                at = present.find(0, at + 1)

        assert benchmark(lambda: last_of(missing())).first == (blocks - 1) * MIB


@pytest.mark.parametrize("blocks", SIZES)
@pytest.mark.benchmark(group="walk the present runs")
class TestRuns:
    """The wait of a report that draws what is there, adjacent blocks merged."""

    def test_runs_set(self, benchmark, blocks):
        tracker = patchy(blocks)
        last = benchmark(lambda: last_of(tracker.runs_set()))
        assert (last.first, last.stop) == ((blocks - 8) * MIB, (blocks - 1) * MIB)

    def test_generator(self, benchmark, blocks):
        present = plain_patchy(blocks)

        def runs():
            at = 0
            for is_set, run in groupby(present):
                first, at = at, at + sum(1 for _ in run)
                if is_set:
                    yield PlainRange(first * MIB, at * MIB - 1)

        assert benchmark(lambda: last_of(runs())) == ((blocks - 8) * MIB, (blocks - 1) * MIB - 1)


WORD = 0x7F7F7F7F7F7F7F7F


def plain_text(blocks, words):
    fields = {
        "content_size": str(blocks * MIB),
        "block_size": MIB,
        "ranges": [f"{word:x}" for word in words],
    }
    return json.dumps(fields, separators=(",", ":"))


@pytest.mark.parametrize("blocks", SIZES + LARGE)
@pytest.mark.benchmark(group="write the index text")
class TestToJson:
    """The wait of `largefile export`; the Go package paid it for every block that landed."""

    def test_to_json(self, benchmark, blocks):
        assert benchmark(patchy(blocks).to_json) == plain_text(blocks, [WORD] * (blocks // 64))

    def test_json_module(self, benchmark, blocks):
        words = [WORD] * (blocks // 64)
        assert benchmark(plain_text, blocks, words) == patchy(blocks).to_json()


@pytest.mark.parametrize("blocks", SIZES + LARGE)
@pytest.mark.benchmark(group="read the index text")
class TestFromJson:
    """The wait of an import from the Go package. Ours also checks every word; the baseline believes it."""

    def test_from_json(self, benchmark, blocks):
        text = plain_text(blocks, [WORD] * (blocks // 64))
        assert benchmark(ByteRangesTracker.from_json, text).count == blocks * 7 // 8

    def test_json_module(self, benchmark, blocks):
        text = plain_text(blocks, [WORD] * (blocks // 64))

        def parse():
            return [int(word, 16) for word in json.loads(text)["ranges"]]

        assert benchmark(parse) == [WORD] * (blocks // 64)
