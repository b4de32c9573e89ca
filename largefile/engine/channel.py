"""Messages between two processes: pickles with their size in front, over a socket pair that has no name."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import threading
from typing import Any, Self

__all__ = ["Channel", "beyond_standard"]

SIZE = struct.Struct("=I")
PIECE = 1 << 16
#: Where a program lets SIGPIPE end it, a process that has gone is an error all the same.
FLAGS = getattr(socket, "MSG_NOSIGNAL", 0)


class Channel:
    """One end. Any thread may send, and one may receive.

    Examples
    --------
    >>> ours, theirs = Channel.pair()
    >>> ours.send(("any", "data"))
    >>> theirs.receive()
    ('any', 'data')
    >>> theirs.receive(timeout=0.0) is None
    True
    >>> ours.close(); theirs.close()
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()
        self._come = bytearray()
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Both ends."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ends = [socket.socket(fileno=beyond_standard(end.detach())) for end in (ours, theirs)]
        return cls(ends[0]), cls(ends[1])

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: object) -> None:
        """Send it; OSError if this end is closed, or the other one."""
        import pickle  # only now: who starts a process does that first

        data = pickle.dumps(message)
        with self._sending:
            self._socket.sendall(SIZE.pack(len(data)) + data, FLAGS)

    def receive(self, timeout: float | None = None) -> Any:
        """The next message, or None if nothing comes for `timeout` seconds, or nothing more of it.

        Raises
        ------
        EOFError, OSError
            There will be none any more.
        """
        while (message := self._whole()) is None:
            # Who was killed in the middle of one leaves the rest out, and no end if a fork of ours has his.
            if not self._poll.poll(None if timeout is None else timeout * 1000):
                return None
            piece = self._socket.recv(PIECE)
            if not piece:
                raise EOFError("the other process has gone")
            self._come += piece
        import pickle

        return pickle.loads(message)

    def _whole(self) -> bytes | None:
        """The first message of what has come, if all of it has."""
        stop = SIZE.size
        if len(self._come) >= stop:
            stop += SIZE.unpack_from(self._come)[0]
        if len(self._come) < stop or stop == SIZE.size:
            return None
        message = bytes(self._come[SIZE.size : stop])
        del self._come[:stop]
        return message

    def close(self) -> None:
        with self._sending:
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def beyond_standard(fd: int) -> int:
    """The same file under a number that is not of standard input or output; `fd` is closed if it is one.

    A caller that has closed his own gets their numbers anew, and a program that is started loses them.
    """
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)
