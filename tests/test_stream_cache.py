"""A stream through a cache leaves the content behind, and asks for nothing that is there already."""

from __future__ import annotations

import mmap

import pytest
from disk_helpers import new_cache, present, put, reopen
from processes import until
from server_tools import BLOCK, always, noise, sha256
from stream_tools import PlainReader, Reading, has_come, open_stream

from largefile import (
    CancelledError,
    DigestMismatchError,
    SourceChangedError,
    StreamingDownloader,
)
from largefile.testing.server import LoopbackServer

BLOCKS = 40
CONTENT = noise(BLOCKS * BLOCK + 777)
OTHER = noise(BLOCKS * BLOCK + 777, seed=1)


@pytest.fixture
def cache(tmp_path):
    with new_cache(tmp_path, len(CONTENT), BLOCK) as cache:
        yield cache


@pytest.fixture
def server():
    with LoopbackServer(CONTENT) as server:
        yield server


def test_what_is_read_is_in_the_cache_too_and_stays_after_both_are_closed(tmp_path, server):
    with new_cache(tmp_path, len(CONTENT), BLOCK) as cache:
        with open_stream(server, cache=cache, window=8 * BLOCK, digest=sha256(CONTENT)) as source:
            assert source.read() == CONTENT
            status = source.status()
        assert (status.path, status.verified_by, status.complete) == (cache.path, "digest", True)
        assert not cache.byte_ranges.is_clear(0)
    with reopen(tmp_path) as cache:
        assert (cache.complete, cache.hashed_blocks, cache.verify()) == (True, 0, [])
        assert cache.read_at(len(CONTENT), 0) == CONTENT
        assert cache.identity.etag == '"v1"'


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("window", [1, 3, 100])
def test_every_way_through_a_cache_gives_the_content(cache, background, ranges, window):
    put(cache, CONTENT, 0, 7, 8, 9, BLOCKS)
    with LoopbackServer(CONTENT, behave=always(ranges=ranges)) as server:
        options = {"window": window * BLOCK, "background": background, "digest": sha256(CONTENT)}
        with open_stream(server, cache=cache, **options) as source:
            assert b"".join(source) == CONTENT
            assert source.status().complete


def test_a_second_stream_over_a_full_cache_fetches_no_content(cache, server):
    with open_stream(server, cache=cache) as source:
        assert source.read() == CONTENT
    count, sent = len(server.requests), server.sent
    with open_stream(server, cache=cache, digest=sha256(CONTENT)) as source:
        assert source.read() == CONTENT
        assert source.stats().resumed_bytes == len(CONTENT)
    assert len(server.requests) == count + 1  # who is it now?
    assert server.sent <= sent + 1


