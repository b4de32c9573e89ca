"""``largefile cat``: write a content to standard output, in order, while many ranges of it are fetched.

The writing is a `Job`, on a thread of its own, and the command's thread only looks: at signals, at the
deadline, and at whether anybody still reads. So each of them is answered at once, wherever the job is stuck:
in a request, or in a write to a pipe that nobody empties, which nothing can be relied on to interrupt.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from largefile.cli.kept import way_on
from largefile.cli.options import CAT, renamed, with_options
from largefile.cli.outlet import Outlet, ReaderGoneError
from largefile.cli.report import Report, delivered, logged, show
from largefile.cli.stopping import SIGNALS
from largefile.cli.streams import Progress, bar_has_room
from largefile.engine.job import Control, Job
from largefile.engine.options import check_seconds
from largefile.errors import CancelledError, DigestMismatchError, LargeFileError
from largefile.rules.redirects import display_url
from largefile.stats import DownloadStats, StreamingStatus

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cat", "to_stdout"]

#: Seconds between two looks.
LOOK = 0.1
#: Seconds for a job that is to stop. Nothing is lost without that: it has no file.
PATIENCE = 0.5


@click.command(short_help="Write a file to standard output, in order.")
@click.argument("url")
@with_options(CAT)
@click.pass_obj
def cat(report: Report, /, url: str, output: str | None, quiet: bool, verbose: bool, **options: Any) -> None:
    """Write the content of URL to standard output, in order, while many ranges of it are fetched at once.

    \b
    largefile cat https://example.org/data.tar | tar x
    largefile cat https://example.org/disk.img --digest sha256:1f8a... > disk.img

    Nothing is kept on disk, and --window is all the memory that it takes. A terminal gets text, and anything
    else only with -o -. Who reads may stop reading: that is no error. After a failure, stderr says how many
    bytes were written, and --offset goes on from there. A wrong digest is found at the end, when all is
    written: check the exit code (10) before you trust what came. `largefile get` writes files.
    """
    if output not in (None, "-"):
        raise click.UsageError(
            f"cat writes to standard output; `largefile get URL -o {output}` writes a file"
        )
    report.verbose = verbose
    to_stdout(report, url, renamed(options), even_terminal=output == "-", quiet=quiet)


def to_stdout(
    report: Report, url: str, settings: dict[str, Any], *, even_terminal: bool, quiet: bool
) -> None:
    """Stream `url` to standard output.

    Parameters
    ----------
    report : Report
        Is given what to add to a failure.
    url : str
        From where.
    settings : dict
        Options of `largefile.stream`.
    even_terminal : bool
        Whether a terminal gets what is no text, too.
    quiet : bool
        Nothing on stderr but errors.
    """
    deadline = check_seconds("deadline", settings.pop("deadline"))
    control = Control()
    outlet = Outlet(control, even_terminal=even_terminal)
    with logged(report.verbose), Progress(quiet or not bar_has_room()) as progress:
        outflow = Outflow(url, outlet, control, settings, progress)
        report.afterword = outflow.afterword
        # Before the job begins: from here on a signal finds something that it can cancel.
        SIGNALS.hush()
        control.set_deadline(deadline)
        try:
            status = outflow.run()
        except ReaderGoneError:
            return
    if not quiet:
        show(delivered(display_url(url), outlet.written, outflow.elapsed, status))


class Outflow:
    """One content on its way to standard output."""

    def __init__(
        self, url: str, outlet: Outlet, control: Control, settings: dict[str, Any], progress: Progress
    ) -> None:
        # Imported here: mistakes in the arguments, and the help, need no network and should not wait for it.
        from largefile.streaming import stream

        self._open: Callable[..., Any] = stream
        self._url = url
        self._outlet = outlet
        self._control = control
        self._settings = settings
        self._progress = progress
        self._first: int = settings.get("offset", 0)
        self._size: int | None = None
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._started

    def run(self) -> StreamingStatus:
        """Write all of it; while that goes on, see to it that it can be stopped.

        Raises
        ------
        LargeFileError
            What ended it early: `CancelledError` after a signal, `DeadlineError`, `ReaderGoneError`, …
        """
        job = Job(self._pour, self._control, DownloadStats)
        try:
            self._watch(job)
            return job.result()
        except CancelledError as found:
            reason = self._control.reason or found
            reason.status = found.status
            raise reason from None

    def _watch(self, job: Job[StreamingStatus]) -> None:
        """Until the job is over, or has been told to stop and does not."""
        late: float | None = None
        while not job.done:
            if not self._control.cancelled():
                self._look()
            elif late is None:
                late = time.monotonic() + PATIENCE
            elif time.monotonic() > late:
                raise self._control.reason or CancelledError("interrupted")
            # A TimeoutError may be the job's own: `done` tells.
            with contextlib.suppress(TimeoutError):
                job.result(timeout=LOOK)

    def _look(self) -> None:
        """Cancel the job if there is a reason."""
        if SIGNALS.count:
            self._control.cancel(CancelledError("interrupted"))
        elif self._outlet.is_deserted and not self._is_written:
            self._control.cancel(ReaderGoneError("whoever read standard output has ended"))

    @property
    def _is_written(self) -> bool:
        """Whether nothing is left to write: then nobody needs to read, and a digest still tells."""
        return self._size is not None and self._first + self._outlet.written >= self._size

    # --- the job ---------------------------------------------------------------------------------

    def _pour(self) -> StreamingStatus:
        """Every block, as soon as it is there."""
        progress = self._tell if self._progress.is_on else None
        with self._open(self._url, progress=progress, **self._settings, _control=self._control) as source:
            self._size = source.content_length
            for block in source:
                with block:
                    self._outlet.write(block)
            status: StreamingStatus = source.status()
        self._tell(status)
        return status

    def _tell(self, stats: DownloadStats) -> None:
        """Progress is what was written, and not what has come."""
        self._progress(replace(stats, cached_or_streamed_bytes=self._first + self._outlet.written))

    # --- what to say -----------------------------------------------------------------------------

    def afterword(self, error: BaseException) -> str | None:
        """What `error` means for what was written, and how to go on."""
        if not isinstance(error, LargeFileError | click.UsageError | KeyboardInterrupt):
            return None
        count = self._outlet.written
        if isinstance(error, DigestMismatchError):
            return f"the {count} bytes that were written are wrong: do not use them"
        if not count and isinstance(error, click.UsageError):
            return None
        if self._outlet.is_writing:
            return f"{count} bytes were written, or a few more"
        on = way_on(error, f"--offset {self._first + count} goes on from there")
        words = f"{count} bytes were written"
        return f"{words}; {on}" if on and count and self._size is not None else words
