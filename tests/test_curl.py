"""The curl driver's own parts: heads, outcomes, connections, and whom it trusts."""

from __future__ import annotations

import ssl
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import certifi
import pycurl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from largefile.core.sink import PAUSE, BlockSink
from largefile.events import Answered, Ended, Fetch, Outcome, Response
from largefile.testing.script import Behaviour, Content, pattern
from largefile.testing.server import LoopbackServer
from largefile.wire import curl
from largefile.wire.ca import VARIABLES, choose_ca_file
from largefile.wire.curl import (
    DRAIN_LIMIT,
    OUTCOMES,
    CurlSettings,
    CurlTransport,
    is_framed,
    parse_head,
)

OPEN_FILES = Path("/proc/self/fd")

# --- heads -----------------------------------------------------------------------------------------


def test_a_head_is_its_status_its_fields_and_its_version():
    lines = [b"HTTP/1.1 206 Partial Content\r\n", b'ETag: "a"\r\n', b"CONTENT-RANGE:bytes 0-1/2 \r\n"]
    assert parse_head(lines) == Response(206, {"etag": '"a"', "content-range": "bytes 0-1/2"}, "1.1")


@pytest.mark.parametrize(
    ("line", "status", "version"),
    [
        (b"HTTP/2 200 \r\n", 200, "2"),
        (b"HTTP/1.0 404\r\n", 404, "1.0"),
        (b"HTTP/1.1 200 OK: fine\r\n", 200, "1.1"),
        (b"HTTP/1.1\r\n", 0, "1.1"),
        (b"HTTP/1.1 2x0 OK\r\n", 0, "1.1"),
        (b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n", 0, "1.1"),
        (b"\r\n", 0, ""),
    ],
)
def test_a_status_line_that_is_none_has_status_0(line, status, version):
    assert parse_head([line]) == Response(status, {}, version)


@pytest.mark.parametrize("number", ["1234", "20", "2 0", "9" * 5000, "\u0662\u0660\u0660"])
def test_a_status_of_other_than_three_digits_is_0(number):
    assert parse_head([f"HTTP/1.1 {number} OK\r\n".encode()]).status == 0


def test_a_repeated_field_is_one_with_commas():
    # Two Content-Lengths that differ must not look like one: RFC 9110 section 5.2.
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: 5", b"X: 1", b"content-length: 6"]
    assert parse_head(lines).headers == {"content-length": "5, 6", "x": "1"}


def test_a_line_without_a_colon_is_no_field():
    assert parse_head([b"HTTP/1.1 200 OK", b"garbage\r\n", b" folded\r\n", b"A: b:c\r\n"]).headers == {
        "a": "b:c"
    }


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_no_head_is_too_strange_to_parse(lines):
    found = parse_head(lines)
    assert found.status >= 0
    assert all(name == name.lower() for name in found.headers)


@pytest.mark.parametrize(
    ("response", "framed"),
    [
        (Response(200, {"content-length": "5"}), True),
        (Response(200, {"transfer-encoding": "Chunked"}), True),
        (Response(200, {}), False),
        (Response(200, {"transfer-encoding": "gzip"}), False),
        (Response(200, {}, "1.0"), False),
        (Response(200, {}, "2"), True),
        (Response(204, {}), True),
        (Response(304, {}), True),
    ],
)
def test_a_body_is_framed_if_something_tells_its_end(response, framed):
    assert is_framed(response) is framed


# --- outcomes --------------------------------------------------------------------------------------


class Lane:
    def settle(self, sink):
        pass


@pytest.fixture
def transport():
    made = CurlTransport(CurlSettings(proxy="", connect_timeout=2.0))
    yield made
    made.close()


def ask(transport, url, first=0, last=99, *, admit=True, space=None):
    """One whole transfer: its response, its end, and what landed."""
    fetch, sink = Fetch(first, last, url), BlockSink()
    space = last - first + 1 if space is None else space
    target = bytearray(b"\xee" * space)
    sink.aim(Lane(), 0, space, 64, space)
    sink.place(target, 0, space)
    transport.start(fetch, sink)
    response = None
    while True:
        for event in transport.poll(0.1):
            if isinstance(event, Ended):
                got = sink.received
                sink.release()
                return response, event, bytes(target[:got])
            response = event.response
            (transport.admit if admit else transport.refuse)(fetch)


def outcome(transport, **how):
    with LoopbackServer(Content(1000), behave=lambda request: Behaviour(**how)) as server:
        return ask(transport, server.url)[1].outcome


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, Outcome.DONE),
        ({"chunked": True}, Outcome.DONE),
        ({"status": 404, "body": b"no such thing"}, Outcome.DONE),
        ({"no_length": True}, Outcome.UNFRAMED),
        ({"cut_after": 50}, Outcome.CUT),
        ({"chunked": True, "cut_after": 50}, Outcome.CUT),
        ({"serve": (0, 999)}, Outcome.HALTED),
    ],
    ids=str,
)
def test_how_a_transfer_ended_in_our_words(transport, how, expected):
    assert outcome(transport, **how) is expected


