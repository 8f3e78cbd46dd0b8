"""One start in fifty is the background's, over all processes: what the ledger counts, and what a member makes of it."""

from __future__ import annotations

import pytest

from fanmap._policy.limits.kinds import EVERY
from fanmap._policy.limits.rate import Rate
from fanmap._policy.shared.demand import Demand
from fanmap._policy.shared.document import BACK, FRONT, NEVER, TURN

from .test_shared_ledger import Store
from .test_shared_member import due, heard, member_of

PART = EVERY - 1


def full(slots=2):
    """A foreground that has all slots and wants more, and two processes whose background waits."""
    store = Store(slots=slots)
    store.ask(1, 9)
    store.ask(1, 9, use=slots, keep=slots)
    for number in (2, 3):
        store.ask(number, (0, 5), behind=True)
        store.now += 0.01
    return store


def starts(store, front, **more):
    return store.ask(1, 9, use=2, starts=(front, 0), **more)


def test_starts_count_while_the_background_waits():
    store = full()
    assert starts(store, 20).before_telling == PART - 20
    assert (store.document.passed, store.document.turn) == (20, 0)
    starts(store, 20)  # said twice
    assert store.document.passed == 20
    store.ask(2, (0, 0))
    starts(store, 30)
    assert store.document.passed == 30  # another one waits still
    store.ask(3, (0, 0))
    assert starts(store, 40).before_telling == 0
    assert store.document.passed == 30


def test_nobody_has_the_turn_before_the_foreground_has_had_its_part():
    store = full()
    starts(store, PART - 1)
    assert store.document.turn == 0
    reply = starts(store, PART)
    assert (store.document.turn, reply.turn) == (2, False)
    assert (reply.target, reply.pressed, reply.wake) == (1, True, [])
    assert starts(store, PART, keep=1).wake == [102]  # there is a slot for it


def test_who_has_the_turn_gets_a_slot_and_gives_it_back_after_one_start():
    store = full()
    starts(store, PART)
    assert store.ask(2, (0, 5), behind=True).turn
    assert starts(store, PART, keep=1).allow == 1
    assert store.ask(3, (0, 5), behind=True).allow == 0
    reply = store.ask(2, (0, 5), behind=True)
    assert (reply.allow, reply.target, reply.turn) == (1, 1, True)
    reply = store.ask(2, (0, 5), use=1, behind=True, starts=(0, 1))
    assert (reply.target, reply.pressed, reply.turn) == (0, True, False)
    assert (store.document.turn, store.document.passed) == (0, 0)


def test_who_has_been_without_for_longest_is_the_next():
    store = full()
    order = []
    for turn in range(1, 5):
        starts(store, turn * PART)
        order.append(store.document.turn)
        store.ask(order[-1], (0, 5), behind=True, starts=(0, turn))
        store.now += 0.1
    assert order == [2, 3, 2, 3]


def test_what_comes_late_is_made_up_for_up_to_one_turn():
    store = full()
    starts(store, 10 * PART)
    assert store.document.passed == 2 * PART
    store.ask(2, (0, 5), behind=True, starts=(0, 1))
    assert (store.document.passed, store.document.turn) == (PART, 3)
    store.ask(3, (0, 5), behind=True, starts=(0, 1))
    assert (store.document.passed, store.document.turn) == (0, 0)


def test_a_start_of_the_background_that_needed_no_turn_counts_as_well():
    store = full()
    starts(store, 30)
    store.ask(2, (0, 5), behind=True, starts=(0, 1))
    assert store.document.passed == 0


@pytest.mark.parametrize("how", ["dead", "leaving", "content"])
def test_a_turn_that_nobody_takes_is_the_next_one_s(how):
    store = full()
    starts(store, PART)
    if how == "dead":
        store.dead = [2]
    elif how == "leaving":
        store.ask(2, leaving=True)
    else:
        store.ask(2, (0, 0))
    starts(store, PART)
    assert store.document.turn == 3


