"""Which span next, and when: each rule of the scheduler by itself."""

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
    Server,
    all_of,
    blocks_of,
    land,
    scheduler_for,
    starts,
)

from largefile.core.bitmap import Bitmap
from largefile.rules.parked import Run
from largefile.rules.patience import Patience
from largefile.rules.schedule import DRAINING, FINISHED, Scheduler, Span, Start, Stop, Wait
from largefile.rules.spans import SpanPlan

# --- the size and the order of spans -------------------------------------------------------------


@given(st.integers(0, 3000), st.integers(1, 16), st.integers(1, 64), st.integers(0, 9))
def test_every_block_is_asked_for_exactly_once_when_nothing_fails(blocks, concurrency, longest, seed):
    scheduler, bitmap = scheduler_for(blocks, concurrency=concurrency, max_span=10 * longest)
    server = Server(scheduler, bitmap, all_of, seed).run()
    assert sorted(block for _, *run in server.asked for block in run) == list(range(blocks))
    assert bitmap.count() == blocks
    assert (scheduler.errors, scheduler.retries, scheduler.iterations) == (0, 0, 1)


@given(st.sets(st.integers(0, 199)), st.integers(1, 8))
def test_present_blocks_are_never_asked_for(present, concurrency):
    scheduler, bitmap = scheduler_for(200, present, concurrency=concurrency)
    server = Server(scheduler, bitmap, all_of).run()
    assert sorted(block for _, *run in server.asked for block in run) == sorted(set(range(200)) - present)


def test_spans_are_large_while_much_is_left_and_small_at_the_end():
    scheduler, bitmap = scheduler_for(100_000, max_span=640, concurrency=4)
    sizes = [len(run) for _, *run in Server(scheduler, bitmap, all_of).run().asked]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 64
    assert sizes[-8:] == [1] * 8


@given(st.integers(1, 60), st.integers(1, 6), st.integers(0, 300), st.integers(0, 9))
def test_windowed_spans_are_aligned_shares_of_the_window(window, concurrency, blocks, seed):
    scheduler, bitmap = scheduler_for(blocks, concurrency=concurrency, window=window)
    server = Server(scheduler, bitmap, all_of, seed).run()
    assert bitmap.count() == blocks
    size = max(1, window // (2 * concurrency))
    for _, *run in server.asked:
        assert run[0] // size == run[-1] // size
        assert run[0] // window == run[-1] // window


def test_a_windowed_span_waits_until_it_fits_unless_nothing_is_in_flight():
    scheduler, bitmap = scheduler_for(100, concurrency=2, window=10)
    land(scheduler, bitmap, 0, 8)
    (span,), action = starts(scheduler)
    assert (span.first_block, span.stop_block, action.for_reader) == (8, 10, True)
    land(scheduler, bitmap, 8, 9)
    scheduler.consumed(3)
    assert [(s.first_block, s.stop_block) for s in starts(scheduler)[0]] == [(10, 12)]
    scheduler, bitmap = scheduler_for(100, concurrency=2, window=10)
    land(scheduler, bitmap, 0, 10)
    scheduler.consumed(1)
    (span,), action = starts(scheduler)
    assert (span.first_block, span.stop_block, action.for_reader) == (10, 11, True)


def test_a_full_window_waits_for_the_reader_alone():
    scheduler, bitmap = scheduler_for(50, window=8)
    land(scheduler, bitmap, 0, 8)
    assert scheduler.next_action(0.0) == Wait(None, for_reader=True)
    assert scheduler.consumed(4)
    assert isinstance(scheduler.next_action(0.0), Start)


def test_the_window_starts_at_the_head_and_nothing_before_it_is_fetched():
    scheduler, _bitmap = scheduler_for(50, window=8, head=20)
    spans, _ = starts(scheduler)
    assert min(span.first_block for span in spans) == 20
    assert scheduler.remaining_blocks + sum(span.num_blocks for span in spans) == 30


def test_a_wanted_block_goes_first():
    scheduler, _bitmap = scheduler_for(1000, concurrency=2, max_span=100)
    assert scheduler.wanted(500)
    spans, _ = starts(scheduler)
    assert [span.first_block for span in spans] == [500, 0]


def test_a_wanted_block_that_is_in_flight_or_present_changes_nothing():
    scheduler, _bitmap = scheduler_for(100, [50], concurrency=3, max_span=100)
    scheduler.wanted(50)
    span = scheduler.next_action(0.0).span
    scheduler.wanted(span.first_block)
    assert scheduler.next_action(0.0).span.first_block == span.stop_block


def test_a_wanted_block_inside_a_returned_run_goes_first_when_it_is_due():
    scheduler, _bitmap = scheduler_for(64, concurrency=1, max_span=160)
    first = scheduler.next_action(0.0).span
    scheduler.ended(first, MOVED, 0.0)
    scheduler.wanted(3)
    assert scheduler.next_action(0.0).span.first_block == 3


def test_a_reader_does_not_go_back_or_past_a_hole():
    scheduler, bitmap = scheduler_for(20, window=8)
    land(scheduler, bitmap, 0, 4)
    scheduler.consumed(4)
    with pytest.raises(ValueError, match="head_block is 3"):
        scheduler.consumed(3)
    with pytest.raises(ValueError, match="at most 4"):
        scheduler.consumed(6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", 0),
        ("block_size", 0),
        ("max_span", 0),
        ("window", 0),
        ("tries", 0),
        ("backoff", 0.0),
        ("stall_timeout", 0.0),
        ("head", 11),
    ],
)
def test_a_number_out_of_range_is_named(name, value):
    options = {"block_size": 10, "content_size": 100, "concurrency": 1, name: value}
    with pytest.raises(ValueError, match=name):
        Scheduler(Bitmap(10), **options)