def test_a_reset_is_no_good_end(transport):
    assert outcome(transport, cut_after=50, reset=True) in (Outcome.NETWORK, Outcome.CUT)


def test_a_connection_that_closes_without_an_answer_is_cut(transport):
    with LoopbackServer(b"") as server:
        server.behave = lambda request: server.hang_up()
        response, ended, _ = ask(transport, server.url)
    assert response is None
    assert ended.outcome in (Outcome.CUT, Outcome.NETWORK)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1/", Outcome.CONNECT),
        ("http://nowhere.invalid/", Outcome.RESOLVE),
        ("file:///etc/passwd", Outcome.PROTOCOL),
        ("gopher://127.0.0.1/", Outcome.PROTOCOL),
    ],
)
def test_what_keeps_a_connection_from_being_made(transport, url, expected):
    response, ended, landed = ask(transport, url)
    assert (response, ended.outcome, landed) == (None, expected, b"")
    assert ended.code


def test_tls_to_a_server_without_it_is_no_good_end(transport):
    with LoopbackServer(b"x") as server:
        response, ended, _ = ask(transport, server.url.replace("http:", "https:"))
    assert response is None
    # A server may hang up on a ClientHello, answer it in its own tongue, or wait for the end of a line.
    assert ended.outcome in (Outcome.NETWORK, Outcome.TLS, Outcome.TIMEOUT)


def test_every_outcome_in_the_table_is_ours_and_every_trust_failure_is_tls():
    assert all(isinstance(found, Outcome) for found in OUTCOMES.values())
    trust = {code for code, found in OUTCOMES.items() if found is Outcome.TLS}
    assert pycurl.E_PEER_FAILED_VERIFICATION in trust
    assert pycurl.E_SSL_CONNECT_ERROR not in trust  # a broken handshake may be well next time


# --- connections -----------------------------------------------------------------------------------


def test_one_handle_and_one_connection_serve_many_transfers(transport):
    with LoopbackServer(Content(100_000)) as server:
        for first in range(0, 5000, 1000):
            _, ended, landed = ask(transport, server.url, first, first + 999)
            assert ended.outcome is Outcome.DONE
            assert landed == pattern(first, first + 999)
    assert server.connections == 1
    assert len(transport._idle) == 1
    assert [request.range for request in server.requests] == [(f, f + 999) for f in range(0, 5000, 1000)]


def test_a_range_does_not_stay_with_a_handle(transport):
    with LoopbackServer(b"0123456789") as server:
        ask(transport, server.url, 2, 3)
        sink = BlockSink()
        transport.start(Fetch(None, None, server.url), sink)
        while not transport.poll(0.1):
            pass
        transport.close()
    assert [request.range for request in server.requests] == [(2, 3), None]


def test_a_small_refused_body_is_drained_and_keeps_its_connection(transport):
    with LoopbackServer(Content(DRAIN_LIMIT)) as server:
        _, ended, landed = ask(transport, server.url, 0, DRAIN_LIMIT - 1, admit=False)
        assert (ended.outcome, landed) == (Outcome.REFUSED, b"")
        assert ask(transport, server.url)[1].outcome is Outcome.DONE
    assert server.connections == 1


