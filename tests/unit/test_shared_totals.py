"""Totals in the ledger of a shared Limits: what is booked, settled, lost and cleared, to the last digit."""

from __future__ import annotations

import math

import pytest

from fanmap._policy.limits.rate import Rate
from fanmap._policy.shared.joining import born
from fanmap._policy.shared.messages import PRICED, Known
from fanmap._policy.shared.overview import overview
from fanmap._policy.shared.purse import Purse
from fanmap._policy.shared.total import SharedTotal
from fanmap._policy.shared.totals import anew, learn
from fanmap._policy.tokens.money import dollars_rate

from .test_shared_ledger import TTL, Store


class Spending(Store):
    """Processes that ask a store whose only rate is a total."""

    def __init__(self, rate, slots=8):
        super().__init__(slots, [rate])

    def say(self, number, asks=(), *, open=0.0, paid=0.0, counted=0.0, settling=False, got=None, **more):
        boxed = self.member(number).boxed if self.member(number) else 0
        return self.ask(
            number, 8, asks=asks, open=(open,), paid=(paid,), counted=(counted,), settling=settling,
            got=boxed if got is None else got, **more,
        )  # fmt: skip

    @property
    def total(self):
        return self.document.rates[0]


def box(reply):
    return [cost for _, _, _, cost in reply.box]


def test_calls_that_fit_are_booked_at_once_and_the_others_wait():
    store = Spending(Rate(10, math.inf, cost=len))
    reply = store.say(1, [[3, 4.0]])
    assert box(reply) == [4.0, 4.0] and reply.asked == [1, 0]
    assert reply.rates == [[0.0, 8.0, 10.0, 10.0, 0.0, 0]]
    assert reply.tight and not reply.stuck
    reply = store.say(2, [[1, 2.0]])
    assert box(reply) == [] and reply.tight  # first come, first served: the first one waits for its third call


def test_what_is_settled_for_less_lets_the_next_one_start():
    store = Spending(Rate(10, math.inf, cost=len))
    store.say(1, [[3, 4.0]])
    reply = store.say(1, [[1, 4.0]], open=4.0, paid=1.0, settling=True)
    assert box(reply) == [4.0]
    assert reply.rates[0][:2] == [1.0, 8.0]
    assert not reply.tight


def test_what_no_settlement_will_make_room_for_leaves_the_line_and_its_process_is_woken():
    store = Spending(Rate(10, math.inf, cost=len))
    store.say(1, [[1, 4.0]])
    store.say(2, [[1, 7.0]])
    reply = store.say(1, paid=4.0)
    assert reply.wake == [102]
    assert store.member(2).asks == [[], []] and store.document.lines == [[], []]
    assert box(store.say(3, [[1, 6.0]])) == [6.0]  # for others there is enough


def test_what_is_said_twice_counts_once_and_what_a_reply_got_lost_of_counts_too():
    store = Spending(Rate(10, math.inf, cost=len))
    store.say(1, [[1, 4.0]])
    for _ in range(3):
        store.say(1, paid=4.0)
    assert store.total.spent == 4.0
    store.say(1, paid=5.0, counted=4.0)
    assert store.total.spent == 5.0


def test_what_a_dead_process_had_booked_stays_spent_but_for_starts_that_lay_ahead():
    store = Spending(Rate(10, math.inf, cost=len))
    store.say(1, [[1, 4.0]])
    store.say(2)
    store.say(1, [[1, 3.0]], open=4.0, settling=True)
    store.document.gate = store.now + 0.3
    assert box(store.say(2, [[1, 2.0]])) == [2.0]  # at the end of the gate
    store.dead = [1]
    store.say(3)
    assert store.total.spent == 7.0
    store.dead = [1, 2]
    store.say(3)
    assert store.total.spent == 7.0


def test_who_leaves_in_good_order_leaves_what_it_had_not_settled_and_the_last_one_clears_it():
    store = Spending(Rate(10, math.inf, cost=len))
    store.say(1, [[1, 4.0]])
    store.say(2, [[1, 3.0]])
    store.say(1, open=4.0, paid=0.0, settling=True, leaving=True)
    assert store.total.spent == 4.0
    store.say(2, paid=3.0, leaving=True)
    assert (store.document.members, store.total.spent) == ([], 0.0)
    assert store.say(3, [[1, 9.0]]).rates[0][:2] == [0.0, 9.0]


def test_one_that_was_buried_and_comes_back_is_counted_twice_rather_than_not_at_all():
    store = Spending(Rate(20, math.inf, cost=len))
    store.say(1, [[1, 4.0]])
    store.now += 0.9 * TTL
    store.say(2)
    store.now += 0.2 * TTL
    store.say(2)
    assert store.member(1) is None and store.total.spent == 4.0
    store.say(1, [[1, 1.0]], paid=6.0, counted=0.0)
    assert store.total.spent == 10.0


def test_of_dollars_one_at_a_time_until_one_is_priced_and_then_each_is_charged_the_mean():
    store = Spending(dollars_rate(1.0))
    assert box(store.say(1, [[4, 0.0]])) == [0.0]
    assert box(store.say(2, [[1, 0.0]])) == []
    reply = store.say(1, [[3, 0.0]], paid=0.2, events=[[1, PRICED, 0, 1, 0.2]])
    assert box(reply) == [0.2, 0.2, 0.2] and len(store.member(2).box) == 1
    assert reply.rates[0][:2] == [0.2, pytest.approx(0.8)]
    assert reply.rates[0][4:] == [0.2, 1]


