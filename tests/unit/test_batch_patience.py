"""How long a batch job waits, with exact numbers."""

from __future__ import annotations

from itertools import islice

import pytest

from fanmap._policy.batch.patience import Patience


def test_looks_come_apart_from_five_seconds_to_three_hundred():
    delays = list(islice(Patience(None, None).delays(), 13))
    assert delays[:4] == [5.0, 7.5, 11.25, 16.875]
    assert delays[10:] == [pytest.approx(5 * 1.5**10), 300.0, 300.0]


def test_a_poll_that_was_asked_for_is_kept():
    assert list(islice(Patience(None, 2.0).delays(), 3)) == [2.0, 2.0, 2.0]


def test_who_never_wants_to_go_waits_as_long_as_it_takes():
    patience = Patience(None, None)
    assert not patience.is_over(1e9)
    assert patience.at_most(40.0, 1e9) == 40.0
    assert [patience.after_failures(count, 0.0) for count in (1, 2, 3, 7, 12)] == [5.0, 10.0, 20.0, 300.0, 300.0]
    assert patience.most_failures(1e9) == 12


def test_nobody_is_kept_beyond_the_time_at_which_they_want_to_go():
    patience = Patience(100.0, None)
    assert [patience.is_over(now) for now in (99.9, 100.0, 100.1)] == [False, True, True]
    assert [patience.at_most(40.0, now) for now in (50.0, 70.0, 100.0, 120.0)] == [40.0, 30.0, 0.0, 0.0]
    assert [patience.after_failures(6, now) for now in (0.0, 10.0)] == [100.0, 90.0]
    assert [patience.after_failures(1, now) for now in (0.0, 99.0)] == [5.0, 5.0]  # none is repeated at once
    assert [patience.most_failures(now) for now in (99.9, 100.0)] == [12, 3]


def test_failures_are_repeated_as_often_as_looks_were_asked_for():
    assert [Patience(None, 0.01).after_failures(count, 0.0) for count in (1, 2, 3)] == [0.01, 0.02, 0.04]
