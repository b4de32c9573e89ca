"""HTTP/2 where it is asked for: the same bytes, over connections that are not used again once they failed."""

from __future__ import annotations

import asyncio

import pytest
from server_tools import BLOCK, get, noise

import largefile
from largefile import aio
from largefile.testing.authority import Authority
from largefile.testing.h2server import H2Server
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer

SIZE = 40 * BLOCK + 12_345
CONTENT = noise(SIZE)


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "file.bin"


def test_every_face_speaks_it_by_prior_knowledge(dest):
    with H2Server(CONTENT) as server:
        get(server, dest, http2=True)
        assert dest.read_bytes() == CONTENT
        assert server.sent == SIZE
        with largefile.stream(server.url, http2=True, proxy="") as source:
            assert source.read() == CONTENT
        with largefile.open(server.url, http2=True, proxy="") as file:
            assert file.read_at(1000, BLOCK) == CONTENT[BLOCK : BLOCK + 1000]
        into = bytearray(SIZE)
        asyncio.run(aio.download(server.url, into=into, http2=True, proxy=""))
        assert into == CONTENT
        assert {request.headers[":scheme"] for request in server.requests} == {"http"}


def test_without_it_such_a_server_is_an_error(dest):
    with H2Server(CONTENT) as server, pytest.raises(largefile.TransferError):
        get(server, dest, tries=1)


@pytest.mark.parametrize(("kind", "spoken"), [(H2Server, True), (LoopbackServer, False)])
def test_over_tls_it_is_spoken_where_the_server_agrees(tmp_path, dest, kind, spoken):
    authority = Authority(tmp_path)
    with kind(CONTENT, tls=authority.context("127.0.0.1")) as server:
        get(server, dest, http2=True, ca_file=authority.ca_file)
        assert dest.read_bytes() == CONTENT
        assert {":scheme" in request.headers for request in server.requests} == {spoken}


def test_a_connection_on_which_nothing_comes_is_not_used_again(dest):
    def behave(request):
        return Behaviour(stall_after=1000) if request.number in (1, 3) else None

    with H2Server(CONTENT, behave=behave) as server:
        status = get(server, dest, http2=True, timeout=0.7)
        assert dest.read_bytes() == CONTENT
        stalled = {server.requests[number].connection for number in (1, 3)}
        later = [request.connection for request in server.requests[5:]]
    assert status.complete
    assert not stalled & set(later)


def test_a_refused_stream_keeps_what_came(dest):
    def behave(request):
        return (
            Behaviour(rst=7 if request.number % 2 else 2, cut_after=3 * BLOCK) if request.number < 6 else None
        )

    with H2Server(CONTENT, behave=behave) as server:
        get(server, dest, http2=True)
        assert dest.read_bytes() == CONTENT
        assert server.sent < SIZE + 7 * BLOCK
