"""Admission: who starts when, on whose slot, and what a driver may read of it, to the last digit."""

from __future__ import annotations

import math

import pytest

from fanmap._policy.admission import Admission, Ticket
from fanmap._policy.rate import Bucket, Rate


def running(admission, count=1, *, now=0.0, parent=None, owner=None):
    """So many tickets that may run from now on."""
    tickets = [Ticket(None, parent, owner) for _ in range(count)]
    for ticket in tickets:
        admission.ask(ticket)
    assert admission.poll(now) == tickets
    for ticket in tickets:
        ticket.started = True
    return tickets


def waiting(admission, count=1, *, now=0.0):
    """So many tickets that have to wait."""
    tickets = [Ticket() for _ in range(count)]
    for ticket in tickets:
        admission.ask(ticket)
    assert admission.poll(now) == []
    return tickets


def start_times(admission, count, *, now=0.0):
    """When so many calls start that ask together and each leave at once, if the head sleeps as it is told."""
    tickets, times = [Ticket() for _ in range(count)], []
    for ticket in tickets:
        admission.ask(ticket)
    for _ in range(2 * count + 1):
        for ticket in admission.poll(now):
            times.append(now)
            ticket.started = True
            admission.leave(ticket)
        head = admission.head()
        now += 0.0 if head is None else admission.patience(head, now)
    assert len(times) == count
    return times


# What a ticket says


def test_a_new_ticket_says_nothing_yet():
    ticket = Ticket()
    assert (ticket.granted, ticket.started) == (False, False)
    assert (ticket.crowd, ticket.ceiling, ticket.epoch, ticket.slotted) == (0, 0, 0, 0.0)


def test_a_ticket_says_in_what_crowd_under_which_ceiling_and_epoch_it_was_granted():
    admission = Admission(3)
    assert admission.epoch == 0
    admission.epoch = 5
    first, second = running(admission, 2)
    (third,) = running(admission)
    assert [(ticket.crowd, ticket.ceiling, ticket.epoch) for ticket in (first, second, third)] == [
        (2, 3, 5),
        (2, 3, 5),
        (3, 3, 5),
    ]


def test_a_ticket_says_when_it_got_its_slot_not_when_the_gate_let_it_go():
    admission = Admission(1)
    admission.close_gate(10.0, spread=0.0, apart=math.inf)
    (ticket,) = waiting(admission, now=4.0)
    assert admission.poll(10.0) == [ticket]
    assert ticket.slotted == 4.0


# Lending


def test_a_call_that_has_not_started_has_no_slot_to_lend():
    admission = Admission(2)
    admission.close_gate(10.0, spread=0.0, apart=math.inf)
    (outer,) = waiting(admission)
    inner = Ticket(None, outer)
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
    second, third = Ticket(None, outer), Ticket(None, outer)
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
    child = Ticket(None, outer)
    admission.ask(child)
    assert list(outer.children) == [child]
    admission.leave(outer)
    assert (outer.children, child.parent) == (None, None)
    late = Ticket(None, outer)
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
    ticket = Ticket([3.0, 2.0])
    admission.ask(ticket)
    assert admission.poll(0.0) == [ticket]
    first.charge(0.0, 3.0)
    second.charge(0.0, 2.0)
    late = Ticket([1.0, 4.0])
    admission.ask(late)
    assert admission.poll(0.0) == []
    assert admission.patience(late, 0.0) == max(first.earliest(0.0, 1.0), second.earliest(0.0, 4.0)) == 4.0


# Settling


def one_call(actual, *, started=True):
    """What a next call of cost 4 waits for after one that was charged 2 in two rates, and took this."""
    rates = [Rate(8, 8, burst=4), Rate(8, 16, burst=4)]
    admission = Admission(4, rates)
    ticket = Ticket([2.0, 2.0])
    admission.ask(ticket)
    assert admission.poll(0.0) == [ticket]
    ticket.started = started
    admission.settle(ticket, actual)
    assert ticket.grants == ()
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


def test_to_settle_a_call_that_was_not_charged_is_a_mistake():
    admission = Admission(1, [Rate(8, 8)])
    with pytest.raises(ValueError, match="shorter"):
        admission.settle(Ticket(), [1.0])


def taken_over(costs):
    """A call on its way, charged 1 in two rates of which three more are left, whose slot a call of these costs takes."""
    admission = Admission(1, [Rate(8, 8, burst=4), Rate(8, 16, burst=4)])
    (ticket,) = running(admission)
    ticket.started = True
    return admission, ticket, admission.charge_anew(ticket, costs)


def test_a_call_that_takes_over_and_costs_the_same_goes_on():
    admission, ticket, waits = taken_over([1.0, 1.0])
    assert (waits, ticket.granted, admission.waiting()) == (False, True, 0)


def test_a_call_that_takes_over_and_costs_more_of_one_rate_only_waits():
    _, ticket, waits = taken_over([1.0, 2.0])
    assert (waits, ticket.granted) == (True, False)


def test_to_take_over_from_a_call_that_was_not_charged_is_a_mistake():
    with pytest.raises(ValueError, match="longer"):
        Admission(1, [Rate(8, 8)]).charge_anew(Ticket(), [1.0])


