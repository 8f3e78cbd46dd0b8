"""Redis as the store, a real one: what it keeps and for how long, what happens when it is away and when it forgets."""

from __future__ import annotations

import builtins
import importlib
import multiprocessing
import random
import sys
import threading
import time
import warnings

import pytest

from fanmap import Limits
from fanmap._drive.shared.store import StoreAway
from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.rate import Rate
from fanmap._policy.shared.demand import Demand
from fanmap._policy.shared.member import Member
from fanmap._policy.shared.packing import VERSION
from fanmap._policy.shared.wanted import wanted

from .shared_redis import SERVERS, WHY_NOT, Server

redis = pytest.importorskip("redis")
msgpack = pytest.importorskip("msgpack")
pytestmark = pytest.mark.skipif(not SERVERS, reason=WHY_NOT)


@pytest.fixture(scope="module", params=SERVERS)
def running(request, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("redis"), program=request.param)
    yield server
    server.kill()


@pytest.fixture(params=SERVERS)
def own(request, tmp_path):
    """A server that this test may kill."""
    server = Server(tmp_path, program=request.param)
    yield server
    server.go_on()
    server.kill()


class Peer:
    def __init__(self, url, slots=4, rates=(), name="openai", *, patient=True):
        from fanmap._drive.shared.redis import RedisStore

        self.number = random.getrandbits(48)
        self.store = RedisStore(url, name, self.number)
        if patient:  # a busy machine may be late with an answer
            wanted_of_connections = self.store._redis.connection_pool.connection_kwargs
            assert wanted_of_connections["socket_timeout"] == wanted_of_connections["socket_connect_timeout"] == 1.0
            wanted_of_connections |= {"socket_timeout": 120.0, "socket_connect_timeout": 120.0}
        self.member = Member(self.number, wanted(Adaptive(slots, 1, slots), rates), 60.0, self.store.wake)

    def ask(self, want=0, use=0, **more):
        request = self.member.compose(time.monotonic(), Demand(use, (want, 0)), random.getrandbits(48), **more)
        try:
            reply = self.store.exchange(request)
        except StoreAway:
            self.member.lost()
            raise
        self.member.take(reply, time.monotonic())
        return reply


@pytest.fixture
def peers():
    made = []

    def make(url, **more):
        made.append(Peer(url, **more))
        return made[-1]

    yield make
    for peer in made:
        peer.store.close()
    for peer in made:
        if peer.store._listener is not None:
            peer.store._listener.join(120)


@pytest.fixture
def name():
    return f"test-{random.getrandbits(40)}"


def test_two_processes_share_what_is_under_the_name(running, peers, name):
    one, other = peers(running.url, name=name), peers(running.url, name=name)
    assert one.ask(3).allow == 3
    reply = other.ask(3)
    assert (reply.allow, reply.members, reply.elsewhere) == (1, 2, 3)
    view = other.store.look()
    assert (view.ceiling, view.maximum, len(view.members)) == (4, 4, 2)
    assert peers(running.url, name=f"{name}x").store.look() is None
    other.ask(leaving=True)
    one.ask(leaving=True)
    assert one.store.look() is None


def test_nothing_but_numbers_is_kept(running, peers, name):
    import msgpack

    def dollars(prompt):
        return 1.0

    one = peers(running.url, name=name, rates=[Rate(9, 60, cost=dollars)])
    one.ask(1)
    client = redis.Redis.from_url(running.url)

    def values(one):
        if isinstance(one, dict):
            return [value for each in one.values() for value in values(each)]
        if isinstance(one, list):
            return [value for each in one for value in values(each)]
        return [one]

    kept = values(msgpack.unpackb(client.get(f"fanmap:{{{name}}}")))
    assert kept and all(isinstance(value, (int, float)) for value in kept)
    client.close()


@pytest.mark.parametrize(("rates", "seconds"), [([], 600), ([Rate(9, 60)], 600), ([Rate(9, 86_400)], 172_800)])
def test_it_is_kept_for_as_long_as_it_says_anything(running, peers, name, rates, seconds):
    one = peers(running.url, name=name, rates=rates)
    one.ask(1)
    client = redis.Redis.from_url(running.url)
    assert seconds - 60 <= client.ttl(f"fanmap:{{{name}}}") <= seconds
    one.member.happenings.refused("rate", 300_000.0, 0, 1, None, 0.0, time.monotonic(), 300.0, 0.5)
    one.ask(1)
    assert 299_000 <= client.ttl(f"fanmap:{{{name}}}") <= 300_000
    client.close()


def test_whoever_waits_is_woken_by_another_process_and_by_a_thread_of_its_own(running, peers, name):
    one, other = peers(running.url, name=name), peers(running.url, name=name)
    one.ask(4)
    client = redis.Redis.from_url(running.url)
    until = time.monotonic() + 30
    while not client.pubsub_numsub(f"fanmap:{{{name}}}:{one.number}")[0][1]:
        assert time.monotonic() < until
        time.sleep(0.01)
    client.close()
    other.ask(4)  # wakes whoever holds more than its part
    one.store.wait(60.0)
    waiter = threading.Thread(target=one.store.wait, args=(60.0,))
    waiter.start()
    one.store.poke()
    waiter.join(120)
    assert not waiter.is_alive()


def test_a_script_that_the_server_has_forgotten_is_sent_again(running, peers, name):
    one = peers(running.url, name=name)
    one.ask(1)
    client = redis.Redis.from_url(running.url)
    client.script_flush()
    client.close()
    assert one.ask(2).allow == 2


