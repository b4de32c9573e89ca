"""Many processes over one download: readers beside a writer, and writers that no lock keeps from each other.

Readers hold every block that they believe against what it should be, from its first moment on.
"""

from __future__ import annotations

import hashlib
import os
import random

import pytest
from disk_helpers import folder

from largefile.testing.disk.mortal import Mortal
from largefile.testing.disk.nursery import Nursery
from largefile.testing.disk.scenes import BLOCK, SCENES, SHA256, SIZE, bytes_of, stale_edge, version
from largefile.testing.server import LoopbackServer

DEEP = int(os.environ.get("LARGEFILE_DEEP") or 1)
ROUNDS = 4 * DEEP
FRESH = SCENES[0].settings
BLOCKS = {
    "blocks": [
        hashlib.sha256(bytes_of(1, first, min(first + BLOCK, SIZE) - 1)).hexdigest()
        for first in range(0, SIZE, BLOCK)
    ]
}
#: Body bytes a second for each response, so that all of them are at work at the same time.
RATE = 8 << 20


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def base():
    with folder() as base:
        yield base


def follow(nursery, server, base, count):
    return [nursery.start("follow", server.url, base, BLOCKS) for _ in range(count)]


def test_twenty_readers_beside_a_writer_that_is_killed_now_and_then_see_no_wrong_byte(nursery, base):
    with LoopbackServer(version(1), rate=RATE) as server:
        readers = follow(nursery, server, base, 20)
        for after in (0.05, 0.1, 0.15, None):
            nursery.end(nursery.start("download", server.url, base, FRESH), after)
        ended = [nursery.end(pid) for pid in readers]
    assert {each.sha256 for each in ended} == {SHA256}, {each.text for each in ended}


def test_a_reader_tells_of_a_wrong_byte(nursery, base):
    with LoopbackServer(version(1), rate=RATE, behave=stale_edge) as server:
        (reader,) = follow(nursery, server, base, 1)
        nursery.run("download", server.url, base, FRESH)
        ended = nursery.end(reader)
    assert ended.text == "ValueError: block 5 was wrong"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_eight_writers_without_a_lock_and_kills_make_no_wrong_byte(nursery, base, seed):
    rng = random.Random(seed)
    with LoopbackServer(version(1), rate=RATE) as server:
        readers = follow(nursery, server, base, 3)
        kills = [rng.uniform(0, 0.3) if number % 2 else None for number in range(8)]
        writers = [nursery.start("download", server.url, base, FRESH, locks=False) for _ in kills]
        ended = [nursery.end(pid, after) for pid, after in zip(writers, kills, strict=True)]
        assert not any(each.hung for each in ended)
        for each in ended:
            if not each.killed:
                assert each.sha256 == SHA256 or "LargeFileError" in each.kinds, each.text
        last = nursery.run("download", server.url, base, FRESH)
        if "PartialFileError" in last.kinds:
            # Of two that make files at once without a lock, one may remove the other's index. What is left is
            # a file of which nobody can tell whose it is: the error says that it has to go.
            assert "it has no index beside it; remove it" in last.text
            (base / "x.part").unlink()
            last = nursery.run("download", server.url, base, FRESH)
        assert last.sha256 == SHA256 or "DestinationExistsError" in last.kinds, last.text
        seen = [nursery.end(pid) for pid in readers]
    assert {each.sha256 for each in seen} == {SHA256}, {each.text for each in seen}
    assert hashlib.sha256((base / "x").read_bytes()).hexdigest() == SHA256


def test_the_lock_that_does_nothing_is_one(tmp_path):
    """Else the writers above would not have met."""
    ops, path = Mortal(locks=False), str(tmp_path / "x")
    fds = [ops.open(path, os.O_RDWR | os.O_CREAT) for _ in range(2)]
    for fd in fds:
        ops.lock_ofd(fd, path)
        assert not ops.locked_ofd(fd, path)
        ops.close(fd, path)
