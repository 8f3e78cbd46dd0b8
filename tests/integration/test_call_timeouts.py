"""A thread is left behind by the call that was late, and is counted once, by that call."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fanmap import CallTimeout, Limits, parallel_map, to_sync

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def late():
    """A blocking call that is late, and ends when the test does."""
    over = threading.Event()
    yield lambda item: over.wait()
    over.set()


@pytest.mark.parametrize("timeout", [None, 60])
@pytest.mark.parametrize("how", ["direct", "map"])
def test_one_that_a_def_passes_on_is_the_inner_calls(late, timeout, how):
    inside, around = Limits(4), Limits(4)
    inner = parallel_map(late, limits=inside, timeout=0.01)

    @parallel_map(limits=around, timeout=timeout)
    def outer(item):
        return inner(item) if how == "direct" else inner.map([item])[0]

    results = outer.map(range(3), return_exceptions=True)
    assert [type(result) for result in results] == [CallTimeout] * 3
    assert (inside.stats.abandoned, around.stats.abandoned) == (3, 0)
    with pytest.raises(CallTimeout):
        outer(1)
    assert (inside.stats.abandoned, around.stats.abandoned) == (4, 0)


def test_one_out_of_an_async_call_inside_leaves_no_thread_behind():
    inside, around = Limits(4), Limits(4)

    @parallel_map(limits=inside, timeout=0.01)
    async def inner(item):
        await asyncio.sleep(1000)

    outer = parallel_map(lambda item: to_sync(inner)(item), limits=around)
    assert [type(result) for result in outer.map(range(3), return_exceptions=True)] == [CallTimeout] * 3
    assert (inside.stats.abandoned, around.stats.abandoned) == (0, 0)


def test_one_of_the_users_own_leaves_none_behind():
    account = Limits(4)

    @parallel_map(limits=account)
    def ask(item):
        raise CallTimeout("my own")

    ask.map(range(3), return_exceptions=True)
    assert account.stats.abandoned == 0


def test_its_own_is_counted_also_where_the_call_around_has_a_timeout_too(late):
    account = Limits(4)
    inner = parallel_map(late, limits=account, timeout=0.01)
    outer = parallel_map(lambda item: inner(item), limits=account, timeout=60)
    with pytest.raises(CallTimeout):
        outer(0)
    assert account.stats.abandoned == 1
