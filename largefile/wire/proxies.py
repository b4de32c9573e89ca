"""What is said of a proxy, whose URL may hold a user and a password, and when there must be none."""

from __future__ import annotations

import re

__all__ = ["direct", "without_proxy", "without_userinfo"]


def direct(proxy: str | None) -> str:
    """No proxy, of the environment neither; ValueError where one was asked for."""
    if proxy:
        raise ValueError("allow_private=False can not be kept through a proxy, which connects for us")
    return ""


def without_userinfo(proxy: str | None) -> str | None:
    """A proxy's URL, with or without a scheme, without the user and the password that it may hold.

    Examples
    --------
    >>> without_userinfo("http://me:secret@proxy:3128"), without_userinfo("me:secret@proxy:3128")
    ('http://proxy:3128', 'proxy:3128')
    """
    if proxy is None or "@" not in proxy:
        return proxy
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", proxy)
    # By the last @: a password may hold another one, or a slash, whatever the standard says.
    return (scheme[0] if scheme else "") + proxy.rpartition("@")[2]


def without_proxy(message: str) -> str:
    """One of libcurl's messages, without the proxy's URL that some of them quote as it was given.

    Examples
    --------
    >>> without_proxy("Unsupported proxy syntax in 'http://me:secret@proxy:x': Bad port")
    "Unsupported proxy syntax in '...': Bad port"
    """
    # From the first quote to the last: a password may hold one.
    return re.sub("'.*'", "'...'", message, flags=re.DOTALL) if "proxy" in message.lower() else message
