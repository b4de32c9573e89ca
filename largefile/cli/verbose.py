"""What ``--verbose`` shows of the log; by itself, as few want it and `logging` takes long to import."""

from __future__ import annotations

import logging
from collections.abc import Callable

__all__ = ["ToStderr"]


class ToStderr(logging.Handler):
    """Log records as lines; sys.stderr is looked up each time, as a live bar stands in for it."""

    def __init__(self, say: Callable[[str], object]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(self.format(record))
