"""What can not be used is a typed error that names the value and what is allowed; nothing is made or lost."""

from __future__ import annotations

import io
import os
import re
import struct

import pytest
import xxhash
from server_tools import BLOCK, after, get, names, noise, parts, sha256

import largefile
from largefile.disk.create import create_cache_files
from largefile.disk.header import SLOT_SIZE, SLOTS
from largefile.errors import (
    CacheBusyError,
    DestinationExistsError,
    DestinationInUseError,
    IncompleteError,
    IndexCorruptError,
    IndexVersionError,
    LargeFileError,
    NotFoundError,
    PartialFileError,
    ReadError,
    SourceChangedError,
)
from largefile.testing.server import LoopbackServer

SIZE = 40 * BLOCK + 17
CONTENT = noise(SIZE)
GOOD_URL = "http://127.0.0.1:9/file.bin"


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "file.bin"


@pytest.fixture
def server():
    with LoopbackServer(CONTENT) as made:
        yield made


def snapshot(folder):
    """Every name and every byte."""
    found = {}
    for path in sorted(folder.rglob("*")):
        found[path.relative_to(folder)] = path.read_bytes() if path.is_file() else None
    return found


# --- arguments -------------------------------------------------------------------------------------

URLS = [
    ("ftp://host/file", "ftp", "http"),
    ("file:///etc/passwd", "file", "http"),
    ("host/file", "host/file", "http"),
    ("", "", "http"),
    ("http://", "http://", "host"),
    ("http:///file", "http:///file", "host"),
    ("http://host:99999/x", "99999", "port"),
    ("http://host:port/x", "port", "port"),
    ("http://[::1/x", "[::1", ""),
    ("http://ho st/x", "ho st", ""),
    ("http://host/a\nb", "", ""),
]


@pytest.mark.parametrize(("url", "found", "needed"), URLS)
def test_a_url_that_can_not_be_used(tmp_path, dest, url, found, needed):
    with pytest.raises(ValueError) as caught:
        largefile.download(url, dest)
    message = str(caught.value)
    assert found.encode("unicode_escape").decode() in message or found in message
    assert needed in message
    assert "\n" not in message
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize(
    "url", ["http://me:secret@host/x", "http://me:secret@host", "https://:secret@host/x"]
)
def test_a_url_with_a_password_is_not_repeated_in_the_message(tmp_path, dest, url):
    with pytest.raises(ValueError, match="auth") as caught:
        largefile.download(url, dest)
    assert "secret" not in str(caught.value)
    assert snapshot(tmp_path) == {}


ARGUMENTS = [
    ({"block_size": 0}, "block_size is 0", "4096"),
    ({"block_size": 4095}, "4095", "4096"),
    ({"block_size": (1 << 30) + 1}, str((1 << 30) + 1), str(1 << 30)),
    ({"block_size": -1}, "-1", "4096"),
    ({"block_size": "big"}, "'big'", "auto"),
    ({"concurrency": 0}, "concurrency is 0", "256"),
    ({"threads": 0}, "threads is 0", "16"),
    ({"threads": True}, "threads is True", "16"),
    ({"concurrency": 257}, "257", "256"),
    ({"concurrency": "many"}, "'many'", "auto"),
    ({"concurrency": 2.5}, "2.5", "256"),
    ({"timeout": 0}, "timeout is 0", "above 0"),
    ({"timeout": -1}, "-1", "above 0"),
    ({"timeout": float("nan")}, "nan", "above 0"),
    ({"timeout": float("inf")}, "inf", "above 0"),
    ({"connect_timeout": 0}, "connect_timeout is 0", "above 0"),
    ({"connect_timeout": float("inf")}, "inf", "above 0"),
    ({"deadline": 0}, "deadline is 0", "above 0"),
    ({"deadline": -5.0}, "-5", "above 0"),
    ({"tries": 0}, "tries is 0", "at least 1"),
    ({"on_change": "ask"}, "'ask'", "restart"),
    ({"rate": 0}, "0", "more"),
    ({"rate": -10}, "-10", "more"),
    ({"digest": "sha257:" + 64 * "0"}, "sha257", "sha256"),
    ({"digest": 64 * "0"}, 64 * "0", "sha256"),
    ({"digest": "sha256:" + 63 * "0"}, 63 * "0", "64"),
    ({"digest": "sha256:" + 63 * "0" + "g"}, "g", "64"),
    ({"digest": ""}, "''", "sha256"),
    ({"headers": {"Bad Name": "x"}}, "'Bad Name'", "token"),
    ({"headers": {"X": "a\r\nY: b"}}, "X", "line break"),
    ({"headers": {"Range": "bytes=0-1"}}, "Range", "largefile"),
    ({"ca_file": "/nonexistent/ca.pem"}, "/nonexistent/ca.pem", "not a file"),
]


