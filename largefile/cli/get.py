"""``largefile get``: fetch a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from largefile.cli.exits import OutputError
from largefile.cli.importing import importing
from largefile.cli.inputs import destination
from largefile.cli.options import GET, Waiting, renamed, with_options
from largefile.cli.report import Report, logged, say, show, summary
from largefile.cli.stopping import SIGNALS, awaited
from largefile.cli.streams import Progress

if TYPE_CHECKING:
    from largefile.stats import DownloadStatus

__all__ = ["get"]


@click.command(cls=Waiting, short_help="Fetch a file; go on where an earlier run stopped.")
@click.argument("url")
@with_options(GET)
@click.pass_obj
def get(
    report: Report,
    /,
    url: str,
    output: str | None,
    no_resume: bool,
    no_repair: bool,
    no_durable: bool,
    overwrite: bool,
    on_change: str,
    wait: float,
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
    if output == "-":
        if as_json:
            raise click.UsageError("--json needs standard output, and so does -o -")
        from largefile.cli.cat import to_stdout  # what a file has no need of

        return to_stdout(report, url, renamed(options), even_terminal=True, quiet=quiet)
    if no_resume:
        report.to_go_on = "run the same command without --no-resume to go on"
    dest = destination(url, output)
    report.part = f"{dest}.part"
    of_files = {
        "resume": not no_resume,
        "repair": not no_repair,
        "durable": not no_durable,
        "overwrite": overwrite,
        "on_change": on_change,
        "wait": wait,
    }
    with logged(verbose):
        status = fetch(url, dest, quiet, renamed(options) | of_files)
    if as_json:
        answer(report, status)
    elif not quiet:
        for text in summary(status):
            show(text)
    return None


def answer(report: Report, status: DownloadStatus) -> None:
    """The status as JSON; where it can not be written, stderr is told that the file is there."""
    try:
        report.json(status.as_dict())
    except OutputError as error:
        raise OutputError(f"{error}; {status.path} is complete") from error


def fetch(url: str, dest: str, quiet: bool, settings: dict[str, Any]) -> DownloadStatus:
    """Download, showing how far it is."""
    # Imported here: mistakes in the arguments, and the help, need no network and should not wait for it.
    with importing():
        from largefile.caching import start_download

    with Progress(quiet) as progress:
        # Before the job begins: from here on a signal finds something that it can cancel.
        SIGNALS.hush()
        job = start_download(url, dest, progress=None if quiet else progress, **settings)
        told: list[str] = []

        def tell() -> None:
            """For whom it waits: once, and again when that is another one."""
            if (words := job.waiting_for) is not None and words not in told[-1:] and not quiet:
                told.append(words)
                say(f"waiting: {words}")

        return awaited(job, look=tell)
