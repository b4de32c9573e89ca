"""The program: its commands, and the one place where an error becomes a line of text and an exit code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

import largefile
from largefile.cli.exits import MEANINGS
from largefile.cli.importing import importing
from largefile.cli.report import Report
from largefile.cli.stopping import SIGNALS
from largefile.cli.streams import flush, remark

__all__ = ["leave", "program"]

CODES = "\b\nExit codes:\n" + "\n".join(f"  {code:3}  {words}" for code, words in MEANINGS.items())

#: The module that each command is in, imported when the command is asked for: most have much to import.
HOMES = {
    "cat": "cat",
    "demo": "demo",
    "export": "info",
    "get": "get",
    "info": "info",
    "selftest": "selftest",
    "verify": "verify",
}


class Program(click.Group):
    """A group of commands whose every failure ends in `Report.fail`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, for the help."""
        return sorted(HOMES)

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        """The command of this name, if there is one."""
        # For an unknown name click looks for one that is like it, among all that were added.
        for name in [cmd_name] if cmd_name in HOMES else HOMES:
            if name not in self.commands:
                with importing():
                    home = importlib.import_module(f"largefile.cli.{HOMES[name]}")
                self.add_command(getattr(home, name))
        return self.commands.get(cmd_name)

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
