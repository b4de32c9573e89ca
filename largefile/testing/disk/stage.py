"""Where a scenario of the disk is played: a folder and a server of its own, and what may be asked of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import largefile
from largefile.core.bitmap import Bitmap
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.files import LocalFile
from largefile.disk.header import State
from largefile.disk.index import Index
from largefile.errors import CacheError
from largefile.rules.identity import Identity
from largefile.testing.script import DATE, Behaviour, Request, pattern
from largefile.testing.server import LoopbackServer

__all__ = [
    "BLOCK",
    "CONTENT",
    "OPTIONS",
    "SHA256",
    "SIZE",
    "Scenario",
    "Stage",
    "WrongError",
    "check",
    "durable_blocks",
    "leave",
    "plain",
    "put",
    "stage",
]

BLOCK = 4096
SIZE = 9 * BLOCK + 1234
CONTENT = pattern(0, SIZE - 1)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = '"v1"'
#: Of every transfer here: one engine thread, and little patience.
OPTIONS: dict[str, Any] = {"concurrency": 2, "threads": 1, "timeout": 5.0, "tries": 2, "proxy": ""}


class WrongError(Exception):
    """Something came out otherwise than it was said."""


@dataclass(slots=True)
class Stage:
    """A scenario being played."""

    folder: Path
    server: LoopbackServer

    @property
    def dest(self) -> Path:
        return self.folder / "x"

    @property
    def names(self) -> tuple[str, str]:
        """The data file and the index."""
        return f"{self.dest}.part", f"{self.dest}.part.idx"

    @property
    def identity(self) -> Identity:
        """What the server has."""
        return Identity(ETAG, DATE, SIZE)

    def create(self, **options: Any) -> LocalDownloadCache:
        """A new cache for what the server has."""
        options = {"identity": self.identity, "url": self.server.url, **options}
        return LocalDownloadCache.create(*self.names, SIZE, BLOCK, **options)

    def open(self, **options: Any) -> LocalDownloadCache:
        cache: LocalDownloadCache = LocalDownloadCache.open(*self.names, **options)
        return cache

    def partial(self, *blocks: int, pending: tuple[int, ...] = (), **options: Any) -> None:
        """Leave a cache as kill -9 does, with some blocks committed, and others only in place."""
        cache = self.create(**options)
        put(cache, *blocks)
        cache.commit()
        put(cache, *pending)
        leave(cache)

    def download(self, **options: Any) -> None:
        """A whole download, which is held to what it says."""
        largefile.download(self.server.url, self.dest, **{"block_size": BLOCK, **OPTIONS, **options})
        if not self.is_right():
            raise WrongError("the download was said to be complete, and has other bytes")

    def is_right(self) -> bool:
        """Whether DEST is there, and is the content."""
        return self.dest.exists() and hashlib.sha256(self.dest.read_bytes()).hexdigest() == SHA256

    def committed(self) -> set[int]:
        """The blocks that an index of this version, if there is one, vouches for after a power loss too."""
        return set().union(*(durable_blocks(str(path)) for path in self.folder.rglob("*.idx")))

    def files(self) -> set[str]:
        """What lies in the folder, by the names within it."""
        found = (path for path in self.folder.rglob("*") if not path.is_dir())
        return {path.relative_to(self.folder).as_posix() for path in found}


def plain(stage: Stage) -> None:
    """What a user does after a failure: the same call again."""
    if stage.is_right():  # all was done but its last step: a digest lets the next run say so
        stage.download(digest=f"sha256:{SHA256}")
    else:
        stage.download(overwrite=stage.dest.exists())


def nothing(stage: Stage) -> None:
    """Nothing."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something to be done with files, at each of whose calls the system may fail."""

    name: str
    act: Callable[[Stage], None]
    prepare: Callable[[Stage], None] = nothing
    finish: Callable[[Stage], None] = plain
    #: What the system here never can do: a call, and its errno.
    lacks: Mapping[str, int] = field(default_factory=dict)
    #: Whose files all are, on a filesystem that has no owners.
    owner: int | None = None
    mappable: bool = True  #: whether files may be mapped for writing here
    #: What lies there in the end.
    leaves: frozenset[str] = frozenset({"x"})
    #: How names begin of files that stay where to remove them was what failed: their names are random.
    may_stay: str = ""
    #: It ends with an error of ours even where nothing more fails.
    fails: bool = False
    #: Whether a sync that fails has to be told: something durable is promised.
    durable: bool = True
    behave: Callable[[Request], Behaviour | None] | None = None
    #: What was committed may be given up: it is replaced, made absent, or put aside.
    loses: bool = False
    #: … or fetched again: it came wrong.
    begins_anew: bool = False

    def __str__(self) -> str:
        return self.name


@contextmanager
def stage(scenario: Scenario, folder: Path) -> Iterator[Stage]:
    """Its stage, prepared."""
    with LoopbackServer(CONTENT, etag=ETAG, behave=scenario.behave) as server:
        found = Stage(folder, server)
        scenario.prepare(found)
        yield found


def check(right: bool, what: str) -> None:
    """WrongError unless it is right."""
    if not right:
        raise WrongError(what)


def put(cache: LocalDownloadCache, *blocks: int) -> None:
    """Write some blocks of the content."""
    for block in blocks:
        cache.write_at(CONTENT[block * BLOCK : (block + 1) * BLOCK], block * BLOCK)


def leave(cache: LocalDownloadCache) -> None:
    """End as kill -9 does: nothing is committed or said, and the lock goes with its descriptor."""
    cache._group.poisoned = "killed"
    cache.close()


def durable_blocks(path: str) -> set[int]:
    """The blocks that the index at `path` vouches for after a power loss too; none if it is none."""
    try:
        file = LocalFile.open(path, writable=False)
    except CacheError:
        return set()
    with closing(file):
        try:
            index = Index.open(file, writable=False)
        except CacheError:
            return set()  # half made
        try:
            blocks = Bitmap(index.header.num_blocks)
            if index.header.state is not State.SUPERSEDED and index.header.etag in (None, ETAG):
                index.live.scan_pair(index.durable, blocks, Bitmap(len(blocks)))
            return {block for block in range(len(blocks)) if blocks[block]}
        finally:
            index.release()
