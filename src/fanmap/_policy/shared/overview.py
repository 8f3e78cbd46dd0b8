"""How things are under one name, for people: who is there, what they use and wait for, what holds them."""

from __future__ import annotations

from dataclasses import dataclass

from fanmap._policy.shared.document import NEVER, Document, MemberState
from fanmap._policy.shared.news import brake_of, slots_of
from fanmap._policy.shared.told import is_followed
from fanmap._policy.shared.totals import is_total, open_of


@dataclass(frozen=True, slots=True)
class MemberView:
    """One process.

    Attributes:
        in_flight: calls under way. allow: slots that it may use.
        waiting: calls that wait for a slot or, slot in hand, for a start.
        seen: seconds since it was heard of.
    """

    id: int
    in_flight: int
    allow: int
    waiting: int
    seen: float


@dataclass(frozen=True, slots=True)
class RateView:
    """One rate: what it counts, a window's seconds and units, and seconds until the next unit may start.

    Of one whose amount the server tells, seconds and units as it told them; `amount` is 0.0 where it has not yet.
    Of a total (`per` is 0.0) what is spent, and what calls under way were charged.
    """

    what: int
    per: float
    amount: float
    free_in: float
    spent: float = 0.0
    booked: float = 0.0


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it.

    Attributes:
        ceiling, maximum: calls at once, now and at most.
        gate: seconds until the gate opens; 0.0: it is open. outage: everybody waits for one probe.
        spent: seconds since somebody was told that the account is; None: it is not.
        members: who was heard of within its lease. waiting: calls that wait for a slot or a start.
        exchanges: how many there were.
    """

    ceiling: int
    maximum: int
    in_flight: int
    waiting: int
    gate: float
    outage: bool
    spent: float | None
    members: tuple[MemberView, ...]
    rates: tuple[RateView, ...]
    exchanges: int


def overview(document: Document, raw: float) -> Overview | None:
    """The document at the store's time `raw`; None: nobody is there."""
    now = max(raw + document.skew, document.time)
    living = [member for member in document.members if member.ends >= now]
    if not living:
        return None
    views = tuple(_view(member, now) for member in living)
    return Overview(
        ceiling=slots_of(document),
        maximum=document.maximum,
        in_flight=sum(view.in_flight for view in views),
        waiting=sum(view.waiting for view in views),
        gate=max(0.0, document.gate - now),
        outage=brake_of(document).outage,
        spent=None if document.spent == NEVER else now - document.spent,
        members=views,
        rates=tuple(_rate(document, place, now) for place in range(len(document.rates))),
        exchanges=document.exchanges,
    )


def _rate(document: Document, place: int, now: float) -> RateView:
    rate = document.rates[place]
    booked = open_of(document, place) if is_total(rate) else 0.0
    if not is_followed(rate):
        per, amount = rate.per, rate.amount
    else:
        per, amount = (rate.window, rate.amount) if rate.unit else (rate.per, 0.0)
    return RateView(rate.what, per, amount, max(0.0, rate.tat - now), rate.spent, booked)


def _view(member: MemberState, now: float) -> MemberView:
    starts = sum(int(run[0]) for asks in member.asks for run in asks)
    in_flight = max(0, member.use - starts)
    return MemberView(member.id, in_flight, member.allow, max(0, sum(member.want) - in_flight), now - member.seen)
