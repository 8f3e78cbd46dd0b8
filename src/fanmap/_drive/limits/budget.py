"""One budget for everything that talks to one account: the way of its calls, from the line to the release.

Wakes whoever may start; who may is `_policy.limits.admission`'s decision. Bound to no event loop and to no thread. What
it counts, spends and hears from the server is in the classes that it derives from, one idea each:

    Books (who may change it) → Counting → Spending (money) → Braking (what the server says)
        → Streaming (slots that wait for a reader) → Budget
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from fanmap._drive import clock, telemetry
from fanmap._drive.books import BUSY
from fanmap._drive.calls.scope import Scope, enclosing
from fanmap._drive.limits.streaming import Streaming
from fanmap._drive.on_top import GIVE_WAY, somebody_waits, stuck
from fanmap._errors import Busy
from fanmap._policy.failures.verdict import Verdict
from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.door import Door, Pace
from fanmap._policy.limits.followed import Followed
from fanmap._policy.limits.permit import APPOINTED, NEW, RELEASED, RUNNING, SLOTTED, WAITING, Owner, Permit
from fanmap._policy.limits.rate import Rate
from fanmap._policy.tokens.money import Money
from fanmap._types import Everybody

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

    from fanmap._drive.wire.responses import Reader
    from fanmap._drive.wire.taking import Account

_BETWEEN_SWEEPS = 0.25  # seconds in which it is not looked again for calls of lost loops


class Budget(Streaming):
    """The state behind one `Limits`: the books around the lines in which calls wait, and what they have in common.

    Attributes:
        limiters: users' own AsyncLimiters, awaited last by calls on an asyncio loop.
        max_waiting: calls of the foreground that may wait for a slot; None: any number.
        observe: begins to read the responses to an attempt's requests.
        pace: how long calls keep their slots; told only where `max_waiting` is a number.
    """

    __slots__ = ("_let_out", "_swept", "_timed", "limiters", "max_waiting", "observe", "pace")

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

    @override
    def free(self) -> None:
        """Nobody in line, nothing held: a new budget, or the child of a fork, where no other thread lives."""
        self._swept = -math.inf
        self._timed: Permit | None = None  # the head of the line, which holds a timer
        self._let_out: dict[Permit, None] = {}  # over the limit, for threads that wait on top of ours
        super().free()

    # A call's way, from its place in line to its release

    def join(self, permit: Permit, around: Scope | None) -> float | None:
        """Get in line, to borrow from the call around this one where there is one.

        Returns:
            The seconds it may sleep (None: until it is woken), unless it is RUNNING now.
        """
        return self._line_up(permit, self._join, around)

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

    def look(self, permit: Permit) -> float | None:
        """A waiting call was woken, or its patience is over: as `join`. Where the books are taken, it is woken anew."""
        seconds = self._may_sleep(permit, self.do(self._look, permit))
        if permit.state != RUNNING:
            self._give_way(permit)
        return seconds

    @override
    def look_again(self) -> None:
        """Have all who wait here look again; without opening the books."""
        for permit in self.admission.in_line():
            with suppress(RuntimeError):  # its event loop is closed
                permit.wake()

    def admit_over_limit(self, permit: Permit) -> None:
        """It can't ask, or nobody could end its wait (see `on_top`): it runs, is counted and charged when it can be."""
        permit.state = RUNNING
        self.post(self._count_over_limit, permit)

    def release(self, permit: Permit, actual: Sequence[float | None] | None = None) -> None:
        """Out of line and of the slot, settled. Never blocks; idempotent, also when it was interrupted half-way."""
        if self._let_out:
            self._let_out.pop(permit, None)
        self.post(self._release, permit, actual)

    def renew(self, permit: Permit, actual: Sequence[float | None] | None, costs: Sequence[float] | None) -> bool:
        """Between two calls of one worker: settle, then keep the slot and charge the next; False: released instead."""
        kept = self.do(self._renew, permit, actual, costs)
        if kept is BUSY:
            self.release(permit, actual)
            return False
        return kept  # type: ignore[no-any-return]

    def claim(
        self, scope: Scope, costs: Sequence[float] | None, wake: Callable[[], None], owner: Owner
    ) -> Permit | None:
        """The slot and charge of the call around this one, if they are transferable; once.

        RUNNING, it may run now; else it waits for what it costs more than the call around it was charged.
        """
        permit = scope.claim()
        if permit is None:
            return None
        scope.permit = None
        permit.waker, permit.owner, permit.woken = wake, owner, False
        if costs is not None:
            permit.state = NEW  # until it is charged
            if self.do(self._charge_anew, permit, costs, permit) is BUSY:
                self.post(self._charge_anew, permit, costs, None)
        return permit

    # What runs ask

    def begin_run(self, run: Any) -> None:
        """A run begins, and may be stopped from outside where the limits are not this process's alone."""

    def held_only_by(self, owner: Owner, outer: Scope | None) -> bool:
        """Does this owner run all calls that hold a slot, and is none to borrow from the calls around this place?"""
        around = enclosing(outer, self)
        held = self.do(self._held_only_by, owner, None if around is None else around.permit)
        return held is True

    def everybody(self) -> Everybody:
        """Where it stands over all processes: this one."""
        stats = self.stats()
        gate = max(0.0, self.admission.opens_at() - clock.now())
        return Everybody(1, stats.in_flight, stats.waiting, stats.ceiling, gate, None)

    # Inside; with the books open, but for the first three

    def _observe(self, account: Account, *, repeats: bool) -> Reader:
        from fanmap._drive.wire.responses import observe  # by the first call that needs it

        self.observe = observe
        return observe(account, repeats=repeats)

    def _line_up(self, permit: Permit, event: Callable[..., float | None], arg: Scope | Door | None) -> float | None:
        seconds = self.do(event, permit, arg, True)
        if seconds is BUSY:
            if self.held_here():
                self.admit_over_limit(permit)
                return 0.0
            self.post(event, permit, arg, False)
            seconds = self.do(self._patience, permit, clock.now())
        return self._may_sleep(permit, seconds)

    def _may_sleep(self, permit: Permit, seconds: Any) -> float | None:
        if seconds is BUSY:
            self.post(self._remind, permit)
            return GIVE_WAY
        if somebody_waits():
            return GIVE_WAY if seconds is None else min(seconds, GIVE_WAY)
        return seconds  # type: ignore[no-any-return]

    def _join(self, permit: Permit, around: Scope | None, here: bool) -> float | None:
        admission, now = self.admission, clock.now()
        if permit.state != NEW:  # run again, or released meanwhile
            return self._patience(permit, now)
        if here and around is None and admission.start(permit, now):
            return 0.0
        admission.ask(permit)
        if around is not None and around.permit is not permit.parent:
            # That call has ended, on another thread, and perhaps without the books: it kept its slot for the
            # next item. It first says that it has ended and then looks whether the slot is lent; here the slot
            # is first lent and then asked whether it has ended: one of the two sees the other.
            admission.leave(permit)
            permit.parent = None
            admission.ask(permit)
        self._poll(now, permit if here else None)
        return self._patience(permit, now)

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

    def _look(self, permit: Permit) -> float | None:
        admission, now = self.admission, clock.now()
        waits = permit.state == WAITING or (
            permit.state == SLOTTED and (admission.totals or admission.head() is not permit)
        )
        if waits:  # perhaps it looks now and then, as its owner's first
            self._sweep(now)
        if permit.state != APPOINTED or not admission.take_up(permit, now):
            self._poll(now, permit)
        return self._patience(permit, now)

    def _sweep(self, now: float) -> None:
        if now - self._swept >= _BETWEEN_SWEEPS:
            self._swept = now
            self.admission.sweep()

    def _remind(self, permit: Permit) -> None:
        self.after.append(permit)

    def _patience(self, permit: Permit, now: float) -> float | None:
        return GIVE_WAY if permit.state == NEW else self.admission.patience(permit, now)  # NEW: it is still queued

    def _release(self, permit: Permit, actual: Sequence[float | None] | None) -> None:
        refund, waited = bool(permit.charges), permit.state == WAITING
        if actual is not None and refund:
            self.admission.settle(permit, actual)
        if self.money is not None and self.money.news:
            self._priced(self.money)
        self.admission.leave(permit)
        if waited and (first := self.admission.first_waiting(permit.owner)) is not None:
            self.after.append(first)  # from now on it looks now and then
        permit.waker = _nobody
        self._poll(clock.now(), None, refund=refund)

    def _renew(self, permit: Permit, actual: Sequence[float | None] | None, costs: Sequence[float] | None) -> bool:
        admission, now = self.admission, clock.now()
        if permit.charges:
            admission.settle(permit, actual)
        if self.money is not None and self.money.news:
            self._priced(self.money)
            self._poll(now, None, refund=True)
        if admission.renew(permit, costs, now):
            return True
        permit.waker = _nobody
        self._poll(now, None, refund=True)
        return False

    def _charge_anew(self, permit: Permit, costs: Sequence[float], mine: Permit | None) -> None:
        if permit.state != NEW:
            return
        permit.state = RUNNING
        if self.admission.charge_anew(permit, costs):
            self._poll(clock.now(), mine, refund=True)
        elif mine is None:
            self._remind(permit)

    def _held_only_by(self, owner: Owner, lender: Permit | None) -> bool:
        self.admission.sweep()
        return self.admission.held_only_by(owner, lender)

    def _poll(self, now: float, mine: Permit | None, *, refund: bool = False) -> None:
        """Who to wake: those who may run, and the head of the line where its timer must be set anew.

        `mine` is the permit of whoever asks, in its own thread: it takes its appointment up at once.
        """
        admission, after = self.admission, self.after
        if self._news.closed_until is not None:
            self._tell(self._news.moved(now))
        if admission.waiting():  # where the line moves, nobody looks now and then: each is let in before that
            self._sweep(now)
        for permit in admission.poll(now, None if mine is None else mine.owner):
            if permit is mine:
                admission.take_up(permit, now)
            else:
                after.append(permit)
        if admission.reminded:
            after.extend(admission.reminded)
            admission.reminded.clear()
        head = admission.head()
        if head is not None and head is not mine and (refund or head is not self._timed):
            after.append(head)
        self._timed = head

    def _give_way(self, permit: Permit) -> None:
        """Have it run now where threads wait on top of ours: one more than there are slots, for each of them.

        Also within a wait that the server has named: what waits on top may be in the way of an answer that is paid for.
        """
        allowed = stuck()
        if not allowed:
            return
        self._let_out[permit] = None  # before it looks who is ahead: of threads that come at once only the first goes
        ahead = takewhile(lambda one: one is not permit, list(self._let_out))
        if allowed <= sum(one.state != RELEASED for one in ahead):
            self._let_out.pop(permit, None)
        else:
            self.admit_over_limit(permit)

    def _count_over_limit(self, permit: Permit) -> None:
        self.admission.admit_over_limit(permit, clock.now())

    @override
    def act(self, thing: Any) -> None:
        """Wake whoever waits for this permit, or write this line."""
        permit = thing
        try:
            permit.wake()
        except RuntimeError:  # its event loop is closed: nobody will ever take this place
            self.release(permit)


def _nobody() -> None:
    """Nobody waits any more: what has been released keeps no event loop alive."""
