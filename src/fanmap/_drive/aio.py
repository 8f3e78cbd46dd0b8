"""Tasks of one asyncio loop: a pool that runs `async def` functions, and a reader that awaits.

Cancellation is asyncio's own: a cancelled item's `finally: await ...` runs to its end, as under
`asyncio.gather` (a cancel scope of anyio would cut it).
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from fanmap._drive import tasks
from fanmap._drive.calls import Caller
from fanmap._drive.ports import Ledger, Record
from fanmap._drive.run import Run
from fanmap._drive.turn import Turn
from fanmap._drive.worker import Worker
from fanmap._errors import CallTimeout
from fanmap._raw import is_a

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter


class Waiter:
    """A task that waits; may be woken from any thread, and before it waits; two wake-ups are one.

    It does not keep its loop alive: whoever is in line under a Limits would, long after everybody has forgotten it.
    What a task waits for is kept by the loop, else nobody would keep a task that only waits here.
    """

    __slots__ = ("_future", "_loop", "_thread", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._thread = threading.get_ident()
        self._future: weakref.ref[asyncio.Future[None]] | None = None
        self._woken = False

    async def wait(self, seconds: float | None) -> None:
        """Until woken, or `seconds` are over (None: no bound); may return early."""
        if not self._woken:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            self._future = weakref.ref(future)
            kept = _kept_by(loop)
            kept.add(future)
            timer = None if seconds is None else loop.call_later(max(seconds, 1e-6), self.wake_here)
            try:
                await future
            finally:
                self._future = None
                kept.discard(future)
                if timer is not None:
                    timer.cancel()
        self._woken = False

    def wake(self) -> None:
        """From any thread; RuntimeError when the loop is closed."""
        if threading.get_ident() == self._thread:
            self.wake_here()
            return
        loop = self._loop()
        if loop is None:
            raise RuntimeError("its event loop no longer exists")
        loop.call_soon_threadsafe(self.wake_here)

    def wake_here(self) -> None:
        """From the loop's own thread."""
        self._woken = True
        future = None if self._future is None else self._future()
        if future is not None and not future.done():
            future.set_result(None)


_kept: set[asyncio.Future[None]] = set()  # of loops that cannot keep anything themselves


def _kept_by(loop: asyncio.AbstractEventLoop) -> set[asyncio.Future[None]]:
    """What tasks of this loop wait for, kept for as long as the loop is."""
    kept: set[asyncio.Future[None]] | None = getattr(loop, "_fanmap_waits", None)
    if kept is None:
        kept = set()
        try:
            loop._fanmap_waits = kept  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        except AttributeError:
            kept = _kept
    return kept


class Pool:
    """The workers of a run as tasks of one loop; made in any thread, as the portal does."""

    abandons = False

    def __init__(self, loop: asyncio.AbstractEventLoop, *, in_callers_loop: bool) -> None:
        self.in_callers_loop = in_callers_loop
        self._loop = loop
        self._context = contextvars.copy_context()
        self._thread = threading.get_ident() if in_callers_loop else -1
        self._tasks: dict[asyncio.Task[bool], None] = {}
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
        return threading.get_ident() == self._thread

    def cancel(self) -> None:
        """Cancel every worker; an item's own clean-up runs to its end."""
        if self._here():
            self._cancel()
        else:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._cancel)

    def drop(self) -> None:
        """Cancel from wherever the last reference went away, perhaps after the loop was closed."""
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
        task = self._loop.create_task(_pull(worker, waiter), context=self._context.copy())
        self._tasks[task] = None
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

    def __init__(self, run: Ledger) -> None:
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
    return await tasks.pull(worker, waiter, _Cancellation(worker.run), _checkpoint)


def new_waiter() -> Waiter:
    """For this task to wait."""
    return Waiter(asyncio.get_running_loop())


async def call_here(caller: Caller) -> None:
    """Drive one direct call to its end in this task."""
    await tasks.call_here(caller, new_waiter)


async def admit(caller: Caller) -> None:
    """Wait until a block may run; it leaves by itself."""
    await tasks.admit(caller, new_waiter)


class Reader:
    """The task that asked for a run: feeds the input, awaits results."""

    def __init__(self, run: Run, waiter: Waiter) -> None:
        self._run = run
        self._waiter = waiter
        self._feeder: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    def drop(self) -> None:
        """As `cancel`, from wherever the last reference went away."""
        if self._feeder is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._feeder.cancel)

    def feed_from(self, source: AsyncIterable[Any]) -> None:
        """Iterate an async input in a task of this loop."""
        waiter = Waiter(asyncio.get_running_loop())
        self._run.attach_feeder(waiter)
        self._feeder = asyncio.create_task(tasks.feed(self._run, source, waiter))
        self._feeder.add_done_callback(self._fed)

    def _fed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._run.fed(task.exception())
        else:  # by `cancel`, or a cancellation of the input's own, which must not pass for its end
            self._run.fed(None if self._run.stopping() else asyncio.CancelledError())

    def cancel(self) -> None:
        """Stop stepping an async input."""
        if self._feeder is not None:
            self._feeder.cancel()

    async def advance(self, look: Callable[[], None] | None) -> Record | None:
        """Wait for the next result, or the end (None), stepping the input meanwhile."""
        return await tasks.advance(self._run, self._waiter, look)

    def is_here(self) -> bool:
        """Is the loop in which it waits the one that runs here?"""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def me(self) -> object:
        """Who reads now: several tasks may."""
        return asyncio.current_task() or threading.get_ident()

    async def take_turn(self, turn: Turn, me: object) -> None:
        """Wait until no other task reads the same run."""
        await tasks.take_turn(turn, me, new_waiter)

    async def finish(self, cancel: Callable[[], None], turn: Turn | None = None) -> None:
        """Stop what still runs and wait for it to end; a cancellation meanwhile is passed on, not lost.

        `turn`: of several readers; whoever of them is inside leaves first.
        """
        run, me = self._run, self.me()
        inside = turn is None or turn.held_by(me)
        run.stop(None)
        cancel()
        self.cancel()
        cancelled: asyncio.CancelledError | None = None
        try:
            while (turn is not None and not turn.held_by(me)) or not run.settled():
                try:
                    if turn is not None:
                        await self.take_turn(turn, me)
                    if not run.settled():
                        await self._waiter.wait(None)
                except asyncio.CancelledError as error:
                    cancelled = error
                    cancel()
            run.close()
        finally:
            if turn is not None and not inside:
                turn.give_back(me)
        if cancelled is not None:
            raise cancelled


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


def with_limiters(call: Callable[[Any], Any], limiters: Sequence[AsyncLimiter]) -> Callable[[Any], Any]:
    """The same call after the user's own AsyncLimiters, slot and rates in hand."""

    async def limited(item: Any) -> Any:
        for limiter in limiters:
            await limiter.acquire()
        return await call(item)

    return limited
