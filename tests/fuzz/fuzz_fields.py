"""The header fields: whatever a server sends is a value, or a ValueError where one is promised."""

from __future__ import annotations

import contextlib
import math
from base64 import b64encode
from hashlib import new

from harness import Harness, texts

from largefile.rules.content_range import content_length, parse_content_range
from largefile.rules.digests import parse_digest, server_digest
from largefile.rules.identity import Identity, Match, http_date
from largefile.rules.retry import retry_after

LARGEST = 2**63 - 1


def content_range(data: bytes) -> None:
    (value,) = texts(data, 1)
    try:
        found = parse_content_range(value)
    except ValueError:
        return
    if found.first is None:
        assert found.last is None
        assert 0 <= found.total <= LARGEST
        again = f"bytes */{found.total}"
    else:
        assert 0 <= found.first <= found.last < (LARGEST if found.total is None else found.total) <= LARGEST
        again = f"bytes {found.first}-{found.last}/{'*' if found.total is None else found.total}"
    assert parse_content_range(again) == found


def length(data: bytes) -> None:
    (value,) = texts(data, 1)
    try:
        found = content_length({"content-length": value})
    except ValueError:
        return
    assert 0 <= found <= LARGEST
    assert content_length({"content-length": str(found)}) == found


def waiting(data: bytes) -> None:
    value, now = texts(data, 2)
    wall_now = float(int.from_bytes(now.encode()[:5], "big"))
    found = retry_after(value, wall_now)
    assert found is None or 0 <= found <= 300
    if found is not None:
        assert retry_after(value, wall_now, cap=1.0) <= min(found, 1.0)


def date(data: bytes) -> None:
    (value,) = texts(data, 1)
    found = http_date(value)
    assert found is None or math.isfinite(found)


def identity(data: bytes) -> None:
    etag, last_modified, other = texts(data, 3)
    found = Identity.from_headers({"etag": etag, "last-modified": last_modified}, 7)
    fields = {"etag": found.etag or "", "last-modified": found.last_modified or ""}
    if len(etag) + len(last_modified) < 250:  # no digest stands for either
        assert Identity.from_headers(fields, 7) == found, "what was taken is taken again"
    assert found.difference(found) is None
    assert (found.compare(found) is Match.EQUAL) == (found.strong_etag or found.last_modified is not None)
    assert found.describe()
    assert found.resumable_with(found)[0] == (found.compare(found) is Match.EQUAL)
    second = Identity.from_headers({"etag": other, "last-modified": last_modified}, 7)
    assert found.compare(second) is second.compare(found)
    for text in (found.etag, found.last_modified):
        assert text is None or len(text.encode("utf-8", "surrogateescape")) <= 1024


def digest(data: bytes) -> None:
    (value,) = texts(data, 1)
    with contextlib.suppress(ValueError):
        name, digits = parse_digest(value)
        assert parse_digest(f"{name}:{digits}") == (name, digits)


def said(data: bytes) -> None:
    """What a server says of the digest, in any of its fields."""
    values = texts(data, len(SAYING))
    headers = dict(zip(SAYING, values, strict=True))
    for whole in (False, True):
        found = server_digest(headers, whole)
        if found is not None:
            assert parse_digest(found.digest) == (found.algorithm, found.digest.partition(":")[2])
            value = b64encode(bytes.fromhex(found.digest.partition(":")[2])).decode()
            again = {"repr-digest": f"{WRITTEN[found.algorithm]}=:{value}:"}
            assert server_digest(again, whole) == (found.digest, "Repr-Digest")
            assert not found.contradicts(server_digest(again, whole))


SAYING = (
    "repr-digest",
    "content-digest",
    "digest",
    "x-goog-hash",
    "x-amz-checksum-sha256",
    "x-amz-checksum-type",
    "content-md5",
)
WRITTEN = {"sha512": "sha-512", "sha256": "sha-256", "sha1": "sha", "md5": "md5"}
EMPTY_SHA256, EMPTY_MD5 = (b64encode(new(name).digest()) for name in ("sha256", "md5"))
NUMBERS = (
    b"0",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"-",
    b"/",
    b"*",
    b",",
)
DATES = (b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994")
DATE_WORDS = (b"Nov", b"Feb", b" -0000", b" +9999", b"GMT", b"EST", b"29", b"9999", b":", b",")

HARNESSES = [
    Harness("content-range", content_range, (b"bytes 0-9/100", b"bytes */100", b"bytes 5-5/*"), NUMBERS),
    Harness("content-length", length, (b"1000", b"5, 5"), NUMBERS),
    Harness("retry-after", waiting, (b"120", b"0.5\n\x39", *DATES), (*NUMBERS, *DATE_WORDS)),
    Harness("date", date, DATES, DATE_WORDS),
    Harness(
        "identity",
        identity,
        (*(b'"v1"\n' + date + b'\nW/"v1"' for date in DATES), b'W/"a"\n\n"b"', b"a\n0\n" + b"x" * 1100),
        (b'W/"', b'"', b"sha256:", *DATE_WORDS),
    ),
    Harness(
        "digest", digest, (b"sha256:" + b"0" * 64, b"MD5=" + b"f" * 32), (b"sha-512", b"sha1", b"=", b":")
    ),
    Harness(
        "said",
        said,
        (
            b"sha-256=:" + EMPTY_SHA256 + b":, md5=:" + EMPTY_MD5 + b":;q=1" + b"\n" * 6,
            b'a;b="x, y\\"", sha-256=:' + EMPTY_SHA256 + b":\n\nmd5=" + EMPTY_MD5 + b"\n\n\n\n",
            b"\n\n\ncrc32c=AAAAAA==,md5=" + EMPTY_MD5 + b"\n" + EMPTY_SHA256 + b"\nFULL_OBJECT\n" + EMPTY_MD5,
        ),
        (EMPTY_SHA256, EMPTY_MD5, b"sha-256=:", b"md5=", b":,", b"\x3bq=", b"COMPOSITE", b"-7"),
    ),
]
