"""From DEST.part to DEST: in one step for everybody who looks, and safe to repeat after a crash.

Order: the last commit; the header says published, synced; the part gets the mode of an ordinary file;
it is linked to DEST, which fails where DEST exists; the folder is synced; the part's name goes; the folder
is synced; the index goes. A crash in between leaves the part with all of its blocks (publish again), or DEST
with an index that names DEST's inode (`clean_up`).
"""

from __future__ import annotations

import contextlib
import errno
import os

from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import NO_SUPPORT, REAL, FileOps, MissingFileError, folder_of
from largefile.disk.files import LocalFile
from largefile.disk.header import Header, State
from largefile.disk.index import read_header
from largefile.disk.locks import same_file
from largefile.disk.recovery import Facts, is_data_of
from largefile.errors import (
    CacheError,
    CacheIOError,
    DestinationExistsError,
    IncompleteError,
    IndexCorruptError,
    PartialFileError,
)

__all__ = ["clean_up", "give_mode", "part_paths", "publish", "rename_new", "set_aside"]

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
    limit = _longest_name(folder_of(name))
    longest = os.path.basename(index)
    length = len(os.fsencode(longest))
    if length > limit:
        raise ValueError(f"the name {longest!r} has {length} bytes, and the folder allows {limit}")
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
    if not _same(data, data.name) or data.stat().st_size != cache.content_size:
        # The name is what gets the final one, so it must still be that of the bytes that were checked.
        raise PartialFileError(data.name, "it was replaced or cut while it was being filled")
    cache.mark(State.PUBLISHED)
    try:
        give_mode(data)
        _move(data, target, overwrite)
    except DestinationExistsError:
        ops.fchmod(data.fd, 0o600, data.name)
        cache.mark(State.FILLING)
        raise
    ops.fsync_dir(folder_of(target))
    ops.unlink(cache.index_path, missing_ok=True)
    cache.close()
    return target


def set_aside(cache: LocalDownloadCache, bad: str | os.PathLike[str]) -> str:
    """Keep the bytes of `cache` as the file `bad`, for people, remove its index, and close it; the path.

    No run goes on from these bytes. A kill on the way leaves files that the next run removes, and no index
    whose data is gone.
    """
    target = os.fspath(bad)
    data = cache.data
    if not isinstance(data, LocalFile):
        raise ValueError(f"{data.name} is not a file of this machine")
    cache.mark(State.SUPERSEDED)
    data.ops.rename(data.name, target)
    data.ops.fsync_dir(folder_of(target))
    data.ops.unlink(cache.index_path, missing_ok=True)
    cache.close()
    return target


def clean_up(
    dest: str | os.PathLike[str], index: str | os.PathLike[str], *, ops: FileOps = REAL
) -> Header | None:
    """Remove what a crash left between the publication of `dest` and the end of its index.

    The header of the index if it was that of `dest`, and so finished: it says what `dest` is. Whoever writes
    the cache at this moment keeps the lock; then nothing is removed.
    """
    target, index_path = os.fspath(dest), os.fspath(index)
    try:
        file = LocalFile.open(index_path, ops)
    except (MissingFileError, PartialFileError):
        return None
    with contextlib.closing(file):
        # Before the lock, which would be in the way of who goes on with an ordinary partial file …
        if _published(file, target, ops) is None or (lock := file.lock()) is None:
            return None
        try:
            # … and under it, as it may have been taken back.
            header = _published(file, target, ops)
            if header is not None:
                _unlink_part(index_path, target, ops)
                ops.unlink(index_path, missing_ok=True)
            return header
        finally:
            lock.release()


def give_mode(data: LocalFile) -> None:
    """Make a file of ours as open to others as any new file."""
    data.ops.fchmod(data.fd, 0o666 & ~data.ops.umask(), data.name)


def rename_new(source: str, target: str, ops: FileOps) -> None:
    """Rename, but not over a file if the system can help it. DestinationExistsError."""
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


def _published(index: LocalFile, target: str, ops: FileOps) -> Header | None:
    """The header of `index`, if it says that `target` came out of it."""
    try:
        header, _, certain = read_header(index)
        found = ops.stat(target)
    except (IndexCorruptError, MissingFileError):
        return None
    facts = Facts("", found.st_ino, birth=ops.birth(target))
    same = certain and is_data_of(header, facts) and found.st_size == header.content_size
    return header if same and header.state is State.PUBLISHED else None


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
            rename_new(data.name, target, ops)
            return
        if error.errno != errno.EEXIST:
            raise
    ops.fsync_dir(folder_of(target))  # or the disk could have lost one name and not got the other
    ops.unlink(data.name, missing_ok=True)


def _same(data: LocalFile, target: str) -> bool:
    """Whether `target` is another name of the part: a publication that was cut short."""
    with contextlib.suppress(CacheError):
        return same_file(data.ops.stat(target), data.stat())
    return False


def _unlink_part(index_path: str, target: str, ops: FileOps) -> None:
    """Remove the part's name too, where it is one more name of the published file."""
    part = index_path.removesuffix(".idx")
    with contextlib.suppress(MissingFileError):
        if part != index_path and same_file(ops.stat(part), ops.stat(target)):
            ops.unlink(part)
            ops.fsync_dir(folder_of(part))


def _longest_name(folder: str) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):
        return 255
