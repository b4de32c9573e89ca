"""Whatever servers and Readers do, a stream gives the right bytes, or a right beginning and a typed error."""

from __future__ import annotations

import threading

import pytest
from processes import nothing_left_behind, until
from server_tools import BLOCK, after, always, noise, on, sha256
from stream_tools import SOON, PlainReader, has_come, open_stream

from largefile import (
    HTTPReader,
    IncompleteError,
    LargeFileError,
    NetworkError,
    NotFoundError,
    ReadError,
    RefusedError,
    SourceChangedError,
    StreamingDownloader,
    TransferError,
)
from largefile.testing.server import LoopbackServer

CONTENT = noise(40 * BLOCK + 777)
OTHER = noise(40 * BLOCK + 777, seed=1)
WINDOW = 8 * BLOCK


def read_to_failure(source):
    """All that comes before the error, and the error; it must come again and again."""
    found = []
    while True:
        try:
            piece = next(source, b"")
        except LargeFileError as error:
            with pytest.raises(type(error)):
                source.read(1)
            with pytest.raises(type(error)):
                source.readinto(bytearray(1))
            with pytest.raises(type(error)):
                next(source)
            assert not source.status().complete
            return b"".join(found), error
        assert piece, "the end was told"
        found.append(bytes(piece))


# --- faults that pass --------------------------------------------------------------------------------

FAULTS = [
    {"cut_after": 0},
    {"cut_after": BLOCK + 7},
    {"cut_after": 100, "reset": True},
    {"status": 503, "headers": {"Retry-After": "0"}},
    {"status": 429},
    {"status": 500},
    {"stall": True},
    {"stall_after": 1000},
    {"at_most": 5000},
    {"content_range": "bytes 0-9/10"},
    {"close": True},
]


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_that_passes_is_not_seen_by_the_reader(fault, number, background):
    with LoopbackServer(CONTENT, behave=on(number, **fault)) as server:
        options = {"timeout": 0.3, "window": WINDOW, "background": background}
        with open_stream(server, digest=sha256(CONTENT), **options) as source:
            assert source.read() == CONTENT
            assert source.status().complete


def test_a_server_that_asks_for_a_pause_gets_it():
    fault = {"status": 503, "headers": {"Retry-After": "1"}}
    with LoopbackServer(CONTENT, behave=on(1, **fault)) as server:
        with open_stream(server, window=WINDOW, concurrency=1) as source:
            assert source.read() == CONTENT
        refused, again = server.requests[1], server.requests[2]
        assert again.at - refused.at >= 0.9  # a date of whole seconds, less what it took to read it


# --- faults that stay --------------------------------------------------------------------------------


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_source_that_changes_gives_a_beginning_of_its_first_version_and_an_error(background, ranges):
    def behave(request):
        cut = {} if ranges or request.number else {"cut_after": 9 * BLOCK + 5}
        return always(ranges=ranges, **cut)(request)

    with LoopbackServer(CONTENT, behave=behave) as server:
        with open_stream(server, window=WINDOW, background=background) as source:
            found = source.read(BLOCK)
            server.content = OTHER
            rest, error = read_to_failure(source)
            assert isinstance(error, SourceChangedError)
            assert CONTENT.startswith(found + rest)
            assert len(found + rest) < len(CONTENT)
            assert error.status.verified_by is None


def test_what_came_in_order_before_a_failure_is_given_first():
    with LoopbackServer(CONTENT) as server:
        with open_stream(server, window=WINDOW) as source:
            has_come(source, WINDOW)
            server.behave = always(status=403)
            assert source.read(3) == CONTENT[:3]  # nothing asks for more as yet
            rest, error = read_to_failure(source)
            assert isinstance(error, RefusedError)
            assert CONTENT[:3] + rest == CONTENT[: len(rest) + 3]
            assert len(rest) + 3 >= WINDOW
            assert error.status.cached_or_streamed_bytes >= WINDOW


@pytest.mark.parametrize("read", [lambda s, n: s.read(n), lambda s, n: s.readinto(bytearray(n))])
def test_a_read_that_meets_a_failure_is_never_just_short(read):
    # Many a caller takes a short read for the end, and would have half of a file and no error.
    with LoopbackServer(CONTENT) as server:
        with open_stream(server, window=WINDOW) as source:
            has_come(source, WINDOW)
            server.behave = always(status=403)
            with pytest.raises(RefusedError):
                read(source, len(CONTENT))


def test_a_server_that_dies_is_given_up():
    with LoopbackServer(CONTENT) as server:
        source = open_stream(server, window=WINDOW, tries=2, wait_for_completion=False)
        has_come(source, WINDOW)
    with source:
        found, error = read_to_failure(source)
        assert isinstance(error, TransferError)
        assert found == CONTENT[: len(found)]
        assert len(found) >= WINDOW
        assert source.stats().download_errors > 0


