"""A process under a shared name: what it may start, what it says, and what it makes of replies."""

from __future__ import annotations

import math

import pytest

from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.rate import Rate
from fanmap._policy.shared.admission import SharedAdmission
from fanmap._policy.shared.demand import Appointment, Demand, runs
from fanmap._policy.shared.document import HORIZON, NEVER
from fanmap._policy.shared.happenings import Happenings
from fanmap._policy.shared.member import Member
from fanmap._policy.shared.messages import (
    ANSWERED,
    CONCURRENCY,
    DENIED,
    DIFFERENT,
    FAILED,
    OTHER,
    RATE,
    REFUSED,
    SETTLED,
    SPENT,
    STALE,
    TAKEN,
    UNUSED,
    Known,
    Reply,
)
from fanmap._policy.shared.offset import Offset
from fanmap._policy.shared.wanted import patient, wanted

TTL = 10.0
NOTHING = Demand(0)


def member_of(rates=(), slots=4):
    return Member(77, wanted(Adaptive(slots, 1, slots), rates), TTL, wake=5)


def heard(member, now=100.0, demand=NOTHING, *, took=0.0, memory=9, clock=1000.0, **more):
    """One exchange: asked at `now`, answered when the document showed 900 s more."""
    request = member.compose(now, demand, 3)
    reply = Reply(request.serial, TAKEN, memory, now + clock - 100.0, **{"again": 1.0, **more})
    assert member.take(reply, now + took)
    return request


def refuse(member, besides, now=100.0):
    member.happenings.refused("concurrency", None, 0, besides + 1, None, now, now, 60.0, 0.5)
    member.refused(besides)


# What may start


def test_nothing_may_start_before_the_first_reply():
    member = member_of()
    assert member.cap(100.0) == 0
    assert member.earliest(100.0, []) == math.inf


def test_what_was_allowed_may_be_used_until_the_lease_ends():
    member = member_of()
    heard(member, allow=3, target=3, took=2.0)
    assert member.lease == 100.0 + 0.95 * TTL  # from before it was asked
    assert [member.cap(at) for at in (102.0, 109.49, 109.5)] == [3, 3, 0]


def test_after_a_refusal_no_more_start_than_the_server_bore_until_the_others_have_heard_of_it():
    member = member_of()
    heard(member, allow=4, target=4)
    refuse(member, besides=3)
    refuse(member, besides=2)
    refuse(member, besides=3)
    assert member.cap(100.0) == 2
    member.compose(100.0, Demand(4, (4, 0)), 3)
    assert member.cap(100.0) == 2
    member.lost()
    heard(member, allow=4, target=4, told=2)  # the third has not been taken
    assert member.cap(100.0) == 2
    heard(member, allow=4, target=4, told=3)
    assert member.cap(100.0) == 4


def test_what_the_server_bears_is_no_right_to_it():
    member = member_of()
    heard(member, allow=1, target=1)
    refuse(member, besides=3)
    assert member.cap(100.0) == 1


@pytest.mark.parametrize(
    ("told", "cap"),
    [
        ({"allow": 3, "target": 2}, 3),
        ({"allow": 3, "target": 2, "pressed": True}, 2),
        ({"allow": 3, "target": 5, "pressed": True}, 3),
        ({"allow": 3, "target": 3, "over": True}, 0),
        ({"allow": 3, "target": 2, "scarce": True}, 3),
    ],
)
def test_how_many_may_be_used(told, cap):
    member = member_of()
    heard(member, **told)
    assert member.cap(100.0) == cap


def test_a_call_that_has_its_slot_may_start_while_the_lease_runs_and_there_are_not_too_many():
    member = member_of()
    assert not member.may_start(100.0)
    heard(member, allow=0)
    assert [member.may_start(at) for at in (100.0, 109.49, 109.5)] == [True, True, False]
    heard(member, 101.0, over=True)
    assert not member.may_start(101.0)


