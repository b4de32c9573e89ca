"""No answer is used unless it says that its bytes are exactly the ones that were asked for."""

import re

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from largefile.errors import (
    NotFoundError,
    ProtocolError,
    RefusedError,
    SourceChangedError,
    ThrottledError,
    UnsizedSourceError,
)
from largefile.events import Fetch, Response
from largefile.rules.identity import Identity, Match
from largefile.rules.ranged_http import Kind, judge, parse_content_range

MONDAY, TUESDAY = "Mon, 05 Jan 2026 10:00:00 GMT", "Tue, 06 Jan 2026 10:00:00 GMT"
PINNED = Identity('"a"', MONDAY, 100)
USED = (Kind.ACCEPT, Kind.PREFIX, Kind.WHOLE, Kind.EMPTY)
BINARY = "application/octet-stream"


def answer(status=206, content_range=None, **fields):
    """A response of the pinned version; a field given as None is left out."""
    base = {"etag": '"a"', "last_modified": MONDAY, "content_range": content_range}
    headers = {k.replace("_", "-"): str(v) for k, v in {**base, **fields}.items() if v is not None}
    return Response(status, headers)


def ask(response, first=10, last=19, pinned=PINNED, *, fresh=True, **options):
    """The verdict on the answer to a request past all caches, or to an ordinary one."""
    fields = (("Cache-Control", "no-cache"),) if fresh else ()
    return judge(Fetch(first, last, headers=fields), response, pinned, wall_now=0.0, **options)


# --- by table: what hostile servers have been seen to do ---------------------------------------------


@pytest.mark.parametrize(
    ("response", "kind", "last"),
    [
        (answer(206, "bytes 10-19/100"), Kind.ACCEPT, 19),
        (answer(206, "bytes 10-19/100", content_length=10), Kind.ACCEPT, 19),
        (answer(206, "bytes 10-19/100", content_length="10, 10"), Kind.ACCEPT, 19),
        (answer(206, "BYTES 10-19/100"), Kind.ACCEPT, 19),
        (answer(206, "bytes 10-19/*"), Kind.ACCEPT, 19),
        (answer(206, "bytes 10-19/100", content_encoding="identity"), Kind.ACCEPT, 19),
        (answer(200, "bytes 10-19/100", content_length=10), Kind.ACCEPT, 19),
        (answer(206, "bytes 10-18/100"), Kind.PREFIX, 18),
        (answer(206, "bytes 10-10/100", content_length=1), Kind.PREFIX, 10),
        (answer(200, content_length=100), Kind.WHOLE, 99),
        (answer(200), Kind.WHOLE, 99),
        (answer(200, content_length=7, transfer_encoding="chunked"), Kind.WHOLE, 99),
    ],
)
def test_an_honest_answer_is_used(response, kind, last):
    verdict = ask(response)
    assert (verdict.kind, verdict.last, verdict.error) == (kind, last, None)


@pytest.mark.parametrize(
    "response",
    [
        answer(206),
        answer(206, "bytes 9-18/100"),
        answer(206, "bytes 0-9/100"),
        answer(206, "bytes 11-19/100"),
        answer(206, "bytes 11-20/100"),
        answer(206, "bytes 10-20/100"),
        answer(206, "bytes 10-9/100"),
        answer(206, "bytes 10-19/19"),
        answer(206, "bytes 10-19/15"),
        answer(206, "bytes */100"),
        answer(206, "bytes 10-19"),
        answer(206, "bytes=10-19/100"),
        answer(206, "bytes: 10-19/100"),
        answer(206, "items 10-19/100"),
        answer(206, "bytes 10-19/100, bytes 10-19/100"),
        answer(206, "bytes +10-19/100"),
        answer(206, "bytes 1\N{ARABIC-INDIC DIGIT ZERO}-19/100"),
        answer(206, "bytes 10-19/9223372036854775808"),
        answer(206, f"bytes 10-19/{'9' * 5000}"),
        answer(206, "bytes 10-18446744073709551625/100"),
        answer(206, "bytes 10-19/100", content_length=9),
        answer(206, "bytes 10-19/100", content_length=11),
        answer(206, "bytes 10-19/100", content_length=100),
        answer(206, "bytes 10-19/100", content_length="10, 11"),
        answer(206, "bytes 10-19/100", content_length="ten"),
        answer(206, "bytes 10-19/100", content_length=-10),
        answer(206, "bytes 10-19/100", content_encoding="gzip"),
        answer(206, "bytes 10-19/100", content_type="multipart/byteranges; boundary=x"),
        answer(206, content_type="Multipart/ByteRanges; boundary=x"),
        answer(200, "bytes 10-19/100"),
        answer(200, "bytes 10-19/100", content_length=100),
        answer(200, content_encoding="br", content_length=100),
        answer(200, content_length="9223372036854775808"),
        answer(200, content_length="1e2"),
        answer(100),
        answer(103),
        answer(201),
        answer(203, content_length=100),
        answer(204),
        answer(226, "bytes 10-19/100"),
        answer(302),
        answer(302, location=" "),
        answer(304),
        answer(305, location="/x"),
        answer(600),
        answer(0),
    ],
)
def test_an_answer_that_is_not_what_was_asked_is_refused_and_asked_again(response):
    verdict = ask(response)
    assert verdict.kind is Kind.RETRY
    assert isinstance(verdict.error, ProtocolError)
    assert verdict.reason
    assert verdict.last is None


