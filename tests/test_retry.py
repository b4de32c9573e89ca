"""Retries wait long enough, ask no sooner than the host wants, and end."""

import json
import math
import random
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from largefile.rules.retry import Backoff, RetryResponse, asked_pause, retry_after

GOLDEN = Path(__file__).parent / "golden" / "backoff.json"
responses = st.none() | st.builds(RetryResponse, st.just(True), st.none() | st.floats(0, 1000))


def as_response(text):
    """The driver's ``main.rr{retry:true has:true d:1000000}``; d is in nanoseconds."""
    fields = dict(part.split(":") for part in text.removeprefix("main.rr{").removesuffix("}").split())
    delay = int(fields["d"]) / 1e9 if fields["has"] == "true" else None
    return RetryResponse(fields["retry"] == "true", delay)


@pytest.mark.parametrize("case", json.loads(GOLDEN.read_text())["cases"], ids=lambda case: case["name"])
def test_a_backoff_goes_as_the_go_package_does(case):
    backoff = Backoff(case["initial_ms"] / 1000, case["steps"])
    for step in case["waits"]:
        slept = []
        if step["error"] is not None:  # Go's wrong type at run time; nil is its None, which we allow
            with pytest.raises(TypeError):
                backoff.next_delay(step["resp"])
        else:
            assert backoff.wait(as_response(step["resp"]), slept.append) is step["done"]
        assert backoff.retries == step["retries"]
        assert backoff.done is step["Done()"]
        # The sleep was measured there: never shorter than what was asked, and not much longer.
        assert math.fsum(slept) * 1000 <= step["waited_ms"] < math.fsum(slept) * 1000 + 1


@given(st.lists(responses, max_size=20), st.integers(0, 12), st.floats(0.001, 100), st.floats(0.001, 100))
def test_delays_double_up_to_the_maximum_and_the_hosts_wish_wins(asked, steps, initial, maximum):
    backoff = Backoff(initial, steps, maximum=maximum)
    doublings = 0
    for count, response in enumerate(asked):
        delay = backoff.next_delay(response)
        if count >= steps:
            assert delay is None
            assert backoff.done
            assert backoff.retries == steps
        elif response is not None and response.backoff:
            assert delay == response.backoff
        else:
            assert delay == pytest.approx(min(initial * 2**doublings, maximum))
            doublings += 1


@given(st.lists(responses, max_size=20), st.floats(0, 1), st.integers())
def test_jitter_only_shortens_a_doubling_delay_and_only_lengthens_the_hosts(asked, jitter, seed):
    plain = Backoff(0.5, 20)
    spread = Backoff(0.5, 20, jitter=jitter, rng=random.Random(seed))
    for response in asked:
        base, delay = plain.next_delay(response), spread.next_delay(response)
        if response is not None and response.backoff:
            assert base <= delay <= base + jitter * 0.5
        else:
            assert base * (1 - jitter) <= delay <= base


@given(st.integers(), st.integers(1, 12))
def test_the_same_chance_gives_the_same_delays(seed, steps):
    a, b = (Backoff(1.0, steps, jitter=0.5, rng=random.Random(seed)) for _ in range(2))
    delays = [a.next_delay() for _ in range(steps)]
    assert delays == [b.next_delay() for _ in range(steps)]
    assert len(set(delays)) == steps


def test_clients_that_fail_together_do_not_return_together():
    delays = {Backoff(1.0, 1, jitter=0.5).next_delay() for _ in range(20)}
    assert len(delays) > 1


def test_a_wish_for_zero_seconds_is_no_way_around_the_delay():
    assert Backoff(2.0, 1).next_delay(RetryResponse(True, 0.0)) == 2.0


def test_what_is_not_retryable_is_not_waited_for():
    backoff = Backoff(2.0, 5)
    assert backoff.next_delay(RetryResponse(False)) is None
    assert backoff.done
    assert backoff.retries == 0


