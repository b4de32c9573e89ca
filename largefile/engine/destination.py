"""The place that a download is for: DEST, its DEST.part and DEST.part.idx, and what may be done to them."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from typing import TYPE_CHECKING

from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import REAL, FileOps, MissingFileError, failure, folder_of
from largefile.disk.header import Header
from largefile.disk.leftovers import remove_unborn
from largefile.disk.publish import clean_up, part_paths, set_aside
from largefile.engine.job import Control
from largefile.engine.turn import Rival
from largefile.errors import CacheError, PartialFileError

if TYPE_CHECKING:
    from largefile.disk.loose import LooseFile

__all__ = ["Destination"]

PIECE = 1 << 20


class Destination:
    """The names of one download, checked.

    Raises
    ------
    ValueError
        If the name of the index would be too long for its folder.
    """

    def __init__(self, path: str | os.PathLike[str], ops: FileOps = REAL) -> None:
        self.path = os.fspath(path)
        self.part, self.index = part_paths(self.path)
        self.bad = f"{self.path}.bad"
        #: What `is_free` found published by a run that died before it could say so, and cleaned up after; or
        #: by the one that was waited for.
        self.finished: Header | None = None
        self._rival: Rival | None = None
        self._ops = ops

    def is_free(self, *, overwrite: bool) -> bool:
        """Whether a finished file may take the name; ValueError if it is a folder, or has none."""
        folder = folder_of(self.path)
        if not os.path.isdir(folder):
            raise ValueError(f"destination {self.path!r}: {folder!r} is not a folder that exists")
        self.finished = clean_up(self.path, self.index, ops=self._ops)
        if self.finished is None and self._rival is not None:
            self.finished = self._rival.made(self.path)
        try:
            found = self._ops.stat(self.path)
        except MissingFileError:
            return True
        if stat.S_ISDIR(found.st_mode):
            raise ValueError(f"destination {self.path!r} is a folder, needed is a file's name")
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            raise ValueError(f"destination {self.path!r} is a device or a pipe, needed is a file's name")
        if not overwrite:
            self._tidy()
        return overwrite

    def _tidy(self) -> None:
        """Remove an index beside the finished file that its maker could not: nobody else will look there."""
        with contextlib.suppress(CacheError):
            if self._ops.exists(self.index):
                remove_unborn(self.part, self.index, ops=self._ops)

    def look(self) -> None:
        """Have `is_free` know the partial file again, should somebody be at work on it and finish it."""
        self._rival = self._rival or Rival(self.part, self.index, self._ops)
        self._rival.look()

    def close(self) -> None:
        """Let go of what was seen."""
        if self._rival is not None:
            self._rival.close()

    def has_digest(self, algorithm: str, wanted: str, control: Control) -> bool:
        """Whether the file that is there has this hex digest."""
        return os.path.isfile(self.path) and hash_file(self.path, algorithm, control) == wanted

    def has_partial(self) -> bool:
        """Whether an earlier run has left both of its files, of which nothing else is known yet.

        Raises
        ------
        CacheBusyError
            Another process is at work on them.
        PartialFileError
            There is one without the other.
        """
        for _ in range(2):  # of two files that come or go between our looks we may see one
            if os.path.lexists(self.index) and remove_unborn(self.part, self.index, ops=self._ops):
                return False
            part, index = os.path.lexists(self.part), os.path.lexists(self.index)
            if part == index:
                return part
        if part:
            raise PartialFileError(self.part, "it has no index beside it; remove it, or choose another name")
        raise PartialFileError(self.index, "its data file is gone; remove it, or choose another name")

    def set_aside(self, cache: LocalDownloadCache) -> str:
        """Keep wrong bytes as evidence, where no later run takes them for a partial file; their name."""
        return set_aside(cache, self.bad)

    def begin_unsized(self, *, overwrite: bool) -> LooseFile:
        """A file for bytes of which nobody knows how many they are; an older partial file goes."""
        from largefile.disk.loose import LooseFile  # few servers do not say the size

        return LooseFile(self.part, self.index, overwrite=overwrite, ops=self._ops)


def hash_file(file: str | int, algorithm: str, control: Control) -> str:
    """The hex digest of a file, by its name or by a descriptor of it, which stays open."""
    import hashlib  # loads OpenSSL: only for who has a digest

    digest, buffer = hashlib.new(algorithm), bytearray(PIECE)
    try:
        with io.FileIO(file, closefd=isinstance(file, str)) as source, memoryview(buffer) as view:
            source.seek(0)
            while size := source.readinto(buffer):
                digest.update(view[:size])
                control.check()
    except OSError as error:
        raise failure(error.errno or errno.EIO, "hash", str(file)) from error
    return digest.hexdigest()
