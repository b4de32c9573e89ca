"""What is fetched ahead of a reader: more and more while it reads in order, nothing when it jumps."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from largefile.rules.readahead import NEAR, ReadAhead

BLOCK = 64 << 10
MIB = 1 << 20

limits = st.sampled_from([0, 1, BLOCK // 2, BLOCK, 3 * BLOCK, MIB, 32 * MIB])
sizes = st.lists(st.integers(1, MIB), min_size=1, max_size=60)
#: Steps from where the last read has ended: most often none, often small, sometimes far.
steps = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, -1, 1, -1000, 5000, NEAR - 1, 1 - NEAR, NEAR, -NEAR, 10 * MIB, -10 * MIB]),
        st.integers(0, MIB),
    ),
    min_size=1,
    max_size=60,
)


def in_order(ahead, sizes, start=0):
    """(where the read ended, what was fetched beside it) of reads that follow each other."""
    found, pos = [], start
    for size in sizes:
        found.append((pos + size, ahead.read(pos, size)))
        pos += size
    return found


@given(limits, steps)
def test_a_first_read_and_a_jump_fetch_nothing_ahead(limit, steps):
    ahead, end = ReadAhead(BLOCK, limit), None
    for step, size in steps:
        pos = max(0, (end if end is not None else 50 * MIB) + step)
        found = ahead.read(pos, size)
        if end is None or abs(pos - end) >= NEAR:
            assert found is None
            end = pos + size
        else:
            end = max(end, pos + size)


@given(limits, steps)
def test_never_more_is_ahead_than_the_limit_nor_than_was_read_and_a_block(limit, steps):
    ahead, end, read = ReadAhead(BLOCK, limit), 50 * MIB, 0
    for number, (step, size) in enumerate(steps):
        pos = max(0, end + step)
        found = ahead.read(pos, size)
        if number == 0 or abs(pos - end) >= NEAR:
            end, read = pos + size, size
        else:
            end, read = max(end, pos + size), read + max(0, pos + size - end)
        if found is not None:
            assert 0 < found[1] - end <= min(limit, read + BLOCK)


@given(limits, sizes)
def test_reads_in_order_fetch_each_byte_once_and_leave_no_gap(limit, sizes):
    found = in_order(ReadAhead(BLOCK, limit), sizes)
    until = sizes[0]
    for end, more in found:
        if more is not None:
            assert more[0] == max(until, end)
            assert more[1] > more[0]
            until = more[1]


@given(sizes)
def test_each_promise_is_twice_the_last_up_to_the_limit(sizes):
    limit = 4 * MIB
    promises, read = [], []
    for end, more in in_order(ReadAhead(BLOCK, limit), sizes):
        if more is not None:
            promises.append(more[1] - end)
            read.append(end)
    for (last, promise), end in zip(pairwise(promises), read[1:], strict=True):
        assert promise == min(2 * last, limit, end + BLOCK)


@given(sizes.filter(lambda sizes: len(sizes) > 1))
def test_half_a_promise_stays_ahead_of_a_reader_in_order(sizes):
    promise = until = 0
    for number, (end, more) in enumerate(in_order(ReadAhead(BLOCK, 32 * MIB), sizes)):
        if more is not None:
            promise, until = more[1] - end, more[1]
        if number:
            assert until - end >= promise // 2


def test_the_second_read_in_order_has_one_block_fetched():
    found = in_order(ReadAhead(BLOCK, 32 * MIB), [BLOCK] * 3, start=7 * BLOCK)
    assert [more for _, more in found] == [None, (9 * BLOCK, 10 * BLOCK), (10 * BLOCK, 12 * BLOCK)]


def test_a_long_run_in_order_reaches_the_limit_and_is_asked_for_in_few_pieces():
    found = [more for _, more in in_order(ReadAhead(BLOCK, 32 * MIB), [BLOCK] * 4096) if more is not None]
    assert found[-1][1] - found[-1][0] >= 16 * MIB
    assert len(found) < 30


@pytest.mark.parametrize("step", [-1, -8192, 8192, NEAR - 1, 1 - NEAR])
def test_a_small_step_is_still_in_order(step):
    ahead = ReadAhead(BLOCK, 32 * MIB)
    in_order(ahead, [MIB] * 4)
    again = [ahead.read(4 * MIB + step, 2 * MIB), ahead.read(6 * MIB + step, 4 * MIB)]
    assert any(again)


def test_after_a_jump_it_begins_again_with_one_block():
    ahead = ReadAhead(BLOCK, 32 * MIB)
    in_order(ahead, [MIB] * 8)
    found = in_order(ahead, [BLOCK, BLOCK], start=100 * MIB)
    assert [more for _, more in found] == [None, (100 * MIB + 2 * BLOCK, 100 * MIB + 3 * BLOCK)]


def test_a_limit_of_nothing_fetches_nothing_ahead():
    assert not any(more for _, more in in_order(ReadAhead(BLOCK, 0), [MIB] * 20))


@pytest.mark.parametrize(("block_size", "limit"), [(0, 1), (-1, 1), (1, -1)])
def test_numbers_out_of_range_are_refused(block_size, limit):
    with pytest.raises(ValueError, match="needed is"):
        ReadAhead(block_size, limit)
