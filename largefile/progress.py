"""The ``progress=`` argument: a bar, a callable, or anything with tqdm's ``update``; and its words."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO, TypeAlias

from largefile.stats import DownloadStats

__all__ = ["ProgressLike", "as_callback", "human_bytes", "human_seconds", "line", "plain_lines", "shade"]

ProgressLike: TypeAlias = "bool | Callable[[DownloadStats], object] | object | None"
Callback: TypeAlias = Callable[[DownloadStats], object]

#: From an empty cell of a block map to a full one.
SHADES, ASCII_SHADES = "·░▒▓█", ".-+*#"


def as_callback(progress: ProgressLike, stream: TextIO | None = None) -> Callback | None:
    """What to call with each snapshot; None for no progress.

    Parameters
    ----------
    progress
        True: a bar on stderr where that is a terminal, else a line now and then. A callable: itself. An
        object with ``update(n)``: called with the bytes added since the last time.
    stream
        Instead of stderr.

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


def plain_lines(out: TextIO, interval: float = 2.0, clock: Callable[[], float] = time.monotonic) -> Callback:
    """A line of text every `interval` seconds and at each change of phase, for logs."""
    due, phase = 0.0, ""

    def tell(stats: DownloadStats) -> None:
        nonlocal due, phase
        now = clock()
        known = stats.download_size or stats.downloaded_bytes or stats.phase == "probing"
        if not known or (now < due and stats.phase == phase):
            return
        due, phase = now + interval, stats.phase
        print(line(stats), file=out, flush=True)

    return tell


def bar(out: TextIO) -> Callback:
    """A live bar; rich is imported here and nowhere earlier."""
    from largefile.livebar import LiveBar

    return LiveBar(out)


# --- words ---------------------------------------------------------------------------------------


def line(stats: DownloadStats) -> str:
    """One snapshot in one line.

    Examples
    --------
    >>> line(DownloadStats(download_size=4 << 20, cached_or_streamed_bytes=1 << 20, rate=1 << 20,
    ...                    connections=2))
    'downloading  25% 1.0 MiB of 4.0 MiB, 1.0 MiB/s, 0:03 left, 2 connections'
    """
    if not stats.download_size:
        return (
            f"{stats.phase} {human_bytes(stats.downloaded_bytes)}" if stats.downloaded_bytes else stats.phase
        )
    done, size = stats.cached_or_streamed_bytes, stats.download_size
    # Rounded down: 100 % is said when nothing is missing, and not a block earlier.
    words = f"{stats.phase} {100 * done // size:3d}% {human_bytes(done)} of {human_bytes(size)}"
    if stats.phase != "downloading":
        return words
    many = "" if stats.connections == 1 else "s"
    return f"{words}, {human_bytes(stats.rate)}/s, {eta(stats)} left, {stats.connections} connection{many}"


def eta(stats: DownloadStats) -> str:
    """How long it may still take, ``m:ss``."""
    left = stats.download_size - stats.cached_or_streamed_bytes
    if stats.rate <= 0:
        return "-:--" if left else "0:00"
    return human_seconds(left / stats.rate)


def human_seconds(seconds: float) -> str:
    """Minutes and seconds, and hours where there are any.

    Examples
    --------
    >>> human_seconds(75), human_seconds(3600 + 62.4)
    ('1:15', '1:01:02')
    """
    hours, rest = divmod(round(seconds), 3600)
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


def shade(cells: Sequence[float], *, ascii_only: bool = False) -> str:
    """A block map as text, one character a cell.

    Empty and full are shown only by cells that are exactly that.

    Examples
    --------
    >>> shade([0.0, 0.01, 0.5, 0.99, 1.0])
    '·░▒▓█'
    """
    marks = ASCII_SHADES if ascii_only else SHADES
    between = len(marks) - 2
    return "".join(
        marks[0] if share <= 0 else marks[-1] if share >= 1 else marks[1 + int(share * between)]
        for share in cells
    )
