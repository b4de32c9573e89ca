"""What a disk was asked to do: each operation on the files of one folder, in order and with its bytes.

A store into a mapped file passes no seam. So before each operation, and at each note, the files that are
mapped are compared with what the journal makes of them; what differs is written down as a write. A file that
is not mapped and differs has been written past the seam, and ends the recording.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from largefile.testing.disk.seam import Call, Watched

__all__ = ["Event", "Lost", "Names", "Note", "Recorder", "Seen", "Size", "Sync", "SyncNames", "Write"]

_SECTOR, _WORD = 512, 8
#: What tells, once, that the disk has lost something.
_SYNCS = ("fdatasync", "fsync", "wait_writeback")
#: A sector in which so many words differ was written by one store, and not entry by entry.
_FEW = 8


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes of a file, which is called by a number: it may have many names, or none."""

    file: int
    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Size:
    """A new size of a file."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """The bytes and the size of a file were on the disk when this returned."""

    file: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A sync failed: what was not on the disk by then may never come to be, whatever later syncs say."""

    file: int


@dataclass(frozen=True, slots=True)
class Names:
    """Names of the folder that lead to another file, or to none (None), all in one step."""

    changes: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class SyncNames:
    """The names of the folder were on the disk when this returned."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The time of the last change, in ns, that somebody was told of a file."""

    file: int
    mtime: int


@dataclass(frozen=True, slots=True)
class Note:
    """What somebody was told at this moment."""

    what: Any


Event = Write | Size | Sync | Lost | Names | SyncNames | Seen | Note


