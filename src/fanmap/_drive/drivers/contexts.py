"""A copy of the caller's context for a place that its event loop does not run: a thread, or the background loop."""

from __future__ import annotations

import contextvars
import sys


def taken_elsewhere() -> contextvars.Context:
    """All context variables of the caller but one: which library runs its loop.

    `anyio.run` notes that in a variable of sniffio's, and anyio's and httpx's functions believe it: under trio they
    would wait for trio on our asyncio loop, and in a thread they would refuse to run a loop.
    """
    context = contextvars.copy_context()
    sniffio = sys.modules.get("sniffio")
    if sniffio is not None and context.get(sniffio.current_async_library_cvar) is not None:
        context.run(sniffio.current_async_library_cvar.set, None)
    return context
