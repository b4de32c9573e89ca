"""What a harness is: one parser, the bytes it is fed with, and the law that it keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Harness", "decoded", "texts"]


@dataclass(frozen=True)
class Harness:
    """``fuzz_one(data)`` returns for any bytes, or an assertion or an untyped error is a finding.

    `seeds` are good inputs to begin with, `words` what they are made of.
    """

    name: str
    fuzz_one: Callable[[bytes], None]
    seeds: tuple[bytes, ...] = ()
    words: tuple[bytes, ...] = ()


def texts(data: bytes, count: int) -> list[str]:
    """The first lines of `data`, `count` of them, as a header's bytes become text.

    Where a byte is no character of UTF-8 they are taken for Latin-1, as bytes beyond ASCII in a field are.
    """
    lines = data.split(b"\n", count - 1)
    lines += [b""] * (count - len(lines))
    return [decoded(line) for line in lines]


def decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")
