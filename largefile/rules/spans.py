"""Which blocks go together into the next request.

Every block is in one of these sets, and moves only to the right or between the two in the middle:

    free -> in flight <-> parked -> given up            (and from anywhere to present)

*Free* blocks were never handed out: the clear bits of `_taken`. No bit of it is ever cleared, so the
search for the next free block never goes back. *Parked* runs came back from a transfer and wait in a
short sorted list for their time. *Given up* runs wait for the next pass over the content, if there is
one. In-flight blocks are known to the scheduler, present ones to the caller's bitmap.

The size of a span is guided self-scheduling: a share of what is left, so that requests are large while
much is left and small at the end, and no connection finishes long after the others. In a window (a ring
of places) the share is one of the window, aligned, so that the ring's places are used in whole spans.

Blocks that are fetched on demand are planned by `largefile.rules.demand`.
"""

from __future__ import annotations

from dataclasses import replace

from largefile.core.bitmap import Bitmap
from largefile.rules.parked import Parked, Run, Waiting

__all__ = ["Run", "SpanPlan"]


class SpanPlan:
    """Hand out runs of missing blocks, each block to one taker at a time.

    Parameters
    ----------
    present : Bitmap
        Blocks in place; the caller's own, only read.
    max_blocks : int
        Longest run, in blocks.
    min_blocks : int
        Without a window, a run is not cut shorter than this; `max_blocks` goes before it.
    window : int or None
        Places in the ring, in blocks: nothing at or beyond ``head + window`` is handed out.
    head : int
        With a window, the first block that the reader still wants.

    Examples
    --------
    >>> plan = SpanPlan(Bitmap(100), max_blocks=16)
    >>> plan.take(0.0, shares=8, idle=True)
    Run(first=0, stop=12, attempt=0, passes=0, again=False)
    """

    def __init__(
        self,
        present: Bitmap,
        *,
        max_blocks: int,
        min_blocks: int = 1,
        window: int | None = None,
        head: int = 0,
    ) -> None:
        self.num_blocks = len(present)
        self.head = head
        self.window = window
        self.given: list[Run] = []
        self.whole = False
        self._present = present
        self._max_blocks = max_blocks
        self._min_blocks = min_blocks
        self._taken = present.copy()
        self._cursor = 0
        self._parked = Parked()
        self._wanted: dict[int, None] = {}  # in the order of the wishes
        if window is not None:
            self._taken.set_run(0, head)
        self._free = self.num_blocks - self._taken.count()

    # --- what is left ----------------------------------------------------------------------------

    @property
    def remaining(self) -> int:
        """Blocks free or parked: neither present, nor in flight, nor given up."""
        return self._free + sum(self.count_missing(run.first, run.stop) for _, run in self._parked)

    @property
    def exhausted(self) -> bool:
        """Nothing is left to hand out, now or later."""
        return not self._free and not self._parked

    @property
    def due(self) -> float | None:
        """When the first parked run may go, None if there is none."""
        first = self._parked.first
        return None if first is None else first.not_before

    @property
    def held_by_window(self) -> bool:
        """Blocks are free, and `take` gave none: they wait for the reader."""
        return self._free > 0 and self.window is not None

    @property
    def window_is_full(self) -> bool:
        """Every block that the window has a place for is present, and more are to come."""
        return self.window is not None and self._present.find_clear(self.head) == self.head + self.window

    @property
    def given_up(self) -> int:
        """Blocks in runs that were given up."""
        return sum(self.count_missing(run.first, run.stop) for run in self.given)

    def missing(self, first: int, stop: int) -> list[tuple[int, int]]:
        """The runs of blocks in [first, stop) that are not present and still wanted."""
        found = []
        if self.window is not None:
            first = max(first, self.head)
        start = self._present.find_clear(first, stop)
        while start is not None:
            end = self._present.find_set(start, stop)
            found.append((start, stop if end is None else end))
            start = None if end is None else self._present.find_clear(end, stop)
        return found

    def count_missing(self, first: int, stop: int) -> int:
        """How many blocks in [first, stop) are not present and still wanted."""
        if self.window is not None:
            first = max(first, self.head)
        return max(0, stop - first - self._present.count(first, stop))

    # --- handing out -----------------------------------------------------------------------------

    def take(self, now: float, *, shares: int, idle: bool, fresh_first: bool = False) -> Run | None:
        """Hand out the next run, or None if nothing may go now.

        `shares` divides what is left into spans; `idle` says that nothing is in flight, which lets a
        span start that does not fit into the window as a whole. `fresh_first` prefers blocks that never
        failed. A reader's wish comes before both.
        """
        if self.whole:
            return self._take_whole(now) if idle else None
        return self._choose(now, shares, idle, fresh_first)

    def _choose(self, now: float, shares: int, idle: bool, fresh_first: bool) -> Run | None:
        wish = self._take_wanted(now, shares, idle)
        if wish is not None:
            return wish
        if fresh_first:
            return self._take_fresh(shares, idle) or self._take_parked(now, shares)
        return self._take_parked(now, shares) or self._take_fresh(shares, idle)

    def claim(self, first: int, stop: int) -> Run:
        """Hand out the free blocks from `first` on, for a transfer that is already under way."""
        if (first, stop) == (0, self.num_blocks) and not self.whole and self._taken[0]:
            return self._hand_out(0, stop)  # only a whole body is answered to blocks that we have
        limit = min(stop, self._limit())
        if not 0 <= first < limit or self._taken[first]:
            raise ValueError(
                f"no block of [{first}, {stop}) may start: the first must be free, and below {limit}"
            )
        gap = self._taken.find_set(first, limit)
        return self._hand_out(first, self._ring_end(first, limit if gap is None else gap))

    def _take_whole(self, now: float) -> Run | None:
        if not self.count_missing(0, self.num_blocks):
            self._parked.clear()  # transfers that were stopped for it have brought the last of it
        first = self._parked.first
        if first is None or first.not_before > now:
            return None
        self._parked.remove(first)
        return first.run

    def _take_wanted(self, now: float, shares: int, idle: bool) -> Run | None:
        for block in tuple(self._wanted):
            if not self._taken[block]:
                run = self._cut_fresh(block, shares, idle)
            elif (waiting := self._parked.at(block)) is None:
                del self._wanted[block]  # present, in flight or given up: nothing to hurry
                continue
            else:
                run = self._cut_parked(waiting, block, shares) if waiting.not_before <= now else None
            if run is not None:
                del self._wanted[block]
                return run
        return None

    def _take_fresh(self, shares: int, idle: bool) -> Run | None:
        found = self._taken.find_clear(self._cursor) if self._free else None
        if found is None:
            return None
        self._cursor = found
        return self._cut_fresh(found, shares, idle)

    def _cut_fresh(self, first: int, shares: int, idle: bool) -> Run | None:
        stop = self._cut(first, self.num_blocks, self._size(self.remaining, shares))
        gap = self._taken.find_set(first, stop)
        stop = stop if gap is None else gap
        limit = self._limit()
        if stop > limit:
            # A short span at the window's end would be followed by short spans for ever after.
            if not idle or first >= limit:
                return None
            stop = limit
        return self._hand_out(first, stop)

    def _hand_out(self, first: int, stop: int) -> Run:
        self.landed(first, stop)
        return Run(first, stop)

    def _take_parked(self, now: float, shares: int) -> Run | None:
        while (waiting := self._parked.first) is not None and waiting.not_before <= now:
            run = self._cut_parked(waiting, waiting.run.first, shares)
            if run is not None:
                return run
        return None

    def _cut_parked(self, waiting: Waiting, first: int, shares: int) -> Run | None:
        # A run that came back does not count for its own size: it goes again in smaller pieces.
        left = self.remaining - self.count_missing(first, waiting.run.stop)
        return self._split(waiting, first, self._size(left, shares))

    def _split(self, waiting: Waiting, first: int, size: int) -> Run | None:
        """Hand out a piece of a parked run from `first` on; the rest stays. None: all are present."""
        not_before, run = waiting
        self._parked.remove(waiting)
        if first > run.first:
            self.park(replace(run, stop=first, again=False), not_before)
        missing = self.missing(first, run.stop)
        if not missing:
            return None
        start, gap = missing[0]
        stop = self._cut(start, gap, size)
        for rest_first, rest_stop in [(stop, gap), *missing[1:]]:
            if rest_first < rest_stop:
                self.park(replace(run, first=rest_first, stop=rest_stop, again=False), not_before)
        return replace(run, first=start, stop=stop)

    def _size(self, left: int, shares: int) -> int:
        """How many blocks a span should have: its share of the `left` ones, or of the window."""
        share = left // shares if self.window is None else self.window // shares
        least = self._min_blocks if self.window is None else 1
        return min(max(share, least), self._max_blocks)

    def _cut(self, first: int, stop: int, size: int) -> int:
        if self.window is None:
            return min(stop, first + size)
        return self._ring_end(first, min(stop, first - first % size + size))

    def _ring_end(self, first: int, stop: int) -> int:
        return stop if self.window is None else min(stop, first - first % self.window + self.window)

    def _limit(self) -> int:
        return self.num_blocks if self.window is None else min(self.num_blocks, self.head + self.window)

    # --- what comes back, and what the reader does -----------------------------------------------

    def park(self, run: Run, not_before: float) -> None:
        """Take back blocks of a transfer; they may go again at `not_before`.

        A whole content is one run, whatever part of it comes back, and the latest date holds.
        """
        if self.whole:
            run = replace(run, first=0, stop=self.num_blocks)
            if (other := self._parked.first) is not None:
                if other.not_before >= not_before:
                    return
                self._parked.remove(other)
        self._parked.add(run, not_before)

    def landed(self, first: int, stop: int) -> None:
        """These blocks are not free (any more)."""
        new = stop - first - self._taken.count(first, stop)
        if new:
            self._taken.set_run(first, stop)
            self._free -= new

    def become_whole(self) -> None:
        """From now on there is one run, the whole content, and it is in flight."""
        self._taken.set_run(0, self.num_blocks)
        self._free = 0
        self.whole = True
        self._parked.clear()
        self._wanted.clear()
        self.given.clear()

    def revive(self, not_before: float) -> None:
        """What was given up may be tried again, as if it had never failed."""
        for run in self.given:
            self.park(replace(run, attempt=0, passes=0), not_before)
        self.given.clear()

    def want(self, block: int) -> None:
        """Hand this block out before any other."""
        if not self.whole and not self._present[block]:
            self._wanted[block] = None
