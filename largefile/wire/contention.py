"""Notices that other threads of this process keep the interpreter from the transfers, and says so once.

A thread that computes in Python gives the interpreter away every 5 ms at most, so who needs it for each piece
of a body waits 5 ms for each. That is a download many times slower, for which no network is to blame. A
machine that is busy with other processes makes threads wait as well, but for a processor: the kernel counts
that time, and it is taken off. Where it is not counted nothing is said.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable

__all__ = ["Contention", "interpreter_delay"]

log = logging.getLogger("largefile")

#: Seconds between two looks, and how many bad ones in a row are told.
LOOK = 0.5
ENOUGH = 6
#: Who waits for the network for more than this part of the time is kept by nobody.
IDLE = 0.5
#: Seconds for which a look lets go of the interpreter.
REST = 0.001

_told = itertools.count()


class Contention:
    """Told by a driver how long it has waited for its sockets; looks now and then, and warns.

    Parameters
    ----------
    now : float
        By the clock of `polled`.
    delay : callable
        Gives seconds; see `interpreter_delay`.
    """

    __slots__ = ("_bad", "_delay", "_since", "_waited")

    def __init__(self, now: float, delay: Callable[[], float] | None = None) -> None:
        self._delay = delay or interpreter_delay
        self._since = now
        self._waited = 0.0
        self._bad = 0

    def polled(self, before: float, now: float) -> None:
        """The driver had nothing to do from then to now."""
        self._waited += now - before
        if now - self._since >= LOOK:
            self._look(now)

    def _look(self, now: float) -> None:
        idle = self._waited / (now - self._since)
        self._since, self._waited = now, 0.0
        if self._bad >= ENOUGH:
            return  # it has been said
        late = idle < IDLE and self._delay() >= 0.8 * sys.getswitchinterval()
        self._bad = self._bad + 1 if late else 0
        if self._bad == ENOUGH and next(_told) == 0:
            log.warning(
                "other threads of this process hold the interpreter (GIL) most of the time, and the transfers"
                " wait for it; a download to a file may be faster in a process of its own: isolate=True"
            )


def interpreter_delay() -> float:
    """Seconds that this thread, having let go of the interpreter, waits to get it back; 0.0 if unknown."""
    try:
        file = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
    except OSError:
        return 0.0
    try:
        if (queued := run_queue_wait(file)) is None:
            return 0.0
        before = time.monotonic()
        time.sleep(REST)
        took = time.monotonic() - before
        return took - REST - ((run_queue_wait(file) or queued) - queued)
    finally:
        os.close(file)


def run_queue_wait(schedstat: int) -> float | None:
    """Seconds that a thread was ready to run, and no processor was free; None if nobody counts them."""
    ran, waited, _ = os.pread(schedstat, 100, 0).split()
    return int(waited) / 1e9 if int(ran) else None
