"""Where what was fetched is kept, who shares it, and when it is not believed."""

from __future__ import annotations

import errno
import gc
import itertools
import json
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from disk_helpers import new_cache
from hypothesis import given
from hypothesis import strategies as st
from processes import nothing_left_behind, open_files, until
from remote_tools import BLOCK, asked, blocks_of, noise, opened, sent, times_asked

from largefile.core.ranges import ByteRange
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import FileOps
from largefile.engine.shelf import Shelf, block_size_for, stem_of
from largefile.engine.whose import _known
from largefile.errors import (
    CacheBusyError,
    CacheIOError,
    CachePoisonedError,
    LargeFileError,
    SourceChangedError,
)
from largefile.rules.sizing import MAX_BLOCKS
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer

MIB = 1 << 20
SIZE = 2 * MIB + 777
CONTENT = noise(SIZE)
OTHER = noise(SIZE + 5, seed=1)


def kept(folder):
    """The names of the versions in a folder; each has its index."""
    names = {path.name for path in folder.iterdir()}
    parts = {name for name in names if name.endswith(".part")}
    assert names == parts | {f"{name}.idx" for name in parts}
    return {name.removesuffix(".part") for name in parts}


# --- a folder --------------------------------------------------------------------------------------


def test_what_was_fetched_is_there_for_the_next_time(tmp_path):
    with nothing_left_behind(), LoopbackServer(CONTENT) as server:
        with opened(server, cache_dir=tmp_path / "new" / "folder") as file:
            assert file.read_at(100_000, MIB) == CONTENT[MIB : MIB + 100_000]
        before = len(server.requests)
        with opened(server, cache_dir=tmp_path / "new" / "folder") as file:
            assert file.read_at(100_000, MIB) == CONTENT[MIB : MIB + 100_000]
            assert asked(server, before) == [(0, 1)], "only who is there"
            assert file.read() == CONTENT
        assert max(times_asked(server).values()) == 1
        assert kept(tmp_path / "new" / "folder") == {stem_of(server.url)}


def test_a_complete_cache_needs_one_byte(tmp_path):
    with LoopbackServer(CONTENT) as server:
        for _ in range(3):
            with opened(server, cache_dir=tmp_path) as file:
                assert file.read() == CONTENT
        assert sent(server) == SIZE + 2


def test_another_version_gets_files_of_its_own_and_the_first_ones_wait(tmp_path):
    with LoopbackServer(CONTENT, etag='"one"') as server:
        for content, etag in [(CONTENT, '"one"'), (OTHER, '"two"'), (CONTENT, '"one"'), (OTHER, '"two"')]:
            server.replace(content, etag=etag)
            with opened(server, cache_dir=tmp_path) as file:
                assert file.read() == content
        stem = stem_of(server.url)
        assert kept(tmp_path) == {stem, f"{stem}-2"}
        assert sent(server) <= len(CONTENT) + len(OTHER) + 4, "each version came once"


def test_a_key_names_the_cache_of_urls_that_change(tmp_path):
    with LoopbackServer(CONTENT) as server:
        for signature in "ab":
            url = server.at(f"/x?signature={signature}")
            with opened(server, url=url, cache_dir=tmp_path, key="model.v1") as file:
                assert file.read() == CONTENT
        assert kept(tmp_path) == {"model.v1"}
        assert sent(server) == SIZE + 1


@pytest.mark.parametrize("key", ["", ".", "..", ".h", "-x", "a/b", "a\\b", "a\0b", "ä", "a b", "x" * 201])
def test_a_key_that_is_no_safe_name_is_refused(tmp_path, key):
    with LoopbackServer(CONTENT) as server, pytest.raises(ValueError, match="key"):
        opened(server, cache_dir=tmp_path, key=key)


@given(
    st.sampled_from(["a", "a-1", "a-02", "2024-12", "-".join("abc")]), st.integers(0, 4), st.integers(0, 4)
)
def test_no_two_keys_or_versions_share_a_name(key, version, other_version):
    def stem(key, version):
        parts = itertools.islice(Shelf("/dev/shm", key).parts(), version + 1)
        return Path(list(parts)[-1]).name.removesuffix(".part")

    name = stem(key, version)
    assert (stem(key, other_version) == name) is (version == other_version)
    assert name == key or stem(name, other_version) != name, (
        "nor is it the name of the key that looks like it"
    )


