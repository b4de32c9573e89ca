"""Notices that other threads of this process keep the interpreter from the transfers, and says so once.

A thread that computes in Python gives the interpreter away every 5 ms at most, so who needs it for each piece
of a body waits again and again. That is a download many times slower, for which no network is to blame. A
machine that is busy with other processes makes threads wait as well, but for a processor: the kernel counts
that time, and it is taken off. What is left may also be a slow disk, so it is tried now and then whether the
interpreter comes back late. Where the kernel does not count nothing is said.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from largefile.log import log

__all__ = ["Contention", "interpreter_delay"]

#: Seconds between two looks, and how many more bad ones than good ones are told.
LOOK = 0.5
ENOUGH = 4
#: A look is bad if a thread was blocked for so much of the time in which it did not wait for a processor …
BLOCKED = 0.5
#: … and for so much of all of it.
WORTH_IT = 0.1
#: So often the interpreter must have come back late.
LATE = 2
#: Seconds for which a trial lets go of it.
REST = 0.001

_told = itertools.count()


class Turns(NamedTuple):
    """Seconds that a thread has had a processor, and that it was ready and none was free."""

    thread: int
    ran: float
    queued: float


class Contention:
    """Told by a driver how long it has waited for its sockets; looks now and then, and warns.

    Parameters
    ----------
    now : float
        By the clock of `polled`.
    turns, delay : callable
        See `turns_of_this_thread` and `interpreter_delay`.
    """

    __slots__ = ("_bad", "_before", "_delay", "_late", "_since", "_turns", "_waited")

    def __init__(
        self,
        now: float,
        turns: Callable[[], Turns | None] | None = None,
        delay: Callable[[], float] | None = None,
    ) -> None:
        self._turns = turns or turns_of_this_thread
        self._delay = delay or interpreter_delay
        self._since = now
        self._waited = 0.0
        self._before: Turns | None = None
        self._bad = self._late = 0

    def polled(self, before: float, now: float) -> None:
        """The driver had nothing to do from then to now."""
        self._waited += now - before
        if now - self._since >= LOOK:
            self._look(now)

    def _look(self, now: float) -> None:
        turns, before, span = self._turns(), self._before, now - self._since
        idle, self._waited, self._since, self._before = self._waited, 0.0, now, turns
        if turns is None or before is None or turns.thread != before.thread:
            return
        free = span - (turns.queued - before.queued)
        blocked = free - idle - (turns.ran - before.ran)
        if blocked < max(BLOCKED * free, WORTH_IT * span):
            self._bad = max(0, self._bad - 1)
            return
        self._bad += 1
        self._late += self._delay() >= 0.8 * sys.getswitchinterval()
        if self._bad >= ENOUGH and self._late >= LATE:
            self._bad = self._late = 0
            tell()


def tell() -> None:
    """Say it, if it has not been said by anybody in this process."""
    if next(_told) == 0:
        log().warning(
            "other threads of this process hold the interpreter (GIL) much of the time, and transfers wait"
            " for it; a download to a file may be faster in a process of its own: isolate=True"
        )


def turns_of_this_thread() -> Turns | None:
    """What the kernel has counted; None if it does not."""
    thread = threading.get_native_id()
    try:
        with open(f"/proc/self/task/{thread}/schedstat", "rb") as file:
            ran, queued, _ = file.read().split()
    except OSError:
        return None
    return Turns(thread, int(ran) / 1e9, int(queued) / 1e9) if int(ran) else None


def interpreter_delay() -> float:
    """Seconds that this thread, having let go of the interpreter, waits to get it back; 0.0 if unknown."""
    if (before := turns_of_this_thread()) is None:
        return 0.0
    began = time.monotonic()
    time.sleep(REST)
    took = time.monotonic() - began
    after = turns_of_this_thread() or before
    return took - REST - (after.queued - before.queued)
