"""Streams from a scripted server or a scripted Reader, with settings that suit small contents."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

from processes import until
from server_tools import BLOCK

import largefile
from largefile import StreamingDownloader
from largefile.testing.server import LoopbackServer

#: A promise: the end of everything within a second; and slack for a machine with other things to do.
SOON = 2.0


def open_stream(source: LoopbackServer | str, **options: Any) -> StreamingDownloader:
    """`largefile.stream` with small blocks, no proxy, and no long wait for a dead server."""
    url = source if isinstance(source, str) else source.url
    usual = {"block_size": BLOCK, "concurrency": 4, "timeout": 5.0, "proxy": ""}
    return largefile.stream(url, **{**usual, **options})


def asked(server: LoopbackServer) -> list[tuple[int, int | None]]:
    """The ranges of all requests, in order of their first bytes."""
    return sorted(request.range for request in server.requests if request.range is not None)


def is_idle(stream: StreamingDownloader) -> bool:
    """Whether nothing is under way, and nothing is about to be: what may come is there."""
    stats = stream.stats()
    return stats.phase == "downloading" and stats.connections == 0


def has_come(stream: StreamingDownloader, size: int) -> None:
    """Wait until `size` bytes are in place, and no transfer is under way."""
    until(
        lambda: stream.stats().cached_or_streamed_bytes == size and is_idle(stream),
        what=f"{size} bytes are there, and nothing is under way",
    )


class Gates:
    """A Reader whose ranges come when they are released, in whatever order a test likes."""

    def __init__(self, content: bytes, block_size: int) -> None:
        self.content = content
        self.block_size = block_size
        self.name = "gates"
        self.asked: list[tuple[int, int]] = []
        self.waiting: set[int] = set()  #: first bytes of ranges that are asked for and not released
        self._released: set[int] = set()
        self._all = False
        self._bell = threading.Condition()

    def digest(self) -> str | None:
        return None

    def content_length_and_block_size(self) -> tuple[int, int]:
        return len(self.content), self.block_size

    def get_reader(self, first: int, last: int) -> io.BytesIO:
        with self._bell:
            self.asked.append((first, last))
            self.waiting.add(first)
            self._bell.wait_for(lambda: self._all or first in self._released, timeout=60)
            self.waiting.discard(first)
        return io.BytesIO(self.content[first : last + 1])

    def release(self, *blocks: int) -> None:
        """Let ranges pass that begin with these blocks; without an argument, all."""
        with self._bell:
            self._released |= {block * self.block_size for block in blocks}
            self._all |= not blocks
            self._bell.notify_all()


class PlainReader:
    """A Reader made of a function that gives the bytes of a range, or raises."""

    def __init__(self, content: bytes, block_size: int, read: Callable[[int, int], bytes] | None = None):
        self.content = content
        self.block_size = block_size
        self.name = "plain"
        self.asked: list[tuple[int, int]] = []
        self._read = read or (lambda first, last: content[first : last + 1])

    def digest(self) -> str | None:
        return None

    def content_length_and_block_size(self) -> tuple[int, int]:
        return len(self.content), self.block_size

    def get_reader(self, first: int, last: int) -> io.BytesIO:
        self.asked.append((first, last))
        return io.BytesIO(self._read(first, last))


def our_threads() -> list[str]:
    """Names of the library's threads that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("largefile-")]


class Reading:
    """A read on a thread of its own: what it gave or raised, and when."""

    def __init__(self, read: Callable[[], object]) -> None:
        self._read = read
        self._found: object = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="test-reading")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = self._read()
        except BaseException as error:  # noqa: BLE001 - raised by `result`
            self._error = error

    @property
    def waits(self) -> bool:
        """Whether it is not over."""
        return self._thread.is_alive()

    def result(self, timeout: float = SOON) -> object:
        """Wait for its end; fails after `timeout` seconds."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"the read is still waiting after {timeout:g} s"
        if self._error is not None:
            raise self._error
        return self._found
