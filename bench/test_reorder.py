"""From any order into the right one: what a stream's blocks cost between the network and the reader.

Eight connections each bring their span of blocks, so that blocks come in turns from eight places. libcurl
hands over at most 16 KiB at a time. The baselines keep a heap of (number, bytes), as the Go package does,
whose blocks are gathered from the same pieces in memory of their own.
"""

from __future__ import annotations

import heapq
import os

import pytest

from largefile.core.reorder import ReorderBuffer
from largefile.core.sink import BlockSink

KIB, MIB = 1 << 10, 1 << 20
CHUNK = memoryview(os.urandom(16 * KIB))
SIZE = 256 * MIB
WINDOW = 64 * MIB
LANES = 8
BLOCKS = 100_000
ROUNDS = {"rounds": 7, "warmup_rounds": 1}


def arrivals(blocks, window):
    """The order in which blocks come: window by window, from each of its spans in turn."""
    share = max(1, window // LANES)
    for start in range(0, blocks, share * LANES):
        for at in range(share):
            for lane in range(LANES):
                if (block := start + lane * share + at) < blocks:
                    yield block


class FillingLane:
    """Takes note of nothing: the benchmark offers each block itself."""

    def settle(self, sink):
        return


def stream_ring(order, block_size):
    """Give the number of bytes and the sum of the blocks' first bytes, weighted by their turn."""
    ring, sink, lane = ReorderBuffer(WINDOW // block_size, block_size), BlockSink(), FillingLane()
    size = check = turn = 0
    for number in order:
        first = number * block_size
        sink.aim(lane, first, first + block_size, block_size, SIZE)
        sink.place(ring, ring.place(number), first + block_size)
        for _ in range(block_size // len(CHUNK)):
            sink(CHUNK)
        if not ring.offer(number, block_size):
            continue
        while (block := ring.take()) is not None:
            with block, memoryview(block) as view:
                turn += 1
                size += len(view)
                check += turn * view[0] * (block.number + 1 == turn)
    return size, check


def stream_heap(order, block_size):
    heap, size, check, turn = [], 0, 0, 0
    for number in order:
        data = bytearray()
        for _ in range(block_size // len(CHUNK)):
            data += CHUNK
        heapq.heappush(heap, (number, data))
        while heap and heap[0][0] == turn:
            found, data = heapq.heappop(heap)
            turn += 1
            with memoryview(data) as view:
                size += len(view)
                check += turn * view[0] * (found + 1 == turn)
    return size, check


@pytest.mark.parametrize("block_size", [64 * KIB, MIB])
@pytest.mark.benchmark(group="256 MiB put into order, 64 MiB at a time")
class TestStream:
    """The wait of the network loop, from libcurl's buffer to bytes that the reader can look at."""

    def run(self, benchmark, stream, block_size):
        order = list(arrivals(SIZE // block_size, WINDOW // block_size))
        size, check = benchmark.pedantic(stream, (order, block_size), **ROUNDS)
        count = SIZE // block_size
        assert sorted(order) == list(range(count))
        assert order != sorted(order)
        assert (size, check) == (SIZE, CHUNK[0] * count * (count + 1) // 2)

    def test_ring(self, benchmark, block_size):
        self.run(benchmark, stream_ring, block_size)

    def test_heap(self, benchmark, block_size):
        self.run(benchmark, stream_heap, block_size)


def order_ring(order, window):
    ring, turn = ReorderBuffer(window, 1), 0
    for number in order:
        ring.place(number)
        if ring.offer(number, 1):
            while (block := ring.take()) is not None:
                turn += block.number == turn
                block.release()
    return turn


def order_heap(order, window):
    heap, turn = [], 0
    for number in order:
        heapq.heappush(heap, (number, b""))
        while heap and heap[0][0] == turn:
            found, _ = heapq.heappop(heap)
            turn += found == turn
    return turn


@pytest.mark.parametrize("window", [64, 1024])
@pytest.mark.benchmark(group=f"{BLOCKS:,} blocks put into order, without their bytes")
class TestOrder:
    """The bookkeeping alone: four calls from Python for each block, where the heap needs two."""

    def run(self, benchmark, put_in_order, window):
        order = list(arrivals(BLOCKS, window))
        assert benchmark.pedantic(put_in_order, (order, window), **ROUNDS) == BLOCKS

    def test_ring(self, benchmark, window):
        self.run(benchmark, order_ring, window)

    def test_heap(self, benchmark, window):
        self.run(benchmark, order_heap, window)
