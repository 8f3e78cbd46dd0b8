"""Which pool of workers and which reader a run gets.

A `def` runs in threads; an `async def` in the caller's own loop where the caller awaits, on the background
loop where the caller blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal

from typing_extensions import TypeVar

from fanmap._drive import clock
from fanmap._drive.calls.scope import current_scope
from fanmap._drive.drivers import aio, aio_reader, aio_waiter, loops, owners, portal, threads, warm_threads
from fanmap._drive.drivers.thread_waiter import waiter_here
from fanmap._drive.notices import warn_of_blocking
from fanmap._drive.runs.ports import Hire
from fanmap._drive.runs.run import Run
from fanmap._drive.runs.worker import Worker
from fanmap._errors import BridgeError
from fanmap._policy.limits.door import Pace
from fanmap._policy.limits.permit import THREADS, Owner
from fanmap._public import calls_users

Place = Literal["threads", "asyncio", "trio", "portal"]
BLOCKED = "which is blocked until this call returns: start the run around it with `await function.amap(inputs)`"
C = TypeVar("C")


@dataclass(frozen=True, slots=True, eq=False)
class Launched(Generic[C]):
    """A run under way: its reader, and how to cancel its workers.

    Attributes:
        cancel: from the reader's own thread or task.
        drop: from anywhere, when nobody is left to read.
    """

    run: Run
    reader: C
    cancel: Callable[[], None]
    drop: Callable[[], None]

    def abandon(self) -> None:
        """Nobody reads any more, and nobody can wait for what still runs: from anywhere, also outside of any loop."""
        self.run.stop(None)
        self.drop()
        self.run.close()


def place(name: str, *, is_async: bool, blocking: bool, awaited: str = "amap") -> Place:
    """Where the calls of a run will live, for a caller who blocks or awaits here.

    `awaited`: the method that the error suggests to a caller who blocks."""
    if not is_async:
        return "threads"
    if blocking:
        if portal.is_here():
            raise BridgeError(
                f"{name} runs on the background loop, and a blocking call from there would wait for itself: "
                f"write `await {name}.{awaited}(...)`"
            )
        if portal.would_wait_for_itself():
            raise BridgeError(f"{name} runs on the background loop, {BLOCKED}")
        return "portal"
    kind = loops.running()
    if kind is None:
        raise RuntimeError(f"no event loop is running: write {name}.map(...)")
    return kind


def blocking(run: Run, where: Place) -> Launched[threads.Reader]:
    """Put together a run whose reader is this thread; `run.start()` sets it to work."""
    if loops.running() is not None:
        warn_of_blocking(run.plan.name)
    waiter = waiter_here()
    pool = threads.Pool() if where == "threads" else aio.Pool(portal.loop(), in_callers_loop=False)
    reader = threads.Reader(run, waiter)
    run.attach(pool, waiter, _hire(pool))
    return Launched(run, reader, pool.cancel, pool.drop)


def awaiting(run: Run, where: Place, source: AsyncIterable[Any] | None) -> Launched[Any]:
    """Put together a run whose reader is this task; an async input is iterated in a task beside it."""
    pool: Any
    reader: Any
    waiter: Any
    if loops.running() == "trio":
        from fanmap._drive.drivers import trio  # only where trio runs

        waiter = trio.Waiter()
        pool = threads.Pool() if where == "threads" else trio.Pool()
        reader = trio.Reader(run, waiter)
    else:
        loop = asyncio.get_running_loop()
        waiter = aio_waiter.Waiter(loop)
        pool = (
            threads.Pool(owners.of_asyncio(loop).gone) if where == "threads" else aio.Pool(loop, in_callers_loop=True)
        )
        reader = aio_reader.Reader(run, waiter)
    if source is not None:
        reader.feed_from(source)
    run.attach(pool, waiter, _hire(pool))

    def drop() -> None:
        reader.drop()
        pool.drop()

    return Launched(run, reader, pool.cancel, drop)


def _hire(pool: Any) -> Hire:
    """How a run hires a worker for this pool."""

    def hire(run: Run) -> BaseException | None:
        worker: Any = run.new_worker() or Worker(run.plan, run.outer, run.owner, run)
        run.hired(worker)
        try:
            pool.spawn(worker)
        except BaseException as error:
            if clock.is_no_thread(error):
                run.fired(worker)
                return error
            # Ctrl-C or an alarm's, perhaps before the pool knew of a worker that will be waited for.
            if not pool.abandons:
                pool.spawn(worker)
            raise
        return None

    return hire


def owner(where: Place) -> Owner:
    """Who makes the calls."""
    if where == "threads":
        return THREADS
    return owners.of_asyncio(portal.loop()) if where == "portal" else (owners.running_here() or THREADS)


def with_timeout(where: str, call: Callable[[Any], Any], seconds: float) -> Callable[[Any], Any]:
    """The same call with a bound on its time, as that place has it."""
    if where == "threads":
        return warm_threads.with_timeout(call, seconds)
    if where == "trio":
        from fanmap._drive.drivers import trio  # only where trio runs

        return trio.with_timeout(call, seconds)
    return aio.with_timeout(call, seconds)


@calls_users
def with_pace(where: str, call: Callable[[Any], Any], pace: Pace) -> Callable[[Any], Any]:
    """The same call, which says how long it kept its slot; not one inside another, which has none of its own."""

    def timed(item: Any) -> Any:
        began = clock.now()
        try:
            return call(item)
        finally:
            said(began)

    async def timed_async(item: Any) -> Any:
        began = clock.now()
        try:
            return await call(item)
        finally:
            said(began)

    def said(began: float) -> None:
        scope = current_scope.get()
        permit = None if scope is None else scope.permit
        if permit is not None and permit.lender is None:
            pace.took(clock.now() - began)

    return timed if where == "threads" else timed_async


async def in_thread(job: Callable[[], Any]) -> Any:
    """Run a job in a warm thread, in a copy of this context, and await it; a cancellation leaves it behind."""
    waiter = aio_waiter.Waiter(asyncio.get_running_loop()) if loops.running() == "asyncio" else _trio_waiter()
    result: list[Any] = []
    warm_threads.run_job(job, result, waiter.wake)
    while not result:
        await waiter.wait(None)
    return warm_threads.unwrap(result)


def _trio_waiter() -> Any:
    from fanmap._drive.drivers import trio  # only where trio runs

    return trio.Waiter()
