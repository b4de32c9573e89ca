"""What lands does not depend on the lane, on how the network cut it up, or on what was there before."""

import errno
import itertools
import shutil
import subprocess

import pytest
from disk_helpers import MemoryFile, PlainFs, block_of, feed, folder, new_cache, noise, present, put, reopen
from hypothesis import given
from hypothesis import strategies as st

from largefile.core.byteranges import ByteRanges
from largefile.core.sink import BlockSink
from largefile.disk import filelanes as module
from largefile.disk import files
from largefile.disk.blocklane import BlockLane
from largefile.disk.buffers import BufferStore
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.filelanes import BounceLane, MapLane
from largefile.disk.fileops import REAL
from largefile.disk.header import Header
from largefile.disk.index import Index
from largefile.errors import CacheIOError, CachePoisonedError, NotEnoughSpaceError

MIB = 1 << 20


class ForeignCache:
    """A DownloadCache of somebody else's: a dict of blocks, and a complaint about anything unusual."""

    def __init__(self, content_size, block_size):
        self.size, self.block_size = content_size, block_size
        self.ranges = ByteRanges(content_size, block_size)
        self.blocks = {}

    def content_length_and_block_size(self):
        return self.size, self.block_size

    def next_outstanding(self, start_block):
        return self.ranges.next_clear(start_block)

    def write_at(self, data, off):
        assert off not in self.blocks, "a present block is not written again"
        assert off % self.block_size == 0
        assert len(data) == min(self.block_size, self.size - off)
        self.blocks[off] = bytes(data)
        self.ranges.set(off)
        return len(data)


