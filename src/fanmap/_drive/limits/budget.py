"""One budget for everything that talks to one account, as its `Limits` has it: a line with an end, and what runs ask.

What it counts, spends and hears from the server, and the way of its calls, are in the classes that it derives from, one
idea each:

    Books (who may change it) → Counting → Spending (money) → Braking (what the server says)
        → Streaming (slots that wait for a reader) → Admitting (from the line to the release) → Budget
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from fanmap._drive import clock, telemetry
from fanmap._drive.books import BUSY
from fanmap._drive.calls.scope import Scope, enclosing
from fanmap._drive.limits.admitting import Admitting
from fanmap._errors import Busy
from fanmap._policy.failures.verdict import Verdict
from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.door import Door, Pace
from fanmap._policy.limits.followed import Followed
from fanmap._policy.limits.permit import NEW, WAITING, Owner, Permit
from fanmap._policy.limits.rate import Rate
from fanmap._policy.tokens.money import Money
from fanmap._types import Everybody

if TYPE_CHECKING:
    from typing import Any

    from aiolimiter import AsyncLimiter

    from fanmap._drive.wire.responses import Reader
    from fanmap._drive.wire.taking import Account


class Budget(Admitting):
    """The state behind one `Limits`: the books around the lines in which calls wait, and what they have in common.

    Attributes:
        limiters: users' own AsyncLimiters, awaited last by calls on an asyncio loop.
        max_waiting: calls of the foreground that may wait for a slot; None: any number.
        observe: begins to read the responses to an attempt's requests.
        pace: how long calls keep their slots; told only where `max_waiting` is a number.
    """

    __slots__ = ("limiters", "max_waiting", "observe", "pace")

    def __init__(
        self,
        max_concurrency: Adaptive,
        rates: Sequence[Rate],
        limiters: Sequence[AsyncLimiter],
        max_wait: float,
        classify: Callable[[BaseException], Verdict | None] | None,
        *,
        reads: bool = False,
        max_waiting: int | None = None,
        followed: Followed | None = None,
        money: Money | None = None,
    ) -> None:
        self.limiters = limiters
        self.max_waiting = max_waiting
        self.observe: Callable[..., Reader] = self._observe
        self.pace = Pace()
        first = len(rates) if followed is None else followed.first
        rates = [*rates[:first], *(() if followed is None else followed.rates), *rates[first:]]
        super().__init__(max_concurrency, rates, max_wait, classify, reads=reads, followed=followed, money=money)

    def __del__(self) -> None:
        if telemetry is not None and telemetry.found is not None and hasattr(self, "admission"):
            telemetry.found.bury(self.stats())

    # A line with an end

    def knock(self, permit: Permit, door: Door) -> float | None:
        """As `join`, where the line has an end: then the permit may also be TURNED_AWAY."""
        return self._line_up(permit, self._knock, door)

    def busy(self, permit: Permit) -> Busy:
        """What the one is told that was turned away."""
        now = clock.now()
        ages = self.do(self.admission.ages, now)
        seconds = self.pace.one_place(self.admission.limit, () if ages is BUSY else ages)
        for place, rate in enumerate(self.rates):
            cost = 1.0 if permit.costs is None else permit.costs[place]
            if math.isfinite(rate.per):
                seconds = max(seconds, cost * rate.per / rate.amount)
        return Busy(max(seconds, self.admission.opens_at() - now), self.max_waiting or 0)

    # What runs ask

    def begin_run(self, run: Any) -> None:
        """A run begins, and may be stopped from outside where the limits are not this process's alone."""

    def held_only_by(self, owners: Collection[Owner], outer: Scope | None) -> bool:
        """Do these owners run all that hold a slot, or a total's rest, and is none to borrow from calls around here?"""
        around = enclosing(outer, self)
        held = self.do(self._held_only_by, owners, None if around is None else around.permit)
        return held is True

    def everybody(self) -> Everybody:
        """Where it stands over all processes: this one."""
        stats = self.stats()
        gate = max(0.0, self.admission.opens_at() - clock.now())
        return Everybody(1, stats.in_flight, stats.waiting, stats.ceiling, gate, None)

    # Inside; with the books open, but for the first

    def _observe(self, account: Account, *, repeats: bool) -> Reader:
        from fanmap._drive.wire.responses import observe  # by the first call that needs it

        self.observe = observe
        return observe(account, repeats=repeats)

    def _knock(self, permit: Permit, door: Door, here: bool) -> float | None:
        if permit.state == NEW:  # else released meanwhile
            self._answer(permit, door, here)
        return self._patience(permit, clock.now())

    def _answer(self, permit: Permit, door: Door, here: bool) -> None:
        full = not door.let_in and self.admission.waiting_for_slot() >= (self.max_waiting or 0)
        if not door.turned_away:
            self._join(permit, None, here)
            if not full or permit.state != WAITING:
                door.let_in = True
                return
        door.turned_away = True
        self.admission.turn_away(permit)
        if not here:
            self._remind(permit)

    def _held_only_by(self, owners: Collection[Owner], lender: Permit | None) -> bool:
        self.admission.sweep()
        return self.admission.held_only_by(owners, lender)
