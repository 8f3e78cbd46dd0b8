"""How many at once: find what the server bears from what it refuses.

Additive increase and multiplicative decrease turned CUBIC (RFC 9438), counted in rounds of answers instead
of seconds, because latency says nothing here: it measures how long an answer is. One cut an epoch, growth
only while the limit binds. Pure: told which call was refused or answered; 5xx never gets here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fanmap._policy.checks import is_finite, shown
from fanmap._public import public

# What is left after a cut. Answers that count come a latency after it, so each cut costs that long at least;
# 0.85 uses 0.94 of 64 slots, 0.92 uses 0.96, and a fall to a quarter takes 17 refused crowds instead of 9.
_BETA = 0.92
_C = 0.4  # CUBIC's scale
_BINDS = 0.8  # share of the limit that must have been in use for an answer to say anything about it


@dataclass(frozen=True, slots=True)
class Adaptive:
    """For `max_concurrency=`: as many calls at once as the server bears, found from its refusals.

    `max_concurrency="auto"` is `Adaptive()`. A plain number is the same with start and maximum at that
    number: a ceiling that refusals lower for a while.

    Args:
        start: calls at once to begin with; doubles a round until the first refusal.
        minimum: never fewer than this; >= 1.
        maximum: never more than this.

    Raises:
        ValueError, TypeError: unless 1 <= minimum <= start <= maximum, all ints.

    Source: CUBIC, RFC 9438, with rounds for seconds; one cut an epoch as in TCP NewReno (RFC 6582).
    """

    start: int = 8
    minimum: int = 1
    maximum: int = 256

    @public
    def __init__(self, start: int = 8, minimum: int = 1, maximum: int = 256) -> None:
        for name, value in (("start", start), ("minimum", minimum), ("maximum", maximum)):
            if isinstance(value, bool) or not isinstance(value, int):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"{name} must be an int >= 1, got {value!r}")
            object.__setattr__(self, name, value)
        if not is_finite(maximum):
            raise ValueError(f"maximum must be a finite number >= 1, got {shown(maximum)}")
        if not 1 <= minimum <= start <= maximum:
            raise ValueError(
                f"start must be >= minimum >= 1 and <= maximum, got start={start}, minimum={minimum}, maximum={maximum}"
            )


Why = Literal["refused", "answered", "outage", "told", "priced"]


@dataclass(frozen=True, slots=True)
class Change:
    """The ceiling went from one number of calls to another.

    Attributes:
        time: seconds of the monotonic clock.
        before, after: calls at once.
        why: "refused", "answered", "outage" (one call at a time probes), "told" (the server's limits are known) or
            "priced" (the first call has its price).
    """

    time: float
    before: int
    after: int
    why: Why


class Ceiling:
    """The number of calls that may be under way at once, as refusals and answers move it.

    Attributes:
        limit: that number.
        epoch: how often it was cut; a call belongs to the epoch in which it began.
        resting: at its maximum: answers change nothing and need not be told.
    """

    __slots__ = ("_cubic_k", "_floor", "_peak", "_rounds", "_settings", "_slow_start", "_value", "epoch")

    def __init__(self, settings: Adaptive, state: Sequence[float] = ()) -> None:
        self._settings = settings
        if state:
            self._value, slow_start, self._peak, self._floor, self._rounds, self._cubic_k, epoch = state
            self._slow_start, self.epoch = bool(slow_start), int(epoch)
            return
        self._value = float(settings.start)
        self._slow_start = True
        self._peak = 0.0  # Lmax: where the last cut found the capacity
        self._floor = 0.0  # L0: where it went
        self._rounds = 0.0
        self._cubic_k = 0.0
        self.epoch = 0

    def state(self) -> list[float]:
        """All of it but for the settings, as numbers."""
        growth = self._peak, self._floor, self._rounds, self._cubic_k
        return [self._value, float(self._slow_start), *growth, float(self.epoch)]

    @property
    def limit(self) -> int:
        return int(self._value)

    @property
    def maximum(self) -> int:
        return self._settings.maximum

    @property
    def resting(self) -> bool:
        return self._value >= self._settings.maximum

    def can_answer(self, epoch: int) -> bool:
        """Can a refusal of a call of that epoch be answered with fewer at once, or has it been?"""
        return epoch != self.epoch or self.limit > self._settings.minimum

    def lower(self, value: float, epoch: int) -> None:
        """It is known to have been cut to this, in another life."""
        self.epoch = max(self.epoch, epoch)
        if value < self._value:
            self._value = self._peak = self._floor = max(float(self._settings.minimum), value)
            self._rounds = self._cubic_k = 0.0
            self._slow_start = False

    def refused(self, epoch: int, crowd: int, still: int | None = None) -> None:
        """A call of that epoch, one of `crowd` when it began, was one too many.

        `still` are under way besides, where that was surely about the crowd: of a crowd that began at once the
        refusals tell one after the other how many it was too many, and no further one need be sent to learn it.
        """
        if epoch != self.epoch:
            if epoch == self.epoch - 1 and still is not None and still < self._value:
                self._peak = self._value = self._floor = max(float(self._settings.minimum), still)
                self._rounds = self._cubic_k = 0.0
            return  # of the crowd that was cut already
        self.epoch += 1
        self._slow_start = False
        good = max(1.0, min(self._value, crowd - 1.0))
        # Lower than last time: the capacity is falling, so aim below it (fast convergence, RFC 9438 4.7).
        self._peak = good * (1 + _BETA) / 2 if good < 0.98 * self._peak else good
        self._value = self._floor = max(float(self._settings.minimum), good * _BETA)
        self._rounds = 0.0
        self._cubic_k = (max(0.0, self._peak - self._value) / _C) ** (1 / 3)

    def answered(self, epoch: int, crowd: int, limit: int, share: float = 1.0) -> None:
        """A call of that epoch was answered, one of `crowd` when the limit was `limit`; it counts for `share` of one.

        It says something only if the limit was in use. In a slow start that is asked of the limit of its
        beginning: by its end the limit has doubled, half of the answers would not count, and 8 would become
        490 in 14 latencies instead of 7. Later on an answer says nothing about a limit that rose meanwhile.
        """
        if epoch != self.epoch or crowd < _BINDS * (limit if self._slow_start else int(self._value)):
            return
        most = float(self._settings.maximum)
        if self._slow_start:
            self._value = min(most, self._value + 1)
            return
        self._rounds += share / self._value
        cubic = _C * (self._rounds - self._cubic_k) ** 3 + self._peak
        self._value = min(most, max(self._value, cubic, self._floor + self._rounds))
