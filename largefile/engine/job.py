"""A piece of work on its own thread: cancel it from anywhere, wait for it, look at it meanwhile."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from largefile.errors import CancelledError, DeadlineError, InternalError, LargeFileError
from largefile.stats import DownloadStats

__all__ = ["Control", "Job"]

T = TypeVar("T")


class Control:
    """Whether the work should stop, why, and who has to be told.

    Examples
    --------
    >>> control = Control()
    >>> control.cancelled()
    False
    >>> control.on_cancel(lambda: print("stopping"))
    >>> control.cancel()
    stopping
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: LargeFileError | None = None
        self._told: list[Callable[[], None]] = []
        self._timer: threading.Timer | None = None
        #: When the work is cancelled for taking too long, on the clock of `time.monotonic`.
        self.deadline = math.inf
        #: Whom the work waits for before it can begin, in words; None if it does not, or never had to.
        self.waiting_for: str | None = None
        #: How full each of so many parts of the content is; set by whoever has the blocks.
        self.block_map: Callable[[int], list[float]] = lambda cells: [0.0] * cells

    def cancelled(self) -> bool:
        return self._reason is not None

    @property
    def reason(self) -> LargeFileError | None:
        """The error that ends the work."""
        return self._reason

    def cancel(self, reason: LargeFileError | None = None) -> None:
        """Stop soon. The first reason counts; from any thread, any number of times."""
        with self._lock:
            if self._reason is None:
                self._reason = reason or CancelledError("the download was cancelled; what is there is kept")
            told = list(self._told)
        for tell in told:
            tell()

    def on_cancel(self, tell: Callable[[], None]) -> None:
        """Call `tell` when the work is cancelled; at once if it is already."""
        with self._lock:
            self._told.append(tell)
            now = self._reason is not None
        if now:
            tell()

    @classmethod
    def under(cls, outer: Control | None) -> Control:
        """One that is cancelled with `outer`, and not the other way round."""
        control = cls()
        if outer is not None:
            control.deadline = outer.deadline
            outer.on_cancel(lambda: control.cancel(outer.reason))
        return control

    def set_deadline(self, seconds: float | None) -> None:
        """Cancel the work `seconds` from now; None: never."""
        if seconds is not None:
            error = DeadlineError(f"not finished within its deadline of {seconds:g} s")
            self.deadline = time.monotonic() + seconds
            self._timer = threading.Timer(seconds, self.cancel, [error])
            self._timer.daemon = True
            self._timer.start()

    def check(self) -> None:
        """Raise the reason, if the work is cancelled."""
        if self._reason is not None:
            raise self._reason

    def finish(self) -> None:
        """The work is over: no deadline any more."""
        if self._timer is not None:
            self._timer.cancel()


class Job(Generic[T]):
    """A handle on work that runs in the background.

    The caller's thread only ever waits here, so a KeyboardInterrupt never strikes in the middle of the
    work: `result` cancels it, lets it put its things in order, and raises it again.
    """

    def __init__(self, work: Callable[[], T], control: Control, stats: Callable[[], DownloadStats]) -> None:
        self._work = work
        self._control = control
        self._stats = stats
        self._value: T | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="largefile-engine", daemon=True)
        self._thread.start()
        _jobs.add(self)

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for the result
            self._error = error
        finally:
            self._control.finish()
            self._done.set()

    @property
    def done(self) -> bool:
        """Whether it is over, well or not."""
        return self._done.is_set()

    @property
    def waiting_for(self) -> str | None:
        """What it waits for, or has waited for, before it began; None: nothing."""
        return self._control.waiting_for

    def stats(self) -> DownloadStats:
        """How far it is, now."""
        return self._stats()

    def block_map(self, cells: int) -> list[float]:
        """How much of each of `cells` equal parts of the content is in place, from 0.0 to 1.0."""
        return self._control.block_map(cells)

    def cancel(self) -> None:
        """Stop within a second and keep what is in place; `result` then raises `CancelledError`."""
        self._control.cancel()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the end, and give what the work gave or raise what it raised.

        Raises
        ------
        TimeoutError
            If it is not over after `timeout` seconds. It goes on.
        """
        try:
            if not self._done.wait(timeout):
                raise TimeoutError(f"not over after {timeout} s")
        except KeyboardInterrupt:
            self._control.cancel()
            self._done.wait(5.0)
            raise
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


_jobs: weakref.WeakSet[Job[Any]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """The threads are the parent's: in the child a job that was under way is over, and says so."""
    for job in _jobs:
        if not job.done:
            job._error = InternalError("this download belongs to the parent process; start one of your own")
            job._done = threading.Event()
            job._done.set()
    _jobs.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
