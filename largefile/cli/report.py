"""What is said at the end: to people on stderr, to programs as one JSON object on stdout."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from largefile.cli.exits import OTHER, OutputError, exit_code
from largefile.cli.kept import hint
from largefile.cli.streams import mute, remark
from largefile.errors import CancelledError, DestinationExistsError, InternalError, LargeFileError
from largefile.log import log, silenced
from largefile.progress import human_bytes, shade
from largefile.stats import DownloadStatus

__all__ = ["Report", "delivered", "drawn", "logged", "printable", "say", "show", "summary"]

VOUCHERS = {
    "digest": "verified by its digest",
    "server-digest": "verified by the digest that the server gave",
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


class Report:
    """How this command was asked to speak; it is the ``obj`` of click's context."""

    def __init__(self, as_json: bool = False, blank: dict[str, Any] | None = None) -> None:
        self.as_json = as_json
        self.verbose = False
        #: What a failure's JSON object has beside `error` and `message`.
        self.blank = blank or {}
        #: The partial file that this command is about, and how to go on with it.
        self.part: str | None = None
        self.to_go_on = "run the same command again to go on"
        #: What else to say of a failure, for a command that has no file.
        self.afterword: Callable[[BaseException], str | None] | None = None

    @classmethod
    def of(cls, args: Sequence[str]) -> Report:
        """From the bare words of the command line, so that it can speak of mistakes in them too."""
        blank = DownloadStatus().as_dict() if "get" in args[:1] else {}
        # What comes from cat on stdout is content, and nothing else.
        return cls(as_json="--json" in args and "cat" not in args[:1], blank=blank)

    def json(self, found: dict[str, Any]) -> None:
        """One object on stdout. OutputError if it can not be written: a program waits for it."""
        import json  # few ask for it

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
            import traceback

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
        if self.afterword is not None:
            words = self.afterword(error)
        if words is not None:
            say(words)


def summary(status: DownloadStatus) -> list[str]:
    """The end of a good download, in lines."""
    resumed = f", {human_bytes(status.resumed_bytes)} of it resumed" if status.resumed_bytes else ""
    amount = human_bytes(status.download_size)
    lines = [
        f"{status.path}: {amount} in {pace(status.downloaded_bytes, status.duration)}{resumed}",
        voucher(status),
    ]
    return lines + [f"note: {note}" for note in status.notes]


def delivered(name: str, count: int, seconds: float, status: DownloadStatus) -> str:
    """The end of a content that was written to standard output, `count` bytes of it, in a line."""
    return f"{name}: {human_bytes(count)} in {pace(count, seconds)}; {voucher(status)}"


def pace(count: int, seconds: float) -> str:
    """How long `count` bytes took, and how fast that was."""
    return f"{seconds:.1f} s" + (f", {human_bytes(count / seconds)}/s" if seconds > 0 and count else "")


def voucher(status: DownloadStatus) -> str:
    """What vouches for the bytes."""
    words = VOUCHERS.get(status.verified_by or "size", str(status.verified_by))
    return f"{words} ({status.digest})" if status.digest else words


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


@contextlib.contextmanager
def logged(verbose: bool) -> Iterator[None]:
    """Show the library's log if that was asked for. What matters of it is in the notes at the end."""
    if not verbose:
        with silenced():
            yield
        return
    from largefile.cli.verbose import ToStderr

    logger, handler = log(), ToStderr(say)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel("DEBUG")
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
