"""A rate, in exact arithmetic: no window holds more than it may, and a settlement rewrites history exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanmap._policy.limits.rate import Bucket, Rate

gaps = st.fractions(0, 3, max_denominator=16)


def exact(rate: Rate) -> Bucket:
    """The bucket of this rate without rounding: its floats are those of small fractions."""
    bucket = Bucket(rate)
    bucket._interval = Fraction(bucket._interval).limit_denominator(10**6)
    bucket._tau = Fraction(bucket._tau).limit_denominator(10**6)
    return bucket


def burst_of(bucket):
    return bucket._tau / bucket._interval


def starts(bucket, arrivals):
    """(time, cost) of each start when calls arrive with these gaps, first come first served."""
    now, free, result = Fraction(0), Fraction(0), []
    for gap, cost in arrivals:
        now += gap
        free = bucket.earliest(max(now, free), cost)
        bucket.charge(free, cost)
        result.append((free, cost))
    return result


def fullest(started, per):
    """The most units in any half-open window [t, t + per)."""
    return max((sum(cost for at, cost in started if first <= at < first + per) for first, _ in started), default=0)


rates = st.builds(Rate, st.integers(1, 200), st.sampled_from([1, 2, 7, 60]))


@given(rates, st.lists(st.tuples(gaps, st.just(Fraction(1))), max_size=80))
def test_no_window_holds_more_calls_than_the_amount(rate, arrivals):
    assert fullest(starts(exact(rate), arrivals), rate.per) <= rate.amount


@pytest.mark.parametrize("per", [1, 60])
@pytest.mark.parametrize("amount", [1, 49, 50, 200, pytest.param(500, marks=pytest.mark.whole)])
def test_a_crowd_after_a_pause_fills_its_window_and_not_more(amount, per):
    crowd = [(Fraction(0), Fraction(1))] * (amount + amount // 50 + 2)
    assert fullest(starts(exact(Rate(amount, per)), crowd), per) == amount


@given(
    st.integers(1, 20), st.sampled_from([1, 7]), st.data(), st.lists(st.tuples(gaps, st.just(Fraction(1))), max_size=80)
)
def test_a_users_own_burst_weakens_the_window_by_itself_less_one(amount, per, data, arrivals):
    burst = data.draw(st.integers(1, amount))
    bucket = exact(Rate(amount, per, burst=burst))
    assert fullest(starts(bucket, arrivals), per) <= amount + burst - 1


def costly(amount, per):
    return Rate(amount, per, cost=lambda: 1.0)


costly_rates = st.builds(costly, st.sampled_from([0.5, 1, 2, 7, 200]), st.sampled_from([1, 2, 7, 60, 3600]))


@given(costly_rates, st.data())
def test_with_costs_no_window_holds_more_than_the_amount_and_one_call(rate, data):
    costs = st.fractions(0, Fraction(rate.amount), max_denominator=12)
    arrivals = data.draw(st.lists(st.tuples(gaps, costs), min_size=1, max_size=40))
    started = starts(exact(rate), arrivals)
    assert fullest(started, rate.per) <= rate.amount + max(cost for _, cost in started)


@pytest.mark.parametrize("amount", [1, 7, 50, 500, 2000])
def test_steady_demand_gets_98_percent_of_it(amount):
    bucket = Bucket(Rate(amount, 1))
    now, count = 0.0, 0
    while now < 20:
        now = bucket.earliest(now, 1.0)
        bucket.charge(now, 1.0)
        count += 1
    assert count >= 0.98 * 20 * amount


@pytest.mark.parametrize("cost", [pytest.param(0.01, marks=pytest.mark.whole), 1.0, 40.0])
def test_steady_demand_with_costs_gets_98_percent_of_it(cost):
    bucket = Bucket(Rate(50, 1, cost=lambda: cost))
    now, spent = 0.0, 0.0
    while now < 100:
        now = bucket.earliest(now, cost)
        bucket.charge(now, cost)
        spent += cost
    assert spent >= 0.98 * 100 * 50


@given(rates, st.lists(st.tuples(gaps, st.just(Fraction(1))), max_size=20), st.data())
def test_a_call_costlier_than_the_bucket_waits_for_a_full_one_and_then_goes_into_debt(rate, arrivals, data):
    bucket = exact(rate)
    now = max((at for at, _ in starts(bucket, arrivals)), default=Fraction(0))
    burst = burst_of(bucket)
    cost = data.draw(st.fractions(burst, max(burst, rate.amount), max_denominator=4))
    at = bucket.earliest(now, cost)
    assert at == bucket.earliest(now, burst)  # full, and not a moment later
    bucket.charge(at, cost)
    assert bucket.earliest(at, Fraction(1)) >= at + (cost - burst + 1) * bucket._interval


steps = st.lists(
    st.one_of(
        st.tuples(st.just("charge"), gaps, st.fractions(0, 5, max_denominator=4)),
        st.tuples(st.just("settle"), st.integers(0, 30), st.fractions(0, 8, max_denominator=4)),
    ),
    max_size=60,
)


@given(st.builds(Rate, st.integers(5, 50), st.sampled_from([1, 7])), steps)
def test_settling_is_having_charged_the_actual_when_it_was_granted(rate, steps):
    bucket, now = exact(rate), Fraction(0)
    grants, truth = [], []  # truth: [time, cost as now known, settled?]
    for what, one, other in steps:
        if what == "charge":
            now = bucket.earliest(now + one, other)
            grants.append(bucket.charge(now, other))
            truth.append([now, other, False])
        elif grants:
            place = one % len(grants)
            bucket.settle(grants[place], other)
            if not truth[place][2]:  # a second time is nothing
                truth[place][1:] = other, True
        fresh = exact(rate)
        for at, cost, _ in truth:
            if cost:
                fresh.charge(at, cost)
        for cost in (Fraction(1, 4), Fraction(1), Fraction(5)):
            assert bucket.earliest(now, cost) == fresh.earliest(now, cost)
