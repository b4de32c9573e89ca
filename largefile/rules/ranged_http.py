"""What an answer to a request may be used for, decided before the first byte of its body is placed.

The rules of this file, each a law in its tests:

1. A body is used only if its header fields say exactly which bytes it holds, and these are the ones that
   were asked for: all of them, the first few of them, or the whole content. The status alone says nothing.
2. Nothing of an answer to another version of the content is used, and an answer that can not be told from
   another version (the content has a validator, and the answer gives none of its kind) is not used either.
3. What is malformed is never repaired. It costs a retry, and the retries are bounded by the caller.
4. Only a well-formed answer may say that the source has changed: that verdict can throw a download away,
   so a confused proxy must not be able to give it. Nor may an answer without any validator, where the content
   has one (login and quota pages look like that), or a cache on the way: it is asked again past all caches.
   So is whatever else would end a download that was well until then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from largefile.errors import (
    LargeFileError,
    NotFoundError,
    ProtocolError,
    RefusedError,
    SourceChangedError,
    ThrottledError,
    UnsizedSourceError,
)
from largefile.events import Fetch, Response
from largefile.rules.content_range import ContentRange, content_length, parse_content_range
from largefile.rules.digests import server_digest
from largefile.rules.identity import Identity, Match
from largefile.rules.redirects import REDIRECTS
from largefile.rules.retry import asked_pause
from largefile.rules.verdict import Kind, Verdict

__all__ = ["ContentRange", "Kind", "Verdict", "judge", "parse_content_range"]

_RETRYABLE = frozenset({408, 425, 429})
_PUSHBACK = frozenset({429, 503})
_REFUSED = frozenset({401, 403, 407, 451})
_MISSING = frozenset({404, 410})
#: What an address that was valid for a time answers later; 400 is how object stores say "expired".
_EXPIRED = frozenset({400, 401, 403, 404, 410})


class _Case(NamedTuple):
    """One answer and what it is judged by."""

    fetch: Fetch
    response: Response
    pinned: Identity | None
    wall_now: float
    resolved: bool
    pinned_type: str | None
    vouched: bool
    digests: bool

    @property
    def is_fresh(self) -> bool:
        """Whether caches on the way were told to ask the origin."""
        return any(name.lower() == "cache-control" for name, _ in self.fetch.headers)

    @property
    def headers(self) -> Mapping[str, str]:
        return self.response.headers

    @property
    def media_type(self) -> str | None:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower() or None

    @property
    def pinned_size(self) -> int | None:
        return None if self.pinned is None else self.pinned.size

    @property
    def asked(self) -> str:
        if self.fetch.first is None:
            return "the whole content"
        return f"bytes {self.fetch.first}-{'' if self.fetch.last is None else self.fetch.last}"

    def identity(self, size: int | None, whole: bool) -> Identity:
        """The version that the answer speaks of; `whole`: whether its body is all of the content."""
        said = server_digest(self.headers, whole) if self.digests else None
        return Identity.from_headers(self.headers, size)._replace(said=said)

    def retry(self, reason: str, identity: Identity | None = None, plain: bool = False) -> Verdict:
        error = ProtocolError(f"asked for {self.asked}: {reason}")
        return Verdict(
            Kind.RETRY, reason, identity=identity, content_type=self.media_type, plain=plain, error=error
        )


def judge(
    fetch: Fetch,
    response: Response,
    pinned: Identity | None,
    *,
    wall_now: float,
    resolved: bool = False,
    pinned_type: str | None = None,
    vouched: bool = False,
    digests: bool = True,
) -> Verdict:
    """Decide what the answer to `fetch` may be used for.

    Parameters
    ----------
    fetch, response : Fetch, Response
        What was asked, and the head of the answer.
    pinned : Identity or None
        The version that the download began with; None before the first answer.
    wall_now : float
        Seconds since the epoch, for a Retry-After that is a date.
    resolved : bool
        Whether the address came out of a redirect, so that it may expire and can be got again.
    pinned_type : str or None
        The `content_type` of the first answer's verdict.
    vouched : bool
        Each edge of this server has ETags of its own, and the caller's digest decides in the end.
    digests : bool
        Whether what the server says of the content's digest is heard.

    Returns
    -------
    Verdict
        Never raises: what a server sends is no error of the caller's.

    Examples
    --------
    >>> answer = Response(206, {"content-range": "bytes 0-9/100", "etag": '"a"'})
    >>> verdict = judge(Fetch(0, 19), answer, None, wall_now=0.0)
    >>> verdict.kind, verdict.last, verdict.identity.size
    (<Kind.PREFIX: 'prefix'>, 9, 100)

    Notes
    -----
    RFC 9110 sections 14 and 15.
    """
    case = _Case(fetch, response, pinned, wall_now, resolved, pinned_type, vouched, digests)
    verdict = _judge(case, response.status)
    if not case.is_fresh and _is_doubtful(case, verdict):
        verdict = verdict._replace(kind=Kind.RETRY, stale=True)
    return verdict._replace(status=response.status)


def _is_doubtful(case: _Case, verdict: Verdict) -> bool:
    """Whether it would have been good, if it had been the right one; or ends what was well until now."""
    if verdict.kind in (Kind.CHANGED, Kind.RETRY):
        return not verdict.plain and case.response.status in (200, 206, 412, 416)
    return verdict.kind is Kind.GIVE_UP and not verdict.plain and case.pinned is not None


def _judge(case: _Case, status: int) -> Verdict:
    if status in (200, 206):
        return _judge_content(case)
    if status == 416:
        return _judge_unsatisfied(case)
    if status in REDIRECTS and case.headers.get("location", "").strip():
        return Verdict(Kind.REDIRECT, _words(status), location=case.headers["location"])
    if status == 412 and case.pinned is not None:
        return _changed("an answer 412 to a precondition", case.pinned)
    return _judge_failure(case) if status >= 400 else case.retry(f"answered {_words(status)}")


# --- 200 and 206: bodies that may be used ----------------------------------------------------------


def _judge_content(case: _Case) -> Verdict:
    coding = case.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        return case.retry(f"answered with Content-Encoding {coding[:100]}")
    if case.media_type == "multipart/byteranges":
        return case.retry("answered with multipart/byteranges", plain=True)
    try:
        length = content_length(case.headers)
        granted = _granted(case)
    except ValueError as problem:
        return case.retry(f"answered with {problem}", plain=case.response.status == 206)
    if granted is None:
        return _judge_whole(case, length)
    return _judge_range(case, granted, length)


def _granted(case: _Case) -> ContentRange | None:
    """The range that the body is said to be; None for a 200 that says nothing of ranges."""
    value = case.headers.get("content-range")
    if value is None:
        if case.response.status == 206:
            raise ValueError("206 without Content-Range")
        return None
    granted = parse_content_range(value)
    if granted.first is None:
        raise ValueError(f"Content-Range {value!r} and a body")
    return granted


def _judge_range(case: _Case, granted: ContentRange, length: int | None) -> Verdict:
    """A body that says which bytes it holds, by whatever status."""
    identity = case.identity(granted.total, whole=False)
    total = granted.total if granted.total is not None else case.pinned_size
    if (problem := _misplaced(case, granted, length, total)) is not None:
        return case.retry(f"answered with {problem}", identity)
    if (verdict := _other_version(case, identity)) is not None:
        return verdict
    if total is None:
        reason = f"{granted}: the server does not say the size"
        return Verdict(Kind.GIVE_UP, reason, plain=True, error=UnsizedSourceError(reason))
    kind = Kind.ACCEPT if granted.last == _last_wanted(case.fetch, total) else Kind.PREFIX
    if case.fetch.first is None:
        kind = Kind.WHOLE
    return Verdict(kind, str(granted), granted.last, identity, case.media_type)


def _misplaced(case: _Case, granted: ContentRange, length: int | None, total: int | None) -> str | None:
    """What is wrong with where the body says that it belongs; None if it is right."""
    first, last = granted.first or 0, granted.last or 0
    if first != (case.fetch.first or 0):
        return str(granted)
    if length is None and case.response.status == 200:
        return f"status 200 for {granted}, and no Content-Length"
    if length is not None and length != last - first + 1:
        return f"{granted} and Content-Length {length}"
    wanted = case.fetch.last if total is None else _last_wanted(case.fetch, total)
    if wanted is not None and last > wanted:
        return f"{granted}, more than asked"
    if case.fetch.first is None and last != wanted:
        return f"{granted}, less than the whole"
    return None


def _last_wanted(fetch: Fetch, total: int) -> int:
    return total - 1 if fetch.first is None or fetch.last is None else min(fetch.last, total - 1)


def _judge_whole(case: _Case, length: int | None) -> Verdict:
    """A 200 that says nothing of ranges: the content from byte 0, as long as it says, if it says."""
    # RFC 9112 section 6.3: where the body is chunked, a Content-Length beside it means nothing.
    size = None if case.headers.get("transfer-encoding", "").strip() else length
    identity = case.identity(size, whole=True)
    if (verdict := _other_version(case, identity)) is not None:
        return verdict
    total = size if size is not None else case.pinned_size
    pinned = case.pinned
    if size is None and pinned and pinned.size is not None and pinned.compare(identity) is not Match.EQUAL:
        # Neither its size nor a validator says that this is the same content.
        return case.retry("answered with a body of unknown size that nothing identifies", identity)
    if total == 0:
        return Verdict(Kind.EMPTY, "the content is empty", None, identity, case.media_type)
    last = None if total is None else total - 1
    return Verdict(Kind.WHOLE, f"the whole content, {identity.describe()}", last, identity, case.media_type)


def _other_version(case: _Case, identity: Identity) -> Verdict | None:
    """The verdict on an answer that does not, or may not, speak of the pinned version."""
    if case.pinned is None:
        return None
    if case.vouched and case.pinned.differs_by_etag_alone(identity):
        return None
    match = case.pinned.compare(identity)
    other_type = None not in (case.pinned_type, case.media_type) and case.pinned_type != case.media_type
    # A login or quota page comes with any status, any length and sometimes with its own validators.
    if other_type and (case.media_type == "text/html" or match is Match.WEAK):
        return case.retry(f"answered with {case.media_type} where {case.pinned_type} was", identity)
    if match is Match.CONTRADICTORY and case.pinned.has_validator and not identity.has_validator:
        return case.retry(f"answered with {identity.describe()} and no validator", identity)
    if match is Match.CONTRADICTORY:
        return _changed(identity.describe(), case.pinned, identity, case.media_type)
    if match is Match.WEAK and case.pinned.has_validator and not case.pinned.shares_validator(identity):
        return case.retry(f"answered without the validator of {case.pinned.describe()}", identity)
    return None


def _changed(
    found: str, pinned: Identity, identity: Identity | None = None, media_type: str | None = None
) -> Verdict:
    error = SourceChangedError(found, pinned.describe())
    return Verdict(Kind.CHANGED, str(error), identity=identity, content_type=media_type, error=error)


# --- answers without a body for us -----------------------------------------------------------------


def _judge_unsatisfied(case: _Case) -> Verdict:
    """416: the range is beyond the end, says the server. Never the end of the content, says the size."""
    total = _unsatisfied_total(case.headers.get("content-range"))
    pinned = case.pinned
    if pinned is not None and pinned.size is not None and total is not None and total != pinned.size:
        return _changed(f"{total} bytes", pinned, Identity(None, None, total))
    if total == 0 and not case.fetch.first:
        return Verdict(Kind.EMPTY, "the content is empty", identity=Identity(None, None, 0))
    words = _words(416) if total is None else f"{_words(416)} of {total} bytes"
    # Byte 0 is missing only from an empty object, and many servers do not say that they mean this.
    return case.retry(f"answered {words}", plain=pinned is None and case.fetch.first == 0)


def _unsatisfied_total(value: str | None) -> int | None:
    try:
        found = parse_content_range(value or "")
    except ValueError:
        return None
    return found.total if found.first is None else None


def _judge_failure(case: _Case) -> Verdict:
    """Any status from 400 on that has no rule of its own."""
    status = case.response.status
    reason = f"answered {_words(status)}"
    if status >= 500 or status in _RETRYABLE:
        pushback = status in _PUSHBACK
        error = ThrottledError(reason) if pushback else ProtocolError(f"asked for {case.asked}: {reason}")
        wait = asked_pause(case.headers, case.wall_now, quotas=pushback)
        return Verdict(Kind.RETRY, reason, retry_after=wait, pushback=pushback, error=error)
    kind = Kind.RENEW if case.resolved and status in _EXPIRED else Kind.GIVE_UP
    return Verdict(kind, reason, error=_final_error(status, f"the server {reason}"))


def _final_error(status: int, reason: str) -> LargeFileError:
    if status in _REFUSED:
        return RefusedError(reason)
    return NotFoundError(reason) if status in _MISSING else ProtocolError(reason)


def _words(status: int) -> str:
    from http import HTTPStatus  # many a program never meets an error

    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
