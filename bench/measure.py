"""One command, measured from outside; and what machine and what versions it was."""

from __future__ import annotations

import datetime
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

#: Nothing here takes so many seconds; what does hangs, and is killed.
LIMIT = 900
#: Set by `steady.py` to the bytes that it holds.
STEADY = "LARGEFILE_BENCH_STEADY"


@dataclass(frozen=True, slots=True)
class Usage:
    """What some processes took, from their starts to their ends."""

    wall: float = 0.0  #: seconds
    user: float = 0.0
    system: float = 0.0
    #: Bytes; never less than what this process has, as a child begins as its copy.
    peak: int = 0
    #: Seconds in which processors of this machine were busy meanwhile, for whomever; 0 where nobody counts.
    busy: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.wall + other.wall,
            self.user + other.user,
            self.system + other.system,
            max(self.peak, other.peak),
            self.busy + other.busy,
        )

    @property
    def cpu(self) -> float:
        return self.user + self.system


def environment() -> dict[str, str]:
    """Ours, without proxies, as everything here is on loopback; and bytecode may be written."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and name != "PYTHONDONTWRITEBYTECODE"
    }


def keep_bytecode(folder: Path) -> None:
    """Have children keep bytecode in `folder`: an installed package has it, a clone may not, and compiling
    the source at each start is no part of a download."""
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)


def run(command: Sequence[str], limit: float = LIMIT, folder: Path | None = None) -> Usage:
    """Run one command in `folder` to its end; RuntimeError with its words if it fails, or takes `limit`
    seconds."""
    with tempfile.TemporaryFile() as words:
        before, began = busy_seconds(), time.perf_counter()
        child = subprocess.Popen(command, stdout=words, stderr=words, env=environment(), cwd=folder)
        timer = threading.Timer(limit, child.kill)
        timer.start()
        try:
            _, status, used = os.wait4(child.pid, 0)
        finally:
            timer.cancel()
        wall, busy = time.perf_counter() - began, busy_seconds() - before
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            words.seek(0)
            name = Path(command[0]).name
            raise RuntimeError(f"{name} ended with {child.returncode}: {words.read()[-2000:]!r}")
    unit = 1 if platform.system() == "Darwin" else 1024
    return Usage(wall, used.ru_utime, used.ru_stime, used.ru_maxrss * unit, busy)


def load() -> float:
    """How many processors others keep busy, for a second: what a figure is measured beside.

    The system's own load average would tell of our last table.
    """
    before = busy_seconds()
    time.sleep(1.0)
    busy = busy_seconds() - before
    return round(busy if before else os.getloadavg()[0], 1)


def busy_seconds() -> float:
    """How long all processors together were not idle, since the machine began; 0 where nobody counts."""
    try:
        words = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, words)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def facts() -> dict[str, str]:
    """What a figure is worth nothing without: the machine, the versions, the day. No names, no paths."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d"),
        "machine": f"{_processor()}, {os.cpu_count()} CPUs, {memory / 2**30:.0f} GiB",
        "memory": f"{int(held) / 2**30:.0f} GiB held by bench/steady.py"
        if (held := os.environ.get(STEADY))
        else "",
        "load before": f"{load()}",
        "priority": f"nice {os.getpriority(os.PRIO_PROCESS, 0)}",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "largefile": package_version("largefile") or "from the tree",
        "pycurl": _pycurl(),
        "nginx": program_version("nginx", "-v") or "not installed",
        "curl": program_version("curl") or "not installed",
        "aria2c": program_version("aria2c") or "not installed",
    }


def filesystem(folder: Path) -> str:
    """The kind of filesystem that holds `folder`."""
    command = ["df", "--output=fstype", folder]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return (found.stdout.split() or ["unknown"])[-1]


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _pycurl() -> str:
    # Asked of a child: what this process imports, its children's peak memory shows.
    command = [sys.executable, "-P", "-c", "import pycurl; print(*pycurl.version.split()[:2])"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def program_version(program: str, option: str = "--version") -> str | None:
    """What a program says it is; None where it is not installed."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        return None
    done = subprocess.run([path, option], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def package_version(package: str) -> str | None:
    """The version of a package of this interpreter; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
