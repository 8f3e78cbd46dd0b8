"""What `imap` and `as_completed` return: results one at a time, from sync and async code alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Generic, Self

from typing_extensions import TypeVar, override

from fanmap._drive import clock, loops
from fanmap._drive.launch import Launched
from fanmap._drive.run import Run
from fanmap._policy.order import NOTHING_YET
from fanmap._progress import Watcher
from fanmap._types import NOT_BEGUN, NOTHING_DONE, RunStats, Summary

T = TypeVar("T", covariant=True)
Record = tuple[Any, ...]


class Results(Iterator[T], AsyncIterator[T], Generic[T]):
    """The results of a run, as an iterator, an async iterator, and a context manager of both kinds.

    The run begins with the first result asked for (or when entered), and the input advances only while a
    result is being waited for. Leaving the `with` block, or dropping this object, stops the run; what the input
    raises on being closed leaves the block, unless another exception does. On trio it must be entered with
    `async with`, because nothing else there can own its tasks.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[bool], Launched[Any]],
        hand_out: Callable[[Run, Record | None], T],
        watcher: Watcher | None,
    ) -> None:
        self._name = name
        self._launch = launch
        self._hand_out = hand_out
        self._watcher = watcher
        self._launched: Launched[Any] | None = None
        self._blocking: bool | None = None
        self._entered = False
        self._over = False
        self._leftover = False  # the run has ended; outcomes of what never ran are still to be handed out

    @property
    def stats(self) -> RunStats:
        """Where the run stands; at any time, from any thread."""
        if self._launched is None:
            return NOT_BEGUN
        return self._launched.run.stats()

    @property
    def summary(self) -> Summary:
        """What the run has come to; at any time, from any thread; `print` it."""
        if self._launched is None:
            return NOTHING_DONE
        return self._launched.run.summary()

    def stop(self) -> None:
        """Stop on purpose: calls under way end, nothing else starts, and what finished is still handed out.

        `imap` then ends before the first item without a result, so that results still pair with inputs;
        `as_completed` hands out all that finished, and the last failure of what waited to be sent again. With
        `return_exceptions=True` a `NotRun` stands for each item that never started. From any thread; in a signal
        handler set a flag, and call this elsewhere.
        """
        if self._launched is None:
            self._over = True
        else:
            self._launched.run.stop_on_purpose()

    @override
    def __repr__(self) -> str:
        state = "over" if self._over else "not begun" if self._launched is None else "under way"
        return f"<results of {self._name}: {state}>"

    # From sync code

    @override
    def __iter__(self) -> Self:
        return self

    @override
    def __next__(self) -> T:
        if self._over:
            raise StopIteration
        launched = self._launched
        if launched is None or not self._blocking:
            launched = self._start(blocking=True)
        try:
            if not self._leftover:
                if self._watcher is None:
                    # The record gets no name here: a failure's traceback would lead back to itself.
                    result = self._hand_out(launched.run, launched.run.leaving_now())
                    if result is not NOTHING_YET:
                        return result
                if launched.consumer.advance(self._look(launched.run)):
                    return self._take(launched.run)
                launched.consumer.finish(launched.cancel)
                self._conclude(launched.run)
            if launched.run.order.has_leaving():
                return self._take(launched.run)
        except BaseException as error:
            self._over = True
            try:
                launched.consumer.finish(launched.cancel)
            finally:
                self._cut(launched.run)
                launched.run.ending.remember(error)
            raise
        self._end(launched.run)
        raise StopIteration

    def close(self) -> None:
        """Stop the run and wait for what can be waited for; idempotent.

        Raises what the input raises on being closed.
        """
        launched, over = self._launched, self._over
        self._over = True
        if launched is not None and not over:
            if not self._blocking:
                launched.run.stop(None)
                launched.drop()
                self._cut(launched.run)
                return
            launched.run.ending.leave()
            launched.consumer.finish(launched.cancel)
            self._end(launched.run)
            launched.run.ending.closed()

    def __enter__(self) -> Self:
        self._start(blocking=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception:
            if error is None:  # else what left the block goes on
                raise

    # From async code

    @override
    def __aiter__(self) -> Self:
        return self

    @override
    async def __anext__(self) -> T:
        if self._over:
            raise StopAsyncIteration
        launched = self._launched
        if launched is None or self._blocking:
            launched = self._start(blocking=False)
        try:
            if not self._leftover:
                if self._watcher is None:
                    # The record gets no name here: a failure's traceback would lead back to itself.
                    result = self._hand_out(launched.run, launched.run.leaving_now())
                    if result is not NOTHING_YET:
                        return result
                if await launched.consumer.advance(self._look(launched.run)):
                    return self._take(launched.run)
                await launched.consumer.finish(launched.cancel)
                self._conclude(launched.run)
            if launched.run.order.has_leaving():
                return self._take(launched.run)
        except BaseException as error:
            self._over = True
            try:
                await launched.consumer.finish(launched.cancel)
            finally:
                self._cut(launched.run)
                launched.run.ending.remember(error)
            raise
        self._end(launched.run)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop the run and wait for its tasks; idempotent. Raises what the input raises on being closed."""
        launched, over = self._launched, self._over
        self._over = True
        if launched is not None and not over:
            launched.run.ending.leave()
            await launched.consumer.finish(launched.cancel)
            self._end(launched.run)
            launched.run.ending.closed()

    async def __aenter__(self) -> Self:
        self._entered = True
        self._start(blocking=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.aclose()
        except Exception:
            if error is None:  # else what left the block goes on
                raise

    # Inside

    def __del__(self) -> None:
        launched: Launched[Any] | None = getattr(self, "_launched", None)  # Ctrl-C may come before `__init__`
        if launched is not None and not self._over:
            self._abandon(launched)

    def _abandon(self, launched: Launched[Any]) -> None:
        self._over = True
        launched.run.stop(None)
        launched.drop()
        launched.run.close()
        self._cut(launched.run)

    def _start(self, *, blocking: bool) -> Launched[Any]:
        launched = self._launched
        if launched is None:
            if not blocking and not self._entered and loops.running() == "trio":
                raise RuntimeError(
                    f"on trio, nothing but a block can own the tasks of {self._name}: "
                    "write `async with ... as results:` and then `async for result in results:`"
                )
            launched = self._launched = self._launch(blocking)
            self._blocking = blocking
            try:
                launched.run.start()
            except BaseException:  # Ctrl-C
                self._abandon(launched)
                raise
        elif blocking is not self._blocking:
            raise RuntimeError(f"{self._name} was begun with {'next' if self._blocking else 'anext'}: go on like that")
        return launched

    def _look(self, run: Run) -> Callable[[], None] | None:
        return None if self._watcher is None else self._watcher.looking(run.stats)

    def _take(self, run: Run) -> T:
        return self._hand_out(run, run.leaving())

    def _cut(self, run: Run) -> None:
        if self._watcher is not None:
            self._watcher.cut(run.stats)

    def _conclude(self, run: Run) -> None:
        self._leftover = True
        run.ending.conclude(clock.now())

    def _end(self, run: Run) -> None:
        self._over = True
        if self._watcher is not None:
            self._watcher.end(run.stats)
        run.order.forget()
