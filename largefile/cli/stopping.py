"""Being told to stop: SIGINT and SIGTERM, which may come at any moment, and more than once.

A handler that raises may strike while a lock is given back, and leave it broken for good. So it raises at
most once in a process, and never (`Signals.hush`) while there is a job, which can be cancelled instead, or
after the end of the command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from largefile.errors import CancelledError

if TYPE_CHECKING:
    from largefile.engine.job import Job

__all__ = ["SIGNALS", "Signals", "awaited"]

T = TypeVar("T")

INTERRUPTED = 130
#: Seconds between two looks at whether a signal has come.
LOOK = 0.1
#: Seconds for a cancelled job to put its things in order; without that the files are safe too.
PATIENCE = 10.0


class Signals:
    """SIGINT and SIGTERM, counted: the first is obeyed, the second ignored, the third ends the process."""

    def __init__(self) -> None:
        self.count = 0
        self._raises = True

    def install(self) -> None:
        """Be the handler of both. One that is ignored, as in a shell's background, stays so."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                with contextlib.suppress(ValueError):  # only the main thread may
                    signal.signal(number, self._come)

    def hush(self) -> None:
        """Raise nothing from now on: look at `count` instead."""
        self._raises = False

    def _come(self, number: int, frame: types.FrameType | None) -> None:
        self.count += 1
        if self.count >= 3:
            end_at_once()
        if self.count == 1 and self._raises:
            raise KeyboardInterrupt


#: Those of this process. Whoever calls a command without `main` keeps its own handlers.
SIGNALS = Signals()


def end_at_once() -> None:
    """No message and no order; only a terminal gets the cursor back that a bar may have hidden."""
    if os.isatty(2):
        with contextlib.suppress(OSError):
            os.write(2, b"\x1b[?25h\n")
    os._exit(INTERRUPTED)


def awaited(job: Job[T], signals: Signals = SIGNALS, look: Callable[[], object] = lambda: None) -> T:
    """What the job gives, even if a signal comes: then it is cancelled, and this is how it has ended.

    `look` is called now and then meanwhile.

    Raises
    ------
    CancelledError
        After a signal, unless that came too late to change the end.
    """
    try:
        wait(job, signals, look)
        return job.result()
    except CancelledError as found:
        error = CancelledError("interrupted")
        error.status = found.status
        raise error from None


def wait(job: Job[T], signals: Signals, look: Callable[[], object]) -> None:
    """Until the job is over, or `PATIENCE` is."""
    late: float | None = None
    while not job.done:
        if signals.count and late is None:
            late = time.monotonic() + PATIENCE
            job.cancel()
        if late is not None and time.monotonic() > late:
            raise CancelledError("interrupted")
        # A TimeoutError may be the job's own: `done` tells.
        with contextlib.suppress(TimeoutError):
            job.result(timeout=LOOK)
        look()
