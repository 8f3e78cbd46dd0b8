"""One total of a shared Limits, as admission asks for it: what is spent is everybody's."""

from __future__ import annotations

import math
from dataclasses import replace

from fanmap._policy.limits.rate import Rate
from fanmap._policy.shared.purse import Purse
from fanmap._policy.tokens.learned import Correction


class SharedTotal:
    """The same as `_policy.limits.total.Total`, as far as one process knows it.

    Args:
        rate: as this process wants it. place: among the rates that are shared.

    Attributes:
        closed: nothing more may be taken of it here, since nobody can count it.
        usual: not asked: the ledger knows what calls cost.
    """

    __slots__ = ("_place", "_purse", "_rate", "closed", "usual")

    def __init__(self, rate: Rate, purse: Purse, place: int) -> None:
        self._rate = rate
        self._purse = purse
        self._place = place
        self.closed = False
        self.usual: Correction | None = None

    @property
    def rate(self) -> Rate:
        """With the amount in force: the smallest that any process wants."""
        amount = self._purse.amount(self._place)
        return self._rate if amount == self._rate.amount else replace(self._rate, amount=amount)

    @property
    def spent(self) -> float:
        """What is settled."""
        return self._purse.spent(self._place)

    @spent.setter
    def spent(self, units: float) -> None:
        self._purse.pay(self._place, units - self.spent)

    @property
    def aside(self) -> float:
        """What is under way elsewhere may cost so much."""
        return self._purse.aside(self._place)

    @aside.setter
    def aside(self, units: float) -> None:
        self._purse.set_aside(self._place, units)

    @property
    def gone(self) -> float:
        """What calls here cannot have any more."""
        return self.spent + self.aside

    @property
    def held(self) -> float:
        """What calls under way were charged."""
        return self._purse.held(self._place)

    def earliest(self, now: float, cost: float) -> float:
        """When `cost` units may be taken: `now`, or (inf) not before something is settled."""
        return math.inf if self.beyond(cost) or not self._purse.fits(self._place, cost) else now

    def beyond(self, cost: float) -> bool:
        """Would this cost go beyond the amount whatever the calls under way settle for?"""
        return self.closed or self._purse.beyond(self._place, cost)


class Told(Correction):
    """What calls turn out to cost, to be told to the others.

    Attributes:
        news: what was not told yet, from any thread.
    """

    __slots__ = ("news",)

    def __init__(self) -> None:
        super().__init__()
        self.news: list[float] = []

    def learn(self, estimated: float, settled: float) -> None:
        """As of any `Correction`; the others hear of it as well."""
        super().learn(estimated, settled)
        self.news.append(settled - estimated)
