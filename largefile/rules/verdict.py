"""What the rules say of an answer: the words between `ranged_http`, the pump and the scheduler."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from largefile.errors import LargeFileError
from largefile.rules.identity import Identity

__all__ = ["BODIES", "GOOD", "Kind", "Verdict"]


class Kind(Enum):
    """What to do with an answer."""

    ACCEPT = "accept"  #: the body is every byte that was asked for
    PREFIX = "prefix"  #: the body is the first few of them, up to `last`
    WHOLE = "whole"  #: the body is the whole content, from byte 0
    EMPTY = "empty"  #: the content has no bytes
    REDIRECT = "redirect"  #: ask `location`
    RETRY = "retry"  #: use nothing of it, ask again
    CHANGED = "changed"  #: the source has another version than the one begun with
    GIVE_UP = "give-up"  #: asking again will not help
    RENEW = "renew"  #: the address has expired: get a new one from where it came


#: Answers whose body may be placed.
BODIES = frozenset({Kind.ACCEPT, Kind.PREFIX, Kind.WHOLE})
#: … and those that say all there is to say of the content.
GOOD = BODIES | {Kind.EMPTY}


class Verdict(NamedTuple):
    """What an answer may be used for, and why.

    Examples
    --------
    >>> Verdict(Kind.RETRY, "cut short").pushback
    False
    """

    kind: Kind
    #: Why, in words for a log.
    reason: str = ""
    #: Position of the last byte that the body may fill; None where that is not known.
    last: int | None = None
    #: The version that this answer speaks of.
    identity: Identity | None = None
    #: The media type that it declares, in lower case, without parameters.
    content_type: str | None = None
    #: The answer's status; 0 where there was none.
    status: int = 0
    #: The Location field as it came.
    location: str | None = None
    #: Seconds from now before which the host wants no request, if it said so.
    retry_after: float | None = None
    #: The host asks for less.
    pushback: bool = False
    #: A cache on the way may have given what it had: the same past all caches may work.
    stale: bool = False
    #: The ranged form of the request is what failed: the same without Range may work.
    plain: bool = False
    #: What to raise if nothing better comes of it.
    error: LargeFileError | None = None
