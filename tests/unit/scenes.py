"""A clock that stands still, chance that is one half, and failures that say what they are."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fanmap._drive import clock
from fanmap._drive.calls.scope import current_scope

at_hundred = 100.0


@dataclass
class Clock:
    now: float = at_hundred


class Half:
    def random(self):
        return 0.5


class Fails(Exception):
    """A failure whose verdict is given."""

    def __init__(self, verdict):
        super().__init__(verdict.kind)
        self.verdict = verdict


def read_verdict(error):
    return getattr(error, "verdict", None)


@pytest.fixture(name="clock")
def fixed_clock():
    """The time is 100 s until the test says otherwise, and no call is around it."""
    stands = Clock()
    before, around = clock.install(lambda: stands.now), current_scope.set(None)
    yield stands
    clock.install(before)
    current_scope.reset(around)