def test_the_bitmap_has_one_bit_a_block():
    with pytest.raises(ValueError, match=r"len\(present\) is 9; it must be 10"):
        Scheduler(Bitmap(9), block_size=10, content_size=91, concurrency=1)


def test_an_empty_content_is_finished_at_once():
    scheduler, _ = scheduler_for(0)
    assert scheduler.next_action(0.0) is FINISHED
    assert scheduler.finished


# --- answers -------------------------------------------------------------------------------------


def test_the_rest_of_a_prefix_starts_at_once_and_is_no_retry():
    scheduler, _bitmap = scheduler_for(160, concurrency=2, max_span=160)
    span = scheduler.next_action(0.0).span
    assert scheduler.granted(span, 3, 0.0)
    assert (span.first_block, span.stop_block) == (0, 3)
    assert scheduler.next_action(0.0).span.first_block == 3
    assert scheduler.retries == 0


def test_a_prefix_of_no_block_is_a_failure_in_the_end():
    scheduler, bitmap = scheduler_for(8, concurrency=1, tries=3)

    def nothing(span):
        scheduler.granted(span, span.first_block, server.now)
        return 0, None

    server = Server(scheduler, bitmap, nothing)
    server.run()
    assert len(server.asked) == 3
    assert scheduler.given_up == 8


def test_an_adopted_probe_is_in_flight_and_stops_at_the_next_present_block():
    scheduler, _bitmap = scheduler_for(100, [12], concurrency=2)
    span = scheduler.adopt(4, 40, 0.0)
    assert (span.first_block, span.stop_block, scheduler.in_flight) == (4, 12, 1)
    with pytest.raises(ValueError, match="must be free"):
        scheduler.adopt(4, 40, 0.0)


def test_a_probe_answered_whole_is_adopted_even_if_block_0_is_present():
    scheduler, bitmap = scheduler_for(100, [0, 1, 50])
    span = scheduler.adopt(0, 100, 0.0)
    assert scheduler.granted_whole(span, 0.0)
    land(scheduler, bitmap, 2, 100)
    scheduler.ended(span, None, 1.0)
    assert scheduler.next_action(1.0) is FINISHED


