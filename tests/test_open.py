"""A file behind a URL reads like one on this disk; each block is fetched once, when it is wanted."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import pickle
import random
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from processes import nothing_left_behind, until
from remote_tools import BLOCK, asked, blocks_of, noise, opened, reading, sent, times_asked

from largefile import LocalDownloadCache, RateController
from largefile.disk.files import LocalFile
from largefile.engine import access as access_module
from largefile.engine.access import Access
from largefile.errors import (
    CacheBusyError,
    CachePoisonedError,
    NotFoundError,
    RefusedError,
    SourceChangedError,
    ThrottledError,
    TransferError,
    UnsizedSourceError,
)
from largefile.remote import open as open_remote
from largefile.testing.script import Behaviour, Content, pattern
from largefile.testing.server import LoopbackServer
from largefile.wire.curl import CurlTransport
from largefile.wire.http import HTTPReader

MIB = 1 << 20
SIZE = 3 * MIB + 12345
CONTENT = noise(SIZE)
#: Seconds within which a close is over. It promises one; a busy machine may take more, a transfer far more.
SOON = 8.0


@contextlib.contextmanager
def in_thread(act, *args):
    """What `act` gives, in a thread of its own, as a future."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(act, *args)


# --- it is a file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7])
def test_any_size_is_read_whole(size):
    content = noise(size, seed=size)
    with nothing_left_behind(), reading(content) as (file, _):
        assert file.size == size
        assert file.read() == content
        assert file.read() == b""
        assert file.seek(0, io.SEEK_END) == size


def test_it_reads_as_a_file_on_disk_does(tmp_path):
    content = b"".join(b"%d lines and %d\n" % (n, n * n) for n in range(20_000))
    (tmp_path / "local").write_bytes(content)
    with reading(content) as (file, _), (tmp_path / "local").open("rb") as local:
        for act in [
            lambda f: f.read(10),
            lambda f: f.readline(),
            lambda f: (f.seek(100_000), f.read(200_000), f.tell()),
            lambda f: (f.seek(-50, 1), f.peek(1)[:1], f.read1(30), f.tell()),
            lambda f: (f.seek(-1000, 2), f.readlines()),
            lambda f: (f.seek(len(content) + 5), f.read(10), f.tell()),
            lambda f: (f.seek(65_530), f.readinto(bytearray(20)), f.tell()),
            lambda f: (f.seek(0), sum(map(len, f))),
        ]:
            assert act(file) == act(local)


def test_what_a_file_says_of_itself():
    with LoopbackServer(b"0123456789") as server:
        url = server.at("/some/model.bin?signature=secret")
        with opened(server, url=url) as file:
            assert isinstance(file, io.BufferedReader)
            assert (file.size, file.url, file.mode) == (10, url, "rb")
            assert file.name == server.at("/some/model.bin")
            assert "secret" not in repr(file)
            assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
            with pytest.raises(OSError, match="fileno"):
                file.fileno()
            for act in (lambda: file.write(b"x"), file.detach):
                with pytest.raises(io.UnsupportedOperation):
                    act()


@pytest.mark.parametrize(("offset", "whence"), [(-1, 0), (-11, 2), (0, 9)])
def test_a_seek_to_nowhere_is_refused_and_moves_nothing(offset, whence):
    with reading(b"0123456789") as (file, _):
        file.seek(4)
        with pytest.raises(ValueError):
            file.seek(offset, whence)
        assert file.read() == b"456789"


def test_reads_at_positions_leave_the_files_own_alone():
    with reading(CONTENT) as (file, _):
        file.seek(10)
        assert file.read_at(100, MIB) == CONTENT[MIB : MIB + 100]
        buffer = bytearray(b"\xee" * 300)
        assert file.readinto_at(memoryview(buffer)[100:200], 2 * MIB) == 100
        assert bytes(buffer) == b"\xee" * 100 + CONTENT[2 * MIB : 2 * MIB + 100] + b"\xee" * 100
        assert file.tell() == 10
        assert file.read(5) == CONTENT[10:15]


def test_at_the_end_positions_give_what_is_there():
    with reading(b"0123456789") as (file, _):
        assert (file.read_at(5, 8), file.read_at(5, 10), file.read_at(5, 99)) == (b"89", b"", b"")
        assert (file.readinto_at(bytearray(5), 8), file.readinto_at(bytearray(5), 99)) == (2, 0)
        assert file.read_ranges([(8, 99), (3, 3), (50, 60), (0, 2)]) == [b"89", b"", b"", b"01"]
        assert file.read_ranges([]) == []