@pytest.mark.parametrize(("options", "found", "needed"), ARGUMENTS, ids=lambda value: str(value)[:40])
def test_an_argument_out_of_range_is_a_value_error_before_any_request(
    server, tmp_path, dest, options, found, needed
):
    with pytest.raises(ValueError) as caught:
        largefile.download(server.url, dest, **options)
    assert found in str(caught.value)
    assert needed in str(caught.value)
    assert server.requests == []
    assert snapshot(tmp_path) == {}


def test_a_destination_or_a_buffer_one_of_the_two(tmp_path, dest):
    for options in ({}, {"dest": dest, "into": bytearray(1)}):
        with pytest.raises(TypeError, match=r"destination.*buffer"):
            largefile.download(GOOD_URL, **options)
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"concurrency": 0}, ValueError, "256"),
        ({"timeout": -1}, ValueError, "above 0"),
        ({"deadline": 0}, ValueError, "above 0"),
        ({"tries": 0}, ValueError, "at least 1"),
        ({"digest": "crc32:00"}, ValueError, "crc32"),
        ({"digest": "sha256:zz"}, ValueError, "64 hex"),
        ({"cache": None}, TypeError, "cache"),
    ],
    ids=str,
)
def test_a_downloader_checks_its_arguments(tmp_path, options, error, words):
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    create_cache_files(tmp_path / "d", tmp_path / "i", SIZE, BLOCK)
    with (
        largefile.LocalDownloadCache.open(tmp_path / "d", tmp_path / "i", durable=False) as cache,
        pytest.raises(error, match=words),
    ):
        largefile.CachingDownloader(largefile.FileReader(source), **{"cache": cache, **options})


def test_a_cache_of_another_size_is_a_value_error(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    create_cache_files(tmp_path / "d", tmp_path / "i", SIZE + 1, BLOCK)
    with (
        largefile.LocalDownloadCache.open(tmp_path / "d", tmp_path / "i", durable=False) as cache,
        pytest.raises(ValueError, match=f"{SIZE + 1}.*{SIZE}"),
    ):
        largefile.CachingDownloader(largefile.FileReader(source), cache)


# --- destinations ----------------------------------------------------------------------------------


def test_a_destination_that_is_a_folder(server, tmp_path):
    (tmp_path / "folder").mkdir()
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="folder"):
        get(server, tmp_path / "folder")
    assert snapshot(tmp_path) == before
    assert server.requests == []


def test_a_destination_in_a_folder_that_is_not_there(server, tmp_path):
    with pytest.raises(ValueError, match="gone' is not a folder"):
        get(server, tmp_path / "gone" / "file.bin")
    assert snapshot(tmp_path) == {}


