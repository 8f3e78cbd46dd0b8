"""The guarantees of the design, G1 to G8, G10 to G12 and G14, over simulated latency, faults and interleavings.

A failure names its seed. `FANMAP_SEED="threads 123" python -m pytest tests/simulation` plays that one again;
`FANMAP_SEEDS=2000` plays that many instead of the ordinary 120.
"""

from __future__ import annotations

import os

import pytest

from .drivers import DRIVERS, play

SHARES = {"asyncio": 0.25, "trio": 0.25, "threads": 0.3, "everywhere": 0.2}
CHUNK = 25


def chunks(count, first=0):
    chosen = os.environ.get("FANMAP_SEED")
    if chosen:
        driver, seed = chosen.split()
        return [(driver, int(seed), int(seed) + 1)]
    return [
        (driver, first + start, first + min(start + CHUNK, total))
        for driver, share in SHARES.items()
        for total in [round(share * count)]
        for start in range(0, total, CHUNK)
    ]


def pytest_generate_tests(metafunc):
    if metafunc.function is test_the_guarantees_hold:
        found = chunks(int(os.environ.get("FANMAP_SEEDS", "120")))
    elif metafunc.function is test_the_guarantees_hold_all_night:
        asked_for = "nightly" in metafunc.config.option.markexpr
        found = chunks(100_000, first=10_000) if asked_for else []  # thousands, and nobody would run them
    else:
        return
    metafunc.parametrize(("driver", "first", "beyond"), found)


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


def test_the_guarantees_hold(driver, first, beyond):
    check(driver, first, beyond)


@pytest.mark.nightly
def test_the_guarantees_hold_all_night(driver, first, beyond):
    check(driver, first, beyond)


@pytest.mark.whole
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_seed_replays_its_run_exactly(driver):
    for seed in range(4):
        one, other = play(driver, seed), play(driver, seed)
        assert one.events == other.events
        assert one.trace.hexdigest() == other.trace.hexdigest()
