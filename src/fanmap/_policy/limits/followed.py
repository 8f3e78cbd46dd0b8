"""`rpm="auto"` and `tpm="auto"`: the numbers are the server's own, and followed when they change.

Pure. Each such rate has its place from the beginning, with an amount that never binds until the server has told one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fanmap._policy.limits.quotas import Quota, Unit
from fanmap._policy.limits.rate import Rate
from fanmap._policy.tokens.token_rates import input_rate, output_rate, token_rate

UNLIMITED = 1e15
"""An amount that never binds."""

_NOISE = 0.1
"""Share by which the window of a limit may seem to change from answer to answer: it is told by rounded numbers."""

_Make = Callable[[float, float], Rate]
# Which of the two places of `tpm="auto"` a unit has: whoever tells input and output apart needs both.
_TOKENS: dict[Unit, tuple[int, _Make]] = {
    "tokens": (0, token_rate),
    "input tokens": (0, input_rate),
    "output tokens": (1, output_rate),
}


class Followed:
    """The limits that a server tells.

    Args:
        first: the place of the first of these rates among all.
        requests: follow the limit of requests.
        tokens: follow those of tokens.

    Attributes:
        first, requests, tokens: as given.
        rates: as they are now, in order.
        untold: nothing has been told yet, nor that nothing will be: one call at a time finds out.
    """

    __slots__ = ("_known", "_places", "_units", "first", "rates", "requests", "tokens", "untold")

    def __init__(self, first: int, *, requests: bool, tokens: bool) -> None:
        self.first = first
        self.requests, self.tokens = requests, tokens
        self._places: dict[Unit, tuple[int, _Make]] = {"requests": (0, Rate)} if requests else {}
        self.rates: list[Rate] = [Rate(UNLIMITED)] if requests else []
        if tokens:
            offset = len(self.rates)
            self._places.update((unit, (offset + place, make)) for unit, (place, make) in _TOKENS.items())
            self.rates += [token_rate(UNLIMITED), output_rate(UNLIMITED)]
        self._known: dict[Unit, Quota] = {}
        self._units: dict[int, Unit] = {}  # what was told last, of each place
        self.untold = True

    def news(self, quotas: Sequence[Quota]) -> bool:
        """Is there anything in this that is not known already?"""
        return self.untold or any(self._differs(quota) for quota in quotas if quota.unit in self._places)

    def told(self, quotas: Sequence[Quota]) -> list[tuple[int, Rate]]:
        """An answer has told these limits; what changes, each with its place among all rates."""
        self.untold = False
        changes: list[tuple[int, Rate]] = []
        for quota in quotas:
            if quota.unit in self._places and self._differs(quota):
                known = self._known.get(quota.unit)
                per = known.per if known is not None and known.sure and not quota.sure else quota.per
                sure = quota.sure or (known is not None and known.sure)
                self._known[quota.unit] = Quota(quota.unit, quota.limit, per, quota.remaining, sure)
                place, make = self._places[quota.unit]
                rate = self.rates[place] = make(max(1.0, quota.limit), per)
                self._units[place] = quota.unit
                changes.append((self.first + place, rate))
        return changes

    def in_force(self) -> list[tuple[int, Unit, Rate]]:
        """What was told last, each with its place among all rates."""
        return [(self.first + place, unit, self.rates[place]) for place, unit in self._units.items()]

    def missing(self) -> list[str]:
        """Which of `rpm` and `tpm` the server has told nothing of."""
        told = {"rpm" if unit == "requests" else "tpm" for unit in self._known}
        asked = {"rpm" if unit == "requests" else "tpm" for unit in self._places}
        return sorted(asked - told)

    def _differs(self, quota: Quota) -> bool:
        known = self._known.get(quota.unit)
        if known is None or quota.limit != known.limit:
            return True
        if not quota.sure:
            return False
        return not known.sure or abs(quota.per - known.per) > _NOISE * known.per
