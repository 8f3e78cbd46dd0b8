"""What `gather_bounded` is given: found, checked, and at the end neither left un-awaited nor running."""

from __future__ import annotations

import asyncio
import functools
import inspect
import weakref
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, cast

from fanmap._callables import mark_as_coroutine_function
from fanmap._drive.drivers import loops
from fanmap._policy.runs.attempt import Retry
from fanmap._public import calls_users

F = TypeVar("F", bound=Callable[..., Any])
_THERE: tuple[Any, ...] = (list, tuple, set, frozenset, deque, type(dict[str, str]().values()))


def entries_of(
    aws: tuple[Any, ...],
) -> tuple[Sequence[Any] | Iterator[Any] | AsyncIterable[Any], list[int] | None]:
    """The source, and where each position given finds its result (None: a lazy source)."""
    if len(aws) == 1 and not inspect.isawaitable(aws[0]) and not callable(aws[0]):
        lazy = aws[0]
        if type(lazy) in _THERE:  # all there already: as if spread, so that no coroutine is left unawaited
            return _unique(list(cast("Iterable[Any]", lazy)))
        if isinstance(lazy, AsyncIterable):
            return cast("AsyncIterable[Any]", lazy), None
        if isinstance(lazy, Iterable) and not isinstance(lazy, (str, bytes, Mapping)):
            return iter(cast("Iterable[Any]", lazy)), None
    return _unique(aws)


def _unique(aws: Sequence[Any]) -> tuple[list[Any], list[int]]:
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


def first_positions(places: Sequence[int]) -> list[int]:
    """Where each of the source's entries was given first."""
    first: dict[int, int] = {}
    for position, place in enumerate(places):
        first.setdefault(place, position)
    return list(first.values())


def closing_unawaited(function: F) -> F:
    """The same coroutine function; a call that is cancelled before its first step leaves nothing un-awaited either."""

    @functools.wraps(function)
    def hold(*args: Any, **options: Any) -> Any:
        work = function(*args, **options)
        weakref.finalize(work, _close_unawaited, args).atexit = False
        return work

    mark_as_coroutine_function(hold)
    return cast("F", hold)


def _close_unawaited(given: tuple[Any, ...]) -> None:
    for one in given:
        for entry in cast("Iterable[Any]", one) if type(one) in _THERE else (one,):
            if inspect.iscoroutine(entry):
                if inspect.getcoroutinestate(entry) != inspect.CORO_CREATED:  # the call began, and has left none
                    return
                entry.close()


def hint_of_entry(entry: Any, error: BaseException) -> str | None:
    """What to say of the first failure; None: nothing."""
    from fanmap._hints import items  # only where something has failed

    return items.note_on_entry(entry, error)


def is_function(entry: Any) -> bool:
    """Can it be awaited again, being called again?"""
    return not inspect.isawaitable(entry)


def check_entry(entry: Any, retry: Retry | Literal[False] | None, beside: Sequence[Any] = ()) -> None:
    """Raise where it can't be awaited; `beside`: all that was given with it."""
    if inspect.isawaitable(entry):
        if _is_this_task(entry):
            raise RuntimeError(
                "gather_bounded was given the task that awaits it, which would wait for itself: "
                "leave out asyncio.current_task()"
            )
        if retry:
            raise TypeError(
                "retry=Retry(...) must be given functions, because an awaitable cannot be awaited twice: write "
                "gather_bounded(*[functools.partial(ask, p) for p in prompts], retry=...)"
            )
    elif not callable(entry):
        from fanmap._hints import values  # only where something is wrong

        raise TypeError(
            "gather_bounded takes awaitables or zero-argument functions that return one, "
            f"got {values.kind(entry)}: {values.gathered(entry, beside)}"
        )


def _is_this_task(entry: Any) -> bool:
    """Is it the task in which we are? It is neither awaited nor cancelled here."""
    return isinstance(entry, asyncio.Task) and loops.running() == "asyncio" and entry is asyncio.current_task()


def awaitable_of_checked(retry: Retry | Literal[False] | None) -> Callable[[Any], Any]:
    """As `awaitable_of`, where attempts are repeated."""

    def call(entry: Any) -> Any:
        _check_or_discard(entry, retry)
        return awaitable_of(entry)

    return call


def _check_or_discard(entry: Any, retry: Retry | Literal[False] | None) -> None:
    try:
        check_entry(entry, retry)
    except TypeError:
        discard_entry(entry)
        raise


@calls_users
def awaitable_of(entry: Any) -> Any:
    """What is to be awaited for it."""
    if inspect.isawaitable(entry):
        return entry
    _check_or_discard(entry, None)
    made = entry()
    if not inspect.isawaitable(made):
        line, kind = "for a blocking function write to_async(function)", cast("type[Any]", type(made))
        if hasattr(kind, "__anext__") or hasattr(kind, "__next__"):
            line = "for a function that yields write `async for index, chunk in function.stream(inputs)`"
        raise TypeError(f"a function given to gather_bounded must return an awaitable, got {kind.__name__}: {line}")
    return made


async def release_entries(entries: Sequence[Any]) -> None:
    """It is over: close or cancel what was not awaited, and wait for it; not the task in which we are."""
    given = [entry for entry in entries if not _is_this_task(entry)]
    for entry in given:
        discard_entry(entry)
    await _ended([entry for entry in given if isinstance(entry, asyncio.Task)])


async def _ended(given: list[asyncio.Task[Any]]) -> None:
    """Wait for tasks that were given and cancelled: their clean-up runs to its end, and no cancellation is lost."""
    cancelled: asyncio.CancelledError | None = None
    while left := [task for task in given if not task.done()]:
        try:
            await asyncio.wait(left)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in given:
        discard_entry(task)
    if cancelled is not None:
        raise cancelled


def discard_entry(entry: Any) -> None:
    """Leave no coroutine un-awaited and no future running that nobody will look at."""
    if inspect.iscoroutine(entry):
        if inspect.getcoroutinestate(entry) == inspect.CORO_CREATED:
            entry.close()
    elif isinstance(entry, asyncio.Future):
        if not entry.done():
            entry.cancel()
        elif not entry.cancelled():
            entry.exception()  # retrieved: nobody else will
    elif isinstance(entry, (list, tuple, Mapping)):  # refused as it is, with coroutines in it
        inner = cast("Mapping[Any, Any]", entry).values() if isinstance(entry, Mapping) else cast("list[Any]", entry)
        for one in inner:
            if inspect.iscoroutine(one):
                one.close()
