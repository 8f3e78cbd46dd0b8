"""One worker process of `fanmap run --processes`: calls the function for the rows that it is sent.

It ends when the command does, however that ends: a thread waits for the end of the line to it, and for nothing else.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any, NoReturn

from fanmap._drive.limits.limits import budget_of
from fanmap._failure import CommandError
from fanmap._outcome import Outcome
from fanmap._run import target
from fanmap._run.answers import AnswerNotJson, to_json
from fanmap._run.calling import Call
from fanmap._run.channel import Channel
from fanmap._run.remote import Done, Failure, Orders, failure_of, not_begun
from fanmap._run.sharing import shared_in
from fanmap._stderr import say
from fanmap._ways import Parallel

READY = "ready"
STOP = "stop"


def main() -> None:
    """Work for the command that has started this process."""
    channel = Channel(int(sys.argv[1]))
    try:
        orders: Orders = channel.receive()
    except EOFError:  # the command has ended already
        sys.exit(1)
    try:
        with shared_in(orders.folder):
            function = target.prepare(target.find(orders.function), orders.settings)
    except CommandError as failure:
        say(f"fanmap: in a worker process: {failure}\n")
        sys.exit(failure.status)
    channel.send(READY)
    asyncio.run(_Worker(function, channel, orders.folder).work())


class _Worker:
    def __init__(self, function: Parallel[Any, Any], channel: Channel, folder: str) -> None:
        self._function, self._channel, self._folder = function, channel, folder
        self._inbox: asyncio.Queue[tuple[int, Call]] = asyncio.Queue()
        self._stopped = False
        self._open: dict[int, int] = {}  # numbers of calls without an outcome, by their place in the run
        self._results: Any = None

    async def work(self) -> NoReturn:
        """Run after run: one ends early where nothing is worth starting, and whoever comes later tries again."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop,), name="fanmap-command", daemon=True).start()
        while True:
            if self._stopped:
                self._give_back((await self._inbox.get())[0])
                continue
            self._open.clear()
            self._results = self._function.as_completed(self._calls(), unpack=True, return_exceptions=True)
            try:
                async with self._results as results:
                    async for outcome in results:
                        self._tell(self._open.pop(outcome.index), outcome)
            except Exception as error:  # it ended as a whole: a store that is away
                unheard = list(self._open.values()) or [(await self._inbox.get())[0]]
                for number in unheard:
                    self._send(number, None, failure_of(error, None), 0.0)
            else:
                for number in self._open.values():
                    self._give_back(number)

    # Inside

    async def _calls(self) -> AsyncIterator[Call]:
        place = 0
        while True:
            number, call = await self._inbox.get()
            self._open[place] = number
            place += 1
            yield call

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while True:
                message = self._channel.receive()
                if message == STOP:
                    loop.call_soon_threadsafe(self._stop)
                else:
                    loop.call_soon_threadsafe(self._inbox.put_nowait, message)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)  # nobody shares it any more
            os._exit(0)

    def _stop(self) -> None:
        self._stopped = True
        if self._results is not None:
            self._results.stop()

    def _give_back(self, number: int) -> None:
        self._send(number, None, not_begun(""), 0.0)

    def _tell(self, number: int, outcome: Outcome[Any]) -> None:
        answer, error = None, outcome.error
        if error is None:
            try:
                answer = to_json(outcome.value)
            except AnswerNotJson as not_json:
                error = not_json
        budget = budget_of(self._function.limits)
        failure = None if error is None else failure_of(error, budget.classify)
        self._send(number, answer, failure, outcome.seconds)

    def _send(self, number: int, answer: Any, failure: Failure | None, seconds: float) -> None:
        stats = self._function.stats
        self._channel.send(
            Done(number, answer, failure, seconds, stats.attempts, stats.refused, stats.tokens, stats.ceiling)
        )
