"""`batch` and `abatch` with real clients and functions unchanged, against the loopback server."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import json
import math
import pickle
import queue
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, copy_context
from multiprocessing.pool import ThreadPool
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import httpx
import pytest
import requests
import tenacity
import trio

from fanmap import (
    BatchError,
    BatchPending,
    JournalError,
    Limits,
    Rate,
    Retry,
    parallel_map,
    partial_results,
    to_sync,
)
from fanmap._drive import clock
from fanmap._drive.batch import book, capture, spooling
from fanmap._drive.wire import observing
from fanmap._policy.batch import siblings
from fanmap.testing import BatchScript, Reply, Request, Server, serve
from fanmap.types import BatchProgress, BatchSummary

PROMPTS = ["a", "b", "c"]


@pytest.fixture(scope="module", autouse=True)
def _clients() -> None:
    """Imported by the first test that uses them, not where tests are collected: that takes seconds."""
    global anthropic, openai
    import anthropic
    import openai


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


CLIENTS: list[Any] = []


@pytest.fixture(autouse=True)
def closed_clients() -> Iterator[None]:
    yield
    while CLIENTS:
        client = CLIENTS.pop()
        if inspect.iscoroutinefunction(client.close):
            to_sync(client.close)()  # on the loop where `batch` used it
        else:
            client.close()


def kept(client: Any) -> Any:
    CLIENTS.append(client)
    return client


def run(main: Any) -> Any:
    """Await it on a loop of its own, where its clients are closed."""

    async def whole() -> Any:
        try:
            return await main
        finally:
            for client in CLIENTS:
                if inspect.iscoroutinefunction(client.close):
                    await client.close()

    return asyncio.run(whole())


def told(prompt: str) -> str:
    return f"[simulated] {prompt}"


def lines(server: Server) -> list[int]:
    return [len(batch.requests) for batch in server.batches.made]


@contextmanager
def unwarned() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield
    assert [str(one.message) for one in said] == []


# Functions as people have them


def of_openai(server: Server) -> Callable[[str], str]:
    client = kept(openai.OpenAI(base_url=server.openai_url, api_key="key-of-openai"))
    return lambda prompt: client.responses.create(model="m", input=prompt).output_text


def of_chat(server: Server) -> Callable[[str], str]:
    client = kept(openai.OpenAI(base_url=server.openai_url, api_key="key-of-openai"))

    def ask(prompt: str) -> str:
        said = client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])
        return said.choices[0].message.content or ""

    return ask


def of_anthropic(server: Server) -> Callable[[str], str]:
    client = kept(anthropic.Anthropic(base_url=server.anthropic_url, api_key="key-of-anthropic"))

    def ask(prompt: str) -> str:
        said = client.messages.create(model="c", max_tokens=9, messages=[{"role": "user", "content": prompt}])
        return said.content[0].text  # type: ignore[union-attr]

    return ask


def of_requests(server: Server) -> Callable[[str], str]:
    def ask(prompt: str) -> str:
        body = {"model": "m", "input": prompt}
        answer = requests.post(f"{server.openai_url}/responses", json=body, headers={"authorization": "Bearer k"})
        answer.raise_for_status()
        return answer.json()["output"][0]["content"][0]["text"]  # type: ignore[no-any-return]

    return ask


def of_httpx(server: Server) -> Callable[[str], str]:
    def ask(prompt: str) -> str:
        with httpx.Client(verify=False, timeout=120) as client:
            answer = client.post(f"{server.openai_url}/responses", json={"model": "m", "input": prompt})
        answer.raise_for_status()
        return answer.json()["output"][0]["content"][0]["text"]  # type: ignore[no-any-return]

    return ask


@pytest.mark.parametrize("make", [of_openai, of_chat, of_anthropic, of_requests, of_httpx])
def test_a_def_asks_through_one_batch(make: Any, server: Server, options: dict[str, Any]) -> None:
    server.batches.script = BatchScript(shuffled=True)
    ask = parallel_map(make(server))
    assert ask.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
    assert lines(server) == [3]
    assert server.sent == 0
    assert ask.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
    assert lines(server) == [3]


def of_async_openai(server: Server) -> Any:
    client = kept(openai.AsyncOpenAI(base_url=server.openai_url, api_key="k"))

    async def ask(prompt: str) -> str:
        return (await client.responses.create(model="m", input=prompt)).output_text

    return ask


def of_async_anthropic(server: Server) -> Any:
    client = kept(anthropic.AsyncAnthropic(base_url=server.anthropic_url, api_key="k"))

    async def ask(prompt: str) -> str:
        said = await client.messages.create(model="c", max_tokens=9, messages=[{"role": "user", "content": prompt}])
        return said.content[0].text  # type: ignore[union-attr]

    return ask


@pytest.mark.parametrize("make", [of_async_openai, of_async_anthropic])
def test_an_async_def_asks_through_one_batch(make: Any, server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(make(server))
    assert ask.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
    assert lines(server) == [3]
    assert server.sent == 0


@pytest.mark.parametrize("make", [of_async_openai, of_openai])
def test_abatch_is_batch_awaited(make: Any, server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(make(server))
    assert run(ask.abatch(PROMPTS, **options)) == [told(prompt) for prompt in PROMPTS]
    assert lines(server) == [3]


def test_abatch_on_trio(server: Server, options: dict[str, Any]) -> None:
    async def twice(prompt: str) -> str:
        said = prompt
        async with httpx.AsyncClient(verify=False, timeout=120) as client:
            for _ in range(2):
                answer = await client.post(f"{server.openai_url}/responses", json={"model": "m", "input": said})
                said = answer.json()["output"][0]["content"][0]["text"]
        return said

    assert trio.run(lambda: parallel_map(twice).abatch(PROMPTS, **options)) == [told(told(one)) for one in PROMPTS]
    ask = parallel_map(of_httpx(server))
    assert trio.run(lambda: ask.abatch(PROMPTS, **options, version="2")) == [told(one) for one in PROMPTS]
    assert lines(server) == [3, 3, 3]


def test_a_look_for_siblings_that_fails_ends_the_wait() -> None:
    async def main() -> None:
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        looks = [False]  # the second one, which the loop makes, fails
        capture._look(told, looks.pop, 0)
        await asyncio.wait_for(told, 120)

    with pytest.raises(IndexError):
        asyncio.run(main())


@pytest.mark.parametrize("make", [pytest.param(of_async_openai, marks=pytest.mark.whole), of_openai])
def test_an_item_leaves_no_reference_cycle(make: Any, server: Server, options: dict[str, Any], cycles: Any) -> None:
    ask = parallel_map(make(server))
    numbers = itertools.count()

    async def body() -> None:
        number = next(numbers)
        await ask.abatch([f"{number}"], **{**options, "resume": f"{options['resume']}-{number}"})

    found = run(cycles(body))
    assert [name for name in found if name.endswith((".Capture", ".Outlet", ".QuestionKeys"))] == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_client_of_a_loop_that_is_over_is_no_hindrance(server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(of_async_openai(server))
    asyncio.run(ask.abatch(["other"], **options))
    assert run(ask.abatch(PROMPTS, **options)) == [told(prompt) for prompt in PROMPTS]
    assert lines(server) == [1, 3]
    CLIENTS.clear()
    del ask
    gc.collect()  # the connection of the first loop, which nobody can close any more


def test_embeddings_and_methods_and_unpack(server: Server, options: dict[str, Any]) -> None:
    class Embedder:
        def __init__(self) -> None:
            self.client = kept(openai.OpenAI(base_url=server.openai_url, api_key="k"))

        @parallel_map
        def embed(self, model: str, text: str) -> list[float]:
            return self.client.embeddings.create(model=model, input=text).data[0].embedding

    vectors = Embedder().embed.batch([("m", "x"), ("m", "y"), ("n", "x")], unpack=True, key=str, **options)
    assert vectors[0] == vectors[2] != vectors[1]
    assert sorted(lines(server)) == [1, 2]  # one a model


# Turns


def test_two_calls_in_a_row_take_two_turns(server: Server, options: dict[str, Any]) -> None:
    first, second = of_openai(server), of_anthropic(server)
    seen: list[BatchProgress] = []
    ask = parallel_map(lambda prompt: second(first(prompt)))
    assert ask.batch(PROMPTS, **options, progress=seen.append) == [told(told(prompt)) for prompt in PROMPTS]
    assert [(batch.provider, len(batch.requests)) for batch in server.batches.made] == [("openai", 3), ("anthropic", 3)]
    assert seen[-1].summary is not None
    assert [seen[0].turn, seen[-1].turn, seen[-1].summary.turns] == [0, 2, 2]
    assert seen[-1].done == 3


class StandsUntilAllHaveAsked:
    """The clock by which an item is still: a busy machine may take longer to begin a thread than people wait."""

    world = clock.world

    def __init__(self, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._count, self._noted = count, 0
        self._lock = threading.Lock()
        note = book.Book.note

        def counted(job: book.Book, *args: Any) -> None:
            note(job, *args)
            with self._lock:
                self._noted += 1

        monkeypatch.setattr(book.Book, "note", counted)

    def now(self) -> float:
        return clock.now() if self._noted % self._count == 0 else 0.0


def test_what_an_item_asks_at_once_goes_in_one_turn(
    server: Server, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = of_async_openai(server)

    @parallel_map
    async def with_gather(prompt: str) -> list[str]:
        return list(await asyncio.gather(*[one(f"{prompt}{index}") for index in range(4)]))

    @parallel_map
    async def with_group(prompt: str) -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(f"{prompt}{index}")) for index in range(4)]
        return [task.result() for task in tasks]

    blocking = of_openai(server)

    @parallel_map
    def with_pool(prompt: str) -> list[str]:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(blocking, [f"{prompt}{index}" for index in range(4)]))

    for warm_up in (one, blocking):  # a new client of openai's asks a thread about the platform
        parallel_map(warm_up).batch(["w"], **{**options, "resume": options["resume"].with_name("w")}, key=str)
    monkeypatch.setattr(capture, "clock", StandsUntilAllHaveAsked(12, monkeypatch))
    for ask in (with_gather, with_group, with_pool):
        server.reset()
        answers = ask.batch(PROMPTS, **options)
        assert answers == [[told(f"{prompt}{index}") for index in range(4)] for prompt in PROMPTS]
        assert lines(server) == [12]


POOLED: dict[str, Callable[[Any, Any, list[str]], list[str]]] = {
    "map": lambda pool, one, texts: pool.map(one, texts, chunksize=1),
    "map, in chunks": lambda pool, one, texts: pool.map(one, texts, chunksize=2),
    "imap": lambda pool, one, texts: list(pool.imap(one, texts)),
    "imap_unordered": lambda pool, one, texts: sorted(pool.imap_unordered(one, texts)),
    "starmap": lambda pool, one, texts: pool.starmap(one, [(text,) for text in texts], chunksize=1),
    "apply_async": lambda pool, one, texts: [
        said.get() for said in [pool.apply_async(one, (text,)) for text in texts]
    ],
}  # fmt: skip


@pytest.mark.parametrize("pooled", POOLED.values(), ids=POOLED)
def test_a_thread_pool_of_multiprocessings_goes_on(
    pooled: Any, server: Server, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its threads let exceptions through that are no `Exception`, and end; it would wait for their jobs for ever."""
    one = of_openai(server)

    def ask(prompt: str) -> list[str]:
        with ThreadPool(2) as pool:
            return pooled(pool, one, [f"{prompt}{index}" for index in range(5)])

    monkeypatch.setattr(siblings, "PATIENCE", 0.0)  # with two threads, others cannot be late
    answers = parallel_map(ask).batch(["a"], **options)
    assert answers == [[told(f"a{index}") for index in range(5)]]
    assert sum(lines(server)) == 5


