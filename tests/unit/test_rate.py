"""A rate: its settings, its bucket's numbers, when units may start and what a settlement leaves, to the last digit."""

from __future__ import annotations

import dataclasses
import math

import pytest

from fanmap import Rate
from fanmap._policy.limits import rate as rate_module
from fanmap._policy.limits.rate import Bucket, check_cost, check_positive


def no_cost(*args):
    return 1.0


# Settings


def test_a_rate_is_a_minutes_unless_told_otherwise():
    rate = Rate(500)
    assert (rate.amount, rate.per, rate.burst, rate.cost, rate.usage) == (500, 60.0, None, None, None)


def test_a_rate_keeps_what_it_was_given():
    rate = Rate(500, 1, burst=3, cost=no_cost, usage=len)
    assert (rate.amount, rate.per, rate.burst, rate.cost, rate.usage) == (500, 1, 3, no_cost, len)


def test_two_rates_with_the_same_settings_are_equal_and_neither_can_be_changed():
    assert Rate(5, 1) == Rate(5, 1) != Rate(5, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Rate(5).amount = 6
    assert not hasattr(Rate(5), "__dict__")


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"amount": 0}, ValueError, "amount must be a finite number > 0, got 0"),
        ({"amount": "5"}, TypeError, "amount must be a number > 0, got '5'"),
        ({"amount": True}, TypeError, "amount must be a number > 0, got True"),
        ({"amount": 5, "per": -1}, ValueError, "per must be a finite number > 0, got -1"),
        ({"amount": 5, "burst": 0}, ValueError, "burst must be a finite number > 0, got 0"),
        ({"amount": 5, "burst": 6}, ValueError, "burst must be <= amount (5), got 6"),
        ({"amount": 5, "cost": 1}, TypeError, "cost must be callable or None, got 1"),
        ({"amount": 5, "usage": "u"}, TypeError, "usage must be callable or None, got 'u'"),
        ({"amount": 0.9}, ValueError, "amount must be >= 1 where a call costs 1, got 0.9: use a longer per="),
    ],
)
def test_settings_out_of_bounds_are_errors_when_they_are_made(settings, kind, message):
    with pytest.raises(kind) as caught:
        Rate(**settings)
    assert str(caught.value) == message


def test_settings_at_their_bounds_are_fine():
    assert Rate(1).amount == 1
    assert Rate(5, burst=5).burst == 5
    assert Rate(0.01, cost=no_cost).amount == 0.01
    assert check_positive("per", 1e-9) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0, 0.0, -1])
def test_a_number_that_is_not_finite_and_above_zero_is_an_error(value):
    with pytest.raises(ValueError, match="^total must be") as caught:
        check_positive("total", value)
    assert str(caught.value) == f"total must be a finite number > 0, got {value!r}"


# One call's cost


@pytest.mark.parametrize("cost", [0, 0.0, 0.5, 5, 5.0])
def test_a_cost_from_zero_to_the_amount_stands(cost):
    assert check_cost(Rate(5, cost=no_cost), cost) == cost


@pytest.mark.parametrize(
    ("cost", "kind", "message"),
    [
        (5.5, ValueError, "cost must be <= the rate's amount (5), got 5.5: it could never start"),
        pytest.param(
            10**5000,
            ValueError,
            "cost must be <= the rate's amount (5), got an int of 16610 bits: it could never start",
            id="too long to show",
        ),
        (-0.5, ValueError, "cost must be a finite number >= 0, got -0.5"),
        pytest.param(
            -(10**400), ValueError, "cost must be a finite number >= 0, got an int of 1329 bits", id="no float holds it"
        ),
        (math.nan, ValueError, "cost must be a finite number >= 0, got nan"),
        (math.inf, ValueError, "cost must be a finite number >= 0, got inf"),
        (True, TypeError, "cost must be a finite number >= 0, got bool"),
        ("the prompt", TypeError, "cost must be a finite number >= 0, got str"),
    ],
)
def test_any_other_cost_is_an_error_that_shows_no_users_data(cost, kind, message):
    with pytest.raises(kind) as caught:
        check_cost(Rate(5, cost=no_cost), cost)
    assert str(caught.value) == message


# The bucket's numbers


@pytest.mark.parametrize(
    ("rate", "burst", "per_second"),
    [
        (Rate(1, 60), 1, 1 / 60),
        (Rate(60, 60), 1, 1.0),
        (Rate(120, 60), 2, 119 / 60),  # a second's worth, less than 1 + 2 % of it
        (Rate(600, 60), 10, 591 / 60),
        (Rate(5000, 60), 83, 4918 / 60),
        (Rate(49, 1), 1, 49.0),
        (Rate(50, 1), 2, 49.0),  # 1 + 2 % of it
        (Rate(500, 1), 11, 490.0),
        (Rate(100, 0.5), 3, 196.0),
        (Rate(500, 60, burst=20), 20, 500 / 60),
        (Rate(600, 60, cost=no_cost), 10, 590 / 60),  # a second's worth
        (Rate(600, 1, cost=no_cost), 10, 590.0),  # a sixtieth
        (Rate(7200, 3600, cost=no_cost), 2, 7198 / 3600),
        (Rate(600, 60, cost=no_cost, burst=30), 30, 10.0),
    ],
)
def test_a_burst_and_what_comes_after_it(rate, burst, per_second):
    bucket = Bucket(rate)
    assert bucket.rate is rate
    assert bucket._interval == pytest.approx(1 / per_second, rel=1e-12)
    assert bucket._tau == pytest.approx(burst / per_second, rel=1e-12)


