"""The contract that a driver owes. It knows fetches and sinks, not spans, blocks or retries.

Life of a fetch: `start`, then either one `Ended`, or one `Answered` followed by `admit` or `refuse` and
then one `Ended`. No byte of a body reaches the sink before `admit`. A sink that has no place for a
chunk holds its transfer; `resume` goes on with it, `stop` ends it as at any time. One thread at a time
owns a transport; only `wake` may be called from any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from largefile.core.sink import BlockSink
from largefile.events import Answered, Ended, Fetch, Response

__all__ = ["Accept", "Transport"]

#: Whether the body of an answer may flow at once. Asked in the middle of a driver's work, so it does none.
Accept: TypeAlias = Callable[[Fetch, Response], bool]


class Transport(Protocol):
    """What moves bytes from a source into sinks."""

    #: Whether it fills the sinks' `room` itself, so that a place in a map saves it a copy.
    direct: bool
    #: Seconds that `poll` has had nothing to do; grows. Where that is little, more transfers are no faster.
    waited: float

    def start(self, fetch: Fetch, sink: BlockSink, accept: Accept | None = None) -> None:
        """Begin `fetch`; the sink need not be aimed before `admit`.

        A driver may ask `accept` about the answer: True admits it there and then, and no `Answered` comes.
        To hold a body costs a driver memory and a copy of what has come of it, and most answers are good.
        """

    def admit(self, fetch: Fetch) -> None:
        """Let the body of an answered fetch flow into its sink, which bounds it."""

    def refuse(self, fetch: Fetch) -> None:
        """End an answered fetch without placing a byte of it; answered by `Ended` (REFUSED)."""

    def stop(self, fetch: Fetch) -> None:
        """End a fetch at any time; answered by `Ended`."""

    def resume(self, fetch: Fetch) -> None:
        """Go on with a transfer that is held because its sink had no place; nothing if it is not held.

        The sink answered PAUSE. It gets the same bytes again, in this call or soon after it, and then what
        follows them. Until then the transfer costs nothing, and its server has to wait.
        """

    def throttle(self, bytes_per_second: int) -> None:
        """Hold each transfer to so many bytes a second from now on; 0 lifts the limit."""

    def poll(self, timeout: float) -> Sequence[Answered | Ended]:
        """Move bytes for at most about `timeout` seconds; return at once when there is news.

        Never raises for a server's fault.
        """

    def wake(self) -> None:
        """Make the present or the next `poll` return soon. From any thread."""

    def close(self) -> None:
        """Drop every transfer and connection. Nothing may be called after it."""
