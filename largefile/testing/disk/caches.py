"""What is done with a cache, from its making to what keeps a second writer out."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from largefile.core.ranges import ByteRange
from largefile.core.sink import BlockSink
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.create import create_cache_files
from largefile.disk.fileops import FileOps, failure
from largefile.disk.files import LocalFile
from largefile.disk.header import State
from largefile.disk.opening import cache_files_exist, peek
from largefile.testing.disk.stage import (
    BLOCK,
    CONTENT,
    SIZE,
    Stage,
    WrongError,
    check,
    plain,
    put,
)

ALL = tuple(range(-(-SIZE // BLOCK)))
HALF = (0, 1, 4, 5, 9)


class AnotherBoot(FileOps):
    """The machine before it was started again."""

    def boot_id(self) -> str:
        return "11111111-2222-3333-4444-555555555555"


def create(stage: Stage) -> None:
    there = any(cache_files_exist(*stage.names))
    create_cache_files(
        *stage.names, SIZE, BLOCK, identity=stage.identity, url=stage.server.url, replace=there
    )
    check(all(cache_files_exist(*stage.names)), "files were made, and are not there")


def create_beside(stage: Stage) -> None:
    create_cache_files(*stage.names, SIZE, BLOCK)


class Failing(FileOps):
    """One operation fails wherever a path ends so; what is done about it can fail as well."""

    def __init__(self, operation: str, suffix: str) -> None:
        def fail(*args: object, **kwargs: object) -> object:
            if any(isinstance(each, str) and each.endswith(suffix) for each in (*args, *kwargs.values())):
                raise failure(errno.ENOSPC, operation, suffix)
            return getattr(FileOps, operation)(self, *args, **kwargs)

        setattr(self, operation, fail)


def create_without_room_for_data(stage: Stage) -> None:
    create_cache_files(*stage.names, SIZE, BLOCK, ops=Failing("fallocate", ".part"))


def create_where_nothing_is_known(stage: Stage) -> None:
    create_cache_files(*stage.names, SIZE, BLOCK, ops=Failing("fs_magic", ".part"))


def a_pipe(stage: Stage) -> None:
    half(stage)
    Path(stage.names[0]).unlink()
    os.mkfifo(stage.names[0])


def without_the_pipe(stage: Stage) -> None:
    for name in stage.names:
        Path(name).unlink()
    plain(stage)


def reopen(stage: Stage) -> None:
    with stage.open() as cache:
        check(set(present(cache)) >= set(HALF), "blocks that were committed are not there")
        check(cache.verify() == [], "a block is there, and has other bytes")


def present(cache: LocalDownloadCache) -> list[int]:
    return [block for block in ALL if cache.byte_ranges.is_set(block * BLOCK)]


def write(stage: Stage, write_path: str = "bounce") -> None:
    """As a connection does: by a lane, two spans, a commit after each."""
    with stage.open(write_path=write_path, reserve="span") as cache:
        lane, sink = cache.lane(), BlockSink()
        try:
            for first, stop in ((0, 4), (4, len(ALL))):
                lane.aim(sink, first, stop)
                while sink.at < sink.stop and sink(CONTENT[sink.at : sink.at + 3000]):
                    pass
                if (error := lane.failure(sink)) is not None:
                    raise error
                cache.start_writeback()
                cache.write_back()
                cache.commit()
                assert isinstance(cache.data, LocalFile)
                cache.data.drop_pages(0, SIZE)
        finally:
            sink.release()
            lane.release()
        check(cache.complete and cache.read_at(SIZE, 0) == CONTENT, "what was written is not what is read")


def write_by_map(stage: Stage) -> None:
    write(stage, "map")


def write_blocks(stage: Stage) -> None:
    """By the public methods, and read again."""
    with stage.open() as cache:
        cache.sync_data()
        put(cache, *(block for block in ALL if block not in present(cache)))
        buffer = bytearray(SIZE)
        cache.readinto(buffer, 0)
        check(buffer == CONTENT == cache.view(ByteRange(0, SIZE - 1)), "other bytes are read")
        cache.invalidate(ByteRange(BLOCK, 2 * BLOCK))
        check(not {1, 2} & set(present(cache)), "what was made absent is present")
        cache.commit()


def poison(stage: Stage) -> None:
    with stage.open() as cache:
        put(cache, 2, 3)
        cache.poison("a sync failed, as it were")


def follow(stage: Stage) -> None:
    with stage.open() as cache, LocalDownloadCache.open(*stage.names, read_only=True) as follower:
        put(cache, 2)
        follower.refresh()
        found = follower.tail(1.0)
        check(follower.read_at(3 * BLOCK, 0) == CONTENT[: 3 * BLOCK], "other bytes are read")
        check(found is None or found.first == 0, "a tail that is none")
        check(follower.writer_alive() is not False and not follower.replaced(), "a writer that is not seen")
        check(follower.state is State.FILLING, "another state than is written")
        peek(stage.names[1])


def half(stage: Stage) -> None:
    stage.partial(*HALF, pending=(2,))


def half_of_another_boot(stage: Stage) -> None:
    stage.partial(*HALF, pending=(2,), ops=AnotherBoot())


def empty(stage: Stage) -> None:
    stage.create().close()


# --- locks ----


def half_of_a_dead_owner(stage: Stage) -> None:
    """Where there is no lock but a file that says whose it is, and whose process is gone."""
    half(stage)
    owner_of(stage).write_text(f"{2**22 + 1} 12345 {FileOps().host()}\n")


def own(stage: Stage) -> None:
    with stage.open() as cache, LocalDownloadCache.open(*stage.names, read_only=True) as follower:
        check(cache.lock_kind == "owner-file", "another lock than there is")
        check(follower.writer_alive() is not False, "a writer that is not seen")


def own_without_room(stage: Stage) -> None:
    stage.open(ops=Failing("pwrite", ".owner"))


def own_later(stage: Stage) -> None:
    """In another process: this one lives, and an owner file that it could not remove says so."""
    owner = owner_of(stage)
    if owner.exists() and owner.read_text().split()[:1] == [str(os.getpid())]:
        owner.unlink()
    plain(stage)


def owner_of(stage: Stage) -> Path:
    return Path(f"{stage.names[1]}.owner")


def compete(stage: Stage) -> None:
    """Somebody writes it: whatever fails, nobody else may."""
    with stage.open():
        stage.open().close()
        raise WrongError("two write one cache")
