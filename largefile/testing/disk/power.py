"""The power goes: each state that may be on the disk is mounted, recovered, and held against the truth.

Every state is recovered by the code that a download begins with, and each block that it believes is compared.
Now and then the download is then finished from a real server, and the whole file compared by SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any

from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import FileOps
from largefile.disk.header import SLOT_SIZE, SLOTS, decode, encode
from largefile.disk.publish import part_paths
from largefile.engine.destination import Destination
from largefile.errors import DigestMismatchError, IndexCorruptError, LargeFileError
from largefile.testing.disk.journal import Note, Recorder
from largefile.testing.disk.seam import everywhere
from largefile.testing.disk.states import Disk, State
from largefile.testing.disk.stories import STORIES, Promised, Story
from largefile.testing.server import LoopbackServer

__all__ = ["Outcome", "Result", "Tally", "Verdict", "judge_story", "lose_power", "mount", "recorded"]

#: Every so many states the download is finished.
WHOLE = 1000
#: So many states of a story are judged before it is played anew, with another seed.
ROUND = 5_000
BOOTS = tuple(f"{digit}0000000-0000-4000-8000-000000000000" for digit in "123")
_NOWHERE = 2**63 - 1
_NAME = "x"


class Outcome(Enum):
    """What came of a state."""

    RIGHT = "right"  #: nothing wrong is believed, and nothing promised is missing
    CORRUPT = "corrupt"  #: bytes that are wrong are believed
    LOST = "lost"  #: what was promised is not there
    STUCK = "stuck"  #: nobody can go on without help
    CRASH = "crash"  #: an error of no type of ours


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with one state, and by which numbers it is had again."""

    outcome: Outcome
    story: str
    seed: int
    event: int
    number: int
    why: str

    def __str__(self) -> str:
        where = f"{self.story!r}, seed {self.seed}, event {self.event}, state {self.number}"
        return f"{self.outcome.value}: {where}: {self.why}"


@dataclass(slots=True)
class Tally:
    """How many states came out how."""

    states: int = 0
    finished: int = 0  #: states from which the download was finished, and compared by SHA-256
    believed: int = 0  #: blocks that were believed, and compared
    refetched: int = 0  #: promised blocks that a device lost which destroys several sectors it is writing
    bad: list[Verdict] = field(default_factory=list)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.states + other.states,
            self.finished + other.finished,
            self.believed + other.believed,
            self.refetched + other.refetched,
            [*self.bad, *other.bad],
        )

    @property
    def is_good(self) -> bool:
        return not self.bad

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        counts = Counter(verdict.outcome for verdict in self.bad)
        return {
            "states": self.states,
            "finished": self.finished,
            "believed_blocks": self.believed,
            "lost_to_shorn_sectors": self.refetched,
            **{outcome.value: counts[outcome] for outcome in Outcome if outcome is not Outcome.RIGHT},
        }

    def __str__(self) -> str:
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.as_dict().items())


@dataclass(frozen=True, slots=True)
class Result:
    """What came of some states of one story."""

    story: str
    seed: int
    tally: Tally


class _Machine(FileOps):
    """The machine after it was started again."""

    def __init__(self, boot: str) -> None:
        self._boot = boot

    def boot_id(self) -> str:
        return self._boot


