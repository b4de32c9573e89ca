"""The two files under a cache: the contract, and the ordinary local file that keeps it."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from largefile.disk.fileops import MAPPABLE, REAL, TMPFS, FileOps, folder_of
from largefile.disk.locks import Lock, is_locked, is_named
from largefile.disk.reserve import reserve
from largefile.errors import CacheError, CacheIOError, PartialFileError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["CacheFile", "LocalFile", "close_all"]


@runtime_checkable
class CacheFile(Protocol):
    """What a cache needs of the file that holds its data, and of the one that holds its index.

    Anything with these methods can be injected. Without a `map` (None) the bytes take a bounce buffer and
    `write_at`.

    Notes
    -----
    Go: ``largefile.CacheFileReadWriter``; its sequential Read and Write are dropped, as nothing used them.
    """

    @property
    def name(self) -> str:
        """What messages call it; a path where there is one."""

    def read_at(self, size: int, off: int) -> bytes:
        """`size` bytes at `off`; fewer only at the end of the file."""

    def write_at(self, data: Buffer, off: int) -> int:
        """Write all of `data` at `off`, or raise; how many bytes that was."""

    def allocate(self, offset: int, size: int) -> bool:
        """Make bytes ``[offset, offset + size)`` exist, with room behind them if it can; whether it could."""

    def sync(self) -> None:
        """Return when every byte written so far, also through a map, is on stable storage."""

    def close(self) -> None: ...

    def map(self, offset: int, size: int) -> Buffer | None:
        """A writable buffer that is these bytes of the file; None where that is not safe.

        `offset` is a multiple of ``mmap.ALLOCATIONGRANULARITY``.
        """


class LocalFile:
    """A regular file, by path. The file that `open` and `create` give is never a link or a device.

    Attributes
    ----------
    name : str
        Its path.
    fd : int
        The open descriptor; -1 after `close`.
    in_memory : bool
        Its filesystem's room is memory (tmpfs). To reserve that is to fill it with zeros, 0.4 s for a GiB, so
        only what is going to be mapped is reserved there.
    """

    def __init__(self, path: str, fd: int, ops: FileOps = REAL, *, writable: bool = True) -> None:
        self.name = path
        self.ops = ops
        self.writable = writable
        self._lock: Lock | None = None  # taken already, and waiting for who asks for it
        kind = ops.fs_magic(fd, path)
        self.in_memory = kind == TMPFS
        self._mappable = writable and kind in MAPPABLE
        self.fd = fd  # last: the descriptor is ours to close only from here on

    @classmethod
    def open(cls, path: str, ops: FileOps = REAL, *, writable: bool = True) -> LocalFile:
        """Open a file that is there. MissingFileError (a FileNotFoundError) if it is not.

        PartialFileError if it is no regular file, or is to be written and belongs to another user.
        """
        fd = ops.open(path, os.O_RDWR if writable else os.O_RDONLY)
        try:
            found = ops.fstat(fd, path)
            if not stat.S_ISREG(found.st_mode):
                raise PartialFileError(path, "it is not a regular file")
            if writable and not is_ours(found, path, ops):
                # Who owns it can change it under us, and have it after us.
                raise PartialFileError(path, f"it belongs to another user (number {found.st_uid})")
            return cls(path, fd, ops, writable=writable)
        except BaseException:
            ops.close(fd, path)
            raise

    @classmethod
    def create(cls, path: str, ops: FileOps = REAL) -> LocalFile:
        """Make a file with mode 0600 that must not be there yet: PartialFileError if it is."""
        try:
            fd = ops.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except CacheIOError as error:
            if error.errno == errno.EEXIST:
                raise PartialFileError(path, "it exists already") from error
            raise
        try:
            return cls(path, fd, ops)
        except BaseException:
            try:
                ops.close(fd, path)
            finally:
                ops.unlink(path)
            raise

    @property
    def mappable(self) -> bool:
        """Whether a store through a map cannot fail: by the kind of filesystem, and by room reserved."""
        return self._mappable

    def stat(self) -> os.stat_result:
        return self.ops.fstat(self._open_fd(), self.name)

    def birth(self) -> int:
        """When it was made, in ns; 0 where that is not told."""
        return self.ops.birth(self._open_fd())

    def read_at(self, size: int, off: int) -> bytes:
        data = self.ops.pread(self._open_fd(), size, off, self.name)
        if len(data) == size:
            return data
        rest = bytearray(size)  # a short read before the end is allowed to the system, not to us
        return bytes(memoryview(rest)[: self.readinto(rest, off)])

    def readinto(self, buffer: Buffer, off: int) -> int:
        """Fill `buffer` from `off`; how many bytes were there."""
        return self.ops.preadinto(self._open_fd(), buffer, off, self.name, self._open_fd)

    def write_at(self, data: Buffer, off: int) -> int:
        self.ops.pwrite(self._open_fd(), data, off, self.name)
        return memoryview(data).nbytes

    def allocate(self, offset: int, size: int, progress: Callable[[int], object] | None = None) -> bool:
        fd = self._open_fd()
        if self.stat().st_size < offset + size:
            self.ops.ftruncate(fd, offset + size, self.name)
        reserved = reserve(fd, offset, offset + size, self.name, progress=progress, ops=self.ops)
        # A page without room behind it could fail when it is stored to.
        self._mappable = self._mappable and reserved
        return reserved

    def sync(self) -> None:
        self.ops.fdatasync(self._open_fd(), self.name)

    def start_writeback(self) -> None:
        """Have the system begin to write what it owes, so that the next `sync` is short."""
        self.ops.start_writeback(self._open_fd(), self.name)

    def wait_writeback(self, offset: int, size: int) -> bool:
        """Wait until the disk has taken these bytes; False where the system can not."""
        return self.ops.wait_writeback(self._open_fd(), offset, size, self.name)

    def drop_pages(self, offset: int, size: int) -> None:
        """Have the system forget these bytes, where the disk has them."""
        self.ops.drop_pages(self._open_fd(), offset, size, self.name)

    def sync_facts(self) -> None:
        """Sync the bytes and all facts of the file; `sync` leaves out the time of the last change."""
        self.ops.fsync(self._open_fd(), self.name)

    def sync_name(self) -> None:
        """Sync all of the file's facts, and the folder that names it."""
        self.sync_facts()
        self.ops.fsync_dir(folder_of(self.name))

    def map(self, offset: int, size: int) -> mmap.mmap | None:
        if not self._mappable or not size:
            return None
        try:
            return self.ops.mmap(self._open_fd(), offset, size, self.name, writable=True)
        except CacheIOError as error:
            if error.errno == errno.ENOMEM:
                return None
            raise

    def view(self, offset: int, size: int) -> memoryview:
        """These bytes, read-only and without a copy; valid as long as the view lives, also after `close`."""
        skip = offset % mmap.ALLOCATIONGRANULARITY
        whole = self.ops.mmap(self._open_fd(), offset - skip, skip + size, self.name, writable=False)
        return memoryview(whole)[skip:]

    def lock(self) -> Lock | None:
        """Lock this file for one writer, by an open of its own; None when somebody else has the lock, or has
        removed or replaced the file meanwhile. The lock is the caller's to release."""
        lock, self._lock = self._lock, None
        return lock or Lock.take(self.name, self.stat(), self.ops)

    def keep(self, lock: Lock) -> None:
        """Have `lock`, which is of this file, ready for the next call of `lock`; `close` releases it."""
        self._lock = lock

    def is_named(self) -> bool:
        """Whether the name still leads to this file."""
        return is_named(self.name, self.stat(), self.ops)

    def is_locked(self) -> bool | None:
        """Whether a writer is alive; None: cannot be told."""
        return is_locked(self._open_fd(), self.name, self.ops)

    def flush(self, mapped: Buffer) -> None:
        """Make `sync` see stores into a map, where the system does not promise it (POSIX does not)."""
        if isinstance(mapped, mmap.mmap) and not sys.platform.startswith("linux"):
            mapped.flush()

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
        if fd >= 0:
            self.ops.close(fd, self.name)

    def __del__(self) -> None:
        with contextlib.suppress(CacheError):
            if getattr(self, "fd", -1) >= 0:
                self.close()

    def _open_fd(self) -> int:
        if self.fd < 0:
            raise ValueError(f"{self.name} is closed")
        return self.fd


def close_all(*files: CacheFile) -> None:
    """Close each of them, and raise what one of them has raised."""
    with contextlib.ExitStack() as steps:
        for file in reversed(files):
            steps.callback(file.close)


def is_ours(found: os.stat_result, path: str, ops: FileOps) -> bool:
    """Whether a file is this user's, or of whom every new file beside it is, as on exFAT and some NFS."""
    if found.st_uid == os.geteuid():
        return True
    trial = os.path.join(folder_of(path), f".largefile-{os.urandom(8).hex()}")
    try:
        fd = ops.open(trial, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    except CacheError:
        return False
    try:
        return ops.fstat(fd, trial).st_uid == found.st_uid
    finally:
        try:
            ops.close(fd, trial)
        finally:
            ops.unlink(trial)
