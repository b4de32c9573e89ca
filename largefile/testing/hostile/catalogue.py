"""All cases: every trick of the catalogue at each of its moments."""

from __future__ import annotations

from largefile.testing.hostile import ranges, transport, versions
from largefile.testing.hostile.case import Case, Trick

__all__ = ["TRICKS", "cases"]

TRICKS: tuple[Trick, ...] = (*ranges.TRICKS, *versions.TRICKS, *transport.TRICKS)
#: What is wrong about ranges and versions is so in HTTP/2 too.
AGAIN = tuple(trick for trick in (*ranges.TRICKS, *versions.TRICKS) if trick.size)


def cases(wanted: str = "") -> list[Case]:
    """Those in whose names `wanted` stands; all of them by default.

    Examples
    --------
    >>> [case.name for case in cases("without a size, middle")]
    ['10: 416 without a size, middle', '10: 416 without a size, middle, HTTP/2']
    """
    played = [(trick, when, trick.http2) for trick in TRICKS for when in trick.when]
    played += [(trick, "middle" if "middle" in trick.when else trick.when[0], True) for trick in AGAIN]
    found = [Case(trick, when, digest, http2) for trick, when, http2 in played for digest in trick.digests]
    return [case for case in found if wanted.lower() in case.name.lower()]
