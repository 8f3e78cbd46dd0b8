"""How long it takes until one more may wait, from what calls took so far."""

from __future__ import annotations

import pytest

from fanmap._policy.limits.door import Door, Pace


def test_a_door_is_undecided_at_first():
    door = Door()
    assert not door.let_in
    assert not door.turned_away


def test_a_place_is_free_when_one_of_the_slots_is():
    pace = Pace()
    for seconds in (1.0, 2.0, 3.0):
        pace.took(seconds)
    assert pace.one_place(4, [9.0]) == 0.5


def test_before_a_call_has_ended_those_under_way_tell():
    assert Pace().one_place(4, [1.0, 3.0]) == 0.5
    assert Pace().one_place(4, [2.0]) == 0.5
    assert Pace().one_place(4, []) == 0.0


def test_the_last_fifty_calls_count_most():
    pace = Pace()
    for _ in range(1000):
        pace.took(10.0)
    for _ in range(50):
        pace.took(1.0)
    assert pace.one_place(1, []) == pytest.approx(1.0 + 9.0 * (49 / 50) ** 50)


def test_no_slot_at_all_is_one_that_comes_back():
    pace = Pace()
    pace.took(2.0)
    assert pace.one_place(0, []) == 2.0
