"""The cache of one download: a data file of the full size, and an index that vouches for its blocks."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, get_args, overload, runtime_checkable

from largefile.core.ranges import ByteRange
from largefile.disk.create import new_cache_files
from largefile.disk.fileops import REAL, FileOps
from largefile.disk.files import CacheFile, LocalFile, close_all
from largefile.disk.header import State
from largefile.disk.opening import open_cache_files, open_for_writing
from largefile.disk.writing import CacheWrites, WritePath

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from largefile.disk.follower import FollowerCache
    from largefile.rules.identity import Identity

__all__ = ["DownloadCache", "LocalDownloadCache"]

_open_caches: weakref.WeakSet[LocalDownloadCache] = weakref.WeakSet()


@runtime_checkable
class DownloadCache(Protocol):
    """What a downloader needs of a cache; anything with these methods will do.

    Notes
    -----
    Go: ``largefile.DownloadCache``.
    """

    @property
    def complete(self) -> bool: ...
    def content_length_and_block_size(self) -> tuple[int, int]: ...
    def cached_bytes_and_blocks(self) -> tuple[int, int]: ...
    def next_outstanding(self, start_block: int) -> tuple[int, ByteRange] | None: ...
    def next_cached(self, start_block: int) -> tuple[int, ByteRange] | None: ...
    def tail(self, timeout: float | None = None) -> ByteRange | None: ...
    def write_at(self, data: Buffer, off: int) -> int: ...
    def read_at(self, size: int, off: int) -> bytes: ...
    def close(self) -> None: ...


class LocalDownloadCache(CacheWrites):
    """A cache over two files that exist already; the one writer of both until `close`.

    Parameters
    ----------
    data, index : CacheFile
        As `open_cache_files` gives them, or anybody's. They are closed with the cache, and stay open when
        this raises.
    reserve : {"all", "span"}
        Whether the whole file needs room on the disk now, or each span when it is begun.
    write_path : {"auto", "map", "bounce"}
        Whether bytes are stored into a map of the file, or written out of a small buffer. The faster for
        each driver, as measured, by default; a file that can not be mapped safely never is.
    durable : bool
        Whether what landed is synced, by group commit and on closing. Without it a power loss costs a
        new hashing of what was there, never a wrong byte.
    progress : callable, optional
        Called with the bytes reserved so far, and then, if recovery has to read them, with the bytes hashed
        so far. What it raises ends the opening, and costs nothing that is there.

    Raises
    ------
    CacheBusyError
        Another open of this cache, in any process, writes it.
    PartialFileError
        The data file has not the size that the index is for. It is left as it is.
    IndexCorruptError, IndexVersionError
        The index cannot be used. It is left as it is.
    NotEnoughSpaceError
        The part that has no room yet does not fit.

    Examples
    --------
    >>> import os, tempfile
    >>> from largefile.disk.create import create_cache_files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data, index = os.path.join(folder, "x.part"), os.path.join(folder, "x.part.idx")
    ...     create_cache_files(data, index, content_size=10, block_size=4)
    ...     with LocalDownloadCache.open(data, index) as cache:
    ...         _ = cache.write_at(b"efgh", 4)
    ...         cache.cached_bytes_and_blocks(), cache.read_at(3, 5), str(cache.next_outstanding(0)[1])
    ((4, 1), b'fgh', '[0:3]')

    Notes
    -----
    Go: ``largefile.LocalDownloadCache``.
    """

    def __init__(
        self,
        data: CacheFile,
        index: CacheFile,
        *,
        reserve: Literal["all", "span"] = "all",
        write_path: WritePath = "auto",
        durable: bool = True,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        if reserve not in ("all", "span"):
            raise ValueError(f"reserve is {reserve!r}; it must be 'all' or 'span'")
        if write_path not in get_args(WritePath):
            raise ValueError(f"write_path is {write_path!r}; it must be one of {get_args(WritePath)}")
        opened = open_for_writing(data, index, whole=reserve == "all", progress=progress)
        super().__init__(data, opened, by_span=reserve == "span", write_path=write_path)
        self.durable = durable
        #: Whether the whole file has room behind it; with ``reserve="span"`` that is not known.
        self.reserved = opened.reserved
        #: Blocks that had to be read and hashed on opening.
        self.hashed_blocks = opened.hashed
        self._lock = opened.lock
        _open_caches.add(self)

    @overload
    @classmethod
    def open(
        cls,
        data_path: str | os.PathLike[str],
        index_path: str | os.PathLike[str],
        read_only: Literal[False] = False,
        *,
        reserve: Literal["all", "span"] = "all",
        write_path: WritePath = "auto",
        durable: bool = True,
        progress: Callable[[int], object] | None = None,
        ops: FileOps = REAL,
    ) -> Self: ...
    @overload
    @classmethod
    def open(
        cls,
        data_path: str | os.PathLike[str],
        index_path: str | os.PathLike[str],
        read_only: Literal[True],
        *,
        ops: FileOps = REAL,
    ) -> FollowerCache: ...
    @classmethod
    def open(
        cls,
        data_path: str | os.PathLike[str],
        index_path: str | os.PathLike[str],
        read_only: bool = False,
        *,
        reserve: Literal["all", "span"] = "all",
        write_path: WritePath = "auto",
        durable: bool = True,
        progress: Callable[[int], object] | None = None,
        ops: FileOps = REAL,
    ) -> Self | FollowerCache:
        """Open both files and the cache over them; with `read_only`, follow what another process writes."""
        data, index = open_cache_files(data_path, index_path, read_only=read_only, ops=ops)
        if not read_only:
            return cls._over(
                data, index, reserve=reserve, write_path=write_path, durable=durable, progress=progress
            )
        from largefile.disk.follower import FollowerCache  # no writer needs it

        try:
            return FollowerCache(data, index)
        except BaseException:
            close_all(data, index)
            raise

    @classmethod
    def create(
        cls,
        data_path: str | os.PathLike[str],
        index_path: str | os.PathLike[str],
        content_size: int,
        block_size: int,
        *,
        identity: Identity | None = None,
        url: str | None = None,
        replace: bool = False,
        reserve: Literal["all", "span"] = "all",
        write_path: WritePath = "auto",
        durable: bool = True,
        progress: Callable[[int], object] | None = None,
        ops: FileOps = REAL,
    ) -> Self:
        """Make both files, as `create_cache_files` does, and open the cache over them, all under one lock."""
        data, index = new_cache_files(
            data_path,
            index_path,
            content_size,
            block_size,
            identity=identity,
            url=url,
            replace=replace,
            reserve=reserve,
            progress=progress,
            ops=ops,
        )
        return cls._over(
            data, index, reserve=reserve, write_path=write_path, durable=durable, progress=progress
        )

    @classmethod
    def _over(cls, data: LocalFile, index: LocalFile, **options: Any) -> Self:
        """A cache to which both files belong, whether it comes about or not."""
        try:
            return cls(data, index, **options)
        except BaseException:
            close_all(data, index)
            raise

    @property
    def index_path(self) -> str:
        return self._index.path

    @property
    def lock_kind(self) -> str:
        """What keeps a second writer out: ``"ofd"``, ``"flock"``, ``"owner-file"`` or ``"none"``."""
        return "none" if self._lock is None else self._lock.kind

    def close(self) -> None:
        """Commit what has landed, note that this was a clean end, and let go of the files and the lock.

        May be called twice. Waiters get ValueError. A failed last sync raises CachePoisonedError; the
        files are closed all the same.
        """
        if self._closed:
            return
        self._closed = True
        _open_caches.discard(self)
        self._wake()
        with contextlib.ExitStack() as steps:  # the last one first
            if self._lock is not None:
                steps.callback(self._lock.release)
            steps.callback(close_all, self._data, self._index.file)
            steps.callback(self._index.release)
            if self.poisoned is None:
                self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _finish(self) -> None:
        if self.durable:
            self._group.commit()
        if self._index.header.state is State.FILLING:
            mtime = 0
            if isinstance(self._data, LocalFile):
                if self.durable:  # or a loss of power brings an older time back, and everything is hashed
                    self._data.sync_facts()
                mtime = self._data.stat().st_mtime_ns
            self._index.write_header(clean=True, mtime=mtime)

    def _after_fork(self) -> None:
        """In a forked child: the lock and the files are the parent's business."""
        if self._lock is not None:
            self._lock.forget()
        self._group.poisoned = "this process was forked from the one that opened it"


def _after_fork_in_child() -> None:
    for cache in list(_open_caches):
        cache._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
