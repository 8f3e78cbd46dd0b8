"""What the logs of several processes say: slots and rates used, the worst moment, fairness, waits, CPU.

The first seconds of a run and the last half second are left out of what is used, and of nothing that must never be.
"""

from __future__ import annotations

from bisect import bisect_left

from benchmarks.shared_processes import Event, Part

WARM = 2.0  # seconds that are left out at the begin
_LAST = 0.5  # and at the end


def most_of(events: list[Event]) -> int:
    """The most calls at once."""
    held = most = 0
    for _, sign in sorted(events):
        held += sign
        most = max(most, held)
    return most


def used_of(parts: list[Part], slots: int) -> tuple[float, int, float]:
    """Share of the slots in use, the most at once, and Jain's index over the processes."""
    first, last = parts[0]["begin"] + WARM, parts[0]["end"] - _LAST
    each = [sum(max(first, min(last, at)) * -sign for at, sign in part["log"]) for part in parts]
    jain = sum(each) ** 2 / (len(each) * sum(one * one for one in each))
    return sum(each) / (slots * (last - first)), most_of([it for part in parts for it in part["log"]]), jain


def longest_wait_of(parts: list[Part]) -> float:
    """The longest time from the end of a process's turn, where nothing of it is under way, to its next start."""
    first, last = parts[0]["begin"] + WARM, parts[0]["end"]
    longest = 0.0
    for part in parts:
        held, free_since = 0, part["begin"]
        for at, sign in [*sorted(part["log"]), (last, 1)]:
            if held == 0 and sign > 0:
                longest = max(longest, min(at, last) - max(free_since, first))
            held += sign
            if held == 0:
                free_since = at
    return longest


def window_of(parts: list[Part], amount: float, per: float) -> tuple[int, float]:
    """The most starts in any window, and the share of the rate that was used."""
    first, last = parts[0]["begin"] + WARM, parts[0]["end"]
    starts = sorted(at for part in parts for at, sign in part["log"] if sign > 0)
    worst = max((bisect_left(starts, at + per) - place for place, at in enumerate(starts)), default=0)
    return worst, sum(first <= at < last for at in starts) / (amount / per * (last - first))


def inside_of(parts: list[Part], wait: float, told: float) -> tuple[int, int, int, float]:
    """How often a wait was named; of the worst: starts inside it, those after it must be known, the last's seconds."""
    starts = sorted(at for part in parts for at, sign in part["log"] if sign > 0)
    refusals = [at for part in parts for at, sign in part["log"] if sign == 0]
    inside = [[at - refused for at in starts if refused < at < refused + wait] for refused in refusals]
    late = max((sum(after > told for after in one) for one in inside), default=0)
    last = max((one[-1] for one in inside if one), default=0.0)
    return len(refusals), max(map(len, inside), default=0), late, last


def refused_of(log: list[Event], first: float, last: float) -> float:
    """Share of the requests in that time that a server refused."""
    asked = [sign for at, sign in log if first <= at < last and sign >= 0]
    return asked.count(0) / len(asked)


def cpu_of(parts: list[Part]) -> float:
    """Milliseconds of CPU a call."""
    cpu, done = (sum(part[what] for part in parts) for what in ("cpu", "done"))
    return 1000.0 * float(cpu) / float(done)
