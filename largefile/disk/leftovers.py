"""What earlier runs left under our names: told apart, and removed only under its lock.

A creator locks its index before anything else is in it, and keeps the lock until the cache is closed. So
files that look half made and can be locked are a dead creator's, and the others are none of our business.
"""

from __future__ import annotations

import contextlib
import os

from largefile.disk.fileops import REAL, FileOps, MissingFileError, folder_of
from largefile.disk.files import LocalFile
from largefile.disk.header import MAGIC, SLOT_SIZE, SLOTS, State
from largefile.disk.index import Index, read_header
from largefile.disk.locks import Lock
from largefile.disk.opening import take_lock
from largefile.disk.recovery import Facts, is_data_of
from largefile.errors import CacheBusyError, IndexCorruptError, PartialFileError

__all__ = ["existing", "remove_old", "remove_unborn", "supersede"]


def existing(data: str, index: str, ops: FileOps) -> list[os.stat_result]:
    """The facts of what is there already; PartialFileError for data without an index, which is not ours."""
    found = {path: _stat(path, ops) for path in (data, index)}
    if found[data] is not None and found[index] is None:
        raise PartialFileError(data, "it has no index")
    return [facts for facts in found.values() if facts is not None]


def remove_old(data: str, index: str, ops: FileOps) -> Lock:
    """Remove a cache that nobody writes. Its lock is kept, until the new one is there.

    Raises
    ------
    CacheBusyError
        Another process writes it.
    IndexCorruptError, IndexVersionError
        The index is not one of ours.
    """
    with contextlib.ExitStack() as undo:
        with contextlib.closing(_open(index, ops)) as file:
            lock = take_lock(file)
            undo.callback(lock.release)
            try:
                supersede(file)
            except IndexCorruptError:  # there is nothing to write in, if its maker has only begun
                if not _is_unborn(file, data, ops):
                    raise
            _unlink_in_turn(data, index, ops)
        undo.pop_all()
    return lock


def remove_unborn(
    data: str | os.PathLike[str], index: str | os.PathLike[str], *, ops: FileOps = REAL
) -> bool:
    """Remove what nobody will go on with; whether it was such a thing. All else is left as it is.

    That is what a creator left that died before the data file had its size (the data file is missing or has
    no bytes, and the index names none), and what was replaced, put aside, or not resumable from the first.

    Raises
    ------
    CacheBusyError
        Whoever made it is still at work.
    """
    data_path, index_path = os.fspath(data), os.fspath(index)
    with contextlib.closing(_open(index_path, ops)) as file:
        lock = take_lock(file)
        try:
            if unborn := _is_unborn(file, data_path, ops):
                _unlink_in_turn(data_path, index_path, ops)
        finally:
            lock.release()
    return unborn


def supersede(file: LocalFile, data: LocalFile | None = None) -> None:
    """Write down that nothing more comes, for followers and for the next run; which holds the lock."""
    index = Index.open(file, writable=True)
    named = {} if data is None else {"inode": data.stat().st_ino, "birth": data.birth()}
    try:
        index.write_header(state=State.SUPERSEDED, **named)
    finally:
        index.release()


def _unlink_in_turn(data: str, index: str, ops: FileOps) -> None:
    """The data first, also on the disk: without its index nobody could tell whose it is."""
    if ops.exists(data):
        ops.unlink(data, missing_ok=True)
        ops.fsync_dir(folder_of(data))
    ops.unlink(index, missing_ok=True)


def _is_unborn(index: LocalFile, path: str, ops: FileOps) -> bool:
    data = _stat(path, ops)
    empty = data is None or not data.st_size
    try:
        header = read_header(index).header
    except IndexCorruptError:
        return empty and _was_being_made(index)
    if header.state is State.SUPERSEDED:
        return data is None or empty or is_data_of(header, Facts("", data.st_ino, birth=ops.birth(path)))
    return empty and header.inode == 0 and (header.content_size > 0 or data is None)


def _was_being_made(index: LocalFile) -> bool:
    """Whether a file without a header is an index that a kill or a loss of power has left half made.

    Its first slot may be torn: it begins as ours, or not at all; or there is room for tables behind it. All
    else is zeros, as the second slot is written when there is data.
    """
    first, rest = index.read_at(SLOT_SIZE, SLOTS[0]), index.read_at(16 * SLOT_SIZE, SLOTS[1])
    ours = first.startswith(MAGIC) or not any(first[: len(MAGIC)]) or len(rest) > SLOT_SIZE
    return ours and not any(rest)


def _open(index: str, ops: FileOps) -> LocalFile:
    try:
        return LocalFile.open(index, ops)
    except MissingFileError as error:  # it was there a moment ago
        raise CacheBusyError(index, "not known") from error


def _stat(path: str, ops: FileOps) -> os.stat_result | None:
    try:
        return ops.stat(path)
    except MissingFileError:
        return None
