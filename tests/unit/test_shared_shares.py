"""Slots among processes: max-min, and the odd one that goes round."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanmap._policy.shared.document import NEVER, MemberState, Settings
from fanmap._policy.shared.shares import Share, fill, grant, shares

NO_SETTINGS = Settings(1, 1, 1)


def member(number, want=(0, 0), allow=0, odd=NEVER, turn=0.0):
    return MemberState(number, NO_SETTINGS, turn, want=list(want), allow=allow, odd=odd)


def targets(members, slots, now=100.0, turn=0):
    return [share.target for share in shares(members, slots, now, turn)]


@pytest.mark.parametrize(
    ("wants", "slots", "expected"),
    [
        ([], 5, (5, 0)),
        ([3], 5, (5, 0)),
        ([5], 5, (5, 0)),
        ([6], 5, (5, 0)),
        ([2, 2], 4, (4, 0)),
        ([9, 9], 4, (2, 0)),
        ([9, 9], 5, (2, 1)),
        ([1, 9, 9], 6, (2, 1)),
        ([9, 1, 9], 6, (2, 1)),
        ([1, 1, 1], 2, (0, 2)),
        ([0, 0, 7], 3, (3, 0)),
        ([4, 4], 0, (0, 0)),
    ],
)
def test_how_far_everybody_can_be_filled(wants, slots, expected):
    assert fill(wants, slots) == expected


@given(st.lists(st.integers(0, 20), max_size=9), st.integers(0, 40))
def test_filling_uses_every_slot_and_no_more(wants, slots):
    level, odd = fill(wants, slots)
    given = sum(min(want, level) for want in wants)
    assert given + odd == min(slots, sum(wants))
    assert odd == 0 or odd < sum(want > level for want in wants)


def test_everybody_has_what_it_wants_where_there_is_enough():
    assert targets([member(1, (3, 0)), member(2, (2, 0))], 8) == [3, 2]


def test_the_background_has_what_the_foreground_leaves():
    assert targets([member(1, (3, 5)), member(2, (0, 5))], 7) == [5, 2]
    assert targets([member(1, (3, 5)), member(2, (4, 5))], 7) == [3, 4]
    assert targets([member(1, (9, 5)), member(2, (9, 5))], 8) == [4, 4]


def test_who_has_the_turn_has_a_slot_before_the_foreground():
    members = [member(1, (9, 0)), member(2, (0, 9)), member(3, (2, 1))]
    assert targets(members, 6) == [4, 0, 2]
    assert targets(members, 6, turn=2) == [3, 1, 2]
    assert targets(members, 6, turn=3) == [3, 0, 3]
    assert targets(members, 1, turn=2) == [0, 1, 0]
    assert targets(members, 6, turn=77) == [4, 0, 2]  # it is gone


def test_a_turn_changes_nothing_where_the_foreground_leaves_slots():
    members = [member(1, (3, 0)), member(2, (0, 9))]
    assert targets(members, 6, turn=2) == targets(members, 6) == [3, 3]


WANTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=7)


@given(WANTS, st.integers(1, 20), st.integers(0, 8))
def test_the_background_gets_nothing_that_the_foreground_could_use_but_for_a_turn(wants, slots, turn):
    members = [member(number, want) for number, want in enumerate(wants, 1)]
    parts = targets(members, slots, turn=turn)
    known = turn in range(1, len(wants) + 1)
    if not known or members[turn - 1].want[1] > 0:
        assert sum(parts) == min(slots, sum(map(sum, wants)))
    foreground = sum(min(part, want[0]) for part, want in zip(parts, wants, strict=True))
    assert foreground >= min(slots, sum(want[0] for want in wants)) - known


def test_who_wants_in_the_background_only_is_not_contested_by_the_foreground():
    share = shares([member(1, (3, 5)), member(2, (0, 9))], 7, 0.0)
    assert share == [Share(5, False, True), Share(2, False, True)]


def test_who_gets_all_that_it_wants_in_the_background_contests_nothing():
    members = [member(1, (0, 2)), member(2, (0, 9)), member(3, (0, 9))]
    assert [share.contested for share in shares(members, 7, 0.0)] == [False, True, True]


def test_the_odd_slot_is_whose_turn_came_longest_ago():
    members = [member(1, (9, 0), turn=5.0), member(2, (9, 0), turn=4.0), member(3, (9, 0), turn=6.0)]
    assert targets(members, 7) == [2, 3, 2]
    assert targets(members, 8) == [3, 3, 2]


def test_of_equal_turns_the_smaller_id_is_first():
    assert targets([member(8, (9, 0)), member(7, (9, 0))], 3) == [1, 2]


def test_who_has_an_odd_slot_keeps_it_for_a_tenth_of_a_second():
    members = [member(1, (9, 0), allow=1, odd=10.0, turn=10.0), member(2, (9, 0), turn=1.0)]
    assert targets(members, 1, now=10.0) == [1, 0]
    assert targets(members, 1, now=10.0999) == [1, 0]
    assert targets(members, 1, now=10.1) == [0, 1]


def test_of_those_who_had_one_for_long_enough_the_last_to_get_it_keeps_it():
    members = [
        member(1, (9, 0), allow=1, odd=10.0, turn=10.0),
        member(2, (9, 0), allow=1, odd=12.0, turn=12.0),
        member(3, (9, 0), turn=1.0),
    ]
    assert targets(members, 2, now=20.0) == [0, 1, 1]


def test_who_gave_its_odd_slot_back_early_is_one_of_those_without():
    members = [member(1, (9, 0), allow=0, odd=10.0, turn=10.0), member(2, (9, 0), turn=9.0)]
    assert targets(members, 1, now=10.1) == [0, 1]


def test_who_holds_more_than_its_part_without_having_got_an_odd_slot_is_one_of_those_without():
    members = [member(1, (9, 0), allow=3, turn=1.0), member(2, (9, 0), turn=2.0)]
    assert targets(members, 1) == [1, 0]


def test_who_wants_no_more_than_an_even_part_gets_no_odd_slot():
    assert targets([member(1, (1, 0), turn=1.0), member(2, (9, 0), turn=2.0), member(3, (9, 0), turn=3.0)], 4) == [
        1,
        2,
        1,
    ]


# What an exchange changes


def test_a_member_grows_by_what_is_free_and_no_further_than_its_part():
    one = member(1, allow=1)
    grant(one, Share(5, False, True), keep=1, free=2, now=7.0)
    assert one.allow == 3
    grant(one, Share(5, False, True), keep=3, free=9, now=7.0)
    assert one.allow == 5


@pytest.mark.parametrize("free", [0, -3])
def test_a_member_does_not_grow_where_nothing_is_free(free):
    one = member(1, allow=1)
    grant(one, Share(5, False, True), keep=1, free=free, now=7.0)
    assert one.allow == 1


@pytest.mark.parametrize(("keep", "after"), [(0, 2), (2, 2), (4, 4), (6, 6), (9, 6)])
def test_a_member_shrinks_no_further_than_it_lets_go(keep, after):
    one = member(1, allow=6)
    grant(one, Share(2, False, True), keep=keep, free=0, now=7.0)
    assert one.allow == after


def test_who_gets_an_odd_slot_has_it_from_then_on():
    one = member(1, allow=2, turn=1.0)
    grant(one, Share(2, True, True), keep=2, free=1, now=7.0)
    assert (one.allow, one.odd, one.turn) == (3, 7.0, 7.0)
    grant(one, Share(2, True, True), keep=3, free=1, now=8.0)
    assert (one.allow, one.odd, one.turn) == (3, 7.0, 7.0)
    grant(one, Share(2, False, True), keep=3, free=0, now=9.0)  # it does not let go yet
    assert (one.allow, one.odd, one.turn) == (3, 7.0, 7.0)
    grant(one, Share(2, False, True), keep=2, free=0, now=10.0)
    assert (one.allow, one.odd, one.turn) == (2, NEVER, 10.0)


def test_more_than_an_even_part_is_no_odd_slot_where_nobody_contests_it():
    one = member(1, allow=4, turn=1.0)
    grant(one, Share(3, False, False), keep=4, free=0, now=7.0)
    assert (one.allow, one.odd, one.turn) == (4, NEVER, 1.0)
