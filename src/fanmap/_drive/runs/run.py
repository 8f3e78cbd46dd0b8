"""One run: takes turns with its flow, carries out what that decides, and steps the input, which is user code.

What is decided, is decided in `_policy.runs.flow`. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from threading import get_ident
from typing import Any, cast

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.books import BUSY
from fanmap._drive.calls.plan import Plan
from fanmap._drive.calls.scope import Scope, current_scope
from fanmap._drive.drivers import portal
from fanmap._drive.drivers.loops import me
from fanmap._drive.runs.ending import Ending
from fanmap._drive.runs.ports import Hire, Puller, Recording, Waker, WorkerPool
from fanmap._drive.runs.serving import Serving
from fanmap._errors import DeadlineExceeded
from fanmap._policy.limits.door import Door
from fanmap._policy.limits.permit import Owner
from fanmap._policy.runs.effects import AWAY, HIRE, WAIT, WAKE_READER, Wake, Word
from fanmap._policy.runs.flow import Flow
from fanmap._policy.runs.inputs import InputBuffer
from fanmap._policy.runs.results import Record, ResultBuffer
from fanmap._raw import INTERRUPTS, is_a


class Run(Serving):
    """One run over one input.

    Args:
        plan: how items become calls.
        results: where they go.
        source: a list, tuple or range, which workers index; an iterator, which is stepped where the caller
            stands; None: an async iterable, which a feeder task pushes.
        workers: how many at once, at most.
        deadline: seconds, or None.
        keep_failures: stand failures in their item's place (`return_exceptions=True`).
        max_failures: stop with this failure; None: no number of them.
        outer: the call around this run, whose slot its calls may borrow.
        owner: who makes the calls.
        recording: keeps outcomes, and gives back those that are kept already; None: nobody does.
    """

    def __init__(
        self,
        plan: Plan,
        results: ResultBuffer,
        source: Sequence[Any] | Iterator[Any] | None,
        *,
        total: int | None,
        workers: int,
        deadline: float | None,
        keep_failures: bool,
        outer: Scope | None,
        owner: Owner,
        recording: Recording | None = None,
        max_failures: int | None = None,
    ) -> None:
        super().__init__(plan, results, total)
        self.recording = recording
        self.outer = outer
        self.owner = owner
        self.deadline = None if deadline is None else self.began + deadline
        self.delay: float | None = None  # for the reader, after WAIT
        # A run in the background, or inside a call that was let in, never asks.
        self.door = None if plan.budget.max_waiting is None else Door()
        self._begun_by = 0  # who began to read streams
        self.tick: float | None = None  # seconds between looks of a reader that shows progress
        self._source = source
        self._iterator: Iterator[Any] | None = None
        self._stepped_by = 0  # the thread in which the input is being stepped
        self._to_close: list[Generator[Any, Any, Any]] = []
        items: Sequence[Any] | None = None
        if isinstance(source, (list, tuple, range)) and recording is None:
            items = source
        elif source is not None:
            self._iterator = iter(source) if recording is None else map(recording.attach_key, source)
        self._pool: WorkerPool
        self._reader: Waker
        self._feeder: Waker | None = None
        self._hire: Hire
        self.flow: Flow[Puller] = Flow(
            InputBuffer(items, workers),
            results,
            self.after,
            most=workers,
            hiring=plan.budget.hiring,
            deadline=self.deadline,
            max_failures=max_failures,
            reader_steps=self._iterator is not None,
            late=lambda: DeadlineExceeded(f"the run of {plan.name} took longer than {deadline} s"),
        )
        self.ending = Ending(plan.name, self.flow, total=total, seconds=deadline, keep_failures=keep_failures)
        plan.budget.begin_run(self)
        if plan.streams == "handed out":
            self.read_by = self._begun_by = me()
            plan.budget.begin_streams(self._begun_by)

    # For whoever puts it together

    def attach(self, pool: WorkerPool, reader: Waker, hire: Hire) -> None:
        """Who works, who reads, and how to hire; from now on the run can be stopped."""
        self._pool, self._reader, self._hire = pool, reader, hire

    def start(self) -> None:
        """Set the pool to work; the reader polls from now on."""
        self.post(self.flow.start)

    def attach_feeder(self, feeder: Waker) -> None:
        """A feeder task pushes the input."""
        self._feeder = feeder

    def fed(self, error: BaseException | None) -> None:
        """The feeder task has ended, and closed its input."""
        self._feeder = None
        if error is not None and is_a(error, INTERRUPTS):
            self.interrupt(error)
        else:
            self.end_input(error)

    def new_worker(self) -> Any:
        """A worker that is not everybody's; None: any will do."""
        return None if self.recording is None else self.recording.new_worker(self)

    def hired(self, worker: Puller) -> None:
        """This worker lives from now on."""
        self.flow.workers[worker] = None

    def fired(self, worker: Puller) -> None:
        """This worker never began."""
        self.flow.workers.pop(worker, None)
        self.plan.budget.retire(worker.tally_key)

    # For the reader

    def poll(self) -> Any:
        """A record that may leave; or FEED, WAIT (`self.delay` seconds at most), END."""
        now = clock.now()
        answer = self.do(self.flow.poll, now)
        if answer is BUSY:
            self.post(self._remind_reader)
            self.delay = None
            return WAIT
        if answer is WAIT:
            self.delay = None if self.deadline is None else max(0.0, self.deadline - now)
            if self.tick is not None:
                self.delay = self.tick if self.delay is None else min(self.tick, self.delay)
            feeder = self._feeder
            if feeder is not None and self.flow.may_feed():
                feeder.wake()
        return answer

    def pop_ready(self) -> Record | None:
        """A record that may leave without a `poll`, where a poll would say nothing else; or None."""
        record = self.do(self.flow.pop_ready)
        return None if record is BUSY else record

    def feed(self) -> None:
        """Step the input, here and now, in the caller's thread or task, as often as nothing else is to be done."""
        self._stepped_by = get_ident()  # first: whoever closes looks for it after taking the input away
        try:
            iterator = self._iterator
            if iterator is not None:
                self._step(iterator)
        finally:
            self._stepped_by = 0
            self._close_late()

    def _step(self, iterator: Iterator[Any]) -> None:
        more: bool = True
        while more:
            try:
                item = next(iterator)
            except StopIteration:
                self.end_input(None)
                return
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self.end_input(error)
                return
            more = self.push(item) and self.tick is None

    def push(self, item: Any) -> bool:
        """One input has been taken. True: step it again."""
        more = self.do(self.flow.push, item, clock.now())
        if more is not BUSY:
            return more  # type: ignore[no-any-return]
        self.post(self.flow.push, item, clock.now())
        return False

    def with_key(self, item: Any) -> Any:
        """An async input's item as workers take it: with its key, where there is a journal."""
        return item if self.recording is None else self.recording.attach_key(item)

    def end_input(self, error: BaseException | None) -> None:
        """No more input; with the input's own exception, what was taken still runs to its end."""
        self.ending.input_error = error
        self.post(self.flow.end_input)

    def wants_input(self) -> bool:
        """May a feeder task step the input now?"""
        return self.flow.reader is not AWAY and self.flow.may_feed()

    def close(self) -> None:
        """The reader is gone: what still comes in is dropped, and the input is closed."""
        self._ended = self._ended or clock.now()
        self.post(self._close)
        begun_by, self._begun_by = self._begun_by, 0
        if begun_by:
            self.plan.budget.end_streams(begun_by)
        if self.recording is not None:
            self.recording.close()
        source, self._source, self._iterator = self._source, None, None
        if isinstance(source, Generator):  # not a file, which is its owner's to close
            self._to_close.append(cast("Generator[Any, Any, Any]", source))
            if not self._stepped_by:  # else it closes its own run, or another thread does: after this step
                try:
                    self._close_late()
                except Exception as error:  # raised where nothing else is: an item's failure comes first
                    if self.ending.input_error is None:
                        self.ending.input_error = error

    def _close_late(self) -> None:
        """Of the one that has left and the one that steps the input, the last one closes it."""
        try:
            source = self._to_close.pop()
        except IndexError:
            return
        source.close()

    def settled(self) -> bool:
        """Has every worker ended that will be waited for, and is all that they have said written into the books?"""
        if self._feeder is not None or not self.flow.settled(abandons=self._pool.abandons):
            return False
        if not self._events or self.held_here():
            return True
        self.post(self._remind_reader)  # a worker that will not be waited for has the books, for a moment
        return not self._events

    def is_over(self) -> bool:
        """Has everybody ended, and is there nothing more to call: who reads waits for nobody?"""
        return not self.flow.hired and not self.flow.work_left() and self.settled()

    def waits_for_this(self) -> bool:
        """Is this code inside a call of it that will be waited for, or on the background loop, where its calls are?

        Asked by whoever blocks: then they are on no other loop.
        """
        return not self._pool.abandons and (portal.is_here() or self._calls_this())

    def is_around_this(self) -> bool:
        """Is this code inside a call of it, or in its input?"""
        return self._stepped_by == get_ident() or self._calls_this()

    def _calls_this(self) -> bool:
        scope = current_scope.get()
        if scope is None:
            return False
        inside = [worker.inside() for worker in tuple(self.flow.workers)]
        while scope is not None and scope not in inside:
            scope = scope.outer
        return scope is not None

    # With the books open

    def _close(self) -> None:
        unstarted = self.flow.close()
        if self.plan.discard is not None:
            for item in unstarted:
                self.plan.discard(item)

    def _remind_reader(self) -> None:
        self.after.append(WAKE_READER)

    # With the books closed

    @override
    def act(self, thing: Word | Wake) -> None:
        """Carry out what the flow has decided."""
        effect = thing
        if effect is WAKE_READER:
            try:
                self._reader.wake()
            except RuntimeError:  # its loop is closed: a call that was left behind has ended
                pass
        elif effect is HIRE:
            error = self._hire(self)
            if error is not None:  # no more threads: go on with those there are, if any
                self.post(self._not_hired, error)
                del error
        else:
            self._pool.wake(effect.workers if isinstance(effect, Wake) else list(self.flow.workers))

    def _not_hired(self, error: BaseException) -> None:
        self.flow.left(None)
        if not self.flow.hired and self.flow.work_left():
            if self.ending.interrupt is None:
                self.ending.interrupt = error
            self.flow.stop(error)
