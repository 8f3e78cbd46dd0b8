"""The clients that people run, each as its own documentation shows it, with two lines changed.

The two lines are the decorator and the call: `[ask(prompt) for prompt in prompts]` becomes `ask.map(prompts)`,
and `await asyncio.gather(*[ask(prompt) for prompt in prompts])` becomes `await ask.amap(prompts)`. Among the
twenty calls one is refused with a Retry-After. Clients whose pins cannot be combined need two environments.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import ExitStack

import pytest

from fanmap import parallel_map, to_sync
from fanmap.testing import Reply, serve

PROMPTS = [f"prompt {number}" for number in range(20)]
ANSWERS = [f"[simulated] {prompt}" for prompt in PROMPTS]
BOUND = 4
WAIT = 0.1  # seconds that the refusal names

# What other people's packages warn of among themselves is not ours to fail on.
pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "ignore:Item '.*' on TypedDict class:UserWarning", "default::ResourceWarning"
)

# A client that repeats by itself hides the refusal; with its repeats off, everybody waits.
own_repeats = pytest.mark.parametrize("settings", [{}, {"max_retries": 0}], ids=["as it comes", "max_retries=0"])


@pytest.fixture
def closing():
    """Closes clients: one that only the collector finds may be told of in another test."""
    with ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def server(holding):
    with serve(latency=0.01) as running:
        holding.together(running, BOUND)
        running.script([None] * 16 + [Reply(429, retry_after=WAIT)])
        yield running


def check(server, answers, *, hidden=False):
    """Nothing lost, in order, within the bound; what was refused was sent again when the server allowed, by us or by
    the client itself, where that hid the refusal from us."""
    assert answers == ANSWERS
    assert server.sent == len(PROMPTS) + 1
    assert server.refused == 1
    assert server.max_in_flight == BOUND
    refusal = next(record for record in server.log if record.status == 429)
    again = [record for record in server.log if record.index > refusal.index and record.prompt == refusal.prompt]
    assert [(record.status, record.retry_count) for record in again] == [(200, int(hidden))]
    assert again[0].arrived - refusal.ended >= WAIT


@own_repeats
def test_openai_responses(server, settings, closing):
    from openai import OpenAI

    client = closing(OpenAI(base_url=server.openai_url, api_key="none", **settings))

    @parallel_map(max_concurrency=BOUND)
    def ask(prompt):
        response = client.responses.create(model="small", instructions="You are terse.", input=prompt)
        return response.output_text

    check(server, ask.map(PROMPTS), hidden=not settings)


def test_openai_chat(server, closing):
    from openai import OpenAI

    client = closing(OpenAI(base_url=server.openai_url, api_key="none", max_retries=0))

    @parallel_map(max_concurrency=BOUND)
    def ask(prompt):
        completion = client.chat.completions.create(
            model="small",
            messages=[{"role": "developer", "content": "Be terse."}, {"role": "user", "content": prompt}],
        )
        return completion.choices[0].message.content

    check(server, ask.map(PROMPTS))


@own_repeats
def test_async_openai_responses(server, settings):
    from openai import AsyncOpenAI

    async def main():
        async with AsyncOpenAI(base_url=server.openai_url, api_key="none", **settings) as client:

            @parallel_map(max_concurrency=BOUND)
            async def ask(prompt):
                response = await client.responses.create(model="small", input=prompt)
                return response.output_text

            return await ask.amap(PROMPTS)

    check(server, asyncio.run(main()), hidden=not settings)


def test_async_openai_chat(server):
    from openai import AsyncOpenAI

    async def main():
        async with AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as client:

            @parallel_map(max_concurrency=BOUND)
            async def ask(prompt):
                completion = await client.chat.completions.create(
                    model="small", messages=[{"role": "user", "content": prompt}]
                )
                return completion.choices[0].message.content

            return await ask.amap(PROMPTS)

    check(server, asyncio.run(main()))


@own_repeats
def test_anthropic(server, settings, closing):
    from anthropic import Anthropic

    client = closing(Anthropic(base_url=server.anthropic_url, api_key="none", **settings))

    @parallel_map(max_concurrency=BOUND)
    def ask(prompt):
        message = client.messages.create(model="small", max_tokens=1024, messages=[{"role": "user", "content": prompt}])
        return message.content[0].text

    check(server, ask.map(PROMPTS), hidden=not settings)


@own_repeats
def test_async_anthropic(server, settings):
    from anthropic import AsyncAnthropic

    async def main():
        async with AsyncAnthropic(base_url=server.anthropic_url, api_key="none", **settings) as client:

            @parallel_map(max_concurrency=BOUND)
            async def ask(prompt):
                message = await client.messages.create(
                    model="small", max_tokens=1024, messages=[{"role": "user", "content": prompt}]
                )
                return message.content[0].text

            return await ask.amap(PROMPTS)

    check(server, asyncio.run(main()), hidden=not settings)


def test_an_async_client_used_from_a_script(server):
    """`.map` of an async function: its client lives on the background loop from first to last."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0)

    @parallel_map(max_concurrency=BOUND)
    async def ask(prompt):
        response = await client.responses.create(model="small", input=prompt)
        return response.output_text

    check(server, ask.map(PROMPTS[:10]) + ask.map(PROMPTS[10:]))
    to_sync(client.close)()  # on the loop where it lived


