"""A download whose size nobody tells leaves the whole file or nothing that is in the way of the next one."""

import errno
import gc
import os
from pathlib import Path

import pytest
from disk_helpers import Died, MortalOps, folder, noise
from processes import Download, until
from server_tools import always, sha256

import largefile
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import FileOps, MissingFileError
from largefile.disk.loose import LooseFile
from largefile.engine.destination import Destination
from largefile.errors import CacheBusyError, CacheIOError, DestinationExistsError, PartialFileError
from largefile.testing.server import LoopbackServer

CONTENT = noise(300_000)


class NoUnnamed(FileOps):
    """A filesystem, or a system, without unnamed files."""

    def open_unnamed(self, folder):
        raise CacheIOError(errno.EOPNOTSUPP, "open", folder)


class NoProc(FileOps):
    """Unnamed files, and no way to name them."""

    def can_link_unnamed(self, fd):
        return False

    def link_unnamed(self, fd, target):
        raise MissingFileError(errno.ENOENT, "link", target)


class MortalNoUnnamed(MortalOps):
    def open_unnamed(self, folder):
        raise CacheIOError(errno.EOPNOTSUPP, "open", folder)


def files(base):
    return sorted(path.name for path in base.iterdir())


def begin(base, **options):
    return LooseFile(str(base / "x.part"), str(base / "x.part.idx"), **options)


