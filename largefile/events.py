"""What a transport and the rules say to each other: a request, its answer, its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Answered", "Ended", "Fetch", "Outcome", "Response"]


@dataclass(eq=False, slots=True)
class Fetch:
    """One request for the bytes `first` to `last`, both included; `last` None: to the end.

    ``first is None`` asks for the whole content, with no Range header. Each Fetch is used once and is
    its own identity: two requests for the same bytes are two fetches. What may be secret is not shown.
    """

    first: int | None
    last: int | None
    url: str = field(default="", repr=False)
    #: Header fields in the order they are sent, Range and Host left out.
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    #: Redirects and renewals that led to this address, for this request.
    hops: int = 0
    #: Which of the content's URLs it is for: the number of a mirror, or 0.
    place: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """The head of an answer, judged before any byte of its body is placed."""

    status: int
    #: Names in lower case; a repeated field's values are joined by ``", "`` (RFC 9110 section 5.2).
    headers: Mapping[str, str] = field(default_factory=dict)
    #: ``"1.1"``, ``"2"``, … as the server spoke it.
    version: str = "1.1"


@dataclass(frozen=True, slots=True)
class Answered:
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


@dataclass(frozen=True, slots=True)
class Ended:
    """The transfer is over; its sink is not called any more."""

    fetch: Fetch
    outcome: Outcome
    detail: str = ""
    #: libcurl's error number, 0 for none.
    code: int = 0
    error: BaseException | None = None
