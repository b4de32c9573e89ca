"""An nginx over one folder, as plain as it comes, and the files that it serves.

Beside ``/``: ``/slow/`` gives 10 MB/s to each request, ``/few/`` answers 503 where four are under way.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash
from measure import environment

PIECE = 1 << 20  # small: a child's peak memory is at least ours
CONFIGURATION = """
daemon off;
worker_processes 1;
pid {base}/nginx.pid;
error_log {base}/error.log warn;
{user}
events {{ worker_connections 512; }}
http {{
  log_format pieces "$connection $status $body_bytes_sent";
  access_log {base}/access.log pieces;
  limit_conn_zone $server_addr zone=all:1m;
  client_body_temp_path {base}/body;
  proxy_temp_path {base}/proxy;
  fastcgi_temp_path {base}/fastcgi;
  uwsgi_temp_path {base}/uwsgi;
  scgi_temp_path {base}/scgi;
  default_type application/octet-stream;
  sendfile on;
  server {{
    listen {address}:{port};
    {tls}
    location / {{ alias {files}/; }}
    location /slow/ {{ alias {files}/; limit_rate 9766k; }}
    location /few/ {{ alias {files}/; limit_conn all 4; limit_conn_status 503; limit_rate 8m; }}
  }}
}}
"""
TLS = """
    listen {address}:{tls_port} ssl;
    ssl_certificate {base}/server.pem;
    ssl_certificate_key {base}/server.pem;
    ssl_session_cache shared:tls:1m;
"""
#: In a child, as what this process imports, its children's peak memory shows.
AUTHORITY = """
import sys, trustme
authority, base = trustme.CA(), sys.argv[1]
authority.cert_pem.write_to_path(base + "/ca.pem")
authority.issue_cert(sys.argv[2]).private_key_and_cert_chain_pem.write_to_path(base + "/server.pem")
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a server was asked: how many requests, over how many connections, for how many bytes."""

    requests: int
    connections: int
    sent: int
    refused: int  #: requests that were answered 503


class Nginx:
    """A running server over ``base / "files"``, or over `files`. Use as a context manager.

    With `tls` it has a certificate of an authority of its own, ``base / "ca.pem"``. `prefix` is a command
    that runs another one in a network namespace, where `address` is.
    """

    def __init__(
        self,
        base: Path,
        *,
        files: Path | None = None,
        address: str = "127.0.0.1",
        tls: bool = False,
        prefix: Sequence[str] = (),
    ) -> None:
        found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if found is None:
            raise SystemExit("nginx is not installed")
        self._program = found
        self._base = base
        self._address = address
        self._tls = tls
        self._prefix = prefix
        self.files = files or base / "files"
        self.files.mkdir(parents=True, exist_ok=True)

    @property
    def authority(self) -> Path:
        """What a client must trust to trust it."""
        return self._base / "ca.pem"

    def __enter__(self) -> Nginx:
        self.port, self._tls_port = free_ports(2)
        names = {"base": self._base, "files": self.files, "address": self._address, "port": self.port}
        # As root its worker would be somebody who may not look into our folder.
        names["user"] = "user root;" if os.geteuid() == 0 else ""
        names["tls"] = TLS.format(**names, tls_port=self._tls_port) if self._tls else ""
        if self._tls:
            command = [sys.executable, "-P", "-c", AUTHORITY, self._base, self._address]
            subprocess.run(command, check=True, env=environment())
        (self._base / "nginx.conf").write_text(CONFIGURATION.format(**names))
        log = self._base / "error.log"
        command = [self._program, "-p", self._base, "-c", self._base / "nginx.conf", "-e", log]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([*self._prefix, *command], **quiet)
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        self._log = (self._base / "access.log").open()
        return self

    def __exit__(self, *exc: object) -> None:
        self._log.close()
        self._stop()

    def url(self, name: str, scheme: str = "http") -> str:
        port = self._tls_port if scheme == "https" else self.port
        return f"{scheme}://{self._address}:{port}/{name}"

    def asked(self) -> Asked:
        """What it was asked since this was asked last. A request is counted when it is over."""
        connections, requests, sent, refused = set(), 0, 0, 0
        for line in self._log:
            connection, status, size = line.split()
            connections.add(connection)
            requests += 1
            sent += int(size)
            refused += status == "503"
        return Asked(requests, len(connections), sent, refused)

    def _wait(self) -> None:
        # It writes its number when it listens.
        deadline = time.monotonic() + 10
        while self._process.poll() is None and time.monotonic() < deadline:
            if (self._base / "nginx.pid").exists():
                return
            time.sleep(0.01)
        raise SystemExit(f"nginx does not answer: {(self._base / 'error.log').read_text()}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        (self._base / "nginx.pid").unlink(missing_ok=True)


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def make_random(path: Path, size: int) -> str:
    """Write `size` random bytes; their SHA-256. They stay in the page cache, and are on the disk."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for at in range(0, size, PIECE):
            piece = os.urandom(min(PIECE, size - at))
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def read_through(path: Path) -> None:
    """Bring a file into the page cache, so that no contender pays for the first reading."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(PIECE)
        while file.readinto(buffer):
            pass


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def quick_digest(path: Path) -> str:
    """XXH3 with 128 bits: for what is compared after every run."""
    found = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(PIECE)
        while count := file.readinto(buffer):
            found.update(memoryview(buffer)[:count])
    return found.hexdigest()


def parse_size(text: str) -> int:
    """``"1G"``, ``"100M"``, ``"65536"``: bytes, by powers of 1,024."""
    number, unit = text[:-1], text[-1:].upper()
    if unit in "KMGT" and unit:
        return int(float(number) * 1024 ** ("KMGT".index(unit) + 1))
    return int(text)
