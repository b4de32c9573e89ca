"""What a source of bytes owes: `Reader`, which anybody can write, and the `Source` that the engine runs.

A Reader gives byte ranges as file objects. A Source says what to ask a transport for, judges what it
answers, and puts a name to what went wrong; `HTTPReader` is one itself, and `ReaderSource` makes one of
any Reader.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, runtime_checkable

from largefile.core.sink import BlockSink
from largefile.events import Ended, Fetch, Response
from largefile.rules.actions import Fault
from largefile.rules.hosts import Host
from largefile.rules.identity import Identity
from largefile.rules.sizing import auto_block_size
from largefile.rules.verdict import Verdict
from largefile.wire.address import Next
from largefile.wire.transport import Transport

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileReader", "Probe", "Reader", "Source"]

MIB = 1 << 20


@runtime_checkable
class Reader(Protocol):
    """A very large file somewhere, readable by ranges. Go: ``largefile.Reader``."""

    @property
    def name(self) -> str:
        """What to call it in messages."""

    def content_length_and_block_size(self) -> tuple[int, int]:
        """The content's size and the preferred block size, in bytes."""

    def digest(self) -> str | None:
        """The digest that the source itself names, as ``"sha256:HEX"``; None if it names none."""

    def get_reader(self, first: int, last: int) -> BinaryIO:
        """A binary file object that gives the bytes `first` to `last`, both included.

        Raises
        ------
        ReadError
            If it can not, with `retryable` and, if the source asked for a pause, `retry_after` in seconds.
        """


class Probe(NamedTuple):
    """What the first request found out. If `fetch` is set it is answered and held, ready to be admitted."""

    identity: Identity
    fetch: Fetch | None = None
    verdict: Verdict | None = None
    sink: BlockSink | None = None
    #: The most bytes that a body may have whose size nobody said; None: any number.
    most: int | None = None


class Source(Protocol):
    """What the engine needs of where the bytes come from."""

    @property
    def name(self) -> str: ...

    @property
    def is_anonymous(self) -> bool:
        """Whether it has no way to tell one version of the content from another."""

    @property
    def is_encrypted(self) -> bool:
        """Whether its bytes have to be decrypted here."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the status."""

    def probe(
        self, first: int, last: int | None, check: Callable[[], object], deadline: float = math.inf
    ) -> Probe:
        """Pin the identity by a request that begins at `first`; raises the typed error that prevents it.

        `check` is called now and then, and raises to end it. A host that wants no request until after
        `deadline` (of `time.monotonic`) is not waited for: that is a `ThrottledError` at once.
        """

    def transport(self) -> Transport:
        """The transport; the probe's own. The caller's thread owns it until `close`."""

    def another_transport(self) -> Transport | None:
        """One more, for a thread that owns it and closes it; None where there can be only one."""

    def begin_use(self) -> None:
        """The transport is one loop's from now on; ValueError if it is another's already."""

    def end_use(self) -> None:
        """… and nobody's."""

    def request(self, first: int, last: int) -> Fetch:
        """The next request for these bytes, both ends included."""

    def host(self, fetch: Fetch | None = None) -> Host:
        """What is known of the host that `fetch` goes to, or else the next request."""

    def judge(self, fetch: Fetch, response: Response) -> Verdict:
        """Whether the body may be placed. How long the host wants no request is noted at `host`."""

    def elsewhere(self, fetch: Fetch, verdict: Verdict | None, first: int, last: int) -> Next:
        """The next request for these bytes, where `fetch` did not bring them; None if there is nowhere to go.

        `verdict` is the one on its answer, None if there was no answer.
        LATER: somebody else finds out where that is; ask again soon, and until it is something else.
        """

    def leaves(self, fetch: Fetch, size: int, seconds: float) -> bool:
        """So far has a transfer come in so many seconds: would the rest come much sooner by a new request?"""

    def ended(self, fetch: Fetch, size: int, seconds: float) -> None:
        """A transfer is over, after so many bytes of its body. Said before `elsewhere` is asked."""

    def fault(self, ended: Ended) -> Fault:
        """What a transfer's bad end means for its span."""

    def close(self) -> None:
        """Drop the transport and its connections."""


class FileReader:
    """A local file as a `Reader`; what it copies is read by ``preadv`` straight to its place.

    Parameters
    ----------
    path
        The file.
    block_size
        Preferred block size in bytes; by default `auto_block_size` of its size.

    Raises
    ------
    FileNotFoundError, PermissionError
        By the system.
    """

    def __init__(self, path: str | os.PathLike[str], block_size: int | None = None) -> None:
        from pathlib import Path  # slow to import, and what comes over HTTP needs none

        self.path = Path(path)
        if block_size is not None and block_size < 1:
            raise ValueError(f"block size {block_size} must be at least 1 byte")
        size = self.path.stat().st_size
        self._sizes = size, block_size or auto_block_size(size)

    @property
    def name(self) -> str:
        return str(self.path)

    def content_length_and_block_size(self) -> tuple[int, int]:
        return self._sizes

    def digest(self) -> str | None:
        return None

    def get_reader(self, first: int, last: int) -> BinaryIO:
        return _FileRange(self.path, first, last)  # type: ignore[return-value]


class _FileRange(io.RawIOBase):
    """The bytes `first` to `last` of a file, both included."""

    def __init__(self, path: Path, first: int, last: int) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._at, self._stop = first, last + 1

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with memoryview(buffer).cast("B") as view:
            size = os.preadv(self._fd, [view[: max(0, self._stop - self._at)]], self._at)
        self._at += size
        return size

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
