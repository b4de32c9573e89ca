"""Whole downloads over a hostile network: the right bytes or a typed error, never a hang."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from largefile.disk.buffers import BufferStore
from largefile.engine.crew import Crew
from largefile.errors import IncompleteError, LargeFileError, NotFoundError, SourceChangedError, StalledError
from largefile.rules.schedule import Scheduler
from largefile.rules.stragglers import Stragglers
from largefile.testing.simulated_server import MOODS, SimulatedServer, content
from largefile.testing.simulated_source import SimulatedSource
from largefile.testing.simulator import SimulatedTransport, VirtualClock

CURABLE = sorted(mood for mood, curable in MOODS.items() if curable)


class Bursts(SimulatedTransport):
    """What comes within half a second comes at once, as behind a callback that took so long."""

    def poll(self, timeout):
        news = [*super().poll(timeout)]
        for _ in range(5 if news else 0):
            news += super().poll(0.1)
        return news


@dataclass
class Download:
    """What became of a simulated download."""

    server: SimulatedServer
    transport: SimulatedTransport
    seconds: float
    buffer: bytearray
    store: BufferStore | None
    scheduler: Scheduler | None
    error: BaseException | None

    @property
    def complete(self):
        return self.store is not None and self.store.byte_ranges.complete

    def wrong_blocks(self):
        """Blocks that are said to be present and do not have the content of the first version."""
        ranges = self.store.byte_ranges if self.store else None
        right = content(self.server.seed, 0, self.server.size)
        return [r for r in (ranges.all_set() if ranges else ()) if self.buffer[r.slice] != right[r.slice]]


def download(
    server,
    *,
    block_size=64,
    seed=0,
    concurrency=4,
    present=(),
    max_chunk=300,
    probe=100,
    driver=SimulatedTransport,
    threads=1,
    **options,
):
    """Run a download of `server` as the engine does, from the probe to the end."""
    clock = VirtualClock()
    transport = driver(server, clock, seed=seed, max_chunk=max_chunk)
    source = SimulatedSource(transport, clock)
    result = Download(server, transport, 0.0, bytearray(b"\xee" * server.size), None, None, None)
    try:
        first = run(
            result, source, transport, clock, block_size, seed, concurrency, present, probe, threads, options
        )
        result.error = first
    except LargeFileError as error:
        result.error = error
    result.seconds = clock()
    return result


def run(result, source, transport, clock, block_size, seed, concurrency, present, probe, threads, options):
    size = result.server.size
    store = result.store = BufferStore(result.buffer, size, block_size=block_size)
    blocks = store.byte_ranges.num_blocks
    for block in present:
        if block < blocks:
            start, stop = block * block_size, min(block * block_size + block_size, size)
            result.buffer[start:stop] = content(result.server.seed, start, stop)
            store.byte_ranges.set_block(block)
    missing = store.byte_ranges.bitmap.find_clear()
    if missing is None:
        return None
    found = source.probe(missing * block_size, min(missing * block_size + probe, size) - 1, lambda: False)
    assert found.identity.size == size
    scheduler = result.scheduler = Scheduler(
        store.byte_ranges.bitmap,
        block_size=block_size,
        content_size=size,
        concurrency=concurrency,
        rng=random.Random(seed),
        **options,
    )
    transports = [transport, *(transport.another(seed + number) for number in range(1, threads))]
    crew = Crew(scheduler, source, store, transports, clock=clock)
    crew.adopt(found.fetch, found.verdict, found.sink)
    if threads == 1:
        crew.run()
    else:
        take_turns(crew, random.Random(seed))
    if store.byte_ranges.complete:
        return None
    return scheduler.error or IncompleteError("blocks are missing")


def take_turns(crew, rng):
    """What the threads of a crew do, on one thread, in an order that chance decides."""
    try:
        crew.turn(crew.pumps[0])
        while crew.turn(rng.choice(crew.pumps), rng.choice([0.0, 0.01, 0.1])):
            pass
        assert not any(crew.turn(pump) for pump in crew.pumps)
        if crew.error is not None:
            raise crew.error
    finally:
        crew.end()


def moods_of(names):
    weights = st.floats(0.05, 1.0)
    return st.dictionaries(st.sampled_from(names), weights, max_size=5).map(lambda bad: {"good": 1.0, **bad})


sizes = st.sampled_from([1, 63, 64, 65, 128]) | st.integers(1, 6000)


@settings(max_examples=1000, deadline=None)
@given(
    size=sizes,
    moods=moods_of(sorted(MOODS)),
    seed=st.integers(0, 10**9),
    concurrency=st.integers(1, 8),
    block_size=st.sampled_from([1 << 20, 64, 100, 1000]),
    max_chunk=st.sampled_from([1, 7, 64, 300, 20_000]),
    present=st.sets(st.integers(0, 90), max_size=30),
    threads=st.integers(1, 3),
)
def test_a_download_ends_with_the_right_bytes_or_a_typed_error(
    size, moods, seed, concurrency, block_size, max_chunk, present, threads
):
    server = SimulatedServer(size, seed, moods, good_first=1)
    if max_chunk < 64 and size > 1000:
        max_chunk = 64
    done = download(
        server,
        block_size=block_size,
        seed=seed,
        concurrency=concurrency,
        max_chunk=max_chunk,
        present=present,
        threads=threads,
    )
    note(f"{done.seconds=} {done.error=!r} {[mood for _, mood in server.requests]}")
    assert done.wrong_blocks() == []
    assert done.complete == (done.error is None)
    assert done.transport.most_in_flight <= concurrency


@settings(max_examples=500, deadline=None)
@given(
    size=sizes,
    moods=moods_of(CURABLE),
    seed=st.integers(0, 10**9),
    concurrency=st.integers(1, 8),
    present=st.sets(st.integers(0, 90), max_size=30),
    threads=st.integers(1, 3),
)
def test_a_server_that_becomes_good_gives_everything(size, moods, seed, concurrency, present, threads):
    server = SimulatedServer(size, seed, moods, good_first=1, good_after=3)
    done = download(server, seed=seed, concurrency=concurrency, present=present, threads=threads)
    note(f"{done.seconds=} {done.error=!r} {[mood for _, mood in server.requests]}")
    assert done.complete
    assert done.wrong_blocks() == []


@settings(deadline=None)
@given(size=sizes, seed=st.integers(0, 10**9), concurrency=st.integers(1, 8))
def test_the_same_seeds_give_the_same_download(size, seed, concurrency):
    moods = {"good": 2.0, "cut": 1.0, "reset": 1.0, "busy": 0.5}
    one, two = (
        download(SimulatedServer(size, seed, moods), seed=seed, concurrency=concurrency) for _ in "12"
    )
    assert (one.seconds, one.buffer) == (two.seconds, two.buffer)
    asked = [[(fetch.first, fetch.last, mood) for fetch, mood in d.server.requests] for d in (one, two)]
    assert asked[0] == asked[1]


@settings(deadline=None)
@given(size=sizes, seed=st.integers(0, 10**9), present=st.sets(st.integers(0, 90)))
def test_a_good_server_is_asked_for_each_missing_byte_once(size, seed, present):
    server = SimulatedServer(size, seed)
    done = download(server, seed=seed, present=present, probe=64)
    asked = sorted(pos for fetch, _ in server.requests for pos in range(fetch.first, fetch.last + 1))
    assert asked == [pos for pos in range(size) if pos // 64 not in present]
    assert done.wrong_blocks() == []


@pytest.mark.parametrize("mood", CURABLE)
def test_every_curable_fault_alone_is_outlived(mood):
    for seed in range(20):
        server = SimulatedServer(5000, seed, {"good": 1.0, mood: 0.5}, good_first=1)
        done = download(server, seed=seed, wait_for_completion=True)
        given_up = mood in {"silent", "stall"} and isinstance(done.error, StalledError)
        assert done.complete or given_up or mood in {"whole", "more"}, (seed, done.error)
        assert done.wrong_blocks() == []


@settings(max_examples=200, deadline=None)
@given(size=sizes, seed=st.integers(0, 10**9), cuts=st.integers(0, 4), present=st.sets(st.integers(0, 90)))
def test_a_server_without_ranges_is_read_whole_and_present_blocks_stay(size, seed, cuts, present):
    server = SimulatedServer(size, seed, {"cut": 1.0}, good_after=cuts, ranges=False)
    done = download(server, seed=seed, present=present)
    assert done.complete
    assert done.wrong_blocks() == []


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(1000, 9000),
    seed=st.integers(0, 10**9),
    concurrency=st.integers(2, 8),
    threads=st.integers(1, 2),
)
def test_whole_answers_that_come_at_once_leave_one_body_and_cost_nothing(size, seed, concurrency, threads):
    server = SimulatedServer(size, seed, {"whole": 1.0}, good_first=1)
    done = download(server, seed=seed, concurrency=concurrency, driver=Bursts, threads=threads)
    note(f"{done.error=!r} {[mood for _, mood in server.requests]}")
    assert done.complete
    assert done.wrong_blocks() == []
    assert done.scheduler.errors == 0  # none of them stalled, and none failed
    assert len(server.requests) <= 1 + concurrency


@settings(max_examples=200, deadline=None)
@given(size=st.integers(2000, 9000), seed=st.integers(0, 10**9), after=st.integers(1, 20))
@example(size=5000, seed=0, after=1)
def test_a_source_that_changes_is_never_mixed(size, seed, after):
    server = SimulatedServer(size, seed, changes_at=after)
    done = download(server, seed=seed)
    assert done.wrong_blocks() == []
    assert done.complete or isinstance(done.error, SourceChangedError)


def test_a_source_that_goes_away_ends_the_download_at_once():
    done = download(SimulatedServer(100_000, 1, {"gone": 1.0}))
    assert isinstance(done.error, NotFoundError)
    assert len(done.server.requests) == 1
    done = download(SimulatedServer(100_000, 1, {"gone": 1.0}, good_first=7), concurrency=4)
    assert isinstance(done.error, NotFoundError)
    assert len(done.server.requests) <= 7 + 4
    assert done.wrong_blocks() == []


def test_a_dead_server_is_left_after_a_few_requests():
    server = SimulatedServer(1_000_000, 3, {"reset": 1.0}, good_first=1)
    done = download(server, seed=3, concurrency=8)
    assert not done.complete
    assert len(server.requests) <= 30


def test_silence_is_noticed_after_the_stall_timeout():
    server = SimulatedServer(5000, 5, {"good": 1.0, "silent": 0.1, "stall": 0.1}, good_first=1)
    done = download(server, seed=5, stall_timeout=20.0)
    assert done.complete
    assert done.seconds < 20 * 25


@pytest.mark.parametrize("threads", [1, 2])
def test_slow_connections_are_left_for_others(monkeypatch, threads):
    def seconds():
        total = 0.0
        for seed in range(20):
            server = SimulatedServer(200_000, seed, {"good": 1.0, "slow": 0.3}, good_first=1, slow_rate=300.0)
            done = download(server, seed=seed, concurrency=8, threads=threads, block_size=500)
            assert done.complete
            assert done.wrong_blocks() == []
            assert done.scheduler.errors == 0
            total += done.seconds
        return total

    hurried = seconds()
    monkeypatch.setattr(Stragglers, "next", lambda self, idle: None)
    assert hurried < seconds() / 3


def test_where_all_are_slow_none_is_made_again():
    server = SimulatedServer(60_000, 1, {"slow": 1.0}, good_first=1, slow_rate=1000.0)
    done = download(server, seed=1, concurrency=4, block_size=500)
    assert done.complete
    assert len(server.requests) < 60


def test_a_server_that_drips_is_as_good_as_silent():
    server = SimulatedServer(50_000, 1, {"slow": 1.0}, good_first=1, slow_rate=2.0)
    done = download(server, seed=1, stall_timeout=20.0, low_speed=1024.0, max_chunk=1)
    assert isinstance(done.error, StalledError)
    assert done.seconds < 3 * 20.0 + 10.0
