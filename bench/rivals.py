"""Who downloads a whole file to a place: ours and all neighbours, as commands.

Each neighbour is used as its users would, or as fast as it can be told to be; the comments say what it does.
All trust SSL_CERT_FILE where they know it, and are told where they do not. What is not installed is left out.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from measure import LIMIT, Usage, package_version, program_version, run

Commands = list[list[str]]


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be fetched and where to; `size` is for those who cannot find it out."""

    url: str
    dest: Path
    size: int


@dataclass(frozen=True, slots=True)
class Contender:
    """Who downloads, as commands that are run one after the other."""

    name: str
    commands: Callable[[Task], Commands]
    needs: str = ""  #: a program of PATH, or a package of this interpreter after "python:"
    ours: bool = False
    prefix: tuple[str, ...] = ()  #: what runs a command in a network namespace
    limit: bool = False  #: no neighbour, but what the machine allows

    def run(self, task: Task, limit: float = LIMIT) -> Usage:
        folder = task.dest.parent  # some write a log where they are
        return sum((run([*self.prefix, *each], limit, folder) for each in self.commands(task)), Usage())

    def version(self) -> str | None:
        """None where it is not installed."""
        if not self.needs:
            return ""
        if self.needs.startswith("python:"):
            return package_version(self.needs.removeprefix("python:"))
        return program_version(self.needs)


# --- ours ----------------------------------------------------------------------------------------

#: The child's whole program. `-P`: what is in the present folder is not imported by accident.
OURS = """
import json, sys, largefile
largefile.download(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3]))
"""


def ours(name: str = "", durable: bool = False, **options: Any) -> Contender:
    """`largefile.download` with these options, and what the name says of them."""
    words = json.dumps({"durable": durable, **options})
    named = " ".join(["largefile", *(["durable"] if durable else [])])
    return Contender(
        f"{named}, {name}" if name else named,
        lambda task: [[*PYTHON, OURS, task.url, str(task.dest), words]],
        ours=True,
    )


# --- programs ------------------------------------------------------------------------------------

PYTHON = [sys.executable, "-P", "-c"]
TRUST = "SSL_CERT_FILE"


def trust(option: str) -> list[str]:
    """`option` with the authority's file, if there is one."""
    if TRUST not in os.environ:
        return []
    return [option + os.environ[TRUST]] if option.endswith("=") else [option, os.environ[TRUST]]


def curl(task: Task) -> Commands:
    return [["curl", "-q", "-s", "-S", "-f", *trust("--cacert"), "-o", str(task.dest), task.url]]


def _parts(dest: Path, count: int) -> list[Path]:
    return [dest.with_name(f"{dest.name}.{number:02}") for number in range(count)]


