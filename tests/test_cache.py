"""The cache against a model of bytes, and beside other threads, processes and files."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from disk_helpers import MemoryFile, OtherBoot, folder, leave, names, new_cache, noise, present, put, reopen
from hypothesis import given
from hypothesis import strategies as st

from largefile.core.ranges import ByteRange
from largefile.disk.cache import DownloadCache, LocalDownloadCache, _after_fork_in_child
from largefile.disk.create import create_cache_files
from largefile.disk.fileops import FileOps
from largefile.disk.files import CacheFile
from largefile.disk.header import Header, State
from largefile.disk.index import Index
from largefile.disk.opening import cache_files_exist, open_cache_files
from largefile.errors import (
    CacheBusyError,
    CacheError,
    CachePoisonedError,
    InvalidBlockSizeError,
    InvalidOffsetError,
    NotEnoughSpaceError,
    PartialFileError,
    SourceChangedError,
    UncachedRangeError,
)
from largefile.rules.identity import Identity
from largefile.rules.sizing import auto_block_size

CONTENT = noise(1000)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 40)),
        st.tuples(st.just("read"), st.integers(0, 320), st.integers(0, 320)),
        st.tuples(st.just("invalidate"), st.integers(0, 299), st.integers(1, 300)),
        st.tuples(st.sampled_from(["commit", "close", "kill", "verify"])),
    ),
    max_size=25,
)


class Model:
    """What a cache promises, said with a bytearray and a set."""

    def __init__(self, content, block_size):
        self.content, self.block_size, self.blocks = content, block_size, set()

    def touched(self, first, stop):
        return set(range(first // self.block_size, (stop - 1) // self.block_size + 1))

    def check(self, cache):
        assert present(cache) == self.blocks
        size = sum(len(self.block(block)) for block in self.blocks)
        assert cache.cached_bytes_and_blocks() == (size, len(self.blocks))
        assert cache.complete == (len(self.blocks) == -(-len(self.content) // self.block_size))

    def block(self, number):
        return self.content[number * self.block_size : (number + 1) * self.block_size]

    def read(self, cache, off, size):
        if off + size > len(self.content):
            with pytest.raises(InvalidOffsetError):
                cache.read_at(size, off)
        elif size and (missing := self.touched(off, off + size) - self.blocks):
            with pytest.raises(UncachedRangeError) as caught:
                cache.read_at(size, off)
            assert caught.value.wanted == ByteRange(off, off + size - 1)
            assert caught.value.missing.first == min(missing) * self.block_size
            assert self.touched(caught.value.missing.first, caught.value.missing.stop) <= missing
        else:
            expected, target = self.content[off : off + size], bytearray(size)
            assert cache.read_at(size, off) == expected
            assert cache.readinto(target, off) == size
            assert target == expected
            if size:
                with cache.view(ByteRange(off, off + size - 1)) as view:
                    assert view == expected
                    assert view.readonly


@given(st.integers(0, 300), st.sampled_from([1, 8, 64, 299, 1000]), steps)
def test_a_cache_does_what_the_model_does_through_closes_and_kills(size, block_size, todo):
    model = Model(noise(size), block_size)
    with folder() as base:
        cache = new_cache(base, size, block_size)
        for step, *args in todo:
            if step == "write" and args[0] * block_size < size:
                put(cache, model.content, args[0])
                model.blocks.add(args[0])
            elif step == "read":
                model.read(cache, *args)
            elif step == "invalidate" and args[0] < min(args[0] + args[1], size):
                stop = min(args[0] + args[1], size)
                cache.invalidate(ByteRange(args[0], stop - 1))
                model.blocks -= model.touched(args[0], stop)
            elif step == "commit":
                cache.commit()
            elif step in ("close", "kill"):
                if step == "kill":
                    leave(cache)
                cache.close()
                cache = reopen(base)
                assert cache.hashed_blocks == 0
            elif step == "verify":
                assert cache.verify() == []
            model.check(cache)
        cache.close()


@given(st.integers(1, 500), st.sampled_from([1, 7, 64, 600]), st.data())
def test_no_read_gives_a_byte_that_was_never_written(size, block_size, data):
    # Go looked at every block_size-th byte from an unaligned offset, and missed the last block.
    content = noise(size)
    blocks = data.draw(st.sets(st.integers(0, (size - 1) // block_size)))
    first = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(first + 1, size))
    with folder() as base, new_cache(base, size, block_size) as cache:
        put(cache, content, *blocks)
        if set(range(first // block_size, (stop - 1) // block_size + 1)) <= blocks:
            assert cache.read_at(stop - first, first) == content[first:stop]
        else:
            for read in (
                lambda: cache.read_at(stop - first, first),
                lambda: cache.readinto(bytearray(stop - first), first),
                lambda: cache.view(ByteRange(first, stop - 1)),
            ):
                with pytest.raises(UncachedRangeError):
                    read()


# --- making and opening -------------------------------------------------------------------------


def test_the_classes_keep_their_own_protocols(tmp_path):
    with new_cache(tmp_path, 10, 4) as cache:
        assert isinstance(cache, DownloadCache)
        assert isinstance(cache.data, CacheFile)
    assert isinstance(MemoryFile(), CacheFile)


def test_an_empty_content_is_complete_at_once_and_can_be_closed_and_opened(tmp_path):
    with new_cache(tmp_path, 0, 64) as cache:
        assert cache.complete
        assert cache.tail() is None
        assert cache.read_at(0, 0) == b""
        assert cache.next_outstanding(0) is None
        with pytest.raises(InvalidOffsetError):
            cache.write_at(b"", 0)
    with reopen(tmp_path) as cache:
        assert cache.complete


def test_one_byte_is_a_content_too(tmp_path):
    with new_cache(tmp_path, 1, 64) as cache:
        assert cache.tail(0) is None
        assert cache.write_at(b"x", 0) == 1
        assert cache.tail() == ByteRange(0, 0)
        assert bytes(cache.view(ByteRange(0, 0))) == b"x"
    with reopen(tmp_path) as cache:
        assert cache.complete


def test_the_identity_is_kept(tmp_path):
    identity = Identity('"v1"', "Mon, 02 Jan 2006 15:04:05 GMT", 10, "sha256:" + "0" * 64)
    create_cache_files(*names(tmp_path), 10, 4, identity=identity, url="https://host/path")
    with reopen(tmp_path) as cache:
        assert cache.identity == identity
        assert cache.url == "https://host/path"
        cache.mark(State.FILLING, digest="sha256:" + "1" * 64)
    with reopen(tmp_path) as cache:
        assert cache.identity.digest == "sha256:" + "1" * 64


def test_existing_files_are_not_touched_unless_they_may_go(tmp_path):
    new_cache(tmp_path, 10, 4).close()
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    with pytest.raises(PartialFileError):
        create_cache_files(*names(tmp_path), 10, 4)
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before
    create_cache_files(*names(tmp_path), 20, 4, replace=True)
    with reopen(tmp_path) as cache:
        assert cache.content_length_and_block_size() == (20, 4)


def test_a_resumable_cache_is_not_removed_before_there_is_room(tmp_path):
    with new_cache(tmp_path, 1000, 64) as cache:
        put(cache, CONTENT, 1)
    with pytest.raises(NotEnoughSpaceError):
        create_cache_files(*names(tmp_path), 10**15, 1 << 30, replace=True)
    with reopen(tmp_path) as cache:
        assert present(cache) == {1}


def test_a_cache_that_is_being_written_is_not_replaced(tmp_path):
    with new_cache(tmp_path, 1000, 64) as cache:
        with pytest.raises(CacheBusyError):
            create_cache_files(*names(tmp_path), 10, 4, replace=True)
        put(cache, CONTENT, 1)
    with reopen(tmp_path) as cache:
        assert present(cache) == {1}


def test_data_without_an_index_is_never_replaced(tmp_path):
    (tmp_path / "x.part").write_bytes(b"precious")
    with pytest.raises(PartialFileError):
        create_cache_files(*names(tmp_path), 10, 4, replace=True)
    assert (tmp_path / "x.part").read_bytes() == b"precious"


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_file_is_file_not_found(tmp_path, missing):
    new_cache(tmp_path, 10, 4).close()
    Path(names(tmp_path)[missing]).unlink()
    with pytest.raises(FileNotFoundError):
        open_cache_files(*names(tmp_path))
    assert cache_files_exist(*names(tmp_path)) == (missing != 0, missing != 1)


def test_a_folder_or_a_fifo_is_no_cache(tmp_path):
    data, index = names(tmp_path)
    Path(data).mkdir()
    os.mkfifo(index)
    with pytest.raises(CacheError):
        open_cache_files(data, index)
    with pytest.raises(CacheError):
        create_cache_files(data, index, 10, 4)


@pytest.mark.parametrize("number", range(12))
def test_a_creation_that_fails_removes_what_it_made(tmp_path, number):
    class Failing(FileOps):
        left = number

        def __getattribute__(self, name):
            if name in (
                "open",
                "ftruncate",
                "fallocate",
                "pwrite",
                "fdatasync",
                "fsync",
                "fsync_dir",
                "fs_magic",
            ):
                self.left -= 1
                if self.left < 0:
                    self.left = 10**9
                    raise NotEnoughSpaceError(name, -1, -1)
            return super().__getattribute__(name)

    with pytest.raises(NotEnoughSpaceError):
        create_cache_files(*names(tmp_path), 1000, 64, ops=Failing())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "index", "size", "block"),
    [
        ("", "i", 1, 1),
        ("d", "", 1, 1),
        ("d", "d", 1, 1),
        ("d", "i", -1, 1),
        ("d", "i", 2**63, 1),
        ("d", "i", 1, 0),
    ],
)
def test_names_and_sizes_that_cannot_be_are_the_callers_mistake(
    tmp_path, monkeypatch, data, index, size, block
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        create_cache_files(data, index, size, block)
    assert not list(tmp_path.iterdir())


def test_an_automatic_block_size_keeps_the_index_small():
    assert auto_block_size(0) == 1 << 20
    assert auto_block_size(1 << 40) == 1 << 20
    assert auto_block_size((1 << 40) + 1) == 2 << 20
    assert auto_block_size(2**63 - 1) == 8 << 40


# --- use ----------------------------------------------------------------------------------------


def test_other_bytes_over_a_present_block_are_refused(tmp_path):
    with new_cache(tmp_path, 100, 64) as cache:
        cache.write_at(b"a" * 64, 0)
        assert cache.write_at(b"a" * 64, 0) == 64
        with pytest.raises(InvalidOffsetError):
            cache.write_at(b"b" * 64, 0)
        assert cache.read_at(64, 0) == b"a" * 64


def test_a_closed_cache_says_so(tmp_path):
    cache = new_cache(tmp_path, 100, 64)
    put(cache, CONTENT[:100], 0)
    view = cache.view(ByteRange(0, 9))
    cache.close()
    cache.close()
    for use in (
        lambda: cache.write_at(b"", 0),
        lambda: cache.read_at(1, 0),
        cache.verify,
        cache.commit,
        cache.tail,
    ):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert view == CONTENT[:10]  # a view outlives the cache


def test_damaged_blocks_are_found_and_can_be_repaired(tmp_path):
    with new_cache(tmp_path, 1000, 64) as cache:
        put(cache, CONTENT, *range(16))
        with (tmp_path / "x.part").open("r+b") as file:
            for at in (64, 128, 999):
                file.seek(at)
                file.write(bytes([CONTENT[at] ^ 1]))
        assert cache.verify() == [ByteRange(64, 191), ByteRange(960, 999)]
        for bad in cache.verify():
            cache.invalidate(bad)
        assert present(cache) == set(range(16)) - {1, 2, 15}
        put(cache, CONTENT, 1, 2, 15)
        assert cache.verify() == []
        assert cache.complete


def test_a_waiting_reader_is_woken_by_the_head_only(tmp_path):
    with new_cache(tmp_path, 256, 64) as cache:
        found = []
        reader = threading.Thread(target=lambda: found.extend([cache.tail(), cache.tail()]))
        reader.start()
        for block in (2, 0, 1):
            put(cache, CONTENT[:256], block)
        put(cache, CONTENT[:256], 3)
        reader.join()
        assert [tail.first for tail in found] == [0, 0]
        assert found[0].last < found[1].last or found[1].last == 255


def wait_until_waiting(cache):
    while not cache._waiting:
        pass


@pytest.mark.parametrize("end", ["poison", "close"])
def test_the_end_of_a_cache_wakes_its_readers(tmp_path, end):
    cache = new_cache(tmp_path, 256, 64)
    caught = []

    def read():
        try:
            cache.tail()
        except (CachePoisonedError, ValueError) as error:
            caught.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    wait_until_waiting(cache)
    cache.poison("test") if end == "poison" else cache.close()
    reader.join()
    assert type(caught[0]) is (CachePoisonedError if end == "poison" else ValueError)
    cache.close()


def test_a_range_that_a_reader_waits_for_is_not_taken_away(tmp_path):
    with new_cache(tmp_path, 256, 64) as cache:
        put(cache, CONTENT[:256], 2)
        reader = threading.Thread(target=cache.tail)
        reader.start()
        wait_until_waiting(cache)
        with pytest.raises(CacheError, match="waits"):
            cache.invalidate(ByteRange(128, 191))
        put(cache, CONTENT[:256], 0)
        reader.join()
        cache.invalidate(ByteRange(128, 191))
        assert present(cache) == {0}


def test_many_threads_write_each_block_once_and_all_of_it_is_proven(tmp_path):
    content = noise(64 * 500)
    with new_cache(tmp_path, len(content), 64) as cache:
        threads = [
            threading.Thread(target=put, args=(cache, content, *range(part, 500, 4))) for part in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cache.complete
        assert cache.verify() == []
        assert cache.commit() == 500


def test_errors_of_a_cache_survive_pickling(tmp_path):
    with new_cache(tmp_path, 100, 64) as cache:
        with pytest.raises(UncachedRangeError) as caught:
            cache.read_at(3, 63)
        error = pickle.loads(pickle.dumps(caught.value))
        assert (error.wanted, error.missing) == (ByteRange(63, 65), ByteRange(0, 99))
        with pytest.raises(InvalidBlockSizeError) as caught:
            cache.write_at(b"x", 64)
        assert (caught.value.found, caught.value.needed) == (1, 36)


def test_a_forgotten_cache_leaves_no_lock_behind(tmp_path):
    new_cache(tmp_path, 100, 64)
    gc.collect()
    reopen(tmp_path).close()


# --- other processes ----------------------------------------------------------------------------

CHILD = """
import sys
from largefile.disk.cache import LocalDownloadCache, _after_fork_in_child
cache = LocalDownloadCache.open(sys.argv[1], sys.argv[2])
cache.write_at(b"a" * 64, 0)
cache.write_at(b"b" * 36, 64)
print("ready", flush=True)
sys.stdin.read()
"""


def start(base):
    """Another process that has the cache open, and has written both of its blocks."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *names(base)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "ready\n"
    return child


