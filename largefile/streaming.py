"""A very large file as one stream: fetched by many ranges at once, read in order, in bounded memory."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from largefile.core.reorder import Block
from largefile.engine.job import Control
from largefile.engine.options import check_block_size, check_rate, check_seconds, session_options
from largefile.engine.pouring import Pouring, PouringOptions
from largefile.errors import CancelledError, LargeFileError
from largefile.log import log
from largefile.progress import ProgressLike, as_callback
from largefile.rules.rate import RateController
from largefile.stats import DownloadStats, StreamingStatus
from largefile.wire.http import HTTPReader
from largefile.wire.readers import Reader, Source
from largefile.wire.renewal import Renew
from largefile.wire.threads import ReaderSource

if TYPE_CHECKING:
    import logging

    from typing_extensions import Buffer

    from largefile.disk.cache import LocalDownloadCache

__all__ = ["StreamOptions", "StreamingDownloader", "stream"]


class StreamOptions(TypedDict, total=False):
    """The options of `StreamingDownloader`, by keyword; see there."""

    cache: LocalDownloadCache | None
    offset: int
    window: int | Literal["auto"]
    concurrency: int | Literal["auto"]
    digest: str | None
    logger: logging.Logger | None
    progress: ProgressLike
    rate: RateController | float | None
    wait_for_completion: bool
    max_iterations: int
    threads: int | Literal["auto"]
    deadline: float | None
    background: bool
    durable: bool
    _control: Control | None


class StreamingDownloader(io.RawIOBase):
    """A binary file object: a `Reader`'s content in order, while many ranges of it are fetched at once.

    It holds ``window`` bytes of memory and no more. Nothing is asked for beyond the window, so a reader that
    pauses pauses the transfers, and no server is kept waiting.

    Parameters
    ----------
    reader : Reader
        `HTTPReader`, `FileReader`, or anybody's. It is not closed with the stream.
    cache : LocalDownloadCache, optional
        Every block goes there too, and what it holds already is not fetched. Then what is ahead of the reader
        is on disk, and not in memory. It has the reader's size, and stays open for as long as the stream.
    offset : int
        The first byte to give. What is before it is not fetched.
    window : int or "auto"
        How far the transfers may be ahead of the reader, in bytes, rounded down to blocks; at least one
        block. By default 8 MiB for each transfer, and at most 128 MiB.
    concurrency : int or "auto"
        Transfers at once, 1 to 256. "auto" is 8, or 2 where these leave no time to spare. Fewer where the
        host refuses them.
    digest : str, optional
        ``"sha256:HEX"``: what was read is compared with it before the end is told. By default the
        reader's own, if it names one. Not with an `offset`.
    logger : logging.Logger, optional
        Gets a warning if it fails; by default ``logging.getLogger("largefile")``.
    progress : bool, callable or tqdm-like, optional
        See `largefile.download`.
    rate : RateController or int, optional
        Limits; an int is bytes a second.
    wait_for_completion, max_iterations, timeout, tries, deadline
        See `CachingDownloader`.
    threads : int or "auto"
        See `largefile.download`; one without a background.
    background : bool
        False: no thread fetches. The transfers move on while a read waits for them, and only then; what a
        signal's handler raises in such a read ends the stream.
    durable : bool
        Whether what lands in the cache is synced to disk every second.

    Raises
    ------
    ValueError, TypeError
        For an argument that can not be used.
    TransferError
        If the first request fails.

    Notes on reading
    ----------------
    A read gives all that it was asked for, but at the end; one that meets a failure raises it, and so does
    every one after it. Iteration gives all that is in order before a failure first. The source is never
    begun anew: another version of it is SourceChangedError. The end is told only after the digest, if there
    is one, agreed; else DigestMismatchError is raised.

    Iteration gives blocks as memoryviews, without a copy, valid for as long as they are kept. Who keeps
    more than half of the window gets copies.

    Examples
    --------
    >>> import os, tempfile
    >>> from largefile import FileReader
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "source")
    ...     with open(path, "wb") as file:
    ...         _ = file.write(b"0123456789")
    ...     with StreamingDownloader(FileReader(path, block_size=4)) as source:
    ...         source.read(3), [bytes(block) for block in source], source.status().complete
    (b'012', [b'3', b'4567', b'89'], True)

    Notes
    -----
    Go: ``largefile.StreamingDownloader``. It is its own ``Reader``, and it needs no ``Run``.
    """

    _pouring: Pouring | None = None  # also where the first request failed

    def __init__(
        self,
        reader: Reader,
        *,
        cache: LocalDownloadCache | None = None,
        offset: int = 0,
        window: int | Literal["auto"] = "auto",
        concurrency: int | Literal["auto"] = "auto",
        digest: str | None = None,
        logger: logging.Logger | None = None,
        progress: ProgressLike = None,
        rate: RateController | float | None = None,
        wait_for_completion: bool = False,
        max_iterations: int = 10,
        timeout: float = 20.0,
        tries: int = 5,
        threads: int | Literal["auto"] = "auto",
        deadline: float | None = None,
        background: bool = True,
        durable: bool = True,
        _control: Control | None = None,  # who can cancel the first request, too
    ) -> None:
        self._closing: list[Any] = []  # what is ours, and is closed with the stream
        self._reading = threading.RLock()  # several threads' reads take turns
        self._view: memoryview | None = None  # the block that is being read
        self._number = -1  # … and its number
        self._done = 0  # blocks before this one were read to their ends
        self._pos = check_offset(offset)
        self._logger = logger
        self._warned = False
        super().__init__()
        check_cache(cache)
        if digest is not None and offset:
            raise ValueError("a digest is of the whole content: it can not be compared from an offset on")
        session = session_options(
            concurrency, check_rate(rate), timeout, tries, wait_for_completion, max_iterations, threads
        )
        check_seconds("deadline", deadline)
        callback, self._control = as_callback(progress), Control.under(_control)
        self._source: Source
        if isinstance(reader, HTTPReader):
            self._source, block_size = reader, reader.block_size
        else:
            self._source = ReaderSource(reader)
            self._closing.append(self._source)
            block_size = reader.content_length_and_block_size()[1]
        self._control.set_deadline(deadline)
        try:
            self._pouring = Pouring(
                self._source,
                self._control,
                session,
                PouringOptions(
                    cache=cache,
                    offset=offset,
                    window=None if window == "auto" else window,
                    block_size=cache.block_size if cache is not None else block_size,
                    digest=digest if digest is not None or offset else reader.digest(),
                    background=background,
                    durable=durable,
                ),
                callback,
            )
        except BaseException:
            self._control.finish()
            raise
        self._done = self._pouring.head
        # After half of the places are kept by the reader, what comes is copied: the rest has to go round.
        ring = self._pouring.ring
        self._may_keep = ring.buffer.window // 2 if ring is not None else 0
        _open_streams.add(self)

    # --- questions -------------------------------------------------------------------------------

    @property
    def content_length(self) -> int | None:
        """Bytes of the whole content; None where the source does not say. Go: ``ContentLength``."""
        return self._made().size

    def status(self) -> StreamingStatus:
        """How far it is; once all was read, or it was closed, how it ended."""
        return self._made().status()

    def stats(self) -> DownloadStats:
        """How far the transfers are; from any thread."""
        return self._made().flow.stats()

    def tell(self) -> int:
        """The position of the next byte to be read."""
        return self._pos

    def readable(self) -> bool:
        return True

    # --- reading ---------------------------------------------------------------------------------

    # A signal's handler may raise anywhere in here, and the caller may go on reading. So the position alone
    # says what is next, it is moved last, and by one store; all else is found again by it.

    def readinto(self, buffer: Buffer) -> int:
        """Fill `buffer`, and give how many bytes that were: fewer only at the end."""
        with self._reading, memoryview(buffer) as whole, whole.cast("B") as target:
            self._running()
            done, size = 0, len(target)
            while done < size and (rest := self._more()) is not None:
                step = min(size - done, len(rest))
                target[done : done + step] = rest[:step]
                self._skip(rest, step)
                done += step
            return done

    def read(self, size: int | None = -1) -> bytes:
        """`size` bytes, fewer only at the end; all that is left for None or -1."""
        with self._reading:
            rest = self._more() if size else None
            if rest is not None and size is not None and 0 <= size <= len(rest):
                data = bytes(rest[:size])
                self._skip(rest, size)
                return data
            if rest is not None:
                rest.release()
            return self._gather(sys.maxsize if size is None or size < 0 else size)

    def readall(self) -> bytes:
        """All that is left."""
        return self.read()

    def _gather(self, size: int) -> bytes:
        """The next `size` bytes, or what there is of them, in memory that grows with what has come."""
        self._running()
        found = io.BytesIO()  # hands over its memory, where bytes of a bytearray are one more copy
        while size and (rest := self._more()) is not None:
            step = found.write(rest[:size])
            self._skip(rest, step)
            size -= step
        return found.getvalue()

    def __next__(self) -> memoryview:  # type: ignore[override]
        """What is left of the present block, or the next one."""
        with self._reading:
            rest = self._more()
            if rest is None:
                raise StopIteration
            if self._running().ring is not None and self._running().flow.held > self._may_keep:
                copy = memoryview(bytes(rest))
                self._skip(rest, len(copy))
                return copy
            size = len(rest)
            self._view = None  # the caller's view alone keeps the place
            self._pos += size
            return rest

    def _more(self) -> memoryview | None:
        """What is left of the present block, or the next one, as a view of its own; None at the end."""
        pouring = self._running()
        number, inside = divmod(self._pos, pouring.block_size)
        number = max(number, self._done)  # a short last block is over before its number is
        while True:
            view = self._view if self._number == number else None  # closed meanwhile, there is none
            if view is None:
                self._view = None
                block = self._next_block(pouring, number)
                if block is None:
                    return None
                self._number = number
                self._view = view = memoryview(block)
            if inside < len(view):
                return view[inside:]
            self._drop()
            number, inside = number + 1, 0

    def _next_block(self, pouring: Pouring, number: int) -> Block | memoryview | None:
        try:
            return pouring.next_block(number)
        except CancelledError:
            raise
        except LargeFileError as error:
            if not self._warned:
                (self._logger or log()).warning("stream not complete: %s", error)
            self._warned = True
            raise

    def _skip(self, rest: memoryview, size: int) -> None:
        """Be done with the first `size` bytes of `rest`; at a block's end its place is given back."""
        ends = size == len(rest)
        rest.release()
        self._pos += size
        if ends:
            self._drop()

    def _drop(self) -> None:
        """The present block was read to its end."""
        view, self._view = self._view, None
        self._done = self._number + 1
        if view is not None:
            view.release()
        self._running().flow.let_go()

    def _made(self) -> Pouring:
        if self._pouring is None:
            raise ValueError("the stream belongs to the parent process; make one of your own")
        return self._pouring

    def _running(self) -> Pouring:
        if self.closed:
            raise ValueError("the stream is closed")
        return self._made()

    # --- the end ---------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop the transfers, from any thread; reads then raise `CancelledError`."""
        self._made().cancel()

    def close(self) -> None:
        """End everything within a second: no thread and no connection is left. From any thread."""
        if self.closed:
            return
        _open_streams.discard(self)
        try:
            if self._pouring is not None:
                self._view = None
                self._pouring.close(self._let_go)
        finally:
            super().close()

    def _let_go(self) -> None:
        for thing in self._closing:
            thing.close()

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        raise TypeError("a stream can not be copied or pickled: make another one of its URL, with its offset")

    def __del__(self) -> None:
        if self.closed:
            return
        if threading.current_thread().name.startswith("largefile-"):
            # The collector runs wherever it likes, and one of our own threads can not wait for itself.
            threading.Thread(target=self.close, name="largefile-closing", daemon=True).start()
        else:
            self.close()


