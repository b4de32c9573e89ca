"""One writer for an index.

The lock lives on an open of its own. A Python mmap duplicates the descriptor it maps, and the duplicate
keeps the lock after `close`, so the descriptor that is mapped is never the one that is locked.

Where the filesystem has no OFD locks: flock, then an owner file made with O_EXCL beside the index,
then nothing; `kind` says which. Two writers despite it all write the same bytes to the same places.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from largefile.disk.fileops import FileOps, MissingFileError
from largefile.errors import CacheIOError, NotEnoughSpaceError

__all__ = ["Lock", "is_locked"]

_BUSY = (errno.EAGAIN, errno.EACCES, errno.EEXIST)


class Lock:
    """The right to write to the index at `path`; ``Lock.take`` makes one.

    Attributes
    ----------
    kind : str
        ``"ofd"``, ``"flock"``, ``"owner-file"`` or ``"none"``.
    """

    def __init__(self, fd: int, path: str, kind: str, ops: FileOps) -> None:
        self.path = path
        self.kind = kind
        self._fd = fd
        self._ops = ops

    @classmethod
    def take(cls, path: str, ops: FileOps) -> Lock | None:
        """The lock, or None when somebody else has it."""
        fd = ops.open(path, os.O_RDWR)
        try:
            kind = _lock(fd, path, ops)
        except BaseException:
            ops.close(fd, path)
            raise
        if kind is None:
            ops.close(fd, path)
            return None
        return cls(fd, path, kind, ops)

    def is_of(self, found: os.stat_result) -> bool:
        """Whether the locked file is the file of `found`, and not one that has taken its name since."""
        mine = self._ops.fstat(self._fd, self.path)
        return (mine.st_dev, mine.st_ino) == (found.st_dev, found.st_ino)

    def release(self) -> None:
        """Unlock, and say so: a duplicate of the descriptor in a forked child would keep the lock."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        with contextlib.suppress(CacheIOError):
            if self.kind == "ofd":
                self._ops.unlock_ofd(fd, self.path)
            elif self.kind == "flock":
                self._ops.flock(fd, fcntl.LOCK_UN, self.path)
            elif self.kind == "owner-file":
                self._ops.unlink(_owner_path(self.path))
        self._ops.close(fd, self.path)

    def __del__(self) -> None:
        with contextlib.suppress(CacheIOError):
            self.release()

    def forget(self) -> None:
        """In a forked child: close without unlocking. The lock is the parent's."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def is_locked(fd: int, path: str, ops: FileOps) -> bool | None:
    """Whether another open holds the lock of the index that is open as `fd`; None: cannot be told."""
    try:
        return ops.locked_ofd(fd, path)
    except CacheIOError:
        pass
    with contextlib.suppress(CacheIOError, NotEnoughSpaceError):
        return ops.exists(_owner_path(path)) or None
    return None


def _lock(fd: int, path: str, ops: FileOps) -> str | None:
    """The kind of lock that was got; None when another one has it."""
    try:
        ops.lock_ofd(fd, path)
        return "ofd"
    except CacheIOError as error:
        if error.errno in _BUSY:
            return None
    try:
        ops.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, path)
        return "flock"
    except CacheIOError as error:
        if error.errno in _BUSY:
            return None
    return _own(path, ops)


def _own(path: str, ops: FileOps) -> str | None:
    """Make the owner file, in the place of one whose process is gone."""
    owner = _owner_path(path)
    for _ in range(2):
        try:
            fd = ops.open(owner, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except CacheIOError as error:
            if error.errno != errno.EEXIST:
                return "none"
            if not _is_stale(owner, ops):
                return None
            with contextlib.suppress(MissingFileError):
                ops.unlink(owner)
            continue
        pid = os.getpid()
        ops.pwrite(fd, f"{pid} {ops.process_start(pid)} {ops.host()}\n".encode(), 0, owner)
        ops.close(fd, owner)
        return "owner-file"
    return None


def _is_stale(owner: str, ops: FileOps) -> bool:
    """Whether the process that an owner file names is gone; only this machine's can be known."""
    try:
        fd = ops.open(owner, os.O_RDONLY)
    except MissingFileError:
        return True
    try:
        words = ops.pread(fd, 1024, 0, owner).decode("ascii", "replace").split()
    finally:
        ops.close(fd, owner)
    if len(words) != 3 or not (words[0] + words[1]).isdecimal() or words[2] != ops.host():
        return False
    return ops.process_start(int(words[0])) != int(words[1])


def _owner_path(path: str) -> str:
    return path + ".owner"
