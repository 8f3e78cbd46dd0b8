"""One simulated world: a server, one Limits, and programs that use it in every way there is, all from a seed."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from pathlib import Path
from random import Random

import anyio
import trio

from fanmap import Adaptive, BridgeError, Limits, NotRun, Outcome, Rate, Retry, gather_bounded, parallel_map
from fanmap._drive import clock
from fanmap._drive.limits.limits import budget_of
from fanmap._policy.journals.journal import Keys, value_line
from fanmap._policy.journals.plain import plain_text
from fanmap._resume import identity_of
from fanmap.testing import SimulatedAPIError, sleep

from .book import Book, Left, Queue, RunLog, left_over
from .model import REFUSAL, Mix, Server
from .troubles import BLOCKED, BODIES, CANCELLED, DEAD, FINALLY, GROUPS, OBJECTS, SHARED, Stranger

LATENESS = 400.0  # virtual seconds after which every call that was left behind has ended


class World:
    """The functions under test, and what they are checked against."""

    def __init__(
        self, seed: str, virtual, *, kinds: tuple[str, ...], directory: Path | None = None,
        befall: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        dice = self.dice = Random(seed)
        self.directory = directory  # where runs keep journals; None: they keep none
        self.virtual, self.kinds = virtual, kinds
        pick = dice.choice
        mix = Mix(
            seed=seed,
            refusal=pick((0.0, 0.05, 0.2)),
            mendable=pick((0.0, 0.1, 0.4)),
            final=pick((0.0, 0.0, 0.05)),
            spent=pick((0.0, 0.0, 0.0, 0.02)),
            nested=pick((0.0, 0.15)),
            longest=pick((0.2, 2.0, 50.0)),
            groups=GROUPS in befall,
            objects=OBJECTS in befall,
        )
        limit = dice.randint(1, 8)
        rates = []
        if dice.random() < 0.5:
            amount, per = dice.randint(3, 40), pick((1.0, 7.0, 20.0))
            cost = (lambda *args: 1.0 + args[0].index % 3) if dice.random() < 0.3 else None
            rates.append(Rate(amount, per, burst=pick((None, None, 2)), cost=cost))
        self.max_wait = pick((1e6, 1e6, 1e6, 30.0))
        at_once = Adaptive(min(2, limit), 1, limit) if dice.random() < 0.3 else limit
        self.limits = Limits(at_once, rate=rates, max_wait=self.max_wait)
        budget = budget_of(self.limits)
        budget.random.seed(seed)
        self.budget = budget
        self.book = Book(seed, mix, Server(dice, clock.now()), limit, self.max_wait, rates)
        self.book.let_out = budget._let_out
        Queue(self.book, budget)
        self.troubles = self.book.troubles = befall
        self.more = Random(f"{seed} more")  # for what befalls it
        self.blocked: list[object] = []  # loops that nothing else runs on for now
        self.stranger = Stranger(Random(f"{seed} stranger")) if CANCELLED in befall else None
        if DEAD in befall:
            self.book.server.dies(self.more)
        self.mix, self.server, self.limit = mix, self.book.server, limit
        self.names = 0
        self.functions = {}
        # In a third of the worlds, half of the work is done in the background; drawn by name, as what befalls them.
        self.shift = Random(f"{seed} background")
        self.has_background = self.shift.random() < 0.33

    def limits_of(self):
        """The account, or its background."""
        return self.limits.background if self.has_background and self.shift.random() < 0.5 else self.limits

    # What is called

    def function(self, kind, retry, timeout):
        """The function under test: `def` or `async def`, with these settings."""
        key = kind, str(retry), timeout
        if key not in self.functions:
            decorate = parallel_map(limits=self.limits_of(), retry=retry, timeout=timeout)
            self.functions[key] = decorate(self.plain if kind == "def" else self.awaited)
        return self.functions[key]

    def plain(self, item):
        call, fate = self.arrive(item)
        try:
            try:
                sleep(fate.latency)
                if fate.error is not None:
                    raise fate.error
                self.served(call)
                for log, items in self.nested(call, fate, "def"):
                    self.check_nested(log, self.function("def", log.retry, None).map(items))
            finally:
                for log, last in self.last_words(call, "def"):
                    with self.spoken(log):
                        self.book.value(log, 0, self.function("def", None, None)(last))
        except BaseException as error:
            self.leave(call, fate, error)
            raise
        self.leave(call, fate, None)
        return item.value

    async def awaited(self, item):
        call, fate = self.arrive(item)
        lost = False  # with its event loop: nothing can be awaited any more
        try:
            try:
                if self.stranger is not None:
                    self.stranger.at_a_wait(0.02)
                await anyio.sleep(fate.latency)
                if fate.error is not None:
                    raise fate.error
                self.served(call)
                for log, items in self.nested(call, fate, "async"):
                    self.check_nested(log, await self.function("async", log.retry, None).amap(items))
            except GeneratorExit:
                lost = True
                raise
            finally:
                if fate.clean_up and not lost:
                    await anyio.sleep(fate.clean_up)
                for log, last in () if lost else self.last_words(call, "async"):
                    with self.spoken(log):
                        self.book.value(log, 0, await self.function("async", None, None)(last))
        except BaseException as error:
            self.leave(call, fate, error)
            raise
        self.leave(call, fate, None)
        return item.value

    def arrive(self, item):
        call = self.book.begin(item)
        fate = self.server.turns_away()
        call.served = fate is None
        call.dead = fate is not None and fate.dead
        if fate is None:
            fate = self.mix.fate(item, item.arrivals)
            item.arrivals += 1
        return call, fate

    def served(self, call):
        """The server is done with it."""
        self.server.serving -= call.served
        call.served = False

    def leave(self, call, fate, error):
        self.served(call)
        own = error is fate.error
        self.book.end(call, fate.kind if own else "cancelled", error, fate.wait if own else None)
        if fate.leaves_a_variable and error is None and not call.item.run.direct:
            left_over.set(call.item.value)

    def nested(self, call, fate, kind):
        if fate.nested:
            run = call.item.run
            log = self.log(kind, fate.nested, depth=run.depth + 1, retry=None)
            log.parent = call
            yield log, [self.book.item(log, index) for index in range(fate.nested)]

    def last_words(self, call, kind):
        """A call of another decorated function out of an item's `finally`, however the item ends."""
        run = call.item.run
        self.served(call)
        if FINALLY in self.troubles and not run.depth and Random(f"{call.item.value}").random() < 0.2:
            log = self.log(kind, 1, depth=1, retry=None)
            log.parent, log.direct = call, True
            yield log, self.book.item(log, 0)

    @contextmanager
    def spoken(self, log):
        try:
            yield
        except Exception as error:
            self.book.failure(log, 0, error)
        finally:
            self.book.finish(log)

    def check_nested(self, log, results):
        self.book.results(log, results, in_place=False)

    def log(self, kind, size, *, retry, depth=0, ordered=False, workers=None, timeout=None, deadline=None):
        self.names += 1
        return RunLog(
            f"{kind}{self.names}", size, min(workers or self.limit, self.limit), retry, depth, kind == "async",
            ordered=ordered, timeout=timeout, deadline=deadline, began=clock.now(),
        )  # fmt: skip

    # The programs: what one of them does is drawn before it starts

    def programs(self, count):
        return [Program(self, Random(self.dice.random())) for _ in range(count)]


