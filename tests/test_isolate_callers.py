"""An isolated download for callers as they are: their streams, folders, modules, types and signals."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from processes import Download, in_place, nothing_left_behind, until
from server_tools import BLOCK, get, noise

import largefile
from largefile import RateController
from largefile.engine.channel import Channel
from largefile.engine.isolated import Isolated
from largefile.errors import CancelledError, EngineDiedError
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer

CONTENT = noise(20 * BLOCK + 7)
#: Modules that a child imports; the last is none of the standard library.
SHADOWS = ["pickle", "queue", "logging", "socket", "mmap", "ctypes", "struct", "certifi"]

#: A caller; what it prints goes to a file, as it may have no standard output.
CALLER = """
import os, sys
sys.path[:] = [*{path!r}, *{more!r}]
import largefile
{before}
try:
    said = str(largefile.download({url!r}, {dest!r}, proxy="", isolate=True, deadline=60).complete)
except BaseException as error:
    said = repr(error)
with open({out!r}, "w") as file:
    file.write(said)
"""


@pytest.fixture
def server():
    with LoopbackServer(CONTENT) as server:
        yield server


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "x"


def call(server, dest, before="", *, more=(), flags=(), redirected="", cwd=None, env=None):
    """What a caller in a process of its own says, and what is on its standard error."""
    out = dest.parent / "said"
    code = CALLER.format(
        path=sys.path, more=list(more), url=server.url, dest=str(dest), before=before, out=str(out)
    )
    shell = ["sh", "-c", f'exec "$@" {redirected}', "sh"]
    done = subprocess.run(
        [*shell, sys.executable, *flags, "-c", code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=100,
        check=True,
    )
    return out.read_text(), done.stderr


@pytest.mark.parametrize("closed", ["<&- >&-", "<&- >&- 2>&-", ">&- 2>&-"])
def test_standard_streams_that_are_closed_cost_nothing(server, dest, closed):
    assert call(server, dest, redirected=closed)[0] == "True"
    assert dest.read_bytes() == CONTENT


def test_no_end_of_a_channel_has_the_number_of_a_standard_stream():
    # In a process of its own, whose numbers these are.
    code = """
import os, sys
sys.path[:] = {path!r}
from largefile.engine.board import shared_memory
from largefile.engine.channel import Channel
from largefile.engine.isolated import Isolated
for fd in (0, 1):
    os.close(fd)
used = set(map(int, os.listdir("/dev/fd")))
ours, theirs = Channel.pair()
assert ours.fileno() > 2 and theirs.fileno() > 2
assert shared_memory() > 2
ours.send("x")
assert theirs.receive() == "x"
left = set(map(int, os.listdir("/dev/fd"))) - used
assert len(left) == 3, left
"""
    subprocess.run([sys.executable, "-c", code.format(path=sys.path)], check=True)


@pytest.mark.parametrize("entry", ["", ".", "SCRIPT"])
def test_modules_where_the_caller_works_are_not_imported(server, dest, tmp_path, entry):
    folder = tmp_path / "work"
    folder.mkdir()
    if entry == "SCRIPT":
        entry, names = str(folder), SHADOWS[:-1]  # a folder of his may well have others'
    else:
        names = SHADOWS
    for name in names:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write('{name} ')")
    # The caller has imported already what it needs of them, as the child has not.
    before = (
        f"import pickle, largefile.caching, largefile.engine.child; os.chdir({str(folder)!r});"
        f" sys.path.insert(0, {entry!r})"
    )
    said, _ = call(server, dest, before)
    assert not (tmp_path / "imported").exists(), (tmp_path / "imported").read_text()
    assert said == "True"


def test_what_is_no_text_in_the_path_is_passed_over(server, dest, monkeypatch):
    monkeypatch.setattr(sys, "path", [None, 7, Path("/"), b"/", *sys.path])
    assert get(server, dest, isolate=True).complete


@pytest.mark.parametrize("flag", ["-I", "-B"])
def test_a_caller_with_flags(server, dest, flag):
    assert call(server, dest, flags=[flag]) == ("True", "")


def test_a_name_is_written_in_the_callers_encoding(server, tmp_path):
    env = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    dest = tmp_path / "größer"
    assert call(server, dest, flags=["-X", "utf8"], env=env)[0] == "True"
    assert dest.read_bytes() == CONTENT


def test_a_folder_that_has_no_way_to_it_by_name(server, dest):
    deep = "for _ in range(20):\n    os.mkdir('d' * 240); os.chdir('d' * 240)\n"
    try:
        assert call(server, dest, deep, cwd=dest.parent)[0] == "True"
    finally:
        subprocess.run(["rm", "-rf", dest.parent / ("d" * 240)], check=True)


def test_a_caller_without_descriptors_is_told_by_a_typed_error(server, dest):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    assert Isolated, "imported, which needs a descriptor"
    assert largefile.start_download, "the same"
    with nothing_left_behind():
        with suppress(OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        try:
            job = largefile.start_download(server.url, dest, proxy="", isolate=True)
            with pytest.raises(EngineDiedError, match="could not be started") as caught:
                job.result(30)
        finally:
            for fd in held:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.status.resumable


def test_an_environment_that_is_too_large_is_a_typed_error(server, dest, monkeypatch):
    monkeypatch.setenv("LARGE", "x" * (1 << 18))
    with pytest.raises(EngineDiedError, match="could not be started"):
        get(server, dest, isolate=True)


def test_a_broken_pipe_does_not_end_a_caller_that_lets_it(tmp_path):
    code = """
