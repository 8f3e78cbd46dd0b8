"""What a run decides: who takes which item, when the input is stepped, which result leaves, and how the run ends.

Events in, tagged values out. `take` and `poll` answer with an item, a record or a word (WAIT, END, FEED); what others
are to be told goes into `effects`, which whoever drives this carries out: WAKE_READER, WAKE_ALL, HIRE, or a `Wake` of
some workers. Pure: told `now`. Each event may come twice (Ctrl-C cuts one off): it counts once.

    state      RUNNING → DRAINING (what has begun ends, nothing else starts) → STOPPING (nobody is waited for) → CLOSED
    reader     AWAY (does something else) → WAITING (for a result) → WOKEN (and looks until nothing may leave) → AWAY
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fanmap._errors import TooManyFailures
from fanmap._policy.runs.crew import Effects, Hiring, Worker
from fanmap._policy.runs.effects import (
    AWAY,
    CLOSED,
    END,
    FEED,
    RUNNING,
    WAIT,
    WAITING,
    WAKE_READER,
    WOKEN,
    Reader,
    State,
    Stop,
    Taken,
    Wake,
    Word,
)  # fmt: skip
from fanmap._policy.runs.inputs import InputBuffer, Unfinished
from fanmap._policy.runs.results import Record, ResultBuffer
from fanmap._policy.runs.stopping import Stopping

W = TypeVar("W", bound=Worker)


class Flow(Stopping[W]):
    """The decisions of one run.

    Args:
        inputs: what is left to start.
        results: what has ended.
        effects: what others are to be told is appended here.
        most: workers at once.
        hiring: by the limits; no more workers than it says, and one to wait, are hired.
        deadline: when the run is stopped, by `late`; None: never.
        late: makes the reason that a run has which took too long.
        max_failures: the failure with which the run is stopped, waiting for what has begun; None: no number of them.
        reader_steps: the input is an iterator, which the reader steps, where it stands.
    """

    __slots__ = ("_deadline", "_fed", "_late", "_max_failures", "_reader_steps", "reader")

    def __init__(
        self,
        inputs: InputBuffer,
        results: ResultBuffer,
        effects: Effects,
        *,
        most: int,
        hiring: Hiring,
        deadline: float | None = None,
        late: Callable[[], BaseException] = TimeoutError,
        max_failures: int | None = None,
        reader_steps: bool = False,
    ) -> None:
        super().__init__(inputs, results, effects, most=most, hiring=hiring)
        self.reader: Reader = AWAY
        self._deadline = deadline
        self._late = late
        self._max_failures = max_failures
        self._reader_steps = reader_steps
        self._fed = False  # the input was stepped since the last result left

    # Workers

    def take(self, worker: W, now: float) -> Taken:
        """The worker's next item; WAIT: it is woken; END."""
        inputs, results = self.inputs, self.results
        if self.state or inputs.returned or results.cut is not None:
            if self.state:
                return END
            if inputs.returned and (due := inputs.take_back(now, results.may_start)) is not None:
                return due
            if results.cut is not None:
                return self._last_chance()
        items = inputs.items
        if items is not None:
            index = results.taken
            if index >= len(items):
                return self._last_chance()
            if index < results.bound:
                return results.take(), items[index], now
        elif inputs:
            entry = inputs.get()
            if self.reader is not AWAY and inputs.at_low_watermark():
                self._effects.append(WAKE_READER)
            return entry
        elif inputs.over:
            return self._last_chance()
        elif self.reader is not AWAY:
            self._effects.append(WAKE_READER)
        if (inputs.returned or inputs.aside) and (tried := self._take_tried()) is not None:
            return tried
        if worker not in self._idle:
            self._idle.append(worker)
        return WAIT

    def complete(self, record: Record, worker: W | None = None, stop: Stop = False) -> Taken:
        """An item has its outcome; with `stop`, one after which no other is worth starting. The worker's next item."""
        if self.state is CLOSED:
            return END
        results, error = self.results, record[2]
        if stop and stop is not True and self._ends_alone(record[0]):
            stop = False
        # Woken once, the reader looks until nothing may leave: 1 wake-up for many results.
        if results.add(record) and self.reader is WAITING:
            self.reader = WOKEN
            self._effects.append(WAKE_READER)
        if error is not None:
            if stop and not results.stop_on_failure:
                self.stop(error, drain=True)
            elif self._max_failures is not None and results.failed >= self._max_failures:
                self.stop(TooManyFailures(results.failed, dict(results.kinds)), drain=True)
            if self.state is not RUNNING or results.cut is not None:
                self._wake_everybody()
        retiring = worker is not None and worker.retiring
        if self.hired < self.most and not retiring:  # in a clean-up that cancels every task, a new one would be left
            self._consider_hiring()
        return END if worker is None or retiring else self.take(worker, record[6])

    def add_chunk(self, chunk: tuple[Any, ...]) -> None:
        """A chunk of an item that is under way is for the reader."""
        if self.state is not CLOSED and self.results.add_chunk(chunk) and self.reader is WAITING:
            self.reader = WOKEN
            self._effects.append(WAKE_READER)

    def put_back(self, unfinished: Unfinished) -> None:
        """A worker ends before its item has, or goes on with others: the item is first in line again when it is due."""
        self.inputs.put_back(unfinished)
        if self.state is not RUNNING:
            self._end_unfinished(unfinished)

    def set_aside(self, unfinished: Unfinished) -> None:
        """An item has failed or was refused where nobody is answered: it waits until somebody is, others go on."""
        if self.state is RUNNING:
            self.inputs.set_aside(unfinished)
        else:
            self._end_unfinished(unfinished)
            self._effects.append(WAKE_READER)

    def recall(self) -> None:
        """Somebody was answered: what was set aside has one more attempt."""
        self.inputs.recall()
        self._wake_idle()
        self._consider_hiring()

    def may_start(self, index: int) -> bool:
        """May an item that waits for its turn still start?"""
        return self.state is RUNNING and self.results.may_start(index)

    # The reader

    def poll(self, now: float) -> Record | Word:
        """A record that may leave; or FEED, WAIT, END."""
        if self._deadline is not None and now >= self._deadline and self.state < State.STOPPING:
            self.stop(self._late())
        results, inputs = self.results, self.inputs
        self.reader = AWAY
        if (results.failure is not None and results.fails_at_once) or self.state >= State.STOPPING:
            return END
        ready = results.has_ready()
        if self._reader_steps and self.may_feed() and not (ready and (inputs or self._fed)):
            return FEED
        if ready:
            return self._pop()
        if not self.hired and not self.work_left():
            return END
        self.reader = WAITING
        self._consider_hiring()
        return WAIT

    def pop_ready(self) -> Record | None:
        """A record that may leave, where a `poll` would say nothing else; or None."""
        if (
            self._deadline is not None
            or self.state is not RUNNING
            or self._reader_steps
            or self.reader is not AWAY  # another one waits, and would sleep on
            or not self.results.has_ready()
        ):
            return None
        return self._pop()

    def push(self, item: Any, now: float) -> bool:
        """The input was stepped: to a parked worker, a new one, or the read-ahead. True: a `poll` would say FEED."""
        self._fed = True
        self.inputs.put((self.results.take(), item, now))
        if self._idle:
            self._effects.append(Wake([self._idle.pop()]))
        else:
            self._consider_hiring()
        return self._deadline is None and self.may_feed() and not self.results.has_ready()

    def end_input(self) -> None:
        """No more input; what was taken still runs to its end."""
        self.inputs.over = True
        self._wake_idle()
        self._effects.append(WAKE_READER)

    def may_feed(self) -> bool:
        """May the input be stepped?"""
        return self.state is RUNNING and self.inputs.has_room() and self.results.may_take()

    # Inside

    def _pop(self) -> Record:
        record = self.results.pop_ready()
        assert record is not None
        self._fed, self.reader = False, AWAY
        if self._idle and self.results.refill():
            self._wake_idle()
        return record

    def _last_chance(self) -> Unfinished | Word:
        return self._take_tried() or END

    def _take_tried(self) -> Unfinished | None:
        """Nothing else can be taken: what was set aside goes on probing, what waits for its time is waited for."""
        inputs, may_start = self.inputs, self.results.may_start
        return inputs.take_aside(may_start) or inputs.take_early(may_start)
