"""Nobody may be listening: a closed or full stdout or stderr costs what was said there, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from disk_helpers import new_cache, noise

from largefile.testing.server import LoopbackServer

CONTENT = noise((1 << 20) + 17)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """In an empty folder, with no proxy between us and loopback."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def server():
    with LoopbackServer(CONTENT) as found:
        yield found


def closed_pipe():
    """The end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


#: Ways of not listening, as the shell writes them; the pipe is made here.
DEAF = ["closed", "full", "pipe"]


def run(*words, stdout="heard", stderr="heard"):
    """A command with its streams as said: exit code, stdout and stderr, "" where nobody listens."""
    redirects, streams, mine = "", {}, []
    for number, (name, how) in enumerate({"stdout": stdout, "stderr": stderr}.items(), 1):
        streams[name] = subprocess.PIPE
        if how == "pipe":
            streams[name] = closed_pipe()
            mine.append(streams[name])
        elif how != "heard":
            redirects += f" {number}>&-" if how == "closed" else f" {number}>/dev/full"
    script = f'exec "$@"{redirects}'
    command = ["sh", "-c", script, "sh", sys.executable, "-P", "-m", "largefile", *map(str, words)]
    child = subprocess.Popen(command, text=True, **streams)
    for writer in mine:
        os.close(writer)
    out, err = child.communicate(timeout=30)
    return child.returncode, out or "", err or ""


@pytest.mark.parametrize("how", DEAF)
@pytest.mark.parametrize("words", [[], ["-v"], ["--json"], ["-q"]], ids=" ".join)
def test_messages_that_cannot_be_written_cost_nothing(server, how, words):
    code, out, _ = run("get", server.url, "-o", "x", *words, stderr=how)
    assert code == 0
    assert Path("x").read_bytes() == CONTENT
    assert out.startswith("{") == ("--json" in words)


@pytest.mark.parametrize("how", DEAF)
def test_json_that_cannot_be_written_ends_in_14_and_says_that_the_file_is_there(server, how):
    code, _, err = run("get", server.url, "-o", "x", "-q", "--json", stdout=how)
    assert code == 14
    assert err.count("\n") == 1
    assert err.startswith("largefile: error: ")
    assert "standard output" in err
    assert "x is complete" in err
    assert Path("x").read_bytes() == CONTENT


@pytest.mark.parametrize("how", DEAF)
@pytest.mark.parametrize("words", [["--json"], []], ids=" ".join)
def test_without_any_stream_a_failure_keeps_its_exit_code(server, how, words):
    Path("x").write_text("mine")
    assert run("get", server.url, "-o", "x", *words, stdout=how, stderr=how)[0] == 13
    assert run("get", server.url, "--bogus", *words, stdout=how, stderr=how)[0] == 2


@pytest.mark.parametrize("how", DEAF)
def test_a_failure_whose_json_cannot_be_written_keeps_its_exit_code_and_its_line(server, how):
    Path("x").write_text("mine")
    code, _, err = run("get", server.url, "-o", "x", "-q", "--json", stdout=how)
    assert code == 13
    assert "x exists" in err.splitlines()[0]
    assert "standard output" in err.splitlines()[1]
    assert "Traceback" not in err


@pytest.mark.parametrize("how", DEAF)
def test_the_json_of_the_other_commands_is_not_lost_in_silence_either(how):
    with new_cache(Path(), 8192, 4096):
        pass
    for command in ("info", "verify"):
        code, _, err = run(command, "x", "--json", stdout=how)
        assert code == 14
        assert "standard output" in err
        assert "Traceback" not in err


def test_the_output_of_a_command_on_a_full_disk_ends_in_14():
    with new_cache(Path(), 8192, 4096):
        pass
    for words in (["info", "x"], ["export", "x"], ["--help"]):
        code, _, err = run(*words, stdout="full")
        assert code == 14
        assert err.count("\n") == 1
        assert "Traceback" not in err


def test_no_file_of_ours_takes_the_number_of_a_closed_stream(server):
    # What a C library prints would land in the middle of the download.
    code = (
        "import os, sys; from largefile.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(os.readlink('/proc/self/fd/2'), flush=True)"
    )
    script = 'exec "$@" 2>&-'
    command = ["sh", "-c", script, "sh", sys.executable, "-P", "-c", code, "get", server.url, "-o", "x"]
    assert subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout == "/dev/null\n"
