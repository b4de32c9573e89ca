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
from largefile.wire.contention import ENOUGH, LOOK, Contention, interpreter_delay, run_queue_wait

LATE = sys.getswitchinterval()


@pytest.fixture(autouse=True)
def _nothing_was_told(monkeypatch):
    monkeypatch.setattr(contention, "_told", itertools.count())


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.DEBUG, logger="largefile")
    return lambda: [record for record in caplog.records if "isolate=True" in record.getMessage()]


class Looks:
    """A driver that polls eight times between two looks."""

    def __init__(self, told):
        self.delay = LATE
        self.now = 100.0
        self.contention = Contention(self.now, lambda: self.delay)
        self.told = told

    def look(self, times=1, *, idle=0.1, delay=LATE):
        self.delay = delay
        for _ in range(times * 8):
            self.now += LOOK / 8
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


@pytest.mark.parametrize("how", [{"delay": 0.5 * LATE}, {"idle": 0.9}, {"delay": 0.0, "idle": 1.0}])
def test_it_is_not_told_where_it_is_not_so(looks, how):
    assert looks.look(5 * ENOUGH, **how) == 0


@pytest.mark.parametrize("how", [{"delay": 0.0}, {"idle": 0.9}])
def test_one_good_look_is_a_new_beginning(looks, how):
    looks.look(ENOUGH - 1)
    looks.look(1, **how)
    assert looks.look(ENOUGH - 1) == 0
    assert looks.look(1) == 1


def test_who_waits_for_the_network_is_not_even_asked(looks):
    def ask():
        raise AssertionError("asked")

    looks.contention = Contention(looks.now, ask)
    looks.look(ENOUGH, idle=0.9)


def test_a_system_that_does_not_count_is_believed_nothing(tmp_path):
    counted, uncounted = tmp_path / "counted", tmp_path / "uncounted"
    counted.write_text("5000 2500000000 3\n")
    uncounted.write_text("0 0 0\n")
    with counted.open("rb") as yes, uncounted.open("rb") as no:
        assert run_queue_wait(yes.fileno()) == 2.5
        assert run_queue_wait(no.fileno()) is None


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
    # Of many looks one at least is late, however busy the machine is with others.
    assert any(interpreter_delay() >= 0.8 * LATE for _ in range(200))


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
    with LoopbackServer(noise(8 << 20)) as server:
        for number in range(20):
            get(server, tmp_path / str(number))
            if told():
                break
    assert len(told()) == 1