_open_streams: weakref.WeakSet[StreamingDownloader] = weakref.WeakSet()


def _close_all() -> None:
    """At the end of the process: later nobody could wait for our threads, which stand still then."""
    for stream in list(_open_streams):
        with contextlib.suppress(Exception):
            stream.close()


def _after_fork_in_child() -> None:
    """Threads and connections are the parent's: the child must neither use nor close them."""
    for stream in list(_open_streams):
        stream._pouring = None
    _open_streams.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork_in_child)


def check_cache(cache: LocalDownloadCache | None) -> None:
    """TypeError for anything else."""
    if cache is not None:
        from largefile.disk.cache import LocalDownloadCache  # most streams have none

        if not isinstance(cache, LocalDownloadCache):
            raise TypeError(f"cache is {type(cache).__name__}, needed is a LocalDownloadCache")


def check_offset(offset: int) -> int:
    """A position, or ValueError."""
    if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
        raise ValueError(f"offset is {offset!r}, needed is a position from 0 on")
    return offset


def stream(
    url: str,
    *,
    block_size: int | Literal["auto"] = "auto",
    headers: Mapping[str, str] | None = None,
    auth: tuple[str, str] | str | None = None,
    timeout: float = 20.0,
    connect_timeout: float = 10.0,
    tries: int = 5,
    ca_file: str | os.PathLike[str] | None = None,
    proxy: str | None = None,
    allow_private: bool = True,
    max_size: int | None = None,
    http2: bool = False,
    mirrors: Iterable[str] = (),
    renew: Renew | None = None,
    server_digest: bool = True,
    **options: Unpack[StreamOptions],
) -> StreamingDownloader:
    """Read the content of `url` in order while many ranges of it are fetched at once, in bounded memory.

    Parameters
    ----------
    url : str
        http or https, without credentials in it.
    block_size : int or "auto"
        Bytes that are handed on together, 4 KiB to 1 GiB.
    headers, auth, timeout, connect_timeout, tries, ca_file, proxy, allow_private, max_size, http2
        See `largefile.download`.
    mirrors, renew, server_digest
        See `largefile.download`.
    options
        See `StreamingDownloader`.

    Returns
    -------
    StreamingDownloader
        To be closed, best by ``with``.

    Raises
    ------
    ValueError, TypeError
        An argument can not be used.
    TransferError
        The first request failed: not found, refused, no network, …

    Examples
    --------
    >>> import shutil, sys, largefile
    >>> with largefile.stream("https://example.org/disk.img") as source:    # doctest: +SKIP
    ...     shutil.copyfileobj(source, sys.stdout.buffer)
    """
    reader = HTTPReader(
        url,
        headers=headers,
        auth=auth,
        ca_file=ca_file,
        proxy=proxy,
        allow_private=allow_private,
        max_size=max_size,
        http2=http2,
        timeout=timeout,
        connect_timeout=connect_timeout,
        tries=tries,
        block_size=check_block_size(block_size),
        mirrors=mirrors,
        has_digest=options.get("digest") is not None,
        renew=renew,
        server_digest=server_digest,
    )
    options.setdefault("wait_for_completion", True)
    options.setdefault("max_iterations", 2)
    try:
        found = StreamingDownloader(reader, timeout=timeout, tries=tries, **options)
    except BaseException:
        reader.close()
        raise
    found._closing.append(reader)
    return found
