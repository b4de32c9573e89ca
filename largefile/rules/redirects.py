"""Which addresses may be asked, where a redirect may lead, and which headers may go along.

An address is taken apart here by a stricter grammar than libcurl's, and only what both read alike passes:
a host that two parsers read differently is how credentials reach a stranger.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from largefile.errors import RefusedError

__all__ = [
    "MAX_HOPS",
    "REDIRECTS",
    "Headers",
    "check_url",
    "display_url",
    "follow",
    "headers_for",
    "origin",
    "same_origin",
]

#: Statuses whose Location is where the content is (RFC 9110 section 15.4); 304 to 306 are something else.
REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})
MAX_HOPS = 10

Headers = tuple[tuple[str, str], ...]

_PORTS = {"http": 80, "https": 443}
#: RFC 3986 appendix B.
_URL = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([^:]*))?")
_HOST = re.compile(r"[A-Za-z0-9._~-]+")
#: RFC 6874 for the zone. `ipaddress` would take nearly anything for one.
_LITERAL = re.compile(r"\[([0-9A-Fa-f:.]+)(?:%25[A-Za-z0-9._~-]+)?\]")
#: Characters that IDNA 2003 and IDNA 2008 turn into different hosts.
_AMBIGUOUS = frozenset("ßς\u200c\u200d")


class _Url(NamedTuple):
    scheme: str
    host: str
    port: int | None
    path: str
    query: str

    @property
    def place(self) -> str:
        port = "" if self.port is None or self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.path}"


def check_url(url: str) -> str:
    """Check an address that a user gave, and return it as it is sent.

    Scheme and host come back in lower case, an international host in ASCII, anything else beyond ASCII
    percent-encoded, the default port and the fragment left out.

    Raises
    ------
    ValueError
        If the scheme is not http or https, there is no host, host or port is malformed, there are
        credentials, or there are blanks or control characters. The message never shows credentials or
        the query.

    Examples
    --------
    >>> check_url("HTTPS://Example.org:443/a?b=c#part")
    'https://example.org/a?b=c'
    """
    parts = _parse(url)
    return parts.place + parts.query


def display_url(url: str) -> str:
    """Scheme, host and path only: what may be logged, shown and stored. Never raises.

    Examples
    --------
    >>> display_url("https://me:secret@example.org/a?token=1#x")
    'https://example.org/a'
    """
    scheme, authority, path, _ = _URL.match(url).groups()  # type: ignore[union-attr]  # it matches any text
    host = "" if authority is None else "//" + authority.rpartition("@")[2]
    shown = (f"{scheme}:" if scheme else "") + host + path
    if authority in (None, ""):
        # Not an address of ours; whatever stands before an @ may still be a password.
        shown = shown.rpartition("@")[2]
    return "".join(c if c.isprintable() else "\ufffd" for c in shown)[:2048]


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port, each in one form only. ValueError as for `check_url`.

    Examples
    --------
    >>> origin("http://Example.org/a")
    ('http', 'example.org', 80)

    Notes
    -----
    RFC 6454 section 4.
    """
    parts = _parse(url)
    return parts.scheme, parts.host, parts.port or _PORTS[parts.scheme]


def same_origin(a: str, b: str) -> bool:
    """Whether two addresses have the same scheme, host and port."""
    return origin(a) == origin(b)


def headers_for(origin_url: str, target_url: str, user_headers: Iterable[tuple[str, str]]) -> Headers:
    """The user's header fields that may be sent to `target_url`: all to `origin_url`'s origin, else none.

    Not only Authorization and Cookie stay behind: any field may be a key. A change from http to https is
    another origin too.

    Examples
    --------
    >>> headers_for("https://a.org/x", "https://cdn.a.org/x", [("X-Key", "secret")])
    ()
    """
    return tuple(user_headers) if same_origin(origin_url, target_url) else ()


