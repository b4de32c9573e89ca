"""The scheduler keeps its rules whatever the server, the reader and the clock do, in any order."""

from __future__ import annotations

import random

from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from schedule_world import BAD_RANGE, BUSY, GONE, LATER, MOVED, RESET, blocks_of, scheduler_for

from largefile.rules.schedule import DRAINING, Renew, Split, Start, Stop, Wait


class SchedulerMachine(RuleBasedStateMachine):
    """Any order of events against a model that is a few sets."""

    @initialize(
        blocks=st.sampled_from([0, 1, 2, 63, 64, 65]) | st.integers(0, 200),
        present=st.sets(st.integers(0, 199), max_size=40),
        concurrency=st.integers(1, 6),
        window=st.none() | st.integers(1, 40),
        max_span=st.sampled_from([1, 70, 640]),
        tries=st.integers(1, 4),
        patient=st.booleans(),
        seed=st.none() | st.integers(0, 3),
    )
    def begin(self, blocks, present, concurrency, window, max_span, tries, patient, seed):
        self.blocks = blocks
        self.window = window
        self.concurrency = concurrency
        self.max_blocks = max(1, max_span // 10)
        self.present = {block for block in present if block < blocks}
        self.make = lambda: scheduler_for(
            blocks,
            {block for block in present if block < blocks},
            concurrency=concurrency,
            window=window,
            max_span=max_span,
            tries=tries,
            wait_for_completion=patient,
            max_iterations=3,
            rng=None if seed is None else random.Random(seed),
        )
        self.scheduler, self.bitmap = self.make()
        self.log = []
        self.now = 0.0
        self.flying = {}  # span -> the blocks that its transfer may write
        self.told = {}
        self.gate = 0.0
        self.head = 0
        self.cancelled = False
        self.whole = False
        self.finished = False
        self.renewals = {}
        self.split = None  # what was last told to be split

    def call(self, method, *args):
        """Call the scheduler and remember it, with spans named by their order."""
        answer = getattr(self.scheduler, method)(*args)
        self.log.append((method, args, answer))
        return answer

    def free(self):
        return set(range(self.blocks)) - self.present - set().union(*self.flying.values())

    def pick(self, data):
        return data.draw(st.sampled_from(list(self.flying)))

    # --- what it decides ---

    @rule()
    def decide(self):
        allowed = self.scheduler.allowed
        action = self.call("next_action", self.now)
        note(repr(action))
        self.cancelled |= self.scheduler.error is not None  # also after too many silences
        match action:
            case Start(span):
                self.check_start(span, allowed)
            case Stop(span, why):
                assert span in self.flying
                assert span not in self.told
                self.told[span] = why
            case Renew(span):
                self.check_slow(span)
                self.renewals[span] = self.renewals.get(span, 0) + 1
                assert self.renewals[span] <= 2, "a place that is slow for everybody is slow"
                self.call("renewed", span, self.now)
            case Split(span, stop_block):
                self.check_slow(span)
                assert span.first_block <= stop_block < span.stop_block
                assert len(self.flying) < allowed, "nobody is free for the rest"
                self.split = span, stop_block
            case Wait(until, for_reader):
                self.check_wait(until, for_reader)
            case _ if action is DRAINING:
                assert self.flying
                assert self.cancelled
                assert set(self.told) == set(self.flying)
            case _:
                self.check_finished()

    def check_slow(self, span):
        assert span in self.flying
        assert span not in self.told
        assert not span.whole
        assert not self.cancelled

    def check_start(self, span, allowed):
        mine = set(blocks_of(span)) - self.present
        assert mine, "a span without a missing block"
        assert not self.cancelled
        assert len(self.flying) < min(allowed, self.concurrency)
        assert self.now >= self.gate
        if span.whole:
            assert self.whole
            assert not self.flying
        else:
            assert not self.whole
            assert not self.present & set(blocks_of(span)), "a present block is asked for"
            assert span.num_blocks <= (self.window or self.max_blocks)
            assert self.window is None or span.stop_block <= self.head + self.window
        self.launch(span, mine)

    def launch(self, span, mine):
        for other in self.flying.values():
            assert not mine & other, "two writers to a block"
            if self.window is not None:
                # A block that has landed is not written any more, whether its transfer has ended or not.
                places = {block % self.window for block in other - self.present}
                assert not places & {block % self.window for block in mine}, "two writers to a place"
        self.flying[span] = mine

    def check_wait(self, until, for_reader):
        assert until is None or until > self.now
        if not self.flying:
            assert until is not None or for_reader, "nothing would ever happen again"
        if for_reader:
            assert self.window is not None
            assert self.free()

    def check_finished(self):
        self.finished = True
        assert not self.flying
        if not self.cancelled:
            assert len(self.present) + self.scheduler.given_up == self.blocks

    # --- what happens ---

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 8.0, 21.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), count=st.integers(1, 8))
    def blocks_land(self, data, count):
        span = self.pick(data)
        if span.whole and len(self.flying) > 1:
            return  # it is not admitted yet
        for block in sorted(self.flying[span] - self.present)[:count]:
            if self.window is not None and block >= self.head + self.window:
                break  # a body from byte 0 is held back where the ring ends
            self.bitmap.set(block)
            self.present.add(block)
            self.call("landed", block, block + 1)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), received=st.integers(0, 1000))
    def bytes_come(self, data, received):
        self.call("progress", self.pick(data), received, self.now)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), fault=st.sampled_from([None, RESET, BUSY, LATER, MOVED, BAD_RANGE]))
    def transfer_ends(self, data, fault):
        self.end(self.pick(data), fault)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def transfer_succeeds(self, data):
        span = self.pick(data)
        if not span.whole:
            self.blocks_land_all(span)
            self.end(span, None)

    def blocks_land_all(self, span):
        for block in sorted(self.flying[span] - self.present):
            self.bitmap.set(block)
            self.present.add(block)
        self.call("landed", span.first_block, span.stop_block)

    def end(self, span, fault):
        del self.flying[span]
        self.told.pop(span, None)
        if fault is not None and fault.retry_after is not None:
            self.gate = max(self.gate, self.now + fault.retry_after)
        if fault is not None and fault.fatal:
            self.cancelled = True
        self.call("ended", span, fault, self.now)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), keep=st.integers(0, 20))
    def a_prefix_is_granted(self, data, keep):
        span = self.pick(data)
        if not span.whole and not self.flying[span] & self.present:
            self.call("granted", span, span.first_block + keep, self.now)
            self.flying[span] = set(blocks_of(span)) - self.present

    @precondition(lambda self: self.split is not None)
    @rule(more=st.integers(0, 3))
    def a_split_is_done(self, more):
        """Where it can be by then, if the span is still there."""
        (span, stop_block), self.split = self.split, None
        if span in self.flying and not span.whole:
            self.call("granted", span, min(span.stop_block, stop_block + more), self.now)
            self.flying[span] = set(blocks_of(span)) - self.present

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), dice=st.integers(0, 3), hold=st.booleans())
    def the_whole_is_granted(self, data, dice, hold):
        span = self.pick(data)
        if dice and not span.whole:
            return
        before = span.first_block, span.stop_block, span.whole
        others = [other for other in self.flying if other is not span]
        answer = self.call("granted_whole", span, self.now)
        if span in self.told or any(other.whole for other in others):
            assert answer is None
        if answer is None:
            assert before == (span.first_block, span.stop_block, span.whole)
            self.end(span, MOVED)
            return
        assert answer == (not others)
        assert (span.first_block, span.stop_block, span.whole) == (0, self.blocks, True)
        self.whole = True
        if answer:
            self.flying[span] = set(range(self.blocks)) - self.present
        elif not hold:
            self.end(span, MOVED)

    @precondition(lambda self: not self.finished and not self.whole)
    @rule(data=st.data())
    def a_transfer_is_adopted(self, data):
        limit = self.blocks if self.window is None else min(self.blocks, self.head + self.window)
        if self.log or limit <= self.head or self.head in self.present:
            return  # a probe comes first
        stop = data.draw(st.integers(self.head + 1, self.blocks))
        span = self.call("adopt", self.head, stop, self.now)
        assert span.stop_block <= min(stop, limit)
        self.launch(span, set(blocks_of(span)))

    @precondition(lambda self: self.window is not None)
    @rule(data=st.data())
    def the_reader_moves(self, data):
        end = next((block for block in range(self.blocks) if block not in self.present), self.blocks)
        self.head = data.draw(st.integers(self.head, end))
        self.call("consumed", self.head)

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def a_reader_waits(self, data):
        self.call("wanted", data.draw(st.integers(0, self.blocks - 1)))

    @rule(concurrency=st.integers(1, 6), planned=st.integers(1, 12))
    def the_limit_changes(self, concurrency, planned):
        self.concurrency = concurrency
        self.call("set_concurrency", concurrency, planned)

    @rule(dice=st.integers(0, 15))
    def it_is_cancelled(self, dice):
        if not dice:
            self.cancelled = True
            self.call("cancel")

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), dice=st.integers(0, 15))
    def a_fatal_fault(self, data, dice):
        if not dice:
            self.end(self.pick(data), GONE)

    # --- what always holds ---

    @invariant()
    def every_block_is_in_one_place(self):
        if not hasattr(self, "scheduler"):
            return
        scheduler = self.scheduler
        assert scheduler.in_flight == len(self.flying)
        assert 1 <= scheduler.allowed <= self.concurrency
        assert sum(span.whole for span in self.flying) <= 1, "two whole bodies"
        if not self.whole:
            flying = sum(len(mine - self.present) for mine in self.flying.values())
            waiting = scheduler.remaining_blocks + scheduler.given_up
            assert len(self.present) + flying + waiting == self.blocks

    def teardown(self):
        if not hasattr(self, "scheduler"):
            return
        self.replay()
        self.finish_with_a_good_server()

    def replay(self):
        """The same inputs have the same outputs."""
        other, bitmap = self.make()
        twin = {}
        for method, args, answer in self.log:
            args = [twin.get(arg, arg) if not isinstance(arg, (int, float)) else arg for arg in args]
            if method == "landed":
                bitmap.set_run(*args)
            again = getattr(other, method)(*args)
            if isinstance(answer, Start):
                answer, again = answer.span, again.span
            elif isinstance(answer, Stop):
                assert again == Stop(twin[answer.span], answer.why)
                continue
            elif isinstance(answer, Renew | Split):
                assert again == answer._replace(span=twin[answer.span])
                continue
            if hasattr(answer, "first_block"):
                twin[answer] = again
            else:
                assert again == answer

    def finish_with_a_good_server(self):
        """From any state, a server that serves and a reader that reads bring it to its end."""
        for _ in range(2000):
            if self.finished:
                break
            self.decide()
            if self.told:
                self.end(next(iter(self.told)), MOVED)
            elif self.flying and not self.cancelled:
                span = next(iter(self.flying))
                if not span.whole or len(self.flying) == 1:
                    self.blocks_land_all(span)
                self.end(span, None)
            elif not self.flying:
                self.now = max(self.now + 31.0, self.gate)
            if self.window is not None:
                end = self.bitmap.find_clear()
                self.head = self.blocks if end is None else end
                self.call("consumed", self.head)
        assert self.finished


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)


