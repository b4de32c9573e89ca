"""What a driver owes holds for every driver: libcurl's, the thread driver, and the simulator."""

from __future__ import annotations

import io
import random
import socketserver
import threading

import pytest
from processes import until

from largefile.core.sink import PAUSE, BlockSink
from largefile.disk.buffers import BufferStore
from largefile.events import Answered, Ended, Fetch, Outcome
from largefile.testing.simulated_server import SimulatedServer, content
from largefile.testing.simulator import SimulatedTransport, VirtualClock
from largefile.wire.curl import CurlSettings, CurlTransport
from largefile.wire.threads import ThreadTransport

SIZE, BLOCK = 40_000, 1000
CONTENT = content(11, 0, SIZE)


class Handler(socketserver.StreamRequestHandler):
    """One ranged answer a connection, in the server's mood."""

    def handle(self):
        first, last = 0, SIZE - 1
        while (line := self.rfile.readline().strip()) != b"":
            if line.lower().startswith(b"range: bytes="):
                first, last = (int(edge) for edge in line[13:].split(b"-"))
        mood, body = self.server.mood, CONTENT[first : last + 1]
        if mood == "silent":
            self.server.over.wait()
            return
        self.wfile.write(
            b"HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Range: bytes %d-%d/%d\r\n"
            b"Content-Length: %d\r\n\r\n" % (first, last, SIZE, len(body))
        )
        self.wfile.write(body if mood == "good" else body[: len(body) // 2])
        self.wfile.flush()
        if mood == "stall":
            self.server.over.wait()


class LoopbackServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    mood = "good"

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    def handle_error(self, request, client_address):
        """A client that hangs up is what these tests are about."""

    def stop(self):
        self.over.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


class CurlWorld:
    def __init__(self):
        self.server = LoopbackServer()
        self.transport = CurlTransport(CurlSettings(proxy=""))

    def behave(self, mood):
        self.server.mood = mood

    def fetch(self, first, last):
        return Fetch(first, last, f"http://127.0.0.1:{self.server.server_address[1]}/")

    def close(self):
        self.transport.close()
        self.server.stop()


class Stalling(io.BytesIO):
    """Half of the bytes, and then nothing until the test is over."""

    def __init__(self, data, over):
        super().__init__(data)
        self.over = over

    def read(self, size=-1):
        data = super().read(size)
        if not data:
            self.over.wait()
        return data

    def readinto(self, room):
        size = super().readinto(room)
        if not size:
            self.over.wait()
        return size


class ThreadWorld:
    name = "memory"

    def __init__(self):
        self.mood = "good"
        self.over = threading.Event()
        self.before = set(threading.enumerate())
        self.transport = ThreadTransport(self)

    def behave(self, mood):
        self.mood = mood

    def fetch(self, first, last):
        return Fetch(first, last, "memory")

    def get_reader(self, first, last):
        data = CONTENT[first : last + 1]
        if self.mood == "silent":
            self.over.wait()
        half = data[: len(data) // 2]
        return {"good": io.BytesIO(data), "cut": io.BytesIO(half)}.get(self.mood) or Stalling(half, self.over)

    def close(self):
        self.transport.close()
        self.over.set()
        for thread in set(threading.enumerate()) - self.before:
            thread.join()


class SimulatedWorld:
    def __init__(self):
        self.server = SimulatedServer(SIZE, 11, {"good": 1.0})
        self.transport = SimulatedTransport(self.server, VirtualClock())

    def behave(self, mood):
        self.server.moods = {mood: 1.0}

    def fetch(self, first, last):
        return Fetch(first, last, "simulated://content")

    def close(self):
        self.transport.close()


@pytest.fixture(params=[CurlWorld, ThreadWorld, SimulatedWorld], ids=["curl", "threads", "simulator"])
def world(request):
    world = request.param()
    yield world
    world.close()


class Dole:
    """A lane like that of a ring: it has `free` places of `piece` bytes, and counts how often it had none."""

    def __init__(self, buffer, stop, piece):
        self.buffer, self.stop, self.piece = buffer, stop, piece
        self.free = self.refusals = 0
        self.place = bytearray(piece)
        self.start = self.until = 0

    def settle(self, sink):
        if sink.at == self.until:
            self.buffer[self.start : self.until] = self.place[: self.until - self.start]
            self.start = self.until

    def more(self, sink):
        if not self.free:
            self.refusals += 1
            return False
        self.free -= 1
        self.start, self.until = sink.at, min(sink.at + self.piece, self.stop)
        sink.place(self.place, 0, self.until)
        return True

    def release(self):
        pass


class Transfer:
    """A fetch of some blocks on its way into a buffer, and what was heard of it."""

    def __init__(self, world, first_block=0, stop_block=SIZE // BLOCK, piece=None):
        self.world = world
        self.first, self.stop = first_block * BLOCK, stop_block * BLOCK
        self.buffer = bytearray(b"\xee" * SIZE)
        self.store = BufferStore(self.buffer, SIZE, BLOCK)
        self.lane = self.store.lane()
        self.sink = BlockSink()
        self.lane.aim(self.sink, first_block, stop_block)
        if piece is not None:
            self.lane = Dole(self.buffer, self.stop, piece)
            self.sink.aim(self.lane, self.first, self.stop, BLOCK, SIZE)
        self.fetch = world.fetch(self.first, self.stop - 1)
        self.events = []
        world.transport.start(self.fetch, self.sink)

    def hear(self, kind):
        """Poll until there is such an event of this fetch."""
        while not any(isinstance(event, kind) for event in self.events):
            poll(self.world, [self])
        return next(event for event in self.events if isinstance(event, kind))

    def admit(self):
        self.hear(Answered)
        self.world.transport.admit(self.fetch)
        return self

    def feed(self, places=1):
        """Free some places, and go on if that is what it waits for."""
        self.lane.free += places
        if self.sink.held:
            self.world.transport.resume(self.fetch)
        return self

    def wait_held(self, times):
        """Poll until its lane has had no place so many times."""
        while self.lane.refusals < times:
            poll(self.world, [self], 0.02)
        assert self.sink.held
        return self

    def release(self):
        self.sink.release()
        self.lane.release()
        return bytes(self.buffer)


def poll(world, transfers, timeout=1.0):
    for event in world.transport.poll(timeout):
        for transfer in transfers:
            if event.fetch is transfer.fetch:
                transfer.events.append(event)


def only(first, stop):
    """The content from `first` to `stop`, and nothing anywhere else."""
    return b"\xee" * first + CONTENT[first:stop] + b"\xee" * (SIZE - stop)


UNTOUCHED = only(0, 0)


def test_no_byte_reaches_the_sink_before_admit(world):
    transfer = Transfer(world)
    transfer.hear(Answered)
    for _ in range(5):
        poll(world, [transfer], 0.02)
    assert transfer.sink.at == 0
    assert [type(event) for event in transfer.events] == [Answered]
    world.transport.stop(transfer.fetch)
    transfer.hear(Ended)
    assert transfer.release() == UNTOUCHED


@pytest.mark.parametrize(("first", "stop"), [(0, 40), (7, 8), (13, 29)])
def test_an_admitted_body_fills_its_blocks_and_ends_once(world, first, stop):
    transfer = Transfer(world, first, stop).admit()
    assert transfer.hear(Ended).outcome is Outcome.DONE
    poll(world, [transfer], 0.02)
    assert [type(event) for event in transfer.events] == [Answered, Ended]
    assert transfer.store.byte_ranges.count == stop - first
    assert transfer.release() == only(first * BLOCK, stop * BLOCK)


@pytest.mark.parametrize("blocks", [1, 40], ids=["drained", "dropped"])
def test_a_refused_body_leaves_no_byte(world, blocks):
    transfer = Transfer(world, 0, blocks)
    transfer.hear(Answered)
    world.transport.refuse(transfer.fetch)
    assert transfer.hear(Ended).outcome is Outcome.REFUSED
    assert transfer.release() == UNTOUCHED


def test_a_stop_is_answered_where_no_answer_comes(world):
    world.behave("silent")
    transfer = Transfer(world)
    poll(world, [transfer], 0.02)
    world.transport.stop(transfer.fetch)
    assert transfer.hear(Ended).outcome is Outcome.HALTED
    assert transfer.release() == UNTOUCHED


def test_a_stop_is_answered_within_a_body_that_stalls(world):
    world.behave("stall")
    transfer = Transfer(world).admit()
    while transfer.sink.at == 0:
        poll(world, [transfer], 0.02)
    world.transport.stop(transfer.fetch)
    world.transport.stop(transfer.fetch)
    assert transfer.hear(Ended).outcome is Outcome.HALTED
    at = transfer.sink.at
    poll(world, [transfer], 0.02)
    assert transfer.sink.at == at
    assert [type(event) for event in transfer.events] == [Answered, Ended]
    assert transfer.release() == only(0, at)


def test_a_halted_sink_ends_its_transfer(world):
    transfer = Transfer(world)
    transfer.hear(Answered)
    transfer.sink.halt()
    world.transport.admit(transfer.fetch)
    assert transfer.hear(Ended).outcome is Outcome.HALTED
    assert transfer.release() == UNTOUCHED


def test_a_body_that_is_cut_short_says_so_and_keeps_what_came(world):
    world.behave("cut")
    transfer = Transfer(world).admit()
    assert transfer.hear(Ended).outcome is Outcome.CUT
    at = transfer.sink.at
    assert at < SIZE
    assert transfer.store.byte_ranges.count == at // BLOCK
    assert transfer.release() == only(0, at)


def test_a_body_never_goes_beyond_the_limit_of_its_sink(world):
    transfer = Transfer(world)
    transfer.hear(Answered)
    transfer.sink.limit = 1500
    world.transport.admit(transfer.fetch)
    transfer.hear(Ended)
    assert transfer.sink.at <= 1500
    assert transfer.release() == only(0, transfer.sink.at)


def test_transfers_beside_each_other_do_not_mix(world):
    transfers = [Transfer(world, 5 * number, 5 * number + 5) for number in range(8)]
    waiting = list(transfers)
    while waiting:
        poll(world, transfers)
        for transfer in waiting:
            if transfer.events:
                world.transport.admit(transfer.fetch)
        waiting = [transfer for transfer in waiting if not transfer.events]
    for number, transfer in enumerate(transfers):
        while not isinstance(transfer.events[-1], Ended):
            poll(world, transfers)
        assert transfer.events[-1].outcome is Outcome.DONE
        assert transfer.release() == only(5000 * number, 5000 * number + 5000)


def test_nothing_more_comes_of_a_fetch_that_has_ended(world):
    transfer = Transfer(world).admit()
    transfer.hear(Ended)
    world.transport.stop(transfer.fetch)
    world.transport.refuse(transfer.fetch)
    world.transport.admit(transfer.fetch)
    poll(world, [transfer], 0.02)
    assert len(transfer.events) == 2
    transfer.release()


def test_a_wake_from_another_thread_ends_the_next_poll(world):
    thread = threading.Thread(target=world.transport.wake)
    thread.start()
    assert not world.transport.poll(1000.0)
    thread.join()


def test_the_time_in_which_there_was_nothing_to_do_is_counted(world):
    before = world.transport.waited
    world.transport.poll(0.05)
    assert before == 0.0
    assert 0.04 < world.transport.waited < 1000.0  # the virtual clock of a simulation may go further


def test_a_transport_closes_over_transfers_in_every_state(world):
    Transfer(world)
    Transfer(world).hear(Answered)
    world.behave("silent")
    Transfer(world)


# --- without a place ---------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [700, BLOCK, 4096, SIZE])
def test_a_body_without_a_place_waits_for_one_and_nothing_of_it_is_lost(world, piece):
    transfer = Transfer(world, 3, 40, piece).admit()
    while not any(isinstance(event, Ended) for event in transfer.events):
        transfer.feed(transfer.sink.held and not transfer.lane.free)
        poll(world, [transfer], 0.02)
    assert transfer.events[-1].outcome is Outcome.DONE
    assert transfer.sink.received == SIZE - transfer.first
    assert transfer.release() == only(transfer.first, SIZE)


def test_a_held_body_stays_where_it_is_until_it_is_resumed(world):
    transfer = Transfer(world, piece=2500).admit().wait_held(1).feed().wait_held(2)
    transfer.lane.free = 100
    for _ in range(5):
        poll(world, [transfer], 0.02)
    assert (transfer.sink.at, transfer.sink.held) == (2500, True)
    assert [type(event) for event in transfer.events] == [Answered]
    world.transport.resume(transfer.fetch)
    assert transfer.hear(Ended).outcome is Outcome.DONE
    assert transfer.release() == CONTENT


@pytest.mark.parametrize("speed", [1 << 30, 0], ids=["limited", "unlimited"])
def test_another_speed_while_nothing_flows_does_not_stop_it_for_good(world, speed):
    world.transport.throttle((1 << 30) - speed)
    transfer = Transfer(world, piece=2500)
    transfer.hear(Answered)
    world.transport.throttle(speed)
    for _ in range(3):
        poll(world, [transfer], 0.02)
    assert (transfer.sink.at, transfer.lane.refusals) == (0, 0), "and does not let it begin either"
    transfer.admit()
    until(lambda: poll(world, [transfer], 0.1) or transfer.sink.held, what="a want of places", timeout=10)
    world.transport.throttle((1 << 30) - speed)
    poll(world, [transfer], 0.02)
    assert transfer.lane.refusals == 1
    transfer.feed(100)
    until(lambda: poll(world, [transfer], 0.1) or len(transfer.events) > 1, what="the end", timeout=10)
    assert transfer.release() == CONTENT


def test_a_resume_without_a_place_holds_again_and_takes_nothing_twice(world):
    transfer = Transfer(world, piece=1500).admit().wait_held(1).feed().wait_held(2)
    for times in range(3, 8):
        world.transport.resume(transfer.fetch)
        transfer.wait_held(times)
        assert transfer.sink.at == 1500
    transfer.feed(100)
    assert transfer.hear(Ended).outcome is Outcome.DONE
    assert transfer.sink.received == SIZE
    assert transfer.release() == CONTENT


def test_a_stop_is_answered_while_a_body_is_held(world):
    transfer = Transfer(world, piece=1500).admit().wait_held(1).feed().wait_held(2)
    world.transport.stop(transfer.fetch)
    assert transfer.hear(Ended).outcome is Outcome.HALTED
    transfer.feed(100)
    for _ in range(5):
        world.transport.resume(transfer.fetch)
        poll(world, [transfer], 0.02)
    assert (len(transfer.events), transfer.sink.at) == (2, 1500)
    assert transfer.release() == only(0, 1500)


def test_a_halted_sink_that_is_held_ends_its_transfer_at_a_resume(world):
    transfer = Transfer(world, piece=1500).admit().wait_held(1).feed().wait_held(2)
    transfer.sink.halt()
    transfer.feed(100)
    assert transfer.hear(Ended).outcome is Outcome.HALTED
    assert transfer.release() == only(0, 1500)


def test_a_cut_that_a_held_body_hides_is_told_after_what_came(world):
    world.behave("cut")
    transfer = Transfer(world, piece=700).admit().wait_held(1)
    while not any(isinstance(event, Ended) for event in transfer.events):
        transfer.feed()
        poll(world, [transfer], 0.02)
    assert transfer.events[-1].outcome is Outcome.CUT
    at = transfer.sink.at
    assert transfer.sink.received == at < SIZE
    assert transfer.release() == only(0, at - at % 700)


def test_nothing_is_resumed_that_is_not_held(world):
    transfer = Transfer(world, 0, 1)
    world.transport.resume(transfer.fetch)
    transfer.hear(Answered)
    other = BlockSink()  # a sink that is still held from elsewhere must not be let in before the verdict
    lane = Dole(transfer.buffer, SIZE, 10)
    other.aim(lane, 0, SIZE, BLOCK, SIZE)
    assert other(b"x") == PAUSE
    lane.free = SIZE
    fetch = world.fetch(0, SIZE - 1)
    world.transport.start(fetch, other)
    while not any(event.fetch is fetch for event in world.transport.poll(1.0)):
        pass
    for _ in range(5):
        world.transport.resume(transfer.fetch)
        world.transport.resume(fetch)
        poll(world, [transfer], 0.02)
    assert transfer.sink.at == other.at == 0
    world.transport.admit(transfer.fetch)
    assert transfer.hear(Ended).outcome is Outcome.DONE
    world.transport.resume(transfer.fetch)
    world.transport.resume(world.fetch(0, 9))
    poll(world, [transfer], 0.02)
    assert len(transfer.events) == 2
    assert transfer.release() == only(0, BLOCK)
    world.transport.stop(fetch)


def test_a_held_body_is_not_in_the_way_of_others(world):
    held = Transfer(world, 0, 20, 300).admit().wait_held(1)
    for number in range(4):
        other = Transfer(world, 20 + 5 * number, 25 + 5 * number).admit()
        assert other.hear(Ended).outcome is Outcome.DONE
        assert other.release() == only(other.first, other.stop)
    assert (held.sink.at, held.sink.held) == (0, True)
    held.feed(1000)
    assert held.hear(Ended).outcome is Outcome.DONE
    assert held.release() == only(0, 20 * BLOCK)


def test_many_held_bodies_are_each_fed_at_their_own_pace(world):
    rng, pieces = random.Random(5), [100, 900, 1000, 1001, 4999, 5000]
    transfers = [Transfer(world, 5 * n, 5 * n + 5, piece) for n, piece in enumerate(pieces)]
    waiting = list(transfers)
    while not all(transfer.events for transfer in transfers):
        poll(world, transfers)
    for transfer in transfers:
        world.transport.admit(transfer.fetch)
    while waiting:
        for transfer in rng.sample(waiting, len(waiting)):
            transfer.feed(rng.randint(0, 2))
        poll(world, transfers, 0.01)
        waiting = [each for each in waiting if not isinstance(each.events[-1], Ended)]
    for transfer in transfers:
        assert transfer.events[-1].outcome is Outcome.DONE
        assert transfer.release() == only(transfer.first, transfer.stop)


def test_a_transport_closes_over_a_held_body(world):
    Transfer(world, piece=1500).admit().wait_held(1).feed().wait_held(2)
