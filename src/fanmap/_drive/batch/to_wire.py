"""Requests of an item that go to the wire: admitted there under the function's Limits, and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, TypeAlias

from typing_extensions import override

from fanmap._drive.calls.direct import Block
from fanmap._drive.calls.plan import Plan
from fanmap._drive.drivers import aio, loops, owners, threads
from fanmap._drive.wire.observing import Request
from fanmap._drive.wire.wires import AIOHTTP, ASYNC_HTTPX
from fanmap._errors import BudgetExceeded
from fanmap._policy.journals.kept import NOTHING_SPENT, Spent, of_call
from fanmap._policy.limits.permit import THREADS, Owner

NoMoneyLeft: TypeAlias = Callable[[Exception], BaseException]


class Outlet:
    """Those of one run of one item. From any thread, several at once.

    Args:
        plan: how a block under the function's Limits is admitted.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._blocks: dict[int, _Block] = {}
        self._spent: list[Spent] = []

    def admit(self, request: Request, no_money: NoMoneyLeft) -> Any:
        """A request is about to go: awaited where its client is async.

        Args:
            request: of the item.
            no_money: what to raise in place of an error that says that no money is left, or that it cannot be counted:
                a client would take that for a failure of the connection, and try again.
        """
        if request.wire in (ASYNC_HTTPX, AIOHTTP):
            return self._admit_async(request, no_money)
        if loops.running() is None:  # a blocking client in a loop must not wait there for others of that loop
            block = _Block(self._plan, THREADS, None)
            try:
                threads.admit(block)
            except BaseException as error:
                block.quit()
                self._say_instead(error, no_money)
                raise
            self._go(request, block)
        return None

    async def _admit_async(self, request: Request, no_money: NoMoneyLeft) -> None:
        block = _Block(self._plan, owners.running_here() or THREADS, None)
        try:
            if loops.running() == "trio":
                from fanmap._drive.drivers import trio  # only where trio runs

                await trio.admit(block)
            else:
                await aio.admit(block)
        except BaseException as error:
            block.quit()
            self._say_instead(error, no_money)
            raise
        self._go(request, block)

    def _say_instead(self, error: BaseException, no_money: NoMoneyLeft) -> None:
        told = isinstance(error, BudgetExceeded) or (isinstance(error, ValueError) and self._plan.budget.has_totals)
        if told and isinstance(error, Exception):
            raise no_money(error) from None

    def _go(self, request: Request, block: _Block) -> None:
        self._blocks[id(request)] = block
        if block.reader is not None:
            block.reader.asked(request)

    def answered(self, request: Request, response: Any) -> None:
        """The wire's response to one of them."""
        block = self._blocks.get(id(request))
        if block is not None and block.reader is not None:
            block.reader.answered(request, response)
        self.leave(request, None)

    def leave(self, request: Request, error: BaseException | None) -> None:
        """One of them is over."""
        block = self._blocks.pop(id(request), None)
        if block is not None:
            try:
                block.leave(error)
            finally:
                block.quit()
                self._spent.append(block.spent)

    def take_spent(self) -> Spent:
        """What they have spent of the function's totals since this was last asked."""
        spent, self._spent = self._spent, []
        return sum(spent, NOTHING_SPENT)


class _Block(Block):
    """A request that goes to the wire, and what it spends."""

    __slots__ = ("spent",)

    def __init__(self, plan: Plan, owner: Owner, frame: FrameType | None) -> None:
        super().__init__(plan, owner, frame)
        self.spent = NOTHING_SPENT

    @override
    def _took(self, value: Any) -> Sequence[float | None]:
        took, budget, permit = super()._took(value), self.plan.budget, self._permit
        if budget.has_totals and permit is not None:
            self.spent += of_call(budget.rates, permit.charges, took)
        return took
