"""Which crew and which consumer a run gets.

A `def` runs in threads; an `async def` in the caller's own loop where the caller awaits, on the background
loop where the caller blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal

from typing_extensions import TypeVar

from fanmap._drive import aio, loops, portal, threads
from fanmap._drive.run import Run
from fanmap._errors import BridgeError

Place = Literal["threads", "asyncio", "trio", "portal"]
Droppable = Callable[[], None]
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
    """Start a run whose consumer is this thread."""
    waiter = threads.Waiter()
    crew = threads.Crew() if where == "threads" else aio.Crew(portal.loop(), in_callers_loop=False)
    consumer = threads.Consumer(run, waiter)
    run.start(crew, waiter)
    return Launched(run, consumer, crew.cancel, crew.drop)


def awaiting(run: Run, where: Place, source: AsyncIterable[Any] | None) -> Launched[Any]:
    """Start a run whose consumer is this task; an async input is iterated in a task beside it."""
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
    run.start(crew, waiter)

    def drop() -> None:
        consumer.drop()
        crew.drop()

    return Launched(run, consumer, crew.cancel, drop)
