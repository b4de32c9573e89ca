"""A server is believed if an authority that we know vouches for its name today; else nothing is fetched."""

from __future__ import annotations

import pickle

import pytest
from server_tools import get, names, noise

import largefile
from largefile.cli.app import program as main
from largefile.errors import NetworkError
from largefile.testing.authority import Authority
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer
from largefile.wire.ca import VARIABLES

CONTENT = noise(3 << 16)
#: What is wrong with a certificate, and what libcurl says of it.
BAD = {
    "unknown": "unable to get local issuer certificate|self-signed|self signed",
    "expired": "certificate has expired",
    "of another name": "no alternative certificate subject name|subjectAltName|hostname mismatch",
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "downloads").mkdir()
    return tmp_path / "downloads"


@pytest.fixture(params=BAD)
def distrusted(request, authority, tmp_path_factory):
    """A server, the authorities that its client trusts, and what is wrong with it."""
    context = {
        "unknown": lambda: Authority(tmp_path_factory.mktemp("unknown")).context("127.0.0.1"),
        "expired": lambda: authority.context("127.0.0.1", ended=True),
        "of another name": lambda: authority.context("example.org", "127.0.0.2"),
    }[request.param]()
    with LoopbackServer(CONTENT, tls=context) as server:
        yield server, authority.ca_file, BAD[request.param]


@pytest.fixture
def trusted(authority):
    with LoopbackServer(CONTENT, tls=authority.context("127.0.0.1", "localhost")) as server:
        yield server


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_authority_that_was_named_is_trusted(trusted, authority, folder, host):
    get(trusted, folder / "x", url=trusted.at("/x", host), ca_file=authority.ca_file)
    assert (folder / "x").read_bytes() == CONTENT


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_authority_of_the_environment_is_trusted(trusted, authority, folder, monkeypatch, variable):
    monkeypatch.setenv(variable, authority.ca_file)
    get(trusted, folder / "x")
    assert (folder / "x").read_bytes() == CONTENT


def test_an_authority_that_was_named_replaces_that_of_the_environment(
    trusted, authority, folder, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", authority.ca_file)
    other = Authority(folder.parent)
    with pytest.raises(NetworkError):
        get(trusted, folder / "x", ca_file=other.ca_file)
    assert trusted.requests == []


def test_the_system_s_authorities_do_not_know_ours(trusted, folder):
    with pytest.raises(NetworkError, match="no trust in the certificate"):
        get(trusted, folder / "x")
    assert trusted.requests == []


def test_without_trust_nothing_is_asked_for_nothing_is_left_and_nothing_tried_again(distrusted, folder):
    server, ca_file, words = distrusted
    with pytest.raises(NetworkError, match=words) as caught:
        get(server, folder / "x", ca_file=ca_file, headers={"X-Key": "secret"})
    error = caught.value
    assert str(error).startswith(f"no trust in the certificate of {server.url}")
    assert error.code == 60
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert server.requests == []
    assert server.connections == 1
    assert names(folder) == set()


@pytest.mark.parametrize("verb", [largefile.stream, largefile.open])
def test_no_other_verb_trusts_more(distrusted, verb):
    server, ca_file, words = distrusted
    with pytest.raises(NetworkError, match=words):
        verb(server.url, ca_file=ca_file, proxy="")
    assert (server.connections, server.requests) == (1, [])


@pytest.mark.parametrize("command", ["get", "cat"])
def test_the_command_line_ends_with_4(distrusted, folder, monkeypatch, capfd, command):
    server, ca_file, _ = distrusted
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        main([command, "--ca-file", ca_file, "--proxy", "", server.url])
    assert ended.value.code == 4
    assert "no trust in the certificate" in capfd.readouterr().err
    assert names(folder) == set()


def test_a_redirect_does_not_lead_to_who_is_not_trusted(distrusted, folder):
    server, ca_file, words = distrusted
    with LoopbackServer(b"") as front:
        front.behave = lambda request: Behaviour(status=302, headers={"Location": server.url})
        with pytest.raises(NetworkError, match=words):
            get(front, folder / "x", ca_file=ca_file)
    assert len(front.requests) == 1
    assert (server.connections, server.requests) == (1, [])
    assert names(folder) == set()


def test_a_server_that_is_not_trusted_any_more_ends_a_download_and_what_came_is_kept(authority, folder):
    """Not in the first request: the connections that come later have another certificate."""
    good, bad = authority.context("127.0.0.1"), Authority(folder.parent).context("127.0.0.1")
    content = noise(3 << 20)
    with LoopbackServer(content, tls=good) as server:

        def turn(request):
            server._tls = bad
            return Behaviour(close=True)

        server.behave = turn
        with pytest.raises(NetworkError, match="no trust in the certificate") as caught:
            get(server, folder / "x", ca_file=authority.ca_file)
        assert caught.value.resumable
        assert names(folder) == {"x.part", "x.part.idx"}
        server._tls, server.behave = good, None
        assert get(server, folder / "x", ca_file=authority.ca_file).resumed_bytes
    assert (folder / "x").read_bytes() == content


def test_a_ca_file_that_is_none_is_said_so(trusted, folder):
    (folder.parent / "broken.pem").write_text("not a certificate")
    with pytest.raises(NetworkError) as caught:
        get(trusted, folder / "x", ca_file=folder.parent / "broken.pem")
    assert caught.value.code in (58, 60, 77)
    assert trusted.requests == []
    assert names(folder) == set()