# When units may start


def test_a_bucket_that_was_never_used_is_full():
    assert Bucket(Rate(8, 8, burst=4)).earliest(-1e9, 8.0) == -1e9


def test_a_call_waits_for_what_it_costs_and_one_above_the_burst_for_a_full_bucket():
    bucket = Bucket(Rate(8, 8, burst=4))
    bucket.charge(100.0, 3.0)
    assert [bucket.earliest(100.0, cost) for cost in (0.0, 1.0, 2.0, 4.0, 5.0, 8.0)] == [
        100.0,
        100.0,
        101.0,
        103.0,
        103.0,
        103.0,
    ]
    assert bucket.earliest(102.5, 2.0) == 102.5


def test_a_unit_takes_as_long_as_the_rate_says():
    bucket = Bucket(Rate(8, 16, burst=4))
    bucket.charge(100.0, 3.0)
    assert [bucket.earliest(100.0, cost) for cost in (1.0, 2.0, 3.0, 4.0)] == [100.0, 102.0, 104.0, 106.0]
    bucket.charge(102.0, 2.0)
    assert bucket._tat == 110.0


def test_what_was_saved_beyond_a_full_bucket_is_lost():
    bucket = Bucket(Rate(8, 8, burst=4))
    bucket.charge(0.0, 4.0)
    bucket.charge(100.0, 4.0)
    assert bucket.earliest(100.0, 4.0) == 104.0


def test_a_charge_above_the_burst_is_a_debt():
    bucket = Bucket(Rate(8, 8, burst=4))
    bucket.charge(0.0, 8.0)
    assert bucket.earliest(0.0, 1.0) == 5.0


# Settlement


def test_a_grant_says_when_and_for_how_much_until_it_is_settled():
    bucket = Bucket(Rate(8, 8, burst=4))
    grant = bucket.charge(3.0, 2.0)
    assert (grant.at, grant.cost, grant.open) == (3.0, 2.0, True)
    bucket.settle(grant, 1.0)
    assert (grant.at, grant.cost, grant.open) == (3.0, 1.0, False)
    bucket.settle(grant, 8.0)
    assert grant.cost == 1.0


def test_settling_rewrites_what_came_after_on_what_came_before():
    bucket = Bucket(Rate(8, 8, burst=4))
    bucket.settle(bucket.charge(0.0, 2.0), 2.0)
    first, second, third = bucket.charge(1.0, 2.0), bucket.charge(1.0, 1.0), bucket.charge(10.0, 1.0)
    assert bucket._tat == 11.0
    bucket.settle(second, 12.0)  # 2 + 2 + 12 + 1
    assert bucket._tat == 17.0
    bucket.settle(first, 0.0)  # 2 + 12 + 1
    assert bucket._tat == 15.0
    bucket.settle(third, 3.0)
    assert bucket._tat == 17.0


def test_a_settlement_takes_as_long_a_unit_as_a_charge():
    bucket = Bucket(Rate(8, 16, burst=4))
    first, second = bucket.charge(0.0, 1.0), bucket.charge(0.0, 1.0)
    bucket.settle(first, 3.0)
    assert bucket._tat == 8.0
    bucket.settle(second, 2.0)
    assert bucket._tat == 10.0


def test_a_pause_before_what_was_settled_is_not_forgotten():
    bucket = Bucket(Rate(8, 8, burst=4))
    bucket.settle(bucket.charge(0.0, 1.0), 1.0)
    first, second = bucket.charge(10.0, 1.0), bucket.charge(10.0, 1.0)
    bucket.settle(first, 1.0)
    bucket.settle(second, 3.0)
    assert bucket._tat == 14.0


def test_what_cost_nothing_in_fact_was_never_there():
    bucket = Bucket(Rate(8, 8, burst=4))
    first, second = bucket.charge(0.0, 1.0), bucket.charge(5.0, 1.0)
    bucket.settle(second, 0.0)
    assert bucket._tat == 1.0
    bucket.settle(first, 0.0)
    assert bucket._tat == -math.inf
    assert bucket._base == -math.inf


def test_what_is_settled_in_order_is_not_kept():
    bucket = Bucket(Rate(8, 8, burst=4))
    grants = [bucket.charge(float(number), 1.0) for number in range(4)]
    kept = []
    for grant in (grants[1], grants[0], grants[3], grants[2]):
        bucket.settle(grant, 1.0)
        kept.append(len(bucket._open))
    assert kept == [4, 2, 2, 0]


def test_the_oldest_charge_stands_as_estimated_once_too_many_are_open(monkeypatch):
    monkeypatch.setattr(rate_module, "_MAX_OPEN", 3)
    bucket = Bucket(Rate(8, 8, burst=4))
    first, second, *_, last = [bucket.charge(0.0, 1.0) for _ in range(5)]
    bucket.settle(last, 1.0)
    assert len(bucket._open) == 3
    assert (first.open, second.open) == (False, False)
    bucket.settle(first, 4.0)
    assert bucket._tat == 5.0


def test_so_many_charges_may_be_open_as_a_busy_minute_has():
    assert rate_module._MAX_OPEN == 4096
