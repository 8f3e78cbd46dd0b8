"""One call of `batch` or `abatch`: turn after turn, until every item has its outcome, and how it ends."""

# pyright: reportPrivateUsage=false
# It is a part of `Batching` that is imported late: what is private there is its own.

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from fanmap._batch.items import Items
from fanmap._batch.options import Options
from fanmap._batch_types import BatchProgress, BatchSummary
from fanmap._callables import is_generator_function
from fanmap._drive import clock
from fanmap._drive.batch.book import Book
from fanmap._drive.batch.orphans import Orphans
from fanmap._drive.batch.senders import Sender
from fanmap._drive.batch.spending import NoMoney, Spending
from fanmap._drive.batch.steps import Pass, Steps
from fanmap._drive.batch.strays import Strays
from fanmap._drive.batch.turns import Turns
from fanmap._drive.calls.plan import Plan
from fanmap._drive.limits import prices
from fanmap._drive.limits.budget import Budget
from fanmap._drive.limits.limits import Limits, block_plan, budget_of
from fanmap._drive.notices import warn_of_progress
from fanmap._drive.runs import launch
from fanmap._errors import BatchPending, JournalError, NotRun, note_item
from fanmap._partial import attach_partial
from fanmap._plan import Settings, make_plan
from fanmap._policy.batch.job import Job
from fanmap._policy.batch.ledger import DISCOUNT, Ledger
from fanmap._policy.batch.patience import Patience
from fanmap._policy.tokens.money import Money, is_dollars
from fanmap._raw import is_a, type_name

if TYPE_CHECKING:
    from fanmap._decorated import Decorated

_MOST_AT_ONCE: Final = 64  # items that run as far as they go, unless the run says otherwise


