"""What one call takes of its rates and totals: guessed before it, settled after it.

What its responses say counts first, then its result; where neither tells, what was charged stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fanmap._drive.calls.plan import Plan
from fanmap._drive.limits.tally import Tally
from fanmap._drive.notices import warn_of_nothing_settled, warn_of_usage
from fanmap._policy.tokens.money import is_dollars
from fanmap._policy.tokens.token_rates import check_call, counted, is_tokens
from fanmap._policy.tokens.tokens import model_of, read_result
from fanmap._policy.tokens.usage import NOTHING_TAKEN
from fanmap._raw import INTERRUPTS

if TYPE_CHECKING:
    from fanmap._drive.wire.taking import Taking
    from fanmap._policy.tokens.learned import Correction
    from fanmap._policy.tokens.usage import Taken
    from fanmap._usage import Usage


class Costs:
    """The account of one call at a time.

    Attributes:
        item: what `plan.call` is called with.
        tally: what this call's one thread counts.
    """

    __slots__ = ("__weakref__", "_declined", "_guesses", "_learning", "_taking", "item", "plan", "tally")

    def __init__(self, plan: Plan, tally: Tally) -> None:
        self.plan = plan
        self.tally = tally
        self.item: Any = None
        self._declined = False  # this attempt was refused
        self._guesses: Sequence[float] | None = None  # what this call was guessed to take, before any correction
        self._learning: Sequence[Correction | None] = ()  # what was added to these, and learns from them
        self._taking: Taking | None = None  # what it has read, until that is settled

    def cost_of(self, model: str | None, usage: Usage, address: str) -> float | None:
        """What a response cost, in dollars; None: nobody can say."""
        return self.plan.budget.cost_of(model, usage, address)

    def _costs(self) -> Sequence[float] | None:
        """What this call takes of each rate; None: 1 of each."""
        budget, arguments = self.plan.budget, self.plan.arguments
        rates = budget.rates
        if budget.counts_calls or arguments is None or all(rate.cost is None for rate in rates):
            return None
        args, kwargs = arguments(self.item)
        told = budget.followed is not None and budget.followed.tokens
        guesses = [
            1.0 if rate.cost is None else check_call(rate, rate.cost(*args, **kwargs), told=told) for rate in rates
        ]
        return self._corrected(guesses)

    def _guess_anew(self) -> Sequence[float] | None:
        """The same of a call in line, where a server has told that it counts other tokens; asks no code of the user's.

        None: nothing was guessed.
        """
        budget, guesses = self.plan.budget, self._guesses
        if guesses is None or self.plan.arguments is None:
            return None
        args, kwargs = self.plan.arguments(self.item)
        return self._corrected(
            [
                guess if rate.cost is None or not is_tokens(rate) else rate.cost(*args, **kwargs)
                for guess, rate in zip(guesses, budget.rates, strict=True)
            ]
        )

    def _corrected(self, guesses: Sequence[float]) -> Sequence[float]:
        budget = self.plan.budget
        self._guesses, self._learning = guesses, budget.corrections
        return [
            guess if correction is None else correction.corrected(guess, rate.amount)
            for guess, correction, rate in zip(guesses, budget.corrections, budget.rates, strict=True)
        ]

    def _took(self, value: Any) -> Sequence[float | None]:
        """What responses or the reply say it took; None where neither tells (the estimate stands)."""
        budget, taking, guesses = self.plan.budget, self._taking, self._guesses
        self._taking = None
        taken = self._tokens(value, taking) if budget.counts_tokens or budget.money is not None else None
        took: list[float | None] = []
        for place, (rate, correction) in enumerate(zip(budget.rates, budget.corrections, strict=True)):
            used: float | None = None
            if is_dollars(rate):
                used = self._dollars(value, taking, correction)
            elif self._declined and rate.per == math.inf:
                used = 0.0
            elif correction is not None:
                if taken is not None:
                    used = counted(rate, taken)
                    if taking is not None and taking.settled:
                        used = taking.with_untold(used, taking.settled)
                    if (
                        guesses is not None
                        and self._learning[place] is correction  # else it was of other tokens
                        and not (taking is not None and taking.inside)
                    ):
                        correction.learn(guesses[place], used)
            elif rate.usage is not None and value is not None:
                used = self._used(rate.usage, value)
            took.append(used)
        return took

    def _used(self, usage: Callable[[Any], float | None], value: Any) -> float | None:
        """What the user's own reading says; None: nothing. A paid answer is worth more than its accounting."""
        error: BaseException | None = None
        try:
            said: Any = usage(value)
        except INTERRUPTS:
            raise
        except BaseException as failure:
            error = failure
        else:
            if said is None:
                return None
            with suppress(Exception):  # no number, or none that a float can hold
                if math.isfinite(said) and said >= 0:
                    return float(said)
        if self.plan.budget.tell_once("usage"):
            warn_of_usage(self.plan.name, error)
        return None

    def _dollars(self, value: Any, taking: Taking | None, correction: Correction | None) -> float | None:
        """What it cost; None: nobody knows. What the server has refused or failed costs nothing."""
        money = self.plan.budget.money
        assert money is not None
        cost = None if taking is None or not taking.priced else taking.with_untold(taking.cost, taking.priced)
        if cost is not None:
            money.reads = True
        elif self._declined or (taking is not None and taking.free):
            return 0.0
        elif (taken := read_result(value)) is not None:
            cost = self.cost_of(model_of(value), taken.usage, "")
            self.tally.spent += cost or 0.0
        elif taking is not None and taking.unseen and money.reads:
            return 0.0
        if cost is not None and correction is not None:
            correction.learn(0.0, cost)
        if cost is not None or value is not None or (taking is not None and taking.returned):
            money.told(cost)
        return cost

    def _tokens(self, value: Any, taking: Taking | None) -> Taken | None:
        """What it took, from its responses, or else from its result."""
        if taking is not None and taking.settled:
            taken: Taken | None = taking.taken
        elif taking is not None and taking.inside:
            return NOTHING_TAKEN  # what it returns may be the reply of a call inside it
        else:
            taken = read_result(value)
            if taken is not None:
                self.tally.take(taken.usage)
        returned = value is not None or (taking is not None and taking.returned)
        if returned and self.plan.budget.settles_nothing(settled=taken is not None):
            warn_of_nothing_settled(self.plan.name)
        return taken
