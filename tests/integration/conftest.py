"""What the integration tests share: every way to run a function over many inputs, behind one face.

An item's body and a consumer are written once, as `async def`. Where a way has no event loop, `drive` runs
them as plain code: everything they await blocks there and never suspends.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import re
import signal
import sys
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from zlib import crc32

import pytest
import trio

from fanmap import parallel_map
from fanmap._drive.drivers import portal, warm_threads
from fanmap.testing import VirtualTime, sleep

from ..conftest import ALL

PATIENCE = 120.0  # seconds after which something that should have happened has not, on the slowest machine


def drive(coroutine):
    """Run a coroutine that never suspends, as plain code."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("something suspended where no event loop runs")


async def pause(seconds=0.001):
    """Sleep, wherever this is: in a worker thread, on asyncio, on trio."""
    if trio.lowlevel.in_trio_run():
        await trio.sleep(seconds)
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        sleep(seconds)
    else:
        await asyncio.sleep(seconds)


class Gate:
    """Opens once; items wait for it in threads and on loops alike."""

    def __init__(self):
        self._event = threading.Event()

    def open(self):
        self._event.set()

    def is_open(self):
        return self._event.is_set()

    async def passed(self):
        end = time.monotonic() + PATIENCE
        while not self._event.is_set():
            assert time.monotonic() < end, "nobody opened the gate"
            await pause()


class Meter:
    """How many are inside at once, and how many ever were; for threads and loops alike."""

    def __init__(self):
        self._lock = threading.Lock()
        self.inside = self.most = self.entered = 0

    def __enter__(self):
        with self._lock:
            self.inside += 1
            self.entered += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *_):
        with self._lock:
            self.inside -= 1


class Way:
    """One way to run a function over many inputs: a kind of function, where the caller stands, a method."""

    def __init__(self, kind, place, method):
        self.kind, self.place, self.method = kind, place, method
        self.is_async = kind == "async"
        self.blocks = place in ("sync", "inside")  # the caller blocks; "inside": in a running loop
        self.is_lazy = method in ("imap", "as_completed")
        self.fails_fast = method != "as_completed"
        self.virtual = None

    def __repr__(self):
        return f"{self.kind}-{self.place}-{self.method}"

    def decorate(self, body, **options):
        """`parallel_map` of an `async def` body, as this way's kind of function."""
        return parallel_map(**options)(self.function(body))

    def function(self, body):
        if self.is_async:
            return body

        @functools.wraps(body)
        def blocking(*args, **kwargs):
            return drive(body(*args, **kwargs))

        del blocking.__wrapped__
        return blocking

    def go(self, main):
        """Run a consumer, an `async def` without arguments, where this way's caller stands."""
        run, run_trio = (asyncio.run, trio.run) if self.virtual is None else (self.virtual.run, self.virtual.run_trio)
        if self.place == "sync":
            return drive(main())
        if self.place == "asyncio":
            return run(main())
        if self.place == "trio":
            return run_trio(main)

        async def inside():
            return drive(main())

        return run(inside())

    @contextmanager
    def virtually(self):
        """A block in which this way's caller and items live in virtual time."""
        with VirtualTime() as self.virtual:
            try:
                yield self.virtual
            finally:
                self.virtual = None

    async def rest(self, seconds=0.001):
        """Sleep as a consumer."""
        if self.blocks:
            sleep(seconds)
        else:
            await pause(seconds)

    async def until(self, condition):
        """Wait as a consumer until something is so."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, "it never came to that"
            await self.rest()

    async def collect(self, ask, inputs, **options):
        """Every result in input order; of `as_completed` failures stand in their place."""
        method = getattr(ask, self.method)
        if self.method == "map":
            return method(inputs, **options)
        if self.method == "amap":
            return await method(inputs, **options)
        async with self.opened(method(inputs, **options)) as results:
            found = [result async for result in self.each(results)]
        if self.method == "imap":
            return found
        found.sort(key=lambda outcome: outcome.index)
        assert [outcome.index for outcome in found] == list(range(len(found)))
        return [outcome.value if outcome.error is None else outcome.error for outcome in found]

    def run(self, ask, inputs, **options):
        """`collect`, where this way's caller stands."""
        return self.go(lambda: self.collect(ask, inputs, **options))

    def start(self, ask, inputs, **options):
        """The Results of a lazy way."""
        return getattr(ask, self.method)(inputs, **options)

    @asynccontextmanager
    async def opened(self, results):
        if self.blocks:
            with results:
                yield results
        else:
            async with results:
                yield results

    async def next(self, results):
        """The next result; StopAsyncIteration at the end."""
        if not self.blocks:
            return await anext(results)
        try:
            return next(results)
        except StopIteration:
            pass
        raise StopAsyncIteration

    async def each(self, results):
        while True:
            try:
                result = await self.next(results)
            except StopAsyncIteration:
                return
            yield result

    async def close(self, results):
        if self.blocks:
            results.close()
        else:
            await results.aclose()

    # For the tests, which cannot import this file

    pause = staticmethod(pause)

    async def quiet(self):
        """Wait as a consumer until nothing works for fanmap any more: then nothing can start either."""
        mine = asyncio.current_task() if self.place == "asyncio" else None
        await self.until(lambda: not _left() and (mine is None or asyncio.all_tasks() == {mine}))