def test_what_is_given_back_is_not_used_again_whatever_becomes_of_the_request():
    member = member_of()
    heard(member, allow=4, target=1, pressed=True)
    request = member.compose(101.0, Demand(2, (2, 0)), 3)
    assert request.keep == 2
    assert member.cap(101.0) == 1
    member.lost()
    assert (member.allow, member.cap(101.0)) == (2, 1)


def test_while_a_request_is_under_way_no_more_may_be_used_than_it_said():
    member = member_of()
    heard(member, allow=4, target=4, scarce=True)
    member.compose(101.0, Demand(1, (2, 0)), 3)
    assert member.cap(101.0) == 2
    member.lost()
    assert member.cap(101.0) == 2


def test_a_reply_to_another_request_is_not_listened_to():
    member = member_of()
    heard(member, allow=1, target=1)
    late = Reply(1, TAKEN, 9, 1001.0, allow=9, target=9)
    assert not member.take(late, 101.0)
    request = member.compose(101.0, NOTHING, 3)
    assert not member.take(late, 101.0)
    assert not member.take(Reply(request.serial, STALE, 9, 1001.0, allow=9), 101.0)
    assert member.allow == 1
    assert member.take(Reply(request.serial, TAKEN, 9, 1001.0, allow=2), 101.0)
    assert not member.take(Reply(request.serial, TAKEN, 9, 1001.0, allow=3), 101.0)
    assert member.allow == 2


def test_where_the_others_have_other_rates_nothing_may_start():
    member = member_of()
    heard(member, allow=1, target=1)
    request = member.compose(101.0, NOTHING, 3)
    assert member.take(Reply(request.serial, DIFFERENT, 9, 1001.0, rates=[[1, 60]]), 101.0)
    assert (member.different, member.cap(101.0)) == ([[1, 60]], 0)
    heard(member, 102.0, allow=1, target=1)
    assert (member.different, member.cap(102.0)) == (None, 1)


# The gate


def test_a_gate_is_as_the_others_have_it_by_this_process_s_clock():
    member = member_of()
    heard(member, allow=2, target=2, gate=1002.0, spread=0.0, apart=1e15)
    assert (member.gate, member.opens(100.0, -math.inf)) == (102.0, 102.0)
    assert member.opens(103.0, -math.inf) == 103.0


def test_a_refusal_here_holds_at_once():
    member = member_of()
    heard(member, allow=2, target=2)
    member.shut(105.0, 0.0, 5.0)
    assert member.opens(100.0, -math.inf) == 105.0
    heard(member, 101.0, allow=2, target=2, gate=1004.0, spread=7.0, apart=7.0)
    assert (member.gate, member.spread, member.apart) == (105.0, 0.0, 5.0)
    heard(member, 102.0, allow=2, target=2, gate=1006.0, spread=7.0, apart=8.0)
    assert (member.gate, member.spread, member.apart) == (106.0, 7.0, 8.0)
    member.shut(103.0, 1.0, 2.0)
    assert (member.gate, member.spread, member.apart) == (106.0, 1.0, 2.0)


def test_each_process_spreads_its_starts_a_little_later_than_the_one_before_it():
    member = member_of()
    heard(member, allow=4, target=4, gate=1000.0, spread=1.0, apart=1e15, members=8, rank=2)
    assert member.opens(100.0, 99.0) == 100.0625
    assert member.opens(100.05, 99.0) == 100.0625
    assert member.opens(100.07, 99.0) == 100.07
    assert member.opens(100.07, 100.0625) == 100.3125
    assert member.opens(101.0, 100.99) == 101.0


@pytest.mark.parametrize(("allow", "target", "step"), [(4, 2, 0.5), (2, 4, 0.5), (0, 0, 1.0)])
def test_starts_are_spread_over_the_slots_that_a_process_has(allow, target, step):
    member = member_of()
    heard(member, allow=allow, target=target, gate=1000.0, spread=1.0, apart=1e15)
    assert member.opens(100.0, 100.0) == 100.0 + step


