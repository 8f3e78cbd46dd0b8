"""Tasks of a trio run: a crew that runs `async def` functions, and a consumer that awaits.

Imported only where trio runs. The crew lives under a system task with a nursery of its own, so that the
caller's `Cancelled` reaches it bare and not wrapped into a group; cancellation is as trio has it.
"""

from __future__ import annotations

import contextvars
import math
import threading
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import suppress
from typing import Any

import trio

from fanmap._drive import tasks
from fanmap._drive.calls import Caller
from fanmap._drive.run import Run
from fanmap._drive.worker import Worker
from fanmap._errors import CallTimeout


class Waiter:
    """A task that waits; may be woken from any thread, and before it waits; two wake-ups are one."""

    __slots__ = ("_event", "_thread", "_token", "_woken")

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
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
        else:
            self._token.run_sync_soon(self._wake_here)

    def _wake_here(self) -> None:
        self._woken = True
        if self._event is not None:
            self._event.set()


class Crew:
    """The workers of a run as tasks under one system task."""

    abandons = False
    in_callers_loop = True

    def __init__(self) -> None:
        self._context = contextvars.copy_context()
        self._nursery: trio.Nursery | None = None
        self._early: list[tuple[Worker, Waiter]] = []
        self._over = False
        self._leave = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        trio.lowlevel.spawn_system_task(self._host, context=self._context.copy())

    async def _host(self) -> None:
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
        if worker.attached:  # told twice, by a caller whom Ctrl-C interrupted
            return
        waiter = Waiter()
        worker.attach(waiter.wake)
        self._work(worker, waiter)

    def _work(self, worker: Worker, waiter: Waiter) -> None:
        if self._nursery is None:
            self._early.append((worker, waiter))
        else:
            self._context.copy().run(self._nursery.start_soon, self._life, worker, waiter)

    def rouse(self, workers: Sequence[Worker]) -> None:
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

    async def _life(self, worker: Worker, waiter: Waiter) -> None:
        renew = False
        try:
            renew = await _pull(worker, waiter)
        except Exception as error:  # ours: an item's exceptions never get here
            worker.run.interrupt(error)
        finally:
            if renew and not self._over:
                self._work(worker, waiter)
            else:
                if renew:
                    worker.resume()  # what its last item came to
                worker.quit()
                worker.run.left(worker)


class _Cancellation:
    """trio's: `Cancelled` comes out of every checkpoint of a cancelled scope, and belongs to the scope."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def pending(self) -> int:
        return 0

    def ends(self, error: BaseException) -> bool:
        return self._run.stopping() and isinstance(error, (trio.Cancelled, GeneratorExit))

    async def judge(self, failure: BaseException | None) -> BaseException | None:
        return failure


async def _pull(worker: Worker, waiter: Waiter) -> bool:
    return await tasks.pull(worker, waiter, _Cancellation(worker.run), trio.lowlevel.checkpoint)


async def call_here(caller: Caller) -> None:
    """Drive one direct call to its end in this task."""
    await tasks.call_here(caller, Waiter)


async def admit(caller: Caller) -> None:
    """Wait until a block may run; it leaves by itself."""
    await tasks.admit(caller, Waiter)


class Consumer:
    """The task that asked for a run: feeds the input, awaits results."""

    def __init__(self, run: Run, waiter: Waiter) -> None:
        self._run = run
        self._waiter = waiter
        self._feeding = trio.CancelScope()
        self._token = trio.lowlevel.current_trio_token()

    def drop(self) -> None:
        """As `cancel`, from wherever the last reference went away."""
        with suppress(RuntimeError):
            self._token.run_sync_soon(self.cancel)

    def feed_from(self, source: AsyncIterable[Any]) -> None:
        """Iterate an async input in a task of its own."""
        waiter = Waiter()
        self._run.attach_feeder(waiter)
        trio.lowlevel.spawn_system_task(self._feed, source, waiter, context=contextvars.copy_context())

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

    async def advance(self, look: Callable[[], None] | None) -> bool:
        """Wait for the next result (True) or the end (False), stepping the input meanwhile."""
        return await tasks.advance(self._run, self._waiter, look)

    async def finish(self, cancel: Callable[[], None]) -> None:
        """Stop what still runs and wait, shielded, for it to end."""
        run = self._run
        run.stop(None)
        cancel()
        self.cancel()
        with trio.CancelScope(shield=True):
            while not run.settled():
                await self._waiter.wait(None)
        run.close()


def with_timeout(call: Callable[[Any], Any], seconds: float) -> Callable[[Any], Any]:
    """The same call with a bound on its time."""

    async def timed(item: Any) -> Any:
        with trio.move_on_after(seconds) as scope:
            return await call(item)
        if scope.cancelled_caught:
            raise CallTimeout(f"a call took longer than {seconds} s")
        return None

    return timed
