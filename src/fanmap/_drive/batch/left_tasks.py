"""Tasks that an item of an `async def` has left running when it was unwound: they have their say, and end."""

from __future__ import annotations

import asyncio
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from fanmap._drive.drivers import loops

if TYPE_CHECKING:
    from fanmap._drive.batch.capture import Capture

_PATIENCE: Final = 5.0  # seconds for them to end by themselves, and once more after they were cancelled

# The capture of the item whose code a context is of, also while a request is under way and nobody observes.
item_here: Final = ContextVar[object]("fanmap_batch_item", default=None)


async def end_left_tasks(capture: Capture) -> None:
    """Tasks that an unwound item has left behind have their say, and end."""
    if loops.running() != "asyncio":
        return
    here = asyncio.current_task()
    left = [task for task in asyncio.all_tasks() if task is not here and _is_of(capture, task)]
    if left:
        _, late = await asyncio.wait(left, timeout=_PATIENCE)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_PATIENCE)
    for task in left:
        if task.done() and not task.cancelled():
            task.exception()  # retrieved: the item's own end says what there is to say


def _is_of(capture: Capture, task: asyncio.Task[Any]) -> bool:
    if sys.version_info < (3, 12):
        return task in capture.askers
    return task.get_context().get(item_here) is capture
