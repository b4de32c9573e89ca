"""The URLs of one content: which of them is asked next, and who is believed.

Spans go to the places by measured speed: each has about as many transfers under way as it is faster than the
others. A place that nobody has judged yet gets one span to show itself, and each gets one now and then, as
speeds change. What a place fails to give, or gives too slowly, another one gives at once.

The first place that answers names the content, mostly the user's own URL. A mirror is believed if its size is
the same and its ETag or its date too, or if the caller has a digest that decides in the end; else it is left.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from largefile.errors import LargeFileError
from largefile.events import Fetch, Response
from largefile.log import log
from largefile.rules.hosts import Host
from largefile.rules.identity import Identity
from largefile.rules.redirects import Headers
from largefile.rules.verdict import Kind, Verdict
from largefile.wire.address import Address, Next
from largefile.wire.place import TELLING, Place
from largefile.wire.renewal import Renew

__all__ = ["Places"]

#: Among so many requests each place gets one.
NOW_AND_THEN = 32
#: A transfer leaves a place for one where it would be so many times faster, others being there too, …
WORTH_LEAVING = 2.0
#: … if it would take more than so many seconds where it is.
LONG = 2.0
#: Seconds in which a place answers, if it is one to wait for while others give something.
SILENT = 5.0


class Places:
    """The places of one content; the first is the user's URL.

    Parameters
    ----------
    url, mirrors
        Where it is.
    headers
        For the origin of `url` only.
    trusted
        Whether a mirror is believed by its size alone, as a digest will decide.
    renew
        Makes a new URL of `url` when that has expired.
    digests
        Whether what servers say of the content's digest is heard.
    """

    def __init__(
        self,
        url: str,
        mirrors: Sequence[str],
        headers: Headers,
        trusted: bool,
        renew: Renew | None,
        digests: bool,
    ) -> None:
        others = [Address(mirror, headers, url, number) for number, mirror in enumerate(mirrors, 1)]
        self._places = [Place(address, digests) for address in (Address(url, headers, renew=renew), *others)]
        self._trusted = trusted
        self._home = self._places[0]  # who named the content
        self._requests = 0
        self._notes: list[str] = []

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which places were left, and why."""
        return tuple(self._notes)

    def name(self, fetch: Fetch) -> str:
        """What the place of `fetch` is called in messages: as it was given, without its query."""
        return self._places[fetch.place].name

    @property
    def identity(self) -> Identity | None:
        """The content, once it is known."""
        return self._home.identity

    def pin(self, fetch: Fetch, verdict: Verdict) -> Identity:
        """This answer names the content, if none has; what it is."""
        place, known = self._places[fetch.place], self.identity
        if known is not None and place is not self._home:
            return known
        self._home = place
        return place.pin(verdict)

    def adopt(self, other: Places) -> None:
        """The content is what it is for `other`, and so is who gives it."""
        for place, known in zip(self, other, strict=True):
            place.adopt(known)
        self._home = self._places[other._places.index(other._home)]

    def doubt_caches(self) -> None:
        """Ask past all caches on the way from now on."""
        for place in self:
            place.address.past_caches = True

    def begin(self) -> None:
        """Nothing of an earlier run is under way."""
        for place in self:
            place.begin()

    def forget(self) -> None:
        """Nobody has named the content yet."""
        for place in self:
            place.forget()
        self._home = self._places[0]

    # --- what the engine asks --------------------------------------------------------------------

    def request(self, first: int | None, last: int | None) -> Fetch:
        """The next request for these bytes, where they will come soonest."""
        return self._choose(self._awake() or self._soonest()).request(first, last)

    def host(self) -> Host:
        """Whom the next request goes to, most likely."""
        return min(self._awake() or self._soonest(), key=self._wait_at).host

    def judge(self, fetch: Fetch, response: Response, vouched: bool) -> Verdict:
        """Whether an answer may be used; `vouched` as for `Place.judge`."""
        place, content = self._places[fetch.place], self.identity
        known = place.identity is not None
        verdict = place.judge(fetch, response, vouched)
        if content is None or place is self._home:
            return verdict
        if not known:
            verdict = place.admit(verdict, content, self._trusted)
        if verdict.kind is Kind.WHOLE:
            return Verdict(Kind.GIVE_UP, "it has no ranges", error=verdict.error)
        return verdict

    def elsewhere(self, fetch: Fetch, verdict: Verdict | None, first: int | None, last: int | None) -> Next:
        """Where to go on with these bytes: where `fetch` was sent, or to another place."""
        place = self._places[fetch.place]
        try:
            moved = place.address.after(fetch, verdict, first, last) if verdict is not None else None
        except LargeFileError as error:
            if not self.has_other(fetch):
                raise
            moved, verdict = None, Verdict(Kind.GIVE_UP, str(error), error=error)
        if isinstance(moved, Fetch):
            self._places[moved.place].under_way.add(moved)
        if moved is not None or len(self) == 1 or self._is_final(place, verdict):
            return moved
        return self._instead(place, verdict, first, last)

    def leaves(self, fetch: Fetch, size: int, seconds: float) -> bool:
        """Whether a transfer that has come so far should go on at another place."""
        if len(self) == 1 or seconds < (TELLING if size else SILENT):
            return False
        place = self._places[fetch.place]
        place.watch(size, seconds)
        speed, left = size / seconds, (fetch.last or 0) + 1 - (fetch.first or 0) - size
        others = [self._wait_at(other) for other in self._awake() if other.speed and other is not place]
        if not others or left <= LONG * speed or WORTH_LEAVING * min(others) >= place.load / max(speed, 1.0):
            return False
        if not size:
            place.failed(None, time.monotonic())
        return True

    def ended(self, fetch: Fetch, size: int, seconds: float) -> None:
        """A transfer is over."""
        self._places[fetch.place].ended(fetch, size, seconds)

    # --- choice ----------------------------------------------------------------------------------

    def _kept(self) -> list[Place]:
        return [place for place in self if not place.dropped]

    def _awake(self) -> list[Place]:
        now = time.monotonic()
        return [place for place in self._kept() if place.opens_at <= now]

    def _soonest(self) -> list[Place]:
        return [min(self._kept() or [self._home], key=lambda place: place.opens_at)]

    def _choose(self, places: list[Place]) -> Place:
        self._requests += 1
        chosen = self._due(places) or min(self._known(places), key=self._wait_at)
        chosen.asked = self._requests
        return chosen

    def _due(self, places: list[Place]) -> Place | None:
        """Who has to show itself: for the first time, or once more."""
        idle = [place for place in places if not place.load]
        for place in idle:
            if place.identity is None or self._requests - place.asked > NOW_AND_THEN * len(self):
                return place
        return None

    def _known(self, places: list[Place]) -> list[Place]:
        return [place for place in places if place.identity is not None] or places

    def _wait_at(self, place: Place) -> float:
        """What one more transfer has to wait for there, roughly; who was not measured is as good as any."""
        speed = place.speed
        if speed is None:
            speed = max((other.speed or 0.0 for other in self), default=0.0)
        return (place.load + 1) / max(speed, 1.0)

    # --- failures --------------------------------------------------------------------------------

    def has_other(self, fetch: Fetch) -> bool:
        """Whether there is another place to ask, now or later."""
        place = self._places[fetch.place]
        return any(other is not place for other in self._kept())

    def _is_final(self, place: Place, verdict: Verdict | None) -> bool:
        """Whether no other place could mend it."""
        if verdict is None:
            return False
        return verdict.kind is Kind.WHOLE or (place is self._home and verdict.kind is Kind.CHANGED)

    def _instead(
        self, place: Place, verdict: Verdict | None, first: int | None, last: int | None
    ) -> Fetch | None:
        """The same request to another place, if that can be had at once; whoever is left needs one."""
        was_kept = not place.dropped
        place.failed(verdict, time.monotonic())
        if place.dropped and was_kept:
            note = f"{place.name} is left: {place.dropped}"
            log().warning("%s", note)
            self._notes.append(note)
        others = self._awake() or (self._kept() if place.dropped else [])
        return self._choose(others).request(first, last) if others else None
