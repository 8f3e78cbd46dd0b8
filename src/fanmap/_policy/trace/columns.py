"""The bars of a page, as columns of numbers that a browser reads without parsing: base64 of little-endian arrays.

19 bytes a bar, and 4 to 8 more for each reason for which its call waited, but never more than 35. A length is a column
of its own, so that a call of a millisecond is one in the tenth hour, too. Above 100,000 bars neighbours in a lane are
drawn as one, but no call that failed or was refused, as long as those are few.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

from fanmap._policy.trace.lanes import lanes
from fanmap._policy.trace.log import Fate
from fanmap._policy.trace.story import Span

MOST_BARS: Final = 100_000
_ROUNDED: Final = 2**-23  # of a wait, which is noted as 4 bytes: it may begin so much earlier than it did
REASONS: Final = ("repeat", "slot", "gate", "rate")  # in the order in which a call waits for them


class Bars:
    """What is drawn in the lanes.

    Attributes:
        lanes: how many there are.
        count: of bars.
        joined: calls in a bar that stands for several; 1: none does.
        mixed: such a bar may have calls that failed; it has the fate of most of its calls.
        columns: name: base64 text.
    """

    def __init__(self, spans: Sequence[Span], most: int = MOST_BARS) -> None:
        ordered = sorted(spans)  # by the start of their waits
        longest = max((one.began - one.start for one in ordered), default=0.0)
        places = lanes(((one.start, one.ended) for one in ordered), slack=1e-6 + longest * _ROUNDED)
        self.lanes = max(places, default=-1) + 1
        self.joined = 1 + (len(ordered) - 1) // most if ordered else 1
        self.mixed = self.joined > 1 and sum(one.fate != Fate.RETURNED for one in ordered) > most // 4
        rows: list[tuple[Span, int, int]] = (
            [(one, lane, 1) for one, lane in zip(ordered, places, strict=True)]
            if self.joined == 1
            else _joined(ordered, places, self.joined, mixed=self.mixed)
        )
        self.count = len(rows)
        began, took = array("d"), array("f")
        lane_of = array("H" if self.lanes <= 0x10000 else "I")
        fate, index, calls = array("B"), array("I"), array("I")
        waits: dict[str, list[tuple[int, float]]] = {reason: [] for reason in REASONS}
        for place, (one, lane, many) in enumerate(rows):
            began.append(one.began)
            took.append(one.ended - one.began)
            lane_of.append(lane)
            fate.append(one.fate)
            index.append(one.item & 0xFFFFFFFF)
            if self.joined > 1:
                calls.append(many)
            if one.start < one.began:
                for reason, seconds in zip(REASONS, (one.repeat, one.slot, one.gate, one.rate), strict=True):
                    if seconds > 0:
                        waits[reason].append((place, seconds))
        self.columns: dict[str, Any] = {
            "began": _text(began), "took": _text(took), "lane": _text(lane_of), "fate": _text(fate),
            "index": _text(index), "calls": _text(calls),
            "waits": {reason: _waits(found, self.count) for reason, found in waits.items()},
        }  # fmt: skip


def _waits(found: Sequence[tuple[int, float]], count: int) -> list[str]:
    """Places and seconds; where most bars have one, seconds of all of them and no places."""
    if 2 * len(found) <= count:
        return [_text(array("I", [place for place, _ in found])), _text(array("f", [seconds for _, seconds in found]))]
    whole = array("f", bytes(4 * count))
    for place, seconds in found:
        whole[place] = seconds
    return ["", _text(whole)]


def _joined(spans: Sequence[Span], places: Sequence[int], most: int, *, mixed: bool) -> list[tuple[Span, int, int]]:
    rows: list[tuple[Span, int, int]] = []
    begun: dict[int, tuple[Span, int, int]] = {}

    def end(lane: int, whole: Span, many: int, failed: int) -> None:
        rows.append((whole._replace(fate=Fate.FAILED) if 2 * failed >= many > 1 else whole, lane, many))

    for one, lane in zip(spans, places, strict=True):
        whole, many, failed = begun.pop(lane, (None, 0, 0))
        alone = one.fate in (Fate.UNDER_WAY, Fate.WAITING) if mixed else one.fate != Fate.RETURNED
        if alone:
            if whole is not None:
                end(lane, whole, many, failed)
            rows.append((one, lane, 1))
            continue
        failed += one.fate != Fate.RETURNED
        if whole is not None:
            one = Span(
                whole.start, whole.began, one.ended, whole.item, Fate.RETURNED,
                whole.slot + one.slot, whole.gate + one.gate, whole.rate + one.rate, whole.repeat + one.repeat,
            )  # fmt: skip
        if many + 1 == most:
            end(lane, one, most, failed)
        else:
            begun[lane] = one, many + 1, failed
    for lane, (whole, many, failed) in begun.items():
        end(lane, whole, many, failed)
    return rows


def _text(column: array[Any]) -> str:
    if sys.byteorder == "big":
        column.byteswap()
    return b64encode(column.tobytes()).decode()
