"""The foreground and the background under one admission: who goes first, on whose slot, to the last digit."""

from __future__ import annotations

import math

from fanmap._policy.limits.admission import Admission
from fanmap._policy.limits.kinds import EVERY
from fanmap._policy.limits.permit import (
    APPOINTED,
    RUNNING,
    SLOTTED,
    THREADS,
    TURNED_AWAY,
    WAITING,
    BackgroundPermit,
    Permit,
)
from fanmap._policy.limits.rate import Rate


class Loop:
    """An owner that can block."""

    can_be_blocked = True

    def gone(self):
        return False


def ask(admission, *permits, now=0.0):
    """They ask, and what may start does; returns those that did."""
    for permit in permits:
        admission.ask(permit)
    return go_on(admission, now)


def go_on(admission, now):
    appointed = admission.poll(now)
    for permit in appointed:
        assert admission.take_up(permit, now)
        permit.started = True
    return appointed


def leave(admission, permit, now=0.0):
    admission.leave(permit)
    return go_on(admission, now)


def test_the_background_starts_where_nobody_waits():
    admission = Admission(2)
    back, front, third = BackgroundPermit(), Permit(), BackgroundPermit()
    assert ask(admission, back, front) == [front, back]
    assert ask(admission, third) == []
    assert leave(admission, front) == [third]


def test_the_foreground_goes_first_whoever_asked_first():
    admission = Admission(1)
    held = Permit()
    ask(admission, held)
    background = [BackgroundPermit() for _ in range(3)]
    foreground = [Permit() for _ in range(3)]
    ask(admission, *background, *foreground)
    order, last = [], held
    for _ in range(6):
        (last,) = leave(admission, last)
        order.append(last)
    assert order == [*foreground, *background]


def test_kinds_are_told_apart_from_the_first_background_call_on_and_nobody_loses_a_place():
    admission = Admission(1)
    held, second, third = Permit(), Permit(), Permit()
    ask(admission, held, second, third)
    assert admission.turns is None
    back = BackgroundPermit()
    ask(admission, back)
    assert admission.turns is not None
    assert admission.waiting() == 3
    assert admission.waiting_for_slot() == 2
    assert leave(admission, held) == [second]
    assert leave(admission, second) == [third]
    assert leave(admission, third) == [back]


def test_a_call_in_the_background_that_waits_for_a_rate_gives_its_slot_to_the_foreground():
    admission = Admission(2, [Rate(1, 1.0, burst=1)])
    running, waits, third = BackgroundPermit(), BackgroundPermit(), BackgroundPermit()
    assert ask(admission, running, waits, third) == [running]
    assert (waits.state, third.state) == (SLOTTED, WAITING)
    front = Permit()
    assert ask(admission, front, now=0.5) == []
    assert (front.state, waits.state) == (SLOTTED, WAITING)
    assert (front.slotted, waits.slotted) == (0.5, 0.0)
    assert admission.in_flight() == 2
    assert admission.head() is front
    assert admission.patience(front, 0.5) == 0.5  # one interval of the rate, and no more
    assert go_on(admission, 1.0) == [front]
    # It heads its own line.
    assert leave(admission, front, 1.0) == []
    assert (waits.state, third.state) == (SLOTTED, WAITING)
    assert go_on(admission, 2.0) == [waits]


def test_a_call_in_the_background_that_waits_at_the_gate_gives_its_slot_to_the_foreground():
    admission = Admission(1)
    admission.close_gate(10.0, spread=0.0, apart=math.inf)
    back, front = BackgroundPermit(), Permit()
    ask(admission, back)
    assert back.state == SLOTTED
    ask(admission, front, now=3.0)
    assert (front.state, back.state) == (SLOTTED, WAITING)
    assert go_on(admission, 10.0) == [front]
    assert leave(admission, front, 10.0) == [back]


def test_with_a_slot_in_hand_the_foreground_goes_first_as_well():
    admission = Admission(3, [Rate(1, 1.0, burst=1)])
    held, back, front = Permit(), BackgroundPermit(), Permit()
    ask(admission, held, back, front)
    assert (back.state, front.state) == (SLOTTED, SLOTTED)  # there are slots for both
    assert admission.head() is front
    assert go_on(admission, 1.0) == [front]
    assert go_on(admission, 2.0) == [back]


