"""The program: its commands, and the one place where an error becomes a line of text and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

import largefile
from largefile.cli.cat import cat
from largefile.cli.demo import demo
from largefile.cli.exits import MEANINGS
from largefile.cli.get import get
from largefile.cli.info import export, info
from largefile.cli.report import Report
from largefile.cli.selftest import selftest
from largefile.cli.stopping import SIGNALS
from largefile.cli.streams import flush, remark
from largefile.cli.verify import verify

__all__ = ["leave", "program"]

CODES = "\b\nExit codes:\n" + "\n".join(f"  {code:3}  {words}" for code, words in MEANINGS.items())


class Program(click.Group):
    """A group of commands whose every failure ends in `Report.fail`."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run, and leave by `sys.exit` with a code of the table."""
        given = list(sys.argv[1:] if args is None else args)
        report = Report.of(given)
        try:
            code = super().main(given, *rest, **extra | {"standalone_mode": False, "obj": report})
        except click.exceptions.NoArgsIsHelpError as error:
            remark(error.format_message())
            code = error.exit_code
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - all that there is ends here
            leave(interruption(error) or error, report)
        SIGNALS.hush()
        flush()
        sys.exit(code if isinstance(code, int) else 0)


def interruption(error: BaseException) -> KeyboardInterrupt | None:
    """The signal that `error` is the consequence of: it may strike inside of anything, and break it."""
    found: BaseException | None = error
    while SIGNALS.count and found is not None:
        if isinstance(found, KeyboardInterrupt):
            return found
        found = found.__context__
    return None


def leave(error: BaseException, report: Report) -> NoReturn:
    """Say what went wrong, and exit with its code."""
    SIGNALS.hush()
    code = report.fail(error)
    flush()
    sys.exit(code)


@click.group(
    cls=Program,
    epilog=CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(largefile.__version__, prog_name="largefile", message="%(prog)s %(version)s")
def program() -> None:
    """Move very large files over HTTP: many ranged requests at once, resumable after any crash.

    \b
    largefile get https://example.org/model.bin       fetch, or go on fetching
    largefile cat https://example.org/x.tar | tar x   use it while it comes
    largefile info model.bin                          how far is it?
    largefile demo                                    see it work, without any network
    largefile selftest hostile                        see what it makes of a server that lies
    """


for command in (get, cat, info, verify, export, demo, selftest):
    program.add_command(command)
