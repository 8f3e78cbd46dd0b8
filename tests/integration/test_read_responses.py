"""A Limits that reads responses: tokens are settled with what they say, refusals count at once, nothing else changes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import subprocess
import sys
import threading
import time
import types
import urllib.request
import warnings

import httpx
import pytest
import trio

from fanmap import Adaptive, BudgetExceeded, Limits, Rate, Retry, Verdict, gather_bounded, parallel_map
from fanmap.testing import Reply, VirtualTime, serve, sleep
from fanmap.types import Usage

BODY = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module", autouse=True)
def _clients() -> None:
    """Imported by the first test that uses them, not where tests are collected: that takes seconds."""
    global openai
    import openai


@pytest.fixture
def server():
    with serve(latency=0.001) as running:
        yield running


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.openai_url, api_key="none") as client:
        yield client


def chat(client, prompt):
    request = {"model": "small", "messages": [{"role": "user", "content": str(prompt)}]}
    return client.chat.completions.create(**request)


def answering(used=1000, status=200, headers=None):
    """A real httpx client without a network, whose every answer took so many tokens."""

    def answer(request):
        usage = {"prompt_tokens": 0, "completion_tokens": used}
        return httpx.Response(status, headers=headers, json={"model": "small", "usage": usage})

    return httpx.MockTransport(answer)


def by_httpx(transport, *, times=1):
    with httpx.Client(transport=transport) as client:
        for _ in range(times):
            text = client.post("http://x/v1/chat/completions", json=BODY).text
    return text


TAKEN = Usage(1, 0, 4)  # what `serve` says of a prompt of a few characters


# What is read, and when


@pytest.mark.parametrize(
    ("settings", "reads"),
    [
        ({}, False),
        ({"max_concurrency": 4}, False),
        ({"rpm": 600}, False),
        ({"rate": Rate(600, cost=lambda _: 1.0)}, False),
        ({"tpm": 60_000}, True),
        ({"max_concurrency": "auto"}, True),
        ({"max_concurrency": Adaptive(start=2)}, True),
        ({"read_responses": True}, True),
        ({"read_responses": False}, False),
        ({"tpm": 60_000, "read_responses": False}, False),
        ({"max_concurrency": "auto", "read_responses": False}, False),
    ],
)
def test_responses_are_read_where_something_needs_it_or_it_was_asked_for(settings, reads):
    limits = Limits(**settings)
    parallel_map(limits=limits)(lambda _: by_httpx(answering(7))).map([1, 2])
    assert limits.stats.tokens == (Usage(0, 0, 14) if reads else Usage())


@pytest.mark.parametrize("first", [{}, {"read_responses": False}, {"read_responses": True}])
@pytest.mark.parametrize("second", [{"read_responses": True}, {"max_concurrency": "auto"}])
def test_under_one_shared_name_they_are_read_where_any_of_its_limits_asks_for_it(first, second, tmp_path):
    path = str(tmp_path / "openai")
    one, other = Limits(shared=path, **first), Limits(shared=path, **second)
    parallel_map(limits=other)(lambda _: by_httpx(answering(7))).map([1, 2])
    assert other.stats.tokens == one.stats.tokens == Usage(0, 0, 14)


@pytest.mark.parametrize("value", [1, 0, "yes", [], object()])
def test_read_responses_is_true_false_or_none(value):
    with pytest.raises(TypeError, match="read_responses must be True, False or None, got"):
        Limits(read_responses=value)


def test_read_responses_is_shown_where_it_was_given():
    assert repr(Limits(2, read_responses=True)) == "Limits(max_concurrency=2, read_responses=True)"
    assert repr(Limits(2)) == "Limits(max_concurrency=2)"


def test_a_run_that_reads_nothing_imports_nothing_of_it():
    code = """
import sys
import fanmap
fanmap.parallel_map(rpm=6000)(len).map(["a", "b"])
ours = {"hook", "observing", "carrying", "responses", "taking", "wires", "watching"}
loaded = ({f"fanmap._drive.wire.{name}" for name in ours} | {"httpx", "requests"}) & set(sys.modules)
assert not loaded, loaded
fanmap.parallel_map(tpm=6000)(len).map(["a", "b"])
assert "fanmap._drive.wire.hook" in sys.modules and not {"httpx", "requests", "aiohttp"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)