def test_a_slot_is_given_up_by_the_last_in_the_background():
    admission = Admission(3, [Rate(1, 1.0, burst=1)])
    held, first, second = BackgroundPermit(), BackgroundPermit(), BackgroundPermit()
    ask(admission, held, first, second)
    ask(admission, Permit())
    assert (first.state, second.state) == (SLOTTED, WAITING)
    ask(admission, Permit())
    assert first.state == WAITING
    late = Permit()
    ask(admission, late)
    assert late.state == WAITING  # a call under way is not interrupted
    assert admission.in_flight() == 3


def test_a_start_that_is_arranged_is_not_taken_back():
    admission = Admission(1)
    back, front = BackgroundPermit(), Permit()
    admission.ask(back)
    assert admission.poll(0.0) == [back]
    assert ask(admission, front) == []
    assert back.state == APPOINTED
    assert admission.take_up(back, 0.0)
    assert leave(admission, back) == [front]


def test_under_an_endless_foreground_one_start_in_fifty_is_the_backgrounds():
    admission = Admission(1)
    last: Permit = Permit()
    ask(admission, last)
    background = [BackgroundPermit() for _ in range(4)]
    ask(admission, *background)
    starts = []
    for _ in range(4 * EVERY):
        ask(admission, Permit(), Permit())
        (last,) = leave(admission, last)
        starts.append(last)
    assert EVERY == 50
    assert [number for number, permit in enumerate(starts, 1) if permit.background] == [50, 100, 150, 200]
    assert [permit for permit in starts if permit.background] == background


def test_where_a_rate_holds_everybody_the_backgrounds_turn_takes_the_slot_of_the_last_in_the_foreground():
    admission = Admission(4, [Rate(1, 1.0, burst=1)])
    background = [BackgroundPermit() for _ in range(2)]
    ask(admission, Permit(), Permit(), Permit(), Permit(), *background)
    starts, under_way, now = [], [permit for permit in list(admission._holding) if permit.state == RUNNING], 0.0
    for _ in range(2 * EVERY):
        now += 1.0
        for permit in under_way:
            admission.leave(permit)
        under_way = ask(admission, Permit(), now=now)
        assert len(under_way) == 1
        assert admission.in_flight() == 4
        starts += under_way
    assert [number for number, permit in enumerate(starts, 1) if permit.background] == [49, 99]  # one was before
    numbers = [permit.place for permit in starts if not permit.background]
    assert numbers == sorted(numbers)  # who lost its slot for that lost no place


def test_starts_count_only_while_the_background_waits():
    admission = Admission(1)
    last = Permit()
    ask(admission, last)
    ask(admission, gone := BackgroundPermit())
    admission.leave(gone)
    for _ in range(100):
        (new,) = ask(admission, Permit()) or leave(admission, last)
        last = new
    ask(admission, back := BackgroundPermit(), front := Permit())
    assert leave(admission, last) == [front]
    assert leave(admission, front) == [back]


def test_a_cancelled_turn_is_the_next_ones():
    admission = Admission(2, [Rate(1, 1.0, burst=1)])
    held = Permit()
    ask(admission, held)
    first, second = BackgroundPermit(), BackgroundPermit()
    ask(admission, first, second)
    assert admission.turns is not None
    admission.turns._passed = EVERY - 1
    front = Permit()
    ask(admission, front)
    assert (first.state, front.state) == (SLOTTED, WAITING)  # it is its turn: its slot is not taken
    admission.leave(first)
    assert go_on(admission, 0.5) == []
    assert (second.state, front.state) == (SLOTTED, WAITING)
    assert go_on(admission, 1.0) == [second]


def test_a_turn_is_one_calls_and_takes_one_slot():
    admission = Admission(3, [Rate(1, 1.0, burst=1)])
    ask(admission, Permit())
    one, other, third = BackgroundPermit(), BackgroundPermit(), BackgroundPermit()
    ask(admission, one, other, third)
    assert admission.turns is not None
    admission.turns._passed = EVERY - 1
    front = Permit()
    ask(admission, front)
    assert [permit.state for permit in (one, other, third, front)] == [SLOTTED, WAITING, WAITING, SLOTTED]
    assert go_on(admission, 1.0) == [one]


def test_the_turn_takes_its_slot_also_from_the_only_one_of_the_foreground_that_still_waits():
    admission = Admission(3, [])
    background = BackgroundPermit()
    ask(admission, background)
    admission.leave(background)
    foreground = [Permit() for _ in range(3)]
    admission.close_gate(1.0, spread=0.0, apart=1.0)
    ask(admission, *foreground, BackgroundPermit())
    admission.turns._passed = EVERY - 3
    started = go_on(admission, 1.0)
    assert [permit.background for permit in started] == [False, False, True]
    assert foreground[2].state == WAITING


