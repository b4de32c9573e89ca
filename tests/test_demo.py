"""The demonstration shows what it says, and says 0 only when it is true."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from largefile.cli.demo import Demo, DemoError, Mischief
from largefile.testing.script import Request

MIB = 1 << 20


def start(tmp_path, *words):
    """The demo in a process of its own, whose temporary files are in `tmp_path`."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "largefile", "demo", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path), "http_proxy": "http://127.0.0.1:9"},
    )


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """One run with ``--keep``: its output, and the folder."""
    base = tmp_path_factory.mktemp("demo")
    child = start(base, "--size", "4M", "--keep")
    out, err = child.communicate()
    assert (child.returncode, err) == (0, "")
    return out, base


def test_it_tells_the_whole_story_in_order(shown):
    steps = ["serving 4.0 MiB", "started: largefile get", "killed it (SIGKILL)", "started the same command"]
    steps += ["complete:", "bodies cut short", "sent more than once", "verified: SHA-256", "kept:"]
    places = [shown[0].index(step) for step in steps]
    assert places == sorted(places)


def test_what_was_there_at_the_kill_is_what_was_resumed(shown):
    killed = re.search(r"SIGKILL\): (.*?) of 4.0 MiB are in place", shown[0])[1]
    assert f"complete: {killed} resumed" in shown[0]


def test_the_map_has_holes_and_blocks(shown):
    drawn = [text.strip() for text in shown[0].splitlines() if len(text.strip()) == 64]
    assert len(drawn) == 1
    assert set(drawn[0]) == {"█", "·"}


def test_the_server_did_misbehave(shown):
    assert re.search(
        r"[1-9][0-9]* bodies cut short .*, 1 answer of 503 .*, 1 answer with the wrong", shown[0]
    )


def test_keep_leaves_the_file_and_nothing_else(shown):
    (found,) = shown[1].glob("*/*")
    assert found.stat().st_size == 4 * MIB


def test_a_kill_of_the_demo_leaves_nothing(tmp_path):
    child = start(tmp_path, "--size", "4M")
    lines = (child.stdout.readline() for _ in range(9))
    assert any("started: largefile get" in text for text in lines)
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate()
    # Python dies of SIGINT itself where the signal struck inside of an `exec`, as imports have them; a shell
    # shows 130 for both.
    assert child.returncode in (130, -signal.SIGINT)
    assert err.strip() == "largefile: error: interrupted"
    assert list(tmp_path.iterdir()) == []


def test_wrong_bytes_are_not_called_verified(tmp_path):
    demo = Demo(MIB, tmp_path / "x", echo=lambda text: None)
    (tmp_path / "x").write_bytes(bytes(MIB))
    with pytest.raises(DemoError, match="SHA-256"):
        demo._compare()


def test_what_is_left_behind_is_not_passed_over(tmp_path):
    demo = Demo(MIB, tmp_path / "x", echo=lambda text: None)
    (tmp_path / "x").write_bytes(demo._content)
    demo._compare()
    (tmp_path / "x.part.idx").touch()
    with pytest.raises(DemoError, match=r"x\.part\.idx"):
        demo._compare()


def test_the_mischief_comes_to_an_end_and_is_the_same_each_time():
    def ask(number):
        return Request(number, "GET", "/", {}, (number * MIB, (number + 1) * MIB - 1), 0, 0.0)

    one, other = Mischief(), Mischief()
    did = [one(ask(number)) for number in range(200)]
    assert did == [other(ask(number)) for number in range(200)]
    assert not any(did[81:])
    assert (one.busy, one.lies) == (1, 1)
    assert one.cuts > 0
    assert one.resets > 0
    assert str(one) == str(other)


def test_a_source_tree_in_the_present_folder_is_not_what_runs(tmp_path, monkeypatch):
    # The first command of the README is run in a clone, whose folder has no compiled modules.
    (tmp_path / "largefile").mkdir()
    (tmp_path / "largefile" / "__init__.py").write_text("raise ImportError('the source tree')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    child = start(tmp_path, "--size", "4M")
    _, err = child.communicate()
    assert (child.returncode, err) == (0, "")
