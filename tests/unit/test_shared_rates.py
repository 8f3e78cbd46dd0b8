"""A rate in a document, to the last digit: when units may start, and what a settlement leaves of a charge."""

from __future__ import annotations

import pytest

from fanmap._policy.shared.document import NEVER, REQUESTS, TOKENS, RateState
from fanmap._policy.shared.rates import charge, earliest, replay, settle


def rate_of(what=TOKENS, *, per=64.0, burst=8.0, refill=2.0):
    """Fills in 4 s: cells are half a second wide, old ones 2 s."""
    return RateState(what, per, 100.0, burst, refill, 0.3)


def settled(rate, at, more):
    settle(rate, at, more)
    replay(rate)
    return rate.tat


def test_a_full_bucket_starts_its_burst_at_once():
    rate = rate_of()
    for _ in range(8):
        assert earliest(rate, 10.0, 1.0) == 10.0
        charge(rate, 10.0, 1.0)
    assert rate.tat == 14.0
    assert earliest(rate, 10.0, 1.0) == 10.5
    assert earliest(rate, 11.0, 1.0) == 11.0


def test_more_than_the_burst_waits_for_a_full_bucket_and_goes_into_debt():
    rate = rate_of()
    charge(rate, 10.0, 2.0)
    assert earliest(rate, 10.0, 20.0) == 11.0
    charge(rate, 11.0, 20.0)
    assert rate.tat == 21.0
    assert earliest(rate, 11.0, 1.0) == 17.5
    assert rate.most == 20.0
    charge(rate, 30.0, 3.0)
    assert (rate.tat, rate.most) == (31.5, 20.0)


def test_charges_close_together_share_a_cell_at_the_latest():
    rate = rate_of()
    for at in (10.0, 10.25, 10.49, 10.5, 10.6, 11.1):
        charge(rate, at, 1.0)
    assert rate.cells == [[10.49, 3.0], [10.6, 2.0], [11.1, 1.0]]


def test_a_settlement_replays_the_cells():
    rate = rate_of()
    charge(rate, 10.0, 4.0)
    charge(rate, 11.0, 4.0)
    assert rate.tat == 14.0
    assert settled(rate, 10.0, -3.0) == 13.0  # the bucket was full at 11: half a second of it is lost
    assert rate.cells == [[10.0, 1.0], [11.0, 4.0]]
    assert settled(rate, 11.0, -4.0) == 10.5  # a cell of nothing moves nothing
    assert settled(rate, 10.0, -9.0) == NEVER
    assert rate.cells == [[10.0, 0.0], [11.0, 0.0]]


def test_more_than_was_charged_is_never_more_than_that():
    rate = rate_of()
    charge(rate, 10.0, 4.0)
    assert settled(rate, 10.0, 2.0) == 13.0
    charge(rate, 20.0, 1.0)
    assert settled(rate, 10.0, 6.0) == 20.5  # the bucket has been full since
    charge(rate, 21.0, 1.0)
    assert rate.cells[0] == [10.0, 12.0]
    assert settled(rate, 21.0, 1.0) == 22.0


def test_a_settlement_within_a_cell_is_one_of_the_whole_cell():
    rate = rate_of()
    charge(rate, 10.0, 4.0)
    charge(rate, 10.4, 4.0)
    assert settled(rate, 10.0, -2.0) == 13.4  # as if all had been charged at 10.4
    assert rate.cells == [[10.4, 6.0]]


def test_what_was_put_into_the_base_is_charged_there_and_not_given_back():
    rate = rate_of()
    rate.base, rate.since = 9.0, 10.0
    charge(rate, 11.0, 4.0)
    rate.tat = 13.5
    assert settled(rate, 10.0, -2.0) == 13.0  # what it was charged is not among the cells
    assert (rate.cells, rate.base) == ([[11.0, 4.0]], 9.0)
    assert settled(rate, 10.0, 6.0) == 14.0
    assert (rate.cells, rate.base) == ([[11.0, 4.0]], 12.0)
    assert settled(rate, 10.5, -3.0) == 12.5
    empty = rate_of()
    assert settled(empty, 1.0, -2.0) == NEVER


@pytest.mark.parametrize(("per", "kept"), [(64.0, 192.0), (10.0, 60.0)])
def test_starts_are_forgotten_after_three_windows_and_a_minute(per, kept):
    rate = rate_of(per=per)
    charge(rate, 10.0, 3.0)
    charge(rate, 10.0 + kept, 1.0)
    assert len(rate.cells) == 2
    charge(rate, 11.0 + kept, 1.0)
    assert rate.cells == [[10.0 + kept, 1.0], [11.0 + kept, 1.0]]
    assert (rate.base, rate.since) == (11.5, 10.0)


def test_old_cells_are_put_together_as_long_as_they_fit_into_half_a_bucket():
    rate = rate_of(REQUESTS)
    for step in range(16):
        charge(rate, 10.0 + step, 1.0)
    assert len(rate.cells) == 16
    charge(rate, 26.0, 1.0)
    assert len(rate.cells) == 16
    assert rate.cells[:2] == [[11.0, 2.0], [12.0, 1.0]]
    assert (rate.base, rate.since) == (NEVER, NEVER)
    charge(rate, 27.0, 1.0)
    assert rate.cells[:3] == [[11.0, 2.0], [13.0, 2.0], [14.0, 1.0]]
    for step in range(6):
        charge(rate, 28.0 + step, 1.0)
    assert rate.cells[:8] == [[11.0 + 2 * step, 2.0] for step in range(8)]
    charge(rate, 34.0, 1.0)  # none of the older half fit together any more
    assert rate.cells[:8] == [[13.0 + 2 * step, 2.0] for step in range(7)] + [[26.0, 1.0]]
    assert (rate.base, rate.since) == (12.0, 11.0)


def test_what_can_be_settled_has_more_cells():
    rate = rate_of()
    for step in range(500):
        charge(rate, 10.0 + 0.5 * step, 1.0)
    assert len(rate.cells) == 240
