"""Work on threads of our own, awaited on an event loop that it never blocks.

The loop's default executor is not used: it is the user's, and may be full. A thread tells the loop of its
news by ``call_soon_threadsafe``, in order; so what it told before its end has arrived when the end is told.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

from largefile.progress import ProgressLike, as_callback
from largefile.stats import DownloadStats

__all__ = ["NAME", "Worker", "on_loop", "post"]

T = TypeVar("T")

log = logging.getLogger("largefile")

NAME = "largefile-aio"
#: Seconds that a cancelled wait gives the work to stop. It takes one at most, unless a disk hangs.
PATIENCE = 5.0


def post(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: object) -> bool:
    """Have `loop` make a call; False if it is closed, and nobody is there any more."""
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise
        return False
    return True


class Worker(Generic[T]):
    """``work()`` on a thread of its own, for the loop that runs now.

    Examples
    --------
    >>> async def main():
    ...     return await Worker(lambda: threading.current_thread().name).result(lambda: None)
    >>> asyncio.run(main())
    'largefile-aio'
    """

    def __init__(self, work: Callable[[], T], tell: Callable[[], object] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._tell = tell  # called on the loop, once it is over
        self._value: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), name=NAME, daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._value = work()
        except BaseException as error:  # noqa: BLE001 - told to whoever asks for the value
            # What the work has used, a whole window maybe, shall not wait for the collector of cycles.
            traceback.clear_frames(error.__traceback__)
            self._error = error
        del work
        post(self._loop, self._ended)

    def _ended(self) -> None:
        self._over.set_result(None)
        if self._tell is not None:
            self._tell()

    @property
    def is_over(self) -> bool:
        """Whether the work is done; its thread may still be on its way out."""
        return self._over.done()

    def value(self) -> T:
        """What the work gave, or raise what it raised; only when it is over."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    async def result(self, stop: Callable[[], object], patience: float = PATIENCE) -> T:
        """Wait for the value. If that is cancelled, so is the work, by `stop`, and its end is waited for."""
        try:
            await asyncio.wait([self._over])
        except asyncio.CancelledError:
            stop()
            await self.end(patience)
            raise
        except BaseException:
            stop()  # the loop is gone
            raise
        await self.end()
        return self.value()

    async def end(self, patience: float = PATIENCE) -> None:
        """Wait for the thread's end, which is near. A cancellation meanwhile is let through after it."""
        cancelled, until = None, self._loop.time() + patience
        while self._thread.is_alive() and (left := until - self._loop.time()) > 0:
            try:
                if self.is_over:
                    await asyncio.sleep(0)  # `join` would wait for the interpreter's lock, twice
                else:
                    await asyncio.wait([self._over], timeout=left)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled


class _OnLoop:
    """Calls `tell` on the loop with what other threads call it with; a busy loop gets the newest only."""

    def __init__(self, tell: Callable[[DownloadStats], object]) -> None:
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._newest: DownloadStats | None = None  # posted and not told yet
        self._failed = False

    def __call__(self, stats: DownloadStats) -> None:
        with self._lock:
            posted, self._newest = self._newest is not None, stats
        if not posted:
            post(self._loop, self._context.run, self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            stats, self._newest = self._newest, None
        try:
            if stats is not None:
                self._tell(stats)
        except Exception:
            if not self._failed:
                log.exception("the progress callback failed; the download goes on")
            self._failed = True


def on_loop(progress: ProgressLike) -> ProgressLike:
    """The same ``progress=``, but for code of the caller's, which is called on the loop that runs now.

    Raises
    ------
    TypeError
        As `as_callback`.
    """
    if progress is None or isinstance(progress, bool):
        return progress  # our own bar may wait for its terminal
    callback = as_callback(progress)
    return _OnLoop(callback) if callback is not None else None