def test_starts_of_all_are_no_further_apart_than_the_wait_that_was_named():
    member = member_of()
    heard(member, allow=1, target=1, gate=1000.0, spread=1.0, apart=0.01, members=8, rank=1)
    assert member.opens(100.0, 99.0) == 100.01
    assert member.opens(100.0, 100.0) == 100.08


def test_booked_starts_are_spread_already():
    member = member_of([Rate(9, 9)])
    heard(member, allow=4, target=4, gate=1000.0, spread=1.0, apart=1e15, members=8, rank=2)
    assert member.opens(100.0, 100.0) == 100.0


# Booked starts


def test_a_booked_start_serves_the_first_in_line_within_its_time():
    member = member_of([Rate(10, 1)])
    heard(member, allow=2, target=2, box=[[1, 0, 1000.2, 1.0], [2, 0, 1000.3, 1.0]])
    assert member.booked(100.0) == 2
    assert member.earliest(100.0, [1.0]) == pytest.approx(100.2)
    assert member.earliest(100.21, [1.0]) == 100.21
    appointment = member.begin()
    assert (appointment.start, appointment.booked, appointment.costs) == (pytest.approx(100.2), 1000.2, [1.0])
    assert appointment.until == pytest.approx(100.2 + 0.05 - 0.001)
    assert (member.booked(100.21), appointment.memory) == (1, 9)


def test_one_that_came_before_does_not_come_again():
    member = member_of([Rate(10, 1)])
    box = [[1, 0, 1000.2, 1.0], [2, 0, 1000.3, 1.0]]
    heard(member, box=box[:1])
    heard(member, 100.1, box=box)
    assert member.booked(100.1) == 2
    assert member.compose(101.0, NOTHING, 3).got == 2


def test_one_that_lapses_goes_back_and_the_next_one_counts():
    member = member_of([Rate(10, 1)])
    heard(member, box=[[1, 0, 1000.2, 1.0], [2, 0, 1000.3, 1.0]])
    assert member.earliest(100.26, [1.0]) == pytest.approx(100.3)
    (event,) = member.compose(101.0, NOTHING, 3).events
    assert event == [1, UNUSED, 9, 1000.2, 1.0, 1.0]


def test_one_inside_a_gate_lapses_too():
    member = member_of([Rate(10, 1)])
    heard(member, box=[[1, 0, 1000.2, 1.0]])
    member.shut(100.24, 0.0, 1.0)
    assert member.earliest(100.1, [1.0]) == pytest.approx(100.2)
    member.shut(100.26, 0.0, 1.0)
    assert member.earliest(100.1, [1.0]) == math.inf


def test_one_that_does_not_cover_the_costs_goes_back_and_did_not_lapse():
    member = member_of([Rate(100, 1, cost=len), Rate(50, 10)])
    heard(member, box=[[1, 0, 1000.2, 5.0, 1.0], [2, 0, 1000.3, 6.0, 1.0]])
    assert member.earliest(100.1, [6.0, 1.0]) == pytest.approx(100.3)
    (event,) = member.compose(101.0, NOTHING, 3).events
    assert event == [1, UNUSED, 9, 1000.2, 0.0, 5.0, 1.0]


def test_what_it_took_less_is_settled_rate_by_rate():
    member = member_of([Rate(100, 1, cost=len), Rate(50, 10)])
    heard(member, box=[[1, 0, 1000.2, 5.0, 1.0]])
    member.settle(member.begin(), [3.0, 1.0], 100.5)
    (event,) = member.compose(101.0, NOTHING, 3).events
    assert event == [1, SETTLED, 9, 0, 1000.2, -2.0]


