"""A disk that is slower than the network: what it owes is bounded, and nobody is blamed for the wait. And a
content that is too large for the memory does not stay there."""

from __future__ import annotations

import errno
import hashlib
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from disk_helpers import MemoryFile, new_cache, noise, put
from processes import until
from server_tools import always

import largefile
from largefile.core.ranges import ByteRange
from largefile.core.sink import BlockSink
from largefile.disk import commit, fileops, pages
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import REAL, FileOps
from largefile.engine import digester
from largefile.engine.committer import Committer
from largefile.engine.flight import Flight
from largefile.engine.store import Seat
from largefile.errors import CacheIOError, CachePoisonedError, CancelledError
from largefile.events import Fetch
from largefile.rules import backlog
from largefile.rules.flights import Flight as Scheduled
from largefile.rules.flights import Flights
from largefile.rules.governor import Governor
from largefile.rules.schedule import Span
from largefile.rules.stragglers import Stragglers
from largefile.testing.disk.seam import Watched, everywhere
from largefile.testing.script import Content, pattern
from largefile.testing.server import LoopbackServer

MIB = 1 << 20
BLOCK = 64 << 10
SIZE = 8 * MIB + 321
LIMIT = MIB
RIGHT = hashlib.sha256(pattern(0, SIZE - 1)).hexdigest()
OPTIONS = {"block_size": BLOCK, "concurrency": 2, "proxy": "", "timeout": 0.5}


