"""The disk is full, lies about it, turns read-only, or loses the folder: an error that says so, never a
signal, and a next run that goes on from what was committed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from mounts import MIB, fill, mounted, run
from processes import in_place, nothing_left_behind, until

import largefile
from largefile.core.ranges import ByteRange
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import DeniedError, FileOps, failure
from largefile.disk.header import State
from largefile.disk.opening import peek
from largefile.errors import (
    CacheError,
    CacheIOError,
    CachePoisonedError,
    NotEnoughSpaceError,
    PartialFileError,
)
from largefile.testing.disk.seam import Watched, everywhere
from largefile.testing.disk.stage import durable_blocks
from largefile.testing.script import Behaviour, Content, pattern
from largefile.testing.server import LoopbackServer

BLOCK = 64 << 10
SIZE = 4 * MIB + 4321
OPTIONS = {"block_size": BLOCK, "concurrency": 4, "threads": 1, "timeout": 30.0, "tries": 2, "proxy": ""}


class Gate:
    """Content whose first `free` bytes come at once, and the rest when the gate is opened."""

    def __init__(self, size: int = SIZE, free: int = SIZE // 2) -> None:
        self.free = free
        self.opened = threading.Event()
        self.content = Content(size, self._read)
        self.digest = hashlib.sha256(pattern(0, size - 1)).hexdigest()

    def _read(self, first: int, last: int) -> bytes:
        if last >= self.free:
            self.opened.wait(60)
        return pattern(first, last)


@contextlib.contextmanager
def midway(dest: Path, gate: Gate | None = None, **options):
    """A download to `dest` that is held in its middle; the server, the job and the gate."""
    gate = gate or Gate()
    with LoopbackServer(gate.content, etag='"v1"') as server:
        try:
            job = largefile.start_download(server.url, dest, **{**OPTIONS, **options})
            until(lambda: in_place(dest) >= gate.free // 2, what="the first half")
            yield server, job, gate
        finally:
            gate.opened.set()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def goes_on(server: LoopbackServer, dest: Path, digest: str, **options) -> None:
    """A new run ends with the right file, and asks for nothing that was committed."""
    kept = durable_blocks(f"{dest}.part.idx")
    mark = len(server.requests)
    largefile.download(server.url, dest, **{**OPTIONS, **options})
    assert sha256(dest) == digest
    asked = {
        block
        for first, last in (r.range for r in server.requests[mark:] if r.range is not None)
        if last is not None and last > first
        for block in range(first // BLOCK, last // BLOCK + 1)
    }
    assert not kept & asked
    assert [path.name for path in dest.parent.iterdir() if path.name.startswith("x")] == ["x"]


# --- before anything is touched --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "btrfs"])
def test_a_file_that_does_not_fit_is_refused_before_anything_is_touched(kind):
    gate = Gate(40 * MIB, 40 * MIB)
    with mounted(kind, 256 * MIB) as folder, LoopbackServer(gate.content) as server:
        hog = fill(folder, leave=8 * MIB)
        with pytest.raises(NotEnoughSpaceError) as caught:
            largefile.download(server.url, folder / "x", **OPTIONS)
        assert caught.value.needed > caught.value.available >= 0
        assert {path.name for path in folder.iterdir()} <= {"hog", "lost+found"}
        hog.unlink()
        run("sync", "-f", folder)  # btrfs gives room back with its next transaction
        largefile.download(server.url, folder / "x", **OPTIONS)
        assert sha256(folder / "x") == gate.digest


def test_a_new_version_that_does_not_fit_costs_the_old_partial_file_nothing():
    with mounted("tmpfs", 16 * MIB) as folder:
        with midway(folder / "x") as (server, job, gate):
            job.cancel()
            with pytest.raises(largefile.CancelledError):
                job.result()
            before = {path.name: path.read_bytes() for path in folder.iterdir()}
            server.replace(Content(40 * MIB), etag='"v2"')
            with pytest.raises(NotEnoughSpaceError):
                largefile.download(server.url, folder / "x", **OPTIONS)
            assert {path.name: path.read_bytes() for path in folder.iterdir()}.keys() == before.keys()
            server.replace(gate.content, etag='"v1"')
            gate.opened.set()
            goes_on(server, folder / "x", gate.digest)


# --- in mid-flight ---------------------------------------------------------------------------------


class Full(Watched):
    """After so many writes to the data there is no room, until some is made. Nothing is ever reserved."""

    def __init__(self, number: int, writes: int = 40) -> None:
        self.number = number
        self.left = writes
        self.full = True

    def perform(self, call):
        if call.name == "fallocate":
            raise CacheIOError(errno.EOPNOTSUPP, "reserve space in", call.path)
        return call()

    def pwrite(self, fd, data, offset, path=""):
        if str(path).endswith(".part"):
            self.left -= 1
            if self.full and self.left < 0:
                raise failure(self.number, "write", path)
        FileOps.pwrite(self, fd, data, offset, path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS])
def test_a_write_that_fails_in_mid_flight_keeps_what_is_there(tmp_path, number):
    gate, ops = Gate(free=SIZE), Full(number)
    with nothing_left_behind(), LoopbackServer(gate.content) as server, everywhere(ops):
        with pytest.raises((NotEnoughSpaceError, CacheIOError)) as caught:
            largefile.download(server.url, tmp_path / "x", **OPTIONS)
        assert caught.value.resumable
        assert caught.value.errno == (errno.ENOSPC if number == errno.EDQUOT else number)
        assert len(durable_blocks(f"{tmp_path / 'x'}.part.idx")) >= 10
        ops.full = False
        goes_on(server, tmp_path / "x", gate.digest)


def test_a_full_disk_that_had_reserved_nothing():
    """tmpfs, as if it could not reserve: the room is gone in mid-flight."""
    with mounted("tmpfs", 16 * MIB) as folder, everywhere(Unreserved()):
        with midway(folder / "x") as (server, job, gate):
            hog = fill(folder)
            gate.opened.set()
            with pytest.raises((NotEnoughSpaceError, CachePoisonedError)) as caught:
                job.result(60)
            assert caught.value.resumable
            hog.unlink()
            goes_on(server, folder / "x", gate.digest)


class Unreserved(Watched):
    def perform(self, call):
        if call.name == "fallocate" and str(call.path).endswith(".part"):
            raise CacheIOError(errno.EOPNOTSUPP, "reserve space in", call.path)
        return call()


def test_a_span_that_does_not_fit_any_more_fails_its_read_and_not_the_file():
    """`open()` reserves each span when it is begun."""
    gate = Gate(free=SIZE)
    with mounted("tmpfs", 16 * MIB) as folder, LoopbackServer(gate.content) as server:
        with largefile.open(
            server.url, cache_dir=folder, block_size=BLOCK, readahead=0, buffer_size=BLOCK, proxy=""
        ) as file:
            assert file.read_at(BLOCK, 0) == pattern(0, BLOCK - 1)
            hog = fill(folder)
            with pytest.raises((NotEnoughSpaceError, CachePoisonedError)):
                file.read_at(MIB, MIB)
            assert file.read_at(BLOCK, 0) == pattern(0, BLOCK - 1)
            hog.unlink()
            # The engine is over: who opens it again gets a new one.
            with largefile.open(server.url, cache_dir=folder, block_size=BLOCK, proxy="") as again:
                assert again.read_at(MIB, MIB) == pattern(MIB, 2 * MIB - 1)
                assert again.stats().downloaded_bytes <= SIZE - BLOCK


def test_a_copy_on_write_filesystem_that_has_no_room_for_what_it_has_reserved():
    """btrfs: a snapshot in mid-flight makes each write into reserved space need new space."""
    size = 24 * MIB + 4321
    with mounted("btrfs", 160 * MIB) as top:
        run("btrfs", "subvolume", "create", top / "sub")
        dest = top / "sub" / "x"
        gate = Gate(size, size // 2)
        with midway(dest, gate) as (server, job, _):
            run("btrfs", "subvolume", "snapshot", top / "sub", top / "shot")
            run("sync", "-f", top)
            hog = fill(top)
            gate.opened.set()
            with pytest.raises((NotEnoughSpaceError, CacheIOError, CachePoisonedError)) as caught:
                job.result(60)
            assert caught.value.resumable
            hog.unlink()
            run("sync", "-f", top)
            goes_on(server, dest, gate.digest)


def test_a_page_of_the_map_that_has_lost_its_room_is_an_error_and_no_signal():
    """Reserved, mapped, and then punched out by somebody else while the disk is full."""
    gate = Gate(free=SIZE)
    with mounted("tmpfs", 16 * MIB) as folder, LoopbackServer(gate.content) as server:
        path = f"{folder / 'x'}.part"
        cache = LocalDownloadCache.create(path, f"{path}.idx", SIZE, BLOCK, write_path="map")
        reader = largefile.HTTPReader(server.url, proxy="", tries=2)
        with cache, contextlib.closing(reader):
            run("fallocate", "-p", "-o", 0, "-l", SIZE // BLOCK * BLOCK, path)
            hog = fill(folder)
            with pytest.raises(NotEnoughSpaceError):
                largefile.CachingDownloader(reader, cache, tries=2).run()
            hog.unlink()
            largefile.CachingDownloader(reader, cache, tries=2).run()
            assert hashlib.sha256(cache.read_at(SIZE, 0)).hexdigest() == gate.digest


def test_a_filesystem_that_turns_read_only_in_mid_flight():
    """ext4 does so by itself when it has found an error: ``abort`` is how one is feigned."""
    with mounted("ext4", 64 * MIB) as folder:
        dest = folder / "x"
        with midway(dest) as (server, job, gate):
            until(lambda: len(durable_blocks(f"{dest}.part.idx")) > 4, what="a commit")
            run("mount", "-o", "remount,abort", folder)
            gate.opened.set()
            with pytest.raises(CacheError) as caught:
                job.result(60)
            assert caught.value.resumable
            with pytest.raises(CacheError):  # and a new run there says so too
                largefile.download(server.url, dest, **OPTIONS)


STORES = """
import sys; sys.path[:] = {path!r}
import fcntl, os, struct, subprocess
from largefile.core.ranges import ByteRange
from largefile.disk.cache import LocalDownloadCache
from largefile.errors import CacheError

