"""The seam: every operation on a file goes through one method here.

Tests put a FileOps of their own in this place, to record what was done, to fail at the n-th call, or to
die there. Nothing is decided here, apart from four things that every caller needs: short writes are
looped, each OSError becomes an error of this library that says what was being done and to which file,
"no room" (ENOSPC, EDQUOT) is NotEnoughSpaceError, and a folder that can not be synced need not be.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import struct
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from largefile.disk import sysfile
from largefile.errors import CacheIOError, NotEnoughSpaceError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "MAPPABLE",
    "NO_SUPPORT",
    "REAL",
    "TMPFS",
    "DeniedError",
    "FileOps",
    "MissingFileError",
    "failure",
    "folder_of",
]

#: The kind of filesystem whose room is memory: to reserve some is to fill it with zeros.
TMPFS = 0x01021994
#: Kinds of filesystem where a page that was reserved cannot fail later: ext4, xfs, tmpfs.
MAPPABLE = frozenset({0xEF53, 0x58465342, TMPFS})
#: What a filesystem answers to a request that it has no code for.
NO_SUPPORT = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})

#: What a filesystem answers that has folders which can not be synced: 9p, vboxsf, older CIFS, some FUSE.
_NO_FOLDER_SYNC = NO_SUPPORT | {errno.EBADF}

_CGROUPS = "/sys/fs/cgroup"
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})

_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid


class MissingFileError(CacheIOError, FileNotFoundError):
    """A file of the cache is not there."""


class DeniedError(CacheIOError, PermissionError):
    """This user may not do that to a file of the cache."""


_KINDS: dict[int, type[CacheIOError]] = {
    errno.ENOENT: MissingFileError,
    errno.EACCES: DeniedError,
    errno.EPERM: DeniedError,
}


def failure(number: int, doing: str, path: str) -> OSError:
    """The error of this library for an errno."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return NotEnoughSpaceError(path, -1, -1)
    return _KINDS.get(number, CacheIOError)(number, doing, path)


@contextlib.contextmanager
def _doing(what: str, path: str) -> Iterator[None]:
    try:
        yield
    except (CacheIOError, NotEnoughSpaceError):
        raise
    except OSError as error:
        raise failure(error.errno or errno.EIO, what, path) from error


def _within(memory: int, limit: str) -> int:
    """`memory`, or the limit that a file names, if there is one and it is less."""
    with contextlib.suppress(OSError, ValueError):  # the topmost group has no such file, and most say "max"
        found = int(_text(limit))
        return min(memory, found) if memory > 0 else found
    return memory


