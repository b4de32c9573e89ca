"""What a download does to a disk, told in short. A story is played once; the power goes everywhere in it."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Literal
from unittest import mock

import xxhash

from largefile.core.ranges import ByteRange
from largefile.core.sink import BlockSink
from largefile.disk import commit
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.commit import GroupCommit
from largefile.disk.loose import LooseFile
from largefile.disk.publish import part_paths, publish, set_aside
from largefile.disk.writing import CacheWrites
from largefile.engine.destination import Destination
from largefile.errors import CacheIOError, CachePoisonedError
from largefile.rules.identity import Identity
from largefile.testing.disk.journal import Recorder
from largefile.testing.disk.seam import Call, everywhere
from largefile.testing.disk.system import EXT4
from largefile.testing.script import DATE
from largefile.testing.server import LoopbackServer

__all__ = ["STORIES", "Finished", "Promised", "Scene", "Story"]

#: A kind of filesystem that is not known to be safe to map: entries and bytes are written, not stored.
OVERLAY = 0x794C7630


@dataclass(frozen=True, slots=True)
class Promised:
    """From now on these blocks of a version survive a loss of power; none: all may go."""

    version: str | None
    blocks: frozenset[int]


@dataclass(frozen=True, slots=True)
class Finished:
    """From now on the destination has this version, whatever happens."""

    version: str


class Scene:
    """One folder with one destination, and the versions of the content that the server has had.

    Attributes
    ----------
    versions : dict
        The bytes of each version, by ETag: the first are what the source has, others may have come instead.
    """

    def __init__(self, recorder: Recorder, story: Story) -> None:
        self.recorder = recorder
        self.dest = f"{recorder.folder}/x"
        self.part, self.index = part_paths(self.dest)
        self.versions = story.versions
        self.block_size = story.block_size
        self.free = False

    def create(self, version: str = '"v1"', *, replace: bool = False) -> LocalDownloadCache:
        if replace:
            self.let_go()
        size = len(self.versions[version][0])
        cache = LocalDownloadCache.create(
            self.part,
            self.index,
            size,
            self.block_size,
            identity=Identity(version, DATE, size),
            replace=replace,
            ops=self.recorder,
        )
        self.free = False
        return cache

    def let_go(self) -> None:
        """What is there may be thrown away from now on, until something new is created."""
        self.free = True
        self.recorder.note(Promised(None, frozenset()))

    def open(self, reserve: Literal["all", "span"] = "all") -> LocalDownloadCache:
        return LocalDownloadCache.open(self.part, self.index, reserve=reserve, ops=self.recorder)

    def put(self, cache: LocalDownloadCache, *blocks: int, wrong: bool = False) -> None:
        """Write blocks as they come; `wrong`: as they came at first."""
        content = self.versions[str(cache.identity.etag)][wrong]
        for block in blocks:
            first = block * self.block_size
            cache.write_at(content[first : first + self.block_size], first)

    def publish(self, cache: LocalDownloadCache, *, overwrite: bool = False) -> None:
        version = str(cache.identity.etag)
        publish(cache, self.dest, overwrite=overwrite)
        self.recorder.note(Finished(version))

    def leave(self, cache: LocalDownloadCache) -> None:
        """End as a killed process does."""
        cache._group.poisoned = "killed"
        cache.close()


@dataclass(frozen=True)
class Story:
    """A recording to be made.

    Attributes
    ----------
    play : callable
        Does it.
    blocks, block_size : int
        So many whole blocks, and a short one.
    magic : int
        The kind of filesystem.
    overwrite : bool
        Whether the next run may replace the destination.
    wrong : bool
        Whether blocks come wrong at first, which nothing but a digest tells.
    later : bool
        Whether a machine that has lost its power before plays it.
    """

    name: str
    play: Callable[[Scene], None]
    blocks: int = 9
    block_size: int = 4096
    magic: int = EXT4
    overwrite: bool = False
    wrong: bool = False
    later: bool = False

    @property
    def aligned(self) -> bool:
        """Whether no two blocks share a sector, so that one which is being written can not harm another."""
        return self.block_size % 4096 == 0

    @property
    def versions(self) -> dict[str, tuple[bytes, bytes]]:
        size = self.blocks * self.block_size + self.block_size // 3
        noise = Random(self.block_size)
        return {
            version: (noise.randbytes(size), noise.randbytes(size)) for version in ('"v0"', '"v1"', '"v2"')
        }

    def record(self, recorder: Recorder) -> None:
        """Play it, and have the recorder note what was promised on the way."""
        scene = Scene(recorder, self)
        with _noting(scene):
            self.play(scene)
        recorder.finish()


@contextlib.contextmanager
def _noting(scene: Scene) -> Iterator[None]:
    """Have each commit, and what takes its promise back, noted."""
    real_commit, real_invalidate = GroupCommit.commit, CacheWrites.invalidate

    going: set[int] = set()

    def note(index: Any) -> None:
        durable = {block for block in range(index.header.num_blocks) if index.durable[block]}
        if not scene.free:
            scene.recorder.note(Promised(index.header.etag, frozenset(durable - going)))

    def committed(self: GroupCommit) -> int:
        count = real_commit(self)
        note(self._index)
        return count

    def invalidated(self: CacheWrites, range: ByteRange) -> None:
        going.update(_count(range.first // self.block_size, range.last // self.block_size + 1))
        note(self._index)
        real_invalidate(self, range)
        going.clear()

    with (
        mock.patch.object(GroupCommit, "commit", committed),
        mock.patch.object(CacheWrites, "invalidate", invalidated),
    ):
        yield


_count = range  # `range` is also the name of a parameter


# --- the stories --------------------------------------------------------------------------------------


def _first(scene: Scene) -> None:
    cache = scene.create()
    scene.put(cache, 3, 0, 1)
    cache.commit()
    scene.put(cache, 2, 5)
    scene.put(cache, 4)
    cache.commit()
    scene.put(cache, 9)
    cache.close()
    cache = scene.open()
    scene.put(cache, 8)
    scene.leave(cache)
    cache = scene.open()
    scene.put(cache, 7, 6)
    scene.publish(cache)


def _mapped(scene: Scene) -> None:
    cache = scene.create()
    _feed(scene, cache, 0, 4)
    cache.commit()
    _feed(scene, cache, 4, 7)
    cache.commit()
    _feed(scene, cache, 7, cache.num_blocks)
    scene.publish(cache)


def _feed(scene: Scene, cache: LocalDownloadCache, first: int, stop: int) -> None:
    """As a driver does that stores into the map."""
    content, sink = scene.versions[str(cache.identity.etag)][0], BlockSink()
    cache._write_path = "map"
    lane = cache.lane(direct=True)
    lane.aim(sink, first, stop)
    while sink.at < sink.stop:
        sink(memoryview(content)[sink.at : min(sink.at + 1500, sink.stop)])
    lane.release()


def _by_span(scene: Scene) -> None:
    """As a file that is read at a distance: room is made when a span begins."""
    cache = scene.create()
    cache.close()
    cache = scene.open(reserve="span")
    cache.prepare(2 * scene.block_size, 4 * scene.block_size)
    scene.put(cache, 2, 3)
    cache.commit()
    scene.put(cache, 9)
    cache.close()


def _replaced(scene: Scene) -> None:
    cache = scene.create('"v0"')
    scene.put(cache, 3, 4)
    cache.commit()
    scene.put(cache, 5)
    cache.close()
    cache = scene.create(replace=True)
    scene.put(cache, 3)
    cache.commit()
    scene.put(cache, 0, 1, 2, 4, 5, 6, 7, 8, 9)
    scene.publish(cache)


def _repaired(scene: Scene) -> None:
    """Blocks came wrong, and come again; a commit is on its way at any of these moments."""
    cache = scene.create()
    scene.put(cache, 0, 2)
    cache.commit()
    scene.put(cache, 1, 3, wrong=True)
    cache.commit()
    scene.put(cache, 4, wrong=True)
    for block in (1, 3, 4):
        cache.invalidate(ByteRange(block * scene.block_size, (block + 1) * scene.block_size - 1))
        scene.put(cache, block)
        if block == 3:
            cache.commit()
    cache.commit()
    scene.put(cache, 5, 6, 7, 8, 9)
    scene.publish(cache)


def _repaired_in_company(scene: Scene) -> None:
    """The commit's thread is in the middle of a sync while a block is replaced."""
    cache = scene.create()
    scene.put(cache, 0, wrong=True)
    scene.put(cache, 1)

    def replace_it() -> None:
        cache.invalidate(ByteRange(0, scene.block_size - 1))
        scene.put(cache, 0)

    other = threading.Thread(target=replace_it)

    def between(call: Call) -> None:
        if call.name == "fdatasync" and call.path == scene.part and other.ident is None:
            other.start()
            other.join(0.3)  # it is over by then, or it waits for the end of the commit

    scene.recorder.after = between
    cache.commit()
    other.join()
    scene.put(cache, 2)
    scene.leave(cache)


