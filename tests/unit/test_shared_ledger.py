"""The ledger of a shared Limits: what one exchange changes and answers, to the last digit."""

from __future__ import annotations

import math

import pytest

from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.rate import Rate
from fanmap._policy.shared.document import BACK, BACKGROUND_HORIZON, FRONT, HORIZON, NEVER
from fanmap._policy.shared.joining import born, has_gone_back
from fanmap._policy.shared.ledger import exchange
from fanmap._policy.shared.messages import (
    ANSWERED,
    CONCURRENCY,
    DENIED,
    DIFFERENT,
    FAILED,
    OTHER,
    RAMP,
    RATE,
    REFUSED,
    SETTLED,
    SPENT,
    STALE,
    TAKEN,
    UNUSED,
    Known,
    Request,
)
from fanmap._policy.shared.wanted import wanted

TTL = 9.0


class Store:
    """One document, and processes that ask it."""

    def __init__(self, slots=4, rates=(), now=1000.0):
        self.now = now
        self.settings = wanted(Adaptive(slots, 1, slots) if isinstance(slots, int) else slots, rates)
        self.document = born(7, now)
        self.serials = {}
        self.asked = {}
        self.dead = []

    def ask(self, number, want=0, *, use=0, keep=None, serial=None, asks=(), **more):
        more.setdefault("settings", self.settings)
        more.setdefault("ttl", TTL)
        # Its own clock is right, and every reply has come at once.
        passed = self.now - self.asked.get(number, self.now)
        for name, value in (("replied", self.serials.get(number, 0)), ("age", passed), ("rest", passed)):
            more.setdefault(name, value)
        self.asked[number] = self.now
        self.serials[number] = self.serials.get(number, 0) + 1
        state = self.document.member(number)
        if keep is None:
            keep = use if state is None else state.allow
        request = Request(
            number,
            self.serials[number] if serial is None else serial,
            want=want if isinstance(want, tuple) else (want, 0),
            use=use,
            keep=keep,
            asks=asks if isinstance(asks, tuple) and asks else (asks, ()),
            wake=100 + number,
            **more,
        )
        return exchange(self.document, request, self.now, self.dead)

    def allow(self):
        return {member.id: member.allow for member in self.document.members}

    def member(self, number):
        return self.document.member(number)


# Coming and going


def test_the_first_to_come_gets_what_it_wants():
    store = Store(slots=4)
    reply = store.ask(1, 3)
    assert (reply.verdict, reply.allow, reply.target, reply.ceiling, reply.maximum) == (TAKEN, 3, 3, 4, 4)
    assert (reply.members, reply.rank, reply.elsewhere, reply.waiting) == (1, 0, 0, 0)
    assert not reply.pressed and not reply.over and not reply.scarce and not reply.wake
    assert (reply.memory, reply.now, reply.serial) == (store.document.memory, 1000.0, 1)


def test_who_comes_later_gets_what_is_free_and_its_share_as_the_others_let_go():
    store = Store(slots=4)
    store.ask(1, 9)
    reply = store.ask(2, 9)
    assert (reply.allow, reply.target, reply.elsewhere, reply.waiting, reply.rank) == (0, 2, 4, 9, 1)
    assert reply.wake == [101]  # who holds more than its part is told
    reply = store.ask(1, 9, use=4, keep=4)
    assert (reply.allow, reply.target, reply.pressed, reply.scarce) == (4, 2, True, True)
    reply = store.ask(1, 9, use=3, keep=3)
    assert (reply.allow, reply.wake) == (3, [102])
    reply = store.ask(2, 9)
    assert (reply.allow, reply.elsewhere, reply.waiting) == (1, 3, 6)


def test_who_leaves_frees_its_slots_and_wakes_who_waits():
    store = Store(slots=2)
    store.ask(1, 2)
    store.ask(2, 2)
    store.now += 1
    reply = store.ask(1, leaving=True)
    assert (reply.verdict, reply.wake, store.allow()) == (TAKEN, [102], {2: 0})
    assert store.ask(2, 2).allow == 2


def test_a_stranger_who_leaves_leaves_nothing():
    store = Store()
    reply = store.ask(1, leaving=True)
    assert (reply.verdict, reply.serial, store.document.members, store.document.exchanges) == (TAKEN, 1, [], 0)


def test_who_is_known_to_be_dead_is_buried_at_the_next_exchange_of_anybody():
    store = Store(slots=2)
    store.ask(1, 2)
    store.dead = [1]
    assert store.ask(2, 2).allow == 2
    assert store.allow() == {2: 2}


def test_a_lease_ends_after_its_time_and_not_before():
    store = Store(slots=2)
    store.ask(1, 2)
    store.ask(2, 2)
    for _ in range(9):
        store.now += 1.0
        assert store.ask(2, 2).allow == 0
    store.now += 0.001
    assert store.ask(2, 2).allow == 2
    assert store.allow() == {2: 2}


def test_one_that_was_buried_too_early_is_counted_with_what_it_uses():
    store = Store(slots=2)
    store.ask(1, 2)
    store.dead = [1]
    store.ask(2, 2)
    store.dead = []
    reply = store.ask(1, 2, use=2, got=5)
    assert (reply.allow, reply.over, reply.pressed) == (2, True, True)
    assert (store.member(1).boxed, store.allow()) == (5, {2: 2, 1: 2})
    assert store.ask(2, 2, use=1, keep=1).allow == 1


def test_a_member_that_uses_more_than_was_known_is_counted_with_that():
    store = Store(slots=4)
    store.ask(1, 1)
    assert store.ask(1, 3, use=3, keep=3).allow == 3


# Twice, late, lost


