"""Every failure of a file comes out as an error of this library, with its errno and its path."""

import errno
import os
import pickle
import stat
from pathlib import Path

import pytest

from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import MAPPABLE, REAL, DeniedError, FileOps, MissingFileError
from largefile.disk.publish import publish
from largefile.errors import CacheError, CacheIOError, NotEnoughSpaceError


def test_a_missing_file_is_file_not_found_and_a_cache_error(tmp_path):
    path = str(tmp_path / "gone")
    with pytest.raises(FileNotFoundError) as caught:
        REAL.open(path, os.O_RDWR)
    assert isinstance(caught.value, MissingFileError)
    assert isinstance(caught.value, CacheError)
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == path
    assert "open" in str(caught.value)


@pytest.mark.parametrize("kind", [MissingFileError, DeniedError, CacheIOError])
def test_errors_survive_pickling(kind):
    error = pickle.loads(pickle.dumps(kind(errno.EIO, "read", "x.part")))
    assert type(error) is kind
    assert (error.errno, error.doing, error.filename) == (errno.EIO, "read", "x.part")


def test_a_full_disk_is_not_enough_space():
    fd = os.open("/dev/full", os.O_RDWR)
    try:
        with pytest.raises(NotEnoughSpaceError) as caught:
            REAL.pwrite(fd, b"x", 0, "/dev/full")
    finally:
        os.close(fd)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == "/dev/full"


def test_a_link_under_our_name_is_not_followed(tmp_path):
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "x.part").symlink_to(tmp_path / "target")
    with pytest.raises(CacheIOError) as caught:
        REAL.open(str(tmp_path / "x.part"), os.O_RDWR)
    assert caught.value.errno == errno.ELOOP
    with pytest.raises(CacheIOError) as caught:
        REAL.open(str(tmp_path / "x.part"), os.O_RDWR | os.O_CREAT | os.O_EXCL)
    assert caught.value.errno == errno.EEXIST


def test_a_fifo_under_our_name_does_not_hang_a_reader(tmp_path):
    os.mkfifo(tmp_path / "x.part")
    REAL.close(REAL.open(str(tmp_path / "x.part"), os.O_RDONLY))


def test_new_files_are_private_and_do_not_pass_to_programs_we_start(tmp_path):
    path = str(tmp_path / "x")
    fd = REAL.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    assert Path(path).stat().st_mode & 0o777 == 0o600
    assert not os.get_inheritable(fd)
    REAL.close(fd)


def test_short_reads_and_writes_are_gone_on_with(tmp_path, monkeypatch):
    real_write, real_read = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, data, off: real_write(fd, bytes(data)[:7], off))
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, off: real_read(fd, [buffers[0][:5]], off))
    fd = REAL.open(str(tmp_path / "x"), os.O_RDWR | os.O_CREAT)
    REAL.pwrite(fd, bytes(range(100)), 3)
    found = bytearray(120)
    assert REAL.preadinto(fd, found, 3) == 100
    assert found == bytes(range(100)) + bytes(20)
    REAL.close(fd)


def test_a_write_that_makes_no_progress_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "pwrite", lambda fd, data, off: 0)
    fd = REAL.open(str(tmp_path / "x"), os.O_RDWR | os.O_CREAT)
    with pytest.raises(CacheIOError):
        REAL.pwrite(fd, b"abc", 0, "x")
    REAL.close(fd)


def test_the_kind_of_filesystem_is_known(tmp_path):
    fd = REAL.open(str(tmp_path / "x"), os.O_RDWR | os.O_CREAT)
    assert REAL.fs_magic(fd) > 0
    REAL.close(fd)
    assert {0xEF53, 0x58465342, 0x01021994} == MAPPABLE


def test_rename_noreplace_keeps_what_is_there(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    with pytest.raises(CacheIOError) as caught:
        REAL.rename_noreplace(str(tmp_path / "a"), str(tmp_path / "b"))
    assert caught.value.errno in (errno.EEXIST, errno.EINVAL, errno.ENOSYS)
    assert (tmp_path / "b").read_bytes() == b"b"


def test_an_ofd_lock_is_seen_by_every_other_open_and_by_none_of_its_own(tmp_path):
    path = str(tmp_path / "x")
    one, two = (REAL.open(path, os.O_RDWR | os.O_CREAT) for _ in range(2))
    REAL.lock_ofd(one, path)
    assert REAL.locked_ofd(two)
    assert not REAL.locked_ofd(one)
    with pytest.raises(CacheIOError) as caught:
        REAL.lock_ofd(two, path)
    assert caught.value.errno in (errno.EAGAIN, errno.EACCES)
    REAL.unlock_ofd(one)
    REAL.lock_ofd(two)
    REAL.close(one)
    REAL.close(two)


def test_a_process_is_known_by_its_start():
    assert FileOps().process_start(os.getpid()) > 0
    assert FileOps().process_start(2**22 + 1) == 0


def test_the_umask_is_read_and_not_changed():
    before = os.umask(0o027)
    try:
        assert REAL.umask() == 0o027
        assert REAL.umask() == 0o027
    finally:
        os.umask(before)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_download_comes_to_its_end_where_folders_can_not_be_synced(tmp_path, monkeypatch, number):
    """9p, vboxsf, older CIFS and some FUSE answer so; the files themselves can be synced."""
    real, refused = os.fsync, []

    def fsync(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            refused.append(fd)
            raise OSError(number, os.strerror(number))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    data, index = str(tmp_path / "x.part"), str(tmp_path / "x.part.idx")
    cache = LocalDownloadCache.create(data, index, 10, 4)
    for at in (0, 4, 8):
        cache.write_at(b"0123456789"[at : at + 4], at)
    publish(cache, str(tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == b"0123456789"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert refused


def test_a_folder_whose_disk_fails_is_not_one_that_can_not_be_synced(tmp_path, monkeypatch):
    def fsync(fd):
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, "fsync", fsync)
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(CacheIOError) as caught:
        REAL.fsync_dir(str(tmp_path))
    assert caught.value.errno == errno.EIO
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_names_in_a_folder_that_may_not_be_read_need_no_sync(tmp_path, monkeypatch):
    """Files may be made in it; root may read it all the same, so the system's answer is given for it."""
    real = os.open

    def opened(path, flags, *rest, **named):
        if flags & os.O_DIRECTORY:
            raise PermissionError(errno.EACCES, "not for you", path)
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", opened)
    data, index = str(tmp_path / "x.part"), str(tmp_path / "x.part.idx")
    LocalDownloadCache.create(data, index, 10, 4).close()
    assert {path.name for path in tmp_path.iterdir()} == {"x.part", "x.part.idx"}
