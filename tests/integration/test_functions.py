"""What can be decorated, and that it still is what it was: callable, bound, inspected, pickled, copied."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import sys
import threading

import pytest
import tenacity
import trio

from fanmap import Limits, Rate, Retry, gather_bounded, parallel_map, to_async, to_sync

pytestmark = pytest.mark.usefixtures("nothing_left")


@parallel_map(max_concurrency=3)
def ask(prompt: str, *, model: str = "small") -> str:
    """Ask it."""
    return f"{model}: {prompt}"


@parallel_map(max_concurrency=3)
async def aask(prompt: str, *, model: str = "small") -> str:
    """Ask it."""
    return f"{model}: {prompt}"


class Client:
    kind = "class"

    def __init__(self, name):
        self.name = name

    @parallel_map(max_concurrency=2)
    def ask(self, prompt, suffix=""):
        return f"{self.name} {prompt}{suffix}"

    @parallel_map(max_concurrency=2)
    async def aask(self, prompt, suffix=""):
        return f"{self.name} {prompt}{suffix}"

    @parallel_map(max_concurrency=2)
    @classmethod
    def made(cls, prompt):
        return f"{cls.kind} {prompt}"

    @parallel_map
    @classmethod
    async def amade(cls, prompt):
        return f"{cls.kind} {prompt}"

    @parallel_map(max_concurrency=2)
    @staticmethod
    def plain(prompt):
        return f"plain {prompt}"

    @parallel_map
    @staticmethod
    async def aplain(prompt):
        return f"plain {prompt}"

    def __reduce__(self):
        return Client, (self.name,)


class Heir(Client):
    kind = "heir"

    def ask_twice(self, prompts):
        return super().ask.map(prompts) + super().made.map(prompts)


class Callable:
    """Called like a function; has attributes of its own with unlucky names."""

    def __init__(self):
        self._name = "a secret"
        self._function = self._settings = self._plans = None
        self.map = self.imap = "mine"
        self.tag = "kept"

    def __call__(self, prompt):
        return f"called {prompt}"


class AsyncCallable:
    async def __call__(self, prompt):
        return f"called {prompt}"


# Calling it is calling the function


# asyncio's own is deprecated from Python 3.14 on, in favour of this one.
asyncio_says_coroutine = inspect.iscoroutinefunction if sys.version_info >= (3, 14) else asyncio.iscoroutinefunction


def test_a_direct_call_is_a_plain_call():
    assert ask("hi") == "small: hi"
    assert ask(prompt="hi", model="large") == "large: hi"
    assert asyncio.run(aask("hi", model="large")) == "large: hi"
    assert trio.run(functools.partial(aask, "hi", model="large")) == "large: hi"
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'prompt'"):
        ask()
    with pytest.raises(TypeError, match="unexpected keyword argument 'size'"):
        ask("hi", size=3)


def test_a_direct_call_raises_what_the_function_raises_as_it_is():
    error = KeyError("mine")

    @parallel_map
    def fails():
        raise error

    @parallel_map
    async def afails():
        raise error

    for call in (fails, lambda: asyncio.run(afails()), lambda: trio.run(afails)):
        with pytest.raises(KeyError) as raised:
            call()
        assert raised.value is error
        assert not hasattr(error, "__notes__")
    for kind in (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError):
        error = kind("mine")
        with pytest.raises(kind, match="mine"):
            fails()


class Comparing(type):
    """Its classes compare, and so have no hash."""

    def __eq__(cls, other):
        return type.__eq__(cls, other)


class Row(metaclass=Comparing):
    """An answer whose type is not to be looked up anywhere."""


class Cursor(Row):
    """One that looks like a stream, and is none."""

    def __next__(self):
        raise StopIteration

    def close(self):
        pass


@pytest.mark.parametrize("settings", [{}, {"tpm": 60_000_000}])
@pytest.mark.parametrize(
    "way",
    [
        lambda ask, aask, rows: ask.map(rows),
        lambda ask, aask, rows: aask.map(rows),
        lambda ask, aask, rows: list(ask.imap(iter(rows))),
        lambda ask, aask, rows: [outcome.value for outcome in ask.as_completed(rows)],
        lambda ask, aask, rows: asyncio.run(aask.amap(rows)),
        lambda ask, aask, rows: [ask(row) for row in rows],
        lambda ask, aask, rows: [to_sync(aask)(row) for row in rows],
        lambda ask, aask, rows: asyncio.run(_gathered(aask, rows)),
    ],
)
def test_inputs_and_answers_may_be_of_a_class_without_a_hash(way, settings):
    limits = Limits(1, **settings)

    @parallel_map(limits=limits)
    def ask(row):
        return row

    @parallel_map(limits=limits)
    async def aask(row):
        return row

    rows = [Row(), Cursor()]
    assert way(ask, aask, rows) == rows
    assert limits.stats.in_flight == 0


async def _gathered(aask, rows):
    return await gather_bounded(*[functools.partial(aask, row) for row in rows], max_concurrency=1)


def test_a_direct_call_sees_and_leaves_the_callers_context():
    """As a plain call does."""
    from contextvars import ContextVar

    variable = ContextVar("variable", default=0)

    @parallel_map
    def add():
        variable.set(variable.get() + 1)
        return variable.get()

    @parallel_map
    async def aadd():
        variable.set(variable.get() + 1)
        return variable.get()

    async def main():
        return await aadd(), await aadd()

    assert (add(), add()) == (1, 2)
    assert asyncio.run(main()) == (3, 4)


def test_it_looks_like_the_function_it_was():
    for function, is_async in ((ask, False), (aask, True)):
        assert function.__name__ == ("aask" if is_async else "ask")
        assert function.__qualname__ == function.__name__
        assert function.__doc__ == "Ask it."
        assert function.__module__ == __name__
        assert str(inspect.signature(function)) == "(prompt: 'str', *, model: 'str' = 'small') -> 'str'"
        assert function.__wrapped__.__code__.co_name == function.__name__
        assert callable(function)
        assert asyncio_says_coroutine(function) is is_async
        if sys.version_info >= (3, 12):
            assert inspect.iscoroutinefunction(function) is is_async
        assert repr(function).startswith(f"<parallel {function.__name__} under Limits(max_concurrency=3")


def test_copies_and_bound_ones_are_recognised_too():
    client = Client("c")
    for function in (client.aask, aask.with_options(timeout=5), aask.partial(model="large"), Client.aask):
        assert asyncio_says_coroutine(function)
    for function in (client.ask, ask.with_options(timeout=5), ask.partial(model="large"), Client.plain):
        assert not asyncio_says_coroutine(function)
    assert list(inspect.signature(client.ask).parameters) == ["prompt", "suffix"]
    assert list(inspect.signature(Client.ask).parameters) == ["self", "prompt", "suffix"]


def test_starlette_takes_it_for_what_it_is():
    endpoints = pytest.importorskip("starlette._utils")
    assert endpoints.is_async_callable(aask)
    assert endpoints.is_async_callable(Client("c").aask)
    assert not endpoints.is_async_callable(ask)


# Methods


def test_methods_know_their_object_every_way():
    client, other = Client("c"), Client("o")
    assert client.ask("x") == "c x"
    assert client.ask.map(["x", "y"]) == ["c x", "c y"]
    assert other.ask.map(["x", "y"]) == ["o x", "o y"]
    assert list(client.ask.imap(["x"])) == ["c x"]
    assert client.ask.map([("x", "!")], unpack=True) == ["c x!"]
    assert client.ask.partial(suffix="?").map(["x"]) == ["c x?"]
    assert client.ask.with_options(max_concurrency=1).map(["x"]) == ["c x"]
    assert client.aask.map(["x"]) == ["c x"]
    assert asyncio.run(client.aask("x")) == "c x"
    assert asyncio.run(client.aask.amap(["x", "y"])) == ["c x", "c y"]
    assert asyncio.run(client.ask.amap(["x"])) == ["c x"]
    assert Client.ask(client, "x") == "c x"
    assert Client.ask.map([(client, "x"), (other, "y")], unpack=True) == ["c x", "o y"]
    assert Heir("h").ask_twice(["x"]) == ["h x", "heir x"]


@pytest.mark.parametrize("owner", [Client, Heir, Client("c"), Heir("h")], ids=["class", "heir", "object", "heir's"])
def test_class_methods_and_static_methods_work_under_the_decorator(owner):
    kind = owner.kind
    assert owner.made("x") == f"{kind} x"
    assert owner.made.map(["x", "y"]) == [f"{kind} x", f"{kind} y"]
    assert list(owner.made.imap(["x"])) == [f"{kind} x"]
    assert owner.plain("x") == "plain x"
    assert owner.plain.map(["x", "y"]) == ["plain x", "plain y"]
    assert asyncio.run(owner.amade("x")) == f"{kind} x"
    assert asyncio.run(owner.amade.amap(["x"])) == [f"{kind} x"]
    assert owner.amade.map(["x"]) == [f"{kind} x"]
    assert owner.aplain.map(["x"]) == ["plain x"]
    assert asyncio_says_coroutine(owner.amade)
    assert asyncio_says_coroutine(owner.aplain)


def test_in_the_other_order_the_direct_call_works():
    class Other:
        @classmethod
        @parallel_map
        def made(cls, prompt):
            return f"{cls.__name__} {prompt}"

        @staticmethod
        @parallel_map
        def plain(prompt):
            return prompt

    assert Other.made("x") == Other().made("x") == "Other x"
    assert Other.plain("x") == "x"
    assert Other.plain.map(["x"]) == ["x"]


def test_all_objects_share_the_limits_of_a_method(meter):
    class Counted:
        @parallel_map(max_concurrency=2)
        def ask(self, x):
            with meter:
                threading.Event().wait(0.002)

    threads = [threading.Thread(target=Counted().ask.map, args=(range(5),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.most <= 2


def test_an_abstract_or_cached_neighbour_does_not_mind():
    class Base:
        @functools.cached_property
        def client(self):
            return Client("cached")

        @property
        def ask(self):
            return self.client.ask

    assert Base().ask.map(["x"]) == ["cached x"]


# Other callables


def test_partials_callable_objects_builtins_and_lambdas_work():
    assert parallel_map(functools.partial(max, 3)).map([1, 5]) == [3, 5]
    assert parallel_map(len).map(["a", "bc"]) == [1, 2]
    assert parallel_map(str).map([1, 2]) == ["1", "2"]
    assert parallel_map(lambda x: x + 1).map([1, 2]) == [2, 3]
    assert parallel_map("{}!".format).map(["a"]) == ["a!"]
    assert parallel_map(Client("c").ask.__wrapped__).map(["x"]) == ["c x"]
    assert parallel_map(AsyncCallable()).map(["x"]) == ["called x"]
    assert asyncio.run(parallel_map(AsyncCallable()).amap(["x"])) == ["called x"]
    assert asyncio.run(parallel_map(functools.partial(AsyncCallable(), "x"))()) == "called x"
    assert parallel_map(functools.partial(functools.partial(max, 3), 4)).map([1, 5]) == [4, 5]
    assert parallel_map(functools.lru_cache(lambda x: x)).map([1, 1]) == [1, 1]
    assert parallel_map(Client).map(["x"])[0].name == "x"


def test_a_callable_objects_own_attributes_do_not_get_in_the_way():
    decorated = parallel_map(Callable())
    assert decorated.map(["x"]) == ["called x"]
    assert list(decorated.imap(["x"])) == ["called x"]
    assert decorated("x") == "called x"
    assert decorated.tag == "kept"
    assert "secret" not in repr(decorated)
    with pytest.raises(TypeError) as raised:
        decorated.map([("x", "y")], unpack=True)
    assert raised.value.__notes__ == ["fanmap: item 0 of Callable"]


def test_partial_fixes_arguments_and_keeps_the_limits():
    large = ask.partial(model="large")
    assert large.map(["x", "y"]) == ["large: x", "large: y"]
    assert large("x") == "large: x"
    assert large.map([{"prompt": "x"}], unpack=True) == ["large: x"]
    assert large.map([{"prompt": "x", "model": "tiny"}], unpack=True) == ["tiny: x"]
    assert ask.partial("x").partial(model="large")() == "large: x"
    assert asyncio.run(aask.partial(model="large").amap(["x"])) == ["large: x"]
    assert large._settings.limits is ask._settings.limits


def test_a_rates_cost_sees_what_the_function_sees(meter):
    seen = []

    def cost(*args, **kwargs):
        seen.append((args, kwargs))
        return 1

    @parallel_map(rate=Rate(1000, 0.01, burst=100, cost=cost))
    def function(a, b=None, *, c=None):
        return a

    function(1, c=2)
    function.map([1])
    function.map([(1, 2), {"a": 3}], unpack=True, max_concurrency=1)
    function.partial(7, c=8).map([9])
    function.partial(c=8).with_options(max_concurrency=1).map([{"a": 1, "c": 5}], unpack=True)
    assert seen == [
        ((1,), {"c": 2}),
        ((1,), {}),
        ((1, 2), {}),
        ((), {"a": 3}),
        ((7, 9), {"c": 8}),
        ((), {"a": 1, "c": 5}),
    ]


def test_with_options_shares_the_limits_unless_it_is_given_others(meter):
    @parallel_map(max_concurrency=4)
    def function(x):
        with meter:
            threading.Event().wait(0.002)
        return x

    fewer = function.with_options(max_concurrency=2, timeout=9, retry=Retry())
    assert fewer.map(range(8)) == list(range(8))
    assert meter.most <= 2
    meter.most = 0
    assert fewer.map(range(8), max_concurrency=3) == list(range(8))
    assert meter.most <= 3
    meter.most = 0
    threads = [threading.Thread(target=one.map, args=(range(8),)) for one in (function, fewer)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.most <= 4
    other = function.with_options(limits=Limits(1))
    meter.most = 0
    other.map(range(3))
    assert meter.most <= 1
    assert other.__name__ == "function"


def test_with_options_keeps_what_it_is_not_given_and_none_takes_away():
    account = Limits(4)
    whole = parallel_map(len, limits=account, retry=Retry(2), timeout=30.0).with_options(max_concurrency=2)
    assert whole.limits is account
    for name, setting in (("retry", Retry(2)), ("timeout", 30.0), ("workers", 2)):
        assert getattr(whole.with_options()._settings, name) == setting
        option = {"workers": "max_concurrency"}.get(name, name)
        without = whole.with_options(**{option: None})
        assert getattr(without._settings, name) is None
        for other in {"retry", "timeout", "workers"} - {name}:
            assert getattr(without._settings, other) == getattr(whole._settings, other)
        assert without.limits is account
    own = whole.with_options(limits=None)
    assert own.limits is not account
    assert repr(own.limits) == repr(parallel_map(len).limits)
    assert own.map(["a"]) == whole.with_options(timeout=None).map(["a"]) == [1]
    assert str(inspect.signature(whole.with_options)).count("= UNCHANGED") == 4


def test_its_limits_and_their_stats_can_be_asked_for():
    account = Limits(4)
    one, other = parallel_map(len, limits=account), parallel_map(str.upper, limits=account)
    assert one.limits is other.limits is account
    one.map(["a", "b"])
    other("c")
    assert one.stats == other.stats == account.stats
    assert one.stats.done == 3
    client = Client("c")
    assert client.ask.limits is Client.ask.limits
    assert aask.partial(model="large").limits is aask.limits


# A class


def test_a_decorated_class_is_still_a_class_to_others():
    class Parsed:
        def __init__(self, text):
            self.text = text

    decorated = parallel_map(Parsed)
    first, second = decorated.map(["a", "b"])
    assert (first.text, second.text) == ("a", "b")
    assert isinstance(first, decorated)
    assert not isinstance("a", decorated)

    class Heir(decorated):
        pass

    assert Heir.__mro__[1] is Parsed
    assert issubclass(Heir, decorated)
    with pytest.raises(TypeError, match="a class cannot inherit from ask, which is a decorated function"):

        class Wrong(ask):
            pass


# Pickling and copying


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_pickled_by_its_name(protocol):
    for function in (ask, aask, Client.ask, Client.aask, Client.plain):
        assert pickle.loads(pickle.dumps(function, protocol)) is function
    bound = pickle.loads(pickle.dumps(Client("c").ask, protocol))
    assert bound.map(["x"]) == ["c x"]
    made = pickle.loads(pickle.dumps(Heir.made, protocol))
    assert made.map(["x"]) == ["heir x"]


def test_what_is_not_found_under_its_name_is_not_pickled_and_says_so():
    @parallel_map
    def local(x):
        return x

    for function in (local, ask.with_options(timeout=5), ask.partial(model="large"), parallel_map(lambda x: x)):
        with pytest.raises(TypeError, match="cannot be pickled: only a decorated function that is found under its own"):
            pickle.dumps(function)
    partial = parallel_map(functools.partial(lambda one, other: other, 1))
    with pytest.raises(TypeError, match="found under its own name can; cloudpickle"):
        pickle.dumps(partial)
    with pytest.raises(TypeError, match="a Limits binds one process and cannot be pickled"):
        pickle.dumps(Limits())


def test_it_is_copied_as_functions_are():
    local = ask.with_options(timeout=5)
    for function in (ask, local, Client("c").ask):
        assert copy.copy(function) is function
        assert copy.deepcopy(function) is function
        assert copy.deepcopy({"ask": function})["ask"] is function


def test_it_can_be_a_key_and_compared():
    assert {ask: 1}[ask] == 1
    assert ask != aask


# The bridge


def test_the_bridge_takes_decorated_functions_and_keeps_their_face():
    blocking, awaiting = to_sync(aask), to_async(ask)
    assert blocking("hi", model="large") == "large: hi"
    assert asyncio.run(awaiting("hi", model="large")) == "large: hi"
    assert trio.run(awaiting, "hi") == "small: hi"
    assert not asyncio_says_coroutine(blocking)
    assert not inspect.iscoroutinefunction(blocking)
    assert asyncio_says_coroutine(awaiting)
    assert (blocking.__name__, awaiting.__name__) == ("aask", "ask")
    assert str(inspect.signature(blocking)) == str(inspect.signature(aask))
    assert parallel_map(blocking).map(["x"]) == ["small: x"]
    assert parallel_map(awaiting).map(["x"]) == ["small: x"]

    async def inside():
        return blocking("hi")

    assert asyncio.run(inside()) == "small: hi"


def test_the_bridge_raises_what_the_function_raises():
    async def afails():
        raise KeyError("mine")

    def fails():
        raise KeyError("mine")

    def stops():
        raise StopIteration

    with pytest.raises(KeyError, match="mine"):
        to_sync(afails)()
    for run in (asyncio.run, lambda coroutine: trio.run(lambda: coroutine)):
        with pytest.raises(KeyError, match="mine"):
            run(to_async(fails)())
        with pytest.raises(RuntimeError, match="raised StopIteration"):
            run(to_async(stops)())


def test_an_exit_in_a_bridged_call_surfaces_and_the_background_loop_lives_on():
    async def exits(kind):
        raise kind("out")

    async def exits_beside():
        task = asyncio.create_task(exits(SystemExit))
        with pytest.raises(SystemExit):
            await task
        return asyncio.get_running_loop()

    async def loop():
        return asyncio.get_running_loop()

    before = to_sync(loop)()
    for kind in (SystemExit, KeyboardInterrupt):
        with pytest.raises(kind, match="out"):
            to_sync(exits)(kind)
    assert to_sync(exits_beside)() is to_sync(loop)() is before


def test_a_bridged_call_that_stops_its_loop_leaves_the_background_loop_running():
    async def stops():
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        return asyncio.get_running_loop()

    found = []
    asking = threading.Thread(target=lambda: found.extend(to_sync(stops)() for _ in range(2)), daemon=True)
    asking.start()
    asking.join(120)
    assert len(found) == 2
    assert found[0] is found[1]


def test_one_background_loop_serves_every_blocking_call():
    async def loop():
        return asyncio.get_running_loop()

    first = to_sync(loop)()
    assert to_sync(loop)() is first
    assert set(parallel_map(lambda _: to_sync(loop)()).map(range(4))) == {first}
    assert parallel_map(lambda: loop()).__wrapped__ is not None
    afunction = parallel_map(AsyncLoop())
    assert set(afunction.map(range(3))) == {first}


class AsyncLoop:
    async def __call__(self, _):
        return asyncio.get_running_loop()


def test_gather_takes_decorated_functions_too():
    async def main():
        return await gather_bounded(*[aask(x) for x in "ab"], functools.partial(aask, "c"))

    assert asyncio.run(main()) == trio.run(main) == ["small: a", "small: b", "small: c"]


def test_tenacity_and_functools_go_around_it():
    calls = []

    @tenacity.retry(stop=tenacity.stop_after_attempt(3))
    @parallel_map
    def flaky(x):
        calls.append(x)
        if len(calls) < 3:
            raise ValueError
        return x

    assert flaky(1) == 1

    @functools.lru_cache
    @parallel_map
    def cached(x):
        return object()

    assert cached(1) is cached(1)