class SlowDisk(Watched):
    """Takes what was written only while its gate is open, but for the first sync, which finds nothing."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.fails = False
        self.syncs = 0

    def perform(self, call):
        if call.name in ("fdatasync", "wait_writeback") and str(call.path).endswith(".part"):
            self.syncs += 1
            if self.syncs > 1 or call.name == "wait_writeback":
                assert self.gate.wait(60)
                if self.fails:
                    raise CacheIOError(errno.EIO, "sync", str(call.path))
        return call()


@pytest.fixture
def disk(monkeypatch):
    """A slow one, which may owe little."""
    monkeypatch.setattr(backlog, "FIRST", LIMIT)
    monkeypatch.setattr(backlog, "MOST", LIMIT)
    ops = SlowDisk()
    with everywhere(ops):
        yield ops
        ops.gate.set()


@pytest.fixture
def waits(monkeypatch):
    """How often a thread of the engine has waited for the disk."""
    found = []

    def wait(self, timeout, wait=commit.GroupCommit.wait_for_room):
        wait(self, timeout)
        found.append(timeout)

    monkeypatch.setattr(commit.GroupCommit, "wait_for_room", wait)
    return found


def held(waits):
    """Until it was held back for longer than a server may be silent."""
    until(lambda: sum(waits) > 2 * OPTIONS["timeout"], what="it waits for the disk")


def engine_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("largefile-engine")]


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "one body"])
@pytest.mark.parametrize("durable", [True, False], ids=["durable", "not durable"])
def test_what_a_slow_disk_owes_is_bounded_and_the_server_is_not_blamed(
    tmp_path, disk, waits, durable, ranges
):
    rate = 4 * MIB if ranges else 8 * MIB
    with LoopbackServer(Content(SIZE, etag='"a"'), behave=always(rate=rate, ranges=ranges)) as server:
        job = largefile.start_download(server.url, tmp_path / "x", durable=durable, **OPTIONS)
        held(waits)
        stopped_at = job.stats().cached_or_streamed_bytes
        # The limit, and what came within one look at the network.
        assert LIMIT - 2 * BLOCK <= stopped_at < LIMIT + SIZE // 2
        before = len(waits)
        until(lambda: len(waits) > before + 10, what="it goes on waiting")
        assert job.stats().cached_or_streamed_bytes == stopped_at
        disk.gate.set()
        status = job.result(60)
        # A transfer may be split at the end, and no other is begun anew.
        assert sum(request.sent for request in server.requests) < SIZE + 8 * BLOCK
    assert (status.download_errors, status.download_retries) == (0, 0)
    assert hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest() == RIGHT


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "not durable"])
def test_a_disk_that_fails_while_it_is_waited_for_ends_the_download(tmp_path, disk, waits, durable):
    with LoopbackServer(Content(SIZE, etag='"a"'), behave=always(rate=4 * MIB)) as server:
        job = largefile.start_download(server.url, tmp_path / "x", durable=durable, **OPTIONS)
        held(waits)
        disk.fails = True
        disk.gate.set()
        with pytest.raises(CachePoisonedError, match="did not take" if not durable else "sync failed"):
            job.result(60)
        disk.fails = False
        status = largefile.download(server.url, tmp_path / "x", **OPTIONS)
    assert status.complete
    assert hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest() == RIGHT


def test_a_download_is_cancelled_while_it_waits_for_the_disk(tmp_path, disk, waits):
    with LoopbackServer(Content(SIZE, etag='"a"'), behave=always(rate=4 * MIB)) as server:
        job = largefile.start_download(server.url, tmp_path / "x", progress=lambda _: None, **OPTIONS)
        held(waits)
        job.cancel()
        until(lambda: job.stats().connections == 0, what="the transfers are over, and the disk is not")
        assert not disk.gate.is_set()
        disk.gate.set()
        with pytest.raises(CancelledError):
            job.result(60)
    assert engine_threads() == []


def test_the_governor_does_not_take_the_disk_for_the_network(tmp_path, monkeypatch, disk, waits):
    looks = []

    def look(self, received, now, *, waited, busy, look=Governor.look):
        looks.append((busy, len(waits)))
        return look(self, received, now, waited=waited, busy=busy)

    monkeypatch.setattr(Governor, "look", look)
    with LoopbackServer(Content(SIZE, etag='"a"'), behave=always(rate=MIB)) as server:
        job = largefile.start_download(server.url, tmp_path / "x", **{**OPTIONS, "concurrency": "auto"})
        until(lambda: len(looks) > 4 and looks[-3][1] > looks[0][1], what="it looks, and is held")
        disk.gate.set()
        job.result(60)
    for (_, before), (busy, after) in pairwise(looks):
        assert not busy or after == before
    assert any(busy for busy, _ in looks)


def test_what_a_sync_has_not_brought_to_the_disk_yet_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(backlog, "FIRST", 8 * BLOCK)
    ops, content = SlowDisk(), noise(32 * BLOCK)
    with new_cache(tmp_path, len(content), BLOCK, ops=ops) as cache:
        assert cache.backlog == 0
        put(cache, content, 0)
        assert cache.backlog == 0  # nobody would make it less
        with Committer(cache, interval=3600):
            until(lambda: ops.syncs, what="the first sync")
            put(cache, content, 1, 2)
            assert cache.backlog == 3 / 8
            assert not cache.commit_due.is_set()
            put(cache, content, 3)  # half of what it may owe
            until(lambda: ops.syncs == 2, what="a sync")
            assert cache.backlog == 4 / 8
            put(cache, content, 4, 5, 6, 7)
            assert cache.backlog == 1
            cache.wait_for_room(0)
            waiter = threading.Thread(target=cache.wait_for_room, args=(60,))
            waiter.start()
            ops.gate.set()
            waiter.join(30)
            assert not waiter.is_alive()
            until(lambda: cache.backlog == 0, what="the rest is committed as well")
        put(cache, content, *range(8, 32))
        assert cache.backlog == 0


def test_a_commit_that_outlives_the_committer_leaves_no_limit_behind(tmp_path, monkeypatch):
    content, ends = noise(8 * BLOCK), threading.Event()
    monkeypatch.setattr(backlog, "FIRST", 4 * BLOCK)
    with new_cache(tmp_path, len(content), BLOCK) as cache:

        def committer():
            with cache.committing(durable=True):
                began.set()
                assert ends.wait(60)

        def limit(memory, speed, backlog_limit=backlog.backlog_limit):
            ends.set()
            thread.join(0.2)  # it must not be over yet
            return backlog_limit(memory, speed)

        began, thread = threading.Event(), threading.Thread(target=committer)
        thread.start()
        assert began.wait(60)
        monkeypatch.setattr(commit, "LEAST", BLOCK)
        monkeypatch.setattr(commit, "backlog_limit", limit)
        put(cache, content, 0, 1)
        cache.commit()
        thread.join(60)
        put(cache, content, 2, 3, 4, 5, 6)
        assert cache.backlog == 0  # nobody would make it less


def test_who_ends_waits_for_one_piece_of_write_back_at_the_most(tmp_path, monkeypatch):
    told = []

    class Ops(FileOps):
        def wait_writeback(self, fd, offset, size, path=""):
            told.append((offset // BLOCK, size))
            return True

    content = noise(8 * BLOCK + 5)
    monkeypatch.setattr(commit, "PIECE", 2 * BLOCK)
    with new_cache(tmp_path, len(content), BLOCK, ops=Ops()) as cache:
        put(cache, content, 0, 1, 2, 5, 8)
        cache.write_back()
        assert told == [(0, 2 * BLOCK), (2, BLOCK), (5, BLOCK), (8, 5)]
        told.clear()
        put(cache, content, 3, 4, 6)
        cache.write_back(lambda: not told)
        assert told == [(3, 2 * BLOCK)]
        assert cache.commit() == 8  # all are to be made durable still


def test_what_is_not_to_be_durable_may_be_far_ahead_until_the_disk_is_known(tmp_path, monkeypatch):
    content = noise(32 * BLOCK)
    monkeypatch.setattr(backlog, "FIRST", 4 * BLOCK)
    monkeypatch.setattr(backlog, "MOST", 16 * BLOCK)
    with new_cache(tmp_path, len(content), BLOCK) as cache:
        put(cache, content, 0, 1)
        for durable, ahead in ((True, 1 / 2), (False, 1 / 8)):
            with cache.committing(durable=durable):
                assert cache.backlog == ahead


def test_the_limit_follows_the_disk_and_a_lower_one_makes_a_commit_due(tmp_path, monkeypatch):
    clock = [0.0]
    ops, content = SlowDisk(), noise(32 * BLOCK)
    ops.gate.set()
    monkeypatch.setattr(backlog, "LEAST", 2 * BLOCK)
    monkeypatch.setattr(commit, "LEAST", 2 * BLOCK)
    monkeypatch.setattr(backlog, "FIRST", 16 * BLOCK)
    monkeypatch.setattr(commit, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with new_cache(tmp_path, len(content), BLOCK, ops=ops) as cache, cache.committing(durable=True):
        plain = ops.perform

        def perform(call):
            if call.name == "fdatasync" and call.path == cache.path:
                clock[0] += backlog.SECONDS
                put(cache, content, 8, 9, 10)
            return plain(call)

        monkeypatch.setattr(ops, "perform", perform)
        put(cache, content, 0, 1, 2, 3)
        cache.commit()
        assert cache.backlog == 3 / 4
        assert cache.commit_due.is_set()
        monkeypatch.setattr(ops, "perform", plain)
        cache.commit()
        put(cache, content, 11)
        cache.commit()  # too little to tell the speed by
        put(cache, content, 12)
        # It took 4 blocks, and then 3 in no time: half of the first counts.
        assert cache.backlog == pytest.approx(1 / (2 * (2 + 3)))


# --- what is dropped from memory -------------------------------------------------------------------


class SmallMachine(Watched):
    """Sees what was written since a sync began, what was read, and what is dropped."""

    def __init__(self) -> None:
        self.dirty: set[int] = set()  # blocks
        self.dropped: set[int] = set()
        self.read = 0  # bytes, from the first on
        self.wrong: list[str] = []
        self.digests = False

    def memory(self) -> int:
        return SIZE

    def perform(self, call):
        given = call.arguments
        if not str(call.path).endswith(".part"):
            return call()
        blocks: set[int] = set()
        if call.name in ("pwrite", "drop_pages", "preadinto", "wait_writeback"):
            size = (
                given["size"]
                if "size" in given
                else memoryview(given.get("data", given.get("buffer"))).nbytes
            )
            blocks = set(range(given["offset"] // BLOCK, -(-(given["offset"] + size) // BLOCK)))
        if call.name == "mmap" and not given["writable"]:
            self.read = max(self.read, given["offset"] + given["size"])
        elif call.name == "pwrite":
            self.dirty |= blocks
        elif call.name == "preadinto":
            if self.dropped & blocks:
                self.wrong.append(f"{sorted(blocks)} are read after they were dropped")
            self.read = max(self.read, given["offset"] + size)
        elif call.name == "drop_pages":
            self.dropped |= blocks
            if self.dirty & blocks:
                self.wrong.append(f"{sorted(self.dirty & blocks)} were dropped dirty")
            if self.digests and min(SIZE, given["offset"] + given["size"]) > self.read:
                self.wrong.append(f"{call.arguments} is dropped, and only {self.read} bytes were read")
        synced = blocks if call.name == "wait_writeback" else set()
        synced = set(self.dirty) if call.name in ("fdatasync", "fsync") else synced
        result = call()
        self.dirty -= synced
        return result


@pytest.mark.parametrize("digests", [True, False], ids=["digest", "no digest"])
@pytest.mark.parametrize("durable", [True, False], ids=["durable", "not durable"])
def test_only_what_the_disk_has_and_the_digest_has_passed_is_dropped(tmp_path, monkeypatch, durable, digests):
    monkeypatch.setattr(backlog, "FIRST", LIMIT)
    monkeypatch.setattr(backlog, "MOST", LIMIT)
    monkeypatch.setattr(pages, "RUN", 4 * BLOCK)
    monkeypatch.setattr(digester, "PIECE", BLOCK)
    ops = SmallMachine()
    ops.digests = digests
    wanted = f"sha256:{RIGHT}" if digests else None
    with everywhere(ops), LoopbackServer(Content(SIZE, etag='"a"'), behave=always(rate=8 * MIB)) as server:
        largefile.download(server.url, tmp_path / "x", durable=durable, digest=wanted, **OPTIONS)
    assert ops.wrong == []
    assert len(ops.dropped) > SIZE // BLOCK // 2
    if durable:
        assert ops.dropped == set(range(SIZE // BLOCK + 1))  # the short block at the end as well
    assert hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest() == RIGHT


def test_what_fits_into_memory_stays_there(tmp_path):
    class Ample(SmallMachine):
        def memory(self) -> int:
            return 2 * SIZE

    ops = Ample()
    with everywhere(ops), LoopbackServer(Content(SIZE, etag='"a"')) as server:
        largefile.download(server.url, tmp_path / "x", **OPTIONS)
    assert ops.dropped == set()


def test_a_stream_drops_what_lies_behind_its_reader(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "RUN", 4 * BLOCK)
    monkeypatch.setattr("largefile.engine.digester.AHEAD", 4)
    ops = SmallMachine()
    ops.digests, window = True, 16
    with everywhere(ops), LoopbackServer(Content(SIZE, etag='"a"')) as server:
        with (
            LocalDownloadCache.create(str(tmp_path / "x.part"), str(tmp_path / "i"), SIZE, BLOCK) as cache,
            largefile.stream(server.url, cache=cache, proxy="", window=window * BLOCK) as stream,
        ):
            assert hashlib.sha256(b"".join(stream)).hexdigest() == RIGHT
    assert ops.wrong == []
    # The engine is over when all has landed, and the reader is behind it then.
    assert set(range(SIZE // BLOCK - 4 - window)) <= ops.dropped <= set(range(SIZE // BLOCK + 1 - 4))


def test_a_resumed_file_drops_what_was_there_already_but_nothing_that_is_owed(tmp_path, monkeypatch):
    content, told = noise(16 * BLOCK), []

    class Ops(FileOps):
        def memory(self):
            return len(content)

        def drop_pages(self, fd, offset, size, path=""):
            told.append((offset // BLOCK, size // BLOCK))

    with new_cache(tmp_path, len(content), BLOCK, ops=Ops()) as cache:
        put(cache, content, 0, 1, 2, 3)
        cache.commit()
        put(cache, content, 5)
        cache.write_back()  # it is on the list still
        put(cache, content, 7)
        with cache.committing(durable=True):
            put(cache, content, 6)
            cache.drop_pages(len(content), short=True)
            assert told == [(0, 4)]
            told.clear()
            cache.commit()
            cache.invalidate(ByteRange(5 * BLOCK, 6 * BLOCK - 1))
            cache.drop_pages(len(content), short=True)
            assert told == [(6, 2)]
        cache.drop_pages(len(content), short=True)
    cache.drop_pages(len(content), short=True)  # closed
    assert told == [(6, 2)]


# --- systems that have no such calls ---------------------------------------------------------------


def test_without_the_call_what_is_not_durable_has_no_bound_and_nothing_is_dropped(
    tmp_path, monkeypatch, disk
):
    disk.gate.set()
    monkeypatch.setattr(fileops.sysfile, "wait_writeback", lambda *args: errno.ENOSYS)
    dropped = []
    monkeypatch.setattr(FileOps, "memory", lambda self: SIZE)
    monkeypatch.setattr(fileops.os, "posix_fadvise", lambda *args: dropped.append(args))
    with LoopbackServer(Content(SIZE, etag='"a"')) as server:
        largefile.download(server.url, tmp_path / "x", durable=False, **OPTIONS)
    assert dropped == []
    assert hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest() == RIGHT


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL, errno.EOPNOTSUPP])
def test_whatever_a_server_has_answered_to_a_write_poisons(tmp_path, monkeypatch, number):
    content = noise(4 * BLOCK)
    with new_cache(tmp_path, len(content), BLOCK) as cache:
        put(cache, content, 0)
        monkeypatch.setattr(fileops.sysfile, "wait_writeback", lambda *args: number)
        with pytest.raises(CachePoisonedError):
            cache.write_back()
        with pytest.raises(CachePoisonedError):  # no sync would tell it again
            cache.commit()


def test_waiting_for_the_disk_goes_on_after_a_signal(monkeypatch):
    answers = [errno.EINTR, errno.EINTR, 0]
    monkeypatch.setattr(fileops.sysfile, "wait_writeback", lambda *args: answers.pop(0))
    assert REAL.wait_writeback(7, 0, 1)
    assert answers == []


def test_an_injected_file_is_not_waited_for(tmp_path):
    content = noise(4 * BLOCK)
    with new_cache(tmp_path, len(content), BLOCK) as cache, pytest.MonkeyPatch.context() as patch:
        put(cache, content, 0)
        patch.setattr(cache._group, "_data", MemoryFile())
        patch.setattr(cache, "_data", MemoryFile())
        with cache.committing(durable=True):
            assert cache.backlog > 0
            cache.write_back()
            assert cache.backlog == 0
        patch.undo()
        assert cache.commit() == 1  # it is no less to be made durable


def test_a_system_without_advice_keeps_its_pages(tmp_path, monkeypatch):
    monkeypatch.delattr(fileops.os, "posix_fadvise", raising=False)
    REAL.drop_pages(-1, 0, 1)


def test_the_memory_is_what_the_control_group_allows(tmp_path, monkeypatch):
    groups = Path("/proc/self/cgroup")
    if not groups.exists() or "0::/" not in groups.read_text():
        pytest.skip("no control groups, version 2")
    monkeypatch.setattr(fileops, "_CGROUPS", str(tmp_path))
    whole = REAL.memory()
    assert whole > 0
    (tmp_path / "memory.max").write_text("max\n")
    assert REAL.memory() == whole
    (tmp_path / "memory.max").write_text("4096000\n")
    assert REAL.memory() == 4096000


def test_a_machine_that_does_not_say_how_much_memory_it_has(tmp_path, monkeypatch):
    def sysconf(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(fileops, "_CGROUPS", str(tmp_path))
    monkeypatch.setattr(fileops.os, "sysconf", sysconf)
    assert REAL.memory() == 0


# --- nobody is slow for that -----------------------------------------------------------------------


def test_a_transfer_that_was_not_looked_at_was_not_slow():
    flights = Flights(20.0)
    span = Span(0, 4)
    flight = Scheduled(span, left=4, heard=0.0, epoch=0, cuts=0)
    flights.add(flight)
    stragglers = Stragglers(flights, 10)
    flights.hear(flight, 100, 0.0)
    stragglers.measure(flight, 1.0)
    flights.lost(8.0, [span])
    flights.hear(flight, 300, 10.0)
    stragglers.measure(flight, 10.0)
    assert flight.rate == 200.0
    stragglers.ended(flight, 11.0)
    assert list(stragglers._usual) == [300 / 3]


def test_a_place_is_not_left_because_the_disk_was_waited_for():
    flight = Flight(Span(0, 1), Seat(None, BlockSink()), Fetch(0, 9, "x"), 10.0)
    flight.excuse(3.0, 20.0)
    assert flight.measure(20.0) == (0, 7.0)
    flight.excuse(30.0, 21.0)  # it began while nobody looked
    assert flight.measure(22.0) == (0, 1.0)
