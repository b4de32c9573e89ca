"""``largefile selftest``: the proofs behind the promises, run on your machine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click

from largefile.cli.report import Report, printable

if TYPE_CHECKING:
    from largefile.testing.hostile.runner import Result

__all__ = ["selftest"]


@click.group(short_help="Prove the promises on this machine.")
def selftest() -> None:
    """Run the proofs behind the promises, on loopback and in folders of their own."""


@selftest.command(short_help="A server that does wrong in every way that was ever met.")
@click.option("--filter", "wanted", default="", metavar="TEXT", help="Only cases with this in their names.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=8, show_default=True, metavar="N", help="So many at once."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def hostile(report: Report, /, wanted: str, jobs: int, as_json: bool) -> int:
    """Download from a server that lies, stalls, cuts, changes its mind and leads astray.

    Each case is judged by the bytes that came of it. "undecidable" is a wrong file that nothing in the
    answers could have told from the right one: only a digest can. Exits with 0 if no file was wrong and
    nothing hung.
    """
    from largefile.testing.hostile.catalogue import cases
    from largefile.testing.hostile.runner import Ours, Summary, play_all

    chosen = cases(wanted)
    if not chosen:
        raise click.UsageError(f"no case has {wanted!r} in its name")
    logging.getLogger("largefile").addHandler(logging.NullHandler())  # what goes wrong is in the table
    results: list[Result] = []
    for result in play_all(chosen, jobs, Ours()):
        results.append(result)
        if not as_json:
            click.echo(printable(line(result)))
    summary = Summary.of(results)
    if as_json:
        report.json({"results": [result.as_dict() for result in results], "summary": summary.as_dict()})
    else:
        click.echo(str(summary))
    return 0 if summary.is_good else 1


def line(result: Result) -> str:
    """One row of the table."""
    cause = f"  {result.cause}" if result.cause else ""
    return f"{result.outcome.value:<11} {result.seconds:5.1f} s  {result.case.name}{cause}"
