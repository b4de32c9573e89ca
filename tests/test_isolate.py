"""A download in a process of its own is the same download, and neither process outlives what it is for."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from processes import in_place, nothing_left_behind, until
from server_tools import BLOCK, after, always, get, names, noise, parts, sha256

import largefile
from largefile import LocalDownloadCache, RateController
from largefile.caching import DownloadOptions
from largefile.engine import isolated as isolated_module
from largefile.errors import (
    CancelledError,
    DeadlineError,
    DestinationExistsError,
    DigestMismatchError,
    EngineDiedError,
    NotFoundError,
    RefusedError,
    SourceChangedError,
)
from largefile.stats import DownloadStats
from largefile.testing.script import Behaviour
from largefile.testing.server import Content, LoopbackServer, pattern

CONTENT = noise(40 * BLOCK + 77)
#: Of each transfer: quick enough to land some blocks at once, and too slow to be done with all of them.
SLOW = 4 * BLOCK
USUAL = {"block_size": BLOCK, "concurrency": 4, "durable": False, "proxy": "", "isolate": True}


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "x"


@pytest.fixture(autouse=True)
def _none_is_left():
    yield
    for pid in children():
        with suppress(ProcessLookupError):  # one that was just ending
            os.kill(pid, signal.SIGKILL)


def start(server, dest, **options):
    return largefile.start_download(server.url, dest, **{**USUAL, **options})


def isolated(server, dest, **options):
    return get(server, dest, isolate=True, **options)


def processes():
    """PID, parent's PID, state and words of each process."""
    if Path("/proc/self/stat").exists():
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(FileNotFoundError, ProcessLookupError):
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                yield folder.name, parent, state, (folder / "cmdline").read_text()
    else:
        command = ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        yield from (line.split(None, 3) for line in lines)


def children(parent=None):
    """The processes of isolated downloads that `parent`, or we, have started: from PID to its words."""
    wanted = str(parent or os.getpid())
    return {
        int(pid): words
        for pid, ppid, state, words in processes()
        if ppid == wanted and "an isolated download" in words and not state.startswith("Z")
    }


def child_of(job, dest):
    """The PID of the child of `job`, once some blocks are in place."""
    until(lambda: in_place(dest) >= 2 * BLOCK or job.done, what="blocks in place")
    (pid,) = children()
    return pid