def test_a_whole_body_starts_only_when_it_is_alone():
    scheduler, _bitmap = scheduler_for(100, concurrency=3, max_span=100)
    (one, two, three), _ = starts(scheduler)
    assert not scheduler.granted_whole(one, 0.0)
    scheduler.ended(one, MOVED, 0.0)
    stops = {scheduler.next_action(0.0), scheduler.next_action(0.0)}
    assert stops == {Stop(two, "whole"), Stop(three, "whole")}
    scheduler.ended(two, RESET, 0.0)
    assert isinstance(scheduler.next_action(0.0), Wait)
    scheduler.ended(three, None, 0.0)
    whole = scheduler.next_action(0.0).span
    assert (whole.whole, whole.first_block, whole.stop_block) == (True, 0, 100)
    assert isinstance(scheduler.next_action(0.0), Wait)
    assert scheduler.errors == 0


def test_a_whole_body_that_ends_short_is_asked_for_again_as_a_whole():
    scheduler, bitmap = scheduler_for(100)
    span = scheduler.adopt(0, 100, 0.0)
    scheduler.granted_whole(span, 0.0)
    land(scheduler, bitmap, 0, 60)
    scheduler.ended(span, RESET, 1.0)
    again = scheduler.next_action(1.0).span
    assert (again.whole, again.first_block, again.stop_block, again.attempt) == (True, 0, 100, 0)
    assert scheduler.remaining_blocks == 0


def test_a_whole_body_that_never_gets_beyond_what_we_have_is_given_up():
    scheduler, _bitmap = scheduler_for(100, range(50), tries=3)
    span, now, requests = scheduler.adopt(0, 100, 0.0), 0.0, 1
    scheduler.granted_whole(span, now)
    while True:
        scheduler.landed(0, 20)  # over blocks that were there before
        scheduler.ended(span, RESET, now)
        now += 100.0
        action = scheduler.next_action(now)
        if action is FINISHED:
            break
        span, requests = action.span, requests + 1
    assert requests == 3
    assert scheduler.given_up == 50


def test_a_prefix_that_comes_after_a_whole_body_changes_nothing():
    scheduler, bitmap = scheduler_for(100, concurrency=2, max_span=100)
    (one, two), _ = starts(scheduler)
    scheduler.granted_whole(one, 0.0)
    assert not scheduler.granted(two, two.first_block + 1, 0.0)
    scheduler.ended(two, MOVED, 0.0)
    land(scheduler, bitmap, 0, 100)
    scheduler.ended(one, None, 0.0)
    assert scheduler.next_action(0.0) is FINISHED


def test_a_whole_body_that_we_hold_back_is_not_stalled():
    scheduler, bitmap = scheduler_for(100, window=10, stall_timeout=20.0)
    span = scheduler.adopt(0, 100, 0.0)
    scheduler.granted_whole(span, 0.0)
    land(scheduler, bitmap, 0, 10)
    assert scheduler.next_action(1000.0) == Wait(1020.0)
    scheduler.consumed(5)
    assert scheduler.next_action(1020.0) == Stop(span, "stalled")


# --- failures ------------------------------------------------------------------------------------


def test_a_silent_transfer_is_stopped_once():
    scheduler, _bitmap = scheduler_for(100, concurrency=1, stall_timeout=20.0)
    span = scheduler.next_action(0.0).span
    scheduler.progress(span, 1, 5.0)
    scheduler.progress(span, 1, 24.0)  # no new byte
    assert scheduler.next_action(24.9) == Wait(25.0)
    assert scheduler.next_action(25.0) == Stop(span, "stalled")
    assert scheduler.next_action(99.0) == Wait(None)


def test_time_in_which_nobody_looked_is_not_the_server_s_silence():
    scheduler, _bitmap = scheduler_for(100, concurrency=2, stall_timeout=20.0, max_span=100)
    (one, two), _ = starts(scheduler)
    scheduler.progress(two, 1, 5.0)
    scheduler.lost(30.0, [one, two])  # a disk was slow
    assert scheduler.next_action(49.9) == Wait(50.0)
    assert scheduler.next_action(50.0) == Stop(one, "stalled")
    assert scheduler.next_action(50.0) == Wait(55.0)
    assert scheduler.next_action(55.0) == Stop(two, "stalled")


