"""A whole answer's head, from the lines that libcurl hands over to the verdict on its body."""

from __future__ import annotations

from harness import Harness

from largefile.events import Fetch
from largefile.rules.content_range import parse_content_range
from largefile.rules.identity import Identity
from largefile.rules.ranged_http import judge
from largefile.rules.verdict import Kind
from largefile.wire.curl import is_framed, is_small, parse_head

PINNED = [None, Identity('"v1"', "Sun, 06 Nov 1994 08:49:37 GMT", 100), Identity(None, None, 100)]
ASKED = [(0, 19), (20, 39), (0, None), (None, None), (90, 120)]


def head(data: bytes) -> None:
    choice, lines = (data[0], data[1:]) if data else (0, b"")
    response = parse_head(lines.split(b"\n"))
    assert all(name == name.strip().lower() for name in response.headers)
    assert is_framed(response) in (True, False)
    assert is_small(response) in (True, False)
    fetch = Fetch(*ASKED[choice % 5])
    pinned = PINNED[choice // 5 % 3]
    verdict = judge(fetch, response, pinned, wall_now=0.0, resolved=choice >= 128)
    assert verdict.status == response.status
    if verdict.kind in (Kind.ACCEPT, Kind.PREFIX):
        said = parse_content_range(response.headers["content-range"])
        assert (said.first, said.last) == (fetch.first, verdict.last)
        assert fetch.last is None or said.last <= fetch.last
    if verdict.kind in (Kind.ACCEPT, Kind.PREFIX, Kind.WHOLE) and pinned is not None:
        assert verdict.last is None or verdict.last < pinned.size
        assert verdict.identity.size in (None, pinned.size)
    if verdict.kind in (Kind.RETRY, Kind.GIVE_UP, Kind.CHANGED):
        assert verdict.error is not None
        assert str(verdict.error)


def answer(choice, status, *fields):
    return bytes([choice]) + b"\n".join([b"HTTP/1.1 " + status, *fields])


RANGE = b"Content-Range: bytes 0-19/100"
ETAG = b'ETag: "v1"'

HARNESSES = [
    Harness(
        "head",
        head,
        (
            answer(0, b"206 Partial Content", RANGE, b"Content-Length: 20", ETAG),
            answer(5, b"206 Partial Content", RANGE, ETAG, b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"),
            answer(6, b"206 Partial Content", b"Content-Range: bytes 20-39/100", b"Content-Length: 20"),
            answer(3, b"200 OK", b"Content-Length: 100", b"Content-Type: text/html"),
            answer(3, b"200 OK", b"Transfer-Encoding: chunked"),
            answer(0, b"416 Range Not Satisfiable", b"Content-Range: bytes */0"),
            answer(200, b"302 Found", b"Location: https://example.org/"),
            answer(0, b"503 Busy", b"Retry-After: 3"),
            answer(200, b"403 Forbidden"),
        ),
        (
            *(
                b"Content-Range: bytes ",
                b"Content-Length: ",
                b"Content-Encoding: gzip",
                b"multipart/byteranges",
            ),
            *(
                b"ETag: ",
                b"Last-Modified: ",
                b"Transfer-Encoding: chunked",
                b"\n",
                b"HTTP/2 ",
                b"416",
                b"412",
            ),
        ),
    )
]
