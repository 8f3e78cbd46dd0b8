"""The worker processes of `fanmap run --processes`, as the command has them: a row goes to whoever has the fewest.

All else stays in the command: rows in order, the journal, progress, signals.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, cast

from fanmap import Limits, parallel_map
from fanmap._callables import innermost
from fanmap._failure import CommandError
from fanmap._run.process import Worker
from fanmap._run.remote import Done, NotRunThere, Orders, WorkerDied, exception_of, verdict_of
from fanmap._run.target import Settings
from fanmap._run.worker import STOP
from fanmap._usage import NO_USAGE
from fanmap._ways import Parallel
from fanmap.types import RunStats, Summary

_DEATHS: Final = 3  # in a row, after which no other worker is started


class Processes:
    """So many worker processes; enter it in the loop of the command.

    Args:
        count: of processes.
        ceiling: calls under way over all of them, at first.
        function, settings: for each of them.
        fail: is told why no worker is started any more.

    Attributes:
        on_stop: is called when a process says that nothing is worth starting any more.
    """

    def __init__(self, count: int, ceiling: int, function: str, settings: Settings) -> None:
        self.fail: Callable[[CommandError], None] = _ignore
        self.on_stop: Callable[[], None] = _nothing
        self._count, self._ceiling = count, ceiling
        self._orders = Orders(function, settings, "")
        self._workers: list[Worker] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)
        self._room = asyncio.Condition()
        self._gone: list[Done] = []  # where those stood that have died
        self._deaths = 0
        self._begun = self._stopped = self._closing = False
        self._seconds = 0.0

    async def __aenter__(self) -> None:
        self._orders = replace(self._orders, folder=tempfile.mkdtemp(prefix="fanmap-run-"))
        try:
            for _ in range(self._count):
                self._start()
        except OSError as error:
            for task in self._tasks:  # none has begun, and they would talk over what is closed now
                task.cancel()
            many = f"{len(self._workers)} of {self._count} worker processes could be started"
            await self.__aexit__()
            raise CommandError(f"{many}: {error.strerror}", status=1) from error

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        workers, self._workers = self._workers, []
        self._gone += [worker.last for worker in workers]
        await asyncio.gather(*(worker.end() for worker in workers))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        shutil.rmtree(self._orders.folder, ignore_errors=True)

    async def call(self, call: Any) -> Any:
        """Call the function in one of the processes.

        Raises:
            StandIn: as the function's own exception. NotRunThere: it was not begun.
        """
        async with self._room:
            await self._room.wait_for(lambda: self._stopped or self._has_room())
            if self._stopped:
                raise NotRunThere("nothing was left to start")
            worker = min(self._ready(), key=lambda one: len(one.calls))
            number = next(self._numbers)
            future = worker.calls[number] = asyncio.get_running_loop().create_future()
            worker.send((number, call))
        done: Done = await future
        self._seconds += done.seconds
        if done.failure is not None:
            raise exception_of(done.failure)
        return done.answer

    def stop(self) -> None:
        """Calls under way end, nothing else starts."""
        if not self._stopped:
            self._stopped = True
            for worker in self._workers:
                if worker.ready:
                    worker.send(STOP)
            self._wake()

    # What it comes to

    def seen(self, stats: RunStats) -> RunStats:
        """The command's own numbers, with those of the processes."""
        return replace(stats, refused=sum(one.refused for one in self._lasts()), ceiling=self._ceiling)

    def told(self, summary: Summary) -> Summary:
        """The same of what a run came to."""
        lasts = self._lasts()
        tokens = NO_USAGE
        for one in lasts:
            tokens = tokens + one.tokens
        failed = dict(summary.failed)
        if unbegun := failed.pop(NotRunThere.__name__, 0):
            failed["NotRun"] = failed.get("NotRun", 0) + unbegun
        return replace(
            summary,
            failed=failed,
            attempts=sum(one.attempts for one in lasts),
            refused=sum(one.refused for one in lasts),
            tokens=tokens,
            slowest=(),  # what is known of them here has the time in line in it
            speedup=self._seconds / summary.seconds if summary.seconds else 0.0,
        )

    # Inside

    def _lasts(self) -> list[Done]:
        return [*self._gone, *(worker.last for worker in self._workers)]

    def _ready(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.ready]

    def _has_room(self) -> bool:
        under_way = sum(len(worker.calls) for worker in self._workers)
        # Whoever is ready first would have all slots for as long as its calls take.
        self._begun = self._begun or all(worker.ready for worker in self._workers)
        return self._begun and under_way < self._ceiling + self._count and bool(self._ready())

    def _start(self) -> None:
        worker = Worker(self._orders)
        self._workers.append(worker)
        task = asyncio.get_running_loop().create_task(self._follow(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, worker: Worker) -> None:
        await worker.run(self._wake, self._hear)
        if not self._closing:
            self._lost(worker, await asyncio.to_thread(worker.process.wait))
            await worker.end()

    def _hear(self, worker: Worker, done: Done) -> None:
        self._deaths = 0
        worker.last = done
        self._ceiling = max(1, done.ceiling)
        future = worker.calls.pop(done.number, None)
        if future is not None and not future.done():
            future.set_result(done)
        if done.failure is not None and done.failure.not_run and not self._stopped:
            self.stop()
            self.on_stop()
        self._wake()

    def _lost(self, worker: Worker, status: int) -> None:
        """Its rows are errors: whether their calls did something is not known."""
        self._workers.remove(worker)
        self._gone.append(worker.last)
        self._deaths += 1
        how = f"signal {-status}" if status < 0 else f"status {status}"
        for future in worker.calls.values():
            if not future.done():
                future.set_exception(WorkerDied(f"its worker process died ({how})"))
        if not self._stopped:
            self._replace(how)
        self._wake()

    def _replace(self, how: str) -> None:
        """Start another worker in place of one that has died like this, or give up."""
        failure = f"{_DEATHS} worker processes in a row have died ({how})"
        if self._deaths < _DEATHS:
            try:
                self._start()
                return
            except OSError as error:
                failure = f"a worker process has died ({how}), and no other could be started: {error.strerror}"
        self.stop()
        self.fail(CommandError(failure, status=1))

    def _wake(self) -> None:
        async def wake() -> None:
            async with self._room:
                self._room.notify_all()

        task = asyncio.get_running_loop().create_task(wake())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _ignore(_: CommandError) -> None:
    pass


def _nothing() -> None:
    pass


def proxied(function: Parallel[Any, Any], processes: Processes, count: int) -> Parallel[Any, Any]:
    """The function, called in the processes: as itself by its name, its parameters and its kept answers."""
    plain: Any = function._function  # pyright: ignore[reportPrivateUsage]

    async def call(*args: Any, **kwargs: Any) -> Any:
        return await processes.call(kwargs or args)

    named: Any = innermost(plain)
    there: Any = call
    functools.update_wrapper(there, named if hasattr(named, "__qualname__") else cast("type[Any]", type(named)))
    del there.__wrapped__
    with suppress(TypeError, ValueError):  # a builtin that does not say
        there.__signature__ = inspect.signature(plain)
    # One waits in each process, so that it goes on while the next is on its way.
    limits = Limits(function.limits.max_concurrency + count, classify=verdict_of)
    return cast("Parallel[Any, Any]", parallel_map(limits=limits, retry=False)(there))
