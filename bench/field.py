"""The hostile table of `largefile selftest hostile`, played by the neighbours too.

    python bench/field.py [--only NAME ...] [--filter TEXT] [--limit 30] [--jobs 16] [--markdown FILE]

Each gets every case that needs no caller's digest, in a folder of its own, and is judged by the same bytes:
the right file and success; an error; a wrong file and success; or no end within the limit. Each is used with
its own retries and its own resume, as its users would, and told to lose patience after some seconds where it
can be told. Programs are taken from PATH, packages from the interpreter that runs this; what is not there is
left out, and said.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import package_version, program_version

import largefile
from largefile.errors import NetworkError
from largefile.testing.hostile.case import Case
from largefile.testing.hostile.catalogue import cases
from largefile.testing.hostile.runner import LIMIT, Client, Ours, Outcome, Result, Summary, play_all

#: Seconds of silence after which those give up, or try again, who can be told so.
SILENCE = 5
#: So often a command that left a part of the file is run again.
RUNS = 4

PYPDL = """
import sys; from pypdl import Pypdl
url, path = sys.argv[1:]
found = Pypdl().start(url=url, file_path=path, segments=4, retries=4, display=False, block=True)
sys.exit(found is None or not found)
"""
PARFIVE = """
import sys, os; from parfive import Downloader
loader = Downloader(max_splits=4, progress=False)
loader.enqueue_file(sys.argv[1], path=os.path.dirname(sys.argv[2]), filename=os.path.basename(sys.argv[2]))
found = loader.download()
for _ in range(3):
    found = loader.retry(found) if found.errors else found
sys.exit(bool(found.errors))
"""
HUGGINGFACE = """
import sys; from huggingface_hub.file_download import http_get
with open(sys.argv[2], "wb") as file:
    http_get(sys.argv[1], file)
"""
OBSTORE = """
import sys, obstore; from obstore.store import HTTPStore
base, _, name = sys.argv[1].rpartition("/")
store = HTTPStore.from_url(base, client_options={"allow_http": True, "timeout": "5s"})
size, step = obstore.get(store, name, options={"range": (0, 1)}).meta["size"], 1 << 20
with open(sys.argv[2], "wb") as file:
    starts = list(range(0, size, step))
    ends = [min(at + step, size) for at in starts]
    for piece in obstore.get_ranges(store, name, starts=starts, ends=ends) if size else ():
        file.write(piece)
"""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A program, or a package, and how it is run."""

    name: str
    command: Callable[[str, Path], Sequence[str]]
    program: str | None = None
    package: str | None = None
    runs: int = 1

    def version(self) -> str | None:
        """None where it is not installed."""
        return package_version(self.package) if self.package else program_version(str(self.program))


def python(source: str) -> Callable[[str, Path], Sequence[str]]:
    return lambda url, dest: [sys.executable, "-c", source, url, str(dest)]


def aria2c(url: str, dest: Path) -> list[str]:
    patience = [f"--timeout={SILENCE}", f"--connect-timeout={SILENCE}", "--max-tries=5", "--retry-wait=1"]
    return [
        "aria2c",
        "-q",
        "-c",
        "-x4",
        "-s4",
        "-k1M",
        *patience,
        "-d",
        str(dest.parent),
        "-o",
        dest.name,
        url,
    ]


def curl(url: str, dest: Path) -> list[str]:
    slow = ["--speed-limit", "1000", "--speed-time", str(SILENCE)]
    return ["curl", "-q", "-s", "-f", "-L", "-C", "-", *slow, "-o", str(dest), url]


def wget(url: str, dest: Path) -> list[str]:
    return ["wget", "-q", "-c", "--tries=5", "--waitretry=1", f"--timeout={SILENCE}", "-O", str(dest), url]


