"""One request by itself: wait for its answer, take its body, with nothing else going on."""

from __future__ import annotations

import time
from collections.abc import Callable

from largefile.core.sink import BlockSink
from largefile.errors import NetworkError, StalledError, TooLargeError
from largefile.events import Answered, Ended, Fetch, Outcome
from largefile.wire.transport import Transport

__all__ = ["Receiving", "Whole", "first_event", "receive"]


class Whole:
    """A lane over one buffer for all that comes; there is nothing to settle."""

    def settle(self, sink: BlockSink) -> None:
        return None


def check_whole(name: str, ended: Ended, sink: BlockSink, any_end: bool) -> None:
    """Raise unless the body of an answer that did not say its size has come to its true end.

    That is told by the last chunk or by the end of the stream: a connection that just closed may have been
    cut anywhere. With `any_end` that will do too, as a digest is to decide.

    Raises
    ------
    NetworkError
        The end did not come. What the sink has kept is raised as it is.
    TooLargeError
        More came than the sink's limit allows.
    """
    if sink.error is not None:
        raise sink.error
    if sink.overrun:
        raise TooLargeError(name, sink.limit)
    if ended.outcome is Outcome.DONE or (any_end and ended.outcome is Outcome.UNFRAMED):
        return
    what = "nothing tells that it was whole" if ended.outcome is Outcome.UNFRAMED else ended.detail
    raise NetworkError(f"{name} ended after {sink.at} bytes: {what}", ended.code)


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


class Receiving:
    """The body of an answered request on its way into a sink, a step at a time.

    The one who steps may take his time: silence is counted only while a step waits for bytes, and not while
    the sink is held for want of a place.

    Parameters
    ----------
    transport
        Where the answer is held back. It belongs to the thread that steps.
    fetch, sink
        The answered request, and where its body goes; aimed before the first step.
    timeout : float
        Seconds without a byte after which the transfer counts as stalled.
    """

    def __init__(self, transport: Transport, fetch: Fetch, sink: BlockSink, timeout: float) -> None:
        self._transport = transport
        self._fetch = fetch
        self._sink = sink
        self._timeout = timeout
        self._admitted = False
        self._seen = sink.received
        self._silent = 0.0  # seconds of waiting since the last byte

    def step(self, wait: float, check: Callable[[], object]) -> Ended | None:
        """Move bytes for at most about `wait` seconds; how it ended, or None if it has not.

        The first step admits the answer, and each goes on with a transfer that is held. A `wake` of the
        transport ends a step early. What `check` raises comes out of it, and leaves the transfer as it is.

        Raises
        ------
        StalledError
            When no byte came for `timeout` seconds.
        """
        check()
        if not self._admitted:
            self._admitted = True
            self._transport.admit(self._fetch)
        elif self._sink.held:
            self._transport.resume(self._fetch)
        began = time.monotonic()
        for event in self._transport.poll(wait):
            if event.fetch is self._fetch and isinstance(event, Ended):
                return event
        self._listen(time.monotonic() - began)
        return None

    def _listen(self, waited: float) -> None:
        """Count the silence."""
        if self._sink.received != self._seen or self._sink.held:
            self._seen, self._silent = self._sink.received, 0.0
            return
        self._silent += waited
        if self._silent > self._timeout:
            raise StalledError(f"no byte came for {self._timeout:g} s")


def receive(
    transport: Transport, fetch: Fetch, sink: BlockSink, timeout: float, check: Callable[[], object]
) -> Ended:
    """Admit an answered fetch, and wait for its end.

    Raises
    ------
    StalledError
        When no byte came for `timeout` seconds.
    """
    receiving = Receiving(transport, fetch, sink, timeout)
    while (ended := receiving.step(0.25, check)) is None:
        pass
    return ended
