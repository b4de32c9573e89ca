"""A secret in a URL, a field, `auth` or a proxy is in no log, status, index, error or pickle."""

from __future__ import annotations

import base64
import logging
import pickle
import traceback

import pytest
from server_tools import BLOCK, after, always, noise

import largefile
from largefile.cli.app import program as main
from largefile.errors import LargeFileError
from largefile.events import Fetch
from largefile.testing.authority import Authority
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer
from largefile.wire.curl import CurlSettings

SIZE = 24 * BLOCK + 17
CONTENT = noise(SIZE)
SECRET = "S3CR3T"
#: As it is, and in what Basic authentication makes of it.
FORMS = [SECRET, base64.b64encode(f"me:{SECRET}".encode()).decode().rstrip("=")]
QUERY = f"?sig={SECRET}#{SECRET}"
GIVEN = {"headers": {"X-Key": SECRET, "Cookie": f"a={SECRET}"}, "auth": ("me", SECRET)}
QUICK = {"block_size": BLOCK, "timeout": 0.5, "connect_timeout": 2.0, "tries": 1, "proxy": ""}


def found_in(text):
    """The forms in which the secret is in `text`."""
    text = text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape")
    return [form for form in FORMS if form.encode() in text]


def to(location):
    return always(status=302, headers={"Location": location})


#: What the server does, and how many requests get it as they should.
TROUBLE = {
    "nothing": None,
    "not found": always(status=404),
    "unauthorized": always(status=401, headers={"WWW-Authenticate": "Basic"}),
    "refused in the middle": after(1, status=403),
    "busy": always(status=503, headers={"Retry-After": "0"}),
    "reset": after(1, cut_after=0, reset=True),
    "silent": always(stall=True),
    "lying": always(content_range="bytes 5-6/7"),
    "changing": lambda r: Behaviour(headers={"ETag": f'"{r.number}"'}),
    "leading in circles": to(f"/file.bin{QUERY}"),
    "leading to a password": to(f"https://me:{SECRET}@127.0.0.1/x"),
    "leading to ftp": to(f"ftp://me:{SECRET}@127.0.0.1/x{QUERY}"),
    "leading to nowhere": to(f"http://127.0.0.1:1/x{QUERY}"),
    "leading to no URL": to(f"http://me:{SECRET}@:x/{QUERY}"),
    "leading to an odd port": to(f"http://127.0.0.1:0/{QUERY}"),
    "an index page": always(status=200, headers={"Content-Type": "text/html"}, chunked=True, cut_after=3),
}


def verbs(folder):
    """Each way to fetch, with everything that it leaves in `folder`."""
    return {
        "download": lambda url, **options: largefile.download(url, folder / "x", **GIVEN, **options),
        "into": lambda url, **options: largefile.download(url, into=bytearray(SIZE), **GIVEN, **options),
        "stream": lambda url, **options: read(largefile.stream(url, **GIVEN, **options)),
        "open": lambda url, **options: read(largefile.open(url, cache_dir=folder, **GIVEN, **options)),
    }


def read(file):
    with file:
        shown = repr(file)
        file.read()
        return file.stats() if isinstance(file, largefile.RemoteFile) else (file.status(), shown)


@pytest.fixture
def attempt(tmp_path, caplog):
    """Do it, and return the error, if any, once nothing that is left of it has the secret."""
    caplog.set_level(logging.DEBUG)

    def attempt(work, *words, **options):
        error = result = None
        try:
            result = work(*words, **options)
        except LargeFileError as caught:
            error = caught
            assert found_in("".join(traceback.format_exception(error))) == []
            assert found_in(pickle.dumps(error)) == []
            assert found_in(f"{error!r} {error.status!r}") == []
        assert found_in(repr(result)) == []
        assert found_in(caplog.text) == []
        for record in caplog.records:
            assert found_in(repr(vars(record))) == []
        for path in tmp_path.rglob("*"):
            assert found_in(str(path)) == []
            assert path.is_dir() or found_in(path.read_bytes()) == []
        return error

    return attempt


@pytest.mark.parametrize("verb", ["download", "into", "stream", "open"])
@pytest.mark.parametrize("name", TROUBLE)
def test_nothing_tells_it(tmp_path, attempt, verb, name):
    with LoopbackServer(CONTENT, behave=TROUBLE[name]) as server:
        error = attempt(verbs(tmp_path)[verb], server.at(f"/file.bin{QUERY}"), **QUICK)
    assert (error is None) == (name == "nothing")
    first = server.requests[0]
    assert found_in(first.path) == [SECRET], "it was used"
    assert found_in(first.headers["x-key"] + first.headers["authorization"]) == FORMS