def lose_power(
    count: int, *, seed: int = 0, jobs: int = 1, stories: Sequence[Story] = STORIES
) -> Iterator[Result]:
    """Judge `count` states, in equal parts over the stories and over the moments of each.

    With more `jobs`, that many processes have a part each.
    """
    left, rounds = count, itertools.count(seed)
    with _pool(jobs) as play:
        while left > 0:
            each = -(-min(left, ROUND * len(stories)) // len(stories))
            number = next(rounds)
            for result in play([(story, each, number) for story in stories]):
                left -= result.tally.states
                yield result


def judge_story(story: Story, count: int, seed: int) -> Result:
    """At most `count` states of one story."""
    with _folders() as (played, mounted):
        recorder, start = recorded(story, played, seed)
        tally = Tally()
        moments = len(recorder.events) + 1
        with _Court(story, recorder, mounted, seed) as court:
            disk = Disk(recorder.start, start)
            for event in range(moments):
                if event:
                    court.hear(disk, recorder.events[event - 1])
                # What a moment with few states leaves of its part goes to the next ones.
                court.judge_all(disk, event, max(0, (event + 1) * count // moments - tally.states), tally)
    return Result(story.name, seed, tally)


@contextlib.contextmanager
def _pool(jobs: int) -> Iterator[Callable[[list[tuple[Story, int, int]]], Iterator[Result]]]:
    """How to play a round."""
    if jobs == 1:
        yield lambda parts: itertools.starmap(judge_story, parts)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _be_quiet) as pool:
        try:
            yield lambda parts: (
                f.result() for f in as_completed([pool.submit(judge_story, *part) for part in parts])
            )
        except BaseException:  # Ctrl-C, or nobody wants the rest
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _be_quiet() -> None:
    """What goes wrong on purpose is not for the terminal."""
    logging.getLogger("largefile").addHandler(logging.NullHandler())


def recorded(story: Story, folder: Path, seed: int = 0) -> tuple[Recorder, dict[int, bytes]]:
    """The story, played in `folder`, and what its files had at the beginning."""
    if story.later:
        _lose_power_once(folder, replace(STORIES[0], block_size=story.block_size, magic=story.magic), seed)
    recorder = Recorder(folder, story.magic, BOOTS[1 if story.later else 0])
    start = {file: bytes(content) for file, content in enumerate(recorder.contents)}
    story.record(recorder)
    return recorder, start


def _lose_power_once(folder: Path, story: Story, seed: int) -> None:
    """Leave in `folder` what an earlier story left on its disk."""
    rng = Random(f"{seed} {story.name}")
    with _folders() as (played, _):
        recorder, start = recorded(story, played)
        disk = Disk(recorder.start, start)
        for event in recorder.events[: rng.randrange(len(recorder.events) // 2, len(recorder.events))]:
            disk.apply(event)
        *_, state = disk.states(rng, 5)
        mount(state, folder, recorder.inodes)


class _Court:
    """Judges the states of one story."""

    def __init__(self, story: Story, recorder: Recorder, folder: Path, seed: int) -> None:
        self._story = story
        self._inodes = recorder.inodes
        self._folder = folder
        self._seed = seed
        self._versions = story.versions
        self._dest = str(folder / _NAME)
        self._promised = Promised(None, frozenset())
        self._finished: str | None = None
        self._machine = _Machine(BOOTS[2])
        self._server = LoopbackServer(self._versions['"v1"'][0], etag='"v1"')
        self._whole = 0

    def __enter__(self) -> _Court:
        self._server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.close()

    def hear(self, disk: Disk, event: Any) -> None:
        """One event more."""
        disk.apply(event)
        if isinstance(event, Note) and isinstance(event.what, Promised):
            self._promised = event.what
        elif isinstance(event, Note):
            self._finished = event.what.version
            self._promised = Promised(None, frozenset())

    def judge_all(self, disk: Disk, event: int, count: int, tally: Tally) -> None:
        """Judge so many states of this moment."""
        rng = Random(f"{self._seed} {self._story.name} {event}")
        for number, state in enumerate(disk.states(rng, count)):
            tally.states += 1
            mount(state, self._folder, self._inodes)
            try:
                fault = self._judge(state, tally)
                if fault is None and self._whole % WHOLE == 0:
                    fault = self._finish()
                    tally.finished += 1
                self._whole += 1
            except Exception as error:  # noqa: BLE001 - it is the verdict
                fault = Outcome.CRASH, f"{type(error).__name__}: {error}"
            if fault is not None:
                tally.bad.append(Verdict(fault[0], self._story.name, self._seed, event, number, fault[1]))

    def _judge(self, state: State, tally: Tally) -> tuple[Outcome, str] | None:
        there = Destination(self._dest, self._machine)
        there.is_free(overwrite=False)  # cleans up after a publication
        finished = self._published(state)
        if finished is not None:
            return finished if isinstance(finished, tuple) else None
        try:
            if not there.has_partial():
                return self._missing(frozenset(), state, tally)
            cache = LocalDownloadCache.open(there.part, there.index, ops=self._machine)
        except LargeFileError as error:
            return Outcome.STUCK, str(error)
        try:
            return self._compare(cache, state, tally)
        finally:
            cache._group.poisoned = "killed"
            cache.close()

    def _published(self, state: State) -> bool | tuple[Outcome, str] | None:
        """Whether the destination is there, and right; None: it is not, and need not be."""
        if _NAME in state.names:
            content = Path(self._dest).read_bytes()
            version = next((v for v, (right, _) in self._versions.items() if content == right), None)
            if version is None:
                return Outcome.CORRUPT, "the destination has wrong bytes"
            if self._finished not in (None, version) and not self._story.overwrite:
                return Outcome.LOST, "the destination has another version"
            return True if self._promised.version in (None, version) else None
        if self._finished is not None:
            return Outcome.LOST, "the destination is gone"
        return None

    def _compare(self, cache: LocalDownloadCache, state: State, tally: Tally) -> tuple[Outcome, str] | None:
        versions = self._versions[str(cache.identity.etag)]
        believed, size = set(), cache.block_size
        for block in range(cache.num_blocks):
            if cache.byte_ranges.bitmap[block]:
                found = cache.read_at(min(size, cache.content_size - block * size), block * size)
                if all(found != content[block * size : (block + 1) * size] for content in versions):
                    return Outcome.CORRUPT, f"block {block} is believed"
                believed.add(block)
        tally.believed += len(believed)
        if cache.identity.etag != self._promised.version:
            believed.clear()
        return self._missing(frozenset(believed), state, tally)

    def _missing(self, believed: frozenset[int], state: State, tally: Tally) -> tuple[Outcome, str] | None:
        lost = self._promised.blocks - believed
        if lost and (state.shorn > 1 or (state.shorn and not self._story.aligned)):
            tally.refetched += len(lost)
            return None
        return (Outcome.LOST, f"blocks {sorted(lost)}") if lost else None

    def _finish(self) -> tuple[Outcome, str] | None:
        """Go on with it as a user would, by a download; with a digest where bytes have come wrong."""
        there, right = Path(self._dest), hashlib.sha256(self._versions['"v1"'][0]).hexdigest()
        if there.exists() and not self._story.overwrite:
            return None
        digest = f"sha256:{right}" if self._story.wrong else None
        with everywhere(_Machine(BOOTS[2])):
            try:
                self._download(digest)
            except DigestMismatchError:
                if digest is None:
                    raise
                self._download(digest)  # what was wrong is put aside by now
        if hashlib.sha256(there.read_bytes()).hexdigest() != right:
            return Outcome.CORRUPT, "the finished download"
        left = [path.name for path in self._folder.iterdir() if path.name not in (_NAME, f"{_NAME}.bad")]
        return (Outcome.STUCK, f"left behind: {left}") if left else None

    def _download(self, digest: str | None) -> None:
        from largefile.caching import download

        download(self._server.url, self._dest, digest=digest, proxy="", overwrite=self._story.overwrite)


def mount(state: State, folder: Path, inodes: Sequence[int]) -> None:
    """Make `folder` what the disk has, and nothing else."""
    for path in folder.iterdir():
        path.unlink()
    made: dict[int, Path] = {}
    moved: dict[int, int] = {}
    for name, file in state.names.items():
        path = folder / name
        if file in made:
            os.link(made[file], path)
            continue
        path.write_bytes(state.files[file])
        path.chmod(0o600)
        made[file] = path
        moved[inodes[file]] = path.stat().st_ino
        if state.mtimes[file]:
            os.utime(path, ns=(state.mtimes[file], state.mtimes[file]))
    index = folder / Path(part_paths(_NAME)[1]).name
    if index.exists():
        with index.open("r+b") as stream:
            for slot in SLOTS:
                stream.seek(slot)
                if (found := _moved(stream.read(SLOT_SIZE), moved)) is not None:
                    stream.seek(slot)
                    stream.write(found)


def _moved(slot: bytes, inodes: dict[int, int]) -> bytes | None:
    """A header that names the data file by the number that it has here, and not by when it was made."""
    with contextlib.suppress(IndexCorruptError):
        header = decode(slot, "")
        if header.inode:
            return encode(header._replace(inode=inodes.get(header.inode, _NOWHERE), birth=0))
    return None


@contextlib.contextmanager
def _folders() -> Iterator[tuple[Path, Path]]:
    """Two folders, in memory where there is one."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="largefile-power-", dir=memory) as name:
        played, mounted = Path(name, "played"), Path(name, "mounted")
        played.mkdir()
        mounted.mkdir()
        yield played, mounted
