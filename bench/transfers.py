"""Whole downloads from nginx on loopback, beside all neighbours: wall time, CPU, peak memory, requests.

    python bench/transfers.py [--tables NAME ...] [--size 1G] [--rounds 7] [--only TEXT] [--json FILE]

A base case, and one table for each thing that is varied:

http-disk    the base: 1 GiB over HTTP to the disk, everybody
http-tmpfs   the same to /dev/shm
https-disk   the same over HTTPS; every client verifies the server's certificate
blocks       ours with blocks of 64 KiB, 1 MiB and 16 MiB
connections  with 1, 4 and 16 connections
large-disk   8 times as many bytes, for the best; a third of the rounds
large-tmpfs  the same to /dev/shm

To the disk neighbours are run as they come and then `sync -d` on their file: the table has them without it
beside ours with durable=False, and with it beside ours with durable=True.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rounds
from compiled import compiled
from measure import facts, filesystem, keep_bytecode, load
from report_transfers import table_lines
from rivals import OBSTORE, PYCURL, TRUST, Contender, aria2c, curl, limit, neighbours, ours, package
from rounds import Competition, Source, installed
from web import Nginx, make_random, parse_size, quick_digest, read_through

SHM = Path("/dev/shm")
NAME = "source.bin"
KIB, MIB = 1 << 10, 1 << 20
FALLOC = ["-k1M", "--file-allocation=falloc"]


def everybody(program: Path | None) -> list[Contender]:
    return [ours(), ours("two threads", threads=2), *neighbours(), *limits(program, 4)]


def with_durable(program: Path | None) -> list[Contender]:
    return [ours(durable=True), *everybody(program)]


def limits(program: Path | None, *counts: int) -> list[Contender]:
    if program is None:
        return []
    return [limit(program, count, how) for how in ("map", "write") for count in counts]


def blocks(program: Path | None) -> list[Contender]:
    sizes = [(64 * KIB, "64 KiB"), (MIB, "1 MiB"), (16 * MIB, "16 MiB")]
    return [
        ours(f"blocks of {text}", durable, block_size=size)
        for durable in (False, True)
        for size, text in sizes
    ]


def connections(program: Path | None) -> list[Contender]:
    counts = (1, 4, 16)
    return [
        *(ours(f"{count}", concurrency=count) for count in counts),
        Contender("curl, 1", curl, "curl"),
        *(Contender(f"aria2c, {n}", aria2c(f"-x{n}", f"-s{n}", *FALLOC), "aria2c") for n in counts),
        *(Contender(f"obstore, {n}", package(OBSTORE, n), "python:obstore") for n in counts),
        *(Contender(f"pycurl loop, {n}", package(PYCURL, n), "python:pycurl") for n in counts),
        *limits(program, 1, 4),
    ]


def best(program: Path | None) -> list[Contender]:
    names = ("curl", "aria2c -x16 -s16", "wget2", "obstore, 8", "pycurl loop, 8")
    return [ours(), *(each for each in neighbours() if each.name in names), *limits(program, 4)]


def best_durable(program: Path | None) -> list[Contender]:
    return [ours(durable=True), *best(program)]


@dataclass(frozen=True, slots=True)
class Table:
    """What one table compares, and where."""

    title: str
    contenders: Callable[[Path | None], list[Contender]]
    where: str = "disk"
    scheme: str = "http"
    times: int = 1  #: so many times the size, and so many fewer rounds
    synced: bool = False


TABLES = {
    "http-disk": Table("HTTP to disk", with_durable, synced=True),
    "http-tmpfs": Table("HTTP to tmpfs", everybody, where="tmpfs"),
    "https-disk": Table("HTTPS to disk", lambda program: with_durable(None), scheme="https", synced=True),
    "blocks": Table("Small and large blocks", blocks),
    "connections": Table("1, 4 and 16 connections", connections),
    "large-disk": Table("A larger file to disk", best_durable, times=8, synced=True),
    "large-tmpfs": Table("A larger file to tmpfs", best, where="tmpfs", times=8),
}


def play(table: Table, asked: argparse.Namespace, server: Nginx, program: Path | None) -> dict[str, Any]:
    """All rounds of one table, as data."""
    before = load()
    size = asked.size * table.times
    contenders, versions = installed(table.contenders(program), asked.only)
    count = max(1, asked.rounds // (3 if table.times > 1 else 1))
    digests = source_file(server.files / NAME, size)
    with workplace(table.where, asked.folder) as folder, trusting(server, table.scheme):
        check_space(folder, 2 * size)
        source = Source(server.url(NAME, table.scheme), size, digests, server.asked)
        competition = Competition(source, folder, table.synced)
        competition.play(contenders, count)
        kind = filesystem(folder)
    return {
        "title": table.title,
        "size": size,
        "rounds": count,
        "load": before,
        "what": f"from nginx on loopback, {table.scheme.upper()}, to {kind}",
        "versions": versions,
        "runs": competition.runs,
        "failures": competition.failures,
    }


@contextmanager
def trusting(server: Nginx, scheme: str) -> Iterator[None]:
    """Have children trust the server's authority, and no other."""
    if scheme == "http":
        yield
        return
    before = os.environ.get(TRUST)
    os.environ[TRUST] = str(server.authority)
    try:
        yield
    finally:
        os.environ.pop(TRUST)
        if before is not None:
            os.environ[TRUST] = before


def source_file(path: Path, size: int) -> tuple[str, str]:
    """The digests of a file of this size, made anew if another one is there, and read through."""
    if not path.exists() or path.stat().st_size != size:
        _known[path] = make_random(path, size), quick_digest(path)
    read_through(path)
    return _known[path]


_known: dict[Path, tuple[str, str]] = {}


@contextmanager
def workplace(where: str, disk: Path) -> Iterator[Path]:
    """A folder for outputs."""
    with tempfile.TemporaryDirectory(
        dir=SHM if where == "tmpfs" else disk, prefix="largefile-bench-"
    ) as name:
        yield Path(name)


def check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SystemExit(
            f"{needed / 2**30:.1f} GiB are needed where the files go, {free / 2**30:.1f} are free"
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n{rounds.__doc__}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES), metavar="NAME")
    parser.add_argument("--size", type=parse_size, default=1 << 30, help="bytes, or 100M, 1G; default 1G")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", action="append", help="contenders whose name contains this; repeatable")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to use")
    parser.add_argument("--json", type=Path, help="write the data for report.py here")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    if asked.rounds < 1:
        raise SystemExit("nothing to run: see --rounds")
    check_space(asked.folder, 3 * asked.size)
    data: dict[str, Any] = {"kind": "transfers", "facts": facts(), "tables": {}}
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="largefile-bench-") as base:
        keep_bytecode(Path(base) / "bytecode")
        program = compiled("limit", Path(base))
        with Nginx(Path(base), tls=any(TABLES[name].scheme == "https" for name in asked.tables)) as server:
            for name in asked.tables:
                print(f"{name}:", file=sys.stderr, flush=True)
                data["tables"][name] = found = play(TABLES[name], asked, server, program)
                print("\n".join(table_lines(found)), "\n", flush=True)
                if asked.json is not None:  # after each: a long run may be cut short
                    asked.json.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
