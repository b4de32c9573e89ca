"""A stream for an event loop: blocks that are awaited, and reads made of them."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from largefile.aio.inflow import Inflow
from largefile.aio.threads import Worker
from largefile.rules.redirects import check_url, display_url
from largefile.stats import StreamingStatus

__all__ = ["Stream"]

#: Most bytes that are copied without giving the loop a turn.
PIECE = 1 << 20


class Stream:
    """What `largefile.aio.stream` gives: an async iterator of blocks, and an async context manager.

    It begins when it is entered, iterated or read first. One task at a time reads.
    """

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._url = url
        self._options = options
        self._inflow: Inflow | None = None
        self._rests: deque[memoryview] = deque()  # what is left of blocks that `read` has begun
        self._entered = False
        self._failed = False
        self._closed = False

    # --- questions -------------------------------------------------------------------------------

    @property
    def content_length(self) -> int | None:
        """Bytes of the whole content; None where the source does not say. ValueError before it has begun."""
        if self._inflow is None or not self._inflow.has_begun:
            raise ValueError("the stream has not begun")
        return self._inflow.size

    def status(self) -> StreamingStatus:
        """How far it is, or how it ended. ValueError before it has begun."""
        if self._inflow is None:
            raise ValueError("the stream has not begun")
        return self._inflow.status()

    # --- reading ---------------------------------------------------------------------------------

    async def read(self, size: int | None = -1) -> bytes:
        """`size` bytes, fewer only at the end; all that is left for None or less than 0.

        One that meets a failure raises it, and so does every one after it; iteration gives all that is in
        order before the failure first. What a cancelled read had taken already is given by the next one.
        """
        if self._failed and size != 0:
            self._running().worker.value()
        pieces: list[bytes] = []
        try:
            await self._collect(pieces, sys.maxsize if size is None or size < 0 else size)
            return await _joined(pieces)
        except BaseException:
            self._put_back(pieces)
            raise

    def __aiter__(self) -> AsyncIterator[memoryview]:
        return self if self._entered else _Alone(self)

    async def __anext__(self) -> memoryview:
        if await self._more() is None:
            raise StopAsyncIteration
        return self._rests.popleft()

    async def _collect(self, pieces: list[bytes], left: int) -> None:
        """Copy the next `left` bytes, piece by piece, so that nobody else's turn is late."""
        while left > 0 and (rest := await self._more()) is not None:
            piece = bytes(rest[: min(left, PIECE)])
            pieces.append(piece)
            left -= len(piece)
            self._skip(len(piece))
            del rest  # its place is not to be kept while the next block is waited for
            await asyncio.sleep(0)

    def _put_back(self, pieces: list[bytes]) -> None:
        """Have the next one take them again."""
        if not self._closed:
            # A snapshot: the thread of a join that nobody waits for any more may still swap them.
            self._rests.extendleft(memoryview(piece) for piece in reversed(tuple(pieces)))
        pieces.clear()  # the error's traceback keeps the list

    async def _more(self) -> memoryview | None:
        """What is left of the present block, or the next one; None at the end."""
        if not self._rests:
            inflow = self._running()
            try:
                block = await inflow.take()
            except Exception:
                self._failed = True
                raise
            if block is None:
                return None
            self._rests.append(block)
        return self._rests[0]

    def _skip(self, size: int) -> None:
        """Be done with so many bytes; a view that is used up would keep its place in the window."""
        rest = self._rests.popleft()
        if size < len(rest):
            self._rests.appendleft(rest[size:])

    def _running(self) -> Inflow:
        if self._closed:
            raise ValueError("the stream is closed")
        if self._inflow is None:
            self._inflow = Inflow(self._url, self._options)
        return self._inflow

    # --- from the beginning to the end -----------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._entered = True
        try:
            await self._running().begun()
        except (Exception, asyncio.CancelledError):
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End everything within a second: no thread and no connection is left."""
        self.drop()
        if self._inflow is not None:
            await self._inflow.worker.end()

    def drop(self) -> None:
        """`aclose` that does not wait."""
        self._closed = True
        self._rests.clear()
        if self._inflow is not None:
            self._inflow.stop()

    def __del__(self) -> None:
        if self._inflow is not None and not self._closed and not self._inflow.worker.is_over:
            shown = f"unclosed stream of {_shown(self._url)}"
            warnings.warn(shown, ResourceWarning, stacklevel=1, source=self)
            self.drop()


class _Alone:
    """The blocks of a stream that nobody has entered: it is closed with the loop over them.

    This is no async generator, as the loop's end would only make a task of that one's `aclose`, which the
    end of the program would leave undone.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview:
        try:
            return await anext(self._stream)
        except (Exception, asyncio.CancelledError):
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """For `contextlib.aclosing`."""
        await self._stream.aclose()

    def __del__(self) -> None:
        self._stream.drop()


async def _joined(pieces: list[bytes]) -> bytes:
    """All of them as one, which is then the only one of the list."""
    if len(pieces) > 1:
        await Worker(lambda: _join(pieces)).result(lambda: None)
    return pieces[0] if pieces else b""


def _join(pieces: list[bytes]) -> None:
    """Swap them for the one at once: whoever looks meanwhile finds every byte, and none twice."""
    # A join of nothing but bytes lets go of the interpreter's lock. To free many at once would keep it.
    parts = list(pieces)
    pieces[:] = [b"".join(parts)]
    while parts:
        parts.pop()


def _shown(url: str) -> str:
    """What may be told of an address; of one that is refused nobody knows where its secrets are."""
    try:
        check_url(url)
    except (AttributeError, TypeError, ValueError):  # it may be no text at all
        return "an address that can not be used"
    return display_url(url)