@st.composite
def spans(draw):
    """Content, block size, blocks that are there already, and spans that go over all of it."""
    size = draw(st.integers(1, 700))
    block_size = draw(st.sampled_from([1, 7, 64, 100, 1000]))
    blocks = -(-size // block_size)
    there = draw(st.sets(st.integers(0, blocks - 1)))
    cuts = sorted({0, blocks, *draw(st.lists(st.integers(0, blocks), max_size=4))})
    chunk = draw(st.sampled_from([1, 5, 64, 1000]))
    return (
        noise(size, draw(st.integers(0, 9))),
        block_size,
        there,
        list(itertools.pairwise(cuts)),
        chunk,
    )


def run(lane, case):
    content, _, _, cuts, chunk = case
    sink = BlockSink()
    for first, stop in cuts:
        lane.aim(sink, first, stop)
        feed(sink, content, chunk)
        assert sink.error is None
        assert sink.at == sink.stop
    lane.release()
    return sink


WAYS = [(REAL, True, MapLane), (REAL, False, BounceLane), (PlainFs(), True, BounceLane)]


@given(spans(), st.sampled_from(WAYS))
def test_a_file_gets_the_content_and_an_index_that_proves_it(case, way):
    ops, direct, kind = way
    content, block_size, there, _, _ = case
    with folder() as base:
        cache = new_cache(base, len(content), block_size, ops=ops)
        # What is there keeps its own bytes, so writing it again would be seen.
        put(cache, bytes(255 - byte for byte in content), *there)
        lane = cache.lane(direct=direct)
        assert type(lane) is kind
        run(lane, case)
        assert cache.complete
        assert cache.verify() == []
        cache.close()
        expected = bytearray(content)
        for block in there:
            place = slice(block * block_size, (block + 1) * block_size)
            expected[place] = bytes(255 - byte for byte in content[place])
        assert (base / "x.part").read_bytes() == expected


@given(spans())
def test_a_buffer_gets_the_content_and_nothing_beyond(case):
    content, block_size, there, _, _ = case
    target = bytearray(b"\xee" * (len(content) + 9))
    store = BufferStore(target, len(content), block_size)
    for block in there:
        store.byte_ranges.set_block(block)
    run(store.lane(), case)
    assert store.complete
    for block in range(-(-len(content) // block_size)):
        expected = block_of(content, block_size, block)
        found = block_of(bytes(target[: len(content)]), block_size, block)
        assert found == (b"\xee" * len(expected) if block in there else expected)
    assert target[len(content) :] == b"\xee" * 9
    target.extend(b"!")  # no export of the buffer is left


def test_a_released_lane_lets_the_callers_buffer_go_and_can_be_aimed_again():
    content = noise(300)
    target = bytearray(len(content))
    store, sink = BufferStore(target, len(content), 100), BlockSink()
    lane = store.lane()
    target.extend(b"!")  # not pinned before the first byte
    for first, stop in [(0, 1), (1, 3)]:
        lane.aim(sink, first, stop)
        with pytest.raises(BufferError):
            target.extend(b"!")
        feed(sink, content)
        lane.release()
        target.extend(b"!")  # nor after the last one, although the lane is still there
    assert target[:300] == content
    assert store.complete


@given(spans())
def test_somebody_elses_cache_gets_whole_blocks_and_absent_ones_only(case):
    content, block_size, there, _, _ = case
    cache = ForeignCache(len(content), block_size)
    for block in there:
        cache.write_at(block_of(content, block_size, block), block * block_size)
    run(BlockLane(cache), case)
    assert b"".join(cache.blocks[off] for off in sorted(cache.blocks)) == content


@given(spans())
def test_an_injected_file_gets_the_content_by_its_own_write_at(case):
    content, block_size, there, _, _ = case
    data, index = MemoryFile(len(content)), MemoryFile()
    Index.create(index, Header(len(content), block_size, bytes(16)))
    with LocalDownloadCache(data, index) as cache:
        put(cache, content, *there)
        run(cache.lane(direct=True), case)
        assert cache.complete
        assert cache.verify() == []
    assert data.bytes == content
    assert data.closed
    assert index.closed
    data.closed = index.closed = False
    with LocalDownloadCache(data, index) as cache:
        assert cache.complete


@given(spans(), st.data())
def test_a_transfer_that_is_cut_leaves_its_finished_blocks_and_no_other(case, data):
    content, block_size, _, _, chunk = case
    cut = data.draw(st.integers(0, len(content)))
    with folder() as base, new_cache(base, len(content), block_size) as cache:
        lane, sink = cache.lane(direct=True), BlockSink()
        lane.aim(sink, 0, cache.num_blocks)
        for at in range(0, cut, chunk):
            sink(content[at : min(at + chunk, cut)])
        lane.release()
        done = cache.num_blocks if cut == len(content) else cut // block_size
        assert present(cache) == set(range(done))
        assert cache.verify() == []


@pytest.mark.parametrize("block_size", [64 << 10, MIB, 3 * MIB // 2, 5 * MIB, 100 * MIB])
@pytest.mark.parametrize("ops", [REAL, PlainFs()], ids=["map", "bounce"])
def test_blocks_larger_than_a_step_or_a_window_are_hashed_whole(monkeypatch, block_size, ops):
    monkeypatch.setattr(module, "WINDOW", 2 * MIB)
    content = noise(5 * MIB + 12345)
    with folder() as base:
        cache = new_cache(base, len(content), block_size, ops=ops)
        lane, sink = cache.lane(direct=True), BlockSink()
        lane.aim(sink, 0, cache.num_blocks)
        feed(sink, content)
        lane.release()
        assert cache.complete
        assert cache.verify() == []
        cache.close()
        assert (base / "x.part").read_bytes() == content


def test_a_lane_keeps_no_map_and_no_view_when_it_is_released(monkeypatch):
    with folder() as base, new_cache(base, 3 * MIB, MIB) as cache:
        maps = []
        real = cache.data.map
        monkeypatch.setattr(cache.data, "map", lambda *place: maps.append(real(*place)) or maps[-1])
        lane, sink = cache.lane(direct=True), BlockSink()
        lane.aim(sink, 0, 2)
        feed(sink, bytes(3 * MIB))
        lane.aim(sink, 2, 3)
        lane.release()
        assert [found.closed for found in maps] == [True, True]


def test_without_memory_for_a_map_the_window_takes_the_bounce_buffer(monkeypatch):
    content = noise(3 * MIB)
    with folder() as base, new_cache(base, len(content), MIB) as cache:
        lane, sink = cache.lane(direct=True), BlockSink()
        monkeypatch.setattr(cache.data, "map", lambda offset, size: None)
        lane.aim(sink, 0, 3)
        feed(sink, content)
        lane.release()
        assert cache.complete
        assert cache.verify() == []
        assert cache.read_at(len(content), 0) == content


def test_a_poisoned_cache_ends_the_transfer_with_a_typed_error():
    with folder() as base, new_cache(base, 3 * MIB, MIB) as cache:
        lane, sink = cache.lane(direct=True), BlockSink()
        lane.aim(sink, 0, 3)
        cache.poison("test")
        feed(sink, bytes(3 * MIB))
        assert isinstance(lane.failure(sink), CachePoisonedError)
        assert present(cache) == set()
        lane.release()


def test_a_failed_write_ends_the_transfer_with_a_typed_error(tmp_path):
    class Full(PlainFs):
        def pwrite(self, fd, data, offset, path=""):
            if path.endswith(".part"):
                raise NotEnoughSpaceError(path, -1, -1)
            super().pwrite(fd, data, offset, path)

    with new_cache(tmp_path, 3000, 1000, ops=Full()) as cache:
        lane, sink = cache.lane(direct=True), BlockSink()
        lane.aim(sink, 0, 3)
        assert feed(sink, bytes(3000), 500) < 3000
        assert isinstance(lane.failure(sink), NotEnoughSpaceError)
        lane.release()
        assert present(cache) == set()


@pytest.fixture
def small_disk(tmp_path):
    """A filesystem of 2 MiB."""
    where = tmp_path / "small"
    where.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=2m", "none", where], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small filesystem is not allowed here")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


@pytest.mark.parametrize("reserve", ["all", "span"])
def test_in_memory_only_what_is_going_to_be_mapped_is_reserved(small_disk, reserve):
    def allocated():
        return (small_disk / "x.part").stat().st_blocks * 512

    with new_cache(small_disk, MIB, 64 << 10, reserve=reserve) as cache:
        assert not cache.reserved
        assert allocated() == 0
        written, sink = cache.lane(), BlockSink()
        written.aim(sink, 0, 4)
        assert allocated() == 0
        feed(sink, noise(4 * (64 << 10)))
        assert allocated() == 4 * (64 << 10)
        written.release()
        mapped = cache.lane(direct=True)
        assert type(mapped) is MapLane
        mapped.aim(sink, 8, 12)
        assert allocated() == 8 * (64 << 10)
        mapped.release()
    with reopen(small_disk, reserve=reserve) as cache:
        assert (cache.reserved, allocated(), present(cache)) == (False, 8 * (64 << 10), {0, 1, 2, 3})


def test_a_page_without_room_is_not_enough_space_and_no_signal(small_disk, monkeypatch):
    # As if the reservation had lied: the file is sparse, and mapped all the same.
    def reserve(fd, start, stop, path, **options):
        return path.endswith(".part") or files.reserve_really(fd, start, stop, path, **options)

    monkeypatch.setattr(files, "reserve_really", files.reserve, raising=False)
    monkeypatch.setattr(files, "reserve", reserve)
    cache = new_cache(small_disk, 8 * MIB, 64 << 10, reserve="span")
    lane, sink = cache.lane(direct=True), BlockSink()
    assert type(lane) is MapLane
    lane.aim(sink, 0, cache.num_blocks)
    feed(sink, bytes(8 * MIB))
    assert sink.error.errno == errno.EFAULT
    assert isinstance(lane.failure(sink), NotEnoughSpaceError)
    lane.release()
    cache.durable = False
    cache.close()


def test_a_transient_refusal_of_a_page_is_still_an_error():
    class Refused:
        error, at = OSError(errno.EFAULT, "populate"), 0

    with folder() as base, new_cache(base, 3 * MIB, MIB) as cache:
        lane, sink = cache.lane(direct=True), BlockSink()
        lane.aim(sink, 0, 3)
        found = lane.failure(Refused())
        assert isinstance(found, CacheIOError)
        assert found.errno == errno.EIO
        lane.release()


def test_a_sparse_cache_gets_room_span_by_span(tmp_path):
    with new_cache(tmp_path, 1 << 40, MIB, reserve="span", durable=False) as cache:
        before = (tmp_path / "x.part").stat().st_blocks
        lane, sink = cache.lane(direct=True), BlockSink()
        lane.aim(sink, 500_000, 500_002)
        assert (tmp_path / "x.part").stat().st_blocks * 512 - before * 512 == 2 * MIB
        for _ in range(128):
            assert sink(bytes(16384))
        lane.release()
        assert present(cache) == {500_000, 500_001}
    with reopen(tmp_path, reserve="span", durable=False) as cache:
        assert cache.cached_bytes_and_blocks() == (2 * MIB, 2)


@pytest.mark.parametrize(
    ("write_path", "direct", "kind"),
    [
        ("auto", False, BounceLane),
        ("auto", True, MapLane),
        ("map", False, MapLane),
        ("map", True, MapLane),
        ("bounce", False, BounceLane),
        ("bounce", True, BounceLane),
    ],
)
def test_the_write_path_is_the_one_asked_for(tmp_path, write_path, direct, kind):
    with new_cache(tmp_path, 3000, 1000, write_path=write_path) as cache:
        assert type(cache.lane(direct)) is kind
    with pytest.raises(ValueError, match=r"write_path is 'mmap'.*'bounce'"):
        reopen(tmp_path, write_path="mmap")
