"""Ranges tile the content: no byte twice, none left out, at any size that fits in 63 bits."""

from __future__ import annotations

import copy
import doctest
import gc
import pickle
from itertools import islice

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from models import geometries, sizes

from largefile.core import ranges as module
from largefile.core.ranges import MAX_SIZE, ByteRange, num_blocks, range_for_index, ranges


def pairs():
    return st.tuples(sizes(0, 2**63 - 2), sizes(0, 2**63 - 2)).map(sorted).map(tuple)


@given(pairs())
@example((0, 2**63 - 2))
@example((2**63 - 2, 2**63 - 2))
def test_a_range_is_what_its_two_ends_say(pair):
    first, last = pair
    found = ByteRange(first, last)
    assert (found.first, found.last, tuple(found)) == (first, last, (first, last))
    assert (found.size, found.stop) == (last - first + 1, last + 1)
    assert found.slice == slice(first, last + 1)
    assert str(found) == f"[{first}:{last}]"
    assert eval(repr(found)) == found


@given(pairs(), pairs())
def test_ranges_compare_and_hash_as_their_pairs(one, other):
    a, b = ByteRange(*one), ByteRange(*other)
    assert (a == b, a != b) == (one == other, one != other)
    assert (a < b, a <= b, a > b, a >= b) == (one < other, one <= other, one > other, one >= other)
    assert hash(a) == hash(ByteRange(*one))
    assert len({a, b}) == len({one, other})


def test_neighbouring_ranges_have_hashes_of_their_own():
    found = {hash(block) for size in (1, 64, 1 << 20) for block in islice(ranges(0, 2**62, size), 4096)}
    assert len(found) == 3 * 4096


@given(pairs())
def test_a_range_survives_pickle_and_copy(pair):
    found = ByteRange(*pair)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(found, protocol)) == found
    assert copy.copy(found) == copy.deepcopy(found) == found


def test_a_range_equals_nothing_but_a_range():
    assert ByteRange(1, 2) != (1, 2)
    with pytest.raises(TypeError):
        sorted([ByteRange(1, 2), (1, 3)])


def test_a_range_does_not_change():
    found = ByteRange(1, 2)
    for name in ("first", "last", "size", "other"):
        with pytest.raises(AttributeError):
            setattr(found, name, 0)
    found.__init__(5, 6)
    assert found == ByteRange(1, 2)
    with pytest.raises(TypeError):
        ByteRange.__new__(ByteRange)
    with pytest.raises(TypeError):
        type("Sub", (ByteRange,), {})


@pytest.mark.parametrize(
    "pair",
    [(1, 0), (-1, 0), (-1, -1), (-5, -1), (0, 2**63 - 1), (2**63 - 1, 2**63 - 1), (0, 2**64), (-(2**200), 5)],
)
def test_a_range_that_cannot_be_is_a_value_error_that_shows_it(pair):
    with pytest.raises(ValueError, match=f"from byte {pair[0]} to {pair[1]},"):
        ByteRange(*pair)


@pytest.mark.parametrize("wrong", [1.0, "1", None, b"1"])
def test_only_whole_numbers_are_positions_and_sizes(wrong):
    for call in (
        lambda: ByteRange(wrong, 5),
        lambda: ByteRange(0, wrong),
        lambda: num_blocks(wrong, 1),
        lambda: num_blocks(1, wrong),
        lambda: ranges(wrong, 1, 1),
        lambda: ranges(0, wrong, 1),
        lambda: ranges(0, 1, wrong),
        lambda: range_for_index(wrong, 1, 1),
    ):
        with pytest.raises(TypeError):
            call()


