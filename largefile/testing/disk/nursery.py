"""Processes by the thousand: forked from one that has imported everything and has a single thread.

An interpreter takes a tenth of a second to start, a fork a few milliseconds. The test's own process is full
of threads (its server's, its engines'), and must not be forked: so this one is a process of its own, which
is told by lines of JSON whom to start and when to kill.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import largefile
from largefile.testing.disk.child import CRASH_AT, live

__all__ = ["Ended", "Nursery"]

#: Seconds after which a process hangs.
LIMIT = 60.0
PROGRAM = "import sys; sys.path[:] = {path!r}; from largefile.testing.disk.nursery import serve; serve()"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: killed (by itself, or at the time that was said), or with an answer."""

    killed: bool
    hung: bool
    seconds: float
    sha256: str | None = None
    kinds: tuple[str, ...] = ()  #: the classes of what it raised
    text: str = ""
    operations: int = 0

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        return cls(**answer | {"kinds": tuple(answer.get("kinds", ()))})


class Nursery:
    """Starts processes and ends them; a context manager, at whose end none is left. For one thread.

    Examples
    --------
    >>> with Nursery() as nursery:
    ...     pid = nursery.start("no such act", "http://127.0.0.1:9/", Path("."))
    ...     nursery.end(pid).text
    "KeyError: 'no such act'"
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us, and we end it
        )

    def start(
        self,
        act: str,
        url: str,
        folder: Path,
        options: dict[str, Any] | None = None,
        *,
        crash_at: int | None = None,
        locks: bool = True,
    ) -> int:
        """Have a process do `act` of `acts`; its id."""
        order = {"act": act, "url": url, "folder": str(folder), "options": options or {}, "locks": locks}
        return int(self._ask(do="start", order=order, crash_at=crash_at))

    def end(self, pid: int, kill_after: float | None = None) -> Ended:
        """Wait for the process's end; SIGKILL after so many seconds, if it is still there then."""
        return Ended.of(self._ask(do="end", pid=pid, kill_after=kill_after))

    def run(self, act: str, url: str, folder: Path, options: dict[str, Any] | None = None) -> Ended:
        """Have `act` done, with nobody who kills it."""
        return self.end(self.start(act, url, folder, options))

    def close(self) -> None:
        """End all of them."""
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _ask(self, **what: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(what), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


# --- the other side ------------------------------------------------------------------------------


def serve() -> None:
    """Do what each line on standard input says, until its end."""
    for verb in ("download", "stream", "open"):
        getattr(largefile, verb)  # imports what it needs, once for all of them

    children: dict[int, tuple[int, float]] = {}
    try:
        for line in sys.stdin:
            what = json.loads(line)
            if what["do"] == "start":
                pid, answers = _fork(what["order"], what["crash_at"])
                children[pid] = answers, time.monotonic()
                answer: Any = pid
            else:
                answer = _reap(what["pid"], *children.pop(what["pid"]), what["kill_after"])
            print(json.dumps(answer), flush=True)
    finally:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _fork(order: dict[str, Any], crash_at: int | None) -> tuple[int, int]:
    """A process, and the pipe on which it answers; the pipe ends with it."""
    answers, answering = os.pipe()
    pid = os.fork()
    if pid:
        os.close(answering)
        return pid, answers
    code = 1
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)  # what is said there is the nursery's
        if crash_at is not None:
            os.environ[CRASH_AT] = str(crash_at)
        os.write(answering, json.dumps(live(order)).encode())
        code = 0
    finally:
        os._exit(code)


def _reap(pid: int, answers: int, began: float, kill_after: float | None) -> dict[str, Any]:
    limit = LIMIT if kill_after is None else kill_after
    ready, _, _ = select.select([answers], [], [], max(0.0, limit - (time.monotonic() - began)))
    if not ready:
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(answers, "rb") as stream:
        text = stream.read()
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status)
    found: dict[str, Any] = json.loads(text) if text and not killed else {}
    return {
        "killed": killed,
        "hung": not ready and kill_after is None,
        "seconds": time.monotonic() - began,
        "text": "" if text else f"ended with status {status}",
    } | found
