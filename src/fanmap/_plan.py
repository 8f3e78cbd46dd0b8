"""How a user's function, and one item of input, become a call.

Looks at functions, items and settings; runs nothing.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict, cast

from typing_extensions import override

from fanmap._callables import is_coroutine_function, is_generator_function, name_of
from fanmap._drive.calls.direct import direct_arguments
from fanmap._drive.calls.plan import Arguments, Plan
from fanmap._drive.drivers import aio
from fanmap._drive.limits.limits import Limits, budget_of, kind_of
from fanmap._drive.limits.settings import PerMinute, RateLike, asyncio_only
from fanmap._drive.runs import launch
from fanmap._policy.checks import check_count, check_positive
from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.runs.attempt import Retry
from fanmap._policy.streams import stream_kind
from fanmap._public import calls_users
from fanmap._raw import type_name


class CallOptions(TypedDict, total=False):
    """What `parallel_map` and `gather_bounded` take by keyword: the limits of the calls, or a `Limits` to share."""

    max_concurrency: int | Literal["auto"] | Adaptive | None
    rpm: PerMinute | None
    tpm: PerMinute | None
    rate: RateLike | Sequence[RateLike]
    retry: Retry | Literal[False] | None
    timeout: float | None
    limits: Limits | None


class Unchanged(enum.Enum):
    """The default of every setting of `with_options`: as it was."""

    UNCHANGED = enum.auto()

    @override
    def __repr__(self) -> str:
        return self.name


UNCHANGED: Final = Unchanged.UNCHANGED


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
    streams = is_generator_function(function)
    call: Callable[[Any], Any] = _opened(function) if streams == "async" else function
    arguments: Callable[[Any], Arguments] = _one_argument
    if direct or unpack:
        arguments = direct_arguments if direct else functools.partial(_unpacked, name)
        call = functools.partial(_call_with, call, arguments)
    if isinstance(function, functools.partial):
        arguments = functools.partial(_with_fixed, cast("functools.partial[Any]", function), arguments)
    # Making a generator takes no time: its chunks are what is waited for.
    call = wrap_for(where, call, settings.limits, None if streams else settings.timeout)
    plain = not is_coroutine_function(function)
    hint = None if direct else functools.partial(_hint, function, name, unpack)
    return Plan(
        name,
        call,
        arguments,
        budget_of(settings.limits),
        retry=settings.retry,
        plain=plain,
        streams="held" if direct else "read",
        timeout=settings.timeout,
        permit=kind_of(settings.limits),
        hint=hint,
    )


@calls_users
def only_streams(call: Callable[[Any], Any], name: str, where: str) -> Callable[[Any], Any]:
    """The same call, which must return a stream."""

    def checked(item: Any) -> Any:
        return _stream(name, call(item))

    async def checked_async(item: Any) -> Any:
        return _stream(name, await call(item))

    return checked if where == "threads" else checked_async


def _stream(name: str, value: Any) -> Any:
    if stream_kind(value) is None:
        raise TypeError(f"{name}.stream needs a function that yields or returns a stream, got {type_name(value)}")
    return value


def wrap_for(where: str, call: Callable[[Any], Any], limits: Limits, timeout: float | None) -> Callable[[Any], Any]:
    """The call with what must surround it in that place: a bound on its time, users' AsyncLimiters."""
    budget = budget_of(limits)
    limiters = budget.limiters
    if timeout is not None:
        call = launch.with_timeout(where, call, timeout)
    if budget.max_waiting is not None:
        call = launch.with_pace(where, call, budget.pace)
    if limiters:
        if where not in ("asyncio", "portal"):
            raise TypeError(asyncio_only(limiters))
        call = aio.with_limiters(call, budget)
    return call


# What the settings are


def check_limits(limits: object) -> None:
    """A Limits, or an error that says so."""
    if not isinstance(limits, Limits):
        from fanmap._hints import values  # only where something is wrong

        raise TypeError(f"limits must be a Limits or None, got {limits!r}{values.limits(limits)}")


def check_workers(value: object) -> None:
    """The calls at once of one run: an int >= 1, or an error that names the parameter."""
    if (isinstance(value, str) and value == "auto") or isinstance(value, Adaptive):
        shown = '"auto"' if isinstance(value, str) else repr(value)
        raise TypeError(
            f"max_concurrency of a run must be an int >= 1, got {shown}: only a Limits adapts, "
            f"so write parallel_map(max_concurrency={shown}) or Limits({shown})"
        )
    check_count("max_concurrency", value)


def check_calls(retry: object, timeout: float | None) -> None:
    """The settings of single calls, or an error that names the parameter."""
    if not (retry is None or retry is False or isinstance(retry, Retry)):
        from fanmap._hints import retries, values  # only where something is wrong

        shown = f"{values.kind(retry)} of tenacity's" if retries.is_tenacitys(retry) else repr(retry)
        raise TypeError(f"retry must be a Retry, False or None, got {shown}: {retries.retry(retry)}")
    if timeout is not None:
        check_positive("timeout", timeout)


# How it is called


def _hint(function: Callable[..., Any], name: str, unpack: bool, item: Any, error: BaseException) -> str | None:
    from fanmap._hints import items  # only where an item has failed

    return items.note_on(function, name, item, error, unpack=unpack)


@calls_users
def _opened(function: Callable[..., Any]) -> Callable[..., Any]:
    """An async generator function as one that is awaited as any other."""

    async def opened(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return opened


@calls_users
def _call_with(function: Callable[..., Any], arguments: Callable[[Any], Arguments], item: Any) -> Any:
    args, kwargs = arguments(item)
    return function(*args, **kwargs)


def _one_argument(item: Any) -> Arguments:
    return (item,), {}


def _unpacked(name: str, item: Any) -> Arguments:
    if isinstance(item, (tuple, list)):
        return tuple(cast("Sequence[Any]", item)), {}
    if isinstance(item, Mapping):
        return (), cast("Mapping[str, Any]", item)
    from fanmap._hints import values  # only where something is wrong

    raise TypeError(
        f"unpack=True must be given tuples or lists (for *args) or mappings (for **kwargs) as inputs of {name}, "
        f"got {type(item).__name__}{values.unpacked(item)}"
    )


def _with_fixed(fixed: functools.partial[Any], arguments: Callable[[Any], Arguments], item: Any) -> Arguments:
    """The arguments that the innermost function sees, for a rate's cost."""
    args, kwargs = arguments(item)
    return (*fixed.args, *args), {**fixed.keywords, **kwargs}
