"""What people type at first, and the line to write that they get for it; nothing has been called by then."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import copy
import datetime
import decimal
import fractions
import functools
import importlib
import numbers
import pathlib
import queue
import re
import subprocess
import sys
import threading

import pytest
import tenacity

import fanmap
import fanmap.types
from fanmap import Adaptive, Limits, Rate, Retry, gather_bounded, parallel_map, to_async, to_sync

pytestmark = pytest.mark.usefixtures("nothing_left")


@parallel_map
def ask(prompt, model="small"):
    raise AssertionError("it was called")


@parallel_map
async def aask(prompt, model="small"):
    raise AssertionError("it was called")


async def answer(prompt="x"):
    return prompt


def function(prompt):
    return prompt


def gathering(*aws, **options):
    async def main():
        return await gather_bounded(*aws, **options)

    return asyncio.run(main())


def said(misuse, *args, **options):
    with pytest.raises((TypeError, ValueError, AttributeError)) as raised:
        misuse(*args, **options)
    return str(raised.value)


# Keywords


NOTHING_TO_SET_UP = (
    "a `def` runs in fanmap's threads and an `async def` on the event loop, with nothing to set up; the number of "
    "calls at once is max_concurrency="
)
DECORATOR = {
    "concurrency": "write max_concurrency=8",
    "max_workers": "write max_concurrency=8",
    "workers": "write max_concurrency=8",
    "n": "write max_concurrency=8",
    "n_jobs": "write max_concurrency=8",
    "limit": "write max_concurrency=8",
    "semaphore": "write max_concurrency=8",
    "requests_per_minute": "write rpm=8",
    "rate_limit": "write rpm=8",
    "rps": "write rate=Rate(8, per=1.0)",
    "rpd": "write rate=Rate(8, per=86400.0)",
    "tokens_per_minute": "write tpm=8",
    "retries": "write retry=Retry(attempts=9)",  # a repeat is not an attempt
    "max_retries": "write retry=Retry(attempts=9)",
    "attempts": "write retry=Retry(attempts=8)",
    "backoff": "write retry=Retry(wait=...)",
    "progress": "it belongs to a run, function.map(inputs, progress=True)",
    "deadline": "it belongs to a run, function.map(inputs, deadline=8)",
    "return_exceptions": "it belongs to a run, function.map(inputs, return_exceptions=True)",
    "on_error": "it belongs to a run, function.map(inputs, return_exceptions=True)",
    "resume": "it belongs to a run, function.map(inputs, resume=...)",
    "cache": 'it belongs to a run, function.map(inputs, resume="answers.jsonl")',
    "max_wait": "write limits=Limits(max_wait=8)",
    "budget": "write limits=...",
    "batch_size": "inputs are taken one by one, so there are no chunks; the number of calls at once is max_concurrency=",
    "ordered": "map, amap and imap keep the order of the inputs, and as_completed gives outcomes as they finish",
    "n_workers": "write max_concurrency=8",
    "initializer": NOTHING_TO_SET_UP,  # concurrent.futures
    "thread_name_prefix": NOTHING_TO_SET_UP,
    "prefer": NOTHING_TO_SET_UP,  # joblib
    "pre_dispatch": (
        "imap and as_completed read the inputs while you take results, at most 8 times the concurrency ahead"
    ),
    "return_as": "imap hands out results one at a time in the order of the inputs, and as_completed as they finish",
    "max_at_once": "write max_concurrency=8",  # aiometer
    "max_per_second": "write rate=Rate(8, per=1.0)",
    "stop": "write retry=Retry(stop=...)",  # tenacity
    "wait": "write retry=Retry(wait=...)",
    "on": "write retry=Retry(on=...)",
    "reraise": "what is raised is always the function's own exception",
    "before_sleep": "there are no callbacks for repeats, and `stats.attempts` counts them",
    "stop_after_attempt": "write retry=Retry(attempts=8)",  # LangChain
    "retry_if_exception_type": "write retry=Retry(on=...)",
    "config": "settings are keyword arguments, such as max_concurrency=8",
    "max_bucket_size": "write rate=Rate(..., burst=8)",
    "callbacks": "it belongs to a run, function.map(inputs, progress=callback)",
    "iterable": "it belongs to a run, function.map(inputs)",
    "function": "write parallel_map(function)",
    "max_concurency": "did you mean max_concurrency=?",
    "flavour": "it takes max_concurrency, rpm, tpm, rate, retry, timeout, limits",
}


@pytest.mark.parametrize("word", DECORATOR)
def test_a_keyword_of_the_decorator(word):
    text = f"parallel_map() got an unexpected keyword argument {word!r}: {DECORATOR[word]}"
    assert said(parallel_map, **{word: 8}) == text
    assert said(parallel_map, function, **{word: 8}) == text


RUN = {
    "n_jobs": "write max_concurrency=5",
    "max_workers": "write max_concurrency=5",
    "concurrency": "write max_concurrency=5",
    "rpm": "it belongs to the function, parallel_map(rpm=5) or NAME.with_options(limits=Limits(rpm=5))",
    "retry": "it belongs to the function, parallel_map(retry=Retry(attempts=5)) or NAME.with_options(retry=Retry(attempts=5))",
    "timeout": "it belongs to the function, parallel_map(timeout=5) or NAME.with_options(timeout=5); for the whole run, write deadline=5",
    "limits": "it belongs to the function, parallel_map(limits=...) or NAME.with_options(limits=...)",
    "max_wait": "write limits=Limits(max_wait=5)",
    "model": "write NAME.partial(model=...) first, for a value that all items share",
    "modl": "did you mean NAME.partial(model=...)?",
    "total_timeout": "write deadline=5",
    "verbose": "write progress=True",
    "continue_on_error": "write return_exceptions=True",
    "raise_on_error": "the first failure ends a run anyway, unless you write return_exceptions=True",
    "disable": "there is no bar unless you write progress=True",  # tqdm
    "ncols": "write progress=True",
    "stop": "it belongs to the function, parallel_map(retry=Retry(stop=...)) or NAME.with_options(retry=Retry(stop=...))",
    "iterable": "write NAME.METHOD(inputs)",
    "progres": "did you mean progress=?",
}


@pytest.mark.parametrize("word", RUN)
def test_a_keyword_of_a_run_before_anything_is_called(word):
    for method in ("map", "imap", "as_completed", "amap"):
        decorated = aask if method == "amap" else ask
        name = decorated.__name__
        run = (lambda *args, **options: asyncio.run(aask.amap(*args, **options))) if method == "amap" else None
        text = said(run or getattr(decorated, method), ["a"], **{word: 5})
        line = RUN[word].replace("NAME", name).replace("METHOD", method)
        assert text == f"{name}.{method}() got an unexpected keyword argument {word!r}: {line}"


def test_a_keyword_that_is_neither_ours_nor_the_functions_lists_what_there_is():
    text = said(ask.map, ["a"], flavour=5)
    assert text.startswith(
        "ask.map() got an unexpected keyword argument 'flavour': it takes inputs, unpack, return_exceptions"
    )
    assert text.endswith("key, encode, decode, version, durable, and ask has no argument with that name")


def test_several_at_once_are_all_answered():
    text = said(parallel_map, concurrency=4, retries=2, progress=True, chunks=3)
    assert text == (
        "parallel_map() got unexpected keyword arguments 'concurrency', 'retries', 'progress', 'chunks': "
        "write max_concurrency=4, retry=Retry(attempts=3); "
        "it belongs to a run, function.map(inputs, progress=True); "
        "inputs are taken one by one, so there are no chunks; the number of calls at once is max_concurrency="
    )


def test_a_value_is_shown_only_where_it_is_the_number_of_a_setting():
    assert said(ask.map, ["a"], workers="a secret") == (
        "ask.map() got an unexpected keyword argument 'workers': write max_concurrency=..."
    )
    for misuse in (ask.map, parallel_map, Limits, Retry, ask.with_options, ask.partial):
        for word in ("system", "workers", "retries", "modl", "rps"):
            assert "a secret" not in said(misuse, *([["a"]] if misuse == ask.map else []), **{word: "a secret"})


CLASSES = [
    (Limits, {"concurrency": 8}, "Limits() got an unexpected keyword argument 'concurrency': write max_concurrency=8"),
    (Limits, {"rps": 8}, "Limits() got an unexpected keyword argument 'rps': write rate=Rate(8, per=1.0)"),
    (Limits, {"timeout": 8}, "...'timeout': it belongs to the calls, parallel_map(limits=..., timeout=8)"),
    (Limits, {"progress": 8}, "...'progress': it belongs to a run, function.map(inputs, progress=True)"),
    (Retry, {"max_attempts": 3}, "Retry() got an unexpected keyword argument 'max_attempts': write attempts=3"),
    (Retry, {"retries": 3}, "...'retries': write attempts=4"),
    (Retry, {"exceptions": KeyError}, "...'exceptions': write on=..."),
    (Retry, {"backoff": 2}, "...'backoff': write wait=tenacity.wait_exponential_jitter(...)"),
    (Retry, {"deadline": 60}, "...'deadline': write total=60"),
    (Retry, {"attempt": 3}, "...'attempt': did you mean attempts=?"),
    (Retry, {"retries": 0}, "...'retries': write attempts=1"),
    (Retry, {"retry": KeyError}, "...'retry': write on=..."),
    (Retry, {"status_codes": [503]}, '...write on=tenacity.retry_if_exception(lambda error: getattr(error, "status_code", 0) in (503,))'),
    (Retry, {"wait_max": 5}, "...'wait_max': write wait=tenacity.wait_exponential_jitter(...)"),
    (Retry, {"reraise": True}, "...'reraise': what is raised is always the function's own exception"),
    (Limits, {"burst": 5}, "...'burst': write rate=Rate(..., burst=5)"),
    (Limits, {"budget": 5}, "...'budget': write max_spend=5"),
    (Limits, {"share": "openai"}, "...'share': write shared=..."),
    (Limits, {"redis_url": "redis://h"}, '...\'redis_url\': write shared="redis://HOST:6379/0#NAME"'),
    (Rate, {"rpm": 500}, "Rate() got an unexpected keyword argument 'rpm': write Rate(500)"),
    (Rate, {"amount": 500, "seconds": 60}, "...'seconds': write per=60"),
    (Rate, {"rps": 5}, "...'rps': write Rate(5, per=1.0)"),
    (Rate, {"tpm": 5}, "...'tpm': write tpm=5 in place of the Rate"),
    (Adaptive, {"min": 1, "max": 3}, "Adaptive() got unexpected keyword arguments 'min', 'max': write minimum=1, maximum=3"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "options", "text"), CLASSES, ids=[f"{one[0].__name__}-{next(iter(one[1]))}" for one in CLASSES]
)
def test_a_keyword_of_a_class(kind, options, text):
    assert said(kind, **options).endswith(text.removeprefix("..."))


OPTIONS = {
    "rpm": "write limits=Limits(rpm=4)",
    "rate": "write limits=Limits(rate=4)",
    "rps": "write limits=Limits(rate=Rate(4, per=1.0))",
    "model": "write ask.partial(model=...) first, for a value that all items share",
    "retries": "write retry=Retry(attempts=5)",
    "workers": "write max_concurrency=4",
    "progress": "it belongs to a run, ask.map(inputs, progress=True)",
}


@pytest.mark.parametrize("word", OPTIONS)
def test_a_keyword_of_with_options(word):
    assert said(ask.with_options, **{word: 4}) == (
        f"ask.with_options() got an unexpected keyword argument {word!r}: {OPTIONS[word]}"
    )


def test_a_keyword_of_partial_that_the_function_does_not_have():
    assert (
        said(ask.partial, modl="x") == "ask.partial() got an unexpected keyword argument 'modl': did you mean model=?"
    )
    assert said(aask.partial, size="x") == (
        "aask.partial() got an unexpected keyword argument 'size': it takes prompt, model"
    )
    assert said(ask.partial, max_concurrency=4) == (
        "ask.partial() got an unexpected keyword argument 'max_concurrency': settings go to "
        "ask.with_options(...), parallel_map(...) or the run"
    )
    assert said(ask.partial, 1, 2, 3) == "ask.partial(): too many positional arguments"


def test_partial_takes_what_a_wrapper_takes():
    """A wrapper may have parameters that what it wraps does not have, and a builtin may tell nothing."""

    def plain(prompt):
        return prompt

    def wrapper(prompt, *, times=1):
        return plain(prompt) * times

    wrapper.__wrapped__ = plain
    assert parallel_map(wrapper).partial(times=2).map(["a"]) == ["aa"]
    assert parallel_map(lambda prompt, **options: options).partial(any=1).map(["a"]) == [{"any": 1}]
    assert parallel_map(int).partial(base=2).map(["11"]) == [3]
    assert parallel_map(max).partial(3).map([1, 5]) == [3, 5]


GATHER = {
    "limit": "write max_concurrency=5",
    "max_at_once": "write max_concurrency=5",
    "n": "write max_concurrency=5",
    "retries": "write retry=Retry(attempts=6)",
    "deadline": "write `async with asyncio.timeout(...)` around it",
    "resume": "only runs of a decorated function have it: `await function.amap(inputs, resume=...)`",
}


@pytest.mark.parametrize("word", GATHER)
def test_a_keyword_of_gather_bounded_leaves_no_coroutine_unawaited(word):
    for aws in ([answer()], [[answer(), answer()]], [answer(), answer()]):
        assert said(gathering, *aws, **{word: 5}) == (
            f"gather_bounded() got an unexpected keyword argument {word!r}: {GATHER[word]}"
        )


def test_a_number_that_the_setting_does_not_take_is_not_in_the_line():
    for value, line in {
        -1: '"auto"',
        0: "...",
        8.0: "8",
        8.5: "...",
        True: "...",
        "auto": '"auto"',
        None: "...",
    }.items():
        assert said(ask.map, ["a"], n_jobs=value).endswith(f"write max_concurrency={line}")
    assert said(parallel_map, retries=0).endswith("write retry=False")
    assert said(parallel_map, max_retries=2.0).endswith("write retry=Retry(attempts=3)")
    assert said(parallel_map, max_retries=-1).endswith("write retry=Retry(attempts=...)")
    assert said(ask.map, ["a"], total_timeout=float("inf")).endswith("write deadline=...")
    assert said(ask.with_options, rpm="auto").endswith('write limits=Limits(rpm="auto")')
    assert said(ask.map, ["a"], raise_on_error=False).endswith("write return_exceptions=True")


def test_inputs_by_another_name():
    for word in ("prompt", "iterable", "items"):
        assert said(ask.map, **{word: ["a"]}) == (
            f"ask.map() got an unexpected keyword argument {word!r}: write ask.map(inputs)"
        )
    text = "gather_bounded() got an unexpected keyword argument 'coros': write gather_bounded(coroutines)"
    assert said(gathering, coros=[answer()]) == text


def test_the_bridge_takes_the_function_only():
    settings = "takes the function only, and settings belong to parallel_map"
    assert said(to_sync, answer, timeout=5) == (
        f"to_sync() got an unexpected keyword argument 'timeout': to_sync {settings}"
    )
    assert said(to_async, function, executor=None).endswith(f"'executor': to_async {settings}")
    assert said(to_async, func=function).endswith("'func': write to_async(function)")


# What is missing


def test_a_call_that_lacks_an_argument():
    assert said(ask.map) == "ask.map() needs inputs: write ask.map(inputs)"
    assert said(ask.imap) == "ask.imap() needs inputs: write ask.imap(inputs)"
    assert said(lambda: asyncio.run(aask.amap())) == "aask.amap() needs inputs: write aask.amap(inputs)"
    assert said(ask.batch, ["a"]) == (
        'ask.batch() needs resume: write resume="answers.jsonl", the file that holds the job'
    )
    assert said(Rate) == "Rate() needs amount: write Rate(500, per=60)"
    assert said(to_sync).endswith("write to_sync(function), or @to_sync without parentheses")
    assert said(ask.map, ["a"], inputs=["a"]) == "ask.map() got multiple values for argument 'inputs'"


# Positions


def test_arguments_by_position():
    prompts = ["a", "b"]
    function_alone = "parallel_map() takes 1 positional argument, the function: write parallel_map"
    assert said(parallel_map, function, prompts) == f"{function_alone}(function).map(inputs)"
    assert said(parallel_map, prompts, function) == f"{function_alone}(function).map(inputs)"
    assert said(parallel_map, function, 8) == f"{function_alone}(function, max_concurrency=8)"
    inputs_alone = "ask.map() takes 1 positional argument, the inputs: write ask.map"
    assert said(ask.map, "p1", "p2") == f"{inputs_alone}([one, two])"
    assert said(ask.map, prompts, prompts) == f"{inputs_alone}(zip(inputs, others), unpack=True)"
    assert said(ask.map, prompts, 8) == f"{inputs_alone}(inputs, max_concurrency=8)"
    assert said(ask.map, function, prompts) == f"{inputs_alone}(inputs)"
    assert said(ask.map, prompts, "large").endswith("write ask.partial(model=...).map(inputs)")
    assert said(parallel_map, 8, function) == f"{function_alone}(function, max_concurrency=8)"
    assert said(ask.imap, prompts, 8).endswith("write ask.imap(inputs, max_concurrency=8)")
    assert said(lambda: asyncio.run(aask.amap("p1", "p2"))).endswith("write aask.amap([one, two])")
    assert said(Limits, 8, 500, 200_000) == (
        "Limits() takes 1 positional argument, max_concurrency: write Limits(8, rpm=500, tpm=200000)"
    )
    assert said(Retry, 3, KeyError).endswith("write Retry(3, on=..., wait=..., stop=..., total=...)")
    assert said(Rate, 1, 2, 3).endswith("write Rate(amount, per, burst=..., cost=..., usage=...)")
    assert said(to_sync, answer, "x") == (
        "to_sync() takes 1 positional argument, the function: write to_sync(function)(...)"
    )
    no_positions = "ask.with_options() takes no positional arguments: write ask.with_options"
    assert said(ask.with_options, 3) == f"{no_positions}(max_concurrency=3)"
    assert said(ask.with_options, Limits()) == f"{no_positions}(limits=...)"
    assert said(ask.with_options, {"rpm": 3}) == f"{no_positions}(timeout=30.0)"


def test_what_gather_bounded_is_given_by_position():
    cannot = "gather_bounded takes awaitables or zero-argument functions that return one, got "
    assert (
        said(gathering, [answer(), answer()], 5)
        == f"{cannot}a list: write gather_bounded(coroutines, max_concurrency=5)"
    )
    assert (
        said(gathering, 5, answer(), answer())
        == f"{cannot}an int: write gather_bounded(*coroutines, max_concurrency=5)"
    )
    assert said(gathering, answer, ["a"]) == f"{cannot}a list: write gather_bounded(answer(item) for item in inputs)"
    assert said(gathering, aask, ["a"]) == f"{cannot}a list: write `await aask.amap(inputs)`"
    assert said(gathering, {"a": answer()}) == f"{cannot}a dict: write gather_bounded(coroutines.values())"
    assert said(gathering, [answer()], [answer()]) == (
        f"{cannot}a list: write gather_bounded(coroutines) with one iterable, or gather_bounded(*coroutines, *others)"
    )
    assert said(gathering, answer(), Limits()) == f"{cannot}a Limits: write gather_bounded(*coroutines, limits=...)"
    assert said(gathering, "answer") == (
        f"{cannot}a str: if a blocking function returned it, decorate that function and write `await function.amap(inputs)`"
    )
    assert said(gathering, None).startswith(f"{cannot}None: if a blocking function returned it")
    assert said(gathering, asyncio.Semaphore(3), [answer()]) == (
        f"{cannot}a Semaphore: write gather_bounded(coroutines, max_concurrency=...)"
    )
    assert said(gathering, concurrent.futures.Future()) == f"{cannot}a Future: write asyncio.wrap_future(future)"


@pytest.mark.parametrize(
    "options",
    [
        {"max_concurrency": 0}, {"rpm": -1}, {"timeout": 0}, {"retry": 3}, {"retry": Retry()}, {"limits": 5},
        {"limits": Limits(), "rpm": 5}, {"limits": Limits(), "max_concurrency": "auto"}, {"progress": 3}, {"rate": 5},
    ],
    ids=lambda options: "-".join(options),
)  # fmt: skip
def test_a_wrong_setting_of_gather_bounded_leaves_no_coroutine_unawaited(options):
    said(gathering, answer(), answer(), **options)
    said(gathering, [answer(), answer()], **options)


# What is decorated


class Chain:
    """As LangChain's: it is not called, a method of it is."""

    def __getattr__(self, name):
        raise AssertionError("it is not to be asked")

    def invoke(self, prompt):
        return prompt


