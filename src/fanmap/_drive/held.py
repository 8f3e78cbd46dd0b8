"""Streams of direct calls: their call holds its slot and charge until they end, raise, are closed or collected.

One that a generator function makes is admitted at its first chunk, and sent again as any call, until there is one. One
that a function has returned is under way already. Imported by the first call that has one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self

from typing_extensions import override

from fanmap._drive import aio, launch, loops, owners, tasks, threads
from fanmap._drive.calls import Caller
from fanmap._drive.direct import Single
from fanmap._drive.notices import logger
from fanmap._drive.observing import Observer, observer
from fanmap._drive.plan import CALL, Plan
from fanmap._drive.scope import Scope, current_scope
from fanmap._drive.streams import OVER, next_chunk
from fanmap._errors import Busy
from fanmap._policy.permit import THREADS, Owner
from fanmap._policy.streams import LAST
from fanmap._public import without_our_frames
from fanmap._raw import is_a

_scope_here = current_scope.get  # for each chunk
_go_into = current_scope.set


class StreamCall(Single):
    """The call behind a stream.

    Attributes:
        chunks: the last ones, of which one may say what it took.
    """

    __slots__ = ("chunks",)

    def __init__(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], owner: Owner) -> None:
        super().__init__(plan, args, kwargs, owner)
        self.chunks: deque[Any] = deque(maxlen=LAST)

    @classmethod
    def of(cls, single: Single) -> StreamCall:
        """Goes on with what this call holds: it has returned a stream."""
        args, kwargs = single.item
        call = cls(single.plan, args, kwargs, single.owner)
        single.hand_over(call)
        return call

    def inside(self) -> Scope | None:
        """The scope that the stream's own code runs in."""
        return self._scope

    def observer(self) -> Observer | None:
        """Who reads the responses to what the stream's own code asks."""
        return self._reader

    def stop_observing(self) -> None:
        """In its reader's context: what that asks itself is not the stream's."""
        if self._reader is not None:
            self._reader.leave()

    def end(self) -> None:
        """It has ended, or its reader wants no more."""
        self._count_here()
        if self._permit is not None:
            self.ended(list(self.chunks))
        self.quit()

    def fail(self, error: BaseException) -> None:
        """It has failed after its first chunk."""
        self._count_here()
        if self._permit is not None:
            self.broke_off(error, list(self.chunks))
        self.quit()

    @override
    def quit(self) -> None:
        Caller.quit(self)  # the context is its reader's

    def _count_here(self) -> None:
        self.tally = self.plan.budget.tally_of(threading.get_ident())  # it may be read in another thread


class _Held:
    """What both kinds of stream have in common.

    Args:
        new_call: of a stream that was not begun.
        call, inner: of one that was.
    """

    __slots__ = ("__weakref__", "_advance", "_busy", "_call", "_inner", "_keep", "_new_call", "_over", "_scope")

    def __init__(
        self, new_call: Callable[[], StreamCall] | None, call: StreamCall | None = None, inner: Any = None
    ) -> None:
        self._new_call = new_call
        self._call: StreamCall | None = None
        self._inner = inner
        self._busy = False
        self._over = False
        self._advance: Callable[[], Any] | None = None  # to the next chunk, where nothing else is to be done for it
        self._keep: Callable[[Any], None] | None = None
        self._scope: Scope | None = None
        if call is not None:
            self._go_on_with(call, inner)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in _Held.__slots__ or self._inner is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._inner, name)  # of the client's stream: its `response`

    @override
    def __repr__(self) -> str:
        state = "over" if self._over else "not begun" if self._call is None else "under way"
        return f"<stream: {state}>"

    def _go_on_with(self, call: StreamCall, inner: Any) -> None:
        self._call, self._inner = call, inner
        self._scope, self._keep = call.inside(), call.chunks.append
        self._advance = self._advancing(call, inner)

    def _advancing(self, call: StreamCall, inner: Any) -> Callable[[], Any]:
        raise NotImplementedError

    def _is_read_elsewhere(self) -> bool:
        """Does its code run at this moment, as generators know it?"""
        inner = self._inner
        return bool(getattr(inner, "gi_running", False) or getattr(inner, "ag_running", False))

    def _end(self) -> None:
        self._over, self._advance = True, None
        call, self._call = self._call, None
        if call is not None:
            call.end()

    def _fail(self, error: BaseException) -> None:
        self._over, self._advance = True, None
        call, self._call = self._call, None
        if call is not None:
            call.fail(error)

    def __del__(self) -> None:
        call: StreamCall | None = getattr(self, "_call", None)  # Ctrl-C may come before `__init__`
        if call is not None:
            self._call = None
            call.end()
            logger.debug("a stream of %s was dropped before its end: its slot is given back", call.plan.name)


