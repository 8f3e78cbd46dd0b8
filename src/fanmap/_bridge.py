"""`to_sync` and `to_async`: the bridge between the two kinds of function, once a call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Literal, ParamSpec, TypeVar

import anyio
from anyio.lowlevel import RunVar

from fanmap._callables import (
    is_coroutine_function,
    is_generator_function,
    name_of,
    unmark_as_coroutine_function,
)
from fanmap._drive.calls.scope import current_scope
from fanmap._drive.drivers import portal, threads
from fanmap._drive.runs import launch
from fanmap._errors import BridgeError
from fanmap._functions import budget_behind
from fanmap._public import public, without_our_frames
from fanmap._ways import Parallel

P = ParamSpec("P")
R = TypeVar("R")

_MOST_THREADS = 64
_STREAMS = ": decorate the function with @parallel_map and write `for index, chunk in function.stream(inputs)`"
_YIELDS = {"sync": "a generator function", "async": "an async generator function"}
_threads_at_once: RunVar[anyio.CapacityLimiter] = RunVar("fanmap_threads_at_once")


@public
def to_sync(async_function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """A blocking version of an async function, also as a decorator.

    Same as: `asyncio.run(async_function(...))`, but on one background loop that lives as long as the
    process: a client and its connection pool outlive the call, and it also works inside a running loop.

    Args:
        async_function: an `async def`.

    Returns:
        A function with the same signature; raises what the function raises.

    Raises:
        TypeError: not an `async def`, or one that yields.
        BridgeError: when called on the background loop itself, or by a call of a `.map` that blocks it, where it
            would wait for itself, or by a finalizer at the interpreter's exit, where no loop runs any more.

    Cancellation: Ctrl-C cancels the call and waits for its clean-up.
    Context: the function sees the caller's context variables; what it sets stays with it.
    """
    if not is_coroutine_function(async_function):
        if inspect.iscoroutine(async_function):
            async_function.close()
            raise TypeError("to_sync must be given an `async def`, got its coroutine: write to_sync(function)(...)")
        line = ": call it directly" if callable(async_function) else ""
        if _yields(async_function) or inspect.isasyncgen(async_function):
            line = _STREAMS
        raise TypeError(f"to_sync must be given an `async def`, got {_shown(async_function)}{line}")
    name, budget = name_of(async_function), budget_behind(async_function)

    @functools.wraps(async_function)
    def blocking(*args: P.args, **kwargs: P.kwargs) -> R:
        if portal.is_here():
            raise BridgeError(
                f"to_sync({name}) was called on the background loop, which it would block: write `await {name}(...)`"
            )
        if portal.would_wait_for_itself():
            raise BridgeError(f"to_sync({name}) runs on the background loop, {launch.BLOCKED}")
        look = None
        if budget is not None:
            look = functools.partial(
                threads.check_bridge, name=name, budget=budget, outer=current_scope.get(), delay=None
            )
        try:
            return portal.run(functools.partial(async_function, *args, **kwargs), look)  # type: ignore[no-any-return]
        except BaseException as error:
            __tracebackhide__ = True
            raise without_our_frames(error)

    unmark_as_coroutine_function(blocking)
    return blocking


@public
def to_async(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """An awaitable version of a blocking function, also as a decorator; for asyncio and trio.

    Same as: `asyncio.to_thread(function, ...)`, with at most 64 threads at once for each event loop.

    Args:
        function: a `def`.

    Returns:
        An async function with the same parameters; raises what the function raises (StopIteration becomes
        RuntimeError, as in a generator).

    Raises:
        TypeError: not a `def`, or one that yields.

    Cancellation: the await ends at once; the thread cannot be killed and runs on, its result dropped.
    Context: the function sees the caller's context variables; what it sets stays with it.
    """
    if not callable(function) or is_coroutine_function(function) or _yields(function):
        line = ": await it directly" if callable(function) or inspect.isawaitable(function) else ""
        if not line and function is not None:  # what it returned
            line = ": write the function without calling it, to_async(function)"
        if _yields(function):
            line = _STREAMS
        raise TypeError(f"to_async must be given a `def`, got {_shown(function)}{line}")

    @functools.wraps(function)
    async def awaiting(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            limiter = _threads_at_once.get()
        except LookupError:
            limiter = anyio.CapacityLimiter(_MOST_THREADS)
            _threads_at_once.set(limiter)
        async with limiter:
            try:
                return await launch.in_thread(functools.partial(function, *args, **kwargs))  # type: ignore[no-any-return]
            except BaseException as error:
                __tracebackhide__ = True
                raise without_our_frames(error)

    return awaiting


def _shown(function: object) -> str:
    if not callable(function):
        return "None" if function is None else type(function).__name__
    kind = "an `async def`" if is_coroutine_function(function) else "a `def`"
    return f"{_YIELDS.get(_yields(function) or '', kind)} ({name_of(function)})"


def _yields(function: object) -> Literal["sync", "async"] | None:
    return is_generator_function(function._function if isinstance(function, Parallel) else function)  # pyright: ignore
