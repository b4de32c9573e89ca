"""Bytes reach their place once, whatever way the network cuts them, and never one byte beyond it."""

from __future__ import annotations

import errno
import gc
import mmap
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from largefile.core.sink import PAUSE, STEP, BlockSink, drop, prefault

GUARD = 0xEE


class Recorder:
    """A lane over one buffer that notes where it was called."""

    def __init__(self, target, base, stop, piece=None):
        self.target, self.base, self.stop, self.piece = target, base, stop, piece
        self.marks = []

    def place(self, sink):
        until = self.stop if self.piece is None else min(self.stop, sink.at + self.piece)
        sink.place(self.target, self.base + sink.at, until)

    def settle(self, sink):
        self.marks.append(sink.at)
        if sink.at < self.stop and (self.piece is not None and sink.at % self.piece == 0):
            self.place(sink)


def cut(data, points):
    edges = [0, *sorted(p % (len(data) + 1) for p in points), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def aimed(target, lane, first, stop, block_size, content_size):
    sink = BlockSink()
    sink.aim(lane, first, stop, block_size, content_size)
    if first < stop:
        lane.place(sink)
    return sink


@given(
    st.binary(max_size=300),
    st.lists(st.integers(0, 10**6), max_size=8),
    st.integers(1, 70),
    st.integers(0, 9),
)
def test_chunking_does_not_change_what_lands(data, points, block_size, pad):
    target = bytearray([GUARD]) * (len(data) + 2 * pad)
    lane = Recorder(target, pad, len(data))
    sink = aimed(target, lane, 0, len(data), block_size, len(data))
    for chunk in cut(data, points):
        assert sink(memoryview(chunk)) == len(chunk)
    assert sink.at == sink.settled == len(data)
    assert sink(b"!") == 0
    assert sink.overrun
    assert target[pad : pad + len(data)] == data
    assert target[:pad] + target[pad + len(data) :] == bytes([GUARD]) * 2 * pad


@given(st.integers(1, 200), st.integers(1, 40), st.lists(st.integers(0, 10**6), max_size=6))
def test_every_block_end_is_a_mark_and_settled_follows(size, block_size, points):
    target = bytearray(size)
    lane = Recorder(target, 0, size)
    sink = aimed(target, lane, 0, size, block_size, size)
    taken = 0
    for chunk in cut(bytes(size), points):
        sink(chunk)
        taken += len(chunk)
        assert sink.settled == (size if taken == size else taken - taken % block_size)
    assert lane.marks == [*range(block_size, size, block_size), size]


def test_a_large_block_is_settled_in_steps():
    size = 2 * STEP + 10
    target = bytearray(size)
    lane = Recorder(target, 0, size)
    sink = aimed(target, lane, 0, size, size, size)
    sink(bytes(size))
    assert lane.marks == [STEP, 2 * STEP, size]


@given(st.integers(1, 100), st.integers(0, 120), st.integers(1, 30))
def test_a_limit_is_never_passed_and_the_bytes_before_it_are_kept(size, sent, limit):
    limit = min(limit, size)
    target = bytearray([GUARD]) * size
    lane = Recorder(target, 0, size)
    sink = aimed(target, lane, 0, size, 7, size)
    sink.limit = limit
    answer = sink(bytes(sent))
    assert answer == (sent if sent <= limit else 0)
    assert sink.at == min(sent, limit)
    assert sink.overrun == (sent > limit)
    assert target == bytes(sink.at) + bytes([GUARD]) * (size - sink.at)


@given(st.integers(1, 60), st.integers(1, 16), st.integers(0, 60), st.integers(0, 60))
def test_shorten_keeps_the_block_in_progress(size, block_size, taken, stop):
    taken = min(taken, size)
    target = bytearray(size)
    lane = Recorder(target, 0, size)
    sink = aimed(target, lane, 0, size, block_size, size)
    sink(bytes(taken))
    in_progress = min(size, -(-taken // block_size) * block_size)
    assert sink.shorten(stop) == min(size, max(stop, in_progress))
    sink(bytes(size))
    assert sink.at == sink.stop


def test_shorten_knows_the_end_of_a_block_that_ends_beyond_64_bits():
    sink = BlockSink()
    sink.aim(object(), 2**62 + 5, 2**63 - 1, 2**62, 2**63 - 1)
    assert sink.shorten(0) == 2**63 - 1


def test_a_sink_that_was_never_aimed_has_room_for_nothing():
    sink = BlockSink()
    assert (sink.shorten(5), sink(b"x"), sink.room()) == (0, 0, None)


def test_dropped_bytes_are_counted_and_not_written():
    target = bytearray([GUARD]) * 12

    class SkipSecond:
        def settle(self, sink):
            if sink.at == 4:
                sink.place(None, 0, 8)
            elif sink.at == 8:
                sink.place(target, 8, 12)

    sink = BlockSink()
    sink.aim(SkipSecond(), 0, 12, 4, 12)
    sink.place(target, 0, 4)
    assert sink(bytes(range(12))) == 12
    assert target == bytes([0, 1, 2, 3]) + bytes([GUARD]) * 4 + bytes([8, 9, 10, 11])
    assert sink.received == 12


def test_halt_from_another_thread_ends_the_transfer_until_the_next_aim():
    target = bytearray(8)
    lane = Recorder(target, 0, 8)
    sink = aimed(target, lane, 0, 8, 4, 8)
    assert sink(b"ab") == 2
    thread = threading.Thread(target=sink.halt)
    thread.start()
    thread.join()
    assert sink(b"cd") == 0
    assert sink.halted
    assert sink.at == 2
    sink.aim(lane, 0, 8, 4, 8)
    lane.place(sink)
    assert sink(b"ab") == 2


@pytest.mark.parametrize("raised", [OSError(5, "x"), KeyboardInterrupt(), ZeroDivisionError()])
def test_what_a_lane_raises_is_kept_and_ends_the_transfer(raised):
    class Broken:
        def settle(self, sink):
            raise raised

    sink = BlockSink()
    sink.aim(Broken(), 0, 8, 4, 8)
    sink.place(bytearray(8), 0, 8)
    assert sink(b"abcd") == 0
    assert sink.error is raised
    assert sink.settled == 0, "a block that was not settled is not reported"
    assert sink(b"e") == 0


def test_a_lane_that_places_nothing_ends_the_transfer_without_a_write():
    class Lazy:
        def settle(self, sink):
            pass

    target = bytearray([GUARD]) * 8
    sink = BlockSink()
    sink.aim(Lazy(), 0, 8, 4, 8)
    sink.place(target, 0, 4)
    assert sink(b"abcdef") == 0
    assert target == b"abcd" + bytes([GUARD]) * 4


# --- without a place -----------------------------------------------------------------------------------


class Doled(Recorder):
    """A lane that has a place of `piece` bytes only when `grants` says so, each time that it is asked."""

    def __init__(self, target, stop, piece, grants=(), also_in_settle=False):
        super().__init__(target, 0, stop, piece)
        self.grants = list(grants)
        self.also_in_settle = also_in_settle
        self.asked = []

    def has_one(self):
        return not self.grants or self.grants.pop()

    def settle(self, sink):
        self.marks.append(sink.at)
        if self.also_in_settle and sink.at < self.stop and sink.at % self.piece == 0 and self.has_one():
            self.place(sink)

    def more(self, sink):
        self.asked.append(sink.at)
        assert sink.held, "who frees a place now must find this transfer"
        if self.has_one():
            self.place(sink)
            return True
        return False


@given(
    st.binary(min_size=1, max_size=300),
    st.integers(1, 70),
    st.integers(1, 70),
    st.lists(st.booleans(), max_size=30),
    st.booleans(),
    st.lists(st.integers(1, 90), min_size=1, max_size=20),
)
def test_a_chunk_that_is_delivered_again_and_cut_anew_lands_once(
    data, block_size, piece, grants, also_in_settle, sizes
):
    target = bytearray([GUARD]) * len(data)
    lane = Doled(target, len(data), piece, grants, also_in_settle)
    sink = BlockSink()
    sink.aim(lane, 0, len(data), block_size, len(data))
    sent = turn = 0
    while sent < len(data):
        chunk = data[sent : sent + sizes[turn % len(sizes)]]
        turn += 1
        before, answer = sink.at, sink(memoryview(chunk))
        assert sink.held == (answer == PAUSE)
        assert target == data[: sink.at] + bytes([GUARD]) * (len(data) - sink.at)
        if answer == PAUSE:
            assert before <= sink.at < sent + len(chunk)
        else:
            assert answer == len(chunk)
            sent += answer
            assert sink.at == max(before, sent)
    assert sink.at == sink.settled == sink.received == len(data)
    ends = {*range(block_size, len(data), block_size), *range(piece, len(data), piece), len(data)}
    assert lane.marks == sorted(ends)
    assert sink(b"!") == 0
    assert sink.overrun


def held_sink(lane=None, size=12):
    """A sink that has taken six of its twelve bytes, two of them of a chunk of four."""
    lane = lane or Doled(bytearray(size), size, 6, [False, True])
    sink = BlockSink()
    sink.aim(lane, 0, size, 4, size)
    assert sink(b"abcd") == 4
    assert sink(b"efgh") == PAUSE
    assert (sink.held, sink.at, sink.error) == (True, 6, None)
    return lane, sink


def test_a_place_is_asked_for_when_a_byte_is_there_for_it_and_not_before():
    lane, sink = held_sink()
    assert lane.asked == [0, 6]
    lane.grants = []
    assert sink(b"efghij") == 6
    assert lane.asked == [0, 6, 6]
    assert sink(b"kl") == 2
    assert lane.asked == [0, 6, 6]
    assert lane.target == b"abcdefghijkl"


def test_a_chunk_that_comes_again_in_pieces_is_known_byte_by_byte():
    lane, sink = held_sink()
    lane.grants = [False]
    assert sink(b"e") == 1
    assert not sink.held
    assert sink(b"f") == 1
    assert sink(b"gh") == PAUSE
    assert sink(b"ghijkl") == 6
    assert lane.target == b"abcdefghijkl"


def test_neither_a_limit_nor_the_end_is_asked_beyond():
    for limit in (6, 12):
        lane = Doled(bytearray(12), 12, 6)
        sink = BlockSink()
        sink.aim(lane, 0, 12, 4, 12)
        sink.limit = limit
        assert sink(bytes(limit)) == limit
        asked = list(lane.asked)
        assert sink(b"!") == 0
        assert sink.overrun
        assert not sink.held
        assert lane.asked == asked


def test_a_halt_ends_a_held_transfer_when_its_chunk_comes_again():
    lane, sink = held_sink()
    sink.halt()
    assert sink(b"efgh") == 0
    assert sink.at == 6
    assert lane.asked == [0, 6]


def test_a_held_sink_that_is_shortened_to_where_it_is_takes_no_more():
    lane = Doled(bytearray(12), 12, 4, [False, True])
    sink = BlockSink()
    sink.aim(lane, 0, 12, 4, 12)
    assert sink(b"abcdef") == PAUSE
    assert sink.shorten(4) == 4
    assert sink(b"abcdef") == 0
    assert sink.overrun
    assert sink.settled == 4


def test_an_aim_forgets_what_was_held():
    lane, sink = held_sink()
    lane.grants = []
    sink.aim(lane, 0, 12, 4, 12)
    assert not sink.held
    assert sink(b"ABCDEFGHIJKL") == 12
    assert lane.target == b"ABCDEFGHIJKL"


@pytest.mark.parametrize("raised", [OSError(5, "x"), KeyboardInterrupt(), ZeroDivisionError()])
@pytest.mark.parametrize("placed_first", [False, True])
def test_what_a_lane_raises_when_it_is_asked_is_kept_and_ends_the_transfer(raised, placed_first):
    class Broken(Recorder):
        def more(self, sink):
            if placed_first:
                self.place(sink)
            raise raised

    target = bytearray([GUARD]) * 8
    sink = BlockSink()
    sink.aim(Broken(target, 0, 8), 0, 8, 4, 8)
    assert sink(b"abcd") == 0
    assert sink.error is raised
    assert not sink.held
    assert sink(b"abcd") == 0
    assert target == bytes([GUARD]) * 8


def test_a_lane_that_says_that_it_has_placed_and_has_not_ends_the_transfer():
    class Liar(Recorder):
        asked = 0

        def more(self, sink):
            self.asked += 1
            return True

    sink, lane = BlockSink(), Liar(None, 0, 8)
    sink.aim(lane, 0, 8, 4, 8)
    assert sink(b"abcd") == 0
    assert lane.asked == 1
    assert (sink.held, sink.at, sink.overrun) == (False, 0, False)


def test_whether_a_lane_can_be_asked_is_looked_up_at_aim():
    lane = Recorder(bytearray(8), 0, 8)
    sink = BlockSink()
    sink.aim(lane, 0, 8, 4, 8)
    lane.more = lambda sink: False
    assert sink(b"abcd") == 0
    sink.aim(lane, 0, 8, 4, 8)
    del lane.more
    assert sink(b"abcd") == PAUSE


def test_a_reader_with_a_view_of_the_place_finds_no_room_where_it_is_full(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(8192))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 8192) as mapped:

        class Halves(Recorder):
            def more(self, sink):
                sink.place(mapped, sink.at, sink.at + 4096, populate=True)
                return True

        sink = BlockSink()
        sink.aim(Halves(mapped, 0, 4096), 0, 8192, 4096, 8192)
        assert sink.room() is None
        assert sink(b"a") == 1
        with sink.room() as room:
            assert len(room) == 4095
        assert sink.advance(4095)
        assert sink.room() is None
        assert sink(b"b") == 1
        sink.release()
        assert mapped[0:1] + mapped[4096:4097] == b"ab"


@pytest.mark.parametrize(
    ("first", "stop", "block_size", "content_size"),
    [(-1, 4, 4, 8), (4, 3, 4, 8), (0, 9, 4, 8), (0, 8, 0, 8)],
)
def test_an_impossible_aim_is_refused(first, stop, block_size, content_size):
    with pytest.raises(ValueError, match=r"outside|at least 1"):
        BlockSink().aim(None, first, stop, block_size, content_size)


@pytest.mark.parametrize(("offset", "until"), [(0, 9), (1, 8), (-1, 4), (9, 4), (0, 0)])
def test_an_impossible_place_is_refused(offset, until):
    sink = BlockSink()
    sink.aim(None, 0, 8, 4, 8)
    with pytest.raises(ValueError, match=r"not within|do not fit"):
        sink.place(bytearray(8), offset, until)


def test_positions_beyond_four_gibibytes():
    base, size = 2**62, 100
    target = bytearray(size)

    class Far:
        def settle(self, sink):
            pass

    sink = BlockSink()
    sink.aim(Far(), base, base + size, 10, 2**63 - 1)
    sink.place(target, 0, base + size)
    assert sink(bytes(range(100))) == 100
    assert sink.at == base + size
    assert target == bytes(range(100))


def test_a_map_is_populated_filled_and_kept_through_drop(tmp_path):
    size = 3 << 20
    path = tmp_path / "data"
    path.write_bytes(bytes(size))
    data = bytes(range(256)) * (size // 256)

    class Dropping:
        def settle(self, sink):
            drop(mapped, 0, sink.at)

    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as mapped:
        assert prefault(mapped, 0, size) in (0, errno.EINVAL)
        sink = BlockSink()
        sink.aim(Dropping(), 0, size, 1 << 20, size)
        sink.place(mapped, 0, size, populate=True)
        for start in range(0, size, 16384):
            assert sink(data[start : start + 16384]) == 16384
        sink.release()
        assert sink.error is None
        assert mapped[:] == data
    assert path.read_bytes() == data


def test_prefault_reports_what_a_store_would_have_died_of(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(8192))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 8192) as mapped:
        if prefault(mapped, 0, 4096) == errno.EINVAL:
            pytest.skip("this kernel has no MADV_POPULATE_WRITE")
        file.truncate(0)  # pages beyond the end: a store would raise SIGBUS
        assert prefault(mapped, 0, 8192) == errno.EFAULT
        sink = BlockSink()
        sink.aim(None, 0, 8192, 4096, 8192)
        sink.place(mapped, 0, 8192, populate=True)
        assert sink(b"x") == 0
        assert isinstance(sink.error, OSError)
        assert sink.error.errno == errno.EFAULT
        sink.release()


def test_an_abandoned_readers_late_store_does_not_reach_the_file(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"." * 8192)

    class Lane:
        def settle(self, sink):
            pass

    with path.open("r+b") as file, mmap.mmap(file.fileno(), 8192) as mapped:
        sink = BlockSink()
        sink.aim(Lane(), 0, 8192, 8192, 8192)
        sink.place(mapped, 0, 8192, populate=True)
        room = sink.room()
        assert len(room) == 8192
        room[:4] = b"good"
        assert sink.advance(4)
        late = sink.room()
        sink.revoke()
        late[:4] = b"late"
        assert sink.room() is None
        assert sink(b"more") == 0
        sink.release()
        room.release()
        late.release()
    assert path.read_bytes() == b"good" + b"." * 8188


def test_room_is_only_for_maps_of_files():
    sink = BlockSink()
    sink.aim(None, 0, 8, 4, 8)
    sink.place(bytearray(8), 0, 8)
    assert sink.room() is None
    with pytest.raises(ValueError, match="not given room"):
        sink.advance(9)


def test_a_collected_cycle_of_sink_and_lane_releases_the_buffer():
    class Lane:
        def __init__(self):
            self.buffer = bytearray(8)
            self.sink = BlockSink()
            self.sink.aim(self, 0, 8, 4, 8)
            self.sink.place(self.buffer, 0, 8)

        def settle(self, sink):
            pass

    lane = Lane()
    buffer = lane.buffer
    del lane
    gc.collect()
    buffer.append(0)  # a held buffer can not grow
    assert len(buffer) == 9
    # When the cycle owns the buffer too, nobody may free it under the view.
    Lane()
    gc.collect()
