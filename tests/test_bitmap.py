"""A bitmap is a set of small numbers: whatever a word holds, and whoever owns its memory."""

from __future__ import annotations

import doctest
import pickle
import threading
from itertools import chain

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from models import bits, runs

from largefile.core import bitmap as module
from largefile.core.bitmap import Bitmap


def made(count, on, buffer=None):
    bitmap = Bitmap(count, buffer)
    for bit in on:
        bitmap.set(bit)
    return bitmap


def content(bitmap):
    return {bit for bit in range(len(bitmap)) if bitmap[bit]}


bounds = st.none() | st.integers(0, 310) | st.just(2**63 - 1) | st.just(2**200)


@given(bits(), st.integers(0, 310) | st.just(2**200), bounds)
@example((64, set()), 63, 64)
@example((65, {64}), 64, None)
@example((128, set(range(128))), 1, 127)
def test_a_search_matches_a_linear_scan(case, start, stop):
    count, on = case
    bitmap = made(count, on)
    looked_at = [] if start > count else range(start, count if stop is None else min(stop, count))
    assert bitmap.find_set(start, stop) == next((bit for bit in looked_at if bit in on), None)
    assert bitmap.find_clear(start, stop) == next((bit for bit in looked_at if bit not in on), None)
    assert bitmap.count(start, stop) == sum(bit in on for bit in looked_at)


@given(bits(), st.integers(0, 310))
def test_runs_are_maximal_and_cover_what_is_set_and_what_is_clear(case, start):
    count, on = case
    bitmap = made(count, on)
    ahead = set(range(start, count))
    assert list(bitmap.runs_set(start)) == runs(on & ahead, count)
    assert list(bitmap.runs_clear(start)) == runs(ahead - on, count)


@st.composite
def changes(draw):
    count = draw(st.sampled_from([1, 63, 64, 65, 130]) | st.integers(1, 300))
    one = st.tuples(st.sampled_from(["set", "clear"]), st.integers(0, count - 1))
    edge = st.integers(0, count)
    run = st.tuples(st.sampled_from(["set_run", "clear_run"]), st.tuples(edge, edge).map(sorted))
    return count, draw(st.lists(one | run, max_size=20))


@given(changes())
def test_changes_match_a_set_and_say_whether_they_changed_anything(case):
    count, steps = case
    bitmap, on = Bitmap(count), set()
    for name, argument in steps:
        if name == "set":
            assert bitmap.set(argument) == (argument not in on)
            on.add(argument)
        elif name == "clear":
            assert bitmap.clear(argument) == (argument in on)
            on.discard(argument)
        elif name == "set_run":
            bitmap.set_run(*argument)
            on |= set(range(*argument))
        else:
            bitmap.clear_run(*argument)
            on -= set(range(*argument))
    assert content(bitmap) == on
    assert sum(word << 64 * at for at, word in enumerate(bitmap.words())) == sum(1 << bit for bit in on)


@given(bits(), st.sampled_from([b"\x00", b"\xee", b"\xff"]))
def test_in_a_foreign_buffer_what_lies_past_the_bits_is_neither_believed_nor_changed(case, filler):
    count, on = case
    memory = bytearray(filler * 64)
    before = int.from_bytes(memory, "little") >> count
    bitmap = Bitmap(count, memory)
    bitmap.clear_run(0, count)
    assert bitmap.find_set() is None
    assert bitmap.count() == 0
    for bit in on:
        bitmap.set(bit)
    assert content(bitmap) == on
    assert list(bitmap.runs_set()) == runs(on, count)
    assert list(bitmap.copy().words()) == list(made(count, on).words())
    bitmap.set_run(0, count)
    assert bitmap.find_clear() is None
    assert bitmap.count() == count
    assert int.from_bytes(memory, "little") >> count == before


def test_two_bitmaps_over_one_buffer_see_each_other():
    memory = bytearray(16)
    one, other = Bitmap(100, memory), Bitmap(128, memory)
    one.set(99)
    assert other.find_set() == 99
    assert memory[12] == 1 << 3


def test_a_buffer_is_pinned_for_as_long_as_the_bitmap_lives():
    memory = bytearray(8)
    bitmap = Bitmap(64, memory)
    with pytest.raises(BufferError):
        memory.extend(b"more")
    del bitmap
    memory.extend(b"more")


