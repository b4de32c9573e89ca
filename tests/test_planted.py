"""What somebody else has put under our names is neither followed nor written to, and is said to be there."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest
from server_tools import BLOCK, after, always, get, names, noise, parts

import largefile
from largefile.cli.app import program as main
from largefile.disk.fileops import REAL
from largefile.disk.files import LocalFile, is_ours
from largefile.errors import CacheError, CacheIOError, NotFoundError, PartialFileError
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer

SIZE = 24 * BLOCK
CONTENT = noise(SIZE)
VICTIM = noise(SIZE, seed=1)
STRANGER = 12345
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def server():
    with LoopbackServer(CONTENT) as running:
        yield running


@pytest.fixture
def dest(tmp_path):
    (tmp_path / "downloads").mkdir()
    return tmp_path / "downloads" / "x"


@pytest.fixture
def victim(tmp_path):
    """A file that an attacker wants to have overwritten, of just the right size."""
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "precious"
    path.write_bytes(VICTIM)
    return path


@pytest.fixture
def partial(server, dest):
    """Both files of a download that was interrupted."""
    server.behave = after(1, status=404)
    with pytest.raises(NotFoundError):
        get(server, dest, concurrency=1)
    server.behave = None
    return parts(dest)


def facts(path):
    found = path.lstat()
    return found.st_mode, found.st_uid, found.st_ino, found.st_size, found.st_mtime_ns, found.st_nlink


def link(path, victim):
    path.symlink_to(victim)


def dangling_link(path, victim):
    path.symlink_to(victim.with_name("nothing"))


def link_to_a_folder(path, victim):
    path.symlink_to(victim.parent)


def hard_link(path, victim):
    path.hardlink_to(victim)


def folder(path, victim):
    path.mkdir()


def pipe(path, victim):
    os.mkfifo(path)


def socket_file(path, victim):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # the whole path may be too long for a socket


PLANTS = [link, dangling_link, link_to_a_folder, hard_link, folder, pipe, socket_file]


def fetch(verb, server, dest):
    if verb == "unsized":
        server.behave = always(chunked=True, ranges=False, status=200)
        return get(server, dest)
    return get(server, dest, **{"download": {}, "anew": {"resume": False}, "over": {"overwrite": True}}[verb])


@pytest.mark.parametrize("verb", ["download", "anew", "over", "unsized"])
@pytest.mark.parametrize("which", [0, 1], ids=["part", "index"])
@pytest.mark.parametrize("plant", PLANTS)
def test_what_was_planted_is_left_as_it_is(server, dest, victim, plant, which, verb):
    planted = parts(dest)[which]
    plant(planted, victim)
    before = facts(planted)
    with pytest.raises(CacheError) as caught:
        fetch(verb, server, dest)
    assert str(planted) in str(caught.value)
    assert facts(planted) == before
    assert names(dest.parent) == {planted.name}
    assert victim.read_bytes() == VICTIM
    assert names(victim.parent) == {"precious"}


@pytest.mark.parametrize("verb", ["download", "anew", "over", "unsized"])
@pytest.mark.parametrize("which", [0, 1], ids=["part", "index"])
@pytest.mark.parametrize("plant", PLANTS)
def test_half_of_a_partial_that_was_replaced_is_not_gone_on_with(
    server, dest, victim, partial, plant, which, verb
):
    """The other half is genuine. What is thrown away is a name, never what it leads to."""
    victim.write_bytes(partial[which].read_bytes())
    genuine = victim.read_bytes()
    partial[which].unlink()
    plant(partial[which], victim)
    try:
        fetch(verb, server, dest)
    except CacheError:
        assert not dest.exists()
    else:
        assert dest.read_bytes() == CONTENT
        assert stat.S_ISREG(dest.lstat().st_mode)
    assert victim.read_bytes() == genuine
    assert names(victim.parent) == {"precious"}


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("which", [0, 1], ids=["part", "index"])
def test_a_link_to_the_genuine_file_is_not_followed_either(partial, victim, which, read_only):
    """To the very inode that the other half knows, so that nothing but the link itself gives it away."""
    partial[which].rename(victim)
    partial[which].symlink_to(victim)
    with pytest.raises(CacheIOError) as caught:
        largefile.LocalDownloadCache.open(*partial, read_only=read_only)
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("which", [0, 1], ids=["part", "index"])
def test_a_partial_with_another_name_is_not_written_to(server, dest, victim, partial, which):
    victim.unlink()
    victim.hardlink_to(partial[which])
    before = victim.read_bytes()
    with pytest.raises(PartialFileError, match="one of 2 hard links"):
        get(server, dest)
    assert victim.read_bytes() == before
    victim.unlink()
    assert get(server, dest).resumed_bytes, "it was only that"


@AS_ROOT
@pytest.mark.parametrize("which", [0, 1], ids=["part", "index"])
def test_a_partial_of_another_user_is_refused(server, dest, partial, which):
    os.chown(partial[which], STRANGER, STRANGER)
    before, asked = [path.read_bytes() for path in partial], len(server.requests)
    with pytest.raises(PartialFileError, match=f"another user \\(number {STRANGER}\\)") as caught:
        get(server, dest)
    assert caught.value.path == str(partial[which])
    assert len(server.requests) == asked, "nothing was fetched for somebody else"
    assert [path.read_bytes() for path in partial] == before
    os.chown(partial[which], os.geteuid(), os.getegid())
    assert get(server, dest).resumed_bytes, "it was only that"
    assert dest.read_bytes() == CONTENT


@AS_ROOT
@pytest.mark.parametrize("which", [0, 1], ids=["part", "index"])
def test_the_command_line_ends_with_14(server, dest, partial, capfd, which):
    os.chown(partial[which], STRANGER, STRANGER)
    with pytest.raises(SystemExit) as ended:
        main(["get", "--proxy", "", server.url, "-o", str(dest)])
    assert ended.value.code == 14
    assert "belongs to another user" in capfd.readouterr().err


@AS_ROOT
def test_a_kept_cache_of_another_user_is_passed_by(server, tmp_path):
    with largefile.open(server.url, cache_dir=tmp_path, key="k", proxy="") as file:
        file.read(10)
    for name in ("k.part", "k.part.idx"):
        os.chown(tmp_path / name, STRANGER, STRANGER)
    before = {name: facts(tmp_path / name) for name in names(tmp_path)}
    with largefile.open(server.url, cache_dir=tmp_path, key="k", proxy="") as file:
        assert file.read() == CONTENT
    assert {name: facts(tmp_path / name) for name in before} == before
    assert names(tmp_path) == {*before, "k-2.part", "k-2.part.idx"}


@AS_ROOT
def test_to_look_at_another_user_s_partial_is_no_crime(partial):
    for path in partial:
        os.chown(path, STRANGER, STRANGER)
    with largefile.LocalDownloadCache.open(*partial, read_only=True) as cache:
        assert cache.read_at(100, 0) == CONTENT[:100]


@AS_ROOT
def test_where_every_file_belongs_to_one_user_it_is_ours(tmp_path, monkeypatch):
    """As on exFAT, and on NFS for root: a new file would be that user's too."""
    path = tmp_path / "x"
    path.write_bytes(b"")
    os.chown(path, STRANGER, STRANGER)
    with pytest.raises(PartialFileError):
        LocalFile.open(str(path))
    fstat = os.fstat

    def one_owner(fd):
        found = fstat(fd)
        return os.stat_result([*found[:4], STRANGER, *found[5:]])

    monkeypatch.setattr(os, "fstat", one_owner)
    LocalFile.open(str(path)).close()
    assert names(tmp_path) == {"x"}


