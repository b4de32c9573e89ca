"""One request by itself: wait for its answer, take its body, with nothing else going on."""

from __future__ import annotations

import time
from collections.abc import Callable

from largefile.core.sink import BlockSink
from largefile.errors import StalledError
from largefile.events import Answered, Ended, Fetch
from largefile.wire.transport import Transport

__all__ = ["Whole", "first_event", "receive"]


class Whole:
    """A lane over one buffer for all that comes; there is nothing to settle."""

    def settle(self, sink: BlockSink) -> None:
        return None


def first_event(
    transport: Transport, fetch: Fetch, timeout: float, check: Callable[[], object]
) -> Answered | Ended | None:
    """The next news of `fetch`; None after `timeout` seconds without any. What `check` raises ends it."""
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        check()
        for event in transport.poll(min(left, 0.25)):
            if event.fetch is fetch:
                return event
    return None


def receive(
    transport: Transport, fetch: Fetch, sink: BlockSink, timeout: float, check: Callable[[], object]
) -> Ended:
    """Admit an answered fetch, and wait for its end.

    Raises
    ------
    StalledError
        When no byte came for `timeout` seconds.
    """
    transport.admit(fetch)
    heard, seen = time.monotonic(), sink.at
    while True:
        event = first_event(transport, fetch, 0.25, check)
        if isinstance(event, Ended):
            return event
        now = time.monotonic()
        if sink.at > seen:
            heard, seen = now, sink.at
        elif now - heard > timeout:
            raise StalledError(f"no byte came for {timeout:g} s")