def stop(child):
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdin.close()
    child.stdout.close()


def test_after_kill_9_of_another_process_every_block_that_it_finished_is_there(tmp_path):
    create_cache_files(*names(tmp_path), 100, 64)
    child = start(tmp_path)
    with pytest.raises(CacheBusyError, match=f"pid {child.pid}"):
        reopen(tmp_path)
    stop(child)
    with reopen(tmp_path) as cache:
        assert cache.complete
        assert cache.hashed_blocks == 0
        assert cache.read_at(100, 0) == b"a" * 64 + b"b" * 36


def test_a_follower_reads_what_another_process_writes_and_changes_nothing(tmp_path):
    create_cache_files(*names(tmp_path), 100, 64)
    with reopen(tmp_path, read_only=True) as early:
        assert early.writer_alive() is False
        assert early.tail(0) is None
        child = start(tmp_path)
        before = (tmp_path / "x.part.idx").read_bytes()
        assert early.tail(10) == ByteRange(0, 99)
        assert early.complete
        with reopen(tmp_path, read_only=True) as late:
            assert late.writer_alive() is True
            assert late.read_at(2, 63) == b"ab"
            assert bytes(late.view(ByteRange(63, 64))) == b"ab"
            assert str(child.pid) in late.owner
        assert (tmp_path / "x.part.idx").read_bytes() == before
        stop(child)
        assert early.writer_alive() is False
        assert early.state is State.FILLING
        assert not early.replaced()


