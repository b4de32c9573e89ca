"""The parts of an isolated download by themselves: the board, what crosses, and the child's side."""

from __future__ import annotations

import logging
import os
import pickle
import threading
from contextlib import contextmanager

import pytest
from processes import until
from server_tools import BLOCK, noise

from largefile import errors
from largefile.engine.board import HEAD, SIZE, Board, shared_memory
from largefile.engine.channel import Channel
from largefile.engine.child import CELLS, Child, as_byte
from largefile.engine.crossing import Ended, Failed, Order, as_data, pack, unpack
from largefile.engine.options import DeliveryOptions, SessionOptions
from largefile.errors import CancelledError, InternalError, NotFoundError
from largefile.stats import DownloadStatus
from largefile.testing.server import LoopbackServer

CONTENT = noise(20 * BLOCK)


@pytest.fixture
def boards():
    fd = shared_memory()
    ours, theirs = Board(fd), Board(fd)
    os.close(fd)
    return ours, theirs


# --- the board ------------------------------------------------------------------------------------


def test_a_board_shows_the_newest(boards):
    ours, theirs = boards
    for number in range(5):
        ours.show(["x" * number, number])
        assert theirs.look() == ["x" * number, number]
        assert theirs.look() is theirs.look()


@pytest.mark.parametrize("at", [HEAD.size, HEAD.size + 20, 0, HEAD.size - 1])
def test_a_look_in_the_middle_of_a_change_gives_what_was_before(boards, at):
    ours, theirs = boards
    ours.show(("old", 1))
    assert theirs.look() == ("old", 1)
    old = ours._map[:]
    ours.show(("new and longer", 2))
    torn = ours._map[: at + 1] + old[at + 1 :]
    ours._map[:] = torn
    assert theirs.look() == ("old", 1)


def test_a_board_takes_what_fits(boards):
    ours, theirs = boards
    with pytest.raises(ValueError, match="do not fit"):
        ours.show(bytes(SIZE))
    assert theirs.look() is None
    ours.show(bytes(SIZE - 64))
    assert theirs.look() == bytes(SIZE - 64)


def test_empty_and_full_are_shown_only_by_what_is_that():
    assert [as_byte(share) for share in (0.0, 1e-9, 0.5, 1 - 1e-9, 1.0)] == [0, 1, 128, 254, 255]


# --- the channel ----------------------------------------------------------------------------------


def test_a_channel_keeps_messages_of_many_threads_whole():
    ours, theirs = Channel.pair()
    sent = [(name, bytes([name]) * (name * 5000)) for name in range(1, 30)]
    senders = [threading.Thread(target=ours.send, args=[message]) for message in sent]
    with ours, theirs:
        for sender in senders:
            sender.start()
        got = [theirs.receive() for _ in senders]
        for sender in senders:
            sender.join()
        assert sorted(got) == sent
        assert theirs.receive(timeout=0.0) is None


@pytest.mark.parametrize("left", [b"", b"\x10", b"\x10\0\0\0", b"\x10\0\0\0 less"])
def test_a_channel_ends_wherever_the_other_process_did(left):
    ours, theirs = Channel.pair()
    with theirs:
        ours._socket.sendall(left)
        ours.close()
        with pytest.raises(EOFError):
            theirs.receive(timeout=1.0)
        with pytest.raises(OSError):
            theirs.send("anything")
    with pytest.raises(OSError):
        ours.send("anything")


@pytest.mark.parametrize("left", [b"\x10", b"\x10\0\0\0", b"\x10\0\0\0 less"])
def test_a_message_that_is_never_whole_is_waited_for_no_longer_than_was_said(left):
    ours, theirs = Channel.pair()
    with ours, theirs:
        ours._socket.sendall(left)  # and a fork keeps this end open
        got = []
        reader = threading.Thread(target=lambda: got.append(theirs.receive(timeout=0.01)), daemon=True)
        reader.start()
        reader.join(10)
        assert got == [None]


# --- what crosses ---------------------------------------------------------------------------------


def test_what_is_data_is_made_of_plain_types():
    class Number(int):
        pass

    class Text(str):
        __slots__ = ()

        def __str__(self):
            return "something else"

    found = as_data("x", {Text("a"): [Number(3), True, None, 1.5], "b": ()})
    assert found == {"a": (3, True, None, 1.5), "b": ()}
    assert [type(key) for key in found] == [str, str]
    assert [type(part) for part in found["a"]] == [int, bool, type(None), float]


