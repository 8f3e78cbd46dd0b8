"""The same map in every way there is: ours, the standard library's, and other libraries'.

A way that needs a package which is not installed raises ImportError; the table then says so.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import warnings
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fanmap import gather_bounded, parallel_map

# Said once where a blocking run is made inside a running loop, which is what is measured here.
warnings.filterwarnings("ignore", message="a blocking run of ", category=UserWarning)

Items = Sequence[Any]
AsyncMap = Callable[[Callable[[Any], Awaitable[Any]], Items, int], Awaitable[object]]
ThreadMap = Callable[[Callable[[Any], Any], Items, int], object]


# Ours


async def amap(function: Any, items: Items, at_once: int) -> object:
    return await parallel_map(max_concurrency=at_once)(function).amap(items)


async def amap_of_generator(function: Any, items: Items, at_once: int) -> object:
    return await parallel_map(max_concurrency=at_once)(function).amap(item for item in items)


async def async_imap(function: Any, items: Items, at_once: int) -> object:
    return [value async for value in parallel_map(max_concurrency=at_once)(function).imap(items)]


async def async_as_completed(function: Any, items: Items, at_once: int) -> object:
    return [outcome async for outcome in parallel_map(max_concurrency=at_once)(function).as_completed(items)]


async def background_map(function: Any, items: Items, at_once: int) -> object:
    return parallel_map(max_concurrency=at_once)(function).map(items)  # blocks here; the calls run on another loop


async def background_imap(function: Any, items: Items, at_once: int) -> object:
    return list(parallel_map(max_concurrency=at_once)(function).imap(items))


async def gather_bounded_positional(function: Any, items: Items, at_once: int) -> object:
    return await gather_bounded(*[function(item) for item in items], max_concurrency=at_once)


async def gather_bounded_generator(function: Any, items: Items, at_once: int) -> object:
    return await gather_bounded((function(item) for item in items), max_concurrency=at_once)


def threads_map(function: Any, items: Items, at_once: int) -> object:
    return parallel_map(max_concurrency=at_once)(function).map(items)


def threads_imap(function: Any, items: Items, at_once: int) -> object:
    return list(parallel_map(max_concurrency=at_once)(function).imap(items))


# The standard library


async def gather(function: Any, items: Items, at_once: int) -> object:
    del at_once  # it has no bound
    return await asyncio.gather(*[function(item) for item in items])


async def gather_with_semaphore(function: Any, items: Items, at_once: int) -> object:
    semaphore = asyncio.Semaphore(at_once)

    async def one(item: Any) -> Any:
        async with semaphore:
            return await function(item)

    return await asyncio.gather(*[one(item) for item in items])


async def task_group(function: Any, items: Items, at_once: int) -> object:
    semaphore = asyncio.Semaphore(at_once)

    async def one(item: Any) -> Any:
        async with semaphore:
            return await function(item)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(item)) for item in items]
    return [task.result() for task in tasks]


def executor_map(function: Any, items: Items, at_once: int) -> object:
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(function, items))


# Other libraries


async def aiometer_run_all(function: Any, items: Items, at_once: int) -> object:
    import aiometer

    return await aiometer.run_all([functools.partial(function, item) for item in items], max_at_once=at_once)


async def streamable_async(function: Any, items: Items, at_once: int) -> object:
    import streamable

    return [value async for value in streamable.stream(items).map(function, concurrency=at_once)]


async def tqdm_gather(function: Any, items: Items, at_once: int) -> object:
    from tqdm.asyncio import tqdm

    del at_once  # it has no bound
    return await tqdm.gather(*[function(item) for item in items], disable=True)


async def langchain_abatch(function: Any, items: Items, at_once: int) -> object:
    from langchain_core.runnables import RunnableLambda

    return await RunnableLambda(function).abatch(list(items), config={"max_concurrency": at_once})


async def pocketflow_parallel(function: Any, items: Items, at_once: int) -> object:
    from pocketflow import AsyncParallelBatchNode

    del at_once  # it has no bound

    class Node(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return items

        async def exec_async(self, prep_res: Any) -> Any:
            return await function(prep_res)

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["out"] = exec_res

    shared: dict[str, Any] = {}
    await Node().run_async(shared)
    return shared["out"]


async def pyarallel_async(function: Any, items: Items, at_once: int) -> object:
    import pyarallel

    return list(await pyarallel.async_parallel_map(function, items, concurrency=at_once))


async def async_batch_llm_prompts(function: Any, items: Items, at_once: int) -> object:
    import async_batch_llm

    logging.getLogger("async_batch_llm").setLevel(logging.CRITICAL)

    async def invoke(prompt: Any, *, attempt: int, timeout: float, state: Any) -> Any:
        del attempt, timeout, state
        return async_batch_llm.CallOutcome(output=await function(prompt))

    return await async_batch_llm.process_prompts(
        async_batch_llm.CallableStrategy(invoke),
        [str(item) for item in items],
        concurrency=at_once,
        preserve_order=True,
    )


def tqdm_thread_map(function: Any, items: Items, at_once: int) -> object:
    from tqdm.contrib.concurrent import thread_map

    return thread_map(function, items, max_workers=at_once, disable=True)


def joblib_threading(function: Any, items: Items, at_once: int) -> object:
    from joblib import Parallel, delayed

    return Parallel(n_jobs=at_once, backend="threading")(delayed(function)(item) for item in items)


def langchain_batch(function: Any, items: Items, at_once: int) -> object:
    from langchain_core.runnables import RunnableLambda

    return RunnableLambda(function).batch(list(items), config={"max_concurrency": at_once})


def streamable_threads(function: Any, items: Items, at_once: int) -> object:
    import streamable

    return list(streamable.stream(items).map(function, concurrency=at_once))


def pyarallel_threads(function: Any, items: Items, at_once: int) -> object:
    import pyarallel

    return list(pyarallel.parallel_map(function, items, workers=at_once))


def anyio_to_thread(function: Any, items: Items, at_once: int) -> object:
    import anyio
    import anyio.to_thread

    async def main() -> list[Any]:
        results: list[Any] = [None] * len(items)
        limiter = anyio.CapacityLimiter(at_once)

        async def one(place: int, item: Any) -> None:
            results[place] = await anyio.to_thread.run_sync(function, item, limiter=limiter)

        async with anyio.create_task_group() as group:
            for place, item in enumerate(items):
                group.start_soon(one, place, item)
        return results

    return anyio.run(main)


ASYNC: dict[str, AsyncMap] = {
    "asyncio.gather + Semaphore": gather_with_semaphore,
    "asyncio.gather, no bound": gather,
    "fanmap amap, list": amap,
    "fanmap amap, generator": amap_of_generator,
    "fanmap imap, list": async_imap,
    "fanmap as_completed, list": async_as_completed,
    "fanmap map, background loop": background_map,
    "fanmap imap, background loop": background_imap,
    "fanmap gather_bounded, *aws": gather_bounded_positional,
    "fanmap gather_bounded, generator": gather_bounded_generator,
    "asyncio.TaskGroup + Semaphore": task_group,
    "aiometer run_all": aiometer_run_all,
    "streamable map": streamable_async,
    "tqdm.asyncio gather, no bound": tqdm_gather,
    "langchain-core abatch": langchain_abatch,
    "pocketflow parallel, no bound": pocketflow_parallel,
    "pyarallel async": pyarallel_async,
    "async-batch-llm": async_batch_llm_prompts,
}
THREADS: dict[str, ThreadMap] = {
    "ThreadPoolExecutor.map": executor_map,
    "fanmap map": threads_map,
    "fanmap imap": threads_imap,
    "tqdm thread_map": tqdm_thread_map,
    "joblib threading": joblib_threading,
    "langchain-core batch": langchain_batch,
    "streamable map": streamable_threads,
    "pyarallel": pyarallel_threads,
    "anyio.to_thread": anyio_to_thread,
}
# More than 100 µs a call: a tenth of the calls is enough to see that.
SLOW = {"langchain-core abatch", "langchain-core batch", "async-batch-llm", "anyio.to_thread", "pyarallel async",
        "pyarallel", "joblib threading"}  # fmt: skip


async def usable_async() -> tuple[dict[str, AsyncMap], dict[str, str]]:
    """The ways that work here, each tried once and its results checked, and why the others don't."""

    async def double(item: Any) -> int:
        await asyncio.sleep(0)
        return 2 * int(item)

    good: dict[str, AsyncMap] = {}
    bad: dict[str, str] = {}
    for name, way in ASYNC.items():
        try:
            out: Any = await way(double, list(range(20)), 4)
        except ImportError as error:
            bad[name] = f"not installed ({error.name})"
        except Exception as error:
            bad[name] = f"failed: {type(error).__name__}"
        else:
            del out
            good[name] = way
    return good, bad


def usable_threads() -> tuple[dict[str, ThreadMap], dict[str, str]]:
    """As `usable_async`."""
    good: dict[str, ThreadMap] = {}
    bad: dict[str, str] = {}
    for name, way in THREADS.items():
        try:
            out: Any = way(lambda item: 2 * item, list(range(20)), 4)
        except ImportError as error:
            bad[name] = f"not installed ({error.name})"
        except Exception as error:
            bad[name] = f"failed: {type(error).__name__}"
        else:
            assert list(out) == [2 * item for item in range(20)] or name == "async-batch-llm", name
            good[name] = way
    return good, bad