def test_a_request_that_comes_twice_changes_nothing_and_gets_the_same_answer():
    store = Store(slots=4)
    store.ask(1, 3)
    store.ask(2, 3)
    first = store.ask(1, 3, use=3, keep=2)
    before = repr(store.document)
    again = store.ask(1, 0, use=0, keep=0, serial=2)
    assert repr(store.document) == before
    assert (again.verdict, again.allow, again.serial) == (TAKEN, first.allow, 2)


def test_a_request_that_was_overtaken_is_of_no_use():
    store = Store(slots=4)
    store.ask(1, 3)
    store.ask(1, 3, use=3)
    reply = store.ask(1, 0, use=0, keep=0, serial=1)
    assert (reply.verdict, store.allow()) == (STALE, {1: 3})


def test_only_who_asks_is_changed():
    store = Store(slots=4)
    store.ask(1, 4)
    for number in (2, 3, 4):
        store.ask(number, 4)
        assert store.allow()[1] == 4


# Settings that differ


def test_of_every_number_the_smallest_holds_for_as_long_as_its_process_lives():
    store = Store(slots=8, rates=[Rate(100, 10), Rate(50, 60)])
    store.ask(1, 8)
    fewer = wanted(Adaptive(3, 1, 5), [Rate(60, 10), Rate(90, 60, burst=1)])
    reply = store.ask(2, 0, settings=fewer)
    assert (reply.ceiling, reply.maximum) == (5, 5)
    assert [rate[2:] for rate in reply.rates] == [[60, 2], [50, 1]]
    assert [rate.refill for rate in store.document.rates] == [
        fewer.rates[0].refill,
        store.settings.rates[1].refill,
    ]
    store.ask(2, leaving=True)
    reply = store.ask(1, 8)
    assert (reply.ceiling, reply.maximum, reply.rates[0][2:]) == (8, 8, [100, 3])


def test_a_ceiling_that_was_cut_stays_so_when_who_wanted_less_leaves():
    store = Store(slots=8)
    store.ask(1, 8)
    store.ask(2, 0, settings=wanted(Adaptive(6, 1, 6), []))
    store.ask(1, 8, use=6, events=[refusal(1, CONCURRENCY, crowd=6, still=3)])
    assert store.document.ceiling[0] == 6 * 0.92 - 0.92 + 0.32 or store.document.ceiling[0] < 6
    cut = store.document.ceiling[0]
    store.ask(2, leaving=True)
    assert store.document.ceiling[0] == cut and store.document.maximum == 8


def test_a_ceiling_that_is_found_does_not_leap_to_a_larger_maximum():
    store = Store(slots=Adaptive(2, 1, 4))
    store.ask(1, 4)
    assert store.document.ceiling[0] == 2.0
    store.document.ceiling[0] = 4.0
    store.ask(1, 4, settings=wanted(Adaptive(2, 1, 9), []))
    assert (store.document.ceiling[0], store.document.maximum) == (4.0, 9)


def test_a_minimum_that_is_larger_lifts_the_ceiling():
    store = Store(slots=Adaptive(2, 1, 9))
    store.ask(1, 4)
    store.ask(1, 4, settings=wanted(Adaptive(5, 4, 9), []))
    assert store.document.ceiling[0] == 4.0


def test_starts_may_be_as_late_as_anybody_s():
    store = Store(rates=[Rate(100, 10)])
    store.ask(1, 1)
    slow = wanted(Adaptive(4, 1, 4), [Rate(100, 10)])
    slow = type(slow)(1, 4, 4, (type(slow.rates[0])(1, 10, 100.0, 2.0, 9.0, 0.4),))
    store.ask(2, 1, settings=slow)
    assert (store.document.rates[0].late, store.document.rates[0].refill) == (0.4, 9.0)
    store.ask(2, leaving=True)
    assert store.document.rates[0].late == 0.05


@pytest.mark.parametrize("rates", [[], [Rate(100, 20)], [Rate(100, 10, cost=len)], [Rate(100, 10), Rate(1, 60)]])
def test_another_set_of_rates_is_no_member_and_the_others_go_on(rates):
    store = Store(rates=[Rate(100, 10)])
    store.ask(1, 1)
    reply = store.ask(2, 1, settings=wanted(Adaptive(4, 1, 4), rates))
    assert (reply.verdict, reply.rates, reply.allow) == (DIFFERENT, [[1, 10]], 0)
    assert store.allow() == {1: 1}
    assert store.ask(1, 2).verdict == TAKEN


def test_who_comes_when_nobody_is_there_brings_its_own_rates_and_finds_those_that_are_the_same():
    store = Store(rates=[Rate(100, 10), Rate(1, 60)])
    store.ask(1, 1, asks=[[1, 1.0, 1.0]])
    tat = store.document.rates[1].tat
    assert tat > store.now
    store.ask(1, leaving=True)
    reply = store.ask(2, 1, settings=wanted(Adaptive(4, 1, 4), [Rate(5, 60), Rate(7, 5)]))
    assert reply.verdict == TAKEN
    assert [(rate.per, rate.tat) for rate in store.document.rates] == [(60, tat), (5, NEVER)]


def test_two_rates_that_look_the_same_are_two():
    store = Store(rates=[Rate(100, 10), Rate(20, 10)])
    store.ask(1, 1, asks=[[1, 1.0, 1.0]])
    tats = [rate.tat for rate in store.document.rates]
    assert tats[0] != tats[1]
    store.ask(2, 1)
    assert [rate.tat for rate in store.document.rates] == tats


# The document's time


def test_time_goes_on_where_the_store_s_clock_is_set_back():
    store = Store()
    store.ask(1, 1)
    store.now -= 3600.0
    reply = store.ask(1, 1, replied=1, age=0.5, rest=0.4)
    assert reply.now == 1000.4
    store.now += 1.0
    assert store.ask(1, 1, replied=2, age=1.0, rest=0.9).now == pytest.approx(1001.4)


