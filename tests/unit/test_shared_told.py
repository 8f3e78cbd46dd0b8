"""Limits that a server tells, of several processes: what one was told is everybody's, to the last digit."""

from __future__ import annotations

import pytest

from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.rate import Rate, pace
from fanmap._policy.shared.document import REQUESTS_TOLD
from fanmap._policy.shared.happenings import Happenings
from fanmap._policy.shared.member import Member
from fanmap._policy.shared.messages import TOLD
from fanmap._policy.shared.overview import overview
from fanmap._policy.shared.told import UNITS
from fanmap._policy.shared.wanted import wanted
from fanmap._shared.table import table

from .test_shared_ledger import Store
from .test_shared_member import heard

REQUESTS, INPUT = UNITS.index("requests"), UNITS.index("input tokens")


def store_of(slots=8, **more):
    store = Store(slots=slots)
    store.settings = wanted(Adaptive(slots, 1, slots), [], **(more or {"requests_told": True}))
    return store


def told(number, amount, per=60.0, *, place=0, unit=REQUESTS, ago=0.0):
    rate = Rate(amount, per)
    return [number, TOLD, place, unit, rate.amount, *pace(rate), rate.per, ago]


def none(number):
    return [number, TOLD, -1, 0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_until_somebody_is_told_one_call_of_all_is_under_way():
    store = store_of()
    reply = store.ask(1, 5)
    assert (reply.allow, reply.ceiling, reply.untold) == (1, 1, True)
    assert store.ask(2, 5).allow == 0
    reply = store.ask(1, 5, use=1, events=[told(1, 600)])
    assert (reply.allow, reply.ceiling, reply.untold, reply.wake) == (4, 8, False, [102])
    assert store.ask(2, 5).allow == 4


def test_who_was_told_nothing_has_what_the_others_were_told():
    store = store_of()
    store.ask(1, 1, events=[told(1, 600)])
    reply = store.ask(2, 5, asks=[[14, 1.0]])
    assert reply.rates[0][2:] == [600.0, pace(Rate(600))[0], 60.0, REQUESTS]
    step = reply.box[-1][2] - reply.box[-2][2]
    assert step == pytest.approx(60.05 / 60 / pace(Rate(600))[1])  # starts may come 0.05 s late


def test_a_server_that_tells_none_has_none():
    store = store_of()
    reply = store.ask(1, 8, use=1, asks=[[500, 1.0]], events=[none(1)])
    assert (reply.untold, reply.ceiling, len(reply.box)) == (False, 8, 500)
    assert reply.rates[0][5] == 0


def test_the_newest_number_holds_whoever_tells_it_first():
    store = store_of()
    store.ask(1, 1, events=[told(1, 600)])
    store.now += 5.0
    store.ask(2, 1, events=[told(1, 900)])
    store.ask(1, 1, events=[told(2, 300, ago=1.0)])  # this it was told before
    assert store.document.rates[0].amount == 900
    store.ask(1, 1, events=[told(3, 300)])
    assert store.document.rates[0].amount == 300


def test_a_change_leaves_as_many_units_to_be_refilled():
    store = store_of()
    store.ask(1, 8, events=[told(1, 600)])
    store.ask(1, 8, use=8, asks=[[30, 1.0]])
    rate, refill = store.document.rates[0], store.document.rates[0].refill
    debt = (rate.tat - store.now) * refill
    store.ask(1, 8, use=8, got=99, events=[told(2, 60)])
    assert (rate.tat - store.now) * rate.refill == pytest.approx(debt)
    assert rate.refill < refill / 8
    assert (rate.cells, rate.since >= store.now) == ([], True)
    tat = rate.tat
    store.ask(1, 8, use=8, got=99, events=[told(3, 60)])  # the same again
    assert rate.tat == tat


def test_calls_before_the_first_number_count():
    store = store_of()
    store.ask(1, 1, asks=[[1, 1.0]])
    store.ask(1, 1, use=1, got=1, events=[told(1, 60)])
    rate = store.document.rates[0]
    assert rate.tat == pytest.approx(store.now + 1 / rate.refill)


def test_calls_at_a_server_that_had_no_limit_are_no_debt():
    store = store_of()
    store.ask(1, 8, use=1, asks=[[500, 1.0]], events=[none(1)])
    store.ask(1, 8, use=8, got=500, events=[told(2, 60)])
    assert store.document.rates[0].tat == pytest.approx(store.now, abs=1e-6)


def test_who_comes_with_a_worse_clock_makes_it_slower_and_keeps_what_was_told():
    store = store_of()
    store.ask(1, 1, events=[told(1, 600)])
    rate = store.document.rates[0]
    (one,) = store.settings.rates
    worse = type(one)(one.what, one.per, one.amount, one.burst, one.refill, 4 * one.late)
    store.ask(2, 1, settings=type(store.settings)(1, 8, 8, (worse,)))
    rate = store.document.rates[0]
    assert (rate.amount, rate.unit, rate.late) == (600, REQUESTS, 0.2)
    assert rate.refill == pytest.approx(pace(Rate(600))[1] * 60 / 60.2)


def test_requests_and_tokens_have_places_of_their_own():
    store = store_of(requests_told=True, tokens_told=True)
    reply = store.ask(1, 1, events=[told(1, 600), told(2, 9000, place=1, unit=INPUT)])
    assert [row[5] for row in reply.rates] == [REQUESTS, INPUT, 0]


def test_a_limit_that_is_not_known_paces_nothing_so_that_refusals_cut_the_ceiling():
    store = store_of()
    store.ask(1, 8, use=1, events=[none(1)])
    epoch = store.document.ceiling[-1]
    refused = [2, 1, 1, -1.0, epoch, 9, -1, 0.0, 0.5, 300.0, 0.5]
    store.ask(1, 8, use=8, events=[refused])
    assert store.document.ceiling[-1] == epoch + 1
    store.ask(1, 8, use=8, events=[told(3, 600), [4, *refused[1:4], epoch + 1, *refused[5:]]])
    assert store.document.ceiling[-1] == epoch + 1


def test_the_member_knows_what_is_known():
    member = Member(7, wanted(Adaptive(4, 1, 4), [], requests_told=True), 10.0)
    assert member.untold
    heard(member, untold=True, rates=[[1000.0, 0.0, 1e15, 1e13, 0.0, 0]])
    assert (member.untold, member.limits) == (True, [])
    heard(member, 101.0, rates=[[1000.0, 0.0, 600.0, 10.0, 60.0, REQUESTS]])
    assert (member.untold, member.limits) == (False, [(0, REQUESTS, 600.0, 60.0)])


def test_what_is_told_is_sent_at_once_and_known_to_be_under_way():
    events = Happenings()
    events.learned(0, REQUESTS, (600.0, 10.0, 9.8, 60.0), 100.0)
    assert (events.due(), events.is_telling(TOLD)) == (100.0, True)
    assert events.told(100.5) == [[1, TOLD, 0, REQUESTS, 600.0, 10.0, 9.8, 60.0, 0.5]]
    events.taken(1)
    assert not events.is_telling(TOLD)
    events.learned_none(101.0)
    assert events.told(101.0) == [[2, TOLD, -1, 0, 0.0, 0.0, 0.0, 0.0, 0.0]]


def test_the_command_shows_what_is_known():
    store = store_of()
    store.ask(1, 1)
    view = overview(store.document, store.now)
    assert "requests as the server tells, which it has not told yet" in table("openai", "here", view)
    store.ask(1, 1, events=[told(1, 600)])
    view = overview(store.document, store.now)
    assert "600 requests as the server tells, per 60 s, a start is free" in table("openai", "here", view)


def test_a_setting_that_is_followed_is_told_from_one_that_is_not():
    (followed,) = wanted(Adaptive(4, 1, 4), [], requests_told=True).rates
    assert followed.what == REQUESTS_TOLD
    assert not wanted(Adaptive(4, 1, 4), [Rate(500)]).fits([followed])
