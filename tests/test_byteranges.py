"""Trackers remember blocks as a set does; ByteRanges also lets many threads set, and many wait."""

from __future__ import annotations

import asyncio
import doctest
import json
import logging
import pickle
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import BlocksModel, bits, geometries

from largefile.core import byteranges as module
from largefile.core import index_text
from largefile.core.bitmap import Bitmap
from largefile.core.byteranges import ByteRanges, ByteRangesTracker
from largefile.core.ranges import ByteRange

BOTH = (ByteRangesTracker, ByteRanges)
PATIENCE = 60  # seconds until a wait that should end is called a hang

both = pytest.mark.parametrize("cls", BOTH)


def pairs(found):
    return [(block.first, block.last) for block in found]


@st.composite
def histories(draw):
    """A geometry and positions to set and clear: inside, at block edges, and outside."""
    content_size, block_size = draw(geometries())
    starts = st.integers(0, max(0, content_size - 1) // block_size).map(lambda block: block * block_size)
    wild = st.sampled_from([-1, -(2**63), 2**63 - 1, 2**200, content_size, content_size - 1])
    inside = st.integers(0, max(0, content_size - 1))
    steps = st.tuples(st.sampled_from(["set", "set", "clear"]), starts | starts | inside | wild)
    return content_size, block_size, draw(st.lists(steps, max_size=40))


def replay(cls, case):
    content_size, block_size, steps = case
    real, model = cls(content_size, block_size), BlocksModel(content_size, block_size)
    for name, pos in steps:
        getattr(real, name)(pos)
        getattr(model, name)(pos)
    return real, model


@both
@given(histories(), st.integers(-2, 210) | st.sampled_from([2**63, -(2**200)]))
def test_every_question_is_answered_as_by_a_set_of_blocks(cls, case, start):
    real, model = replay(cls, case)
    assert (real.content_length, real.block_size, real.num_blocks) == (
        model.size,
        model.block_size,
        model.blocks,
    )
    assert real.count == len(model.on)
    for on, every, following in (
        (model.on, real.all_set, real.next_set),
        (model.off(), real.all_clear, real.next_clear),
    ):
        ahead = sorted(block for block in on if 0 <= start <= block and start < model.blocks)
        assert pairs(every(start)) == [model.span(block, block + 1) for block in ahead]
        found = following(start)
        assert (found and (found[0], tuple(found[1]))) == (
            (ahead[0] + 1, model.span(ahead[0], ahead[0] + 1)) if ahead else None
        )
        assert pairs(every()) == [model.span(block, block + 1) for block in sorted(on)]
    assert pairs(real.runs_set()) == model.runs_set()
    assert pairs(real.runs_clear()) == model.runs_clear()


@both
@given(histories(), st.integers(-3, 2**63 + 3))
def test_positions_ask_about_their_block_and_outside_there_is_none(cls, case, pos):
    real, model = replay(cls, case)
    edges = {model.span(block, block + 1) for block in range(model.blocks)}
    for at in {pos, -1, model.size, *(end for edge in edges for end in edge)}:
        block = model.block(at)
        assert real.block(at) == block
        assert real.is_set(at) == (block in model.on)
        assert real.is_clear(at) == (block in model.off())


@given(histories())
def test_the_tail_is_the_longest_run_from_the_first_byte(case):
    real, model = replay(ByteRanges, case)
    tail = real.tail()
    assert (tail and tuple(tail)) == model.tail()
    assert real.head_block == model.head()
    assert real.complete == (model.head() == model.blocks)


@given(histories())
def test_growth_is_told_exactly_when_a_set_makes_the_tail_longer(case):
    content_size, block_size, steps = case
    real, model, told = ByteRanges(content_size, block_size), BlocksModel(content_size, block_size), []
    real.on_extend(told.append)
    for name, pos in steps:
        before, future = model.head(), real.notify()
        getattr(real, name)(pos)
        getattr(model, name)(pos)
        grown = name == "set" and model.head() > before
        assert future.done() == (grown or before == model.blocks)
        assert pairs(told) == ([model.tail()] if grown else [])
        if grown:
            assert future.result() == told.pop() == real.tail()


@both
@given(histories())
def test_index_text_brings_everything_back(cls, case):
    real, model = replay(cls, case)
    text = real.to_json()
    for again in (cls.from_json(text), cls.from_json(text.encode())):
        assert type(again) is cls
        assert (again.content_length, again.block_size) == (model.size, model.block_size)
        assert pairs(again.runs_set()) == model.runs_set()
        assert again.to_json() == text
    again = ByteRanges.from_json(text)
    assert again.head_block == model.head()


def text(size='"256"', block_size="64", ranges='["5"]'):
    return f'{{"content_size":{size},"block_size":{block_size},"ranges":{ranges}}}'


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        ("null", "None"),
        ("[]", r"\[\]"),
        ("", "Expecting value"),
        (text() + "}", "Extra data"),
        (text()[:-2], "Expecting"),
        (b"\xff\xfe\xff", "codec"),
        ("[" * 100_000, "nested"),
        ('{"block_size":64,"ranges":["5"]}', "no content_size"),
        ('{"content_size":"256","ranges":["5"]}', "no block_size"),
        ('{"content_size":"256","block_size":64}', "no ranges"),
        ('{"content_size":"1","content_size":"256","block_size":64,"ranges":["5"]}', "twice"),
        (text(size="256"), "content_size is 256"),
        (text(size='""'), "content_size is ''"),
        (text(size='" 256"'), "content_size is ' 256'"),
        (text(size='"2_56"'), "content_size is '2_56'"),
        (text(size='"+256"'), r"content_size is '\+256'"),
        (text(size='"２５６"'), "content_size is '２５６'"),
        (text(size='"-1000"'), "content_size is '-1000'"),
        (text(size='"9223372036854775808"'), "content size is 9223372036854775808"),
        (text(size=f'"{"1" * 5000}"'), "content_size is '1111"),
        (text(block_size="64.0"), "block_size is 64.0"),
        (text(block_size="true"), "block_size is True"),
        (text(block_size='"64"'), "block_size is '64'"),
        (text(block_size="0"), "block size is 0"),
        (text(block_size="-64"), "block size is -64"),
        (text(block_size="9223372036854775808"), "block size is 9223372036854775808"),
        (text(ranges="null"), "ranges is None"),
        (text(ranges="{}"), "ranges is {}"),
        (text(ranges='"5"'), "ranges is '5'"),
        (text(ranges="[5]"), "ranges holds 5"),
        (text(ranges='[""]'), "ranges holds ''"),
        (text(ranges='["0x5"]'), "ranges holds '0x5'"),
        (text(ranges='["+5"]'), r"ranges holds '\+5'"),
        (text(ranges='["10000000000000000"]'), "ranges holds '1000"),
        (text(ranges="[]"), "0 words, needed 1 for 4"),
        (text(ranges='["5","0"]'), "2 words, needed 1 for 4"),
        (text(ranges='["1f"]'), "'1f', with a bit past the last of 4"),
        (text(size='"4160"', ranges='["0","2"]'), "'2', with a bit past the last of 65"),
        (text(size='"4160"', ranges='["ffffffffffffffff"]'), "1 words, needed 2 for 65"),
        (text(size='"0"', ranges='["0"]'), "1 words, needed 0 for 0"),
        (text(size='"9223372036854775807"', block_size="1"), "1 words, needed 144115188075855872"),
    ],
)
@both
def test_a_broken_index_text_is_a_value_error_that_says_what_was_found(cls, broken, found):
    with pytest.raises(ValueError, match=found):
        cls.from_json(broken)