folder = {folder!r}
names = folder + "/x.part", folder + "/x.part.idx"
cache = LocalDownloadCache.create(*names, 10 << 16, 1 << 16, durable=False)
for block in range(5):
    cache.write_at(bytes([block]) * (1 << 16), block << 16)
subprocess.run(["sync", "-f", folder], check=True)
fd = os.open(folder, os.O_RDONLY)
fcntl.ioctl(fd, 0x8004587D, struct.pack("I", 2))  # XFS_IOC_GOINGDOWN, without a last word to the log
os.close(fd)
for work in (lambda: cache.seal(7, 1), lambda: cache.invalidate(ByteRange(0, 9)), cache.commit, cache.close):
    try:
        work()
    except CacheError as error:
        print(type(error).__name__)
"""


@pytest.mark.parametrize(("kind", "size"), [("ext4", 64 * MIB), ("xfs", 320 * MIB)])
def test_a_filesystem_that_shuts_itself_down_sends_no_signal(kind, size):
    """XFS answers a store into a mapped page that it has written meanwhile by SIGBUS."""
    with mounted(kind, size) as folder:
        code = STORES.format(path=sys.path, folder=str(folder))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done
        assert "CachePoisonedError" in done.stdout.split()


@pytest.mark.parametrize(("kind", "size"), [("ext4", 64 * MIB), ("xfs", 320 * MIB)])
def test_what_a_filesystem_lost_that_was_mounted_again_is_not_believed(kind, size):
    """The same boot, and yet the page cache is gone: as when a disk is pulled out, and put in again."""
    with mounted(kind, size) as folder:
        path = f"{folder / 'x'}.part"
        cache = LocalDownloadCache.create(path, f"{path}.idx", 10 * BLOCK, BLOCK)
        if not cache._index.header.mount:
            pytest.skip("the system does not tell one mount from the next (Linux 6.8 does)")
        for block in range(4):
            cache.write_at(bytes([block + 1]) * BLOCK, block * BLOCK)
            if block == 2:
                cache.commit()
        cache._index.sync()  # as the rest of a commit that had begun before the last block landed
        shut_down(folder)
        with pytest.raises(CachePoisonedError):
            cache.close()
        run("umount", folder)
        run("mount", "-o", "loop", folder.parent / "image", folder)
        with LocalDownloadCache.open(path, f"{path}.idx") as cache:
            assert [block for block in range(10) if cache.byte_ranges.is_set(block * BLOCK)] == [0, 1, 2]
            assert cache.hashed_blocks == 1
            assert cache.verify() == []


def shut_down(folder):
    """XFS_IOC_GOINGDOWN, which ext4 has too: without a last word to the log."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, 0x8004587D, struct.pack("I", 2))
    finally:
        os.close(fd)


