"""``largefile get``: fetch a file."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from largefile.cli.exits import OutputError
from largefile.cli.inputs import (
    count_or_auto,
    credentials,
    destination,
    headers,
    proxy,
    rate,
    size_or_auto,
)
from largefile.cli.report import Report, say, show, summary
from largefile.cli.stopping import SIGNALS, awaited
from largefile.cli.streams import Progress

if TYPE_CHECKING:
    from largefile.stats import DownloadStatus

__all__ = ["get"]

OPTIONS = [
    click.option("-o", "--output", metavar="FILE", help="Where to; a folder takes the URL's own name."),
    click.option(
        "-x",
        "--connections",
        callback=count_or_auto,
        metavar="N|auto",
        default="auto",
        show_default=True,
        help="Transfers at once, 1 to 256.",
    ),
    click.option(
        "--block-size",
        callback=size_or_auto,
        default="auto",
        show_default=True,
        metavar="SIZE",
        help="Bytes of bookkeeping, 4K to 1G. A partial file keeps the one it began with.",
    ),
    click.option(
        "--digest",
        "--checksum",
        "digest",
        metavar="ALG:HEX",
        help="Verify the file from end to end, e.g. sha256:1f8a...",
    ),
    click.option(
        "--limit-rate", callback=rate, metavar="RATE", help="Bytes a second over all, e.g. 500K or 10M."
    ),
    click.option(
        "-H", "--header", "lines", multiple=True, metavar="'K: V'", help="Send this too; may be repeated."
    ),
    click.option("--user", metavar="NAME:PASSWORD", help="Sign in; asks for a password that is left out."),
    click.option("--no-resume", is_flag=True, help="Throw away what an earlier run has left."),
    click.option(
        "--timeout",
        type=float,
        default=20.0,
        show_default=True,
        metavar="S",
        help="Seconds without a byte before a transfer is made again.",
    ),
    click.option(
        "--connect-timeout",
        type=float,
        default=10.0,
        show_default=True,
        metavar="S",
        help="Seconds for a connection.",
    ),
    click.option("--deadline", type=float, metavar="S", help="Seconds for the whole download."),
    click.option("--no-durable", is_flag=True, help="Do not sync to disk before the end."),
    click.option("--overwrite", is_flag=True, help="Replace FILE if it is there."),
    click.option(
        "--on-change",
        type=click.Choice(["restart", "fail"]),
        default="restart",
        show_default=True,
        help="When the source has changed since the partial file was begun.",
    ),
    click.option("--ca-file", metavar="FILE", help="Certificate authorities to trust, as PEM."),
    click.option(
        "--proxy",
        callback=proxy,
        metavar="URL",
        help="Use this proxy, of http, https or socks; '' for none. [default: by the environment]",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout at the end."),
    click.option("-v", "--verbose", is_flag=True, help="Log what happens, and show tracebacks."),
]


def with_options(command: Any) -> Any:
    """`command` with all of OPTIONS, in their order."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.command(short_help="Fetch a file; go on where an earlier run stopped.")
@click.argument("url")
@with_options
@click.pass_obj
def get(
    report: Report,
    /,
    url: str,
    output: str | None,
    lines: tuple[str, ...],
    user: str | None,
    quiet: bool,
    as_json: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Fetch URL, by many ranged requests at once, into FILE.

    Until it is complete the bytes are in FILE.part, with an index beside it in FILE.part.idx. After an
    interruption, whatever it was, the same command goes on from there. FILE appears only when it is whole.
    """
    report.verbose = verbose
    if options["no_resume"]:
        report.to_go_on = "run the same command without --no-resume to go on"
    dest = destination(url, output)
    report.part = f"{dest}.part"
    settings = renamed(options) | {"headers": headers(lines), "auth": credentials(user)}
    with logged(verbose):
        status = fetch(url, dest, quiet, settings)
    if as_json:
        answer(report, status)
    elif not quiet:
        for text in summary(status):
            show(text)


def renamed(options: dict[str, Any]) -> dict[str, Any]:
    """The options of the command line by their names in the library."""
    found = dict(options)
    found["concurrency"] = found.pop("connections")
    found["rate"] = found.pop("limit_rate")
    found["resume"] = not found.pop("no_resume")
    found["durable"] = not found.pop("no_durable")
    return found


def answer(report: Report, status: DownloadStatus) -> None:
    """The status as JSON; where it can not be written, stderr is told that the file is there."""
    try:
        report.json(status.as_dict())
    except OutputError as error:
        raise OutputError(f"{error}; {status.path} is complete") from error


def fetch(url: str, dest: str, quiet: bool, settings: dict[str, Any]) -> DownloadStatus:
    """Download, showing how far it is."""
    # Imported here: mistakes in the arguments, and the help, need no network and should not wait for it.
    from largefile.caching import start_download

    with Progress(quiet) as progress:
        # Before the job begins: from here on a signal finds something that it can cancel.
        SIGNALS.hush()
        return awaited(start_download(url, dest, progress=None if quiet else progress, **settings))


class ToStderr(logging.Handler):
    """Log records as lines; sys.stderr is looked up each time, as a live bar stands in for it."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


@contextlib.contextmanager
def logged(verbose: bool) -> Iterator[None]:
    """Show the library's log if that was asked for. What matters of it is in the notes at the end."""
    log = logging.getLogger("largefile")
    handler = ToStderr() if verbose else logging.NullHandler()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if verbose else logging.ERROR)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
