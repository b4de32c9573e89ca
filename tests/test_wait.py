"""A destination that another process is at: its owner is named at once, or its end is waited for."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from following import Gate
from processes import Download, in_place, nothing_left_behind, open_files, until

import largefile
from largefile.cli.app import program
from largefile.engine.destination import Destination
from largefile.engine.turn import check_wait
from largefile.errors import CacheBusyError, CancelledError, DeadlineError, DestinationExistsError
from largefile.testing.disk.nursery import Nursery
from largefile.testing.disk.scenes import SCENES, SHA256, SIZE, version
from largefile.testing.server import LoopbackServer

BLOCK = 64 << 10
BYTES = 40 * BLOCK
MINE = {"proxy": "", "block_size": BLOCK}


@pytest.fixture
def gate():
    return Gate(BYTES)


@pytest.fixture
def server(gate):
    with LoopbackServer(gate.content()) as server:
        yield server
        gate.open()  # or its threads would wait on


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "x"


@pytest.fixture
def owner(server, gate, dest):
    """Another process, which has got three blocks and waits for the next."""
    gate.open(3 * BLOCK)
    with Download(server.url, dest, block_size=BLOCK, proxy="", concurrency=2) as child:
        until(lambda: in_place(dest) >= 3 * BLOCK, what="the first blocks")
        yield child


def waiting(server, dest, owner, **options):
    """A job that waits for `owner`."""
    job = largefile.start_download(server.url, dest, **MINE, **{"wait": True, **options})
    until(lambda: job.waiting_for, what="a job that waits")
    assert f"pid {owner.process.pid} on " in job.waiting_for
    assert job.stats().phase == "waiting"
    return job


def sent(server):
    """Body bytes that it has sent. It counts them after they have gone out, and a client may be quicker."""
    until(lambda: server.is_idle, what="the ends of all connections")
    return server.sent


def test_the_second_is_told_at_once_who_owns_it(server, dest, owner):
    with pytest.raises(CacheBusyError, match=f"pid {owner.process.pid} on ") as told, nothing_left_behind():
        largefile.download(server.at("/mine"), dest, **MINE)
    assert told.value.owner.startswith(f"pid {owner.process.pid} on ")
    assert told.value.resumable
    assert "/mine" not in {request.path for request in server.requests}, "no request was needed for that"


def test_who_waits_finds_it_finished_and_fetches_nothing(server, gate, dest, owner):
    with nothing_left_behind():
        job = waiting(server, dest, owner)
        gate.open()
        status = job.result(30)
    assert owner.status()["complete"]
    assert (status.complete, status.downloaded_bytes, status.download_size) == (True, 0, BYTES)
    assert status.notes == ("the process that was waited for had finished it: nothing was fetched",)
    assert sent(server) == BYTES


def test_who_waits_to_overwrite_takes_what_the_other_has_just_made(server, gate, dest, owner):
    job = waiting(server, dest, owner, overwrite=True)
    gate.open()
    assert job.result(30).complete
    assert sent(server) == BYTES + 1, "one byte, to ask whether it still is that version"


def test_a_digest_is_compared_with_what_the_other_has_made(server, gate, dest, owner):
    right = waiting(server, dest, owner, digest=f"sha256:{gate.sha256()}")
    wrong = waiting(server, dest, owner, digest=f"sha256:{'0' * 64}")
    gate.open()
    assert right.result(30).verified_by == "digest"
    with pytest.raises(DestinationExistsError):
        wrong.result(30)
    assert sent(server) == BYTES


def test_what_another_url_was_made_of_is_not_taken_for_ours(server, gate, dest, owner):
    job = largefile.start_download(server.at("/other"), dest, **MINE, wait=True)
    until(lambda: job.waiting_for, what="a job that waits")
    gate.open()
    with pytest.raises(DestinationExistsError):
        job.result(30)


def test_who_waits_goes_on_where_the_other_was_killed(server, gate, dest, owner):
    job = waiting(server, dest, owner)
    assert owner.kill()
    gate.open()
    status = job.result(30)
    assert status.complete
    assert 3 * BLOCK <= status.resumed_bytes < BYTES
    assert dest.stat().st_size == BYTES


def test_what_is_finished_just_when_it_was_found_at_work_is_known_again(server, gate, dest, owner):
    has_partial = Destination.has_partial

    def late(self):
        try:
            return has_partial(self)
        except CacheBusyError:
            gate.open()
            assert owner.status()["complete"]
            raise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Destination, "has_partial", late)
        status = largefile.download(server.url, dest, **MINE, wait=True)
    assert status.notes == ("the process that was waited for had finished it: nothing was fetched",)


def test_the_room_of_what_was_waited_for_is_free_when_it_is_our_turn(server, gate, dest, owner):
    job = waiting(server, dest, owner)
    newer = Gate(BYTES, shift=1)
    server.content = newer.content()
    newer.open(2 * BLOCK)
    assert owner.kill()
    try:
        until(
            lambda: in_place(dest) >= 2 * BLOCK and job.stats().phase == "downloading", what="the newer one"
        )
        held = [target for _, target in open_files() if target.startswith(f"{dest}.part")]
        assert not [target for target in held if target.endswith("(deleted)")]
    finally:
        newer.open()
    assert job.result(30).complete


def test_the_waiting_has_the_end_that_was_said(server, dest, owner):
    began = time.monotonic()
    with pytest.raises(CacheBusyError, match=f"pid {owner.process.pid} on "):
        largefile.download(server.url, dest, **MINE, wait=0.6)
    assert time.monotonic() - began >= 0.6


def test_a_deadline_and_a_cancel_end_the_waiting(server, dest, owner):
    job = waiting(server, dest, owner)
    job.cancel()
    with pytest.raises(CancelledError):
        job.result(10)
    with pytest.raises(DeadlineError):
        largefile.download(server.url, dest, **MINE, wait=True, deadline=0.3)
    assert owner.process.poll() is None


def test_a_time_beyond_all_measure_is_no_end():
    assert [check_wait(wait) for wait in (10**400, float("inf"), 1e12)] == [float("inf")] * 3


@pytest.mark.parametrize("wait", [-1, "soon", float("nan")])
def test_a_time_to_wait_that_is_none_is_a_mistake(dest, wait):
    with pytest.raises(ValueError, match="wait is"):
        largefile.download("http://127.0.0.1:9/x", dest, wait=wait)


def test_of_many_that_wait_one_fetches(tmp_path):
    options = SCENES[0].settings | {"wait": True}
    with Nursery() as nursery, LoopbackServer(version(1), rate=1 << 20, send_buffer=1 << 14) as server:
        pids = [nursery.start("download", server.url, tmp_path, options) for _ in range(8)]
        ended = [nursery.end(pid) for pid in pids]
    assert [each.sha256 for each in ended] == [SHA256] * 8, {each.text for each in ended}
    # Those that came before there was an index had asked by then, and got what their sockets hold.
    assert server.sent < 3 * SIZE
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_another_has_finished_between_two_looks_is_not_fetched_again(server, gate, dest, monkeypatch):
    gate.open()
    has_partial = Destination.has_partial

    def late(self):
        monkeypatch.setattr(Destination, "has_partial", has_partial)
        largefile.download(server.url, dest, **MINE)
        return has_partial(self)

    monkeypatch.setattr(Destination, "has_partial", late)
    with pytest.raises(DestinationExistsError):
        largefile.download(server.url, dest, **MINE)
    assert sent(server) == BYTES


# --- the command ------------------------------------------------------------------------------------


def get(*words):
    command = [sys.executable, "-P", "-m", "largefile", "get", "--proxy", "", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_command_says_for_whom_it_waits_and_then_that_all_is_there(server, gate, dest, owner):
    child = get("--wait", server.url, "-o", dest)
    said = child.stderr.readline()
    assert re.fullmatch(rf"largefile: waiting: .*pid {owner.process.pid} on .*\n", said), said
    gate.open()
    _, err = child.communicate(timeout=30)
    assert child.returncode == 0
    assert "the process that was waited for had finished it" in err
    assert "waiting" not in err


def test_ctrl_c_ends_the_waiting_and_nothing_else(server, gate, dest, owner):
    child = get(server.url, "-o", dest, "--wait", "--json")
    assert "waiting" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "Traceback" not in err
    assert json.loads(out)["error"] == "CancelledError"
    gate.open()
    assert owner.status()["complete"]


def test_the_command_waits_no_longer_than_it_was_told(server, dest, owner):
    child = get("--wait", "0.3", server.url, "-o", dest)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 11
    assert re.search(rf"error: .*pid {owner.process.pid} on ", err)


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        (["--wait", "URL"], float("inf")),
        (["URL", "--wait"], float("inf")),
        (["--wait", "7", "URL"], 7),
        (["--wait=0.5", "URL"], 0.5),
        (["--wait", "1e3", "URL"], 1000),
        (["--wait", "-1", "URL"], -1),  # the library's to refuse
        (["--wait", "inf", "URL"], float("inf")),
        (["--wait", "--", "URL"], float("inf")),
        (["--wait", "--json", "URL"], float("inf")),
        (["URL"], 0),
    ],
)
def test_the_seconds_may_be_left_out(monkeypatch, tmp_path, words, seconds):
    told = []
    monkeypatch.setattr("largefile.cli.get.fetch", lambda url, dest, quiet, settings: told.append(settings))
    words = [word.replace("URL", "http://127.0.0.1:9/x") for word in words]
    CliRunner().invoke(program, ["get", "-q", "-o", str(tmp_path / "x"), *words])
    assert [settings["wait"] for settings in told] == [seconds]
