"""Searching and setting bits: what every landed block and every planned span pays.

The baselines are a `bytearray` of one byte a block (eight times the memory, and C's own memchr and count)
and the package bitarray, which has bits as ours, though none that two threads may set at once.
"""

from __future__ import annotations

import pytest
from bitarray import bitarray
from bitarray.util import zeros

from largefile.core.bitmap import Bitmap

SIZES = [1 << 10, 1 << 16, 1 << 20, 1 << 24]  # 1 GiB, 64 GiB, 1 TiB and 16 TiB in blocks of 1 MiB
SETS = 1024


def nearly_full(blocks):
    bitmap = Bitmap(blocks)
    bitmap.set_run(0, blocks - 1)
    return bitmap


def every_other(blocks):
    bitmap = Bitmap(blocks)
    for block in range(0, blocks, 2):
        bitmap.set(block)
    return bitmap


@pytest.mark.parametrize("blocks", SIZES)
@pytest.mark.benchmark(group="find the last gap")
class TestFindClear:
    """The wait of a resume before its first request, when only the end is missing."""

    def test_bitmap(self, benchmark, blocks):
        assert benchmark(nearly_full(blocks).find_clear, 0) == blocks - 1

    def test_bytearray(self, benchmark, blocks):
        present = bytearray(b"\1" * (blocks - 1) + b"\0")
        assert benchmark(present.find, 0) == blocks - 1

    def test_bitarray(self, benchmark, blocks):
        present = ~zeros(blocks)
        present[blocks - 1] = 0
        assert benchmark(present.find, 0) == blocks - 1


@pytest.mark.parametrize("blocks", SIZES)
@pytest.mark.benchmark(group="find the only block")
class TestFindSet:
    """The wait of a plan that looks for the end of a gap over an almost empty file."""

    def test_bitmap(self, benchmark, blocks):
        bitmap = Bitmap(blocks)
        bitmap.set(blocks - 1)
        assert benchmark(bitmap.find_set, 0) == blocks - 1

    def test_bytearray(self, benchmark, blocks):
        present = bytearray(blocks - 1) + b"\1"
        assert benchmark(present.find, 1) == blocks - 1

    def test_bitarray(self, benchmark, blocks):
        present = zeros(blocks)
        present[blocks - 1] = 1
        assert benchmark(present.find, 1) == blocks - 1


@pytest.mark.parametrize("blocks", SIZES)
@pytest.mark.benchmark(group="count")
class TestCount:
    """The wait of each progress report, ten a second, which says how many blocks are there."""

    def test_bitmap(self, benchmark, blocks):
        assert benchmark(every_other(blocks).count) == blocks // 2

    def test_bytearray(self, benchmark, blocks):
        present = bytearray(b"\1\0" * (blocks // 2))
        assert benchmark(present.count, 1) == blocks // 2

    def test_bitarray(self, benchmark, blocks):
        present = bitarray("10") * (blocks // 2)
        assert benchmark(present.count, 1) == blocks // 2


@pytest.mark.parametrize("blocks", SIZES)
@pytest.mark.benchmark(group=f"set {SETS:,} bits")
class TestSet:
    """The wait of the network loop, once for each block that lands; ours is atomic, the baselines are not."""

    def test_bitmap(self, benchmark, blocks):
        bitmap = Bitmap(blocks)
        landing = range(0, blocks, blocks // SETS)

        def land():
            for block in landing:
                bitmap.set(block)

        benchmark(land)
        assert bitmap.count() == SETS

    def test_bytearray(self, benchmark, blocks):
        present = bytearray(blocks)
        landing = range(0, blocks, blocks // SETS)

        def land():
            for block in landing:
                present[block] = 1

        benchmark(land)
        assert present.count(1) == SETS

    def test_bitarray(self, benchmark, blocks):
        present = zeros(blocks)
        landing = range(0, blocks, blocks // SETS)

        def land():
            for block in landing:
                present[block] = 1

        benchmark(land)
        assert present.count(1) == SETS
