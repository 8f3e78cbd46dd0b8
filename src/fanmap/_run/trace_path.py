"""`--trace PATH` of `fanmap run` and of the demo: what cannot be written is found before the first call."""

from __future__ import annotations

from fanmap._failure import CommandError


def check_trace(trace: str | None) -> None:
    """Nothing, where a run can be drawn there; None: nowhere.

    Raises:
        CommandError: it is no path of a drawing, or cannot be written.
    """
    if trace is None:
        return
    from fanmap._trace import target  # only where a run is drawn

    try:
        target.check_writable(target.check_path(trace))
    except OSError as error:
        raise CommandError(f"--{error.strerror}: {trace}", status=2) from error
    except ValueError as error:
        raise CommandError(f"--trace must end in .html or .json, got {trace!r}", status=2) from error
