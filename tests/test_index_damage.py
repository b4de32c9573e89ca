"""The index, damaged in every way: never a wrong byte, never an untyped error, and as much kept as is
still vouched for.

What each damage may cost. A bit of one entry: nothing in the boot of the writing, as the other table has a
twin, or that block if it has none. A header slot: a reading of the file, whichever of the two it is, as
nobody can tell whether the one that is left was the last; and no block. A table: what only that table
had. The size: the index (IndexCorruptError), which is left as it is.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator

import pytest
import xxhash
from damage import BLOCKS, BOOTS, LAYOUT, SIZE, Scene, flipped, make_scene, resealed, with_slot
from disk_helpers import folder, leave, names, present, reopen

from largefile.disk.header import SLOT_SIZE, choose
from largefile.errors import IndexCorruptError, IndexVersionError

DEEP = int(os.environ.get("LARGEFILE_DEEP") or 0)
PAGES = LAYOUT.size // SLOT_SIZE
HEADER_BITS = range(2 * SLOT_SIZE * 8)
ENTRY_BITS = [bit for at in (LAYOUT.live, LAYOUT.durable) for bit in range(at * 8, (at + 8 * BLOCKS) * 8)]

opened_by = pytest.mark.parametrize("read_only", [False, True], ids=["writer", "reader"])
in_boot = pytest.mark.parametrize("boot", list(BOOTS))


@pytest.fixture(scope="module", params=["killed", "closed"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with folder() as base:
        yield make_scene(base, request.param)


def check(scene: Scene, index: bytes, boot: str, read_only: bool) -> None:
    expected = scene.vouched(index, boot, read_only=read_only)
    assert scene.opened(index, boot, read_only=read_only) == expected


def some(bits: range | list[int], step: int) -> list[int]:
    """All of them in the deep environment, else one of `step`, at another place of its byte each time."""
    return list(bits) if DEEP else list(bits[:: step | 1])


# --- bits ---------------------------------------------------------------------------------------


@opened_by
@in_boot
def test_an_undamaged_index_gives_all_there_was(scene, boot, read_only):
    found = scene.opened(scene.index, boot, read_only=read_only)
    assert found == scene.vouched(scene.index, boot, read_only=read_only)
    assert len(found) == {("same boot", False): 11, ("same boot", True): 11, ("another boot", False): 10}.get(
        (boot, read_only), 7
    )


@opened_by
@in_boot
def test_a_flipped_bit_of_an_entry_costs_that_block_at_most(scene, boot, read_only):
    whole = scene.vouched(scene.index, boot, read_only=read_only)
    for bit in some(ENTRY_BITS, 3):
        index = flipped(scene.index, bit)
        check(scene, index, boot, read_only)
        assert len(whole - scene.vouched(index, boot, read_only=read_only)) <= 1


def test_of_each_flipped_bit_of_the_headers_is_known_that_one_is_gone(scene):
    """And the other one is taken, but not for the last one that was written."""
    before = [choose(*scene.slots(with_slot(scene.index, slot, bytes(SLOT_SIZE))), "x") for slot in (1, 0)]
    for bit in HEADER_BITS:
        slots = list(scene.slots(scene.index))
        number = bit // 8 // SLOT_SIZE
        slots[number] = flipped(slots[number], bit % (SLOT_SIZE * 8))
        assert choose(*slots, "x") == (before[1 - number].header, 1 - number, False)


@opened_by
@in_boot
def test_a_flipped_bit_of_a_header_costs_no_block(scene, boot, read_only):
    whole = scene.vouched(scene.index, boot, read_only=False)
    for bit in some(HEADER_BITS, 97):
        assert scene.opened(flipped(scene.index, bit), boot, read_only=read_only) == whole


@opened_by
def test_a_flipped_bit_where_nothing_is_costs_nothing(scene, read_only):
    used = {bit // 64 for bit in ENTRY_BITS}
    rest = [bit for bit in range(HEADER_BITS.stop, LAYOUT.size * 8) if bit // 64 not in used]
    for bit in some(rest, 997):
        check(scene, flipped(scene.index, bit), "same boot", read_only)


@in_boot
def test_what_was_mended_needs_no_second_mending(scene, boot):
    for bit in [*some(ENTRY_BITS, 61), *some(HEADER_BITS, 2003)]:
        found = scene.opened(flipped(scene.index, bit), boot, read_only=False)
        with reopen(scene.base, ops=BOOTS[boot]) as cache:
            assert present(cache) == found
            assert cache.hashed_blocks == 0
            assert cache.verify() == []


# --- sizes --------------------------------------------------------------------------------------


@opened_by
def test_an_index_of_any_other_size_is_a_typed_error_and_left_alone(scene, read_only):
    borders = [at + by for at in range(0, LAYOUT.size, SLOT_SIZE) for by in (-1, 0, 1) if at + by >= 0]
    shorter = sorted({*some(range(LAYOUT.size), 37), *borders, LAYOUT.size - 1}, reverse=True)
    longer = [LAYOUT.size + more for more in (1, 8, SLOT_SIZE - 1, SLOT_SIZE, 1 << 20)]
    path = names(scene.base)[1]
    for size in [*longer, *shorter]:
        scene.put_back(scene.index, set())
        os.truncate(path, size)
        with pytest.raises(IndexCorruptError):
            reopen(scene.base, read_only=read_only).close()
        with open(path, "rb") as file:  # noqa: PTH123 - called 20,000 times
            assert file.read() == (scene.index + bytes(max(0, size - LAYOUT.size)))[:size]


# --- pages --------------------------------------------------------------------------------------


def pages_damaged() -> Iterator[tuple[str, list[int | None]]]:
    """Which page lies at each place; None: zeros."""
    usual = list(range(PAGES))
    for page in usual:
        yield f"{page} zeroed", [None if at == page else at for at in usual]
    for one, two in itertools.combinations(usual, 2):
        yield f"{one} and {two} swapped", [{one: two, two: one}.get(at, at) for at in usual]
        yield f"{one} and {two} zeroed", [None if at in (one, two) else at for at in usual]
    for source, target in itertools.permutations(usual, 2):
        yield f"{source} over {target}", [source if at == target else at for at in usual]


DAMAGED = dict(pages_damaged())


def paged(index: bytes, order: list[int | None]) -> bytes:
    pages = [index[at : at + SLOT_SIZE] for at in range(0, LAYOUT.size, SLOT_SIZE)]
    return b"".join(bytes(SLOT_SIZE) if at is None else pages[at] for at in order)


@pytest.mark.parametrize("how", DAMAGED)
@opened_by
@in_boot
def test_pages_that_are_zeroed_swapped_or_written_elsewhere(scene, boot, read_only, how):
    index = paged(scene.index, DAMAGED[how])
    if {0, 1} & set(DAMAGED[how][:2]):
        check(scene, index, boot, read_only)
    else:
        assert scene.opened(index, boot, read_only=read_only) is IndexCorruptError


# --- what a program of another time may have written --------------------------------------------


@opened_by
@pytest.mark.parametrize("which", ["newer", "older", "both"])
def test_a_newer_major_version_is_said_to_be_one_and_left_alone(scene, read_only, which):
    index = scene.index
    for slot, page in enumerate(scene.slots(index)):
        if which in ("both", "newer" if slot == scene.newer else "older"):
            index = with_slot(index, slot, sealed(page[:8] + struct.pack("<HH", 2, 0) + page[12:]))
    assert scene.opened(index, "same boot", read_only=read_only) is IndexVersionError


@opened_by
@in_boot
def test_a_newer_minor_version_is_read(scene, boot, read_only):
    index = scene.index
    for slot, page in enumerate(scene.slots(index)):
        index = with_slot(index, slot, sealed(page[:10] + struct.pack("<H", 77) + page[12:]))
    assert scene.opened(index, boot, read_only=read_only) == scene.vouched(
        scene.index, boot, read_only=read_only
    )


@opened_by
def test_an_index_without_the_time_of_the_files_making_is_read(scene, read_only):
    """As version 1.0 wrote it."""
    index = scene.index
    for slot, page in enumerate(scene.slots(index)):
        old = resealed(page, birth=0)
        index = with_slot(index, slot, sealed(old[:10] + bytes(2) + old[12:]))
    assert scene.opened(index, "same boot", read_only=read_only) == scene.vouched(
        scene.index, "same boot", read_only=read_only
    )


def sealed(slot: bytes) -> bytes:
    return slot[:-8] + struct.pack("<Q", xxhash.xxh3_64_intdigest(slot[:-8]))


# --- generations --------------------------------------------------------------------------------


@opened_by
@in_boot
@pytest.mark.parametrize("same", [1, 7, 2**64 - 1])
def test_two_slots_of_one_generation_cost_a_reading_and_no_block(scene, boot, read_only, same):
    index = scene.index
    for slot, page in enumerate(scene.slots(index)):
        index = with_slot(index, slot, resealed(page, generation=same))
    whole = scene.vouched(scene.index, boot, read_only=False)
    assert scene.opened(index, boot, read_only=read_only) == whole


@pytest.mark.parametrize("left", range(6))
def test_generations_go_round(scene, left):
    """Nobody writes 2^64 headers; but no index can be made that is stuck for ever."""
    index = scene.index
    for slot, page in enumerate(scene.slots(index)):
        back = 0 if slot == scene.newer else 1
        index = with_slot(index, slot, resealed(page, generation=2**64 - 1 - left - back))
    found = scene.opened(index, "same boot", read_only=False)
    assert found == scene.vouched(scene.index, "same boot", read_only=False)
    for _ in range(4):
        with reopen(scene.base) as cache:
            assert present(cache) == found
            assert cache.hashed_blocks == 0
            before = cache._index.header.generation
        leave(reopen(scene.base))
        with reopen(scene.base, read_only=True) as follower:
            assert (follower._index.header.generation - before) % 2**64 == 2
            assert follower._index.certain


def test_a_generation_far_from_the_others_is_not_taken_for_the_last(scene):
    older = 1 - scene.newer
    far = resealed(scene.slots(scene.index)[older], generation=2**64 - 1)
    index = with_slot(scene.index, older, far)
    assert scene.opened(index, "same boot", read_only=False) == scene.vouched(
        scene.index, "same boot", read_only=False
    )
    with reopen(scene.base) as cache:
        assert cache.hashed_blocks == 0
        assert cache.content_size == SIZE
