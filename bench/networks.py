"""Whole downloads over networks in the small, with 16 connections: a limit for each, a long way, losses.

    python bench/networks.py [--tables NAME ...] [--size 256M] [--rounds 5] [--only TEXT] [--json FILE]

slow-requests     nginx gives 10 MB/s to each request (its limit_rate; the first second's bytes come at once)
slow-connections  10 MB/s for each connection over all of its requests (largefile.testing.shaping)
far-20, far-80    a way of 20 and of 80 ms there and back, 1 Gbit/s
lossy             1 % of all packets lost at random, 20 ms there and back; an eighth of the bytes
few               a server that answers 503 where four requests are under way, and gives 8 MiB/s to each

Long ways need root: server and clients are in network namespaces of their own, with a link in user space
between them (`link.c`), so that TCP itself meets what it would meet; the host's network is not touched, and
all is gone with the processes. Without root the delays are a proxy's (largefile.testing.shaping), and the
table says so; there is no lossy one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rounds
from compiled import compiled
from measure import facts, keep_bytecode, load
from report_transfers import table_lines
from rivals import Contender, curl, ours, sixteen
from rounds import Competition, Source, installed
from transfers import NAME, SHM, source_file
from web import Asked, Nginx, parse_size

from largefile.testing.shaping import DelayingProxy, ShapedServer

#: Seconds after which a contender has failed.
LIMIT = 60.0
ADDRESSES = ("10.213.9.1", "10.213.9.2")
#: What makes an end of a link, in its namespace.
WIRED = (
    "ip addr add {address}/30 dev way",
    "ip link set way mtu 1500 txqueuelen 10000 up",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file is, as a client of this network sees it."""

    url: str
    asked: Callable[[], Asked]
    prefix: tuple[str, ...] = ()
    how: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all networks share."""

    base: Path
    server: Nginx
    size: int


# --- networks ------------------------------------------------------------------------------------


@contextmanager
def slow_requests(bench: Bench) -> Iterator[Place]:
    yield Place(bench.server.url(f"slow/{NAME}"), bench.server.asked)


@contextmanager
def slow_connections(bench: Bench) -> Iterator[Place]:
    with ShapedServer(bench.server.files / NAME, rate=10e6) as server:
        before = {"connections": 0, "requests": 0, "sent": 0}

        def asked() -> Asked:
            now = server.counts()
            found = {name: now[name] - before[name] for name in before}
            before.update(now)
            return Asked(refused=0, **found)

        yield Place(server.url, asked)


@contextmanager
def few(bench: Bench) -> Iterator[Place]:
    yield Place(bench.server.url(f"few/{NAME}"), bench.server.asked)


def far(round_trip: float, loss: float = 0.0, rate: float = 1000.0) -> Callable[[Bench], Any]:
    """A way of `round_trip` milliseconds that loses `loss` percent and carries `rate` Mbit/s."""

    @contextmanager
    def network(bench: Bench) -> Iterator[Place]:
        program = compiled("link", bench.base) if os.geteuid() == 0 else None
        if program is None:
            if loss:
                raise SystemExit("losses need root, a compiler and Linux")
            with DelayingProxy(bench.server.port, round_trip / 2000, handshake=True) as proxy:
                url = f"http://127.0.0.1:{proxy.port}/{NAME}"
                yield Place(url, bench.server.asked, how=" (a proxy that delays)")
            return
        with ExitStack() as stack:
            here, there = (stack.enter_context(namespace()) for _ in range(2))
            words = [str(program), str(round_trip / 2), str(loss), str(rate), str(here), str(there)]
            stack.enter_context(child(words))
            for pid, address in zip((here, there), ADDRESSES, strict=True):
                for command in WIRED:
                    subprocess.run([*enter(pid), *command.format(address=address).split()], check=True)
            base = bench.base / "far"
            base.mkdir(exist_ok=True)
            far_away = Nginx(base, files=bench.server.files, address=ADDRESSES[1], prefix=enter(there))
            server = stack.enter_context(far_away)
            # A namespace begins with what this machine prefers.
            algorithm = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
            yield Place(server.url(NAME), server.asked, enter(here), f" (TCP with {algorithm})")

    return network


@contextmanager
def child(command: Sequence[str]) -> Iterator[int]:
    """The number of a process that has said a line, and ends with its input."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise SystemExit(f"{command[0]} did not start")
            yield process.pid
        finally:
            process.stdin.close()
            process.wait(10)


