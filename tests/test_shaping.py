"""The shaped server and the far proxy do what they say; what is measured with them is worth no more."""

from __future__ import annotations

import http.client
import itertools
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import nothing_left_behind, until

import largefile
from largefile.testing.buckets import SAVED, Bucket, piece_of
from largefile.testing.script import pattern
from largefile.testing.shaping import DelayingProxy, ShapedServer

KIB, MIB = 1 << 10, 1 << 20


def ask(conn, first, last):
    """One ranged GET on an open connection; status and body."""
    conn.request("GET", "/x", headers={"Range": f"bytes={first}-{last}"})
    response = conn.getresponse()
    return response.status, response.read()


def connect(port):
    return http.client.HTTPConnection("127.0.0.1", port, timeout=30)


def timed(*works):
    """Seconds that it takes to do these, at once."""
    threads = [threading.Thread(target=work) for work in works]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


def fetching(port, pieces, size):
    """Work: `pieces` requests of `size` bytes each, one after the other on one connection."""

    def work():
        conn = connect(port)
        for number in range(pieces):
            assert len(ask(conn, number * size, (number + 1) * size - 1)[1]) == size
        conn.close()

    return work


# --- the limits ----------------------------------------------------------------------------------


@given(
    st.floats(1e3, 1e9),
    st.lists(st.tuples(st.floats(0, 10), st.integers(1, MIB)), min_size=1, max_size=40),
)
def test_a_bucket_keeps_its_rate_over_every_time_span_but_for_what_a_rest_saves(rate, script):
    bucket, now, done = Bucket(rate, now=0.0), 0.0, []
    for rest, size in script:
        now += rest
        now = max(now, bucket.book(size, now))  # as `take` does: it goes on when it is due
        done.append((now, size))
    for one, other in itertools.combinations(range(len(done)), 2):
        sent = sum(size for _, size in done[one + 1 : other + 1])
        assert sent <= rate * (done[other][0] - done[one][0] + SAVED) * (1 + 1e-9) + 1e-3


@given(st.floats(1e3, 1e9), st.lists(st.integers(1, MIB), min_size=1, max_size=40))
def test_a_bucket_that_is_always_in_use_gives_all_of_its_rate(rate, sizes):
    bucket, now = Bucket(rate, now=0.0), 0.0
    for size in sizes:
        now = bucket.book(size, now)
    assert now == pytest.approx(sum(sizes) / rate)


@given(st.none() | st.floats(1, 1e12))
def test_a_piece_is_neither_a_crumb_nor_longer_than_the_tile_allows(rate):
    assert KIB <= piece_of(rate) <= 256 * KIB


def test_a_connection_keeps_its_rate_over_all_its_requests():
    # 80 requests of 25 KB: were each given its own allowance, they would be far too fast.
    with ShapedServer(10 * MIB, rate=2e6) as server:
        seconds = timed(fetching(server.port, 80, 25_000))
    assert seconds >= 1.0 - 2 * SAVED, "only too fast is wrong"
    assert seconds < 5, "the server itself is slow, and so is what it measures"


def test_each_connection_has_a_rate_of_its_own():
    with ShapedServer(10 * MIB, rate=1e6) as server:
        alone = timed(fetching(server.port, 1, 500_000))
        together = timed(*[fetching(server.port, 1, 500_000) for _ in range(4)])
    assert alone >= 0.5 - SAVED
    assert 0.5 - SAVED <= together < 4 * alone, "they were held together"


def test_a_total_holds_over_all_connections():
    with ShapedServer(10 * MIB, rate=10e6, total=2e6) as server:
        seconds = timed(*[fetching(server.port, 2, 250_000) for _ in range(4)])
    assert 1.0 - 2 * SAVED <= seconds < 5


@pytest.mark.parametrize("limits", [{"rate": 0}, {"rate": -1.0}, {"total": 0.0}, {"total": float("nan")}])
def test_a_limit_of_nothing_is_refused(limits):
    with pytest.raises(ValueError, match="above 0"):
        ShapedServer(1, **limits)


# --- the server ----------------------------------------------------------------------------------


def contents(tmp_path):
    path = tmp_path / "content"
    path.write_bytes(random.Random(9).randbytes(MIB + 17))
    data = path.read_bytes()
    yield path, MIB + 17, lambda first, last: data[first : last + 1]
    yield 10**12 + 3, 10**12 + 3, pattern


def test_every_range_has_its_bytes(tmp_path):
    rng = random.Random(4)
    for content, size, read in contents(tmp_path):
        with ShapedServer(content) as server:
            conn, asked = connect(server.port), 0
            for longest in (1, 100, 70_000, 600_000):
                for _ in range(5):
                    first = rng.randrange(size)
                    last = min(size - 1, first + rng.randrange(longest))
                    assert ask(conn, first, last) == (206, read(first, last))
                    asked += last - first + 1
            assert ask(conn, size - 5, size + 100)[1] == read(size - 5, size - 1)
            assert ask(conn, size, size) == (416, b"")
            conn.close()
            # One connection carried all of it.
            assert server.counts() == {"connections": 1, "requests": 22, "sent": asked + 5}


