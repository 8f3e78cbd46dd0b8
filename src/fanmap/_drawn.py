"""What `trace=` asks for: a run that is drawn when it is over. Nothing else of it is imported until somebody asks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from fanmap._drive.runs.run import Run

if TYPE_CHECKING:
    from fanmap._trace.target import Target


def target_of(trace: object) -> Target | None:
    """Where a run is to be drawn, checked; None: nowhere."""
    if trace is None:
        return None
    from fanmap._trace.target import Target

    return Target(trace)


def run_for(target: Target | None) -> Callable[..., Run]:
    """Makes a run: one that is drawn there when it is over; None: one that is not."""
    if target is None:
        return Run
    from fanmap._drive.tracing import TracedRun

    return functools.partial(TracedRun, draws=target)
