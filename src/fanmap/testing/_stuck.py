"""What is said of a program in which nothing can go on: who waits, and where."""

from __future__ import annotations

import gc
import os
import sys
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanmap.testing._baton import Party


def who_waits(parked: list[Party]) -> str:
    """Each party, and where it waits."""
    lines = ["nothing can run, and no timer is due within the horizon:"]
    frames = _frames()
    for party in parked:
        stack: list[tuple[str, str, int]] = []
        frame = frames.get(party.thread.ident or 0)
        while frame is not None:
            stack.append((frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno))
            frame = frame.f_back
        lines.append(f"- {party.name}: {stack_top(stack)}")
        if party.tasks is not None:
            lines += [f"  - {task}" for task in party.tasks()]
    return "\n".join(lines)


def stack_top(stack: list[tuple[str, str, int]]) -> str:
    """Where somebody waits: function, file and line of the innermost call, then of those outside of fanmap."""
    here = os.path.dirname(__file__)
    library = os.path.dirname(here)
    calls = [call for call in stack if os.path.dirname(call[1]) != here]
    shown = calls[:1] + [call for call in calls[1:] if not call[1].startswith(library)][:3]
    places = [f"{function} ({os.path.basename(file)}:{line})" for function, file, line in shown]
    return ", in ".join(places) or "its start"


def _frames() -> dict[int, FrameType]:
    """What each thread runs.

    Without the collector: CPython 3.11 holds a lock meanwhile that the end of a `threading.local` wants.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()  # pyright: ignore[reportPrivateUsage] (documented, for debugging a deadlock)
    finally:
        if collects:
            gc.enable()