def test_without_a_range_everything_comes(tmp_path):
    for content, size, read in contents(tmp_path):
        if size < 10 * MIB:
            with ShapedServer(content) as server:
                conn = connect(server.port)
                conn.request("GET", "/")
                response = conn.getresponse()
                assert (response.status, response.read()) == (200, read(0, size - 1))
                conn.close()


def test_a_download_from_it_is_right(tmp_path):
    with ShapedServer(3 * MIB + 5, rate=20e6) as server:
        largefile.download(server.url, tmp_path / "x", block_size=64 * KIB, concurrency=4, proxy="")
        # The probe tells the size, and makes room for the others.
        assert 1 < server.counts()["connections"] <= 4
        assert server.counts()["sent"] == 3 * MIB + 5
    assert (tmp_path / "x").read_bytes() == pattern(0, 3 * MIB + 4)


# --- the proxy -----------------------------------------------------------------------------------


def seconds_of(conn):
    began = time.monotonic()
    assert ask(conn, 0, 9) == (206, pattern(0, 9))
    return time.monotonic() - began


@pytest.mark.parametrize(("handshake", "trips"), [(False, 1), (True, 2)])
def test_a_request_takes_a_round_trip_and_a_connection_one_more_if_it_is_counted(handshake, trips):
    with ShapedServer(MIB) as server, DelayingProxy(server.port, 0.1, handshake=handshake) as far:
        conn = connect(far.port)
        assert seconds_of(conn) >= trips * 0.2
        assert seconds_of(conn) >= 0.2
        conn.close()


def test_the_way_is_long_and_not_narrow():
    with ShapedServer(100 * MIB) as server, DelayingProxy(server.port, 0.1) as far:
        conn = connect(far.port)
        began = time.monotonic()
        assert len(ask(conn, 0, 48 * MIB - 1)[1]) == 48 * MIB
        # Piece for piece, each acknowledged before the next, it would be 38 s.
        assert 0.2 <= time.monotonic() - began < 10
        conn.close()


def test_both_ends_of_a_connection_are_passed_on_after_what_was_sent_before():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with DelayingProxy(listener.getsockname()[1], 0.02) as far:
            with socket.create_connection(("127.0.0.1", far.port), 10) as here, listener.accept()[0] as there:
                there.settimeout(10)
                here.sendall(b"to there")
                here.shutdown(socket.SHUT_WR)
                assert read_all(there) == b"to there"
                there.sendall(b"and back")
                there.shutdown(socket.SHUT_WR)
                assert read_all(here) == b"and back"


def read_all(conn):
    return b"".join(iter(lambda: conn.recv(65536), b""))


def test_a_client_that_leaves_takes_the_server_off_its_work():
    with ShapedServer(10**12) as server, DelayingProxy(server.port, 0.02) as far:
        conn = connect(far.port)
        conn.request("GET", "/")
        conn.getresponse().read(10)
        conn.close()

        def rests():
            before = server.counts()["sent"]
            time.sleep(0.1)
            return server.counts()["sent"] == before

        until(rests, what="nothing is sent any more")


def test_where_nobody_listens_behind_it_a_connection_ends():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with DelayingProxy(port, 0.01) as far:
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            ask(connect(far.port), 0, 1)


def test_a_download_through_it_is_right(tmp_path):
    with ShapedServer(3 * MIB + 5) as server, DelayingProxy(server.port, 0.03, handshake=True) as far:
        url = server.url.replace(str(server.port), str(far.port))
        largefile.download(url, tmp_path / "x", block_size=64 * KIB, concurrency=4, proxy="")
    assert (tmp_path / "x").read_bytes() == pattern(0, 3 * MIB + 4)


def test_a_negative_delay_is_refused():
    for delay in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="0 or more"):
            DelayingProxy(1, delay)


# --- both ----------------------------------------------------------------------------------------


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_nothing_is_left_when_they_end():
    with nothing_left_behind():
        with ShapedServer(MIB) as server, DelayingProxy(server.port, 0.01) as far:
            ports = server.port, far.port
            assert not any(refuses(port) for port in ports)
    assert all(refuses(port) for port in ports)


def test_they_end_with_the_process_that_began_them():
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from largefile.testing.shaping import ShapedServer\n"
        "print(ShapedServer(1).start().port, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        port = int(parent.stdout.readline())
        assert not refuses(port)
        parent.send_signal(signal.SIGKILL)
    until(lambda: refuses(port), what="it has ended")


def test_one_that_can_not_start_says_why():
    server = ShapedServer(MIB)
    server._code = "raise SystemExit('no such luck')"
    with nothing_left_behind(), pytest.raises(RuntimeError, match="no such luck"):
        server.start()
