"""A data file or an index that is not the one it was, and a last header that is lost: noticed before
anything is believed.
"""

from __future__ import annotations

import os
import shutil
import types
from pathlib import Path

import pytest
import xxhash
from damage import BLOCK, BLOCKS, BOOTS, CONTENT, DURABLE, LIVE, SIZE, make_scene
from disk_helpers import OtherBoot, block_of, leave, names, new_cache, noise, present, put, reopen
from server_tools import get

from largefile import CachingDownloader, DestinationExistsError, HTTPReader, SourceChangedError
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import REAL, FileOps
from largefile.disk.header import SLOT_SIZE, State, choose
from largefile.disk.leftovers import remove_unborn
from largefile.disk.publish import clean_up
from largefile.errors import PartialFileError, UncachedRangeError
from largefile.rules.identity import Identity
from largefile.testing.script import DATE
from largefile.testing.server import LoopbackServer

in_boot = pytest.mark.parametrize("boot", list(BOOTS))
ended = pytest.mark.parametrize("end", ["killed", "closed"])


class SameNumber(FileOps):
    """A filesystem that gives the number of a removed inode to the next file, as ext4 does."""

    def __init__(self, base: Path, boot: FileOps = REAL) -> None:
        self._number = (base / "x.part").stat().st_ino
        self.boot_id = boot.boot_id

    def fstat(self, fd, path=""):
        return self._renumbered(super().fstat(fd, path), path)

    def stat(self, path):
        return self._renumbered(super().stat(path), path)

    def _renumbered(self, found, path):
        facts = {name: getattr(found, name) for name in dir(found) if name.startswith("st_")}
        return types.SimpleNamespace(**facts | ({} if path.endswith(".idx") else {"st_ino": self._number}))


def spoil(base: Path, *blocks: int) -> None:
    with (base / "x.part").open("r+b") as file:
        for block in blocks:
            file.seek(block * BLOCK)
            file.write(b"\xee" * 8)


def replace_by_copy(base: Path) -> None:
    """As ``cp -p`` to a new file and ``mv`` over the old one: other inode, the same times."""
    shutil.copy2(base / "x.part", base / "copy")
    (base / "copy").rename(base / "x.part")


def touched_copy(base: Path, *blocks: int) -> None:
    """Another file in its place, with wrong bytes in some blocks, and the same size and times."""
    found = (base / "x.part").stat()
    replace_by_copy(base)
    spoil(base, *blocks)
    os.utime(base / "x.part", ns=(found.st_atime_ns, found.st_mtime_ns))


def believed(base: Path, **options) -> set[int]:
    cache = reopen(base, **options)
    try:
        found = present(cache)
        for block in found:
            piece = block_of(CONTENT, BLOCK, block)
            assert cache.read_at(len(piece), block * BLOCK) == piece
        return found
    finally:
        leave(cache) if isinstance(cache, LocalDownloadCache) else cache.close()


# --- the data file ------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [-SIZE, -1, 1, 4096])
@ended
def test_data_of_another_size_is_a_typed_error_and_left_alone(tmp_path, end, by):
    scene = make_scene(tmp_path, end)
    os.truncate(tmp_path / "x.part", SIZE + by)
    for read_only in (False, True):
        with pytest.raises(PartialFileError, match=str(SIZE + by)):
            reopen(tmp_path, read_only=read_only)
    assert (tmp_path / "x.part.idx").read_bytes() == scene.index
    assert (tmp_path / "x.part").stat().st_size == SIZE + by


@pytest.mark.parametrize("read_only", [False, True])
@in_boot
@ended
def test_a_copy_in_the_place_of_the_data_is_read_before_it_is_believed(tmp_path, end, boot, read_only):
    make_scene(tmp_path, end)
    touched_copy(tmp_path, 2, 5)
    found = believed(tmp_path, ops=BOOTS[boot], read_only=read_only)
    assert found == (DURABLE | LIVE) - {2, 5}


