"""What happened in a simulated world, and whether it was allowed to: the guarantees, one method each."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import math
import threading
from dataclasses import dataclass, field
from pathlib import Path

from fanmap import DeadlineExceeded, NotRun, Retry, partial_results
from fanmap._drive import clock
from fanmap._policy.journal import read_line

from .model import FINAL, REFUSAL, SPENT, Item, expected

EPSILON = 1e-6  # of float arithmetic on the clock
left_over = contextvars.ContextVar("left_over", default=None)


@dataclass(eq=False)
class Call:
    """One start of a function's body."""

    item: Item
    started: float
    parent: Call | None
    inside: int = 0  # nested calls under way
    ended: float | None = None
    error: BaseException | None = None
    kind: str | None = None
    served: bool = False
    late: bool = False  # left behind by a timeout, or by a stopped run of threads


@dataclass(eq=False)
class RunLog:
    """One run (or a sequence of direct calls), as its caller sees it."""

    name: str
    size: int
    workers: int
    retry: object
    depth: int
    in_tasks: bool
    ordered: bool = False
    direct: bool = False
    timeout: float | None = None
    deadline: float | None = None
    began: float = 0.0
    thread: int = field(default_factory=threading.get_ident)
    parent: Call | None = None
    items: list[Item] = field(default_factory=list)
    started: int = 0
    handed: int = 0
    active: int = 0
    over: bool = False  # the caller has the result or the exception
    over_at: float = 0.0
    inputs_open: bool = False
    stepping: bool = False
    final: dict[int, Call] = field(default_factory=dict)  # the last call of each item that has ended
    journal: Path | None = None
    recorded: frozenset[int] = frozenset()  # what the journal had of it at the beginning


def run_out(call: Call) -> bool:
    """Did it end when its timeout did?"""
    timeout = call.item.run.timeout
    return bool(timeout) and abs(call.ended - call.started - timeout) < EPSILON


def came_through(call: Call) -> bool:
    """Did it end with the refusal of a call inside it, and was it read as refused itself?"""
    return call.kind == "cancelled" and getattr(call.error, "status_code", None) == 429


