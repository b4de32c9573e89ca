"""A process that is killed at any moment loses what was in flight, and nothing else.

What was in flight is bounded: for each connection one unfinished block, the chunk that libcurl was handing
over, what the server's socket holds, and what nginx may hand to the kernel ahead of time while the client
is not looking (one second's worth of the rate that it is held to). nginx counts what it gave to the
kernel, so everything that it sent and that is not in place after the kill must fit in there.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from pathlib import Path

import pytest
from disk_helpers import Died, MortalOps
from nginx import SEND_BUFFER
from processes import Download, in_place, nothing_left_behind, until

import largefile
from largefile.disk.create import create_cache_files

pytestmark = pytest.mark.servers

#: Ten kills in all; LARGEFILE_DEEP=N makes it N times as many, each time at other moments.
KILLS_WITH_RANGES, KILLS_WITHOUT, EARLY_KILLS = 5, 3, 2
again = pytest.mark.parametrize("seed", range(max(1, int(os.environ.get("LARGEFILE_DEEP") or 1))))

KIB = 1024
SIZE = 40 * 10**6
BLOCK = 64 * KIB
CONNECTIONS = 4
RATE = 384 * KIB
#: The kernel takes twice the buffer that was asked for.
IN_FLIGHT = CONNECTIONS * (BLOCK + 32 * KIB + 2 * SEND_BUFFER + RATE)


@pytest.fixture(scope="module")
def digest(nginx):
    """The SHA-256 of ``/files/killed``, which is made here."""
    data = random.Random(3).randbytes(SIZE)
    (nginx.files / "killed").write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def sha256(path):
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_and_kill(nginx, url, dest, target):
    """Let a child go on until `target` bytes are in place, kill it; (bytes in place, bytes sent to it)."""
    mark = nginx.mark()
    with Download(url, dest, block_size=BLOCK, concurrency=CONNECTIONS) as child:
        child.reaches(target)
        assert child.kill(), "it was over before it could be killed"
    return in_place(dest), sum(each.sent for each in nginx.since(mark))


@again
def test_kills_at_random_moments_cost_what_was_in_flight(nginx, tmp_path, digest, seed):
    dest, rng = tmp_path / "x", random.Random(seed)
    url, held = nginx.url("/files/killed"), nginx.url("/files/killed", rate=RATE)
    have = total = 0
    for _ in range(KILLS_WITH_RANGES):
        before, step = have, rng.randrange(SIZE // (KILLS_WITH_RANGES + 3))
        have, sent = run_and_kill(nginx, held, dest, have + step)
        total += sent
        assert have >= before + step
        assert 0 <= sent - (have - before) <= IN_FLIGHT
    mark = nginx.mark()
    with nothing_left_behind():
        status = largefile.download(url, dest)
    sent = sum(each.sent for each in nginx.since(mark))
    assert sha256(dest) == digest
    assert status.resumed_bytes == have > 0
    assert sent == status.downloaded_bytes == SIZE - have
    assert total + sent <= SIZE + KILLS_WITH_RANGES * IN_FLIGHT
    assert status.block_size == BLOCK
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@again
def test_kills_without_ranges_keep_what_is_in_place(nginx, tmp_path, digest, seed):
    dest, rng = tmp_path / "x", random.Random(seed)
    held = nginx.url("/rangeless/killed", rate=SIZE // 4)
    have = 0
    for _ in range(KILLS_WITHOUT):
        before, step = have, rng.randrange(BLOCK, SIZE // (3 * KILLS_WITHOUT))
        have, _ = run_and_kill(nginx, held, dest, have + step)
        assert have >= before + step
    status = largefile.download(nginx.url("/rangeless/killed"), dest)
    assert sha256(dest) == digest
    assert status.resumed_bytes == have
    assert status.downloaded_blocks == status.download_blocks - have // BLOCK


@again
def test_a_kill_before_the_first_byte_is_gone_on_from(nginx, tmp_path, digest, seed):
    for kill in range(EARLY_KILLS):
        folder = tmp_path / str(kill)
        folder.mkdir()
        with Download(nginx.url("/files/killed", rate=RATE), folder / "x") as child:
            until(lambda: any(folder.iterdir()), what="a first file")  # noqa: B023 - called in this round
            assert child.kill()
        largefile.download(nginx.url("/files/killed"), folder / "x", digest=f"sha256:{digest}")
        assert sha256(folder / "x") == digest


def kill_while_making(folder, steps):
    """Make the files of a cache, and be killed after so many file operations; whether that was too late."""
    ops = MortalOps(steps)
    try:
        create_cache_files(folder / "x.part", folder / "x.part.idx", SIZE, BLOCK, ops=ops)
    except Died:
        return False
    return True


def test_a_kill_while_the_files_are_made_is_gone_on_from(nginx, tmp_path, digest):
    for steps in itertools.count():
        folder = tmp_path / str(steps)
        folder.mkdir()
        if kill_while_making(folder, steps):
            break
        largefile.download(nginx.url("/files/killed"), folder / "x", digest=f"sha256:{digest}", durable=False)
        (folder / "x").unlink()
    assert steps > 5
