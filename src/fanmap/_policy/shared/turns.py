"""One start in `EVERY` is the background's, counted over all processes, however busy the foreground is.

Where starts are booked they are counted as they are booked; else every process says how many it has made. Once the
foreground has had its part while some call of the background waited anywhere, one process has the turn: its background
has one slot before the foreground's until that call has started, and the next start. What came late is made up for, up
to one turn more.
"""

from __future__ import annotations

from typing import Final

from fanmap._policy.limits.kinds import EVERY
from fanmap._policy.shared.document import Document, MemberState
from fanmap._policy.shared.messages import Request

_PART: Final = EVERY - 1  # starts of the foreground for one of the background


def tell(document: Document, me: MemberState, request: Request, *, stranger: bool) -> None:
    """Take what one member says of its starts, and of those who wait."""
    if not document.rates and not stranger:
        went_first(document, max(0, request.starts[0] - me.starts[0]))
        if request.starts[1] > me.starts[1]:
            had_start(document)
    me.starts = list(request.starts)
    me.behind = request.behind


def went_first(document: Document, starts: int) -> None:
    """So many calls of the foreground have started, or will at a time that is booked."""
    if any(member.behind for member in document.members):
        document.passed = min(document.passed + starts, 2 * _PART)


def had_start(document: Document) -> None:
    """One of the background has."""
    document.passed = max(0, document.passed - _PART) if document.turn else 0
    document.turn = 0


def take_turns(document: Document, now: float) -> None:
    """Who has the turn: the first of the background in line for a start, else who has been without for longest."""
    holder = document.member(document.turn)
    if holder is not None and holder.behind:
        return
    document.turn = 0
    behind = [member for member in document.members if member.behind]
    if document.passed < _PART or not behind:
        return
    line = document.lines[1]
    document.turn = line[0] if line else min((member.turned, member.id) for member in behind)[1]
    chosen = document.member(document.turn)
    assert chosen is not None
    chosen.turned = now


def before_telling(document: Document) -> int:
    """Starts of the foreground that one process makes before it has to tell; 0: nobody counts them."""
    if document.rates or not any(member.behind for member in document.members):
        return 0
    busy = sum(1 for member in document.members if member.want[0])
    return max(1, (_PART - document.passed % _PART) // max(1, busy))