def test_a_follower_sees_each_block_as_it_lands_wherever_it_is(tmp_path):
    with new_cache(tmp_path, 1000, 64) as cache, reopen(tmp_path, read_only=True) as follower:
        put(cache, CONTENT, 7)
        assert follower.tail(0) is None
        assert follower.read_at(64, 448) == CONTENT[448:512]
        with pytest.raises(UncachedRangeError):
            follower.read_at(1, 447)
        put(cache, CONTENT, 0, 1)
        assert follower.tail(10) == ByteRange(0, 127)


def test_a_follower_of_another_boot_believes_live_entries_only_after_a_recovery(tmp_path):
    content = noise(10_000)
    cache = new_cache(tmp_path, 10_000, 4096)
    put(cache, content, 1)
    cache.commit()
    put(cache, content, 0)
    leave(cache)
    with reopen(tmp_path, read_only=True, ops=OtherBoot()) as follower:
        assert present(follower) == {1}
        assert follower.tail(0.01) is None
        with pytest.raises(UncachedRangeError):
            follower.read_at(1, 0)
        with reopen(tmp_path, ops=OtherBoot()):
            assert follower.read_at(1, 0) == content[:1]
            assert follower.tail(10) == ByteRange(0, 8191)


def open_descriptors():
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of descriptors on this system")
def test_no_descriptor_is_left_open(tmp_path):
    new_cache(tmp_path, 1000, 64).close()
    before = open_descriptors()
    with reopen(tmp_path) as cache:
        put(cache, CONTENT, 0)
        with pytest.raises(CacheBusyError):
            reopen(tmp_path)
        reopen(tmp_path, read_only=True).close()
        cache.view(ByteRange(0, 9)).release()
    with pytest.raises(NotEnoughSpaceError):
        create_cache_files(*names(tmp_path), 10**15, 1 << 30, replace=True)
    (tmp_path / "x.part").unlink()
    with pytest.raises(FileNotFoundError):
        reopen(tmp_path)
    assert open_descriptors() == before


