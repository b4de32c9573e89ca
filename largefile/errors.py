"""Every error of the library: whose fault it is, what was found, and what was needed.

``CacheError`` is the disk's, ``TransferError`` the server's or the network's, ``InternalError`` ours;
a caller's mistake is a plain ValueError, TypeError or IndexError. Each error rebuilds itself from
``args``, so it crosses process pools by pickle, and says by `resumable` whether running the same call
again goes on from what is already on disk.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from largefile.core.ranges import ByteRange
    from largefile.stats import DownloadStatus

__all__ = [
    "CacheBusyError",
    "CacheError",
    "CacheIOError",
    "CachePoisonedError",
    "CancelledError",
    "DeadlineError",
    "DestinationExistsError",
    "DestinationInUseError",
    "DigestMismatchError",
    "EngineDiedError",
    "IncompleteError",
    "IndexCorruptError",
    "IndexVersionError",
    "InternalError",
    "InvalidBlockSizeError",
    "InvalidOffsetError",
    "LargeFileError",
    "NetworkError",
    "NotEnoughSpaceError",
    "NotFoundError",
    "PartialFileError",
    "PrivateAddressError",
    "ProtocolError",
    "ReadError",
    "RefusedError",
    "SourceChangedError",
    "StalledError",
    "ThrottledError",
    "TooLargeError",
    "TransferError",
    "UncachedRangeError",
    "UnsizedSourceError",
]


class LargeFileError(Exception):
    """Base of every error that this library raises for something that is not the caller's mistake.

    Attributes
    ----------
    resumable : bool
        Whether the same call, made again, goes on from what is already there.
    """

    resumable = False
    #: How far the download was that this error ended, if one was under way.
    status: DownloadStatus | None = None


# --- the disk ------------------------------------------------------------------------------------


class CacheError(LargeFileError):
    """The cache or the filesystem under it could not do what was asked."""


class InvalidBlockSizeError(CacheError, ValueError):
    """A write was not exactly one block long. Go: ``ErrCacheInvalidBlockSize``."""

    def __init__(self, found: int, needed: int) -> None:
        super().__init__(found, needed)
        self.found = found
        self.needed = needed

    def __str__(self) -> str:
        return f"{self.found} bytes given where a block of {self.needed} bytes is needed"


class InvalidOffsetError(CacheError, ValueError):
    """An offset outside of the content, or not at a block's start. Go: ``ErrCacheInvalidOffset``."""

    def __init__(self, offset: int, needed: str) -> None:
        super().__init__(offset, needed)
        self.offset = offset
        self.needed = needed

    def __str__(self) -> str:
        return f"offset {self.offset} must be {self.needed}"


class UncachedRangeError(CacheError, LookupError):
    """A read touched bytes that have not been downloaded yet. Go: ``ErrCacheUncachedRange``.

    Attributes
    ----------
    wanted : ByteRange
        What the caller asked for.
    missing : ByteRange
        The first gap inside `wanted`, rounded out to whole blocks.
    """

    resumable = True

    def __init__(self, wanted: ByteRange, missing: ByteRange) -> None:
        super().__init__(wanted, missing)
        self.wanted = wanted
        self.missing = missing

    def __str__(self) -> str:
        return f"bytes {self.wanted} are not all cached; first gap is {self.missing}"


class CacheIOError(CacheError, OSError):
    """The filesystem failed: `errno` and `filename` are the system's own words."""

    resumable = True

    def __init__(self, number: int, doing: str, path: str | None = None) -> None:
        OSError.__init__(self, number, doing, path)
        self.args = (number, doing, path)
        self.doing = doing

    def __str__(self) -> str:
        where = f" {self.filename}" if self.filename else ""
        return f"{self.doing}{where}: {os.strerror(self.errno or 0)}"


class NotEnoughSpaceError(CacheError, OSError):
    """The filesystem has no room for the file. Go: ``ErrNotEnoughSpace``.

    Attributes
    ----------
    needed, available : int
        Bytes still to be allocated, and bytes free to this user; -1 where not known.
    """

    resumable = True

    def __init__(self, path: str, needed: int, available: int) -> None:
        OSError.__init__(self, errno.ENOSPC, "not enough space", path)
        self.args = (path, needed, available)
        self.needed = needed
        self.available = available

    def __str__(self) -> str:
        free = f"{self.available} bytes are free" if self.available >= 0 else "the filesystem is full"
        need = f"{self.needed} more bytes are needed" if self.needed >= 0 else "more are needed"
        return f"not enough space for {self.filename}: {need}, {free}"


class CacheBusyError(CacheError):
    """Somebody else writes this cache. `owner` is the last known one, as the index says."""

    resumable = True

    def __init__(self, path: str, owner: str) -> None:
        super().__init__(path, owner)
        self.path = path
        self.owner = owner

    def __str__(self) -> str:
        return f"{self.path} is being written by somebody else (last known: {self.owner})"


class CachePoisonedError(CacheError):
    """A sync failed, so what was written since the last one may be lost; open the cache again."""

    resumable = True

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} can no longer be trusted in this process: {self.reason}"


class IndexCorruptError(CacheError):
    """The index can not be read. The files are left as they are."""

    def __init__(self, path: str, found: str) -> None:
        super().__init__(path, found)
        self.path = path
        self.found = found

    def __str__(self) -> str:
        return f"{self.path} is not a usable index: {self.found}"


