"""What tasks of every event loop have in common: driving a worker, a direct call, a reader, a feeder.

asyncio and trio differ in how a task waits and in what a cancellation is; `aio_waiter`, `aio` and `trio` bring those.
"""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, Protocol

from fanmap._drive.calls.caller import Caller
from fanmap._drive.calls.plan import AGAIN, CALL, END, WAIT, Word
from fanmap._drive.drivers.own_streams import OwnStreams
from fanmap._drive.runs.run import Run
from fanmap._drive.runs.turn import Turn
from fanmap._drive.runs.worker import Worker
from fanmap._policy.runs.effects import FEED
from fanmap._policy.runs.results import Record
from fanmap._public import calls_users
from fanmap._raw import is_a

_TURNS = 32  # items after which a worker lets the loop run, should none of them have suspended


class Waiter(Protocol):
    """A task that waits; may be woken from any thread, and before it waits; two wake-ups are one."""

    async def wait(self, seconds: float | None) -> None:
        """Until woken, or `seconds` are over (None: no bound); may return early."""

    def wake(self) -> None:
        """From any thread; RuntimeError when the loop is closed."""


class Cancellation(Protocol):
    """What a cancellation is, for one worker's task."""

    def pending(self) -> int:
        """How many cancellations of this task are under way; 0: none."""
        ...

    def ends(self, error: BaseException) -> bool:
        """Does this exception, out of an item, end the worker itself, with no word of the item?"""
        ...

    async def judge(self, failure: BaseException | None) -> BaseException | None:
        """An item ended while its task is being cancelled: what it failed with; raises if the run is ending."""
        ...


@calls_users
async def pull(
    caller: Worker, waiter: Waiter, cancellation: Cancellation, checkpoint: Callable[[], Awaitable[None]]
) -> bool:
    """Work until there is nothing more to do (False), or until an item has changed this context (True).

    A task that somebody cancels (a stop button, a home-made timeout, the clean-up of `asyncio.run`) hands its item in,
    or puts it back where it only waited, and ends: it takes no other.
    """
    call, copy_context, pending = caller.plan.call, contextvars.copy_context, cancellation.pending
    turns = 0
    todo = caller.resume()
    while todo is not END:
        if todo is CALL:
            before = copy_context()
            value: Any = None
            failure: BaseException | None = None
            try:
                value = await call(caller.item)
            except BaseException as error:
                if cancellation.ends(error):
                    raise
                failure = error
            if pending():
                try:
                    return await _hand_in_and_end(caller, cancellation, value, failure)
                finally:
                    failure = None  # or this frame would be in a cycle with its traceback
            try:
                changed = copy_context() != before
            except Exception:  # a value that cannot be compared
                changed = True
            if changed:
                caller.report = (value, failure)
                failure = None
                return True
            if failure is None:
                todo = caller.returned(value)
                value = None
            else:
                todo = caller.raised(failure)
                failure = None
        elif todo is WAIT:
            turns = 0
            await waiter.wait(caller.delay)
            todo = caller.step()
        elif todo is AGAIN:
            todo = caller.step()
        else:
            before = copy_context()
            value = await _read(caller, waiter, cancellation)
            if pending():
                return await _hand_in_stream_and_end(caller, cancellation, value)
            try:
                changed = copy_context() != before
            except Exception:  # as above
                changed = True
            if changed:
                caller.report = (value, None)
                return True
            todo = caller.returned(value)
            value = None
        turns += 1
        if turns == _TURNS:
            turns = 0
            try:
                await checkpoint()
            except BaseException:
                caller.withdraw(called=False)
                raise
    return False


async def _hand_in_stream_and_end(worker: Worker, cancellation: Cancellation, whole: Any) -> bool:
    """As `_hand_in_and_end`, of a stream: the worker takes a failure from `whole`; a cancellation is judged here."""
    failure: BaseException | None = None if is_a(whole.error, Exception) else whole.error
    try:
        return await _hand_in_and_end(worker, cancellation, whole, failure)
    finally:
        failure = None  # or this frame would be in a cycle with its traceback


