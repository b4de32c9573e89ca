"""The awaited verbs do what the plain ones do, the loop goes on, and a cancelled task leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_tools import BLOCK, always, noise, on, parts, sha256

import largefile
from largefile import aio
from largefile.aio import streams
from largefile.errors import (
    CacheBusyError,
    CancelledError,
    DestinationExistsError,
    DigestMismatchError,
    IncompleteError,
    NetworkError,
    NotFoundError,
    TransferError,
    UnsizedSourceError,
)
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer

CONTENT = noise(24 * BLOCK + 1234, seed=3)
QUICK = {"block_size": BLOCK, "concurrency": 4, "timeout": 5.0, "proxy": ""}
FILE = {**QUICK, "durable": False}
#: Seconds in which a cancelled task must be over; the promise is one.
SOON = 1.5


@pytest.fixture
def server():
    with LoopbackServer(CONTENT) as found:
        yield found


def ours():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("largefile")]


def run(main):
    """Run it on a loop in debug mode; it leaves no task, no thread of ours, and nothing unhandled."""
    unhandled = []

    async def watched():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
        value = await main
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert ours() == []
        return value

    try:
        return asyncio.run(watched(), debug=True)
    finally:
        assert unhandled == []
        assert ours() == []


async def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        await asyncio.sleep(0.005)


async def cancelled(task):
    """Cancel a task; seconds until it was over, as cancelled."""
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return time.monotonic() - began


async def ticks(work):
    """The result, and the longest time in seconds between two turns of the loop meanwhile."""
    longest, last = 0.0, time.monotonic()
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.sleep(0.01)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    return await task, longest


# --- download ------------------------------------------------------------------------------------


def test_a_download_gives_the_file_and_the_status(server, tmp_path):
    status = run(aio.download(server.url, tmp_path / "x", digest=sha256(CONTENT), **FILE))
    assert status.complete
    assert status.verified_by == "digest"
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_download_fills_a_buffer(server):
    buffer = bytearray(len(CONTENT))
    assert run(aio.download(server.url, into=buffer, **QUICK)).complete
    assert buffer == CONTENT


def test_downloads_side_by_side_are_all_right(server, tmp_path):
    async def main():
        return await asyncio.gather(
            *(aio.download(server.at(f"/{i}"), tmp_path / str(i), **FILE) for i in range(5))
        )

    assert all(status.complete for status in run(main()))
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {CONTENT}


def test_errors_keep_their_types(server, tmp_path):
    (tmp_path / "there").write_bytes(b"")
    server.behave = lambda request: Behaviour(status=404) if request.path == "/gone" else None
    for error, arguments, options in [
        (NotFoundError, (server.at("/gone"), tmp_path / "x"), {}),
        (DestinationExistsError, (server.url, tmp_path / "there"), {}),
        (DigestMismatchError, (server.url, tmp_path / "y"), {"digest": sha256(b"")}),
        (ValueError, (server.url, tmp_path / "z"), {"concurrency": 0}),
        (TypeError, (server.url, tmp_path / "z"), {"progress": 3}),
        (TypeError, (server.url,), {}),
    ]:
        with pytest.raises(error):
            run(aio.download(*arguments, **{**FILE, **options}))


def test_a_cancelled_download_is_over_soon_and_goes_on_from_there(tmp_path):
    dest = tmp_path / "x"

    async def main():
        task = asyncio.create_task(aio.download(server.url, dest, **FILE))
        await until(lambda: server.sent > 6 * BLOCK)
        took = await cancelled(task)
        assert ours() == []
        return took

    with LoopbackServer(CONTENT, rate=8 * BLOCK) as server:
        assert run(main()) < SOON
        assert parts(dest)[0].exists()
        server.rate = None
        status = run(aio.download(server.url, dest, **FILE))
    assert status.resumed_bytes > 0
    assert dest.read_bytes() == CONTENT


def test_a_download_is_cancelled_before_its_first_answer(tmp_path):
    async def main():
        task = asyncio.create_task(aio.download(server.url, tmp_path / "x", **FILE))
        await until(lambda: server.requests)
        return await cancelled(task)

    with LoopbackServer(CONTENT, behave=always(stall=True)) as server:
        assert run(main()) < SOON


@pytest.mark.parametrize("turns", range(4))
def test_a_download_is_cancelled_however_early(tmp_path, turns):
    async def main():
        task = asyncio.create_task(aio.download(server.url, tmp_path / "x", **FILE))
        for _ in range(turns):
            await asyncio.sleep(0)
        return await cancelled(task)

    with LoopbackServer(CONTENT, behave=always(stall=True)) as server:
        assert run(main()) < SOON


def test_a_task_that_is_cancelled_again_and_again_still_waits_for_its_threads(tmp_path):
    async def main():
        buffer = bytearray(len(CONTENT))
        task = asyncio.create_task(aio.download(server.url, into=buffer, **QUICK))
        await until(lambda: server.sent > 2 * BLOCK)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        assert task.cancelled()
        assert ours() == [], "somebody still writes to the buffer"

    with LoopbackServer(CONTENT, rate=4 * BLOCK) as server:
        run(main())


def test_a_timeout_is_a_timeout_error(tmp_path):
    async def main():
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await aio.download(server.url, tmp_path / "x", **FILE)
        return time.monotonic() - began

    with LoopbackServer(CONTENT, rate=4 * BLOCK) as server:
        assert run(main()) < 0.2 + SOON


def test_downloads_need_no_place_in_the_default_executor(server, tmp_path):
    async def main():
        free = threading.Event()
        with ThreadPoolExecutor(1) as mine:
            asyncio.get_running_loop().set_default_executor(mine)
            blocked = asyncio.get_running_loop().run_in_executor(None, free.wait)
            try:
                await aio.download(server.url, tmp_path / "x", **FILE)
                async with aio.open(server.url, **QUICK) as file:
                    await file.read(10)
            finally:
                free.set()
            await blocked

    run(main())


def test_the_loop_goes_on_while_a_server_is_silent(tmp_path):
    async def main():
        return await ticks(aio.download(server.url, tmp_path / "x", **FILE))

    with LoopbackServer(CONTENT, behave=on(0, delay=1.0)) as server:
        status, longest = run(main())
    assert status.complete
    assert longest < 0.5


# --- progress ------------------------------------------------------------------------------------


def check_reports(seen):
    assert {thread for thread, _ in seen} == {threading.main_thread()}
    counts = [stats.cached_or_streamed_bytes for _, stats in seen]
    assert counts == sorted(counts)
    assert counts[-1] == len(CONTENT)


def test_progress_is_told_on_the_loops_thread_and_the_last_of_it_before_the_end(tmp_path):
    seen = []

    async def main():
        await aio.download(server.url, tmp_path / "x", progress=tell, **FILE)
        check_reports(seen)
        seen.clear()
        async for _ in aio.stream(server.url, progress=tell, **QUICK):
            pass
        check_reports(seen)

    def tell(stats):
        assert asyncio.get_running_loop().is_running()
        seen.append((threading.current_thread(), stats))

    with LoopbackServer(CONTENT, rate=20 * BLOCK) as server:
        run(main())


def test_something_with_update_gets_the_bytes_that_were_added(server, tmp_path):
    class Bar:
        total = 0

        def update(self, added):
            assert threading.current_thread() is threading.main_thread()
            self.total += added

    bar = Bar()
    run(aio.download(server.url, tmp_path / "x", progress=bar, **FILE))
    assert bar.total == len(CONTENT)


def test_a_failing_callback_is_logged_once_and_fails_nothing(tmp_path, caplog):
    def fail(stats):
        raise KeyError(stats.phase)

    with LoopbackServer(CONTENT, rate=20 * BLOCK) as server, caplog.at_level(logging.ERROR, "largefile"):
        assert run(aio.download(server.url, tmp_path / "x", progress=fail, **FILE)).complete
    assert [record.message for record in caplog.records] == [
        "the progress callback failed; the download goes on"
    ]


def test_a_loop_that_is_busy_gets_the_newest_report_only(tmp_path):
    seen = []

    async def main():
        task = asyncio.create_task(aio.download(server.url, tmp_path / "x", progress=seen.append, **FILE))
        await until(lambda: seen)
        before = len(seen)
        time.sleep(0.8)  # this is the rude task
        await asyncio.sleep(0)
        assert len(seen) <= before + 1
        await task

    with LoopbackServer(CONTENT, rate=6 * BLOCK) as server:
        run(main())


# --- stream --------------------------------------------------------------------------------------


async def gather_blocks(source):
    return b"".join([bytes(block) async for block in source])


def test_a_stream_gives_the_content_in_blocks(server):
    async def main():
        sizes = [len(block) async for block in aio.stream(server.url, **QUICK)]
        assert sizes == [BLOCK] * 24 + [1234]
        assert await gather_blocks(aio.stream(server.url, **QUICK)) == CONTENT

    run(main())


def test_a_stream_says_what_the_plain_one_says(server):
    async def main():
        async with aio.stream(server.url, digest=sha256(CONTENT), **QUICK) as source:
            assert source.content_length == len(CONTENT)
            assert not source.status().complete
            await gather_blocks(source)
            assert await source.read(5) == b""
            assert ours() == [], "at its end nothing is left to be closed"
            return source.status()

    status = run(main())
    assert status.complete
    assert status.verified_by == "digest"
    assert status.download_size == status.cached_or_streamed_bytes == len(CONTENT)


def test_before_it_has_begun_a_stream_knows_nothing(server):
    source = aio.stream(server.url, **QUICK)
    for question in (source.status, lambda: source.content_length):
        with pytest.raises(ValueError, match="not begun"):
            question()
    assert server.requests == []


@pytest.fixture(scope="module")
def lasting_server():
    with LoopbackServer(CONTENT) as found:
        yield found


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.none()
        | st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK])
        | st.integers(0, 3 * BLOCK),
        max_size=8,
    ),
    st.sampled_from([BLOCK, 3 * BLOCK, "auto"]),
)
def test_reads_and_blocks_in_any_order_give_the_content(lasting_server, steps, window):
    async def main():
        truth = io.BytesIO(CONTENT)
        async with aio.stream(lasting_server.url, window=window, **QUICK) as source:
            for size in steps:
                if size is None:
                    block = await anext(source, b"")
                    assert block == truth.read(len(block))
                    del block
                else:
                    assert await source.read(size) == truth.read(size)
            assert await source.read() == truth.read()
            assert await source.read(1) == b""

    run(main())


def test_blocks_are_handed_over_without_a_copy(server):
    async def main():
        async for block in aio.stream(server.url, **QUICK):
            assert type(block.obj).__name__ == "Block"
            assert block.readonly

    run(main())


def test_kept_blocks_stay_what_they_were(server):
    async def main():
        return [block async for block in aio.stream(server.url, window=4 * BLOCK, **QUICK)]

    assert b"".join(run(main())) == CONTENT


def test_nothing_is_asked_for_beyond_the_window_of_a_task_that_takes_its_time(server):
    async def main():
        async with aio.stream(server.url, window=8 * BLOCK, **QUICK) as source:
            block = await anext(source)
            await until(lambda: server.sent >= 8 * BLOCK)
            await asyncio.sleep(0.3)
            asked = max(request.range[1] for request in server.requests) + 1
            assert asked <= 8 * BLOCK, "the first block is not given back yet"
            return bytes(block) + await source.read()

    assert run(main()) == CONTENT


def test_a_loop_that_is_left_ends_its_stream(server):
    async def main():
        async for block in aio.stream(server.url, window=4 * BLOCK, **QUICK):
            assert block == CONTENT[:BLOCK]
            del block
            break
        await until(lambda: not ours() and len(asyncio.all_tasks()) == 1, SOON)

    run(main())


def test_a_loop_that_is_left_at_the_very_end_of_the_program_ends_its_stream(server, caplog):
    async def main():
        async for _ in aio.stream(server.url, window=4 * BLOCK, **QUICK):
            return

    asyncio.run(main(), debug=True)
    asyncio.run(until(lambda: not ours(), SOON))
    assert "pending" not in caplog.text


async def failing(source):
    async with contextlib.aclosing(aiter(source)) as blocks:
        async for _ in blocks:
            raise KeyError("mine")


def test_an_error_in_a_loop_ends_its_stream(server):
    async def main():
        source = aio.stream(server.url, window=4 * BLOCK, **QUICK)
        with pytest.raises(KeyError):
            await failing(source)
        assert ours() == []
        with pytest.raises(ValueError, match="closed"):
            await source.read()

    run(main())


def test_inside_of_async_with_a_stream_outlives_its_loops(server):
    async def main():
        async with aio.stream(server.url, window=4 * BLOCK, **QUICK) as source:
            found = b""
            async for block in source:
                found += block
                break
            found += await source.read(100)
            async for block in source:
                found += block
            return found

    assert run(main()) == CONTENT


def dead_from(place):
    """503 for everything from `place` on, and a body that ends there."""

    def behave(request):
        first = request.range[0] if request.range else 0
        return Behaviour(status=503) if first >= place else Behaviour(cut_after=place - first)

    return behave


@contextlib.contextmanager
def failing_stream(how):
    """A stream that fails, its error, and how much of it is in order before the failure."""
    if how == "digest":
        with LoopbackServer(CONTENT) as server:
            yield aio.stream(server.url, digest=sha256(b""), **QUICK), DigestMismatchError, len(CONTENT)
    else:
        place = 5 * BLOCK + 7
        with LoopbackServer(CONTENT, behave=dead_from(place)) as server:
            source = aio.stream(server.url, tries=1, **QUICK | {"concurrency": 1})
            yield source, (TransferError, IncompleteError), place // BLOCK * BLOCK


@pytest.mark.parametrize("size", [-1, None, len(CONTENT) + 1])
@pytest.mark.parametrize("how", ["digest", "source"])
@pytest.mark.parametrize("before", [0, 10])
def test_a_read_that_meets_a_failure_raises_it_and_so_does_every_one_after_it(how, size, before):
    async def main():
        async with source:
            assert await source.read(before) == CONTENT[:before]
            for again in (size, -1, 1, size):
                with pytest.raises(error):
                    await source.read(again)
            assert await source.read(0) == b""
            assert not source.status().complete

    with failing_stream(how) as (source, error, _):
        run(main())


@pytest.mark.parametrize("how", ["digest", "source"])
def test_what_a_failed_read_had_taken_is_given_by_iteration_and_then_the_error_again_and_again(how):
    async def main():
        found = b""
        async with source:
            found += await source.read(10)
            with pytest.raises(error):
                await source.read()
            while len(found) < sound:
                found += await anext(source)
            for _ in range(3):
                with pytest.raises(error):
                    await anext(source)
                with pytest.raises(error):
                    await source.read(1)
        return found

    with failing_stream(how) as (source, error, sound):
        assert run(main()) == CONTENT[:sound]


@pytest.mark.parametrize("how", ["digest", "source"])
def test_reads_and_blocks_that_end_before_a_failure_are_given(how):
    async def main():
        async with source:
            assert await source.read(sound) == CONTENT[:sound]
            for _ in range(3):
                with pytest.raises(error):
                    await source.read(1)
                with pytest.raises(error):
                    await anext(source)

    with failing_stream(how) as (source, error, sound):
        run(main())


def test_a_failed_read_leaves_nothing_to_a_stream_that_is_closed():
    async def main():
        source = aio.stream(server.url, **QUICK)
        task = asyncio.create_task(source.read())
        await until(lambda: source._inflow and source._inflow._source)
        await until(lambda: source._inflow._source.tell() >= 3 * BLOCK)  # the first of it is the task's
        await source.aclose()
        with pytest.raises(ValueError, match="closed"):
            await task
        for use in (source.read, source.__anext__):
            with pytest.raises(ValueError, match="closed"):
                await use()

    with LoopbackServer(CONTENT, behave=always(stall_after=3 * BLOCK)) as server:
        run(main())


def test_while_pieces_are_joined_no_byte_is_there_twice_or_not_at_all():
    class Piece(bytes):
        def __del__(self):
            seen.append(b"".join(pieces) == CONTENT)

    seen = []
    pieces = [Piece(CONTENT[at : at + 1000]) for at in range(0, len(CONTENT), 1000)]
    count = len(pieces)
    streams._join(pieces)
    assert pieces == [CONTENT]
    assert seen == [True] * count


def test_a_stream_makes_a_second_pass_as_the_plain_one_does():
    failures = []

    def behave(request):
        if request.range and request.range[0] <= 5 * BLOCK <= request.range[1] and len(failures) < 3:
            failures.append(request)
            return Behaviour(cut_after=5 * BLOCK - request.range[0])
        return None

    with LoopbackServer(CONTENT, behave=behave) as server:
        with largefile.stream(server.url, tries=2, **QUICK) as plain:
            assert plain.read() == CONTENT
        assert len(failures) == 3
        failures.clear()
        assert run(gather_blocks(aio.stream(server.url, tries=2, **QUICK))) == CONTENT
        assert len(failures) == 3


def test_a_wrong_digest_is_told_instead_of_the_end(server):
    async def main():
        async with aio.stream(server.url, digest=sha256(b""), **QUICK) as source:
            with pytest.raises(DigestMismatchError):
                await gather_blocks(source)

    run(main())


def test_a_stream_that_can_not_begin_raises_where_it_is_entered_or_read(server):
    async def main():
        with pytest.raises(NotFoundError):
            async with aio.stream(server.at("/gone"), **QUICK):
                pytest.fail("it has begun")
        with pytest.raises(NotFoundError):
            await gather_blocks(aio.stream(server.at("/gone"), **QUICK))
        with pytest.raises(ValueError, match="block_size"):
            await aio.stream(server.url, block_size=1).read()
        with pytest.raises(TypeError):
            await aio.stream(server.url, nothing=1).read()

    server.behave = lambda request: Behaviour(status=404) if request.path == "/gone" else None
    run(main())


@pytest.mark.parametrize("how", ["entered", "iterated"])
@pytest.mark.parametrize("script", ["stall", "stall_after"])
def test_a_cancelled_stream_is_over_soon(how, script):
    async def entered():
        async with aio.stream(server.url, **QUICK | {"timeout": 60.0}) as source:
            await source.read()

    async def iterated():
        async for _ in aio.stream(server.url, **QUICK | {"timeout": 60.0}):
            pass

    async def main():
        task = asyncio.create_task(entered() if how == "entered" else iterated())
        await until(lambda: server.requests and (script == "stall" or server.sent))
        took = await cancelled(task)
        assert ours() == []
        return took

    behave = always(stall=True) if script == "stall" else always(stall_after=BLOCK + 100)
    with LoopbackServer(CONTENT, behave=behave) as server:
        assert run(main()) < SOON


def test_a_cancelled_read_loses_nothing(server):
    gate = threading.Event()

    def behave(request):
        gate.wait(10 if request.range and request.range[0] >= 4 * BLOCK else 0)

    async def main():
        async with aio.stream(server.url, window=4 * BLOCK, **QUICK) as source:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await source.read(20 * BLOCK)
            gate.set()
            return await source.read(10) + bytes(await anext(source)) + await source.read()

    server.behave = behave
    assert run(main()) == CONTENT


def test_who_reads_a_stream_that_another_task_closes_gets_a_value_error():
    async def main():
        source = aio.stream(server.url, **QUICK)
        task = asyncio.create_task(source.read())
        await until(lambda: server.sent)
        await source.aclose()
        with pytest.raises(ValueError, match="closed"):
            await task
        await source.aclose()

    with LoopbackServer(CONTENT, behave=always(stall_after=100)) as server:
        run(main())


def test_a_stream_that_is_forgotten_warns_and_ends(server):
    async def main():
        source = aio.stream(server.url, window=4 * BLOCK, **QUICK)
        await source.read(1)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            del source
            gc.collect()
        assert [str(each.message) for each in seen] == [f"unclosed stream of {server.url}"]
        await until(lambda: not ours(), SOON)

    run(main())


@pytest.mark.parametrize(
    "url",
    [
        "{url}?X-Signature=secret#secret",
        "http://me:secret@127.0.0.1/x",
        "http://me:secret/secret@127.0.0.1/x",
        "me:x@secret",
        b"http://me:secret@127.0.0.1/x",
    ],
)
def test_the_warning_of_a_forgotten_stream_tells_no_secret(server, url):
    async def main():
        source = aio.stream(url if isinstance(url, bytes) else url.format(url=server.url), **QUICK)
        source._running()  # begun, and the loop has not heard yet how that went
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            del source
            gc.collect()
        assert len(seen) == 1
        assert "secret" not in str(seen[0].message)
        assert (server.url in str(seen[0].message)) == ("{url}" in str(url))
        await until(lambda: not ours(), SOON)

    run(main())


def test_blocks_that_are_on_their_way_when_a_stream_is_closed_are_let_go_of(server):
    async def main():
        async with aio.stream(server.url, **QUICK) as source:
            inflow = source._inflow
            while inflow._source.tell() < 2 * BLOCK:
                time.sleep(0.005)  # the first is posted, and the loop does not hear of it
        assert not inflow._blocks

    run(main())


@pytest.mark.parametrize("ending", ["end", "failure", "aclose"])
def test_however_a_stream_ends_its_window_is_let_go_of_at_once(ending):
    async def main():
        gc.disable()
        try:
            async with aio.stream(server.url, tries=1, **QUICK) as source:
                await source.read(10)
                window = weakref.ref(source._inflow._source)
                if ending != "aclose":
                    with contextlib.suppress(NetworkError, IncompleteError):
                        while await source.read(5 * BLOCK):
                            pass
            assert window() is None
        finally:
            gc.enable()

    cut = always(cut_after=BLOCK + 7) if ending == "failure" else None
    with LoopbackServer(CONTENT, behave=cut, rate=40 * BLOCK) as server:
        run(main())


def test_a_stream_without_a_size_is_read_to_its_end():
    async def main():
        async with aio.stream(server.url, **QUICK) as source:
            return source.content_length, await source.read()

    with LoopbackServer(CONTENT, behave=always(chunked=True, ranges=False)) as server:
        assert run(main()) == (None, CONTENT)


# --- open ----------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["read", "seek", "end", "at"]), st.integers(0, 26 * BLOCK), st.integers(0, 9999)
        ),
        max_size=12,
    )
)
def test_a_file_reads_like_a_file(steps):
    async def main(url):
        truth = io.BytesIO(CONTENT)
        async with aio.open(url, **QUICK) as file:
            assert file.size == len(CONTENT)
            for what, pos, size in steps:
                if what == "read":
                    assert await file.read(size) == truth.read(size)
                elif what == "seek":
                    assert await file.seek(pos) == truth.seek(pos)
                elif what == "end":
                    assert await file.seek(-size, os.SEEK_END) == truth.seek(-size, os.SEEK_END)
                else:
                    assert await file.read_at(size, pos) == CONTENT[pos : pos + size]
                assert await file.tell() == truth.tell()
            assert await file.read() == truth.read()

    with LoopbackServer(CONTENT) as server:
        run(main(server.url))


def test_a_file_is_opened_by_await_too(server):
    async def main():
        file = await aio.open(server.url, **QUICK)
        assert await file.read(10) == CONTENT[:10]
        assert await file is file
        await file.close()
        await file.close()
        assert file.closed
        for use in (file.read, file.tell, file):
            with pytest.raises(ValueError, match="closed"):
                await (use() if callable(use) else use)

    run(main())


def test_many_tasks_read_one_file_at_once(server):
    async def main():
        async with aio.open(server.url, **QUICK) as file:
            places = [(i * 7919) % len(CONTENT) for i in range(60)]
            found = await asyncio.gather(*(file.read_at(5000, pos) for pos in places))
            assert found == [CONTENT[pos : pos + 5000] for pos in places]
            ranges = [(pos, pos + 300) for pos in places]
            assert await file.read_ranges(iter(ranges)) == [CONTENT[a:b] for a, b in ranges]
            pieces = await asyncio.gather(*(file.read(BLOCK + 1) for _ in range(5)))
            assert b"".join(pieces) == CONTENT[: 5 * (BLOCK + 1)], (
                "reads take turns in the order of their calls"
            )

    run(main())


def test_errors_of_a_file_keep_their_types(server):
    async def main():
        for path, error in (("/gone", NotFoundError), ("/unsized", UnsizedSourceError)):
            with pytest.raises(error):
                async with aio.open(server.at(path), **QUICK):
                    pytest.fail("it is open")
        with pytest.raises(ValueError, match="readahead"):
            await aio.open(server.url, readahead=-1)
        async with aio.open(server.url, **QUICK) as file:
            with pytest.raises(ValueError):
                await file.seek(-1)

    def behave(request):
        if request.path == "/unsized":
            return Behaviour(chunked=True, ranges=False)
        return Behaviour(status=404) if request.path == "/gone" else None

    server.behave = behave
    run(main())


def stuck(request):
    """The beginning comes, the rest does not."""
    first = request.range[0] if request.range else 0
    return Behaviour(stall=True) if first >= BLOCK else Behaviour(stall_after=BLOCK)


@pytest.mark.parametrize("act", ["read", "read_at", "read_ranges"])
def test_a_cancelled_read_of_a_file_is_over_at_once_and_the_file_closes_soon(act):
    async def main():
        async with aio.open(server.url, readahead=0, **QUICK | {"timeout": 60.0}) as file:
            arguments = {"read": (), "read_at": (10, 9 * BLOCK), "read_ranges": ([(9 * BLOCK, 10 * BLOCK)],)}
            task = asyncio.create_task(getattr(file, act)(*arguments[act]))
            await until(lambda: len(server.requests) > 1)
            took = await cancelled(task)
            assert await file.read_at(10, 0) == CONTENT[:10]
            began = time.monotonic()
        return took, time.monotonic() - began

    with LoopbackServer(CONTENT, behave=stuck) as server:
        took, closing = run(main())
    assert took < SOON
    assert closing < SOON


def test_who_reads_a_file_that_another_task_closes_gets_a_value_error():
    async def main():
        file = await aio.open(server.url, readahead=0, **QUICK | {"timeout": 60.0})
        tasks = [asyncio.create_task(file.read_at(10, i * BLOCK)) for i in range(9, 24)]
        tasks.append(asyncio.create_task(file.read()))
        await until(lambda: len(server.requests) > 1)
        began = time.monotonic()
        await file.close()
        took = time.monotonic() - began
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(error, ValueError)
        return took

    with LoopbackServer(CONTENT, behave=stuck) as server:
        assert run(main()) < SOON


def test_a_position_is_told_after_the_reads_before_it(server):
    gate = threading.Event()

    async def main():
        async with aio.open(server.url, readahead=0, **QUICK) as file:
            reading, telling = asyncio.create_task(file.read(3 * BLOCK)), asyncio.create_task(file.tell())
            await until(lambda: len(server.requests) > 1)
            await asyncio.wait([telling], timeout=0.2)
            gate.set()
            return len(await reading), await telling

    server.behave = lambda request: Behaviour() if request.number == 0 or gate.wait(10) else None
    assert run(main()) == (3 * BLOCK, 3 * BLOCK)


@pytest.mark.parametrize("delay", [0.3, 1.2])
def test_an_opening_that_is_cancelled_is_over_soon_and_what_comes_later_is_closed(delay):
    async def main():
        task = asyncio.create_task(entered(server.url))
        await until(lambda: server.requests)
        took = await cancelled(task)
        await until(lambda: not ours())
        return took

    with LoopbackServer(CONTENT, behave=on(0, delay=delay)) as server:
        assert run(main()) < SOON


async def entered(url):
    async with aio.open(url, **QUICK):
        pytest.fail("it is open")


def test_an_opening_that_is_cancelled_just_when_it_is_open_is_closed(server):
    async def main():
        file = aio.open(server.url, **QUICK)
        task = asyncio.ensure_future(file.__aenter__())
        await asyncio.sleep(0)
        while file._opening._file is None:
            time.sleep(0.005)  # and the loop does not hear of it
        await cancelled(task)
        assert ours() == []

    run(main())


def test_a_file_that_is_closed_while_it_is_opened_is_not_open():
    async def main():
        file = aio.open(server.url, **QUICK)
        task = asyncio.ensure_future(file.__aenter__())
        await until(lambda: server.requests)
        await file.close()
        with pytest.raises(ValueError, match="closed"):
            await task

    with LoopbackServer(CONTENT, behave=on(0, delay=0.3)) as server:
        run(main())


# --- the module ----------------------------------------------------------------------------------


def test_the_module_costs_no_engine_until_it_is_used():
    code = "import sys, largefile; largefile.aio.download; print(*sys.modules)"
    env = {**os.environ, "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert not {"pycurl", "largefile.caching", "largefile.streaming", "rich"} & set(done.stdout.split())


def test_the_verbs_take_what_the_plain_ones_take(server, tmp_path):
    # An option that the plain verb does not know is a TypeError, so these are known.
    async def main():
        stream = aio.stream(
            server.url, headers={"X-A": "b"}, auth=("u", "p"), connect_timeout=5, tries=2, offset=5, **QUICK
        )
        assert await stream.read() == CONTENT[5:]
        async with aio.open(server.url, headers={"X-A": "c"}, cache_dir=tmp_path / "cache", **QUICK) as file:
            assert await file.read_at(5, 5) == CONTENT[5:10]

    run(main())
    assert {request.headers["x-a"] for request in server.requests} == {"b", "c"}
    assert all(
        ("authorization" in request.headers) == (request.headers["x-a"] == "b") for request in server.requests
    )


def test_a_busy_destination_is_told(server, tmp_path):
    async def main():
        first = asyncio.create_task(aio.download(slow.url, tmp_path / "x", **FILE))
        await until(lambda: slow.sent > BLOCK)
        with pytest.raises(CacheBusyError):
            await aio.download(slow.url, tmp_path / "x", **FILE)
        await cancelled(first)

    with LoopbackServer(CONTENT, rate=4 * BLOCK) as slow:
        run(main())


def test_a_cancellation_of_ours_is_not_one_of_asyncio():
    assert not issubclass(CancelledError, asyncio.CancelledError)
    assert largefile.aio is aio
