"""Any Reader into any cache: straight to its place or through a buffer, and never late."""

from __future__ import annotations

import io
import threading
import time
from typing import ClassVar

import pytest
from disk_helpers import SHM, MemoryFile, folder, noise, present
from server_tools import sha256

import largefile
from largefile.core.byteranges import ByteRanges
from largefile.core.sink import BlockSink
from largefile.disk.buffers import BufferStore
from largefile.disk.create import create_cache_files
from largefile.disk.fileops import FileOps
from largefile.disk.files import LocalFile
from largefile.errors import CacheError, CacheIOError, CancelledError, DigestMismatchError, ReadError
from largefile.events import Answered, Fetch, Outcome
from largefile.wire.readers import FileReader, Reader
from largefile.wire.threads import ThreadTransport

BLOCK = 4096
SIZE = 100 * BLOCK + 123
CONTENT = noise(SIZE)


class Ranges:
    """A Reader over bytes; `wrap` makes the file object of a range."""

    name = "bytes in memory"

    def __init__(self, wrap=io.BytesIO, content=CONTENT, digest=None):
        self.wrap, self.content, self.named = wrap, content, digest
        self.calls = []

    def content_length_and_block_size(self):
        return len(self.content), BLOCK

    def digest(self):
        return self.named

    def get_reader(self, first, last):
        self.calls.append((first, last))
        return self.wrap(self.content[first : last + 1])


class ReadOnly:
    """The least that a file object can be: `read`, and the end of a ``with``."""

    def __init__(self, data):
        self.data, self.closed = io.BytesIO(data), False

    def read(self, size):
        return self.data.read(size)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.closed = True


class Dribble(io.RawIOBase):
    """Gives a few bytes at a time."""

    def __init__(self, data):
        self.data, self.sizes = io.BytesIO(data), [1, 4095, 2, 5000, 17]

    def readable(self):
        return True

    def readinto(self, buffer):
        self.sizes.append(self.sizes.pop(0))
        return self.data.readinto(memoryview(buffer)[: self.sizes[0]])


@pytest.fixture(params=["map", "bounce"])
def base(request):
    """A folder; with "map", on a filesystem whose files are mapped."""
    if request.param == "map" and SHM is None:
        pytest.skip("no filesystem in memory")
    with folder() as found:
        yield found / request.param


@pytest.fixture
def place(tmp_path):
    """A folder, whatever its filesystem."""
    return tmp_path / "place"


def open_cache(base, size=SIZE, block_size=BLOCK):
    base.mkdir(exist_ok=True)
    ops = Unmappable() if base.name == "bounce" else FileOps()
    create_cache_files(base / "data", base / "index", size, block_size, ops=ops)
    return largefile.LocalDownloadCache.open(base / "data", base / "index", durable=False, ops=ops)


class Unmappable(FileOps):
    def fs_magic(self, fd, path=""):
        return 0


def fill(reader, cache, **options):
    usual = {"concurrency": 3, "durable": False, "tries": 3, "timeout": 10.0}
    return largefile.CachingDownloader(reader, cache, **{**usual, **options})


def check_all(cache, content=CONTENT):
    assert cache.complete
    assert cache.read_at(len(content), 0) == content


