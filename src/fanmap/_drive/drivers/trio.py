"""Tasks of a trio run: a pool that runs `async def` functions, and a reader that awaits.

Imported only where trio runs. The pool lives under a system task with a nursery of its own, so that the
caller's `Cancelled` reaches it bare and not wrapped into a group; cancellation is as trio has it.
"""

from __future__ import annotations

import contextvars
import math
import threading
import weakref
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import suppress
from typing import Any

import trio

from fanmap._drive.calls.caller import Caller
from fanmap._drive.drivers import tasks
from fanmap._drive.runs.ports import ItemSource
from fanmap._drive.runs.run import Run
from fanmap._drive.runs.turn import Turn
from fanmap._drive.runs.worker import Worker
from fanmap._errors import CallTimeout
from fanmap._policy.runs.results import Record
from fanmap._public import calls_users
from fanmap._raw import is_a


class Waiter:
    """A task that waits; may be woken from any thread, and before it waits; two wake-ups are one."""

    __slots__ = ("_event", "_thread", "_token", "_woken")

    def __init__(self) -> None:
        self._token = weakref.ref(trio.lowlevel.current_trio_token())
        self._thread = threading.get_ident()
        self._event: trio.Event | None = None
        self._woken = False

    async def wait(self, seconds: float | None) -> None:
        """Until woken, or `seconds` are over (None: no bound); may return early."""
        if not self._woken:
            event = self._event = trio.Event()
            try:
                with trio.move_on_after(math.inf if seconds is None else max(seconds, 1e-6)):
                    await event.wait()
            finally:
                self._event = None
        self._woken = False

    def wake(self) -> None:
        """From any thread; RuntimeError when the loop is closed."""
        if threading.get_ident() == self._thread:
            self._wake_here()
            return
        token = self._token()
        if token is None:
            raise RuntimeError("its trio run has ended")
        token.run_sync_soon(self._wake_here)

    def _wake_here(self) -> None:
        self._woken = True
        if self._event is not None:
            self._event.set()


