"""Fixtures that more than one test file needs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from largefile.wire.hosts import HOSTS

# How long an example takes says how busy the machine is.
settings.register_profile("largefile", deadline=None)
settings.load_profile("largefile")


@pytest.fixture(autouse=True)
def _no_hosts_of_earlier_tests() -> None:
    """A port may be given to another server, which has asked for no pause."""
    HOSTS._hosts.clear()


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A running nginx, `nginx.Nginx`.

    Where it is not installed its tests are skipped; with LARGEFILE_REQUIRE_SERVERS=1 they fail.
    """
    from nginx import Nginx, find_nginx

    program = find_nginx()
    if program is None:
        reason = "nginx is not installed"
        if os.environ.get("LARGEFILE_REQUIRE_SERVERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with Nginx(program, tmp_path_factory.mktemp("nginx")) as server:
        yield server
