"""Processes that are killed, and what is found after each: by the bytes, and by what was fetched again."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from largefile.disk.cache import LocalDownloadCache
from largefile.errors import CacheError, SourceChangedError
from largefile.testing.disk.acts import CACHE, DEST
from largefile.testing.disk.child import RECEIVE_BUFFER
from largefile.testing.disk.nursery import Ended, Nursery
from largefile.testing.disk.scenes import BLOCK, CONNECTIONS, SHA256, SIZE, Scene, bytes_of, version
from largefile.testing.script import Request
from largefile.testing.server import LoopbackServer

__all__ = ["BOUND", "History", "Kill", "Stage"]

#: Asked for; the system takes twice as much for its own bookkeeping.
SEND_BUFFER = 16 << 10
#: What libcurl hands over at once is at most so much, and the bounce buffer as much.
HOT = 32 << 10
PATIENCE = 30.0
#: Bytes that one kill may cost: for each connection a block, what was being handed over, and what its sockets
#: held; and as much again as a receiving one holds, which libcurl may have read in one go.
BOUND = CONNECTIONS * (BLOCK + HOT + 2 * SEND_BUFFER + 2 * RECEIVE_BUFFER)


@dataclass(frozen=True, slots=True)
class Kill:
    """When a process is killed: in the place of a file operation, or so many seconds after its start."""

    crash_at: int | None = None
    after: float | None = None


@dataclass(slots=True)
class History:
    """What came of a folder in which one process after another was killed, and the last was not."""

    scene: str
    kills: int = 0
    wrong: list[str] = field(default_factory=list)  #: what should not have been found
    lost: int = 0  #: blocks that were in place after a kill, and were fetched once more
    again: int = 0  #: bytes beyond those of an undisturbed run
    operations: int = 0  #: of the first process, if it came to its end

    @property
    def is_right(self) -> bool:
        return not self.wrong and not self.lost


class Stage:
    """A scene, its server, and folders for it; a context manager."""

    def __init__(self, scene: Scene, nursery: Nursery, base: Path | None = None) -> None:
        self.scene = scene
        self._nursery = nursery
        self._base = base
        self._server = LoopbackServer(version(1), behave=scene.behave, send_buffer=SEND_BUFFER)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.close()

    def seconds(self) -> float:
        """How long an undisturbed process takes."""
        began = time.monotonic()
        self.play([])
        return time.monotonic() - began

    def play(self, kills: Sequence[Kill]) -> History:
        """Kill one process after the other, see what they left, and let a last one come to its end."""
        folder = Path(tempfile.mkdtemp(prefix="largefile-kills-", dir=self._base))
        try:
            return self._play(folder, kills)
        finally:
            shutil.rmtree(folder)

    def _play(self, folder: Path, kills: Sequence[Kill]) -> History:
        history, began = History(self.scene.name), len(self._server.requests)
        self.scene.prepare(folder, self._server.url)
        kept: set[int] = set()
        for kill in [*kills, Kill()]:
            if self._is_finished(folder):
                break
            asked = len(self._server.requests)
            ended = self._run(folder, kill)
            history.operations = history.operations or ended.operations
            if self.scene.needed is not None and self.scene.tainted is None:
                history.lost += len(kept & blocks_of(self._server.requests[asked:]))
            if not ended.killed:
                self._judge_end(ended, history)
                break
            history.kills += 1
            kept = self._look(folder, history)
        self._judge(folder, history)
        if self.scene.needed is not None:
            sent = sum(request.sent for request in self._server.requests[began:])
            history.again = max(0, sent - self.scene.needed - history.kills * self.scene.repeated)
            if history.again > max(1, history.kills) * BOUND:
                history.wrong.append(f"{history.again} bytes came again after {history.kills} kills")
        return history

    def _run(self, folder: Path, kill: Kill) -> Ended:
        scene = self.scene
        pid = self._nursery.start(scene.act, self._server.url, folder, scene.settings, crash_at=kill.crash_at)
        ended = self._nursery.end(pid, kill.after)
        deadline = time.monotonic() + PATIENCE
        while not self._server.is_idle and time.monotonic() < deadline:
            time.sleep(0.0005)
        return ended

    # --- what is found ---------------------------------------------------------------------------

    def _is_finished(self, folder: Path) -> bool:
        """Whether a process came to its very end before it was killed: the file is all there is."""
        done = names(folder) == {DEST} and sha256(folder / DEST) == SHA256
        return done and self.scene.act == "download"

    def _look(self, folder: Path, history: History) -> set[int]:
        """The blocks of this version that are in place after a kill; each is compared."""
        if (folder / DEST).exists():
            rights = {SHA256} | ({sha256_of(self.scene.old)} if self.scene.old is not None else set())
            if sha256(folder / DEST) not in rights:
                history.wrong.append("a wrong file under the final name after a kill")
        elif self.scene.old is not None:
            history.wrong.append("the old file was gone before the new one was there")
        kept: set[int] = set()
        for number, block, right in in_place(folder):
            if number == 1:
                kept.add(block)
            if not right and block != self.scene.tainted:
                history.wrong.append(f"block {block} was wrong after a kill")
        return kept

    def _judge_end(self, ended: Ended, history: History) -> None:
        if ended.hung or ended.sha256 is None:
            history.wrong.append(ended.text or "no end")
        elif ended.sha256 != SHA256:
            history.wrong.append("wrong bytes at the end")

    def _judge(self, folder: Path, history: History) -> None:
        """By what is in the folder when all is over."""
        found = names(folder)
        if self.scene.act == "download":
            if found != {DEST}:
                history.wrong.append(f"left beside the destination: {sorted(found - {DEST})}")
            elif sha256(folder / DEST) != SHA256:
                history.wrong.append("a wrong file at the end")
        elif self.scene.act == "stream" and found != set(CACHE):
            history.wrong.append(f"left beside the cache: {sorted(found - set(CACHE))}")
        elif len(found) != 2:
            history.wrong.append(f"left in the folder of the kept file: {sorted(found)}")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(number: int) -> str:
    return hashlib.sha256(bytes_of(number, 0, SIZE - 1)).hexdigest()


def in_place(folder: Path) -> Iterator[tuple[int, int, bool]]:
    """The version, the number, and whether it is right, of each block that a reader would believe in."""
    for index in folder.glob("*.idx"):
        # What is half made, or marked as nobody's, has no blocks.
        with (
            contextlib.suppress(CacheError, SourceChangedError),
            LocalDownloadCache.open(index.with_suffix(""), index, read_only=True) as cache,
        ):
            number = int((cache.identity.etag or '"v1"').strip('v"'))
            block = -1
            while (found := cache.next_cached(block + 1)) is not None:
                where = found[1]
                block = where.first // BLOCK
                right = bytes_of(number, where.first, where.last)
                yield number, block, cache.read_at(len(right), where.first) == right


def blocks_of(requests: Sequence[Request]) -> set[int]:
    """The blocks of which bytes were sent. One byte is a question, and no fetch."""
    found: set[int] = set()
    for request in requests:
        if request.sent > 1:
            first = request.range[0] if request.range is not None else 0
            found.update(range(first // BLOCK, (first + request.sent - 1) // BLOCK + 1))
    return found
