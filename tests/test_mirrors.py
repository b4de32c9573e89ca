"""Several URLs of one content: the fast ones give more, the dead cost nothing, the others are left."""

import logging
import socket

import pytest
from click.testing import CliRunner

import largefile
from largefile.cli.app import program as main
from largefile.errors import LargeFileError, NotFoundError
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer
from tests.support.server_tools import BLOCK, after, always, get, noise, sha256

SIZE = 64 * BLOCK
CONTENT = noise(SIZE)
OTHER = noise(SIZE, seed=1)
DATE = "Mon, 07 Nov 1994 08:49:37 GMT"


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "file.bin"


@pytest.fixture
def server():
    with LoopbackServer(CONTENT) as running:
        yield running


@pytest.fixture
def mirror():
    with LoopbackServer(CONTENT) as running:
        yield running


def nobody():
    """A URL at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}/file.bin"


@pytest.mark.parametrize("fast", [0, 1])
def test_bytes_spread_by_speed(server, mirror, dest, fast):
    server.content = mirror.content = content = noise(4 * SIZE)
    both = [server, mirror]
    both[fast].rate, both[not fast].rate = 4_000_000, 400_000
    status = get(server, dest, mirrors=[mirror.url])
    assert dest.read_bytes() == content
    assert status.notes == ()
    assert 0 < 4 * both[not fast].sent < both[fast].sent


def test_two_of_one_speed_share(server, mirror, dest):
    server.rate = mirror.rate = 2_000_000
    get(server, dest, mirrors=[mirror.url])
    assert SIZE / 5 < server.sent < 4 * SIZE / 5
    assert server.sent + mirror.sent < 1.3 * SIZE


@pytest.mark.parametrize("dead", [{"status": 404}, {"status": 403}, {"status": 500}, {"cut_after": 0}])
def test_a_mirror_that_is_dead_from_the_start_costs_nothing(server, mirror, dest, dead):
    mirror.behave = always(**dead)
    status = get(server, dest, mirrors=[mirror.url], tries=1)
    assert dest.read_bytes() == CONTENT
    assert status.download_errors == 0


@pytest.mark.parametrize("which", [0, 1])
def test_one_that_falls_silent_is_left_while_the_other_gives(server, mirror, dest, which, monkeypatch):
    monkeypatch.setattr("largefile.wire.mirrors.SILENT", 0.5)
    (server, mirror)[which].behave = after(1, stall=True)
    (server, mirror)[not which].rate = 300_000
    status = get(server, dest, mirrors=[mirror.url], tries=1, timeout=30.0)
    assert dest.read_bytes() == CONTENT
    assert status.download_errors == 0
    assert status.duration < 15.0


def test_a_mirror_where_nobody_listens_costs_nothing(server, dest):
    status = get(server, dest, mirrors=[nobody()], tries=1)
    assert dest.read_bytes() == CONTENT
    assert status.download_errors == 0


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("how", [{"cut_after": BLOCK // 2}, {"status": 404}, {"status": 503}])
def test_one_that_dies_on_the_way_costs_nothing(server, mirror, dest, which, how):
    (server, mirror)[which].behave = after(2, **how)
    server.rate = mirror.rate = 4_000_000
    status = get(server, dest, mirrors=[mirror.url], tries=1)
    assert dest.read_bytes() == CONTENT
    assert status.download_errors == 0


@pytest.mark.parametrize("how", [{"status": 404}, {"status": 503}, {"cut_after": 0}])
def test_if_the_first_is_dead_a_mirror_names_the_content(server, mirror, dest, how):
    server.behave = always(**how)
    status = get(server, dest, mirrors=[mirror.url])
    assert dest.read_bytes() == CONTENT
    assert status.identity["etag"] == '"v1"'


def test_when_all_are_dead_it_is_the_ordinary_end(server, mirror, dest):
    server.behave = mirror.behave = after(2, status=404)
    with pytest.raises(NotFoundError):
        get(server, dest, mirrors=[mirror.url])
    with pytest.raises(LargeFileError):
        get(server, dest, url=nobody(), mirrors=[nobody()], tries=2)


def test_another_content_of_the_same_size_is_left(server, mirror, dest, caplog):
    mirror.replace(OTHER, etag='"other"')
    with caplog.at_level(logging.WARNING):
        status = get(server, dest, mirrors=[mirror.url])
    assert dest.read_bytes() == CONTENT
    assert len(mirror.requests) == 1
    assert mirror.url in caplog.text
    assert len(status.notes) == 1
    assert "no digest" in status.notes[0]


def test_with_a_digest_another_etag_is_believed(server, mirror, dest):
    server.rate = mirror.rate = 4_000_000
    mirror.replace(CONTENT, etag='"other"', last_modified=DATE)
    status = get(server, dest, mirrors=[mirror.url], digest=sha256(CONTENT))
    assert dest.read_bytes() == CONTENT
    assert status.notes == ()
    assert mirror.sent > SIZE / 8


@pytest.mark.parametrize(("etag", "date"), [('"v1"', DATE), ('"other"', None)])
def test_one_validator_that_is_the_same_is_enough(server, mirror, dest, etag, date):
    server.rate = mirror.rate = 4_000_000
    mirror.replace(CONTENT, etag=etag, last_modified=date or server.content.last_modified)
    status = get(server, dest, mirrors=[mirror.url])
    assert status.notes == ()
    assert mirror.sent > SIZE / 8


@pytest.mark.parametrize("digest", [None, sha256(CONTENT)])
def test_another_size_is_left(server, mirror, dest, digest):
    mirror.replace(CONTENT[:-1], etag='"v1"')
    status = get(server, dest, mirrors=[mirror.url], digest=digest)
    assert dest.read_bytes() == CONTENT
    assert len(mirror.requests) == 1
    assert len(status.notes) == 1


def test_a_mirror_that_changes_on_the_way_is_left(server, mirror, dest, monkeypatch):
    monkeypatch.setattr("largefile.wire.place.SHORTEST_REST", 0.1)  # then it is asked past all caches
    server.rate = mirror.rate = 1_000_000

    def change(request):
        if request.number == 2:
            mirror.replace(OTHER, etag='"other"')

    mirror.behave = change
    status = get(server, dest, mirrors=[mirror.url], digest=sha256(CONTENT))
    assert dest.read_bytes() == CONTENT
    assert len(status.notes) == 1


def test_a_mirror_without_ranges_is_left(server, mirror, dest):
    mirror.behave = always(ranges=False)
    status = get(server, dest, mirrors=[mirror.url])
    assert dest.read_bytes() == CONTENT
    assert "no ranges" in status.notes[0]


def test_credentials_do_not_go_to_a_mirror(server, mirror, dest):
    server.rate = mirror.rate = 4_000_000
    headers, auth = {"X-Secret": "abc"}, ("me", "pass")
    get(server, dest, mirrors=[mirror.url, server.at("/again")], headers=headers, auth=auth)
    assert mirror.sent
    assert not any({"x-secret", "authorization"} & set(r.headers) for r in mirror.requests)
    assert {"/file.bin", "/again"} <= {r.path for r in server.requests if r.headers["x-secret"] == "abc"}


def test_a_mirror_that_redirects_is_followed(server, mirror, dest):
    server.rate = mirror.rate = 4_000_000
    mirror.behave = lambda request: (
        Behaviour(status=302, headers={"Location": "/there"}) if request.path == "/file.bin" else None
    )
    status = get(server, dest, mirrors=[mirror.url])
    assert status.notes == ()
    assert mirror.sent > SIZE / 8
    assert [request.path for request in mirror.requests].count("/file.bin") == 1


def test_a_limit_on_the_speed_drives_nobody_away(server, mirror, dest):
    status = get(server, dest, mirrors=[mirror.url], rate=2_000_000)
    assert dest.read_bytes() == CONTENT
    assert server.sent + mirror.sent < 1.1 * SIZE
    assert status.notes == ()


def test_an_open_file_reads_from_mirrors(server, mirror):
    server.behave = after(1, status=404)
    with largefile.open(server.url, mirrors=[mirror.url], proxy="") as file:
        assert file.read() == CONTENT


def test_the_command_takes_mirrors(server, mirror, dest):
    server.behave = always(status=404)
    mirrors = ["--mirror", nobody(), "--mirror", mirror.url]
    done = CliRunner().invoke(main, ["get", server.url, "-o", str(dest), "--proxy", "", *mirrors])
    assert done.exit_code == 0, done.output
    assert dest.read_bytes() == CONTENT
    assert f"{server.url} is left: answered 404" in done.output


@pytest.mark.parametrize("mirrors", [["ftp://a.org/x"], ["http://me:secret@a.org/"]])
def test_a_mirror_that_is_no_url_is_a_value_error(server, dest, mirrors):
    with pytest.raises(ValueError, match="URL"):
        get(server, dest, mirrors=mirrors)


def test_one_url_alone_is_a_type_error(server, dest):
    with pytest.raises(TypeError, match="mirrors"):
        get(server, dest, mirrors=server.url)
