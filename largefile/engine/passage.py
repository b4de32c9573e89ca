"""A content whose size nobody told, passed on as it comes: one stream into a ring, and no second try."""

from __future__ import annotations

import time

from largefile.engine.job import Control
from largefile.engine.options import SessionOptions
from largefile.engine.reporter import RateMeter
from largefile.engine.ring import Ring
from largefile.errors import InternalError
from largefile.rules.identity import Identity
from largefile.stats import DownloadStats
from largefile.wire.exchange import Receiving, check_whole
from largefile.wire.readers import Probe, Source

__all__ = ["Passage"]


class Passage:
    """The body of an answered request, on its way into `ring`; turned like a `Session`.

    Parameters
    ----------
    source, probe
        From where; the answer that is held.
    ring
        To where. While it is full the body is held back.
    any_end
        Whether the end of the connection will do as the end of the body, as a digest is to decide.
    """

    def __init__(
        self,
        source: Source,
        probe: Probe,
        ring: Ring,
        control: Control,
        options: SessionOptions,
        *,
        any_end: bool = False,
    ) -> None:
        if probe.fetch is None or probe.sink is None:
            raise InternalError("an unsized answer without a body")
        self._source = source
        self._control = control
        self._rate = options.rate
        self._any_end = any_end
        self._ring = ring
        self._lane = ring.lane()
        self._fetch, self._sink, self._most = probe.fetch, probe.sink, probe.most
        self._timeout = options.timeout
        self._receiving: Receiving | None = None
        self._head = 0  # the block that the window begins with
        self._meter = RateMeter()
        self._started = time.monotonic()
        self.identity: Identity = probe.identity
        self.phase = "downloading"

    def begin(self) -> None:
        """Have the body flow at the first `step`."""
        self._lane.aim(self._sink, 0, -(-self._ring.content_size // self._ring.block_size))
        self._sink.limit = self._sink.stop if self._most is None else min(self._most, self._sink.stop)
        self._source.begin_use()
        self._control.on_cancel(self._source.transport().wake)
        self._receiving = Receiving(self._source.transport(), self._fetch, self._sink, self._timeout)

    def step(self, limit: float = 0.25) -> bool:
        """Move bytes for at most `limit` seconds; False when the body is whole.

        Raises
        ------
        NetworkError, StalledError, TooLargeError
            It ended, and nothing tells that it was whole; no byte came for too long; or more than may come.
        """
        if self._receiving is None:
            return False
        if self._rate is not None:
            self._rate.register(self, 1)
            self._source.transport().throttle(self._rate.share(1))
        ended = self._receiving.step(limit, self._control.check)
        if ended is None:
            return True
        check_whole(self._source.name, ended, self._sink, self._any_end)
        self._lane.finish(self._sink)
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the status."""
        return ("the server does not say the size: one stream",)

    def end(self) -> None:
        """Let go of the connection and of its place; may be called twice."""
        if self._receiving is not None:
            self._source.transport().stop(self._fetch)
            self._receiving = None
            self._source.end_use()
            if self._rate is not None:
                self._rate.register(self, 0)
        self._lane.release()

    def consumed(self, head_block: int) -> None:
        """The reader has made room. From any thread."""
        if head_block <= self._head:
            return
        self._head = head_block
        if self._sink.held and self._receiving is not None:
            self._source.transport().wake()

    def stats(self) -> DownloadStats:
        """A snapshot, from any thread."""
        now, came = time.monotonic(), self._sink.received
        return DownloadStats(
            cached_or_streamed_bytes=came,
            downloaded_bytes=came,
            iterations=1,
            rate=self._meter.rate(came, now),
            connections=self._receiving is not None,
            phase=self.phase,
            elapsed=now - self._started,
        )