def test_what_is_no_function():
    wanted = "parallel_map must be given a function, got "
    assert (
        said(parallel_map, answer())
        == f"{wanted}coroutine: write the function without calling it, parallel_map(function)"
    )
    assert (
        said(parallel_map, ["a"]) == f"{wanted}list: write parallel_map(function), and give the inputs to .map(inputs)"
    )
    assert said(parallel_map, Chain()) == f"{wanted}Chain: write parallel_map(obj.invoke), where obj is your Chain"
    assert said(parallel_map, property(function)) == f"{wanted}property: write @property above @parallel_map"
    assert said(parallel_map, functools.cached_property(function)).endswith(
        "write @cached_property above @parallel_map"
    )
    assert said(parallel_map, 8) == f"{wanted}int: write parallel_map(max_concurrency=8)"
    assert said(parallel_map, -1) == f'{wanted}int: write parallel_map(max_concurrency="auto")'
    assert said(parallel_map, "auto") == f'{wanted}str: write parallel_map(max_concurrency="auto")'
    assert said(parallel_map, Limits()) == f"{wanted}Limits: write parallel_map(limits=...)"


class Table:
    """Like a data frame, it has no truth value, and comparing it gives another one."""

    __hash__ = None

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise ValueError("the truth value of a Table is ambiguous")


