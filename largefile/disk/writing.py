"""The writing side of a cache: what connections and callers put in, and what is made of it.

Order for each block: its bytes are in place, they are hashed, the live entry is stored, the bit is set,
waiters are told. A bit is never set before its bytes are in place, and within one open it never goes
back, but for `CacheWrites.invalidate`.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import xxhash

from largefile.core.ranges import ByteRange
from largefile.disk.commit import GroupCommit
from largefile.disk.filelanes import BounceLane, MapLane
from largefile.disk.files import CacheFile, LocalFile
from largefile.disk.header import State, as_stored
from largefile.disk.opening import Opened
from largefile.disk.pages import CleanPages
from largefile.disk.reading import CacheReads
from largefile.errors import (
    CacheBusyError,
    CacheError,
    CachePoisonedError,
    InvalidBlockSizeError,
    InvalidOffsetError,
)
from largefile.rules.backlog import is_too_large

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from largefile.rules.identity import Identity

__all__ = ["CacheWrites", "WritePath"]

#: How the bytes of a connection get into the file.
WritePath: TypeAlias = Literal["auto", "map", "bounce"]


class CacheWrites(CacheReads):
    """Reads and writes, over parts that were opened for writing."""

    def __init__(self, data: CacheFile, opened: Opened, *, by_span: bool, write_path: WritePath) -> None:
        super().__init__(data, opened.index, opened.ranges)
        self._write_path = write_path
        self._by_span = by_span
        self._group = GroupCommit(data, opened.index, opened.pending, self._wake)
        self._claims: set[int] = set()
        self._claims_lock = threading.Lock()
        self._filled = False
        self._closed = False

    # --- what the engine uses -------------------------------------------------------------------

    @property
    def data(self) -> CacheFile:
        """The data file."""
        return self._data

    @property
    def commit_due(self) -> threading.Event:
        """Set when so much has landed that a commit should not wait, and when the cache is poisoned."""
        return self._group.due

    @property
    def landed(self) -> threading.Event:
        """Set while anything has landed that no commit has taken."""
        return self._group.landed

    @property
    def poisoned(self) -> str | None:
        """Why the cache cannot be written any more, if it cannot."""
        return self._group.poisoned

    def begin_filling(self) -> None:
        """An engine fills this from now on; CacheBusyError if another one does: no place has two writers."""
        with self._claims_lock:
            if self._filled:
                raise CacheBusyError(self.path, f"another transfer of this process, {os.getpid()}")
            self._filled = True

    def end_filling(self) -> None:
        """The engine that has begun is over; may be called by nobody else."""
        with self._claims_lock:
            self._filled = False

    @contextlib.contextmanager
    def filling(self) -> Iterator[None]:
        """`begin_filling`, and `end_filling` at the end."""
        self.begin_filling()
        try:
            yield
        finally:
            self.end_filling()

    def lane(self, direct: bool = False) -> BounceLane:
        """Where one connection's bytes go: a buffer on the way to the file, or the file's map.

        `direct` says that the driver fills a place itself, so that a map saves it a copy. A file whose
        pages could fail later is never mapped.
        """
        wanted = self._write_path == "map" or (self._write_path == "auto" and direct)
        mappable = not isinstance(self._data, LocalFile) or self._data.mappable
        return MapLane(self) if wanted and mappable else BounceLane(self)

    def prepare(self, first: int, stop: int, *, mapped: bool = False) -> None:
        """Make room on the disk for bytes `first` to `stop` - 1, where that was put off; `mapped` bytes are
        stored, and others written."""
        self._check()
        # Where room is memory a write takes it as well as a reservation would, and zeroes nothing.
        in_memory = isinstance(self._data, LocalFile) and self._data.in_memory
        if first < stop and (mapped if in_memory else self._by_span):
            self._data.allocate(first, stop - first)

    def seal(self, block: int, content: int) -> None:
        """The bytes of `block` are in place and hash to `content` (xxh3_64): it is present from now on."""
        if self._group.poisoned is not None:
            self._group.check()
        self._index.seal(block, content)
        self._group.add(block)
        self._ranges.set_block(block)

    def vouches_for(self, block: int, content: int) -> bool:
        """Whether `block` is present, and its bytes hash to `content` (xxh3_64)."""
        return self._ranges.bitmap[block] and self._index.live.check(block, content)

    def commit(self) -> int:
        """Sync what has landed, and make its entries durable; how many blocks that was."""
        self._check()
        return self._group.commit()

    def start_writeback(self) -> None:
        """Have the disk begin with what has landed, so that the next sync is short; waits for nothing."""
        if isinstance(self._data, LocalFile) and not self._closed:
            self._data.start_writeback()

    def write_back(self, goes_on: Callable[[], bool] = lambda: True) -> None:
        """Wait until the disk has taken what has landed, as long as it `goes_on`; no entry becomes durable by
        that."""
        self._check()
        self._group.write_back(goes_on)

    @contextlib.contextmanager
    def committing(self, *, durable: bool) -> Iterator[None]:
        """Somebody commits, or writes back, whenever it is due: `backlog` has a limit, and pages are dropped
        where the content is too large to stay in memory. What is not to be `durable` may be far ahead until
        the disk's speed is known."""
        memory, pages = 0, None
        if isinstance(self._data, LocalFile):
            memory = self._data.ops.memory()
            if is_too_large(self.content_size, memory):
                pages = CleanPages(self._data, self.num_blocks, self.block_size)
                for start, stop in list(self._ranges.bitmap.runs_set()):
                    pages.add(start, stop)
        with self._group.bounded(memory, pages, speed=None if durable else math.inf):
            yield

    @property
    def backlog(self) -> float:
        """What has landed and is not on the disk, as a part of what may be; 0 while nobody commits."""
        return self._group.backlog

    def wait_for_room(self, timeout: float) -> None:
        """Wait until the backlog is shorter, at most so many seconds."""
        self._group.wait_for_room(timeout)

    def drop_pages(self, until: int, *, short: bool = False) -> None:
        """Have the system forget what the disk has of the bytes before `until`, where the content is too
        large to stay in memory: long runs, or `short` ones as well."""
        if not self._closed:
            end = self.num_blocks if until >= self.content_size else until // self.block_size
            self._group.drop_pages(end, short=short)

    def sync_data(self) -> None:
        """Sync the data once: an error that a dead writer left behind is seen now, and poisons."""
        self._check()
        self._group.sync_data()

    def poison(self, reason: str) -> None:
        """Believe nothing that no sync vouches for; every call and every waiter gets CachePoisonedError."""
        self._group.poison(reason)

    def mark(self, state: State, digest: str | None = None) -> None:
        """Write a new state, and a digest that was learnt, into the header."""
        self._check()
        changes: dict[str, Any] = {} if digest is None else {"digest": digest}
        self._index.write_header(state=state, **changes)

    def pin(self, identity: Identity) -> None:
        """Write down whose bytes these will be, where nothing is there yet and the header does not say."""
        self._check()
        if not self._ranges.count and not self.identity.has_validator:
            known = as_stored(identity)
            self._index.write_header(etag=known.etag, last_modified=known.last_modified)

    # --- the public side of writing -------------------------------------------------------------

    def write_at(self, data: Buffer, off: int) -> int:
        """Write one whole block, which begins at byte `off`; its size.

        A block that is present already may be written again with the same bytes only.

        Raises
        ------
        InvalidOffsetError
            If no block begins at `off`, or other bytes are there already.
        InvalidBlockSizeError
            If `data` is not exactly as long as that block.

        Notes
        -----
        Go: ``LocalDownloadCache.WriteAt``.
        """
        self._check()
        with memoryview(data).cast("B") as view:
            block = self._check_write(len(view), off)
            content = xxhash.xxh3_64_intdigest(view)
            with self._claim(block, off):
                if self._ranges.bitmap[block]:
                    if not self._index.live.check(block, content):
                        raise InvalidOffsetError(
                            off, "of a block that is not cached with other bytes already"
                        )
                else:
                    self._data.write_at(view, off)
                    self.seal(block, content)
            return len(view)

    def invalidate(self, range: ByteRange) -> None:
        """Make every block that `range` touches absent again, for repair. CacheError while a reader waits
        in `tail` for any of it."""
        self._check()
        if range.stop > self.content_size:
            raise InvalidOffsetError(range.last, f"below {self.content_size}")
        first, stop = range.first // self.block_size, range.last // self.block_size + 1
        with self._group.without(first, stop):
            with self._grown:
                if any(told < range.last for told in self._waiting):
                    raise CacheError(f"a reader waits for bytes of {range}")
                for block in _count(first, stop):
                    self._ranges.clear(block * self.block_size)
                    self._index.forget(block)
                self._told = min(self._told, first * self.block_size - 1)
            self._group.sync_index()

    # --- helpers --------------------------------------------------------------------------------

    def _cut_short(self, end: int) -> CacheError:
        # The next block behind its end would make it longer again, and what was cut off would be zeros.
        reason = f"its data file was cut to {end} bytes by somebody else"
        self.poison(reason)
        return CachePoisonedError(self.path, reason)

    def _check(self) -> None:
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        self._group.check()

    def _check_write(self, size: int, off: int) -> int:
        last = (self.num_blocks - 1) * self.block_size
        if not 0 <= off <= last or off % self.block_size:
            raise InvalidOffsetError(off, f"a multiple of {self.block_size} from 0 to {last}")
        needed = min(self.block_size, self.content_size - off)
        if size != needed:
            raise InvalidBlockSizeError(size, needed)
        return off // self.block_size

    @contextlib.contextmanager
    def _claim(self, block: int, off: int) -> Iterator[None]:
        """A place has one writer at a time: the bytes of two and the hash of one would not match."""
        with self._claims_lock:
            if block in self._claims:
                raise InvalidOffsetError(off, "of a block that nobody else is writing")
            self._claims.add(block)
        try:
            yield
        finally:
            with self._claims_lock:
                self._claims.discard(block)


_count = range  # `range` is also the name of a parameter
