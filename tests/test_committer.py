"""What is durable was synced before it was said to be, and a sync that fails is never tried again."""

import errno
import os
import threading

import pytest
from disk_helpers import FileOps, OtherBoot, folder, leave, new_cache, noise, present, put, reopen
from hypothesis import given
from hypothesis import strategies as st

from largefile.core.ranges import ByteRange
from largefile.disk import commit as module
from largefile.disk.header import State
from largefile.engine.committer import Committer
from largefile.errors import CacheError, CacheIOError, CachePoisonedError

BLOCK = 4096  # whole pages: others are never believed unread after another boot
SIZE = 15 * BLOCK + 2600  # 16 blocks, the last one short
CONTENT = noise(SIZE)


class Log(FileOps):
    """Writes down what was synced, and calls `during` in the middle of each sync of the data."""

    def __init__(self):
        self.log = []
        self.during = lambda: None

    def fdatasync(self, fd, path=""):
        self.log.append("data" if path.endswith(".part") else "index")
        if self.log[-1] == "data":
            self.during()
        super().fdatasync(fd, path)


class Failing(FileOps):
    """The disk loses pages: every sync of one of the files fails, once `which` is set."""

    which = "nothing"
    tries = 0

    def fdatasync(self, fd, path=""):
        if path.endswith(self.which):
            self.tries += 1
            raise CacheIOError(errno.EIO, "sync", path)
        super().fdatasync(fd, path)


def durable(cache):
    return {block for block in range(cache.num_blocks) if cache._index.durable[block]}


def test_the_four_steps_come_in_order(tmp_path):
    ops = Log()
    with new_cache(tmp_path, SIZE, BLOCK, ops=ops) as cache:
        put(cache, CONTENT, 1, 2)
        ops.log.clear()
        seen = []
        ops.during = lambda: seen.append(durable(cache))
        assert cache.commit() == 2
        assert ops.log == ["data", "index"]
        assert seen == [set()]  # no entry was durable before its bytes were
        assert durable(cache) == {1, 2}
        assert cache.commit() == 0
        assert ops.log == ["data", "index"]
        ops.during = lambda: None


def test_what_lands_during_a_sync_waits_for_the_next_commit(tmp_path):
    ops = Log()
    with new_cache(tmp_path, SIZE, BLOCK, ops=ops) as cache:
        put(cache, CONTENT, 1, 3)
        # Between the neighbours, so that copying a run instead of a list would take it along.
        ops.during = lambda: put(cache, CONTENT, 2)
        cache.commit()
        assert durable(cache) == {1, 3}
        ops.during = lambda: None
        cache.commit()
        assert durable(cache) == {1, 2, 3}


@given(st.lists(st.integers(0, 15) | st.just("commit"), max_size=30))
def test_after_a_power_loss_what_was_committed_is_there_and_unread(todo):
    with folder() as base:
        cache = new_cache(base, SIZE, BLOCK)
        landed, kept = set(), set()
        for step in todo:
            if step == "commit":
                cache.commit()
                kept |= landed
            else:
                put(cache, CONTENT, step)
                landed.add(step)
        assert durable(cache) == kept
        leave(cache)
        with reopen(base, ops=OtherBoot()) as cache:
            assert present(cache) == landed  # the bytes happen to be there still
            assert cache.hashed_blocks == len(landed - kept)
            assert cache.commit() == len(landed - kept)


def test_what_a_dead_writer_left_behind_becomes_durable_with_the_first_commit(tmp_path):
    cache = new_cache(tmp_path, SIZE, BLOCK)
    put(cache, CONTENT, 4, 5, 9)
    leave(cache)
    with reopen(tmp_path) as cache:
        assert durable(cache) == set()
        assert cache.commit() == 3
        assert durable(cache) == {4, 5, 9}


