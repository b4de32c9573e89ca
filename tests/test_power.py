"""A loss of power at every moment: what is believed after it is right, and what was committed is there."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner
from disk_helpers import names
from hypothesis import given, settings
from hypothesis import strategies as st

from largefile.cli.app import program
from largefile.disk import recovery
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.commit import GroupCommit
from largefile.disk.fileops import FileOps
from largefile.disk.index import Index
from largefile.engine.destination import Destination
from largefile.errors import CachePoisonedError
from largefile.testing.disk.journal import Lost, Names, Recorder, Size, Sync, SyncNames, Write
from largefile.testing.disk.power import Outcome, judge_story, lose_power
from largefile.testing.disk.states import SECTOR, Disk
from largefile.testing.disk.stories import STORIES

#: States of the disk in all, in the usual suite; LARGEFILE_DEEP=N makes it N times as many.
STATES = 10_000 * max(1, int(os.environ.get("LARGEFILE_DEEP") or 1))
BY_NAME = {story.name: story for story in STORIES}


@pytest.mark.timeout(120 + STATES // 50)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_nothing_wrong_is_believed_and_nothing_promised_is_lost(story):
    total = judge_story(story, STATES // len(STORIES), seed=0).tally
    assert total.bad == []
    assert total.states > STATES // len(STORIES) * 0.8 or story.name == "unsized"  # it has 18
    assert total.finished
    assert total.believed or story.name == "unsized"


# --- the judge sees what it should -----------------------------------------------------------------


def outcomes(name, count=400):
    return {verdict.outcome for verdict in judge_story(BY_NAME[name], count, 0).tally.bad}


def test_entries_that_are_durable_before_their_bytes_are_seen(monkeypatch):
    def commit(self):
        runs = self._take()
        for start, stop in runs:
            self._index.make_durable(start, stop)
        self._index.sync()
        self._data.sync()
        return len(runs)

    monkeypatch.setattr(GroupCommit, "commit", commit)
    assert Outcome.CORRUPT in outcomes("first")


def test_a_commit_that_syncs_nothing_is_seen(monkeypatch):
    monkeypatch.setattr(Index, "sync", lambda self: None)
    assert Outcome.LOST in outcomes("first")


def test_live_entries_that_are_believed_after_another_boot_are_seen(monkeypatch):
    monkeypatch.setattr(recovery, "counts_live", lambda index, facts: True)
    assert Outcome.CORRUPT in outcomes("first")


def test_blocks_that_share_a_page_and_are_believed_unread_are_seen(monkeypatch):
    monkeypatch.setattr(recovery, "PAGE", 1)
    assert Outcome.CORRUPT in outcomes("first, odd blocks")


def test_a_commit_in_the_middle_of_a_repair_is_seen(monkeypatch):
    monkeypatch.setattr(GroupCommit, "without", lambda self, start, stop: contextlib.nullcontext())
    assert Outcome.CORRUPT in outcomes("repaired in company")


def test_names_that_are_never_synced_are_seen(monkeypatch):
    monkeypatch.setattr(FileOps, "fsync_dir", lambda self, path: None)
    monkeypatch.setattr(Recorder, "fsync_dir", lambda self, path: None)
    assert {Outcome.LOST, Outcome.STUCK} <= outcomes("first")


def test_a_failed_sync_that_is_tried_again_is_seen(monkeypatch):
    real = GroupCommit.commit

    def commit(self):
        try:
            return real(self)
        except CachePoisonedError:
            return real(self)  # the second one succeeds, over lost bytes

    monkeypatch.setattr(GroupCommit, "poison", lambda self, reason: None)
    monkeypatch.setattr(GroupCommit, "commit", commit)
    assert Outcome.CORRUPT in outcomes("a failed sync")


def test_an_error_of_another_type_is_seen(monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(Destination, "has_partial", fail)
    assert Outcome.CRASH in outcomes("first")


# --- the disk --------------------------------------------------------------------------------------

LONG = 12 * SECTOR
writes = st.builds(
    lambda at, data: Write(0, at, data[: LONG - at]),
    st.integers(0, LONG - 1),
    st.binary(min_size=1, max_size=3 * SECTOR),
)


@settings(max_examples=60)
@given(st.lists(writes | st.just(Sync(0)), max_size=12), st.integers(0, 99))
def test_what_is_synced_is_sure_and_every_sector_is_as_it_once_was(todo, seed):
    now = bytearray(LONG)
    disk, turns = Disk({"x": 0}, {0: bytes(now)}), [bytes(now)]
    for event in todo:
        disk.apply(event)
        if isinstance(event, Write):
            now[event.at : event.at + len(event.data)] = event.data
            turns.append(bytes(now))
        else:
            turns = [bytes(now)]
    found = [state for state in disk.states(Random(seed), 60) if not state.shorn]
    assert {turns[0], turns[-1]} <= {state.files[0] for state in found}
    for state in found:
        for start in range(0, LONG, SECTOR):
            assert state.files[0][start : start + SECTOR] in {turn[start : start + SECTOR] for turn in turns}


def all_of(disk, count=300):
    return list(disk.states(Random(1), count))


def test_a_new_size_is_not_sure_before_a_sync():
    disk = Disk({"x": 0}, {0: b"12"})
    disk.apply(Size(0, 5))
    assert {state.files[0] for state in all_of(disk)} == {b"12", b"12\0\0\0"}
    disk.apply(Sync(0))
    assert {state.files[0] for state in all_of(disk)} == {b"12\0\0\0"}


def test_names_are_sure_after_a_sync_of_the_folder_and_come_in_any_order_before():
    disk = Disk({"a": 0}, {0: b"x"})
    disk.apply(Names((("b", 0),)))
    disk.apply(Names((("a", None),)))
    assert {tuple(sorted(state.names)) for state in all_of(disk)} == {("a",), ("b",), ("a", "b"), ()}
    disk.apply(SyncNames())
    assert {tuple(state.names) for state in all_of(disk)} == {("b",)}


def test_a_rename_is_one_step():
    disk = Disk({"a": 0, "b": 1}, {0: b"x", 1: b"y"})
    disk.apply(Names((("b", 0), ("a", None))))
    found = {
        tuple(sorted((name, state.files[file]) for name, file in state.names.items()))
        for state in all_of(disk)
    }
    assert found == {(("a", b"x"), ("b", b"y")), (("b", b"x"),)}


def test_what_a_failed_sync_may_have_lost_no_later_one_brings_back():
    old, new, other = bytes(4096), b"n" * 4096, b"o" * 4096
    disk = Disk({"x": 0}, {0: old + old})
    for event in (Write(0, 0, new), Lost(0), Write(0, 4096, other), Sync(0)):
        disk.apply(event)
    found = {state.files[0] for state in all_of(disk) if not state.shorn}
    assert {old + other, new + other} <= found
    assert all(content[4096:] == other for content in found)
    disk.apply(Write(0, 1, b"!"))  # that page goes to the disk anew
    disk.apply(Sync(0))
    assert {state.files[0] for state in all_of(disk)} == {b"n!" + new[2:] + other}


# --- the journal -----------------------------------------------------------------------------------


@pytest.mark.parametrize("story", [s for s in STORIES if not s.later], ids=lambda story: story.name)
def test_the_journal_makes_the_files_that_are_there(story, tmp_path):
    recorder = Recorder(tmp_path, story.magic)
    start = {file: bytes(content) for file, content in enumerate(recorder.contents)}
    story.record(recorder)
    disk = Disk(recorder.start, start)
    for event in recorder.events:
        disk.apply(event)
    disk.apply(SyncNames())
    for file in range(len(recorder.contents)):
        disk.apply(Sync(file))
    (state,) = all_of(disk)
    assert {name: state.files[file] for name, file in state.names.items()} == {
        path.name: path.read_bytes() for path in tmp_path.iterdir()
    }


def test_a_write_that_passes_no_seam_ends_the_recording(tmp_path):
    recorder = Recorder(tmp_path, BY_NAME["first, written through"].magic)
    cache = LocalDownloadCache.create(*names(tmp_path), 10_000, 4096, ops=recorder)
    Path(cache.path).write_bytes(b"x" * 10_000)
    with pytest.raises(AssertionError, match=r"x\.part was changed by something"):
        cache.write_at(bytes(4096), 0)
    recorder._closed = True
    recorder.finish()
    cache.close()


def test_what_is_stored_into_a_map_is_written_down(tmp_path):
    recorder = Recorder(tmp_path)
    cache = LocalDownloadCache.create(*names(tmp_path), 10_000, 4096, ops=recorder)
    cache.write_at(bytes(4096), 4096)
    recorder.note("looked")
    entries = [event for event in recorder.events if isinstance(event, Write) and len(event.data) == 8]
    cache.close()
    recorder.finish()
    if cache.data.mappable:
        assert [event.at for event in entries] == [8192 + 8]


# --- the command -----------------------------------------------------------------------------------


def run(*args):
    return CliRunner().invoke(program, ["selftest", "power", "--jobs", "1", *args])


def test_the_command_tells_by_story_and_in_sum():
    answer = run("--states", "100")
    assert answer.exit_code == 0, answer.output
    lines = answer.stdout.splitlines()
    assert [line[:32].strip() for line in lines[:-1]] == [story.name for story in STORIES]
    assert "0 corrupt, 0 lost, 0 stuck, 0 crash" in lines[-1]


def test_the_command_says_what_is_wrong_and_fails(monkeypatch):
    monkeypatch.setattr(recovery, "counts_live", lambda index, facts: True)
    answer = run("--states", "400", "--json")
    assert answer.exit_code == 1
    told = json.loads(answer.stdout)
    assert told["corrupt"] > 0
    assert any("is believed" in line and "seed 0, event" in line for line in told["bad"])


def test_more_jobs_judge_as_many():
    results = list(lose_power(60, jobs=2, stories=STORIES[:3]))
    assert sum(result.tally.states for result in results) >= 60
    assert not any(result.tally.bad for result in results)
