"""A content of 8 TiB in blocks of 8 MiB: from its index to its first requests; and group commit."""

from __future__ import annotations

import json
import os
from itertools import pairwise

import pytest
from conftest import paths

from largefile.core.byteranges import ByteRangesTracker
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.create import create_cache_files
from largefile.rules.schedule import Scheduler, Start

BLOCK = 8 << 20
SIZE = 8 << 40
BLOCKS = SIZE // BLOCK
GAP = 1 << 19  # every block before it is there, and all but one after it
CONCURRENCY = 8
COMMITTED = 1024
SMALL = 4096


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    """The paths of a cache of 8 TiB that lacks its middle and its last block; and Go's text of the same."""
    folder = tmp_path_factory.mktemp("partial")
    data, index = paths(folder)
    create_cache_files(data, index, SIZE, BLOCK, reserve="span")
    tracker = ByteRangesTracker(SIZE, BLOCK)
    with LocalDownloadCache.open(data, index, reserve="span") as cache:
        for block in range(BLOCKS - 1):
            if block != GAP:
                cache.seal(block, block)
                tracker.set(block * BLOCK)
    text = folder / "go.json"
    text.write_text(tracker.to_json())
    return data, index, text


def open_and_plan(data, index):
    """The blocks of the first requests."""
    with LocalDownloadCache.open(data, index, reserve="span") as cache:
        present = cache.byte_ranges.bitmap
        scheduler = Scheduler(present, block_size=BLOCK, content_size=SIZE, concurrency=CONCURRENCY)
        return spans(scheduler)


def spans(scheduler):
    found = []
    while isinstance(action := scheduler.next_action(0.0), Start):
        found.append((action.span.first_block, action.span.stop_block))
    return found


def parse_and_plan(text):
    """The same from Go's index: the text, its words, their clear bits."""
    words = [int(word, 16) for word in json.loads(text.read_bytes())["ranges"]]
    full = 2**64 - 1
    gaps = [at for at, word in enumerate(words) if word != full]
    missing = [at * 64 + bit for at in gaps for bit in range(64) if not words[at] >> bit & 1]
    return [(block, block + 1) for block in missing]


@pytest.mark.benchmark(group="resume 8 TiB")
class TestResume:
    """The wait of `largefile get` on a partial file, from the call to the first request."""

    def test_open_only(self, benchmark, partial):
        def open_and_close():
            with LocalDownloadCache.open(*partial[:2], reserve="span") as cache:
                return cache.cached_bytes_and_blocks()

        assert benchmark(open_and_close) == (SIZE - 2 * BLOCK, BLOCKS - 2)

    def test_open_and_plan(self, benchmark, partial):
        assert benchmark(open_and_plan, *partial[:2]) == [(GAP, GAP + 1), (BLOCKS - 1, BLOCKS)]

    def test_parse_go_index_and_plan(self, benchmark, partial):
        assert benchmark(parse_and_plan, partial[2]) == [(GAP, GAP + 1), (BLOCKS - 1, BLOCKS)]


@pytest.mark.benchmark(group="plan an empty 8 TiB")
class TestPlan:
    """The wait between the probe's answer and the first requests of a new download."""

    def test_scheduler(self, benchmark):
        present = ByteRangesTracker(SIZE, BLOCK).bitmap

        def plan():
            return spans(Scheduler(present, block_size=BLOCK, content_size=SIZE, concurrency=CONCURRENCY))

        found = benchmark(plan)
        assert [first for first, _ in found] == [8 * each for each in range(CONCURRENCY)]
        assert all(stop == first for (_, stop), (first, _) in pairwise(found))

    def test_list_of_blocks(self, benchmark):
        def plan():
            waiting = [(at, min(at + BLOCK, SIZE) - 1) for at in range(0, SIZE, BLOCK)]
            return waiting[:CONCURRENCY]

        assert len(benchmark(plan)) == CONCURRENCY


@pytest.mark.parametrize("blocks", [1 << 10, 1 << 16, 1 << 20, 1 << 24])
@pytest.mark.benchmark(group=f"commit {COMMITTED:,} of the blocks")
class TestCommit:
    """Nobody's wait but that of `close`: the committer's thread, once a second. Most of it is the disk's."""

    def test_group_commit(self, benchmark, new_cache, blocks):
        size = COMMITTED * SMALL
        block = os.urandom(SMALL)

        def fresh():
            cache = new_cache(blocks * SMALL, SMALL, "span")
            for at in range(0, size, SMALL):
                cache.write_at(block, at)
            return (cache,), {}

        committed = benchmark.pedantic(LocalDownloadCache.commit, setup=fresh, rounds=10)
        assert committed == COMMITTED

    def test_json_renamed_over_the_old(self, benchmark, tmp_path, blocks):
        """Sync the data, write the whole index beside itself, sync it, rename it: once, as a favour; the Go
        package does it for each block."""
        size = COMMITTED * SMALL
        words = [2**64 - 1] * (COMMITTED // 64) + [0] * ((blocks - COMMITTED) // 64)
        block = os.urandom(SMALL)
        index, new = tmp_path / "index", tmp_path / "index.new"

        def fresh():
            (tmp_path / "data").unlink(missing_ok=True)
            self.file = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
            for at in range(0, size, SMALL):
                os.pwrite(self.file, block, at)

        def commit():
            os.fdatasync(self.file)
            ranges = [f"{word:x}" for word in words]
            fields = {"content_size": str(blocks * SMALL), "block_size": SMALL, "ranges": ranges}
            with new.open("w") as file:
                json.dump(fields, file)
                file.flush()
                os.fsync(file.fileno())
            new.rename(index)

        def gone():
            os.close(self.file)

        benchmark.pedantic(commit, setup=fresh, teardown=gone, rounds=10)
        assert len(json.loads(index.read_text())["ranges"]) == blocks // 64