def namespace() -> Any:
    """The number of a process in a network namespace of its own."""
    return child(["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec cat > /dev/null"])


def enter(pid: int) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{pid}/ns/net")


# --- tables --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    what: str
    network: Callable[[Bench], Any]
    part: int = 1  #: of the size, one in so many
    with_curl: bool = False


TABLES = {
    "slow-requests": Table("10 MB/s for each request", "from nginx with limit_rate", slow_requests),
    "slow-connections": Table(
        "10 MB/s for each connection",
        "from a server that gives 10 MB/s to each connection over all of its requests",
        slow_connections,
    ),
    "far-20": Table("20 ms", "over a way of 20 ms there and back, 1 Gbit/s", far(20), with_curl=True),
    "far-80": Table("80 ms", "over a way of 80 ms there and back, 1 Gbit/s", far(80), with_curl=True),
    "lossy": Table(
        "1 % of all packets lost",
        "over a way of 20 ms there and back, 1 Gbit/s, that loses 1 % of all packets",
        far(20, loss=1),
        part=8,
        with_curl=True,
    ),
    "few": Table(
        "A server that allows four", "from nginx that answers 503 beyond four requests at once", few
    ),
}


def contenders(table: Table) -> list[Contender]:
    found = [ours("16", concurrency=16), ours("auto"), *sixteen()]
    return [*found, Contender("curl", curl, "curl")] if table.with_curl else found


def play(table: Table, asked: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    before = load()
    size = asked.size // table.part
    digests = source_file(bench.server.files / NAME, size)
    chosen, versions = installed(
        [
            each
            for each in contenders(table)
            if not asked.only or any(text in each.name for text in asked.only)
        ]
    )
    with tempfile.TemporaryDirectory(dir=SHM, prefix="largefile-bench-") as folder:
        with table.network(bench) as place:
            source = Source(place.url, size, digests, place.asked)
            competition = Competition(source, Path(folder), limit=LIMIT)
            competition.play([replace(each, prefix=place.prefix) for each in chosen], asked.rounds)
    return {
        "title": table.title,
        "size": size,
        "rounds": asked.rounds,
        "load": before,
        "what": f"{table.what}{place.how}, to tmpfs, with 16 connections unless said otherwise",
        "versions": versions,
        "runs": competition.runs,
        "failures": competition.failures,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n{rounds.__doc__}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES), metavar="NAME")
    parser.add_argument("--size", type=parse_size, default=1 << 28, help="bytes, or 100M; default 256M")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", help="contenders whose name contains this; repeatable")
    parser.add_argument("--json", type=Path, help="write the data for report.py here")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    if asked.rounds < 1:
        raise SystemExit("nothing to run: see --rounds")
    data: dict[str, Any] = {"kind": "networks", "facts": facts(), "tables": {}}
    with tempfile.TemporaryDirectory(prefix="largefile-bench-") as base:
        keep_bytecode(Path(base) / "bytecode")
        with Nginx(Path(base)) as server:
            for name in asked.tables:
                print(f"{name}:", file=sys.stderr, flush=True)
                bench = Bench(Path(base), server, asked.size)
                data["tables"][name] = found = play(TABLES[name], asked, bench)
                print("\n".join(table_lines(found)), "\n", flush=True)
                if asked.json is not None:
                    asked.json.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
