"""A run: order, lock and wake-ups between a crew of workers and one consumer.

Workers pull: each takes the next item, asks for admission, calls, hands in the outcome, takes the next.
The consumer feeds the input and takes the results. Which item starts and which result leaves is
`_policy.order`'s decision; here are its lock, the read-ahead, and who is woken when. Nothing here waits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Final, Protocol

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.budget import Scope, counts
from fanmap._drive.calls import BACK_OFF, CALLING, END, IN_LINE, NEW, WAIT, Caller, Plan, Todo
from fanmap._errors import DeadlineExceeded, NotRun, attach_partial, note_item
from fanmap._policy.order import Order
from fanmap._types import RunStats, Tally

FEED: Final = Todo("FEED")  # step the input once: `run.feed()`
READY: Final = Todo("READY")  # a result may leave: `run.leaving()`


class Waiter(Protocol):
    """Somebody who can be woken from any thread; a wake-up before the wait is not lost."""

    def wake(self) -> None: ...


class Crew(Protocol):
    """How the workers of a run live: as threads, or as tasks of one loop.

    Attributes:
        abandons: a stopped run does not wait for calls under way (threads cannot be cancelled).
        in_callers_loop: workers run where the consumer runs, and may step its input.
    """

    abandons: bool
    in_callers_loop: bool

    def spawn(self, worker: Worker) -> None: ...
    def rouse(self, workers: Sequence[Worker]) -> None: ...
    def cancel(self) -> None: ...


class Worker(Caller):
    """One puller of a run."""

    __slots__ = ("index", "report", "run")

    def __init__(self, run: Run) -> None:
        super().__init__(run.plan, run.outer, run.owner, self)
        self.run = run
        self.index = -1
        # What the last item came to, for the next context to report; see the drivers.
        self.report: tuple[Any, BaseException | None] | None = None

    @override
    def step(self) -> Todo:
        phase = self._phase
        if phase == NEW:
            self.queued = clock.now()
            return self._next(self.run.take(self))
        if (phase in (IN_LINE, BACK_OFF)) and not self.run.may_start(self.index):
            self._drop()
            return self._next(self.run.take(self))
        return super().step()

    def resume(self) -> Todo:
        """The first step in a new thread, task or context: report what the last item came to, or begin."""
        report, self.report = self.report, None
        if report is None:
            return self.step()
        value, error = report
        del report
        try:
            return self.returned(value) if error is None else self.raised(error)
        finally:
            del error

    @override
    def quit(self) -> None:
        self._drop()
        super().quit()

    def _drop(self) -> None:
        """The item in hand will not be called (any more)."""
        discard = self.plan.discard
        if discard is not None and self._calls == 0 and self._phase == IN_LINE:
            discard(self.item)
        if self._phase == BACK_OFF:
            self.tally.backing_off -= 1
        self._release()
        self._phase = NEW

    def begun(self) -> bool:
        """Has its item been started, ever?"""
        return self._phase == CALLING or (self._calls > 0 and self._phase in (IN_LINE, BACK_OFF))

    def calling(self) -> bool:
        """Is its call under way?"""
        return self._phase == CALLING

    def waiting(self) -> bool:
        """Does its item wait for a slot, a rate or its next attempt?"""
        return self._phase in (IN_LINE, BACK_OFF)

    @override
    def _deliver(self, value: Any, error: BaseException | None, *, stop: bool) -> Todo:
        self._phase = NEW
        run = self.run
        if error is None:
            todo = run.hand_in(self, value, None)
            return self._start_item() if todo is None else self._next(todo)
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            run.interrupt(error)
        elif isinstance(error, (StopIteration, StopAsyncIteration)):  # would pass for the end of `imap`
            stopped = RuntimeError(f"{self.plan.name} raised {type(error).__name__}")
            stopped.__cause__ = error
            error = stopped
        try:
            return self._next(run.hand_in(self, None, error, stop=stop))
        finally:
            del error

    @override
    def _too_late(self, when: float) -> bool:
        return self.run.deadline is not None and when > self.run.deadline

    def _next(self, todo: Todo | None) -> Todo:
        if todo is None:
            return self._start_item()
        self._release()
        self._phase = NEW
        self.delay = None
        return todo


class Run:
    """One run over one input.

    Args:
        plan: how items become calls.
        order: its books.
        source: a list, tuple or range, which workers index; an iterator, which is stepped where the caller
            stands; None: an async iterable, which a feeder task pushes.
        workers: how many at once, at most.
        deadline: on the clock, or None.
        keep_failures: stand failures in their item's place (`return_exceptions=True`).
        outer: the call around this run, whose slot its calls may borrow.
        owner: the thread whose event loop makes the calls; None: worker threads do.
    """

    def __init__(
        self,
        plan: Plan,
        order: Order,
        source: Sequence[Any] | Iterator[Any] | None,
        *,
        total: int | None,
        workers: int,
        deadline: float | None,
        keep_failures: bool,
        outer: Scope | None,
        owner: int | None,
    ) -> None:
        self.plan = plan
        self.order = order
        self.outer = outer
        self.owner = owner
        self.total = total
        self.keep_failures = keep_failures
        self.began = clock.now()
        self._seconds = deadline
        self.deadline = None if deadline is None else self.began + deadline
        self.max_workers = workers
        self.delay: float | None = None  # for the consumer, after WAIT
        self.tick: float | None = None  # seconds between looks of a consumer that shows progress
        self.positions: Sequence[int] | None = None  # what an item's index is to the user; None: the same
        self._lock = threading.Lock()
        self._items: Sequence[Any] | None = source if isinstance(source, (list, tuple, range)) else None
        self._iterator: Iterator[Any] | None = None if self._items is not None else source  # type: ignore[assignment]
        self._async_input = source is None
        self._read_ahead: deque[tuple[int, Any, float]] = deque()
        self._capacity = min(max(workers, 16), 8 * workers)
        self._input_over = self._items is not None
        self._input_error: BaseException | None = None
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []
        self._inside = False  # the consumer waits inside: workers in its own loop may step the input
        self._fed = False  # the input was stepped since the last result left
        self._stopping = False
        self._draining = False
        self._closed = False
        self._remembered = False
        self._reason: BaseException | None = None
        self._interrupt: BaseException | None = None
        self._interrupted: frozenset[int] = frozenset()
        self._tally = Tally()  # of workers that are no more
        self._crew: Crew
        self._consumer: Waiter
        self._feeder: Waiter | None = None

    # For whoever puts it together

    def start(self, crew: Crew, consumer: Waiter) -> None:
        """Set the crew to work; the consumer polls from now on."""
        self._crew, self._consumer = crew, consumer
        items = self._items
        if items is None:
            return
        for _ in range(min(self.max_workers, len(items), self.plan.budget.admission.limit + 1)):
            self._spawn()

    def attach_feeder(self, feeder: Waiter) -> None:
        """A feeder task pushes the input."""
        self._feeder = feeder

    def fed(self, error: BaseException | None) -> None:
        """The feeder task has ended, and closed its input."""
        self._feeder = None
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            self.interrupt(error)
        else:
            self.end_input(error)

    # For workers

    def take(self, worker: Worker) -> Todo | None:
        """Give the worker its next item (None), or tell it to wait or to end."""
        with self._lock:
            todo = self._take(worker)
        return self._pull(worker) if todo is FEED else todo

    def hand_in(self, worker: Worker, value: Any, error: BaseException | None, *, stop: bool = False) -> Todo | None:
        """An item ended; then as `take`."""
        ended = clock.now()
        rouse: Sequence[Worker] = ()
        wake = False
        order, workers = self.order, self._workers
        record = (worker.index, value, error, worker.attempts, worker.queued, worker.started, ended)
        with self._lock:
            if not self._closed:
                order.end(record)
                if error is not None:
                    if stop and not order.stop_on_failure:
                        self._stop(error, drain=True)
                    if self._stopping or order.cut is not None:
                        rouse, self._idle = tuple(workers), []
                        wake = True
                wake = wake or (self._inside and order.has_leaving())
            worker.queued = ended
            todo = self._take(worker)
            # With a ceiling that grows, workers are hired as it does.
            hire = len(workers) < self.max_workers and len(workers) <= self.plan.budget.admission.limit
        if rouse:
            self._crew.rouse([other for other in rouse if other is not worker])
        if wake:
            self._wake_consumer()
        if hire:
            self._grow()
        return self._pull(worker) if todo is FEED else todo

    def may_start(self, index: int) -> bool:
        """May an item that waits for its turn still start?"""
        return not self._stopping and self.order.may_start(index)

    def left(self, worker: Worker) -> None:
        """A worker is no more."""
        with self._lock:
            if worker in self._workers:
                self._workers.discard(worker)
                self._tally.add(worker.tally)
                self.plan.budget.retire(worker)
            last = not self._workers
        if last:
            self._wake_consumer()

    def interrupt(self, error: BaseException) -> None:
        """KeyboardInterrupt or SystemExit came out of an item: the run ends with it."""
        with self._lock:
            if self._interrupt is None:
                self._interrupt = error
            self._stop(error)
        self.wake_all()

    def stopping(self) -> bool:
        """Has the run been told to stop?"""
        return self._stopping

    # For the consumer

    def poll(self) -> Todo:
        """What to do next: FEED, READY, WAIT (`self.delay` seconds at most) or END."""
        rouse: list[Worker] = []
        feeder: Waiter | None = None
        with self._lock:
            now = clock.now()
            if self.deadline is not None and now >= self.deadline and not self._stopping:
                self._stop(DeadlineExceeded(f"the run of {self.plan.name} took longer than {self._seconds} s"))
            todo = self._poll()
            self._inside = todo is WAIT
            if todo is WAIT:
                self.delay = None if self.deadline is None or self._stopping else max(0.0, self.deadline - now)
                if self.tick is not None:
                    self.delay = self.tick if self.delay is None else min(self.tick, self.delay)
                if self._may_feed():
                    if self._async_input:
                        feeder = self._feeder
                    elif self._crew.in_callers_loop:
                        rouse, self._idle = self._idle, []
        if rouse:
            self._crew.rouse(rouse)
        if feeder is not None:
            feeder.wake()
        if todo is WAIT and self._crew.in_callers_loop and self._iterator is not None:
            self._grow()
        return todo

    def feed(self) -> None:
        """Step the input once, here and now, in the caller's thread or task."""
        assert self._iterator is not None
        try:
            item = next(self._iterator)
        except StopIteration:
            self.end_input(None)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self.end_input(error)
        else:
            self.push(item)

    def push(self, item: Any) -> None:
        """One input has been taken: to a parked worker, a new one, or the read-ahead."""
        rouse: list[Worker] = []
        with self._lock:
            self._fed = True
            self._read_ahead.append((self.order.take(), item, clock.now()))
            if self._idle:
                rouse.append(self._idle.pop())
        if rouse:
            self._crew.rouse(rouse)
        else:
            self._grow()

    def end_input(self, error: BaseException | None) -> None:
        """No more input; with the input's own exception, what was taken still runs to its end."""
        with self._lock:
            self._input_over = True
            self._input_error = error
            rouse, self._idle = self._idle, []
        self._crew.rouse(rouse)
        self._wake_consumer()

    def wants_input(self) -> bool:
        """May a feeder task step the input now?"""
        with self._lock:
            return self._inside and self._may_feed()

    def leaving(self) -> tuple[Any, ...]:
        """The record that may leave (after READY)."""
        with self._lock:
            record, rouse = self._leave()
        if rouse:
            self._crew.rouse(rouse)
        assert record is not None
        return record

    def leaving_now(self) -> tuple[Any, ...] | None:
        """A record that may leave without a `poll`, where a poll would say nothing else; or None."""
        if self._items is None or self.deadline is not None or self._stopping:
            return None
        with self._lock:
            record, rouse = self._leave()
        if rouse:
            self._crew.rouse(rouse)
        return record

    def stop(self, reason: BaseException | None) -> None:
        """Nothing starts from now on. Calls under way are the driver's to cancel."""
        with self._lock:
            self._stop(reason)
        self.wake_all()

    def close(self) -> None:
        """The consumer is gone: what still comes in is dropped, and the input is closed."""
        with self._lock:
            self._closed = self._stopping = True
            unused = [item for _, item, _ in self._read_ahead]
            self._read_ahead.clear()
            iterator, self._iterator = self._iterator, None
        if self.plan.discard is not None:
            for item in unused:
                self.plan.discard(item)
        if isinstance(iterator, Generator):  # not a file, which is its owner's to close
            iterator.close()

    def wake_all(self) -> None:
        """Let every waiting worker see that the run is stopping."""
        with self._lock:
            workers, self._idle = list(self._workers), []
        self._crew.rouse(workers)

    def settled(self) -> bool:
        """Has every worker ended that will be waited for?"""
        if self._feeder is not None:
            return False
        return not self._workers or (self._crew.abandons and self._stopping and not self._draining)

    def conclude(self) -> None:
        """After END: raise what the run ends with, or stand it in the place of every item without an outcome.

        Nothing here keeps an exception that it raises: its traceback holds this run (a reference cycle).
        """
        order = self.order
        failure, order.failure = order.failure, None
        interrupt, self._interrupt = self._interrupt, None
        reason, self._reason = self._reason, None
        input_error, self._input_error = self._input_error, None
        try:
            if interrupt is not None:
                self._raise(interrupt)
            if failure is not None:
                self.blame(*failure)
            if reason is not None:
                if isinstance(reason, DeadlineExceeded) and not self.keep_failures:
                    self._raise(reason)
                self._fill(reason)
            if input_error is not None:
                self._raise(input_error)
        finally:
            del failure, interrupt, reason, input_error

    def blame(self, index: int, error: BaseException) -> None:
        """Raise an item's failure, with a note that names the item."""
        position = index if self.positions is None else self.positions[index]
        note_item(error, f"fanmap: item {position} of {self.plan.name}")
        try:
            self._raise(error)
        finally:
            del error

    def remember(self, error: BaseException) -> None:
        """The run ends with this exception: attach what had finished, and let go of it. Once a run."""
        with self._lock:
            if self._remembered:
                return
            self._remembered = True
            finished = self.order.finished()
            self.order.forget()
        attach_partial(error, finished)

    def stats(self) -> RunStats:
        """Where it stands; from any thread."""
        total = Tally()
        with self._lock:
            order, workers = self.order, list(self._workers)
            total.add(self._tally)
            for worker in workers:
                total.add(worker.tally)
            total.done, total.failed = order.ended, order.failed
            return RunStats(
                in_flight=sum(worker.calling() for worker in workers),
                waiting=sum(worker.waiting() for worker in workers) + len(self._read_ahead),
                ceiling=min(self.max_workers, self.plan.budget.admission.limit),
                total=self.total,
                taken=order.taken,
                seconds=clock.now() - self.began,
                **counts(total),
            )

    # Inside; those without "grow" and "pull" in their name want the lock held

    def _take(self, worker: Worker) -> Todo | None:
        order = self.order
        if self._stopping or order.cut is not None:
            return END
        items = self._items
        if items is not None:
            if order.taken >= len(items):
                return END
            if order.may_take():
                worker.item = items[order.taken]
                worker.index = order.take()
                return None
        elif self._read_ahead:
            worker.index, worker.item, worker.queued = self._read_ahead.popleft()
            if self._inside and not self._input_over and len(self._read_ahead) == self._capacity // 2:
                self._wake_consumer()
            return None
        elif self._input_over:
            return END
        elif self._iterator is not None and self._crew.in_callers_loop and self._inside and order.may_take():
            return FEED
        elif self._inside:
            self._wake_consumer()
        self._idle.append(worker)
        return WAIT

    def _leave(self) -> tuple[tuple[Any, ...] | None, Sequence[Worker]]:
        record = self.order.leaving()
        rouse: list[Worker] = []
        if record is not None:
            self._fed = False
            self._inside = False
            if self._idle and self.order.refill():
                rouse, self._idle = self._idle, rouse
        return record, rouse

    def _poll(self) -> Todo:
        order = self.order
        if (order.failure is not None and order.fails_at_once) or (self._stopping and not self._draining):
            return END
        ready = order.has_leaving()
        hungry = self._iterator is not None and not self._crew.in_callers_loop and self._may_feed()
        if hungry and not (ready and (self._read_ahead or self._fed)):
            return FEED
        if ready:
            return READY
        over = self._input_over and not self._read_ahead and not self._more_items()
        if not self._workers and (over or order.cut is not None or self._stopping):
            return END
        return WAIT

    def _more_items(self) -> bool:
        return self._items is not None and self.order.taken < len(self._items)

    def _may_feed(self) -> bool:
        return (
            not self._input_over
            and not self._stopping
            and len(self._read_ahead) < self._capacity
            and self.order.may_take()
        )

    def _pull(self, worker: Worker) -> Todo | None:
        """A worker in the caller's own loop steps the input itself."""
        assert self._iterator is not None
        try:
            item = next(self._iterator)
        except StopIteration:
            self.end_input(None)
            return END
        except (KeyboardInterrupt, SystemExit) as error:
            self.interrupt(error)
            return END
        except BaseException as error:
            self.end_input(error)
            return END
        with self._lock:
            worker.index, worker.item = self.order.take(), item
        worker.queued = clock.now()
        self._grow()
        return None

    def _wake_consumer(self) -> None:
        try:
            self._consumer.wake()
        except RuntimeError:  # its loop is closed: a call that was left behind has ended
            pass

    def _grow(self) -> None:
        """One more worker, where there may be work for it."""
        with self._lock:
            wanted = (
                len(self._workers) < self.max_workers
                and not self._idle
                and not self._stopping
                and self.order.cut is None
                and len(self._workers) <= self.plan.budget.admission.limit
                and (bool(self._read_ahead) or not self._input_over or self._more_items())
            )
        if wanted:
            self._spawn()

    def _spawn(self) -> None:
        worker = Worker(self)
        worker.queued = clock.now()
        with self._lock:
            if len(self._workers) >= self.max_workers:  # another thread was faster
                self.plan.budget.retire(worker)
                return
            self._workers.add(worker)
        try:
            self._crew.spawn(worker)
        except BaseException:  # no more threads: go on with those there are, if any
            self.left(worker)
            if not self._workers:
                raise

    def _stop(self, reason: BaseException | None, *, drain: bool = False) -> None:
        if self._stopping:
            return
        self._stopping, self._draining, self._reason = True, drain, reason
        self._interrupted = frozenset(worker.index for worker in self._workers if worker.begun())

    def _raise(self, error: BaseException) -> None:
        self.remember(error)
        try:
            raise error
        finally:
            del error

    def _fill(self, reason: BaseException) -> None:
        """Every item that has no outcome gets one: a sized input to its end, of an iterator what was taken."""
        order, now = self.order, clock.now()
        for _ in range(order.taken, self.total or 0):
            order.take()
        late = isinstance(reason, DeadlineExceeded)
        for index in order.missing():
            if late and index in self._interrupted:
                error: Exception = DeadlineExceeded(f"{self._seconds} s were over before the item's end")
            else:
                error = NotRun(f"the run was stopped by {type(reason).__name__} before this item started")
            error.__cause__ = reason
            order.end((index, None, error, 0, now, now, now))
