"""`to_sync` and `to_async`: the bridge between the two kinds of function, once a call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import anyio
from anyio.lowlevel import RunVar

from fanmap._drive import launch, portal, threads
from fanmap._drive.budget import current_scope
from fanmap._errors import BridgeError
from fanmap._functions import budget_behind
from fanmap._plan import is_coroutine_function, name_of

P = ParamSpec("P")
R = TypeVar("R")

_MOST_THREADS = 64
_threads_at_once: RunVar[anyio.CapacityLimiter] = RunVar("fanmap_threads_at_once")


def to_sync(async_function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """A blocking version of an async function, also as a decorator.

    Same as: `asyncio.run(async_function(...))`, but on one background loop that lives as long as the
    process: a client and its connection pool outlive the call, and it also works inside a running loop.

    Args:
        async_function: an `async def`.

    Returns:
        A function with the same signature; raises what the function raises.

    Raises:
        TypeError: not an `async def`.
        BridgeError: when called on the background loop itself, where it would wait for itself.

    Cancellation: Ctrl-C cancels the call and waits for its clean-up.
    Context: the function sees the caller's context variables; what it sets stays with it.
    """
    if not is_coroutine_function(async_function):
        if inspect.iscoroutine(async_function):
            async_function.close()
            raise TypeError("to_sync must be given an `async def`, got its coroutine: write to_sync(function)(...)")
        raise TypeError(f"to_sync must be given an `async def`, got {_shown(async_function)}: call it as it is")
    name, budget = name_of(async_function), budget_behind(async_function)

    @functools.wraps(async_function)
    def blocking(*args: P.args, **kwargs: P.kwargs) -> R:
        if portal.is_here():
            raise BridgeError(
                f"to_sync({name}) was called on the background loop, which it would block: write `await {name}(...)`"
            )
        look = None
        if budget is not None:
            look = functools.partial(threads.check_bridge, name, budget, current_scope.get(), None)
        return portal.run(functools.partial(async_function, *args, **kwargs), look)  # type: ignore[no-any-return]

    _unmark(blocking)
    return blocking


def to_async(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """An awaitable version of a blocking function, also as a decorator; for asyncio and trio.

    Same as: `asyncio.to_thread(function, ...)`, with at most 64 threads at once for each event loop.

    Args:
        function: a `def`.

    Returns:
        An async function with the same parameters; raises what the function raises (StopIteration becomes
        RuntimeError, as in a generator).

    Raises:
        TypeError: not a `def`.

    Cancellation: the await ends at once; the thread cannot be killed and runs on, its result dropped.
    Context: the function sees the caller's context variables; what it sets stays with it.
    """
    if not callable(function) or is_coroutine_function(function):
        raise TypeError(f"to_async must be given a `def`, got {_shown(function)}: await it as it is")

    @functools.wraps(function)
    async def awaiting(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            limiter = _threads_at_once.get()
        except LookupError:
            limiter = anyio.CapacityLimiter(_MOST_THREADS)
            _threads_at_once.set(limiter)
        async with limiter:
            return await launch.in_thread(functools.partial(function, *args, **kwargs))  # type: ignore[no-any-return]

    return awaiting


def _shown(function: object) -> str:
    if not callable(function):
        return type(function).__name__
    return f"{'an `async def`' if is_coroutine_function(function) else 'a `def`'} ({name_of(function)})"


def _unmark(function: Callable[..., Any]) -> None:
    """A blocking function is no coroutine function, whatever marks it copied from the async one."""
    for mark in ("_is_coroutine_marker", "_is_coroutine"):
        function.__dict__.pop(mark, None)
