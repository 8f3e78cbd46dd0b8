"""Whether OpenTelemetry is in this process: where it is not, nothing is imported, and a call that asked pays a look.

An application that sets it up has imported it by then. What is told to it is `otel`'s.
"""

from __future__ import annotations

import sys
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanmap._drive.otel import Telemetry

found: Telemetry | None = None
"""What to tell; None: it was not there when somebody last looked."""


_setting_up = Lock()  # by one thread, once: two would count apart; nobody waits for it


def look() -> Telemetry | None:
    """Look whether it has been imported."""
    if found is None and "opentelemetry.trace" in sys.modules and "opentelemetry.metrics" in sys.modules:
        _set_up()
    return found


def _set_up() -> None:
    global found
    if not _setting_up.acquire(blocking=False):
        return
    try:
        if found is None:
            from fanmap._drive.otel import Telemetry

            found = Telemetry()
    except Exception:  # a version that has not what is needed, or something else under its name
        return
    finally:
        _setting_up.release()
