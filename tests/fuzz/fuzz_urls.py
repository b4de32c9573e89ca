"""Addresses, where redirects lead, and the names that are made of them."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import urlsplit

from harness import Harness, texts

from largefile.errors import RefusedError
from largefile.rules.addresses import is_public
from largefile.rules.naming import basename_from_url
from largefile.rules.redirects import (
    REDIRECTS,
    check_url,
    display_url,
    follow,
    headers_for,
    origin,
    same_origin,
)

BASES = ["http://h/a/b?c", "https://h:81/a/b?c", "https://[::1]/", "http://h"]


def url(data: bytes) -> None:
    (text,) = texts(data, 1)
    shown = display_url(text)
    assert not shown or (shown.isprintable() and not set(shown) & set("?#"))
    try:
        sent = check_url(text)
    except ValueError:
        return
    assert sent.isascii()
    assert sent.isprintable()
    assert " " not in sent
    assert check_url(sent) == sent
    parts = urlsplit(sent)  # somebody else's parser
    scheme, host, port = origin(text)
    assert (parts.scheme, parts.hostname) == (scheme, host.strip("[]"))
    assert scheme in ("http", "https")
    assert (parts.port or {"http": 80, "https": 443}[scheme]) == port
    assert parts.username is None
    assert same_origin(text, sent)


def redirect(data: bytes) -> None:
    location, number = texts(data, 2)
    choice = sum(number.encode()) if number else 0
    base, status = BASES[choice % 4], sorted(REDIRECTS)[choice // 4 % 6]
    try:
        target = follow(base, location, status, hops=choice % 11)
    except RefusedError:
        return
    assert check_url(target) == target
    assert origin(target)[0] == "https" or origin(base)[0] == "http"
    told = headers_for(base, target, [("X-Key", "secret")])
    assert bool(told) == (origin(base) == origin(target))


def naming(data: bytes) -> None:
    (text,) = texts(data, 1)
    name = basename_from_url(text)
    assert name not in ("", ".", "..")
    assert len(name.encode()) <= 246
    assert not set(name) & set('/\\:*?"<>|\0')
    assert not [c for c in name if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp", "Cf")]
    assert not name.startswith(".")
    assert not name.endswith((".", " "))
    assert PurePosixPath("d", name).name == PureWindowsPath("d", name).name == name


def address(data: bytes) -> None:
    (text,) = texts(data, 1)
    if is_public(text):
        assert text.strip("0123456789abcdefABCDEF.:") == "" or "%" in text
        assert not text.startswith(("127.", "10.", "192.168.", "169.254.", "fe8", "fd", "::1"))


PIECES = (
    b"http://",
    b"https://",
    b"//",
    b"@",
    b":",
    b"[::1]",
    b"%2f",
    b"%00",
    b"..",
    b"\\",
    b"?",
    b"#",
    b"xn--",
)

HARNESSES = [
    Harness(
        "url",
        url,
        (
            b"https://example.org:443/a?b=c#d",
            b"http://me:pw@h/",
            b"http://[::1%25eth0]:80/",
            "http://bücher/".encode(),
        ),
        PIECES,
    ),
    Harness(
        "redirect",
        redirect,
        (b"/x", b"../x?y\n1", b"//other.org/x\n7", b"https://h:81/\n1", b"http://h/\n1", b"/caf\xe9\n3"),
        (*PIECES, b"\t", b" "),
    ),
    Harness(
        "naming",
        naming,
        (
            b"https://h/a/model.bin?x",
            b"h/..%2F..%2F.ssh%2Fid",
            b"http://h/con.txt",
            b"/%E2%80%AEgpj.exe",
            b"/" + b"a" * 300,
        ),
        (*PIECES, b"nul", b"com1", b".", b" ", b"%e2%80%ae"),
    ),
    Harness(
        "address",
        address,
        (
            b"93.184.216.34",
            b"::ffff:10.0.0.1",
            b"64:ff9b::1.2.3.4",
            b"2606:4700::1",
            b"fe80::1%eth0",
            b"127.0.0.1",
        ),
        (b"::", b"ffff:", b"64:ff9b::", b"2002:", b"."),
    ),
]
