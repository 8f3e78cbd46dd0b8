"""What a run has come to: one tally for each worker that counts, added up when somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fanmap._drive import clock
from fanmap._drive.books import Books
from fanmap._drive.calls.plan import Plan
from fanmap._drive.limits.counting import counts
from fanmap._drive.limits.tally import Retired, Tally
from fanmap._drive.runs.ports import Puller
from fanmap._policy.runs.flow import Flow
from fanmap._policy.runs.results import ResultBuffer
from fanmap._types import RunStats, Summary, Wait
from fanmap._usage import NO_USAGE


class Reckoning(Books):
    """The part of a run that counts. Everything here may be asked from any thread, also from a signal handler.

    Attributes:
        total: inputs; None: nobody knows.
        began: when it did.
        tokens: usage read from the results that were handed out.
    """

    flow: Flow[Puller]

    def __init__(self, plan: Plan, results: ResultBuffer, total: int | None) -> None:
        self.plan = plan
        self.results = results
        self.total = total
        self.began = clock.now()
        self.tokens = NO_USAGE
        super().__init__()
        self._ended: float | None = None
        self._retired = Retired()  # workers' that are no more

    @property
    def over(self) -> bool:
        """Has it been closed?"""
        return self._ended is not None

    def stats(self) -> RunStats:
        """Where it stands."""
        flow, workers = self.flow, list(self.flow.workers)
        total = self._total()
        total.done, total.failed = self.results.ended, self.results.failed
        return RunStats(
            in_flight=sum(worker.calling() for worker in workers),
            waiting=sum(worker.waiting() for worker in workers) + len(flow.inputs),
            ceiling=min(flow.most, self.plan.budget.ceiling()),
            total=self.total,
            taken=self.results.taken,
            seconds=clock.now() - self.began,
            waiting_for=_most(worker.waiting_for() for worker in workers),
            resumed=total.resumed,
            **counts(total),
        )

    def summary(self) -> Summary:
        """What it has come to."""
        total, seconds = self._total(), (self._ended or clock.now()) - self.began
        counted = counts(total)
        return Summary(
            done=self.results.ended,
            failed=dict(self.results.kinds),
            attempts=counted["attempts"],
            refused=counted["refused"],
            resumed=total.resumed,
            seconds=seconds,
            speedup=total.busy / seconds if seconds > 0 else 0.0,
            slowest=tuple((index, longest) for longest, index in total.slowest),
            tokens=total.tokens if total.tokens.total else self.tokens,
            spent=total.spent,
        )

    def _total(self) -> Tally:
        return self._retired.total_with(lambda: [worker.tally for worker in list(self.flow.workers)])


def _most(waits: Iterable[Wait | None]) -> Wait | None:
    """What most of them wait for; the gate holds everybody, so that one there says it for all."""
    count: Counter[Wait] = Counter(wait for wait in waits if wait is not None)
    if "gate" in count:
        return "gate"
    return count.most_common(1)[0][0] if count else None
