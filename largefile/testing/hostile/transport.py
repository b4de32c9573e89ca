"""Items 23 to 35, 52, 55, 56: ends, silences, crowds, expiries, and sizes that no integer holds."""

from __future__ import annotations

import gzip
import time
from email.utils import formatdate
from functools import lru_cache

from largefile.testing.hostile.case import ONCE, SIZE, Act, Stage, Trick, how, length
from largefile.testing.script import Behaviour, Request, pattern

__all__ = ["TRICKS"]

TiB = 1 << 40
LATER = ("middle", "later")
IMPATIENT = {"deadline": 8.0}  # these servers ask for more patience than anybody has


# --- 23: ends ---


def half(stage: Stage, request: Request) -> Behaviour:
    first, last = length(request, stage.size)
    return Behaviour(cut_after=(last - first + 1) // 2)


def half_reset(stage: Stage, request: Request) -> Behaviour:
    first, last = length(request, stage.size)
    return Behaviour(cut_after=(last - first + 1) // 2, reset=True)


def half_of_chunks(stage: Stage, request: Request) -> Behaviour:
    first, last = length(request, stage.size)
    return Behaviour(cut_after=(last - first + 1) // 2, chunked=True)


def half_without_length(stage: Stage, request: Request) -> Behaviour:
    first, last = length(request, stage.size)
    return Behaviour(cut_after=(last - first + 1) // 2, no_length=True)


# --- 29 and 30: addresses and passwords that expire ---


def signed(uses: int) -> Trick:
    """The origin redirects to an address that is good for so many requests."""

    def act(stage: Stage, request: Request) -> Behaviour | None:
        if "signed" not in request.path:
            return Behaviour(status=302, headers={"Location": f"/signed/{request.number}"}, body=b"")
        if stage.count(request.path) <= uses:
            return None
        return Behaviour(status=403, body=b"<Error><Code>ExpiredRequest</Code></Error>")

    words = "of one use" if uses == 1 else f"of {uses} uses" if uses else "that is never good"
    return Trick(29, f"a signed address {words}", act, ("always",))


def unauthorised(stage: Stage, request: Request) -> Behaviour:
    return Behaviour(status=401, headers={"WWW-Authenticate": "Basic"}, body=b"who are you?")


# --- 31 and 32: manners ---


def asking(name: str, status: int, value: str | None, when: tuple[str, ...], **options: float) -> Trick:
    headers = {} if value is None else {"Retry-After": value}
    return Trick(31, name, how(status=status, headers=headers, body=b"later"), when, options=options)


def in_a_second(stage: Stage, request: Request) -> Behaviour:
    return Behaviour(status=503, headers={"Retry-After": formatdate(time.time() + 1, usegmt=True)}, body=b"")


def crowd(limit: int, behaviour: Behaviour, words: str) -> Trick:
    """More than so many at once are sent away."""

    def act(stage: Stage, request: Request) -> Behaviour | None:
        busy = sum(not other.done for other in list(stage.server.requests))
        return behaviour if busy > limit else Behaviour(rate=4e6)

    return Trick(32, f"more than {limit} at once are {words}", act, ("always",))


# --- 34 ---


def hang_up_on_all(stage: Stage, request: Request) -> Behaviour | None:
    stage.server.hang_up()
    return None


# --- 52 ---


def downgrade(path: str) -> Act:
    """A redirect from https to http: at once, or by a relative one first."""

    def act(stage: Stage, request: Request) -> Behaviour:
        plain = stage.server.at("/plain").replace("https:", "http:")
        relative = path and request.path != path
        return Behaviour(status=302, headers={"Location": path if relative else plain}, body=b"")

    return act


# --- 55 and 56 ---


@lru_cache(maxsize=1)
def bomb() -> bytes:
    return gzip.compress(bytes(50 << 20), compresslevel=9)


def swollen(stage: Stage, request: Request) -> Behaviour:
    first, last = length(request, stage.size)
    said = f"bytes {first}-{last}/{stage.size}"
    return Behaviour(status=206, headers={"Content-Encoding": "gzip", "Content-Range": said}, body=bomb())


def endless_range(stage: Stage, request: Request) -> Behaviour:
    return Behaviour(
        headers={"Content-Length": None, "Transfer-Encoding": "chunked"}, chunked=True, endless=True
    )


def loop(stage: Stage, request: Request) -> Behaviour:
    return Behaviour(status=302, headers={"Location": f"/{request.number % 2}"}, body=b"")


def raw(head: str) -> dict[str, bytes]:
    return {"raw": head.replace("\n", "\r\n").encode("latin-1")}


PART = f'HTTP/1.1 206 Partial Content\nContent-Range: bytes 0-9/{SIZE}\nETag: "one"\n'
OVERFLOW = str((1 << 64) + 10)

TRICKS = (
    Trick(23, "the connection closes half-way", half),
    Trick(23, "the connection is reset half-way", half_reset),
    Trick(23, "the chunks end half-way", half_of_chunks),
    Trick(23, "no length, and a close half-way", half_without_length),
    Trick(23, "no length, and a close at the end", how(no_length=True)),
    Trick(23, "a reset before the head", how(raw=b"", reset=True)),
    Trick(23, "a close before the head", how(raw=b"")),
    Trick(23, "a close within the head", how(**raw("HTTP/1.1 206 Partial\nContent-Ra"))),
    Trick(23, "every connection serves one request", how(close=True), ("always",)),
    Trick(24, "no answer", how(stall=True)),
    Trick(24, "silence after 100 kB", how(stall_after=100_000)),
    Trick(24, "silence after the head", how(stall_after=0)),
    Trick(25, "a byte a second", how(rate=1.0)),
    Trick(25, "twenty bytes a second", how(rate=20.0)),
    Trick(25, "a head that takes its time", how(delay=0.5), (*ONCE, "always")),
    Trick(26, "GOAWAY, no error", how(goaway=0), http2=True),
    Trick(26, "GOAWAY, enhance your calm", how(goaway=11), http2=True),
    Trick(26, "the stream is refused", how(rst=7), http2=True),
    Trick(26, "the stream is reset before its head", how(rst=2), http2=True),
    Trick(26, "the stream is reset after 50 kB", how(rst=2, cut_after=50_000), http2=True),
    Trick(26, "the stream is cancelled after 50 kB", how(rst=8, cut_after=50_000), http2=True),
    Trick(26, "the connection closes after 50 kB", how(cut_after=50_000), http2=True),
    Trick(26, "silence after 50 kB, on a connection", how(stall_after=50_000), http2=True),
    Trick(26, "no answer on a connection", how(stall=True), (*ONCE, "later"), http2=True),
    Trick(
        28,
        "HEAD is not allowed",
        lambda _, r: Behaviour(status=405) if r.method == "HEAD" else None,
        ("always",),
    ),
    Trick(28, "HEAD hangs", lambda _, r: Behaviour(stall=True) if r.method == "HEAD" else None, ("always",)),
    *(signed(uses) for uses in (0, 1, 3, 10)),
    Trick(30, "401", unauthorised, (*LATER, "always")),
    Trick(30, "403", how(status=403, body=b"no"), (*LATER, "always")),
    asking("503, Retry-After: 1", 503, "1", ONCE),
    asking("503, Retry-After: 0", 503, "0", (*ONCE, "always")),
    Trick(31, "503, Retry-After is a date", in_a_second, ONCE),
    asking("429 without Retry-After", 429, None, (*ONCE, "later")),
    asking("429, Retry-After: -5", 429, "-5", LATER),
    asking("429, Retry-After in the past", 429, "Thu, 01 Jan 1970 00:00:00 GMT", LATER),
    asking("429, Retry-After: nonsense", 429, "soon, I think", LATER),
    asking("503, Retry-After in a thousand years", 503, "Fri, 31 Dec 3020 23:59:59 GMT", LATER, **IMPATIENT),
    asking("429, Retry-After: 10**18", 429, str(10**18), ("later", "always"), **IMPATIENT),
    crowd(2, Behaviour(status=503, body=b"full"), "answered 503"),
    crowd(2, Behaviour(status=429, body=b"full"), "answered 429"),
    crowd(2, Behaviour(raw=b"", reset=True), "reset"),
    crowd(1, Behaviour(status=503, body=b"full"), "answered 503"),
    crowd(3, Behaviour(stall=True), "left waiting"),
    Trick(33, "the first address of the name is dead", how(), ("always",), host="localhost"),
    Trick(34, "every connection is cut at once", hang_up_on_all),
    *(
        Trick(
            35,
            f"bytes around 2**{power}",
            how(),
            ("always",),
            size=8 * TiB,
            reads=(((1 << power) - 70_000, 140_000),),
        )
        for power in (31, 32, 40, 42)
    ),
    Trick(35, "a total beyond 64 bits", how(content_range=f"bytes 0-9/{OVERFLOW}")),
    Trick(35, "positions beyond 64 bits", how(content_range=f"bytes {OVERFLOW}-{OVERFLOW}9/{SIZE}")),
    Trick(35, "a total of 2**63", how(content_range=f"bytes 0-9/{1 << 63}")),
    Trick(35, "a Content-Length beyond 64 bits", how(headers={"Content-Length": OVERFLOW})),
    Trick(35, "a negative Content-Length", how(**raw(PART + "Content-Length: -10\n\n0123456789"))),
    Trick(
        35, "two Content-Lengths", how(**raw(PART + "Content-Length: 9\nContent-Length: 10\n\n0123456789"))
    ),
    Trick(52, "https leads to http", downgrade(""), ("first", "middle", "later", "always"), tls=True),
    Trick(52, "https leads to http by a detour", downgrade("/detour"), ("first", "always"), tls=True),
    Trick(52, "https that is well", how(), ("always",), tls=True),
    Trick(55, "50 MB in 50 kB of gzip", swollen),
    Trick(56, "a body without end", endless_range),
    Trick(56, "a whole body without end", how(ranges=False, chunked=True, endless=True), LATER),
    Trick(56, "header fields without end", how(fields=10**9)),
    Trick(56, "answers 103 without end", how(interim=10**9), options=IMPATIENT),
    Trick(56, "a few answers 103 first", how(interim=3)),
    Trick(56, "redirects in a circle", loop),
    Trick(56, "a redirect to itself", how(status=302, headers={"Location": "/file.bin"}, body=b"")),
    Trick(56, "a redirect to nowhere", how(status=302, headers={"Location": "http://"}, body=b"")),
    Trick(56, "a redirect to another scheme", how(status=302, headers={"Location": "ftp://x/"}, body=b"")),
    Trick(56, "no HTTP at all", how(raw=b"SSH-2.0-OpenSSH_9.2\r\n")),
    Trick(56, "HTTP/0.9", how(raw=pattern(0, 999))),
    Trick(56, "a status of no meaning", how(status=799, body=b"?")),
    Trick(56, "a head of one field of 90 kB", how(headers={"X-Long": "x" * 90_000})),
)