def test_an_item_that_waits_for_several_says_nothing_of_those_that_it_has_not_looked_at(
    server: Server, options: dict[str, Any]
) -> None:
    said = list[str]()

    async def both(prompt: str) -> str:
        async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="k") as client:
            tasks = [asyncio.create_task(client.responses.create(model=model, input=prompt)) for model in "ab"]
            await asyncio.wait(tasks)
            return " ".join(task.result().output_text for task in tasks)

    async def main() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, about: said.append(about["message"]))
        answers = await parallel_map(both).abatch(PROMPTS, **options)
        gc.collect()
        return answers

    assert asyncio.run(main()) == [f"{told(prompt)} {told(prompt)}" for prompt in PROMPTS]
    assert said == []


@pytest.mark.parametrize("kind", ["httpx", "async httpx", "requests"])
def test_the_clients_response_hooks_see_each_answer(kind: str, server: Server, options: dict[str, Any]) -> None:
    """One that raises for the status makes a failure of a refused line, as it does without a batch."""
    server.batches.script = BatchScript(line=lambda request: Reply(400) if "b" in request.prompt else None)
    url, seen = f"{server.openai_url}/chat/completions", list[int]()

    def body(prompt: str) -> dict[str, Any]:
        return {"model": "m", "messages": [{"role": "user", "content": prompt}]}

    def hook(response: Any, **_: Any) -> None:
        if str(response.request.url) == url:
            seen.append(response.status_code)
        response.raise_for_status()

    async def async_hook(response: Any) -> None:
        hook(response)

    def by_httpx(prompt: str) -> str:
        with httpx.Client(event_hooks={"response": [hook]}, timeout=120) as client:
            return client.post(url, json=body(prompt)).text

    async def by_async_httpx(prompt: str) -> str:
        async with httpx.AsyncClient(event_hooks={"response": [async_hook]}, timeout=120) as client:
            return (await client.post(url, json=body(prompt))).text

    def by_requests(prompt: str) -> str:
        with requests.Session() as session:
            session.hooks["response"].append(hook)
            return session.post(url, json=body(prompt), timeout=120).text

    ask: Any = {"httpx": by_httpx, "async httpx": by_async_httpx, "requests": by_requests}[kind]
    answers = parallel_map(ask).batch(PROMPTS, return_exceptions=True, **options)
    assert [type(answer).__name__ for answer in answers] == [
        "str", "HTTPError" if kind == "requests" else "HTTPStatusError", "str",
    ]  # fmt: skip
    assert sorted(seen) == [200, 200, 400]


