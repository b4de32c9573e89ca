"""Hosts that ask for a pause, or for fewer connections, on real sockets."""

from __future__ import annotations

import logging
import re
import socket
import struct
import threading
import time
from contextlib import contextmanager

import pytest
from server_tools import BLOCK, always, get, noise, on

import largefile
from largefile.errors import DeadlineError, ThrottledError
from largefile.rules.hosts import Host
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer
from largefile.wire.hosts import HOSTS

CONTENT = noise(40 * BLOCK)
#: Seconds for what was on its way when the host spoke.
UNDER_WAY = 0.1


class Pausing:
    """Slow bodies; one request of `path` is told to wait for `seconds`, once, when others are under way."""

    def __init__(self, path, seconds, after=6):
        self.path, self.seconds, self.after = path, seconds, after
        self.told = None
        self.known = None
        self.usual = Behaviour(rate=BLOCK * 10)
        self._lock = threading.Lock()

    def __call__(self, request):
        with self._lock:
            if self.told is None and request.path == self.path and request.number >= self.after:
                self.told = time.monotonic()
                return Behaviour(429, headers={"Retry-After": str(self.seconds)})
        return self.usual

    def early(self, server):
        """Requests in the pause."""
        known = self.known or self.told + UNDER_WAY
        return [r for r in server.requests if known < r.at < self.told + self.seconds]

    def later(self, server):
        return [r for r in server.requests if r.at >= self.told + self.seconds]


def fetched(server, dest, **options):
    """What `get` has put to `dest`."""
    get(server, dest, **options)
    return dest.read_bytes()


def stream_all(url):
    with largefile.stream(url, block_size=BLOCK, window=4 * BLOCK, concurrency=2, proxy="") as source:
        return source.read()


def test_a_pause_that_one_download_is_told_holds_for_all_of_the_process(tmp_path):
    script = Pausing("/a", 1)
    with LoopbackServer(CONTENT, behave=script) as server:
        results = {}

        def run(name, work):
            results[name] = work()

        work = {
            "a": lambda: fetched(server, tmp_path / "a", url=server.at("/a")),
            "b": lambda: fetched(server, tmp_path / "b", url=server.at("/b")),
            "stream": lambda: stream_all(server.at("/c")),
        }
        threads = [threading.Thread(target=run, args=item) for item in work.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30.0)
        assert results == dict.fromkeys(work, CONTENT)
        assert script.early(server) == []
        assert {r.path for r in script.later(server)} == {"/a", "/b", "/c"}


