"""A real nginx on loopback: our own configuration in a folder of its own, and its log as a list of requests.

It serves one folder of files under several paths, each with one habit that real servers have:

=================  ==========================================================================
``/files/``        as it should be: ranges, strong ETag, Last-Modified
``/rangeless/``    no ranges: 200 and the whole body, whatever was asked for
``/unvouched/``    ranges, but neither ETag nor Last-Modified
``/unsized/``      chunked, and no word of the size
``/packed/``       ``FILE.gz`` for FILE, with Content-Encoding: gzip, whatever is accepted
``/moved/``        302 to ``/files/`` on the same origin
``/elsewhere/``    302 to ``/files/`` on another port
``/secured/``      302 to ``/files/`` by https;  ``/downgraded/``: by http
``/forbidden/``    403
=================  ==========================================================================

``?rate=BYTES`` holds each connection to so many bytes a second. nginx counts from the beginning of the
request, a second ahead: the first ``rate`` bytes of an answer come at once.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import trustme
from processes import until

#: The server's send buffer; the kernel takes twice as much for its own bookkeeping.
SEND_BUFFER = 64 * 1024

CONFIGURATION = """
daemon off;
worker_processes 1;
pid {base}/nginx.pid;
error_log {base}/error.log warn;
{user}
events {{ worker_connections 512; }}
http {{
  log_format plain '$request_uri $status "$http_range" $body_bytes_sent $connection $server_port';
  access_log {base}/access.log plain;
  client_body_temp_path {base}/body;
  proxy_temp_path {base}/proxy;
  fastcgi_temp_path {base}/fastcgi;
  uwsgi_temp_path {base}/uwsgi;
  scgi_temp_path {base}/scgi;
  default_type application/octet-stream;
  sendfile on;
  keepalive_requests 100000;
  map $arg_rate $rate {{ default $arg_rate; "" 0; }}
  server {{
    listen 127.0.0.1:{http} sndbuf={buffer} rcvbuf={buffer};
    listen 127.0.0.1:{other} sndbuf={buffer} rcvbuf={buffer};
    listen 127.0.0.1:{https} ssl;
    ssl_certificate {base}/server.pem;
    ssl_certificate_key {base}/server.pem;
    limit_rate $rate;
    root {base}/nothing;
    location /files/      {{ alias {base}/files/; }}
    location /rangeless/  {{ alias {base}/files/; max_ranges 0; }}
    location /unvouched/  {{ alias {base}/files/; etag off; add_header Last-Modified ""; }}
    location /unsized/    {{ alias {base}/files/; ssi on; ssi_types *; }}
    location /packed/     {{ alias {base}/files/; gzip_static always; }}
    location /moved/      {{ rewrite ^/moved/(.*) /files/$1 redirect; }}
    location /elsewhere/  {{ rewrite ^/elsewhere/(.*) http://127.0.0.1:{other}/files/$1 redirect; }}
    location /secured/    {{ rewrite ^/secured/(.*) https://127.0.0.1:{https}/files/$1 redirect; }}
    location /downgraded/ {{ rewrite ^/downgraded/(.*) http://127.0.0.1:{http}/files/$1 redirect; }}
    location /forbidden/  {{ return 403; }}
    location = /status    {{ stub_status; access_log off; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the access log. `sent` is what of the body the kernel took, arrived or not."""

    uri: str
    status: int
    range: str | None
    sent: int
    connection: int
    port: int

    @classmethod
    def parse(cls, line: str) -> Request:
        uri, status, asked, sent, connection, port = line.split()
        asked = asked.strip('"')
        return cls(uri, int(status), None if asked == "-" else asked, int(sent), int(connection), int(port))


def find_nginx() -> str | None:
    """Its path; system folders are searched too, which are not in everybody's PATH."""
    return shutil.which(
        "nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    )


class Nginx:
    """A running server over the folder `files`. Use as a context manager."""

    def __init__(self, program: str, base: Path) -> None:
        self.base = base
        self.files = base / "files"
        self.ca_file = base / "ca.pem"
        self._log = base / "access.log"
        self._program = program
        self.files.mkdir()
        self._make_certificates()

    def __enter__(self) -> Nginx:
        self._ports = free_ports(3)
        self._configure()
        self._process = subprocess.Popen(
            [self._program, "-p", self.base, "-c", self.base / "nginx.conf", "-e", self.base / "error.log"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(self._is_up, what="nginx answers")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()

    # --- what a test needs -----------------------------------------------------------------------

    def url(self, path: str, *, rate: int | None = None) -> str:
        return f"http://127.0.0.1:{self._ports[0]}{path}" + (f"?rate={rate}" if rate else "")

    def https(self, path: str) -> str:
        return f"https://127.0.0.1:{self._ports[2]}{path}"

    @property
    def other_port(self) -> int:
        """Of the origin that `/elsewhere/` leads to."""
        return self._ports[1]

    def mark(self) -> int:
        """A place in the log, for `since`."""
        self.settle()
        return self._log.stat().st_size

    def since(self, mark: int) -> list[Request]:
        """The requests that have ended since, once none is under way."""
        self.settle()
        return [Request.parse(line) for line in self._log.read_text()[mark:].splitlines()]

    def settle(self) -> None:
        """Wait until every answer is sent or given up, and so logged."""
        until(lambda: self._busy() == 0, what="nginx has nothing to send")

    # --- how -------------------------------------------------------------------------------------

    def _busy(self) -> int:
        """Answers under way, the status page's own left out."""
        with urllib.request.urlopen(self.url("/status"), timeout=10) as page:
            words = page.read().decode().split()
        return int(words[words.index("Writing:") + 1]) - 1

    def _is_up(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"nginx ended: {(self.base / 'error.log').read_text()}")
        try:
            return self._busy() == 0
        except OSError:
            return False

    def _configure(self) -> None:
        http, other, https = self._ports
        text = CONFIGURATION.format(
            base=self.base,
            http=http,
            other=other,
            https=https,
            buffer=SEND_BUFFER,
            # As root its workers would be somebody who may not look into our folders.
            user="user root;" if os.geteuid() == 0 else "",
        )
        (self.base / "nginx.conf").write_text(text)

    def _make_certificates(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            str(self.base / "server.pem")
        )

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
