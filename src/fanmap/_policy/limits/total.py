"""A total that never refills: `Rate(amount, per=math.inf)`, and the dollars of `max_spend=`.

Pure, and of the same form as a rate's bucket. A call may start when its cost fits beside what is settled and what
calls under way were charged; where it does not, those may still settle for less. Where it does not fit beside what is
settled alone, no call like it will ever start.
"""

from __future__ import annotations

import math

from fanmap._policy.limits.rate import Grant, Rate
from fanmap._policy.tokens.learned import Correction

_SLACK = 1e-9
"""Of the amount: sums of cents are no exact numbers."""


class Total:
    """The state of one total.

    Attributes:
        rate: its amount, and what a call costs of it.
        spent: what is settled.
        aside: what is under way elsewhere may cost so much: to calls it is spent, for they might wait a day for it.
        closed: nothing more may be taken of it, since nobody can count it.
        usual: what calls turn out to cost, where nobody can guess that from their arguments: each is charged the mean
            as it is when it starts, however long ago it asked; None: each is charged its own cost.
    """

    __slots__ = ("_held", "_least", "_most", "_open", "aside", "closed", "rate", "spent", "usual")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.spent = self.aside = 0.0
        self.closed = False
        self.usual: Correction | None = None
        self._held = 0.0  # by calls under way
        self._open = 0
        self._least, self._most = rate.amount * (1 - _SLACK), rate.amount * (1 + _SLACK)

    @property
    def gone(self) -> float:
        """What calls cannot have any more."""
        return self.spent + self.aside

    @property
    def held(self) -> float:
        """What calls under way were charged."""
        return self._held

    def earliest(self, now: float, cost: float) -> float:
        """When `cost` units may be taken: `now`, or (inf) not before something is settled."""
        cost = self._charged(cost)
        return now if not self.beyond(cost) and self.gone + self._held + cost <= self._most else math.inf

    def charge(self, now: float, cost: float) -> Grant:
        """Take `cost` units; settle the grant later."""
        cost = self._charged(cost)
        self._held += cost
        self._open += 1
        return Grant(now, cost)

    def settle(self, grant: Grant, actual: float) -> None:
        """The call took so much in fact. A second time is nothing."""
        if grant.open:
            grant.open = False
            self._open -= 1
            self._held = self._held - grant.cost if self._open else 0.0
            self.spent += actual

    def keep(self, grant: Grant) -> None:
        """Settle what stands as it was charged."""
        self.settle(grant, grant.cost)

    def resize(self, rate: Rate, now: float) -> None:  # noqa: ARG002
        """Another amount from now on; what is spent is spent."""
        self.rate = rate
        self._least, self._most = rate.amount * (1 - _SLACK), rate.amount * (1 + _SLACK)

    def beyond(self, cost: float) -> bool:
        """Would this cost go beyond the amount whatever the calls under way settle for?"""
        return self.closed or self.gone >= self._least or self.gone + self._charged(cost) > self._most

    def _charged(self, cost: float) -> float:
        return cost if self.usual is None else self.usual.corrected(0.0, self.rate.amount)
