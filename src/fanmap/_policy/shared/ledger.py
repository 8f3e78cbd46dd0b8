"""One exchange: a process says how things are with it, and hears what it may do. The definition.

`ledger.lua` is the same for Redis, and a differential test holds the two equal. Pure: told the store's time, and which
processes are known to be dead. In its own exchange only a member's own number of slots changes, so that whatever the
others know, and whatever becomes of this reply, the sum is safe.
"""

from __future__ import annotations

from collections.abc import Collection

from fanmap._policy.shared import news
from fanmap._policy.shared.booking import ask, book
from fanmap._policy.shared.document import Document, MemberState
from fanmap._policy.shared.joining import agree, bury, join, refill
from fanmap._policy.shared.messages import DIFFERENT, SETTLED, STALE, TAKEN, UNUSED, Reply, Request
from fanmap._policy.shared.rates import replay
from fanmap._policy.shared.replying import reply
from fanmap._policy.shared.shares import grant, shares
from fanmap._policy.shared.totals import is_total, settle_unclaimed, told
from fanmap._policy.shared.turns import take_turns, tell

_SILENCE = 1.5  # seconds in which whoever lives will be heard of
_LEAP = 0.1  # seconds by which requests of one member may take longer one time than another


def exchange(document: Document, request: Request, raw: float, dead: Collection[int] = ()) -> Reply:
    """Take a request at the store's time `raw`, and answer it; `dead` are known to be."""
    now = advance(document, request, raw)
    bury(document, now, dead)
    settle_unclaimed(document, now)
    me = document.member(request.id)
    if me is not None and request.serial <= me.serial:
        # Sent twice, or overtaken: how things were then is of no interest any more.
        return reply(document, me, now, request.serial, STALE if request.serial < me.serial else TAKEN)
    knows = request.known.memory not in (0, document.memory)  # another document than this one
    if me is None and request.leaving and not knows:
        return Reply(request.serial, TAKEN, document.memory, now)
    if any(member is not me for member in document.members) and not request.settings.fits(document.rates):
        kinds = [[rate.what, rate.per] for rate in document.rates]
        return Reply(request.serial, DIFFERENT, document.memory, now, rates=kinds)
    document.exchanges += 1
    before = _mood(document)
    stranger = me is None
    if me is None:
        me = join(document, request, now)
    elif me.settings != request.settings:
        me.settings = request.settings
        agree(document)
    if knows:
        refill(document, me, request, now)
    me.serial, me.seen, me.ttl, me.wake = request.serial, now, request.ttl, request.wake
    me.ends = now + me.ttl
    me.use, me.want = request.use, list(request.want)
    me.allow = max(me.allow, request.use)  # one that was buried, or whose old request came late, may use more
    told(document, me, request, stranger=stranger)
    tell(document, me, request, stranger=stranger)
    lapsed = _events(document, me, request, now, stranger)
    if request.leaving:
        bury(document, now, (), me.id)
    else:
        ask(document, me, request, now, lapsed)
    booked, head = book(document, now)
    take_turns(document, now)
    if not request.leaving:
        _share(document, me, request.keep, now)
    alarm = _mood(document) != before
    return reply(document, me, now, request.serial, TAKEN, booked=booked, head=head, alarm=alarm)


def advance(document: Document, request: Request, raw: float) -> float:
    """The document's time, which never goes back.

    Whoever was answered before knows how long ago that was, by a clock of its own, and can tell when the store's was
    set. A stranger cannot, so time that only a stranger vouches for ends no lease, up to a point.
    """
    now = raw + document.skew
    silence = now - document.time
    me = document.member(request.id)
    if me is not None and me.serial == request.replied:
        if now > me.seen + request.age + _LEAP:
            now = me.seen + request.age
        leap = me.seen + request.rest - max(now, document.time)
        if leap > 0.0:
            _postpone(document, leap)
        now = max(now, me.seen + request.rest)
    elif silence > 0.0:
        for member in document.members:
            member.ends = max(member.ends, min(member.ends + silence, now + _SILENCE))
    now = max(now, document.time)
    document.skew = now - raw
    document.time = now
    return now


def _postpone(document: Document, leap: float) -> None:
    """More time has passed than the store's clock said, since that was set back.

    What was counted by it meanwhile was later by so much, and nobody knows any more what that was: all that still
    holds somebody back holds for longer.
    """
    document.gate += leap
    document.booked += leap
    document.quiet += leap
    for rate in document.rates:
        rate.tat += leap
        rate.base += leap
        rate.since += leap
        rate.heard += leap
        for cell in rate.cells:
            cell[0] += leap
    for member in document.members:
        member.ends += leap
        for entry in member.box:
            entry[2] += leap


def _events(document: Document, me: MemberState, request: Request, now: float, stranger: bool) -> bool:
    """Take what has happened there; has a booked start lapsed?"""
    lapsed = settled = False
    for event in request.events:
        if event[0] <= me.told:
            continue
        me.told = int(event[0])
        once = event[1] in (SETTLED, UNUSED)
        if once and stranger:
            continue  # it may have been taken before this member was buried, and twice would be too much
        news.take(document, event, now)
        settled = settled or once
        lapsed = lapsed or (event[1] == UNUSED and event[4] > 0.0)
    if settled:
        for rate in document.rates:
            if not is_total(rate):
                replay(rate)
    return lapsed


def _share(document: Document, me: MemberState, keep: int, now: float) -> None:
    slots = news.slots_of(document)
    share = shares(document.members, slots, now, document.turn)[document.members.index(me)]
    held = sum(member.allow for member in document.members)
    reserved = document.unclaimed if now < document.quiet else 0
    grant(me, share, keep, slots - held - reserved, now)


def _mood(document: Document) -> tuple[float, ...]:
    """What everybody has to hear of when it changes."""
    brake = news.brake_of(document)
    return document.gate, document.spent, news.epoch_of(document), brake.outage, brake.locked_out
