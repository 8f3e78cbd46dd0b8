"""Admission: who starts when, on whose slot, and what a driver may read of it, to the last digit."""

from __future__ import annotations

import math

import pytest

from fanmap._policy.limits.admission import Admission
from fanmap._policy.limits.line import Line
from fanmap._policy.limits.permit import APPOINTED, NEW, RELEASED, RUNNING, SLOTTED, THREADS, WAITING, Permit
from fanmap._policy.limits.rate import Bucket, Rate
from fanmap._policy.limits.watching import guard


class Loop:
    """An owner that can block, and be gone."""

    can_be_blocked = True

    def __init__(self):
        self.over = False

    def gone(self):
        return self.over


def running(admission, count=1, *, now=0.0, parent=None, owner=THREADS):
    """So many permits whose calls run from now on."""
    permits = [Permit(None, parent, owner) for _ in range(count)]
    for permit in permits:
        admission.ask(permit)
    assert admission.poll(now) == permits
    for permit in permits:
        assert permit.state == APPOINTED
        assert admission.take_up(permit, now)
        permit.started = True
    return permits


def waiting(admission, count=1, *, now=0.0):
    """So many permits that have to wait."""
    permits = [Permit() for _ in range(count)]
    for permit in permits:
        admission.ask(permit)
    assert admission.poll(now) == []
    return permits


def start_times(admission, count, *, now=0.0):
    """When so many calls start that ask together and each leave at once, if the head sleeps as it is told."""
    permits, times = [Permit() for _ in range(count)], []
    for permit in permits:
        admission.ask(permit)
    for _ in range(2 * count + 1):
        for permit in admission.poll(now):
            times.append(now)
            permit.started = True
            admission.leave(permit)
        head = admission.head()
        now += 0.0 if head is None else admission.patience(head, now)
    assert len(times) == count
    return times


# What a permit says


def test_a_new_ticket_says_nothing_yet():
    permit = Permit()
    assert (permit.state, permit.started, permit.place, permit.until) == (NEW, False, 0, 0.0)
    assert (permit.crowd, permit.ceiling, permit.epoch, permit.slotted) == (0, 0, 0, 0.0)


def test_a_ticket_says_in_what_crowd_under_which_ceiling_and_epoch_it_was_granted():
    admission = Admission(3)
    assert admission.epoch == 0
    admission.epoch = 5
    first, second = running(admission, 2)
    (third,) = running(admission)
    assert [(permit.crowd, permit.ceiling, permit.epoch) for permit in (first, second, third)] == [
        (2, 3, 5),
        (2, 3, 5),
        (3, 3, 5),
    ]


def test_a_ticket_says_when_it_got_its_slot_not_when_the_gate_let_it_go():
    admission = Admission(1)
    admission.close_gate(10.0, spread=0.0, apart=math.inf)
    (permit,) = waiting(admission, now=4.0)
    assert admission.poll(10.0) == [permit]
    assert permit.slotted == 4.0


def test_a_ticket_on_a_lent_slot_got_it_when_it_was_lent():
    admission = Admission(1)
    (parent,) = running(admission)
    first, second = Permit(None, parent), Permit(None, parent)
    admission.ask(first)
    admission.ask(second)
    assert admission.poll(2.0) == [first]
    admission.take_up(first, 2.0)
    admission.leave(first)
    assert admission.poll(5.0) == [second]
    assert (first.slotted, second.slotted) == (2.0, 5.0)


# Lending


def test_a_call_that_has_not_started_has_no_slot_to_lend():
    admission = Admission(2)
    admission.close_gate(10.0, spread=0.0, apart=math.inf)
    (outer,) = waiting(admission)
    inner = Permit(None, outer)
    admission.ask(inner)
    assert (outer.lent_to, inner.lender, outer.children) == (None, None, None)
    assert admission.poll(10.0) == [outer, inner]


def test_a_slot_that_was_lent_comes_back():
    admission = Admission(1)
    (outer,) = running(admission)
    (inner,) = running(admission, parent=outer)
    assert (outer.lent_to, inner.lender) == (inner, outer)
    assert (admission.in_flight(), admission.running(), admission.waiting()) == (1, 1, 0)
    admission.leave(inner)
    assert (outer.lent_to, inner.lender) == (None, None)
    assert admission.in_flight() == 1
    assert waiting(admission)  # the lender has it


def test_a_slot_that_comes_back_goes_to_the_lenders_next_nested_call_before_anybody_else():
    admission = Admission(1)
    (outer,) = running(admission)
    (inner,) = running(admission, parent=outer)
    (stranger,) = waiting(admission)
    second, third = Permit(None, outer), Permit(None, outer)
    admission.ask(second)
    admission.ask(third)
    admission.leave(inner)
    assert admission.poll(1.0) == [second]
    assert second.lender is outer
    admission.leave(second)
    assert admission.poll(1.0) == [third]
    admission.leave(third)
    admission.leave(outer)
    assert admission.poll(1.0) == [stranger]


