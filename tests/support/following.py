"""A follower in a process of its own that does what it is told, and a source that waits for a gate."""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from largefile import LocalDownloadCache
from largefile.core.ranges import ByteRange
from largefile.testing.script import Content, pattern

#: The importing rules are handed on: we may run from a clone or beside a built wheel.
PROGRAM = "import sys; sys.path[:] = {path!r}; from following import serve; serve()"


class Gate:
    """A content of the pattern's bytes (from byte `shift` on) that gives out only what it was told to."""

    def __init__(self, size: int, shift: int = 0) -> None:
        self.size = size
        self._shift = shift
        self._ranges: list[tuple[int, int]] = []
        self._changed = threading.Condition()

    def content(self, etag: str | None = None) -> Content:
        return Content(self.size, self._read, etag)

    def open(self, stop: int | None = None, first: int = 0) -> None:
        """Let the bytes `first` to `stop` - 1 out; by default all of them."""
        with self._changed:
            self._ranges.append((first, self.size if stop is None else stop))
            self._changed.notify_all()

    def sha256(self) -> str:
        return hashlib.sha256(pattern(self._shift, self._shift + self.size - 1)).hexdigest()

    def _read(self, first: int, last: int) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: any(a <= first and last < b for a, b in self._ranges))
        return pattern(self._shift + first, self._shift + last)


class ToldError(AssertionError):
    """What the follower's process raised. `kinds` are the names of its classes."""

    def __init__(self, kinds: list[str], text: str) -> None:
        super().__init__(kinds[0], text)
        self.kinds = kinds
        self.text = text


class Follower:
    """A child that follows the partial file at `dest`; each command is a method of `Eyes`."""

    def __init__(self, dest: Path, *, attach: bool = True) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._dest = dest
        if attach:
            self.attach()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid

    def attach(self) -> None:
        self.ask("attach", f"{self._dest}.part", f"{self._dest}.part.idx")

    def ask(self, *command: Any) -> Any:
        self.send(*command)
        return self.answer()

    def send(self, *command: Any) -> None:
        assert self._process.stdin is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)

    def is_waiting(self, seconds: float) -> bool:
        """Whether the last command has no answer yet, after so long."""
        return not select.select([self._process.stdout], [], [], seconds)[0]

    def answer(self, timeout: float = 60.0) -> Any:
        assert self._process.stdout is not None
        assert not self.is_waiting(timeout), "no answer from the follower"
        found = json.loads(self._process.stdout.readline())
        if "kinds" in found:
            raise ToldError(found["kinds"], found["text"])
        return found["value"]


class Eyes:
    """The follower's side. Bytes are compared here, with the pattern; only verdicts cross the pipe."""

    def attach(self, data: str, index: str) -> None:
        self._cache = LocalDownloadCache.open(data, index, read_only=True)
        self._paths = (data, index)

    def get(self, name: str) -> Any:
        found = getattr(self._cache, name)
        return found() if callable(found) else found

    def tail(self, timeout: float | None = None) -> int:
        """The last byte of what is there without a gap; -1: nothing new."""
        found = self._cache.tail(timeout)
        return -1 if found is None else found.last

    def wait_for(self, pos: int, timeout: float | None = None) -> bool:
        return self._cache.wait_for(pos, timeout)

    def right(self, size: int, off: int, shift: int = 0) -> bool:
        """Whether these bytes are there and the pattern's, by each way to read them."""
        wanted = pattern(off + shift, off + shift + size - 1)
        buffer = bytearray(size)
        self._cache.readinto(buffer, off)
        view = self._cache.view(ByteRange(off, off + size - 1))
        return self._cache.read_at(size, off) == wanted == buffer == view

    def follow(self, shift: int = 0) -> dict[str, Any]:
        """Go along with the tail to the end: where it stood each time, and the digest of what was read."""
        digest, ends, at = hashlib.sha256(), [], 0
        while at < self._cache.content_size:
            last = self.tail()
            assert last + 1 > at, "the tail was told twice, or went back"
            assert self.right(last + 1 - at, at, shift)
            digest.update(self._cache.read_at(last + 1 - at, at))
            at = last + 1
            ends.append(at)
        return {"ends": ends, "sha256": digest.hexdigest()}

    def access(self) -> dict[str, list[str]]:
        """How this process has the two files open, and mapped."""
        modes = {os.O_RDONLY: "r", os.O_WRONLY: "w", os.O_RDWR: "rw"}
        opened = []
        for fd in Path("/proc/self/fd").iterdir():
            if os.path.realpath(fd) in self._paths:
                info = Path(f"/proc/self/fdinfo/{fd.name}").read_text().split()
                opened.append(modes[int(info[info.index("flags:") + 1], 8) & os.O_ACCMODE])
        maps = Path("/proc/self/maps").read_text().splitlines()
        return {"open": opened, "maps": [line.split()[1] for line in maps if line.endswith(self._paths)]}

    def close(self) -> None:
        self._cache.close()


def serve() -> None:
    """Answer each line of commands by a line."""
    eyes = Eyes()
    for line in sys.stdin:
        name, *args = json.loads(line)
        try:
            answer = {"value": getattr(eyes, name)(*args)}
        except Exception as error:  # noqa: BLE001 - the test is told, whatever it was
            answer = {"kinds": [kind.__name__ for kind in type(error).__mro__], "text": str(error)}
        print(json.dumps(answer), flush=True)
