"""What is shown and said: a bar or a callable where it was asked for, advice once each, and otherwise nothing."""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import re
import subprocess
import sys
import time
import types
from itertools import pairwise

import pytest
import tenacity

import fanmap
from fanmap import Limits, Outcome, Rate, Retry, gather_bounded, parallel_map, partial_results, to_sync
from fanmap._drive import notices
from fanmap.testing import SimulatedLLM, VirtualTime, sleep

SECRET = "sk-a-key-or-a-prompt"


@pytest.fixture
def bars(monkeypatch):
    """The tqdm bars that were made, with what they showed: `(done, postfix)`."""
    auto = pytest.importorskip("tqdm.auto")
    made = []

    class Bar(auto.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.shown = []
            self.closed = 0
            made.append(self)

        def set_postfix_str(self, s="", refresh=True):
            self.shown.append((self.n, s))
            super().set_postfix_str(s, refresh=refresh)

        def close(self):
            self.closed += 1
            super().close()

    monkeypatch.setattr(auto, "tqdm", Bar)
    yield made
    assert all(bar.closed for bar in made)


@parallel_map(max_concurrency=4)
def slowly(number):
    time.sleep(0.05)
    return number


@parallel_map(max_concurrency=4)
async def aslowly(number):
    await asyncio.sleep(0.05)
    return number


# A bar


def test_a_bar_counts_to_the_end_and_is_closed(bars, capfd):
    assert slowly.map(range(12), progress=True) == list(range(12))
    (bar,) = bars
    assert (bar.total, bar.n, bar.desc) == (12, 12, "slowly")
    assert [done for done, _ in bar.shown] == sorted(done for done, _ in bar.shown)
    out, err = capfd.readouterr()
    assert out == ""
    assert "slowly: 100%" in err
    assert "call/s" in err


def test_a_bar_where_the_run_is_awaited_and_where_it_is_lazy(bars):
    async def main():
        assert await aslowly.amap(range(8), progress=True) == list(range(8))
        assert await gather_bounded(*[aslowly(number) for number in range(8)], progress=True) == list(range(8))
        return [number async for number in aslowly.imap(iter(range(8)), progress=True)]

    assert asyncio.run(main()) == list(range(8))
    assert list(slowly.imap(range(8), progress=True)) == list(range(8))
    assert [(bar.n, bar.total) for bar in bars] == [(8, 8), (8, 8), (8, None), (8, 8)]


def test_a_bar_says_what_failed_and_what_was_refused(bars):
    llm = SimulatedLLM(latency=0.02, max_concurrency=2)

    def ask(prompt):
        if prompt == "7":
            raise ValueError("no")
        return llm(prompt)

    with VirtualTime(), pytest.raises(ValueError, match="no"):
        parallel_map(ask, max_concurrency=4).map(map(str, range(8)), progress=True)
    assert re.fullmatch(r"failed 1, refused \d+", bars[0].shown[-1][1])


def waits(bar):
    return {part for _, postfix in bar.shown for part in postfix.split(", ") if "wait" in part}


def test_a_bar_says_what_the_run_waits_for(bars):
    with VirtualTime(start=1) as virtual:
        one = parallel_map(lambda _: sleep(0.05), limits=Limits(2))
        holders = [virtual.start(one, number) for number in range(10)]
        virtual.sleep(0)
        one.map(range(4), progress=True)
        for holder in holders:
            virtual.join(holder)
    assert waits(bars[-1]) == {"waiting for a slot"}

    with VirtualTime(start=1):
        parallel_map(rate=Rate(1, per=0.15))(int).map(range(4), progress=True)
    assert waits(bars[-1]) == {"waiting for the rate"}

    failures = [ConnectionError("gone")]

    @parallel_map(retry=Retry(attempts=2, wait=tenacity.wait_fixed(0.3)))
    def shaky(_):
        if failures:
            raise failures.pop()

    with VirtualTime(start=1):
        shaky.map(range(2), progress=True)
    assert waits(bars[-1]) == {"waiting to try again"}

    with VirtualTime(start=1):
        llm = SimulatedLLM(latency=0.001, rpm=200, burst=1)
        parallel_map(llm, max_concurrency=2).map(["a", "b"], progress=True)
    assert "the server asked to wait" in waits(bars[-1])


def test_a_bar_is_closed_however_the_run_ends(bars):
    @parallel_map(max_concurrency=2)
    def fails(number):
        time.sleep(0.01)
        if number == 3:
            raise ValueError("no")
        if number == 13:
            raise KeyboardInterrupt
        return number

    def numbers():
        yield 0
        raise LookupError("the input's own")

    async def cancelled():
        task = asyncio.create_task(aslowly.amap(range(1000), progress=True))
        await asyncio.sleep(0.12)
        task.cancel()
        await task

    with pytest.raises(ValueError, match="no"):
        fails.map(range(10), progress=True)
    with pytest.raises(ValueError, match="no"):
        list(fails.imap(range(10), progress=True))
    with pytest.raises(KeyboardInterrupt):
        fails.map(range(10, 20), progress=True)
    with pytest.raises(KeyboardInterrupt):
        list(fails.as_completed(range(10, 20), progress=True))
    with pytest.raises(LookupError):
        slowly.map(numbers(), progress=True)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    with pytest.raises(fanmap.DeadlineExceeded):
        slowly.map(range(1000), deadline=0.12, progress=True)
    with slowly.imap(range(1000), progress=True) as results:  # left early
        next(results)
    dropped = slowly.imap(range(1000), progress=True)
    next(dropped)
    del dropped
    assert len(bars) == 9
    assert all(bar.closed for bar in bars)


def test_without_tqdm_it_says_what_to_install_and_calls_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    called = []
    with pytest.raises(ImportError, match=r'progress=True needs tqdm: pip install "fanmap\[progress\]"'):
        parallel_map(called.append).map([1], progress=True)
    assert called == []


IN_A_NOTEBOOK_WITHOUT_IPYWIDGETS = """
import sys, types, warnings
warnings.simplefilter("error")
ipython = types.ModuleType("IPython")
ipython.get_ipython = lambda: types.SimpleNamespace(config={"IPKernelApp": 1})
sys.modules["IPython"] = ipython
sys.modules["ipywidgets"] = None
from fanmap import parallel_map
assert parallel_map(str).map([1, 2], progress=True) == ["1", "2"]
"""


def test_a_notebook_without_ipywidgets_gets_a_bar_of_text_and_no_warning():
    pytest.importorskip("tqdm")
    command = [sys.executable, "-c", IN_A_NOTEBOOK_WITHOUT_IPYWIDGETS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "2/2" in done.stderr
    assert "Warning" not in done.stderr


# A callable


def test_a_callable_gets_the_stats_ten_times_a_second_at_most_and_once_at_the_end():
    told = []
    with VirtualTime() as virtual:
        patiently = parallel_map(max_concurrency=4)(lambda _: sleep(0.25))
        patiently.map(range(24), progress=lambda stats: told.append((virtual.now(), stats)))
    times = [when for when, _ in told]
    assert all(later - earlier >= 0.0999 for earlier, later in pairwise(times[:-1]))
    assert 12 <= len(told) <= 17  # a second and a half, and the end
    last = told[-1][1]
    assert isinstance(last, fanmap.types.RunStats)
    assert (last.done, last.total, last.failed, last.in_flight, last.waiting_for) == (24, 24, 0, 0, None)
    assert all(stats.done < 24 for _, stats in told[:-1])


def test_a_callable_gets_the_last_stats_after_a_failure_too():
    told = []

    def fail(number):
        if number == 2:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        parallel_map(fail, max_concurrency=1).map(range(9), progress=told.append)
    assert (told[-1].done, told[-1].failed) == (3, 1)


RUNS = {
    "map": lambda tell: slowly.map(range(12), progress=tell),
    "async map": lambda tell: aslowly.map(range(12), progress=tell),
    "amap": lambda tell: asyncio.run(aslowly.amap(range(12), progress=tell)),
    "imap": lambda tell: list(slowly.imap(range(12), progress=tell)),
    "gather_bounded": lambda tell: asyncio.run(
        gather_bounded(*[aslowly(number) for number in range(12)], progress=tell)
    ),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("at", ["always", "the end"])
def test_a_callable_that_raises_ends_nothing_and_is_said_once(run, at, caplog):
    told = []

    def tell(stats):
        told.append(stats.done)
        if at == "always" or stats.done == 12:
            raise LookupError(SECRET)

    assert run(tell) == list(range(12))
    assert told[-1] == 12
    (said,) = [record.getMessage() for record in caplog.records if record.name == "fanmap"]
    assert re.fullmatch(
        r"the callable given as progress= raised LookupError in test_progress\.py, line \d+: the run continues", said
    )


def test_that_a_callable_raises_is_a_warning():
    def tell(stats):
        raise LookupError(SECRET)

    with pytest.warns(UserWarning, match="the callable given as progress= raised LookupError") as said:
        slowly.map(range(12), progress=tell)
    assert len(said) == 1
    if sys.version_info >= (3, 12):
        assert said[0].filename == __file__


def test_the_items_own_failure_is_raised_whatever_a_callable_raises():
    def tell(stats):
        if stats.failed:
            raise LookupError(SECRET)

    def fails(number):
        if number == 2:
            raise ValueError("the item's own")
        return number

    with pytest.warns(UserWarning, match="LookupError"), pytest.raises(ValueError, match="own") as caught:
        parallel_map(fails, max_concurrency=1).map(range(9), progress=tell)
    assert partial_results(caught.value) == {0: 0, 1: 1}


class Gone(asyncio.CancelledError):
    """A cancellation."""


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, Gone])
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_an_interrupt_in_the_last_look_passes_and_loses_nothing(run, interrupt):
    def tell(stats):
        if stats.done == 12:
            raise interrupt

    with pytest.raises(interrupt if interrupt is not Gone else asyncio.CancelledError) as caught:
        run(tell)
    kept = partial_results(caught.value)
    if run is RUNS["imap"]:  # in order, and what it had handed out by then is no more its business
        assert list(kept) == list(range(12 - len(kept), 12))
    else:
        assert kept == {number: number for number in range(12)}


def test_an_interrupt_in_the_look_after_a_failure_has_what_had_finished():
    def tell(stats):
        if stats.failed:
            raise KeyboardInterrupt

    def fails(number):
        if number == 2:
            raise ValueError("no")
        return number

    with pytest.raises(KeyboardInterrupt) as caught:
        parallel_map(fails, max_concurrency=1).map(range(9), progress=tell)
    assert partial_results(caught.value) == {0: 0, 1: 1}


def test_a_callable_may_read_the_run_it_is_told_of():
    told = []

    def tell(stats):
        told.append((stats.done, results.stats.done))

    results = slowly.imap(range(12), progress=tell)
    assert list(results) == list(range(12))
    assert told[-1] == (12, 12)


@pytest.mark.parametrize("broken", [OSError(32, "Broken pipe"), RuntimeError("gone")])
def test_a_bar_that_cannot_be_drawn_ends_nothing(monkeypatch, broken, caplog):
    pytest.importorskip("tqdm")

    class Stderr(io.StringIO):
        def write(self, text):
            raise broken

    monkeypatch.setattr(sys, "stderr", Stderr())
    assert slowly.map(range(12), progress=True) == list(range(12))
    assert list(slowly.imap(range(12), progress=True)) == list(range(12))
    kind = type(broken).__name__
    assert caplog.text.count(f"the progress bar raised {kind}") == 2


def test_bars_that_are_turned_off_show_nothing_and_are_no_trouble(bars, monkeypatch, capfd, caplog):
    """As by TQDM_DISABLE=1, which tqdm reads when it is imported."""
    bar = sys.modules["tqdm.auto"].tqdm
    monkeypatch.setattr(bar, "__init__", functools.partialmethod(bar.__init__, disable=True))
    assert slowly.map(range(4), progress=True) == list(range(4))
    assert list(slowly.imap(range(4), progress=True)) == list(range(4))
    assert [(bar.shown, bar.closed) for bar in bars] == [([], 1)] * 2
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


# Nothing otherwise


def test_nothing_is_printed_or_logged_unasked(capfd, caplog):
    caplog.set_level(logging.DEBUG)
    slowly.map(range(4))
    list(slowly.imap(range(4)))
    aslowly.map(range(4))
    with pytest.raises(ValueError, match="no"):
        parallel_map(lambda _: (_ for _ in ()).throw(ValueError("no"))).map([1])
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("fanmap")] == []


