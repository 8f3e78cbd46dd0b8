"""Context variables reach every call, and no item sees what another one set."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars

import pytest

from fanmap import gather_bounded, parallel_map, to_async, to_sync

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


@pytest.mark.parametrize("way", WAYS)
def test_every_item_sees_the_callers_variables_and_none_of_another_items(way):
    def inside():
        var.set("the caller's")
        seen = WAYS[way]()
        assert var.get() == "the caller's"
        return seen

    assert set(contextvars.copy_context().run(inside)) == {"the caller's"}


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
