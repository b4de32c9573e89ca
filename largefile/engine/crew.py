"""The only loop: it asks the scheduler what to do, has a pump do it, and lets bytes flow.

The scheduler knows spans of blocks and no network; a transport knows fetches and no blocks. They meet in
`pump` and nowhere else, so a simulated transport with a virtual clock runs the very same loop.

Each pump has a thread and a transport of its own; what the kernel copies for one of them, it copies
while the other's Python runs. The first pump's thread is the caller's, who turns the loop by `step`.
Whoever has news takes decisions until there is nothing to do, for all of them: so nobody has to be
woken for work that another one has made possible, but for the pump that is to do it. A new span goes
to whoever has the fewest, which is mostly the one that has just ended one.

Where the disk is too far behind (`Backed`), nobody looks at the network until it has caught up: the servers
are held back by TCP, however large the spans are and also where there is but one, and what was not looked at
was neither silent nor slow (`Pump.excuse`). A look at the network is short when that is near.

What other threads have to say to the scheduler goes through `post`, and how far a reader has come through
`consumed`, which costs two stores while nobody waits for it.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from largefile.core.sink import BlockSink
from largefile.engine.manners import Manners
from largefile.engine.pace import Pace
from largefile.engine.pump import IDLE, TICK, Common, Pump
from largefile.engine.store import Backed, Store
from largefile.errors import InternalError
from largefile.events import Fetch
from largefile.rules.actions import Action, Refused
from largefile.rules.governor import Governor
from largefile.rules.rate import RateController
from largefile.rules.schedule import (
    DRAINING,
    FINISHED,
    Renew,
    Scheduler,
    Span,
    Split,
    Start,
    Stop,
    Wait,
)
from largefile.rules.verdict import Verdict
from largefile.wire.readers import Source
from largefile.wire.transport import Transport

__all__ = ["Crew"]

#: The disk is nearly too far behind at this part of what it may owe.
CLOSE = 0.5
#: Longest look at the network, in seconds, while the disk is nearly too far behind, and longest wait for it.
NAP = 0.02


class Crew:
    """Runs one scheduler over one or several transports until nothing is left to do.

    Parameters
    ----------
    scheduler, source, store
        What to fetch, from where, to where.
    transports
        By what; at least one. The first is used on the caller's thread and stays his, each other one gets
        a thread of its own and is closed by `end`.
    rate
        Limits on bytes and requests a second, changeable meanwhile.
    governor, deadline
        See `Manners`.
    clock
        Seconds on any monotonic clock; a simulation passes its own.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        source: Source,
        store: Store,
        transports: Sequence[Transport],
        *,
        rate: RateController | None = None,
        governor: Governor | None = None,
        deadline: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._common = Common(scheduler, source, store, rate, clock)
        self._manners = Manners(scheduler, source, clock(), governor=governor, rate=rate, deadline=deadline)
        self._pace = Pace(rate, clock()) if rate is not None else None
        self.pumps = [Pump(self._common, transport) for transport in transports]
        self._idle_before = self._idle()
        self._spare = transports[1:]
        self._disk = store if isinstance(store, Backed) else None
        self._held = False  # by the disk, since the governor has looked
        self._threads: list[threading.Thread] = []
        self._begun = False
        self._stopping = False
        self._broken: BaseException | None = None  # what ended another pump's thread
        self._posted: deque[Callable[[Scheduler, float], object]] = deque()
        self._head = self._told_head = 0  # the block that the window begins with
        self._needs_reader = False  # nobody goes on until `consumed`
        #: Called, on a thread of the loop, with what was demanded and can not be had.
        self.on_refused: Callable[[Refused], object] | None = None

    # --- what others call ------------------------------------------------------------------------

    @property
    def error(self) -> BaseException | None:
        """The first error that ended the whole job, if one did."""
        return self._common.error

    @property
    def is_whole(self) -> bool:
        """Whether the server has no ranges: its one body from byte 0 on is what is used."""
        return self._common.whole is not None

    @property
    def connections(self) -> int:
        """Transfers under way."""
        return sum(pump.connections for pump in self.pumps)

    @property
    def received(self) -> int:
        """Body bytes that came, wanted or not."""
        return sum(pump.received for pump in self.pumps)

    def cancel(self) -> None:
        """Stop soon and keep what is in place. From any thread, any number of times."""
        self._common.cancelled.set()
        for pump in self.pumps:
            pump.halt()

    def post(self, call: Callable[[Scheduler, float], object]) -> None:
        """Have ``call(scheduler, now)`` made before the next decision. From any thread."""
        self._posted.append(call)
        self.pumps[0].wake()

    def consumed(self, head_block: int) -> None:
        """The reader is done with so many blocks. From any thread; of several, the largest number counts."""
        if head_block <= self._head:
            return
        self._head = head_block
        # A body that came as a whole may have been held back since the loop went to sleep.
        whole = self._common.whole
        if self._needs_reader or (whole is not None and whole.held):
            self._needs_reader = False  # until somebody says it once more
            self.pumps[0].wake()

    def adopt(self, fetch: Fetch, verdict: Verdict, sink: BlockSink) -> None:
        """Have the loop take over an answered fetch of the first transport, and its sink."""
        pump = self.pumps[0]
        pump.have(lambda: pump.adopt(fetch, verdict, sink))

    # --- the loop --------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until the scheduler says FINISHED; raises what ended the job early."""
        try:
            while self.step():
                pass
        finally:
            self.end()

    def step(self, limit: float = IDLE) -> bool:
        """Take one decision, and do it; False when nothing is left to do. Raises what ended the job early.

        It sleeps for at most `limit` seconds.
        """
        if not self._begun:
            self._begin()
        if self._broken is not None:
            raise self._broken
        if self.turn(self.pumps[0], limit):
            return True
        if self.error is not None:
            raise self.error
        return False

    def turn(self, pump: Pump, limit: float = IDLE) -> bool:
        """The same for one of the pumps, on its thread."""
        sleeps, until = False, None  # type: bool, float | None
        with self._common.lock:
            pump.catch_up()
            action = self._decide(pump)
            match action:
                case Start(span):
                    self._launch(span, pump)
                case Stop(span, why):
                    self._tell(span, lambda owner: owner.stop(span, why), pump)
                case Renew(span):
                    self._tell(span, lambda owner: owner.renew(span), pump)
                case Split(span, stop_block):
                    self._tell(span, lambda owner: owner.split(span, stop_block), pump)
                case Wait(at, for_reader):
                    sleeps, until = True, self._sooner(at)
                    self._needs_reader = for_reader or any(other.is_held for other in self.pumps)
                case _ if action is DRAINING:
                    sleeps = True
                case _ if action is FINISHED:
                    self._wake_others(pump)
                    return False
                case _:
                    raise InternalError(f"the scheduler answered {action!r}")
            refused = self._scheduler.take_refused() if self.on_refused is not None else []
        self._tell_refused(refused)
        # Asked after it was said: a reader that moved a moment ago did not know that it had to wake us.
        reader_moved = self._needs_reader and self._head > self._told_head
        if sleeps and not reader_moved and not pump.has_more_to_do:
            self._look(pump, until, limit, flows=action is not DRAINING)
        return True

    def end(self) -> None:
        """Let go of everything; after the last step, whatever it was. May be called twice."""
        self._stopping = True
        for pump in self.pumps[1:]:
            pump.wake()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        for pump in self.pumps:
            pump.end()
        for transport in self._spare:
            transport.close()
        self._spare = ()

    # --- how -------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._begun = True
        with self._common.lock:
            self.pumps[0].catch_up()  # what it adopts must not be started by another
        for pump in self.pumps[1:]:
            thread = threading.Thread(target=self._help, args=[pump], name="largefile-engine", daemon=True)
            thread.start()
            self._threads.append(thread)  # only now: one that could not start must not be waited for

    def _help(self, pump: Pump) -> None:
        """The thread of any pump but the first."""
        try:
            while not self._stopping and self._broken is None and self.turn(pump):
                pass
        except BaseException as error:  # noqa: BLE001 - raised by `step`
            self._broken = error
            self.pumps[0].wake()

    def _look(self, pump: Pump, until: float | None, limit: float, *, flows: bool) -> None:
        """Let bytes flow, if the disk has room for them."""
        backlog = self._disk.backlog if self._disk is not None and flows else 0.0
        if self._disk is None or backlog < 1:
            pump.look(until, min(limit, NAP) if backlog > CLOSE else limit)
        else:
            self._held = True
            self._disk.wait_for_room(min(limit, NAP))

    def _decide(self, pump: Pump) -> Action:
        now = self._clock()
        for other in self.pumps:
            other.excuse(now)
        if self._head > self._told_head:
            self._told_head = self._head
            self._scheduler.consumed(self._told_head)
            self._resume_held(pump)
        while self._posted:
            self._posted.popleft()(self._scheduler, now)
        if self._scheduler.finished:
            return FINISHED
        if self._common.cancelled.is_set():
            self._scheduler.cancel()
        else:
            self._keep_within(now)
        return self._scheduler.next_action(now)

    def _keep_within(self, now: float) -> None:
        """… what the user allows, and the host."""
        if self._pace is not None and self._common.rate is not None:
            self._scheduler.set_limited(self._common.rate.bytes_per_second is not None)
            # Asked again at each tick, as the limit may have been changed by then.
            at = self._pace.next_start(self.received, self.connections, now)
            self._scheduler.hold(min(at, now + TICK))
        if now >= self._manners.governs_at:
            waited = (self._idle() - self._idle_before) / len(self.pumps)
            self._manners.govern(self.received, waited, now, held=self._held)
            self._held = False
        if (error := self._manners.mind(now)) is not None:
            self._common.fail(error)
            self._scheduler.cancel()

    def _idle(self) -> float:
        """Seconds in which the threads have had nothing to do."""
        return sum(pump.waited for pump in self.pumps)

    def _sooner(self, at: float | None) -> float | None:
        """That time, or when it is decided how many transfers there are to be."""
        if not self._scheduler.in_flight:
            return at
        return self._manners.governs_at if at is None else min(at, self._manners.governs_at)

    def _launch(self, span: Span, here: Pump) -> None:
        pump = min(self.pumps, key=lambda pump: (pump.load, pump is not here))
        pump.entrust(span)
        if pump is not here:
            pump.wake()

    def _tell(self, span: Span, call: Callable[[Pump], object], here: Pump) -> None:
        """Have whoever moves `span` do that to it."""
        for pump in self.pumps:
            if span in pump:
                pump.have(partial(call, pump))
                if pump is not here:
                    pump.wake()

    def _resume_held(self, here: Pump) -> None:
        for pump in self.pumps:
            if pump.is_held:
                pump.have(pump.resume_held)
                if pump is not here:
                    pump.wake()

    def _wake_others(self, here: Pump) -> None:
        for pump in self.pumps:
            if pump is not here:
                pump.wake()

    def _tell_refused(self, refused: Sequence[Refused]) -> None:
        if self.on_refused is not None:
            for one in refused:
                self.on_refused(one)
