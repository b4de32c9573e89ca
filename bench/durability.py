"""What `durable=True` costs: a download with it and without, beside the disk's own speed and the wire's.

    python bench/durability.py [--size 1G] [--rounds 7] [--rate 300M] [--folder DIR] [--json FILE]

Two wires: nginx on loopback as quick as it goes, and a server that is held to `--rate` bytes a second over
all connections. In each round all take turns, each round beginning with another one, and what the disk still
owes is written before the next begins: `wire` (a stream to nothing), `dd` (`dd conv=fdatasync`, the disk's
speed for so many zeros that are on it at the end), `not durable` and `durable`. A round before the first
warms up. Every download is compared by SHA-256. Seconds of ours are those of the call.

Beside it the *gaps* of the engine's threads: the times from one wait in poll to the next, in which a thread
is busy or blocked otherwise; *net* of the time in which it only waited for a processor, as other processes
had them all (where the system tells). The children measure them; the library does not.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from children import measured
from measure import facts, filesystem, keep_bytecode, run
from report_durability import durability_section
from transfers import check_space
from web import Nginx, make_random, parse_size, read_through, sha256

from largefile.testing.shaping import ShapedServer

NAME = "source.bin"

STREAM = """
stream = largefile.stream  # imported before the time begins
began, size = time.perf_counter(), 0
with stream(words["url"]) as source:
    for block in source:
        size += len(block)
assert size == words["size"], size
found(seconds=time.perf_counter() - began)
"""

#: `Watched` stands before a transport's poller and notes how long each thread was elsewhere.
DOWNLOAD = """
import threading
from largefile.engine.crew import Crew
from largefile.wire import curl

gaps, net, local = [], [], threading.local()

def now():
    # The time, and how much of it this thread has spent waiting for a processor.
    if not hasattr(local, "schedule"):
        try:
            local.schedule = open("/proc/thread-self/schedstat", "rb", buffering=0)
        except OSError:
            local.schedule = None
    waited = 0.0
    if local.schedule is not None:
        local.schedule.seek(0)
        waited = int(local.schedule.read().split()[1]) / 1e9
    return time.perf_counter(), waited

def leave():
    local.left = now()

def come_back():
    if (left := getattr(local, "left", None)) is not None:
        seconds, waited = (one - other for one, other in zip(now(), left, strict=True))
        gaps.append(seconds)
        net.append(seconds - waited)

class Watched:
    def __init__(self, poller):
        self._poller = poller
    def __getattr__(self, name):
        return getattr(self._poller, name)
    def poll(self, *how):
        come_back()
        try:
            return self._poller.poll(*how)
        finally:
            leave()

make = curl.CurlTransport.__init__

def watched(self, *args, **options):
    make(self, *args, **options)
    self._poller = Watched(self._poller)

begin = Crew._begin

def begun(self):
    begin(self)
    leave()  # before the loop the same thread has asked its first question

curl.CurlTransport.__init__, Crew._begin = watched, begun
download = largefile.download
began = time.perf_counter()
download(words["url"], words["dest"], durable=words["durable"])
seconds = time.perf_counter() - began
at = lambda found, part: sorted(found)[min(len(found) - 1, int(part * len(found)))]
found(
    seconds=seconds,
    gaps=len(gaps),
    p99=at(gaps, 0.99),
    p999=at(gaps, 0.999),
    net99=at(net, 0.99),
    net999=at(net, 0.999),
)
"""


class Rounds:
    """Who takes turns over one wire."""

    def __init__(self, url: str, folder: Path, size: int, digest: str) -> None:
        self._url, self._dest, self._size, self._digest = url, folder / "output.bin", size, digest
        self.contenders: dict[str, Callable[[], dict[str, Any]]] = {
            "wire": self._wire,
            "dd": self._dd,
            "not durable": lambda: self._download(False),
            "durable": lambda: self._download(True),
        }

    def _wire(self) -> dict[str, Any]:
        usage, said = measured(STREAM, url=self._url, size=self._size)
        return {**asdict(usage), **said}

    def _dd(self) -> dict[str, Any]:
        blocks = f"count={self._size >> 20}"
        usage = run(["dd", "if=/dev/zero", f"of={self._dest}", "bs=1M", blocks, "conv=fdatasync"])
        return {**asdict(usage), "seconds": usage.wall}

    def _download(self, durable: bool) -> dict[str, Any]:
        usage, said = measured(DOWNLOAD, url=self._url, dest=str(self._dest), durable=durable)
        if sha256(self._dest) != self._digest:
            raise RuntimeError("other bytes came")
        return {**asdict(usage), **said}

    def run(self, rounds: int) -> list[dict[str, Any]]:
        """All rounds, as records."""
        records: list[dict[str, Any]] = []
        names = list(self.contenders)
        for number in range(rounds + 1):
            start = number % len(names)
            for name in names[start:] + names[:start]:
                os.sync()  # what the one before still owed the disk
                try:
                    found = self.contenders[name]()
                finally:
                    self._dest.unlink(missing_ok=True)
                if number:
                    records.append({"contender": name, "round": number, **found})
            print(f"  round {number} of {rounds}" if number else "  warm", flush=True)
        return records


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=parse_size, default=1 << 30, help="whole MiB; default 1G")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rate", type=parse_size, default=300 << 20, help="of the held wire; default 300M")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to use")
    parser.add_argument("--json", type=Path, help="write the data for report.py here")
    asked = parser.parse_args()
    check_space(asked.folder, 3 * asked.size)
    data: dict[str, Any] = {"kind": "durability", "facts": facts(), "size": asked.size, "wires": {}}
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="largefile-bench-") as base:
        output = Path(base) / "output"
        output.mkdir()
        keep_bytecode(Path(base) / "bytecode")
        data["filesystem"] = filesystem(output)
        with Nginx(Path(base)) as nginx:
            source = nginx.files / NAME
            digest = make_random(source, asked.size)
            read_through(source)
            with ShapedServer(source, total=asked.rate) as held:
                wires = {"loopback": nginx.url(NAME), f"held to {asked.rate >> 20} MiB/s": held.url}
                for name, url in wires.items():
                    print(name, flush=True)
                    data["wires"][name] = Rounds(url, output, asked.size, digest).run(asked.rounds)
    if asked.json is not None:
        asked.json.write_text(json.dumps(data, indent=1) + "\n")
    print("\n".join(durability_section(data)))


if __name__ == "__main__":
    main()
