"""What a run may be told, each value checked before anything is done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from largefile.rules.rate import RateController

__all__ = [
    "AUTO_CONCURRENCY",
    "DeliveryOptions",
    "SessionOptions",
    "check_block_size",
    "check_rate",
    "check_seconds",
    "session_options",
]

#: What ``concurrency="auto"`` begins with, and what it means for streams and seekable files.
AUTO_CONCURRENCY = 8
MAX_CONCURRENCY = 256
MAX_THREADS = 16
#: Bytes a second, over all transfers; less than that is as good as nothing.
LOW_SPEED = 1024.0
BLOCK_SIZES = (4 << 10, 1 << 30)


def engine_threads(*, encrypted: bool) -> int:
    """How many threads move bytes, of TLS or in the clear, where nobody says.

    One moves 1 GiB a second in the clear. More than two have never been seen to help; and where there are
    only two processors the second is better left to the committer, the digest and the caller, but for TLS.
    """
    return 2 if _processors() > (1 if encrypted else 2) else 1


def _processors() -> int:
    """Those that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


class SessionOptions(NamedTuple):
    """How a session goes about it. Times are seconds."""

    concurrency: int = AUTO_CONCURRENCY
    adaptive: bool = False  #: `concurrency` is only what it begins with
    rate: RateController | None = None
    timeout: float = 20.0
    low_speed: float = LOW_SPEED
    tries: int = 5
    wait_for_completion: bool = False
    max_iterations: int = 10
    clock: Callable[[], float] = time.monotonic
    seed: int | None = None
    threads: int | None = None  #: None: by `engine_threads`


class DeliveryOptions(NamedTuple):
    """What `largefile.download` passes on; see there."""

    digest: str | None = None
    block_size: int | None = None
    on_change: Literal["restart", "fail"] = "restart"
    resume: bool = True
    overwrite: bool = False
    durable: bool = True
    repair: bool = True
    wait: float = 0.0  #: seconds to wait for who is at work there already


def session_options(
    concurrency: int | Literal["auto"],
    rate: RateController | None,
    timeout: float,
    tries: int,
    wait_for_completion: bool,
    max_iterations: int,
    threads: int | Literal["auto"] = "auto",
) -> SessionOptions:
    """The options of a run, each checked."""
    adaptive = concurrency == "auto"
    if concurrency == "auto":
        concurrency = AUTO_CONCURRENCY
    if (
        isinstance(concurrency, bool)
        or not isinstance(concurrency, int)
        or not 1 <= concurrency <= MAX_CONCURRENCY
    ):
        raise ValueError(f"concurrency is {concurrency!r}, needed is 'auto' or 1 to {MAX_CONCURRENCY}")
    if not isinstance(tries, int) or tries < 1:
        raise ValueError(f"tries is {tries}, needed is at least 1")
    check_seconds("timeout", timeout)
    if threads != "auto" and (
        isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS
    ):
        raise ValueError(f"threads is {threads!r}, needed is 'auto' or 1 to {MAX_THREADS}")
    return SessionOptions(
        concurrency=concurrency,
        adaptive=adaptive,
        rate=rate,
        timeout=timeout,
        tries=tries,
        wait_for_completion=wait_for_completion,
        max_iterations=max_iterations,
        threads=None if threads == "auto" else threads,
    )


def check_rate(rate: RateController | float | None) -> RateController | None:
    """Limits; a number is bytes a second. Else TypeError, or ValueError for a number that is no limit."""
    if rate is None or isinstance(rate, RateController):
        return rate
    if isinstance(rate, bool) or not isinstance(rate, (int, float)):
        raise TypeError(f"rate is {rate!r}, needed is a RateController or a number of bytes a second")
    return RateController(bytes_per_second=rate)


def check_seconds(name: str, seconds: float | None) -> float | None:
    """A number of seconds above 0, or None; else ValueError."""
    if seconds is not None and (not isinstance(seconds, (int, float)) or not 0 < seconds < 1e9):
        raise ValueError(f"{name} is {seconds}, needed is a number of seconds above 0")
    return seconds


def check_block_size(block_size: int | Literal["auto"]) -> int | None:
    """A block size in bytes, or None for ``"auto"``; else ValueError."""
    if block_size == "auto":
        return None
    low, high = BLOCK_SIZES
    if not isinstance(block_size, int) or not low <= block_size <= high:
        raise ValueError(f"block_size is {block_size!r}, needed is 'auto' or {low} to {high} bytes")
    return block_size