@pytest.mark.parametrize("number", [errno.EFAULT, errno.ENOMEM])
def test_a_page_of_the_index_that_can_not_be_stored_to_is_an_error(tmp_path, monkeypatch, number):
    path = f"{tmp_path / 'x'}.part"
    cache = LocalDownloadCache.create(path, f"{path}.idx", 10 * BLOCK, BLOCK)
    cache.write_at(bytes(BLOCK), 0)
    cache.write_at(bytes(BLOCK), 3 * BLOCK)
    with monkeypatch.context() as broken:
        broken.setattr("largefile.disk.index.prefault", lambda *place: number)
        with pytest.raises(CacheIOError) as caught:
            cache.write_at(bytes(BLOCK), BLOCK)
        assert caught.value.errno == (errno.EIO if number == errno.EFAULT else number)
        assert not cache.byte_ranges.is_set(BLOCK)
        with pytest.raises(CacheIOError):
            cache.invalidate(ByteRange(0, 9))
        with pytest.raises(CachePoisonedError):
            cache.commit()
    cache.close()
    assert peek(f"{path}.idx").state is State.POISONED


def test_an_index_of_which_a_sector_can_not_be_read_is_an_error(tmp_path):
    """All of it is read before it is mapped, where it would be a signal."""
    path = f"{tmp_path / 'x'}.part"
    LocalDownloadCache.create(path, f"{path}.idx", 3000 * BLOCK, BLOCK, reserve="span").close()

    class Sector(FileOps):
        def pread(self, fd, size, offset, path=""):
            if path.endswith(".idx") and offset <= 20_000 < offset + size:
                raise failure(errno.EIO, "read", path)
            return super().pread(fd, size, offset, path)

    for read_only in (False, True):
        with pytest.raises(CacheIOError, match="read"):
            LocalDownloadCache.open(path, f"{path}.idx", read_only, reserve="span", ops=Sector())


