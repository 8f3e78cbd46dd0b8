"""What held a run up, in a plain sentence, and what would help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fanmap._policy.trace.causes import CAUSES, Cause
from fanmap._policy.trace.log import Fate
from fanmap._policy.trace.story import Story

IN_WORDS: Final[Mapping[Cause, str]] = {
    "outage": "The server was down: only probes went out",
    "gate": "The server had asked to wait",
    "rate": "Waiting for the rate (rpm, tpm or a Rate)",
    "slots": "Every slot was busy",
    "repeat": "Waiting for a next attempt",
    "tail": "The last calls were under way, nothing was left to start",
    "reader": "Every call had ended, and results were still being read",
    "input": "Calls could have started, but no input was ready",
}
"""A cause as a row of a table says it."""


def sentence(story: Story, seconds: Mapping[Cause, float]) -> str:
    """What held the run up most, and what would help.

    Args:
        story: the run.
        seconds: that each cause held it up.
    """
    if not story.recorded:
        return (
            "This run was started without trace=, so its calls were not recorded one by one. "
            "Below is what is known anyway."
        )
    if not story.spans:
        return "No call was made."
    if story.guessed:
        slowest = max(story.spans, key=lambda one: one.ended - one.began)
        return (
            f"{count(len(story.spans), 'call')} in {duration(story.seconds)}, {story.most:,} at once at most; the "
            f"slowest was item {slowest.item} with {duration(slowest.ended - slowest.began)}."
        )
    cause = max(CAUSES, key=lambda one: seconds[one])
    share = seconds[cause] / story.seconds if story.seconds > 0 else 0.0
    still = "" if story.totals.over else "So far: "
    took, part = duration(seconds[cause]), percent(share)
    said = _WORDS[cause]
    failed = story.totals.failed
    every = f" And every item failed: {failed:,} of {failed:,}." if 1 < failed == story.totals.done else ""
    return still + (said.format(took=took, share=part) if isinstance(said, str) else said(story, took, part)) + every


def duration(seconds: float) -> str:
    """Seconds for people: `0.25 s`, `12.3 s`, `4 min 10 s`, `2 h 5 min`."""
    if 0 < seconds < 0.01:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def percent(share: float) -> str:
    """A share for people."""
    return f"{100 * share:.0f} %"


def _gate(story: Story, seconds: str, share: str) -> str:
    return (
        f"The server asked to wait: for {seconds} ({share} of the run) calls were held at the gate, after "
        f"{count(len(story.refusals), 'refusal')}. If that happens often, a lower rate (rpm=) is quicker."
    )


def _slots(story: Story, seconds: str, share: str) -> str:
    start = f"Too few slots: for {seconds} ({share} of the run) all of them were busy and more calls were waiting. "
    limits = [limit for _, limit in story.ceiling]
    if 2 * _lowered(story) > story.seconds:
        if limits[0] < limits[-1] and limits == sorted(limits):
            return (
                start + f"Up to {story.most} are allowed, {limits[0]} of them at first: more while calls are answered."
            )
        return start + (
            f"Up to {story.most} were allowed, and refusals had lowered that to {min(limits)}: "
            "the server takes no more at once."
        )
    return start + f"A larger max_concurrency (it was {story.most}) helps, if the server can take it."


def _lowered(story: Story) -> float:
    """Seconds in which fewer calls might be under way than the run itself was allowed."""
    ends = [time for time, _ in story.ceiling[1:]] + [story.seconds]
    steps = zip(story.ceiling, ends, strict=True)
    return sum(max(0.0, end - time) for (time, limit), end in steps if limit < story.most)


def _tail(story: Story, seconds: str, share: str) -> str:
    made = [one for one in story.spans if one.fate != Fate.WAITING]
    if not made:
        return "No call was made."
    latest = max(made, key=lambda one: one.ended)
    if all(one.item == latest.item for one in story.spans):
        return f"The call itself: there was one item, and its last call took {duration(latest.ended - latest.began)}."
    others = max((one.ended for one in story.spans if one.item != latest.item), default=0.0)
    alone = latest.ended - max(others, latest.began)
    took = duration(latest.ended - latest.began)
    sooner = "; a run that starts its slow items first is shorter" if latest.began > 0.05 * story.seconds else ""
    if alone > 0.5 * story.seconds or alone > 0.5 * (latest.ended - latest.began):
        return (
            f"One slow item at the end: item {latest.item} took {took}, {duration(alone)} of that after all others "
            f"had ended, and the end of the run took {share} of its time. timeout= bounds a call{sooner}."
        )
    return (
        f"The calls themselves: everything had started, and for {seconds} ({share} of the run) the last calls were "
        f"under way, item {latest.item} for {took}."
    )


def count(number: int, noun: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_WORDS: Final[Mapping[Cause, str | Callable[[Story, str, str], str]]] = {
    "outage": "The server was down for {took} ({share} of the run): calls failed one after another, so one probe at "
    "a time went out until one was answered. No setting would have been faster.",
    "gate": _gate,
    "rate": "The rate held the run up: for {took} ({share} of the run) calls waited for rpm, tpm or a Rate. A larger "
    "limit helps, if the account has one.",
    "slots": _slots,
    "repeat": "Retries held the run up: for {took} ({share} of the run) calls waited for their next attempt. Look at "
    "what failed.",
    "tail": _tail,
    "reader": "The reader of the results held the run up: for {took} ({share} of the run) every call had ended, and "
    "results were still being read.",
    "input": "The input or the reader of the results held the run up: for {took} ({share} of the run) calls could have "
    "started, but no input was ready.",
}
