"""What a user may put into a request's head."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["check_fields"]

#: Fields that say which bytes are wanted and in what form.
OURS = ("range", "accept-encoding", "host", "if-range")
TOKEN = set("!#$%&'*+-.^_`|~")


def check_fields(
    headers: Mapping[str, str] | None, auth: tuple[str, str] | str | None
) -> tuple[tuple[str, str], ...]:
    """The user's header fields, checked; `auth` becomes one of them.

    Raises
    ------
    ValueError
        For a name that is no token, a value with a line break in it or beyond ASCII, a field that is set
        by us, or a user name with a colon in it.

    Examples
    --------
    >>> check_fields({"X-Key": "1"}, ("user", "secret"))
    (('X-Key', '1'), ('Authorization', 'Basic dXNlcjpzZWNyZXQ='))
    """
    fields = [(str(name), str(value)) for name, value in (headers or {}).items()]
    if isinstance(auth, str):
        fields.append(("Authorization", auth))
    elif auth is not None:
        user, password = auth
        if ":" in user:
            raise ValueError("the user name of auth has a colon in it (RFC 7617 section 2)")
        import base64  # few sign in

        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        fields.append(("Authorization", f"Basic {token}"))
    for name, value in fields:
        check_field(name, value)
    return tuple(fields)


def check_field(name: str, value: str) -> None:
    """One field; RFC 9110 sections 5.1 and 5.5."""
    if not name or not all(c.isascii() and (c.isalnum() or c in TOKEN) for c in name):
        raise ValueError(f"header name {name!r} is not a token (RFC 9110 section 5.1)")
    if any(c in value for c in "\r\n\0"):
        raise ValueError(f"the value of header {name} has a line break in it")
    if not value.isascii():
        raise ValueError(f"the value of header {name} has a character in it that is not ASCII")
    if name.lower() in OURS:
        raise ValueError(f"header {name} is set by largefile itself")
