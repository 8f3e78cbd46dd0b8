"""`batch` and `abatch` with what people put on top of the clients, functions unchanged; each where it is installed.

LangChain, instructor, pydantic-ai with a tool loop, litellm. The clients themselves are in `test_batch`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fanmap import parallel_map
from fanmap.testing import BatchScript, Reply, Request, Server, serve

# What other people's packages warn of among themselves is not ours to fail on.
pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::ResourceWarning", "default::UserWarning"
)
PROMPTS = ["a", "b", "c"]
TOLD = [f"[simulated] {prompt}" for prompt in PROMPTS]


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(latency=0.0) as server:
        yield server


@pytest.fixture
def options(server: Server, tmp_path: Path) -> dict[str, Any]:
    return {"resume": tmp_path / "job.jsonl", "poll": 0.001, "endpoints": (server.openai_url,), "durable": False}


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()  # connections that a framework has left open are found here, where they are no error


def lines(server: Server) -> list[int]:
    return [len(batch.requests) for batch in server.batches.made]


def chat(message: dict[str, Any], finish: str = "stop") -> Reply:
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
    }
    return Reply(body=body)


def calling(tool: str, arguments: dict[str, Any]) -> Reply:
    call = {"id": "call_1", "type": "function", "function": {"name": tool, "arguments": json.dumps(arguments)}}
    return chat({"content": None, "tool_calls": [call]}, "tool_calls")


def langchain(server: Server) -> Any:
    module = pytest.importorskip("langchain_openai")
    return module.ChatOpenAI(base_url=server.openai_url, api_key="k", model="m")


def test_langchains_model_in_a_chain(server: Server, options: dict[str, Any]) -> None:
    model = langchain(server)
    prompts, parsers = (
        pytest.importorskip("langchain_core.prompts"),
        pytest.importorskip("langchain_core.output_parsers"),
    )
    chain = prompts.ChatPromptTemplate.from_messages([("user", "{text}")]) | model | parsers.StrOutputParser()
    ask = parallel_map(lambda text: str(chain.invoke({"text": text})))
    assert ask.batch(PROMPTS, **options) == TOLD
    assert (lines(server), server.sent) == ([3], 0)


def test_langchains_model_awaited(server: Server, options: dict[str, Any]) -> None:
    model = langchain(server)

    async def ask(prompt: str) -> str:
        first = (await model.ainvoke(prompt)).text
        return str((await model.ainvoke(f"{first}!")).text)

    answers = asyncio.run(parallel_map(ask).abatch(PROMPTS, **options))
    assert answers == [f"[simulated] {told}!" for told in TOLD]
    assert (lines(server), server.sent) == ([3, 3], 0)


def test_langchains_own_batch_inside_an_item_goes_in_one_turn(server: Server, options: dict[str, Any]) -> None:
    model = langchain(server)

    def ask(prompt: str) -> list[str]:
        return [str(said.text) for said in model.batch([f"{prompt}1", f"{prompt}2"])]

    assert parallel_map(ask).batch(["a", "b"], **options) == [
        ["[simulated] a1", "[simulated] a2"],
        ["[simulated] b1", "[simulated] b2"],
    ]
    assert (sum(lines(server)), server.sent) == (4, 0)


def test_instructor_asks_again_for_what_does_not_validate(server: Server, options: dict[str, Any]) -> None:
    instructor, pydantic = pytest.importorskip("instructor"), pytest.importorskip("pydantic")
    import openai

    class Person(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        name: str

    def line(request: Request) -> Reply:
        messages: list[Any] = request.body["messages"]
        wrong = len(messages) == 1 and messages[0]["content"] == "b"
        return calling("Person", {"nom": "?"} if wrong else {"name": "Ada"})

    server.batches.script = BatchScript(line=line)
    with openai.OpenAI(base_url=server.openai_url, api_key="k") as raw:
        client = instructor.from_openai(raw)

        def ask(prompt: str) -> str:
            messages = [{"role": "user", "content": prompt}]
            return str(client.chat.completions.create(model="m", response_model=Person, messages=messages).name)

        assert parallel_map(ask).batch(PROMPTS, **options) == ["Ada"] * 3
    assert (lines(server), server.sent) == ([3, 1], 0)


def agent(server: Server, used: list[str]) -> Any:
    module = pytest.importorskip("pydantic_ai")
    models, providers = (
        pytest.importorskip("pydantic_ai.models.openai"),
        pytest.importorskip("pydantic_ai.providers.openai"),
    )
    provider = providers.OpenAIProvider(base_url=server.openai_url, api_key="k")
    made = module.Agent(models.OpenAIChatModel("m", provider=provider))

    @made.tool_plain
    def weather(city: str) -> str:
        """The weather of a city."""
        used.append(city)
        return f"rain in {city}"

    return made


def test_pydantic_ais_tool_loop_takes_a_turn_for_each_request(server: Server, options: dict[str, Any]) -> None:
    used: list[str] = []
    one = agent(server, used)

    def line(request: Request) -> Reply:
        last: dict[str, Any] = request.body["messages"][-1]
        if last["role"] == "tool":
            return chat({"content": f"It says: {last['content']}"})
        return calling("weather", {"city": str(last["content"])})

    server.batches.script = BatchScript(line=line)

    async def ask(prompt: str) -> str:
        return str((await one.run(prompt)).output)

    answers = asyncio.run(parallel_map(ask).abatch(PROMPTS, **options))
    assert answers == [f"It says: rain in {prompt}" for prompt in PROMPTS]
    assert (lines(server), server.sent) == ([3, 3], 0)
    assert sorted(set(used)) == PROMPTS  # and again in each turn, as the docs say


@pytest.mark.parametrize("way", ["completion", "acompletion"])
def test_litellm(way: str, server: Server, options: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or importing it asks the web for prices
        module = pytest.importorskip("litellm")
    known = {"model": "openai/m", "api_base": server.openai_url, "api_key": "k"}

    def blocking(prompt: str) -> str:
        said = module.completion(messages=[{"role": "user", "content": prompt}], **known)
        return str(said.choices[0].message.content)

    async def awaiting(prompt: str) -> str:
        said = await module.acompletion(messages=[{"role": "user", "content": prompt}], **known)
        return str(said.choices[0].message.content)

    ask: Any = parallel_map(blocking if way == "completion" else awaiting)
    assert asyncio.run(ask.abatch(PROMPTS, **options)) == TOLD
    assert (lines(server), server.sent) == ([3], 0)