import signal, sys
sys.path[:] = {path!r}
from largefile.engine.channel import Channel
from largefile.engine.isolated import Isolated
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
ours, theirs = Channel.pair()
theirs.close()
try:
    ours.send("anything")
except BrokenPipeError:
    print("told")
"""
    done = subprocess.run([sys.executable, "-c", code.format(path=sys.path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "told\n")


# --- types of the caller's -------------------------------------------------------------------------


class Text(str):
    """A str of a module that no child has."""

    __slots__ = ()


class Number(float):
    __slots__ = ()


def test_texts_and_numbers_of_the_callers_own_classes_are_plain_data_there(server, dest):
    sent = []
    send = Channel.send

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Channel, "send", lambda self, message: (sent.append(message), send(self, message)))
        status = largefile.download(
            Text(server.url),
            Text(dest),
            proxy="",
            isolate=True,
            deadline=Number(60),
            rate=RateController(bytes_per_second=Number(1e9), requests_per_second=Number(1e6)),
        )
    assert status.complete
    order = sent[0]
    assert [type(each) for each in (order.url, order.dest, order.deadline)] == [str, str, float]
    assert type(order.limits.requests_per_second) is float


class Ours(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def raising(url):
    raise Ours


@pytest.mark.parametrize("fails", [False, True])
def test_whatever_renew_does_the_child_is_answered(server, dest, fails):
    class Local(str):
        __slots__ = ()

    def behave(request):
        return Behaviour(status=403) if request.path != "/new" and request.number > 2 else None

    server.behave = behave
    renew = raising if fails else lambda url: Local(server.at("/new"))
    job = largefile.start_download(
        server.url, dest, proxy="", isolate=True, block_size=BLOCK, deadline=20, renew=renew
    )
    if fails:
        with pytest.raises(largefile.RefusedError, match="renew failed") as caught:
            job.result(60)
        assert type(caught.value.__cause__) is Ours
    else:
        assert job.result(60).complete


# --- waiting ---------------------------------------------------------------------------------------


def test_who_is_waited_for_is_known_here(dest):
    with LoopbackServer(CONTENT, rate=2 * BLOCK) as server:
        with Download(server.url, dest, proxy="", block_size=BLOCK, concurrency=2) as owner:
            until(lambda: in_place(dest) >= BLOCK, what="a block")
            job = largefile.start_download(server.url, dest, proxy="", isolate=True, wait=True)
            until(lambda: job.waiting_for, what="whom it waits for")
            assert f"pid {owner.process.pid} on " in job.waiting_for
            job.cancel()
            with pytest.raises(CancelledError):
                job.result(20)
            assert owner.process.poll() is None