@pytest.mark.parametrize(
    "act",
    [
        lambda file: file.read_at(-1, 5),
        lambda file: file.read_at(1, -1),
        lambda file: file.readinto_at(bytearray(5), -1),
        lambda file: file.read_ranges([(0, 1), (5, 4)]),
        lambda file: file.read_ranges([(-1, 4)]),
    ],
)
def test_ranges_that_are_none_are_refused(act):
    with reading(b"0123456789") as (file, _), pytest.raises(ValueError, match="range"):
        act(file)


def test_a_buffer_that_can_not_be_written_is_refused():
    with reading(b"0123456789") as (file, _), pytest.raises(TypeError, match="read-only"):
        file.readinto_at(b"xxxx", 0)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"readahead": -1}, ValueError),
        ({"readahead": "much"}, ValueError),
        ({"buffer_size": 0}, ValueError),
        ({"block_size": 100}, ValueError),
        ({"concurrency": 0}, ValueError),
        ({"tries": 0}, ValueError),
        ({"timeout": 0}, ValueError),
        ({"rate": -5}, ValueError),
        ({"rate": "fast"}, TypeError),
        ({"key": "name"}, TypeError),
        ({"cache": "name"}, TypeError),
        ({"cache": 0, "cache_dir": "x"}, TypeError),
        ({"url": "ftp://127.0.0.1/x"}, ValueError),
        ({"no_such_option": 1}, TypeError),
    ],
)
def test_an_argument_that_can_not_be_used_is_refused_before_any_request(options, error):
    with nothing_left_behind(), LoopbackServer(b"x") as server:
        with pytest.raises(error):
            opened(server, **options)
        assert server.requests == []


# --- what is fetched -------------------------------------------------------------------------------


def test_a_read_after_open_takes_one_request_more_than_a_bare_one_on_the_same_connection():
    with reading(CONTENT) as (file, server):
        until(lambda: file.stats().connections == 0, what="the first answer is over")
        file.seek(2 * MIB)
        assert file.read(BLOCK) == CONTENT[2 * MIB : 2 * MIB + BLOCK]
        assert asked(server) == [(0, BLOCK), (2 * MIB, 2 * MIB + BLOCK)]
        assert server.connections == 1


def test_the_first_request_brings_the_first_block():
    with reading(CONTENT) as (file, server):
        assert file.read(BLOCK) == CONTENT[:BLOCK]
        assert len(server.requests) == 1


def test_a_thousand_random_reads_ask_for_each_missing_block_once():
    rng, touched = random.Random(5), {0}
    content = Content(2048 * MIB)
    with LoopbackServer(content) as server, opened(server) as file:
        for number in range(1000):
            pos = rng.randrange(content.size - BLOCK)
            pos -= pos % BLOCK if number % 2 else 0
            file.seek(pos)
            assert file.read(BLOCK) == pattern(pos, pos + BLOCK - 1)
            touched |= blocks_of(pos, BLOCK)
        assert len(server.requests) <= len(touched)
        assert times_asked(server) == dict.fromkeys(touched, 1)
        assert sent(server) == len(touched) * BLOCK, "nothing is fetched ahead of random reads"
        # A second one, where a reader that got its last byte was quicker than the end of the transfer.
        assert server.connections <= 2, "connections are kept"


def test_what_was_read_once_is_not_fetched_again():
    with reading(CONTENT) as (file, server):
        for _ in range(3):
            file.seek(0)
            assert file.read() == CONTENT
        assert sent(server) == SIZE
        assert max(times_asked(server).values()) == 1


def test_reads_in_order_are_fetched_ahead_in_ever_larger_requests():
    content = Content(40 * MIB)
    with LoopbackServer(content) as server, opened(server, concurrency=2) as file:
        for pos in range(0, content.size, BLOCK):
            assert file.read(BLOCK) == pattern(pos, pos + BLOCK - 1)
        sizes = [stop - first for first, stop in asked(server)]
        assert sizes[0] == BLOCK
        assert max(sizes) >= MIB
        assert len(sizes) < 60, "of 640 blocks"
        assert sent(server) == content.size


