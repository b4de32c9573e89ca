"""The ``progress=`` argument: a bar, a callable, or anything with tqdm's ``update``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO, TypeAlias

from largefile.stats import DownloadStats

__all__ = ["ProgressLike", "as_callback", "human_bytes", "plain_lines"]

ProgressLike: TypeAlias = "bool | Callable[[DownloadStats], object] | object | None"
Callback: TypeAlias = Callable[[DownloadStats], object]


def as_callback(progress: ProgressLike, stream: TextIO | None = None) -> Callback | None:
    """What to call with each snapshot; None for no progress.

    Parameters
    ----------
    progress
        True: a bar on stderr where that is a terminal, else a line now and then. A callable: itself. An
        object with ``update(n)``: called with the bytes added since the last time.

    Raises
    ------
    TypeError
        For anything else.
    """
    if progress is None or progress is False:
        return None
    out = stream or sys.stderr
    if progress is True:
        return bar(out) if out.isatty() else plain_lines(out)
    update = getattr(progress, "update", None)
    if callable(update):
        return adder(update)
    if callable(progress):
        return progress
    raise TypeError(f"progress is {progress!r}, needed is True, a callable or something with update()")


def adder(update: Callable[[int], object]) -> Callback:
    """Call `update` with what was added; never with less than nothing."""
    seen = 0

    def tell(stats: DownloadStats) -> None:
        nonlocal seen
        added = stats.cached_or_streamed_bytes - seen
        if added > 0:
            seen += added
            update(added)

    return tell


def plain_lines(out: TextIO, interval: float = 2.0) -> Callback:
    """A line of text every `interval` seconds and at each change of phase, for logs."""
    due, phase = 0.0, ""

    def tell(stats: DownloadStats) -> None:
        nonlocal due, phase
        now = time.monotonic()
        if now < due and stats.phase == phase:
            return
        due, phase = now + interval, stats.phase
        print(line(stats), file=out, flush=True)

    return tell


def line(stats: DownloadStats) -> str:
    """One snapshot in one line."""
    if not stats.download_size:
        return f"{stats.phase} {human_bytes(stats.downloaded_bytes)}"
    done, size = stats.cached_or_streamed_bytes, stats.download_size
    return (
        f"{stats.phase} {stats.fraction:4.0%} {human_bytes(done)} of {human_bytes(size)}"
        f" {human_bytes(stats.rate)}/s eta {eta(stats)} {stats.connections} connections"
    )


def eta(stats: DownloadStats) -> str:
    """How long it may still take, ``m:ss``."""
    left = stats.download_size - stats.cached_or_streamed_bytes
    if stats.rate <= 0:
        return "-:--" if left else "0:00"
    seconds = round(left / stats.rate)
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def human_bytes(count: float) -> str:
    """Bytes with a binary unit.

    Examples
    --------
    >>> human_bytes(512), human_bytes(1536), human_bytes(5 << 30)
    ('512 B', '1.5 KiB', '5.0 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024 or unit == "TiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def bar(out: TextIO) -> Callback:
    """A live bar; rich is imported here and nowhere earlier."""
    from largefile.livebar import LiveBar

    return LiveBar(out)
