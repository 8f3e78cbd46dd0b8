"""Which lane a bar is drawn in: the lowest that is free, so that there are never more lanes than bars at once."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush


def lanes(intervals: Iterable[tuple[float, float]], slack: float = 0.0) -> list[int]:
    """One lane an interval, from 0.

    Args:
        intervals: (start, end), by their start; one that ends where another starts leaves it its lane.
        slack: by how much two may overlap in a lane, where their edges are sums of rounded numbers.
    """
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    found: list[int] = []
    made = 0
    for start, end in intervals:
        while busy and busy[0][0] <= start + slack:
            heappush(free, heappop(busy)[1])
        if free:
            lane = heappop(free)
        else:
            lane, made = made, made + 1
        found.append(lane)
        heappush(busy, (max(start, end), lane))
    return found