def test_a_value_that_does_not_compare():
    assert said(parallel_map, Table()).startswith("parallel_map must be given a function, got Table: write")
    assert said(Limits, Table()).startswith('max_concurrency must be an int >= 1, "auto" or an Adaptive, got <')
    assert said(Limits, rpm=Table()).startswith('rpm must be a number > 0 or "auto", got <')
    assert said(ask.map, ["a"], max_concurrency=Table()).startswith("max_concurrency must be an int >= 1, got <")


def test_a_decorator_that_has_no_function_yet():
    without = parallel_map(rpm=5)
    assert repr(without) == "<parallel_map(...) under Limits(max_concurrency=8, rpm=5), without its function>"
    assert said(getattr, without, "map") == (
        "parallel_map(...) without its function has no attribute 'map': write parallel_map(...)(function).map(inputs)"
    )
    assert said(getattr, without, "flavour").endswith("has no attribute 'flavour'")
    for functions in ((), (function, ["a"])):
        assert said(without, *functions) == (
            "parallel_map(...) takes 1 positional argument, the function: write parallel_map(...)(function).map(inputs)"
        )


def test_what_the_bridge_cannot_take():
    async def chunks():
        yield 1

    wanted = "to_sync must be given an `async def`, got "
    assert said(to_sync, 5) == f"{wanted}int"
    assert said(to_sync, None) == f"{wanted}None"
    assert said(to_sync, chunks) == (
        f"{wanted}an async generator function (chunks): decorate the function with @parallel_map and write "
        "`for index, chunk in function.stream(inputs)`"
    )
    wanted = "to_async must be given a `def`, got "
    assert said(to_async, None) == f"{wanted}None"
    assert said(to_async, function("a")) == f"{wanted}str: write the function without calling it, to_async(function)"
    assert said(to_async, answer) == f"{wanted}an `async def` (answer): await it directly"


