"""The command line. `main` is the console script; click is imported in it, and rich only to draw a bar."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(args: Sequence[str] | None = None, prog_name: str = "largefile") -> None:
    """Run one command, and leave by `sys.exit` with its code. For a process of its own.

    The signal handlers of the process are this function's from here on.

    Parameters
    ----------
    args : sequence of str, optional
        What to do; by default what the process was called with.
    prog_name : str
        What the help calls the program.

    Raises
    ------
    SystemExit
        Always.

    Examples
    --------
    >>> main(["get", "http://example.org/x", "--bogus"])  # doctest: +SKIP
    largefile: error: No such option: --bogus (see largefile get --help)
    """
    # The imports take longer than the rest of many a command: Ctrl-C strikes there as well as anywhere.
    try:
        from largefile.cli.importing import importing
        from largefile.cli.stopping import SIGNALS

        SIGNALS.install()
        with importing():
            from largefile.cli.app import program
            from largefile.cli.streams import fill_descriptors

        fill_descriptors()
        program(args, prog_name=prog_name)
    except KeyboardInterrupt as error:
        from largefile.cli.app import leave
        from largefile.cli.report import Report

        leave(error, Report.of(sys.argv[1:] if args is None else args))
