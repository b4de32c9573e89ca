"""Every name of the Go package has a home here, or says what brings it; walked over the real objects."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import largefile

DOCS = Path(__file__).parent.parent / "docs"
ROW = re.compile(r"^\| `([\w.]+)` \| (.+) \|$", re.M)
ROWS = ROW.findall((DOCS / "seed.md").read_text())

#: The exported names of the Go package, from its documentation.
GO_TOP_LEVEL = set(
    re.findall(
        r"\w+",
        """
        ErrCacheInvalidBlockSize ErrCacheInvalidOffset ErrCacheUncachedRange ErrInternalError
        ErrNotEnoughSpace CacheFilesExist CreateNewFilesForCache NewBackoff NumBlocks OpenCacheFiles
        Ranges ReserveSpace ByteRange RangeForIndex ByteRanges NewByteRanges ByteRangesTracker
        NewByteRangesTracker CacheFileReadWriter CachingDownloader NewCachingDownloader DownloadCache
        WithDownloadConcurrency WithDownloadDigest WithDownloadLogger WithDownloadProgress
        WithDownloadProgressTimeout WithDownloadRateController WithDownloadWaitForCompletion
        DownloadStats DownloadStatus LocalDownloadCache NewLocalDownloadCache Reader RetryResponse
        StreamingDownloader NewStreamingDownloader StreamingStatus Uploader
        """,
    )
)


def test_the_table_has_every_top_level_name_once():
    names = [go for go, _ in ROWS]
    assert len(names) == len(set(names))
    assert set(names) >= GO_TOP_LEVEL


def resolve(path):
    """The object at a dotted path below `largefile`."""
    found = largefile
    for part in path.split(".")[1:]:
        if dataclasses.is_dataclass(found) and part in {field.name for field in dataclasses.fields(found)}:
            return part
        found = getattr(found, part)
    return found


@pytest.mark.parametrize(("go", "here"), ROWS, ids=[go for go, _ in ROWS])
def test_the_name_is_where_the_table_says(go, here):
    home = re.match(r"`(largefile\.[\w.]+)(?:\((\w+)=\))?`", here)
    if home is None:
        assert re.match(r"to come, with (streams|uploads)$|not needed: ", here)
        assert not hasattr(largefile, go), "it is here now: say where"
        return
    path, keyword = home.groups()
    target = resolve(path)
    assert target is not None
    if keyword:
        assert keyword in inspect.signature(target).parameters
