"""The two fields that say which bytes a body holds, read so strictly that a number is never a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["ContentRange", "content_length", "parse_content_range"]

_MAX_SIZE = 2**63 - 1
_CONTENT_RANGE = re.compile(
    r"bytes (?:([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)|\*/([0-9]{1,19}))", re.IGNORECASE | re.ASCII
)


class ContentRange(NamedTuple):
    """A Content-Range field: positions of the first and last byte, and the size; None is ``*``.

    Notes
    -----
    RFC 9110 section 14.4.
    """

    first: int | None
    last: int | None
    total: int | None

    def __str__(self) -> str:
        total = "unknown size" if self.total is None else str(self.total)
        return f"no bytes of {total}" if self.first is None else f"bytes {self.first}-{self.last} of {total}"


def parse_content_range(value: str) -> ContentRange:
    """Read a Content-Range field, strictly.

    Raises
    ------
    ValueError
        If the unit is not bytes, the grammar is not kept, the last byte stands before the first or at or
        beyond the size, or a number exceeds 2^63 - 1.

    Examples
    --------
    >>> parse_content_range("bytes 0-9/100")
    ContentRange(first=0, last=9, total=100)
    >>> parse_content_range("bytes */100").total
    100

    Notes
    -----
    RFC 9110 section 14.4.
    """
    parts = _CONTENT_RANGE.fullmatch(value.strip(" \t"))
    if parts is None:
        raise ValueError(f"malformed Content-Range {value[:100]!r}")
    total = None if parts[3] == "*" else int(parts[3] or parts[4])
    if total is not None and total > _MAX_SIZE:
        raise ValueError(f"Content-Range {value[:100]!r} beyond 2^63 - 1 bytes")
    if parts[4] is not None:
        return ContentRange(None, None, total)
    first, last = int(parts[1]), int(parts[2])
    if not first <= last < (_MAX_SIZE if total is None else total):
        raise ValueError(f"impossible Content-Range {value[:100]!r}")
    return ContentRange(first, last, total)


def content_length(headers: Mapping[str, str]) -> int | None:
    """The declared length of the body in bytes; a field that was sent twice may say the same twice."""
    if (value := headers.get("content-length")) is None:
        return None
    values = {part.strip(" \t") for part in value.split(",")}
    text = values.pop()
    if values or re.fullmatch("[0-9]{1,19}", text) is None or int(text) > _MAX_SIZE:
        raise ValueError(f"unusable Content-Length {value[:100]!r}")
    return int(text)