def test_a_follower_hears_of_the_end(tmp_path):
    cache = new_cache(tmp_path, 1000, 64)
    poisoned, superseded = (reopen(tmp_path, read_only=True) for _ in range(2))
    cache.poison("test")
    cache.close()
    with pytest.raises(CachePoisonedError):
        poisoned.tail(10)
    create_cache_files(*names(tmp_path), 1000, 64, replace=True)
    with pytest.raises(SourceChangedError):
        superseded.tail(10)
    assert superseded.replaced()
    poisoned.close()
    superseded.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_cannot_write_and_does_not_end_the_parents_lock(tmp_path):
    with new_cache(tmp_path, 100, 64) as cache:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                cache.write_at(b"x" * 64, 0)
            except CachePoisonedError:
                cache.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        with pytest.raises(CacheBusyError):
            reopen(tmp_path)
        cache.write_at(b"y" * 64, 0)
    with reopen(tmp_path) as cache:
        assert present(cache) == {0}


def test_an_injected_file_of_the_wrong_size_is_refused():
    index = MemoryFile()
    Index.create(index, Header(100, 64, bytes(16)))
    for size in (99, 101):
        with pytest.raises(PartialFileError):
            LocalDownloadCache(MemoryFile(size), index)
    assert not index.closed


def test_injected_files_are_closed_with_the_cache_and_have_no_lock():
    data, index = MemoryFile(100), MemoryFile()
    Index.create(index, Header(100, 64, bytes(16)))
    with LocalDownloadCache(data, index) as cache:
        assert cache.lock_kind == "none"
        put(cache, CONTENT[:100], 1)
        cache._after_fork()  # nothing to let go of
        with pytest.raises(CachePoisonedError, match="forked"):
            cache.read_at(1, 64)
    assert data.closed
    assert index.closed
    with LocalDownloadCache(data, index) as cache:
        assert present(cache) == {1}


