"""Room on the filesystem before the first byte: asked for, then allocated.

A page of a mapped file that has no room behind it kills the process by SIGBUS when it is stored to; a
failed reservation is an error with two numbers in it. fallocate(2) allocates without writing. Where a
filesystem has no such call the size is set, the free space is compared, and the answer is False: then
a later write may still find the disk full, and nothing of that file may be mapped for writing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from largefile.core.ranges import MAX_SIZE
from largefile.disk.fileops import NO_SUPPORT, REAL, FileOps, folder_of
from largefile.errors import CacheIOError, NotEnoughSpaceError

__all__ = ["check_space", "reserve", "reserve_space"]

#: One call of fallocate covers so many bytes, so that progress is seen and Ctrl-C is heard.
PIECE = 256 << 20

Progress = Callable[[int], object]


def reserve_space(
    path: str | os.PathLike[str], size: int, *, progress: Progress | None = None, ops: FileOps = REAL
) -> bool:
    """Make the file at `path` at least `size` bytes long, with room on the disk for all of them.

    Parameters
    ----------
    path : path-like
        Created with mode 0600 if it is not there. An existing file keeps its bytes and never shrinks.
    size : int
        Bytes.
    progress : callable, optional
        Called with the bytes reserved so far, after each 256 MiB; the last call has `size`. If it raises,
        the reservation is undone and the exception goes to the caller.

    Returns
    -------
    bool
        True if the room is allocated; False where the filesystem cannot (then the size is set, and the
        free space was enough a moment ago).

    Raises
    ------
    NotEnoughSpaceError
        Before anything is touched, if the free space is known to be too little. A file that this call
        made is removed again.
    CacheIOError
        For any other failure of the filesystem.
    ValueError
        If `size` is negative or over 2^63 - 1.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "room")
    ...     _ = reserve_space(path, 100_000)
    ...     os.path.getsize(path)
    100000

    Notes
    -----
    Go: ``largefile.ReserveSpace``; its block size and concurrency have no use here, as no zeros are written.
    """
    if not 0 <= size <= MAX_SIZE:
        raise ValueError(f"size {size} must be between 0 and {MAX_SIZE}")
    name = os.fspath(path)
    made = not ops.exists(name)
    check_space(name, size, 0 if made else _allocated(ops.stat(name)), ops)
    fd = ops.open(name, os.O_RDWR | (os.O_CREAT | os.O_EXCL if made else 0))
    try:
        return _reserve_open(fd, name, size, progress, ops)
    except BaseException:
        if made:
            ops.unlink(name)
        raise
    finally:
        ops.close(fd, name)


def reserve(
    fd: int, start: int, stop: int, path: str, *, progress: Progress | None = None, ops: FileOps = REAL
) -> bool:
    """Allocate room for the bytes `start` to `stop` - 1 of an open file that is already long enough.

    False where the filesystem cannot. Room that is already there is left as it is.
    """
    for first in range(start, stop, PIECE):
        last = min(first + PIECE, stop)
        try:
            ops.fallocate(fd, first, last - first, path, keep_size=True)
        except CacheIOError as error:
            if error.errno in NO_SUPPORT:
                return False
            raise
        except NotEnoughSpaceError as error:
            # By the open file: a temporary one has no name.
            raise NotEnoughSpaceError(path, stop - first, ops.free_bytes(fd)) from error
        if progress is not None:
            progress(last - start)
    return True


def check_space(path: str, needed: int, allocated: int = 0, ops: FileOps = REAL) -> None:
    """Raise unless `needed` bytes fit beside the file at `path`, of which `allocated` are there already."""
    missing = needed - allocated
    if missing <= 0:
        return
    free = ops.free_bytes(folder_of(path))
    if missing > free:
        raise NotEnoughSpaceError(path, missing, free)


def _reserve_open(fd: int, path: str, size: int, progress: Progress | None, ops: FileOps) -> bool:
    before = ops.fstat(fd, path).st_size
    if before < size:
        ops.ftruncate(fd, size, path)
    try:
        reserved = reserve(fd, 0, size, path, progress=progress, ops=ops)
    except BaseException:
        if before < size:
            with contextlib.suppress(CacheIOError):
                ops.ftruncate(fd, before, path)
        raise
    if progress is not None and (not reserved or size == 0):
        progress(size)
    return reserved


def _allocated(found: os.stat_result) -> int:
    # st_blocks counts units of 512 bytes whatever st_blksize says (stat(2)).
    return found.st_blocks * 512
