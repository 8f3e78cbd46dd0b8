"""Who may start now.

Two lines, each strictly first come, first served: one for a slot; then, slot in hand, one for the gate
and the rates. One line alone deadlocks as soon as a lent slot waits for a token behind its lender's
queue. Pure: told `now`, knows no thread, loop or waker; whoever drives it wakes what `poll` returns.

A call lends its slot to its nested calls while they run, so that nested runs and recursion cannot
deadlock. Slots are a set of tickets, not a counter: leaving twice is leaving once, which is what makes
Ctrl-C between two bytecodes harmless.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

from fanmap._policy.rate import Bucket, Grant, Rate

# Seconds after which the next in line looks by itself, as its head's loop may be gone; None: never.
guard: float | None = 1.0


class Ticket:
    """One call's place: in a line, holding a slot, or having lent it.

    Attributes:
        costs: units to take, one a rate; None: 1 of each.
        parent: the ticket of the call under which this one runs, or None.
        granted: it may run (and has not left).
        started: the call was really made, so that its charges stand; set by whoever makes it.
        owner: the identity of whatever runs it, for `held_only_by`; None: nothing that can be blocked.
        crowd, ceiling, epoch: slots in use, how many there were, and the ceiling's epoch, when it was granted.
        slotted: when it got its slot.
    """

    __slots__ = (
        "ceiling", "children", "costs", "crowd", "epoch", "granted", "grants", "lender", "lent_to", "owner", "parent",
        "slotted", "started",
    )  # fmt: skip

    def __init__(
        self, costs: Sequence[float] | None = None, parent: Ticket | None = None, owner: object = None
    ) -> None:
        self.costs = costs
        self.parent = parent
        self.owner = owner
        self.granted = False
        self.started = False
        self.crowd = 0
        self.ceiling = 0
        self.epoch = 0
        self.slotted = 0.0
        self.grants: Sequence[Grant] = ()
        self.lender: Ticket | None = None  # whose slot this one runs on
        self.lent_to: Ticket | None = None  # who runs on this one's slot
        self.children: OrderedDict[Ticket, None] | None = None  # nested calls that wait for a slot


class Admission:
    """The slots, the gate and the rates of one Limits.

    Attributes:
        limit: slots; whoever changes it polls.
        epoch: of the ceiling; tickets remember the one in which they were granted.
        steady: answers change nothing, and need not be reported.
        quiet: steady, and nothing waits, no rate, no gate: a worker may keep its slot from item to item.
    """

    __slots__ = (
        "_apart", "_buckets", "_gate", "_last_start", "_rate_line", "_seats", "_slot_line", "_spread", "epoch",
        "limit", "quiet", "steady",
    )  # fmt: skip

    def __init__(self, limit: int, rates: Sequence[Rate] = ()) -> None:
        self.limit = limit
        self._buckets = [Bucket(rate) for rate in rates]
        self._seats: set[Ticket] = set()  # slot in hand: running or in the second line; lenders are not
        self._slot_line: OrderedDict[Ticket, None] = OrderedDict()
        self._rate_line: OrderedDict[Ticket, None] = OrderedDict()
        self._gate = -math.inf
        self._apart = math.inf
        self._spread = 0.0  # seconds after the gate over which one set of starts is spread
        self._last_start = -math.inf
        self.epoch = 0
        self.steady = True
        self.quiet = not self._buckets

    # What a driver asks for

    def ask(self, ticket: Ticket) -> None:
        """Join the line; `poll` says when it may run."""
        parent = ticket.parent
        if parent is not None and parent in self._seats and parent.granted:
            self._seats.discard(parent)
            self._lend(parent, ticket)
        else:
            self._slot_line[ticket] = None
            if parent is not None and parent.granted:
                if parent.children is None:
                    parent.children = OrderedDict()
                parent.children[ticket] = None
        self._set_quiet()

    def poll(self, now: float) -> list[Ticket]:
        """Move both lines as far as they go; returns the tickets that may run from now on."""
        slot_line, rate_line, seats = self._slot_line, self._rate_line, self._seats
        while slot_line and len(seats) < self.limit:
            ticket, _ = slot_line.popitem(last=False)
            self._forget_child(ticket)
            seats.add(ticket)
            ticket.slotted = now
            rate_line[ticket] = None
        started: list[Ticket] = []
        while rate_line:
            ticket = next(iter(rate_line))
            if self._start_time(ticket, now) > now:
                break
            del rate_line[ticket]
            self._start(ticket, now)
            started.append(ticket)
        self._set_quiet(now)
        return started

    def leave(self, ticket: Ticket) -> None:
        """Out of any line, slot given back; refunded where the call was never made. Idempotent."""
        ticket.granted = False
        if ticket in self._slot_line:
            del self._slot_line[ticket]
            self._forget_child(ticket)
        self._rate_line.pop(ticket, None)
        if ticket in self._seats:
            self._seats.discard(ticket)
            if ticket.lender is not None:
                self._give_back(ticket.lender)
                ticket.lender = None
        elif ticket.lent_to is not None:
            # The lender ends before its nested call: the slot stays with the one that runs on it.
            heir, lender = ticket.lent_to, ticket.lender
            ticket.lent_to = ticket.lender = None
            heir.lender = lender
            if lender is not None:
                lender.lent_to = heir
        if ticket.grants:
            self.settle(ticket, None)
        if ticket.children:
            for child in ticket.children:
                child.parent = None
        ticket.children = None
        self._set_quiet()

    def charge_anew(self, ticket: Ticket, costs: Sequence[float]) -> bool:
        """Another call goes on with this one's slot, at its own costs; False: at what was charged already.

        What was charged is taken back, as if it had never started, and with the slot in hand it waits in the second
        line for its own: to add the difference to the charge would start as many calls as there are slots within one
        window, whatever they cost.
        """
        if all(grant.cost == cost for grant, cost in zip(ticket.grants, costs, strict=True)):
            return False
        ticket.granted = ticket.started = False
        self.settle(ticket, None)
        ticket.costs = costs
        self._rate_line[ticket] = None
        return True

    def settle(self, ticket: Ticket, actual: Sequence[float | None] | None) -> None:
        """What the call took in fact, one number a rate; None: as charged, or nothing if it never started."""
        for place, (bucket, grant) in enumerate(zip(self._buckets, ticket.grants, strict=True)):
            took = actual[place] if actual is not None else None
            if took is None:
                took = grant.cost if ticket.started else 0.0
            bucket.settle(grant, took)
        ticket.grants = ()

    def close_gate(self, until: float, *, spread: float, apart: float) -> None:
        """Nothing starts before `until`; an earlier promise is never shortened.

        Then one set of starts is spread over `spread` seconds, no further apart than `apart`: who names a
        wait of 10 ms serves a call each 10 ms.
        """
        self._gate = max(self._gate, until)
        self._spread, self._apart = spread, apart
        self.quiet = False

    # What a driver looks at

    def patience(self, ticket: Ticket, now: float) -> float | None:
        """Seconds after which a waiting ticket must look again by itself; None: it will be woken.

        Only the head holds a timer; the next in each line looks once a second in case the head's loop
        or thread is gone.
        """
        first_two = tuple(islice(self._rate_line, 2))
        if first_two and first_two[0] is ticket:
            return max(0.0, self._start_time(ticket, now) - now)
        if ticket in first_two or next(iter(self._slot_line), None) is ticket:
            return guard
        return None

    def head(self) -> Ticket | None:
        """Who holds the timer: the first in the second line."""
        return next(iter(self._rate_line), None)

    def held_only_by(self, owner: object, lender: Ticket | None = None) -> bool:
        """Is every slot in the hands of this owner, so that blocking it would block everybody?

        Not where the lender's is among them, which whoever asks may borrow.
        """
        seats = self._seats
        return len(seats) >= self.limit and lender not in seats and all(ticket.owner == owner for ticket in seats)

    def opens_at(self) -> float:
        """When the gate opens (or opened)."""
        return self._gate

    def in_flight(self) -> int:
        """Slots in use."""
        return len(self._seats)

    def running(self) -> int:
        """Calls under way: slots in use, but for those whose call still waits for the gate or a rate."""
        return len(self._seats) - len(self._rate_line)

    def waiting(self) -> int:
        """Calls in either line."""
        return len(self._slot_line) + len(self._rate_line)

    # Inside

    def _start_time(self, ticket: Ticket, now: float) -> float:
        at = max(now, self._gate)
        if at < self._gate + self._spread and self._last_start >= self._gate:
            at = max(at, self._last_start + min(self._spread / self.limit, self._apart))
        for place, bucket in enumerate(self._buckets):
            at = max(at, bucket.earliest(now, 1.0 if ticket.costs is None else ticket.costs[place]))
        return at

    def _start(self, ticket: Ticket, now: float) -> None:
        ticket.granted = True
        ticket.crowd, ticket.ceiling, ticket.epoch = len(self._seats), self.limit, self.epoch
        self._last_start = now
        if self._buckets:
            costs = ticket.costs
            ticket.grants = [
                bucket.charge(now, 1.0 if costs is None else costs[place]) for place, bucket in enumerate(self._buckets)
            ]

    def _lend(self, lender: Ticket, borrower: Ticket) -> None:
        borrower.lender = lender
        lender.lent_to = borrower
        self._seats.add(borrower)
        self._rate_line[borrower] = None

    def _give_back(self, lender: Ticket) -> None:
        lender.lent_to = None
        if lender.children:
            child, _ = lender.children.popitem(last=False)
            del self._slot_line[child]
            self._lend(lender, child)
        else:
            self._seats.add(lender)

    def _forget_child(self, ticket: Ticket) -> None:
        if ticket.parent is not None and ticket.parent.children is not None:
            ticket.parent.children.pop(ticket, None)

    def _set_quiet(self, now: float = -math.inf) -> None:
        self.quiet = (
            self.steady
            and not self._buckets
            and not self._slot_line
            and not self._rate_line
            and now >= self._gate + self._spread
        )
