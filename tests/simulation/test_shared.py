"""What several processes under one name make of its slots and rates, in virtual time: how much is used, how fairly."""

from __future__ import annotations

import pytest

from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.rate import Rate
from fanmap._policy.shared.document import BACKGROUND_HORIZON
from fanmap._policy.shared.wanted import wanted

from .shared_world import World, worst_window

WARM = 2.0


def world_of(processes, slots, rates=(), callers=None, **more):
    concurrency = slots if isinstance(slots, Adaptive) else Adaptive(slots, 1, slots)
    world = World(1, wanted(concurrency, rates), **more)
    for _ in range(processes):
        world.process(2 * slots // processes + 2 if callers is None else callers)
    return world


def slots_in_use(world, seconds):
    """How many were, on average and at most."""
    samples = []
    until = world.now + seconds
    while world.now < until:
        world.run(0.01)
        samples.append(sum(process.use for process in world.processes))
    return sum(samples) / len(samples), max(samples)


def jain(world, since):
    """1.0 where every process has started as many calls as every other."""
    counts = [sum(1 for at, _, who in world.starts if who is process and at >= since) for process in world.processes]
    return sum(counts) ** 2 / len(counts) / sum(count * count for count in counts)


@pytest.mark.parametrize(
    ("processes", "slots", "used", "fair"),
    [
        pytest.param(2, 32, 0.99, 0.99, marks=pytest.mark.whole),
        pytest.param(8, 32, 0.99, 0.99, marks=pytest.mark.whole),
        (8, 4, 0.97, 0.98),
        pytest.param(5, 7, 0.98, 0.98, marks=pytest.mark.whole),
        (8, 1, 0.97, 0.9),
    ],
)
@pytest.mark.parametrize("wakes", [1.0, 0.0])
def test_every_slot_is_used_by_everybody_in_equal_parts(processes, slots, used, fair, wakes):
    world = world_of(processes, slots)
    world.waking = wakes
    world.run(WARM)
    average, most = slots_in_use(world, 20.0)
    assert most == slots and not world.wrong
    if wakes:
        assert average >= used * slots
        assert jain(world, WARM) >= fair
    else:  # hints only: whoever waits looks by itself
        assert average >= 0.6 * slots
        assert jain(world, WARM) >= 0.85


@pytest.mark.parametrize(
    ("processes", "rate", "seconds", "used"),
    [(8, Rate(1, 3), 60, 0.95), (8, Rate(120, 2), 10, 0.95), (8, Rate(50, 1), 10, 0.92), (2, Rate(500, 1), 4, 0.92)],
)
@pytest.mark.whole
def test_no_window_of_a_rate_holds_more_and_nearly_all_of_it_is_used(processes, rate, seconds, used):
    world = world_of(processes, 64, [rate], callers=64, seconds=(0.01, 0.05))
    world.run(WARM)
    before = len(world.starts)
    world.run(seconds)
    assert worst_window([(at, cost) for at, cost, _ in world.starts], rate.per)[0] <= rate.amount
    assert len(world.starts) - before >= used * seconds * rate.amount / rate.per - 1
    assert jain(world, WARM) >= (0.9 if rate.amount > 1 else 0.8)


@pytest.mark.whole
def test_a_minute_s_rate_is_used_up_to_the_lateness_of_starts():
    world = world_of(8, 32, [Rate(500, 60)], seconds=(0.1, 0.5))
    world.run(75.0)
    assert worst_window([(at, cost) for at, cost, _ in world.starts], 60.0)[0] in range(480, 501)


def test_no_process_waits_longer_than_the_others_take():
    """(processes - 1) x (a quarter of a second and one call) / slots, where there are fewer slots than processes."""
    for slots in (1, 3):
        world = world_of(8, slots, callers=1, seconds=(0.05, 0.5))
        world.run(40.0)
        bound = 7 * (0.25 + 0.5) / slots + 0.05
        assert max(waited for waited, _ in world.waits) <= bound


def test_demand_that_moves_takes_its_slots_along():
    world = world_of(8, 32, callers=0)
    world.run(1.0)
    used = []
    for turn in range(8):
        for place, process in enumerate(world.processes):
            process.callers = 40 if place == turn else 0
            process.again()
        used.append(slots_in_use(world, 2.0)[0] / 32)
    assert sum(used) / len(used) >= 0.95
    assert not world.wrong


def test_the_first_call_of_an_idle_process_takes_one_exchange():
    world = world_of(2, 8, callers=1)
    world.run(1.0)
    last = world.process(callers=1)
    world.run(0.1)
    waited = [seconds for seconds, who in world.waits if who is last]
    assert waited and waited[0] <= 2 * world.latency[1]


@pytest.mark.parametrize("file", [True, False])
def test_the_slots_of_a_killed_process_are_back_at_once_where_that_is_seen_and_after_a_lease_elsewhere(file):
    world = world_of(4, 8, callers=9)
    world.known_dead = file
    world.run(WARM)
    world.kill(world.processes[-1])
    world.run(0.5 if file else world.ttl + 0.4)
    assert slots_in_use(world, 2.0)[0] >= 7.5


def test_after_a_gate_everybody_begins_a_little_later_than_the_one_before():
    world = world_of(8, 32)
    world.run(WARM)
    process = world.processes[0]
    process.refused(process.running[0], "rate", 2.0)
    gate = world.now + 2.0
    world.run(2.2)
    early = [at for at, _, _ in world.starts if gate <= at < gate + 0.1]
    assert 1 <= len(early) <= 12
    world.run(1.0)
    assert len([at for at, _, _ in world.starts if gate <= at < gate + 1.0]) >= 28


def test_nothing_starts_inside_a_wait_once_its_news_have_come():
    world = world_of(8, 32, seconds=(0.02, 0.1))
    world.run(WARM)
    process = world.processes[0]
    process.refused(process.running[0], "rate", 2.0)
    told = world.now
    world.run(1.9)
    inside = [at - told for at, _, who in world.starts if at > told]
    assert max(inside, default=0.0) <= 3 * world.latency[1]
    assert not [who for at, _, who in world.starts if at > told and who is process]


def test_where_wakes_are_lost_the_news_come_within_a_second():
    world = world_of(8, 32, seconds=(0.02, 0.1))
    world.waking = 0.0
    world.run(WARM)
    process = world.processes[0]
    process.refused(process.running[0], "rate", 5.0)
    told = world.now
    world.run(4.9)
    assert max((at - told for at, _, _ in world.starts if at > told), default=0.0) <= 1.01


def test_the_whole_ceiling_is_given_back_when_everybody_is_idle():
    world = world_of(4, 8)
    world.run(WARM)
    for process in world.processes:
        process.callers = 0
        process.slot_line.clear()
    world.run(1.5)
    assert [member.allow for member in world.document.members] == [0] * 4


@pytest.mark.parametrize(("slots", "capacity", "refused"), [(64, 64, 0.01), (64, 16, 0.02), (64, 4, 0.06)])
@pytest.mark.whole
def test_one_ceiling_for_all_finds_what_the_server_bears(slots, capacity, refused):
    """Each process with a ceiling of its own is refused 4, 15 and 89 calls of 100."""

    class Serving(World):
        serving = turned_away = served = 0

        def on_start(self, process, call):
            if self.serving >= capacity:
                self.turned_away += 1
                self.at(self.now + 0.005, lambda: process.refused(call, "concurrency", None))
                return
            self.serving += 1
            self.served += 1
            self.at(self.now + call.seconds - 1e-6, self.done)

        def done(self):
            self.serving -= 1

    world = Serving(1, wanted(Adaptive(8, 1, slots), []), seconds=(0.05, 0.5))
    for _ in range(8):
        world.process(callers=12)
    world.run(20.0)
    world.turned_away = world.served = 0
    average, _ = slots_in_use(world, 40.0)
    assert world.turned_away <= refused * (world.turned_away + world.served)
    assert average >= 0.8 * min(capacity, slots)


# The background, which gives way to the foreground of all


def kinds(world, *processes):
    """Starts in the foreground and in the background, of these or of all."""
    counts = [world.kinds.get(process, [0, 0]) for process in processes or world.processes]
    return sum(front for front, _ in counts), sum(back for _, back in counts)


def with_jobs(slots, rates=(), jobs=4, **more):
    """A world in which so many processes have endless work in the background and nothing else."""
    world = World(1, wanted(Adaptive(slots, 1, slots), rates), **more)
    for _ in range(jobs):
        world.process(jobs=slots)
    world.run(WARM)
    return world


def test_the_background_has_every_slot_while_the_foreground_is_idle():
    world = with_jobs(8)
    idle = world.process()
    assert slots_in_use(world, 10.0) == (pytest.approx(8.0, abs=0.15), 8)
    assert kinds(world, idle) == (0, 0)


@pytest.mark.whole
def test_the_background_has_all_of_a_rate_while_the_foreground_is_idle():
    for rate in (Rate(120, 2), Rate(50, 1), Rate(6, 3)):
        world = with_jobs(32, [rate], seconds=(0.01, 0.05))
        before = len(world.starts)
        world.run(12.0)
        assert worst_window([(at, cost) for at, cost, _ in world.starts], rate.per)[0] <= rate.amount
        assert len(world.starts) - before >= 0.91 * 12.0 * rate.amount / rate.per - 1
        assert not world.wrong


def test_a_call_of_the_foreground_waits_for_one_call_s_end_whatever_runs_in_the_background():
    world = with_jobs(8, seconds=(0.4, 0.4))
    person = world.process()
    waits = []
    for _ in range(20):
        person.ask()
        person.go_on()
        asked = world.now
        world.run(1.37)
        waits.append(world.last_start[person] - asked)
    assert max(waits) <= 0.4 + 0.02
    assert not world.wrong


def test_a_call_of_the_foreground_has_the_next_start_but_what_is_booked_for_the_background():
    """One interval of the rate, what is booked ahead, and a few messages; the slots are those of calls that wait."""
    world = with_jobs(8, [Rate(10, 1, burst=1)], seconds=(0.01, 0.05))
    person = world.process()
    waits = []
    for _ in range(30):
        person.ask()
        person.go_on()
        asked = world.now
        world.run(1.37)
        waits.append(world.last_start[person] - asked)
    step = 1.05 / 10
    assert max(waits) <= step + BACKGROUND_HORIZON + 0.03
    assert sorted(waits)[15] <= step + 0.01
    assert not world.wrong


@pytest.mark.parametrize("rates", [[], [Rate(60, 1)]])
@pytest.mark.whole
def test_one_start_in_fifty_is_the_background_s_under_an_endless_foreground(rates):
    """Of all processes together, whichever has it; those that have both kinds wait for their turns like the others."""
    world = World(1, wanted(Adaptive(6, 1, 6), rates), seconds=(0.02, 0.08))
    for jobs in (0, 0, 5):
        world.process(callers=12, jobs=jobs)
    behind = [world.process(jobs=5) for _ in range(2)]
    world.run(WARM)
    before = kinds(world)
    world.run(60.0)
    front, back = (now - then for now, then in zip(kinds(world), before, strict=True))
    assert front > 2000
    assert 1 / 56 <= back / (front + back) <= 1 / 46
    each = [kinds(world, process)[1] for process in (world.processes[2], *behind)]
    assert min(each) >= 0.75 * max(each)  # in turn
    assert not world.wrong


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.whole
def test_who_has_the_turn_keeps_its_slot_until_its_start_and_asks_no_oftener_than_others(seed):
    world = World(seed, wanted(Adaptive(12, 1, 12), [Rate(6, 4)]), seconds=(0.05, 1.0))
    for _ in range(2):
        world.process(callers=24)
    job = world.process(jobs=1)
    world.run(WARM)
    before, exchanges = kinds(world), world.exchanges
    world.run(200.0)
    front, back = (now - then for now, then in zip(kinds(world), before, strict=True))
    assert front > 290 and 5 <= back <= 6 and kinds(world, job)[1] == back
    assert world.exchanges - exchanges <= 12 * 200  # of three processes; it was 23 to 30 a second
    assert not world.wrong


@pytest.mark.parametrize("rate", [Rate(6, 4), Rate(120, 3), Rate(6, 4, burst=3)])
@pytest.mark.whole
def test_no_window_holds_more_where_the_store_s_clock_was_set_back_while_nobody_could_tell(rate):
    for seed in range(30):
        world = World(seed, wanted(Adaptive(12, 1, 12), [rate]), seconds=(0.05, 1.0))
        here, stranger = world.process(callers=2), world.process()
        stranger.reaches = False
        stranger.callers = 2
        world.run(0.1)
        world.jump -= 3600.0
        here.reaches, stranger.reaches = False, True
        stranger.again()
        world.run(0.7)  # the stranger's starts are booked by a clock that does not know of these
        here.reaches = True
        world.run(30.0)
        most = rate.amount if rate.burst is None else rate.amount + rate.burst - 1
        assert worst_window([(at, cost) for at, cost, _ in world.starts], rate.per)[0] <= most
        assert not world.wrong


def test_a_foreground_that_ends_leaves_everything_to_the_background():
    world = with_jobs(8)
    front = world.process(callers=16)
    world.run(WARM)
    before = kinds(world)
    world.run(10.0)
    started = [now - then for now, then in zip(kinds(world), before, strict=True)]
    assert started[1] <= 0.03 * started[0]
    front.callers = 0
    front.slot_line.clear()
    world.run(1.0)
    assert slots_in_use(world, 5.0)[0] >= 7.8
    assert not world.wrong


def test_the_background_of_one_process_gives_way_to_its_own_foreground_too():
    world = World(1, wanted(Adaptive(4, 1, 4), []), seconds=(0.2, 0.2))
    process = world.process(jobs=12)
    world.run(WARM)
    process.ask()
    process.go_on()
    asked = world.now
    world.run(1.0)
    front, _ = kinds(world)
    assert front == 1 and not process.slot_line.count(process) and world.now == asked + 1.0


def test_the_turn_of_a_process_that_dies_is_another_s():
    world = World(1, wanted(Adaptive(2, 1, 2), []), seconds=(0.1, 0.1))
    world.process(callers=6)
    one, other = world.process(jobs=1), world.process(jobs=1)
    world.run(0.2)
    while not world.document.turn:
        world.run(0.001)
    holder, survivor = (one, other) if world.document.turn == one.member.number else (other, one)
    world.kill(holder)
    before = kinds(world, survivor)[1]
    world.run(4.0)
    assert kinds(world, survivor)[1] > before
