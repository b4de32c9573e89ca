"""New cache files: room is checked, both are made, and what failed half-way is removed again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Literal

from largefile.core.ranges import MAX_SIZE
from largefile.disk.fileops import REAL, FileOps, MissingFileError
from largefile.disk.files import LocalFile
from largefile.disk.header import SLOT_SIZE, SLOTS, Header, Layout, State
from largefile.disk.index import Index, read_header
from largefile.disk.locks import Lock
from largefile.disk.reserve import check_space
from largefile.errors import CacheBusyError, IndexCorruptError, PartialFileError
from largefile.rules.identity import Identity

__all__ = ["create_cache_files", "remove_unborn"]


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
        If another process writes the files that are to be replaced.
    NotEnoughSpaceError
        Before anything that exists was touched.
    ValueError
        For an empty name or a size out of range.

    Notes
    -----
    Go: ``largefile.CreateNewFilesForCache``, which removed the old files before it looked for room.
    """
    data_path, index_path = _names(data, index)
    header = _new_header(content_size, block_size, identity, url, ops)
    old = _existing(data_path, index_path, replace, ops)
    needed = Layout.of(header.num_blocks).size + (content_size if reserve == "all" else 0)
    check_space(data_path, needed, sum(found.st_blocks * 512 for found in old), ops)
    with contextlib.ExitStack() as undo:
        if old:
            undo.callback(_remove_old(data_path, index_path, ops).release)
        made = contextlib.ExitStack()
        try:
            _create(data_path, index_path, header, reserve, progress, made, ops)
        except BaseException:
            made.close()
            raise


def remove_unborn(
    data: str | os.PathLike[str], index: str | os.PathLike[str], *, ops: FileOps = REAL
) -> bool:
    """Remove what a creator left that died before the data file had its size; whether it was such a thing.

    Then the data file is missing or has no bytes, and the index names none, or says that it was being
    replaced. All else is left as it is.
    """
    data_path, index_path = os.fspath(data), os.fspath(index)
    if ops.exists(data_path) and ops.stat(data_path).st_size:
        return False
    with contextlib.closing(LocalFile.open(index_path, ops)) as file:
        try:
            header = read_header(file)[0]
            unborn = header.inode == 0 and (header.content_size > 0 or not ops.exists(data_path))
            unborn |= header.state is State.SUPERSEDED
        except IndexCorruptError:
            unborn = not any(file.read_at(SLOTS[-1] + SLOT_SIZE, 0))
    if unborn:
        _unlink(data_path, ops)
        _unlink(index_path, ops)
    return unborn


def _create(
    data_path: str,
    index_path: str,
    header: Header,
    reserve: str,
    progress: Callable[[int], object] | None,
    undo: contextlib.ExitStack,
    ops: FileOps,
) -> None:
    """Both files, complete and synced, before the long part: a kill during it leaves an empty cache.

    The index comes first and names no data file, so that what a kill between the two leaves can be told
    from a partial file that lost its index, which nobody may touch.
    """
    with contextlib.closing(_make(index_path, undo, ops)) as index:
        Index.create(index, header.next(inode=0))
        with contextlib.closing(_make(data_path, undo, ops)) as data:
            ops.ftruncate(data.fd, header.content_size, data_path)
            data.sync_name()
            index.sync_name()
            if reserve == "all" and header.content_size:
                data.allocate(0, header.content_size, progress)
    if progress is not None:
        progress(header.content_size)


def _make(path: str, undo: contextlib.ExitStack, ops: FileOps) -> LocalFile:
    file = LocalFile.create(path, ops)
    undo.callback(_unlink, path, ops)
    return file


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


def _existing(data: str, index: str, replace: bool, ops: FileOps) -> list[os.stat_result]:
    """The facts of what is there already; PartialFileError unless it may go."""
    there = [path for path in (data, index) if ops.exists(path)]
    if there and not replace:
        raise PartialFileError(there[0], "it exists already")
    if there and index not in there:
        raise PartialFileError(data, "it has no index")
    return [ops.stat(path) for path in there]


def _remove_old(data: str, index: str, ops: FileOps) -> Lock:
    """Remove a cache that nobody writes. Its lock is kept until the new one is there."""
    with contextlib.closing(LocalFile.open(index, ops)) as file:
        header, _ = read_header(file)
        lock = file.lock()
        if lock is None:
            raise CacheBusyError(index, header.owner)
        try:
            _supersede(file)
            _unlink(data, ops)
            _unlink(index, ops)
        except BaseException:
            lock.release()
            raise
    return lock


def _supersede(file: LocalFile) -> None:
    """Tell followers that nothing more comes."""
    index = Index.open(file, writable=True)
    try:
        index.write_header(state=State.SUPERSEDED)
    finally:
        index.release()


def _unlink(path: str, ops: FileOps) -> None:
    with contextlib.suppress(MissingFileError):
        ops.unlink(path)
