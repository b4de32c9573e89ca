"""Which certificate authorities are trusted, chosen once and told in words."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["choose_ca_file"]

#: Environment variables that users of curl, OpenSSL and requests set; the pycurl wheel reads none.
VARIABLES = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
#: Where the pycurl wheel looks when it is imported.
SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/usr/share/ssl/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


def choose_ca_file(ca_file: str | os.PathLike[str] | None, environ: Mapping[str, str] = os.environ) -> str:
    """Give the file of CA certificates to trust.

    In this order: `ca_file`, the environment (SSL_CERT_FILE, CURL_CA_BUNDLE, REQUESTS_CA_BUNDLE), the
    system's own bundle, certifi's.

    Raises
    ------
    ValueError
        If a file that somebody named does not exist. It is never replaced by another in silence.
    """
    named = [("ca_file", os.fspath(ca_file))] if ca_file is not None else []
    named += [(name, environ[name]) for name in VARIABLES if environ.get(name)]
    for name, path in named[:1]:
        if not os.path.isfile(path):
            raise ValueError(f"{name} names {path!r}, which is not a file")
        return path
    for path in SYSTEM_FILES:
        if os.path.isfile(path):
            return path
    import certifi  # the last resort, and slow to import

    return certifi.where()
