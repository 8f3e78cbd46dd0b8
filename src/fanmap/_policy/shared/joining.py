"""Who is a member: coming, going, being gone, and what the members' settings come to together."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

from fanmap._policy.limits.adaptive import Adaptive, Ceiling
from fanmap._policy.shared.booking import give_back
from fanmap._policy.shared.document import HORIZON, Document, MemberState, RateState
from fanmap._policy.shared.messages import Request
from fanmap._policy.shared.news import ceiling_of
from fanmap._policy.shared.told import refill_of
from fanmap._policy.shared.totals import bring, clear, forfeit, is_total

_MEMORIES: Final = 2**48


def born(fresh: int, raw: float) -> Document:
    """A new document, at the store's time `raw`: another one, even where the same request comes twice."""
    return Document(1 + (fresh + math.floor(raw * 1e6)) % _MEMORIES)


def has_gone_back(document: Document, request: Request) -> bool:
    """Is this what the document was before it last answered this member, as in a copy that was brought back?

    Others may have been given since then what it says is free, so it is as good as none. Where somebody else has asked
    it first, its time is no proof any more; that it has forgotten an answer to this member is.
    """
    known, me = request.known, document.member(request.id)
    forgot = me is not None and me.serial < request.replied
    return known.memory == document.memory and (document.time < known.time or forgot)


def bury(document: Document, now: float, dead: Collection[int], leaving: int = 0) -> None:
    """Take out who is known to be dead, was not heard of for its whole lease, or leaves.

    Its slots are free with that. What was booked for it and lies ahead was not started.
    """
    gone = [
        member for member in document.members if member.id in dead or member.ends < now or member.id == leaving
    ]  # fmt: skip
    for member in gone:
        document.members.remove(member)
        for line in document.lines:
            if member.id in line:
                line.remove(member.id)
        for entry in member.box:
            if entry[2] > now:
                give_back(document, entry)
        forfeit(document, member, leaving=member.id == leaving)
    if gone:
        agree(document)
        if not document.members:
            clear(document)


def join(document: Document, request: Request, now: float) -> MemberState:
    """A new member, or one that was buried."""
    me = MemberState(request.id, request.settings, turn=now, boxed=request.got, turned=now)
    document.members.append(me)
    agree(document)
    return me


def agree(document: Document) -> None:
    """Of each number the smallest that any member wants; starts may be as late as anybody's."""
    members = document.members
    if not members:
        return
    wanted = [member.settings for member in members]
    before = document.maximum
    document.minimum = min(settings.minimum for settings in wanted)
    document.start = min(settings.start for settings in wanted)
    document.maximum = min(settings.maximum for settings in wanted)
    if not document.ceiling:
        document.ceiling = Ceiling(Adaptive(document.start, document.minimum, document.maximum)).state()
    value = document.ceiling[0]
    if value >= before:  # it was as high as it may be: a plain number follows, one that is found starts from there
        value = max(value, document.start)
    document.ceiling[0] = float(max(document.minimum, min(value, document.maximum)))
    known = document.rates
    document.rates = []
    for place, rate in enumerate(wanted[0].rates):
        state = next((one for one in known if (one.what, one.per) == (rate.what, rate.per)), None)
        if state is None:
            state = RateState(rate.what, rate.per, rate.amount, rate.burst, rate.refill, rate.late)
        else:
            known = [one for one in known if one is not state]
        state.late = max(settings.rates[place].late for settings in wanted)
        if state.unit:  # it is as it was told
            state.refill = refill_of(state)
        else:
            state.amount = min(settings.rates[place].amount for settings in wanted)
            state.burst = min(settings.rates[place].burst for settings in wanted)
            state.refill = min(settings.rates[place].refill for settings in wanted)
        document.rates.append(state)


def refill(document: Document, me: MemberState, request: Request, now: float) -> None:
    """The store had lost its memory: a member that outlived it brings what it knew and keeps what it had.

    The others held at most what is left of the slots, until their leases have run out; and what was booked since this
    member last heard of it lies no further ahead than starts are booked.
    """
    known = request.known
    first = now >= document.quiet
    ceiling = ceiling_of(document)
    ceiling.lower(known.ceiling, known.epoch)
    document.ceiling = ceiling.state()
    left = document.unclaimed if now < document.quiet else ceiling.limit
    document.unclaimed = max(0, left - max(0, request.keep - me.allow))
    document.quiet = max(document.quiet, now + request.ttl)
    me.allow = max(me.allow, request.keep)
    document.gate = max(document.gate, now + known.gate)
    for place, rate in enumerate(document.rates):
        if is_total(rate):
            bring(document, place, me, request, first=first)
            continue
        tat, most = known.rates[place]
        rate.most = max(rate.most, most)
        full = max(rate.burst, rate.most) / rate.refill
        rate.tat = max(rate.tat, now + tat, now + HORIZON + full)
        rate.base, rate.since, rate.cells = rate.tat, now + HORIZON, []
    document.era = max(document.era, known.era)
