"""How long an event loop is held up while `largefile.aio` moves a large file through its process.

    python bench/aio_latency.py [--size 1G] [--rounds 3] [--folder DIR] [--json FILE]

A neighbour task wants to run every millisecond, and notes how late it was: by our callbacks, by a thread of
ours that kept the interpreter's lock, or by the machine. Two rows show what the machine alone does to it:
nothing else to do, and the same download in another process. Each case is a process of its own, whose
imports are made before, but in the one that is about them. The processor time of the longest callback on
the loop is given too, which the machine's other work does not change. Goal: our work holds the loop for 10 ms
at most. nginx serves a file that is all hole from a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import LIMIT, environment, facts, filesystem, keep_bytecode
from transfers import check_space
from web import Nginx, parse_size, read_through

Data = dict[str, object]

CASES = {
    "idle": "nothing else to do",
    "elsewhere": "the same download in another process",
    "import": "the first use: imports, and 64 KiB",
    "download": "download()",
    "hashed": "download() with sha256",
    "stream": "stream(), by blocks",
    "read": "stream(), by read(16 MiB)",
    "whole": "stream(), by one read()",
    "break": "stream(), left after one block, 50 times",
    "open": "open(), 1,000 times read_at(64 KiB) by 8 tasks",
    "sequence": "open(), read(1 MiB) from the beginning to the end",
}
#: The neighbour begins before the verb is used first, and all of it is a child's whole program.
PROGRAM = """
import asyncio, json, random, subprocess, sys, time
import largefile.aio as aio

case, url, dest, size = *sys.argv[1:4], int(sys.argv[4])
MIB = 1 << 20
late, held = [], 0.0

run_plain = asyncio.Handle._run

def run_timed(handle):
    global held
    began = time.thread_time()
    run_plain(handle)
    held = max(held, time.thread_time() - began)

asyncio.Handle._run = run_timed

async def neighbour():
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 0.001
        await asyncio.sleep(0.001)
        late.append(loop.time() - due)

async def blocks():
    async for block in aio.stream(url, proxy=""):
        pass

kept = []  # what the caller lets go of takes its time, and not ours

async def reads(size):
    async with aio.stream(url, proxy="") as source:
        while (data := await source.read(size)):
            if size < 0:
                kept.append(data)

async def leave():
    for _ in range(50):
        async for block in aio.stream(url, proxy=""):
            break

async def at_random():
    async with aio.open(url, proxy="") as file:
        async def some():
            for _ in range(125):
                await file.read_at(65536, random.randrange(file.size))
        await asyncio.gather(*(some() for _ in range(8)))

async def in_sequence():
    async with aio.open(url, proxy="") as file:
        while await file.read(MIB):
            pass

async def first():
    async with aio.stream(url, proxy="") as source:
        await source.read(65536)

async def elsewhere():
    code = "import sys, largefile; largefile.download(*sys.argv[1:], proxy='', durable=False)"
    child = await asyncio.create_subprocess_exec(sys.executable, "-P", "-c", code, url, dest)
    assert await child.wait() == 0

def work():
    if case == "download":
        return aio.download(url, dest, proxy="", durable=False)
    if case == "hashed":
        return aio.download(url, dest, proxy="", durable=False, digest="sha256:" + sys.argv[5])
    return {
        "idle": lambda: asyncio.sleep(2), "elsewhere": elsewhere, "import": first, "stream": blocks,
        "read": lambda: reads(16 * MIB), "whole": lambda: reads(-1), "break": leave,
        "open": at_random, "sequence": in_sequence,
    }[case]()

async def main():
    task = asyncio.create_task(neighbour())
    await asyncio.sleep(0.2)
    if case not in ("idle", "elsewhere", "import"):
        await first()
    global held
    late.clear()
    held, began = 0.0, time.perf_counter()
    await work()
    await asyncio.sleep(0.05)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "held": held, "late": sorted(late)}))
    task.cancel()

asyncio.run(main())
"""


def measure(case: str, url: str, size: int, folder: Path, digest: str) -> Data:
    """One case in a child: milliseconds that the neighbour was late, at the 99.9th percentile and at most."""
    command = [sys.executable, "-P", "-c", PROGRAM, case, url, str(folder / "copy"), str(size), digest]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=environment())
    finally:
        for path in folder.iterdir():
            path.unlink()
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout)
    late = found["late"]
    return {
        "case": case,
        "seconds": found["seconds"],
        "turns": len(late),
        "late_999": 1000 * late[len(late) * 999 // 1000],
        "late_max": 1000 * late[-1],
        "held_max": 1000 * found["held"],
    }


def section(data: Data) -> Iterator[str]:
    """The table of one run."""
    yield "Milliseconds, of the median round; and the worst of all rounds."
    yield ""
    yield "| while | seconds | late, 99.9 % | late, at most | longest callback, CPU | late, worst |"
    yield "|---|---:|---:|---:|---:|---:|"
    runs: list[Data] = data["runs"]  # type: ignore[assignment]
    for case, words in CASES.items():
        if found := [run for run in runs if run["case"] == case]:
            names = ("seconds", "late_999", "late_max", "held_max")
            values = [statistics.median(run[name] for run in found) for name in names]
            values.append(max(run["late_max"] for run in found))
            yield f"| {words} | {' | '.join(f'{value:.1f}' for value in values)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=parse_size, default=1 << 30, help="default 1G")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--only", choices=CASES, action="append", help="these cases; by default all")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to use")
    parser.add_argument("--json", type=Path, help="write the data here")
    asked = parser.parse_args()
    check_space(asked.folder, asked.size + (1 << 30))
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="largefile-bench-") as base:
        output = Path(base) / "output"
        output.mkdir()
        keep_bytecode(Path(base) / "bytecode")
        with Nginx(Path(base)) as server:
            data = {"kind": "aio", "facts": facts(), "filesystem": filesystem(output)}
            data["runs"] = list(rounds(server, asked.size, asked.rounds, asked.only or list(CASES), output))
    if asked.json is not None:
        asked.json.write_text(json.dumps(data, indent=1) + "\n")
    print("\n".join(section(data)))


def rounds(server: Nginx, size: int, count: int, cases: list[str], output: Path) -> Iterator[Data]:
    """Every case once a round, after one that warms up."""
    source = server.files / "hole"
    with source.open("wb") as file:
        file.truncate(size)
    read_through(source)
    digest = zeros_sha256(size)
    measure("download", server.url("hole"), size, output, digest)  # compiles what the others find compiled
    for _ in range(count):
        for case in cases:
            yield measure(case, server.url("hole"), size, output, digest)


def zeros_sha256(size: int) -> str:
    import hashlib

    digest, piece = hashlib.sha256(), bytes(1 << 20)
    for at in range(0, size, len(piece)):
        digest.update(piece[: size - at])
    return digest.hexdigest()


if __name__ == "__main__":
    main()