@both
def test_an_index_text_is_text(cls):
    with pytest.raises(TypeError):
        cls.from_json(5)


@both
def test_sizes_that_cannot_be_are_refused(cls):
    for sizes in ((-1, 64), (2**63, 64), (100, 0), (100, -64), (100, 2**63)):
        with pytest.raises(ValueError):
            cls(*sizes)
    for sizes in ((1.0, 64), ("1", 64), (1, None)):
        with pytest.raises(TypeError):
            cls(*sizes)
    with pytest.raises(MemoryError):
        cls(2**63 - 1, 1)


@both
def test_only_whole_numbers_are_positions(cls):
    blocks = cls(100, 10)
    for name in (
        "set",
        "clear",
        "is_set",
        "is_clear",
        "block",
        "next_set",
        "next_clear",
        "all_set",
        "all_clear",
    ):
        for wrong in (1.0, "1", None):
            with pytest.raises(TypeError):
                getattr(blocks, name)(wrong)


@both
def test_an_iterator_walks_the_blocks_as_they_were_when_it_was_made(cls):
    blocks = cls(1000, 10)
    for block in range(0, 100, 2):
        blocks.set(block * 10)
    expected = pairs(blocks.all_set()), pairs(blocks.runs_clear())
    walk, gaps = blocks.all_set(), blocks.runs_clear()
    first = next(walk), next(gaps)
    for pos in range(1000):
        blocks.clear(pos) if blocks.is_set(pos) and pos % 20 < 10 else blocks.set(pos)
    assert (pairs([first[0], *walk]), pairs([first[1], *gaps])) == expected
    assert next(walk, None) is None


