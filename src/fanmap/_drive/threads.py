"""Worker threads: a pool that runs `def` functions, and a reader that blocks.

The threads are our own daemons, kept warm: `concurrent.futures` joins its threads at the interpreter's
exit, so that Ctrl-C one second into an eight-second call exits seven seconds later.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from typing_extensions import override

from fanmap._drive import clock, loops, owners
from fanmap._drive.budget import Budget
from fanmap._drive.calls import Caller
from fanmap._drive.on_top import begin_to_wait, end_to_wait, on_top, waits_here
from fanmap._drive.plan import AGAIN, BLOCK, CALL, END, WAIT, Word
from fanmap._drive.ports import Record
from fanmap._drive.run import Run
from fanmap._drive.scope import Scope
from fanmap._drive.thread_state import ThreadState
from fanmap._drive.turn import Turn
from fanmap._drive.worker import Worker
from fanmap._errors import BridgeError, left_behind
from fanmap._policy.effects import FEED
from fanmap._raw import is_a

_KEEP_WARM = 10.0  # seconds an idle thread waits for more work
# Ctrl-C that comes while the main thread waits for the GIL does not interrupt the blocking call it then makes, and
# on Windows none is ever interrupted: the main thread looks up ten times a second.
_SLICE = 0.1
_REAL_LOCK = type(threading.Lock())


class Waiter:
    """A thread that waits; a wake-up before the wait is not lost, two are one."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = clock.world.new_lock()
        self._lock.acquire()

    def wait(self, seconds: float | None) -> None:
        """Until woken, or `seconds` are over (None: no bound); may return early."""
        most = _SLICE if self._hears_signals() else threading.TIMEOUT_MAX
        self._lock.acquire(timeout=most if seconds is None else min(max(seconds, 1e-6), most))

    def _hears_signals(self) -> bool:
        """Is this the main thread, in real time? No signal interrupts a virtual wait."""
        return threading.get_ident() == threading.main_thread().ident and type(self._lock) is _REAL_LOCK

    def wake(self) -> None:
        """From any thread."""
        try:
            self._lock.release()
        except RuntimeError:  # it was awake
            pass


class WaiterOnTop(Waiter):
    """One that waits on top of ours, and lets others go on meanwhile."""

    __slots__ = ()

    @override
    def wait(self, seconds: float | None) -> None:
        nested = waits_here()
        try:
            if not nested:
                begin_to_wait()
            super().wait(seconds)
        finally:
            if not nested:
                end_to_wait()


def waiter_here(caller: Caller | None = None) -> Waiter:
    """For this thread to wait for others, or for this call to be let through."""
    return WaiterOnTop() if on_top(caller) else Waiter()


class _Thread:
    """A warm thread: runs one job after the other, waits a while, ends."""

    __slots__ = ("job", "others", "waiter")

    def __init__(self, others: WarmThreads, job: Callable[[], None]) -> None:
        self.others = others
        self.job: Callable[[], None] | None = job
        self.waiter = Waiter()

    def main(self) -> None:
        idle, state = self.others.idle, ThreadState()
        while True:
            job, self.job = self.job, None
            if job is not None:
                job()
                del job
                state.put_back()
                idle.append(self)
            self.waiter.wait(_KEEP_WARM)
            if self.job is None:
                try:
                    idle.remove(self)
                except ValueError:  # somebody has taken it out: a job is on its way
                    continue
                if self.job is None:
                    return


class WarmThreads:
    """The warm threads of this process (or of one stretch of virtual time).

    No lock, which the collector could run a user's code under: an idle thread is in a deque, and whoever takes it out
    has it, be it somebody with a job or, when it has been idle for long enough, the thread itself.

    Last in, first out, so that threads which are not needed get cold. A thread tells of its job's result before it is
    idle again, so that whoever waits for that result and runs the next job at once may find it busy still and start
    one thread more: 17 for 16 at once, in one of two runs. To be idle first and tell then would let somebody's next
    job wait behind the telling of this one.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.idle: deque[_Thread] = deque()

    def run(self, job: Callable[[], None]) -> None:
        """Run a job that never raises, in a thread of its own, now."""
        try:
            thread = self.idle.pop()
        except IndexError:
            clock.world.start_thread(_Thread(self, job).main, "fanmap-worker")
        else:
            thread.job = job
            thread.waiter.wake()


_threads = WarmThreads()


def use(threads: WarmThreads) -> WarmThreads:
    """Run everything in these threads from now on; returns those that they replace."""
    global _threads
    previous, _threads = _threads, threads
    return previous


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _threads.reset())


class Pool:
    """The workers of a run as threads, each in its own copy of the caller's context."""

    abandons = True  # a thread cannot be cancelled
    in_callers_loop = False

    def __init__(self) -> None:
        self._context = contextvars.copy_context()

    def spawn(self, worker: Worker) -> None:
        """Start a worker in a thread."""
        waiter = Waiter()
        worker.attach(waiter.wake)
        context = self._context
        _threads.run(lambda: _work(worker, waiter, context))

    def wake(self, workers: Sequence[Worker]) -> None:
        """Wake these."""
        for worker in workers:
            worker.wake()

    def cancel(self) -> None:
        """Calls under way cannot be cancelled; workers that wait see the stop when woken."""

    def drop(self) -> None:
        """As `cancel`."""