class Recorder(Watched):
    """Writes down what is done to the files of `folder`, in `events`; the operations are done, one at a time.

    Parameters
    ----------
    folder : path-like
        What is there already is the disk's content at the beginning: `start`, by name.
    magic : int, optional
        The kind of filesystem to be taken for, where that decides what is mapped.
    boot : str, optional
        The boot id to be told.

    Attributes
    ----------
    before, after : callable
        Called with each `Call`; what `before` raises is raised in place of the operation.
    """

    def __init__(
        self, folder: str | os.PathLike[str], magic: int | None = None, boot: str | None = None
    ) -> None:
        self.folder = str(Path(folder))
        self.magic = magic
        self.boot = boot
        self.before: Callable[[Call], object] = lambda call: None
        self.after: Callable[[Call], object] = lambda call: None
        self.events: list[Event] = []
        self.start: dict[str, int] = {}
        self.inodes: list[int] = []
        self.contents: list[bytearray] = []  #: what each file has by the journal
        self._names: dict[str, int] = {}
        self._own: list[int] = []  # a descriptor of each file, to look at it
        self._fds: dict[int, int] = {}
        self._mapped: set[int] = set()
        self._lock = threading.RLock()
        self._closed = False
        for path in sorted(Path(self.folder).iterdir()):
            inode = path.lstat().st_ino
            file = self.inodes.index(inode) if inode in self.inodes else self._add(str(path))
            self.start[path.name] = file
        self._names.update(self.start)

    def finish(self) -> None:
        """Look a last time, and let go of the files."""
        with self._lock:
            if not self._closed:
                self._look()
            self._closed = True
            while self._own:
                os.close(self._own.pop())

    def note(self, what: object) -> None:
        """Write down what somebody was told."""
        with self._lock:
            self._look()
            self.events.append(Note(what))

    def boot_id(self) -> str:
        return super().boot_id() if self.boot is None else self.boot

    def perform(self, call: Call) -> Any:
        result = self._perform(call)
        self.after(call)
        return result

    def _perform(self, call: Call) -> Any:
        with self._lock:
            if self._closed:
                return call()
            self._look()
            try:
                self.before(call)
                result = call()
            except OSError:
                if call.name in _SYNCS and (file := self._file(call)) is not None:
                    self.events.append(Lost(file))
                raise
            taken = getattr(self, f"_{call.name}_done", None)
            if taken is not None:
                taken(call, result)
            return self.magic if call.name == "fs_magic" and self.magic is not None else result

    # --- what each operation has done --------------------------------------------------------------

    def _open_done(self, call: Call, fd: int) -> None:
        name = self._name(call.path)
        if name is None:
            return
        if name not in self._names:
            self._names[name] = self._add(str(call.path))
            self.events.append(Names(((name, self._names[name]),)))
        self._fds[fd] = self._names[name]
        if call.arguments["flags"] & os.O_TRUNC:
            self._set_size(self._fds[fd], 0)

    def _open_unnamed_done(self, call: Call, fd: int) -> None:
        if call.path == self.folder:
            self._fds[fd] = self._add(f"/proc/self/fd/{fd}")

    def _link_unnamed_done(self, call: Call, result: None) -> None:
        file, name = self._file(call), self._name(call.path)
        if file is not None and name is not None:
            self._rename({name: file})

    def _close_done(self, call: Call, result: None) -> None:
        self._fds.pop(call.arguments["fd"], None)

    def _pwrite_done(self, call: Call, result: None) -> None:
        file = self._file(call)
        if file is not None:
            self._write(file, call.arguments["offset"], bytes(call.arguments["data"]))

    def _ftruncate_done(self, call: Call, result: None) -> None:
        file = self._file(call)
        if file is not None:
            self._set_size(file, call.arguments["size"])

    def _fallocate_done(self, call: Call, result: None) -> None:
        file, given = self._file(call), call.arguments
        end = given["offset"] + given["size"]
        if file is not None and not given.get("keep_size") and len(self.contents[file]) < end:
            self._set_size(file, end)

    def _fdatasync_done(self, call: Call, result: None) -> None:
        file = self._file(call)
        if file is not None:
            self.events.append(Sync(file))

    _fsync_done = _fdatasync_done

    def _fsync_dir_done(self, call: Call, result: None) -> None:
        if str(Path(str(call.path))) == self.folder:
            self.events.append(SyncNames())

    def _fstat_done(self, call: Call, found: os.stat_result) -> None:
        file = self._file(call)
        if file is not None:
            self.events.append(Seen(file, found.st_mtime_ns))

    def _mmap_done(self, call: Call, result: object) -> None:
        file = self._file(call)
        if file is not None and call.arguments["writable"]:
            self._mapped.add(file)

    def _link_done(self, call: Call, result: None) -> None:
        source, target = self._name(call.arguments["source"]), self._name(call.arguments["target"])
        if source is not None and target is not None:
            self._rename({target: self._names[source]})

    def _rename_done(self, call: Call, result: None) -> None:
        source, target = self._name(call.arguments["source"]), self._name(call.arguments["target"])
        if source is not None and target is not None:
            self._rename({target: self._names[source], source: None})

    _rename_noreplace_done = _rename_done

    def _unlink_done(self, call: Call, result: None) -> None:
        name = self._name(call.path)
        if name is not None and name in self._names:
            self._rename({name: None})

    # --- helpers -------------------------------------------------------------------------------------

    def _rename(self, changes: dict[str, int | None]) -> None:
        for name, file in changes.items():
            if file is None:
                self._names.pop(name)
            else:
                self._names[name] = file
        self.events.append(Names(tuple(changes.items())))

    def _set_size(self, file: int, size: int) -> None:
        content = self.contents[file]
        del content[size:]
        content.extend(bytes(size - len(content)))
        self.events.append(Size(file, size))

    def _write(self, file: int, at: int, data: bytes) -> None:
        content = self.contents[file]
        if at + len(data) > len(content):
            self._set_size(file, at + len(data))
        content[at : at + len(data)] = data
        self.events.append(Write(file, at, data))

    def _add(self, path: str) -> int:
        self._own.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        found = os.fstat(self._own[-1])
        self.inodes.append(found.st_ino)
        self.contents.append(bytearray(os.pread(self._own[-1], found.st_size, 0)))
        return len(self._own) - 1

    def _name(self, path: str | int) -> str | None:
        """The name within the folder; None for what is elsewhere."""
        where = Path(str(path))
        return where.name if str(where.parent) == self.folder else None

    def _file(self, call: Call) -> int | None:
        return self._fds.get(call.arguments["fd"])

    def _look(self) -> None:
        """Write down what was stored into maps."""
        for file, fd in enumerate(self._own):
            known = self.contents[file]
            found = os.pread(fd, len(known) + 1, 0)
            if found == known:
                continue
            name = next(
                (name for name, other in self._names.items() if other == file), "a file without a name"
            )
            if file not in self._mapped or len(found) != len(known):
                raise AssertionError(f"{name} was changed by something that passed no seam")
            for at in range(0, len(found), _SECTOR):
                self._stored(file, at, found[at : at + _SECTOR], known[at : at + _SECTOR])

    def _stored(self, file: int, at: int, found: bytes, known: bytearray) -> None:
        words = [
            word
            for word in range(0, len(found), _WORD)
            if found[word : word + _WORD] != known[word : word + _WORD]
        ]
        if len(words) > _FEW:
            self._write(file, at, found)
            return
        for word in words:
            self._write(file, at + word, found[word : word + _WORD])
