"""Downloads from a server that half of the world runs: every byte right, every promise of the status true."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import itertools
import os
import random
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import trustme
from processes import Download, in_place, nothing_left_behind, until

import largefile
from largefile import (
    CacheBusyError,
    CachingDownloader,
    CancelledError,
    DestinationExistsError,
    DigestMismatchError,
    FileReader,
    HTTPReader,
    LocalDownloadCache,
    NetworkError,
    NotFoundError,
    ProtocolError,
    ReadError,
    RefusedError,
    SourceChangedError,
)
from largefile.caching import start_download
from largefile.core.sink import BlockSink
from largefile.disk.create import create_cache_files
from largefile.events import Answered, Fetch, Outcome
from largefile.wire.curl import CurlTransport

pytestmark = pytest.mark.servers

MIB = 1 << 20
#: The last block is short.
SIZE = 8 * MIB + 12345
LARGE = 100 * 10**6
#: A connection that gets this many bytes at once and as many each second: a download lasts a few seconds.
SLOW = 300_000


@pytest.fixture(scope="module")
def content(nginx):
    """The bytes of ``/files/content``."""
    data = random.Random(1).randbytes(SIZE)
    (nginx.files / "content").write_bytes(data)
    return data


@pytest.fixture(scope="module")
def large(nginx):
    """The SHA-256 of ``/files/large``."""
    data = random.Random(2).randbytes(LARGE)
    (nginx.files / "large").write_bytes(data)
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def changing(nginx, content):
    """A file that its test replaces, as its path on the server and the function that replaces it."""
    path = nginx.files / "changing"

    def put(data: bytes, age: int) -> None:
        fresh = path.with_name("changing.new")
        fresh.write_bytes(data)
        # nginx makes its ETag of time and size: within one second two versions would have the same.
        os.utime(fresh, (10**9 - age, 10**9 - age))
        fresh.replace(path)

    put(content, age=100)
    return "/files/changing", lambda data: put(data, age=0)


def sha256(path):
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def begun(job, least=MIB):
    """Wait until a job has some bytes in place."""
    until(lambda: job.done or job.stats().cached_or_streamed_bytes >= least, what="a download has begun")
    assert not job.done


# --- what is there -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB])
def test_any_size_arrives_whole(nginx, tmp_path, size):
    data = random.Random(size).randbytes(size)
    (nginx.files / f"size-{size}").write_bytes(data)
    with nothing_left_behind():
        status = largefile.download(nginx.url(f"/files/size-{size}"), tmp_path / "x", block_size=MIB)
    assert (tmp_path / "x").read_bytes() == data
    assert names_in(tmp_path) == ["x"]
    assert status.complete
    assert status.downloaded_bytes == status.download_size == size


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_each_byte_of_a_large_file_is_sent_once(nginx, tmp_path, large, secure):
    url = nginx.https("/files/large") if secure else nginx.url("/files/large")
    mark = nginx.mark()
    with nothing_left_behind():
        status = largefile.download(url, tmp_path / "x", ca_file=nginx.ca_file, digest=f"sha256:{large}")
    requests = nginx.since(mark)
    assert sha256(tmp_path / "x") == large
    assert (status.verified_by, status.digest) == ("digest", f"sha256:{large}")
    assert status.downloaded_bytes == LARGE
    assert status.download_retries == status.download_errors == 0
    assert status.downloaded_blocks == status.download_blocks == status.cached_or_streamed_blocks
    assert sum(each.sent for each in requests) == LARGE
    assert {each.status for each in requests} == {206}
    # Connections are kept: there are no more of them than transfers at once.
    assert len({each.connection for each in requests}) <= 9


def test_a_strong_etag_is_what_vouches_without_a_digest(nginx, tmp_path, content):
    status = largefile.download(nginx.url("/files/content"), tmp_path / "x")
    assert status.verified_by == "strong-etag"
    assert status.identity["etag"].endswith(f'-{SIZE:x}"')
    assert status.identity["size"] == SIZE


def test_a_buffer_is_filled_in_place(nginx, content):
    buffer = bytearray(b"\xee" * (SIZE + 7))
    with nothing_left_behind():
        status = largefile.download(nginx.url("/files/content"), into=buffer)
    assert status.complete
    assert buffer == content + b"\xee" * 7


def test_a_compressed_file_arrives_as_it_is(nginx, tmp_path, content):
    data = gzip.compress(content[:MIB])
    (nginx.files / "archive.tar.gz").write_bytes(data)
    largefile.download(nginx.url("/files/archive.tar.gz"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == data


def test_a_body_in_another_coding_is_never_taken_for_the_content(nginx, tmp_path, content):
    (nginx.files / "coded").write_bytes(content[:MIB])
    (nginx.files / "coded.gz").write_bytes(gzip.compress(content[:MIB]))
    with pytest.raises(ProtocolError, match="Content-Encoding gzip"):
        largefile.download(nginx.url("/packed/coded"), tmp_path / "x", tries=1)
    assert names_in(tmp_path) == []


# --- what is not there, or not for us ----------------------------------------------------------------


def test_a_stranger_with_the_right_name_is_not_trusted(nginx, tmp_path, content):
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca"))
    mark = nginx.mark()
    with pytest.raises(NetworkError, match="certificate") as caught:
        largefile.download(nginx.https("/files/content"), tmp_path / "x", ca_file=tmp_path / "ca")
    assert caught.value.code == 60  # CURLE_PEER_FAILED_VERIFICATION
    assert nginx.since(mark) == []
    assert names_in(tmp_path) == ["ca"]


@pytest.mark.parametrize(
    ("path", "error"), [("/files/missing", NotFoundError), ("/forbidden/content", RefusedError)]
)
def test_an_address_with_nothing_for_us_is_asked_once(nginx, tmp_path, path, error):
    mark = nginx.mark()
    with nothing_left_behind(), pytest.raises(error):
        largefile.download(nginx.url(path), tmp_path / "x")
    assert len(nginx.since(mark)) == 1
    assert names_in(tmp_path) == []


def test_nobody_at_the_port_is_a_network_error(tmp_path):
    with pytest.raises(NetworkError, match="no connection") as caught:
        largefile.download("http://127.0.0.1:1/x", tmp_path / "x", tries=1)
    assert caught.value.resumable


@pytest.mark.parametrize("path", ["/moved/content", "/elsewhere/content", "/secured/content"])
def test_redirects_are_followed_once_and_remembered(nginx, tmp_path, content, path):
    mark = nginx.mark()
    largefile.download(nginx.url(path), tmp_path / "x", ca_file=nginx.ca_file)
    assert (tmp_path / "x").read_bytes() == content
    answers = [each.status for each in nginx.since(mark)]
    assert answers.count(302) == 1
    assert answers.count(206) == len(answers) - 1


def test_nothing_leads_from_https_to_http(nginx, tmp_path, content):
    with pytest.raises(RefusedError, match="from https to http"):
        largefile.download(nginx.https("/downgraded/content"), tmp_path / "x", ca_file=nginx.ca_file)


def test_a_body_for_a_sink_that_takes_no_more_is_an_end_and_no_error(nginx, content):
    # libcurl has read some of the body together with the head, and hands it out while it is let go on.
    sink, fetch = BlockSink(), Fetch(0, 99, nginx.url("/files/content"))
    with contextlib.closing(CurlTransport()) as transport:
        transport.start(fetch, sink)
        until(lambda: any(isinstance(news, Answered) for news in transport.poll(0.1)), what="an answer")
        sink.halt()
        transport.admit(fetch)
        ends = until(lambda: transport.poll(0.1), what="the end")
    assert [(end.fetch, end.outcome) for end in ends] == [(fetch, Outcome.HALTED)]


# --- servers that can less ---------------------------------------------------------------------------


def test_a_server_without_ranges_sends_its_one_stream_once(nginx, tmp_path, content):
    mark = nginx.mark()
    status = largefile.download(nginx.url("/rangeless/content"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == content
    assert [(each.status, each.sent) for each in nginx.since(mark)] == [(200, SIZE)]
    assert status.downloaded_bytes == SIZE


def test_a_stream_without_ranges_goes_on_where_it_was_by_skipping(nginx, tmp_path, content):
    job = start_download(nginx.url("/rangeless/content", rate=2 * MIB), tmp_path / "x")
    begun(job)
    job.cancel()
    with pytest.raises(CancelledError):
        job.result()
    before = in_place(tmp_path / "x")
    status = largefile.download(nginx.url("/rangeless/content"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == content
    assert status.resumed_bytes == before >= MIB
    assert status.downloaded_blocks == status.download_blocks - before // MIB


def test_a_body_of_unknown_size_is_one_stream_and_says_so(nginx, tmp_path, content):
    status = largefile.download(nginx.url("/unsized/content"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == content
    assert names_in(tmp_path) == ["x"]
    assert status.complete
    assert status.download_size == SIZE
    assert any("does not say the size" in note for note in status.notes)


def test_without_validators_one_process_completes_by_ranges(nginx, tmp_path, content):
    mark = nginx.mark()
    status = largefile.download(nginx.url("/unvouched/content"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == content
    assert status.verified_by == "size"
    assert status.identity["etag"] is status.identity["last_modified"] is None
    assert sum(each.sent for each in nginx.since(mark)) == SIZE


@pytest.mark.parametrize("known", [False, True], ids=["no digest", "digest"])
def test_without_validators_only_a_digest_lets_another_process_go_on(nginx, tmp_path, content, known):
    options = {"digest": "sha256:" + hashlib.sha256(content).hexdigest()} if known else {}
    with Download(nginx.url("/unvouched/content", rate=SLOW), tmp_path / "x", **options) as child:
        child.reaches(MIB)
        assert child.kill()
    before = in_place(tmp_path / "x")
    status = largefile.download(nginx.url("/unvouched/content"), tmp_path / "x", **options)
    assert (tmp_path / "x").read_bytes() == content
    assert status.resumed_bytes == (before if known else 0)
    assert any("neither ETag nor Last-Modified" in note for note in status.notes) is not known


# --- digests -----------------------------------------------------------------------------------------


def test_wrong_bytes_are_put_aside_and_the_next_run_begins_anew(nginx, tmp_path, content):
    wrong = "sha256:" + "0" * 64
    with nothing_left_behind(), pytest.raises(DigestMismatchError) as caught:
        largefile.download(nginx.url("/files/content"), tmp_path / "x", digest=wrong)
    assert caught.value.found == "sha256:" + hashlib.sha256(content).hexdigest()
    assert caught.value.path == str(tmp_path / "x.bad")
    assert names_in(tmp_path) == ["x.bad"]
    assert (tmp_path / "x.bad").read_bytes() == content
    status = largefile.download(nginx.url("/files/content"), tmp_path / "x", digest=caught.value.found)
    assert status.resumed_bytes == 0
    assert status.verified_by == "digest"


def test_a_destination_that_has_the_digest_costs_no_request(nginx, tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    mark = nginx.mark()
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    status = largefile.download(nginx.url("/files/content"), tmp_path / "x", digest=digest)
    assert status.complete
    assert status.verified_by == "digest"
    assert nginx.since(mark) == []


def test_a_destination_that_is_there_is_kept_unless_told_otherwise(nginx, tmp_path, content):
    (tmp_path / "x").write_bytes(b"mine")
    with pytest.raises(DestinationExistsError):
        largefile.download(nginx.url("/files/content"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"mine"
    largefile.download(nginx.url("/files/content"), tmp_path / "x", overwrite=True)
    assert (tmp_path / "x").read_bytes() == content


# --- a source that changes ---------------------------------------------------------------------------


def test_a_file_replaced_meanwhile_is_begun_anew_and_never_mixed(nginx, tmp_path, content, changing):
    path, replace = changing
    fresh = bytes(reversed(content))
    job = start_download(nginx.url(path, rate=SLOW), tmp_path / "x", block_size=64 * 1024)
    begun(job)
    replace(fresh)
    status = job.result(timeout=60)
    assert (tmp_path / "x").read_bytes() == fresh
    assert any("the source changed" in note for note in status.notes)
    assert names_in(tmp_path) == ["x"]


def test_a_file_replaced_meanwhile_fails_where_that_is_wanted(nginx, tmp_path, content, changing):
    path, replace = changing
    fresh = bytes(reversed(content))
    job = start_download(nginx.url(path, rate=SLOW), tmp_path / "x", block_size=64 * 1024, on_change="fail")
    begun(job)
    replace(fresh)
    with pytest.raises(SourceChangedError) as caught:
        job.result(timeout=60)
    assert caught.value.found != caught.value.wanted
    assert names_in(tmp_path) == ["x.part", "x.part.idx"]
    assert_only_of(tmp_path / "x", content)
    with pytest.raises(SourceChangedError):
        largefile.download(nginx.url(path), tmp_path / "x", on_change="fail")
    status = largefile.download(nginx.url(path), tmp_path / "x")
    assert status.resumed_bytes == 0
    assert (tmp_path / "x").read_bytes() == fresh


def assert_only_of(dest, content):
    """Every block that the partial file vouches for is this content's."""
    with LocalDownloadCache.open(f"{dest}.part", f"{dest}.part.idx") as cache:
        block, seen = 0, 0
        while block is not None and (found := cache.next_cached(block)) is not None:
            where = found[1]
            assert cache.read_at(where.size, where.first) == content[where.first : where.stop]
            block, seen = found[0] if found[0] > block else None, seen + where.size
    assert seen > 0