def curl_parts(count: int) -> Callable[[Task], Commands]:
    """One curl with `count` ranges at once (-Z), each to a file of its own, joined by cat: curl can not write
    one file by several requests."""

    def commands(task: Task) -> Commands:
        share = -(-task.size // count)
        parts = _parts(task.dest, count)
        words = ["curl", "-q", "-Z", "--parallel-max", str(count), "--parallel-immediate"]
        for number, part in enumerate(parts):
            bounds = f"{number * share}-{min(task.size, (number + 1) * share) - 1}"
            words += ["--next"] if number else []
            words += ["-s", "-S", "-f", *trust("--cacert"), "-r", bounds, "-o", str(part), task.url]
        sources = shlex.join(map(str, parts))
        return [words, ["sh", "-c", f"cat {sources} > {shlex.quote(str(task.dest))} && rm {sources}"]]

    return commands


def aria2c(*options: str) -> Callable[[Task], Commands]:
    def commands(task: Task) -> Commands:
        place = ["-d", str(task.dest.parent), "-o", task.dest.name]
        return [["aria2c", "--no-conf", "-q", *trust("--ca-certificate="), *options, *place, task.url]]

    return commands


def axel(count: int) -> Callable[[Task], Commands]:
    return lambda task: [["axel", "-q", "-n", str(count), "-o", str(task.dest), task.url]]


def wget2(*options: str) -> Callable[[Task], Commands]:
    def commands(task: Task) -> Commands:
        place = ["-O", str(task.dest), task.url]
        return [["wget2", "--no-config", "-q", *trust("--ca-certificate="), *options, *place]]

    return commands


# --- packages ------------------------------------------------------------------------------------

#: As huggingface_hub called it while it did: pieces of 10 MiB; it had 64 at once, which is another contender.
HF_TRANSFER = """
import sys, hf_transfer
url, path, count = sys.argv[1:]
hf_transfer.download(url=url, filename=path, max_files=int(count), chunk_size=10 << 20,
                     parallel_failures=3, max_retries=5)
"""
#: A store hands out pieces as bytes; who wants a file writes them, some at a time.
OBSTORE = """
import os, sys, obstore
from concurrent.futures import ThreadPoolExecutor
from obstore.store import HTTPStore
url, path, count = sys.argv[1:]
base, _, name = url.rpartition("/")
store = HTTPStore.from_url(base, client_options={"allow_http": True})
size, step = obstore.get(store, name, options={"range": (0, 1)}).meta["size"], 8 << 20
file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
def fetch(at):
    data = memoryview(obstore.get_range(store, name, start=at, end=min(at + step, size)))
    while data:
        done = os.pwrite(file, data, at)
        data, at = data[done:], at + done
with ThreadPoolExecutor(int(count)) as pool:
    list(pool.map(fetch, range(0, size, step)))
"""
PYPDL = """
import sys; from pypdl import Pypdl
url, path, count = sys.argv[1:]
found = Pypdl().start(url=url, file_path=path, segments=int(count), display=False, block=True)
sys.exit(found is None or not found)
"""
#: One thread, one multi handle, equal parts, each written from its own place on.
PYCURL = """
import os, sys, pycurl
url, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
authority = os.environ.get("SSL_CERT_FILE")
def easy(first, last, write):
    made = pycurl.Curl()
    made.setopt(pycurl.URL, url)
    made.setopt(pycurl.RANGE, f"{first}-{last}")
    made.setopt(pycurl.WRITEFUNCTION, write)
    made.setopt(pycurl.FAILONERROR, 1)
    made.setopt(pycurl.BUFFERSIZE, 512 << 10)
    if authority:
        made.setopt(pycurl.CAINFO, authority)
    return made
head = []
probe = easy(0, 0, len)
probe.setopt(pycurl.HEADERFUNCTION, head.append)
probe.perform()
size = next(int(line.rpartition(b"/")[2]) for line in head if line.lower().startswith(b"content-range:"))
open(path, "wb").close()
multi, easies, share = pycurl.CurlMulti(), [], -(-size // count)
for at in range(0, size, share):
    file = open(path, "r+b", buffering=0)
    file.seek(at)
    easies.append(easy(at, min(at + share, size) - 1, file.write))
    multi.add_handle(easies[-1])
left = 1
while left:
    _, left = multi.perform()
    if left:
        multi.select(1.0)
sys.exit(bool(multi.info_read()[2]))
"""


def package(source: str, count: int) -> Callable[[Task], Commands]:
    return lambda task: [[*PYTHON, source, task.url, str(task.dest), str(count)]]


def limit(program: Path, count: int, how: str) -> Contender:
    """`limit.c`, compiled."""

    def commands(task: Task) -> Commands:
        to = urlsplit(task.url)
        return [[str(program), str(to.hostname), str(to.port), to.path, str(task.dest), str(count), how]]

    return Contender(f"C limit ({how}), {count}", commands, limit=True)


# --- the field -----------------------------------------------------------------------------------


def neighbours() -> list[Contender]:
    """All, each as good as it is found to be."""
    fast = ["-x16", "-s16", "-k1M", "--file-allocation=falloc"]
    return [
        Contender("curl", curl, "curl"),
        Contender("curl -Z, 16 ranges, joined", curl_parts(16), "curl"),
        Contender("aria2c -x16 -s16", aria2c(*fast), "aria2c"),
        Contender("aria2c", aria2c(), "aria2c"),
        Contender("axel -n 16", axel(16), "axel"),
        Contender("wget2", wget2(), "wget2"),
        Contender("wget2 --chunk-size", wget2("--chunk-size=16M", "--max-threads=16"), "wget2"),
        Contender("hf_transfer, 16", package(HF_TRANSFER, 16), "python:hf_transfer"),
        Contender("obstore, 8", package(OBSTORE, 8), "python:obstore"),
        Contender("pypdl, 8", package(PYPDL, 8), "python:pypdl"),
        Contender("pycurl loop, 8", package(PYCURL, 8), "python:pycurl"),
    ]


def sixteen() -> list[Contender]:
    """Those who can have 16 connections, each with 16."""
    fast = ["-x16", "-s16", "-k1M", "--file-allocation=falloc"]
    return [
        Contender("aria2c -x16 -s16", aria2c(*fast), "aria2c"),
        Contender("curl -Z, 16 ranges, joined", curl_parts(16), "curl"),
        Contender("axel -n 16", axel(16), "axel"),
        Contender("hf_transfer, 16", package(HF_TRANSFER, 16), "python:hf_transfer"),
        Contender("obstore, 16", package(OBSTORE, 16), "python:obstore"),
        Contender("pypdl, 16", package(PYPDL, 16), "python:pypdl"),
        Contender("pycurl loop, 16", package(PYCURL, 16), "python:pycurl"),
    ]
