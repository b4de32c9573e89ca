"""A small world to drive a scheduler in: faults, a server that answers in one step, and shorthands."""

from __future__ import annotations

import random

from largefile.core.bitmap import Bitmap
from largefile.errors import NetworkError, NotFoundError, ThrottledError
from largefile.rules.schedule import FINISHED, Fault, Scheduler, Start, Stop, Wait

RESET = Fault(NetworkError("reset"))
BUSY = Fault(ThrottledError("503"), pushback=True)
LATER = Fault(ThrottledError("429"), pushback=True, retry_after=7.0)
MOVED = Fault(NetworkError("redirect"), blameless=True)
BAD_RANGE = Fault(NetworkError("500 for this range"), retryable=False)
GONE = Fault(NotFoundError("404"), retryable=False, fatal=True)


def scheduler_for(blocks, present=(), block_size=10, **options):
    """A scheduler and its bitmap; the last block is one byte."""
    bitmap = Bitmap(blocks)
    for block in present:
        bitmap.set(block)
    size = max(0, (blocks - 1) * block_size + 1)
    options = {"concurrency": 4, **options}
    return Scheduler(bitmap, block_size=block_size, content_size=size, **options), bitmap


def blocks_of(span):
    return range(span.first_block, span.stop_block)


def starts(scheduler, now=0.0):
    """Every span that may start now, and the answer after them."""
    spans = []
    while isinstance(action := scheduler.next_action(now), Start):
        spans.append(action.span)
    return spans, action


def land(scheduler, bitmap, first, stop):
    bitmap.set_run(first, stop)
    return scheduler.landed(first, stop)


class Server:
    """A simple world to drive a scheduler in: `answer(span)` says how many blocks land and how it ends."""

    def __init__(self, scheduler, bitmap, answer, seed=0):
        self.scheduler, self.bitmap, self.answer = scheduler, bitmap, answer
        self.rng = random.Random(seed)
        self.now = 0.0
        self.flying = []
        self.asked = []

    def run(self, limit=20_000):
        for _ in range(limit):
            action = self.scheduler.next_action(self.now)
            if self.is_over(action):
                return self
            if isinstance(action, Start):
                self.asked.append((self.now, *blocks_of(action.span)))
                self.flying.append(action.span)
            elif isinstance(action, Stop):
                self.end(action.span, RESET, 0)
            else:
                self.wait(action)
        raise AssertionError("no end")

    def is_over(self, action):
        return action is FINISHED

    def wait(self, action):
        if self.flying:
            span = self.rng.choice(self.flying)
            landed, fault = self.answer(span)
            self.now += 0.01
            self.end(span, fault, landed)
            head = self.bitmap.find_clear()
            self.scheduler.consumed(len(self.bitmap) if head is None else head)
        else:
            assert action.until is not None
            assert action.until > self.now
            self.now = action.until

    def end(self, span, fault, landed):
        self.flying.remove(span)
        missing = [block for block in blocks_of(span) if not self.bitmap[block]][:landed]
        for block in missing:
            land(self.scheduler, self.bitmap, block, block + 1)
        self.scheduler.ended(span, fault, self.now)


class DemandServer(Server):
    """The same, for a scheduler on demand: `run` ends when only a reader can go on."""

    def is_over(self, action):
        return action is FINISHED or (not self.flying and action == Wait(None, for_reader=True))

    def demand(self, first, stop):
        return self.scheduler.demand(first, stop, self.now)


def refused_blocks(scheduler):
    """Every block that was refused since the last call, once for each time."""
    return [block for run in scheduler.take_refused() for block in range(run.first_block, run.stop_block)]


def all_of(span):
    return span.num_blocks, None
