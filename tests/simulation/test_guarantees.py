"""The guarantees of the design, G1 to G8, G10 to G12 and G14, over simulated latency, faults and interleavings.

A failure names its seed. `FANMAP_SEED="threads 123" python -m pytest tests/simulation` plays that one again.
"""

from __future__ import annotations

import os

import pytest

from .drivers import DRIVERS, play

ORDINARY = {"asyncio": 500, "trio": 500, "threads": 600, "everywhere": 400}
CHUNK = 50


def chunks(count, first=0):
    chosen = os.environ.get("FANMAP_SEED")
    if chosen:
        driver, seed = chosen.split()
        return [(driver, int(seed), int(seed) + 1)]
    return [
        (driver, first + start, first + min(start + CHUNK, total))
        for driver, share in ORDINARY.items()
        for total in [share * count // 2000]
        for start in range(0, total, CHUNK)
    ]


def check(driver, first, beyond):
    failures = []
    for seed in range(first, beyond):
        try:
            wrong = play(driver, seed).wrong
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            wrong = [f"{type(error).__name__}: {error}"]
        if wrong:
            failures.append(f'FANMAP_SEED="{driver} {seed}": ' + "; ".join(wrong[:3]))
    assert not failures, f"{len(failures)} of {beyond - first} seeds:\n" + "\n".join(failures[:20])


@pytest.mark.parametrize(("driver", "first", "beyond"), chunks(2000))
def test_the_guarantees_hold(driver, first, beyond):
    check(driver, first, beyond)


@pytest.mark.nightly
@pytest.mark.parametrize(("driver", "first", "beyond"), chunks(100_000, first=10_000))
def test_the_guarantees_hold_all_night(driver, first, beyond):
    check(driver, first, beyond)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_seed_replays_its_run_exactly(driver):
    for seed in range(15):
        one, other = play(driver, seed), play(driver, seed)
        assert one.events == other.events
        assert one.trace.hexdigest() == other.trace.hexdigest()
