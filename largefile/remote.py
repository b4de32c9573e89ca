"""`open`: a file behind a URL that is read like one on this disk, and fetched where it is read."""

from __future__ import annotations

import io
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from largefile.disk.cache import DownloadCache
from largefile.engine.access import Access, view_of
from largefile.engine.job import Control
from largefile.engine.leasing import Opening
from largefile.engine.options import check_block_size, check_rate, session_options
from largefile.engine.rawfile import RawFile
from largefile.engine.shared import Lease
from largefile.engine.shelf import stem_of
from largefile.rules.rate import RateController
from largefile.stats import DownloadStats
from largefile.wire.http import HTTPReader, check_mirrors
from largefile.wire.proxies import without_userinfo
from largefile.wire.renewal import Renew

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["RemoteFile", "open"]

MIB = 1 << 20
#: What small reads are served from. Small enough that a read of a few bytes rarely touches a second block.
BUFFER_SIZE = 32 << 10


class OpenOptions(TypedDict):
    """The options of `open`; see there."""

    cache_dir: str | os.PathLike[str] | None
    cache: DownloadCache | None
    key: str | None
    concurrency: int | Literal["auto"]
    block_size: int | Literal["auto"]
    readahead: int
    buffer_size: int
    headers: Mapping[str, str] | None
    auth: tuple[str, str] | str | None
    rate: RateController | float | None
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
    pickle_headers: bool


class RemoteFile(io.BufferedReader):
    """A file behind a URL, for reading; `largefile.open` gives one.

    It is an `io.BufferedReader`: what takes a binary file takes this. As every file object it has one
    position, so threads that read at positions of their own use `read_at`, `readinto_at` and
    `read_ranges`, which any number of them may call at once. Bytes are fetched once and then kept, for all
    that read the same cache.

    A failure to fetch (`TransferError`) leaves the file usable: the next read tries again. When the content
    changes at its source, reads of what is not there yet raise `SourceChangedError`, whatever they do.

    Pickled, it is its URL, its options and its position, and is opened anew where it is unpickled. `auth`
    is never pickled, nor are a user and a password in `proxy`, `headers` only with ``pickle_headers=True``; a
    file over a `cache`, or with a `RateController`, can not be (TypeError).
    """

    def __init__(self, raw: RawFile, buffer_size: int, recipe: _Recipe) -> None:
        super().__init__(raw, buffer_size)
        self._remote = raw
        self._access = raw.access
        self._recipe = recipe

    @property
    def url(self) -> str:
        """Where it is, as it is asked for; may hold a signature. `name` does not."""
        return self._recipe.url

    @property
    def size(self) -> int:
        """Bytes of the whole content."""
        return self._access.size

    def read_at(self, size: int, pos: int) -> bytes:
        """Read `size` bytes at `pos`, fewer only at the end; the file's own position stays.

        Raises
        ------
        TransferError, CacheError
            What keeps a byte from coming.
        ValueError
            For a negative number, and for a closed file.
        """
        _check_range(pos, pos + size)
        return self._access.read_at(size, pos)

    def readinto_at(self, buffer: Buffer, pos: int) -> int:
        """Fill a writable buffer with the bytes from `pos` on; how many these are. Raises as `read_at`."""
        _check_range(pos, pos)
        with view_of(buffer) as view:
            return self._access.readinto(view, pos)

    def read_ranges(self, ranges: Iterable[tuple[int, int]]) -> list[bytes]:
        """Read several half-open ranges ``(start, stop)``; their bytes, in the same order.

        All are asked for before the first is waited for, and those near each other by one request. What
        lies beyond the end is left out. Raises as `read_at`.
        """
        wanted = [(int(first), int(stop)) for first, stop in ranges]
        for first, stop in wanted:
            _check_range(first, stop)
        return self._access.read_ranges(wanted)

    def stats(self) -> DownloadStats:
        """What was fetched so far, by all files that share the cache."""
        return self._access.stats()

    def detach(self) -> io.RawIOBase:
        """Not for this: the buffer and what it reads from end together."""
        raise io.UnsupportedOperation("detach")

    def close(self) -> None:
        """Close it within a second, also while other threads read; they get ValueError."""
        # First of all: a thread that waits for bytes has the lock that the buffer would wait for.
        access = getattr(self, "_access", None)  # not there if it was never opened
        try:
            if access is not None:
                access.close()
        finally:
            super().close()

    def __del__(self) -> None:
        access = getattr(self, "_access", None)
        if access is None or access.closed or sys.is_finalizing():
            return  # at the interpreter's end all engines were stopped, and no thread can start
        warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        # Whose thread this is, and what it is in the middle of, nobody knows.
        threading.Thread(target=access.close, name="largefile-close", daemon=True).start()

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return self.__reduce__()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._recipe.url, self._recipe.options(), self.tell())