def test_time_that_a_clock_had_lost_ends_no_lease():
    store = Store()
    store.ask(1, 1)
    store.now -= 3600.0
    store.ask(2, 1)  # nothing tells that eight seconds had passed
    (_, other) = store.document.members
    ends = other.ends
    assert store.ask(1, 1, replied=1, age=8.1, rest=8.0).now == 1008.0
    assert other.ends == ends + 8.0


def test_what_was_counted_by_a_clock_that_had_lost_time_holds_for_so_much_longer():
    """More was started in a window than may be: what a stranger had booked was later than it seemed."""
    store = Store(rates=[Rate(6, 4)])
    store.ask(1, 1)
    store.now -= 3600.0
    store.ask(2, 1, use=1, asks=([[1, 1.0]], []))
    document = store.document
    document.gate, document.quiet = 1001.0, 1002.0
    (rate,) = document.rates
    (entry,) = document.members[1].box
    before = (rate.tat, rate.base, rate.since, rate.cells[0][0], document.booked, entry[2])
    assert store.ask(1, 1, replied=1, age=0.6, rest=0.5).now == 1000.5
    assert (rate.tat, rate.base, rate.since, rate.cells[0][0], document.booked, entry[2]) == tuple(
        time + 0.5 for time in before
    )
    assert (document.gate, document.quiet) == (1001.5, 1002.5)


def test_time_does_not_leap_with_the_store_s_clock_where_somebody_knows_better():
    store = Store()
    store.ask(1, 1)
    store.now += 3600.0
    assert store.ask(1, 1, replied=1, age=0.5, rest=0.4).now == 1000.5
    store.now += 1.0
    assert store.ask(1, 1, replied=2, age=1.0, rest=1.0).now == 1001.5


@pytest.mark.parametrize(("later", "shown"), [(0.6, 1000.6), (0.601, 1000.5)])
def test_a_request_may_take_a_tenth_of_a_second_longer_than_the_one_before(later, shown):
    store = Store()
    store.ask(1, 1)
    store.now += later
    assert store.ask(1, 1, replied=1, age=0.5, rest=0.4).now == shown


def test_a_document_that_has_forgotten_what_it_told_a_member_has_gone_back():
    """Its time says so, until somebody else has asked it; its last serial does in any case."""
    store = Store()
    store.ask(1, 4)
    memory, time = store.document.memory, store.document.time

    def gone_back(number, serial, replied, heard, memory=memory):
        known = Known(memory, time=heard)
        request = Request(number, serial, ttl=TTL, settings=store.settings, replied=replied, known=known)
        return has_gone_back(store.document, request)

    assert not gone_back(1, 2, 1, time)  # it was answered last
    assert not gone_back(1, 3, 1, time)  # one reply was lost
    assert gone_back(1, 3, 2, time)  # there was another answer
    assert gone_back(2, 2, 1, time + 0.1)  # and one to a member that is not in it
    assert not gone_back(2, 2, 1, time)
    assert not gone_back(1, 3, 2, time + 0.1, memory=memory + 1)  # of another document


def test_time_never_goes_back_for_anybody():
    store = Store()
    store.ask(1, 1)
    store.now += 5
    store.ask(2, 1)
    store.now -= 4.0
    assert store.ask(1, 1, replied=1, age=0.5, rest=0.4).now == 1005.0
    store.now -= 1.0
    assert store.ask(3, 1).now == 1005.0


def test_what_a_member_says_of_a_request_that_was_not_its_last_is_no_evidence():
    store = Store()
    store.ask(1, 1, ttl=900.0)
    store.ask(1, 1, ttl=900.0)
    store.now += 100.0
    assert store.ask(1, 1, replied=1, age=0.5, rest=0.4).now == 1100.0


def test_time_that_only_a_stranger_vouches_for_leaves_those_who_live_a_moment_to_say_so():
    store = Store(slots=2)
    store.ask(1, 2)
    store.now += 3600.0
    assert store.ask(2, 2).allow == 0  # perhaps it was the clock
    store.now += 1.4
    store.ask(2, 2)
    assert store.allow() == {1: 2, 2: 0}
    store.now += 0.2
    store.ask(2, 2)
    assert store.allow() == {2: 2}


def test_a_short_silence_lengthens_a_lease_by_no_more_than_it_was():
    store = Store()
    store.ask(1, 1)
    store.now += 8.0
    store.ask(2, 1)
    assert store.member(1).ends == 1008.0 + 1.5
    store.now += 0.25
    store.ask(3, 1)
    assert store.member(1).ends == 1008.25 + 1.5
    assert store.member(1).seen == 1000.0
    assert store.member(2).ends == 1008.0 + TTL  # it has long to go
    store.now += 1.6
    store.ask(2, 1)
    assert 1 not in store.allow()


def test_what_a_stranger_vouched_for_is_no_evidence_of_the_time():
    store = Store()
    store.ask(1, 1, ttl=2.0)
    for number in (2, 3, 4):
        store.now += 1.0
        store.ask(number, 1)
    assert store.ask(1, 1, ttl=2.0).now == 1003.0


# A memory that was lost


def brought(store, number, **more):
    """What a member says that knew another document."""
    known = Known(memory=99, gate=more.pop("gate", NEVER), ceiling=more.pop("ceiling", 4), epoch=more.pop("epoch", 0),
                  rates=more.pop("rates", ()))  # fmt: skip
    return store.ask(number, known=known, **more)


