"""`max_spend=`, `price=` and totals: what starts, what waits, what a run ends with, and what is kept."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
import subprocess
import sys
import warnings

import anyio
import httpx
import pytest
import requests

from fanmap import (
    BudgetExceeded,
    Limits,
    NotRun,
    Rate,
    Retry,
    gather_bounded,
    parallel_map,
    partial_results,
)
from fanmap.testing import Reply, VirtualTime, serve
from fanmap.types import Usage

BODY = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module", autouse=True)
def _clients() -> None:
    """Imported by the first test that uses them, not where tests are collected: that takes seconds."""
    global openai
    import openai


def cents(model, usage):
    return usage.total / 100


class Priced:
    """A real httpx client without a network; each answer takes a second, and so many tokens (cents)."""

    def __init__(self, *used, status=200, headers=None):
        self.used = used or (5,)
        self.status, self.headers = status, headers
        self.asked = self.in_flight = self.most = 0

    async def __call__(self, request):
        used = self.used[min(self.asked, len(self.used) - 1)]
        self.asked += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await anyio.sleep(1.0)
        self.in_flight -= 1
        usage = None if used is None else {"prompt_tokens": 0, "completion_tokens": used}
        status = self.status(self.asked - 1) if callable(self.status) else self.status
        return httpx.Response(status, headers=self.headers, json={"model": "small", "usage": usage})

    async def ask(self, number):
        async with httpx.AsyncClient(transport=httpx.MockTransport(self)) as client:
            response = await client.post("http://x/v1/chat/completions", json=BODY)
        response.raise_for_status()
        return number


def run(limits, server, many=1_000, **options):
    """The run's answers, or what it raised."""
    ask = parallel_map(limits=limits, retry=options.pop("retry", None))(server.ask)
    with VirtualTime() as virtual:
        try:
            return virtual.run(ask.amap(range(many), **options))
        except (BudgetExceeded, ValueError) as error:
            return error


# What may start


def test_the_amount_is_spent_and_no_cent_more():
    limits, server = Limits(8, max_spend=1.00, price=cents), Priced(5)
    error = run(limits, server)
    assert isinstance(error, BudgetExceeded)
    assert (error.amount, error.spent) == (1.00, pytest.approx(1.00))
    assert partial_results(error) == {number: number for number in range(20)}
    assert limits.stats.spent == pytest.approx(1.00)
    assert (server.asked, server.in_flight) == (20, 0)
    assert str(error) == "max_spend=1.0: $1.0000 spent, and one more call would exceed it"


def test_until_one_call_is_priced_one_is_under_way():
    server = Priced(5)
    run(Limits(8, max_spend=0.30, price=cents), server, many=4)
    assert server.most == 3
    limits, server = Limits(8, max_spend=10.0, price=cents), Priced(None, None, None, 5)
    assert len(run(limits, server, many=4)) == 4
    assert (server.asked, server.most) == (4, 1)
    assert [(change.before, change.after, change.why) for change in limits.history] == [(1, 8, "priced")]


def test_a_call_that_does_not_fit_waits_for_those_that_may_cost_less():
    """Twenty cents are left for three calls that are guessed at ten, and cost five, six and nine."""
    server = Priced(10, 5, 6, 9)
    limits = Limits(8, max_spend=0.30, price=cents)
    assert run(limits, server, many=4) == [0, 1, 2, 3]
    assert (server.most, limits.stats.spent) == (2, pytest.approx(0.30))


def test_it_is_overrun_by_no_more_than_calls_under_way_cost_beyond_their_estimate():
    server = Priced(10, 10, 10, *[20] * 100)
    error = run(Limits(4, max_spend=1.00, price=cents), server)
    assert error.spent <= 1.00 + 4 * 0.10 + 1e-9
    assert error.spent == pytest.approx((server.asked - 3) * 0.20 + 0.30)


def test_where_cost_is_an_upper_bound_a_total_is_not_overrun():
    used = iter([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5] * 100)
    rate = Rate(100, math.inf, cost=lambda _: 9.0, usage=lambda _: next(used))
    limits = Limits(8, rate=rate)
    error = run(limits, Priced())
    assert 91 < error.spent <= 100
    assert str(error) == f"Rate(100, per=math.inf): {error.spent:g} used, and one more call would exceed it"


