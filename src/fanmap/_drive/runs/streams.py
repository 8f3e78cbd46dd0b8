"""Reading the stream that an item of a run has returned: by its worker, slot in hand, chunk by chunk.

Imported by the first run that has one.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from fanmap._drive.drivers import loops, thread_waiter, warm_threads
from fanmap._drive.drivers.tasks import Waiter
from fanmap._drive.runs import launch
from fanmap._drive.runs.worker import Worker
from fanmap._errors import Stopped
from fanmap._policy.streams import LAST, Whole

OVER: Final = object()  # instead of a chunk: StopIteration does not pass through threads and coroutines


class HandedOut:
    """A chunk on its way to the reader, whose item goes on when it has been taken."""

    __slots__ = ("_wake", "taken")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.taken = False

    def take(self) -> None:
        """The reader has it."""
        self.taken = True
        with suppress(RuntimeError):  # its loop is closed
            self._wake()


def next_chunk(stream: Any) -> Any:
    """The next chunk; OVER: there is none."""
    return next(stream, OVER)


async def next_chunk_async(stream: Any) -> Any:
    """The same of an async stream."""
    try:
        return await stream.__anext__()
    except StopAsyncIteration:
        return OVER


def close(stream: Any) -> None:
    """No more of it; what that raises is nobody's."""
    with suppress(Exception):
        stream.close()


async def close_async(stream: Any) -> None:
    """The same of an async stream."""
    end = getattr(stream, "aclose", None) or stream.close
    with suppress(Exception):
        await end()


def read(worker: Worker, waiter: thread_waiter.Waiter) -> Whole:
    """Read it to its end in this thread; what it sets in its context stays there."""
    plan, (stream, kind) = worker.plan, worker.stream or (None, "sync")
    if kind == "async":
        return Whole([], False, TypeError(f"{plan.name} returned an async stream: decorate an `async def` instead"))
    keeps = plan.streams == "read"
    run_in_it: Callable[..., Any] = contextvars.copy_context().run
    step: Callable[[Any], Any] = partial(run_in_it, next_chunk)
    if plan.timeout is not None:  # threads make its chunks, one after the other
        step = warm_threads.with_timeout(step, plan.timeout)
    chunks: list[Any] = []
    begun, error = False, None
    try:
        while (chunk := step(stream)) is not OVER:
            begun = True
            chunks.append(chunk)
            if not keeps:
                handed = HandedOut(worker.wake)
                worker.run.hand_out(worker.index, chunk, handed.take)
                del chunks[:-LAST], chunk
                worker.stream_stands(worker.run.read_by)
                while not handed.taken and not worker.run.abandoned():
                    waiter.wait(None)
                worker.stream_goes_on()
            if worker.run.abandoned():
                raise Stopped
    except BaseException as failure:
        error = failure
    try:
        run_in_it(close, stream)
    except RuntimeError:  # a chunk that is late is still made in there
        close(stream)
    try:
        return Whole(chunks, begun, error)
    finally:
        del error


async def read_async(worker: Worker, waiter: Waiter, ends: Callable[[BaseException], bool]) -> Whole:
    """Read it to its end in this task."""
    plan, (stream, kind) = worker.plan, worker.stream or (None, "sync")
    awaits = kind == "async"
    step: Callable[[Any], Any] = next_chunk_async if awaits else next_chunk
    if plan.timeout is not None and awaits:
        step = launch.with_timeout(loops.running() or "asyncio", step, plan.timeout)
    keeps = plan.streams == "read"
    chunks: list[Any] = []
    begun, error = False, None
    try:
        while (chunk := await step(stream) if awaits else step(stream)) is not OVER:
            begun = True
            chunks.append(chunk)
            if not keeps:
                handed = HandedOut(worker.wake)
                worker.run.hand_out(worker.index, chunk, handed.take)
                del chunks[:-LAST], chunk
                worker.stream_stands(worker.run.read_by)
                while not handed.taken and not worker.run.abandoned():
                    await waiter.wait(None)
                worker.stream_goes_on()
    except BaseException as failure:
        if ends(failure):
            await _close(stream, awaits=awaits)
            raise
        error = failure
    await _close(stream, awaits=awaits)
    try:
        return Whole(chunks, begun, error)
    finally:
        del error


async def _close(stream: Any, *, awaits: bool) -> None:
    if awaits:
        await close_async(stream)
    else:
        close(stream)