def test_what_it_took_more_is_told_when_that_is_known():
    member = member_of([Rate(100, 1, cost=len), Rate(50, math.inf), Rate(50, 10)])
    heard(member, rates=[[0.0, 0.0, 50.0, 0.0, 0.0, 0.0]] * 3)
    admission = SharedAdmission(member, [Rate(100, 1, cost=len), Rate(50, math.inf), Rate(50, 10)])
    admission.charge_late([3.0, 2.0, 0.0], 100.5)
    admission.charge_late([-1.0, -1.0, -1.0], 100.6)  # what the others were told is spent stays so
    request = member.compose(101.0, NOTHING, 3)
    assert [event[1:4] + event[5:] for event in request.events] == [[SETTLED, 9, 0, 3.0]]
    assert request.paid == [0.0, 2.0, 0.0]


def test_the_worse_it_knows_the_store_s_clock_the_sooner_a_start_lapses():
    member = member_of([Rate(10, 1)])
    heard(member, took=0.02, box=[[1, 0, 1000.2, 1.0]])
    first = member.begin()
    assert first.start == pytest.approx(100.22)  # at the latest
    assert first.until == pytest.approx(100.2 + 0.05 - 0.001)  # as if at the earliest
    assert member.settings == member_of([Rate(10, 1)]).settings


def test_where_it_knows_it_too_badly_starts_may_be_later_and_are_fewer():
    member = member_of([Rate(10, 1)])
    before = member.settings.rates[0]
    heard(member, took=0.06)
    after = member.settings.rates[0]
    assert (before.late, after.late) == (0.05, 0.2)
    assert after.refill * (1 + after.late) == pytest.approx(before.refill * (1 + before.late))
    assert member.compose(101.0, NOTHING, 3).settings == member.settings
    member.lost()
    heard(member, 102.0)
    assert member.settings.rates[0] == before


def test_patience_doubles_until_it_is_twice_the_error():
    settings = wanted(Adaptive(), [Rate(10, 1), Rate(100, 60)])
    assert patient(settings, 0.025) is settings
    assert [rate.late for rate in patient(settings, 0.026).rates] == [0.1, 0.3]
    assert [rate.late for rate in patient(settings, 0.2).rates] == [0.4, 0.6]


# The clocks


def test_a_time_of_the_document_is_never_taken_too_early():
    offset = Offset()
    offset.learn(1000.0, 99.0, 101.0, anew=True)
    assert (offset.mine(1000.0), offset.error) == (101.0, 2.0)
    offset.learn(1010.0, 109.9, 110.4, anew=False)
    assert offset.mine(1010.0) == pytest.approx(110.4)
    assert offset.error == pytest.approx(0.5)
    offset.learn(1011.0, 110.5, 112.0, anew=False)  # a slow one says no more, but that they may have drifted apart
    assert offset.mine(1011.0) == pytest.approx(111.4 + 1.6 * 0.0005)
    assert offset.error == pytest.approx(0.5 + 2 * 1.6 * 0.0005)
    assert offset.at == 112.0


@pytest.mark.parametrize("set_by", [-5.0, 5.0])
def test_where_a_clock_was_set_it_is_learnt_anew(set_by):
    offset = Offset()
    offset.learn(1000.0, 100.0, 100.1, anew=True)
    offset.learn(1010.0 + set_by, 110.0, 110.2, anew=False)
    assert offset.most == pytest.approx(110.2 - 1010.0 - set_by)
    assert offset.error == pytest.approx(0.2)


def test_another_document_has_another_clock():
    offset = Offset()
    offset.learn(1000.0, 100.0, 100.1, anew=True)
    offset.learn(1010.0, 110.0, 110.5, anew=True)
    assert offset.mine(1010.0) == 110.5


def test_what_surely_has_passed_is_a_little_less_than_this_clock_says():
    offset = Offset()
    offset.learn(1000.0, 100.0, 100.0, anew=True)
    assert offset.surely(110.0) == pytest.approx(10.0 * 0.9995)


# What is said


