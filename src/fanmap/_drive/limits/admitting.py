"""The way of a call under one budget, from its place in line to the release of its slot.

Wakes whoever may start; who may is `_policy.limits.admission`'s decision. Bound to no event loop and to no thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Any

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.books import BUSY
from fanmap._drive.calls.scope import Scope
from fanmap._drive.limits.streaming import Streaming
from fanmap._drive.on_top import GIVE_WAY, somebody_waits, stuck
from fanmap._policy.limits.door import Door
from fanmap._policy.limits.permit import APPOINTED, NEW, RELEASED, RUNNING, SLOTTED, WAITING, Owner, Permit

_BETWEEN_SWEEPS = 0.25  # seconds in which it is not looked again for calls of lost loops


class Admitting(Streaming):
    """The part of a budget in which calls wait, run and end."""

    __slots__ = ("_let_out", "_swept", "_timed")

    @override
    def free(self) -> None:
        """Nobody in line, nothing held: a new budget, or the child of a fork, where no other thread lives."""
        self._swept = -math.inf
        self._timed: Permit | None = None  # the head of the line, which holds a timer
        self._let_out: dict[Permit, None] = {}  # over the limit, for threads that wait on top of ours
        super().free()

    def join(self, permit: Permit, around: Scope | None) -> float | None:
        """Get in line, to borrow from the call around this one where there is one.

        Returns:
            The seconds it may sleep (None: until it is woken), unless it is RUNNING now.
        """
        return self._line_up(permit, self._join, around)

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

    # Inside; with the books open, but for the first two

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
        refund = bool(permit.charges)
        if actual is not None and refund:
            self.admission.settle(permit, actual)
        if self.money is not None and self.money.news:
            self._priced(self.money)
        self.admission.leave(permit)
        permit.waker, permit.anew = _nobody, None
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
