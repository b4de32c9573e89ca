"""Two creators of one download, at any two moments: one of them has it, and the other is told. And readers
beside a writer, who wait for a byte: they get it, or are told why not."""

import contextlib
import errno
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import FileOps
from largefile.disk.files import LocalFile
from largefile.disk.leftovers import remove_unborn
from largefile.disk.opening import open_cache_files
from largefile.engine.destination import Destination
from largefile.errors import (
    CacheBusyError,
    CacheIOError,
    CachePoisonedError,
    InvalidOffsetError,
    PartialFileError,
)

UNCOUNTED = ("calls", "act", "close", "unlock_ofd", "boot_id", "host", "process_start")


class Between(FileOps):
    """Lets somebody else act before one of the operations."""

    def __init__(self, calls, act):
        self.calls, self.act = calls, act

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name in UNCOUNTED or name[0] == "_":
            return found

        def step(*args, **kwargs):
            self.calls -= 1
            if self.calls == -1:
                self.act()
            return found(*args, **kwargs)

        return step


def begin(path, ops=None):
    """As a download begins: the cache, open; None if somebody else has it."""
    ops = ops or FileOps()
    there = Destination(path, ops)
    try:
        there.has_partial()
        return LocalDownloadCache.create(there.part, there.index, 1000, 100, replace=True, ops=ops)
    except CacheBusyError:
        return None


def old_partial(path):
    with begin(path) as cache:
        cache.write_at(bytes(100), 300)


def check_won(cache, path):
    """The names are those of the cache's own files, and what is written to it is found again."""
    there = Destination(path)
    with cache:
        cache.write_at(b"x" * 100, 500)
    with LocalDownloadCache.open(there.part, there.index) as again:
        assert again.cached_bytes_and_blocks() == (100, 1)
        assert again.read_at(100, 500) == b"x" * 100


@pytest.mark.parametrize("before", [lambda path: None, old_partial], ids=["nothing", "an-old-partial"])
def test_another_creator_at_any_operation_of_a_creation_wins_or_is_refused(tmp_path, before):
    moment, left, outcomes = 0, 1, set()
    while left >= 0:
        path, won = tmp_path / f"at-{moment}", []
        before(path)
        others = []
        ops = Between(moment, lambda path=path, others=others: others.append(begin(path)))
        won = [begin(path, ops), *others]
        left = -1 if ops.calls >= 0 else 0
        outcomes.add(tuple(cache is not None for cache in won))
        winners = [cache for cache in won if cache is not None]
        assert len(winners) == 1, f"before operation {moment}: {won}"
        check_won(winners[0], path)
        moment += 1
    assert moment > 15
    assert outcomes == {(True,), (True, False), (False, True)}


def test_an_index_that_somebody_has_made_at_this_moment_is_no_obstacle(tmp_path):
    """It has no header yet, and no lock: so it is ours, or its maker's, and never called a broken one."""
    moment, left, outcomes = 0, 1, set()
    while left >= 0:
        path = tmp_path / f"at-{moment}"
        index = Path(Destination(path).index)

        def make(index=index):
            with contextlib.suppress(FileExistsError):
                index.touch(exist_ok=False)

        ops = Between(moment, make)
        cache = begin(path, ops)
        left = -1 if ops.calls >= 0 else 0
        outcomes.add(cache is not None)
        if cache is not None:
            check_won(cache, path)
        moment += 1
    assert outcomes == {True, False}


def test_files_that_are_being_made_are_not_taken_for_a_dead_creators(tmp_path):
    there, seen = Destination(tmp_path / "x"), []

    def look():
        with pytest.raises(CacheBusyError):
            remove_unborn(there.part, there.index)
        seen.append(True)

    class Slow(FileOps):
        def ftruncate(self, fd, size, path=""):
            look()
            super().ftruncate(fd, size, path)

        def fallocate(self, fd, offset, size, path="", *, keep_size=False):
            look()
            super().fallocate(fd, offset, size, path, keep_size=keep_size)

    LocalDownloadCache.create(there.part, there.index, 1000, 100, ops=Slow()).close()
    assert len(seen) > 3
    assert there.has_partial()


