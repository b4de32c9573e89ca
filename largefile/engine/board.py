"""The newest snapshot that one process shows to another, in a page of memory that both have mapped."""

from __future__ import annotations

import mmap
import os
import struct
import threading
from typing import Any

import xxhash

from largefile.engine.channel import beyond_standard

__all__ = ["Board", "shared_memory"]

SIZE = 8192
#: The size of what follows, and its XXH32.
HEAD = struct.Struct("=II")


class Board:
    """What is shown last is what is seen; who shows never waits for who looks, nor the other way round.

    They share no lock, which a dead process could hold for ever. A look in the middle of a change finds a
    checksum that is wrong, and gives what it has seen before.

    Parameters
    ----------
    fd : int
        Of `shared_memory`; it may be closed afterwards.

    Examples
    --------
    >>> fd = shared_memory()
    >>> ours, theirs = Board(fd), Board(fd)
    >>> os.close(fd)
    >>> theirs.look() is None
    True
    >>> ours.show(("news", 1))
    >>> theirs.look()
    ('news', 1)
    """

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        self._lock = threading.Lock()  # of those who look, so that none goes back
        self._seen: Any = None
        self._head = bytes(HEAD.size)

    def show(self, what: object) -> None:
        """Show this from now on; ValueError if it is too large."""
        import pickle  # only now: who starts a process does that first

        data = pickle.dumps(what)
        if HEAD.size + len(data) > SIZE:
            raise ValueError(f"{len(data)} bytes do not fit on a board of {SIZE}")
        self._map[: HEAD.size + len(data)] = HEAD.pack(len(data), xxhash.xxh32_intdigest(data)) + data

    def look(self) -> Any:
        """What was shown last; None if nothing was."""
        with self._lock:
            page = self._map[:]
            head = page[: HEAD.size]
            size, checksum = HEAD.unpack(head)
            data = page[HEAD.size : HEAD.size + size]
            if head != self._head and size and xxhash.xxh32_intdigest(data) == checksum:
                import pickle

                self._seen, self._head = pickle.loads(data), head
            return self._seen


def shared_memory() -> int:
    """A descriptor of memory for one board, which has no name."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("largefile-board")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    fd = beyond_standard(fd)
    os.ftruncate(fd, SIZE)
    return fd
