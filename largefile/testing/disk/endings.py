"""How a cache ends, and files that never had one."""

from __future__ import annotations

import os

from largefile.disk.create import create_cache_files
from largefile.disk.fileops import FileOps
from largefile.disk.header import State
from largefile.disk.leftovers import remove_unborn
from largefile.disk.loose import LooseFile
from largefile.disk.publish import clean_up, publish, set_aside
from largefile.disk.reserve import reserve_space
from largefile.errors import DestinationExistsError
from largefile.testing.disk.caches import ALL, Failing
from largefile.testing.disk.stage import (
    BLOCK,
    CONTENT,
    SIZE,
    Stage,
    check,
    put,
)

OLD = b"what was there before"


def full(stage: Stage) -> None:
    with stage.create() as cache:
        put(cache, *ALL)


def full_and_old(stage: Stage) -> None:
    full(stage)
    stage.dest.write_bytes(OLD)


def give_name(stage: Stage, overwrite: bool = False, ops: FileOps | None = None) -> None:
    with stage.open(**({} if ops is None else {"ops": ops})) as cache:
        publish(cache, stage.dest, overwrite=overwrite)
    check(stage.is_right(), "what was published has other bytes")


def replace_old(stage: Stage) -> None:
    give_name(stage, overwrite=True)


class Rival(FileOps):
    """Somebody else takes the name in the last moment."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def fchmod(self, fd: int, mode: int, path: str = "") -> None:
        super().fchmod(fd, mode, path)
        self.stage.dest.write_bytes(OLD)


def lose_the_name(stage: Stage) -> None:
    try:
        give_name(stage, ops=Rival(stage))
    except DestinationExistsError:
        check(stage.dest.read_bytes() == OLD, "somebody's file was replaced")
        raise


def put_aside(stage: Stage) -> None:
    with stage.open() as cache:
        set_aside(cache, f"{stage.dest}.bad")


def published_only(stage: Stage) -> None:
    """As a kill leaves it that comes right after the new name."""
    with stage.open() as cache:
        cache.mark(State.PUBLISHED)
    os.link(stage.names[0], stage.dest)


def full_and_linked(stage: Stage) -> None:
    full(stage)
    published_only(stage)


def tidy(stage: Stage) -> None:
    check(clean_up(stage.dest, stage.names[1]) is not None, "a finished file is not known for one")
    check(stage.files() == {"x"}, "what was finished is not cleaned up")


def unborn(stage: Stage) -> None:
    create_cache_files(*stage.names, SIZE, BLOCK)
    os.truncate(stage.names[0], 0)


def bury(stage: Stage) -> None:
    check(remove_unborn(*stage.names), "what was never finished is taken for a cache")
    check(not stage.files(), "what was never finished is still there")


def loose(stage: Stage, overwrite: bool = False, aside: bool = False) -> None:
    with LooseFile(*stage.names, overwrite=overwrite) as file:
        file.write_at(CONTENT, 0)
        if aside:
            file.set_aside(f"{stage.dest}.bad")
        else:
            file.publish(stage.dest)
            check(stage.is_right(), "what was published has other bytes")


def loose_over(stage: Stage) -> None:
    loose(stage, overwrite=True)


def loose_where_nothing_is_known(stage: Stage) -> None:
    LooseFile(*stage.names, ops=Failing("fs_magic", ".part"))


def loose_aside(stage: Stage) -> None:
    loose(stage, aside=True)


def loose_named_aside(stage: Stage) -> None:
    loose(stage, overwrite=True, aside=True)


def room(stage: Stage) -> None:
    path = stage.folder / "room"
    reserve_space(path, SIZE)
    check(path.stat().st_size == SIZE, "room was made, and is not there")
    reserve_space(path, 2 * SIZE)


def old(stage: Stage) -> None:
    stage.dest.write_bytes(OLD)