@pytest.mark.parametrize("returns", ["text", "reply", "nothing"])
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_what_real_clients_took_is_in_the_stats_whatever_the_function_returns(returns, kind, server):
    def outcome(reply):
        return {"text": reply.choices[0].message.content, "reply": reply, "nothing": None}[returns]

    limits = Limits(4, read_responses=True)
    with openai.OpenAI(base_url=server.openai_url, api_key="none") as client:
        if kind == "def":
            ask = parallel_map(limits=limits)(lambda prompt: outcome(chat(client, prompt)))
            with ask.imap(range(10)) as results:
                assert len(list(results)) == 10
        else:

            async def main():
                async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="none") as client:

                    @parallel_map(limits=limits)
                    async def ask(prompt):
                        return outcome(await chat(client, prompt))

                    async with ask.imap(range(10)) as results:
                        assert len([result async for result in results]) == 10
                    return results

            results = asyncio.run(main())
    everything = sum([TAKEN] * 9, TAKEN)
    assert limits.stats.tokens == results.stats.tokens == results.summary.tokens == everything
    assert (limits.stats.unseen, limits.stats.attempts) == (0, 10)
    assert "50 tokens: 10 in, 40 out" in str(results.summary)


def test_a_direct_call_and_a_block_are_read_and_leave_no_trace_in_their_context(server, client):
    from fanmap._drive.wire.observing import observer

    limits = Limits(4, read_responses=True)
    ask = parallel_map(limits=limits)(chat)
    ask(client, 1)
    assert limits.stats.tokens == TAKEN
    assert observer.get() is None
    with limits:
        chat(client, 2)
        chat(client, 3)
    assert limits.stats.tokens == TAKEN + TAKEN + TAKEN
    assert observer.get() is None
    chat(client, 4)

    async def main():
        async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="none") as aclient:
            await parallel_map(limits=limits)(chat_async)(aclient, 5)
            assert observer.get() is None
            async with limits:
                await chat(aclient, 6)
            assert observer.get() is None
            await chat(aclient, 7)

    async def chat_async(aclient, prompt):
        return await chat(aclient, prompt)

    asyncio.run(main())
    assert limits.stats.tokens.total == 5 * TAKEN.total


def test_on_trio():
    limits = Limits(2, read_responses=True)

    @parallel_map(limits=limits)
    async def ask(number):
        async with httpx.AsyncClient(transport=answering(10)) as client:
            await client.post("http://x", json=BODY)

    trio.run(ask.amap, range(5))
    assert limits.stats.tokens == Usage(0, 0, 50)


# Settlement


def virtual_seconds(ask, inputs):
    with VirtualTime() as virtual:
        ask.map(inputs)
        return virtual.now()


@pytest.mark.parametrize(("used", "seconds"), [(100, 90), (10, 8.34), (1000, 915)])
def test_a_rate_of_tokens_is_settled_with_what_the_responses_say(used, seconds):
    """As with a function that returns the reply: 92 calls that were guessed at 100, at 98.3 a second but for the burst."""
    ask = parallel_map(max_concurrency=1, tpm=6000)(lambda text: by_httpx(answering(used)))
    assert virtual_seconds(ask, ["x" * 400] * 92) == pytest.approx(seconds, rel=0.05)


def test_requests_of_one_call_add_up():
    ask = parallel_map(max_concurrency=1, tpm=6000)(lambda text: by_httpx(answering(50), times=2))
    assert virtual_seconds(ask, ["x" * 4] * 92) == pytest.approx(90, rel=0.05)


def test_what_a_failed_call_took_is_settled_too():
    def call(text):
        by_httpx(answering(100))
        raise ValueError("it does not parse")

    ask = parallel_map(max_concurrency=1, tpm=6000)(call)
    with VirtualTime() as virtual:
        ask.map(["x" * 4] * 92, return_exceptions=True)
        assert virtual.now() == pytest.approx(90, rel=0.05)
    assert (ask.stats.failed, ask.stats.tokens) == (92, Usage(0, 0, 9200))