def test_who_outlived_the_memory_keeps_what_it_had_and_the_rest_is_not_given_out_before_all_leases_have_ended():
    store = Store(slots=4)
    reply = brought(store, 1, want=9, use=1, keep=1)
    assert (reply.allow, reply.target) == (1, 4)
    assert (store.document.unclaimed, store.document.quiet) == (3, 1000.0 + TTL)
    assert store.ask(2, 4).allow == 0
    reply = brought(store, 3, want=9, use=2, keep=2)
    assert (reply.allow, store.document.unclaimed) == (2, 1)
    store.ask(1, 0, keep=0)  # what a known one lets go is free
    assert store.ask(2, 4).allow == 1
    store.now += TTL - 0.001
    assert store.ask(2, 4).allow == 1


def test_what_nobody_has_claimed_is_free_after_a_lease():
    store = Store(slots=4)
    brought(store, 1, want=9, use=1, keep=1)
    store.now += 5
    store.ask(1, 9, use=1)
    store.now += 4.5
    assert store.ask(1, 9, use=1).allow == 4


def test_a_member_that_tells_twice_of_the_lost_memory_claims_once():
    store = Store(slots=4)
    brought(store, 1, want=2, use=2, keep=2)
    brought(store, 1, want=2, use=2, keep=2)
    assert store.document.unclaimed == 2
    assert store.allow() == {1: 2}


def test_an_old_request_that_came_late_into_a_new_memory_does_not_hide_what_is_held():
    store = Store(slots=4)
    store.ask(1, 1, use=1, keep=1)
    assert brought(store, 1, want=3, use=1, keep=3).allow == 3


def test_who_outlived_the_memory_brings_gate_and_ceiling():
    store = Store(slots=8)
    reply = brought(store, 1, want=9, gate=3.5, ceiling=5, epoch=2)
    assert (reply.gate, reply.ceiling, reply.epoch) == (1003.5, 5, 2)
    brought(store, 2, want=9, gate=1.0, ceiling=7, epoch=1)
    assert (store.document.gate, store.document.ceiling[0], store.document.ceiling[6]) == (1003.5, 5.0, 2)


def test_who_outlived_the_memory_brings_its_rates_and_room_for_what_it_had_not_heard_of():
    store = Store(rates=[Rate(100, 10), Rate(60, 60, cost=len)])
    brought(store, 1, want=1, rates=[(3.0, 1.0), (-5.0, 12.0)])
    requests, units = store.document.rates
    assert requests.tat == requests.base == 1003.0
    assert units.tat == units.base == pytest.approx(1000.0 + HORIZON + 12.0 / units.refill)
    assert (requests.most, units.most, requests.since, requests.cells) == (1.0, 12.0, 1000.0 + HORIZON, [])
    brought(store, 2, want=1, rates=[(1.0, 0.5), (30.0, 1.0)])
    assert (requests.tat, units.tat, units.most) == (1003.0, 1030.0, 12.0)


def test_a_bucket_is_empty_after_the_memory_was_lost():
    store = Store(rates=[Rate(100, 10)])
    brought(store, 1, want=1, rates=[(-5.0, 1.0)])
    rate = store.document.rates[0]
    assert rate.tat == 1000.0 + HORIZON + 3 / rate.refill


def test_who_leaves_brings_what_it_knew_too():
    store = Store(rates=[Rate(100, 10)])
    brought(store, 1, leaving=True, rates=[(3.0, 1.0)])
    assert (store.document.members, store.document.rates[0].tat) == ([], 1003.0)
    assert store.document.lines == [[], []]


def test_a_memory_is_never_born_twice():
    assert born(5, 10.0).memory != born(5, 10.000001).memory
    assert born(2**48 - 1, 1.0).memory == 1 + (2**48 - 1 + 1_000_000) % 2**48
    assert born(0, 0.0).memory == 1  # 0 is nobody's


# Starts


def starts(store, number):
    return [(entry[0], entry[2] - 1000.0) for entry in store.member(number).box]


def test_starts_are_booked_ahead_for_who_asks_and_no_further():
    store = Store(rates=[Rate(10, 1)])  # bursts of one, ten a second, up to 50 ms late
    reply = store.ask(1, 4, asks=[[9, 1.0]])
    step = 1.05 / 10
    assert [entry[:2] for entry in reply.box] == [[number, 0] for number in (1, 2, 3, 4)]
    assert [entry[2] for entry in reply.box] == pytest.approx([1000.0 + place * step for place in range(4)])
    assert [entry[3:] for entry in reply.box] == [[1.0]] * 4
    assert reply.asked == [5, 0]
    assert store.document.rates[0].tat == pytest.approx(1000.0 + 4 * step)
    assert store.document.booked == pytest.approx(1000.0 + 3 * step)


def test_starts_are_booked_a_call_each_in_turn():
    store = Store(slots=9, rates=[Rate(10, 1)])
    store.ask(1, 9, asks=[[9, 1.0]])
    reply = store.ask(2, 9, asks=[[9, 1.0]])
    assert reply.box == []
    store.now += 0.35
    reply = store.ask(2, 9, asks=[[9, 1.0]])
    assert [round(at / 0.105) for _, at in starts(store, 2)] == [5, 7]
    assert [round(at / 0.105) for _, at in starts(store, 1)] == [0, 1, 2, 3, 4, 6]
    assert reply.wake == [101]  # for whom something was booked, too
    assert reply.asked == [7, 0]


def test_what_has_arrived_is_forgotten_and_what_has_not_is_sent_again():
    store = Store(rates=[Rate(10, 1)])
    first = store.ask(1, 4, asks=[[2, 1.0]])
    again = store.ask(1, 4, asks=[[2, 1.0]])  # the reply was lost: the same two
    assert again.box == first.box and again.asked == [0, 0]
    assert store.ask(1, 4, got=1, asks=[[1, 1.0]]).box == first.box[1:]
    assert store.ask(1, 4, got=2).box == []


