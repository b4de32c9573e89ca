"""Blocks leave in their order, whole, and unchanged while somebody looks, in memory of a fixed size."""

from __future__ import annotations

import gc
import hashlib
import os
import queue
import random
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from largefile.core.reorder import Block, ReorderBuffer
from largefile.core.sink import BlockSink

GUARD = 0xEE
MIB = 1 << 20
PATIENCE = 60  # seconds until a wait that should end is called a hang
FIRST_BLOCKS = [0, 1, 7, 2**31, 2**62]


def content_of(block, size):
    return random.Random(block).randbytes(size)


def put(ring, block, size=None):
    """Fill the block's place, with guard bytes behind a short one, and offer it."""
    size = ring.block_size if size is None else size
    place = ring.place(block)
    with memoryview(ring) as memory:
        memory[place : place + ring.block_size] = bytes([GUARD]) * ring.block_size
        memory[place : place + size] = content_of(block, size)
    return ring.offer(block, size)


def take_all(ring):
    return list(iter(ring.take, None))


def filled(window, block_size=4, first_block=0, count=None):
    """A ring with the first `count` blocks offered, the last one first."""
    ring = ReorderBuffer(window, block_size, first_block)
    for block in reversed(range(first_block, first_block + (window if count is None else count))):
        put(ring, block)
    return ring


class RingMachine(RuleBasedStateMachine):
    """Any order of calls, with blocks and views kept and dropped, against a few dicts."""

    @initialize(
        window=st.integers(1, 6), block_size=st.integers(1, 9), first_block=st.sampled_from(FIRST_BLOCKS)
    )
    def begin(self, window, block_size, first_block):
        self.ring = ReorderBuffer(window, block_size, first_block)
        self.window, self.block_size, self.first_block = window, block_size, first_block
        self.head, self.freed = first_block, first_block
        self.places = {}  # block: offset, for those with a place
        self.offered = {}  # block: bytes, until taken
        self.blocks = {}  # number: Block, as long as we keep it
        self.released = set()
        self.views = []  # (number, view, its bytes)
        self.out_of_order = self.max_out_of_order = 0

    def limit(self):
        return self.freed + self.window

    def taken(self):
        return {block for block in self.places if block < self.head}

    def may_have_place(self, block):
        return self.head <= block < self.limit() and block not in self.offered

    @rule(ahead=st.integers(-3, 8))
    def place(self, ahead):
        block = self.head + ahead
        if not self.may_have_place(block):
            with pytest.raises(ValueError, match=f"block {block} "):
                self.ring.place(block)
            return
        place = self.ring.place(block)
        if block in self.places:
            assert place == self.places[block]
        assert place % self.block_size == 0
        assert 0 <= place < self.window * self.block_size
        assert place not in {other for number, other in self.places.items() if number != block}
        self.places[block] = place

    @rule(ahead=st.integers(-3, 8), size=st.integers(-1, 10))
    def offer(self, ahead, size):
        block = self.head + ahead
        good = 1 <= size <= self.block_size and self.may_have_place(block) and block in self.places
        if not good:
            with pytest.raises(ValueError, match=r"block|size"):
                self.ring.offer(block, size)
            return
        data = content_of(block, size)
        with memoryview(self.ring) as memory:
            memory[self.places[block] : self.places[block] + size] = data
        assert self.ring.offer(block, size) is (block == self.head)
        missing = [other for other in range(self.head, block) if other not in self.offered]
        self.offered[block] = data
        self.out_of_order += bool(missing)
        gap = next(other for other in range(self.head, block + 99) if other not in self.offered)
        behind = sum(other > gap for other in self.offered)
        self.max_out_of_order = max(self.max_out_of_order, behind)

    @rule(ahead=st.integers(0, 5))
    def arrive(self, ahead):
        """Both at once, so that runs get far."""
        self.place(ahead)
        self.offer(ahead, self.block_size)

    @rule()
    def take(self):
        block = self.ring.take()
        if self.head not in self.offered:
            assert block is None
            return
        data = self.offered.pop(self.head)
        assert (block.number, block.nbytes, len(block), bytes(block)) == (
            self.head,
            len(data),
            len(data),
            data,
        )
        self.blocks[self.head] = block
        self.views.append((self.head, memoryview(block), data))
        self.head += 1

    @precondition(lambda self: self.blocks)
    @rule(data=st.data(), part=st.booleans())
    def view(self, data, part):
        number = data.draw(st.sampled_from(sorted(self.blocks)))
        block = self.blocks[number]
        if number in self.released:
            with pytest.raises(ValueError, match="released"):
                memoryview(block)
            return
        view = memoryview(block)
        if part:  # the whole is released at once, and the slice counts for it
            view, whole = view[1:], view
            whole.release()
        self.views.append((number, view, bytes(view)))

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def release(self, data):
        number = data.draw(st.sampled_from(sorted(self.blocks)))
        self.blocks[number].release()
        self.released.add(number)
        self.look_for_freed()

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def forget(self, data):
        del self.blocks[data.draw(st.sampled_from(sorted(self.blocks)))]
        self.look_for_freed()

    @precondition(lambda self: self.views)
    @rule(data=st.data(), kindly=st.booleans())
    def drop_view(self, data, kindly):
        _, view, _ = self.views.pop(data.draw(st.integers(0, len(self.views) - 1)))
        if kindly:
            view.release()
        del view
        self.look_for_freed()

    def look_for_freed(self):
        seen = {number for number, _, _ in self.views} | (self.blocks.keys() - self.released)
        for block in self.taken() - seen:
            del self.places[block]
            self.freed += 1

    @invariant()
    def the_numbers_agree(self):
        ring = self.ring
        assert (ring.head, ring.freed, ring.limit) == (self.head, self.freed, self.limit())
        assert ring.held == len(self.taken())
        assert (ring.out_of_order, ring.max_out_of_order) == (self.out_of_order, self.max_out_of_order)
        for block in range(max(0, self.first_block - 2), self.limit() + 2):
            there = self.first_block <= block < self.head or block in self.offered
            assert ring.is_offered(block) is there

    @invariant()
    def no_kept_view_changes(self):
        for _, view, data in self.views:
            assert view == data


