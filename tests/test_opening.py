"""What opening tells on its way, and that ending it there costs nothing."""

from pathlib import Path

import pytest
from disk_helpers import OtherBoot, leave, names, new_cache, noise, present, put, reopen

from largefile.disk.header import State
from largefile.disk.opening import peek
from largefile.errors import IndexCorruptError
from largefile.rules.identity import Identity

MIB = 1 << 20


class Cancel(Exception):
    """By the user."""


def doubtful(base, size, block_size):
    """A cache whose blocks no sync vouches for, and then the machine went down."""
    cache = new_cache(base, size, block_size)
    put(cache, noise(size), *range(cache.num_blocks))
    leave(cache)


@pytest.mark.parametrize(
    ("size", "block_size", "told"),
    [(250, 100, [100, 200, 250]), (5 * MIB // 2, 8 * MIB, [MIB, 2 * MIB, 5 * MIB // 2])],
)
def test_recovery_tells_how_far_it_is_at_least_every_mib(tmp_path, size, block_size, told):
    doubtful(tmp_path, size, block_size)
    heard = []
    with reopen(tmp_path, ops=OtherBoot(), progress=heard.append) as cache:
        assert cache.complete
    assert heard == [size, *told]  # first that there is room


@pytest.mark.parametrize("calls", range(1, 6))
def test_a_recovery_that_is_cancelled_leaves_everything_for_the_next(tmp_path, calls):
    doubtful(tmp_path, 400, 100)
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    left = [None] * (calls - 1)

    def progress(done):
        if not left:
            raise Cancel
        left.pop()

    with pytest.raises(Cancel):
        reopen(tmp_path, ops=OtherBoot(), progress=progress)
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before
    with reopen(tmp_path, ops=OtherBoot()) as cache:  # and the lock is gone
        assert cache.hashed_blocks == 4
        assert present(cache) == {0, 1, 2, 3}


def test_an_index_tells_whose_it_is_beside_its_writer_and_without_a_read_of_its_tables(tmp_path):
    identity = Identity('"v1"', None, 1000, None)
    with new_cache(tmp_path, 1000, 64) as cache:
        cache.pin(identity)
        header = peek(names(tmp_path)[1])
        assert header.identity == identity
        assert header.state is State.FILLING
        assert header.owner == cache._index.header.owner
    with Path(names(tmp_path)[1]).open("r+b") as file:
        file.truncate(8192)  # the tables are gone, and nobody notices
    assert peek(names(tmp_path)[1]).num_blocks == 16


def test_what_is_no_index_is_said_to_be_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        peek(tmp_path / "absent")
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(IndexCorruptError):
        peek(tmp_path / "junk")
    with pytest.raises(ValueError):
        peek("")
