"""How a limit on bytes a second holds for many short transfers."""

from __future__ import annotations

from largefile.rules.rate import RateController

__all__ = ["Pace"]


class Pace:
    """Says when the next transfer may begin, so that what came is paid for by then.

    Shares of the limit for each transfer are not enough: libcurl lets a transfer have the first second of
    its share at once, and transfers are often shorter than that. So whatever came is a debt, paid off at
    the limit's pace, and nothing begins before it is paid. A download is ahead of the limit by at most
    what its transfers get in their first second.

    Examples
    --------
    >>> pace = Pace(RateController(bytes_per_second=100), now=0.0)
    >>> pace.next_start(received=50, transfers=1, now=0.0)
    0.5
    >>> pace.next_start(received=50, transfers=1, now=2.0)
    2.0
    """

    def __init__(self, rate: RateController, now: float) -> None:
        self._rate = rate
        self._debt = 0.0  # bytes
        self._counted = 0
        self._at = now

    def next_start(self, received: int, transfers: int, now: float) -> float:
        """The earliest time for a request, given the bytes that came so far and the transfers under way."""
        limit = self._rate.share(transfers) * max(1, transfers)
        self._debt = max(0.0, self._debt - (now - self._at) * limit) + received - self._counted
        self._counted, self._at = received, now
        if not limit:
            self._debt = 0.0
        paid = now + self._debt / limit if limit else now
        return max(self._rate.request_at(now), paid)
