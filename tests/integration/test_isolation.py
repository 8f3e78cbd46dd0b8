"""Context variables reach every call, and no item sees what another one set."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import warnings

import anyio
import pytest

from fanmap import gather_bounded, parallel_map, to_async, to_sync
from fanmap._drive.drivers import warm_threads

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


def seen_then_set(item):
    before = var.get()
    var.set(f"left by {item}")
    return before


async def aseen_then_set(item):
    before = var.get()
    var.set(f"left by {item}")
    await asyncio.sleep(0)
    assert var.get() == f"left by {item}"
    return before


async def drained(results):
    return [result async for result in results]


WAYS = {
    "def, map": lambda: parallel_map(max_concurrency=2)(seen_then_set).map(range(20)),
    "def, imap": lambda: list(parallel_map(max_concurrency=2)(seen_then_set).imap(iter(range(20)))),
    "def, amap": lambda: asyncio.run(parallel_map(max_concurrency=2)(seen_then_set).amap(range(20))),
    "async def, map": lambda: parallel_map(max_concurrency=2)(aseen_then_set).map(range(20)),
    "async def, amap": lambda: asyncio.run(parallel_map(max_concurrency=2)(aseen_then_set).amap(range(20))),
    "async def, imap": lambda: asyncio.run(drained(parallel_map(max_concurrency=2)(aseen_then_set).imap(range(20)))),
    "gather_bounded": lambda: asyncio.run(gather_bounded((aseen_then_set(i) for i in range(20)), max_concurrency=2)),
    "to_sync": lambda: [to_sync(aseen_then_set)(i) for i in range(3)],
    "to_async": lambda: [asyncio.run(to_async(seen_then_set)(i)) for i in range(3)],
    "timeout=": lambda: parallel_map(timeout=60)(seen_then_set).map(range(20)),
}


async def its_variable(item):
    await asyncio.sleep(0)
    return var.get()


STEPPED = {
    "amap": lambda rows: parallel_map(max_concurrency=2)(its_variable).amap(rows),
    "imap": lambda rows: drained(parallel_map(max_concurrency=2)(its_variable).imap(rows)),
    "as_completed": lambda rows: drained(parallel_map(max_concurrency=2)(its_variable).as_completed(rows)),
    "gather_bounded": lambda rows: gather_bounded((its_variable(row) for row in rows), max_concurrency=2),
}


@pytest.mark.parametrize("way", STEPPED)
def test_a_generator_is_stepped_in_the_callers_task_and_context(way):
    """Its variables are put back where they were set (a span's, structlog's), and no item sees them."""
    steppers = []

    def rows():
        token = var.set("the generator's")
        try:
            for number in range(40):
                steppers.append(asyncio.current_task())
                yield number
        finally:
            var.reset(token)

    async def main():
        seen = await STEPPED[way](rows())
        assert set(steppers) == {asyncio.current_task()}
        assert var.get() == "unset"
        return {getattr(value, "value", value) for value in seen}

    assert asyncio.run(main()) == {"unset"}


@pytest.mark.parametrize("way", WAYS)
def test_every_item_sees_the_callers_variables_and_none_of_another_items(way):
    def inside():
        var.set("the caller's")
        seen = WAYS[way]()
        assert var.get() == "the caller's"
        return seen

    assert set(contextvars.copy_context().run(inside)) == {"the caller's"}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_anyio_notes_of_the_callers_loop_does_not_go_to_another_place(backend):
    """`anyio.run` leaves the name of its library in a context variable; a thread and the background loop have their own."""

    @parallel_map
    async def waits(item):
        await anyio.sleep(0)
        return item

    @parallel_map
    def runs(item):
        return anyio.run(waits, item)

    @parallel_map(timeout=60)
    def runs_timed(item):
        return anyio.run(waits, item)

    async def main():
        assert to_sync(waits)(1) == 1
        assert waits.map([1, 2]) == list(waits.imap([1, 2])) == await waits.amap([1, 2]) == [1, 2]
        for function in runs, runs_timed:
            assert function.map([1, 2]) == list(function.imap([1, 2])) == await function.amap([1, 2]) == [1, 2]
            assert await to_async(function)(1) == 1
        assert runs_timed(1) == 1  # in a thread, for its timeout

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the loop that is blocked
        anyio.run(main, backend=backend)


def test_a_direct_call_is_a_plain_call_what_it_sets_stays():
    def inside():
        parallel_map(seen_then_set)(7)
        return var.get()

    assert contextvars.copy_context().run(inside) == "left by 7"


def test_the_current_span_is_right_in_every_way():
    trace = pytest.importorskip("opentelemetry.trace")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    tracer = sdk.TracerProvider().get_tracer("test")

    def ask(item):
        with tracer.start_as_current_span(f"item {item}") as span:
            inner = trace.get_current_span()
            return span.parent.span_id, inner is span

    async def aask(item):
        with tracer.start_as_current_span(f"item {item}") as span:
            await asyncio.sleep(0)
            return span.parent.span_id, trace.get_current_span() is span

    with tracer.start_as_current_span("the request") as request:
        here = request.get_span_context().span_id
        both, aboth = parallel_map(ask), parallel_map(aask)
        results = [
            *both.map(range(20)),
            *both.imap(range(20)),
            *asyncio.run(both.amap(range(20))),
            *aboth.map(range(20)),
            *asyncio.run(aboth.amap(range(20))),
            *asyncio.run(gather_bounded(*[aask(i) for i in range(20)])),
            both(1),
            asyncio.run(aboth(1)),
            to_sync(aask)(1),
            asyncio.run(to_async(ask)(1)),
        ]
        assert trace.get_current_span() is request
    assert set(results) == {(here, True)}


def test_an_item_that_leaves_a_scope_open_does_not_leak_it_into_the_next():
    @contextlib.contextmanager
    def scope(name):
        token = var.set(name)
        yield
        var.reset(token)

    entered = []

    def ask(item):
        manager = scope(f"open in {item}")
        manager.__enter__()
        entered.append(manager)  # never left
        return item

    def look(item):
        return var.get()

    ask_parallel, look_parallel = parallel_map(max_concurrency=1)(ask), parallel_map(max_concurrency=1)(look)
    ask_parallel.map(range(5))
    assert set(look_parallel.map(range(5))) == {"unset"}


# What a framework leaves on the thread itself (Streamlit keeps its script's run there)

RUNS_OF_A_DEF = {
    "map": lambda ask: parallel_map(max_concurrency=1)(ask).map(range(8)),
    "imap": lambda ask: list(parallel_map(max_concurrency=1)(ask).imap(iter(range(8)))),
    "amap": lambda ask: asyncio.run(parallel_map(max_concurrency=1)(ask).amap(range(8))),
    "timeout=": lambda ask: parallel_map(max_concurrency=1, timeout=60)(ask).map(range(8)),
    "timeout= of a direct call": lambda ask: [parallel_map(timeout=60)(ask)(1)],
    "to_async": lambda ask: [asyncio.run(to_async(ask)(1))],
}


@pytest.fixture
def few_threads():
    """Warm threads from before are put away, so that those which are started here serve again."""
    idle = warm_threads.current.idle
    warm = list(idle)
    idle.clear()
    yield
    idle.extendleft(warm)


@pytest.mark.parametrize("second", RUNS_OF_A_DEF.values(), ids=RUNS_OF_A_DEF)
@pytest.mark.parametrize("first", RUNS_OF_A_DEF.values(), ids=RUNS_OF_A_DEF)
def test_a_warm_thread_brings_nothing_of_one_users_run_to_another(first, second, few_threads):
    def leave(item):
        thread = threading.current_thread()
        thread.script_run_ctx = "one user's"
        thread.name = "one user's"

    def look(item):
        thread = threading.current_thread()
        return thread.ident in warm, getattr(thread, "script_run_ctx", None), thread.name

    first(leave)
    while len(warm_threads.current.idle) < (2 if first is RUNS_OF_A_DEF["timeout="] else 1):
        threading.Event().wait(0.001)
    warm = {thread.ident for thread in threading.enumerate()}
    seen = second(look)
    assert {(context, name) for _, context, name in seen} == {(None, "fanmap-worker")}
    if second is not RUNS_OF_A_DEF["timeout="]:  # which needs two threads
        assert all(was_warm for was_warm, _, _ in seen)


def test_within_one_run_a_thread_is_one_users():
    def ask(item):
        thread = threading.current_thread()
        seen = getattr(thread, "connection", None)
        thread.connection = item
        return seen

    assert parallel_map(max_concurrency=1)(ask).map(range(4)) == [None, 0, 1, 2]


def test_a_thread_that_failed_is_put_back_as_well(few_threads):
    def fail(item):
        threading.current_thread().script_run_ctx = "one user's"
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        parallel_map(fail, max_concurrency=1).map(range(4))
    while not warm_threads.current.idle:
        threading.Event().wait(0.001)
    assert parallel_map(lambda _: getattr(threading.current_thread(), "script_run_ctx", None)).map([1]) == [None]
