"""A process killed at any file operation of a download leaves what the next one goes on from."""

from __future__ import annotations

from pathlib import Path

import pytest
from disk_helpers import Died, MortalOps, leave

from largefile.disk.cache import LocalDownloadCache
from largefile.disk.create import create_cache_files
from largefile.disk.fileops import REAL
from largefile.disk.leftovers import remove_unborn
from largefile.engine.destination import Destination
from largefile.errors import PartialFileError


def create(destination, ops):
    create_cache_files(destination.part, destination.index, 1000, 100, ops=ops)


def recreate(destination, ops):
    create_cache_files(destination.part, destination.index, 2000, 100, replace=True, ops=ops)


def left_by_an_earlier_run(destination):
    create(destination, REAL)
    with LocalDownloadCache.open(destination.part, destination.index) as cache:
        cache.write_at(bytes(100), 300)


def set_aside(destination, ops):
    cache = LocalDownloadCache.open(destination.part, destination.index, ops=ops)
    try:
        destination.set_aside(cache)
    except Died:
        cache._group.poisoned = "killed"
        cache._index.file.ops = cache.data.ops = REAL
        cache.close()
        raise


def calls_of(destination, act):
    """How many file operations it takes."""
    ops = MortalOps(10**9)
    act(destination, ops)
    return 10**9 - ops.left


def test_a_kill_at_any_point_of_the_creation_can_be_gone_on_from(tmp_path):
    total = calls_of(Destination(tmp_path / "counted"), create)
    assert total > 10
    for death in range(total):
        destination = Destination(tmp_path / f"killed-at-{death}")
        with pytest.raises(Died):
            create(destination, MortalOps(death))
        if not destination.has_partial():
            create_cache_files(destination.part, destination.index, 1000, 100)
        with LocalDownloadCache.open(destination.part, destination.index) as cache:
            assert cache.cached_bytes_and_blocks() == (0, 0)
            cache.write_at(bytes(100), 300)


def test_a_kill_at_any_point_of_a_restart_leaves_the_old_or_the_new_and_never_a_mixture(tmp_path):
    counted = Destination(tmp_path / "counted")
    left_by_an_earlier_run(counted)
    total = calls_of(counted, recreate)
    assert total > 15
    for death in range(total):
        destination = Destination(tmp_path / f"killed-at-{death}")
        left_by_an_earlier_run(destination)
        with pytest.raises(Died):
            recreate(destination, MortalOps(death))
        if not destination.has_partial():
            recreate(destination, REAL)
        with LocalDownloadCache.open(destination.part, destination.index) as cache:
            found = cache.content_size, cache.cached_bytes_and_blocks()[1]
        assert found in [(1000, 1), (1000, 0), (2000, 0)]


def test_a_kill_at_any_point_of_setting_aside_is_no_obstacle_and_never_a_partial(tmp_path):
    counted = Destination(tmp_path / "counted")
    left_by_an_earlier_run(counted)
    total = calls_of(counted, set_aside)
    assert (tmp_path / "counted.bad").exists()
    assert total > 10
    opened = calls_of_open(tmp_path)
    for death in range(total):
        destination = Destination(tmp_path / f"killed-at-{death}")
        left_by_an_earlier_run(destination)
        with pytest.raises(Died):
            set_aside(destination, MortalOps(death))
        if destination.has_partial():
            assert death < opened + 2, "a partial only as long as its end was not written down"
            recreate(destination, REAL)
        else:
            assert not Path(destination.part).exists()
            assert not Path(destination.index).exists()


def calls_of_open(tmp_path):
    destination = Destination(tmp_path / "opened")
    left_by_an_earlier_run(destination)
    return calls_of(destination, lambda there, ops: leave(reopened(there, ops)))


def reopened(there, ops):
    return LocalDownloadCache.open(there.part, there.index, ops=ops)


def test_bytes_that_were_set_aside_are_kept_and_the_place_is_free(tmp_path):
    destination = Destination(tmp_path / "x")
    left_by_an_earlier_run(destination)
    content = (tmp_path / "x.part").read_bytes()
    (tmp_path / "x.bad").write_bytes(b"of an earlier time")
    cache = LocalDownloadCache.open(destination.part, destination.index)
    with cache:
        assert destination.set_aside(cache) == str(tmp_path / "x.bad")
    assert [path.name for path in tmp_path.iterdir()] == ["x.bad"]
    assert (tmp_path / "x.bad").read_bytes() == content
    assert not destination.has_partial()


def test_an_index_that_had_data_is_not_removed(tmp_path):
    destination = Destination(tmp_path / "x")
    create_cache_files(destination.part, destination.index, 1000, 100)
    LocalDownloadCache.open(destination.part, destination.index).close()
    assert not remove_unborn(destination.part, destination.index)
    (tmp_path / "x.part").unlink()
    assert not remove_unborn(destination.part, destination.index)
    with pytest.raises(PartialFileError, match="gone"):
        destination.has_partial()
    assert (tmp_path / "x.part.idx").exists()
