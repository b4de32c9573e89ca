"""Signed addresses expire: one request finds out the new one, for all who wait for it."""

import itertools
import pickle
import threading
import time

import pytest

import largefile
from largefile.errors import CancelledError, RefusedError, SourceChangedError
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer
from tests.support.server_tools import BLOCK, after, get, noise

CONTENT = noise(64 * BLOCK)
ORIGIN = "/file.bin"


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "file.bin"


class Signing:
    """An origin that redirects to a new address each time; the first expires after `good` answers."""

    def __init__(self, good=1, origin=lambda asked: None, expired=403):
        self.good = good
        self.origin = origin  # what else the origin does when it is asked for the so-maniest time
        self.expired = expired
        self.asked = itertools.count()
        self.signed = itertools.count()

    def __call__(self, request):
        if request.path == ORIGIN:
            asked = next(self.asked)
            moved = Behaviour(
                status=302, headers={"Location": f"/signed{asked}"}, delay=0.3 if asked else 0.0
            )
            return self.origin(asked) or moved
        if request.path == "/signed0" and next(self.signed) >= self.good:
            return Behaviour(status=self.expired)
        return None


def paths(server):
    return [request.path for request in server.requests]


@pytest.mark.parametrize("expired", [401, 403, 410])
@pytest.mark.parametrize("threads", [1, 2])
def test_all_who_meet_an_expired_address_share_one_request_to_the_origin(dest, expired, threads, monkeypatch):
    monkeypatch.setattr("largefile.engine.session.WORTH_A_THREAD", 0)
    with LoopbackServer(CONTENT, behave=Signing(expired=expired)) as server:
        status = get(server, dest, concurrency=8, threads=threads)
    assert dest.read_bytes() == CONTENT
    assert refused(server, expired) >= 7  # those who could have gone on their own
    assert paths(server).count(ORIGIN) == 2
    assert "/signed2" not in paths(server)
    assert status.download_errors == 0


@pytest.mark.parametrize("how", [{"status": 503}, {"stall": True}, {"status": 302, "headers": {}}])
def test_if_the_one_who_asks_the_origin_fails_another_does(dest, how):
    fails = Signing(origin=lambda asked: Behaviour(**how) if asked == 1 else None)
    with LoopbackServer(CONTENT, behave=fails) as server:
        get(server, dest, concurrency=8, timeout=1.0)
    assert dest.read_bytes() == CONTENT
    assert paths(server).count(ORIGIN) == 3


def test_an_origin_that_serves_the_content_itself_by_then_ends_the_waiting_at_once(dest):
    serves = Signing(origin=lambda asked: Behaviour() if asked else None)
    with LoopbackServer(CONTENT, behave=serves) as server:
        get(server, dest, concurrency=8)
    assert dest.read_bytes() == CONTENT
    assert "/signed1" not in paths(server)


def test_addresses_that_expire_at_once_end_in_an_error(dest):
    def script(request):
        if request.path == ORIGIN:
            return Behaviour(status=302, headers={"Location": f"/signed{request.number}"})
        return Behaviour(status=403) if request.number > 1 else None

    with LoopbackServer(CONTENT, behave=script) as server, pytest.raises(RefusedError, match="expired"):
        get(server, dest, concurrency=8)
    assert len(server.requests) < 100


def refused(server, status):
    return sum(request.done and request.status == status for request in list(server.requests))


# --- renew=: an origin that expires itself -----------------------------------------------------------


def expires(at, status=403):
    """`/file.bin` is good until the request of this number; any other path stays good."""
    return lambda r: Behaviour(status=status) if r.number >= at and r.path == ORIGIN else None


class Hook:
    """Gives these URLs, one a call, and tells what it was asked."""

    def __init__(self, *urls, ready=lambda: True):
        self.urls = list(urls)
        self.ready = ready
        self.asked = []

    def __call__(self, url):
        self.asked.append((url, threading.current_thread().name))
        until = time.monotonic() + 5.0
        while not self.ready() and time.monotonic() < until:
            time.sleep(0.01)
        return self.urls[len(self.asked) - 1]


@pytest.mark.parametrize("status", [400, 401, 403, 410])
@pytest.mark.parametrize("threads", [1, 2])
def test_renew_is_called_once_for_all_who_wait(dest, status, threads, monkeypatch):
    monkeypatch.setattr("largefile.engine.session.WORTH_A_THREAD", 0)
    with LoopbackServer(CONTENT, behave=expires(1, status)) as server:
        hook = Hook(server.at("/again?secret=1"), ready=lambda: refused(server, status) == 8)
        found = get(server, dest, concurrency=8, threads=threads, renew=hook)
    assert dest.read_bytes() == CONTENT
    assert hook.asked == [(server.url, "largefile-renew")]
    assert found.download_errors == 0