@pytest.mark.parametrize("read_only", [False, True])
@in_boot
@ended
def test_so_is_one_that_got_the_number_of_the_removed_inode(tmp_path, end, boot, read_only):
    make_scene(tmp_path, end)
    ops = SameNumber(tmp_path, BOOTS[boot])
    if not ops.birth(str(tmp_path / "x.part")):
        pytest.skip("this filesystem does not tell when a file was made")
    touched_copy(tmp_path, 2, 5)
    assert believed(tmp_path, ops=ops, read_only=read_only) == (DURABLE | LIVE) - {2, 5}
    if not read_only:  # and the new file is the one that is meant from now on
        assert reopened_unread(tmp_path, ops) == (DURABLE | LIVE) - {2, 5}


def reopened_unread(base: Path, ops: FileOps) -> set[int]:
    with reopen(base, ops=ops) as cache:
        assert cache.hashed_blocks == 0
        return present(cache)


def test_a_file_that_really_got_the_same_number_is_read_before_it_is_believed(tmp_path):
    make_scene(tmp_path, "killed")
    part = tmp_path / "x.part"
    data, before = part.read_bytes(), part.stat()
    part.unlink()
    part.write_bytes(data)
    if part.stat().st_ino != before.st_ino:
        pytest.skip("this filesystem does not use the number again at once")
    spoil(tmp_path, 2, 5)
    assert believed(tmp_path) == (DURABLE | LIVE) - {2, 5}


def test_a_follower_does_not_believe_what_a_later_writer_finds_in_another_file(tmp_path):
    """The follower has the file that was there before open."""
    make_scene(tmp_path, "killed")
    ops = SameNumber(tmp_path)
    with reopen(tmp_path, read_only=True, ops=ops) as follower:
        touched_copy(tmp_path, 7)
        with reopen(tmp_path, ops=ops) as cache:
            put(cache, CONTENT, 7)
            follower.refresh()
            with pytest.raises(UncachedRangeError):
                follower.read_at(1, 7 * BLOCK)


def test_an_edit_after_a_clean_close_is_noticed_in_either_boot(tmp_path):
    for ops in BOOTS.values():
        base = tmp_path / ops.boot_id()
        base.mkdir()
        scene = make_scene(base, "closed")
        spoil(base, 3)
        os.utime(base / "x.part", ns=(scene.mtime, scene.mtime + 1))
        assert believed(base, ops=ops) == (DURABLE | LIVE) - {3}


# --- the index ----------------------------------------------------------------------------------


@in_boot
def test_an_index_of_other_content_vouches_for_nothing_here(tmp_path, boot):
    make_scene(tmp_path, "killed")
    other = tmp_path / "other"
    other.mkdir()
    with new_cache(other, SIZE, BLOCK) as cache:
        put(cache, noise(SIZE, seed=5), *range(BLOCKS))
    (other / "x.part.idx").rename(tmp_path / "x.part.idx")
    assert believed(tmp_path, ops=BOOTS[boot]) == set()


@in_boot
def test_an_index_of_another_version_vouches_for_the_blocks_that_are_the_same(tmp_path, boot):
    make_scene(tmp_path, "killed")
    other = tmp_path / "other"
    other.mkdir()
    second = CONTENT[: 4 * BLOCK] + noise(SIZE - 4 * BLOCK, seed=5)
    with new_cache(other, SIZE, BLOCK) as cache:
        put(cache, second, 1, 2, 3, 4, 5, 9)
    (other / "x.part.idx").rename(tmp_path / "x.part.idx")
    assert believed(tmp_path, ops=BOOTS[boot]) == {1, 2, 3}


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1, 5 * SIZE])
def test_an_index_of_a_file_of_another_size_is_a_typed_error(tmp_path, size):
    make_scene(tmp_path, "killed")
    other = tmp_path / "other"
    other.mkdir()
    new_cache(other, size, BLOCK).close()
    index = (other / "x.part.idx").read_bytes()
    (tmp_path / "x.part.idx").write_bytes(index)
    for read_only in (False, True):
        with pytest.raises(PartialFileError, match=f"{SIZE} bytes"):
            reopen(tmp_path, read_only=read_only)
    assert (tmp_path / "x.part.idx").read_bytes() == index


