"""Programs in processes of their own that measure themselves, and say what they found as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import Usage, environment, run

#: Before each program: its words, what it had after the import, and where to say what it found.
PROLOGUE = """
import json, sys, time, largefile

words, result = json.loads(sys.argv[1]), sys.argv[2]

def memory(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))

after_import = memory("VmRSS")

def found(**what):
    with open(result, "w") as file:
        json.dump({"after_import": after_import, "peak": memory("VmHWM"), **what}, file)
"""

#: A server that holds back the first block: its head comes at once, its bytes `held` seconds later.
HOLDING = """
import sys, time
from largefile.testing.server import Content, LoopbackServer, pattern

size, held = int(sys.argv[1]), float(sys.argv[2])

def read(first, last):
    if first == 0:
        time.sleep(held)
    return pattern(first, last)

with LoopbackServer(Content(size, read)) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


def measured(program: str, **words: Any) -> tuple[Usage, dict[str, Any]]:
    """Run `program` with these words: what it took from outside, and what it found."""
    with tempfile.NamedTemporaryFile("r") as result:
        usage = run([sys.executable, "-P", "-c", PROLOGUE + program, json.dumps(words), result.name])
        return usage, json.loads(Path(result.name).read_text())


@contextmanager
def holding(size: int, seconds: float) -> Iterator[str]:
    """The URL of `size` bytes whose first ones come late."""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", HOLDING, str(size), str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.kill()
