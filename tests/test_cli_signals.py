"""SIGINT and SIGTERM, whenever and however often they come, end a command with 130 and no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from disk_helpers import noise

from largefile.testing.server import Behaviour, LoopbackServer

MIB = 1 << 20
CONTENT = noise(2 * MIB)
INTERRUPTED = "largefile: error: interrupted\n"

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """In an empty folder, with no proxy between us and loopback."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def python(code, *words):
    """A Python process that runs `code`."""
    command = [sys.executable, "-P", "-c", code, *map(str, words)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended(child):
    try:
        out, err = child.communicate(timeout=30)
    finally:
        child.kill()
    return child.returncode, out, err


@pytest.fixture
def stalled():
    """A server that gives the first MiB and then nothing; ``stalled.seen`` is set when more is asked for."""
    with LoopbackServer(CONTENT) as server:
        server.seen = threading.Event()

        def behave(request):
            if request.number == 0:
                return None
            server.seen.set()
            return Behaviour(stall=True)

        server.behave = behave
        yield server


RUN = "from largefile.cli import main; main()"


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_two_signals_at_once_are_one_interruption(stalled, first, second):
    child = python(RUN, "get", stalled.url, "-o", "x", "--json")
    assert stalled.seen.wait(20)
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    child.send_signal(first)
    child.send_signal(second)
    child.send_signal(signal.SIGCONT)
    code, out, err = ended(child)
    assert code == 130
    assert INTERRUPTED in err
    assert "Traceback" not in err
    assert json.loads(out)["error"] == "CancelledError"
    assert Path("x.part.idx").exists()


#: The second signal comes in the middle of giving a condition's lock back, when the wait for the job ends.
IN_THE_LOCK = """
import os, signal, sys, threading
restore = threading.Condition._acquire_restore
def callers():
    frame = sys._getframe(2)
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back
def interrupted(self, state):
    if threading.current_thread() is threading.main_thread() and "result" in callers():
        threading.Condition._acquire_restore = restore
        os.kill(os.getpid(), signal.SIGINT)
    restore(self, state)
threading.Condition._acquire_restore = interrupted
from largefile.cli import main
main()
"""


def test_a_signal_inside_of_a_lock_breaks_nothing(stalled):
    child = python(IN_THE_LOCK, "get", stalled.url, "-o", "x")
    assert stalled.seen.wait(20)
    child.send_signal(signal.SIGINT)
    code, _, err = ended(child)
    assert code == 130
    assert INTERRUPTED in err
    assert "Traceback" not in err


#: A signal while a module is imported.
IN_AN_IMPORT = """
import os, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            for number in map(int, sys.argv[2].split(",")):
                os.kill(os.getpid(), number)
from largefile.cli import main
sys.meta_path.insert(0, Finder())
main(sys.argv[3:])
"""


@BOTH
@pytest.mark.parametrize("module", ["click", "largefile.cli.get", "largefile.caching", "pycurl"])
def test_a_signal_while_modules_are_imported_is_an_interruption(module, number):
    code, out, err = ended(
        python(IN_AN_IMPORT, module, number.value, "get", "http://127.0.0.1:9/x", "--json")
    )
    assert code == 130
    assert err.strip() == INTERRUPTED.strip()
    assert json.loads(out)["error"] == "CancelledError"


@BOTH
def test_an_interruption_that_breaks_something_else_is_one_all_the_same(number):
    # click ends the terminal's line first, and fails at that.
    command = [sys.executable, "-P", "-c", IN_AN_IMPORT, "pycurl", str(number.value)]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        found = subprocess.run([*command, "get", "http://127.0.0.1:9/x"], stderr=full, timeout=30)
    assert found.returncode == 130


@BOTH
def test_a_signal_before_the_job_began_ends_it_when_it_has(stalled, number):
    # The last import before the job's own thread: from then on nothing is raised.
    code = IN_AN_IMPORT.replace("import os, sys", "import os, sys, largefile.caching", 1).replace(
        "class Finder:",
        "start = largefile.caching.start_download\n"
        "def late(*args, **options):\n"
        "    os.kill(os.getpid(), int(sys.argv[2])); return start(*args, **options)\n"
        "largefile.caching.start_download = late\n"
        "class Finder:",
    )
    found, _, err = ended(python(code, "none", number.value, "get", stalled.url, "-o", "x"))
    assert found == 130
    assert INTERRUPTED in err
    assert "Traceback" not in err


SIGNALS = """
import os, signal, sys
from largefile.cli.stopping import Signals
signals = Signals()
signals.install()
"""


def test_the_second_signal_is_ignored_and_the_third_ends_it_at_once():
    code = SIGNALS + (
        "signals.hush()\n"
        "for number in range(3):\n"
        "    print(number, signals.count, flush=True); os.kill(os.getpid(), signal.SIGINT)\n"
        "print('still here')"
    )
    assert ended(python(code)) == (130, "0 0\n1 1\n2 2\n", "")


def test_only_the_first_signal_raises():
    code = SIGNALS + (
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n    print('not raised')\n"
        "except KeyboardInterrupt:\n    os.kill(os.getpid(), signal.SIGINT)\n    print('once')"
    )
    assert ended(python(code)) == (0, "once\n", "")


def test_a_signal_that_was_ignored_stays_so():
    # As the shell leaves it for what runs in the background.
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + SIGNALS
    code += "os.kill(os.getpid(), signal.SIGINT); print('ignored', signals.count)"
    assert ended(python(code)) == (0, "ignored 0\n", "")
