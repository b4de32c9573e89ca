"""Requests keep their distance and shares never add up to more than the limit, even as it changes."""

import math
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from largefile.rules.rate import RateController, parse_rate

limits = st.sampled_from([0.125, 0.5, 1.0, 4.0, 64.0])  # powers of two: their intervals are exact


@given(limits, st.lists(st.integers(0, 100), max_size=50))
def test_polite_requests_are_never_closer_than_the_limit(limit, pauses):
    rate, now, times = RateController(requests_per_second=limit), 1000.0, []
    for pause in pauses:
        now = rate.request_at(now + pause / 16)
        rate.took_request(now)
        times.append(now)
    assert all(b - a >= 1 / limit - 1e-6 for a, b in pairwise(times))


@given(limits, st.integers(1, 20), st.floats(0, 10))
def test_requests_that_raced_each_other_are_paid_back(limit, racers, start):
    rate = RateController(requests_per_second=limit)
    for _ in range(racers):
        rate.took_request(start)
    assert rate.request_at(start) == pytest.approx(start + racers / limit)


@given(limits, limits)
def test_a_changed_limit_holds_for_the_next_request(before, after):
    rate = RateController(requests_per_second=before)
    rate.took_request(5.0)
    rate.requests_per_second = after
    assert rate.request_at(5.0) == 5.0 + 1 / after
    rate.requests_per_second = None
    assert rate.request_at(5.0) == 5.0


def test_time_not_used_is_not_saved_up_for_a_burst():
    rate = RateController(requests_per_second=1)
    assert rate.request_at(1e6) == 1e6
    rate.took_request(1e6)
    assert rate.request_at(1e6) == 1e6 + 1


@given(st.floats(-1e6, 1e6))
def test_without_a_limit_a_request_may_begin_at_once(now):
    rate = RateController()
    rate.took_request(now)
    assert rate.request_at(now) == now


@given(st.integers(1, 2**40), st.integers(1, 64))
def test_the_shares_fill_the_limit_and_do_not_exceed_it(limit, transfers):
    share = RateController(bytes_per_second=limit).share(transfers)
    assert share >= 1  # 0 would be no limit at all
    assert share * transfers <= max(limit, transfers)
    assert (share + 1) * transfers > limit


@given(st.integers(64, 2**40), st.dictionaries(st.text(max_size=3), st.integers(0, 8), max_size=8))
def test_downloads_that_share_a_controller_share_its_limit(limit, downloads):
    rate = RateController(bytes_per_second=limit)
    for owner, transfers in downloads.items():
        rate.register(owner, transfers)
    assert sum(rate.share(transfers) * transfers for transfers in downloads.values()) <= limit
    for owner in downloads:
        rate.register(owner, 0)
    assert rate.share(1) == limit


def test_no_limit_is_a_share_of_zero():
    assert RateController().share(3) == 0


def test_the_version_grows_with_every_change_and_only_then():
    rate = RateController()
    changes = [
        lambda: setattr(rate, "bytes_per_second", 10),
        lambda: setattr(rate, "requests_per_second", 2),
        lambda: rate.register("a", 2),
        lambda: rate.register("a", 0),
    ]
    for number, change in enumerate(changes):
        assert rate.version == number
        change()
    rate.register("a", 0)
    rate.share(3)
    rate.took_request(1.0)
    assert rate.version == len(changes)
    assert (rate.bytes_per_second, rate.requests_per_second) == (10, 2)


@pytest.mark.parametrize("limit", [0, -1, -0.5, math.nan, math.inf, 2**64])
@pytest.mark.parametrize("name", ["bytes_per_second", "requests_per_second"])
def test_a_limit_that_is_none_is_refused_and_changes_nothing(name, limit):
    with pytest.raises(ValueError, match=name):
        RateController(**{name: limit})
    rate = RateController(**{name: 5})
    with pytest.raises(ValueError, match=name):
        setattr(rate, name, limit)
    assert getattr(rate, name) == 5
    assert rate.version == 0


@pytest.mark.parametrize("limit", ["10M", True, [1]])
def test_a_limit_that_is_no_number_is_a_type_error(limit):
    with pytest.raises(TypeError, match="bytes_per_second"):
        RateController(bytes_per_second=limit)


def test_less_than_a_byte_a_second_is_refused_but_a_request_in_ten_seconds_is_not():
    with pytest.raises(ValueError, match="1 or more"):
        RateController(bytes_per_second=0.5)
    assert RateController(requests_per_second=0.1).requests_per_second == 0.1


def test_no_request_is_lost_between_threads():
    rate = RateController(requests_per_second=4)
    start = threading.Barrier(4)

    def work():
        start.wait()
        for _ in range(250):
            rate.took_request(0.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rate.request_at(0.0) == 250.0


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1", 1),
        ("200", 200),
        ("10K", 10240),
        ("10k", 10240),
        ("10M", 10 << 20),
        (" 2g ", 2 << 30),
        ("1T", 1 << 40),
        ("1.5K", 1536),
        ("0.5M", 1 << 19),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_a_rate_as_people_write_it(text, rate):
    assert parse_rate(text) == rate


NO_RATES = ["", "0", "0K", "0.5", "-1", "+1", "M", "1MB", "1 M", "1e6", "1,5K", "inf", "nan", "8388608T"]


@pytest.mark.parametrize("text", [*NO_RATES, "9223372036854775808", "9" * 99, "\N{ARABIC-INDIC DIGIT ONE}K"])
def test_a_rate_that_is_none_is_named(text):
    with pytest.raises(ValueError) as caught:
        parse_rate(text)
    assert repr(text) in str(caught.value)


@given(st.integers(1, 2**20), st.sampled_from("KMG"))
def test_a_unit_is_a_power_of_1024(number, unit):
    assert parse_rate(f"{number}{unit}") == number * 1024 ** ("KMG".index(unit) + 1)
