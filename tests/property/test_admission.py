"""Admission, whatever is asked, lent, left and refused in whatever order: first come, first served, nobody stuck."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fanmap._policy.limits.admission import Admission
from fanmap._policy.limits.permit import APPOINTED, RUNNING, Permit
from fanmap._policy.limits.rate import Bucket, Rate

picks = st.integers(0, 10**6)


class AdmissionMachine(RuleBasedStateMachine):
    """Tickets ask, lend to nested ones, and leave, while time passes and gates close."""

    @initialize(limit=st.integers(1, 4), rated=st.booleans())
    def begin(self, limit, rated):
        self.rate = Rate(6, 4, burst=2) if rated else None
        self.limit = limit
        self.admission = Admission(limit, [self.rate] if rated else [])
        self.now = 0.0
        self.permits: list[Permit] = []  # asked and not left
        self.asked: dict[Permit, int] = {}
        self.exempt: set[Permit] = set()  # ever on a lent slot
        self.number = self.last = 0
        self.gate = -math.inf
        self.charged: list[tuple[float, float]] = []
        self.grant_times: dict[Permit, tuple[float, float]] = {}

    def ask(self, permit):
        self.number += 1
        self.asked[permit] = self.number
        self.permits.append(permit)
        self.admission.ask(permit)
        self.poll()

    def poll(self):
        for permit in self.admission.poll(self.now):
            assert self.now >= self.gate, "started inside a named wait"
            assert permit in self.permits and permit.state == APPOINTED
            assert self.admission.take_up(permit, self.now)
            permit.started = True
            cost = permit.costs[0] if permit.costs else 1.0
            self.charged.append((self.now, cost))
            if permit not in self.exempt and permit.lender is None:
                assert self.asked[permit] > self.last, "overtaken"
                self.last = self.asked[permit]
        for permit in self.permits:
            if permit.lender is not None:
                self.exempt.add(permit)

    @rule(cost=st.sampled_from([1.0, 1.0, 2.0, 5.0]))
    def somebody_asks(self, cost):
        self.ask(Permit([cost] if self.rate else None))

    @precondition(lambda self: any(permit.state == RUNNING for permit in self.permits))
    @rule(pick=picks, cost=st.sampled_from([1.0, 3.0]))
    def a_nested_call_asks(self, pick, cost):
        running = [permit for permit in self.permits if permit.state == RUNNING]
        self.ask(Permit([cost] if self.rate else None, running[pick % len(running)]))

    @precondition(lambda self: self.permits)
    @rule(pick=picks, twice=st.booleans())
    def somebody_leaves(self, pick, twice):
        self.leave(self.permits[pick % len(self.permits)], twice)

    def leave(self, permit, twice=False):
        self.permits.remove(permit)
        for _ in range(2 if twice else 1):
            before = self.admission.in_flight(), self.admission.waiting()
            self.admission.leave(permit)
            assert permit.state != RUNNING
        if twice:
            assert (self.admission.in_flight(), self.admission.waiting()) == before, "leaving twice is leaving once"
        self.poll()

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 2.0, 10.0]))
    def time_passes(self, seconds):
        self.now += seconds
        self.poll()

    @rule(seconds=st.sampled_from([0.2, 3.0]), spread=st.sampled_from([0.0, 1.0]))
    def a_refusal_closes_the_gate(self, seconds, spread):
        self.gate = max(self.gate, self.now + seconds)
        self.admission.close_gate(self.now + seconds, spread=spread, apart=seconds)

    @precondition(lambda self: self.admission.head() is not None)
    @rule()
    def the_head_sleeps_as_long_as_it_is_told(self):
        head = self.admission.head()
        patience = self.admission.patience(head, self.now)
        assert patience is not None and patience > 0, "a head that could start was left waiting"
        self.now += max(patience, 1e-6)
        self.poll()
        while self.admission.head() is head:  # a hair too early, as floats have it
            self.now += 1e-6
            self.poll()

    @invariant()
    def slots_are_never_exceeded_and_each_ticket_is_where_it_says(self):
        admission = self.admission
        assert admission.in_flight() <= self.limit
        granted = [permit for permit in self.permits if permit.state == RUNNING]
        lenders = [permit for permit in granted if permit.lent_to is not None]
        assert admission.running() == len(granted) - len(lenders)
        assert admission.waiting() == len(self.permits) - len(granted)
        for lender in lenders:
            assert lender.lent_to in self.permits and lender.lent_to.lender is lender

    @invariant()
    def a_free_slot_is_never_left_to_somebody_who_waits(self):
        admission = self.admission
        in_slot_line = admission.waiting() - (admission.in_flight() - admission.running())
        assert in_slot_line == 0 or admission.in_flight() == self.limit

    @invariant()
    def only_calls_that_were_made_are_charged(self):
        if self.rate is not None:
            fresh = Bucket(self.rate)
            for at, cost in self.charged:
                fresh.charge(at, cost)
            assert abs(fresh.earliest(self.now, 2.0) - self.admission._buckets[0].earliest(self.now, 2.0)) < 1e-6

    def teardown(self):
        """No deadlock: calls without a nested one under way end, and everybody gets a turn."""
        if not hasattr(self, "permits"):
            return
        for _ in range(4 * len(self.permits) + 4):
            if not self.permits:
                break
            self.now += 100.0
            self.poll()
            parents = {permit.parent for permit in self.permits}
            leaf = next((permit for permit in self.permits if permit.state == RUNNING and permit not in parents), None)
            if leaf is None:
                assert any(permit.state != RUNNING for permit in self.permits)
                continue
            self.leave(leaf)
        assert not self.permits, "a deadlock"
        assert self.admission.in_flight() == self.admission.waiting() == 0


AdmissionMachine.TestCase.settings = settings(stateful_step_count=40)
TestAdmission = AdmissionMachine.TestCase


def test_what_never_ran_is_refunded_exactly():
    admission = Admission(3, [Rate(10, 10, burst=3)])
    one, granted, waiting = Permit(), Permit(), Permit()
    for permit in (one, granted):
        admission.ask(permit)
    assert admission.poll(0.0) == [one, granted]
    one.started = True
    admission.leave(granted)  # cancelled between the grant and the call
    admission.ask(waiting)
    admission.leave(waiting)
    fresh = Bucket(Rate(10, 10, burst=3))
    fresh.charge(0.0, 1.0)
    assert admission._buckets[0].earliest(0.0, 3.0) == fresh.earliest(0.0, 3.0)
