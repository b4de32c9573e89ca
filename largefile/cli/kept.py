"""What a download that failed has left, and whether the same command goes on from there."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import click

from largefile.errors import (
    CacheBusyError,
    LargeFileError,
    NotEnoughSpaceError,
    NotFoundError,
    ProtocolError,
    ReadError,
    RefusedError,
    SourceChangedError,
    TransferError,
)
from largefile.progress import human_bytes

if TYPE_CHECKING:
    from largefile.disk.index import Index

__all__ = ["hint", "way_on"]

#: The server has decided: the same request would get the same answer.
FINAL = (NotFoundError, RefusedError, ProtocolError, SourceChangedError)


def hint(error: BaseException, part: str, again: str) -> str | None:
    """What is kept in `part` and how to go on; None if nothing is, or `error` has nothing to do with it.

    Parameters
    ----------
    error
        What ended the command.
    part : str
        The partial file, which may be missing.
    again : str
        How to run the command again.
    """
    on = way_on(error, again)
    if on is None and not isinstance(error, TransferError):
        return None
    found = kept(part)
    if found is None:
        return None
    have, size = found
    words = f"{human_bytes(have)} of {human_bytes(size)} are kept in {part}"
    return f"{words}; {on}" if on else words


def way_on(error: BaseException, again: str) -> str | None:
    """How to go on after `error`; None if the same command would only end the same way.

    Examples
    --------
    >>> way_on(TransferError("cut"), "try again"), way_on(NotFoundError("404"), "try again")
    ('try again', None)
    >>> way_on(NotEnoughSpaceError("x", 2, 1), "try again")
    'free some space, then try again'
    """
    if isinstance(error, CacheBusyError):
        return f"once that process has ended, {again}"
    if isinstance(error, NotEnoughSpaceError):
        return f"free some space, then {again}"
    if isinstance(error, FINAL) or (isinstance(error, ReadError) and not error.retryable):
        return None
    if isinstance(error, TransferError):
        return again if error.resumable else None
    return again if isinstance(error, KeyboardInterrupt | click.Abort) else None


def kept(part: str) -> tuple[int, int] | None:
    """Bytes in place in a partial file of ours, and its size; None if it is none, or has no whole block."""
    # A failure may come before any of this was needed, and most of what is used here is slow to import.
    if not os.path.exists(part):
        return None
    from largefile.disk.index import Index
    from largefile.disk.opening import open_cache_files

    try:
        data, index_file = open_cache_files(part, f"{part}.idx", read_only=True)
        with closing(data), closing(index_file):
            index = Index.open(index_file, writable=False)
            try:
                return counted(index)
            finally:
                index.release()
    except (LargeFileError, OSError):
        return None


def counted(index: Index) -> tuple[int, int] | None:
    """The same, by the sealed entries alone: nothing is hashed to give a hint."""
    from largefile.core.bitmap import Bitmap
    from largefile.disk.header import State

    header = index.header
    sealed = Bitmap(header.num_blocks)
    blocks = index.live.scan(sealed)
    if header.state is not State.FILLING or not blocks:
        return None
    last = header.num_blocks - 1
    missing_at_end = header.num_blocks * header.block_size - header.content_size
    short = missing_at_end if sealed.find_set(last) == last else 0
    return blocks * header.block_size - short, header.content_size
