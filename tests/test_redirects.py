"""Credentials stay with their origin, and no redirect leads out of http and https."""

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from largefile.errors import RefusedError
from largefile.rules.redirects import check_url, display_url, follow, headers_for, origin, same_origin

HERE = "https://example.org/a/b?c"
PLAIN = ["http:", "https:", "ftp:", "//", "/", "h", "host", "evil.org", ":80", "[::1]", "?q", "#f", "..", "."]
ODD = ["\\", "@", "user:pw", ":0x50", " ", "\t", "\n", "%40", "é", "\u2028", ":", "[", "]", "\x00"]
pieces = st.lists(st.sampled_from(PLAIN + ODD), max_size=9).map("".join) | st.builds(
    "{}//{}{}/{}".format,
    st.sampled_from(["http:", "https:", "HTTPS:", ""]),
    st.sampled_from(["h", "H", "h.", "[::1]", "evil.org", "me:pw@h", "h\\@evil.org", "bücher"]),
    st.sampled_from(["", ":", ":80", ":443", ":8080", ":0"]),
    st.sampled_from(["", "a", "?q", "#f", "é"]),
)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://h", "http://h/"),
        ("HTTP://H/A", "http://h/A"),
        ("https://h:443/", "https://h/"),
        ("https://h:80/", "https://h:80/"),
        ("http://h:/", "http://h/"),
        ("http://h?a=b", "http://h/?a=b"),
        ("http://h/a?", "http://h/a?"),
        ("http://h/a#frag?x", "http://h/a"),
        ("http://h/a%2Fb/../c", "http://h/a%2Fb/../c"),
        ("http://h/é?ü", "http://h/%C3%A9?%C3%BC"),
        ("http://bücher.example/x", "http://xn--bcher-kva.example/x"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
        ("http://[2001:DB8::1]:8080/", "http://[2001:db8::1]:8080/"),
        ("http://[fe80::1%25eth0]/", "http://[fe80::1%25eth0]/"),
        ("http://under_score/", "http://under_score/"),
        ("http://h/a@b?c@d", "http://h/a@b?c@d"),
    ],
)
def test_a_good_url_is_sent_in_one_form(url, sent):
    assert check_url(url) == sent


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "http:// or https://"),
        ("model.bin", "http:// or https://"),
        ("ftp://h/a", "http:// or https://"),
        ("file:///etc/passwd", "http:// or https://"),
        ("h:80/a", "http:// or https://"),
        ("//h/a", "http:// or https://"),
        ("http:/a", "host"),
        ("http:///a", "host"),
        ("http://:80/", "host"),
        ("http://h:0/", "from 1 to 65535"),
        ("http://h:65536/", "from 1 to 65535"),
        ("http://h:8o/", "from 1 to 65535"),
        ("http://h:+80/", "from 1 to 65535"),
        ("http://h:\N{FULLWIDTH DIGIT EIGHT}/", "from 1 to 65535"),
        ("http://h:1:2/", "one port"),
        ("http://[::1/", "host"),
        ("http://[::1]x/", "host"),
        ("http://[zz]/", "host"),
        ("http://[::1%eth0]/", "host"),
        ("http://[::1%25e%2fth0]/", "host"),
        ("http://[::1%25]/", "host"),
        ("http://a%40b/", "host"),
        ("http://a\\b/", "host"),
        ("http://a..\N{LATIN SMALL LETTER U WITH DIAERESIS}/", "host"),
        ("http://stra\N{LATIN SMALL LETTER SHARP S}e.de/", "host"),
        ("http://h/a b", "' ' (at character 10)"),
        ("http://h/a\n", "'\\n'"),
        (" http://h/", "at character 0"),
        ("http://h/\x00", "'\\x00'"),
        ("http://h/\u202e", "'\\u202e'"),
        ("http://me@h/", "pass auth"),
        ("http://me:secret@h/", "pass auth"),
        ("http://h\\@evil.org/", "pass auth"),
    ],
)
def test_a_bad_url_is_refused_with_what_is_wrong(url, words):
    with pytest.raises(ValueError) as caught:
        check_url(url)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:secret@h/",
        "ftp://me:secret@h/",
        "http:me:secret@h/",
        "http:///me:secret@h/",
        "me:secret@h/",
        "http://me:secret@h:99999/ ?token=secret",
        "http://h:bad/?token=secret",
        "http://h\\me:secret@h/",
    ],
)
def test_no_message_shows_a_secret(url):
    with pytest.raises(ValueError) as caught:
        check_url(url)
    assert "secret" not in str(caught.value)
    assert "secret" not in display_url(url)