TWO_LOOPS = """
import asyncio, sys
from openai import AsyncOpenAI
from fanmap import Retry, parallel_map
client = AsyncOpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)

@parallel_map(max_concurrency=2, retry=Retry(attempts=3))  # which must not repeat it: it can only fail again
async def ask(prompt):
    response = await client.responses.create(model="small", input=prompt)
    return response.output_text

async def awaiting():
    return await ask.amap(["a", "b", "c"])

async def direct():
    return await ask("a")

for way in [lambda: ask.map(["a", "b", "c"]), *[lambda: asyncio.run(awaiting())] * 2, lambda: asyncio.run(direct())]:
    try:
        way()
        print("fine")
    except Exception as error:
        cause = error.__cause__ or error
        print(type(cause).__name__, str(cause), [note[:70] for note in error.__notes__])
"""


@pytest.mark.whole
def test_an_async_client_on_two_loops_fails_with_a_note_that_says_what_to_write():
    # In a process of its own: what such a client leaves behind is closed by nobody.
    with serve(latency=0.001) as server:
        command = [sys.executable, "-W", "ignore", "-c", TWO_LOOPS, server.openai_url]
        said = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout.splitlines()
    failures = [line for line in said if line != "fine"]
    assert said[0] == "fine"
    assert failures  # a pool that met one closed loop is empty, and may serve the next loop for a while
    for line in failures:
        assert "Event loop is closed" in line or "different event loop" in line
        assert line.count("an async client belongs to the event loop on which") == 1


def test_requests(server):
    import requests

    url = f"{server.openai_url}/chat/completions"

    @parallel_map(max_concurrency=BOUND)
    def ask(prompt):
        response = requests.post(
            url, json={"model": "small", "messages": [{"role": "user", "content": prompt}]}, timeout=600
        )
        response.raise_for_status()
        return response.json()["choices"][0]["message"]["content"]

    check(server, ask.map(PROMPTS))


def test_a_requests_session(server):
    import requests

    with requests.Session() as session:

        @parallel_map(max_concurrency=BOUND)
        def ask(prompt):
            response = session.post(f"{server.openai_url}/responses", json={"input": prompt}, timeout=600)
            response.raise_for_status()
            return response.json()["output"][0]["content"][0]["text"]

        check(server, ask.map(PROMPTS))


def test_httpx(server):
    import httpx

    with httpx.Client(base_url=server.openai_url, timeout=600) as client:

        @parallel_map(max_concurrency=BOUND)
        def ask(prompt):
            response = client.post("/responses", json={"model": "small", "input": prompt})
            response.raise_for_status()
            return response.json()["output"][0]["content"][0]["text"]

        check(server, ask.map(PROMPTS))


def test_async_httpx(server):
    import httpx

    async def main():
        async with httpx.AsyncClient(base_url=server.openai_url, timeout=600) as client:

            @parallel_map(max_concurrency=BOUND)
            async def ask(prompt):
                response = await client.post("/responses", json={"model": "small", "input": prompt})
                response.raise_for_status()
                return response.json()["output"][0]["content"][0]["text"]

            return await ask.amap(PROMPTS)

    check(server, asyncio.run(main()))


def test_async_httpx_on_trio(server):
    import httpx
    import trio

    async def main():
        async with httpx.AsyncClient(base_url=server.openai_url, timeout=600) as client:

            @parallel_map(max_concurrency=BOUND)
            async def ask(prompt):
                response = await client.post("/responses", json={"model": "small", "input": prompt})
                response.raise_for_status()
                return response.json()["output"][0]["content"][0]["text"]

            return await ask.amap(PROMPTS)

    check(server, trio.run(main))


def test_aiohttp(server):
    aiohttp = pytest.importorskip("aiohttp")

    async def main():
        async with aiohttp.ClientSession(raise_for_status=True) as session:

            @parallel_map(max_concurrency=BOUND)
            async def ask(prompt):
                body = {"model": "small", "messages": [{"role": "user", "content": prompt}]}
                async with session.post(f"{server.openai_url}/chat/completions", json=body) as response:
                    return (await response.json())["choices"][0]["message"]["content"]

            return await ask.amap(PROMPTS)

    check(server, asyncio.run(main()))


@pytest.fixture
def litellm(monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or importing it asks the web for prices
    return pytest.importorskip("litellm")


@own_repeats
def test_litellm(server, litellm, settings):
    @parallel_map(max_concurrency=BOUND)
    def ask(prompt):
        response = litellm.completion(
            model="openai/small",
            messages=[{"role": "user", "content": prompt}],
            api_base=server.openai_url,
            api_key="none",
            **settings,
        )
        return response.choices[0].message.content

    check(server, ask.map(PROMPTS), hidden=not settings)


@own_repeats
def test_async_litellm(server, litellm, settings):
    @parallel_map(max_concurrency=BOUND)
    async def ask(prompt):
        response = await litellm.acompletion(
            model="openai/small",
            messages=[{"role": "user", "content": prompt}],
            api_base=server.openai_url,
            api_key="none",
            **settings,
        )
        return response.choices[0].message.content

    async def main():
        return await ask.amap(PROMPTS)

    check(server, asyncio.run(main()), hidden=not settings)


def test_google_genai(server):
    genai = pytest.importorskip("google.genai")
    client = genai.Client(api_key="none", http_options={"base_url": server.gemini_url})

    @parallel_map(max_concurrency=BOUND)
    def ask(prompt):
        response = client.models.generate_content(model="gemini-small", contents=prompt)
        return response.text

    check(server, ask.map(PROMPTS))
    client.close()


def test_async_google_genai(server):
    genai = pytest.importorskip("google.genai")

    async def main():
        async with genai.Client(api_key="none", http_options={"base_url": server.gemini_url}).aio as client:

            @parallel_map(max_concurrency=BOUND)
            async def ask(prompt):
                response = await client.models.generate_content(model="gemini-small", contents=prompt)
                return response.text

            return await ask.amap(PROMPTS)

    check(server, asyncio.run(main()))