# --- company, and an early end -----------------------------------------------------------------------


def test_a_second_download_to_the_same_place_is_told_who_is_there(nginx, tmp_path, content):
    with Download(nginx.url("/files/content", rate=SLOW), tmp_path / "x") as child:
        child.reaches(1)
        with pytest.raises(CacheBusyError, match=str(child.process.pid)):
            largefile.download(nginx.url("/files/content"), tmp_path / "x")
        assert child.process.poll() is None
    status = largefile.download(nginx.url("/files/content"), tmp_path / "x")
    assert status.resumed_bytes > 0
    assert (tmp_path / "x").read_bytes() == content


def test_cancelling_does_not_wait_for_the_network(nginx, tmp_path, content):
    with nothing_left_behind():
        # After its first burst this server says nothing for minutes.
        job = start_download(nginx.url("/files/content", rate=4096), tmp_path / "x", block_size=4096)
        begun(job, least=4096)
        canceller = threading.Thread(target=job.cancel)
        canceller.start()
        with pytest.raises(CancelledError) as caught:
            job.result(timeout=1.0)
        canceller.join()
    assert caught.value.resumable
    assert not caught.value.status.complete
    status = largefile.download(nginx.url("/files/content"), tmp_path / "x")
    assert status.resumed_bytes == caught.value.status.cached_or_streamed_bytes > 0
    assert status.resumed_bytes + status.downloaded_bytes == SIZE
    assert (tmp_path / "x").read_bytes() == content


