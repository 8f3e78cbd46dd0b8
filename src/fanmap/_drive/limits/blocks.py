"""`with limits:` and `async with limits:`: how a block is entered and left, and whose block it is."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import Any, Self

from fanmap._drive import clock
from fanmap._drive.calls.direct import Block
from fanmap._drive.calls.plan import BLOCK, Plan
from fanmap._drive.drivers import aio, loops, owners, threads
from fanmap._drive.limits.budget import Budget
from fanmap._drive.limits.settings import asyncio_only
from fanmap._policy.limits.permit import THREADS, Permit


class Blocks:
    """The part of a Limits that is a context manager."""

    _budget: Budget
    _permit: type[Permit]

    def _without_blocks(self) -> None:
        self._blocks: ContextVar[tuple[Block, ...]] = ContextVar("fanmap_blocks", default=())
        self._open: dict[Block, None] = {}  # all of every context, in the order of their admission

    def __enter__(self) -> Self:
        if self._budget.limiters:
            raise TypeError(asyncio_only(self._budget.limiters))
        block = Block(self._plan(), THREADS, _caller())
        try:
            threads.admit(block)
            self._entered(block)
        except BaseException:  # Ctrl-C: a block that was not entered is not left
            self._open.pop(block, None)
            block.quit()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave(_caller(), error)

    # Not `async def`: these are called by the code whose block it is, and run wherever they are awaited.

    def __aenter__(self) -> Coroutine[Any, Any, Self]:
        return self._enter_async(_caller())

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Coroutine[Any, Any, None]:
        return self._leave_async(_caller(), error)

    async def _enter_async(self, frame: FrameType | None) -> Self:
        block = Block(self._plan(), owners.running_here() or THREADS, frame)
        if loops.running() == "trio":
            from fanmap._drive.drivers import trio  # only where trio runs

            if self._budget.limiters:
                raise TypeError(asyncio_only(self._budget.limiters))
            await trio.admit(block)
        else:
            await aio.admit(block)
            try:
                for limiter in self._budget.limiters:
                    await limiter.acquire()
            except BaseException:
                block.leave(None)
                raise
        self._entered(block)
        return self

    async def _leave_async(self, frame: FrameType | None, error: BaseException | None) -> None:
        self._leave(frame, error)

    def _entered(self, block: Block) -> None:
        self._open[block] = None
        self._blocks.set((*(other for other in self._blocks.get() if other in self._open), block))

    def _leave(self, frame: FrameType | None, error: BaseException | None) -> None:
        block = self._block_of(frame)
        if self._budget.max_waiting is not None:
            self._budget.pace.took(clock.now() - block.started)
        try:
            block.leave(error)
        finally:
            block.quit()  # Ctrl-C between two bytecodes: leaving twice is leaving once
            self._open.pop(block, None)
            blocks = self._blocks.get()
            if block in blocks:
                self._blocks.set(tuple(other for other in blocks if other is not block))

    def _block_of(self, frame: FrameType | None) -> Block:
        """The block that this code leaves.

        Its context says so, unless it was entered in another one: then it is the one that the same code entered.
        Where other code did that (an `ExitStack`), any block of this context's, else the last that was entered:
        one slot is given back for each block that is left, whatever happens.
        """
        here = [block for block in self._blocks.get() if block in self._open]
        if here and here[-1].frame is frame:
            return here[-1]
        blocks = list(reversed(list(self._open)))
        for block in blocks:
            if frame is not None and block.frame is frame:
                return block
        if here:
            return here[-1]
        for block in blocks:
            try:
                del self._open[block]  # atomic: of two who leave at once, each has its own
            except KeyError:
                continue
            return block
        raise RuntimeError("a Limits cannot be exited more often than it was entered")

    def _plan(self) -> Plan:
        return Plan(BLOCK, _unused, None, self._budget, retry=False, permit=self._permit)


def _caller() -> FrameType | None:
    """The code that called whoever asks; None where the interpreter does not say."""
    here = inspect.currentframe()
    method = None if here is None else here.f_back
    return None if method is None else method.f_back


def _unused(item: Any) -> Any:  # pragma: no cover (a block calls nothing)
    return item
