"""The limits that a server tells, followed: what changes, what is noise, and what a bucket makes of a change."""

from __future__ import annotations

import pytest

from fanmap._policy.limits.followed import UNLIMITED, Followed
from fanmap._policy.limits.quotas import Quota, Unit
from fanmap._policy.limits.rate import Bucket, Rate
from fanmap._policy.tokens.token_rates import counted, input_rate, is_tokens, output_rate, token_rate
from fanmap._policy.tokens.usage import Taken
from fanmap._usage import Usage


def quota(unit: Unit, limit: float, per: float = 60.0, *, sure: bool = True) -> Quota:
    return Quota(unit, limit, per, None, sure)


def changed(followed: Followed, *quotas: Quota) -> list[tuple[int, float, float]]:
    return [(place, rate.amount, rate.per) for place, rate in followed.told(quotas)]


def test_nothing_binds_until_the_server_has_told() -> None:
    followed = Followed(0, requests=True, tokens=True)
    assert followed.untold
    assert [rate.amount for rate in followed.rates] == [UNLIMITED] * 3
    assert followed.missing() == ["rpm", "tpm"]
    bucket = Bucket(followed.rates[0])
    for _ in range(1000):
        bucket.charge(0.0, 1.0)
    assert bucket.earliest(0.0, 1.0) == pytest.approx(0.0, abs=1e-9)


def test_what_is_told_takes_the_place_of_its_unit() -> None:
    followed = Followed(2, requests=True, tokens=True)
    assert changed(followed, quota("requests", 500), quota("tokens", 30_000)) == [(2, 500, 60), (3, 30_000, 60)]
    assert not followed.untold
    assert followed.missing() == []


def test_input_and_output_told_apart_are_two_rates() -> None:
    followed = Followed(0, requests=False, tokens=True)
    assert changed(followed, quota("input tokens", 30_000), quota("output tokens", 8_000)) == [
        (0, 30_000, 60),
        (1, 8_000, 60),
    ]
    assert [rate.usage for rate in followed.rates] == [input_rate(1).usage, output_rate(1).usage]


def test_only_news_are_news() -> None:
    followed = Followed(0, requests=True, tokens=False)
    first = quota("requests", 500)
    assert followed.news([first])
    changed(followed, first)
    assert not followed.news([first])
    assert not followed.news([quota("tokens", 7)])
    assert not followed.news([])
    assert changed(followed, first) == []
    assert followed.news([quota("requests", 400)])
    assert changed(followed, quota("requests", 400)) == [(0, 400, 60)]


def test_an_answer_without_any_ends_the_waiting() -> None:
    followed = Followed(0, requests=True, tokens=False)
    assert followed.news([])
    assert changed(followed) == []
    assert not followed.untold
    assert followed.missing() == ["rpm"]


def test_a_window_is_a_minutes_until_an_answer_tells_and_then_what_it_told() -> None:
    followed = Followed(0, requests=True, tokens=False)
    assert changed(followed, quota("requests", 14_400, sure=False)) == [(0, 14_400, 60)]
    assert changed(followed, quota("requests", 14_400, 86_400.0)) == [(0, 14_400, 86_400)]
    assert changed(followed, quota("requests", 14_400, sure=False)) == []
    assert changed(followed, quota("requests", 1_000, sure=False)) == [(0, 1_000, 86_400)]


def test_a_window_that_wavers_is_noise() -> None:
    followed = Followed(0, requests=True, tokens=False)
    changed(followed, quota("requests", 1_000, 7_200.0))
    assert changed(followed, quota("requests", 1_000, 7_500.0)) == []
    assert changed(followed, quota("requests", 1_000, 9_000.0)) == [(0, 1_000, 9_000)]


@pytest.mark.parametrize(("per", "amount"), [(60.0, 1200.0), (60.0, 60.0), (120.0, 600.0)])
def test_a_bucket_that_is_resized_keeps_what_was_taken(per: float, amount: float) -> None:
    """As if every charge that is still open had been made in a bucket of the new size."""
    bucket, new = Bucket(Rate(600.0)), Bucket(Rate(amount, per))
    grants = [bucket.charge(0.0, 1.0) for _ in range(50)]
    for _ in grants:
        new.charge(0.0, 1.0)
    bucket.resize(Rate(amount, per), 0.0)
    assert bucket.earliest(0.0, 1.0) == pytest.approx(new.earliest(0.0, 1.0))
    for grant in grants:
        bucket.settle(grant, 1.0)
    assert bucket.earliest(0.0, 1.0) == pytest.approx(new.earliest(0.0, 1.0))


def test_debt_that_is_settled_is_as_many_units_of_the_new_size() -> None:
    bucket = Bucket(Rate(60.0, burst=1.0))  # one a second
    bucket.settle(bucket.charge(0.0, 1.0), 11.0)
    assert bucket.earliest(0.0, 1.0) == pytest.approx(11.0)
    bucket.resize(Rate(600.0, burst=1.0), 1.0)  # ten units are owed, at ten a second
    assert bucket.earliest(1.0, 1.0) == pytest.approx(2.0)


def test_the_first_call_of_a_followed_rate_counts_in_it() -> None:
    bucket = Bucket(Rate(UNLIMITED))
    bucket.charge(0.0, 1.0)
    bucket.resize(Rate(60.0, burst=1.0), 0.5)
    assert bucket.earliest(0.5, 1.0) == pytest.approx(1.0)


def test_what_counts_of_a_response_where_input_and_output_are_apart() -> None:
    taken = Taken(Usage(105, 100, 7), free=100)
    rates = token_rate(1e6), input_rate(1e6), output_rate(1e6)
    assert [counted(rate, taken) for rate in rates] == [12.0, 5.0, 7.0]
    result = {"usage": {"input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 7}}
    assert [rate.usage(result) for rate in rates if rate.usage] == [12.0, 5.0, 7.0]
    assert [rate.usage("text") for rate in rates if rate.usage] == [None, None, None]
    assert [rate.cost("x" * 40, max_tokens=50) for rate in rates if rate.cost] == [60.0, 10.0, 0.0]
    assert all(map(is_tokens, rates))
    assert not is_tokens(Rate(1e6, cost=len, usage=rates[0].usage))
