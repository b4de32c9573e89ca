"""Checking the entries of an index: most of what a resume does before its first request."""

from __future__ import annotations

import struct

import pytest

from largefile.core.bitmap import Bitmap
from largefile.core.entries import ENTRY_SIZE, EntryTable

SIZES = [1 << 16, 1 << 20]  # 64 GiB and 1 TiB in blocks of 1 MiB
FILE_ID = bytes(range(16))
MASK = 2**64 - 1


def mix(x):
    """The format's finaliser in Python's integers."""
    x ^= x >> 32
    x = x * 0xD6E8FEB86659FD93 & MASK
    x ^= x >> 29
    x = x * 0xA0761D6478BD642F & MASK
    return x ^ (x >> 32)


def plain_scan(buffer, present):
    """Set the byte of each block whose entry has a right tag; how many there are."""
    key0, key1 = struct.unpack("<QQ", FILE_ID)
    found = 0
    for block, entry in enumerate(memoryview(buffer).cast("Q")):
        tag = mix(mix(key0 ^ block) + key1 + (entry & 0xFFFFFFFF) & MASK) >> 32
        if entry and entry >> 32 == tag:
            present[block] = 1
            found += 1
    return found


@pytest.fixture(scope="module")
def tables():
    """By number of blocks: a table in which one entry of eight is absent, and its bytes."""
    made = {}
    for blocks in SIZES:
        buffer = bytearray(blocks * ENTRY_SIZE)
        table = EntryTable(buffer, 0, blocks, FILE_ID)
        for block in range(blocks):
            if block % 8 != 7:
                table.seal(block, block * 0x9E3779B97F4A7C15 & MASK)
        made[blocks] = table, buffer
    yield made
    for table, _ in made.values():
        table.release()


@pytest.mark.parametrize("blocks", SIZES)
@pytest.mark.benchmark(group="scan the entries")
class TestScan:
    """The wait of `largefile get` on a partial file: each tag is computed and compared."""

    def test_entry_table(self, benchmark, tables, blocks):
        table, _ = tables[blocks]
        sealed = Bitmap(blocks)
        assert benchmark(table.scan, sealed) == sealed.count() == blocks * 7 // 8
        assert not sealed[blocks - 1]

    def test_python_loop(self, benchmark, tables, blocks):
        _, buffer = tables[blocks]
        present = bytearray(blocks)
        found = benchmark.pedantic(plain_scan, (buffer, present), rounds=1)
        assert found == present.count(1) == blocks * 7 // 8
        assert not present[blocks - 1]
