"""From what is typed to what the library takes; each mistake says what was found and what is needed."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import click

from largefile.rules.naming import basename_from_url
from largefile.rules.rate import parse_rate

__all__ = [
    "count_or_auto",
    "credentials",
    "destination",
    "headers",
    "is_number",
    "offset",
    "proxy",
    "rate",
    "size",
    "size_or_auto",
    "size_or_none",
]

#: The kinds of proxies that libcurl knows.
PROXIES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


Context = click.Context | None
Parameter = click.Parameter | None


def is_number(word: str) -> bool:
    """Whether a word is one, however it is written; no URL is.

    Examples
    --------
    >>> is_number("5"), is_number("1e3"), is_number("-1"), is_number("inf")
    (True, True, True, True)
    >>> is_number("https://example.org/5"), is_number("")
    (False, False)
    """
    try:
        float(word)
    except ValueError:
        return False
    return True


def size_or_auto(context: Context, parameter: Parameter, value: str) -> int | str:
    """Bytes, as people write them: ``1048576``, ``64K``, ``64KiB``, ``1M``; or ``auto``.

    Examples
    --------
    >>> size_or_auto(None, None, "64KiB"), size_or_auto(None, None, "auto")
    (65536, 'auto')
    """
    return value if value == "auto" else size(context, parameter, value)


def size(context: Context, parameter: Parameter, value: str) -> int:
    """Bytes, as people write them."""
    try:
        return parse_rate(re.sub(r"(?<=[kmgtKMGT])(i?B)$|(?<=[0-9])B$", "", value.strip()))
    except ValueError:
        text = f"{value!r} is not a size in bytes, such as 65536, 64K or 1M"
        raise click.BadParameter(text, context, parameter) from None


def size_or_none(context: Context, parameter: Parameter, value: str | None) -> int | None:
    """Bytes, as people write them, 0 too; None where nothing was said."""
    return None if value is None else offset(context, parameter, value)


def offset(context: Context, parameter: Parameter, value: str) -> int:
    """A position, as people write sizes; it may be 0."""
    return 0 if value and not value.strip("0") else size(context, parameter, value)


def rate(context: Context, parameter: Parameter, value: str | None) -> int | None:
    """Bytes a second."""
    if value is None:
        return None
    try:
        return parse_rate(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def count_or_auto(context: Context, parameter: Parameter, value: str) -> int | str:
    """A number, or ``auto``. Its bounds are the library's to check."""
    if value == "auto":
        return value
    if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII):
        raise click.BadParameter(f"{value!r} is neither a number nor 'auto'", context, parameter)
    return int(value)


def proxy(context: Context, parameter: Parameter, value: str | None) -> str | None:
    """The URL of a proxy; empty for none. What is wrong with it is said without its password.

    Examples
    --------
    >>> proxy(None, None, "socks5h://127.0.0.1:1080")
    'socks5h://127.0.0.1:1080'
    """
    if value is None or value == "" or is_proxy(value):
        return value
    text = f"not a proxy's URL: SCHEME://HOST:PORT is needed, with a scheme of {', '.join(PROXIES)}"
    raise click.BadParameter(text, context, parameter)


def is_proxy(value: str) -> bool:
    """Whether libcurl could use it; no more than that."""
    from urllib.parse import urlsplit  # few have a proxy, and its import is slow

    try:
        found = urlsplit(value)
        port = found.port
    except ValueError:
        return False
    plain = value.isprintable() and " " not in value
    return plain and "://" in value and found.scheme in PROXIES and bool(found.hostname) and port != 0


def headers(lines: Sequence[str]) -> dict[str, str]:
    """Header fields from lines ``Name: value``.

    Examples
    --------
    >>> headers(["Accept: text/plain", "X-Token:abc"])
    {'Accept': 'text/plain', 'X-Token': 'abc'}
    """
    fields: dict[str, str] = {}
    for text in lines:
        name, colon, value = text.partition(":")
        if not colon:
            # The line may be a secret, pasted where it does not belong: it is not shown.
            raise click.UsageError("a header is not of the form 'Name: value': it has no colon")
        if name.strip().lower() in map(str.lower, fields):
            raise click.UsageError(f"header {name.strip()!r} is given twice")
        fields[name.strip()] = value.strip()
    return fields


def credentials(user: str | None) -> tuple[str, str] | None:
    """Name and password from ``NAME:PASSWORD``; the password is asked for where it is left out."""
    if user is None:
        return None
    name, colon, password = user.partition(":")
    if not colon:
        password = click.prompt(f"Password for {name}", hide_input=True, err=True)
    return name, password


def destination(url: str, output: str | None) -> str:
    """Where the file goes: `output`, a safe name from the URL inside it if it is a folder, or here."""
    if output is None:
        return basename_from_url(url)
    if not output:
        raise click.UsageError("the file's name is empty; - is standard output")
    if os.path.isdir(output):
        from pathlib import Path  # slow to import

        return str(Path(output) / basename_from_url(url))
    if output.endswith("/"):
        raise click.UsageError(f"folder {output!r} does not exist")
    return output