def test_an_owner_that_is_away_holds_up_neither_kind():
    admission = Admission(1)
    blocked = Loop()
    held, away = Permit(), Permit(None, None, blocked)
    ask(admission, held, away)
    back = BackgroundPermit()
    ask(admission, back)
    admission.leave(held)
    assert admission.poll(0.0) == [away]
    assert admission.poll(1.0) == [back]  # not taken up
    assert admission.waiting_for_slot() == 1


# Nested calls


def test_a_nested_call_in_the_background_runs_on_its_callers_slot_and_gives_none_up():
    admission = Admission(1, [Rate(1, 1.0, burst=1)])
    outer = BackgroundPermit()
    ask(admission, outer)
    inner, front = BackgroundPermit(None, outer), Permit()
    ask(admission, inner)
    assert (inner.state, inner.lender) == (SLOTTED, outer)
    ask(admission, front)
    assert (inner.state, front.state) == (SLOTTED, WAITING)
    assert go_on(admission, 1.0) == [inner]
    assert leave(admission, inner, 1.0) == []
    assert leave(admission, outer, 2.0) == [front]


def test_a_nested_call_that_gives_its_slot_up_takes_the_one_that_its_caller_has_back():
    admission = Admission(2, [Rate(1, 1.0, burst=1)])
    outer = BackgroundPermit()
    ask(admission, outer)
    lent, free = BackgroundPermit(None, outer), BackgroundPermit(None, outer)
    ask(admission, lent, free)
    assert (lent.lender, free.lender, free.state) == (outer, None, SLOTTED)
    assert leave(admission, lent) == []  # the outer call has its slot back, and does nothing with it
    ask(admission, front := Permit())
    assert (free.lender, outer.lent_to) == (outer, free)
    assert (free.state, front.state) == (SLOTTED, SLOTTED)
    assert admission.in_flight() == 2


def test_a_nested_call_that_gives_its_slot_up_is_the_first_to_have_its_callers():
    admission = Admission(2, [Rate(1, 1.0, burst=1)])
    outer = BackgroundPermit()
    ask(admission, outer)
    lent, free, third = (BackgroundPermit(None, outer) for _ in range(3))
    ask(admission, lent, free, third)
    ask(admission, Permit())
    assert (lent.state, free.state, third.state) == (SLOTTED, WAITING, WAITING)
    assert list(outer.children) == [free, third]
    admission.leave(lent)
    assert free.lender is outer


# From one call of a worker to the next


def test_a_worker_of_the_foreground_keeps_its_slot_where_only_the_background_waits():
    admission = Admission(1)
    front, back = Permit(), BackgroundPermit()
    ask(admission, front, back)
    assert not admission.quiet
    kept = [admission.renew(front, None, 0.0) for _ in range(EVERY - 1)]
    assert kept == [True] * (EVERY - 2) + [False]
    assert go_on(admission, 0.0) == [back]


def test_a_worker_of_the_background_gives_its_slot_to_whoever_waits():
    for waits in (Permit(), BackgroundPermit()):
        admission = Admission(1)
        back = BackgroundPermit()
        ask(admission, back)
        ask(admission, waits)
        assert not admission.renew(back, None, 0.0)
        assert go_on(admission, 0.0) == [waits]


def test_a_worker_of_the_foreground_does_not_keep_its_slot_where_others_of_the_foreground_wait():
    admission = Admission(1)
    front, back, other = Permit(), BackgroundPermit(), Permit()
    ask(admission, front, back, other)
    assert not admission.renew(front, None, 0.0)
    assert go_on(admission, 0.0) == [other]


def test_a_call_that_goes_on_at_other_costs_keeps_its_kind():
    admission = Admission(1, [Rate(2, 2.0, burst=2, cost=lambda: 1.0)])
    back = BackgroundPermit([1.0])
    assert admission.start(back, 0.0)
    back.started = True
    assert admission.charge_anew(back, [2.0])
    assert admission.turns is not None
    assert list(admission.turns.for_start) == [back]


# A line with an end


def test_who_is_turned_away_is_out_of_the_line():
    admission = Admission(1)
    ask(admission, Permit())
    last = Permit()
    ask(admission, last)
    assert admission.waiting_for_slot() == 1
    admission.turn_away(last)
    assert last.state == TURNED_AWAY
    assert admission.waiting() == 0
    assert not admission.take_up(last, 0.0)


def test_slots_in_use_have_ages():
    admission = Admission(2)
    ask(admission, Permit(None, None, THREADS), now=1.0)
    ask(admission, Permit(), now=3.0)
    assert sorted(admission.ages(4.0)) == [1.0, 3.0]
