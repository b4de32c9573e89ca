"""What a download adds to the memory of its process, for a small and for a very large file.

    python bench/memory.py [--small 100M] [--large 8G] [--folder DIR] [--json FILE]

The default options, and 16 connections with blocks of 1 MiB.
nginx serves files that are all hole, so nothing is read from the disk; what arrives is written in full,
and the disk needs room for it. Peak memory is the process's own (VmHWM), above what it had after
`import largefile`, with pages of the mapped file counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import LIMIT, environment, facts, filesystem, keep_bytecode
from report import memory_section
from transfers import check_space
from web import Nginx, parse_size

PROGRAM = """
import json, sys, largefile

def memory(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))

before = memory("VmRSS")
status = largefile.download(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3]))
print(before, memory("VmHWM"), status.duration)
"""


#: By name; the name is in the table.
OPTIONS: dict[str, dict[str, object]] = {
    "default": {},
    "16 connections": {"concurrency": 16, "block_size": 1 << 20},
}


def measure(server: Nginx, size: int, folder: Path, how: str, durable: bool) -> dict[str, object]:
    """One download in a child: bytes after the import, at the peak, and seconds."""
    name = f"hole-{size}"
    with (server.files / name).open("wb") as file:
        file.truncate(size)
    dest = folder / name
    command = [
        sys.executable,
        "-P",
        "-c",
        PROGRAM,
        server.url(name),
        str(dest),
        json.dumps({"durable": durable, **OPTIONS[how]}),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=environment())
        if done.returncode:
            raise RuntimeError(done.stderr)
        if dest.stat().st_size != size:
            raise RuntimeError(f"{dest.stat().st_size} bytes came of {size}")
    finally:
        for path in folder.iterdir():
            path.unlink()
    before, peak, seconds = done.stdout.split()
    return {
        "size": size,
        "how": how,
        "durable": durable,
        "after_import": int(before),
        "peak": int(peak),
        "seconds": float(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", type=parse_size, default=100 * 10**6, help="default 100 MB")
    parser.add_argument("--large", type=parse_size, default=8 << 30, help="default 8G")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to use")
    parser.add_argument("--json", type=Path, help="write the data for report.py here")
    asked = parser.parse_args()
    check_space(asked.folder, asked.large + (1 << 30))
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="largefile-bench-") as base:
        output = Path(base) / "output"
        output.mkdir()
        keep_bytecode(Path(base) / "bytecode")
        with Nginx(Path(base)) as server:
            measure(server, 1 << 20, output, "default", False)  # compiles what the others find compiled
            runs = [
                measure(server, size, output, how, durable)
                for how in OPTIONS
                for durable in (False, True)
                for size in (asked.small, asked.large)
            ]
        data = {"kind": "memory", "facts": facts(), "filesystem": filesystem(output), "runs": runs}
    if asked.json is not None:
        asked.json.write_text(json.dumps(data, indent=1) + "\n")
    print("\n".join(memory_section(data)))


if __name__ == "__main__":
    main()
