"""What held a run up, moment by moment: each second of it has one cause.

The causes, the first that is true counts:

    outage   nothing but probes went out
    gate     calls waited because the server had told somebody to
    rate     calls waited for `rpm`, `tpm` or a `Rate`
    slots    as many calls were under way as there might be, and there was more to do
    repeat   calls waited for their next attempt, and for nothing else
    tail     every item had begun, and the last calls were still under way
    reader   every call had ended, and the results had not all been read
    input    calls might have started, and none was there to start: a slow input, or a slow reader of results
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from fanmap._policy.trace.log import Fate
from fanmap._policy.trace.story import Story

Cause = Literal["outage", "gate", "rate", "slots", "repeat", "tail", "reader", "input"]
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)
Step = tuple[float, int, int, int]
"""time, and from then on: calls under way, calls that wait, the ceiling."""

_CALLS, _SLOT, _GATE, _RATE, _REPEAT = range(5)


class Moments:
    """A run gone through from its beginning to its end.

    Attributes:
        seconds: that each cause held it up.
        steps: calls under way and waiting and the ceiling, whenever one of them changed.
        most: calls under way at once, at most.
    """

    def __init__(self, story: Story) -> None:
        self.seconds: dict[Cause, float] = dict.fromkeys(CAUSES, 0.0)
        self.steps: list[Step] = []
        self.most = 0
        self._go_through(story)

    def _go_through(self, story: Story) -> None:
        changes: list[tuple[float, int, int]] = []
        add = changes.append
        last = 0.0
        for start, began, ended, _, fate, slot, at_gate, rate, repeat in story.spans:
            if began > start:
                at = start
                for what, seconds in ((_REPEAT, repeat), (_SLOT, slot), (_GATE, at_gate), (_RATE, rate)):
                    if seconds > 0:
                        add((at, what, 1))
                        at += seconds
                        add((at, what, -1))
            if fate != Fate.WAITING:
                add((began, _CALLS, 1))
                add((ended, _CALLS, -1))
            last = began
        if story.totals.total is not None and not story.totals.over and story.totals.taken < story.totals.total:
            last = story.seconds
        ceilings = list(reversed(story.ceiling))
        outages = list(reversed(story.outages))
        changes += [(time, -1, 0) for time, _ in story.ceiling]
        changes += [(edge, -1, 0) for outage in story.outages for edge in outage]
        changes += [(last, -1, 0), (story.seconds, -1, 0)]
        changes.sort()
        count = [0, 0, 0, 0, 0]
        ceiling, before, most, end = story.most, 0.0, 0, story.seconds
        held_up, steps = self.seconds, self.steps
        for time, what, change in changes:
            if time > end:
                time = end
            if time > before:
                while outages and outages[-1][1] <= before:
                    outages.pop()
                outage = bool(outages) and outages[-1][0] <= before
                held_up[_cause(count, ceiling, outage=outage, more=before < last)] += time - before
                under_way = count[_CALLS]
                steps.append((before, under_way, count[1] + count[2] + count[3] + count[4], ceiling))
                if under_way > most:
                    most = under_way
                before = time
            if what >= 0:
                count[what] += change
            while ceilings and ceilings[-1][0] <= time:
                ceiling = ceilings.pop()[1]
        self.most = most
        steps.append((before, 0 if story.totals.over else count[_CALLS], 0, ceiling))


def _cause(count: list[int], ceiling: int, *, outage: bool, more: bool) -> Cause:
    if outage:
        return "outage"
    if count[_GATE]:
        return "gate"
    if count[_RATE]:
        return "rate"
    if count[_SLOT] or (more and count[_CALLS] >= ceiling):
        return "slots"
    if count[_REPEAT] and (more or not count[_CALLS]):
        return "repeat"
    return "input" if more else "tail" if count[_CALLS] else "reader"
