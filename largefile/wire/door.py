"""The sockets of a transfer that may go to public addresses only.

libcurl asks for a socket for each address it is about to connect to: after the name was resolved, for every
hop of a redirect, and however often the name is resolved again. So what is judged is what is connected to.
A connection that is used again was opened through here too, as each driver keeps its own.
"""

from __future__ import annotations

import os
import socket
from typing import Any

import pycurl

__all__ = ["Door"]


class Door:
    """Opens sockets to public addresses, and keeps the last other one in mind. Its callbacks never raise."""

    def __init__(self) -> None:
        from largefile.rules.addresses import is_public  # with `ipaddress`: only for who has a door

        self._is_public = is_public
        self.refused: str | None = None  #: the address that was not connected to
        self.opened = False  #: whether another one was

    @property
    def is_shut(self) -> bool:
        """Whether there was nothing but addresses that are refused."""
        return self.refused is not None and not self.opened

    def watch(self, curl: Any) -> None:
        """Open the sockets of this handle from now on."""
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open)
        curl.setopt(pycurl.SOCKOPTFUNCTION, _keep_from_children)

    @staticmethod
    def leave(curl: Any) -> None:
        curl.unsetopt(pycurl.OPENSOCKETFUNCTION)
        curl.unsetopt(pycurl.SOCKOPTFUNCTION)

    def _open(self, purpose: int, target: Any) -> Any:
        try:
            address = str(target.addr[0])
            if not self._is_public(address):
                self.refused = address
                return pycurl.SOCKET_BAD
            opened = _Lent(socket.socket(target.family, target.socktype, target.protocol))
        except Exception:  # noqa: BLE001 - no address that we know how to judge, or no socket to be had
            return pycurl.SOCKET_BAD
        self.opened = True
        return opened


class _Lent:
    """A socket of which pycurl takes a duplicate; it is closed when pycurl lets go of it."""

    def __init__(self, lent: socket.socket) -> None:
        self._lent = lent

    def fileno(self) -> int:
        return self._lent.fileno()

    def __del__(self) -> None:
        self._lent.close()


def _keep_from_children(descriptor: int, purpose: int) -> int:
    """The duplicate, unlike what it was made of, would be inherited by every program that is started."""
    try:
        os.set_inheritable(descriptor, False)
    except OSError:
        return int(pycurl.SOCKOPT_ERROR)
    return int(pycurl.SOCKOPT_OK)