@pytest.mark.parametrize("readahead", [0, 256 << 10])
def test_no_more_is_fetched_ahead_than_was_allowed(readahead):
    content = Content(40 * MIB)
    with LoopbackServer(content) as server, opened(server, readahead=readahead) as file:
        for _ in range(50):
            file.read(BLOCK)
        until(lambda: all(request.done for request in server.requests), what="all is answered")
        furthest = max(stop for _, stop in asked(server))
        assert furthest <= 50 * BLOCK + readahead + BLOCK


def test_a_small_read_at_a_blocks_end_fetches_no_other_block():
    with reading(CONTENT) as (file, server):
        file.seek(BLOCK - 10)
        assert file.read(10) == CONTENT[BLOCK - 10 : BLOCK]
        assert len(server.requests) == 1


def test_ranges_near_each_other_are_one_request():
    with reading(CONTENT) as (file, server):
        ranges = [(20 * BLOCK + 5, 20 * BLOCK + 9), (10 * BLOCK, 12 * BLOCK), (12 * BLOCK, 13 * BLOCK + 1)]
        assert file.read_ranges(ranges) == [CONTENT[first:stop] for first, stop in ranges]
        assert sorted(asked(server, since=1)) == [(10 * BLOCK, 14 * BLOCK), (20 * BLOCK, 21 * BLOCK)]


def test_ranges_with_a_block_between_them_are_one_request():
    with reading(CONTENT) as (file, server):
        ranges = [(at * BLOCK, (at + 1) * BLOCK) for at in (10, 12, 15)]
        assert file.read_ranges(ranges) == [CONTENT[first:stop] for first, stop in ranges]
        assert sorted(asked(server, since=1)) == [(10 * BLOCK, 13 * BLOCK), (15 * BLOCK, 16 * BLOCK)]


def test_a_block_between_two_ranges_that_can_not_be_had_fails_nobody():
    def behave(request):
        first, last = request.range
        if first == 11 * BLOCK:
            return Behaviour(cut_after=0)
        return Behaviour(cut_after=11 * BLOCK - first) if first < 11 * BLOCK <= last else None

    with reading(CONTENT, behave=behave) as (file, server):
        ranges = [(10 * BLOCK, 11 * BLOCK), (12 * BLOCK, 13 * BLOCK)]
        assert file.read_ranges(ranges) == [CONTENT[first:stop] for first, stop in ranges]
        assert asked(server)[1] == (10 * BLOCK, 13 * BLOCK)
        with pytest.raises(TransferError):
            file.read_ranges([*ranges, (11 * BLOCK, 11 * BLOCK + 1)])


NOTHING = [
    lambda file: (file.seek(0, io.SEEK_END), file.read())[1],
    lambda file: (file.seek(SIZE + 5), file.read(10))[1],
    lambda file: (file.seek(MIB + 5), file.read(0))[1],
    lambda file: file.read_at(0, MIB + 5),
    lambda file: file.read_at(10, SIZE),
    lambda file: file.read_at(10, SIZE + 5),
    lambda file: bytes(file.readinto_at(bytearray(0), MIB + 5)),
    lambda file: bytes(file.readinto_at(bytearray(9), SIZE + 5)),
    lambda file: b"".join(file.read_ranges([(MIB + 5, MIB + 5), (SIZE + 5, SIZE + 9), (SIZE, SIZE)])),
]


@pytest.mark.parametrize("read", NOTHING)
def test_a_read_of_nothing_asks_for_nothing(read):
    with reading(CONTENT) as (file, server):
        file.read_at(1, 0)
        server.close()
        assert read(file) == b""
        assert len(server.requests) == 1


def test_all_ranges_are_asked_for_before_the_first_is_waited_for():
    def behave(request):
        return Behaviour(stall=True) if request.number else None

    ranges = [(at * BLOCK, at * BLOCK + 10) for at in (30, 5, 40, 20)]
    with reading(CONTENT, behave=behave, timeout=60.0) as (file, server):
        with in_thread(file.read_ranges, ranges) as waiting:
            until(lambda: len(server.requests) == 5, what="four requests beside the first")
            file.close()
            with pytest.raises(ValueError, match="closed"):
                waiting.result(5)


