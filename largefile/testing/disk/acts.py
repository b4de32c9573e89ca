"""What a process does until it is killed: each way that content gets onto a disk. Each gives its SHA-256."""

from __future__ import annotations

import contextlib
import hashlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import largefile
from largefile.core.ranges import range_for_index
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.publish import part_paths
from largefile.errors import CacheError, SourceChangedError

__all__ = ["ACTS", "CACHE", "DEST"]

#: Names in the folder that a process is given: a download's destination, and a cache of the caller's own.
DEST = "x"
CACHE = "cache", "cache.idx"
PIECE = 100_000


def download(url: str, folder: Path, options: dict[str, Any]) -> str:
    """``largefile.download`` to DEST."""
    largefile.download(url, folder / DEST, **options)
    with (folder / DEST).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stream(url: str, folder: Path, options: dict[str, Any]) -> str:
    """``largefile.stream`` through the cache that is there."""
    digest = hashlib.sha256()
    data, index = (folder / name for name in CACHE)
    with (
        LocalDownloadCache.open(data, index) as cache,
        largefile.stream(url, cache=cache, **options) as source,
    ):
        while piece := source.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def read(url: str, folder: Path, options: dict[str, Any]) -> str:
    """``largefile.open`` with its cache in the folder, read in pieces from anywhere."""
    with largefile.open(url, cache_dir=folder, **options) as file:
        content = bytearray(file.size)
        places = list(range(0, len(content), PIECE))
        random.Random(len(content)).shuffle(places)
        for at in places:
            content[at : at + PIECE] = file.read_at(PIECE, at)
    return hashlib.sha256(content).hexdigest()


def follow(url: str, folder: Path, options: dict[str, Any]) -> str:
    """Look at each block of a download as soon as it is believed, until DEST is there.

    ``blocks`` of the options has each block's digest; ValueError where one is wrong.
    """
    rights: list[str] = options["blocks"]
    part, index = part_paths(folder / DEST)
    while not (folder / DEST).exists():
        with (
            contextlib.suppress(CacheError, SourceChangedError),  # it is not made yet, or made anew
            LocalDownloadCache.open(part, index, read_only=True) as cache,
        ):
            seen: set[int] = set()
            while not (folder / DEST).exists() and not cache.replaced():
                cache.tail(0.01)
                for block in range(cache.num_blocks):
                    where = range_for_index(block, cache.content_size, cache.block_size)
                    if block in seen or not cache.wait_for(where.first, 0):
                        continue
                    seen.add(block)
                    found = hashlib.sha256(cache.read_at(where.last - where.first + 1, where.first))
                    if found.hexdigest() != rights[block]:
                        raise ValueError(f"block {block} was wrong")
        time.sleep(0.002)
    with (folder / DEST).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


ACTS: dict[str, Callable[[str, Path, dict[str, Any]], str]] = {
    "download": download,
    "stream": stream,
    "read": read,
    "follow": follow,
}
