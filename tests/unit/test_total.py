"""A total that never refills: what may start, what waits for a settlement, and when it is over."""

from __future__ import annotations

import math

import pytest

from fanmap import Rate
from fanmap._policy.limits.admission import Admission
from fanmap._policy.limits.permit import RUNNING, SLOTTED, Permit
from fanmap._policy.limits.total import Total
from fanmap._policy.tokens.learned import Correction


def total(amount: float = 10.0) -> Total:
    return Total(Rate(amount, math.inf))


def test_calls_start_while_their_cost_fits_beside_what_is_held_and_spent() -> None:
    budget = total()
    grants = [budget.charge(0.0, 4.0), budget.charge(0.0, 4.0)]
    assert budget.earliest(5.0, 2.0) == 5.0
    assert budget.earliest(5.0, 2.1) == math.inf
    budget.settle(grants[0], 1.0)
    assert budget.earliest(5.0, 5.0) == 5.0
    assert budget.earliest(5.0, 5.1) == math.inf
    assert budget.spent == 1.0


def test_it_is_over_for_what_does_not_fit_beside_what_is_settled_alone() -> None:
    budget = total()
    grant = budget.charge(0.0, 9.0)
    assert budget.earliest(0.0, 2.0) == math.inf
    assert not budget.beyond(2.0)
    budget.settle(grant, 9.0)
    assert budget.beyond(2.0)
    assert not budget.beyond(1.0)
    budget.settle(budget.charge(0.0, 1.0), 1.0)
    assert budget.beyond(0.0)  # nothing is left, whatever it costs


def test_a_settlement_counts_once() -> None:
    budget = total()
    grant = budget.charge(0.0, 3.0)
    budget.settle(grant, 3.0)
    budget.settle(grant, 3.0)
    assert budget.spent == 3.0
    assert budget.earliest(0.0, 7.0) == 0.0


def test_a_call_that_was_never_made_costs_nothing() -> None:
    budget = total()
    budget.settle(budget.charge(0.0, 3.0), 0.0)
    assert budget.earliest(0.0, 10.0) == 0.0


def test_cents_add_up_to_the_amount() -> None:
    budget = total(1.0)
    for _ in range(100):
        assert budget.earliest(0.0, 0.01) == 0.0
        budget.settle(budget.charge(0.0, 0.01), 0.01)
    assert budget.earliest(0.0, 0.01) == math.inf
    assert budget.beyond(0.01)


def test_nothing_is_left_over_of_held_costs() -> None:
    budget = total(1.0)
    grants = [budget.charge(0.0, 0.1) for _ in range(3)]
    for grant in grants:
        budget.settle(grant, 0.0)
    assert budget.earliest(0.0, 1.0) == 0.0


def test_a_larger_amount_goes_on() -> None:
    budget = total(1.0)
    budget.settle(budget.charge(0.0, 1.0), 1.5)
    assert budget.beyond(0.1)
    budget.resize(Rate(3.0, math.inf), 0.0)
    assert budget.earliest(0.0, 1.5) == 0.0
    assert budget.earliest(0.0, 1.6) == math.inf


def test_a_rate_whose_window_never_ends_is_a_total() -> None:
    assert repr(Rate(100, math.inf)) == "Rate(100, inf)"
    for per in (0, -1, math.nan, -math.inf):
        with pytest.raises(ValueError, match="per must be"):
            Rate(100, per)
    with pytest.raises(ValueError, match="burst must be None where per is infinite"):
        Rate(100, math.inf, burst=5)


def test_where_nobody_can_guess_each_is_charged_the_mean_of_what_was_settled_as_it_is_then():
    budget = total()
    usual = budget.usual = Correction()
    grants = [budget.charge(0.0, 0.0) for _ in range(3)]
    usual.learn(0.0, 4.0)
    budget.settle(grants[0], 4.0)
    usual.learn(0.0, 2.0)
    budget.settle(grants[1], 2.0)
    assert budget.charge(0.0, 0.0).cost == 3.0
    assert budget.earliest(0.0, 0.0) == math.inf  # 6 spent, 3 held
    assert not budget.beyond(0.0)
    budget.settle(grants[2], 2.0)
    assert budget.beyond(0.0)  # 8 spent, 3 more are usual


def test_a_usual_cost_above_the_whole_amount_is_the_whole_amount():
    budget = total(1.0)
    budget.usual = Correction()
    budget.usual.learn(0.0, 5.0)
    assert budget.earliest(0.0, 0.0) == 0.0
    assert budget.charge(0.0, 0.0).cost == 1.0


def test_of_one_that_is_closed_nothing_can_be_taken():
    budget = total()
    budget.closed = True
    assert budget.beyond(0.0)
    assert budget.earliest(0.0, 0.0) == math.inf


# In admission


def asked(admission, cost, parent=None):
    permit = Permit([cost], parent)
    admission.ask(permit)
    for appointed in admission.poll(0.0):
        assert admission.take_up(appointed, 0.0)
        appointed.started = True
    return permit


def test_a_call_that_may_still_fit_waits_and_one_that_will_not_is_over():
    admission = Admission(8, [Rate(10, math.inf, cost=len)])
    first, second = asked(admission, 6.0), asked(admission, 6.0)
    assert (first.state, second.state) == (RUNNING, SLOTTED)
    assert admission.beyond(second) is None
    assert admission.patience(second, 0.0) == 0.5  # whatever is settled wakes it, unless nobody is left to settle
    admission.settle(first, [4.0])
    admission.leave(first)
    assert admission.poll(0.0) == [second]
    third = asked(admission, 6.1)
    assert admission.beyond(third) is admission.totals[0]


def test_a_call_does_not_wait_for_the_one_that_it_runs_in():
    admission = Admission(8, [Rate(10, math.inf, cost=len)])
    outer = asked(admission, 6.0)
    inner = asked(admission, 6.0, outer)
    assert inner.state == SLOTTED
    assert admission.beyond(inner) is admission.totals[0]


def test_two_calls_that_hold_what_the_calls_inside_them_wait_for():
    admission = Admission(8, [Rate(10, math.inf, cost=len)])
    outer, other = asked(admission, 4.0), asked(admission, 4.0)
    inner = asked(admission, 4.0, outer)
    assert admission.beyond(inner) is None  # the other may settle
    another = asked(admission, 4.0, other)
    assert admission.beyond(another) is admission.totals[0]  # now nobody will
    admission.leave(another)
    assert admission.beyond(inner) is None


def test_what_is_set_aside_is_spent_to_calls_and_settles_apart() -> None:
    budget = total()
    budget.aside = 6.0
    assert budget.earliest(0.0, 4.0) == 0.0
    assert budget.earliest(0.0, 4.1) == math.inf
    assert budget.beyond(4.1)  # for they would wait for a batch
    grant = budget.charge(0.0, 3.0)
    assert (budget.gone, budget.held) == (6.0, 3.0)
    budget.settle(grant, 1.0)
    budget.spent, budget.aside = budget.spent + 2.0, 0.0
    assert (budget.gone, budget.held) == (3.0, 0.0)
    assert not budget.beyond(7.0)
