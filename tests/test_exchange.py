"""One request by itself: its whole body, or why not; and at the pace of whoever takes it."""

from __future__ import annotations

import threading
import time

import pytest

from largefile.core.sink import BlockSink
from largefile.errors import StalledError
from largefile.events import Answered, Ended, Fetch, Outcome
from largefile.testing.script import Behaviour, Content, pattern
from largefile.testing.server import LoopbackServer
from largefile.wire.curl import CurlSettings, CurlTransport
from largefile.wire.exchange import Receiving, Whole, first_event, receive

SIZE = 200_000


def no_check():
    return None


@pytest.fixture
def transport():
    made = CurlTransport(CurlSettings(proxy=""))
    yield made
    made.close()


class OnePlace:
    """A lane with a place of 1,000 bytes, for as often as `free` says."""

    def __init__(self):
        self.buffer, self.landed, self.free = bytearray(1000), bytearray(), 0

    def settle(self, sink):
        self.landed += self.buffer

    def more(self, sink):
        if self.free:
            self.free -= 1
            sink.place(self.buffer, 0, sink.at + 1000)
            return True
        return False


class Answer:
    """An answered request whose body is held back; `how` the server is told to behave."""

    def __init__(self, transport, lane=None, **how):
        self.transport = transport
        self.server = LoopbackServer(Content(SIZE), behave=lambda request: Behaviour(**how))
        self.lane, self.sink, self.target = lane, BlockSink(), bytearray(SIZE)

    def __enter__(self):
        self.server.start()
        self.fetch = Fetch(0, SIZE - 1, self.server.url)
        self.sink.aim(self.lane or Whole(), 0, SIZE, 1000, SIZE)
        if self.lane is None:
            self.sink.place(self.target, 0, SIZE)
        self.transport.start(self.fetch, self.sink)
        assert isinstance(first_event(self.transport, self.fetch, 5.0, no_check), Answered)
        return self

    def __exit__(self, *exc):
        self.transport.stop(self.fetch)
        self.sink.release()
        self.server.close()

    def receiving(self, timeout=5.0):
        return Receiving(self.transport, self.fetch, self.sink, timeout)


def go_on(receiving, wait=0.05, check=no_check):
    while (ended := receiving.step(wait, check)) is None:
        pass
    return ended


def test_a_whole_body_is_received(transport):
    with Answer(transport) as answer:
        ended = receive(transport, answer.fetch, answer.sink, 5.0, no_check)
        assert (ended.fetch, ended.outcome) == (answer.fetch, Outcome.DONE)
        assert answer.target == pattern(0, SIZE - 1)


def test_a_bad_end_is_an_end(transport):
    with Answer(transport, cut_after=1000) as answer:
        assert receive(transport, answer.fetch, answer.sink, 5.0, no_check).outcome is Outcome.CUT
        assert answer.sink.at == 1000


def test_a_body_that_falls_silent_is_a_stall_and_not_before_its_time(transport):
    with Answer(transport, stall_after=1000) as answer:
        began = time.monotonic()
        with pytest.raises(StalledError, match=r"0\.4 s"):
            receive(transport, answer.fetch, answer.sink, 0.4, no_check)
        assert 0.4 <= time.monotonic() - began < 5.0
        assert answer.sink.at == 1000


def test_a_body_that_trickles_is_no_stall(transport):
    with Answer(transport, rate=SIZE / 1.5) as answer:
        assert receive(transport, answer.fetch, answer.sink, 0.5, no_check).outcome is Outcome.DONE


def test_no_stall_is_counted_while_there_is_no_place(transport):
    with Answer(transport, lane := OnePlace()) as answer:
        receiving, began = answer.receiving(timeout=0.1), time.monotonic()
        while time.monotonic() - began < 0.5:
            assert receiving.step(0.05, no_check) is None
        assert (answer.sink.at, answer.sink.held) == (0, True)
        lane.free = SIZE
        assert go_on(receiving).outcome is Outcome.DONE
        assert lane.landed == pattern(0, SIZE - 1)


def test_no_stall_is_counted_while_nobody_steps(transport):
    with Answer(transport, stall_after=1000) as answer:
        receiving = answer.receiving(timeout=0.3)
        for _ in range(3):
            assert receiving.step(0.01, no_check) is None
            threading.Event().wait(0.4)
        with pytest.raises(StalledError):
            go_on(receiving)


def test_each_step_goes_on_with_a_held_body_as_far_as_there_are_places(transport):
    with Answer(transport, lane := OnePlace()) as answer:
        receiving = answer.receiving()
        while not answer.sink.held:
            assert receiving.step(0.01, no_check) is None
        for count in (1, 2, 5):
            lane.free, before = count, answer.sink.at
            assert receiving.step(0.0, no_check) is None
            assert answer.sink.at == before + 1000 * count
            assert answer.sink.held
        lane.free = SIZE
        assert go_on(receiving).outcome is Outcome.DONE
        assert lane.landed == pattern(0, SIZE - 1)


def test_nothing_comes_before_the_first_step(transport):
    with Answer(transport) as answer:
        receiving = answer.receiving()
        assert not transport.poll(0.1)
        assert answer.sink.at == 0
        assert go_on(receiving).outcome is Outcome.DONE


class Cancelled(Exception):
    """What a check raises."""


def cancel():
    raise Cancelled


def test_what_a_check_raises_ends_a_step_and_the_next_may_go_on(transport):
    with Answer(transport, rate=SIZE) as answer:
        receiving = answer.receiving()
        for _ in range(2):
            with pytest.raises(Cancelled):
                receiving.step(0.1, cancel)
        assert not transport.poll(0.05)
        assert answer.sink.at == 0, "not admitted"
        assert receiving.step(0.1, no_check) is None
        with pytest.raises(Cancelled):
            receive(transport, answer.fetch, answer.sink, 5.0, cancel)
        ended = go_on(receiving)
        assert isinstance(ended, Ended)
        assert ended.outcome is Outcome.DONE
        assert answer.target == pattern(0, SIZE - 1)


def test_a_wake_ends_a_step(transport):
    with Answer(transport, stall_after=0) as answer:
        receiving = answer.receiving(timeout=60.0)
        assert receiving.step(0.0, no_check) is None
        threading.Timer(0.05, transport.wake).start()
        began = time.monotonic()
        assert receiving.step(30.0, no_check) is None
        assert time.monotonic() - began < 10.0


def test_news_of_others_is_none(transport):
    with Answer(transport) as answer, Answer(transport) as other:
        transport.stop(other.fetch)
        assert receive(transport, answer.fetch, answer.sink, 5.0, no_check).fetch is answer.fetch
        assert other.sink.at == 0


def test_without_an_answer_there_is_no_first_event(transport):
    with LoopbackServer(b"x", behave=lambda request: Behaviour(stall=True)) as server:
        fetch, sink = Fetch(0, 0, server.url), BlockSink()
        transport.start(fetch, sink)
        assert first_event(transport, fetch, 0.1, no_check) is None
        with pytest.raises(Cancelled):
            first_event(transport, fetch, 5.0, cancel)
        transport.stop(fetch)
        ended = first_event(transport, fetch, 5.0, no_check)
        assert isinstance(ended, Ended)
        assert ended.outcome is Outcome.HALTED