def test_a_url_that_has_expired_before_it_was_asked_is_renewed(dest):
    with LoopbackServer(CONTENT, behave=expires(0)) as server:
        hook = Hook(server.at("/again"))
        get(server, dest, renew=hook)
    assert dest.read_bytes() == CONTENT
    assert len(hook.asked) == 1


def test_each_expiry_is_renewed(dest):
    good = {ORIGIN: 1, "/a": 4, "/b": 100}

    def script(request):
        good[request.path] -= 1
        return Behaviour(status=403) if good[request.path] < 0 else None

    with LoopbackServer(CONTENT, behave=script) as server:
        hook = Hook(server.at("/a"), server.at("/b"))
        get(server, dest, concurrency=1, renew=hook)
    assert dest.read_bytes() == CONTENT
    assert [url for url, _ in hook.asked] == [server.url, server.at("/a")]


def test_a_new_url_that_has_expired_already_is_not_renewed_again(dest):
    with LoopbackServer(CONTENT, behave=after(1, status=403)) as server:
        hook = Hook(*[server.at("/again")] * 9)
        with pytest.raises(RefusedError, match="renew"):
            get(server, dest, concurrency=8, renew=hook)
    assert len(hook.asked) == 1


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    ("hook", "cause"),
    [
        (lambda url: {}[url], KeyError),
        (lambda url: None, TypeError),
        (lambda url: "ftp://a.org/", ValueError),
    ],
)
def test_what_the_hook_raises_is_the_cause(dest, hook, cause, number):
    with LoopbackServer(CONTENT, behave=expires(number)) as server:
        with pytest.raises(RefusedError, match="renew failed") as caught:
            get(server, dest, concurrency=8, renew=hook)
    assert isinstance(caught.value.__cause__, cause)


def test_another_object_behind_the_new_url_is_another_version(dest):
    with LoopbackServer(CONTENT, behave=expires(1)) as server, LoopbackServer(CONTENT, etag='"2"') as other:
        with pytest.raises(SourceChangedError):
            get(server, dest, renew=Hook(other.url), on_change="fail")


@pytest.mark.parametrize("number", [0, 1])
def test_a_hook_that_blocks_is_left_within_a_second_of_the_cancel(dest, number):
    begun, never = threading.Event(), threading.Event()

    def hook(url):
        begun.set()
        never.wait(30.0)

    with LoopbackServer(CONTENT, behave=expires(number)) as server:
        job = largefile.start_download(server.url, dest, proxy="", block_size=BLOCK, renew=hook, timeout=0.5)
        assert begun.wait(5.0)
        with pytest.raises(TimeoutError):
            job.result(1.5)  # three times the timeout: the wait is nobody's silence
        assert job.stats().download_errors == 0
        at = time.monotonic()
        job.cancel()
        with pytest.raises(CancelledError):
            job.result(10.0)
    never.set()
    assert time.monotonic() - at < 1.0


def test_headers_go_to_a_new_url_of_the_same_origin_only(dest):
    with LoopbackServer(CONTENT, behave=expires(1)) as server, LoopbackServer(CONTENT) as other:
        get(server, dest, renew=Hook(other.url), headers={"X-Secret": "abc"})
        assert other.sent
        assert not any("x-secret" in request.headers for request in other.requests)
    with LoopbackServer(CONTENT, behave=expires(1)) as server:
        get(server, dest, renew=Hook(server.at("/again")), headers={"X-Secret": "abc"}, overwrite=True)
        assert {request.headers["x-secret"] for request in server.requests} == {"abc"}


def test_renew_is_in_no_pickle():
    with LoopbackServer(CONTENT, behave=expires(1)) as server:
        hook = Hook(server.at("/again"))
        reader = largefile.HTTPReader(server.url, renew=hook, proxy="")
        assert pickle.loads(pickle.dumps(reader))._renew is None
        with largefile.open(server.url, renew=hook, proxy="") as file:
            data = pickle.dumps(file)
            assert file.read() == CONTENT
        with pytest.raises(RefusedError):
            pickle.loads(data)


def test_streams_renew_and_mirror_too(dest):
    with LoopbackServer(CONTENT, behave=expires(1)) as server, LoopbackServer(CONTENT) as mirror:
        hook = Hook(server.at("/again"))
        with largefile.stream(server.url, renew=hook, mirrors=[mirror.url], proxy="") as stream:
            assert stream.read() == CONTENT
    assert len(hook.asked) == 1
    assert mirror.sent


def test_renew_must_be_callable(dest):
    with pytest.raises(TypeError, match="renew"):
        largefile.download("http://127.0.0.1/", dest, renew="http://127.0.0.1/again")
