"""Two kinds of call, whatever is asked, lent, left and refused in whatever order: no inversion within a kind, no
starvation, and nothing lost when a call of either kind is cancelled at any moment."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fanmap._policy.limits.admission import Admission
from fanmap._policy.limits.kinds import EVERY
from fanmap._policy.limits.permit import APPOINTED, RELEASED, RUNNING, SLOTTED, WAITING, BackgroundPermit, Permit
from fanmap._policy.limits.rate import Rate

picks = st.integers(0, 10**6)
kinds = st.sampled_from([Permit, Permit, BackgroundPermit])


class KindsMachine(RuleBasedStateMachine):
    """Calls of both kinds ask, lend to nested ones, are renewed and leave, while time passes and gates close."""

    @initialize(limit=st.integers(1, 4), rated=st.booleans(), passed=st.sampled_from([0, EVERY - 3]))
    def begin(self, limit, rated, passed):
        self.limit, self.rated = limit, rated
        self.admission = Admission(limit, [Rate(6, 4, burst=2)] if rated else [])
        self.now, self.gate, self.number = 0.0, -math.inf, 0
        self.permits: list[Permit] = []  # asked and not left
        self.asked: dict[Permit, int] = {}
        self.exempt: set[Permit] = set()  # ever on a lent slot
        self.last = {False: 0, True: 0}
        self.passed = 0  # foreground starts while the background waited, since its last
        if passed:  # its turn is near
            self.ask(BackgroundPermit())
            if self.admission.turns is not None:
                self.admission.turns._passed = self.passed = passed

    def ask(self, permit):
        self.number += 1
        self.asked[permit] = self.number
        self.permits.append(permit)
        self.admission.ask(permit)
        self.poll()

    def waits(self, background):
        return any(p.background is background and p.state in (WAITING, SLOTTED) for p in self.permits)

    def poll(self):
        waiting = {p for p in self.permits if p.background and p.state in (WAITING, SLOTTED)}
        for permit in self.admission.poll(self.now):
            assert self.now >= self.gate, "started inside a named wait"
            assert permit in self.permits and permit.state == APPOINTED
            assert self.admission.take_up(permit, self.now)
            permit.started = True
            self.started(permit, waiting)
            if permit not in self.exempt and permit.lender is None:
                assert self.asked[permit] > self.last[permit.background], "overtaken by its own kind"
                self.last[permit.background] = self.asked[permit]
        for permit in self.permits:
            if permit.lender is not None:
                self.exempt.add(permit)

    def started(self, permit, waiting):
        if permit.background:
            self.passed = 0
            waiting.discard(permit)
        elif waiting and permit.lender is None:  # on its caller's slot it takes none from the background
            self.passed += 1

    @rule(kind=kinds, cost=st.sampled_from([1.0, 1.0, 2.0, 5.0]))
    def somebody_asks(self, kind, cost):
        self.ask(kind([cost] if self.rated else None))

    @precondition(lambda self: any(permit.state == RUNNING for permit in self.permits))
    @rule(pick=picks, cost=st.sampled_from([1.0, 3.0]))
    def a_nested_call_asks(self, pick, cost):
        running = [permit for permit in self.permits if permit.state == RUNNING]
        parent = running[pick % len(running)]
        self.ask(type(parent)([cost] if self.rated else None, parent))

    @precondition(lambda self: self.permits)
    @rule(pick=picks, twice=st.booleans())
    def somebody_leaves(self, pick, twice):
        self.leave(self.permits[pick % len(self.permits)], twice)

    def leave(self, permit, twice=False):
        self.permits.remove(permit)
        for _ in range(2 if twice else 1):
            self.admission.leave(permit)
            assert permit.state == RELEASED
        self.poll()

    @precondition(lambda self: any(p.state == RUNNING and p.lent_to is None for p in self.permits))
    @rule(pick=picks)
    def a_worker_goes_on_with_its_next_item(self, pick):
        running = [permit for permit in self.permits if permit.state == RUNNING and permit.lent_to is None]
        permit = running[pick % len(running)]
        self.admission.settle(permit, None)
        foreground = self.waits(False)
        waiting = {p for p in self.permits if p.background and p.state in (WAITING, SLOTTED)}
        if self.admission.renew(permit, [1.0] if self.rated else None, self.now):
            assert not foreground, "kept its slot while the foreground waits"
            assert not (permit.background and waiting), "kept its slot while the background waits"
            self.started(permit, waiting)
            self.last[permit.background] = max(self.last[permit.background], self.asked[permit])
            self.exempt.add(permit)
        else:
            self.permits.remove(permit)
            self.poll()

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 2.0, 10.0]))
    def time_passes(self, seconds):
        self.now += seconds
        self.poll()

    @rule(seconds=st.sampled_from([0.2, 3.0]), spread=st.sampled_from([0.0, 1.0]))
    def a_refusal_closes_the_gate(self, seconds, spread):
        self.gate = max(self.gate, self.now + seconds)
        self.admission.close_gate(self.now + seconds, spread=spread, apart=seconds)

    @rule(limit=st.integers(1, 4))
    def the_ceiling_moves(self, limit):
        self.limit = self.admission.limit = limit
        self.poll()

    @invariant()
    def the_background_is_not_starved(self):
        assert self.passed < EVERY

    @invariant()
    def each_is_where_it_says(self):
        admission = self.admission
        granted = [permit for permit in self.permits if permit.state == RUNNING]
        lenders = [permit for permit in granted if permit.lent_to is not None]
        assert admission.running() == len(granted) - len(lenders)
        assert admission.waiting() == len(self.permits) - len(granted)
        foreground = [p for p in self.permits if p.state == WAITING and not p.background]
        assert admission.waiting_for_slot() == len(foreground)
        for lender in lenders:
            assert lender.lent_to in self.permits and lender.lent_to.lender is lender
        turns = admission.turns
        if turns is not None:
            background = [p for p in self.permits if p.background]
            assert set(turns.for_slot) == {p for p in background if p.state == WAITING}
            assert set(turns.for_start) == {p for p in background if p.state == SLOTTED}

    @invariant()
    def no_slot_is_idle_and_none_is_kept_from_the_foreground(self):
        admission = self.admission
        waiting = [p for p in self.permits if p.state == WAITING]
        assert not waiting or admission.in_flight() >= self.limit
        turns = admission.turns
        if turns is not None and not turns.due() and any(not p.background for p in waiting):
            idle = [p for p in turns.for_start if p.lender is None]
            assert not idle or admission.in_flight() > self.limit, "the background keeps a slot that it cannot use"

    def teardown(self):
        """No deadlock: calls without a nested one under way end, and everybody of both kinds gets a turn."""
        if not hasattr(self, "permits"):
            return
        for _ in range(6 * len(self.permits) + 6):
            if not self.permits:
                break
            self.now += 100.0
            self.poll()
            parents = {permit.parent for permit in self.permits}
            leaf = next((permit for permit in self.permits if permit.state == RUNNING and permit not in parents), None)
            if leaf is None:
                assert any(permit.state != RUNNING for permit in self.permits)
                continue
            self.leave(leaf)
        assert not self.permits, "a deadlock"
        assert self.admission.in_flight() == self.admission.waiting() == 0


KindsMachine.TestCase.settings = settings(stateful_step_count=60)
TestKinds = KindsMachine.TestCase
