"""On demand: only what a reader asked for is fetched, in the order of asking; every reader is answered."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_world import (
    BAD_RANGE,
    BUSY,
    GONE,
    LATER,
    MOVED,
    RESET,
    DemandServer,
    Server,
    all_of,
    blocks_of,
    land,
    refused_blocks,
    scheduler_for,
    starts,
)

from largefile.core.bitmap import Bitmap
from largefile.rules.actions import Refused
from largefile.rules.demand import DemandPlan
from largefile.rules.parked import Parked, Run
from largefile.rules.schedule import DRAINING, FINISHED, Start, Stop, Wait

IDLE = Wait(None, for_reader=True)

runs = st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda run: (run[0], min(60, sum(run))))


def on_demand(blocks, present=(), **options):
    return scheduler_for(blocks, present, on_demand=True, **options)


def fields(span):
    return span.first_block, span.stop_block


# --- what is fetched -----------------------------------------------------------------------------


def test_nothing_is_fetched_before_it_is_demanded():
    scheduler, _bitmap = on_demand(100)
    assert scheduler.next_action(0.0) == IDLE
    assert scheduler.demand(40, 42, 5.0)
    spans, action = starts(scheduler, 5.0)
    assert [fields(span) for span in spans] == [(40, 41), (41, 42)]
    assert action == Wait(25.0)  # for the transfers, not for a reader


def test_it_is_finished_when_every_block_is_present_and_not_before():
    scheduler, bitmap = on_demand(10, [0], max_span=1000)
    server = DemandServer(scheduler, bitmap, all_of)
    server.demand(3, 7)
    server.run()
    assert scheduler.next_action(server.now) == IDLE
    assert not scheduler.finished
    server.demand(0, 10)
    server.run()
    assert scheduler.next_action(server.now) is FINISHED
    assert scheduler.finished


@pytest.mark.parametrize("present", [[], range(10)])
def test_content_of_which_nothing_is_missing_is_finished_at_once(present):
    scheduler, _bitmap = on_demand(len(present), present)
    assert scheduler.next_action(0.0) is FINISHED


@given(st.sets(st.integers(0, 59)), st.lists(runs, max_size=12), st.integers(1, 4), st.integers(0, 9))
def test_what_was_demanded_is_fetched_once_and_nothing_else(present, demands, concurrency, seed):
    scheduler, bitmap = on_demand(60, present, concurrency=concurrency)
    server = DemandServer(scheduler, bitmap, all_of, seed)
    wanted = set()
    for first, stop in demands:
        new = set(range(first, stop)) - wanted - present
        assert server.demand(first, stop) == bool(new)
        wanted |= new
    server.run()
    assert sorted(block for _, *run in server.asked for block in run) == sorted(wanted)
    assert refused_blocks(scheduler) == []


def test_present_flying_and_demanded_blocks_are_left_alone():
    scheduler, _bitmap = on_demand(100, [10], concurrency=1, max_span=20, min_span=20)
    scheduler.demand(8, 14, 0.0)
    span = scheduler.next_action(0.0).span
    assert fields(span) == (8, 10)
    assert not scheduler.demand(8, 14, 1.0)
    scheduler.set_concurrency(9)
    assert [fields(span) for span in starts(scheduler, 1.0)[0]] == [(11, 13), (13, 14)]
    assert not scheduler.demand(8, 14, 1.0)


@pytest.mark.parametrize(("first", "stop"), [(-1, 1), (3, 11), (5, 4), (11, 11)])
def test_a_demand_beyond_the_content_is_the_callers_mistake(first, stop):
    scheduler, _bitmap = on_demand(10)
    with pytest.raises(ValueError, match="of 10 blocks"):
        scheduler.demand(first, stop, 0.0)


def test_a_download_takes_no_demands_and_refuses_nobody():
    scheduler, _bitmap = scheduler_for(10)
    with pytest.raises(ValueError, match="on_demand"):
        scheduler.demand(0, 1, 0.0)
    assert scheduler.take_refused() == []


def test_a_window_and_demands_exclude_each_other():
    with pytest.raises(ValueError, match="window is 5; it must be None"):
        on_demand(10, window=5)


def test_an_adopted_transfer_needs_no_demand_and_comes_back_like_a_demanded_one():
    scheduler, bitmap = on_demand(100, [12], max_span=1000, min_span=1000)
    span = scheduler.adopt(4, 40, 0.0)
    assert fields(span) == (4, 12)
    assert not scheduler.demand(5, 7, 0.0)
    land(scheduler, bitmap, 4, 6)
    scheduler.ended(span, RESET, 0.0)
    assert fields(scheduler.next_action(10.0).span) == (6, 12)


# --- in which order, and how much at once --------------------------------------------------------


class Queue:
    """The slow model of the order: a date for each block that is demanded and not yet fetched."""

    def __init__(self):
        self.dates = {}
        self.wishes = []

    def first(self):
        for block in self.wishes:
            if block in self.dates:
                return block
        return min(self.dates, key=lambda block: (self.dates[block], block))

    def in_a_row(self, first):
        stop = first
        while stop in self.dates:
            stop += 1
        return stop - first


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0]), runs), min_size=1, max_size=10),
    st.lists(st.integers(0, 59), max_size=3),
    st.integers(1, 3),
    st.integers(1, 8),
    st.integers(1, 8),
)
def test_spans_go_by_wish_then_date_then_place_and_are_shares_within_limits(
    demands, wishes, concurrency, least, most
):
    options = {"concurrency": concurrency, "min_span": least * 10, "max_span": most * 10}
    scheduler, bitmap = on_demand(60, **options)
    queue, now = Queue(), 0.0
    for pause, (first, stop) in demands:
        now += pause
        scheduler.demand(first, stop, now)
        for block in range(first, stop):
            queue.dates.setdefault(block, now)
    for block in wishes:
        scheduler.wanted(block)
    queue.wishes = wishes
    while queue.dates:
        span = scheduler.next_action(now).span
        share = min(most, max(least, len(queue.dates) // (2 * concurrency)))
        assert span.first_block == queue.first()
        assert span.num_blocks == min(share, queue.in_a_row(span.first_block))
        for block in blocks_of(span):
            del queue.dates[block]
        land(scheduler, bitmap, span.first_block, span.stop_block)
        scheduler.ended(span, None, now)
    assert scheduler.next_action(now) in (IDLE, FINISHED)


def test_a_wanted_block_starts_a_span_and_goes_before_what_was_demanded_earlier():
    scheduler, _bitmap = on_demand(1000, max_span=40, min_span=40)
    scheduler.demand(0, 100, 0.0)
    scheduler.demand(500, 600, 1.0)
    scheduler.wanted(550)
    assert [fields(span) for span in starts(scheduler, 1.0)[0]][:2] == [(550, 554), (0, 4)]


def test_a_wish_for_a_block_that_nobody_demanded_is_harmless():
    scheduler, _bitmap = on_demand(100, [7], concurrency=1)
    assert scheduler.wanted(50)
    scheduler.wanted(7)
    assert scheduler.next_action(0.0) == IDLE
    scheduler.demand(20, 22, 0.0)
    span = scheduler.next_action(0.0).span
    assert span.first_block == 20
    scheduler.wanted(20)
    assert scheduler.next_action(0.0) == Wait(20.0)


def test_a_wish_is_forgotten_if_it_comes_before_its_demand():
    scheduler, _bitmap = on_demand(100)
    scheduler.wanted(50)
    scheduler.demand(20, 22, 0.0)
    scheduler.demand(50, 52, 0.0)
    assert scheduler.next_action(0.0).span.first_block == 20


def test_a_wish_outlives_the_transfer_that_failed_to_grant_it():
    scheduler, _bitmap = on_demand(100, concurrency=2, max_span=40, min_span=40)
    scheduler.demand(0, 40, 0.0)
    first = scheduler.next_action(0.0).span
    scheduler.wanted(2)
    second = scheduler.next_action(0.0).span
    scheduler.granted(first, 1, 1.0)  # the server gives less, and the rest goes to the end of the queue
    scheduler.ended(first, MOVED, 1.0)
    assert [fields(second), fields(scheduler.next_action(1.0).span)] == [(4, 8), (2, 4)]


def test_a_wish_ends_with_its_refusal():
    scheduler, _bitmap = on_demand(100, concurrency=2)
    scheduler.demand(50, 51, 0.0)
    scheduler.wanted(50)
    scheduler.ended(scheduler.next_action(0.0).span, BAD_RANGE, 0.0)
    for block in (0, 10, 50):
        scheduler.demand(block, block + 1, float(block))
        if block == 0:
            assert scheduler.next_action(0.0).span.first_block == 0
    assert scheduler.next_action(50.0).why == "stalled"
    assert scheduler.next_action(50.0).span.first_block == 10


def test_a_span_that_goes_on_stops_at_a_block_that_is_present_by_now():
    scheduler, bitmap = on_demand(10, max_span=1000, min_span=1000)
    scheduler.demand(0, 1, 0.0)
    scheduler.demand(1, 3, 1.0)
    land(scheduler, bitmap, 1, 2)
    assert [fields(span) for span in starts(scheduler, 5.0)[0]] == [(0, 1), (2, 3)]


@pytest.mark.parametrize("fault", [MOVED, RESET])
def test_a_span_does_not_go_on_over_blocks_that_came_back(fault):
    scheduler, _bitmap = on_demand(10, concurrency=4, max_span=1000, min_span=1000)
    scheduler.demand(2, 4, 0.0)
    scheduler.ended(scheduler.next_action(0.0).span, fault, 0.0)
    scheduler.demand(0, 2, 0.0)
    scheduler.wanted(0)
    assert fields(scheduler.next_action(1.0).span) == (0, 2)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 200), st.integers(1, 4))
def test_a_downloads_spans_are_not_shorter_than_min_span_unless_a_run_is(least, most, blocks, concurrency):
    scheduler, bitmap = scheduler_for(
        blocks, concurrency=concurrency, min_span=10 * least, max_span=10 * most
    )
    server = Server(scheduler, bitmap, all_of).run()
    left = blocks
    for _, *run in server.asked:
        assert len(run) >= min(least, most, left)
        left -= len(run)
    assert left == 0


def test_min_span_is_rounded_up_to_whole_blocks_and_max_span_goes_before_it():
    scheduler, _bitmap = scheduler_for(100, min_span=11, concurrency=100)
    assert scheduler.next_action(0.0).span.num_blocks == 2
    scheduler, _bitmap = scheduler_for(100, min_span=1000, max_span=39, concurrency=100)
    assert scheduler.next_action(0.0).span.num_blocks == 3


@given(st.integers(1, 60), st.integers(1, 6), st.integers(1, 300), st.integers(1, 12), st.integers(0, 9))
def test_windowed_spans_are_no_longer_than_max_span(window, concurrency, blocks, most, seed):
    scheduler, bitmap = scheduler_for(blocks, concurrency=concurrency, window=window, max_span=10 * most)
    server = Server(scheduler, bitmap, all_of, seed).run()
    assert bitmap.count() == blocks
    assert max(len(run) for _, *run in server.asked) <= max(1, min(window // (2 * concurrency), most))


# --- what is given up ----------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_every_demanded_block_comes_or_is_refused_whatever_the_server_does(seed, concurrency, tries, rough):
    scheduler, bitmap = on_demand(60, concurrency=concurrency, tries=tries, rng=random.Random(seed))
    rng = random.Random(seed)
    faults = [None, RESET, BUSY, LATER, MOVED, BAD_RANGE]

    def answer(span):
        return (rng.randint(0, span.num_blocks), rng.choice(faults)) if rough else (0, RESET)

    server = DemandServer(scheduler, bitmap, answer, seed)
    for _ in range(8):
        first, stop = sorted((rng.randint(0, 60), rng.randint(0, 60)))
        asked = {block for block in range(first, stop) if not bitmap[block]}
        server.asked.clear()
        server.demand(first, stop)
        server.run()
        refused = refused_blocks(scheduler)
        assert sorted(refused) == sorted(block for block in asked if not bitmap[block])
        assert {block for _, *run in server.asked for block in run} <= asked
        assert scheduler.take_refused() == []
    assert (scheduler.given_up, scheduler.iterations) == (0, 1)


def test_a_refused_block_is_told_once_and_begins_anew_when_it_is_demanded_again():
    scheduler, bitmap = on_demand(100, concurrency=1, max_span=20, min_span=20)
    scheduler.demand(30, 32, 0.0)
    span = scheduler.next_action(0.0).span
    land(scheduler, bitmap, 30, 31)
    scheduler.ended(span, BAD_RANGE, 0.0)
    assert scheduler.take_refused() == [Refused(31, 32, BAD_RANGE.error)]
    assert scheduler.take_refused() == []
    assert scheduler.next_action(0.0) == IDLE
    assert scheduler.demand(30, 32, 1.0)
    again = scheduler.next_action(1.0).span
    assert (*fields(again), again.attempt, again.passes) == (31, 32, 0, 0)
    assert scheduler.retries == 0


def test_a_refusal_waits_until_it_is_asked_for():
    scheduler, _bitmap = on_demand(100, concurrency=2, max_span=10)
    for first in (10, 20):
        scheduler.demand(first, first + 1, 0.0)
        scheduler.ended(scheduler.next_action(0.0).span, BAD_RANGE, 0.0)
    assert refused_blocks(scheduler) == [10, 20]


def test_a_dead_host_refuses_everything_and_is_tried_again_by_the_next_demand():
    scheduler, bitmap = on_demand(200, concurrency=4, tries=3, max_span=10)
    server = DemandServer(scheduler, bitmap, lambda span: (0, RESET))
    server.demand(0, 150)
    server.run()
    assert sorted(refused_blocks(scheduler)) == list(range(150))
    assert len(server.asked) <= 2 * 4 + 3
    server.answer = all_of
    server.asked.clear()
    assert server.demand(100, 160)
    now = server.now
    assert isinstance(scheduler.next_action(now), Start)  # at once
    assert scheduler.allowed == 4


def test_transfers_under_way_when_their_host_is_given_up_are_not_tried_again():
    scheduler, _bitmap = on_demand(100, concurrency=16, tries=2, max_span=10, backoff=1.0)
    scheduler.demand(0, 3, 0.0)
    (one, two, three), _ = starts(scheduler)
    scheduler.ended(one, RESET, 0.0)
    scheduler.ended(scheduler.next_action(1.0).span, RESET, 1.0)
    assert refused_blocks(scheduler) == [0]
    scheduler.demand(0, 1, 1.0)
    scheduler.ended(two, RESET, 1.0)
    assert refused_blocks(scheduler) == [1]
    scheduler.ended(three, MOVED, 1.0)
    assert refused_blocks(scheduler) == []  # a redirect is nobody's failure
    assert [span.attempt for span in starts(scheduler, 9.0)[0]] == [0, 0]


def test_a_block_that_lands_takes_back_the_end_of_the_host():
    scheduler, bitmap = on_demand(100, concurrency=8, tries=2, max_span=10, backoff=1.0)
    scheduler.demand(0, 3, 0.0)
    (one, two, three), _ = starts(scheduler)
    scheduler.ended(one, RESET, 0.0)
    scheduler.ended(scheduler.next_action(1.0).span, RESET, 1.0)
    assert refused_blocks(scheduler) == [0]
    land(scheduler, bitmap, 1, 2)
    scheduler.ended(two, None, 1.0)
    scheduler.ended(three, RESET, 1.0)
    assert refused_blocks(scheduler) == []
    assert scheduler.next_action(9.0).span.attempt == 1


def test_one_bad_block_that_a_reader_waits_for_costs_no_other_reader_anything():
    scheduler, bitmap = on_demand(100, concurrency=1, max_span=10)

    def answer(span):
        return (0, RESET) if span.first_block == 50 else all_of(span)

    server = DemandServer(scheduler, bitmap, answer)
    server.demand(0, 60)
    scheduler.wanted(50)
    server.run()
    assert refused_blocks(scheduler) == [50]
    assert bitmap.count() == 59


def test_failures_of_a_time_that_is_over_do_not_count_against_the_host():
    scheduler, _bitmap = on_demand(100, concurrency=1, tries=3, max_span=10)
    for first in range(10):
        scheduler.demand(first, first + 1, 0.0)
        scheduler.ended(scheduler.next_action(0.0).span, BAD_RANGE, 0.0)
    assert scheduler.take_refused()[-1] == Refused(9, 10, BAD_RANGE.error)
    scheduler.demand(20, 23, 0.0)
    span = scheduler.next_action(0.0).span
    scheduler.ended(span, RESET, 0.0)
    assert refused_blocks(scheduler) == []  # it has two more tries


def test_the_hosts_own_word_outlives_its_end():
    scheduler, _bitmap = on_demand(100, concurrency=1, tries=1)
    scheduler.demand(0, 5, 0.0)
    scheduler.ended(scheduler.next_action(0.0).span, LATER, 0.0)
    assert refused_blocks(scheduler) == [0, *range(1, 5)]
    scheduler.demand(0, 5, 1.0)
    assert scheduler.next_action(1.0) == Wait(7.0)


def test_passes_are_not_made_on_demand():
    scheduler, bitmap = on_demand(10, tries=1, wait_for_completion=True)
    server = DemandServer(scheduler, bitmap, lambda span: (0, RESET))
    server.demand(0, 10)
    server.run()
    assert scheduler.iterations == 1
    assert sorted(refused_blocks(scheduler)) == list(range(10))


@pytest.mark.parametrize("how", ["cancel", "fatal"])
def test_an_end_is_an_end_and_refuses_nothing(how):
    scheduler, _bitmap = on_demand(100, concurrency=2, max_span=10)
    scheduler.demand(0, 10, 0.0)
    (one, two), _ = starts(scheduler)
    if how == "cancel":
        scheduler.cancel()
        assert scheduler.next_action(0.0) == Stop(one, "cancelled")
    scheduler.ended(one, GONE, 0.0)
    assert scheduler.next_action(0.0) == Stop(two, "cancelled")
    assert scheduler.next_action(0.0) is DRAINING
    scheduler.ended(two, MOVED, 0.0)
    scheduler.demand(50, 60, 0.0)
    assert scheduler.next_action(0.0) is FINISHED
    assert refused_blocks(scheduler) == []


# --- a server without ranges ---------------------------------------------------------------------


def whole_body(scheduler):
    scheduler.demand(50, 52, 0.0)
    span = scheduler.next_action(0.0).span
    assert scheduler.granted_whole(span, 0.0)
    return span


def test_a_whole_body_brings_everything_and_leaves_nothing_to_demand():
    scheduler, bitmap = on_demand(100, [0], max_span=1000, min_span=1000)
    span = whole_body(scheduler)
    assert not scheduler.demand(0, 100, 0.0)
    scheduler.wanted(70)
    land(scheduler, bitmap, 1, 60)
    scheduler.ended(span, RESET, 0.0)
    assert not scheduler.demand(0, 100, 0.0)  # it waits for its next try
    again = scheduler.next_action(1.0).span
    assert (*fields(again), again.whole) == (0, 100, True)
    land(scheduler, bitmap, 60, 100)
    scheduler.ended(again, None, 2.0)
    assert scheduler.next_action(2.0) is FINISHED


@pytest.mark.parametrize("fault", [BAD_RANGE, RESET])
def test_a_whole_body_that_fails_for_good_refuses_all_that_is_missing_and_may_be_tried_again(fault):
    scheduler, bitmap = on_demand(100, [0, 30], max_span=1000, min_span=1000, tries=2)
    span, now = whole_body(scheduler), 0.0
    while True:
        scheduler.ended(span, fault, now)
        now += 40.0
        action = scheduler.next_action(now)
        if action == IDLE:
            break
        span = action.span
    assert scheduler.take_refused() == [Refused(1, 30, fault.error), Refused(31, 100, fault.error)]
    assert not scheduler.demand(30, 31, now)
    assert scheduler.demand(99, 100, now)
    assert not scheduler.demand(5, 6, now)
    again = scheduler.next_action(now).span
    assert (*fields(again), again.whole, again.attempt) == (0, 100, True, 0)
    land(scheduler, bitmap, 0, 100)
    scheduler.ended(again, None, now)
    assert scheduler.next_action(now) is FINISHED


def test_a_whole_body_that_fails_while_others_are_being_stopped_is_alone_when_it_is_tried_again():
    scheduler, _bitmap = on_demand(100, concurrency=2, max_span=10)
    scheduler.demand(10, 20, 0.0)
    (one, two), _ = starts(scheduler)
    assert scheduler.granted_whole(one, 0.0) is False
    assert scheduler.next_action(0.0) == Stop(two, "whole")
    scheduler.ended(one, BAD_RANGE, 0.0)
    assert refused_blocks(scheduler) == list(range(100))
    assert scheduler.demand(11, 12, 0.0)
    assert not isinstance(scheduler.next_action(1.0), Start)
    scheduler.ended(two, MOVED, 1.0)
    assert fields(scheduler.next_action(1.0).span) == (0, 100)


# --- what waits ----------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1.0, 2.0]), st.integers(0, 30)), max_size=20, unique_by=lambda p: p[1]
    ),
    st.data(),
)
def test_parked_runs_are_kept_by_date_and_place_and_found_by_block(entries, data):
    parked, model = Parked(), []
    for date, place in entries:
        run = Run(3 * place, 3 * place + data.draw(st.integers(1, 3)))
        parked.add(run, date)
        model.append((date, run.first, run))
    for entry in data.draw(st.lists(st.sampled_from(model), unique=True)) if model else []:
        parked.remove(next(waiting for waiting in parked if waiting.run is entry[2]))
        model.remove(entry)
    model.sort(key=lambda entry: entry[:2])
    assert [(waiting.not_before, waiting.run.first, waiting.run) for waiting in parked] == model
    assert parked.num_blocks == sum(run.stop - run.first for _, _, run in model)
    for block in range(95):
        found = parked.at(block)
        there = [run for _, _, run in model if run.first <= block < run.stop]
        assert [found.run] == there if there else found is None
    assert (parked.first is None) == (not model)
    parked.clear()
    assert (len(parked), parked.num_blocks, parked.at(0)) == (0, 0, None)


def test_three_silences_in_a_row_are_told_to_who_waits_and_the_next_one_is_served():
    scheduler, bitmap = on_demand(4, concurrency=1, stall_timeout=20.0, tries=9)
    now = 0.0
    scheduler.demand(0, 1, now)
    scheduler.demand(2, 4, now)
    for number in range(3):
        span = starts(scheduler, now)[0][0]
        now += 20.0
        assert scheduler.next_action(now) == Stop(span, "stalled")
        scheduler.ended(span, None, now)
        assert refused_blocks(scheduler) == ([] if number < 2 else [0, 2, 3])
        now += 20.0
    assert scheduler.error is None
    assert scheduler.next_action(now) == IDLE
    assert scheduler.demand(0, 1, now)
    server = DemandServer(scheduler, bitmap, all_of)
    server.now = now
    server.run()
    assert bitmap[0]


def test_what_came_by_another_way_while_it_waited_is_not_asked_for():
    bitmap = Bitmap(20)
    plan = DemandPlan(bitmap, max_blocks=4)
    plan.demand(2, 5, 0.0)
    plan.demand(9, 11, 1.0)
    bitmap.set_run(2, 5)
    run = plan.take(2.0, shares=1, idle=True)
    assert (run.first, run.stop) == (9, 11)
    assert plan.take(2.0, shares=1, idle=True) is None
    assert plan.exhausted


def test_small_steps_of_a_reader_are_answered_in_large_ones():
    plan = DemandPlan(Bitmap(100), max_blocks=64, min_blocks=16)
    for block in range(40):
        plan.demand(block, block + 1, float(block))
    taken = [plan.take(50.0, shares=8, idle=True) for _ in range(3)]
    assert [(run.first, run.stop) for run in taken] == [(0, 16), (16, 32), (32, 40)]
    assert plan.exhausted
