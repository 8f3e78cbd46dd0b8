"""The background loop: one asyncio loop in one daemon thread, for as long as the process lives.

A client and its connection pool belong to the loop they first ran on; on this one they outlive every call.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from fanmap._drive import clock, threads

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


def loop() -> asyncio.AbstractEventLoop:
    """The background loop, started when first asked for."""
    global _loop, _thread
    with _lock:
        if _loop is None or _thread is None:  # `is_alive` says no for ever once Ctrl-C has hit it (bpo-45274)
            _loop = clock.world.new_event_loop()
            _thread = clock.world.start_thread(partial(_main, _loop), "fanmap-loop")
        return _loop


Place = tuple[asyncio.AbstractEventLoop | None, threading.Thread | None]


def use(place: Place) -> Place:
    """Have the background loop there (None: start one when first asked for); returns where it was."""
    global _loop, _thread
    with _lock:
        previous = _loop, _thread
        _loop, _thread = place
    return previous


def thread_id() -> int:
    """The identity of the background loop's thread."""
    loop()
    assert _thread is not None and _thread.ident is not None
    return _thread.ident


def is_here() -> bool:
    """Is this the background loop's own thread?"""
    return _thread is not None and threading.get_ident() == _thread.ident


def _main(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while True:
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit):  # out of somebody's task, which keeps it: the others go on
            continue
        return


def _after_fork_in_child() -> None:
    global _lock, _loop, _thread
    _lock = threading.Lock()
    _loop = _thread = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def run(make: Callable[[], Coroutine[Any, Any, Any]], patience: Callable[[], float | None] | None = None) -> Any:
    """Run one coroutine on the background loop, in a copy of the caller's context, and wait for it.

    `patience` says before each wait how many seconds it may last, or raises.

    Ctrl-C cancels it, waits for its own clean-up, and surfaces; a second one does not wait.
    """
    there = loop()
    waiter = threads.Waiter()
    context = contextvars.copy_context()
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
        _wait(tasks, waiter, patience)
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


def _wait(
    tasks: list[asyncio.Task[Any]], waiter: threads.Waiter, patience: Callable[[], float | None] | None = None
) -> None:
    while not (tasks and tasks[0].done()):
        waiter.wait(None if patience is None else patience())
