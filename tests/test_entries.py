"""An entry vouches for one block of one file with certain bytes, and for nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from largefile.core.bitmap import Bitmap
from largefile.core.entries import ENTRY_SIZE, EntryTable, seal_of

IDS = st.binary(min_size=16, max_size=16)
BLOCKS = st.sampled_from([0, 1, 63, 64, 65, 2**31, 2**32, 2**63 - 1]) | st.integers(0, 2**63 - 1)
HASHES = st.integers(0, 2**64 - 1)


def mix(x):
    """The finaliser, again, in Python's integers."""
    mask = 2**64 - 1
    x ^= x >> 32
    x = x * 0xD6E8FEB86659FD93 & mask
    x ^= x >> 29
    x = x * 0xA0761D6478BD642F & mask
    return x ^ (x >> 32)


def model(file_id, block, content):
    key0, key1 = struct.unpack("<QQ", file_id)
    low = content & 0xFFFFFFFF
    tag = mix((mix(key0 ^ block) + key1 + low) % 2**64) >> 32
    return (tag << 32 | low) or 1 << 32


def table(num_blocks, file_id=bytes(16), offset=0):
    return EntryTable(bytearray(offset + num_blocks * ENTRY_SIZE), offset, num_blocks, file_id)


@given(IDS, BLOCKS, HASHES)
def test_the_entry_is_the_one_of_the_format(file_id, block, content):
    assert seal_of(file_id, block, content) == model(file_id, block, content)


def test_golden_entries():
    # Files in the field hold these; they never change within format 1.
    assert seal_of(bytes(16), 0, 0) == 1 << 32
    assert seal_of(bytes(range(16)), 7, 0x1122334455667788) == 0xFE0DD03155667788
    assert seal_of(b"\xff" * 16, 2**20 - 1, 1) == model(b"\xff" * 16, 2**20 - 1, 1)


def test_a_computed_zero_is_stored_as_one_in_the_tag_and_believed():
    entries = table(1)
    entries.seal(0, 0)
    assert entries[0] == 1 << 32
    assert entries.is_sealed(0)
    assert entries.check(0, 0)
    entries.clear(0)
    assert entries[0] == 0
    assert not entries.is_sealed(0)


@given(IDS, st.integers(0, 99), HASHES, st.integers(0, 63))
def test_every_flipped_bit_of_an_entry_is_noticed(file_id, block, content, bit):
    buffer = bytearray(100 * ENTRY_SIZE)
    entries = EntryTable(buffer, 0, 100, file_id)
    entries.seal(block, content)
    raw = int.from_bytes(buffer[block * 8 : block * 8 + 8], "little") ^ (1 << bit)
    buffer[block * 8 : block * 8 + 8] = raw.to_bytes(8, "little")
    assert not entries.check(block, content)


@given(IDS, IDS, st.integers(0, 99), st.integers(0, 99), HASHES)
def test_an_entry_of_another_block_or_file_is_not_believed(one, other, block, elsewhere, content):
    if (one, block) == (other, elsewhere):
        return
    if model(one, block, content) == model(other, elsewhere, content):
        return  # one in 2**32, and both are right then
    buffer = bytearray(100 * ENTRY_SIZE)
    EntryTable(buffer, 0, 100, one).seal(block, content)
    raw = bytes(buffer[block * 8 : block * 8 + 8])
    buffer[elsewhere * 8 : elsewhere * 8 + 8] = raw
    assert not EntryTable(buffer, 0, 100, other).check(elsewhere, content)


@given(st.integers(0, 130), st.sets(st.integers(0, 129)), st.sets(st.integers(0, 129)))
def test_scan_finds_the_sealed_and_only_them(num_blocks, sealed, garbage):
    entries = table(num_blocks)
    buffer = bytearray(num_blocks * ENTRY_SIZE)
    entries = EntryTable(buffer, 0, num_blocks, b"0123456789abcdef")
    sealed = {b for b in sealed if b < num_blocks}
    for block in garbage - sealed:
        if block < num_blocks:
            buffer[block * 8] = 1  # no tag fits
    for block in sealed:
        entries.seal(block, block * 7919)
    found = Bitmap(num_blocks)
    assert entries.scan(found) == len(sealed)
    assert {b for b in range(num_blocks) if found[b]} == sealed


states = st.sampled_from(["absent", "same", "live", "durable", "differ", "copied", "garbage"])


