"""Whatever comes without end, or swells, is cut: by a typed error, in bounded memory, after bounded bytes."""

from __future__ import annotations

import gzip
import os
import resource
import time
import zlib
from pathlib import Path

import pytest
from endless import EndlessServer
from server_tools import always, get, names, noise, sha256

import largefile
from largefile.cli.app import program as main
from largefile.errors import (
    DeadlineError,
    LargeFileError,
    NetworkError,
    NotFoundError,
    ProtocolError,
    RefusedError,
    TooLargeError,
    TransferError,
)
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer

MIB = 1 << 20
BOMB = gzip.compress(bytes(64 * MIB))
#: What the two sockets' buffers on loopback may take before anybody has read a byte.
BUFFERS = 24 * MIB
OK = b'HTTP/1.1 200 OK\r\nETag: "v1"\r\n'
PARTIAL = b'HTTP/1.1 206 Partial Content\r\nETag: "v1"\r\nContent-Range: bytes 0-99/1000\r\n'
CHUNK = b"10000\r\n" + bytes(65536) + b"\r\n"


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "x"


@pytest.fixture
def bounded():
    """Fails if the test takes more memory than a few buffers."""
    before = peak()
    yield
    grown = peak() - before
    assert grown < 64 * MIB, f"{grown / MIB:.0f} MiB"


