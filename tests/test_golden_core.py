"""What the Go package answers, we answer; where it is wrong, each difference is here by name."""

from __future__ import annotations

import pytest
from models import golden

from largefile.core.byteranges import ByteRanges, ByteRangesTracker
from largefile.core.ranges import ByteRange, num_blocks, range_for_index, ranges

MOST = 2**63 - 1


def pairs(found):
    return [[block.first, block.last] for block in found]


def walk(following):
    """[first, last, next] of each block, as a loop over next_set or next_clear sees them."""
    steps, found = [], following(0)
    while found:
        steps.append([found[1].first, found[1].last, found[0]])
        found = following(found[0])
    return steps


def built(case, cls=ByteRanges):
    blocks = cls(case["content_size"], case["block_size"])
    for pos in case["set_offsets"]:
        blocks.set(pos)
    return blocks


def test_num_blocks():
    for case in golden("num_blocks"):
        sizes = case["content_size"], case["block_size"]
        if sizes[0] < 0 or sizes[1] < 1:
            # Go: 1 block for -1 byte, a negative number for negative sizes, a panic for block size 0.
            with pytest.raises(ValueError):
                num_blocks(*sizes)
        else:
            assert num_blocks(*sizes) == case["num_blocks"]


def test_ranges():
    for case in golden("ranges"):
        first, last, block_size = case["from"], case["to"], case["block_size"]
        if block_size < 1 or first < 0 or last < first - 1 or last == MOST:
            # Go: nothing for a block size below 1 or an inverted range, negative positions, overflow.
            with pytest.raises(ValueError):
                ranges(first, last, block_size)
        else:
            found = ranges(first, last, block_size)
            listed = [next(found) for _ in case["ranges"]]
            # Go: where the end of the last block would be beyond 64 bits, that block goes past `to`.
            assert pairs(listed) == [[start, min(end, last)] for start, end in case["ranges"]]
            assert case["truncated"] or next(found, None) is None


def test_range_for_index():
    for case in golden("range_for_index"):
        arguments = case["index"], case["content_size"], case["block_size"]
        if case["in_range"]:
            found = range_for_index(*arguments)
            if case["to"] >= case["content_size"]:
                # Go: where the end of the last block would be beyond 64 bits, it has a byte too many.
                assert (found.first, found.last) == (case["from"], case["content_size"] - 1)
                continue
            assert (found.first, found.last, found.size) == (case["from"], case["to"], case["size"])
            assert str(found) == case["string"]
        else:
            # Go: an inverted range, or one that wrapped round, past the end; [-1:-1] before the start.
            with pytest.raises((IndexError, ValueError)):
                range_for_index(*arguments)


def test_byte_range_methods():
    for case in golden("byte_range_methods"):
        if 0 <= case["from"] <= case["to"] < MOST:
            found = ByteRange(case["from"], case["to"])
            assert (found.size, str(found)) == (case["size"], case["string"])
        else:
            # Go: ranges that are inverted or negative have size 0, one of 2**63 bytes a negative size.
            with pytest.raises(ValueError):
                ByteRange(case["from"], case["to"])


@pytest.mark.parametrize("cls", [ByteRangesTracker, ByteRanges])
def test_index_files(cls):
    for case in golden("index_files"):
        blocks = built(case, cls)
        again = cls.from_json(case["json"])
        assert blocks.to_json() == again.to_json() == case["json"]
        assert again.num_blocks == case["num_blocks"]
        if "complete" in case:
            assert walk(again.next_set) == case["cached"]
            assert walk(again.next_clear) == case["outstanding"]
            assert again.count == case["cached_blocks"]
            assert sum(block.size for block in again.all_set()) == case["cached_bytes"]
            assert ByteRanges.from_json(case["json"]).complete == case["complete"]


# Texts that Go loads and we refuse, with the reason; Go writes none of them.
WRONGLY_LOADED = {
    '{"Content_Size":"256","BLOCK_SIZE":64,"Ranges":["5"]}': "the index has no content_size",
    '{"content_size":"256","block_size":64,"ranges":null}': "ranges is None",
    '{"content_size":"256","block_size":64,"ranges":["ffffffffffffffff"]}': "past the last of 4",
    '{"content_size":"650","block_size":10,"ranges":["ffffffffffffffff"]}': "1 words, needed 2",
    '{"content_size":"650","block_size":10,"ranges":["0"]}': "1 words, needed 2",
    '{"content_size":"0","block_size":64,"ranges":["0"]}': "1 words, needed 0",
    '{"content_size":"-1000","block_size":64,"ranges":["0"]}': "content_size is '-1000'",
}


