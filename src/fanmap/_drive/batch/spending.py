"""The dollars of a Limits as a batch job spends them: set aside before a hand-in, settled when it is over.

What a hand-in may cost stands in its intent, and what an answer cost in its line, so that whoever goes on with the file
counts both first; see `_policy.batch.spending` for what fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from fanmap._drive.limits.budget import Budget
from fanmap._errors import BudgetExceeded
from fanmap._policy.batch.job import HandIn, Job
from fanmap._policy.batch.ledger import DISCOUNT
from fanmap._policy.batch.question import Question
from fanmap._policy.batch.spending import Choice, Room, choose, estimate
from fanmap._policy.journals.kept import Spent
from fanmap._policy.limits.total import Total
from fanmap._policy.tokens.money import Money
from fanmap._usage import Usage

_UNTOLD: Final = (
    "max_spend cannot be enforced: an answer reported no token usage, so there is nothing to price. Set max_tokens in "
    "the request, or give limits without max_spend"
)


class NoMoney(Exception):
    """Raised where nothing more may be handed in; `why` is what the caller is to see."""

    def __init__(self, why: Exception) -> None:
        super().__init__()
        self.why = why.with_traceback(None)


class Spending:
    """Told by the job's steps; asked by runs of items, from any thread, for `may_cost` alone.

    Args:
        budget: whose dollars they are.
        total: these.
        money: of this job alone: where a response has no price, it ends, and nobody else.
        job: where it stands.
        path: of its file, seen from everywhere.

    Attributes:
        money: as it was given.
    """

    def __init__(self, budget: Budget, total: Total, money: Money, job: Job, path: str) -> None:
        self.money = money
        self._budget = budget
        self._total = total
        self._job = job
        self._path = path
        self._tally = budget.tally_of(self)
        self._untold = False
        self._costs: dict[str, float] = {}  # of hand-ins' answers, while these are read

    def close(self) -> None:
        """What it counted is final; what is under way stays set aside."""
        self._budget.retire(self)

    def may_cost(self, question: Question) -> float | None:
        """A question's estimate; None: it is what is usual. `check` says where it can never be known."""
        return estimate(question, self.money)

    def check(self) -> None:
        """Raise NoMoney where it cannot be counted."""
        if self.money.unpriced is not None:
            raise NoMoney(self.money.failure())
        if self._untold:
            raise NoMoney(ValueError(_UNTOLD))

    def choose(self, wants: Iterable[tuple[str, float | None]], waiting: Sequence[HandIn]) -> Choice:
        """What may be handed in now, while others are waited for."""
        total = self._total
        settles = sum(hand_in.reserved for hand_in in waiting)
        room = Room(total.rate.amount, total.gone - settles, total.held + settles)
        alone = any(not hand_in.reserved for hand_in in waiting)
        return choose(wants, room, self._job.mean.value, alone=alone)

    def exceeded(self) -> BudgetExceeded:
        """What to raise where nothing more fits."""
        total = self._total
        return BudgetExceeded(total.rate.amount, total.gone, dollars=True, reserved=total.aside)

    def reserve(self, hand_in: HandIn) -> None:
        """It is about to be handed in."""
        self._budget.reserve(self._path, hand_in.name, hand_in.reserved)

    def answered(self, hand_in: HandIn, usage: Usage | None, cost: float | None) -> float | None:
        """An answer is there: what it is to be counted as; None: nobody can count it.

        Args:
            hand_in: that it is of.
            usage: that it told; None: none.
            cost: that has outside of batches; None: it has no price.
        """
        if cost is not None:
            cost *= DISCOUNT
        elif usage is None and hand_in.reserved:
            cost = hand_in.reserved / len(hand_in.questions)  # what nobody told counts as it was taken for
        elif usage is None:
            self._untold = True
        if cost is not None:
            self._costs[hand_in.name] = self._costs.get(hand_in.name, 0.0) + cost
            self._tally.spent += cost
        if usage is not None:
            self._tally.take(usage)
        return cost

    def over(self, name: str) -> None:
        """A hand-in is: what its answers cost is spent, the rest is free again."""
        cost = self._costs.pop(name, 0.0)
        self._budget.spend_reserved(self._path, name, cost)
        self._budget.keep(self._path, Spent(cost))