def _overwritten(scene: Scene) -> None:
    cache = scene.create('"v0"')
    scene.put(cache, *range(10))
    scene.publish(cache)
    cache = scene.create()
    scene.put(cache, *range(10))
    scene.publish(cache, overwrite=True)


def _unsized(scene: Scene) -> None:
    content = scene.versions['"v1"'][0]
    with LooseFile(scene.part, scene.index, ops=scene.recorder) as file:
        for at in range(0, len(content), 7000):
            file.write_at(content[at : at + 7000], at)
        file.publish(scene.dest)
    scene.recorder.note(Finished('"v1"'))


def _unsized_over(scene: Scene) -> None:
    cache = scene.create('"v0"')
    scene.put(cache, *range(10))
    scene.publish(cache)
    content = scene.versions['"v1"'][0]
    with LooseFile(scene.part, scene.index, overwrite=True, ops=scene.recorder) as file:
        file.write_at(content, 0)
        file.publish(scene.dest)
    scene.recorder.note(Finished('"v1"'))


def _set_aside(scene: Scene) -> None:
    cache = scene.create()
    scene.put(cache, *range(10), wrong=True)
    cache.commit()
    scene.let_go()
    set_aside(cache, f"{scene.dest}.bad")
    cache = scene.create()
    scene.put(cache, *range(10))
    scene.publish(cache)


