"""When a call that has its slot may start: the gate, the rates and the totals of one Limits.

What a call is charged when it starts, and what becomes of that charge. Pure: told `now`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fanmap._policy.limits.permit import Permit
from fanmap._policy.limits.rate import Bucket, Rate
from fanmap._policy.limits.total import Total

_GRACE = 0.05  # seconds in which an appointment is to be taken up at least


class Starts:
    """The gate, the rates and the totals.

    Attributes:
        limit: slots, 0 or more.
        epoch: of the ceiling; permits remember the one in which they were let through.
        quiet: steady, and nothing waits, no rate, no gate: a worker may keep its slot from item to item.
        totals: those among the rates, by place.
    """

    __slots__ = (
        "_apart", "_buckets", "_gate", "_grace", "_holding", "_last_start", "_spread", "epoch", "limit",
        "quiet", "totals",
    )  # fmt: skip

    def __init__(self, limit: int, rates: Sequence[Rate]) -> None:
        self.limit = limit
        self.epoch = 0
        self._buckets = [Total(rate) if rate.per == math.inf else Bucket(rate) for rate in rates]
        self.totals = {place: bucket for place, bucket in enumerate(self._buckets) if isinstance(bucket, Total)}
        self.quiet = not self._buckets
        self._grace = self._longest_grace()
        self._holding: set[Permit] = set()  # slot in hand: running or in the second line; lenders are not
        self._gate = -math.inf
        self._apart = math.inf
        self._spread = 0.0  # seconds after the gate over which one set of starts is spread
        self._last_start = -math.inf

    def settle(self, permit: Permit, actual: Sequence[float | None] | None) -> None:
        """What the call took in fact, one number a rate; None: as charged, or nothing if it never started."""
        if actual is None and permit.started:
            for bucket, charge in zip(self._buckets, permit.charges, strict=True):
                bucket.keep(charge)
            permit.charges = ()
            return
        for place, (bucket, charge) in enumerate(zip(self._buckets, permit.charges, strict=True)):
            took = actual[place] if actual is not None else None
            if took is None:
                took = charge.cost if permit.started else 0.0
            bucket.settle(charge, took)
        permit.charges = ()

    def charge_late(self, more: Sequence[float], now: float) -> None:
        """Calls that are settled took so much more of each rate than that says; of a total, perhaps less."""
        for bucket, units in zip(self._buckets, more, strict=True):
            if isinstance(bucket, Total):
                bucket.spent += units
            elif units > 0:
                bucket.keep(bucket.charge(now, units))

    def resize(self, place: int, rate: Rate, now: float) -> None:
        """One of the rates has another amount or window from now on; whoever calls this polls."""
        self._buckets[place].resize(rate, now)
        self._grace = self._longest_grace()

    def close_gate(self, until: float, *, spread: float, apart: float) -> None:
        """Nothing starts before `until`; an earlier promise is never shortened.

        Then one set of starts is spread over `spread` seconds, no further apart than `apart`: who names a
        wait of 10 ms serves a call each 10 ms.
        """
        self._gate = max(self._gate, until)
        self._spread, self._apart = spread, apart
        self.quiet = False

    def opens_at(self) -> float:
        """When the gate opens (or opened)."""
        return self._gate

    # Inside

    def _longest_grace(self) -> float:
        windows = [bucket.rate.per / 200 for bucket in self._buckets if bucket.rate.per < math.inf]
        return max([_GRACE, *windows])

    def _start_time(self, permit: Permit, now: float) -> float:
        at = self._due(permit, now)
        if at < self._gate + self._spread and self._last_start >= self._gate:
            at = max(at, self._last_start + min(self._spread / max(1, self.limit), self._apart))
        return at

    def _may_start(self, permit: Permit, now: float) -> bool:
        """Is its start time now?"""
        if now < self._gate + self._spread or permit.costs is not None:
            return self._start_time(permit, now) <= now
        for bucket in self._buckets:  # noqa: SIM110 (a generator for each call)
            if bucket.earliest(now, 1.0) > now:
                return False
        return True

    def _due(self, permit: Permit, now: float) -> float:
        """When gate and rates allow it, its distance to the last start apart."""
        at = max(now, self._gate)
        for place, bucket in enumerate(self._buckets):
            at = max(at, bucket.earliest(now, 1.0 if permit.costs is None else permit.costs[place]))
        return at

    def _let_through(self, permit: Permit, now: float) -> None:
        permit.crowd, permit.ceiling, permit.epoch = len(self._holding), self.limit, self.epoch
        self._last_start = now
        if self._buckets:
            costs = permit.costs
            if costs is None:
                permit.charges = [bucket.charge(now, 1.0) for bucket in self._buckets]
            else:
                permit.charges = [bucket.charge(now, costs[place]) for place, bucket in enumerate(self._buckets)]

    def _refund(self, permit: Permit) -> None:
        """As if it had not been let through."""
        for bucket, charge in zip(self._buckets, permit.charges, strict=True):
            bucket.settle(charge, 0.0)
        permit.charges = ()
