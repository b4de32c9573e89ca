"""A whole download goes on over a damaged index: the right file, or a typed error, and nothing is fetched
that was still vouched for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import flipped, with_slot
from disk_helpers import OtherBoot
from server_tools import BLOCK, get, noise, parts

from largefile import DestinationInUseError, LargeFileError
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import REAL, FileOps
from largefile.disk.header import SLOT_SIZE, Layout
from largefile.errors import IndexCorruptError, PartialFileError
from largefile.rules.identity import Identity
from largefile.testing.disk.seam import everywhere
from largefile.testing.script import DATE
from largefile.testing.server import LoopbackServer

BLOCKS = 12
SIZE = (BLOCKS - 1) * BLOCK + 1234
CONTENT, OTHER = noise(SIZE), noise(SIZE, seed=1)
LAYOUT = Layout.of(BLOCKS)
DURABLE, LIVE = {0, 1, 2, 6, 7}, {3, 9}
HAD = DURABLE | LIVE


@pytest.fixture
def server():
    with LoopbackServer(CONTENT) as made:
        yield made


def leave_partial(dest: Path, url: str, content: bytes = CONTENT, etag: str = '"v1"') -> bytes:
    """What a killed run leaves: the index's bytes."""
    part, index = parts(dest)
    who = Identity(etag, DATE, len(content))
    cache = LocalDownloadCache.create(part, index, len(content), BLOCK, identity=who, url=url)
    for blocks in (DURABLE, LIVE):
        for block in blocks:
            cache.write_at(content[block * BLOCK : (block + 1) * BLOCK], block * BLOCK)
        if blocks is DURABLE:
            cache.commit()
    cache._group.poisoned = "killed"
    cache.close()
    return index.read_bytes()


def bit(at: int, number: int = 3) -> Callable[[bytes], bytes]:
    return lambda index: flipped(index, at * 8 + number)


def zeroed(*pages: int) -> Callable[[bytes], bytes]:
    def damage(index: bytes) -> bytes:
        for page in pages:
            index = with_slot(index, page, bytes(SLOT_SIZE))
        return index

    return damage


# What is done to the index, and what may still be believed of `HAD` in this boot and in another one.
DAMAGES: dict[str, tuple[Callable[[bytes], bytes], set[int], set[int]]] = {
    "nothing": (lambda index: index, HAD, HAD),
    "a bit of a live entry with a twin": (bit(LAYOUT.live + 8 * 1), HAD, HAD),
    "a bit of a live entry without": (bit(LAYOUT.live + 8 * 3), HAD - {3}, HAD - {3}),
    "a bit of a durable entry": (bit(LAYOUT.durable + 8 * 2), HAD, HAD),
    "a bit where no entry is": (bit(LAYOUT.live + 8 * 5), HAD, HAD),
    "a bit of the first header": (bit(60), HAD, HAD),
    "a bit of the second header": (bit(SLOT_SIZE + 60), HAD, HAD),
    "the first header": (zeroed(0), HAD, HAD),
    "the second header": (zeroed(1), HAD, HAD),
    "the live table": (zeroed(2), DURABLE, DURABLE),
    "the durable table": (zeroed(3), HAD, HAD),
    "a header and the live table": (zeroed(1, 2), DURABLE, DURABLE),
    "both tables": (zeroed(2, 3), set(), set()),
}


@pytest.mark.parametrize("boot", [REAL, OtherBoot()], ids=["same boot", "another boot"])
@pytest.mark.parametrize("what", DAMAGES)
def test_a_download_goes_on_with_what_is_vouched_for(tmp_path, server, what, boot: FileOps):
    dest = tmp_path / "x"
    damage, *kept = DAMAGES[what]
    parts(dest)[1].write_bytes(damage(leave_partial(dest, server.url)))
    with everywhere(boot):
        status = get(server, dest)
    assert dest.read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    believed = kept[boot is not REAL]
    assert status.resumed_bytes == sum(size_of(block) for block in believed)
    assert sum(request.sent for request in server.requests) == SIZE - status.resumed_bytes


def size_of(block: int) -> int:
    return min(BLOCK, SIZE - block * BLOCK)


@pytest.mark.parametrize("size", [0, 1, SLOT_SIZE, 2 * SLOT_SIZE, LAYOUT.size - 1, LAYOUT.size + 1])
def test_an_index_of_another_size_ends_it_and_nothing_is_touched(tmp_path, server, size):
    dest = tmp_path / "x"
    leave_partial(dest, server.url)
    os.truncate(parts(dest)[1], size)
    stays_as_it_is(dest, server, IndexCorruptError)


def test_so_do_two_broken_headers(tmp_path, server):
    dest = tmp_path / "x"
    index = bit(50)(bit(SLOT_SIZE + 50)(leave_partial(dest, server.url)))
    parts(dest)[1].write_bytes(index)
    stays_as_it_is(dest, server, IndexCorruptError)


def test_so_does_the_index_of_a_file_of_another_size(tmp_path, server):
    leave_partial(tmp_path / "x", server.url)
    leave_partial(tmp_path / "y", server.url, CONTENT[:-1])
    parts(tmp_path / "y")[1].rename(parts(tmp_path / "x")[1])
    stays_as_it_is(tmp_path / "x", server, PartialFileError)


def stays_as_it_is(dest: Path, server: LoopbackServer, kind: type[LargeFileError]) -> None:
    before = [path.read_bytes() for path in parts(dest)]
    with pytest.raises(kind):
        get(server, dest)
    assert [path.read_bytes() for path in parts(dest)] == before
    assert not dest.exists()
    assert server.requests == []


def test_the_index_of_another_download_of_the_same_content_vouches_for_it_here(tmp_path, server):
    leave_partial(tmp_path / "x", server.url)
    leave_partial(tmp_path / "y", "https://example.org/elsewhere")
    parts(tmp_path / "y")[1].rename(parts(tmp_path / "x")[1])
    assert get(server, tmp_path / "x").resumed_bytes == sum(size_of(block) for block in HAD)
    assert (tmp_path / "x").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["the same", "another"])
def test_the_index_of_another_version_is_of_no_use_here(tmp_path, server, url):
    dest = tmp_path / "x"
    leave_partial(dest, server.url)
    leave_partial(tmp_path / "y", server.url if url == "the same" else "https://example.org/y", OTHER, '"v0"')
    parts(tmp_path / "y")[1].rename(parts(dest)[1])
    data = parts(dest)[0].read_bytes()
    if url == "another":
        with pytest.raises(DestinationInUseError):
            get(server, dest)
        assert parts(dest)[0].read_bytes() == data
        return
    status = get(server, dest)
    assert dest.read_bytes() == CONTENT
    assert status.resumed_bytes == 0