def test_a_source_without_validators_is_not_kept(tmp_path, caplog):
    caplog.set_level(logging.INFO, "largefile")
    with LoopbackServer(CONTENT, etag=None, last_modified=None) as server:
        with opened(server, cache_dir=tmp_path) as file:
            assert file.read() == CONTENT
    assert kept(tmp_path) == set()
    assert "not kept" in caplog.text


def test_a_cache_that_another_process_writes_is_left_alone(tmp_path, caplog):
    with LoopbackServer(CONTENT) as server:
        with opened(server, cache_dir=tmp_path) as file:
            file.read_at(10, MIB)
        part = tmp_path / f"{stem_of(server.url)}.part"
        with LocalDownloadCache.open(part, f"{part}.idx") as theirs:
            blocks = theirs.cached_bytes_and_blocks()
            with opened(server, cache_dir=tmp_path) as file:
                assert file.read() == CONTENT
            assert theirs.cached_bytes_and_blocks() == blocks
        assert "not kept" in caplog.text
        assert kept(tmp_path) == {stem_of(server.url)}


@pytest.mark.parametrize("leave", ["no index", "no index's content", "an older run's beginning"])
def test_files_that_can_not_be_used_cost_nothing_but_their_name(tmp_path, leave):
    with LoopbackServer(CONTENT) as server:
        part = tmp_path / f"{stem_of(server.url)}.part"
        index = part.with_name(f"{part.name}.idx")
        if leave == "no index":
            part.write_bytes(b"somebody's")
        elif leave == "no index's content":
            part.write_bytes(b"somebody's")
            index.write_bytes(b"\xff" * 10_000)
        else:
            index.write_bytes(b"")  # a creator was killed: there is nothing to keep
        with opened(server, cache_dir=tmp_path) as file:
            assert file.read() == CONTENT
        if leave != "an older run's beginning":
            assert part.read_bytes() == b"somebody's"
            assert (tmp_path / f"{stem_of(server.url)}-2.part").read_bytes() == CONTENT
        else:
            assert part.read_bytes() == CONTENT