def test_what_a_fork_inherits_is_of_no_use_and_says_why(tmp_path):
    cache = new_cache(tmp_path, 100, 64)
    put(cache, CONTENT[:100], 1)
    _after_fork_in_child()
    for call in (cache.commit, lambda: cache.read_at(1, 64), lambda: put(cache, CONTENT, 0)):
        with pytest.raises(CachePoisonedError, match="forked"):
            call()
    cache.close()
    with reopen(tmp_path) as cache:
        assert present(cache) == {1}
        assert not cache._index.header.clean


@pytest.mark.parametrize(("option", "value"), [("reserve", "some"), ("write_path", "straight")])
def test_an_option_that_does_not_exist_is_the_callers_mistake(tmp_path, option, value):
    new_cache(tmp_path, 100, 64).close()
    before = (tmp_path / "x.part.idx").read_bytes()
    with pytest.raises(ValueError, match=value):
        reopen(tmp_path, **{option: value})
    assert (tmp_path / "x.part.idx").read_bytes() == before
    reopen(tmp_path).close()  # and nothing is left locked


def test_a_follower_leaves_no_descriptor_to_the_garbage_collector(tmp_path):
    data, index = tmp_path / "data", tmp_path / "index"
    create_cache_files(data, index, 1000, 100)
    before = len(list(Path("/proc/self/fd").iterdir()))
    gc.disable()
    try:
        LocalDownloadCache.open(data, index, read_only=True).close()
        assert len(list(Path("/proc/self/fd").iterdir())) == before
    finally:
        gc.enable()
