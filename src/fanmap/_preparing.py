"""How a run of a decorated function is put together: its options, checked, and where it will run."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fanmap._decorated import Decorated
from fanmap._drawn import run_for
from fanmap._drive.calls.scope import current_scope
from fanmap._drive.runs import launch
from fanmap._drive.runs.run import Run
from fanmap._inputs import check_inputs, length_of, sync_inputs
from fanmap._plan import check_workers, only_streams
from fanmap._policy.checks import check_count, check_flag, check_positive
from fanmap._policy.runs.results import ResultBuffer
from fanmap._progress import TICK, watcher
from fanmap._results import Results
from fanmap._types import JournalOptions, Progress

if TYPE_CHECKING:
    from fanmap._resume import Resume
    from fanmap._trace.target import Target

AnyInputs = Iterable[Any] | AsyncIterable[Any]
_WINDOW = 8  # results of an ordered run that may wait for their turn, times the workers (1: 2.6 times the makespan)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one run."""

    unpack: bool
    return_exceptions: bool
    max_concurrency: int | None
    deadline: float | None
    max_failures: int | None
    progress: Progress
    resume: Resume | None
    trace: Target | None

    def __post_init__(self) -> None:
        check_flag("unpack", self.unpack)
        check_flag("return_exceptions", self.return_exceptions)
        if self.max_concurrency is not None:
            check_workers(self.max_concurrency)
        if self.deadline is not None:
            check_positive("deadline", self.deadline)


def most_failures(max_failures: int | None, *, go_on: bool) -> int | None:
    """The failure that stops a run which goes on after one; checked."""
    if max_failures is not None:
        check_count("max_failures", max_failures)
        if not go_on:
            raise TypeError(
                "max_failures needs return_exceptions=True, because without it the first failure ends the run"
            )
    return max_failures


def journal_of(resume: object, options: JournalOptions) -> Resume | None:
    """What is kept of a run, checked; None: nothing."""
    if resume is None and not options:
        return None
    from fanmap._resume import check_resume  # only where results are kept

    return check_resume(resume, options)


class Preparing(Decorated):
    """A decorated function that can put runs together."""

    def _prepare(
        self,
        order: ResultBuffer,
        source: Sequence[Any] | Iterator[Any] | None,
        options: Options,
        *,
        total: int | None,
        blocking: bool,
        streams: bool = False,
    ) -> tuple[Run, launch.Place]:
        where = launch.place(self._name, is_async=self._is_async, blocking=blocking)
        plan = self._plan(where, unpack=options.unpack)
        if streams:
            plan = replace(plan, streams="handed out", call=only_streams(plan.call, self._name, where))
        run = run_for(options.trace)(
            plan,
            order,
            source,
            total=total,
            workers=self._workers(options),
            deadline=options.deadline,
            keep_failures=options.return_exceptions,
            outer=current_scope.get(),
            owner=launch.owner(where),
            max_failures=options.max_failures,
            recording=None if options.resume is None else options.resume.open(self._function, plan),
        )
        if run.recording is not None:
            run.ending.kept_note = run.recording.note
        if options.progress:
            run.tick = TICK
        return run, where

    def _workers(self, options: Options) -> int:
        most = self._settings.limits.max_concurrency
        return min(options.max_concurrency or self._settings.workers or most, most)

    def _results(
        self,
        inputs: AnyInputs,
        what: str,
        new_order: Callable[[int], ResultBuffer],
        hand_out: Callable[[Run, tuple[Any, ...] | None], Any],
        options: Options,
        *,
        streams: bool = False,
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
            run, where = self._prepare(
                order, items, options, total=length_of(inputs), blocking=blocking, streams=streams
            )
            return launch.blocking(run, where) if blocking else launch.awaiting(run, where, source)

        return Results(what, start, hand_out, watcher(options.progress, self._name))
