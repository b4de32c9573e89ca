"""What a user gives for one origin is not told to another: 20 fields, 5 redirects, 4 ways to another origin.

Each way and status is one real download with all fields, in several requests; each field is then looked for
in what the servers have received.
"""

from __future__ import annotations

import base64

import pytest
from server_tools import always, get, noise

from largefile.errors import RefusedError
from largefile.testing.authority import Authority
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer

CONTENT = noise(256 << 10)
NAMES = [
    *(
        "Authorization",
        "Cookie",
        "Proxy-Authorization",
        "X-Api-Key",
        "Api-Key",
        "X-Auth-Token",
        "X-Amz-Security-Token",
    ),
    *(
        "X-Goog-Api-Key",
        "X-Ms-Copy-Source-Authorization",
        "Ocp-Apim-Subscription-Key",
        "Private-Token",
        "X-Csrf-Token",
    ),
    *(
        "X-Access-Token",
        "X-Vault-Token",
        "X-Forwarded-Client-Cert",
        "X-Shopify-Access-Token",
        "Referer",
        "From",
    ),
    *("User-Agent", "X-Whatever"),
]
FIELDS = {name: f"secret-{number:02}" for number, name in enumerate(NAMES)}
OURS = "largefile"  # what User-Agent says where the user's own is not to be told
STATUSES = [301, 302, 303, 307, 308]


def redirect(status, to):
    return Behaviour(status=status, headers={"Location": to})


class Run:
    """What two origins have received in one download: `own` is the one the fields were given for."""

    def __init__(self, own, other):
        self.own = [request.headers for request in own]
        self.other = [request.headers for request in other]

    def leaks(self, name):
        """The requests to the other origin that have the field, or its value in any other."""
        return [
            headers
            for headers in self.other
            if headers.get(name.lower(), OURS) != OURS or FIELDS[name] in "\n".join(headers.values())
        ]


def another_port(folder, status):
    with LoopbackServer(CONTENT) as there:
        with LoopbackServer(b"", behave=always(status=status, headers={"Location": there.url})) as own:
            get(own, folder / "x", headers=FIELDS)
    return Run(own.requests, there.requests)


def another_host(folder, status):
    """The same server and the same port, by another of its names."""
    with LoopbackServer(CONTENT) as server:
        server.behave = lambda request: (
            redirect(status, server.at("/there", "localhost")) if request.path == "/file.bin" else None
        )
        get(server, folder / "x", headers=FIELDS)
    hosts = {request.headers["host"].partition(":")[0] for request in server.requests}
    assert hosts == {"127.0.0.1", "localhost"}
    here = [request for request in server.requests if request.headers["host"].startswith("127.0.0.1")]
    return Run(here, [request for request in server.requests if request not in here])


def another_scheme(folder, status):
    authority = Authority(folder)
    with LoopbackServer(CONTENT, tls=authority.context("127.0.0.1")) as there:
        assert there.url.startswith("https:")
        with LoopbackServer(b"", behave=always(status=status, headers={"Location": there.url})) as own:
            get(own, folder / "x", headers=FIELDS, ca_file=authority.ca_file)
    return Run(own.requests, there.requests)


def there_and_back(folder, status):
    """By way of a stranger, back to where the fields belong."""
    with LoopbackServer(CONTENT) as own, LoopbackServer(b"") as there:
        there.behave = lambda request: redirect(status, own.at("/back"))
        own.behave = lambda request: redirect(status, there.url) if request.path == "/file.bin" else None
        get(own, folder / "x", headers=FIELDS)
    assert {request.path for request in own.requests} == {"/file.bin", "/back"}
    return Run(own.requests, there.requests)


WAYS = [another_port, another_host, another_scheme, there_and_back]
CASES = [(way, status, name) for way in WAYS for status in STATUSES for name in NAMES]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = {}

    def run(way, status):
        if (way, status) not in made:
            folder = tmp_path_factory.mktemp("leaks")
            made[way, status] = way(folder, status)
            assert (folder / "x").read_bytes() == CONTENT
        return made[way, status]

    return run


def test_there_are_400_cases():
    assert len(set(CASES)) == len(CASES) == 400


@pytest.mark.parametrize(("way", "status", "name"), CASES)
def test_a_field_is_told_to_its_own_origin_and_to_no_other(runs, way, status, name):
    run = runs(way, status)
    assert run.other, "the other origin was asked"
    assert run.own, "and the own one"
    assert [headers.get(name.lower()) for headers in run.own] == [FIELDS[name]] * len(run.own)
    assert run.leaks(name) == []


@pytest.mark.parametrize("status", STATUSES)
def test_from_https_nothing_is_told_to_http_because_it_is_not_asked(tmp_path, status):
    authority = Authority(tmp_path)
    with LoopbackServer(CONTENT) as there:
        script = always(status=status, headers={"Location": there.url})
        with LoopbackServer(b"", behave=script, tls=authority.context("127.0.0.1")) as own:
            with pytest.raises(RefusedError, match="from https to http"):
                get(own, tmp_path / "x", headers=FIELDS, ca_file=authority.ca_file)
    assert [request.headers["x-whatever"] for request in own.requests] == [FIELDS["X-Whatever"]]
    assert there.connections == 0


def test_from_https_to_http_by_a_detour_is_refused_as_well(tmp_path):
    """It was http that the user asked for: once on https, it stays there."""
    authority = Authority(tmp_path)
    with LoopbackServer(CONTENT) as last:
        script = always(status=302, headers={"Location": last.url})
        with LoopbackServer(b"", behave=script, tls=authority.context("127.0.0.1")) as middle:
            with LoopbackServer(b"", behave=always(status=302, headers={"Location": middle.url})) as first:
                with pytest.raises(RefusedError, match="from https to http"):
                    get(first, tmp_path / "x", headers=FIELDS, ca_file=authority.ca_file)
    assert len(middle.requests) == 1
    assert last.connections == 0


@pytest.mark.parametrize("status", STATUSES)
def test_auth_goes_the_way_of_the_fields(tmp_path, status):
    with LoopbackServer(CONTENT) as there:
        with LoopbackServer(b"", behave=always(status=status, headers={"Location": there.url})) as own:
            get(own, tmp_path / "x", auth=("me", "secret"))
    basic = "Basic " + base64.b64encode(b"me:secret").decode()
    assert [request.headers.get("authorization") for request in own.requests] == [basic]
    assert not [request for request in there.requests if "authorization" in request.headers]


def test_no_cookie_is_kept_and_no_referrer_is_said(tmp_path):
    """A server's own secrets are not carried about either: we have no cookies, and say not where we were."""
    with LoopbackServer(CONTENT) as there:
        headers = {"Location": there.at("/there"), "Set-Cookie": "a=secret; Path=/"}
        with LoopbackServer(b"", behave=always(status=302, headers=headers)) as own:
            get(own, tmp_path / "x", url=own.at("/file?token=secret"))
    for request in there.requests:
        assert "cookie" not in request.headers
        assert "referer" not in request.headers
        assert not [value for value in request.headers.values() if "secret" in value]