def test_an_answer_can_be_read_as_one_from_the_wire(server: Server, options: dict[str, Any]) -> None:
    url = f"{server.openai_url}/responses"

    def body(prompt: str) -> dict[str, Any]:
        return {"model": "m", "input": prompt}

    def of_httpx(prompt: str) -> list[str]:
        said = list[bytes]()
        with httpx.Client(timeout=120) as client:
            for read in ("iter_raw", "iter_bytes", "read"):
                with client.stream("POST", url, json=body(prompt)) as response:
                    assert not response.is_stream_consumed
                    said.append(b"".join(getattr(response, read)()) if read != "read" else response.read())
                assert response.is_closed
        return [one.decode() for one in said]

    async def of_async_httpx(prompt: str) -> list[str]:
        said = list[bytes]()
        async with httpx.AsyncClient(timeout=120) as client:
            for read in ("aiter_raw", "aiter_bytes"):
                async with client.stream("POST", url, json=body(prompt)) as response:
                    said.append(b"".join([piece async for piece in getattr(response, read)()]))
        return [one.decode() for one in said]

    def of_requests(prompt: str) -> list[str]:
        with requests.post(url, json=body(prompt), stream=True, timeout=120) as response:
            assert response.reason == "OK"
            return [response.raw.read(decode_content=True).decode(), response.text]

    for ask in (of_httpx, of_async_httpx, of_requests):
        here = {**options, "resume": options["resume"].with_name(ask.__name__)}
        (texts,) = parallel_map(ask).batch(["a"], **here)
        assert [json.loads(text)["output"][0]["content"][0]["text"] for text in texts] == [told("a")] * len(texts)


@pytest.mark.parametrize("unpack", [False, True])
def test_a_function_may_add_to_the_list_that_it_is_given(unpack: bool, server: Server, options: dict[str, Any]) -> None:
    def ask(messages: list[Any]) -> str:
        said = ""
        for word in ("first", "second"):
            messages.append({"role": "user", "content": word})
            reply = client.chat.completions.create(model="m", messages=messages)
            said = reply.choices[0].message.content or ""
            messages.append({"role": "assistant", "content": said})
        return f"{len(messages)} {said}"

    with openai.OpenAI(base_url=server.openai_url, api_key="k") as client:
        messages = [{"role": "system", "content": "be short"}]
        inputs: list[Any] = [{"messages": messages}] if unpack else [messages]
        assert parallel_map(ask).batch(inputs, unpack=unpack, **options) == ["5 [simulated] second"]
    assert messages == [{"role": "system", "content": "be short"}]
    assert [len(batch.requests) for batch in server.batches.made] == [1, 1]


def test_equal_questions_of_an_item_are_two(server: Server, options: dict[str, Any]) -> None:
    one = of_openai(server)
    ask = parallel_map(lambda prompt: [one(prompt), one(prompt)])
    assert ask.batch(["a", "a"], **options) == [[told("a")] * 2] * 2
    assert lines(server) == [2, 2]


def test_a_bare_except_takes_its_turns_all_the_same(server: Server, options: dict[str, Any]) -> None:
    one = of_openai(server)

    def ask(prompt: str) -> str:
        try:
            return one(prompt)
        except:  # noqa: E722
            return "failed"

    assert parallel_map(ask).batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]


def and_again(one: Any) -> Any:
    again = tenacity.retry_if_not_exception_type(ValueError)  # what it unwinds by is none
    return tenacity.retry(retry=again, stop=tenacity.stop_after_attempt(6))(one)


def and_goes_on(one: Any) -> Any:
    def ask(prompt: str) -> str:
        try:
            said = one(prompt)
        except:  # noqa: E722
            said = one("instead")
        return str(one(f"Shorten: {said}"))

    return ask


def and_counts(one: Any) -> Any:
    def ask(prompt: str) -> str:
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(one, f"{prompt}{index}") for index in range(2)]
        return str(one(f"{prompt}: {sum(not call.exception() for call in asked)} of 2"))

    return ask


def and_gathers(one: Any) -> Any:
    async def ask(prompt: str) -> str:
        said = await asyncio.gather(*[one(f"{prompt}{index}") for index in range(2)], return_exceptions=True)
        return str(await one(f"{prompt}: {sum(isinstance(text, str) for text in said)} of 2"))

    return ask


def and_runs_a_loop(one: Any) -> Any:
    return lambda prompt: asyncio.run(and_gathers(one)(prompt))


@pytest.mark.parametrize(
    ("make", "and_then", "asked"),
    [
        (of_openai, and_again, ["a"]),
        (of_async_openai, and_again, ["a"]),
        (of_openai, and_goes_on, ["Shorten: [simulated] a", "a"]),
        (of_openai, and_counts, ["a0", "a1", "a: 2 of 2"]),
        (of_async_openai, and_gathers, ["a0", "a1", "a: 2 of 2"]),
        (of_async_openai, and_runs_a_loop, ["a0", "a1", "a: 2 of 2"]),
    ],
)
def test_what_one_would_ask_that_has_caught_its_unwinding_is_not_paid(
    make: Any, and_then: Any, asked: list[str], server: Server, options: dict[str, Any]
) -> None:
    parallel_map(and_then(make(server))).batch(["a"], **options)
    assert sorted(one.body["input"] for batch in server.batches.made for one in batch.requests.values()) == asked


