"""The process behind `largefile.testing.shaping.DelayingProxy`: two threads for each direction.

One reads and notes when each piece is due, the other sends it then; what is between the two is what is
under way.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque

from largefile.testing.buckets import serve

__all__ = ["Way", "main"]

_PIECE = 256 * 1024
#: Bytes that may be under way in one direction.
_MOST = 64 << 20


class Way:
    """The bytes that are under way in one direction: put in now, and taken out `delay` seconds later."""

    def __init__(self, delay: float, first: float) -> None:
        self._delay = delay
        self._begins = time.monotonic() + first  # nothing comes out before
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, data: bytes) -> bool:
        """Send `data` on its way, empty for the end; False when nobody takes any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._size < _MOST or self._closed)
            self._pieces.append((max(time.monotonic() + self._delay, self._begins), data))
            self._size += len(data)
            self._changed.notify_all()
            return not self._closed

    def take(self) -> bytes:
        """The next piece, when it is due; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._closed)
            if self._closed:
                return b""
            due, data = self._pieces.popleft()
            self._size -= len(data)
            self._changed.notify_all()
        time.sleep(max(0.0, due - time.monotonic()))
        return data

    def close(self) -> None:
        """Nobody takes any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Proxy:
    """Connects each connection to `port`."""

    def __init__(self, port: int, delay: float, handshake: bool) -> None:
        self._port = port
        self._delay = delay
        self._handshake = handshake

    def connected(self, conn: socket.socket) -> None:
        """One connection's life."""
        try:
            there = socket.create_connection(("127.0.0.1", self._port))
        except OSError:
            conn.close()
            return
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # What a client sends first comes a whole round trip later if the handshake counts.
        first = 3 * self._delay if self._handshake else 0.0
        back = threading.Thread(target=_carry, args=(there, conn, Way(self._delay, 0.0)), daemon=True)
        back.start()
        _carry(conn, there, Way(self._delay, first))
        back.join()
        conn.close()
        there.close()


def _carry(source: socket.socket, target: socket.socket, way: Way) -> None:
    """All bytes of one direction, and its end."""
    sender = threading.Thread(target=_deliver, args=(source, target, way), daemon=True)
    sender.start()
    with contextlib.suppress(OSError):
        while (data := source.recv(_PIECE)) and way.put(data):
            pass
    way.put(b"")
    sender.join()


def _deliver(source: socket.socket, target: socket.socket, way: Way) -> None:
    try:
        while data := way.take():
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        way.close()
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RD)  # wakes who reads


def main(words: dict[str, object]) -> None:
    """Delay as `DelayingProxy` says, until the parent is gone."""
    serve(Proxy(**words).connected)  # type: ignore[arg-type]
