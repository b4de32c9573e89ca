"""Every call that this library makes of the system about files fails once, one by one, in every way.

As curl does it with its memory: a scenario is played once while its calls are counted, and then once more
for each of them and each errno. Each time it has to end with an error of this library, or to go on rightly;
nothing may be left open, locked or running; and what a user does then, the same call again on a healthy
disk, has to end with the right bytes, without fetching what was committed, and with no file left over.

How a call is made to fail, and what is honest there, is told in `largefile.testing.disk.system`.
"""

from __future__ import annotations

import errno
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from largefile.errors import LargeFileError
from largefile.testing.disk.sites import Site, call_sites
from largefile.testing.disk.stage import BLOCK, Scenario, Stage, WrongError, stage
from largefile.testing.disk.system import ERRNOS, REPEATED, SHORT, Fault, Place, Seen, System
from largefile.testing.hostile.runner import attempt
from largefile.testing.summary import OutcomeSummary

__all__ = ["LIMIT", "Case", "Outcome", "Plan", "Result", "Summary", "cases_of", "count", "plan", "play"]

#: Seconds within which every case has to end.
LIMIT = 20.0
#: Seconds that a thread of ours may still need after its work is over.
GRACE = 1.0


class Outcome(Enum):
    """What came of a fault."""

    TYPED = "typed error"  #: an error of this library, and the next run made it good
    WENT_ON = "went on"  #: it was made good at once, or did not matter
    REPEATED = "repeated"  #: CPython makes the call again; no code of ours can see it
    MISSED = "not met"  #: this time the call was not made: threads share their work otherwise each time
    UNTYPED = "untyped"  #: an error of no type of ours
    SILENT = "silent"  #: a sync failed, and nobody was told
    WRONG = "wrong"  #: other bytes than were promised
    HANG = "hang"  #: no end within the limit
    LEAK = "leak"  #: a descriptor, a map or a thread stayed
    LOST = "lost"  #: what a user does then fails, or fetches again what was committed
    STRAY = "stray"  #: a file lies there that nobody will clean up


GOOD = (Outcome.TYPED, Outcome.WENT_ON, Outcome.REPEATED, Outcome.MISSED)
_SYNCS = ("fsync", "fdatasync", "wait_writeback")


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario and what fails in it."""

    scenario: Scenario
    fault: Fault

    @property
    def name(self) -> str:
        return f"{self.scenario}: {self.fault}"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one case."""

    case: Case
    outcome: Outcome
    cause: str = ""

    @property
    def is_bad(self) -> bool:
        return self.outcome not in GOOD

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        fault = self.case.fault
        return {
            "scenario": self.case.scenario.name,
            "operation": fault.place.operation,
            "call": fault.place.call,
            "site": f"{fault.place.site[0]}:{fault.place.site[1]}",
            "nth": fault.nth,
            "fault": "short" if fault.number == SHORT else errno.errorcode[fault.number],
            "result": self.outcome.value,
            "cause": self.cause,
        }


