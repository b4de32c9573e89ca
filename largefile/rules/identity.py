"""Which version of the content an answer speaks of, and whether two answers speak of the same one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from largefile.rules.digests import ServerDigest

__all__ = ["Identity", "Match", "describe", "http_date", "vouched_by"]

_STRONG_ETAG = re.compile(r'"[^"]+"')
_LONGEST_VALIDATOR = 1024
_IMF_FIXDATE = re.compile(
    "[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([1-9][0-9]{3}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)
#: Days of a common year before the month's first.
_DAYS_BEFORE = dict(
    zip(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
        (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334),
        strict=True,
    )
)
_LEAP_DAYS_BEFORE_1970 = 477
#: What servers say that do not know: the epoch, give or take a time zone.
_FIRST_CREDIBLE_DATE = 86400.0


class Match(Enum):
    """What comparing two identities gives."""

    EQUAL = "equal"  #: a strong ETag, Last-Modified and size, or a digest agree, and nothing disagrees
    WEAK = "weak"  #: nothing disagrees, and nothing that proves sameness agrees
    CONTRADICTORY = "contradictory"  #: these are two versions


class Identity(NamedTuple):
    """What is known of one version of the content.

    Parameters
    ----------
    etag : str or None
        The entity tag as the server wrote it, quotes and ``W/`` included.
    last_modified : str or None
        The date as the server wrote it. Dates are compared as text: the same version has the same text.
    size : int or None
        Bytes of the whole content.
    digest : str or None
        What the caller says the content's digest is: ``"sha256:…"``, lower case. No server's word.
    said : ServerDigest or None
        What the server says that the digest is. It tells versions apart; it is not stored.

    Examples
    --------
    >>> old = Identity('"v1"', None, 100)
    >>> old.compare(Identity('"v2"', None, 100))
    <Match.CONTRADICTORY: 'contradictory'>
    >>> old.describe()
    'ETag "v1", 100 bytes'

    Notes
    -----
    RFC 9110 section 8.8.
    """

    etag: str | None
    last_modified: str | None
    size: int | None
    digest: str | None = None
    said: ServerDigest | None = None

    @classmethod
    def from_headers(
        cls, headers: Mapping[str, str], size: int | None, digest: str | None = None
    ) -> Identity:
        """Take the validators out of a response's fields (names in lower case).

        A validator that can not tell versions apart counts as absent: an empty ETag, a date that is none
        or is the epoch. One longer than 1,024 bytes is replaced by a digest of itself, in the same
        quotes, so that it can be stored and stays comparable.

        Examples
        --------
        >>> Identity.from_headers({"etag": '"v1"', "last-modified": "0"}, 7)
        Identity(etag='"v1"', last_modified=None, size=7, digest=None, said=None)
        """
        return cls(_etag(headers.get("etag")), _date(headers.get("last-modified")), size, digest)

    @property
    def strong_etag(self) -> bool:
        """Whether there is an ETag that stands for exact bytes: quoted, and not marked weak."""
        return self.etag is not None and _STRONG_ETAG.fullmatch(self.etag) is not None

    @property
    def has_validator(self) -> bool:
        """Whether the server gave anything beside the size that tells versions apart."""
        return self.etag is not None or self.last_modified is not None

    @property
    def verified_by(self) -> str:
        """What vouches for the bytes: ``"digest"``, ``"strong-etag"``, ``"last-modified"`` or ``"size"``."""
        if self.digest is not None:
            return "digest"
        if self.strong_etag:
            return "strong-etag"
        return "last-modified" if self.last_modified is not None else "size"

    def compare(self, other: Identity) -> Match:
        """Whether the two can be one version; the order of the two does not matter.

        Sizes, ETags, and digests of one algorithm that differ contradict; the caller's digest and the
        server's are not compared with each other. ETags are compared without their ``W/`` for this: tags
        that fail even the weak comparison of RFC 9110 section 8.8.3.2 do not stand for the same content.
        Dates that differ contradict unless strong ETags agree. What only one of the two has is not judged.
        """
        if self.difference(other) is not None:
            return Match.CONTRADICTORY
        return Match.EQUAL if self._proves(other) else Match.WEAK

    def difference(self, now: Identity) -> str | None:
        """What contradicts, in words, this identity being the older one; None if nothing does."""
        if self.size is not None and now.size is not None and self.size != now.size:
            return f"the size was {self.size} bytes and is {now.size}"
        if _opaque(self.etag) != _opaque(now.etag) and self.etag and now.etag:
            return f"the ETag was {self.etag} and is {now.etag}"
        if self._dates_differ(now) and not self._same_strong_etag(now):
            return f"Last-Modified was {self.last_modified} and is {now.last_modified}"
        if self._digests_differ(now):
            return f"the digest was to be {self.digest} and is to be {now.digest}"
        if self.said is not None and self.said.contradicts(now.said):
            return f"{self.said} was said, and now {now.said}"
        return None

    def differs_by_etag_alone(self, other: Identity) -> bool:
        """Whether size and date say that it is the same, and the ETag that it is not."""
        return (
            self.size == other.size is not None
            and not self._dates_differ(other)
            and self.difference(other) is not None
            and self._replace(etag=other.etag).difference(other) is None
        )

    def shares_validator(self, other: Identity) -> bool:
        """Whether there is an ETag in both, or a date in both."""
        etags = self.etag is not None and other.etag is not None
        return etags or (self.last_modified is not None and other.last_modified is not None)

    def resumable_with(self, found: Identity) -> tuple[bool, str]:
        """Whether another process may go on from bytes of this identity, given what the server says now.

        Within one process the first answer is remembered and each later one held against it. A new
        process has only what was stored, so something must prove that the version is the same: a strong
        ETag, Last-Modified with the size, or a digest that the caller gives, which decides when the file
        is whole. A digest stands in for validators that are missing, never for ones that contradict: a
        restart then succeeds where going on would end in a mixture that the digest rejects.

        Returns
        -------
        tuple of bool and str
            The answer, and the reason in words for the user.

        Examples
        --------
        >>> Identity(None, None, 9).resumable_with(Identity(None, None, 9))
        (False, 'the server gives neither ETag nor Last-Modified, and there is no digest')
        """
        if self.size is None or found.size is None:
            return False, "the server does not say the size"
        if (difference := self.difference(found)) is not None:
            return False, difference
        if self._same_strong_etag(found):
            return True, "the ETag is the same"
        if self._same_date(found):
            return True, "Last-Modified is the same"
        if self._same_digest(found):
            return True, "the digest will decide"
        return False, self._unproven(found)

    def describe(self) -> str:
        """Short words for messages."""
        size = "of unknown size" if self.size is None else f"{self.size} bytes"
        known = (
            f"ETag {self.etag}" if self.etag else "",
            f"Last-Modified {self.last_modified}" if self.last_modified else "",
            size,
            self.digest or "",
            str(self.said or ""),
        )
        return ", ".join(part for part in known if part)

    def _proves(self, other: Identity) -> bool:
        return self._same_strong_etag(other) or self._same_date(other) or self._same_digest(other)

    def _same_date(self, other: Identity) -> bool:
        """Dates count with the size only: they are too coarse alone."""
        sizes = self.size is not None and self.size == other.size
        return sizes and self.last_modified is not None and self.last_modified == other.last_modified

    def _same_digest(self, other: Identity) -> bool:
        return self.digest is not None and self.digest == other.digest

    def _same_strong_etag(self, other: Identity) -> bool:
        return self.strong_etag and self.etag == other.etag

    def _dates_differ(self, other: Identity) -> bool:
        mine, theirs = self.last_modified, other.last_modified
        return mine is not None and theirs is not None and mine != theirs

    def _digests_differ(self, other: Identity) -> bool:
        if self.digest is None or other.digest is None:
            return False
        mine, theirs = self.digest.partition(":"), other.digest.partition(":")
        return mine[0] == theirs[0] and mine != theirs

    def _unproven(self, found: Identity) -> str:
        if not found.has_validator:
            return "the server gives neither ETag nor Last-Modified, and there is no digest"
        if not self.shares_validator(found):
            return "the server now gives other validators than it did, and there is no digest"
        return "the server gives only a weak ETag, and there is no digest"


def http_date(text: str) -> float | None:
    """Seconds since the epoch for a date in any of HTTP's three formats; None for anything else.

    Examples
    --------
    >>> http_date("Sun, 06 Nov 1994 08:49:37 GMT")
    784111777.0

    Notes
    -----
    RFC 9110 section 5.6.7.
    """
    if (moment := _fixdate(text)) is not None:
        return moment
    from email.utils import mktime_tz, parsedate_tz  # slow to import, and hardly any date needs it

    try:
        parts = parsedate_tz(text)
        return None if parts is None else float(mktime_tz(parts))  # no zone is taken for GMT
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _fixdate(text: str) -> float | None:
    """The same for the one format that is written today (IMF-fixdate)."""
    found = _IMF_FIXDATE.fullmatch(text)
    if found is None or found[2] not in _DAYS_BEFORE:
        return None
    day, year, hour, minute, second = map(int, found.group(1, 3, 4, 5, 6))
    turned = year - (found[2] in ("Jan", "Feb"))  # the last year whose leap day has passed
    leap_days = turned // 4 - turned // 100 + turned // 400 - _LEAP_DAYS_BEFORE_1970
    days = 365 * (year - 1970) + leap_days + _DAYS_BEFORE[found[2]] + day - 1
    return float(((days * 24 + hour) * 60 + minute) * 60 + second)


def _opaque(etag: str | None) -> str | None:
    return etag.removeprefix("W/") if etag else None


def _etag(value: str | None) -> str | None:
    value = (value or "").strip()
    weak = "W/" if value.startswith("W/") else ""
    opaque = value.removeprefix("W/")
    if opaque.strip('"') == "":
        return None
    return weak + _shortened(opaque, quote='"' if _STRONG_ETAG.fullmatch(opaque) else "")


def _date(value: str | None) -> str | None:
    value = (value or "").strip()
    moment = http_date(value) if value else None
    return None if moment is None or moment < _FIRST_CREDIBLE_DATE else _shortened(value)


def _shortened(value: str, quote: str = "") -> str:
    data = value.encode("utf-8", "surrogateescape")
    if len(data) <= _LONGEST_VALIDATOR - len("W/"):
        return value
    import hashlib  # loads OpenSSL, and hardly any validator is as long

    return f"{quote}sha256:{hashlib.sha256(data).hexdigest()}{quote}"


def vouched_by(identity: Identity | None, digest: str | None, said: ServerDigest | None = None) -> str | None:
    """What vouches for finished bytes: the digest that was compared, else what the server gave.

    `said`: the server's, if it is the one that was compared.
    """
    if digest is not None:
        return "digest" if said is None else "server-digest"
    return identity._replace(digest=None).verified_by if identity is not None else None


def describe(identity: Identity) -> dict[str, object]:
    """The validators by name."""
    return {"etag": identity.etag, "last_modified": identity.last_modified, "size": identity.size}
