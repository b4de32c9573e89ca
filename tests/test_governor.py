"""How many transfers at once pay: laws over networks that are functions of their number."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from largefile.rules.governor import Governor

TICK = 0.25


def drive(governor, speed, seconds, busy=lambda now: True):
    """What it says four times a second, on a network of ``speed(concurrency)`` bytes a second."""
    received, said = 0.0, []
    for tick in range(1, int(seconds / TICK) + 1):
        received += speed(governor.concurrency) * TICK
        said.append(governor.look(int(received), tick * TICK, busy=busy(tick * TICK)))
    return said


def test_where_each_transfer_has_its_own_speed_it_climbs_to_the_top_within_seconds():
    governor = Governor(8, 0.0)
    said = drive(governor, lambda n: n * 10e6, 2.5)
    assert said == sorted(said)
    assert (said[-1], governor.settled) == (16, 16)
    assert said.index(12) <= 2  # the first step after three quarters of a second


def test_where_the_total_is_fixed_it_stays_where_it_began():
    said = drive(Governor(8, 0.0), lambda n: 80e6, 120)
    assert max(said) == 12
    assert said.count(12) / len(said) < 0.1  # a step is tried, and the more rarely the longer it goes on
    assert said[-1] == 8


@given(st.integers(1, 16), st.integers(1, 20), st.integers(2, 40))
def test_it_finds_the_knee_of_a_network(start, knee, most):
    governor = Governor(min(start, most), 0.0, most=most)
    said = drive(governor, lambda n: min(n, knee) * 1e6, 60)
    assert all(1 <= n <= most for n in said)
    best = min(knee, most)
    assert governor.settled >= min(best, math.floor(best / 1.1))
    assert governor.settled <= max(start, math.ceil(best * 1.5))


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 10**9), st.booleans())), st.integers(1, 16))
def test_whatever_comes_it_stays_between_one_and_the_most(looks, start):
    governor, now, received = Governor(start, 0.0), 0.0, 0
    for seconds, more, busy in looks:
        now, received = now + seconds, received + more
        assert start <= governor.look(received, now, busy=busy) <= 16
        assert governor.settled <= governor.concurrency


@given(st.integers(1, 16))
def test_transfers_that_are_held_back_by_something_else_are_not_judged(start):
    assert set(drive(Governor(start, 0.0), lambda n: n * 10e6, 60, busy=lambda now: False)) == {start}


def test_a_time_in_which_it_was_held_back_does_not_count():
    governor, received, said = Governor(8, 0.0), 0, []
    for tick in range(1, 13):
        now = tick * TICK
        received += 2_000_000 if now > 1.0 else 500_000  # the network gives no more to twelve
        said.append(governor.look(received, now, busy=now > 1.0))
    # Measured across the slow time, the step to twelve would seem to have paid.
    assert (said[-1], governor.settled, max(said)) == (8, 8, 12)
