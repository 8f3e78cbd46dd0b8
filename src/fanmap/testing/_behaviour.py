"""How a simulated provider behaves: its dice and its buckets.

Pure: no clock, lock or sleep; `now` is an argument. The dice depend on the seed, the prompt and
the attempt alone, so that a run is the same run however its calls interleave.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Literal, TypeAlias

Status: TypeAlias = int | Literal["drop", "gone"]
"""An HTTP status; "drop": the connection was cut without a reply; "gone": the caller left first."""

FailureRates: TypeAlias = float | Mapping[int | str, float]
"""The share of the calls that fail with a 500, or shares by status; "drop" cuts the connection."""

TURNED_AWAY = frozenset({429, 503, 529})
"""What a server answers at the door, before it has done any work."""


def check_number(name: str, value: object, kinds: type | tuple[type, ...]) -> None:
    """A number of these kinds, or None, or an error that names the parameter."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
        raise TypeError(f"{name} must be {'an int' if kinds is int else 'a number'}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """The settings of a simulated provider, checked.

    Args:
        seed: Chooses the dice.
        latency: Median seconds of a call, >= 0.
        sigma: Spread of the lognormal latency, >= 0; 0 means that all calls take `latency`.
        scale: Factor on every latency, > 0: a fast-forward for demos.
        max_concurrency: Calls served at once; one more is refused. None: no limit.
        rpm: Requests a minute: the refill of the request bucket. None: no limit.
        tpm: Tokens a minute: the refill of the token bucket. None: no limit.
        burst: What the request bucket holds when full. None: a minute's worth.
        retry_after: Seconds that every refusal names. None: what the bucket says; a refusal for
            concurrency then names none.
        failure_rates: Share of the calls that end with this status, or with "drop"; a plain number: with 500.
    """

    seed: int = 0
    latency: float
    sigma: float = 0.6
    scale: float = 1.0
    max_concurrency: int | None = None
    rpm: float | None = None
    tpm: float | None = None
    burst: float | None = None
    retry_after: float | None = None
    failure_rates: FailureRates = 0.0
    shares: list[tuple[int | str, float]] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("latency", "sigma", "scale", "rpm", "tpm", "burst", "retry_after"):
            check_number(name, getattr(self, name), (int, float))
        for name in ("seed", "max_concurrency"):
            check_number(name, getattr(self, name), int)
        for name in ("latency", "sigma", "retry_after"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {value!r}")
        for name in ("scale", "rpm", "tpm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be finite and above 0, got {value!r}")
        for name in ("max_concurrency", "burst"):
            value = getattr(self, name)
            if value is not None and not 1 <= value < math.inf:
                raise ValueError(f"{name} must be at least 1, got {value!r}")
        rates = self.failure_rates
        shares = rates if isinstance(rates, Mapping) else {500: rates}
        for status, share in shares.items():
            if status != "drop" and status not in range(400, 600):
                raise ValueError(f"failure_rates must be keyed by 400 to 599 or 'drop', got {status!r}")
            check_number("a share of failure_rates", share, (int, float))
            if not 0 <= share <= 1:
                raise ValueError(f"failure_rates must be shares between 0 and 1, got {share!r}")
        total = math.fsum(shares.values())
        if total > 1 + 1e-9:
            raise ValueError(f"failure_rates must add up to at most 1, got {total!r}")
        # Sorted, so that two equal mappings mean the same dice.
        object.__setattr__(self, "shares", sorted(shares.items(), key=lambda rate: str(rate[0])))

    def draw(self, prompt: str, attempt: int) -> tuple[Status, float]:
        """What becomes of this attempt (from 1) of this prompt: a status, and seconds until it."""
        key = f"{self.seed}|{attempt}|{prompt}".encode("utf-8", "surrogatepass")
        chance = Random(int.from_bytes(blake2b(key, digest_size=16).digest()))
        point = chance.random()
        delay = self.latency * self.scale * chance.lognormvariate(0.0, self.sigma)
        for status, share in self.shares:
            if point < share:
                failed: Status = status if isinstance(status, int) else "drop"
                return failed, 0.0 if failed in TURNED_AWAY else delay
            point -= share
        return 200, delay


@dataclass(frozen=True, slots=True)
class Level:
    """A bucket as the rate-limit headers tell it; `reset` is seconds until it is full again."""

    limit: float
    remaining: float
    reset: float


class Bucket:
    """A token bucket, refilled continuously, that starts full."""

    def __init__(self, per_minute: float, burst: float | None = None) -> None:
        self.per_minute = per_minute
        self._capacity = max(1.0, per_minute if burst is None else burst)
        self._refill = per_minute / 60.0
        self._held = self._capacity
        self._filled_at = -math.inf

    def take(self, now: float, cost: float = 1.0, *, forfeit: bool = False) -> float:
        """Take `cost` and return 0.0, or take nothing and return the seconds until it is there.

        With `forfeit` a refusal costs what was left: who keeps knocking never gets in.
        """
        self._fill(now)
        cost = min(cost, self._capacity)
        if self._held >= cost - 1e-9:
            self._held = max(0.0, self._held - cost)
            return 0.0
        if forfeit:
            self._held = 0.0
        return (cost - self._held) / self._refill

    def level(self, now: float) -> Level:
        """What is left at `now`."""
        self._fill(now)
        return Level(self.per_minute, self._held, (self._capacity - self._held) / self._refill)

    def _fill(self, now: float) -> None:
        if now > self._filled_at:
            self._held = min(self._capacity, self._held + (now - self._filled_at) * self._refill)
            self._filled_at = now
