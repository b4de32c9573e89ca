"""Streams over a hostile network, on a clock of their own: the right bytes in order, or a typed error."""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from largefile.engine.job import Control
from largefile.engine.options import SessionOptions
from largefile.engine.ring import RingStore
from largefile.engine.session import Session, Shape
from largefile.errors import LargeFileError, SourceChangedError
from largefile.rules.identity import Identity
from largefile.testing.simulated_server import MOODS, SimulatedServer, content
from largefile.testing.simulated_source import SimulatedSource
from largefile.testing.simulator import SimulatedTransport, VirtualClock

CURABLE = sorted(mood for mood, curable in MOODS.items() if curable)
BLOCK = 64


@dataclass
class Reader:
    """Takes blocks in order, some at a time, and lets go of them in any order, some much later."""

    store: RingStore
    rng: random.Random
    greed: float  # how likely it is to take a block that is there
    most_held: int
    found: list[bytes] = field(default_factory=list)
    held: list[object] = field(default_factory=list)

    def move(self):
        """Take some, let go of some."""
        while self.store.ready and self.rng.random() < self.greed:
            block = self.store.take()
            self.found.append(bytes(block))
            self.held.append(block)
        while len(self.held) > self.most_held or (self.held and self.rng.random() < 0.5):
            self.held.pop(self.rng.randrange(len(self.held))).release()


@dataclass
class Outcome:
    """What became of a simulated stream."""

    server: SimulatedServer
    transport: SimulatedTransport
    session: Session | None = None
    reader: Reader | None = None
    error: BaseException | None = None
    beyond: int = 0  # requests for blocks that had no place when they were made

    @property
    def read(self):
        return b"".join(self.reader.found) if self.reader else b""

    @property
    def complete(self):
        return self.reader is not None and self.reader.store.at_end


class Watched(SimulatedTransport):
    """Counts requests that reach beyond the window."""

    outcome: Outcome

    def start(self, fetch, sink, accept=None):
        reader = self.outcome.reader
        if reader is not None and fetch.last is not None:
            limit = reader.store.buffer.limit * BLOCK
            self.outcome.beyond += fetch.last >= max(limit, 1) and fetch.last < self.outcome.server.size - 1
        super().start(fetch, sink, accept)


