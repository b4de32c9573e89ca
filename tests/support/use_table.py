"""The table of uses: each compiled class and function, used once in every way, and dropped.

`block_uses` and `byte_uses` fill it. A use holds nothing afterwards. What raises is a part of it: an error's
path has as much to give back as any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: By full name. A compiled class or function that is not here fails the test.
USES: dict[str, Callable[[], object]] = {}
HUGE = 1 << 70
FILE_ID = bytes(range(16))
Use = Callable[[], object]


def use_of(*subjects: Any) -> Callable[[Use], Use]:
    def register(use: Use) -> Use:
        for subject in subjects:
            USES[f"{subject.__module__}.{subject.__qualname__}"] = use
        return use

    return register


def refused(function: Callable[..., object], *words: Any) -> None:
    """Such words are an error. Not pytest's `raises`: it would take most of the time."""
    try:
        function(*words)
    except (ValueError, TypeError, IndexError, OverflowError, BufferError, MemoryError, OSError):
        return
    raise AssertionError(f"{function} took {words}")


def resized(memory: bytearray) -> None:
    """A BufferError if anybody still has a view of it."""
    memory.append(1)


class Odd:
    """Not a number, and says so."""

    def __index__(self) -> int:
        raise ValueError("no number")


class Holder(bytearray):
    held: object = None