@given(st.lists(st.floats(0.0, 100.0), max_size=8), st.floats(0.0, 50.0))
def test_lost_time_is_added_to_every_patience_and_to_nothing_else(lost, began):
    scheduler, _bitmap = scheduler_for(1, concurrency=1, stall_timeout=20.0)
    span = scheduler.next_action(began).span
    for seconds in lost:
        scheduler.lost(seconds, [span])
        scheduler.lost(7.0, [Span(0, 1)])  # it is not in flight
    assert scheduler.next_action(began).until == pytest.approx(began + 20.0 + sum(lost))


def test_time_in_which_one_thread_did_not_look_excuses_its_own_transfers_only():
    scheduler, _bitmap = scheduler_for(100, concurrency=2, stall_timeout=20.0, max_span=100)
    (one, two), _ = starts(scheduler)
    scheduler.lost(30.0, [one])
    assert scheduler.next_action(20.0) == Stop(two, "stalled")
    assert scheduler.next_action(49.9) == Wait(50.0)


def test_lost_time_is_no_less_than_nothing():
    scheduler, _bitmap = scheduler_for(1, concurrency=1)
    for seconds in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="seconds is"):
            scheduler.lost(seconds, [])


@given(st.integers(1, 16), st.integers(1, 6), st.integers(1, 5000), st.integers(0, 5))
def test_a_dead_server_is_asked_a_few_times_only(concurrency, tries, blocks, seed):
    scheduler, bitmap = scheduler_for(blocks, concurrency=concurrency, tries=tries, max_span=10)
    server = Server(scheduler, bitmap, lambda span: (0, RESET), seed).run()
    assert len(server.asked) <= 2 * concurrency + tries
    assert scheduler.given_up == blocks
    assert len(scheduler.failures) <= 8


def test_a_dead_server_is_given_time_to_come_back():
    scheduler, bitmap = scheduler_for(5000, concurrency=4, tries=5, backoff=0.5)
    server = Server(scheduler, bitmap, lambda span: (0, RESET)).run()
    assert server.now >= 0.5 + 1.0 + 2.0 + 4.0


def test_a_server_that_comes_back_in_time_loses_nothing():
    scheduler, bitmap = scheduler_for(5000, concurrency=4)
    server = Server(scheduler, bitmap, lambda span: all_of(span) if server.now > 3.0 else (0, RESET))
    server.run()
    assert bitmap.count() == 5000


@given(st.integers(1, 8), st.integers(0, 99), st.integers(0, 20))
def test_one_bad_block_costs_no_other_block(concurrency, bad, seed):
    scheduler, bitmap = scheduler_for(100, concurrency=concurrency)

    def answer(span):
        good = bad - span.first_block
        return (good, RESET) if bad in blocks_of(span) else all_of(span)

    server = Server(scheduler, bitmap, answer, seed).run()
    assert [block for block in range(100) if not bitmap[block]] == list(range(bad, bad + scheduler.given_up))
    assert scheduler.given_up <= 100 // (2 * concurrency) + 1
    assert sum(bad in run for _, *run in server.asked) <= 2 * 5


def test_a_server_that_drops_after_every_block_is_outlived():
    scheduler, bitmap = scheduler_for(300, concurrency=4)
    Server(scheduler, bitmap, lambda span: (1, RESET)).run()
    assert bitmap.count() == 300


def test_a_transfer_that_ends_short_without_a_reason_has_failed():
    scheduler, bitmap = scheduler_for(1, concurrency=1, tries=2)
    server = Server(scheduler, bitmap, lambda span: (0, None)).run()
    assert len(server.asked) == 2
    assert (scheduler.errors, scheduler.retries) == (2, 1)


