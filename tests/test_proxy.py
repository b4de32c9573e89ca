"""Through a proxy the server's answers are judged, and not the proxy's."""

from __future__ import annotations

import base64
import select
import socket
import socketserver
import threading

import pytest
from server_tools import get, noise

import largefile
from largefile.testing.authority import Authority
from largefile.testing.server import LoopbackServer


class Tunnel(socketserver.BaseRequestHandler):
    """CONNECT, and then bytes in both directions until one side ends."""

    def handle(self):
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.request.recv(4096)
        method, target, _ = head.split(b" ", 2)
        self.server.asked.append((method, target))
        self.server.heads.append(head)
        host, _, port = target.decode().rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as out:
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
            self.pass_on(out)

    def pass_on(self, out):
        other = {self.request: out, out: self.request}
        while True:
            ready, _, _ = select.select(list(other), [], [], 10)
            for side in ready:
                data = side.recv(65536)
                if not data:
                    return
                other[side].sendall(data)


class Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture
def proxy():
    with Proxy(("127.0.0.1", 0), Tunnel) as server:
        server.asked, server.heads = [], []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.servers
@pytest.mark.parametrize("by_environment", [False, True])
def test_https_through_a_proxy_arrives_whole_and_in_parallel(
    nginx, proxy, tmp_path, monkeypatch, by_environment
):
    content = bytes(range(256)) * (3 << 12)
    (nginx.files / "proxied").write_bytes(content)
    address = f"http://127.0.0.1:{proxy.server_address[1]}"
    for name in ("no_proxy", "NO_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    if by_environment:
        monkeypatch.setenv("https_proxy", address)
    status = largefile.download(
        nginx.https("/files/proxied"),
        tmp_path / "x",
        ca_file=nginx.ca_file,
        proxy=None if by_environment else address,
        block_size=1 << 16,
    )
    assert (tmp_path / "x").read_bytes() == content
    assert status.verified_by == "strong-etag"
    assert {method for method, _ in proxy.asked} == {b"CONNECT"}
    assert len(proxy.asked) > 1, "one tunnel for each connection"


def test_a_proxy_is_told_its_own_password_and_nothing_that_is_for_the_server(proxy, tmp_path):
    """And the server is not told the proxy's."""
    authority, content = Authority(tmp_path), noise(256 << 10)
    with LoopbackServer(content, tls=authority.context("127.0.0.1")) as server:
        get(
            server,
            tmp_path / "x",
            ca_file=authority.ca_file,
            proxy=f"http://us:PROXY@127.0.0.1:{proxy.server_address[1]}",
            headers={"X-Key": "SERVER", "Proxy-Authorization": "SERVER", "Cookie": "SERVER"},
            auth="SERVER",
        )
    assert (tmp_path / "x").read_bytes() == content
    assert proxy.heads
    for head in proxy.heads:
        assert b"SERVER" not in head
        assert b"\r\nProxy-Authorization: Basic " + base64.b64encode(b"us:PROXY") in head
    for request in server.requests:
        assert [request.headers[name] for name in ("x-key", "proxy-authorization", "cookie")] == [
            "SERVER"
        ] * 3
        assert base64.b64encode(b"us:PROXY").decode() not in str(request.headers)
