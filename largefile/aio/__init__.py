"""The same verbs for an event loop: `download`, `stream` and `open`, awaited.

The engine has threads of its own, so it does here what it does elsewhere, and the loop never waits for it:
not for an import, not for the network, not for a disk. Options and errors are those of the plain verbs.
A task that is cancelled, by a timeout too, stops its transfers within a second and leaves no thread;
what a download has put in place is kept. A callable given as ``progress=`` is called on the loop's thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, Unpack

from largefile.aio.files import File
from largefile.aio.streams import Stream
from largefile.aio.threads import Worker, on_loop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import Buffer

    from largefile.caching import DownloadOptions
    from largefile.engine.job import Job
    from largefile.remote import OpenOptions
    from largefile.stats import DownloadStatus
    from largefile.streaming import StreamOptions
    from largefile.wire.renewal import Renew

    class StreamingOptions(StreamOptions, total=False):
        """The options of `largefile.stream`."""

        block_size: int | Literal["auto"]
        headers: Mapping[str, str] | None
        auth: tuple[str, str] | str | None
        timeout: float
        connect_timeout: float
        tries: int
        ca_file: str | os.PathLike[str] | None
        proxy: str | None
        allow_private: bool
        max_size: int | None
        http2: bool
        mirrors: Iterable[str]
        renew: Renew | None
        server_digest: bool


__all__ = ["File", "Stream", "download", "open", "stream"]


async def download(
    url: str,
    dest: str | os.PathLike[str] | None = None,
    *,
    into: Buffer | None = None,
    **options: Unpack[DownloadOptions],
) -> DownloadStatus:
    """Fetch a very large file as `largefile.download` does, and await it.

    When the task is cancelled, what is in place is kept and the same call goes on from there later. The
    cancellation is let through once the threads are gone, so that nobody writes to `into` any more.

    Parameters
    ----------
    url, dest, into, options
        See `largefile.download`. `threads` is 1 here by default, so that the loop's thread has to share the
        interpreter with fewer; with `isolate` it shares it with none, and they are as many as elsewhere.

    Returns
    -------
    DownloadStatus
        How it ended.

    Raises
    ------
    ValueError, TypeError, LargeFileError
        See `largefile.download`.

    Examples
    --------
    >>> import asyncio
    >>> from largefile.testing.server import LoopbackServer
    >>> with LoopbackServer(b"0123456789") as server:
    ...     buffer = bytearray(10)
    ...     status = asyncio.run(download(server.url, into=buffer, proxy=""))
    >>> bytes(buffer), status.complete
    (b'0123456789', True)
    """
    if "progress" in options:
        options["progress"] = on_loop(options["progress"])
    if not options.get("isolate"):
        options.setdefault("threads", 1)
    downloading = _Downloading(url, dest, into, options)
    return await Worker(downloading.run).result(downloading.stop)


class _Downloading:
    """A job that is started, and waited for, on a thread."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self._job: Job[DownloadStatus] | None = None
        self._stopped = False

    def run(self) -> DownloadStatus:
        from largefile.caching import start_download

        url, dest, into, options = self._arguments
        self._job = job = start_download(url, dest, into=into, **options)
        if self._stopped:
            job.cancel()
        return job.result()

    def stop(self) -> None:
        self._stopped = True
        if self._job is not None:
            self._job.cancel()


def stream(url: str, **options: Unpack[StreamingOptions]) -> Stream:
    """Read the content of `url` in order, as `largefile.stream` does, by blocks that are awaited.

    ``async for block in stream(url)`` gives memoryviews, without a copy, and ends everything with the loop,
    however that ends. ``async with`` does so too, and lets one ask and read in between. A slow task slows the
    transfers: blocks that wait for it stay in the window.

    Parameters
    ----------
    url, options
        See `largefile.stream`; `threads` is 1 by default.

    Returns
    -------
    Stream
        An async iterator and context manager, with ``content_length``, ``status()``, ``read(size)`` and
        ``aclose()``.

    Raises
    ------
    ValueError, TypeError, LargeFileError
        When it begins, or is read: see `largefile.stream`.

    Examples
    --------
    >>> import asyncio
    >>> from largefile.testing.server import LoopbackServer
    >>> async def main(url):
    ...     async with stream(url, proxy="") as source:
    ...         return source.content_length, await source.read(4), [bytes(b) async for b in source]
    >>> with LoopbackServer(b"0123456789") as server:
    ...     asyncio.run(main(server.url))
    (10, b'0123', [b'456789'])
    """
    return Stream(url, {"threads": 1, **options})


def open(url: str, **options: Unpack[OpenOptions]) -> File:
    """Open a file behind a URL for reading, as `largefile.open` does, and await its calls.

    Parameters
    ----------
    url, options
        See `largefile.open`.

    Returns
    -------
    File
        To be awaited (``file = await open(url)``) or entered (``async with open(url) as file``).

    Raises
    ------
    ValueError, TypeError, LargeFileError
        When it is awaited: see `largefile.open`.

    Examples
    --------
    >>> import asyncio
    >>> from largefile.testing.server import LoopbackServer
    >>> async def main(url):
    ...     async with open(url, proxy="") as file:
    ...         await file.seek(-3, 2)
    ...         return file.size, await file.read(), await file.read_ranges([(0, 2), (4, 6)])
    >>> with LoopbackServer(b"0123456789") as server:
    ...     asyncio.run(main(server.url))
    (10, b'789', [b'01', b'45'])
    """
    return File(url, dict(options))
