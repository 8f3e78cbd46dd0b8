"""What a process wants of its ceiling and its rates, as numbers that others can compare with theirs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import blake2b

from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.followed import UNLIMITED
from fanmap._policy.limits.rate import Rate, name_of_setting, pace
from fanmap._policy.shared.document import DOLLARS, FOLLOWED, REQUESTS, TOKENS, TOTAL, RateSetting, Settings
from fanmap._policy.shared.totals import is_total
from fanmap._policy.tokens.money import is_dollars


def _no_tokens(_: Rate) -> bool:
    return False


_LATE = 0.05  # seconds that a start may come late at least, and the share of the window
_LATE_SHARE = 1 / 200
_LATE_IN_TOTAL = 1.0  # where no window is kept
_NEVER_SLOW = 1e15  # units a second
# Of a rate whose amount and window the server tells: by its window another one is never told from it; how late a start
# may come does not depend on what nobody knows yet.
_UNTOLD = (60.0, UNLIMITED, UNLIMITED / 60, UNLIMITED / 60, _LATE)


def wanted(
    concurrency: Adaptive,
    rates: Sequence[Rate],
    tokens: Callable[[Rate], bool] = _no_tokens,
    *,
    requests_told: bool = False,
    tokens_told: bool = False,
) -> Settings:
    """The settings of one `Limits`; `tokens` tells which rates count those, `..._told` what the server tells."""
    asked = (requests_told, tokens_told, tokens_told)
    followed = (RateSetting(what, *_UNTOLD) for what, wants in zip(FOLLOWED, asked, strict=True) if wants)
    return Settings(
        concurrency.minimum,
        concurrency.start,
        concurrency.maximum,
        (*(_wanted(rate, tokens) for rate in rates), *followed),
    )


def patient(settings: Settings, error: float) -> Settings:
    """The same for a process that knows the store's clock to so many seconds only: its starts may come later."""
    if all(error <= rate.late / 2 for rate in settings.rates):
        return settings
    return replace(settings, rates=tuple(_patient(rate, error) for rate in settings.rates))


def _patient(rate: RateSetting, error: float) -> RateSetting:
    late = rate.late
    while error > late / 2:
        late *= 2
    if is_total(rate):
        return replace(rate, late=late)
    return replace(rate, late=late, refill=rate.refill * (rate.per + rate.late) / (rate.per + late))


def smaller(one: Settings, other: Settings) -> Settings:
    """Of each number the smaller one, of two with the same rates."""
    rates = tuple(_smaller(mine, its) for mine, its in zip(one.rates, other.rates, strict=True))
    minimum, start = min(one.minimum, other.minimum), min(one.start, other.start)
    return Settings(minimum, start, min(one.maximum, other.maximum), rates)


def _smaller(one: RateSetting, other: RateSetting) -> RateSetting:
    amount, burst = min(one.amount, other.amount), min(one.burst, other.burst)
    return replace(one, amount=amount, burst=burst, refill=min(one.refill, other.refill))


def _wanted(rate: Rate, tokens: Callable[[Rate], bool]) -> RateSetting:
    if rate.per == math.inf:
        amount = float(rate.amount)
        return RateSetting(_what(rate, tokens), TOTAL, amount, amount, _NEVER_SLOW, _LATE_IN_TOTAL)
    late = max(_LATE, rate.per * _LATE_SHARE)
    burst, refill = pace(rate)
    # A start that comes late makes its window longer by so much: what is in a window and that, must fit in the window.
    refill *= rate.per / (rate.per + late)
    return RateSetting(_what(rate, tokens), float(rate.per), float(rate.amount), float(burst), refill, late)


def _what(rate: Rate, tokens: Callable[[Rate], bool]) -> int:
    """A number for what the rate counts: the same in every process where the functions have the same name."""
    if rate.cost is None:
        return REQUESTS
    if tokens(rate):
        return TOKENS
    if is_dollars(rate):
        return DOLLARS
    return int.from_bytes(blake2b(name_of_setting(rate.cost).encode(), digest_size=6).digest()) | 1 << 47
