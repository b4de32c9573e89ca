"""From libcurl's buffer to its place: what each received byte costs in user space.

libcurl hands over at most 16 KiB at a time, so 4,096 calls are 64 MiB. The baselines do the same with
slices of a memoryview, or with `os.pwrite` and one hash object a block.
"""

from __future__ import annotations

import mmap
import os

import pytest
import xxhash

from largefile.core.sink import BlockSink

KIB, MIB = 1 << 10, 1 << 20
CHUNK = memoryview(os.urandom(16 * KIB))
SIZE = 64 * MIB
CALLS = SIZE // len(CHUNK)
ROUNDS = {"rounds": 7, "warmup_rounds": 1}


class QuietLane:
    """Takes note of nothing."""

    def settle(self, sink):
        return


def feed(sink):
    for _ in range(CALLS):
        sink(CHUNK)
    return sink.at


def fill(view):
    at = 0
    for _ in range(CALLS):
        stop = at + len(CHUNK)
        view[at:stop] = CHUNK
        at = stop
    return at


def aimed(sink, target, populate):
    sink.aim(QuietLane(), 0, SIZE, MIB, SIZE)
    sink.place(target, 0, SIZE, populate)
    return (sink,), {}


@pytest.fixture
def new_map(tmp_path):
    """Map a new file each time, which has room behind it and nothing in it, as a download's."""
    maps = []

    def make():
        while maps:
            maps.pop().close()
        path = tmp_path / "data"
        path.unlink(missing_ok=True)
        with path.open("x+b") as file:
            os.posix_fallocate(file.fileno(), 0, SIZE)
            maps.append(mmap.mmap(file.fileno(), SIZE))
        return maps[0]

    make.maps = maps
    yield make
    while maps:
        maps.pop().close()


@pytest.mark.benchmark(group=f"{CALLS:,} chunks of 16 KiB into memory")
class TestMemory:
    """The wait of the network loop, for each chunk, while it copies out of libcurl's buffer."""

    def test_sink(self, benchmark):
        target, sink = bytearray(SIZE), BlockSink()
        received = benchmark.pedantic(feed, setup=lambda: aimed(sink, target, False), **ROUNDS)
        assert received == SIZE
        sink.release()
        assert target == bytes(CHUNK) * CALLS

    def test_memoryview(self, benchmark):
        target = bytearray(SIZE)
        assert benchmark.pedantic(fill, (memoryview(target),), **ROUNDS) == SIZE
        assert target == bytes(CHUNK) * CALLS


@pytest.mark.benchmark(group=f"{CALLS:,} chunks of 16 KiB into a new file's map")
class TestMap:
    """The same wait where the place is a file: its pages are populated ahead, or fault one by one."""

    @pytest.mark.parametrize("populate", [True, False], ids=["populating", "faulting"])
    def test_sink(self, benchmark, new_map, populate):
        sink = BlockSink()

        def fresh():
            sink.release()
            return aimed(sink, new_map(), populate)

        assert benchmark.pedantic(feed, setup=fresh, **ROUNDS) == SIZE
        assert sink.error is None
        sink.release()
        assert new_map.maps[0][:] == bytes(CHUNK) * CALLS

    def test_memoryview(self, benchmark, new_map):
        view = memoryview(b"")

        def fresh():
            nonlocal view
            view.release()
            view = memoryview(new_map())
            return (view,), {}

        assert benchmark.pedantic(fill, setup=fresh, **ROUNDS) == SIZE
        assert view == bytes(CHUNK) * CALLS
        view.release()


def settle_all(sink, lane, block_size):
    lane.aim(sink, 0, SIZE // block_size)
    feed(sink)
    lane.release()


def write_all(file, block_size, entries):
    """What a downloader in Python does: write each chunk, hash it, and note the block at its end."""
    at, state = 0, xxhash.xxh3_64()
    for _ in range(CALLS):
        at += os.pwrite(file, CHUNK, at)
        state.update(CHUNK)
        if at % block_size == 0:
            entries[at // block_size - 1] = state.intdigest()
            state = xxhash.xxh3_64()


@pytest.mark.parametrize("block_size", [64 * KIB, MIB])
@pytest.mark.benchmark(group="64 MiB settled in a file")
class TestSettle:
    """The wait of the network loop for all that is done with a block where it lands: copied, hashed, sealed
    in the index, its bit set, its pages dropped. What 64 KiB costs more is the price of small blocks."""

    def test_lane(self, benchmark, new_cache, block_size):
        sink = BlockSink()

        def fresh():
            cache = new_cache(SIZE, block_size)
            return (sink, cache.lane(), block_size), {}

        benchmark.pedantic(settle_all, setup=fresh, rounds=5)
        cache = new_cache(SIZE, block_size)
        settle_all(sink, cache.lane(), block_size)
        assert sink.error is None
        assert cache.complete
        assert cache.read_at(len(CHUNK), SIZE - len(CHUNK)) == CHUNK

    def test_pwrite(self, benchmark, tmp_path, block_size):
        entries = {}
        path = tmp_path / "data"

        def fresh():
            path.unlink(missing_ok=True)
            self.file = os.open(path, os.O_RDWR | os.O_CREAT)
            os.posix_fallocate(self.file, 0, SIZE)
            return (self.file, block_size, entries), {}

        def gone(*args):
            os.close(self.file)

        benchmark.pedantic(write_all, setup=fresh, teardown=gone, rounds=5)
        assert len(entries) == SIZE // block_size
        assert set(entries.values()) == {xxhash.xxh3_64_intdigest(bytes(CHUNK) * (block_size // len(CHUNK)))}