@pytest.mark.parametrize("verb", ["download", "stream", "open"])
def test_nobody_there_tells_nothing(tmp_path, attempt, verb):
    with LoopbackServer(CONTENT) as server:
        url = server.at(f"/file.bin{QUERY}")
    assert attempt(verbs(tmp_path)[verb], url, **QUICK)
    assert attempt(verbs(tmp_path)[verb], f"http://nobody.invalid/{QUERY}", **QUICK)
    assert attempt(verbs(tmp_path)[verb], url, **{**QUICK, "proxy": None}, allow_private=False)


def test_no_trust_tells_nothing(tmp_path, attempt):
    with LoopbackServer(CONTENT, tls=Authority(tmp_path).context("127.0.0.1")) as server:
        assert attempt(verbs(tmp_path)["download"], server.at(f"/file.bin{QUERY}"), **QUICK)


def test_a_digest_that_does_not_match_tells_nothing(tmp_path, attempt):
    with LoopbackServer(CONTENT) as server:
        url = server.at(f"/file.bin{QUERY}")
        assert attempt(verbs(tmp_path)["download"], url, digest="sha256:" + "0" * 64, **QUICK)


def test_what_an_interrupted_download_leaves_tells_nothing_and_is_gone_on_with(tmp_path, attempt):
    with LoopbackServer(CONTENT, behave=after(1, status=403)) as server:
        url = server.at(f"/file.bin{QUERY}")
        assert attempt(verbs(tmp_path)["download"], url, concurrency=1, **QUICK)
        assert b"/file.bin" in (tmp_path / "x.part.idx").read_bytes(), "the index does name the place"
        server.behave = None
        assert attempt(verbs(tmp_path)["download"], url, **QUICK) is None


def test_a_partial_of_another_place_is_named_without_it(tmp_path, attempt):
    with LoopbackServer(CONTENT, behave=after(1, status=403)) as server:
        assert attempt(verbs(tmp_path)["download"], server.at(f"/one{QUERY}"), concurrency=1, **QUICK)
        server.replace(CONTENT[::-1], etag='"other"')
        server.behave = None
        error = attempt(verbs(tmp_path)["download"], server.at(f"/two{QUERY}"), **QUICK)
    assert isinstance(error, largefile.DestinationInUseError)


PROXIES = [
    "http://me:{}@127.0.0.1:1",
    "me:{}@127.0.0.1:1",
    "http://me:{}@nobody.invalid:1",
    "socks5://me:{}@127.0.0.1:1",
    "ftp://me:{}@host:1",
    "http://me:{}@host:99999",
    "http://me:{}@ho st",
    "http://me:{}'@[::1",
    "http://me:/{}@host",
    "//me:{}",
]


@pytest.mark.parametrize("by_environment", [False, True])
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_proxy_s_password_is_not_told(tmp_path, attempt, monkeypatch, proxy, by_environment):
    proxy = proxy.format(SECRET)
    if by_environment:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
    options = {**QUICK, "proxy": None if by_environment else proxy}
    assert attempt(verbs(tmp_path)["download"], "http://example.invalid/x", **options)


@pytest.mark.parametrize("command", ["get", "cat"])
@pytest.mark.parametrize("name", TROUBLE)
def test_the_command_line_tells_it_nowhere(tmp_path, monkeypatch, capfdbinary, attempt, command, name):
    monkeypatch.chdir(tmp_path)
    options = ["-v", "--timeout", "0.3", "--deadline", "0.5", "--proxy", "", "-H", f"X-Key: {SECRET}"]
    options += ["--user", f"me:{SECRET}", *(["--json"] if command == "get" else [])]
    with LoopbackServer(CONTENT, behave=TROUBLE[name]) as server, pytest.raises(SystemExit) as ended:
        main([command, server.at(f"/file.bin{QUERY}"), *options])
    assert (ended.value.code == 0) == (name == "nothing")
    out, err = capfdbinary.readouterr()
    assert out or err
    assert found_in(out) == found_in(err) == []
    assert attempt(lambda: None) is None


def test_what_describes_a_request_has_it_not():
    fetch = Fetch(0, 9, f"http://h/{QUERY}", (("X-Key", SECRET),))
    assert found_in(repr([fetch, CurlSettings(proxy=f"http://me:{SECRET}@h")])) == []
    assert "first=0" in repr(fetch)
