"""Streams of the real openai and anthropic clients against the loopback server."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import httpx
import pytest
import trio

from fanmap import Limits, Rate, Retry, parallel_map
from fanmap.testing import Reply, serve

pytestmark = pytest.mark.usefixtures("collected")
PATIENCE = 120.0
MESSAGES = [{"role": "user", "content": "one two three"}]
APIS = ("chat", "responses", "messages")


@pytest.fixture(scope="module", autouse=True)
def _clients() -> None:
    """Imported by the first test that uses them, not where tests are collected: that takes seconds."""
    global BROKEN, anthropic, openai
    import anthropic
    import openai

    BROKEN = openai.APIError, anthropic.APIError, httpx.HTTPError
    with suppress(ImportError):
        import httpx2

        BROKEN += (httpx2.HTTPError,)


@pytest.fixture(scope="module")
def listening():
    with serve(latency=0.005, sigma=0) as server:
        yield server


clients = []


@pytest.fixture
def server(listening):
    listening.reset()
    yield listening
    while clients:
        clients.pop().close()


async def closing(work):
    """Await it, and close the clients while their loop lives."""
    try:
        return await work
    finally:
        while clients:
            await clients.pop().close()


def words(api, chunk):
    """The piece of text that this chunk brings, or none."""
    if api == "chat":
        return (chunk.choices[0].delta.content or "") if chunk.choices else ""
    if api == "responses":
        return chunk.delta if chunk.type == "response.output_text.delta" else ""
    return chunk.delta.text if chunk.type == "content_block_delta" else ""


def text(api, chunks):
    return "".join(words(api, chunk) for chunk in chunks)


def asking(api, server, *, awaits=False, retries=0):
    """What asks this API for a stream."""
    kind = (anthropic if api == "messages" else openai, ["AsyncAnthropic", "Anthropic", "AsyncOpenAI", "OpenAI"])
    name = kind[1][(0 if api == "messages" else 2) + (not awaits)]
    url = server.anthropic_url if api == "messages" else server.openai_url
    client = getattr(kind[0], name)(api_key="none", base_url=url, max_retries=retries)
    clients.append(client)
    if api == "chat":
        options = {"stream": True, "stream_options": {"include_usage": True}}
        return lambda: client.chat.completions.create(model="m", messages=MESSAGES, **options)
    if api == "responses":
        return lambda: client.responses.create(model="m", input="one two three", stream=True)
    return lambda: client.messages.create(model="m", max_tokens=50, messages=MESSAGES, stream=True)


def functions(api, server, limits, *, yields, **settings):
    """A `def` whose result is a stream, or that is one."""
    ask = asking(api, server)

    def returning(item):
        return ask()

    def yielding(item):
        yield from ask()

    return parallel_map(limits=limits, **settings)(yielding if yields else returning)


def async_functions(api, server, limits, *, yields, **settings):
    ask = asking(api, server, awaits=True)

    async def returning(item):
        return await ask()

    async def yielding(item):
        async for chunk in await ask():
            yield chunk

    return parallel_map(limits=limits, **settings)(yielding if yields else returning)


async def opened(tell, item):
    stream = tell(item)
    return await stream if asyncio.iscoroutine(stream) or hasattr(stream, "__await__") else stream


each_api = pytest.mark.parametrize("api", APIS)
both = pytest.mark.parametrize("yields", [True, False], ids=["yields", "returns"])


@each_api
@both
def test_never_more_are_open_than_slots(api, yields, server, holding):
    holding.together(server, 2)
    limits, found = Limits(2), []
    tell = functions(api, server, limits, yields=yields)
    server.script([Reply(text="one two three", chunk_delay=0.01)] * 20)
    threads = [threading.Thread(target=lambda: found.append(text(api, tell(1)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [text(api, chunks) for chunks in tell.map(range(4))] == ["one two three"] * 4
    assert found == ["one two three"] * 8
    assert server.max_in_flight == 2
    assert limits.stats.in_flight == 0


@each_api
@both
@pytest.mark.whole
def test_nor_are_async_ones(api, yields, server, holding):
    holding.together(server, 2)
    limits = Limits(2)
    tell = async_functions(api, server, limits, yields=yields)
    server.script([Reply(text="one two three", chunk_delay=0.01)] * 20)

    async def main():
        async def read(item):
            return text(api, [chunk async for chunk in await opened(tell, item)])

        assert await asyncio.gather(*[read(n) for n in range(8)]) == ["one two three"] * 8
        assert [text(api, chunks) for chunks in await tell.amap(range(4))] == ["one two three"] * 4
        found = {}
        async with tell.stream(range(4)) as chunks:
            async for index, chunk in chunks:
                found[index] = found.get(index, "") + words(api, chunk)
        assert found == dict.fromkeys(range(4), "one two three")

    asyncio.run(asyncio.wait_for(closing(main()), PATIENCE))
    assert server.max_in_flight == 2
    assert limits.stats.in_flight == 0


@both
def test_on_trio(yields, server, holding):
    holding.together(server, 2)
    limits = Limits(2)
    tell = async_functions("messages", server, limits, yields=yields)

    async def main():
        found = []

        async def read(item):
            stream = tell(item) if yields else await tell(item)
            found.append(text("messages", [chunk async for chunk in stream]))

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for n in range(6):
                    nursery.start_soon(read, n)
        assert len(found) == 6

    async def all_of_it():
        await closing(main())

    trio.run(all_of_it)
    assert server.max_in_flight == 2
    assert limits.stats.in_flight == 0


@each_api
@both
def test_a_refusal_before_the_first_chunk_is_sent_again(api, yields, server):
    tell = functions(api, server, Limits(2), yields=yields)
    server.script([Reply(429, retry_after=0.05), Reply(429, retry_after=0.05), Reply(text="fine now")])
    assert text(api, tell(1)) == "fine now"
    assert server.sent == 3
    server.script([Reply(429, retry_after=0.05)])
    assert len(tell.map([1])) == 1
    assert server.sent == 5


@each_api
@both
@pytest.mark.whole
def test_so_it_is_for_async_ones_also_with_the_clients_own_repeats(api, yields, server):
    limits = Limits(2, read_responses=True)
    ask = asking(api, server, awaits=True, retries=2)

    async def returning(item):
        return await ask()

    async def yielding(item):
        async for chunk in await ask():
            yield chunk

    tell = parallel_map(limits=limits)(yielding if yields else returning)
    server.script([Reply(429, retry_after=0.05), Reply(text="fine now")])

    async def main():
        return text(api, [chunk async for chunk in await opened(tell, 1)])

    assert asyncio.run(asyncio.wait_for(closing(main()), PATIENCE)) == "fine now"
    assert server.sent == 2
    assert limits.stats.refused == 1
    assert limits.stats.tokens.total > 0  # read from the stream as it passed


@pytest.mark.parametrize("way", ["drop", 529])
@pytest.mark.parametrize("api", ["chat", "messages"])
@both
def test_what_breaks_after_the_first_chunk_goes_to_the_reader_and_is_never_sent_again(api, way, yields, server):
    limits = Limits(2)
    tell = functions(api, server, limits, yields=yields, retry=Retry(3, wait=0.01))
    broken = Reply(text="one two three four", breaks_after=2, breaks_with=way)
    server.script([broken, broken])
    stream, read = tell(1), []
    with pytest.raises(BROKEN):
        read.extend(iter_into(stream, read))
    assert text(api, read) == "one two"
    assert server.sent == 1
    (failure,) = tell.map([1], return_exceptions=True)
    assert isinstance(failure, BROKEN)
    assert server.sent == 2
    assert limits.stats.in_flight == 0


def iter_into(stream, read):
    for chunk in stream:
        read.append(chunk)
    return []


def test_an_overload_in_the_middle_closes_the_gate_for_those_who_come(server):
    limits = Limits(2, read_responses=False)
    tell = functions("messages", server, limits, yields=True)
    server.script([Reply(text="one two three four", breaks_after=2, breaks_with=429)])
    with pytest.raises(anthropic.APIStatusError):
        list(tell(1))
    assert limits.stats.in_flight == 0
    assert text("messages", tell(2))


@each_api
@pytest.mark.whole
def test_half_read_streams_that_are_dropped_lose_no_slot_and_no_connection(api, server):
    limits = Limits(2)
    tell = functions(api, server, limits, yields=False)
    gc.disable()  # openai's stream is a cycle; closed by the collector in the middle of a request, httpcore locks itself up
    try:
        for _ in range(20):
            stream = tell(1)
            next(stream)
            del stream
        gc.collect()
    finally:
        gc.enable()
    assert limits.stats.in_flight == 0
    assert text(api, tell(1))


@each_api
@pytest.mark.parametrize("awaits", [False, True], ids=["def", "async def"])
@pytest.mark.whole
def test_a_stream_that_nobody_reads_gives_its_slot_back_without_the_collector_where_responses_are_read(
    api, awaits, server
):
    """Its call is not kept by who reads its response; and as nobody knows what it took, it is charged as guessed."""
    limits = Limits(1, rate=Rate(1000, math.inf, cost=lambda _: 10.0, usage=lambda _: 1.0), read_responses=True)
    tell = (async_functions if awaits else functions)(api, server, limits, yields=False)

    async def drop():
        for _ in range(3):
            await tell(1)
            assert limits.stats.in_flight == 0

    gc.collect()
    gc.disable()
    try:
        if awaits:
            asyncio.run(closing(drop()))
        else:
            for _ in range(3):
                tell(1)
                assert limits.stats.in_flight == 0
    finally:
        gc.enable()
        gc.collect()
    assert (limits.stats.done, limits.stats.tokens.output) == (3, 0)
    assert [total.spent for total in limits._budget.admission.totals.values()] == [30.0]


@each_api
def test_what_else_the_clients_stream_has_is_there(api, server):
    tell = functions(api, server, Limits(1), yields=False)
    with tell(1) as stream:
        assert stream.response.status_code == 200
        assert text(api, stream) == "[simulated] one two three"
    assert tell.stats.in_flight == 0


def test_tokens_are_settled_from_the_stream_without_reading_responses(server):
    for api in ("chat", "responses"):
        limits = Limits(2, tpm=1e6, read_responses=False)
        tell = functions(api, server, limits, yields=False)
        assert text(api, tell(1))
        assert limits.stats.tokens.output > 0, api
        assert len(tell.map([1, 2])) == 2


# Behind a web server


class App:
    """FastAPI under uvicorn, in a thread."""

    def __init__(self, app):
        import uvicorn

        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        until = time.monotonic() + PATIENCE
        while not self.server.started and time.monotonic() < until:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        return SimpleNamespace(url=f"http://127.0.0.1:{port}")

    def __exit__(self, *exc):
        self.server.should_exit = True
        self.thread.join(PATIENCE)


@pytest.mark.parametrize("kind", ["async", "def", "def, closed"])
def test_a_client_that_hangs_up_gives_the_slot_back(kind):
    fastapi = pytest.importorskip("fastapi")
    from fastapi.concurrency import iterate_in_threadpool
    from fastapi.responses import StreamingResponse

    limits, app = Limits(1), fastapi.FastAPI()
    closed = threading.Event()

    @parallel_map(limits=limits)
    async def tell(item):
        try:
            while True:
                yield "a word "
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    @parallel_map(limits=limits)
    def tell_blocking(item):
        try:
            while True:
                yield "a word "
                time.sleep(0.01)
        finally:
            closed.set()

    async def closing_it():
        with tell_blocking(1) as words:
            async for word in iterate_in_threadpool(words):
                yield word

    @app.get("/")
    async def endpoint():
        made = {"async": lambda: tell(1), "def": lambda: tell_blocking(1), "def, closed": closing_it}
        return StreamingResponse(made[kind]())

    with App(app) as running:
        for _ in range(3):
            closed.clear()
            with httpx.stream("GET", running.url, timeout=PATIENCE, trust_env=False) as response:
                chunks = response.iter_bytes()  # kept: a dropped one closes the connection
                assert next(chunks)
                assert limits.stats.in_flight == 1
            hung_up = time.monotonic()
            while limits.stats.in_flight and time.monotonic() < hung_up + PATIENCE:
                if kind == "def":  # Starlette does not close it, and leaves it in a cycle
                    gc.collect()
                time.sleep(0.005)
            assert limits.stats.in_flight == 0
            assert closed.wait(PATIENCE)
