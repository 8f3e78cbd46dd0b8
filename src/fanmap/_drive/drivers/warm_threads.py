"""The warm threads of this process: each runs one job after the other.

They are our own daemons: `concurrent.futures` joins its threads at the interpreter's exit, so that Ctrl-C one second
into an eight-second call exits seven seconds later.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from fanmap._drive import clock
from fanmap._drive.drivers.contexts import taken_elsewhere
from fanmap._drive.drivers.thread_state import ThreadState
from fanmap._drive.drivers.thread_waiter import Waiter
from fanmap._errors import check_exit, left_behind
from fanmap._public import calls_users
from fanmap._raw import is_a

_KEEP_WARM = 10.0  # seconds an idle thread waits for more work
_PATIENCE = 6  # times as long it waits for the job of somebody who has taken it out: Ctrl-C may have cut that off


class _Thread:
    """A warm thread: runs one job after the other, waits a while, ends."""

    __slots__ = ("job", "others", "waiter")

    def __init__(self, others: WarmThreads, job: Callable[[], None]) -> None:
        self.others = others
        self.job: Callable[[], None] | None = job
        self.waiter = Waiter()

    def main(self) -> None:
        idle, state = self.others.idle, ThreadState()
        patience = _PATIENCE
        while patience:
            job, self.job = self.job, None
            if job is not None:
                patience = _PATIENCE
                job()
                del job
                state.put_back()
                idle.append(self)
            self.waiter.wait(_KEEP_WARM)
            if self.job is None:
                try:
                    idle.remove(self)
                except ValueError:  # somebody has taken it out: a job is on its way
                    patience -= 1
                    continue
                if self.job is None:
                    return


class WarmThreads:
    """The warm threads of this process (or of one stretch of virtual time).

    No lock, which the collector could run a user's code under: an idle thread is in a deque, and whoever takes it out
    has it, be it somebody with a job or, when it has been idle for long enough, the thread itself.

    Last in, first out, so that threads which are not needed get cold. A thread tells of its job's result before it is
    idle again, so that whoever waits for that result and runs the next job at once may find it busy still and start
    one thread more: 17 for 16 at once, in one of two runs. To be idle first and tell then would let somebody's next
    job wait behind the telling of this one.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.idle: deque[_Thread] = deque()

    def run(self, job: Callable[[], None]) -> None:
        """Run a job that never raises, in a thread of its own, now."""
        check_exit()
        try:
            thread = self.idle.pop()
        except IndexError:
            clock.world.start_thread(_Thread(self, job).main, "fanmap-worker")
        else:
            thread.job = job
            thread.waiter.wake()


current = WarmThreads()


def use(threads: WarmThreads) -> WarmThreads:
    """Run everything in these threads from now on; returns those that they replace."""
    global current
    previous, current = current, threads
    return previous


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: current.reset())


@calls_users
def run_job(job: Callable[[], Any], result: list[Any], wake: Callable[[], None]) -> None:
    """Run it in a warm thread, in a copy of this context; then `result` holds what it came to, for `unwrap`."""
    context = taken_elsewhere()

    def main() -> None:
        try:
            result.append((context.run(job), None))
        except BaseException as error:
            result.append((None, error))
        with suppress(RuntimeError):  # who waited may be gone, and its loop closed
            wake()

    current.run(main)


def unwrap(result: list[Any]) -> Any:
    """What a job returned; raises what it raised."""
    value, error = result.pop()
    if error is None:
        return value
    try:
        if is_a(error, StopIteration):
            raise RuntimeError("the function raised StopIteration") from error
        raise error
    finally:
        del error


def with_timeout(call: Callable[[Any], Any], seconds: float) -> Callable[[Any], Any]:
    """The same call with a bound on its time: it runs in a thread of its own, which is left behind when late."""

    def timed(item: Any) -> Any:
        waiter = Waiter()
        result: list[Any] = []
        run_job(partial(call, item), result, waiter.wake)
        end = clock.now() + seconds
        while not result and (left := end - clock.now()) > 0:
            waiter.wait(left)
        if not result:
            raise left_behind(seconds)
        return unwrap(result)

    return timed