NEIGHBOURS = (
    Neighbour("aria2c -x4 -s4 -k1M -c", aria2c, program="aria2c", runs=2),
    Neighbour("curl -C -, run again", curl, program="curl", runs=RUNS),
    Neighbour("wget -c", wget, program="wget", runs=2),
    Neighbour("pypdl", python(PYPDL), package="pypdl"),
    Neighbour("parfive", python(PARFIVE), package="parfive"),
    Neighbour("huggingface_hub http_get", python(HUGGINGFACE), package="huggingface_hub"),
    Neighbour("obstore get_ranges", python(OBSTORE), package="obstore"),
)


class Command:
    """A neighbour as a client of the table."""

    def __init__(self, neighbour: Neighbour, limit: float) -> None:
        self._neighbour = neighbour
        self._limit = limit

    def __call__(self, case: Case, url: str, dest: Path) -> None:
        """Run it until it is content, or has been run often enough."""
        for _ in range(self._neighbour.runs):
            done = subprocess.run(
                self._neighbour.command(url, dest),
                cwd=dest.parent,  # some write logs where they are
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._limit,
                check=False,
            )
            if done.returncode == 0:
                return
        # What it has left beside its error is no claim of its.
        dest.unlink(missing_ok=True)
        raise NetworkError(f"exit status {done.returncode}")

    def stop(self) -> None:
        """Its runs end by their own limit."""


def table(rows: Sequence[tuple[str, str, Summary, Sequence[Result]]], count: int) -> list[str]:
    """In Markdown."""
    bad = (Outcome.CORRUPT, Outcome.HANG, Outcome.CRASH)
    lines = [
        f"# {count} hostile cases, by client",
        "",
        f"Made by `python bench/field.py` on {datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}. Judged by",
        'SHA-256 of the file and exit status. "Undecidable" is a wrong file that nothing in the answers',
        "tells (items 13, 19 and 21 of the catalogue); no caller's digest is given. Who reads in one stream",
        "makes one request, and so does not meet what is done to the third one and to those after it.",
        "",
        "| client | version | right file | error | **wrong file, success** | no end | undecidable |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, version, summary, _ in rows:
        counts = summary.counts
        errors = counts[Outcome.TYPED] + counts[Outcome.CRASH]
        lines.append(
            f"| {name} | {version} | {counts[Outcome.CORRECT]} | {errors} | **{counts[Outcome.CORRUPT]}** "
            f"| {counts[Outcome.HANG]} | {counts[Outcome.UNDECIDABLE]} |"
        )
    lines += ["", "What went wrong, by behaviour (a wrong file with success, or no end):", ""]
    for name, _, _, results in rows:
        names = sorted({f"{r.case.trick.item}: {r.case.trick.name}" for r in results if r.outcome in bad[:2]})
        lines.append(f"* {name}: {'; '.join(names) or 'nothing'}")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", help="largefile, or words of the neighbours' names")
    parser.add_argument("--filter", default="", help="only cases with this in their names")
    parser.add_argument(
        "--limit", type=float, default=30.0, help="seconds for a neighbour's case; default 30"
    )
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("--markdown", type=Path, help="write the table here, too")
    asked = parser.parse_args()
    logging.getLogger("largefile").addHandler(logging.NullHandler())
    # Not all of them speak HTTP/2, trust our certificates or read without a file.
    chosen = [
        case
        for case in cases(asked.filter)
        if not (case.digest or case.http2 or case.trick.reads or case.trick.tls)
    ]
    clients: list[tuple[str, str, Client, float]] = [("largefile", largefile.__version__, Ours(), LIMIT)]
    for neighbour in NEIGHBOURS:
        version = neighbour.version()
        if version is None:
            print(f"left out, as it is not installed: {neighbour.name}", file=sys.stderr)
        else:
            clients.append((neighbour.name, version, Command(neighbour, asked.limit), asked.limit * RUNS + 5))
    rows = []
    for name, version, client, limit in clients:
        if asked.only is None or any(word in name for word in asked.only):
            results = list(play_all(chosen, asked.jobs, client, limit))
            rows.append((name, version, Summary.of(results), results))
            print(f"{name}: {rows[-1][2]}", file=sys.stderr, flush=True)
    lines = table(rows, len(chosen))
    print("\n".join(lines))
    if asked.markdown is not None:
        asked.markdown.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
