"""What may befall a world on top of everything: strangers that cancel, loops that are closed, code that runs inside ours.

Half of the worlds have one or two of these; which, is drawn by name, so that all the others are as they were.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from inspect import isfunction
from random import Random
from typing import Any

from fanmap import parallel_map, to_sync
from fanmap._drive import books, clock
from fanmap._drive.drivers import aio_waiter
from fanmap._drive.limits import admitting, braking, budget, counting
from fanmap._policy.limits import admission, starts
from fanmap._policy.limits.permit import THREADS
from fanmap._policy.runs import flow
from fanmap.testing import sleep

CANCELLED, CLOSED, INTERRUPTED, GROUPS, FINALLY, DEAD, BLOCKED, OBJECTS, SHARED, BODIES = (
    "cancelled", "closed", "interrupted", "groups", "finally", "dead", "blocked", "objects", "shared", "bodies",
)  # fmt: skip
_ENGINE = (
    books.Books, counting.Counting, braking.Braking, admitting.Admitting, budget.Budget, starts.Starts,
    admission.Admission, flow.Flow,
)  # fmt: skip
_OF_ALL = ("look_again", "in_line")  # asked of all books that anybody still has
_ON_ASYNCIO = (CANCELLED, BLOCKED)
_ANYWHERE = (CLOSED, INTERRUPTED, GROUPS, FINALLY, DEAD, OBJECTS, SHARED, BODIES)
SLOTS_ARE_BACK = 2.0  # seconds after a loop is no more


def troubles(driver: str, name: str) -> frozenset[str]:
    """What befalls this world."""
    dice = Random(f"{name} troubles")
    if dice.random() < 0.5:
        return frozenset()
    kinds = _ANYWHERE + (_ON_ASYNCIO if driver in ("asyncio", "everywhere") else ())
    return frozenset(dice.sample(kinds, dice.choice((1, 1, 2))))


# Somebody cancels tasks that are not theirs


class Stranger:
    """Cancels tasks that the engine made, or that run an item: at any time, where they wait, and twice."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        self.spared: set[asyncio.Task[Any]] = set()  # those of the programs
        self.struck = 0

    def stay(self, loop: asyncio.AbstractEventLoop, spared: set[asyncio.Task[Any]]) -> None:
        """Strike in this loop now and then, as long as its programs run."""
        self.spared |= spared

        def strike() -> None:
            victims = [task for task in asyncio.all_tasks(loop) if not self.spares(task)]
            if victims:
                self.strike(self.dice.choice(sorted(victims, key=_age)), loop)
            if not all(task.done() for task in spared):
                loop.call_later(self._pause(), strike)

        loop.call_later(self._pause(), strike)

    def strike(self, task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop) -> None:
        """Once or twice, at once or one after the other."""
        self.struck += 1
        task.cancel()
        again = self.dice.choice((None, None, task.cancel, lambda: loop.call_soon(task.cancel)))
        if again is not None:
            again()

    def spares(self, task: asyncio.Task[Any]) -> bool:
        return task in self.spared or task.get_name() == "inner"

    def at_a_wait(self, chance: float) -> None:
        """This task is about to wait, or an item has just begun in it."""
        try:
            task = asyncio.current_task()
        except RuntimeError:  # threads and trio
            return
        if task is not None and not self.spares(task) and self.dice.random() < chance:
            self.strike(task, asyncio.get_running_loop())

    def _pause(self) -> float:
        return self.dice.choice((0.0, 0.01, 0.5, self.dice.expovariate(1.0)))


def _age(task: asyncio.Task[Any]) -> int:
    return int(task.get_name().rpartition("-")[2])