def is_alive(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


# --- the same download ----------------------------------------------------------------------------


def test_it_does_what_a_download_does(tmp_path):
    with LoopbackServer(CONTENT) as server:
        usual = get(server, tmp_path / "usual", digest=sha256(CONTENT))
        with nothing_left_behind():
            other = isolated(server, tmp_path / "isolated", digest=sha256(CONTENT))
    assert (tmp_path / "isolated").read_bytes() == CONTENT
    assert names(tmp_path) == {"usual", "isolated"}
    measured = ("path", "rate", "elapsed", "duration", "connections")
    same, that = ({k: v for k, v in s.as_dict().items() if k not in measured} for s in (usual, other))
    assert that == same
    assert other.path == str(tmp_path / "isolated")
    assert not children()


def test_progress_is_told_here(dest):
    seen, maps, threads = [], [], set()

    class Bar:
        def watch(self, block_map):
            self.block_map = block_map

        def __call__(self, stats):
            threads.add(threading.get_ident())
            seen.append(stats)
            maps.append(self.block_map(10))

        def close(self):
            pass

    with LoopbackServer(CONTENT, rate=2 * SLOW) as server:
        isolated(server, dest, progress=Bar())
    counts = [stats.cached_or_streamed_bytes for stats in seen]
    assert counts == sorted(counts)
    assert any(0 < count < len(CONTENT) for count in counts)
    assert any(stats.connections and stats.rate for stats in seen)
    assert [stats.elapsed for stats in seen] == sorted(stats.elapsed for stats in seen)
    assert (seen[-1].phase, seen[-1].cached_or_streamed_bytes) == ("done", len(CONTENT))
    assert any(0 < sum(shares) < 10 for shares in maps)
    assert maps[-1] == [1.0] * 10
    assert len(threads) == 1


def test_nothing_is_known_before_the_child_has_said_anything(dest):
    with LoopbackServer(CONTENT, behave=always(delay=0.2)) as server:
        job = start(server, dest)
        assert replace(job.stats(), elapsed=0.0) == DownloadStats(phase="probing")
        assert set(job.block_map(7)) == {0.0}
        assert job.result().complete


@pytest.mark.parametrize("first", [True, False], ids=["isolated-first", "isolated-then"])
def test_one_kind_goes_on_where_the_other_stopped(dest, first):
    with LoopbackServer(CONTENT, rate=SLOW) as server:
        job = start(server, dest, isolate=first)
        until(lambda: job.stats().cached_or_streamed_blocks > 1, what="some blocks")
        job.cancel()
        with pytest.raises(CancelledError) as caught:
            job.result()
        status = caught.value.status
        assert status.resumable
        assert status.path == str(parts(dest)[0])
        server.rate = None
        gone_on = get(server, dest, isolate=not first)
    assert gone_on.resumed_bytes == status.cached_or_streamed_bytes >= 2 * BLOCK
    assert dest.read_bytes() == CONTENT


def test_on_an_event_loop(dest):
    async def main(url):
        seen = []
        await largefile.aio.download(
            url, dest, **USUAL, progress=lambda stats: seen.append(threading.current_thread())
        )
        assert set(seen) == {threading.current_thread()}

    with LoopbackServer(CONTENT) as server:
        asyncio.run(main(server.url))
    assert dest.read_bytes() == CONTENT


def test_a_task_that_is_cancelled_ends_it(dest):
    async def main(url):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.7):
                await largefile.aio.download(url, dest, **USUAL)

    with nothing_left_behind(), LoopbackServer(CONTENT, rate=BLOCK // 4) as server:
        asyncio.run(main(server.url))
    assert not children()


# --- errors ---------------------------------------------------------------------------------------


def broken(server, dest):
    isolated(server, dest, digest=sha256(b"another"))


def taken(server, dest):
    dest.write_bytes(b"mine")
    isolated(server, dest)


def gone(server, dest):
    server.behave = always(status=404)
    isolated(server, dest)


def changed(server, dest):
    with largefile.HTTPReader(server.url, proxy="") as reader:
        identity = reader.identity
    with LocalDownloadCache.create(*parts(dest), len(CONTENT), BLOCK, identity=identity) as cache:
        cache.write_at(CONTENT[:BLOCK], 0)
    server.content = noise(len(CONTENT), seed=2)
    isolated(server, dest, on_change="fail")


@pytest.mark.parametrize(
    ("act", "kind", "left"),
    [
        (gone, NotFoundError, set()),
        (broken, DigestMismatchError, {"x.bad"}),
        (taken, DestinationExistsError, {"x"}),
        (changed, SourceChangedError, {"x.part", "x.part.idx"}),
    ],
)
def test_an_error_is_raised_here_as_what_it_is(dest, act, kind, left):
    with LoopbackServer(CONTENT) as server, pytest.raises(kind) as caught:
        act(server, dest)
    error = caught.value
    assert type(error) is kind
    assert error.status.complete is False
    assert error.status.resumable is error.resumable
    assert names(dest.parent) == left


def test_a_callers_mistake_is_told_before_anything_is_done(dest, monkeypatch):
    class Text:
        def __str__(self):
            return "text"

    with pytest.raises(ValueError, match="headers is a Text, which can not go to another process"):
        largefile.start_download("http://127.0.0.1:1/", dest, isolate=True, headers={"X-Text": Text()})
    with pytest.raises(ValueError, match="isolate needs a file"):
        largefile.start_download("http://127.0.0.1:1/", into=bytearray(9), isolate=True)
    with pytest.raises(ValueError, match="and the folder allows"):
        largefile.start_download("http://127.0.0.1:1/", dest.parent / ("x" * 255), isolate=True)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(ValueError, match="needs a Python interpreter"):
        largefile.start_download("http://127.0.0.1:1/", dest, isolate=True)
    assert names(dest.parent) == set()


def test_a_mistake_that_only_the_disk_shows_is_a_plain_error_here_too(dest):
    dest.mkdir()
    with pytest.raises(ValueError, match="is a folder") as caught:
        largefile.download("http://127.0.0.1:1/", dest, **USUAL)
    assert "delivery.py" in "".join(caught.value.__notes__), "where it was raised"


def test_a_process_that_can_not_be_started_is_a_typed_error(dest, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-such-python"))
    with pytest.raises(EngineDiedError, match="could not be started") as caught, nothing_left_behind():
        largefile.download("http://127.0.0.1:1/", dest, **USUAL)
    assert caught.value.status.resumable
    assert caught.value.returncode is None


# --- ends -----------------------------------------------------------------------------------------


def test_a_deadline_ends_it(dest):
    with nothing_left_behind(), LoopbackServer(CONTENT, rate=BLOCK // 4) as server:
        with pytest.raises(DeadlineError, match="its deadline of 1 s") as caught:
            isolated(server, dest, deadline=1.0)
    assert caught.value.status.resumable
    assert not children()
    assert names(dest.parent) in (set(), {"x.part", "x.part.idx"}), "on a busy machine it may not have begun"


def test_a_cancellation_before_the_child_is_there_is_not_lost(dest):
    with nothing_left_behind(), LoopbackServer(CONTENT, behave=always(stall=True)) as server:
        job = start(server, dest)
        job.cancel()
        with pytest.raises(CancelledError):
            job.result(10)
    assert not children()


def test_a_child_that_does_not_obey_is_killed(dest, monkeypatch):
    monkeypatch.setattr(isolated_module, "PATIENCE", 0.2)
    with LoopbackServer(CONTENT, rate=SLOW) as server:
        job = start(server, dest)
        pid = child_of(job, dest)
        os.kill(pid, signal.SIGSTOP)
        job.cancel()
        with pytest.raises(CancelledError) as caught:
            job.result(10)
        assert not is_alive(pid)
        assert caught.value.status.path == str(parts(dest)[0])
        server.rate = None
        assert isolated(server, dest).resumed_bytes >= 2 * BLOCK


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_dies_is_an_error_and_the_partial_is_kept(dest, number):
    with nothing_left_behind(), LoopbackServer(CONTENT, rate=SLOW) as server:
        rate = RateController(bytes_per_second=1 << 40)
        job = start(server, dest, rate=rate)
        os.kill(child_of(job, dest), number)
        with pytest.raises(EngineDiedError, match=f"ended by {number.name}") as caught:
            job.result(10)
        error = caught.value
        assert error.resumable
        assert error.status.resumable
        assert error.returncode == -number
        assert (error.status.phase, error.status.path) == ("stopped", str(parts(dest)[0]))
        assert job.stats().phase == "stopped"
        assert rate.share(1) == 1 << 40, "it has left the rate to others"
        server.rate = None
        assert isolated(server, dest).resumed_bytes >= 2 * BLOCK
    assert dest.read_bytes() == CONTENT


PARENT = """
import signal, sys
sys.path[:] = {path!r}
import largefile
print("begun", flush=True)
if {heedless!r}:
    signal.signal(signal.SIGINT, lambda number, frame: print("heard", flush=True))
largefile.download({url!r}, {dest!r}, **{options!r})
print("done")
"""


def program(server, dest, heedless=False):
    return PARENT.format(path=sys.path, url=server.url, dest=str(dest), options=USUAL, heedless=heedless)


def parent(server, dest, *, new_session=False, heedless=False):
    code = program(server, dest, heedless)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=new_session,
    )


def test_ctrl_c_stops_both_in_order(dest):
    with LoopbackServer(CONTENT, rate=SLOW) as server:
        caller = parent(server, dest, new_session=True)
        until(lambda: in_place(dest) >= 2 * BLOCK, what="blocks in place")
        (pid,) = children(caller.pid)
        os.killpg(caller.pid, signal.SIGINT)  # as a terminal does it
        _, words = caller.communicate(timeout=20)
        assert words.rstrip().endswith("KeyboardInterrupt")
        assert words.count("Traceback") == 1, words
        assert not is_alive(pid)
        server.rate = None
        assert get(server, dest).resumed_bytes >= 2 * BLOCK


def test_a_ctrl_c_that_the_caller_does_not_heed_stops_nothing(dest):
    with LoopbackServer(CONTENT, rate=SLOW) as server:
        caller = parent(server, dest, new_session=True, heedless=True)
        until(lambda: in_place(dest) >= 2 * BLOCK, what="blocks in place")
        os.killpg(caller.pid, signal.SIGINT)
        server.rate = None
        said, _ = caller.communicate(timeout=20)
    assert said.split() == ["begun", "heard", "done"]


def test_a_child_does_not_survive_its_parent(dest):
    with LoopbackServer(CONTENT, rate=SLOW) as server:
        caller = parent(server, dest)
        until(lambda: in_place(dest) >= 2 * BLOCK, what="blocks in place")
        (pid,) = children(caller.pid)
        caller.kill()
        caller.communicate()
        until(lambda: not is_alive(pid), what="the end of the child")
        server.rate = None
        assert get(server, dest).resumed_bytes >= 2 * BLOCK
    assert dest.read_bytes() == CONTENT


def test_the_callers_main_is_not_run_again(dest, tmp_path):
    script = tmp_path / "script.py"
    with LoopbackServer(CONTENT) as server:
        script.write_text(program(server, dest))
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["begun", "done"]
    assert done.stderr == ""


# --- what crosses ---------------------------------------------------------------------------------


def option_samples(server, folder):
    """For each option a value that is not its default, and that allows the download."""
    return {
        "digest": sha256(CONTENT),
        "concurrency": 3,
        "block_size": 2 * BLOCK,
        "headers": {"X-Key": "hidden-header"},
        "auth": ("me", "hidden-password"),
        "rate": 1 << 40,
        "progress": lambda stats: None,
        "timeout": 7.5,
        "connect_timeout": 2.5,
        "deadline": 60,
        "tries": 2,
        "threads": 1,
        "on_change": "fail",
        "repair": False,
        "server_digest": False,
        "resume": False,
        "overwrite": True,
        "durable": False,
        "ca_file": folder / "ca.pem",
        "proxy": "",
        "allow_private": True,
        "max_size": len(CONTENT),
        "http2": False,
        "mirrors": iter([server.at("/mirror")]),
        "renew": lambda url: url,
        "wait": 5.0,
        "isolate": True,
    }


def test_every_option_crosses(dest, tmp_path):
    (tmp_path / "ca.pem").write_text("")
    with LoopbackServer(CONTENT) as server:
        options = option_samples(server, tmp_path)
        assert set(options) == set(DownloadOptions.__annotations__)
        dest.write_bytes(b"old")
        status = largefile.download(server.url, dest, **options)
    assert dest.read_bytes() == CONTENT
    assert status.block_size == 2 * BLOCK
    assert status.verified_by == "digest"
    assert {request.headers.get("x-key") for request in server.requests} == {"hidden-header"}
    assert all(request.headers["authorization"].startswith("Basic ") for request in server.requests)


def test_a_secret_is_in_no_argument_and_in_no_environment(dest):
    with LoopbackServer(CONTENT, rate=SLOW) as server:
        url = server.at("/file.bin?token=hidden-token")
        secrets = {"headers": {"X-Key": "hidden-header"}, "auth": "Bearer hidden-auth"}
        job = largefile.start_download(url, dest, **USUAL, **secrets)
        pid = child_of(job, dest)
        said = children()[pid]
        with suppress(FileNotFoundError):
            said += Path(f"/proc/{pid}/environ").read_text()
        job.cancel()
    assert "an isolated download" in said
    assert "hidden-" not in said


def before_the_start(monkeypatch, act):
    """Have ``act(theirs)`` done just before a child is started."""
    real = isolated_module.Isolated._start

    def start_after(self, theirs):
        act(theirs)
        return real(self, theirs)

    monkeypatch.setattr(isolated_module.Isolated, "_start", start_after)


def test_a_relative_name_is_meant_from_where_it_was_given(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    before_the_start(monkeypatch, lambda theirs: os.chdir(tmp_path / "elsewhere"))
    with LoopbackServer(CONTENT) as server:
        assert isolated(server, "x").path == "x"
    assert names(tmp_path) == {"x", "elsewhere"}
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_renew_is_called_here(dest):
    here, asked = [], []

    def renew(url):
        here.append(os.getpid())
        asked.append(url)
        return server.at("/new")

    def behave(request):
        return Behaviour(status=403) if request.path != "/new" and request.number > 3 else None

    with LoopbackServer(CONTENT, behave=behave) as server:
        isolated(server, dest, renew=renew)
    assert dest.read_bytes() == CONTENT
    assert here == [os.getpid()]
    assert asked == [server.url]


def test_what_renew_raises_is_the_cause(dest):
    class Ours(Exception):
        pass

    failure = Ours("no more")

    def renew(url):
        raise failure

    with LoopbackServer(CONTENT, behave=after(2, status=403)) as server:
        with pytest.raises(RefusedError, match="renew failed") as caught:
            isolated(server, dest, renew=renew)
    assert caught.value.__cause__ is failure


def test_a_renew_that_gives_no_url_is_an_error(dest):
    with LoopbackServer(CONTENT, behave=after(2, status=403)) as server:
        with pytest.raises(RefusedError, match="renew failed") as caught:
            isolated(server, dest, renew=lambda url: None)
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_rate_may_be_changed_meanwhile(dest):
    content = Content(32 << 20, pattern)
    limit = content.size // 60
    rate = RateController(bytes_per_second=limit)
    with LoopbackServer(content) as server:
        job = start(server, dest, rate=rate, block_size=1 << 20)
        until(lambda: rate.share(1) < limit, what="its transfers among those that share the rate")
        until(lambda: job.stats().downloaded_bytes, what="a byte")
        rate.bytes_per_second = None
        assert job.result(30).complete


def test_bodies_without_a_size_share_a_rate_too(tmp_path):
    rate = RateController(bytes_per_second=2 * BLOCK)
    with LoopbackServer(CONTENT, behave=always(ranges=False, chunked=True)) as server:
        jobs = [start(server, tmp_path / name, rate=rate) for name in "ab"]
        until(lambda: rate.share(1) == BLOCK, what="both among those that share the rate")
        assert [job.stats().connections for job in jobs] == [1, 1]
        rate.bytes_per_second = None
        assert [job.result(30).connections for job in jobs] == [0, 0]


def test_what_the_child_logs_is_logged_here(dest, caplog):
    caplog.set_level(logging.WARNING, logger="largefile")
    with LoopbackServer(CONTENT) as server, pytest.raises(DigestMismatchError):
        isolated(server, dest, digest=sha256(b"another"))
    (record,) = caplog.records
    assert record.name == "largefile"
    assert re.search("file.bin: wrong digest", record.getMessage())
    assert record.process != os.getpid()


def test_two_at_once_with_one_killed(tmp_path):
    with LoopbackServer(CONTENT, rate=SLOW) as server:
        doomed = start(server, tmp_path / "doomed")
        pid = child_of(doomed, tmp_path / "doomed")
        other = start(server, tmp_path / "other")
        until(lambda: len(children()) == 2, what="both")
        os.kill(pid, signal.SIGKILL)
        server.rate = None
        with pytest.raises(EngineDiedError):
            doomed.result(10)
        assert other.result(30).complete
    assert (tmp_path / "other").read_bytes() == CONTENT


def test_a_fork_that_has_the_childs_end_of_the_channel_does_not_hide_its_death(dest, monkeypatch):
    held = []
    before_the_start(monkeypatch, lambda theirs: held.append(os.dup(theirs.fileno())))
    with LoopbackServer(CONTENT, rate=SLOW) as server:
        job = start(server, dest)
        os.kill(child_of(job, dest), signal.SIGKILL)
        with pytest.raises(EngineDiedError):
            job.result(10)
    os.close(held[0])