# Go cannot hold a content of no bytes: Tail and Notify panic.
def test_a_content_of_no_bytes_is_complete_and_waits_for_nothing():
    blocks = ByteRanges(0, 64)
    assert blocks.complete
    assert (blocks.num_blocks, blocks.count, blocks.head_block) == (0, 0, 0)
    assert blocks.tail() is None
    assert blocks.wait_tail() is None
    assert blocks.wait_tail(beyond=100) is None
    assert blocks.notify().result(timeout=0) is None
    blocks.set(0)
    blocks.clear(0)
    blocks.set_blocks_from(Bitmap(0))
    assert list(blocks.all_set()) == list(blocks.all_clear()) == list(blocks.runs_clear()) == []
    assert ByteRanges.from_json(blocks.to_json()).complete


# Go compares the first tail with 0 and not with -1, and so misses [0:0].
def test_a_first_tail_of_one_byte_is_not_missed():
    blocks = ByteRanges(2, 1)
    assert blocks.wait_tail(timeout=0) is None
    blocks.set(0)
    assert blocks.wait_tail(timeout=0) == ByteRange(0, 0)
    assert blocks.wait_tail(beyond=0, timeout=0) is None
    blocks.set(1)
    assert blocks.wait_tail(beyond=0) == ByteRange(0, 1)


def test_wait_tail_returns_at_once_when_complete_whatever_it_waits_for():
    blocks = ByteRanges(100, 64)
    blocks.set(0)
    blocks.set(64)
    assert blocks.wait_tail(beyond=99) == blocks.wait_tail(beyond=2**200) == ByteRange(0, 99)


# Go checks the tail and then subscribes, so that a growth in between is not seen until the next.
def test_a_growth_is_seen_by_a_waiter_however_close_it_is():
    for _ in range(200):
        blocks = ByteRanges(2, 1)
        together = threading.Barrier(2)
        seen = []

        def wait(blocks=blocks, together=together, seen=seen):
            together.wait()
            seen.append(blocks.wait_tail(timeout=PATIENCE))

        waiter = threading.Thread(target=wait)
        waiter.start()
        together.wait()
        blocks.set(0)
        waiter.join()
        assert seen == [ByteRange(0, 0)]


def test_threads_that_set_and_threads_that_wait_all_come_to_the_end():
    blocks = ByteRanges(3001 * 10 - 7, 10)
    told, shares, tails = [], [[] for _ in range(3)], [[] for _ in range(3)]
    blocks.on_extend(told.append)
    for block in random.Random(1).sample(range(3001), 3001):
        shares[block % 3].append(block)
    shares[0] += shares[1][:200]  # set by two threads
    changed = []
    together = threading.Barrier(6)

    def work(share):
        together.wait()
        changed.extend(block for block in share if blocks.set_block(block))

    def follow(seen):
        together.wait()
        while not seen or seen[-1].stop < blocks.content_length:
            seen.append(blocks.wait_tail(beyond=seen[-1].last if seen else -1, timeout=PATIENCE))

    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    threads += [threading.Thread(target=follow, args=(seen,)) for seen in tails]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(changed) == list(range(3001))
    assert blocks.complete
    for seen in tails:
        assert seen == sorted(set(seen))
        assert seen[-1] == blocks.tail() == ByteRange(0, blocks.content_length - 1)
    assert len(told) == len(set(told))
    assert max(told) == blocks.tail()


# --- waiting for one block --------------------------------------------------------------------------