def test_a_read_of_a_missing_block_goes_before_what_is_fetched_ahead():
    def behave(request):
        return Behaviour(rate=3_000_000)

    content = Content(100 * MIB)
    with LoopbackServer(content, behave=behave) as server:
        with opened(server, concurrency=2) as file:
            file._access._lease.ask([], [(1, 200)])  # as much as a long run in order would have asked for
            until(lambda: len(server.requests) >= 3, what="both connections are busy")
            before = len(server.requests)
            with in_thread(file.read_at, 10, 90 * MIB) as waiting:
                until(lambda: len(server.requests) > before, what="one of them is free", timeout=60)
                assert asked(server)[before][0] == 90 * MIB
                assert waiting.result(30) == pattern(90 * MIB, 90 * MIB + 9)


def test_threads_read_at_once_and_no_block_comes_twice():
    content = Content(8 * MIB)

    def work(seed):
        rng = random.Random(seed)
        for _ in range(40):
            pos, size = rng.randrange(content.size), rng.randrange(1, 300_000)
            stop = min(pos + size, content.size)
            if rng.random() < 0.5:
                assert file.read_at(size, pos) == pattern(pos, stop - 1)
            else:
                assert file.read_ranges([(pos, stop), (0, 5)]) == [pattern(pos, stop - 1), pattern(0, 4)]

    with LoopbackServer(content) as server, opened(server, concurrency=4) as file:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert set(times_asked(server).values()) == {1}
        assert sent(server) <= content.size


def test_a_server_without_ranges_sends_everything_once():
    with reading(CONTENT, behave=lambda request: Behaviour(ranges=False)) as (file, server):
        assert file.read_ranges([(2 * MIB, 2 * MIB + 100), (5, 10)]) == [
            CONTENT[2 * MIB : 2 * MIB + 100],
            CONTENT[5:10],
        ]
        file.seek(-100, io.SEEK_END)
        assert file.read() == CONTENT[-100:]
        assert (len(server.requests), sent(server)) == (1, SIZE)


def test_stats_say_what_was_fetched():
    with reading(CONTENT) as (file, _):
        file.read_at(1, 2 * MIB)
        until(lambda: file.stats().connections == 0, what="the first block is here too")
        stats = file.stats()
        assert (stats.downloaded_bytes, stats.downloaded_blocks) == (2 * BLOCK, 2)
        assert (stats.download_size, stats.cached_or_streamed_bytes) == (SIZE, 2 * BLOCK)
        file.read()
        until(lambda: file.stats().phase == "done", what="the engine is over")


def test_a_file_that_nobody_reads_sleeps(monkeypatch):
    naps, poll = [], CurlTransport.poll

    def noted(transport, timeout):
        naps.append(timeout)
        return poll(transport, timeout)

    def wakeups():
        """How often the engine's own thread has gone to sleep."""
        lines = Path(f"/proc/self/task/{engine.native_id}/status").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))

    monkeypatch.setattr(CurlTransport, "poll", noted)
    before = set(threading.enumerate())
    with reading(CONTENT) as (file, _):
        [engine] = [t for t in set(threading.enumerate()) - before if t.name == "largefile-engine"]
        file.read_at(10, MIB)
        until(lambda: file.stats().connections == 0 and naps[-1] >= 10.0, what="it means to sleep for long")
        asleep = wakeups()
        time.sleep(0.5)
        assert wakeups() - asleep <= 4


# --- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "error"), [(404, NotFoundError), (403, RefusedError)])
def test_what_the_first_request_meets_comes_from_open(status, error):
    with nothing_left_behind(), LoopbackServer(b"x", behave=lambda r: Behaviour(status=status)) as server:
        with pytest.raises(error):
            opened(server)


def test_a_source_without_a_size_can_not_be_opened():
    def behave(request):
        return Behaviour(ranges=False, chunked=True)

    with nothing_left_behind(), LoopbackServer(b"x" * 100, behave=behave) as server:
        with pytest.raises(UnsizedSourceError):
            opened(server)


def test_a_source_that_changed_is_told_to_each_reader_of_a_missing_block():
    with reading(CONTENT) as (file, server):
        assert file.read_at(10, MIB) == CONTENT[MIB : MIB + 10]
        server.replace(noise(SIZE, seed=9), etag='"other"')
        for _ in range(2):
            with pytest.raises(SourceChangedError):
                file.read_at(10, 2 * MIB)
        assert file.read_at(10, MIB + 20) == CONTENT[MIB + 20 : MIB + 30], "what is here is still right"


