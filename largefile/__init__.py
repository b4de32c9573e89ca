"""Move very large files over HTTP: parallel ranges, each byte written once, resumable after any crash.

>>> import largefile
>>> status = largefile.download("https://example.org/model.bin", "model.bin")   # doctest: +SKIP
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as `typing` has it, which alone would cost more than all the rest of this file
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

# Where each public name lives. They are imported when first used: `import largefile` costs nothing.
_HOMES = {
    "caching": ["CachingDownloader", "download", "start_download"],
    "core.byteranges": ["ByteRanges", "ByteRangesTracker"],
    "core.ranges": ["ByteRange", "num_blocks", "range_for_index", "ranges"],
    "disk.cache": ["DownloadCache", "LocalDownloadCache"],
    "disk.create": ["create_cache_files"],
    "disk.files": ["CacheFile"],
    "disk.opening": ["cache_files_exist", "open_cache_files"],
    "disk.reserve": ["reserve_space"],
    "errors": [
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
    ],
    "remote": ["RemoteFile", "open"],
    "rules.rate": ["RateController"],
    "rules.retry": ["Backoff", "RetryResponse"],
    "streaming": ["StreamingDownloader", "stream"],
    "stats": ["DownloadStats", "DownloadStatus", "StreamingStatus"],
    "wire.http": ["HTTPReader"],
    "wire.readers": ["FileReader", "Reader"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
#: The same verbs, awaitable: a module, imported when first used, as it needs asyncio.
_MODULES = ("aio",)

__all__ = ["__version__", *_MODULES, *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from largefile import aio as aio
    from largefile.caching import CachingDownloader as CachingDownloader
    from largefile.caching import download as download
    from largefile.caching import start_download as start_download
    from largefile.core.byteranges import ByteRanges as ByteRanges
    from largefile.core.byteranges import ByteRangesTracker as ByteRangesTracker
    from largefile.core.ranges import ByteRange as ByteRange
    from largefile.core.ranges import num_blocks as num_blocks
    from largefile.core.ranges import range_for_index as range_for_index
    from largefile.core.ranges import ranges as ranges
    from largefile.disk.cache import DownloadCache as DownloadCache
    from largefile.disk.cache import LocalDownloadCache as LocalDownloadCache
    from largefile.disk.create import create_cache_files as create_cache_files
    from largefile.disk.files import CacheFile as CacheFile
    from largefile.disk.opening import cache_files_exist as cache_files_exist
    from largefile.disk.opening import open_cache_files as open_cache_files
    from largefile.disk.reserve import reserve_space as reserve_space
    from largefile.errors import CacheBusyError as CacheBusyError
    from largefile.errors import CacheError as CacheError
    from largefile.errors import CacheIOError as CacheIOError
    from largefile.errors import CachePoisonedError as CachePoisonedError
    from largefile.errors import CancelledError as CancelledError
    from largefile.errors import DeadlineError as DeadlineError
    from largefile.errors import DestinationExistsError as DestinationExistsError
    from largefile.errors import DestinationInUseError as DestinationInUseError
    from largefile.errors import DigestMismatchError as DigestMismatchError
    from largefile.errors import EngineDiedError as EngineDiedError
    from largefile.errors import IncompleteError as IncompleteError
    from largefile.errors import IndexCorruptError as IndexCorruptError
    from largefile.errors import IndexVersionError as IndexVersionError
    from largefile.errors import InternalError as InternalError
    from largefile.errors import InvalidBlockSizeError as InvalidBlockSizeError
    from largefile.errors import InvalidOffsetError as InvalidOffsetError
    from largefile.errors import LargeFileError as LargeFileError
    from largefile.errors import NetworkError as NetworkError
    from largefile.errors import NotEnoughSpaceError as NotEnoughSpaceError
    from largefile.errors import NotFoundError as NotFoundError
    from largefile.errors import PartialFileError as PartialFileError
    from largefile.errors import ProtocolError as ProtocolError
    from largefile.errors import ReadError as ReadError
    from largefile.errors import RefusedError as RefusedError
    from largefile.errors import SourceChangedError as SourceChangedError
    from largefile.errors import StalledError as StalledError
    from largefile.errors import ThrottledError as ThrottledError
    from largefile.errors import TransferError as TransferError
    from largefile.errors import UncachedRangeError as UncachedRangeError
    from largefile.errors import UnsizedSourceError as UnsizedSourceError
    from largefile.remote import RemoteFile as RemoteFile
    from largefile.remote import open as open
    from largefile.rules.rate import RateController as RateController
    from largefile.rules.retry import Backoff as Backoff
    from largefile.rules.retry import RetryResponse as RetryResponse
    from largefile.stats import DownloadStats as DownloadStats
    from largefile.stats import DownloadStatus as DownloadStatus
    from largefile.stats import StreamingStatus as StreamingStatus
    from largefile.streaming import StreamingDownloader as StreamingDownloader
    from largefile.streaming import stream as stream
    from largefile.wire.http import HTTPReader as HTTPReader
    from largefile.wire.readers import FileReader as FileReader
    from largefile.wire.readers import Reader as Reader
