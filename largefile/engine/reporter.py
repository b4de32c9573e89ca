"""Tells a callback how far a download is: at most ten times a second, and always at the end."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from largefile.engine.job import Control
from largefile.log import log
from largefile.stats import DownloadStats

__all__ = ["RateMeter", "Reporter", "reporting"]

INTERVAL = 0.1


@runtime_checkable
class Bar(Protocol):
    """A callback that draws which blocks are there."""

    def __call__(self, stats: DownloadStats) -> object: ...
    def watch(self, block_map: Callable[[int], list[float]]) -> None: ...
    def close(self) -> None: ...


class RateMeter:
    """Bytes a second over the last few seconds.

    Examples
    --------
    >>> meter = RateMeter(span=4.0)
    >>> meter.rate(0, 0.0), meter.rate(100, 1.0), meter.rate(400, 2.0)
    (0.0, 100.0, 200.0)
    """

    def __init__(self, span: float = 3.0) -> None:
        self._span = span
        self._points: deque[tuple[float, int]] = deque()

    def rate(self, total: int, now: float) -> float:
        """The rate now that `total` bytes have come in all."""
        self._points.append((now, total))
        while len(self._points) > 2 and self._points[0][0] < now - self._span:
            self._points.popleft()
        then, before = self._points[0]
        return (total - before) / (now - then) if now > then else 0.0


class Reporter:
    """Calls `tell` with snapshots from a thread of its own, so that a slow callback delays only itself.

    What the callback raises is logged, once, and never ends the download.
    """

    def __init__(
        self, snapshot: Callable[[], DownloadStats], tell: Callable[[DownloadStats], object]
    ) -> None:
        self._snapshot = snapshot
        self._tell = tell
        self._failed = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="largefile-progress", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(INTERVAL):
            self._report()
        self._report()  # the last one, always

    def _report(self) -> None:
        try:
            self._tell(self._snapshot())
        except BaseException:  # noqa: BLE001 - it is logged
            if not self._failed:
                log().exception("the progress callback failed; the download goes on")
            self._failed = True

    def close(self, timeout: float = 5.0) -> None:
        """Have the last report delivered; waits at most `timeout` seconds for a slow callback."""
        self._over.set()
        self._thread.join(timeout)


@contextlib.contextmanager
def reporting(
    stats: Callable[[], DownloadStats],
    callback: Callable[[DownloadStats], object] | None,
    control: Control,
) -> Iterator[None]:
    """Report progress meanwhile, if anybody listens; a `Bar` is shown the map, and put away at the end."""
    if callback is None:
        yield
        return
    drawn = callback if isinstance(callback, Bar) else None
    if drawn is not None:
        drawn.watch(lambda cells: control.block_map(cells))
    reporter = Reporter(stats, callback)
    try:
        yield
    finally:
        reporter.close()
        if drawn is not None:
            drawn.close()
