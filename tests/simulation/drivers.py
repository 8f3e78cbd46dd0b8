"""A seed, played by each driver: asyncio, trio, threads, and all of them on one Limits."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import trio

from fanmap._drive import books
from fanmap._policy.limits import watching
from fanmap.testing import VirtualTime

from .troubles import (
    BLOCKED,
    CANCELLED,
    CLOSED,
    INTERRUPTED,
    cancelled_where_they_wait,
    interrupted,
    loses_a_loop,
    troubles,
)
from .world import LATENESS, World


def play(driver: str, seed: int):
    """One world from its beginning to its end; what it came to, with everything that was not allowed."""
    name = f"{driver} {seed}"
    dice = Random(name)
    start = dice.choice((0.0, 1000.5, 1e5))
    befall = troubles(driver, name)
    guarded_line = bool(
        befall & {BLOCKED, CLOSED, INTERRUPTED}
    )  # loops that are away or gone: others look for themselves
    enabled = gc.isenabled()
    gc.disable()  # its moments are not the seed's to choose
    left = set(threading.enumerate())
    complaints: list[str] = []
    try:
        with (
            VirtualTime(seed=seed, start=start, horizon=2e4 if guarded_line else 1e6) as virtual,
            interleaved(virtual, dice) as share,
            replayable_trio(seed),
            ExitStack() as stack,
        ):
            keeps = Random(f"{name} journals").random() < 0.25
            directory = Path(stack.enter_context(TemporaryDirectory())) if keeps else None
            world = World(name, virtual, kinds=DRIVERS[driver][1], directory=directory, befall=befall)
            world.book.threads_overtake = share > 0
            losing = []
            if guarded_line:
                watching.guard = 0.5  # as outside of virtual time, whose end puts it back
            if CLOSED in befall:
                losing.append(virtual.start(guarded(complaints, loses_a_loop), world, world.more))
            if INTERRUPTED in befall:
                stack.enter_context(interrupted(world, world.more))
            if CANCELLED in befall:
                stack.enter_context(cancelled_where_they_wait(world.stranger))
            with unraisable(complaints):
                DRIVERS[driver][0](world, virtual, complaints)
                for thread in losing:
                    virtual.join(thread)
                virtual.sleep(LATENESS)
            world.book.check_rates()
            world.book.check_rest(world.budget)
        more = {thread.name for thread in set(threading.enumerate()) - left if thread.is_alive()}
    finally:
        if enabled:
            gc.enable()
    book = world.book
    book.wrong += [f"G12: {text}" for text in complaints]
    if more:
        book.wrong.append(f"G12: threads are left: {more}")
    return book


def in_threads(world, virtual, complaints):
    threads = [virtual.start(guarded(complaints, program.run)) for program in world.programs(world.dice.randint(1, 4))]
    for thread in threads:
        virtual.join(thread)


def on_asyncio(world, virtual, complaints):
    virtual.run(asyncio_main(world, complaints, world.dice.randint(1, 5)))


def on_trio(world, virtual, complaints):
    virtual.run_trio(trio_main, world, complaints, world.dice.randint(1, 5))


def everywhere(world, virtual, complaints):
    """A loop of each kind and some threads, at the same time."""
    threads = [virtual.start(guarded(complaints, program.run)) for program in world.programs(world.dice.randint(1, 2))]
    threads.append(virtual.start(guarded(complaints, virtual.run), asyncio_main(world, complaints, 2)))
    threads.append(virtual.start(guarded(complaints, virtual.run_trio), trio_main, world, complaints, 1))
    for thread in threads:
        virtual.join(thread)


DRIVERS = {
    "asyncio": (on_asyncio, ("async",)),
    "trio": (on_trio, ("async",)),
    "threads": (in_threads, ("def",)),
    "everywhere": (everywhere, ("def", "async")),
}


async def asyncio_main(world, complaints, count):
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(f"the loop was told: {context}"))
    programs = [loop.create_task(program.arun()) for program in world.programs(count)]
    if world.stranger is not None:
        world.stranger.stay(loop, {asyncio.current_task(), *programs})
    await asyncio.gather(*programs)
    await asyncio.sleep(1)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        complaints.append(f"tasks are left: {others}")


async def trio_main(world, complaints, count):
    before = trio.lowlevel.current_statistics().tasks_living
    async with trio.open_nursery() as nursery:
        for program in world.programs(count):
            nursery.start_soon(program.arun)
    await trio.sleep(1)
    more = trio.lowlevel.current_statistics().tasks_living - before
    if more:
        complaints.append(f"{more} tasks of trio are left")


def guarded(complaints, function):
    def call(*args):
        try:
            function(*args)
        except BaseException as error:
            complaints.append(f"a program ended with {error!r}")
            raise

    return call


@contextmanager
def unraisable(complaints):
    """What nobody can catch (un-awaited coroutines, errors in finalizers, what a thread dies of) is a complaint."""
    before = sys.unraisablehook, threading.excepthook

    def hear(said):
        if not isinstance(said.exc_value, ResourceWarning):  # a loop that was forgotten
            complaints.append(f"unraisable: {said.exc_value!r} in {said.object!r}")

    sys.unraisablehook = hear
    threading.excepthook = lambda said: complaints.append(f"a thread died of {said.exc_value!r}")
    try:
        yield
    finally:
        sys.unraisablehook, threading.excepthook = before


@contextmanager
def replayable_trio(seed):
    """trio shuffles its tasks on purpose; this is the switch that its own plugin for hypothesis uses."""
    core = trio._core._run
    core._ALLOW_DETERMINISTIC_SCHEDULING, before = True, core._ALLOW_DETERMINISTIC_SCHEDULING
    core._r.seed(seed)
    try:
        yield
    finally:
        core._ALLOW_DETERMINISTIC_SCHEDULING = before


@contextmanager
def interleaved(virtual, dice):
    """Threads also hand on where the engine opens its books, and inside: that is where real ones overtake each other."""
    share = dice.choice((0.0, 0.1, 0.5))
    do, work_off = books.Books.do, books.Books.work_off

    def pause():
        if virtual._baton.is_here() and share and dice.random() < share:  # what else lives here is not played
            virtual.sleep(0)

    def doing(self, event, *args):
        pause()

        def paused(*args):
            pause()  # whoever comes meanwhile finds the books taken
            return event(*args)

        return do(self, paused, *args)

    def working_off(self):
        pause()
        work_off(self)

    books.Books.do, books.Books.work_off = doing, working_off
    try:
        yield share
    finally:
        books.Books.do, books.Books.work_off = do, work_off
