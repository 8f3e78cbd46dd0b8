"""What `trace=` asks for: a run that is drawn when it is over. Nothing else of it is imported until somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanmap._drive.runs.run import Run

if TYPE_CHECKING:
    from fanmap._trace.target import Target


def target_of(trace: object) -> Target | None:
    """Where a run is to be drawn, checked; None: nowhere."""
    if trace is None:
        return None
    from fanmap._trace.target import Target

    return Target(trace)


def new_run(target: Target | None, *args: Any, **options: Any) -> Run:
    """A run that is drawn there when it is over."""
    if target is None:
        return Run(*args, **options)
    from fanmap._drive.tracing import TracedRun

    return TracedRun(*args, draws=target, **options)
