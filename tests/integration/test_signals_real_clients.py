"""What the real clients raise against a scripted server is read as the table says.

openai, anthropic, httpx and requests are required; the others are tested where they are installed.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fanmap._policy.signals import client_retries, read_error
from fanmap._policy.tokens import read_usage

Serve = Callable[..., str]
Said = tuple[str, float | None]


class Scripted(ThreadingHTTPServer):
    """Replies to every request with one status, headers and body; status 0 hangs up instead."""

    daemon_threads = False
    reply: tuple[int, dict[str, str], bytes]


class Handler(BaseHTTPRequestHandler):
    server: Scripted
    keep_alive = False

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        status, headers, body = self.server.reply
        self.close_connection = not self.keep_alive
        if status == 0:
            return
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server that replies as told; its address, without a slash at the end."""
    with Scripted(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def script(status: int, headers: dict[str, str] | None = None, body: Any = None) -> str:
            raw = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
            server.reply = (status, headers or {}, raw)
            return f"http://127.0.0.1:{server.server_address[1]}"

        yield script
        server.shutdown()
        thread.join()


@pytest.fixture
def nowhere() -> str:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def optional(name: str) -> Any:
    """Import a client whose import warns, or skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(name.partition(".")[0])
        return importlib.import_module(name)


def raised(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    return caught.value


def said(error: BaseException) -> Said:
    verdict = read_error(error, wall=1_700_000_000.0)
    return verdict.kind, verdict.wait


OPENAI_LIMIT = {"error": {"message": "Please try again in 8.71s.", "code": "rate_limit_exceeded"}}
OPENAI_SPENT = {"error": {"message": "x", "type": "insufficient_quota", "code": "insufficient_quota"}}
RESET = {"x-ratelimit-reset-requests": "6m0s"}

OPENAI_CASES: list[tuple[int, dict[str, str], object, Said]] = [
    (429, {"retry-after": "7", **RESET}, OPENAI_LIMIT, ("rate", 7.0)),
    (429, {"retry-after-ms": "250", "retry-after": "7"}, OPENAI_LIMIT, ("rate", 0.25)),
    (429, {"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, {}, ("rate", 30.0)),
    (429, RESET, OPENAI_LIMIT, ("rate", 8.71)),
    (429, RESET, {}, ("rate", None)),
    (429, {}, OPENAI_SPENT, ("spent", None)),
    (429, {}, {"error": {"code": "concurrent_request_limit_exceeded"}}, ("concurrency", None)),
    (429, {}, {"error": {"code": "limit_burst_rate", "message": "x"}}, ("steep", None)),
    (429, {}, [{"error": {"details": [{"retryDelay": "27s"}]}}], ("rate", 27.0)),
    (429, {"x-should-retry": "false"}, {}, ("wrong", None)),
    (400, {"x-should-retry": "true"}, {}, ("transient", None)),
    (503, {}, {"error": {"retry_after": 10}}, ("overloaded", 10.0)),
    (502, {}, b"<html>Bad gateway</html>", ("transient", None)),
    (500, {}, {}, ("transient", None)),
    (402, {}, {}, ("spent", None)),
    (401, {}, {}, ("refused", None)),
    (404, {}, {}, ("wrong", None)),
]


@pytest.mark.parametrize(("status", "headers", "body", "expected"), OPENAI_CASES)
def test_openai(serve: Serve, status: int, headers: dict[str, str], body: object, expected: Said) -> None:
    openai = optional("openai")
    with openai.OpenAI(api_key="k", base_url=serve(status, headers, body), max_retries=0) as client:
        error = raised(lambda: client.chat.completions.create(model="m", messages=[]))
    assert isinstance(error, openai.APIStatusError)
    assert said(error) == expected
    assert client_retries(error) == 0


def test_openai_tells_its_own_retries(serve: Serve) -> None:
    openai = optional("openai")
    url = serve(429, {"retry-after-ms": "1"}, OPENAI_LIMIT)
    with openai.OpenAI(api_key="k", base_url=url, max_retries=2) as client:
        error = raised(lambda: client.chat.completions.create(model="m", messages=[]))
    assert client_retries(error) == 2


def test_openai_connection_errors(serve: Serve, nowhere: str) -> None:
    openai = optional("openai")
    for url in (nowhere, serve(0)):
        with openai.OpenAI(api_key="k", base_url=url, max_retries=0) as client:
            error = raised(lambda: client.chat.completions.create(model="m", messages=[]))
        assert isinstance(error, openai.APIConnectionError)
        assert said(error) == ("transient", None)
    with openai.OpenAI(api_key="k", base_url="127.0.0.1/v1", max_retries=0) as client:
        error = raised(lambda: client.chat.completions.create(model="m", messages=[]))
    assert said(error) == ("wrong", None)


def test_openai_error_inside_a_stream(serve: Serve) -> None:
    openai = optional("openai")
    body = b'data: {"error": {"message": "x", "type": "server_error"}}\n\n'
    url = serve(200, {"content-type": "text/event-stream"}, body)
    with openai.OpenAI(api_key="k", base_url=url, max_retries=0) as client:
        error = raised(lambda: list(client.chat.completions.create(model="m", messages=[], stream=True)))
    assert isinstance(error, openai.APIError)
    assert said(error) == ("transient", None)


@pytest.mark.parametrize("name", ["AsyncOpenAI", "AsyncAnthropic"])
@pytest.mark.filterwarnings("ignore")  # the first loop's connection is left to the collector
def test_an_async_client_on_another_event_loop_is_misuse(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module = optional(name.removeprefix("Async").lower())
    monkeypatch.setattr(Handler, "protocol_version", "HTTP/1.1")
    monkeypatch.setattr(Handler, "keep_alive", True)
    monkeypatch.setattr(Handler, "timeout", 0.5)  # so that the server can end while the client lives
    url = serve(200, {"connection": "keep-alive"}, {"usage": {"input_tokens": 3}})

    def asked_twice() -> tuple[Said, list[str]]:
        client = getattr(module, name)(api_key="k", base_url=url, max_retries=0)

        async def ask() -> object:
            if name == "AsyncOpenAI":
                return await client.responses.create(model="m", input="x")
            return await client.messages.create(model="m", messages=[], max_tokens=1)

        assert read_usage(asyncio.run(ask())) == 3.0
        error: BaseException | None = raised(lambda: asyncio.run(ask()))
        assert error is not None
        verdict, chain = said(error), []
        while error is not None:
            chain.append(repr(error))
            error = error.__cause__ or error.__context__
        return verdict, chain

    verdict, chain = asked_twice()
    assert verdict == ("wrong", None)
    assert "RuntimeError('Event loop is closed')" in chain
    gc.collect()


ANTHROPIC_CASES: list[tuple[int, dict[str, str], dict[str, object], Said]] = [
    (429, {"retry-after": "7"}, {"type": "rate_limit_error"}, ("rate", 7.0)),
    (429, {"retry-after": "7"}, {"details": {"error_code": "ramp_limit_exceeded"}}, ("rate", 7.0)),
    (429, {}, {"details": {"error_code": "enforced_spend_limit_reached"}}, ("spent", None)),
    (429, {}, {"message": "Number of concurrent connections has exceeded your limit"}, ("concurrency", None)),
    (429, {}, {"message": "This would exceed your maximum usage increase rate"}, ("steep", None)),
    (400, {}, {"message": "Your credit balance is too low to access the Anthropic API."}, ("spent", None)),
    (400, {}, {"message": "messages: required"}, ("wrong", None)),
    (402, {}, {"type": "billing_error"}, ("spent", None)),
    (403, {}, {"type": "permission_error"}, ("refused", None)),
    (529, {}, {"type": "overloaded_error"}, ("overloaded", None)),
    (529, {"retry-after": "3"}, {"type": "overloaded_error"}, ("overloaded", 3.0)),
]  # fmt: skip


@pytest.mark.parametrize(("status", "headers", "error", "expected"), ANTHROPIC_CASES)
def test_anthropic(
    serve: Serve, status: int, headers: dict[str, str], error: dict[str, object], expected: Said
) -> None:
    anthropic = optional("anthropic")
    url = serve(status, headers, {"type": "error", "error": error})
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0) as client:
        caught = raised(lambda: client.messages.create(model="m", messages=[], max_tokens=1))
    assert isinstance(caught, anthropic.APIStatusError)
    assert said(caught) == expected


def test_anthropic_error_inside_a_stream_has_the_streams_status(serve: Serve) -> None:
    anthropic = optional("anthropic")
    body = b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}\n\n'
    url = serve(200, {"content-type": "text/event-stream"}, body)
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0) as client:
        error = raised(lambda: list(client.messages.create(model="m", messages=[], max_tokens=1, stream=True)))
    assert isinstance(error, anthropic.APIStatusError)
    assert error.status_code == 200
    assert said(error) == ("overloaded", None)


def test_anthropic_tells_its_own_retries_and_its_connection_errors(serve: Serve, nowhere: str) -> None:
    anthropic = optional("anthropic")
    url = serve(529, {"retry-after-ms": "1"})
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=1) as client:
        error = raised(lambda: client.messages.create(model="m", messages=[], max_tokens=1))
    assert client_retries(error) == 1
    with anthropic.Anthropic(api_key="k", base_url=nowhere, max_retries=0) as client:
        error = raised(lambda: client.messages.create(model="m", messages=[], max_tokens=1))
    assert said(error) == ("transient", None)


@pytest.mark.parametrize("name", ["httpx", "httpx2", "requests"])
def test_plain_http_clients(serve: Serve, nowhere: str, name: str) -> None:
    client = optional(name)
    answer = client.post(serve(429, {"Retry-After": "7"}, OPENAI_LIMIT))
    assert said(raised(answer.raise_for_status)) == ("rate", 7.0)
    answer = client.post(serve(429, {}, OPENAI_LIMIT))
    assert said(raised(answer.raise_for_status)) == ("rate", 8.71)
    answer = client.post(serve(429, {}, OPENAI_SPENT))
    assert said(raised(answer.raise_for_status)) == ("spent", None)
    answer = client.post(serve(503, {}, b"busy"))
    assert said(raised(answer.raise_for_status)) == ("overloaded", None)
    assert said(raised(lambda: client.post(nowhere))) == ("transient", None)
    assert said(raised(lambda: client.post(serve(0)))) == ("transient", None)
    assert said(raised(lambda: client.post("127.0.0.1/v1"))) == ("wrong", None)


def test_a_streaming_requests_response_is_not_read(serve: Serve) -> None:
    requests = optional("requests")
    with requests.post(serve(429, {}, OPENAI_SPENT), stream=True) as answer:
        assert said(raised(answer.raise_for_status)) == ("rate", None)
        assert answer.json() == OPENAI_SPENT  # still there to be read


def test_urllib(serve: Serve, nowhere: str) -> None:
    from urllib.error import HTTPError
    from urllib.request import urlopen

    error = raised(lambda: urlopen(serve(429, {"Retry-After": "7"})))
    assert isinstance(error, HTTPError)
    with error:
        assert said(error) == ("rate", 7.0)
    assert said(raised(lambda: urlopen(nowhere))) == ("transient", None)
    assert said(raised(lambda: urlopen(serve(0)))) == ("transient", None)


def test_aiohttp(serve: Serve, nowhere: str) -> None:
    aiohttp = optional("aiohttp")

    async def post(url: str) -> None:
        async with aiohttp.ClientSession(raise_for_status=True) as session, session.post(url):
            pass

    def outcome(url: str) -> Said:
        return said(raised(lambda: asyncio.run(post(url))))

    assert outcome(serve(429, {"Retry-After": "7"})) == ("rate", 7.0)
    assert outcome(serve(503)) == ("overloaded", None)
    assert outcome(serve(403)) == ("refused", None)
    assert outcome(nowhere) == ("transient", None)
    assert outcome(serve(0)) == ("transient", None)


def gemini_body(*quotas: str) -> dict[str, object]:
    details: list[dict[str, object]] = [
        {"violations": [{"quotaId": quota} for quota in quotas]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "27s"},
    ]
    message = "You exceeded your current quota, please check your plan and billing details."
    return {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}}


GEMINI_CASES: list[tuple[int, object, Said]] = [
    (429, gemini_body("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"), ("rate", 27.0)),
    (429, gemini_body("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), ("spent", None)),
    (503, {"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}, ("overloaded", None)),
    (400, {"error": {"code": 400, "message": "x", "status": "INVALID_ARGUMENT"}}, ("wrong", None)),
    (403, {"error": {"code": 403, "message": "x", "status": "PERMISSION_DENIED"}}, ("refused", None)),
]


@pytest.mark.parametrize(("status", "body", "expected"), GEMINI_CASES)
def test_google_genai(serve: Serve, status: int, body: object, expected: Said) -> None:
    genai = optional("google.genai")
    with genai.Client(api_key="k", http_options={"base_url": serve(status, {}, body)}) as client:
        error = raised(lambda: client.models.generate_content(model="m", contents="x"))
    assert said(error) == expected


def test_google_genai_tells_its_usage(serve: Serve) -> None:
    genai = optional("google.genai")
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 4, "thoughtsTokenCount": 5, "totalTokenCount": 12}
    url = serve(200, {}, {"candidates": [], "usageMetadata": usage})
    with genai.Client(api_key="k", http_options={"base_url": url}) as client:
        assert read_usage(client.models.generate_content(model="m", contents="x")) == 12.0


LITELLM_CASES: list[tuple[str, int, dict[str, str], object, Said]] = [
    ("openai/m", 429, {"retry-after": "7"}, OPENAI_LIMIT, ("rate", 7.0)),
    ("openai/m", 429, {}, OPENAI_LIMIT, ("rate", 8.71)),
    ("openai/m", 429, {}, OPENAI_SPENT, ("spent", None)),
    ("openai/m", 503, {"retry-after": "3"}, {"error": {"message": "x"}}, ("overloaded", 3.0)),
    ("openai/m", 401, {}, {"error": {"message": "x"}}, ("refused", None)),
    ("gemini/m", 429, {}, gemini_body("…PerMinute…"), ("rate", 27.0)),
    ("gemini/m", 429, {}, gemini_body("…PerDay…"), ("spent", None)),
    (
        "anthropic/m", 429, {"retry-after": "9"},
        {"type": "error", "error": {"type": "rate_limit_error",
                                    "details": {"error_code": "enforced_spend_limit_reached"}}},
        ("spent", None),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("model", "status", "headers", "body", "expected"), LITELLM_CASES)
@pytest.mark.filterwarnings("ignore")
def test_litellm(serve: Serve, model: str, status: int, headers: dict[str, str], body: object, expected: Said) -> None:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # its import fetches prices otherwise
    litellm = optional("litellm")
    litellm.suppress_debug_info = True
    prompt = [{"role": "user", "content": "x"}]
    url = serve(status, headers, body)
    error = raised(lambda: litellm.completion(model=model, messages=prompt, api_base=url, api_key="k", max_retries=0))
    assert said(error) == expected


@pytest.mark.filterwarnings("ignore")
def test_litellm_tells_the_retries_of_the_client_below(serve: Serve, nowhere: str) -> None:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = optional("litellm")
    litellm.suppress_debug_info = True
    prompt = [{"role": "user", "content": "x"}]

    def ask(url: str, retries: int) -> Exception:
        options = {"api_base": url, "api_key": "k", "max_retries": retries}
        return raised(lambda: litellm.completion(model="openai/m", messages=prompt, **options))

    assert client_retries(ask(serve(429, {"retry-after-ms": "1"}, OPENAI_LIMIT), 2)) == 2
    assert said(ask(nowhere, 0)) == ("transient", None)


def test_botocore(serve: Serve, nowhere: str) -> None:
    botocore = optional("botocore.session")
    config = optional("botocore.config").Config(retries={"total_max_attempts": 1})

    def ask(url: str) -> Exception:
        client = botocore.get_session().create_client(
            "bedrock-runtime", region_name="us-east-1", endpoint_url=url, config=config,
            aws_access_key_id="k", aws_secret_access_key="k",
        )  # fmt: skip
        try:
            return raised(lambda: client.converse(modelId="m", messages=[]))
        finally:
            client.close()

    def throttled(code: str) -> dict[str, str]:
        return {"x-amzn-errortype": code}

    assert said(ask(serve(429, throttled("ThrottlingException"), {"message": "x"}))) == ("rate", None)
    assert said(ask(serve(429, {"Retry-After": "7", **throttled("ThrottlingException")}))) == ("rate", 7.0)
    assert said(ask(serve(400, throttled("ThrottlingException")))) == ("rate", None)
    assert said(ask(serve(400, throttled("ValidationException")))) == ("wrong", None)
    assert said(ask(serve(503, throttled("ServiceUnavailableException")))) == ("overloaded", None)
    assert said(ask(serve(403, throttled("AccessDeniedException")))) == ("refused", None)
    assert said(ask(nowhere)) == ("transient", None)
    assert said(ask(serve(0))) == ("transient", None)
