"""A server that exists only as a function of a seed, and that can be told to misbehave.

Every byte of a content follows from a seed and its position, so a byte in a wrong place, or of another
version, is never equal by habit; nothing is stored, so a content may have any size. Each answer is an
`Act`: how long it takes, what its head says, what its body is, and how it ends. The ways to misbehave are
the methods of `SimulatedServer` whose names are in `MOODS`; a mood is drawn for each request, by weight.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from random import Random

from largefile.events import Fetch, Outcome, Response

__all__ = ["MOODS", "Act", "SimulatedServer", "content"]

_PIECE = 64

#: Everything that a server can be told to do, and whether the same request may succeed after it.
MOODS = {
    "good": True,
    "cut": True,  #: the connection closes within the body
    "reset": True,  #: no answer at all
    "unreachable": True,  #: no connection
    "silent": True,  #: the connection stays open, and nothing comes
    "stall": True,  #: the same, within the body
    "slow": True,  #: a connection with a fraction of the usual speed
    "busy": True,  #: 503 with Retry-After
    "crowded": True,  #: 429 without
    "broken": True,  #: 500, with a body as long as the range
    "whole": True,  #: 200 with everything, as if no range had been asked for
    "short": True,  #: 206 with fewer bytes than asked for, and says so
    "shifted": True,  #: 206 with another range, and says so
    "unsaid": True,  #: 206 without Content-Range
    "less": True,  #: a body that is shorter than it says, and ends well
    "more": True,  #: a body that is longer than it says
    "html": True,  #: 200 with a page of its own
    "coded": True,  #: 206 with Content-Encoding
    "beyond": True,  #: 416 although the range is within
    "moved": True,  #: 302 to another address for the same
    "changed": False,  #: another version from now on
    "gone": False,  #: 404
}


@lru_cache(maxsize=4096)
def _piece(seed: int, number: int) -> bytes:
    return hashlib.blake2b(b"%d:%d" % (seed, number), digest_size=_PIECE).digest()


def content(seed: int, first: int, stop: int) -> bytes:
    """The bytes `first` to ``stop - 1`` of the content of this seed.

    Examples
    --------
    >>> content(7, 100, 1000) == content(7, 0, 2000)[100:1000]
    True
    """
    if first >= stop:
        return b""
    pieces = b"".join(_piece(seed, number) for number in range(first // _PIECE, -(-stop // _PIECE)))
    skip = first - first % _PIECE
    return pieces[first - skip : stop - skip]


@dataclass(frozen=True, slots=True)
class Act:
    """What a server does with one request."""

    #: Seconds until the head comes; None: it never does.
    delay: float | None
    #: None: the transfer ends by `end` in place of an answer.
    response: Response | None = None
    body: bytes = b""
    #: How it ends after the body; None: it does not.
    end: Outcome | None = Outcome.DONE
    #: Bytes a second of the body; None: as fast as it goes.
    rate: float | None = None


@dataclass(slots=True)
class SimulatedServer:
    """Answer fetches from a content of `size` bytes.

    Parameters
    ----------
    size : int
        Bytes of the content.
    seed : int
        Names the content, and draws moods and delays.
    moods : mapping of str to float
        How to answer, by weight; the names are those of `MOODS`.
    good_first : int
        So many requests are answered well in any mood; a page in place of the first answer is no lie that
        anybody could see.
    good_after : int or None
        After so many requests every answer is a good one; None: never.
    changes_at : int or None
        The request before which the content changes, with its ETag.
    latency : float
        Longest delay of a head, in seconds.
    slow_rate : float
        Bytes a second of a slow connection.

    Examples
    --------
    >>> server = SimulatedServer(size=1000)
    >>> act = server.answer(Fetch(10, 19))
    >>> act.response.headers["content-range"], act.body == content(0, 10, 20)
    ('bytes 10-19/1000', True)
    """

    size: int
    seed: int = 0
    moods: Mapping[str, float] = field(default_factory=lambda: {"good": 1.0})
    good_first: int = 0
    good_after: int | None = None
    changes_at: int | None = None
    latency: float = 0.2
    slow_rate: float = 1000.0
    ranges: bool = True
    version: int = 0
    requests: list[tuple[Fetch, str]] = field(default_factory=list)
    _rng: Random = field(init=False)

    def __post_init__(self) -> None:
        if unknown := set(self.moods) - set(MOODS):
            raise ValueError(f"no such moods: {sorted(unknown)}; there are {sorted(MOODS)}")
        self._rng = Random(self.seed)

    def answer(self, fetch: Fetch) -> Act:
        """Decide what becomes of a request; each call draws anew."""
        mood = self._draw()
        self.requests.append((fetch, mood))
        if mood == "changed" or len(self.requests) - 1 == self.changes_at:
            self.version += 1
        first = fetch.first or 0
        stop = self.size if fetch.last is None else min(fetch.last + 1, self.size)
        act: Act = getattr(self, f"_{mood}")(first, stop)
        return act

    def _draw(self) -> str:
        count = len(self.requests)
        if count < self.good_first or (self.good_after is not None and count >= self.good_after):
            return "good"
        return self._rng.choices(list(self.moods), weights=list(self.moods.values()))[0]

    # --- good answers ----------------------------------------------------------------------------

    def _good(self, first: int, stop: int) -> Act:
        if not self.ranges:
            return self._whole(first, stop)
        if first >= self.size:
            return self._head(416, {"content-range": f"bytes */{self.size}"})
        return self._part(first, stop)

    def _part(self, first: int, stop: int, **fields: str) -> Act:
        body = content(self.seed + self.version * 1_000_003, first, stop)
        headers = {"content-range": f"bytes {first}-{stop - 1}/{self.size}", "content-length": str(len(body))}
        return self._head(206, {**headers, **fields}, body)

    def _whole(self, first: int, stop: int) -> Act:
        body = content(self.seed + self.version * 1_000_003, 0, self.size)
        return self._head(200, {"content-length": str(self.size)}, body)

    def _head(
        self, status: int, headers: Mapping[str, str], body: bytes = b"", end: Outcome | None = Outcome.DONE
    ) -> Act:
        fields = {"etag": f'"v{self.version}"', "content-type": "application/octet-stream", **headers}
        return Act(self._delay(), Response(status, fields), body, end)

    def _delay(self) -> float:
        return self._rng.uniform(0.001, self.latency)

    def _some(self, size: int) -> int:
        """A length below `size`, if there is one."""
        return self._rng.randrange(size) if size > 0 else 0

    def _with(self, act: Act, body: bytes, end: Outcome | None) -> Act:
        return Act(act.delay, act.response, body, end)

    # --- bad ones --------------------------------------------------------------------------------

    def _cut(self, first: int, stop: int) -> Act:
        act = self._good(first, stop)
        return self._with(act, act.body[: self._some(len(act.body))], Outcome.CUT)

    def _reset(self, first: int, stop: int) -> Act:
        return Act(self._delay(), end=Outcome.NETWORK)

    def _unreachable(self, first: int, stop: int) -> Act:
        return Act(self._delay(), end=Outcome.CONNECT)

    def _silent(self, first: int, stop: int) -> Act:
        return Act(None)

    def _stall(self, first: int, stop: int) -> Act:
        act = self._good(first, stop)
        return self._with(act, act.body[: self._some(len(act.body))], None)

    def _slow(self, first: int, stop: int) -> Act:
        return replace(self._good(first, stop), rate=self.slow_rate)

    def _busy(self, first: int, stop: int) -> Act:
        return self._head(503, {"retry-after": str(self._rng.randint(0, 5))}, b"busy")

    def _crowded(self, first: int, stop: int) -> Act:
        return self._head(429, {}, b"less, please")

    def _broken(self, first: int, stop: int) -> Act:
        return self._head(500, {"content-length": str(stop - first)}, b"!" * (stop - first))

    def _short(self, first: int, stop: int) -> Act:
        return (
            self._part(first, first + 1 + self._some(stop - first))
            if self.ranges
            else self._good(first, stop)
        )

    def _shifted(self, first: int, stop: int) -> Act:
        by = self._rng.choice([-4096, -1, 1, 7])
        return self._part(max(0, first + by), max(1, stop + by))

    def _unsaid(self, first: int, stop: int) -> Act:
        body = content(self.seed, first + 1, stop + 1)
        return self._head(206, {"content-length": str(len(body))}, body)

    def _less(self, first: int, stop: int) -> Act:
        act = self._good(first, stop)
        return self._with(act, act.body[: self._some(len(act.body))], Outcome.DONE)

    def _more(self, first: int, stop: int) -> Act:
        act = self._rng.choice([self._good, self._short])(first, stop)
        return self._with(act, act.body + b"!" * (1 + self._some(5000)), Outcome.DONE)

    def _html(self, first: int, stop: int) -> Act:
        page = b"<html>please log in</html>" * self._rng.randint(1, 50)
        fields = {"content-type": "text/html", "content-length": str(len(page)), "etag": '"login"'}
        return self._head(200, fields, page)

    def _coded(self, first: int, stop: int) -> Act:
        return self._part(first, stop, **{"content-encoding": "gzip"})

    def _beyond(self, first: int, stop: int) -> Act:
        return self._head(416, {"content-range": f"bytes */{self.size}"}, b"no")

    def _moved(self, first: int, stop: int) -> Act:
        return self._head(302, {"location": f"/elsewhere/{self._rng.randrange(100)}"})

    def _changed(self, first: int, stop: int) -> Act:
        return self._good(first, stop)

    def _gone(self, first: int, stop: int) -> Act:
        return self._head(404, {}, b"gone")
