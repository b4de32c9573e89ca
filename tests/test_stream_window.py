"""A stream is never further ahead of its reader than its window, and a reader that pauses costs nothing."""

from __future__ import annotations

import http.client
import time

import pytest
from processes import until
from server_tools import BLOCK, always, noise, on, sha256
from stream_tools import Gates, Reading, asked, has_come, is_idle, open_stream, our_threads

from largefile import StreamingDownloader
from largefile.testing.server import Content, LoopbackServer

BLOCKS = 40
CONTENT = noise(BLOCKS * BLOCK + 777)
#: Seconds of silence that a transfer is allowed here, and how long a reader pauses.
TIMEOUT, PAUSE = 0.3, 0.8


# --- what is asked for -------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 3, 8, 24])
def test_nothing_is_asked_for_beyond_the_window_and_the_rest_when_reading_goes_on(window):
    with LoopbackServer(CONTENT) as server, open_stream(server, window=window * BLOCK) as source:
        for taken in range(3):
            has_come(source, (window + taken) * BLOCK)
            assert max(last for _, last in asked(server)) == (window + taken) * BLOCK - 1
            assert source.read(BLOCK) == CONTENT[taken * BLOCK : (taken + 1) * BLOCK]
        assert source.read() == CONTENT[3 * BLOCK :]
        firsts = [first for first, _ in asked(server)]
        assert len(firsts) == len(set(firsts))  # nothing twice


def test_who_iterates_moves_the_window_with_every_block():
    with LoopbackServer(CONTENT) as server, open_stream(server, window=4 * BLOCK) as source:
        has_come(source, 4 * BLOCK)
        for taken in range(3):
            assert next(source) == CONTENT[taken * BLOCK : (taken + 1) * BLOCK]
        until(lambda: source.stats().cached_or_streamed_blocks >= 6, what="two more have come")
        assert source.read() == CONTENT[3 * BLOCK :]


def test_without_a_background_there_is_no_thread_and_transfers_move_while_a_read_waits():
    before = our_threads()
    with LoopbackServer(CONTENT) as server:
        with open_stream(server, window=4 * BLOCK, background=False) as source:
            assert our_threads() == before
            assert len(server.requests) == 1  # the first answer, whose body is held
            assert source.read(10) == CONTENT[:10]
            assert our_threads() == before
            assert source.read() == CONTENT[10:]
            assert our_threads() == before


# --- order -------------------------------------------------------------------------------------------


def test_blocks_that_come_before_their_time_are_counted():
    content = noise(400)
    gates = Gates(content, 100)
    with StreamingDownloader(gates, window=400, concurrency=4) as source:
        until(lambda: gates.waiting == {0, 100, 200, 300}, what="all four are asked for")
        for count, block in enumerate([3, 1, 2], start=1):
            gates.release(block)
            until(lambda n=count: source.stats().cached_or_streamed_blocks == n, what=f"block {block}")
            assert source.status().max_out_of_order == count
        gates.release(0)
        assert source.read() == content
        status = source.status()
        assert (status.out_of_order, status.max_out_of_order) == (3, 3)


def test_blocks_in_their_order_are_not_counted():
    with LoopbackServer(CONTENT) as server, open_stream(server, concurrency=1, window=2 * BLOCK) as source:
        assert source.read() == CONTENT
        assert (source.status().out_of_order, source.status().max_out_of_order) == (0, 0)


def test_a_first_block_that_is_held_back_stops_nothing_else_inside_the_window():
    gates = Gates(noise(1200), 100)
    gates.release(*range(1, 12))
    with StreamingDownloader(gates, window=400, concurrency=3) as source:
        until(lambda: source.stats().cached_or_streamed_blocks == 3, what="blocks 1 to 3")
        until(lambda: gates.waiting == {0} and source.stats().connections == 1, what="nothing else")
        assert sorted(gates.asked) == [(0, 99), (100, 199), (200, 299), (300, 399)]
        gates.release(0)
        assert source.read() == gates.content


def test_the_server_holds_the_first_block_back_and_the_rest_of_the_window_comes():
    def behave(request):
        return always(delay=30)(request) if request.number == 1 else None

    content = noise(64 * BLOCK)
    with LoopbackServer(content, behave=behave) as server:
        # The first answer is for the first block alone, and the second request for the one after it.
        with open_stream(server, window=16 * BLOCK, concurrency=4, timeout=1.0) as source:
            reading = Reading(lambda: source.read())
            assert reading.result(30) == content
            assert source.status().max_out_of_order <= 16


# --- a reader that pauses ----------------------------------------------------------------------------


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("how", [{}, {"ranges": False}, {"chunked": True, "ranges": False}], ids=str)
def test_a_pause_longer_than_the_timeout_is_no_stall(background, how):
    with LoopbackServer(CONTENT, behave=always(**how)) as server:
        options = {"window": 3 * BLOCK, "timeout": TIMEOUT, "background": background}
        with open_stream(server, **options) as source:
            for taken in range(3):
                assert source.read(BLOCK) == CONTENT[taken * BLOCK : (taken + 1) * BLOCK]
                time.sleep(PAUSE)
            assert source.read() == CONTENT[3 * BLOCK :]
            status = source.status()
    assert (status.download_errors, status.download_retries) == (0, 0)
    if how:
        assert len(server.requests) == 1