class Book:
    """Everything that happened under one Limits; `wrong` is what was not allowed."""

    def __init__(self, seed, mix, server, limit, max_wait, rates):
        self.seed, self.mix, self.server = seed, mix, server
        self.limit, self.max_wait, self.rates = limit, max_wait, rates
        self.wrong: list[str] = []
        self.calls: list[Call] = []
        self.starts: list[tuple[float, float]] = []
        self.waits: list[tuple[float, float]] = []
        self.trace = hashlib.sha256()
        self.running = 0
        self.threads_overtake = False
        self.events = 0
        self.faults: dict[str, int] = {}

    def note(self, *what):
        self.events += 1
        self.trace.update(repr((clock.now(), *what)).encode())

    def blame(self, guarantee, text):
        self.wrong.append(f"{guarantee} at {clock.now():.6f}: {text}")

    # Calls

    def begin(self, item: Item) -> Call:
        now, run = clock.now(), item.run
        self.note("start", *item.value)
        call = Call(item, now, run.parent)
        if item.index in run.recorded:
            self.blame("G8", f"{item.value} was in the journal and is called again")
        previous = item.calls[-1] if item.calls else None
        item.calls.append(call)
        self.calls.append(call)
        self.starts.append((now, 1.0 + item.index % 3))
        self._may_repeat(item, previous)
        # A thread may be stopped between its last look at the run and the first line of the function.
        overtaken = not run.in_tasks and now == run.over_at and (self.threads_overtake or run.timeout)
        if run.over and not overtaken:
            self.blame("G7", f"{item.value} started after its run had ended")
        for failed in run.final.values() if run.ordered else ():
            if (
                failed.error is not None
                and failed.item.index < item.index
                and failed.ended < now
                and run.deadline is None
            ):
                self.blame("G7", f"{item.value} started after item {failed.item.index} had failed")
        if left_over.get() is not None:
            self.blame("isolation", f"{item.value} sees what {left_over.get()} left")
        for said, until in self.waits:
            if said < now < until - EPSILON:
                self.blame("G5", f"{item.value} started {until - now:.3f} s before a named wait was over")
        run.active += 1
        if not previous:
            run.started += 1
        if call.parent is not None:
            call.parent.inside += 1
            if call.parent.inside == 1 and not call.parent.late:
                self.running -= 1
        self.running += 1
        if self.running > self.limit:
            self._sweep()
        if self.running > self.limit:
            self.blame("G2", f"{self.running} calls at once, of {self.limit}")
        return call

    def _sweep(self):
        """Calls that a timeout has left behind no longer count."""
        for call in self.calls:
            timeout = call.item.run.timeout
            if call.ended is None and not call.late and timeout and clock.now() >= call.started + timeout:
                call.late = True
                self.running -= call.inside == 0

    def end(self, call: Call, kind: str | None, error: BaseException | None, wait: float | None = None):
        now, run = clock.now(), call.item.run
        self.note("end", *call.item.value, kind)
        timeout = run.timeout
        if not call.late and call.inside == 0:  # else its nested calls, left behind with it, count for it
            self.running -= 1
        call.late = call.late or bool(timeout and now > call.started + timeout)
        call.ended, call.kind, call.error = now, kind, error
        if call.parent is not None:
            call.parent.inside -= 1
            if call.parent.inside == 0 and call.parent.ended is None and not call.parent.late:
                self.running += 1
        run.active -= 1
        heard = not call.late and not (timeout and now >= call.started + timeout)
        self.faults[kind or "answer"] = self.faults.get(kind or "answer", 0) + 1
        if kind == REFUSAL and wait is not None and heard:
            self.waits.append((now, now + wait))
        if not (kind == REFUSAL or came_through(call)) or run.retry is False:
            retry = run.retry
            counted = sum(c.kind != REFUSAL for c in call.item.calls)
            mends = kind not in (None, FINAL, SPENT) and isinstance(retry, Retry) and counted < retry.attempts
            if not mends and not call.late:
                run.final[call.item.index] = call

    def _may_repeat(self, item, previous):
        """G6: unasked, only what was refused; attempts bounded."""
        if previous is None:
            return
        retry = item.run.retry
        counted = sum(call.kind != REFUSAL for call in item.calls[:-1])
        if retry is False:
            self.blame("G6", f"{item.value} was sent twice with retry=False")
        elif previous.ended is None:  # left behind by its timeout
            if not item.run.timeout or clock.now() < previous.started + item.run.timeout:
                self.blame("G6", f"{item.value} was sent again while it ran")
            elif retry is None:
                self.blame("G6", f"{item.value} was sent again unasked after its timeout")
        elif run_out(previous):
            pass  # it ended at the very moment of its timeout: either may have been first
        elif previous.kind in (None, FINAL, SPENT) and not previous.late:
            self.blame("G6", f"{item.value} was sent again after {previous.kind or 'an answer'}")
        elif came_through(previous):
            pass
        elif previous.kind != REFUSAL and retry is None:
            self.blame("G6", f"{item.value} was sent again unasked after {previous.kind}")
        elif isinstance(retry, Retry) and counted >= retry.attempts:
            self.blame("G6", f"{item.value}: attempt {counted + 1} of {retry.attempts}")
        elif isinstance(retry, Retry) and clock.now() > item.calls[0].started + retry.total + EPSILON:
            self.blame("G6", f"{item.value} was sent again although its total was over")

    # Inputs

    def inputs(self, run: RunLog):
        """A generator as input: stepped in one place, never too far ahead, closed at the end."""
        run.inputs_open = True
        try:
            for index in range(run.size):
                self._step(run)
                item = self.item(run, index)
                run.stepping = False
                yield item
        finally:
            run.inputs_open = False

    async def async_inputs(self, run: RunLog, pause):
        run.inputs_open = True
        try:
            for index in range(run.size):
                self._step(run)
                await pause(index)
                item = self.item(run, index)
                run.stepping = False
                yield item
        finally:
            run.inputs_open = False

    def item(self, run: RunLog, index: int) -> Item:
        item = Item(run, index)
        run.items.append(item)
        return item

    def _step(self, run):
        if run.stepping:
            self.blame("G14", f"the input of {run.name} is stepped in two places at once")
        run.stepping = True
        if threading.get_ident() != run.thread:
            self.blame("G14", f"the input of {run.name} is stepped in another thread")
        resumed = sum(item.index in run.recorded for item in run.items)
        base = run.handed if run.ordered else run.started + resumed
        ahead = len(run.items) + 1 - base
        if ahead > run.workers + 8 * run.workers:
            self.blame("G10", f"{run.name}: {ahead} inputs ahead with {run.workers} workers")

    # Outcomes

    def finish(self, run: RunLog):
        """The caller is about to go on: with a result, an exception, or because it left."""
        run.over, run.over_at = True, clock.now()
        self.note("over", run.name)
        if run.active and run.in_tasks:
            self.blame("G7", f"{run.active} calls of {run.name} run on after it")
        if run.inputs_open:
            self.blame("G14", f"the input of {run.name} was not closed")

    def value(self, run: RunLog, index: int, value):
        """G1: the answer of this input, at its index."""
        if value != (run.name, index):
            self.blame("G1", f"{run.name}[{index}] is {value!r}")
        elif index not in run.recorded and (index not in run.final or run.final[index].error is not None):
            self.blame("G1", f"{run.name}[{index}] never succeeded")
        if run.journal is not None and index not in self.kept(run):
            self.blame("G8", f"{run.name}[{index}] was handed out and is not in the journal")

    def kept(self, run: RunLog) -> set[int]:
        """G8: what the journal has of this run, each an answer of its own, and once."""
        found: set[int] = set()
        for line in run.journal.read_bytes().splitlines(keepends=True):
            said = read_line(line)
            if said is None:
                self.blame("G8", f"{run.name}: a line of its journal is damaged")
            elif "value" in said:
                index = said["index"]
                if index in found or said["value"] != [run.name, index]:
                    self.blame("G8", f"{run.name}[{index}] is {said['value']} in the journal, or there twice")
                if index not in run.recorded and (index not in run.final or run.final[index].error is not None):
                    self.blame("G8", f"{run.name}[{index}] is in the journal and never succeeded")
                found.add(index)
        return found

    def outcome(self, run: RunLog, index: int, result):
        """G1: an answer, or the failure that stands in its place."""
        if isinstance(result, BaseException):
            self.failure(run, index, result)
        else:
            self.value(run, index, result)

    def failure(self, run: RunLog, index: int, error):
        """Was this item to fail so?"""
        if isinstance(error, (NotRun, DeadlineExceeded)):
            called = [call for item in run.items if item.index == index for call in item.calls]
            if isinstance(error, NotRun) and called and not any(call.error is error for call in called):
                self.blame("G1", f"{run.name}[{index}] is NotRun and had been run")
            if error.__cause__ is None and not self.hopeless(error):
                self.blame("G1", f"{run.name}[{index}]: {type(error).__name__} without a cause")
            return
        if isinstance(error, TimeoutError) and run.timeout is not None:
            return
        item = next((item for item in run.items if item.index == index), None)
        if item is None or not any(call.error is error for call in item.calls):
            self.blame("G1", f"{run.name}[{index}] has somebody else's failure: {error!r}")
        elif self._deterministic(run):
            kind, _ = expected(self.mix, item, run.retry)
            found = item.calls[-1].kind
            # A spent account stops the run: who waits to be sent again ends with what the last attempt came to.
            stopped = found == REFUSAL and any(call.kind == SPENT for one in run.items for call in one.calls)
            if found != kind and not (stopped and item.calls[-1].error is error):
                self.blame("G1", f"{run.name}[{index}] failed with {found}, not {kind}")

    def hopeless(self, error: BaseException) -> bool:
        """Was it told that somebody else's refusal keeps the gate closed for longer than max_wait?"""
        # An item that was run ends with its last failure, and a note that says so.
        said = [str(error)] if isinstance(error, NotRun) else getattr(error, "__notes__", ())
        return self.max_wait < 1e5 and any("longer than max_wait=" in text for text in said)

    def _deterministic(self, run):
        retry = run.retry
        return (
            run.deadline is None
            and run.timeout is None
            and retry is not False
            and self.max_wait > 1e5
            and (not isinstance(retry, Retry) or retry.total > 1e5)
        )

    def results(self, run: RunLog, results, *, in_place: bool):
        """G1: of a whole run."""
        if len(results) != run.size and run.deadline is None and not in_place:
            self.blame("G1", f"{run.name} has {len(results)} results of {run.size}")
        for index, result in enumerate(results):
            if in_place:
                self.outcome(run, index, result)
            else:
                self.value(run, index, result)
        self.finish(run)

    def ended_with(self, run: RunLog, error: BaseException, *, handed=frozenset()):
        """G7 and G8: the item's own exception with a note, everything that had finished kept."""
        now = clock.now()
        self.finish(run)
        partial = partial_results(error)
        for index, value in partial.items():
            self.value(run, index, value)
        for index, call in run.final.items():
            if call.error is None and call.ended < now - EPSILON and index not in partial and index not in handed:
                self.blame("G8", f"{run.name}[{index}] had finished and is lost ({type(error).__name__})")
        if isinstance(error, DeadlineExceeded):
            if run.deadline is None or now < run.began + run.deadline - EPSILON:
                self.blame("G7", f"{run.name} was cut before its deadline")
            return
        if isinstance(error, asyncio.CancelledError) or type(error).__name__ == "Cancelled":
            return
        owner = next((item for item in run.items for call in item.calls if call.error is error), None)
        if owner is None:
            if not (isinstance(error, TimeoutError) and run.timeout is not None) and not self.hopeless(error):
                self.blame("G7", f"{run.name} raised what no item of it raised: {error!r}")
            return
        notes = getattr(error, "__notes__", [])
        if not any(note.startswith(f"fanmap: item {owner.index} of ") for note in notes):
            self.blame("G7", f"{run.name}: no note names item {owner.index}: {notes}")
        self.failure(run, owner.index, error)

    # At the end

    def check_rates(self):
        """G3: never more than the amount in any half-open window (with costs: plus one call's)."""
        for rate in self.rates:
            costs = [cost if rate.cost is not None else 1.0 for _, cost in self.starts]
            most = rate.amount + (max(costs, default=0.0) if rate.cost is not None else 0.0)
            if rate.burst is not None:
                most = rate.amount + rate.burst - 1 + (max(costs, default=0.0) if rate.cost is not None else 0.0)
            first, inside = 0, 0.0
            for place, (now, _) in enumerate(self.starts):
                inside += costs[place]
                while self.starts[first][0] <= now - rate.per + EPSILON:
                    inside -= costs[first]
                    first += 1
                if inside > most + EPSILON:
                    self.wrong.append(f"G3 at {now:.6f}: {inside} in {rate.per} s of {rate!r}")
                    return

    def check_rest(self, budget):
        """G12: every slot given back, nobody in line."""
        admission = budget.admission
        if admission.in_flight() or admission.waiting():
            self.blame("G12", f"{admission.in_flight()} slots held and {admission.waiting()} in line at the end")
        if self.running:
            self.blame("G12", f"{self.running} calls under way at the end")