@pytest.mark.parametrize("count", [1, 64, 65, 128])
def test_a_buffer_needs_whole_words(count):
    needed = -(-count // 64) * 8
    Bitmap(count, bytearray(needed))
    with pytest.raises(ValueError, match=f"need {needed} bytes, the buffer has {needed - 1}"):
        Bitmap(count, bytearray(needed - 1))


def test_a_buffer_that_cannot_be_used_is_refused_and_let_go():
    memory = bytearray(24)
    for offset in range(1, 8):
        with pytest.raises(ValueError, match="multiple of 8"):
            Bitmap(64, memoryview(memory)[offset:])
    with pytest.raises(BufferError):
        Bitmap(64, bytes(8))
    with pytest.raises(TypeError):
        Bitmap(64, "not a buffer")
    memory.extend(b"nothing holds it")


@pytest.mark.parametrize("count", [-1, -(2**63), 2**63, 2**200])
def test_a_number_of_bits_that_cannot_be_is_refused(count):
    with pytest.raises(ValueError, match=str(count)):
        Bitmap(count)


@pytest.mark.parametrize("count", [2**62, 2**63 - 1])
def test_more_bits_than_memory_is_a_memory_error(count):
    with pytest.raises(MemoryError):
        Bitmap(count)


@pytest.mark.parametrize("count", [0, 1, 64, 130])
@pytest.mark.parametrize("name", ["set", "clear", "__getitem__"])
def test_a_bit_that_does_not_exist_is_an_index_error(count, name):
    for bit in (-1, count, count + 1, 2**31, 2**63, -(2**63), 2**200):
        with pytest.raises(IndexError, match=f"bit {bit} of {count}"):
            getattr(Bitmap(count), name)(bit)


@pytest.mark.parametrize("run", [(-1, 5), (5, 4), (0, 131), (131, 131), (0, 2**63), (2**200, 2**200)])
@pytest.mark.parametrize("name", ["set_run", "clear_run"])
def test_a_run_that_is_not_inside_is_an_index_error_and_changes_nothing(name, run):
    bitmap = made(130, {0, 129})
    with pytest.raises(IndexError):
        getattr(bitmap, name)(*run)
    assert content(bitmap) == {0, 129}


@pytest.mark.parametrize("name", ["find_set", "find_clear", "count"])
def test_a_negative_bound_is_an_index_error_and_not_counted_from_the_end(name):
    for bounds in ((-1, None), (0, -1), (-(2**200), None)):
        with pytest.raises(IndexError):
            getattr(Bitmap(10), name)(*bounds)


@pytest.mark.parametrize("wrong", [1.0, "1", None, b"1", [1]])
def test_only_whole_numbers_are_bits(wrong):
    for name in ("set", "clear", "__getitem__", "find_set"):
        with pytest.raises(TypeError):
            getattr(Bitmap(10), name)(wrong)
    with pytest.raises(TypeError):
        Bitmap(wrong)


def test_a_copy_goes_its_own_way():
    bitmap = made(70, {1, 69})
    copy = bitmap.copy()
    bitmap.clear(1)
    copy.set(2)
    assert (content(bitmap), content(copy)) == ({69}, {1, 2, 69})


def test_words_are_read_only_live_and_keep_the_memory():
    bitmap = Bitmap(65)
    words = bitmap.words()
    with pytest.raises(TypeError):
        words[0] = 1
    with pytest.raises(BufferError, match="read-only"):
        Bitmap(65, bitmap)  # which would write to them
    bitmap.set(64)
    del bitmap
    assert words.tolist() == [0, 1]
    assert (words.format, words.itemsize, words.nbytes, words.contiguous) == ("Q", 8, 16, True)


def test_of_threads_that_change_one_bit_exactly_one_is_told_so():
    count, workers = 5000, 4
    bitmap = Bitmap(count)
    told = [[], [], [], []]
    together = threading.Barrier(workers)

    def work(mine):
        together.wait()
        mine.extend(bit for bit in range(count) if bitmap.set(bit))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(chain.from_iterable(told)) == list(range(count))
    assert bitmap.find_clear() is None


def test_neighbours_changed_by_two_threads_do_not_undo_each_other():
    bitmap = made(64, range(0, 64, 2))
    together = threading.Barrier(2)

    def work(first, names):
        together.wait()
        for _ in range(300):
            for name in names:
                for bit in range(first, 64, 2):
                    getattr(bitmap, name)(bit)

    threads = [
        threading.Thread(target=work, args=(0, ("clear", "set"))),
        threading.Thread(target=work, args=(1, ("set", "clear"))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content(bitmap) == set(range(0, 64, 2))


def test_a_bitmap_is_not_pickled():
    with pytest.raises(TypeError):
        pickle.dumps(Bitmap(3))


def test_examples():
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 10
