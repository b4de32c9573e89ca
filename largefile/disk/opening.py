"""From two files to what a cache needs of them: locked, checked, reserved and recovered, in this order.

Nothing of what exists is touched before it is known that this is our file, that nobody else writes it,
and that there is room for it. Nothing is served before the recovery is on the disk.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from largefile.core.bitmap import Bitmap
from largefile.core.byteranges import ByteRanges
from largefile.disk.fileops import REAL, FileOps
from largefile.disk.files import CacheFile, LocalFile
from largefile.disk.header import Header, State
from largefile.disk.index import Index, read_header
from largefile.disk.locks import Lock
from largefile.disk.recovery import Facts, believe, recover
from largefile.disk.reserve import check_space
from largefile.errors import CacheBusyError, IndexCorruptError, PartialFileError

__all__ = [
    "Opened",
    "cache_files_exist",
    "facts_of",
    "open_cache_files",
    "open_for_reading",
    "open_for_writing",
    "peek",
    "take_lock",
]

Progress = Callable[[int], object]


class Opened:
    """A cache's parts, ready for use."""

    def __init__(
        self,
        index: Index,
        ranges: ByteRanges,
        pending: Bitmap,
        lock: Lock | None = None,
        reserved: bool = False,
        hashed: int = 0,
        live: bool = True,
    ) -> None:
        self.index = index
        self.ranges = ranges
        #: Present, but no sync vouches for them.
        self.pending = pending
        #: None for a reader, and for files that are not local.
        self.lock = lock
        #: Whether the whole file has room behind it.
        self.reserved = reserved
        #: Blocks that had to be read and hashed.
        self.hashed = hashed
        #: Whether the live entries were written in this boot, over this data file.
        self.live = live


def open_cache_files(
    data: str | os.PathLike[str],
    index: str | os.PathLike[str],
    *,
    read_only: bool = False,
    ops: FileOps = REAL,
) -> tuple[LocalFile, LocalFile]:
    """Open both files of a cache, for ``LocalDownloadCache(data, index)``.

    Raises
    ------
    FileNotFoundError
        If either is missing (the error is also a CacheIOError).
    PartialFileError
        If either is not a regular file.

    Notes
    -----
    Go: ``largefile.OpenCacheFiles``.
    """
    data_file = LocalFile.open(_name(data, "data"), ops, writable=not read_only)
    try:
        return data_file, LocalFile.open(_name(index, "index"), ops, writable=not read_only)
    except BaseException:
        data_file.close()
        raise


def cache_files_exist(
    data: str | os.PathLike[str], index: str | os.PathLike[str], *, ops: FileOps = REAL
) -> tuple[bool, bool]:
    """Whether something is there under each of the two names.

    Notes
    -----
    Go: ``largefile.CacheFilesExist``.
    """
    return ops.exists(_name(data, "data")), ops.exists(_name(index, "index"))


def peek(index: str | os.PathLike[str], *, ops: FileOps = REAL) -> Header:
    """What an index says of itself: identity, URL, sizes, state. Nothing is locked, read further or written.

    Raises
    ------
    FileNotFoundError
        If it is not there (the error is also a CacheIOError).
    IndexCorruptError, IndexVersionError
        If its header cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> from largefile.disk.create import create_cache_files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data, index = os.path.join(folder, "x.part"), os.path.join(folder, "x.part.idx")
    ...     create_cache_files(data, index, content_size=10, block_size=4, url="https://example.org/x")
    ...     header = peek(index)
    >>> header.url, header.identity.size, header.state.name
    ('https://example.org/x', 10, 'FILLING')
    """
    with contextlib.closing(LocalFile.open(_name(index, "index"), ops, writable=False)) as file:
        return read_header(file).header


