"""The books of a run: every input has one outcome, at its index, in its order, and no window is exceeded."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fanmap._policy.runs.as_completed import AsCompleted
from fanmap._policy.runs.in_list import InList
from fanmap._policy.runs.in_order import InOrder

KINDS = {
    "collected": lambda window, stops: InList(stop_on_failure=stops),
    "ordered": lambda window, stops: InOrder(window, stop_on_failure=stops),
    "as finished": lambda window, stops: AsCompleted(window),
}


class OrderMachine(RuleBasedStateMachine):
    """Inputs are taken, end in any order, well or badly, and leave when the consumer asks."""

    @initialize(kind=st.sampled_from(sorted(KINDS)), window=st.integers(1, 12), stops=st.booleans())
    def begin(self, kind, window, stops):
        self.kind, self.window = kind, window
        self.order = KINDS[kind](window, stops)
        self.stops = stops and kind != "as finished"
        self.running: list[int] = []
        self.ended: dict[int, BaseException | None] = {}
        self.ended_order: list[int] = []
        self.left: list[int] = []

    @precondition(lambda self: self.order.may_take())
    @rule()
    def an_input_is_taken(self):
        index = self.order.take()
        assert index == len(self.running) + len(self.ended), "indices are given in input order"
        self.running.append(index)

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 100), fails=st.sampled_from([False, False, True]))
    def one_ends(self, pick, fails):
        index = self.running.pop(pick % len(self.running))
        error = ValueError(index) if fails else None
        self.ended[index] = error
        self.ended_order.append(index)
        self.order.add((index, None if fails else -index, error, 1, 0.0, 0.0, 0.0))

    @rule()
    def the_consumer_asks(self):
        expected = self.next_out()
        assert self.order.has_ready() == (expected is not None)
        record = self.order.pop_ready()
        if expected is None:
            assert record is None
        else:
            assert record[0] == expected
            assert record[2] is self.ended[expected]
            self.left.append(expected)

    def next_out(self):
        if self.kind == "collected":
            return None
        if self.kind == "ordered":
            return len(self.left) if len(self.left) in self.ended else None
        waiting = [index for index in self.ended_order if index not in self.left]
        return waiting[0] if waiting else None

    @invariant()
    def the_window_is_never_exceeded(self):
        assert self.kind == "collected" or len(self.running) + len(self.ended) - len(self.left) <= self.window

    @invariant()
    def a_failure_stops_what_comes_after_it_and_nothing_before(self):
        failed = [index for index in self.ended_order if self.ended[index] is not None]
        order = self.order
        assert order.failed == len(failed) and order.ended == len(self.ended)
        if not (self.stops and failed):
            assert order.cut is None and all(order.may_start(index) for index in self.running)
            return
        first = failed[0] if self.kind == "collected" else min(failed)
        assert order.failure == (first, self.ended[first])
        assert not order.may_take()
        for index in self.running:
            assert order.may_start(index) == (self.kind == "ordered" and index < first)

    @invariant()
    def nothing_is_lost_and_nothing_is_there_twice(self):
        good = {index: -index for index, error in self.ended.items() if error is None and index not in self.left}
        assert self.order.finished() == good
        assert self.order.missing() == sorted(self.running)
        assert sorted(set(self.left)) == sorted(self.left)

    @invariant()
    def parked_workers_are_woken_before_the_run_would_starve(self):
        """`refill` may wait for a batch, but never once nothing is ahead of the consumer."""
        order = self.order
        if order.refill():
            assert order.may_take()
        elif order.may_take():
            assert order.taken > order.handed

    def teardown(self):
        if not hasattr(self, "order"):
            return
        while self.running:
            self.one_ends(0, False)
            self.a_failure_stops_what_comes_after_it_and_nothing_before()
        if self.kind != "collected":
            while self.next_out() is not None:
                self.the_consumer_asks()
            assert sorted(self.left) == sorted(self.ended), "every input has its outcome"
        self.order.clear()
        assert self.order.failure is None and not self.order.finished()


OrderMachine.TestCase.settings = settings(stateful_step_count=50)
TestOrder = OrderMachine.TestCase
