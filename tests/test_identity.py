"""Two versions are never taken for one, and a resume needs a proof."""

import hashlib
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from largefile.rules.digests import parse_digest
from largefile.rules.identity import Identity, Match, http_date

MONDAY, TUESDAY = "Mon, 05 Jan 2026 10:00:00 GMT", "Tue, 06 Jan 2026 10:00:00 GMT"
ONE, TWO = "sha256:" + 64 * "1", "sha256:" + 64 * "2"

etags = st.sampled_from([None, '"a"', '"b"', 'W/"a"', 'W/"b"', "bare"])
dates = st.sampled_from([None, MONDAY, TUESDAY])
sizes = st.sampled_from([None, 0, 100, 101])
identities = st.builds(Identity, etags, dates, sizes, st.sampled_from([None, ONE, TWO, "md5:" + 32 * "1"]))


@pytest.mark.parametrize(
    ("a", "b", "match"),
    [
        (('"a"', None, 100), ('"a"', None, 100), Match.EQUAL),
        (('"a"', None, 100), ('"b"', None, 100), Match.CONTRADICTORY),
        (('"a"', None, 100), ('"a"', None, 101), Match.CONTRADICTORY),
        (('"a"', None, 100), ('"a"', None, None), Match.EQUAL),
        (('"a"', MONDAY, 100), ('"a"', TUESDAY, 100), Match.EQUAL),
        (('"a"', MONDAY, 100), ('"b"', MONDAY, 100), Match.CONTRADICTORY),
        ((None, MONDAY, 100), (None, MONDAY, 100), Match.EQUAL),
        ((None, MONDAY, 100), (None, MONDAY, None), Match.WEAK),
        ((None, MONDAY, 100), (None, TUESDAY, 100), Match.CONTRADICTORY),
        (('W/"a"', None, 100), ('W/"a"', None, 100), Match.WEAK),
        (('W/"a"', None, 100), ('"a"', None, 100), Match.WEAK),
        (('W/"a"', None, 100), ('W/"b"', None, 100), Match.CONTRADICTORY),
        (('W/"a"', MONDAY, 100), ('W/"a"', MONDAY, 100), Match.EQUAL),
        (('W/"a"', MONDAY, 100), ('W/"a"', TUESDAY, 100), Match.CONTRADICTORY),
        (("bare", None, 100), ("bare", None, 100), Match.WEAK),
        ((None, None, 100), (None, None, 100), Match.WEAK),
        (('"a"', None, 100), (None, MONDAY, 100), Match.WEAK),
    ],
)
def test_two_identities_compare_as_the_table_says(a, b, match):
    assert Identity(*a).compare(Identity(*b)) is match
    assert Identity(*b).compare(Identity(*a)) is match


@given(identities, identities)
def test_comparing_is_symmetric(a, b):
    assert a.compare(b) is b.compare(a)


@given(identities)
def test_nothing_contradicts_itself(a):
    assert a.compare(a) is not Match.CONTRADICTORY


@given(identities, identities)
def test_a_contradiction_is_always_named(a, b):
    assert (a.compare(b) is Match.CONTRADICTORY) == bool(a.difference(b))


@given(identities, identities)
def test_different_sizes_or_strong_etags_are_never_one_version(a, b):
    sizes_differ = None not in (a.size, b.size) and a.size != b.size
    etags_differ = a.strong_etag and b.strong_etag and a.etag != b.etag
    if sizes_differ or etags_differ:
        assert a.compare(b) is Match.CONTRADICTORY


@given(identities, identities)
@example(Identity(None, None, 100), Identity(None, None, 100))
def test_a_resume_needs_the_same_size_and_a_validator_or_the_callers_digest(stored, found):
    resumable, reason = stored.resumable_with(found)
    assert reason
    if resumable:
        assert stored.size == found.size is not None
        same_digest = stored.digest is not None and stored.digest == found.digest
        same_etag = stored.strong_etag and stored.etag == found.etag
        same_date = stored.last_modified is not None and stored.last_modified == found.last_modified
        assert same_digest or same_etag or same_date
        assert stored.compare(found) is Match.EQUAL


