"""Counts that one thread writes: added up, also when those who wrote them are no more."""

from __future__ import annotations

import pytest

from fanmap._drive.limits.tally import Retired, Tally


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
    total = retired.total_with(lambda: [tally(1000)])
    assert (total.started, total.done, total.busy, total.tokens_in) == (2002, 1001, 500.5, 500_500)
    assert total.slowest == [(1000.0, 1000), (999.0, 999), (998.0, 998), (997.0, 997), (996.0, 996)]


def test_asking_changes_nothing():
    retired = Retired()
    retired.take(tally(1))
    assert [retired.total_with(list).done for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("many", [0, 31, 32, 33, 1000])
def test_counts_that_are_just_being_taken_are_counted_once(many):
    """Whoever asks waits for nobody, and may come between the taking and the striking off the list."""
    retired, live = Retired(), [tally(7), tally(8)]
    for number in range(many):
        retired.take(tally(number))
    assert retired.total_with(lambda: live).done == many + 2
    for one in list(live):
        retired.take(one)
        assert retired.total_with(lambda: live).done == many + 2
        live.remove(one)
        assert retired.total_with(lambda: live).done == many + 2


def test_who_asks_while_counts_are_taken_looks_again():
    retired, live = Retired(), [tally(number) for number in range(5)]
    ending = list(live)

    def look():
        before = list(live)
        if ending:
            one = ending.pop()
            retired.take(one)
            live.remove(one)
        return before

    assert retired.total_with(look).done == 5
    assert (ending, live) == ([], [])


def test_and_comes_to_an_end_where_they_always_are():
    retired = Retired()
    assert retired.total_with(lambda: [retired.take(tally(1))][:0]).done >= 100
