"""What was settled minus what was estimated is, on average, added to the next estimate."""

from __future__ import annotations

from fanmap._policy.tokens.learned import Correction


def test_nothing_is_added_until_something_is_settled() -> None:
    assert Correction().corrected(10.0, 1e9) == 10.0


def test_the_mean_of_the_differences_is_added() -> None:
    correction = Correction()
    for estimated, settled in ((10.0, 1000.0), (20.0, 20.0), (30.0, 330.0)):
        correction.learn(estimated, settled)
    assert correction.mean == 430.0
    assert correction.corrected(5.0, 1e9) == 435.0


def test_too_high_a_guess_is_lowered_and_never_below_nothing() -> None:
    correction = Correction()
    correction.learn(4000.0, 300.0)
    assert correction.corrected(4100.0, 1e9) == 400.0
    assert correction.corrected(10.0, 1e9) == 0.0


def test_no_more_is_charged_than_a_window_has() -> None:
    correction = Correction()
    correction.learn(10.0, 5000.0)
    assert correction.corrected(10.0, 600.0) == 600.0


def test_a_change_of_kind_is_followed_and_one_call_does_not_throw_it() -> None:
    correction = Correction()
    for _ in range(10_000):
        correction.learn(0.0, 100.0)
    assert correction.mean == 100.0
    correction.learn(0.0, 1100.0)
    assert correction.mean == 110.0
    for _ in range(500):
        correction.learn(0.0, 1000.0)
    assert 990.0 < correction.mean <= 1000.0
