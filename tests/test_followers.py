"""Another process reads a download while it comes, through the writer's death and to the end.

Writers and followers are processes of their own. What the server gives out is held by a gate, so that each
test knows what can be there; the bytes are those of a pattern, so that a misplaced one shows.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from pathlib import Path

import pytest
from disk_helpers import new_cache, reopen
from following import Follower, Gate, ToldError
from processes import Download, in_place, nothing_left_behind, until

from largefile import CachingDownloader, HTTPReader, LocalDownloadCache
from largefile.core.ranges import ByteRange
from largefile.disk.create import create_cache_files
from largefile.disk.header import State
from largefile.testing.server import LoopbackServer

KIB = 1024
BLOCK = 64 * KIB
BLOCKS = 100
SIZE = BLOCKS * BLOCK - 777
#: The first request, which decides, asks for so much; the others are for what is after it.
PROBE = 1024 * KIB


@pytest.fixture
def gate():
    return Gate(SIZE)


@pytest.fixture
def server(gate):
    with LoopbackServer(gate.content()) as server:
        yield server
        gate.open()  # or its threads would wait on


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "x"


def writer(server, dest, **options):
    """A process that downloads; it can be killed."""
    usual = {"block_size": BLOCK, "concurrency": 4, "proxy": ""}
    child = Download(server.url, dest, **{**usual, **options})
    try:
        until(lambda: in_place(dest) >= 0 or child.process.poll() is not None, what="the writer's files")
    except BaseException:
        child.kill()
        raise
    return child


def reach(follower, end):
    """Tail until `end` bytes are there, and not one more."""
    seen = 0
    while seen < end:
        last = follower.ask("tail", 30)
        assert seen <= last < end, (seen, last, end)
        seen = last + 1


def test_blocks_are_seen_as_they_land_and_their_bytes_are_right(server, gate, dest):
    with writer(server, dest) as child, Follower(dest) as follower:
        assert follower.ask("get", "content_size") == SIZE
        for blocks in (1, 2, 15, 16, 17, 60):
            assert follower.ask("tail", 0) == -1
            gate.open(blocks * BLOCK)
            reach(follower, blocks * BLOCK)
            assert follower.ask("right", blocks * BLOCK, 0)
            with pytest.raises(ToldError, match="not all cached") as told:
                follower.ask("right", 2, blocks * BLOCK - 1)
            assert "UncachedRangeError" in told.value.kinds
        gate.open()
        assert follower.ask("follow")["sha256"] == gate.sha256()
        assert child.status()["complete"]


def test_tail_waits_until_something_comes(server, gate, dest):
    with writer(server, dest), Follower(dest) as follower:
        follower.send("tail", None)
        assert follower.is_waiting(0.3)
        gate.open(3 * BLOCK)
        assert follower.answer() in (BLOCK - 1, 2 * BLOCK - 1, 3 * BLOCK - 1)


def test_blocks_behind_a_gap_are_seen_too_and_the_tail_waits_for_the_gap(server, gate, dest):
    with writer(server, dest), Follower(dest) as follower:
        assert follower.ask("get", "cached_bytes_and_blocks") == [0, 0]
        gate.open(first=PROBE)  # the probe's answer is held back, all else proceeds
        until(lambda: in_place(dest) == SIZE - PROBE, what="all but the first answer")
        assert follower.ask("tail", 0) == -1
        assert follower.ask("right", SIZE - PROBE, PROBE)
        assert follower.ask("get", "cached_bytes_and_blocks") == [SIZE - PROBE, BLOCKS - 16]
        assert follower.ask("tail", 0.05) == -1
        gate.open()
        assert follower.ask("follow")["sha256"] == gate.sha256()


def test_a_single_byte_can_be_waited_for_behind_a_gap_and_over_a_kill(server, gate, dest):
    with writer(server, dest) as child, Follower(dest) as follower:
        assert follower.ask("wait_for", SIZE - 1, 0.05) is False
        follower.send("wait_for", SIZE - 1, None)
        assert follower.is_waiting(0.1)
        assert child.kill()
        with writer(server, dest):
            assert follower.is_waiting(0.1)
            gate.open(first=PROBE)
            assert follower.answer() is True
            assert follower.ask("right", 100, SIZE - 100)
            assert follower.ask("wait_for", 0, 0.05) is False


def test_a_writer_that_is_killed_and_started_again_is_followed_by_the_same_object(server, gate, dest):
    with writer(server, dest) as child, Follower(dest) as follower:
        gate.open(30 * BLOCK)
        reach(follower, 30 * BLOCK)
        assert follower.ask("get", "writer_alive") is True
        assert child.kill()
        assert follower.ask("get", "writer_alive") is False
        assert follower.ask("tail", 0.05) == -1
        assert follower.ask("right", 30 * BLOCK, 0)
        follower.send("tail", None)
        assert follower.is_waiting(0.1)
        with writer(server, dest) as again:
            gate.open(31 * BLOCK)
            assert follower.answer() == 31 * BLOCK - 1
            assert follower.ask("get", "writer_alive") is True
            assert not follower.ask("get", "replaced")
            gate.open()
            assert follower.ask("follow")["sha256"] == gate.sha256()
            assert again.status()["resumed_bytes"] >= 30 * BLOCK
        assert follower.ask("get", "complete")


@pytest.mark.parametrize("seed", range(max(1, int(os.environ.get("LARGEFILE_DEEP") or 1))))
def test_followers_survive_kills_at_random_moments(server, gate, dest, seed):
    rng, have = random.Random(seed), 0
    with contextlib.ExitStack() as stack:
        followers = []
        for _ in range(4):
            have += rng.randrange(1, BLOCKS // 6)
            gate.open(have * BLOCK)
            with writer(server, dest) as child:
                # One more joins at each life of the writer, and is in `tail` when the writer dies.
                followers.append(stack.enter_context(Follower(dest)))
                followers[-1].send("follow")
                child.reaches(rng.randrange(1, have * BLOCK))
                assert child.kill()
        gate.open()
        with writer(server, dest) as child:
            assert child.status()["complete"]
        for follower in followers:
            found = follower.answer()
            assert found["sha256"] == gate.sha256()
            assert found["ends"][-1] == SIZE


def test_before_there_are_files_a_follower_is_told_that_there_are_none(dest):
    with Follower(dest, attach=False) as follower:
        with pytest.raises(ToldError, match=r"x\.part") as told:
            follower.attach()
        assert {"FileNotFoundError", "CacheError"} <= set(told.value.kinds)


def test_a_follower_that_is_there_before_the_first_block_and_the_first_writer(server, gate, dest):
    create_cache_files(f"{dest}.part", f"{dest}.part.idx", SIZE, BLOCK)
    with Follower(dest) as follower:
        assert follower.ask("get", "writer_alive") is False
        assert follower.ask("tail", 0.05) == -1
        assert follower.ask("get", "cached_bytes_and_blocks") == [0, 0]
        follower.send("follow")
        gate.open()
        fill(server, dest)
        assert follower.answer()["sha256"] == gate.sha256()


def fill(server, dest):
    """Complete the cache at `dest` by the other way to write one, in this process, and leave it so."""
    with LocalDownloadCache.open(f"{dest}.part", f"{dest}.part.idx") as cache:
        with HTTPReader(server.url, proxy="") as reader:
            assert CachingDownloader(reader, cache).run().complete


def test_a_follower_that_comes_after_the_end_is_told_everything_at_once(server, gate, dest):
    gate.open()
    create_cache_files(f"{dest}.part", f"{dest}.part.idx", SIZE, BLOCK)
    fill(server, dest)
    with Follower(dest) as follower:
        assert follower.ask("get", "complete")
        assert follower.ask("tail", 0) == follower.ask("tail", None) == SIZE - 1
        assert follower.ask("follow") == {"ends": [SIZE], "sha256": gate.sha256()}


def test_the_publication_takes_nothing_from_a_follower_and_later_ones_find_no_partial(server, gate, dest):
    with writer(server, dest) as child, Follower(dest) as follower:
        gate.open()
        assert child.status()["complete"]
        assert follower.ask("get", "replaced")
        # It has looked at nothing yet, and both names are gone.
        assert follower.ask("follow")["sha256"] == gate.sha256()
        assert follower.ask("get", "state") == State.PUBLISHED
        assert dest.stat().st_size == SIZE
        with Follower(dest, attach=False) as late:
            with pytest.raises(ToldError, match=r"x\.part") as told:
                late.attach()
            assert {"FileNotFoundError", "CacheError"} <= set(told.value.kinds)


def test_another_version_ends_the_following_of_the_old_one(server, gate, dest):
    with writer(server, dest) as child, Follower(dest) as follower:
        gate.open(20 * BLOCK)
        reach(follower, 20 * BLOCK)
        child.kill()
        follower.send("tail", None)
        second = Gate(SIZE, shift=12345)
        second.open(20 * BLOCK)
        server.content = second.content()
        with writer(server, dest) as again:
            with pytest.raises(ToldError, match="another version") as told:
                follower.answer()
            assert "SourceChangedError" in told.value.kinds
            assert follower.ask("get", "replaced")
            # What it has read stays what it was: it holds the old file, which is not written any more.
            assert follower.ask("right", 20 * BLOCK, 0)
            with Follower(dest) as new:
                second.open()
                assert new.ask("follow", 12345)["sha256"] == second.sha256()
            assert again.status()["complete"]


def test_without_a_writer_nothing_comes_and_a_wait_has_its_end(dest):
    create_cache_files(f"{dest}.part", f"{dest}.part.idx", SIZE, BLOCK)
    with Follower(dest) as follower:
        assert follower.ask("tail", 0.2) == -1
        follower.send("tail", None)
        assert follower.is_waiting(0.3)


def facts(path):
    found = path.stat()
    return path.read_bytes(), found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_mode


def test_a_follower_writes_nothing(tmp_path, dest):
    files = [Path(f"{dest}.part"), Path(f"{dest}.part.idx")]
    with new_cache(tmp_path, SIZE, BLOCK) as cache:
        cache.write_at(bytes(BLOCK), 0)
    before = [facts(path) for path in files]
    with Follower(dest) as follower:
        assert follower.ask("tail", 1) == BLOCK - 1
        assert follower.ask("tail", 0.1) == -1
        follower.ask("get", "verify")
        follower.ask("get", "refresh")
        access = follower.ask("access")
        follower.ask("close")
    assert [facts(path) for path in files] == before
    assert len(access["open"]) >= 2
    assert set(access["open"]) == {"r"}
    assert access["maps"]
    assert all("w" not in mode for mode in access["maps"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.part", "x.part.idx"]


def test_followers_are_not_in_the_way_of_a_writer(tmp_path, dest):
    new_cache(tmp_path, SIZE, BLOCK).close()
    with Follower(dest), Follower(dest) as second, reopen(tmp_path) as cache:
        assert second.ask("get", "writer_alive") is True
        cache.write_at(bytes(BLOCK), 0)
        assert second.ask("tail", 10) == BLOCK - 1


def test_closing_ends_a_wait_in_another_thread(tmp_path):
    new_cache(tmp_path, SIZE, BLOCK).close()
    with nothing_left_behind():
        follower, told, waits = reopen(tmp_path, read_only=True), [], threading.Event()

        def wait():
            waits.set()
            try:
                follower.tail()
            except ValueError as error:
                told.append(str(error))

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert waits.wait(10)
        follower.close()
        for thread in threads:
            thread.join(10)
        assert len(told) == 3
        assert all("closed" in text for text in told)
        with pytest.raises(ValueError, match="closed"):
            follower.tail(0)
        with pytest.raises(ValueError, match="closed"):
            follower.read_at(1, 0)
        follower.close()


def test_a_view_outlives_its_follower(tmp_path):
    with new_cache(tmp_path, SIZE, BLOCK) as cache:
        cache.write_at(b"x" * BLOCK, 0)
    with reopen(tmp_path, read_only=True) as follower:
        view = follower.view(ByteRange(1, 10))
    assert view == b"x" * 10
    with pytest.raises(TypeError):
        view[0] = 0


def test_a_follower_in_several_threads_sees_one_truth(tmp_path):
    with new_cache(tmp_path, SIZE, BLOCK) as cache, reopen(tmp_path, read_only=True) as follower:
        wrong = []

        def read(seed):
            rng, told = random.Random(seed), -1
            while told < SIZE - 1:
                if seed % 2:
                    found = follower.tail(10)
                    told = max(told, found.last if found else -1)
                else:
                    told = follower.byte_ranges.head_block * BLOCK - 1
                    told = SIZE - 1 if follower.complete else told
                block = rng.randrange(BLOCKS)
                with contextlib.suppress(LookupError):
                    if follower.read_at(1, block * BLOCK) != bytes([block]):
                        wrong.append(block)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for block in random.Random(5).sample(range(BLOCKS), BLOCKS):
            cache.write_at(bytes([block]) * min(BLOCK, SIZE - block * BLOCK), block * BLOCK)
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
        assert not wrong


def test_where_the_files_were_removed_and_nobody_writes_them_a_wait_ends(server, gate, dest):
    with writer(server, dest) as child, Follower(dest) as follower:
        gate.open(3 * BLOCK)
        reach(follower, 3 * BLOCK)
        follower.send("tail", None)
        Path(f"{dest}.part.idx").unlink()
        Path(f"{dest}.part").unlink()
        assert follower.is_waiting(0.2)  # the writer lives, and so do the files
        child.kill()
        with pytest.raises(ToldError, match=r"x\.part\.idx") as told:
            follower.answer()
        assert {"FileNotFoundError", "CacheError"} <= set(told.value.kinds)
        assert follower.ask("right", 3 * BLOCK, 0)