def open_for_writing(
    data: CacheFile, index_file: CacheFile, *, whole: bool, progress: Progress | None = None
) -> Opened:
    """Lock, check, reserve (the `whole` file, or nothing yet) and recover. The files stay the caller's.

    `progress` hears of the bytes reserved, and then of the bytes that recovery had to read and hash. What it
    raises ends the opening; the next one begins it again.
    """
    lock = take_lock(index_file) if isinstance(index_file, LocalFile) else None  # who injects sees to it
    index = None
    try:
        index = Index.open(index_file, writable=True)
        size = index.header.content_size
        _check_name(data)
        _check_size(data, size)
        if isinstance(data, LocalFile) and index.header.state is not State.PUBLISHED:
            _check_links(data)  # a publication makes a second name, and may have been cut short
        ops = _ops_of(index_file)
        facts = facts_of(data, ops)  # before the reservation, which changes the mtime
        reserved = whole and _reserve(data, size, progress)
        pid = os.getpid()
        owner = {"pid": pid, "started": ops.process_start(pid), "host": ops.host()}
        belief = recover(index, data, facts, progress, **owner)
        ranges = ByteRanges(size, index.header.block_size)
        ranges.set_blocks_from(belief.believed)
        index.drop_pages()
        return Opened(index, ranges, belief.pending, lock, reserved, belief.hashed)
    except BaseException:
        if index is not None:
            index.release()
        if lock is not None:
            lock.release()
        raise


def open_for_reading(data: CacheFile, index_file: CacheFile) -> Opened:
    """Check and decide, and write nothing."""
    index = Index.open(index_file, writable=False)
    try:
        _check_size(data, index.header.content_size)
        ops = _ops_of(index_file)
        facts = facts_of(data, ops)
        alive = isinstance(index_file, LocalFile) and index_file.is_locked()
        if alive and _is_running(index.header, ops):
            # Who writes it has it mounted, and perhaps elsewhere. Another one may be in its recovery yet.
            facts = facts._replace(mount=0)
        belief = believe(index, data, facts, repair=False, writer=bool(alive))
        ranges = ByteRanges(index.header.content_size, index.header.block_size)
        ranges.set_blocks_from(belief.believed)
        return Opened(index, ranges, belief.pending, hashed=belief.hashed, live=belief.live)
    except BaseException:
        index.release()
        raise


def facts_of(data: CacheFile, ops: FileOps) -> Facts:
    """What the machine says of itself and of the data file."""
    if isinstance(data, LocalFile):
        found = data.stat()
        mount = ops.mount_id(data.fd, data.name)
        return Facts(ops.boot_id(), found.st_ino, found.st_mtime_ns, mount, data.birth())
    return Facts(ops.boot_id())


def take_lock(index_file: LocalFile) -> Lock:
    """The one writer's lock; CacheBusyError, with the last known owner, if somebody else has it.

    PartialFileError for an index that has other names as well, which are not of our making.
    """
    _check_links(index_file)
    lock = index_file.lock()
    if lock is None:
        raise CacheBusyError(index_file.name, _owner(index_file))
    return lock


def _owner(index_file: LocalFile) -> str:
    try:
        return read_header(index_file).header.owner
    except IndexCorruptError:
        return "not known"


def _is_running(owner: Header, ops: FileOps) -> bool:
    """Whether the process that has written this header runs; False where it can not be seen from here."""
    return owner.started != 0 and ops.process_start(owner.pid) == owner.started


def _check_name(data: CacheFile) -> None:
    """The data was opened before the lock was taken: whoever had it may have begun anew meanwhile."""
    if isinstance(data, LocalFile) and not data.is_named():
        raise PartialFileError(data.name, "another file took its name while it was being opened")


def _check_links(file: LocalFile) -> None:
    """What is written in place would change under every name that the file has."""
    if (links := file.stat().st_nlink) > 1:
        raise PartialFileError(file.name, f"it is one of {links} hard links to the same file")


def _check_size(data: CacheFile, size: int) -> None:
    if isinstance(data, LocalFile):
        found = data.stat().st_size
        if found != size:
            raise PartialFileError(data.name, f"it has {found} bytes, and its index is for {size}")
    elif data.read_at(1, size) or (size and len(data.read_at(1, size - 1)) != 1):
        raise PartialFileError(data.name, f"it does not have the {size} bytes that its index is for")


def _reserve(data: CacheFile, size: int, progress: Progress | None) -> bool:
    if not isinstance(data, LocalFile):
        return not size or data.allocate(0, size)
    check_space(data.name, size, data.stat().st_blocks * 512, data.ops)
    return not data.in_memory and data.allocate(0, size, progress)


def _ops_of(file: CacheFile) -> FileOps:
    return file.ops if isinstance(file, LocalFile) else REAL


def _name(path: str | os.PathLike[str], which: str) -> str:
    name = os.fspath(path)
    if not isinstance(name, str) or not name:
        raise ValueError(f"the name of the {which} file is {name!r}; it must be a path and not empty")
    return name
