"""Standard output and standard error, either of which may be closed, full, or a pipe that nobody reads.

What is said on stderr is lost then, in silence: it never decides how a command ends. What was asked for on
stdout is not: the caller is told by an error.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import TextIO

import click

from largefile.progress import as_callback
from largefile.stats import DownloadStats

__all__ = ["Progress", "bar_has_room", "fill_descriptors", "flush", "mute", "remark"]


def fill_descriptors() -> None:
    """Open /dev/null for each standard stream that is closed.

    Else the next file of ours gets its number, and what a C library prints lands in the download.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def remark(text: str, *, nl: bool = True) -> None:
    """Write on stderr, if that can be."""
    try:
        click.echo(text, err=True, nl=nl)
    except (OSError, ValueError):
        mute(sys.stderr)


def mute(stream: TextIO | None) -> None:
    """Send what it still holds, and what comes, to /dev/null.

    What can not be written stays in its buffer, and Python ends with 120 when it can not flush that.
    """
    # Without a descriptor, or without a stream, there is nothing that could fail at the end.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        number = stream.fileno()  # type: ignore[union-attr]
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)


def flush() -> None:
    """Both streams; the end of the process has nothing left to fail at."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            mute(stream)


def bar_has_room() -> bool:
    """Whether stderr is a terminal, and not the one that shows the content on stdout."""
    try:
        bar, content = sys.stderr.fileno(), sys.stdout.fileno()
        mine, other = os.fstat(bar).st_rdev, os.fstat(content).st_rdev
        return os.isatty(bar) and not (os.isatty(content) and mine == other)
    except (OSError, ValueError, AttributeError):
        return False  # one of them is closed, or is none of the system's


class Progress:
    """A bar or lines on stderr until that fails, and nothing from then on; a context manager.

    Parameters
    ----------
    quiet : bool
        Nothing from the start. So it is without stderr.

    Examples
    --------
    >>> with Progress(quiet=True) as progress:
    ...     progress(DownloadStats(download_size=10))
    """

    def __init__(self, quiet: bool) -> None:
        self._tell = None if quiet or sys.stderr is None else as_callback(True, sys.stderr)

    def __call__(self, stats: DownloadStats) -> None:
        if self._tell is not None:
            self._try(self._tell, stats)

    @property
    def is_on(self) -> bool:
        """Whether anything is shown."""
        return self._tell is not None

    def watch(self, block_map: Callable[[int], list[float]]) -> None:
        """Where a bar gets its map."""
        watch = getattr(self._tell, "watch", None)
        if watch is not None:
            watch(block_map)

    def close(self) -> None:
        """Leave the last picture where it is. May be called twice."""
        close = getattr(self._tell, "close", None)
        if close is not None:
            self._try(close)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _try(self, write: Callable[..., object], *stats: DownloadStats) -> None:
        try:
            write(*stats)
        except (OSError, ValueError):
            self._tell = None
            mute(sys.stderr)
