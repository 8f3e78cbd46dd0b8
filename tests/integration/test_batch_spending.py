"""`batch` under `max_spend=`: nothing is submitted that may cost more, whoever has spent the rest, in whatever process.

An answer of the server takes 1 token in and 4 out; a token costs a cent, and half of that in a batch.
"""

from __future__ import annotations

import asyncio
import math
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from fanmap import BatchPending, BudgetExceeded, Limits, NotRun, parallel_map, partial_results
from fanmap.testing import BatchScript, Reply, Server, serve
from fanmap.types import BatchProgress, Usage

COST = 0.025  # of an answer, in a batch
PROMPTS = ["a", "b", "c", "d", "e"]


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Server]:
    with serve(latency=0.0) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    shared_server.reset()
    return shared_server


@pytest.fixture
def options(server: Server, tmp_path: Path) -> dict[str, Any]:
    return {"resume": tmp_path / "job.jsonl", "poll": 0.001, "endpoints": (server.openai_url,), "durable": False}


def price(model: str, usage: Usage) -> float:
    return usage.total * 0.01


def limited(max_spend: float) -> Limits:
    return Limits(4, max_spend=max_spend, price=price)


def asking(server: Server, *, most: int | None = 4, model: str = "m") -> Callable[[str], str]:
    def ask(prompt: str) -> str:
        body: dict[str, Any] = {"model": model, "input": prompt}
        if most is not None:
            body["max_output_tokens"] = most
        with httpx.Client(verify=False, timeout=120) as client:
            answer = client.post(f"{server.openai_url}/responses", json=body)
        answer.raise_for_status()
        return answer.json()["output"][0]["content"][0]["text"]  # type: ignore[no-any-return]

    return ask


def told(prompt: str) -> str:
    return f"[simulated] {prompt}"


def lines(server: Server) -> list[int]:
    return [len(batch.requests) for batch in server.batches.made]


def test_what_fits_is_submitted_and_the_rest_is_budget_exceeded(server: Server, options: dict[str, Any]) -> None:
    limits = limited(0.06)
    with pytest.raises(BudgetExceeded) as raised:
        parallel_map(limits=limits)(asking(server)).batch(PROMPTS, **options)
    assert lines(server) == [2]
    assert (raised.value.amount, raised.value.spent) == (0.06, pytest.approx(2 * COST))
    assert str(raised.value) == "max_spend=0.06: $0.0500 spent, and one more call would exceed it"
    assert partial_results(raised.value) == {0: told("a"), 1: told("b")}
    assert "results kept in" in raised.value.__notes__[0]
    assert limits.stats.spent == pytest.approx(2 * COST)
    assert limits.stats.tokens.total == 10


def test_a_larger_amount_goes_on_and_what_the_file_says_counts_first(server: Server, options: dict[str, Any]) -> None:
    for amount, made in [(0.06, [2]), (0.07, [2]), (0.11, [2, 2]), (0.2, [2, 2, 1])]:
        ask = parallel_map(limits=limited(amount))(asking(server))
        if amount < 5 * COST:
            with pytest.raises(BudgetExceeded):
                ask.batch(PROMPTS, **options)
        else:
            assert ask.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
        assert lines(server) == made