# --- the last header is lost: what did it say? ---------------------------------------------------


def lose_last_header(base: Path) -> None:
    path = base / "x.part.idx"
    raw = bytearray(path.read_bytes())
    at = choose(bytes(raw[:SLOT_SIZE]), bytes(raw[SLOT_SIZE : 2 * SLOT_SIZE]), "x").slot * SLOT_SIZE
    raw[at + 100] ^= 4
    path.write_bytes(raw)


def test_that_another_machine_had_written_here(tmp_path):
    """The one that is left names this boot; what came in the other boot was never synced, and is lost."""
    make_scene(tmp_path, "killed")
    other = reopen(tmp_path, ops=OtherBoot())
    put(other, CONTENT, 11, 12)
    leave(other)
    spoil(tmp_path, 12)
    lose_last_header(tmp_path)
    assert believed(tmp_path) == DURABLE | LIVE | {11}


def test_that_another_machine_writes_here_and_a_follower_looks_on(tmp_path):
    make_scene(tmp_path, "killed")
    with reopen(tmp_path, read_only=True) as follower:
        other = reopen(tmp_path, ops=OtherBoot())
        put(other, CONTENT, 11)
        leave(other)
        spoil(tmp_path, 11)
        lose_last_header(tmp_path)
        with pytest.raises(UncachedRangeError):
            follower.read_at(BLOCK, 11 * BLOCK)


def test_that_a_sync_had_failed(tmp_path):
    make_scene(tmp_path, "killed")
    cache = reopen(tmp_path)
    cache.commit()
    cache.poison("test")
    # A connection was between its check and its entry, and its bytes were never written.
    cache._index.seal(7, xxhash.xxh3_64_intdigest(block_of(CONTENT, BLOCK, 7)))
    cache.close()
    lose_last_header(tmp_path)
    assert believed(tmp_path) == DURABLE | LIVE


def test_that_the_end_was_clean_and_so_an_edit_shows(tmp_path):
    make_scene(tmp_path, "closed")
    spoil(tmp_path, 3)
    lose_last_header(tmp_path)
    assert believed(tmp_path) == (DURABLE | LIVE) - {3}


def test_that_it_was_no_longer_published(tmp_path):
    """The one that is left says published, and so that nothing is to be done but to clean up."""
    with new_cache(tmp_path, SIZE, BLOCK) as cache:
        put(cache, CONTENT, *range(BLOCKS))
    cache = reopen(tmp_path)
    cache.mark(State.PUBLISHED)
    cache.mark(State.FILLING)
    leave(cache)
    data, index = names(tmp_path)
    os.link(data, tmp_path / "x")
    lose_last_header(tmp_path)
    assert clean_up(tmp_path / "x", index) is None
    assert Path(data).exists()
    assert Path(index).exists()


def test_whose_version_this_is(tmp_path):
    """Without validators, what is there is not mixed with what a server has now."""
    new_cache(tmp_path, SIZE, BLOCK).close()
    cache = reopen(tmp_path)
    cache.pin(Identity('"v1"', DATE, SIZE))
    put(cache, CONTENT, 0, 1)
    leave(cache)
    lose_last_header(tmp_path)
    with LoopbackServer(noise(SIZE, seed=3), etag='"v2"') as server:
        with reopen(tmp_path) as cache, HTTPReader(server.url, proxy="") as reader:
            assert cache.identity.etag is None
            with pytest.raises(SourceChangedError):
                CachingDownloader(reader, cache).run()
            assert present(cache) == {0, 1}
            assert cache.read_at(2 * BLOCK, 0) == CONTENT[: 2 * BLOCK]


# --- a name that was given to another file -------------------------------------------------------


def complete(base: Path, state: State) -> None:
    with new_cache(base, SIZE, BLOCK) as cache:
        put(cache, CONTENT, *range(BLOCKS))
        cache.mark(state)


