"""When an item that asks side by side has asked all that it will ask for now."""

from __future__ import annotations

import pytest

from fanmap._policy.batch.siblings import PATIENCE, QUIET, STILL, Patience, Siblings


def asked_by(siblings, *looks, missing=()):
    """What each look says: of (questions so far, seconds)."""
    return [siblings.have_asked(asked, now, lambda: missing) for asked, now in looks]


def test_a_thread_waits_until_nobody_has_asked_for_a_while():
    looks = (1, 7.0), (1, 7.0 + STILL / 2), (2, 7.04), (2, 7.04 + 0.9 * STILL), (2, 7.04 + 1.1 * STILL)
    assert asked_by(Siblings(Patience()), *looks) == [False, False, False, False, True]


def test_the_first_look_is_never_the_last():
    assert asked_by(Siblings(Patience()), (1, 1e9), (1, 1e9 + STILL + 1e-6)) == [False, True]


@pytest.mark.parametrize("in_vain", [0, 1, 3])
def test_who_asked_in_an_earlier_turn_is_waited_for_with_patience(in_vain):
    patience = Patience()
    for _ in range(in_vain):
        patience.in_vain()
    assert patience.seconds == PATIENCE / 2**in_vain
    siblings = Siblings(patience)
    looks = (1, 0.0), (1, 2 * STILL), (1, 0.99 * patience.seconds), (1, patience.seconds)
    assert asked_by(siblings, *looks, missing=["late"]) == [False, False, False, True]


def test_patience_ends_when_the_late_one_has_asked():
    siblings = Siblings(Patience())
    assert asked_by(siblings, (1, 0.0), (1, 1.0), missing=["late"]) == [False, False]
    assert asked_by(siblings, (2, 1.1), (2, 1.1 + STILL + 1e-9)) == [False, True]


def test_patience_that_is_shorter_than_a_pause_is_a_pause():
    patience = Patience()
    for _ in range(20):
        patience.in_vain()
    siblings = Siblings(patience)
    assert asked_by(siblings, (1, 0.0), (1, 0.9 * STILL), (1, STILL), missing=["late"]) == [False, False, True]


def test_nobody_is_looked_for_before_the_pause_is_over():
    siblings = Siblings(Patience())

    def missing():
        raise AssertionError("asked too early")

    assert not siblings.have_asked(1, 0.0, missing)
    assert not siblings.have_asked(1, STILL / 2, missing)


def test_a_task_that_is_alone_waits_for_turns_of_its_loop_and_no_time():
    siblings = Siblings(Patience(), turns=QUIET, alone=True)
    assert asked_by(siblings, *[(1, 0.0)] * (QUIET + 1), missing=["late"]) == [*[False] * QUIET, True]


def test_a_question_begins_the_turns_anew():
    siblings = Siblings(Patience(), turns=QUIET, alone=True)
    looks = [*[(1, 0.0)] * QUIET, *[(2, 0.0)] * (QUIET + 1)]
    assert asked_by(siblings, *looks) == [*[False] * 2 * QUIET, True]


def test_a_task_among_others_waits_for_both():
    siblings = Siblings(Patience(), turns=3)
    assert asked_by(siblings, (1, 0.0), (1, 9.0), (1, 9.0), (1, 9.0)) == [False, False, False, True]
    siblings = Siblings(Patience(), turns=3)
    assert asked_by(siblings, *[(1, 0.0)] * 9, (1, STILL)) == [*[False] * 9, True]
