"""How a run behaves towards its host: it waits as long as it is told, and asks for no more than is given.

What one run finds out is kept at the `Host`, for the other runs of the process and the ones to come.
"""

from __future__ import annotations

import math

from largefile.errors import ThrottledError
from largefile.log import log
from largefile.rules.governor import Governor
from largefile.rules.hosts import too_long
from largefile.rules.rate import RateController
from largefile.rules.schedule import Scheduler
from largefile.wire.readers import Source

__all__ = ["Manners"]


class Manners:
    """What a scheduler must know of the host before each decision.

    Parameters
    ----------
    scheduler, source
        Who decides, and who knows which host it is about.
    governor
        Says how many transfers pay; None: as many as the scheduler was made with.
    deadline
        When the run must be over; it does not sleep until then because the host says so.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        source: Source,
        now: float,
        *,
        governor: Governor | None = None,
        rate: RateController | None = None,
        deadline: float = math.inf,
    ) -> None:
        self._scheduler = scheduler
        self._source = source
        self._governor = governor
        self._rate = rate
        self._deadline = deadline
        self._lessons = 0
        if governor is not None:
            scheduler.set_concurrency(governor.concurrency, governor.planned)
        limit = source.host().limit(now)
        if limit is not None:
            scheduler.ceiling.expect(limit)

    @property
    def governs_at(self) -> float:
        """When `govern` has something to do."""
        return self._governor.due if self._governor is not None else math.inf

    def mind(self, now: float) -> ThrottledError | None:
        """Start nothing before the host wants it; an error, if that is beyond the deadline."""
        scheduler, opens_at = self._scheduler, self._source.host().opens_at
        if scheduler.ceiling.lessons != self._lessons:
            self._learn(now)
        if opens_at <= now:
            return None
        scheduler.hold(opens_at)
        stuck = opens_at > self._deadline and not scheduler.in_flight and scheduler.remaining_blocks
        return too_long(self._source.name, opens_at - now) if stuck else None

    def govern(self, received: int, waited: float, now: float, *, held: bool = False) -> None:
        """Have more transfers, or fewer, as so many bytes have come so far, and we have had nothing to do for
        so many seconds. `held`: and we held them back."""
        scheduler, governor = self._scheduler, self._governor
        if governor is not None:
            busy = not held and self._is_busy(governor.concurrency)
            concurrency = governor.look(received, now, waited=waited, busy=busy)
            scheduler.set_concurrency(concurrency, governor.planned)
            if governor.learns:
                self._source.host().concurrency = governor.settled

    def _is_busy(self, concurrency: int) -> bool:
        """Whether nothing but the network holds the transfers back. Some may just have ended."""
        if self._rate is not None and self._rate.bytes_per_second is not None:
            return False
        return self._scheduler.allowed >= concurrency and 4 * self._scheduler.in_flight >= 3 * concurrency

    def _learn(self, now: float) -> None:
        ceiling, host = self._scheduler.ceiling, self._source.host()
        self._lessons = ceiling.lessons
        if ceiling.known is not None:
            host.learn(ceiling.known, now)
        if ceiling.sure and not host.is_known:
            host.is_known = True
            log().info("%s serves %d transfers at once and refuses more", self._source.name, ceiling.known)