def test_the_first_request_says_who_what_and_how_much():
    member = member_of([Rate(10, 1)])
    request = member.compose(100.0, Demand(0, (3, 1), ([[1.0], [1.0], [2.0]], [[1.0]])), 3)
    assert (request.id, request.serial, request.settings, request.ttl, request.wake) == (77, 1, member.settings, TTL, 5)
    assert (request.use, request.want, request.keep, request.got, request.replied) == (0, (3, 1), 0, 0, 0)
    assert list(request.asks) == [[[2, 1.0], [1, 2.0]], [[1, 1.0]]]
    assert (request.known, request.fresh, request.leaving) == (Known(), 3, False)
    assert member.compose(101.0, NOTHING, 4, leaving=True).leaving


def test_it_says_how_long_ago_it_was_answered_and_what_it_knows():
    member = member_of([Rate(10, 1)])
    heard(member, took=0.25, ceiling=3, epoch=2, gate=1004.0, rates=[[1001.5, 1.0, 10.0, 1.0]])
    request = member.compose(102.25, NOTHING, 3)
    assert (request.replied, request.age, request.rest) == (1, 2.25, pytest.approx(2.0 * 0.9995))
    assert request.known == Known(9, 2.0, 3, 2, [(pytest.approx(-0.5), 1.0)], time=1000.0)
    assert member.amounts == [(10.0, 1.0)]


def test_what_it_never_heard_of_a_gate_is_long_ago():
    member = member_of()
    heard(member)
    assert member.compose(101.0, NOTHING, 3).known.gate == NEVER


@pytest.mark.parametrize(
    ("told", "demand", "keep"),
    [
        ({"allow": 4, "target": 2}, Demand(1, (1, 0)), 1),  # nobody wants them and it does not use them
        ({"allow": 4, "target": 2}, Demand(1, (9, 0)), 4),
        ({"allow": 4, "target": 2, "pressed": True}, Demand(1, (9, 0)), 2),
        ({"allow": 4, "target": 2, "pressed": True}, Demand(3, (9, 0)), 3),
        ({"allow": 4, "target": 6, "pressed": True}, Demand(3, (9, 0)), 4),
        ({"allow": 4, "target": 4, "scarce": True}, Demand(1, (2, 1)), 3),
        ({"allow": 4, "target": 4, "scarce": True}, Demand(4, (9, 0)), 4),
    ],
)
def test_it_keeps_what_it_needs_and_what_nobody_else_does(told, demand, keep):
    member = member_of()
    heard(member, **told)
    assert member.compose(101.0, demand, 3).keep == keep


def test_after_the_lease_it_keeps_what_it_uses():
    member = member_of()
    heard(member, allow=4, target=4)
    assert member.compose(109.5, Demand(1, (9, 0)), 3).keep == 1


def test_what_was_used_a_moment_ago_is_kept_a_moment_longer():
    member = member_of()
    heard(member, allow=4, target=4)
    member.saw(101.0, 4)
    for at, keep in ((101.1, 4), (101.21, 4), (101.39, 4), (101.42, 1)):
        member.saw(at, 1)
        assert member.compose(at, Demand(1, (1, 0)), 3).keep == keep, at
        heard(member, at, Demand(1, (1, 0)), allow=4, target=4)
    member.saw(101.43, 3)
    member.saw(101.44, 1)
    assert member.compose(101.45, Demand(1, (1, 0)), 3).keep == 3
    member.lost()
    member.saw(103.0, 1)
    assert member.compose(103.0, Demand(1, (1, 0)), 3).keep == 1


# When to ask


def due(member, now, demand):
    return member.due(now, *demand.counts())


def test_a_process_that_was_never_heard_of_asks_at_once():
    assert due(member_of(), 100.0, NOTHING) <= 100.0


def test_it_asks_again_when_it_was_told_to():
    member = member_of()
    heard(member, again=2.5, took=0.25)
    assert due(member, 101.0, NOTHING) == 102.75


def test_a_wake_is_answered_at_once_and_once():
    member = member_of()
    heard(member)
    member.poke()
    assert due(member, 100.5, NOTHING) == 100.5
    heard(member, 100.5)
    assert due(member, 100.6, NOTHING) == 101.5


