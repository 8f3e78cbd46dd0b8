"""trio in virtual time. Imported only where trio runs.

A clock of our own where trio's MockClock would do for tasks alone: MockClock does not know of threads,
would jump past those that run a `def`, and hangs where nobody can run.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio
from typing_extensions import override

from fanmap.testing._baton import Baton, Deadlock
from fanmap.testing._stuck import stack_top

R = TypeVar("R")


def run(baton: Baton, main: Callable[..., Awaitable[R]], *args: Any) -> R:
    """As `trio.run`, on the baton's clock."""
    clock = _Clock(baton)

    async def guarded() -> R:
        with trio.CancelScope() as clock.scope:
            return await main(*args)
        assert clock.deadlock is not None
        raise clock.deadlock

    try:
        return trio.run(guarded, clock=clock, instruments=[clock.activity])
    except trio.TrioInternalError as error:
        if isinstance(error.__cause__, Deadlock):  # what the deadlock's cancellation could not end
            raise error.__cause__ from None
        raise


class _Activity(trio.abc.Instrument):
    """Has any task run since the last look?"""

    def __init__(self) -> None:
        self.seen = True

    @override
    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.seen = True


class _Clock(trio.abc.Clock):
    """Asked by trio how long to sleep, it lets others run for so long and says: not at all."""

    def __init__(self, baton: Baton) -> None:
        self._baton = baton
        self.activity = _Activity()
        self.scope: trio.CancelScope | None = None
        self.deadlock: Deadlock | None = None

    @override
    def start_clock(self) -> None:
        pass

    @override
    def current_time(self) -> float:
        return self._baton.now

    @override
    def deadline_to_sleep_time(self, deadline: float) -> float:
        baton = self._baton
        if self.activity.seen:
            self.activity.seen = False
            baton.pause()
            return 0.0  # trio looks for itself whether something woke it; then it asks again
        me = baton.me()
        me.probed, me.tasks = baton.turn, _tasks
        try:
            baton.park(deadline)
        except Deadlock as error:
            if self.scope is None or self.deadlock is not None:
                raise
            self.deadlock = error
            self.scope.cancel()
        finally:
            me.probed = me.tasks = None
        return 0.0


def _tasks() -> list[str]:
    """The tasks of this thread's run of trio, where it is this thread's."""
    try:
        root = trio.lowlevel.current_root_task()
    except RuntimeError:
        return []
    found: list[trio.lowlevel.Task] = []
    pending = [] if root is None else [root]
    while pending:
        task = pending.pop()
        found.append(task)
        pending += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return sorted(f"{task.name}: {stack_top(_stack(task))}" for task in found)


def _stack(task: trio.lowlevel.Task) -> list[tuple[str, str, int]]:
    frames = [(frame.f_code.co_name, frame.f_code.co_filename, line) for frame, line in task.iter_await_frames()]
    inside = os.path.dirname(trio.__file__)
    return [frame for frame in reversed(frames) if not frame[1].startswith(inside)] or frames[::-1]
