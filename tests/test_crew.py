"""Several threads fill one file: the same bytes, the same ends, and nothing left of them."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time

import pytest
from processes import nothing_left_behind, until
from server_tools import always, names
from stream_tools import SOON

import largefile
from largefile import aio
from largefile.engine import session
from largefile.engine.crew import Crew
from largefile.engine.pump import Pump
from largefile.errors import CancelledError, NotFoundError, SourceChangedError
from largefile.testing.script import Behaviour, Content, pattern
from largefile.testing.server import LoopbackServer

MIB = 1 << 20
SIZE = 48 * MIB + 321
RIGHT = hashlib.sha256(pattern(0, SIZE - 1)).hexdigest()


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    monkeypatch.setattr("largefile.engine.options._processors", lambda: 4)
    assert session.WORTH_A_THREAD <= SIZE


@pytest.fixture
def made(monkeypatch):
    """Every crew that is made."""
    found = []

    class Kept(Crew):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            found.append(self)

    monkeypatch.setattr(session, "Crew", Kept)
    return found


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "file.bin"


def engine_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("largefile-engine")]


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_each_thread_brings_its_part_over_connections_of_its_own(dest, made):
    with nothing_left_behind(), LoopbackServer(Content(SIZE, etag='"a"')) as server:
        status = largefile.download(server.url, dest, concurrency=4)
        assert sum(request.sent for request in server.requests) == SIZE
    assert digest_of(dest) == RIGHT
    (crew,) = made
    assert len(crew.pumps) == 2
    assert all(pump.received > MIB for pump in crew.pumps)
    assert status.downloaded_bytes == crew.received == SIZE


@pytest.mark.parametrize("concurrency", [1, 2, 5])
def test_no_more_connections_are_used_than_allowed(dest, concurrency):
    seen = []
    with LoopbackServer(Content(SIZE, etag='"a"'), behave=always(rate=20 * MIB)) as server:
        largefile.download(server.url, dest, concurrency=concurrency, progress=seen.append)
    assert digest_of(dest) == RIGHT
    assert max(stats.connections for stats in seen) == concurrency


def test_a_small_file_is_not_worth_a_thread(dest, made):
    with LoopbackServer(Content(session.WORTH_A_THREAD - 1, etag='"a"')) as server:
        largefile.download(server.url, dest)
    assert [len(crew.pumps) for crew in made] == [1]


def test_a_cancelled_download_ends_all_of_them(dest, made):
    with LoopbackServer(Content(SIZE, etag='"a"'), behave=always(rate=MIB)) as server:
        job = largefile.start_download(server.url, dest, concurrency=6)
        until(lambda: made and all(pump.received for pump in made[0].pumps), what="both get bytes")
        job.cancel()
        began = time.monotonic()
        with pytest.raises(CancelledError):
            job.result()
        assert time.monotonic() - began < SOON
        assert engine_threads() == []
    assert names(dest.parent) == {"file.bin.part", "file.bin.part.idx"}


def test_what_ends_another_thread_ends_the_download_and_is_raised(dest, monkeypatch):
    def look(self, until, limit, look=Pump.look):
        look(self, until, limit)
        if threading.current_thread() in [*engine_threads()][1:]:
            raise ZeroDivisionError("in the second thread")

    monkeypatch.setattr(Pump, "look", look)
    with LoopbackServer(Content(SIZE, etag='"a"'), behave=always(rate=20 * MIB)) as server:
        with pytest.raises(ZeroDivisionError, match="second thread"):
            largefile.download(server.url, dest, concurrency=4)
        assert engine_threads() == []
    monkeypatch.undo()
    with LoopbackServer(Content(SIZE, etag='"a"')) as server:
        status = largefile.download(server.url, dest)
    assert digest_of(dest) == RIGHT
    assert status.resumed_bytes + status.downloaded_bytes >= SIZE


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (Behaviour(status=404), NotFoundError),
        (Behaviour(headers={"ETag": '"b"'}), SourceChangedError),
    ],
)
def test_a_fatal_answer_to_any_of_them_ends_all(dest, behaviour, error):
    def behave(request):
        return behaviour if request.number > 9 else Behaviour(rate=20 * MIB)

    with LoopbackServer(Content(SIZE, etag='"a"'), behave=behave) as server:
        with pytest.raises(error):
            largefile.download(server.url, dest, concurrency=4, on_change="fail")
    assert engine_threads() == []


def test_a_server_that_gives_up_ranges_half_way_is_read_by_one_of_them(dest):
    def behave(request):
        return Behaviour(ranges=request.number <= 6)

    with LoopbackServer(Content(SIZE, etag='"a"'), behave=behave) as server:
        largefile.download(server.url, dest, concurrency=4)
    assert digest_of(dest) == RIGHT


def test_a_stream_is_in_order_whoever_brings_it(made):
    found = hashlib.sha256()
    with nothing_left_behind(), LoopbackServer(Content(SIZE, etag='"a"')) as server:
        with largefile.stream(server.url) as source:
            for block in source:
                found.update(block)
    assert found.hexdigest() == RIGHT
    assert all(pump.received for pump in made[0].pumps)


def test_a_stream_without_a_background_has_no_threads(made):
    with LoopbackServer(Content(SIZE, etag='"a"')) as server:
        with largefile.stream(server.url, background=False) as source:
            assert next(iter(source))
            assert engine_threads() == []
    assert [len(crew.pumps) for crew in made] == [1]


@pytest.mark.parametrize("threads", [1, 3])
def test_so_many_threads_as_asked_for(dest, made, threads):
    with LoopbackServer(Content(SIZE, etag='"a"')) as server:
        largefile.download(server.url, dest, threads=threads)
    assert digest_of(dest) == RIGHT
    assert [len(crew.pumps) for crew in made] == [threads]


def test_an_event_loop_shares_the_interpreter_with_one_of_ours(dest, made):
    async def both(url):
        await aio.download(url, dest)
        async with aio.stream(url) as source:
            assert len(await source.read(5)) == 5

    with LoopbackServer(Content(SIZE, etag='"a"')) as server:
        asyncio.run(both(server.url))
    assert digest_of(dest) == RIGHT
    assert [len(crew.pumps) for crew in made] == [1, 1]
