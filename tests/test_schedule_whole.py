"""However many answers carry the whole content, one body is written, and it ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_world import LATER, MOVED, RESET, blocks_of, land, scheduler_for, starts

from largefile.core.bitmap import Bitmap
from largefile.rules.schedule import FINISHED, Stop
from largefile.rules.spans import Run, SpanPlan


def stops(scheduler, now=0.0):
    """Every stop that is due."""
    found = []
    while isinstance(action := scheduler.next_action(now), Stop):
        found.append(action)
    return found


def fields(span):
    return span.first_block, span.stop_block, span.whole


@given(st.integers(2, 8), st.data())
def test_of_several_whole_answers_the_first_is_held_and_the_others_are_refused(concurrency, data):
    scheduler, _bitmap = scheduler_for(100, concurrency=concurrency, max_span=100)
    spans, _ = starts(scheduler)
    first, *others = data.draw(st.permutations(spans))
    before = [fields(span) for span in others]
    assert scheduler.granted_whole(first, 0.0) is False
    assert [scheduler.granted_whole(span, 0.0) for span in others] == [None] * len(others)
    assert [fields(span) for span in others] == before
    said = stops(scheduler)
    assert {stop.span for stop in said} == set(others)
    assert {stop.why for stop in said} == {"whole"}
    for span in others:
        scheduler.ended(span, MOVED, 0.0)
    assert scheduler.granted_whole(first, 0.0) is True
    assert scheduler.errors == 0


@given(st.integers(2, 8), st.sampled_from([None, RESET, MOVED, LATER]), st.data())
def test_whole_answers_that_all_end_leave_one_request_for_the_whole(concurrency, fault, data):
    scheduler, bitmap = scheduler_for(100, concurrency=concurrency, max_span=100)
    spans, _ = starts(scheduler)
    for span in data.draw(st.permutations(spans)):
        scheduler.granted_whole(span, 0.0)
    for span in data.draw(st.permutations(spans)):
        scheduler.ended(span, fault, 0.0)
    (again,), _ = starts(scheduler, 100.0)
    assert fields(again) == (0, 100, True)
    land(scheduler, bitmap, 0, 100)
    scheduler.ended(again, None, 101.0)
    assert scheduler.next_action(101.0) is FINISHED


def test_a_whole_answer_to_a_transfer_that_is_being_stopped_is_refused():
    scheduler, _bitmap = scheduler_for(100, concurrency=2, max_span=100)
    (one, two), _ = starts(scheduler)
    scheduler.granted_whole(one, 0.0)
    scheduler.ended(one, RESET, 0.0)  # before the other's stop was said
    assert scheduler.granted_whole(two, 0.0) is None
    scheduler.ended(two, MOVED, 0.0)
    (again,), _ = starts(scheduler, 100.0)
    assert (*fields(again), again.attempt) == (0, 100, True, 1)  # the failure is not forgotten


def test_a_refused_whole_answer_costs_nothing():
    scheduler, _bitmap = scheduler_for(100, concurrency=2, max_span=100)
    (one, two), _ = starts(scheduler)
    scheduler.granted_whole(one, 0.0)
    scheduler.granted_whole(two, 0.0)
    scheduler.ended(two, RESET, 0.0)
    assert (scheduler.errors, scheduler.retries, scheduler.allowed) == (0, 0, 2)
    assert scheduler.remaining_blocks == 0  # all of them are the first one's


def test_a_whole_content_that_landed_meanwhile_is_not_asked_for():
    scheduler, bitmap = scheduler_for(100, concurrency=2, max_span=1000)
    (one, two), _ = starts(scheduler)
    land(scheduler, bitmap, one.first_block, one.stop_block)
    land(scheduler, bitmap, two.stop_block, 100)
    scheduler.granted_whole(one, 0.0)
    scheduler.ended(one, RESET, 0.0)
    # The transfer that was told to stop brings its blocks all the same.
    land(scheduler, bitmap, two.first_block, two.stop_block)
    scheduler.ended(two, None, 0.0)
    assert scheduler.next_action(100.0) is FINISHED


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0]), st.integers(0, 3)), min_size=1, max_size=6))
def test_a_whole_plan_parks_one_run_and_the_later_date_counts(parked):
    plan = SpanPlan(Bitmap(10), max_blocks=4)
    plan.become_whole()
    for not_before, attempt in parked:
        plan.park(Run(0, 10, attempt), not_before)
    assert plan.due == max(not_before for not_before, _ in parked)
    assert plan.remaining == 10
    assert plan.take(plan.due, shares=1, idle=True).stop == 10
    assert plan.exhausted


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=12))
def test_runs_of_one_date_and_place_are_parked_in_the_order_they_came(runs):
    plan = SpanPlan(Bitmap(10), max_blocks=4)
    plan.landed(0, 10)
    for attempt, again in runs:
        plan.park(Run(3, 4, attempt, again=again), 0.0)
    taken = [plan.take(0.0, shares=1, idle=True) for _ in runs]
    assert [(run.attempt, run.again) for run in taken] == runs
    assert plan.exhausted


def test_a_cancelled_whole_is_counted_once():
    scheduler, bitmap = scheduler_for(100, concurrency=2, max_span=100)
    (one, two), _ = starts(scheduler)
    scheduler.granted_whole(one, 0.0)
    scheduler.ended(two, MOVED, 0.0)
    scheduler.granted_whole(one, 0.0)
    for block in (3, 50):
        land(scheduler, bitmap, block, block + 1)
    scheduler.cancel()
    scheduler.ended(one, MOVED, 0.0)
    assert scheduler.remaining_blocks == 98
    assert scheduler.next_action(0.0) is FINISHED


@pytest.mark.parametrize("window", [None, 40])
def test_a_transfer_stopped_for_the_whole_keeps_the_blocks_that_it_brought(window):
    scheduler, bitmap = scheduler_for(100, concurrency=2, max_span=100, window=window)
    (one, two, *_), _ = starts(scheduler)
    scheduler.granted_whole(one, 0.0)
    land(scheduler, bitmap, two.first_block, two.stop_block)
    scheduler.ended(two, MOVED, 0.0)
    assert scheduler.granted_whole(one, 0.0) is True
    assert all(bitmap[block] for block in blocks_of(two))