def test_what_was_read_goes_before_what_the_result_says():
    """The last of two replies says what it took itself."""

    def call(text):
        by_httpx(answering(50))
        return json.loads(by_httpx(answering(50)))

    ask = parallel_map(max_concurrency=1, tpm=6000)(call)
    assert virtual_seconds(ask, ["x" * 4] * 92) == pytest.approx(90, rel=0.05)
    assert ask.stats.tokens == Usage(0, 0, 9200)


def test_where_nothing_was_read_the_result_is_asked():
    ask = parallel_map(max_concurrency=1, tpm=6000)(lambda text: {"usage": {"total_tokens": 100}})
    assert virtual_seconds(ask, ["x" * 4] * 92) == pytest.approx(90, rel=0.05)
    assert (ask.stats.tokens, ask.stats.unseen) == (Usage(9200), 92)


@pytest.mark.parametrize(("usage", "seconds"), [(lambda result: 10, 8.34), (lambda result: None, 90)])
def test_a_usage_of_ones_own_is_never_replaced(usage, seconds):
    """One that says nothing keeps its estimate, which is not corrected either: it may be an upper bound."""
    rate = Rate(6000, cost=lambda text: 100, usage=usage)
    limits = Limits(1, rate=rate, read_responses=True)
    ask = parallel_map(limits=limits)(lambda text: by_httpx(answering(77)))
    found = virtual_seconds(ask, ["x"] * 92)
    assert found == pytest.approx(9.0 if seconds == 8.34 else 90, rel=0.05)
    assert limits.stats.tokens == Usage(0, 0, 92 * 77)


class Unhashable:
    """A usage that no dict takes for a key."""

    __hash__ = None

    def __call__(self, result):
        return 100


@pytest.mark.parametrize("usage", [lambda result: 100, Unhashable()], ids=["function", "unhashable"])
@pytest.mark.parametrize("before", [[], [Rate(60_000)]], ids=["alone", "beside-calls"])
def test_a_usage_without_a_cost_settles_what_was_charged_as_one(usage, before):
    """It is no `tpm=`, whose usage is what responses say."""
    limits = Limits(1, rate=[*before, Rate(6000, usage=usage)], read_responses=True)
    ask = parallel_map(limits=limits)(lambda text: by_httpx(answering(7)))
    assert virtual_seconds(ask, ["x"] * 92) == pytest.approx(90, rel=0.05)


def test_cache_reads_that_the_provider_does_not_count_are_not_charged():
    def answer(request):
        usage = {"input_tokens": 50, "cache_read_input_tokens": 10_000, "output_tokens": 50}
        return httpx.Response(200, json={"model": "claude", "usage": usage})

    ask = parallel_map(max_concurrency=1, tpm=6000)(lambda text: by_httpx(httpx.MockTransport(answer)))
    assert virtual_seconds(ask, ["x" * 4] * 92) == pytest.approx(90, rel=0.05)
    assert ask.stats.tokens == Usage(92 * 10_050, 92 * 10_000, 92 * 50)


def test_no_minute_after_the_first_holds_more_than_the_limit():
    """1,000 tokens an answer, guessed at one: the first crowd is too many, and no other is."""
    starts = []

    def call(number):
        starts.append(virtual.now())
        virtual.sleep(0.5)
        return by_httpx(answering(1000))

    ask = parallel_map(max_concurrency=8, tpm=60_000)(call)
    with VirtualTime() as virtual, contextlib.suppress(TimeoutError):
        ask.map(range(10_000), deadline=300.0)
    assert len(starts) > 280
    windows = [[start for start in starts if begin <= start < begin + 60] for begin in starts if begin >= 1.0]
    assert max(len(window) for window in windows) <= 61


# Nested calls, and calls that are over


def test_a_call_inside_another_is_read_once_and_the_outer_one_is_not_unseen():
    limits = Limits(4, read_responses=True)
    inner = parallel_map(limits=limits)(lambda number: by_httpx(answering(10)))
    outer = parallel_map(limits=limits)(lambda number: inner.map(range(3)))
    outer.map(range(2))
    assert limits.stats.tokens == Usage(0, 0, 60)
    assert (limits.stats.done, limits.stats.unseen) == (8, 0)


