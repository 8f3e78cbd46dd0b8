"""Tasks of one asyncio loop: a pool that runs `async def` functions, and direct calls that are awaited.

Cancellation is asyncio's own: a cancelled item's `finally: await ...` runs to its end, as under
`asyncio.gather` (a cancel scope of anyio would cut it).
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from fanmap._drive import clock
from fanmap._drive.calls.caller import Caller, NotCalled
from fanmap._drive.calls.scope import current_scope
from fanmap._drive.drivers import tasks
from fanmap._drive.drivers.aio_waiter import Waiter, new_waiter
from fanmap._drive.drivers.contexts import taken_elsewhere
from fanmap._drive.drivers.owners import LeftOwner
from fanmap._drive.limits.budget import Budget
from fanmap._drive.runs.ports import ItemSource
from fanmap._drive.runs.worker import Worker
from fanmap._errors import CallTimeout
from fanmap._public import calls_users
from fanmap._raw import is_a


class Pool:
    """The workers of a run as tasks of one loop; made in any thread, as the portal does."""

    abandons = False

    def __init__(self, loop: asyncio.AbstractEventLoop, *, in_callers_loop: bool) -> None:
        self._loop = loop
        self._context = contextvars.copy_context() if in_callers_loop else taken_elsewhere()
        self._thread = threading.get_ident() if in_callers_loop else -1
        self._tasks: dict[asyncio.Task[bool], Worker] = {}
        self._news: deque[tuple[Worker, bool]] = deque()  # for the loop's thread: (worker, is it new?)
        self._announced = False

    def spawn(self, worker: Worker) -> None:
        """Start a worker in a task."""
        if self._here() and self._loop.get_task_factory() is not None:
            # An eager task would run at once, inside whoever hires it, and ask for a slot before that one has.
            self._loop.call_soon(self._start, worker)
        else:
            self._tell([(worker, True)])

    def wake(self, workers: Sequence[Worker]) -> None:
        """Wake these; across threads with one call for all of them."""
        if workers:
            self._tell([(worker, False) for worker in workers])

    def _here(self) -> bool:
        # Not the thread alone: the loop may have moved to another one since.
        return threading.get_ident() == self._thread and asyncio._get_running_loop() is self._loop

    def cancel(self) -> None:
        """Cancel every worker; an item's own clean-up runs to its end."""
        if self._here():
            self._cancel()
        else:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._cancel)

    def drop(self) -> None:
        """Cancel from wherever the last reference went away, perhaps after the loop was stopped or closed."""
        left = LeftOwner(self._loop)  # it may be stopped before their cancellation has gone through, and for good
        for worker in tuple(self._tasks.values()):
            worker.leave_to(left)
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        self._hear()
        for task in tuple(self._tasks):
            task.cancel()

    def _tell(self, news: list[tuple[Worker, bool]]) -> None:
        if self._here():
            for worker, new in news:
                self._start(worker) if new else worker.wake()
            return
        self._news.extend(news)
        if not self._announced:
            self._announced = True
            with suppress(RuntimeError):  # the loop is closed: nobody is there to hear it
                self._loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        self._announced = False  # first: what comes from now on is announced anew
        news = self._news
        while news:
            worker, new = news.popleft()
            self._start(worker) if new else worker.wake()

    def _start(self, worker: Worker) -> None:
        if worker.attached:  # told twice, by a caller whom Ctrl-C interrupted
            return
        waiter = Waiter(self._loop)
        worker.attach(waiter.wake)
        self._work(worker, waiter)

    def _work(self, worker: Worker, waiter: Waiter) -> None:
        work = _pull(worker, waiter)
        try:
            task = self._loop.create_task(work, context=self._context.copy())
        except BaseException as error:  # the loop is closed, or its task factory raised
            work.close()
            worker.run.interrupt(error)
            worker.quit()
            worker.run.left(worker)
            if not is_a(error, Exception):
                raise
            return
        self._tasks[task] = worker
        # Not a `finally` in the task: one that is cancelled before its first step never runs a line.
        task.add_done_callback(partial(self._ended, worker, waiter))

    def _ended(self, worker: Worker, waiter: Waiter, task: asyncio.Task[bool]) -> None:
        self._tasks.pop(task, None)
        if task.cancelled():
            with suppress(asyncio.CancelledError):
                task.result()  # retrieved, or the task would keep it: a cycle through its traceback
        else:
            error = task.exception()
            if error is not None:  # ours: an item's exceptions never get here
                worker.run.interrupt(error)
            elif task.result():  # an item left a context variable set: on in a fresh context
                self._work(worker, waiter)
                return
        if worker.report is not None:  # cancelled before its first step: its last item has ended all the same
            worker.retiring = True
            worker.resume()
        worker.withdraw()
        worker.quit()
        worker.run.left(worker)