def test_who_waits_when_everything_ends_is_told_at_once():
    gone = threading.Event()

    def behave(request):
        if request.number:
            gone.wait(10)
        return Behaviour(status=404) if gone.is_set() else None

    with reading(CONTENT, behave=behave) as (file, server):
        with in_thread(file.read_at, 10, MIB) as waiting:
            until(lambda: len(server.requests) == 2, what="the read waits for an answer")
            gone.set()
            with pytest.raises(NotFoundError):
                waiting.result(5)


def test_each_reader_gets_an_error_of_its_own():
    with reading(CONTENT) as (file, server):
        server.replace(noise(SIZE, seed=9), etag='"other"')
        found = []
        for pos in (MIB, 2 * MIB):
            with pytest.raises(SourceChangedError) as caught:
                file.read_at(10, pos)
            found.append(caught.value)
        assert found[0] is not found[1]


def test_a_block_that_can_not_be_had_is_tried_again_by_the_next_read():
    ill = threading.Event()

    def behave(request):
        return Behaviour(status=503) if ill.is_set() else None

    with reading(CONTENT, behave=behave) as (file, server):
        ill.set()
        for _ in range(2):
            before = len(server.requests)
            with pytest.raises(ThrottledError):
                file.read_at(10, MIB)
            assert len(server.requests) > before, "it was tried"
        assert file.read_at(10, 5) == CONTENT[5:15], "what is here can be read meanwhile"
        ill.clear()
        assert file.read_at(10, MIB) == CONTENT[MIB : MIB + 10]


def test_a_position_stays_where_a_read_failed():
    ill = threading.Event()
    with reading(CONTENT, behave=lambda r: Behaviour(status=503) if ill.is_set() else None) as (file, _):
        file.seek(MIB)
        ill.set()
        with pytest.raises(TransferError):
            file.read(100)
        ill.clear()
        assert file.tell() == MIB
        assert file.read(100) == CONTENT[MIB : MIB + 100]


def test_a_connection_that_is_cut_costs_only_what_did_not_come():
    def behave(request):
        return Behaviour(cut_after=3 * BLOCK + 100) if request.number == 1 else None

    with reading(CONTENT, behave=behave) as (file, server):
        assert file.read_at(MIB, MIB) == CONTENT[MIB : 2 * MIB]
        assert asked(server, since=1) == [(MIB, 2 * MIB), (MIB + 3 * BLOCK, 2 * MIB)]


# --- the end ---------------------------------------------------------------------------------------


def test_a_closed_file_gives_nothing():
    with reading(CONTENT) as (file, _):
        file.close()
        file.close()
        assert file.closed
        for act in [
            file.read,
            file.tell,
            lambda: file.seek(0),
            lambda: file.read_at(0, 0),
            lambda: file.read_ranges([]),
            lambda: file.readinto_at(bytearray(1), 0),
        ]:
            with pytest.raises(ValueError, match="closed"):
                act()


@pytest.mark.parametrize("read", ["read", "read_at", "read_ranges"])
def test_close_ends_soon_and_sends_waiting_readers_away(read):
    def behave(request):
        return Behaviour(stall=True) if request.number else None

    with nothing_left_behind(), LoopbackServer(CONTENT, behave=behave) as server:
        file = opened(server, timeout=60.0)
        args = {"read": [], "read_at": [10, 2 * MIB], "read_ranges": [[(MIB, MIB + 1)]]}[read]
        with in_thread(getattr(file, read), *args) as waiting:
            until(lambda: len(server.requests) > 1, what="the read waits for an answer")
            began = time.monotonic()
            file.close()
            assert time.monotonic() - began < SOON
            with pytest.raises(ValueError, match="closed"):
                waiting.result(5)


def test_close_ends_a_transfer_in_its_middle():
    content = Content(1 << 30)
    with nothing_left_behind(), LoopbackServer(content, rate=1_000_000) as server:
        file = opened(server)
        with in_thread(file.read) as waiting:
            until(lambda: server.sent > MIB, what="bytes flow")
            began = time.monotonic()
            file.close()
            assert time.monotonic() - began < SOON
            with pytest.raises(ValueError):
                waiting.result(5)


def test_a_file_that_is_dropped_says_so_and_ends():
    with nothing_left_behind(), LoopbackServer(CONTENT) as server:
        file = opened(server)
        file.read(10)
        with pytest.warns(ResourceWarning, match="unclosed"):
            del file
        until(lambda: not any("largefile" in t.name for t in threading.enumerate()), what="no thread is left")


