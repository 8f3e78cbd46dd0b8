"""How a user's function, and one item of input, become a call.

Looks at functions, inputs and settings; runs nothing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Literal, cast

from fanmap._drive import aio, launch
from fanmap._drive.calls import Arguments, Plan, direct_arguments
from fanmap._drive.limits import Limits, asyncio_only, budget_of
from fanmap._policy.attempt import Retry
from fanmap._policy.rate import check_positive


@dataclass(frozen=True, slots=True)
class Settings:
    """What a decorated function was given; frozen, so that copies may share it."""

    limits: Limits
    retry: Retry | Literal[False] | None
    timeout: float | None
    workers: int | None  # the default of its runs; None: as many as the limits allow


def make_plan(function: Callable[..., Any], settings: Settings, where: str, *, unpack: bool, direct: bool) -> Plan:
    """How this function's items become calls, in that place."""
    name = name_of(function)
    call: Callable[[Any], Any] = function
    arguments: Callable[[Any], Arguments] = _one_argument
    if direct or unpack:
        arguments = direct_arguments if direct else functools.partial(_unpacked, name)
        call = functools.partial(_call_with, function, arguments)
    if isinstance(function, functools.partial):
        arguments = functools.partial(_with_fixed, cast("functools.partial[Any]", function), arguments)
    call = wrap_for(where, call, settings.limits, settings.timeout)
    plain = not is_coroutine_function(function)
    return Plan(name, call, arguments, budget_of(settings.limits), retry=settings.retry, plain=plain)


def wrap_for(where: str, call: Callable[[Any], Any], limits: Limits, timeout: float | None) -> Callable[[Any], Any]:
    """The call with what must surround it in that place: a bound on its time, users' AsyncLimiters."""
    limiters = budget_of(limits).limiters
    if timeout is not None:
        call = launch.with_timeout(where, call, timeout)
    if limiters:
        if where not in ("asyncio", "portal"):
            raise TypeError(asyncio_only(limiters))
        call = aio.with_limiters(call, limiters)
    return call


# What a function is


def name_of(function: Any) -> str:
    """The function's name, for notes and messages."""
    function = innermost(function)
    return getattr(function, "__name__", None) or type(function).__name__


def is_coroutine_function(function: Any) -> bool:
    """Does calling it give a coroutine? Looks through partials and callable objects."""
    return any(inspect.iscoroutinefunction(one) for one in _both(function))


def is_generator_function(function: Any) -> bool:
    """Does calling it give a generator, of either kind?"""
    return any(inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one) for one in _both(function))


def _both(function: Any) -> tuple[Any, Any]:
    function = innermost(function)
    return function, getattr(cast("type[Any]", type(function)), "__call__", None)  # noqa: B004 (the class's own: calling a class makes an instance)


def innermost(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = cast("functools.partial[Any]", function).func
    return function


# What the settings are


def check_limits(limits: object) -> None:
    """A Limits, or an error that says so."""
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a Limits or None, got {limits!r}")


def check_calls(retry: object, timeout: float | None) -> None:
    """The settings of single calls, or an error that names the parameter."""
    if not (retry is None or retry is False or isinstance(retry, Retry)):
        raise TypeError(f"retry must be a Retry, False or None, got {retry!r}: write retry=Retry(attempts=4)")
    if timeout is not None:
        check_positive("timeout", timeout)


# What the inputs are


def sync_inputs(inputs: Any, what: str) -> Sequence[Any] | Iterator[Any]:
    """What a run takes as its source: a sequence that workers may index, or an iterator."""
    check_inputs(inputs, what)
    # Exactly these: a subclass may iterate otherwise than it indexes.
    if type(inputs) in (list, tuple, range):
        return cast("Sequence[Any]", inputs)
    return cast("Iterator[Any]", iter(inputs))


def length_of(inputs: object) -> int | None:
    """How many inputs there are, where they say so; an iterator may have been begun."""
    if not isinstance(inputs, Sized) or isinstance(inputs, Iterator):
        return None
    try:
        return len(inputs)
    except TypeError:  # as those that only pretend to have a length do
        return None


def check_inputs(inputs: object, what: str) -> None:
    """Inputs are an iterable of items: not one string, which would be taken letter by letter."""
    if isinstance(inputs, (str, bytes, bytearray)):
        raise TypeError(f"{what} must be given an iterable of inputs, got one {type(inputs).__name__}: write [text]")
    if isinstance(inputs, AsyncIterable) and not isinstance(inputs, Iterable):
        raise TypeError(f"{what} must be given an iterable, got an async one: write `await ...amap(...)`")
    if not isinstance(inputs, Iterable):
        raise TypeError(f"{what} must be given an iterable of inputs, got {type(inputs).__name__}")


def _call_with(function: Callable[..., Any], arguments: Callable[[Any], Arguments], item: Any) -> Any:
    args, kwargs = arguments(item)
    return function(*args, **kwargs)


def _one_argument(item: Any) -> Arguments:
    return (item,), {}


def _unpacked(name: str, item: Any) -> Arguments:
    if isinstance(item, tuple):
        return tuple(cast("tuple[Any, ...]", item)), {}
    if isinstance(item, Mapping):
        return (), cast("Mapping[str, Any]", item)
    raise TypeError(
        f"unpack=True must be given tuples (for *args) or mappings (for **kwargs) as inputs of {name}, "
        f"got {type(item).__name__}"
    )


def _with_fixed(fixed: functools.partial[Any], arguments: Callable[[Any], Arguments], item: Any) -> Arguments:
    """The arguments that the innermost function sees, for a rate's cost."""
    args, kwargs = arguments(item)
    return (*fixed.args, *args), {**fixed.keywords, **kwargs}
