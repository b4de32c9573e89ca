"""The digest of a content, by the word of the caller or of a server, in whatever field it says so.

Of a server's fields, only those that speak of the whole content as we ask for it, without a content coding,
are heard. What is malformed, of another length than its algorithm's, or a CRC, counts as absent.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

__all__ = ["ServerDigest", "parse_digest", "server_digest"]

#: By the names that fields use, the strongest first: what hashlib calls them.
_NAMES = {"sha-512": "sha512", "sha-256": "sha256", "sha": "sha1", "md5": "md5"}
_STRENGTH = tuple(_NAMES.values())

# A dictionary member of RFC 8941 section 3.2, without inner lists. No part of it can be read in two ways.
_KEY = r"[a-z*][a-z0-9_.*-]*"
_ITEM = r'(?:"(?:[^"\\]|\\["\\])*"|:[A-Za-z0-9+/=]*:|[?A-Za-z0-9*-][^\s,;"]*)'
_MEMBER = rf"[ \t]*({_KEY})(?:=({_ITEM}))?(?:; *{_KEY}(?:={_ITEM})?)*[ \t]*(,|\Z)"


class ServerDigest(NamedTuple):
    """A digest by the server's word, and the field that had it."""

    digest: str  #: ``"sha256:…"``, lower case
    field: str

    @property
    def algorithm(self) -> str:
        """The name that hashlib knows."""
        return self.digest.partition(":")[0]

    def contradicts(self, other: ServerDigest | None) -> bool:
        """Whether the two are of one algorithm and differ, whatever fields they came in."""
        return other is not None and self.algorithm == other.algorithm and self.digest != other.digest

    def agrees(self, other: ServerDigest | None) -> bool:
        """Whether the two are the same, whatever fields they came in."""
        return other is not None and self.digest == other.digest

    def __str__(self) -> str:
        return f"{self.field} {self.digest}"


def parse_digest(text: str) -> tuple[str, str]:
    """Take a caller's digest apart: ``"sha256:HEX"`` or ``"sha-256=HEX"``.

    Returns
    -------
    tuple of str
        The name that `hashlib` knows, and the digest in lower-case hex.

    Raises
    ------
    ValueError
        If the algorithm is unknown, or the rest is not hex of that algorithm's length.

    Examples
    --------
    >>> parse_digest("MD5=D41D8CD98F00B204E9800998ECF8427E")
    ('md5', 'd41d8cd98f00b204e9800998ecf8427e')
    """
    import hashlib  # loads OpenSSL: only for who has a digest

    label, _, value = text.strip().partition("=" if "=" in text else ":")
    # Algorithms whose digest has a size of its own; the shake family's is a choice.
    known = {re.sub("[-_]", "", name): name for name in hashlib.algorithms_guaranteed if "shake" not in name}
    name = known.get(re.sub("[-_]", "", label.strip().lower()))
    if name is None:
        allowed = ", ".join(sorted(known.values()))
        raise ValueError(f"digest {text!r} must be ALGORITHM:HEX with one of {allowed}")
    needed = 2 * hashlib.new(name, usedforsecurity=False).digest_size
    value = value.strip().lower()
    if re.fullmatch(r"[0-9a-f]*", value) is None or len(value) != needed:
        raise ValueError(f"digest {text!r} must have {needed} hexadecimal digits after {label}")
    return name, value


def server_digest(headers: Mapping[str, str], whole: bool) -> ServerDigest | None:
    """The strongest digest of the whole content among a response's fields (names in lower case).

    Parameters
    ----------
    headers
        Of a 200 or 206 without a content coding.
    whole
        Whether the body is the whole content: fields that speak of this body count only then.

    Returns
    -------
    ServerDigest or None
        Never raises.

    Examples
    --------
    >>> said = server_digest({"x-goog-hash": "crc32c=AAAAAA==, md5=1B2M2Y8AsgTpgAmY7PhCfg=="}, whole=False)
    >>> str(said)
    'x-goog-hash md5:d41d8cd98f00b204e9800998ecf8427e'

    Notes
    -----
    RFC 9530 (Repr-Digest, Content-Digest), RFC 3230 (Digest), RFC 1864 (Content-MD5).
    """
    said = [found for found in _said(headers, whole) if found is not None]
    return min(said, key=lambda found: _STRENGTH.index(found.algorithm), default=None)


def _said(headers: Mapping[str, str], whole: bool) -> Iterator[ServerDigest | None]:
    """All that is said, by the fields that are trusted most first."""
    yield from _each(headers, "Repr-Digest", _dictionary)
    if whole:
        yield from _each(headers, "Content-Digest", _dictionary)
    yield from _each(headers, "Digest", _list)
    # Of a content that is stored compressed, and decompressed for us, it is the digest of what is stored.
    if headers.get("x-goog-stored-content-encoding", "identity").strip().lower() == "identity":
        yield from _each(headers, "x-goog-hash", _list)
    if _is_of_all(headers, whole):
        yield _taken("sha-256", headers.get("x-amz-checksum-sha256", ""), "x-amz-checksum-sha256")
        yield _taken("sha", headers.get("x-amz-checksum-sha1", ""), "x-amz-checksum-sha1")
    if whole:
        yield _taken("md5", headers.get("content-md5", ""), "Content-MD5")


def _is_of_all(headers: Mapping[str, str], whole: bool) -> bool:
    """Whether ``x-amz-checksum-*`` is of the object: not of the parts' checksums, and not of one part."""
    kind = headers.get("x-amz-checksum-type", "").strip().upper()
    return kind == "FULL_OBJECT" or (whole and not kind)


def _each(
    headers: Mapping[str, str], field: str, parse: Callable[[str], dict[str, str]]
) -> Iterator[ServerDigest | None]:
    for name, value in parse(headers.get(field.lower(), "")).items():
        yield _taken(name, value, field)


def _dictionary(value: str) -> dict[str, str]:
    """The byte sequences of a structured field, still in base64; none of a field that is malformed."""
    found: dict[str, str] = {}
    at = 0
    while at < len(value):
        member = re.compile(_MEMBER).match(value, at)  # compiled for who sends such a field, and kept by `re`
        if member is None or (member[3] and member.end() == len(value)):
            return {}
        found[member[1]] = member[2] or ""  # of two of a name the last one counts
        at = member.end()
    return {name: item[1:-1] for name, item in found.items() if item.startswith(":")}


def _list(value: str) -> dict[str, str]:
    """``name=base64, …``, as before there were structured fields; of two of a name the first one counts."""
    pairs = [part.strip().partition("=") for part in value.split(",")]
    return {name.strip().lower(): text.strip() for name, _, text in reversed(pairs)}


def _taken(name: str, text: str, field: str) -> ServerDigest | None:
    algorithm = _NAMES.get(name)
    data = _decoded(text.strip())
    if algorithm is None or not data or len(data) != _size(algorithm):
        return None
    return ServerDigest(f"{algorithm}:{data.hex()}", field)


def _decoded(text: str) -> bytes:
    """Base64, with its padding or without; nothing for anything else."""
    bare = text.rstrip("=")
    if not bare:
        return b""
    import base64  # few servers send any

    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:
        return b""


@functools.cache
def _size(algorithm: str) -> int | None:
    """Bytes of a digest; None where this system has no such algorithm, or forbids it."""
    import hashlib  # as above

    try:
        return hashlib.new(algorithm).digest_size
    except ValueError:
        return None