def test_a_file_for_which_there_is_no_memory_leaves_nothing_behind():
    with nothing_left_behind(), LoopbackServer(CONTENT) as server, pytest.raises(MemoryError):
        opened(server, buffer_size=1 << 60)


@pytest.mark.parametrize("where", ["keeper", "engine"])
def test_a_file_that_is_collected_on_a_thread_of_its_own_is_closed_all_the_same(where, tmp_path):
    collected, on = threading.Event(), []

    def collect(*_):
        if not collected.is_set():
            on.append(threading.current_thread().name)
            gc.collect()
            collected.set()

    def drop(server):
        file = opened(server, cache_dir=tmp_path)
        file.itself = file  # only the collector frees it
        cache, session = file._access._lease.cache, file._access._content._session
        file.read_at(10, MIB)
        if where == "keeper":
            commit = cache.commit
            cache.commit = lambda: (file_is_dropped.wait(10), commit(), collect())[1]
        return (lambda: session.post(collect)) if where == "engine" else lambda: None

    def drop_and_collect(server):
        act = drop(server)
        file_is_dropped.set()
        act()
        assert collected.wait(30)

    def is_free():
        with contextlib.suppress(CacheBusyError):
            part = next(tmp_path.glob("*.part"))
            LocalDownloadCache.open(str(part), f"{part}.idx").close()
            return True

    file_is_dropped = threading.Event()
    with LoopbackServer(CONTENT) as server, nothing_left_behind():
        gc.disable()
        try:
            with pytest.warns(ResourceWarning, match="unclosed"):
                drop_and_collect(server)
        finally:
            gc.enable()
        assert on == [f"largefile-{where}"]
        until(is_free, what="the lock is free")
        until(lambda: not any("largefile" in t.name for t in threading.enumerate()), what="no thread is left")


class Held:
    """A lease whose bytes are held back until they are let go."""

    def __init__(self, error=None):
        self.content = self.store = self.cache = self
        self.content_size = self.block_size = 10
        self.entered, self.freed, self.told = threading.Event(), threading.Event(), []
        self.error = error

    def gap(self, first, stop):
        return None

    def wake(self):
        self.told.append("wake")

    def read_at(self, size, pos):
        self.entered.set()
        self.freed.wait(10)
        self.told.append("read")
        return b"x" * size

    def release(self):
        self.told.append("release")
        if self.error is not None:
            raise self.error


def test_the_cache_is_let_go_of_when_the_last_reader_has_left():
    lease = Held()
    access = Access(lease, "name")
    with in_thread(access.read_at, 5, 0) as reader, in_thread(access.close) as closer:
        lease.entered.wait(10)
        until(lambda: "wake" in lease.told, what="it is being closed")
        lease.freed.set()
        assert reader.result(5) == b"xxxxx"
        closer.result(5)
    assert lease.told == ["wake", "read", "release"]


@pytest.mark.parametrize("error", [None, CachePoisonedError("x", "the last sync failed")])
def test_a_reader_that_leaves_late_lets_go_of_the_cache_itself(error, monkeypatch, caplog):
    monkeypatch.setattr(access_module, "LEAVE", 0.01)
    lease = Held(error)
    access = Access(lease, "name")
    with in_thread(access.read_at, 5, 0) as reader:
        lease.entered.wait(10)
        for _ in range(2):
            access.close()
        assert lease.told == ["wake"], "nothing is closed under a reader"
        with pytest.raises(ValueError, match="closed"):
            access.read_at(5, 0)
        lease.freed.set()
        with caplog.at_level(logging.WARNING, "largefile"):
            assert reader.result(5) == b"xxxxx", "it is not the reader's fault"
    assert lease.told == ["wake", "read", "release"]
    assert ("not closed well" in caplog.text) is (error is not None)


