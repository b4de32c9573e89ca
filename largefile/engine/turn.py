"""Waiting until the process that writes a download has come to its end, whichever that is."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from largefile.disk.fileops import REAL, FileOps
from largefile.disk.files import LocalFile
from largefile.disk.header import Header
from largefile.disk.locks import is_named
from largefile.disk.opening import peek
from largefile.engine.job import Control
from largefile.errors import CacheBusyError, CacheError

__all__ = ["Rival", "check_wait", "in_turn"]

T = TypeVar("T")

#: Seconds between two tries to get the lock: few at first, as who has just begun may have no file yet that
#: could be known again, then twice as many each time. No system tells that a lock was let go of.
SHORT, LONG = 0.005, 0.25
#: Seconds that are as good as no end.
FOREVER = 1e9


def check_wait(wait: float | bool | None) -> float:
    """Seconds to wait for: 0 is not at all, True is without an end; else ValueError.

    Examples
    --------
    >>> check_wait(True), check_wait(False), check_wait(None), check_wait(2.5)
    (inf, 0.0, 0.0, 2.5)
    """
    if wait is None or isinstance(wait, bool):
        return math.inf if wait else 0.0
    if not isinstance(wait, (int, float)) or not wait >= 0:
        raise ValueError(f"wait is {wait!r}, needed is True, False, or a number of seconds")
    return float(wait) if wait < FOREVER else math.inf


def in_turn(work: Callable[[], T], control: Control, seconds: float, busy: Callable[[], object]) -> T:
    """Do `work`, and again for as long as somebody else is at it; what it gives.

    Parameters
    ----------
    work
        Raises CacheBusyError while it is not its turn.
    control
        Ends the waiting with its reason, and is told what is waited for.
    seconds : float
        After which the CacheBusyError is raised.
    busy
        Called before each pause.
    """
    until = time.monotonic() + seconds
    woken, delay = threading.Event(), SHORT
    while True:
        try:
            return work()
        except CacheBusyError as error:
            left = until - time.monotonic()
            if left <= 0:
                raise
            if control.waiting_for is None:
                control.on_cancel(woken.set)
            control.waiting_for = str(error)
            busy()
        woken.wait(min(delay, left))
        delay = min(2 * delay, LONG)
        control.check()


class Rival:
    """The partial file that somebody else writes, held open, so that it is known again under another name."""

    def __init__(self, part: str, index: str, ops: FileOps = REAL) -> None:
        self._part = part
        self._index = index
        self._ops = ops
        self._file: LocalFile | None = None
        self._header: Header | None = None

    def look(self) -> None:
        """Note what there is now: it may have been begun anew."""
        with contextlib.suppress(CacheError):  # it comes or goes at this moment
            header = peek(self._index, ops=self._ops)
            file = LocalFile.open(self._part, self._ops, writable=False)
            self.close()
            self._file, self._header = file, header

    def made(self, path: str) -> Header | None:
        """What is known of the file at `path`, if it is the one that was seen being written."""
        if self._file is None or self._header is None:
            return None
        found = self._file.stat()
        same = is_named(path, found, self._ops) and found.st_size == self._header.content_size
        return self._header if same else None

    def close(self) -> None:
        """Let go of it; it may be gone already, and takes its room until then."""
        if self._file is not None:
            self._file.close()
            self._file = None
