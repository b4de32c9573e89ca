"""Files behind a server that half of the world runs, read at a distance: every byte right, each sent once."""

from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from processes import nothing_left_behind, until

from largefile.errors import NotFoundError, RefusedError, SourceChangedError, UnsizedSourceError
from largefile.remote import open as open_remote

pytestmark = pytest.mark.servers

MIB = 1 << 20
BLOCK = 64 << 10
SIZE = 24 * MIB + 4321


@pytest.fixture(scope="module")
def content(nginx):
    """The bytes of ``/files/remote``."""
    data = random.Random(11).randbytes(SIZE)
    (nginx.files / "remote").write_bytes(data)
    return data


def opened(url, **options):
    return open_remote(url, proxy="", **options)


def ranges_of(requests):
    found = [re.fullmatch(r"bytes=(\d+)-(\d+)", each.range) for each in requests if each.range]
    return [(int(match[1]), int(match[2]) + 1) for match in found if match]


@pytest.mark.parametrize("where", ["files", "rangeless", "moved", "elsewhere", "unvouched"])
def test_a_whole_file_is_read_and_each_byte_sent_once(nginx, content, where):
    mark = nginx.mark()
    with nothing_left_behind(), opened(nginx.url(f"/{where}/remote")) as file:
        assert file.size == SIZE
        assert file.read() == content
    bodies = [each for each in nginx.since(mark) if each.status in (200, 206)]
    assert sum(each.sent for each in bodies) == SIZE


def test_https_reads_the_same(nginx, content):
    with opened(nginx.https("/files/remote"), ca_file=nginx.ca_file) as file:
        file.seek(5 * MIB)
        assert file.read(MIB) == content[5 * MIB : 6 * MIB]


def test_a_read_after_open_is_one_request_on_a_kept_connection(nginx, content):
    mark = nginx.mark()
    with opened(nginx.url("/files/remote")) as file:
        until(lambda: file.stats().connections == 0, what="the first answer is over")
        file.seek(20 * MIB)
        assert file.read(BLOCK) == content[20 * MIB : 20 * MIB + BLOCK]
    requests = nginx.since(mark)
    assert ranges_of(requests) == [(0, BLOCK), (20 * MIB, 20 * MIB + BLOCK)]
    assert len({each.connection for each in requests}) == 1


def test_a_thousand_random_reads_make_no_more_requests_than_there_are_missing_blocks(nginx, content):
    rng, touched = random.Random(3), {0}
    mark = nginx.mark()
    with opened(nginx.url("/files/remote"), readahead=0) as file:
        for _ in range(1000):
            pos = rng.randrange(SIZE - BLOCK)
            assert file.read_at(BLOCK, pos) == content[pos : pos + BLOCK]
            touched |= {pos // BLOCK, (pos + BLOCK - 1) // BLOCK}
    requests = nginx.since(mark)
    assert len(requests) <= len(touched)
    assert sum(each.sent for each in requests) <= len(touched) * BLOCK
    assert len({each.connection for each in requests}) <= 4


def test_threads_share_what_is_fetched(nginx, content, tmp_path):
    url = nginx.url("/files/remote")

    def work(seed):
        rng = random.Random(seed)
        with opened(url, cache_dir=tmp_path) as file:
            for _ in range(30):
                pos, size = rng.randrange(SIZE), rng.randrange(MIB)
                assert file.read_at(size, pos) == content[pos : pos + size]

    mark = nginx.mark()
    with nothing_left_behind(), opened(url, cache_dir=tmp_path), ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    fetched = [each for each in ranges_of(nginx.since(mark)) if each[1] - each[0] > 1]
    blocks = [block for first, stop in fetched for block in range(first // BLOCK, -(-stop // BLOCK))]
    assert len(blocks) == len(set(blocks))


def test_a_file_that_is_replaced_is_found_out_by_the_next_missing_block(nginx, tmp_path):
    path = nginx.files / "replaced"
    path.write_bytes(b"a" * MIB)
    with opened(nginx.url("/files/replaced"), cache_dir=tmp_path) as file:
        assert file.read(10) == b"a" * 10
        fresh = path.with_name("replaced.new")
        fresh.write_bytes(b"b" * (MIB + 1))
        fresh.replace(path)
        with pytest.raises(SourceChangedError):
            file.read_at(10, MIB // 2)
        with opened(nginx.url("/files/replaced"), cache_dir=tmp_path) as new:
            assert new.read() == b"b" * (MIB + 1)


@pytest.mark.parametrize(
    ("path", "error"),
    [("/files/none", NotFoundError), ("/forbidden/x", RefusedError), ("/unsized/remote", UnsizedSourceError)],
)
def test_what_can_not_be_read_can_not_be_opened(nginx, content, path, error):
    with nothing_left_behind(), pytest.raises(error):
        opened(nginx.url(path))