def test_retry_after_closes_the_gate_for_every_start():
    scheduler, bitmap = scheduler_for(1000, concurrency=4)
    spans, _ = starts(scheduler)
    scheduler.ended(spans[0], LATER, 1.0)
    land(scheduler, bitmap, spans[1].first_block, spans[1].stop_block)
    scheduler.ended(spans[1], None, 2.0)
    assert scheduler.next_action(7.9) == Wait(8.0)
    assert isinstance(scheduler.next_action(8.0), Start)


def test_pushback_halves_once_for_a_burst_and_recovers_by_one_up_to_what_was_served():
    scheduler, bitmap = scheduler_for(1000, concurrency=8, max_span=10)
    spans, _ = starts(scheduler)
    for span in spans:
        scheduler.progress(span, 1, 0.0)
    for span in spans[:3]:
        scheduler.ended(span, BUSY, 0.0)
    assert scheduler.allowed == 4
    assert scheduler.errors == 0  # the others are served, so it was one too many and not a failure
    for span in spans[3:]:
        land(scheduler, bitmap, span.first_block, span.stop_block)
        scheduler.ended(span, None, 1.0)
        assert scheduler.allowed == 5


def test_a_host_that_takes_one_connection_is_served_by_one():
    scheduler, bitmap = scheduler_for(200, concurrency=8, max_span=30)
    serving = []

    def answer(span):
        serving[:] = [other for other in serving if other in server.flying]
        if span not in serving and serving:
            return 0, BUSY
        if span not in serving:
            serving.append(span)
            scheduler.progress(span, 1, server.now)
        return all_of(span)

    server = Server(scheduler, bitmap, answer)
    server.run()
    assert bitmap.count() == 200


def test_a_redirect_costs_nothing_but_a_loop_ends():
    scheduler, bitmap = scheduler_for(10, concurrency=1, tries=2, max_span=1000)
    server = Server(scheduler, bitmap, lambda span: (0, MOVED)).run()
    assert scheduler.errors == 2
    assert len(server.asked) < 100


def test_a_permanent_fault_gives_up_its_run_at_once_and_no_other():
    scheduler, bitmap = scheduler_for(100, concurrency=2, max_span=100, wait_for_completion=True)
    Server(scheduler, bitmap, lambda s: (0, BAD_RANGE) if s.first_block == 0 else all_of(s)).run()
    assert bitmap.find_clear() == 0
    assert bitmap.count() == 100 - scheduler.given_up
    assert (scheduler.errors, scheduler.iterations) == (1, 1)


def test_a_fatal_fault_stops_everything():
    scheduler, _bitmap = scheduler_for(100, concurrency=3, max_span=100)
    (one, two, three), _ = starts(scheduler)
    scheduler.ended(one, GONE, 0.0)
    assert {scheduler.next_action(0.0), scheduler.next_action(0.0)} == {
        Stop(two, "cancelled"),
        Stop(three, "cancelled"),
    }
    assert scheduler.next_action(0.0) is DRAINING
    scheduler.ended(two, RESET, 0.0)
    scheduler.ended(three, None, 0.0)
    assert scheduler.next_action(0.0) is FINISHED
    assert scheduler.error is GONE.error
    assert scheduler.errors == 1
    assert scheduler.remaining_blocks == 100


def test_a_window_with_a_hole_that_is_given_up_ends():
    scheduler, bitmap = scheduler_for(1000, window=40, tries=2)
    server = Server(scheduler, bitmap, lambda s: (0, BAD_RANGE) if 20 in blocks_of(s) else all_of(s)).run()
    assert not bitmap[20]
    assert max(block for _, *run in server.asked for block in run) < 60
    assert scheduler.given_up == 1000 - bitmap.count()


def test_waiting_for_completion_pauses_between_passes_and_ends():
    scheduler, bitmap = scheduler_for(
        50, concurrency=2, tries=1, wait_for_completion=True, max_iterations=4, backoff=1.0
    )
    server = Server(scheduler, bitmap, lambda span: (0, RESET)).run()
    assert scheduler.iterations == 5
    assert server.now >= 1 + 2 + 4 + 8
    assert scheduler.given_up == 50


