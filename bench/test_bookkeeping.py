"""What a block costs beside its bytes and their hash: decided, sealed in the index, its bit set, and told.

A download of 2**17 blocks, and the first 2**17 blocks of one with 2**24: what a block costs must not grow
with their number.
"""

from __future__ import annotations

from collections import deque

import pytest

from largefile.rules.schedule import FINISHED, Scheduler, Start

KIB = 1 << 10
BLOCK = 512 * KIB
CONCURRENCY = 8
LANDED = 1 << 17


def download(cache, blocks):
    """Start, seal and end spans until so many blocks are there; their number."""
    present = cache.byte_ranges.bitmap
    scheduler = Scheduler(present, block_size=BLOCK, content_size=blocks * BLOCK, concurrency=CONCURRENCY)
    flying, landed, now = deque(), 0, 0.0
    while landed < LANDED and (action := scheduler.next_action(now)) is not FINISHED:
        if isinstance(action, Start):
            flying.append(action.span)
            continue
        span = flying.popleft()
        now += 0.01
        scheduler.granted(span, span.stop_block, now)
        scheduler.progress(span, span.num_blocks * BLOCK, now)
        for block in range(span.first_block, span.stop_block):
            cache.seal(block, block)
        scheduler.landed(span.first_block, span.stop_block)
        scheduler.ended(span, None, now)
        landed += span.num_blocks
    return landed


@pytest.mark.parametrize("blocks", [1 << 17, 1 << 24])
@pytest.mark.benchmark(group="bookkeeping of 131,072 blocks")
class TestBookkeeping:
    """The wait of the network loop, once for each block; hash, copy and the disk's own work are not in it."""

    def test_download(self, benchmark, new_cache, blocks):
        def fresh():
            return (new_cache(blocks * BLOCK, BLOCK, "span"), blocks), {}

        landed = benchmark.pedantic(download, setup=fresh, rounds=5)
        assert LANDED <= landed < LANDED + 128 * CONCURRENCY
        if benchmark.stats is not None:  # None with --benchmark-disable
            benchmark.extra_info["us_a_block"] = round(benchmark.stats.stats.median / landed * 1e6, 2)

    def test_sealed(self, new_cache, blocks):
        cache = new_cache(blocks * BLOCK, BLOCK, "span")
        landed = download(cache, blocks)
        assert cache.cached_bytes_and_blocks() == (landed * BLOCK, landed)
        assert cache.complete == (landed == blocks)
