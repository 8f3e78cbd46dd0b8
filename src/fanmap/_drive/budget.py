"""One budget for everything that talks to one account.

The lock around admission and the waking of whoever may start; what may start is `_policy.admission`'s
decision, what a refusal means `_policy.brake`'s. Bound to no event loop and to no thread.
"""

from __future__ import annotations

import math
import os
import random
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from fanmap._drive import clock
from fanmap._policy.adaptive import Adaptive, Ceiling, Change
from fanmap._policy.admission import Admission, Ticket
from fanmap._policy.brake import Brake, Braked
from fanmap._policy.rate import Rate
from fanmap._policy.signals import Verdict
from fanmap._types import Stats, Tally

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter


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


OPEN, TAKEN, KEPT = range(3)


class Scope:
    """One call under way, as its own nested calls see it through the context.

    Attributes:
        budget: what it runs under.
        ticket: its slot, to lend; None once the call has ended or has handed its slot on.
        outer: the call around it.
        spare: its slot and charge are for the first call under the same Limits inside it to take over, until the
            call is over and has asked the budget to `keep` them. Never changes.
        passing: has that call taken them (and gives the slot back itself), or were they kept? With the lock held.
    """

    __slots__ = ("budget", "outer", "passing", "spare", "ticket")

    def __init__(self, budget: Budget, ticket: Seat, outer: Scope | None, spare: bool) -> None:
        self.budget = budget
        self.ticket: Seat | None = ticket
        self.outer = outer
        self.spare = spare
        self.passing = OPEN


current_scope: ContextVar[Scope | None] = ContextVar("fanmap_scope", default=None)


def enclosing(scope: Scope | None, budget: Budget) -> Scope | None:
    """The innermost call around this place that runs under the same Limits and still holds its slot."""
    while scope is not None:
        if scope.budget is budget and scope.ticket is not None:
            return scope
        scope = scope.outer
    return None


def still_open(scope: Scope | None) -> Scope | None:
    """This scope, or the innermost around it whose call still holds a slot: what has ended need not be kept."""
    while scope is not None and scope.ticket is None:
        scope = scope.outer
    return scope


def counts(tally: Tally) -> dict[str, Any]:
    """A tally as the fields of `Stats` that it fills."""
    return {
        "started": tally.started,
        "done": tally.done,
        "failed": tally.failed,
        "attempts": tally.started - tally.refused,
        "refused": tally.refused,
        "waited_for_slot": tally.for_slot,
        "waited_for_rate": tally.for_rate,
        "waited_at_gate": tally.at_gate,
        "waited_to_repeat": tally.to_repeat,
        "abandoned": tally.abandoned,
    }