@pytest.mark.parametrize(
    ("stored", "found", "resumable", "words"),
    [
        (Identity('"a"', None, 9), Identity('"a"', None, 9), True, "ETag is the same"),
        (Identity('"a"', None, 9), Identity('"b"', None, 9), False, 'was "a" and is "b"'),
        (Identity(None, MONDAY, 9), Identity(None, MONDAY, 9), True, "Last-Modified is the same"),
        (Identity('W/"a"', MONDAY, 9), Identity('W/"a"', MONDAY, 9), True, "Last-Modified is the same"),
        (Identity('W/"a"', None, 9), Identity('W/"a"', None, 9), False, "only a weak ETag"),
        (Identity(None, None, 9), Identity(None, None, 9), False, "neither ETag nor Last-Modified"),
        (Identity(None, None, 9, ONE), Identity(None, None, 9, ONE), True, "digest will decide"),
        (Identity('"a"', None, 9, ONE), Identity(None, MONDAY, 9, ONE), True, "digest will decide"),
        (Identity('"a"', None, 9, ONE), Identity('"b"', None, 9, ONE), False, 'was "a" and is "b"'),
        (Identity(None, MONDAY, 9, ONE), Identity(None, TUESDAY, 9, ONE), False, "Last-Modified was"),
        (Identity('"a"', None, 9, ONE), Identity('"a"', None, 9, TWO), False, "digest was to be"),
        (Identity('"a"', None, 9), Identity('"a"', None, 9, ONE), True, "ETag is the same"),
        (Identity(None, None, 9, ONE), Identity(None, None, 8, ONE), False, "size was 9 bytes and is 8"),
        (Identity('"a"', None, 9), Identity(None, MONDAY, 9), False, "other validators"),
        (Identity('"a"', None, 9), Identity('"a"', None, None), False, "does not say the size"),
    ],
)
def test_whether_a_new_process_may_go_on_and_why(stored, found, resumable, words):
    answer, reason = stored.resumable_with(found)
    assert answer is resumable
    assert words in reason


@given(identities, identities)
def test_a_validator_is_shared_if_both_have_one_of_its_kind(a, b):
    kinds = [(a.etag, b.etag), (a.last_modified, b.last_modified)]
    assert a.shares_validator(b) is any(None not in pair for pair in kinds)


@pytest.mark.parametrize(
    ("etag", "strong"),
    [('"a"', True), ('W/"a"', False), ('w/"a"', False), ("a", False), ('"a", "b"', False), ("", False)],
)
def test_only_one_quoted_tag_without_a_weak_mark_is_strong(etag, strong):
    assert Identity.from_headers({"etag": etag}, 1).strong_etag is strong


@pytest.mark.parametrize("etag", ["", " ", '""', 'W/""', "W/"])
def test_an_empty_etag_counts_as_absent(etag):
    assert Identity.from_headers({"etag": etag}, 1).etag is None


@pytest.mark.parametrize(
    "date", ["", "0", "-1", "yesterday", "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 99 Foo 2026"]
)
def test_a_date_that_tells_nothing_counts_as_absent(date):
    assert Identity.from_headers({"last-modified": date}, 1).last_modified is None


@given(
    st.text(st.characters(codec="latin-1", exclude_characters='"'), min_size=1, max_size=3000), st.booleans()
)
def test_a_validator_fits_into_the_index_and_keeps_its_strength(tag, weak):
    raw = ("W/" if weak else "") + f'"{tag}"'
    identity = Identity.from_headers({"etag": raw}, 1)
    assert identity.etag is not None
    assert len(identity.etag.encode()) <= 1024
    assert identity.strong_etag is not weak
    assert identity.compare(Identity.from_headers({"etag": raw}, 1)) is not Match.CONTRADICTORY
    other = Identity.from_headers({"etag": raw[:-1] + 'x"'}, 1)
    assert identity.compare(other) is Match.CONTRADICTORY


@pytest.mark.parametrize(("length", "kept"), [(1022, True), (1023, False)])
def test_only_a_validator_that_would_not_fit_is_replaced(length, kept):
    tag = '"' + (length - 2) * "x" + '"'
    assert (Identity.from_headers({"etag": tag}, 1).etag == tag) is kept
    assert (Identity.from_headers({"etag": "W/" + tag}, 1).etag == "W/" + tag) is kept


@pytest.mark.parametrize(
    ("identity", "by"),
    [
        (Identity('"a"', MONDAY, 1, ONE), "digest"),
        (Identity('"a"', MONDAY, 1), "strong-etag"),
        (Identity('W/"a"', MONDAY, 1), "last-modified"),
        (Identity('W/"a"', None, 1), "size"),
    ],
)
def test_the_best_witness_is_named(identity, by):
    assert identity.verified_by == by