def _work(caller: Worker, waiter: Waiter, context: contextvars.Context) -> None:
    try:
        # Once more in a fresh context whenever an item left a context variable set.
        while context.copy().run(_pull, caller, waiter):
            pass
    except BaseException as error:  # a user's strategy, or ours: an item's exceptions never get here
        caller.run.interrupt(error)
    finally:
        caller.quit()
        caller.run.left(caller)


def _pull(caller: Worker, waiter: Waiter) -> bool:
    """Work until there is nothing more to do (False), or until an item has changed this context (True)."""
    call, copy_context = caller.plan.call, contextvars.copy_context
    todo = caller.resume()
    while todo is not END:
        if todo is CALL:
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
    from fanmap._drive import streams  # by the first run that has one

    return streams.read(worker, waiter)


def call_here(caller: Caller) -> None:
    """Drive one direct call to its end in this thread.

    Raises:
        BridgeError: it would wait for a slot that only calls of this thread's own loop hold.
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
    while todo is WAIT or todo is AGAIN:
        early = False
        if todo is WAIT and (waiter is None or blocked is None):
            waiter, blocked = waiter_here(caller), loops.BlockedTask()
            early = caller.attach(waiter.wake)
            if type(waiter) is WaiterOnTop:
                caller.goes_first()
                early = True
        if todo is WAIT and not early and waiter is not None and blocked is not None:
            waiter.wait(blocked.bound(check_bridge(caller.plan.name, caller.plan.budget, caller.outer, caller.delay)))
        todo = caller.step()
    return todo


def check_bridge(name: str, budget: Budget, outer: Scope | None, delay: float | None) -> float | None:
    """How long a blocking call may wait; BridgeError where nobody could ever end its wait."""
    here = owners.running_here()
    if here is None:
        return delay
    if budget.held_only_by(here, outer):
        write = "`async with`" if name is BLOCK else f"`await {name}.amap(...)` or `await to_async({name})(...)`"
        raise BridgeError(
            f"{name} blocks the event loop that holds every slot it waits for: write {write}, "
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

    def advance(self, look: Callable[[], None] | None) -> Record | None:
        """Wait for the next result, or the end (None), stepping the input meanwhile."""
        run = self._run
        while True:
            # A record gets no name here: a failure's traceback would lead back to itself.
            todo = run.poll()
            if todo is FEED:
                run.feed()
            elif todo is END:
                return None
            elif todo is WAIT:
                plan = run.plan
                self._waiter.wait(self._blocked.bound(check_bridge(plan.name, plan.budget, run.outer, run.delay)))
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


def run_job(job: Callable[[], Any], result: list[Any], wake: Callable[[], None]) -> None:
    """Run it in a warm thread, in a copy of this context; then `result` holds what it came to, for `unwrap`."""
    context = contextvars.copy_context()

    def main() -> None:
        try:
            result.append((context.run(job), None))
        except BaseException as error:
            result.append((None, error))
        with suppress(RuntimeError):  # who waited may be gone, and its loop closed
            wake()

    _threads.run(main)


def unwrap(result: list[Any]) -> Any:
    """What a job returned; raises what it raised."""
    value, error = result.pop()
    if error is None:
        return value
    try:
        if is_a(error, StopIteration):
            raise RuntimeError("the function raised StopIteration") from error
        raise error
    finally:
        del error


def with_timeout(call: Callable[[Any], Any], seconds: float) -> Callable[[Any], Any]:
    """The same call with a bound on its time: it runs in a thread of its own, which is left behind when late."""

    def timed(item: Any) -> Any:
        waiter = Waiter()
        result: list[Any] = []
        run_job(partial(call, item), result, waiter.wake)
        end = clock.now() + seconds
        while not result and (left := end - clock.now()) > 0:
            waiter.wait(left)
        if not result:
            raise left_behind(seconds)
        return unwrap(result)

    return timed
