"""What a journal tells of its runs: when each call that ended began, how long it took, and whether it failed.

What calls waited for, refusals and attempts before the last are in no journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from fanmap._policy.journals.journal import TooDeep, read_line
from fanmap._policy.trace.causes import Moments
from fanmap._policy.trace.log import Fate
from fanmap._policy.trace.story import Span, Story, Totals

_APART: Final = 300.0  # seconds in which no call was under way: what comes after them is another run
_NEVER: Final = 1e12  # seconds since the epoch
_ROUNDED: Final = 0.002  # by which the times in a journal may be off


def story_of_journal(name: str, lines: Iterable[bytes]) -> Story | None:
    """The last run that a journal tells of; None: no line of it is a record that can be believed.

    Args:
        name: of the file.
        lines: of the file, with their ends.
    """
    calls = sorted(call for line in lines if (call := _call(line)) is not None)
    if not calls:
        return None
    first, last = 0, 0.0
    for place, (start, seconds, _, _) in enumerate(calls):
        if place and start - last > _APART:
            first = place
        last = max(last, start + seconds)
    began = calls[first][0]
    spans = [_span(start - began, seconds, item, error) for start, seconds, item, error in calls[first:]]
    kinds = Counter(error for *_, error in calls[first:] if error)
    length = max(one.ended for one in spans)
    totals = Totals(
        total=None, taken=len(spans), done=len(spans), attempts=len(spans), refused=0, resumed=0, over=True, kinds=kinds
    )  # fmt: skip

    def story(most: int) -> Story:
        return Story(
            name, began, length, spans, (), [(0.0, most)], most, (), totals, guessed=True, earlier=first,
        )  # fmt: skip

    return story(Moments(story(len(spans))).most)


def _call(line: bytes) -> tuple[float, float, int, str] | None:
    """When it began, its seconds, its item, and the name of the error's type: "" where it returned."""
    try:
        said: dict[str, Any] | None = read_line(line if line.endswith(b"\n") else line + b"\n")
    except TooDeep:
        return None
    if said is None or "kind" in said:
        return None
    began, seconds, index, error = (said.get(name) for name in ("began", "seconds", "index", "error"))
    if not isinstance(began, float) or not isinstance(seconds, float) or not isinstance(index, int) or index < 0:
        return None  # a journal of ours has seconds with three digits
    if not 0 <= began < _NEVER or not 0 <= seconds < _NEVER:  # also where one is not a number
        return None
    return began, seconds, index, error.rpartition(".")[2] if isinstance(error, str) else ""


def _span(at: float, seconds: float, item: int, error: str) -> Span:
    # A bit shorter than it was: two calls of one worker would overlap by what their times were rounded by.
    ended = at + max(0.0, seconds - _ROUNDED)
    return Span(at, at, ended, item, Fate.FAILED if error else Fate.RETURNED, 0.0, 0.0, 0.0, 0.0)