def test_index_load():
    refused = set()
    for case in golden("index_load"):
        text = case["index_text"]
        if not case.get("loaded") or text in WRONGLY_LOADED:
            # Go: some of these panic on load, or load and then panic in Tail.
            with pytest.raises(ValueError, match=WRONGLY_LOADED.get(text)):
                ByteRanges.from_json(text)
            refused.add(text)
            continue
        blocks = ByteRanges.from_json(text)
        assert "panic" not in case
        assert (blocks.content_length, blocks.block_size) == (case["content_size"], case["block_size"])
        assert walk(blocks.next_set) == case["cached"]
        # Go: the same byte too many where the end of the last block would be beyond 64 bits.
        outstanding = [
            [start, min(end, case["content_size"] - 1), go_on] for start, end, go_on in case["outstanding"]
        ]
        assert walk(blocks.next_clear) == outstanding
        assert blocks.complete == case["complete"]
        tail = blocks.wait_tail(timeout=0)
        assert (list(tail) if tail else [-1, -1]) == case["tail"]
    assert refused >= set(WRONGLY_LOADED)


@pytest.mark.parametrize("cls", [ByteRangesTracker, ByteRanges])
def test_byteranges_walk(cls):
    for case in golden("byteranges_walk"):
        blocks = built(case, cls)
        assert blocks.num_blocks == case["num_blocks"]
        assert walk(blocks.next_set) == case["walk_set"]
        assert walk(blocks.next_clear) == case["walk_clear"]
        for single in case["from_start"]:
            start = single["start"]
            for kind in ("set", "clear"):
                found = getattr(blocks, f"next_{kind}")(start)
                expected = None if single[f"next_{kind}"] < 0 else single[f"{kind}_range"]
                assert (list(found[1]) if found else None) == expected
                assert (found[0] if found else -1) == single[f"next_{kind}"]
                assert len(list(getattr(blocks, f"all_{kind}")(start))) == single[f"all_{kind}_count"]


@pytest.mark.parametrize("cls", [ByteRangesTracker, ByteRanges])
def test_byteranges_query(cls):
    for case in golden("byteranges_query"):
        blocks = built(case, cls)
        for query in case["queries"]:
            pos = query["pos"]
            found = {
                "block": blocks.block(pos),
                "is_set": blocks.is_set(pos),
                "is_clear": blocks.is_clear(pos),
            }
            assert {**found, "pos": pos} == query


def test_tail():
    for case in golden("tail"):
        if "index_text" in case:
            check_restored_tail(case)
            continue
        blocks = ByteRanges(case["content_size"], case["block_size"])
        if "panic" in case:  # Go: a content of no bytes
            assert case["content_size"] == 0
            blocks.set(0)
            assert blocks.tail() is None
            continue
        assert blocks.tail() is None
        assert case["initial_ok"] is False
        for step in case["steps"]:
            future = blocks.notify()
            assert future.done() == step["notify_closed_before"]
            blocks.set(step["set"])
            assert future.done() == step["notify_closed_after"]
            assert (list(blocks.tail()) if blocks.tail() else None) == (step["tail"] if step["ok"] else None)
        assert blocks.notify().done() == case["final_notify_closed"]


def check_restored_tail(case):
    if "panic" not in case:
        blocks = ByteRanges.from_json(case["index_text"])
        assert (list(blocks.tail()) if blocks.tail() else None) == (
            case["initial_tail"] if case["initial_ok"] else None
        )
        assert blocks.notify().done() == case["notify_closed"]
    elif '"content_size":"0"' in case["index_text"]:
        assert ByteRanges.from_json(case["index_text"]).notify().done()
    else:  # Go: a bitmap that is too short
        with pytest.raises(ValueError):
            ByteRanges.from_json(case["index_text"])


# The recorded history has gaps, so each state is built first, and its last step undone and done again.
@pytest.mark.parametrize("cls", [ByteRangesTracker, ByteRanges])
def test_tracker(cls):
    undo = {"set": "clear", "clear": "set"}
    for case in golden("tracker"):
        blocks = cls(1010, 250)
        for first, _, _ in case["set"]:
            blocks.set(first)
        if case["op"] in undo:
            getattr(blocks, undo[case["op"]])(case["pos"])
            getattr(blocks, case["op"])(case["pos"])
        assert walk(blocks.next_set) == case["set"]
        assert walk(blocks.next_clear) == case["clear"]