def test_whose_a_file_is_where_no_other_can_be_made(tmp_path):
    found = os.stat_result([0, 0, 0, 0, os.geteuid() + 1, *[0] * 5])
    assert not is_ours(found, str(tmp_path / "missing" / "x"), REAL)


@pytest.mark.parametrize("how", ["download", "unsized"])
def test_nobody_else_can_read_or_write_what_is_not_finished(dest, how):
    seen = []

    def look(request):
        seen.extend((path.name, stat.S_IMODE(path.stat().st_mode)) for path in dest.parent.iterdir())
        return Behaviour(chunked=True, ranges=False, status=200) if how == "unsized" else None

    mask = os.umask(0)
    try:
        with LoopbackServer(CONTENT, behave=look) as server:
            get(server, dest, concurrency=1, overwrite=True)
    finally:
        os.umask(mask)
    assert {mode for _, mode in seen} <= {0o600}
    assert how == "unsized" or {name for name, _ in seen} == {"x.part", "x.part.idx"}
    assert stat.S_IMODE(dest.stat().st_mode) == 0o666, "once it is, it is as open as any new file"


def test_what_is_kept_of_a_file_at_a_distance_is_nobody_else_s(server, tmp_path):
    mask = os.umask(0)
    try:
        with largefile.open(server.url, cache_dir=tmp_path, proxy="") as file:
            file.read(10)
            modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(mask)
    assert modes == {0o600}


@pytest.mark.parametrize("planted", [link, dangling_link])
def test_a_link_in_the_destination_s_place_is_replaced_and_not_followed(server, dest, victim, planted):
    planted(dest, victim)
    get(server, dest, overwrite=True)
    assert not dest.is_symlink()
    assert dest.read_bytes() == CONTENT
    assert victim.read_bytes() == VICTIM
    assert names(victim.parent) == {"precious"}


def test_the_name_of_wrong_bytes_is_no_way_out_either(server, dest, victim):
    Path(f"{dest}.bad").symlink_to(victim)
    with pytest.raises(largefile.DigestMismatchError):
        get(server, dest, digest="sha256:" + "0" * 64)
    assert victim.read_bytes() == VICTIM
    assert not Path(f"{dest}.bad").is_symlink()
