"""What a process may be in the middle of when it is killed: what was there before, and what is right."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from largefile.disk.cache import LocalDownloadCache
from largefile.engine.destination import Destination
from largefile.rules.identity import Identity
from largefile.testing.disk.acts import CACHE, DEST
from largefile.testing.script import DATE, Behaviour, Content, Request, pattern

__all__ = ["BLOCK", "CONNECTIONS", "SCENES", "SHA256", "SIZE", "Scene", "bytes_of", "version"]

BLOCK = 64 << 10
SIZE = 32 * BLOCK - 777
CONNECTIONS = 2
TAINTED = 5
#: What is left of an earlier run: these blocks.
EARLIER = (0, 1, 2, 9, 20, 31)


def bytes_of(number: int, first: int, last: int) -> bytes:
    """The bytes `first` to `last` of one version; both included."""
    return pattern(number * 1000 + first, number * 1000 + last)


def version(number: int) -> Content:
    """One version of the content, as a server has it."""
    return Content(SIZE, lambda first, last: bytes_of(number, first, last), f'"v{number}"', DATE)


#: Of the version that is served.
SHA256 = hashlib.sha256(bytes_of(1, 0, SIZE - 1)).hexdigest()


@dataclass(frozen=True, slots=True)
class Scene:
    """A situation.

    Attributes
    ----------
    name : str
        In a word or two.
    act : str
        Of `acts`, done by who is killed, and then by who is not.
    prepare : callable
        Is given an empty folder, and the URL.
    options : dict
        Of the act.
    behave : callable, optional
        What the server does with each request.
    needed : int or None
        Bytes that an undisturbed run gets; None: nothing can be resumed, and no byte is counted.
    repeated : int
        Bytes that one kill may cost beyond what was in flight, as it interrupts what keeps nothing.
    old : int, optional
        The version that the destination has before; it may be found there until the new one is.
    tainted : int, optional
        A block that may be in place with wrong bytes, until the digest has told.
    """

    name: str
    act: str = "download"
    prepare: Callable[[Path, str], None] = lambda folder, url: None
    options: dict[str, Any] = field(default_factory=dict)
    behave: Callable[[Request], Behaviour | None] | None = None
    needed: int | None = SIZE
    repeated: int = 0
    old: int | None = None
    tainted: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """All options of the act."""
        return {"block_size": BLOCK, "concurrency": CONNECTIONS, **self.options}


def leave_partial(number: int) -> Callable[[Path, str], None]:
    """Blocks of a version in a partial file, as an earlier run leaves them."""

    def prepare(folder: Path, url: str) -> None:
        there = Destination(folder / DEST)
        identity = Identity(f'"v{number}"', DATE, SIZE)
        with LocalDownloadCache.create(
            there.part, there.index, SIZE, BLOCK, identity=identity, url=url
        ) as cache:
            for block in EARLIER:
                first = block * BLOCK
                cache.write_at(bytes_of(number, first, min(first + BLOCK, SIZE) - 1), first)

    return prepare


def leave_file(folder: Path, url: str) -> None:
    """An older version, whole."""
    (folder / DEST).write_bytes(bytes_of(0, 0, SIZE - 1))


def leave_cache(folder: Path, url: str) -> None:
    """A cache of the caller's own, which nothing has come into."""
    data, index = (folder / name for name in CACHE)
    LocalDownloadCache.create(data, index, SIZE, BLOCK).close()


def without_size(request: Request) -> Behaviour:
    """No word of how much it is, and no ranges."""
    return Behaviour(ranges=False, chunked=True)


def stale_edge(request: Request) -> Behaviour | None:
    """A cache on the way has a wrong byte, and who asks past it gets the right one."""
    if "no-cache" in request.headers.get("cache-control", ""):
        return None
    return Behaviour(content=Content(SIZE, _flipped, '"v1"', DATE))


def _flipped(first: int, last: int) -> bytes:
    found, at = bytearray(bytes_of(1, first, last)), TAINTED * BLOCK + 99
    if first <= at <= last:
        found[at - first] ^= 1
    return bytes(found)


RESUMED = SIZE - sum(min(BLOCK, SIZE - block * BLOCK) for block in EARLIER)
SCENES = (
    Scene("fresh"),
    Scene("resumed", prepare=leave_partial(1), needed=RESUMED),
    Scene("overwritten", prepare=leave_file, options={"overwrite": True}, old=0),
    Scene("changed", prepare=leave_partial(0)),
    Scene("unsized", behave=without_size, needed=None),
    # Once as it comes, once to compare, and what differs a third time. A comparison begins anew after a kill.
    Scene(
        "repaired",
        options={"digest": f"sha256:{SHA256}"},
        behave=stale_edge,
        needed=2 * SIZE + BLOCK,
        repeated=SIZE,
        tainted=TAINTED,
    ),
    Scene("streamed", "stream", prepare=leave_cache),
    Scene("read", "read"),
)
