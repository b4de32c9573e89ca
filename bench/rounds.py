"""Interleaved rounds of whole downloads: one table of the report.

Every round runs every contender once, each round beginning with another one, so that a slow minute of the
machine is everybody's. All read the same file, which is in the page cache; what they made is removed, and
what the disk still owes is written, before the next one begins. A round before the first warms up: it is
not measured, and its outputs are compared by SHA-256; those of all others by XXH3 with 128 bits. A
contender's time is that of its processes from start to end; for us that includes Python's start and our
imports. A neighbour that fails is tried in each round, unless its first two tries fail.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from measure import LIMIT, run
from rivals import Contender, Task
from web import Asked, quick_digest, sha256

Record = dict[str, Any]
DURABLE = " + sync -d"


@dataclass(frozen=True, slots=True)
class Source:
    """What is downloaded, and how one hears what that took."""

    url: str
    size: int
    digests: tuple[str, str]  #: SHA-256 and XXH3
    asked: Callable[[], Asked]


@dataclass(slots=True)
class Competition:
    """All rounds of one table."""

    source: Source
    folder: Path  #: empty, for the outputs
    #: Run `sync -d` after each neighbour, and keep both figures: without it, and with it.
    synced: bool = False
    limit: float = LIMIT
    runs: list[Record] = field(default_factory=list)
    failures: dict[str, list[str]] = field(default_factory=dict)

    def play(self, contenders: Sequence[Contender], rounds: int) -> None:
        for number in range(rounds + 1):
            start = number % len(contenders)
            for contender in [*contenders[start:], *contenders[:start]]:
                if number < 2 or len(self.failures.get(contender.name, ())) < number:
                    self._turn(contender, number)
            said = f"round {number} of {rounds}" if number else "warm; SHA-256 compared"
            print(f"  {said}", file=sys.stderr, flush=True)
        names = [contender.name for contender in contenders]
        self.runs.sort(key=lambda run: names.index(run["contender"].removesuffix(DURABLE)))

    def _turn(self, contender: Contender, number: int) -> None:
        """One download, checked, and nothing left of it."""
        os.sync()  # what the one before still owed the disk
        self.source.asked()
        task = Task(self.source.url, self.folder / "output.bin", self.source.size)
        try:
            used = contender.run(task, self.limit)
            synced = run(["sync", "-d", str(task.dest)]) if self.synced and not contender.ours else None
            digest = quick_digest(task.dest) if number else sha256(task.dest)
            if digest != self.source.digests[number > 0]:
                raise RuntimeError("a wrong file")
        except (RuntimeError, OSError) as error:
            if contender.ours:
                raise
            self.failures.setdefault(contender.name, []).append(str(error)[-300:])
            print(f"  {contender.name}: {str(error)[-300:]}", file=sys.stderr, flush=True)
        else:
            if number:
                common = {"round": number, "ours": contender.ours, "limit": contender.limit}
                common |= asdict(self.source.asked())
                self.runs.append({"contender": contender.name, **asdict(used), **common})
                if synced is not None:
                    self.runs.append(
                        {"contender": contender.name + DURABLE, **asdict(used + synced), **common}
                    )
        finally:
            for path in self.folder.iterdir():
                path.unlink()


def installed(
    contenders: Sequence[Contender], only: Sequence[str] | None = None
) -> tuple[list[Contender], dict[str, str]]:
    """Those that are there and whose name contains one of `only`, and the versions of what they need; says
    who is left out."""
    found, versions = [], {}
    for contender in contenders:
        if only and not any(text in contender.name for text in only):
            continue
        version = contender.version()
        if version is None:
            print(f"left out, as it is not installed: {contender.name}", file=sys.stderr)
            continue
        found.append(contender)
        if version:
            versions[contender.needs.removeprefix("python:")] = version
    return found, versions
