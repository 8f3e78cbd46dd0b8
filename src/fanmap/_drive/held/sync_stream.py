"""The stream of a direct call of a `def`, read in threads."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Generator, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self

from typing_extensions import override

from fanmap._drive.calls.plan import CALL
from fanmap._drive.calls.scope import current_scope
from fanmap._drive.drivers import threads, warm_threads
from fanmap._drive.drivers.loops import me
from fanmap._drive.held.call import StreamCall
from fanmap._drive.held.stream import Held, go_into, not_begun, scope_here
from fanmap._drive.runs.streams import OVER, next_chunk
from fanmap._drive.wire.observing import Observer, observer
from fanmap._errors import Busy
from fanmap._public import calls_users, without_our_frames
from fanmap._raw import is_a


class HeldStream(Held, Iterator[Any]):
    """The stream of a direct call of a `def`."""

    __slots__ = ("_own",)

    def __init__(
        self, new_call: Callable[[], StreamCall] | None, call: StreamCall | None = None, inner: Any = None
    ) -> None:
        self._own: contextvars.Context | None = None  # where threads make its chunks, one after the other
        super().__init__(new_call, call, inner)

    @override
    def __iter__(self) -> Self:
        return self

    @override
    def __next__(self) -> Any:
        advance = self._advance
        if advance is None:
            return self._begin()
        before, entered = scope_here(), self._scope
        go_into(entered)
        self._goes_on()  # type: ignore[misc]  # pyright: ignore[reportOptionalCall]
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
            if scope_here() is not entered:
                self._scope = scope_here()  # its code stands in a block of its own, and goes on there
            go_into(before)
        if chunk is OVER:
            self._end()
            raise StopIteration
        self._keep(chunk)  # type: ignore[misc]  # pyright: ignore[reportOptionalCall]
        self._stands(me())  # type: ignore[misc]  # pyright: ignore[reportOptionalCall]
        return chunk

    @override
    def _advancing(self, call: StreamCall, inner: Any) -> Callable[[], Any]:
        observed = call.observer()
        if call.plan.timeout is None:
            advance: Callable[[], Any] = inner.__next__
            return advance if observed is None else partial(_observed, observed, advance)
        self._own = contextvars.copy_context()
        run_in_it: Callable[..., Any] = self._own.run
        step = next_chunk if observed is None else partial(_observed, observed, next_chunk)
        return partial(warm_threads.with_timeout(partial(run_in_it, step), call.plan.timeout), inner)

    def _in_own(self, step: Callable[..., Any], *args: Any) -> Any:
        """In the context in which its chunks are made."""
        if self._own is None:
            return step(*args)
        try:
            self._own.run(_nothing)
        except RuntimeError:  # a chunk that is late is still made there
            return step(*args)
        return self._own.run(step, *args)

    @override
    def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        usual, self._advance = self._advance, partial(self._in_own, step, *args)
        try:
            return next(self)
        finally:
            if not self._over:
                self._advance = usual

    @calls_users
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
        advance: Any = None
        try:
            todo = threads.wait_until_due(call, call.step())
            while todo is CALL:
                try:
                    inner = call.plan.call(call.item)
                    advance = self._advancing(call, inner)
                    chunk = advance()
                except StopIteration:
                    chunk = OVER
                except BaseException as error:
                    todo = threads.wait_until_due(call, call.raised(error))
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
                self._in_own(inner.close)
        finally:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class HeldGenerator(HeldStream, Generator[Any, Any, Any]):
    """One that is sent and thrown something, too: a generator."""

    __slots__ = ()

    @override
    def send(self, value: Any, /) -> Any:
        return self._stepped("send", value)

    @override
    def throw(self, *error: Any) -> Any:
        return self._stepped("throw", *error)

    def _stepped(self, name: str, *args: Any) -> Any:
        if self._inner is not None:
            step = getattr(self._inner, name)
            return self._step(step, *args) if self._call is not None else step(*args)
        if name == "throw":
            self.close()
        getattr(not_begun(), name)(*args)
        return next(self)


def _nothing() -> None:
    pass


def _observed(observed: Observer, advance: Callable[..., Any], *args: Any) -> Any:
    """A step of a stream whose code asks servers by itself."""
    before = observer.get()
    observer.set(observed)
    try:
        return advance(*args)
    finally:
        observer.set(before)