def _proc_name(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


class FileOps:
    """Files as the operating system gives them. `path` is for messages where a descriptor does the work."""

    # --- names --------------------------------------------------------------------------------

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        # NONBLOCK: a FIFO planted under our name must not hang us; regular files do not care.
        with _doing("open", path):
            return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode)

    def open_unnamed(self, folder: str) -> int:
        """A new file in `folder` that no name leads to: it goes with its last descriptor."""
        with _doing("open an unnamed file in", folder):
            if not hasattr(os, "O_TMPFILE"):
                raise OSError(errno.EOPNOTSUPP, "no unnamed files here")
            return os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)

    def link_unnamed(self, fd: int, target: str) -> None:
        """Give a file of `open_unnamed` a name that is not taken yet."""
        with _doing("link", target):
            folder = os.open(folder_of(target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                # A descriptor of the folder makes Python call linkat, which follows the link of /proc.
                os.link(_proc_name(fd), os.path.basename(target), dst_dir_fd=folder)
            finally:
                os.close(folder)

    def can_link_unnamed(self, fd: int) -> bool:
        """Whether there is a /proc by which an unnamed file can be found."""
        return os.path.lexists(_proc_name(fd))

    def exists(self, path: str) -> bool:
        # Not os.path.lexists: it takes a disk that cannot answer for one that has no such file.
        with _doing("stat", path):
            try:
                os.lstat(path)
            except OSError as error:
                if error.errno in _NOT_THERE:
                    return False
                raise
            except ValueError:  # no file can have such a name
                return False
            return True

    def stat(self, path: str) -> os.stat_result:
        with _doing("stat", path):
            return os.lstat(path)

    def link(self, source: str, target: str) -> None:
        with _doing("link", target):
            os.link(source, target, follow_symlinks=False)

    def rename(self, source: str, target: str) -> None:
        with _doing("rename", target):
            os.rename(source, target)

    def rename_noreplace(self, source: str, target: str) -> None:
        number = sysfile.rename_noreplace(os.fsencode(source), os.fsencode(target))
        if number:
            raise failure(number, "rename", target)

    def unlink(self, path: str, *, missing_ok: bool = False) -> None:
        with _doing("unlink", path):
            try:
                os.unlink(path)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def fsync_dir(self, path: str) -> None:
        """Sync the names in a folder, unless it is not readable or has no sync: then nobody can."""
        with _doing("sync the folder", path):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except PermissionError:  # files may be made in it all the same
                return
            try:
                os.fsync(fd)
            except OSError as error:
                if error.errno not in _NO_FOLDER_SYNC:
                    raise
            finally:
                os.close(fd)

    def free_bytes(self, path: str | int) -> int:
        """Bytes that this user may still allocate on the filesystem of a path, or of an open file."""
        with _doing("statvfs", str(path)):
            found = os.statvfs(path)
            return found.f_bavail * found.f_frsize

    def birth(self, path: str | int) -> int:
        """When a name's file, or an open file, was made, in ns since 1970; 0 where that is not told.

        An inode's number is given to the next file once the file is removed; with this it is the file's own.
        """
        if isinstance(path, int):
            return sysfile.birth_of_file(path)
        return sysfile.birth_of_name(os.fsencode(path))

    # --- an open file -------------------------------------------------------------------------

    def close(self, fd: int, path: str = "") -> None:
        with _doing("close", path):
            os.close(fd)

    def fstat(self, fd: int, path: str = "") -> os.stat_result:
        with _doing("stat", path):
            return os.fstat(fd)

    def fs_magic(self, fd: int, path: str = "") -> int:
        with _doing("statfs", path):
            return sysfile.fs_magic(fd)

    def mount_id(self, fd: int, path: str = "") -> int:
        """Of the mount that the file is open in; another one if it was unmounted since. 0: not known."""
        with _doing("statx", path):
            return sysfile.mount_id(fd)

    def pread(self, fd: int, size: int, offset: int, path: str = "") -> bytes:
        """At most `size` bytes; fewer only at the end of the file or beyond the system's limit."""
        with _doing("read", path):
            return os.pread(fd, size, offset)

    def preadinto(
        self,
        fd: int,
        buffer: Buffer,
        offset: int,
        path: str = "",
        check: Callable[[], object] = lambda: None,
    ) -> int:
        """Fill `buffer`; how many bytes were there, fewer only at the end of the file.

        `check` is called before the system goes on with a short read, and raises if `fd` was closed
        meanwhile: the number may be another file's by now.
        """
        done = 0
        with _doing("read", path), memoryview(buffer).cast("B") as view:
            while done < len(view):
                with view[done:] as rest:
                    count = os.preadv(fd, [rest], offset + done)
                if not count:
                    break
                done += count
                if done < len(view):
                    check()
        return done

    def pwrite(self, fd: int, data: Buffer, offset: int, path: str = "") -> None:
        """Write all of `data`."""
        # Once for every 256 KiB of a download, or less: the short way for what is nearly always so.
        with memoryview(data) as view:
            size = view.nbytes
            try:
                done = os.pwrite(fd, view, offset)
            except OSError as error:
                raise failure(error.errno or errno.EIO, "write", path) from error
            if done < size:
                self._pwrite_rest(fd, view, offset, done, path)

    def _pwrite_rest(self, fd: int, data: memoryview, offset: int, done: int, path: str) -> None:
        with _doing("write", path), data.cast("B") as view:
            while done < len(view):
                with view[done:] as rest:
                    count = os.pwrite(fd, rest, offset + done)
                if not count:
                    raise OSError(errno.EIO, "nothing was written")
                done += count

    def start_writeback(self, fd: int, path: str = "") -> None:
        """Have the system begin to write what it owes. A hint: what fails, the next sync tells."""
        sysfile.start_writeback(fd)

    def wait_writeback(self, fd: int, offset: int, size: int, path: str = "") -> bool:
        """Have the disk take these bytes, and wait for that; False where the system can not.

        It is no sync: the filesystem's own notes, and what is in the disk's memory, are not waited for. What
        the disk could not take is raised here, and no later sync of this open file tells it again.
        """
        while number := sysfile.wait_writeback(fd, offset, size):
            if number == errno.ENOSYS:
                return False
            # All else may be what a server or a driver has answered to a write, whatever number that is:
            # no filesystem has code for this call that it could lack.
            if number != errno.EINTR:
                raise failure(number, "write back", path)
        return True

    def drop_pages(self, fd: int, offset: int, size: int, path: str = "") -> None:
        """Have the system forget these bytes, where the disk has them. A hint: it may keep any of them."""
        with contextlib.suppress(OSError, AttributeError):  # there is no such call on macOS
            os.posix_fadvise(fd, offset, size, os.POSIX_FADV_DONTNEED)

    def fallocate(self, fd: int, offset: int, size: int, path: str = "", *, keep_size: bool = False) -> None:
        while number := sysfile.fallocate(fd, offset, size, keep_size):
            if number != errno.EINTR:  # a handler of a signal runs before the call is made again
                raise failure(number, "reserve space in", path)

    def ftruncate(self, fd: int, size: int, path: str = "") -> None:
        with _doing("set the size of", path):
            os.ftruncate(fd, size)

    def fdatasync(self, fd: int, path: str = "") -> None:
        with _doing("sync", path):
            getattr(os, "fdatasync", os.fsync)(fd)

    def fsync(self, fd: int, path: str = "") -> None:
        with _doing("sync", path):
            os.fsync(fd)

    def fchmod(self, fd: int, mode: int, path: str = "") -> None:
        with _doing("set the mode of", path):
            os.fchmod(fd, mode)

    def mmap(self, fd: int, offset: int, size: int, path: str = "", *, writable: bool) -> mmap.mmap:
        """A shared map; `offset` is a multiple of ``mmap.ALLOCATIONGRANULARITY``."""
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        with _doing("map", path):
            return mmap.mmap(fd, size, access=access, offset=offset)

    # --- locks --------------------------------------------------------------------------------

    def lock_ofd(self, fd: int, path: str = "") -> None:
        """Lock for writing, owned by the open file description; EAGAIN when another one has it."""
        with _doing("lock", path):
            if not hasattr(fcntl, "F_OFD_SETLK"):
                raise OSError(errno.ENOSYS, "no OFD locks here")
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))

    def unlock_ofd(self, fd: int, path: str = "") -> None:
        with _doing("unlock", path):
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))

    def locked_ofd(self, fd: int, path: str = "") -> bool:
        """Whether another open file description holds the lock."""
        with _doing("look at the lock of", path):
            if not hasattr(fcntl, "F_OFD_GETLK"):
                raise OSError(errno.ENOSYS, "no OFD locks here")
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def flock(self, fd: int, operation: int, path: str = "") -> None:
        with _doing("lock", path):
            fcntl.flock(fd, operation)

    # --- the machine --------------------------------------------------------------------------

    def boot_id(self) -> str:
        """What changes when the page cache is lost; "" where the system does not say."""
        if not sys.platform.startswith("linux"):
            return ""
        with contextlib.suppress(OSError):
            return _text("/proc/sys/kernel/random/boot_id").strip()
        return ""

    def host(self) -> str:
        return os.uname().nodename

    def memory(self) -> int:
        """Bytes of it that this process may have: all, or what its control group allows; 0: not known."""
        try:
            memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError):  # no such name, or no answer
            memory = 0
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = _text("/proc/self/cgroup").splitlines()
            group = next(line[len("0::/") :] for line in lines if line.startswith("0::/"))
            folder = _CGROUPS
            for name in ("", *group.split("/")):  # a group above may allow less
                folder = os.path.join(folder, name)
                memory = _within(memory, os.path.join(folder, "memory.max"))
        return max(0, memory)

    def process_start(self, pid: int) -> int:
        """When process `pid` started, in the system's ticks; 0 where there is none or it is not said."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name in parentheses may hold spaces; the fields after it do not.
            fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
            return int(fields[19])
        return 0

    def umask(self) -> int:
        # os.umask can only be read by setting it, for every thread; ask the system where it tells.
        with contextlib.suppress(OSError, StopIteration, ValueError):
            lines = _text("/proc/self/status").splitlines()
            return int(next(line.split()[1] for line in lines if line.startswith("Umask:")), 8)
        mask = os.umask(0o077)
        os.umask(mask)
        return mask


def folder_of(path: str) -> str:
    """The folder that `path` names something in.

    Examples
    --------
    >>> folder_of("a/b"), folder_of("b")
    ('a', '.')
    """
    return os.path.dirname(path) or "."


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()


REAL = FileOps()
