"""Being told to stop: SIGTERM ends a command as Ctrl-C does, with everything put in order."""

from __future__ import annotations

import contextlib
import signal
import types
from collections.abc import Iterator

__all__ = ["Terminated", "interruptible"]


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM raises `Terminated`, meanwhile. For the main thread."""

    def stop(number: int, frame: types.FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