@pytest.mark.parametrize(
    "response",
    [
        answer(206, "bytes 10-19/100", etag='"b"'),
        answer(206, "bytes 10-19/101"),
        answer(206, "bytes 10-19/20"),
        answer(206, "bytes 10-14/15"),
        answer(206, "bytes 10-19/100", etag=None, last_modified=TUESDAY),
        answer(206, "bytes 10-19/100", etag='W/"b"'),
        answer(200, content_length=101),
        answer(200, content_length=0),
        answer(200, content_length=100, etag='"b"'),
        answer(200, etag='"b"'),
        answer(412),
        answer(416, "bytes */101"),
        answer(416, "bytes */0"),
    ],
)
def test_another_version_is_never_used(response):
    verdict = ask(response)
    assert verdict.kind is Kind.CHANGED
    assert isinstance(verdict.error, SourceChangedError)
    assert verdict.error.wanted == PINNED.describe()


def test_of_two_edges_with_other_etags_a_digest_will_tell_and_of_anything_else_it_will_not():
    other_etag = answer(206, "bytes 10-19/100", etag='"b"')
    assert ask(other_etag).kind is Kind.CHANGED
    assert ask(other_etag, vouched=True).kind is Kind.ACCEPT
    for also in ({"last_modified": TUESDAY}, {"content_range": "bytes 10-19/101"}):
        response = answer(206, **{"content_range": "bytes 10-19/100", "etag": '"b"', **also})
        assert ask(response, vouched=True).kind is Kind.CHANGED


@pytest.mark.parametrize(
    "response",
    [
        answer(206, "bytes 10-19/100", etag='"b"'),
        answer(206, "bytes 10-19/101"),
        answer(200, content_length=101),
        answer(416, "bytes */101"),
        answer(412),
        answer(206, "bytes 0-9/100"),
    ],
)
def test_what_a_cache_may_have_given_is_asked_for_once_more_past_all_caches(response):
    verdict = ask(response, fresh=False)
    assert (verdict.kind, verdict.stale) == (Kind.RETRY, True)
    assert not ask(response).stale


@pytest.mark.parametrize("status", [500, 503, 302])
def test_no_cache_is_suspected_of_an_answer_that_is_none(status):
    assert not ask(answer(status), fresh=False).stale


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 412])
def test_what_ends_a_download_that_was_well_is_asked_for_once_more(status):
    verdict = ask(answer(status), fresh=False)
    assert (verdict.kind, verdict.stale) == (Kind.RETRY, True)
    assert ask(answer(status)).kind in (Kind.GIVE_UP, Kind.CHANGED)
    assert ask(answer(status), pinned=None, fresh=False).kind is Kind.GIVE_UP, "of a first answer it is not"


@pytest.mark.parametrize("response", [answer(200, content_length=1000), answer(206, "bytes 10-19/50")])
def test_an_answer_without_any_validator_throws_nothing_away(response):
    for name in ("etag", "last-modified"):
        response.headers.pop(name, None)
    assert ask(response).kind is Kind.RETRY


@pytest.mark.parametrize("response", [answer(206, "bytes 0-9/200", etag='"b"'), answer(206, "x", etag='"b"')])
def test_only_a_well_formed_answer_may_say_that_the_source_changed(response):
    assert ask(response).kind is Kind.RETRY