def test_so_many_calls_and_no_more():
    error = run(Limits(8, rate=Rate(10, math.inf)), Priced())
    assert (error.spent, len(partial_results(error))) == (10, 10)


def test_beside_a_rate_it_is_the_sooner_that_holds():
    server = Priced(5)
    limits = Limits(8, rpm=60, max_spend=0.25, price=cents)
    assert isinstance(run(limits, server), BudgetExceeded)
    assert server.asked == 5


def test_what_the_server_refused_or_failed_costs_nothing():
    server = Priced(5, status=lambda number: (200, 429, 500, 200)[number % 4], headers={"retry-after": "0.1"})
    limits = Limits(2, max_spend=0.50, price=cents)
    error = run(limits, server, retry=Retry(attempts=99, on=httpx.HTTPStatusError))
    assert (error.spent, len(partial_results(error))) == (pytest.approx(0.50), 10)
    assert limits.stats.refused > 0


@pytest.mark.parametrize("kind", ["httpx", "aiohttp", "requests"])
def test_what_the_client_itself_raises_for_costs_nothing(kind):
    """As with aiohttp's raise_for_status=True, or where a hook of the user's raises; botocore always does."""
    aiohttp = pytest.importorskip("aiohttp")
    usage = {"prompt_tokens": 1, "completion_tokens": 4}

    async def raise_for_status(response):
        response.raise_for_status()

    with serve(latency=0.0) as server:
        url = f"{server.openai_url}/chat/completions"
        server.script([Reply(body={"model": "small", "usage": usage}), Reply(500)] * 10)

        async def by_httpx(number):
            hooks = {"response": [raise_for_status]}
            async with httpx.AsyncClient(event_hooks=hooks, timeout=120) as client:
                await client.post(url, json=BODY)

        async def by_aiohttp(number):
            async with aiohttp.ClientSession(raise_for_status=True) as session, session.post(url, json=BODY) as answer:
                await answer.read()

        def by_requests(number):
            with requests.Session() as session:
                session.hooks["response"].append(lambda response, **_: response.raise_for_status())
                session.post(url, json=BODY, timeout=120)

        by = {"httpx": by_httpx, "aiohttp": by_aiohttp, "requests": by_requests}[kind]
        limits = Limits(1, max_spend=0.60, price=cents)
        found = parallel_map(limits=limits)(by).map(range(20), return_exceptions=True)
    assert not any(isinstance(one, NotRun) for one in found)
    assert [one is None for one in found] == [True, False] * 10
    assert limits.stats.spent == pytest.approx(0.50)


@pytest.mark.parametrize("total", [{"rate": Rate(10, math.inf)}, {"max_spend": 0.50, "price": cents}])
def test_a_refusal_costs_nothing_where_nothing_is_seen_either(total):
    calls = iter(range(1000))

    class Refused(Exception):
        status_code = 429

    async def ask(number):
        if next(calls) % 2:
            raise Refused
        return {"model": "small", "usage": {"prompt_tokens": 1, "completion_tokens": 4}}

    with VirtualTime() as virtual, pytest.raises(BudgetExceeded) as caught:
        virtual.run(parallel_map(limits=Limits(1, **total))(ask).amap(range(100)))
    assert len(partial_results(caught.value)) == 10
    assert caught.value.spent == pytest.approx(caught.value.amount)


def test_a_call_that_failed_after_it_was_answered_costs_what_it_cost():
    server, limits = Priced(5), Limits(1, max_spend=0.50, price=cents)

    async def ask(number):
        await server.ask(number)
        raise RuntimeError("cannot be parsed")

    with VirtualTime() as virtual:
        found = virtual.run(parallel_map(limits=limits)(ask).amap(range(20), return_exceptions=True))
    assert sum(type(one) is RuntimeError for one in found) == 10
    assert limits.stats.spent == pytest.approx(0.50)


def test_a_call_that_nobody_can_price_counts_as_it_was_guessed():
    server = Priced(5, None)
    error = run(Limits(1, max_spend=0.50, price=cents), server)
    assert (error.spent, server.asked) == (pytest.approx(0.50), 10)