def test_a_block_that_is_never_right_ends_the_stream_at_that_block():
    def behave(request):
        broken = request.range[0] <= 20 * BLOCK <= request.range[1]
        return always(status=500)(request) if broken else None

    with LoopbackServer(CONTENT, behave=behave) as server:
        with open_stream(server, window=WINDOW, tries=2, wait_for_completion=False) as source:
            found, _error = read_to_failure(source)
            assert found == CONTENT[: 20 * BLOCK]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"status": 404}, NotFoundError),
        ({"status": 403}, RefusedError),
        ({"status": 500}, TransferError),
        ({"cut_after": 0, "body": b""}, NetworkError),
        ({"stall": True}, TransferError),
    ],
    ids=str,
)
def test_a_first_request_that_fails_raises_from_the_constructor_and_leaves_nothing(how, error):
    with nothing_left_behind(), LoopbackServer(CONTENT, behave=always(**how)) as server:
        if how == {"cut_after": 0, "body": b""}:
            server.close()  # nobody listens
        with pytest.raises(error):
            open_stream(server, tries=1, timeout=0.3, digest=sha256(CONTENT))


def test_a_first_request_that_fails_leaves_no_deadline():
    with LoopbackServer(CONTENT, behave=always(status=404)) as server:
        with pytest.raises(NotFoundError):
            open_stream(server, deadline=60)
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    until(lambda: not any(timer.is_alive() for timer in timers), what="no timer is left", timeout=SOON)


def test_what_was_refused_after_the_answer_leaves_no_transfer_in_the_reader():
    with LoopbackServer(noise(3 << 20), behave=always(rate=1e6)) as server:
        with HTTPReader(server.url, proxy="", block_size=BLOCK) as reader:
            with pytest.raises(ValueError, match="beyond"):
                StreamingDownloader(reader, offset=4 << 20)
            until(lambda: all(r.done for r in server.requests), what="the answer was let go of")


# --- Readers -----------------------------------------------------------------------------------------

DATA = noise(1000)


def failing(error, times, at=500):
    """Reads that fail so many times where they hold byte `at`."""
    left = [times]

    def read(first, last):
        if first <= at <= last and left[0]:
            left[0] -= 1
            raise error
        return DATA[first : last + 1]

    return read


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("error", [ReadError("later"), OSError("disk"), EOFError("end")], ids=repr)
def test_a_reader_that_fails_once_is_asked_again(error, background):
    reader = PlainReader(DATA, 100, failing(error, 1))
    with StreamingDownloader(reader, window=300, background=background) as source:
        assert source.read() == DATA
        assert (source.stats().download_errors, source.stats().download_retries) == (1, 1)


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize(
    "bad", [ReadError("never", retryable=False), ZeroDivisionError("a bug"), KeyError("x")], ids=repr
)
def test_a_reader_that_never_will_ends_the_stream_where_it_failed(bad, background):
    reader = PlainReader(DATA, 100, failing(bad, 100))
    with StreamingDownloader(reader, window=300, background=background) as source:
        found, error = read_to_failure(source)
        assert found == DATA[:500]
        assert isinstance(error, ReadError)
        assert error is bad or error.__cause__ is bad


def test_a_reader_that_gives_less_than_it_was_asked_for_is_asked_for_the_rest():
    reader = PlainReader(DATA, 100, lambda first, last: DATA[first : min(last + 1, first + 130)])
    with StreamingDownloader(reader, window=600, concurrency=1) as source:
        assert source.read() == DATA


def test_a_reader_that_gives_nothing_ends_the_stream():
    reader = PlainReader(DATA, 100, lambda first, last: DATA[first : last + 1] if first < 300 else b"")
    with StreamingDownloader(reader, window=100, tries=1) as source:
        found, error = read_to_failure(source)
        assert found == DATA[:300]
        assert isinstance(error, IncompleteError)


def test_a_reader_that_gives_more_than_it_was_asked_for_is_not_believed_more():
    reader = PlainReader(DATA, 100, lambda first, last: DATA[first : last + 1] + b"more")
    with StreamingDownloader(reader, window=300) as source:
        assert source.read() == DATA


def test_a_server_that_changes_for_good_is_never_begun_anew():
    with LoopbackServer(CONTENT) as server, open_stream(server, window=WINDOW) as source:
        has_come(source, WINDOW)
        server.behave = after(1)
        server.content = OTHER
        _, error = read_to_failure(source)
        assert isinstance(error, SourceChangedError)
        count = len(server.requests)
        with pytest.raises(SourceChangedError):
            source.read()
        assert len(server.requests) == count


def test_one_reader_serves_one_stream_at_a_time_and_says_so():
    with LoopbackServer(CONTENT, rate=1e6) as server, HTTPReader(server.url, proxy="") as reader:
        with StreamingDownloader(reader) as first:
            with pytest.raises(ValueError, match="in use by another stream"):
                StreamingDownloader(reader)
            assert first.read(1000) == CONTENT[:1000]
        with StreamingDownloader(reader) as second:
            assert second.read(1000) == CONTENT[:1000]
