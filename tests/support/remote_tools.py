"""Files opened at a distance, over a scripted server, with settings that suit small contents."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Iterator

from processes import until

from largefile.remote import RemoteFile
from largefile.remote import open as open_remote
from largefile.testing.server import LoopbackServer

BLOCK = 64 << 10


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def opened(server: LoopbackServer, **options) -> RemoteFile:
    """`largefile.open` with no proxy, and no long wait for a dead server."""
    url = options.pop("url", None) or server.url
    return open_remote(url, **{"timeout": 5.0, "tries": 2, "proxy": "", **options})


@contextlib.contextmanager
def reading(content: bytes, **options) -> Iterator[tuple[RemoteFile, LoopbackServer]]:
    """A server of `content`, and its file, open; a `behave` goes to the server."""
    behave = options.pop("behave", None)
    with LoopbackServer(content, behave=behave) as server, opened(server, **options) as file:
        yield file, server


def asked(server: LoopbackServer, since: int = 0) -> list[tuple[int, int]]:
    """The ranges of the requests from number `since` on, half-open."""
    return [
        (request.range[0], request.range[1] + 1)
        for request in list(server.requests)[since:]
        if request.range is not None and request.range[1] is not None
    ]


def times_asked(server: LoopbackServer, block_size: int = BLOCK, since: int = 0) -> Counter[int]:
    """How often each block was asked for, by requests for more than the one byte that asks who is there."""
    found: Counter[int] = Counter()
    for first, stop in asked(server, since):
        if stop - first > 1:
            found.update(range(first // block_size, -(-stop // block_size)))
    return found


def blocks_of(pos: int, size: int, block_size: int = BLOCK) -> set[int]:
    return set(range(pos // block_size, -(-(pos + size) // block_size))) if size else set()


def sent(server: LoopbackServer) -> int:
    """Body bytes of all requests, once they are over."""
    until(lambda: all(request.done for request in list(server.requests)), what="all is answered")
    return server.sent
