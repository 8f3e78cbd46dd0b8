"""One budget for everything that talks to one account.

The lock around admission and the waking of whoever may start; what may start is `_policy.admission`'s
decision, what a refusal means `_policy.brake`'s. Bound to no event loop and to no thread.
"""

from __future__ import annotations

import os
import random
import threading
import weakref
from collections.abc import Callable, Sequence
from contextvars import ContextVar

from aiolimiter import AsyncLimiter

from fanmap._drive import clock
from fanmap._policy.admission import Admission, Ticket
from fanmap._policy.brake import Brake, Braked
from fanmap._policy.rate import Rate


class Seat(Ticket):
    """A ticket, and how to wake whoever waits for it."""

    __slots__ = ("wake",)

    def __init__(
        self,
        wake: Callable[[], None],
        costs: Sequence[float] | None = None,
        parent: Ticket | None = None,
        owner: object = None,
    ) -> None:
        super().__init__(costs, parent, owner)
        self.wake = wake


class Scope:
    """One call under way, as its own nested calls see it through the context.

    Attributes:
        budget: what it runs under.
        ticket: its slot, to lend; None once the call has ended or has handed its slot on.
        outer: the call around it.
        spare: its slot and charge are for the first call under the same Limits inside it to take over.
    """

    __slots__ = ("budget", "outer", "spare", "ticket")

    def __init__(self, budget: Budget, ticket: Seat, outer: Scope | None, *, spare: bool = False) -> None:
        self.budget = budget
        self.ticket: Seat | None = ticket
        self.outer = outer
        self.spare = spare


current_scope: ContextVar[Scope | None] = ContextVar("fanmap_scope", default=None)


def enclosing(scope: Scope | None, budget: Budget) -> Scope | None:
    """The innermost call around this place that runs under the same Limits and still holds its slot."""
    while scope is not None:
        if scope.budget is budget and scope.ticket is not None:
            return scope
        scope = scope.outer
    return None


class Budget:
    """The state behind one `Limits`: admission, the brake, and the lock around both.

    Attributes:
        rates: what a call is charged to.
        limiters: users' own AsyncLimiters, awaited last by calls on an asyncio loop.
        admission, brake: the decisions; only to be touched with the lock held, but for `quiet`, `engaged`.
        random: chance, for jitter; seeded by tests.
    """

    __slots__ = (
        "__weakref__", "_lock", "_max_wait", "_timed", "admission", "brake", "limiters", "max_concurrency", "random",
        "rates",
    )  # fmt: skip

    def __init__(
        self, max_concurrency: int, rates: Sequence[Rate], limiters: Sequence[AsyncLimiter], max_wait: float
    ) -> None:
        self.max_concurrency = max_concurrency
        self.rates = rates
        self.limiters = limiters
        self.random = random.Random()
        self._max_wait = max_wait
        self.reset()
        _all_budgets.add(self)

    def reset(self) -> None:
        """Nobody in line, nothing held: a new budget, or the child of a fork, where no other thread lives."""
        self._lock = threading.Lock()
        self.admission = Admission(self.max_concurrency, self.rates)
        self.brake = Brake(self._max_wait)
        self._timed: Ticket | None = None  # the head of the line, which holds a timer

    @property
    def quiet(self) -> bool:
        """May a worker keep its slot from item to item? Read without the lock, on purpose."""
        return self.admission.quiet

    def join(self, seat: Seat) -> bool:
        """Get in line; True: it may run now."""
        with self._lock:
            self.admission.ask(seat)
            awake = self._poll()
        self._wake(awake, seat)
        return seat.granted

    def look(self, seat: Seat) -> bool:
        """A waiting call was woken, or its patience is over: may it run now?"""
        with self._lock:
            awake = self._poll()
        self._wake(awake, seat)
        return seat.granted

    def patience(self, seat: Seat) -> float | None:
        """Seconds a waiting call may sleep; None: until it is woken."""
        with self._lock:
            return self.admission.patience(seat, clock.now())

    def leave(self, seat: Seat, actual: Sequence[float | None] | None = None) -> None:
        """Out of line and of the slot, settled; idempotent, also when it was interrupted half-way."""
        with self._lock:
            refund = bool(seat.grants)
            if actual is not None:
                self.admission.settle(seat, actual)
            self.admission.leave(seat)
            awake = self._poll(refund=refund)
        self._wake(awake, seat)

    def refused(self, *, wait: float | None, started: float) -> Braked:
        """The server refused to start a call: hold everybody as long as it says."""
        with self._lock:
            now = clock.now()
            braked = self.brake.refused(wait=wait, started=started, now=now, chance=self.random.random())
            if braked.gate is not None:
                self.admission.close_gate(braked.gate)
        return braked

    def answered(self) -> None:
        """A call succeeded: refusals are counted anew."""
        if self.brake.engaged:
            with self._lock:
                self.brake.succeeded()

    def held_only_by(self, owner: object) -> bool:
        """Is every slot held on this owner's thread, so that blocking it would block everybody?"""
        with self._lock:
            return self.admission.held_only_by(owner)

    def _poll(self, *, refund: bool = False) -> list[Ticket]:
        """Who to wake: those who may run, and the head of the line where its timer must be set anew."""
        awake = self.admission.poll(clock.now())
        head = self.admission.head()
        if head is not None and (refund or head is not self._timed):
            awake.append(head)
        self._timed = head
        return awake

    def _wake(self, awake: list[Ticket], besides: Seat) -> None:
        for ticket in awake:
            if ticket is besides:
                continue
            assert isinstance(ticket, Seat)
            try:
                ticket.wake()
            except RuntimeError:  # its event loop is closed: nobody will ever take this place
                self.leave(ticket)


_all_budgets: weakref.WeakSet[Budget] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for budget in list(_all_budgets):
        budget.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