def _failed_sync(scene: Scene) -> None:
    """The disk could not write something, and says so once."""
    cache = scene.create()
    scene.put(cache, 0, 1)
    cache.commit()
    scene.put(cache, 2, 3)
    late = scene.versions['"v1"'][0][6 * scene.block_size : 7 * scene.block_size]
    cache.data.write_at(late, 6 * scene.block_size)

    def fail(call: Call) -> None:
        if call.name == "fdatasync" and call.path == scene.part:
            raise CacheIOError(errno.EIO, "sync", scene.part)

    scene.recorder.before = fail
    with contextlib.suppress(CachePoisonedError):
        cache.commit()
    scene.recorder.before = lambda call: None
    # A connection whose bytes were written before that, and who was between its check and its entry.
    cache._index.seal(6, xxhash.xxh3_64_intdigest(late))
    cache.close()
    cache = scene.open()
    scene.put(cache, 4)
    cache.commit()
    scene.put(cache, *range(10))
    scene.publish(cache)


def _goes_on(scene: Scene) -> None:
    """After a loss of power: recovery, and on."""
    cache = scene.open() if Destination(scene.dest, scene.recorder).has_partial() else scene.create()
    missing = [block for block in range(cache.num_blocks) if not cache.byte_ranges.bitmap[block]]
    scene.put(cache, *missing[::2])
    cache.commit()
    scene.put(cache, *missing[1::2])
    scene.publish(cache)


def _download(scene: Scene) -> None:
    """All of the engine, with its threads."""
    from largefile.caching import download

    content = scene.versions['"v1"'][0]
    with (
        LoopbackServer(content, etag='"v1"') as server,
        mock.patch.object(commit, "ENOUGH", 2 * scene.block_size),
        everywhere(scene.recorder),
    ):
        download(server.url, scene.dest, block_size=scene.block_size, concurrency=3, proxy="")
    scene.recorder.note(Finished('"v1"'))


STORIES = (
    Story("first", _first),
    Story("first, written through", _first, magic=OVERLAY),
    Story("first, odd blocks", _first, block_size=1000),
    Story("mapped", _mapped),
    Story("by span", _by_span),
    Story("replaced", _replaced),
    Story("repaired", _repaired, wrong=True),
    Story("repaired in company", _repaired_in_company, wrong=True),
    Story("overwritten", _overwritten, overwrite=True),
    Story("unsized", _unsized),
    Story("unsized, over an old one", _unsized_over, overwrite=True),
    Story("set aside", _set_aside, wrong=True),
    Story("a failed sync", _failed_sync),
    Story("a second loss", _goes_on, later=True),
    Story("a second loss, written through", _goes_on, magic=OVERLAY, later=True),
    Story("a second loss, odd blocks", _goes_on, block_size=1000, later=True),
    Story("a whole download", _download),
)
