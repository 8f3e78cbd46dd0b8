"""What a simulated world is made of: items with their fates, and a server with limits of its own.

Everything is drawn from the seed by name, not in the order of events, so that an item's fate is the same
however its calls interleave.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from random import Random

from fanmap import Retry
from fanmap._drive import clock
from fanmap.testing import SimulatedAPIError

from .hostile import hostile

# What PROVIDERS.md lists, by what is to be done about it.
REFUSAL, MENDABLE, FINAL, SPENT = "refusal", "mendable", "final", "spent"
GROUPED = "grouped"  # several refusals at once, out of one item: its siblings may have been paid for, so it ends


def api_error(status, *, code=None, message="simulated", headers=None, **body):
    return SimulatedAPIError(message, status, headers or {}, {"message": message, "code": code, "type": code, **body})


def named(wait):
    """A refusal that names a wait, in one of the ways in which servers name it."""
    return {
        "rate": lambda: api_error(429, code="rate_limit_exceeded", headers={"retry-after": f"{wait:.3f}"}),
        "milliseconds": lambda: api_error(429, code="slow_down", headers={"retry-after-ms": f"{wait * 1000:.0f}"}),
        "text": lambda: api_error(429, message=f"Please try again in {wait:.3f}s."),
        "body": lambda: api_error(429, code="rate_limit_error", retry_after=round(wait, 3)),
        "overloaded": lambda: api_error(503, headers={"retry-after": f"{wait:.3f}"}),
        "529": lambda: api_error(529, code="overloaded_error", headers={"retry-after": f"{wait:.3f}"}),
    }


UNNAMED = {
    "bare": lambda: api_error(429),
    "not a number": lambda: api_error(429, headers={"retry-after": "nan"}),
    "negative": lambda: api_error(429, headers={"retry-after": "-5"}),
    "word": lambda: api_error(429, headers={"retry-after": "soon"}),
    "too many at once": lambda: api_error(429, code="concurrent_request_limit_exceeded"),
    "too steep": lambda: api_error(429, code="limit_burst_rate"),
}


def read_timeout():
    import httpx  # not where tests are collected

    return httpx.ReadTimeout("simulated")


BROKEN = {
    MENDABLE: [
        *(lambda status=status: api_error(status) for status in (408, 409, 500, 502, 503, 504, 529)),
        lambda: ConnectionResetError("simulated"),
        read_timeout,
    ],
    FINAL: [
        *(lambda status=status: api_error(status) for status in (400, 404, 413, 422)),
        lambda: ValueError("simulated"),
        lambda: api_error(500, headers={"x-should-retry": "false"}),
    ],
    SPENT: [lambda: api_error(429, code="insufficient_quota"), lambda: api_error(402)],
}


@dataclass(frozen=True)
class Fate:
    """What becomes of one attempt: None is an answer."""

    kind: str | None
    latency: float
    error: BaseException | None = None
    wait: float | None = None
    clean_up: float = 0.0
    nested: int = 0
    leaves_a_variable: bool = False
    dead: bool = False  # nobody was there: an outage


@dataclass(eq=False)
class Item:
    """One input."""

    run: object
    index: int
    arrivals: int = 0  # attempts that the server let in
    calls: list = field(default_factory=list)

    @property
    def value(self):
        return (self.run.name, self.index)


@dataclass(frozen=True)
class Mix:
    """How likely what is, in one world."""

    seed: str
    refusal: float
    mendable: float
    final: float
    spent: float
    nested: float
    longest: float
    groups: bool = False  # refusals that name a wait come in groups, half of them
    objects: bool = False  # what is final objects to being looked at

    def fate(self, item, attempt):
        dice = Random(f"{self.seed} {item.run.name} {item.index} {attempt}")
        latency = min(self.longest, dice.lognormvariate(0.0, 1.0))
        if dice.random() < 0.04:
            latency = dice.choice((0.0, 60.0))
        point = dice.random()
        clean_up = dice.choice((0.0, 0.0, 0.3))
        for kind in (REFUSAL, MENDABLE, FINAL, SPENT):
            share = getattr(self, kind)
            if point < share and not (kind == REFUSAL and attempt > 6) and not item.run.depth:
                break
            point -= share
        else:
            nested = dice.randint(1, 4) if item.run.depth < 2 and dice.random() < self.nested else 0
            return Fate(None, latency, clean_up=clean_up, nested=nested, leaves_a_variable=dice.random() < 0.1)
        if kind == FINAL and self.objects:
            made = hostile(dice)
            if made.place == "from another":  # which a repeat might mend
                made = replace(made, place="bare")
            return Fate(kind, latency, made.among(), clean_up=clean_up)
        if kind != REFUSAL:
            return Fate(kind, latency, dice.choice(BROKEN[kind])(), clean_up=clean_up)
        if dice.random() < 0.5:
            return Fate(kind, 0.01, dice.choice(list(UNNAMED.values()))())
        wait = round(dice.uniform(0.05, 20.0), 3)
        error = dice.choice(list(named(wait).values()))()
        if self.groups and dice.random() < 0.5:
            shorter = named(round(wait / 2, 3))["rate"]()
            error = ExceptionGroup("simulated", [shorter, error])
            return Fate(GROUPED, 0.01, dice.choice((error, ExceptionGroup("around it", [error]))), wait)
        return Fate(kind, 0.01, error, wait)


def expected(mix: Mix, item: Item, retry) -> tuple[str | None, int]:
    """How an item ends when nothing stops its run: (kind of its failure, or None), and attempts not refused."""
    attempt = counted = 0
    while True:
        fate = mix.fate(item, attempt)
        attempt += 1
        if fate.kind == REFUSAL:
            if retry is False:
                return REFUSAL, counted
            continue
        counted += 1
        if fate.kind == MENDABLE and isinstance(retry, Retry) and counted < retry.attempts:
            continue
        return fate.kind, counted


class Server:
    """A provider: so many at once, a token bucket, and an hour in which it is down."""

    def __init__(self, dice: Random, began: float) -> None:
        self.at_once = dice.choice((None, None, 1, 2, 4, 8))
        self.refill = dice.choice((None, None, 0.5, 3.0, 20.0))  # a second
        self.capacity = dice.choice((1, 5, 20))
        self.names_waits = dice.random() < 0.7
        down = dice.random() < 0.2
        self.down_from = began + dice.uniform(0, 20) if down else math.inf
        self.down_until = self.down_from + dice.uniform(1, 60) if down else math.inf
        self.dead_from = self.dead_until = math.inf
        self.held = float(self.capacity)
        self.filled = began
        self.serving = 0

    def dies(self, dice: Random) -> None:
        """Nobody answers for a while, and nobody says until when."""
        self.dead_from = clock.now() + dice.uniform(0, 10)
        self.dead_until = self.dead_from + dice.choice((5.0, 30.0, 60.0))

    def turns_away(self) -> Fate | None:
        """A refusal, or None: the call is served (and `serving` is the caller's to give back)."""
        now = clock.now()
        if self.dead_from <= now < self.dead_until:
            number = round((now - self.dead_from) * 1e6)
            error = (api_error(500), api_error(503), ConnectionResetError("simulated"))[number % 3]
            return Fate(MENDABLE, 0.01, error, dead=True)
        if self.down_from <= now < self.down_until:
            wait = round(self.down_until - now + 0.001, 3)
            return Fate(REFUSAL, 0.01, api_error(503, headers={"retry-after": f"{wait:.3f}"}), wait)
        if self.refill is not None:
            self.held = min(self.capacity, self.held + (now - self.filled) * self.refill)
            self.filled = now
            if self.held < 1:
                wait = round((1 - self.held) / self.refill + 0.001, 3)
                if self.names_waits:
                    return Fate(REFUSAL, 0.01, api_error(429, headers={"retry-after": f"{wait:.3f}"}), wait)
                return Fate(REFUSAL, 0.01, api_error(429, code="rate_limit_exceeded"))
            self.held -= 1
        if self.at_once is not None and self.serving >= self.at_once:
            return Fate(REFUSAL, 0.01, api_error(429, code="concurrent_request_limit_exceeded"))
        self.serving += 1
        return None
