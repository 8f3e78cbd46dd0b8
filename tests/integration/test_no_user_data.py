"""Prompts, replies and keys appear in no text of fanmap's own: exceptions, notes, logs, warnings, reprs (G13)."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import warnings

import pytest
import tenacity
import trio

from fanmap import (
    CallTimeout,
    DeadlineExceeded,
    Limits,
    NotRun,
    Rate,
    Retry,
    gather_bounded,
    parallel_map,
    partial_results,
    to_sync,
)

SECRET = "sk-the-prompt-and-the-key"


class Refused(Exception):
    def __init__(self, status, **headers):
        super().__init__("refused")
        self.status_code = status
        self.response = type("Response", (), {"status_code": status, "headers": headers})()


def texts_of(error):
    """Everything that a traceback shows of an exception and of what it came from, and its repr."""
    found = []
    while error is not None:
        found += [str(error), repr(error), *getattr(error, "__notes__", [])]
        error = error.__cause__ or error.__context__
    return found


def failing(function, *args, **options):
    with pytest.raises(BaseException) as raised:  # noqa: PT011 (whatever it is, its texts are looked at)
        function(*args, **options)
    return raised.value


def raising(error):
    def ask(prompt, key=None):
        raise error

    return ask


def identity(prompt, key=None):
    return prompt


async def slow(prompt, key=None):
    await asyncio.sleep(60)


async def slow_on_trio(prompt):
    await trio.sleep(60)


def late():
    """The failure of a call in a thread that ends once it has been given up."""
    over = threading.Event()
    try:
        return failing(parallel_map(lambda prompt: over.wait(), timeout=0.01).map, [SECRET])
    finally:
        over.set()


def unawaited(prompt):
    return slow(prompt)


def twice(function, *args):
    """The failures of two calls, one after the other."""
    return [failing(function, *args), failing(function, *args)]


def repeated():
    """A failure of a client that has sent its request again by itself."""
    error = ValueError("no")
    error.request = type("Request", (), {"headers": {"x-stainless-retry-count": "2"}})()
    return error


CASES = {
    "an item's failure": lambda: [failing(parallel_map(raising(ValueError("no"))).map, [SECRET])],
    "StopIteration": lambda: [failing(parallel_map(raising(StopIteration())).map, [SECRET])],
    "a deadline": lambda: [failing(parallel_map(slow).map, [SECRET] * 3, deadline=0.01)],
    "a timeout": lambda: [failing(parallel_map(slow, timeout=0.01).map, [SECRET])],
    "a timeout of a thread": lambda: [late()],
    "a timeout on trio": lambda: [failing(trio.run, parallel_map(slow_on_trio, timeout=0.01).amap, [SECRET])],
    "a result that was not wanted": lambda: [
        failing(
            parallel_map(identity, retry=Retry(2, on=tenacity.retry_if_result(lambda _: True), wait=0)).map, [SECRET]
        )
    ],
    "a string for inputs": lambda: [failing(parallel_map(identity).map, SECRET)],
    "an item that does not unpack": lambda: [failing(parallel_map(identity).map, [SECRET], unpack=True)],
    "a cost that is the prompt": lambda: [
        failing(parallel_map(identity, rate=Rate(9, cost=lambda prompt: prompt)).map, [SECRET])
    ],
    "no awaitable": lambda: [failing(lambda: asyncio.run(gather_bounded(SECRET)))],
    "a spent account": lambda: parallel_map(raising(Refused(402)), max_concurrency=1).map(
        [SECRET] * 3, return_exceptions=True
    ),
    "a wait beyond max_wait": lambda: parallel_map(
        raising(Refused(429, **{"retry-after": "99"})), limits=Limits(1, max_wait=1.0)
    ).map([SECRET] * 3, return_exceptions=True),
    "a call after such a wait": lambda: twice(
        parallel_map(raising(Refused(429, **{"retry-after": "99"})), limits=Limits(1, max_wait=1.0)), SECRET
    ),
    "a coroutine that nobody awaits": lambda: [failing(parallel_map(unawaited).map, [SECRET])],
    "a client on another event loop": lambda: [
        failing(parallel_map(raising(RuntimeError("Event loop is closed"))).map, [SECRET])
    ],
    "a client that repeats by itself": lambda: [failing(parallel_map(raising(repeated())).map, [SECRET])],
    "a classify that gives no verdict": lambda: parallel_map(
        raising(ValueError("no")), limits=Limits(classify=lambda error: SECRET)
    ).map([SECRET], return_exceptions=True),
    "a classify that fails": lambda: parallel_map(
        raising(ValueError("no")), limits=Limits(classify=lambda error: 1 / 0)
    ).map([SECRET], return_exceptions=True),
    "a result that cannot be kept": lambda: [resumed(lambda prompt: (prompt, prompt), SECRET)],
    "an input that has no key": lambda: [resumed(lambda prompt: 1, [SECRET, object()])],
    "a journal that cannot be opened": lambda: [
        failing(parallel_map(identity).map, [SECRET], resume="/nowhere/at/all")
    ],
    "the bridge on its own loop": lambda: [failing(to_sync(in_vain), SECRET)],
    "a dict for inputs": lambda: [failing(parallel_map(identity).map, {SECRET: SECRET})],
    "inputs by position": lambda: [
        failing(parallel_map(identity).map, SECRET, SECRET),
        failing(parallel_map(identity).map, [SECRET], [SECRET]),
        failing(parallel_map, identity, [SECRET]),
    ],
    "keywords that nobody knows": lambda: [
        failing(parallel_map(identity).map, [SECRET], system=SECRET, workers=SECRET, keys=SECRET),
        failing(parallel_map(identity).map, [SECRET], key=SECRET),
        failing(parallel_map(identity).with_options, system=SECRET, retries=SECRET),
        failing(parallel_map(identity).partial, system=SECRET),
        failing(parallel_map(identity).partial, SECRET, SECRET, SECRET),
        failing(lambda: asyncio.run(gather_bounded(system=SECRET, limit=SECRET))),
    ],
    "no awaitable among others": lambda: [
        failing(lambda: asyncio.run(gather_bounded({SECRET: SECRET}))),
        failing(lambda: asyncio.run(gather_bounded(identity, [SECRET]))),
        failing(lambda: asyncio.run(gather_bounded([SECRET], 5))),
    ],
    "a function that was called": lambda: [failing(parallel_map, identity(SECRET))],
    "tuples that were not unpacked": lambda: [failing(parallel_map(raising(ValueError("no"))).map, [(SECRET, SECRET)])],
    "dicts that were not unpacked": lambda: [
        failing(parallel_map(raising(ValueError("no"))).map, [{"prompt": SECRET}])
    ],
}


def resumed(function, item):
    with tempfile.TemporaryDirectory() as directory:
        return failing(parallel_map(function).map, [item], resume=f"{directory}/journal")


async def in_vain(prompt):
    to_sync(slow)(prompt)


@pytest.mark.parametrize("case", CASES)
def test_no_text_of_an_exception_note_log_or_warning_shows_the_prompt(case, caplog):
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        errors = CASES[case]()
    texts = [text for error in errors for text in texts_of(error)]
    assert len(texts) >= 2
    for text in [*texts, *caplog.messages, *(str(one.message) for one in warned)]:
        assert SECRET not in text


def test_no_repr_shows_prompts_replies_or_keys():
    ask = parallel_map(identity)
    with_key = ask.partial(key=SECRET)
    with with_key.imap([SECRET] * 3) as results:
        next(results)
        shown = [repr(results), repr(results.stats), repr(ask), repr(with_key), repr(ask._settings.limits.stats)]
    outcome = next(iter(ask.as_completed([SECRET])))
    assert outcome.value == SECRET
    failed = next(iter(parallel_map(raising(ValueError(SECRET))).as_completed([SECRET])))
    for text in [*shown, repr(outcome), repr(failed)]:
        assert SECRET not in text


def test_what_fanmap_raises_by_itself_has_a_text_that_helps():
    late = failing(parallel_map(slow).map, [1], deadline=0.01)
    assert isinstance(late, DeadlineExceeded) and "0.01" in str(late) and partial_results(late) == {}
    timeout = failing(parallel_map(slow, timeout=0.01).map, [1])
    assert isinstance(timeout, CallTimeout) and "0.01" in str(timeout)
    spent = parallel_map(raising(Refused(402)), max_concurrency=1).map([1, 2], return_exceptions=True)
    assert isinstance(spent[1], NotRun) and spent[1].__cause__ is spent[0] and "Refused" in str(spent[1])
