"""What the shell is told: one table from the classes of errors to exit codes."""

from __future__ import annotations

import click

from largefile.errors import (
    CacheBusyError,
    CacheError,
    CancelledError,
    DeadlineError,
    DestinationExistsError,
    DigestMismatchError,
    IncompleteError,
    InternalError,
    LargeFileError,
    NetworkError,
    NotEnoughSpaceError,
    NotFoundError,
    ProtocolError,
    RefusedError,
    SourceChangedError,
    StalledError,
    ThrottledError,
    TransferError,
)

__all__ = ["EXIT_CODES", "MEANINGS", "OK", "OTHER", "OutputError", "exit_code"]

OK, OTHER = 0, 1


class OutputError(LargeFileError):
    """What was asked for could not be written on standard output."""


#: The first class that an error is an instance of decides, so the special ones stand before the general.
EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (KeyboardInterrupt, 130),
    (CancelledError, 130),
    (click.Abort, 130),
    (NotFoundError, 3),
    (NetworkError, 4),
    (StalledError, 5),
    (DeadlineError, 5),
    (RefusedError, 6),
    (IncompleteError, 7),
    (ProtocolError, 8),  # UnsizedSourceError is one
    (NotEnoughSpaceError, 9),
    (DigestMismatchError, 10),
    (CacheBusyError, 11),
    (SourceChangedError, 12),
    (DestinationExistsError, 13),
    (ThrottledError, 15),
    (TransferError, 7),
    (InternalError, OTHER),
    # Some errors of the cache are also a ValueError; what the shell is told is that the disk failed.
    (CacheError, 14),
    (OutputError, 14),
    (click.FileError, 14),
    (click.UsageError, 2),
    (OSError, 14),
    (ValueError, 2),
    (TypeError, 2),
)

MEANINGS = {
    0: "ok",
    1: "other",
    2: "wrong usage",
    3: "not found",
    4: "network, DNS or TLS",
    5: "timed out or too slow",
    6: "refused",
    7: "incomplete, can be resumed",
    8: "the server cannot do what is needed",
    9: "not enough space",
    10: "digest mismatch",
    11: "another process owns this download",
    12: "the source changed",
    13: "destination exists",
    14: "local I/O",
    15: "throttled",
    130: "interrupted, the partial file is kept",
}


def exit_code(error: BaseException) -> int:
    """The exit code for `error`.

    Examples
    --------
    >>> exit_code(NotFoundError("404 Not Found")), exit_code(ValueError("too large")), exit_code(KeyError())
    (3, 2, 1)
    """
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), OTHER)
