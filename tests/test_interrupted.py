"""Processes that are interrupted, suspended, forked, or live long: what they hold is let go of, and no more.

What is measured of a process is measured in one of its own.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from disk_helpers import folder
from processes import Download, in_place, until

import largefile
from largefile.testing.script import Content, pattern
from largefile.testing.server import LoopbackServer

DEEP = int(os.environ.get("LARGEFILE_DEEP") or 1)
MIB = 1 << 20
SOURCE = Path(largefile.__file__).parent


def sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(size):
    return hashlib.sha256(pattern(0, size - 1)).hexdigest()


def python(code, *words, **environment):
    code = f"import sys; sys.path[:] = {sys.path!r}\n{code}"
    command = [sys.executable, "-P", "-c", code, *map(str, words)]
    env = {**os.environ, **environment}
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)


# --- Ctrl-C ---------------------------------------------------------------------------------------

#: As the command, where there are four processors; it says when both of the engine's threads move bytes.
GET = """
import os, signal, threading
os.cpu_count = lambda: 4
os.sched_getaffinity = lambda pid: range(4)
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests may have it ignored
run = threading.Thread.run
def told(self):
    if "largefile-engine" in self.name:
        print("thread", self.name, file=sys.stderr, flush=True)
    run(self)
threading.Thread.run = told
from largefile.cli import main
main()
"""


@pytest.mark.parametrize("held", [0.1, 0.8])
def test_ctrl_c_ends_a_get_with_two_engine_threads_and_the_next_goes_on(tmp_path, held):
    size, dest = 40 * MIB, tmp_path / "x"
    with LoopbackServer(Content(size), rate=4 * MIB) as server:
        child = python(GET, "get", server.url, "-o", dest, "--proxy", "", "--json", "-q")
        until(lambda: in_place(dest) >= held * size or child.poll() is not None, what="some of it")
        child.send_signal(signal.SIGINT)
        began = time.monotonic()
        out, err = child.communicate(timeout=30)
        assert time.monotonic() - began < 8, "it did not stop by itself"
        assert child.returncode == 130
        assert err.count("thread ") == 2, err
        assert "Traceback" not in err
        assert json.loads(out)["error"] == "CancelledError"
        assert not dest.exists()
        have = in_place(dest)
        assert held * size <= have < size
        server.rate = None
        status = largefile.download(server.url, dest, proxy="")
    assert status.resumed_bytes == have
    assert sha256(dest) == digest(size)


# --- suspended, and another time of day -----------------------------------------------------------


def test_a_process_that_is_suspended_for_longer_than_its_patience_goes_on(tmp_path):
    size, dest, timeout = 6 * MIB, tmp_path / "x", 0.5
    with LoopbackServer(Content(size), rate=MIB) as server:
        with Download(server.url, dest, proxy="", block_size=64 << 10, timeout=timeout) as child:
            child.reaches(MIB)
            for hang_up in (False, True):
                child.process.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, child.process.pid, os.WSTOPPED)
                time.sleep(4 * timeout)  # nobody's condition: this is how long it is away
                if hang_up:  # as servers do whose client reads nothing
                    server.hang_up()
                child.process.send_signal(signal.SIGCONT)
                child.reaches(in_place(dest) + MIB)
            assert child.status()["complete"]
    assert sha256(dest) == digest(size)


def test_the_time_of_day_may_jump(tmp_path, monkeypatch):
    now, jumps = time.time(), itertools.count(1)
    monkeypatch.setattr(time, "time", lambda: now + (-1) ** (jump := next(jumps)) * 1e6 * jump)
    size, dest = 6 * MIB, tmp_path / "x"
    with LoopbackServer(Content(size)) as server:
        status = largefile.download(
            server.url, dest, proxy="", deadline=60, rate=12 * MIB, timeout=5, progress=lambda stats: None
        )
    assert sha256(dest) == digest(size)
    assert 0.1 < status.duration < 60
    assert status.download_retries == 0


def test_only_a_server_s_dates_are_held_against_the_time_of_day():
    uses = r"\btime\.time\b|time_ns\(|datetime|localtime|gmtime|CLOCK_REALTIME"
    found = {
        str(path.relative_to(SOURCE))
        for pattern in ("*.py", "*.pyx")
        for path in SOURCE.rglob(pattern)
        if "testing" not in path.parts and re.search(uses, path.read_text())
    }
    assert found == {"wire/place.py"}, "Retry-After may be a date"


# --- many in one process --------------------------------------------------------------------------

MANY = """
import gc, json, os, threading
from pathlib import Path
import largefile

url, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])

def fetch(number):
    for number in range(number):
        largefile.download(url, folder / "x", proxy="", overwrite=True, durable=False)
        if number % 10 == 0:
            largefile.download(url, into=bytearray(300_000), proxy="")
            with largefile.stream(url, proxy="") as source:
                source.read()
            with largefile.open(url, proxy="", cache_dir=folder / "kept") as file:
                file.read_at(1000, 100_000)

def held():
    gc.collect()
    status = Path("/proc/self/status").read_text().splitlines()
    kib = next(line.split()[1] for line in status if line.startswith("VmRSS"))
    return {"kib": int(kib), "files": len(os.listdir("/proc/self/fd")), "threads": threading.active_count()}

fetch(20)
before = held()
fetch(count)
print(json.dumps([before, held()]))
"""


#: One arena, and large pieces given back: otherwise 35 to 41 MiB come and go with what malloc keeps for whom.
PLAIN_MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"}


@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_many_downloads_leave_memory_descriptors_and_threads_where_they_were():
    with folder() as base, LoopbackServer(Content(300_000)) as server:
        child = python(MANY, server.url, base, 1000 if DEEP > 1 else 100, **PLAIN_MALLOC)
        out, err = child.communicate(timeout=500)
    assert child.returncode == 0, err
    before, after = json.loads(out)
    assert after["files"] <= before["files"]
    assert after["threads"] <= before["threads"] <= 2
    assert after["kib"] <= before["kib"] + 2048, (before, after)
