"""What fanmap says to bad settings, bad inputs and functions that misbehave, and that nothing is lost by it."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import functools
import inspect
import math
import re
import sqlite3
import warnings
from decimal import Decimal
from fractions import Fraction
from unittest.mock import Mock

import pydantic
import pytest
import tenacity
import trio

from fanmap import (
    Adaptive,
    Limits,
    Rate,
    Retry,
    gather_bounded,
    parallel_map,
    partial_results,
    to_async,
    to_sync,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


def echo(prompt):
    return prompt


async def aecho(prompt):
    return prompt


def says(text):
    return re.escape(text)


# Settings

COUNTS = [
    (0, ValueError, "max_concurrency must be >= 1, got 0"),
    (-3, ValueError, "max_concurrency must be >= 1, got -3"),
    (2.0, TypeError, "max_concurrency must be an int >= 1, got 2.0"),
    (True, TypeError, "max_concurrency must be an int >= 1, got True"),
]


@pytest.mark.parametrize(("count", "kind", "message"), COUNTS)
def test_max_concurrency_is_an_int_of_at_least_1_wherever_it_is_given(count, kind, message):
    ask = parallel_map(echo)
    adapts = message.replace(">= 1, got", '>= 1, "auto" or an Adaptive, got') if kind is TypeError else message
    for misuse in (
        lambda: parallel_map(max_concurrency=count),
        lambda: Limits(count),
        lambda: asyncio.run(gather_bounded(max_concurrency=count)),
    ):
        with pytest.raises(kind, match=says(adapts)):
            misuse()
    for misuse in (
        lambda: ask.with_options(max_concurrency=count),
        lambda: ask.map([1], max_concurrency=count),
        lambda: ask.imap([1], max_concurrency=count),
        lambda: ask.as_completed([1], max_concurrency=count),
        lambda: asyncio.run(ask.amap([1], max_concurrency=count)),
        lambda: asyncio.run(gather_bounded(limits=Limits(), max_concurrency=count)),
    ):
        with pytest.raises(kind, match=says(message)):
            misuse()


NUMBERS = [
    (0, ValueError, "must be a finite number > 0, got 0"),
    (-1.5, ValueError, "must be a finite number > 0, got -1.5"),
    (math.nan, ValueError, "must be a finite number > 0, got nan"),
    (math.inf, ValueError, "must be a finite number > 0, got inf"),
    ("9", TypeError, "must be a number > 0, got '9'"),
    (True, TypeError, "must be a number > 0, got True"),
]


@pytest.mark.parametrize(("number", "kind", "message"), NUMBERS)
def test_rates_and_seconds_are_finite_and_positive_wherever_they_are_given(number, kind, message):
    ask = parallel_map(echo)
    for name, misuse in (
        ("rpm", lambda: parallel_map(rpm=number)),
        ("rpm", lambda: Limits(rpm=number)),
        ("rpm", lambda: asyncio.run(gather_bounded(rpm=number))),
        ("amount", lambda: Rate(number)),
        ("per", lambda: Rate(1, number)),
        ("burst", lambda: Rate(100, burst=number)),
        ("timeout", lambda: parallel_map(timeout=number)),
        ("timeout", lambda: ask.with_options(timeout=number)),
        ("timeout", lambda: asyncio.run(gather_bounded(timeout=number))),
        ("deadline", lambda: ask.map([1], deadline=number)),
        ("deadline", lambda: ask.imap([1], deadline=number)),
        ("deadline", lambda: ask.as_completed([1], deadline=number)),
        ("deadline", lambda: asyncio.run(ask.amap([1], deadline=number))),
        ("max_wait", lambda: Limits(max_wait=number)),
        ("total", lambda: Retry(total=number)),
    ):
        raised, said = kind, message
        if name == "per" and number == math.inf:  # a total
            misuse()
            continue
        if name == "rpm" and kind is TypeError:  # there is a word that it may be
            raised = ValueError if isinstance(number, str) else TypeError
            said = message.replace("> 0,", '> 0 or "auto",')
        with pytest.raises(raised, match=says(f"{name} {said}")):
            misuse()


def test_a_rate_says_what_is_wrong_with_it():
    with pytest.raises(ValueError, match=says("burst must be <= amount (5), got 6")):
        Rate(5, burst=6)
    with pytest.raises(TypeError, match="cost must be callable or None, got 3"):
        Rate(5, cost=3)
    with pytest.raises(TypeError, match="usage must be callable or None, got 3"):
        Rate(5, usage=3)
    with pytest.raises(ValueError, match=says("amount must be >= 1 where a call costs 1, got 0.5: use a longer per=")):
        Rate(0.5)


async def nobody_awaits(*args):
    raise AssertionError


class AnswersLater:
    async def __call__(self, *args):
        raise AssertionError


@pytest.mark.parametrize(
    "function", [nobody_awaits, functools.partial(nobody_awaits, 1), AnswersLater(), AnswersLater().__call__]
)
def test_a_setting_that_is_a_function_answers_when_it_is_called(function):
    for name, misuse in {
        "cost": lambda: Rate(5, cost=function),
        "usage": lambda: Rate(5, usage=function),
        "classify": lambda: Limits(classify=function),
        "price": lambda: Limits(price=function),
        "on": lambda: Retry(on=function),
        "wait": lambda: Retry(wait=function),
        "stop": lambda: Retry(stop=function),
        "progress": lambda: parallel_map(echo).map([1], progress=function),
        "key": lambda: parallel_map(echo).map([1], resume="none.jsonl", key=function),
        "encode": lambda: parallel_map(echo).map([1], resume="none.jsonl", encode=function, decode=echo),
        "decode": lambda: parallel_map(echo).batch([1], resume="none.jsonl", encode=echo, decode=function),
    }.items():
        with pytest.raises(TypeError, match=f"^{name} must be a `def`, nobody would await it, got "):
            misuse()


@pytest.mark.parametrize("function", [lambda: None, lambda one, two, three: None, functools.partial(divmod, 1, 2)])
def test_a_setting_that_is_a_function_takes_what_it_is_called_with(function):
    for taken, misuse in {
        "usage must take 1 argument (result)": lambda: Rate(5, usage=function),
        "classify must take 1 argument (exception)": lambda: Limits(classify=function),
        "price must take 2 arguments (model, usage)": lambda: Limits(price=function),
        "on must take 1 argument (retry_state)": lambda: Retry(on=function),
        "wait must take 1 argument (retry_state)": lambda: Retry(wait=function),
        "stop must take 1 argument (retry_state)": lambda: Retry(stop=function),
        "progress must take 1 argument (stats)": lambda: parallel_map(echo).map([1], progress=function),
        "key must take 1 argument (input)": lambda: parallel_map(echo).map([1], resume="none.jsonl", key=function),
        "encode must take 1 argument (result)": lambda: parallel_map(echo).map(
            [1], resume="none.jsonl", encode=function, decode=echo
        ),
        "decode must take 1 argument (plain JSON)": lambda: parallel_map(echo).batch(
            [1], resume="none.jsonl", encode=echo, decode=function
        ),
    }.items():
        with pytest.raises(TypeError) as caught:
            misuse()
        assert str(caught.value) == f"{taken}, got {function!r}"


@pytest.mark.parametrize("value", ["False", 1, None])
def test_a_flag_is_true_or_false(value):
    ask, aask, kept = parallel_map(echo), parallel_map(nobody_awaits), {"resume": "none.jsonl"}
    for name, misuse in {
        "unpack": lambda given: ask.map([1], **given),
        "return_exceptions": lambda given: ask.imap([1], **given),
        "durable": lambda given: ask.map([1], **kept, **given),
        "only": lambda given: ask.batch([1], **kept, **given),
    }.items():
        with pytest.raises(TypeError) as caught:
            misuse({name: value})
        assert str(caught.value) == f"{name} must be True or False, got {value!r}"
    for calls in (
        lambda: gather_bounded(nobody_awaits, return_exceptions=value),
        lambda: aask.amap([1], return_exceptions=value),
        lambda: aask.abatch([1], **kept, return_exceptions=value),
    ):
        with pytest.raises(TypeError, match="return_exceptions must be True or False, got "):
            asyncio.run(calls())


def test_a_setting_that_is_a_function_may_be_of_any_kind_that_takes_it():
    @functools.wraps(lambda: None)
    def wrapped(*given: object) -> None:
        """Takes more than what it says that it wraps."""

    class Misleading:
        __signature__ = "none"

        def __call__(self, stats: object) -> None:
            """What Python cannot read is called."""

    for function in (print, wrapped, Misleading(), [].append, Mock(), lambda stats, more=1: None):
        assert parallel_map(echo).map([1], progress=function) == [1]


@pytest.mark.parametrize("digits", [400, 5000])
def test_an_int_that_no_float_holds_is_no_finite_number(digits):
    most = 10**digits
    for name, misuse in {
        "amount": lambda: Rate(most),
        "per": lambda: Rate(5, most),
        "burst": lambda: Rate(5, burst=most),
        "rpm": lambda: Limits(rpm=most),
        "tpm": lambda: Limits(tpm=most),
        "max_wait": lambda: Limits(max_wait=most),
        "max_spend": lambda: Limits(max_spend=most, price=echo),
        "max_concurrency": lambda: Limits(most),
        "max_waiting": lambda: Limits(max_waiting=most),
        "maximum": lambda: Adaptive(maximum=most),
        "timeout": lambda: parallel_map(timeout=most),
        "deadline": lambda: parallel_map(echo).map([1], deadline=most),
        "total": lambda: Retry(total=most),
    }.items():
        with pytest.raises(ValueError, match=rf"^{name} must be a finite number >=? [01], got an int of \d+ bits$"):
            misuse()


@pytest.mark.parametrize("make", [Limits, parallel_map])
def test_less_than_one_call_a_minute_is_a_rate_of_a_longer_window(make):
    with pytest.raises(ValueError, match=says("rpm must be >= 1, got 0.5: write rate=Rate(1, per=120)")):
        make(rpm=0.5)
    make(rate=Rate(1, per=120))


@pytest.mark.parametrize("rate", [5, "fast", None, [5], [Rate(5), "fast"], {"rpm": 5}])
def test_rates_are_rates(rate):
    for misuse in (
        lambda: Limits(rate=rate),
        lambda: parallel_map(rate=rate),
        lambda: asyncio.run(gather_bounded(rate=rate)),
    ):
        with pytest.raises(TypeError, match=r"rate must be a Rate, an aiolimiter.AsyncLimiter or several of them, got"):
            misuse()


def test_retry_says_what_is_wrong_with_it():
    with pytest.raises(ValueError, match="attempts must be >= 1, got 0"):
        Retry(0)
    with pytest.raises(TypeError, match=says("attempts must be an int >= 1, got 2.5")):
        Retry(2.5)
    with pytest.raises(TypeError, match="attempts must be an int >= 1, got True"):
        Retry(True)
    for wait in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"wait must be >= 0 seconds or a tenacity wait strategy, got {wait}"):
            Retry(wait=wait)
    for name, rule in (
        ("on", "an exception class, a tuple of them or a tenacity strategy"),
        ("wait", ">= 0 seconds or a tenacity wait strategy"),
        ("stop", "a tenacity stop strategy or None"),
    ):
        with pytest.raises(TypeError, match=f"{name} must be {rule}, got 'x'"):
            Retry(**{name: "x"})
    with pytest.raises(TypeError, match="on must be"):
        Retry(on=int)
    with pytest.raises(TypeError, match="on must be"):
        Retry(on=(ValueError, "x"))
    with pytest.raises(TypeError, match="positional"):
        Retry(3, tenacity.retry_always)


@pytest.mark.parametrize(
    ("retry", "line"),
    [
        (True, "True: write retry=Retry(attempts=4)"),
        (3, "3: write retry=Retry(attempts=3)"),
        ("yes", "'yes': write retry=Retry(attempts=4)"),
        ([KeyError], "[<class 'KeyError'>]: write retry=Retry(on=(KeyError,))"),
        (tenacity.Retrying(), "a Retrying of tenacity's: write retry=Retry(4, on=..., wait=..., stop=...)"),
    ],
    ids=["bool", "int", "str", "list", "tenacity"],
)
def test_retry_is_a_retry_false_or_none(retry, line):
    ask = parallel_map(echo)
    for misuse in (
        lambda: parallel_map(retry=retry),
        lambda: ask.with_options(retry=retry),
        lambda: asyncio.run(gather_bounded(retry=retry)),
    ):
        with pytest.raises(TypeError, match=says(f"retry must be a Retry, False or None, got {line}")):
            misuse()


def test_limits_are_a_limits_and_hold_the_other_limits():
    ask = parallel_map(echo)
    for misuse in (
        lambda: parallel_map(limits=8),
        lambda: ask.with_options(limits=8),
        lambda: asyncio.run(gather_bounded(limits=8)),
    ):
        with pytest.raises(TypeError, match="limits must be a Limits or None, got 8"):
            misuse()
    for option in ({"max_concurrency": 2}, {"rpm": 5}, {"rate": Rate(5)}):
        with pytest.raises(TypeError, match="belong to the Limits: give either them or limits="):
            parallel_map(limits=Limits(), **option)
    for option in ({"rpm": 5}, {"rate": Rate(5)}):
        with pytest.raises(TypeError, match="belong to the Limits: give either them or limits="):
            asyncio.run(gather_bounded(limits=Limits(), **option))


def test_with_options_takes_no_rates_and_names_what_it_does_not_know():
    ask = parallel_map(echo)
    for option in ({"rpm": 5}, {"rate": Rate(5)}, {"workers": 3}):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{next(iter(option))}'"):
            ask.with_options(**option)


def test_options_nobody_knows_are_named():
    ask = parallel_map(echo)
    for misuse in (
        lambda: parallel_map(workers=3),
        lambda: Limits(workers=3),
        lambda: ask.map([1], workers=3),
        lambda: ask.imap([1], workers=3),
        lambda: ask.as_completed([1], workers=3),
        lambda: asyncio.run(ask.amap([1], workers=3)),
        lambda: asyncio.run(gather_bounded(workers=3)),
    ):
        with pytest.raises(TypeError, match="unexpected keyword argument 'workers'"):
            misuse()


class Bar:
    def update(self):
        raise NotImplementedError


TRUE = ": write progress=True for a bar"


@pytest.mark.parametrize(("progress", "cure"), [(3, ""), ("bar", ""), (Bar, TRUE), (Bar(), TRUE)])
def test_progress_is_true_a_callable_or_none(progress, cure):
    ask = parallel_map(echo)
    for misuse in (
        lambda: ask.map([1], progress=progress),
        lambda: ask.imap([1], progress=progress),
        lambda: ask.as_completed([1], progress=progress),
        lambda: asyncio.run(ask.amap([1], progress=progress)),
        lambda: asyncio.run(gather_bounded(progress=progress)),
    ):
        said = re.escape(f"progress must be True, a callable or None, got {progress!r}{cure}")
        with pytest.raises(TypeError, match=f"{said}$"):
            misuse()


@pytest.mark.parametrize("flag", ["yes", 3, None])
def test_unpack_and_durable_are_true_or_false(flag, tmp_path):
    ask = parallel_map(echo)
    for given in ({"unpack": flag}, {"durable": flag, "resume": tmp_path / "kept.jsonl"}):
        for misuse in (
            lambda given=given: ask.map([(1,)], **given),
            lambda given=given: ask.imap([(1,)], **given),
            lambda given=given: ask.as_completed([(1,)], **given),
            lambda given=given: asyncio.run(parallel_map(echo).amap([(1,)], **given)),
        ):
            with pytest.raises(TypeError, match=says(f"{next(iter(given))} must be True or False, got {flag!r}")):
                misuse()


# What is decorated


@pytest.mark.parametrize("thing", [42, "ask", None.__class__(), [echo], object()])
def test_only_something_callable_is_decorated(thing):
    if thing is None:
        thing = NotImplemented
    with pytest.raises(TypeError, match=f"parallel_map must be given a function, got {type(thing).__name__}"):
        parallel_map(thing)
    with pytest.raises(TypeError, match=f"parallel_map must be given a function, got {type(thing).__name__}"):
        parallel_map(max_concurrency=2)(thing)


def test_a_setting_without_its_name_is_shown_with_it():
    for value, line in (
        (8, "parallel_map(max_concurrency=8)"),
        ("auto", 'parallel_map(max_concurrency="auto")'),
        (Limits(), "parallel_map(limits=...)"),
        (Retry(), "parallel_map(retry=...)"),
    ):
        with pytest.raises(
            TypeError, match=says(f"parallel_map must be given a function, got {type(value).__name__}: write {line}")
        ):
            parallel_map(value)


def tokens(prompt):
    yield prompt


async def atokens(prompt):
    yield prompt


class Tokens:
    def __call__(self, prompt):
        yield prompt


GENERATORS = {
    "def": tokens, "async def": atokens, "object": Tokens(), "partial": functools.partial(tokens, "x"),
}  # fmt: skip


@pytest.mark.parametrize("function", GENERATORS.values(), ids=GENERATORS)
def test_a_generator_function_of_any_kind_gives_streams(function):
    assert type(parallel_map(function)).__name__.endswith("StreamFunction")


def test_a_decorated_function_is_not_decorated_again():
    with pytest.raises(
        TypeError, match="parallel_map must be given the plain function, got one that is already decorated"
    ):
        parallel_map(parallel_map(echo))


class Client:
    """Its instances are awaited; making one is a plain call."""

    def __init__(self, prompt):
        self.prompt = prompt

    async def __call__(self, prompt):
        return prompt


def test_a_class_is_a_plain_function_whatever_its_instances_are():
    assert [client.prompt for client in parallel_map(Client).map(["a", "b"])] == ["a", "b"]


def test_the_bridge_says_which_kind_it_wants():
    with pytest.raises(
        TypeError, match=says("to_sync must be given an `async def`, got a `def` (echo): call it directly")
    ):
        to_sync(echo)
    with pytest.raises(
        TypeError, match=says("to_async must be given a `def`, got an `async def` (aecho): await it directly")
    ):
        to_async(aecho)
    with pytest.raises(TypeError, match="got an `async def`"):
        to_async(parallel_map(aecho))
    with pytest.raises(TypeError, match="got a `def`"):
        to_sync(parallel_map(echo))


@pytest.mark.parametrize("decorated", [False, True])
def test_the_bridge_of_a_function_that_yields_names_what_to_write(decorated):
    def tell(prompt):
        yield prompt

    async def atell(prompt):
        yield prompt

    line = "decorate the function with @parallel_map and write `for index, chunk in function.stream(inputs)`"
    for bridge, function, wants, got in (
        (to_sync, atell, "an `async def`", "an async generator function"),
        (to_sync, tell, "an `async def`", "a generator function"),
        (to_async, tell, "a `def`", "a generator function"),
        (to_async, atell, "a `def`", "an async generator function"),
    ):
        name = function.__name__
        given = parallel_map(function) if decorated else function
        text = f"{bridge.__name__} must be given {wants}, got {got} ({name}): {line}"
        with pytest.raises(TypeError, match=f"^{says(text)}$"):
            bridge(given)
    for bridge in (to_sync, to_async):
        with pytest.raises(TypeError, match="must be given .* got int"):
            bridge(3)


def test_a_coroutine_given_to_the_bridge_is_told_apart_from_its_function():
    with pytest.raises(TypeError, match=says("got its coroutine: write to_sync(function)(...)")):
        to_sync(aecho("a"))


# What it is mapped over


@pytest.mark.parametrize("text", ["hello", b"hello", bytearray(b"hello")], ids=["str", "bytes", "bytearray"])
def test_one_text_where_an_iterable_of_prompts_was_meant_is_refused(way, text):
    kind = type(text).__name__
    message = f"echo.{way.method} must be given an iterable of inputs, got one {kind}: write [text]"
    ask = parallel_map(aecho if way.is_async else echo)
    with pytest.raises(TypeError, match=says(message[4:])) as raised:
        way.run(ask, text)
    assert "hello" not in str(raised.value)


def test_lazy_ways_refuse_bad_inputs_where_they_are_called():
    ask = parallel_map(echo)
    for method in ("imap", "as_completed"):
        for inputs in ("hello", b"hello", 5, None):
            with pytest.raises(TypeError, match=f"echo.{method} must be given an iterable of inputs, got"):
                getattr(ask, method)(inputs)


def test_what_is_no_iterable_is_refused(way):
    with pytest.raises(TypeError, match=f"echo.{way.method} must be given an iterable of inputs, got an int"):
        way.run(parallel_map(aecho if way.is_async else echo), 5)


def test_an_async_iterable_in_blocking_code_is_refused_with_what_to_write():
    ask = parallel_map(echo)
    with pytest.raises(
        TypeError,
        match=says("echo.map must be given an iterable, got an async_generator: write `await echo.amap(inputs)`"),
    ):
        ask.map(atokens("x"))
    for method in ("imap", "as_completed"):
        with pytest.raises(
            TypeError, match=f"echo.{method} of an async iterable cannot be read from sync code: write `async for`"
        ):
            next(getattr(ask, method)(atokens("x")))


@pytest.mark.parametrize("item", ["secret", {"secret"}, 5, None], ids=["str", "set", "int", "None"])
def test_unpack_wants_tuples_or_mappings_and_names_only_the_type(strict_way, item):
    async def ask(*args, **kwargs):
        return args, kwargs

    ask = strict_way.decorate(ask)
    with pytest.raises(
        TypeError,
        match=says(
            "unpack=True must be given tuples or lists (for *args) or mappings (for **kwargs) as inputs of ask, "
            f"got {type(item).__name__}: without unpack=True, each input is one argument"
        ),
    ) as raised:
        strict_way.run(ask, [item], unpack=True)
    assert "secret" not in str(raised.value) + str(raised.value.__notes__)
    assert raised.value.__notes__ == ["fanmap: item 0 of ask"]


@dataclasses.dataclass
class Row:
    prompt: str
    model: str


class Model(pydantic.BaseModel):
    prompt: str
    model: str


def sqlite_rows():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute("SELECT 'a' AS prompt, 'b' AS model").fetchall()


@pytest.mark.parametrize(
    ("inputs", "convert", "line"),
    [
        (sqlite_rows(), dict, "map(dict, inputs)"),
        ([Model(prompt="a", model="b")], dict, "map(dict, inputs)"),
        ([Row("a", "b")], dataclasses.asdict, "map(dataclasses.asdict, inputs)"),
        ([collections.deque(["a", "b"])], tuple, "map(tuple, inputs)"),
    ],
    ids=["sqlite3.Row", "pydantic", "dataclass", "deque"],
)
def test_unpack_says_how_rows_of_other_kinds_become_arguments(inputs, convert, line):
    @parallel_map
    def ask(prompt, model):
        return prompt + model

    with pytest.raises(TypeError, match=f": write {re.escape(line)}"):
        ask.map(inputs, unpack=True)
    assert ask.map(map(convert, inputs), unpack=True) == ["ab"]  # and the line is right


def test_unpack_takes_tuples_mappings_and_their_kin(way):
    async def ask(a, b=0):
        return a, b

    point = collections.namedtuple("Point", "a b")
    inputs = [(1,), (1, 2), {"a": 3}, {"b": 4, "a": 5}, point(6, 7), collections.OrderedDict(a=8), [9, 10]]
    assert way.run(way.decorate(ask), inputs, unpack=True) == [(1, 0), (1, 2), (3, 0), (5, 4), (6, 7), (8, 0), (9, 10)]


def nothing():
    return
    yield


EMPTY = {"list": list, "tuple": tuple, "generator": nothing, "set": set, "range": lambda: range(0)}


@pytest.mark.parametrize("empty", EMPTY.values(), ids=EMPTY)
def test_no_input_is_no_result_and_no_call(way, empty):
    async def ask(_):
        raise AssertionError

    assert way.run(way.decorate(ask), empty()) == []
    assert way.run(way.decorate(ask), empty(), return_exceptions=True, deadline=1000, max_concurrency=3) == []


def test_no_async_input_is_no_result(awaiting_way):
    async def nothing_to_await():
        return
        yield

    assert awaiting_way.run(awaiting_way.decorate(aecho), nothing_to_await()) == []


@pytest.mark.parametrize("runs", [asyncio.run, trio.run])
def test_gathering_nothing_gives_nothing(runs):
    async def main(*aws):
        return await gather_bounded(*aws)

    for run in (runs, lambda main, *aws: runs(functools.partial(main, *aws)) if runs is trio.run else runs(main(*aws))):
        del run
    for aws in ((), ([],), (nothing(),), ((),)):
        assert (trio.run(main, *aws) if runs is trio.run else asyncio.run(main(*aws))) == []


# An input that fails half-way


class InputBroke(Exception):
    pass


def breaking(count, error):
    yield from range(count)
    raise error


@pytest.mark.parametrize("keep", [False, True], ids=["raise", "return_exceptions"])
def test_what_was_taken_before_the_input_broke_runs_to_its_end_and_is_not_lost(whole_way, keep):
    ended = []

    async def ask(x):
        await whole_way.pause(0.002)
        ended.append(x)
        return x * 2

    with pytest.raises(InputBroke) as raised:
        whole_way.run(whole_way.decorate(ask, max_concurrency=3), breaking(10, InputBroke()), return_exceptions=keep)
    assert sorted(ended) == list(range(10))
    assert partial_results(raised.value) == {x: x * 2 for x in range(10)}


@pytest.mark.parametrize("keep", [False, True], ids=["raise", "return_exceptions"])
def test_lazy_ways_hand_everything_out_before_they_raise_what_the_input_raised(lazy_way, keep):
    async def ask(x):
        await lazy_way.pause(0.002)
        return x * 2

    found = []

    async def main():
        results = lazy_way.start(
            lazy_way.decorate(ask, max_concurrency=3), breaking(10, InputBroke()), return_exceptions=keep
        )
        async with lazy_way.opened(results):
            with pytest.raises(InputBroke) as raised:
                while True:
                    one = await lazy_way.next(results)
                    found.append(one if lazy_way.method == "imap" else one.result())
            assert partial_results(raised.value) == {}
            with pytest.raises(StopAsyncIteration):  # and it is over
                await lazy_way.next(results)

    lazy_way.go(main)
    assert sorted(found) == [x * 2 for x in range(10)]
    if lazy_way.method == "imap":
        assert found == sorted(found)


def test_an_input_that_breaks_at_once_raises_its_own_exception(way):
    async def ask(x):
        return x

    with pytest.raises(InputBroke):
        way.run(way.decorate(ask), breaking(0, InputBroke()))


def test_an_async_input_that_breaks_half_way_loses_nothing(awaiting_way):
    async def abreaking():
        for x in range(5):
            yield x
        raise InputBroke

    async def ask(x):
        await awaiting_way.pause()
        return x

    with pytest.raises(InputBroke) as raised:
        awaiting_way.run(awaiting_way.decorate(ask), abreaking())
    if not awaiting_way.is_lazy:
        assert partial_results(raised.value) == {x: x for x in range(5)}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_an_input_that_raises_no_mere_exception_ends_the_run_with_it(way, error):
    if way.place == "asyncio" and error is SystemExit:
        pytest.skip("asyncio lets it out of the loop itself")

    class Input:
        def __init__(self):
            self.left = 3

        def __iter__(self):
            return self

        def __next__(self):
            if not self.left:
                raise error
            self.left -= 1
            return self.left

    async def ask(x):
        return x

    with pytest.raises(error):
        way.run(way.decorate(ask, max_concurrency=2), Input())


@pytest.mark.parametrize("error", [StopAsyncIteration, StopIteration])
@pytest.mark.parametrize("where", ["input", "key", "strategy"])
def test_what_would_pass_for_the_end_of_a_loop_is_a_runtime_error_wherever_it_comes_from(way, tmp_path, error, where):
    def key(x):
        if x == 3:
            raise error("no such field")
        return str(x)

    class Input:
        def __init__(self):
            self.left = iter(range(3))

        def __iter__(self):
            return self

        def __next__(self):
            for x in self.left:
                return x
            raise error("the database is gone")

    def strategy(state):
        raise error("no such status")

    async def ask(x):
        if where == "strategy" and x == 3:
            raise ConnectionError
        return x

    if where == "input" and error is StopIteration:
        pytest.skip("that is how an input ends")
    options = {"retry": Retry(on=strategy)} if where == "strategy" else {}
    kept = {"resume": tmp_path / "kept.jsonl", "key": key} if where == "key" else {}
    with pytest.raises(RuntimeError, match=f"raised {error.__name__}"):
        way.run(way.decorate(ask, max_concurrency=2, **options), Input() if where == "input" else range(6), **kept)


def test_an_async_input_that_raises_a_cancellation_of_its_own_does_not_pass_for_its_end(awaiting_way):
    async def cut():
        yield 0
        raise asyncio.CancelledError

    async def ask(x):
        return x

    with pytest.raises(asyncio.CancelledError):
        awaiting_way.run(awaiting_way.decorate(ask), cut())


def test_an_iterator_whose_len_lies_or_that_is_a_sized_set_is_taken_as_it_iterates(way):
    class Odd(list):
        def __iter__(self):
            return iter([1, 2, 3])

        def __getitem__(self, index):
            raise AssertionError

    async def ask(x):
        return x

    assert way.run(way.decorate(ask), Odd([9, 9])) == [1, 2, 3]
    assert sorted(way.run(way.decorate(ask), {1, 2, 3})) == [1, 2, 3]
    assert way.run(way.decorate(ask), {"a": 1, "b": 2}.keys()) == ["a", "b"]


def test_a_file_given_as_input_stays_open(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("one\ntwo\nthree\n")
    with path.open() as file:
        assert parallel_map(str.strip).map(file) == ["one", "two", "three"]
        assert not file.closed
        file.seek(0)
        with parallel_map(str.strip).imap(file) as results:
            assert next(results) == "one"
        assert not file.closed


# What the function returns


def test_none_and_exception_objects_are_results_like_any_other(way):
    answer = ValueError("an answer")

    async def ask(x):
        return None if x % 2 else answer

    assert way.run(way.decorate(ask), range(4)) == [answer, None, answer, None]
    assert way.run(way.decorate(ask), range(4), return_exceptions=True) == [answer, None, answer, None]
    assert answer.__traceback__ is None


def test_as_completed_tells_a_returned_exception_from_a_raised_one():
    @parallel_map
    def ask(x):
        if x:
            raise ValueError("raised")
        return ValueError("returned")

    returned, raised = sorted(ask.as_completed([0, 1], return_exceptions=True), key=lambda outcome: outcome.index)
    assert returned.error is None
    assert str(returned.value) == str(returned.result()) == "returned"
    assert str(raised.error) == "raised"
    assert raised.value is None
    with pytest.raises(ValueError, match="raised"):
        raised.result()


def test_a_def_that_returns_a_coroutine_is_told_what_to_decorate(strict_way):
    if strict_way.is_async:
        pytest.skip("an async def may return what it likes")
    made = []

    def ask(x):
        made.append(aecho(x))
        return made[-1]

    ask = parallel_map(ask)
    with pytest.raises(
        TypeError, match="ask returned a coroutine: decorate the `async def` itself, or await it inside"
    ):
        strict_way.run(ask, [1])
    with pytest.raises(TypeError, match="ask returned a coroutine"):
        ask(1)
    assert {inspect.getcoroutinestate(coroutine) for coroutine in made} == {inspect.CORO_CLOSED}


# What an item raises


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit], ids=["CancelledError", "GeneratorExit"])
def test_what_is_no_exception_but_the_items_own_fails_that_item_and_no_other(way, error):
    async def ask(x):
        await way.pause()
        if x == 2:
            raise error
        return x

    ask = way.decorate(ask, max_concurrency=2)
    first = way.run(ask, range(6), return_exceptions=True)
    assert type(first[2]) is error
    assert first[:2] + first[3:] == [0, 1, 3, 4, 5]
    if way.fails_fast:
        with pytest.raises(error) as raised:
            way.run(ask, range(6))
        assert raised.value.__notes__ == ["fanmap: item 2 of ask"]


def test_an_item_that_cancels_its_own_task_fails_alone(way):
    if not way.is_async or way.place == "trio":
        pytest.skip("a task of asyncio")

    async def ask(x):
        if x == 2:
            asyncio.current_task().cancel()
            await asyncio.sleep(0.01)
        if x == 3:  # asked for, and not delivered before the end of the item
            asyncio.current_task().cancel()
            return x
        await asyncio.sleep(0)
        return x

    found = way.run(way.decorate(ask, max_concurrency=1), range(6), return_exceptions=True)
    assert [type(one) for one in found[2:4]] == [asyncio.CancelledError] * 2
    assert found[:2] + found[4:] == [0, 1, 4, 5]


@pytest.mark.parametrize("keep", [False, True], ids=["raise", "return_exceptions"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_and_exit_inside_an_item_stop_the_run_and_surface(way, error, keep):
    started = []

    async def ask(x):
        started.append(x)
        if x == 2:
            raise error("out")
        await way.pause()
        return x

    with pytest.raises(error, match="out") as raised:
        way.run(way.decorate(ask, max_concurrency=2), range(1_000_000), return_exceptions=keep)
    assert len(started) < 100_000  # the other goes on until this one is heard
    finished = partial_results(raised.value)
    assert all(value == index for index, value in finished.items())
    if not way.is_lazy:
        assert finished


def test_stop_iteration_out_of_an_item_becomes_a_runtime_error(way):
    def body(x):
        if x == 1:
            raise StopIteration("early")
        return x

    async def abody(x):
        return body(x)

    ask = parallel_map(abody if way.is_async else body)
    kept = way.run(ask, range(3), return_exceptions=True)
    assert (kept[0], kept[2]) == (0, 2)
    assert type(kept[1]) is RuntimeError
    assert type(kept[1].__cause__) is StopIteration
    if way.fails_fast:
        with pytest.raises(RuntimeError, match="raised StopIteration") as raised:
            way.run(ask, range(3))
        assert type(raised.value.__cause__) is StopIteration


@pytest.mark.parametrize(
    "options", [{}, {"timeout": 5.0}, {"retry": Retry(2, wait=0.0)}], ids=["plain", "timeout", "retry"]
)
def test_stop_iteration_out_of_a_direct_call_does_not_end_the_callers_loop(options):
    @parallel_map(**options)
    def ask(x):
        if x == 1:
            raise StopIteration("early")
        return x

    with pytest.raises(RuntimeError, match="raised StopIteration") as raised:
        list(map(ask, range(3)))  # as a plain function it would leave [0], and nobody would know
    assert type(raised.value.__cause__) is StopIteration


def test_stop_async_iteration_out_of_an_item_does_not_pass_for_the_end(way):
    async def ask(x):
        if x == 1:
            raise StopAsyncIteration
        return x

    kept = way.run(way.decorate(ask), range(3), return_exceptions=True)
    assert (kept[0], kept[2]) == (0, 2)
    assert isinstance(kept[1], (StopAsyncIteration, RuntimeError))
    if way.fails_fast:
        with pytest.raises((StopAsyncIteration, RuntimeError)):
            way.run(way.decorate(ask), range(3))


class Stubborn(Exception):
    __slots__ = ()

    def __setattr__(self, name, value):
        if not name.startswith("__") or "fanmap" in name or "notes" in name:
            raise AttributeError(name)
        super().__setattr__(name, value)

    def __eq__(self, other):
        raise AssertionError("nobody compares exceptions")

    __hash__ = Exception.__hash__

    def __str__(self):
        raise AssertionError("nobody prints exceptions")


def test_an_exception_that_takes_no_attribute_and_no_note_comes_out_as_it_is(strict_way):
    error = Stubborn()

    async def ask(x):
        if x == 1:
            raise error
        return x

    try:
        strict_way.run(strict_way.decorate(ask, max_concurrency=1), range(3))
    except Stubborn as raised:
        assert raised is error
    else:
        raise AssertionError


def test_an_exception_group_of_one_items_own_comes_out_as_it_is(strict_way):
    async def ask(x):
        raise ExceptionGroup("several", [ValueError("a"), KeyError("b")])

    with pytest.raises(ExceptionGroup, match="several") as raised:
        strict_way.run(strict_way.decorate(ask), [1])
    assert [type(one) for one in raised.value.exceptions] == [ValueError, KeyError]


# Costs


def test_a_cost_above_its_rate_is_that_items_error_and_is_not_called(strict_way):
    called = []

    async def ask(x):
        called.append(x)
        return x

    ask = strict_way.decorate(ask, rate=Rate(100, 0.01, burst=100, cost=lambda x: x))
    kept = strict_way.run(ask, [1, 101, 2], return_exceptions=True)
    assert (kept[0], kept[2]) == (1, 2)
    assert type(kept[1]) is ValueError
    assert str(kept[1]) == "cost must be <= the rate's amount (100), got 101: it could never start"
    with pytest.raises(ValueError, match="it could never start"):
        strict_way.run(ask, [101])
    assert 101 not in called


def test_a_call_above_tpm_is_told_in_words_of_tpm(strict_way):
    async def ask(prompt):
        raise AssertionError("it was called")

    ask = strict_way.decorate(ask, tpm=10)
    wrong = (
        "tpm must be >= the tokens that one call may take, 251 by estimate, got 10: raise tpm=, or lower the call's "
    )
    with pytest.raises(ValueError, match=says(f"{wrong}max_tokens")):
        strict_way.run(ask, ["x" * 1001])


@pytest.mark.parametrize("cost", [-1, math.nan, math.inf, True, "a secret", None], ids=repr)
def test_a_cost_that_is_no_number_is_that_items_error_and_shows_no_text(cost):
    @parallel_map(rate=Rate(100, cost=lambda _: cost))
    def ask(x):
        raise AssertionError

    with pytest.raises((ValueError, TypeError), match="cost must be a finite number >= 0, got") as raised:
        ask.map([1])
    assert "secret" not in str(raised.value)
    with pytest.raises((ValueError, TypeError), match="cost must be a finite number >= 0, got"):
        ask(1)


@pytest.mark.parametrize("cost", [Decimal("1.5"), Fraction(3, 2)], ids=repr)
def test_a_cost_may_be_a_number_of_any_kind_as_a_usage_may(cost):
    ask = parallel_map(rate=Rate(100, cost=lambda _: cost, usage=lambda _: cost))(echo)
    assert ask.map([1]) == [1]
    assert ask(2) == 2
    with pytest.raises(ValueError, match=r"cost must be <= the rate's amount \(1\), got 1.5"):
        parallel_map(rate=Rate(1, cost=lambda _: cost))(echo)(1)


def test_a_cost_function_that_raises_is_that_items_failure(strict_way):
    async def ask(x):
        return x

    def cost(x):
        if x == 1:
            raise InputBroke
        return 1

    ask = strict_way.decorate(ask, rate=Rate(1000, 0.01, burst=100, cost=cost))
    kept = strict_way.run(ask, range(300), return_exceptions=True)
    assert type(kept.pop(1)) is InputBroke
    assert kept == [0, *range(2, 300)]


@pytest.mark.parametrize("usage", [-1, math.nan, math.inf, "many", 10**400], ids=lambda usage: str(usage)[:9])
def test_a_usage_that_is_no_number_keeps_the_estimate_and_the_answer_and_is_told_once(usage):
    @parallel_map(rate=Rate(1000, 0.01, burst=10, usage=lambda _: usage))
    def ask(x):
        return x

    with pytest.warns(UserWarning, match="the usage= of a Rate gave no number >= 0 for a result of ") as told:
        assert ask.map(range(20)) == list(range(20))
    assert len(told) == 1


def test_a_usage_that_says_nothing_keeps_the_estimate_without_a_word():
    ask = parallel_map(rate=Rate(1000, 0.01, burst=10, usage=lambda _: None))(echo)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert ask.map(range(20)) == list(range(20))
    assert told == []


def test_the_line_at_which_a_usage_raises_is_told_and_no_text_of_it():
    ask = parallel_map(rate=Rate(1000, 0.01, burst=10, usage=lambda reply: reply["a secret"].tokens))(lambda x: {})
    with pytest.warns(UserWarning, match=r"raised KeyError in test_bad_input.py, line \d+ for a result of ") as told:
        ask.map(range(20))
    assert "secret" not in str(told[0].message)


# gather_bounded

LOOPS = {"asyncio": asyncio.run, "trio": lambda main: trio.run(lambda: main)}


def gathered(run, *aws, **options):
    async def main():
        return await gather_bounded(*[one() if make else one for make, one in aws], **options)

    if run is trio.run:
        return trio.run(main)
    return asyncio.run(main())


both_loops = pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])


@both_loops
@pytest.mark.parametrize("thing", [5, "text", None], ids=str)
def test_what_cannot_be_awaited_is_refused_and_nothing_is_left_unawaited(run, thing):
    message = "gather_bounded takes awaitables or zero-argument functions that return one, got " + (
        "None" if thing is None else f"an? {type(thing).__name__}"
    )
    with pytest.raises(TypeError, match=message):
        gathered(run, (True, lambda: aecho(1)), (False, thing))
    with pytest.raises(TypeError, match=message):
        gathered(run, (False, thing))
    with pytest.raises(TypeError, match=message):
        gathered(run, (False, iter([thing])))


def test_what_a_def_returned_is_refused_with_what_to_write():
    async def main():
        await gather_bounded(*[echo(prompt) for prompt in "ab"])

    with pytest.raises(TypeError, match=says("decorate that function and write `await function.amap(inputs)`")):
        asyncio.run(main())


@both_loops
def test_a_function_that_returns_nothing_to_await_is_told_so(run):
    with pytest.raises(TypeError, match="a function given to gather_bounded must return an awaitable, got int") as told:
        gathered(run, (False, lambda: 5))
    assert told.value.__notes__ == ["fanmap: item 0 of gather_bounded"]  # no word of arguments: it needs none

    async def atell():
        yield 5

    line = "got async_generator: for a function that yields write `async for index, chunk in function.stream(inputs)`"
    with pytest.raises(TypeError, match=says(line)):
        gathered(run, (False, atell))


@both_loops
def test_repeats_of_an_awaitable_are_refused_with_what_to_write(run):
    with pytest.raises(
        TypeError, match=says("write gather_bounded(*[functools.partial(ask, p) for p in prompts], retry")
    ):
        gathered(run, (True, lambda: aecho(1)), retry=Retry())
    with pytest.raises(TypeError, match="an awaitable cannot be awaited twice"):
        gathered(run, (False, (aecho(x) for x in range(3))), retry=Retry())


@both_loops
def test_the_same_coroutine_twice_is_awaited_once(run):
    async def main():
        one, two = aecho(1), aecho(2)
        return await gather_bounded(one, two, one)

    assert (trio.run(main) if run is trio.run else asyncio.run(main())) == [1, 2, 1]


def test_the_same_future_twice_gives_its_result_twice():
    async def main():
        future = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(aecho(2))
        asyncio.get_running_loop().call_later(0.001, future.set_result, 1)
        return await gather_bounded(future, task, future, task)

    assert asyncio.run(main()) == [1, 2, 1, 2]


@both_loops
def test_the_same_function_twice_is_called_twice(run):
    called = []

    async def ask():
        called.append(1)
        return len(called)

    assert sorted(gathered(run, (False, ask), (False, ask))) == [1, 2]


def test_positions_count_what_was_given_however_often_the_same_was_given():
    async def fails():
        await asyncio.sleep(0.001)
        raise InputBroke

    async def main():
        one = aecho(1)
        return await gather_bounded(one, one, aecho(2), fails())

    with pytest.raises(InputBroke) as raised:
        asyncio.run(main())
    assert raised.value.__notes__ == ["fanmap: item 3 of gather_bounded"]
    assert partial_results(raised.value) == {0: 1, 1: 1, 2: 2}


@both_loops
@pytest.mark.parametrize("lazily", [False, True], ids=["spread", "one list"])
def test_after_a_failure_no_coroutine_is_left_unawaited(run, lazily):
    made = []

    async def fails():
        raise InputBroke

    def make(coroutine):
        made.append(coroutine)
        return coroutine

    async def main():
        aws = [make(fails()), *[make(aecho(x)) for x in range(20)]]
        await (gather_bounded(aws, max_concurrency=1) if lazily else gather_bounded(*aws, max_concurrency=1))

    with pytest.raises(InputBroke):
        trio.run(main) if run is trio.run else asyncio.run(main())
    assert {inspect.getcoroutinestate(coroutine) for coroutine in made} == {inspect.CORO_CLOSED}


def test_an_awaitable_that_can_be_iterated_is_not():
    class Both:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return "awaited"

        def __iter__(self):
            raise AssertionError

    assert asyncio.run(gather_bounded(Both())) == ["awaited"]


def test_a_gather_that_is_never_awaited_does_nothing():
    async def main():
        coroutine = aecho(1)
        gathering = gather_bounded(coroutine, 5, "bad")
        gathering.close()
        return await coroutine

    assert asyncio.run(main()) == 1


def test_gathering_without_a_loop_says_so():
    gathering = gather_bounded()
    with pytest.raises(RuntimeError, match="no event loop is running"), contextlib.closing(gathering):
        gathering.send(None)