def test_thousands_of_doublings_stay_at_the_maximum():
    backoff = Backoff(1.0, 5000, maximum=60.0)
    assert [backoff.next_delay() for _ in range(5000)][-1] == 60.0


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ((0, 1), {}),
        ((-1, 1), {}),
        ((math.inf, 1), {}),
        ((math.nan, 1), {}),
        ((1, -1), {}),
        ((1, 1), {"jitter": -0.1}),
        ((1, 1), {"jitter": 1.1}),
        ((1, 1), {"jitter": math.nan}),
        ((1, 1), {"maximum": 0}),
    ],
)
def test_numbers_that_make_no_sense_are_refused(args, options):
    with pytest.raises(ValueError):
        Backoff(*args, **options)


@pytest.mark.parametrize("backoff", [-1.0, math.inf, math.nan])
def test_a_response_cannot_ask_for_an_impossible_time(backoff):
    with pytest.raises(ValueError):
        RetryResponse(True, backoff)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("300", 300.0),
        ("301", 300.0),
        ("9" * 5000, 300.0),
        ("-5", None),
        ("+5", None),
        ("1e3", None),
        ("5 s", None),
        ("5, 10", 10.0),
        ("5,1e3", None),
        ("1000000000000000000", 300.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300.0),
        ("\N{ARABIC-INDIC DIGIT FIVE}", None),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 37.0),
        ("Sun Nov  6 08:49:37 1994", 37.0),
        ("Sun, 06 Nov 1994 08:48:59 GMT", 0.0),
        ("Sun, 06 Nov 2094 08:49:37 GMT", 300.0),
    ],
)
def test_retry_after_in_both_forms(value, seconds):
    assert retry_after(value, wall_now=784111740.0) == seconds  # 08:49:00


@given(st.integers(0, 4_000_000_000), st.integers(-1000, 1000), st.floats(1, 1000))
def test_a_date_and_seconds_mean_the_same_moment(now, wait, cap):
    date = formatdate(now + wait, usegmt=True) if now + wait >= 0 else "Thu, 01 Jan 1970 00:00:00 GMT"
    expected = min(max(wait, -now, 0), cap)
    assert retry_after(date, float(now), cap) == expected
    if wait >= 0:
        assert retry_after(str(wait), float(now), cap) == expected


@given(st.text(max_size=40), st.floats(0, 4e9))
@example("Mon, 01 Jan 0000 00:00:00 GMT", 0.0)
@example("Sun, 99 Nov 1994 08:49:37 GMT", 0.0)
def test_any_text_gives_a_time_within_the_cap_or_none(value, now):
    wait = retry_after(value, now)
    assert wait is None or 0 <= wait <= 300


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"ratelimit": '"default";r=0;t=30'}, 30.0),
        ({"ratelimit": '"default"; r=0; t=30'}, 30.0),
        ({"ratelimit": '"a";r=0;t=3, "b";r=0;t=9;x=1'}, 9.0),
        ({"ratelimit": '"default";r=12;t=30'}, None),
        ({"ratelimit": '"default";r=0;t=99999999999'}, 300.0),
        ({"ratelimit": '"default";r=0'}, None),
        ({"ratelimit": '"default";r=-1;t=-5'}, None),
        ({"ratelimit": "r=0;t=soon"}, None),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "45"}, 45.0),
        ({"ratelimit-remaining": "3", "ratelimit-reset": "45"}, None),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "Thu, 01 Jan 2030"}, None),
        ({"ratelimit-reset": "45"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1900000000"}, None),
        ({"retry-after": "5", "ratelimit": '"default";r=0;t=30'}, 5.0),
        ({"retry-after": "soon", "ratelimit": '"default";r=0;t=30'}, 30.0),
    ],
)
def test_a_used_up_quota_tells_a_pause_where_there_is_no_retry_after(headers, seconds):
    assert asked_pause(headers, 0.0) == seconds


@given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_any_quota_gives_a_time_within_the_cap_or_none(quota, left, reset):
    headers = {"ratelimit": quota, "ratelimit-remaining": left, "ratelimit-reset": reset}
    wait = asked_pause(headers, 0.0)
    assert wait is None or 0 <= wait <= 300
