"""Download into a cache, or straight to a file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from largefile.disk.cache import DownloadCache, LocalDownloadCache
from largefile.engine.committer import Committer
from largefile.engine.delivery import Delivery
from largefile.engine.job import Control, Job
from largefile.engine.options import (
    DeliveryOptions,
    check_block_size,
    check_rate,
    check_seconds,
    session_options,
)
from largefile.engine.reporter import reporting
from largefile.engine.session import Session
from largefile.engine.store import ForeignStore, Store
from largefile.engine.turn import check_wait
from largefile.errors import DigestMismatchError, LargeFileError
from largefile.log import log
from largefile.progress import ProgressLike, as_callback
from largefile.rules.digests import parse_digest
from largefile.rules.identity import Identity, describe, vouched_by
from largefile.rules.rate import RateController
from largefile.stats import DownloadStats, DownloadStatus
from largefile.wire.http import HTTPReader, check_mirrors
from largefile.wire.readers import Reader, Source
from largefile.wire.renewal import Renew

if TYPE_CHECKING:
    import logging

    from typing_extensions import Buffer

    from largefile.engine.filling import Filling
    from largefile.engine.isolated import Isolated

__all__ = ["CachingDownloader", "download", "start_download"]


class DownloadOptions(TypedDict, total=False):
    """The options of `download` and `start_download`; see there."""

    digest: str | None
    concurrency: int | Literal["auto"]
    block_size: int | Literal["auto"]
    headers: Mapping[str, str] | None
    auth: tuple[str, str] | str | None
    rate: RateController | float | None
    progress: ProgressLike
    timeout: float
    connect_timeout: float
    deadline: float | None
    tries: int
    threads: int | Literal["auto"]
    on_change: Literal["restart", "fail"]
    repair: bool
    server_digest: bool
    resume: bool
    overwrite: bool
    durable: bool
    wait: float | bool
    ca_file: str | os.PathLike[str] | None
    proxy: str | None
    allow_private: bool
    max_size: int | None
    http2: bool
    mirrors: Iterable[str]
    renew: Renew | None
    isolate: bool


class CachingDownloader:
    """Fetch what a cache lacks from a `Reader`, by many ranged requests at once.

    Parameters
    ----------
    reader : Reader
        `HTTPReader`, `FileReader`, or anybody's.
    cache : DownloadCache
        `LocalDownloadCache`, or anybody's. Its size must be the reader's.
    concurrency : int or "auto"
        Transfers at once, 1 to 256. "auto" begins with 2, comes to 8 within a tenth of a second where these
        leave time to spare, and goes up to 16 where that pays. Never more than that, and fewer where the host
        refuses them.
    digest : str, optional
        ``"sha256:HEX"``; the finished content is compared with it. By default the reader's own, if it
        names one.
    logger : logging.Logger, optional
        Gets a warning for each pass that did not complete; by default ``logging.getLogger("largefile")``.
    progress : bool, callable or tqdm-like, optional
        See `largefile.download`.
    rate : RateController, optional
        Limits, changeable meanwhile.
    wait_for_completion : bool
        Try blocks again that were given up, after a pause, for at most `max_iterations` passes without
        a byte. Permanent failures end it at once.
    timeout : float
        Seconds without a byte after which a transfer is made again.
    tries : int
        Failures in a row before a block is given up.
    threads : int or "auto"
        See `largefile.download`.
    deadline : float, optional
        Seconds for the whole run.
    durable : bool
        Whether what landed is synced to disk every second.

    Raises
    ------
    ValueError, TypeError
        For an argument that can not be used.

    Notes on versions
    -----------------
    Blocks that are in the cache already are gone on with if the server's validators, or `digest`, show that
    they are of the version that it has now; else `run` raises SourceChangedError. A Reader that is no
    HTTPReader has no validators, and is believed.

    Examples
    --------
    >>> import os, tempfile
    >>> from largefile import FileReader, LocalDownloadCache, create_cache_files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     source = os.path.join(folder, "source")
    ...     with open(source, "wb") as file:
    ...         _ = file.write(b"0123456789")
    ...     data, index = os.path.join(folder, "data"), os.path.join(folder, "index")
    ...     create_cache_files(data, index, content_size=10, block_size=4)
    ...     with LocalDownloadCache.open(data, index) as cache:
    ...         status = CachingDownloader(FileReader(source), cache).run()
    ...         status.complete, status.downloaded_bytes, cache.read_at(3, 5)
    (True, 10, b'567')

    Notes
    -----
    Go: ``largefile.CachingDownloader``.
    """

    def __init__(
        self,
        reader: Reader,
        cache: DownloadCache,
        *,
        concurrency: int | Literal["auto"] = "auto",
        digest: str | None = None,
        logger: logging.Logger | None = None,
        progress: ProgressLike = None,
        rate: RateController | None = None,
        wait_for_completion: bool = False,
        max_iterations: int = 10,
        timeout: float = 20.0,
        tries: int = 5,
        threads: int | Literal["auto"] = "auto",
        deadline: float | None = None,
        durable: bool = True,
    ) -> None:
        if cache is None:
            raise TypeError("cache is not set")
        self._reader = reader
        self._source: Source
        if isinstance(reader, HTTPReader):
            self._source = reader
        else:
            from largefile.wire.threads import ReaderSource  # an HTTPReader needs none

            self._source = ReaderSource(reader)
        self._cache = cache
        self._options = session_options(
            concurrency, rate, timeout, tries, wait_for_completion, max_iterations, threads
        )
        digest = digest if digest is not None else reader.digest()
        self._digest = parse_digest(digest) if digest is not None else None
        self._logger = logger
        self._progress = as_callback(progress)
        self._deadline = check_seconds("deadline", deadline)
        self._durable = durable
        self._known = False
        self._control = Control()
        self._session: Session | None = None
        size, _ = reader.content_length_and_block_size()
        cached_size, self._block_size = cache.content_length_and_block_size()
        if size != cached_size:
            raise ValueError(f"cache size {cached_size} does not match file size {size}")
        self._size = size

    def run(self) -> DownloadStatus:
        """Fetch, and wait for the end.

        Raises
        ------
        LargeFileError
            What kept it from being complete, with the `DownloadStatus` reached as its `status`. Run again
            to go on.
        """
        return self.start().result()

    def start(self) -> Job[DownloadStatus]:
        """Fetch in the background: a handle with ``result()``, ``cancel()`` and ``stats()``."""
        self._control = control = Control()
        control.set_deadline(self._deadline)
        return Job(lambda: self._run(control), control, self.stats)

    def cancel(self) -> None:
        """Stop within a second, from any thread; what is in place stays."""
        self._control.cancel()

    def stats(self) -> DownloadStats:
        """How far it is."""
        return self._session.stats() if self._session is not None else DownloadStats(phase="probing")

    def _run(self, control: Control) -> DownloadStatus:
        cache, algorithm, wanted = self._cache, None, None
        if self._digest is not None:
            algorithm, wanted = self._digest[0], ":".join(self._digest)
        expected, pin = Identity(None, None, self._size, wanted), None
        store: Store
        if isinstance(cache, LocalDownloadCache):
            store, pin = cache, cache.pin
            expected = cache.identity._replace(digest=wanted)
        else:
            store = ForeignStore(cache)
        self._session = session = Session(self._source, store, control, self._options, pin=pin)
        found: str | None = None
        try:
            with (
                reporting(self.stats, self._progress, control),
                self._committing(session.passed),
            ):
                found = session.run(expected, digest_by=algorithm, known=self._known)
            if found != wanted:
                raise DigestMismatchError(self._reader.name, str(found), str(wanted))
        except LargeFileError as error:
            (self._logger or log()).warning("download not complete: %s", error)
            error.status = self._status(session, error, found)
            raise
        finally:
            # From here on the reader holds every answer against the version that these blocks are of.
            self._known |= session.identity is not None
            if not isinstance(self._reader, HTTPReader):
                self._source.close()
        return self._status(session, None, found)

    @contextlib.contextmanager
    def _committing(self, passed: Callable[[], int]) -> Iterator[None]:
        if isinstance(self._cache, LocalDownloadCache):
            with self._cache.filling(), Committer(self._cache, durable=self._durable, passed=passed):
                yield
        else:
            yield

    def _status(self, session: Session, error: LargeFileError | None, digest: str | None) -> DownloadStatus:
        stats, identity = session.stats(), session.identity
        return DownloadStatus.of(
            stats,
            complete=error is None,
            resumable=error is not None and error.resumable,
            duration=stats.elapsed,
            path=getattr(self._cache, "path", None),
            identity=describe(identity) if identity is not None else {},
            verified_by=vouched_by(identity, digest) if error is None else None,
            digest=digest,
            block_size=self._block_size,
        )


def download(
    url: str,
    dest: str | os.PathLike[str] | None = None,
    *,
    into: Buffer | None = None,
    **options: Unpack[DownloadOptions],
) -> DownloadStatus:
    """Fetch a very large file: in parallel, resumable after any crash, verified, published in one step.

    The bytes go to ``DEST.part``, with an index beside it, and `dest` appears only when it is complete.
    Called again after an interruption, whatever it was, it goes on from what is there.

    Parameters
    ----------
    url : str
        http or https, without credentials in it.
    dest : path-like
        The file to make. Its folder must exist.
    into : writable buffer, optional
        Fill this instead of a file; it must be as long as the content, or longer.
    digest : str, optional
        ``"sha256:HEX"`` (any fixed-size algorithm of hashlib; ``"sha-256=HEX"`` too): end-to-end proof.
    concurrency : int or "auto"
        Transfers at once, 1 to 256. "auto" begins with 2, comes to 8 within a tenth of a second where these
        leave time to spare, and goes up to 16 where that pays. Never more than that, and fewer where the host
        refuses them.
    block_size : int or "auto"
        Bytes of bookkeeping, 4 KiB to 1 GiB. A partial file keeps the one it began with.
    headers, auth
        See `HTTPReader`. Sent to the origin of `url` only.
    rate : RateController or int, optional
        Limits; an int is bytes a second.
    progress : bool, callable or tqdm-like, optional
        True: a bar on stderr. A callable gets a `DownloadStats` at most ten times a second, never going
        back, and once at the end; what it raises is logged. Something with ``update(n)`` gets added bytes.
    timeout : float
        Seconds without a byte on a transfer before it is made again.
    connect_timeout : float
        Seconds for a connection.
    deadline : float, optional
        Seconds for the whole job.
    tries : int
        Failures in a row before it is given up.
    threads : int or "auto"
        Engine threads that move the bytes, each over connections of its own. "auto" is two where there are
        more than two processors, or two and the bytes are encrypted, and one for less than 32 MiB. With one
        the process's own threads wait less.
    on_change : {"restart", "fail"}
        What to do when the source has another version than the partial file: begin anew, once, or raise.
    repair : bool
        When the digest is wrong, fetch it all once more, and what did not come alike a third time; where
        two of three agree, that is it. False: only say that it is wrong.
    server_digest : bool
        Without a `digest`: compare with the one that the server names, if it does, in Repr-Digest, Digest,
        Content-Digest, Content-MD5, x-goog-hash (its MD5, no CRC), x-amz-checksum-sha256 or -sha1; and take
        another one for another version. False: hear none of them.
    resume : bool
        False: throw a partial file away.
    overwrite : bool
        Replace `dest` if it is there.
    durable : bool
        Sync what landed every second, so that a power loss costs no more than that.
    wait : bool or float
        What to do while another process, or thread, downloads to `dest`: with False raise `CacheBusyError`,
        with True wait for its end, with a number for so many seconds at most. Then go on from what it has
        left; a `dest` that it has finished meanwhile is success, and nothing is fetched.
    ca_file, proxy, allow_private, max_size, http2, renew
        See `HTTPReader`.
    mirrors : sequence of str
        More URLs of the same content, used beside the first by their speed; one that fails costs no
        progress. A mirror whose size differs, or whose ETag and date both do, is left with a warning; with a
        `digest` the size is enough.
    isolate : bool
        Run the engine in a process of its own, over the same files. For a program in which other threads
        compute in Python: those take turns with the engine at the interpreter, and it waits 5 ms for each
        turn, which makes a download many times slower. Costs the start of a process, a quarter of a second
        and 30 MiB of memory. Progress, `renew` and records of the log are still those of this process; a
        download that ends before its time, even by SIGKILL, is an `EngineDiedError`. What a host asks for
        (a pause, fewer transfers) is not known to the downloads of other processes. Not with `into`.

    Returns
    -------
    DownloadStatus
        Also path-like. `verified_by` says what vouches for the bytes.

    Raises
    ------
    ValueError, TypeError
        An argument can not be used. Nothing was made and nothing lost.
    LargeFileError
        `TransferError` for the server and the network, `CacheError` for the disk; `resumable` says whether
        the same call goes on from here, `status` how far it came.

    Examples
    --------
    >>> import largefile
    >>> status = largefile.download(                          # doctest: +SKIP
    ...     "https://example.org/model.bin", "model.bin", digest="sha256:…", progress=True)
    """
    return start_download(url, dest, into=into, **options).result()


def start_download(
    url: str,
    dest: str | os.PathLike[str] | None = None,
    *,
    into: Buffer | None = None,
    digest: str | None = None,
    concurrency: int | Literal["auto"] = "auto",
    block_size: int | Literal["auto"] = "auto",
    headers: Mapping[str, str] | None = None,
    auth: tuple[str, str] | str | None = None,
    rate: RateController | float | None = None,
    progress: ProgressLike = None,
    timeout: float = 20.0,
    connect_timeout: float = 10.0,
    deadline: float | None = None,
    tries: int = 5,
    threads: int | Literal["auto"] = "auto",
    on_change: Literal["restart", "fail"] = "restart",
    repair: bool = True,
    server_digest: bool = True,
    resume: bool = True,
    overwrite: bool = False,
    durable: bool = True,
    wait: float | bool = False,
    ca_file: str | os.PathLike[str] | None = None,
    proxy: str | None = None,
    allow_private: bool = True,
    max_size: int | None = None,
    http2: bool = False,
    mirrors: Iterable[str] = (),
    renew: Renew | None = None,
    isolate: bool = False,
) -> Job[DownloadStatus]:
    """`download` in the background: a handle with ``result()``, ``cancel()`` and ``stats()``."""
    if (dest is None) == (into is None):
        raise TypeError("give a destination or a buffer to fill, one of the two")
    if on_change not in ("restart", "fail"):
        raise ValueError(f"on_change is {on_change!r}, needed is 'restart' or 'fail'")
    blocks = check_block_size(block_size)
    if digest is not None:
        parse_digest(digest)
    limits = check_rate(rate)
    session = session_options(concurrency, limits, timeout, tries, True, 2, threads)
    callback, control = as_callback(progress), Control()
    reader: dict[str, Any] = {
        "headers": headers,
        "auth": auth,
        "ca_file": ca_file,
        "proxy": proxy,
        "allow_private": allow_private,
        "max_size": max_size,
        "http2": http2,
        "timeout": timeout,
        "connect_timeout": connect_timeout,
        "tries": tries,
        "block_size": blocks,
        "mirrors": check_mirrors(mirrors),
        "has_digest": digest is not None,
        "server_digest": server_digest,
    }
    source = HTTPReader(url, renew=renew, **reader)
    check_seconds("deadline", deadline)
    work: Filling | Delivery | Isolated
    delivery = DeliveryOptions(
        digest, blocks, on_change, resume, overwrite, durable, repair, check_wait(wait)
    )
    if into is not None:
        if isolate:
            raise ValueError("a buffer of this process can not be filled by another: isolate needs a file")
        from largefile.engine.filling import Filling  # each of these is imported by who asks for it

        work = Filling(source, into, control, session, digest)
    elif dest is not None and isolate:
        from largefile.engine.isolated import Isolated

        work = Isolated(url, dest, reader, control, delivery, session, renew)
    else:
        assert dest is not None
        work = Delivery(source, dest, control, delivery, session)
    control.set_deadline(deadline)

    def reported() -> DownloadStatus:
        with reporting(work.stats, callback, control):
            return work.run()

    return Job(reported, control, work.stats)