# What the inputs are


async def endless():
    yield "a"


class Indexed:  # as torch's data sets: no `__iter__`
    def __getitem__(self, index):
        raise IndexError


INPUTS = [
    (None, "None"),
    (Indexed(), "an Indexed: write ask.map(list(inputs))"),
    (5, "an int: for a single input write ask(item)"),
    (function, "a function: call it, and give what it returns"),
    (concurrent.futures.Future(), "a Future: write ask.map(future.result())"),
    (queue.Queue(), "a Queue: write ask.map(iter(queue.get, None)), which ends at the first None"),
    (asyncio.Queue(), "a Queue: write an async generator that yields `await queue.get()`"),
    (pathlib.PurePosixPath("prompts.txt"), "a PurePosixPath: write ask.map(open(path)) for the lines of a file"),
    (collections.OrderedDict(a=1), "an OrderedDict: write ask.map(inputs.items(), unpack=True), ask.map(inputs.values()) or ask.map(list(inputs))"),
]  # fmt: skip


@pytest.mark.parametrize(("inputs", "line"), INPUTS, ids=lambda one: type(one).__name__)
def test_what_cannot_be_the_inputs(inputs, line):
    assert said(ask.map, inputs) == f"ask.map must be given an iterable of inputs, got {line}"


def test_a_task_is_awaited_before_it_is_the_inputs():
    async def main():
        task = asyncio.ensure_future(answer())
        for given in (task, asyncio.gather(task)):
            line = f"must be given an iterable of inputs, got a {type(given).__name__}: await it first"
            for run in (ask.map, ask.imap, ask.as_completed):
                assert said(run, given) == f"ask.{run.__name__} {line}"
            with pytest.raises(TypeError, match=re.escape(f"ask.amap {line}")):
                await ask.amap(given)
            await given

    asyncio.run(main())