class Program:
    """A few runs and direct calls, one after the other, in one thread or task."""

    def __init__(self, world: World, dice: Random) -> None:
        self.world, self.book, self.dice = world, world.book, dice
        self.pause = dice.choice((0.0, dice.uniform(0, 5)))
        self.acts = [dice.randrange(10) for _ in range(dice.randint(1, 3))]

    def settings(self, kind, *, ordered=False, keeps=True):
        dice = self.dice
        pick = dice.choice
        retry = pick((None, None, False, Retry(3), Retry(5, wait=1.0), Retry(4, total=20.0)))
        timeout = pick((None, None, None, None, 3.0))
        options = {}
        if dice.random() < 0.3:
            options["max_concurrency"] = dice.randint(1, 8)
        if dice.random() < 0.15:
            options["deadline"] = dice.uniform(0.5, 30)
        if dice.random() < 0.4:
            options["return_exceptions"] = True
        log = self.world.log(
            kind, dice.choice((0, 1, dice.randint(2, 12), dice.randint(5, 40), 30 * dice.randint(1, 4))), retry=retry, ordered=ordered,
            workers=options.get("max_concurrency"), timeout=timeout, deadline=options.get("deadline"),
        )  # fmt: skip
        function = self.world.function(kind, retry, timeout)
        if keeps and self.world.directory is not None:
            options |= self.journal(log, function)
        return log, function, options

    def journal(self, log, function):
        """The options of a run that keeps results, some of which are there already."""
        chance = Random(log.name)
        keys = Keys(identity_of(function._function), None)
        log.journal = self.world.directory / log.name
        log.recorded = frozenset(index for index in range(log.size) if chance.random() < 0.2)
        lines = [(keys.key(index), index) for index in range(log.size)]
        log.journal.write_bytes(
            b"".join(
                value_line(key, index, 0.0, 0.0, plain_text([log.name, index]))
                for key, index in lines
                if index in log.recorded
            )
        )
        return {"resume": log.journal, "key": lambda item: item.index, "encode": list, "decode": tuple}

    def source(self, log):
        """A list or a generator."""
        log.began = clock.now()
        if self.dice.random() < 0.5:
            return [self.book.item(log, index) for index in range(log.size)]
        return self.book.inputs(log)

    def in_place(self, options):
        return bool(options.get("return_exceptions"))

    # In a thread

    def run(self):
        sleep(self.pause)
        for act in self.acts:
            if SHARED in self.world.troubles:
                self.share()
            kind = self.dice.choice(self.world.kinds)
            if act < 4:
                self.map(kind)
            elif act < 6:
                self.iterate(kind)
            elif act < 8:
                self.complete(kind)
            elif act < 9:
                self.direct()
            else:
                self.block()

    def map(self, kind):
        log, function, options = self.settings(kind)
        try:
            results = function.map(self.source(log), **options)
        except (Exception, asyncio.CancelledError) as error:
            self.book.ended_with(log, error)
        else:
            self.book.results(log, results, in_place=self.in_place(options))

    def iterate(self, kind):
        log, function, options = self.settings(kind, ordered=True)
        log.ordered = not options.get("return_exceptions")
        stop_at, slow = self.leaving(log)
        handed = {}
        try:
            with function.imap(self.source(log), **options) as results:
                for index, result in enumerate(results):
                    log.handed = index + 1
                    handed[index] = result
                    self.book.outcome(log, index, result)
                    if index == stop_at:
                        self.break_off()
                        break
                    sleep(slow)
        except (Exception, asyncio.CancelledError) as error:
            self.book.ended_with(log, error, handed=handed)
        else:
            self.left(log, handed, stop_at)

    def complete(self, kind):
        log, function, options = self.settings(kind)
        stop_at, slow = self.leaving(log)
        handed = {}
        try:
            with function.as_completed(self.source(log), **options) as outcomes:
                for outcome in outcomes:
                    self.got(log, handed, outcome)
                    if len(handed) == stop_at:
                        self.break_off()
                        break
                    sleep(slow)
        except (Exception, asyncio.CancelledError) as error:
            self.book.ended_with(log, error, handed=handed)
        else:
            self.left(log, handed, stop_at - 1)

    def shared(self, kind):
        more = self.world.more
        log = self.world.log(kind, more.randint(1, 20), retry=None)
        items = [self.book.item(log, index) for index in range(log.size)]
        outcomes = self.world.function(kind, None, None).as_completed(items)
        return log, outcomes, {}, [more.choice((0.0, 0.0, 0.5)) for _ in range(more.choice((2, 3)))]

    def share(self):
        """Threads that share one iterator: each result once, and all of them end."""
        log, outcomes, handed, pauses = self.shared(self.world.more.choice(self.world.kinds))
        stopped = []

        def read(pause):
            try:
                for outcome in outcomes:
                    self.got(log, handed, outcome)
                    sleep(pause)
            except Exception as error:
                stopped.append(error)

        virtual = self.world.virtual
        with outcomes:
            for thread in [virtual.start(read, pause) for pause in pauses]:
                virtual.join(thread)
        self.book.finish(log) if stopped else self.left(log, handed, -2)

    async def ashare(self):
        """The same of tasks."""
        log, outcomes, handed, pauses = self.shared("async")
        stopped = []

        async def read(pause):
            try:
                async for outcome in outcomes:
                    self.got(log, handed, outcome)
                    await anyio.sleep(pause)
            except (Exception, asyncio.CancelledError) as error:
                stopped.append(error)

        async with outcomes:
            if clock_is_trio():
                async with trio.open_nursery() as nursery:
                    for pause in pauses:
                        nursery.start_soon(read, pause)
            else:
                await asyncio.gather(*(asyncio.create_task(read(pause), name="inner") for pause in pauses))
        self.book.finish(log) if stopped else self.left(log, handed, -2)

    def direct(self):
        log, function, _ = self.settings("def", keeps=False)
        log.direct = True
        for index in range(log.size):
            item = self.book.item(log, index)
            try:
                self.book.value(log, index, function(item))
            except Exception as error:
                self.book.failure(log, index, error)
        self.book.finish(log)

    def block(self):
        for _ in range(self.dice.randint(1, 4)):
            try:
                with self.world.limits_of():
                    self.entered()
                    sleep(0.5)
                    self.book.running -= 1
            except NotRun as error:
                assert self.book.hopeless(error)

    # In a task

    async def arun(self):
        await anyio.sleep(self.pause)
        for act in self.acts:
            if BLOCKED in self.world.troubles:
                self.blocks()
            if SHARED in self.world.troubles:
                await self.ashare()
            kind = self.dice.choice(self.world.kinds)
            if act < 3:
                await self.amap(kind)
            elif act < 5:
                await self.cancelled(kind)
            elif act < 6:
                await self.aiterate(kind)
            elif act < 7:
                await self.acomplete(kind)
            elif act < 8:
                await self.adirect()
            elif act < 9:
                await self.gather()
            else:
                await self.ablock()

    def blocks(self):
        """The loop does nothing else for a while."""
        loop = trio.lowlevel.current_trio_token() if clock_is_trio() else asyncio.get_running_loop()
        self.world.blocked.append(loop)
        try:
            self.block_loop()
        finally:
            self.world.blocked.remove(loop)

    def block_loop(self):
        """By a blocking run, where calls are in line; it may be told that it would wait for itself."""
        if self.world.more.random() < 0.5:
            log = self.world.log("def", self.world.more.randint(1, 8), retry=None)
            items = [self.book.item(log, index) for index in range(log.size)]
            try:
                results = self.world.function("def", None, None).map(items)
            except BridgeError:
                self.book.finish(log)
            except Exception as error:
                self.book.ended_with(log, error)
            else:
                self.book.results(log, results, in_place=False)
        else:
            sleep(self.world.more.choice((0.02, 0.2, 5.0)))

    def asource(self, log):
        if self.dice.random() < 0.3:
            log.began = clock.now()
            pauses = [self.dice.choice((0.0, 0.0, 0.5)) for _ in range(log.size)]
            return self.book.async_inputs(log, lambda index: anyio.sleep(pauses[index]))
        return self.source(log)

    async def amap(self, kind):
        log, function, options = self.settings(kind)
        try:
            results = await function.amap(self.asource(log), **options)
        except (Exception, asyncio.CancelledError) as error:
            self.book.ended_with(log, error)
        else:
            self.book.results(log, results, in_place=self.in_place(options))

    async def cancelled(self, kind):
        """G11: a cancellation ends the run, waits for its tasks, and is not lost."""
        log, function, options = self.settings(kind)
        after = self.dice.choice((0.0, self.dice.uniform(0, 2), self.dice.uniform(0, 30)))
        source = self.asource(log)

        async def inner():
            try:
                results = await function.amap(source, **options)
            except BaseException as error:
                self.book.ended_with(log, error)
                raise
            self.book.results(log, results, in_place=self.in_place(options))

        if clock_is_trio():
            try:
                with trio.move_on_after(after):
                    await inner()
            except Exception:
                pass
        else:
            task = asyncio.create_task(inner(), name="inner")
            await asyncio.sleep(after)
            done = task.done()
            begun = clock.now()
            task.cancel()
            await asyncio.wait([task])
            if not done and not task.cancelled() and clock.now() > begun:
                self.book.blame("G11", f"{log.name} lost its cancellation: {task!r}")
            if not task.cancelled():
                task.exception()
        if not log.over:  # cancelled before its first step
            self.book.finish(log)
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()

    async def aiterate(self, kind):
        log, function, options = self.settings(kind, ordered=True)
        log.ordered = not options.get("return_exceptions")
        stop_at, slow = self.leaving(log)
        handed = {}
        try:
            async with function.imap(self.asource(log), **options) as results:
                index = 0
                async for result in results:
                    log.handed = index + 1
                    handed[index] = result
                    self.book.outcome(log, index, result)
                    if index == stop_at:
                        self.break_off()
                        break
                    index += 1
                    await anyio.sleep(slow)
        except (Exception, asyncio.CancelledError) as error:
            self.book.ended_with(log, error, handed=handed)
        else:
            self.left(log, handed, stop_at)

    async def acomplete(self, kind):
        log, function, options = self.settings(kind)
        stop_at, slow = self.leaving(log)
        handed = {}
        try:
            async with function.as_completed(self.asource(log), **options) as outcomes:
                async for outcome in outcomes:
                    self.got(log, handed, outcome)
                    if len(handed) == stop_at:
                        self.break_off()
                        break
                    await anyio.sleep(slow)
        except (Exception, asyncio.CancelledError) as error:
            self.book.ended_with(log, error, handed=handed)
        else:
            self.left(log, handed, stop_at - 1)

    async def adirect(self):
        log, function, _ = self.settings("async", keeps=False)
        log.direct = True
        for index in range(log.size):
            item = self.book.item(log, index)
            try:
                self.book.value(log, index, await function(item))
            except (Exception, asyncio.CancelledError) as error:
                self.book.failure(log, index, error)
        self.book.finish(log)

    async def gather(self):
        log, function, options = self.settings("async", keeps=False)
        options.pop("deadline", None)
        log.deadline = None
        items = [self.book.item(log, index) for index in range(log.size)]
        entries = [function(item) if self.dice.random() < 0.5 else (lambda item=item: function(item)) for item in items]
        try:
            results = await gather_bounded(*entries, limits=self.world.limits_of(), retry=False, **options)
        except (Exception, asyncio.CancelledError) as error:
            self.book.ended_with(log, error)
        else:
            self.book.results(log, results, in_place=self.in_place(options))

    async def ablock(self):
        for _ in range(self.dice.randint(1, 4)):
            try:
                async with self.world.limits_of():
                    self.entered()
                    try:
                        await anyio.sleep(0.5)
                    finally:
                        self.book.running -= 1
            except NotRun as error:
                assert self.book.hopeless(error)

    # Both

    def leaving(self, log):
        """After which result the consumer leaves, and how long it takes over each."""
        stop_at = self.dice.choice((-2, -2, self.dice.randint(1, 10)))
        return stop_at, self.dice.choice((0.0, 0.0, 0.1, 2.0, 10.0))

    def got(self, log, handed, outcome):
        log.handed += 1
        if outcome.index in handed:
            self.book.blame("G1", f"{log.name}[{outcome.index}] came twice")
        handed[outcome.index] = outcome
        if outcome.error is None:
            self.book.value(log, outcome.index, outcome.value)
        else:
            self.book.failure(log, outcome.index, outcome.error)

    def break_off(self):
        """Out of the body of the loop: with an exception, which has to have what nobody was handed."""
        if BODIES in self.world.troubles:
            raise Left

    def left(self, log, handed, stop_at):
        """The consumer has what it wanted: everything, or as much as it came for."""
        calls = [call for item in log.items for call in item.calls]
        stopped = (
            any(call.kind in ("spent", REFUSAL) for call in calls)
            # of a run inside the item: what it was refused with came through
            or any(call.kind == "cancelled" and isinstance(call.error, SimulatedAPIError) for call in calls)
            or any(self.book.hopeless(one.error if type(one) is Outcome else one) for one in handed.values())
        )
        if stop_at < 0 and len(handed) != log.size and log.deadline is None and not stopped:
            self.book.blame("G1", f"{log.name} handed out {len(handed)} of {log.size}")
        self.book.finish(log)

    def entered(self):
        book, now = self.book, clock.now()
        book.starts.append((now, 1.0))
        book.note("block")
        book.running += 1
        if book.running > book.most():
            book._sweep()
        if book.running > book.most():
            book.blame("G2", f"{book.running} at once, of {book.limit}, one of them a block")
        for said, until, alone in book.waits:
            if said < now < until - 1e-6 and alone is None:
                book.blame("G5", "a block was entered inside a named wait")


def clock_is_trio() -> bool:
    return trio.lowlevel.in_trio_run()