@pytest.mark.parametrize("seen", [True, False])
def test_a_call_that_returns_the_reply_of_one_inside_it_has_taken_nothing_itself(seen):
    starts = []

    def call(number):
        starts.append(virtual.now())
        if seen:
            by_httpx(answering(1000))
        return {"usage": {"completion_tokens": 1000}}

    limits = Limits(4, tpm=60_000)
    inner = parallel_map(limits=limits)(call)
    outer = parallel_map(limits=limits)(lambda number: inner(number))
    with VirtualTime() as virtual:
        outer(1)
        inner(2)
    assert limits.stats.tokens == Usage(0, 0, 2000)
    assert 0.9 < starts[1] - starts[0] < 1.1  # after the second that a thousand tokens are worth


def test_a_call_under_other_limits_inside_is_its_own_where_they_read_and_else_the_outer_ones():
    outside, reading, plain = Limits(4, read_responses=True), Limits(4, read_responses=True), Limits(4)

    def outer(number):
        parallel_map(limits=reading)(lambda _: by_httpx(answering(10))).map([1, 2])
        parallel_map(limits=plain)(lambda _: by_httpx(answering(100))).map([1, 2])
        return by_httpx(answering(1000))

    parallel_map(limits=outside)(outer).map([1])
    assert outside.stats.tokens == Usage(0, 0, 1200)
    assert reading.stats.tokens == Usage(0, 0, 20)
    assert plain.stats.tokens == Usage()


@pytest.mark.parametrize("given", ["awaitables", "functions"])
def test_awaitables_under_one_budget_are_read(given, server):
    limits = Limits(2, read_responses=True)

    async def main():
        async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="none") as client:

            async def ask(prompt):
                return (await chat(client, prompt)).choices[0].message.content

            if given == "awaitables":
                return await gather_bounded(*[ask(prompt) for prompt in range(6)], limits=limits)
            functions = [(lambda prompt=prompt: ask(prompt)) for prompt in range(6)]
            return await gather_bounded(*functions, limits=limits)

    assert len(asyncio.run(main())) == 6
    assert limits.stats.tokens.total == 6 * TAKEN.total


def test_what_a_thread_that_was_left_behind_still_asks_is_nobodys():
    steps = []

    def slow(number):
        by_httpx(answering(1))
        steps.append("begun")
        sleep(100.0)
        by_httpx(answering(1000))
        steps.append("over")

    limits = Limits(1, read_responses=True)
    ask = parallel_map(limits=limits, timeout=4.0)(slow)
    with VirtualTime():
        assert isinstance(ask.map([1], return_exceptions=True)[0], TimeoutError)
        assert steps == ["begun"]
        sleep(200.0)
        assert steps == ["begun", "over"]
    assert limits.stats.tokens == Usage(0, 0, 1)


def test_a_cancelled_call_is_settled_with_what_it_had_taken():
    limits = Limits(1, read_responses=True)

    @parallel_map(limits=limits)
    async def ask(number):
        async with httpx.AsyncClient(transport=answering(10)) as client:
            await client.post("http://x", json=BODY)
            asked.set()
            await asyncio.sleep(60)

    async def main():
        nonlocal asked
        asked = asyncio.Event()
        run = asyncio.create_task(ask.amap([1]))
        await asked.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asked = None
    asyncio.run(main())
    assert (limits.stats.tokens, limits.stats.unseen) == (Usage(0, 0, 10), 0)


# A client that nobody hooks


