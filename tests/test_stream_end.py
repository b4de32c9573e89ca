"""A stream ends when it is told to, from any state, within a second, and leaves nothing behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from processes import nothing_left_behind, until
from server_tools import BLOCK, always, noise, sha256
from stream_tools import SOON, PlainReader, Reading, has_come, open_stream, our_threads

from largefile import CancelledError, DeadlineError, DigestMismatchError, StreamingDownloader
from largefile.testing.server import Content, LoopbackServer

CONTENT = noise(40 * BLOCK + 777)
SLOW = {"rate": 300_000}
#: What a stream may be doing when its end comes.
STATES = [
    SLOW,
    {"ranges": False, **SLOW},
    {"ranges": False},
    {"chunked": True, "ranges": False},
    {"stall_after": BLOCK + 100},
    {"ranges": False, "stall_after": BLOCK + 100},
    {},
]


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("how", STATES, ids=str)
@pytest.mark.parametrize("digest", [None, sha256(CONTENT)], ids=["plain", "hashed"])
def test_close_ends_everything_at_once(how, background, digest):
    with nothing_left_behind(), LoopbackServer(CONTENT, behave=always(**how)) as server:
        source = open_stream(server, window=4 * BLOCK, background=background, digest=digest)
        assert source.read(50) == CONTENT[:50]
        began = time.monotonic()
        source.close()
        assert time.monotonic() - began < SOON
        assert our_threads() == []
        assert source.closed
        source.close()
        for read in (source.read, lambda: source.read(0), lambda: source.readinto(b""), lambda: next(source)):
            with pytest.raises(ValueError, match="closed"):
                read()
        assert not source.status().complete
        assert source.status().cached_or_streamed_bytes >= 0


def test_a_stream_that_was_never_read_leaves_nothing():
    for background in (True, False):
        with nothing_left_behind(), LoopbackServer(CONTENT) as server:
            open_stream(server, background=background, deadline=None).close()


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_who_waits_for_bytes_while_another_thread_closes_gets_a_value_error(background, ranges):
    stalls = always(stall_after=100, ranges=ranges)
    with nothing_left_behind(), LoopbackServer(CONTENT, behave=stalls) as server:
        source = open_stream(server, background=background)
        reading = Reading(lambda: source.read(BLOCK))
        until(lambda: source.stats().downloaded_bytes > 0, what="the read waits")
        began = time.monotonic()
        source.close()
        with pytest.raises(ValueError, match="closed"):
            reading.result()
        assert time.monotonic() - began < SOON
        assert our_threads() == []


@pytest.mark.parametrize("background", [True, False])
def test_cancel_from_another_thread_ends_a_read(background):
    with LoopbackServer(CONTENT, behave=always(stall_after=100)) as server:
        with open_stream(server, background=background) as source:
            reading = Reading(lambda: source.read(BLOCK))
            until(lambda: source.stats().downloaded_bytes > 0, what="the read waits")
            source.cancel()
            for _ in range(2):
                with pytest.raises(CancelledError):
                    reading.result()
                reading = Reading(lambda: source.read(1))
            with pytest.raises(CancelledError):
                reading.result()
            until(lambda: source.status().phase == "stopped", what="the engine is over", timeout=SOON)


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("how", [{"stall_after": 100}, {"chunked": True, "ranges": False, **SLOW}], ids=str)
def test_a_deadline_ends_a_read(background, how):
    with LoopbackServer(CONTENT, behave=always(**how)) as server:
        with open_stream(server, background=background, deadline=0.3) as source:
            began = time.monotonic()
            with pytest.raises(DeadlineError):
                source.readall()
            assert time.monotonic() - began < 0.3 + SOON


def test_a_deadline_ends_the_first_request_too():
    with LoopbackServer(CONTENT, behave=always(stall=True)) as server, pytest.raises(DeadlineError):
        open_stream(server, deadline=0.3)


def test_a_deadline_that_was_kept_ends_nothing():
    with LoopbackServer(CONTENT) as server, open_stream(server, deadline=0.4) as source:
        has_come(source, len(CONTENT))
        until(lambda: not source._pouring.flow._job or source._pouring.flow._job.done, what="it is over")
        time.sleep(0.5)
        assert source.read() == CONTENT


class Lingering(PlainReader):
    """A Reader whose ranges are whole, but do not end until `go`."""

    def __init__(self, content, block_size):
        super().__init__(content, block_size)
        self.go = threading.Event()

    def get_reader(self, first, last):
        found, go = super().get_reader(first, last), self.go

        class Stream:
            read = found.read

            def __enter__(self):
                return self

            def __exit__(self, *exc):
                go.wait(30)

        return Stream()


@pytest.mark.parametrize("right", [True, False])
def test_no_end_is_told_without_the_digest_whatever_became_of_the_transfers(right):
    reader = Lingering(b"0123456789", 4)
    digest = sha256(b"0123456789" if right else b"else")
    with StreamingDownloader(reader, digest=digest) as source:
        until(lambda: source.stats().cached_or_streamed_bytes == 10, what="all is there")
        source.cancel()  # and the transfers have not ended
        until(lambda: source.stats().phase == "stopped", what="the engine is over")
        assert source.read(10) == b"0123456789"
        with pytest.raises(CancelledError if right else (CancelledError, DigestMismatchError)):
            source.read(1)
        assert not source.status().complete
        reader.go.set()


# --- streams that nobody closes ----------------------------------------------------------------------


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("how", STATES, ids=str)
def test_a_stream_that_is_dropped_ends_by_itself(how, background):
    with nothing_left_behind(), LoopbackServer(CONTENT, behave=always(**how)) as server:
        source = open_stream(server, window=4 * BLOCK, background=background, digest=sha256(CONTENT))
        assert source.read(50) == CONTENT[:50]
        del source
        gc.collect()
        assert our_threads() == []


def test_a_stream_that_a_collection_finds_on_one_of_its_own_threads_ends_too():
    collected = threading.Event()

    def collect(stats):
        if dropped.is_set() and not collected.is_set():
            gc.collect()
            collected.set()

    dropped = threading.Event()
    with nothing_left_behind(), LoopbackServer(CONTENT, behave=always(**SLOW)) as server:
        gc.disable()
        try:
            source = open_stream(server, progress=collect, digest=sha256(CONTENT))
            source.knot = source  # only a collection finds it
            del source
            dropped.set()
            assert collected.wait(SOON)
        finally:
            gc.enable()
        until(lambda: our_threads() == [], what="every thread has ended", timeout=SOON)


def test_closing_gives_the_memory_back_though_the_stream_is_kept():
    with LoopbackServer(Content(1 << 30)) as server:
        source = open_stream(server, block_size=1 << 20, window=64 << 20)
        has_come(source, 64 << 20)
        full = resident()
        source.close()
        assert resident() < full - (48 << 20)
        assert source.status().cached_or_streamed_bytes == 64 << 20


def resident():
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


PROGRAM = """
import sys; sys.path[:] = {path!r}
import largefile
source = largefile.stream({url!r}, block_size=65536, window=262144, proxy="", digest={digest!r})
print(len(source.read(100)), flush=True)
{then}
"""


@pytest.mark.parametrize(
    "then",
    ["", "raise SystemExit", "import os; os.fork() and os.wait()", "import os; os.fork() or source.read(10)"],
)
def test_a_process_ends_though_a_stream_is_open(then):
    with LoopbackServer(CONTENT, behave=always(ranges=False)) as server:
        program = PROGRAM.format(path=sys.path, url=server.url, digest=sha256(CONTENT), then=then)
        child = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
        )
    assert child.stdout == "100\n"
    if "read(10)" in then:
        assert "belongs to the parent process" in child.stderr
    else:
        assert child.stderr == ""
    assert child.returncode == 0


def test_a_keyboard_interrupt_strikes_the_reader_and_not_the_stream():
    with LoopbackServer(CONTENT, behave=lambda r: always(delay=0.5)(r) if r.number else None) as server:
        with open_stream(server, window=4 * BLOCK) as source:
            has_come(source, 4 * BLOCK)
            found = [source.read(4 * BLOCK)]
            threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
            with pytest.raises(KeyboardInterrupt):
                source.read(1)
            server.behave = None
            found.append(source.read())
            assert b"".join(found) == CONTENT
