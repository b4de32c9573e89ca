"""DEST is there whole, or not at all; and a crash anywhere leaves something that can be gone on with."""

import errno
import os
from pathlib import Path

import pytest
from disk_helpers import Died, MortalOps, folder, names, new_cache, noise, put, reopen

from largefile.core.ranges import ByteRange
from largefile.disk.fileops import FileOps
from largefile.disk.header import State
from largefile.disk.opening import peek
from largefile.disk.publish import clean_up, part_paths, publish
from largefile.engine.destination import Destination
from largefile.errors import CacheIOError, DestinationExistsError, IncompleteError, PartialFileError

CONTENT = noise(300)


def full(base, **options):
    cache = new_cache(base, len(CONTENT), 64, **options)
    put(cache, CONTENT, *range(5))
    return cache


def files(base):
    return sorted(path.name for path in base.iterdir())


def test_the_file_gets_its_name_its_mode_and_nothing_is_left(tmp_path):
    before = os.umask(0o027)
    try:
        cache = full(tmp_path)
        view = cache.view(ByteRange(10, 99))
        assert publish(cache, tmp_path / "x") == str(tmp_path / "x")
    finally:
        os.umask(before)
    assert files(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "x").stat().st_nlink == 1
    assert view == CONTENT[10:100]


def test_an_empty_file_is_published_too(tmp_path):
    publish(new_cache(tmp_path, 0, 64), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b""
    assert files(tmp_path) == ["x"]


def test_a_destination_that_exists_is_kept_and_so_is_the_cache(tmp_path):
    (tmp_path / "x").write_bytes(b"precious")
    with full(tmp_path) as cache:
        with pytest.raises(DestinationExistsError):
            publish(cache, tmp_path / "x")
        assert cache.read_at(300, 0) == CONTENT
    assert (tmp_path / "x").read_bytes() == b"precious"
    publish(reopen(tmp_path), tmp_path / "y")
    assert files(tmp_path) == ["x", "y"]


def test_a_destination_that_appears_at_the_last_moment_is_kept(tmp_path):
    class Race(FileOps):
        def link(self, source, target):
            (tmp_path / "x").write_bytes(b"precious")
            super().link(source, target)

    cache = full(tmp_path, ops=Race())
    with pytest.raises(DestinationExistsError):
        publish(cache, tmp_path / "x")
    assert peek(names(tmp_path)[1]).state is State.FILLING
    assert (tmp_path / "x.part").stat().st_mode & 0o777 == 0o600
    cache.close()
    assert (tmp_path / "x").read_bytes() == b"precious"
    with reopen(tmp_path) as cache:
        assert cache.complete


def test_overwrite_replaces_in_one_step(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    publish(full(tmp_path), tmp_path / "x", overwrite=True)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert files(tmp_path) == ["x"]


class NoLinks(FileOps):
    def link(self, source, target):
        raise CacheIOError(errno.EPERM, "link", target)


class NoNoreplace(NoLinks):
    def rename_noreplace(self, source, target):
        raise CacheIOError(errno.EINVAL, "rename", target)


@pytest.mark.parametrize("ops", [NoLinks(), NoNoreplace()])
def test_without_links_it_is_renamed_but_not_over_a_file(tmp_path, ops):
    publish(full(tmp_path, ops=ops), tmp_path / "x")
    assert files(tmp_path) == ["x"]
    with full(tmp_path, ops=ops) as cache, pytest.raises(DestinationExistsError):
        publish(cache, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_part_that_lacks_blocks_is_not_published(tmp_path):
    with new_cache(tmp_path, 300, 64) as cache:
        put(cache, CONTENT, 0, 1)
        with pytest.raises(IncompleteError):
            publish(cache, tmp_path / "x")
    assert files(tmp_path) == ["x.part", "x.part.idx"]


def test_a_published_file_is_synced_even_where_durability_was_not_asked_for(tmp_path):
    synced = []

    class Log(FileOps):
        def fdatasync(self, fd, path=""):
            synced.append(path[-4:])
            super().fdatasync(fd, path)

    cache = full(tmp_path, ops=Log(), durable=False)
    synced.clear()
    publish(cache, tmp_path / "x")
    assert synced == ["part", ".idx", ".idx"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_death_at_any_step_leaves_what_can_be_finished(overwrite):
    """Before DEST is there the part is whole; after it, the index is one that clean_up knows."""
    steps = finished = 0
    while True:
        with folder() as base:
            if overwrite:
                (base / "x").write_bytes(b"old")
            full(base).close()
            mortal = MortalOps(10**9)
            cache = reopen(base, ops=mortal)
            mortal.left = steps
            try:
                publish(cache, base / "x", overwrite=overwrite)
            except Died:
                cache._group.poisoned = "killed"
                cache._index.file.ops = cache.data.ops = FileOps()
                cache.close()
            else:
                assert files(base) == ["x"]
                break
            there = Destination(base / "x")
            free = there.is_free(overwrite=overwrite)
            if there.finished is not None:
                assert not free or overwrite
                assert there.finished.content_size == len(CONTENT)
                assert files(base) == ["x"]
                finished += 1
            elif Path(names(base)[1]).exists():
                if (base / "x").exists():
                    assert (base / "x").read_bytes() == b"old"
                publish(reopen(base), base / "x", overwrite=overwrite)
            assert files(base) == ["x"]
            assert (base / "x").read_bytes() == CONTENT
        steps += 1
    assert steps > 6
    assert finished > 1


def test_an_index_that_is_not_the_files_is_left_alone(tmp_path):
    (tmp_path / "x").write_bytes(CONTENT)
    with full(tmp_path) as cache:
        cache.mark(State.PUBLISHED)
    assert not clean_up(tmp_path / "x", names(tmp_path)[1])
    assert not clean_up(tmp_path / "absent", names(tmp_path)[1])
    assert not clean_up(tmp_path / "x", tmp_path / "absent")
    (tmp_path / "junk").write_bytes(b"junk")
    assert not clean_up(tmp_path / "x", tmp_path / "junk")
    assert files(tmp_path) == ["junk", "x", "x.part", "x.part.idx"]


def test_a_name_that_leaves_no_room_for_its_index_is_refused(tmp_path):
    longest = "x" * (255 - len(".part.idx"))
    assert part_paths(tmp_path / longest)[1].endswith(".part.idx")
    with pytest.raises(ValueError, match="256"):
        part_paths(tmp_path / (longest + "x"))


def test_a_finished_file_is_told_from_what_somebody_is_publishing_now(tmp_path):
    cache, seen = full(tmp_path), []

    class Slow(FileOps):
        def unlink(self, path, *, missing_ok=False):
            seen.append(clean_up(tmp_path / "x", names(tmp_path)[1]))
            super().unlink(path, missing_ok=missing_ok)

    cache.data.ops = Slow()
    publish(cache, tmp_path / "x")
    assert seen == [None, None]
    assert files(tmp_path) == ["x"]


@pytest.mark.parametrize("how", ["replaced", "cut"])
def test_a_part_that_was_replaced_or_cut_meanwhile_is_not_published(tmp_path, how):
    content = noise(3000)
    with new_cache(tmp_path, len(content), 1000) as cache:
        put(cache, content, 0, 1, 2)
        part = tmp_path / "x.part"
        if how == "replaced":
            part.rename(tmp_path / "gone")
            part.write_bytes(content[::-1])
        else:
            os.truncate(part, 10)
        with pytest.raises(PartialFileError, match="replaced or cut"):
            publish(cache, tmp_path / "x")
    assert not (tmp_path / "x").exists()