class BatchRun:
    """Its items, and what became of each.

    Args:
        decorated: the decorated function.
        inputs: all of its inputs.
        options: of this call.
        blocking: the caller blocks.

    Attributes:
        runner: runs items as far as they go, by their indices.
        strays: to be entered while they run.
        stopped_by: why the rest was not submitted, where that is no exception of the call; None: all was.
    """

    def __init__(self, decorated: Decorated, inputs: Sequence[Any], options: Options, *, blocking: bool) -> None:
        settings = decorated._settings
        self.name = decorated._name
        self._options = options
        self._complained = False
        self.strays = Strays(self.name, options.endpoints)
        self.stopped_by: Exception | None = None
        budget = budget_of(settings.limits)
        if any(rate.per == math.inf and not is_dollars(rate) for rate in budget.rates):
            raise ValueError(
                f"{self.name}.batch takes nothing of a Rate with per=math.inf, so that total would not hold: "
                "give it limits without one, with_options(limits=Limits(...))"
            )
        where = launch.place(self.name, is_async=decorated._is_async, blocking=blocking, awaited="abatch")
        # Capture and replay take no slot, rate or money: items run under Limits of their own.
        most = options.max_concurrency or min(settings.workers or settings.limits.max_concurrency, _MOST_AT_ONCE)
        unbounded = Settings(Limits(most, read_responses=False), False, None, None)
        if is_generator_function(decorated._function):
            raise TypeError(f"{self.name} gives a stream, and streams cannot travel in a batch: use map or stream")
        call = make_plan(decorated._function, unbounded, where, unpack=options.unpack, direct=False).call
        self._until = None if options.wait is None else clock.now() + options.wait
        self._job = Job()
        plan: Plan = decorated._plan(where, unpack=options.unpack)
        recording, journal = options.resume.open_with(decorated._function, plan, self._job.add)
        self._recording = recording
        self._spending = _spending(budget, self._job, recording.path)
        money = _prices(budget) if self._spending is None and options.progress is not None else None
        self._ledger = Ledger(money if self._spending is None else self._spending.money)
        self._book = Book(
            journal,
            self._job,
            recording,
            name=self.name,
            endpoints=options.endpoints,
            only=options.only,
            ledger=self._ledger,
            spending=self._spending,
        )
        patience = Patience(self._until, options.poll)
        self._turns = Turns(self._book, patience, self._pending, self._look)
        try:
            self._items = Items(
                self._book,
                [recording.attach_key(item) for item in inputs],
                call,
                name=self.name,
                is_async=decorated._is_async,
                retry=settings.retry or None,
                block=block_plan(settings.limits),
                max_turns=options.max_turns,
            )
            self._orphans = Orphans(self._book, patience, self._items.first_of)
            run_item: Any = self._items.run_async if decorated._is_async else self._items.run
            self.runner: Any = decorated._copy(run_item, unbounded)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the file back; idempotent."""
        self._book.close()
        self._recording.close()
        if self._spending is not None:
            self._spending.close()

    def senders(self) -> list[Sender]:
        """Everybody who may have sent something, once: to be closed."""
        return self._book.senders()

    # The job

    def steps(self) -> Steps[None]:
        """Turn after turn, until every item has its outcome."""
        items = self._items
        while True:
            left = items.left()
            if left:
                yield Pass(left)
            try:
                self._end_pass()
                yield from self._orphans.look()
                if not items.left():
                    return
                yield from self._turns.turn()
            except NoMoney as end:
                self._run_out(end.why)
                return

    def _end_pass(self) -> None:
        items = self._items
        items.wait_for_disk()
        self._recording.check()
        self._book.check()
        if items.failures and not self._options.return_exceptions:
            index = min(items.failures)
            error = items.failures[index]
            note_item(error, f"fanmap: item {index} of {self.name}")
            try:
                raise error
            finally:
                del error
        self._look()

    def _run_out(self, why: Exception) -> None:
        """Nothing more may be submitted: that ends the call, or stands behind every item that is left."""
        if not self._options.return_exceptions:
            raise why from why.__cause__
        self.stopped_by = why
        for index in self._items.left():
            error = NotRun(f"the run was stopped by {type_name(why)} before this item was done")
            error.__cause__ = why
            self._items.failures[index] = error
        self._book.forget_lines()

    def end(self) -> list[Any]:
        """The results, every item having its outcome."""
        self._look(over=True)
        items = self._items
        results, items.results = items.results, []
        for index, error in items.failures.items():
            note_item(error, f"fanmap: item {index} of {self.name}")
            results[index] = error
        items.failures.clear()
        return results

    def attach(self, error: BaseException) -> None:
        """The call ends with this: what had finished, and how to go on."""
        self._look(over=True)
        finished = self.finished()
        attach_partial(error, finished)
        kept = None if is_a(error, (JournalError, BatchPending)) else self._recording.note(len(finished))
        if kept is not None:
            note_item(error, kept)
        infos = self._book.infos()
        if infos and not is_a(error, BatchPending):
            note_item(
                error,
                f"fanmap: batches under way at the provider: {len(infos)}; the same call continues with them, "
                f"`fanmap batch cancel {self._book.journal.path}` ends them",
            )
        self._items.failures.clear()

    def finished(self) -> dict[int, Any]:
        """The results so far, by index."""
        return self._items.finished()

    def under_way(self) -> int:
        """Batches that go on at the provider, whichever items they are of."""
        return len(self._job.under_way)

    # What is told of it

    def _done(self) -> int:
        return len(self._items.results) - len(self._items.left())

    def _pending(self) -> BatchPending:
        return BatchPending(self._done(), len(self._items.results), self._book.infos())

    def _look(self, *, over: bool = False) -> None:
        tell = self._options.progress
        if tell is not None:
            done = self._done()
            summary = self._summary(done) if over else None
            progress = BatchProgress(done, len(self._items.results), self._turns.taken, self._book.infos(), summary)
            try:
                tell(progress)
            except Exception as error:  # the answers are paid for
                if not self._complained:
                    self._complained = True
                    warn_of_progress("the callable given as progress=", error)

    def _summary(self, done: int) -> BatchSummary:
        ledger, items = self._ledger, self._items
        full = ledger.full_price if ledger.priced else None
        unstarted = 0 if self.stopped_by is None else sum(is_a(one, NotRun) for one in items.failures.values())
        return BatchSummary(
            total=len(items.results),
            done=done - unstarted,
            failed=len(items.failures) - unstarted,
            resumed=items.resumed,
            turns=self._turns.taken,
            batches=ledger.batches,
            lines=dict(ledger.lines),
            sent_at_once=self._book.sent_at_once,
            tokens=ledger.tokens,
            spent=None if full is None else full * DISCOUNT,
            full_price=full,
            unpriced=ledger.unpriced if ledger.priced else 0,
        )


def _spending(budget: Budget, job: Job, path: str) -> Spending | None:
    """Who counts the dollars of the limits; None: nothing bounds them."""
    total, known = budget.dollars(), budget.money
    if total is None or known is None:
        return None
    return Spending(budget, total, Money(known.price, strict=True), job, path)


def _prices(budget: Budget) -> Money | None:
    """Who knows what a response costs: `price=` of the limits, else genai-prices where it is installed."""
    known = budget.money
    if known is not None:
        return Money(known.price, strict=False)
    try:
        prices.check_installed()
    except ImportError:
        return None
    return Money(prices.price_of, strict=False)
