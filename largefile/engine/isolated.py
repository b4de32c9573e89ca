"""A download by a process of its own: the same `run` and `stats` as a `Delivery`, over the same files.

Threads of one process take turns at its interpreter, so one that computes in Python makes every callback of
a transfer wait for some milliseconds. Here the engine has an interpreter for itself. This side starts it,
hands on what it says, and stops it; it looks at the shared memory and waits, and needs next to nothing of
the interpreter itself. Beside such a thread each import costs 20 ms, as every look at a file gives the
interpreter away: there are few, and what is not needed to start the process is imported while that starts.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from largefile.engine.board import Board, shared_memory
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
    as_data,
    plain,
    unpack,
)
from largefile.engine.destination import Destination
from largefile.engine.job import Control
from largefile.engine.options import DeliveryOptions, SessionOptions
from largefile.engine.starting import ending, start, working_folder
from largefile.errors import EngineDiedError, LargeFileError
from largefile.log import log_level
from largefile.stats import DownloadStats, DownloadStatus
from largefile.wire.renewal import Renew

__all__ = ["Isolated"]

#: Seconds between two looks at whether it lives, and at the limits.
TICK = 0.1
#: Seconds that a child which was told to stop, or has said that it is done, may take.
PATIENCE = 10.0
GONE = object()


class Isolated:
    """One download to one destination, by a child process. `run` once; `stats` from any thread.

    Parameters
    ----------
    url, dest
        From where, to where.
    reader
        The options of `HTTPReader`.
    control, options, session
        As for a `Delivery`.
    renew
        Called here, in this process.

    Raises
    ------
    ValueError
        If no interpreter can be started, the name can not be used, or an option is no plain data.
    """

    def __init__(
        self,
        url: str,
        dest: str | os.PathLike[str],
        reader: dict[str, Any],
        control: Control,
        options: DeliveryOptions,
        session: SessionOptions,
        renew: Renew | None = None,
    ) -> None:
        if not sys.executable or getattr(sys, "frozen", False):
            raise ValueError("isolate=True needs a Python interpreter to start, and this program has none")
        self._url: str = as_data("url", url)
        self._path: str = as_data("dest", os.fspath(dest))
        self._to = Destination(os.path.abspath(dest))
        self._folder = working_folder()
        self._reader = {name: as_data(name, value) for name, value in reader.items()}
        self._options, self._session = plain(options), plain(session)._replace(rate=None)
        self._renew = renew
        self._renew_error: BaseException | None = None
        self._control = control
        self._rate = session.rate
        self._limits: Limits | None = None
        self._channel: Channel | None = None
        self._board: Board | None = None
        self._last: tuple[DownloadStats, bytes] = (DownloadStats(phase="probing"), b"")
        self._started = time.monotonic()
        control.block_map = self.block_map

    # --- the way of a download -------------------------------------------------------------------

    def run(self) -> DownloadStatus:
        """Deliver; the errors of `largefile.download`, each with the `status` reached."""
        try:
            self._control.check()
            with self._child() as child:
                status = self._watch(child)
        except LargeFileError as error:
            error.status = self._timed(error.status or self._status(error))
            raise
        return self._timed(status)

    @contextlib.contextmanager
    def _child(self) -> Iterator[subprocess.Popen[bytes]]:
        try:
            ours, theirs = Channel.pair()
            with contextlib.ExitStack() as undone, theirs:
                undone.enter_context(ours)
                child = self._start(theirs)
                undone.pop_all()
        except OSError as error:
            raise EngineDiedError(f"it could not be started: {error}") from error
        with ours:
            self._channel = ours
            try:
                yield child
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(PATIENCE)
            finally:
                child.kill()
                child.wait()
                self._last = self._look()
                self._board = None
                if self._rate is not None:
                    self._rate.register(self, 0)

    def _start(self, theirs: Channel) -> subprocess.Popen[bytes]:
        memory = shared_memory()
        try:
            self._board = Board(memory)
            return start(theirs, memory, self._folder)
        finally:
            os.close(memory)

    def _watch(self, child: subprocess.Popen[bytes]) -> DownloadStatus:
        """Hand on what the child says, to its end."""
        self._limits = self._allowed()
        self._send(self._order())
        self._control.on_cancel(self._cancel)
        stop_at = None
        while (message := self._receive(child)) is not GONE:
            if isinstance(message, Ended):
                return message.status
            self._hear(message)
            self._keep_limits()
            if self._control.cancelled():
                stop_at = stop_at or time.monotonic() + PATIENCE
                if time.monotonic() > stop_at:
                    child.kill()
        self._control.check()
        raise EngineDiedError(ending(child.wait()), child.returncode)

    def _receive(self, child: subprocess.Popen[bytes]) -> object:
        """What the child says; None if that is nothing for a while, and GONE if it is dead."""
        assert self._channel is not None
        alive = child.poll() is None  # its end of the channel may be open still, in somebody's fork
        try:
            message: object = self._channel.receive(TICK)
        except (EOFError, OSError):
            return GONE
        return message if alive or message is not None else GONE

    def _order(self) -> Order:
        return Order(
            url=self._url,
            reader=self._reader,
            dest=self._path,
            options=self._options,
            session=self._session,
            limits=self._limits,
            deadline=float(self._control.deadline),
            renews=self._renew is not None,
            log_level=log_level(),
        )

    def _send(self, message: object) -> None:
        assert self._channel is not None
        with contextlib.suppress(OSError):  # it is gone, which `_watch` sees
            self._channel.send(message)

    def _cancel(self) -> None:
        if self._control.reason is not None:
            self._send(Cancel(self._control.reason))

    # --- what the child says ---------------------------------------------------------------------

    def _hear(self, message: object) -> None:
        match message:
            case Failed(errors):
                raise self._with_our_cause(unpack(errors))
            case Waits(rival):
                self._control.waiting_for = rival
            case Logged(attributes):
                import logging  # there is something to say

                record = logging.makeLogRecord(attributes)
                logger = logging.getLogger(record.name)
                if logger.isEnabledFor(record.levelno):
                    logger.handle(record)
            case Expired(url):
                # Its caller may take his time, and the child is watched meanwhile.
                threading.Thread(target=self._ask, args=[url], name="largefile-renew", daemon=True).start()

    def _ask(self, url: str) -> None:
        assert self._renew is not None
        try:
            found = self._renew(url)
            if not isinstance(found, str):
                raise TypeError(f"renew returned a {type(found).__name__}, needed is a URL")
        except BaseException as error:  # noqa: BLE001 - the cause of what `run` raises
            self._renew_error = error
            self._send(Renewed(None, type(error).__name__))
        else:
            self._send(Renewed(as_data("url", found)))

    def _with_our_cause(self, error: BaseException) -> BaseException:
        if isinstance(error.__cause__, RenewError) and self._renew_error is not None:
            error.__cause__ = self._renew_error
        return error

    # --- limits ----------------------------------------------------------------------------------

    def _allowed(self) -> Limits | None:
        """This download's part of a rate that others may share."""
        if (rate := self._rate) is None:
            return None
        connections = self._look()[0].connections
        rate.register(self, connections)
        transfers = max(1, connections)
        requests = as_data("rate", rate.requests_per_second)
        return Limits(rate.share(transfers) * transfers or None, requests)

    def _keep_limits(self) -> None:
        if (limits := self._allowed()) != self._limits:
            self._limits = limits
            self._send(limits)

    # --- what it has done ------------------------------------------------------------------------

    def _look(self) -> tuple[DownloadStats, bytes]:
        board = self._board
        return (board.look() if board is not None else None) or self._last

    def stats(self) -> DownloadStats:
        """A snapshot, from any thread; the child makes ten a second."""
        return replace(self._look()[0], elapsed=time.monotonic() - self._started)

    def block_map(self, cells: int) -> list[float]:
        """How much of each of `cells` equal parts of the content is in place."""
        if cells < 1:
            raise ValueError(f"cells is {cells}, needed is at least 1")
        shown = self._look()[1] or bytes(1)
        places = ((cell * len(shown) // cells, (cell + 1) * len(shown) // cells) for cell in range(cells))
        parts = (shown[start : max(start + 1, stop)] for start, stop in places)
        return [sum(part) / (255 * len(part)) for part in parts]

    def _timed(self, status: DownloadStatus) -> DownloadStatus:
        """With the time that it took from here, the start of the process included."""
        took = time.monotonic() - self._started
        return replace(status, elapsed=took, duration=took)

    def _status(self, error: LargeFileError) -> DownloadStatus:
        """How far it was, where the child can not say it any more."""
        stats = replace(self._last[0], phase="stopped", connections=0, rate=0.0)
        self._last = stats, self._last[1]
        return DownloadStatus.of(
            stats,
            resumable=error.resumable,
            path=f"{self._path}.part" if os.path.lexists(self._to.part) else None,
        )
