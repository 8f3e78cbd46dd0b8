"""The background loop: one asyncio loop in one daemon thread, for as long as the process lives.

A client and its connection pool belong to the loop they first ran on; on this one they outlive every call.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from fanmap._drive import clock
from fanmap._drive.drivers import loops
from fanmap._drive.drivers.contexts import taken_elsewhere
from fanmap._drive.drivers.thread_waiter import Waiter, waiter_here
from fanmap._errors import check_exit
from fanmap._public import calls_users


@dataclass(eq=False, slots=True)
class Background:
    """The loop, and the thread in which it runs (None: it is being started)."""

    loop: asyncio.AbstractEventLoop
    thread: threading.Thread | None = None


_background: dict[int, Background] = {}  # empty, or {0: it}: `setdefault` is one atomic step, and no lock is held


def loop() -> asyncio.AbstractEventLoop:
    """The background loop, started when first asked for."""
    check_exit()
    background = _background.get(0)
    if background is None:
        mine = Background(clock.world.new_event_loop())
        background = _background.setdefault(0, mine)
        if background is mine:
            try:
                mine.thread = clock.world.start_thread(partial(_main, mine.loop), "fanmap-loop")
            except BaseException as error:  # Ctrl-C, or no more threads
                _background.clear()
                if clock.is_no_thread(error):
                    mine.loop.close()
                raise
        else:  # another thread was faster; until its loop runs, it keeps what it is told
            mine.loop.close()
    return background.loop


def use(background: Background | None) -> Background | None:
    """Have this background loop (None: start one when first asked for); returns the one that was."""
    previous = _background.pop(0, None)
    if background is not None:
        _background[0] = background
    return previous


def is_here() -> bool:
    """Is this the background loop's own thread?"""
    background = _background.get(0)
    thread = None if background is None else background.thread
    return thread is not None and threading.get_ident() == thread.ident


def would_wait_for_itself() -> bool:
    """Is this the background loop's own thread, or a call of a run for which that thread waits?"""
    return is_here() or _blocked.get()[0]


def block() -> Callable[[], None]:
    """This thread, the background loop's, waits from now on for calls that begin here; until what is returned runs."""
    block = [True]
    before = _blocked.set(block)

    def end() -> None:
        block[0] = False  # for those that have copies of this context
        _blocked.reset(before)

    return end


_blocked: contextvars.ContextVar[list[bool]] = contextvars.ContextVar("fanmap_blocked", default=[False])  # noqa: B039


def _main(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loops.lives_here(loop)
    while True:
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit):  # out of somebody's task, which keeps it: the others go on
            continue
        background = _background.get(0)
        if background is None or background.loop is not loop:
            return  # it is used no more; else somebody's task has stopped it: the others go on


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_background.clear)


@calls_users
def run(make: Callable[[], Coroutine[Any, Any, Any]], patience: Callable[[Waiter], float | None] | None = None) -> Any:
    """Run one coroutine on the background loop, in a copy of the caller's context, and wait for it.

    `patience`, given who waits, says before each wait how many seconds it may last, or raises.

    Ctrl-C, or the cancellation of the task that blocks here, cancels it, waits for its own clean-up, and surfaces; a
    second Ctrl-C does not wait.
    """
    there = loop()
    waiter, blocked = waiter_here(), loops.BlockedTask()
    context = taken_elsewhere()
    tasks: list[asyncio.Task[Any]] = []

    async def job() -> tuple[Any, BaseException | None]:
        try:
            return await make(), None
        except (KeyboardInterrupt, SystemExit) as error:  # they would end the loop
            return None, error

    def start() -> None:
        task = there.create_task(job(), context=context)
        tasks.append(task)
        task.add_done_callback(lambda _: waiter.wake())

    def cancel() -> None:
        for task in tasks:
            task.cancel()

    there.call_soon_threadsafe(start)
    try:
        _wait(tasks, waiter, lambda: blocked.bound(None if patience is None else patience(waiter)))
    except BaseException:
        there.call_soon_threadsafe(cancel)
        _wait(tasks, waiter)
        task = tasks[0]
        if not task.cancelled():
            task.exception()  # retrieved: Ctrl-C is what the caller sees
        raise
    task = tasks.pop()
    try:
        value, error = task.result()
        if error is not None:
            raise error
        return value
    finally:
        error = None
        del task


def _wait(tasks: list[asyncio.Task[Any]], waiter: Waiter, patience: Callable[[], float | None] | None = None) -> None:
    while not (tasks and tasks[0].done()):
        waiter.wait(None if patience is None else patience())
