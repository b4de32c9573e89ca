"""The script of a misbehaving server: what is served, what was asked, and what to do wrong about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random

__all__ = ["Answer", "Behaviour", "Content", "Request", "answer", "parse_range", "pattern", "phrase"]

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
#: A prime length: no two blocks of a power of two are alike, so a misplaced one shows.
_TILE = Random(8128).randbytes(65521)


def pattern(first: int, last: int) -> bytes:
    """The bytes `first` to `last`, both included, of an endless content that is stored nowhere.

    Examples
    --------
    >>> pattern(10**12, 10**12 + 99)[7:9] == pattern(10**12 + 7, 10**12 + 8)
    True
    """
    start, size = first % len(_TILE), last - first + 1
    return (_TILE * ((start + size) // len(_TILE) + 1))[start : start + size]


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes to serve: `size` of them, of which ``read(first, last)`` gives any range, both ends included.

    Examples
    --------
    >>> Content(1 << 40).read(5, 9) == pattern(5, 9)
    True
    """

    size: int
    read: Callable[[int, int], bytes] = pattern
    etag: str | None = None
    last_modified: str | None = None

    @classmethod
    def of(cls, content: bytes | Content, etag: str | None, last_modified: str | None) -> Content:
        """One version: these bytes under these validators."""
        if isinstance(content, Content):
            return cls(
                content.size, content.read, content.etag or etag, content.last_modified or last_modified
            )
        return cls(len(content), lambda first, last: content[first : last + 1], etag, last_modified)


@dataclass(eq=False, slots=True)
class Request:
    """What was asked, and what it got. `range` has no last byte where the client gave none."""

    number: int  #: in the order of arrival, from 0
    method: str
    path: str
    headers: dict[str, str]  #: names in lower case
    range: tuple[int, int | None] | None
    connection: int  #: in the order of arrival, from 0
    at: float  #: `time.monotonic` when its head was read
    status: int = 0
    sent: int = 0  #: body bytes handed to the system
    done: bool = False  #: nothing more will be sent


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What to do otherwise with one request. Whatever is left alone is done right.

    Examples
    --------
    >>> def behave(request):
    ...     return Behaviour(cut_after=1000, reset=True) if request.number == 0 else None
    """

    status: int | None = None
    reason: str | None = None
    #: Fields to set, or with None to leave out. Nothing is corrected: a Content-Length here is a lie.
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = None  #: instead of the content's bytes; Content-Length follows it
    ranges: bool = True  #: False: Range is ignored, 200 and everything
    serve: tuple[int, int] | None = None  #: answer as if this range, both ends included, had been asked for
    at_most: int | None = None  #: answer with no more than so many bytes of the range
    content_range: str | None = None  #: the value of Content-Range, whatever the body is
    delay: float = 0.0  #: seconds before the head
    cut_after: int | None = None  #: body bytes, then the connection ends
    reset: bool = False  #: end it by RST and not by FIN
    stall_after: int | None = None  #: body bytes, then nothing, until the client leaves
    stall: bool = False  #: not even a head
    rate: float | None = None  #: body bytes a second
    chunked: bool = False  #: Transfer-Encoding: chunked and no Content-Length
    no_length: bool = False  #: no Content-Length: the end of the connection is the end of the body
    close: bool = False  #: say and do Connection: close
    content: Content | None = None  #: serve this instead, under its own validators
    raw: bytes | None = None  #: send this instead of any answer, and end the connection
    interim: int = 0  #: so many answers 103 first
    fields: int = 0  #: so many more header fields
    goaway: int | None = None  #: HTTP/2: say GOAWAY with this code instead of any answer
    rst: int | None = None  #: HTTP/2: reset the stream with this code where `cut_after` says, or at once
    endless: bool = False  #: the body's last bytes come again and again, until the client leaves


@dataclass(slots=True)
class Answer:
    """A head and the bytes that follow it."""

    status: int
    headers: dict[str, str]
    first: int = 0
    stop: int = 0  # content positions; a given body has its own from 0
    read: Callable[[int, int], bytes] = pattern


def answer(request: Request, how: Behaviour, version: Content) -> Answer:
    """What `how` makes of the right answer."""
    version = how.content or version
    headers = {"Date": DATE, "Server": "loopback"}
    if request.method != "GET":
        return Answer(how.status or 405, {**headers, "Allow": "GET", "Content-Length": "0"})
    if version.etag is not None:
        headers["ETag"] = version.etag
    if version.last_modified is not None:
        headers["Last-Modified"] = version.last_modified
    found = _ranged(request, how, version, headers)
    if how.body is not None or (how.status or 0) >= 300:
        headers.pop("Content-Range", None)
        _give_body(found, how.body if how.body is not None else b"")
    if how.content_range is not None:
        headers["Content-Range"] = how.content_range
    if how.chunked or how.no_length:
        headers.pop("Content-Length", None)
    if how.chunked:
        headers["Transfer-Encoding"] = "chunked"
    found.status = how.status or found.status
    return found


def _ranged(request: Request, how: Behaviour, version: Content, headers: dict[str, str]) -> Answer:
    headers["Accept-Ranges"] = "bytes" if how.ranges else "none"
    first, last = how.serve or (request.range if how.ranges else None) or (0, None)
    partial = how.serve is not None or (how.ranges and request.range is not None)
    if partial and first >= version.size:
        headers |= {"Content-Range": f"bytes */{version.size}", "Content-Length": "0"}
        return Answer(416, headers)
    stop = version.size if last is None else min(last + 1, version.size)
    if partial and how.at_most is not None:
        stop = min(stop, first + how.at_most)
    if partial:
        headers["Content-Range"] = f"bytes {first}-{stop - 1}/{version.size}"
    headers["Content-Length"] = str(stop - first)
    return Answer(206 if partial else 200, headers, first, stop, version.read)


def _give_body(found: Answer, body: bytes) -> None:
    found.headers["Content-Length"] = str(len(body))
    found.first, found.stop = 0, len(body)
    found.read = lambda first, last: body[first : last + 1]


def parse_range(value: str) -> tuple[int, int | None] | None:
    """One range with a first byte; anything else is none, as RFC 9110 section 14.2 allows."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", value)
    return (int(found[1]), int(found[2]) if found[2] else None) if found else None


def phrase(status: int) -> str:
    """The usual reason phrase."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