def test_a_call_that_asked_nobody_costs_nothing_once_the_client_is_known_to_be_read():
    server, limits = Priced(5), Limits(2, max_spend=0.60, price=cents)

    async def cached(number):
        return number if number % 3 else await server.ask(number)

    with VirtualTime() as virtual:
        found = virtual.run(parallel_map(limits=limits)(cached).amap(range(30)))
    assert (found, server.asked, limits.stats.unseen) == (list(range(30)), 10, 20)
    assert limits.stats.spent == pytest.approx(0.50)


def test_a_cost_that_the_response_names_is_taken_as_it_is():
    limits = Limits(1, max_spend=1.0, price=lambda *_: pytest.fail("is not asked"))
    run(limits, Priced(5, headers={"x-litellm-response-cost": "0.125"}), many=4)
    assert limits.stats.spent == 0.5


def test_several_requests_in_one_call_add_up_and_a_result_is_priced_where_no_response_was():
    server, limits = Priced(5), Limits(1, max_spend=1.0, price=cents)

    async def twice(number):
        await server.ask(number)
        return await server.ask(number)

    async def reply(number):
        return {"model": "small", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}

    with VirtualTime() as virtual:
        virtual.run(parallel_map(limits=limits)(twice).amap(range(2)))
        assert limits.stats.spent == pytest.approx(0.20)
        virtual.run(parallel_map(limits=limits)(reply).amap(range(2)))
    assert limits.stats.spent == pytest.approx(0.34)


def test_the_tokens_of_a_result_that_is_priced_are_counted_beside_its_dollars():
    limits = Limits(2, max_spend=1.0, price=cents)
    ask = parallel_map(limits=limits)(
        lambda _: {"model": "small", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    )
    outer = parallel_map(limits=limits)(lambda number: ask(number))
    with ask.as_completed(range(3)) as outcomes:
        list(outcomes)
    assert outcomes.stats.tokens == outcomes.summary.tokens == limits.stats.tokens == Usage(9, 0, 12)
    outer(3)
    assert (limits.stats.tokens, limits.stats.spent) == (Usage(12, 0, 16), pytest.approx(0.28))


def events(*told):
    chunks = [{"model": "small", "choices": [], "usage": usage} for usage in (None, *told)]
    lines = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)

    async def pieces():
        yield lines

    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=pieces())


FIVE = {"prompt_tokens": 0, "completion_tokens": 5}
TOOL = b'event: message\ndata: {"jsonrpc": "2.0", "id": 1, "result": {}}\n\n'


@pytest.mark.parametrize(
    ("answers", "seen", "charged"),
    [
        (lambda: [httpx.Response(200, json={"model": "small", "usage": FIVE}), events()], 0.05, 0.10),
        (lambda: [events(), events(FIVE), events()], 0.05, 0.15),
        (lambda: [events(FIVE), events(FIVE)], 0.10, 0.10),
        pytest.param(
            lambda: [events(FIVE), httpx.Response(200, headers={"content-type": "text/event-stream"}, content=TOOL)],
            0.05, 0.05, id="a tool's stream is none of a model",
        ),
        pytest.param(
            lambda: [httpx.Response(200, json={"model": "small", "usage": None}), events(FIVE)],
            0.05, 0.05, id="a job that is under way and asked for",
        ),
    ],
)  # fmt: skip
def test_a_stream_that_does_not_say_what_it_took_is_charged_as_others_of_its_call(answers, seen, charged):
    async def ask(number):
        left = iter(answers())
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: next(left))) as client:
            for _ in answers():
                async with client.stream("POST", "http://x", json=BODY) as response:
                    await response.aread()

    limits = Limits(1, max_spend=5.0, price=cents, tpm=6e6)
    asyncio.run(parallel_map(limits=limits)(ask).amap([1]))
    (total,) = limits._budget.admission.totals.values()
    assert (limits.stats.spent, total.spent) == (pytest.approx(seen), pytest.approx(charged))
    tokens = next(one for one in limits._budget.corrections if one is not None)
    assert tokens.mean == pytest.approx(100 * charged - 1)  # guessed at one, settled with so many


