"""A wrong digest is traced to the blocks that came wrong, once, and never ends in a loop or a wrong file."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import Download, until
from server_tools import BLOCK, get, names, noise, sha256

import largefile
from largefile import LocalDownloadCache, create_cache_files
from largefile.core.sink import BlockSink
from largefile.disk.comparing import Arbiter, Comparison
from largefile.errors import CancelledError, DigestMismatchError, SourceChangedError
from largefile.testing.script import Behaviour, Content
from largefile.testing.server import LoopbackServer

SIZE = 40 * BLOCK + 12_345
CONTENT = noise(SIZE)
SHA = sha256(CONTENT)


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "file.bin"


class Flips:
    """Serves a flipped bit in a block for as many of its deliveries as `times` says."""

    def __init__(self, wrong):
        self.wrong = dict(wrong)  # block -> which deliveries of it are wrong, from 0; with what
        self.count = dict.fromkeys(self.wrong, 0)

    def __call__(self, request):
        first, last = request.range or (0, SIZE - 1)
        data = bytearray(CONTENT[first : last + 1])
        for block, deliveries in self.wrong.items():
            at = block * BLOCK + 7
            if first <= at <= last:
                if (change := deliveries.get(self.count[block])) is not None:
                    data[at - first] ^= change
                self.count[block] += 1
        served = bytes(data)
        return Behaviour(content=Content(SIZE, lambda a, b: served[a - first : b - first + 1], '"v1"'))


def test_a_bit_that_was_wrong_once_is_found_and_put_right(dest):
    with LoopbackServer(CONTENT, behave=Flips({17: {0: 1}})) as server:
        status = get(server, dest, digest=SHA)
        assert server.sent <= 2 * SIZE + 4 * BLOCK
    assert dest.read_bytes() == CONTENT
    assert names(dest.parent) == {"file.bin"}
    assert (status.verified_by, status.digest, status.phase) == ("digest", SHA, "done")
    assert status.downloaded_bytes > 2 * SIZE
    assert any("again: 17" in note for note in status.notes)


def test_what_was_right_at_first_stays(dest):
    """Both blocks come wrong once: one in the first fetch, one in the second."""
    with LoopbackServer(CONTENT, behave=Flips({3: {0: 1}, 30: {1: 1}})) as server:
        status = get(server, dest, digest=SHA)
    assert dest.read_bytes() == CONTENT
    assert any("again: 3" in note and "30" not in note for note in status.notes)


@pytest.mark.parametrize(
    "deliveries",
    [
        dict.fromkeys(range(50), 1),  # it is always like that: one more fetch shows it
        {0: 1, 1: 2, 2: 4},  # three times otherwise
        {0: 1, 2: 1},  # the wrong one has the majority
    ],
    ids=["always", "three ways", "outvoted"],
)
def test_what_can_not_be_put_right_is_kept_aside_and_an_error(dest, deliveries):
    with LoopbackServer(CONTENT, behave=Flips({17: deliveries})) as server:
        with pytest.raises(DigestMismatchError) as caught:
            get(server, dest, digest=SHA)
        assert server.sent <= 2 * SIZE + 4 * BLOCK
    assert names(dest.parent) == {"file.bin.bad"}
    assert len((dest.parent / "file.bin.bad").read_bytes()) == SIZE
    assert caught.value.status.phase == "done"
    assert caught.value.status.notes == ()


def test_a_source_that_is_never_twice_the_same_is_not_fetched_a_third_time(dest):
    wrong = {block: {1: 1} for block in range(30)}
    wrong[0][0] = 1
    with LoopbackServer(CONTENT, behave=Flips(wrong)) as server, pytest.raises(DigestMismatchError):
        get(server, dest, digest=SHA)
    assert server.sent <= 2 * SIZE + 2 * BLOCK


def test_no_repair_means_no_second_fetch(dest):
    with LoopbackServer(CONTENT, behave=Flips({17: {0: 1}})) as server:
        with pytest.raises(DigestMismatchError):
            get(server, dest, digest=SHA, repair=False)
        assert server.sent == SIZE
    assert names(dest.parent) == {"file.bin.bad"}


def test_the_second_fetch_goes_past_all_caches(dest):
    with LoopbackServer(CONTENT, behave=Flips({17: {0: 1}})) as server:
        get(server, dest, digest=SHA)
        again = [request for request in server.requests if "cache-control" in request.headers]
        first = [request for request in server.requests if "cache-control" not in request.headers]
    assert sum(request.sent for request in first) == SIZE
    assert sum(request.sent for request in again) >= SIZE


def test_a_source_that_changes_meanwhile_is_begun_anew(dest):
    new = noise(SIZE, seed=9)
    flips = Flips({17: {0: 1}})

    def behave(request):
        if "cache-control" in request.headers:
            return Behaviour(content=Content(SIZE, lambda a, b: new[a : b + 1], '"v2"'))
        return flips(request)

    with LoopbackServer(CONTENT, behave=behave) as server:
        status = get(server, dest, digest=sha256(new))
        assert dest.read_bytes() == new
        assert any("begun anew" in note for note in status.notes)
        dest.unlink()
        with pytest.raises(SourceChangedError):
            get(server, dest, digest=sha256(b"neither"), on_change="fail")


def test_it_can_be_cancelled_and_the_next_call_goes_on(dest):
    flips = Flips({17: {0: 1}})
    seen = []

    def behave(request):
        slow = "cache-control" in request.headers
        how = flips(request)
        return Behaviour(content=how.content, rate=200_000.0 if slow else None)

    with LoopbackServer(CONTENT, behave=behave) as server:
        job = largefile.start_download(
            server.url, dest, digest=SHA, block_size=BLOCK, proxy="", progress=seen.append
        )
        until(lambda: job.stats().phase == "repairing", what="it is being repaired")
        job.cancel()
        with pytest.raises(CancelledError):
            job.result()
        assert names(dest.parent) == {"file.bin.part", "file.bin.part.idx"}
        server.behave = flips
        get(server, dest, digest=SHA)
    assert dest.read_bytes() == CONTENT


@pytest.mark.parametrize("sent", [0.3, 0.9])
def test_a_kill_in_the_middle_of_it_costs_nothing(dest, sent):
    flips = Flips({17: {0: 1}, 18: {0: 1}})

    def behave(request):
        return Behaviour(content=flips(request).content, rate=600_000.0)

    options = {"digest": SHA, "block_size": BLOCK, "proxy": "", "timeout": 5.0}
    with LoopbackServer(CONTENT, behave=behave) as server:
        with Download(server.url, dest, **options) as child:
            until(lambda: server.sent > SIZE * (1 + sent), what="the second fetch")
            assert child.kill()
        server.behave = flips
        get(server, dest, digest=SHA)
    assert dest.read_bytes() == CONTENT
    assert names(dest.parent) == {"file.bin"}


# --- the stores ------------------------------------------------------------------------------------

SMALL = 4096
SIZES = st.integers(1, 6 * SMALL)


def fill(lane, blocks, data, cut=1000):
    sink = BlockSink()
    lane.aim(sink, *blocks)
    first, stop = blocks[0] * SMALL, min(blocks[1] * SMALL, len(data))
    for at in range(first, stop, cut):
        piece = data[at : min(at + cut, stop)]
        assert sink(piece) == len(piece)
    lane.release()


def held(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cache")
    create_cache_files(folder / "data", folder / "index", len(data), SMALL)
    cache = LocalDownloadCache.open(folder / "data", folder / "index", durable=False)
    for at in range(0, len(data), SMALL):
        cache.write_at(data[at : at + SMALL], at)
    return cache


@settings(deadline=None, max_examples=60)
@given(data=st.data(), size=SIZES, seed=st.integers(0, 99), cut=st.sampled_from([1, 700, 4096, 16_384]))
def test_the_majority_of_three_decides_each_block(tmp_path_factory, data, size, seed, cut):
    blocks = -(-size // SMALL)
    truth = noise(size, seed)
    ways = st.sampled_from(list(itertools.product(range(3), repeat=3)))
    votes = [data.draw(ways) for _ in range(blocks)]

    def fetched(number):
        """The content as it came this time: way 0 is the right one."""
        found = bytearray(truth)
        for block, way in enumerate(votes):
            found[block * SMALL] ^= way[number]
        return bytes(found)

    with held(tmp_path_factory, fetched(0)) as cache:
        comparison = Comparison(cache)
        fill(comparison.lane(), (0, blocks), fetched(1), cut)
        assert set(comparison.different) == {b for b, way in enumerate(votes) if way[0] != way[1]}
        assert comparison.byte_ranges.complete
        arbiter = Arbiter(cache, comparison.different)
        for block in comparison.different:
            fill(arbiter.lane(), (block, block + 1), fetched(2), cut)
        assert arbiter.byte_ranges.complete
        assert sorted(arbiter.replaced) == [b for b, (x, y, z) in enumerate(votes) if x != y == z]
        assert sorted(arbiter.undecided) == [b for b, way in enumerate(votes) if len(set(way)) == 3]
        expected = bytearray(fetched(0))
        for block in arbiter.replaced:
            expected[block * SMALL] = fetched(1)[block * SMALL]
        assert cache.read_at(size, 0) == bytes(expected)
        assert cache.verify() == []
