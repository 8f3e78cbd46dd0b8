"""Which crew and which consumer a run gets.

A `def` runs in threads; an `async def` in the caller's own loop where the caller awaits, on the background
loop where the caller blocks.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal

from typing_extensions import TypeVar

from fanmap._drive import aio, loops, portal, threads
from fanmap._drive.notices import tell_of_blocking
from fanmap._drive.run import Run
from fanmap._errors import BridgeError

Place = Literal["threads", "asyncio", "trio", "portal"]
C = TypeVar("C")


@dataclass(frozen=True, slots=True, eq=False)
class Launched(Generic[C]):
    """A run under way: its consumer, and how to cancel its workers.

    Attributes:
        cancel: from the consumer's own thread or task.
        drop: from anywhere, when nobody is left to consume.
    """

    run: Run
    consumer: C
    cancel: Callable[[], None]
    drop: Callable[[], None]


def place(name: str, *, is_async: bool, blocking: bool) -> Place:
    """Where the calls of a run will live, for a caller who blocks or awaits here."""
    if not is_async:
        return "threads"
    if blocking:
        if portal.is_here():
            raise BridgeError(
                f"{name} runs on the background loop, and a blocking call from there would wait for itself: "
                f"write `await {name}.amap(...)`"
            )
        return "portal"
    kind = loops.running()
    if kind is None:
        raise RuntimeError(f"no event loop runs here: write {name}.map(...)")
    return kind


def blocking(run: Run, where: Place) -> Launched[threads.Consumer]:
    """Put together a run whose consumer is this thread; `run.start()` sets it to work."""
    if where == "portal" and loops.running() == "asyncio":
        tell_of_blocking(run.plan.name)
    waiter = threads.Waiter()
    crew = threads.Crew() if where == "threads" else aio.Crew(portal.loop(), in_callers_loop=False)
    consumer = threads.Consumer(run, waiter)
    run.attach(crew, waiter)
    return Launched(run, consumer, crew.cancel, crew.drop)


def awaiting(run: Run, where: Place, source: AsyncIterable[Any] | None) -> Launched[Any]:
    """Put together a run whose consumer is this task; an async input is iterated in a task beside it."""
    crew: Any
    consumer: Any
    waiter: Any
    if loops.running() == "trio":
        from fanmap._drive import trio  # only where trio runs

        waiter = trio.Waiter()
        crew = threads.Crew() if where == "threads" else trio.Crew()
        consumer = trio.Consumer(run, waiter)
    else:
        loop = asyncio.get_running_loop()
        waiter = aio.Waiter(loop)
        crew = threads.Crew() if where == "threads" else aio.Crew(loop, in_callers_loop=True)
        consumer = aio.Consumer(run, waiter)
    if source is not None:
        consumer.feed_from(source)
    run.attach(crew, waiter)

    def drop() -> None:
        consumer.drop()
        crew.drop()

    return Launched(run, consumer, crew.cancel, drop)


def owner(where: Place) -> int | None:
    """The thread whose loop makes the calls; None: threads that nobody else needs."""
    if where == "threads":
        return None
    return portal.thread_id() if where == "portal" else threading.get_ident()


def with_timeout(where: str, call: Callable[[Any], Any], seconds: float) -> Callable[[Any], Any]:
    """The same call with a bound on its time, as that place has it."""
    if where == "threads":
        return threads.with_timeout(call, seconds)
    if where == "trio":
        from fanmap._drive import trio  # only where trio runs

        return trio.with_timeout(call, seconds)
    return aio.with_timeout(call, seconds)


async def in_thread(job: Callable[[], Any]) -> Any:
    """Run a job in a warm thread, in a copy of this context, and await it; a cancellation leaves it behind."""
    waiter = aio.Waiter(asyncio.get_running_loop()) if loops.running() == "asyncio" else _trio_waiter()
    result: list[Any] = []
    threads.run_job(job, result, waiter.wake)
    while not result:
        await waiter.wait(None)
    return threads.unwrap(result)


def _trio_waiter() -> Any:
    from fanmap._drive import trio  # only where trio runs

    return trio.Waiter()