def test_a_nested_call_that_got_its_lenders_slot_is_in_one_line_only():
    admission = Admission(1)
    (lender,) = running(admission)
    first, second = Ticket(parent=lender), Ticket(parent=lender)
    for nested in (first, second):
        admission.ask(nested)
    assert admission.poll(0.0) == [first]
    admission.leave(first)
    assert (admission.in_flight(), admission.waiting()) == (1, 1)
    assert admission.poll(0.0) == [second]
    assert (admission.in_flight(), admission.waiting()) == (1, 0)


def test_a_call_that_takes_over_gets_the_charge_back_and_pays_its_own():
    admission, ticket, waits = taken_over([4.0, 2.0])
    assert (waits, ticket.granted, ticket.started, ticket.costs) == (True, False, False, [4.0, 2.0])
    assert (admission.in_flight(), admission.running(), admission.waiting()) == (1, 0, 1)
    assert admission.poll(0.0) == [ticket]  # of a burst of four, none had been used
    assert [grant.cost for grant in ticket.grants] == [4.0, 2.0]


def test_a_call_that_takes_over_waits_for_its_own_charge_behind_those_who_wait_with_a_slot():
    admission = Admission(2, [Rate(8, 8, burst=4)])
    spender, ticket = running(admission, 2)
    spender.started = True
    admission.settle(spender, [4.0])
    admission.leave(spender)
    other = Ticket()
    admission.ask(other)
    assert admission.poll(0.0) == []
    assert admission.charge_anew(ticket, [3.0])
    assert admission.poll(0.0) == []
    assert admission.poll(1.0) == [other]
    assert admission.patience(ticket, 1.0) == 3.0
    assert admission.poll(4.0) == [ticket]


def test_a_call_that_takes_over_and_leaves_before_its_turn_has_cost_nothing():
    admission, ticket, _ = taken_over([8.0, 8.0])
    admission.leave(ticket)
    assert (admission.in_flight(), admission.waiting(), ticket.grants) == (0, 0, ())
    assert [bucket.earliest(0.0, 4.0) for bucket in admission._buckets] == [0.0, 0.0]


def test_leaving_settles_what_was_not_settled_once():
    admission = Admission(4, [Rate(8, 8, burst=4)])
    (ticket,) = running(admission)
    admission.leave(ticket)
    assert ticket.grants == ()
    admission.leave(ticket)
    assert admission._buckets[0].earliest(0.0, 4.0) == 1.0


# Patience


def test_only_the_head_holds_a_timer_and_the_next_of_each_line_looks_once_a_second():
    admission = Admission(3)
    admission.close_gate(10.0, spread=0.0, apart=math.inf)
    head, second, third, next_for_a_slot, last = waiting(admission, 5)
    assert admission.head() is head
    told = [admission.patience(ticket, 4.0) for ticket in (head, second, third, next_for_a_slot, last)]
    assert told == [6.0, 1.0, None, 1.0, None]


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
    assert (admission.patience(first, 0.0), admission.patience(second, 0.0)) == (1.0, None)


# Whose slots they are


def test_slots_are_held_only_by_an_owner_if_all_are_taken_and_all_by_it():
    admission = Admission(2)
    (first,) = running(admission, owner="here")
    assert not admission.held_only_by("here")  # one is free
    (second,) = running(admission, owner="here")
    assert admission.held_only_by("here")
    assert not admission.held_only_by("there")
    admission.limit = 1  # lowered meanwhile
    assert admission.held_only_by("here")
    admission.limit = 2
    admission.leave(second)
    running(admission, owner="there")
    assert not admission.held_only_by("here")
    assert first.owner == "here"


def test_a_slot_that_may_be_borrowed_blocks_nobody():
    admission = Admission(2)
    first, _ = running(admission, 2, owner="here")
    assert not admission.held_only_by("here", first)
    assert admission.held_only_by("here", Ticket())


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
    second = Ticket()
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
    inner = Ticket(None, outer)
    admission.ask(inner)
    assert not admission.quiet
    assert admission.poll(0.0) == [inner]
    assert admission.quiet


def test_with_a_rate_it_is_never_quiet():
    admission = Admission(1, [Rate(10, 1)])
    assert not admission.quiet
    (ticket,) = running(admission)
    assert not admission.quiet
    admission.leave(ticket)
    assert not admission.quiet


def test_while_answers_change_something_it_is_not_quiet():
    admission = Admission(1)
    admission.steady = False
    admission.poll(0.0)
    assert not admission.quiet


def test_a_gate_ends_the_quiet_at_once_until_its_starts_are_spread():
    admission = Admission(2)
    (ticket,) = running(admission)
    admission.close_gate(8.0, spread=1.0, apart=math.inf)
    assert not admission.quiet
    for now, quiet in ((7.0, False), (8.0, False), (8.875, False), (9.0, True)):
        admission.poll(now)
        assert admission.quiet is quiet
    admission.leave(ticket)
    assert not admission.quiet  # leaving knows no time: the next poll says so


def test_who_waits_at_the_gate_is_not_quiet():
    admission = Admission(2)
    admission.close_gate(8.0, spread=0.0, apart=math.inf)
    waiting(admission, now=7.0)
    assert not admission.quiet
    assert len(admission.poll(8.0)) == 1
    assert admission.quiet