def by_urllib(server, prompt):
    request = urllib.request.Request(
        f"{server.openai_url}/chat/completions",
        data=json.dumps(BODY).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.loads(response.read())


def test_a_client_that_nobody_hooks_is_counted_and_said_once(server):
    limits = Limits(4, tpm=6_000_000)
    ask = parallel_map(limits=limits)(lambda prompt: by_urllib(server, prompt)["model"])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        ask.map(range(19))
        assert warned == []
        ask.map(range(50))
    assert limits.stats.unseen == 69
    assert len(warned) == 1
    assert "none of the first 20 calls of <lambda> reported its token usage" in str(warned[0].message)
    assert "Rate(" in str(warned[0].message)


@pytest.mark.parametrize("settings", [{"tpm": 6_000_000}, {"tpm": 6_000_000, "read_responses": False}])
def test_one_call_that_told_is_enough(settings, server):
    replies = iter([True])

    def ask(prompt):
        reply = by_urllib(server, prompt)
        return reply if next(replies, False) else "text"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_map(limits=Limits(1, **settings))(ask).map(range(40))


def test_calls_that_failed_are_none_of_the_first_twenty():
    def fail(number):
        raise ValueError(number)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_map(max_concurrency=1, tpm=60_000_000)(fail).map(range(40), return_exceptions=True)


# Refusals

WAIT = 0.2


def test_a_refusal_that_is_ours_to_repeat_is_raised_by_the_client_at_once(server, client):
    """With its own repeats at their default: none of the others is sent into the wait."""
    server.script([None] * 6 + [Reply(429, retry_after=WAIT)])
    limits = Limits(4, read_responses=True)
    ask = parallel_map(limits=limits)(lambda prompt: chat(client, prompt).choices[0].message.content)
    assert len(ask.map(range(20))) == 20
    assert (server.sent, server.refused) == (21, 1)
    assert {record.retry_count for record in server.log} == {0}
    assert (limits.stats.attempts, limits.stats.refused, limits.stats.done) == (20, 1, 20)
    refusal = next(record for record in server.log if record.status == 429)
    again = [record for record in server.log if record.prompt == refusal.prompt and record.status == 200]
    assert again[0].arrived - refusal.ended >= WAIT


def test_async_too(server):
    server.script([None] * 6 + [Reply(429, retry_after=WAIT)])
    limits = Limits(4, read_responses=True)

    async def main():
        async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="none") as client:

            @parallel_map(limits=limits)
            async def ask(prompt):
                return (await chat(client, prompt)).choices[0].message.content

            return await ask.amap(range(20))

    assert len(asyncio.run(main())) == 20
    assert (server.sent, {record.retry_count for record in server.log}) == (21, {0})
    assert (limits.stats.attempts, limits.stats.refused) == (20, 1)


def in_a_block(client, limits):
    with limits:
        return chat(client, 1)


def as_an_awaitable(client, limits):
    async def main():
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="none") as aclient:

            async def ask():
                return await chat(aclient, 1)

            return await gather_bounded(ask(), limits=limits)

    return asyncio.run(main())


NOT_OURS = {
    "retry=False": lambda client, limits: parallel_map(limits=limits, retry=False)(chat)(client, 1),
    "a block": in_a_block,
    "an awaitable": as_an_awaitable,
    "an earlier request was answered": lambda client, limits: parallel_map(limits=limits)(
        lambda: [chat(client, 1), chat(client, 2)]
    )(),
}


@pytest.mark.parametrize("case", NOT_OURS)
def test_a_refusal_that_is_not_ours_to_repeat_is_the_clients_and_counts_at_once(case, server, client):
    earlier = case.startswith("an earlier")
    server.script([None] * earlier + [Reply(429, retry_after=0.01)])
    limits = Limits(4, read_responses=True)
    assert NOT_OURS[case](client, limits)
    assert server.sent == 2 + earlier
    assert [record.retry_count for record in server.log] == [0] * (1 + earlier) + [1]
    assert (limits.stats.refused, limits.stats.attempts) == (1, 1)
    assert limits.stats.tokens.total == TAKEN.total * (1 + earlier)


def test_with_a_reading_of_ones_own_refusals_are_left_to_the_client(server, client):
    """What it will make of the client's exception, nobody can tell from a response."""
    server.script([Reply(429, retry_after=0.01)])
    limits = Limits(4, classify=lambda error: Verdict("permanent"), read_responses=True)
    parallel_map(limits=limits)(chat)(client, 1)
    assert [record.retry_count for record in server.log] == [0, 1]


def test_a_hidden_refusal_closes_the_gate_while_the_client_sleeps_on_it(server, client, holding):
    """Another call under the same Limits does not start into the wait that a block's client was told."""
    looked = threading.Event()
    server.script([Reply(429, retry_after=WAIT), Reply(delay=holding.until(looked.is_set))])
    limits = Limits(4, read_responses=True)

    def block():
        with limits:
            chat(client, "inside the block")

    thread = threading.Thread(target=block)
    thread.start()
    end = time.monotonic() + 120
    while not limits.stats.refused:
        assert time.monotonic() < end, "it was not told"
        time.sleep(0.001)
    assert (limits.stats.refused, limits.stats.in_flight) == (1, 1)
    looked.set()
    parallel_map(limits=limits)(chat)(client, "outside")
    thread.join()
    refusal, *others = sorted(server.log, key=lambda record: record.arrived)
    assert refusal.status == 429
    assert min(record.arrived for record in others) - refusal.ended >= WAIT


