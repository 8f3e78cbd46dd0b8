"""Worker threads: a crew that runs `def` functions, and a consumer that blocks.

The threads are our own daemons, kept warm: `concurrent.futures` joins its threads at the interpreter's
exit, so that Ctrl-C one second into an eight-second call exits seven seconds later.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from fanmap._drive import clock, loops
from fanmap._drive.budget import Budget, Scope
from fanmap._drive.calls import AGAIN, CALL, END, WAIT, Caller, Todo
from fanmap._drive.run import FEED, Run
from fanmap._drive.worker import Worker
from fanmap._errors import BridgeError, CallTimeout

_KEEP_WARM = 10.0  # seconds an idle thread waits for more work
# Ctrl-C that comes while the main thread waits for the GIL does not interrupt the blocking call it then makes, and
# on Windows none is ever interrupted: the main thread looks up ten times a second.
_SLICE = 0.1
_REAL_LOCK = type(threading.Lock())
_LOOK = 0.05  # seconds between looks of a call that blocks a running loop


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


class _Thread:
    """A warm thread: runs one job after the other, waits a while, ends."""

    __slots__ = ("job", "pool", "waiter")

    def __init__(self, pool: Pool, job: Callable[[], None]) -> None:
        self.pool = pool
        self.job: Callable[[], None] | None = job
        self.waiter = Waiter()

    def main(self) -> None:
        pool = self.pool
        while True:
            job, self.job = self.job, None
            if job is not None:
                job()
                del job
                with pool.lock:
                    pool.idle.append(self)
            self.waiter.wait(_KEEP_WARM)
            if self.job is None:
                with pool.lock:
                    if self.job is None:
                        if self in pool.idle:
                            pool.idle.remove(self)
                        return


class Pool:
    """The warm threads of this process (or of one stretch of virtual time)."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.lock = threading.Lock()
        self.idle: list[_Thread] = []

    def run(self, job: Callable[[], None]) -> None:
        """Run a job that never raises, in a thread of its own, now."""
        with self.lock:
            if self.idle:
                thread = self.idle.pop()
                thread.job = job
                thread.waiter.wake()
                return
        clock.world.start_thread(_Thread(self, job).main, "fanmap-worker")


_pool = Pool()


def use(pool: Pool) -> Pool:
    """Run everything in the threads of this pool from now on; returns the one it replaces."""
    global _pool
    previous, _pool = _pool, pool
    return previous


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _pool.reset())


class Crew:
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
        _pool.run(lambda: _work(worker, waiter, context))

    def rouse(self, workers: Sequence[Worker]) -> None:
        """Wake these."""
        for worker in workers:
            worker.wake()

    def cancel(self) -> None:
        """Calls under way cannot be cancelled; workers that wait see the stop when roused."""

    def drop(self) -> None:
        """As `cancel`."""


def _work(worker: Worker, waiter: Waiter, context: contextvars.Context) -> None:
    try:
        # Once more in a fresh context whenever an item left a context variable set.
        while context.copy().run(_pull, worker, waiter):
            pass
    except BaseException as error:  # a user's strategy, or ours: an item's exceptions never get here
        worker.run.interrupt(error)
    finally:
        worker.quit()
        worker.run.left(worker)


def _pull(worker: Worker, waiter: Waiter) -> bool:
    """Work until there is nothing more to do (False), or until an item has changed this context (True)."""
    call, copy_context = worker.plan.call, contextvars.copy_context
    todo = worker.resume()
    while todo is not END:
        if todo is CALL:
            before = copy_context()
            value: Any = None
            failure: BaseException | None = None
            try:
                value = call(worker.item)
            except BaseException as error:
                failure = error
            try:
                changed = copy_context() != before
            except Exception:  # a value that cannot be compared
                changed = True
            if changed:
                worker.report = (value, failure)
                failure = None  # or this frame would be in a cycle with its traceback
                return True
            if failure is None:
                todo = worker.returned(value)
                value = None
            else:
                todo = worker.raised(failure)
                failure = None
        elif todo is AGAIN:
            todo = worker.step()
        else:
            waiter.wait(worker.delay)
            todo = worker.step()
    return False


def call_here(caller: Caller) -> None:
    """Drive one direct call to its end in this thread.

    Raises:
        BridgeError: it would wait for a slot that only calls of this thread's own loop hold.
    """
    try:
        todo = _wait_until_due(caller, caller.step())
        while todo is CALL:
            try:
                value = caller.plan.call(caller.item)
            except BaseException as error:
                todo = caller.raised(error)
            else:
                todo = caller.returned(value)
                del value
            todo = _wait_until_due(caller, todo)
    finally:
        caller.quit()


def admit(caller: Caller) -> None:
    """Wait until a block may run; it leaves by itself."""
    try:
        _wait_until_due(caller, caller.step())
    except BaseException:
        caller.quit()
        raise


def _wait_until_due(caller: Caller, todo: Todo) -> Todo:
    """Wait until there is a call to make, or nothing more to do."""
    waiter: Waiter | None = None
    while todo is WAIT or todo is AGAIN:
        if todo is WAIT and waiter is None:
            waiter = Waiter()
            caller.attach(waiter.wake)
        elif todo is WAIT and waiter is not None:
            waiter.wait(check_bridge(caller.plan.name, caller.plan.budget, caller.outer, caller.delay))
        todo = caller.step()
    return todo


def check_bridge(name: str, budget: Budget, outer: Scope | None, delay: float | None) -> float | None:
    """How long a blocking call may wait; BridgeError where nobody could ever end its wait."""
    if loops.running() is None:
        return delay
    if budget.held_only_by(threading.get_ident(), outer):
        raise BridgeError(
            f"{name} blocks the event loop that holds every slot it waits for: write `await {name}.amap(...)` "
            f"or `await to_async({name})(...)`, or give it Limits of its own"
        )
    return _LOOK if delay is None else min(_LOOK, delay)


class Consumer:
    """The thread that asked for a run: feeds the input, waits for results."""

    def __init__(self, run: Run, waiter: Waiter) -> None:
        self._run = run
        self._waiter = waiter

    def drop(self) -> None:
        """Nothing of this consumer's lives on without it."""

    def advance(self, look: Callable[[], None] | None) -> bool:
        """Wait for the next result (True) or the end (False), stepping the input meanwhile."""
        run = self._run
        while True:
            todo = run.poll()
            if todo is FEED:
                run.feed()
            elif todo is END:
                return False
            elif todo is WAIT:
                plan = run.plan
                self._waiter.wait(check_bridge(plan.name, plan.budget, run.outer, run.delay))
            else:
                return True
            if look is not None:
                look()

    def finish(self, cancel: Callable[[], None]) -> None:
        """Stop what still runs and wait for whatever can be waited for. Idempotent."""
        run = self._run
        run.stop(None)
        cancel()
        while not run.settled():
            self._waiter.wait(None)
        run.close()


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

    _pool.run(main)


def unwrap(result: list[Any]) -> Any:
    """What a job returned; raises what it raised."""
    value, error = result.pop()
    if error is None:
        return value
    try:
        if isinstance(error, StopIteration):
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
            raise CallTimeout(f"a call took longer than {seconds} s")
        return unwrap(result)

    return timed
