"""The stream of a direct call of an `async def`, read in tasks of an event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

from typing_extensions import override

from fanmap._drive.calls.plan import CALL
from fanmap._drive.calls.scope import current_scope
from fanmap._drive.drivers import aio_waiter, loops, owners, tasks
from fanmap._drive.drivers.loops import me
from fanmap._drive.held.call import StreamCall
from fanmap._drive.held.stream import Held, go_into, not_begun, scope_here
from fanmap._drive.runs import launch
from fanmap._drive.wire.observing import Observer, observer
from fanmap._errors import Busy
from fanmap._policy.limits.permit import THREADS, Owner
from fanmap._public import calls_users, without_our_frames
from fanmap._raw import is_a


class HeldAsyncStream(Held, AsyncIterator[Any]):
    """The stream of a direct call of an `async def`."""

    __slots__ = ()

    @override
    def __aiter__(self) -> Self:
        return self

    @override
    async def __anext__(self) -> Any:
        advance = self._advance
        if advance is None:
            return await self._begin()
        before, entered = scope_here(), self._scope
        go_into(entered)
        self._goes_on()  # type: ignore[misc]  # pyright: ignore[reportOptionalCall]
        try:
            chunk = await advance()
        except StopAsyncIteration:
            self._end()
            raise
        except BaseException as error:
            if self._is_read_elsewhere():
                raise RuntimeError("the stream is being read already") from None
            self._fail(error)
            __tracebackhide__ = True
            raise without_our_frames(error)
        finally:
            if scope_here() is not entered:
                self._scope = scope_here()  # its code stands in a block of its own, and goes on there
            go_into(before)
        self._keep(chunk)  # type: ignore[misc]  # pyright: ignore[reportOptionalCall]
        self._stands(me())  # type: ignore[misc]  # pyright: ignore[reportOptionalCall]
        return chunk

    @override
    def _advancing(self, call: StreamCall, inner: Any) -> Callable[[], Any]:
        advance: Callable[[], Any] = inner.__anext__
        if call.plan.timeout is not None:
            timed = launch.with_timeout(loops.running() or "asyncio", _anext, call.plan.timeout)
            advance = partial(timed, inner)
        observed = call.observer()
        return advance if observed is None else partial(_observed_async, observed, advance)

    @override
    async def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        usual, self._advance = self._advance, partial(step, *args)
        try:
            return await anext(self)
        finally:
            if not self._over:
                self._advance = usual

    @calls_users
    async def _begin(self) -> Any:
        """The first chunk."""
        if self._busy:
            raise RuntimeError("the stream is being read already")
        new_call, self._new_call = self._new_call, None
        if self._over or new_call is None:
            raise StopAsyncIteration
        self._busy = True
        before = current_scope.get()
        call, new_waiter = new_call(), new_waiter_here()
        over = False
        inner: Any = None
        advance: Any = None
        chunk: Any = None
        try:
            todo = await tasks.wait_until_due(call, call.step(), new_waiter)
            while todo is CALL:
                try:
                    opened: Any = call.plan.call(call.item)
                    inner = await opened
                    advance = self._advancing(call, inner)
                    chunk = await advance()
                except StopAsyncIteration:
                    over = True
                except BaseException as error:
                    todo = await tasks.wait_until_due(call, call.raised(error), new_waiter)
                    continue
                self._scope = scope_here()
                self._go_on_with(call, inner, advance)
                break
            else:
                chunk = call.result()
        except BaseException as error:
            if inner is None and is_a(error, Busy):  # nothing was called: it says to try again
                self._new_call = new_call
            else:
                self._over = True
            call.quit()
            __tracebackhide__ = True
            raise without_our_frames(error)
        finally:
            current_scope.set(before)
            call.stop_observing()
            self._busy = False
        if over:
            self._end()
            raise StopAsyncIteration
        call.chunks.append(chunk)
        return chunk

    async def aclose(self) -> None:
        """No more of it: the slot is given back; again: nothing."""
        if self._over:
            return
        if self._busy or self._is_read_elsewhere():
            raise RuntimeError("the stream is being read already")
        inner = self._inner
        try:
            if inner is not None:
                await (getattr(inner, "aclose", None) or inner.close)()
        finally:
            self._end()

    async def close(self) -> None:
        """The same, as openai's and anthropic's streams have it."""
        await self.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class HeldAsyncGenerator(HeldAsyncStream, AsyncGenerator[Any, Any]):
    """One that is sent and thrown something, too: an async generator."""

    __slots__ = ()

    @override
    async def asend(self, value: Any, /) -> Any:
        return await self._stepped("asend", value)

    @override
    async def athrow(self, *error: Any) -> Any:
        return await self._stepped("athrow", *error)

    async def _stepped(self, name: str, *args: Any) -> Any:
        if self._inner is not None:
            step = getattr(self._inner, name)
            return await (self._step(step, *args) if self._call is not None else step(*args))
        if name == "athrow":
            await self.aclose()
        getattr(not_begun(), name[1:])(*args)
        return await anext(self)


async def _observed_async(observed: Observer, advance: Callable[[], Any]) -> Any:
    before = observer.get()
    observer.set(observed)
    try:
        return await advance()
    finally:
        observer.set(before)


async def _anext(stream: Any) -> Any:
    return await stream.__anext__()


def new_waiter_here() -> Callable[[], Any]:
    """How this task waits."""
    if loops.running() == "trio":
        from fanmap._drive.drivers import trio  # only where trio runs

        return trio.Waiter
    return aio_waiter.new_waiter


def owner_here() -> Owner:
    """Who runs the call of an async stream."""
    return owners.running_here() or THREADS
