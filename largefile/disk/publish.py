"""From DEST.part to DEST: in one step for everybody who looks, and safe to repeat after a crash.

Order: the last commit; the header says published, synced; the part gets the mode of an ordinary file;
it is linked to DEST, which fails where DEST exists, and the part's name goes; the folder is synced; the
index goes. A crash in between leaves the part with all of its blocks (publish again), or DEST with an
index that names DEST's inode (`clean_up`).
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import NO_SUPPORT, REAL, FileOps, MissingFileError
from largefile.disk.files import LocalFile
from largefile.disk.header import State
from largefile.disk.index import read_header
from largefile.errors import (
    CacheError,
    CacheIOError,
    DestinationExistsError,
    IncompleteError,
    IndexCorruptError,
    PartialFileError,
)

__all__ = ["clean_up", "part_paths", "publish", "publish_file"]

_NO_LINKS = NO_SUPPORT | {errno.EPERM, errno.EMLINK, errno.EXDEV}


def part_paths(dest: str | os.PathLike[str]) -> tuple[str, str]:
    """The names of the data file and of the index while `dest` is being downloaded.

    ValueError if the folder's names cannot be so long.

    Examples
    --------
    >>> part_paths("model.bin")
    ('model.bin.part', 'model.bin.part.idx')
    """
    name = os.fspath(dest)
    part = name + ".part"
    index = part + ".idx"
    limit = _longest_name(Path(name).parent)
    length = len(os.fsencode(Path(index).name))
    if length > limit:
        raise ValueError(f"the name {Path(index).name!r} has {length} bytes, and the folder allows {limit}")
    return part, index


def publish(cache: LocalDownloadCache, dest: str | os.PathLike[str], *, overwrite: bool = False) -> str:
    """Make a complete cache the file `dest`, remove its index, and close it; the path.

    Parameters
    ----------
    cache : LocalDownloadCache
        Complete, and in the filesystem of `dest`.
    dest : path-like
        The final name.
    overwrite : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    DestinationExistsError
        `dest` is there; the cache stays open, and as it was.
    IncompleteError
        Blocks are absent.

    Notes
    -----
    Syncs, whatever the cache's `durable` says: a published file does not vanish in a power loss.
    """
    target = os.fspath(dest)
    data = cache.data
    if not isinstance(data, LocalFile):
        raise ValueError(f"{data.name} is not a file of this machine")
    if not cache.complete:
        raise IncompleteError(f"{cache.path} lacks blocks")
    ops = data.ops
    if not overwrite and ops.exists(target) and not _same(data, target):
        raise DestinationExistsError(target)
    cache.commit()
    cache.mark(State.PUBLISHED)
    _give_name(data, target, overwrite)
    _unlink(cache.index_path, ops)
    cache.close()
    return target


def publish_file(data: LocalFile, dest: str | os.PathLike[str], *, overwrite: bool = False) -> str:
    """Make a file that has no index `dest`, and close it; the path. DestinationExistsError as `publish`."""
    target = os.fspath(dest)
    data.sync()
    _give_name(data, target, overwrite)
    data.close()
    return target


def clean_up(dest: str | os.PathLike[str], index: str | os.PathLike[str], *, ops: FileOps = REAL) -> bool:
    """Remove what a crash left between the publication of `dest` and the end of its index.

    True if the index was that of `dest`, and so finished. Whoever writes the cache at this moment keeps
    the lock; then nothing is removed.
    """
    target, index_path = os.fspath(dest), os.fspath(index)
    try:
        file = LocalFile.open(index_path, ops)
    except (MissingFileError, PartialFileError):
        return False
    with contextlib.closing(file):
        try:
            header, _ = read_header(file)
            found = ops.stat(target)
        except (IndexCorruptError, MissingFileError):
            return False
        if header.state is not State.PUBLISHED or found.st_ino != header.inode:
            return False
        if found.st_size != header.content_size:
            return False
        lock = file.lock()
        if lock is None:
            return False
        _unlink_part(index_path, found, ops)
        _unlink(index_path, ops)
        lock.release()
        return True


def _give_name(data: LocalFile, target: str, overwrite: bool) -> None:
    """The mode of an ordinary file, the final name, and both on the disk."""
    data.ops.fchmod(data.fd, 0o666 & ~data.ops.umask(), data.name)
    _move(data, target, overwrite)
    data.ops.fsync_dir(_folder(target))


def _move(data: LocalFile, target: str, overwrite: bool) -> None:
    """Give the file its final name, in one step."""
    ops = data.ops
    if overwrite:
        ops.rename(data.name, target)
        return
    try:
        ops.link(data.name, target)
    except CacheIOError as error:
        if error.errno == errno.EEXIST and not _same(data, target):
            raise DestinationExistsError(target) from error
        if error.errno in _NO_LINKS:
            _rename(data.name, target, ops)
            return
        if error.errno != errno.EEXIST:
            raise
    _unlink(data.name, ops)


def _rename(source: str, target: str, ops: FileOps) -> None:
    """Where links are not supported: rename, but not over a file if the system can help it."""
    try:
        ops.rename_noreplace(source, target)
    except CacheIOError as error:
        if error.errno == errno.EEXIST:
            raise DestinationExistsError(target) from error
        if error.errno not in NO_SUPPORT:
            raise
        if ops.exists(target):
            raise DestinationExistsError(target) from error
        ops.rename(source, target)


def _same(data: LocalFile, target: str) -> bool:
    """Whether `target` is another name of the part: a publication that was cut short."""
    with contextlib.suppress(CacheError):
        found, mine = data.ops.stat(target), data.stat()
        return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)
    return False


def _unlink_part(index_path: str, found: os.stat_result, ops: FileOps) -> None:
    """Remove the part's name too, where it is one more name of the published file."""
    part = index_path.removesuffix(".idx")
    with contextlib.suppress(MissingFileError):
        mine = ops.stat(part)
        if part != index_path and (mine.st_dev, mine.st_ino) == (found.st_dev, found.st_ino):
            ops.unlink(part)


def _unlink(path: str, ops: FileOps) -> None:
    with contextlib.suppress(MissingFileError):
        ops.unlink(path)


def _folder(path: str) -> str:
    return str(Path(path).parent)


def _longest_name(folder: Path) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):
        return 255