def test_what_must_be_awaited_before_it_is_the_inputs():
    made = answer()
    assert said(ask.map, made) == "ask.map must be given an iterable of inputs, got a coroutine: await it first"
    made.close()
    assert said(ask.map, endless()) == (
        "ask.map must be given an iterable, got an async_generator: write `await ask.amap(inputs)` or "
        "`async for ... in ask.imap(inputs)`"
    )


# Attributes


ATTRIBUTES = {
    "starmap": "write ask.map(inputs, unpack=True)",
    "submit": "write ask(...)",
    "imap_unordered": "write ask.as_completed(inputs)",
    "map_async": "write `await ask.amap(inputs)`",
    "aimap": "write `async for answer in ask.imap(inputs)`",
    "bind": "write ask.partial(name=value)",
    "options": "write ask.with_options(...)",
    "func": "write ask.__wrapped__",
    "close": "there is nothing to close: threads and loops need no shutdown",
    "shutdown": "there is nothing to close: threads and loops need no shutdown",
    "batch_as_completed": "write ask.as_completed(inputs)",
    "astream": "write ask.stream(inputs)",
    "with_config": "write ask.with_options(...)",
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_that_is_called_otherwise_here(name):
    assert said(getattr, ask, name) == f"'ParallelFunction' object has no attribute {name!r}: {ATTRIBUTES[name]}"


def test_an_attribute_that_nobody_knows_is_pythons_business():
    text = said(getattr, ask, "nap")
    assert text == "'ParallelFunction' object has no attribute 'nap'"
    with pytest.raises(AttributeError) as raised:
        ask.nap  # noqa: B018
    assert (raised.value.name, raised.value.obj) == ("nap", ask)  # so that Python's own "did you mean" works
    assert said(getattr, aask, "submit").endswith("write `await aask(...)`, or asyncio.create_task(aask(...))")
    assert not hasattr(ask, "__fspath__")


def test_attributes_of_what_people_are_handed():
    account, results = Limits(), ask.imap([])
    outcome = next(iter(parallel_map(function).as_completed(["a"])))
    lines = [
        (account, "acquire", "write `with account:` around the code, or `async with account:`"),
        (account, "in_flight", "write account.stats.in_flight"),
        (account, "map", "write @parallel_map(limits=account)"),
        (results, "tolist", "write list(results)"),
        (results, "cancel", "write results.stop()"),
        (outcome, "ok", "write outcome.error is None"),
        (outcome, "failed", "write outcome.error is not None"),
        (outcome, "exception", "write outcome.error"),
        (outcome, "input", "write inputs[outcome.index]"),
    ]
    for owner, name, line in lines:
        assert said(getattr, owner, name) == f"{type(owner).__name__!r} object has no attribute {name!r}: {line}"
        assert not hasattr(owner, "flavour")
        assert owner is results or copy.copy(owner) is not None  # a run cannot be copied


def test_a_setting_of_a_limits_cannot_be_changed():
    """It would change nothing, and say nothing."""
    account = Limits(rpm=500)
    for owner in (account, account.background):
        assert said(setattr, owner, "rpm", 1000) == "rpm cannot be changed: make another Limits(rpm=...)"
        assert said(setattr, owner, "max_concurrency", 2).startswith("max_concurrency cannot be changed")
        owner.note = "of one's own"


MODULE = {
    "pmap": "write parallel_map(function).map(inputs)",
    "gather": "write gather_bounded(...)",
    "Stats": "write from fanmap.types import Stats",
    "RateLimiter": "write Limits(...)",
    "SimulatedLLM": "write from fanmap.testing import SimulatedLLM",
}


@pytest.mark.parametrize("name", MODULE)
def test_a_name_of_the_module_that_is_called_otherwise_here(name):
    assert said(getattr, fanmap, name) == f"module 'fanmap' has no attribute {name!r}: {MODULE[name]}"


def test_a_name_of_the_module_that_nobody_knows_is_pythons_business():
    with pytest.raises(AttributeError, match="^module 'fanmap' has no attribute 'Limts'$") as raised:
        fanmap.Limts  # noqa: B018
    assert (raised.value.name, raised.value.obj) == ("Limts", fanmap)
    assert not hasattr(fanmap, "__path_of_none__")
    with pytest.raises(ImportError):
        from fanmap import gather  # noqa: F401


# Where a concurrency that adapts belongs


@pytest.mark.parametrize(
    ("given", "shown"), [("auto", '"auto"'), (Adaptive(4), "Adaptive(start=4, minimum=1, maximum=256)")]
)
def test_what_adapts_belongs_to_limits(given, shown):
    text = (
        f"max_concurrency of a run must be an int >= 1, got {shown}: only a Limits adapts, "
        f"so write parallel_map(max_concurrency={shown}) or Limits({shown})"
    )
    assert said(ask.map, ["a"], max_concurrency=given) == text
    assert said(ask.with_options, max_concurrency=given) == text
    assert said(gathering, answer(), limits=Limits(), max_concurrency=given) == text
    assert gathering(answer("a"), answer("b"), max_concurrency=given) == ["a", "b"]
    assert parallel_map(function, max_concurrency=given).map(["a"]) == ["a"]


# Values


@pytest.mark.parametrize(
    ("rate", "line"),
    [
        (10, "10: write rate=Rate(10, per=1.0) for 10 a second, or rpm=10 for 10 a minute"),
        (0, "0: write rate=Rate(..., per=1.0) for ... a second, or rpm=... for ... a minute"),
        (-1.5, "-1.5: write rate=Rate(..., per=1.0) for ... a second, or rpm=... for ... a minute"),
        ("10/s", "'10/s': write rate=Rate(10, per=1.0)"),
        ("500 / minute", "'500 / minute': write rate=Rate(500, per=60.0)"),
        ("1,000 per hour", "'1,000 per hour': write rate=Rate(1_000, per=3600.0)"),
        ((10, 1), "(10, 1): write rate=Rate(10, per=1)"),
        ([Rate(5), "2/s"], "'2/s': write rate=Rate(2, per=1.0)"),
        ("500rpm", "'500rpm': write rate=Rate(500, per=60.0)"),
        ("100/5s", "'100/5s': write rate=Rate(100, per=5.0)"),
        ((10, "s"), "(10, 's'): write rate=Rate(10, per=1.0)"),
        ((10, "x"), "(10, 'x')"),
        ("20 per sec", "'20 per sec': write rate=Rate(20, per=1.0)"),
        ("5000rpd", "'5000rpd': write rate=Rate(5000, per=86400.0)"),
        ("100/month", "'100/month'"),
        ("100/ms", "'100/ms'"),
        ((10, "month"), "(10, 'month')"),
        ("auto", '\'auto\': write rpm="auto" or tpm="auto"'),
        (None, "None: leave it out, or write rate=()"),
        (Rate, "<class 'fanmap._policy.limits.rate.Rate'>: write rate=Rate(amount, per)"),
        ("fast", "'fast'"),
        ({"rpm": 5}, "{'rpm': 5}"),
    ],
    ids=str,
)
def test_a_rate_that_is_none(rate, line):
    assert said(Limits, rate=rate) == f"rate must be a Rate, an aiolimiter.AsyncLimiter or several of them, got {line}"


def test_times_are_seconds():
    assert said(Rate, 5, "minute") == "per must be a number > 0, got 'minute': write 60.0, in seconds"
    assert (
        said(ask.map, ["a"], deadline="2 min") == "deadline must be a number > 0, got '2 min': write 120.0, in seconds"
    )
    assert said(parallel_map, timeout=datetime.timedelta(seconds=3)).endswith(": write 3.0, in seconds")
    assert said(ask.batch, ["a"], resume="none.jsonl", wait="1h") == (
        "wait must be >= 0 seconds or None, got '1h': write 3600.0, in seconds"
    )
    assert said(parallel_map, timeout="30") == "timeout must be a number > 0, got '30'"
    assert said(Limits, max_wait="90 secs").endswith(": write 90.0, in seconds")
    for word in ("500ms", "1 month", "default", "max", "short", "disabled"):
        assert said(parallel_map, timeout=word) == f"timeout must be a number > 0, got {word!r}"
    assert said(Limits, rpm="5m") == "rpm must be a number > 0 or \"auto\", got '5m'"


@pytest.mark.parametrize(
    "number",
    [decimal.Decimal(3), fractions.Fraction(3)],
    ids=lambda one: type(one).__name__,
)
def test_a_number_that_is_not_pythons_own(number):
    line = f"got {number!r}: write float(value)"
    assert said(parallel_map, timeout=number) == f"timeout must be a number > 0, {line}"
    assert said(Limits, rpm=number) == f'rpm must be a number > 0 or "auto", {line}'
    assert said(Limits, max_spend=number) == f"max_spend must be a number > 0, {line}"
    assert said(Limits, number).endswith(f"got {number!r}")  # nobody knows whether it is whole
    assert said(Limits, rate=number).endswith(": write rate=Rate(amount, per)")


def test_a_whole_number_that_is_not_pythons_own():
    class Int64:  # as numpy's
        def __repr__(self):
            return "int64(3)"

    numbers.Integral.register(Int64)
    line = "got int64(3): write int(value)"
    assert said(parallel_map, timeout=Int64()) == f"timeout must be a number > 0, {line}"
    assert said(Limits, rpm=Int64()) == f'rpm must be a number > 0 or "auto", {line}'
    assert said(Limits, Int64()) == f'max_concurrency must be an int >= 1, "auto" or an Adaptive, {line}'
    assert said(ask.map, ["a"], max_concurrency=Int64()) == f"max_concurrency must be an int >= 1, {line}"
    assert (
        said(ask.map, ["a"], return_exceptions=True, max_failures=Int64())
        == f"max_failures must be an int >= 1, {line}"
    )
    assert said(Rate, Int64()) == f"amount must be a number > 0, {line}"


def test_a_concurrency_that_is_none():
    wanted = 'max_concurrency must be an int >= 1, "auto" or an Adaptive, got '
    assert said(Limits, "8") == f"{wanted}'8': write 8"
    assert said(Limits, "Auto") == f"{wanted}'Auto': write \"auto\""
    assert said(Limits, "many") == f"{wanted}'many'"
    assert said(Limits, 8.0) == f"{wanted}8.0"
    assert said(Limits, Rate(5)) == f"{wanted}Rate(5): write rate=..."
    assert said(Limits, Adaptive).endswith(": write Adaptive()")
    assert said(Limits, threading.Semaphore(3)).endswith(": write the number of calls at once")


def test_limits_that_are_none():
    wanted = "limits must be a Limits or None, got "
    assert said(parallel_map, limits=8) == (
        f"{wanted}8: write limits=Limits(8) for 8 at once, or limits=Limits(rpm=8) for 8 a minute"
    )
    assert said(parallel_map, limits=1.5) == (
        f"{wanted}1.5: write limits=Limits(...) for ... at once, or limits=Limits(rpm=1.5) for 1.5 a minute"
    )
    for number in (0, float("nan"), 10**400):
        line = ": write limits=Limits(...) for ... at once, or limits=Limits(rpm=...) for ... a minute"
        assert said(parallel_map, limits=number).endswith(line)
    assert said(parallel_map, limits={"rpm": 5}) == f"{wanted}{{'rpm': 5}}: write limits=Limits(**settings)"
    assert said(parallel_map, limits="a").endswith(
        "write limits=Limits(shared=...) for one that several processes name"
    )
    assert said(parallel_map, limits=ask).endswith(": write limits=function.limits")
    assert said(parallel_map, limits=Rate(5)) == f"{wanted}Rate(5): write rate=..."
    assert said(parallel_map, limits=Limits).endswith(": write limits=Limits()")
    assert said(parallel_map, limits=[Limits()]).endswith(": a function has one Limits, which may have several rates")
    assert said(parallel_map, limits=asyncio.Semaphore(3)).endswith(": write limits=Limits(max_concurrency=...)")


def test_a_retry_that_is_none():
    wanted = "retry must be a Retry, False or None, got "
    statuses = 'on=tenacity.retry_if_exception(lambda error: getattr(error, "status_code", 0) in (429, 500))'
    lines = [
        (3, "3: write retry=Retry(attempts=3)"), (3.0, "3.0: write retry=Retry(attempts=3)"),
        (0, "0: write retry=False"), (-1, "-1: write retry=Retry(attempts=4)"),
        ("3", "'3': write retry=Retry(attempts=3)"), (True, "True: write retry=Retry(attempts=4)"),
        (KeyError, "<class 'KeyError'>: write retry=Retry(on=KeyError)"),
        ((KeyError, OSError), "(<class 'KeyError'>, <class 'OSError'>): write retry=Retry(on=(KeyError, OSError))"),
        (KeyError | OSError, "KeyError | OSError: write retry=Retry(on=(KeyError, OSError))"),
        ([500, 429], f"[500, 429]: write retry=Retry({statuses})"),
        ({"attempts": 3}, "{'attempts': 3}: write retry=Retry(**settings)"),
        (Retry, "<class 'fanmap._policy.runs.attempt.Retry'>: write retry=Retry()"),
        (tenacity.wait_fixed(1), "a wait_fixed of tenacity's: write retry=Retry(wait=...) with that strategy"),
        (tenacity.AsyncRetrying(), "an AsyncRetrying of tenacity's: write retry=Retry(4, on=..., wait=..., stop=...) with its strategies"),
    ]  # fmt: skip
    for value, line in lines:
        assert said(parallel_map, retry=value) == wanted + line
    assert said(parallel_map, retry=10**400).endswith("0: write retry=Retry(attempts=4)")
    assert said(parallel_map, retry=function).endswith("write retry=Retry(on=tenacity.retry_if_exception(function))")
    assert said(parallel_map, retry=tenacity.retry()).endswith(
        "write retry=Retry(4, on=..., wait=..., stop=...) with its strategies"
    )
    assert said(Retry, KeyError) == "attempts must be an int >= 1, got <class 'KeyError'>: write on=KeyError"
    assert said(Retry, tenacity.stop_after_attempt(3)).endswith(": write stop=...")
    assert said(Retry, stop=3) == "stop must be a tenacity stop strategy or None, got 3: write attempts=3"
    assert said(Retry, stop=0) == "stop must be a tenacity stop strategy or None, got 0"
    assert said(Retry, stop="1 min").endswith("got '1 min': write total=60.0, in seconds")
    assert said(Retry, wait="5s").endswith("got '5s': write 5.0, in seconds")


def test_what_a_retry_repeats_on():
    wanted = "on must be an exception class, a tuple of them or a tenacity strategy, got "
    assert said(Retry, on=KeyError | ValueError) == f"{wanted}KeyError | ValueError: write on=(KeyError, ValueError)"
    assert said(Retry, on=KeyError | None) == f"{wanted}KeyError | None"
    assert said(Retry, on=[KeyError, ValueError]) == (
        f"{wanted}[<class 'KeyError'>, <class 'ValueError'>]: write on=(KeyError, ValueError)"
    )
    assert said(Retry, on=[429, 500]) == (
        f'{wanted}[429, 500]: write on=tenacity.retry_if_exception(lambda error: getattr(error, "status_code", 0) '
        "in (429, 500))"
    )
    for value in (429, (429,), {429}):
        assert said(Retry, on=value).endswith("in (429,))")
    assert said(Retry, on=KeyError("a")).endswith(": write on=KeyError")
    assert said(Retry, on=[]) == f"{wanted}[]"
    assert said(Retry, on=(1, 2)) == f"{wanted}(1, 2)"


# Cost


def test_the_tables_are_read_only_where_something_is_wrong():
    script = (
        "import sys\n"
        "from fanmap import Limits, Rate, Retry, parallel_map\n"
        "ask = parallel_map(len, limits=Limits(8, rate=Rate(600)), retry=Retry(2))\n"
        "ask.partial([]); ask.with_options(timeout=3); ask.map(['a']); hasattr(ask, '__fspath__')\n"
        "print([name for name in sys.modules if name.startswith('fanmap._hints')])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_word_is_in_one_table_only():
    """A word that stands twice would be answered by whichever line comes first."""
    from fanmap._hints import words

    tables = (words.ATTRIBUTES, words.OF_MODULE, *words.OF_CLASS.values(), *words.OF_OBJECTS.values(), words._SETTINGS)
    for table in tables:
        every = [word for line in table.values() for word in line.split()]
        assert sorted({word for word in every if every.count(word) > 1}) == []


def test_no_word_in_the_tables_is_an_attribute_or_parameter_that_exists():
    from fanmap._hints import words

    for name in " ".join(words.ATTRIBUTES.values()).split():
        assert not hasattr(fanmap.ParallelFunction, name), name
    # `testing` is there once somebody has imported it.
    assert not set(" ".join(words.OF_MODULE.values()).split()) & set(dir(fanmap)) - {"testing"}
    for line, names in words.OF_MODULE.items():
        if line.startswith("from fanmap"):
            module = importlib.import_module(line.split()[1])
            assert [name for name in names.split() if name not in ("testing", *dir(module))] == []
    for kind, lines in words.OF_OBJECTS.items():
        owner = {"Limits": Limits, "Results": fanmap.types.Results, "Outcome": fanmap.Outcome}[kind]
        exist = {*dir(owner), *getattr(owner, "__annotations__", ())}
        assert not set(" ".join(lines.values()).split()) & exist, kind
    for kind, lines in words.OF_CLASS.items():
        parameters = set(re.findall(r"(\w+)=", " ".join(lines))) & {"amount", "per", "burst", "cost", "attempts", "on"}
        assert not parameters & set(" ".join(lines.values()).split()), kind
