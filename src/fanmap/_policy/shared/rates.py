"""A rate of several processes: starts are booked ahead, and what they took in fact is settled later.

GCRA as in `_policy.limits.rate`. The document cannot hold every charge that is still open, so charges are put together
in cells, at the latest start of each, and a settlement replays the cells: never below the line that the exact replay
gives. (To subtract the difference was below it 23,251 times of 60,000.) The newest cells are narrow, so that most of
what a bucket can hold comes back.
"""

from __future__ import annotations

import math

from fanmap._policy.shared.document import REQUESTS, REQUESTS_TOLD, RateState

_CELLS = 240  # at most
_CELLS_OF_REQUESTS = 16  # the same where nothing is settled but starts that were not used
_NARROW, _WIDE = 1 / 8, 1 / 2  # of the time in which the bucket fills: the width of a cell, and of an older one
_WINDOWS = 3  # for as long, and for a minute at least, a start can be settled
_SHORTEST = 60.0


def earliest(rate: RateState, now: float, cost: float) -> float:
    """When so many units may start; a cost above the burst waits for a full bucket."""
    tau = rate.burst / rate.refill
    return max(now, rate.tat + min(cost / rate.refill, tau) - tau)


def charge(rate: RateState, at: float, cost: float) -> None:
    """Take so many units at a start that is no earlier than any before."""
    rate.most = max(rate.most, cost)
    rate.tat = max(rate.tat, at) + cost / rate.refill
    cells, tau = rate.cells, rate.burst / rate.refill
    if cells and _same(cells[-1][0], at, _NARROW * tau):
        cells[-1][0] = at
        cells[-1][1] += cost
        return
    cells.append([at, cost])
    while cells[0][0] < at - max(_SHORTEST, _WINDOWS * max(rate.per, rate.window)):
        _forget(rate)
    most = _CELLS_OF_REQUESTS if rate.what in (REQUESTS, REQUESTS_TOLD) else _CELLS
    if len(cells) > most:
        for place in range(most // 2):
            if _same(cells[place][0], cells[place + 1][0], _WIDE * tau):
                cells[place + 1][1] += cells[place][1]
                del cells[place]
                return
        _forget(rate)


def _same(one: float, other: float, width: float) -> bool:
    return math.floor(one / width) == math.floor(other / width)


def _forget(rate: RateState) -> None:
    """What started then stands as it was charged."""
    start, units = rate.cells.pop(0)
    rate.base, rate.since = _after(rate, rate.base, start, units), start


def settle(rate: RateState, at: float, more: float) -> None:
    """So many units more were charged at that start; less, where it is negative. `replay` when all are told."""
    cell = next((cell for cell in rate.cells if cell[0] >= at), None)
    if cell is not None and at > rate.since:
        cell[1] = max(0.0, cell[1] + more)
    else:
        rate.base += max(0.0, more) / rate.refill
    rate.tat += max(0.0, more) / rate.refill  # it is never later than that


def replay(rate: RateState) -> None:
    """After settlements: as if all had been charged as they are now."""
    tat = rate.base
    for start, units in rate.cells:
        tat = _after(rate, tat, start, units)
    rate.tat = min(rate.tat, tat)


def resize(rate: RateState, refill: float, now: float) -> None:
    """It refills at another pace from now on: what is not refilled yet is as many units as before.

    What has started stands as it was charged: replayed at another pace it would be another debt.
    """
    if rate.tat > now:
        rate.tat = now + (rate.tat - now) * rate.refill / refill
    rate.refill = refill
    forget_all(rate)


def forget_all(rate: RateState) -> None:
    """Whatever has started stands as it was charged."""
    if rate.cells:
        rate.since = rate.cells[-1][0]
    rate.base, rate.cells = rate.tat, []


def recount(rate: RateState, refill: float) -> None:
    """It never bound before: as if all had been charged at this pace."""
    rate.refill = refill
    if rate.cells:
        rate.tat = rate.base
        for start, units in rate.cells:
            rate.tat = _after(rate, rate.tat, start, units)


def _after(rate: RateState, tat: float, start: float, units: float) -> float:
    return max(tat, start) + units / rate.refill if units > 0.0 else tat