def test_a_call_inside_the_one_that_is_not_priced_yet_may_start():
    store = Spending(dollars_rate(1.0))
    store.say(1, [[1, 0.0]])
    assert box(store.say(1, [[1, 0.0]], settling=True)) == []
    assert box(store.say(1, [[1, 0.0]], settling=False)) == [0.0]


def test_the_mean_forgets_what_is_long_ago():
    store = Spending(dollars_rate(1e9))
    store.say(1)
    rate = store.total
    learn(rate, 4, 8.0)
    assert (rate.mean, rate.learnt) == (2.0, 4)
    learn(rate, 1000, 3000.0)
    assert (rate.mean, rate.learnt) == (3.0, 100)
    learn(rate, 1, 103.0)
    assert (rate.mean, rate.learnt) == (4.0, 100)


def test_stuck_is_who_waits_where_nobody_will_settle_anything():
    store = Spending(Rate(10, math.inf, cost=len))
    store.say(1, [[1, 6.0]])
    store.say(2)
    assert not store.say(1, [[1, 5.0]], open=6.0, settling=True).stuck
    assert store.say(1, [[1, 5.0]], open=6.0, settling=False).stuck  # its call waits for the one inside
    assert not store.say(2).stuck


def test_a_store_that_lost_its_memory_hears_what_was_spent_and_what_others_had_booked():
    store = Spending(Rate(20, math.inf, cost=len))
    first, second = store.say(1, [[1, 4.0]]), store.say(2, [[1, 5.0]])
    store.say(3)
    store.say(3, paid=2.0)
    memory = store.document.memory
    assert (first.rates[0][:2], second.rates[0][:2]) == ([0.0, 4.0], [0.0, 9.0])
    store.document = born(8, store.now)
    # The first one knew of nobody else's, the second of the first one's.
    store.say(2, open=5.0, settling=True, known=Known(memory, rates=[[0.0, 4.0, 0.0, 0]]))
    assert (store.total.spent, store.total.unclaimed) == (0.0, 4.0)
    store.say(1, open=4.0, settling=True, known=Known(memory, rates=[[0.0, 0.0, 0.0, 0]]))
    assert (store.total.spent, store.total.unclaimed) == (0.0, 0.0)
    store.say(3, paid=2.0, counted=2.0, known=Known(memory, rates=[[2.0, 9.0, 0.0, 0]]))
    assert store.total.spent == 2.0
    store.say(2, open=5.0, settling=True)
    assert store.say(1, open=4.0, settling=True).rates[0][:2] == [2.0, 9.0]


def test_a_store_that_lost_its_memory_hears_what_calls_cost_from_the_first_that_knows():
    store = Spending(Rate(20, math.inf, cost=len))
    store.say(1)
    memory = store.document.memory
    store.document = born(8, store.now)
    store.say(1, known=Known(memory, rates=[[0.0, 0.0, 2.5, 3]]))
    assert (store.total.mean, store.total.learnt) == (2.5, 3)
    store.say(2, known=Known(memory, rates=[[0.0, 0.0, 9.0, 1]]))
    assert (store.total.mean, store.total.learnt) == (2.5, 3)


def test_what_nobody_comes_back_for_is_spent():
    store = Spending(Rate(20, math.inf, cost=len))
    store.say(1)
    store.document = born(8, store.now)
    store.say(1, known=Known(7, rates=[[1.0, 6.0, 0.0, 0]]))
    assert store.say(1).rates[0][:2] == [1.0, 6.0]
    store.now += TTL
    store.say(1)
    assert store.say(1).rates[0][:2] == [7.0, 0.0]


def test_after_a_reset_nothing_is_spent_whatever_members_bring():
    store = Spending(Rate(20, math.inf, cost=len))
    store.say(1, [[1, 4.0]])
    store.say(1, [[1, 2.0]], paid=4.0)
    memory = store.document.memory
    store.document = anew(born(9, store.now), store.document)
    store.say(1, open=2.0, paid=4.0, counted=4.0, settling=True, known=Known(memory, rates=[[4.0, 0.0, 0.0, 0]]))
    assert store.say(1, open=2.0, paid=4.0, settling=True).rates[0][:2] == [0.0, 2.0]
    store.say(1, paid=6.5)
    assert store.total.spent == 2.5
    assert anew(born(9, store.now), None).era == 0


def test_it_is_seen_from_outside():
    store = Spending(Rate(20, math.inf))
    store.say(1, [[2, 1.0]])
    store.say(1, open=1.0, paid=1.0, settling=True)
    rate = overview(store.document, store.now).rates[0]
    assert (rate.per, rate.amount, rate.spent, rate.booked) == (0.0, 20.0, 1.0, 1.0)


def test_it_waits_for_the_gate_and_for_rates_beside_it():
    store = Store(8, [Rate(1, 10.0), Rate(3, math.inf)])
    reply = store.ask(1, 4, asks=[[4, 1.0, 1.0]], open=(0.0, 0.0), paid=(0.0, 0.0), counted=(0.0, 0.0))
    assert len(reply.box) == 1 and not reply.tight


def test_what_is_set_aside_is_booked_for_others_and_spent_for_calls_here():
    rate = Rate(10, math.inf, cost=len)
    purse = Purse(Spending(rate).settings)
    total = SharedTotal(rate, purse, 0)
    total.aside = 7.0
    assert purse.said(settling=False)["open"] == [7.0]
    assert (total.gone, total.spent, total.held) == (7.0, 0.0, 0.0)
    assert total.beyond(4.0) and not total.beyond(3.0)
    total.spent += 2.0
    total.aside = 5.0
    assert (total.gone, total.spent) == (7.0, 2.0)
