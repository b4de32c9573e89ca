"""Who waits for the interpreter is told so, once; who waits for the network or a processor is not."""

from __future__ import annotations

import itertools
import logging
import sys
import threading

import pytest
from server_tools import get, noise

from largefile.testing.server import LoopbackServer
from largefile.wire import contention
from largefile.wire.contention import (
    ENOUGH,
    LATE,
    LOOK,
    Contention,
    Turns,
    interpreter_delay,
    turns_of_this_thread,
)

SWITCH = sys.getswitchinterval()


@pytest.fixture(autouse=True)
def _nothing_was_told(monkeypatch):
    monkeypatch.setattr(contention, "_told", itertools.count())


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.DEBUG, logger="largefile")
    return lambda: [record for record in caplog.records if "isolate=True" in record.getMessage()]


class Looks:
    """A driver that polls eight times between two looks, on a thread that runs and waits as it is told."""

    def __init__(self, told):
        self.delay, self.thread, self.ran, self.queued = SWITCH, 1, 5.0, 7.0
        self.now = 100.0
        self.contention = Contention(self.now, self.turns, lambda: self.delay)
        self.told = told
        self.look(1)  # which has nothing to compare with

    def turns(self):
        return Turns(self.thread, self.ran, self.queued)

    def look(self, times=1, *, idle=0.125, ran=0.125, queued=0.125, delay=SWITCH):
        """So many looks, with these parts of the time between them; the rest of it, the thread is blocked."""
        self.delay = delay
        for _ in range(times * 8):
            self.now += LOOK / 8
            self.ran += ran * LOOK / 8
            self.queued += queued * LOOK / 8
            self.contention.polled(self.now - idle * LOOK / 8, self.now)
        return len(self.told())


@pytest.fixture
def looks(told):
    return Looks(told)


def test_it_is_told_once(looks, told):
    assert looks.look(ENOUGH - 1) == 0
    assert looks.look(1) == 1
    assert looks.look(5 * ENOUGH) == 1
    assert told()[0].levelno == logging.WARNING


def test_it_is_told_once_by_all_threads_together(looks, told):
    looks.look(ENOUGH)
    another = Looks(told)
    assert another.look(ENOUGH) == 1


@pytest.mark.parametrize(
    "how",
    [
        {"idle": 0.75},
        {"ran": 0.75},
        {"queued": 0.75},
        {"idle": 0.25, "ran": 0.25, "queued": 0.25},
        {"idle": 0.0, "ran": 0.0625, "queued": 0.875},
        {"delay": 0.5 * SWITCH},
    ],
    ids=["the network", "work", "a processor", "each of them", "hardly ever", "a disk"],
)
def test_it_is_not_told_where_it_is_not_so(looks, how):
    assert looks.look(5 * ENOUGH, **how) == 0


def test_it_is_told_on_a_busy_machine_too(looks):
    assert looks.look(ENOUGH, idle=0.0, ran=0.0625, queued=0.8125) == 1


def test_good_looks_make_up_for_bad_ones(looks):
    for _ in range(3 * ENOUGH):
        assert looks.look(1) == 0
        assert looks.look(1, idle=0.75) == 0
    assert looks.look(ENOUGH) == 1


def test_a_late_return_or_two_are_enough(looks):
    looks.look(ENOUGH, delay=0.0)
    assert looks.look(LATE - 1) == 0
    assert looks.look(1, delay=0.0) == 0
    assert looks.look(1) == 1


def test_another_thread_is_another_count(looks):
    for looks.thread in range(2, 5 * ENOUGH):
        assert looks.look(1) == 0


def test_a_system_that_does_not_count_is_told_nothing(looks):
    looks.contention = Contention(looks.now, lambda: None)
    assert looks.look(5 * ENOUGH) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the time in the run queue is Linux's to count")
def test_the_kernel_counts():
    before = turns_of_this_thread()
    sum(range(10**6))
    after = turns_of_this_thread()
    assert after.thread == before.thread == threading.get_native_id()
    assert after.ran > before.ran > 0
    assert after.queued >= before.queued


def holding_the_interpreter(over):
    count = 0
    while not over.is_set():
        count += 1


@pytest.fixture
def company():
    over = threading.Event()
    thread = threading.Thread(target=holding_the_interpreter, args=[over])
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.skipif(sys.platform != "linux", reason="the time in the run queue is Linux's to count")
def test_a_thread_that_computes_is_seen(company):
    # Of many trials one at least is late, however busy the machine is with others.
    assert any(interpreter_delay() >= 0.8 * SWITCH for _ in range(200))


def test_a_driver_says_how_long_it_waits(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(Contention, "polled", lambda self, before, now: seen.append(now - before))
    with LoopbackServer(noise(1 << 20)) as server:
        get(server, tmp_path / "x")
    assert seen
    assert all(waited >= 0 for waited in seen)


@pytest.mark.skipif(sys.platform != "linux", reason="the time in the run queue is Linux's to count")
def test_a_download_beside_a_thread_that_computes_is_told(monkeypatch, tmp_path, told, company):
    monkeypatch.setattr(contention, "LOOK", 1e-6)
    monkeypatch.setattr(contention, "ENOUGH", 1)
    monkeypatch.setattr(contention, "LATE", 1)
    with LoopbackServer(noise(8 << 20)) as server:
        for number in range(20):
            get(server, tmp_path / str(number))
            if told():
                break
    assert len(told()) == 1
