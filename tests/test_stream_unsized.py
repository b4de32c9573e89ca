"""A content whose size nobody tells is passed on as it comes; its end is believed only where it is told."""

from __future__ import annotations

import pytest
from disk_helpers import new_cache
from server_tools import BLOCK, always, noise, sha256
from stream_tools import open_stream

from largefile import (
    DigestMismatchError,
    NetworkError,
    StalledError,
    UnsizedSourceError,
)
from largefile.testing.server import LoopbackServer

CONTENT = noise(10 * BLOCK + 777)
CHUNKED = {"chunked": True, "ranges": False}
#: The end of the connection is the end of the body, as far as anybody can tell.
BARE = {"no_length": True, "ranges": False}


def serve(content=CONTENT, **how):
    return LoopbackServer(content, behave=always(**how))


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, len(CONTENT)])
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("window", [1, 3])
def test_a_chunked_body_comes_whole(size, background, window):
    content = CONTENT[:size]
    with serve(content, **CHUNKED) as server:
        with open_stream(server, window=window * BLOCK, background=background) as source:
            assert source.content_length is None
            assert source.read(7) == content[:7]
            assert b"".join(list(source)) == content[7:]
            assert (source.read(1), source.tell()) == (b"", size)
            status = source.status()
    assert (status.complete, status.cached_or_streamed_bytes) == (True, size)
    assert len(server.requests) == 1


@pytest.mark.parametrize("background", [True, False])
def test_a_body_with_a_rate_comes_whole(background):
    with serve(**CHUNKED) as server:
        with open_stream(
            server, window=3 * BLOCK, background=background, rate=8 << 20, timeout=4.0
        ) as source:
            assert source.read() == CONTENT


@pytest.mark.parametrize("background", [True, False])
def test_an_end_that_nothing_tells_is_an_error_after_the_bytes(background):
    with serve(**BARE) as server, open_stream(server, background=background) as source:
        assert source.read(9 * BLOCK) == CONTENT[: 9 * BLOCK]
        for _ in range(2):
            with pytest.raises(NetworkError, match="nothing tells that it was whole"):
                source.readall()
        assert not source.status().complete


@pytest.mark.parametrize("background", [True, False])
def test_an_end_that_nothing_tells_is_accepted_where_the_digest_is_right(background):
    with serve(**BARE) as server:
        with open_stream(server, digest=sha256(CONTENT), background=background) as source:
            assert source.read() == CONTENT
            assert source.status().verified_by == "digest"


def test_a_cut_body_with_an_end_that_nothing_tells_has_another_digest():
    with serve(**BARE, cut_after=5 * BLOCK) as server, open_stream(server, digest=sha256(CONTENT)) as source:
        assert source.read(5 * BLOCK) == CONTENT[: 5 * BLOCK]
        with pytest.raises(DigestMismatchError):
            source.read(1)


def test_a_chunked_body_that_was_cut_is_an_error_even_with_a_digest():
    with serve(**CHUNKED, cut_after=5 * BLOCK) as server:
        with open_stream(server, digest=sha256(CONTENT[: 5 * BLOCK])) as source:
            found = []
            with pytest.raises(NetworkError):
                found.extend(iter(lambda: source.read(1000), b""))
            assert CONTENT.startswith(b"".join(found))
            with pytest.raises(NetworkError):
                source.read(1)


def test_a_body_that_falls_silent_is_a_stall():
    with serve(**CHUNKED, stall_after=2 * BLOCK) as server, open_stream(server, timeout=0.3) as source:
        assert source.read(2 * BLOCK) == CONTENT[: 2 * BLOCK]
        with pytest.raises(StalledError):
            source.read(1)


def test_there_is_no_part_of_it_and_no_cache_for_it(tmp_path):
    with serve(**CHUNKED) as server:
        with pytest.raises(UnsizedSourceError):
            open_stream(server, offset=1)
        with new_cache(tmp_path, len(CONTENT), BLOCK) as cache, pytest.raises(UnsizedSourceError):
            open_stream(server, cache=cache)


def test_its_digest_is_compared():
    with serve(**CHUNKED) as server, open_stream(server, digest=sha256(b"else"), window=BLOCK) as source:
        assert source.read(len(CONTENT)) == CONTENT
        for _ in range(2):
            with pytest.raises(DigestMismatchError):
                source.read(BLOCK)


def test_progress_is_told_without_a_size():
    seen = []
    with serve(**CHUNKED) as server, open_stream(server, progress=seen.append) as source:
        assert source.read() == CONTENT
    assert seen[-1].cached_or_streamed_bytes == len(CONTENT)
    assert seen[-1].download_size == 0
