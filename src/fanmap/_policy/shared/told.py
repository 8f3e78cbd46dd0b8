"""`rpm="auto"` and `tpm="auto"` of several processes: what one is told of the server's limits is everybody's.

Such a rate has its place from the beginning, with an amount that never binds. Until an answer has told somebody what
the limits are, or that there are none, one call at a time finds out; then the newest that anybody was told holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fanmap._policy.limits.quotas import Unit
from fanmap._policy.shared.document import FOLLOWED, Document, RateSetting, RateState
from fanmap._policy.shared.rates import forget_all, recount, resize

UNITS: Final[tuple[Unit | None, ...]] = (None, "requests", "tokens", "input tokens", "output tokens")
"""What a rate that is followed counts, by number; None: nobody was told yet."""


def is_followed(rate: RateState | RateSetting) -> bool:
    """Is its amount what the server tells?"""
    return rate.what in FOLLOWED


def untold(document: Document) -> bool:
    """Is there such a rate, and nobody was told anything yet?"""
    return not document.told and any(map(is_followed, document.rates))


def binds(rate: RateState) -> bool:
    """Does it pace starts: is it neither a total nor one that nobody was told of?"""
    return rate.per > 0.0 and (rate.unit > 0 or not is_followed(rate))


def hear(document: Document, event: Sequence[float], now: float) -> None:
    """An answer has told one of them, or that there are none (a place below 0); what was told later stands."""
    place, unit, amount, burst, pace, window, ago = event
    fresh, document.told = not document.told, True
    if place < 0:
        return
    rate = document.rates[int(place)]
    if now - ago < rate.heard:
        return
    rate.heard = now - ago
    if (unit, amount, burst, pace, window) == (rate.unit, rate.amount, rate.burst, rate.pace, rate.window):
        return
    before, rate.unit = rate.unit, int(unit)
    rate.amount, rate.burst, rate.pace, rate.window = amount, burst, pace, window
    if before:
        resize(rate, refill_of(rate), now)
    else:
        if not fresh:  # there was said to be no limit
            forget_all(rate)
        recount(rate, refill_of(rate))


def refill_of(rate: RateState) -> float:
    """Units a second that keep the window which was told, with starts that come late."""
    return rate.pace * rate.window / (rate.window + rate.late)
