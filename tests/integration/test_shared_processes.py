"""Several processes under one Limits, and what may happen to them and to their store: killed, stopped, forked,
restarted empty, deleted. Nothing here asserts on seconds: each step waits for what must come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fanmap
from fanmap import Limits, SharedUnavailable, parallel_map

from .shared_redis import SERVERS, WHY_NOT, Server

CALLER = Path(__file__).with_name("shared_caller.py")
SLOTS = 4
PATIENCE = 300.0  # seconds for what must come


class World:
    """A store, processes, and what they have written."""

    def __init__(self, place, folder):
        self.place = place
        self.log = folder / "log"
        self.callers = []

    def start(self, *words, lease="600"):
        source = str(Path(fanmap.__file__).parents[1])
        caller = subprocess.Popen(
            [sys.executable, CALLER, self.place, str(SLOTS), self.log, *words],
            stdin=subprocess.PIPE, start_new_session=True,
            env=os.environ | {"FANMAP_LEASE": lease, "PYTHONPATH": source},
        )  # fmt: skip
        self.callers.append(caller)
        return caller

    def events(self):
        lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
        return [(int(pid), sign) for pid, sign in (line.split() for line in lines if line.endswith("\n"))]

    def started(self, pid):
        return sum(event == (pid, "+") for event in self.events())

    def most(self, first=0, without=()):
        """The most calls under way at once, from this event on; of some processes nothing counts."""
        held = most = 0
        for place, (pid, sign) in enumerate(self.events()):
            if pid not in without and sign in "+-":
                held += 1 if sign == "+" else -1
                most = max(most, held if place >= first else 0)
        return most

    def most_in_the_end(self, first=0, without=()):
        """The same, once it is as many as there are."""
        wait_for(lambda: self.most(first, without) >= SLOTS)
        return self.most(first, without)

    def wait_for_more(self, *callers, calls=30):
        """Until each of them has made so many more calls."""
        seen = {caller.pid: self.started(caller.pid) for caller in callers}
        wait_for(lambda: all(self.started(pid) >= before + calls for pid, before in seen.items()))

    def end(self):
        for caller in self.callers:
            if caller.poll() is None:
                os.killpg(caller.pid, signal.SIGCONT)
                os.killpg(caller.pid, signal.SIGKILL)
            caller.wait()
            caller.stdin.close()


def wait_for(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


@pytest.fixture(params=["file", *(pytest.param(server, marks=pytest.mark.whole) for server in SERVERS)])
def world(request, tmp_path):
    server = None
    if request.param == "file":
        place = str(tmp_path / "openai")
    else:
        pytest.importorskip("redis")
        server = Server(tmp_path, program=request.param)
        place = f"{server.url}#openai"
    made = World(place, tmp_path)
    made.server = server
    yield made
    made.end()
    if server is not None:
        server.go_on()
        server.kill()


def everybody(world):
    limits = Limits(SLOTS, shared=world.place)
    return limits.everybody


def test_never_more_than_there_are_and_all_of_them_are_used(world):
    callers = [world.start() for _ in range(3)]
    world.wait_for_more(*callers)
    assert world.most_in_the_end() == SLOTS


@pytest.mark.whole
def test_the_background_gives_way_to_the_foreground_of_another_process_and_has_what_that_leaves(world):
    jobs = world.start("background")
    world.wait_for_more(jobs)
    assert world.most_in_the_end() == SLOTS  # nobody else is there
    people = world.start()
    world.wait_for_more(people)  # by now it has all slots
    before = [world.started(jobs.pid), world.started(people.pid)]
    world.wait_for_more(people, calls=300)
    ours, theirs = (world.started(one.pid) - then for one, then in zip((jobs, people), before, strict=True))
    assert ours <= theirs / 4  # one in 50, where nothing stands still; evenly shared it would be one in two
    world.wait_for_more(jobs, calls=2)  # it is not starved
    people.stdin.close()
    assert people.wait(PATIENCE) == 0
    events = len(world.events())
    wait_for(lambda: world.most(events) == SLOTS)
    assert world.most_in_the_end() == SLOTS


@pytest.mark.whole
def test_a_process_that_ends_leaves_at_once(world):
    caller, other = world.start(), world.start()
    world.wait_for_more(caller, other)
    caller.stdin.close()
    assert caller.wait(PATIENCE) == 0  # in good order, with its results in theirs
    before = len(world.events())
    wait_for(lambda: world.most(before) == SLOTS)  # the other one has all, long before any lease ends
    other.stdin.close()
    assert other.wait(PATIENCE) == 0
    assert everybody(world).members == 0


@pytest.mark.whole
def test_a_killed_process_s_slots_come_back(world):
    # The kernel says at once who is dead; a server cannot know. Only who will be killed has a short lease: whoever has
    # one and stands still for a second, on a busy machine, is not counted, as is right.
    lease = "600" if world.server is None else "1"
    survivors, gone = [world.start()], []
    for _ in range(3):
        victim = world.start(lease=lease)
        world.wait_for_more(victim, *survivors)
        victim.kill()
        victim.wait()
        gone.append(victim.pid)
        before = len(world.events())
        wait_for(lambda before=before: world.most(before, without=gone) == SLOTS)
        survivors.append(world.start())
        world.wait_for_more(*survivors)
        assert world.most_in_the_end(without=gone) == SLOTS


@pytest.mark.whole
def test_a_process_that_stands_still_past_its_lease_is_counted_again_when_it_goes_on(world):
    # Longer than a busy machine lets any of them stand still by itself.
    callers = stopped, other = world.start(lease="20"), world.start()
    world.wait_for_more(*callers)
    stopped.send_signal(signal.SIGSTOP)
    before = len(world.events())
    wait_for(lambda: world.most(before, without=[stopped.pid]) == SLOTS)
    stopped.send_signal(signal.SIGCONT)
    world.wait_for_more(stopped, other, calls=15)
    before = len(world.events())  # by now it has been heard of
    world.wait_for_more(stopped, other)
    assert world.most_in_the_end(before) == SLOTS


def test_a_fork_is_a_process_of_its_own(world):
    parent = world.start("fork")
    wait_for(lambda: any(sign == "born" for _, sign in world.events()))
    child = next(pid for pid, sign in world.events() if sign == "born")
    wait_for(lambda: min(world.started(child), world.started(parent.pid)) >= 30)
    assert world.most_in_the_end() == SLOTS
    assert everybody(world).members == 2


@pytest.mark.whole
def test_a_store_that_loses_its_memory_gives_nothing_out_twice(world):
    callers = [world.start() for _ in range(3)]
    world.wait_for_more(*callers)
    for _ in range(3):
        if world.server is None:
            os.unlink(world.place)
        else:
            world.server.kill()
            world.server.start()
        world.wait_for_more(*callers)
    assert world.most_in_the_end() == SLOTS


@pytest.mark.whole
@pytest.mark.skipif(not SERVERS, reason=WHY_NOT)
def test_a_store_that_is_away_for_longer_than_a_lease_loses_nothing(tmp_path):
    pytest.importorskip("redis")
    server = Server(tmp_path)
    world = World(f"{server.url}#openai", tmp_path)
    try:
        callers = [world.start(lease="20") for _ in range(2)]  # longer than a busy machine lets them stand still
        world.wait_for_more(*callers)
        server.kill()
        last = -1
        while last != (last := len(world.events())):  # what was granted is used up, then nothing starts
            time.sleep(3.0)
        server.start()
        world.wait_for_more(*callers)
        assert world.most_in_the_end() == SLOTS
        for caller in callers:
            caller.stdin.close()
            assert caller.wait(PATIENCE) == 0
    finally:
        world.end()
        server.kill()


def test_a_server_that_is_not_there_is_said_without_its_password():
    pytest.importorskip("redis")
    ask = parallel_map(limits=Limits(4, max_wait=0.5, shared="redis://user:secret@127.0.0.1:1/0#openai"))(abs)
    with pytest.raises(
        SharedUnavailable, match=r"redis://user:\*\*\*@127\.0\.0\.1:1/0#openai.* was never reached"
    ) as it:
        ask.map([1, 2])
    assert "secret" not in str(it.value)