def test_blocks_are_64_kib_until_there_are_a_million():
    assert block_size_for(0) == block_size_for(64 << 30) == BLOCK
    assert block_size_for((64 << 30) + 1) == 2 * BLOCK
    assert -(-(5 << 40) // block_size_for(5 << 40)) <= MAX_BLOCKS


# --- who shares --------------------------------------------------------------------------------------


def test_files_of_one_process_share_what_they_fetch(tmp_path):
    with nothing_left_behind(), LoopbackServer(CONTENT) as server:
        with opened(server, cache_dir=tmp_path) as one:
            assert one.read_at(10, 0) == CONTENT[:10]
            with opened(server, cache_dir=tmp_path) as other:
                assert other.read() == CONTENT
                assert one.read() == CONTENT
            assert one.read_at(10, MIB) == CONTENT[MIB : MIB + 10], "the other one is closed, this is not"
        assert set(times_asked(server).values()) == {1}


def test_many_openers_at_once_make_one_cache(tmp_path):
    def work(number):
        with opened(server, cache_dir=tmp_path) as file:
            barrier.wait(10)
            return file.read_at(300_000, number * 100_000)

    with nothing_left_behind(), LoopbackServer(CONTENT) as server, ThreadPoolExecutor(8) as pool:
        barrier = threading.Barrier(8)
        for number, found in enumerate(pool.map(work, range(8))):
            assert found == CONTENT[number * 100_000 :][:300_000]
        assert set(times_asked(server).values()) == {1}
        assert kept(tmp_path) == {stem_of(server.url)}


def test_files_that_open_and_close_all_the_time_never_meet_a_busy_cache(tmp_path, caplog):
    def work(seed):
        for number in range(10):
            with opened(server, cache_dir=tmp_path) as file:
                pos = (seed * 7919 + number * 104729) % SIZE
                assert file.read_at(1000, pos) == CONTENT[pos : pos + 1000]

    with nothing_left_behind(), LoopbackServer(CONTENT) as server:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert caplog.text == ""
        assert set(times_asked(server).values()) == {1}


def test_a_reader_of_a_closed_file_is_sent_away_while_another_file_reads_on(tmp_path):
    def behave(request):
        return Behaviour(stall=True) if request.range and request.range[0] >= MIB else None

    with LoopbackServer(CONTENT, behave=behave) as server, ThreadPoolExecutor(1) as pool:
        with opened(server, cache_dir=tmp_path, timeout=60.0) as other:
            file = opened(server, cache_dir=tmp_path, timeout=60.0)
            waiting = pool.submit(file.read_at, 10, MIB)
            until(lambda: len(server.requests) == 3, what="the read waits for an answer")
            file.close()
            with pytest.raises(ValueError, match="closed"):
                waiting.result(1)
            assert other.read_at(10, MIB // 2) == CONTENT[MIB // 2 : MIB // 2 + 10]


def test_opening_finds_the_new_version_while_a_file_still_reads_the_old_one(tmp_path):
    with LoopbackServer(CONTENT) as server, opened(server, cache_dir=tmp_path) as old:
        assert old.read_at(10, 5) == CONTENT[5:15]
        server.content = OTHER
        with opened(server, cache_dir=tmp_path) as new:
            assert new.read() == OTHER
            with pytest.raises(SourceChangedError):
                old.read_at(10, MIB)
            assert old.read_at(10, 5) == CONTENT[5:15]


def test_a_file_opened_after_a_failure_has_an_engine_that_works(tmp_path):
    gone = threading.Event()

    def behave(request):
        return Behaviour(status=404) if gone.is_set() else None

    with nothing_left_behind(), LoopbackServer(CONTENT, behave=behave) as server:
        with opened(server, cache_dir=tmp_path) as one:
            gone.set()
            with pytest.raises(Exception, match="404"):
                one.read_at(10, MIB)
            gone.clear()
            with opened(server, cache_dir=tmp_path) as other:
                assert other.read() == CONTENT
            assert one.read_at(10, MIB) == CONTENT[MIB : MIB + 10], "it is in the cache of both now"


def test_a_pickled_file_shares_the_cache_again(tmp_path):
    with LoopbackServer(CONTENT) as server, opened(server, cache_dir=tmp_path) as file:
        assert file.read() == CONTENT
        with pickle.loads(pickle.dumps(file)) as twin:
            assert twin.tell() == SIZE
            assert twin.read_at(SIZE, 0) == CONTENT
        assert sent(server) <= SIZE + 1


# --- the caller's cache ------------------------------------------------------------------------------


def test_a_cache_of_the_callers_is_filled_and_stays_open(tmp_path):
    with new_cache(tmp_path, SIZE, BLOCK) as cache, LoopbackServer(CONTENT) as server:
        for _ in range(2):
            with opened(server, cache=cache) as file:
                assert file.read_at(10, MIB) == CONTENT[MIB : MIB + 10]
        assert cache.read_at(10, MIB) == CONTENT[MIB : MIB + 10]
        assert set(times_asked(server).values()) == {1}
        with opened(server, cache=cache) as one, opened(server, cache=cache) as other:
            assert one.read() == other.read() == CONTENT
            with pytest.raises(TypeError, match="pickle"):
                pickle.dumps(one)
        assert cache.complete


def test_what_landed_is_durable_a_moment_later(tmp_path):
    with LoopbackServer(CONTENT) as server:
        with opened(server, cache_dir=tmp_path) as file:
            entries = file._access._lease.cache._index.durable
            for pos in (MIB, MIB // 2):
                file.read_at(10, pos)
                until(lambda at=pos: entries.is_sealed(at // BLOCK), what="its entry is durable")


def test_a_block_that_comes_long_after_it_was_asked_for_is_durable_a_moment_later(tmp_path):
    def behave(request):
        # Nothing is under way when a second has gone by since the block was asked for.
        return Behaviour(status=503, headers={"Retry-After": "2"}) if request.number == 1 else None

    with LoopbackServer(CONTENT, behave=behave) as server:
        with opened(server, cache_dir=tmp_path) as file:
            entries = file._access._lease.cache._index.durable
            file.read_at(10, MIB)
            assert len(server.requests) == 3
            until(lambda: entries.is_sealed(MIB // BLOCK), what="its entry is durable", timeout=10)


def test_the_first_sync_of_a_kept_cache_comes_before_anything_is_served(tmp_path, monkeypatch):
    with nothing_left_behind(), LoopbackServer(CONTENT) as server:
        with opened(server, cache_dir=tmp_path) as file:
            file.read_at(10, MIB)

        def lost(ops, fd, path=""):
            if path.endswith(".part"):
                raise CacheIOError(errno.EIO, "sync", path)

        with monkeypatch.context() as patched:
            patched.setattr(FileOps, "fdatasync", lost)
            with pytest.raises(CachePoisonedError):
                opened(server, cache_dir=tmp_path)
            with new_cache(tmp_path, SIZE, BLOCK) as cache, pytest.raises(CachePoisonedError):
                opened(server, cache=cache)
        with opened(server, cache_dir=tmp_path) as file:
            assert file.read() == CONTENT


def test_readers_are_told_when_what_they_fetch_can_not_become_durable(tmp_path, monkeypatch):
    def lost(ops, fd, path=""):
        if path.endswith(".part"):
            raise CacheIOError(errno.EIO, "sync", path)

    with nothing_left_behind(), LoopbackServer(CONTENT) as server:
        with opened(server, cache_dir=tmp_path) as file:
            with monkeypatch.context() as patched:
                patched.setattr(FileOps, "fdatasync", lost)
                file.read_at(10, MIB)
                cache = file._access._lease.cache
                until(lambda: cache.poisoned, what="the commit has failed")
            for _ in range(2):
                with pytest.raises(CachePoisonedError):
                    file.read_at(10, MIB // 2)
            with pytest.raises(CachePoisonedError):
                opened(server, cache_dir=tmp_path)
        with opened(server, cache_dir=tmp_path) as file:
            assert file.read() == CONTENT


@pytest.mark.parametrize("part", ["content", "keeper"])
def test_what_fails_on_closing_leaves_no_cache_open(tmp_path, part, monkeypatch):
    def broken():
        close()
        raise MemoryError("no room for the last step")

    with nothing_left_behind(), LoopbackServer(CONTENT) as server:
        file = opened(server, cache_dir=tmp_path)
        failing = getattr(file._access._lease._shared, part)
        close = failing.close
        monkeypatch.setattr(failing, "close", broken)
        with pytest.raises(MemoryError):
            file.close()
        with LocalDownloadCache.open(
            *(tmp_path / f"{stem_of(server.url)}{e}" for e in (".part", ".part.idx"))
        ):
            pass  # its lock is free


def test_a_file_that_is_closed_on_the_engines_own_thread_ends_in_order(tmp_path, monkeypatch):
    with nothing_left_behind(), LoopbackServer(CONTENT) as server:
        file = opened(server, cache_dir=tmp_path)
        content, cache = file._access._content, file._access._lease.cache
        order, close = [], cache.close

        def closed():
            order.append(content._job.done)
            close()

        monkeypatch.setattr(cache, "close", closed)
        content._session.post(lambda scheduler, now: file.close())
        until(lambda: order, what="the cache is closed")
        assert order == [True], "the engine was over"
        with opened(server, cache_dir=tmp_path) as file:
            assert file.read() == CONTENT


class ForeignCache:
    """Somebody else's cache, in memory."""

    def __init__(self, size, block_size):
        self.bytes, self.block_size, self.present = bytearray(size), block_size, set()

    @property
    def complete(self):
        return len(self.present) == -(-len(self.bytes) // self.block_size)

    def content_length_and_block_size(self):
        return len(self.bytes), self.block_size

    def cached_bytes_and_blocks(self):
        return 0, len(self.present)

    def next_outstanding(self, start_block):
        return None

    def next_cached(self, start_block):
        return None

    def tail(self, timeout=None):
        return None

    def write_at(self, data, off):
        self.bytes[off : off + len(data)] = data
        self.present.add(off // self.block_size)
        return len(data)

    def read_at(self, size, off):
        assert blocks_of(off, size, self.block_size) <= self.present
        return bytes(self.bytes[off : off + size])

    def close(self):
        raise AssertionError("it is not ours")


def test_anybodys_cache_will_do():
    cache = ForeignCache(SIZE, 50_000)
    with LoopbackServer(CONTENT) as server, opened(server, cache=cache) as file:
        file.seek(MIB)
        assert file.read(100) == CONTENT[MIB : MIB + 100]
        assert file.read_at(10, 5) == CONTENT[5:15]
        file.seek(0)
        assert file.read() == CONTENT
        assert cache.complete


class HonestCache(ForeignCache):
    """One that says what it holds."""

    __hash__ = None  # nor can every cache be a key

    def __eq__(self, other):
        return True

    def next_cached(self, start_block):
        found = min((block for block in self.present if block >= start_block), default=None)
        if found is None:
            return None
        first = found * self.block_size
        return found + 1, ByteRange(first, min(first + self.block_size, len(self.bytes)) - 1)


def test_anybodys_cache_is_opened_again_while_the_source_has_its_version():
    cache, other = HonestCache(SIZE, BLOCK), HonestCache(SIZE, BLOCK)
    with LoopbackServer(CONTENT) as server:
        for pos in (0, MIB, 0, MIB):
            with opened(server, cache=cache) as file:
                assert file.read_at(10, pos) == CONTENT[pos : pos + 10]
        assert set(times_asked(server).values()) == {1}
        server.replace(noise(SIZE, seed=4), etag='"other"')
        with pytest.raises(SourceChangedError):
            opened(server, cache=cache)
        with opened(server, cache=other) as file:
            assert file.read_at(10, 5) == noise(SIZE, seed=4)[5:15]


def test_blocks_of_which_nothing_is_known_are_not_believed_and_the_error_says_why():
    cache = HonestCache(SIZE, 50_000)
    cache.write_at(CONTENT[:50_000], 0)
    with nothing_left_behind(), LoopbackServer(CONTENT) as server:
        for _ in range(2):
            with pytest.raises(ValueError, match=r"holds blocks.*not known.*needed is an empty cache"):
                opened(server, cache=cache)
        cache.present.clear()
        with opened(server, cache=cache) as file:
            assert file.read() == CONTENT


def test_without_validators_nobody_knows_whose_blocks_are_there(tmp_path):
    with new_cache(tmp_path, SIZE, BLOCK) as local:
        for cache in (HonestCache(SIZE, 50_000), local):
            with LoopbackServer(CONTENT, etag=None, last_modified=None) as server:
                with opened(server, cache=cache) as file:
                    file.read_at(10, 0)
                with pytest.raises(ValueError, match="neither ETag nor Last-Modified"):
                    opened(server, cache=cache)


def test_what_is_known_of_a_cache_goes_with_it():
    with LoopbackServer(CONTENT) as server:
        cache = HonestCache(SIZE, 50_000)
        with opened(server, cache=cache) as file:
            file.read_at(10, 0)
        del cache, file
        until(lambda: gc.collect() is None or not _known, what="it is forgotten")


def test_a_cache_has_one_engine_at_a_time(tmp_path):
    with new_cache(tmp_path, SIZE, BLOCK) as cache, LoopbackServer(CONTENT) as server:
        with cache.filling(), pytest.raises(CacheBusyError):
            opened(server, cache=cache)
        with opened(server, cache=cache) as file:
            with pytest.raises(CacheBusyError), cache.filling():
                raise AssertionError("two at once")
            with pytest.raises(CacheBusyError):
                cache.begin_filling()
            assert file.read() == CONTENT
        with cache.filling():
            pass
        cache.begin_filling()
        cache.end_filling()


def test_a_cache_of_another_size_or_version_is_refused(tmp_path):
    with new_cache(tmp_path, SIZE, BLOCK) as cache:
        with nothing_left_behind(), LoopbackServer(CONTENT) as server:
            with opened(server, cache=cache) as file:
                file.read_at(10, MIB)
            server.replace(noise(SIZE, seed=4), etag='"other"')
            with pytest.raises(SourceChangedError):
                opened(server, cache=cache)
            server.content = OTHER
            with pytest.raises(ValueError, match="size"):
                opened(server, cache=cache)
        assert cache.read_at(10, MIB) == CONTENT[MIB : MIB + 10]


# --- other processes -----------------------------------------------------------------------------------

PROGRAM = """
import sys; sys.path[:] = {path!r}
import os, signal
from largefile.remote import open
file = open({url!r}, proxy="", cache_dir={folder!r})
assert file.read_at(100_000, 1 << 20)
{end}
"""


def run(server, end, folder=None, **env):
    code = PROGRAM.format(path=sys.path, url=server.url, folder=folder and str(folder), end=end)
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )


KILL = "os.kill(os.getpid(), signal.SIGKILL)"


def test_kill_9_leaves_nothing_of_a_temporary_cache(tmp_path):
    with LoopbackServer(CONTENT) as server:
        assert run(server, KILL, TMPDIR=str(tmp_path)).returncode == -signal.SIGKILL
        assert server.sent >= 2 * BLOCK
    assert list(tmp_path.iterdir()) == []


def test_kill_9_costs_a_kept_cache_nothing(tmp_path):
    with LoopbackServer(CONTENT) as server:
        assert run(server, KILL, tmp_path).returncode == -signal.SIGKILL
        until(lambda: all(request.done for request in server.requests), what="its connections are gone")
        before = len(server.requests)
        with opened(server, cache_dir=tmp_path) as file:
            assert file.read_at(100_000, MIB) == CONTENT[MIB : MIB + 100_000]
        assert asked(server, before) == [(0, 1)]


def test_a_process_that_forgets_to_close_ends_all_the_same(tmp_path):
    with LoopbackServer(CONTENT) as server:
        ended = run(server, "", tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")
        before = len(server.requests)
        with opened(server, cache_dir=tmp_path) as file:
            assert file.read_at(100_000, MIB) == CONTENT[MIB : MIB + 100_000]
        assert asked(server, before) == [(0, 1)]


def in_child(act):
    """What `act` gives in a forked child, as JSON; or what it raises, as a string."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child():
        try:
            answers.put(json.dumps(act()))
        except BaseException as error:  # noqa: BLE001 - told to the parent
            answers.put(json.dumps(repr(error)))

    process = context.Process(target=child)
    process.start()
    answer = answers.get()
    process.join(20)
    assert process.exitcode == 0
    return json.loads(answer)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_of_a_fork_gets_errors_from_the_parents_file_and_opens_its_own(tmp_path):
    with LoopbackServer(CONTENT) as server, opened(server, cache_dir=tmp_path, timeout=60) as file:
        assert file.read_at(10, 5) == CONTENT[5:15]

        def act():
            found = []
            for pos in (5, MIB):
                try:
                    file.read_at(10, pos)
                except Exception as error:  # noqa: BLE001 - told to the parent
                    found.append(type(error).__name__)
            with opened(server, cache_dir=tmp_path) as own:
                found.append(own.read() == CONTENT)
            file.close()
            return found

        assert in_child(act) == ["CachePoisonedError", "InternalError", True]
        assert file.read() == CONTENT, "the parent's goes on"


def test_the_files_of_a_temporary_cache_have_no_name_while_they_are_used(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with LoopbackServer(CONTENT) as server:
        with opened(server) as file:
            assert file.read() == CONTENT
            ours = [target for _, target in open_files() if target.startswith(str(tmp_path))]
            assert ours
            assert all(target.endswith("(deleted)") for target in ours)
            assert list(tmp_path.iterdir()) == []
        assert not [target for _, target in open_files() if target.startswith(str(tmp_path))]


def test_a_file_that_is_cut_under_us_is_noticed_and_never_made_longer_again(tmp_path):
    content = noise(20 * BLOCK)
    with LoopbackServer(content) as server, opened(server, cache_dir=tmp_path, readahead=0) as file:
        assert file.read_at(10 * BLOCK, 0) == content[: 10 * BLOCK]
        (part,) = tmp_path.glob("*.part")
        os.truncate(part, 0)
        with pytest.raises(CachePoisonedError, match="cut to"):
            file.read_at(100, BLOCK)
        for pos in (15 * BLOCK, BLOCK):
            with pytest.raises(LargeFileError):
                file.read_at(100, pos)