class Pool:
    """The workers of a run as tasks under one system task."""

    abandons = False

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._context = contextvars.copy_context()
        self._nursery: trio.Nursery | None = None
        self._early: list[tuple[Worker, Waiter]] = []
        self._over = False
        self._leave = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        trio.lowlevel.spawn_system_task(self._hold_nursery, context=self._context.copy())

    async def _hold_nursery(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            early, self._early = self._early, []
            for worker, waiter in early:
                self._work(worker, waiter)
            if self._over:
                nursery.cancel_scope.cancel()
            await self._leave.wait()

    def spawn(self, worker: Worker) -> None:
        """Start a worker in a task."""
        if threading.get_ident() != self._thread:
            self._token.run_sync_soon(self.spawn, worker)
            return
        if worker.attached:  # told twice, by a caller whom Ctrl-C interrupted
            return
        waiter = Waiter()
        worker.attach(waiter.wake)
        self._work(worker, waiter)

    def _work(self, worker: Worker, waiter: Waiter) -> None:
        if self._nursery is None:
            self._early.append((worker, waiter))
        else:
            self._context.copy().run(self._nursery.start_soon, self._run_worker, worker, waiter)

    def wake(self, workers: Sequence[Worker]) -> None:
        """Wake these."""
        for worker in workers:
            worker.wake()

    def cancel(self) -> None:
        """Cancel every worker, and end the system task."""
        self._over = True
        self._leave.set()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def drop(self) -> None:
        """Cancel from wherever the last reference went away, perhaps after the run of trio."""
        with suppress(RuntimeError):
            self._token.run_sync_soon(self.cancel)

    async def _run_worker(self, worker: Worker, waiter: Waiter) -> None:
        renew = False
        try:
            renew = await tasks.pull(worker, waiter, _Cancellation(worker.run), trio.lowlevel.checkpoint)
        except Exception as error:  # ours: an item's exceptions never get here
            worker.run.interrupt(error)
        finally:
            if renew and not self._over:
                self._work(worker, waiter)
            else:
                if renew:
                    worker.retiring = True
                    worker.resume()  # what its last item came to
                worker.withdraw()
                worker.quit()
                worker.run.left(worker)


class _Cancellation:
    """trio's: `Cancelled` comes out of every checkpoint of a cancelled scope, and belongs to the scope."""

    def __init__(self, run: ItemSource) -> None:
        self._run = run

    def pending(self) -> int:
        return 0

    def ends(self, error: BaseException) -> bool:
        # From outside, as when the whole run of trio ends: every further call would be cancelled as well.
        return is_a(error, (trio.Cancelled, GeneratorExit)) and (
            self._run.stopping() or trio.current_effective_deadline() == -math.inf
        )

    async def judge(self, failure: BaseException | None) -> BaseException | None:
        return failure


async def call_here(caller: Caller) -> None:
    """Drive one direct call to its end in this task."""
    await tasks.call_here(caller, Waiter)


async def admit(caller: Caller) -> None:
    """Wait until a block may run; it leaves by itself."""
    await tasks.admit(caller, Waiter)


class Reader:
    """The task that asked for a run: feeds the input, awaits results."""

    def __init__(self, run: Run, waiter: Waiter) -> None:
        self._run = run
        self._waiter = waiter
        self._feeding = trio.CancelScope()
        self._feeder: trio.lowlevel.Task | None = None
        self._token = trio.lowlevel.current_trio_token()

    def drop(self) -> None:
        """As `cancel`, from wherever the last reference went away."""
        with suppress(RuntimeError):
            self._token.run_sync_soon(self.cancel)

    def feed_from(self, source: AsyncIterable[Any]) -> None:
        """Iterate an async input in a task of its own."""
        waiter = Waiter()
        self._run.attach_feeder(waiter)
        context = contextvars.copy_context()
        self._feeder = trio.lowlevel.spawn_system_task(self._feed, source, waiter, context=context)

    async def _feed(self, source: AsyncIterable[Any], waiter: Waiter) -> None:
        run = self._run
        failure: BaseException | None = None
        with self._feeding:
            try:
                await tasks.feed(run, source, waiter)
            except trio.Cancelled:
                raise
            except BaseException as error:
                failure = error
        run.fed(failure)

    def cancel(self) -> None:
        """Stop stepping an async input."""
        self._feeding.cancel()

    async def advance(self, look: Callable[[], None] | None) -> Record | None:
        """Wait for the next result, or the end (None), stepping the input meanwhile."""
        return await tasks.advance(self._run, self._waiter, look)

    def is_here(self) -> bool:
        """Is the run of trio in which it waits the one that runs here?"""
        try:
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    def feeds_here(self) -> bool:
        """Is this the task that iterates the input?"""
        return self.me() is self._feeder

    def me(self) -> object:
        """Who reads now: several tasks may."""
        return trio.lowlevel.current_task()

    async def take_turn(self, turn: Turn, me: object) -> None:
        """Wait until no other task reads the same run."""
        await tasks.take_turn(turn, me, Waiter)

    async def finish(self, cancel: Callable[[], None], turn: Turn | None = None) -> None:
        """Stop what still runs and wait, shielded, for it to end.

        `turn`: of several readers; whoever of them is inside leaves first.
        """
        run, me = self._run, self.me()
        inside = turn is None or turn.held_by(me)
        run.stop(None)
        cancel()
        self.cancel()
        try:
            with trio.CancelScope(shield=True):
                if turn is not None:
                    await self.take_turn(turn, me)
                while not run.settled():
                    await self._waiter.wait(None)
            run.close()
        finally:
            if turn is not None and not inside:
                turn.give_back(me)


@calls_users
def with_timeout(call: Callable[[Any], Any], seconds: float) -> Callable[[Any], Any]:
    """The same call with a bound on its time."""

    async def timed(item: Any) -> Any:
        with trio.move_on_after(seconds) as scope:
            return await call(item)
        if scope.cancelled_caught:
            raise CallTimeout(f"a call took longer than {seconds} s")
        return None

    return timed
