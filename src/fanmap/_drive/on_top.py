"""Code that runs on top of ours, in the same thread: the collector's, a signal handler's, a tracer's.

It may run inside a section of ours (see `books`), or between two byte codes of a thread that has a slot in hand or
waits for one, or for which its run waits, or that reads a run's streams, which keep their slots until it takes their
chunks. What is underneath does not go on before the code on top has ended. So a call that is made on top, under the
same Limits, is let through at once. Where code on top waits for another thread or a loop, nobody can tell for what:
once that has lasted, one call more than there are slots is let through at a time, for each thread that waits so.

Looked at only where a thread is about to block. What it is on top of is read off its stack, which costs nobody else.
"""

from __future__ import annotations

import os
import sys
from threading import get_ident
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Final

from fanmap._drive import clock
from fanmap._drive.books import Books, everybody_looks

if TYPE_CHECKING:
    from fanmap._drive.calls.caller import Caller

GIVE_WAY: Final = 0.1  # seconds that a thread waits on top of ours before others are let through
_DRIVERS: Final = ("fanmap._drive.drivers.threads", "fanmap._drive.drivers.tasks")
_SECTIONS: Final[tuple[CodeType, ...]] = (Books.do.__code__, Books.work_off.__code__)

_waiting: dict[int, float] = {}  # threads that wait on top of ours: since when


def on_top(caller: Caller | None) -> bool:
    """Does this thread run on top of a section of ours, or of a call that stands still and is in the way of this one?

    None: it waits for something else than a slot, and nobody knows for what.
    """
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None:
        frame, inner = frame.f_back, frame
        if frame.f_code in _SECTIONS:
            inside = frame.f_locals
            if inside["self"].held_here() or "thing" in inside:  # or has a wake in hand that nobody else will give
                return True
        elif frame.f_globals.get("__name__") in _DRIVERS and (
            _stands_still(frame, inner, caller) or _reads_streams(frame, caller)
        ):
            return True
    return False


def _stands_still(frame: FrameType, inner: FrameType, caller: Caller | None) -> bool:
    """Does this frame drive a call, and not just run its function? Calls in there borrow its slot, or wait."""
    driven = frame.f_locals.get("caller")  # so they all name what they drive
    if driven is None or driven is caller or not driven.is_in_the_way(caller):
        return False
    return driven.between_calls or inner.f_locals.get("self") is driven


def _reads_streams(frame: FrameType, caller: Caller | None) -> bool:
    """Does this frame wait for chunks, whose streams go on with their slots in hand when it has taken them?"""
    run = frame.f_locals.get("run") if frame.f_code.co_name == "advance" else None
    if run is None or run.plan.streams != "handed out":
        return False
    return caller is None or caller.plan.budget is run.plan.budget


def waits_here() -> bool:
    """Does this thread wait on top of ours, underneath what runs now?"""
    return get_ident() in _waiting


def begin_to_wait(since: float | None) -> float:
    """This thread, on top of ours, waits for others from now on, or goes on to wait `since` then; when it began."""
    _waiting[get_ident()] = began = clock.now() if since is None else since
    if since is None:
        everybody_looks()
    return began


def end_to_wait() -> None:
    """This thread waits no longer."""
    _waiting.pop(get_ident(), None)


def somebody_waits() -> bool:
    """Does a thread wait on top of ours?"""
    return bool(_waiting)


def stuck() -> int:
    """How many threads have waited so for long?"""
    if not _waiting:
        return 0
    late = clock.now() - GIVE_WAY
    return sum(since <= late for since in list(_waiting.values()))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_waiting.clear)
