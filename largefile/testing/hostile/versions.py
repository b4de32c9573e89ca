"""Items 14 to 22: content that changes, validators that lie, alternate or are missing, pages in its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from largefile.testing.hostile.case import ONCE, OTHER, SIZE, TAG, Stage, Trick, how
from largefile.testing.script import DATE, Behaviour, Content, Request

__all__ = ["TRICKS"]

PAGE = b"<html><body>Please log in to go on.</body></html>\n" * 20
LOGIN = {"Content-Type": "text/html; charset=utf-8", "ETag": None, "Last-Modified": None}

#: Contents of the second version, by what tells it from the first one.
SHORTER = replace(OTHER, size=SIZE - 70_001)
LONGER = replace(OTHER, size=SIZE + 70_001)
ONLY_DATE = replace(OTHER, etag=None)
ONLY_TAG = replace(OTHER, last_modified=DATE)
WEAK = replace(OTHER, etag='W/"two"', last_modified=DATE)
NOTHING = replace(OTHER, etag="", last_modified="")
HIDDEN = replace(OTHER, etag=TAG, last_modified=DATE)


def becomes(content: Content) -> Behaviour:
    """The second version; an empty validator is none."""
    none = {
        name: None
        for name, value in (("ETag", content.etag), ("Last-Modified", content.last_modified))
        if value in (None, "")
    }
    return Behaviour(content=content, headers=none)


def change(
    item: int,
    name: str,
    content: Content,
    when: tuple[str, ...] = ("middle", "last", "later"),
    **more: Any,
) -> Trick:
    """From then on, or once, the server has another version."""
    return Trick(item, name, lambda stage, request: becomes(content), when, others=(content,), **more)


def back_and_forth(stage: Stage, request: Request) -> Behaviour | None:
    return becomes(OTHER) if request.number % 2 else None


def edges(stage: Stage, request: Request) -> Behaviour:
    """Two edges, which give the same bytes under ETags of their own."""
    return Behaviour(headers={"ETag": f'"edge-{request.number % 2}"'})


def another_tag(stage: Stage, request: Request) -> Behaviour:
    """The same bytes under another ETag."""
    return Behaviour(headers={"ETag": '"part-7"'})


def head_tag(stage: Stage, request: Request) -> Behaviour | None:
    """HEAD is not what GET is."""
    if request.method != "HEAD":
        return None
    return Behaviour(status=200, headers={"ETag": '"of-HEAD"', "Content-Length": "17"})


def page_with_the_right_head(stage: Stage, request: Request) -> Behaviour:
    """A page, stretched to the length of the range, under the head of the content."""

    def read(first: int, last: int) -> bytes:
        return (PAGE * ((last - first) // len(PAGE) + 1))[: last - first + 1]

    return Behaviour(content=Content(stage.size, read, TAG, DATE))


def stale(stage: Stage, request: Request) -> Behaviour | None:
    """A cache on the way gives an old version, until it is told to ask."""
    return None if "no-cache" in request.headers.get("cache-control", "") else becomes(OTHER)


def stale_slice(stage: Stage, request: Request) -> Behaviour | None:
    """A cache on the way gives the slice that it has, until it is told to ask."""
    fresh = "no-cache" in request.headers.get("cache-control", "")
    return None if fresh else Behaviour(serve=(0, 99_999))


def unmarked(stage: Stage, request: Request) -> Behaviour | None:
    """A whole body in which nothing says what it is."""
    return Behaviour(ranges=False, headers={"ETag": None, "Last-Modified": None})


TRICKS = (
    change(14, "another version: ETag and date", OTHER),
    change(14, "another version: the date alone, no ETags", ONLY_DATE, etag=None),
    change(14, "another version, and no validators any more", NOTHING),
    change(14, "another version, that is shorter", SHORTER),
    change(14, "another version, that is longer", LONGER),
    change(14, "another version, told to be changed", OTHER, ("later",), options={"on_change": "fail"}),
    Trick(14, "versions that alternate", back_and_forth, ("always",), others=(OTHER,)),
    change(15, "206 of another version in spite of If-Range", ONLY_TAG),
    *(
        Trick(16, f"{status} with a body as long as the range", how(status=status, body=b"x" * 65_536))
        for status in (412, 403, 500, 502)
    ),
    Trick(16, "304 without a body", how(status=304, body=b"")),
    Trick(16, "204 without a body", how(status=204, body=b"")),
    Trick(17, "only weak ETags", how(), ("always",), etag='W/"one"', last_modified=None),
    change(17, "another version by its weak ETag", WEAK, etag='W/"one"'),
    Trick(18, "an ETag of each edge, the same bytes", edges, ("always",), digests=(False, True)),
    Trick(18, "an ETag of each edge, no date", edges, ("always",), last_modified=None, digests=(False, True)),
    change(
        19,
        "another version under the same ETag",
        HIDDEN,
        ("middle", "later"),
        undecidable=True,
        digests=(False, True),
    ),
    Trick(20, "HEAD has another ETag and length", head_tag, ("always",)),
    Trick(20, "the ETag of a part", another_tag, (*ONCE, "later")),
    Trick(
        21, "a login page with 200", how(ranges=False, body=PAGE, headers=LOGIN), ("middle", "last", "later")
    ),
    Trick(
        21,
        "a login page with 200 instead of everything",
        how(ranges=False, body=PAGE, headers=LOGIN),
        ("first", "always"),
        undecidable=True,  # it is what this address has
        digests=(False, True),
    ),
    Trick(21, "a login page with 403", how(status=403, body=PAGE, headers=LOGIN), ("middle", "later")),
    Trick(
        21,
        "a page under the head of the content",
        page_with_the_right_head,
        ("middle", "later"),
        undecidable=True,
        digests=(False, True),
    ),
    Trick(22, "a stale version from a cache on the way", stale, ("middle", "later"), others=(OTHER,)),
    Trick(22, "a stale slice from a cache on the way", stale_slice, (*ONCE, "later")),
    Trick(22, "a whole body that nothing identifies", unmarked, ("middle", "later")),
)