def test_a_server_that_is_away_and_comes_back_empty(own, peers):
    one, other = peers(own.url), peers(own.url)
    one.ask(3)
    memory = other.ask(1).memory
    own.kill()
    with pytest.raises(StoreAway, match="ConnectionError"):
        one.ask(3, use=3)
    own.start()
    reply = one.ask(3, use=2)
    assert (reply.memory != memory, reply.allow, reply.members) == (True, 3, 1)
    assert other.ask(3).allow == 1  # what it had


def test_a_server_that_stands_still_is_away_and_what_was_sent_does_no_harm_later(own, peers):
    one, other = peers(own.url, patient=False), peers(own.url)
    one.ask(3)
    own.stop()
    with pytest.raises(StoreAway, match="Timeout"):
        one.ask(1, use=1)
    own.go_on()
    reply = one.ask(3, use=1)
    assert reply.allow + other.ask(4).allow <= 4
    assert one.ask(3, use=1).serial == 4


def test_a_list_under_the_key_is_a_store_that_is_away_until_it_is_cleared(running, peers, name):
    client = redis.Redis.from_url(running.url)
    client.lpush(f"fanmap:{{{name}}}", "mine")
    one = peers(running.url, name=name)
    for ask in (lambda: one.ask(1), one.store.look):
        with pytest.raises(StoreAway, match=f"what is kept under fanmap:{{{name}}} was written by something else"):
            ask()
    assert client.lrange(f"fanmap:{{{name}}}", 0, -1) == [b"mine"]
    one.store.reset()
    assert one.ask(1).allow == 1
    client.close()


OLDER = msgpack.packb({"version": VERSION - 1, "memory": 1, "base": 0})


@pytest.mark.parametrize("kept", [b"mine", b"\x81\xa1a\x01", b"\x81\xa4base\x00", b"\x2a", b"\xc1", b"", OLDER])
def test_something_else_under_the_key_is_left_as_it_is_until_it_is_cleared(running, peers, name, kept):
    client = redis.Redis.from_url(running.url)
    client.set(f"fanmap:{{{name}}}", kept)
    one = peers(running.url, name=name)
    told = f"what is kept under fanmap:{{{name}}} was written by something else, .* --reset$"
    with pytest.raises(StoreAway, match=told):
        one.store.look()
    with pytest.raises(StoreAway, match=told):
        one.ask(1)
    assert client.get(f"fanmap:{{{name}}}") == kept
    one.store.reset()
    assert one.store.look() is None
    assert one.ask(1).allow == 1
    client.close()


def test_no_password_is_shown(tmp_path, peers):
    server = Server(tmp_path, "--requirepass", "secret")
    try:
        right = f"redis://:secret@127.0.0.1:{server.port}/0"
        assert peers(right).ask(1).allow == 1
        assert "secret" not in peers(right).store.where
        with pytest.raises(StoreAway) as raised:
            peers(f"redis://:wrongsecret@127.0.0.1:{server.port}/0").ask(1)
        assert "secret" not in str(raised.value)
    finally:
        server.kill()


@pytest.mark.parametrize("option", ["foo=bar", "socket_timeout=soon"])
def test_an_option_that_there_is_not_is_an_error_at_the_first_call_and_no_thread_fails(option, running, name):
    before = threading.active_count()
    account = Limits(4, shared=f"{running.url}?{option}&password=secret#{name}")
    with pytest.raises(ValueError, match=r"^redis-py cannot use redis://.*password=\*\*\*: ") as raised, account:
        pass
    assert "secret" not in str(raised.value)
    assert threading.active_count() == before


def test_valkey_is_another_word(running, peers, name):
    one, other = peers(running.url, name=name), peers(running.url.replace("redis://", "valkey://"), name=name)
    one.ask(1)
    assert other.ask(1).members == 2


def test_no_command_is_sent_twice(running, peers, name):
    one = peers(running.url, name=name, patient=False)
    connection = one.store._redis.connection_pool.make_connection()
    tries = []

    def fails():
        tries.append(None)
        raise redis.ConnectionError

    with pytest.raises(redis.ConnectionError):
        connection.retry.call_with_retry(fails, lambda error: None)
    assert len(tries) == 1
    assert connection.socket_timeout == connection.socket_connect_timeout == 1.0


def test_after_a_reset_those_who_live_go_on_with_what_they_know(running, peers, name):
    one, other = peers(running.url, name=name), peers(running.url, name=name)
    one.ask(3)
    other.store.reset()
    assert other.store.look() is None
    assert one.ask(3, use=3).allow == 3


def test_after_close_there_is_no_thread(running, name):
    one = Peer(running.url, name=name)
    one.ask(1)
    listener = one.store._listener
    one.store.close()
    listener.join(120)
    assert not listener.is_alive()


def test_without_the_packages_it_says_what_to_install(monkeypatch):
    real = builtins.__import__
    monkeypatch.setitem(sys.modules, "msgpack", None)
    monkeypatch.delitem(sys.modules, "fanmap._drive.shared.redis", raising=False)
    with pytest.raises(ImportError, match=r"pip install \"fanmap\[redis\]\""):
        importlib.import_module("fanmap._drive.shared.redis")
    assert builtins.__import__ is real


kept = []  # as a module has its Limits


def one_call(url):
    kept.append(Limits(1, shared=f"{url}#pool"))
    with kept[0]:
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize(
    "how", ["fork", *(pytest.param(how, marks=pytest.mark.whole) for how in ("forkserver", "spawn"))]
)
def test_a_child_of_multiprocessing_leaves_at_its_end(running, how):
    account = Limits(1, shared=f"{running.url}#pool")  # the parent has it, as where a module has one
    child = multiprocessing.get_context(how).Process(target=one_call, args=(running.url,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, which do not survive a fork
        child.start()
    child.join(600)
    assert child.exitcode == 0
    assert account.everybody.members == 0
