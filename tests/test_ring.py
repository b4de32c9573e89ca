"""Blocks go into a ring by lanes, in any order and cut anyhow, and come out whole and in theirs."""

from __future__ import annotations

import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_tools import Reading

from largefile import CancelledError
from largefile.core.sink import PAUSE, BlockSink
from largefile.engine.digester import AHEAD, Hasher
from largefile.engine.ring import Ring, RingStore

CONTENT = bytes(range(100))


def give(sink, content, chunk):
    """Send what the sink is aimed at, as a driver does; False if it is held."""
    while sink.at < sink.stop:
        piece = content[sink.at : min(sink.at + chunk, sink.stop)]
        if sink(memoryview(piece)) == PAUSE:
            return False
    return True


def deliver(sink, content, sizes):
    """A driver: each chunk again from its begin while the sink is held, maybe cut otherwise."""
    begin = sink.at
    while True:
        for size in sizes:
            chunk = content[begin : begin + size]
            if not chunk:
                return
            while sink(memoryview(chunk)) == PAUSE:
                assert sink.held
                yield
            begin += len(chunk)


@given(
    content=st.binary(max_size=120),
    block_size=st.integers(1, 20),
    window=st.integers(1, 6),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5),
)
def test_a_body_that_runs_into_the_end_of_the_window_goes_on_when_a_block_is_given_back(
    content, block_size, window, sizes
):
    store, sink, found = RingStore(len(content), block_size, window), BlockSink(), []
    lane = store.lane()
    lane.aim(sink, 0, store.num_blocks)
    body = deliver(sink, content, sizes)
    while not store.at_end:
        next(body, None)
        assert store.ready  # it fills the window before it is held
        assert sink.at <= (store.freed + window) * block_size
        with store.take() as block:
            found.append(bytes(block))
    assert b"".join(found) == content
    assert [len(piece) for piece in found[:-1]] == [block_size] * max(0, store.num_blocks - 1)
    assert store.byte_ranges.complete
    lane.release()


@given(order=st.permutations(range(6)), chunk=st.integers(1, 30))
def test_spans_may_land_in_any_order(order, chunk):
    store, content = RingStore(57, 10, 6), CONTENT[:57]
    for block in order:
        lane, sink = store.lane(), BlockSink()
        lane.aim(sink, block, block + 1)
        assert give(sink, content, chunk)
        lane.release()
        assert store.has(block)
    assert b"".join(bytes(store.take()) for _ in range(6)) == content
    assert store.at_end
    assert not store.ready


@pytest.mark.parametrize("read", [0, 1, 3])
def test_a_body_from_byte_0_on_drops_what_is_there_and_what_was_read(read):
    store = RingStore(100, 10, 5)
    first = store.lane(), BlockSink()
    first[0].aim(first[1], 0, 10)
    assert not give(first[1], CONTENT, 33)
    found = [bytes(store.take()) for _ in range(read)]
    first[0].release()  # it was cut
    lane, sink = store.lane(), BlockSink()
    lane.aim(sink, 0, 10)
    for _ in deliver(sink, b"\xee" * (5 * 10) + CONTENT[50:], [7, 40]):
        while store.ready:
            found.append(bytes(store.take()))
    while store.ready:
        found.append(bytes(store.take()))
    assert b"".join(found) == CONTENT  # the five blocks that were there are those of the first body
    lane.release()


def test_a_block_that_was_begun_and_cut_is_filled_anew_in_its_place():
    store = RingStore(100, 10, 2)
    for content in (b"\xee" * 15, CONTENT):
        lane, sink = store.lane(), BlockSink()
        lane.aim(sink, 0 if content[0] else 1, 2)
        sink(memoryview(content[sink.at : 20]))
        lane.release()
    lane, sink = store.lane(), BlockSink()
    lane.aim(sink, 1, 2)
    assert give(sink, CONTENT, 100)
    assert bytes(store.take()) == b"\xee" * 10
    assert bytes(store.take()) == CONTENT[10:20]
    lane.release()


