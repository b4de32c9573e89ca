"""HTTPReader: one request finds out what is there, and nothing secret leaves its place."""

from __future__ import annotations

import pickle

import pytest
from disk_helpers import noise

import largefile
from largefile.errors import ReadError, SourceChangedError, TransferError, UnsizedSourceError
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer

SIZE = 3 * (1 << 20) + 17
CONTENT = noise(SIZE)


@pytest.fixture
def server():
    with LoopbackServer(CONTENT) as running:
        yield running


def reader(server, **options):
    return largefile.HTTPReader(server.url, proxy="", **options)


def test_the_size_takes_one_request_whose_body_is_then_used(server, tmp_path):
    with reader(server) as source:
        assert source.content_length_and_block_size() == (SIZE, 1 << 20)
        assert source.identity.etag == '"v1"'
        assert len(server.requests) == 1
        data, index = tmp_path / "d", tmp_path / "i"
        largefile.create_cache_files(data, index, SIZE, 1 << 20, identity=source.identity)
        with largefile.LocalDownloadCache.open(data, index) as cache:
            status = largefile.CachingDownloader(source, cache).run()
        assert status.downloaded_bytes == SIZE, "the body of the first answer was used"
    assert [request.method for request in server.requests] == ["GET"] * len(server.requests)
    assert data.read_bytes() == CONTENT


def test_a_range_is_read_by_itself(server):
    with reader(server) as source, source.get_reader(1000, 2999) as stream:
        assert stream.read() == CONTENT[1000:3000]


def test_a_range_of_another_version_is_not_given(server):
    with reader(server, tries=1) as source:
        assert source.identity.size == SIZE
        server.replace(CONTENT[::-1], etag='"v2"')
        with pytest.raises(SourceChangedError):
            source.get_reader(0, 99)


def test_a_range_that_is_cut_is_a_read_error(server):
    with reader(server, tries=1) as source:
        assert source.identity.size == SIZE
        server.behave = lambda request: Behaviour(cut_after=10)
        with pytest.raises(ReadError, match="cut short"):
            source.get_reader(0, 99)


def test_a_range_that_is_shortened_is_a_read_error(server):
    server.behave = lambda request: Behaviour(at_most=50)
    with reader(server, tries=1) as source, pytest.raises(ReadError, match=r"did not give bytes \[0:99\]"):
        source.get_reader(0, 99)


def test_without_a_size_it_says_so(server):
    server.behave = lambda request: Behaviour(status=200, chunked=True, ranges=False)
    with reader(server) as source, pytest.raises(UnsizedSourceError, match="how large"):
        source.content_length_and_block_size()


def test_a_pickle_has_no_credentials(server):
    secret = "c2VjcmV0"
    options = {"headers": {"X-Key": secret}, "auth": ("me", secret), "timeout": 7.0}
    packed = pickle.dumps(reader(server, **options))
    assert secret.encode() not in packed
    copy = pickle.loads(packed)
    with copy:
        assert copy.url == server.url
        assert copy.identity.size == SIZE
    sent = {name.lower() for name in server.requests[-1].headers}
    assert not {"x-key", "authorization"} & sent


def test_a_pickle_has_the_headers_where_that_was_asked_for(server):
    original = reader(server, headers={"X-Key": "1"}, auth="Bearer hidden", pickle_headers=True)
    packed = pickle.dumps(original)
    assert b"hidden" not in packed
    with pickle.loads(packed) as copy:
        assert copy.identity.size == SIZE
    sent = {name.lower(): value for name, value in server.requests[-1].headers.items()}
    assert sent["x-key"] == "1"
    assert "authorization" not in sent


def test_credentials_are_sent_to_the_origin(server):
    with reader(server, auth=("me", "pass")) as source:
        assert source.identity.size == SIZE
    sent = {name.lower(): value for name, value in server.requests[-1].headers.items()}
    assert sent["authorization"] == "Basic bWU6cGFzcw=="
    assert sent["accept-encoding"] == "identity"


@pytest.mark.parametrize("name", ["Range", "host", "Accept-Encoding", "bad name", "", "a:b"])
def test_header_names_that_can_not_be(server, name):
    with pytest.raises(ValueError, match="header"):
        reader(server, headers={name: "1"})


@pytest.mark.parametrize("value", ["a\r\nX: 1", "a\nb", "a\0b"])
def test_header_values_that_can_not_be(server, value):
    with pytest.raises(ValueError, match="X-Key has a line break"):
        reader(server, headers={"X-Key": value})


def test_a_dead_server_is_an_error_after_the_tries(server):
    url = server.url
    server.close()
    with largefile.HTTPReader(url, proxy="", tries=1) as source, pytest.raises(TransferError):
        source.content_length_and_block_size()
