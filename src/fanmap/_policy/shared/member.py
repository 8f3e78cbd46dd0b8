"""One process under a shared name: what it says to the others, when, and what it makes of a reply.

Told its own time only; what the store's clock says is turned into it at each reply, never earlier than it is. One
request is under way at a time, and whatever becomes of it, the process goes by the less of what it had and what it
said that it will keep: that alone makes the sum safe where replies are lost.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Final

from fanmap._policy.shared.demand import Appointment, Demand, runs
from fanmap._policy.shared.document import HORIZON, NEVER, TURN
from fanmap._policy.shared.happenings import BATCH_SECONDS
from fanmap._policy.shared.messages import DIFFERENT, REFUSED, STALE, Known, Reply, Request
from fanmap._policy.shared.standing import Standing
from fanmap._policy.shared.told import is_followed
from fanmap._policy.shared.wanted import patient

LEASE_USED: Final = 0.95  # of a lease, counted from before it was asked for: its clock may go a little faster than ours
IDLE_SECONDS: Final = 0.2  # that slots are kept which nobody here uses and nobody else wants
_HAIR: Final = 0.001  # seconds for what they drift apart between a booking and its start


class Member(Standing):
    """One process, as one of those that share; what it has been told is its `Standing`."""

    # What is said, and when

    def saw(self, now: float, want: int) -> None:
        """So many slots could be used at this moment."""
        if now >= self._stretch:
            before = self._peaks[1] if now < self._stretch + IDLE_SECONDS else 0
            self._peaks = before, want
            self._stretch = now + IDLE_SECONDS
        elif want > self._peaks[1]:
            self._peaks = self._peaks[0], want

    def poke(self) -> None:
        """Somebody says that there is something to hear."""
        self._poked = True

    def due(self, now: float, use: int, wants: Sequence[int], starts: Sequence[int]) -> float:
        """When to exchange next; `now` or earlier: at once. Not while a request is under way.

        Args:
            use: slots in use. wants: slots that could be used, those among them, in the foreground and in the
                background.
            starts: calls that wait for a start and have none, in the foreground and in the background.
        """
        want = sum(wants)
        self.saw(now, want)
        if self._poked or self._turn_taken or (want and now >= self.lease):
            return now
        front, said_front = wants[0], self._said[0]
        if want > self.allow and (want > sum(self._said) or front > said_front):
            return now
        if self.scarce and wants[1] and front < min(said_front, self.allow):
            return now  # only the background here uses what is the foreground's elsewhere
        if self._before_telling and self._starts[0] - self._told_starts[0] >= self._before_telling:
            return now
        at = min(self._again, self.happenings.due())
        if self.purse is not None:
            at = min(at, self.purse.owes_since + (0.0 if self.purse.tight else BATCH_SECONDS))
        for waiting, asked in zip(starts, self._asked, strict=True):
            # Starts are booked for those that are known first, so a few more need not be told of at once.
            if waiting > asked and waiting >= 2 * asked:
                at = min(at, self.gate - HORIZON)
        if self._keep(now, use, want) < self.allow:
            at = now if self.pressed or self.scarce else min(at, self._sent + IDLE_SECONDS)
        return at

    def compose(self, now: float, demand: Demand, fresh: int, *, leaving: bool = False) -> Request:
        """The request to send at this moment; `take` its reply, or say that it is `lost`."""
        self._serial += 1
        self._poked = False
        self._turn_taken = False
        self._said = demand.want
        self._told_starts = self._starts[0], self._starts[1]
        want = sum(demand.want)
        self.saw(now, want)
        purse = self.purse
        if leaving:
            while self._box:  # nothing will start
                self.unused(self.begin(), now, lapsed=False)
        rates: list[Sequence[float]] = [(tat - now, most) for tat, most in self._known]
        if purse is not None:
            for place in purse.places:
                rates[place : place + 1] = [purse.known(place)] if rates else []
        era = 0 if purse is None else purse.era
        known = Known(self.memory, max(NEVER, self.gate - now), self.ceiling, self.epoch, rates, era, self._heard)
        self._sent = now
        self._pending = Request(
            self.number,
            self._serial,
            self.settings,
            self.ttl,
            replied=self._replied,
            age=now - self._replied_sent,
            rest=self._offset.surely(now),
            leaving=leaving,
            use=demand.use,
            want=demand.want,
            keep=self._keep(now, demand.use, want),
            got=self._got,
            asks=[runs(asks) if now >= self.gate - HORIZON else [] for asks in demand.asks],
            events=self.happenings.told(now),
            known=known if self.memory else Known(),
            wake=self.wake,
            fresh=fresh,
            starts=self._told_starts,
            behind=demand.behind,
            **({} if purse is None else purse.said(settling=demand.settling)),
        )
        return self._pending

    def _keep(self, now: float, use: int, want: int) -> int:
        """Slots that may be in use whatever happens: no more than now, and never fewer than there are."""
        if now >= self.lease:
            return use
        keep = min(self.allow, self.target) if self.pressed else self.allow
        return max(use, min(keep, want if self.scarce else max(self._peaks)))

    # What is heard

    def lost(self) -> None:
        """The reply will not come, or is not waited for any longer."""
        if self._pending is not None:
            self.allow = min(self.allow, self._pending.keep)
            self._pending = None
            if self.purse is not None:
                self.purse.lost()

    def take(self, reply: Reply, now: float) -> bool:
        """Take the reply that came at this moment; False: it was not the one that is waited for."""
        request = self._pending
        if request is None or reply.serial != request.serial or reply.verdict == STALE:
            return False
        self._pending = None
        if reply.verdict == DIFFERENT:
            self.different = reply.rates
            self.lease = -math.inf
            return True
        self.different = None
        self._offset.learn(reply.now, self._sent, now, anew=reply.memory != self.memory)
        self.settings = patient(self._wanted, self._offset.error)
        mine = self._offset.mine
        self.lease = self._sent + LEASE_USED * self.ttl
        self._replied, self._replied_sent, self._heard = request.serial, self._sent, reply.now
        self._again = now + reply.again
        self._asked = reply.asked
        self.happenings.taken(reply.told)
        if not self.happenings.is_telling(REFUSED):
            self._borne = sys.maxsize
        self.memory = reply.memory
        self.allow, self.target = reply.allow, reply.target
        self.pressed, self.over, self.scarce = reply.pressed, reply.over, reply.scarce
        started = self._starts[1] > request.starts[1]  # meanwhile
        self.turn, self._turn_taken = reply.turn and not started, reply.turn and started
        self._before_telling = reply.before_telling
        self.ceiling, self.maximum, self.epoch = reply.ceiling, reply.maximum, reply.epoch
        self.steady, self.outage = reply.steady, reply.outage
        self.elsewhere, self.waiting = reply.elsewhere, reply.waiting
        self.members, self.rank = reply.members, reply.rank
        self.since = None if reply.since == NEVER else mine(reply.since)
        self.failing = None if reply.failing == NEVER else mine(reply.failing)
        self.failures, self.answers, self.refusals = reply.failures, reply.answers, reply.refusals
        self.locked_out = reply.locked_out
        self.spent = None if reply.spent == NEVER else mine(reply.spent)
        if reply.gate > NEVER and mine(reply.gate) >= self.gate:
            self.shut(mine(reply.gate), reply.spread, reply.apart)
        self._known = [(mine(row[0]), row[1]) for row in reply.rates]
        self.amounts = [(row[2], row[3]) for row in reply.rates]
        self.untold = reply.untold
        self.limits = [
            (place, int(row[5]), row[2], row[4])
            for place, row in enumerate(reply.rates)
            if is_followed(self.settings.rates[place]) and row[5]
        ]
        patience = min((rate.late for rate in request.settings.rates), default=0.0) - self._offset.error - _HAIR
        for number, kind, start, *costs in reply.box:
            if number > self._got:
                self._got = int(number)
                at = mine(start)
                if self.purse is not None:
                    self.purse.book(costs)
                self._turns_booked += kind == TURN
                self._box.append(Appointment(at, at + patience, costs, start, reply.memory, turn=kind == TURN))
        if self.purse is not None:
            self.purse.heard(request, reply)
        return True