class Budget:
    """The state behind one `Limits`: admission, ceiling and brake, and the lock around them.

    Attributes:
        rates: what a call is charged to.
        limiters: users' own AsyncLimiters, awaited last by calls on an asyncio loop.
        classify: a user's own reading of an exception.
        admission: who may start; only `quiet` and `steady` may be read without the lock.
        history: how the ceiling moved, the last thousand times; read it with `changes`.
        max_wait: seconds that a server may keep everybody from working.
        random: chance, for jitter; seeded by tests.
    """

    __slots__ = (
        "__weakref__", "_brake", "_ceiling", "_lock", "_retired", "_settings", "_tallies", "_timed",
        "_told", "admission", "classify", "history", "limiters", "max_concurrency", "max_wait", "random", "rates",
    )  # fmt: skip

    def __init__(
        self,
        max_concurrency: Adaptive,
        rates: Sequence[Rate],
        limiters: Sequence[AsyncLimiter],
        max_wait: float,
        classify: Callable[[BaseException], Verdict | None] | None,
    ) -> None:
        self.max_concurrency = max_concurrency.maximum
        self.rates = rates
        self.limiters = limiters
        self.classify = classify
        self.random = random.Random()
        self._settings = max_concurrency
        self.max_wait = max_wait
        self._told = False
        self.history: deque[Change] = deque(maxlen=1000)
        self.reset()
        _all_budgets.add(self)

    def reset(self) -> None:
        """Nobody in line, nothing held: a new budget, or the child of a fork, where no other thread lives."""
        self._lock = threading.Lock()
        self._ceiling = Ceiling(self._settings)
        self._brake = Brake(self.max_wait)
        self.admission = Admission(self._ceiling.limit, self.rates)
        self._timed: Ticket | None = None  # the head of the line, which holds a timer
        self._retired = Tally()
        self._tallies: dict[object, Tally] = {}
        self._adjust("")

    def join(self, seat: Seat, around: Scope | None) -> bool:
        """Get in line, to borrow from the call around this one where there is one; True: it may run now."""
        with self._lock:
            admission = self.admission
            admission.ask(seat)
            if around is not None and around.ticket is not seat.parent:
                # That call has ended, on another thread, and perhaps without the lock: it kept its slot for the
                # next item. It first says that it has ended and then looks whether the slot is lent; here the slot
                # is first lent and then asked whether it has ended: one of the two sees the other.
                admission.leave(seat)
                seat.parent = None
                admission.ask(seat)
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

    def refused(self, verdict: Verdict, seat: Seat, started: float) -> Braked:
        """The server refused to start a call: hold everybody as long as it says, and send fewer at once."""
        kind, wait = verdict.kind, verdict.wait
        with self._lock:
            now = clock.now()
            # A refusal by rate that names a wait, or that a rate of ours explains, is not about the crowd.
            crowded = kind == "concurrency" or (kind == "rate" and wait is None and not self.rates)
            fewer = kind == "concurrency" and self._ceiling.can_answer(seat.epoch)
            if crowded:
                # A slot kept from item to item was granted in a smaller crowd than it now stands in.
                crowd = max(seat.crowd, self.admission.in_flight())
                still = self.admission.running() - 1 if kind == "concurrency" else None
                self._ceiling.refused(seat.epoch, crowd, still)
            braked = self._brake.refused(
                wait=wait, kind=kind, fewer=fewer, started=started, now=now, chance=self.random.random()
            )
            if braked.gate is not None:
                apart = math.inf if wait is None or kind == "steep" else wait
                self.admission.close_gate(braked.gate, spread=braked.spread, apart=apart)
            self._adjust("refused")
        return braked

    def answered(self, seat: Seat, started: float) -> None:
        """A call that began then succeeded, and admission is not steady."""
        with self._lock:
            self._brake.succeeded(started)
            self._ceiling.answered(seat.epoch, seat.crowd, seat.ceiling)
            self._adjust("answered")
            awake = self._poll()
        self._wake(awake, seat)

    def failed(self, seat: Seat) -> None:
        """A call that will be repeated failed: in an outage, everybody waits for one probe."""
        with self._lock:
            probe = self._brake.failed(clock.now(), self.random.random())
            if probe is not None:
                self.admission.close_gate(probe, spread=0.0, apart=math.inf)
            self._adjust("")
        del seat

    def denied(self) -> bool:
        """A call was refused for lack of permission: will every call be?"""
        with self._lock:
            return self._brake.denied()

    def tell_once(self) -> bool:
        """Has it not been said yet that a client repeats by itself?"""
        with self._lock:
            told, self._told = self._told, True
        return not told

    def tally_of(self, key: object) -> Tally:
        """The counts that this key's one thread writes, from now until it is retired."""
        tally = self._tallies.get(key)
        return self._tallies.setdefault(key, Tally()) if tally is None else tally

    def retire(self, key: object) -> None:
        """The counts under this key are final."""
        with self._lock:
            tally = self._tallies.pop(key, None)
            if tally is not None:
                self._retired.add(tally)

    def stats(self) -> Stats:
        """Where it stands; from any thread."""
        total = Tally()
        with self._lock:
            total.add(self._retired)
            for tally in list(self._tallies.values()):
                total.add(tally)
            in_flight, waiting = self.admission.running(), self.admission.waiting()
            ceiling = self.admission.limit
        return Stats(in_flight=in_flight, waiting=waiting + total.backing_off, ceiling=ceiling, **counts(total))

    def _adjust(self, why: str) -> None:
        """After anything that ceiling or brake were told."""
        admission, ceiling, brake = self.admission, self._ceiling, self._brake
        before, admission.limit = admission.limit, 1 if brake.outage else ceiling.limit
        admission.epoch = ceiling.epoch
        admission.steady = ceiling.resting and not brake.engaged
        if not admission.steady:
            admission.quiet = False
        if admission.limit != before:
            self.history.append(Change(clock.now(), before, admission.limit, why or "outage"))

    def take_over(
        self, scope: Scope, costs: Sequence[float] | None, wake: Callable[[], None], owner: object
    ) -> Seat | None:
        """The slot and charge of the call around this one, if they are spare; once.

        Granted, it may run now; else it waits for what it costs more than the call around it was charged.
        """
        awake: list[Ticket] = []
        with self._lock:
            seat = scope.ticket
            if scope.passing != OPEN or seat is None:
                return None
            scope.passing, scope.ticket = TAKEN, None
            seat.wake, seat.owner = wake, owner
            if costs is not None and self.admission.charge_anew(seat, costs):
                awake = self._poll(refund=True)
        self._wake(awake, seat)
        return seat

    def keep(self, scope: Scope) -> bool:
        """A call with a spare slot is over: does it still have it? Then nobody can take it over any more."""
        with self._lock:
            if scope.passing == OPEN:
                scope.passing = KEPT
            return scope.passing == KEPT

    def hopeless(self) -> float | None:
        """Seconds that the gate stays closed, where that is longer than `max_wait`; no lock needed."""
        closed = self.admission.opens_at() - clock.now()
        return closed if closed > self.max_wait else None

    def changes(self) -> list[Change]:
        """How the ceiling moved."""
        with self._lock:
            return list(self.history)

    def held_only_by(self, owner: object, outer: Scope | None) -> bool:
        """Is every slot held on this owner's thread, and none to borrow from the calls around this place?"""
        with self._lock:
            around = enclosing(outer, self)
            return self.admission.held_only_by(owner, None if around is None else around.ticket)

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