# What it ends with


def test_with_exceptions_returned_what_never_started_is_not_run():
    found = run(Limits(8, max_spend=0.50, price=cents), Priced(5), many=20, return_exceptions=True)
    assert found[:10] == list(range(10))
    assert all(isinstance(one, NotRun) for one in found[10:])
    assert isinstance(found[10].__cause__, BudgetExceeded)
    assert found[10].__cause__.spent == pytest.approx(0.50)


@pytest.mark.parametrize("way", ["imap", "as_completed"])
def test_what_was_answered_leaves_before_the_run_ends(way):
    ask = parallel_map(limits=Limits(8, max_spend=0.50, price=cents))(Priced(5).ask)
    left = []

    async def main():
        async for one in getattr(ask, way)(range(100)):
            left.append(one if way == "imap" else one.value)

    with VirtualTime() as virtual, pytest.raises(BudgetExceeded):
        virtual.run(main())
    assert sorted(left) == list(range(10))


def test_gather_bounded_direct_calls_and_blocks_end_the_same_way():
    limits, server = Limits(8, max_spend=0.50, price=cents), Priced(5)

    async def main():
        with pytest.raises(BudgetExceeded) as caught:
            await gather_bounded(*(server.ask(number) for number in range(100)), limits=limits)
        assert len(partial_results(caught.value)) == 10
        with pytest.raises(BudgetExceeded):
            await parallel_map(limits=limits)(server.ask)(1)
        with pytest.raises(BudgetExceeded):
            async with limits:
                pytest.fail("it does not begin")

    with VirtualTime() as virtual:
        virtual.run(main())
    assert limits.stats.spent == pytest.approx(0.50)


def test_every_direct_call_that_waits_is_told():
    limits, server = Limits(3, max_spend=0.50, price=cents), Priced(5)
    ask = parallel_map(limits=limits)(server.ask)

    async def main():
        return await asyncio.gather(*map(ask, range(100)), return_exceptions=True)

    with VirtualTime() as virtual:
        found = virtual.run(main())
    assert found[:10] == list(range(10))
    assert all(type(one) is BudgetExceeded for one in found[10:])
    assert len({id(one) for one in found[10:]}) == 90
    assert (limits.stats.in_flight, limits.stats.waiting) == (0, 0)


def test_calls_inside_calls_do_not_wait_for_each_other_for_ever():
    limits, server = Limits(4, max_spend=0.60, price=cents), Priced(5)
    ask = parallel_map(limits=limits)(server.ask)

    @parallel_map(limits=limits)
    async def outer(number):
        return await asyncio.gather(ask(number), ask(number), ask(number))

    with VirtualTime() as virtual:
        found = virtual.run(outer.amap(range(20), return_exceptions=True))
    assert 0.40 <= limits.stats.spent <= 0.60 + 1e-9
    assert sum(isinstance(one, list) for one in found) >= 1
    assert (limits.stats.in_flight, limits.stats.waiting) == (0, 0)


def test_another_run_and_another_function_share_it():
    limits, server = Limits(8, max_spend=0.50, price=cents), Priced(5)
    assert run(limits, server, many=6) == list(range(6))
    error = run(limits, server, many=6)
    assert (error.spent, len(partial_results(error))) == (pytest.approx(0.50), 4)


