"""One case: what a server does wrong, to which requests, and what may rightly come of it.

A *trick* is one behaviour of the catalogue, told by a function from a request to a `Behaviour`. It is
played at several moments, which makes its *cases*. A *stage* is one case being run: a server of its own,
whose content is known by position, so that every wrong byte shows.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from largefile.testing.authority import Authority
from largefile.testing.h2server import H2Server
from largefile.testing.script import DATE, Behaviour, Content, Request, pattern
from largefile.testing.server import LoopbackServer

__all__ = ["BLOCK", "ONCE", "OTHER", "SIZE", "WHENS", "Act", "Case", "Stage", "Trick", "how", "length"]

BLOCK = 64 << 10
SIZE = (3 << 20) + 4321
TAG, NEW_TAG, NEW_DATE = '"one"', '"two"', "Mon, 07 Nov 1994 08:49:37 GMT"
#: Another version of the content, of the same size: no long run of its bytes stands in the first one.
OTHER = Content(SIZE, lambda first, last: pattern(first + 32_003, last + 32_003), NEW_TAG, NEW_DATE)

#: Moments that come once, and all of them.
ONCE = ("first", "middle", "last")
WHENS = (*ONCE, "later", "always")


@dataclass(slots=True)
class Stage:
    """A case being run."""

    server: LoopbackServer
    size: int
    memory: dict[str, Any] = field(default_factory=dict)  #: the trick's own
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> int:
        """How often this was called for `what`, this time included."""
        with self.lock:
            self.memory[what] = self.memory.get(what, 0) + 1
            return int(self.memory[what])


Act: TypeAlias = Callable[[Stage, Request], Behaviour | None]


@dataclass(frozen=True, slots=True)
class Trick:
    """One behaviour of the catalogue."""

    item: int  #: its number in the catalogue of incidents
    name: str
    act: Act
    when: tuple[str, ...] = WHENS
    #: Nothing in the answers tells: without a digest a wrong file is nobody's fault.
    undecidable: bool = False
    digests: tuple[bool, ...] = (False,)  #: with the caller's digest, without it, or both
    size: int = SIZE
    etag: str | None = TAG
    last_modified: str | None = DATE
    #: Other contents that are right as a whole, when the source has changed to them.
    others: tuple[Content, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)  #: of the download
    #: Instead of a download, what is read of it by `largefile.open`: positions and sizes.
    reads: tuple[tuple[int, int], ...] = ()
    http2: bool = False  #: it has a meaning in HTTP/2 only
    tls: bool = False  #: the server speaks https, by a certificate of our own authority
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Case:
    """A trick at its moment, with or without a digest."""

    trick: Trick
    when: str
    digest: bool = False
    http2: bool = False

    @property
    def name(self) -> str:
        more = (", with a digest" if self.digest else "") + (", HTTP/2" if self.http2 else "")
        return f"{self.trick.item}: {self.trick.name}, {self.when}{more}"

    @property
    def undecidable(self) -> bool:
        return self.trick.undecidable and not self.digest

    def server(self, authority: Authority | None = None) -> LoopbackServer:
        """A server that plays it; to be started. `authority` signs for those that speak https."""
        trick = self.trick
        server = (H2Server if self.http2 else LoopbackServer)(
            Content(trick.size, pattern),
            etag=trick.etag,
            last_modified=trick.last_modified,
            tls=authority.context("127.0.0.1") if authority is not None else None,
        )
        stage = Stage(server, trick.size)
        server.behave = lambda request: trick.act(stage, request) if self._is_due(stage, request) else None
        return server

    def rights(self) -> set[str]:
        """The SHA-256 of every content that is right."""
        if self.digest:
            return {sha256(Content(self.trick.size, pattern))}
        return {sha256(content) for content in (Content(self.trick.size, pattern), *self.trick.others)}

    def _is_due(self, stage: Stage, request: Request) -> bool:
        if self.when == "always":
            return True
        if self.when == "last":
            last = request.range[1] if request.range is not None else None
            return (last is None or last >= stage.size - 1) and stage.count("last") == 1
        due = {"first": (0, 1), "middle": (2, 3), "later": (2, 1 << 30)}[self.when]
        return due[0] <= request.number < due[1]


def how(**words: Any) -> Act:
    """The same for every request."""
    return lambda stage, request: Behaviour(**words)


def length(request: Request, size: int) -> tuple[int, int]:
    """The first and last byte that are asked for."""
    first, last = request.range or (0, None)
    return first, min(size - 1, last) if last is not None else size - 1


def sha256(content: Content) -> str:
    """Of a content that fits into memory."""
    return hashlib.sha256(content.read(0, content.size - 1) if content.size else b"").hexdigest()
