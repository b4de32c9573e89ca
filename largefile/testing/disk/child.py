"""A process that does one thing, and is killed at the file operation that the environment names.

``LARGEFILE_CRASH_AT=7 python -m largefile.testing.disk.child '{"act": "download", "url": …, "folder": …}'``
ends by SIGKILL in the place of its eighth operation on a file. Nothing else reads that variable.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pycurl

from largefile.testing.disk.acts import ACTS
from largefile.testing.disk.mortal import Mortal
from largefile.testing.disk.seam import everywhere

__all__ = ["CRASH_AT", "RECEIVE_BUFFER", "live"]

CRASH_AT = "LARGEFILE_CRASH_AT"
#: Bytes that a socket may hold unread; it is asked for half of that, as the system doubles it. Left alone it
#: would grow, to any size, and nobody could say what was in flight when the process died.
RECEIVE_BUFFER = 64 << 10


class Curl(pycurl.Curl):  # type: ignore[misc]
    """A transfer over a socket that holds no more than RECEIVE_BUFFER."""

    def __init__(self) -> None:
        self.setopt(pycurl.SOCKOPTFUNCTION, _limit)


def _limit(fd: int, purpose: int) -> int:
    with socket.socket(fileno=fd) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER // 2)
        connection.detach()
    return 0


def live(order: dict[str, Any]) -> dict[str, Any]:
    """Do what `order` says; how many file operations it took, and what came of it.

    Parameters
    ----------
    order : dict
        ``act``, ``url``, ``folder``; where wanted ``options`` of the act, and ``locks`` of `Mortal`.
    """
    crash_at = os.environ.get(CRASH_AT)
    pycurl.Curl = Curl
    logging.getLogger("largefile").addHandler(logging.NullHandler())  # what goes wrong is in the answer
    ops = Mortal(int(crash_at) if crash_at else None, locks=order.get("locks", True))
    found: dict[str, Any] = {}
    with everywhere(ops):
        try:
            options = {"proxy": "", **order.get("options", {})}
            found["sha256"] = ACTS[order["act"]](order["url"], Path(order["folder"]), options)
        except Exception as error:  # noqa: BLE001 - told to who gave the order
            found["kinds"] = [kind.__name__ for kind in type(error).__mro__]
            found["text"] = f"{type(error).__name__}: {error}"
    return found | {"operations": ops.count}


if __name__ == "__main__":
    print(json.dumps(live(json.loads(sys.argv[1]))))
