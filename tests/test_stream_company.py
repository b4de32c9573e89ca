"""A stream beside what it is used with: arguments, files, archives, progress, limits, loggers."""

from __future__ import annotations

import gzip
import io
import logging
import shutil
import tarfile
import time

import pytest
from processes import until
from server_tools import BLOCK, always, noise, sha256
from stream_tools import open_stream

import largefile
from largefile import FileReader, LargeFileError, RateController, StreamingDownloader
from largefile.testing.server import LoopbackServer

CONTENT = noise(10 * BLOCK + 777)


# --- arguments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 0},
        {"window": BLOCK - 1},
        {"window": 2.5 * BLOCK},
        {"concurrency": 0},
        {"concurrency": 257},
        {"tries": 0},
        {"timeout": 0},
        {"deadline": -1},
        {"digest": "sha256:12"},
        {"offset": 1.5},
        {"rate": 0},
    ],
    ids=str,
)
def test_a_wrong_argument_is_a_value_error_before_any_request(wrong):
    with LoopbackServer(CONTENT) as server:
        with pytest.raises(ValueError):
            open_stream(server, **wrong)
        assert server.requests == []


def test_a_cache_of_another_kind_and_an_unknown_name_are_type_errors():
    with LoopbackServer(CONTENT) as server:
        with pytest.raises(TypeError, match="needed is a LocalDownloadCache"):
            open_stream(server, cache="folder")
        with pytest.raises(TypeError):
            open_stream(server, wndow=3)


# --- company -----------------------------------------------------------------------------------------


def test_a_file_reader_is_a_source_too(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    with StreamingDownloader(FileReader(path, block_size=BLOCK), digest=sha256(CONTENT)) as source:
        assert source.read() == CONTENT
        assert source.status().verified_by == "digest"


def test_it_is_a_raw_binary_file():
    with LoopbackServer(CONTENT) as server, open_stream(server) as source:
        assert isinstance(source, io.RawIOBase)
        assert (source.readable(), source.writable(), source.seekable(), source.closed) == (
            True,
            False,
            False,
            False,
        )
        with pytest.raises(io.UnsupportedOperation):
            source.seek(0)
        assert source.read(10**15) == CONTENT  # asks for no such memory


def test_it_can_be_copied_and_buffered():
    with LoopbackServer(CONTENT) as server:
        with open_stream(server) as source:
            copy = io.BytesIO()
            shutil.copyfileobj(source, copy)
            assert copy.getvalue() == CONTENT
        with io.BufferedReader(open_stream(server, offset=5)) as buffered:
            assert (buffered.tell(), buffered.peek(1)[:1]) == (5, CONTENT[5:6])
            assert b"".join(buffered.readlines()) == CONTENT[5:]  # in lines, where the raw stream has blocks


@pytest.mark.parametrize("mode", ["r|", "r|gz"])
def test_a_tar_archive_is_unpacked_while_it_comes(mode):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for number in range(5):
            info = tarfile.TarInfo(f"member {number}")
            info.size = 100_000 + number
            tar.addfile(info, io.BytesIO(noise(info.size, number)))
    content = packed.getvalue() if mode == "r|" else gzip.compress(packed.getvalue(), 1)
    with LoopbackServer(content) as server, open_stream(server, window=2 * BLOCK) as source:
        with tarfile.open(fileobj=source, mode=mode) as tar:
            found = {member.name: tar.extractfile(member).read() for member in tar}
    assert found == {f"member {number}": noise(100_000 + number, number) for number in range(5)}


def test_progress_never_goes_back_and_ends_with_all():
    seen = []
    with LoopbackServer(CONTENT, rate=4e6) as server, open_stream(server, progress=seen.append) as source:
        assert source.read() == CONTENT
        until(lambda: seen and seen[-1].fraction == 1.0, what="the last report")
    counts = [stats.cached_or_streamed_bytes for stats in seen]
    assert counts == sorted(counts)
    assert {stats.download_size for stats in seen} == {len(CONTENT)}
    assert not [stats for stats in seen if stats.fraction > 1.0]


def test_a_rate_is_kept():
    content = noise(40 * BLOCK)
    with LoopbackServer(content) as server:
        began = time.monotonic()
        with open_stream(server, rate=RateController(bytes_per_second=len(content) // 2)) as source:
            assert source.read() == content
        assert time.monotonic() - began >= 1.2, "a limit is a promise to others; only too fast is wrong"


def test_a_failure_is_logged_once_in_the_logger_that_was_given(caplog):
    logger = logging.getLogger("somebody's")
    with LoopbackServer(CONTENT, behave=lambda r: None if r.number == 0 else always(status=403)(r)) as server:
        with open_stream(server, logger=logger, window=2 * BLOCK) as source:
            for _ in range(3):
                with pytest.raises(LargeFileError):
                    source.read()
    assert [(r.name, r.levelname) for r in caplog.records] == [("somebody's", "WARNING")]
    assert "403" in caplog.text


def test_the_names_are_public():
    assert largefile.stream is not None
    assert largefile.StreamingDownloader is StreamingDownloader
