"""The system under the seam: each call that `FileOps` makes of it can be counted, and answered otherwise.

A fault that is raised at the seam itself would jump over what FileOps does about it: its loops over short
writes and over EINTR, and its making of errors. So the calls are replaced below, one by one, in the module
`largefile.disk.fileops` and nowhere else: ``os.pwrite``, ``sysfile.fallocate``, ``mmap.mmap`` and so on. A
method that makes three calls (`fsync_dir`: open, fsync, close) can fail at each of them.

What is honest:

* A call that fails was not made, but for `close`: Linux lets go of the descriptor whatever it answers.
* A short read or write moves the first half of what was asked for, at least one byte.
* EINTR: CPython itself repeats the calls in `REPEATED` (PEP 475), so no code of ours can ever see it there,
  and nothing is to be tried. The calls of `sysfile` are our own, and the rest may be answered so by a
  network's filesystem: these are tried.
* Where Python swallows the number (``os.path.lexists``, asked of /proc only), what it makes of it is given.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from largefile.disk import fileops, sysfile

__all__ = ["ANSWERS", "ERRNOS", "EXT4", "REPEATED", "SHORT", "Fault", "Place", "Seen", "System"]

#: What is tried at every call.
ERRNOS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EINTR, errno.ENOMEM)
#: In the place of an errno: part of it is done.
SHORT = 0
#: The kind of filesystem that stories and scenarios are played on.
EXT4 = 0xEF53
#: Repeated by CPython after EINTR (PEP 475).
REPEATED = frozenset(
    {"open", "fstat", "fsync", "fdatasync", "ftruncate", "fchmod", "pread", "preadv", "pwrite"}
    | {"fcntl", "flock", "posix_fadvise"}
)
#: Give their errno, or 0, instead of raising it.
ANSWERS = frozenset({"fallocate", "rename_noreplace", "start_writeback", "wait_writeback"})
_OF_OS = {"open", "link", "close", "fstat", "fsync", "fdatasync", "pread", "preadv", "pwrite"}
_OF_OS |= {"ftruncate", "fchmod", "statvfs", "posix_fadvise", "lstat", "rename", "unlink"}

_HERE = str(Path(__file__).parents[2]) + os.sep
_SEAM = fileops.__file__
_DEPTH = 6


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call of the system comes from.

    Attributes
    ----------
    operation : str
        The method of FileOps.
    call : str
        The call of the system within it.
    chain : tuple of (str, int)
        Files of largefile and lines in them, the innermost first: who called the method, and who that one.
    """

    operation: str
    call: str
    chain: tuple[tuple[str, int], ...]

    @property
    def site(self) -> tuple[str, int]:
        """Who called the method of FileOps."""
        return self.chain[0]

    def __str__(self) -> str:
        return f"{self.operation} ({self.call}) at {self.site[0]}:{self.site[1]}"


@dataclass(frozen=True, slots=True)
class Fault:
    """The `nth` call from this place, counted from 1, is answered by this errno, or is SHORT."""

    place: Place
    nth: int
    number: int

    def __str__(self) -> str:
        what = "short" if self.number == SHORT else errno.errorcode[self.number]
        return f"{what} for call {self.nth} of {self.place}"


@dataclass(slots=True)
class Seen:
    """What one place did."""

    count: int = 0
    #: Which of its calls moved more than one byte, and could be short.
    divisible: set[int] = field(default_factory=set)


