"""``into=``: a caller's buffer of any shape is filled in place, and is the caller's again afterwards."""

from __future__ import annotations

import array
import ctypes
import mmap
import threading
from multiprocessing import resource_tracker, shared_memory

import pytest
from following import Gate
from processes import nothing_left_behind, until
from server_tools import BLOCK, get, noise, on, sha256

import largefile
from largefile import CancelledError, DigestMismatchError, NotFoundError
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer

SIZE = 24 * BLOCK  # a multiple of every item's size
CONTENT = noise(SIZE, seed=77)


@pytest.fixture
def server():
    """A server of the content; nothing may be left when it is over."""
    resource_tracker.ensure_running()  # shared memory's, which stays
    with nothing_left_behind(), LoopbackServer(CONTENT) as server:
        yield server


def fill(server, target, **options):
    return get(server, None, into=target, **options)


# --- what can be filled --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", "BbHhiIlLqQfd")
def test_every_array_is_filled(server, kind):
    target = array.array(kind, bytes(SIZE))
    assert fill(server, target, digest=sha256(CONTENT)).verified_by == "digest"
    assert target.tobytes() == CONTENT
    target.append(target[0])  # it can grow again: nobody holds it


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((SIZE,), "uint8"),
        ((SIZE // 8,), "float64"),
        ((SIZE // 8,), ">f8"),
        ((SIZE // 2,), "float16"),
        ((SIZE // 16,), "complex128"),
        ((64, SIZE // 64), "int8"),
        ((3, 8, SIZE // 96), "uint32"),
        ((SIZE // 8,), [("a", "<i4"), ("b", ">u2"), ("c", "S2")]),
    ],
)
def test_a_numpy_array_of_any_type_and_shape_in_c_order_is_filled(server, shape, dtype):
    numpy = pytest.importorskip("numpy")
    target = numpy.zeros(shape, dtype)
    fill(server, target, digest=sha256(CONTENT))
    assert target.tobytes() == CONTENT


def test_a_part_of_an_array_is_filled_and_not_what_is_around_it(server):
    numpy = pytest.importorskip("numpy")
    whole = numpy.full((3, SIZE), 0xEE, "uint8")
    fill(server, whole[1])
    assert whole[1].tobytes() == CONTENT
    assert (whole[0] == 0xEE).all()
    assert (whole[2] == 0xEE).all()


def test_the_transposed_of_an_array_in_fortrans_order_is_filled(server):
    numpy = pytest.importorskip("numpy")
    target = numpy.zeros((SIZE // 64, 64), "uint8", order="F")
    fill(server, target.T)
    assert target.tobytes("F") == CONTENT


def test_shared_memory_is_filled_and_can_be_closed(server):
    memory = shared_memory.SharedMemory(create=True, size=SIZE)
    try:
        fill(server, memory.buf)
        again = shared_memory.SharedMemory(memory.name)
        try:
            assert again.buf[:SIZE] == CONTENT
        finally:
            again.close()
    finally:
        memory.close()  # BufferError if anybody still held it
        memory.unlink()


def test_a_map_is_filled_and_can_be_closed(server, tmp_path):
    (tmp_path / "x").write_bytes(bytes(SIZE))
    with (tmp_path / "x").open("r+b") as file:
        with mmap.mmap(file.fileno(), SIZE) as target:
            fill(server, target)
            assert target[:] == CONTENT
    assert (tmp_path / "x").read_bytes() == CONTENT


@pytest.mark.parametrize("kind", [ctypes.c_char, ctypes.c_double, ctypes.c_uint32.__ctype_be__])
def test_an_array_of_ctypes_is_filled(server, kind):
    target = (kind * (SIZE // ctypes.sizeof(kind)))()
    fill(server, target, digest=sha256(CONTENT))
    assert bytes(target) == CONTENT


def test_a_slice_of_a_memoryview_is_filled_and_not_a_byte_around_it(server):
    memory = bytearray(b"\xee" * (SIZE + 20))
    with memoryview(memory) as view, view[7 : 7 + SIZE] as target:
        fill(server, target)
    assert memory == b"\xee" * 7 + CONTENT + b"\xee" * 13
    memory.clear()


def test_a_buffer_that_is_longer_keeps_its_rest(server):
    target = bytearray(b"\xee" * (SIZE + 3 * BLOCK + 1))
    status = fill(server, target, digest=sha256(CONTENT))
    assert target == CONTENT + b"\xee" * (3 * BLOCK + 1)
    assert (status.downloaded_bytes, status.path) == (SIZE, None)


@pytest.mark.parametrize("shape", [0, (0, 5), (5, 0, 3)])
def test_an_empty_content_needs_no_room(shape):
    numpy = pytest.importorskip("numpy")
    with nothing_left_behind(), LoopbackServer(b"") as server:
        assert fill(server, numpy.empty(shape), digest=sha256(b"")).complete
        assert fill(server, bytearray()).complete


# --- what can not --------------------------------------------------------------------------------


def refused(server, target, kind, words):
    """Refused before anything was asked for."""
    with pytest.raises(kind, match=words):
        largefile.start_download(server.url, into=target, proxy="")
    assert not server.requests


def test_what_is_no_writable_buffer_is_a_type_error_before_any_request(server):
    for target in (bytes(SIZE), memoryview(bytearray(SIZE)).toreadonly()):
        refused(server, target, TypeError, "read-only, needed is a writable")
    for target in (SIZE, "x" * SIZE, [0] * SIZE, object()):
        refused(server, target, TypeError, "bytes-like")


def test_a_numpy_array_that_is_read_only_or_not_in_a_row_is_refused_before_any_request(server):
    numpy = pytest.importorskip("numpy")
    frozen = numpy.zeros(SIZE, "uint8")
    frozen.flags.writeable = False
    refused(server, frozen, TypeError, "read-only, needed is a writable")
    for target in (
        numpy.zeros((64, SIZE // 64), "uint8", order="F"),
        numpy.zeros(2 * SIZE, "uint8")[::2],
        numpy.zeros(SIZE, "uint8")[::-1],
        numpy.zeros((64, SIZE // 32), "uint8")[:, : SIZE // 64],
    ):
        refused(server, target, ValueError, "not C-contiguous, needed is")


def test_a_buffer_that_is_too_short_keeps_its_bytes_and_stops_at_the_first_answer(server):
    numpy = pytest.importorskip("numpy")
    short = bytearray(b"\xee" * (SIZE - 1))
    for target in (short, numpy.full((8, SIZE // 8 - 1), 0xEE, "uint8"), bytearray()):
        server.requests.clear()
        with pytest.raises(ValueError, match=rf"\d+ bytes, and the content {SIZE}"):
            get(server, None, into=target)
        assert set(memoryview(target).tobytes()) <= {0xEE}
        # The size is known from its head alone; nothing of its body was taken, and nothing else asked for.
        assert len(server.requests) == 1


def test_a_buffer_and_a_destination_are_one_too_many(server, tmp_path):
    with pytest.raises(TypeError, match="one of the two"):
        largefile.download(server.url, tmp_path / "x", into=bytearray(SIZE))


# --- how it can end ------------------------------------------------------------------------------


def test_another_digest_is_an_error_and_the_buffer_is_the_callers_again(server):
    target = bytearray(SIZE)
    with pytest.raises(DigestMismatchError) as told:
        get(server, None, into=target, digest=sha256(b"other"))
    assert told.value.found == sha256(CONTENT)
    assert not told.value.status.resumable
    target.clear()  # BufferError if anybody still held it


def test_while_it_is_filled_a_buffer_can_not_be_resized_and_a_cancel_gives_it_back():
    gate, target = Gate(SIZE), bytearray(b"\xee" * SIZE)
    with nothing_left_behind(), LoopbackServer(gate.content()) as server:
        gate.open(5 * BLOCK)
        job = largefile.start_download(server.url, into=target, block_size=BLOCK, concurrency=4, proxy="")
        until(lambda: job.stats().cached_or_streamed_blocks == 5, what="five blocks")
        with pytest.raises(BufferError):
            target.append(0)
        job.cancel()
        with pytest.raises(CancelledError) as told:
            job.result(5)
        gate.open()  # or the server's threads would wait on
        status = told.value.status
        assert status.cached_or_streamed_bytes == 5 * BLOCK
        assert not status.complete
        assert not status.resumable
        until(lambda: all(request.done for request in server.requests), what="the server has nothing to send")
    assert target[5 * BLOCK :] == b"\xee" * (SIZE - 5 * BLOCK), "a byte came after the end"
    target.clear()


def test_a_cancel_while_the_first_answer_is_awaited_ends_it(server):
    server.behave = lambda request: Behaviour(stall=True)
    target = bytearray(SIZE)
    job = largefile.start_download(server.url, into=target, proxy="")
    until(lambda: server.requests, what="a request")
    with pytest.raises(BufferError):
        target.append(0)  # also while no transfer holds it
    job.cancel()
    with pytest.raises(CancelledError):
        job.result(5)
    target.clear()


def test_errors_of_the_server_give_the_buffer_back(server):
    server.behave = lambda request: Behaviour(status=404)
    target = bytearray(b"\xee" * SIZE)
    with pytest.raises(NotFoundError):
        get(server, None, into=target)
    assert target == b"\xee" * SIZE
    target.clear()


def test_cut_answers_are_gone_on_with_in_the_buffer(server):
    server.behave = on(0, 2, 3, cut_after=100_001)
    target = array.array("d", bytes(SIZE))
    status = fill(server, target, digest=sha256(CONTENT), rate=20 * SIZE)
    assert target.tobytes() == CONTENT
    assert status.download_retries > 0


def test_two_downloads_fill_two_halves_of_one_buffer(server):
    memory, told = bytearray(2 * SIZE), []

    def fill_half(at):
        with memoryview(memory)[at : at + SIZE] as half:
            told.append(get(server, None, into=half, digest=sha256(CONTENT)).complete)

    threads = [threading.Thread(target=fill_half, args=(at,)) for at in (0, SIZE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert told == [True, True]
    assert memory == CONTENT * 2