def peak():
    """The most memory that this process ever had, in bytes; it only grows."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if os.uname().sysname == "Linux" else 1)


def stream(url, **options):
    with largefile.stream(url, proxy="", timeout=0.5, tries=1, **options) as source:
        while source.read(MIB):
            pass


def read_all(url, **options):
    with largefile.open(url, proxy="", timeout=0.5, tries=1, **options) as file:
        file.read()


def download(url, dest):
    largefile.download(url, dest, proxy="", timeout=0.5, tries=1)


# --- what swells -----------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "x-gzip"])
@pytest.mark.parametrize("status", [200, 206])
@pytest.mark.usefixtures("bounded")
def test_a_bomb_is_refused_before_any_of_it_is_placed(dest, coding, status):
    bomb = Behaviour(status=status, body=BOMB, headers={"Content-Encoding": coding})
    with LoopbackServer(bytes(64 * MIB), behave=lambda request: bomb) as server:
        with pytest.raises(ProtocolError):
            get(server, dest, tries=1)
    assert names(dest.parent) == set()
    assert {request.headers["accept-encoding"] for request in server.requests} == {"identity"}


@pytest.mark.parametrize("coding", ["gzip, chunked", "deflate, chunked", "gzip"])
@pytest.mark.usefixtures("bounded")
def test_a_bomb_of_the_transfer_is_refused(dest, coding):
    """Not asked for, so not allowed (RFC 9112 section 7.4)."""
    head = OK + f"Transfer-Encoding: {coding}\r\n\r\n".encode()
    packed = zlib.compressobj(wbits=31 if "gzip" in coding else 15).compress(bytes(64 * MIB))
    with EndlessServer(head, b"%x\r\n%b\r\n" % (len(packed), packed)) as server:
        with pytest.raises(TransferError):
            download(server.url, dest)
    assert names(dest.parent) == set()


def test_a_compressed_file_is_a_file(dest):
    """What is compressed at rest is not ours to unpack."""
    with LoopbackServer(BOMB) as server:
        get(server, dest, digest=sha256(BOMB))
    assert dest.read_bytes() == BOMB


# --- what does not end -----------------------------------------------------------------------------

HEADS = {
    "header fields": (OK, b"X-More: " + b"y" * 100 + b"\r\n"),
    "a header field": (OK + b"X-Long: ", b"y" * 1000),
    "a status line": (b"HTTP/1.1 200 ", b"y" * 1000),
    "no HTTP": (b"", b"y" * 1000),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "interim answers with fields": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
    "trailers": (
        PARTIAL + b"Transfer-Encoding: chunked\r\n\r\n64\r\n" + bytes(100) + b"\r\n0\r\n",
        b"X: y\r\n",
    ),
    "a trailer": (
        PARTIAL + b"Transfer-Encoding: chunked\r\n\r\n64\r\n" + bytes(100) + b"\r\n0\r\nX: ",
        b"y" * 99,
    ),
    "digits of a chunk": (PARTIAL + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 100),
    "bytes of a range": (PARTIAL + b"\r\n", bytes(1000)),
    "chunks of a range": (PARTIAL + b"Transfer-Encoding: chunked\r\n\r\n", CHUNK),
    "bytes of a shorter range": (PARTIAL + b"Content-Length: 100\r\n\r\n", bytes(1000)),
}


@pytest.mark.parametrize("verb", [download, lambda url, dest: stream(url), lambda url, dest: read_all(url)])
@pytest.mark.parametrize("name", HEADS)
@pytest.mark.usefixtures("bounded")
def test_an_answer_without_an_end_is_cut_soon(dest, name, verb):
    with EndlessServer(*HEADS[name]) as server:
        with pytest.raises(TransferError):
            verb(server.url, dest)
        assert server.requests
        assert server.sent < server.requests * BUFFERS
    assert not dest.exists()


@pytest.mark.parametrize("verb", [download, lambda url, dest: stream(url), lambda url, dest: read_all(url)])
@pytest.mark.usefixtures("bounded")
def test_bytes_between_which_no_byte_of_the_content_comes_are_silence(dest, verb):
    """libcurl reads the extension of a chunk without a bound; it is the clock that ends it."""
    server = EndlessServer(PARTIAL + b"Transfer-Encoding: chunked\r\n\r\n64;x=", b"y" * 100)
    began = time.monotonic()
    with server, pytest.raises(TransferError, match="no byte came"):
        verb(server.url, dest)
    assert time.monotonic() - began < 30
    assert server.requests <= 4


@pytest.mark.parametrize("status", [404, 403, 416, 302, 500])
@pytest.mark.usefixtures("bounded")
def test_the_body_of_a_refusal_is_not_read_to_its_end(dest, status):
    for framing in (b"", b"Content-Length: 9223372036854775807\r\n", b"Transfer-Encoding: chunked\r\n"):
        head = b"HTTP/1.1 %d No\r\nLocation: /x\r\n%b\r\n" % (status, framing)
        with EndlessServer(head, CHUNK if b"chunked" in framing else bytes(1000)) as server:
            with pytest.raises(TransferError):
                download(server.url, dest)
            assert server.sent < server.requests * BUFFERS
    assert names(dest.parent) == set()


@pytest.mark.usefixtures("bounded")
def test_a_body_longer_than_the_buffer_is_cut_at_its_end():
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    buffer = bytearray(b"\xee" * (2 * MIB))
    with EndlessServer(head, CHUNK) as server, memoryview(buffer)[:MIB] as view:
        with pytest.raises((LargeFileError, ValueError)):
            largefile.download(server.url, into=view, proxy="", timeout=0.5, tries=1)
        assert server.sent < server.requests * BUFFERS
    assert buffer[MIB:] == b"\xee" * MIB


@pytest.mark.usefixtures("bounded")
def test_a_body_without_size_and_end_is_ended_by_the_deadline_and_takes_no_memory(dest):
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    with EndlessServer(head, CHUNK) as server:
        with pytest.raises(DeadlineError):
            largefile.download(server.url, dest, proxy="", deadline=0.5)
    assert names(dest.parent) == set(), "and leaves nothing on disk"


@pytest.mark.usefixtures("bounded")
def test_a_stream_without_an_end_gives_what_is_read_and_no_more_is_fetched():
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    with EndlessServer(head, CHUNK) as server:
        with largefile.stream(server.url, proxy="", window=4 * MIB) as source:
            assert source.read(MIB) == bytes(MIB)
        assert server.sent < BUFFERS + 8 * MIB


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.usefixtures("bounded")
def test_redirects_that_never_arrive_are_few(dest, first):
    """Each leads to a place where nobody was before, in the first request or later."""

    def onwards(request):
        there = Behaviour(status=302, headers={"Location": f"/{request.number}"})
        return there if request.number >= first else None

    with LoopbackServer(noise(3 * MIB), behave=onwards) as server:
        with pytest.raises(RefusedError, match="at most 10"):
            get(server, dest, concurrency=1)
    assert len(server.requests) <= first + 12


def test_a_redirect_of_great_length_is_an_error(dest):
    with LoopbackServer(b"", behave=always(status=302, headers={"Location": "/" + "x" * 90_000})) as server:
        with pytest.raises((RefusedError, NotFoundError, NetworkError, ProtocolError)):
            get(server, dest, tries=1)
    assert len(server.requests) <= 12
    assert not Path(dest).exists()


# --- max_size --------------------------------------------------------------------------------------

SIZE = 3 * MIB + 17
CONTENT = noise(SIZE)
UNSIZED = {"status": 200, "chunked": True, "ranges": False}


def fetched(url, dest, verb, **options):
    """The content, by each verb."""
    options = {"proxy": "", "block_size": 1 << 16, **options}
    if verb == "download":
        largefile.download(url, dest, **options)
        return dest.read_bytes()
    if verb == "into":
        buffer = bytearray(SIZE)
        largefile.download(url, into=buffer, **options)
        return bytes(buffer)
    with {"stream": largefile.stream, "open": largefile.open}[verb](url, **options) as file:
        return file.read()


@pytest.mark.parametrize("verb", ["download", "into", "stream", "open"])
@pytest.mark.parametrize("excess", [1, MIB, SIZE])
def test_what_is_too_large_is_not_begun(dest, verb, excess):
    with LoopbackServer(CONTENT) as server:
        with pytest.raises(TooLargeError) as caught:
            fetched(server.url, dest, verb, max_size=SIZE - excess)
        assert len(server.requests) == 1
        assert (caught.value.allowed, caught.value.found) == (SIZE - excess, SIZE)
        assert f"has {SIZE} bytes, allowed are {SIZE - excess}" in str(caught.value)
        assert names(dest.parent) == set()
        assert fetched(server.url, dest, verb, max_size=SIZE) == CONTENT


@pytest.mark.parametrize("verb", ["download", "stream"])
@pytest.mark.parametrize("excess", [1, MIB, SIZE])
def test_what_turns_out_to_be_too_large_is_cut(dest, verb, excess):
    with LoopbackServer(CONTENT, behave=always(**UNSIZED)) as server:
        with pytest.raises(TooLargeError) as caught:
            fetched(server.url, dest, verb, max_size=SIZE - excess)
        assert (caught.value.allowed, caught.value.found) == (SIZE - excess, None)
        assert names(dest.parent) == set()
        assert fetched(server.url, dest, verb, max_size=SIZE) == CONTENT


@pytest.mark.parametrize("verb", ["download", "stream"])
@pytest.mark.usefixtures("bounded")
def test_a_body_without_an_end_is_cut_at_the_size(dest, verb):
    with EndlessServer(OK + b"Transfer-Encoding: chunked\r\n\r\n", CHUNK) as server:
        with pytest.raises(TooLargeError):
            fetched(server.url, dest, verb, max_size=5 * MIB)
        assert server.sent < BUFFERS + 5 * MIB
    assert names(dest.parent) == set()


def test_another_version_that_is_too_large_is_not_begun_either(dest):
    with LoopbackServer(CONTENT) as server:

        def grow(request):
            if request.number == 1:
                server.replace(CONTENT * 2, etag='"larger"')

        server.behave = grow
        with pytest.raises(TooLargeError):
            get(server, dest, max_size=SIZE, concurrency=1)
    assert not dest.exists()


@pytest.mark.parametrize("command", ["get", "cat"])
def test_the_command_line_says_that_it_is_too_large(tmp_path, monkeypatch, capfdbinary, command):
    monkeypatch.chdir(tmp_path)
    with LoopbackServer(CONTENT) as server, pytest.raises(SystemExit) as ended:
        main([command, "--max-size", "3M", "--proxy", "", server.url])
    assert ended.value.code == 6
    out, err = capfdbinary.readouterr()
    assert b"allowed are 3145728" in err
    assert out == b""
    assert names(tmp_path) == set()


@pytest.mark.parametrize("size", [-1, True, 1.5, "1", 2**63])
def test_a_size_that_is_none_is_a_value_error(size):
    with pytest.raises(ValueError, match="max_size is"):
        largefile.HTTPReader("http://h/x", max_size=size)
