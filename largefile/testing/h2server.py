"""The scripted server once more, in HTTP/2: by prior knowledge, or over TLS.

It takes the same scripts as `LoopbackServer`, as far as they have a meaning here, and two more: GOAWAY
instead of an answer, and a stream that is reset. A connection serves one stream after the other, which is
how our client uses it. It needs ``h2``, which the extra ``test`` brings.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

from largefile.testing.script import Answer, Behaviour, Request, answer
from largefile.testing.server import PIECE, LoopbackServer

__all__ = ["H2Server"]


class _Gone(Exception):
    """The client has left, or has reset the stream."""


class H2Server(LoopbackServer):
    """A `LoopbackServer` that speaks HTTP/2 and nothing else.

    Raises
    ------
    ModuleNotFoundError
        Without ``h2``.
    """

    def start(self) -> H2Server:
        import h2.connection  # noqa: F401 - said here, and not by a thread that nobody hears

        if self._tls is not None:
            self._tls.set_alpn_protocols(["h2"])
        super().start()
        return self

    def _serve(self, conn: socket.socket, number: int) -> None:
        from h2.exceptions import H2Error

        try:
            if self._tls is not None:
                conn = self._secured(conn, self._tls)
                conn.do_handshake()
            with contextlib.suppress(_Gone, H2Error):
                _Connection(self, conn, number).run()
        except OSError:
            return  # the client left
        finally:
            with self._lock:
                self._open.discard(conn)
            conn.close()


class _Connection:
    """One connection, from its preface to its end."""

    def __init__(self, server: H2Server, conn: socket.socket, number: int) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        self._server = server
        self._conn = conn
        self._number = number
        self._h2: Any = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
        self._asked: list[Any] = []
        self._reset: set[int] = set()

    def run(self) -> None:
        """Answer one stream after the other."""
        from h2.exceptions import ProtocolError, StreamClosedError

        self._h2.initiate_connection()
        while True:
            while not self._asked:
                self._receive()
            event = self._asked.pop(0)
            fields = dict(event.headers)
            method, path = fields.get(":method", ""), fields.get(":path", "")
            request = self._server._note(method, path, fields, self._number)
            try:
                self._respond(event.stream_id, request)
            except StreamClosedError:
                continue  # the client has reset it
            except ProtocolError as error:
                raise _Gone from error  # what the script wants can not be said in HTTP/2
            finally:
                request.done = True

    def _receive(self) -> None:
        from h2.events import ConnectionTerminated, RequestReceived, StreamReset

        self._flush()
        data = self._conn.recv(65_536)
        if not data:
            raise _Gone
        for event in self._h2.receive_data(data):
            if isinstance(event, RequestReceived):
                self._asked.append(event)
            elif isinstance(event, StreamReset):
                self._reset.add(event.stream_id)
            elif isinstance(event, ConnectionTerminated):
                raise _Gone

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._conn.sendall(data)

    # --- answers ---------------------------------------------------------------------------------

    def _respond(self, stream: int, request: Request) -> None:
        behave = self._server.behave
        how = (behave(request) if behave is not None else None) or Behaviour()
        if how.stall or (how.delay and self._server._stopping.wait(how.delay)):
            self._stall()
        if how.raw is not None:
            self._conn.sendall(how.raw)
            raise _Gone
        if how.goaway is not None:
            self._h2.close_connection(how.goaway, last_stream_id=stream - 2 if stream > 2 else 0)
            self._flush()
            raise _Gone
        if how.rst is not None and how.cut_after is None:
            self._h2.reset_stream(stream, how.rst)
            return
        self._answer(stream, request, answer(request, how, self._server.content), how)

    def _answer(self, stream: int, request: Request, found: Answer, how: Behaviour) -> None:
        request.status = found.status
        fields = {**found.headers, **how.headers}
        for name in ("Connection", "Transfer-Encoding"):
            fields.pop(name, None)
        for _ in range(min(how.interim, 1000)):
            self._h2.send_headers(stream, [(":status", "103"), ("link", "</style.css>")])
        head = [(":status", str(found.status))]
        head += [(name.lower(), text) for name, text in fields.items() if text is not None]
        self._h2.send_headers(stream, head)
        self._send_body(stream, request, found, how)

    def _send_body(self, stream: int, request: Request, found: Answer, how: Behaviour) -> None:
        size = found.stop - found.first
        breaks = [at for at in (how.cut_after, how.stall_after) if at is not None and at <= size]
        stop, began = found.first + min(breaks, default=size), time.monotonic()
        step = PIECE if how.rate is None else max(1, min(PIECE, int(how.rate / 20)))
        for at in range(found.first, stop, step):
            self._send(stream, request, found.read(at, min(at + step, stop) - 1))
            if how.rate is not None:
                ahead = request.sent / how.rate - (time.monotonic() - began)
                if self._server._stopping.wait(max(0.0, ahead)):
                    raise _Gone
        if how.stall_after is not None and how.stall_after <= size:
            self._stall()
        if how.cut_after is not None and how.cut_after <= size:
            if how.rst is None:
                self._flush()
                raise _Gone
            self._h2.reset_stream(stream, how.rst)
        else:
            while how.endless:
                self._send(stream, request, found.read(max(found.first, found.stop - PIECE), found.stop - 1))
            self._h2.end_stream(stream)
        self._flush()

    def _send(self, stream: int, request: Request, data: bytes) -> None:
        """As fast as the client takes it."""
        at = 0
        while at < len(data):
            if stream in self._reset:
                raise _Gone
            window = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if window <= 0:
                self._receive()
                continue
            piece = data[at : at + window]
            self._h2.send_data(stream, piece)
            self._flush()
            at += len(piece)
            request.sent += len(piece)

    def _stall(self) -> None:
        while True:
            self._receive()
