"""Deciding which span goes next, for a whole download, without a network."""

from __future__ import annotations

from collections import deque

import pytest

from largefile.core.bitmap import Bitmap
from largefile.rules.schedule import FINISHED, Scheduler, Start

MIB = 1 << 20
CONCURRENCY = 8
#: The baseline's requests: it knows no better than one size.
FIXED_SPAN = 16


def download(blocks):
    """Start, hear of, land and end every span; how many decisions that took."""
    present = Bitmap(blocks)
    scheduler = Scheduler(present, block_size=MIB, content_size=blocks * MIB, concurrency=CONCURRENCY)
    flying, decisions, now = deque(), 0, 0.0
    while (action := scheduler.next_action(now)) is not FINISHED:
        decisions += 1
        if isinstance(action, Start):
            flying.append(action.span)
            continue
        span = flying.popleft()
        now += 0.01
        scheduler.granted(span, span.stop_block, now)
        scheduler.progress(span, span.num_blocks * MIB, now)
        present.set_run(span.first_block, span.stop_block)
        scheduler.landed(span.first_block, span.stop_block)
        scheduler.ended(span, None, now)
    assert present.find_clear() is None
    return decisions


def plain_download(blocks):
    """A queue of equal spans: no retries, no stalls, no Retry-After, no window."""
    waiting = deque((at, min(at + FIXED_SPAN, blocks)) for at in range(0, blocks, FIXED_SPAN))
    flying, decisions, present = deque(), 0, bytearray(blocks)
    while waiting or flying:
        decisions += 1
        if waiting and len(flying) < CONCURRENCY:
            flying.append(waiting.popleft())
            continue
        first, stop = flying.popleft()
        present[first:stop] = b"\1" * (stop - first)
    assert present.find(0) < 0
    return decisions


@pytest.mark.parametrize("blocks", [1 << 10, 1 << 16])
@pytest.mark.benchmark(group="all decisions of a download")
class TestSchedule:
    """The wait of a connection between two spans, under the lock that all pumps share."""

    def test_scheduler(self, benchmark, blocks):
        decisions = benchmark(download, blocks)
        note(benchmark, decisions)
        assert decisions > blocks // 64

    def test_queue(self, benchmark, blocks):
        decisions = benchmark(plain_download, blocks)
        note(benchmark, decisions)
        assert decisions == 2 * blocks // FIXED_SPAN


def note(benchmark, decisions):
    """The two decide differently often: compare decisions a second."""
    if benchmark.stats is not None:  # None with --benchmark-disable
        median = benchmark.stats.stats.median
        benchmark.extra_info |= {"decisions": decisions, "decisions_per_second": round(decisions / median)}