@pytest.mark.parametrize("offset", [0, 5, BLOCK, 3 * BLOCK + 9, 17 * BLOCK, len(CONTENT) - 1, len(CONTENT)])
def test_a_consumer_that_begins_again_goes_on_anywhere(cache, server, offset):
    with open_stream(server, cache=cache, window=4 * BLOCK) as source:
        assert source.read(10 * BLOCK) == CONTENT[: 10 * BLOCK]
    had, count = present(cache), len(server.requests)
    with open_stream(server, cache=cache, offset=offset, window=4 * BLOCK) as source:
        assert source.read() == CONTENT[offset:]
    if offset < len(CONTENT):
        assert present(cache) == had | set(range(offset // BLOCK, BLOCKS + 1))
    ranges = [request.range for request in server.requests[count:] if request.sent > 1]
    asked = [block for first, last in ranges for block in range(first // BLOCK, last // BLOCK + 1)]
    assert len(asked) == len(set(asked))
    assert not set(asked) & had


def test_nothing_beyond_the_window_is_asked_for_with_a_cache_either(cache, server):
    put(cache, CONTENT, *range(6))
    with open_stream(server, cache=cache, window=8 * BLOCK, digest=sha256(CONTENT)) as source:
        has_come(source, 8 * BLOCK)
        assert max(request.range[1] for request in server.requests) == 8 * BLOCK - 1
        assert source.read() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("window", [2, 8])
def test_a_gap_beyond_the_window_is_fetched_when_the_reader_comes_near(cache, ranges, window):
    put(cache, CONTENT, *range(20))
    with LoopbackServer(CONTENT, behave=always(ranges=ranges)) as server:
        options = {"window": window * BLOCK, "digest": sha256(CONTENT)}
        with open_stream(server, cache=cache, **options) as source:
            assert source.read() == CONTENT
        assert cache.verify() == []


# --- other versions, wrong sizes ---------------------------------------------------------------------


@pytest.mark.parametrize("background", [True, False])
def test_a_cache_of_another_version_is_left_alone(tmp_path, server, background):
    with new_cache(tmp_path, len(CONTENT), BLOCK) as cache:
        with open_stream(server, cache=cache, window=4 * BLOCK) as source:
            assert source.read(5 * BLOCK) == CONTENT[: 5 * BLOCK]
        had = present(cache)
        server.content = OTHER
        with pytest.raises(SourceChangedError):
            open_stream(server, cache=cache, background=background)
        put(cache, CONTENT, *set(range(BLOCKS + 1)) - had)
        with pytest.raises(SourceChangedError):  # also if nothing is missing
            open_stream(server, cache=cache, background=background)
        assert cache.verify() == []


def test_blocks_that_nobody_vouches_for_are_not_mixed_with_others(cache, server):
    put(cache, CONTENT, 3)  # and the index knows no validator
    with pytest.raises(SourceChangedError):
        open_stream(server, cache=cache)
    with open_stream(server, cache=cache, digest=sha256(CONTENT)) as source:
        assert source.read() == CONTENT


def test_wrong_bytes_in_the_cache_are_seen_by_the_digest(cache, server):
    put(cache, OTHER, 3)
    with open_stream(server, cache=cache, digest=sha256(CONTENT)) as source:
        assert len(source.read(len(CONTENT))) == len(CONTENT)
        with pytest.raises(DigestMismatchError):
            source.read(1)


@pytest.mark.parametrize("size", [1, len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_cache_of_another_size_is_a_value_error(tmp_path, server, size):
    with new_cache(tmp_path, size, BLOCK) as cache:
        with pytest.raises(ValueError, match=f"cache size {size} does not match file size"):
            open_stream(server, cache=cache)
        with pytest.raises(ValueError, match="beyond"):
            open_stream(server, cache=cache, offset=10**30)


def test_an_empty_content_needs_nothing(tmp_path):
    with new_cache(tmp_path, 0, BLOCK) as cache, LoopbackServer(b"") as server:
        with open_stream(server, cache=cache, digest=sha256(b"")) as source:
            assert source.read() == b""
            assert source.status().complete


# --- the cache goes first ----------------------------------------------------------------------------


@pytest.mark.parametrize("background", [True, False])
def test_a_cache_that_is_closed_meanwhile_is_an_error_and_no_hang(cache, server, background):
    server.rate = 300_000
    with open_stream(server, cache=cache, window=4 * BLOCK, background=background) as source:
        assert source.read(10) == CONTENT[:10]
        reading = Reading(lambda: source.read())
        until(lambda: source.stats().cached_or_streamed_blocks >= 2, what="the read goes on")
        cache.close()
        with pytest.raises(ValueError, match="closed"):
            reading.result(10)


def test_a_cache_that_was_closed_before_the_last_read_is_an_error(cache, server):
    with open_stream(server, cache=cache) as source:
        has_come(source, len(CONTENT))
        cache.close()
        with pytest.raises(ValueError, match="closed"):
            source.read()


# --- views, Readers, ends ----------------------------------------------------------------------------


def test_views_are_maps_of_the_cache_and_outlive_it(tmp_path, server):
    with new_cache(tmp_path, len(CONTENT), BLOCK) as cache:
        with open_stream(server, cache=cache, window=2 * BLOCK) as source:
            views = list(source)
            assert source.status().out_of_order == 0  # places that nobody waits for are not counted
    assert all(isinstance(view.obj, mmap.mmap) for view in views)
    assert b"".join(views) == CONTENT


@pytest.mark.parametrize("background", [True, False])
def test_a_reader_feeds_a_cache_and_a_cache_a_reader(tmp_path, background):
    content = noise(10_000)
    reader = PlainReader(content, 4096)
    with new_cache(tmp_path, len(content), 1000) as cache:  # the cache's blocks count
        with StreamingDownloader(reader, cache=cache, window=2000, background=background) as source:
            assert [len(block) for block in source] == [1000] * 10
        asked = len(reader.asked)
        with StreamingDownloader(reader, cache=cache, background=background) as source:
            assert source.read() == content
        assert len(reader.asked) == asked
        assert cache.verify() == []


@pytest.mark.parametrize("background", [True, False])
def test_what_came_before_a_cancel_is_kept(tmp_path, server, background):
    server.rate = 500_000
    with new_cache(tmp_path, len(CONTENT), BLOCK) as cache:
        with open_stream(server, cache=cache, window=4 * BLOCK, background=background) as source:
            assert source.read(3 * BLOCK) == CONTENT[: 3 * BLOCK]
            source.cancel()
            with pytest.raises(CancelledError):
                source.read()
        had = present(cache)
    assert had >= {0, 1, 2}
    with reopen(tmp_path) as cache:
        assert present(cache) == had
        assert cache.verify() == []
