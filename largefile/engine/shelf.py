"""Where the caches of files that are read at a distance live, and which of them belongs to an answer.

A cache in a folder is kept: ``<name>.part`` and its index, the name being a digest of the URL or the
caller's key. It is used again by whoever opens the same name, once the server's first answer has shown that
it still has that version; another version gets a name of its own, ``<name>-2.part`` and so on. A version
that no validator names could never be recognised, and a cache that another process writes can not be
written: for both there is a temporary cache, of which nothing is left, not even by kill -9.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import REAL, FileOps
from largefile.disk.leftovers import remove_unborn
from largefile.disk.opening import peek
from largefile.errors import (
    CacheBusyError,
    IndexCorruptError,
    IndexVersionError,
    PartialFileError,
)
from largefile.log import log
from largefile.rules.identity import Identity
from largefile.rules.sizing import MAX_BLOCKS

__all__ = ["Shelf", "block_size_for", "stem_of", "temporary_cache"]

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_NUMBERED = re.compile(r".*-\d+", re.DOTALL)
_SMALLEST = 64 << 10


def block_size_for(content_size: int) -> int:
    """64 KiB, doubled until the content has at most 1,048,576 blocks: what one small read costs.

    Examples
    --------
    >>> block_size_for(10**9), block_size_for(1 << 40)
    (65536, 1048576)
    """
    block_size = _SMALLEST
    while content_size > block_size * MAX_BLOCKS:
        block_size *= 2
    return block_size


def stem_of(url: str, key: str | None = None) -> str:
    """The name of the cache for `url`, a checked address, in any folder; `key` names it instead.

    Raises
    ------
    ValueError
        For a key that is not 1 to 200 letters, digits, ``.``, ``_`` and ``-``, the first not ``.`` or ``-``.

    Examples
    --------
    >>> stem_of("https://example.org/model.bin"), stem_of("https://example.org/model.bin?sig=1", key="model")
    ('fca20da32073e5084acad827f47e8782', 'model')
    """
    if key is None:
        return hashlib.sha256(url.encode()).hexdigest()[:32]
    if _KEY.fullmatch(key) is None:
        raise ValueError(
            f"key is {key!r}, needed are 1 to 200 of A-Z a-z 0-9 . _ - and none of . - at the beginning"
        )
    return key


def temporary_cache(identity: Identity, block_size: int, url: str) -> LocalDownloadCache:
    """A cache for the content of `identity` whose files have no name any more."""
    folder = tempfile.mkdtemp(prefix="largefile-")
    try:
        part = os.path.join(folder, "part")
        return _new(part, identity, block_size, url, durable=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Shelf:
    """The versions of one content in one folder, which is made if it is not there.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shelf = Shelf(folder, "model")
    ...     [Path(part).name for part in itertools.islice(shelf.parts(), 3)], shelf.is_empty
    (['model.part', 'model-2.part', 'model-3.part'], True)
    """

    def __init__(self, folder: str | os.PathLike[str], stem: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.path = os.path.realpath(folder)
        self._stem = stem

    @property
    def is_empty(self) -> bool:
        """Whether no version is there yet."""
        return not os.path.lexists(_index(next(self.parts())))

    def parts(self) -> Iterator[str]:
        """The data files of its versions, the first ones first; endless."""
        # A stem that looks numbered itself numbers its first version too, so that no two stems share a name.
        first = f"{self._stem}-1" if _NUMBERED.fullmatch(self._stem) else self._stem
        for stem in itertools.chain([first], (f"{self._stem}-{n}" for n in itertools.count(2))):
            yield os.path.join(self.path, f"{stem}.part")

    def take(self, part: str, identity: Identity, block_size: int, url: str) -> LocalDownloadCache | None:
        """The cache of this version at `part`, made if nothing is there; None if that is another one's.

        Raises
        ------
        CacheBusyError
            Another process writes it.
        CacheError
            The disk.
        """
        index = _index(part)
        if not os.path.lexists(index):
            if not os.path.lexists(part):
                return self._make(part, identity, block_size, url)
            log().warning("%s is left alone: it has no index", part)
            return None
        try:
            if remove_unborn(part, index):
                return self._make(part, identity, block_size, url)
            stored = peek(index).identity
            if not stored.resumable_with(identity)[0]:
                return None
            return _synced(LocalDownloadCache.open(part, index, reserve="span"))
        except (PartialFileError, IndexCorruptError, IndexVersionError) as error:
            log().warning("the cache of %s is left alone: %s", url, error)
            return None
        except FileNotFoundError:
            raise CacheBusyError(index, "not known") from None  # its maker is at work

    def _make(self, part: str, identity: Identity, block_size: int, url: str) -> LocalDownloadCache:
        try:
            return _new(part, identity, block_size, url, durable=True)
        except PartialFileError as error:
            raise CacheBusyError(_index(part), "not known") from error  # somebody made it meanwhile


class _Fleeting(FileOps):
    """Nothing has to outlive a power loss that does not outlive its process."""

    def fsync(self, fd: int, path: str = "") -> None:
        return None

    def fdatasync(self, fd: int, path: str = "") -> None:
        return None

    def fsync_dir(self, path: str) -> None:
        return None


def _new(part: str, identity: Identity, block_size: int, url: str, *, durable: bool) -> LocalDownloadCache:
    ops = REAL if durable else _Fleeting()
    size = identity.size or 0
    return LocalDownloadCache.create(
        part,
        _index(part),
        size,
        block_size,
        identity=identity,
        url=url,
        reserve="span",
        durable=durable,
        ops=ops,
    )


def _synced(cache: LocalDownloadCache) -> LocalDownloadCache:
    """The same, once the first sync has shown that a dead predecessor's bytes have reached the disk."""
    try:
        cache.sync_data()
    except BaseException:
        cache.close()
        raise
    return cache


def _index(part: str) -> str:
    return f"{part}.idx"