@pytest.mark.parametrize(
    ("pinned", "fields", "used"),
    [
        (Identity('"a"', None, 100), {"etag": None, "last_modified": None}, False),
        (Identity('"a"', None, 100), {"etag": None}, False),
        (Identity(None, MONDAY, 100), {"last_modified": None}, False),
        (Identity('"a"', MONDAY, 100), {"etag": None}, True),
        (Identity('W/"a"', None, 100), {"etag": 'W/"a"'}, True),
        (Identity(None, None, 100), {"etag": None, "last_modified": None}, True),
        (Identity(None, None, 100), {}, True),
    ],
)
def test_an_answer_that_keeps_silent_about_its_version_is_not_used(pinned, fields, used):
    verdict = ask(answer(206, "bytes 10-19/100", **fields), pinned=pinned)
    assert verdict.kind is (Kind.ACCEPT if used else Kind.RETRY)


@pytest.mark.parametrize(
    ("media_type", "pinned_type", "fields", "kind"),
    [
        ("text/html; charset=utf-8", BINARY, {}, Kind.RETRY),
        ("TEXT/HTML", BINARY, {"etag": '"login"'}, Kind.RETRY),
        ("text/html", "text/html", {}, Kind.ACCEPT),
        ("text/html", None, {}, Kind.ACCEPT),
        (None, BINARY, {}, Kind.ACCEPT),
        ("binary/octet-stream", BINARY, {}, Kind.ACCEPT),
        ("text/plain", BINARY, {"etag": '"b"'}, Kind.CHANGED),
    ],
)
def test_a_login_page_is_neither_the_file_nor_a_new_version(media_type, pinned_type, fields, kind):
    response = answer(206, "bytes 10-19/100", content_type=media_type, **fields)
    assert ask(response, pinned_type=pinned_type).kind is kind


def test_another_type_with_nothing_that_proves_the_version_is_not_used():
    response = answer(206, "bytes 10-19/100", content_type="text/plain", etag=None, last_modified=None)
    assert ask(response, pinned=Identity(None, None, 100), pinned_type=BINARY).kind is Kind.RETRY


def test_a_verdict_carries_the_type_without_its_parameters():
    assert ask(answer(206, "bytes 10-19/100", content_type="Text/X ; a=b")).content_type == "text/x"


# --- the first answer ------------------------------------------------------------------------------


def test_the_first_answer_pins_size_and_validators():
    verdict = ask(answer(206, "bytes 0-9/100"), 0, 19, pinned=None)
    assert (verdict.kind, verdict.last, verdict.identity) == (Kind.PREFIX, 9, PINNED)


def test_the_first_answer_may_be_the_whole_with_or_without_a_size():
    sized = ask(answer(200, content_length=100), 0, 9, pinned=None)
    assert (sized.kind, sized.last, sized.identity) == (Kind.WHOLE, 99, PINNED)
    unsized = ask(answer(200), 0, 9, pinned=None)
    assert (unsized.kind, unsized.last, unsized.identity.size) == (Kind.WHOLE, None, None)


def test_the_largest_size_that_can_be_held_is_taken():
    verdict = ask(answer(200, content_length=2**63 - 1), 0, 9, pinned=None)
    assert (verdict.kind, verdict.last) == (Kind.WHOLE, 2**63 - 2)


def test_a_probe_that_asks_beyond_the_end_gets_all_there_is():
    verdict = ask(answer(206, "bytes 0-99/100"), 0, 1048575, pinned=None)
    assert (verdict.kind, verdict.last) == (Kind.ACCEPT, 99)


@pytest.mark.parametrize("response", [answer(416, "bytes */0"), answer(200, content_length=0)])
@pytest.mark.parametrize("pinned", [None, Identity('"a"', MONDAY, 0)])
def test_empty_content_is_recognised(response, pinned):
    verdict = ask(response, 0, 9, pinned=pinned)
    assert (verdict.kind, verdict.identity.size) == (Kind.EMPTY, 0)


@pytest.mark.parametrize("content_range", [None, "bytes */*", "bytes */100", "garbage"])
def test_a_first_416_that_does_not_say_empty_asks_for_a_plain_request(content_range):
    verdict = ask(answer(416, content_range), 0, 9, pinned=None)
    assert (verdict.kind, verdict.plain) == (Kind.RETRY, True)