@contextmanager
def cancelled_where_they_wait(stranger: Stranger) -> Iterator[None]:
    """The engine's own waits are await points as well."""
    wait = aio_waiter.Waiter.wait

    async def struck(self: aio_waiter.Waiter, seconds: float | None) -> None:
        stranger.at_a_wait(0.02)
        await wait(self, seconds)

    aio_waiter.Waiter.wait = struck  # type: ignore[method-assign]
    try:
        yield
    finally:
        aio_waiter.Waiter.wait = wait  # type: ignore[method-assign]


# Loops that are closed, or forgotten, with calls under way


def loses_a_loop(world: Any, dice: Random) -> None:
    """In a thread of its own: a loop is no more while others go on under the same Limits."""
    for _ in range(dice.choice((1, 1, 2))):
        sleep(dice.uniform(0, 8))
        _lose(world, dice)
        gc.collect()  # what stood in its tasks is closed now, and not whenever the collector comes
        sleep(SLOTS_ARE_BACK)
        held = world.budget.admission
        waiting = [permit.owner for permit in held._slot_line if not permit.owner.gone()]
        # A loop that is blocked looks at nothing, nor has it use for a slot.
        others = any(owner is THREADS or not any(map(owner.runs, world.blocked)) for owner in waiting)
        others = others and held.opens_at() < clock.now() - SLOTS_ARE_BACK  # behind a gate nobody has use for them
        if others and any(permit.owner.gone() for permit in held._holding):
            world.book.blame("G12", f"slots of a lost loop are held {SLOTS_ARE_BACK} s later while others wait")


def _lose(world: Any, dice: Random) -> None:
    loop = clock.world.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # tasks are destroyed while they are pending: that is the point
    kept: list[Any] = []

    async def main() -> None:
        for _ in range(dice.choice((1, 2))):
            kept.append(loop.create_task(_begin(world, dice)))
        await asyncio.sleep(dice.choice((0.0, 0.05, dice.uniform(0, 5))))

    loop.run_until_complete(main())
    world.book.leave_behind(threading.get_ident())
    if dice.random() < 0.5:
        loop.close()
    clock.world._loops.remove(loop)  # else virtual time keeps it
    kept.clear()


async def _begin(world: Any, dice: Random) -> None:
    log = world.log("async", dice.randint(1, 12), retry=None)
    function = world.function("async", None, None)
    items = [world.book.item(log, index) for index in range(log.size)]
    kind = dice.randrange(3)
    try:
        if kind == 0:
            await function.amap(items)
        elif kind == 1:
            async for _ in function.as_completed(items):
                await asyncio.sleep(0.1)
        else:
            await asyncio.gather(*(function(item) for item in items))
    except Exception:  # refused, spent: it ends before its loop does
        pass


# Code of the user's on top of our sections, as the collector and signals run it


@contextmanager
def interrupted(world: Any, dice: Random) -> Iterator[None]:
    """Now and then, where a method of the engine is entered, code of the user's runs first."""
    share = dice.choice((0.0005, 0.002))
    busy = threading.local()
    limits = world.limits
    ask = parallel_map(limits=limits, retry=False)(_nothing)
    close = to_sync(_anothing)

    def interrupt() -> None:
        if getattr(busy, "here", False) or dice.random() >= share:
            return
        busy.here = True
        try:
            dice.choice((lambda: limits.stats, ask, close))()
        except Exception:  # NotRun, BridgeError: what the programs' own calls would be told as well
            pass
        finally:
            busy.here = False

    with ExitStack() as stack:
        for place in _ENGINE:
            for name, method in list(vars(place).items()):
                if isfunction(method) and not name.startswith("__") and name not in _OF_ALL:
                    setattr(place, name, _entered(method, interrupt))
                    stack.callback(setattr, place, name, method)
        yield


def _entered(method: Callable[..., Any], interrupt: Callable[[], None]) -> Callable[..., Any]:
    def entered(*args: Any, **kwargs: Any) -> Any:
        interrupt()
        return method(*args, **kwargs)

    return entered


def _nothing() -> None:
    pass


async def _anothing() -> None:
    await asyncio.sleep(0)
