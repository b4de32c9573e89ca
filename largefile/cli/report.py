"""What is said at the end: to people on stderr, to programs as one JSON object on stdout."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from largefile.cli.exits import OTHER, OutputError, exit_code
from largefile.cli.kept import hint
from largefile.cli.streams import mute, remark
from largefile.errors import CancelledError, DestinationExistsError, InternalError, LargeFileError
from largefile.progress import human_bytes, shade
from largefile.stats import DownloadStatus

__all__ = ["Report", "drawn", "printable", "say", "show", "summary"]

VOUCHERS = {
    "digest": "verified by its digest",
    "strong-etag": "one version throughout, by a strong ETag",
    "last-modified": "one version throughout, by Last-Modified",
    "size": "nothing but its size vouches for it",
}


def printable(text: str) -> str:
    """Text in one line, without what steers a terminal: servers choose parts of our messages."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))


def drawn(cells: Sequence[float]) -> str:
    """A block map, in characters that stdout has."""
    return shade(cells, ascii_only=not (sys.stdout.encoding or "").lower().startswith("utf"))


def show(text: str) -> None:
    """A line for people, on stderr; stdout is for what was asked for."""
    remark(printable(text))


def say(text: str) -> None:
    """A remark of the program."""
    show(f"largefile: {text}")


@dataclass
class Report:
    """How this command was asked to speak; it is the ``obj`` of click's context."""

    as_json: bool = False
    verbose: bool = False
    #: What a failure's JSON object has beside `error` and `message`.
    blank: dict[str, Any] = field(default_factory=dict)
    #: The partial file that this command is about, and how to go on with it.
    part: str | None = None
    to_go_on: str = "run the same command again to go on"

    @classmethod
    def of(cls, args: Sequence[str]) -> Report:
        """From the bare words of the command line, so that it can speak of mistakes in them too."""
        blank = DownloadStatus().as_dict() if "get" in args[:1] else {}
        return cls(as_json="--json" in args, blank=blank)

    def json(self, found: dict[str, Any]) -> None:
        """One object on stdout. OutputError if it can not be written: a program waits for it."""
        text = json.dumps(found)
        try:
            if sys.stdout is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            click.echo(text)
        except (OSError, ValueError) as error:
            mute(sys.stdout)
            why = getattr(error, "strerror", None) or error
            raise OutputError(f"the JSON could not be written on standard output: {why}") from error

    def fail(self, error: BaseException) -> int:
        """Say what went wrong; the exit code."""
        code, message = exit_code(error), message_of(error)
        say(f"error: {message}")
        self._say_rest(error)
        if self.verbose or is_bug(error):
            remark("".join(traceback.format_exception(error)), nl=False)
        if self.as_json and not isinstance(error, OutputError):
            self._fail_in_json(error, message)
        return code

    def _fail_in_json(self, error: BaseException, message: str) -> None:
        """The failure as an object; if nobody takes it, the exit code stays that of the failure."""
        status = getattr(error, "status", None)
        base = status.as_dict() if isinstance(status, DownloadStatus) else self.blank
        try:
            self.json(base | {"error": name_of(error), "message": message})
        except OutputError as lost:
            say(str(lost))

    def _say_rest(self, error: BaseException) -> None:
        """What was noticed on the way, and how to go on."""
        status = getattr(error, "status", None)
        for note in status.notes if isinstance(status, DownloadStatus) else ():
            say(f"note: {note}")
        words = hint(error, self.part, self.to_go_on) if self.part is not None else None
        if words is not None:
            say(words)


def summary(status: DownloadStatus) -> list[str]:
    """The end of a good download, in lines."""
    seconds, came = status.duration, status.downloaded_bytes
    rate = f", {human_bytes(came / seconds)}/s" if seconds > 0 and came else ""
    resumed = f", {human_bytes(status.resumed_bytes)} of it resumed" if status.resumed_bytes else ""
    voucher = VOUCHERS.get(status.verified_by or "size", str(status.verified_by))
    lines = [
        f"{status.path}: {human_bytes(status.download_size)} in {seconds:.1f} s{rate}{resumed}",
        f"{voucher}{f' ({status.digest})' if status.digest else ''}",
    ]
    return lines + [f"note: {note}" for note in status.notes]


def message_of(error: BaseException) -> str:
    """What happened, in one line."""
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx is not None else "largefile"
        text = f"{error.format_message().rstrip('.')} (see {command} --help)"
    elif isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, KeyboardInterrupt | click.Abort):
        text = "interrupted"
    elif isinstance(error, DestinationExistsError):
        text = f"{error.filename} exists; --overwrite replaces it"
    elif isinstance(error, OSError) and not isinstance(error, LargeFileError) and error.filename:
        text = f"{error.filename}: {error.strerror}"
    elif is_bug(error):
        text = f"a bug of largefile: {type(error).__name__}: {error}"
    else:
        text = str(error) or type(error).__name__
    return printable(text)


def name_of(error: BaseException) -> str:
    """The class to name in JSON; however an interruption reached us, it has one name."""
    return CancelledError.__name__ if exit_code(error) == 130 else type(error).__name__


def is_bug(error: BaseException) -> bool:
    """Whether nobody but us can be to blame."""
    known = isinstance(error, LargeFileError | click.ClickException)
    return isinstance(error, InternalError) or (exit_code(error) == OTHER and not known)