def test_a_lender_that_ends_first_leaves_its_slot_to_the_nested_call_and_its_debt_with_it():
    admission = Admission(1)
    (outer,) = running(admission)
    (middle,) = running(admission, parent=outer)
    (inner,) = running(admission, parent=middle)
    admission.leave(middle)
    assert (outer.lent_to, inner.lender) == (inner, outer)
    assert (middle.lent_to, middle.lender) == (None, None)
    admission.leave(outer)
    assert inner.lender is None
    assert admission.in_flight() == 1
    admission.leave(inner)
    assert admission.in_flight() == 0


def test_a_call_that_left_does_not_give_its_slot_back_to_a_lender_a_second_time():
    admission = Admission(1)
    (outer,) = running(admission)
    (middle,) = running(admission, parent=outer)
    (inner,) = running(admission, parent=middle)
    admission.leave(middle)
    admission.leave(inner)
    admission.leave(middle)
    assert (outer.lent_to, inner.lender, admission.in_flight()) == (None, None, 1)


def test_who_waits_under_a_call_that_left_waits_as_anybody_does():
    admission = Admission(1)
    (outer,) = running(admission)
    running(admission, parent=outer)
    child = Permit(None, outer)
    admission.ask(child)
    assert list(outer.children) == [child]
    admission.leave(outer)
    assert (outer.children, child.parent) == (None, None)
    late = Permit(None, outer)
    admission.ask(late)
    assert outer.children is None
    assert admission.waiting() == 2


# The gate


def test_nothing_starts_before_the_gate_opens_and_an_earlier_promise_is_never_shortened():
    admission = Admission(2)
    assert admission.opens_at() == -math.inf
    admission.close_gate(8.0, spread=0.0, apart=math.inf)
    admission.close_gate(5.0, spread=0.0, apart=math.inf)
    assert admission.opens_at() == 8.0
    assert start_times(admission, 3) == [8.0, 8.0, 8.0]


def test_after_the_gate_one_set_of_starts_is_spread_and_then_nothing_is():
    admission = Admission(4)
    admission.close_gate(8.0, spread=1.0, apart=math.inf)
    assert start_times(admission, 8) == [8.0, 8.25, 8.5, 8.75, 9.0, 9.0, 9.0, 9.0]


def test_starts_are_no_further_apart_than_the_wait_that_was_named():
    admission = Admission(4)
    admission.close_gate(8.0, spread=1.0, apart=0.125)
    assert start_times(admission, 3) == [8.0, 8.125, 8.25]


def test_a_start_before_the_gate_closed_is_no_reason_to_spread():
    admission = Admission(4)
    running(admission, now=7.5)
    admission.close_gate(8.0, spread=4.0, apart=math.inf)
    assert start_times(admission, 2, now=7.5) == [8.0, 9.0]


def test_a_rate_holds_the_head_for_exactly_as_long_as_its_bucket_says():
    admission = Admission(4, [Rate(2, 4, burst=1), Rate(2, 16, burst=1)])
    assert start_times(admission, 3) == [0.0, 8.0, 16.0]


def test_a_call_that_names_no_costs_takes_one_of_each_rate():
    admission = Admission(8, [Rate(4, 8, burst=2), Rate(4, 16, burst=4)])
    assert start_times(admission, 6) == [0.0, 0.0, 2.0, 4.0, 6.0, 8.0]


def test_costs_are_taken_rate_by_rate():
    rates = [Rate(8, 8, burst=4), Rate(8, 16, burst=4)]
    admission, first, second = Admission(4, rates), Bucket(rates[0]), Bucket(rates[1])
    permit = Permit([3.0, 2.0])
    admission.ask(permit)
    assert admission.poll(0.0) == [permit]
    first.charge(0.0, 3.0)
    second.charge(0.0, 2.0)
    late = Permit([1.0, 4.0])
    admission.ask(late)
    assert admission.poll(0.0) == []
    assert admission.patience(late, 0.0) == max(first.earliest(0.0, 1.0), second.earliest(0.0, 4.0)) == 4.0


# Settling


def one_call(actual, *, started=True):
    """What a next call of cost 4 waits for after one that was charged 2 in two rates, and took this."""
    rates = [Rate(8, 8, burst=4), Rate(8, 16, burst=4)]
    admission = Admission(4, rates)
    permit = Permit([2.0, 2.0])
    admission.ask(permit)
    assert admission.poll(0.0) == [permit]
    permit.started = started
    admission.settle(permit, actual)
    assert permit.charges == ()
    return [bucket.earliest(0.0, 4.0) for bucket in admission._buckets]


