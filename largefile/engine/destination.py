"""The place that a download is for: DEST, its DEST.part and DEST.part.idx, and what may be done to them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path

from largefile.disk.create import remove_unborn
from largefile.disk.fileops import REAL, FileOps
from largefile.disk.files import LocalFile
from largefile.disk.publish import clean_up, part_paths, publish_file
from largefile.engine.job import Control
from largefile.errors import PartialFileError

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
        self._ops = ops

    def is_free(self, *, overwrite: bool) -> bool:
        """Whether a finished file may take the name; ValueError if it is a folder, or has none."""
        folder = Path(self.path).parent
        if not folder.is_dir():
            raise ValueError(f"destination {self.path!r}: {str(folder)!r} is not a folder that exists")
        clean_up(self.path, self.index, ops=self._ops)
        try:
            found = Path(self.path).lstat()
        except FileNotFoundError:
            return True
        if stat.S_ISDIR(found.st_mode):
            raise ValueError(f"destination {self.path!r} is a folder, needed is a file's name")
        return overwrite

    def has_digest(self, algorithm: str, wanted: str, control: Control) -> bool:
        """Whether the file that is there has this hex digest."""
        return Path(self.path).is_file() and hash_file(self.path, algorithm, control) == wanted

    def has_partial(self) -> bool:
        """Whether an earlier run has left both of its files; PartialFileError for one without the other."""
        part, index = os.path.lexists(self.part), os.path.lexists(self.index)
        if part and not index:
            raise PartialFileError(self.part, "it has no index beside it; remove it, or choose another name")
        if index and remove_unborn(self.part, self.index, ops=self._ops):
            return False
        if index and not part:
            raise PartialFileError(self.index, "its data file is gone; remove it, or choose another name")
        return part

    def set_aside(self) -> str:
        """Keep wrong bytes as evidence, where no later run takes them for a partial file; their name."""
        self._ops.rename(self.part, self.bad)
        with contextlib.suppress(FileNotFoundError):
            self._ops.unlink(self.index)
        return self.bad

    def take_part(self, *, overwrite: bool) -> None:
        """Give a part without an index its final name."""
        publish_file(LocalFile.open(self.part, self._ops), self.path, overwrite=overwrite)


def hash_file(path: str, algorithm: str, control: Control) -> str:
    """The hex digest of a file."""
    digest, buffer = hashlib.new(algorithm), bytearray(PIECE)
    with Path(path).open("rb", buffering=0) as file, memoryview(buffer) as view:
        while size := file.readinto(buffer):
            digest.update(view[:size])
            control.check()
    return digest.hexdigest()
