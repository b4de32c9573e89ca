"""Room is there before the first byte, or nothing was touched."""

import errno

import pytest
from disk_helpers import folder, noise
from hypothesis import given
from hypothesis import strategies as st

from largefile.disk import reserve as module
from largefile.disk.fileops import FileOps
from largefile.disk.reserve import check_space, reserve_space
from largefile.errors import CacheIOError, NotEnoughSpaceError

PETABYTE = 10**15


class NoFallocate(FileOps):
    """A filesystem that cannot reserve; writing zeros in its place would be seen."""

    def fallocate(self, fd, offset, size, path="", *, keep_size=False):
        raise CacheIOError(errno.EOPNOTSUPP, "reserve space in", path)

    def pwrite(self, *args):
        raise AssertionError("nothing is written")


class FullAfter(FileOps):
    """Gets full by another writer, after the free space was looked at."""

    def __init__(self, pieces):
        self.pieces = pieces

    def fallocate(self, fd, offset, size, path="", *, keep_size=False):
        self.pieces -= 1
        if self.pieces < 0:
            raise NotEnoughSpaceError(path, -1, -1)
        super().fallocate(fd, offset, size, path, keep_size=keep_size)


@given(st.integers(0, 100_000), st.integers(0, 100_000) | st.none())
def test_a_file_gets_its_size_and_keeps_its_bytes_and_never_shrinks(size, before):
    with folder() as base:
        path, old = base / "x", noise(before or 0)
        if before is not None:
            path.write_bytes(old)
        assert reserve_space(path, size)
        assert path.read_bytes() == old + bytes(max(0, size - len(old)))
        assert reserve_space(path, size)
        assert path.stat().st_blocks * 512 >= size


def test_the_last_report_is_the_size(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 1 << 20)
    size, seen = 10 * (1 << 20) + 33, []
    reserve_space(tmp_path / "x", size, progress=seen.append)
    assert seen == [*range(1 << 20, size, 1 << 20), size]
    reserve_space(tmp_path / "empty", 0, progress=seen.append)
    assert seen[-1] == 0


def test_too_much_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(NotEnoughSpaceError) as caught:
        reserve_space(tmp_path / "x", PETABYTE)
    assert caught.value.needed == PETABYTE
    assert 0 < caught.value.available < PETABYTE
    assert not list(tmp_path.iterdir())


def test_too_much_for_an_existing_file_leaves_it_alone(tmp_path):
    (tmp_path / "x").write_bytes(b"precious")
    with pytest.raises(NotEnoughSpaceError):
        reserve_space(tmp_path / "x", PETABYTE)
    assert (tmp_path / "x").read_bytes() == b"precious"


def test_a_disk_that_fills_up_meanwhile_leaves_nothing_new(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 1 << 16)
    (tmp_path / "old").write_bytes(b"precious")
    for name in ("new", "old"):
        with pytest.raises(NotEnoughSpaceError) as caught:
            reserve_space(tmp_path / name, 1 << 20, ops=FullAfter(2))
        assert caught.value.needed == (1 << 20) - 2 * (1 << 16)
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "old").read_bytes() == b"precious"


def test_a_sparse_file_counts_only_what_is_allocated(tmp_path):
    # Counting st_blocks in units of st_blksize makes 1 MiB look like 8.
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(noise(1 << 20))
        file.truncate(8 << 20)

    class Tight(FileOps):
        def free_bytes(self, path):
            return 2 << 20

    with pytest.raises(NotEnoughSpaceError) as caught:
        reserve_space(path, 8 << 20, ops=Tight())
    assert caught.value.needed == 7 << 20
    assert reserve_space(path, 8 << 20)
    assert path.stat().st_blocks * 512 >= 8 << 20


def test_space_that_is_allocated_already_is_not_needed_again(tmp_path):
    check_space(str(tmp_path / "x"), PETABYTE, PETABYTE)
    with pytest.raises(NotEnoughSpaceError) as caught:
        check_space(str(tmp_path / "x"), 2 * PETABYTE, PETABYTE)
    assert caught.value.needed == PETABYTE


def test_where_nothing_can_be_reserved_the_answer_says_so(tmp_path):
    seen = []
    assert reserve_space(tmp_path / "x", 1 << 20, progress=seen.append, ops=NoFallocate()) is False
    assert (tmp_path / "x").stat().st_size == 1 << 20
    assert seen == [1 << 20]
    with pytest.raises(NotEnoughSpaceError):
        reserve_space(tmp_path / "y", PETABYTE, ops=NoFallocate())


def test_a_progress_that_raises_cancels_and_undoes(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 1 << 16)

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reserve_space(tmp_path / "x", 1 << 20, progress=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [-1, 2**63])
def test_sizes_that_cannot_be_are_the_callers_mistake(tmp_path, size):
    with pytest.raises(ValueError, match=str(size)):
        reserve_space(tmp_path / "x", size)
    assert not list(tmp_path.iterdir())