class Queue:
    """G4: first come, first served. Sees who asks and who is let in; calls on a lent slot are apart."""

    def __init__(self, book, budget):
        self.book, self.asked, self.order, self.lent, self.last = book, 0, {}, set(), -math.inf
        admission = budget.admission
        inner = admission

        class Watched(type(admission)):
            __slots__ = ()

            def ask(_, ticket):
                self.asked += 1
                self.order[ticket] = self.asked
                super().ask(ticket)

            def _lend(_, lender, borrower):
                super()._lend(lender, borrower)
                self.order.pop(borrower, None)  # on its parent's slot it may overtake
                self.lent.add(borrower)

            def charge_anew(_, ticket, costs):
                waits = super().charge_anew(ticket, costs)
                if waits:
                    self.lent.add(ticket)  # as well: it goes on with a slot that it has
                return waits

            def poll(_, now):
                started = super().poll(now)
                for ticket in started:
                    self.granted(ticket)
                return started

        inner.__class__ = Watched

    def granted(self, ticket):
        place = self.order.pop(ticket, None)
        if place is None:
            if ticket not in self.lent:
                self.book.blame("G4", "somebody was let in who never asked")
            self.lent.discard(ticket)
            return
        if place < self.last:
            self.book.blame("G4", f"the call that asked as number {place} was overtaken by number {self.last}")
        self.last = max(self.last, place)
