"""Many kills: at each file operation of a scene, and at random moments; and their sum."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from largefile.testing.disk.kills import BOUND, History, Kill, Stage
from largefile.testing.disk.nursery import Nursery
from largefile.testing.disk.scenes import SCENES, Scene

__all__ = ["Tally", "every_point", "random_kills"]

#: Processes that are killed one after the other, over the same files, before one may come to its end.
IN_A_ROW = 3


def every_point(scene: Scene, nursery: Nursery, base: Path | None = None) -> Iterator[History]:
    """Kill one process in the place of its first file operation, one at its second, to the end of them."""
    with Stage(scene, nursery, base) as stage:
        for number in itertools.count():
            history = stage.play([Kill(crash_at=number)])
            if not history.kills and history.is_right:
                return  # it came to its end before
            yield history
            if not history.kills:
                return


def random_kills(
    count: int,
    seed: int,
    nursery: Nursery,
    *,
    scenes: Sequence[Scene] = SCENES,
    base: Path | None = None,
) -> Iterator[History]:
    """Kill processes by time until so many were, in one scene after the other."""
    rng = random.Random(seed)
    with ExitStack() as stack:
        stages = [stack.enter_context(Stage(scene, nursery, base)) for scene in scenes]
        takes = [stage.seconds() for stage in stages]
        for stage, seconds in itertools.cycle(zip(stages, takes, strict=True)):
            if count <= 0:
                return
            row = [Kill(after=rng.uniform(0, seconds)) for _ in range(rng.randint(1, min(IN_A_ROW, count)))]
            history = stage.play(row)
            count -= history.kills
            yield history


@dataclass(frozen=True, slots=True)
class Tally:
    """The sum of some histories."""

    kills: int  #: processes that were killed
    histories: int  #: folders in which that was
    right: int  #: folders in which every byte was right, whenever one looked
    wrong: int  #: … and in which something was not
    lost: int  #: blocks that were in place after a kill, and were fetched once more
    again: int  #: bytes that were fetched beyond those of undisturbed runs
    worst: int  #: the most of them in one folder, for each of its kills
    bound: int = BOUND  #: what one kill may cost

    @classmethod
    def of(cls, histories: Iterable[History]) -> Self:
        found = list(histories)
        right = sum(not history.wrong for history in found)
        return cls(
            kills=sum(history.kills for history in found),
            histories=len(found),
            right=right,
            wrong=len(found) - right,
            lost=sum(history.lost for history in found),
            again=sum(history.again for history in found),
            worst=max((history.again // max(1, history.kills) for history in found), default=0),
        )

    @property
    def is_good(self) -> bool:
        return not self.wrong and not self.lost

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __str__(self) -> str:
        return (
            f"{self.kills} kills in {self.histories} folders, {self.wrong} wrong, {self.lost} blocks lost; "
            f"again {self.again} bytes, for one kill at most {self.worst} of {self.bound}"
        )
