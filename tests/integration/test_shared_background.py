"""People before jobs over several processes, in virtual time: the background gives way to everybody's foreground."""

from __future__ import annotations

import math
import statistics

import pytest

from fanmap import Limits, Rate, parallel_map
from fanmap.testing import SimulatedAPIError, SimulatedStore, VirtualTime, sleep

MESSAGES = 0.03  # seconds in which news go round, a millisecond each way


@pytest.fixture
def virtual():
    with VirtualTime(seed=7) as time:
        yield time


def processes(count, /, *args, **more):
    store = SimulatedStore()
    return [Limits(*args, shared=store, **more) for _ in range(count)]


class Kinds:
    """Functions of either kind, and when their calls began."""

    def __init__(self, virtual, seconds=0.2):
        self.virtual = virtual
        self.seconds = seconds
        self.began = {}
        self.now = self.most = 0
        self.stopped = False

    def of(self, limits, name, **more):
        starts = self.began[name] = []

        @parallel_map(limits=limits, **more)
        def call(item):
            starts.append(self.virtual.now())
            self.now += 1
            self.most = max(self.most, self.now)
            sleep(self.seconds)
            self.now -= 1
            return item

        return call

    def endless(self, call, most=None):
        """Items until it is stopped, in a thread."""

        def items():
            number = 0
            while not self.stopped:
                yield number
                number += 1

        def run():
            for _ in call.imap(items(), max_concurrency=most):
                pass

        return self.virtual.start(run)

    def waits(self, call, calls, rest=0.15):
        """How long each of so many direct calls, one after the other, waits."""
        found = []
        for number in range(calls):
            asked = self.virtual.now()
            call(number)
            found.append(self.virtual.now() - asked - self.seconds)
            sleep(rest)
        return found

    def stop(self, *threads):
        self.stopped = True
        for thread in threads:
            self.virtual.join(thread)


def test_a_person_waits_for_one_call_s_end_behind_the_jobs_of_other_processes(virtual):
    web, *workers = processes(4, 6)
    kinds = Kinds(virtual)
    jobs = [kinds.endless(kinds.of(one.background, place)) for place, one in enumerate(workers)]
    sleep(2.0)
    found = kinds.waits(kinds.of(web, "web"), 20)
    kinds.stop(*jobs)
    assert max(found) <= 0.2 + MESSAGES
    assert kinds.most == 6
    rest = 6 * (2.0 + 20 * 0.35 + sum(found)) / 0.2 - 20
    assert sum(len(kinds.began[place]) for place in range(3)) >= 0.93 * rest


@pytest.mark.parametrize("process", ["another", "its own"])
def test_a_person_waits_for_one_interval_of_a_rate_behind_any_jobs(virtual, process):
    web, worker = processes(2, 16, rpm=600)
    kinds = Kinds(virtual)
    jobs = kinds.endless(kinds.of((worker if process == "another" else web).background, "jobs"))
    sleep(3.0)
    found = kinds.waits(kinds.of(web, "web"), 20, rest=0.137)
    kinds.stop(jobs)
    assert statistics.median(found) <= 0.1 + MESSAGES
    assert max(found) <= 0.1 + 0.05 + MESSAGES + 0.02
    starts = sorted([*kinds.began["jobs"], *kinds.began["web"]])
    assert len(starts) >= 0.95 * 10 * (starts[-1] - starts[0])


def test_an_idle_foreground_costs_the_background_nothing(virtual):
    web, worker = processes(2, 6)
    kinds = Kinds(virtual)
    assert kinds.of(web, "web")(1) == 1  # it is a member from now on
    sleep(1.0)
    began = virtual.now()
    kinds.of(worker.background, "jobs").map(range(300))
    assert virtual.now() - began <= 300 / 6 * 0.2 + 4 * MESSAGES


@pytest.mark.parametrize("rate", [(), Rate(20, 1)])
def test_a_run_of_the_foreground_keeps_its_slots_from_item_to_item(virtual, rate):
    web, worker = processes(2, 4, rate=rate)
    kinds = Kinds(virtual, 0.1)
    jobs = kinds.endless(kinds.of(worker.background, "jobs"))
    sleep(1.0)
    began = virtual.now()
    kinds.of(web, "web").map(range(120))
    ended = virtual.now()
    kinds.stop(jobs)
    between = [at for at in kinds.began["jobs"] if began + 0.5 < at < ended - 0.3]
    assert 1 <= len(between) <= 120 / 49 + 2  # their turns


@pytest.mark.whole
def test_one_start_in_fifty_is_the_background_s_of_all_processes(virtual):
    limits = processes(4, 6)
    kinds = Kinds(virtual, 0.05)
    threads = [kinds.endless(kinds.of(one, f"web {place}")) for place, one in enumerate(limits[:2])]
    # The second has both kinds.
    threads += [kinds.endless(kinds.of(one.background, f"job {place}")) for place, one in enumerate(limits[1:])]
    sleep(30.0)
    front = sum(len(starts) for name, starts in kinds.began.items() if "web" in name)
    back = [len(starts) for name, starts in kinds.began.items() if "job" in name]
    kinds.stop(*threads)
    assert 1 / 56 <= sum(back) / (front + sum(back)) <= 1 / 46
    assert min(back) >= 0.6 * max(back)  # in turn
    assert kinds.most == 6


def test_at_the_gate_the_background_gives_its_slots_to_the_foreground_of_others(virtual):
    web, worker = processes(2, 3)
    refused, order = [], []

    @parallel_map(limits=worker.background)
    def job(item):
        if not refused:
            refused.append(virtual.now())
            raise SimulatedAPIError("simulated", 429, {"retry-after": "3"}, {})
        order.append(("job", virtual.now()))
        sleep(0.1)

    @parallel_map(limits=web)
    def ask(item):
        order.append(("web", virtual.now()))
        sleep(0.1)

    jobs = virtual.start(job.map, range(30))
    sleep(1.0)
    people = [virtual.start(ask, number) for number in range(3)]  # all slots are those of jobs that wait for the gate
    sleep(1.0)
    assert web.everybody.waiting == worker.everybody.waiting >= 3
    for thread in (*people, jobs):
        virtual.join(thread)
    after = [kind for kind, at in order if at >= refused[0] + 3.0]
    assert after[0] == "web" and len(after) == len([kind for kind, at in order if at > refused[0] + 0.1])


def test_a_call_inside_one_of_the_background_needs_no_slot_of_its_own(virtual):
    web, worker = processes(2, 1)

    @parallel_map(limits=worker)
    def inner(item):
        sleep(0.1)
        return item

    @parallel_map(limits=worker.background)
    def outer(item):
        return sum(inner.map([item, item]))

    kinds = Kinds(virtual)
    people = kinds.endless(kinds.of(web, "web"), 1)
    assert outer.map([1, 2, 3]) == [2, 4, 6]
    kinds.stop(people)
    assert len(kinds.began["web"]) >= 2 * 45  # the first one may have come first


def test_a_total_serves_the_foreground_first(virtual):
    web, worker = processes(2, 4, rate=Rate(12, math.inf))
    kinds = Kinds(virtual)
    jobs = virtual.start(kinds.of(worker.background, "jobs").map, range(6))
    assert kinds.of(web, "web").map(range(6)) == list(range(6))
    virtual.join(jobs)
    assert max(kinds.began["web"]) <= max(kinds.began["jobs"])