def test_a_destination_below_a_file(server, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        get(server, tmp_path / "file" / "file.bin")
    assert snapshot(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder")
def test_a_folder_that_may_not_be_written(server, tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    with pytest.raises(largefile.CacheIOError, match="closed"):
        get(server, folder / "file.bin")
    assert names(folder) == set()


def test_a_name_too_long_for_its_index_is_refused_before_any_request(server, tmp_path):
    with pytest.raises(ValueError, match="255"):
        get(server, tmp_path / ("x" * 250))
    assert server.requests == []
    assert snapshot(tmp_path) == {}


def test_a_destination_that_is_there_is_kept_unless_told_otherwise(server, tmp_path, dest):
    dest.write_bytes(b"mine")
    with pytest.raises(DestinationExistsError, match="overwrite") as caught:
        get(server, dest)
    assert isinstance(caught.value, FileExistsError)
    assert str(dest) in str(caught.value)
    assert snapshot(tmp_path) == {dest.relative_to(tmp_path): b"mine"}
    assert server.requests == []
    get(server, dest, overwrite=True)
    assert dest.read_bytes() == CONTENT
    assert names(tmp_path) == {"file.bin"}


def test_a_destination_that_has_the_digest_is_a_success_without_a_request(server, dest):
    dest.write_bytes(CONTENT)
    status = get(server, dest, digest=sha256(CONTENT))
    assert (status.complete, status.verified_by, status.downloaded_bytes) == (True, "digest", 0)
    assert server.requests == []
    with pytest.raises(DestinationExistsError):
        get(server, dest, digest=sha256(b"another"))


def test_a_dangling_link_is_not_followed(server, tmp_path, dest):
    dest.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DestinationExistsError):
        get(server, dest)
    assert names(tmp_path) == {"file.bin"}


# --- partial files ---------------------------------------------------------------------------------


@pytest.fixture
def partial(server, dest):
    """A partial file with some of its blocks."""
    server.behave = after(3, status=404)
    with pytest.raises(NotFoundError) as caught:
        get(server, dest, concurrency=1)
    server.behave = None
    assert 0 < caught.value.status.cached_or_streamed_bytes < SIZE
    return caught.value.status.cached_or_streamed_bytes


def test_a_partial_of_another_url_and_identity_is_left_alone(partial, tmp_path, dest):
    before = snapshot(tmp_path)
    with (
        LoopbackServer(noise(SIZE, seed=2), etag='"other"') as other,
        pytest.raises(DestinationInUseError, match=re.escape(other.url)) as caught,
    ):
        get(other, dest)
    assert str(parts(dest)[0]) in str(caught.value)
    assert "127.0.0.1" in caught.value.found
    assert unstamped(snapshot(tmp_path)) == unstamped(before)


def unstamped(found):
    """Without the index headers, which note who had the files open last."""
    return {name: data[2 * SLOT_SIZE :] if name.suffix == ".idx" else data for name, data in found.items()}


def test_a_partial_of_another_url_and_the_same_identity_is_gone_on_with(partial, dest):
    with LoopbackServer(CONTENT) as other:
        assert get(other, dest).resumed_bytes == partial
    assert dest.read_bytes() == CONTENT


@pytest.mark.parametrize(("size", "etag"), [(SIZE, '"v2"'), (SIZE - 1, '"v1"'), (SIZE + BLOCK, '"v1"')])
def test_a_partial_of_another_identity_or_size_is_kept_if_asked(server, partial, tmp_path, dest, size, etag):
    server.replace(noise(size, seed=3), etag=etag)
    before = snapshot(tmp_path)
    with pytest.raises(SourceChangedError, match=f"{size} bytes.*{SIZE} bytes"):
        get(server, dest, on_change="fail")
    assert unstamped(snapshot(tmp_path)) == unstamped(before)
    get(server, dest)
    assert dest.read_bytes() == noise(size, seed=3)


def test_a_partial_whose_size_is_not_the_index_s(server, partial, tmp_path, dest):
    part, _ = parts(dest)
    with part.open("ab") as file:
        file.write(b"more")
    before, asked = snapshot(tmp_path), len(server.requests)
    with pytest.raises(PartialFileError, match=f"{SIZE + 4} bytes.*{SIZE}"):
        get(server, dest)
    assert snapshot(tmp_path) == before
    assert len(server.requests) == asked


def newer(slot: bytes, major: int) -> bytes:
    slot = slot[:8] + struct.pack("<H", major) + slot[10:-8]
    return slot + struct.pack("<Q", xxhash.xxh3_64_intdigest(slot))


def test_an_index_of_a_newer_format(server, partial, tmp_path, dest):
    _, index = parts(dest)
    data = bytearray(index.read_bytes())
    for at in SLOTS:
        data[at : at + SLOT_SIZE] = newer(bytes(data[at : at + SLOT_SIZE]), 2)
    index.write_bytes(data)
    before = snapshot(tmp_path)
    with pytest.raises(IndexVersionError, match=r"2\.1.*reads format 1"):
        get(server, dest)
    with pytest.raises(IndexVersionError):
        get(server, dest, resume=False)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("size", [0, 100, 2 * SLOT_SIZE])
def test_an_index_that_is_none(server, partial, tmp_path, dest, size):
    _, index = parts(dest)
    index.write_bytes(b"?" * size)
    before = snapshot(tmp_path)
    with pytest.raises(IndexCorruptError, match=re.escape(str(index))):
        get(server, dest)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("missing", [0, 1], ids=["data", "index"])
def test_one_file_without_the_other(server, partial, tmp_path, dest, missing):
    parts(dest)[missing].unlink()
    before, asked = snapshot(tmp_path), len(server.requests)
    for options in ({}, {"resume": False}, {"overwrite": True}):
        with pytest.raises(PartialFileError, match=re.escape(str(parts(dest)[1 - missing]))):
            get(server, dest, **options)
    assert snapshot(tmp_path) == before
    assert len(server.requests) == asked


def test_a_partial_that_is_a_folder_or_a_link(server, tmp_path, dest):
    part, index = parts(dest)
    part.mkdir()
    index.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LargeFileError):
        get(server, dest)
    assert names(tmp_path) == {part.name, index.name}
    assert not (tmp_path / "elsewhere").exists()


def test_a_partial_that_is_being_written(server, partial, tmp_path, dest):
    with largefile.LocalDownloadCache.open(*parts(dest), durable=False):
        for options in ({}, {"resume": False}):
            with pytest.raises(CacheBusyError, match=str(os.getpid())):
                get(server, dest, **options)
    get(server, dest)
    assert dest.read_bytes() == CONTENT


def test_a_different_block_size_is_noted_and_the_old_one_kept(server, partial, dest):
    status = get(server, dest, block_size=2 * BLOCK)
    assert (status.block_size, status.resumed_bytes) == (BLOCK, partial)
    assert any(str(BLOCK) in note for note in status.notes)


# --- Readers ---------------------------------------------------------------------------------------


class Lying:
    """A Reader of `size` bytes by its own account, whose ranges are what `give` makes of them."""

    name = "lying"

    def __init__(self, give, size=SIZE) -> None:
        self.give, self.size, self.calls = give, size, 0

    def content_length_and_block_size(self):
        return self.size, BLOCK

    def digest(self):
        return None

    def get_reader(self, first, last):
        self.calls += 1
        return self.give(first, last)


def short(first, last):
    return io.BytesIO(CONTENT[first : min(last + 1, first + 100)])


def longer(first, last):
    return io.BytesIO(CONTENT[first:])


def failing(first, last):
    raise OSError(5, "the disk is gone")


def refusing(first, last):
    raise ReadError("not for you", retryable=False)


def broken(first, last):
    raise ZeroDivisionError("division by zero")


def nothing(first, last):
    return None


READERS = [
    (short, IncompleteError, "fewer bytes", 100),
    (failing, ReadError, "the disk is gone", 100),
    (refusing, ReadError, "not for you", 4),
    (broken, ReadError, "ZeroDivisionError", 4),
    (nothing, ReadError, "lying", 4),
]


def run(reader, tmp_path, size=SIZE):
    create_cache_files(tmp_path / "d", tmp_path / "i", size, BLOCK)
    with largefile.LocalDownloadCache.open(tmp_path / "d", tmp_path / "i", durable=False) as cache:
        try:
            return largefile.CachingDownloader(reader, cache, tries=2, concurrency=2, durable=False).run()
        finally:
            assert names(tmp_path) == {"d", "i"}
            for block in range(41):  # whatever is said to be there is right
                if (found := cache.next_cached(block)) is not None:
                    where = found[1]
                    assert cache.read_at(where.size, where.first) == CONTENT[where.first : where.last + 1]


@pytest.mark.parametrize(("give", "error", "words", "most"), READERS)
def test_a_reader_that_does_not_deliver(tmp_path, give, error, words, most):
    reader = Lying(give)
    with pytest.raises(error, match=words) as caught:
        run(reader, tmp_path)
    assert reader.calls <= most
    assert caught.value.status.complete is False
    assert caught.value.status.download_errors > 0


def test_a_reader_that_gives_more_than_asked_is_read_only_so_far(tmp_path):
    # Go's own reader of local files did this, and memory grew without end.
    status = run(Lying(longer), tmp_path)
    assert (status.complete, status.downloaded_bytes) == (True, SIZE)


@pytest.mark.parametrize("size", [-1, "many", None, 1.5])
def test_a_reader_that_lies_about_its_length(tmp_path, size):
    with pytest.raises((ValueError, ReadError), match=re.escape(str(size))):
        run(Lying(longer, size), tmp_path)


def test_a_reader_with_less_than_it_says(tmp_path):
    with pytest.raises(IncompleteError):
        run(Lying(longer, SIZE + BLOCK), tmp_path, SIZE + BLOCK)
