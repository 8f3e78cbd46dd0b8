"""What happened in a simulated world, and whether it was allowed to: the guarantees, one method each."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import math
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from fanmap import DeadlineExceeded, NotRun, Retry, partial_results
from fanmap._drive import clock, on_top
from fanmap._policy.journals.journal import read_line
from fanmap._policy.limits.permit import RELEASED, Permit

from .model import FINAL, GROUPED, MENDABLE, REFUSAL, SPENT, Item, expected
from .troubles import BLOCKED, CANCELLED, CLOSED, DEAD, INTERRUPTED

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
    dead: bool = False  # nobody was there to answer it
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


class Left(Exception):
    """What a program raises in the body of its loop."""


def is_a(error: BaseException, kinds) -> bool:
    """As `isinstance`, of an exception that may lie about its class."""
    return issubclass(type(error), kinds)


def objects(error: BaseException) -> bool:
    """Does it object to being looked at?"""
    return type(error).__name__.startswith("Hostile")


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
        self.let_out: Collection[Permit] = ()  # over the limit, where code of the user's waits on top of the engine
        self.wrong: list[str] = []
        self.outages: list[float] = []  # when a probe failed
        self.calls: list[Call] = []
        self.starts: list[tuple[float, float]] = []
        self.waits: list[tuple[float, float, Item | None]] = []  # the item: it alone is held
        self.trace = hashlib.sha256()
        self.running = 0
        self.threads_overtake = False
        self.events = 0
        self.faults: dict[str, int] = {}
        self.troubles: frozenset[str] = frozenset()
        self.failures = 0  # in a row, that a repeat might mend

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
                and not self.set_aside(failed)
            ):
                self.blame("G7", f"{item.value} started after item {failed.item.index} had failed")
        if left_over.get() is not None:
            self.blame("isolation", f"{item.value} sees what {left_over.get()} left")
        for said, until, alone in self.waits:
            # Where code of the user's waits on top of the engine, calls are let out whatever holds them.
            if said < now < until - EPSILON and alone in (None, item) and not on_top.somebody_waits():
                self.blame("G5", f"{item.value} started {until - now:.3f} s before a named wait was over")
        run.active += 1
        if not previous:
            run.started += 1
        if call.parent is not None:
            call.parent.inside += 1
            if call.parent.inside == 1 and not call.parent.late:
                self.running -= 1
        self.running += 1
        if self.running > self.most():
            self._sweep()
        if self.running > self.most():
            self.blame("G2", f"{self.running} calls at once, of {self.limit}")
        return call

    def most(self):
        """Calls that may be under way."""
        return self.limit + sum(permit.state != RELEASED for permit in self.let_out)

    def _sweep(self):
        """Calls that a timeout has left behind no longer count."""
        for call in self.calls:
            timeout = call.item.run.timeout
            if call.ended is None and not call.late and timeout and clock.now() >= call.started + timeout:
                call.late = True
                self.running -= call.inside == 0

    def outage_since(self, item: Item) -> bool:
        """Was there an outage since its first start? An item that was set aside in one has one more attempt after it."""
        first = min(call.started for call in item.calls)
        return any(first <= at for at in self.outages)

    def set_aside(self, last: Call) -> bool:
        """May the item whose attempts ended with this one have failed in an outage, and not for good?"""
        mends = isinstance(last.item.run.retry, Retry) and last.kind not in (None, FINAL, SPENT)
        return mends and self.outage_since(last.item)

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
        if kind in (REFUSAL, GROUPED) and wait is not None and heard:
            # From its third in a row on, and with answers to others between, it may be this item's own trouble.
            refusals = sum(other.kind == REFUSAL for other in call.item.calls)
            self.waits.append((now, now + wait, call.item if refusals >= 3 else None))
        self.failures = 0 if kind is None else self.failures + (kind == MENDABLE and isinstance(run.retry, Retry))
        if not (kind == REFUSAL or came_through(call)) or run.retry is False:
            retry = run.retry
            counted = sum(c.kind != REFUSAL for c in call.item.calls)
            ends = kind in (None, FINAL, SPENT, GROUPED)
            mends = not ends and isinstance(retry, Retry) and counted < retry.attempts
            aside = kind == MENDABLE and (DEAD in self.troubles or self.failures >= 2)  # perhaps
            if not mends and not call.late and not aside:
                run.final[call.item.index] = call

    def leave_behind(self, thread: int):
        """The event loop of this thread is no more: its calls never end, and nothing of it starts."""
        for call in self.calls:
            run = call.item.run
            if run.thread == thread:
                run.over, run.over_at = True, clock.now()
                call.error = None  # its traceback leads to the loop, which nobody is to keep
                if call.ended is None and not call.late:
                    call.late = True
                    self.running -= call.inside == 0

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
        elif previous.kind in (None, FINAL, SPENT, GROUPED) and not previous.late:
            self.blame("G6", f"{item.value} was sent again after {previous.kind or 'an answer'}")
        elif came_through(previous):
            pass
        elif previous.kind != REFUSAL and retry is None:
            self.blame("G6", f"{item.value} was sent again unasked after {previous.kind}")
        elif isinstance(retry, Retry) and counted >= retry.attempts and not self.outage_since(item):
            self.blame("G6", f"{item.value}: attempt {counted + 1} of {retry.attempts}")
        elif (
            isinstance(retry, Retry)
            and clock.now() > item.calls[0].started + retry.total + EPSILON
            and not self.outage_since(item)
        ):
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
        elif index not in run.recorded and not self._succeeded(run, index):
            self.blame("G1", f"{run.name}[{index}] never succeeded")
        if run.journal is not None and index not in self.kept(run):
            self.blame("G8", f"{run.name}[{index}] was handed out and is not in the journal")

    def _succeeded(self, run: RunLog, index: int) -> bool:
        if index in run.final and run.final[index].error is None:
            return True
        # A loop that was blocked beyond the timeout of a call may find its answer there all the same.
        calls = [call for item in run.items if item.index == index for call in item.calls]
        return BLOCKED in self.troubles and bool(calls) and calls[-1].ended is not None and calls[-1].error is None

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
        if is_a(error, (NotRun, DeadlineExceeded)):
            called = [call for item in run.items if item.index == index for call in item.calls]
            if is_a(error, NotRun) and called and not any(call.error is error for call in called):
                self.blame("G1", f"{run.name}[{index}] is NotRun and had been run")
            if error.__cause__ is None and not self.hopeless(error):
                self.blame("G1", f"{run.name}[{index}]: {type(error).__name__} without a cause")
            return
        if is_a(error, TimeoutError) and run.timeout is not None:
            return
        if is_a(error, asyncio.CancelledError) and CANCELLED in self.troubles:
            return
        item = next((item for item in run.items if item.index == index), None)
        if item is None or not any(call.error is error for call in item.calls):
            self.blame("G1", f"{run.name}[{index}] has somebody else's failure: {error!r}")
        elif self._deterministic(run):
            last = item.calls[-1]
            if last.dead and isinstance(run.retry, Retry) and not run.direct and self.failures > 9:
                self.blame("outage", f"{run.name}[{index}] was lost in an outage")
            if any(call.dead for call in item.calls) or any(call.dead and call.error is error for call in self.calls):
                return  # its attempts, or those of a call inside it, are not those that it was to have
            kind, _ = expected(self.mix, item, run.retry)
            found = item.calls[-1].kind
            # A spent account stops the run: who waits to be sent again ends with what the last attempt came to.
            stopped = found == REFUSAL and any(call.kind == SPENT for one in run.items for call in one.calls)
            if found != kind and not (stopped and item.calls[-1].error is error):
                self.blame("G1", f"{run.name}[{index}] failed with {found}, not {kind}")

    def hopeless(self, error: BaseException) -> bool:
        """Was it told that somebody else's refusal keeps the gate closed for longer than max_wait?"""
        if self.max_wait > 1e5 or objects(error):
            return False
        # An item that was run ends with its last failure, and a note that says so.
        said = [str(error)] if is_a(error, NotRun) else getattr(error, "__notes__", ())
        return any("longer than max_wait=" in text or "failed for max_wait=" in text for text in said)

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
        # Threads are left behind at a run's deadline, though a slow consumer reads on.
        until = now if run.deadline is None or run.in_tasks else min(now, run.began + run.deadline)
        for index, call in run.final.items():
            if call.error is None and call.ended < until - EPSILON and index not in partial and index not in handed:
                self.blame("G8", f"{run.name}[{index}] had finished and is lost ({type(error).__name__})")
        if is_a(error, DeadlineExceeded):
            if run.deadline is None or now < run.began + run.deadline - EPSILON:
                self.blame("G7", f"{run.name} was cut before its deadline")
            return
        if is_a(error, (asyncio.CancelledError, Left)) or type(error).__name__ == "Cancelled":
            return
        owner = next((item for item in run.items for call in item.calls if call.error is error), None)
        if owner is None:
            if not (is_a(error, TimeoutError) and run.timeout is not None) and not self.hopeless(error):
                self.blame("G7", f"{run.name} raised what no item of it raised: {error!r}")
            return
        notes = [] if objects(error) else getattr(error, "__notes__", [])
        if not objects(error) and not any(note.startswith(f"fanmap: item {owner.index} of ") for note in notes):
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
        if CLOSED in self.troubles:
            admission.sweep()  # what comes back as soon as somebody waits
        if admission.in_flight() or admission.waiting():
            self.blame("G12", f"{admission.in_flight()} slots held and {admission.waiting()} in line at the end")
        if self.running:
            self.blame("G12", f"{self.running} calls under way at the end")