class DemandMachine(SchedulerMachine):
    """The same on demand: what nobody asked for is not fetched, and who asked is answered."""

    @initialize(
        blocks=st.sampled_from([0, 1, 2, 63, 64, 65]) | st.integers(0, 200),
        present=st.sets(st.integers(0, 199), max_size=40),
        concurrency=st.integers(1, 6),
        max_span=st.sampled_from([1, 70, 640]),
        min_span=st.sampled_from([1, 40, 1000]),
        tries=st.integers(1, 4),
        patient=st.booleans(),
        seed=st.none() | st.integers(0, 3),
    )
    def begin(self, blocks, present, concurrency, max_span, min_span, tries, patient, seed):
        super().begin(blocks, present, concurrency, None, max_span, tries, patient, seed)
        self.make = lambda: scheduler_for(
            blocks,
            {block for block in present if block < blocks},
            concurrency=concurrency,
            on_demand=True,
            min_span=min_span,
            max_span=max_span,
            tries=tries,
            wait_for_completion=patient,
            rng=None if seed is None else random.Random(seed),
        )
        self.scheduler, self.bitmap = self.make()
        self.asked = set()  # demanded, and neither landed nor refused, as far as we were told
        self.new = set()  # of these, the ones that no transfer has carried since their demand

    def missing(self):
        return set(range(self.blocks)) - self.present

    # --- what readers ask for ---

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def a_reader_demands(self, data):
        first = data.draw(st.integers(0, self.blocks - 1))
        self.demand(first, data.draw(st.integers(first, self.blocks)))

    def demand(self, first, stop):
        idle = set(range(first, stop)) - self.present - self.asked
        assert self.call("demand", first, stop, self.now) == bool(idle)
        if self.whole and idle:
            idle = self.missing()  # there is nothing smaller to ask for
        self.asked |= idle
        self.new |= idle

    def call(self, method, *args):
        before = set(blocks_of(args[0])) if method == "granted" else set()
        answer = super().call(method, *args)
        if before and (args[0].attempt, args[0].passes) == (0, 0):
            # What a prefix leaves over has no history: it may be joined with new demands.
            self.new |= before - set(blocks_of(args[0])) - self.present
        if method == "granted_whole" and answer is not None:
            self.asked = self.missing()
            self.new.clear()
        elif method == "ended":
            self.collect()
        return answer

    def collect(self):
        """Each refusal is of a missing block that was asked for, and is told once."""
        for run in super().call("take_refused"):
            blocks = set(blocks_of(run))
            assert blocks <= self.asked - self.present
            assert self.whole or not any(blocks & mine for mine in self.flying.values())
            self.asked -= blocks
            self.new -= blocks
        assert super().call("take_refused") == []

    # --- what it decides ---

    def launch(self, span, mine):
        if self.log[-1][0] == "adopt":
            self.asked |= mine
        assert mine <= self.asked, "nobody asked for it"
        if not span.whole and mine & self.new:
            assert mine <= self.new
            assert (span.attempt, span.passes) == (0, 0), "a new demand has no history"
        self.new -= mine
        super().launch(span, mine)

    def check_wait(self, until, for_reader):
        assert until is None or until > self.now
        waiting = self.asked - self.present
        if not self.flying:
            assert for_reader == (not waiting)
            assert (until is None) == (not waiting), "nothing would ever happen again"

    def check_finished(self):
        self.finished = True
        assert not self.flying
        assert self.cancelled or not self.missing()

    def finish_with_a_good_server(self):
        """What was demanded comes or is refused by itself; then the rest comes when it is demanded."""
        self.serve_well()
        if not self.cancelled:
            assert not self.asked - self.present, "a reader would wait for ever"
            self.demand(0, self.blocks)
            self.serve_well()
        assert self.finished

    def serve_well(self):
        for _ in range(2000):
            idle_before = not self.flying and not self.asked - self.present
            self.decide()
            if self.told:
                self.end(next(iter(self.told)), MOVED)
            elif self.flying and not self.cancelled:
                span = next(iter(self.flying))
                if not span.whole or len(self.flying) == 1:
                    self.blocks_land_all(span)
                self.end(span, None)
            elif not self.flying:
                self.now = max(self.now + 31.0, self.gate)
            if self.finished or (idle_before and not self.cancelled):
                return
        raise AssertionError("no end")


TestSchedulerOnDemand = DemandMachine.TestCase
TestSchedulerOnDemand.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
