"""The task that asked for a run, on asyncio: feeds the input, awaits results."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, Callable
from contextlib import suppress
from typing import Any

from fanmap._drive.drivers import tasks
from fanmap._drive.drivers.aio_waiter import Waiter, new_waiter
from fanmap._drive.runs.run import Run
from fanmap._drive.runs.turn import Turn
from fanmap._policy.runs.results import Record


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

    def feeds_here(self) -> bool:
        """Is this the task that iterates the input?"""
        return self.me() is self._feeder

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
        shield: Any = None
        try:
            while (turn is not None and not turn.held_by(me)) or not run.settled():
                try:
                    if turn is not None:
                        await self.take_turn(turn, me)
                    if not run.settled():
                        await self._waiter.wait(None)
                except asyncio.CancelledError as error:
                    cancelled = error
                    if shield is None and _comes_again(error):
                        shield = _shield()
                    else:
                        cancel()
            run.close()
        finally:
            if shield is not None:
                with suppress(RuntimeError):  # the coroutine is closed, out of its task
                    shield.__exit__(None, None, None)
            if turn is not None and not inside:
                turn.give_back(me)
        if cancelled is not None:
            raise cancelled


def _comes_again(error: asyncio.CancelledError) -> bool:
    """Is it from a cancel scope of anyio's? That one is asked for anew in every turn of the loop.

    To pass on each would cut the items' own clean-up short, at its next `await`.
    """
    text: object = error.args[0] if error.args else None
    return isinstance(text, str) and text.startswith("Cancelled ") and " cancel scope " in text


def _shield() -> Any:
    """Entered: that scope asks no more, until what is under way has ended; asyncio's own cancellations still come."""
    import anyio  # it is there, where one of its scopes is

    scope = anyio.CancelScope(shield=True)
    scope.__enter__()
    return scope
