"""Which blocks go together into the next request, when nothing is fetched that no reader asked for.

Every block is in one of these sets (and from anywhere, it may become present):

    idle -> demanded (parked) <-> in flight
    idle <- given up, from both

The clear bits of `_taken` are the *idle* blocks here: neither present, nor in flight, nor parked. A
demand parks runs of them, and giving up clears their bits again. Nothing else begins a fetch, but a
server without ranges sends everything whatever was asked for: then the whole content is one run, which
goes when any block of it is demanded.

Demanded runs keep the dates of their demands, so that the first come is the first served. A span that is
short for its share goes on over the runs behind it: who reads forward asks in small steps, and is
answered in large ones.
"""

from __future__ import annotations

from dataclasses import replace

from largefile.core.bitmap import Bitmap
from largefile.rules.parked import Run, Waiting
from largefile.rules.spans import SpanPlan

__all__ = ["DemandPlan"]


class DemandPlan(SpanPlan):
    """Hand out runs of demanded blocks; see `SpanPlan` for what both kinds do.

    Parameters
    ----------
    present : Bitmap
        Blocks in place; the caller's own, only read.
    max_blocks, min_blocks : int
        A run is cut no longer, and no shorter if so much is demanded in a row; the first goes before.

    Examples
    --------
    >>> plan = DemandPlan(Bitmap(100), max_blocks=16)
    >>> plan.take(0.0, shares=8, idle=True)
    >>> plan.demand(40, 80, 0.0), plan.demand(50, 60, 0.0)
    (True, False)
    >>> plan.take(0.0, shares=8, idle=True)
    Run(first=40, stop=45, attempt=0, passes=0, again=False)
    """

    def __init__(self, present: Bitmap, *, max_blocks: int, min_blocks: int = 1) -> None:
        super().__init__(present, max_blocks=max_blocks, min_blocks=min_blocks)

    @property
    def exhausted(self) -> bool:
        """Nothing is left to hand out before the next demand."""
        return not self._parked

    @property
    def complete(self) -> bool:
        """Every block is present."""
        return self._present.find_clear() is None

    def demand(self, first: int, stop: int, now: float) -> bool:
        """Have the idle ones of these blocks fetched; False if there are none."""
        runs = self._idle(first, stop)
        if runs and self.whole:
            runs = [(0, self.num_blocks)]
        for start, end in runs:
            self.landed(start, end)  # not idle any more
            self.park(Run(start, end), now)
        return bool(runs)

    def _idle(self, first: int, stop: int) -> list[tuple[int, int]]:
        found = []
        start = self._taken.find_clear(first, stop)
        while start is not None:
            end = self._taken.find_set(start, stop)
            found += self.missing(start, stop if end is None else end)
            start = None if end is None else self._taken.find_clear(end, stop)
        return found

    def give_up(self, run: Run) -> list[tuple[int, int]]:
        """Make what is missing of a run idle again, as if it had never been asked for; say what that is."""
        missing = self.missing(run.first, run.stop)
        for first, stop in missing:
            self._free += self._taken.count(first, stop)
            self._taken.clear_run(first, stop)
        return missing

    def give_up_parked(self) -> list[tuple[int, int]]:
        """The same with everything that waits."""
        runs = [run for _, run in self._parked]
        self._parked.clear()
        return [missing for run in runs for missing in self.give_up(run)]

    def want(self, block: int) -> None:
        """Hand this block out before any other, if it was demanded."""
        if self._taken[block]:
            super().want(block)

    # --- handing out -----------------------------------------------------------------------------

    def _choose(self, now: float, shares: int, idle: bool, fresh_first: bool) -> Run | None:
        size = self._size(self._parked.num_blocks, shares)
        for fresh in (True, False) if fresh_first else (False,):
            while (found := self._next(now, fresh)) is not None:
                run = self._gather(*found, size, now)
                if run is not None:
                    return run
        return None

    def _next(self, now: float, fresh: bool) -> tuple[Waiting, int] | None:
        """The run to cut from, and where; `fresh`: only one that never failed."""
        wished = self._next_wished(now, fresh)
        if wished is not None:
            return wished
        for waiting in self._parked:
            if waiting.not_before > now:
                break
            if not (fresh and waiting.run.attempt):
                return waiting, waiting.run.first
        return None

    def _next_wished(self, now: float, fresh: bool) -> tuple[Waiting, int] | None:
        found, over = None, []
        for block in self._wanted:
            # A wish holds until its block is there: a failed transfer must not send its reader to the end.
            if self._present[block] or not self._taken[block]:
                over.append(block)
                continue
            waiting = self._parked.at(block)
            if waiting is not None and waiting.not_before <= now and not (fresh and waiting.run.attempt):
                found = waiting, block
                break
        for block in over:
            del self._wanted[block]
        return found

    def _gather(self, waiting: Waiting, first: int, size: int, now: float) -> Run | None:
        """Cut a span that goes on over the runs behind it while it is too short."""
        run = self._split(waiting, first, size)
        while run is not None and _is_new(run) and run.stop - run.first < size:
            after = self._parked.at(run.stop) if run.stop < self.num_blocks else None
            if after is None or after.not_before > now or not _is_new(after.run) or self._present[run.stop]:
                break
            more = self._split(after, run.stop, size - (run.stop - run.first))
            run = run if more is None else replace(run, stop=more.stop)
        return run


def _is_new(run: Run) -> bool:
    """It has no history, so that it may be joined with others."""
    return not (run.attempt or run.passes or run.again)