def test_a_description_names_all_that_is_known():
    assert Identity('"a"', MONDAY, 7, ONE).describe() == f'ETag "a", Last-Modified {MONDAY}, 7 bytes, {ONE}'
    assert Identity(None, None, None).describe() == "of unknown size"


@given(
    st.sampled_from(sorted(hashlib.algorithms_guaranteed - {"shake_128", "shake_256"})),
    st.sampled_from([":", "="]),
    st.booleans(),
    st.binary(max_size=9),
)
def test_every_algorithm_of_hashlib_is_read_back(name, mark, upper, data):
    value = hashlib.new(name, data).hexdigest()
    written = f"{name.upper() if upper else name}{mark}{value.upper() if upper else value}"
    assert parse_digest(written) == (name, value)


@pytest.mark.parametrize("label", ["sha-256", "SHA-256", "SHA256", "sha_256"])
def test_the_names_of_http_fields_are_understood(label):
    assert parse_digest(f"{label}={64 * 'a'}") == ("sha256", 64 * "a")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "sha256"),
        (64 * "a", "ALGORITHM:HEX"),
        ("crc32:00000000", "sha256"),
        ("shake_128:00", "sha256"),
        ("sha256:", "64 hexadecimal"),
        ("sha256:" + 63 * "a", "64 hexadecimal"),
        ("sha256:" + 64 * "g", "64 hexadecimal"),
        ("sha256:" + 64 * "\N{FULLWIDTH DIGIT ONE}", "64 hexadecimal"),
        ("md5:" + 64 * "a", "32 hexadecimal"),
    ],
)
def test_a_malformed_digest_names_itself_and_what_is_allowed(text, words):
    with pytest.raises(ValueError) as caught:
        parse_digest(text)
    assert repr(text) in str(caught.value)
    assert words in str(caught.value)


@given(st.integers(-30_000_000_000, 253_402_300_799))  # years of four digits, to the last one
@example(4_107_542_400)  # 1 March 2100, which is no leap year
@example(951_782_400)  # 29 February 2000, which is one
def test_all_three_date_formats_give_the_same_moment(seconds):
    moment = datetime.fromtimestamp(seconds, UTC)
    assert http_date(format_datetime(moment, usegmt=True)) == seconds
    day, month = moment.strftime("%A %a").split(), moment.strftime("%b")
    assert http_date(f"{day[1]} {month} {moment.day:2} {moment:%H:%M:%S %Y}") == seconds
    if 1970 <= moment.year < 2068:
        assert http_date(f"{day[0]}, {moment.day:02}-{month}-{moment:%y %H:%M:%S} GMT") == seconds


@pytest.fixture
def far_from_greenwich(monkeypatch):
    monkeypatch.setenv("TZ", "XYZ+7")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
def test_a_date_that_names_no_zone_is_not_taken_for_local_time():
    assert http_date("Sun Nov  6 08:49:37 1994") == http_date("Sun, 06 Nov 1994 08:49:37 GMT") == 784111777


@given(st.text(max_size=60))
@example("Mon, 99 Foo 2026")
@example("Mon, 01 Jan 0000 00:00:00 GMT")
@example("Mon, 01 Jan 99999999999 00:00:00 GMT")
def test_text_that_is_no_date_is_none_and_never_raises(text):
    assert http_date(text) is None or isinstance(http_date(text), float)


@pytest.mark.parametrize(
    ("other", "alone"),
    [
        (Identity('"b"', "Mon, 05 Jan 2026 10:00:00 GMT", 9), True),
        (Identity('"b"', None, 9), True),
        (Identity('"a"', None, 9), False),  # nothing differs
        (Identity('"b"', "Tue, 06 Jan 2026 10:00:00 GMT", 9), False),
        (Identity('"b"', None, 10), False),
        (Identity('"b"', None, None), False),
        (Identity(None, "Tue, 06 Jan 2026 10:00:00 GMT", 9), False),
    ],
)
def test_where_the_etag_alone_differs(other, alone):
    mine = Identity('"a"', "Mon, 05 Jan 2026 10:00:00 GMT", 9)
    assert mine.differs_by_etag_alone(other) == other.differs_by_etag_alone(mine) == alone
