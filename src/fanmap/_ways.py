"""The four ways to run a decorated function over many inputs: `map`, `amap`, `imap`, `as_completed`."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Self, TypeVar, cast, overload

from typing_extensions import Unpack, override

from fanmap._collect import collect_awaiting, collect_blocking, hand_out_outcome, hand_out_value
from fanmap._drive import launch
from fanmap._drive.budget import current_scope
from fanmap._drive.calls import Plan
from fanmap._drive.limits import Limits, check_count
from fanmap._drive.run import Run
from fanmap._outcome import Outcome
from fanmap._plan import (
    Settings,
    check_calls,
    check_inputs,
    check_limits,
    length_of,
    make_plan,
    name_of,
    sync_inputs,
)
from fanmap._policy.attempt import Retry
from fanmap._policy.order import AsFinished, Collected, Order, Ordered
from fanmap._policy.rate import check_positive
from fanmap._progress import TICK, Progress, watcher
from fanmap._results import Results
from fanmap._types import JournalOptions

if TYPE_CHECKING:
    from fanmap._resume import Resume

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

AnyInputs = Iterable[Any] | AsyncIterable[Any]
_WINDOW = 8  # results of an ordered run that may wait for their turn, times the workers (1: 2.6 times the makespan)


@dataclass(frozen=True, slots=True)
class _Options:
    """The options of one run."""

    unpack: bool
    return_exceptions: bool
    max_concurrency: int | None
    deadline: float | None
    progress: Progress
    resume: Resume | None

    def __post_init__(self) -> None:
        if self.max_concurrency is not None:
            check_count("max_concurrency", self.max_concurrency)
        if self.deadline is not None:
            check_positive("deadline", self.deadline)


def _kept(resume: object, options: JournalOptions) -> Resume | None:
    if resume is None and not options:
        return None
    from fanmap._resume import check_resume  # only where results are kept

    return check_resume(resume, options)


class Parallel(Generic[P, R_co]):
    """What both kinds of decorated function have in common."""

    _is_async = False  # without an annotation: from Python 3.14 on, `__annotations__` of an instance would be that

    def __init__(self, function: Callable[..., Any], settings: Settings) -> None:
        for name, value in getattr(function, "__dict__", {}).items():
            if not hasattr(type(self), name):  # a callable object may have a `map` of its own
                self.__dict__[name] = value
        functools.update_wrapper(cast("Callable[..., Any]", self), function, updated=())
        self._function = function
        self._settings = settings
        self._plans: dict[tuple[str, bool, bool], Plan] = {}
        self._name = name_of(function)

    # The four ways to run it over many inputs

    @overload
    def map(
        self,
        inputs: Iterable[Any],
        *,
        unpack: bool = False,
        return_exceptions: Literal[False] = False,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> list[R_co]: ...
    @overload
    def map(
        self,
        inputs: Iterable[Any],
        *,
        unpack: bool = False,
        return_exceptions: Literal[True],
        max_concurrency: int | None = None,
        deadline: float | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> list[R_co | BaseException]: ...
    @overload
    def map(
        self,
        inputs: Iterable[Any],
        *,
        unpack: bool = False,
        return_exceptions: bool,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> list[R_co | BaseException]: ...
    def map(
        self,
        inputs: Iterable[Any],
        *,
        unpack: bool = False,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> list[Any]:
        """Call the function for every input, many at once, and return the results in input order.

        Same as: `[function(item) for item in inputs]`.

        Args:
            inputs: any iterable; read where you stand, only as fast as calls start.
            unpack: tuples become `*args`, mappings `**kwargs`.
            return_exceptions: put failures in their item's place instead of raising the first one.
            max_concurrency: calls at once in this run; never above the limits; None: as many as they allow.
            deadline: seconds for the whole run; None: no bound.
            progress: True for a bar (needs the extra `progress`), or a callable that is given the stats.
            resume: path of a journal: every outcome is written to it before it counts, and a result that it
                has already is not asked for again. None: nothing is kept.
            journal: `key`, `encode`, `decode`, `version` and `durable`, beside `resume`: see `JournalOptions`.

        Returns:
            One result an input, in input order.

        Raises:
            Exception: the first failure, as the function raised it, with a note that names the item. Nothing
                starts after it; `partial_results(error)` has what had finished.
            DeadlineExceeded: the run took longer than `deadline`.
            TypeError, ValueError: a setting out of its bounds, or a string as inputs; nothing was called.
            JournalError: the file of `resume` cannot be used (nothing was called), or failed under way.
            BridgeError: it would wait for the very loop that it blocks.

        Threads: blocks the caller; an `async def` runs on the background loop meanwhile.
        """
        options = _Options(unpack, return_exceptions, max_concurrency, deadline, progress, _kept(resume, journal))
        watching = watcher(progress, self._name)
        order = Collected(stop_on_failure=not return_exceptions)
        items = sync_inputs(inputs, f"{self._name}.map")
        run, where = self._prepare(order, items, options, total=length_of(inputs), blocking=True)
        return collect_blocking(run, where, watching)

    @overload
    async def amap(
        self,
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: Literal[False] = False,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> list[R_co]: ...
    @overload
    async def amap(
        self,
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: Literal[True],
        max_concurrency: int | None = None,
        deadline: float | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> list[R_co | BaseException]: ...
    @overload
    async def amap(
        self,
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: bool,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> list[R_co | BaseException]: ...
    async def amap(
        self,
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> list[Any]:
        """`map`, awaited: from asyncio and from trio.

        Same as: `[await function(item) for item in inputs]`; for a `def`, its calls run in threads.

        Args:
            inputs: any iterable, or an async one.
            unpack, return_exceptions, max_concurrency, deadline, progress, resume, journal: as for `map`.

        Returns:
            One result an input, in input order.

        Raises:
            Exception: as `map`. When it leaves, no async sibling runs on.

        Cancellation: cancels the run, waits for its tasks; `partial_results` of the CancelledError has what
            had finished. Threads cannot be cancelled: a `def` that is under way runs on, its result dropped.
        """
        options = _Options(unpack, return_exceptions, max_concurrency, deadline, progress, _kept(resume, journal))
        watching = watcher(progress, self._name)
        order = Collected(stop_on_failure=not return_exceptions)
        source = inputs if isinstance(inputs, AsyncIterable) else None
        items = None if source is not None else sync_inputs(inputs, f"{self._name}.amap")
        run, where = self._prepare(order, items, options, total=length_of(inputs), blocking=False)
        return await collect_awaiting(run, where, source, watching)

    @overload
    def imap(
        self,
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: Literal[False] = False,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> Results[R_co]: ...
    @overload
    def imap(
        self,
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: Literal[True],
        max_concurrency: int | None = None,
        deadline: float | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> Results[R_co | BaseException]: ...
    @overload
    def imap(
        self,
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: bool,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> Results[R_co | BaseException]: ...
    def imap(
        self,
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> Results[Any]:
        """Results one at a time, in input order, lazily; for endless inputs too.

        Same as: `map(function, inputs)`, or `(await function(item) for item in inputs)` with `async for`.

        Args:
            inputs: any iterable, or (with `async for`) an async one; it advances only while a result is
                being asked for, and no further than 8 times the concurrency ahead.
            unpack, return_exceptions, max_concurrency, deadline, progress, resume, journal: as for `map`.

        Returns:
            An iterator, async iterator and context manager of both kinds. When an item fails, no item after
            it starts, everything before it is handed out, and then its exception is raised.
        """
        options = _Options(unpack, return_exceptions, max_concurrency, deadline, progress, _kept(resume, journal))

        def new_order(window: int) -> Order:
            return Ordered(window, stop_on_failure=not return_exceptions)

        return self._results(inputs, f"{self._name}.imap", new_order, hand_out_value, options)

    def as_completed(
        self,
        inputs: AnyInputs,
        *,
        unpack: bool = False,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        deadline: float | None = None,
        progress: Progress = None,
        resume: str | os.PathLike[str] | None = None,
        **journal: Unpack[JournalOptions],
    ) -> Results[Outcome[R_co]]:
        """Outcomes as they finish; never raises for an item.

        Args:
            inputs: as for `imap`.
            return_exceptions: hand out a `DeadlineExceeded` or `NotRun` for what a deadline left, instead of
                raising; items' own failures are outcomes either way.
            unpack, max_concurrency, deadline, progress, resume, journal: as for `map`.

        Returns:
            An iterator, async iterator and context manager of both kinds, of `Outcome`.
        """
        options = _Options(unpack, return_exceptions, max_concurrency, deadline, progress, _kept(resume, journal))
        return self._results(inputs, f"{self._name}.as_completed", AsFinished, hand_out_outcome, options)

    # Copies

    def with_options(
        self,
        *,
        max_concurrency: int | None = None,
        retry: Retry | Literal[False] | None = None,
        timeout: float | None = None,
        limits: Limits | None = None,
    ) -> Self:
        """A copy with other settings that shares the limits, unless it is given others.

        Args:
            max_concurrency: the default of its runs; never above the limits. None: as before.
            retry, timeout: as for `parallel_map`; None: as before.
            limits: other limits; None: the same, shared.
        """
        settings = self._settings
        if max_concurrency is not None:
            check_count("max_concurrency", max_concurrency)
        if limits is not None:
            check_limits(limits)
        check_calls(retry, timeout)
        return self._copy(
            self._function,
            replace(
                settings,
                limits=limits or settings.limits,
                retry=settings.retry if retry is None else retry,
                timeout=timeout or settings.timeout,
                workers=max_concurrency or settings.workers,
            ),
        )

    def _copy(self, function: Callable[..., Any], settings: Settings) -> Self:
        copy = type(self)(function, settings)
        copy._name = self._name
        return copy

    # Being a function

    @override
    def __repr__(self) -> str:
        return f"<parallel {self._name} under {self._settings.limits!r}>"

    def __copy__(self) -> Self:  # as functions have it
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    @override
    def __reduce__(self) -> Any:
        owner = getattr(self._function, "__self__", None)
        name = getattr(self._function, "__name__", "")
        if owner is not None and getattr(owner, name, None) is not None and inspect.ismethod(self._function):
            return getattr, (owner, name)
        module = sys.modules.get(getattr(self, "__module__", ""), None)
        found: Any = module
        qualified = getattr(self, "__qualname__", "")
        for part in qualified.split("."):
            found = getattr(found, part, None)
        if found is self:
            return qualified
        raise TypeError(
            f"{self._name} cannot be pickled: only a decorated function that is found under its own name "
            f"({getattr(self, '__module__', '?')}.{qualified or '?'}) can"
        )

    # Inside

    def _prepare(
        self,
        order: Order,
        source: Sequence[Any] | Iterator[Any] | None,
        options: _Options,
        *,
        total: int | None,
        blocking: bool,
    ) -> tuple[Run, launch.Place]:
        where = launch.place(self._name, is_async=self._is_async, blocking=blocking)
        plan = self._plan(where, unpack=options.unpack)
        run = Run(
            plan,
            order,
            source,
            total=total,
            workers=self._workers(options),
            deadline=options.deadline,
            keep_failures=options.return_exceptions,
            outer=current_scope.get(),
            owner=launch.owner(where),
            recording=None if options.resume is None else options.resume.open(self._function, plan),
        )
        if options.progress:
            run.tick = TICK
        return run, where

    def _workers(self, options: _Options) -> int:
        most = self._settings.limits.max_concurrency
        return min(options.max_concurrency or self._settings.workers or most, most)

    def _results(
        self,
        inputs: AnyInputs,
        what: str,
        new_order: Callable[[int], Order],
        hand_out: Callable[[Run, tuple[Any, ...] | None], Any],
        options: _Options,
    ) -> Results[Any]:
        source = inputs if isinstance(inputs, AsyncIterable) else None
        if source is None:
            check_inputs(inputs, what)

        def start(blocking: bool) -> launch.Launched[Any]:
            if blocking and source is not None and not isinstance(source, Iterable):
                raise TypeError(f"{what} of an async iterable cannot be read from sync code: write `async for`")
            order = new_order(_WINDOW * self._workers(options))
            # What can be iterated both ways, as another function's results, is iterated as the caller stands.
            items = None if source is not None and not blocking else sync_inputs(inputs, what)
            run, where = self._prepare(order, items, options, total=length_of(inputs), blocking=blocking)
            return launch.blocking(run, where) if blocking else launch.awaiting(run, where, source)

        return Results(what, start, hand_out, watcher(options.progress, self._name))

    def _plan(self, where: str, *, unpack: bool = False, direct: bool = False) -> Plan:
        """How an item becomes a call, there; made once and shared."""
        key = where, unpack, direct
        plan = self._plans.get(key)
        if plan is None:
            plan = make_plan(self._function, self._settings, where, unpack=unpack, direct=direct)
            self._plans[key] = plan
        return plan