def test_waiting_for_completion_outlives_any_outage_that_ends():
    scheduler, bitmap = scheduler_for(50, concurrency=2, wait_for_completion=True)
    server = Server(scheduler, bitmap, lambda span: all_of(span) if server.now > 60 else (0, RESET))
    server.run()
    assert bitmap.count() == 50
    assert scheduler.given_up == 0
    assert scheduler.iterations > 1


def test_cancel_drains_and_finishes():
    scheduler, _bitmap = scheduler_for(100, concurrency=1)
    span = scheduler.next_action(0.0).span
    assert scheduler.cancel()
    assert scheduler.next_action(0.0) == Stop(span, "cancelled")
    assert scheduler.next_action(0.0) is DRAINING
    scheduler.ended(span, None, 0.0)
    assert scheduler.next_action(0.0) is FINISHED


def test_a_span_that_is_not_in_flight_is_the_callers_mistake():
    scheduler, _bitmap = scheduler_for(10, concurrency=1)
    span = scheduler.next_action(0.0).span
    scheduler.ended(span, RESET, 0.0)
    for call in (
        lambda: scheduler.ended(span, None, 0.0),
        lambda: scheduler.granted(span, 1, 0.0),
        lambda: scheduler.granted_whole(span, 0.0),
        lambda: scheduler.progress(span, 1, 0.0),
    ):
        with pytest.raises(ValueError, match="not in flight"):
            call()


def test_a_smaller_limit_drains_and_a_larger_one_starts():
    scheduler, _bitmap = scheduler_for(1000, concurrency=4, max_span=10)
    spans, _ = starts(scheduler)
    scheduler.set_concurrency(2)
    scheduler.ended(spans[0], MOVED, 0.0)
    assert isinstance(scheduler.next_action(0.0), Wait)
    scheduler.set_concurrency(6)
    assert len(starts(scheduler)[0]) == 3


def test_where_more_are_planned_for_spans_leave_something_for_them():
    scheduler, _bitmap = scheduler_for(1000, concurrency=8)
    scheduler.set_concurrency(2, 8)
    spans, _ = starts(scheduler)
    assert [span.num_blocks for span in spans] == [62, 58]  # each a sixteenth of what was left
    scheduler.set_concurrency(3)
    spans, _ = starts(scheduler)
    assert [span.num_blocks for span in spans] == [146]  # a sixth


@given(st.integers(0, 10**6), st.floats(0.01, 10.0))
def test_delays_double_up_to_their_cap_and_are_spread_over_the_upper_half(failures, backoff):
    patience = Patience(concurrency=1, tries=5, backoff=backoff, rng=random.Random(failures))
    full = Patience(concurrency=1, tries=5, backoff=backoff).delay(failures)
    assert full <= 30.0
    assert full / 2 <= patience.delay(failures) <= full


# --- what waits, and comes by another way ----------------------------------------------------------


@pytest.mark.parametrize("fresh_first", [False, True])
def test_of_what_waits_only_what_is_still_missing_is_asked_for(fresh_first):
    bitmap = Bitmap(20)
    plan = SpanPlan(bitmap, max_blocks=20)
    for run in (Run(0, 4), Run(6, 12)):
        plan.landed(run.first, run.stop)
        plan.park(run, 0.0)
    plan.landed(12, 20)
    plan.landed(4, 6)
    bitmap.set_run(0, 4)
    bitmap.set_run(7, 9)
    asked = []
    while (run := plan.take(1.0, shares=1, idle=True, fresh_first=fresh_first)) is not None:
        asked += range(run.first, run.stop)
    assert asked == [6, 9, 10, 11]


def test_a_transfer_that_nobody_started_is_the_callers_mistake():
    scheduler, _ = scheduler_for(10)
    for act in (scheduler.ended, scheduler.progress):
        with pytest.raises(ValueError, match="not in flight"):
            act(Span(0, 1), None, 0.0)
    assert starts(scheduler)[0][0].first_block == 0
