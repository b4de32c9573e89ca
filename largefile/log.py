"""The library's log. `logging` takes long to import, so it is imported when there is something to say."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

__all__ = ["log", "log_level", "silenced"]

_silent = False


def log() -> logging.Logger:
    """``logging.getLogger("largefile")``, as whoever set it up wants it."""
    import logging

    if _silent:
        nobody = logging.Logger("largefile")
        nobody.addHandler(logging.NullHandler())
        return nobody
    return logging.getLogger("largefile")


def log_level() -> int:
    """What is heard of it; WARNING where nobody has set anything up."""
    return log().getEffectiveLevel() if "logging" in sys.modules else 30


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Nothing is logged meanwhile. For a process of its own."""
    global _silent
    _silent = True
    try:
        yield
    finally:
        _silent = False