def follow(url: str, location: str | None, status: int, *, hops: int = 0) -> str:
    """The address that a redirect leads to.

    Parameters
    ----------
    url : str
        The address that answered.
    location : str or None
        Its Location field, absolute or relative.
    status : int
        Its status.
    hops : int
        Redirects followed so far for this request; at most 10 are.

    Raises
    ------
    RefusedError
        If `status` is no redirect, or the address is not one that `check_url` would take (another scheme,
        credentials in it, ...), or leads from https to http, or there were too many.

    Examples
    --------
    >>> follow("https://example.org/a/b", "../c?d", 302)
    'https://example.org/c?d'

    Notes
    -----
    RFC 3986 section 5, RFC 9110 section 10.2.2.
    """
    from urllib.parse import urljoin  # slow to import, and most addresses lead nowhere else

    here = f"redirect {status} from {display_url(url)}"
    if status not in REDIRECTS or not location or not location.strip():
        raise RefusedError(f"{here} does not say where to")
    if hops >= MAX_HOPS:
        raise RefusedError(f"{here} is refused: {hops} redirects were followed, at most {MAX_HOPS} are")
    try:
        text = _encoded(location.strip(" \t"))
        _check_characters(text)  # before urljoin, which drops some of them silently
        # urljoin takes "https:x" for a relative path; RFC 3986 section 5.2.2 does not.
        target = check_url(text if _URL.match(text)[1] else urljoin(url, text))  # type: ignore[index]
    except ValueError as problem:
        raise RefusedError(f"{here} is refused: {problem}") from None
    if url[:6].lower() == "https:" and target.startswith("http:"):
        raise RefusedError(f"{here} is refused: it leads from https to http")
    return target


def _parse(url: str) -> _Url:
    _check_characters(url)
    scheme, authority, path, query = _URL.match(url).groups()  # type: ignore[union-attr]  # it matches any text
    scheme = (scheme or "").lower()
    if scheme not in _PORTS:
        raise ValueError(f"URL {display_url(url)!r} must start with http:// or https://")
    if "@" in (authority or ""):
        raise ValueError(
            f"URL {display_url(url)!r} must not contain a user name or password; pass auth instead"
        )
    found = _AUTHORITY.fullmatch(authority or "")
    if found is None or not found[1]:
        raise ValueError(f"URL {display_url(url)!r} must have a host, and at most one port after it")
    host, port = _host(found[1], url), _port(found[2], url)
    return _Url(scheme, host, port, _quoted(path or "/"), _quoted(query or ""))


def _check_characters(url: str) -> None:
    for at, c in enumerate(url):
        if c == " " or not c.isprintable():
            raise ValueError(f"URL {display_url(url)!r} must not contain {c!r} (at character {at})")


def _host(host: str, url: str) -> str:
    try:
        if host.startswith("["):
            if (literal := _LITERAL.fullmatch(host)) is None:
                raise ValueError
            import ipaddress  # most hosts have a name

            ipaddress.IPv6Address(literal[1])
            return host.lower()
        if not _AMBIGUOUS.isdisjoint(host):
            raise ValueError
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except ValueError:  # UnicodeError is one
        name = ""
    if _HOST.fullmatch(name) is None:
        raise ValueError(f"URL {display_url(url)!r} has no usable host: {host!r}")
    return name.lower()


def _port(port: str | None, url: str) -> int | None:
    if not port:
        return None
    if re.fullmatch("[0-9]{1,5}", port) is None or not 1 <= int(port) <= 65535:
        raise ValueError(f"URL {display_url(url)!r} has port {port!r}; it must be from 1 to 65535")
    return int(port)


def _quoted(text: str) -> str:
    """Percent-encode what is not ASCII and leave the rest as it is: it may be signed."""
    if text.isascii():
        return text
    from urllib.parse import quote  # as in `follow`

    return "".join(c if c.isascii() else quote(c) for c in text)


def _encoded(location: str) -> str:
    """A Location as servers send it, made a URL: bytes beyond ASCII and blanks percent-encoded."""
    try:
        raw = location.encode("latin-1")  # how header bytes come out of an undeclared charset
    except UnicodeEncodeError:
        raw = location.encode("utf-8", "surrogateescape")
    return "".join(f"%{b:02X}" if b == 0x20 or b >= 0x80 else chr(b) for b in raw)
