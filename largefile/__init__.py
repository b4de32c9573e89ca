"""Move very large files over HTTP: parallel ranges, each byte written once, resumable after any crash.

>>> import largefile
>>> status = largefile.download("https://example.org/model.bin", "model.bin")   # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives. They are imported when first used: `import largefile` costs nothing.
_HOMES = {
    "caching": ["CachingDownloader", "download"],
    "core.byteranges": ["ByteRanges", "ByteRangesTracker"],
    "core.ranges": ["ByteRange", "num_blocks", "range_for_index", "ranges"],
    "disk.cache": ["DownloadCache", "LocalDownloadCache"],
    "disk.creation": ["create_cache_files"],
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
        "ProtocolError",
        "ReadError",
        "RefusedError",
        "SourceChangedError",
        "StalledError",
        "ThrottledError",
        "TransferError",
        "UncachedRangeError",
        "UnsizedSourceError",
    ],
    "rules.rate": ["RateController"],
    "rules.retry": ["Backoff", "RetryResponse"],
    "stats": ["DownloadStats", "DownloadStatus", "StreamingStatus"],
    "wire.http": ["HTTPReader"],
    "wire.readers": ["FileReader", "Reader"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from largefile.caching import CachingDownloader as CachingDownloader
    from largefile.caching import download as download