@given(histories(), st.integers(-3, 2**63 + 3))
def test_wait_set_without_time_is_is_set(case, pos):
    real, model = replay(ByteRanges, case)
    for at in {pos, -1, 0, model.size - 1, model.size}:
        if 0 <= at < model.size:
            assert real.wait_set(at, timeout=0) == real.is_set(at) == (model.block(at) in model.on)
        else:
            with pytest.raises(IndexError, match=f"byte {at} of {model.size}"):
                real.wait_set(at, timeout=0)


def test_a_block_is_seen_by_its_waiter_however_close_it_is_set():
    for _ in range(200):
        blocks = ByteRanges(2, 1)
        together = threading.Barrier(2)
        seen = []

        def wait(blocks=blocks, together=together, seen=seen):
            together.wait()
            seen.append(blocks.wait_set(1, PATIENCE))

        waiter = threading.Thread(target=wait)
        waiter.start()
        together.wait()
        blocks.set(1)
        waiter.join()
        assert seen == [True]


@pytest.mark.parametrize("how", ["set", "set_block", "set_blocks_from"])
def test_each_waiter_is_woken_by_his_own_block(how):
    blocks, came = ByteRanges(12 * 10, 10), []
    order = random.Random(3).sample(range(12), 12)
    more = Bitmap(12)

    def wait(block):
        together.wait()
        # The last byte of the block, for one of the two who wait for each.
        assert blocks.wait_set(10 * block + 9 * (block % 2), PATIENCE)
        came.append(block)

    together = threading.Barrier(25)
    threads = [threading.Thread(target=wait, args=(block,)) for block in order * 2]
    for thread in threads:
        thread.start()
    together.wait()
    for done, block in enumerate(order, 1):
        more.set(block)
        if how == "set_blocks_from":
            blocks.set_blocks_from(more)
        else:
            getattr(blocks, how)(block if how == "set_block" else 10 * block)
        for thread in (threads[done - 1], threads[done + 11]):
            thread.join()
        assert sorted(came) == sorted(order[:done] * 2)


def test_a_wait_has_its_end():
    blocks = ByteRanges(1010, 250)
    blocks.set(0)
    for timeout in (0, 0.01, -1, -2.5):
        assert not blocks.wait_set(250, timeout)
    assert blocks.wait_set(0, 1e300)
    with pytest.raises(TypeError):
        blocks.wait_set(250, "soon")
    assert not blocks.wait_set(250, 0)


def test_wake_ends_every_wait_for_a_block_and_none_for_the_tail():
    blocks, answers = ByteRanges(100, 10), []
    tail = threading.Thread(target=lambda: answers.append(blocks.wait_tail(timeout=PATIENCE)))
    waiters = [
        threading.Thread(target=lambda at=at: answers.append(blocks.wait_set(at))) for at in (5, 55, 57)
    ]
    for thread in (tail, *waiters):
        thread.start()
    while any(thread.is_alive() for thread in waiters):
        blocks.wake()
    assert answers == [False] * 3
    assert tail.is_alive()
    blocks.set(0)
    tail.join()
    assert answers[3:] == [ByteRange(0, 9)]


def test_a_wake_is_not_missed_by_who_looked_before_it():
    blocks = ByteRanges(100, 10)
    before = blocks.wakes
    blocks.wake()
    assert blocks.wakes == before + 1
    assert not blocks.wait_set(0, PATIENCE, wakes=before)
    blocks.set(0)
    assert blocks.wait_set(0, PATIENCE, wakes=before)
    assert not blocks.wait_set(10, 0.01, wakes=blocks.wakes)


def test_a_closing_that_is_looked_for_first_never_leaves_a_waiter_behind():
    for _ in range(200):
        blocks, closed, together = ByteRanges(2, 1), [], threading.Barrier(2)

        def wait(blocks=blocks, closed=closed, together=together):
            together.wait()
            while True:
                wakes = blocks.wakes
                if closed:
                    break
                blocks.wait_set(0, PATIENCE, wakes)

        waiter = threading.Thread(target=wait)
        waiter.start()
        together.wait()
        closed.append(True)
        blocks.wake()
        waiter.join(PATIENCE / 2)
        assert not waiter.is_alive()