@pytest.mark.parametrize("value", [object(), len, [object()], {1: {2: threading.Lock()}}])
def test_what_is_no_data_is_refused(value):
    with pytest.raises(ValueError, match="auth is a"):
        as_data("auth", value)


def test_an_error_crosses_with_its_status_and_its_causes():
    error, cause = NotFoundError("404"), OSError(5, "disk", "name")
    error.status = DownloadStatus(downloaded_bytes=7)
    error.__cause__ = cause
    cause.__cause__ = KeyError("k")
    copy = unpack(pack(error))
    assert type(copy) is NotFoundError
    assert copy.status == error.status
    assert (copy.__cause__.errno, copy.__cause__.filename) == (5, "name")
    assert copy.__cause__.__cause__.args == ("k",)


def test_a_ring_of_causes_ends():
    error = NotFoundError("404")
    error.__cause__ = error
    assert len(pack(error)) < 20


class Picky(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def test_an_error_that_does_not_survive_pickling_is_told_in_words():
    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(Picky(1, 2)))
    copy = unpack(pack(Picky(1, 2)))
    assert type(copy) is InternalError
    assert str(copy) == "Picky: 1 and 2"


@pytest.mark.parametrize("returncode", [-9, None])
def test_a_death_survives_pickling(returncode):
    error = errors.EngineDiedError("why", returncode)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.reason, copy.returncode, str(copy)) == ("why", returncode, str(error))


# --- the child ------------------------------------------------------------------------------------


@pytest.fixture
def restored_log():
    log = logging.getLogger("largefile")
    before = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.level, log.propagate = before


@contextmanager
def serving(board, parent, order):
    """A child on a thread of ours, until it is over; the other end of its channel."""
    ours, theirs = Channel.pair()
    with ours, theirs:
        thread = threading.Thread(target=Child(theirs, board, parent).run)
        thread.start()
        ours.send(order)
        yield ours
        thread.join(20)
        assert not thread.is_alive()


def order(server, dest, **more):
    usual = {
        "url": server.url,
        "reader": {"proxy": ""},
        "dest": str(dest),
        "options": DeliveryOptions(block_size=BLOCK, durable=False),
        "session": SessionOptions(threads=1),
        "limits": None,
        "deadline": float("inf"),
        "renews": False,
        "log_level": logging.WARNING,
    }
    return Order(**{**usual, **more})


@pytest.mark.usefixtures("restored_log")
def test_a_child_serves_an_order_and_shows_its_end(boards, tmp_path, monkeypatch):
    monkeypatch.setattr("largefile.engine.child.INTERVAL", 60.0)
    with LoopbackServer(CONTENT) as server:
        with serving(boards[0], os.getppid(), order(server, tmp_path / "x")) as channel:
            end = channel.receive()
    assert isinstance(end, Ended)
    assert end.status.complete
    stats, cells = boards[1].look()
    assert (stats.phase, stats.cached_or_streamed_bytes) == ("done", len(CONTENT))
    assert cells == b"\xff" * CELLS


@pytest.mark.usefixtures("restored_log")
def test_a_child_whose_parent_is_another_stops(boards, tmp_path):
    with LoopbackServer(CONTENT, rate=BLOCK // 4) as server:
        with serving(boards[0], -1, order(server, tmp_path / "x")) as channel:
            end = channel.receive()
    assert isinstance(end, Failed)
    error = unpack(end.errors)
    assert isinstance(error, CancelledError)
    assert "is gone" in str(error)


@pytest.mark.usefixtures("restored_log")
def test_a_child_whose_channel_ends_stops(boards, tmp_path):
    with LoopbackServer(CONTENT, rate=BLOCK // 4) as server:
        with serving(boards[0], os.getppid(), order(server, tmp_path / "x")) as channel:
            until(lambda: server.requests, what="a request")
            channel.close()


@pytest.mark.usefixtures("restored_log")
def test_an_order_that_can_not_be_read_is_an_error(boards):
    with serving(boards[0], os.getppid(), "no order") as channel:
        end = channel.receive()
    assert isinstance(end, Failed)
    assert isinstance(unpack(end.errors), AttributeError)
