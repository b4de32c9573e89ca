"""What is imported stays until the end: while it comes, and ever after, nobody looks for garbage in it."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["importing"]


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import in this, without a collection of garbage, of which there is none, every few modules.

    For a process of its own: what it finds there is kept out of the collections that follow as well.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
