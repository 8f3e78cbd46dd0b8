"""Worker threads: a pool that runs `def` functions, direct calls that block, and a reader that blocks."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from typing import Any

from fanmap._drive.calls.caller import Caller
from fanmap._drive.calls.plan import AGAIN, BLOCK, CALL, END, WAIT, Word
from fanmap._drive.calls.scope import Scope
from fanmap._drive.drivers import loops, owners, warm_threads
from fanmap._drive.drivers.contexts import taken_elsewhere
from fanmap._drive.drivers.own_streams import OwnStreams
from fanmap._drive.drivers.thread_waiter import Waiter, WaiterOnTop, waiter_here
from fanmap._drive.limits.budget import Budget
from fanmap._drive.runs.run import Run
from fanmap._drive.runs.turn import Turn
from fanmap._drive.runs.worker import Worker
from fanmap._errors import BridgeError
from fanmap._policy.runs.effects import FEED
from fanmap._policy.runs.results import Record
from fanmap._public import calls_users


class Pool:
    """The workers of a run as threads, each in its own copy of the caller's context."""

    abandons = True  # a thread cannot be cancelled

    def __init__(self, unread: Callable[[], bool] | None = None) -> None:
        """`unread`: can nobody ever read what the run comes to? None: they can."""
        self._context = taken_elsewhere()
        self._unread = unread

    def spawn(self, worker: Worker) -> None:
        """Start a worker in a thread."""
        waiter = Waiter()
        worker.attach(waiter.wake)
        context, unread = self._context, self._unread
        warm_threads.current.run(lambda: _work(worker, waiter, context, unread))

    def wake(self, workers: Sequence[Worker]) -> None:
        """Wake these."""
        for worker in workers:
            worker.wake()

    def cancel(self) -> None:
        """Calls under way cannot be cancelled; workers that wait see the stop when woken."""

    def drop(self) -> None:
        """As `cancel`."""


def _work(caller: Worker, waiter: Waiter, context: contextvars.Context, unread: Callable[[], bool] | None) -> None:
    try:
        # Once more in a fresh context whenever an item left a context variable set.
        while context.copy().run(_pull, caller, waiter, unread):
            pass
    except BaseException as error:  # a user's strategy, or ours: an item's exceptions never get here
        caller.run.interrupt(error)
    finally:
        caller.quit()
        caller.run.left(caller)


@calls_users
def _pull(caller: Worker, waiter: Waiter, unread: Callable[[], bool] | None) -> bool:
    """Work until there is nothing more to do (False), or until an item has changed this context (True)."""
    call, copy_context = caller.plan.call, contextvars.copy_context
    todo = caller.resume()
    while todo is not END:
        if todo is CALL:
            if unread is not None and unread():
                caller.withdraw(called=False)
                caller.run.stop(None)
                return False
            before = copy_context()
            value: Any = None
            failure: BaseException | None = None
            try:
                value = call(caller.item)
            except BaseException as error:
                failure = error
            try:
                changed = copy_context() != before
            except Exception:  # a value that cannot be compared
                changed = True
            if changed:
                caller.report = (value, failure)
                failure = None  # or this frame would be in a cycle with its traceback
                return True
            if failure is None:
                todo = caller.returned(value)
                value = None
            else:
                todo = caller.raised(failure)
                failure = None
        elif todo is WAIT:
            waiter.wait(caller.delay)
            todo = caller.step()
        elif todo is AGAIN:
            todo = caller.step()
        else:
            todo = caller.returned(_read(caller, waiter))
    return False


def _read(worker: Worker, waiter: Waiter) -> Any:
    """The item has returned a stream."""
    from fanmap._drive.runs import streams  # by the first run that has one

    return streams.read(worker, waiter)


@calls_users
def call_here(caller: Caller) -> None:
    """Drive one direct call to its end in this thread.

    Raises:
        BridgeError: it would wait for a slot that only calls of this thread's own loop hold, or streams that this
            thread reads.
    """
    try:
        todo = wait_until_due(caller, caller.step())
        while todo is CALL:
            try:
                value = caller.plan.call(caller.item)
            except BaseException as error:
                todo = caller.raised(error)
            else:
                todo = caller.returned(value)
                del value
            todo = wait_until_due(caller, todo)
    finally:
        caller.quit()