@given(st.lists(states, max_size=140))
def test_scan_pair_trusts_only_what_both_tables_say(blocks):
    n = len(blocks)
    raw_live, raw_durable = bytearray(n * 8), bytearray(n * 8)
    live = EntryTable(raw_live, 0, n, bytes(16))
    durable = EntryTable(raw_durable, 0, n, bytes(15) + b"\x01")
    for block, state in enumerate(blocks):
        if state in ("same", "live", "differ"):
            live.seal(block, 5)
        if state in ("same", "durable"):
            durable.seal(block, 5)
        if state == "differ":
            durable.seal(block, 6)
        if state == "copied":
            live.seal(block, 5)
            raw_durable[block * 8 : block * 8 + 8] = raw_live[block * 8 : block * 8 + 8]
        if state == "garbage":
            raw_live[block * 8 + 7] = 1
    sealed, doubtful = Bitmap(n), Bitmap(n)
    live.scan_pair(durable, sealed, doubtful)
    for block, state in enumerate(blocks):
        assert sealed[block] == (state == "same")
        assert doubtful[block] == (state not in ("absent", "same"))


@given(st.lists(st.booleans(), max_size=140), st.lists(st.booleans(), max_size=140))
def test_keep_only_zeroes_the_rest(stored, kept):
    n = len(stored)
    kept = (kept + [False] * n)[:n]
    entries, believed = table(n), Bitmap(n)
    for block in range(n):
        if stored[block]:
            entries.seal(block, 9)
        if kept[block]:
            believed.set(block)
    assert entries.keep_only(believed) == sum(s and not k for s, k in zip(stored, kept, strict=True))
    assert [entries[b] != 0 for b in range(n)] == [s and k for s, k in zip(stored, kept, strict=True)]


def test_copy_from_takes_a_run_and_nothing_else():
    raw = bytearray(80)
    live, durable = EntryTable(raw, 0, 10, bytes(16)), table(10, b"0123456789abcdef")
    for block in range(10):
        live.seal(block, block)
    durable.copy_from(live, 3, 6)
    assert [durable.check(b, b) for b in range(10)] == [3 <= b < 6 for b in range(10)]
    # With tags of its own; and nothing is copied that was not vouched for.
    assert durable[4] == model(b"0123456789abcdef", 4, 4) != live[4]
    raw[4 * 8] ^= 1
    durable.copy_from(live, 4, 5)
    assert durable[4] == 0
    with pytest.raises(IndexError):
        durable.copy_from(live, 3, 11)


def test_a_read_only_buffer_is_read_and_never_written():
    buffer = bytearray(16)
    EntryTable(buffer, 0, 2, bytes(16)).seal(1, 4)
    reader = EntryTable(bytes(buffer), 0, 2, bytes(16))
    assert reader.is_sealed(1)
    with pytest.raises(TypeError, match="read-only"):
        reader.seal(0, 1)


@pytest.mark.parametrize(
    ("size", "offset", "num_blocks", "file_id"),
    [
        (16, 0, 3, bytes(16)),
        (16, 4, 1, bytes(16)),
        (16, 17, 0, bytes(16)),
        (16, 0, -1, bytes(16)),
        (16, 0, 1, b"x"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(size, offset, num_blocks, file_id):
    with pytest.raises(ValueError):
        EntryTable(bytearray(size), offset, num_blocks, file_id)


@pytest.mark.parametrize("block", [-1, 2, 2**40])
def test_a_block_outside_is_an_index_error(block):
    entries = table(2)
    for act in (entries.__getitem__, entries.is_sealed, entries.clear):
        with pytest.raises(IndexError):
            act(block)
    with pytest.raises(IndexError):
        entries.seal(block, 0)


def test_release_gives_the_buffer_back():
    buffer = bytearray(8)
    entries = EntryTable(buffer, 0, 1, bytes(16))
    entries.release()
    buffer.append(0)  # a held buffer can not grow
    with pytest.raises(ValueError, match="released"):
        entries[0]


def test_no_table_and_no_bitmap_is_a_type_error():
    entries, bits = table(2), Bitmap(2)
    for act, words in (
        (entries.scan, [None]),
        (entries.scan_pair, [None, bits, bits]),
        (entries.scan_pair, [entries, bits, None]),
        (entries.copy_from, [None, 0, 0]),
        (entries.keep_only, [None]),
    ):
        with pytest.raises(TypeError):
            act(*words)
