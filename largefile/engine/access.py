"""One open file's way to its content: bytes at positions, fetched if they are missing, from many threads.

Nothing is closed under a reader: `Access.close` has every thread that waits leave with an error. The content
is let go of when the last one has left: by `close` if that is soon, or else by that last one, however late
it leaves. A descriptor that is closed while it is read from may be somebody else's file a moment later.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

from largefile.engine.content import Run, merged
from largefile.engine.shared import Lease
from largefile.errors import CacheError
from largefile.log import log
from largefile.stats import DownloadStats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

__all__ = ["Access"]

#: Two ranges that are asked for together, with so few bytes between them, are fetched as one.
HOLE = 64 << 10
#: Seconds that `close` waits for threads that are about to leave.
LEAVE = 1.0


class Access:
    """Read what `lease` is on; `close` releases it."""

    def __init__(self, lease: Lease, name: str) -> None:
        self._lease = lease
        self._content = lease.content
        self._name = name
        self.size: int = lease.store.content_size
        self.block_size: int = lease.store.block_size
        self.closed = False
        self._stay_out()
        _known.add(self)

    # --- bytes -----------------------------------------------------------------------------------

    def readinto(
        self, view: memoryview, pos: int, *, ahead: tuple[int, int] | None = None, partly: bool = False
    ) -> int:
        """Fill `view` from `pos`, up to the content's end; how many bytes that was.

        Parameters
        ----------
        ahead
            Bytes to have fetched beside, that nobody waits for.
        partly
            The first bytes will do: those that are there, or else those of one block.
        """
        with self:
            size = max(0, min(len(view), self.size - pos))
            gap = self._gap(pos, size)
            if partly and size:
                size = min(size, gap - pos or self.block_size - pos % self.block_size)
            self._fetch([(pos, pos + size)] if gap < pos + size else [], ahead)
            return self._lease.store.readinto(view[:size], pos) if size else 0

    def read_at(self, size: int, pos: int) -> bytes:
        """`size` bytes at `pos`, fewer only at the content's end."""
        with self:
            stop = max(pos, min(pos + size, self.size))
            self._fetch([(pos, stop)])
            return self._lease.cache.read_at(stop - pos, pos) if stop > pos else b""

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of each of these half-open ranges; all are asked for before the first is waited for."""
        with self:
            clipped = [(first, max(first, min(stop, self.size))) for first, stop in ranges]
            self._fetch(clipped)
            cache = self._lease.cache
            return [cache.read_at(stop - first, first) if first < stop else b"" for first, stop in clipped]

    def stats(self) -> DownloadStats:
        """What was fetched so far, by all who share the content."""
        return self._content.stats()

    # --- blocks ----------------------------------------------------------------------------------

    def _gap(self, pos: int, size: int) -> int:
        """The first missing byte from `pos` on, at most ``pos + size``."""
        first, stop = self._blocks(pos, pos + size)
        gap = self._content.gap(first, stop) if first < stop else None
        return pos + size if gap is None else max(pos, gap * self.block_size)

    def _blocks(self, first: int, stop: int) -> Run:
        stop = min(stop, self.size)
        return first // self.block_size, -(-stop // self.block_size)

    def _missing(self, ranges: Sequence[tuple[int, int]]) -> list[Run]:
        """The runs of blocks of these bytes in which any is missing."""
        runs = merged(self._blocks(first, stop) for first, stop in ranges if first < min(stop, self.size))
        return [run for run in runs if self._content.gap(*run) is not None]

    def _fetch(self, ranges: Sequence[tuple[int, int]], ahead: tuple[int, int] | None = None) -> None:
        """Ask for what is missing of these bytes, and of those ahead; wait for the former."""
        runs = self._missing(ranges)
        more = self._missing([ahead]) if ahead is not None else []
        if runs or more:
            # What lies between two runs comes with them for the sake of one request; nobody waits for it.
            wish = self._lease.ask(runs, [*merged(runs, HOLE // self.block_size), *more])
            self._content.wait(wish, self._check)

    # --- who is inside ---------------------------------------------------------------------------

    def _check(self) -> None:
        if self.closed:
            raise ValueError(f"{self._name} is closed")

    def __enter__(self) -> None:
        with self._lock:
            # Counted first: a signal's handler that closes the file comes before that, or sees us inside.
            self._inside += 1
            if self.closed:
                self._inside -= 1
        self._check()

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._inside -= 1
            if self.closed and not self._inside:
                self._empty.set()
            last = self._handed_over and not self._inside
        if last:
            self._release_late()

    def close(self) -> None:
        """Send every waiting thread away, and let go of the content. May be called twice.

        A thread that does not leave in `LEAVE` seconds lets go of the content itself, when it leaves.
        """
        with self._lock:
            first, self.closed = not self.closed, True
            if not self._inside:
                self._empty.set()
        if first:
            try:
                self._content.wake()
                self._empty.wait(LEAVE)
            finally:
                with self._lock:
                    self._handed_over = self._inside > 0
                if not self._handed_over:
                    self._lease.release()

    def _release_late(self) -> None:
        """Do what `close` could not wait for, on the thread of the last reader, who is not to blame."""
        try:
            self._lease.release()
        except (CacheError, ValueError) as error:
            log().warning("%s was not closed well: %s", self._name, error)

    def _stay_out(self) -> None:
        """Nobody is inside: at the beginning, and in the child of a fork, where other threads are gone."""
        self._lock = threading.RLock()  # a finalizer or a signal's handler may come in between
        self._inside = 0
        self._handed_over = False
        self._empty: threading.Event = threading.Event()


#: Every one of this process.
_known: weakref.WeakSet[Access] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for access in list(_known):
        access._stay_out()


os.register_at_fork(after_in_child=_after_fork_in_child)


def view_of(buffer: Buffer) -> memoryview:
    """The bytes of a writable buffer, whatever its items are."""
    view = memoryview(buffer).cast("B")
    if view.readonly:
        raise TypeError("the buffer is read-only, needed is a writable one")
    return view
