"""The two kinds of decorated function: direct calls, and being a function among functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast, overload

from typing_extensions import override

from fanmap._callables import fixed, mark_as_coroutine_function
from fanmap._drive.calls.direct import Single
from fanmap._drive.drivers import aio, loops, owners, threads
from fanmap._drive.limits.budget import Budget
from fanmap._drive.limits.limits import budget_of
from fanmap._plan import Settings
from fanmap._policy.limits.permit import THREADS
from fanmap._public import without_our_frames
from fanmap._ways import Parallel

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class ParallelFunction(Parallel[P, R_co]):
    """A `def` that can be run over many inputs at once; its calls run in worker threads.

    Calling it is calling the function, within its limits.
    """

    _is_async = False

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function once, within its limits; blocks until a call may start.

        Raises what the function raises; StopIteration becomes RuntimeError, as in a generator.
        """
        single = Single(self._plan("threads", direct=True), args, kwargs, THREADS)
        try:
            threads.call_here(single)
            return cast("R_co", single.result())
        except BaseException as error:
            __tracebackhide__ = True
            raise without_our_frames(error)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: ParallelFunction[Concatenate[Any, Q], S], instance: object, owner: type | None = None
    ) -> ParallelFunction[Q, S]: ...
    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return _bind(self, instance, owner)

    def partial(self, *args: Any, **kwargs: Any) -> ParallelFunction[..., R_co]:
        """The same with some arguments fixed, as `functools.partial` has it; same limits.

        Raises:
            TypeError: the function takes no such argument.
        """
        return self._copy(fixed(self._function, args, kwargs), self._settings)


class AsyncParallelFunction(Parallel[P, R_co]):
    """An `async def` that can be run over many inputs at once; its calls are tasks of an event loop.

    Calling it is calling the function, within its limits.
    """

    _is_async = True

    def __init__(self, function: Callable[..., Any], settings: Settings) -> None:
        super().__init__(function, settings)
        mark_as_coroutine_function(self)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function once, within its limits."""
        kind = loops.running()
        plan = self._plan(kind or "asyncio", direct=True)
        single = Single(plan, args, kwargs, owners.of_trio() if kind == "trio" else owners.running_here() or THREADS)
        try:
            if kind == "trio":
                from fanmap._drive.drivers import trio  # only where trio runs

                await trio.call_here(single)
            else:
                await aio.call_here(single)
            return cast("R_co", single.result())
        except BaseException as error:
            __tracebackhide__ = True
            raise without_our_frames(error)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: AsyncParallelFunction[Concatenate[Any, Q], S], instance: object, owner: type | None = None
    ) -> AsyncParallelFunction[Q, S]: ...
    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return _bind(self, instance, owner)

    def partial(self, *args: Any, **kwargs: Any) -> AsyncParallelFunction[..., R_co]:
        """The same with some arguments fixed, as `functools.partial` has it; same limits.

        Raises:
            TypeError: the function takes no such argument.
        """
        return AsyncParallelFunction(fixed(self._function, args, kwargs), self._settings)


def budget_behind(function: object) -> Budget | None:
    """The budget of a decorated function; None: it is not decorated."""
    return budget_of(function._settings.limits) if isinstance(function, Parallel) else None  # pyright: ignore


class BoundByClass(classmethod):  # type: ignore[type-arg]
    """A class method that asks the decorated function to bind, as `classmethod` did up to Python 3.12."""

    @override
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        bind = cast("Callable[[Any, type], Any]", cast("Any", self).__func__.__get__)
        return bind(type(cast("object", instance)) if owner is None else owner, type)


def _bind(function: Any, instance: object, owner: type | None) -> Any:
    if instance is None:
        return function
    bind: Any = getattr(cast("Any", type(function._function)), "__get__", None)
    if bind is None:  # a callable object or a builtin does not bind
        return function
    bound = bind(function._function, instance, owner)
    return function if bound is function._function else function._copy(bound, function._settings)