class HeldStream(_Held, Iterator[Any]):
    """The stream of a direct call of a `def`."""

    __slots__ = ()

    @override
    def __iter__(self) -> Self:
        return self

    @override
    def __next__(self) -> Any:
        advance = self._advance
        if advance is None:
            return self._begin()
        before = _scope_here()
        _go_into(self._scope)
        try:
            chunk = advance()
        except StopIteration:
            self._end()
            raise
        except BaseException as error:
            # Generators say it with a ValueError. One that runs on after its chunk timed out is not read elsewhere.
            if type(error) is ValueError and self._is_read_elsewhere():
                raise ValueError("the stream is being read already") from None
            self._fail(error)
            __tracebackhide__ = True
            raise without_our_frames(error)
        finally:
            _go_into(before)
        if chunk is OVER:
            self._end()
            raise StopIteration
        self._keep(chunk)  # type: ignore[misc]  # pyright: ignore[reportOptionalCall]
        return chunk

    @override
    def _advancing(self, call: StreamCall, inner: Any) -> Callable[[], Any]:
        advance: Callable[[], Any] = inner.__next__
        if call.plan.timeout is not None:
            advance = partial(threads.with_timeout(next_chunk, call.plan.timeout), inner)
        observed = call.observer()
        return advance if observed is None else partial(_observed, observed, advance)

    def _begin(self) -> Any:
        """The first chunk."""
        if self._busy:
            raise ValueError("the stream is being read already")
        new_call, self._new_call = self._new_call, None
        if self._over or new_call is None:
            raise StopIteration
        self._busy = True
        before = current_scope.get()
        call = new_call()
        inner: Any = None
        try:
            todo = threads.wait_until_due(call, call.step())
            while todo is CALL:
                try:
                    inner = call.plan.call(call.item)
                    chunk = self._advancing(call, inner)()
                except StopIteration:
                    chunk = OVER
                except BaseException as error:
                    todo = threads.wait_until_due(call, call.raised(error))
                    continue
                self._go_on_with(call, inner)
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
        if chunk is OVER:
            self._end()
            raise StopIteration
        call.chunks.append(chunk)
        return chunk

    def close(self) -> None:
        """No more of it: the slot is given back; again: nothing."""
        if self._over:
            return
        if self._busy or self._is_read_elsewhere():
            raise ValueError("the stream is being read already")
        inner = self._inner
        try:
            if inner is not None:
                inner.close()
        finally:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class HeldAsyncStream(_Held, AsyncIterator[Any]):
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
        before = _scope_here()
        _go_into(self._scope)
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
            _go_into(before)
        self._keep(chunk)  # type: ignore[misc]  # pyright: ignore[reportOptionalCall]
        return chunk

    @override
    def _advancing(self, call: StreamCall, inner: Any) -> Callable[[], Any]:
        advance: Callable[[], Any] = inner.__anext__
        if call.plan.timeout is not None:
            timed = launch.with_timeout(loops.running() or "asyncio", _anext, call.plan.timeout)
            advance = partial(timed, inner)
        observed = call.observer()
        return advance if observed is None else partial(_observed_async, observed, advance)

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
        chunk: Any = None
        try:
            todo = await tasks.wait_until_due(call, call.step(), new_waiter)
            while todo is CALL:
                try:
                    opened: Any = call.plan.call(call.item)
                    inner = await opened
                    chunk = await self._advancing(call, inner)()
                except StopAsyncIteration:
                    over = True
                except BaseException as error:
                    todo = await tasks.wait_until_due(call, call.raised(error), new_waiter)
                    continue
                self._go_on_with(call, inner)
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


def _observed(observed: Observer, advance: Callable[[], Any]) -> Any:
    """A step of a stream whose code asks servers by itself."""
    before = observer.get()
    observer.set(observed)
    try:
        return advance()
    finally:
        observer.set(before)


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
        from fanmap._drive import trio  # only where trio runs

        return trio.Waiter
    return aio.new_waiter


def owner_here() -> Owner:
    """Who runs the call of an async stream."""
    return owners.running_here() or THREADS


def hold(single: Single, stream: Any, kind: Literal["sync", "async"]) -> _Held:
    """The stream that this call has returned, and that holds its slot from now on."""
    call = StreamCall.of(single)
    return (HeldStream if kind == "sync" else HeldAsyncStream)(None, call, stream)
