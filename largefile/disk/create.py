"""New cache files: room is checked, both are made, and what failed half-way is removed again."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import Literal

from largefile.core.ranges import MAX_SIZE
from largefile.disk.fileops import REAL, FileOps
from largefile.disk.files import LocalFile, close_all
from largefile.disk.header import Header, Layout
from largefile.disk.index import Index
from largefile.disk.leftovers import existing, remove_old
from largefile.disk.locks import Lock
from largefile.disk.reserve import check_space
from largefile.errors import CacheBusyError, CacheIOError, PartialFileError
from largefile.rules.identity import Identity

__all__ = ["create_cache_files", "make_index", "new_cache_files"]


def create_cache_files(
    data: str | os.PathLike[str],
    index: str | os.PathLike[str],
    content_size: int,
    block_size: int,
    *,
    identity: Identity | None = None,
    url: str | None = None,
    reserve: Literal["all", "span"] = "all",
    replace: bool = False,
    progress: Callable[[int], object] | None = None,
    ops: FileOps = REAL,
) -> None:
    """Make the two files of a cache in which every block is absent.

    Parameters
    ----------
    data, index : path-like
        Made with mode 0600.
    content_size, block_size : int
        Bytes; the block size is at least 1.
    identity : Identity, optional
        Which version of the content this is; its size, if it has one, is `content_size`.
    url : str, optional
        For people: scheme, host and path, and nothing that is secret.
    reserve : {"all", "span"}
        Whether room on the disk is needed for the whole file now.
    replace : bool
        Whether cache files of these names may go. They go only once it is known that there is room, that
        the index is one of ours, and that nobody writes it.
    progress : callable, optional
        Called with the bytes reserved so far. If it raises, both files are removed again.

    Raises
    ------
    PartialFileError
        If either is there and `replace` was not asked for, or the files are not a cache's.
    CacheBusyError
        If another process writes the files that are to be replaced, or makes them at this moment.
    NotEnoughSpaceError
        Before anything that exists was touched.
    ValueError
        For an empty name or a size out of range.

    Notes
    -----
    Go: ``largefile.CreateNewFilesForCache``, which removed the old files before it looked for room.
    """
    made = new_cache_files(
        data,
        index,
        content_size,
        block_size,
        identity=identity,
        url=url,
        reserve=reserve,
        replace=replace,
        progress=progress,
        ops=ops,
    )
    close_all(*made)


def new_cache_files(
    data: str | os.PathLike[str],
    index: str | os.PathLike[str],
    content_size: int,
    block_size: int,
    *,
    identity: Identity | None = None,
    url: str | None = None,
    reserve: Literal["all", "span"] = "all",
    replace: bool = False,
    progress: Callable[[int], object] | None = None,
    ops: FileOps = REAL,
) -> tuple[LocalFile, LocalFile]:
    """As `create_cache_files`, but both files are open, and the index is locked from its first moment on.

    ``LocalDownloadCache(data, index)`` takes over both, and the lock: nobody comes between.
    """
    data_path, index_path = _names(data, index)
    header = _new_header(content_size, block_size, identity, url, ops)
    old = existing(data_path, index_path, ops)
    if old and not replace:
        raise PartialFileError(data_path if ops.exists(data_path) else index_path, "it exists already")
    needed = Layout.of(header.num_blocks).size + (content_size if reserve == "all" else 0)
    check_space(data_path, needed, sum(found.st_blocks * 512 for found in old), ops)
    with contextlib.ExitStack() as after:
        lock = remove_old(data_path, index_path, ops) if old else None
        if lock is not None:
            after.callback(lock.release)
        with contextlib.ExitStack() as undo:
            index_file, lock = make_index(index_path, data_path, header.next(inode=0), lock, undo, ops)
            data_file = _make_data(data_path, header.content_size, undo, ops)
            if reserve == "all" and content_size and not data_file.in_memory:
                data_file.allocate(0, content_size, progress)
            if progress is not None:
                progress(content_size)
            undo.pop_all()
    index_file.keep(lock)
    return data_file, index_file


def make_index(
    path: str, data: str, header: Header, old: Lock | None, undo: contextlib.ExitStack, ops: FileOps
) -> tuple[LocalFile, Lock]:
    """A new index, locked; `undo` gets what removes it again. `old` is a lock that we have on that name.

    It is made before the data, and names no data file: so what a kill between the two leaves can be told
    from a partial file that lost its index, which nobody may touch. Its name is synced before the data has
    one, or a loss of power could leave only the other.
    """
    try:
        lock = Lock.create(path, ops, old)
    except CacheIOError as error:
        if error.errno == errno.EEXIST:  # it was not there when we looked
            raise CacheBusyError(path, "not known") from error
        raise
    if lock is None:
        raise CacheBusyError(path, "not known")
    undo.callback(lock.release)  # the last of them: what is not locked may be somebody else's
    undo.callback(_remove_index, path, data, ops)
    file = LocalFile.open(path, ops)
    undo.callback(file.close)
    Index.create(file, header)
    file.sync_name()
    return file, lock


def _remove_index(path: str, data: str, ops: FileOps) -> None:
    """But not where the data could not be removed: without an index it would be nobody's for ever."""
    if not ops.exists(data):
        ops.unlink(path, missing_ok=True)


def _make_data(path: str, size: int, undo: contextlib.ExitStack, ops: FileOps) -> LocalFile:
    """Of its full size and synced before the long part: a kill during it leaves an empty cache."""
    data = LocalFile.create(path, ops)
    undo.callback(lambda: ops.unlink(path, missing_ok=True))
    undo.callback(data.close)
    ops.ftruncate(data.fd, size, path)
    data.sync_name()
    return data


def _new_header(
    content_size: int, block_size: int, identity: Identity | None, url: str | None, ops: FileOps
) -> Header:
    if not 0 <= content_size <= MAX_SIZE:
        raise ValueError(f"content size {content_size} must be between 0 and {MAX_SIZE}")
    if not 1 <= block_size <= MAX_SIZE:
        raise ValueError(f"block size {block_size} must be at least 1")
    known = identity or Identity(None, None, content_size)
    if known.size not in (None, content_size):
        raise ValueError(f"content size {content_size} is not the {known.size} of the identity")
    return Header(
        content_size,
        block_size,
        os.urandom(16),
        generation=0,
        etag=known.etag,
        last_modified=known.last_modified,
        digest=known.digest,
        url=url,
        boot=ops.boot_id(),
    )


def _names(data: str | os.PathLike[str], index: str | os.PathLike[str]) -> tuple[str, str]:
    names = os.fspath(data), os.fspath(index)
    if not all(isinstance(name, str) and name for name in names) or names[0] == names[1]:
        raise ValueError(f"{names[0]!r} and {names[1]!r} must be two names, neither of them empty")
    return names
