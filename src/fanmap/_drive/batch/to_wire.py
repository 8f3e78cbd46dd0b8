"""Requests of an item that go to the wire: admitted there under the function's Limits, and counted.

A slot is given back when the headers are there: an item may ask something else while it reads a stream, and would wait
for its own slot. What a body says that is still to come is charged when it has passed, or the item's run is over.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias

from typing_extensions import override

from fanmap._drive.calls.direct import Block
from fanmap._drive.calls.plan import Plan
from fanmap._drive.drivers import aio, loops, owners, threads
from fanmap._drive.wire.observing import Request
from fanmap._drive.wire.wires import AIOHTTP, ASYNC_HTTPX
from fanmap._errors import BudgetExceeded
from fanmap._policy.journals.kept import NOTHING_SPENT, Spent, of_call
from fanmap._policy.limits.permit import THREADS, Owner
from fanmap._policy.limits.rate import Grant

if TYPE_CHECKING:
    from fanmap._drive.wire.responses import Reader

NoMoneyLeft: TypeAlias = Callable[[Exception], BaseException]


class Outlet:
    """Those of one run of one item. From any thread, several at once.

    Args:
        plan: how a block under the function's Limits is admitted.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._blocks: dict[int, _Block] = {}
        self._unread: deque[tuple[_Block, Reader]] = deque()
        self._spent: list[Spent] = []

    def admit(self, request: Request, no_money: NoMoneyLeft) -> Any:
        """A request is about to go: awaited where its client is async.

        Args:
            request: of the item.
            no_money: what to raise in place of an error that says that no money is left, or that it cannot be counted:
                a client would take that for a failure of the connection, and try again.
        """
        self._charge_unread(only_passed=True)
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
            block.reader.leave()  # it is told of this one request here, and not of those that follow its redirects
            block.reader.asked(request)

    def answered(self, request: Request, response: Any) -> None:
        """The wire's response to one of them."""
        block = self._blocks.get(id(request))
        reader = None if block is None else block.reader
        try:
            if reader is not None:
                reader.answered(request, response)
        finally:
            self.leave(request, None, reader if reader is not None and reader.waits else None)
        self._charge_unread(only_passed=True)

    def leave(self, request: Request, error: BaseException | None, unread: Reader | None = None) -> None:
        """One of them is over, but for a body that this one reads."""
        block = self._blocks.pop(id(request), None)
        if block is not None:
            if unread is not None:
                block.put_off(unread)
            try:
                block.leave(error)
            finally:
                block.quit()
                if unread is None:
                    self._spent.append(block.spent)
                else:
                    self._unread.append((block, unread))

    def _charge_unread(self, *, only_passed: bool) -> None:
        for _ in range(len(self._unread)):
            try:
                block, reader = self._unread.popleft()
            except IndexError:  # another thread has it
                return
            if only_passed and reader.waits:
                self._unread.append((block, reader))
                continue
            block.charge_late(reader)
            self._spent.append(block.spent)

    def take_spent(self) -> Spent:
        """What they have spent of the function's totals since this was last asked; nobody reads on."""
        self._charge_unread(only_passed=False)
        spent, self._spent = self._spent, []
        return sum(spent, NOTHING_SPENT)


class _Block(Block):
    """A request that goes to the wire, and what it spends."""

    __slots__ = ("_charges", "spent")

    def __init__(self, plan: Plan, owner: Owner, frame: FrameType | None) -> None:
        super().__init__(plan, owner, frame)
        self.spent = NOTHING_SPENT
        self._charges: Sequence[Grant] = ()

    def put_off(self, reader: Reader) -> None:
        """What it took this one will know: it is about to be left at what it was charged."""
        reader.leave()
        self._reader = None
        self._charges = () if self._permit is None else self._permit.charges

    def charge_late(self, reader: Reader) -> None:
        """What it took beyond that is known now."""
        budget, charges = self.plan.budget, self._charges
        self.tally = budget.tally_of(threading.get_ident())
        self._read_to_end(reader, returned=True)
        took = super()._took(None)
        if charges:
            more = [0.0 if units is None else units - charge.cost for units, charge in zip(took, charges, strict=True)]
            self.spent += of_call(budget.rates, charges, more)
            budget.charge_late(more)

    @override
    def _took(self, value: Any) -> Sequence[float | None]:
        took, budget, permit = super()._took(value), self.plan.budget, self._permit
        if budget.has_totals and permit is not None:
            self.spent += of_call(budget.rates, permit.charges, took)
        return took
