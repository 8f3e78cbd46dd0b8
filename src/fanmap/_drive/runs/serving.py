"""The side of a run that its workers see: items and outcomes, one at a time, and what ends it.

What is decided, is decided in `_policy.runs.flow`. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fanmap._drive import clock
from fanmap._drive.books import BUSY
from fanmap._drive.runs.ending import Ending
from fanmap._drive.runs.ports import Puller
from fanmap._drive.runs.reckoning import Reckoning
from fanmap._errors import Stopped
from fanmap._policy.runs.effects import WAIT, WAKE_READER, State, Stop, Taken, Wake
from fanmap._policy.runs.inputs import Unfinished
from fanmap._policy.runs.results import Record


class Serving(Reckoning):
    """The part of a run that takes turns with its workers, and is stopped. From any thread.

    Attributes:
        ending: what it ends with.
        read_by: who is handed chunks of its streams, as a number; 0: several, or nobody.
    """

    ending: Ending
    read_by = 0

    def take(self, worker: Puller) -> Taken:
        """The worker's next item, or what to do instead."""
        taken = self.do(self.flow.take, worker, clock.now())
        if taken is not BUSY:
            return taken  # type: ignore[no-any-return]
        self.post(self._remind, worker)
        return WAIT

    def complete(self, worker: Puller, record: Record, *, stop: Stop = False) -> Taken:
        """An item has its outcome; then as `take`."""
        taken = self.do(self.flow.complete, record, worker, stop)
        if taken is not BUSY:
            return taken  # type: ignore[no-any-return]
        self.post(self.flow.complete, record, None, stop)
        self.post(self._remind, worker)
        return WAIT

    def put_back(self, unfinished: Unfinished) -> None:
        """A worker ends before its item has."""
        self.post(self.flow.put_back, unfinished)

    def set_aside(self, unfinished: Unfinished) -> None:
        """An item has failed or was refused where nobody is answered."""
        self.post(self.flow.set_aside, unfinished)

    def never_began(self, index: int) -> None:
        """The call of this item, let through before the run was stopped, has not been made."""
        self.post(self.flow.never_began, index)

    def answered(self) -> None:
        """A call has succeeded where none did before, perhaps."""
        if self.flow.inputs.aside and not self.plan.budget.outage():
            self.post(self.flow.recall)

    def others_first(self) -> bool:
        """Nobody is answered: do those go first that were sent less often?"""
        return bool(self.flow.inputs.aside) or self.plan.budget.outage()

    def hand_out(self, index: int, chunk: Any, taken: Callable[[], None]) -> None:
        """A chunk of an item's stream is for the reader, who says that it has been taken."""
        self.post(self.flow.add_chunk, (index, chunk, None, taken))

    def taken_by(self, reader: int) -> None:
        """This one takes a chunk."""
        if reader != self.read_by:
            self.read_by = 0

    def consider(self, hint: Callable[[Any, BaseException], str | None], item: Any, error: BaseException) -> None:
        """An item has failed: is there something to say of the first one?"""
        self.ending.consider(hint, item, error)

    def left(self, worker: Puller) -> None:
        """A worker is no more."""
        self.post(self._left, worker)

    # How it is stopped

    def interrupt(self, error: BaseException) -> None:
        """KeyboardInterrupt or SystemExit came out of an item, perhaps in a group: the run ends with it."""
        if self.ending.interrupt is None:
            self.ending.interrupt = error
        self.stop(error)

    def turn_away(self, error: Exception) -> None:
        """The line was full when the run's first call came: the run ends with that, and nothing has been called."""
        self.interrupt(error)

    def stop(self, reason: BaseException | None) -> None:
        """Nothing starts from now on. Calls under way are the driver's to cancel."""
        self.post(self._stop, reason, False)

    def break_off(self, error: Exception) -> None:
        """Results can no longer be kept: calls under way end, nothing else starts, and the run ends with this."""
        self.ending.broken = self.ending.broken or error
        self.post(self._stop, error, True)

    def stop_for(self, reason: Exception, error: Exception) -> None:
        """Nothing is worth starting any more, as is known from outside: calls under way end, then `error` is raised."""
        self.ending.outside = self.ending.outside or error
        self.post(self._stop, reason, True)

    def stop_on_purpose(self) -> None:
        """Calls under way end and their results still leave; nothing else starts. From any thread."""
        self.post(self._stop_on_purpose)

    def stopping(self) -> bool:
        """Has the run been told to stop?"""
        return self.flow.state is not State.RUNNING

    def abandoned(self) -> bool:
        """Is nothing of what is under way waited for any more?"""
        return self.flow.state >= State.STOPPING

    # With the books open

    def _left(self, worker: Puller) -> None:
        if worker in self.flow.workers:
            self._retired.take(worker.tally)
            del self.flow.workers[worker]
            self.plan.budget.retire(worker.tally_key)
            self.flow.left(worker)

    def _stop(self, reason: BaseException | None, drain: bool) -> None:
        self.flow.stop(reason, drain=drain)

    def _stop_on_purpose(self) -> None:
        if self.flow.state is State.RUNNING:
            self.flow.stop(Stopped(), drain=True)
        self.after.append(WAKE_READER)

    def _remind(self, worker: Puller) -> None:
        self.after.append(Wake([worker]))
