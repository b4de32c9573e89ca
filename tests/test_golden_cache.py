"""The Go package's own answers, where they are right; and the places where they are not."""

import json
from pathlib import Path

import pytest
from disk_helpers import folder, new_cache, noise, put

from largefile.core.ranges import ByteRange
from largefile.errors import InvalidBlockSizeError, InvalidOffsetError, UncachedRangeError

GOLDEN = Path(__file__).parent / "golden"
KINDS = {"ErrCacheInvalidOffset": InvalidOffsetError, "ErrCacheInvalidBlockSize": InvalidBlockSizeError}


def cases(name, op=""):
    found = json.loads((GOLDEN / name).read_text())["cases"]
    return [case for case in found if case.get("op", "").startswith(op)]


@pytest.mark.parametrize(
    "case", cases("cache_io.json", "WriteAt"), ids=lambda case: str(case["content_size"])
)
def test_writes_are_taken_and_refused_as_by_go(case):
    content = noise(case["content_size"])
    with folder() as base, new_cache(base, case["content_size"], case["block_size"]) as cache:
        for call in case["calls"]:
            size, off = call["len"], call["off"]
            data = (content + bytes(size))[max(off, 0) :][:size].ljust(size, b"\0")
            if call["error"] is None:
                assert cache.write_at(data, off) == call["n"]
                assert cache.read_at(size, off) == data
            else:
                with pytest.raises(KINDS[call["error"]["is"][0]]):
                    cache.write_at(data, off)


@pytest.mark.parametrize("off", [15, 12, 9, 31])
def test_reads_that_end_in_an_absent_block_fail(tmp_path, off):
    """Go, with all blocks but 0, 2 and 5 cached: these unaligned reads gave zeros for 2 or 5."""
    content = noise(57)
    with new_cache(tmp_path, 57, 8) as cache:
        put(cache, content, 1, 3, 4, 6, 7)
        size = {15: 2, 12: 8, 9: 8, 31: 10}[off]
        with pytest.raises(UncachedRangeError) as caught:
            cache.read_at(size, off)
        assert caught.value.wanted == ByteRange(off, off + size - 1)
        assert caught.value.missing == (ByteRange(16, 23) if off < 16 else ByteRange(40, 47))


def go_is_wrong(case, step):
    """With blocks of one byte Go misses the first tail: it compares with 0 where it should with -1."""
    return case["block_size"] == 1 and step["tail"] == [-1, -1]


@pytest.mark.parametrize("case", cases("cache_tail.json"), ids=lambda case: case["name"])
def test_tails_come_as_from_go(tmp_path, case):
    content = noise(case["content_size"])
    with new_cache(tmp_path, case["content_size"], case["block_size"]) as cache:
        for step in case["steps"]:
            if step["op"] == "write":
                put(cache, content, step["off"] // case["block_size"])
            elif go_is_wrong(case, step):
                assert cache.tail(0) == ByteRange(0, 0)
            elif step["would_block"]:
                assert cache.tail(0) is None
            else:
                assert list(cache.tail(0)) == step["tail"]


def test_after_close_nothing_works_and_closing_again_is_no_error(tmp_path):
    """Go: a write fails, a read says "uncached", and the second Close fails."""
    cache = new_cache(tmp_path, 100, 64)
    cache.close()
    for use in (lambda: cache.write_at(bytes(64), 0), lambda: cache.read_at(8, 0)):
        with pytest.raises(ValueError, match="closed"):
            use()
    cache.close()
