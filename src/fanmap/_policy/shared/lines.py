"""Who waits in one process under a shared name, and what the others are told of that."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

from typing_extensions import override

from fanmap._policy.limits.admission import Admission
from fanmap._policy.limits.kinds import Turns
from fanmap._policy.limits.permit import Owner, Permit
from fanmap._policy.limits.rate import Rate
from fanmap._policy.limits.total import Total
from fanmap._policy.shared.demand import Demand
from fanmap._policy.shared.member import Member
from fanmap._policy.shared.total import SharedTotal
from fanmap._policy.tokens.money import is_dollars, only_counts


class SharedTurns(Turns):
    """Whose turn it is: what the ledger says, which counts the starts of all processes."""

    __slots__ = ("_member",)

    def __init__(self, away: Collection[Owner], member: Member) -> None:
        super().__init__(away)
        self._member = member

    @override
    def started(self, permit: Permit) -> bool:
        return False  # the member counts

    @override
    def due(self) -> bool:
        return self._member.next_is_background()

    @override
    def keeps_slot(self) -> bool:
        return self._member.background_is_due()

    @override
    def due_for_slot(self) -> bool:
        return self._member.background_is_due() and not self.for_start


class SharedLines(Admission):
    """The lines of one shared Limits, as far as they are this process's.

    Args:
        member: see below.
        rates: of this process: those that the member's settings have, and perhaps dollars that are only counted.

    Attributes:
        member: what is known of the others.
    """

    __slots__ = ("_dollars", "_now", "_only_counts", "_rates", "member")

    def __init__(self, member: Member, rates: Sequence[Rate] = ()) -> None:
        super().__init__(0)
        self.member = member
        self.quiet = False
        self._rates = len(member.settings.rates)
        self._only_counts = bool(rates) and only_counts(rates[-1])
        self._dollars = next((place for place, rate in enumerate(rates[: self._rates]) if is_dollars(rate)), None)
        if member.purse is not None:
            totals = {place: SharedTotal(rates[place], member.purse, place) for place in member.purse.places}
            self.totals = cast("dict[int, Total]", totals)
        self._now = 0.0  # as it was told last

    # What the others are told

    def needs(self, now: float) -> tuple[int, tuple[int, int], tuple[int, int]]:
        """Slots in use; of each kind those that could be used, and calls that wait for a start and have none booked."""
        use, turns = len(self._holding), self.turns
        starts = self._starts(now) if self._rates else (0, 0)
        if self.totals and any(starts):
            front, back = self._asks(now)
            starts = len(front), len(back)
        if turns is None:
            return use, (use + len(self._slot_line), 0), starts
        behind = len(turns.for_slot) + sum(permit.background for permit in self._holding)
        return use, (use + len(self._slot_line) - behind, behind), starts

    def _starts(self, now: float) -> tuple[int, int]:
        """How many of each kind wait for a start and have none booked."""
        booked, turns = self.member.booked(now), self.turns
        waiting = max(0, len(self._rate_line) - booked)
        if turns is None:
            return waiting, 0
        if booked and turns.for_start and turns.due():
            booked -= 1  # it is the background's
        front = max(0, len(self._rate_line) - len(turns.for_start) - booked)
        return front, waiting - front

    def demand(self, now: float) -> Demand:
        """The same, with what each of them costs."""
        use, want, starts = self.needs(now)
        settling = bool(self.totals) and (super()._settling() or self.member.booked(now) > 0)
        behind = self.turns is not None and self._behind(self.turns, starts[1])
        return Demand(use, want, self._asks(now) if any(starts) else ((), ()), settling, behind)

    def _behind(self, turns: Turns, starts: int) -> bool:
        """Does one of the background wait?"""
        return bool(turns.for_slot) or (starts > 0 if self._rates else bool(turns.for_start))

    def _asks(self, now: float) -> tuple[list[Sequence[float]], list[Sequence[float]]]:
        """The costs of each that waits for a start and has none, but for those for which nothing is left."""
        asks: tuple[list[Sequence[float]], list[Sequence[float]]] = [], []
        for permit in self._in_turn(self.turns is not None and self.turns.due())[self.member.booked(now) :]:
            costs = self._costs(permit)
            if not any(total.beyond(costs[place]) for place, total in self.totals.items()):
                asks[permit.background].append(costs)
        return asks

    @override
    def waiting_for_slot(self) -> int:
        """As of one process, less those for whom slots are free that have yet to be asked for; may be below 0."""
        return super().waiting_for_slot() - max(0, self.member.ceiling - self.member.elsewhere - len(self._holding))

    # Inside

    @override
    def _total_held_only_by(self, owners: Collection[Owner]) -> bool:
        return False  # another process may have calls that settle

    @override
    def _new_turns(self) -> Turns:
        return SharedTurns(self._away, self.member)

    def _in_turn(self, background_first: bool) -> list[Permit]:
        """Those who have their slots and wait, in the order in which they will start."""
        line = sorted(self._rate_line, key=_place)
        turns = self.turns
        if turns is not None:
            line.sort(key=_background)
            first = turns.for_start.head() if background_first else None
            if first is not None:
                line.remove(first)
                line.insert(0, first)
        return line

    def _costs(self, permit: Permit) -> Sequence[float]:
        if self._dollars is None:
            if permit.costs is None:
                return (1.0,) * self._rates
            return permit.costs[: self._rates] if self._only_counts else permit.costs
        costs = [1.0] * self._rates if permit.costs is None else list(permit.costs)
        costs[self._dollars] = 0.0  # the ledger knows better
        return costs


def _place(permit: Permit) -> int:
    return permit.place


def _background(permit: Permit) -> bool:
    return permit.background
