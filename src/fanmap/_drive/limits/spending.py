"""What calls under a Limits cost: dollars, and totals of other units.

Told what a journal says was spent and what batches have under way; whether a call fits is `_policy.limits.total`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fanmap._drive import clock
from fanmap._drive.books import BUSY
from fanmap._drive.limits.counting import Counting
from fanmap._drive.notices import warn_of_unpriced
from fanmap._errors import BudgetExceeded
from fanmap._policy.journals.kept import Aside, Kept, Spent
from fanmap._policy.limits.adaptive import Why
from fanmap._policy.limits.permit import Permit
from fanmap._policy.limits.rate import Rate, takes_one
from fanmap._policy.limits.total import Total
from fanmap._policy.tokens.learned import Correction
from fanmap._policy.tokens.money import Money, is_dollars, only_counts
from fanmap._policy.tokens.token_rates import is_tokens
from fanmap._usage import Usage


class Spending(Counting):
    """The part of a budget that counts money.

    Attributes:
        corrections: what estimates have missed, one a rate; None: of a rate whose costs are no estimates of ours.
        counts_calls: each call takes one of each rate, whatever it is and whatever comes back.
        has_totals: one of the rates never refills.
        money: what calls cost; None: nobody wants to know.
        rates: what a call is charged to; those that follow a server's change.
        reads: responses to calls' own requests are read.
    """

    __slots__ = ("_aside", "_kept", "corrections", "counts_calls", "has_totals", "money", "rates", "reads")

    def __init__(self, rates: Sequence[Rate], money: Money | None, *, reads: bool) -> None:
        self.rates = list(rates)
        self.money = money
        self.reads = reads
        self.has_totals = any(rate.per == math.inf for rate in rates)
        self.counts_calls = all(map(takes_one, rates))
        # Of dollars nothing is guessed: the mean of what was settled is the guess.
        self.corrections = [Correction() if is_tokens(rate) or is_dollars(rate) else None for rate in rates]
        self._aside, self._kept = Aside(), Kept()
        super().__init__(counts_tokens=any(map(is_tokens, rates)))

    def limit_spending(self, money: Money, rate: Rate) -> None:
        """Count dollars too, before the first call."""
        self.money, self.reads, self.has_totals, self.counts_calls = money, True, True, False
        places = [place for place, one in enumerate(self.rates) if is_dollars(one)]
        if places:
            self.rates[places[0]] = rate
        else:
            self.rates.append(rate)
            self.corrections.append(Correction())
        self.free()

    def cost_of(self, model: str | None, usage: Usage, address: str) -> float | None:
        """What a response cost, in dollars; None: nobody can say."""
        money = self.money
        if money is None:
            return None
        known = money.unpriced
        cost = money.cost_of(model, usage, address)
        if known is None and money.unpriced is not None and not money.strict:
            warn_of_unpriced(money.unpriced)
        return cost

    def over(self, permit: Permit) -> Exception | None:
        """Why this call will never start, though the gate is open: a total is used up, or nobody can count it."""
        total: Any = self.do(self.admission.beyond, permit)
        if total is BUSY:
            self.post(self._remind, permit)
            return None
        if total is None:
            return None
        dollars = is_dollars(total.rate)
        if dollars and self.money is not None and self.money.broken:
            return self.money.failure()
        error = BudgetExceeded(total.rate.amount, total.gone, dollars=dollars, reserved=total.aside)
        return error.follow(lambda: total.gone)

    def count_kept(self, path: str, kept: Spent, usual: float | None) -> None:
        """A journal is opened in which so much was spent: it counts first, but for what this process wrote itself.

        Args:
            path: of the file, seen from everywhere.
            kept: all of what it says.
            usual: dollars that an item took, on average; None: it says nothing of dollars.
        """
        self.post(self._count_kept, self._kept.news(path, kept), usual)

    def keep(self, path: str, spent: Spent) -> None:
        """Lines have been written there that say what calls have spent."""
        self._kept.wrote(path, spent)

    def set_aside(self, path: str, dollars: Mapping[str, float]) -> None:
        """A journal is opened in which so much is under way that calls cannot see, by name: nobody else may spend it.

        What was so before, and is no more, is given back: what it has cost stands in the journal.
        """
        self.post(self._set_aside_for, path, dict(dollars))

    def reserve(self, path: str, name: str, dollars: float) -> None:
        """Something is under way in that journal now that may cost so much."""
        self.post(self._reserve, path, name, dollars)

    def spend_reserved(self, path: str, name: str, dollars: float) -> None:
        """It is over, and has cost so much."""
        self.post(self._spend_reserved, path, name, dollars)

    def charge_late(self, more: Sequence[float]) -> None:
        """Of a call that is settled it is known only now that it took so much more of each rate."""
        self.post(self._charge_late, more)

    def dollars(self) -> Total | None:
        """The total of `max_spend=`, to read; None: nothing bounds dollars."""
        totals = self.admission.totals.values()
        return next((one for one in totals if is_dollars(one.rate) and not only_counts(one.rate)), None)

    def _count_kept(self, news: Spent, usual: float | None) -> None:
        for (place, units), rate in zip(enumerate(news.by_place(self.rates)), self.rates, strict=True):
            if units and place in self.admission.totals:
                self.admission.totals[place].spent += units
            correction = self.corrections[place]
            if usual is not None and is_dollars(rate) and correction is not None and not correction.mean:
                correction.learn(0.0, usual)

    def _set_aside_for(self, path: str, dollars: dict[str, float]) -> None:
        self._aside.opened(path, dollars)
        self._count_aside()

    def _reserve(self, path: str, name: str, dollars: float) -> None:
        self._aside.reserve(path, name, dollars)
        self._count_aside()

    def _spend_reserved(self, path: str, name: str, dollars: float) -> None:
        self._aside.over(path, name)
        total = self.dollars()
        if total is not None:
            total.spent += dollars
        self._count_aside()

    def _charge_late(self, more: Sequence[float]) -> None:
        now = clock.now()
        self.admission.charge_late(more, now)
        if self.money is not None and self.money.news:
            self._priced(self.money)
        self._poll(now, None, refund=True)

    def _count_aside(self) -> None:
        total = self.dollars()
        if total is not None:
            total.aside = self._aside.dollars
            self._poll(clock.now(), None, refund=True)

    def _priced(self, money: Money) -> None:
        """A call is settled after which more may start, or nothing."""
        money.settled()
        for total in self.admission.totals.values():
            total.closed = money.broken and is_dollars(total.rate)
        self._adjust("priced")
        self._poll(clock.now(), None, refund=True)

    # What the rest of the budget does

    def _adjust(self, why: Why) -> None:
        raise NotImplementedError

    def _poll(self, now: float, mine: Permit | None, *, refund: bool = False) -> None:
        raise NotImplementedError

    def _remind(self, permit: Permit) -> None:
        raise NotImplementedError
