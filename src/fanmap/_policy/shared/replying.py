"""What a member hears, when it has to ask again, and whom to wake."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fanmap._policy.shared import news
from fanmap._policy.shared.booking import FAR
from fanmap._policy.shared.document import BACKGROUND_HORIZON, HORIZON, NEVER, Document, MemberState, RateState
from fanmap._policy.shared.messages import Reply
from fanmap._policy.shared.shares import ODD_SECONDS, Share, shares
from fanmap._policy.shared.told import is_followed, untold
from fanmap._policy.shared.totals import is_total, open_of, stuck
from fanmap._policy.shared.turns import before_telling

_IN_USE = 1.0  # seconds between exchanges of whoever uses or wants anything
_HUNGRY = 0.3  # the same of whoever could use more than it has
_ASKING = (0.1, 0.05)  # the same, at least, of whoever waits for a start; in the background
_WAKE_AGAIN = 0.1  # seconds in which nobody is woken twice that has not been heard of meanwhile


def reply(
    document: Document,
    me: MemberState,
    now: float,
    serial: int,
    verdict: int,
    *,
    booked: Collection[int] = (),
    head: float | None = None,
    alarm: bool = False,
) -> Reply:
    """Answer one member.

    Args:
        booked: for whom a start was booked in this exchange.
        head: when the next one in line may start.
        alarm: has something changed that everybody has to hear of?
    """
    members = document.members
    slots = news.slots_of(document)
    parts = shares(members, slots, now, document.turn)
    held = sum(member.allow for member in members)
    over = held > slots
    free = slots - held - (document.unclaimed if now < document.quiet else 0)
    hungry = [member.id for member, part in zip(members, parts, strict=True) if part.target > member.allow]
    wake = _to_wake(document, me, now, parts, hungry, free, booked, over=over, alarm=alarm)
    rank = next((place for place, member in enumerate(members) if member is me), -1)
    if rank < 0:  # it has left
        return Reply(serial, verdict, document.memory, now, wake=wake)
    part = parts[rank]
    others = [member for member in members if member is not me]
    me.target, me.over = part.target, over
    me.pressed = over or any(number != me.id for number in hungry)
    ceiling, brake = news.ceiling_of(document), news.brake_of(document)
    tight = head is not None and head >= FAR
    return Reply(
        serial, verdict, document.memory, now,
        allow=me.allow,
        target=me.target,
        pressed=me.pressed,
        over=over,
        scarce=any(sum(member.want) > member.allow for member in others),
        ceiling=slots,
        maximum=document.maximum,
        epoch=ceiling.epoch,
        steady=ceiling.resting and not brake.engaged and document.spent == NEVER,
        outage=brake.outage,
        since=NEVER if brake.since is None else brake.since,
        failing=brake.failing_since if brake.failures else NEVER,
        failures=brake.failures,
        answers=brake.answers,
        refusals=brake.refusals,
        locked_out=brake.locked_out,
        spent=document.spent,
        gate=document.gate,
        spread=document.spread,
        apart=document.apart,
        elsewhere=sum(max(member.use, min(member.allow, sum(member.want))) for member in others),
        waiting=sum(max(0, sum(member.want) - member.use) for member in others),
        members=len(members),
        rank=rank,
        box=[list(entry) for entry in me.box],
        asked=[sum(int(run[0]) for run in asks) for asks in me.asks],
        rates=[_row(document, place, rate) for place, rate in enumerate(document.rates)],
        era=document.era,
        tight=tight,
        stuck=tight and stuck(document, me, now),
        untold=untold(document),
        turn=me.id == document.turn,
        before_telling=before_telling(document),
        told=me.told,
        again=_again(document, me, part, now, head),
        wake=wake,
    )  # fmt: skip


def _row(document: Document, place: int, rate: RateState) -> list[float]:
    if is_total(rate):
        return [rate.spent, open_of(document, place), rate.amount, rate.burst, rate.mean, rate.learnt]
    row = [rate.tat, rate.most, rate.amount, rate.burst]
    return [*row, rate.window, rate.unit] if is_followed(rate) else row


def _again(document: Document, me: MemberState, part: Share, now: float, head: float | None) -> float:
    again = me.ttl / 3
    if me.use or sum(me.want):
        again = min(again, _IN_USE)
    if sum(me.want) > me.allow:
        again = min(again, _HUNGRY)
    if part.contested and me.odd + ODD_SECONDS > now:
        again = min(again, me.odd + ODD_SECONDS - now)
    horizons = (HORIZON, BACKGROUND_HORIZON)
    for asks, line, horizon, least in zip(me.asks, document.lines, horizons, _ASKING, strict=True):
        if asks and head is not None:
            # When its own turn comes; there is time enough then, as starts are booked ahead.
            a_call = max(cost / rate.refill for cost, rate in zip(asks[0][1:], document.rates, strict=True))
            again = min(again, max(head - horizon - now + line.index(me.id) * a_call, least))
    return again


def _to_wake(
    document: Document,
    me: MemberState,
    now: float,
    parts: Sequence[Share],
    hungry: Sequence[int],
    free: int,
    booked: Collection[int],
    *,
    over: bool,
    alarm: bool,
) -> list[int]:
    """Those for whom something has changed that they wait for, and those who hold what others wait for.

    Wakes are hints. Whoever is not reached comes by itself, a little later.
    """
    wake: list[int] = []
    for member, part in sorted(zip(document.members, parts, strict=True), key=lambda pair: (pair[0].turn, pair[0].id)):
        if member is me:
            continue
        needed = alarm or member.id in booked or (member.over and not over)
        if part.target > member.allow and free > 0:
            needed, free = True, free - 1
        elif member.allow > part.target and (over or any(number != member.id for number in hungry)):
            needed = needed or not member.pressed or part.target < member.target
        if needed and (member.woken < member.seen or member.woken + _WAKE_AGAIN <= now):
            member.woken = now
            wake.append(member.wake)
    return wake
