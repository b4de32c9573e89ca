"""A process killed at any file operation of a download leaves what the next one goes on from."""

from __future__ import annotations

import pytest
from disk_helpers import Died, MortalOps

from largefile.disk.cache import LocalDownloadCache
from largefile.disk.create import create_cache_files, remove_unborn
from largefile.disk.fileops import REAL
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
