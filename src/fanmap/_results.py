"""What `imap` and `as_completed` return: results one at a time, from sync and async code alike."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self

from typing_extensions import TypeVar, override

from fanmap import _lazy_run
from fanmap._drive.drivers import threads
from fanmap._drive.runs.launch import Launched
from fanmap._drive.runs.run import Run
from fanmap._errors import BridgeError
from fanmap._lazy_run import LazyRun
from fanmap._policy.runs.results import NOTHING_YET
from fanmap._progress import Watcher
from fanmap._public import without_our_frames
from fanmap._types import NOT_BEGUN, NOTHING_DONE, RunStats, Summary

T = TypeVar("T", covariant=True)
Record = tuple[Any, ...]


class Results(LazyRun, Iterator[T], AsyncIterator[T], Generic[T]):
    """The results of a run, as an iterator, an async iterator, and a context manager of both kinds.

    The run begins with the first result asked for (or when entered), and the input advances only while a
    result is being waited for. Leaving the `with` block, or dropping this object, stops the run; what the input
    raises on being closed leaves the block, unless another exception does. That one carries what had finished and
    was not handed out, for `partial_results`, which also takes this object. On trio it must be entered with
    `async with`, because nothing else there can own its tasks.

    Several threads, or several tasks of one loop, may read it: each result goes to one of them, and all of them end.
    Waiting for a result in another event loop than the one it was started in is a RuntimeError.
    One that is cancelled while it waits for a result ends the run for all.
    Waiting for one in a call of the run itself, or in its input, is a RuntimeError as well.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[bool], Launched[Any]],
        hand_out: Callable[[Run, Record | None], T],
        watcher: Watcher | None,
    ) -> None:
        super().__init__(name, launch, watcher)
        self._hand_out = hand_out

    if not TYPE_CHECKING:  # type checkers name what is missing by themselves

        def __getattr__(self, name: str) -> Any:
            from fanmap._hints import attributes  # only where something is wrong

            raise attributes.missing(self, "Results", name)

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

    def trace(self, path: str | os.PathLike[str]) -> None:
        """Draw the run as it is now: a page (.html), or trace events (.json); at any time, from any thread.

        Single calls are in it where the run was begun with `trace=`; else what is known without that.

        Args:
            path: of the file; one that is there is replaced.

        Raises:
            TypeError, ValueError: it is no path that ends in .html or .json.
            OSError: it cannot be written.
        """
        from fanmap._trace.target import trace_now  # only where a run is drawn

        trace_now(None if self._launched is None else self._launched.run, path, self._name)

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
        if launched is None or not self._blocking or self._process is not _lazy_run.process:
            launched = self._start(blocking=True)
        try:
            if self._blocks_loop:
                launched.reader.check_task()
            if self._watcher is None and not self._leftover:
                # The record gets no name here: a failure's traceback would lead back to itself.
                result = self._hand_out(launched.run, launched.run.pop_ready())
                if result is not NOTHING_YET:
                    return result
            own = launched.run.is_around_this()
            blocks = not own and launched.run.waits_for_this() and not launched.run.is_over()
            if not own and not blocks:
                result = self._next_in_turn(launched)
                if result is not NOTHING_YET:
                    return result
        except BaseException as error:
            self._over = True
            try:
                launched.reader.finish(launched.cancel, self._turn)
            finally:
                launched.run.ending.attach_partial_results(error)
                self._show_last(launched.run)
            __tracebackhide__ = True
            raise without_our_frames(error)
        if own:
            raise RuntimeError(self._waits_for_itself())
        if blocks:
            raise BridgeError(
                f"{self._name} runs on the background loop, and a blocking read from there would wait for itself: "
                "begin it there with `async for`, or read it in a thread, `await to_async(next)(results)`"
            )
        self._end(launched.run)
        raise StopIteration

    def _next_in_turn(self, launched: Launched[Any]) -> T:
        """Wait for a result; NOTHING_YET: there are no more."""
        run, turn, me = launched.run, self._turn, get_ident()
        inside = turn.held_by(me)
        try:
            threads.take_turn(turn, me)
            if not self._leftover and not self._over:
                result = self._hand_out(run, launched.reader.advance(self._look(run)))
                if result is not NOTHING_YET:
                    return result
                if not self._over:
                    launched.reader.finish(launched.cancel)
                    self._conclude(run)
            return self._hand_out(run, None if self._over else run.results.pop_ready())
        finally:
            if not inside:
                turn.give_back(me)

    def close(self) -> None:
        """Stop the run and wait for what can be waited for; idempotent.

        Raises what the input raises on being closed.
        """
        launched, over = self._launched, self._over
        self._over = True
        if launched is not None and not over and not self._is_forked():
            if not self._blocking or launched.run.waits_for_this() or sys.is_finalizing():
                self._close_from_elsewhere(launched)
                return
            launched.run.ending.ignore_input_error()
            launched.reader.finish(launched.cancel, self._turn)
            self._end(launched.run)
            launched.run.ending.raise_close_error()

    def __enter__(self) -> Self:
        self._start(blocking=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        over = self._over
        try:
            self.close()
        except Exception:
            if error is None:  # else what left the block goes on
                raise
        finally:
            if error is not None and not over:
                self._attach_partial_results(error)

    # From async code

    @override
    def __aiter__(self) -> Self:
        return self

    @override
    async def __anext__(self) -> T:
        if self._over:
            raise StopAsyncIteration
        launched = self._launched
        if launched is None or self._blocking or self._process is not _lazy_run.process:
            launched = self._start(blocking=False)
        try:
            if self._watcher is None and not self._leftover:
                # The record gets no name here: a failure's traceback would lead back to itself.
                result = self._hand_out(launched.run, launched.run.pop_ready())
                if result is not NOTHING_YET:
                    return result
            here = launched.reader.is_here()
            own = here and self._is_own(launched)
            if here and not own:
                result = await self._anext_in_turn(launched)
                if result is not NOTHING_YET:
                    return result
        except GeneratorExit as error:  # the coroutine is closed, perhaps after its loop: it must not await
            self._abandon(launched)
            self._attach_partial_results(error)
            raise
        except BaseException as error:
            if not launched.reader.is_here():
                self._abandon(launched)
                self._attach_partial_results(error)
                raise
            self._over = True
            try:
                await launched.reader.finish(launched.cancel, self._turn)
            finally:
                launched.run.ending.attach_partial_results(error)
                self._show_last(launched.run)
            __tracebackhide__ = True
            raise without_our_frames(error)
        if not here:  # nothing there can wake this task
            raise RuntimeError(f"{self._name} was started in another event loop: read it there, or close it")
        if own:
            raise RuntimeError(self._waits_for_itself())
        self._end(launched.run)
        raise StopAsyncIteration

    async def _anext_in_turn(self, launched: Launched[Any]) -> T:
        """Wait for a result; NOTHING_YET: there are no more."""
        run, turn, me = launched.run, self._turn, launched.reader.me()
        inside = turn.held_by(me)
        try:
            await launched.reader.take_turn(turn, me)
            if not self._leftover and not self._over:
                result = self._hand_out(run, await launched.reader.advance(self._look(run)))
                if result is not NOTHING_YET:
                    return result
                if not self._over:
                    await launched.reader.finish(launched.cancel)
                    self._conclude(run)
            return self._hand_out(run, None if self._over else run.results.pop_ready())
        finally:
            if not inside:
                turn.give_back(me)

    async def aclose(self) -> None:
        """Stop the run and wait for its tasks; idempotent. Raises what the input raises on being closed."""
        if self._blocking:
            self.close()
            return
        launched, over = self._launched, self._over
        self._over = True
        if launched is not None and not over and not self._is_forked():
            if not launched.reader.is_here() or self._is_own(launched):
                self._close_from_elsewhere(launched)
                return
            launched.run.ending.ignore_input_error()
            await launched.reader.finish(launched.cancel, self._turn)
            self._end(launched.run)
            launched.run.ending.raise_close_error()

    async def __aenter__(self) -> Self:
        self._entered = True
        self._start(blocking=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        over, launched = self._over, self._launched
        closed = kind is not None and issubclass(kind, GeneratorExit)
        if closed and error is not None and launched is not None and not over:
            self._abandon(launched)  # as in `__anext__`
            self._attach_partial_results(error)
            return
        try:
            await self.aclose()
        except Exception:
            if error is None:  # else what left the block goes on
                raise
        finally:
            if error is not None and not over:
                self._attach_partial_results(error)
