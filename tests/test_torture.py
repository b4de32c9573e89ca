"""Each call about files fails once, in every way; and a judge that would see what goes wrong then."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from disk_helpers import SHM

import largefile
from largefile.cli.app import program
from largefile.disk import fileops
from largefile.disk.fileops import REAL, FileOps
from largefile.disk.files import LocalFile
from largefile.errors import CacheIOError
from largefile.testing.disk import scenarios, torture
from largefile.testing.disk.scenarios import SCENARIOS
from largefile.testing.disk.sites import call_sites
from largefile.testing.disk.stage import Scenario
from largefile.testing.disk.system import ERRNOS, REPEATED, SHORT, System
from largefile.testing.disk.torture import Outcome, Summary, cases_of, count, plan, play
from largefile.testing.server import LoopbackServer

DEEP = bool(os.environ.get("LARGEFILE_DEEP"))


@pytest.fixture(scope="module")
def planned():
    return plan(SCENARIOS, SHM, every=DEEP)


@pytest.fixture(scope="module")
def results(planned):
    return [play(case, SHM) for case in planned.cases]


def test_every_call_site_in_the_source_is_reached(planned):
    assert len(call_sites()) > 80
    assert [str(site) for site in planned.unreached] == []


def test_every_call_site_fails_with_every_errno(planned):
    tried = {(case.fault.place, case.fault.number) for case in planned.cases}
    for site in call_sites():
        found = {number for place, number in tried if site.has(place.operation, *place.site)}
        assert set(ERRNOS) <= found, site
        if site.operation in ("pwrite", "preadinto"):
            assert SHORT in found, site


@pytest.mark.timeout(3000 if DEEP else 120)
def test_no_fault_is_hidden_leaks_or_costs_what_was_committed(results):
    print(Summary.of(results))  # the table, with -s
    bad = [
        f"{result.outcome.value}: {result.case.name}: {result.cause}" for result in results if result.is_bad
    ]
    assert bad == []
    counts = Summary.of(results).counts
    assert counts[Outcome.TYPED] > 300
    assert counts[Outcome.MISSED] <= len(results) // (20 if DEEP else 100)


def test_only_what_cpython_repeats_itself_is_not_tried(results):
    for result in results:
        fault = result.case.fault
        repeats = fault.number == errno.EINTR and fault.place.call in REPEATED
        assert (result.outcome is Outcome.REPEATED) == repeats


def test_names_are_names():
    assert max(Counter(scenario.name for scenario in SCENARIOS).values()) == 1


# --- the system below ------------------------------------------------------------------------------


def the_case(scenario, call, number, base, site=""):
    """The first case of this scenario in which this call fails so."""
    return next(
        case
        for case in cases_of(scenario, count(scenario, base))
        if case.fault.place.call == call and case.fault.number == number and site in case.fault.place.site[0]
    )


def named(name):
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def faulty(case):
    return System(case.scenario.lacks, case.fault)


@pytest.mark.parametrize(
    ("call", "number"), [("fallocate", errno.EINTR), ("pwrite", SHORT), ("preadv", SHORT)]
)
def test_what_fileops_makes_good_is_not_seen_above(tmp_path, call, number):
    scenario = named("write and read blocks")
    assert play(the_case(scenario, call, number, tmp_path), tmp_path).outcome is Outcome.WENT_ON


def test_a_call_that_was_interrupted_is_made_again(tmp_path):
    calls = []

    class Counting(System):
        def do(self, call, act, args, kwargs):
            calls.append(call)
            return super().do(call, act, args, kwargs)

    case = the_case(named("reserve"), "fallocate", errno.EINTR, tmp_path)
    system = Counting({}, case.fault)
    with torture.stage(case.scenario, tmp_path) as stage, system.installed():
        case.scenario.act(stage)
    assert system.met
    assert calls.count("fallocate") == 3  # for the two sizes of the scenario, and once more
    assert fileops.os is os


def test_a_close_that_fails_has_closed(tmp_path):
    case = the_case(named("reserve"), "close", errno.EIO, tmp_path)
    before = set(Path("/proc/self/fd").iterdir())
    with torture.stage(case.scenario, tmp_path) as stage:
        with faulty(case).installed(), pytest.raises(CacheIOError):
            case.scenario.act(stage)
    assert set(Path("/proc/self/fd").iterdir()) == before


# --- the judge -------------------------------------------------------------------------------------


def test_the_judge_sees_an_error_of_no_type(monkeypatch, tmp_path):
    monkeypatch.setattr(FileOps, "open", lambda self, path, flags, mode=0o600: fileops.os.open(path, flags))
    case = the_case(named("open"), "open", errno.EIO, tmp_path)
    assert play(case, tmp_path).outcome is Outcome.UNTYPED


def test_the_judge_sees_a_sync_that_failed_in_silence(monkeypatch, tmp_path):
    def sync(self):
        try:
            self.ops.fdatasync(self.fd, self.name)
        except CacheIOError:
            return

    monkeypatch.setattr(LocalFile, "sync", sync)
    case = the_case(named("write through a buffer"), "fdatasync", errno.EIO, tmp_path)
    assert play(case, tmp_path).outcome is Outcome.SILENT


def test_the_judge_sees_what_stays_open(monkeypatch, tmp_path):
    def close_all(*files):
        for file in files:
            file.close()

    monkeypatch.setattr("largefile.disk.cache.close_all", close_all)
    found = play(the_case(named("open"), "close", errno.EIO, tmp_path, "files"), tmp_path)
    assert found.outcome is Outcome.LEAK


def test_the_judge_sees_bytes_that_are_missing(monkeypatch, tmp_path):
    scenario = named("write through a buffer")
    cases = [case for case in cases_of(scenario, count(scenario, tmp_path)) if case.fault.number == SHORT]
    monkeypatch.setattr(FileOps, "_pwrite_rest", lambda *args: None)
    assert Outcome.WRONG in {
        play(case, tmp_path).outcome for case in cases if case.fault.place.call == "pwrite"
    }


def test_the_judge_sees_what_is_fetched_again(tmp_path):
    def act(stage):
        try:
            scenario.act(stage)
        except CacheIOError:
            for name in stage.names:
                Path(name).unlink()
            raise

    scenario = named("open")
    case = the_case(scenario, "fdatasync", errno.EIO, tmp_path)
    loses = replace(scenario, act=act)
    assert play(replace(case, scenario=loses), tmp_path).outcome is Outcome.LOST
    again = replace(loses, loses=True)  # as it says that it may
    assert not play(replace(case, scenario=again), tmp_path).is_bad


def test_the_judge_sees_who_does_not_come_back(tmp_path):
    over = threading.Event()
    scenario = Scenario("waits", lambda stage: over.wait(60))
    place = next(iter(count(named("create"), tmp_path)))
    case = torture.Case(scenario, torture.Fault(place, 1, errno.EIO))
    assert play(case, tmp_path, limit=0.2).outcome is Outcome.HANG
    over.set()


def test_the_judge_sees_a_file_that_nobody_cleans_up(tmp_path):
    scenario = named("reserve")
    case = the_case(scenario, "open", errno.EIO, tmp_path)
    littering = replace(scenario, prepare=lambda stage: (stage.folder / "y").touch())
    assert play(replace(case, scenario=littering), tmp_path).outcome is Outcome.STRAY


# --- the command -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(SHM) if SHM is not None else None)


def run(*words):
    return CliRunner().invoke(program, ["selftest", "disk", *words])


def test_the_command_prints_what_is_wrong_and_its_sum():
    done = run("--filter", "reserve without room")
    assert done.exit_code == 0, done.output
    assert len(done.output.splitlines()) == 1
    assert " typed error" in done.output


def test_the_command_gives_the_same_as_json():
    found = json.loads(run("--filter", "reserve without room", "--json", "--all").output)
    typed = [each for each in found["results"] if each["result"] == "typed error"]
    assert found["summary"]["typed error"] == len(typed) > 30
    assert found["unreached"] == []
    assert set(found["results"][0]) == {
        "scenario",
        "operation",
        "call",
        "site",
        "nth",
        "fault",
        "result",
        "cause",
    }


def open_now():
    return {int(path.name) for path in Path("/proc/self/fd").iterdir()}


def test_the_command_fails_where_anything_is_wrong(monkeypatch):
    monkeypatch.setattr(FileOps, "close", lambda *args: None)
    monkeypatch.setattr(torture, "GRACE", 0.0)
    before = open_now()
    done = run("--filter", "reserve without room")
    for fd in open_now() - before:
        with suppress(OSError):  # the one by which they are listed
            os.close(fd)
    assert done.exit_code == 1
    assert "leak " in done.output


def test_the_command_fails_where_a_call_site_is_not_tried(monkeypatch):
    monkeypatch.setattr(scenarios, "SCENARIOS", [named("reserve without room")])
    done = run()
    assert done.exit_code == 1
    assert "not tried   mmap at disk/files.py" in done.output


def test_a_filter_that_fits_nothing_is_a_mistake():
    assert run("--filter", "no such thing").exit_code == 2


# --- what it has found beside the seam ---------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs what is there and can not be read")
def test_a_destination_that_can_not_be_read_is_an_error_of_ours(tmp_path):
    (tmp_path / "x").symlink_to("/proc/self/mem")
    with LoopbackServer(b"1234") as server, pytest.raises(CacheIOError) as caught:
        largefile.download(server.url, tmp_path / "x", digest=f"sha256:{64 * '0'}", proxy="")
    assert caught.value.errno == errno.EIO


def test_a_name_that_no_file_can_have_is_not_there():
    assert not REAL.exists("a" * 5000)
    assert not REAL.exists("a\0b")
    assert not REAL.exists("/dev/null/x")