class _Cancellation:
    """asyncio's: a count on the task, and an exception thrown into it once.

    An item that cancels its own task has failed with CancelledError, as under `gather`.
    """

    __slots__ = ("_run", "_task", "pending")

    def __init__(self, run: ItemSource) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._run, self._task = run, task
        self.pending = task.cancelling

    def ends(self, error: BaseException) -> bool:
        if not is_a(error, GeneratorExit):
            return False
        try:  # out of its task a coroutine is only ever run to be closed
            return asyncio.current_task() is not self._task
        except RuntimeError:  # no loop runs here
            return True

    async def judge(self, failure: BaseException | None) -> BaseException | None:
        if not self._run.stopping():
            try:
                await asyncio.sleep(0)  # a cancellation that was asked for and not delivered yet
            except asyncio.CancelledError as error:
                failure = error if failure is None else failure
        if failure is not None and self._run.stopping() and is_a(failure, asyncio.CancelledError):
            try:
                raise failure
            finally:
                del failure
        return failure


async def _checkpoint() -> None:
    await asyncio.sleep(0)


async def _pull(worker: Worker, waiter: Waiter) -> bool:
    if not worker.plan.budget.limiters:
        return await tasks.pull(worker, waiter, _Cancellation(worker.run), _checkpoint)
    here = _Here(worker)
    _here.set(here)
    try:
        return await tasks.pull(worker, waiter, _Cancellation(worker.run), _checkpoint)
    finally:
        here.worker = None  # tasks that its items have left behind have copies of this context


class _Here:
    """The worker whose task this is, or was."""

    __slots__ = ("worker",)

    def __init__(self, worker: Worker) -> None:
        self.worker: Worker | None = worker

    def still_due(self) -> bool:
        """May the call under way here be made? If it is none of the worker's, but one inside: yes."""
        worker = self.worker
        return worker is None or worker.inside() is not current_scope.get() or worker.still_due()


_here: contextvars.ContextVar[_Here | None] = contextvars.ContextVar("fanmap_here", default=None)


async def call_here(caller: Caller) -> None:
    """Drive one direct call to its end in this task."""
    await tasks.call_here(caller, new_waiter)


async def admit(caller: Caller) -> None:
    """Wait until a block may run; it leaves by itself."""
    await tasks.admit(caller, new_waiter)


@calls_users
def with_timeout(call: Callable[[Any], Any], seconds: float) -> Callable[[Any], Any]:
    """The same call with a bound on its time."""

    async def timed(item: Any) -> Any:
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                return await call(item)
        except TimeoutError as error:
            if not scope.expired():  # the call's own
                raise
            raise CallTimeout(f"a call took longer than {seconds} s") from error

    return timed


@calls_users
def with_limiters(call: Callable[[Any], Any], budget: Budget) -> Callable[[Any], Any]:
    """The same call after the user's own AsyncLimiters, slot and rates in hand.

    They may take long, and meanwhile the gate may close, or the run be stopped: then the call is not made.
    """
    limiters, opens_at = budget.limiters, budget.admission.opens_at

    async def limited(item: Any) -> Any:
        opened = opens_at()
        for limiter in limiters:
            await limiter.acquire()
        here = _here.get()
        if opens_at() > max(opened, clock.now()) or (here is not None and not here.still_due()):
            raise NotCalled
        return await call(item)

    return limited
