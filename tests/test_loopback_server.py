"""The server that most tests believe: what it notes is what a client has asked."""

from __future__ import annotations

import select
import socket
import ssl
import threading

from largefile.testing.authority import Authority
from largefile.testing.server import LoopbackServer

ASK = b"GET /file.bin HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Whatever: %b\r\n\r\n"


class Silent(LoopbackServer):
    """Answers nothing: waits for what comes next without reading it, and reads on once it may."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked, self.may_go_on = threading.Event(), threading.Event()

    def _respond(self, conn, request):
        if request.number == 0:
            select.select([conn], [], [], 10.0)
        self.asked.set()
        return self.may_go_on.wait(10.0)


def test_what_was_sent_over_tls_before_it_hung_up_is_read_as_tls(tmp_path):
    authority = Authority(tmp_path)
    with Silent(b"", tls=authority.context("127.0.0.1")) as server:
        trust = ssl.create_default_context(cafile=authority.ca_file)
        with (
            socket.create_connection(("127.0.0.1", server.port), 10.0) as plain,
            trust.wrap_socket(plain, server_hostname="127.0.0.1") as client,
        ):
            client.sendall(ASK % b"first")
            client.sendall(ASK % b"second")
            assert server.asked.wait(10.0)
            server.asked.clear()
            server.hang_up()
            server.may_go_on.set()
            assert server.asked.wait(10.0), "the second is a request as well"
    asked = [(request.method, request.headers.get("x-whatever")) for request in server.requests]
    assert asked == [("GET", "first"), ("GET", "second")]
