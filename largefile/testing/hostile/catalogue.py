"""All cases: every trick of the catalogue at each of its moments."""

from __future__ import annotations

from largefile.testing.hostile import ranges, transport, versions
from largefile.testing.hostile.case import Case, Trick

__all__ = ["TRICKS", "cases"]

TRICKS: tuple[Trick, ...] = (*ranges.TRICKS, *versions.TRICKS, *transport.TRICKS)


def cases(wanted: str = "") -> list[Case]:
    """Those in whose names `wanted` stands; all of them by default.

    Examples
    --------
    >>> [case.name for case in cases("without a size, first")]
    ['10: 416 without a size, first']
    """
    found = [Case(trick, when, digest) for trick in TRICKS for when in trick.when for digest in trick.digests]
    return [case for case in found if wanted.lower() in case.name.lower()]
