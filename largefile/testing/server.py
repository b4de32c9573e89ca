"""A web server on loopback that keeps a script: right by default, wrong exactly where it is told to be.

It speaks enough HTTP/1.1 for downloads (GET, one range, keep-alive, 416) on raw sockets, so that it can
also do what no library would let it: cut a body in the middle, lie in Content-Range, reset, fall silent.
It needs no other package, and no file: content may be made up by position.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from largefile.testing.script import (
    DATE,
    Answer,
    Behaviour,
    Content,
    Request,
    answer,
    parse_range,
    pattern,
    phrase,
)
from largefile.wire.hosts import HOSTS

__all__ = ["Behaviour", "Content", "LoopbackServer", "Request", "pattern"]

PIECE = 64 * 1024


class LoopbackServer:
    """Serve `content` on 127.0.0.1 from threads, from ``with`` to its end.

    Parameters
    ----------
    content : bytes or Content
        What every path gives. Replace it meanwhile with `replace`, or by assignment.
    etag, last_modified : str or None
        Validators, as they are sent; None: not sent.
    rate : float, optional
        Body bytes a second for each response.
    behave : callable, optional
        Called with each `Request`, from the connections' threads; returns a `Behaviour`, or None.
    tls : ssl.SSLContext, optional
        Speak https, with this context's certificate.
    send_buffer : int, optional
        Bytes that each connection's socket may hold, as SO_SNDBUF; by default what the system likes.

    Examples
    --------
    >>> import urllib.request
    >>> with LoopbackServer(b"0123456789") as server:
    ...     ask = urllib.request.Request(server.url, headers={"Range": "bytes=2-4"})
    ...     with urllib.request.urlopen(ask) as response:
    ...         response.status, response.read(), response.headers["Content-Range"]
    (206, b'234', 'bytes 2-4/10')
    >>> [(r.method, r.range, r.sent) for r in server.requests]
    [('GET', (2, 4), 3)]
    """

    def __init__(
        self,
        content: bytes | Content,
        *,
        etag: str | None = '"v1"',
        last_modified: str | None = DATE,
        rate: float | None = None,
        behave: Callable[[Request], Behaviour | None] | None = None,
        tls: ssl.SSLContext | None = None,
        send_buffer: int | None = None,
    ) -> None:
        self._tls = tls
        self._send_buffer = send_buffer
        self._last_modified = last_modified
        self._version = Content.of(content, etag, last_modified)
        self._versions = 1
        self.rate = rate
        self.behave = behave
        self.requests: list[Request] = []  #: all of them, in the order of arrival
        self.connections = 0  #: accepted so far
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self.port = 0

    def __repr__(self) -> str:
        where = f"at {self.url}" if self._listener is not None else "closed"
        return f"<LoopbackServer of {self._version.size} bytes, {where}>"

    # --- what the caller does --------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self.at("/file.bin")

    def at(self, path: str, host: str = "127.0.0.1") -> str:
        """The URL of a path, by any name of this machine; each has the same content."""
        return f"{'https' if self._tls is not None else 'http'}://{host}:{self.port}{path}"

    @property
    def content(self) -> Content:
        return self._version

    @content.setter
    def content(self, content: bytes | Content) -> None:
        self.replace(content, etag=f'"v{self._versions + 1}"')

    def replace(
        self, content: bytes | Content, *, etag: str | None, last_modified: str | None = None
    ) -> None:
        """From the next request on, serve another version. Answers under way keep theirs."""
        self._version = Content.of(content, etag, last_modified)
        self._versions += 1

    @property
    def sent(self) -> int:
        """Body bytes over all requests."""
        return sum(request.sent for request in self.requests)

    @property
    def is_idle(self) -> bool:
        """Whether no connection is open that was accepted."""
        with self._lock:
            return not self._open

    def hang_up(self) -> None:
        """Cut every connection there is; new ones are served."""
        with self._lock:
            for conn in self._open:
                with contextlib.suppress(OSError):
                    # Not the method of an SSLSocket: it forgets its cipher, and what its own thread reads
                    # next is taken for plain text.
                    socket.socket.shutdown(conn, socket.SHUT_RDWR)

    def start(self) -> LoopbackServer:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        if self._send_buffer is not None:  # connections inherit it
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
        self.port = self._listener.getsockname()[1]
        HOSTS.forget(self.url)  # the port may have been that of a server which asked for a pause
        self._spawn(self._accept, self._listener)
        return self

    def close(self) -> None:
        """Cut what is open and end every thread; from then on connections are refused."""
        if self._listener is None:
            return
        self._stopping.set()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5.0):
            pass  # wakes `accept` on every system
        self._threads[0].join(5.0)
        self._listener.close()
        self._listener = None
        self.hang_up()
        for thread in self._threads:
            thread.join(5.0)

    def __enter__(self) -> LoopbackServer:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- connections -----------------------------------------------------------------------------

    def _spawn(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, name="loopback-server", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            conn, _ = listener.accept()
            if self._stopping.is_set():
                conn.close()
                return
            with self._lock:
                self._open.add(conn)
                number, self.connections = self.connections, self.connections + 1
            self._spawn(self._serve, conn, number)

    def _serve(self, conn: socket.socket, number: int) -> None:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._tls is not None:
                conn = self._secured(conn, self._tls)
                conn.do_handshake()
            with conn.makefile("rb") as stream:
                while (request := self._read_request(stream, number)) is not None:
                    try:
                        if not self._respond(conn, request):
                            return
                    finally:
                        request.done = True
        except OSError:
            return  # the client left
        finally:
            with self._lock:
                self._open.discard(conn)
            conn.close()

    def _secured(self, plain: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
        conn = tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.discard(plain)
            self._open.add(conn)
        return conn

    def _read_request(self, stream: BinaryIO, connection: int) -> Request | None:
        parts = stream.readline(65536).decode("latin-1").split()
        if len(parts) != 3:
            return None
        return self._note(parts[0], parts[1], dict(_fields(stream)), connection)

    def _note(self, method: str, path: str, headers: dict[str, str], connection: int) -> Request:
        with self._lock:
            request = Request(
                len(self.requests),
                method,
                path,
                headers,
                parse_range(headers.get("range", "")),
                connection,
                time.monotonic(),
            )
            self.requests.append(request)
        return request

    # --- answers ---------------------------------------------------------------------------------

    def _respond(self, conn: socket.socket, request: Request) -> bool:
        """Answer; whether the connection may go on."""
        how = (self.behave(request) if self.behave is not None else None) or Behaviour()
        if how.stall or (how.delay and self._gone(conn, how.delay)):
            return self._stall(conn)
        if how.raw is not None:
            conn.sendall(how.raw)
            return _cut(conn, how.reset)
        found = answer(request, how, self._version)
        request.status = found.status
        lasting = not (how.close or how.no_length)
        if not lasting:
            found.headers["Connection"] = "close"
        found.headers.update({name: text for name, text in how.headers.items() if text is not None})
        for name in (name for name, text in how.headers.items() if text is None):
            found.headers.pop(name, None)
        reason = how.reason if how.reason is not None else phrase(found.status)
        lines = [f"HTTP/1.1 {found.status} {reason}", *(f"{k}: {v}" for k, v in found.headers.items())]
        for _ in range(how.interim):
            conn.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        conn.sendall(("\r\n".join(lines) + "\r\n").encode("latin-1"))
        for number in range(how.fields):
            conn.sendall(f"X-Filler-{number}: {'x' * 80}\r\n".encode("latin-1"))
        conn.sendall(b"\r\n")
        return self._send_body(conn, request, found, how) and lasting

    def _send_body(self, conn: socket.socket, request: Request, found: Answer, how: Behaviour) -> bool:
        """Send what the script says of the body; whether the connection may go on."""
        size = found.stop - found.first
        breaks = [at for at in (how.cut_after, how.stall_after) if at is not None and at <= size]
        stop = found.first + min(breaks, default=size)
        began, rate = time.monotonic(), how.rate or self.rate
        step = PIECE if rate is None else max(1, min(PIECE, int(rate / 20)))
        for at in range(found.first, stop, step):
            piece = found.read(at, min(at + step, stop) - 1)
            if how.chunked:
                conn.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
                request.sent += len(piece)
            else:
                _send(conn, piece, request)
            if rate is not None:
                ahead = request.sent / rate - (time.monotonic() - began)
                if self._stopping.wait(max(0.0, ahead)):
                    return False
        if how.cut_after is not None and how.cut_after <= size:
            return _cut(conn, how.reset)
        if how.stall_after is not None and how.stall_after <= size:
            return self._stall(conn)
        while how.endless:
            piece = found.read(max(found.first, found.stop - PIECE), found.stop - 1)
            conn.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if how.chunked else piece)
        if how.chunked:
            conn.sendall(b"0\r\n\r\n")
        return True

    def _gone(self, conn: socket.socket, seconds: float) -> bool:
        """Wait; True as soon as the client has left, or the server is closed."""
        until = time.monotonic() + seconds
        ready, _, _ = select.select([conn], [], [], max(0.0, until - time.monotonic()))
        # Over TLS nobody can peek; a client that waits for an answer has nothing to send but its end.
        return bool(ready) and (self._tls is not None or not conn.recv(1, socket.MSG_PEEK))

    def _stall(self, conn: socket.socket) -> bool:
        with contextlib.suppress(OSError):
            conn.recv(1)  # nothing comes but the end: the client has no further request to make
        return False


def _send(conn: socket.socket, piece: bytes, request: Request) -> None:
    """Send all of it, and count what the system has taken even if the client leaves meanwhile."""
    with memoryview(piece) as view:
        at = 0
        while at < len(view):
            count = conn.send(view[at:])
            request.sent += count
            at += count


def _cut(conn: socket.socket, reset: bool) -> bool:
    if reset:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        conn.shutdown(socket.SHUT_RDWR)
    return False


def _fields(stream: BinaryIO) -> Iterator[tuple[str, str]]:
    while (line := stream.readline(65536).decode("latin-1").strip()) != "":
        name, _, value = line.partition(":")
        yield name.strip().lower(), value.strip()