def admit(caller: Caller) -> None:
    """Wait until a block may run; it leaves by itself."""
    try:
        wait_until_due(caller, caller.step())
    except BaseException:
        caller.quit()
        raise


def wait_until_due(caller: Caller, todo: Word) -> Word:
    """Wait until there is a call to make, or nothing more to do."""
    waiter: Waiter | None = None
    blocked: loops.BlockedTask | None = None
    own: OwnStreams | None = None
    while todo is WAIT or todo is AGAIN:
        early = False
        if todo is WAIT and (waiter is None or blocked is None):
            waiter, blocked = waiter_here(caller), loops.BlockedTask()
            early = caller.attach(waiter.wake)
            if type(waiter) is WaiterOnTop:
                caller.goes_first()
                early = True
        if todo is WAIT and not early and waiter is not None and blocked is not None:
            name, budget, delay = caller.plan.name, caller.plan.budget, caller.delay
            if budget.streams:
                own = own or OwnStreams()
                delay = own.bound(name, budget, delay)
            waiter.wait(blocked.bound(check_bridge(waiter, name, budget, caller.outer, delay)))
        todo = caller.step()
    return todo


def check_bridge(waiter: Waiter, name: str, budget: Budget, outer: Scope | None, delay: float | None) -> float | None:
    """How long a blocking call may wait; BridgeError where nobody could ever end its wait."""
    here = owners.blocked_here()
    if not here or type(waiter) is WaiterOnTop:  # on top of ours, others are let out
        return delay
    if budget.held_only_by(here, outer):
        write = "`async with`" if name is BLOCK else f"`await {name}.amap(...)` or `await to_async({name})(...)`"
        raise BridgeError(
            f"{name} blocks the event loop that holds every slot it waits for, or the rest of a total: write {write}, "
            "or give it Limits of its own"
        )
    return loops.LOOK if delay is None else min(loops.LOOK, delay)


def take_turn(turn: Turn, me: int) -> None:
    """Wait until no other thread reads the same run."""
    if turn.take(me):
        return
    blocked = loops.BlockedTask()
    while not turn.take(me):
        waiter = waiter_here()
        place = turn.join(waiter.wake)
        try:
            if not turn.take(me):
                waiter.wait(blocked.bound(None))
        finally:
            turn.leave(place)


class Reader:
    """The thread that asked for a run: feeds the input, waits for results."""

    def __init__(self, run: Run, waiter: Waiter) -> None:
        self._run = run
        self._waiter = waiter
        self._blocked = loops.BlockedTask()

    def drop(self) -> None:
        """Nothing of this reader's lives on without it."""

    def check_task(self) -> None:
        """CancelledError where the task that blocks its loop here was cancelled, though nothing is waited for."""
        self._blocked.bound(None)

    def advance(self, look: Callable[[], None] | None) -> Record | None:
        """Wait for the next result, or the end (None), stepping the input meanwhile."""
        run, waiter = self._run, self._waiter
        own: OwnStreams | None = None
        while True:
            # A record gets no name here: a failure's traceback would lead back to itself.
            todo = run.poll()
            if todo is FEED:
                run.feed()
            elif todo is END:
                return None
            elif todo is WAIT:
                plan, delay = run.plan, run.delay
                if plan.budget.streams:
                    own = own or OwnStreams()
                    delay = own.bound(plan.name, plan.budget, delay)
                waiter.wait(self._blocked.bound(check_bridge(waiter, plan.name, plan.budget, run.outer, delay)))
            else:
                try:
                    return todo  # type: ignore[no-any-return]
                finally:
                    del todo
            if look is not None:
                look()

    def finish(self, cancel: Callable[[], None], turn: Turn | None = None) -> None:
        """Stop what still runs and wait for whatever can be waited for. Idempotent.

        `turn`: of several readers; whoever of them is inside leaves first.
        """
        run, me = self._run, threading.get_ident()
        inside = turn is None or turn.held_by(me)
        run.stop(None)
        cancel()
        try:
            if turn is not None:
                take_turn(turn, me)
            while not run.settled():
                self._waiter.wait(None)
            run.close()
        finally:
            if turn is not None and not inside:
                turn.give_back(me)
