"""Counts that one thread writes: added up, also when those who wrote them are no more."""

from __future__ import annotations

from fanmap._types import Retired, Tally


def tally(number):
    made = Tally()
    made.started, made.done, made.busy, made.tokens_in = 2, 1, 0.5, number
    made.note(number, float(number))
    return made


def test_of_many_that_are_no_more_nothing_is_lost_and_few_are_kept():
    retired = Retired()
    for number in range(1000):
        retired.take(tally(number))
    assert len(retired._kept) <= 33
    total = retired.and_of([tally(1000)])
    assert (total.started, total.done, total.busy, total.tokens_in) == (2002, 1001, 500.5, 500_500)
    assert total.slowest == [(1000.0, 1000), (999.0, 999), (998.0, 998), (997.0, 997), (996.0, 996)]


def test_asking_changes_nothing():
    retired = Retired()
    retired.take(tally(1))
    assert [retired.and_of(()).done for _ in range(3)] == [1, 1, 1]
