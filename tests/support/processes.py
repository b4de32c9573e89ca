"""Waiting for conditions, and downloads in processes of their own that can be killed."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from largefile import CacheError, LocalDownloadCache

T = TypeVar("T")

#: What a child runs. The importing rules are handed on: we may run from a clone or beside a built wheel.
PROGRAM = """
import sys; sys.path[:] = {path!r}
import json, largefile
status = largefile.download({url!r}, {dest!r}, **json.loads({options!r}))
print(json.dumps(status.as_dict()))
"""


def until(condition: Callable[[], T], *, what: str, timeout: float = 30.0) -> T:
    """Poll until `condition` gives something true, and return that."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not seen in {timeout:g} s: {what}")
        time.sleep(0.002)
    return found


class Download:
    """``largefile.download(url, dest, **options)`` in a child process, as a context manager."""

    def __init__(self, url: str, dest: Path, **options: Any) -> None:
        self.dest = dest
        code = PROGRAM.format(path=sys.path, url=url, dest=str(dest), options=json.dumps(options))
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Download:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def kill(self) -> bool:
        """SIGKILL; whether it was still at work."""
        self.process.kill()
        self.process.communicate()
        return self.process.returncode < 0

    def status(self) -> dict[str, Any]:
        """What it returned, once it is over."""
        out, err = self.process.communicate(timeout=100)
        if self.process.returncode:
            raise AssertionError(err)
        return dict(json.loads(out))

    def reaches(self, target: int) -> None:
        """Wait until so many bytes are in place, seen from outside, or it is over. 0: its files are there."""
        until(
            lambda: self.process.poll() is not None or in_place(self.dest) >= target, what=f"{target} bytes"
        )


def in_place(dest: Path) -> int:
    """How many bytes of the partial file at `dest` are vouched for now; -1 without one."""
    try:
        with LocalDownloadCache.open(f"{dest}.part", f"{dest}.part.idx", read_only=True) as follower:
            return follower.cached_bytes_and_blocks()[0]
    except (FileNotFoundError, CacheError):
        return -1  # not made yet, or half made


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Demand that no thread and no descriptor is left that was not there before."""
    gc.collect()  # what others have dropped may not go, or change its name, meanwhile
    threads, files = set(threading.enumerate()), open_files()
    yield
    left = (set(threading.enumerate()) - threads) | (open_files() - files)
    assert not left, f"left behind: {left}"


def open_files() -> set[tuple[str, str]]:
    """Number and target of each descriptor of this process, where the system tells."""
    folder = Path("/proc/self/fd")
    found = set()
    for name in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # the listing's own
            found.add((name.name, str(name.readlink())))
    return found