def test_of_different_costs_those_on_their_way_serve_the_first():
    store = Store(rates=[Rate(600, 60, cost=len)])
    store.ask(1, 4, asks=[[1, 4.0], [2, 5.0]])
    assert [entry[3] for entry in store.member(1).box] == [4.0, 5.0]
    reply = store.ask(1, 4, asks=[[1, 4.0], [2, 5.0], [1, 7.0]])
    assert store.member(1).asks[0] == [[1, 5.0], [1, 7.0]]
    assert reply.asked == [2, 0]


def test_the_background_is_served_when_the_foreground_has_all_it_asked_for():
    store = Store(slots=9, rates=[Rate(10, 1)])
    reply = store.ask(1, (1, 9), asks=([[2, 1.0]], [[9, 1.0]]))
    assert [entry[1] for entry in reply.box] == [FRONT, FRONT]
    assert reply.asked == [0, 9]
    store.now += 0.211 - BACKGROUND_HORIZON  # whoever comes in the foreground waits for no longer
    reply = store.ask(1, (1, 9), got=2, asks=((), [[9, 1.0]]))
    assert [entry[1] for entry in reply.box] == [BACK]
    assert reply.asked == [0, 8]
    reply = store.ask(1, (1, 9), got=3, asks=([[9, 1.0]], [[8, 1.0]]))
    assert {entry[1] for entry in reply.box} == {FRONT}
    assert store.document.lines == [[1], [1]]


def test_a_start_that_could_not_be_fetched_in_time_is_given_back_and_its_process_is_the_next():
    store = Store(slots=9, rates=[Rate(10, 1)])
    store.ask(1, 9, asks=[[1, 1.0]])
    store.ask(2, 9, asks=[[9, 1.0]])
    assert store.document.lines[0] == [2]
    store.now += 0.051
    reply = store.ask(1, 9, asks=[[2, 1.0]])
    assert store.document.lines[0][0] == 2  # it was 1's turn, and is 2's now
    assert [entry[0] for entry in reply.box] == [2]
    assert reply.asked == [1, 0]


def test_one_that_may_still_be_used_is_not_given_back():
    store = Store(rates=[Rate(10, 1)])
    store.ask(1, 9, asks=[[1, 1.0]])
    store.now += 0.05
    assert [entry[0] for entry in store.ask(1, 9, asks=[[1, 1.0]]).box] == [1]


def test_who_asks_for_nothing_any_more_is_in_no_line():
    store = Store(rates=[Rate(1, 10)])
    store.ask(1, 4, asks=[[2, 1.0]])
    store.ask(2, 4, asks=[[2, 1.0]])
    assert store.document.lines[0] == [1, 2]
    store.ask(1, 4, got=1)
    assert store.document.lines[0] == [2]
    store.ask(1, 4, got=1, asks=[[1, 1.0]])
    assert store.document.lines[0] == [2, 1]
    store.ask(2, 4, asks=[[3, 1.0]])
    assert store.document.lines[0] == [2, 1]  # who asks for more does not lose its turn
    assert store.member(2).asks[0] == [[3, 1.0]]


def test_who_is_buried_is_in_no_line_and_what_lay_ahead_for_it_comes_back():
    store = Store(slots=9, rates=[Rate(10, 1)])
    store.ask(1, 9, asks=[[9, 1.0]])
    tat = store.document.rates[0].tat
    store.now += 0.21  # two of four have begun, or will not
    store.dead = [1]
    store.ask(2, 9)
    assert store.document.lines == [[], []]
    assert store.document.rates[0].tat == pytest.approx(tat - 0.105)  # one, and the next begins just now


def test_a_gate_holds_starts_back_and_they_are_spread_after_it():
    store = Store(slots=4, rates=[Rate(1000, 1)])
    store.ask(1, 9, events=[refusal(1, RATE, wait=2.0)])
    store.now += 1.7
    reply = store.ask(1, 9, asks=[[9, 1.0]])
    assert [entry[2] for entry in reply.box] == [1002.0]
    store.now += 0.3
    reply = store.ask(1, 9, got=1, asks=[[8, 1.0]])
    assert [entry[2] for entry in reply.box] == [1002.25]  # a second over four slots


def test_starts_are_no_further_apart_than_the_wait_that_was_named():
    store = Store(slots=4, rates=[Rate(1000, 1)])
    store.ask(1, 9, events=[refusal(1, RATE, wait=0.1)])
    store.now += 0.1
    reply = store.ask(1, 9, asks=[[9, 1.0]])
    assert [entry[2] for entry in reply.box] == pytest.approx([1000.1, 1000.2, 1000.3, 1000.4])


def test_starts_are_booked_in_their_order_whatever_comes_back():
    store = Store(rates=[Rate(600, 60, cost=len)])
    store.ask(1, 9, asks=[[1, 10.0]])
    store.now += 0.7
    store.ask(1, 9, got=1, asks=[[1, 10.0]])
    last = store.document.booked
    assert last > store.now
    event = [1, UNUSED, store.document.memory, last, 0.0, 10.0]
    reply = store.ask(1, 9, got=2, asks=[[1, 1.0]], events=[event])
    assert reply.box[0][2] == last  # though there is room for it just now


# Events


def refusal(number, kind, *, wait=-1.0, epoch=0, crowd=4, still=-1, ago=0.0, started=0.5, max_wait=300.0, chance=0.0):
    return [number, REFUSED, kind, wait, epoch, crowd, still, ago, started, max_wait, chance]


