"""A run as one page that needs nothing else: no network, no build step, no framework.

What is said in words and tables stands in the page as it is; the script only draws the picture.
"""

from __future__ import annotations

import heapq
import importlib.resources
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import Any

from fanmap._policy.trace.causes import CAUSES, Cause, Moments
from fanmap._policy.trace.columns import Bars
from fanmap._policy.trace.log import Fate
from fanmap._policy.trace.sentence import IN_WORDS, count, duration, percent, sentence
from fanmap._policy.trace.story import Story
from fanmap._usage import in_dollars

_SLOWEST = 10
_MOST_MARKS = 10_000  # refusals that are drawn
_THIN = 400  # lanes: more are thinner than a pixel
_WAITED = {
    "slot": "one of the slots (max_concurrency)",
    "gate": "the gate: the server had told a call to wait",
    "rate": "a rate (rpm, tpm, Rate), or its turn after the gate",
    "back-off": "its own next attempt",
}


def page(story: Story) -> str:
    """The whole file, as text."""
    moments = Moments(story)
    bars = Bars(story.spans)
    data = {
        "seconds": story.seconds,
        "lanes": bars.lanes,
        "joined": bars.joined,
        "bars": bars.columns,
        "ceiling": [[round(time, 4), limit] for time, limit in story.ceiling],
        "refusals": [[round(one.time, 4), one.item, one.kind, one.wait] for one in story.refusals[:: _apart(story)]],
        "outages": [[round(since, 4), round(until, 4)] for since, until in story.outages],
    }
    here = importlib.resources.files("fanmap._trace")  # perhaps in a zip archive
    parts = {
        "NAME": escape(story.name),
        "WHY": escape(sentence(story, moments.seconds)),
        "WHEN": escape(_when(story)),
        "NUMBERS": _numbers(story, moments),
        "CAUSES": _causes(story, moments),
        "WAITED": _waited(story),
        "SLOWEST": _slowest(story),
        "SUMMED": escape(_summed(story, bars)),
        "CSS": (here / "page.css").read_text(encoding="utf-8"),
        "JS": (here / "page.js").read_text(encoding="utf-8"),
        "DATA": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    text = (here / "page.html").read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"<!--{name}-->", part, 1)
    return text


def _when(story: Story) -> str:
    if not story.begun:
        return "It has not begun."
    try:
        began = f"{datetime.fromtimestamp(story.began):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # virtual time
        began = "?"
    state = "" if story.totals.over else ", and still going"
    known = (
        " Read from a journal, which does not record waits, refusals or attempts before the last."
        if story.guessed
        else ""
    )
    if story.earlier:
        known += f" {count(story.earlier, 'call')} of earlier runs in it are left out."
    return f"Began {began}, {duration(story.seconds)}{state}.{known}"


def _numbers(story: Story, moments: Moments) -> str:
    totals = story.totals
    failed = ", ".join(f"{many} {kind}" for kind, many in sorted(totals.kinds.items(), key=lambda one: -one[1]))
    of = "" if totals.total is None else f" of {totals.total:,}"
    calls = [one.ended - one.began for one in story.spans if one.fate != Fate.WAITING]
    rows: list[tuple[str, str]] = [
        ("items done", f"{totals.done:,}{of}"),
        ("time", duration(story.seconds)),
        *(
            []
            if story.guessed
            else [("attempts", f"{totals.attempts:,}"), ("refused by the server", f"{totals.refused:,}")]
        ),
        ("failed", f"{totals.failed:,}" + (f" ({failed})" if failed else "")),
    ]
    if totals.resumed:
        rows.append(("from the journal", f"{totals.resumed:,}"))
    if calls:
        allowed = "" if story.guessed else f" of {max(limit for _, limit in story.ceiling):,} allowed"
        rows.append(("most calls at once", f"{moments.most:,}{allowed}"))
        rows.append(("a call took", f"{duration(sorted(calls)[len(calls) // 2])} (median)"))
    if totals.tokens.total:
        rows.append(("tokens", f"{totals.tokens.input:,} in, {totals.tokens.output:,} out"))
    if totals.spent:
        rows.append(("spent", in_dollars(totals.spent)))
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)


def _causes(story: Story, moments: Moments) -> str:
    if story.guessed:
        return _rows([("a journal does not say",)])
    whole = story.seconds or 1.0
    found = sorted(CAUSES, key=lambda cause: -moments.seconds[cause])
    return _rows(
        _cause(cause, moments.seconds[cause], whole) for cause in found if moments.seconds[cause] > 0.0005 * whole
    )


def _cause(cause: Cause, seconds: float, whole: float) -> tuple[str, ...]:
    share = seconds / whole
    return IN_WORDS[cause], duration(seconds), percent(share), f'<i style="width:{100 * share:.1f}%">'


def _waited(story: Story) -> str:
    return _rows((_WAITED[name], duration(seconds)) for name, seconds in story.totals.waited.items() if seconds > 0)


def _slowest(story: Story) -> str:
    made = [one for one in story.spans if one.fate != Fate.WAITING]
    slowest = heapq.nlargest(_SLOWEST, made, key=lambda one: one.ended - one.began)
    rows = [
        (f"item {one.item}", duration(one.ended - one.began), f"at {duration(one.began)}", _fate(one.fate))
        for one in slowest
    ]
    if not rows:
        rows = [(f"item {index}", duration(seconds), "", "") for index, seconds in story.totals.slowest]
    return _rows(rows)


def _fate(fate: int) -> str:
    return Fate(fate).name.lower().replace("_", " ")


def _rows(rows: Iterable[Sequence[Any]]) -> str:
    """Rows of a table; a cell that is a bar is passed as it is."""
    return (
        "".join(
            "<tr>" + "".join(f"<td>{one if one.startswith('<i ') else escape(one)}</td>" for one in row) + "</tr>"
            for row in rows
        )
        or "<tr><td>nothing</td></tr>"
    )


def _summed(story: Story, bars: Bars) -> str:
    said = f"{count(len(story.spans), 'call')} in {count(bars.lanes, 'lane')}. "
    if bars.joined > 1:
        said += f"So many are not drawn one by one: a bar is up to {bars.joined} calls in a row, " + (
            "in the colour of most of them. " if bars.mixed else "except for those that failed or were refused. "
        )
    said += "Calls narrower than a pixel share it: the curves above are means over each pixel; zoom in to see each one."
    if bars.lanes > _THIN:
        said += " So many lanes are thinner than a pixel, and cover each other: step from call to call to see each one."
    if (apart := _apart(story)) > 1:
        said += f" Of {len(story.refusals):,} refusals one in {apart} has a mark."
    return said


def _apart(story: Story) -> int:
    """Of so many refusals one is drawn."""
    return max(1, -(-len(story.refusals) // _MOST_MARKS))