@pytest.mark.parametrize("first", [None, 10])
def test_a_416_elsewhere_says_nothing_of_ranges(first):
    verdict = ask(answer(416, "bytes */100"), first, 19, pinned=None)
    assert (verdict.kind, verdict.plain) == (Kind.RETRY, False)


def test_a_range_of_unknown_size_is_given_up_with_the_reason():
    verdict = ask(answer(206, "bytes 0-9/*"), 0, 9, pinned=None)
    assert (verdict.kind, verdict.plain) == (Kind.GIVE_UP, True)
    assert isinstance(verdict.error, UnsizedSourceError)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (answer(200, content_length=100), Kind.WHOLE),
        (answer(206, "bytes 0-99/100"), Kind.WHOLE),
        (answer(200, "bytes 0-99/100", content_length=100), Kind.WHOLE),
        (answer(206, "bytes 0-98/100"), Kind.RETRY),
        (answer(206, "bytes 1-99/100"), Kind.RETRY),
        (answer(206), Kind.RETRY),
        (answer(416, "bytes */100"), Kind.RETRY),
    ],
)
def test_a_request_without_a_range_is_answered_whole_or_not_at_all(response, kind):
    for pinned in (None, PINNED):
        verdict = ask(response, None, None, pinned=pinned)
        assert (verdict.kind, verdict.last) == (kind, 99 if kind is Kind.WHOLE else None)


@pytest.mark.parametrize("content_range", [None, "bytes */100"])
def test_a_416_inside_the_content_is_not_its_end(content_range):
    assert ask(answer(416, content_range), 0, 9).plain is False
    verdict = ask(answer(416, content_range))
    assert (verdict.kind, verdict.plain) == (Kind.RETRY, False)
    assert isinstance(verdict.error, ProtocolError)


# --- statuses without a body for us ------------------------------------------------------------------


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_says_where_to(status):
    verdict = ask(answer(status, location="../x"))
    assert (verdict.kind, verdict.location) == (Kind.REDIRECT, "../x")


@pytest.mark.parametrize(
    ("status", "error", "renewable"),
    [
        (401, RefusedError, True),
        (403, RefusedError, True),
        (407, RefusedError, False),
        (451, RefusedError, False),
        (404, NotFoundError, True),
        (410, NotFoundError, True),
        (400, ProtocolError, True),
        (405, ProtocolError, False),
        (418, ProtocolError, False),
    ],
)
def test_a_final_status_ends_the_job_or_renews_an_address_that_came_by_redirect(status, error, renewable):
    verdict = ask(answer(status))
    assert (verdict.kind, type(verdict.error)) == (Kind.GIVE_UP, error)
    assert str(status) in str(verdict.error)
    verdict = ask(answer(status), resolved=True)
    assert (verdict.kind, type(verdict.error)) == (Kind.RENEW if renewable else Kind.GIVE_UP, error)


def test_a_412_before_anything_is_pinned_is_final():
    assert ask(answer(412), pinned=None).kind is Kind.GIVE_UP


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 507, 520, 599])
def test_a_passing_trouble_is_retried_when_the_host_says(status):
    verdict = ask(answer(status, retry_after="7"))
    assert (verdict.kind, verdict.retry_after) == (Kind.RETRY, 7.0)
    assert verdict.pushback is (status in (429, 503))
    assert isinstance(verdict.error, ThrottledError if verdict.pushback else ProtocolError)
    assert ask(answer(status)).retry_after is None


def test_a_retry_after_that_is_a_date_counts_from_now():
    response = answer(503, retry_after="Thu, 01 Jan 1970 00:01:00 GMT")
    assert judge(Fetch(0, 9), response, None, wall_now=18.0).retry_after == 42.0


@given(st.integers(300, 599), st.integers(0, 100))
def test_a_body_that_comes_with_an_error_never_reaches_the_file(status, length):
    response = answer(status, "bytes 10-19/100", content_length=length, location="/x")
    assert ask(response).kind not in USED


