"""The parts of `streams.py` that jump: what the first byte costs over a long way, and how many requests
1,000 random reads are."""

from __future__ import annotations

import argparse
from typing import Any

from children import measured

from largefile.testing.shaping import DelayingProxy, ShapedServer

KIB, GIB = 1 << 10, 1 << 30

#: One after the other: a bare ranged GET, and the same bytes of a file that is opened for them.
FIRST = """
import http.client, urllib.parse
from largefile.testing.script import pattern
where, size = urllib.parse.urlsplit(words["url"]), words["read"]

def bare(at):
    conn = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
    conn.request("GET", where.path, headers={"Range": f"bytes={at}-{at + size - 1}"})
    data = conn.getresponse().read()
    conn.close()
    return data

def opened(at):
    with largefile.open(words["url"]) as file:
        file.seek(at)
        return file.read(size)

runs = []
for number in range(words["rounds"] + 1):
    at = (number + 1) * 7_654_321
    for name, work in (("bare", bare), ("open", opened)):
        began = time.perf_counter()
        data = work(at)
        if number:  # the first one imports, too
            runs.append({"contender": name, "round": number, "seconds": time.perf_counter() - began})
        assert data == pattern(at, at + size - 1)
found(runs=runs)
"""

#: Random reads of one file, by one of its ways, and then the same once more.
RANDOM = """
import random
from concurrent.futures import ThreadPoolExecutor
from largefile.testing.script import pattern
size, block = words["read"], words["block_size"]
rng = random.Random(words["seed"])
places = [rng.randrange(words["size"] - size) for _ in range(words["count"])]

def one_by_one(file):
    for at in places:
        file.seek(at)
        yield file.read(size)

def all_at_once(file):
    return file.read_ranges([(at, at + size) for at in places])

def threads(file):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda at: file.read_at(size, at), places))

way = {"seek and read": one_by_one, "read_ranges": all_at_once, "read_at in 8 threads": threads}[words["way"]]
with largefile.open(words["url"], block_size=block) as file:
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        for at, data in zip(places, way(file), strict=True):
            assert data == pattern(at, at + size - 1)
        taken.append(time.perf_counter() - began)
    fetched = file.stats().downloaded_bytes
blocks = {number for at in places for number in range(at // block, (at + size - 1) // block + 1)}
found(seconds=taken[0], again=taken[1], fetched=fetched, blocks=len(blocks))
"""


def first_byte(asked: argparse.Namespace, url: str) -> dict[str, Any]:
    """Time to the first 64 KiB in the middle of a file, in round trips of a long way."""
    delay, runs = 0.05, []
    with ShapedServer(GIB) as server:
        for handshake in (False, True):
            with DelayingProxy(server.port, delay, handshake=handshake) as far:
                far_url = server.url.replace(f":{server.port}/", f":{far.port}/")
                _, said = measured(FIRST, url=far_url, read=64 * KIB, rounds=asked.rounds)
            runs += [{"handshake": handshake, **each} for each in said["runs"]]
    return {"round_trip": 2 * delay, "read": 64 * KIB, "runs": runs}


def random_reads(asked: argparse.Namespace, url: str) -> dict[str, Any]:
    """Requests of 1,000 random reads, beside the blocks that they touch."""
    words = {"size": 4 * GIB, "read": 64 * KIB, "count": 1000, "block_size": 64 * KIB, "seed": 20}
    runs = []
    for way in ("seek and read", "read_ranges", "read_at in 8 threads"):
        with ShapedServer(words["size"]) as server:
            _, said = measured(RANDOM, url=server.url, way=way, **words)
            runs.append({"way": way, **said, **server.counts()})
    return {**words, "runs": runs}
