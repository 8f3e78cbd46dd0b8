"""What one call of `batch` has collected: lines by what became of them, tokens, and money.

Pure; whose prices they are is another's business.
"""

from __future__ import annotations

from typing import Any, Final

from fanmap._batch_types import LineFate
from fanmap._policy.tokens.money import Money
from fanmap._policy.tokens.usage import find_model, find_usage, read_taken
from fanmap._usage import NO_USAGE, Usage

DISCOUNT: Final = 0.5  # of the full price: what OpenAI and Anthropic take for a request in a batch


class Ledger:
    """Counts.

    Args:
        money: knows prices outside of batches; None: nobody does.

    Attributes:
        batches: that have ended.
        lines: of these, by what became of them.
        tokens: that answers took.
        full_price: of the answers that could be priced, in dollars.
        priced: how many these are.
        unpriced: answers that told what they took, and could not be priced.
    """

    def __init__(self, money: Money | None) -> None:
        self._money = money
        self.batches = 0
        self.lines: dict[LineFate, int] = {"answered": 0, "asked again": 0, "failed": 0, "expired": 0}
        self.tokens: Usage = NO_USAGE
        self.full_price = 0.0
        self.priced = self.unpriced = 0

    def count(self, fate: LineFate) -> None:
        """A line, or a request that has none."""
        self.lines[fate] += 1

    def answered(self, body: Any, model: str, address: str) -> tuple[Usage | None, float | None]:
        """A line with an answer: what it took, and what that costs outside of batches; None: nobody knows.

        Args:
            body: of the response that it stands for.
            model: that was asked for; "": the request named none.
            address: of the server.
        """
        self.count("answered")
        taken = read_taken(find_usage(body))
        if taken is None:
            return None, None
        cost: float | None = None
        self.tokens += taken.usage
        if self._money is not None:
            cost = self._money.cost_of(model or find_model(body), taken.usage, address)
            if cost is None:
                self.unpriced += 1
            else:
                self.priced += 1
                self.full_price += cost
        return taken.usage, cost
