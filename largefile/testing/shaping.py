"""Networks with a known limit: a server whose connections have a rate, and a proxy that is far away.

Both run in a process of their own, so that what is measured shares no interpreter lock with them. They end
with their `with`, or with the process that began them, however that ends, and need nothing but the standard
library.

`ShapedServer` shapes the *connection*: its rate holds over all the requests that one connection carries,
so small requests are not flattered, and more connections get more. `DelayingProxy` makes the way long, and
not narrow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Self

__all__ = ["DelayingProxy", "ShapedServer"]

#: What a child runs. The importing rules are handed on: we may run from a clone or beside a built wheel.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from largefile.testing.{module} import main; main({words!r})"


class _Child:
    """A process that listens on a port of loopback, which it tells, until its input ends."""

    def __init__(self, module: str, **words: object) -> None:
        self._code = _PROGRAM.format(path=sys.path, module=module, words=words)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> Self:
        """Begin to listen; RuntimeError, with its words, if the process ends instead."""
        self._process = process = subprocess.Popen(
            [sys.executable, "-c", self._code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None  # for mypy: it is a pipe
        line = process.stdout.readline()
        if not line:
            _, words = process.communicate()
            self._process = None
            raise RuntimeError(f"it did not start: {words.decode(errors='replace').strip()}")
        self.port = int(line)
        return self

    def close(self) -> None:
        """End the process and with it every connection."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()


class ShapedServer(_Child):
    """Serve a content by ranged GET, each connection at most at `rate` bytes a second.

    Parameters
    ----------
    content : int or path-like
        So many bytes of `largefile.testing.script.pattern`, or a file.
    rate : float, optional
        Body bytes a second for each connection, over all its requests together.
    total : float, optional
        Body bytes a second over all connections together.

    Notes
    -----
    A connection that rests saves up 20 ms of its rate, and no more; a new one has saved nothing. Heads are
    not counted. The limits are upper ones: a busy machine gives less.

    Examples
    --------
    >>> import urllib.request
    >>> with ShapedServer(10**9, rate=10e6) as server:
    ...     ask = urllib.request.Request(server.url, headers={"Range": "bytes=500-599"})
    ...     with urllib.request.urlopen(ask) as response:
    ...         response.status, len(response.read()), response.headers["Content-Range"]
    ...     server.counts()
    (206, 100, 'bytes 500-599/1000000000')
    {'connections': 1, 'requests': 1, 'sent': 100}
    """

    def __init__(
        self,
        content: int | str | os.PathLike[str],
        *,
        rate: float | None = None,
        total: float | None = None,
    ) -> None:
        for name, value in (("rate", rate), ("total", total)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value!r}, needed is a number above 0, or None")
        size = content if isinstance(content, int) else Path(content).stat().st_size
        path = None if isinstance(content, int) else os.fspath(content)
        super().__init__("shaped_server", size=size, path=path, rate=rate, total=total)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/file.bin"

    def counts(self) -> dict[str, int]:
        """Connections, requests and body bytes so far, without those that ask for this."""
        # Not through a proxy that the environment names.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}/counts", timeout=10) as page:
            return dict(json.load(page))


class DelayingProxy(_Child):
    """Pass each connection on to a port of loopback, every byte `delay` seconds later, in both directions.

    Parameters
    ----------
    port : int
        Where to.
    delay : float
        Seconds for one direction: half of a round trip.
    handshake : bool
        Whether a new connection costs a round trip more, as it does on a real way (the kernel answers a
        connection to loopback itself, so the first bytes are held back instead).

    Notes
    -----
    As much may be under way as comes; only beyond 64 MiB in one direction the sender has to wait.

    Examples
    --------
    >>> import time, urllib.request
    >>> with ShapedServer(100) as server, DelayingProxy(server.port, delay=0.05) as far:
    ...     began = time.monotonic()
    ...     with urllib.request.urlopen(f"http://127.0.0.1:{far.port}/") as response:
    ...         len(response.read()), time.monotonic() - began >= 0.1
    (100, True)
    """

    def __init__(self, port: int, delay: float, *, handshake: bool = False) -> None:
        if not delay >= 0:
            raise ValueError(f"delay is {delay!r}, needed are seconds, 0 or more")
        super().__init__("delaying_proxy", port=port, delay=delay, handshake=handshake)
