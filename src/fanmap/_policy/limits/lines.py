"""Who stands in which of the two lines of one Limits, who has a slot, and who has lent it to whom.

A call lends its slot to its nested calls while they run, so that nested runs and recursion cannot
deadlock. Slots are a set of permits, not a counter: leaving twice is leaving once, which is what makes
Ctrl-C between two bytecodes harmless.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence

from fanmap._policy.limits.kinds import SlotLine, StartLine, Turns
from fanmap._policy.limits.line import Line
from fanmap._policy.limits.permit import RUNNING, SLOTTED, WAITING, Owner, Permit
from fanmap._policy.limits.rate import Rate
from fanmap._policy.limits.starts import Starts
from fanmap._policy.limits.total import Total


class Lines(Starts):
    """The slots of one Limits, and the two lines: for a slot, and for the start.

    Attributes:
        turns: whose turn it is, once there has been a call in the background; None: there has not.
    """

    __slots__ = ("_away", "_inside", "_lent", "_rate_line", "_slot_line", "_unwatched", "turns")

    def __init__(self, limit: int, rates: Sequence[Rate]) -> None:
        super().__init__(limit, rates)
        self._inside: set[Permit] = set()  # with totals, calls inside others that are, or were, in line
        self._unwatched: set[Owner] = set()  # of whom somebody has left a line, and perhaps nobody else looks yet
        self._away: set[Owner] = set()
        self._slot_line = Line(self._away)
        self._rate_line = Line(self._away)
        self._lent: list[Permit] = []  # on a lent slot since the last `poll`, which knows the time
        self.turns: Turns | None = None

    # What a driver looks at

    def head(self) -> Permit | None:
        """Who holds the timer: the first in the second line."""
        return self._rate_line.head()

    def slots(self) -> int:
        """How many there are, in whosever hands."""
        return self.limit

    def held_only_by(self, owners: Collection[Owner], lender: Permit | None = None) -> bool:
        """Is every slot in the hands of calls that these owners run, so that blocking them would block everybody?

        Not where the lender's is among them, which whoever asks may borrow, nor one that only waits for a rate or
        has not been taken up: those lapse, unless the slot is borrowed. The same of what is left of a total.
        """
        holding = self._holding
        full = len(holding) >= self.slots() > 0 and lender not in holding
        return (full and _all_stay(holding, owners)) or (bool(self.totals) and self._total_held_only_by(owners))

    def _total_held_only_by(self, owners: Collection[Owner]) -> bool:
        """Does the second line wait for a total of which only calls of these owners can settle for less?"""
        head = self._rate_line.head()
        if head is None or self.beyond(head) is not None:
            return False
        costs = head.costs
        fits = all(total.earliest(0.0, costs[place] if costs else 1.0) == 0.0 for place, total in self.totals.items())
        return not fits and _all_stay([one for one in self._holding if one not in self._rate_line], owners)

    def has_streams_of(self, *readers: int) -> bool:
        """Has a stream a slot whose chunks one of these readers takes?"""
        return any(permit.reader in readers for permit in self._holding)

    def held_only_for(self, *readers: int) -> bool:
        """Is every slot in the hands of streams that stand until one of these readers takes their next chunk?"""
        holding = self._holding
        return len(holding) >= self.slots() > 0 and all(one.stands and one.reader in readers for one in holding)

    def ages(self, now: float) -> list[float]:
        """For how long each slot in use has been so."""
        return [now - permit.slotted for permit in self._holding]

    def in_flight(self) -> int:
        """Slots in use."""
        return len(self._holding)

    def running(self) -> int:
        """Calls under way: slots in use, but for those whose call still waits for the gate or a rate."""
        return len(self._holding) - len(self._rate_line)

    def in_line(self) -> list[Permit]:
        """Who waits; from any thread."""
        return [*self._slot_line, *self._rate_line]

    def waiting(self) -> int:
        """Calls in either line."""
        return len(self._slot_line) + len(self._rate_line)

    def waiting_for_slot(self) -> int:
        """Calls of the foreground in the first line."""
        line = self._slot_line
        return line.foreground() if isinstance(line, SlotLine) else len(line)

    def beyond(self, permit: Permit) -> Total | None:
        """The total that no settlement of calls under way will make room in for this call; None: there may be room.

        A call ends after those inside it: where only such calls are under way that wait for some in line, nothing is
        settled as long as this one waits.
        """
        for place, total in self.totals.items():
            cost = 1.0 if permit.costs is None else permit.costs[place]
            if total.beyond(cost) or (total.earliest(0.0, cost) == math.inf and not self._settling()):
                return total
        return None

    def _settling(self) -> bool:
        """Is a call under way that waits for nobody here?"""
        running = self.running()
        if running <= 0 or not self._inside:
            return running > 0
        outer: set[Permit] = set()
        for inside in self._inside:
            parent = inside.parent if inside.state in (WAITING, SLOTTED) else None
            while parent is not None and parent not in outer:
                outer.add(parent)
                parent = parent.parent
        return running > len(outer & self._holding)

    # Out of a line: whoever stood behind it may be its owner's first now

    def _out_of_slot_line(self, permit: Permit) -> None:
        self._slot_line.remove(permit)
        self._unwatched.add(permit.owner)
        if permit.parent is not None and permit.parent.children is not None:
            permit.parent.children.pop(permit, None)

    def _out_of_rate_line(self, permit: Permit) -> None:
        self._rate_line.remove(permit)
        self._unwatched.add(permit.owner)

    # Slots that are lent

    def _wait_for_slot(self, permit: Permit) -> None:
        """On the slot of the call around it, which does nothing meanwhile, or in the first line."""
        parent = permit.parent
        if parent is not None and parent in self._holding and parent.state == RUNNING:
            self._holding.discard(parent)
            self._lend(parent, permit)
            return
        permit.state = WAITING
        self._slot_line.add(permit)
        if parent is not None and parent.state == RUNNING:
            if parent.children is None:
                parent.children = OrderedDict()
            parent.children[permit] = None

    def _lend(self, lender: Permit, borrower: Permit) -> None:
        borrower.lender = lender
        lender.lent_to = borrower
        self._holding.add(borrower)
        borrower.state = SLOTTED
        self._rate_line.add(borrower)
        self._lent.append(borrower)

    def _give_back(self, lender: Permit) -> None:
        lender.lent_to = None
        if lender.children:
            child = next(iter(lender.children))
            self._out_of_slot_line(child)
            self._lend(lender, child)
        else:
            self._holding.add(lender)

    # The two kinds

    def _tell_kinds_apart(self) -> None:
        """The first call in the background is here."""
        turns = self.turns = self._new_turns()
        self._slot_line = SlotLine(self._away, turns, self._slot_line)
        self._rate_line = StartLine(self._away, turns, self._rate_line)

    def _new_turns(self) -> Turns:
        return Turns(self._away)

    def _goes_before_all(self, permit: Permit) -> bool:
        """May this foreground call go on, as only the background waits, and it is not its turn?"""
        turns = self.turns
        return (
            turns is not None
            and not permit.background
            and not turns.due()
            and len(self._slot_line) == len(turns.for_slot)
            and len(self._rate_line) == len(turns.for_start)
        )

    def _make_room(self, turns: Turns) -> bool:
        """No slot is free: the last of the other kind that waits for the gate or a rate gives its own up, if it must.

        On the slot of the call around it, it has none to give.
        """
        first = self._slot_line.head()
        if first is None or (first.background and not turns.due_for_slot()):
            return False
        kept = turns.for_start.head() if turns.keeps_slot() else None  # whose turn it is
        others = [
            permit
            for permit in (self._rate_line if first.background else turns.for_start)
            if permit.background is not first.background and permit.lender is None and permit is not kept
        ]
        if not others:
            return False
        last = max(others, key=_place)
        self._out_of_rate_line(last)
        self._holding.discard(last)
        last.slotted = 0.0
        self._wait_for_slot(last)
        siblings = None if last.parent is None else last.parent.children
        if siblings is not None and last in siblings:
            siblings.move_to_end(last, last=False)
        return True


def is_of(permit: Permit, owner: Owner) -> bool:
    """Does this owner run its call, or did before another one stood for it?"""
    return permit.owner is owner or getattr(permit.owner, "whose", None) is owner


def _all_stay(permits: Iterable[Permit], owners: Collection[Owner]) -> bool:
    return all(any(is_of(permit, owner) for owner in owners) and stays(permit) for permit in permits)


def stays(permit: Permit) -> bool:
    """Does it keep its slot although its owner is blocked? What is lent to it is nobody else's."""
    return permit.state == RUNNING or permit.lender is not None


def _place(permit: Permit) -> int:
    return permit.place