def test_a_named_wait_shuts_everybody_s_gate_from_the_moment_of_the_refusal():
    store = Store()
    store.ask(2, 1)
    reply = store.ask(1, 1, events=[refusal(1, RATE, wait=2.0, ago=0.25)])
    assert (reply.gate, reply.spread, reply.apart, reply.since) == (1001.75, 1.0, 2.0, 999.75)
    assert reply.wake == [102]
    assert not reply.steady and not reply.outage
    reply = store.ask(2, 1)
    assert (reply.gate, reply.since) == (1001.75, 999.75)


def test_a_gate_is_never_opened_earlier():
    store = Store()
    store.ask(1, 1, events=[refusal(1, RATE, wait=9.0), refusal(2, RATE, wait=2.0)])
    assert store.document.gate == 1009.0


def test_the_slope_is_spread_further_and_is_not_bound_to_the_wait():
    store = Store()
    reply = store.ask(1, 1, events=[refusal(1, RAMP, wait=2.0)])
    assert (reply.spread, reply.apart) == (10.0, 1e15)


def test_refusals_that_name_no_wait_close_the_gate_from_the_second_round_on():
    store = Store(rates=[Rate(9, 9)])
    store.ask(1, 1, events=[refusal(1, RATE, started=0.1)])
    assert store.document.gate == NEVER
    store.now += 1.0
    reply = store.ask(1, 1, events=[refusal(2, RATE, started=0.1, chance=0.5)])
    assert (reply.gate, reply.apart) == (1000.0 + 1.0 + 0.75 * 4, 1e15)


@pytest.mark.parametrize(
    ("kind", "wait", "rates", "cut"),
    [
        (CONCURRENCY, -1.0, [], True),
        (CONCURRENCY, 2.0, [], True),
        (RATE, -1.0, [], True),
        (RATE, 2.0, [], False),
        (RATE, -1.0, [Rate(9, 9)], False),
        (RAMP, -1.0, [], False),
        (OTHER, -1.0, [], False),
    ],
)
def test_the_ceiling_is_cut_where_the_crowd_was_the_reason(kind, wait, rates, cut):
    store = Store(slots=9, rates=rates)
    store.ask(2, 1)
    reply = store.ask(1, 9, events=[refusal(1, kind, wait=wait, crowd=9)])
    assert (reply.ceiling, reply.epoch) == ((7, 1) if cut else (9, 0))
    assert store.document.ceiling[0] == (8 * 0.92 if cut else 9.0)
    if cut:
        assert reply.wake == [102]
        assert not reply.steady


def test_a_refusal_by_rate_soon_after_the_gate_cuts_the_ceiling_by_its_share_whatever_the_crowd():
    store = Store(slots=9)
    store.ask(1, 9, events=[refusal(1, RATE, wait=2.0, crowd=9)])
    assert store.document.ceiling[0] == 9.0
    store.now += 3.0  # the gate has been open for a second
    store.ask(1, 9, events=[refusal(2, RATE, wait=2.0, crowd=1, started=0.5)])
    assert store.document.ceiling[0] == 9 * 0.92
    store.now += 30.0
    store.ask(1, 9, events=[refusal(3, RATE, wait=2.0, epoch=1, crowd=1, started=0.5)])
    assert store.document.ceiling[0] == 9 * 0.92


def test_a_crowd_is_cut_to_what_is_still_served():
    store = Store(slots=9)
    store.ask(1, 9, events=[refusal(1, CONCURRENCY, crowd=9, still=5), refusal(2, CONCURRENCY, crowd=9, still=4)])
    assert store.document.ceiling[0] == 4.0
    store = Store(slots=9)
    store.ask(1, 9, events=[refusal(1, RATE, crowd=9, still=5), refusal(2, RATE, crowd=9, still=4)])
    assert store.document.ceiling[0] == 8 * 0.92


def test_too_many_at_once_is_a_round_only_where_the_ceiling_cannot_be_lower():
    store = Store(slots=1)
    for step in range(2):
        store.ask(1, 1, events=[refusal(step + 1, CONCURRENCY, crowd=1, epoch=9, started=0.1)])
        store.now += 1.0
    assert store.document.gate == NEVER
    store = Store(slots=1)
    for step in range(2):
        epoch = store.document.ceiling[6] if store.document.ceiling else 0
        store.ask(1, 1, events=[refusal(step + 1, CONCURRENCY, crowd=1, epoch=epoch, started=0.1)])
        store.now += 1.0
    assert store.document.gate > 1000.0


def test_more_calls_than_slots_stop_everybody_until_they_are_fewer():
    store = Store(slots=4)
    store.ask(1, 2)
    store.ask(2, 2)
    reply = store.ask(1, 2, use=2, events=[refusal(1, CONCURRENCY, crowd=4, still=2)])
    assert (reply.ceiling, reply.over, reply.pressed, reply.target) == (2, True, True, 1)
    reply = store.ask(2, 2, use=2)
    assert (reply.over, reply.pressed, reply.allow) == (True, True, 2)
    store.ask(1, 2, use=1, keep=1)
    reply = store.ask(2, 2, use=1, keep=1)
    assert (reply.over, reply.allow, reply.wake) == (False, 1, [101])


def test_answers_raise_the_ceiling_and_end_the_refusals():
    store = Store(slots=9)
    store.ask(1, 9, events=[refusal(1, CONCURRENCY, crowd=9)])
    before = store.document.ceiling[0]
    reply = store.ask(1, 9, events=[[2, ANSWERED, 1, 9, 7, 6, 0.5]])
    assert store.document.ceiling[0] > before
    assert store.document.ceiling[4] == pytest.approx(6 / 4 / before, rel=0.2)  # rounds, a quarter of one an answer
    assert reply.since == NEVER
    one_by_one = Store(slots=9)
    one_by_one.ask(1, 9, events=[refusal(1, CONCURRENCY, crowd=9)])
    one_by_one.ask(1, 9, events=[[2 + step, ANSWERED, 1, 9, 7, 1, 0.5] for step in range(6)])
    assert one_by_one.document.ceiling == store.document.ceiling


