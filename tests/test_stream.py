"""A stream gives the content, in order and whole, however it is read, cut, windowed or hashed."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from server_tools import BLOCK, always, noise, sha256
from stream_tools import PlainReader, has_come, open_stream

from largefile import DigestMismatchError, HTTPReader, StreamingDownloader
from largefile.testing.server import LoopbackServer

CONTENT = noise(10 * BLOCK + 777)
SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK, 7 * BLOCK + 13]


def small(content, block_size, **options):
    """A stream of a Reader, for hundreds of examples a second."""
    return StreamingDownloader(PlainReader(content, block_size), **options)


# --- every byte, in order ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("background", [True, False])
def test_every_size_comes_whole(size, ranges, background):
    content = noise(size)
    with LoopbackServer(content, behave=always(ranges=ranges)) as server:
        with open_stream(server, background=background, digest=sha256(content)) as source:
            assert source.content_length == size
            assert source.read() == content
            assert (source.read(1), source.tell()) == (b"", size)
            assert source.status().complete


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(max_size=300),
    block_size=st.sampled_from([1, 7, 64, 1000]),
    window=st.integers(1, 9),
    concurrency=st.sampled_from([1, 2, 7]),
    background=st.booleans(),
    hashed=st.booleans(),
)
@example(b"x" * 50, 7, 1, 2, False, True)  # a block that is hashed keeps the only place, and nobody turns
def test_no_block_size_and_no_window_changes_the_bytes(
    content, block_size, window, concurrency, background, hashed
):
    options = {"window": window * block_size, "concurrency": concurrency, "background": background}
    if hashed:
        options["digest"] = sha256(content)
    with small(content, block_size, **options) as source:
        assert source.read() == content


class Model:
    """What a stream must answer, by slices of the content."""

    def __init__(self, content, block_size, pos):
        self.content, self.block_size, self.pos = content, block_size, pos

    def step(self, size):
        found = self.content[self.pos : self.pos + size]
        self.pos += len(found)
        return found

    def rest_of_block(self):
        return self.step(self.block_size - self.pos % self.block_size)


steps = st.lists(
    st.tuples(st.sampled_from(["read", "readinto", "next", "tell", "keep"]), st.integers(0, 40)), max_size=30
)


@settings(max_examples=120, deadline=None)
@given(
    content=st.binary(max_size=200),
    block_size=st.integers(1, 30),
    window=st.integers(1, 6),
    script=steps,
    offset=st.integers(0, 200),
    background=st.booleans(),
)
def test_every_way_of_reading_gives_what_comes_next(content, block_size, window, script, offset, background):
    offset = min(offset, len(content))
    model, kept = Model(content, block_size, offset), []
    options = {"window": window * block_size, "offset": offset, "background": background}
    with small(content, block_size, **options) as source:
        for act, size in script:
            if act == "read":
                assert source.read(size) == model.step(size)
            elif act == "readinto":
                buffer, wanted = bytearray(b"\xee" * size), model.step(size)
                assert source.readinto(buffer) == len(wanted)
                assert buffer == wanted + b"\xee" * (size - len(wanted))
            elif act == "next":
                assert bytes(next(source, b"")) == model.rest_of_block()
            elif act == "keep":
                kept.append((next(source, b""), model.rest_of_block()))
            assert source.tell() == model.pos
        assert source.read() == content[model.pos :]
        assert all(view == wanted for view, wanted in kept)
    assert all(view == wanted for view, wanted in kept)


# --- views -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("digest", [None, sha256(CONTENT)])
def test_all_views_may_be_kept_whatever_the_window(window, background, digest):
    with LoopbackServer(CONTENT) as server:
        with open_stream(server, window=window * BLOCK, background=background, digest=digest) as source:
            views = list(source)
            assert b"".join(views) == CONTENT
            assert all(view.readonly for view in views)
    assert b"".join(views) == CONTENT  # and after the end


def test_views_that_are_taken_faster_than_they_are_hashed_do_not_stop_the_stream():
    content = noise(64 << 20)
    source = small(content, 1 << 20, window=16 << 20, digest=sha256(content))
    with source:
        has_come(source, 16 << 20)  # so that all of the window is taken at once
        assert b"".join(list(source)) == content


def test_a_view_is_no_copy_and_keeps_a_place_only_while_it_lives():
    with LoopbackServer(CONTENT) as server, open_stream(server, window=4 * BLOCK) as source:
        first = next(source)
        has_come(source, 4 * BLOCK)  # block 4 has no place yet
        assert source.read(BLOCK) == CONTENT[BLOCK : 2 * BLOCK]
        has_come(source, 5 * BLOCK)
        assert first == CONTENT[:BLOCK]
        first.release()
        assert source.read(BLOCK) == CONTENT[2 * BLOCK : 3 * BLOCK]
        has_come(source, 7 * BLOCK)


# --- where it begins ---------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [1, BLOCK - 1, BLOCK, 3 * BLOCK + 5, 10 * BLOCK, len(CONTENT) - 1])
@pytest.mark.parametrize("ranges", [True, False])
def test_an_offset_gives_the_rest_and_asks_for_nothing_before_its_block(offset, ranges):
    with LoopbackServer(CONTENT, behave=always(ranges=ranges)) as server:
        with open_stream(server, offset=offset) as source:
            assert source.tell() == offset
            assert source.read(3) == CONTENT[offset : offset + 3]
            assert source.read() == CONTENT[offset + 3 :]
            assert source.status().complete
        assert min(request.range[0] for request in server.requests) == offset - offset % BLOCK


@pytest.mark.parametrize("size", [0, BLOCK, len(CONTENT)])
def test_an_offset_at_the_end_is_the_end_and_fetches_nothing(size):
    content = CONTENT[:size]
    with LoopbackServer(content) as server, open_stream(server, offset=size) as source:
        assert (source.read(), list(source), source.tell()) == (b"", [], size)
        assert source.stats().downloaded_bytes == 0
        assert source.status().complete


def test_an_offset_beyond_the_end_is_refused():
    with LoopbackServer(CONTENT) as server:
        with pytest.raises(ValueError, match="beyond a content of"):
            open_stream(server, offset=len(CONTENT) + 1)
        with pytest.raises(ValueError, match="offset is -1"):
            open_stream(server, offset=-1)


def test_a_reader_that_was_asked_for_its_size_before_gives_any_part():
    content = noise(40 * BLOCK)
    with LoopbackServer(content) as server, HTTPReader(server.url, proxy="", block_size=BLOCK) as reader:
        size, _ = reader.content_length_and_block_size()  # holds an answer that begins with byte 0
        with StreamingDownloader(reader, offset=4 * BLOCK + 1, window=2 * BLOCK) as source:
            assert source.read() == content[4 * BLOCK + 1 :]
        with StreamingDownloader(reader) as source:  # the same reader once more
            assert (source.content_length, source.read()) == (size, content)


# --- what vouches for it -----------------------------------------------------------------------------


@pytest.mark.parametrize("background", [True, False])
def test_the_right_digest_vouches_for_the_bytes(background):
    with LoopbackServer(CONTENT) as server:
        with open_stream(server, digest=sha256(CONTENT).upper(), background=background) as source:
            assert source.read(len(CONTENT)) == CONTENT
            assert not source.status().complete  # not before the end is told
            assert source.read(1) == b""
            status = source.status()
    assert (status.verified_by, status.digest, status.complete) == ("digest", sha256(CONTENT), True)
    assert status.phase == "done"


@pytest.mark.parametrize("background", [True, False])
def test_a_wrong_digest_is_told_in_place_of_the_end_again_and_again(background):
    with LoopbackServer(CONTENT) as server:
        with open_stream(server, digest=sha256(b"else"), background=background) as source:
            assert source.read(len(CONTENT)) == CONTENT
            for read in (lambda: source.read(1), lambda: source.readinto(bytearray(9)), lambda: next(source)):
                with pytest.raises(DigestMismatchError) as caught:
                    read()
            assert caught.value.status.verified_by is None
            assert not source.status().complete
            with pytest.raises(DigestMismatchError):
                source.read()


def test_a_digest_of_the_whole_can_not_be_compared_with_a_part():
    with LoopbackServer(CONTENT) as server, pytest.raises(ValueError, match="whole content"):
        open_stream(server, digest=sha256(CONTENT), offset=1)
    assert server.requests == []


def test_the_digest_that_a_reader_names_is_compared():
    reader = PlainReader(b"content", 4)
    reader.digest = lambda: sha256(b"something else")
    with StreamingDownloader(reader) as source:
        assert source.read(7) == b"content"
        with pytest.raises(DigestMismatchError):
            source.read(1)
    with StreamingDownloader(reader, offset=2) as source:
        assert source.read() == b"ntent"  # there it says nothing


def test_without_a_digest_the_validators_vouch():
    with LoopbackServer(CONTENT, etag=None) as server, open_stream(server) as source:
        assert source.status().verified_by is None
        source.read()
        assert source.status().verified_by == "last-modified"