@pytest.mark.parametrize("how", [{}, {"chunked": True}], ids=str)
def test_a_large_refused_body_closes_its_connection_and_the_transport_goes_on(transport, how):
    size = 50_000_000
    with LoopbackServer(
        Content(size), behave=lambda r: Behaviour(**how) if r.number == 0 else None
    ) as server:
        _, ended, landed = ask(transport, server.url, 0, size - 1, admit=False, space=1)
        assert (ended.outcome, landed) == (Outcome.REFUSED, b"")
        _, ended, landed = ask(transport, server.url, 7, 99)
        assert (ended.outcome, landed) == (Outcome.DONE, pattern(7, 99))
    assert server.connections == 2
    assert server.requests[0].sent < size


def test_interim_answers_and_trailers_are_no_answers(transport):
    with LoopbackServer(b"0123456789") as server:
        server.behave = lambda r: Behaviour(
            reason="OK\r\nX: 1\r\n\r\nHTTP/1.1 206 Partial Content", status=103
        )
        response, ended, landed = ask(transport, server.url, 0, 9)
    assert (response.status, ended.outcome, landed) == (206, Outcome.DONE, b"0123456789")


def test_what_every_request_says(transport):
    with LoopbackServer(Content(1000)) as server:
        fetch, sink = Fetch(1, 2, server.url, (("X-A", "b"), ("Accept-Encoding", "identity"))), BlockSink()
        transport.start(fetch, sink)
        while not transport.poll(0.1):
            pass
        transport.close()
    headers = server.requests[0].headers
    assert (headers["x-a"], headers["range"], headers["accept-encoding"]) == ("b", "bytes=1-2", "identity")
    assert headers["user-agent"].startswith("largefile")


# --- ends ------------------------------------------------------------------------------------------


def begin(transport, url, first, last):
    fetch, sink, target = Fetch(first, last, url), BlockSink(), bytearray(last + 1)
    sink.aim(Lane(), first, last + 1, 64, last + 1)
    sink.place(target, first, last + 1)
    transport.start(fetch, sink)
    return fetch, sink, target


def test_a_halt_from_another_thread_ends_a_body_that_flows(transport):
    with LoopbackServer(Content(10_000_000), rate=1_000_000) as server:
        fetch, sink, _ = begin(transport, server.url, 0, 9_999_999)
        while not transport.poll(0.1):
            pass
        transport.admit(fetch)
        while not sink.at:
            assert transport.poll(0.01) == []
        other = threading.Thread(target=sink.halt)
        other.start()
        other.join()
        while not (events := transport.poll(0.1)):
            pass
    assert [event.outcome for event in events] == [Outcome.HALTED]
    assert 0 < sink.at < 10_000_000