def test_a_created_cache_is_locked_from_its_first_moment_to_its_end(tmp_path):
    there, locks = Destination(tmp_path / "x"), []

    class Log(FileOps):
        def lock_ofd(self, fd, path=""):
            super().lock_ofd(fd, path)
            locks.append("lock")

        def unlock_ofd(self, fd, path=""):
            locks.append("unlock")
            super().unlock_ofd(fd, path)

    with LocalDownloadCache.create(there.part, there.index, 1000, 100, ops=Log()) as cache:
        assert locks == ["lock"]
        assert cache.lock_kind == "ofd"
        with pytest.raises(CacheBusyError):
            there.has_partial()
    assert locks == ["lock", "unlock"]
    assert there.has_partial()


def test_who_has_an_old_index_open_is_not_in_the_way_of_a_new_one(tmp_path):
    old_partial(tmp_path / "x")
    there = Destination(tmp_path / "x")
    old, asked = LocalFile.open(there.index), []

    class Slow(FileOps):
        def lock_ofd(self, fd, path=""):
            if len(asked) == 2:  # two locks of the old files, by who looks and by who removes
                assert old.lock() is None
            asked.append(path)
            super().lock_ofd(fd, path)

    class Greedy(FileOps):
        def lock_ofd(self, fd, path=""):
            raise AssertionError("a file that has taken the name is locked")

    old.ops = Greedy()
    cache = begin(tmp_path / "x", Slow())
    assert len(asked) == 3
    old.close()
    check_won(cache, tmp_path / "x")