def test_nor_is_it_sent_at_once(server: Server, options: dict[str, Any]) -> None:
    one, client = of_openai(server), kept(openai.OpenAI(base_url=server.openai_url, api_key="k"))

    def ask(prompt: str) -> int:
        try:
            said = one(prompt)
        except:  # noqa: E722
            said = "nothing"
        return sum(1 for _ in client.responses.create(model="m", input=said, stream=True))

    parallel_map(ask).batch(["a"], **options)
    assert (lines(server), server.sent) == ([1], 1)


def test_a_pools_thread_has_caught_nothing_for_what_it_does_next(server: Server, options: dict[str, Any]) -> None:
    one = of_openai(server)

    def ask(prompt: str) -> list[str]:
        with ThreadPoolExecutor(1) as pool:
            return [call.result() for call in [pool.submit(one, prompt) for _ in range(3)]]

    assert parallel_map(ask).batch(["a"], **options) == [[told("a")] * 3]
    assert lines(server) == [3]


def test_an_item_that_asks_something_else_each_time_is_told_the_cure(server: Server, options: dict[str, Any]) -> None:
    one, times = of_openai(server), itertools.count()
    ask = parallel_map(lambda prompt: one(f"{prompt} at {next(times)}"))
    with pytest.raises(BatchError, match="the item sent a different request.*remove times, random values"):
        ask.batch(["a"], **options)
    assert lines(server) == [1]


def test_one_that_is_taken_up_again_is_told_before_it_pays_twice(server: Server, options: dict[str, Any]) -> None:
    one, times = of_openai(server), itertools.count()
    ask = parallel_map(lambda prompt: one(f"{prompt} at {next(times)}"))
    server.batches.script = BatchScript(delay=math.inf)
    with pytest.raises(BatchPending):
        ask.batch(["a"], **options, wait=0)
    with pytest.raises(BatchError, match="sent a different request"):
        ask.batch(["a"], **options, wait=0)
    assert lines(server) == [1]


def test_an_item_that_asks_for_ever_is_stopped(server: Server, options: dict[str, Any]) -> None:
    one = of_openai(server)

    def ask(prompt: str) -> str:
        while True:
            prompt = one(prompt)

    with pytest.raises(BatchError, match="needs more than 3 turns: raise max_turns="):
        parallel_map(ask).batch(["a"], **options, max_turns=3)
    assert lines(server) == [1, 1, 1]


# Leaving, and going on


