"""How many transfers at once pay: laws over networks that are functions of their number."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from largefile.rules.governor import FIRST, Governor

TICK = 0.01
#: Seconds until all are there that it begins with, if there is time to spare.
RUN_UP = 0.08


def always(now, number):
    return True


def never(now, number):
    return False


def drive(governor, speed, seconds, *, busy=always, spare=always):
    """What it says a hundred times a second, on a network of ``speed(concurrency)`` bytes a second.

    `busy` and `spare` are functions of the time and of the number of transfers; where there is no time to
    spare a tenth of it is waited all the same.
    """
    received, waited, said = 0.0, 0.0, []
    for tick in range(1, round(seconds / TICK) + 1):
        now, number = tick * TICK, governor.concurrency
        received += speed(number) * TICK
        waited += TICK if spare(now, number) else 0.1 * TICK
        said.append(governor.look(int(received), now, waited=waited, busy=busy(now, number)))
    return said


def test_with_time_to_spare_it_is_at_its_start_at_once():
    said = drive(Governor(8, 0.0), lambda n: n * 10e6, RUN_UP)
    assert said == sorted(said)
    assert set(said) == {2, 4, 8}


@pytest.mark.parametrize("start", [1, 2])
def test_few_are_not_made_fewer(start):
    governor = Governor(start, 0.0)
    assert governor.concurrency == governor.planned == start
    assert max(drive(governor, lambda n: n * 10e6, 5)) > start


def test_without_time_to_spare_two_are_enough():
    governor = Governor(8, 0.0)
    assert (governor.concurrency, governor.planned) == (2, 8)
    said = drive(governor, lambda n: 1e9, 60, spare=never)
    assert set(said) == {2}
    assert governor.planned == 2  # it does not look as if there would be more soon
    assert governor.settled == 8  # nothing was learnt of the network


def test_two_that_are_not_enough_any_more_are_doubled():
    governor = Governor(8, 0.0)
    said = drive(governor, lambda n: n * 10e6, 2.0, spare=lambda now, number: now > 1.0)
    assert set(said[:99]) == {2}
    assert set(said[115:130]) == {8}


def test_it_is_as_many_as_leave_little_time():
    said = drive(Governor(8, 0.0), lambda n: n * 10e6, 60, spare=lambda now, number: number < 4)
    assert set(said[10:]) == {4}


def test_a_step_is_not_tried_without_time_to_spare():
    said = drive(Governor(8, 0.0), lambda n: n * 10e6, 60, spare=lambda now, number: now < 0.1)
    assert set(said[10:]) == {8}


def test_where_each_transfer_has_its_own_speed_it_climbs_to_the_top_within_seconds():
    governor = Governor(8, 0.0)
    said = drive(governor, lambda n: n * 10e6, 2.5)
    assert said == sorted(said)
    assert (said[-1], governor.settled) == (16, 16)
    assert said.index(12) * TICK <= RUN_UP + 0.8


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


LOOKS = st.tuples(st.floats(0, 3), st.floats(0, 1), st.integers(0, 10**9), st.booleans())


@given(st.lists(LOOKS), st.integers(1, 16))
def test_whatever_comes_it_stays_between_two_or_the_start_and_the_most(looks, start):
    governor, now, received, waited = Governor(start, 0.0), 0.0, 0, 0.0
    for seconds, idle, more, busy in looks:
        now, received, waited = now + seconds, received + more, waited + idle * seconds
        number = governor.look(received, now, waited=waited, busy=busy)
        assert min(start, FIRST) <= number <= 16
        assert start <= governor.settled <= 16
        assert number <= governor.planned <= 16


@given(st.integers(1, 16))
def test_transfers_that_are_held_back_by_something_else_are_not_judged(start):
    said = drive(Governor(start, 0.0), lambda n: n * 10e6, 60, busy=never)
    assert set(said[round(RUN_UP / TICK) :]) == {start}


def test_a_time_in_which_it_was_held_back_does_not_count():
    governor = Governor(8, 0.0)
    at, received, said = RUN_UP, 0.0, drive(governor, lambda n: 0, RUN_UP)
    while at < 3.0:
        at += TICK
        received += 8e6 * TICK if at > 1.0 else 2e6 * TICK  # the network gives no more to twelve
        said.append(governor.look(int(received), at, waited=at, busy=at > 1.0))
    # Measured across the slow time, the step to twelve would seem to have paid.
    assert (said[-1], governor.settled, max(said)) == (8, 8, 12)


@pytest.mark.parametrize(("start", "most", "learns"), [(8, 16, True), (8, 8, False), (16, 16, False)])
def test_it_learns_nothing_where_it_can_not_go_on(start, most, learns):
    governor = Governor(start, 0.0, most=most)
    assert governor.learns is learns
    assert max(drive(governor, lambda n: n * 10e6, 10)) == most