def test_an_error_says_what_was_asked_and_what_was_found():
    for first, last, response, words in [
        (10, 19, answer(206, "bytes 9-18/100"), "asked for bytes 10-19: answered with bytes 9-18 of 100"),
        (10, None, answer(500), "asked for bytes 10-: answered 500 Internal Server Error"),
        (None, None, answer(206), "asked for the whole content: answered with 206 without Content-Range"),
        (10, 19, answer(416), "asked for bytes 10-19: answered 416 Requested Range Not Satisfiable"),
        (10, 19, answer(416, "bytes */100"), "Not Satisfiable of 100 bytes"),
        (10, 19, answer(520), "answered 520"),
    ]:
        assert words in str(ask(response, first, last).error)


# --- laws --------------------------------------------------------------------------------------------

LIES = {
    "content-range": [
        "bytes */100",
        "bytes */0",
        "10-19/100",
        "bytes 0-99/100",
        "bytes 10-19/*",
        "",
        "bytes 0-0/1",
    ],
    "content-length": [
        "",
        "x",
        "10, 10",
        "10, 11",
        "-1",
        "0",
        "1",
        "9",
        "10",
        "90",
        "100",
        "101",
        str(2**63),
    ],
    "content-encoding": ["", "identity", "gzip"],
    "transfer-encoding": ["chunked"],
    "content-type": [BINARY, "text/html", "multipart/byteranges"],
    "etag": ['"b"', 'W/"a"', 'W/"b"', ""],
    "last-modified": [TUESDAY, "0"],
    "retry-after": ["-1", "soon"],
    "location": ["/x", ""],
}
fetches = st.sampled_from(
    [
        Fetch(0, 9),
        Fetch(10, 19),
        Fetch(10, 10),
        Fetch(90, 99),
        Fetch(90, 200),
        Fetch(10, None),
        Fetch(None, None),
    ]
)
shifts = st.sampled_from([0] * 24 + [-1, 1, -10, 10, 2**32, 2**63])


@st.composite
def exchanges(draw):
    """A fetch, an answer of which up to three things are not as an honest server has them, what is pinned."""
    fetch = draw(fetches)
    first = (fetch.first or 0) + draw(shifts)
    last = min(99, 99 if fetch.last is None else fetch.last) + draw(shifts | st.just(-1))
    fields = {"etag": '"a"', "last-modified": MONDAY, "content-type": BINARY}
    status = draw(st.sampled_from([206] * 9 + [200] * 3 + [203, 416, 503]))
    if status == 206 or draw(st.booleans()):
        fields["content-range"] = f"bytes {first}-{last}/{100 + draw(shifts)}"
        fields["content-length"] = str(last - first + 1)
    else:
        fields["content-length"] = str(100 + draw(shifts))
    for name in draw(st.just([]) | st.lists(st.sampled_from(sorted(LIES)), max_size=2)):
        lie = draw(st.none() | st.sampled_from(LIES[name]))
        fields = {k: v for k, v in fields.items() if k != name} | ({} if lie is None else {name: lie})
    tags, dates = st.sampled_from(['"a"', 'W/"a"', None]), st.sampled_from([MONDAY, None])
    pinned = draw(st.none() | st.builds(Identity, tags, dates, st.sampled_from([100, 100, None, 0])))
    return fetch, Response(status, fields), pinned, draw(st.sampled_from([None, BINARY]))


def declared(response):
    """What the fields say of the body, read by another grammar: (first, last, total) or None."""
    parts = re.findall(r"\d+|\*", response.headers.get("content-range", ""))
    return (int(parts[0]), int(parts[1]), parts[2]) if len(parts) == 3 else None


@given(exchanges())
def test_a_range_is_used_only_where_it_says_that_it_belongs(exchange):
    fetch, response, pinned, pinned_type = exchange
    verdict = judge(fetch, response, pinned, wall_now=0.0, pinned_type=pinned_type)
    event(verdict.kind.name)
    if verdict.kind not in (Kind.ACCEPT, Kind.PREFIX):
        return
    first, last, total = declared(response)
    size = pinned.size if total == "*" else int(total)
    end = size - 1 if fetch.last is None else min(fetch.last, size - 1)
    assert first == fetch.first
    assert verdict.last == last <= end < size < 2**63
    assert (verdict.kind is Kind.ACCEPT) == (last == end)
    assert response.headers.get("content-length", str(last - first + 1)).split(",")[0] == str(
        last - first + 1
    )
    assert response.status == 206 or "content-length" in response.headers