def test_wait_0_hands_in_and_leaves_and_the_same_call_goes_on(server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(of_openai(server))
    server.batches.script = BatchScript(delay=math.inf)
    for _ in range(2):
        with pytest.raises(BatchPending) as raised:
            ask.batch(PROMPTS, **options, wait=0)
        assert (raised.value.done, raised.value.total) == (0, 3)
        (info,) = raised.value.batches
        assert (info.id, info.provider, info.url, info.total) == (
            "batch_simulated_0", "openai", server.openai_url, 3,
        )  # fmt: skip
        assert pickle.loads(pickle.dumps(raised.value)).batches == raised.value.batches
    assert str(raised.value) == "0 of 3 items done, batches in progress: 1; call again to continue"
    server.batches.script = BatchScript()
    assert ask.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
    assert lines(server) == [3]


def test_inputs_may_be_added_removed_and_reordered(server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(of_openai(server))
    server.batches.script = BatchScript(delay=math.inf)
    with pytest.raises(BatchPending):
        ask.batch(["a", "b", "c"], **options, wait=0)
    server.batches.script = BatchScript()
    assert ask.batch(["d", "c", "a"], **options) == [told("d"), told("c"), told("a")]
    assert lines(server) == [3, 1]
    assert ask.batch(["b"], **options) == [told("b")]
    assert lines(server) == [3, 1]


def test_another_key_goes_on_with_a_job(server: Server, options: dict[str, Any]) -> None:
    def make(key: str) -> Any:
        def ask(prompt: str) -> str:
            client = kept(openai.OpenAI(base_url=server.openai_url, api_key=key))
            return client.responses.create(model="m", input=prompt).output_text

        return parallel_map(ask)

    server.batches.script = BatchScript(delay=math.inf)
    with pytest.raises(BatchPending):
        make("one").batch(PROMPTS, **options, wait=0)
    server.batches.script = BatchScript()
    assert make("two").batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
    assert lines(server) == [3]


def test_no_header_and_no_key_is_in_the_file(server: Server, options: dict[str, Any]) -> None:
    first, second = of_openai(server), of_anthropic(server)
    parallel_map(lambda prompt: second(first(prompt))).batch(PROMPTS, **options)
    text = options["resume"].read_text(encoding="utf-8").lower()
    assert "key-of" not in text
    assert "bearer" not in text
    assert "user-agent" not in text


def test_a_file_is_one_runs_at_a_time(server: Server, options: dict[str, Any]) -> None:
    one = of_openai(server)

    def ask(prompt: str) -> str:
        with pytest.raises(JournalError, match="in use"):
            parallel_map(one).batch(["x"], **options)
        return one(prompt)

    assert parallel_map(ask).batch(["a"], **options) == [told("a")]


def test_map_has_what_batch_has_paid(server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(of_openai(server))
    ask.batch(PROMPTS, **options)
    assert ask.map([*PROMPTS, "d"], resume=options["resume"]) == [told(prompt) for prompt in [*PROMPTS, "d"]]
    assert server.sent == 1


# Paid twice, and said


def under_way(server: Server, ask: Any, options: dict[str, Any], prompts: list[str] = PROMPTS) -> None:
    """Submit, and leave: the batch goes on."""
    server.batches.script = BatchScript(delay=math.inf)
    with pytest.raises(BatchPending):
        ask.batch(prompts, **options, wait=0)
    server.batches.script = BatchScript()


@pytest.mark.parametrize("make", [of_openai, of_async_openai])
def test_map_says_once_that_it_pays_again_for_what_a_batch_has_under_way(
    make: Any, server: Server, options: dict[str, Any]
) -> None:
    ask = parallel_map(make(server))
    under_way(server, ask, options, ["a", "b"])
    under_way(server, ask, options)  # c goes in a second one
    with pytest.warns(RuntimeWarning) as said:
        assert ask.map(PROMPTS, resume=options["resume"]) == [told(prompt) for prompt in PROMPTS]
    (warning,) = said
    file, name = options["resume"], ask.__name__
    assert str(warning.message) == (
        f"resume={str(file)!r}: 2 batches of this file may still be under way, and answers are being paid for again: "
        "this run calls for items that were submitted there. To wait for them instead, write "
        f"{name}.batch(...); to end them, `fanmap batch cancel {file}`"
    )
    assert server.sent == 3


def test_and_nothing_where_it_does_not(server: Server, options: dict[str, Any]) -> None:
    ask, file = parallel_map(of_openai(server)), options["resume"]
    under_way(server, ask, options)
    with unwarned():
        assert ask.map(["d"], resume=file) == [told("d")]  # it is in no batch
    with pytest.warns(RuntimeWarning, match="1 batch of this file"):
        ask.map([*PROMPTS, "d"], resume=file)
    with unwarned():
        ask.map([*PROMPTS, "d"], resume=file)  # nothing is called
    options["resume"] = file.with_name("second")
    ask.batch(PROMPTS, **options)
    file.unlink()
    with unwarned():  # its batch has been collected
        assert ask.map([*PROMPTS, "e"], resume=options["resume"])[3] == told("e")


# Lines that are no answers


def failing(prompt: str, reply: Any) -> Callable[[Request], Any]:
    return lambda request: reply if request.prompt == prompt else None


@pytest.mark.parametrize("make", [of_openai, of_anthropic])
def test_a_failed_line_is_the_clients_own_exception(make: Any, server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(make(server))
    server.batches.script = BatchScript(line=failing("b", Reply(400)))
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)) as raised:
        ask.batch(PROMPTS, **options)
    assert "fanmap: item 1 of" in raised.value.__notes__[0]
    assert partial_results(raised.value) == {0: told("a"), 2: told("c")}
    assert lines(server) == [3]
    answers: Any = ask.batch(PROMPTS, **options, return_exceptions=True)
    assert [type(answer).__name__ for answer in answers] == ["str", "BadRequestError", "str"]
    assert lines(server) == [3, 1]  # the same call has asked it anew
    server.batches.script = BatchScript()
    assert ask.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]


def test_a_batch_of_which_every_line_failed(server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(of_openai(server))
    server.batches.script = BatchScript(line=lambda _: Reply(404))
    answers: Any = ask.batch(PROMPTS, **options, return_exceptions=True)
    assert [type(answer) for answer in answers] == [openai.NotFoundError] * 3


@pytest.mark.parametrize("make", [of_openai, of_anthropic])
@pytest.mark.parametrize("fate", ["dropped", "expired", Reply(500), Reply(429)])
def test_what_can_be_mended_is_asked_again_twice(make: Any, fate: Any, server: Server, options: dict[str, Any]) -> None:
    ask, left = parallel_map(make(server)), [2]

    def line(request: Request) -> Any:
        if request.prompt == "b" and left[0]:
            left[0] -= 1
            return fate
        return None

    server.batches.script = BatchScript(line=line)
    assert ask.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
    assert lines(server) == [3, 1, 1]


@pytest.mark.parametrize("fate", ["dropped", "expired", Reply(500), Reply(429)])
def test_and_then_its_client_sees_it(fate: Any, server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(of_openai(server))
    server.batches.script = BatchScript(line=failing("b", fate))
    with pytest.raises(openai.APIStatusError) as raised:
        ask.batch(PROMPTS, **options)
    assert raised.value.status_code == (fate.status if isinstance(fate, Reply) else 504)
    assert lines(server) == [3, 1, 1]


def test_retry_asks_anew_what_the_function_did_not_like(server: Server, options: dict[str, Any]) -> None:
    one = of_openai(server)
    left = ["b"]

    def ask(prompt: str) -> str:
        answer = one(prompt)
        if prompt in left and len(server.batches.made) == 1:
            raise ValueError("no JSON in it")
        return answer

    again = parallel_map(retry=Retry(2, on=ValueError))(ask)
    assert again.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
    assert lines(server) == [3, 1]


def test_a_spent_account_stops_it_and_keeps_what_was_answered(server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(of_openai(server))
    server.batches.script = BatchScript(line=failing("b", Reply(429, code="insufficient_quota", body={"error": {
        "message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}})))  # fmt: skip
    with pytest.raises(BatchError, match="has no credit left"):
        ask.batch(PROMPTS, **options)
    server.batches.script = BatchScript()
    assert ask.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
    assert lines(server) == [3, 1]


# Batches that are not taken


def test_an_enqueued_token_limit_is_kept(server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(of_openai(server))
    server.batches.script = BatchScript(most_tokens=30)
    prompts = [f"prompt {index}" for index in range(8)]
    assert ask.batch(prompts, **options) == [told(prompt) for prompt in prompts]
    states = [(batch.state, len(batch.requests)) for batch in server.batches.made]
    assert states[0] == ("failed", 8)
    assert states[1] == ("failed", 4) or states[1] == ("ended", 4)
    assert sum(size for state, size in states if state == "ended") == 8


def test_a_batch_that_fails_validation_ends_it_with_the_providers_words(
    server: Server, options: dict[str, Any]
) -> None:
    ask = parallel_map(of_openai(server))
    server.batches.script = BatchScript(invalid="Line 3 is not to our liking.")
    with pytest.raises(BatchError, match=r"the provider refused batch .*: Line 3 is not to our liking\."):
        ask.batch(PROMPTS, **options)
    server.batches.script = BatchScript()
    assert ask.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("make", [of_openai, of_anthropic])
def test_a_hand_in_whose_answer_is_lost_is_found_again(make: Any, server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(make(server))
    server.batches.script = BatchScript(cut_answers=1)
    assert ask.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
    assert lines(server) == [3]


@pytest.mark.parametrize("make", [of_openai, of_anthropic, of_requests, of_async_openai])
def test_results_that_are_cut_off_are_read_again(make: Any, server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(make(server))
    server.batches.script = BatchScript(cut_results=2)
    assert ask.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
    assert lines(server) == [3]


def test_failures_of_the_interface_are_waited_out(tmp_path: Path) -> None:
    left = [4]

    def respond(request: Request) -> Reply | None:
        if request.path.startswith(("/v1/files", "/v1/batches")) and left[0]:
            left[0] -= 1
            return Reply(503)
        return None

    with serve(respond=respond) as server:
        ask = parallel_map(of_openai(server))
        done = ask.batch(["a"], resume=tmp_path / "j", poll=0.001, endpoints=(server.openai_url,))
        assert done == [told("a")]
        assert lines(server) == [1]


def test_a_refused_key_is_taken_anew_once(tmp_path: Path) -> None:
    keys = ["old"]

    def respond(request: Request) -> Reply | None:
        return Reply(401) if request.headers["authorization"] == "Bearer old" else None

    with serve(respond=respond) as server:

        def ask(prompt: str) -> str:
            key = keys.pop() if keys else "new"
            client = kept(openai.OpenAI(base_url=server.openai_url, api_key=key))
            return client.responses.create(model="m", input=prompt).output_text

        done = parallel_map(ask).batch(["a"], resume=tmp_path / "j", poll=0.001, endpoints=(server.openai_url,))
        assert done == [told("a")]
        assert lines(server) == [1]


def test_a_key_that_stays_refused_is_an_error_with_the_providers_words(tmp_path: Path) -> None:
    with serve(respond=lambda _: Reply(401)) as server:
        ask = parallel_map(of_openai(server))
        with pytest.raises(BatchError, match="status 401"):
            ask.batch(["a"], resume=tmp_path / "j", poll=0.001, endpoints=(server.openai_url,))


def test_a_cancelled_batch_is_an_error_and_the_next_call_goes_on(server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(of_openai(server))
    server.batches.script = BatchScript(delay=math.inf)
    with pytest.raises(BatchPending):
        ask.batch(PROMPTS, **options, wait=0)
    server.batches.cancel(server.batches.made[0])
    with pytest.raises(BatchError, match="was cancelled"):
        ask.batch(PROMPTS, **options)
    server.batches.script = BatchScript()
    assert ask.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]


# What goes to the wire


def test_another_host_is_asked_at_once_under_the_limits(server: Server, options: dict[str, Any]) -> None:
    limits = Limits(2)
    ask = parallel_map(limits=limits)(of_openai(server))
    options["endpoints"] = ()
    prompts = [str(index) for index in range(12)]
    assert ask.batch(prompts, **options, max_concurrency=12) == [told(prompt) for prompt in prompts]
    assert server.sent == 12
    assert server.max_in_flight <= 2
    assert lines(server) == []
    assert limits.stats.in_flight == 0


@pytest.mark.parametrize("make", [of_openai, of_async_openai])
def test_the_first_one_is_said_with_the_cure(make: Any, server: Server, options: dict[str, Any]) -> None:
    ask, base = parallel_map(make(server)), server.openai_url
    with pytest.warns(RuntimeWarning) as said:
        ask.batch(PROMPTS, **{**options, "endpoints": ()})
    (warning,) = said
    assert str(warning.message) == (
        f"requests of {ask.__name__} to {base} are sent at once, at full price: this server is not known to accept "
        f"batches. If it does, add endpoints=[{base!r}]. With only=True, such a request is an error and is not sent"
    )
    options["resume"] = options["resume"].with_name("second")
    with unwarned():
        ask.batch(PROMPTS, **{**options, "endpoints": [base]})
    assert (server.sent, lines(server)) == (3, [3])


def test_a_stream_or_a_request_of_another_kind_is_no_matter(server: Server, options: dict[str, Any]) -> None:
    client = kept(openai.OpenAI(base_url=server.openai_url, api_key="k"))

    def ask(prompt: str) -> str:
        requests.get(f"{server.url}/search", timeout=120)
        return "".join(str(event) for event in client.responses.create(model="m", input=prompt, stream=True))

    with unwarned():
        parallel_map(ask).batch(PROMPTS, **{**options, "endpoints": ()})


def test_async_too(server: Server, options: dict[str, Any]) -> None:
    limits = Limits(2)
    ask = parallel_map(limits=limits)(of_async_openai(server))
    options["endpoints"] = ()
    prompts = [str(index) for index in range(12)]
    assert ask.batch(prompts, **options, max_concurrency=12) == [told(prompt) for prompt in prompts]
    assert server.max_in_flight <= 2
    assert limits.stats.in_flight == 0


def test_only_refuses_that_before_anything_is_sent(server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(of_openai(server))
    with pytest.raises(BatchError) as raised:
        ask.batch(PROMPTS, **{**options, "endpoints": ()}, only=True)
    base, sends = server.openai_url, "only=True, but a call of the function sends"
    assert str(raised.value) == (
        f"{sends} a request to {base}, which is not known to accept batches. If it does, add endpoints=[{base!r}]"
    )
    client = kept(openai.OpenAI(base_url=server.openai_url, api_key="k"))

    def stream(prompt: str) -> str:
        return "".join(str(event) for event in client.responses.create(model="m", input=prompt, stream=True))

    with pytest.raises(BatchError) as raised:
        parallel_map(stream).batch(PROMPTS, **options, only=True)
    assert str(raised.value) == (
        f"{sends} a streaming request to {base}/responses, and batches accept none: call without stream=True"
    )

    def search(prompt: str) -> str:
        where = f"{server.url}/search?q={prompt}".replace("://", "://me:secret@")
        return requests.get(where, timeout=120).text

    with pytest.raises(BatchError) as raised:
        parallel_map(search).batch(PROMPTS, **options, only=True)
    assert str(raised.value) == f"{sends} a request to {server.url}/search, which is none that batches accept"
    assert server.sent == 0
    assert lines(server) == []


def test_nor_is_anything_sent_through_a_client_that_is_not_captured(server: Server, options: dict[str, Any]) -> None:
    aiohttp, session = pytest.importorskip("aiohttp"), pytest.importorskip("botocore.session").get_session()

    async def ask(prompt: str) -> str:
        url, body = f"{server.openai_url}/responses", {"model": "m", "input": prompt}
        async with aiohttp.ClientSession() as client, client.post(url, json=body) as response:
            return await response.text()  # type: ignore[no-any-return]

    def invoke(prompt: str) -> str:
        keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "eu-west-1"}
        client = session.create_client("bedrock-runtime", endpoint_url=server.url, **keys)
        return str(client.invoke_model(modelId="m", body=prompt))

    for function, name in ((ask, "aiohttp"), (invoke, "botocore")):
        with pytest.raises(BatchError, match=f"sends a request through {name}: only those of httpx and requests"):
            parallel_map(function).batch(PROMPTS, **options, only=True)
    assert server.sent == 0


# What is of no item


class Worker:
    """A thread of the user's own that answers what it finds in a queue, or calls it in the context it came from."""

    def __init__(self, one: Callable[[str], str]) -> None:
        self._one = one
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def _work(self) -> None:
        while (task := self.inbox.get()) is not None:
            prompt, context, reply = task
            try:
                reply.set_result(self._one(prompt) if context is None else context.run(self._one, prompt))
            except BaseException as error:
                reply.set_exception(error)

    def ask(self, prompt: str, context: Context | None = None) -> str:
        reply: Future[str] = Future()
        self.inbox.put((prompt, context, reply))
        return reply.result()

    def close(self) -> None:
        self.inbox.put(None)
        self.thread.join()


@pytest.fixture
def worker(server: Server) -> Iterator[Worker]:
    worker = Worker(of_openai(server))
    yield worker
    worker.close()


def test_a_request_from_no_item_is_warned_of_once(worker: Worker, server: Server, options: dict[str, Any]) -> None:
    with pytest.warns(UserWarning, match="none of its items sent it") as said:
        assert parallel_map(worker.ask).batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
    (warning,) = said
    assert f"a request to {server.openai_url}/responses was sent at once, at full price" in str(warning.message)
    assert (server.sent, lines(server)) == (3, [])
    worker.ask("after it")  # nothing captures now
    assert observing.unobserved is None


def test_one_in_the_context_of_its_item_is_captured(worker: Worker, server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(lambda prompt: worker.ask(prompt, copy_context()))
    with unwarned():
        assert ask.batch(PROMPTS, **options) == [told(prompt) for prompt in PROMPTS]
    assert (server.sent, lines(server)) == (0, [3])


def test_async_ones_of_other_tasks_too_and_other_hosts_are_nobodys_business(
    server: Server, options: dict[str, Any]
) -> None:
    one, begun, done = of_async_openai(server), asyncio.Event(), asyncio.Event()

    async def ask(prompt: str) -> str:
        begun.set()
        await done.wait()
        return str(await one(prompt))

    async def main(endpoints: tuple[str, ...]) -> Any:
        begun.clear()
        done.clear()
        batch = asyncio.create_task(parallel_map(ask).abatch(["a"], **{**options, "endpoints": endpoints}))
        await begun.wait()
        await one("of the application")
        done.set()
        return await batch

    async def quiet_then_warned() -> None:
        with pytest.warns(RuntimeWarning) as said:
            assert await main(()) == [told("a")]
        assert [type(one.message).__name__ for one in said] == ["UnknownServer"]
        options["resume"] = options["resume"].with_name("second")
        with pytest.warns(UserWarning, match="none of its items sent it"):
            assert await main((server.openai_url,)) == [told("a")]

    run(quiet_then_warned())
    assert lines(server) == [1]


def test_an_item_of_another_run_is_none_of_these(server: Server, options: dict[str, Any]) -> None:
    one = of_openai(server)
    other = parallel_map(lambda prompt: one(prompt))
    threads: list[threading.Thread] = []

    def ask(prompt: str) -> str:
        if not threads:
            context = Context()  # nothing of this item is in it
            threads.append(threading.Thread(target=lambda: context.run(other.map, ["x"])))
            threads[0].start()
            threads[0].join()
        return one(prompt)

    with unwarned():
        assert parallel_map(ask).batch(["a"], **options) == [told("a")]
    assert (server.sent, lines(server)) == (1, [1])


# Bad input


def test_settings_out_of_bounds(server: Server, options: dict[str, Any]) -> None:
    ask = parallel_map(of_openai(server))
    for wrong, kind, text in [
        ({"resume": None}, TypeError, "resume must be the path of a file, got None"),
        ({"wait": -1}, ValueError, "wait must be >= 0 seconds or None, got -1"),
        ({"poll": 0}, ValueError, "poll must be"),
        ({"max_turns": 0}, ValueError, "max_turns must be"),
        ({"endpoints": "http://x/v1"}, TypeError, r"write \('http://x/v1',\)"),
        ({"endpoints": ("x/v1",)}, ValueError, "endpoints must be URLs"),
    ]:
        with pytest.raises(kind, match=text):
            ask.batch(PROMPTS, **{**options, **wrong})
    assert not options["resume"].exists()


def test_a_failure_before_any_request_is_the_items_own(server: Server, options: dict[str, Any]) -> None:
    one = of_openai(server)

    def ask(prompt: str) -> str:
        if prompt == "b":
            raise LookupError("no such page")
        return one(prompt)

    with pytest.raises(LookupError, match="no such page"):
        parallel_map(ask).batch(PROMPTS, **options)
    assert lines(server) == []
    answers: Any = parallel_map(ask).batch(PROMPTS, **options, return_exceptions=True)
    assert [type(answer) for answer in answers] == [str, LookupError, str]


@pytest.mark.whole
def test_a_call_that_was_left_behind_in_its_thread_leaves_nothing_open(
    server: Server, options: dict[str, Any], monkeypatch: Any
) -> None:
    one = of_openai(server)
    begun, over, ended = threading.Event(), threading.Event(), threading.Event()

    def ask(prompt: str) -> str:
        if prompt == "b":
            assert begun.wait(60)
            raise SystemExit("the program ends")
        try:
            begun.set()
            assert over.wait(60)
            return one(prompt)
        finally:
            ended.set()

    opened: list[Any] = []

    def temporary() -> Any:
        opened.append(TemporaryFile())  # noqa: SIM115
        return opened[-1]

    monkeypatch.setattr(spooling, "TemporaryFile", temporary)
    with pytest.raises(SystemExit):
        parallel_map(ask).batch(["a", "b"], **options)
    over.set()
    assert ended.wait(60)
    assert [file.closed for file in opened] in ([], [True])
    assert lines(server) == []


def test_nothing_waits_while_batches_run(server: Server, options: dict[str, Any]) -> None:
    counts: list[int] = []
    ask = parallel_map(of_openai(server))
    before = threading.active_count()

    def look(progress: BatchProgress) -> None:
        if progress.batches:
            counts.append(len(asyncio.all_tasks(asyncio.get_running_loop())))

    async def main() -> Any:
        return await parallel_map(of_async_openai(server)).abatch(PROMPTS * 20, **options, progress=look)

    assert run(main()) == [told(prompt) for prompt in PROMPTS * 20]
    assert max(counts) == 1
    assert ask.batch(PROMPTS, **{**options, "resume": options["resume"].with_name("k")})
    assert threading.active_count() - before <= 64 + 4


# Calls of ours inside an item


def test_a_decorated_function_inside_an_item_is_captured(server: Server, options: dict[str, Any]) -> None:
    inner = parallel_map(max_concurrency=4)(of_openai(server))
    ask = parallel_map(lambda prompt: inner(f"{prompt}1") + inner(f"{prompt}2"))
    assert ask.batch(PROMPTS, **options) == [told(f"{prompt}1") + told(f"{prompt}2") for prompt in PROMPTS]
    assert lines(server) == [3, 3]
    assert server.sent == 0


def test_one_under_limits_that_read_responses_too(server: Server, options: dict[str, Any]) -> None:
    inner = parallel_map(limits=Limits(4, read_responses=True))(of_openai(server))
    ask = parallel_map(lambda prompt: inner(f"{prompt}1"))
    assert ask.batch(PROMPTS, **options) == [told(f"{prompt}1") for prompt in PROMPTS]
    assert server.sent == 0


def test_a_run_inside_an_item_converges(server: Server, options: dict[str, Any]) -> None:
    inner = parallel_map(max_concurrency=4)(of_openai(server))
    ainner = parallel_map(max_concurrency=4)(of_async_openai(server))

    @parallel_map
    def ask(prompt: str) -> list[str]:
        return inner.map([f"{prompt}{index}" for index in range(3)])

    @parallel_map
    async def aask(prompt: str) -> list[str]:
        return await ainner.amap([f"{prompt}{index}" for index in range(3)])

    for one in (ask, aask):
        server.reset()
        expected = [[told(f"{prompt}{index}") for index in range(3)] for prompt in PROMPTS]
        assert one.batch(PROMPTS, **options) == expected
        assert sum(lines(server)) == 9
        assert server.sent == 0


def test_a_thread_that_is_late_has_not_changed_its_question(server: Server, options: dict[str, Any]) -> None:
    """The machine is busy: who asked in the first turn asks again in the second when the other one long has."""
    ask, ended = of_openai(server), threading.Event()
    turn = 0

    def late(prompt: str) -> str:
        if turn == 2:
            ended.wait(0.5)
        return ask(prompt)

    @parallel_map
    def both(prompt: str) -> list[str]:
        nonlocal turn
        turn += 1
        pool = ThreadPoolExecutor(2)
        try:
            first = pool.submit(late, f"{prompt} first")
            if turn == 1:
                first.result()
            second = pool.submit(ask, f"{prompt} second")
            return [second.result(), first.result()]
        finally:
            pool.shutdown(wait=False)

    assert both.batch(PROMPTS[:1], **options) == [[told(f"{PROMPTS[0]} second"), told(f"{PROMPTS[0]} first")]]
    assert sum(lines(server)) == 2
    ended.set()


def test_limits_with_a_total_of_another_unit_are_refused(server: Server, options: dict[str, Any]) -> None:
    limits = Limits(4, rate=Rate(10, per=math.inf))
    with pytest.raises(ValueError, match=r"takes nothing of a Rate with per=math\.inf, so that total would not hold"):
        parallel_map(limits=limits)(of_openai(server)).batch(PROMPTS, **options)
    assert not options["resume"].exists()


def test_a_progress_callback_that_fails_ends_nothing(server: Server, options: dict[str, Any]) -> None:
    def look(progress: BatchProgress) -> None:
        raise RuntimeError("no terminal")

    ask = parallel_map(of_openai(server))
    with pytest.warns(UserWarning, match="progress") as said:
        assert ask.batch(PROMPTS, **options, progress=look) == [told(prompt) for prompt in PROMPTS]
    assert len(said) == 1


def test_lines_on_stderr(server: Server, options: dict[str, Any], capsys: Any) -> None:
    ask = parallel_map(of_openai(server))
    ask.batch(PROMPTS, **options, progress=True)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "fanmap: 0 of 3 items; batches: none"
    assert "fanmap: 0 of 3 items, turn 1; batches: 1 submitted (0 of 3 requests)" in said
    assert said[-4:] == [
        "fanmap: 3 of 3 items, turn 1; batches: none",
        "3 answered, 0 resumed, 0 failed",
        "1 turn, 1 batch ended; requests: 3 answered, 0 asked again, 0 failed, 0 expired",
        "15 tokens: 3 in, 12 out",
    ]


# What it came to


def summaries(seen: list[BatchProgress]) -> list[BatchSummary]:
    assert [step.summary for step in seen[:-1]] == [None] * (len(seen) - 1)
    return [step.summary for step in seen if step.summary is not None]


def test_a_summary_tells_turns_batches_lines_by_fate_tokens_and_money(server: Server, options: dict[str, Any]) -> None:
    left, seen = ["b"], list[BatchProgress]()

    def fates(request: Request) -> Any:
        if request.prompt in left:
            return left.remove(request.prompt) or Reply(500)
        return {"d": Reply(400), "e": "expired"}.get(request.prompt)

    server.batches.script = BatchScript(line=fates)
    limits = Limits(4, price=lambda model, usage: usage.total * (0.01 if model == "m" else math.nan))
    ask = parallel_map(limits=limits)(of_openai(server))
    prompts = ["a", "b", "c", "d", "e"]
    ask.batch(prompts, **options, progress=seen.append, return_exceptions=True)
    (summary,) = summaries(seen)
    assert (summary.total, summary.done, summary.failed, summary.resumed) == (5, 5, 2, 0)
    assert (summary.turns, summary.batches, lines(server)) == (3, 3, [5, 2, 1])
    assert summary.lines == {"answered": 3, "asked again": 1, "failed": 1, "expired": 3}
    assert summary.tokens.total > 0
    assert summary.full_price == pytest.approx(summary.tokens.total * 0.01)
    assert summary.spent == pytest.approx(summary.tokens.total * 0.005)
    assert str(summary).splitlines()[:2] == [
        "3 answered, 0 resumed, 2 failed",
        "3 turns, 3 batches ended; requests: 3 answered, 1 asked again, 1 failed, 3 expired",
    ]
    seen.clear()
    ask.batch(["a"], **options, progress=seen.append)
    assert str(summaries(seen)[0]) == "0 answered, 1 resumed, 0 failed"


def test_genai_prices_knows_what_a_model_costs(server: Server, options: dict[str, Any]) -> None:
    pytest.importorskip("genai_prices")
    client, seen = kept(openai.OpenAI(base_url=server.openai_url, api_key="k")), list[BatchProgress]()

    @parallel_map
    def ask(model: str) -> str:
        return client.responses.create(model=model, input="hi").output_text

    ask.batch(["gpt-4o-mini", "nobody-knows-it"], **options, progress=seen.append)
    (summary,) = summaries(seen)
    usage = server.batches.made[0].tokens
    assert summary.full_price is not None
    assert summary.spent == pytest.approx(summary.full_price / 2)
    assert (summary.unpriced, usage > 0) == (1, True)
    assert str(summary).endswith(" outside of batches (1 answer without a known price)")


def test_one_that_is_left_has_a_summary_too(server: Server, options: dict[str, Any], capsys: Any) -> None:
    server.batches.script = BatchScript(delay=math.inf)
    ask = parallel_map(of_openai(server))
    with pytest.raises(BatchPending):
        ask.batch(PROMPTS, **options, wait=0, progress=True)
    assert capsys.readouterr().err.splitlines()[-1] == "0 answered, 0 resumed, 0 failed, 3 not done"


@pytest.mark.parametrize("limits", [Limits(4), Limits(4, price=lambda model, usage: 0.1)])
def test_what_is_sent_at_once_is_counted(limits: Any, server: Server, options: dict[str, Any], capsys: Any) -> None:
    parallel_map(limits=limits)(of_openai(server)).batch(PROMPTS, **{**options, "endpoints": ()}, progress=True)
    assert capsys.readouterr().err.splitlines()[-1] == "3 requests sent at once, at full price"
