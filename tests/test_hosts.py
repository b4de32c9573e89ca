"""What a process remembers of its hosts."""

from __future__ import annotations

import os
import socket
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from largefile.errors import ThrottledError
from largefile.rules.hosts import BELIEVED, Host, HostTable, too_long
from largefile.testing.server import LoopbackServer
from largefile.wire.hosts import HOSTS

times = st.floats(0, 1e6)


@given(st.lists(times, min_size=1))
def test_a_gate_never_opens_earlier_than_any_word_of_the_host(closings):
    host = Host()
    for count, until in enumerate(closings, 1):
        host.close(until)
        assert host.opens_at == max(closings[:count])


@given(times, st.integers(1, 100), st.floats(0, 2 * BELIEVED))
def test_a_limit_is_believed_for_its_time(now, limit, later):
    host = Host()
    assert host.limit(now) is None
    host.learn(limit, now)
    assert host.limit(now + later) == (limit if now + later < now + BELIEVED else None)
    host.learn(limit + 1, now + later)
    assert host.limit(now + later) == limit + 1


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("http://a.org/x?token=1", "http://A.ORG:80/", True),
        ("http://a.org/", "https://a.org/", False),
        ("http://a.org/", "http://a.org:81/", False),
        ("http://a.org/", "http://b.a.org/", False),
    ],
)
def test_hosts_are_told_apart_by_scheme_name_and_port(a, b, same):
    table = HostTable()
    assert (table.of(a) is table.of(b)) is same


@given(st.lists(st.integers(0, 4), min_size=4), st.integers(1, 4))
@example([0, 1, 0, 2, 0], 2)
def test_of_too_many_hosts_the_one_longest_not_asked_for_is_forgotten(numbers, most):
    table, recent = HostTable(most), {}
    for number in numbers:
        host = table.of(f"http://h{number}.org/")
        assert recent.pop(number, host) is host
        recent[number] = host
        while len(recent) > most:
            del recent[next(iter(recent))]
        assert len(table) == len(recent)


def test_a_new_server_at_an_old_port_is_asked_at_once():
    with LoopbackServer(b"1") as server:
        HOSTS.of(server.url).close(1e12)
        assert HOSTS.of(server.at("/other")).opens_at == 1e12
    again = LoopbackServer(b"2")
    port, create = server.port, socket.create_server
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_server", lambda address, **rest: create((address[0], port), **rest))
        with again:
            assert again.port == port
            assert HOSTS.of(again.url).opens_at < 0


def test_many_threads_close_one_gate_and_the_latest_time_holds():
    host = Host()
    threads = [
        threading.Thread(target=lambda k=k: [host.close(float(i * 8 + k)) for i in range(2000)])
        for k in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert host.opens_at == 1999 * 8 + 7


def test_a_forks_child_knows_the_hosts_and_is_not_locked_out():
    host = HOSTS.of("http://forked.example/")
    host.close(5.0)
    with HOSTS._lock, host._lock:  # as another thread may hold them at that moment
        pid = os.fork()
        if not pid:
            known = HOSTS.of("http://forked.example/")
            known.close(7.0)
            os._exit(0 if known is host and known.opens_at == 7.0 else 1)
        assert wait_for(pid) == 0


def test_locks_that_nobody_is_left_to_release_are_made_anew():
    table = HostTable()
    host = table.of("http://a.example/")
    host.close(5.0)
    with table._lock, host._lock:
        table.renew_locks()
        assert table.of("http://a.example/") is host
        host.close(7.0)
    assert host.opens_at == 7.0


def test_who_is_not_waited_for_is_named_with_the_time():
    error = too_long("http://a.example", 3599.6)
    assert isinstance(error, ThrottledError)
    assert "http://a.example wants no request for 3600 s" in str(error)


def wait_for(pid):
    """The child's exit code; a child that hangs is ended after ten seconds."""
    timer = threading.Timer(10.0, os.kill, [pid, 9])
    timer.start()
    status = os.waitpid(pid, 0)[1]
    timer.cancel()
    return os.waitstatus_to_exitcode(status)