@pytest.mark.parametrize("which", [".part", ".idx"])
def test_a_failed_sync_poisons_and_is_not_tried_again(tmp_path, which):
    ops = Failing()
    cache = new_cache(tmp_path, SIZE, BLOCK, ops=ops)
    put(cache, CONTENT, 1, 2)
    cache.commit()
    put(cache, CONTENT, 3, 4)
    ops.which = which
    with pytest.raises(CachePoisonedError) as caught:
        cache.commit()
    assert caught.value.resumable
    ops.which = "nothing"
    for use in (
        cache.commit,
        cache.sync_data,
        cache.verify,
        lambda: cache.read_at(1, BLOCK),
        lambda: cache.write_at(CONTENT[:BLOCK], 0),
        lambda: cache.seal(0, 0),
        cache.tail,
    ):
        with pytest.raises(CachePoisonedError):
            use()
    if which == ".part":
        assert ops.tries == 1
        assert {block for block in range(16) if cache._index.live[block]} == {1, 2}
    assert cache._index.header.state is State.POISONED or which == ".idx"
    cache.close()
    with reopen(tmp_path) as cache:
        assert {1, 2} <= present(cache)
        assert cache.verify() == []


def test_nothing_of_the_lost_list_is_believed_after_a_failed_sync(tmp_path):
    ops = Failing()
    cache = new_cache(tmp_path, SIZE, BLOCK, ops=ops)
    put(cache, CONTENT, 3)
    ops.which = ".part"
    with pytest.raises(CachePoisonedError):
        cache.commit()
    cache.close()
    with reopen(tmp_path) as cache:
        assert present(cache) == set()


def test_ctrl_c_within_a_commit_loses_no_block_from_the_list(tmp_path):
    ops = Log()

    def interrupt():
        raise KeyboardInterrupt

    with new_cache(tmp_path, SIZE, BLOCK, ops=ops) as cache:
        put(cache, CONTENT, 1, 2)
        ops.during = interrupt
        with pytest.raises(KeyboardInterrupt):
            cache.commit()
        ops.during = lambda: None
        assert cache.commit() == 2
        assert durable(cache) == {1, 2}


def test_a_repair_that_is_refused_takes_nothing_off_the_list(tmp_path):
    with new_cache(tmp_path, SIZE, BLOCK) as cache:
        put(cache, CONTENT, 1, 2)
        leave(cache)
    with reopen(tmp_path) as cache:  # these are an earlier run's, and as much on the list
        put(cache, CONTENT, 3)
        waiter = threading.Thread(target=cache.tail)
        waiter.start()
        while not cache._waiting:
            waiter.join(0.001)
        with pytest.raises(CacheError, match="a reader waits"):
            cache.invalidate(ByteRange(BLOCK, 4 * BLOCK - 1))
        put(cache, CONTENT, 0)
        waiter.join()
        assert cache.commit() == 4
        assert durable(cache) == {0, 1, 2, 3}


def test_a_repair_whose_sync_fails_poisons_and_no_commit_says_it_was_well(tmp_path):
    """Of one failure the system tells one of the syncs of an open file."""
    ops = Failing()
    with new_cache(tmp_path, SIZE, BLOCK, ops=ops) as cache:
        put(cache, CONTENT, 1, 2)
        ops.which = ".idx"
        with pytest.raises(CachePoisonedError):
            cache.invalidate(ByteRange(2 * BLOCK, 3 * BLOCK - 1))
        ops.which = "nothing"
        with pytest.raises(CachePoisonedError):
            cache.commit()
    with reopen(tmp_path) as cache:
        assert present(cache) == set()


def test_a_repair_and_a_commit_beside_it_do_not_sync_the_index_at_once(tmp_path):
    class Syncs(FileOps):
        during = staticmethod(lambda: None)

        def fdatasync(self, fd, path=""):
            if path.endswith(".idx"):
                self.during()
            super().fdatasync(fd, path)

    ops, order, held = Syncs(), [], []
    with new_cache(tmp_path, SIZE, BLOCK, ops=ops) as cache:
        put(cache, CONTENT, 1, 2)
        other = threading.Thread(target=lambda: order.append(cache.commit()))

        def during():
            if other.ident is None:
                held.append(cache._group._lock.locked())
                other.start()

        ops.during = during
        cache.invalidate(ByteRange(2 * BLOCK, 3 * BLOCK - 1))
        other.join()
        assert (held, order) == ([True], [1])
        assert durable(cache) == {1}


