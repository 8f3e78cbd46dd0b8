"""A run that notes what its calls did, for a trace; made only where one was asked for.

Its workers are told what any worker is told, and note it on the way. What is noted is `_policy.trace.log`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, cast

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.calls.plan import BACK_OFF, CALLING, IN_LINE, Word
from fanmap._drive.journals.recording_worker import RecordingWorker
from fanmap._drive.limits.tally import Tally
from fanmap._drive.runs.run import Run
from fanmap._drive.runs.worker import Worker
from fanmap._errors import NotRun
from fanmap._policy.failures.verdict import Verdict
from fanmap._policy.limits.permit import Permit
from fanmap._policy.runs.effects import Stop, Taken
from fanmap._policy.runs.inputs import Unfinished
from fanmap._policy.runs.results import Record
from fanmap._policy.trace.log import Fate, TraceLog, pack_call, pack_wait
from fanmap._policy.trace.story import Span, Story, Totals, ceiling_of, outages_of, refusals_of, spans_of
from fanmap._raw import is_a

_SHORTEST: Final = 0.001  # seconds: a wait that is shorter was our own arithmetic


class Draws(Protocol):
    """Whoever draws a run when it is over."""

    def draw(self, run: Run) -> None: ...


class TracedRun(Run):
    """A run that notes what its calls did.

    Attributes:
        log: what it has noted.
        began_wall: when it began, in seconds since the epoch, by the clock of then.
        note_wait: takes a row of its waits.
        draws: is told once that it is over; None: nobody.
    """

    def __init__(self, *args: Any, draws: Draws | None, **options: Any) -> None:
        self.log = TraceLog()
        self.began_wall = clock.wall()
        self.draws = draws
        self._note_call = self.log.calls.extend
        self.note_wait = self.log.waits.extend
        super().__init__(*args, **options)

    @override
    def new_worker(self) -> Worker:
        if self.recording is None:
            return TracedWorker(self.plan, self.outer, self.owner, self)
        return TracedRecordingWorker(self, cast("Any", self.recording))

    @override
    def complete(self, worker: Any, record: Record, *, stop: Stop = False) -> Taken:
        if record[2] is None and record[3]:
            self._note_call(pack_call(record[0], record[5], record[6]))
        elif record[2] is not None and worker.called:
            fate = Fate.FAILED if is_a(record[2], Exception) else Fate.CUT
            if not is_a(record[2], NotRun):
                self.log.ended(record[0], record[5], record[6], fate)
        return Run.complete(self, worker, record, stop=stop)

    @override
    def close(self) -> None:
        super().close()
        draws, self.draws = self.draws, None
        if draws is not None:
            draws.draw(self)


class TracedWorker(Worker):
    """A worker that notes waits, refusals and repeats on its way."""

    __slots__ = ()

    @property
    def log(self) -> TraceLog:
        return cast("TracedRun", self.run).log

    @property
    def called(self) -> bool:
        """Has its item been called at all?"""
        return self._calls > 0

    def open_span(self, now: float, began: float) -> Span | None:
        """Its call that has not ended, or its wait; None: it has neither. From any thread.

        Args:
            now: the time.
            began: when the run did.
        """
        if self._phase == CALLING:
            at = self.started - began
            return Span(at, at, now - began, self.index, Fate.UNDER_WAY, 0.0, 0.0, 0.0, 0.0)
        permit, phase = self._permit, self._phase
        if phase not in (IN_LINE, BACK_OFF):
            return None
        slot, gate, rate = self._waited(permit, now) if phase == IN_LINE and permit is not None else (0.0, 0.0, 0.0)
        at = now - began
        return Span(at - slot - gate - rate, at, at, self.index, Fate.WAITING, slot, gate, rate, 0.0)

    def _waited(self, permit: Permit, now: float) -> tuple[float, float, float]:
        """What it has waited for in line, and still does."""
        return permit.waited(self._asked, self.plan.budget.admission.opens_at(), now)

    @override
    def _count_wait(self, tally: Tally, permit: Permit, now: float) -> None:
        slot, gate, rate = tally.for_slot, tally.at_gate, tally.for_rate
        super()._count_wait(tally, permit, now)
        slot, gate, rate = tally.for_slot - slot, tally.at_gate - gate, tally.for_rate - rate
        if slot + gate + rate >= _SHORTEST:
            traced: Any = self.run
            traced.note_wait(pack_wait(self.index, now, slot, gate, rate))

    @override
    def _refused(self, error: Exception, verdict: Verdict, permit: Permit, now: float, times: int) -> Word:
        self.log.ended(self.index, self.started, now, Fate.REFUSED)
        self.log.refused(self.index, now, verdict.kind, verdict.wait)
        return super()._refused(error, verdict, permit, now, times)

    @override
    def refused_inside(self, verdict: Verdict) -> None:
        self.log.refused(self.index, clock.now(), verdict.kind, verdict.wait)
        super().refused_inside(verdict)

    @override
    def _back_off(self, until: float, value: Any = None) -> Word:
        now = clock.now()
        self.log.ended(self.index, self.started, now, Fate.REPEATED)
        self._note_held(now, until)
        return super()._back_off(until, value)

    @override
    def _stand_back(self, until: float) -> Word:
        self._note_held(clock.now(), until)
        return super()._stand_back(until)

    @override
    def _out_of_attempts(self, error: Exception) -> Word:
        now = clock.now()
        self.log.ended(self.index, self.started, now, Fate.FAILED)
        self._note_held(now, now)
        return super()._out_of_attempts(error)

    @override
    def _let_others_try(self, until: float) -> Word:
        now = clock.now()
        self._note_held(now, now)
        return super()._let_others_try(until)

    @override
    def _part_with(self, until: float | None, hand_over: Callable[[Unfinished], None]) -> Word:
        self._note_wait_in_vain()
        return super()._part_with(until, hand_over)

    @override
    def _drop(self) -> None:
        self._note_wait_in_vain()
        super()._drop()

    def _note_wait_in_vain(self) -> None:
        """What an item waited for that is not called is drawn, too."""
        if self._phase in (IN_LINE, BACK_OFF):
            now = clock.now()
            if self._phase == IN_LINE and self._permit is not None:
                self.log.waited(self.index, now, *self._waited(self._permit, now))
            self.log.ended(self.index, now, now, Fate.WAITING)

    @override
    def quit(self) -> None:
        now = clock.now()
        if self._phase == CALLING and self.started < now:
            self.log.ended(self.index, self.started, now, Fate.CUT)
        super().quit()

    def _note_held(self, now: float, until: float) -> None:
        opens = self.plan.budget.admission.opens_at()
        if until > now:
            self.log.backs_off(self.index, now, max(now, min(opens, until)), until)
        if opens > now:
            self.log.held(now, opens, outage=self.plan.budget.outage())


class TracedRecordingWorker(TracedWorker, RecordingWorker):
    """The same in a run with a journal."""

    __slots__ = ()


def story_of(run: Run) -> Story:
    """A run as it is now, to be drawn; from any thread."""
    now, began = clock.now(), run.began
    stats, summary = run.stats(), run.summary()
    seconds, over = summary.seconds, run.over
    log = run.log if isinstance(run, TracedRun) else TraceLog()
    budget = run.plan.budget
    spans = spans_of(log, began, _open_spans(run, began + seconds), paced=bool(budget.rates))
    totals = Totals(
        total=stats.total,
        taken=stats.taken,
        done=summary.done,
        attempts=summary.attempts,
        refused=summary.refused,
        resumed=summary.resumed,
        over=over,
        kinds=dict(summary.failed),
        waited={
            "slot": stats.waited_for_slot, "gate": stats.waited_at_gate, "rate": stats.waited_for_rate,
            "back-off": stats.waited_to_repeat,
        },
        slowest=summary.slowest,
        tokens=summary.tokens,
        spent=summary.spent or 0.0,
    )  # fmt: skip
    changes = [(change.time, change.before, change.after) for change in budget.changes()]
    return Story(
        name=run.plan.name,
        began=run.began_wall if isinstance(run, TracedRun) else clock.wall() - (now - began),
        seconds=seconds,
        spans=spans,
        refusals=refusals_of(log, began),
        ceiling=ceiling_of(changes, budget.ceiling(), run.flow.most, began),
        most=min(run.flow.most, budget.max_concurrency),
        outages=outages_of(log, began, spans, seconds),
        totals=totals,
        recorded=isinstance(run, TracedRun),
    )


def _open_spans(run: Run, now: float) -> Iterator[Span]:
    for worker in list(run.flow.workers):
        if isinstance(worker, TracedWorker):
            span = worker.open_span(now, run.began)
        elif worker.calling():
            at = worker.timings()[2] - run.began
            span = Span(at, at, now - run.began, worker.index, Fate.UNDER_WAY, 0.0, 0.0, 0.0, 0.0)
        else:
            span = None
        if span is not None:
            yield span
