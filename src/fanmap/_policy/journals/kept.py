"""What a journal says was spent: of dollars, and of each total of the user's own.

Pure. A total lives as long as its Limits; what an earlier process spent on the same job counts first, by the lines
that it left. What this process wrote there has been counted when it was spent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from fanmap._policy.limits.rate import Grant, Rate
from fanmap._policy.tokens.money import is_dollars


@dataclass(frozen=True, slots=True)
class Spent:
    """What one call has spent, or many.

    Attributes:
        cost: dollars.
        units: of each total of the user's own, in their order.
    """

    cost: float = 0.0
    units: tuple[float, ...] = ()

    def __add__(self, other: Spent) -> Spent:
        longer, shorter = sorted((self.units, other.units), key=len, reverse=True)
        added = (one + another for one, another in zip(longer, shorter, strict=False))
        return Spent(self.cost + other.cost, (*added, *longer[len(shorter) :]))

    def __sub__(self, other: Spent) -> Spent:
        """What is more than the other; never below 0: a file may have become shorter."""
        less = (*other.units, *[0.0] * len(self.units))
        units = (max(0.0, one - another) for one, another in zip(self.units, less, strict=False))
        return Spent(max(0.0, self.cost - other.cost), tuple(units))

    def __bool__(self) -> bool:
        return self.cost > 0 or any(self.units)

    def by_place(self, rates: Sequence[Rate]) -> list[float]:
        """What that is of each of these rates; 0 of one that refills."""
        own = iter(self.units)
        return [
            0.0 if rate.per < math.inf else self.cost if is_dollars(rate) else next(own, 0.0) for rate in rates
        ]  # fmt: skip


NOTHING_SPENT = Spent()
_MOST = 1e15


def of_call(rates: Sequence[Rate], charges: Sequence[Grant], took: Sequence[float | None]) -> Spent:
    """What a call has spent of totals: what it took of each rate, or was charged, where nobody told."""
    totals = [
        (rate, charge.cost if units is None else units)
        for rate, charge, units in zip(rates, charges, took, strict=True)
        if rate.per == math.inf
    ]
    return Spent(
        sum(units for rate, units in totals if is_dollars(rate)),
        tuple(units for rate, units in totals if not is_dollars(rate)),
    )


def spent_of_line(said: dict[str, Any]) -> Spent:
    """What a line of a journal says was spent; what is no amount is nothing."""
    units = cast("list[object]", said["units"]) if isinstance(said.get("units"), list) else []
    return Spent(amount_of(said.get("cost")), tuple(map(amount_of, units)))


def amount_of(value: object) -> float:
    """An amount as a line of a journal says it; 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0.0
    return float(value) if 0 <= value < _MOST else 0.0  # of NaN neither holds


class Kept:
    """What of each journal is counted already. From any thread."""

    __slots__ = ("_counted",)

    def __init__(self) -> None:
        self._counted: dict[str, list[Spent]] = {}

    def news(self, path: str, kept: Spent) -> Spent:
        """The journal at this path says so much: what of it is not counted yet? From now on all of it is."""
        news = kept - sum(self._counted.get(path, ()), NOTHING_SPENT)
        self._counted[path] = [kept]
        return news

    def wrote(self, path: str, spent: Spent) -> None:
        """Lines were written there that say so much, which was counted when it was spent."""
        counted = self._counted.get(path)
        if counted is not None:
            counted.append(spent)


class Aside:
    """Dollars of what each journal has under way, which calls cannot see."""

    __slots__ = ("_by_journal",)

    def __init__(self) -> None:
        self._by_journal: dict[str, dict[str, float]] = {}

    @property
    def dollars(self) -> float:
        """All that is set aside, of every journal."""
        return sum(sum(one.values()) for one in self._by_journal.values())

    def opened(self, path: str, dollars: dict[str, float]) -> None:
        """The journal at this path has just this under way, by name."""
        self._by_journal[path] = dollars

    def reserve(self, path: str, name: str, dollars: float) -> None:
        """So many dollars more, under this name."""
        self._by_journal.setdefault(path, {})[name] = dollars

    def over(self, path: str, name: str) -> None:
        """It is over; idempotent."""
        self._by_journal.get(path, {}).pop(name, None)