def test_a_flight_that_goes_on_waits_as_well(tmp_path):
    """Answers that end inside of a block are gone on with by the flight itself."""
    script = Pausing("/a", 1)
    script.usual = Behaviour(rate=BLOCK, at_most=BLOCK // 8)
    with LoopbackServer(CONTENT[: 8 * BLOCK], behave=script) as server:
        assert fetched(server, tmp_path / "a", url=server.at("/a")) == CONTENT[: 8 * BLOCK]
        assert script.early(server) == []
        assert script.later(server)


@contextmanager
def closed(server, folder):
    """`server` has asked for a pause of a second: its script, as soon as that is known here."""
    script = server.behave = Pausing("/closing", 1, after=0)
    host = HOSTS.of(server.url)
    waiting = threading.Thread(target=get, args=[server, folder / "c"], kwargs={"url": server.at("/closing")})
    waiting.start()
    while host.opens_at < time.monotonic():
        waiting.join(0.005)
    script.known = time.monotonic()
    yield script
    waiting.join(30.0)


def test_the_first_request_of_another_download_waits_too(tmp_path):
    with LoopbackServer(CONTENT) as server:
        with closed(server, tmp_path) as script:
            get(server, tmp_path / "b")
        assert script.early(server) == []


def test_the_hop_of_a_redirect_waits_for_the_host_that_it_leads_to(tmp_path):
    with LoopbackServer(CONTENT) as target:
        moved = always(status=302, headers={"Location": target.at("/b")})
        with LoopbackServer(CONTENT, behave=moved) as origin, closed(target, tmp_path) as script:
            get(origin, tmp_path / "b")
        assert script.early(target) == []
        assert (tmp_path / "b").read_bytes() == CONTENT


def test_another_host_is_not_held_back(tmp_path):
    script = Pausing("/a", 30, after=0)
    with LoopbackServer(CONTENT, behave=script) as closed, LoopbackServer(CONTENT) as free:
        job = largefile.start_download(closed.at("/a"), tmp_path / "a", proxy="", durable=False)
        while script.told is None:
            time.sleep(0.01)
        began = time.monotonic()
        get(free, tmp_path / "b")
        assert time.monotonic() - began < 20
        job.cancel()
        with pytest.raises(largefile.CancelledError):
            job.result(10.0)


def test_a_pause_beyond_the_deadline_is_not_slept_through(tmp_path):
    behave = always(status=503, headers={"Retry-After": "120"})
    with LoopbackServer(CONTENT, behave=behave) as server:
        began = time.monotonic()
        with pytest.raises(ThrottledError, match=r"wants no request for 1[12]\d s"):
            get(server, tmp_path / "a", deadline=20.0)
        assert time.monotonic() - began < 15
        assert len(server.requests) == 1


def test_a_pause_beyond_the_deadline_in_the_middle_keeps_what_came(tmp_path):
    with LoopbackServer(CONTENT, behave=on(4, status=429, headers={"Retry-After": "120"})) as server:
        began = time.monotonic()
        with pytest.raises(ThrottledError, match="beyond the deadline") as caught:
            get(server, tmp_path / "a", deadline=20.0)
        assert time.monotonic() - began < 15
        assert caught.value.status.cached_or_streamed_bytes > 0


def test_a_deadline_that_is_only_missed_for_other_reasons_says_so(tmp_path):
    with LoopbackServer(CONTENT, behave=always(status=500)) as server, pytest.raises(DeadlineError):
        get(server, tmp_path / "a", deadline=0.3, tries=50)


class Crowded:
    """So many requests at once are served, slowly; the others get what `refusal` is."""

    def __init__(self, most, refusal):
        self.most, self.refusal, self.refused = most, refusal, 0
        self._serving = []
        self._lock = threading.Lock()

    def __call__(self, request):
        # Whoever has the last byte asks again before the server knows that it is done with him.
        while not self._enters(request):
            if time.monotonic() > request.at + 0.05:
                with self._lock:
                    self.refused += 1
                return self.refusal
            time.sleep(0.002)
        return Behaviour(rate=BLOCK * 40)

    def _enters(self, request):
        with self._lock:
            self._serving = [other for other in self._serving if not other.done]
            if len(self._serving) < self.most:
                self._serving.append(request)
            return request in self._serving


@pytest.mark.parametrize("status", [503, 429])
def test_a_host_that_serves_three_at_once_is_found_out_and_remembered(tmp_path, caplog, status):
    script = Crowded(3, Behaviour(status))
    content = noise(200 * BLOCK)
    with LoopbackServer(content, behave=script) as server, caplog.at_level(logging.INFO, "largefile"):
        assert fetched(server, tmp_path / "a", concurrency=8) == content
        assert 1 <= script.refused <= 12
        script.refused = 0
        assert fetched(server, tmp_path / "b", concurrency=8) == content
        assert script.refused <= 1
    said = [record.getMessage() for record in caplog.records if "refuses more" in record.getMessage()]
    # Two, where one of the three had ended before the last refusal was seen; a simulation is exact.
    assert len(said) == 1
    assert re.search(r"serves [23] transfers at once and refuses more", said[0])


#: What a script gives for a request whose connection is reset without a word.
SLAM = Behaviour()


class Slamming(LoopbackServer):
    """Asks its script once for each request, and knows `SLAM`."""

    def __init__(self, content, script):
        super().__init__(content, behave=lambda request: self._decided.pop(request))
        self._script, self._decided = script, {}

    def _respond(self, conn, request):
        self._decided[request] = how = self._script(request)
        if how is SLAM:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        return super()._respond(conn, request)


def test_a_host_that_hangs_up_on_the_fourth_is_found_out_and_remembered(tmp_path):
    script = Crowded(3, SLAM)
    content = noise(200 * BLOCK)
    with Slamming(content, script) as server:
        assert fetched(server, tmp_path / "a", concurrency=8) == content
        assert 1 <= script.refused <= 12
        script.refused = 0
        assert fetched(server, tmp_path / "b", concurrency=8) == content
        assert script.refused <= 1


def test_a_host_that_lets_the_fourth_wait_without_a_word_is_found_out(tmp_path, monkeypatch):
    """It is known by its silences only, so the level may drift up while a trial waits for its timeout."""
    learnt = []
    monkeypatch.setattr(Host, "learn", lambda self, limit, now: learnt.append(limit))
    script = Crowded(3, Behaviour(stall=True))
    content = noise(400 * BLOCK)  # some timeouts long, also where the machine is busy and each takes longer
    with LoopbackServer(content, behave=script) as server:
        assert fetched(server, tmp_path / "a", concurrency=6, timeout=0.5) == content
    assert min(learnt) < 6
    assert script.refused <= 12


def test_a_host_that_resets_by_chance_is_not_left_with_one_connection(tmp_path):
    """Every fifteenth request is reset, whatever the number of transfers."""
    usual = Behaviour(rate=BLOCK * 40)
    with Slamming(noise(300 * BLOCK), lambda r: SLAM if r.number % 15 == 14 else usual) as server:
        assert get(server, tmp_path / "a", concurrency=6).complete
        assert (HOSTS.of(server.url).limit(time.monotonic()) or 6) > 1


def test_a_stream_comes_to_eight_transfers_and_leaves_alone_what_paid_for_files():
    with LoopbackServer(CONTENT, behave=always(rate=5 * BLOCK)) as server:
        host = HOSTS.of(server.url)
        host.concurrency = 12
        with largefile.stream(server.url, block_size=BLOCK, window=len(CONTENT), proxy="") as source:
            assert b"".join(source) == CONTENT
        assert server.connections == 8
        assert host.concurrency == 12


def test_a_file_begins_with_what_has_paid_before(tmp_path):
    with LoopbackServer(CONTENT, behave=always(rate=5 * BLOCK)) as server:
        HOSTS.of(server.url).concurrency = 12
        get(server, tmp_path / "x", concurrency="auto")
        assert server.connections == 12
