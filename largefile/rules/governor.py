"""How many transfers at once pay: one more step is kept if the total grew by it.

It begins with two and doubles them every 20 ms, up to a number that most networks need, as long as whoever
moves the bytes has time to spare. Where two keep it busy more would bring nothing but their own cost.
Measured, 1 GiB on loopback: the CPU time of a file is a tenth less with two than with eight.

From there on a step is tried, given time to settle, and measured over a period. If the total did not grow
by a tenth, the step is taken back, and the next one is tried later and later. What a host refuses is not
decided here (see `ceiling` and `patience`): whatever is held back by anything but the network is not measured
at all.
"""

from __future__ import annotations

__all__ = ["Governor"]

#: Seconds for a new transfer to come up to speed, and of one measurement.
SETTLE = 0.25
PERIOD = 0.5
#: Transfers to begin with, and seconds until they are doubled.
FIRST = 2
LEAP = 0.02
#: Who has waited for so much of the time has time to spare; who has not so often in a row will not soon.
SPARE, SURE = 1 / 3, 4
#: Seconds before a step that did not pay is tried again; doubles to at most the second.
REST, LONGEST_REST = 4.0, 64.0
#: What a step must give.
GAIN = 1.1


class Governor:
    """Say how many transfers there should be.

    Parameters
    ----------
    start, most : int
        Transfers to come to at once if they may pay, and never to exceed.
    now : float
        Seconds on any clock that does not go back.

    Examples
    --------
    >>> governor = Governor(8, now=0.0, most=16)
    >>> governor.concurrency, [governor.look(0, now, waited=now) for now in (0.02, 0.04)]
    (2, [4, 8])
    >>> governor.look(0, 0.3, waited=0.3), governor.look(500, 0.8, waited=0.8)
    (8, 12)
    >>> governor.look(750, 1.05, waited=1.0), governor.look(1250, 1.55, waited=1.5)  # no more than before
    (12, 8)
    """

    def __init__(self, start: int, now: float, *, most: int = 16) -> None:
        self.settled = start  #: the number that is known to pay
        self._most = most
        self._few: int | None = FIRST if start > FIRST else None  # and no more until now
        self._start = start
        self._full = 0  # looks in a row at which there was no time to spare
        self._looked, self._waited = now, 0.0
        self._tried: int | None = None
        self._paid = 0.0  # bytes a second with `settled` transfers
        self._rest = REST
        self._mark: tuple[int, float] | None = None  # what had come when the measurement began, and when
        self.due = now + (SETTLE if self._few is None else LEAP)  #: it has nothing to say before this time

    @property
    def concurrency(self) -> int:
        """Transfers that there should be now."""
        return self._few or self._tried or self.settled

    @property
    def planned(self) -> int:
        """Transfers that there may be soon."""
        return self.settled if self._few is not None and self._full < SURE else self.concurrency

    @property
    def learns(self) -> bool:
        """Whether `settled` may become another number."""
        return self._most > self._start

    def look(self, received: int, now: float, *, waited: float, busy: bool = True) -> int:
        """How many there should be, as so many bytes have come so far.

        `waited`: so many seconds whoever moves the bytes has had nothing to do so far. `busy`: as many as it
        asked for are under way, and nothing but the network holds them back.
        """
        if now < self.due:
            return self.concurrency
        spare = waited - self._waited >= SPARE * (now - self._looked)
        self._looked, self._waited = now, waited
        if self._few is not None:
            self._double(now, spare)
            return self.concurrency
        busy = busy and spare
        mark, self._mark = self._mark, (received, now) if busy else None
        self.due = now + PERIOD
        if busy and mark is not None:
            self._judge((received - mark[0]) / (now - mark[1]), now)
        return self.concurrency

    def _double(self, now: float, spare: bool) -> None:
        self.due = now + LEAP
        self._full = 0 if spare else self._full + 1
        if self._few is not None and spare:
            self._few *= 2
            if self._few >= self.settled:
                self._few, self.due = None, now + SETTLE

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
