"""Which event loop runs in this thread.

anyio's own look-up is not used because a direct call would pay for it each time, and because it must also
answer for plain threads.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Literal


def running() -> Literal["asyncio", "trio"] | None:
    """The kind of loop that runs in this thread; None: no loop does."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return "trio"
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return None
    return "asyncio"
