"""What the responses took, read through every client that people use: text, parsed or nothing returned, streams, two in
one call, compressed, ten megabytes, without usage, refused.

openai, anthropic, httpx and requests are required; the others are tested where they are installed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import gzip
import importlib
import json
import struct
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trio

from fanmap._drive.wire import hook, observing
from fanmap._drive.wire.responses import Reader
from fanmap._drive.wire.taking import Taking
from fanmap._policy.failures.signals import read_error
from fanmap._policy.failures.verdict import Verdict
from fanmap._policy.limits.quotas import Quota
from fanmap._policy.tokens.usage import NOTHING_TAKEN
from fanmap._usage import Usage

# What other people's packages warn of among themselves is not ours to fail on.
pytestmark = [
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings("default::DeprecationWarning", "default::ResourceWarning", "default::UserWarning"),
]

MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]
ASKED: dict[str, Any] = {"model": "small", "messages": MESSAGES}

CHAT: dict[str, Any] = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "small-1",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": '{"name": "Ada"}'}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 990, "total_tokens": 1000},
}
RESPONSE: dict[str, Any] = {
    "id": "r",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "small-1",
    "output": [
        {
            "id": "m",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": '{"name": "Ada"}', "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 6},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 13,
    },
}
EMBEDDINGS: dict[str, Any] = {
    "object": "list",
    "model": "small-1",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}
MESSAGE: dict[str, Any] = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "large-1",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 5,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 100,
        "output_tokens": 7,
    },
}
GEMINI: dict[str, Any] = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hello"}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {
        "promptTokenCount": 4,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 12,
    },
    "modelVersion": "flash-1",
}
CONVERSE: dict[str, Any] = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hello"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 8, "outputTokens": 9, "totalTokens": 17},
    "metrics": {"latencyMs": 1},
}
TAKEN = {
    "chat": Usage(10, 0, 990),
    "responses": Usage(11, 6, 2),
    "embeddings": Usage(8, 0, 0),
    "messages": Usage(108, 100, 7, 3),
    "gemini": Usage(4, 0, 8),
    "converse": Usage(8, 0, 9),
    "invoke": Usage(21, 0, 4),
}


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {**CHAT, "object": "chat.completion.chunk", "choices": choices, "usage": None}


STREAMS: dict[str, list[Any]] = {
    "/chat/completions": [
        chunk({"role": "assistant", "content": ""}),
        *[chunk({"content": "hello "})] * 3,
        chunk({}, "stop"),
        {**CHAT, "object": "chat.completion.chunk", "choices": []},
    ],
    "/responses": [
        {
            "type": "response.created",
            "sequence_number": 0,
            "response": {**RESPONSE, "status": "in_progress", "output": [], "usage": None},
        },
        {"type": "response.completed", "sequence_number": 1, "response": RESPONSE},
    ],
    "/messages": [
        {
            "type": "message_start",
            "message": {
                **MESSAGE,
                "content": [],
                "stop_reason": None,
                "usage": {**MESSAGE["usage"], "output_tokens": 1},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 7},
        },
        {"type": "message_stop"},
    ],
    "GenerateContent": [
        {**GEMINI, "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 1, "totalTokenCount": 5}},
        GEMINI,
    ],
}
WHOLE: dict[str, Any] = {
    "/chat/completions": CHAT,
    "/responses": RESPONSE,
    "/embeddings": EMBEDDINGS,
    "/messages": MESSAGE,
    "enerateContent": GEMINI,
    "/converse": CONVERSE,
    "/invoke": {"any": "format"},
}  # fmt: skip


def event_message(kind: str, payload: bytes) -> bytes:
    """One message of Amazon's binary event stream."""
    headers = b""
    for name, value in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event")):
        headers += (
            struct.pack("!B", len(name)) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        )
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    prelude += struct.pack("!I", binascii.crc32(prelude))
    message = prelude + headers + payload
    return message + struct.pack("!I", binascii.crc32(message))


def bedrock_stream(path: str) -> bytes:
    if "converse-stream" in path:
        events: list[tuple[str, Any]] = [
            ("messageStart", {"role": "assistant"}),
            ("contentBlockDelta", {"delta": {"text": "hello"}, "contentBlockIndex": 0}),
            ("messageStop", {"stopReason": "end_turn"}),
            ("metadata", {"usage": CONVERSE["usage"], "metrics": {"latencyMs": 1}}),
        ]
    else:
        raw = [json.dumps(event).encode() for event in STREAMS["/messages"]]
        events = [("chunk", {"bytes": base64.b64encode(event).decode()}) for event in raw]
    return b"".join(event_message(kind, json.dumps(payload).encode()) for kind, payload in events)


