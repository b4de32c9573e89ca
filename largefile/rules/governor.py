"""How many transfers at once pay: one more step is kept if the total grew by it.

A step is tried, given time to settle, and measured over a period. If the total did not grow by a tenth, the
step is taken back, and the next one is tried later and later. What a host refuses is not decided here (see
`ceiling` and `patience`): whatever is held back by anything but the network is not measured at all.
"""

from __future__ import annotations

__all__ = ["Governor"]

#: Seconds for a new transfer to come up to speed, and of one measurement.
SETTLE = 0.25
PERIOD = 0.5
#: Seconds before a step that did not pay is tried again; doubles to at most the second.
REST, LONGEST_REST = 4.0, 64.0
#: What a step must give.
GAIN = 1.1


class Governor:
    """Say how many transfers there should be.

    Parameters
    ----------
    start, most : int
        Transfers to begin with, and never to exceed.
    now : float
        Seconds on any clock that does not go back.

    Examples
    --------
    >>> governor = Governor(8, now=0.0, most=16)
    >>> governor.look(0, 0.25, busy=True), governor.look(500, 0.75, busy=True)
    (8, 12)
    >>> governor.look(750, 1.0, busy=True), governor.look(1250, 1.5, busy=True)  # no more than before
    (12, 8)
    """

    def __init__(self, start: int, now: float, *, most: int = 16) -> None:
        self.settled = start  #: the number that is known to pay
        self._most = most
        self._tried: int | None = None
        self._paid = 0.0  # bytes a second with `settled` transfers
        self._rest = REST
        self._mark: tuple[int, float] | None = None  # what had come when the measurement began, and when
        self.due = now + SETTLE  #: it has nothing to say before this time

    @property
    def concurrency(self) -> int:
        """Transfers that there should be now."""
        return self._tried or self.settled

    def look(self, received: int, now: float, *, busy: bool) -> int:
        """How many there should be, as so many bytes have come so far.

        `busy`: as many as it asked for are under way, and nothing but the network holds them back.
        """
        if now < self.due:
            return self.concurrency
        mark, self._mark = self._mark, (received, now) if busy else None
        self.due = now + PERIOD
        if busy and mark is not None:
            self._judge((received - mark[0]) / (now - mark[1]), now)
        return self.concurrency

    def _judge(self, rate: float, now: float) -> None:
        if self._tried is not None and rate <= GAIN * self._paid:
            self._tried, pause = None, self._rest
            self._rest = min(LONGEST_REST, 2 * self._rest)
        else:
            if self._tried is not None:
                self._rest = REST
            self.settled, self._paid, pause = self.concurrency, rate, SETTLE
            self._tried = min(self._most, self.settled + (self.settled + 1) // 2)
        self._mark, self.due = None, now + pause
