"""`gather_bounded`: `asyncio.gather` with a bound."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, cast, overload

from typing_extensions import Unpack

from fanmap._collect import collect_awaiting
from fanmap._drive import launch
from fanmap._drive.budget import current_scope
from fanmap._drive.calls import Plan
from fanmap._drive.limits import Limits, RateLike, budget_of, check_count
from fanmap._drive.run import Run
from fanmap._errors import attach_partial, partial_results
from fanmap._plan import check_calls, check_limits, wrap_for
from fanmap._policy.attempt import Retry
from fanmap._policy.order import Collected
from fanmap._progress import TICK, Progress, watcher

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")
Entry: TypeAlias = Awaitable[T] | Callable[[], Awaitable[T]]


class _Options(TypedDict, total=False):
    """What every form takes beside `return_exceptions`."""

    max_concurrency: int | None
    rpm: float | None
    tpm: float | None
    rate: RateLike | Sequence[RateLike]
    retry: Retry | Literal[False] | None
    timeout: float | None
    limits: Limits | None
    progress: Progress


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
async def gather_bounded(  # type: ignore[misc]  # pyright: ignore[reportInconsistentOverload]  # a list, says the code
    *aws: Any,
    max_concurrency: int | None = None,
    rpm: float | None = None,
    tpm: float | None = None,
    rate: RateLike | Sequence[RateLike] = (),
    retry: Retry | Literal[False] | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
    return_exceptions: bool = False,
    progress: Progress = None,
) -> list[Any]:
    """Await many things, at most `max_concurrency` at once; results in the order given.

    Same as: `await asyncio.gather(*aws)`, except that siblings are cancelled when one fails, and that
    nothing starts or is checked before this is awaited.

    Args:
        aws: awaitables, functions without arguments that return one, or one iterable (or async iterable)
            of either, which is consumed lazily (a list or a tuple is as if spread). The same awaitable
            twice is awaited once.
        max_concurrency: at once; an int >= 1. None: 8, or as many as `limits` allows.
        rpm, tpm, rate, timeout: as for `parallel_map`.
        retry: as for `parallel_map`. An awaitable cannot be awaited twice, so repeats need functions, also
            those of what the server refused to start.
        limits: a `Limits` to share; the first call under the same Limits inside an awaitable takes over its
            slot and its charge. None: this call alone is bounded.
        return_exceptions: put failures in their place instead of raising the first one.
        progress: as for `map`.

    Returns:
        One result an awaitable, in the order given.

    Raises:
        BaseException: the first failure, as it was raised, with a note that names its position.
        TypeError: something that is neither awaitable nor callable; `retry=Retry(...)` with an awaitable.

    Cancellation: cancels everything that runs, and waits for it.
    """
    run_limits = _limits(limits, max_concurrency, rpm, tpm, rate)
    check_calls(retry, timeout)
    watching = watcher(progress, "gather_bounded")
    source, places = _entries(aws)
    try:
        if places is not None:
            for entry in source:  # type: ignore[union-attr]
                _check(entry, retry)
        where = launch.place("gather_bounded", is_async=True, blocking=False)
        call = _awaitable_of if not retry else _checked(retry)
        plan = Plan(
            "gather_bounded",
            wrap_for(where, call, run_limits, timeout),
            None,
            budget_of(run_limits),
            retry=retry,
            repeatable=_is_function,
            spare=limits is not None,
            discard=_discard,
        )
        most = run_limits.max_concurrency
        lazy_async = source if isinstance(source, AsyncIterable) else None
        run = Run(
            plan,
            Collected(stop_on_failure=not return_exceptions),
            None if lazy_async is not None else source,  # type: ignore[arg-type]
            total=None if places is None else len(source),  # type: ignore[arg-type]
            workers=min(max_concurrency or most, most),
            deadline=None,
            keep_failures=return_exceptions,
            outer=current_scope.get(),
            owner=launch.owner(where),
        )
        if places is not None:
            first: dict[int, int] = {}
            for position, place in enumerate(places):
                first.setdefault(place, position)
            run.ending.positions = list(first.values())
        if watching is not None:
            run.tick = TICK
        results = await collect_awaiting(run, where, lazy_async, watching)
    except BaseException as error:
        if places is not None and len(places) != len(source):  # type: ignore[arg-type]
            finished = partial_results(error)
            attach_partial(error, {i: finished[place] for i, place in enumerate(places) if place in finished})
        raise
    finally:
        if places is not None:
            for entry in source:  # type: ignore[union-attr]
                _discard(entry)
            await _ended([entry for entry in source if isinstance(entry, asyncio.Task)])  # type: ignore[union-attr]
    return results if places is None or len(places) == len(results) else [results[place] for place in places]


def _limits(
    limits: Limits | None,
    max_concurrency: int | None,
    rpm: float | None,
    tpm: float | None,
    rate: RateLike | Sequence[RateLike],
) -> Limits:
    if max_concurrency is not None:
        check_count("max_concurrency", max_concurrency)
    if limits is None:
        return Limits(max_concurrency or 8, rpm, tpm, rate)
    check_limits(limits)
    if rpm is not None or tpm is not None or rate != ():
        raise TypeError("rpm, tpm and rate belong to the Limits: give either them or limits=")
    return limits


def _entries(
    aws: tuple[Any, ...],
) -> tuple[Sequence[Any] | Iterator[Any] | AsyncIterable[Any], list[int] | None]:
    """The source, and where each position given finds its result (None: a lazy source)."""
    if len(aws) == 1 and not inspect.isawaitable(aws[0]) and not callable(aws[0]):
        lazy = aws[0]
        if type(lazy) in (list, tuple):  # all there already: as if spread, so that no coroutine is left unawaited
            return _places(cast("Sequence[Any]", lazy))
        if isinstance(lazy, AsyncIterable):
            return cast("AsyncIterable[Any]", lazy), None
        if isinstance(lazy, Iterable) and not isinstance(lazy, (str, bytes)):
            return iter(cast("Iterable[Any]", lazy)), None
    return _places(aws)


def _places(aws: Sequence[Any]) -> tuple[list[Any], list[int]]:
    unique: dict[int, int] = {}
    entries: list[Any] = []
    places: list[int] = []
    for entry in aws:
        place = unique.get(id(entry)) if inspect.isawaitable(entry) else None
        if place is None:
            place = unique[id(entry)] = len(entries)
            entries.append(entry)
        places.append(place)
    return entries, places


def _is_function(entry: Any) -> bool:
    return not inspect.isawaitable(entry)


def _check(entry: Any, retry: Retry | Literal[False] | None) -> None:
    if inspect.isawaitable(entry):
        if retry:
            raise TypeError(
                "retry=Retry(...) must be given functions, because an awaitable cannot be awaited twice: write "
                "gather_bounded(*[functools.partial(ask, p) for p in prompts], retry=...)"
            )
    elif not callable(entry):
        raise TypeError(
            f"gather_bounded must be given awaitables or functions that return one, got {type(entry).__name__}: "
            "a `def` has run by then, for it write `await function.amap(inputs)`"
        )


def _checked(retry: Retry | Literal[False] | None) -> Callable[[Any], Any]:
    def call(entry: Any) -> Any:
        try:
            _check(entry, retry)
        except TypeError:
            _discard(entry)
            raise
        return _awaitable_of(entry)

    return call


def _awaitable_of(entry: Any) -> Any:
    if inspect.isawaitable(entry):
        return entry
    _check(entry, None)
    made = entry()
    if not inspect.isawaitable(made):
        raise TypeError(f"a function given to gather_bounded must return an awaitable, got {type(made).__name__}")
    return made


async def _ended(given: list[asyncio.Task[Any]]) -> None:
    """Wait for tasks that were given and cancelled: their clean-up runs to its end, and no cancellation is lost."""
    cancelled: asyncio.CancelledError | None = None
    while left := [task for task in given if not task.done()]:
        try:
            await asyncio.wait(left)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in given:
        _discard(task)
    if cancelled is not None:
        raise cancelled


def _discard(entry: Any) -> None:
    """Leave no coroutine un-awaited and no future running that nobody will look at."""
    if inspect.iscoroutine(entry):
        if inspect.getcoroutinestate(entry) == inspect.CORO_CREATED:
            entry.close()
    elif isinstance(entry, asyncio.Future):
        if not entry.done():
            entry.cancel()
        elif not entry.cancelled():
            entry.exception()  # retrieved: nobody else will
