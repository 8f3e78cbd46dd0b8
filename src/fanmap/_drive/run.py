"""A run: order, lock and wake-ups between a crew of workers and one consumer.

Workers pull: each takes the next item, asks for admission, calls, hands in the outcome, takes the next.
The consumer feeds the input and takes the results. Which item starts and which result leaves is
`_policy.order`'s decision; here are its lock, the read-ahead, and who is woken when. Nothing here waits.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from fanmap._drive import clock
from fanmap._drive.budget import Scope, counts
from fanmap._drive.calls import END, WAIT, Plan, Todo
from fanmap._drive.ending import Ending
from fanmap._drive.intake import Intake
from fanmap._drive.worker import Worker
from fanmap._errors import Stopped
from fanmap._policy.order import Order, Record
from fanmap._types import RunStats, Summary, Tally, Wait

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


class Recording(Protocol):
    """A journal beside the run."""

    def new_worker(self, run: Run) -> Worker: ...
    def dress(self, item: Any) -> Any: ...
    def close(self) -> None: ...


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
        recording: keeps outcomes, and gives back those that are kept already; None: nobody does.
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
        recording: Recording | None = None,
    ) -> None:
        self.plan = plan
        self._recording = recording
        self.order = order
        self.outer = outer
        self.owner = owner
        self.total = total
        self.began = clock.now()
        self.deadline = None if deadline is None else self.began + deadline
        self.max_workers = workers
        self.delay: float | None = None  # for the consumer, after WAIT
        self.tokens: float | None = None  # that the results told of which were handed out
        self.tick: float | None = None  # seconds between looks of a consumer that shows progress
        self._lock = threading.Lock()
        self.ending = Ending(plan.name, self._lock, order, total=total, seconds=deadline, keep_failures=keep_failures)
        self._intake = Intake(source, order, workers, None if recording is None else recording.dress)
        self._async_input = source is None
        self._workers: dict[Worker, None] = {}  # in the order of their hiring, so that a seed replays its run
        self._idle: list[Worker] = []
        self._inside = False  # the consumer waits inside: workers in its own loop may step the input
        self._told = False  # and was woken for a result since
        self._fed = False  # the input was stepped since the last result left
        self._stopping = False
        self._draining = False
        self._closed = False
        self._ended: float | None = None
        self._tally = Tally()  # of workers that are no more
        self._crew: Crew
        self._consumer: Waiter
        self._feeder: Waiter | None = None
        self._feeds_itself: bool  # the consumer need not step the input

    # For whoever puts it together

    def attach(self, crew: Crew, consumer: Waiter) -> None:
        """Who works and who consumes; from now on the run can be stopped."""
        self._crew, self._consumer = crew, consumer
        self._feeds_itself = self._intake.items is not None or crew.in_callers_loop

    def start(self) -> None:
        """Set the crew to work; the consumer polls from now on."""
        items = self._intake.items
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

    def hand_in(self, worker: Worker, record: Record, *, stop: bool = False) -> Todo | None:
        """An item ended; then as `take`."""
        rouse: Sequence[Worker] = ()
        wake = False
        order, workers, error = self.order, self._workers, record[2]
        with self._lock:
            if not self._closed:
                # Woken once, the consumer looks until nothing may leave: 1 wake-up for many results.
                if order.end(record) and self._inside and not self._told:
                    wake = self._told = True
                if error is not None:
                    if stop and not order.stop_on_failure:
                        self._stop(error, drain=True)
                    if self._stopping or order.cut is not None:
                        rouse, self._idle = tuple(workers), []
                        wake = True
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
                self._workers.pop(worker, None)
                self._tally.add(worker.tally)
                self.plan.budget.retire(worker)
            last = not self._workers
        if last:
            self._wake_consumer()

    def interrupt(self, error: BaseException) -> None:
        """KeyboardInterrupt or SystemExit came out of an item: the run ends with it."""
        with self._lock:
            if self.ending.interrupt is None:
                self.ending.interrupt = error
            self._stop(error)
        self.wake_all()

    def break_off(self, error: Exception) -> None:
        """Results can no longer be kept: calls under way end, nothing else starts, and the run ends with this."""
        with self._lock:
            if self.ending.broken is None:
                self.ending.broken = error
            self._stop(error, drain=True)
        self.wake_all()

    def stop_on_purpose(self) -> None:
        """Calls under way end and their results still leave; nothing else starts. From any thread."""
        with self._lock:
            if not self._stopping:
                self._stop(Stopped(), drain=True)
        self.wake_all()
        self._wake_consumer()

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
            if self.deadline is not None and now >= self.deadline and (self._draining or not self._stopping):
                self._stop(self.ending.deadline())
            todo = self._poll()
            self._inside, self._told = todo is WAIT, False
            if todo is WAIT:
                self.delay = None if self.deadline is None else max(0.0, self.deadline - now)
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
        if todo is WAIT and self._crew.in_callers_loop and self._intake.iterator is not None:
            self._grow()
        return todo

    def feed(self) -> None:
        """Step the input once, here and now, in the caller's thread or task."""
        assert self._intake.iterator is not None
        try:
            item = next(self._intake.iterator)
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
            self._intake.put(item, clock.now())
            if self._idle:
                rouse.append(self._idle.pop())
        if rouse:
            self._crew.rouse(rouse)
        else:
            self._grow()

    def dressed(self, item: Any) -> Any:
        """An async input's item as workers take it."""
        return item if self._recording is None else self._recording.dress(item)

    def end_input(self, error: BaseException | None) -> None:
        """No more input; with the input's own exception, what was taken still runs to its end."""
        with self._lock:
            self._intake.over = True
            self.ending.input_error = error
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
        if self.deadline is not None or self._stopping or not self._feeds_itself:
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
            self._ended = self._ended or clock.now()
            unused, generator = self._intake.close()
        if self._recording is not None:
            self._recording.close()
        if self.plan.discard is not None:
            for item in unused:
                self.plan.discard(item)
        if generator is not None:
            try:
                generator.close()
            except Exception as error:  # raised where nothing else is: an item's failure comes first
                if self.ending.input_error is None:
                    self.ending.input_error = error

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

    def stats(self) -> RunStats:
        """Where it stands; from any thread."""
        with self._lock:
            order, workers = self.order, list(self._workers)
            total = self._total()
            total.done, total.failed = order.ended, order.failed
            return RunStats(
                in_flight=sum(worker.calling() for worker in workers),
                waiting=sum(worker.waiting() for worker in workers) + len(self._intake),
                ceiling=min(self.max_workers, self.plan.budget.admission.limit),
                total=self.total,
                taken=order.taken,
                seconds=clock.now() - self.began,
                waiting_for=_most(worker.waiting_for() for worker in workers),
                resumed=total.resumed,
                **counts(total),
            )

    def summary(self) -> Summary:
        """What it has come to; from any thread."""
        with self._lock:
            total, seconds = self._total(), (self._ended or clock.now()) - self.began
            return Summary(
                done=self.order.ended,
                failed=dict(self.order.kinds),
                attempts=total.started - total.refused,
                refused=total.refused,
                resumed=total.resumed,
                seconds=seconds,
                speedup=total.busy / seconds if seconds > 0 else 0.0,
                slowest=tuple((index, longest) for longest, index in total.slowest),
                tokens=self.tokens,
            )

    # Inside; those without "grow" and "pull" in their name want the lock held

    def _total(self) -> Tally:
        total = Tally()
        total.add(self._tally)
        for worker in self._workers:
            total.add(worker.tally)
        return total

    def _take(self, worker: Worker) -> Todo | None:
        order = self.order
        if self._stopping or order.cut is not None:
            return END
        intake = self._intake
        items = intake.items
        if items is not None:
            index = order.taken
            if index >= len(items):
                return END
            if index < order.bound:
                worker.item = items[index]
                worker.index = order.take()
                return None
        elif intake:
            worker.index, worker.item, worker.queued = intake.get()
            if self._inside and intake.runs_dry():
                self._wake_consumer()
            return None
        elif intake.over:
            return END
        elif intake.iterator is not None and self._crew.in_callers_loop and self._inside and order.may_take():
            return FEED
        elif self._inside:
            self._wake_consumer()
        self._idle.append(worker)
        return WAIT

    def _leave(self) -> tuple[tuple[Any, ...] | None, Sequence[Worker]]:
        record = self.order.leaving()
        if record is None:
            return None, ()
        self._fed = self._inside = False
        if not self._idle or not self.order.refill():
            return record, ()
        rouse, self._idle = self._idle, []
        return record, rouse

    def _poll(self) -> Todo:
        order = self.order
        if (order.failure is not None and order.fails_at_once) or (self._stopping and not self._draining):
            return END
        ready = order.has_leaving()
        hungry = self._intake.iterator is not None and not self._crew.in_callers_loop and self._may_feed()
        if hungry and not (ready and (self._intake or self._fed)):
            return FEED
        if ready:
            return READY
        if not self._workers and (self._stopping or order.cut is not None or not self._intake.more()):
            return END
        return WAIT

    def _may_feed(self) -> bool:
        return not self._stopping and self._intake.has_room()

    def _pull(self, worker: Worker) -> Todo | None:
        """A worker in the caller's own loop steps the input itself."""
        assert self._intake.iterator is not None
        try:
            item = next(self._intake.iterator)
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
                and self._intake.more()
            )
        if wanted:
            self._spawn()

    def _spawn(self) -> None:
        worker = Worker(self) if self._recording is None else self._recording.new_worker(self)
        worker.queued = clock.now()
        try:
            with self._lock:
                if len(self._workers) >= self.max_workers:  # another thread was faster
                    self.plan.budget.retire(worker)
                    return
                self._workers[worker] = None
            self._crew.spawn(worker)
        except Exception:  # no more threads: go on with those there are, if any
            self.left(worker)
            if not self._workers:
                raise
        except BaseException:  # Ctrl-C, perhaps before the crew knew of a worker that will be waited for
            if not self._crew.abandons:
                self._crew.spawn(worker)
            raise

    def _stop(self, reason: BaseException | None, *, drain: bool = False) -> None:
        if self._stopping:
            self._draining = self._draining and drain  # even the last calls are no longer waited for
            return
        self._stopping, self._draining = True, drain
        self.ending.because(reason, frozenset(worker.index for worker in self._workers if worker.begun()))


def _most(waits: Iterable[Wait | None]) -> Wait | None:
    """What most of them wait for; the gate holds everybody, so that one there says it for all."""
    count: Counter[Wait] = Counter(wait for wait in waits if wait is not None)
    if "gate" in count:
        return "gate"
    return count.most_common(1)[0][0] if count else None