class System:
    """What FileOps finds in the place of the system, within ``with system.installed():``.

    Parameters
    ----------
    lacks : mapping
        Calls that this system never can do, and the errno that it answers.
    fault : Fault, optional
        What fails, once.
    owner : int, optional
        The number of the user that every file belongs to, as on filesystems without owners.
    mappable : bool
        False: the filesystem is of a kind that is not known, and nothing may be mapped for writing. Else it
        is ext4, whatever it is in truth: scenarios are played in memory, and are about disks.
    """

    def __init__(
        self,
        lacks: Mapping[str, int] | None = None,
        fault: Fault | None = None,
        *,
        owner: int | None = None,
        mappable: bool = True,
    ) -> None:
        self.lacks = dict(lacks or {})
        self.fault = fault
        self.owner = owner
        self.mappable = mappable
        self.seen: dict[Place, Seen] = {}
        #: Whether the fault was met.
        self.met = False
        self._lock = threading.RLock()  # the collector may close a file in the middle of it

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """For every FileOps of this process."""
        module: Any = fileops
        names = {
            "os": _Through(os, self, _OF_OS),
            "sysfile": _Through(sysfile, self, {*ANSWERS, "fs_magic", "mount_id"}),
            "mmap": _Through(mmap, self, {"mmap"}),
            "fcntl": _Through(fcntl, self, {"fcntl", "flock"}),
        }
        before = {name: getattr(module, name) for name in names}
        vars(module).update(names)
        try:
            yield
        finally:
            vars(module).update(before)

    def do(self, call: str, act: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make the call, or answer in its place."""
        number = self._due(call, args)
        if number is None:
            number = self.lacks.get(call)
        if number is None:
            return self._seen_as(call, act(*args, **kwargs))
        if number == SHORT:
            return act(*_halved(call, args), **kwargs)
        if call == "close":
            act(*args)
        if call in ANSWERS:
            return number
        if call == "lexists":
            return False
        raise OSError(number, os.strerror(number))

    def _seen_as(self, call: str, found: Any) -> Any:
        if call == "fs_magic":
            return EXT4 if self.mappable else 0
        return _owned(found, self.owner) if call == "fstat" and self.owner is not None else found

    def _due(self, call: str, args: tuple[Any, ...]) -> int | None:
        place = _place(call)
        if place is None:
            return None
        with self._lock:
            seen = self.seen.setdefault(place, Seen())
            seen.count += 1
            if _size(call, args) > 1:
                seen.divisible.add(seen.count)
            fault = self.fault
            if fault is None or self.met or fault.place != place or fault.nth != seen.count:
                return None
            self.met = True
            return fault.number


class _Through:
    """A module whose calls of the system pass through a `System`."""

    def __init__(self, module: Any, system: System, calls: set[str]) -> None:
        self._module = module
        self._system = system
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if name == "path":
            return _Through(found, self._system, {"lexists"})
        if name not in self._calls:
            return found
        return lambda *args, **kwargs: self._system.do(name, found, args, kwargs)


def _place(call: str) -> Place | None:
    """From the frames above; None for what is asked of the machine, and not of a file."""
    frame = sys._getframe(3)
    operation = ""
    chain: list[tuple[str, int]] = []
    while frame is not None and len(chain) < _DEPTH:
        name = frame.f_code.co_filename
        if name == _SEAM:
            operation = frame.f_code.co_name
        elif name.startswith(_HERE) and not name.startswith(_HERE + "testing"):
            chain.append((name[len(_HERE) :], frame.f_lineno))
        frame = frame.f_back  # type: ignore[assignment] # None at the thread's beginning
    return Place(operation, call, tuple(chain)) if chain else None


def _size(call: str, args: tuple[Any, ...]) -> int:
    """How many bytes may move."""
    if call == "pread":
        return int(args[1])
    if call == "pwrite":
        return memoryview(args[1]).nbytes
    return memoryview(args[1][0]).nbytes if call == "preadv" else 0


def _halved(call: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    half = _size(call, args) // 2
    if call == "pread":
        return args[0], half, args[2]
    if call == "pwrite":
        return args[0], memoryview(args[1]).cast("B")[:half], args[2]
    return args[0], [memoryview(args[1][0]).cast("B")[:half]], args[2]


def _owned(found: os.stat_result, owner: int) -> os.stat_result:
    fields = list(found)
    fields[4] = owner
    return os.stat_result(fields, {"st_mtime_ns": found.st_mtime_ns, "st_blocks": found.st_blocks})