async def _read(worker: Worker, waiter: Waiter, cancellation: Cancellation) -> Any:
    """The item has returned a stream."""
    from fanmap._drive.runs import streams  # by the first run that has one

    return await streams.read_async(worker, waiter, cancellation.ends)


async def _hand_in_and_end(
    worker: Worker, cancellation: Cancellation, value: Any, failure: BaseException | None
) -> bool:
    """The task is being cancelled, and its item has ended."""
    worker.retiring = True
    try:
        failure = await cancellation.judge(failure)
        if failure is None:
            worker.returned(value)
        else:
            worker.raised(failure)
    finally:
        failure = None
    worker.withdraw()  # an item that is to be sent again is for somebody else
    return False


@calls_users
async def call_here(caller: Caller, new_waiter: Callable[[], Waiter]) -> None:
    """Drive one direct call to its end in this task."""
    try:
        todo = caller.step()
        while todo is not END:
            if todo is CALL:
                try:
                    value = await caller.plan.call(caller.item)
                except BaseException as error:
                    todo = caller.raised(error)
                else:
                    todo = caller.returned(value)
                    del value
            else:
                todo = await wait_until_due(caller, todo, new_waiter)
    finally:
        caller.quit()


async def admit(caller: Caller, new_waiter: Callable[[], Waiter]) -> None:
    """Wait until a block may run; it leaves by itself."""
    try:
        await wait_until_due(caller, caller.step(), new_waiter)
    except BaseException:
        caller.quit()
        raise


async def wait_until_due(caller: Caller, todo: Word, new_waiter: Callable[[], Waiter]) -> Word:
    """Wait until there is a call to make, or nothing more to do."""
    waiter: Waiter | None = None
    own: OwnStreams | None = None
    while todo is WAIT or todo is AGAIN:
        if todo is WAIT:
            early = False
            if waiter is None:
                waiter = new_waiter()
                early = caller.attach(waiter.wake)
            if not early:
                delay, budget = caller.delay, caller.plan.budget
                if budget.streams:
                    own = own or OwnStreams()
                    delay = own.bound(caller.plan.name, budget, delay)
                await waiter.wait(delay)
        todo = caller.step()
    return todo


async def advance(run: Run, waiter: Waiter, look: Callable[[], None] | None) -> Record | None:
    """Wait for the next result, or the end (None), stepping the input meanwhile."""
    own: OwnStreams | None = None
    while True:
        # A record gets no name here: a failure's traceback would lead back to itself.
        todo = run.poll()
        if todo is FEED:
            run.feed()
        elif todo is END:
            return None
        elif todo is WAIT:
            delay, budget = run.delay, run.plan.budget
            if budget.streams:
                own = own or OwnStreams()
                delay = own.bound(run.plan.name, budget, delay)
            await waiter.wait(delay)
        else:
            try:
                return todo  # type: ignore[no-any-return]
            finally:
                del todo
        if look is not None:
            look()


async def take_turn(turn: Turn, me: object, new_waiter: Callable[[], Waiter]) -> None:
    """Wait until no other task reads the same run."""
    while not turn.take(me):
        waiter = new_waiter()
        place = turn.join(waiter.wake)
        try:
            if not turn.take(me):
                await waiter.wait(None)
        finally:
            turn.leave(place)


async def feed(run: Run, source: AsyncIterable[Any], waiter: Waiter) -> None:
    """Iterate an async input in one task, a step whenever the run wants one, and close it."""
    iterator = aiter(source)
    try:
        while not run.stopping():
            if run.wants_input():
                try:
                    item = await anext(iterator)
                except StopAsyncIteration:
                    break
                run.push(run.with_key(item))
                del item
            else:
                await waiter.wait(None)
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()
