"""Where the CPU time of a download goes: the samples of perf, by who was running.

    python bench/shares.py [--size 1G] [--runs 3] [--folder DIR] [--json FILE]

Whole downloads from nginx on loopback, ours and a few neighbours', each under `perf record`, which asks 2,000
times a second what the processor is at. What the profile shows is why some goals are out of reach: the
kernel's two copies of each byte, and its own work for sockets and pages, are the same for everybody.
Sampling slows everybody a little; `transfers.py` measures time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from measure import environment, facts, filesystem, keep_bytecode
from report_shares import shares_section
from rivals import Contender, Task, neighbours, ours
from transfers import trusting, workplace
from web import Nginx, make_random, parse_size, read_through, sha256

NAME = "source.bin"
#: Samples a second.
RATE = 2000
#: The first that fits names a sample: a pattern for the object file, and one for the symbol.
PARTS = (
    ("copy out of the socket", r"\[kernel", r"_copy_to_iter|copy_user|rep_movs|_copy_to_user"),
    ("copy into the page cache", r"\[kernel", r"copy_folio_from_iter|copy_page_from_iter|_copy_from_"),
    ("other work of the kernel", r"\[kernel", r""),
    ("copies by programs", r"libc[.-]", r"mem(move|cpy)"),
    ("TLS", r"libcrypto|libssl|libgnutls|libnettle|libhogweed|rustls", r""),
    ("hash", r"xxhash", r""),
    ("Python", r"libpython|python3", r""),
    ("libcurl and pycurl", r"curl", r""),
    ("the compiled core", r"largefile|(sink|byteranges|bitmap|entries|ranges|reorder)\.c", r""),
    ("other", r"", r""),
)
TABLES = {
    "http-disk": ("HTTP to the disk", "http", "disk"),
    "http-tmpfs": ("HTTP to tmpfs", "http", "tmpfs"),
    "https-disk": ("HTTPS to the disk", "https", "disk"),
}
BESIDE = ("curl", "wget2", "pycurl loop, 8", "aria2c -x16 -s16")


def contenders() -> list[Contender]:
    beside = [each for each in neighbours() if each.name in BESIDE and each.version() is not None]
    return [ours(), *beside]


def part_of(program: str, symbol: str) -> str:
    """Whose a sample is."""
    return next(name for name, where, what in PARTS if re.search(where, program) and re.search(what, symbol))


def sampled(command: list[str], folder: Path) -> Counter[str]:
    """Run it, and give the seconds of processor time that each part had."""
    found = folder / "perf.data"
    record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(RATE), "-o", str(found), "--", *command]
    subprocess.run(record, check=True, env=environment(), stdout=subprocess.DEVNULL)
    report = [
        "perf",
        "report",
        "-i",
        str(found),
        "--stdio",
        "--sort",
        "dso,symbol",
        "-F",
        "sample,dso,symbol",
    ]
    words = subprocess.run(
        [*report, "-t", "|", "-q"], check=True, capture_output=True, text=True, env=environment()
    ).stdout
    seconds: Counter[str] = Counter()
    for line in filter(None, words.splitlines()):
        count, program, symbol = (cell.strip() for cell in line.split("|", 2))
        seconds[part_of(program, symbol)] += int(count) / RATE
    return seconds


def play(name: str, asked: argparse.Namespace, server: Nginx) -> dict[str, Any]:
    title, scheme, where = TABLES[name]
    digest = sha256(server.files / NAME)
    runs = []
    with workplace(where, asked.folder.resolve()) as folder, trusting(server, scheme):
        for number in range(asked.runs):
            for contender in contenders():
                os.sync()
                dest = folder / "output.bin"
                task = Task(server.url(NAME, scheme), dest, asked.size)
                with tempfile.TemporaryDirectory(prefix="largefile-bench-") as notes:
                    (command,) = contender.commands(task)
                    seconds = sampled(command, Path(notes))
                assert sha256(dest) == digest, contender.name
                for path in folder.iterdir():
                    path.unlink()
                runs.append({"contender": contender.name, "round": number, "seconds": dict(seconds)})
        kind = filesystem(folder)
    return {"title": title, "size": asked.size, "filesystem": kind, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES), metavar="NAME")
    parser.add_argument("--size", type=parse_size, default=1 << 30, help="bytes, or 100M, 1G; default 1G")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to use")
    parser.add_argument("--json", type=Path, help="write the data for report.py here")
    asked = parser.parse_args()
    if shutil.which("perf") is None:
        raise SystemExit("perf is not installed")
    data: dict[str, Any] = {"kind": "shares", "facts": facts(), "parts": [name for name, _, _ in PARTS]}
    with tempfile.TemporaryDirectory(prefix="largefile-bench-", dir=asked.folder.resolve()) as base:
        keep_bytecode(Path(base) / "bytecode")
        with Nginx(Path(base), tls=True) as server:
            make_random(server.files / NAME, asked.size)
            read_through(server.files / NAME)
            data["shares"] = {name: play(name, asked, server) for name in asked.tables}
    if asked.json is not None:
        asked.json.write_text(json.dumps(data, indent=1) + "\n")
    print("\n".join(shares_section(data)))


if __name__ == "__main__":
    main()