class Provider(ThreadingHTTPServer):
    """Answers in every provider's format.

    Attributes:
        script: status, headers and body for the next requests, each once; None: the usual answer.
        change: what is done to the usual document.
        headers: of the usual answers, besides the usual ones.
        paths: of the requests.
        compressed: answers that were.
    """

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[tuple[int, dict[str, str], Any] | None] = []
        self.change: Callable[[dict[str, Any]], dict[str, Any]] = dict
        self.headers: dict[str, str] = {}
        self.paths: list[str] = []
        self.compressed = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that leave early

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Provider
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers.get("content-length") or 0))
        server = self.server
        server.paths.append(self.path)
        self.close_connection = True
        scripted = server.script.pop(0) if server.script else None
        if scripted is not None:
            status, headers, document = scripted
            return self.send(
                status, headers, document if isinstance(document, bytes) else json.dumps(document).encode()
            )
        if "-stream" in self.path:
            return self.send(200, {"content-type": "application/vnd.amazon.eventstream"}, bedrock_stream(self.path))
        if "stream" in self.path or (asked[:1] == b"{" and json.loads(asked).get("stream")):
            return self.stream(next(events for end, events in STREAMS.items() if end in self.path))
        document = server.change(next(one for end, one in WHOLE.items() if end in self.path))
        headers = dict(server.headers)
        if "/invoke" in self.path:
            headers |= {"x-amzn-bedrock-input-token-count": "21", "x-amzn-bedrock-output-token-count": "4"}
        body = json.dumps(document).encode()
        if "gzip" in self.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            server.compressed += 1
            body = gzip.compress(body, 1)
        return self.send(200, headers, body)

    do_GET = do_POST  # noqa: N815

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        usual = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        for name, value in {**usual, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def stream(self, events: list[Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for event in events:
            name = f"event: {event['type']}\n" if "type" in event else ""
            self.wfile.write(f"{name}data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
        if "/chat/" in self.path:
            self.wfile.write(b"data: [DONE]\n\n")


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with Provider() as provider:
        thread = threading.Thread(target=provider.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield provider
        provider.shutdown()
        thread.join()


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.script, running.change, running.headers, running.paths = [], dict, {}, []
    running.compressed = 0
    return running


class Account:
    """What a Limits is told at once."""

    wants_quotas = True
    prices = True

    def __init__(self) -> None:
        self.refusals: list[Verdict] = []
        self.repeats = 0
        self.quotas: list[tuple[Quota, ...]] = []
        self.priced: list[tuple[str | None, int, str]] = []

    def cost_of(self, model: str | None, usage: Usage, address: str) -> float | None:
        self.priced.append((model, usage.total, address))
        return 0.5

    def refused_inside(self, verdict: Verdict) -> None:
        self.refusals.append(verdict)

    def repeated_inside(self) -> None:
        self.repeats += 1

    def told_quotas(self, quotas: tuple[Quota, ...]) -> None:
        self.quotas.append(quotas)


class Seen:
    """One call, looked at."""

    def __init__(self, call: Callable[[], Any], *, repeats: bool = True) -> None:
        self.account = Account()
        self.reader = Reader(self.account, repeats=repeats)
        self.error: Exception | None = None
        self.result: Any = None
        hook.ensure()
        outside = observing.observer.set(self.reader)
        try:
            result = call()
            self.result = asyncio.run(result) if isinstance(result, Coroutine) else result
        except Exception as error:
            self.error = error
        finally:
            observing.observer.reset(outside)
        self.taking: Taking = self.reader.close()
        self.held = list(self.reader.held)
        if self.error is None or not read_error(self.error, wall=0.0).refused_to_start:
            self.reader.tell_held(self.account)


def optional(name: str) -> Any:
    """Import a client whose import warns, or skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(name.partition(".")[0])
        return importlib.import_module(name)


# Every way to ask: name -> (what it takes, the call). `None` is returned by those that say so, text by most.

Way = Callable[[str], Any]


def by_httpx(url: str) -> str:
    httpx = optional("httpx")
    return str(httpx.post(f"{url}/v1/chat/completions", json=ASKED, timeout=120).json()["model"])


def by_httpx_bytes(url: str) -> bytes:
    return bytes(optional("httpx").post(f"{url}/v1/chat/completions", json=ASKED, timeout=120).content)


def by_httpx_stream(url: str) -> list[str]:
    httpx = optional("httpx")
    body = {**ASKED, "stream": True}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=120) as response:
        return list(response.iter_lines())


def by_httpx_raw(url: str) -> list[bytes]:
    httpx = optional("httpx")
    body = {**ASKED, "stream": True}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=120) as response:
        return list(response.iter_raw())


def by_httpx_later(url: str) -> bytes:
    httpx = optional("httpx")
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=ASKED, timeout=120) as response:
        return bytes(response.read())


async def by_async_httpx(url: str) -> None:
    async with optional("httpx").AsyncClient(timeout=120) as client:
        await client.post(f"{url}/v1/chat/completions", json=ASKED)


async def by_async_httpx_stream(url: str) -> None:
    body = {**ASKED, "stream": True}
    async with (
        optional("httpx").AsyncClient(timeout=120) as client,
        client.stream("POST", f"{url}/v1/chat/completions", json=body) as response,
    ):
        async for _ in response.aiter_lines():
            pass


def by_httpx_on_trio(url: str) -> None:
    trio.run(by_async_httpx, url)


def by_httpx2(url: str) -> str:
    return str(optional("httpx2").post(f"{url}/v1/chat/completions", json=ASKED, timeout=120).text)


def by_requests(url: str) -> str:
    requests = optional("requests")
    return str(requests.post(f"{url}/v1/chat/completions", json=ASKED, timeout=120).json()["model"])


def by_requests_stream(url: str, *, decode: bool = False) -> list[Any]:
    requests = optional("requests")
    body = {**ASKED, "stream": True}
    with requests.post(f"{url}/v1/chat/completions", json=body, timeout=120, stream=True) as response:
        return list(response.iter_lines(decode_unicode=decode))


def by_requests_later(url: str) -> Any:
    requests = optional("requests")
    with requests.post(f"{url}/v1/chat/completions", json=ASKED, timeout=120, stream=True) as response:
        return response.json()


async def by_aiohttp(url: str) -> Any:
    aiohttp = optional("aiohttp")
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/chat/completions", json=ASKED) as response:
        return await response.json()


def by_aiohttp_stream(read: Callable[[Any], Any]) -> Way:
    async def call(url: str) -> bytes:
        aiohttp = optional("aiohttp")
        body = {**ASKED, "stream": True}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}/v1/chat/completions", json=body) as response,
        ):
            assert isinstance(response.content, aiohttp.StreamReader)
            pieces = [piece async for piece in read(response.content)]
            return b"".join(piece[0] if isinstance(piece, tuple) else piece for piece in pieces)

    return call


def openai_client(url: str, **settings: Any) -> Any:
    import openai

    return openai.OpenAI(base_url=f"{url}/v1", api_key="k", **settings)


def async_openai(call: Callable[[Any], Any]) -> Way:
    async def asked(url: str) -> Any:
        import openai

        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k") as client:
            return await call(client)

    return asked


async def streamed(awaitable: Any) -> None:
    async for _ in await awaitable:
        pass


async def three_at_once(client: Any) -> None:
    await asyncio.gather(*[client.chat.completions.create(**ASKED) for _ in range(3)])


def openai_parsed(url: str) -> Any:
    import pydantic

    class Person(pydantic.BaseModel):
        name: str

    parsed = openai_client(url).chat.completions.parse(response_format=Person, **ASKED).choices[0].message.parsed
    assert parsed == Person(name="Ada")
    return parsed


def anthropic_client(url: str) -> Any:
    import anthropic

    return anthropic.Anthropic(base_url=url, api_key="k")


def anthropic_stream(url: str) -> str:
    with anthropic_client(url).messages.stream(model="large", max_tokens=9, messages=MESSAGES) as stream:
        return str(stream.get_final_text())


async def async_anthropic(url: str) -> None:
    import anthropic

    async with anthropic.AsyncAnthropic(base_url=url, api_key="k") as client:
        await client.messages.create(model="large", max_tokens=9, messages=MESSAGES)


kept: list[Any] = []  # google-genai's client closes when nobody holds it, though its parts are in use


def genai(url: str) -> Any:
    kept[:] = [optional("google.genai").Client(api_key="k", http_options={"base_url": url})]
    return kept[0]


async def genai_stream(url: str) -> None:
    async for _ in await genai(url).aio.models.generate_content_stream(model="flash", contents="hello"):
        pass


def mistral(url: str) -> Any:
    return optional("mistralai.client").Mistral(api_key="k", server_url=url)


def bedrock(url: str, *, max_attempts: int = 3) -> Any:
    config = optional("botocore.config").Config(retries={"total_max_attempts": max_attempts, "mode": "standard"})
    return optional("boto3").client(
        "bedrock-runtime",
        config=config,
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )


BEDROCK: dict[str, Any] = {"modelId": "some.model", "messages": [{"role": "user", "content": [{"text": "hello"}]}]}


def litellm(url: str, name: str = "completion", **more: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or importing it asks the web for prices
        module = optional("litellm")
    settings: dict[str, Any] = {"model": "openai/small", "api_base": f"{url}/v1", **more}
    return getattr(module, name)(messages=MESSAGES, api_key="k", **settings)


def litellm_anthropic(url: str, name: str = "completion", **more: Any) -> Any:
    return litellm(url, name, model="anthropic/large", api_base=url, max_tokens=9, **more)


def langchain(url: str) -> Any:
    return optional("langchain_openai").ChatOpenAI(base_url=f"{url}/v1", api_key="k", model="small")


def instructor(url: str) -> Any:
    import pydantic

    class Person(pydantic.BaseModel):
        name: str

    module = optional("instructor")
    client = module.from_openai(openai_client(url), mode=module.Mode.JSON)
    person = client.chat.completions.create(response_model=Person, **ASKED)
    assert person.name == "Ada"
    return person


def agent(url: str) -> Any:
    module = optional("pydantic_ai")
    models, providers = optional("pydantic_ai.models.openai"), optional("pydantic_ai.providers.openai")
    return module.Agent(
        models.OpenAIChatModel("small", provider=providers.OpenAIProvider(base_url=f"{url}/v1", api_key="k"))
    )


def in_a_thread(url: str) -> None:
    thread = threading.Thread(target=by_httpx, args=(url,))
    thread.start()
    thread.join()


WAYS: dict[str, tuple[str, int, Way]] = {
    "httpx": ("chat", 1, by_httpx),
    "httpx, a stream": ("chat", 1, by_httpx_stream),
    "httpx, a stream's raw bytes": ("chat", 1, by_httpx_raw),
    "httpx, read later": ("chat", 1, by_httpx_later),
    "async httpx": ("chat", 1, by_async_httpx),
    "async httpx on trio": ("chat", 1, by_httpx_on_trio),
    "async httpx, a stream": ("chat", 1, by_async_httpx_stream),
    "httpx2": ("chat", 1, by_httpx2),
    "requests": ("chat", 1, by_requests),
    "requests, a stream": ("chat", 1, by_requests_stream),
    "requests, a stream of text": ("chat", 1, lambda url: by_requests_stream(url, decode=True)),
    "requests, read later": ("chat", 1, by_requests_later),
    "aiohttp": ("chat", 1, by_aiohttp),
    "aiohttp, by line": ("chat", 1, by_aiohttp_stream(lambda content: content)),
    "aiohttp, by size": ("chat", 1, by_aiohttp_stream(lambda content: content.iter_chunked(100))),
    "aiohttp, as it comes": ("chat", 1, by_aiohttp_stream(lambda content: content.iter_any())),
    "aiohttp, by chunk": ("chat", 1, by_aiohttp_stream(lambda content: content.iter_chunks())),
    "openai chat": ("chat", 1, lambda url: openai_client(url).chat.completions.create(**ASKED).choices[0].message.content),
    "openai chat, parsed": ("chat", 1, openai_parsed),
    "openai chat, a stream": ("chat", 1, lambda url: list(openai_client(url).chat.completions.create(**ASKED, stream=True))),
    "openai chat, twice": ("chat", 2, lambda url: [openai_client(url).chat.completions.create(**ASKED).id for _ in "ab"]),
    "openai responses": ("responses", 1, lambda url: openai_client(url).responses.create(model="small", input="hello").output_text),
    "openai responses, a stream": (
        "responses", 1, lambda url: list(openai_client(url).responses.create(model="small", input="hello", stream=True)),
    ),
    "openai embeddings": ("embeddings", 1, lambda url: openai_client(url).embeddings.create(model="small", input="hello").data),
    "openai, the raw response": (
        "chat", 1, lambda url: openai_client(url).chat.completions.with_raw_response.create(**ASKED).parse().id,
    ),
    "async openai chat": ("chat", 1, async_openai(lambda client: client.chat.completions.create(**ASKED))),
    "async openai chat, a stream": (
        "chat", 1, async_openai(lambda client: streamed(client.chat.completions.create(**ASKED, stream=True))),
    ),
    "async openai chat, three at once": ("chat", 3, async_openai(three_at_once)),
    "anthropic": (
        "messages", 1,
        lambda url: anthropic_client(url).messages.create(model="large", max_tokens=9, messages=MESSAGES).content[0].text,
    ),
    "anthropic, a stream": ("messages", 1, anthropic_stream),
    "async anthropic": ("messages", 1, async_anthropic),
    "google-genai": ("gemini", 1, lambda url: genai(url).models.generate_content(model="flash", contents="hello").text),
    "google-genai, a stream": (
        "gemini", 1, lambda url: list(genai(url).models.generate_content_stream(model="flash", contents="hello")),
    ),
    "async google-genai": ("gemini", 1, lambda url: genai(url).aio.models.generate_content(model="flash", contents="hello")),
    "async google-genai, a stream": ("gemini", 1, genai_stream),
    "mistral": ("chat", 1, lambda url: mistral(url).chat.complete(model="small", messages=MESSAGES)),
    "mistral, a stream": ("chat", 1, lambda url: len(list(mistral(url).chat.stream(model="small", messages=MESSAGES)))),
    "async mistral": ("chat", 1, lambda url: mistral(url).chat.complete_async(model="small", messages=MESSAGES)),
    "bedrock": ("converse", 1, lambda url: bedrock(url).converse(**BEDROCK)["stopReason"]),
    "bedrock, a stream": ("converse", 1, lambda url: list(bedrock(url).converse_stream(**BEDROCK)["stream"])),
    "bedrock, a model's own format": (
        "invoke", 1, lambda url: bedrock(url).invoke_model(modelId="some.model", body=b"{}")["body"].read(),
    ),
    "bedrock, a model's own stream": (
        "messages", 1,
        lambda url: list(bedrock(url).invoke_model_with_response_stream(modelId="some.model", body=b"{}")["body"]),
    ),
    "litellm": ("chat", 1, lambda url: litellm(url).choices[0].message.content),
    "litellm, a stream": ("chat", 1, lambda url: len(list(litellm(url, stream=True)))),
    "async litellm": ("chat", 1, lambda url: litellm(url, "acompletion")),
    "async litellm, a stream": ("chat", 1, lambda url: streamed(litellm(url, "acompletion", stream=True))),
    "litellm's anthropic": ("messages", 1, lambda url: litellm_anthropic(url).id),
    "async litellm's anthropic": ("messages", 1, lambda url: litellm_anthropic(url, "acompletion")),
    "langchain": ("chat", 1, lambda url: langchain(url).invoke("hello").text),
    "langchain, a stream": ("chat", 1, lambda url: len(list(langchain(url).stream("hello")))),
    "async langchain": ("chat", 1, lambda url: langchain(url).ainvoke("hello")),
    "pydantic-ai": ("chat", 1, lambda url: agent(url).run_sync("hello").output),
    "async pydantic-ai": ("chat", 1, lambda url: agent(url).run("hello")),
    "instructor": ("chat", 1, instructor),
    "a thread inside": ("chat", 1, in_a_thread),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_what_a_call_took_is_read(way: str, provider: Provider) -> None:
    kind, requests, call = WAYS[way]
    seen = Seen(lambda: call(provider.url))
    assert seen.error is None
    expected = sum([TAKEN[kind]] * (requests - 1), TAKEN[kind])
    assert seen.taking.taken.usage == expected
    assert seen.taking.settled == requests == len(provider.paths)
    assert seen.taking.taken.counted == expected.total - (expected.cached if kind == "messages" else 0)
    assert (seen.account.refusals, seen.account.repeats) == ([], 0)
    model = {"messages": "large-1", "gemini": "flash-1"}.get(kind)
    if way.startswith("bedrock"):  # what is billed is the name that was asked for
        model = "some.model"
    asked = provider.url if not way.startswith("bedrock") else "https://bedrock-runtime.us-east-1.amazonaws.com"
    for named, total, address in seen.account.priced:
        assert named == (model or "small-1") and total == TAKEN[kind].total
        assert address.startswith(asked)
    assert (seen.taking.cost, seen.taking.priced) == (0.5 * requests, requests)


WHOLE_BODIES = [
    "httpx",
    "httpx, read later",
    "async httpx",
    "httpx2",
    "requests",
    "requests, read later",
    "aiohttp",
    "openai chat",
]


@pytest.mark.parametrize("way", WHOLE_BODIES)
@pytest.mark.whole
def test_a_body_of_ten_megabytes_that_comes_compressed(way: str, provider: Provider) -> None:
    # Text that looks like what is searched for, and a usage behind it as providers have it.
    decoy = 'and "usage": {"prompt_tokens": 5}, '
    message = {"role": "assistant", "content": decoy * (10_000_000 // len(decoy))}
    provider.change = lambda document: {
        **document,
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": document["usage"],
        "service_tier": "default",
    }
    seen = Seen(lambda: WAYS[way][2](provider.url))
    assert seen.error is None
    assert provider.compressed == 1
    assert seen.taking.taken.usage == TAKEN["chat"]


@pytest.mark.parametrize("way", WHOLE_BODIES)
@pytest.mark.parametrize("usage", [None, {}, "garbage", {"prompt_tokens": -1, "completion_tokens": "many"}])
def test_a_response_without_a_usage_is_seen_and_settles_nothing(way: str, usage: object, provider: Provider) -> None:
    if way.startswith("openai") and not (usage is None or isinstance(usage, dict)):
        pytest.skip("the client itself trips over it")
    provider.change = lambda document: {**document, "usage": usage}
    seen = Seen(lambda: WAYS[way][2](provider.url))
    assert seen.error is None
    assert (len(seen.reader.requests), seen.taking) == (1, Taking(NOTHING_TAKEN, 0, 0.0, 0, False, False, True))


def test_what_is_neither_json_nor_events_says_nothing(provider: Provider) -> None:
    picture = b"\x89PNG" + json.dumps(CHAT).encode()
    provider.script = [(200, {"content-type": "image/png"}, picture)] * 2
    for call in (by_httpx_bytes, by_httpx_stream):
        assert Seen(lambda call=call: call(provider.url)).taking.settled == 0
    provider.headers = {"content-type": "application/json; charset=utf-8"}
    assert Seen(lambda: by_httpx(provider.url)).taking.settled == 1


def stepwise(events: list[Any], had: list[int], kind: str = "text/event-stream") -> Any:
    """A client whose server sends the next event when the reader has had the one before."""
    import httpx

    class Stepwise(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for number, event in enumerate(events):
                assert had == list(range(number)), "read ahead"
                yield f"data: {json.dumps(event)}\n\n".encode()

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": kind}, stream=Stepwise())

    return httpx.Client(transport=httpx.MockTransport(answer))


def read_events(events: list[Any], *, leave_after: int, kind: str = "text/event-stream") -> Seen:
    had: list[int] = []

    def call() -> None:
        with stepwise(events, had, kind) as client, client.stream("POST", "http://x", json=ASKED) as response:
            for number, _ in enumerate(response.iter_bytes()):
                had.append(number)
                if len(had) == leave_after:
                    break

    seen = Seen(call)
    assert (seen.error, len(had)) == (None, leave_after)
    return seen


def test_no_stream_is_read_ahead_of_its_reader() -> None:
    events = STREAMS["/messages"]
    assert read_events(events, leave_after=len(events)).taking.taken.usage == TAKEN["messages"]


@pytest.mark.parametrize("kind", ["Text/Event-Stream", "text/Event-stream; Charset=UTF-8"])
def test_a_stream_is_one_in_whatever_case_its_type_is_written(kind: str) -> None:
    events = STREAMS["/messages"]
    assert read_events(events, leave_after=len(events), kind=kind).taking.taken.usage == TAKEN["messages"]


@pytest.mark.parametrize("coding", ["Identity", "GZip"])
@pytest.mark.parametrize("kind", ["Application/JSON", "application/Json; charset=utf-8"])
def test_a_body_that_is_read_as_it_comes_is_json_in_whatever_case_its_type_is_written(kind: str, coding: str) -> None:
    import httpx

    body = json.dumps({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode()
    headers = {"content-type": kind, "content-encoding": coding}

    def answer(request: httpx.Request) -> httpx.Response:
        sent = gzip.compress(body) if coding == "GZip" else body
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(sent))

    def call() -> None:
        with (
            httpx.Client(transport=httpx.MockTransport(answer)) as client,
            client.stream("GET", "http://x") as response,
        ):
            assert b"".join(response.iter_bytes()) == body

    assert Seen(call).taking.taken.usage == Usage(3, 0, 4)


def test_a_stream_that_its_reader_leaves_says_what_has_passed() -> None:
    assert read_events(STREAMS["/messages"], leave_after=2).taking.taken.usage == Usage(108, 100, 1, 3)


@pytest.mark.whole
def test_many_streams_in_one_call_are_read_when_they_have_passed(provider: Provider) -> None:
    def call() -> None:
        for _ in range(20):
            by_httpx_stream(provider.url)

    seen = Seen(call)
    assert seen.taking.settled == 20
    assert seen.taking.taken.usage.total == 20_000


def test_limits_are_told(provider: Provider) -> None:
    provider.headers = {
        "openai-version": "2020-10-01",
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-limit-tokens": "garbage",
    }
    seen = Seen(lambda: by_httpx(provider.url))
    assert seen.account.quotas == [(Quota("requests", 500.0, 60.0, 499.0, sure=True),)]


def test_when_the_attempt_is_over_nothing_is_observed_any_more(provider: Provider) -> None:
    seen = Seen(lambda: by_httpx(provider.url))
    outside = observing.observer.set(seen.reader)
    provider.script = [(429, {}, {})]
    with pytest.raises(KeyError):
        by_httpx(provider.url)
    observing.observer.reset(outside)
    assert seen.account.refusals == []
    assert seen.reader.close() == seen.taking


# Refusals

LIMIT = {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}
SPENT = {"error": {"message": "No credit", "type": "insufficient_quota", "code": "insufficient_quota"}}
REFUSED = (429, {"retry-after": "0.01"}, LIMIT)
Script = list[tuple[int, dict[str, str], Any] | None]


def chat(url: str) -> str:
    return str(openai_client(url).chat.completions.create(**ASKED).choices[0].message.content)


def chat_twice(url: str) -> str:
    return chat(url) + chat(url)


@pytest.mark.parametrize(
    ("script", "call", "repeats", "requests", "refusals", "hidden", "ours"),
    [
        pytest.param([REFUSED], chat, True, 1, ["rate"], 0, True, id="ours to repeat: raised at once"),
        pytest.param(
            [REFUSED], chat, False, 2, ["rate"], 1, False, id="not ours: the client repeats it, and it counts"
        ),
        pytest.param([None, REFUSED], chat_twice, True, 3, ["rate"], 1, False, id="an earlier request was answered"),
        pytest.param([REFUSED, REFUSED], chat, False, 3, ["rate", "rate"], 2, False, id="refused twice"),
        pytest.param([(429, {}, SPENT)], chat, True, 1, [], 0, False, id="a spent account"),
        pytest.param([(429, {}, SPENT)], chat, False, 1, [], 0, False, id="a spent account in a block"),
        pytest.param([None, (429, {}, SPENT)], chat_twice, False, 2, [], 0, False, id="a spent account, later"),
        pytest.param([(500, {}, {})], chat, True, 2, [], 1, False, id="a failure is the client's to repeat"),
        pytest.param([(503, {"retry-after": "0.01"}, {})], chat, True, 1, ["overloaded"], 0, True, id="not started"),
        pytest.param([(503, {}, {})], chat, True, 2, [], 1, False, id="overloaded without a wait"),
        pytest.param([(400, {}, {})], chat, True, 1, [], 0, False, id="wrong"),
        pytest.param(
            [(429, {"x-should-retry": "false"}, LIMIT)],
            chat,
            True,
            1,
            [],
            0,
            False,
            id="the server says not to repeat it",
        ),
    ],
)
def test_who_repeats_a_refusal(
    script: Script,
    call: Way,
    repeats: bool,
    requests: int,
    refusals: list[str],
    hidden: int,
    ours: bool,
    provider: Provider,
) -> None:
    """What is ours is held back: it is told when the client has raised it."""
    answered = len(script) < requests
    provider.script = list(script)
    seen = Seen(lambda: call(provider.url), repeats=repeats)
    assert len(provider.paths) == len(seen.reader.requests) == requests
    raised = [] if answered else [verdict.kind for verdict in seen.reader.held]
    assert [verdict.kind for verdict in seen.account.refusals] + raised == refusals
    assert bool(raised) == ours
    assert (seen.account.repeats, len(seen.reader.hidden)) == (hidden, hidden)
    assert (seen.error is None) == answered


def test_a_refusal_that_the_client_raised_is_read_as_the_server_meant_it(provider: Provider) -> None:
    for status, headers, body, kind in [
        (429, {"retry-after": "7"}, LIMIT, ("rate", 7.0)),
        (429, {}, SPENT, ("spent", None)),
        (429, {"x-should-retry": "true"}, LIMIT, ("rate", None)),
        (503, {"retry-after": "7"}, {}, ("overloaded", 7.0)),
    ]:
        provider.script = [(status, headers, body)]
        error = Seen(lambda: chat(provider.url)).error
        assert error is not None
        verdict = read_error(error, wall=0.0)
        assert (verdict.kind, verdict.wait) == kind


@pytest.mark.parametrize("way", ["httpx", "async httpx", "httpx2", "requests", "aiohttp"])
def test_a_refusal_is_told_through_every_client(way: str, provider: Provider) -> None:
    provider.script = [(429, {"retry-after": "7"}, LIMIT)]
    seen = Seen(lambda: WAYS[way][2](provider.url))
    assert [(verdict.kind, verdict.wait) for verdict in seen.account.refusals] == [("rate", 7.0)]
    assert seen.taking.settled == 0


async def by_aiohttp_raising(url: str) -> None:
    aiohttp = optional("aiohttp")
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        await session.post(f"{url}/v1/chat/completions", json=ASKED)


def by_bedrock_once(url: str) -> None:
    bedrock(url, max_attempts=1).converse(**BEDROCK)


@pytest.mark.parametrize("call", [by_aiohttp_raising, by_bedrock_once])
@pytest.mark.parametrize("repeats", [True, False])
def test_a_refusal_that_the_client_raises_inside_is_seen(call: Way, repeats: bool, provider: Provider) -> None:
    provider.script = [(429, {"retry-after": "7", "x-amzn-errortype": "ThrottlingException"}, {"message": "slow"})]
    seen = Seen(lambda: call(provider.url), repeats=repeats)
    assert seen.error is not None
    assert [verdict.kind for verdict in (seen.held if repeats else seen.account.refusals)] == ["rate"]


# After a failure: the same again, or something else?

Asked = tuple[str, dict[str, Any]]  # a path, and a body


def post_by_httpx(url: str, path: str, body: dict[str, Any]) -> None:
    optional("httpx").post(f"{url}{path}", json=body, timeout=120)


def post_by_httpx2(url: str, path: str, body: dict[str, Any]) -> None:
    optional("httpx2").post(f"{url}{path}", json=body, timeout=120)


def post_by_async_httpx(url: str, path: str, body: dict[str, Any]) -> None:
    async def post() -> None:
        async with optional("httpx").AsyncClient(timeout=120) as client:
            await client.post(f"{url}{path}", json=body)

    asyncio.run(post())


def post_by_requests(url: str, path: str, body: dict[str, Any]) -> None:
    optional("requests").post(f"{url}{path}", json=body, timeout=120)


def post_by_aiohttp(url: str, path: str, body: dict[str, Any]) -> None:
    async def post() -> None:
        async with optional("aiohttp").ClientSession() as session, session.post(f"{url}{path}", json=body):
            pass

    asyncio.run(post())


def post_bytes_by_aiohttp(url: str, path: str, body: dict[str, Any]) -> None:
    async def post() -> None:
        data = json.dumps(body).encode()
        async with optional("aiohttp").ClientSession() as session, session.post(f"{url}{path}", data=data):
            pass

    asyncio.run(post())


def post_by_openai(url: str, path: str, body: dict[str, Any]) -> None:
    client = openai_client(url + path.partition("/chat")[0].removesuffix("/v1"), max_retries=0)
    with contextlib.suppress(optional("openai").APIStatusError):
        client.chat.completions.create(**body)


def converse(url: str, path: str, body: dict[str, Any]) -> None:
    with contextlib.suppress(optional("botocore.exceptions").ClientError):
        bedrock(url, max_attempts=1).converse(**{**BEDROCK, "modelId": path.replace("/", ".") + body["model"]})


def invoke_model(url: str, path: str, body: dict[str, Any]) -> None:
    with contextlib.suppress(optional("botocore.exceptions").ClientError):
        bedrock(url, max_attempts=1).invoke_model(modelId="m" + path.replace("/", "."), body=json.dumps(body).encode())


A: Asked = ("/v1/chat/completions", ASKED)
OTHER_MODEL: Asked = ("/v1/chat/completions", {**ASKED, "model": "other"})
OTHER_SERVER: Asked = ("/else/v1/chat/completions", ASKED)
POSTS = [
    post_by_httpx, post_by_httpx2, post_by_async_httpx, post_by_requests, post_by_aiohttp, post_bytes_by_aiohttp,
    post_by_openai, converse, invoke_model,
]  # fmt: skip


@pytest.mark.parametrize("post", POSTS)
@pytest.mark.parametrize(
    ("script", "asked", "repeats"),
    [
        pytest.param([500], [A, A], 1, id="the same again"),
        pytest.param([500], [A, OTHER_MODEL], 0, id="another model"),
        pytest.param([500], [A, OTHER_SERVER], 0, id="another server"),
        pytest.param([500, 500], [A, A, OTHER_MODEL], 1, id="another model, after a repeat"),
        pytest.param([500, 500], [A, OTHER_MODEL, OTHER_MODEL], 1, id="another model, which is repeated"),
        pytest.param([500, None], [A, OTHER_MODEL, A], 1, id="the same again, and another between"),
        pytest.param([500, 500], [A, OTHER_MODEL, A, OTHER_MODEL], 2, id="each in turn"),
    ],
)
def test_what_asks_something_else_after_a_failure_is_no_repeat(
    post: Callable[..., None], script: list[int | None], asked: list[Asked], repeats: int, provider: Provider
) -> None:
    provider.script = [None if status is None else (status, {}, {}) for status in script]
    seen = Seen(lambda: [post(provider.url, *one) for one in asked])
    assert seen.error is None
    assert len(seen.reader.requests) == len(provider.paths) == len(asked)
    assert (seen.account.repeats, seen.reader.hidden) == (repeats, [False] * repeats)


def test_what_follows_a_refusal_makes_up_for_it(provider: Provider) -> None:
    """Whatever it asks: a refusal is no attempt, and the call has made one."""
    provider.script = [REFUSED]
    seen = Seen(lambda: [post_by_httpx(provider.url, *one) for one in (A, OTHER_MODEL)])
    assert (seen.account.repeats, seen.reader.hidden, len(seen.account.refusals)) == (1, [True], 1)


@pytest.mark.parametrize("client", ["httpx", "requests"])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(lambda: {"data": iter([b"{}"])}, id="an iterator"),
        pytest.param(lambda: {"files": {"file": b"{}"}}, id="a form, with another boundary each time"),
    ],
)
def test_a_body_that_cannot_be_compared_may_be_the_same(
    client: str, body: Callable[[], dict[str, Any]], provider: Provider
) -> None:
    def post() -> None:
        given = body()
        if client == "httpx" and "files" not in given:
            given = {"content": given["data"]}
        optional(client).post(f"{provider.url}/v1/chat/completions", timeout=120, **given)

    provider.script = [(500, {}, {}), None]
    seen = Seen(lambda: [post(), post()])
    assert (seen.error, len(seen.reader.requests), seen.account.repeats) == (None, 2, 1)


def test_nothing_of_a_request_that_failed_is_kept_but_a_number(provider: Provider) -> None:
    provider.script = [(500, {}, {}), REFUSED]
    reader: Any = Seen(lambda: [post_by_httpx(provider.url, *one) for one in (A, OTHER_MODEL)]).reader
    (failed, asks), refusal = reader._failures
    assert (failed, type(asks), refusal) == (False, int, (True, None))


def test_repeats_inside_of_botocore_count(provider: Provider) -> None:
    provider.script = [(500, {}, {}), (500, {}, {})]
    seen = Seen(lambda: bedrock(provider.url).converse(**BEDROCK))
    assert seen.error is None
    assert len(provider.paths) == 3
    assert seen.account.repeats == 2
    assert seen.taking.taken.usage == TAKEN["converse"]


@pytest.mark.parametrize(
    ("script", "requests", "repeats"),
    [
        ([], 1, 0),
        ([400], 1, 0),
        ([429], 2, 1),
        ([500, 500], 3, 2),
        ([429, 500, 429], 4, 3),
        pytest.param([500] * 4, 4, 1, id="over: that there were some is said, and not how many"),
    ],
)
def test_repeats_inside_of_requests_count(script: list[int], requests: int, repeats: int, provider: Provider) -> None:
    """Those of an adapter with `max_retries`."""
    import requests as library
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    provider.script = [(status, {"retry-after": "0"}, {}) for status in script]
    retries = Retry(total=3, status_forcelist=[429, 500], allowed_methods=None)
    with library.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retries))
        seen = Seen(lambda: session.post(f"{provider.url}/v1/chat/completions", json=ASKED, timeout=120).status_code)
    assert (len(provider.paths), len(seen.reader.requests)) == (requests, 1)
    assert (seen.account.repeats, len(seen.reader.hidden)) == (repeats, repeats)