class Queue:
    """G4: first come, first served within the foreground and within the background, and the foreground first.

    Sees who asks and who is let in; calls on a lent slot are apart.
    """

    def __init__(self, book, budget):
        self.book, self.asked, self.order, self.lent = book, 0, {}, set()
        self.last = {False: -math.inf, True: -math.inf}
        self.polling = False
        self.in_turn = set()  # those let in as the turn was theirs
        admission = budget.admission
        inner = admission

        class Watched(type(admission)):
            __slots__ = ()

            def ask(_, permit):
                self.asked += 1
                self.order[permit] = self.asked
                super().ask(permit)

            def _lend(_, lender, borrower):
                super()._lend(lender, borrower)
                self.order.pop(borrower, None)  # on its parent's slot it may overtake
                self.lent.add(borrower)

            def charge_anew(_, permit, costs):
                waits = super().charge_anew(permit, costs)
                if waits:
                    self.lent.add(permit)  # as well: it goes on with a slot that it has
                return waits

            def _back_in_line(_, permit):
                super()._back_in_line(permit)
                self.lent.add(permit)  # as well: it came too late for its appointment

            def start(_, permit, now):
                started = super().start(permit, now)
                if started:
                    self.asked += 1
                    if _.waiting():
                        self.blame("a call started at once although others wait")
                    self.last[permit.background] = max(self.last[permit.background], self.asked)
                return started

            def renew(_, permit, costs, now):
                behind = 0 if _.turns is None else len(_.turns.for_slot) + len(_.turns.for_start)
                waiting = _.waiting() - (0 if permit.background else behind)
                kept = super().renew(permit, costs, now)
                if kept and waiting:
                    self.blame("a slot was kept for the next item although others wait")
                return kept

            def poll(_, now, here=None):
                due = _.turns is not None and _.turns.due()
                within, self.polling = self.polling, True
                appointed = super().poll(now, here)
                self.polling = within
                if within:  # it polls again where the next slot is the background's
                    self.in_turn.update(appointed if due else ())
                    return appointed
                for permit in appointed:
                    self.granted(permit)
                    ahead = permit.background and permit.lender is None and permit not in self.lent
                    if ahead and not (due or permit in self.in_turn) and _.waiting_for_slot():
                        self.blame("a call in the background was let in while the foreground waits for a slot")
                return appointed

        inner.__class__ = Watched

        class Watching(type(budget._brake)):
            __slots__ = ()

            def failed(_, now, chance, started):
                probe = super().failed(now, chance, started)
                if _.outage or _.failures >= 2:  # attempts run out in a row of everybody's failures, at least two
                    self.book.outages.append(now)
                return probe

        budget._brake.__class__ = Watching

    def blame(self, text):
        # A call on top of a section of ours overtakes; a loop that is blocked or gone is passed over.
        if not self.book.troubles & {BLOCKED, CLOSED, INTERRUPTED}:
            self.book.blame("G4", text)

    def granted(self, permit):
        place = self.order.pop(permit, None)
        if place is None:
            if permit not in self.lent:
                self.blame("somebody was let in who never asked")
            self.lent.discard(permit)
            return
        last = self.last[permit.background]
        if place < last:
            self.blame(f"the call that asked as number {place} was overtaken by number {last}")
        self.last[permit.background] = max(last, place)
