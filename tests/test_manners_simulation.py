"""How many transfers a governed download ends up with, on a virtual clock over shaped networks."""

from __future__ import annotations

import random

import pytest

from largefile.disk.buffers import BufferStore
from largefile.engine.crew import Crew
from largefile.rules.governor import Governor
from largefile.rules.schedule import Scheduler
from largefile.testing.simulated_server import SimulatedServer, content
from largefile.testing.simulated_source import SimulatedSource
from largefile.testing.simulator import SimulatedTransport, VirtualClock

BLOCK = 2048
PER_TRANSFER = 50_000  # bytes a second


class Network(SimulatedTransport):
    """Each transfer has its own speed, and all together no more than `total` bytes a second."""

    total = 10**9

    def poll(self, timeout):
        self.throttle(int(min(PER_TRANSFER, self.total / max(1, len(self._transfers)))))
        return super().poll(timeout)


class Small(SimulatedServer):
    """Serves `most` transfers and refuses the others."""

    most, transport, refused = 10**9, None, 0

    def _good(self, first, stop):
        answered = sum(1 for t in self.transport._transfers.values() if t.act.response.status == 206)
        if answered >= self.most:
            self.refused += 1
            return self._head(503, {}, b"busy")
        return super()._good(first, stop)


class World:
    """One download of `seconds` for eight transfers, and how many were allowed each time."""

    def __init__(self, *, seconds, most=10**9, total=10**9, host=None, governed=True):
        self.size = int(8 * PER_TRANSFER * seconds)
        self.clock = VirtualClock()
        self.server = Small(self.size, seed=1, latency=0.01)
        self.server.most = most
        self.transport = self.server.transport = Network(self.server, self.clock, seed=1, max_chunk=4096)
        self.transport.total = total
        self.source = SimulatedSource(self.transport, self.clock)
        if host is not None:
            self.source.only_host = host
        self.seen = []  # (time, transfers allowed)
        self.governed = governed

    def run(self):
        buffer = bytearray(self.size)
        store = BufferStore(buffer, self.size, block_size=BLOCK)
        probe = self.source.probe(0, BLOCK - 1, lambda: None)
        start = self.source.only_host.concurrency or 8
        self.scheduler = Scheduler(
            store.byte_ranges.bitmap,
            block_size=BLOCK,
            content_size=self.size,
            concurrency=start,
            max_span=8 * BLOCK,
            rng=random.Random(1),
        )
        governor = Governor(start, self.clock()) if self.governed else None
        crew = Crew(self.scheduler, self.source, store, [self.transport], governor=governor, clock=self.clock)
        crew.adopt(probe.fetch, probe.verdict, probe.sink)
        while crew.step():
            self.seen.append((self.clock(), self.scheduler.allowed))
        crew.end()
        assert buffer == content(1, 0, self.size)
        return self

    def typical(self, after):
        """The number that was allowed most often after so many seconds."""
        numbers = [number for at, number in self.seen if at > after]
        return max(set(numbers), key=numbers.count)


def test_where_each_connection_has_its_own_speed_it_climbs_to_sixteen():
    world = World(seconds=12).run()
    assert world.typical(after=3.0) == 16
    assert world.transport.most_in_flight == 16
    assert world.source.only_host.concurrency == 16  # the next one begins there


def test_a_download_begins_with_what_paid_for_the_last_one():
    host = World(seconds=12).run().source.only_host
    world = World(seconds=2, host=host).run()
    assert max(number for at, number in world.seen if at < 0.3) == 16


def test_where_the_total_is_fixed_it_stays_near_the_start():
    world = World(seconds=12, total=8 * PER_TRANSFER).run()
    assert world.typical(after=0.0) == 8
    assert world.transport.most_in_flight <= 12
    assert world.source.only_host.concurrency == 8


@pytest.mark.parametrize("governed", [True, False])
def test_a_server_that_serves_five_is_found_out_with_few_refusals(governed):
    world = World(seconds=12, most=5, governed=governed).run()
    assert len(world.server.requests) > 250
    assert world.typical(after=2.0) == 5
    assert world.server.refused <= 12
    assert world.source.only_host.limit(world.clock()) == 5
    again = World(seconds=6, most=5, governed=governed, host=world.source.only_host).run()
    assert again.server.refused <= 2
    assert again.typical(after=0.0) == 5


def test_what_the_user_said_is_never_exceeded():
    assert World(seconds=6, governed=False).run().transport.most_in_flight == 8


def test_what_was_waited_for_before_is_no_time_to_spare(monkeypatch):
    told = []

    def look(self, received, now, *, waited, busy, look=Governor.look):
        told.append((waited, now))
        return look(self, received, now, waited=waited, busy=busy)

    monkeypatch.setattr(Governor, "look", look)
    world = World(seconds=2)
    world.transport.waited = 100.0  # for the first answer, maybe
    world.run()
    assert told
    assert all(waited <= now for waited, now in told)