class _Recipe:
    """How a file was opened, for the next one."""

    def __init__(self, url: str, options: OpenOptions) -> None:
        self.url = url
        self._options = options

    def options(self) -> dict[str, Any]:
        """What may be pickled; TypeError for what can not be."""
        if self._options["cache"] is not None:
            raise TypeError("a file over a cache object can not be pickled; open it with cache_dir")
        if isinstance(self._options["rate"], RateController):
            raise TypeError("a file with a RateController can not be pickled; give its rate as a number")
        kept = self._options.keys() - {"auth", "renew"}
        options: dict[str, Any] = {name: value for name, value in self._options.items() if name in kept}
        options["proxy"] = without_userinfo(self._options["proxy"])
        if not self._options["pickle_headers"]:
            options.pop("headers", None)
        return options


def open(
    url: str,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    cache: DownloadCache | None = None,
    key: str | None = None,
    concurrency: int | Literal["auto"] = "auto",
    block_size: int | Literal["auto"] = "auto",
    readahead: int = 32 * MIB,
    buffer_size: int = BUFFER_SIZE,
    headers: Mapping[str, str] | None = None,
    auth: tuple[str, str] | str | None = None,
    rate: RateController | float | None = None,
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
    pickle_headers: bool = False,
    _control: Control | None = None,  # who can cancel the first request
) -> RemoteFile:
    """Open a file behind a URL for reading: seekable, buffered, fetched where it is read.

    One request finds out what is there. From then on each read fetches the blocks that it needs and that
    are not there yet, in few requests, by connections that are kept; reads in order are fetched ahead of,
    twice as far each time.

    Parameters
    ----------
    url : str
        http or https, without credentials in it.
    cache_dir : path-like, optional
        A folder, made if it is missing, in which what was fetched is kept for the next time. It is used
        again when the server shows by its validators that it still has that version; another version gets
        files of its own. Files of one process that read the same version share it and the engine that fills
        it. Without `cache_dir` there is a cache in the folder for temporary files, of which nothing is left.
    cache : DownloadCache, optional
        The caller's own cache instead; it stays open.
    key : str, optional
        The name in `cache_dir`, for URLs that change, as signed ones do; by default a digest of the URL.
    concurrency : int or "auto"
        Transfers at once, 1 to 256. "auto" is 8. Fewer where the host refuses them.
    block_size : int or "auto"
        Bytes that are fetched at least, 4 KiB to 1 GiB; by default 64 KiB, more above 64 GiB. A cache
        keeps the one that it began with.
    readahead : int
        Most bytes that are fetched beyond what was read; 0: none.
    buffer_size : int
        Bytes of memory that small reads are served from.
    headers, auth, ca_file, proxy, max_size, http2, mirrors, renew, connect_timeout, server_digest
        See `HTTPReader`.
    allow_private : bool
        See `HTTPReader`. A file with False shares no engine that one with True has begun; it gets a temporary
        cache beside it, and the caller's `cache` is then busy.
    rate : RateController or int, optional
        Limits; an int is bytes a second.
    timeout : float
        Seconds without a byte on a transfer before it is made again.
    tries : int
        Failures in a row before a read raises.
    pickle_headers : bool
        Whether `headers` go into a pickle of the file. `auth` and `renew` never do, nor do credentials in
        `proxy`.

    Raises
    ------
    ValueError, TypeError
        An argument can not be used.
    LargeFileError
        What the first request has met: `NotFoundError`, `RefusedError`, …; `UnsizedSourceError` if the server
        does not say the size.

    Examples
    --------
    >>> import zipfile
    >>> from largefile.testing.server import LoopbackServer
    >>> import io
    >>> archive = io.BytesIO()
    >>> with zipfile.ZipFile(archive, "w") as made:
    ...     made.writestr("greeting.txt", "hello")
    >>> with LoopbackServer(archive.getvalue()) as server, open(server.url, proxy="") as file:
    ...     zipfile.ZipFile(file).read("greeting.txt"), file.read_ranges([(0, 2), (2, 4)])
    (b'hello', [b'PK', b'\\x03\\x04'])

    Notes
    -----
    A server without ranges sends everything from its beginning, once, and reads wait for their bytes.
    """
    return _open(
        url,
        OpenOptions(
            cache_dir=cache_dir,
            cache=cache,
            key=key,
            concurrency=concurrency,
            block_size=block_size,
            readahead=readahead,
            buffer_size=buffer_size,
            headers=headers,
            auth=auth,
            rate=rate,
            timeout=timeout,
            connect_timeout=connect_timeout,
            tries=tries,
            ca_file=ca_file,
            proxy=proxy,
            allow_private=allow_private,
            max_size=max_size,
            http2=http2,
            mirrors=check_mirrors(mirrors),
            renew=renew,
            server_digest=server_digest,
            pickle_headers=pickle_headers,
        ),
        _control or Control(),
    )


