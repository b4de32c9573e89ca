"""Standard output, for content: every byte is written, in order and without a copy, or it is said why not."""

from __future__ import annotations

import os
import re
import select
import stat
import sys
from typing import TYPE_CHECKING

import click

from largefile.cli.exits import OutputError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from largefile.engine.job import Control

__all__ = ["Outlet", "ReaderGoneError", "is_steering"]

#: Bytes of one write: as many as a pipe holds. When nobody reads, it is full after a whole piece, and the
#: next is not begun: `poll` waits instead, which can be stopped.
PIECE = 64 * 1024
#: Milliseconds between two looks at whether to stop, while nothing is taken.
LOOK = 100

#: What a terminal obeys instead of showing it; the last are the same as ESC and another, in UTF-8.
STEERING = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]|\xc2[\x80-\x9f]")


class ReaderGoneError(OutputError):
    """Whoever read what we write has ended: there is nobody to write for."""


class Outlet:
    """Standard output by its descriptor; for one thread that writes, and another that looks.

    Parameters
    ----------
    control : Control
        Ends a `write` that waits, by its reason.
    even_terminal : bool
        Whether a terminal gets everything, and not only text.

    Raises
    ------
    OutputError
        If standard output is closed.
    """

    def __init__(self, control: Control, *, even_terminal: bool = False) -> None:
        self.written = 0  #: bytes that were taken
        self.is_writing = False  #: a write is under way, of which nobody knows how far it is
        self._control = control
        self._fd = descriptor()
        self._guarded = os.isatty(self._fd) and not even_terminal
        self._last = b""  # the byte before a piece, where that may be the first half of what steers
        mode = os.fstat(self._fd).st_mode
        self._has_reader = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)

    def write(self, data: Buffer) -> None:
        """Write all of `data`.

        Raises
        ------
        OutputError
            If it can not be written.
        ReaderGoneError
            If nobody will read it.
        click.UsageError
            If it is no text, and this is a terminal.
        LargeFileError
            The reason why the work is cancelled.
        """
        with memoryview(data) as view:
            at = 0
            while at < len(view):
                with view[at : at + PIECE] as piece:
                    at += self._write_some(piece)

    def _write_some(self, piece: memoryview) -> int:
        """Write what is taken of `piece`, maybe nothing."""
        self._control.check()
        if not self._poll.poll(LOOK):
            return 0
        if self._guarded:
            self._check_text(piece)
        self.is_writing = True
        try:
            count = os.write(self._fd, piece)
        except BlockingIOError:
            return 0  # somebody made it one that does not block, and was quicker
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ReaderGoneError("whoever read standard output has ended") from error
        except OSError as error:
            raise OutputError(f"standard output: {error.strerror}") from error
        finally:
            self.is_writing = False
        self._last = bytes(piece[count - 1 : count]) if self._guarded else b""
        self.written += count
        return count

    def _check_text(self, piece: memoryview) -> None:
        if is_steering(self._last + piece):
            raise click.UsageError(
                "standard output is a terminal, and what comes is binary; -o - writes it all the same"
            )

    @property
    def is_deserted(self) -> bool:
        """Whether nobody is left to read, where that can be known without a write."""
        if not self._has_reader:
            return False
        poll = select.poll()
        poll.register(self._fd, 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def descriptor() -> int:
    """The number of standard output."""
    # Python has none for what was closed when it began, whatever was opened under that number since.
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    try:
        sys.stdout.flush()
        return sys.stdout.fileno()
    except (OSError, ValueError) as error:
        raise OutputError(f"standard output can not be written to: {error}") from error


def is_steering(data: bytes) -> bool:
    r"""Whether a terminal would do anything but show `data`, a part of a text in any encoding.

    Examples
    --------
    >>> is_steering("tab\t, größer\r\n".encode()), is_steering(b"\x1b[31m"), is_steering(b"PK\x03\x04")
    (False, True, True)
    """
    return STEERING.search(data) is not None