def test_answers_need_not_be_told_while_nothing_is_wrong():
    store = Store()
    assert store.ask(1, 1).steady
    assert not store.ask(1, 1, events=[[1, FAILED, 0.0, 120.0, 0.5]]).steady
    assert store.ask(1, 1, events=[[2, ANSWERED, 0, 1, 4, 1, 0.5]]).steady


def failing(first):
    return [[first + step, FAILED, 0.0, 120.0, 0.5] for step in range(8)]


def test_eight_failures_in_a_row_are_an_outage_with_one_probe_for_all():
    store = Store(slots=4)
    store.ask(2, 4)
    reply = store.ask(1, 4, events=failing(1))
    assert (reply.outage, reply.ceiling, reply.steady) == (True, 1, False)
    assert reply.gate == 1000.0 + 0.5 * 0.75
    assert (reply.spread, reply.apart, reply.wake) == (0.0, 1e15, [102])
    store.now += 1.0
    old = store.ask(2, 4, events=[[1, ANSWERED, 0, 1, 4, 1, 1.5]])
    assert old.outage  # it had begun before
    reply = store.ask(2, 4, events=[[2, ANSWERED, 0, 1, 4, 1, 0.5]])
    assert (reply.outage, reply.ceiling, reply.wake) == (False, 4, [101])


def test_failures_before_a_silence_say_nothing_about_now():
    store = Store(slots=4)
    assert store.ask(1, 4, events=failing(1)).outage
    gate = 1000.0 + 0.5 * 0.75
    store.now = gate + 121.0
    began = store.now - gate
    early = store.ask(1, 4, events=[[9, FAILED, began - 120.0, 120.0, 0.5]])  # its call began 120 s after the gate
    assert (early.failures, early.outage) == (9, True)
    store = Store(slots=4)
    store.ask(1, 4, events=failing(1))
    store.now = gate + 121.0
    reply = store.ask(1, 4, events=[[9, FAILED, began - 120.1, 120.0, 0.5]])
    assert (reply.failures, reply.failing, reply.outage, reply.ceiling) == (1, store.now, False, 4)


def test_failures_are_counted_over_all_until_a_call_succeeds():
    store = Store()
    store.ask(2, 1, events=failing(1)[:3])
    store.now += 1.0
    reply = store.ask(1, 1, events=failing(1)[:2])
    assert (reply.failures, reply.failing, reply.outage, reply.answers) == (5, 1000.0, False, 0)
    reply = store.ask(1, 1, events=[[3, ANSWERED, 0, 1, 4, 1, 0.5]])
    assert (reply.failures, reply.failing, reply.answers) == (0, NEVER, 1)


def test_a_key_that_is_refused_eight_times_in_a_row_is_everybody_s():
    store = Store()
    store.ask(2, 1)
    reply = store.ask(1, 1, events=[[number, DENIED] for number in range(1, 8)])
    assert not reply.locked_out and not reply.steady
    reply = store.ask(2, 1, events=[[1, DENIED]])
    assert (reply.locked_out, reply.wake) == (True, [101])
    assert store.ask(1, 1).locked_out
    assert not store.ask(1, 1, events=[[8, ANSWERED, 0, 1, 4, 1, 0.5]]).locked_out


def test_a_spent_account_is_everybody_s_until_a_call_that_began_later_succeeds():
    store = Store()
    store.ask(2, 1)
    reply = store.ask(1, 1, events=[[1, SPENT, 0.5]])
    assert (reply.spent, reply.wake, reply.steady) == (999.5, [102], False)
    store.now += 3.0
    reply = store.ask(2, 1, events=[[1, ANSWERED, 0, 1, 4, 1, 3.5]])
    assert reply.spent == 999.5
    reply = store.ask(2, 1, events=[[2, ANSWERED, 0, 1, 4, 1, 3.4]])
    assert (reply.spent, reply.wake) == (NEVER, [101])


def test_what_was_said_first_of_a_spent_account_is_not_later():
    store = Store()
    store.ask(1, 1, events=[[1, SPENT, 0.5], [2, SPENT, 2.0]])
    assert store.document.spent == 999.5


def test_an_event_is_taken_once():
    store = Store(slots=9)
    event = refusal(1, CONCURRENCY, crowd=9)
    reply = store.ask(1, 9, events=[event])
    assert (reply.told, reply.epoch) == (1, 1)
    reply = store.ask(1, 9, events=[event, refusal(2, CONCURRENCY, crowd=9, epoch=1)])
    assert (reply.told, reply.epoch) == (2, 2)
    assert store.ask(1, 9).told == 2


def test_a_settlement_is_as_if_it_had_been_charged_so():
    store = Store(rates=[Rate(600, 60, cost=len)])
    reply = store.ask(1, 1, asks=[[1, 10.0]])
    rate = store.document.rates[0]
    at, full = reply.box[0][2], rate.tat
    store.ask(1, 1, got=1, events=[[1, SETTLED, store.document.memory, 0, at, -6.0]])
    assert rate.tat == pytest.approx(full - 6.0 / rate.refill)
    store.ask(1, 1, got=1, events=[[2, SETTLED, store.document.memory, 0, at, 11.0]])
    assert rate.tat == pytest.approx(full + 5.0 / rate.refill)


def test_a_settlement_of_another_memory_is_nothing():
    store = Store(rates=[Rate(600, 60, cost=len)])
    reply = store.ask(1, 1, asks=[[1, 10.0]])
    before = store.document.rates[0].tat
    store.ask(1, 1, got=1, events=[[1, SETTLED, 5, 0, reply.box[0][2], -6.0], [2, UNUSED, 5, reply.box[0][2], 0, 10.0]])
    assert store.document.rates[0].tat == before
    assert store.member(1).told == 2


