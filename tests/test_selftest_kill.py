"""Processes killed at each file operation and at random moments; and the judge sees what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from disk_helpers import SHM

import largefile
from largefile.cli.app import program
from largefile.testing.disk import campaign
from largefile.testing.disk.campaign import Tally, every_point, random_kills
from largefile.testing.disk.kills import BOUND, Kill, Stage
from largefile.testing.disk.nursery import Nursery
from largefile.testing.disk.scenes import SCENES, SHA256, SIZE, Scene, leave_partial, stale_edge, version
from largefile.testing.server import LoopbackServer

DEEP = int(os.environ.get("LARGEFILE_DEEP") or 1)
#: In the default run one scene at each point; all of them in a deep one.
EVERY = SCENES if DEEP > 1 else SCENES[:1]
KILLS = 20 * DEEP
BY_NAME = {scene.name: scene for scene in SCENES}


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


def play(scene, nursery, *kills):
    with Stage(scene, nursery, SHM) as stage:
        return stage.play(kills)


def before_the_end(scene, nursery, operations):
    """Dies so many operations before its end, of which the publication takes about twenty."""
    return Kill(crash_at=play(scene, nursery).operations - operations)


def wrongs(histories):
    return [history for history in histories if not history.is_right]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scene", EVERY, ids=lambda scene: scene.name)
def test_a_kill_at_any_file_operation_costs_what_was_in_flight_and_no_byte_is_ever_wrong(nursery, scene):
    histories = list(every_point(scene, nursery, SHM))
    assert not wrongs(histories)
    tally = Tally.of(histories)
    assert tally.kills == len(histories) > 10
    assert tally.worst <= BOUND < SIZE / 2


@pytest.mark.timeout(600)
def test_kills_at_random_moments_cost_what_was_in_flight_and_no_byte_is_ever_wrong(nursery):
    histories = list(random_kills(KILLS, DEEP, nursery, base=SHM))
    assert not wrongs(histories)
    assert Tally.of(histories).kills == KILLS
    assert {history.scene for history in histories} == set(BY_NAME)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_a_scene_that_nobody_disturbs_ends_right_and_every_operation_is_seen(nursery, scene):
    history = play(scene, nursery)
    assert history.is_right, history
    assert (history.kills, history.again) == (0, 0)
    assert history.operations > 10


def test_an_overwriting_run_that_is_killed_at_its_end_is_not_done_again(nursery):
    """Found here: from the rename to the end of the index, all of it was fetched once more."""
    scene = BY_NAME["overwritten"]
    total = play(scene, nursery).operations  # the waiting for blocks varies, the end of it does not
    for digest in ({}, {"digest": BY_NAME["repaired"].options["digest"]}):
        told = replace(scene, options=scene.options | digest)
        found = [play(told, nursery, Kill(crash_at=number)) for number in range(total - 12, total)]
        assert sum(history.kills for history in found) > 5
        assert not wrongs(found)


def test_the_variable_is_read_by_the_harness_s_child_alone(tmp_path):
    scene = BY_NAME["fresh"]
    with LoopbackServer(version(1)) as server:
        order = {"act": "download", "url": server.url, "folder": str(tmp_path), "options": scene.settings}
        command = [sys.executable, "-P", "-m", "largefile.testing.disk.child", json.dumps(order)]
        for crash_at, status in ((30, -signal.SIGKILL), (10**6, 0)):
            env = os.environ | {"LARGEFILE_CRASH_AT": str(crash_at)}
            done = subprocess.run(command, env=env, capture_output=True, timeout=60)
            assert done.returncode == status, done.stderr
            assert (tmp_path / "x").exists() == (status == 0)
    assert json.loads(done.stdout)["sha256"] == SHA256
    source = Path(largefile.__file__).parent
    readers = [path for path in source.rglob("*.py") if "LARGEFILE_CRASH_AT" in path.read_text()]
    assert readers == [source / "testing/disk/child.py"]


# --- the judge --------------------------------------------------------------------------------------


def test_a_wrong_file_at_the_end_is_seen(nursery):
    history = play(Scene("a bad edge, and no digest", behave=stale_edge), nursery)
    assert set(history.wrong) == {"wrong bytes at the end", "a wrong file at the end"}


def test_a_wrong_block_after_a_kill_is_seen(nursery):
    scene = replace(BY_NAME["repaired"], tainted=None)
    history = play(scene, nursery, before_the_end(scene, nursery, 40))
    assert history.wrong == ["block 5 was wrong after a kill"]


def test_blocks_that_are_fetched_again_are_lost(nursery):
    scene = Scene("thrown away", prepare=leave_partial(1), options={"resume": False}, needed=SIZE)
    history = play(scene, nursery, before_the_end(scene, nursery, 30))
    assert history.kills == 1
    assert history.lost > 0
    assert history.again > 0


def test_what_is_left_beside_the_destination_is_seen(nursery):
    scene = Scene("a stranger", prepare=lambda folder, url: (folder / "y").write_bytes(b""))
    assert play(scene, nursery).wrong == ["left beside the destination: ['y']"]


def test_bytes_beyond_the_bound_are_seen(nursery):
    history = play(replace(BY_NAME["fresh"], needed=SIZE - BOUND - 1), nursery)
    assert history.wrong == [f"{BOUND + 1} bytes came again after 0 kills"]


def test_an_error_at_the_end_is_told(nursery):
    scene = Scene("no such option", options={"concurrency": 0})
    assert any("ValueError: concurrency" in words for words in play(scene, nursery).wrong)


# --- the command ------------------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch):
    """Scenes with few operations, so that the command is soon done."""
    found = (BY_NAME["unsized"],)
    monkeypatch.setattr("largefile.testing.disk.scenes.SCENES", found)
    monkeypatch.setattr(campaign.random_kills, "__kwdefaults__", {"scenes": found, "base": SHM})


def run(*words):
    return CliRunner().invoke(program, ["selftest", "kill", *words])


@pytest.mark.usefixtures("few")
def test_the_command_prints_its_counts_and_their_sum():
    done = run("--kills", "3", "--seed", "4")
    assert done.exit_code == 0, done.output
    rows = done.output.splitlines()
    assert [row.partition(":")[0] for row in rows[:2]] == ["each operation, unsized", "at random moments"]
    assert "3 kills" in rows[1]
    assert " 0 wrong, 0 blocks lost" in rows[2]


@pytest.mark.usefixtures("few")
def test_the_command_gives_the_same_as_json_and_fails_where_something_is_wrong(monkeypatch):
    monkeypatch.setattr("largefile.testing.disk.kills.SHA256", "of something else")
    done = run("--kills", "0", "--json")
    assert done.exit_code == 1
    found = json.loads(done.output)
    assert set(found["rounds"]) == {"each operation, unsized", "at random moments"}
    assert found["summary"]["wrong"] == len(found["wrong"]) > 0
    assert found["summary"]["bound"] == BOUND
