"""Processes under one name, whatever gets lost, comes late or twice, dies, freezes, leaps or is forgotten.

The guarantees of a shared Limits, word by word: never more calls at once than the ceiling (G2'), never more than
`amount` in any window (G3'), nothing inside a wait that was heard of (G5'), nobody passed over for good and no slot
lost for good.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.kinds import EVERY
from fanmap._policy.limits.rate import Rate
from fanmap._policy.shared.told import untold
from fanmap._policy.shared.wanted import wanted
from fanmap._policy.tokens.money import dollars_rate, is_dollars

from ..simulation.shared_world import World

picks = st.integers(0, 10**6)
RATES = [
    [],
    [],
    [Rate(6, 4)],
    [Rate(6, 4, burst=3)],
    [Rate(120, 3)],
    [Rate(3, 3), Rate(10, 20)],
    [Rate(30, 5, cost=len)],
    [Rate(60, math.inf, cost=len)],
    [Rate(9, math.inf)],
    [Rate(120, 3), Rate(40, math.inf, cost=len)],
    [dollars_rate(50.0)],
]
TOLD = [(6.0, 4.0), (120.0, 3.0), (30.0, 20.0), (9.0, 3.0)]  # amounts and windows that a server may tell


class Watched(World):
    """A world that looks at every start."""

    def __init__(self, *args, **more):
        self.excess = False  # more are under way than may be: why is known, and nobody may add to it who has heard
        self.excused = []  # true times around which windows may hold more: (from, until, units)
        self.bills = {}  # what calls took, or may take, since the totals were cleared
        self.telling = None  # in the document: units and window of the limit that the server tells
        self.telling_since = 0.0  # true time
        super().__init__(*args, **more)

    def total(self):
        return sum(process.use for process in self.leased())

    def slots(self):
        document = self.document
        if document is None or not document.ceiling:
            return self.settings.maximum
        return 1 if document.brake[11] or untold(document) else int(document.ceiling[0])

    def all_are_known(self):
        document = self.document
        return (
            document is not None
            and sum(member.allow for member in document.members) <= self.slots()
            and all(one.member.memory == document.memory for one in self.leased())
            and all(document.member(one.member.number) is not None for one in self.leased())
        )

    def arrived(self, process, request):
        before = self.slots()
        fresh = self.document is None
        members = [] if fresh else list(self.document.members)
        super().arrived(process, request)
        if not any(member is one for member in members for one in self.document.members):
            self.bills = {}  # the last one had left
            self.bringing = self.bringing and fresh
        if self.slots() < before:
            self.excess = True
        followed = next((rate for rate in self.document.rates if rate.unit), None)
        number = None if followed is None else (followed.amount, followed.window, followed.burst)
        if number != self.telling or fresh:
            self.telling, self.telling_since = number, self.now
        if fresh and not request.known.memory and self.last_start:
            # Nobody outlived it, or somebody who knew nothing came first.
            self.excess = True
            self.excused.append((self.now, self.now + 5.0, math.inf))

    def answered(self, process, reply):
        leased = process.clock() < process.member.lease
        super().answered(process, reply)
        if not leased and process.use:
            self.excess = True  # its calls are counted again

    def buried_early(self):
        self.excess = True

    def on_slot(self, process, call):
        total, slots = self.total(), self.slots()
        if total < slots and self.all_are_known():
            self.excess = False
        if process.clock() >= process.member.lease:
            return  # one of its calls has given its slot to another
        if not self.excess and total + 1 > slots:
            self.wrong.append(f"{self.now:.3f}: {total + 1} of {slots} slots in use")

    def ended(self, process, call, took):
        if call in self.bills:
            self.bills[call] = took

    def on_total(self, rate, call):
        self.bills[call] = call.cost if rate.cost else 1.0
        most, spent = rate.amount, sum(self.bills.values())
        if is_dollars(rate):
            # Beyond the mean, each of those under way may cost so much more; and before one is known, one is.
            most += sum(max(self.costs) for one in self.processes for _ in one.running) + max(self.costs)
        if spent > most + 1e-6 and not self.bringing:
            self.wrong.append(f"{self.now:.3f}: {spent} of {rate.amount} in all")

    def on_followed(self):
        """What has started since the document has this number, and what was booked before is over, fits in it."""
        if self.telling is None:
            return
        amount, window, burst = self.telling
        since = max(self.now - window, self.telling_since + 0.5)
        within = sum(1 for at, _, _ in self.starts if at > since)
        most = amount
        for begin, end, units in self.excused:
            if begin - window < self.now < end + window:
                most += burst + 1 if math.isnan(units) else units
        if within > most + 1e-6:
            self.wrong.append(f"{self.now:.3f}: {within} of {amount} in {window} s, as the server tells")

    def on_start(self, process, call):
        for rate in self.rates:
            if rate.per == math.inf:
                self.on_total(rate, call)
        self.on_followed()
        longest = max((rate.per for rate in self.rates if rate.per < math.inf), default=0.0)
        longest = max(longest, max(window for _, window in TOLD) if self.told is not None else 0.0)
        self.starts = [start for start in self.starts if start[0] > self.now - longest]
        for rate, state in zip(self.rates, process.member.settings.rates, strict=False):
            if rate.per == math.inf:
                continue
            within = sum(cost if rate.cost else 1.0 for at, cost, _ in self.starts if at > self.now - rate.per)
            most = rate.amount
            if rate.cost:
                most += max(self.costs)
            elif rate.burst:
                most += rate.burst - 1
            for begin, end, units in self.excused:
                if begin - rate.per < self.now < end + rate.per:
                    most += state.burst + max(self.costs) if math.isnan(units) else units
            if within > most + 1e-6:
                self.wrong.append(f"{self.now:.3f}: {within} of {rate.amount} in {rate.per} s")


class SharedMachine(RuleBasedStateMachine):
    """Everything that may go wrong, in any order."""

    world_class = Watched

    @initialize(
        slots=st.sampled_from([1, 2, 3, 5, 12]),
        rates=st.sampled_from(RATES),
        seed=picks,
        file=st.booleans(),
        auto=st.booleans(),
        jobs=st.booleans(),
        follow=st.sampled_from([False, False, True]),
    )
    def begin(self, slots, rates, seed, file, auto, jobs, follow):
        concurrency = Adaptive(min(2, slots), 1, slots) if auto else Adaptive(slots, 1, slots)
        costs = (1.0, 2.0, 7.0) if any(rate.cost for rate in rates) else (1.0,)
        self.total = any(rate.per == math.inf for rate in rates)
        follow = follow and not self.total
        kinds = wanted(concurrency, rates, requests_told=follow)
        self.world = self.world_class(seed, kinds, costs=costs, seconds=(0.05, 1.0))
        self.world.rates = rates
        self.world.known_dead = file
        self.slots = slots
        self.world.process(callers=2)
        self.world.process(callers=2, jobs=3 if jobs else 0)

    def living(self):
        return [process for process in self.world.processes if process.alive]

    def pick(self, number):
        living = self.living()
        return living[number % len(living)]

    @precondition(lambda self: len(self.living()) < 6)
    @rule(callers=st.integers(0, 6), less=st.booleans(), jobs=st.sampled_from([0, 0, 5]))
    def a_process_comes(self, callers, less, jobs):
        settings = self.world.settings
        if less and settings.maximum > 1 and settings.start == settings.maximum:
            fewer = settings.maximum - 1
            settings = type(settings)(1, fewer, fewer, settings.rates)
        self.world.process(callers, settings, jobs=jobs)

    @precondition(lambda self: self.living())
    @rule(number=picks, callers=st.integers(0, 8), jobs=st.sampled_from([0, 0, 1, 8]))
    def its_load_changes(self, number, callers, jobs):
        process = self.pick(number)
        process.callers, process.jobs = callers, jobs
        if not process.frozen:
            process.again()

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.3, 1.0, 2.5]))
    def time_passes(self, seconds):
        self.world.run(seconds)

    @rule(
        losing=st.sampled_from([0.0, 0.3, 0.9]),
        doubling=st.sampled_from([0.0, 0.4]),
        waking=st.sampled_from([0.0, 1.0]),
    )
    def the_network_changes(self, losing, doubling, waking):
        self.world.losing, self.world.doubling, self.world.waking = losing, doubling, waking

    @precondition(lambda self: self.living())
    @rule(number=picks)
    def a_process_is_killed(self, number):
        self.world.kill(self.pick(number))

    @precondition(lambda self: self.living())
    @rule(number=picks)
    def a_process_leaves(self, number):
        process = self.pick(number)
        if not process.frozen:
            self.world.leave(process)

    @precondition(lambda self: self.living())
    @rule(number=picks)
    def a_process_freezes_or_thaws(self, number):
        process = self.pick(number)
        if process.frozen:
            self.world.thaw(process)
        else:
            self.world.freeze(process)

    @precondition(lambda self: self.living())
    @rule(number=picks)
    def a_process_cannot_reach_the_store_or_can_again(self, number):
        process = self.pick(number)
        process.reaches = not process.reaches

    @rule()
    def the_store_forgets_everything(self):
        self.world.wipe()

    @rule(seconds=st.sampled_from([-3600.0, -2.0, -0.3, 0.3, 0.9, 2.0, 3600.0]))
    def the_store_s_clock_is_set(self, seconds):
        self.world.jump += seconds
        if seconds > 0:
            self.world.leapt = self.world.now
            self.world.excused.append((self.world.now, self.world.now + 2.0, math.nan))  # one burst and one call more

    @precondition(lambda self: any(process.running for process in self.living()))
    @rule(
        number=picks,
        kind=st.sampled_from(["rate", "concurrency", "overloaded"]),
        wait=st.sampled_from([None, 0.4, 3.0]),
    )
    def a_call_is_refused(self, number, kind, wait):
        running = [(process, call) for process in self.living() if not process.frozen for call in process.running]
        if running:
            process, call = running[number % len(running)]
            process.refused(call, kind, wait)

    @precondition(lambda self: any(process.running for process in self.living()))
    @rule(number=picks, took=st.sampled_from([0.0, 0.5, 3.0]))
    def a_call_took_something_else(self, number, took):
        running = [(process, call) for process in self.living() if not process.frozen for call in process.running]
        if running and any(rate.cost for rate in self.world.rates):
            process, call = running[number % len(running)]
            process.end(call, took)

    @precondition(lambda self: any(process.rate_line or process.slot_line for process in self.living()))
    @rule(number=picks)
    def a_call_gives_up(self, number):
        waiting = [
            (process, call)
            for process in self.living()
            if not process.frozen
            for call in [*process.rate_line, *process.slot_line]
        ]
        if waiting:
            process, call = waiting[number % len(waiting)]
            process.give_up(call)

    @precondition(lambda self: self.world.told is not None and self.living())
    @rule(number=picks, told=st.sampled_from(TOLD))
    def the_server_tells_another_limit(self, number, told):
        self.world.told = told
        process = self.pick(number)
        if not process.frozen:
            process.learn(told)

    @invariant()
    def nothing_is_wrong(self):
        if hasattr(self, "world"):
            assert not self.world.wrong, self.world.wrong[:3]

    def teardown(self):
        """Everything heals: everybody is served, and no slot was lost."""
        if not hasattr(self, "world") or self.world.wrong:
            return
        world = self.world
        world.losing, world.doubling, world.waking = 0.0, 0.0, 1.0
        for process in self.living():
            process.reaches = True
            if process.frozen:
                world.thaw(process)
            process.callers, process.jobs = 1, 0
            process.again()
        began = world.now
        world.run(90.0)
        for process in self.living():
            if self.total:
                assert not process.rate_line, "a process waits for a total for good"
            else:
                assert world.last_start.get(process, -1.0) > began, "a process was passed over for good"
        self.the_background_is_served_under_an_endless_foreground()
        for process in self.living():
            process.callers = process.jobs = 0
            for call in [*process.slot_line, *process.rate_line]:  # under a slow rate they would wait for minutes
                process.give_up(call)
        world.run(15.0)
        last = world.process(callers=self.slots)
        world.run(6.0)
        over = self.total and not last.callers  # nothing is left that it could wait for
        assert over or last.member.allow == world.slots(), "a slot was lost"
        assert not world.wrong, world.wrong[:3]

    def the_background_is_served_under_an_endless_foreground(self):
        world = self.world
        if self.total or not self.living():
            return
        for process in self.living():
            process.callers = 2 * self.slots
            process.again()
        before_it = sum(process.count(True, process.slot_line, process.rate_line) for process in self.living())
        job = world.process(jobs=1)
        # A ledger whose clock jumps by hours while starts are booked ahead gives the turn late, but it gives it.
        most = (3 + before_it) * EVERY + sum(sum(kinds) for kinds in world.kinds.values())
        for _ in range(400):
            if job in world.kinds or sum(sum(kinds) for kinds in world.kinds.values()) >= most:
                break
            world.run(1.0)
        served = job in world.kinds or sum(sum(kinds) for kinds in world.kinds.values()) < most
        assert served, "the background is passed over"


def play(examples, steps, **more):
    run_state_machine_as_test(
        SharedMachine, settings=settings(max_examples=examples, stateful_step_count=steps, **more)
    )


def test_the_guarantees_hold_whatever_goes_wrong():
    play(settings.default.max_examples // 5, 25)


@pytest.mark.nightly
def test_the_guarantees_hold_all_night():
    play(2_000, 50)
