"""Starts the interpreter of an isolated download, and says how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

from largefile.engine.channel import Channel

__all__ = ["ending", "import_path", "start", "working_folder"]

#: The child's whole program.
PROGRAM = """import sys  # an isolated download of largefile
sys.path[:] = sys.argv[4:]
from largefile.engine.child import main
main()"""


def start(theirs: Channel, memory: int, folder: str | None) -> subprocess.Popen[bytes]:
    """Start a child over its end of a channel and the memory of a board, in `folder`; OSError if it can't be.

    File names are written in the same encoding there as here.
    """
    words = [str(theirs.fileno()), str(memory), str(os.getpid())]
    told = {
        "-B": sys.flags.dont_write_bytecode,
        "-E": sys.flags.ignore_environment,
        "-s": sys.flags.no_user_site,
    }
    flags = [*(flag for flag in told if told[flag]), "-X", f"utf8={sys.flags.utf8_mode}"]
    # A Ctrl-C is for the whole group, and must not meet a child that does not ignore it yet.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(
            [sys.executable, *flags, "-c", PROGRAM, *words, *import_path()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if is_open(2) else subprocess.DEVNULL,
            # Where we are already there is no way by name to go: it may be too long, or not ours to go.
            cwd=folder if folder != working_folder() else None,
            pass_fds=(theirs.fileno(), memory),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def import_path() -> list[str]:
    """Where the child imports from: where we do, but for what the caller may have where he works.

    The standard library is the first, as the child needs modules of it that we have since our start. The
    working folder may have become another one, and is none; what was imported from it is the exception.
    """
    library = os.path.dirname(os.__file__)
    standard = (library, f"{library}/lib-dynload")
    ours = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    found = [
        ours if os.path.normpath(entry) == os.curdir else entry
        for entry in sys.path
        if isinstance(entry, str)  # others are passed over by the import too
    ]
    return sorted(found, key=lambda entry: entry not in standard)


def is_open(fd: int) -> bool:
    """Whether there is such a descriptor."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def working_folder() -> str | None:
    """Where relative names begin now; None if that folder is gone."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def ending(returncode: int) -> str:
    """How a process has ended, in words.

    Examples
    --------
    >>> ending(-9), ending(1)
    ('it was ended by SIGKILL', 'it ended with exit code 1')
    """
    if returncode < 0:
        with contextlib.suppress(ValueError):
            return f"it was ended by {signal.Signals(-returncode).name}"
        return f"it was ended by signal {-returncode}"
    return f"it ended with exit code {returncode}"
