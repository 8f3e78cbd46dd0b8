"""What one process has booked and settled of totals, and what it knows of the others'.

All of it is said in every request, as it is: how much is open, and how much was settled since the process is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fanmap._policy.shared.document import DOLLARS, Settings
from fanmap._policy.shared.messages import Reply, Request
from fanmap._policy.shared.totals import exceeds, is_total


class Purse:
    """The totals of one member.

    Attributes:
        places: of them, among all rates.
        owes_since: since when something is settled that the others do not know; inf: they know all.
        tight: somebody waits for it.
        stuck: a call here does, and nobody will settle anything.
        era: as of the document.
    """

    def __init__(self, settings: Settings) -> None:
        rates = settings.rates
        self.places = tuple(place for place, rate in enumerate(rates) if is_total(rate))
        self.owes_since = math.inf
        self.tight = self.stuck = False
        self.era = 0
        self._dollars = tuple(rate.what == DOLLARS and is_total(rate) for rate in rates)
        self._amounts = [rate.amount for rate in rates]
        self._many = 0
        self._open = [0.0] * len(rates)
        self._aside = [0.0] * len(rates)
        self._paid = [0.0] * len(rates)
        self._counted = [0.0] * len(rates)
        self._known = [[0.0, 0.0, 0.0, 0.0] for _ in rates]  # spent, booked by others, mean, how many have told it
        self._sent_since = math.inf

    # What happens here

    def book(self, costs: Sequence[float]) -> None:
        """A start has been booked for so much."""
        self._many += 1
        for place in self.places:
            self._open[place] += costs[place]

    def give_back(self, costs: Sequence[float]) -> None:
        """It was not used, or it is settled."""
        self._many -= 1
        for place in self.places:
            self._open[place] = self._open[place] - costs[place] if self._many else 0.0

    def settle(self, costs: Sequence[float], actual: Sequence[float], now: float) -> None:
        """What was booked for so much took so much in fact."""
        self.give_back(costs)
        for place in self.places:
            self._paid[place] += actual[place]
        self.owes_since = min(self.owes_since, now)

    def pay(self, place: int, units: float) -> None:
        """So much was spent before, that nothing was booked for."""
        self._paid[place] += units
        self.owes_since = -math.inf

    def set_aside(self, place: int, units: float) -> None:
        """What is under way elsewhere may cost so much: to others it is booked here, and to calls here it is spent."""
        self._aside[place] = units
        self.owes_since = -math.inf

    def aside(self, place: int) -> float:
        """What that was, of this total."""
        return self._aside[place]

    def held(self, place: int) -> float:
        """What calls under way were charged, anybody's, as far as is known here."""
        return self._known[place][1] + self._open[place]

    # What may start

    def charged(self, costs: Sequence[float]) -> list[float]:
        """What a call of these costs is charged."""
        return [self._mean(place) if self._dollars[place] else cost for place, cost in enumerate(costs)]

    def amount(self, place: int) -> float:
        """Of the total, as it is in force."""
        return self._amounts[place]

    def spent(self, place: int) -> float:
        """What is settled, as far as it is known here."""
        return self._known[place][0] + self._paid[place] - self._counted[place]

    def beyond(self, place: int, cost: float) -> bool:
        """Would this cost go beyond the amount whatever calls under way settle for?"""
        # As it was told: what was settled here since may have changed the mean, too.
        return exceeds(self._amounts[place], self._known[place][0] + self._aside[place], self._charge(place, cost))

    def fits(self, place: int, cost: float) -> bool:
        """May it start beside those, as far as is known here?"""
        booked = self.held(place) + self._aside[place]
        return not exceeds(self._amounts[place], 0.0, self.spent(place) + booked + self._charge(place, cost))

    def _charge(self, place: int, cost: float) -> float:
        return self._mean(place) if self._dollars[place] else cost

    def _mean(self, place: int) -> float:
        return min(self._amounts[place], max(0.0, self._known[place][2]))

    # What is said and heard

    def said(self, *, settling: bool) -> dict[str, Any]:
        """For a request that is sent now."""
        self._sent_since, self.owes_since = self.owes_since, math.inf
        units = [one + other for one, other in zip(self._open, self._aside, strict=True)]
        said = {"open": units, "paid": self._paid, "counted": self._counted}
        return {**{name: list(one) for name, one in said.items()}, "settling": settling}

    def known(self, place: int) -> Sequence[float]:
        """For a store that has lost its memory."""
        return list(self._known[place])

    def lost(self) -> None:
        """What was said last may not have arrived."""
        self.owes_since = min(self.owes_since, self._sent_since)

    def heard(self, request: Request, reply: Reply) -> None:
        """The reply to that."""
        self._counted = list(request.paid)
        self.era, self.tight, self.stuck = reply.era, reply.tight, reply.stuck
        for place in self.places:
            spent, booked, amount, _, mean, learnt = reply.rates[place]
            mine = request.open[place] + sum(entry[3 + place] for entry in reply.box)
            self._known[place] = [spent, max(0.0, booked - mine), mean, learnt]
            self._amounts[place] = amount