def test_a_refusal_that_the_function_swallows_counts_and_closes_the_gate():
    limits = Limits(1, read_responses=True)
    refused = iter([429])

    def call(number):
        by_httpx(answering(10, status=next(refused, 200), headers={"retry-after": "30"}))
        return virtual.now()

    with VirtualTime() as virtual:
        assert parallel_map(limits=limits)(call).map([1, 2]) == [0, pytest.approx(30, abs=4)]
    assert (limits.stats.refused, limits.stats.done, limits.stats.tokens) == (1, 2, Usage(0, 0, 10))


def test_hidden_repeats_count_as_attempts_of_their_item_and_towards_its_retry(server, client):
    server.script([Reply(500)] * 2)
    limits = Limits(1, read_responses=True)
    outcome = next(iter(parallel_map(limits=limits)(chat).as_completed([(client, 1)], unpack=True)))
    assert outcome.result().model == "small"
    assert outcome.attempts == limits.stats.attempts == 3
    server.reset()
    server.script([Reply(500)] * 9)
    ask = parallel_map(limits=limits, retry=Retry(3, wait=0))(chat)
    outcome = next(iter(ask.as_completed([(client, 2)], unpack=True)))
    assert isinstance(outcome.error, openai.InternalServerError)
    assert (server.sent, outcome.attempts) == (3, 3)  # three of the client's own are all that Retry allows


@pytest.mark.parametrize("read", [False, True])
def test_asking_another_model_after_a_failure_is_one_attempt(read, server):
    """The function is called as often as `Retry` says, whether responses are read or not."""
    client = openai.OpenAI(base_url=server.openai_url, api_key="k", max_retries=0)

    def ask(prompt):
        try:
            return client.responses.create(model="small", input=prompt).output_text
        except openai.InternalServerError:
            return client.responses.create(model="other", input=prompt).output_text

    server.script([Reply(500)] * 20)
    again = parallel_map(limits=Limits(1, read_responses=read), retry=Retry(4, wait=0))(ask)
    outcome = next(iter(again.as_completed(["a"])))
    assert isinstance(outcome.error, openai.InternalServerError)
    assert (server.sent, outcome.attempts) == (8, 4)


def test_a_spent_account_is_asked_once_whatever_repeats(server, client):
    server.script([Reply(429, code="insufficient_quota")] * 20)
    limits = Limits(1, read_responses=True)
    ask = parallel_map(limits=limits, retry=Retry(4))(chat)
    outcomes = ask.map([(client, prompt) for prompt in range(5)], unpack=True, return_exceptions=True)
    assert server.sent == 1
    assert isinstance(outcomes[0], openai.RateLimitError)


@pytest.mark.whole
def test_repeats_that_are_seen_are_not_warned_of(server, client):
    server.script([Reply(500)] * 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask = parallel_map(limits=Limits(1, read_responses=True))(chat)
        assert isinstance(ask.map([(client, 1)], unpack=True, return_exceptions=True)[0], openai.InternalServerError)
    server.script([Reply(500)] * 3)
    with pytest.warns(UserWarning, match=r"max_retries=0.*read_responses=True"):
        parallel_map(limits=Limits(1))(chat).map([(client, 1)], unpack=True, return_exceptions=True)


# Privacy

SECRETS = ["sk-the-key", "the-prompt-text", "the-reply-text", "the-header-text", "the-url-text", "the-system-text"]


def everything_reachable(*roots):
    """All text and bytes that these lead to, without going into modules, classes and code."""
    seen, todo, found = set(), list(roots), []
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, (types.ModuleType, type, types.CodeType, types.FrameType)):
            continue
        seen.add(id(one))
        if isinstance(one, (str, bytes, bytearray)):
            found.append(one if isinstance(one, str) else bytes(one).decode("utf-8", "replace"))
        elif isinstance(one, types.FunctionType):
            todo.extend([one.__closure__, one.__defaults__, one.__dict__])
        else:
            todo.extend(gc.get_referents(one))
    return found