# --- readers of every kind -------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [io.BytesIO, ReadOnly, Dribble, lambda d: io.BufferedReader(io.BytesIO(d))])
@pytest.mark.parametrize("block_size", [BLOCK, 1000, 1 << 20])
def test_every_kind_of_file_object_fills_every_kind_of_place(base, wrap, block_size):
    with open_cache(base, block_size=block_size) as cache:
        status = fill(Ranges(wrap), cache, digest=sha256(CONTENT)).run()
        check_all(cache)
    blocks = -(-SIZE // block_size)
    assert (status.complete, status.downloaded_bytes, status.downloaded_blocks) == (True, SIZE, blocks)
    assert (status.download_errors, status.iterations, status.verified_by) == (0, 1, "digest")


def test_ranges_are_asked_for_once_and_closed(base):
    opened = []

    def wrap(data):
        opened.append(io.BytesIO(data))
        return opened[-1]

    reader = Ranges(wrap)
    with open_cache(base) as cache:
        fill(reader, cache).run()
    assert sum(last - first + 1 for first, last in reader.calls) == SIZE
    assert all(stream.closed for stream in opened)  # Go closed none of them


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_the_smallest_contents(base, size):
    with open_cache(base, size) as cache:
        status = fill(Ranges(content=CONTENT[:size]), cache).run()
        check_all(cache, CONTENT[:size])
    assert status.complete


def test_only_what_is_missing_is_asked_for(base):
    reader = Ranges()
    with open_cache(base) as cache:
        for block in (0, 1, 50, 99):
            cache.write_at(CONTENT[block * BLOCK : (block + 1) * BLOCK], block * BLOCK)
        status = fill(reader, cache).run()
        check_all(cache)
    assert (status.resumed_bytes, status.downloaded_blocks) == (4 * BLOCK, 97)
    asked = {block for first, last in reader.calls for block in range(first // BLOCK, last // BLOCK + 1)}
    assert asked == set(range(101)) - {0, 1, 50, 99}


def test_a_full_cache_asks_for_nothing(base):
    reader = Ranges()
    with open_cache(base) as cache:
        fill(Ranges(), cache).run()
        status = fill(reader, cache).run()
    assert reader.calls == []
    assert (status.complete, status.downloaded_bytes, status.resumed_bytes) == (True, 0, SIZE)


# --- local files -----------------------------------------------------------------------------------


def test_a_file_reader_gives_exactly_the_range(tmp_path):
    # Go's gave 26 bytes for the range [0:7], and never came to the end of a longer file.
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    reader = FileReader(path, block_size=BLOCK)
    assert isinstance(reader, Reader)
    assert reader.content_length_and_block_size() == (SIZE, BLOCK)
    assert reader.name == str(path)
    for first, last in ((0, 7), (5, 5), (BLOCK - 1, BLOCK), (SIZE - 3, SIZE - 1)):
        with reader.get_reader(first, last) as stream:
            assert stream.read() == CONTENT[first : last + 1]
            assert stream.read(1) == b""


def test_a_file_fills_a_cache(tmp_path, base):
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    with open_cache(base) as cache:
        assert fill(FileReader(path), cache).run().complete
        check_all(cache)


def test_a_file_that_is_not_there_or_a_block_size_of_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        FileReader(tmp_path / "gone")
    with pytest.raises(ValueError, match="at least 1"):
        FileReader(__file__, block_size=0)


def test_a_file_that_shrinks_meanwhile_is_a_typed_error(tmp_path, place):
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    reader = FileReader(path)
    path.write_bytes(CONTENT[: SIZE // 2])
    with open_cache(place) as cache:
        with pytest.raises(largefile.IncompleteError):
            fill(reader, cache, tries=1).run()
        whole = SIZE // 2 // BLOCK
        assert set(range(whole)) >= present(cache)


# --- failures --------------------------------------------------------------------------------------


def failing(times, error, after=0):
    """A `wrap` whose first ranges raise."""
    left = [times]

    class Failing(io.BytesIO):
        def read(self, size=-1):
            return self.fail() or super().read(after or size)

        def readinto(self, buffer):
            return self.fail() or super().readinto(memoryview(buffer)[: after or None])

        def fail(self):
            if self.tell() >= after and left[0]:
                left[0] -= 1
                raise error
            return

    return Failing


@pytest.mark.parametrize(
    ("error", "after"),
    [(ReadError("busy"), 0), (OSError(5, "flaky"), 100), (EOFError(), BLOCK)],
    ids=["ReadError", "OSError", "EOFError"],
)
def test_a_read_that_fails_is_made_again(place, error, after):
    with open_cache(place) as cache:
        status = fill(Ranges(failing(2, error, after)), cache, concurrency=1).run()
        check_all(cache)
    assert status.download_errors == 2
    assert status.download_retries == 2


def test_a_reader_s_retry_after_is_honoured(place):
    class Busy(Ranges):
        times: ClassVar = []

        def get_reader(self, first, last):
            self.times.append(time.monotonic())
            if len(self.times) == 1:
                raise ReadError("not now", retry_after=1.0)
            return super().get_reader(first, last)

    reader = Busy()
    with open_cache(place) as cache:
        fill(reader, cache, concurrency=1).run()
        check_all(cache)
    assert reader.times[1] - reader.times[0] >= 1.0


def test_what_can_not_be_read_again_ends_at_once_with_its_own_error(place):
    error = ReadError("gone for good", retryable=False)
    reader = Ranges(failing(1000, error))
    with open_cache(place) as cache, pytest.raises(ReadError, match="gone for good") as caught:
        fill(reader, cache, concurrency=2, wait_for_completion=True).run()
    assert caught.value is error
    assert len(reader.calls) <= 4
    assert caught.value.status.iterations == 1


def test_a_bug_of_a_reader_s_is_not_tried_again_and_says_where(place):
    reader = Ranges(failing(1000, KeyError("missing")))
    with open_cache(place) as cache, pytest.raises(ReadError, match="KeyError") as caught:
        fill(reader, cache, concurrency=2).run()
    assert isinstance(caught.value.__cause__, KeyError)
    assert not caught.value.retryable
    assert len(reader.calls) <= 4


def test_a_wrong_digest_is_an_error_and_the_reader_s_own_digest_is_kept_in_mind(place):
    with open_cache(place) as cache, pytest.raises(DigestMismatchError):
        fill(Ranges(), cache, digest=sha256(b"other")).run()


# --- readers that hang -----------------------------------------------------------------------------


class Hanging:
    """Ranges whose reads wait for `gate`, and then store into whatever place they were given."""

    name = "hanging"

    def __init__(self):
        self.gate, self.inside, self.over = threading.Event(), threading.Semaphore(0), []

    def content_length_and_block_size(self):
        return SIZE, BLOCK

    def digest(self):
        return None

    def get_reader(self, first, last):
        outer = self

        class Stream(io.RawIOBase):
            def readable(self):
                return True

            def readinto(self, buffer):
                outer.inside.release()
                outer.gate.wait()
                buffer[:] = b"\xdd" * len(buffer)
                outer.over.append(len(buffer))
                return len(buffer)

        return Stream()

    def let_go(self):
        self.gate.set()
        join_readers()


def join_readers():
    for thread in threading.enumerate():
        if thread.name == "largefile-reader":
            thread.join(10.0)
            assert not thread.is_alive()


def test_cancel_does_not_wait_for_a_reader_that_hangs_and_its_late_bytes_reach_nothing(base):
    reader = Hanging()
    with open_cache(base) as cache:
        job = fill(reader, cache, concurrency=3, timeout=60).start()
        for _ in range(3):
            assert reader.inside.acquire(timeout=10)
        job.cancel()
        with pytest.raises(CancelledError):
            job.result(1.0)  # TimeoutError if it took longer
        fill(Ranges(), cache).run()  # the same places have another writer now
        reader.let_go()
        check_all(cache)
    assert len(reader.over) == 3
    assert (base / "data").read_bytes() == CONTENT


def test_a_reader_that_hangs_is_replaced_after_the_timeout(base):
    class Once(Hanging):
        calls = 0

        def get_reader(self, first, last):
            self.calls += 1
            return super().get_reader(first, last) if self.calls == 1 else Ranges().get_reader(first, last)

    reader = Once()
    with open_cache(base) as cache:
        status = fill(reader, cache, timeout=0.5).run()
        reader.let_go()
        check_all(cache)
    assert status.download_errors == 1
    assert reader.over
    assert (base / "data").read_bytes() == CONTENT


def test_a_reader_that_hangs_before_its_file_object_is_replaced_too(place):
    gate = threading.Event()

    class Slow(Ranges):
        def get_reader(self, first, last):
            found = super().get_reader(first, last)
            if len(self.calls) == 1:
                gate.wait()
            return found

    with open_cache(place) as cache:
        fill(Slow(), cache, timeout=0.5).run()
        check_all(cache)
    gate.set()
    join_readers()


def test_closing_a_transport_lets_every_thread_go_once_its_read_returns():
    reader, before = Hanging(), threading.active_count()
    transport = ThreadTransport(reader)
    target, sink = bytearray(BLOCK), BlockSink()
    lane = BufferStore(target, BLOCK, BLOCK).lane()
    lane.aim(sink, 0, 1)
    hanging, unjudged = Fetch(0, BLOCK - 1), Fetch(0, BLOCK - 1)
    transport.start(hanging, sink)
    transport.admit(hanging)
    transport.start(unjudged, BlockSink())
    heard = 0
    while heard < 2:
        heard += len(transport.poll(1.0))
    transport.close()
    reader.let_go()
    assert threading.active_count() == before
    lane.release()
    assert target == bytes(BLOCK)


class Watched:
    """A sink that notes whenever it is touched without the lock of its transfer."""

    def __init__(self, sink):
        self.__dict__.update(sink=sink, lock=None, unlocked=[])

    def __getattr__(self, name):
        self.note(name)
        return getattr(self.sink, name)

    def __call__(self, chunk):
        self.note("call")
        return self.sink(chunk)

    def note(self, name):
        if not self.lock.locked():
            self.unlocked.append(name)


@pytest.mark.parametrize("wrap", [io.BytesIO, ReadOnly])
@pytest.mark.parametrize("wanted", [BLOCK, 2 * BLOCK])
def test_a_thread_touches_its_sink_under_the_lock_only(wrap, wanted):
    # A transfer that was stopped may find its sink aimed at other bytes: it has to ask before each touch.
    transport = ThreadTransport(Ranges(wrap, CONTENT[:BLOCK]))
    target, sink = bytearray(wanted), BlockSink()
    lane = BufferStore(target, wanted, BLOCK).lane()
    lane.aim(sink, 0, wanted // BLOCK)
    fetch, watched = Fetch(0, wanted - 1), Watched(sink)
    transport.start(fetch, watched)
    watched.__dict__["lock"] = transport._jobs[fetch].lock
    transport.admit(fetch)
    events = []
    while not events or isinstance(events[-1], Answered):
        events += transport.poll(1.0)
    transport.close()
    lane.release()
    assert events[-1].outcome is (Outcome.DONE if wanted == BLOCK else Outcome.CUT)
    assert target[:BLOCK] == CONTENT[:BLOCK]
    assert watched.unlocked == []


# --- caches of every kind --------------------------------------------------------------------------


class DictCache:
    """Somebody else's DownloadCache: blocks in a dict."""

    def __init__(self, size=SIZE, block_size=BLOCK, fails=None):
        self.ranges, self.blocks, self.lock, self.fails = (
            ByteRanges(size, block_size),
            {},
            threading.Lock(),
            fails,
        )

    @property
    def complete(self):
        return self.ranges.complete

    def content_length_and_block_size(self):
        return self.ranges.content_length, self.ranges.block_size

    def cached_bytes_and_blocks(self):
        return sum(map(len, self.blocks.values())), len(self.blocks)

    def next_outstanding(self, start_block):
        return self.ranges.next_clear(start_block)

    def next_cached(self, start_block):
        return self.ranges.next_set(start_block)

    def tail(self, timeout=None):
        return self.ranges.wait_tail(-1, timeout=timeout)

    def write_at(self, data, off):
        if self.fails is not None:
            raise self.fails
        with self.lock:
            assert off not in self.blocks, "each block is written once"
            self.blocks[off] = bytes(data)
            self.ranges.set(off)
        return len(data)

    def read_at(self, size, off):
        whole = b"".join(self.blocks[key] for key in sorted(self.blocks))
        return whole[off : off + size]

    def close(self):
        pass


@pytest.mark.parametrize("wrap", [io.BytesIO, ReadOnly, Dribble])
@pytest.mark.parametrize("size", [0, 1, SIZE])
def test_a_cache_that_somebody_else_wrote_gets_whole_blocks_once(wrap, size):
    cache = DictCache(size)
    assert isinstance(cache, largefile.DownloadCache)
    status = fill(Ranges(wrap, CONTENT[:size]), cache).run()
    check_all(cache, CONTENT[:size])
    assert {len(data) for data in list(cache.blocks.values())[:-1]} <= {BLOCK, size % BLOCK}
    assert status.complete
    assert status.path is None


def test_a_cache_that_somebody_else_wrote_is_resumed(tmp_path):
    cache, reader = DictCache(), Ranges()
    for block in (0, 3, 100):
        cache.write_at(CONTENT[block * BLOCK : (block + 1) * BLOCK], block * BLOCK)
    status = fill(reader, cache).run()
    check_all(cache)
    assert status.resumed_bytes == 2 * BLOCK + 123
    assert sum(last - first + 1 for first, last in reader.calls) == SIZE - status.resumed_bytes


def test_a_cache_that_somebody_else_wrote_is_compared_with_the_digest():
    assert fill(Ranges(), DictCache(), digest=sha256(CONTENT)).run().verified_by == "digest"
    with pytest.raises(DigestMismatchError):
        fill(Ranges(), DictCache(), digest=sha256(b"other")).run()


def test_the_error_of_a_cache_ends_the_download_and_is_not_the_reader_s():
    error = CacheIOError(28, "writing", "/somewhere")
    with pytest.raises(CacheError) as caught:
        fill(Ranges(), DictCache(fails=error), concurrency=2).run()
    assert caught.value is error
    assert (caught.value.status.cache_errors, caught.value.status.complete) == (1, False)
    assert caught.value.status.download_errors <= 1


@pytest.mark.parametrize("taken", [0, BLOCK - 1, BLOCK + 1, None])
def test_a_cache_that_took_less_than_a_block_is_not_believed(taken):
    class Short(DictCache):
        def write_at(self, data, off):
            super().write_at(data, off)
            return taken

    with pytest.raises(CacheError, match=f"wrote {taken} bytes .* {BLOCK} are needed") as caught:
        fill(Ranges(), Short(), concurrency=1).run()
    assert caught.value.status.cached_or_streamed_blocks == 0


def test_a_cache_that_gives_less_than_it_has_is_not_believed():
    class Short(DictCache):
        def read_at(self, size, off):
            return super().read_at(size - 1, off)

    with pytest.raises(CacheError, match=r"gave \d+ bytes .* \d+ are needed"):
        fill(Ranges(), Short(), digest=sha256(CONTENT)).run()


def test_any_error_of_a_cache_is_raised_as_it_is():
    with pytest.raises(ZeroDivisionError):
        fill(Ranges(), DictCache(fails=ZeroDivisionError()), concurrency=2).run()


def test_files_that_are_injected_take_the_bounce_buffer(tmp_path):
    create_cache_files(tmp_path / "d", tmp_path / "i", SIZE, BLOCK)
    index = MemoryFile(name="index")
    index.write_at((tmp_path / "i").read_bytes(), 0)
    data = MemoryFile(SIZE, name="data")
    with largefile.LocalDownloadCache(data, index) as cache:
        status = fill(Ranges(), cache, durable=True).run()
        check_all(cache)
    assert status.complete
    assert bytes(data.bytes) == CONTENT
    assert data.syncs > 0
    assert index.syncs > 0


def test_one_file_injected_and_one_local(tmp_path):
    create_cache_files(tmp_path / "d", tmp_path / "i", SIZE, BLOCK)
    data, index = MemoryFile(SIZE), LocalFile.open(str(tmp_path / "i"))
    with largefile.LocalDownloadCache(data, index, durable=False) as cache:
        assert fill(Ranges(), cache).run().complete
    assert bytes(data.bytes) == CONTENT


def test_a_downloader_runs_again_and_reports_to_the_end(base):
    # In Go a second run panicked: it sent on a closed channel.
    reports = []
    with open_cache(base) as cache:
        downloader = fill(Ranges(), cache, progress=reports.append)
        assert downloader.run().complete
        assert downloader.run().complete
    assert reports[-1].cached_or_streamed_bytes == SIZE
    assert downloader.stats().phase == "done"