_BLOCKING = ("map", "imap", "as_completed")
_AWAITING = ("amap", "imap", "as_completed")
WAYS = [
    Way(kind, place, method)
    for kind, place, methods in (
        ("def", "sync", _BLOCKING),
        ("def", "inside", _BLOCKING),
        ("def", "asyncio", _AWAITING),
        ("def", "trio", _AWAITING),
        ("async", "sync", _BLOCKING),
        ("async", "inside", _BLOCKING),
        ("async", "asyncio", _AWAITING),
        ("async", "trio", _AWAITING),
    )
    for method in methods
]


def _chosen(**wanted):
    return [way for way in WAYS if all(getattr(way, name) == value for name, value in wanted.items())]


# What a test asks for by the name of its argument.
CHOICES = {
    "way": WAYS,
    "lazy_way": _chosen(is_lazy=True),  # hand out results one at a time
    "whole_way": _chosen(is_lazy=False),  # return everything at the end
    "strict_way": _chosen(fails_fast=True),  # raise the first failure
    "async_way": _chosen(is_async=True),  # of an `async def`
    "awaiting_way": _chosen(blocks=False),  # of a caller who awaits
    # One of each kind, where what stands around makes no difference.
    "threads_or_loop": [
        *_chosen(kind="def", method="map", place="sync"),
        *_chosen(kind="async", method="amap", place="asyncio"),
    ],
}


def _share(ways, test):
    """A third of them, in which each place has one method: another third for each test, and on each Python."""
    turn = crc32(test.encode()) + sys.version_info.minor
    return [way for way in ways if (sum(divmod(WAYS.index(way), 3)) + turn) % 3 == 0]


def pytest_generate_tests(metafunc):
    """Every way where FANMAP_SEEDS asks for all, as CI does on one Python; else a share of them."""
    by_hand = {
        name for mark in metafunc.definition.iter_markers("parametrize") for name in str(mark.args[0]).split(",")
    }
    for name, ways in CHOICES.items():
        if name in metafunc.fixturenames and name not in by_hand:
            some = ways if ALL or name == "threads_or_loop" else _share(ways, metafunc.function.__name__)
            metafunc.parametrize(name, some, ids=repr)


@pytest.fixture
def gates(nothing_left):
    """Makes gates that are all open once the test is over, so that no abandoned thread outlives it."""
    made = []

    def make():
        made.append(Gate())
        return made[-1]

    yield make
    for gate in made:
        gate.open()


@pytest.fixture
def meter():
    return Meter()


