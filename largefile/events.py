"""What a transport and the rules say to each other: a request, its answer, its end."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["Answered", "Ended", "Fetch", "Outcome", "Response"]


class Fetch:
    """One request for the bytes `first` to `last`, both included; `last` None: to the end.

    ``first is None`` asks for the whole content, with no Range header. Each Fetch is used once and is
    its own identity: two requests for the same bytes are two fetches. What may be secret is not shown.
    """

    __slots__ = ("first", "headers", "hops", "last", "place", "url")

    def __init__(
        self,
        first: int | None,
        last: int | None,
        url: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        hops: int = 0,
        place: int = 0,
    ) -> None:
        self.first = first
        self.last = last
        self.url = url
        #: Header fields in the order they are sent, Range and Host left out.
        self.headers = headers
        #: Redirects and renewals that led to this address, for this request.
        self.hops = hops
        #: Which of the content's URLs it is for: the number of a mirror, or 0.
        self.place = place

    def __repr__(self) -> str:
        return f"Fetch(first={self.first}, last={self.last}, hops={self.hops}, place={self.place})"


class Response(NamedTuple):
    """The head of an answer, judged before any byte of its body is placed."""

    status: int
    #: Names in lower case; a repeated field's values are joined by ``", "`` (RFC 9110 section 5.2).
    headers: Mapping[str, str] = MappingProxyType({})
    #: ``"1.1"``, ``"2"``, … as the server spoke it.
    version: str = "1.1"


class Answered(NamedTuple):
    """The head is here, the body is held back: `admit` or `refuse` it."""

    fetch: Fetch
    response: Response


class Outcome(Enum):
    """How a transfer ended, in the words of the rules and not of any library."""

    DONE = "done"  #: the framing says that the body is whole
    UNFRAMED = "unframed"  #: the connection closed, and nothing said how long the body would be
    CUT = "cut"  #: closed before the body was whole
    REFUSED = "refused"  #: we refused the body
    HALTED = "halted"  #: we stopped it, or its sink took no more
    RESOLVE = "resolve"  #: no address for the name
    CONNECT = "connect"  #: no connection
    PRIVATE = "private"  #: not a public address, and no other is allowed; `detail` says which
    TLS = "tls"  #: no trust
    TIMEOUT = "timeout"  #: no connection in time
    NETWORK = "network"  #: reset, or any other failure on the wire
    PROTOCOL = "protocol"  #: not HTTP
    READER = "reader"  #: the user's Reader raised; `error` is its exception


class Ended(NamedTuple):
    """The transfer is over; its sink is not called any more."""

    fetch: Fetch
    outcome: Outcome
    detail: str = ""
    #: libcurl's error number, 0 for none.
    code: int = 0
    error: BaseException | None = None
