"""Virtual time for tests: threads, asyncio and trio on one clock that nobody has to wait for."""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from fanmap._drive import clock
from fanmap._drive.drivers import portal, warm_threads
from fanmap._drive.drivers.thread_waiter import Waiter
from fanmap._policy.limits import watching
from fanmap.testing._baton import Baton, Party
from fanmap.testing._loop import VirtualLoop
from fanmap.testing._stuck import who_waits

R = TypeVar("R")

_LAST_WORDS = 1.0  # real seconds for a thread to end when virtual time does


def sleep(seconds: float) -> None:
    """Block this thread for `seconds` of virtual time, or of real time where no VirtualTime is on.

    Same as: `time.sleep(seconds)`, in the bodies of simulated functions.
    """
    clock.world.sleep(seconds)


class VirtualTime:
    """A stretch of virtual time: hours of waiting take milliseconds, and a stuck program is reported.

    Everything that fanmap does inside the block happens on this clock: `map` and direct calls of `def`
    functions right there, `async def` functions under `run` (asyncio) or `run_trio`, more threads with
    `start`; all of them may share one Limits. Functions under test sleep with `asyncio.sleep`,
    `trio.sleep`, `anyio.sleep` or, in threads, with `fanmap.testing.sleep`; a `SimulatedLLM` does so by
    itself.

        def test_an_hour_of_back_off():
            with VirtualTime() as virtual:
                assert ask.map(prompts) == answers       # or: virtual.run(ask.amap(prompts))
                assert virtual.now() > 3600

    Args:
        start: what the clock shows at first, in seconds.
        seed: chooses which of the threads that could run does, so that each seed is another interleaving
            and the same seed the same run; None: the one that waited longest.
        horizon: virtual seconds after which a program that still sets timers counts as stuck.

    Raises:
        Deadlock: out of whatever waits in the thread of the block, when nobody can run and no timer is
            set, within half a second of real time. The message says who waits where.
        RuntimeError: when virtual time is already active.

    Threads: those that fanmap, `start` and `loop.run_in_executor` start are counted: the clock stands
    still while one of them can run. Only one does at a time; it hands on where it waits or sleeps, so
    that one that blocks in any other way (a `queue.get()`) holds up all the others. Threads that others
    start are not counted: time jumps past them, as it does past real sockets.

    Leaving the block ends what still runs: threads that wait get an exception that nobody needs to catch.
    """

    def __init__(self, *, start: float = 0.0, seed: int | None = None, horizon: float = 1e8) -> None:
        self._start = start
        self._horizon = horizon
        self._chance = None if seed is None else random.Random(seed)
        self._baton: Baton
        self._world: _World
        self._joining: dict[threading.Thread, list[Callable[[], None]]] = {}
        self._leave: list[Callable[[], object]] = []

    # For tests

    def now(self) -> float:
        """Seconds of the virtual clock."""
        return self._baton.now

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass for this thread; 0 lets the other threads run first."""
        self._world.sleep(seconds)

    def run(self, main: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on an asyncio loop of its own.

        Same as: `asyncio.run(main)`.
        """
        with asyncio.Runner(loop_factory=self._world.new_event_loop) as runner:
            return runner.run(main)

    def run_trio(self, main: Callable[..., Awaitable[R]], *args: Any) -> R:
        """Run an async function under trio.

        Same as: `trio.run(main, *args)`.
        """
        from fanmap.testing._trio import run  # only where trio is installed

        return run(self._baton, main, *args)

    def start(self, function: Callable[..., object], *args: Any, name: str = "started by the test") -> threading.Thread:
        """Start a thread that counts. It first runs when this one waits; wait for its end with `join`."""

        def main() -> None:
            try:
                function(*args)
            finally:
                for wake in self._joining.pop(thread):
                    wake()

        thread = self._world.start_thread(main, name)
        self._joining[thread] = []
        return thread

    def join(self, thread: threading.Thread) -> None:
        """Wait until a thread from `start` has ended."""
        waiter = Waiter()
        if thread in self._joining:
            self._joining[thread].append(waiter.wake)
        while thread in self._joining:
            waiter.wait(None)

    # The block

    def __enter__(self) -> Self:
        if isinstance(clock.world, _World):
            raise RuntimeError("virtual time is already active: its blocks cannot be nested")
        self._baton = baton = Baton(self._start, self._start + self._horizon, self._chance, who_waits)
        self._world = _World(baton)
        pool, place, world = warm_threads.use(warm_threads.WarmThreads()), portal.use(None), clock.enter(self._world)
        source = clock.install(lambda: baton.now)
        # Nobody's loop or thread is lost here, and a wake-up that is would be hidden by a guard.
        guard, watching.guard = watching.guard, None
        self._leave = [
            lambda: setattr(watching, "guard", guard),
            lambda: clock.install(source),
            lambda: clock.enter(world),
            lambda: portal.use(place),
            lambda: warm_threads.use(pool),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            portal.use(None)  # or it would run again
            self._world.stop_loops()
        self._baton.stop()
        self._world.end()
        for step in self._leave:
            step()


class _World:
    """How fanmap starts threads and waits in them while virtual time is on: the world of `_drive.clock`."""

    def __init__(self, baton: Baton) -> None:
        self._baton = baton
        self._loops: list[VirtualLoop] = []
        self._threads: list[threading.Thread] = []

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass for this thread; 0 lets the other threads run first."""
        if seconds > 0:
            self._baton.park(self._baton.now + seconds)
        else:
            self._baton.pause()

    def new_lock(self) -> clock.Lock:
        """What a thread waits on."""
        return Signal(self._baton)

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """An asyncio loop on this clock, for `asyncio.Runner(loop_factory=...)`."""
        loop = VirtualLoop(self._baton, lambda job: self.start_thread(job, "executor"))
        self._loops.append(loop)
        return loop

    def start_thread(self, main: Callable[[], None], name: str) -> threading.Thread:
        """Start a daemon that counts."""
        party = Party(name)
        party.thread = threading.Thread(target=self._baton.live, args=(party, main), name=name, daemon=True)
        party.thread.start()
        self._threads.append(party.thread)
        self._baton.begin(party)
        return party.thread

    def stop_loops(self) -> None:
        """Stop the loops that run, and let them see it."""
        running = [loop for loop in self._loops if loop.is_running()]
        for loop in running:
            loop.call_soon_threadsafe(loop.stop)
        for _ in range(100):
            if not any(loop.is_running() for loop in running):
                break
            self._baton.pause()

    def end(self) -> None:
        """Wait for what still runs, now that the baton has stopped it, and close the loops."""
        for thread in self._threads:
            thread.join(_LAST_WORDS)
        for loop in self._loops:
            if not loop.is_running():
                loop.close()


class Signal:
    """As much of a lock as `Waiter` waits on: acquired by one thread, released by any."""

    __slots__ = ("_baton", "_locked", "_waiting")

    def __init__(self, baton: Baton) -> None:
        self._baton = baton
        self._locked = False
        self._waiting: Party | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Wait in virtual time until it is released."""
        baton = self._baton
        if self._locked and blocking:
            self._waiting = baton.me()
            try:
                until = math.inf if timeout < 0 or timeout >= threading.TIMEOUT_MAX else baton.now + timeout
                baton.park(until, unless=lambda: not self._locked)
            finally:
                self._waiting = None
        if self._locked:
            return False
        self._locked = True
        return True

    def release(self) -> None:
        """From any thread; RuntimeError when it is not held."""
        if not self._locked:
            raise RuntimeError("release of a lock that is not held")
        self._locked = False
        if self._waiting is not None:
            self._baton.wake(self._waiting)