def test_progress_never_goes_back_and_its_last_word_is_the_whole(nginx, tmp_path, content):
    seen = []
    url = nginx.url("/files/content", rate=MIB // 2)
    status = largefile.download(url, tmp_path / "x", progress=seen.append)
    for before, after in itertools.pairwise(seen):
        assert after.cached_or_streamed_bytes >= before.cached_or_streamed_bytes
        assert after.downloaded_bytes >= before.downloaded_bytes
        assert after.elapsed >= before.elapsed
    assert len(seen) > 2
    assert seen[0].cached_or_streamed_bytes < SIZE
    assert seen[-1].cached_or_streamed_bytes == seen[-1].download_size == SIZE == status.downloaded_bytes


# --- readers and caches by name ----------------------------------------------------------------------


class UrllibReader:
    """A Reader as anybody would write one, over the standard library."""

    def __init__(self, url, size):
        self.name = url
        self.size = size

    def content_length_and_block_size(self):
        return self.size, MIB

    def digest(self):
        return None

    def get_reader(self, first, last):
        request = urllib.request.Request(self.name, headers={"Range": f"bytes={first}-{last}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return io.BytesIO(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise ReadError(str(error), retryable=error.code >= 500) from None


@pytest.fixture(params=["HTTPReader", "FileReader", "a user's Reader"])
def reader(request, nginx, content):
    if request.param == "FileReader":
        return FileReader(nginx.files / "content")
    url = nginx.url("/files/content")
    return HTTPReader(url) if request.param == "HTTPReader" else UrllibReader(url, SIZE)


def test_any_reader_fills_a_cache_and_a_second_run_asks_for_nothing(reader, tmp_path, content):
    paths = tmp_path / "data", tmp_path / "index"
    create_cache_files(*paths, SIZE, MIB)
    with nothing_left_behind():
        with LocalDownloadCache.open(*paths) as cache:
            status = CachingDownloader(reader, cache, concurrency=4).run()
            assert cache.read_at(SIZE, 0) == content
        if isinstance(reader, HTTPReader):
            reader.close()
    assert status.complete
    assert status.downloaded_bytes == SIZE
    assert status.iterations >= 1
    with LocalDownloadCache.open(*paths) as cache:
        again = CachingDownloader(reader, cache).run()
        assert (again.downloaded_bytes, again.resumed_bytes) == (0, SIZE)
        if isinstance(reader, HTTPReader):
            reader.close()


def test_what_is_complete_and_has_no_name_yet_is_published_after_one_question(nginx, tmp_path, content):
    part = f"{tmp_path}/x.part", f"{tmp_path}/x.part.idx"
    with HTTPReader(nginx.url("/files/content")) as source:
        create_cache_files(*part, SIZE, MIB, identity=source.identity, url=source.name)
        with LocalDownloadCache.open(*part) as cache:
            CachingDownloader(source, cache).run()
    mark = nginx.mark()
    status = largefile.download(nginx.url("/files/content"), tmp_path / "x")
    assert [request.range for request in nginx.since(mark)] == ["bytes=0-0"]
    assert (status.resumed_bytes, status.downloaded_bytes, status.verified_by) == (SIZE, 0, "strong-etag")
    assert (tmp_path / "x").read_bytes() == content
    assert names_in(tmp_path) == ["x"]


def test_a_reader_that_finds_nothing_ends_it_with_its_own_words(nginx, tmp_path):
    paths = tmp_path / "data", tmp_path / "index"
    create_cache_files(*paths, SIZE, MIB)
    with nothing_left_behind(), LocalDownloadCache.open(*paths) as cache:
        downloader = CachingDownloader(UrllibReader(nginx.url("/files/missing"), SIZE), cache)
        with pytest.raises(ReadError, match="404"):
            downloader.run()
