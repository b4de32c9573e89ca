"""What the scheduler and the pump say to each other: a span, an action, a fault."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, NamedTuple, TypeAlias

__all__ = [
    "DRAINING",
    "FINISHED",
    "Action",
    "Fault",
    "Refused",
    "Renew",
    "Signal",
    "Span",
    "Split",
    "Start",
    "Stop",
    "StopReason",
    "Wait",
]

StopReason: TypeAlias = Literal["stalled", "whole", "cancelled"]


class Span:
    """A run of blocks that one transfer carries: `first_block` up to, not including, `stop_block`.

    It belongs to the scheduler, which may shorten it while it is in flight; each is its own identity.

    Examples
    --------
    >>> Span(4, 12).num_blocks
    8
    """

    __slots__ = ("attempt", "first_block", "passes", "stop_block", "whole")

    def __init__(
        self, first_block: int, stop_block: int, attempt: int = 0, passes: int = 0, whole: bool = False
    ) -> None:
        self.first_block = first_block
        self.stop_block = stop_block
        #: Failures of these blocks since one of their transfers last landed a block.
        self.attempt = attempt
        #: Times in a row that they went back without anybody's fault.
        self.passes = passes
        #: The body of a server without ranges: it starts at byte 0, and the store skips present blocks.
        self.whole = whole

    def __repr__(self) -> str:
        return (
            f"Span(first_block={self.first_block}, stop_block={self.stop_block}, "
            f"attempt={self.attempt}, passes={self.passes}, whole={self.whole})"
        )

    @property
    def num_blocks(self) -> int:
        """How many blocks the span reaches over."""
        return self.stop_block - self.first_block


class Start(NamedTuple):
    """Ask for this span now; it counts as in flight until `Scheduler.ended`."""

    span: Span


class Stop(NamedTuple):
    """End this transfer; said once a span, and answered by `Scheduler.ended`."""

    span: Span
    why: StopReason


class Renew(NamedTuple):
    """Go on with this span on another connection, from the byte where it is: its own is a bad one.

    `Scheduler.renewed` is said then, or `Scheduler.ended` if it was over before.
    """

    span: Span


class Split(NamedTuple):
    """Have this transfer end before `stop_block`, or after the block that it is in if that is later.

    `Scheduler.granted` says then where it ends, and the rest may start; or `Scheduler.ended`.
    """

    span: Span
    stop_block: int


class Wait(NamedTuple):
    """Nothing to do before `until` (seconds on the caller's clock; None: before the next event)."""

    until: float | None
    #: Only the reader can go on: by `Scheduler.consumed` (its window is full) or `Scheduler.demand`.
    for_reader: bool = False


class Signal(Enum):
    """The two answers that carry nothing else."""

    DRAINING = "draining"  #: nothing starts any more; what is in flight has been told to stop
    FINISHED = "finished"  #: nothing is in flight and nothing is left to try


DRAINING: Final = Signal.DRAINING
FINISHED: Final = Signal.FINISHED

Action: TypeAlias = Start | Stop | Renew | Split | Wait | Signal


class Refused(NamedTuple):
    """Demanded blocks that were given up: nobody fetches them until they are demanded again."""

    first_block: int
    stop_block: int
    #: The last failure; one object for all blocks that were given up for it.
    error: Exception


class Fault(NamedTuple):
    """Why a transfer ended before the blocks of its span were all there.

    Examples
    --------
    >>> Fault(ConnectionResetError(), pushback=True).retryable
    True
    """

    error: Exception
    #: Whether the same request may succeed later. If not, its blocks are given up at once.
    retryable: bool = True
    #: Seconds from now before which the host wants no request at all (RFC 9110 section 10.2.3).
    retry_after: float | None = None
    #: The host asks for less (429, 503, refused connection): fewer transfers until it recovers.
    pushback: bool = False
    #: It said nothing at all: hung up, or let us wait. That is how some hosts ask for less.
    unanswered: bool = False
    #: Nobody's failure (a redirect, a renewed address): costs nothing, within a bound.
    blameless: bool = False
    #: Nothing of this job can succeed any more (404, source changed, disk error): it ends.
    fatal: bool = False