def test_a_call_that_waits_is_told_of_once():
    member = member_of()
    heard(member, 100.0, Demand(0, (1, 0)), allow=1, target=1)
    assert due(member, 100.1, Demand(0, (1, 0))) == 101.0
    assert due(member, 100.1, Demand(1, (2, 0))) == 100.1
    heard(member, 100.1, Demand(1, (2, 0)), allow=1, target=1)
    assert due(member, 100.2, Demand(1, (2, 0))) == 101.1
    assert due(member, 100.2, Demand(1, (2, 1))) == 100.2


def test_who_has_lost_its_lease_asks_at_once_if_it_needs_anything():
    member = member_of()
    heard(member, allow=0, target=1, again=50.0, demand=Demand(0, (1, 0)))
    assert due(member, 109.4, Demand(0, (1, 0))) == 150.0
    assert due(member, 109.5, Demand(0, (1, 0))) == 109.5
    assert due(member, 109.5, NOTHING) == 150.0


@pytest.mark.parametrize(("wait", "at_once"), [(0, False), (2, False), (3, False), (4, True), (5, True)])
def test_more_calls_that_wait_for_a_start_are_told_of_when_they_are_twice_as_many(wait, at_once):
    member = member_of([Rate(10, 1)])
    heard(member, 100.0, Demand(0, (0, 0), ([[1.0]] * 2, ())), asked=[2, 0])
    assert (due(member, 100.1, Demand(0, (0, 0), ([[1.0]] * wait, ()))) <= 100.1) == at_once


def test_the_first_call_that_waits_for_a_start_is_told_of_at_once_but_not_long_before_a_gate_opens():
    member = member_of([Rate(10, 1)])
    heard(member, again=3.0)
    asks = Demand(0, (0, 0), ((), [[1.0]]))
    assert due(member, 100.1, asks) <= 100.1
    member.shut(102.0, 0.0, 1.0)
    assert due(member, 100.1, asks) == 102.0 - HORIZON
    assert list(member.compose(100.1, asks, 3).asks) == [[], []]
    member.lost()
    assert list(member.compose(102.0 - HORIZON, asks, 3).asks) == [[], [[1, 1.0]]]


def test_slots_that_others_wait_for_are_given_back_at_once():
    member = member_of()
    heard(member, 100.0, Demand(4, (4, 0)), allow=4, target=2, pressed=True)
    assert due(member, 100.1, Demand(4, (4, 0))) == 101.0
    assert due(member, 100.1, Demand(3, (4, 0))) == 100.1
    heard(member, 100.1, Demand(3, (4, 0)), allow=2, target=2, scarce=True)
    assert due(member, 100.2, Demand(1, (2, 0))) == 101.1
    assert due(member, 100.2, Demand(1, (1, 0))) == 100.2


def test_slots_that_nobody_waits_for_are_given_back_after_a_moment():
    member = member_of()
    heard(member, 100.0, Demand(4, (4, 0)), allow=4, target=4)
    member.saw(100.05, 4)
    assert due(member, 100.1, NOTHING) == 101.0
    member.saw(100.3, 0)
    assert due(member, 100.31, NOTHING) == 101.0
    assert due(member, 100.5, NOTHING) == 100.2
    heard(member, 100.5, NOTHING, allow=0, target=0)
    assert due(member, 100.6, NOTHING) == 101.5


def test_what_happened_is_told_when_it_is_due():
    member = member_of()
    heard(member, again=3.0)
    member.happenings.answered(0, 4, 4, 99.0, 100.5, urgent=False)
    assert due(member, 100.6, NOTHING) == 100.8
    member.happenings.failed(100.0, 100.7, 120.0, 0.5)
    assert due(member, 100.7, NOTHING) == 100.7


# What happened


