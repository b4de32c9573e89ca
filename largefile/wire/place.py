"""One URL of a content: who answers there, how fast, and whether it is asked at all."""

from __future__ import annotations

import time

from largefile.errors import SourceChangedError
from largefile.events import Fetch, Response
from largefile.rules.hosts import Host
from largefile.rules.identity import Identity
from largefile.rules.ranged_http import judge
from largefile.rules.redirects import display_url
from largefile.rules.verdict import GOOD, Kind, Verdict
from largefile.wire.address import Address
from largefile.wire.hosts import HOSTS

__all__ = ["TELLING", "Place"]

#: Seconds that a place is left alone after a failure; doubled with each in a row.
SHORTEST_REST, LONGEST_REST = 1.0, 60.0
#: Seconds of a transfer that say something of its speed.
TELLING = 1.0


class Place:
    """What is known of one URL.

    `digests`: whether what it says of the content's digest is heard. `judge` and `admit` may come while
    another thread calls the rest.
    """

    def __init__(self, address: Address, digests: bool) -> None:
        self.address = address
        self._digests = digests
        self.name = display_url(address.origin)
        #: Whose content it gives, by its own validators, which are held against each later answer.
        self.identity: Identity | None = None
        self.content_type: str | None = None
        #: Why it is never asked again, if it is not.
        self.dropped = ""
        self.under_way: set[Fetch] = set()
        self.asked = 0  #: by which of all requests it was asked last
        self._failures = 0
        self._rests_until = 0.0
        self._bytes = self._seconds = 0.0
        self._seen: float | None = None

    @property
    def speed(self) -> float | None:
        """Bytes a second of one transfer, the last ones counting most; None while nobody knows."""
        return self._bytes / self._seconds if self._seconds else self._seen

    @property
    def load(self) -> int:
        """Transfers under way."""
        return len(self.under_way)

    @property
    def host(self) -> Host:
        """Whom its next request goes to."""
        return HOSTS.of(self.address.resolved)

    @property
    def opens_at(self) -> float:
        """Until when it is left alone: it has failed a moment ago, or has asked for it."""
        return max(self._rests_until, self.host.opens_at)

    def request(self, first: int | None, last: int | None) -> Fetch:
        """The next request for these bytes."""
        fetch = self.address.request(first, last)
        self.under_way.add(fetch)
        return fetch

    def judge(self, fetch: Fetch, response: Response, vouched: bool) -> Verdict:
        """Whether its answer may be used, as far as it can tell by itself.

        `vouched`: see `largefile.rules.ranged_http.judge`. How long the host wants no request is noted at it.
        """
        verdict = judge(
            fetch,
            response,
            self.identity,
            wall_now=time.time(),
            resolved=fetch.url != self.address.origin,
            pinned_type=self.content_type,
            vouched=vouched,
            digests=self._digests,
        )
        if verdict.retry_after is not None:
            HOSTS.of(fetch.url).close(time.monotonic() + verdict.retry_after)
        return self.address.judged(fetch, verdict)

    def admit(self, verdict: Verdict, content: Identity, trusted: bool) -> Verdict:
        """The verdict on its first answer: it must be about `content`, and say so if it is not `trusted`."""
        if verdict.kind not in GOOD or verdict.identity is None:
            return verdict
        if (why := contradiction(content, verdict.identity, trusted)) is not None:
            error = SourceChangedError(verdict.identity.describe(), content.describe())
            return verdict._replace(kind=Kind.CHANGED, reason=why, error=error)
        self.pin(verdict)
        return verdict

    def pin(self, verdict: Verdict) -> Identity:
        """Hold every later answer against this one; whose it is."""
        self.identity = verdict.identity or Identity(None, None, 0)
        self.content_type = verdict.content_type
        return self.identity

    def adopt(self, other: Place) -> None:
        """It is where `other` is, and gives what that gives."""
        self.address.origin = self.address.resolved = other.address.origin
        self.identity, self.content_type = other.identity, other.content_type
        self.dropped = other.dropped

    def watch(self, size: int, seconds: float) -> None:
        """So far has a transfer come; it tells the speed until one has ended."""
        self._seen = size / seconds

    def ended(self, fetch: Fetch, size: int, seconds: float) -> None:
        """A transfer is over: what it says of the speed. Older ones count half each time."""
        self.under_way.discard(fetch)
        self.address.ended(fetch)
        if size or seconds >= TELLING:
            self._bytes = self._bytes / 2 + size
            self._seconds = self._seconds / 2 + max(seconds, 1e-3)
        if size:
            self._failures = 0

    def failed(self, verdict: Verdict | None, now: float) -> None:
        """It did not give what it was asked for: let it rest, or leave it."""
        if verdict is not None and verdict.kind in (Kind.GIVE_UP, Kind.CHANGED):
            self.dropped = verdict.reason
            return
        rest = min(SHORTEST_REST * 2**self._failures, LONGEST_REST)
        self._failures += 1
        self._rests_until = now + rest

    def begin(self) -> None:
        """Nothing of an earlier run is under way."""
        self.under_way.clear()
        self.address.begin()

    def forget(self) -> None:
        """Another version may be there now."""
        self.identity = self.content_type = None
        self.dropped = ""
        self._rests_until = 0.0
        self.under_way.clear()
        self.address.forget()


def contradiction(content: Identity, found: Identity, trusted: bool) -> str | None:
    """Why `found` is not, or can not be known to be, the same content; None if it is.

    Mirrors have the same files and other servers: an ETag that differs says nothing where the date is the
    same, nor a date where the ETag is. Digests that the servers name tell either way.

    Examples
    --------
    >>> contradiction(Identity('"a"', None, 9), Identity('"b"', None, 9), trusted=False)
    'it has ETag "b", 9 bytes where ETag "a", 9 bytes is wanted, and no digest is to decide'
    """
    shown = f"it has {found.describe()} where {content.describe()} is wanted"
    if found.size != content.size or (content.said and content.said.contradicts(found.said)):
        return shown
    same_digest = content.said is not None and content.said.agrees(found.said)
    same_etag = content.etag is not None and content.etag == found.etag
    same_date = content.last_modified is not None and content.last_modified == found.last_modified
    return (
        None if trusted or same_digest or same_etag or same_date else f"{shown}, and no digest is to decide"
    )
