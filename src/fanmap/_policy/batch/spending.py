"""What a question may cost in a batch, and which questions the money that is left is for.

Pure. Nobody knows what an answer costs before it is there. The price of the guessed prompt and of `max_tokens` is what
it may cost; where a request bounds nothing, it is taken for the mean of the answers so far; until there is one, such a
request goes alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeVar

from fanmap._policy.batch.ledger import DISCOUNT
from fanmap._policy.batch.question import Question
from fanmap._policy.tokens.money import Money
from fanmap._policy.tokens.tokens import OUTPUT_LIMITS, estimate_tokens
from fanmap._policy.tokens.usage import count
from fanmap._usage import Usage

K = TypeVar("K")
_SLACK: Final = 1e-9  # of the amount: sums of cents are no exact numbers


def most_of(question: Question) -> Usage | None:
    """The guessed tokens of the prompt, and the most that may come out; None: the request bounds nothing."""
    body = question.body
    prompt = int(estimate_tokens((body,), {}))
    if question.endpoint.endswith("/embeddings"):
        return Usage(max(prompt, _token_ids(body.get("input"))))
    output = max(count(body.get(name)) for name in OUTPUT_LIMITS)
    return Usage(prompt, output=output * (count(body.get("n")) or 1)) if output else None


def _token_ids(inputs: Any) -> int:
    """Of a text, or of several, that come as numbers."""
    if not isinstance(inputs, list):
        return 0
    return sum(_token_ids(one) if isinstance(one, list) else type(one) is int for one in inputs)  # pyright: ignore


def estimate(question: Question, money: Money) -> float | None:
    """What a question may cost, in dollars, at the half price of batches; None: nobody can say before its answer.

    `money.unpriced` says so where its model has no price.
    """
    most = most_of(question)
    if most is None or not question.model:
        return None
    cost = money.cost_of(question.model, most, question.root)
    return None if cost is None else cost * DISCOUNT


class Mean:
    """What answers have cost so far."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, cost: float) -> None:
        """One more answer has cost so much."""
        self._sum += cost
        self._count += 1

    @property
    def value(self) -> float | None:
        """None: there was none."""
        return self._sum / self._count if self._count else None


class Room(NamedTuple):
    """What is left of an amount, in dollars.

    Attributes:
        amount: all of it.
        spent: what is settled.
        held: what is under way may cost so much.
    """

    amount: float
    spent: float
    held: float


class Choice(NamedTuple):
    """What is to be handed in now.

    Attributes:
        costs: what each of these may cost, by key.
        over: the next one goes beyond the amount, whatever becomes of what is under way.
    """

    costs: dict[Any, float]
    over: bool


def choose(wants: Iterable[tuple[K, float | None]], room: Room, mean: float | None, *, alone: bool) -> Choice:
    """The questions that fit, in this order, up to the first that does not.

    Args:
        wants: keys, and what each may cost; None: what is usual.
        room: what is left.
        mean: what is usual; None: nobody knows.
        alone: one of which nobody knows is under way, so that no other may go.
    """
    most = room.amount * (1 + _SLACK)
    used_up = room.spent >= room.amount * (1 - _SLACK)
    costs: dict[Any, float] = {}
    taken = 0.0
    for key, wanted in wants:
        cost = mean if wanted is None else wanted
        if cost is None:
            if alone:
                continue
            alone, cost = True, 0.0
        if used_up or room.spent + room.held + taken + cost > most:
            return Choice(costs, used_up or room.spent + cost > most)
        costs[key] = cost
        taken += cost
    return Choice(costs, False)
