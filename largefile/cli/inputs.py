"""From what is typed to what the library takes; each mistake says what was found and what is needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import click

from largefile.rules.naming import basename_from_url
from largefile.rules.rate import parse_rate

__all__ = ["AUTO_OR_COUNT", "RATE", "SIZE", "SIZE_OR_AUTO", "credentials", "destination", "headers"]


class Size(click.ParamType[int | str]):
    """Bytes, as people write them: ``1048576``, ``64K``, ``64KiB``, ``1M``; with `auto` also that word."""

    name = "size"

    def __init__(self, *, auto: bool = False, rate: bool = False) -> None:
        self._auto = auto
        self._rate = rate
        self._words = "a rate in bytes a second" if rate else "a size in bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if isinstance(value, int):
            return value
        if self._auto and value == "auto":
            return "auto"
        text = re.sub(r"/s$" if self._rate else "$", "", value.strip(), flags=re.IGNORECASE)
        try:
            return parse_rate(re.sub(r"(?<=[kmgtKMGT])(i?B)$|(?<=[0-9])B$", "", text))
        except ValueError:
            also = ", or 'auto'" if self._auto else ""
            self.fail(f"{value!r} is not {self._words}, such as 65536, 64K or 1M{also}", param, ctx)


class Count(click.ParamType[int | str]):
    """A number, or ``auto``. Its bounds are the library's to check."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if isinstance(value, int) or value == "auto":
            return value  # type: ignore[no-any-return]
        if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII):
            self.fail(f"{value!r} is neither a number nor 'auto'", param, ctx)
        return int(value)


SIZE, SIZE_OR_AUTO, RATE, AUTO_OR_COUNT = Size(), Size(auto=True), Size(rate=True), Count()


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
    if output == "-":
        raise click.UsageError("get writes files; it can not write to standard output ('-')")
    if output is None:
        return basename_from_url(url)
    if Path(output).is_dir():
        return str(Path(output) / basename_from_url(url))
    if output.endswith("/"):
        raise click.UsageError(f"folder {output!r} does not exist")
    return output


OnChange = Literal["restart", "fail"]
