"""Streams: speed beside curl, memory, shaped connections, the digest's price, and a first block that is late.

    python bench/streams.py [--size 1G] [--rounds 7] [--only PART ...] [--json FILE]

Parts: speed, memory, connections, digest, held, and those of `seeks.py`: first_byte, random.
Whoever is compared takes turns, each round beginning with another one. Sizes are checked in every run, and
SHA-256 where the part says so. What limits a source (bytes a second for each connection, or over all of
them; a long way) is `largefile.testing.shaping`, in a process of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from children import holding, measured
from measure import Usage, facts, keep_bytecode, run
from report_streams import streams_section
from seeks import first_byte, random_reads
from web import Nginx, make_random, parse_size, read_through

from largefile.testing.script import pattern
from largefile.testing.shaping import ShapedServer

NAME = "source.bin"
MIB = 1 << 20

#: Reads a stream to its end; `how` is "blocks", or the size of a buffer.
READ = """
stream = largefile.stream  # imported before the time begins
began, size = time.perf_counter(), 0
with stream(words["url"], **words["options"]) as source:
    if words["how"] == "blocks":
        for block in source:
            size += len(block)
    else:
        buffer = bytearray(words["how"])
        while count := source.readinto(buffer):
            size += count
assert size == words["size"], size
found(seconds=time.perf_counter() - began)
"""

#: Reads a stream whose first block comes late, and hashes it.
LATE = """
import hashlib
began, digest = time.perf_counter(), hashlib.sha256()
with largefile.stream(words["url"], **words["options"]) as source:
    digest.update(next(source))
    first, landed = time.perf_counter() - began, source.stats().downloaded_bytes
    for block in source:
        digest.update(block)
assert digest.hexdigest() == words["sha256"]
found(first=first, landed=landed, seconds=time.perf_counter() - began)
"""


def ours(url: str, size: int, how: str | int = "blocks", **options: Any) -> tuple[Usage, dict[str, Any]]:
    return measured(READ, url=url, size=size, how=how, options=options)


def curl(url: str) -> tuple[Usage, dict[str, Any]]:
    return run(["curl", "-q", "-s", "-S", "-f", "-o", "/dev/null", url]), {}


def compete(contenders: dict[str, Callable[[], tuple[Usage, dict[str, Any]]]], rounds: int) -> list[Any]:
    """Rounds in turns, after one that warms up, as records."""
    records, names = [], list(contenders)
    for number in range(rounds + 1):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            usage, said = contenders[name]()
            if number:
                records.append({"contender": name, "round": number, **asdict(usage), **said})
    return sorted(records, key=lambda run: names.index(run["contender"]))


# --- the parts -----------------------------------------------------------------------------------


def speed(asked: argparse.Namespace, url: str) -> dict[str, Any]:
    """All of a file from nginx, to nothing."""
    contenders = {
        "largefile, blocks": lambda: ours(url, asked.size),
        "largefile, readinto 1 MiB": lambda: ours(url, asked.size, MIB),
        "curl": lambda: curl(url),
    }
    return {"size": asked.size, "runs": compete(contenders, asked.rounds)}


def memory(asked: argparse.Namespace, url: str) -> dict[str, Any]:
    """The peak with 16 connections, for windows and blocks of several sizes."""
    runs = []
    for window, block_size in ((32 * MIB, MIB), (128 * MIB, MIB), (128 * MIB, 16 * MIB)):
        options = {"window": window, "block_size": block_size, "concurrency": 16}
        for how in ("blocks", MIB):
            _, said = ours(url, asked.size, how, **options)
            runs.append({"how": how, **options, **said})
    return {"size": asked.size, "runs": runs}


def connections(asked: argparse.Namespace, url: str) -> dict[str, Any]:
    """A source that gives 10 MB/s to each connection: eight beside one."""
    rate, size = 10_000_000, min(asked.size, 256 * MIB)
    with ShapedServer(size, rate=rate) as server:
        contenders = {
            f"{count} connections": lambda count=count: ours(server.url, size, concurrency=count)
            for count in (1, 8)
        }
        return {"size": size, "rate": rate, "runs": compete(contenders, min(asked.rounds, 3))}


def digest(asked: argparse.Namespace, url: str) -> dict[str, Any]:
    """A source of 400 MB/s over all connections: with SHA-256 beside without."""
    total = 400_000_000
    wanted = f"sha256:{sha256_of_pattern(asked.size)}"
    with ShapedServer(asked.size, total=total) as server:
        contenders = {
            "without": lambda: ours(server.url, asked.size),
            "with sha256": lambda: ours(server.url, asked.size, digest=wanted),
        }
        return {"size": asked.size, "total": total, "runs": compete(contenders, asked.rounds)}


def held(asked: argparse.Namespace, url: str) -> dict[str, Any]:
    """The first block comes 5 s late; what lands meanwhile, and what memory that takes."""
    size, seconds, window = min(asked.size, 512 * MIB), 5.0, 64 * MIB
    options = {"window": window, "block_size": MIB, "concurrency": 16}
    with holding(size, seconds) as late:
        _, said = measured(LATE, url=late, sha256=sha256_of_pattern(size), options=options)
    return {"size": size, "held": seconds, **options, "runs": [said]}


PARTS: dict[str, Callable[[argparse.Namespace, str], dict[str, Any]]] = {
    "speed": speed,
    "memory": memory,
    "connections": connections,
    "digest": digest,
    "held": held,
    "first_byte": first_byte,
    "random": random_reads,
}


def sha256_of_pattern(size: int) -> str:
    found = hashlib.sha256()
    for at in range(0, size, MIB):
        found.update(pattern(at, min(at + MIB, size) - 1))
    return found.hexdigest()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=parse_size, default=1 << 30, help="bytes, or 100M, 1G; default 1G")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to use")
    parser.add_argument("--json", type=Path, help="write the data for report.py here")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    if asked.rounds < 1:
        raise SystemExit("nothing to run: see --rounds")
    data: dict[str, Any] = {"kind": "streams", "facts": facts(), "rounds": asked.rounds}
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="largefile-bench-") as base:
        keep_bytecode(Path(base) / "bytecode")
        with Nginx(Path(base)) as server:
            make_random(server.files / NAME, asked.size)
            read_through(server.files / NAME)
            for name in asked.only:
                data[name] = PARTS[name](asked, server.url(NAME))
                print(f"  {name}: done", file=sys.stderr, flush=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps(data, indent=1) + "\n")
    print("\n".join(streams_section(data)))


if __name__ == "__main__":
    main()