def test_after_a_clean_end_a_loss_of_power_costs_no_hashing(tmp_path):
    """A file's time is on the disk after fsync, and not after fdatasync (POSIX)."""

    class Disk(FileOps):
        time = 0

        def fsync(self, fd, path=""):
            super().fsync(fd, path)
            if path.endswith(".part"):
                self.time = os.fstat(fd).st_mtime_ns

    disk = Disk()
    with new_cache(tmp_path, SIZE, BLOCK, ops=disk) as cache:
        os.utime(cache.path, ns=(10**18, 10**18))  # the coarse clock does not move in so short a test
        cache.commit()
        put(cache, CONTENT, 1, 2)
        path = cache.path
    os.utime(path, ns=(disk.time, disk.time))
    with reopen(tmp_path, ops=OtherBoot()) as cache:
        assert cache.hashed_blocks == 0
        assert present(cache) == {1, 2}


# --- the thread ---------------------------------------------------------------------------------


def test_the_committer_begins_with_one_sync_of_the_data(tmp_path):
    ops = Log()
    with new_cache(tmp_path, SIZE, BLOCK, ops=ops) as cache:
        ops.log.clear()
        with Committer(cache, interval=3600):
            pass
        assert ops.log == ["data"]


def test_a_write_back_error_of_a_dead_writer_poisons_at_once(tmp_path):
    ops = Failing()
    cache = new_cache(tmp_path, SIZE, BLOCK, ops=ops)
    ops.which = ".part"
    committer = Committer(cache, interval=3600)
    committer.start()
    with pytest.raises(CachePoisonedError):
        committer.close()
    assert isinstance(committer.error, CachePoisonedError)
    cache.close()


def test_closing_the_committer_makes_the_last_commit(tmp_path):
    with new_cache(tmp_path, SIZE, BLOCK) as cache:
        with Committer(cache, interval=3600):
            put(cache, CONTENT, 7)
        assert durable(cache) == {7}


def test_enough_bytes_make_a_commit_due_before_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ENOUGH", 3 * BLOCK)
    ops, synced = Log(), threading.Event()
    with new_cache(tmp_path, SIZE, BLOCK, ops=ops) as cache, Committer(cache, interval=3600):
        put(cache, CONTENT, 1, 2)
        assert not cache.commit_due.is_set()
        ops.during = synced.set
        put(cache, CONTENT, 3)
        assert synced.wait(60)


def test_time_makes_a_commit_due(tmp_path):
    ops, synced = Log(), threading.Event()
    with new_cache(tmp_path, SIZE, BLOCK, ops=ops) as cache, Committer(cache, interval=0.01):
        put(cache, CONTENT, 1)
        ops.during = synced.set
        put(cache, CONTENT, 2)
        assert synced.wait(60)


def test_a_failed_commit_ends_the_committer_and_is_raised_once_it_is_closed(tmp_path):
    ops = Failing()
    cache = new_cache(tmp_path, SIZE, BLOCK, ops=ops)
    committer = Committer(cache, interval=3600)
    committer.start()
    put(cache, CONTENT, 1)
    ops.which = ".part"
    cache.commit_due.set()
    with pytest.raises(CachePoisonedError):
        committer.close()
    assert ops.tries == 1
    cache.close()


def test_the_error_that_ended_a_download_is_not_hidden_by_that_of_the_last_commit(tmp_path, caplog):
    ops = Failing()

    def download(cache, block, error=None):
        ops.which = "nothing"
        with cache, Committer(cache, interval=3600):
            put(cache, CONTENT, block)
            ops.which = ".part"
            if error is not None:
                raise error

    with pytest.raises(ZeroDivisionError):
        download(new_cache(tmp_path, SIZE, BLOCK, ops=ops), 1, ZeroDivisionError())
    assert "the last commit failed" in caplog.text
    ops.which = "nothing"
    with pytest.raises(CachePoisonedError):
        download(reopen(tmp_path, ops=ops), 2)


def test_without_durability_nothing_is_synced_before_the_end(tmp_path):
    ops = Log()
    with new_cache(tmp_path, SIZE, BLOCK, ops=ops, durable=False) as cache:
        ops.log.clear()
        with Committer(cache, durable=False, interval=0.01):
            put(cache, CONTENT, 1)
        assert ops.log == []
    assert "data" not in ops.log
    with reopen(tmp_path) as cache:
        assert present(cache) == {1}