def test_of_many_readers_that_leave_late_only_the_last_lets_go(monkeypatch):
    monkeypatch.setattr(access_module, "LEAVE", 0.01)
    lease = Held()
    access = Access(lease, "name")
    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(access.read_at, 5, 0) for _ in range(8)]
        until(lambda: access._inside == 8, what="all are inside")
        access.close()
        lease.freed.set()
        assert [reader.result(5) for reader in readers] == [b"xxxxx"] * 8
    assert lease.told == ["wake", *["read"] * 8, "release"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_of_a_fork_closes_what_a_thread_of_its_parents_reads():
    lease = Held()
    access = Access(lease, "name")
    with in_thread(access.read_at, 5, 0):
        lease.entered.wait(10)
        child = os.fork()
        if not child:
            access.close()
            os._exit(0 if lease.told == ["wake", "release"] else 1)
        lease.freed.set()
        assert os.waitpid(child, 0)[1] == 0


def test_a_read_that_was_cut_short_does_not_go_on_in_another_file(tmp_path, monkeypatch):
    (tmp_path / "other").write_bytes(b"other" * 100)
    file = LocalFile.create(str(tmp_path / "data"))
    file.write_at(b"x" * 100, 0)
    number, real, found = file.fd, os.preadv, []

    def short(fd, buffers, offset):
        count = real(fd, [buffers[0][:5]], offset)
        if not found:
            file.close()
            found.append(os.open(tmp_path / "other", os.O_RDONLY))
        return count

    monkeypatch.setattr(os, "preadv", short)
    try:
        with pytest.raises(ValueError, match="closed"):
            file.readinto(bytearray(100), 0)
        assert found == [number], "the number is another file's now"
    finally:
        os.close(found[0])


# --- pickles ---------------------------------------------------------------------------------------


def test_a_pickled_file_is_opened_again_where_it_was():
    with reading(CONTENT, block_size=128 << 10, headers={"X-Token": "t"}) as (file, server):
        file.seek(MIB)
        file.read(7)
        with pickle.loads(pickle.dumps(file)) as twin:
            assert (twin.url, twin.size, twin.tell()) == (file.url, SIZE, MIB + 7)
            assert twin.read(10) == CONTENT[MIB + 7 : MIB + 17]
            assert asked(server)[-1] == (MIB, MIB + (128 << 10))
        assert file.read(10) == CONTENT[MIB + 7 : MIB + 17]


@pytest.mark.parametrize("allowed", [False, True])
def test_a_pickle_holds_no_credentials(allowed):
    options = {"auth": ("me", "pass-word"), "headers": {"X-Token": "to-ken"}, "pickle_headers": allowed}
    with reading(CONTENT, **options) as (file, server):
        text = pickle.dumps(file)
        assert b"pass-word" not in text
        assert (b"to-ken" in text) is allowed
        with pickle.loads(text):
            last = server.requests[-1].headers
        assert "authorization" not in last
        assert last.get("x-token") == ("to-ken" if allowed else None)


def test_a_pickle_holds_no_credentials_of_a_proxy():
    with LoopbackServer(CONTENT) as server:  # which takes what a proxy is asked, too
        proxy = f"http://me:pass-word@127.0.0.1:{server.port}"
        with opened(server, url="http://host.invalid/file", proxy=proxy) as file:
            text = pickle.dumps(file)
            assert b"pass-word" not in text
            with pickle.loads(text) as twin:
                assert twin.read(10) == CONTENT[:10], "the rest of it is there"
        given = [request.headers.get("proxy-authorization") for request in server.requests]
        assert (given[0] is None, given[-1]) == (False, None)


@pytest.mark.parametrize("scheme", ["", "http://", "socks5h://"])
@pytest.mark.parametrize(
    "user", ["me:pass-word", "me:p@ss-word", "me:pass://word", "me:pass/word", ":word", ""]
)
def test_a_pickled_source_holds_no_credentials_of_a_proxy(scheme, user):
    source = HTTPReader("http://host.invalid/", proxy=f"{scheme}{user}@proxy:3128")
    text = pickle.dumps(source)
    assert b"word" not in text
    assert pickle.loads(text)._options["proxy"] == f"{scheme}proxy:3128"
    assert source._options["proxy"] == f"{scheme}{user}@proxy:3128", "this one goes on with it"


def test_a_file_with_limits_that_others_share_says_why_it_can_not_be_pickled():
    with reading(CONTENT, rate=RateController(bytes_per_second=1 << 30)) as (file, _):
        with pytest.raises(TypeError, match="RateController"):
            pickle.dumps(file)
    with reading(CONTENT, rate=1 << 30) as (file, _), pickle.loads(pickle.dumps(file)) as twin:
        assert twin.read(10) == CONTENT[:10]


def test_no_warning_is_made_for_a_file_that_was_closed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with LoopbackServer(b"x") as server:
            file = open_remote(server.url, proxy="")
            file.close()
            del file
            gc.collect()