@given(exchanges())
def test_a_whole_has_the_size_that_it_says_and_the_pinned_one(exchange):
    fetch, response, pinned, pinned_type = exchange
    verdict = judge(fetch, response, pinned, wall_now=0.0, pinned_type=pinned_type)
    if verdict.kind is not Kind.WHOLE:
        return
    size = verdict.identity.size
    if (said := declared(response)) is not None:
        assert fetch.first is None
        assert said[:2] == (0, verdict.last)
        assert said[2] in ("*", str(size))
    else:
        assert response.status == 200
        chunked = "transfer-encoding" in response.headers
        assert chunked or size is None or response.headers["content-length"].startswith(str(size))
    if pinned is not None and pinned.size is not None:
        assert size in (None, pinned.size)
        assert verdict.last == pinned.size - 1


@given(exchanges())
@example((Fetch(10, 19), answer(206, "bytes 10-19/100", etag='"b"'), PINNED, None))
def test_nothing_of_another_or_unproven_version_or_form_is_used(exchange):
    fetch, response, pinned, pinned_type = exchange
    verdict = judge(fetch, response, pinned, wall_now=0.0, pinned_type=pinned_type)
    if verdict.kind not in USED or response.status == 416:
        return
    assert response.status in (200, 206)
    assert response.headers.get("content-encoding", "") in ("", "identity")
    assert verdict.content_type != "multipart/byteranges"
    assert pinned_type is None or verdict.content_type != "text/html" or pinned is None
    if pinned is not None:
        assert pinned.compare(verdict.identity) is not Match.CONTRADICTORY
        assert not pinned.has_validator or pinned.shares_validator(verdict.identity)


@given(exchanges(), st.booleans())
def test_every_answer_has_a_verdict_with_what_its_kind_needs(exchange, resolved):
    fetch, response, pinned, pinned_type = exchange
    options = {"wall_now": 0.0, "resolved": resolved, "pinned_type": pinned_type}
    verdict = judge(fetch, response, pinned, **options)
    assert verdict == judge(fetch, response, pinned, **options) or verdict.error is not None
    assert (verdict.error is None) == (verdict.kind in (*USED, Kind.REDIRECT))
    assert (verdict.location is None) == (verdict.kind is not Kind.REDIRECT)
    assert verdict.identity is not None or verdict.kind not in USED
    assert verdict.reason


@given(st.integers(1, 2**63 - 1), st.data())
def test_an_honest_server_is_always_accepted(size, data):
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.none() | st.integers(first, 2**63 - 2))
    end = size - 1 if last is None else min(last, size - 1)
    length = data.draw(st.sampled_from([None, end - first + 1]))
    for pinned in (None, Identity('"a"', MONDAY, size)):
        verdict = ask(answer(206, f"bytes {first}-{end}/{size}", content_length=length), first, last, pinned)
        assert (verdict.kind, verdict.last) == (Kind.ACCEPT, end)
        assert verdict.identity == Identity('"a"', MONDAY, size)


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.none() | st.integers(0, 2**63 - 1))
@example(0, 2**63 - 2, 2**63 - 1)
@example(0, 2**63 - 2, None)
@example(0, 2**63 - 1, None)
def test_a_content_range_is_read_back_as_it_was_written(first, last, total):
    text = f"bytes {first}-{last}/{'*' if total is None else total}"
    if first <= last < (2**63 - 1 if total is None else total):
        found = parse_content_range(text)
        assert (found.first, found.last, found.total) == (first, last, total)
    else:
        with pytest.raises(ValueError):
            parse_content_range(text)


@given(st.text(st.sampled_from("bytes 0123456789-/*"), max_size=30) | st.text(max_size=30))
def test_a_content_range_that_is_read_is_written_the_same(text):
    try:
        found = parse_content_range(text)
    except ValueError:
        return
    numbers = [part.lstrip("0") or "0" for part in re.findall(r"\d+|\*", text)]
    named = ["*"] if found.first is None else [str(found.first), str(found.last)]
    assert numbers == [*named, "*" if found.total is None else str(found.total)]


def test_a_whole_body_without_size_and_validator_is_not_taken_for_content_that_has_none():
    verdict = ask(answer(200, etag=None, last_modified=None), pinned=Identity(None, None, 100))
    assert verdict.kind is Kind.RETRY
    assert "of unknown size that nothing identifies" in verdict.reason
