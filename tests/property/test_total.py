"""A total, whatever is asked, nested, settled and left in whatever order: how far it is overrun, and that nobody waits for ever."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fanmap._policy.limits.admission import Admission
from fanmap._policy.limits.permit import RUNNING, Permit
from fanmap._policy.limits.rate import Rate

AMOUNT = 20.0
picks = st.integers(0, 10**6)
units = st.integers(0, 8).map(float)


class TotalMachine(RuleBasedStateMachine):
    """Calls ask, run others inside them, end for another price than was guessed, and are refused for good."""

    @initialize(limit=st.integers(1, 5), exact=st.booleans())
    def begin(self, limit, exact):
        self.exact = exact  # estimates are upper bounds
        self.admission = Admission(limit, [Rate(AMOUNT, math.inf, cost=len)])
        self.total = self.admission.totals[0]
        self.waiting: list[Permit] = []
        self.running: list[Permit] = []
        self.inside: dict[Permit, list[Permit]] = {}
        self.beyond = 0.0  # what calls that were under way cost more than was guessed
        self.spent = 0.0

    def poll(self):
        for permit in self.admission.poll(0.0):
            assert self.admission.take_up(permit, 0.0)
            permit.started = True
            self.waiting.remove(permit)
            self.running.append(permit)

    def ask(self, permit, outer=None):
        self.waiting.append(permit)
        self.inside[permit] = []
        if outer is not None:
            self.inside[outer].append(permit)
        self.admission.ask(permit)
        self.poll()

    @rule(cost=units)
    def somebody_asks(self, cost):
        self.ask(Permit([cost]))

    @precondition(lambda self: self.running)
    @rule(pick=picks, cost=units)
    def a_call_inside_asks(self, pick, cost):
        outer = self.running[pick % len(self.running)]
        self.ask(Permit([cost], outer), outer)

    def leaves(self):
        """Calls that wait for none inside them."""
        return [permit for permit in self.running if not any(one in self.inside for one in self.inside[permit])]

    @precondition(lambda self: self.leaves())
    @rule(pick=picks, took=units)
    def a_call_ends(self, pick, took):
        leaves = self.leaves()
        permit = leaves[pick % len(leaves)]
        if self.exact:
            took = min(took, permit.costs[0])
        self.beyond += max(0.0, took - permit.costs[0])
        self.spent += took
        self.gone(permit, self.running, [took])

    @precondition(lambda self: self.waiting)
    @rule()
    def who_is_refused_goes(self):
        for permit in list(self.waiting):
            if permit in self.waiting and self.admission.beyond(permit) is not None:
                self.gone(permit, self.waiting, None)

    def gone(self, permit, where, took):
        where.remove(permit)
        del self.inside[permit]
        if took is not None:
            self.admission.settle(permit, took)
        self.admission.leave(permit)
        self.poll()

    @invariant()
    def it_is_overrun_by_no_more_than_calls_cost_beyond_their_estimate(self):
        if hasattr(self, "total"):
            assert self.total.spent == self.spent
            assert self.spent <= AMOUNT + self.beyond
            assert not (self.exact and self.spent > AMOUNT)

    @invariant()
    def somebody_runs_or_is_refused_or_nobody_waits(self):
        if hasattr(self, "total") and self.waiting and not self.leaves():
            refused = [permit for permit in self.waiting if self.admission.beyond(permit) is not None]
            assert refused, "everybody waits for somebody else for ever"

    def teardown(self):
        while hasattr(self, "total") and (self.waiting or self.running):
            before = len(self.waiting) + len(self.running)
            self.who_is_refused_goes()
            for permit in self.leaves():
                self.spent += permit.costs[0]
                self.gone(permit, self.running, [permit.costs[0]])
            assert len(self.waiting) + len(self.running) < before


TestTotals = TotalMachine.TestCase
TestTotals.settings = settings(stateful_step_count=30)


@given(st.lists(st.tuples(units, units), max_size=60), st.integers(1, 6))
def test_calls_of_one_crowd_overrun_it_by_what_those_under_way_cost_more(calls, at_once):
    """The bound to the last digit: what is settled when the last call starts, and what is under way then."""
    admission = Admission(at_once, [Rate(AMOUNT, math.inf, cost=len)])
    total, under_way, bound = admission.totals[0], [], AMOUNT
    for cost, took in calls:
        permit = Permit([cost])
        admission.ask(permit)
        admission.poll(0.0)
        while permit.state != RUNNING and not admission.take_up(permit, 0.0):
            if admission.beyond(permit) is not None or not under_way:
                break
            one, its = under_way.pop(0)
            admission.settle(one, [its])
            admission.leave(one)
            admission.poll(0.0)
        if permit.state != RUNNING:
            admission.leave(permit)
            continue
        permit.started = True
        under_way.append((permit, took))
        bound = max(bound, AMOUNT + sum(max(0.0, its - one.costs[0]) for one, its in under_way))
    for one, its in under_way:
        admission.settle(one, [its])
    assert total.spent <= bound