def test_who_comes_anew_brings_no_starts():
    store = full()
    store.ask(4, 5, starts=(500, 7))
    assert store.document.passed == 0


def test_each_of_several_tells_of_its_part():
    store = full()
    store.ask(4, 5, use=1)
    assert starts(store, 9).before_telling == (PART - 9) // 2
    assert starts(store, PART - 1).before_telling == 1
    assert starts(store, PART).before_telling == PART // 2  # from then on the next turn's


# Where starts are booked


def test_booked_starts_are_counted_as_they_are_booked():
    store = Store(slots=99, rates=[Rate(6000, 60, burst=100)])
    store.ask(2, (0, 1), use=1, behind=True)
    reply = store.ask(1, 90, use=90, asks=[[20, 1.0]], starts=(77, 0))
    assert (len(reply.box), reply.before_telling) == (20, 0)
    assert store.document.passed == 20
    store.ask(1, 90, use=90, got=20, asks=[[PART - 20, 1.0]])
    assert (store.document.passed, store.document.turn) == (PART, 2)


def test_who_has_the_turn_is_booked_before_the_foreground_and_once():
    store = Store(slots=99, rates=[Rate(6000, 60, burst=100)])
    store.ask(2, (0, 1), use=1, behind=True)
    store.ask(1, 90, use=90, asks=[[PART, 1.0]])
    reply = store.ask(2, (0, 9), use=9, asks=((), [[9, 1.0]]), behind=True)
    assert [entry[1] for entry in reply.box][:2] == [TURN, BACK]
    assert (store.document.turn, store.document.passed) == (0, 0)


def test_the_foreground_is_booked_while_who_has_the_turn_waits_for_its_slot():
    store = Store(slots=99, rates=[Rate(6000, 60, burst=100)])
    store.ask(2, (0, 1), behind=True)
    reply = store.ask(1, 90, use=90, asks=[[PART + 9, 1.0]])
    assert {entry[1] for entry in reply.box} == {FRONT}
    assert store.document.turn == 2
    assert store.ask(2, (0, 1), behind=True).turn


def test_who_waits_for_a_start_already_has_the_turn_before_who_waits_for_a_slot():
    store = Store(slots=99, rates=[Rate(600, 60, burst=1)])
    store.ask(2, (0, 1), behind=True)
    store.now += 0.1
    store.ask(1, 90, use=90, asks=[[9, 1.0]])
    store.ask(3, (0, 1), use=1, asks=((), [[1, 1.0]]), behind=True)
    store.document.passed = PART
    store.now += 0.2
    store.ask(1, 90, use=90, asks=[[9, 1.0]])
    assert [entry[1] for entry in store.member(3).box] == [TURN]
    assert store.member(3).turned == store.now


def test_who_has_the_turn_keeps_its_slot_while_it_waits_for_its_start():
    """It gave it back as soon as it waited, and had to ask for it again: a message after the other."""
    store = Store(slots=1, rates=[Rate(60, 60, burst=1)])
    store.ask(1, 9, use=1, asks=([[9, 1.0]], []))
    store.ask(2, (0, 1), behind=True)
    store.document.passed = PART
    store.now += 0.1
    store.ask(1, 9, use=0, keep=0)
    assert store.document.turn == 2
    store.ask(2, (0, 1), behind=True)
    for _ in range(3):
        reply = store.ask(2, (0, 1), use=1, keep=1, asks=([], [[1, 1.0]]), behind=True)
        assert (reply.allow, reply.target, reply.turn) == (1, 1, True)


def test_what_is_on_its_way_by_turn_serves_the_background():
    store = Store(slots=99, rates=[Rate(6000, 60, burst=100)])
    store.ask(2, (0, 1), use=1, behind=True)
    store.ask(1, 90, use=90, asks=[[PART, 1.0]])
    first = store.ask(2, (0, 1), use=1, asks=((), [[1, 1.0]]), behind=True)
    again = store.ask(2, (0, 1), use=1, asks=((), [[1, 1.0]]), behind=True)  # the reply was lost
    assert first.box == again.box and again.asked == [0, 0]