@pytest.mark.whole
def test_nothing_of_prompts_keys_headers_bodies_or_urls_is_kept_or_printed(server, caplog, capfd):
    from fanmap._drive.wire import hook, observing, watching, wires

    caplog.set_level(logging.DEBUG, logger="fanmap")
    replies = [
        Reply(200, text="the-reply-text", headers={"x-extra": "the-header-text"}),
        Reply(429, retry_after=0.01, headers={"x-extra": "the-header-text"}, body={"error": "the-reply-text"}),
        Reply(500, body="the-reply-text"),
        Reply(200, body={"model": "the-reply-text", "usage": "the-reply-text"}),
        Reply(200, body="the-reply-text", headers={"content-type": "application/json"}),
    ]
    server.script(replies * 6)
    limits = Limits(2, tpm=6_000_000, read_responses=True)
    messages = [
        {"role": "system", "content": "the-system-text"},
        {"role": "user", "content": "the-prompt-text"},
    ]

    @parallel_map(limits=limits)
    def ask(prompt):
        response = httpx.post(
            f"{server.openai_url}/chat/completions?key=the-url-text",
            json={"model": "small", "messages": messages},
            headers={"authorization": "Bearer sk-the-key", "x-own": "the-header-text"},
            timeout=120,
        )
        response.raise_for_status()
        body = {"model": "small", "messages": messages}
        with httpx.stream("POST", str(response.url), json=body, timeout=120) as stream:
            next(stream.iter_bytes(10), None)  # left in the middle
        return response.text

    kept = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with ask.as_completed(["the-prompt-text"] * 12) as results:
            for _ in results:
                kept += [repr(results.stats), repr(limits.stats), str(results.summary), repr(limits), repr(results)]
    kept += [str(one.message) for one in warned]
    kept += [record.getMessage() for record in caplog.records if record.name == "fanmap"]
    kept += everything_reachable(
        limits,
        hook._in_place,
        hook._ours,
        hook._unknown,
        watching._classes,
        wires.RAISE_AT_ONCE,
        observing.observer.get(),
    )
    printed = capfd.readouterr()
    kept += [printed.out, printed.err]
    assert server.sent > 12
    assert len(kept) > 60
    for secret in SECRETS:
        assert not [text for text in kept if secret in text]


@pytest.mark.parametrize("price", [lambda model, usage: 0.25, lambda model, usage: float("nan"), None])
def test_nothing_of_them_is_kept_or_printed_where_money_is_counted(price, server, caplog, capfd):
    """What prices a response sees its model and its address, and lets go of both."""
    from fanmap._drive.wire import hook, observing

    if price is None:
        pytest.importorskip("genai_prices")
    caplog.set_level(logging.DEBUG, logger="fanmap")
    usage = {"prompt_tokens": 1000, "completion_tokens": 500}
    body = {"id": "the-reply-text", "model": "the reply is the-reply-text", "choices": ["the-reply-text"]}
    server.script([Reply(200, body={**body, "usage": usage}, headers={"x-extra": "the-header-text"})] * 40)
    limits = Limits(2, max_spend=1.0, price=price)
    address = server.openai_url.replace("http://", "http://sk-the-key:sk-the-key@")

    @parallel_map(limits=limits)
    def ask(prompt):
        return httpx.post(
            f"{address}/chat/completions?key=the-url-text#the-url-text",
            json={"model": "the-prompt-text", "messages": [{"role": "system", "content": "the-system-text"}]},
            headers={"x-own": "the-header-text"},
            timeout=120,
        ).json()["id"]

    kept = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises((ValueError, BudgetExceeded)) as caught, ask.imap(["the-prompt-text"] * 12) as results:
            for _ in results:
                kept += [repr(results.stats), repr(limits.stats), str(results.summary), repr(limits), repr(results)]
    error = caught.value
    while error is not None:
        kept += [str(error), repr(error), *getattr(error, "__notes__", [])]
        error = error.__cause__
    kept += [str(one.message) for one in warned]
    kept += [record.getMessage() for record in caplog.records if record.name == "fanmap"]
    kept += everything_reachable(limits._budget, hook._in_place, observing.observer.get())
    printed = capfd.readouterr()
    kept += [printed.out, printed.err]
    assert server.sent == (4 if price is not None and price("", None) == 0.25 else 1)
    for secret in SECRETS:
        assert not [text for text in kept if secret in text]
