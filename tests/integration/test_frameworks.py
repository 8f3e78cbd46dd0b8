"""The frameworks that people run, each as its own documentation shows it, with the two lines changed."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import ExitStack

import pytest
import tenacity

from fanmap import Limits, Retry, gather_bounded, parallel_map
from fanmap.testing import Reply, serve

try:
    import fastapi.responses  # here, because FastAPI looks for the types of parameters in the module
except ImportError:
    fastapi = None

PROMPTS = [f"prompt {number}" for number in range(12)]
ANSWERS = [f"[simulated] {prompt}" for prompt in PROMPTS]
BOUND = 4

# What other people's packages warn of among themselves is not ours to fail on.
pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::PendingDeprecationWarning", "default::ResourceWarning"
)


@pytest.fixture
def server():
    with serve(latency=0.01) as running:
        yield running


@pytest.fixture
def openai_client(server):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as client:
        yield client


def until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.005)


# LangChain


@pytest.fixture
def chain(server):
    """Prompt | model | parser; the model is the real client in a RunnableLambda."""
    prompts = pytest.importorskip("langchain_core.prompts")
    parsers = pytest.importorskip("langchain_core.output_parsers")
    runnables = pytest.importorskip("langchain_core.runnables")
    messages = pytest.importorskip("langchain_core.messages")
    openai = pytest.importorskip("openai")

    def body(prompt):
        return {"model": "small", "messages": [{"role": "user", "content": prompt.to_string()[len("Human: ") :]}]}

    def model(prompt):
        with openai.OpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as client:
            reply = client.chat.completions.create(**body(prompt))
        return messages.AIMessage(reply.choices[0].message.content)

    async def amodel(prompt):
        async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as client:
            reply = await client.chat.completions.create(**body(prompt))
        return messages.AIMessage(reply.choices[0].message.content)

    template = prompts.ChatPromptTemplate.from_messages([("human", "{text}")])
    return template | runnables.RunnableLambda(model, afunc=amodel) | parsers.StrOutputParser()


def test_langchain_a_runnable(server, chain):
    server.script([None] * 8 + [Reply(429, retry_after=0.1)])
    inputs = [{"text": prompt} for prompt in PROMPTS]
    ainvoke = parallel_map(max_concurrency=BOUND)(chain.ainvoke)
    invoke = parallel_map(max_concurrency=BOUND)(chain.invoke)

    async def main():
        return await ainvoke.amap(inputs)

    assert asyncio.run(main()) == ANSWERS
    assert invoke.map(inputs) == ANSWERS
    assert server.max_in_flight <= BOUND
    assert (server.sent, server.refused) == (2 * len(PROMPTS) + 1, 1)


def test_langchain_a_tool(server, openai_client):
    tools = pytest.importorskip("langchain_core.tools")

    @tools.tool
    @parallel_map(max_concurrency=BOUND)
    def look_up(prompt: str) -> str:
        """Look something up."""
        return openai_client.responses.create(model="small", input=prompt).output_text

    assert (look_up.name, look_up.description) == ("look_up", "Look something up.")
    assert list(look_up.args) == ["prompt"]
    assert look_up.invoke({"prompt": "a"}) == "[simulated] a"
    assert look_up.batch([{"prompt": prompt} for prompt in PROMPTS]) == ANSWERS  # many threads, within our bound
    assert look_up.func.map(PROMPTS) == ANSWERS
    assert server.max_in_flight <= BOUND


def test_langchain_an_async_tool():
    tools = pytest.importorskip("langchain_core.tools")

    async def look_up(prompt: str) -> str:
        """Look something up."""
        await asyncio.sleep(0.001)
        return f"[simulated] {prompt}"

    async def main():
        # inspect.iscoroutinefunction knows only real functions before Python 3.12: say which it is.
        decorated = parallel_map(max_concurrency=BOUND)(look_up)
        tool = tools.StructuredTool.from_function(coroutine=decorated)
        assert await tool.ainvoke({"prompt": "a"}) == "[simulated] a"
        assert await parallel_map(tools.tool(look_up).ainvoke).amap([{"prompt": p} for p in PROMPTS]) == ANSWERS
        if sys.version_info >= (3, 12):
            assert await tools.tool(decorated).ainvoke({"prompt": "a"}) == "[simulated] a"

    asyncio.run(main())


# FastAPI


@pytest.fixture
def listen():
    """Serve an application over real connections; its address."""
    from fanmap.testing._listener import Listener

    listeners = []

    def start(app):
        listeners.append(Listener(app, 0))
        return f"http://127.0.0.1:{listeners[-1].port}"

    yield start
    for listener in listeners:
        listener.close()


@pytest.fixture
def app(server):
    """An application whose endpoints share one account."""
    pytest.importorskip("fastapi")
    openai = pytest.importorskip("openai")

    app = fastapi.FastAPI()
    client = openai.AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0)
    account = Limits(max_concurrency=BOUND)

    async def summarise(text):
        return (await client.responses.create(model="small", input=text)).output_text

    @app.post("/summaries")
    async def summaries(texts: list[str]) -> list[str]:
        return await gather_bounded(*[summarise(text) for text in texts], limits=account)

    @app.post("/cancelled")
    async def cancelled(texts: list[str], request: fastapi.Request) -> list[str]:
        answers = asyncio.ensure_future(gather_bounded(*[summarise(text) for text in texts], limits=account))
        gone = asyncio.ensure_future(disconnected(request))
        await asyncio.wait([answers, gone], return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not answers.done():
            answers.cancel()
        return await answers

    @app.post("/stream")
    async def stream(texts: list[str]):
        async def lines():
            async with parallel_map(summarise, limits=account).as_completed(texts) as outcomes:
                async for outcome in outcomes:
                    yield json.dumps([outcome.index, outcome.value]) + "\n"

        return fastapi.responses.StreamingResponse(lines())

    return app


async def disconnected(request):
    while (await request.receive())["type"] != "http.disconnect":
        pass


def test_fastapi_many_requests_share_one_budget(server, app, listen, holding):
    httpx = pytest.importorskip("httpx")
    holding.together(server, BOUND)
    url = listen(app)

    async def main():
        async with httpx.AsyncClient(timeout=600) as client:
            replies = await asyncio.gather(*[client.post(f"{url}/summaries", json=PROMPTS) for _ in range(8)])
            streamed = await client.post(f"{url}/stream", json=PROMPTS)
        return [reply.json() for reply in replies], [json.loads(line) for line in streamed.text.splitlines()]

    replies, streamed = asyncio.run(main())
    assert replies == [ANSWERS] * 8
    assert [answer for _, answer in sorted(streamed)] == ANSWERS
    assert server.max_in_flight == BOUND


@pytest.mark.parametrize("path", ["/cancelled", "/stream"])
def test_fastapi_a_client_that_leaves_cancels_its_calls(server, app, listen, path):
    httpx = pytest.importorskip("httpx")
    url = listen(app)
    server.script([Reply(delay=10_000)] * BOUND)

    async def leave():
        async with httpx.AsyncClient(timeout=600) as client:
            request = asyncio.create_task(client.post(f"{url}{path}", json=PROMPTS))
            while server.sent < BOUND:
                await asyncio.sleep(0.005)
            request.cancel()
            await asyncio.wait([request])

    asyncio.run(leave())
    until(lambda: len(server.log) == BOUND)
    assert [record.status for record in server.log] == ["gone"] * BOUND
    assert server.sent == BOUND
    # and their slots are free
    assert httpx.post(f"{url}/summaries", json=PROMPTS, timeout=600).json() == ANSWERS


# instructor


def test_instructor_an_answer_that_does_not_parse_is_asked_for_again(server):
    instructor = pytest.importorskip("instructor")
    pydantic = pytest.importorskip("pydantic")
    openai = pytest.importorskip("openai")
    from instructor.core import InstructorRetryException

    asked = Counter()

    def respond(request):
        asked[request.prompt] += 1
        right = asked[request.prompt] > 1 or request.prompt != PROMPTS[5]
        return Reply(text=json.dumps({"name": request.prompt, "age": 3}) if right else "I am not JSON")

    class User(pydantic.BaseModel):
        name: str
        age: int

    with serve(latency=0.01, respond=respond) as server, ExitStack() as stack:
        raw = stack.enter_context(openai.OpenAI(base_url=server.openai_url, api_key="none", max_retries=0))
        client = instructor.from_openai(raw, mode=instructor.Mode.JSON)

        @parallel_map(
            max_concurrency=BOUND,
            retry=Retry(attempts=3, on=tenacity.retry_if_exception_type(InstructorRetryException), wait=0.01),
        )
        def extract(prompt):
            return client.chat.completions.create(
                model="small",
                response_model=User,
                max_retries=0,
                messages=[{"role": "user", "content": prompt}],
            )

        users = extract.map(PROMPTS)
        assert [user.name for user in users] == PROMPTS
        assert server.sent == len(PROMPTS) + 1
        assert server.max_in_flight <= BOUND


def test_an_answer_that_is_no_json_is_asked_for_again_without_a_framework():
    asked = Counter()

    def respond(request):
        asked[request.prompt] += 1
        return Reply(text='{"age": 3}' if asked[request.prompt] > 1 else "I am not JSON")

    def is_no_json(text):
        try:
            json.loads(text)
        except ValueError:
            return True
        return False

    openai = pytest.importorskip("openai")
    with (
        serve(latency=0.001, respond=respond) as server,
        openai.OpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as client,
    ):

        @parallel_map(retry=Retry(on=tenacity.retry_if_result(is_no_json), wait=0))
        def ask(prompt):
            return client.responses.create(model="small", input=prompt).output_text

        assert ask.map(PROMPTS) == ['{"age": 3}'] * len(PROMPTS)
        assert server.sent == 2 * len(PROMPTS)


# pandas


def test_pandas_a_column(server, openai_client):
    pandas = pytest.importorskip("pandas")

    @parallel_map(max_concurrency=BOUND)
    def ask(prompt):
        return openai_client.responses.create(model="small", input=prompt).output_text

    df = pandas.DataFrame({"prompt": PROMPTS}, index=range(100, 100 + len(PROMPTS)))
    df["answer"] = ask.map(df["prompt"])
    assert df["answer"].tolist() == ANSWERS
    assert df.index.tolist() == list(range(100, 100 + len(PROMPTS)))

    chosen = df[df.index % 2 == 0]
    assert ask.map(chosen["prompt"]) == ANSWERS[::2]

    @parallel_map(max_concurrency=BOUND)
    def compare(prompt, answer):
        return answer.endswith(prompt)

    assert compare.map(df[["prompt", "answer"]].itertuples(index=False, name=None), unpack=True) == [True] * len(df)
    assert compare.map(df[["prompt", "answer"]].to_dict("records"), unpack=True) == [True] * len(df)
    assert server.max_in_flight <= BOUND


# PocketFlow: its `max_retries` and `wait` beside our Retry


@pytest.fixture
def run_node(server):
    """Run a node over the prompts whose calls go through a decorated function; how often each prompt was sent."""
    pocketflow = pytest.importorskip("pocketflow")
    openai = pytest.importorskip("openai")

    def run(retry, **node_settings):
        async def main():
            async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as client:

                @parallel_map(max_concurrency=BOUND, retry=retry)
                async def call_llm(prompt):
                    return (await client.responses.create(model="small", input=prompt)).output_text

                class Summaries(pocketflow.AsyncParallelBatchNode):
                    async def prep_async(self, shared):
                        return shared["texts"]

                    async def exec_async(self, text):
                        return await call_llm(text)

                    async def exec_fallback_async(self, text, error):
                        return f"gave up after {type(error).__name__}"

                    async def post_async(self, shared, texts, answers):
                        shared["answers"] = answers

                shared = {"texts": PROMPTS}
                await Summaries(**node_settings).run_async(shared)
                return shared["answers"]

        answers = asyncio.run(main())
        assert server.max_in_flight <= BOUND
        return answers, Counter(server.prompts)

    return run


def test_pocketflow_what_the_server_refuses_costs_no_retry_of_the_node(server, run_node):
    server.script([None] * 5 + [Reply(429, retry_after=0.1)] * 3)
    answers, sent = run_node(None)  # max_retries=1: the node itself never repeats
    assert answers == ANSWERS
    assert sum(sent.values()) == len(PROMPTS) + 3


def test_pocketflow_our_retry_mends_before_the_node_hears_of_it(server, run_node):
    server.script([None] * 5 + [Reply(500)] * 2)
    answers, sent = run_node(Retry(attempts=3, wait=0.01))
    assert answers == ANSWERS
    assert sum(sent.values()) == len(PROMPTS) + 2


def test_pocketflow_the_nodes_own_retries_work_as_before(server, run_node):
    server.script([None] * 5 + [Reply(500)] * 2)
    answers, sent = run_node(None, max_retries=3, wait=0.01)
    assert answers == ANSWERS
    assert sum(sent.values()) == len(PROMPTS) + 2


def test_pocketflow_both_multiply_and_the_fallback_is_the_nodes(server, run_node, monkeypatch):
    monkeypatch.setattr(server, "_respond", lambda request: Reply(500) if request.prompt == PROMPTS[5] else None)
    answers, sent = run_node(Retry(attempts=2, wait=0.01), max_retries=3)
    assert answers == [*ANSWERS[:5], "gave up after InternalServerError", *ANSWERS[6:]]
    assert sent == {**dict.fromkeys(PROMPTS, 1), PROMPTS[5]: 6}