def test_the_same_limits_count_it_once(server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(limits=limited(0.11))(asking(server))
    assert ask.batch(["a", "b"], **options) == [told("a"), told("b")]
    with pytest.raises(BudgetExceeded):
        ask.batch(PROMPTS, **options)
    assert lines(server) == [2, 2]
    with pytest.raises(BudgetExceeded):  # a call costs twice as much
        ask("f")
    with pytest.raises(BudgetExceeded):
        ask.map(PROMPTS, resume=options["resume"])
    assert server.sent == 0


def test_a_high_max_tokens_is_settled_before_the_rest_is_given_up(server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(limits=limited(0.45))(asking(server, most=40))  # 20.5 cents each at most, 2.5 in fact
    assert ask.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
    assert lines(server) == [2, 1, 1, 1]


def test_without_max_tokens_one_goes_first_and_then_the_mean_counts(server: Server, options: dict[str, Any]) -> None:
    with pytest.raises(BudgetExceeded):
        parallel_map(limits=limited(0.11))(asking(server, most=None)).batch(PROMPTS, **options)
    assert lines(server) == [1, 3]
    again = parallel_map(limits=limited(1.0))(asking(server, most=None))
    assert again.batch([*PROMPTS, "f"], **options) == [told(prompt) for prompt in [*PROMPTS, "f"]]
    assert lines(server) == [1, 3, 2]  # the file knows the mean


def test_items_that_have_begun_go_first(server: Server, options: dict[str, Any]) -> None:
    one = asking(server)
    ask = parallel_map(limits=limited(4 * COST))(lambda prompt: one(one(prompt)))
    with pytest.raises(BudgetExceeded) as raised:
        ask.batch(["a", "b"], **options)
    # The prompt of the second is longer, and so one of them fits beside the first two.
    assert lines(server) == [2, 1]
    assert partial_results(raised.value) == {0: told(told("a"))}


def test_return_exceptions_puts_what_never_ran_in_its_place(server: Server, options: dict[str, Any]) -> None:
    seen: list[BatchProgress] = []
    ask = parallel_map(limits=limited(0.06))(asking(server))
    answers: list[Any] = ask.batch(PROMPTS, **options, return_exceptions=True, progress=seen.append)
    assert answers[:2] == [told("a"), told("b")]
    for answer in answers[2:]:
        assert type(answer) is NotRun
        assert str(answer) == "the run was stopped by BudgetExceeded before this item was done"
        assert type(answer.__cause__) is BudgetExceeded
    assert str(seen[-1].summary).splitlines()[0] == "2 answered, 0 resumed, 0 failed, 3 not done"
    assert str(seen[-1].summary).splitlines()[-1] == "$0.0500 spent, $0.1000 outside of batches"
    assert '"NotRun"' not in options["resume"].read_text(encoding="utf-8")


def test_what_was_submitted_is_spent_until_it_is_settled(server: Server, options: dict[str, Any]) -> None:
    server.batches.script = BatchScript(delay=math.inf)
    limits = limited(0.1)
    ask = parallel_map(limits=limits)(asking(server))
    for _ in range(2):
        with pytest.raises(BatchPending):
            ask.batch(PROMPTS, **options, wait=0)
    assert lines(server) == [4]
    with pytest.raises(BudgetExceeded) as raised:  # a call under the same limits does not wait for a day
        ask("f")
    assert raised.value.spent == pytest.approx(4 * COST)
    assert raised.value.reserved == pytest.approx(4 * COST)
    text = "max_spend=0.1: $0.1000 spent or reserved for batches under way, and one more call would exceed it"
    assert str(raised.value) == text
    other = parallel_map(limits=limited(0.1))(asking(server))  # in another process
    with pytest.raises(BudgetExceeded):
        other.map(["f"], resume=options["resume"])
    with pytest.raises(BudgetExceeded) as raised:  # no item of this call is in that batch, which nobody waits for
        other.batch(["f"], **options)
    assert str(raised.value) == str(pickle.loads(pickle.dumps(raised.value))) == text
    assert (server.sent, lines(server)) == (0, [4])
    server.batches.script = BatchScript()
    assert ask.batch(PROMPTS[:4], **options) == [told(prompt) for prompt in PROMPTS[:4]]
    assert limits.stats.spent == pytest.approx(4 * COST)
    assert parallel_map(limits=limited(0.16))(asking(server)).map(["f"], resume=options["resume"]) == [told("f")]


def test_lines_that_failed_cost_nothing(server: Server, options: dict[str, Any]) -> None:
    server.batches.script = BatchScript(line=lambda asked: {"a": Reply(400), "b": "expired"}.get(asked.prompt))
    limits = limited(0.11)
    answers: list[Any] = parallel_map(limits=limits)(asking(server)).batch(PROMPTS, **options, return_exceptions=True)
    assert [type(answer).__name__ for answer in answers] == ["HTTPStatusError", "HTTPStatusError", "str", "str", "str"]
    assert limits.stats.spent == pytest.approx(3 * COST)


def test_a_refused_hand_in_is_given_back(server: Server, options: dict[str, Any]) -> None:
    server.batches.script = BatchScript(most_tokens=30)
    ask = parallel_map(limits=limited(8 * COST))(asking(server))
    prompts = [f"{index}" for index in range(8)]
    assert ask.batch(prompts, **options) == [told(prompt) for prompt in prompts]
    assert server.batches.made[0].state == "failed"


# Money that cannot be counted


def test_a_price_that_fails_ends_it_before_anything_is_submitted(server: Server, options: dict[str, Any]) -> None:
    def failing(model: str, usage: Usage) -> float:
        raise RuntimeError("no such contract")

    limits = Limits(4, max_spend=1.0, price=failing)
    with pytest.raises(ValueError, match="price raised RuntimeError for the model 'm'"):
        parallel_map(limits=limits)(asking(server)).batch(PROMPTS, **options)
    assert lines(server) == []


def test_a_model_that_nobody_prices_too(server: Server, options: dict[str, Any]) -> None:
    pytest.importorskip("genai_prices")
    ask = parallel_map(limits=Limits(4, max_spend=1.0))(asking(server, model="nobody-knows-it"))
    with pytest.raises(ValueError, match="genai-prices has no price for the model 'nobody-knows-it'"):
        ask.batch(PROMPTS, **options)
    assert lines(server) == []
    known = parallel_map(limits=Limits(4, max_spend=1.0))(asking(server, model="gpt-4o-mini"))
    assert known.batch(["x"], **options) == [told("x")]


def test_one_that_shows_when_it_is_answered_keeps_the_answer(server: Server, options: dict[str, Any]) -> None:
    limits = Limits(4, max_spend=1.0, price=lambda model, usage: math.nan)
    ask = parallel_map(limits=limits)(asking(server, most=None))
    with pytest.raises(ValueError, match="price must return dollars, a finite number >= 0, got nan"):
        ask.batch(PROMPTS, **options)
    assert lines(server) == [1]
    answers: list[Any] = ask.batch(PROMPTS[:2], **options, return_exceptions=True)
    assert (answers[0], type(answers[1].__cause__)) == (told("a"), ValueError)
    free = parallel_map(limits=Limits(4))(asking(server, most=None))
    assert free.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
    assert sum(lines(server)) == 1 + 1 + 4 - 1


def test_answers_that_tell_no_usage_count_as_they_were_taken_for(server: Server, options: dict[str, Any]) -> None:
    def mute(request: Any) -> Any:
        said = {"id": "r", "object": "response", "output": [{"content": [{"text": told(request.prompt)}]}]}
        return Reply(200, body=said)

    server.batches.script = BatchScript(line=mute)
    limits = limited(3 * COST)
    with pytest.raises(BudgetExceeded):
        parallel_map(limits=limits)(asking(server)).batch(PROMPTS, **options)
    assert lines(server) == [3]
    assert limits.stats.spent == pytest.approx(3 * COST)
    unbounded = parallel_map(limits=limited(1.0))(asking(server, most=None))
    with pytest.raises(ValueError, match="an answer reported no token usage"):
        unbounded.batch(PROMPTS, **{**options, "resume": options["resume"].with_name("other")})
    assert lines(server) == [3, 1]


# What goes to the wire, and calls inside


def test_what_is_sent_at_once_costs_what_it_costs(server: Server, options: dict[str, Any]) -> None:
    limits = limited(0.16)  # three answers at their full price
    with pytest.raises(BudgetExceeded) as raised:
        parallel_map(limits=limits)(asking(server)).batch(PROMPTS, **{**options, "endpoints": ()})
    assert (server.sent, lines(server)) == (3, [])
    assert len(partial_results(raised.value)) == 3
    assert limits.stats.spent == pytest.approx(0.15)
    with pytest.raises(BudgetExceeded):
        parallel_map(limits=limited(0.16))(asking(server)).batch(PROMPTS, **{**options, "endpoints": ()})
    assert server.sent == 3  # the file says what these have cost


def test_one_that_is_redirected_counts_once(server: Server, options: dict[str, Any]) -> None:
    limits, url = limited(1.0), f"{server.openai_url}/responses"
    server.script([Reply(307, headers={"location": url})])

    @parallel_map(limits=limits)
    def ask(prompt: str) -> int:
        return requests.post(url, json={"model": "m", "input": prompt}, timeout=120).status_code

    assert ask.batch(["a"], **{**options, "endpoints": ()}) == [200]
    assert (server.sent, limits.stats.spent) == (2, pytest.approx(0.05))


def test_an_async_def_too(server: Server, options: dict[str, Any]) -> None:
    limits = limited(0.16)

    @parallel_map(limits=limits)
    async def ask(prompt: str) -> str:
        body = {"model": "m", "input": prompt, "max_output_tokens": 4}
        async with httpx.AsyncClient(verify=False, timeout=120) as client:
            answer = await client.post(f"{server.openai_url}/responses", json=body)
        return answer.json()["output"][0]["content"][0]["text"]  # type: ignore[no-any-return]

    with pytest.raises(BudgetExceeded):
        asyncio.run(ask.abatch(PROMPTS, **{**options, "endpoints": ()}))
    assert server.sent == 3
    with pytest.raises(BudgetExceeded):
        asyncio.run(ask.abatch(PROMPTS, **options))
    assert lines(server) == []


def streams(server: Server) -> Callable[[str], str]:
    def ask(prompt: str) -> str:
        body = {"model": "m", "input": prompt, "stream": True}
        with (
            httpx.Client(verify=False, timeout=120) as client,
            client.stream("POST", f"{server.openai_url}/responses", json=body) as response,
        ):
            return prompt if "completed" in "".join(response.iter_text()) else ""

    return ask


def streams_through_requests(server: Server) -> Callable[[str], str]:
    def ask(prompt: str) -> str:
        body = {"model": "m", "input": prompt, "stream": True}
        with requests.post(f"{server.openai_url}/responses", json=body, stream=True, timeout=120) as response:
            return prompt if b"completed" in b"".join(response.iter_lines()) else ""

    return ask


def streams_on_a_loop(server: Server) -> Callable[[str], Any]:
    async def ask(prompt: str) -> str:
        body = {"model": "m", "input": prompt, "stream": True}
        async with (
            httpx.AsyncClient(verify=False, timeout=120) as client,
            client.stream("POST", f"{server.openai_url}/responses", json=body) as response,
        ):
            return prompt if "completed" in "".join([text async for text in response.aiter_text()]) else ""

    return ask


def through_aiohttp(server: Server) -> Callable[[str], Any]:
    aiohttp: Any = pytest.importorskip("aiohttp")

    async def ask(prompt: str) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{server.openai_url}/responses", json={"model": "m", "input": prompt}) as response,
        ):
            return prompt if (await response.json())["status"] == "completed" else ""

    return ask


late_bodies = pytest.mark.parametrize("make", [streams, streams_through_requests, streams_on_a_loop, through_aiohttp])


@late_bodies
def test_so_does_what_is_read_after_its_headers(make: Any, server: Server, options: dict[str, Any]) -> None:
    limits = limited(0.16)
    with pytest.raises(BudgetExceeded) as raised:
        parallel_map(limits=limits)(make(server)).batch(PROMPTS, **options, max_concurrency=1)
    assert partial_results(raised.value) == {0: "a", 1: "b", 2: "c"}
    assert raised.value.spent == pytest.approx(0.15)
    assert limits.stats.spent == pytest.approx(0.15)
    assert limits.stats.tokens == Usage(3, 0, 12, 0)
    assert limits.stats.in_flight == 0
    with pytest.raises(BudgetExceeded):
        parallel_map(limits=limited(0.16))(make(server)).batch(PROMPTS, **options)
    assert server.sent == 3  # the file says what these have cost


@late_bodies
def test_its_tokens_count_where_nothing_bounds_dollars(
    make: Any, server: Server, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(4, tpm=10_000_000)
    prompts = [str(number) for number in range(20)]  # after so many that told nothing, a warning says so
    assert parallel_map(limits=limits)(make(server)).batch(prompts, **options) == prompts
    assert "reported its token usage" not in caplog.text
    assert limits.stats.tokens == Usage(20, 0, 80, 0)
    assert (limits.stats.done, limits.stats.in_flight) == (20, 0)


def test_a_stream_that_is_left_before_it_tells_counts_as_the_mean(server: Server, options: dict[str, Any]) -> None:
    whole, limits = streams(server), limited(0.16)

    def ask(prompt: str) -> str:
        if prompt == "a":
            return whole(prompt)
        body = {"model": "m", "input": prompt, "stream": True}
        with (
            httpx.Client(verify=False, timeout=120) as client,
            client.stream("POST", f"{server.openai_url}/responses", json=body) as response,
        ):
            return next(response.iter_text())

    with pytest.raises(BudgetExceeded) as raised:
        parallel_map(limits=limits)(ask).batch(PROMPTS, **options, max_concurrency=1)
    assert server.sent == 3
    assert raised.value.spent == pytest.approx(0.15)
    assert limits.stats.spent == pytest.approx(0.05)  # what was seen


def test_an_item_may_ask_while_it_reads_a_stream(server: Server, options: dict[str, Any]) -> None:
    """It waits neither for the stream's slot, nor for what that may turn out to cost less than it was taken for."""
    limits = Limits(1, max_spend=0.17, price=price)
    asks = streams(server)

    def ask(prompt: str) -> str:
        body = {"model": "m", "input": prompt, "stream": True}
        with (
            httpx.Client(verify=False, timeout=120) as client,
            client.stream("POST", f"{server.openai_url}/responses", json=body) as response,
        ):
            texts = response.iter_text()
            first = next(texts)
            answer = asks(prompt)
            return answer if "completed" in first + "".join(texts) else ""

    assert parallel_map(limits=limits)(ask).batch(["a"], **options) == ["a"]
    assert limits.stats.spent == pytest.approx(0.10)
    with pytest.raises(BudgetExceeded):
        parallel_map(limits=limits)(ask).batch(["b"], **options)
    assert server.sent == 3


def test_what_an_item_has_read_counts_before_it_asks_again(server: Server, options: dict[str, Any]) -> None:
    asks = streams(server)
    limits = limited(0.16)
    with pytest.raises(BudgetExceeded):
        parallel_map(limits=limits)(lambda prompt: [asks(prompt) for _ in PROMPTS]).batch(["a"], **options)
    assert server.sent == 3
    assert limits.stats.spent == pytest.approx(0.15)


def test_a_call_inside_under_a_total_of_its_own_is_refused(server: Server, options: dict[str, Any]) -> None:
    account = limited(1.0)
    inner = parallel_map(limits=account)(asking(server))
    with pytest.raises(ValueError, match="runs under a total of its own, such as max_spend="):
        parallel_map(lambda prompt: inner(prompt)).batch(["a"], **options)
    assert lines(server) == []
    same = parallel_map(limits=account)(lambda prompt: inner(prompt))
    assert same.batch(["a"], **options) == [told("a")]
    assert account.stats.spent == pytest.approx(COST)