def stream(server, *, window=4, head=0, seed=0, concurrency=4, max_chunk=300, greed=0.7, hold=1, **options):
    """Stream `server` as the engine does, with the reader's moves between the engine's."""
    clock, rng = VirtualClock(limit=1e7), random.Random(seed)  # the reader may be very slow
    transport = Watched(server, clock, seed=seed, max_chunk=max_chunk)
    source = SimulatedSource(transport, clock)
    outcome = transport.outcome = Outcome(server, transport)
    try:
        first = head * BLOCK
        probe = source.probe(first, min(first + window * BLOCK, server.size) - 1, lambda: None)
        store = RingStore(server.size, BLOCK, window, head)
        outcome.reader = Reader(store, rng, greed, min(hold, window // 2))
        settings = SessionOptions(concurrency=concurrency, clock=clock, seed=seed, **options)
        outcome.session = session = Session(
            source, store, Control(), settings, shape=Shape(window=window, head=head, max_span=8 * BLOCK)
        )
        session.begin(Identity(None, None, server.size), probe=probe)
        turn(session, outcome.reader)
    except LargeFileError as error:
        outcome.error = error
    if outcome.reader is not None:
        outcome.reader.greed = 1.0
        outcome.reader.move()  # what came before the end
    return outcome


def turn(session, reader):
    """The engine's steps, and between them the reader's."""
    with contextlib.closing(Ending(session)):
        more = True
        while more:
            reader.move()
            session.consumed(reader.store.freed)
            more = session.step()


class Ending:
    def __init__(self, session):
        self.close = session.end


def moods_of(names):
    weights = st.floats(0.05, 1.0)
    return st.dictionaries(st.sampled_from(names), weights, max_size=5).map(lambda bad: {"good": 1.0, **bad})


sizes = st.sampled_from([1, 63, 64, 65, 128]) | st.integers(1, 6000)
shapes = {
    "window": st.sampled_from([1, 2, 3, 7, 30]),
    "concurrency": st.integers(1, 8),
    "greed": st.sampled_from([0.05, 0.5, 0.95]),
    "hold": st.integers(0, 3),
}


def right(server, head=0):
    return content(server.seed, head * BLOCK, server.size)


@settings(max_examples=700, deadline=None)
@given(
    size=sizes,
    moods=moods_of(sorted(MOODS)),
    seed=st.integers(0, 10**9),
    max_chunk=st.sampled_from([64, 300, 20_000]),
    at=st.integers(0, 20),
    ranges=st.booleans(),
    **shapes,
)
def test_a_stream_is_right_to_its_end_or_to_a_typed_error(size, moods, seed, max_chunk, at, ranges, **shape):
    server = SimulatedServer(size, seed, moods, good_first=1, ranges=ranges)
    head = min(at, (size - 1) // BLOCK)
    done = stream(server, seed=seed, max_chunk=max_chunk, head=head, **shape)
    note(f"{done.error=!r} {[mood for _, mood in server.requests]}")
    assert done.complete == (done.error is None)
    assert done.read == right(server, head)[: len(done.read)]
    assert len(done.read) == size - head * BLOCK or done.error is not None
    assert done.transport.most_in_flight <= shape["concurrency"]
    assert done.beyond == 0


@settings(max_examples=400, deadline=None)
@given(
    size=sizes,
    moods=moods_of(CURABLE),
    seed=st.integers(0, 10**9),
    ranges=st.booleans(),
    **shapes,
)
def test_a_server_that_becomes_good_gives_all_of_it(size, moods, seed, ranges, **shape):
    server = SimulatedServer(size, seed, moods, good_first=1, good_after=3, ranges=ranges)
    done = stream(server, seed=seed, **shape)
    note(f"{done.error=!r} {[mood for _, mood in server.requests]}")
    assert done.error is None
    assert done.read == right(server)


@settings(max_examples=200, deadline=None)
@given(size=st.integers(2000, 9000), seed=st.integers(0, 10**9), after=st.integers(1, 20), **shapes)
def test_versions_are_never_mixed(size, seed, after, **shape):
    server = SimulatedServer(size, seed, changes_at=after)
    done = stream(server, seed=seed, **shape)
    assert done.read == right(server)[: len(done.read)]
    assert done.complete or isinstance(done.error, SourceChangedError)


@settings(max_examples=200, deadline=None)
@given(size=sizes, seed=st.integers(0, 10**9), **shapes)
def test_a_good_server_is_asked_for_each_byte_once(size, seed, **shape):
    server = SimulatedServer(size, seed)
    done = stream(server, seed=seed, **shape)
    asked = sorted(pos for fetch, _ in server.requests for pos in range(fetch.first, fetch.last + 1))
    assert asked == list(range(size))
    assert done.read == right(server)
    assert done.session.stats().download_errors == 0


@settings(max_examples=100, deadline=None)
@given(size=st.integers(500, 6000), seed=st.integers(0, 10**9), cuts=st.integers(0, 4), **shapes)
def test_a_server_without_ranges_is_held_back_and_begun_again(size, seed, cuts, **shape):
    server = SimulatedServer(size, seed, {"cut": 1.0}, good_first=1, good_after=cuts, ranges=False)
    done = stream(server, seed=seed, **shape)
    assert done.read == right(server)
    assert len(server.requests) <= 1 + cuts + 1


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("greed", [0.05, 0.01])
def test_a_reader_that_is_slower_than_any_timeout_is_no_fault_of_the_server(ranges, greed):
    for seed in range(5):
        server = SimulatedServer(3000, seed, ranges=ranges)
        done = stream(server, seed=seed, greed=greed, window=3, timeout=1.0, hold=0)
        assert done.read == right(server)
        assert done.session.stats().download_errors == 0
        if not ranges:
            assert len(server.requests) == 1