def test_blocks_before_the_first_are_dropped():
    store = RingStore(100, 10, 3, first_block=8)
    lane, sink = store.lane(), BlockSink()
    lane.aim(sink, 0, 10)
    assert give(sink, CONTENT, 64)
    assert [bytes(store.take()), bytes(store.take())] == [CONTENT[80:90], CONTENT[90:]]
    assert store.at_end
    assert store.byte_ranges.count == 2
    lane.release()


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 40, 99])
def test_a_content_of_unknown_size_ends_where_it_ends(size):
    ring, sink, found = Ring(window=2, block_size=10), BlockSink(), b""
    lane = ring.lane()
    lane.aim(sink, 0, 1 << 40)
    for _ in deliver(sink, CONTENT[:size], [1, 13, 40]):
        found += bytes(ring.take())
        assert not ring.at_end  # who knows
    lane.finish(sink)
    while ring.ready:
        found += bytes(ring.take())
    assert found == CONTENT[:size]
    assert ring.at_end
    lane.release()


def test_who_waits_is_woken_by_the_next_block_in_order_and_by_wake():
    store = RingStore(20, 10, 2)
    lane, sink = store.lane(), BlockSink()
    lane.aim(sink, 0, 2)
    reading = Reading(lambda: store.wait(30))
    give(sink, CONTENT, 10)
    reading.result(10)
    store.take(), store.take()
    reading = Reading(lambda: store.wait(30))
    while reading.waits:
        store.wake()
    reading.result(10)
    lane.release()


def test_a_block_that_is_not_there_can_not_be_taken():
    with pytest.raises(ValueError, match="not there yet"):
        RingStore(20, 10, 2).take()


def test_a_closed_ring_has_no_memory_and_knows_its_disorder():
    store = RingStore(20, 10, 2)
    for block in (1, 0):
        lane, sink = store.lane(), BlockSink()
        lane.aim(sink, block, block + 1)
        give(sink, CONTENT, 10)
        lane.release()
    block = store.take()
    assert store.disorder == (1, 1)
    store.close()
    store.close()
    assert store.disorder == (1, 1)
    assert store.buffer.nbytes == 1
    assert not store.ready
    assert bytes(block) == CONTENT[:10]  # what was taken stays


# --- the digest of what was taken --------------------------------------------------------------------


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_what_is_fed_is_hashed_in_order_and_let_go_of(pieces):
    count = threading.Semaphore(0)
    hasher = Hasher("sha256", count.release)
    for number, piece in enumerate(pieces):
        fed = bytearray(piece)
        hasher.feed(number, fed)
        assert count.acquire(timeout=10)
        fed.append(0)  # not exported any more
    for _ in "12":
        assert hasher.result(lambda: None) == hashlib.sha256(b"".join(pieces)).hexdigest()
    hasher.stop()


def test_a_hasher_that_is_stopped_does_not_finish_what_is_fed():
    gate = threading.Event()
    hasher = Hasher("sha256", lambda: gate.wait(30))
    for number in range(AHEAD + 1):  # one is with the thread
        hasher.feed(number, b"x")
    feeding = Reading(lambda: hasher.feed(AHEAD + 1, b"one more"))
    assert feeding.waits  # there is a bound
    stopping = Reading(hasher.stop)
    gate.set()
    stopping.result()
    feeding.result()


def test_what_is_fed_twice_is_hashed_once():
    hasher = Hasher("sha256")
    for number in (0, 0, 1, 0, 1, 2):
        hasher.feed(number, b"abc"[number : number + 1])
    assert hasher.result(lambda: None) == hashlib.sha256(b"abc").hexdigest()


def test_what_ends_the_hashing_is_told_to_who_feeds_and_who_waits():
    def fail():
        raise RuntimeError("no more")

    hasher = Hasher("sha256", fail)
    hasher.feed(0, b"a")
    with pytest.raises(RuntimeError, match="no more"):
        hasher.result(lambda: None)
    with pytest.raises(RuntimeError, match="no more"):
        hasher.feed(1, b"b")
    hasher.stop()


def test_who_waits_for_a_digest_can_be_cancelled():
    gate = threading.Event()
    hasher = Hasher("sha256", lambda: gate.wait(30))
    hasher.feed(0, b"x")

    def check():
        raise CancelledError("enough")

    with pytest.raises(CancelledError):
        hasher.result(check)
    gate.set()
    hasher.stop()
