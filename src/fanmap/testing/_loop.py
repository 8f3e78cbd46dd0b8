"""An asyncio loop in virtual time: its selector polls, then lets others run until its next timer."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, cast

from typing_extensions import override

from fanmap.testing._baton import Baton
from fanmap.testing._stuck import stack_top

_Events = list[tuple[selectors.SelectorKey, int]]


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop; its time is the baton's.

    Args:
        baton: whom it shares time with.
        run_job: starts a thread that counts, for `run_in_executor`.
    """

    def __init__(self, baton: Baton, run_job: Callable[[Callable[[], None]], object]) -> None:
        self._baton = baton
        self._run_job = run_job
        self._jobs: set[asyncio.Future[None]] = set()  # those of the executor that have not ended
        super().__init__(_Selector(baton, self))

    @override
    def time(self) -> float:
        return self._baton.now

    @override
    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """As ever; without an executor of your own the thread is one that counts."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        future: asyncio.Future[Any] = self.create_future()
        ended: asyncio.Future[None] = self.create_future()
        self._jobs.add(ended)

        def settle(result: Any, error: BaseException | None) -> None:
            self._jobs.discard(ended)
            ended.set_result(None)
            if future.cancelled():
                return
            future.set_result(result) if error is None else future.set_exception(error)

        def job() -> None:
            try:
                result, error = func(*args), None
            except BaseException as failure:
                result, error = None, failure
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                self.call_soon_threadsafe(settle, result, error)

        self._run_job(job)
        return future

    @override
    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """As ever: a runner that closes waits for the executor's threads, in virtual time."""
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=timeout)
        await super().shutdown_default_executor()


class _Selector(selectors.BaseSelector):
    """A real selector that never blocks: where it would, others run and time passes."""

    def __init__(self, baton: Baton, loop: asyncio.AbstractEventLoop) -> None:
        self._baton = baton
        self._loop = loop
        self._real = selectors.DefaultSelector()

    @override
    def select(self, timeout: float | None = None) -> _Events:
        baton, poll = self._baton, partial(self._real.select, 0)
        baton.pause()
        events = poll()
        if events or (timeout is not None and timeout <= 0):
            return events

        def look() -> bool:
            nonlocal events
            events = poll()
            return bool(events)

        me = baton.me()
        me.look, me.tasks = look, partial(_tasks_of, self._loop)
        try:
            baton.park(math.inf if timeout is None else baton.now + timeout)
        finally:
            me.look = me.tasks = None
        return events or poll()

    @override
    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    @override
    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    @override
    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    @override
    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    @override
    def close(self) -> None:
        self._real.close()


def _tasks_of(loop: asyncio.AbstractEventLoop) -> list[str]:
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    return [f"{task.get_name()}: {stack_top(_stack(task.get_coro()))}" for task in tasks]


def _stack(awaited: object) -> list[tuple[str, str, int]]:
    """Where a coroutine stands, innermost first."""
    stack: list[tuple[str, str, int]] = []
    frame: FrameType | None
    while awaited is not None:
        if isinstance(awaited, CoroutineType):
            frame, awaited = awaited.cr_frame, awaited.cr_await
        elif isinstance(awaited, AsyncGeneratorType):
            frame, awaited = awaited.ag_frame, awaited.ag_await
        elif isinstance(awaited, GeneratorType):
            frame, awaited = awaited.gi_frame, cast("object", awaited.gi_yieldfrom)
        else:
            break
        if frame is not None:
            stack.append((frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno))
    return stack[::-1]
