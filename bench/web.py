"""An nginx on loopback over one folder, as plain as it comes, and the files that it serves."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PIECE = 1 << 20  # small: a child's peak memory is at least ours
CONFIGURATION = """
daemon off;
worker_processes 1;
pid {base}/nginx.pid;
error_log {base}/error.log warn;
{user}
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {base}/body;
  proxy_temp_path {base}/proxy;
  fastcgi_temp_path {base}/fastcgi;
  uwsgi_temp_path {base}/uwsgi;
  scgi_temp_path {base}/scgi;
  default_type application/octet-stream;
  sendfile on;
  server {{
    listen 127.0.0.1:{port};
    root {base}/files;
  }}
}}
"""


class Nginx:
    """A running server over ``base / "files"``. Use as a context manager."""

    def __init__(self, base: Path) -> None:
        found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if found is None:
            raise SystemExit("nginx is not installed")
        self._program = found
        self._base = base
        self.files = base / "files"
        self.files.mkdir()

    def __enter__(self) -> Nginx:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        # As root its worker would be somebody who may not look into our folder.
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = CONFIGURATION.format(base=self._base, port=self._port, user=user)
        (self._base / "nginx.conf").write_text(configuration)
        command = [
            self._program,
            "-p",
            self._base,
            "-c",
            self._base / "nginx.conf",
            "-e",
            self._base / "error.log",
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._port}/{name}"

    def _wait(self) -> None:
        deadline = time.monotonic() + 10
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise SystemExit(f"nginx does not answer: {(self._base / 'error.log').read_text()}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


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


def parse_size(text: str) -> int:
    """``"1G"``, ``"100M"``, ``"65536"``: bytes, by powers of 1,024."""
    number, unit = text[:-1], text[-1:].upper()
    if unit in "KMGT" and unit:
        return int(float(number) * 1024 ** ("KMGT".index(unit) + 1))
    return int(text)
