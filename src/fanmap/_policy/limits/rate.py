"""One token bucket: how many units may start in a window of time.

GCRA (ITU-T I.371) with settlement. Pure: every method is told `now`; nothing here waits, and nothing
knows who is asking. Who is first in line is admission's business.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from fanmap._policy.checks import as_float, check_function, check_positive, shown
from fanmap._public import public

_MAX_OPEN = 4096  # grants that wait for their settlement


@dataclass(frozen=True, slots=True, repr=False)
class Rate:
    """At most `amount` units start in any window of `per` seconds.

    Starts are spread over the window, not sent in one burst: providers enforce a minute's limit in
    slices of a second, and a bucket that starts full lets twice its rate through in the first minute.

    Args:
        amount: units a window; a finite number > 0, and >= 1 where a call costs 1.
        per: the window, in seconds; > 0. `math.inf`: a total, which never refills: once no call fits any more, nothing
            starts, calls under way end and are kept, and the run ends with `BudgetExceeded`.
        burst: units that may start at once after a pause; > 0, <= `amount`, and not for a total. None: 2 % of
            `amount`, at most a second's worth, at least 1 call (with `cost`: a sixtieth of `amount`, at most a
            second's worth). One that you set yourself weakens the window to `amount + burst - 1`.
        cost: `cost(*args, **kwargs)` of the call is what it takes before it runs; None: 1 a call.
        usage: `usage(result)` is what the call took in fact (None: keep the cost); the difference is
            settled as if it had been charged at the start.

    Raises:
        ValueError, TypeError: a setting out of its bounds, when it is made.

    Source: GCRA, ITU-T I.371 annex A.
    """

    amount: float
    per: float = 60.0
    # Keyword-only through the signature below; dataclass fields keep `Rate` a plain frozen value.
    burst: float | None = None
    cost: Callable[..., float] | None = None
    usage: Callable[[Any], float | None] | None = None

    @public
    def __init__(
        self,
        amount: float,
        per: float = 60.0,
        *,
        burst: float | None = None,
        cost: Callable[..., float] | None = None,
        usage: Callable[[Any], float | None] | None = None,
    ) -> None:
        check_positive("amount", amount)
        if per != math.inf:
            check_positive("per", per)
        if burst is not None:
            check_positive("burst", burst)
            if burst > amount:
                raise ValueError(f"burst must be <= amount ({amount!r}), got {burst!r}")
            if per == math.inf:
                raise ValueError(f"burst must be None where per is infinite, got {burst!r}")
        check_function("cost", cost)
        check_function("usage", usage, "result")
        if cost is None and amount < 1:
            raise ValueError(f"amount must be >= 1 where a call costs 1, got {amount!r}: use a longer per=")
        for name, value in (
            ("amount", amount),
            ("per", per),
            ("burst", burst),
            ("cost", cost),
            ("usage", usage),
        ):
            object.__setattr__(self, name, value)

    @override
    def __repr__(self) -> str:
        shown = [f"{self.amount!r}"] if self.per == 60.0 else [f"{self.amount!r}, {self.per!r}"]
        if self.burst is not None:
            shown.append(f"burst={self.burst!r}")
        shown += [
            f"{name}={name_of_setting(function)}"
            for name, function in (("cost", self.cost), ("usage", self.usage))
            if function is not None
        ]
        return f"Rate({', '.join(shown)})"


def check_cost(rate: Rate, cost: object) -> float:
    """The cost of one call, or a ValueError: a cost above `amount` could never start."""
    if isinstance(cost, bool) or not isinstance(cost, (int, float)):
        number = as_float(cost)
        if number is None:
            raise TypeError(f"cost must be a finite number >= 0, got {type(cost).__name__}")  # it may be a prompt
        cost = number
    if cost < 0 or (isinstance(cost, float) and not math.isfinite(cost)):
        raise ValueError(f"cost must be a finite number >= 0, got {shown(cost)}")
    if cost > rate.amount:  # of an int that no float holds, too
        said = shown(cost)
        raise ValueError(f"cost must be <= the rate's amount ({rate.amount!r}), got {said}: it could never start")
    return cost


def name_of_setting(function: Callable[..., Any]) -> str:
    """How a function given as a setting is shown: by name, neither with its address nor with what it holds."""
    return getattr(function, "__name__", None) or type(function).__name__


def takes_one(rate: Rate) -> bool:
    """Does each call take one of it, so that neither its arguments nor its reply need to be looked at?"""
    return rate.cost is None and rate.usage is None and rate.per < math.inf


class Grant:
    """A charge that is not settled yet."""

    __slots__ = ("at", "cost", "open")

    def __init__(self, at: float, cost: float) -> None:
        self.at = at
        self.cost = cost
        self.open = True


def pace(rate: Rate) -> tuple[float, float]:
    """Units that may start at once, and units a second besides, that keep any window of the rate.

    With a burst of B whole calls, refilling at (amount - B + 1) / per keeps every half-open window of
    `per` seconds at no more than `amount` starts: the burst is what costs utilisation, so it is small. With
    costs, refilling at (amount - B) / per keeps it below `amount`, or `amount` plus what one call costs
    beyond the burst.
    """
    amount, per = rate.amount, rate.per
    burst: float
    if rate.burst is not None:
        return rate.burst, amount / per
    if rate.cost is not None:
        # Units may be fractions (dollars), so no unit is to spare: a window holds less than refill * per + burst.
        burst = amount / max(60.0, per)
        return burst, (amount - burst) / per
    burst = max(1, min(1 + amount // 50, amount // per))
    return burst, (amount - burst + 1) / per


class Bucket:
    """The state of one Rate: a theoretical arrival time (tat), and the charges still open."""

    __slots__ = ("_base", "_interval", "_open", "_tat", "_tau", "rate")

    def __init__(self, rate: Rate) -> None:
        self._tat = -math.inf
        self._base = -math.inf  # the tat before the oldest open grant
        self._open: deque[Grant] = deque()
        self._set(rate)

    def _set(self, rate: Rate) -> None:
        self.rate = rate
        burst, refill = pace(rate)
        self._interval = 1 / refill
        self._tau = burst / refill

    def resize(self, rate: Rate, now: float) -> None:
        """Another amount or window from now on: what was taken is as many units as before, of the new ones."""
        before = self._interval
        self._set(rate)
        ratio = self._interval / before
        self._base = self._scaled(self._base, now, ratio)
        if self._open:
            self._tat = self._replayed()
        else:
            self._tat = self._scaled(self._tat, now, ratio)

    @staticmethod
    def _scaled(moment: float, now: float, ratio: float) -> float:
        return now + (moment - now) * ratio if moment > now else moment

    def earliest(self, now: float, cost: float) -> float:
        """When `cost` units may start: `now` or later. A cost above the burst waits for a full bucket."""
        return max(now, self._tat + min(cost * self._interval, self._tau) - self._tau)

    def charge(self, now: float, cost: float) -> Grant:
        """Take `cost` units at `now`, into debt where the bucket is smaller; settle the grant later."""
        if not self._open:
            self._base = self._tat
        grant = Grant(now, cost)
        self._open.append(grant)
        self._tat = max(self._tat, now) + cost * self._interval
        return grant

    def settle(self, grant: Grant, actual: float) -> None:
        """Put things as if `actual` had been charged when the grant was given; a second time is nothing.

        Replays the open grants onto the last settled base: adding the difference back to the bucket
        over-credits whenever the bucket was full in between (12,082 of 30,000 random traces).
        """
        if not grant.open:
            return
        unchanged = grant.cost == actual
        grant.cost = actual
        self.keep(grant)
        if not unchanged:
            self._tat = self._replayed()

    def keep(self, grant: Grant) -> None:
        """Settle what stands as it was charged."""
        grant.open = False
        open_grants = self._open
        # Past the bound the oldest charge stands as estimated: one call that never ends must not make
        # every other settlement replay an hour of grants.
        while open_grants and (not open_grants[0].open or len(open_grants) > _MAX_OPEN):
            first = open_grants.popleft()
            first.open = False
            if first.cost:
                at = first.at
                self._base = (at if at > self._base else self._base) + first.cost * self._interval

    def _replayed(self) -> float:
        tat, interval = self._base, self._interval
        for item in self._open:
            tat = max(tat, item.at) + item.cost * interval if item.cost else tat
        return tat