# --- limits ----------------------------------------------------------------------------------------

CHILD = """
import sys; sys.path[:] = {path!r}
import resource, largefile
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
try:
    largefile.download({url!r}, {dest!r}, **{options!r})
except largefile.LargeFileError as error:
    print(type(error).__name__, error.errno, error.resumable)
"""


@pytest.mark.parametrize(("unsized", "limit"), [(False, 2 * MIB), (False, 100), (True, 2 * MIB)])
def test_a_limit_on_the_size_of_files_is_an_error_and_no_signal(tmp_path, unsized, limit):
    """At ftruncate, at the index's reservation, and at a write; SIGXFSZ would kill."""
    gate, dest = Gate(free=SIZE), tmp_path / "x"
    behave = (lambda request: Behaviour(chunked=True, ranges=False)) if unsized else None
    with LoopbackServer(gate.content, behave=behave) as server:
        code = CHILD.format(path=sys.path, limit=limit, url=server.url, dest=str(dest), options=OPTIONS)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout.split()) == (0, ["CacheIOError", str(errno.EFBIG), "True"])
        assert list(tmp_path.iterdir()) == []
        largefile.download(server.url, dest, **OPTIONS)
    assert sha256(dest) == gate.digest
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != limit


# --- the folder ------------------------------------------------------------------------------------


@pytest.mark.parametrize("remove", ["files", "folder"])
def test_what_is_removed_in_mid_flight_is_an_error_and_hangs_nobody(tmp_path, remove):
    folder = tmp_path / "folder"
    folder.mkdir()
    with nothing_left_behind(), midway(folder / "x") as (server, job, gate):
        for path in folder.iterdir():
            path.unlink()
        if remove == "folder":
            folder.rmdir()
        gate.opened.set()
        with pytest.raises((PartialFileError, CacheIOError)):
            job.result(60)
        assert not (folder / "x").exists()
        folder.mkdir(exist_ok=True)
        largefile.download(server.url, folder / "x", **OPTIONS)
    assert sha256(folder / "x") == gate.digest
    assert [path.name for path in folder.iterdir()] == ["x"]


@contextlib.contextmanager
def humble():
    """A folder of somebody who is not root, to whom permissions mean something."""
    if os.geteuid() != 0:
        with tempfile.TemporaryDirectory(prefix="largefile-test-") as name:
            yield Path(name)
        return
    folder = Path(tempfile.mkdtemp(prefix="largefile-test-"))
    try:
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_may_not_be_written_any_more_keeps_the_partial_file(overwrite):
    with humble() as folder, midway(folder / "x", overwrite=overwrite) as (server, job, gate):
        folder.chmod(0o500)
        gate.opened.set()
        with pytest.raises(DeniedError):
            job.result(60)
        assert sorted(path.name for path in folder.iterdir()) == ["x.part", "x.part.idx"]
        folder.chmod(0o700)
        mark = server.sent
        goes_on(server, folder / "x", gate.digest, overwrite=overwrite)
        assert server.sent - mark <= 1


def test_a_folder_that_may_not_be_written_from_the_first():
    gate = Gate(free=SIZE)
    with humble() as folder, LoopbackServer(gate.content) as server:
        folder.chmod(0o500)
        with pytest.raises(DeniedError):
            largefile.download(server.url, folder / "x", **OPTIONS)
        folder.chmod(0o700)
        assert list(folder.iterdir()) == []
