"""A signal's handler that raises may strike in a read: who goes on reading loses nothing."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import pickle
import random
import signal
import threading
from pathlib import Path

import pytest
from stream_tools import open_stream

import largefile
from largefile.testing.server import LoopbackServer

CONTENT = random.Random(6).randbytes(6_000_003)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


#: Where it strikes: in our own code, and in what of the standard library that uses.
STRUCK = (str(Path(largefile.__file__).parent), threading.__file__, contextlib.__file__)


class Struck(KeyboardInterrupt):
    """What the handler raises."""


class Striker:
    """Raises Struck in the main thread, again and again, where it is `armed`; once for each time."""

    def __init__(self, every):
        self.armed = False
        self._every = every

    def _strike(self, number, frame):
        # Not in a callback of the collector, say, where nothing can be raised.
        if self.armed and frame.f_code.co_filename.startswith(STRUCK):
            self.armed = False
            raise Struck

    def __enter__(self):
        self._before = signal.signal(signal.SIGALRM, self._strike)
        signal.setitimer(signal.ITIMER_REAL, self._every, self._every)
        return self

    def __exit__(self, *exc):
        self.armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)


def by_block(source):
    return bytes(next(source, b""))


def by_read(source):
    return source.read(10_007)


@pytest.mark.parametrize("read", [by_block, by_read])
def test_a_read_that_was_struck_begins_again_where_the_position_says(read):
    struck = 0
    with LoopbackServer(CONTENT) as server:
        source = open_stream(server, block_size=4096, window=1 << 16, digest=DIGEST)
        with source, Striker(0.0007) as striker:
            over = False
            while not over:
                before = source.tell()
                try:
                    striker.armed = True
                    found = read(source)
                    striker.armed = False
                except Struck:
                    struck += 1
                    continue
                assert found == CONTENT[before : before + len(found)]
                over = not found
            status = source.status()
    assert struck > 10
    assert source.tell() == len(CONTENT)
    assert status.complete
    assert status.verified_by == "digest"


def test_a_handler_that_closes_the_stream_ends_the_read_that_it_interrupts():
    with LoopbackServer(CONTENT, rate=100_000) as server:
        source = open_stream(server, block_size=1 << 20, background=False)

        def strike(number, frame):
            source.close()

        before = signal.signal(signal.SIGALRM, strike)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(ValueError, match="closed"):
                source.read()
        finally:
            signal.signal(signal.SIGALRM, before)
        assert source.closed
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("largefile")]


def test_reads_of_several_threads_take_turns():
    found = []
    with LoopbackServer(CONTENT) as server, open_stream(server, block_size=4096) as source:

        def read():
            while piece := source.read(30_011):
                found.append(piece)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(map(len, found)) == len(CONTENT)
    starts = sorted(CONTENT.index(piece[:2000]) for piece in found)
    assert all(piece in CONTENT for piece in found)
    assert starts == list(range(0, len(CONTENT), 30_011))


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_stream_is_neither_copied_nor_pickled(how):
    with LoopbackServer(CONTENT) as server, open_stream(server) as source:
        with pytest.raises(TypeError, match="can not be copied or pickled"):
            how(source)
        assert source.read() == CONTENT


def test_an_empty_digest_is_a_mistake_and_not_no_digest():
    with LoopbackServer(CONTENT) as server:
        with pytest.raises(ValueError):
            open_stream(server, digest="")
