"""The ledger in Lua, in a real redis-server, beside the ledger in Python: the same requests, the same time, the same
document and the same replies, whatever goes wrong between them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from copy import deepcopy
from dataclasses import fields

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from fanmap import Adaptive
from fanmap._policy.shared.wanted import wanted

from .test_shared_ledger import SharedMachine, Watched

redis = pytest.importorskip("redis")
msgpack = pytest.importorskip("msgpack")
SERVERS = [name for name in ("redis-server", "valkey-server") if shutil.which(name)]
pytestmark = pytest.mark.skipif(not SERVERS, reason="there is no redis-server or valkey-server on this machine")

KEY = "fanmap:{twin}"


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("redis")
    process = subprocess.Popen(
        [request.param, "--port", "0", "--unixsocket", "s", "--save", "", "--appendonly", "no"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    path = f"/proc/{process.pid}/cwd/s"  # the folder's own name may be too long
    for _ in range(1200):
        with socket.socket(socket.AF_UNIX) as probe:  # an old redis-py leaves one open that is refused
            if probe.connect_ex(path) == 0:
                break
        time.sleep(0.05)
    client = redis.Redis(unix_socket_path=path)
    client.ping()
    yield client
    client.close()
    process.terminate()
    process.wait()


def twin_of(client, *, heals=False):
    """A machine whose store is both ledgers."""
    from fanmap._drive.shared.redis import _ledger, as_map, document_of
    from fanmap._policy.shared.messages import Reply

    script = client.register_script(_ledger())

    def packed(one):
        return msgpack.packb(one, default=as_map)

    def plain(one):
        return msgpack.unpackb(packed(one))

    class Twin(Watched):
        compared = 0

        def __init__(self, *args, **more):
            client.delete(KEY)
            super().__init__(*args, **more)

        def exchange(self, request, dead):
            ours = super().exchange(request, ())
            sent = {**as_map(request), "now": self.now + self.jump}
            theirs = Reply(**msgpack.unpackb(script(keys=[KEY], args=[packed(sent)])))
            kept = msgpack.unpackb(client.get(KEY))
            for one, other in ((self.document, document_of(kept)), (ours, theirs)):
                different = [
                    f"{field.name}: {mine!r} and {its!r}"
                    for field in fields(one)
                    for mine, its in [(getattr(one, field.name), getattr(other, field.name))]
                    if plain(mine) != plain(its)
                ]
                assert not different, different[:3]
            Twin.compared += 1
            return ours

        def wipe(self):
            client.delete(KEY)
            super().wipe()

        def keep(self):
            self.kept = deepcopy(self.document), client.get(KEY)

        def bring_back(self):
            self.document = self.kept[0]
            client.set(KEY, self.kept[1])

    class TwinMachine(SharedMachine):
        world_class = Twin

        def living(self):
            self.world.known_dead = False  # there is nobody in a server who sees it
            return super().living()

        def teardown(self):
            if heals:
                super().teardown()
            elif hasattr(self, "world"):
                self.world.run(15.0)

    return TwinMachine


def play(server, examples, steps, *, heals):
    machine = twin_of(server, heals=heals)
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=steps))
    assert machine.world_class.compared > 10 * examples


@pytest.mark.whole
def test_both_ledgers_are_one(server):
    play(server, settings.default.max_examples // 2, 25, heals=False)


@pytest.mark.whole
def test_both_ledgers_are_one_until_all_has_healed(server):
    play(server, 15, 25, heals=True)


@pytest.mark.parametrize(("kind", "wait", "after", "cuts"), [
    ("rate", 0.4, 1.0, 1),
    ("rate", 0.4, 12.0, 0),
    ("rate", None, 1.0, 2),
    ("concurrency", 0.4, 1.0, 2),
    ("overloaded", 0.4, 1.0, 0),
])  # fmt: skip
def test_both_cut_the_ceiling_alike_where_a_refusal_follows_a_gate(server, kind, wait, after, cuts):
    world = twin_of(server).world_class(1, wanted(Adaptive(12, 1, 12), ()), seconds=(0.05, 0.2))
    world.rates = ()
    for _ in range(2):
        world.process(callers=4)
    world.run(2.0)
    for seconds in (after, 1.0):
        process = next(process for process in world.processes if process.running)
        process.refused(process.running[-1], kind, wait)
        world.run(0.4 + seconds)
    assert world.document.ceiling[-1] == cuts  # the epoch


def test_both_take_a_snapshot_for_a_memory_that_was_lost(server):
    world = twin_of(server).world_class(1, wanted(Adaptive(6, 1, 6), ()), seconds=(0.05, 0.2))
    world.rates = ()
    one, other = world.process(callers=6), world.process(callers=1)
    for _ in range(4):
        world.run(3.0)
        world.keep()
        one.callers, other.callers = other.callers, one.callers  # what was one's is the other's by and by
        world.run(3.0)
        memory = world.document.memory
        world.bring_back()
        world.run(1.0)
        assert world.document.memory != memory
        assert world.total() <= 6
    assert world.wrong == []


@pytest.mark.nightly
def test_both_ledgers_are_one_all_night(server):
    play(server, 1_000, 50, heals=True)
