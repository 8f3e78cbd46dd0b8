"""`gather_bounded`: `asyncio.gather` with a bound."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, cast, overload

from typing_extensions import Unpack

from fanmap._collect import collect_awaiting
from fanmap._drawn import run_for, target_of
from fanmap._drive.calls.plan import Plan
from fanmap._drive.calls.scope import Scope, TransferableScope, current_scope
from fanmap._drive.limits.limits import Limits, budget_of, kind_of
from fanmap._drive.limits.settings import PerMinute, RateLike
from fanmap._drive.runs import launch
from fanmap._entries import (
    awaitable_of,
    awaitable_of_checked,
    check_entry,
    closing_unawaited,
    discard_entry,
    entries_of,
    first_positions,
    hint_of_entry,
    is_function,
    release_entries,
)
from fanmap._partial import attach_partial, partial_results
from fanmap._plan import CallOptions, check_calls, check_limits, check_workers, wrap_for
from fanmap._policy.checks import check_flag
from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.runs.attempt import Retry
from fanmap._policy.runs.in_list import InList
from fanmap._progress import TICK, watcher
from fanmap._public import public
from fanmap._types import Progress

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")
Entry: TypeAlias = Awaitable[T] | Callable[[], Awaitable[T]]


class _Options(CallOptions, total=False):
    """What every form takes beside `return_exceptions`."""

    progress: Progress
    trace: str | os.PathLike[str] | None


# What is given one by one comes back as a tuple to the type checker, each place with its own type, as in typeshed's
# asyncio.gather; at run time it is a list, as there.
@overload
async def gather_bounded(  # type: ignore[overload-overlap]
    aw1: Entry[T1], /, *, return_exceptions: Literal[False] = False, **options: Unpack[_Options]
) -> tuple[T1]: ...
@overload
async def gather_bounded(
    aw1: Entry[T1], /, *, return_exceptions: bool, **options: Unpack[_Options]
) -> tuple[T1 | BaseException]: ...
@overload
async def gather_bounded(
    aws: Iterable[Entry[T]] | AsyncIterable[Entry[T]],
    /,
    *,
    return_exceptions: Literal[False] = False,
    **options: Unpack[_Options],
) -> list[T]: ...
@overload
async def gather_bounded(
    aws: Iterable[Entry[T]] | AsyncIterable[Entry[T]], /, *, return_exceptions: bool, **options: Unpack[_Options]
) -> list[T | BaseException]: ...
@overload
async def gather_bounded(  # type: ignore[overload-overlap]
    aw1: Entry[T1], aw2: Entry[T2], /, *, return_exceptions: Literal[False] = False, **options: Unpack[_Options]
) -> tuple[T1, T2]: ...
@overload
async def gather_bounded(
    aw1: Entry[T1], aw2: Entry[T2], /, *, return_exceptions: bool, **options: Unpack[_Options]
) -> tuple[T1 | BaseException, T2 | BaseException]: ...
@overload
async def gather_bounded(  # type: ignore[overload-overlap]
    aw1: Entry[T1],
    aw2: Entry[T2],
    aw3: Entry[T3],
    /,
    *,
    return_exceptions: Literal[False] = False,
    **options: Unpack[_Options],
) -> tuple[T1, T2, T3]: ...
@overload
async def gather_bounded(
    aw1: Entry[T1], aw2: Entry[T2], aw3: Entry[T3], /, *, return_exceptions: bool, **options: Unpack[_Options]
) -> tuple[T1 | BaseException, T2 | BaseException, T3 | BaseException]: ...
@overload
async def gather_bounded(  # type: ignore[overload-overlap]
    aw1: Entry[T1],
    aw2: Entry[T2],
    aw3: Entry[T3],
    aw4: Entry[T4],
    /,
    *,
    return_exceptions: Literal[False] = False,
    **options: Unpack[_Options],
) -> tuple[T1, T2, T3, T4]: ...
@overload
async def gather_bounded(
    aw1: Entry[T1],
    aw2: Entry[T2],
    aw3: Entry[T3],
    aw4: Entry[T4],
    /,
    *,
    return_exceptions: bool,
    **options: Unpack[_Options],
) -> tuple[T1 | BaseException, T2 | BaseException, T3 | BaseException, T4 | BaseException]: ...
@overload
async def gather_bounded(  # type: ignore[overload-overlap]
    aw1: Entry[T1],
    aw2: Entry[T2],
    aw3: Entry[T3],
    aw4: Entry[T4],
    aw5: Entry[T5],
    /,
    *,
    return_exceptions: Literal[False] = False,
    **options: Unpack[_Options],
) -> tuple[T1, T2, T3, T4, T5]: ...
@overload
async def gather_bounded(
    aw1: Entry[T1],
    aw2: Entry[T2],
    aw3: Entry[T3],
    aw4: Entry[T4],
    aw5: Entry[T5],
    /,
    *,
    return_exceptions: bool,
    **options: Unpack[_Options],
) -> tuple[T1 | BaseException, T2 | BaseException, T3 | BaseException, T4 | BaseException, T5 | BaseException]: ...
@overload
async def gather_bounded(  # type: ignore[overload-overlap]
    aw1: Entry[T1],
    aw2: Entry[T2],
    aw3: Entry[T3],
    aw4: Entry[T4],
    aw5: Entry[T5],
    aw6: Entry[T6],
    /,
    *,
    return_exceptions: Literal[False] = False,
    **options: Unpack[_Options],
) -> tuple[T1, T2, T3, T4, T5, T6]: ...
@overload
async def gather_bounded(
    aw1: Entry[T1],
    aw2: Entry[T2],
    aw3: Entry[T3],
    aw4: Entry[T4],
    aw5: Entry[T5],
    aw6: Entry[T6],
    /,
    *,
    return_exceptions: bool,
    **options: Unpack[_Options],
) -> tuple[
    T1 | BaseException,
    T2 | BaseException,
    T3 | BaseException,
    T4 | BaseException,
    T5 | BaseException,
    T6 | BaseException,
]: ...
@overload
async def gather_bounded(
    *aws: Entry[T], return_exceptions: Literal[False] = False, **options: Unpack[_Options]
) -> list[T]: ...
@overload
async def gather_bounded(
    *aws: Entry[T], return_exceptions: bool, **options: Unpack[_Options]
) -> list[T | BaseException]: ...
@closing_unawaited  # type: ignore[misc]  # a list, says the code
@public
async def gather_bounded(  # pyright: ignore[reportInconsistentOverload]
    *aws: Entry[T] | Iterable[Entry[T]] | AsyncIterable[Entry[T]],
    max_concurrency: int | Literal["auto"] | Adaptive | None = None,
    rpm: PerMinute | None = None,
    tpm: PerMinute | None = None,
    rate: RateLike | Sequence[RateLike] = (),
    retry: Retry | Literal[False] | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
    return_exceptions: bool = False,
    progress: Progress = None,
    trace: str | os.PathLike[str] | None = None,
) -> list[T] | list[T | BaseException]:
    """Await many things, at most `max_concurrency` at once; results in the order given.

    Same as: `await asyncio.gather(*aws)`, except that siblings are cancelled when one fails, and that
    nothing starts or is checked before this is awaited.

    Args:
        aws: awaitables, functions without arguments that return one, or one iterable (or async iterable)
            of either, which is consumed lazily (a list, a tuple, a set, a deque or a dict's values are as if
            spread). The same awaitable twice is awaited once.
        max_concurrency: at once: an int >= 1; without `limits=` also "auto" or an `Adaptive`. None: 8, or as many
            as `limits` allows.
        rpm, tpm, rate, timeout: as for `parallel_map`.
        retry: as for `parallel_map`. An awaitable cannot be awaited twice, so repeats need functions, also
            those of what the server refused to start.
        limits: a `Limits` to share; the first call under the same Limits inside an awaitable takes over its
            slot, and its charge: an awaitable is charged 1 of each rate, since its arguments cannot be seen; the
            call waits for what it costs itself instead. None: this call alone is bounded.
        return_exceptions: put failures in their place instead of raising the first one.
        progress, trace: as for `map`.

    Returns:
        One result an awaitable, in the order given.

    Raises:
        BaseException: the first failure, as it was raised, with a note that names its position.
        TypeError: something that is neither awaitable nor callable; `retry=Retry(...)` with an awaitable.
        TypeError, ValueError: a setting out of its bounds; nothing was awaited.
        OSError: the file of `trace` cannot be written; nothing was awaited.
        RuntimeError: the task that awaits this is among what was given.

    Cancellation: cancels everything that runs, and waits for it.
    """
    source, places = entries_of(aws)
    lazy = source if isinstance(source, AsyncIterable) else None
    entries: Sequence[Any] = () if places is None else cast("Sequence[Any]", source)  # those that are there already
    try:
        run_limits = _limits(limits, max_concurrency, rpm, tpm, rate)
        check_calls(retry, timeout)
        check_flag("return_exceptions", return_exceptions)
        watching, target = watcher(progress, "gather_bounded"), target_of(trace)
        for entry in entries:
            check_entry(entry, retry, entries)
        where = launch.place("gather_bounded", is_async=True, blocking=False)
        most = run_limits.max_concurrency
        run = run_for(target)(
            _plan(where, run_limits, retry, timeout, TransferableScope if limits is run_limits else Scope),
            InList(stop_on_failure=not return_exceptions),
            source if lazy is None else None,
            total=None if places is None else len(entries),
            workers=min(max_concurrency, most) if isinstance(max_concurrency, int) else most,
            deadline=None,
            keep_failures=return_exceptions,
            outer=current_scope.get(),
            owner=launch.owner(where),
        )
        if places is not None:
            run.ending.positions = first_positions(places)
        if watching is not None:
            run.tick = TICK
        results = await collect_awaiting(run, where, lazy, watching)
    except BaseException as error:
        if places is not None and len(places) != len(entries):
            finished = partial_results(error)
            attach_partial(error, {i: finished[place] for i, place in enumerate(places) if place in finished})
        raise
    finally:
        await release_entries(entries)
    return results if places is None or len(places) == len(results) else [results[place] for place in places]


def _plan(
    where: launch.Place,
    limits: Limits,
    retry: Retry | Literal[False] | None,
    timeout: float | None,
    scope: type[Scope],
) -> Plan:
    return Plan(
        "gather_bounded",
        wrap_for(where, awaitable_of_checked(retry) if retry else awaitable_of, limits, timeout),
        None,
        budget_of(limits),
        retry=retry,
        repeatable=is_function,
        scope=scope,
        discard=discard_entry,
        permit=kind_of(limits),
        hint=hint_of_entry,
    )


def _limits(
    limits: Limits | None,
    max_concurrency: int | Literal["auto"] | Adaptive | None,
    rpm: PerMinute | None,
    tpm: PerMinute | None,
    rate: RateLike | Sequence[RateLike],
) -> Limits:
    if limits is None:
        return Limits(8 if max_concurrency is None else max_concurrency, rpm=rpm, tpm=tpm, rate=rate)
    check_limits(limits)
    if rpm is not None or tpm is not None or rate != ():
        raise TypeError("rpm, tpm and rate belong to the Limits: give either them or limits=")
    if max_concurrency is not None:
        check_workers(max_concurrency)
    return limits