def test_what_is_logged_stays_under_fanmap_and_reaches_nobody_who_did_not_ask():
    code = """
import logging
from fanmap import Limits, parallel_map
def classify(error):
    raise LookupError("in classify")
@parallel_map(limits=Limits(4, classify=classify))
def ask(number):
    raise ValueError(number)
ask.map(range(3), return_exceptions=True)
assert not logging.root.handlers
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_prompt_reply_or_key_is_in_anything_that_is_said(caplog):
    caplog.set_level(logging.DEBUG, "fanmap")

    def classify(error):
        raise LookupError(SECRET)

    @parallel_map(limits=Limits(2, classify=classify))
    def ask(prompt):
        if prompt.endswith("2"):
            raise ValueError("no")
        return prompt

    prompts = [f"{SECRET} {number}" for number in range(4)]
    ask.map(prompts, return_exceptions=True)
    with pytest.raises(ValueError, match="no") as caught:
        ask.map(prompts)
    outcomes = list(ask.as_completed(prompts))
    assert any(isinstance(outcome, Outcome) for outcome in outcomes)
    said = [caplog.text, *caught.value.__notes__, *map(repr, outcomes), repr(ask), repr(ask.imap(prompts))]
    assert "classify raised LookupError for a ValueError" in caplog.text
    assert not any(SECRET in text for text in said)


# Advice


@pytest.fixture
def not_told(monkeypatch):
    monkeypatch.setattr(notices, "_warned_of_blocking", False)


@pytest.mark.usefixtures("not_told")
def test_blocking_a_running_loop_is_warned_of_once():
    async def handler():
        return aslowly.map([1]) + aslowly.map([2])

    with pytest.warns(UserWarning, match=r"blocks the running event loop.*`await aslowly\.amap") as said:
        assert asyncio.run(handler()) == [1, 2]
    assert len(said) == 1
    if sys.version_info >= (3, 12):
        assert said[0].filename == __file__


@pytest.mark.usefixtures("not_told")
def test_nothing_is_said_where_no_loop_is_blocked_or_in_a_notebook(monkeypatch):
    async def inside():
        slowly(1)  # as blocking as calling it was
        to_sync(aslowly)(1)  # which is what it says
        return await aslowly.amap([1])

    async def in_ipython():
        with monkeypatch.context() as patch:
            patch.setattr("builtins.get_ipython", lambda: None, raising=False)
            return aslowly.map([1])

    async def in_marimo():
        monkeypatch.setitem(sys.modules, "marimo", types.ModuleType("marimo"))
        return aslowly.map([1])

    aslowly.map([1])
    asyncio.run(inside())
    asyncio.run(in_ipython())
    asyncio.run(in_marimo())
    assert notices._warned_of_blocking is False


@pytest.mark.usefixtures("not_told")
def test_advice_kills_no_run_where_warnings_are_errors(caplog):
    async def handler():
        return list(aslowly.imap([1, 2]))

    assert asyncio.run(handler()) == [1, 2]
    assert "blocks the running event loop" in caplog.text


def test_the_bar_shows_money_where_it_is_counted_and_tokens_where_they_are_known(bars):
    def reply(number):
        return {"model": "small", "usage": {"prompt_tokens": 1000, "completion_tokens": 500}}

    parallel_map(limits=Limits(2, price=lambda model, usage: 0.25))(reply).map(range(4), progress=True)
    assert bars[-1].shown[-1] == (4, "$1.0000")
    parallel_map(tpm=10**9)(reply).map(range(4), progress=True)
    assert bars[-1].shown[-1] == (4, "6.0k tokens")
    slowly.map(range(2), progress=True)
    assert bars[-1].shown[-1] == (2, "")