def test_events_are_numbered_and_their_times_become_ages():
    events = Happenings()
    events.refused("rate", 2.5, 3, 8, 6, 99.0, 100.0, 300.0, 0.25)
    events.refused("concurrency", None, 3, 8, 5, 99.0, 100.5, 300.0, 0.25)
    events.answered(3, 7, 9, 98.0, 100.0, urgent=True)
    events.failed(98.5, 101.0, 300.0, 0.75)
    events.spent(101.0)
    events.settled(9, 1, 1000.5, -2.0, 101.0)
    events.unused(9, 1000.5, [1.0, 2.0], 101.0, lapsed=True)
    events.denied(101.0)
    assert events.told(102.0) == [
        [1, REFUSED, RATE, 2.5, 3, 8, 6, 2.0, 3.0, 300.0, 0.25],
        [2, REFUSED, CONCURRENCY, -1.0, 3, 8, 5, 1.5, 3.0, 300.0, 0.25],
        [3, ANSWERED, 3, 7, 9, 1, 4.0],
        [4, FAILED, 3.5, 300.0, 0.75],
        [5, SPENT, 1.0],
        [6, SETTLED, 9, 1, 1000.5, -2.0],
        [7, UNUSED, 9, 1000.5, 1.0, 1.0, 2.0],
        [8, DENIED],
    ]
    assert events.told(103.0)[4] == [5, SPENT, 2.0]  # until they are taken


@pytest.mark.parametrize(("kind", "number"), [("overloaded", OTHER), ("wrong", OTHER), ("ramp", 3), ("rate", RATE)])
def test_kinds_of_refusals_have_numbers(kind, number):
    events = Happenings()
    events.refused(kind, None, 0, 1, None, 0.0, 0.0, 300.0, 0.0)
    assert events.told(0.0)[0][2] == number


def test_equal_answers_are_one_event_until_it_is_sent():
    events = Happenings()
    for started in (97.0, 99.0, 98.0):
        events.answered(3, 7, 9, started, 100.0, urgent=False)
    events.answered(3, 8, 9, 97.0, 100.0, urgent=False)
    assert events.told(100.0) == [[1, ANSWERED, 3, 7, 9, 3, 1.0], [2, ANSWERED, 3, 8, 9, 1, 3.0]]
    events.answered(3, 7, 9, 99.5, 100.0, urgent=False)
    assert events.told(100.0)[2:] == [[3, ANSWERED, 3, 7, 9, 1, 0.5]]


def test_events_are_due_by_what_they_are():
    events = Happenings()
    assert events.due() == math.inf
    events.settled(9, 0, 1000.0, 1.0, 100.1)
    assert events.due() == pytest.approx(100.4)
    events.answered(0, 1, 1, 99.0, 100.0, urgent=False)
    assert events.due() == 100.3
    events.answered(0, 1, 1, 99.0, 100.2, urgent=True)
    assert events.due() == 100.2
    events.unused(9, 1000.0, [], 99.0, lapsed=False)
    assert events.due() == 99.3


@pytest.mark.parametrize(
    "happen",
    [
        lambda events: events.failed(99.0, 100.0, 300.0, 0.5),
        lambda events: events.spent(100.0),
        lambda events: events.denied(100.0),
        lambda events: events.refused("rate", 1.0, 0, 1, None, 99.0, 100.0, 300.0, 0.5),
    ],
)
def test_what_everybody_must_hear_is_due_at_once(happen):
    events = Happenings()
    happen(events)
    assert events.due() == 100.0


def test_what_was_taken_is_forgotten_and_what_was_not_is_not():
    events = Happenings()
    events.failed(99.0, 100.0, 300.0, 0.1)
    events.failed(99.0, 101.0, 300.0, 0.2)
    events.told(102.0)
    events.failed(99.0, 103.0, 300.0, 0.3)
    events.taken(1)
    assert [event[4] for event in events.told(104.0)] == [0.2, 0.3]
    events.taken(3)
    assert events.due() == math.inf


