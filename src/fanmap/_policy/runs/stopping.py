"""How a run ends, and what becomes of the items that have not.

    RUNNING → DRAINING (what has begun ends, nothing else starts) → STOPPING (nobody is waited for) → CLOSED

An item that has been tried and has no outcome yet ends with its last failure where failures are outcomes. Pure.
"""

from __future__ import annotations

from typing import Any, TypeVar

from fanmap._policy.runs.crew import Crew, Effects, Hiring, Worker
from fanmap._policy.runs.effects import RUNNING, WAKE_READER, Begun, State
from fanmap._policy.runs.inputs import InputBuffer, Unfinished
from fanmap._policy.runs.results import ResultBuffer

W = TypeVar("W", bound=Worker)


class Stopping(Crew[W]):
    """The workers of one run, and its end.

    Attributes:
        reason: why the run was stopped.
        begun_items: how far those had come that were under way then.
        cut: why it no longer waited for those.
    """

    __slots__ = ("_given_up", "begun_items", "cut", "reason")

    def __init__(
        self, inputs: InputBuffer, results: ResultBuffer, effects: Effects, *, most: int, hiring: Hiring
    ) -> None:
        super().__init__(inputs, results, effects, most=most, hiring=hiring)
        self.reason: BaseException | None = None
        self.begun_items: dict[int, Begun] = {}
        self.cut: BaseException | None = None
        self._given_up = 0  # items before this one filled the window, and nobody was answered

    def stop(self, reason: BaseException | None, *, drain: bool = False) -> None:
        """Nothing starts from now on; with `drain`, what has begun is waited for."""
        if self.state is RUNNING:
            self.state = State.DRAINING if drain else State.STOPPING
            begun = {worker.index: worker.timings() for worker in self.workers if worker.begun()}
            unfinished = (*self.inputs.returned, *self.inputs.aside)
            tried = {one.index: (one.calls - one.refusals, one.queued, one.started) for one in unfinished if one.calls}
            self.reason, self.begun_items = reason, {**begun, **tried}
            for one in unfinished:
                self._end_unfinished(one)
        elif self.state is State.DRAINING and not drain:  # even the last calls are no longer waited for
            self.state = State.STOPPING
            self.cut = reason
        self._wake_everybody()

    def never_began(self, index: int) -> None:
        """Its call, which was under way when the run was stopped, has not been made."""
        self.begun_items.pop(index, None)

    def close(self) -> list[Any]:
        """The reader is gone: what still comes in is dropped. Items that were taken and never started."""
        self.state = State.CLOSED
        return self.inputs.unstarted()

    def settled(self, *, abandons: bool) -> bool:
        """Has every worker ended that will be waited for? Threads are left behind by a run that is stopped.

        Asked of those that live: one whose hiring Ctrl-C has cut off never will.
        """
        return not self.workers or (abandons and self.state >= State.STOPPING)

    def unaccounted(self) -> int:
        """Items that were taken and have no outcome, where nothing stopped the run: there are none."""
        if self.reason is not None or self.results.failure is not None:
            return 0
        return self.results.taken - self.results.ended

    def keeps_failures(self) -> bool:
        """The run was stopped, waits for what had begun, and a failure is an outcome like any other.

        Else what waits to be sent again is dropped: its failure would be raised in the place of the reason.
        """
        return self.state is State.DRAINING and not self.results.stop_on_failure

    # Inside

    def _ends_alone(self, index: int) -> bool:
        """Nobody was answered for `max_wait`, and this item has failed: does it end, and the run go on?

        Where those that were tried fill the window, nobody knows of the others: they end with what they came to, and
        the next one that is tried decides.
        """
        results, inputs = self.results, self.inputs
        if index < self._given_up:
            return True
        if self.state is not RUNNING or results.may_take() or results.has_ready():
            return False
        if inputs or not inputs.more(results.taken):
            return False
        self._given_up = results.taken
        for one in inputs.give_up():
            self._end_with_last_failure(one)
        self._effects.append(WAKE_READER)
        return True

    def _end_unfinished(self, unfinished: Unfinished) -> None:
        """A run that is stopped: an item that has been tried ends with its last failure, where that is an outcome."""
        if self.keeps_failures():
            self._end_with_last_failure(unfinished)

    def _end_with_last_failure(self, unfinished: Unfinished) -> None:
        last = None if unfinished.attempts is None else unfinished.attempts.last
        if last is not None:
            attempts = unfinished.calls - unfinished.refusals
            at = unfinished.until
            self.results.add((unfinished.index, None, last, attempts, unfinished.queued, unfinished.started, at))