# The member


def test_a_member_says_how_many_have_started_and_who_waits():
    member = member_of()
    heard(member)
    member.started(background=False)
    member.started(background=False)
    member.started(background=True)
    request = member.compose(100.1, Demand(3, (2, 4), behind=True), 3)
    assert (list(request.starts), request.behind, request.want) == ([2, 1], True, (2, 4))


def test_it_tells_of_its_starts_when_so_many_have_been_made():
    member = member_of()
    demand = Demand(4, (4, 0))
    heard(member, 100.0, demand, allow=4, target=4, before_telling=3)
    for _ in range(2):
        member.started(background=False)
    assert due(member, 100.1, demand) == 101.0
    member.started(background=False)
    assert due(member, 100.1, demand) == 100.1
    heard(member, 100.1, demand, allow=4, target=4)  # nobody counts any more
    for _ in range(9):
        member.started(background=False)
    assert due(member, 100.2, demand) == 101.1


def test_the_turn_is_for_one_start_which_is_told_at_once():
    member = member_of()
    demand = Demand(1, (0, 5), behind=True)
    heard(member, 100.0, demand, allow=2, target=1, turn=True)
    assert member.background_is_due() and member.next_is_background()
    member.started(background=False)
    assert member.next_is_background()
    assert due(member, 100.1, demand) == 101.0
    member.started(background=True)
    assert not member.background_is_due() and not member.next_is_background()
    assert due(member, 100.1, demand) == 100.1


def test_a_turn_that_was_taken_while_the_reply_was_under_way_is_over():
    member = member_of()
    demand = Demand(1, (0, 5), behind=True)
    heard(member, 100.0, demand, allow=2, target=1, turn=True)
    request = member.compose(100.1, demand, 3)
    member.started(background=True)
    member.lost()
    heard(member, 100.2, demand, allow=2, target=1)
    assert request.starts == (0, 0) and not member.turn
    member.started(background=True)
    assert due(member, 100.3, demand) == 101.2  # there was no turn


def test_a_start_that_is_booked_by_turn_is_the_background_s_and_those_before_it_are_not():
    member = member_of([Rate(10, 1)])
    box = [[1, FRONT, 1000.1, 1.0], [2, TURN, 1000.2, 1.0], [3, BACK, 1000.3, 1.0]]
    heard(member, box=box)
    assert member.background_is_due() and not member.next_is_background()
    member.begin()
    assert member.background_is_due() and member.next_is_background()
    member.begin()
    assert not member.background_is_due() and not member.next_is_background()


def test_one_that_lapses_is_no_turn_any_more():
    member = member_of([Rate(10, 1)])
    heard(member, box=[[1, TURN, 1000.1, 1.0]])
    assert member.booked(100.9) == 0
    assert not member.background_is_due()


def test_more_in_the_foreground_is_told_at_once_where_slots_are_short():
    member = member_of()
    heard(member, 100.0, Demand(4, (0, 9)), allow=4, target=4)
    assert due(member, 100.1, Demand(4, (0, 9))) == 101.0
    assert due(member, 100.1, Demand(4, (1, 8))) == 100.1
    heard(member, 100.0, Demand(2, (0, 2)), allow=4, target=4)
    assert due(member, 100.1, Demand(2, (1, 2))) > 100.1  # there is a slot for it


def test_less_in_the_foreground_is_told_at_once_where_others_want_what_the_background_here_has():
    member = member_of()
    for scarce in (True, False):
        heard(member, 100.0, Demand(4, (3, 9)), allow=4, target=4, scarce=scarce)
        assert (due(member, 100.1, Demand(4, (2, 9))) == 100.1) == scarce
    heard(member, 100.0, Demand(4, (9, 9)), allow=4, target=4, scarce=True)
    assert due(member, 100.1, Demand(4, (8, 9))) == 101.0  # it needs all that it has


def test_a_new_member_has_waited_for_no_turn():
    store = Store()
    store.ask(1, (0, 1), behind=True)
    assert store.member(1).turned == store.now != NEVER
