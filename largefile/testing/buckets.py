"""Token buckets in threads, and what else a child of `largefile.testing.shaping` needs."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable

__all__ = ["Bucket", "piece_of", "serve", "take"]

#: What a rest may save up, in seconds of the rate: so much a late wake-up may be made good.
SAVED = 0.020


class Bucket:
    """A limit in bytes a second that holds over every time span, but for `SAVED`; for any number of threads.

    Examples
    --------
    >>> bucket = Bucket(1000.0, now=0.0)
    >>> bucket.book(100, now=0.0), bucket.book(100, now=0.0), bucket.book(100, now=50.0)
    (0.1, 0.2, 50.08)
    """

    def __init__(self, rate: float, now: float | None = None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free = time.monotonic() if now is None else now  # everything before it is spent

    def book(self, size: int, now: float) -> float:
        """When `size` bytes will have gone through, if they begin as soon as they may."""
        with self._lock:
            self._free = max(self._free, now - SAVED) + size / self._rate
            return self._free


def take(buckets: Iterable[Bucket], size: int) -> None:
    """Wait until `size` bytes have gone through each of the buckets."""
    now = time.monotonic()
    due = max((bucket.book(size, now) for bucket in buckets), default=now)
    time.sleep(max(0.0, due - now))


def piece_of(rate: float | None) -> int:
    """Bytes to send at once: about 5 ms of the rate."""
    return 256 * 1024 if rate is None else max(1024, min(256 * 1024, int(rate * 0.005)))


def serve(connected: Callable[[socket.socket], None]) -> None:
    """Listen on a port, say which, and give each connection a thread until the parent closes our input."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    threading.Thread(target=_accept, args=(listener, connected), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()  # its end is the parent's, or of `with`
    os._exit(0)


def _accept(listener: socket.socket, connected: Callable[[socket.socket], None]) -> None:
    while True:
        conn, _ = listener.accept()
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=connected, args=(conn,), daemon=True).start()