class Summary(OutcomeSummary):
    """How many cases came out how."""

    outcomes = Outcome
    bad = frozenset(Outcome) - frozenset(GOOD)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be tried, and which call sites no scenario has reached."""

    cases: list[Case]
    unreached: list[Site]


def plan(scenarios: Sequence[Scenario], base: Path | None = None, *, every: bool = False) -> Plan:
    """Count what `scenarios` do; of all calls of one call site the first one is tried, or `every` one."""
    cases: list[Case] = []
    reached: set[Place] = set()
    for scenario in scenarios:
        seen = count(scenario, base)
        reached |= seen.keys()
        cases += cases_of(scenario, seen)
    unreached = [
        site for site in call_sites() if not any(site.has(place.operation, *place.site) for place in reached)
    ]
    return Plan(cases if every else thinned(cases), unreached)


def count(scenario: Scenario, base: Path | None = None) -> dict[Place, Seen]:
    """Play `scenario` with nothing failing, and say what it asked of the system; WrongError if it fails."""
    with _folder(base) as name, stage(scenario, Path(name)) as found:
        system = _system(scenario)
        with system.installed():
            error = attempt(lambda: scenario.act(found), LIMIT)
        if isinstance(error, LargeFileError) is not scenario.fails or not (error is None or scenario.fails):
            raise WrongError(f"{scenario}: {error!r}, where nothing has failed") from error
        return system.seen


def cases_of(scenario: Scenario, seen: dict[Place, Seen]) -> Iterator[Case]:
    """Each call of each place, with each errno."""
    for place, calls in seen.items():
        for nth in range(1, calls.count + 1):
            for number in (*ERRNOS, *((SHORT,) if nth in calls.divisible else ())):
                yield Case(scenario, Fault(place, nth, number))


def thinned(cases: Sequence[Case]) -> list[Case]:
    """Of those that fail at one call site, in one call of the system and by one errno, the first."""
    first: dict[object, Case] = {}
    for case in cases:
        place = case.fault.place
        first.setdefault((place.site, place.operation, place.call, case.fault.number), case)
    return list(first.values())


def play(case: Case, base: Path | None = None, limit: float = LIMIT) -> Result:
    """Play one case in a folder of its own."""
    fault = case.fault
    if fault.number == errno.EINTR and fault.place.call in REPEATED:
        return Result(case, Outcome.REPEATED)
    with _folder(base) as name, stage(case.scenario, Path(name)) as found:
        system = _system(case.scenario, fault)
        before = found.committed()
        with system.installed():
            error = attempt(lambda: case.scenario.act(found), limit)
        outcome = _judge(case, system, error)
        left = left_open(found.folder) if outcome in GOOD else ""
        if left:
            outcome = Outcome.LEAK
        cause = left or ("" if error is None else f"{type(error).__name__}: {error}")
        del error  # its frames may hold views of maps
        if outcome in GOOD:
            outcome, why = _go_on(case, found, before, outcome, limit)
            cause = why or cause
        return Result(case, outcome, cause)


def _system(scenario: Scenario, fault: Fault | None = None) -> System:
    return System(scenario.lacks, fault, owner=scenario.owner, mappable=scenario.mappable)


def _judge(case: Case, system: System, error: Exception | None) -> Outcome:
    """What the faulty run itself was."""
    if isinstance(error, TimeoutError) and not isinstance(error, LargeFileError):
        return Outcome.HANG
    if isinstance(error, WrongError):
        return Outcome.WRONG
    if error is not None and not isinstance(error, LargeFileError):
        return Outcome.UNTYPED
    if not system.met:
        return Outcome.MISSED
    if error is not None:
        return Outcome.TYPED
    silent = case.scenario.durable and case.fault.place.call in _SYNCS and case.fault.number != errno.EINTR
    return Outcome.SILENT if silent else Outcome.WENT_ON


def _go_on(case: Case, found: Stage, before: set[int], outcome: Outcome, limit: float) -> tuple[Outcome, str]:
    """What a user does then; `before` are the blocks that were committed when the faulty run began."""
    committed = found.committed()
    if before - committed and not (case.scenario.loses or found.is_right()):
        return Outcome.LOST, f"blocks {sorted(before - committed)} are given up"
    mark = len(found.server.requests)
    # Still the system that it was, but for the room that was made, or the rival who has what he wanted.
    with System().installed() if case.scenario.fails else _system(case.scenario).installed():
        error = attempt(lambda: case.scenario.finish(found), limit)
    if error is not None:
        return Outcome.LOST, f"then {type(error).__name__}: {error}"
    again = committed & {block for r in found.server.requests[mark:] for block in asked(r.range)}
    if again and not case.scenario.begins_anew:
        return Outcome.LOST, f"blocks {sorted(again)} were fetched again"
    stray = found.files() - case.scenario.leaves
    if case.fault.place.call == "unlink" and case.scenario.may_stay:
        stray = {name for name in stray if not name.startswith(case.scenario.may_stay)}
    if stray:
        return Outcome.STRAY, ", ".join(sorted(stray))
    left = left_open(found.folder)
    return (Outcome.LEAK, f"then {left}") if left else (outcome, "")


def asked(wanted: tuple[int, int | None] | None) -> range:
    """The blocks of a range; a single byte only asks which version is there."""
    first, last = wanted or (0, None)
    if last is None or last == first:
        return range(0)
    return range(first // BLOCK, last // BLOCK + 1)


def left_open(folder: Path) -> str:
    """What this process still has open in `folder`, and which threads of ours run, after a moment's grace."""
    until = time.monotonic() + GRACE
    while (left := _open_in(folder) + _threads()) and time.monotonic() < until:
        time.sleep(0.005)
    return ", ".join(left)


def _open_in(folder: Path) -> list[str]:
    """By what Linux tells; elsewhere nothing is known."""
    found = []
    for path in Path("/proc/self/fd").iterdir() if Path("/proc/self/fd").is_dir() else ():
        try:
            target = str(path.readlink())
        except OSError:
            continue  # the one by which the folder is read
        if target.startswith(str(folder)):
            found.append(target)
    return found


def _threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("largefile-") and name != "largefile-hostile"]


def _folder(base: Path | None) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="largefile-torture-", dir=base)
