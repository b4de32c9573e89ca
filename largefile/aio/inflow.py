"""Blocks on their way to an event loop: one thread reads the `StreamingDownloader`, and hands them over."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from largefile.aio.threads import Worker, on_loop, post
from largefile.engine.job import Control
from largefile.stats import StreamingStatus

if TYPE_CHECKING:
    from largefile.streaming import StreamingDownloader

__all__ = ["Inflow"]

#: Blocks that are handed over and not taken yet, at most.
WAITING = 2


class Inflow:
    """What the thread and the loop share. `run` is the thread's, `stop` is called on the loop."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._url = url
        self._options = options | {"progress": on_loop(options.get("progress"))}
        self._room = threading.Semaphore(WAITING)
        self._stopped = threading.Event()
        self._control = Control()
        self._source: StreamingDownloader | None = None
        self._last: StreamingStatus | None = None
        self._news = asyncio.Event()
        self._blocks: deque[memoryview] = deque()  # the loop's alone
        self.has_begun = False
        self.size: int | None = None
        self.worker = Worker(self.run, self._news.set)

    # --- the thread ------------------------------------------------------------------------------

    def run(self) -> None:
        """Open the stream, hand its blocks over, close it."""
        from largefile.streaming import stream  # slow to import: here, and not on the loop

        with stream(self._url, **self._options, _control=self._control) as source:
            self.size, self._source = source.content_length, source
            try:
                post(self._loop, self._begin)
                self._pour(source)
            finally:
                self._last, self._source = source.status(), None

    def _pour(self, source: StreamingDownloader) -> None:
        while self._room.acquire() and not self._stopped.is_set():
            block = next(source, None)
            if block is None or not post(self._loop, self._arrive, block):
                return
            del block  # its place is the taker's to give back

    # --- the loop --------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.has_begun = True
        self._news.set()

    def _arrive(self, block: memoryview) -> None:
        if self._stopped.is_set():
            return  # posted before the stop: nobody takes it, and it would keep the whole window's memory
        self._blocks.append(block)
        self._news.set()

    async def begun(self) -> None:
        """Wait until the first answer is there; raises what kept it from coming."""
        while not self.has_begun:
            await self._wait()

    async def take(self) -> memoryview | None:
        """The next block; None at the end. Raises what keeps it from coming."""
        while not self._blocks:
            if self.worker.is_over and not self._stopped.is_set():
                await self.worker.end()
                return self.worker.value()
            await self._wait()
        self._room.release()
        return self._blocks.popleft()

    async def _wait(self) -> None:
        """Wait for news."""
        if self._stopped.is_set():
            raise ValueError("the stream is closed")
        if self.worker.is_over:
            self.worker.value()
        self._news.clear()
        await self._news.wait()

    def status(self) -> StreamingStatus:
        """How far it is, or how it ended."""
        try:
            if (source := self._source) is not None:
                return source.status()
        except ValueError:
            pass  # it was closed just now
        if self._last is None:
            raise ValueError("the stream has not begun")
        return self._last

    def stop(self) -> None:
        """Have the thread end within a second."""
        self._stopped.set()
        self._room.release()
        self._blocks.clear()
        self._control.cancel()
        self._news.set()
