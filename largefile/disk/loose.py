"""A file whose length nobody knows before its last byte: no blocks, no index, and nothing to resume.

Where the filesystem can, the file has no name until it is finished, so a kill leaves nothing at all.
Elsewhere, and where it is to replace a file in one step, it is the part, with an index beside it that says
from the first moment that nobody will go on with it; the next run removes both.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Self

from largefile.disk.create import make_index
from largefile.disk.fileops import NO_SUPPORT, REAL, FileOps, folder_of
from largefile.disk.files import LocalFile
from largefile.disk.header import Header, State
from largefile.disk.leftovers import existing, remove_old, supersede
from largefile.disk.publish import give_mode, rename_new
from largefile.errors import CacheIOError, DestinationExistsError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from largefile.disk.locks import Lock

__all__ = ["LooseFile"]

#: What systems and filesystems without unnamed files answer to O_TMPFILE (open(2)).
_NO_UNNAMED = NO_SUPPORT | {errno.EISDIR, errno.ENOENT}


class LooseFile:
    """A new file that is written from its beginning to its end; as a context manager it is gone at the exit,
    unless it was given a name before.

    Parameters
    ----------
    part, index : str
        The names that a download to the same place would use. A cache there is removed first.
    overwrite : bool
        Whether `publish` may replace a file.

    Raises
    ------
    CacheBusyError
        Another process writes the cache that is there.
    PartialFileError
        There is data without an index, which is not ours.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dest = os.path.join(folder, "x")
    ...     with LooseFile(dest + ".part", dest + ".part.idx") as file:
    ...         file.write_at(b"all of it", 0)
    ...         _ = file.publish(dest)
    ...     os.listdir(folder)
    ['x']
    """

    def __init__(self, part: str, index: str, *, overwrite: bool = False, ops: FileOps = REAL) -> None:
        self._part = part
        self._ops = ops
        self._overwrite = overwrite
        self._undo = contextlib.ExitStack()
        try:
            self.file = self._open(index)
        except BaseException:
            self._undo.close()
            raise

    @property
    def fd(self) -> int:
        """The open descriptor, for who wants to read it."""
        return self.file.fd

    def write_at(self, data: Buffer, off: int) -> None:
        """Write all of `data` at `off`."""
        self.file.write_at(data, off)

    def publish(self, dest: str | os.PathLike[str]) -> str:
        """Make it the file `dest`, synced, with the mode of an ordinary file, and close it; the path.

        DestinationExistsError if `dest` is there and was not to be replaced; the file stays open.
        """
        target = os.fspath(dest)
        self.file.sync()
        give_mode(self.file)
        self._name(target, replace=self._overwrite)
        self._ops.fsync_dir(folder_of(target))
        self.close()
        return target

    def set_aside(self, bad: str | os.PathLike[str]) -> str:
        """Keep it as the file `bad`, for people, and close it; the path."""
        target = os.fspath(bad)
        self._name(target, replace=True)
        self.close()
        return target

    def close(self) -> None:
        """Let go of it; unless it has a name, it is gone. May be called twice."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self, index: str) -> LocalFile:
        with contextlib.ExitStack() as after:
            lock = None
            if existing(self._part, index, self._ops):
                lock = remove_old(self._part, index, self._ops)
                after.callback(lock.release)
            file = None if self._overwrite else _unnamed(self._part, self._ops)
            self._named = file is None
            if file is None:
                return self._make(index, lock)
            self._undo.callback(file.close)
            return file

    def _make(self, index: str, old: Lock | None) -> LocalFile:
        """The part, marked as nobody's before it has a byte, and locked, so that it is ours while we live."""
        header = Header(0, 1, os.urandom(16), state=State.SUPERSEDED)
        index_file, _ = make_index(index, self._part, header, old, self._undo, self._ops)
        file = LocalFile.create(self._part, self._ops)
        self._undo.callback(lambda: self._ops.unlink(self._part, missing_ok=True))
        self._undo.callback(file.close)
        supersede(index_file, file)
        return file

    def _name(self, target: str, *, replace: bool) -> None:
        if self._named and replace:
            self._ops.rename(self._part, target)
        elif self._named:
            rename_new(self._part, target, self._ops)
        else:
            self._link(target, replace)

    def _link(self, target: str, replace: bool) -> None:
        if replace:
            self._ops.unlink(target, missing_ok=True)
        try:
            self._ops.link_unnamed(self.fd, target)
        except CacheIOError as error:
            if error.errno == errno.EEXIST:
                raise DestinationExistsError(target) from error
            raise


def _unnamed(part: str, ops: FileOps) -> LocalFile | None:
    """A file without a name in the folder of `part`; None where there are none, or they cannot get a name."""
    try:
        fd = ops.open_unnamed(folder_of(part))
    except CacheIOError as error:
        if error.errno in _NO_UNNAMED:
            return None
        raise
    try:
        if ops.can_link_unnamed(fd):
            return LocalFile(part, fd, ops)
    except BaseException:
        ops.close(fd, part)
        raise
    ops.close(fd, part)
    return None