class Holding:
    """Delays of the loopback server that end when something is so, instead of after seconds that a busy machine misses."""

    def __init__(self):
        self._conditions = {}
        self._everybody = lambda: True
        self._said = lambda: ""

    def together(self, server, count):
        """Nothing is answered before `count` requests have arrived: as many are under way at once."""
        self._everybody = lambda: server.sent >= count
        self._said = lambda: f"{server.sent} of {count} have arrived"

    def until(self, condition):
        """The `delay=` of a Reply that is sent once this is so."""
        delay = 1e9 + len(self._conditions)
        self._conditions[delay] = condition
        return delay

    async def hold(self, connection, seconds, go_on):
        condition = self._conditions.get(seconds, self._everybody)
        end = time.monotonic() + PATIENCE
        pause = 0.001
        while not (condition() or connection.gone.is_set()):
            assert time.monotonic() < end, f"it never came to that: {self._said()}"
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)  # hundreds that look all the time leave nothing for those they wait for
        await go_on(connection, 0 if seconds in self._conditions else seconds)


@pytest.fixture
def holding(monkeypatch):
    """Says when the loopback server answers."""
    from fanmap.testing._listener import Connection

    holding, go_on = Holding(), Connection.hold
    monkeypatch.setattr(Connection, "hold", lambda self, seconds: holding.hold(self, seconds, go_on))
    return holding


def _left():
    """What still works for fanmap in this process: threads beyond the warm ones, tasks of the background loop."""
    busy = sum(thread.name == "fanmap-worker" for thread in threading.enumerate()) - len(warm_threads.current.idle)
    background = portal._background.get(0)
    loop = None if background is None else background.loop
    tasks = [] if loop is None or loop.is_closed() else [task for task in asyncio.all_tasks(loop) if not task.done()]
    return (["a busy worker thread"] * busy) + [repr(task) for task in tasks]


def _hung(*_):
    raise AssertionError("it hangs")


@pytest.fixture
def nothing_left(caplog):
    """Once the test is over, nothing works on, and asyncio had nothing to complain about. A hang is a failure."""
    if hasattr(signal, "setitimer"):
        previous = signal.signal(signal.SIGALRM, _hung)
        signal.setitimer(signal.ITIMER_REAL, 1.5 * PATIENCE)
    yield
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    end = time.monotonic() + PATIENCE
    while left := _left():  # looked at once: a thread that ends as it is idle no more is busy for a moment
        assert time.monotonic() < end, left
        time.sleep(0.002)
    said = [*caplog.get_records("call"), *caplog.records]
    assert [record.getMessage() for record in said if record.name == "asyncio" and record.levelname != "DEBUG"] == []


def _counting():
    """References are counted at once, which they are not without the GIL."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("without the GIL references are counted later")


@pytest.fixture
def collected():
    """Streams of clients that were not read to their end are cycles: closed now, not in the middle of a later request."""
    yield
    gc.collect()
    gc.freeze()  # the clients, which are many objects: the next test need not look at them again


@pytest.fixture(scope="module", autouse=True)
def _rubbish():
    """What the tests of a module have left in cycles, as many clients do, is found where its warnings are heard.

    What is left then, clients that were imported above all, need not be looked at again by every test that collects.
    """
    yield
    gc.collect()
    gc.freeze()


@contextmanager
def _no_collector():
    for _ in range(10):  # what others left, and what that leaves when it goes
        if not gc.collect():
            break
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture
def no_collector():
    """A block in which reference counts alone free anything."""
    _counting()
    return _no_collector


@pytest.fixture
def cycles():
    """What of ours only the collector found, after a body (an `async def`) ran once more."""
    _counting()

    async def found(body):
        await body()  # once, for what is made once: warm threads, the background loop
        with _no_collector():
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                await body()
                gc.collect()
                names = [_name_of(one) for one in gc.garbage]
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
        # The agent of another test's shared Limits ends in its thread, whenever nobody has asked it for a while.
        names = [name for name in names if not name.startswith(("fanmap._drive.shared", "fanmap._policy.shared"))]
        return [name for name in names if name.startswith("fanmap") or re.match(r"tests\..*(Failure|: frame)$", name)]

    return found


def _name_of(one):
    """A frame is its module's: threads of clients that other tests have imported leave some of their own."""
    if isinstance(one, FrameType):
        return f"{one.f_globals.get('__name__')}.{one.f_code.co_name}: frame"
    return f"{type(one).__module__}.{type(one).__qualname__}"