def test_a_place_that_is_freed_in_silence_makes_no_stall_of_a_held_body():
    with LoopbackServer(CONTENT, behave=always(ranges=False, rate=2e6)) as server:
        with open_stream(server, window=4 * BLOCK, timeout=TIMEOUT) as source:
            first, _second = next(source), next(source)
            first.release()
            until(lambda: source.stats().cached_or_streamed_blocks == 5, what="the place is used again")
            time.sleep(PAUSE)
            assert source.read() == CONTENT[2 * BLOCK :]
            assert source.status().download_errors == 0
        assert len(server.requests) == 1


@pytest.mark.parametrize("how", [{"ranges": False}, {"chunked": True, "ranges": False}], ids=str)
def test_a_body_that_no_range_cuts_is_held_back_on_the_wire(how):
    endless = Content(1 << 30)
    with LoopbackServer(endless, behave=always(**how)) as server:
        with open_stream(server, window=2 * BLOCK) as source:
            until(lambda: source.stats().cached_or_streamed_bytes >= 2 * BLOCK, what="the window is full")
            used = time.process_time()
            time.sleep(PAUSE)
            assert time.process_time() - used < PAUSE / 2  # it waits, and does not ask again and again
            assert source.stats().cached_or_streamed_bytes == 2 * BLOCK
            assert server.sent < 64 << 20  # what the system's buffers and libcurl's take
            assert source.read(5 * BLOCK) == endless.read(0, 5 * BLOCK - 1)
            assert len(server.requests) == 1


def test_connections_that_the_server_closes_meanwhile_are_opened_again_without_an_error():
    with LoopbackServer(CONTENT) as server, open_stream(server, window=8 * BLOCK) as source:
        for taken in range(3):
            has_come(source, (8 + taken) * BLOCK)
            server.hang_up()
            assert source.read(BLOCK) == CONTENT[taken * BLOCK : (taken + 1) * BLOCK]
        assert source.read() == CONTENT[3 * BLOCK :]
        status = source.status()
    assert (status.download_errors, status.download_retries) == (0, 0)
    assert server.connections > 4  # so they were


# --- a server without ranges -------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 2, 7, 100])
@pytest.mark.parametrize("background", [True, False])
def test_a_server_without_ranges_is_read_in_one_go(window, background):
    with LoopbackServer(CONTENT, behave=always(ranges=False)) as server:
        options = {"window": window * BLOCK, "background": background, "digest": sha256(CONTENT)}
        with open_stream(server, **options) as source:
            assert b"".join(source) == CONTENT
            assert source.status().verified_by == "digest"
        assert len(server.requests) == 1


@pytest.mark.parametrize("window", [2, 8])
@pytest.mark.parametrize("cut", [0, 1, 2 * BLOCK, 5 * BLOCK + 1234, 39 * BLOCK])
def test_a_whole_body_that_was_cut_is_begun_again_and_what_was_read_is_dropped(window, cut):
    def behave(request):
        return (always(ranges=False) if request.number else on(0, ranges=False, cut_after=cut))(request)

    with LoopbackServer(CONTENT, behave=behave) as server:
        with open_stream(server, window=window * BLOCK) as source:
            assert source.read(BLOCK) == CONTENT[:BLOCK]
            assert source.read() == CONTENT[BLOCK:]
            assert source.status().download_errors == 1
        assert len(server.requests) == 2


def test_a_whole_body_that_is_held_back_may_be_cut_too():
    with LoopbackServer(CONTENT, behave=always(ranges=False)) as server:
        with open_stream(server, window=2 * BLOCK) as source:
            until(lambda: source.stats().cached_or_streamed_bytes == 2 * BLOCK, what="the window is full")
            server.hang_up()
            assert source.read() == CONTENT


# --- the server of these tests -----------------------------------------------------------------------


def test_hang_up_cuts_idle_and_busy_connections_and_serves_new_ones():
    with LoopbackServer(CONTENT, behave=on(1, stall_after=5)) as server:
        idle, busy = (http.client.HTTPConnection("127.0.0.1", server.port, timeout=10) for _ in "12")
        idle.request("GET", "/")
        assert idle.getresponse().read() == CONTENT
        busy.request("GET", "/")
        answer = busy.getresponse()
        assert answer.read(5) == CONTENT[:5]
        server.hang_up()
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
        assert idle.sock.recv(1) == b""
        idle.close()
        idle.request("GET", "/")
        assert idle.getresponse().read() == CONTENT
        for connection in (idle, busy):
            connection.close()


def test_an_idle_stream_has_no_transfer_under_way():
    with LoopbackServer(CONTENT) as server, open_stream(server, window=BLOCK) as source:
        has_come(source, BLOCK)
        assert is_idle(source)
