"""Starts under rates: booked ahead for whoever waits, a call each in turn, into a mailbox.

To book for the asker alone would serve whoever comes first. Booked is no further ahead than 0.4 s, so that who joins
the line soon has its turn, and what a killed process had in its mailbox is a small loss. For the background, whose
calls start when no other process has one in the foreground that waits, it is 0.05 s.
"""

from __future__ import annotations

from collections.abc import Sequence

from fanmap._policy.shared.document import BACK, BACKGROUND_HORIZON, FRONT, HORIZON, TURN, Document, MemberState
from fanmap._policy.shared.messages import Request
from fanmap._policy.shared.news import slots_of
from fanmap._policy.shared.rates import charge, earliest, replay, settle
from fanmap._policy.shared.totals import beyond, charged, fits, is_total
from fanmap._policy.shared.turns import had_start, take_turns, went_first

FAR = 1e15  # a time that does not come: something has to be settled before


def ask(document: Document, me: MemberState, request: Request, now: float, lapsed: bool) -> None:
    """Take what one member asks for; who has missed a start is the next one in turn."""
    on_its_way: list[list[float]] = []
    late = min((rate.late for rate in document.rates), default=0.0)
    for entry in me.box:
        if entry[0] <= request.got:
            continue  # it has arrived
        if entry[2] + late < now:  # it has not, and cannot be used any more
            give_back(document, entry)
            lapsed = True
        else:
            on_its_way.append(entry)
    me.box = on_its_way
    for kind, line in enumerate(document.lines):
        me.asks[kind] = _without(request.asks[kind], sum(1 for entry in on_its_way if min(entry[1], BACK) == kind))
        waits = me.id in line
        if waits and (lapsed or not me.asks[kind]):
            line.remove(me.id)
            waits = False
        if me.asks[kind] and not waits:
            line.insert(0 if lapsed else len(line), me.id)


def _without(asks: Sequence[Sequence[float]], served: int) -> list[list[float]]:
    """These asks but for the first so many calls."""
    left: list[list[float]] = []
    for count, *costs in asks:
        taken = min(served, int(count))
        served -= taken
        if count > taken:
            left.append([count - taken, *costs])
    return left


def give_back(document: Document, entry: list[float]) -> None:
    """A booked start was not used and will not be."""
    for rate, cost in zip(document.rates, entry[3:], strict=True):
        if not is_total(rate):
            settle(rate, entry[2], -cost)
            replay(rate)


def book(document: Document, now: float) -> tuple[set[int], float | None]:
    """Book what may start soon; for whom, and when the next one in line may (None: nobody waits)."""
    served: set[int] = set()
    while True:
        take_turns(document, now)
        kind = _next_kind(document)
        line = document.lines[min(kind, BACK)]
        if not line:
            return served, None
        member = document.member(document.turn if kind == TURN else line[0])
        assert member is not None  # who is buried leaves its line
        asks = member.asks[min(kind, BACK)]
        costs = asks[0][1:]
        if any(is_total(rate) and beyond(rate, cost) for rate, cost in zip(document.rates, costs, strict=True)):
            asks.clear()  # it will never start, and its process will see why
            served.add(member.id)
            line.remove(member.id)
            continue
        start = _next_start(document, now, costs)
        if start > now + (BACKGROUND_HORIZON if kind == BACK else HORIZON):
            return served, start
        for place, rate in enumerate(document.rates):
            if is_total(rate):
                costs[place] = charged(rate, costs[place])
            else:
                charge(rate, start, costs[place])
        document.booked = start
        member.boxed += 1
        member.box.append([member.boxed, kind, start, *costs])
        served.add(member.id)
        asks[0][0] -= 1
        if not asks[0][0]:
            del asks[0]
        line.remove(member.id)
        if asks:
            line.append(member.id)
        if kind == FRONT:
            went_first(document, 1)
        else:
            had_start(document)


def _next_kind(document: Document) -> int:
    """Whose start comes next: the foreground's, unless only the background waits, or has the turn."""
    front, back = document.lines
    if document.turn in back:
        return TURN
    return FRONT if front else BACK


def _next_start(document: Document, now: float, costs: list[float]) -> float:
    at = max(now, document.gate, document.booked)
    if document.booked >= document.gate and at < document.gate + document.spread:
        at = max(at, document.booked + min(document.spread / slots_of(document), document.apart))
    for place, rate in enumerate(document.rates):
        if not is_total(rate):
            at = max(at, earliest(rate, now, costs[place]))
        elif not fits(document, place, costs[place]):
            return FAR
    return at
