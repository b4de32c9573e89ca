"""Caches for tests: made, filled, and broken on purpose."""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from largefile.core.sink import BlockSink
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.create import create_cache_files
from largefile.disk.fileops import FileOps
from largefile.testing.disk.seam import Call, Watched

SHM = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of examples need no disk."""
    with tempfile.TemporaryDirectory(dir=SHM, prefix="largefile-test-") as name:
        yield Path(name)


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def names(base: Path) -> tuple[str, str]:
    return str(base / "x.part"), str(base / "x.part.idx")


def new_cache(base: Path, content_size: int, block_size: int, **options) -> LocalDownloadCache:
    data, index = names(base)
    ops = options.pop("ops", FileOps())
    reserve = options.get("reserve", "all")
    create_cache_files(data, index, content_size, block_size, ops=ops, reserve=reserve)
    return LocalDownloadCache.open(data, index, ops=ops, **options)


def reopen(base: Path, **options) -> LocalDownloadCache:
    return LocalDownloadCache.open(*names(base), **options)


def block_of(content: bytes, block_size: int, block: int) -> bytes:
    return content[block * block_size : (block + 1) * block_size]


def put(cache, content: bytes, *blocks: int) -> None:
    """Write some blocks of `content` by the public method."""
    _, block_size = cache.content_length_and_block_size()
    for block in blocks:
        cache.write_at(block_of(content, block_size, block), block * block_size)


def feed(sink: BlockSink, content: bytes, chunk: int = 16384) -> int:
    """Send what the sink is aimed at, as a server would; how many bytes it took."""
    before = sink.received
    while sink.at < sink.stop:
        if not sink(memoryview(content)[sink.at : min(sink.at + chunk, sink.stop)]):
            break
    return sink.received - before


def leave(cache: LocalDownloadCache) -> None:
    """End as kill -9 does: nothing is committed, nothing is said, the lock goes with the descriptor."""
    cache._group.poisoned = "killed"
    cache.close()


def present(cache) -> set[int]:
    block_size = cache.content_length_and_block_size()[1]
    found, block = set(), 0
    while (answer := cache.next_cached(block)) is not None:
        block, where = answer
        found.add(where.first // block_size)
    return found


class Died(BaseException):
    """The process is gone, as far as its files can tell."""


class MortalOps(Watched):
    """Dies at the n-th operation: that one and all later ones are not done.

    Closing and unlocking go on, as the system does both for a dead process.
    """

    def __init__(self, calls: int) -> None:
        self.left = calls

    def perform(self, call: Call):
        if call.name not in ("close", "unlock_ofd"):
            self.left -= 1
            if self.left < 0:
                raise Died(call.name)
        return call()


class OtherBoot(FileOps):
    """The same files after the machine was started again."""

    def boot_id(self) -> str:
        return "11111111-2222-3333-4444-555555555555"


class NoBoot(FileOps):
    """A system that does not say when it was started."""

    def boot_id(self) -> str:
        return ""


class PlainFs(FileOps):
    """A filesystem on which mapping is not known to be safe, as an overlay."""

    def fs_magic(self, fd: int, path: str = "") -> int:
        return 0x794C7630


class MemoryFile:
    """An injected CacheFile: bytes in memory, no map. Counts its syncs, and fails them when told to."""

    def __init__(self, size: int = 0, name: str = "memory") -> None:
        self.name = name
        self.bytes = bytearray(size)
        self.syncs = 0
        self.fails: OSError | None = None
        self.closed = False

    def read_at(self, size: int, off: int) -> bytes:
        return bytes(self.bytes[off : off + size])

    def write_at(self, data, off: int) -> int:
        data = bytes(data)
        self.bytes[len(self.bytes) : off] = bytes(max(0, off - len(self.bytes)))
        self.bytes[off : off + len(data)] = data
        return len(data)

    def allocate(self, offset: int, size: int) -> bool:
        self.bytes.extend(bytes(max(0, offset + size - len(self.bytes))))
        return True

    def sync(self) -> None:
        if self.fails is not None:
            raise self.fails
        self.syncs += 1

    def close(self) -> None:
        self.closed = True

    def map(self, offset: int, size: int) -> None:
        return None