def test_a_larger_amount_goes_on(tmp_path):
    path = str(tmp_path / "answers.jsonl")
    server = Priced(5)
    first = Limits(8, max_spend=0.50, price=cents)
    error = run(first, server, many=20, resume=path)
    assert (error.spent, server.asked) == (pytest.approx(0.50), 10)
    # The same Limits, which has counted what it wrote; another process, which has not; and with more.
    for limits in (first, Limits(8, max_spend=0.50, price=cents)):
        error = run(limits, server, many=20, resume=path)
        assert (error.spent, server.asked) == (pytest.approx(0.50), 10)
        assert len(partial_results(error)) == 10
    more = Limits(8, max_spend=0.80, price=cents)
    error = run(more, server, many=20, resume=path)
    assert (error.spent, server.asked) == (pytest.approx(0.80), 16)
    assert more.stats.spent == pytest.approx(0.30)
    assert run(Limits(8, max_spend=2.0, price=cents), server, many=20, resume=path) == list(range(20))
    costs = [json.loads(line)["cost"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert (len(costs), sum(costs)) == (20, pytest.approx(1.00))


def test_what_failed_and_what_was_repeated_is_in_the_journal_too(tmp_path):
    path = tmp_path / "answers.jsonl"
    server = Priced(5)
    turns = {}

    async def ask(number):
        await server.ask(number)
        turns[number] = turns.get(number, 0) + 1
        if number == 1 or turns[number] == 1:
            raise LookupError
        return number

    limits = Limits(1, max_spend=5.0, price=cents)
    with VirtualTime() as virtual:
        ask = parallel_map(limits=limits, retry=Retry(attempts=3, on=LookupError))(ask)
        virtual.run(ask.amap(range(2), resume=path, return_exceptions=True))
    costs = [json.loads(line)["cost"] for line in path.read_text().splitlines()]
    assert costs == [pytest.approx(0.10), pytest.approx(0.15)]


def test_what_waited_to_be_sent_again_when_the_run_ended_is_in_the_journal_too(tmp_path):
    path = tmp_path / "answers.jsonl"
    server = Priced(5)

    async def ask(number):
        await server.ask(number)
        raise LookupError

    limits = Limits(2, max_spend=0.20, price=cents)
    with VirtualTime() as virtual, pytest.raises(BudgetExceeded):
        ask = parallel_map(limits=limits, retry=Retry(attempts=9, on=LookupError))(ask)
        virtual.run(ask.amap(range(9), resume=path))
    costs = [json.loads(line)["cost"] for line in path.read_text().splitlines()]
    assert sum(costs) == pytest.approx(0.20) == pytest.approx(0.05 * server.asked)


def test_the_mean_of_what_a_journal_says_is_the_first_estimate(tmp_path):
    path = str(tmp_path / "answers.jsonl")
    assert run(Limits(2, max_spend=1.0, price=cents), Priced(5), many=3, resume=path) == [0, 1, 2]
    server = Priced(5)
    error = run(Limits(2, max_spend=0.19, price=cents), server, many=9, resume=path)
    assert (error.spent, server.asked) == (pytest.approx(0.15), 0)


def test_a_total_of_the_users_own_lives_on_in_the_journal_too(tmp_path):
    path = str(tmp_path / "answers.jsonl")
    assert run(Limits(2, rate=[Rate(600), Rate(10, math.inf)]), Priced(), many=6, resume=path) == list(range(6))
    error = run(Limits(2, rate=[Rate(600), Rate(10, math.inf)]), Priced(), many=20, resume=path)
    assert (error.spent, len(partial_results(error))) == (10, 10)


# A price that is none


@pytest.mark.parametrize(
    ("price", "said"),
    [
        (lambda model, usage: 1 / 0, "price raised ZeroDivisionError for the model 'small'"),
        (lambda model, usage: math.nan, "price must return dollars, a finite number >= 0, got nan"),
        (lambda model, usage: -1, "price must return dollars, a finite number >= 0, got -1"),
        (lambda model, usage: "1", "price must return dollars, a number >= 0, got a str"),
        (lambda model, usage: model + 1, "price raised TypeError"),
    ],
)
def test_a_price_that_is_none_ends_the_run_and_the_answer_is_kept(price, said, tmp_path):
    path = tmp_path / "answers.jsonl"
    limits, server = Limits(8, max_spend=5.0, price=price), Priced(5)
    error = run(limits, server, resume=path)
    assert type(error) is ValueError
    assert str(error).startswith(said)
    assert partial_results(error) == {0: 0}
    assert server.asked == 1
    assert len(path.read_text().splitlines()) == 1
    again = run(limits, server)
    assert str(again) == str(error)
    assert again is not error
    assert (partial_results(again), server.asked) == ({}, 1)


def cancelled(*_):
    raise asyncio.CancelledError


@pytest.mark.parametrize("way", ["amap", "map"])
def test_a_price_that_raises_a_cancellation_is_one_that_raises(way):
    """Nothing is awaited in it: it cancels no worker, and the answer is kept."""
    limits = Limits(8, max_spend=5.0, price=cancelled)

    async def ask(number):
        return {"model": "small", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}

    ask = parallel_map(limits=limits)(ask)
    with pytest.raises(ValueError, match="price raised CancelledError for the model 'small'") as caught:
        ask.map(range(9)) if way == "map" else asyncio.run(ask.amap(range(9)))
    assert (len(partial_results(caught.value)), limits.stats.in_flight) == (1, 0)


@pytest.mark.parametrize("way", ["amap", "map"])
def test_so_do_costs_and_usages_of_the_users_own(way):
    async def ask(number):
        return number

    def run(rate):
        run = parallel_map(limits=Limits(2, rate=rate))(ask)
        settings = {"return_exceptions": True}
        return run.map(range(9), **settings) if way == "map" else asyncio.run(run.amap(range(9), **settings))

    assert run(Rate(6e6, cost=lambda _: 1.0, usage=cancelled)) == list(range(9))
    failed = run(Rate(6e6, cost=cancelled))
    assert {(type(one), str(one)) for one in failed} == {
        (RuntimeError, "the cost of a call of ask raised CancelledError")
    }


@pytest.mark.parametrize("way", ["amap", "map", "map in threads"])
def test_so_does_a_cost_of_an_item_whose_worker_has_a_slot_already(way):
    async def ask(number):
        return number

    def cost(number):
        return cancelled() if number == 3 else 1.0

    run = parallel_map(limits=Limits(1, rate=Rate(6e6, cost=cost)))(ask if way != "map in threads" else lambda x: x)
    settings = {"return_exceptions": True}
    kept = asyncio.run(run.amap(range(9), **settings)) if way == "amap" else run.map(range(9), **settings)
    assert type(kept[3]) is RuntimeError
    assert str(kept.pop(3)).endswith("raised CancelledError")
    assert kept == [0, 1, 2, 4, 5, 6, 7, 8]


def test_a_price_that_breaks_later_lets_calls_under_way_end():
    server = Priced(5)
    priced = iter([0.05] * 10 + [math.nan] + [0.05] * 1000)
    error = run(Limits(4, max_spend=5.0, price=lambda *_: next(priced)), server)
    assert type(error) is ValueError
    assert len(partial_results(error)) == server.asked == 14  # one more had begun with the tenth answer


def test_without_max_spend_it_ends_nothing_and_is_said_once():
    limits = Limits(4, price=lambda *_: math.nan)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run(limits, Priced(5), many=10) == list(range(10))
    (said,) = caught
    assert str(said.message) == (
        "stats.spent does not include calls without a price: "
        "price must return dollars, a finite number >= 0, got nan for the model 'small'"
    )
    assert limits.stats.spent == 0.0


def test_without_max_spend_a_price_counts():
    limits = Limits(4, price=cents)
    assert run(limits, Priced(5), many=10) == list(range(10))
    assert limits.stats.spent == pytest.approx(0.50)


def test_a_client_that_nobody_reads_ends_it_after_twenty_calls():
    async def ask(number):
        await anyio.sleep(1.0)
        return number

    limits = Limits(8, max_spend=5.0, price=cents)
    with VirtualTime() as virtual, pytest.raises(ValueError, match="none of the first 20 calls reported") as caught:
        virtual.run(parallel_map(limits=limits)(ask).amap(range(100)))
    assert len(partial_results(caught.value)) == limits.stats.started == 20


# What is given


@pytest.mark.parametrize("amount", [0, 0.0, -1, -0.5, math.nan, math.inf, -math.inf])
def test_an_amount_is_finite_and_above_0(amount):
    with pytest.raises(ValueError, match="max_spend must be a finite number > 0, got "):
        Limits(max_spend=amount, price=cents)


@pytest.mark.parametrize("amount", [True, "5", [5]])
def test_an_amount_is_a_number(amount):
    with pytest.raises(TypeError, match="max_spend must be a number > 0, got "):
        Limits(max_spend=amount, price=cents)


def test_a_price_is_callable():
    with pytest.raises(TypeError, match="price must be callable or None, got 3"):
        Limits(price=3)

    async def price(model, usage):
        return 1.0

    with pytest.raises(TypeError, match="price must be a `def`, nobody would await it, got <function"):
        Limits(max_spend=1.0, price=price)


@pytest.mark.parametrize("settings", [{"max_spend": 5.0, "price": cents}, {"price": cents}])
def test_money_is_read_in_responses(settings):
    name = next(iter(settings))
    with pytest.raises(ValueError, match=f"read_responses must not be False with {name}="):
        Limits(read_responses=False, **settings)


def test_a_total_has_no_burst():
    with pytest.raises(ValueError, match="burst must be None where per is infinite, got 5"):
        Rate(100, math.inf, burst=5)


def test_it_is_shown_where_it_was_given():
    assert repr(Limits(2, max_spend=5.0, price=cents)) == "Limits(max_concurrency=2, max_spend=5.0, price=cents)"


def test_without_prices_and_without_a_price_it_says_what_to_install():
    code = """
import sys
sys.modules["genai_prices"] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "genai_prices" else find(name, *rest)
import fanmap
fanmap.Limits(max_spend=5.0, price=lambda model, usage: 1.0)
try:
    fanmap.Limits(max_spend=5.0)
except ImportError as error:
    assert "fanmap[prices]" in str(error) and "price=" in str(error), error
else:
    raise SystemExit("nothing was said")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)


def test_it_is_pickled_with_what_it_says():
    error = BudgetExceeded(5.0, 4.99, dollars=True)
    again = pickle.loads(pickle.dumps(error))
    assert (again.amount, again.spent, str(again)) == (5.0, 4.99, str(error))


# With real clients


@pytest.fixture
def server():
    with serve(latency=0.001) as running:
        yield running


def test_prices_of_a_known_model_are_those_of_genai_prices(server):
    genai_prices = pytest.importorskip("genai_prices")
    one = float(genai_prices.calc_price(genai_prices.Usage(input_tokens=1, output_tokens=4), "gpt-4o-mini").total_price)
    limits = Limits(4, max_spend=10.5 * one)
    with openai.OpenAI(base_url=server.openai_url, api_key="none") as client:

        @parallel_map(limits=limits)
        def ask(number):
            request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": str(number)}]}
            return client.chat.completions.create(**request).choices[0].message.content

        with pytest.raises(BudgetExceeded) as caught:
            ask.map(range(10, 100))
    assert len(partial_results(caught.value)) == 10
    assert limits.stats.spent == pytest.approx(10 * one)
    assert limits.stats.tokens == Usage(10, 0, 40)


def test_a_model_that_nobody_prices_ends_the_run(server):
    pytest.importorskip("genai_prices")
    limits = Limits(4, max_spend=5.0)
    with openai.OpenAI(base_url=server.openai_url, api_key="none") as client:

        @parallel_map(limits=limits)
        def ask(number):
            request = {"model": "nobodys-model", "messages": [{"role": "user", "content": str(number)}]}
            return client.chat.completions.create(**request).choices[0].message.content

        with pytest.raises(
            ValueError, match="genai-prices has no price for the model 'nobodys-model'.*price="
        ) as caught:
            ask.map(range(100))
    assert len(partial_results(caught.value)) == 1


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_what_a_real_client_was_answered_costs_what_it_took(kind, server):
    request = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
    limits = Limits(4, max_spend=0.50, price=cents)
    if kind == "def":
        with openai.OpenAI(base_url=server.openai_url, api_key="none") as client:

            @parallel_map(limits=limits)
            def ask(number):
                return client.chat.completions.create(**request).choices[0].message.content

            with pytest.raises(BudgetExceeded) as caught:
                ask.map(range(100))
    else:

        async def main():
            async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="none") as client:

                @parallel_map(limits=limits)
                async def ask(number):
                    return (await client.chat.completions.create(**request)).id

                await ask.amap(range(100))

        with pytest.raises(BudgetExceeded) as caught:
            asyncio.run(main())
    assert (caught.value.spent, len(partial_results(caught.value))) == (pytest.approx(0.50), 10)
    assert len(server.log) == 10