def test_a_block_that_was_set_and_cleared_again_was_set():
    blocks, answers = ByteRanges(20, 10), []
    blocks.on_extend(lambda tail: blocks.clear(0))  # before `set` is over, and so mostly before he looks
    for _ in range(20):
        waiter = threading.Thread(target=lambda: answers.append(blocks.wait_set(0, PATIENCE)))
        waiter.start()
        while waiter.is_alive():
            blocks.set(0)
    assert answers == [True] * 20


def test_threads_that_set_and_threads_that_wait_for_any_block_all_come_to_the_end():
    blocks, together, missed = ByteRanges(2000, 1), threading.Barrier(7), []

    def work(part):
        together.wait()
        for block in random.Random(part).sample(range(2000), 2000):
            if block % 2 == part:
                blocks.set_block(block)

    def follow(seed):
        together.wait()
        for block in random.Random(seed).sample(range(2000), 300):
            if not blocks.wait_set(block, PATIENCE) or not blocks.bitmap[block]:
                missed.append(block)

    def disturb():
        together.wait()
        while not blocks.complete:
            blocks.wait_set(1999, 0)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(2)]
    threads += [threading.Thread(target=follow, args=(seed,)) for seed in range(4)]
    threads += [threading.Thread(target=disturb)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missed == []


def test_writing_the_index_text_beside_writers_never_tears():
    blocks = ByteRanges(6400, 10)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            for block in range(1, 640):
                blocks.set_block(block)
                blocks.clear(block * 10)

    worker = threading.Thread(target=work)
    blocks.set_block(0)
    worker.start()
    try:
        for _ in range(100):
            again = ByteRanges.from_json(blocks.to_json())
            assert again.is_set(0)
            assert again.count <= 640
    finally:
        stop.set()
        worker.join()


def test_all_who_wait_for_one_growth_share_one_future_that_none_can_cancel():
    blocks = ByteRanges(30, 10)
    first = blocks.notify()
    assert blocks.notify() is first
    assert not first.cancel()
    blocks.set(10)
    assert not first.done()
    blocks.set(0)
    assert first.result(timeout=0) == ByteRange(0, 19)
    second = blocks.notify()
    assert not second.done()
    blocks.set(29)
    assert second.result(timeout=0) == blocks.notify().result(timeout=0) == ByteRange(0, 29)


def test_a_future_that_somebody_else_answered_does_not_stop_who_sets():
    blocks = ByteRanges(30, 10)
    blocks.notify().set_result("mine")
    blocks.set(0)
    assert blocks.tail() == ByteRange(0, 9)


def test_a_task_can_await_a_growth_made_by_a_thread():
    blocks = ByteRanges(30, 10)

    async def follow():
        waiting = asyncio.wrap_future(blocks.notify())
        threading.Thread(target=blocks.set, args=(0,)).start()
        return await asyncio.wait_for(waiting, PATIENCE)

    assert asyncio.run(follow()) == ByteRange(0, 9)


def test_the_bit_is_set_and_the_lock_is_free_when_on_extend_is_called():
    blocks, seen = ByteRanges(40, 10), []

    def look(tail):
        seen.append((tail, blocks.tail(), blocks.is_set(tail.last), blocks.complete, threading.get_ident()))
        blocks.set(30)

    blocks.on_extend(look)
    blocks.set(10)
    blocks.set(0)
    here = threading.get_ident()
    assert seen == [(ByteRange(0, 19), ByteRange(0, 19), True, False, here)]
    blocks.set(20)
    assert seen[1] == (ByteRange(0, 39), ByteRange(0, 39), True, True, here)


def test_callbacks_are_called_in_order_and_may_add_more():
    blocks, order = ByteRanges(20, 10), []
    blocks.on_extend(lambda tail: order.append(1))
    blocks.on_extend(lambda tail: (order.append(2), blocks.on_extend(lambda tail: order.append(3))))
    blocks.set(0)
    assert order == [1, 2]
    blocks.set(10)
    assert order == [1, 2, 1, 2, 3]


def test_an_exception_in_a_callback_is_logged_and_stops_nobody(caplog):
    blocks, seen = ByteRanges(20, 10), []
    blocks.on_extend(lambda tail: 1 // 0)
    blocks.on_extend(seen.append)
    future = blocks.notify()
    with caplog.at_level(logging.ERROR, logger="largefile"):
        assert blocks.set_block(0)
    assert seen == [ByteRange(0, 9)] == [future.result(timeout=0)]
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]
    with pytest.raises(TypeError, match="callable"):
        blocks.on_extend(None)


def test_clear_shortens_the_tail_and_tells_nobody():
    blocks, told = ByteRanges(30, 10), []
    for pos in (0, 10, 20):
        blocks.set(pos)
    blocks.on_extend(told.append)
    blocks.clear(15)
    future = blocks.notify()
    assert (blocks.tail(), blocks.complete, blocks.head_block) == (ByteRange(0, 9), False, 1)
    blocks.clear(25)
    assert blocks.tail() == ByteRange(0, 9)
    assert not told
    assert not future.done()
    blocks.set(20)
    assert not told
    blocks.set(10)
    assert told == [ByteRange(0, 29)] == [future.result(timeout=0)]


def test_a_block_that_does_not_exist_is_an_index_error():
    blocks = ByteRanges(1010, 250)
    for block in (-1, 5, 2**31, 2**63, -(2**200)):
        with pytest.raises(IndexError, match=f"block {block} of 5"):
            blocks.set_block(block)
    with pytest.raises(TypeError):
        blocks.set_block(1.0)
    assert blocks.count == 0


@given(bits(), bits())
def test_a_bitmap_is_taken_over_whole_and_told_of_once(before, more):
    count = before[0]
    blocks, bitmap, model = ByteRanges(count * 10, 10), Bitmap(count), BlocksModel(count * 10, 10)
    for block in before[1]:
        blocks.set_block(block)
        model.on.add(block)
    head, told = blocks.head_block, []
    blocks.on_extend(told.append)
    for block in more[1] & set(range(count)):
        bitmap.set(block)
        model.on.add(block)
    blocks.set_blocks_from(bitmap)
    assert pairs(blocks.runs_set()) == model.runs_set()
    assert blocks.head_block == model.head()
    assert pairs(told) == ([model.tail()] if model.head() > head else [])


def test_a_bitmap_of_another_length_is_refused():
    blocks = ByteRanges(1010, 250)
    for count in (0, 4, 6, 64):
        with pytest.raises(ValueError, match=f"{count} bits for 5"):
            blocks.set_blocks_from(Bitmap(count))
    with pytest.raises(TypeError):
        blocks.set_blocks_from(None)


def test_a_bitmap_with_bits_past_its_end_brings_none_of_them():
    blocks = ByteRanges(30, 10)
    blocks.set_blocks_from(Bitmap(3, bytearray(b"\xff" * 8)))
    assert blocks.complete
    assert blocks.bitmap.words().tolist() == [7]


def test_the_bitmap_is_the_one_that_is_searched():
    blocks = ByteRanges(1010, 250)
    shared = blocks.bitmap
    blocks.set_block(3)
    assert (shared.find_set(), len(shared)) == (3, 5)
    assert blocks.bitmap is shared
    with pytest.raises(AttributeError):
        blocks.bitmap = Bitmap(5)


# On a 32-bit machine Go has no block for a byte above 2**31; and its JSON is written without the lock.
@both
def test_a_position_above_2_to_the_32_has_its_block(cls):
    blocks = cls(5 << 40, 16 << 20)
    blocks.set(3 << 40)
    assert blocks.block(3 << 40) == 3 << 16
    assert pairs(blocks.runs_set()) == [(3 << 40, (3 << 40) + (16 << 20) - 1)]
    assert json.loads(blocks.to_json())["content_size"] == str(5 << 40)


@both
def test_the_largest_content_does_not_wrap(cls):
    blocks = cls(2**63 - 1, 2**62)
    blocks.set(2**63 - 2)
    assert pairs(blocks.runs_set()) == [(2**62, 2**63 - 2)]
    blocks.set(0)
    assert pairs(blocks.runs_set()) == [(0, 2**63 - 2)]
    assert blocks.block(2**63 - 1) == -1


@both
def test_trackers_are_not_pickled(cls):
    with pytest.raises(TypeError):
        pickle.dumps(cls(10, 1))


def test_examples():
    assert doctest.testmod(module).attempted > 20
    assert doctest.testmod(index_text).attempted == 2
    assert doctest.testmod(module).failed == doctest.testmod(index_text).failed == 0
