"""One script, played by threads, asyncio, asyncio with eager tasks, and trio: the same outcomes at the same times.

A script says for every item how long each of its attempts takes and how it ends. Latencies are drawn so that no
two things happen at one moment; then nothing is left to the scheduler, and every driver must do the same.
"""

from __future__ import annotations

import asyncio
import sys
from random import Random

import pytest
import tenacity
import trio

from fanmap import Adaptive, Limits, Rate, Retry, parallel_map
from fanmap._drive.limits.limits import budget_of
from fanmap.testing import SimulatedAPIError, VirtualTime, sleep


class Script:
    """What is to happen, from a seed."""

    def __init__(self, seed):
        dice = Random(f"script {seed}")
        self.size = dice.randint(1, 25)
        self.attempts = [[self.fate(dice) for _ in range(6)] for _ in range(self.size)]
        self.at_once = dice.choice((1, 3, 8, Adaptive(2, 1, 8)))
        self.rate = dice.choice((None, None, Rate(5, per=dice.uniform(3, 9))))
        self.retry = dice.choice((None, False, Retry(3, wait=tenacity.wait_fixed(dice.uniform(0.1, 2)))))
        self.method = dice.choice(("imap", "as_completed"))
        self.keep = dice.random() < 0.5
        self.deadline = dice.uniform(3, 30) if dice.random() < 0.3 else None
        self.pauses = [dice.uniform(0, 1) if dice.random() < 0.3 else 0.0 for _ in range(self.size)]
        self.stop_at = dice.randint(1, 20) if dice.random() < 0.2 else None

    def fate(self, dice):
        latency = dice.uniform(0.1, 5)
        kind = dice.choice(("ok", "ok", "ok", "ok", "lost", "refused", "wrong"))
        error = {
            "ok": None,
            "lost": SimulatedAPIError("lost", 500, {}, {}),
            "refused": SimulatedAPIError("wait", 429, {"retry-after": f"{dice.uniform(0.5, 4):.6f}"}, {}),
            "wrong": ValueError("wrong"),
        }[kind]
        return latency, error

    def play(self, function, log):
        """The function under test, and where it tells of what happened."""
        limits = Limits(self.at_once, rate=() if self.rate is None else self.rate)
        budget_of(limits).random.seed(1)
        asking = parallel_map(limits=limits, retry=self.retry)(function)
        return getattr(asking, self.method)(range(self.size), return_exceptions=self.keep, deadline=self.deadline)

    def said(self, result):
        """What of a result is no time, and its times."""
        if self.method == "imap":
            return result if not isinstance(result, BaseException) else (type(result).__name__, str(result)), ()
        error = None if result.error is None else (type(result.error).__name__, str(result.error))
        return (result.index, result.value, error, result.attempts), (result.started, result.ended)

    def out(self, place, result, now):
        """That a result was handed out, and when."""
        said, when = self.said(result)
        if self.method == "as_completed" and self.stop_at is not None and place >= self.stop_at:
            return ("out", said), when  # whatever waited to be sent again ends with the stop: at one moment
        return ("out", place, said), (now, *when)


def begin(script, log, times, item, now):
    attempt = times.setdefault(item, 0)
    times[item] += 1
    log.append((("start", item, attempt), (now,)))
    return script.attempts[item][min(attempt, 5)]


def by_threads(script, virtual):
    log, times = [], {}

    def ask(item):
        latency, error = begin(script, log, times, item, virtual.now())
        sleep(latency)
        if error is not None:
            raise error
        return item * 10

    results = script.play(ask, log)
    try:
        for place, result in enumerate(results):
            log.append(script.out(place, result, virtual.now()))
            if place + 1 == script.stop_at:
                sleep(0.0123)  # else a worker takes its next item at the same moment
                results.stop()
            sleep(script.pauses[place])
    except Exception as error:
        log.append((("raised", type(error).__name__), (virtual.now(),)))
    return log


async def by_tasks(script, virtual, pause):
    log, times = [], {}

    async def ask(item):
        latency, error = begin(script, log, times, item, virtual.now())
        await pause(latency)
        if error is not None:
            raise error
        return item * 10

    results = script.play(ask, log)
    try:
        async with results:
            place = 0
            async for result in results:
                log.append(script.out(place, result, virtual.now()))
                if place + 1 == script.stop_at:
                    await pause(0.0123)
                    results.stop()
                await pause(script.pauses[place])
                place += 1
    except Exception as error:
        log.append((("raised", type(error).__name__), (virtual.now(),)))
    return log


async def eagerly(script, virtual):
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    return await by_tasks(script, virtual, asyncio.sleep)


def through(driver, seed):
    script = Script(seed)
    with VirtualTime(seed=seed) as virtual:
        if driver == "threads":
            return by_threads(script, virtual)
        if driver == "trio":
            return virtual.run_trio(by_tasks, script, virtual, trio.sleep)
        return virtual.run(
            (eagerly(script, virtual)) if driver == "eager" else by_tasks(script, virtual, asyncio.sleep)
        )


def alike(one, other):
    """The same things, each at the same time but for rounding; what happens at one moment is in no order."""
    one, other = dict(one), dict(other)
    return one.keys() == other.keys() and all(
        abs(a - b) < 1e-4 for what in one for a, b in zip(one[what], other[what], strict=True)
    )


SCRIPTS = 150
OTHERS = ["threads", "trio", *(["eager"] if sys.version_info >= (3, 12) else [])]


@pytest.mark.whole
@pytest.mark.parametrize("driver", OTHERS)
def test_every_driver_plays_a_script_alike(driver):
    different = [seed for seed in range(SCRIPTS) if not alike(through(driver, seed), through("asyncio", seed))]
    assert not different
