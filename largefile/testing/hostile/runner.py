"""Play cases against a client, and judge by the bytes: right, refused with a typed error, wrong, or hung."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import largefile
from largefile.caching import start_download
from largefile.engine.job import Job
from largefile.errors import LargeFileError
from largefile.stats import DownloadStatus
from largefile.testing.authority import Authority
from largefile.testing.hostile.case import BLOCK, Case
from largefile.testing.script import pattern
from largefile.testing.summary import OutcomeSummary

__all__ = ["LIMIT", "TIMEOUT", "Client", "Ours", "Outcome", "Result", "Summary", "play", "play_all"]

#: Seconds without a byte after which our transfers are made again.
TIMEOUT = 1.0
#: Seconds within which every case has to end.
LIMIT = 3 * TIMEOUT + 10


class Outcome(Enum):
    """What came of a case."""

    CORRECT = "correct"  #: the right file, and success
    TYPED = "typed error"  #: no file, and an error that says why
    UNDECIDABLE = "undecidable"  #: a wrong file that nothing but a digest could have told from the right one
    CORRUPT = "corrupt"  #: a wrong file, and success
    HANG = "hang"  #: no end within the limit
    CRASH = "crash"  #: an error of no type of ours, or a file beside an error
    SKIPPED = "skipped"  #: what it needs is not installed


BAD = (Outcome.CORRUPT, Outcome.HANG, Outcome.CRASH)


class Client(Protocol):
    """Who is tried."""

    def __call__(self, case: Case, url: str, dest: Path) -> None:
        """Fetch `url` to `dest`, or raise what went wrong."""

    def stop(self) -> None:
        """End what is under way, soon; from another thread."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one case."""

    case: Case
    outcome: Outcome
    seconds: float
    cause: str = ""

    @property
    def is_bad(self) -> bool:
        return self.outcome in BAD

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "item": self.case.trick.item,
            "behaviour": self.case.trick.name,
            "when": self.case.when,
            "digest": self.case.digest,
            "http2": self.case.http2,
            "result": self.outcome.value,
            "seconds": round(self.seconds, 3),
            "cause": self.cause,
        }


class Summary(OutcomeSummary):
    """How many cases came out how."""

    outcomes = Outcome
    bad = BAD


class Ours:
    """This library, told to lose patience soon."""

    def __init__(self) -> None:
        self._jobs: set[Job[DownloadStatus]] = set()
        self._stopped = False

    def __call__(self, case: Case, url: str, dest: Path) -> None:
        options: dict[str, Any] = {"timeout": TIMEOUT, "connect_timeout": TIMEOUT, "tries": 3, "proxy": ""}
        options["http2"] = case.http2
        if case.trick.tls:
            options["ca_file"] = dest.with_name("authority.pem")
        if case.trick.reads:
            read(case, url, options)
        else:
            options |= {"block_size": BLOCK, "concurrency": 4, "durable": False, **case.trick.options}
            self._download(case, url, dest, options)

    def _download(self, case: Case, url: str, dest: Path, options: dict[str, Any]) -> None:
        if case.digest:
            right = hashlib.sha256(pattern(0, case.trick.size - 1)).hexdigest()
            options["digest"] = f"sha256:{right}"
        job = start_download(url, dest, **options)
        self._jobs.add(job)
        try:
            if self._stopped:
                job.cancel()
            job.result()
        finally:
            self._jobs.discard(job)

    def stop(self) -> None:
        """End what is under way, soon."""
        self._stopped = True
        for job in list(self._jobs):
            job.cancel()


def read(case: Case, url: str, options: dict[str, Any]) -> None:
    """Read pieces of what no disk holds; ValueError where they are wrong."""
    with largefile.open(url, **options) as file:
        for pos, size in case.trick.reads:
            if file.read_at(size, pos) != pattern(pos, pos + size - 1):
                raise ValueError(f"wrong bytes from {pos} on")


def play(case: Case, client: Client, limit: float = LIMIT) -> Result:
    """Play one case in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="largefile-hostile-") as name:
        folder = Path(name)
        dest = folder / "file.bin"
        try:
            authority = Authority(folder) if case.trick.tls else None
            server = case.server(authority).start()
        except ModuleNotFoundError as missing:
            return Result(case, Outcome.SKIPPED, 0.0, str(missing))
        with closing(server):
            began = time.monotonic()
            error = attempt(lambda: client(case, server.at("/file.bin", case.trick.host), dest), limit)
            seconds = time.monotonic() - began
        outcome = judge(case, dest, error)
    cause = "" if error is None else f"{type(error).__name__}: {error}"
    return Result(case, outcome, seconds, cause)


def attempt(work: Callable[[], None], limit: float) -> Exception | None:
    """What `work` raised; TimeoutError if it is not over by then, whatever it waits for."""
    raised: list[Exception | None] = []

    def run() -> None:
        try:
            work()
        except Exception as failure:  # noqa: BLE001 - it is what the case is about
            raised.append(failure)
        else:
            raised.append(None)

    thread = threading.Thread(target=run, name="largefile-hostile", daemon=True)
    thread.start()
    thread.join(limit)
    return raised[0] if raised else TimeoutError(f"no end within {limit:g} s")


def judge(case: Case, dest: Path, error: Exception | None) -> Outcome:
    """By the bytes, and not by what was said of them."""
    if isinstance(error, TimeoutError | subprocess.TimeoutExpired):
        return Outcome.HANG
    if isinstance(error, LargeFileError):
        return Outcome.CRASH if dest.exists() else Outcome.TYPED
    if error is not None:
        return Outcome.CORRUPT if case.trick.reads and isinstance(error, ValueError) else Outcome.CRASH
    if case.trick.reads:
        return Outcome.CORRECT
    found = hashlib.sha256(dest.read_bytes()).hexdigest() if dest.exists() else "no file"
    if found in case.rights():
        return Outcome.CORRECT
    return Outcome.UNDECIDABLE if case.undecidable else Outcome.CORRUPT


def play_all(cases: Sequence[Case], jobs: int, client: Client, limit: float = LIMIT) -> Iterator[Result]:
    """Play them, so many at once, and give the results in their order."""
    with ThreadPoolExecutor(jobs) as pool:
        results = [pool.submit(play, case, client, limit) for case in cases]
        try:
            for result in results:
                yield result.result()
        except BaseException:  # Ctrl-C, or nobody wants the rest
            pool.shutdown(wait=False, cancel_futures=True)
            client.stop()
            raise
