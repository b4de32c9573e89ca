"""A seekable file for an event loop: the `RemoteFile`, called on a few threads of the file's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from largefile.aio.threads import NAME, Worker
from largefile.engine.job import Control
from largefile.errors import CancelledError

if TYPE_CHECKING:
    from largefile.remote import RemoteFile
    from largefile.stats import DownloadStats

__all__ = ["File"]

T = TypeVar("T")

#: Reads of one file that wait for their bytes at once; more of them wait for these.
THREADS = 8
#: Seconds that a cancelled opening waits for its thread. What the server answers later is closed by itself.
PATIENCE = 0.75


class File:
    """What `largefile.aio.open` gives: a seekable file whose calls are awaited.

    ``await`` it, or enter it by ``async with``: then it is open. `read`, `seek` and `tell` share one position
    and take turns in the order of their calls; any number of tasks may call `read_at` and `read_ranges`
    at once. A cancelled read leaves the file usable, but its position where nobody knows: `seek` first.
    """

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._url = url
        self._options = options
        self._opening: _Opening | None = None
        self._file: RemoteFile | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._turn = asyncio.Lock()
        self._closing: Worker[None] | None = None

    # --- opening ---------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, Self]:
        return self._begin().__await__()

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _begin(self) -> Self:
        async with self._turn:
            self._check()
            if self._file is None:
                self._opening = _Opening(self._url, self._options)
                self._file = await self._opening.result()
                self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=NAME)
        return self

    # --- questions -------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes of the whole content."""
        return self._running()[0].size

    @property
    def name(self) -> str:
        """Scheme, host and path of its URL."""
        return self._running()[0].name

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing is not None

    def stats(self) -> DownloadStats:
        """What was fetched so far, by all files that share the cache."""
        return self._running()[0].stats()

    # --- reading ---------------------------------------------------------------------------------

    async def read(self, size: int | None = -1) -> bytes:
        """`size` bytes from the position on, fewer only at the end; None or less than 0: all that is left."""
        return await self._in_turn(lambda file: file.read(size))

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, as of the beginning, the position now or the end; the new one."""
        return await self._in_turn(lambda file: file.seek(offset, whence))

    async def tell(self) -> int:
        """The position."""
        return await self._in_turn(lambda file: file.tell())

    async def read_at(self, size: int, pos: int) -> bytes:
        """`size` bytes at `pos`, fewer only at the end; the position stays."""
        return await self._call(lambda file: file.read_at(size, pos))

    async def read_ranges(self, ranges: Iterable[tuple[int, int]]) -> list[bytes]:
        """Several half-open ranges ``(start, stop)``, all asked for before the first is waited for."""
        wanted = list(ranges)
        return await self._call(lambda file: file.read_ranges(wanted))

    async def _in_turn(self, act: Callable[[RemoteFile], T]) -> T:
        async with self._turn:
            return await self._call(act)

    async def _call(self, act: Callable[[RemoteFile], T]) -> T:
        file, pool = self._running()
        return await asyncio.get_running_loop().run_in_executor(pool, act, file)

    def _running(self) -> tuple[RemoteFile, ThreadPoolExecutor]:
        self._check()
        if self._file is None or self._pool is None:
            raise ValueError("the file is not open: await it first")
        return self._file, self._pool

    def _check(self) -> None:
        if self._closing is not None:
            raise ValueError("the file is closed")

    # --- the end ---------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close it within a second; who waits for bytes gets ValueError. May be called twice."""
        if self._closing is None:
            if self._opening is not None:
                self._opening.stop()
            self._closing = Worker(self._close)
        await self._closing.end()
        self._closing.value()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._pool is not None:
            self._pool.shutdown()


class _Opening:
    """A file that is opened on a thread; what comes after `stop` is closed at once."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._url = url
        self._options = options
        self._control = Control()
        self._file: RemoteFile | None = None
        self._worker = Worker(self._run)

    def _run(self) -> None:
        from largefile.remote import open as open_file

        self._file = open_file(self._url, **self._options, _control=self._control)
        if self._control.cancelled():
            self._file.close()

    def stop(self) -> None:
        """Nobody wants it any more."""
        self._control.cancel()

    async def result(self) -> RemoteFile:
        """Wait for the file; errors are those of `largefile.open`."""
        try:
            await self._worker.result(self.stop, PATIENCE)
        except asyncio.CancelledError:
            await self._discard()
            raise
        except CancelledError:
            raise ValueError("the file is closed") from None
        if self._file is None or self._control.cancelled():
            await self._discard()
            raise ValueError("the file is closed")
        return self._file

    async def _discard(self) -> None:
        if self._worker.is_over and self._file is not None:
            await Worker(self._file.close).end()
