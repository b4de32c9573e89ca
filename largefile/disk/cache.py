"""The cache of one download: a data file of the full size, and an index that vouches for its blocks.

Order for each block: its bytes are in place, they are hashed, the live entry is stored, the bit is set,
waiters are told. A bit is never set before its bytes are in place, and within one open it never goes
back, but for `LocalDownloadCache.invalidate`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, Protocol, Self, overload, runtime_checkable

import xxhash

from largefile.core.ranges import ByteRange
from largefile.disk.commit import GroupCommit
from largefile.disk.fileops import REAL, FileOps
from largefile.disk.files import CacheFile, LocalFile
from largefile.disk.follower import FollowerCache
from largefile.disk.header import State
from largefile.disk.lanes import BounceLane, MapLane
from largefile.disk.opening import open_cache_files, open_for_writing
from largefile.disk.reading import CacheReads
from largefile.errors import CacheError, InvalidBlockSizeError, InvalidOffsetError

if TYPE_CHECKING:
    from typing_extensions import Buffer

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


class LocalDownloadCache(CacheReads):
    """A cache over two files that exist already; the one writer of both until `close`.

    Parameters
    ----------
    data, index : CacheFile
        As `open_cache_files` gives them, or anybody's. They are closed with the cache, and stay open when
        this raises.
    reserve : {"all", "span"}
        Whether the whole file needs room on the disk now, or each span when it is begun.
    durable : bool
        Whether what landed is synced, by group commit and on closing. Without it a power loss costs a
        new hashing of what was there, never a wrong byte.
    progress : callable, optional
        Called with the bytes reserved so far.

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
        durable: bool = True,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        if reserve not in ("all", "span"):
            raise ValueError(f"reserve is {reserve!r}; it must be 'all' or 'span'")
        opened = open_for_writing(data, index, whole=reserve == "all", progress=progress)
        super().__init__(data, opened.index, opened.ranges)
        self.durable = durable
        #: Whether the whole file has room behind it; with ``reserve="span"`` that is not known.
        self.reserved = opened.reserved
        #: Blocks that had to be read and hashed on opening.
        self.hashed_blocks = opened.hashed
        self._by_span = reserve == "span"
        self._lock = opened.lock
        self._group = GroupCommit(data, opened.index, opened.pending, self._wake)
        self._claims: set[int] = set()
        self._claims_lock = threading.Lock()
        self._closed = False
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
        durable: bool = True,
        progress: Callable[[int], object] | None = None,
        ops: FileOps = REAL,
    ) -> Self | FollowerCache:
        """Open both files and the cache over them; with `read_only`, follow what another process writes."""
        data, index = open_cache_files(data_path, index_path, read_only=read_only, ops=ops)
        try:
            if read_only:
                return FollowerCache(data, index)
            return cls(data, index, reserve=reserve, durable=durable, progress=progress)
        except BaseException:
            data.close()
            index.close()
            raise

    # --- what the engine uses -------------------------------------------------------------------

    @property
    def data(self) -> CacheFile:
        """The data file."""
        return self._data

    @property
    def index_path(self) -> str:
        return self._index.path

    @property
    def lock_kind(self) -> str:
        """What keeps a second writer out: ``"ofd"``, ``"flock"``, ``"owner-file"`` or ``"none"``."""
        return "none" if self._lock is None else self._lock.kind

    @property
    def commit_due(self) -> threading.Event:
        """Set when so much has landed that a commit should not wait, and when the cache is poisoned."""
        return self._group.due

    @property
    def poisoned(self) -> str | None:
        """Why the cache cannot be written any more, if it cannot."""
        return self._group.poisoned

    def lane(self) -> BounceLane:
        """Where one connection's bytes go: into the file's map, or where that is not safe through a buffer."""
        mappable = not isinstance(self._data, LocalFile) or self._data.mappable
        return MapLane(self) if mappable else BounceLane(self)

    def prepare(self, first: int, stop: int) -> None:
        """Make room on the disk for bytes `first` to `stop` - 1, where that was put off."""
        self._check()
        if self._by_span and first < stop:
            self._data.allocate(first, stop - first)

    def seal(self, block: int, content: int) -> None:
        """The bytes of `block` are in place and hash to `content` (xxh3_64): it is present from now on."""
        if self._group.poisoned is not None:
            self._group.check()
        self._index.seal(block, content)
        self._group.add(block)
        self._ranges.set_block(block)

    def commit(self) -> int:
        """Sync what has landed, and make its entries durable; how many blocks that was."""
        self._check()
        return self._group.commit()

    def sync_data(self) -> None:
        """Sync the data once: an error that a dead writer left behind is seen now, and poisons."""
        self._check()
        self._group.sync_data()

    def poison(self, reason: str) -> None:
        """Believe nothing that no sync vouches for; every call and every waiter gets CachePoisonedError."""
        self._group.poison(reason)

    def mark(self, state: State, digest: str | None = None) -> None:
        """Write a new state, and a digest that was learnt, into the header."""
        self._check()
        changes = {} if digest is None else {"digest": digest}
        self._index.write_header(state=state, **changes)

    # --- the public side of writing -------------------------------------------------------------

    def write_at(self, data: Buffer, off: int) -> int:
        """Write one whole block, which begins at byte `off`; its size.

        A block that is present already may be written again with the same bytes only.

        Raises
        ------
        InvalidOffsetError
            If no block begins at `off`, or other bytes are there already.
        InvalidBlockSizeError
            If `data` is not exactly as long as that block.

        Notes
        -----
        Go: ``LocalDownloadCache.WriteAt``.
        """
        self._check()
        with memoryview(data).cast("B") as view:
            block = self._check_write(len(view), off)
            content = xxhash.xxh3_64_intdigest(view)
            with self._claim(block, off):
                if self._ranges.bitmap[block]:
                    if not self._index.live.check(block, content):
                        raise InvalidOffsetError(
                            off, "of a block that is not cached with other bytes already"
                        )
                else:
                    self._data.write_at(view, off)
                    self.seal(block, content)
            return len(view)

    def invalidate(self, range: ByteRange) -> None:
        """Make every block that `range` touches absent again, for repair. CacheError while a reader waits
        in `tail` for any of it."""
        self._check()
        if range.stop > self.content_size:
            raise InvalidOffsetError(range.last, f"below {self.content_size}")
        first, stop = range.first // self.block_size, range.last // self.block_size + 1
        with self._grown:
            if any(told < range.last for told in self._waiting):
                raise CacheError(f"a reader waits for bytes of {range}")
            for block in _count(first, stop):
                self._ranges.clear(block * self.block_size)
                self._index.forget(block)
            self._told = min(self._told, first * self.block_size - 1)
        self._index.sync()

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
        try:
            if self.poisoned is None:
                self._finish()
        finally:
            self._index.release()
            self._data.close()
            self._index.file.close()
            if self._lock is not None:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- helpers --------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        self._group.check()

    def _check_write(self, size: int, off: int) -> int:
        last = (self.num_blocks - 1) * self.block_size
        if not 0 <= off <= last or off % self.block_size:
            raise InvalidOffsetError(off, f"a multiple of {self.block_size} from 0 to {last}")
        needed = min(self.block_size, self.content_size - off)
        if size != needed:
            raise InvalidBlockSizeError(size, needed)
        return off // self.block_size

    @contextlib.contextmanager
    def _claim(self, block: int, off: int) -> Iterator[None]:
        """A place has one writer at a time: the bytes of two and the hash of one would not match."""
        with self._claims_lock:
            if block in self._claims:
                raise InvalidOffsetError(off, "of a block that nobody else is writing")
            self._claims.add(block)
        try:
            yield
        finally:
            with self._claims_lock:
                self._claims.discard(block)

    def _finish(self) -> None:
        if self.durable:
            self._group.commit()
        if self._index.header.state is State.FILLING:
            mtime = self._data.stat().st_mtime_ns if isinstance(self._data, LocalFile) else 0
            self._index.write_header(clean=True, mtime=mtime)

    def _after_fork(self) -> None:
        """In a forked child: the lock and the files are the parent's business."""
        if self._lock is not None:
            self._lock.forget()
        self._group.poisoned = "this process was forked from the one that opened it"


_count = range  # `range` is also the name of a parameter


def _after_fork_in_child() -> None:
    for cache in list(_open_caches):
        cache._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
