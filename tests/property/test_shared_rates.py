"""A rate in a document, beside the library's own bucket that replays every charge."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.rate import Bucket, Rate
from fanmap._policy.shared import rates as state_of
from fanmap._policy.shared.document import RateState
from fanmap._policy.shared.rates import charge, earliest, replay
from fanmap._policy.shared.wanted import wanted

ROUNDING = 1e-6
rates = st.sampled_from([Rate(100, 60, cost=len), Rate(30, 5, cost=len), Rate(20, 10, burst=5, cost=len), Rate(7, 3)])


def pair(rate):
    """The same rate, in a document and in a bucket."""
    (setting,) = wanted(Adaptive(), [rate]).rates
    state = RateState(setting.what, setting.per, setting.amount, setting.burst, setting.refill, setting.late)
    bucket = Bucket(rate)
    bucket._interval, bucket._tau = 1 / setting.refill, setting.burst / setting.refill
    return state, bucket


def settle(state, at, more):
    state_of.settle(state, at, more)
    replay(state)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.floats(0, 10), st.floats(0.0, 12.0)),
        st.tuples(st.just("settle"), st.integers(0, 10**6), st.floats(0.0, 20.0)),
    ),
    max_size=150,
)


@given(rates, steps)
def test_a_start_is_never_earlier_than_the_exact_replay_has_it(rate, steps):
    state, bucket = pair(rate)
    now, open_ones = 0.0, []
    for kind, first, second in steps:
        if kind == "start":
            now = earliest(state, now + first * rate.per / 60, second)
            assert now >= bucket.earliest(now, second) - ROUNDING
            charge(state, now, second)
            open_ones.append((bucket.charge(now, second), now, second))
        elif open_ones:
            grant, at, cost = open_ones.pop(first % len(open_ones))
            settle(state, at, second - cost)
            bucket.settle(grant, second)
        assert max(state.tat, now) >= bucket._tat - ROUNDING
        assert len(state.cells) <= 240


@given(rates, st.lists(st.floats(0.1, 1.0), min_size=1, max_size=40))
@example(Rate(7, 3), [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.875, 0.375, 1.0, *[0.5] * 7])
def test_what_is_given_back_of_the_last_start_comes_back_but_for_the_width_of_a_cell(rate, costs):
    state, _ = pair(rate)
    now = 0.0
    for number, cost in enumerate(costs):
        now = max(now, earliest(state, now, cost)) + rate.per / 50
        before = state.tat
        charge(state, now, cost)
        settle(state, now, -cost)
        put_together = rate.cost is None and number >= 16  # starts have 16 cells, and older ones are wider
        width = 1 / 2 if put_together else 1 / 8
        assert state.tat <= max(before, now) + width * state.burst / state.refill + ROUNDING
        charge(state, now, cost)


@pytest.mark.parametrize(
    "calls_at_once", [1, *(pytest.param(many, marks=pytest.mark.whole) for many in (20, 100)), 300]
)
def test_under_steady_demand_estimates_that_are_too_high_cost_no_more_than_in_the_exact_replay(calls_at_once):
    def units(earliest, charge, settle):
        now, took, running = 0.0, 0.0, []
        while now < 600.0:
            now = earliest(now, 2.0)
            running.append((now, charge(now, 2.0)))
            if len(running) > calls_at_once:  # each takes half of what it was charged, and is answered in its turn
                settle(*running.pop(0))
            took += 1.0
        return took

    state, bucket = pair(Rate(600, 60, cost=len))
    ours = units(
        lambda now, cost: earliest(state, now, cost),
        lambda now, cost: charge(state, now, cost),
        lambda at, _: settle(state, at, -1.0),
    )
    exact = units(bucket.earliest, bucket.charge, lambda _, grant: bucket.settle(grant, 1.0))
    assert 0.97 * exact <= ours <= exact
