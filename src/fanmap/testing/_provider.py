"""One simulated provider: who is served, who is refused, and the log of it.

The same for calls in this process and over HTTP, from any thread. One lock, held for arithmetic;
nothing here sleeps: the caller waits for `Fate.delay` seconds.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from fanmap._drive import clock
from fanmap.testing._behaviour import Behaviour, Bucket, Level, Status

Reason: TypeAlias = Literal["requests", "tokens", "concurrency"]


@dataclass(frozen=True, slots=True)
class Record:
    """One call in the log of a simulated provider.

    Attributes:
        index: Place in the order of arrival, from 0; `prompts[index]` is the whole prompt.
        prompt: The prompt's first 80 characters.
        attempt: Which attempt of this prompt it was, from 1; refused ones don't count (0).
        status: The status answered; "drop": the connection was cut; "gone": the caller left first.
        arrived, ended: Seconds of fanmap's clock (`time.monotonic` unless replaced).
        in_flight: Calls being served when it arrived, itself included.
        path: The path of the request, or "".
        retry_count: How often the client says it has repeated the request (x-stainless-retry-count).
    """

    index: int
    prompt: str = field(repr=False)
    attempt: int
    status: Status
    arrived: float
    ended: float
    in_flight: int
    path: str = ""
    retry_count: int = 0


@dataclass(frozen=True, slots=True)
class Fate:
    """What is going to happen to a call that arrived; `wait` is what a refusal says, in seconds."""

    index: int
    attempt: int
    status: Status
    delay: float
    arrived: float
    in_flight: int
    wait: float | None = None
    reason: Reason | None = None
    limit: float = 0.0

    @property
    def admitted(self) -> bool:
        """Refused calls are turned away at the door: they are never in flight."""
        return self.status != 429


class Provider:
    """The state of one simulated provider. Thread-safe."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._lock = threading.Lock()
        self._in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Forget the log and fill the buckets. Call it while nothing is under way."""
        with self._lock:
            b = self.behaviour
            self._log: list[Record] = []
            self._prompts: list[str] = []
            self._attempts: Counter[str] = Counter()
            self._refused = 0
            self._max_in_flight = self._in_flight
            self._buckets: dict[Reason, Bucket] = {}
            if b.rpm is not None:
                self._buckets["requests"] = Bucket(b.rpm, b.burst)
            if b.tpm is not None:
                self._buckets["tokens"] = Bucket(b.tpm)

    @property
    def log(self) -> list[Record]:
        """The calls that have ended, in the order in which they ended."""
        with self._lock:
            return self._log.copy()

    @property
    def prompts(self) -> list[str]:
        """The whole prompts, in the order of arrival."""
        with self._lock:
            return self._prompts.copy()

    @property
    def sent(self) -> int:
        """Calls that arrived, refused ones included."""
        return len(self._prompts)

    @property
    def refused(self) -> int:
        """Calls that were answered with 429."""
        return self._refused

    @property
    def max_in_flight(self) -> int:
        """The most calls that were served at once."""
        return self._max_in_flight

    def levels(self) -> dict[Reason, Level]:
        """The buckets as the rate-limit headers tell them."""
        with self._lock:
            now = clock.now()
            return {reason: bucket.level(now) for reason, bucket in self._buckets.items()}

    @contextmanager
    def serving(
        self,
        prompt: str,
        *,
        tokens: float = 0.0,
        scripted: tuple[Status, float] | None = None,
        path: str = "",
        retry_count: int = 0,
    ) -> Generator[Fate]:
        """Decide about a call on entry, log it on exit; wait `Fate.delay` seconds in between.

        An exception in between means that the caller left. `scripted`, a status and seconds until
        it, stands in for limits and dice.
        """
        fate = self._arrive(prompt, tokens, scripted)
        status: Status = "gone"
        try:
            yield fate
            status = fate.status
        finally:
            with self._lock:
                self._in_flight -= fate.admitted
                self._log.append(
                    Record(
                        index=fate.index,
                        prompt=prompt[:80],
                        attempt=fate.attempt,
                        status=status,
                        arrived=fate.arrived,
                        ended=clock.now(),
                        in_flight=fate.in_flight,
                        path=path,
                        retry_count=retry_count,
                    )
                )

    def _arrive(self, prompt: str, tokens: float, scripted: tuple[Status, float] | None) -> Fate:
        with self._lock:
            now = clock.now()
            index, in_flight = len(self._prompts), self._in_flight + 1
            self._prompts.append(prompt)
            refusal = None if scripted else self._refusal(now, tokens)
            if refusal:
                reason, wait, limit = refusal
                fate = Fate(index, 0, 429, 0.0, now, in_flight, wait, reason, limit)
            else:
                # Only calls that were let in count as attempts: which ones are refused depends on
                # the interleaving, and the dice must not.
                attempt = self._attempts[prompt] + 1
                self._attempts[prompt] = attempt
                status, delay = scripted or self.behaviour.draw(prompt, attempt)
                wait = self.behaviour.retry_after if status == 429 and not scripted else None
                fate = Fate(index, attempt, status, delay, now, in_flight, wait)
            if fate.admitted:
                self._in_flight = in_flight
                self._max_in_flight = max(self._max_in_flight, in_flight)
            else:
                self._refused += 1
            return fate

    def _refusal(self, now: float, tokens: float) -> tuple[Reason, float | None, float] | None:
        """The limit that is in the way, the wait it names, and its size.

        The buckets are charged before concurrency is looked at: refused requests count too.
        """
        b = self.behaviour
        for reason, bucket in self._buckets.items():
            is_requests = reason == "requests"
            wait = bucket.take(now, 1.0 if is_requests else tokens, forfeit=is_requests)
            if wait:
                return reason, wait if b.retry_after is None else b.retry_after, bucket.per_minute
        if b.max_concurrency is not None and self._in_flight >= b.max_concurrency:
            return "concurrency", b.retry_after, b.max_concurrency
        return None
