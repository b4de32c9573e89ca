"""Where one content is asked for: the URL that was given, where it led, and who finds out anew.

The *origin* is what the user gave; the *resolved* address is where it led, and may expire. When it does,
every request under way meets that by itself. One of them, the *scout*, goes back to the origin and follows
what it says; the others wait for the address whose answer was good. An origin that has expired itself is
renewed by the user's hook, if there is one, for all of them at once.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, TypeAlias

from largefile.errors import RefusedError
from largefile.events import Fetch
from largefile.rules.redirects import MAX_HOPS, Headers, display_url, follow, headers_for
from largefile.rules.verdict import GOOD, Kind, Verdict
from largefile.wire.renewal import Renew, Renewal

__all__ = ["LATER", "Address", "Later", "Next"]


#: What an origin answers that a hook may renew; 400 is how object stores say "expired".
EXPIRED = frozenset({400, 401, 403, 410})


class Later(Enum):
    """The answer that asks for patience."""

    LATER = "later"  #: another finds out where; ask again soon


LATER: Final = Later.LATER

#: Where to go on: by this fetch, not yet known, or nowhere.
Next: TypeAlias = Fetch | Literal[Later.LATER] | None


class Address:
    """Makes the requests for what is behind `url`, with the headers that are for the origin of `owner` only.

    All of it is called by one thread at a time, but for `judged`, which may come while another calls: only
    the thread that moves the scout ever takes the role from it.

    Examples
    --------
    >>> address = Address("http://a.org/x", (("X-Key", "secret"),))
    >>> fetch = address.request(0, 9)
    >>> moved = address.after(fetch, Verdict(Kind.REDIRECT, status=302, location="http://b.org/y"), 0, 9)
    >>> moved.url, moved.headers
    ('http://b.org/y', (('Accept-Encoding', 'identity'),))
    """

    def __init__(
        self, url: str, headers: Headers, owner: str = "", place: int = 0, renew: Renew | None = None
    ) -> None:
        self.origin = url
        self.resolved = url
        self._headers = headers
        self._owner = owner or url
        self._place = place
        self.past_caches = False  #: whether it is asked for past all caches on the way
        self._renew = renew
        self._renewal: Renewal | None = None  # under way
        self._worked = True  # the origin, since the user gave it
        self._scout: Fetch | None = None
        self._returned: Fetch | None = None  # the last scout, which may have to go on

    def request(self, first: int | None, last: int | None) -> Fetch:
        """The next request for these bytes."""
        return self._fetch(self.resolved, first, last, 0)

    def judged(self, fetch: Fetch, verdict: Verdict) -> Verdict:
        """So was its answer found, and so it is meant here.

        A good one of the scout's says where the content is. One that is final for an address is none where
        that can be renewed.
        """
        if verdict.status in EXPIRED and self._renew is not None:
            return verdict._replace(kind=Kind.RENEW, stale=False)
        self.past_caches |= verdict.stale  # one that was caught once is not asked again
        if verdict.kind in GOOD:
            if fetch is self._scout:
                self.resolved = fetch.url
                self._scout = None
            self._worked = self._worked or fetch.url == self.resolved
        return verdict

    def after(self, fetch: Fetch, verdict: Verdict, first: int | None, last: int | None) -> Next:
        """Where to go after an answer that is not the content: on, back to the origin, or nowhere.

        Raises
        ------
        RefusedError
            If a redirect leads where we do not go, or there were too many, or too many expired addresses; or
            the origin has expired, and could not be renewed.
        """
        if verdict.kind not in (Kind.REDIRECT, Kind.RENEW):
            return None
        if fetch is not self._returned or self._scout is not None:
            if fetch.url != self.resolved and fetch.hops < MAX_HOPS:  # it has been found out meanwhile
                return self._fetch(self.resolved, first, last, fetch.hops + 1)
            if self._scout is not None:
                return LATER
        target = self._back(fetch, verdict) if verdict.kind is Kind.RENEW else _onward(fetch, verdict)
        if target is None:
            return LATER
        self._scout = self._fetch(target, first, last, fetch.hops + 1)
        return self._scout

    def ended(self, fetch: Fetch) -> None:
        """It is over; said before `after`. If it was the scout, the next who asks is."""
        if fetch is self._scout:
            self._scout, self._returned = None, fetch

    def begin(self) -> None:
        """Nothing of an earlier run is under way."""
        self._scout = self._renewal = None

    def forget(self) -> None:
        """The origin is asked next."""
        self.resolved = self.origin
        self.begin()

    def _back(self, fetch: Fetch, verdict: Verdict) -> str | None:
        """The origin, a new one if it has expired itself; None while that is being made."""
        place = display_url(self.origin)
        if fetch.hops >= MAX_HOPS:
            raise RefusedError(f"{place} leads to nothing but expired addresses") from verdict.error
        if self._renew is not None and (self._renewal is not None or fetch.url == self.origin):
            if not self._worked:
                raise RefusedError(f"{place}, which renew gave, has expired already") from verdict.error
            return self._renewed(self._renew)
        return self.origin

    def _renewed(self, renew: Renew) -> str | None:
        if self._renewal is None:
            self._renewal = Renewal(renew, self.origin)
        if (found := self._renewal.take()) is not None:
            self.origin = self.resolved = found
            self._renewal, self._worked = None, False
        return found

    def _fetch(self, url: str, first: int | None, last: int | None, hops: int) -> Fetch:
        fields = [("Accept-Encoding", "identity"), *headers_for(self._owner, url, self._headers)]
        if self.past_caches:
            fields.append(("Cache-Control", "no-cache"))
        return Fetch(first, last, url, tuple(fields), hops, self._place)


def _onward(fetch: Fetch, verdict: Verdict) -> str:
    return follow(fetch.url, verdict.location, verdict.status, hops=fetch.hops)