@pytest.mark.parametrize(
    ("actual", "waits"),
    [
        (None, [2.0, 4.0]),
        ([None, None], [2.0, 4.0]),
        ([3.0, None], [3.0, 4.0]),
        ([None, 1.0], [2.0, 2.0]),
        ([0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_each_rate_is_settled_by_its_own_number_or_stands_as_charged(actual, waits):
    assert one_call(actual) == waits


def test_a_call_that_was_never_made_is_refunded():
    assert one_call(None, started=False) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("more", "waits", "spent"),
    [([0.0, 0.0], [2.0, 4.0], 2.0), ([1.0, 3.0], [3.0, 4.0], 5.0), ([-1.0, -0.5], [2.0, 4.0], 1.5)],
)
def test_what_is_known_late_is_charged_then_and_only_a_total_comes_back(more, waits, spent):
    rates = [Rate(8, 8, burst=4), Rate(100, math.inf), Rate(8, 16, burst=4)]
    admission = Admission(4, rates)
    permit = Permit([2.0, 2.0, 2.0])
    admission.ask(permit)
    assert admission.poll(0.0) == [permit]
    permit.started = True
    admission.leave(permit)
    first, total, second = admission._buckets
    admission.charge_late([more[0], more[1], 0.0], 0.0)
    assert [first.earliest(0.0, 4.0), second.earliest(0.0, 4.0)] == waits
    assert (total.spent, total.held) == (spent, 0.0)


def test_to_settle_a_call_that_was_not_charged_is_a_mistake():
    admission = Admission(1, [Rate(8, 8)])
    with pytest.raises(ValueError, match="shorter"):
        admission.settle(Permit(), [1.0])


def taken_over(costs):
    """A call on its way, charged 1 in two rates of which three more are left, whose slot a call of these costs takes."""
    admission = Admission(1, [Rate(8, 8, burst=4), Rate(8, 16, burst=4)])
    (permit,) = running(admission)
    permit.started = True
    return admission, permit, admission.charge_anew(permit, costs)


def test_a_call_that_takes_over_and_costs_the_same_goes_on():
    admission, permit, waits = taken_over([1.0, 1.0])
    assert (waits, permit.state, admission.waiting()) == (False, RUNNING, 0)


def test_a_call_that_takes_over_and_costs_more_of_one_rate_only_waits():
    _, permit, waits = taken_over([1.0, 2.0])
    assert (waits, permit.state) == (True, SLOTTED)


def test_to_take_over_from_a_call_that_was_not_charged_is_a_mistake():
    with pytest.raises(ValueError, match="longer"):
        Admission(1, [Rate(8, 8)]).charge_anew(Permit(), [1.0])


def test_a_nested_call_that_got_its_lenders_slot_is_in_one_line_only():
    admission = Admission(1)
    (lender,) = running(admission)
    first, second = Permit(parent=lender), Permit(parent=lender)
    for nested in (first, second):
        admission.ask(nested)
    assert admission.poll(0.0) == [first]
    admission.leave(first)
    assert (admission.in_flight(), admission.waiting()) == (1, 1)
    assert admission.poll(0.0) == [second]
    assert (admission.in_flight(), admission.waiting()) == (1, 0)


def test_a_call_that_takes_over_gets_the_charge_back_and_pays_its_own():
    admission, permit, waits = taken_over([4.0, 2.0])
    assert (waits, permit.state, permit.started, permit.costs) == (True, SLOTTED, False, [4.0, 2.0])
    assert (admission.in_flight(), admission.running(), admission.waiting()) == (1, 0, 1)
    assert admission.poll(0.0) == [permit]  # of a burst of four, none had been used
    assert [charge.cost for charge in permit.charges] == [4.0, 2.0]


def test_a_call_that_takes_over_waits_for_its_own_charge_behind_those_who_wait_with_a_slot():
    admission = Admission(2, [Rate(8, 8, burst=4)])
    spender, permit = running(admission, 2)
    spender.started = True
    admission.settle(spender, [4.0])
    admission.leave(spender)
    other = Permit()
    admission.ask(other)
    assert admission.poll(0.0) == []
    assert admission.charge_anew(permit, [3.0])
    assert admission.poll(0.0) == []
    assert admission.poll(1.0) == [other]
    assert admission.patience(permit, 1.0) == 3.0
    assert admission.poll(4.0) == [permit]


def test_a_call_that_takes_over_and_leaves_before_its_turn_has_cost_nothing():
    admission, permit, _ = taken_over([8.0, 8.0])
    admission.leave(permit)
    assert (admission.in_flight(), admission.waiting(), permit.charges) == (0, 0, ())
    assert [bucket.earliest(0.0, 4.0) for bucket in admission._buckets] == [0.0, 0.0]


def test_leaving_settles_what_was_not_settled_once():
    admission = Admission(4, [Rate(8, 8, burst=4)])
    (permit,) = running(admission)
    admission.leave(permit)
    assert permit.charges == ()
    admission.leave(permit)
    assert admission._buckets[0].earliest(0.0, 4.0) == 1.0


# Patience


def test_only_the_head_holds_a_timer_and_each_owners_first_looks_now_and_then():
    admission, loop = Admission(4), Loop()
    admission.close_gate(10.0, spread=0.0, apart=math.inf)
    permits = [Permit(owner=owner) for owner in (THREADS, THREADS, loop, loop, THREADS, THREADS, loop)]
    for permit in permits:
        admission.ask(permit)
    assert admission.poll(0.0) == []
    assert admission.head() is permits[0]
    assert [admission.patience(permit, 4.0) for permit in permits] == [6.0, None, 0.5, None, 0.5, None, 0.5]


def test_a_head_that_may_start_looks_at_once():
    admission = Admission(1)
    admission.close_gate(10.0, spread=0.0, apart=math.inf)
    (head,) = waiting(admission)
    assert admission.patience(head, 12.0) == 0.0


def test_with_nobody_in_the_second_line_the_next_for_a_slot_still_looks():
    admission = Admission(1)
    running(admission)
    first, second = waiting(admission, 2)
    assert admission.head() is None
    assert (admission.patience(first, 0.0), admission.patience(second, 0.0)) == (0.5, None)


# Whose slots they are


def test_slots_are_held_only_by_an_owner_if_all_are_taken_and_all_by_it():
    admission, here, there = Admission(2), Loop(), Loop()
    running(admission, owner=here)
    assert not admission.held_only_by([here])  # one is free
    (second,) = running(admission, owner=here)
    assert admission.held_only_by([here])
    assert not admission.held_only_by([there])
    admission.limit = 1  # lowered meanwhile
    assert admission.held_only_by([here])
    admission.limit = 2
    admission.leave(second)
    running(admission, owner=there)
    assert not admission.held_only_by([here])


def test_slots_are_held_only_for_a_reader_if_all_are_taken_and_all_stand_for_it():
    admission = Admission(2)
    (first,) = running(admission)
    first.reader, first.stands = 7, True
    assert admission.has_streams_of(7) and not admission.has_streams_of(8)
    assert not admission.held_only_for(7)  # one is free
    (second,) = running(admission)
    assert not admission.held_only_for(7)  # it is no stream
    second.reader = 7
    assert not admission.held_only_for(7)  # its next chunk is on its way
    second.stands = True
    assert admission.held_only_for(7)
    assert not admission.held_only_for(8)
    second.reader = 8
    assert not admission.held_only_for(7)
    admission.leave(second)
    assert not admission.held_only_for(7)
    admission.limit = 1  # lowered meanwhile
    assert admission.held_only_for(7)
    admission.leave(first)
    admission.limit = 0
    assert not admission.held_only_for(7) and not admission.has_streams_of(7)


def test_no_slot_at_all_is_held_by_nobody():
    admission, here = Admission(1), Loop()
    (only,) = running(admission, owner=here)
    admission.limit = 0
    assert not admission.held_only_by([here])
    admission.leave(only)
    assert not admission.held_only_by([here])
    waiting(admission)


def test_a_slot_that_may_be_borrowed_blocks_nobody():
    admission, here = Admission(2), Loop()
    first, _ = running(admission, 2, owner=here)
    assert not admission.held_only_by([here], first)
    assert admission.held_only_by([here], Permit())


def test_a_slot_whose_call_waits_or_has_not_come_blocks_nobody_for_ever():
    admission, here = Admission(2), Loop()
    (first,) = running(admission, owner=here)
    second = Permit(owner=here)
    admission.ask(second)
    assert admission.poll(0.0) == [second]
    assert not admission.held_only_by([here])
    assert admission.take_up(second, 0.01)
    assert admission.held_only_by([here])
    assert first.state == RUNNING


def test_a_borrowed_slot_whose_call_waits_for_the_gate_blocks_for_ever():
    admission, here = Admission(1), Loop()
    (first,) = running(admission, owner=here)
    admission.close_gate(100.0, spread=0.0, apart=math.inf)
    nested = Permit(parent=first, owner=here)
    admission.ask(nested)
    assert admission.poll(0.0) == []
    assert nested.state == SLOTTED and nested.lender is first
    assert admission.held_only_by([here])
    assert not admission.held_only_by([here], nested)


def test_a_total_is_held_only_by_an_owner_if_somebody_waits_for_what_all_of_its_calls_may_leave():
    admission, here, there = Admission(8, [Rate(3, math.inf)]), Loop(), Loop()
    running(admission, 2, owner=here)
    (other,) = running(admission, owner=there)
    assert not admission.held_only_by([here, there])  # nobody waits
    waiting(admission)
    assert not admission.held_only_by([here])
    assert admission.held_only_by([here, there])
    admission.leave(other)
    assert admission.held_only_by([here])
    assert not admission.held_only_by([there])


# Who looks now and then


def test_whoever_becomes_an_owners_first_is_reminded_where_others_hold_slots_and_may_be_lost():
    admission, loop = Admission(2), Loop()
    (held,) = running(admission, owner=loop)
    (mine,) = running(admission)
    first, second, third = Permit(), Permit(), Permit()
    for permit in (first, second, third):
        admission.ask(permit)
    assert admission.reminded == []
    admission.leave(mine)
    assert admission.poll(1.0) == [first]
    assert admission.reminded == [second]  # or nobody would look whether the loop is still there
    assert admission.patience(second, 1.0) == guard
    admission.reminded.clear()
    admission.leave(held)
    assert admission.poll(2.0) == [second]
    assert admission.reminded == []  # threads alone hold slots: nobody of them is lost


def test_of_two_owners_whose_first_go_on_at_once_the_next_of_each_is_reminded():
    admission, loop = Admission(2), Loop()
    held = [*running(admission, owner=loop), *running(admission)]
    ours = [Permit() for _ in range(2)]
    theirs = [Permit(owner=loop) for _ in range(2)]
    for permit in (ours[0], theirs[0], ours[1], theirs[1]):
        admission.ask(permit)
    for permit in held:
        admission.leave(permit)
    assert admission.poll(1.0) == [ours[0], theirs[0]]
    assert set(admission.reminded) == {ours[1], theirs[1]}


def test_whoever_became_first_while_its_owner_held_every_slot_is_reminded_when_another_has_one():
    admission, loop = Admission(1), Loop()
    (held,) = running(admission)
    ours = [Permit() for _ in range(2)]
    theirs = Permit(owner=loop)
    admission.ask(ours[0])
    admission.ask(theirs)
    admission.ask(ours[1])
    admission.leave(held)
    assert admission.poll(1.0) == [ours[0]]
    assert admission.reminded == []  # all slots are its owner's
    admission.leave(ours[0])
    assert admission.poll(2.0) == [theirs]
    assert admission.reminded == [ours[1]]  # the loop may be lost
    admission.reminded.clear()
    admission.poll(3.0)
    assert admission.reminded == []


def test_whoever_waits_is_reminded_when_another_owner_has_borrowed_a_slot():
    admission, loop = Admission(1), Loop()
    (held,) = running(admission)
    first, second = Permit(), Permit()
    admission.ask(first)
    admission.ask(second)
    admission.leave(held)
    assert admission.poll(1.0) == [first]
    assert admission.take_up(first, 1.0)
    assert admission.reminded == []  # there is one owner
    nested = Permit(parent=first, owner=loop)
    admission.ask(nested)
    assert admission.poll(2.0) == [nested]
    assert admission.reminded == [second]  # the call around it may end before the loop is found to be lost


def test_whose_line_is_empty_is_not_remembered():
    admission, loop = Admission(1), Loop()
    admission.ask(Permit(owner=loop))
    admission.poll(1.0)
    assert admission._unwatched == set()


def test_nobody_is_reminded_where_all_calls_are_of_one_owner():
    admission, loop = Admission(1), Loop()
    (held,) = running(admission, owner=loop)
    waiting = [Permit(owner=loop) for _ in range(3)]
    for permit in waiting:
        admission.ask(permit)
    admission.leave(held)
    assert admission.poll(1.0) == waiting[:1]
    assert admission.reminded == []


@pytest.mark.parametrize("goes", ["leaves", "is let in over the limit"])
def test_the_first_in_line_of_an_owner_is_told_once_the_one_before_it_has_left(goes):
    admission, loop = Admission(1), Loop()
    running(admission, owner=loop)
    first, second, other = Permit(), Permit(), Permit(owner=loop)
    for permit in (first, second, other):
        admission.ask(permit)
    assert admission.poll(0.5) == admission.reminded == []
    assert [admission.patience(permit, 0.5) for permit in (first, second, other)] == [guard, None, guard]
    admission.leave(first) if goes == "leaves" else admission.admit_over_limit(first, 0.5)
    assert admission.poll(1.0) == []
    assert admission.reminded == [second]
    assert admission.patience(second, 1.0) == guard
    admission.reminded.clear()
    admission.leave(second)
    admission.leave(other)
    assert admission.poll(2.0) == admission.reminded == []
    assert admission._unwatched == set()


def test_the_next_in_line_is_told_of_one_that_gives_up_where_all_are_of_one_owner_too():
    """Why it does, say that the gate is closed for too long, may be true of the next, and a slot may be long in coming."""
    admission = Admission(1)
    running(admission)
    first, second, third = waiting(admission, 3)
    assert admission.reminded == []
    admission.leave(first)
    assert admission.poll(1.0) == []
    assert admission.reminded == [second]
    admission.reminded.clear()
    admission.leave(third)
    assert admission.poll(1.0) == []
    assert admission.reminded == [second]
    admission.reminded.clear()
    admission.leave(second)
    assert admission.poll(1.0) == admission.reminded == []


def test_the_first_in_line_is_told_where_the_one_before_it_got_the_slot_of_the_call_around_it():
    """Else nobody would take from a blocked loop what it was appointed (`asyncio 61557`)."""
    admission, loop = Admission(2), Loop()
    (held,) = running(admission, owner=loop)
    (outer,) = running(admission)
    inner = running(admission, parent=outer)
    nested, second, theirs = Permit(None, outer), Permit(), Permit(owner=loop)
    for permit in (nested, theirs, second):
        admission.ask(permit)
    assert admission.poll(1.0) == admission.reminded == []
    assert [admission.patience(permit, 1.0) for permit in (nested, second)] == [guard, None]
    admission.leave(*inner)
    assert admission.poll(2.0) == [nested]
    assert admission.reminded == [second]
    admission.reminded.clear()
    admission.leave(held)
    assert admission.poll(3.0) == [theirs]
    assert admission.poll(3.06) == [second]  # the loop did not come


@pytest.mark.parametrize("goes", ["starts", "leaves"])
def test_the_next_of_an_owner_that_waits_for_the_rate_is_told_as_well(goes):
    admission, loop = Admission(3, [Rate(1, 1)]), Loop()
    ours, theirs = [Permit() for _ in range(2)], Permit(owner=loop)
    admission.leave(*running(admission))  # it has taken the rate
    for permit in (ours[0], theirs, ours[1]):
        admission.ask(permit)
    assert admission.poll(0.5) == []
    admission.reminded.clear()
    assert [permit.state for permit in (*ours, theirs)] == [SLOTTED] * 3
    assert [admission.patience(permit, 0.5) for permit in (*ours, theirs)] == [0.5, None, guard]
    if goes == "leaves":
        admission.leave(ours[0])
        assert admission.poll(0.5) == []
    else:
        assert admission.poll(1.0) == [ours[0]]
        assert admission.take_up(ours[0], 1.0)
    assert admission.reminded == [ours[1]]  # or nobody would pass over a loop that is away
    assert admission.patience(ours[1], 1.0) == guard


def test_whoever_may_start_looks_at_once():
    admission = Admission(1)
    permit = Permit()
    admission.ask(permit)
    assert admission.poll(1.0) == [permit]
    assert (permit.state, admission.patience(permit, 1.0)) == (APPOINTED, 0.0)
    assert admission.take_up(permit, 1.0)
    assert (permit.state, admission.patience(permit, 1.0)) == (RUNNING, 0.0)


def test_the_first_that_waits_for_what_never_refills_looks_now_and_then():
    admission = Admission(2, [Rate(1, math.inf)])
    admission.leave(*running(admission))
    (first,) = waiting(admission)
    assert (first.state, admission.patience(first, 1.0)) == (SLOTTED, guard)


# Appointments


def test_of_an_owner_that_does_not_come_those_in_the_second_line_give_their_slots_too():
    admission, loop = Admission(3, [Rate(1, 1)]), Loop()
    admission.leave(*running(admission))
    late, later, ours = Permit(owner=loop), Permit(owner=loop), Permit()
    for permit in (late, later, ours):
        admission.ask(permit)
    assert admission.poll(1.0) == [late]
    assert admission.poll(1.0 + admission._grace + 0.01) == [ours]
    assert (late.state, later.state) == (WAITING, WAITING)
    assert admission._holding == {ours}
    assert admission.in_line() == [late, later]  # in one of the lines each
    assert admission.poll(1.5, loop) == []  # it is back
    assert admission.poll(2.5) == [late]  # and nobody thinks of what it missed


def test_an_appointment_that_nobody_takes_up_goes_to_the_next_and_its_owner_is_passed_over():
    admission, loop = Admission(1), Loop()
    (first,) = running(admission)
    late, later, stranger = Permit(owner=loop), Permit(owner=loop), Permit()
    for permit in (late, later, stranger):
        admission.ask(permit)
    admission.leave(first)
    assert admission.poll(1.0) == [late]
    assert late.until == 1.05
    assert admission.poll(1.05) == []
    assert admission.poll(1.0625) == [stranger]
    assert (late.state, later.state) == (WAITING, WAITING)
    assert admission.take_up(stranger, 1.0625)
    admission.leave(stranger)
    assert admission.poll(2.0) == []  # nobody knows whether the loop is back
    assert not admission.take_up(late, 2.0)
    assert admission.poll(2.0, loop) == [late]  # it keeps its place
    admission.leave(late)
    assert admission.poll(2.0, loop) == [later]


def test_whoever_asks_is_not_away_whatever_time_it_is():
    admission, loop = Admission(1), Loop()
    permit = Permit(owner=loop)
    admission.ask(permit)
    assert admission.poll(0.0) == [permit]
    assert admission.poll(9.0, loop) == []
    assert admission.take_up(permit, 9.0)


def test_threads_are_never_away():
    admission = Admission(1)
    permit = Permit()
    admission.ask(permit)
    assert admission.poll(0.0) == [permit]
    assert admission.poll(9.0) == []
    assert admission.take_up(permit, 9.0)


def test_the_charge_of_a_lapsed_appointment_comes_back_and_so_do_the_slots_of_its_owner():
    admission, loop = Admission(2, [Rate(2, 4, burst=1)]), Loop()
    first, second, stranger = Permit(owner=loop), Permit(owner=loop), Permit()
    for permit in (first, second, stranger):
        admission.ask(permit)
    assert admission.poll(0.0) == [first]
    assert (first.state, second.state, stranger.state) == (APPOINTED, SLOTTED, WAITING)
    assert admission.poll(0.0625) == [stranger]
    assert (first.state, second.state, first.charges) == (WAITING, WAITING, ())
    assert admission.in_flight() == 1


def test_a_nested_call_of_an_owner_that_is_away_keeps_the_slot_that_it_borrowed():
    admission, loop = Admission(1), Loop()
    (outer,) = running(admission)
    inner = Permit(None, outer, loop)
    admission.ask(inner)
    assert admission.poll(0.0) == [inner]
    assert admission.poll(1.0) == []
    assert (inner.state, inner.lender, admission.in_flight()) == (SLOTTED, outer, 1)
    assert admission.poll(1.0, loop) == [inner]


def test_a_late_start_is_charged_where_it_is_made():
    admission = Admission(4, [Rate(2, 4, burst=1)])  # one each 2 s
    (first,) = appointed(admission, 0.0)
    assert admission.take_up(first, 1.5)
    assert first.charges[0].at == 1.5
    assert admission.head() is None
    second = Permit()
    admission.ask(second)
    assert admission.poll(3.25) == []
    assert admission.patience(second, 3.25) == 0.25


def test_a_late_start_that_would_stand_too_close_to_another_is_asked_for_anew():
    admission = Admission(4, [Rate(2, 4, burst=1)])
    first, second = appointed(admission, 0.0), Permit()
    admission.ask(second)
    assert admission.poll(2.0) == [second]
    assert admission.take_up(second, 2.0)
    assert not admission.take_up(first[0], 2.25)
    assert (first[0].state, first[0].charges) == (SLOTTED, ())
    assert admission.patience(first[0], 2.25) == 1.75
    assert admission.poll(4.0) == first
    assert admission.take_up(first[0], 4.0)


def test_a_start_at_its_own_time_is_charged_once():
    admission = Admission(4, [Rate(2, 4, burst=1)])
    (first,) = appointed(admission, 1.0)
    charge = first.charges[0]
    assert admission.take_up(first, 1.0)
    assert first.charges[0] is charge
    assert admission.take_up(first, 2.0)  # it runs already
    assert first.charges[0] is charge


def test_a_gate_that_closed_meanwhile_holds_an_appointed_call_back():
    admission = Admission(1)
    (permit,) = appointed(admission, 0.0)
    admission.close_gate(5.0, spread=0.0, apart=math.inf)
    assert not admission.take_up(permit, 0.01)
    assert (permit.state, admission.patience(permit, 1.0)) == (SLOTTED, 4.0)
    assert admission.poll(5.0) == [permit]
    assert admission.take_up(permit, 5.0)


def test_a_rate_of_long_periods_gives_more_time_to_take_an_appointment_up():
    admission, loop = Admission(1, [Rate(500, 60.0), Rate(1, 20.0)]), Loop()
    permit = Permit(owner=loop)
    admission.ask(permit)
    admission.poll(1.0)
    assert permit.until == 1.0 + 60.0 / 200


def appointed(admission, now):
    permit = Permit()
    admission.ask(permit)
    assert admission.poll(now) == [permit]
    permit.started = True
    return [permit]


# At once


def test_where_nobody_waits_a_call_starts_at_once():
    admission = Admission(2, [Rate(8, 8, burst=4)])
    permit = Permit([4.0])
    assert admission.start(permit, 3.0)
    assert (permit.state, permit.slotted, permit.crowd, permit.ceiling) == (RUNNING, 3.0, 1, 2)
    assert [charge.cost for charge in permit.charges] == [4.0]
    assert not admission.start(Permit([1.0]), 3.0)  # the rate
    assert admission.in_flight() == 1


@pytest.mark.parametrize("why", ["no slot", "somebody waits for a slot", "the gate", "somebody waits at it", "nested"])
def test_else_nothing_is_changed(why):
    admission = Admission(1)
    late, parent = Permit(), None
    if why == "the gate":
        admission.close_gate(8.0, spread=0.0, apart=math.inf)
    elif why == "somebody waits at it":
        admission.limit = 2
        admission.close_gate(8.0, spread=0.0, apart=math.inf)
        waiting(admission)
    else:
        (parent,) = running(admission)
        if why == "somebody waits for a slot":
            waiting(admission)
            admission.limit = 3
        elif why == "nested":
            late, admission.limit = Permit(None, parent), 2
    numbers = admission.in_flight(), admission.waiting()
    assert not admission.start(late, 1.0)
    assert (late.state, late.place) == (NEW, 0)
    assert (admission.in_flight(), admission.waiting()) == numbers


# The next call on the same slot


def test_a_worker_goes_on_with_its_slot_where_nobody_waits():
    admission = Admission(2, [Rate(8, 8, burst=4)])
    (permit,) = running(admission)
    admission.settle(permit, None)
    assert admission.renew(permit, [2.0], 1.0)
    assert [charge.cost for charge in permit.charges] == [2.0]
    assert (permit.slotted, permit.state, admission.in_flight()) == (1.0, RUNNING, 1)


@pytest.mark.parametrize("why", ["a rate", "somebody waits for a slot", "somebody waits at the gate", "fewer slots"])
def test_else_it_gives_it_back(why):
    admission = Admission(2, [Rate(8, 8, burst=4)])
    (permit,) = running(admission)
    admission.settle(permit, None)
    if why == "a rate":
        costs = [4.0]
    else:
        costs = [1.0]
        if why == "fewer slots":
            admission.limit = 0
        elif why == "somebody waits for a slot":
            admission.limit = 1
            waiting(admission, now=9.0)
        else:
            admission.close_gate(20.0, spread=0.0, apart=math.inf)
            waiting(admission, now=9.0)
    assert not admission.renew(permit, costs, 0.0 if why == "a rate" else 9.0)
    assert permit.state == RELEASED
    assert admission.in_flight() == (1 if why == "somebody waits at the gate" else 0)


def test_a_call_that_could_not_ask_counts_from_now_on():
    admission = Admission(1, [Rate(8, 8, burst=4)])
    running(admission)
    extra = Permit([2.0])
    extra.state = RUNNING
    for _ in range(2):
        admission.admit_over_limit(extra, 1.0)
    assert (admission.in_flight(), [charge.cost for charge in extra.charges]) == (2, [2.0])
    released = Permit([2.0])
    released.state = RELEASED
    admission.admit_over_limit(released, 1.0)
    assert admission.in_flight() == 2


# Who is gone


def test_the_slots_of_whoever_is_gone_come_back():
    admission, loop = Admission(2), Loop()
    running(admission, 2, owner=loop)
    in_line = Permit(owner=loop)
    admission.ask(in_line)
    (stranger,) = waiting(admission)
    admission.sweep()
    assert admission.in_flight() == 2
    loop.over = True
    admission.sweep()
    assert (admission.in_flight(), in_line.state) == (0, RELEASED)
    assert admission.poll(1.0) == [stranger]


def test_a_lender_that_is_gone_leaves_with_its_nested_call():
    admission, loop = Admission(1), Loop()
    (outer,) = running(admission, owner=loop)
    running(admission, parent=outer, owner=loop)
    loop.over = True
    admission.sweep()
    assert admission.in_flight() == 0


# Numbers


def test_calls_are_counted_where_they_are():
    admission = Admission(2)
    admission.close_gate(10.0, spread=0.0, apart=math.inf)
    first, second, third = waiting(admission, 3)
    assert (admission.in_flight(), admission.running(), admission.waiting()) == (2, 0, 3)
    assert admission.poll(10.0) == [first, second]
    assert (admission.in_flight(), admission.running(), admission.waiting()) == (2, 2, 1)
    admission.leave(third)
    assert (admission.in_flight(), admission.running(), admission.waiting()) == (2, 2, 0)


# May a worker keep its slot from item to item?


def test_it_is_quiet_while_nothing_waits_no_rate_and_no_gate():
    admission = Admission(1)
    assert (admission.quiet, admission.steady) == (True, True)
    (first,) = running(admission)
    assert admission.quiet
    second = Permit()
    admission.ask(second)
    assert not admission.quiet  # before anybody polls
    admission.poll(0.0)
    assert not admission.quiet
    admission.leave(second)
    assert admission.quiet
    admission.ask(second)
    admission.leave(first)
    assert admission.poll(0.0) == [second]
    assert admission.quiet


def test_a_nested_call_that_has_a_slot_and_was_not_polled_is_not_quiet():
    admission = Admission(1)
    (outer,) = running(admission)
    inner = Permit(None, outer)
    admission.ask(inner)
    assert not admission.quiet
    assert admission.poll(0.0) == [inner]
    assert admission.quiet


def test_with_a_rate_it_is_never_quiet():
    admission = Admission(1, [Rate(10, 1)])
    assert not admission.quiet
    (permit,) = running(admission)
    assert not admission.quiet
    admission.leave(permit)
    assert not admission.quiet


def test_while_answers_change_something_it_is_not_quiet():
    admission = Admission(1)
    admission.steady = False
    admission.poll(0.0)
    assert not admission.quiet


def test_a_gate_ends_the_quiet_at_once_until_its_starts_are_spread():
    admission = Admission(2)
    (permit,) = running(admission)
    admission.close_gate(8.0, spread=1.0, apart=math.inf)
    assert not admission.quiet
    for now, quiet in ((7.0, False), (8.0, False), (8.875, False), (9.0, True)):
        admission.poll(now)
        assert admission.quiet is quiet
    admission.leave(permit)
    assert not admission.quiet  # leaving knows no time: the next poll says so


def test_who_waits_at_the_gate_is_not_quiet():
    admission = Admission(2)
    admission.close_gate(8.0, spread=0.0, apart=math.inf)
    waiting(admission, now=7.0)
    assert not admission.quiet
    assert len(admission.poll(8.0)) == 1
    assert admission.quiet


@pytest.mark.parametrize(
    ("state", "slotted", "opens_at", "waited"),
    [
        (WAITING, 0.0, 20.0, (4.0, 0.0, 0.0)),
        (SLOTTED, 12.0, 0.0, (2.0, 0.0, 2.0)),
        (SLOTTED, 12.0, 13.5, (2.0, 1.5, 0.5)),
        (SLOTTED, 12.0, 20.0, (2.0, 2.0, 0.0)),
        (RUNNING, 9.0, 0.0, (0.0, 0.0, 4.0)),  # a slot that it had before it asked
        (RUNNING, 15.0, 0.0, (5.0, 0.0, 0.0)),  # an appointment that was taken up early
    ],
)
def test_a_wait_is_for_a_slot_then_for_the_gate_then_for_the_rate(state, slotted, opens_at, waited):
    permit = Permit()
    permit.state, permit.slotted = state, slotted
    assert permit.waited(10.0, opens_at, 14.0) == waited


def test_who_asked_a_moment_ago_on_another_clock_has_not_waited_less_than_nothing():
    assert Permit().waited(10.0, 0.0, 9.0) == (0.0, 0.0, 0.0)


def test_one_that_comes_back_at_another_place_hides_nobody_of_its_owner():
    line, here, there = Line(()), Loop(), Loop()
    first, second, other = Permit(None, None, here), Permit(None, None, here), Permit(None, None, there)
    for place, permit in enumerate((first, second, other), start=1):
        permit.place = place
        line.add(permit)
    assert line.head() is first
    line.remove(first)
    first.place = 9  # charged anew, it asks behind all others
    line.add(first)
    assert line.head() is line.first_of(here) is second
    line.remove(second)
    assert line.head() is other
    line.remove(other)
    assert line.head() is first
