"""File operations that end their process in the middle, or that lock nothing."""

from __future__ import annotations

import itertools
import os
import signal
from typing import Any

from largefile.testing.disk.seam import Call, Watched

__all__ = ["Mortal"]

LOCKING = frozenset({"lock_ofd", "unlock_ofd", "flock"})


class Mortal(Watched):
    """Operations that kill this process, as ``kill -9`` does, in the place of one of them.

    Parameters
    ----------
    crash_at : int, optional
        The operation that is not done any more, counted from 0; None: none.
    locks : bool
        False: who asks for a lock gets it, whoever else has it.

    Attributes
    ----------
    count : int
        Operations so far, of all threads.
    """

    def __init__(self, crash_at: int | None = None, *, locks: bool = True) -> None:
        self._crash_at = crash_at
        self._locks = locks
        self._numbers = itertools.count()  # C, so that two threads never get the same
        self.count = 0

    def perform(self, call: Call) -> Any:
        """Do `call`, unless this is where it ends."""
        number = next(self._numbers)
        if number == self._crash_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count = number + 1
        if not self._locks:
            if call.name in LOCKING:
                return None
            if call.name == "locked_ofd":
                return False
        return call()
