"""Who works for a run, and whether there is work for more."""

from __future__ import annotations

import math
from typing import Any, Generic, Protocol, TypeVar

from fanmap._policy.runs.effects import HIRE, RUNNING, WAKE_ALL, WAKE_READER, Begun, State, Wake
from fanmap._policy.runs.inputs import InputBuffer
from fanmap._policy.runs.results import ResultBuffer


class Worker(Protocol):
    """Who takes items, as far as it is looked at here."""

    index: int
    retiring: bool

    def begun(self) -> bool:
        """Has its item been started, ever?"""
        ...

    def untried(self) -> bool:
        """Does it wait in line with an item that was never called?"""
        ...

    def timings(self) -> Begun:
        """How far its item has come."""
        ...


W = TypeVar("W", bound=Worker)


class Effects(Protocol):
    """Where the effects go."""

    def append(self, effect: Any, /) -> None: ...


class Hiring(Protocol):
    """How many workers a run may have at this moment, but one."""

    limit: int


class Crew(Generic[W]):
    """The workers of one run, those that wait for work among them.

    Attributes:
        most: workers at once, at most.
        workers: those that live, in the order of their hiring, so that a seed replays its run.
        hired: how many, those included whose hiring has not been carried out.
    """

    __slots__ = ("_effects", "_hiring", "_idle", "hired", "inputs", "most", "results", "state", "workers")

    def __init__(
        self, inputs: InputBuffer, results: ResultBuffer, effects: Effects, *, most: int, hiring: Hiring
    ) -> None:
        self.inputs = inputs
        self.results = results
        self.state: State = RUNNING
        self.most = most
        self.workers: dict[W, None] = {}
        self.hired = 0
        self._effects = effects
        self._hiring = hiring
        self._idle: list[W] = []

    def start(self) -> None:
        """Hire at once for an input that workers index; for any other they are hired as it is stepped."""
        items = self.inputs.items
        if items is not None:
            while self.hired < min(self.most, len(items), self._hiring.limit + 1):
                self._hire()

    def left(self, worker: W | None) -> None:
        """A worker is no more, or (None) could not be hired."""
        self.hired -= 1
        if worker in self._idle:
            self._idle.remove(worker)
        if not self.hired or self._may_hire():
            self._effects.append(WAKE_READER)

    # What workers ask

    def has_more(self) -> bool:
        """Are there items that nobody has tried, for which there is room?"""
        inputs, results = self.inputs, self.results
        return bool(inputs) or (inputs.more(results.taken) and results.may_take())

    def has_others(self) -> bool:
        """The same, or some that came back?"""
        return bool(self.inputs.aside or self.inputs.returned) or self.has_more()

    def waits_untried(self) -> bool:
        """Does a worker wait in line with one that was never sent?"""
        return any(worker.untried() for worker in list(self.workers))  # asked while others come and go

    def has_less_tried(self, calls: int) -> bool:
        """Can a worker take one now, without a step of the input, that was sent less often? At any time, by anybody."""
        inputs, results = self.inputs, self.results
        if self.state is not RUNNING or results.cut is not None:
            return False
        if inputs or (inputs.items is not None and inputs.more(results.taken) and results.may_take()):
            return True
        return any(one.calls < calls for one in list(inputs.aside))  # asked while others take and put back

    def work_left(self) -> bool:
        """May there be an item that nobody has in hand?"""
        if self.state is not RUNNING:
            return False
        inputs, results = self.inputs, self.results
        return (results.cut is None and inputs.more(results.taken)) or any(
            results.may_start(one.index) for one in (*inputs.returned, *inputs.aside)
        )

    # Inside

    def _may_hire(self) -> bool:
        return (
            self.hired < self.most
            and not self._idle
            and self.hired <= self._hiring.limit
            and self.state is RUNNING
            and self.hired < self._unended()
            and self.work_left()
        )

    def _unended(self) -> float:
        """Items without an outcome, where it is known how many there are: each has use for one worker."""
        inputs, results = self.inputs, self.results
        if inputs.items is not None:
            return len(inputs.items) - results.ended
        return results.taken - results.ended if inputs.over else math.inf

    def _consider_hiring(self) -> None:
        """One more worker, where there may be work for it."""
        if self._may_hire():
            self._hire()

    def _hire(self) -> None:
        self.hired += 1
        self._effects.append(HIRE)

    def _wake_idle(self) -> None:
        if self._idle:
            idle, self._idle = self._idle, []
            self._effects.append(Wake(idle))

    def _wake_everybody(self) -> None:
        """Those who wait in line too: they are to see that they may not start."""
        self._idle = []
        self._effects.append(WAKE_ALL)
        self._effects.append(WAKE_READER)
