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

from largefile.disk.fileops import NO_SUPPORT, FileOps, MissingFileError
from largefile.errors import CacheError, CacheIOError

__all__ = ["Lock", "is_locked", "is_named", "same_file"]

_BUSY = (errno.EAGAIN, errno.EACCES, errno.EEXIST)
#: There are no such locks here. Any other failure says nothing of who else has one.
_NO_LOCKS = NO_SUPPORT | {errno.ENOLCK}
#: No file may be made beside the index.
_NO_MORE_FILES = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG})


class Lock:
    """The right to write to the index at `path`; ``Lock.take`` and ``Lock.create`` make one.

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
        self._pid = os.getpid()

    @classmethod
    def take(cls, path: str, found: os.stat_result, ops: FileOps) -> Lock | None:
        """The lock of the file of `found`; None when somebody else has it, or the name is not that file's.

        Another file that has taken the name is not locked for a moment either: its maker is about to.
        """
        try:
            fd = ops.open(path, os.O_RDWR)
        except MissingFileError:
            return None
        return cls._of_open(fd, path, ops, found)

    @classmethod
    def create(cls, path: str, ops: FileOps, old: Lock | None = None) -> Lock | None:
        """Make the file, which must not be there, and lock it; `old` is a lock that we have on its name.

        None when somebody came between, who takes the file for a dead process's and removes it.
        """
        fd = ops.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        if old is not None and old.kind == "owner-file":
            old.kind = "none"  # an owner file locks a name, which is the same one
            return cls(fd, path, "owner-file", ops)
        return cls._of_open(fd, path, ops)

    @classmethod
    def _of_open(cls, fd: int, path: str, ops: FileOps, found: os.stat_result | None = None) -> Lock | None:
        lock = cls(fd, path, "none", ops)
        try:
            mine = ops.fstat(fd, path)
            if found is None or same_file(mine, found):
                kind = _lock(fd, path, ops)
                lock.kind = kind or "none"
                # Whoever had the lock until now may have removed the file under it.
                if kind is not None and is_named(path, mine, ops):
                    return lock
        except BaseException:
            lock.release()
            raise
        lock.release()
        return None

    def release(self) -> None:
        """Unlock, and say so: a duplicate of the descriptor in a forked child would keep the lock."""
        if self._pid != os.getpid():
            self.forget()
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        # Closing unlocks too, where no child has a duplicate; and nothing was written that it could lose.
        with contextlib.suppress(CacheError):
            if self.kind == "ofd":
                self._ops.unlock_ofd(fd, self.path)
            elif self.kind == "flock":
                self._ops.flock(fd, fcntl.LOCK_UN, self.path)
            elif self.kind == "owner-file":
                self._ops.unlink(_owner_path(self.path))
        with contextlib.suppress(CacheError):
            self._ops.close(fd, self.path)

    def __del__(self) -> None:
        self.release()

    def forget(self) -> None:
        """In a forked child: close without unlocking. The lock is the parent's."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two answers of the system are about one file."""
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def is_named(path: str, found: os.stat_result, ops: FileOps) -> bool:
    """Whether `path` still is the name of the file of `found`."""
    try:
        return same_file(ops.stat(path), found)
    except MissingFileError:
        return False


def is_locked(fd: int, path: str, ops: FileOps) -> bool | None:
    """Whether another open holds the lock of the index that is open as `fd`; None: cannot be told."""
    try:
        return ops.locked_ofd(fd, path)
    except CacheIOError:
        pass
    with contextlib.suppress(CacheError):
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
        if error.errno not in _NO_LOCKS:
            raise
    try:
        ops.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, path)
        return "flock"
    except CacheIOError as error:
        if error.errno in _BUSY:
            return None
        if error.errno not in _NO_LOCKS:
            raise
    return _own(path, ops)


def _own(path: str, ops: FileOps) -> str | None:
    """Make the owner file, in the place of one whose process is gone."""
    owner = _owner_path(path)
    for _ in range(2):
        try:
            fd = ops.open(owner, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except CacheIOError as error:
            if error.errno in _NO_MORE_FILES:
                return "none"
            if error.errno != errno.EEXIST:
                raise
            if not _is_stale(owner, ops):
                return None
            with contextlib.suppress(MissingFileError):
                ops.unlink(owner)
            continue
        pid = os.getpid()
        try:
            try:
                ops.pwrite(fd, f"{pid} {ops.process_start(pid)} {ops.host()}\n".encode(), 0, owner)
            finally:
                ops.close(fd, owner)
        except BaseException:
            ops.unlink(owner)  # it names nobody, and would keep everybody out
            raise
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