TestRingMachine = RingMachine.TestCase
TestRingMachine.settings = settings(stateful_step_count=60)


class OneRing:
    """A lane that fills the ring: a place a block, offered at the block's end."""

    def __init__(self, ring, content_size):
        self.ring, self.content_size = ring, content_size

    def fetch(self, sink, block, content, piece):
        size = self.ring.block_size
        first, stop = block * size, min(block * size + size, self.content_size)
        sink.aim(self, first, stop, size, self.content_size)
        sink.place(self.ring, self.ring.place(block), stop)
        for at in range(first, stop, piece):
            taken = sink(content[at : min(at + piece, stop)])
            assert taken == min(piece, stop - at)
        sink.release()

    def settle(self, sink):
        if sink.at == sink.stop:
            self.ring.offer((sink.at - 1) // self.ring.block_size, sink.at - sink.first)


@given(
    content=st.binary(max_size=120),
    block_size=st.integers(1, 17),
    window=st.integers(1, 7),
    first_block=st.integers(0, 3),
    chance=st.randoms(use_true_random=False),
)
def test_whatever_order_blocks_come_in_the_content_leaves_in_its_own(
    content, block_size, window, first_block, chance
):
    ring, sink = ReorderBuffer(window, block_size, first_block), BlockSink()
    lane = OneRing(ring, len(content))
    missing, kept, out = set(range(first_block, -(-len(content) // block_size))), [], []
    while missing:
        free = [block for block in missing if block < ring.limit]
        if free:
            block = chance.choice(free)
            missing.remove(block)
            lane.fetch(sink, block, content, chance.randint(1, block_size))
        for block in take_all(ring):
            out.append(bytes(block))
            kept.append(memoryview(block)[:])
        while kept and (chance.random() < 0.5 or len(kept) == window):
            kept.pop(chance.randrange(len(kept)))
        block = None
    assert b"".join(out) == content[first_block * block_size :]
    assert ring.take() is None


@given(st.permutations(range(9)), st.integers(1, 9))
def test_disorder_is_counted_once_a_block(arrivals, patience):
    """Whenever blocks are taken, the counts are those of the arrivals."""
    ring = ReorderBuffer(9, 1)
    here, expected, most = set(), 0, 0
    for count, block in enumerate(arrivals, 1):
        put(ring, block)
        expected += not here.issuperset(range(block))
        here.add(block)
        gap = min(set(range(10)) - here)
        most = max(most, sum(other > gap for other in here))
        if count % patience == 0:
            take_all(ring)
    assert (ring.out_of_order, ring.max_out_of_order) == (expected, most)


def test_arrivals_3_1_2_0_are_three_out_of_order():
    ring = ReorderBuffer(4, 1)
    assert [put(ring, block) for block in (3, 1, 2, 0)] == [False, False, False, True]
    assert (ring.out_of_order, ring.max_out_of_order) == (3, 3)


@pytest.mark.parametrize("first_block", FIRST_BLOCKS)
@pytest.mark.parametrize("window", [1, 2, 3, 64])
def test_the_window_moves_on_far_beyond_its_size(window, first_block):
    ring = filled(window, 3, first_block)
    for number in range(first_block, first_block + 5 * window):
        with ring.take() as block:
            assert (block.number, bytes(block)) == (number, content_of(number, 3))
            with pytest.raises(ValueError, match="not within"):
                ring.place(number + window)
        put(ring, number + window)
    assert (ring.freed, ring.held) == (first_block + 5 * window, 0)


@pytest.mark.parametrize("size", [1, 7, 8])
def test_a_short_block_has_its_own_size_and_nothing_of_what_is_behind_it(size):
    ring = ReorderBuffer(1, 8)
    put(ring, 0, size)
    with ring.take() as block, memoryview(block) as view:
        assert (len(block), block.nbytes, view.nbytes, view) == (size, size, size, content_of(0, size))


def test_a_ring_that_is_offered_nothing_gives_nothing():
    ring = ReorderBuffer(3, 8, first_block=5)
    assert ring.take() is None
    assert (ring.head, ring.limit, ring.freed, ring.held) == (5, 8, 5, 0)
    assert [ring.is_offered(block) for block in (-1, 4, 5, 8, 2**70, -(2**70))] == [False] * 6


def test_a_block_that_has_a_place_only_is_not_taken():
    ring = ReorderBuffer(1, 8)
    ring.place(0)
    assert ring.take() is None


@pytest.mark.parametrize("window", [2, 3, 8])
def test_views_kept_for_ever_cost_their_places_and_no_more(window):
    ring = filled(window)
    kept = [(block.number, memoryview(block)) for block in (ring.take() for _ in range(window - 1))]
    for number in range(window - 1, 10 * window):
        with ring.take() as block:
            assert bytes(block) == content_of(number, 4)
        assert ring.limit == ring.freed + window == number + 2
        put(ring, number + 1)
    assert all(view == content_of(number, 4) for number, view in kept)


def test_a_reader_that_keeps_everything_stops_the_stream_and_one_view_less_lets_it_go_on():
    ring = filled(3)
    kept = [memoryview(block) for block in take_all(ring)]
    with pytest.raises(ValueError, match=r"block 3 is not within \[3, 3\)"):
        ring.place(3)
    kept.pop(1)
    put(ring, 3)
    with pytest.raises(ValueError, match=r"block 4 is not within \[3, 4\)"):
        ring.place(4)
    assert kept == [content_of(0, 4), content_of(2, 4)]
    assert bytes(ring.take()) == content_of(3, 4)


def test_places_are_numbered_from_the_start_and_the_last_one_given_back_comes_first():
    ring = filled(3, count=0)
    assert [ring.place(block) for block in (2, 0, 1)] == [0, 4, 8]
    for block in range(3):
        ring.offer(block, 1)
    blocks = take_all(ring)
    blocks[1].release()
    blocks[0].release()
    assert [ring.place(block) for block in (3, 4)] == [4, 8]


class TestBlock:
    def test_hashes_and_files_take_it_as_it_is(self, tmp_path):
        block = filled(1, 100).take()
        assert hashlib.sha256(block).digest() == hashlib.sha256(content_of(0, 100)).digest()
        with (tmp_path / "x").open("w+b") as file:
            assert os.write(file.fileno(), block) == 100
            assert file.write(block) == 100
            file.seek(0)
            assert file.read() == 2 * content_of(0, 100)

    def test_is_read_only(self):
        ring = filled(1)
        block = ring.take()
        sink = BlockSink()
        sink.aim(None, 0, 4, 4, 4)
        with pytest.raises(BufferError, match="read-only"):
            sink.place(block, 0, 4)
        with memoryview(block) as view, pytest.raises(TypeError, match="read-only"):
            view[0] = 1
        block.release()
        assert ring.held == 0  # what was refused is not counted

    def test_release_with_views_waits_for_the_last_of_them(self):
        ring = filled(1)
        block = ring.take()
        first, second = memoryview(block), memoryview(block)[1:]
        block.release()
        block.release()
        with pytest.raises(ValueError, match="released"):
            memoryview(block)
        assert ring.held == 1
        first.release()
        assert (ring.held, second) == (1, content_of(0, 4)[1:])
        del second
        assert (ring.held, ring.freed) == (0, 1)
        block.release()
        del block
        assert (ring.held, ring.freed) == (0, 1)

    def test_the_end_of_a_with_releases_it_also_when_it_raises(self):
        ring = filled(1)
        with pytest.raises(KeyError), ring.take():
            raise KeyError
        assert ring.held == 0

    def test_a_block_that_nobody_keeps_is_given_back(self):
        ring = filled(3)
        for _ in range(3):
            ring.take()
        assert (ring.held, ring.freed) == (0, 3)

    def test_a_block_in_a_cycle_is_given_back_by_the_collector(self):
        ring = filled(1)
        cycle = [memoryview(ring.take())]
        cycle.append(cycle)
        del cycle
        gc.collect()
        assert ring.held == 0

    def test_views_outlive_the_ring(self):
        ring = filled(2)
        block, view = ring.take(), memoryview(ring.take())
        memory = memoryview(ring)
        del ring
        gc.collect()
        assert (bytes(block), view, len(memory)) == (content_of(0, 4), content_of(1, 4), 8)
        block.release()
        with pytest.raises(ValueError, match="released"):
            bytes(block)

    def test_cannot_be_made_by_hand(self):
        with pytest.raises(TypeError, match="take"):
            Block()
        empty = Block.__new__(Block)
        empty.release()
        with pytest.raises(ValueError, match="released"):
            memoryview(empty)

    def test_says_what_it_is(self):
        ring = filled(2, first_block=7)
        assert repr(ring) == "<ReorderBuffer: block 7 is next, 0 of 2 places held>"
        block = ring.take()
        assert (repr(block), str(ring)) == (
            "<Block 7: 4 bytes>",
            "<ReorderBuffer: block 8 is next, 1 of 2 places held>",
        )
        block.release()
        assert repr(block) == "<Block 7: 4 bytes, released>"


class TestWrongArguments:
    @pytest.mark.parametrize("wrong", [0, -1, -(2**70), 2**63, 2**70])
    def test_sizes_that_cannot_be(self, wrong):
        for args in ((wrong, 1), (1, wrong), (1, 1, wrong or -1), (1, 1, 2**62 + 1)):
            with pytest.raises(ValueError, match=r"is -?[0-9]+, needed"):
                ReorderBuffer(*args)

    @pytest.mark.parametrize(
        "sizes", [(2**62, 4), (2**20, 2**44 + 1), (2**63 - 1, 2**63 - 1), (2**63 - 1, 1), (1, 2**62)]
    )
    def test_more_memory_than_there_is(self, sizes):
        with pytest.raises(MemoryError, match="no memory"):
            ReorderBuffer(*sizes)

    def test_a_slot_with_no_place_in_it(self):
        ring = filled(1, count=1)
        with pytest.raises(ValueError, match="empty"):
            ring.take([])
        assert ring.take() is not None  # it was not lost

    @pytest.mark.parametrize("wrong", [1.0, "1", None, b"1"])
    def test_what_is_no_number(self, wrong):
        ring = filled(1, count=0)
        for args in ((wrong, 1), (1, wrong), (1, 1, wrong)):
            with pytest.raises(TypeError):
                ReorderBuffer(*args)
        for call in (ring.place, ring.is_offered, lambda value: ring.offer(0, value)):
            with pytest.raises(TypeError):
                call(wrong)
        assert ring.take() is None

    @pytest.mark.parametrize("size", [0, -1, 5, 2**31, 2**63, -(2**200)])
    def test_a_size_that_does_not_fit_changes_nothing(self, size):
        ring = filled(1, count=0)
        ring.place(0)
        with pytest.raises(ValueError, match=f"size is {size}, needed 1 to 4"):
            ring.offer(0, size)
        assert put(ring, 0)

    @pytest.mark.parametrize("block", [-1, 0, 4, 7, 2**63, -(2**63), 2**64, 2**64 + 6])
    def test_blocks_outside_of_the_window(self, block):
        ring = ReorderBuffer(2, 4, first_block=5)
        for call in (ring.place, lambda block: ring.offer(block, 4)):
            with pytest.raises(ValueError, match=rf"block {block} is not within \[5, 7\)"):
                call(block)

    def test_what_was_offered_or_taken_is_not_offered_again(self):
        ring = filled(2)
        taken = ring.take()
        for block in (0, 1):
            for call in (ring.place, lambda block: ring.offer(block, 4)):
                with pytest.raises(ValueError, match=f"block {block} was offered already"):
                    call(block)
        assert bytes(taken) == content_of(0, 4)

    def test_a_block_without_a_place_is_not_offered(self):
        with pytest.raises(ValueError, match="block 1 was given no place"):
            filled(2, count=1).offer(1, 4)


class Crowd:
    """Threads that fill, take, look and let go, at random; each byte is looked at."""

    def __init__(self, window, block_size, blocks):
        self.ring = ReorderBuffer(window, block_size, first_block=3)
        self.todo, self.stop = iter(range(3, 3 + blocks)), 3 + blocks
        self.moved = threading.Condition()
        self.looking = queue.SimpleQueue()
        self.seen, self.errors = [], []

    def guarded(self, work):
        def run():
            try:
                work()
            except Exception as error:  # noqa: BLE001 - the test's thread raises it
                self.errors.append(error)

        return run

    def wait(self, ready):
        with self.moved:
            assert self.moved.wait_for(lambda: self.errors or ready(), PATIENCE)
            assert not self.errors

    def tell(self):
        with self.moved:
            self.moved.notify_all()

    def produce(self):
        while True:
            with self.moved:
                block = next(self.todo, None)
            if block is None:
                return
            self.wait(lambda block=block: block < self.ring.limit)
            put(self.ring, block, 1 + block % self.ring.block_size)
            self.tell()

    def consume(self):
        while True:
            self.wait(lambda: self.ring.head == self.stop or self.ring.is_offered(self.ring.head))
            block = self.ring.take()
            if block is not None:
                self.seen.append(block.number)
                self.looking.put((block, memoryview(block)))
                block = None
            elif self.ring.head == self.stop:
                return
            self.tell()

    def look(self):
        """Keep a few views at a time, and drop them in a random order and way."""
        chance, kept = random.Random(0), []
        while (found := self.looking.get()) is not None:
            block, view = found
            kept.append((block.number, view))
            if chance.random() < 0.5:
                block.release()
            found = block = view = None
            while kept and (len(kept) > 1 or chance.random() < 0.7):
                number, view = kept.pop(chance.randrange(len(kept)))
                assert view == content_of(number, 1 + number % self.ring.block_size)
                if chance.random() < 0.5:
                    view.release()
                view = None
                self.tell()

    def run(self, producers, consumers, lookers):
        works = [self.produce] * producers + [self.consume] * consumers
        first = [threading.Thread(target=self.guarded(work)) for work in works]
        last = [threading.Thread(target=self.guarded(self.look)) for _ in range(lookers)]
        for thread in first + last:
            thread.start()
        for thread in first:
            thread.join(PATIENCE)
        for _ in last:
            self.looking.put(None)
        for thread in last:
            thread.join(PATIENCE)


@pytest.mark.parametrize("consumers", [1, 3])
@pytest.mark.parametrize("window", [4, 9])
def test_many_threads_at_once_lose_no_block_and_spoil_none(window, consumers):
    crowd = Crowd(window, block_size=64, blocks=1500)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        crowd.run(producers=3, consumers=consumers, lookers=2)
    finally:
        sys.setswitchinterval(interval)
    assert crowd.errors == []
    assert sorted(crowd.seen) == list(range(3, crowd.stop))
    if consumers == 1:
        assert crowd.seen == sorted(crowd.seen)
    gc.collect()
    assert (crowd.ring.held, crowd.ring.freed) == (0, crowd.stop)


def process_memory():
    """Bytes of address space, and bytes in memory, of this process."""
    pages = Path("/proc/self/statm").read_text().split()
    return [int(count) * os.sysconf("SC_PAGESIZE") for count in pages[:2]]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
@pytest.mark.skipif("LARGEFILE_SANITIZED" in os.environ, reason="a sanitizer keeps what is given back")
class TestMemory:
    """The bounds are promises; a few MiB of slack are for the interpreter's own needs."""

    SLACK = 6 * MIB

    def grown(self, before):
        return [now - then for now, then in zip(process_memory(), before, strict=True)]

    def test_is_that_of_the_places_taken_as_used_and_given_back_with_the_last_view(self):
        before = process_memory()
        ring = ReorderBuffer(64, MIB)
        assert ring.nbytes == len(ring) == memoryview(ring).nbytes == 64 * MIB
        space, resident = self.grown(before)
        assert abs(space - 64 * MIB) <= self.SLACK
        assert resident <= self.SLACK
        for block in reversed(range(64)):
            ring.place(block)
            with memoryview(ring) as memory:
                memory[block * MIB : block * MIB + MIB : 4096] = bytes(range(256))
            ring.offer(block, MIB)
        blocks = take_all(ring)
        _, resident = self.grown(before)
        assert abs(resident - 64 * MIB) <= self.SLACK
        view = memoryview(blocks[40])
        for block in blocks:
            block.release()
        del ring, blocks, block
        assert self.grown(before)[0] >= 64 * MIB - self.SLACK
        assert view[::4096] == bytes(range(256))
        view.release()
        assert max(self.grown(before)) <= self.SLACK

    def test_a_reader_that_keeps_up_needs_a_fraction_of_the_window(self):
        before = process_memory()
        ring = ReorderBuffer(64, MIB)
        for number in range(256):
            place = ring.place(number)
            with memoryview(ring) as memory:
                memory[place : place + MIB : 4096] = bytes(range(256))
            ring.offer(number, MIB)
            ring.take().release()
        assert self.grown(before)[1] <= self.SLACK
