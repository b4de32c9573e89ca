"""Certificates for loopback, good ones and bad ones, by an authority that nobody knows."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

__all__ = ["Authority"]


class Authority:
    """Signs for any host; `ca_file` is what to trust. Nothing else on this machine trusts it.

    Raises
    ------
    ModuleNotFoundError
        Without ``trustme``, which the extra ``test`` brings.
    """

    def __init__(self, folder: Path) -> None:
        import trustme

        self._authority = trustme.CA()
        self.ca_file = str(folder / "authority.pem")
        self._authority.cert_pem.write_to_path(self.ca_file)

    def context(self, *hosts: str, ended: bool = False) -> ssl.SSLContext:
        """A server's context with a certificate for `hosts`; `ended`: one that was good until yesterday."""
        until = datetime.datetime.now() - datetime.timedelta(days=1) if ended else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*hosts, not_after=until).configure_cert(context)
        return context
