"""The process behind `largefile.testing.shaping.ShapedServer`.

Bytes go from the page cache (`sendfile`) or out of a tile of the pattern, so that the limit and not this
process is what is measured.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import BinaryIO

from largefile.testing.buckets import Bucket, piece_of, serve, take
from largefile.testing.script import Behaviour, Content, Request, answer, parse_range, pattern, phrase

__all__ = ["Shaped", "main"]

#: The pattern repeats itself after so many bytes, and two repetitions hold every piece of it.
_PERIOD = 65521
_LONGEST = 256 * 1024


class Shaped:
    """The content, the limits, and the counts."""

    def __init__(self, size: int, path: str | None, rate: float | None, total: float | None) -> None:
        self._content = Content(size, etag=f'"{size:x}"')
        self._file = Path(path).open("rb", buffering=0) if path is not None else None  # noqa: SIM115 - to the end
        self._tile = memoryview(pattern(0, _PERIOD + _LONGEST - 1))
        self._rate = rate
        self._shared = [Bucket(total)] if total is not None else []
        self._piece = min(piece_of(rate), piece_of(total))
        self._lock = threading.Lock()
        self._counts = {"connections": 0, "requests": 0, "sent": 0}

    def connected(self, conn: socket.socket) -> None:
        """One connection's life. Its bucket lives as long."""
        buckets = [*self._shared, *([Bucket(self._rate)] if self._rate is not None else [])]
        first = True
        try:
            with conn, conn.makefile("rb") as stream:
                while (request := _read_request(stream)) is not None:
                    if request.path == "/counts":
                        self._tell(conn)
                        continue
                    self._count(requests=1, connections=int(first))
                    first = False
                    self._respond(conn, request, buckets)
        except OSError:
            return  # the client left

    def _respond(self, conn: socket.socket, request: Request, buckets: list[Bucket]) -> None:
        found = answer(request, Behaviour(), self._content)
        conn.sendall(_head(found.status, found.headers))
        at = found.first
        while at < found.stop:
            size = min(self._piece, found.stop - at)
            take(buckets, size)
            self._count(sent=size)  # first: who has the bytes finds them counted
            at += self._send(conn, at, size)

    def _send(self, conn: socket.socket, at: int, size: int) -> int:
        if self._file is None:
            start = at % _PERIOD
            conn.sendall(self._tile[start : start + size])
            return size
        at_first, stop = at, at + size
        while at < stop:
            sent = os.sendfile(conn.fileno(), self._file.fileno(), at, stop - at)
            if not sent:
                raise OSError("the file became shorter")
            at += sent
        return stop - at_first

    def _tell(self, conn: socket.socket) -> None:
        with self._lock:
            text = json.dumps(self._counts).encode()
        conn.sendall(_head(200, {"Content-Length": str(len(text))}) + text)

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, value in more.items():
                self._counts[name] += value


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {phrase(status)}", *(f"{name}: {text}" for name, text in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _read_request(stream: BinaryIO) -> Request | None:
    """The next request's line and fields; None at the connection's end."""
    parts = stream.readline(65536).decode("latin-1").split()
    if len(parts) != 3:
        return None
    headers = {}
    while (line := stream.readline(65536).decode("latin-1").strip()) != "":
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Request(0, parts[0], parts[1], headers, parse_range(headers.get("range", "")), 0, 0.0)


def main(words: dict[str, object]) -> None:
    """Serve as `ShapedServer` says, until the parent is gone."""
    serve(Shaped(**words).connected)  # type: ignore[arg-type]