@pytest.mark.parametrize("ops", [FileOps(), NoUnnamed(), NoProc()], ids=["unnamed", "named", "no-proc"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_the_file_gets_its_name_its_mode_and_nothing_is_left(tmp_path, ops, overwrite):
    if overwrite:
        (tmp_path / "x").write_bytes(b"old")
    before = os.umask(0o027)
    try:
        with begin(tmp_path, overwrite=overwrite, ops=ops) as file:
            file.write_at(CONTENT[:1000], 0)
            file.write_at(CONTENT[1000:], 1000)
            assert file.publish(tmp_path / "x") == str(tmp_path / "x")
    finally:
        os.umask(before)
    assert files(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "x").stat().st_nlink == 1


@pytest.mark.parametrize("ops", [FileOps(), NoUnnamed()], ids=["unnamed", "named"])
def test_a_destination_that_appears_meanwhile_is_kept(tmp_path, ops):
    with begin(tmp_path, ops=ops) as file:
        file.write_at(CONTENT, 0)
        (tmp_path / "x").write_bytes(b"precious")
        with pytest.raises(DestinationExistsError):
            file.publish(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"precious"
    assert files(tmp_path) == ["x"]


@pytest.mark.parametrize("ops", [FileOps(), NoUnnamed()], ids=["unnamed", "named"])
def test_wrong_bytes_are_put_aside_over_earlier_ones(tmp_path, ops):
    (tmp_path / "x.bad").write_bytes(b"older")
    with begin(tmp_path, ops=ops) as file:
        file.write_at(CONTENT, 0)
        assert file.set_aside(tmp_path / "x.bad") == str(tmp_path / "x.bad")
    assert files(tmp_path) == ["x.bad"]
    assert (tmp_path / "x.bad").read_bytes() == CONTENT


@pytest.mark.parametrize("ops", [FileOps(), NoUnnamed()], ids=["unnamed", "named"])
def test_what_is_not_published_is_gone(tmp_path, ops):
    with begin(tmp_path, ops=ops) as file:
        file.write_at(CONTENT, 0)
    assert files(tmp_path) == []


@pytest.mark.parametrize("ops", [FileOps(), NoUnnamed()], ids=["unnamed", "named"])
def test_an_older_partial_file_goes_first_if_nobody_writes_it(tmp_path, ops):
    there = Destination(tmp_path / "x", ops)
    with LocalDownloadCache.create(there.part, there.index, 1000, 100) as cache:
        cache.write_at(bytes(100), 0)
        with pytest.raises(CacheBusyError):
            there.begin_unsized(overwrite=False)
        cache.write_at(bytes(100), 100)
    with there.begin_unsized(overwrite=False) as file:
        file.write_at(CONTENT, 0)
        file.publish(there.path)
    assert files(tmp_path) == ["x"]


@pytest.mark.parametrize("ops", [FileOps(), NoUnnamed()], ids=["unnamed", "named"])
def test_data_without_an_index_is_not_ours(tmp_path, ops):
    (tmp_path / "x.part").write_bytes(b"precious")
    with pytest.raises(PartialFileError):
        begin(tmp_path, ops=ops)
    assert (tmp_path / "x.part").read_bytes() == b"precious"
    assert files(tmp_path) == ["x.part"]


def test_a_named_one_is_not_removed_while_its_writer_lives(tmp_path):
    with begin(tmp_path, ops=NoUnnamed()) as file:
        file.write_at(CONTENT, 0)
        with pytest.raises(CacheBusyError):
            Destination(tmp_path / "x").has_partial()
        assert file.publish(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_strange_data_beside_a_superseded_index_is_not_removed(tmp_path):
    (tmp_path / "other").write_bytes(b"precious")
    file = begin(tmp_path, ops=NoUnnamed())
    kept = (tmp_path / "x.part.idx").read_bytes()
    file.close()
    (tmp_path / "x.part.idx").write_bytes(kept)
    (tmp_path / "x.part").hardlink_to(tmp_path / "other")
    Destination(tmp_path / "x").has_partial()
    assert (tmp_path / "x.part").read_bytes() == b"precious"


def old_partial(there):
    with LocalDownloadCache.create(there.part, there.index, 1000, 100) as cache:
        cache.write_at(bytes(100), 300)


@pytest.fixture
def collectable():
    """What was there before is left out of collections, which are then quick."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("collectable")
@pytest.mark.parametrize("way", [MortalOps, MortalNoUnnamed])
@pytest.mark.parametrize("end", ["publish", "replace", "set_aside", "discard"])
@pytest.mark.parametrize("before", [lambda there: None, old_partial], ids=["nothing", "an-old-partial"])
def test_a_kill_at_any_point_leaves_the_whole_file_or_a_free_place(way, end, before):
    death, died = 0, True
    while died:
        with folder() as base:
            there = Destination(base / "x")
            before(there)
            if end == "replace":
                Path(there.path).write_bytes(b"old")
            died = dies(there, way(death), end)
            death += 1
            is_whole = Path(there.path).exists() and Path(there.path).read_bytes() == CONTENT
            if not is_whole:
                assert there.is_free(overwrite=end == "replace")
            if there.has_partial():  # as it was
                with LocalDownloadCache.open(there.part, there.index) as cache:
                    assert cache.cached_bytes_and_blocks() == (100, 1)
            with there.begin_unsized(overwrite=True) as file:
                file.write_at(CONTENT, 0)
                file.publish(there.path)
            assert set(files(base)) <= {"x", "x.bad"}
    assert death > 4


def dies(there, ops, end):
    """Whether it came to its end before `ops` did."""
    try:
        with LooseFile(there.part, there.index, overwrite=end == "replace", ops=ops) as file:
            for at in range(0, len(CONTENT), 100_000):
                file.write_at(CONTENT[at : at + 100_000], at)
            if end in ("publish", "replace"):
                file.publish(there.path)
            elif end == "set_aside":
                file.set_aside(there.bad)
    except Died:
        gc.collect()  # the system would close its files, and so let go of the lock
        return True
    return False


# --- whole downloads ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"chunked": True}, {"no_length": True}])
def test_a_rate_is_kept_and_stops_nothing(tmp_path, how):
    dest, digest = tmp_path / "x", sha256(CONTENT)
    with LoopbackServer(CONTENT, behave=always(ranges=False, **how)) as server:
        largefile.download(server.url, dest, proxy="", rate=1 << 20, timeout=4.0, digest=digest)
    assert dest.read_bytes() == CONTENT


@pytest.mark.parametrize("overwrite", [False, True])
def test_after_kill_9_the_same_download_begins_again(tmp_path, overwrite):
    dest = tmp_path / "x"
    if overwrite:
        dest.write_bytes(b"old")
    with LoopbackServer(CONTENT, behave=always(ranges=False, chunked=True, stall_after=100_000)) as server:
        with Download(server.url, dest, overwrite=overwrite) as child:
            until(lambda: server.requests and server.requests[0].sent >= 100_000, what="half of it")
            if overwrite:
                until((tmp_path / "x.part").exists, what="the part")
            assert child.kill()
        assert files(tmp_path) == (["x", "x.part", "x.part.idx"] if overwrite else [])
        server.behave = always(ranges=False, chunked=True)
        largefile.download(server.url, dest, overwrite=overwrite)
    assert dest.read_bytes() == CONTENT
    assert files(tmp_path) == ["x"]


def test_a_source_that_does_not_say_its_size_any_more_takes_the_place_of_an_old_partial(tmp_path):
    dest = tmp_path / "x"
    with LoopbackServer(CONTENT, behave=always(ranges=False, chunked=True)) as server:
        old_partial(Destination(dest))
        largefile.download(server.url, dest, resume=False)
    assert dest.read_bytes() == CONTENT
    assert files(tmp_path) == ["x"]