def test_a_request_holds_so_many_events_and_the_rest_comes_later():
    events = Happenings()
    for _ in range(600):
        events.failed(99.0, 100.0, 300.0, 0.5)
    assert [event[0] for event in events.told(100.0)] == list(range(1, 513))
    events.answered(0, 1, 1, 99.0, 100.0, urgent=False)
    events.answered(0, 1, 1, 99.0, 100.0, urgent=False)
    events.taken(512)
    assert len(events.told(100.0)) == 89


def test_a_member_takes_back_what_was_told():
    member = member_of()
    member.happenings.failed(99.0, 100.0, 300.0, 0.5)
    heard(member, told=1)
    assert member.compose(101.0, NOTHING, 3).events == []


# The rest of a reply


def test_a_reply_is_remembered():
    member = member_of([Rate(10, 1)])
    heard(
        member,
        ceiling=3,
        maximum=7,
        epoch=2,
        steady=False,
        outage=True,
        elsewhere=5,
        waiting=6,
        members=4,
        rank=2,
        since=990.0,
        failing=985.0,
        failures=3,
        answers=11,
        locked_out=True,
        spent=995.0,
        scarce=True,
        rates=[[NEVER, 0.0, 8.0, 1.0]],
    )
    assert (member.ceiling, member.maximum, member.epoch, member.steady, member.outage) == (3, 7, 2, False, True)
    assert (member.elsewhere, member.waiting, member.members, member.rank) == (5, 6, 4, 2)
    assert (member.since, member.spent, member.scarce, member.memory) == (90.0, 95.0, True, 9)
    assert (member.failing, member.failures, member.answers, member.locked_out) == (85.0, 3, 11, True)
    assert member.amounts == [(8.0, 1.0)]
    heard(member, 101.0)
    assert (member.since, member.spent, member.failing) == (None, None, None)


def test_before_the_first_reply_it_knows_what_it_wants_itself():
    member = member_of([Rate(10, 1)], slots=6)
    assert (member.ceiling, member.maximum, member.members, member.rank, member.epoch) == (6, 6, 1, 0, 0)
    assert (member.elsewhere, member.waiting, member.steady, member.outage) == (0, 0, True, False)
    assert (member.since, member.spent, member.gate, member.amounts) == (None, None, -math.inf, [(10.0, 1.0)])


def test_equal_costs_in_a_row_are_one():
    assert runs([]) == []
    assert runs([[1.0], [1.0], (1.0,), [2.0], [2.0], [1.0]]) == [[3, 1.0], [2, 2.0], [1, 1.0]]


def test_an_appointment_covers_what_costs_no_more_in_any_rate():
    appointment = Appointment(1.0, 2.0, [5.0, 1.0], 3.0, 9)
    assert appointment.covers([5.0, 1.0]) and appointment.covers([4.0, 0.0])
    assert not appointment.covers([5.1, 1.0]) and not appointment.covers([1.0, 1.1])


# What it wants


def test_what_a_process_wants_is_what_its_limits_say():
    def dollars(prompt):
        return 0.1

    def tokens(prompt):
        return 1.0

    rates = [Rate(10, 1), Rate(100, 60, cost=tokens), Rate(5, 3600, cost=dollars)]
    settings = wanted(Adaptive(2, 1, 9), rates, lambda rate: rate.cost is tokens)
    assert (settings.minimum, settings.start, settings.maximum) == (1, 2, 9)
    assert [(rate.what, rate.per, rate.amount) for rate in settings.rates][:2] == [(1, 1, 10.0), (2, 60, 100.0)]
    other = wanted(Adaptive(), [Rate(7, 3600, cost=dollars)]).rates[0]
    assert other.what == settings.rates[2].what > 2**47
    assert wanted(Adaptive(), [Rate(7, 3600, cost=tokens)]).rates[0].what not in (1, 2, other.what)
    assert [rate.late for rate in settings.rates] == [0.05, 0.3, 18.0]
    assert settings.rates[0].burst == 1.0
    assert settings.rates[0].refill == pytest.approx(10 / 1.05)
    assert settings.rates[1].refill * 60.3 + settings.rates[1].burst == pytest.approx(100)
