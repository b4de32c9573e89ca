"""A plain download starts quickly, as it imports nothing that it has no use for."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
from server_tools import noise, sha256

from largefile.cli.app import HOMES, program
from largefile.log import log_level
from largefile.testing.server import LoopbackServer

CONTENT = noise(1000)

#: Of the standard library: slow to import, or of no use for a plain download.
STANDARD = {
    "argparse",
    "ast",
    "asyncio",
    "calendar",
    "concurrent.futures",
    "ctypes",
    "datetime",
    "email",
    "email.utils",
    "hashlib",
    "http",
    "inspect",
    "ipaddress",
    "json",
    "logging",
    "locale",
    "multiprocessing",
    "pathlib",
    "queue",
    "shutil",
    "ssl",
    "statistics",
    "subprocess",
    "tempfile",
    "unicodedata",
    "urllib.parse",
    "uuid",
}
#: Of ours: for what hardly any download meets, or for other ways to use the library.
OURS = {
    "largefile.aio",
    "largefile.disk.comparing",
    "largefile.disk.follower",
    "largefile.disk.loose",
    "largefile.engine.digester",
    "largefile.engine.filling",
    "largefile.engine.isolated",
    "largefile.engine.repair",
    "largefile.engine.unsized",
    "largefile.livebar",
    "largefile.remote",
    "largefile.rules.addresses",
    "largefile.streaming",
    "largefile.testing",
    "largefile.wire.threads",
}

#: What our modules ask for is noted by name, as another library may have imported it before; and what is
#: there at the end, less what the libraries that are needed bring along.
PROGRAM = """
import builtins, sys
import random, socket
import {libraries}

before, plain, asked = set(sys.modules), builtins.__import__, set()

def note(name, globals=None, locals=None, fromlist=(), level=0):
    if globals and globals.get("__name__", "").startswith("largefile"):
        asked.update((name, *(f"{{name}}.{{part}}" for part in fromlist or ())))
    return plain(name, globals, locals, fromlist, level)

builtins.__import__ = note
try:
    {action}
finally:
    print(*asked, *(set(sys.modules) - before))
"""


@pytest.fixture
def server():
    with LoopbackServer(CONTENT) as made:
        yield made


def imported(libraries, action):
    """The modules that a new process imports for `action`, beside what `libraries` import."""
    env = {**os.environ, "PYTHONSAFEPATH": "1"}
    code = PROGRAM.format(libraries=libraries, action=action)
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    return set(run.stdout.split())


def test_an_isolated_download_imports_little_here(server, tmp_path):
    # Beside the busy thread that it is for, each import takes milliseconds.
    dest = tmp_path / "x"
    action = f"from largefile import download; download({server.url!r}, {str(dest)!r}, isolate=True)"
    found = imported("pycurl, xxhash", action)
    assert dest.read_bytes() == CONTENT
    assert "largefile.engine.isolated" in found
    assert sorted(found & (STANDARD - {"subprocess", "locale"})) == []  # the one imports the other


def test_what_is_heard_of_the_log_is_known_without_logging(monkeypatch):
    monkeypatch.setattr(logging.getLogger("largefile"), "level", logging.DEBUG)
    assert log_level() == logging.DEBUG
    monkeypatch.delitem(sys.modules, "logging")
    assert log_level() == logging.WARNING


def test_a_plain_download_imports_only_what_it_needs(server, tmp_path):
    dest = tmp_path / "x"
    found = imported("pycurl, xxhash", f"import largefile; largefile.download({server.url!r}, {str(dest)!r})")
    assert dest.read_bytes() == CONTENT
    assert "largefile.engine.delivery" in found
    assert sorted(found & (STANDARD | OURS | {"click", "rich", "certifi", "largefile.cli"})) == []


def test_a_plain_stream_imports_nothing_for_a_cache_or_a_digest(server):
    found = imported("pycurl, xxhash", f"import largefile; largefile.stream({server.url!r}).readall()")
    assert {"largefile.engine.pouring", "largefile.engine.ring"} <= found
    for_others = {"largefile.disk.cache", "largefile.disk.fileops", "largefile.engine.delivery"}
    allowed = {"largefile.streaming", "largefile.wire.threads"}
    assert sorted(found & ((STANDARD | OURS | for_others) - allowed)) == []


def test_what_a_digest_needs_is_seen_to_be_imported(server, tmp_path):
    """The test above can not pass by looking past what it looks for."""
    options = f"{str(tmp_path / 'x')!r}, digest={sha256(CONTENT)!r}"
    found = imported("pycurl, xxhash", f"import largefile; largefile.download({server.url!r}, {options})")
    assert {"hashlib", "queue", "largefile.engine.digester"} <= found


def test_the_command_imports_only_the_one_command(server, tmp_path):
    dest = tmp_path / "x"
    words = ["get", "-o", str(dest), server.url]
    # click asks gettext, which imports locale.
    found = imported("pycurl, xxhash, click, locale", f"from largefile.cli import main; main({words!r})")
    assert dest.read_bytes() == CONTENT
    assert "largefile.cli.get" in found
    others = {f"largefile.cli.{home}" for home in HOMES.values()} - {"largefile.cli.get"}
    assert sorted(found & (STANDARD | OURS | others | {"rich", "certifi"})) == []


def test_an_unknown_command_is_compared_with_all_there_are():
    assert program.get_command(None, "gte") is None
    assert set(program.commands) == set(HOMES)