def test_a_destination_with_the_number_of_the_removed_one_is_not_taken_for_finished(tmp_path):
    complete(tmp_path, State.PUBLISHED)
    ops = SameNumber(tmp_path)
    data, index = names(tmp_path)
    Path(data).unlink()
    (tmp_path / "x").write_bytes(noise(SIZE, seed=9))  # of the same size, and somebody else's
    if ops.birth(index):
        assert clean_up(tmp_path / "x", index, ops=ops) is None
        assert Path(index).exists()


def test_a_strangers_file_with_the_number_of_a_superseded_one_is_not_removed(tmp_path):
    complete(tmp_path, State.SUPERSEDED)
    ops = SameNumber(tmp_path)
    data, index = names(tmp_path)
    Path(data).unlink()
    Path(data).write_bytes(b"mine")
    if ops.birth(index):
        assert not remove_unborn(data, index, ops=ops)
        assert Path(data).read_bytes() == b"mine"


@pytest.mark.parametrize("names_left", ["part", "both", "dest"])
def test_a_publication_that_was_cut_short_and_lost_its_header_ends_right_or_in_a_typed_error(
    tmp_path, names_left
):
    dest, part = tmp_path / "x", tmp_path / "x.part"
    with LoopbackServer(CONTENT) as server:
        who = Identity('"v1"', DATE, SIZE)
        with LocalDownloadCache.create(*names(tmp_path), SIZE, BLOCK, identity=who, url=server.url) as cache:
            put(cache, CONTENT, *range(BLOCKS))
        cache = reopen(tmp_path)
        cache.mark(State.PUBLISHED)
        leave(cache)
        if names_left != "part":
            os.link(part, dest)
        if names_left == "dest":
            part.unlink()
        lose_last_header(tmp_path)
        if names_left == "part":
            assert get(server, dest, block_size="auto").resumed_bytes == SIZE
        else:
            with pytest.raises(DestinationExistsError):
                get(server, dest)
        assert dest.read_bytes() == CONTENT


# --- another mount, in the same boot ---------------------------------------------------------------


class Mounted(FileOps):
    """A mount by its number, as a process sees it that may see others or, in a container of its own, not."""

    def __init__(self, number: int, *, gone: bool = False) -> None:
        self._number = number
        self._gone = gone

    def mount_id(self, fd, path=""):
        return self._number

    def process_start(self, pid):
        return super().process_start(pid) + self._gone


def test_a_follower_believes_nothing_that_a_writer_in_its_recovery_may_not(tmp_path):
    """The disk was taken out, and lost what it was not told to keep; its writer has only begun to look."""
    cache = new_cache(tmp_path, SIZE, BLOCK, ops=Mounted(1, gone=True))
    put(cache, CONTENT, 1)
    cache.commit()
    put(cache, CONTENT, 2, 3)
    leave(cache)
    spoil(tmp_path, 2)
    looks = []

    def in_the_middle(hashed):
        with reopen(tmp_path, read_only=True, ops=Mounted(2)) as follower:
            assert follower.writer_alive()
            looks.append(present(follower))
            with pytest.raises(UncachedRangeError):
                follower.read_at(BLOCK, 2 * BLOCK)

    with (
        reopen(tmp_path, ops=Mounted(2), reserve="span", progress=in_the_middle),
        reopen(tmp_path, read_only=True, ops=Mounted(2)) as follower,
    ):
        assert present(follower) == {1, 3}
    assert looks[0] == {1}


@pytest.mark.parametrize("gone", [False, True])
def test_a_follower_in_another_mount_follows_by_what_it_can_know_of_the_writer(tmp_path, gone):
    with (
        new_cache(tmp_path, SIZE, BLOCK, ops=Mounted(1, gone=gone)) as cache,
        reopen(tmp_path, read_only=True, ops=Mounted(2)) as follower,
    ):
        put(cache, CONTENT, 4)
        if gone:
            with pytest.raises(UncachedRangeError):
                follower.read_at(BLOCK, 4 * BLOCK)
            cache.commit()
        assert follower.read_at(BLOCK, 4 * BLOCK) == block_of(CONTENT, BLOCK, 4)