def test_a_settlement_of_a_stranger_may_have_been_taken_before():
    store = Store(rates=[Rate(600, 60, cost=len)])
    at = store.ask(1, 1, asks=[[1, 10.0]]).box[0][2]
    store.dead = [1]
    store.ask(2, 1)
    store.dead = []
    before = store.document.rates[0].tat
    settled = [[3, SETTLED, store.document.memory, 0, at, -6.0], [4, UNUSED, store.document.memory, at, 1, 10.0]]
    assert store.ask(1, 1, events=[*settled, [5, SPENT, 0.0]]).told == 5
    assert store.document.rates[0].tat == before
    assert store.document.spent == 1000.0


def test_a_start_that_was_not_used_comes_back():
    store = Store(rates=[Rate(10, 1), Rate(20, 10)])
    at = store.ask(1, 1, asks=[[1, 1.0, 1.0]]).box[0][2]
    store.ask(1, 1, got=1, events=[[1, UNUSED, store.document.memory, at, 0.0, 1.0, 1.0]])
    assert [rate.tat for rate in store.document.rates] == [NEVER, NEVER]


@pytest.mark.parametrize(("lapsed", "line"), [(1.0, [1, 2]), (0.0, [2, 1])])
def test_who_missed_a_start_is_the_next_and_who_gave_it_back_is_not(lapsed, line):
    store = Store(slots=9, rates=[Rate(1, 10)])
    at = store.ask(1, 9, asks=[[1, 1.0]]).box[0][2]
    store.ask(2, 9, asks=[[5, 1.0]])
    event = [1, UNUSED, store.document.memory, at + 100, lapsed, 0.0]  # of something else, so that nothing is booked
    store.ask(1, 9, got=1, asks=[[5, 1.0]], events=[event])
    assert store.document.lines[0] == line


# When to ask again, and whom to wake


def test_who_does_nothing_asks_three_times_a_lease():
    assert Store().ask(1).again == 3.0


@pytest.mark.parametrize(("use", "want"), [(1, 1), (0, 1), (0, (0, 1))])
def test_who_uses_or_wants_anything_is_heard_each_second(use, want):
    assert Store().ask(1, want, use=use).again == 1.0


def test_no_lease_is_longer_than_three_rounds():
    assert Store().ask(1, 1, ttl=0.6).again == pytest.approx(0.2)


def test_who_could_use_more_asks_oftener():
    store = Store(slots=2)
    assert store.ask(1, 3).again == 0.3


def test_who_has_an_odd_slot_asks_when_its_time_is_over():
    store = Store(slots=1)
    store.ask(1, 3)
    store.ask(2, 3)
    assert store.ask(1, 3, use=1).again == pytest.approx(0.1)
    store.now += 0.04
    assert store.ask(1, 3, use=1).again == pytest.approx(0.06)
    store.now += 0.0601
    assert store.ask(1, 3, use=1).again == 0.3


def test_who_waits_for_a_start_asks_when_its_own_turn_comes():
    store = Store(slots=90, rates=[Rate(1, 2)])  # one each 2.05 s
    assert store.ask(1, 1, asks=[[2, 1.0]]).again == 1.0
    store.now += 1.0
    step = 2.05
    assert store.ask(1, 1, got=1, asks=[[1, 1.0]]).again == pytest.approx(step - HORIZON - 1.0)
    store.now += step - HORIZON - 1.0 - 0.2
    assert store.ask(1, 1, got=1, asks=[[1, 1.0]]).again == pytest.approx(0.2)
    assert store.ask(2, 1, asks=[[1, 1.0]]).again == 1.0  # behind it: 0.2 and a step
    store.now += 0.15
    assert store.ask(1, 1, got=1, asks=[[1, 1.0]]).again == 0.1
    fast = Store(slots=90, rates=[Rate(4, 1)])
    assert fast.ask(1, 1, asks=[[9, 1.0]]).again == pytest.approx(2 * 1.05 / 4 - HORIZON)
    assert fast.ask(2, 1, asks=[[9, 1.0]]).again == pytest.approx(3 * 1.05 / 4 - HORIZON)


def test_as_many_are_woken_as_there_are_free_slots_in_the_order_of_their_turns():
    store = Store(slots=4)
    store.ask(1, 4)
    for number in (3, 2, 4):
        store.now += 0.01
        store.ask(number, 1)
    store.now += 1.0
    reply = store.ask(1, 2, keep=2, use=2)
    assert reply.wake == [103, 102]


def test_nobody_is_woken_twice_who_was_not_heard_of_meanwhile():
    store = Store(slots=2)
    store.ask(1, 2)
    assert store.ask(2, 2).wake == [101]
    assert store.ask(3, 2).wake == []
    store.now += 0.1
    assert store.ask(3, 2).wake == [101]
    store.ask(1, 2, use=2)
    store.ask(4, 1)
    assert store.ask(5, 1).wake == []  # it knows


def test_who_knows_that_it_holds_too_much_is_not_woken_before_its_share_gets_smaller():
    store = Store(slots=6)
    store.ask(1, 9)
    store.ask(2, 9)
    store.now += 0.01
    store.ask(1, 9, use=6)
    assert store.ask(2, 9).wake == []
    assert store.ask(3, 9).wake == [101]


def test_a_lost_slot_is_nobody_s():
    store = Store(slots=2)
    store.ask(1, 2)
    store.ask(2, 9)
    store.now += TTL + 0.5
    reply = store.ask(2, 9)
    assert (reply.allow, reply.members) == (2, 1)
    assert math.isfinite(store.document.time)
