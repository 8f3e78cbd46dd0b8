"""The two colours of a job: its steps are done by a caller that blocks, or by one that awaits."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anyio

from fanmap._batch.options import Options
from fanmap._batch.run import BatchRun
from fanmap._drive import clock
from fanmap._drive.batch.senders import Lost
from fanmap._drive.batch.steps import Exchange, Pass, Step
from fanmap._drive.drivers import loops, portal
from fanmap._drive.notices import warn_of_blocking
from fanmap._drive.runs import launch

if TYPE_CHECKING:
    from fanmap._decorated import Decorated


def run_blocking(decorated: Decorated, items: Sequence[Any], options: Options) -> list[Any]:
    """`batch`."""
    run = BatchRun(decorated, items, options, blocking=True)
    try:
        if loops.running() is not None:
            warn_of_blocking(run.name, f"`await {run.name}.abatch(...)`")
        steps = run.steps()
        step = next(steps)
        while True:
            try:
                came_of_it = _do(step, run)
            except Lost as lost:
                step = steps.throw(lost)
            else:
                step = steps.send(came_of_it)
    except StopIteration:
        return run.end()
    except BaseException as error:
        run.attach(error)
        raise
    finally:
        run.close()
        for sender in run.senders():
            portal.run(sender.close) if sender.is_async else sender.close()


def _do(step: Step, run: BatchRun) -> Any:
    if isinstance(step, Pass):
        with run.strays:
            run.runner.map(step.indices)  # which wakes this thread once, at the end
        return None
    if isinstance(step, Exchange):
        send = functools.partial(step.posting.sender.send, step.call, step.posting.headers)
        return portal.run(send) if step.posting.sender.is_async else send()
    return clock.world.sleep(step.seconds)


async def run_awaiting(decorated: Decorated, items: Sequence[Any], options: Options) -> list[Any]:
    """`abatch`."""
    return await awaited(BatchRun(decorated, items, options, blocking=False))


async def awaited(run: BatchRun) -> list[Any]:
    """See a run through, and close it."""
    try:
        steps = run.steps()
        step = next(steps)
        while True:
            try:
                came_of_it = await _do_async(step, run)
            except Lost as lost:
                step = steps.throw(lost)
            else:
                step = steps.send(came_of_it)
    except StopIteration:
        return run.end()
    except BaseException as error:
        run.attach(error)
        raise
    finally:
        run.close()
        with anyio.CancelScope(shield=True):
            for sender in run.senders():
                await (sender.close() if sender.is_async else launch.in_thread(sender.close))


async def _do_async(step: Step, run: BatchRun) -> Any:
    if isinstance(step, Pass):
        with run.strays:
            await run.runner.amap(step.indices)
        return None
    if isinstance(step, Exchange):
        send = functools.partial(step.posting.sender.send, step.call, step.posting.headers)
        return await (send() if step.posting.sender.is_async else launch.in_thread(send))
    return await anyio.sleep(step.seconds)
