"""What lands in a kept cache is durable a moment later, whenever it lands, and the end loses nothing."""

from __future__ import annotations

import errno
import threading

import pytest
from disk_helpers import FileOps, leave, new_cache, noise, put, reopen
from processes import nothing_left_behind, until

from largefile.engine.keeper import Keeper
from largefile.errors import CacheIOError, CachePoisonedError

CONTENT = noise(1000)
BLOCK = 64


@pytest.fixture(autouse=True)
def no_thread_is_left():
    with nothing_left_behind():
        yield


class Watched(FileOps):
    """Calls `during` in the middle of each sync of the data."""

    syncs = 0

    def __init__(self):
        self.during = lambda: None

    def fdatasync(self, fd, path=""):
        if path.endswith(".part"):
            self.syncs += 1
            self.during()
        super().fdatasync(fd, path)


def durable(cache):
    return {block for block in range(cache.num_blocks) if cache._index.durable[block]}


class Scripted:
    """A cache whose commits do what the test says, one after the other, and then nothing."""

    def __init__(self, *acts):
        self.landed, self.acts, self.commits = threading.Event(), list(acts), 0

    def commit(self):
        self.landed.clear()
        self.commits += 1
        if self.acts:
            self.acts.pop(0)()
        return 0


def raises(error):
    def act():
        raise error

    return act


def test_what_lands_becomes_durable_each_time(tmp_path):
    with new_cache(tmp_path, 1000, BLOCK) as cache:
        keeper = Keeper(cache, interval=0.01)
        keeper.start()
        for block in (3, 1, 7):
            put(cache, CONTENT, block)
            until(lambda block=block: block in durable(cache), what="it is durable")
        keeper.close()


def test_what_lands_during_a_commit_is_in_the_next_one(tmp_path):
    ops = Watched()
    with new_cache(tmp_path, 1000, BLOCK, ops=ops) as cache:
        keeper = Keeper(cache, interval=0.01)
        more = [5]
        ops.during = lambda: put(cache, CONTENT, more.pop()) if more else None
        put(cache, CONTENT, 2)
        keeper.start()
        until(lambda: durable(cache) == {2, 5}, what="both are durable")
        keeper.close()


def test_what_a_killed_process_has_landed_becomes_durable(tmp_path):
    cache = new_cache(tmp_path, 1000, BLOCK)
    put(cache, CONTENT, 4)
    leave(cache)
    with reopen(tmp_path) as cache:
        assert cache.cached_bytes_and_blocks()[1] == 1
        assert durable(cache) == set()
        keeper = Keeper(cache, interval=0.01)
        keeper.start()
        until(lambda: durable(cache) == {4}, what="it is durable")
        keeper.close()


@pytest.mark.parametrize("begun", [False, True])
def test_the_end_commits_what_is_left(tmp_path, begun):
    with new_cache(tmp_path, 1000, BLOCK) as cache:
        keeper = Keeper(cache, interval=3600)
        if begun:
            keeper.start()
        put(cache, CONTENT, 6)
        keeper.close()
        assert durable(cache) == {6}
        keeper.close()
        keeper.start()


def test_without_news_there_is_no_commit_but_the_last():
    cache = Scripted()
    keeper = Keeper(cache, interval=0.0)
    keeper.start()
    cache.landed.set()
    until(lambda: cache.commits, what="it has committed")
    keeper.close()
    assert cache.commits == 2


def test_a_cache_that_is_poisoned_ends_it_and_tells_who_fetches(tmp_path, caplog):
    ops = Watched()
    cache = new_cache(tmp_path, 1000, BLOCK, ops=ops)
    keeper = Keeper(cache, interval=0.01)
    keeper.start()
    ops.syncs, ops.during = 0, raises(CacheIOError(errno.EIO, "sync", "x.part"))
    put(cache, CONTENT, 2)
    until(lambda: "not durable" in caplog.text, what="it says so")
    with pytest.raises(CachePoisonedError):
        put(cache, CONTENT, 3)
    keeper.close()
    assert ops.syncs == 1, "a sync that failed is not tried again"
    assert caplog.text.count("not durable") == 1
    cache.close()


def test_any_other_error_is_logged_and_not_the_end(caplog):
    cache = Scripted(raises(MemoryError("full")), raises(RuntimeError("strange")))
    keeper = Keeper(cache, interval=0.0)
    keeper.start()
    cache.landed.set()
    until(lambda: cache.commits >= 3, what="it was tried again")
    keeper.close()
    assert "full" in caplog.text
    assert "strange" in caplog.text


def test_a_cache_that_is_closed_ends_it(tmp_path):
    with new_cache(tmp_path, 1000, BLOCK) as cache:
        keeper = Keeper(cache, interval=0.01)
        keeper.start()
        put(cache, CONTENT, 1)
    keeper.close()
    with reopen(tmp_path) as cache:
        assert durable(cache) == {1}


def test_it_may_be_closed_on_its_own_thread(caplog):
    cache = Scripted(lambda: seen.append(keeper.is_here), lambda: keeper.close())
    seen = []
    keeper = Keeper(cache, interval=0.0)
    keeper.start()
    for commits in (1, 2):
        cache.landed.set()
        until(lambda n=commits: cache.commits >= n, what="it has committed")
    until(lambda: cache.commits == 3, what="the last commit comes when it is back")
    keeper.close()
    assert seen == [True]
    assert caplog.text == "", "close has raised nothing"
    assert cache.commits == 3
    assert not keeper.is_here


def test_an_end_that_comes_in_the_middle_of_a_commit_is_heard():
    def close_meanwhile():
        closer.start()
        until(keeper._closing.is_set, what="it is closing")
        until(cache.landed.is_set, what="it says that there is news")
        cache.landed.clear()  # as a commit does that had not come so far

    cache = Scripted(close_meanwhile)
    keeper = Keeper(cache, interval=0.0)
    closer = threading.Thread(target=keeper.close, daemon=True)
    keeper.start()
    cache.landed.set()
    until(lambda: closer.ident is not None, what="it commits, and somebody closes it")
    closer.join(20)
    assert not closer.is_alive()
    assert cache.commits == 2
