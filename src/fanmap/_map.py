"""`parallel_map`: from a function to one that runs over many inputs at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast, overload

from typing_extensions import Unpack, override

from fanmap._callables import is_coroutine_function, is_generator_function
from fanmap._drive.limits.limits import Limits
from fanmap._drive.limits.settings import PerMinute, RateLike
from fanmap._functions import AsyncParallelFunction, BoundByClass, ParallelFunction
from fanmap._plan import CallOptions, Settings, check_calls, check_limits
from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.runs.attempt import Retry
from fanmap._public import public
from fanmap._ways import Parallel

P = ParamSpec("P")
R = TypeVar("R")


@overload
def parallel_map(function: None = None, /, **settings: Unpack[CallOptions]) -> _Decorator: ...
# A coroutine function is also a function that returns something: the first that fits is meant.
@overload
def parallel_map(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    function: Callable[P, Coroutine[Any, Any, R]], /, **settings: Unpack[CallOptions]
) -> AsyncParallelFunction[P, R]: ...
@overload
def parallel_map(function: Callable[P, R], /, **settings: Unpack[CallOptions]) -> ParallelFunction[P, R]: ...
@public
def parallel_map(
    function: Callable[P, R] | Callable[P, Coroutine[Any, Any, R]] | None = None,
    /,
    *,
    max_concurrency: int | Literal["auto"] | Adaptive | None = None,
    rpm: PerMinute | None = None,
    tpm: PerMinute | None = None,
    rate: RateLike | Sequence[RateLike] = (),
    retry: Retry | Literal[False] | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
) -> ParallelFunction[P, R] | AsyncParallelFunction[P, R] | _Decorator:
    """Make a function run over many inputs at once; bare or with arguments.

    Works on functions, methods, partials, callable objects and builtins; above `@classmethod` and
    `@staticmethod`.

    Args:
        max_concurrency: calls under way at once, direct ones included: an int >= 1, an `Adaptive`, or
            `"auto"`, which finds how many the server can take. None: 8.
        rpm: calls that start in any 60 seconds; >= 1. `"auto"`: the limit that the server states. None: no such limit.
        tpm: tokens in any 60 seconds; > 0. `"auto"`: the limit that the server states. None: no such limit.
        rate: a `Rate`, an `aiolimiter.AsyncLimiter`, or several.
        retry: what to repeat beyond what the server refused to start: a `Retry`. None: only that, which
            needs no asking because nothing was done. False: nothing is ever sent twice.
        timeout: seconds for one attempt, queueing not counted; > 0. A `def` then runs in a thread of its
            own, which is left behind when it is late.
        limits: a `Limits` to share; excludes `max_concurrency`, `rpm`, `tpm` and `rate`.

    Returns:
        A `ParallelFunction` or `AsyncParallelFunction`, callable as before, with `map`, `amap`, `imap`,
        `as_completed`, `stream`, `batch`, `abatch`, `partial` and `with_options`, and with its `limits` and `stats`.

    Raises:
        TypeError, ValueError: not a function, or a setting out of its bounds.
    """
    if limits is not None:
        check_limits(limits)
        if max_concurrency is not None or rpm is not None or tpm is not None or rate != ():
            raise TypeError("max_concurrency, rpm, tpm and rate belong to the Limits: give either them or limits=")
    else:
        limits = Limits(8 if max_concurrency is None else max_concurrency, rpm=rpm, tpm=tpm, rate=rate)
    check_calls(retry, timeout)
    decorator = _Decorator(Settings(limits, retry, timeout, None))
    return decorator if function is None else decorator.decorate(function)


_HOW = "write parallel_map(...)(function).map(inputs)"


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

    if not TYPE_CHECKING:  # type checkers name what is missing by themselves

        def __call__(self, *functions: Any) -> Any:
            if len(functions) != 1:
                raise TypeError("parallel_map(...) takes 1 positional argument, the function: " + _HOW)
            return self.decorate(functions[0])

        def __getattr__(self, name: str) -> Any:
            text = f"parallel_map(...) without its function has no attribute {name!r}"
            if hasattr(Parallel, name) and not name.startswith("_"):
                text += f": write parallel_map(...)(function).{name}(inputs)"
            raise AttributeError(text, name=name, obj=self)

    @override
    def __repr__(self) -> str:
        return f"<parallel_map(...) under {self._settings.limits!r}, without its function>"

    def decorate(self, function: Any) -> Any:
        """The decorated function, of the kind that fits."""
        if isinstance(function, classmethod):
            return BoundByClass(self.decorate(cast("classmethod[Any, ..., Any]", function).__func__))
        if isinstance(function, staticmethod):
            return staticmethod(self.decorate(cast("staticmethod[..., Any]", function).__func__))
        if isinstance(function, Parallel):
            raise TypeError("parallel_map must be given the plain function, got one that is already decorated")
        if not callable(function):
            from fanmap._hints import values  # only where something is wrong

            if inspect.iscoroutine(function):
                function.close()  # nobody will await it
            raise TypeError(
                f"parallel_map must be given a function, got {type(function).__name__}: {values.decorated(function)}"
            )
        streams = is_generator_function(function)
        made: Any = AsyncParallelFunction if is_coroutine_function(function) else ParallelFunction
        if streams is not None:
            from fanmap._streams import AsyncStreamFunction, StreamFunction  # only where one is decorated

            made = StreamFunction if streams == "sync" else AsyncStreamFunction
        return made(function, self._settings)