class IndexVersionError(IndexCorruptError):
    """The index was written by a newer version of the library. The files are left as they are."""

    def __str__(self) -> str:
        return f"{self.path} has index format {self.found}; this version reads format 1"


class PartialFileError(CacheError):
    """A partial file that is not ours, is not whole, or does not fit its index; never touched."""

    def __init__(self, path: str, found: str) -> None:
        super().__init__(path, found)
        self.path = path
        self.found = found

    def __str__(self) -> str:
        return f"{self.path} is left untouched: {self.found}"


class DestinationExistsError(CacheError, FileExistsError):
    """The destination is already there and `overwrite` was not asked for."""

    def __init__(self, path: str) -> None:
        OSError.__init__(self, errno.EEXIST, "destination exists", path)
        self.args = (path,)

    def __str__(self) -> str:
        return f"{self.filename} exists; pass overwrite to replace it"


class DestinationInUseError(CacheError):
    """The partial file at the destination belongs to a download of something else."""

    def __init__(self, path: str, found: str, wanted: str) -> None:
        super().__init__(path, found, wanted)
        self.path = path
        self.found = found
        self.wanted = wanted

    def __str__(self) -> str:
        return f"{self.path} is a partial download of {self.found}, not of {self.wanted}"


class DigestMismatchError(CacheError):
    """The bytes are all there and are not the ones that the digest names."""

    def __init__(self, path: str, found: str, wanted: str, field: str | None = None) -> None:
        super().__init__(path, found, wanted, field)
        self.path = path
        self.found = found
        self.wanted = wanted
        self.field = field  #: where the server said so; None: the caller did

    def __str__(self) -> str:
        source = f" by the server's {self.field}" if self.field is not None else ""
        return f"{self.path} has digest {self.found}, needed {self.wanted}{source}"


# --- the server and the network ------------------------------------------------------------------


class TransferError(LargeFileError):
    """The server or the network did not deliver."""

    resumable = True


class ReadError(TransferError):
    """A Reader could not give a range. Carries Go's ``RetryResponse``.

    Attributes
    ----------
    retryable : bool
        Whether the same read may succeed later.
    retry_after : float or None
        Seconds that the source asked to wait, if it did.
    """

    def __init__(self, reason: str, retryable: bool = True, retry_after: float | None = None) -> None:
        super().__init__(reason, retryable, retry_after)
        self.reason = reason
        self.retryable = retryable
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.reason


class NetworkError(TransferError):
    """DNS, connection or TLS failure; `code` is libcurl's error number."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason, code)
        self.reason = reason
        self.code = code

    def __str__(self) -> str:
        return f"{self.reason} (libcurl error {self.code})" if self.code else self.reason


class StalledError(TransferError):
    """No byte came for longer than `timeout`."""


class DeadlineError(TransferError):
    """The whole job took longer than its `deadline`."""


class NotFoundError(TransferError):
    """404 or 410: there is nothing at this address."""


class RefusedError(TransferError):
    """401 or 403, or an address that our own rules refuse."""


class PrivateAddressError(RefusedError):
    """The address is not one of the public internet, and `allow_private` is False.

    Attributes
    ----------
    host : str
        The name in the URL, or in a redirect.
    address : str
        What it was resolved to; nothing was sent there.
    """

    def __init__(self, host: str, address: str) -> None:
        super().__init__(host, address)
        self.host = host
        self.address = address

    def __str__(self) -> str:
        return f"{self.host} is at {self.address}, which is not a public address (allow_private is False)"


class ThrottledError(TransferError):
    """429 or 503 until the retries were used up."""


class TooLargeError(RefusedError):
    """The content is larger than `max_size`.

    Attributes
    ----------
    name : str
        Where the content is.
    allowed : int
        `max_size`, in bytes.
    found : int or None
        Its size in bytes; None where the server did not say it, and more than `allowed` came.
    """

    resumable = False

    def __init__(self, name: str, allowed: int, found: int | None = None) -> None:
        super().__init__(name, allowed, found)
        self.name = name
        self.allowed = allowed
        self.found = found

    def __str__(self) -> str:
        found = "more" if self.found is None else self.found
        return f"{self.name} has {found} bytes, allowed are {self.allowed} (max_size)"


class ProtocolError(TransferError):
    """The server's answers can not be used: not HTTP as RFC 9110 has it."""


class UnsizedSourceError(ProtocolError):
    """The server does not say how large the content is, and this call needs to know."""


class SourceChangedError(TransferError):
    """The content is no longer the one that this download began with."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(found, wanted)
        self.found = found
        self.wanted = wanted

    def __str__(self) -> str:
        return f"the source changed: now {self.found}, was {self.wanted}"


class IncompleteError(TransferError):
    """Blocks are missing and the retries are used up; the partial file is kept."""


class CancelledError(TransferError):
    """The download was cancelled; the partial file is kept."""


class EngineDiedError(LargeFileError):
    """The process of an isolated download ended before its work did; the partial file is kept.

    Attributes
    ----------
    returncode : int or None
        As `subprocess.Popen` has it: the exit code, or the negative number of the signal that ended it;
        None where it did not even start.
    """

    resumable = True

    def __init__(self, reason: str, returncode: int | None = None) -> None:
        super().__init__(reason, returncode)
        self.reason = reason
        self.returncode = returncode

    def __str__(self) -> str:
        return f"the process of the download died: {self.reason}"


# --- us ------------------------------------------------------------------------------------------


class InternalError(LargeFileError):
    """A bug of this library. Go: ``ErrInternalError``."""
