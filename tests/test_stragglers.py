"""The slow are known by the others: they are made again elsewhere, or give away their ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_world import land, scheduler_for, starts

from largefile.errors import NetworkError
from largefile.rules.actions import Span
from largefile.rules.flights import Flight, Flights
from largefile.rules.schedule import Fault, Renew, Split, Stop, Wait
from largefile.rules.stragglers import RENEWALS, Stragglers

BLOCK = 100


def flying(*rates, blocks=100, usual=(), seconds=2):
    """Transfers that have had these speeds for some seconds, and the stragglers among them."""
    flights = Flights(stall_timeout=20.0)
    stragglers = Stragglers(flights, BLOCK)
    stragglers._usual.extend(usual)
    found = []
    for number, _ in enumerate(rates):
        span = Span(number * blocks, (number + 1) * blocks)
        found.append(Flight(span, left=blocks, heard=0.0, epoch=0, cuts=0))
        flights.add(found[-1])
    for second in range(1, seconds + 1):
        run(stragglers, found, rates, float(second))
    return stragglers, found


def run(stragglers, flights, rates, now):
    for flight, rate in zip(flights, rates, strict=True):
        flight.received += rate
        flight.left = 100 - flight.received // BLOCK
        stragglers.measure(flight, now)


def test_the_one_that_has_a_fraction_of_the_others_is_renewed():
    stragglers, flights = flying(1000, 1000, 99, 1000)
    assert stragglers.next(0) == Renew(flights[2].span)
    assert stragglers.next(0) is None, "once for each measurement"


@given(st.lists(st.integers(100, 1000), min_size=1, max_size=8))
def test_who_is_within_a_tenth_of_the_others_is_left_alone(rates):
    stragglers, _ = flying(*rates)
    assert stragglers.next(0) is None


@pytest.mark.parametrize(
    ("rates", "usual", "seconds"),
    [
        ((1000, 50), (), 2),  # two can not tell which of them is unusual
        ((1000, 1000, 1000, 50), (), 1),  # a moment says nothing
        ((50, 50, 50, 50), (), 2),  # it is slow for all
    ],
)
def test_nothing_is_concluded_from_too_little(rates, usual, seconds):
    stragglers, _ = flying(*rates, usual=usual, seconds=seconds)
    assert stragglers.next(0) is None


def test_those_that_have_ended_tell_what_is_usual_too():
    stragglers, flights = flying(50, usual=(1000.0, 1000.0, 900.0))
    assert stragglers.next(0) == Renew(flights[0].span)


def test_it_is_not_worth_it_where_little_is_left():
    stragglers, flights = flying(1000, 1000, 90, 1000)
    flights[2].left = 1
    assert stragglers.next(0) is None


def test_a_span_that_is_slow_everywhere_is_renewed_a_few_times_only():
    stragglers, flights = flying(1000, 1000, 10, usual=[1000.0] * 8)
    now = 2.0
    for _ in range(RENEWALS):
        assert stragglers.next(0) == Renew(flights[2].span)
        stragglers.renewed(flights[2], now)
        flights[2].changing = False
        for _ in range(2):
            now += 1.0
            run(stragglers, flights, (0, 0, 10), now)
        stragglers._flights.stop(flights[0], "cancelled")  # they bring nothing any more
        stragglers._flights.stop(flights[1], "cancelled")
    assert flights[2].renewals == RENEWALS
    assert stragglers.next(0) is None


@given(st.integers(100, 1000), st.integers(1, 7), st.integers(3, 100))
def test_the_slowest_keeps_what_it_brings_while_the_others_bring_the_rest(rate, idle, blocks):
    stragglers, flights = flying(rate, blocks=blocks)
    flights[0].left = blocks - 2 * rate // BLOCK
    if flights[0].left <= rate // BLOCK:
        return
    action = stragglers.next(idle)
    begun = -(-2 * rate // BLOCK)
    if blocks - begun <= 1:
        assert action is None
        return
    assert isinstance(action, Split)
    kept = action.stop_block - begun
    # So much in the same time, to a block.
    assert kept <= (blocks - begun) / (1 + idle) < kept + 1


def test_nobody_is_split_while_there_is_nobody_to_take_the_rest():
    stragglers, _ = flying(300, 400)
    assert stragglers.next(0) is None
    stragglers, flights = flying(300, 400)
    assert stragglers.next(1).span is flights[0].span


def test_what_ends_in_a_second_is_not_split():
    stragglers, flights = flying(1000, 900)
    for flight in flights:
        flight.left = 8
    assert stragglers.next(3) is None


# --- in the schedule -------------------------------------------------------------------------------


def test_the_end_of_a_slow_transfer_goes_to_a_free_connection():
    scheduler, bitmap = scheduler_for(20, block_size=BLOCK, concurrency=2)
    slow = scheduler.adopt(0, 10, 0.0)
    while quick := starts(scheduler, 0.5)[0]:
        for span in quick:
            land(scheduler, bitmap, span.first_block, span.stop_block)
            scheduler.ended(span, None, 0.5)
    scheduler.progress(slow, 1, 0.5)
    assert isinstance(scheduler.next_action(0.5), Wait)
    scheduler.progress(slow, 101, 1.5)
    scheduler.set_limited(True)
    assert isinstance(scheduler.next_action(1.5), Wait), "it is slow because it has to be"
    scheduler.set_limited(False)
    assert scheduler.next_action(1.5) == Split(slow, 6)
    assert isinstance(scheduler.next_action(1.5), Wait), "it is said once"
    assert scheduler.granted(slow, 7, 1.5)
    (taken,), _ = starts(scheduler, 1.5)
    assert (slow.stop_block, taken.first_block) == (7, 7)


def test_the_end_of_a_slow_transfer_goes_to_a_connection_that_waits_to_try_again():
    scheduler, bitmap = scheduler_for(20, block_size=BLOCK, concurrency=2)
    slow = scheduler.adopt(0, 10, 0.0)
    while (quick := starts(scheduler, 0.5)[0][0]).stop_block < 20:
        land(scheduler, bitmap, quick.first_block, quick.stop_block)
        scheduler.ended(quick, None, 0.5)
    scheduler.progress(slow, 1, 0.5)
    scheduler.next_action(0.5)
    scheduler.ended(quick, Fault(NetworkError("reset")), 1.4)
    scheduler.progress(slow, 101, 1.5)
    split = scheduler.next_action(1.5)
    assert isinstance(split, Split)
    assert split.span is slow


def test_who_is_held_to_a_speed_is_neither_slow_nor_silent():
    scheduler, _ = scheduler_for(20, block_size=BLOCK, concurrency=1, stall_timeout=20.0, low_speed=1024.0)
    span = scheduler.next_action(0.0).span
    scheduler.progress(span, 20, 10.0)
    assert scheduler.next_action(10.0).until == 20.0, "two bytes a second are none"
    scheduler.set_limited(True)
    scheduler.progress(span, 40, 19.0)
    assert scheduler.next_action(19.0).until == 39.0


def test_three_silences_in_a_row_end_the_job():
    scheduler, _ = scheduler_for(2, concurrency=1, stall_timeout=20.0, tries=9)
    now = 0.0
    for number in range(3):
        span = starts(scheduler, now)[0][0]
        now += 20.0
        assert scheduler.next_action(now) == Stop(span, "stalled")
        assert (scheduler.error is not None) == (number == 2)
        scheduler.ended(span, None, now)
        now += 20.0
    assert "3 times in a row" in str(scheduler.error)


def test_to_get_as_far_again_is_no_progress_and_a_byte_more_is():
    for more in (0, 1):
        scheduler, _ = scheduler_for(20, block_size=BLOCK, concurrency=1, stall_timeout=20.0, tries=9)
        now = 0.0
        for number in range(3):
            span = starts(scheduler, now)[0][0]
            scheduler.progress(span, 50 + more * number, now + 1.0)
            now += 21.0
            assert scheduler.next_action(now) == Stop(span, "stalled")
            scheduler.ended(span, None, now)
            now += 20.0
        assert (scheduler.error is None) == bool(more)
