"""The other process of an isolated download: it delivers, shows how far it is, and obeys.

Nothing here is the caller's: neither his ``__main__`` nor his modules are imported. It never outlives its
parent: on Linux the kernel ends it with him, elsewhere it sees within a tenth of a second that he is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
from queue import SimpleQueue
from typing import Any

from largefile.engine.board import Board
from largefile.engine.channel import Channel
from largefile.engine.crossing import (
    Cancel,
    Ended,
    Expired,
    Failed,
    Limits,
    Logged,
    Order,
    Renewed,
    RenewError,
    Waits,
    pack,
)
from largefile.engine.delivery import Delivery
from largefile.engine.job import Control
from largefile.errors import CancelledError
from largefile.rules.rate import RateController
from largefile.wire.http import HTTPReader

__all__ = ["CELLS", "main"]

#: Seconds between two snapshots.
INTERVAL = 0.1
#: Parts of the content of which it is shown how full they are.
CELLS = 480
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve the parent that has started this process, and end it."""
    channel_fd, board_fd, parent = map(int, sys.argv[1:4])
    end_with(parent)
    # Ctrl-C is the parent's: he stops the transfers in order. He has blocked it until here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    board = Board(board_fd)
    os.close(board_fd)
    Child(Channel(socket.socket(fileno=channel_fd)), board, parent).run()
    # All is in order, and the parent has been told: what is left is only this interpreter.
    os._exit(0)


def end_with(parent: int) -> None:
    """Have this process killed when its parent ends, where the system can; at once if he has."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


class Child:
    """One download for the process at the other end of `channel`."""

    def __init__(self, channel: Channel, board: Board, parent: int) -> None:
        self._channel = channel
        self._board = board
        self._parent = parent
        self._control = Control()
        self._rate: RateController | None = None
        self._delivery: Delivery | None = None
        self._renewing = threading.Lock()  # one question at a time
        self._renewed: SimpleQueue[Renewed] = SimpleQueue()
        self._showing: threading.Thread | None = None
        self._over = threading.Event()
        self._waited_for: str | None = None  # as the parent was told

    def run(self) -> None:
        """Deliver, and tell how it ended."""
        end: Ended | Failed
        try:
            end = Ended(self._deliver(self._channel.receive()))
        except BaseException as error:  # noqa: BLE001 - raised by the parent
            end = Failed(pack(error))
        self._over.set()
        if self._showing is not None:
            self._showing.join()
        self._send(end)

    def _deliver(self, order: Order) -> Any:
        log = logging.getLogger("largefile")
        log.addHandler(Telling(self._send))
        log.setLevel(order.log_level)
        log.propagate = False
        self._control.deadline = order.deadline
        if order.limits is not None:
            self._rate = RateController()
            self._limit(order.limits)
        source = HTTPReader(order.url, renew=self._renew if order.renews else None, **order.reader)
        session = order.session._replace(rate=self._rate)
        self._delivery = Delivery(source, order.dest, self._control, order.options, session)
        threading.Thread(target=self._obey, name="largefile-orders", daemon=True).start()
        self._showing = threading.Thread(target=self._keep_showing, name="largefile-progress", daemon=True)
        self._showing.start()
        return self._delivery.run()

    # --- what the parent says --------------------------------------------------------------------

    def _obey(self) -> None:
        while True:
            try:
                message = self._channel.receive()
            except (EOFError, OSError):
                self._control.cancel(CancelledError("the process that started this download is gone"))
                return
            match message:
                case Cancel(reason):
                    self._control.cancel(reason)
                case Limits():
                    self._limit(message)
                case Renewed():
                    self._renewed.put(message)

    def _limit(self, limits: Limits) -> None:
        if self._rate is not None:
            self._rate.bytes_per_second = limits.bytes_per_second
            self._rate.requests_per_second = limits.requests_per_second

    def _renew(self, url: str) -> str:
        with self._renewing:
            self._send(Expired(url))
            answer = self._renewed.get()
        if answer.url is None:
            raise RenewError(answer.failure)
        return answer.url

    # --- what it says ----------------------------------------------------------------------------

    def _keep_showing(self) -> None:
        while not self._over.wait(INTERVAL):
            if os.getppid() != self._parent:
                self._control.cancel(CancelledError("the process that started this download is gone"))
            self._show()
        self._show()  # how it ended

    def _show(self) -> None:
        assert self._delivery is not None
        if (rival := self._control.waiting_for) is not None and rival != self._waited_for:
            self._waited_for = rival
            self._send(Waits(rival))
        cells = bytes(map(as_byte, self._control.block_map(CELLS)))
        self._board.show((self._delivery.stats(), cells))

    def _send(self, message: object) -> None:
        with contextlib.suppress(OSError):  # a parent that is gone is told nothing
            self._channel.send(message)


def as_byte(share: float) -> int:
    """0 for empty, 255 for full, and neither for anything between."""
    return 0 if share <= 0 else 255 if share >= 1 else max(1, min(254, round(255 * share)))


class Telling(logging.Handler):
    """Hands records to the parent, whose handlers write them."""

    def __init__(self, send: Any) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        told = dict(record.__dict__)
        if record.exc_info:
            told["exc_text"] = logging.Formatter().formatException(record.exc_info)
        # As text, since arguments may be anything.
        told.update(msg=record.getMessage(), args=None, exc_info=None)
        self._send(Logged(told))
