"""Streams from a server that half of the world runs: every byte, in order, and each fetched once."""

from __future__ import annotations

import hashlib
import io
import random
import time

import pytest
from disk_helpers import new_cache
from processes import nothing_left_behind, until
from stream_tools import SOON, has_come, our_threads

import largefile
from largefile import NetworkError, NotFoundError, RefusedError, SourceChangedError

pytestmark = pytest.mark.servers

MIB = 1 << 20
SIZE = 24 * MIB + 12345


@pytest.fixture(scope="module")
def content(nginx):
    """The bytes of ``/files/stream``."""
    data = random.Random(3).randbytes(SIZE)
    (nginx.files / "stream").write_bytes(data)
    return data


def open_stream(url, **options):
    return largefile.stream(url, **{"proxy": "", "window": 8 * MIB, **options})


def sha256(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("concurrency", [1, 4, 16])
@pytest.mark.parametrize("background", [True, False])
def test_a_stream_is_the_file_and_asks_for_each_byte_once(nginx, content, concurrency, background):
    mark = nginx.mark()
    options = {"concurrency": concurrency, "background": background, "digest": sha256(content)}
    with open_stream(nginx.url("/files/stream"), **options) as source:
        assert source.read() == content
        status = source.status()
    assert (status.verified_by, status.download_errors) == ("digest", 0)
    requests = nginx.since(mark)
    assert {request.status for request in requests} == {206}
    assert sum(request.sent for request in requests) == SIZE
    assert len({request.connection for request in requests}) <= concurrency


@pytest.mark.parametrize(
    "path", [f"/{way}/stream" for way in ("rangeless", "unvouched", "moved", "elsewhere")]
)
def test_every_habit_of_servers_gives_the_same_bytes(nginx, content, path):
    with open_stream(nginx.url(path)) as source:
        assert hashlib.sha256(b"".join(source)).digest() == hashlib.sha256(content).digest()
        assert source.status().download_errors == 0


def test_a_content_of_unknown_size_comes_whole(nginx, content):
    with open_stream(nginx.url("/unsized/stream")) as source:
        assert source.content_length is None
        assert source.read() == content
    with open_stream(nginx.url("/unsized/stream"), digest=sha256(content)) as source:
        assert source.read() == content
        assert source.status().verified_by == "digest"


def test_tls_gives_the_same_bytes(nginx, content):
    with open_stream(nginx.https("/files/stream"), ca_file=nginx.ca_file) as source:
        assert source.read() == content


def test_an_offset_fetches_the_rest_alone(nginx, content):
    mark = nginx.mark()
    with open_stream(nginx.url("/files/stream"), offset=20 * MIB + 7) as source:
        assert source.read() == content[20 * MIB + 7 :]
    assert sum(request.sent for request in nginx.since(mark)) == SIZE - 20 * MIB


def test_nothing_is_sent_beyond_the_window_while_nobody_reads(nginx, content):
    mark = nginx.mark()
    with open_stream(nginx.url("/files/stream"), window=4 * MIB) as source:
        has_come(source, 4 * MIB)
        assert sum(request.sent for request in nginx.since(mark)) == 4 * MIB
        assert source.read() == content


@pytest.mark.parametrize("path", ["/rangeless/stream", "/unsized/stream"])
def test_a_body_that_is_held_back_waits_in_the_server(nginx, content, path):
    with open_stream(nginx.url(path), window=2 * MIB, timeout=0.5) as source:
        until(lambda: source.stats().cached_or_streamed_bytes >= 2 * MIB, what="the window is full")
        time.sleep(1.2)
        assert source.stats().cached_or_streamed_bytes == 2 * MIB
        copy = io.BytesIO()
        while piece := source.read(100_000):
            copy.write(piece)
        assert copy.getvalue() == content
        assert source.status().download_errors == 0


@pytest.mark.parametrize(
    ("path", "error"), [("/files/missing", NotFoundError), ("/forbidden/stream", RefusedError)]
)
def test_what_the_server_refuses_is_an_error_at_once(nginx, path, error):
    with nothing_left_behind(), pytest.raises(error):
        open_stream(nginx.url(path))


def test_nobody_listens():
    with nothing_left_behind(), pytest.raises(NetworkError):
        open_stream("http://127.0.0.1:9/x", tries=1)


@pytest.mark.parametrize("path", ["/files/stream", "/rangeless/stream", "/unsized/stream"])
@pytest.mark.parametrize("background", [True, False])
def test_close_in_the_middle_leaves_nothing(nginx, content, path, background):
    with nothing_left_behind():
        source = open_stream(nginx.url(path, rate=2 * MIB), background=background, digest=sha256(content))
        assert source.read(100) == content[:100]
        began = time.monotonic()
        source.close()
        assert time.monotonic() - began < SOON
        assert our_threads() == []
    nginx.settle()  # it is told, too


def test_a_file_that_is_replaced_meanwhile_is_a_changed_source(nginx, content):
    path = nginx.files / "replaced"
    path.write_bytes(content)
    with open_stream(nginx.url("/files/replaced"), window=4 * MIB) as source:
        has_come(source, 4 * MIB)
        fresh = nginx.files / "replaced.new"
        fresh.write_bytes(content[::-1] + b"!")
        fresh.replace(path)
        found = bytearray(source.read(4 * MIB))
        with pytest.raises(SourceChangedError):
            found.extend(byte for piece in iter(lambda: source.read(MIB), b"") for byte in piece)
        assert content.startswith(found)
        assert len(found) >= 4 * MIB


def test_a_consumer_that_begins_again_over_a_cache_fetches_the_rest_alone(nginx, content, tmp_path):
    with new_cache(tmp_path, SIZE, MIB) as cache:
        with open_stream(nginx.url("/files/stream"), cache=cache) as source:
            assert source.read(10 * MIB) == content[: 10 * MIB]
        had, mark = cache.cached_bytes_and_blocks()[0], nginx.mark()
        with open_stream(nginx.url("/files/stream"), cache=cache, digest=sha256(content)) as source:
            assert source.read() == content
        assert sum(request.sent for request in nginx.since(mark)) <= SIZE - had + 1
        assert cache.verify() == []
