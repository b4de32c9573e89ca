"""How many transfers at once a host lets be: laws against a simple host."""

from __future__ import annotations

import random

from hypothesis import given, note
from hypothesis import strategies as st

from largefile.rules.ceiling import RAREST, STEADY, Ceiling


def burst(ceiling, wanted, served):
    """So many begin together; all but `served` are refused, and then the others land."""
    for in_flight in range(wanted, served, -1):
        ceiling.refused(in_flight)
    if served:
        ceiling.confirm()


@given(st.integers(1, 50), st.integers(1, 50))
def test_a_burst_of_refusals_tells_the_limit_exactly(served, refused):
    ceiling = Ceiling()
    burst(ceiling, served + refused, served)
    assert (ceiling.level, ceiling.known, ceiling.lessons) == (served, served, 1)


@given(st.integers(1, 50))
def test_a_host_that_serves_nobody_says_nothing_of_a_number(wanted):
    ceiling = Ceiling()
    burst(ceiling, wanted, 0)
    ceiling.confirm()  # whoever came later
    assert ceiling.level is None


@given(st.integers(1, 12), st.integers(13, 40), st.integers(0, 5000))
def test_refusals_of_a_host_with_a_limit_become_rare(limit, wanted, ends):
    ceiling = Ceiling()
    burst(ceiling, wanted, limit)
    refusals = 0
    for _ in range(ends):
        allowed = min(wanted, ceiling.level)
        if allowed > limit:
            burst(ceiling, allowed, limit)
            refusals += 1
        ceiling.ended_well(min(allowed, limit))
        assert limit <= ceiling.level <= limit + 1
        assert ceiling.known == limit
    note(f"{refusals=}")
    assert refusals <= 4 + ends / RAREST


@given(st.integers(1, 8), st.integers(20, 40))
def test_a_limit_that_is_lifted_is_left_behind(limit, wanted):
    ceiling = Ceiling()
    burst(ceiling, wanted, limit)
    ends = 0
    while ceiling.level < wanted:
        ceiling.ended_well(ceiling.level)
        ends += 1
    assert ends <= 2 * STEADY * (wanted - limit)


@given(st.integers(0, 2**32))
def test_a_host_that_fails_by_chance_is_not_left_with_one_transfer(seed):
    ceiling, rng, levels = Ceiling(), random.Random(seed), []
    for _ in range(4000):
        in_flight = min(8, ceiling.level or 8)
        if rng.random() < 0.03:
            ceiling.refused(in_flight)
            ceiling.confirm()
        else:
            ceiling.ended_well(in_flight)
        levels.append(min(8, ceiling.level or 8))
    assert sum(levels) / len(levels) > 5


def test_what_was_found_out_before_is_tried_rarely():
    ceiling = Ceiling()
    ceiling.expect(3)
    for _ in range(RAREST - 1):
        ceiling.ended_well(3)
    assert ceiling.level == 3
    ceiling.ended_well(3)
    assert (ceiling.level, ceiling.known) == (4, 3)


def test_good_ends_with_room_left_say_nothing():
    ceiling = Ceiling()
    burst(ceiling, 8, 3)
    for _ in range(1000):
        ceiling.ended_well(2)
    assert ceiling.level == 3


@given(st.integers(1, 20), st.integers(0, 30), st.integers(0, STEADY - 1))
def test_a_refusal_above_the_level_says_nothing_new(level, more, ends):
    """Transfers that were under way when the level was learnt may still be refused."""
    ceiling = Ceiling()
    burst(ceiling, level + 1, level)
    for _ in range(ends):
        ceiling.ended_well(level)
    ceiling.refused(level + 1 + more)
    ceiling.confirm()
    assert (ceiling.level, ceiling.known, ceiling.lessons, ceiling.sure) == (level, level, 1, False)
    for _ in range(STEADY - ends):  # and the good ends before it still count
        ceiling.ended_well(level)
    assert ceiling.level == level + 1
