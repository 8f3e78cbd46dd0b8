"""A total of several processes: `Rate(amount, per=math.inf)`, and the dollars of `max_spend=`.

As in `_policy.limits.total`: a call may start when its cost fits beside what is settled and what is booked. Every start
is booked, and each process says how things are with it: what it has booked and not settled, and what it has settled
since it is there, so that whatever gets lost or comes twice is counted once. What a process had booked when it died was
perhaps paid, and stays spent. Where that is not known better, too much is counted and never too little.
"""

from __future__ import annotations

from typing import Final

from fanmap._policy.shared.document import DOLLARS, TOTAL, Document, MemberState, RateSetting, RateState
from fanmap._policy.shared.messages import Request

_SLACK: Final = 1e-9  # of the amount: sums of cents are no exact numbers
_MEMORY: Final = 100  # calls after which an old one has faded from the mean


def is_total(rate: RateState | RateSetting) -> bool:
    """Does it never refill?"""
    return rate.per == TOTAL


def charged(rate: RateState, cost: float) -> float:
    """What a call is charged: its cost, or, of dollars, the mean, since nobody knows before."""
    return min(rate.amount, max(0.0, rate.mean)) if rate.what == DOLLARS else cost


def open_of(document: Document, place: int) -> float:
    """What calls were charged that may yet settle."""
    units = document.rates[place].unclaimed
    for member in document.members:
        if member.open:
            units += member.open[place]
        for entry in member.box:
            units += entry[3 + place]
    return units


def somebody_settles(document: Document) -> bool:
    """Is a call under way that will settle, whatever becomes of others?"""
    return any(member.settling or member.box for member in document.members)


def beyond(rate: RateState, cost: float) -> bool:
    """Would this cost go beyond the amount whatever the calls under way settle for?"""
    return exceeds(rate.amount, rate.spent, charged(rate, cost))


def exceeds(amount: float, spent: float, cost: float) -> bool:
    """Is it used up, or would this cost go beyond it?"""
    return spent >= amount * (1 - _SLACK) or spent + cost > amount * (1 + _SLACK)


def fits(document: Document, place: int, cost: float) -> bool:
    """May a call of this cost start now? Of dollars one at a time, until one has told what it cost."""
    rate = document.rates[place]
    if rate.what == DOLLARS and not rate.learnt and somebody_settles(document):
        return False
    everything = rate.spent + open_of(document, place) + charged(rate, cost)
    return not beyond(rate, cost) and not exceeds(rate.amount, 0.0, everything)


def learn(rate: RateState, many: int, dollars: float) -> None:
    """So many calls have cost so much together."""
    rate.learnt = min(rate.learnt + many, _MEMORY)
    rate.mean += (dollars - many * rate.mean) / max(rate.learnt, many)


def told(document: Document, me: MemberState, request: Request, *, stranger: bool) -> None:
    """Take what one member says that it has booked and settled.

    Of a stranger everything counts that it does not know to be counted, though it may have been before it was buried.
    """
    if not request.open:
        return
    for place, rate in enumerate(document.rates):
        if is_total(rate):
            before = request.counted[place] if stranger else me.paid[place]
            rate.spent += max(0.0, request.paid[place] - before)
    me.paid = list(request.paid)
    me.open = list(request.open)
    me.settling = request.settling


def forfeit(document: Document, member: MemberState, *, leaving: bool) -> None:
    """A member is gone. What it had booked may have been paid; who leaves in good order knows what it had."""
    for place, rate in enumerate(document.rates):
        if is_total(rate):
            units = member.open[place] if member.open else 0.0
            if not leaving:
                units += sum(entry[3 + place] for entry in member.box if entry[2] <= document.time)
            rate.spent += units


def clear(document: Document) -> None:
    """Nobody is there any more: whoever comes next begins anew."""
    for rate in document.rates:
        if is_total(rate):
            rate.spent = rate.brought = rate.unclaimed = rate.mean = 0.0
            rate.learnt = 0


def settle_unclaimed(document: Document, now: float) -> None:
    """Those who knew a memory that was lost have been waited for: what they had booked stays spent."""
    if now >= document.quiet:
        for rate in document.rates:
            rate.spent, rate.unclaimed = rate.spent + rate.unclaimed, 0.0


def bring(document: Document, place: int, me: MemberState, request: Request, *, first: bool) -> None:
    """The store had lost its memory: a member brings what it knew was spent, and what others had booked.

    What was spent in this memory comes on top: of several that bring something the one counts that knew most.
    """
    rate, known = document.rates[place], request.known
    spent, others, mean, learnt = known.rates[place]
    if known.era >= document.era:
        more = max(0.0, spent - rate.brought)
        rate.brought += more
        rate.spent += more
    if not rate.learnt:
        rate.mean, rate.learnt = mean, int(learnt)
    if first:
        rate.unclaimed = others
    else:
        mine = request.open[place] - (me.open[place] if me.open else 0.0)
        rate.unclaimed = max(0.0, rate.unclaimed - max(0.0, mine))


def anew(fresh: Document, before: Document | None) -> Document:
    """A new document in which nothing is spent, whatever the members of the one before bring."""
    fresh.era = 0 if before is None else before.era + 1
    return fresh


def stuck(document: Document, me: MemberState, now: float) -> bool:
    """Does its first call wait for a total of which nobody will settle anything?"""
    waiting = [asks[0][1:] for asks in me.asks if asks]
    if not waiting or now < document.quiet or somebody_settles(document):
        return False
    return any(
        is_total(rate) and not fits(document, place, costs[place])
        for costs in waiting
        for place, rate in enumerate(document.rates)
    )