def test_without_locks_of_the_system_an_owner_file_goes_over_to_the_new_index(tmp_path):
    class NoLocks(FileOps):
        def lock_ofd(self, fd, path=""):
            raise CacheIOError(errno.EINVAL, "lock", path)

        def flock(self, fd, operation, path=""):
            raise CacheIOError(errno.ENOLCK, "lock", path)

    old_partial(tmp_path / "x")
    with begin(tmp_path / "x", NoLocks()) as cache:
        assert cache.lock_kind == "owner-file"
        assert begin(tmp_path / "x", NoLocks()) is None
        cache.write_at(bytes(100), 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.part", "x.part.idx"]


def test_a_cache_that_was_begun_anew_while_it_was_being_opened_is_not_written(tmp_path):
    there = Destination(tmp_path / "x")
    old_partial(tmp_path / "x")
    for late in (0, 1):
        # The data, or both files, are still the old ones; the names lead to the new ones.
        files = open_cache_files(there.part, there.index)
        begin(tmp_path / "x").close()
        if late:
            fresh = open_cache_files(there.part, there.index)
            files[1].close()
            fresh[0].close()
            files = (files[0], fresh[1])
        with pytest.raises((CacheBusyError, PartialFileError)):
            LocalDownloadCache(*files)
        for file in files:
            file.close()
    check_won(begin(tmp_path / "x"), tmp_path / "x")


# --- who waits for a byte -----------------------------------------------------------------------

PATIENCE = 30.0  # seconds until a wait that should end is called a hang


@pytest.fixture
def writer(tmp_path):
    with begin(tmp_path / "x") as cache:
        yield cache


@pytest.fixture(params=["the cache itself", "a follower"])
def reader(request, writer, tmp_path):
    if request.param == "the cache itself":
        yield writer
        return
    there = Destination(tmp_path / "x")
    with LocalDownloadCache.open(there.part, there.index, read_only=True) as follower:
        yield follower


class Waiter(threading.Thread):
    """A thread that waits for a byte; `result` is the answer, or the exception."""

    def __init__(self, reader, pos, timeout=PATIENCE):
        super().__init__(daemon=True)
        self.reader, self.pos, self.timeout = reader, pos, timeout
        self.result = "none"
        self.start()

    def run(self):
        try:
            self.result = self.reader.wait_for(self.pos, self.timeout)
            if self.result:
                self.result = self.reader.read_at(1, self.pos)
        except (ValueError, CachePoisonedError) as error:
            self.result = error

    def answer(self):
        self.join(PATIENCE + 10)
        return self.result


def test_each_byte_is_there_when_its_wait_is_over_in_whatever_order_they_come(writer, reader):
    rng = random.Random(2)
    waiters = [Waiter(reader, 100 * block + rng.choice([0, 37, 99])) for block in range(10)]
    for block in rng.sample(range(10), 10):
        writer.write_at(bytes([block]) * 100, 100 * block)
        assert waiters[block].answer() == bytes([block])
    assert reader.wait_for(999, timeout=0)


def test_a_byte_that_does_not_come_is_waited_for_as_long_as_was_said(writer, reader):
    writer.write_at(bytes(100), 0)
    assert reader.wait_for(99, timeout=0)
    for timeout in (0, 0.1, -1):
        began = time.monotonic()
        assert not reader.wait_for(100, timeout)
        assert timeout <= time.monotonic() - began < PATIENCE / 2


@pytest.mark.parametrize("pos", [-1, 1000, 2**70])
def test_a_byte_that_does_not_exist_is_not_waited_for(reader, pos):
    with pytest.raises(InvalidOffsetError, match=f"offset {pos} must be"):
        reader.wait_for(pos)


def test_a_close_ends_every_wait_at_any_moment(tmp_path):
    there = Destination(tmp_path / "x")
    for number in range(20):
        for read_only in (False, True):
            begin(tmp_path / "x").close()
            reader = LocalDownloadCache.open(there.part, there.index, read_only=read_only)
            waiters = [Waiter(reader, pos, None if number % 2 else PATIENCE) for pos in (0, 500, 999)]
            reader.close()
            for waiter in waiters:
                answer = waiter.answer()
                assert isinstance(answer, ValueError), answer
            with pytest.raises(ValueError, match="closed"):
                reader.wait_for(0)


def test_a_failure_of_the_disk_ends_every_wait(writer, reader):
    waiters = [Waiter(reader, pos) for pos in (0, 500, 999)]
    writer.poison("the disk lost something")
    for waiter in waiters:
        assert isinstance(waiter.answer(), CachePoisonedError)
    with pytest.raises(CachePoisonedError):
        reader.wait_for(0, 0)


def test_a_tail_is_waited_for_as_before_beside_waits_for_bytes(writer, reader):
    tails = []
    follow = threading.Thread(target=lambda: tails.append(reader.tail(PATIENCE)))
    follow.start()
    waiter = Waiter(reader, 950)
    writer.write_at(bytes(100), 900)
    assert waiter.answer() == bytes(1)
    assert follow.is_alive()
    writer.write_at(bytes(100), 0)
    follow.join(PATIENCE)
    assert [tail.last for tail in tails] == [99]


# --- real processes -----------------------------------------------------------------------------

CHILD = """
import sys
sys.path[:] = {path!r}
from largefile.disk.cache import LocalDownloadCache
from largefile.engine.destination import Destination
from largefile.errors import CacheBusyError, PartialFileError

for line in sys.stdin:
    there, cache = Destination(line.strip()), None
    try:
        there.has_partial()
        cache = LocalDownloadCache.create(there.part, there.index, 1000, 100, replace=True)
        cache.write_at(b"x" * 100, 500)
        print("won", flush=True)
    except (CacheBusyError, PartialFileError):
        print("busy", flush=True)
    sys.stdin.readline()
    if cache is not None:
        cache.close()
    print("closed", flush=True)
"""


def test_of_two_processes_that_begin_at_once_one_wins_every_time(tmp_path):
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]

    def both(line):
        for child in children:
            child.stdin.write(f"{line}\n")
            child.stdin.flush()
        return sorted(child.stdout.readline().strip() for child in children)

    try:
        for number in range(100):
            there = Destination(tmp_path / str(number))
            assert both(there.path) == ["busy", "won"]
            assert both("close") == ["closed", "closed"]
            with LocalDownloadCache.open(there.part, there.index) as cache:
                assert cache.read_at(100, 500) == b"x" * 100
    finally:
        for child in children:
            child.communicate()