def test_each_of_many_fetches_ends_once_and_only_the_admitted_ones_land(transport):
    ways = {Outcome.DONE: "admit", Outcome.REFUSED: "refuse", Outcome.HALTED: "stop"}
    under_way, ends = {}, {}
    with LoopbackServer(Content(1_000_000)) as server:
        for number in range(24):
            expected = list(ways)[number % 3]
            first = number * 40_000
            fetch, sink, target = begin(transport, server.url, first, first + 39_999)
            under_way[fetch] = expected, sink, target
        while len(ends) < len(under_way):
            for event in transport.poll(0.1):
                expected, _, _ = under_way[event.fetch]
                if isinstance(event, Ended):
                    assert event.fetch not in ends
                    ends[event.fetch] = event.outcome
                else:
                    getattr(transport, ways[expected])(event.fetch)
        assert transport.poll(0.05) == []
    for fetch, (expected, sink, target) in under_way.items():
        sink.release()
        assert ends[fetch] is expected
        landed = expected is Outcome.DONE
        right = pattern(fetch.first, fetch.last) if landed else bytes(40_000)
        assert target == bytes(fetch.first) + right


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="needs the list of this process's descriptors")
def test_after_a_long_round_it_looks_at_one_socket_at_a_time_until_one_is_short(transport, monkeypatch):
    clock, asked = [0.0], []
    rounds = iter([curl.SHORT / 2, 2 * curl.LONG, curl.LONG / 2, curl.SHORT / 2, 1.0])

    def poll(timeout, most):
        asked.append(most)
        return []

    def act(ready):
        clock[0] += next(rounds)

    monkeypatch.setattr(curl, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(transport, "_poller", SimpleNamespace(poll=poll))
    monkeypatch.setattr(transport, "_act", act)
    assert transport.poll(1.0) == []
    assert asked == [1, curl.ALL, 1, 1, curl.ALL]


def test_close_leaves_no_descriptor_whatever_is_under_way():
    with LoopbackServer(Content(1_000_000), rate=100_000) as server:
        CurlTransport().close()  # what is made once in a process is made now
        before = set(OPEN_FILES.iterdir())
        made = CurlTransport(CurlSettings(proxy=""))
        begin(made, server.at("/unanswered"), 0, 9)
        for path in ("/held", "/flowing"):
            fetch, _, _ = begin(made, server.at(path), 0, 999_999)
            while not any(event.fetch is fetch for event in made.poll(0.1)):
                pass
        made.admit(fetch)
        made.poll(0.05)
        made.close()
        made.close()
        made.wake()  # another thread may be late
        server.close()
    # The server's own ends are closed with it, so nothing may be left at all.
    assert set(OPEN_FILES.iterdir()) <= before


# --- without a place -------------------------------------------------------------------------------


class Dole:
    """A lane with one place of at most `sizes` bytes each in turn, free again when `free` says so."""

    def __init__(self, sizes, stop, wake):
        self.sizes, self.stop, self.wake = sizes, stop, wake
        self.place = bytearray(max(sizes))
        self.landed = bytearray()
        self.begun = self.refusals = self.free = 0

    def settle(self, sink):
        begin = len(self.landed)
        if sink.at == self.until:
            self.landed += self.place[: self.until - begin]

    def more(self, sink):
        if not self.free:
            self.refusals += 1
            self.wake()  # as the one who is to free a place waits in the poll
            return False
        self.free -= 1
        self.until = min(sink.at + self.sizes[self.begun % len(self.sizes)], self.stop)
        self.begun += 1
        sink.place(self.place, 0, self.until)
        return True


def dole_out(transport, url, size, sizes, block_size):
    """A body of `size` bytes through a lane that has a new place only after it was held; how it ended."""
    lane, fetch, sink = Dole(sizes, size, transport.wake), Fetch(0, size - 1, url), BlockSink()
    sink.aim(lane, 0, size, block_size, size)
    transport.start(fetch, sink)
    while True:
        for event in transport.poll(1.0):
            if isinstance(event, Ended):
                received = sink.received
                sink.release()
                return event, lane, received
            transport.admit(fetch)
        if sink.held:
            lane.free += 1
            transport.resume(fetch)


@pytest.fixture(scope="module")
def small_content():
    with LoopbackServer(Content(60_000)) as server:
        made = CurlTransport(CurlSettings(proxy=""))
        yield server, made
        made.close()


@settings(deadline=None)  # real transfers
@given(
    st.integers(1, 60_000),
    st.lists(st.integers(1, 5000) | st.integers(16_000, 17_000), min_size=1, max_size=5),
    st.integers(1, 70_000),
)
def test_a_body_lands_once_wherever_it_was_held(small_content, size, sizes, block_size):
    server, transport = small_content
    sizes = [max(at, size // 300 + 1) for at in sizes]
    ended, lane, received = dole_out(transport, server.url, size, sizes, block_size)
    assert ended.outcome is Outcome.DONE
    assert lane.refusals == lane.begun
    assert received == size
    assert lane.landed == pattern(0, size - 1)


@pytest.mark.parametrize("how", [{}, {"chunked": True}], ids=str)
@pytest.mark.parametrize("speed", [0, 30_000_000])
def test_a_large_body_that_is_held_hundreds_of_times_is_whole(transport, how, speed):
    size = 20_000_003
    transport.throttle(speed)
    with LoopbackServer(Content(size), behave=lambda request: Behaviour(**how)) as server:
        ended, lane, received = dole_out(transport, server.url, size, [65_536, 10_007, 100_000], 65_536)
    assert ended.outcome is Outcome.DONE
    assert lane.refusals > 300
    assert received == size
    assert lane.landed == pattern(0, size - 1)


def hold(transport, url, size):
    """A body under way that waits for its second place."""
    lane, fetch, sink = Dole([10_000], size, transport.wake), Fetch(0, size - 1, url), BlockSink()
    sink.aim(lane, 0, size, 10_000, size)
    lane.free = 1
    transport.start(fetch, sink)
    while not sink.held:
        for event in transport.poll(0.1):
            assert isinstance(event, Answered)
            transport.admit(fetch)
    return lane, fetch, sink


@pytest.mark.parametrize("how", [{}, {"cut_after": 50_000}, {"cut_after": 50_000, "reset": True}], ids=str)
def test_a_held_body_costs_no_time_of_the_processor(transport, how):
    with LoopbackServer(Content(5_000_000), behave=lambda request: Behaviour(**how)) as server:
        lane, _, sink = hold(transport, server.url, 5_000_000)
        before, began = time.thread_time(), time.monotonic()
        while time.monotonic() - began < 0.4:
            assert transport.poll(0.4) == []
        # Ten times what it takes; a loop that spins would have had all of it.
        assert time.thread_time() - before < 0.1
        assert (sink.at, sink.held, lane.refusals) == (10_000, True, 1)


def test_what_a_server_did_to_a_held_body_is_told_when_it_goes_on(transport):
    with LoopbackServer(Content(100_000), behave=lambda request: Behaviour(cut_after=60_000)) as server:
        lane, fetch, sink = hold(transport, server.url, 100_000)
        while not server.requests[0].done:
            transport.poll(0.01)
        assert sink.at == 10_000
        lane.free = 100
        transport.resume(fetch)
        while not (events := transport.poll(0.1)):
            pass
    assert [event.outcome for event in events] == [Outcome.CUT]
    assert sink.at == 60_000
    assert lane.landed == pattern(0, 59_999)


def test_a_handle_whose_body_was_stopped_while_it_was_held_serves_again(transport):
    with LoopbackServer(Content(5_000_000)) as server:
        for _ in range(3):
            lane, fetch, sink = hold(transport, server.url, 5_000_000)
            transport.stop(fetch)
            assert [event.outcome for event in transport.poll(0.1)] == [Outcome.HALTED]
            _, ended, landed = ask(transport, server.url, 7, 99)
            assert (ended.outcome, landed) == (Outcome.DONE, pattern(7, 99))
            assert (sink.at, lane.refusals) == (10_000, 1)
    assert len(transport._idle) == 1


def test_a_pause_is_libcurls():
    assert PAUSE == pycurl.WRITEFUNC_PAUSE


# --- trust -----------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    made = {}
    for name in ("mine", *VARIABLES):
        made[name] = tmp_path / name
        made[name].write_text("")
    return made


def test_the_caller_s_choice_of_authorities_goes_first(files):
    environ = {name: str(files[name]) for name in VARIABLES}
    assert choose_ca_file(files["mine"], environ) == str(files["mine"])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_environment_goes_before_the_system_in_its_order(files, count):
    environ = {name: str(files[name]) for name in VARIABLES[-count:]}
    assert choose_ca_file(None, environ) == str(files[VARIABLES[-count]])


def test_a_variable_that_is_empty_is_not_set(files):
    environ = {"SSL_CERT_FILE": "", "CURL_CA_BUNDLE": str(files["CURL_CA_BUNDLE"])}
    assert choose_ca_file(None, environ) == str(files["CURL_CA_BUNDLE"])


def test_the_system_or_certifi_is_the_last_resort(monkeypatch, files):
    assert Path(choose_ca_file(None, {})).is_file()
    monkeypatch.setattr("largefile.wire.ca.SYSTEM_FILES", (str(files["mine"]) + ".gone", str(files["mine"])))
    assert choose_ca_file(None, {}) == str(files["mine"])
    monkeypatch.setattr("largefile.wire.ca.SYSTEM_FILES", ())
    assert choose_ca_file(None, {}) == certifi.where()
    ssl.create_default_context(cafile=certifi.where())


@pytest.mark.parametrize("name", ["ca_file", *VARIABLES])
def test_a_named_file_that_is_not_there_is_never_replaced_in_silence(tmp_path, name):
    gone = str(tmp_path / "gone.pem")
    ca_file, environ = (gone, {}) if name == "ca_file" else (None, {name: gone})
    with pytest.raises(ValueError, match=f"{name}.*gone.pem"):
        choose_ca_file(ca_file, environ)