@given(sizes(), sizes(1))
@example(2**63 - 1, 1)
@example(2**63 - 1, 2**63 - 1)
@example(0, 1)
def test_num_blocks_is_the_quotient_rounded_up(content_size, block_size):
    assert num_blocks(content_size, block_size) == -(-content_size // block_size)


@given(geometries())
@example((2**63 - 1, 2**62))
def test_ranges_and_range_for_index_are_the_same_tiles(geometry):
    content_size, block_size = geometry
    tiles = list(ranges(0, content_size - 1, block_size))
    assert len(tiles) == num_blocks(content_size, block_size)
    assert tiles == [range_for_index(index, content_size, block_size) for index in range(len(tiles))]
    edges = [0, *(tile.stop for tile in tiles)]
    assert [tile.first for tile in tiles] == edges[:-1]
    assert edges[-1] == content_size
    assert all(tile.size == block_size for tile in tiles[:-1])
    assert all(tile.size <= block_size for tile in tiles)


@given(sizes(0, 2**63 - 2), st.integers(0, 500), st.integers(1, 70))
@example(2**63 - 2, 0, 1)
def test_ranges_from_anywhere_cover_each_byte_once(first, more, block_size):
    last = min(first + more, 2**63 - 2)
    covered = [pos for tile in ranges(first, last, block_size) for pos in range(tile.first, tile.stop)]
    assert covered == list(range(first, last + 1))


@given(sizes())
def test_no_bytes_are_no_ranges(first):
    assert list(ranges(first, first - 1, 1)) == []


@given(sizes(1), sizes(1), sizes())
def test_the_last_block_ends_with_the_content(content_size, block_size, index):
    blocks = num_blocks(content_size, block_size)
    assert range_for_index(blocks - 1, content_size, block_size).stop == content_size
    assume(index < blocks)
    tile = range_for_index(index, content_size, block_size)
    assert tile.first == index * block_size
    assert tile.last == min(tile.first + block_size, content_size) - 1


# Go gives [110:99] for a block past the end, and [0:16777215] for index 2**40 with blocks of 16 MiB.
@pytest.mark.parametrize("index", [10, 11, 2**31, 2**40, 2**63 - 1, 2**63, 2**200, -1, -(2**63), -(2**200)])
@pytest.mark.parametrize("block_size", [10, 16 << 20])
def test_a_block_past_the_end_is_an_index_error_and_no_inverted_range(index, block_size):
    with pytest.raises(IndexError, match=f"block {index} of"):
        range_for_index(index, 100, block_size)


# On a 32-bit machine Go's block 200 of 5 GiB has negative ends.
def test_a_block_above_2_to_the_31_is_where_it_should_be():
    assert range_for_index(200, 5 << 30, 16 << 20) == ByteRange(200 << 24, (201 << 24) - 1)
    assert list(ranges(0, (5 << 30) - 1, 16 << 20))[-1].last == (5 << 30) - 1


def test_ranges_near_the_end_of_64_bits_do_not_wrap():
    last = 2**63 - 2
    assert list(ranges(last - 4, last, 3)) == [ByteRange(last - 4, last - 2), ByteRange(last - 1, last)]
    assert list(ranges(last, last, 2**63 - 1)) == [ByteRange(last, last)]
    assert [tile.first for tile in ranges(0, last, 2**62)] == [0, 2**62]


@pytest.mark.parametrize("size", [-1, -64, -(2**63), 2**63, 2**200])
def test_a_content_size_that_cannot_be_is_a_value_error(size):
    for call in (lambda: num_blocks(size, 1), lambda: range_for_index(0, size, 1)):
        with pytest.raises(ValueError, match=f"content size is {size},"):
            call()


@pytest.mark.parametrize("size", [0, -1, -64, 2**63])
def test_a_block_size_that_cannot_be_is_a_value_error(size):
    for call in (
        lambda: num_blocks(100, size),
        lambda: ranges(0, 99, size),
        lambda: range_for_index(0, 100, size),
    ):
        with pytest.raises(ValueError, match=f"block size is {size},"):
            call()


@pytest.mark.parametrize("pair", [(10, 8), (-1, 5), (-1, -2), (0, 2**63 - 1), (2**63, 2**63), (0, -(2**200))])
def test_bytes_that_cannot_be_are_a_value_error_at_once(pair):
    with pytest.raises(ValueError, match=f"no bytes {pair[0]} to {pair[1]},"):
        ranges(*pair, 1)


def test_a_range_is_light():
    tile = next(ranges(0, 99, 10))
    assert not gc.is_tracked(tile)
    assert not hasattr(tile, "__dict__")
    assert type(tile) is ByteRange


def test_the_largest_size_is_a_signed_64_bit_number():
    assert MAX_SIZE == 2**63 - 1
    assert ByteRange(0, MAX_SIZE - 1).size == MAX_SIZE


def test_examples():
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted >= 5