def _open(url: str, options: OpenOptions, control: Control) -> RemoteFile:
    readahead, buffer_size = options["readahead"], options["buffer_size"]
    _check_sizes(readahead, buffer_size)
    source = HTTPReader(
        url,
        headers=options["headers"],
        auth=options["auth"],
        ca_file=options["ca_file"],
        proxy=options["proxy"],
        allow_private=options["allow_private"],
        max_size=options["max_size"],
        http2=options["http2"],
        mirrors=options["mirrors"],
        renew=options["renew"],
        server_digest=options["server_digest"],
        timeout=options["timeout"],
        connect_timeout=options["connect_timeout"],
        tries=options["tries"],
    )
    try:
        lease = _lease_of(source, options, control)
    except BaseException:
        source.close()
        raise
    access = Access(lease, source.name)
    try:
        raw = RawFile(access, source.name, readahead, buffer_size)
        return RemoteFile(raw, buffer_size, _Recipe(source.url, options))
    except BaseException:
        access.close()  # there may be no memory for the buffer
        raise


def _lease_of(source: HTTPReader, options: OpenOptions, control: Control) -> Lease:
    cache, folder, key = options["cache"], options["cache_dir"], options["key"]
    _check_place(cache, folder, key)
    session = session_options(
        options["concurrency"],
        check_rate(options["rate"]),
        options["timeout"],
        options["tries"],
        wait_for_completion=False,
        max_iterations=1,
    )
    opening = Opening(source, session, check_block_size(options["block_size"]), control.check)
    if cache is not None:
        return opening.over(cache)
    if folder is not None:
        return opening.in_folder(folder, stem_of(source.url, key))
    return opening.temporary()


def _check_place(cache: object, folder: object, key: str | None) -> None:
    if cache is not None and folder is not None:
        raise TypeError("give a cache or a folder for it, not both")
    if key is not None and folder is None:
        raise TypeError("a key names a cache in a cache_dir, and there is none")
    if cache is not None and not isinstance(cache, DownloadCache):
        raise TypeError(f"cache is {cache!r}, needed is a DownloadCache")


def _check_sizes(readahead: int, buffer_size: int) -> None:
    if not isinstance(readahead, int) or readahead < 0:
        raise ValueError(f"readahead is {readahead!r}, needed are 0 bytes or more")
    if not isinstance(buffer_size, int) or buffer_size < 1:
        raise ValueError(f"buffer_size is {buffer_size!r}, needed is at least 1 byte")


def _check_range(first: int, stop: int) -> None:
    if not 0 <= first <= stop:
        raise ValueError(f"range ({first}, {stop}) must begin at 0 or later and not end before it begins")


def _reopen(url: str, options: dict[str, Any], pos: int) -> RemoteFile:
    """Unpickle: open it again, and go to where it was."""
    file = open(url, **options)
    file.seek(pos)
    return file
