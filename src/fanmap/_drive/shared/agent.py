"""The thread that exchanges for one process: when something needs it, else when it was told to, else it sleeps.

It holds its budget weakly: a Limits that nobody has any more leaves, and so does every one when the interpreter ends.
A leave that is missed is a lease that runs out.
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from fanmap._drive import clock
from fanmap._drive.books import BUSY
from fanmap._drive.shared.chance import chance
from fanmap._drive.shared.store import Store, StoreAway
from fanmap._errors import SharedUnavailable
from fanmap._policy.shared.demand import Demand
from fanmap._policy.shared.member import Member
from fanmap._policy.shared.messages import DIFFERENT, Request
from fanmap._types import Everybody

if TYPE_CHECKING:
    from fanmap._drive.shared.budget import SharedBudget

_TRY_AGAIN: Final = (0.02, 0.5)  # seconds until a store that is away is tried again: at first, and at most
_WAKES_APART: Final = 0.005  # seconds between two looks that others ask for
_LONGEST: Final = 60.0  # seconds asleep
_LAST_WORDS: Final = 1.0  # seconds for a leave, when the interpreter ends
_LAST: Final = -1_000  # of what multiprocessing does at a child's end: after its queues and children


class Agent:
    """One process's agent under one name.

    Attributes:
        sleeps_until: when it exchanges next, if nobody pokes it; -inf: it is about to look.
    """

    def __init__(self, budget: SharedBudget, store: Store) -> None:
        self._budget = weakref.ref(budget, self._lost)
        self._member = budget.member
        self.store = store
        self.sleeps_until = -math.inf
        self._woken_at = -math.inf
        self._pause = _TRY_AGAIN[0]
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._unstarted: list[None] = [None]  # `pop` is one atomic step

    def start(self) -> None:
        """Begin, once."""
        try:
            self._unstarted.pop()
        except IndexError:
            return
        _all_agents.add(self)
        _leave_with_multiprocessing()
        self._thread = clock.world.start_thread(self._live, "fanmap-shared")

    def poke(self) -> None:
        """There is something to exchange; from any thread."""
        self.sleeps_until = -math.inf
        self.store.poke()

    def forget(self) -> None:
        """This is the child of a fork: what the parent has open is not its own."""
        self._stopping = True
        _all_agents.discard(self)
        self.store.close()

    def is_idle(self) -> bool:
        """Does no thread of this process call, or wait to?"""
        budget = self._budget()
        stats = None if budget is None else budget.stats()
        return stats is None or not (stats.in_flight or stats.waiting)

    def leave(self) -> None:
        """The interpreter ends."""
        self._stopping = True
        self.store.poke()
        if self._thread is not None:
            self._thread.join(_LAST_WORDS)

    # Its thread

    def _live(self) -> None:
        try:
            while not self._stopping and self._look():
                pass
            self._leave()
        finally:
            _all_agents.discard(self)
            budget = self._budget()
            if budget is not None:
                budget.lost(self)  # whoever calls next has another one

    def _look(self) -> bool:
        """Exchange, if it is time, and wait; False: there is nobody to do it for."""
        budget = self._budget()
        if budget is None:
            return False
        todo = _with_books(budget, budget.prepare)
        if isinstance(todo, Request):
            wait = self._exchange(budget, todo)
            del budget, todo
            if wait is None:
                return False
            if wait:
                self.store.wait(wait)
            return True
        del budget
        woken = self.store.wait(min(todo - clock.now(), _LONGEST))
        self.sleeps_until = -math.inf
        if woken:
            self._answer_wake()
        return True

    def _exchange(self, budget: SharedBudget, request: Request) -> float | None:
        """Seconds until the store is tried again; None: nobody waits for that, and the next call has another agent."""
        try:
            reply = self.store.exchange(request)
        except StoreAway as error:
            _with_books(budget, budget.missed, str(error))
            self._pause = min(_TRY_AGAIN[1], 2 * self._pause)
            return self._pause * chance.uniform(0.5, 1.0)
        except Exception as error:
            _with_books(budget, budget.broken, error)
            return None
        self._pause = _TRY_AGAIN[0]
        _with_books(budget, budget.heard, reply)
        return None if reply.verdict == DIFFERENT else 0.0

    def _answer_wake(self) -> None:
        """Another process has woken this one; or somebody sends one datagram after the other."""
        now = clock.now()
        if now < self._woken_at + _WAKES_APART:
            clock.world.sleep(self._woken_at + _WAKES_APART - now)
        self._woken_at = clock.now()
        self._member.poke()

    def _leave(self) -> None:
        member = self._member
        if member.memory:
            member.lost()
            last = member.compose(clock.now(), Demand(0), chance.getrandbits(48), leaving=True)
            try:
                self.store.exchange(last)
            except Exception:  # a lease that runs out
                pass
        self.store.close()

    def _lost(self, _: object) -> None:
        self.store.poke()


def everybody(store: Store, member: Member, in_flight: int, waiting: int) -> Everybody:
    """How things are over all processes; here, so many are under way and wait."""
    try:
        view = store.look()
    except StoreAway as error:
        raise SharedUnavailable(f"{store.where} could not be read: {error}") from error
    if view is None:
        return Everybody(0, in_flight, waiting, member.ceiling, 0.0, None)
    others = [one for one in view.members if one.id != member.number]
    return Everybody(
        members=len(view.members),
        in_flight=in_flight + sum(one.in_flight for one in others),
        waiting=waiting + sum(one.waiting for one in others),
        ceiling=view.ceiling,
        gate=view.gate,
        spent=view.spent,
    )


def _with_books(budget: SharedBudget, event: Any, *args: Any) -> Any:
    """Run an event of these books, and wait for whoever has them: that is never long."""
    while (answer := budget.do(event, *args)) is BUSY:
        clock.world.sleep(0.0005)
    return answer


_all_agents: weakref.WeakSet[Agent] = weakref.WeakSet()
_leaves_at_the_end_of: set[int] = set()  # processes: this one, once it is a child of multiprocessing's with an agent


def _leave_all() -> None:
    for agent in list(_all_agents):
        agent.leave()


def _leave_where_idle() -> None:
    """Before Python 3.13 a child of multiprocessing does this before it waits for its other threads."""
    for agent in list(_all_agents):
        if agent.is_idle():
            agent.leave()


def _leave_with_multiprocessing() -> None:
    """A child that multiprocessing has forked ends without what its parent has registered with `atexit`."""
    util: Any = sys.modules.get("multiprocessing.util")
    if util is None or os.getpid() in _leaves_at_the_end_of:
        return
    if sys.modules["multiprocessing.process"].parent_process() is not None:
        _leaves_at_the_end_of.add(os.getpid())
        util.Finalize(None, _leave_where_idle, exitpriority=_LAST)


atexit.register(_leave_all)
