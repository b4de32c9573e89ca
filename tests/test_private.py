"""With ``allow_private=False`` nothing but the public internet is connected to, by whatever detour."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket

import pycurl
import pytest
from server_tools import BLOCK, always, get, names, noise

import largefile
from largefile.cli.app import program as main
from largefile.errors import NetworkError, PrivateAddressError, RefusedError
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer
from largefile.wire import door
from largefile.wire.curl import CurlTransport

SIZE = 48 * BLOCK  # more than the first request asks for
CONTENT = noise(SIZE)
STRANGER = "stranger.example"


@pytest.fixture
def server():
    with LoopbackServer(CONTENT) as running:
        yield running


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "x"


@pytest.fixture
def one_is_public(monkeypatch):
    """Let 127.0.0.1 pass for the public internet; the rest of loopback stays what it is."""
    monkeypatch.setattr("largefile.rules.addresses.is_public", lambda address: address == "127.0.0.1")


@pytest.fixture
def resolver(monkeypatch):
    """What `STRANGER` is resolved to by the next transfer: a list of addresses, to be changed at will."""
    addresses = []
    start = CurlTransport.start

    def resolving(self, fetch, sink, accept=None):
        port = fetch.url.split(":")[2].split("/")[0]
        if not self._idle:
            self._idle.append(self._new_handle())
        entry = f"+{STRANGER}:{port}:{','.join(addresses)}"
        self._idle[-1].setopt(pycurl.RESOLVE, [f"-{STRANGER}:{port}", entry])
        start(self, fetch, sink, accept)

    monkeypatch.setattr(CurlTransport, "start", resolving)
    return addresses


def read_stream(url, **options):
    with largefile.stream(url, **options) as source:
        return source.read()


def read_file(url, **options):
    with largefile.open(url, **options) as file:
        return file.read()


def read_buffer(url, **options):
    buffer = bytearray(SIZE)
    largefile.download(url, into=buffer, **options)
    return bytes(buffer)


def read_range(url, **options):
    with largefile.HTTPReader(url, **options) as reader, reader.get_reader(0, SIZE - 1) as body:
        return body.read()


def read_awaited(url, **options):
    buffer = bytearray(SIZE)
    asyncio.run(largefile.aio.download(url, into=buffer, **options))
    return bytes(buffer)


def read_stream_awaited(url, **options):
    async def read():
        async with largefile.aio.stream(url, **options) as source:
            return await source.read()

    return asyncio.run(read())


def read_file_awaited(url, **options):
    async def read():
        async with largefile.aio.open(url, **options) as file:
            return await file.read()

    return asyncio.run(read())


VERBS = [
    read_stream,
    read_file,
    read_buffer,
    read_range,
    read_awaited,
    read_stream_awaited,
    read_file_awaited,
]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_at_once_and_connects_to_nothing(server, verb):
    with pytest.raises(PrivateAddressError) as caught:
        verb(server.url, allow_private=False)
    assert (caught.value.host, caught.value.address) == ("127.0.0.1", "127.0.0.1")
    assert server.connections == 0
    assert verb(server.url, proxy="") == CONTENT, "by default any address will do"


def test_the_error_is_typed_told_and_pickled(server, dest):
    with pytest.raises(RefusedError) as caught:
        get(server, dest, allow_private=False, url=server.at("/x?token=secret", "localhost"))
    error = caught.value
    assert error.host == "localhost"
    assert error.address in ("127.0.0.1", "::1")
    assert str(error).startswith(f"localhost is at {error.address}, which is not a public address")
    assert error.status.download_retries == 0, "the answer would be the same"
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.address) == (type(error), str(error), error.address)
    assert names(dest.parent) == set()
    assert server.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost", "0"])
def test_an_address_is_known_in_every_disguise(server, dest, host):
    with pytest.raises(PrivateAddressError):
        get(server, dest, allow_private=False, url=server.at("/x", host))
    assert server.connections == 0


@pytest.mark.parametrize(
    "address", ["::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "fe80::1", "fd00:ec2::254"]
)
def test_ipv6_is_no_way_around(dest, address):
    with pytest.raises(PrivateAddressError):
        largefile.download(f"http://[{address}]:9/x", dest, allow_private=False)


@pytest.mark.parametrize("number", [0, 1])
def test_a_redirect_is_judged_by_its_address(server, dest, one_is_public, number):
    """In the first request, and in the middle of a download."""
    target = server.at("/there", "127.0.0.2")
    server.behave = lambda r: (
        Behaviour(status=302, headers={"Location": target}) if r.number >= number else None
    )
    with pytest.raises(PrivateAddressError) as caught:
        get(server, dest, allow_private=False, concurrency=1)
    assert caught.value.address == caught.value.host == "127.0.0.2"
    assert {request.headers["host"].split(":")[0] for request in server.requests} == {"127.0.0.1"}


def test_a_public_address_is_downloaded_from_as_usual(server, dest, one_is_public):
    assert get(server, dest, allow_private=False).complete
    assert dest.read_bytes() == CONTENT


def test_a_name_is_judged_by_what_it_is_resolved_to(server, dest, resolver):
    resolver[:] = ["127.0.0.1"]
    url = server.at("/x", STRANGER)
    with pytest.raises(PrivateAddressError, match=f"{STRANGER} is at 127.0.0.1"):
        get(server, dest, allow_private=False, url=url)
    assert server.connections == 0
    assert get(server, dest, url=url).complete, "the name does lead there"


def test_a_name_that_is_resolved_anew_is_judged_anew(server, dest, resolver, one_is_public):
    """DNS rebinding: a public address for the first connection, a private one for the next."""
    resolver[:] = ["127.0.0.1"]

    def rebind(request):
        resolver[:] = ["127.0.0.2"]
        return Behaviour(close=True)

    server.behave = rebind
    with pytest.raises(PrivateAddressError, match=f"{STRANGER} is at 127.0.0.2"):
        get(server, dest, allow_private=False, url=server.at("/x", STRANGER), concurrency=1)
    assert server.connections == 1
    assert not dest.exists()


def test_of_several_addresses_only_public_ones_are_tried(server, dest, resolver, one_is_public):
    resolver[:] = ["127.0.0.2", "127.0.0.1", "10.0.0.1"]
    assert get(server, dest, allow_private=False, url=server.at("/x", STRANGER)).complete


def test_a_public_address_that_does_not_answer_is_a_network_error(server, dest, resolver, one_is_public):
    """Nobody was refused for good: the name may be well again in a moment."""
    resolver[:] = ["127.0.0.2", "127.0.0.1"]
    url = server.at("/x", STRANGER)
    server.close()
    with pytest.raises(NetworkError):
        get(server, dest, allow_private=False, url=url, tries=1)


def test_a_proxy_would_make_the_promise_void(server):
    with pytest.raises(ValueError, match="can not be kept through a proxy"):
        largefile.HTTPReader(server.url, proxy="http://user:secret@127.0.0.1:1", allow_private=False)


def test_the_proxy_of_the_environment_is_not_used(server, dest, monkeypatch, one_is_public):
    with LoopbackServer(CONTENT) as proxy:
        for name in ("http_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.at(""))
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        largefile.download(server.url, dest, allow_private=False)
        assert (proxy.connections, len(server.requests) > 0) == (0, True)
        largefile.download(server.url, dest.with_name("y"))
        assert proxy.connections > 0, "otherwise it is"


def test_a_pickled_reader_and_its_clone_stay_as_strict(server):
    reader = pickle.loads(pickle.dumps(largefile.HTTPReader(server.url, allow_private=False)))
    with reader, pytest.raises(PrivateAddressError):
        reader.content_length_and_block_size()
    assert server.connections == 0


def test_a_file_shares_no_engine_that_may_go_anywhere(server, tmp_path, one_is_public):
    with largefile.open(server.url, cache_dir=tmp_path, proxy="") as lax:
        assert lax.read(10) == CONTENT[:10]
        with largefile.open(server.url, cache_dir=tmp_path, allow_private=False) as strict:
            server.behave = always(status=302, headers={"Location": server.at("/there", "127.0.0.2")})
            with pytest.raises(PrivateAddressError):
                strict.read()
        server.behave = None
    with largefile.open(server.url, cache_dir=tmp_path, allow_private=False) as strict:
        with largefile.open(server.url, cache_dir=tmp_path, allow_private=False) as another:
            assert another.read_at(100, SIZE // 2) == CONTENT[SIZE // 2 :][:100]
            sent = server.sent
            assert strict.read_at(100, SIZE // 2) == CONTENT[SIZE // 2 :][:100]
            assert server.sent == sent, "they are alike, and share"


@pytest.mark.parametrize("command", ["get", "cat"])
def test_the_command_line_ends_with_6(server, tmp_path, monkeypatch, capfd, command):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main([command, "--no-private", server.url])
    assert caught.value.code == 6
    assert "127.0.0.1, which is not a public address" in capfd.readouterr().err
    assert server.connections == 0
    assert names(tmp_path) == set()


class Target:
    """An address as libcurl hands it over, or not."""

    family, socktype, protocol = socket.AF_INET, socket.SOCK_STREAM, 0

    def __init__(self, addr):
        self.addr = addr


@pytest.mark.parametrize(
    "target", [None, Target(()), Target("/run/socket"), Target((7, 80)), Target(("8.8.8.8",))]
)
def test_a_door_never_raises(monkeypatch, target):
    def no_socket(*args):
        raise OSError("too many open files")

    monkeypatch.setattr(socket, "socket", no_socket)
    opened = door.Door()
    assert opened._open(0, target) == pycurl.SOCKET_BAD
    assert not opened.opened


def test_no_socket_is_inherited_by_a_program_that_is_started(server, one_is_public):
    with largefile.HTTPReader(server.url, allow_private=False) as reader:
        assert reader.content_length_and_block_size()[0] == SIZE
        mine = [fd for fd in range(3, 256) if is_connected_to(fd, server.port)]
        assert len(mine) == 1
        assert not os.get_inheritable(mine[0])


def is_connected_to(fd, port):
    try:
        with socket.socket(fileno=os.dup(fd)) as found:
            return found.family == socket.AF_INET and found.getpeername()[1] == port
    except OSError:
        return False
