"""How many transfers at once a host lets be, found out from what it refuses.

Some hosts serve k transfers of a client and refuse the rest. To halve and to climb back would have them
refuse again and again, so the number is remembered: those under way less one, when one was refused, if one of
the others lands a block afterwards. Of a burst the last refusal tells it exactly.

After many good ends one transfer more is tried, for the host may have changed its mind. Each refused trial
makes the next one rarer. A refusal after `STEADY` good ends below the ceiling is chance and not a limit, so a
host that just fails at times does not end up with one transfer.
"""

from __future__ import annotations

__all__ = ["Ceiling"]

#: Good ends that show that a level is well.
STEADY = 8
#: Good ends between two trials of one more, at most.
RAREST = 64


class Ceiling:
    """The most transfers at once that a host lets be.

    Examples
    --------
    >>> ceiling = Ceiling()
    >>> for in_flight in (8, 7, 6, 5, 4):
    ...     ceiling.refused(in_flight)
    >>> ceiling.level is None, ceiling.confirm(), ceiling.level
    (True, None, 3)
    >>> for _ in range(STEADY):
    ...     ceiling.ended_well(in_flight=3)
    >>> ceiling.level, ceiling.known
    (4, 3)
    >>> ceiling.refused(in_flight=4), ceiling.confirm(), ceiling.level, ceiling.sure
    (None, None, 3, True)
    """

    def __init__(self) -> None:
        self.level: int | None = None  #: transfers that may be under way now; None: any number
        self.lessons = 0  #: how often a refusal told something of it
        self.sure = False  #: one more was tried, and refused
        self._suspect: int | None = None
        self._trial = False  # the level is one more than what is known to be well
        self._interval = STEADY
        self._good = 0  # good ends at this level
        self._quiet = 0  # … since a refusal

    @property
    def known(self) -> int | None:
        """The level, without what is being tried."""
        return self.level - self._trial if self.level is not None else None

    def expect(self, level: int) -> None:
        """Begin with what was found out before; more is tried rarely."""
        self.level, self._interval = level, RAREST

    def refused(self, in_flight: int) -> None:
        """One of so many transfers was refused. If it was the only one, that says nothing of a number."""
        below = in_flight - 1
        self._suspect = min(below, self._suspect or below) or None

    def confirm(self) -> None:
        """A transfer that was under way at the last refusal is being served."""
        if self._suspect is None:
            return
        suspect, self._suspect = self._suspect, None
        if self.level is not None and suspect >= self.level:
            return
        if self._trial:
            self.sure = True
            self._interval = min(RAREST, 2 * self._interval)
        elif self.level is not None and self._quiet >= STEADY:
            self._quiet = 0
            return
        self.level, self._trial = suspect, False
        self.lessons += 1
        self._good = self._quiet = 0

    def ended_well(self, in_flight: int) -> None:
        """One of so many transfers brought all that it was asked for."""
        self._quiet += 1
        if self.level is None or in_flight < self.level:
            return  # with room left it says nothing
        self._good += 1
        if self._good < (STEADY if self._trial else self._interval):
            return
        self._good = self._quiet = 0
        if self._trial:
            self._interval = STEADY
        else:
            self.level += 1
        self._trial = not self._trial
