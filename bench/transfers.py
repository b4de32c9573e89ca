"""Whole downloads from nginx on loopback, beside curl and aria2c: wall time, CPU, peak memory.

    python bench/transfers.py [--size 1G] [--rounds 9] [--where disk|shm|both] [--only TEXT] [--json FILE]

Every round runs every contender once, each round beginning with another one, so that a slow minute of the
machine is everybody's. All read the same file, which is in the page cache; what they made is removed, and
what the disk still owes is written, before the next one begins. A round before the first warms up: it is
not measured, and its outputs are compared by SHA-256; all others by size. A contender's time is that of
its processes from start to end; for us that includes Python's start and our imports.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from measure import Usage, facts, filesystem, keep_bytecode, run
from report import transfers_section
from web import Nginx, make_random, parse_size, read_through, sha256

SHM = Path("/dev/shm")
NAME = "source.bin"

#: The child's whole program. `-P`: what is in the present folder is not imported by accident.
PROGRAM = """
import sys, largefile
url, dest, block_size, durable = sys.argv[1:]
largefile.download(url, dest, block_size=int(block_size), durable=durable == "durable")
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """Who downloads `url` to `dest`, as commands that are run one after the other."""

    name: str
    commands: Callable[[str, Path], list[list[str]]]

    def run(self, url: str, dest: Path) -> Usage:
        return sum((run(command) for command in self.commands(url, dest)), Usage())


def ours(block_size: int, durable: str) -> Callable[[str, Path], list[list[str]]]:
    words = [str(block_size), durable]
    return lambda url, dest: [[sys.executable, "-P", "-c", PROGRAM, url, str(dest), *words]]


def curl(url: str, dest: Path) -> list[list[str]]:
    return [["curl", "-q", "-s", "-S", "-f", "-o", str(dest), url]]


def aria2c(url: str, dest: Path) -> list[list[str]]:
    how = ["--no-conf", "-q", "-x16", "-s16", "-k1M", "--file-allocation=falloc"]
    return [["aria2c", *how, "-d", str(dest.parent), "-o", dest.name, url]]


def synced(commands: Callable[[str, Path], list[list[str]]]) -> Callable[[str, Path], list[list[str]]]:
    return lambda url, dest: [*commands(url, dest), ["sync", "-d", str(dest)]]


# The names are the ones that `report` looks for.
CONTENDERS = [
    Contender("largefile, 1 MiB blocks", ours(1 << 20, "quick")),
    Contender("largefile, 64 KiB blocks", ours(1 << 16, "quick")),
    Contender("curl", curl),
    Contender("aria2c", aria2c),
    Contender("largefile durable, 1 MiB blocks", ours(1 << 20, "durable")),
    Contender("largefile durable, 64 KiB blocks", ours(1 << 16, "durable")),
    Contender("curl + sync -d", synced(curl)),
    Contender("aria2c + sync -d", synced(aria2c)),
]


@contextmanager
def workplace(where: str, disk: Path) -> Iterator[Path]:
    """A folder for outputs."""
    with tempfile.TemporaryDirectory(dir=SHM if where == "shm" else disk, prefix="largefile-bench-") as name:
        yield Path(name)


def compete(
    contenders: list[Contender], url: str, folder: Path, size: int, rounds: int, digest: str
) -> list[dict[str, object]]:
    """All rounds in one folder, as records."""
    records: list[dict[str, object]] = []
    for number in range(rounds + 1):
        start = number % len(contenders)
        for contender in contenders[start:] + contenders[:start]:
            usage = one(contender, url, folder, size, None if number else digest)
            if number:
                records.append({"contender": contender.name, "round": number, **asdict(usage)})
        print(f"  round {number} of {rounds}" if number else "  warm, and every SHA-256 is right", flush=True)
    return records


def one(contender: Contender, url: str, folder: Path, size: int, digest: str | None) -> Usage:
    """One download, checked, and nothing left of it."""
    os.sync()  # what the one before still owed the disk
    dest = folder / "output.bin"
    try:
        usage = contender.run(url, dest)
        found = dest.stat().st_size
        if found != size:
            raise RuntimeError(f"{contender.name} made {found} bytes of {size}")
        if digest is not None and sha256(dest) != digest:
            raise RuntimeError(f"{contender.name} made other bytes")
    finally:
        for path in folder.iterdir():
            path.unlink()
    return usage


def check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SystemExit(
            f"{needed / 2**30:.1f} GiB are needed where the files go, {free / 2**30:.1f} are free"
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=parse_size, default=1 << 30, help="bytes, or 100M, 1G; default 1G")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--where", choices=["disk", "shm", "both"], default="disk")
    parser.add_argument(
        "--only", action="append", help="contenders whose name contains this; may be repeated"
    )
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to use")
    parser.add_argument("--json", type=Path, help="write the data for report.py here")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    chosen = [each for each in CONTENDERS if not asked.only or any(text in each.name for text in asked.only)]
    if not chosen or asked.rounds < 1:
        raise SystemExit("nothing to run: see --only and --rounds")
    places = ["disk", "shm"] if asked.where == "both" else [asked.where]
    check_space(asked.folder, 3 * asked.size)
    data: dict[str, object] = {
        "kind": "transfers",
        "facts": facts(),
        "size": asked.size,
        "rounds": asked.rounds,
    }
    data["places"] = results = {}
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="largefile-bench-") as base:
        keep_bytecode(Path(base) / "bytecode")
        with Nginx(Path(base)) as server:
            digest = make_random(server.files / NAME, asked.size)
            for where in places:
                with workplace(where, asked.folder) as folder:
                    check_space(folder, asked.size + (asked.size >> 3))
                    print(f"{where} ({filesystem(folder)})", flush=True)
                    read_through(server.files / NAME)
                    runs = compete(chosen, server.url(NAME), folder, asked.size, asked.rounds, digest)
                    results[where] = {"filesystem": filesystem(folder), "runs": runs}
    if asked.json is not None:
        asked.json.write_text(json.dumps(data, indent=1) + "\n")
    print("\n".join(transfers_section(data)))


if __name__ == "__main__":
    main()
