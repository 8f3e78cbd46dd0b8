"""`parallel_map`: from a function to one that runs over many inputs at once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal, ParamSpec, TypeVar, cast, overload

from fanmap._drive.limits import Limits, RateLike
from fanmap._functions import AsyncParallelFunction, BoundByClass, ParallelFunction
from fanmap._plan import (
    Settings,
    check_calls,
    check_limits,
    is_coroutine_function,
    is_generator_function,
    name_of,
)
from fanmap._policy.adaptive import Adaptive
from fanmap._policy.attempt import Retry
from fanmap._ways import Parallel

P = ParamSpec("P")
R = TypeVar("R")


@overload
def parallel_map(
    function: None = None,
    /,
    *,
    max_concurrency: int | Literal["auto"] | Adaptive | None = None,
    rpm: float | None = None,
    tpm: float | None = None,
    rate: RateLike | Sequence[RateLike] = (),
    retry: Retry | Literal[False] | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
) -> _Decorator: ...
# A coroutine function is also a function that returns something: the first that fits is meant.
@overload
def parallel_map(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    function: Callable[P, Coroutine[Any, Any, R]],
    /,
    *,
    max_concurrency: int | Literal["auto"] | Adaptive | None = None,
    rpm: float | None = None,
    tpm: float | None = None,
    rate: RateLike | Sequence[RateLike] = (),
    retry: Retry | Literal[False] | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
) -> AsyncParallelFunction[P, R]: ...
@overload
def parallel_map(
    function: Callable[P, R],
    /,
    *,
    max_concurrency: int | Literal["auto"] | Adaptive | None = None,
    rpm: float | None = None,
    tpm: float | None = None,
    rate: RateLike | Sequence[RateLike] = (),
    retry: Retry | Literal[False] | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
) -> ParallelFunction[P, R]: ...
def parallel_map(
    function: Any = None,
    /,
    *,
    max_concurrency: int | Literal["auto"] | Adaptive | None = None,
    rpm: float | None = None,
    tpm: float | None = None,
    rate: RateLike | Sequence[RateLike] = (),
    retry: Retry | Literal[False] | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
) -> Any:
    """Make a function run over many inputs at once; bare or with arguments.

    Works on functions, methods, partials, callable objects and builtins; above `@classmethod` and
    `@staticmethod`.

    Args:
        max_concurrency: calls under way at once, direct ones included: an int >= 1, an `Adaptive`, or
            `"auto"`, which finds what the server bears. None: 8.
        rpm: calls that start in any 60 seconds; > 0. None: no such limit.
        tpm: tokens in any 60 seconds; > 0. None: no such limit.
        rate: a `Rate`, an `aiolimiter.AsyncLimiter`, or several.
        retry: what to repeat beyond what the server refused to start: a `Retry`. None: only that, which
            needs no asking because nothing was done. False: nothing is ever sent twice.
        timeout: seconds for one attempt, queueing not counted; > 0. A `def` then runs in a thread of its
            own, which is left behind when it is late.
        limits: a `Limits` to share; excludes `max_concurrency`, `rpm`, `tpm` and `rate`.

    Returns:
        A `ParallelFunction` or `AsyncParallelFunction`, callable as before, with `map`, `amap`, `imap`,
        `as_completed`, `partial` and `with_options`.

    Raises:
        TypeError, ValueError: not a function, a generator function, or a setting out of its bounds.
    """
    if limits is not None:
        check_limits(limits)
        if max_concurrency is not None or rpm is not None or tpm is not None or rate != ():
            raise TypeError("max_concurrency, rpm, tpm and rate belong to the Limits: give either them or limits=")
    else:
        limits = Limits(8 if max_concurrency is None else max_concurrency, rpm, tpm, rate)
    check_calls(retry, timeout)
    decorator = _Decorator(Settings(limits, retry, timeout, None))
    return decorator if function is None else decorator.decorate(function)


class _Decorator:
    """`parallel_map(...)` with its settings, waiting for the function."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncParallelFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> ParallelFunction[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        return self.decorate(function)

    def decorate(self, function: Any) -> Any:
        """The decorated function, of the kind that fits."""
        if isinstance(function, classmethod):
            return BoundByClass(self.decorate(cast("classmethod[Any, ..., Any]", function).__func__))
        if isinstance(function, staticmethod):
            return staticmethod(self.decorate(cast("staticmethod[..., Any]", function).__func__))
        if isinstance(function, Parallel):
            raise TypeError("parallel_map must be given the plain function, got one that is decorated already")
        if not callable(function):
            raise TypeError(
                f"parallel_map must be given a function, got {type(function).__name__}: settings have names, for "
                "instance parallel_map(max_concurrency=8), and inputs go to .map(inputs)"
            )
        if is_generator_function(function):
            raise TypeError(
                f"parallel_map cannot run a generator function ({name_of(function)}): "
                "write a function that returns the whole result, for instance `''.join(...)`"
            )
        made: Any = AsyncParallelFunction if is_coroutine_function(function) else ParallelFunction
        return made(function, self._settings)
