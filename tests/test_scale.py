"""The size of the content costs neither memory nor correctness: 1 TiB is planned and resumed like 1 MiB."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from disk_helpers import new_cache, reopen

import largefile
from largefile.core.bitmap import Bitmap
from largefile.core.ranges import ByteRange
from largefile.rules.identity import Identity
from largefile.rules.schedule import Scheduler, Start
from largefile.testing.server import Content, LoopbackServer, pattern

MIB = 1 << 20
TIB = 1 << 40
BLOCKS = TIB // MIB
#: The first block, the edges of a word of bits, a run, one past 2^32 bytes, and the last.
MISSING = [0, 63, 64, 5000, 5001, 5002, 1 << 19, BLOCKS - 1]

#: A child's peak memory over what it had after the import, which is the last line that it prints.
PROGRAM = """
import sys; sys.path[:] = {path!r}
import resource

def memory(key):
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

import largefile
before = memory("VmRSS")
largefile.download({url!r}, {dest!r}, durable=False, proxy="", concurrency=8)
print(memory("VmHWM") - before)
"""


@pytest.fixture
def nearly_full(tmp_path):
    """A folder with a cache of 1 TiB, closed, of which all but `MISSING` is said to be there."""
    missing = Bitmap(BLOCKS)
    for block in MISSING:
        missing.set(block)
    with new_cache(tmp_path, TIB, MIB, reserve="span") as cache:
        cache.pin(Identity('"v1"', None, TIB))
        for start, stop in missing.runs_clear():
            for block in range(start, stop):
                cache.seal(block, block)
    return tmp_path


def first_spans(cache, count):
    """What the scheduler starts first, as (first block, stop block)."""
    scheduler = Scheduler(cache.byte_ranges.bitmap, block_size=MIB, content_size=TIB, concurrency=count)
    actions = [scheduler.next_action(0.0) for _ in range(count)]
    assert all(isinstance(action, Start) for action in actions)
    return [(action.span.first_block, action.span.stop_block) for action in actions]


def missing_blocks(cache):
    found = cache.byte_ranges.all_clear()
    return [block.first // MIB for block in found]


def report(record_property, what, began):
    """Note how long it took. No test depends on it: the bench measures."""
    seconds = time.perf_counter() - began
    record_property(f"seconds to {what}", seconds)
    print(f"{seconds * 1000:.1f} ms to {what}")


def test_an_empty_tebibyte_begins_with_the_largest_spans_in_order(tmp_path, record_property):
    with new_cache(tmp_path, TIB, MIB, reserve="span"):
        pass
    began = time.perf_counter()
    with reopen(tmp_path, reserve="span") as cache:
        spans = first_spans(cache, 8)
        report(record_property, "open and plan an empty 1 TiB", began)
        assert spans == [(64 * i, 64 * (i + 1)) for i in range(8)]
        assert cache.cached_bytes_and_blocks() == (0, 0)
        assert missing_blocks(cache)[::100_000] == list(range(0, BLOCKS, 100_000))


def test_a_tebibyte_resumes_from_its_index_at_exactly_the_missing_blocks(nearly_full, record_property):
    began = time.perf_counter()
    with reopen(nearly_full, reserve="span") as cache:
        spans = first_spans(cache, 6)
        report(record_property, "open and plan a 1 TiB of which 8 blocks are missing", began)
        assert spans == [(0, 1), (63, 64), (64, 65), (5000, 5001), (5001, 5002), (5002, 5003)]
        assert missing_blocks(cache) == MISSING
        assert cache.cached_bytes_and_blocks() == (TIB - len(MISSING) * MIB, BLOCKS - len(MISSING))
        assert cache.next_outstanding(5003) == ((1 << 19) + 1, ByteRange(1 << 39, (1 << 39) + MIB - 1))
        assert cache.next_outstanding((1 << 19) + 1) == (BLOCKS, ByteRange(TIB - MIB, TIB - 1))
        assert cache.hashed_blocks == 0  # the entries are believed unread: no byte of the data was touched


def test_only_the_missing_blocks_of_a_tebibyte_are_fetched(nearly_full):
    with LoopbackServer(Content(TIB)) as server:
        with (
            reopen(nearly_full, reserve="span") as cache,
            largefile.HTTPReader(server.url, proxy="") as reader,
        ):
            status = largefile.CachingDownloader(reader, cache, durable=False).run()
            assert cache.complete
            for block in MISSING:
                assert cache.read_at(MIB, block * MIB) == pattern(block * MIB, (block + 1) * MIB - 1)
        asked = {request.range[0] // MIB for request in server.requests}
    assert status.downloaded_bytes == len(MISSING) * MIB
    assert status.resumed_bytes == TIB - len(MISSING) * MIB
    assert asked == set(MISSING)


def test_memory_does_not_grow_with_the_content(tmp_path):
    small, large = (growth(tmp_path / str(size), size) for size in (64 * MIB, 512 * MIB))
    assert large - small < 48 * MIB, f"{small / MIB:.0f} MiB for 64 MiB, {large / MIB:.0f} for 512"


def growth(dest, size):
    """Peak memory of a process that downloads `size` bytes, over what it had after the import."""
    with LoopbackServer(Content(size)) as server:
        code = PROGRAM.format(path=sys.path, url=server.url, dest=str(dest))
        child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert not child.returncode, child.stderr
    assert dest.stat().st_size == size
    dest.unlink()
    return int(child.stdout)