@given(pieces | st.text(max_size=60))
@example("http://h\\@evil.org/")
def test_what_passes_is_stable_and_read_alike_by_another_parser(url):
    try:
        sent = check_url(url)
    except ValueError:
        return
    assert check_url(sent) == sent
    assert sent.isascii()
    parts = urlsplit(sent)
    scheme, host, port = origin(url)
    assert scheme == parts.scheme
    assert scheme in ("http", "https")
    assert host.strip("[]") == parts.hostname
    assert port == (parts.port or {"http": 80, "https": 443}[scheme])
    assert parts.username is parts.password is None
    assert not parts.fragment


@given(st.text(max_size=80) | pieces)
def test_any_text_can_be_shown_on_one_line_without_its_query(url):
    shown = display_url(url)
    assert not shown or shown.isprintable()
    assert not set(shown) & set("?#")


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("http://h/a", "http://H:80/b?c", True),
        ("https://h/", "https://h:443/", True),
        ("http://h/", "https://h/", False),
        ("http://h/", "http://h:8080/", False),
        ("http://h/", "http://www.h/", False),
        ("http://h/", "http://h./", False),
        ("http://[::1]/", "http://[::1]:80/", True),
    ],
)
def test_an_origin_is_scheme_host_and_port(a, b, same):
    assert same_origin(a, b) is same
    assert headers_for(a, b, [("Authorization", "x"), ("X-Any", "y")]) == (
        (("Authorization", "x"), ("X-Any", "y")) if same else ()
    )


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://cdn.example/x?sig=a%2Fb", "https://cdn.example/x?sig=a%2Fb"),
        ("/x", "https://example.org/x"),
        ("x", "https://example.org/a/x"),
        ("../x", "https://example.org/x"),
        ("?x", "https://example.org/a/b?x"),
        ("//other.org/x", "https://other.org/x"),
        (" /x\t", "https://example.org/x"),
        ("/x y!", "https://example.org/x%20y!"),
        ("/\x7e\x80", "https://example.org/~%80"),
        ("/\xc3\xa9", "https://example.org/%C3%A9"),
        ("/\u20ac", "https://example.org/%E2%82%AC"),
        ("/x#frag", "https://example.org/x"),
        ("\\\\h", "https://example.org/a/\\\\h"),  # a path, as in RFC 3986; browsers go to host h
    ],
)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_location_is_resolved_against_where_it_was_said(location, target, status):
    assert follow(HERE, location, status) == target


DOWNGRADES = ["http://example.org/", "http://other.org/", "HTTP://example.org/"]
SCHEMES = ["ftp://h/", "file:///etc/passwd", "gopher://h/", "javascript:0", "data:,x", "dict://h", "x:y"]
MALFORMED = [
    "https://me:pw@h/",
    "//me@h/",
    "https://h:0/",
    "https:///x",
    "https:/x",
    "https:x",
    "/a\nb",
    "/a\x00",
]


@pytest.mark.parametrize("location", [*DOWNGRADES, *SCHEMES, *MALFORMED, "", " ", None])
def test_a_redirect_out_of_the_rules_is_refused(location):
    with pytest.raises(RefusedError):
        follow(HERE, location, 302)


@pytest.mark.parametrize("status", [200, 206, 304, 305, 306, 400])
def test_a_status_that_is_no_redirect_is_not_followed(status):
    with pytest.raises(RefusedError):
        follow(HERE, "/x", status)


def test_the_eleventh_redirect_is_refused():
    assert follow(HERE, "/x", 302, hops=9)
    with pytest.raises(RefusedError, match="at most 10"):
        follow(HERE, "/x", 302, hops=10)


def test_http_may_lead_to_https_and_then_not_back():
    up = follow("http://h/", "https://h/", 301)
    with pytest.raises(RefusedError, match="https to http"):
        follow(up, "http://h/", 301)


@given(st.sampled_from([HERE, "http://h:81/x"]), pieces)
def test_a_followed_redirect_is_a_url_that_a_user_could_have_given(url, location):
    try:
        target = follow(url, location, 302)
    except RefusedError:
        return
    assert check_url(target) == target
    assert origin(target)[0] == "https" or origin(url)[0] == "http"


@given(pieces, pieces)
def test_headers_go_only_where_scheme_host_and_port_are_the_same(a, b):
    headers = [("X-Key", "k")]
    try:
        sent = headers_for(a, b, headers)
    except ValueError:
        return
    assert sent == (tuple(headers) if origin(a) == origin(b) else ())
