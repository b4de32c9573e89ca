"""After a fork a child has its own connections, and no download of its parent's."""

from __future__ import annotations

import gc
import multiprocessing
import os

import pytest
from disk_helpers import noise
from processes import in_place, until

import largefile
from largefile.errors import CacheBusyError, InternalError
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer

CONTENT = noise(1 << 20)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def in_child(act, *args):
    """What `act` gives in a forked child, or the name of what it raises."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child():
        try:
            answers.put(act(*args))
        except BaseException as error:  # noqa: BLE001 - told to the parent
            answers.put(type(error).__name__)

    process = context.Process(target=child)
    process.start()
    answer = answers.get()
    process.join(20)
    assert process.exitcode == 0
    return answer


def test_a_reader_made_before_a_fork_serves_both_sides_by_connections_of_their_own():
    with LoopbackServer(CONTENT) as server, largefile.HTTPReader(server.url, proxy="") as reader:
        assert reader.identity.size == len(CONTENT)  # its answer is held on an open connection

        def fetch(target):
            probe = reader.probe(0, 99, lambda: None)
            return probe.identity.size, server.port, reader.transport() is target

        size, _, same = in_child(fetch, reader.transport())
        assert (size, same) == (len(CONTENT), False)
        with reader.get_reader(10, 19) as stream:
            assert stream.read() == CONTENT[10:20]
        probe = reader.probe(0, 99, lambda: None)
        assert probe.fetch is not None, "the parent's own answer is still its own"
        assert len({request.connection for request in server.requests}) >= 2


def test_a_job_of_the_parent_is_over_in_the_child_and_says_so(tmp_path):
    with LoopbackServer(CONTENT, behave=lambda request: Behaviour(stall_after=0)) as server:
        job = largefile.start_download(server.url, tmp_path / "x", proxy="", timeout=60)

        def ask():
            return job.result(timeout=10)

        assert in_child(ask) == InternalError.__name__
        assert not job.done, "the parent's goes on"
        job.cancel()
        with pytest.raises(largefile.CancelledError):
            job.result(timeout=10)


def test_a_child_that_was_forked_in_the_middle_holds_nothing_of_its_parent_s_download(tmp_path):
    """It lives on when the parent's download is over: neither the lock nor the end is its business."""
    dest = tmp_path / "x"
    with LoopbackServer(CONTENT, rate=1 << 20) as server:
        job = largefile.start_download(server.url, dest, proxy="", block_size=64 << 10)
        until(lambda: in_place(dest) > 0, what="a first block")
        context = multiprocessing.get_context("fork")
        answers, over = context.SimpleQueue(), context.Event()

        def child():
            gc.collect()  # whatever of the parent's is dropped here is dropped for good
            try:
                largefile.download(server.url, dest, proxy="")
            except CacheBusyError as error:
                answers.put(error.owner)
            over.wait(60)

        process = context.Process(target=child)
        process.start()
        assert answers.get().startswith(f"pid {os.getpid()} on "), "the lock is the parent's"
        job.cancel()
        with pytest.raises(largefile.CancelledError):
            job.result(timeout=20)
        server.rate = None
        status = largefile.download(server.url, dest, proxy="")  # the child, which lives, holds no lock
        assert process.is_alive()
        over.set()
        process.join(20)
    assert status.resumed_bytes > 0
    assert dest.read_bytes() == CONTENT


def test_forks_at_any_moment_of_a_download_cost_it_nothing(tmp_path):
    with LoopbackServer(CONTENT, rate=2 << 20) as server:
        job = largefile.start_download(server.url, tmp_path / "parent", proxy="", block_size=64 << 10)
        forks = 0
        while not job.done and forks < 10:

            def fetch(number=forks):
                return largefile.download(server.url, tmp_path / str(number), proxy="").complete

            assert in_child(fetch) is True
            assert (tmp_path / str(forks)).read_bytes() == CONTENT
            forks += 1
        status = job.result(timeout=30)
    assert forks > 0
    assert (status.downloaded_bytes, status.download_retries) == (len(CONTENT), 0)
    assert (tmp_path / "parent").read_bytes() == CONTENT


def test_a_child_downloads_by_itself(tmp_path):
    with LoopbackServer(CONTENT) as server:
        largefile.download(server.url, tmp_path / "parent", proxy="")

        def fetch():
            return largefile.download(server.url, tmp_path / "child", proxy="").complete

        assert in_child(fetch) is True
    assert (tmp_path / "child").read_bytes() == (tmp_path / "parent").read_bytes() == CONTENT
