"""A server that answers with bytes that do not end, and counts what it could get rid of."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

__all__ = ["EndlessServer"]


class EndlessServer:
    """Answer each request on loopback with `head` and then `piece`, over and over until the client leaves."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self._head, self._piece = head, piece * max(1, 65536 // len(piece))
        self.requests = self.sent = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/x"

    def __enter__(self) -> EndlessServer:
        self._listener.settimeout(0.1)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.ExitStack() as running:
            while not self._stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    conn, _ = self._listener.accept()
                    thread = threading.Thread(target=self._answer, args=(conn,), daemon=True)
                    thread.start()
                    running.callback(thread.join, 10)

    def _answer(self, conn: socket.socket) -> None:
        conn.settimeout(0.1)
        with conn, contextlib.suppress(OSError):
            while not (asked := conn.recv(65536)).endswith(b"\r\n\r\n"):
                if not asked:
                    return
            self.requests += 1
            for data in self._answer_bytes():
                self._send(conn, data)

    def _answer_bytes(self) -> Iterator[bytes]:
        yield self._head
        while not self._stopping.is_set():
            yield self._piece

    def _send(self, conn: socket.socket, data: bytes) -> None:
        """All of it, however long the client takes; nothing more once we stop."""
        with memoryview(data) as view:
            at = 0
            while at < len(view) and not self._stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    taken = conn.send(view[at:])
                    self.sent += taken
                    at += taken
