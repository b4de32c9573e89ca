"""``largefile demo``: the main job with a server that misbehaves, a kill in the middle, and no network."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from largefile.cli.inputs import size as read_size
from largefile.cli.report import drawn, printable
from largefile.errors import LargeFileError
from largefile.progress import human_bytes

if TYPE_CHECKING:
    from largefile.testing.server import Behaviour, LoopbackServer, Request

__all__ = ["demo"]

SMALLEST, LARGEST = 4 << 20, 1 << 30
CELLS = 64
#: How full the partial file is when its process is killed.
KILL_AT = 0.4
#: The server sends so slowly that all of it takes about so many seconds: long enough to be killed within.
SECONDS = 3.0
CONNECTIONS = 8
#: But no response is slower than this: the first one carries up to a MiB, however small the rest is.
SLOWEST = (1 << 20) / 1.5


@click.command(short_help="See it work: a bad server, a kill, a resume. No network needed.")
@click.option(
    "--size",
    callback=read_size,
    default="64M",
    show_default=True,
    metavar="SIZE",
    help="How much to download, 4M to 1G; it is kept in memory too.",
)
@click.option("--keep", is_flag=True, help="Leave the downloaded file there.")
def demo(size: int, keep: bool) -> None:
    """Download random bytes from a server on this machine that misbehaves on purpose.

    It cuts connections, answers 503 and gives wrong ranges; and half-way the downloading process is
    killed with SIGKILL. The same command then goes on, and the result is compared by SHA-256. Exits with
    0 only if it is right.
    """
    if not SMALLEST <= size <= LARGEST:
        raise click.UsageError(f"--size is {size}, needed is {SMALLEST} to {LARGEST}")
    folder = Path(tempfile.mkdtemp(prefix="largefile-demo-"))
    try:
        Demo(size, folder / "random.bin").run()
    finally:
        if keep:
            click.echo(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


class DemoError(LargeFileError):
    """The demonstration did not show what it should."""


class Mischief:
    """What the server does wrong, by the number of the request, so that each run sees the same."""

    def __init__(self) -> None:
        self.cuts = self.resets = self.busy = self.lies = 0

    def __call__(self, request: Request) -> Behaviour | None:
        from largefile.testing.server import Behaviour

        number, wanted = request.number, request.range
        if wanted is None or wanted[1] is None or number > 80:
            return None
        first, last = wanted[0], wanted[1]
        if number == 2:
            self.busy += 1
            return Behaviour(status=503, headers={"Retry-After": "1"})
        if number == 5:
            self.lies += 1
            return Behaviour(serve=(0, last - first) if first else (1, last + 1))
        if number % 7 != 3:
            return None
        reset = number % 2 == 0
        self.resets += reset
        self.cuts += not reset
        return Behaviour(cut_after=(last - first + 1) * 2 // 5, reset=reset)

    def __str__(self) -> str:
        return (
            f"{self.cuts + self.resets} bodies cut short ({self.resets} by a reset),"
            f" {self.busy} answer of 503 with Retry-After: 1, {self.lies} answer with the wrong bytes"
        )


class Demo:
    """One demonstration; `run` tells it step by step, and raises if anything is not as it should be."""

    def __init__(self, size: int, dest: Path, echo: Callable[[str], object] = click.echo) -> None:
        self._size = size
        self._dest = dest
        self._echo = echo
        self._began = time.monotonic()
        self._content = os.urandom(size)
        self._digest = hashlib.sha256(self._content).hexdigest()
        self._mischief = Mischief()

    def run(self) -> None:
        from largefile.testing.server import LoopbackServer

        slow = max(SLOWEST, self._size / SECONDS / CONNECTIONS)
        with LoopbackServer(self._content, rate=slow, behave=self._mischief) as server:
            self._say(f"serving {human_bytes(self._size)} of random bytes at {server.url}, badly on purpose")
            before = self._interrupted(server)
            status = self._resumed(server, before)
            self._account(server, status)
        self._compare()

    # --- the steps -------------------------------------------------------------------------------

    def _interrupted(self, server: LoopbackServer) -> int:
        """Download, and kill the process in the middle; the bytes that are there then."""
        with self._getting(server) as child:
            self._say("started: largefile get, in a process of its own")
            while child.poll() is None and self._cached() < KILL_AT * self._size:
                wait_a_moment(child)
            child.kill()
            _, words = child.communicate()
        if child.returncode >= 0:
            raise DemoError(
                f"the download ended by itself with exit code {child.returncode}: {words.strip()}"
            )
        cached = self._cached()
        self._say(f"killed it (SIGKILL): {human_bytes(cached)} of {human_bytes(self._size)} are in place")
        self._echo(f"{'':9}{self._map()}")
        return cached

    def _resumed(self, server: LoopbackServer, before: int) -> dict[str, Any]:
        """The same command again; what it says at its end."""
        with self._getting(server) as child:
            self._say("started the same command again")
            out, words = child.communicate(timeout=120)
        if child.returncode != 0:
            raise DemoError(f"going on failed with exit code {child.returncode}: {words.strip()}")
        status: dict[str, Any] = json.loads(out)
        if status["resumed_bytes"] != before:
            raise DemoError(f"{status['resumed_bytes']} bytes were resumed, {before} were there")
        self._say(
            f"complete: {human_bytes(before)} resumed, {human_bytes(status['downloaded_bytes'])} downloaded"
            f" in {status['duration']:.1f} s, {status['download_retries']} requests made again"
        )
        return status

    def _account(self, server: LoopbackServer, status: dict[str, Any]) -> None:
        again = server.sent - self._size
        self._say(f"the server's side: {len(server.requests)} requests; {self._mischief}")
        self._say(
            f"sent more than once: {human_bytes(again)}, {100 * again / self._size:.1f}% of the content"
            " (what was under way at cuts and at the kill)"
        )

    def _compare(self) -> None:
        with self._dest.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self._digest:
            raise DemoError(f"SHA-256 of the file is {found}, of the content {self._digest}")
        left = sorted(path.name for path in self._dest.parent.iterdir() if path != self._dest)
        if left:
            raise DemoError(f"files were left behind: {', '.join(left)}")
        self._say(f"verified: SHA-256 {found[:16]}... of the file is that of the content")

    # --- helpers ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _getting(self, server: LoopbackServer) -> Iterator[subprocess.Popen[str]]:
        """The download in a process of its own, which does not outlive the block."""
        # The proxy of the environment would not find this machine's loopback.
        options = ["-o", str(self._dest), "--proxy", "", "--digest", f"sha256:{self._digest}", "-q", "--json"]
        block = max(4096, min(1 << 20, self._size // CELLS))
        options += ["-x", str(CONNECTIONS), "--block-size", str(block)]
        with subprocess.Popen(
            # -P: the package that runs now, and not a source tree that happens to be the present folder.
            [sys.executable, "-P", "-m", "largefile", "get", server.url, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                yield child
            finally:
                child.kill()

    def _cached(self) -> int:
        """Bytes in the partial file, as another process sees them."""
        from largefile.disk.cache import LocalDownloadCache

        try:
            with LocalDownloadCache.open(*self._part(), read_only=True) as cache:
                return cache.cached_bytes_and_blocks()[0]
        except LargeFileError:
            return 0  # not made yet

    def _map(self) -> str:
        from largefile.disk.cache import LocalDownloadCache
        from largefile.engine.blockmap import block_map

        with LocalDownloadCache.open(*self._part(), read_only=True) as cache:
            return drawn(block_map(cache.byte_ranges.bitmap, CELLS))

    def _part(self) -> tuple[str, str]:
        return f"{self._dest}.part", f"{self._dest}.part.idx"

    def _say(self, text: str) -> None:
        self._echo(printable(f"{time.monotonic() - self._began:5.2f} s  {text}"))


def wait_a_moment(child: subprocess.Popen[str]) -> None:
    """A moment, or less if the child ends meanwhile."""
    try:
        child.wait(0.02)
    except subprocess.TimeoutExpired:
        return
