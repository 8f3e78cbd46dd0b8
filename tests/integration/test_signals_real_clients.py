"""What the real clients raise against a scripted server is read as the table says.

openai, anthropic, httpx and requests are required; the others are tested where they are installed, as they are in CI
(`.ci/clients-requirements.txt`).
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import json
import os
import socket
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import tenacity
from tests.bodies import BODIES

from fanmap import Retry, parallel_map
from fanmap._policy.failures.hidden import client_retries
from fanmap._policy.failures.signals import read_error
from fanmap._policy.tokens.tokens import read_usage
from fanmap.testing import Reply
from fanmap.testing import serve as serve_openai

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
def nowhere() -> Iterator[str]:
    """An address at which nobody listens, nor can begin to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def optional(name: str) -> Any:
    """Import a client whose import warns, or skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = pytest.importorskip(name.partition(".")[0])
        if getattr(first, "__file__", None) is None:  # a namespace, as `google`, which others put something into
            pytest.importorskip(".".join(name.split(".")[:2]))
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
    (429, {}, {"error": {"code": "limit_burst_rate", "message": "x"}}, ("ramp", None)),
    (429, {}, [{"error": {"details": [{"retryDelay": "27s"}]}}], ("rate", 27.0)),
    (429, {"x-should-retry": "false"}, {}, ("permanent", None)),
    (400, {"x-should-retry": "true"}, {}, ("transient", None)),
    (503, {}, {"error": {"retry_after": 10}}, ("overloaded", 10.0)),
    (502, {}, b"<html>Bad gateway</html>", ("transient", None)),
    (500, {}, {}, ("transient", None)),
    (402, {}, {}, ("spent", None)),
    (401, {}, {}, ("forbidden", None)),
    (404, {}, {}, ("permanent", None)),
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
    assert said(error) == ("permanent", None)


def test_openai_error_inside_a_stream(serve: Serve) -> None:
    openai = optional("openai")
    body = b'data: {"error": {"message": "x", "type": "server_error"}}\n\n'
    url = serve(200, {"content-type": "text/event-stream"}, body)
    with openai.OpenAI(api_key="k", base_url=url, max_retries=0) as client:
        error = raised(lambda: list(client.chat.completions.create(model="m", messages=[], stream=True)))
    assert isinstance(error, openai.APIError)
    assert said(error) == ("transient", None)


Ask = Callable[[], Exception]


@contextmanager
def by_openai(url: str, name: str) -> Iterator[Ask]:
    with getattr(optional(name.lower()), name)(api_key="k", base_url=url, max_retries=0) as client:
        yield lambda: raised(lambda: client.chat.completions.create(model="m", messages=[]))


@contextmanager
def by_anthropic(url: str, name: str) -> Iterator[Ask]:
    with optional("anthropic").Anthropic(api_key="k", base_url=url, max_retries=0) as client:
        yield lambda: raised(lambda: client.messages.create(model="m", messages=[], max_tokens=1))


@contextmanager
def by_http(url: str, name: str) -> Iterator[Ask]:
    module = optional(name)
    with module.Session() if name == "requests" else module.Client() as client:
        yield lambda: raised(client.post(url, timeout=120).raise_for_status)


@contextmanager
def by_urllib(url: str, name: str) -> Iterator[Ask]:
    from urllib.request import urlopen

    with ExitStack() as errors:

        def ask() -> Exception:
            error: Any = errors.enter_context(raised(lambda: urlopen(url)))  # type: ignore[arg-type]
            error.fp.fp.peek()  # waits for the body, which reading the error does not
            return error  # type: ignore[no-any-return]

        yield ask


@contextmanager
def by_litellm(url: str, name: str) -> Iterator[Ask]:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = optional("litellm")
    litellm.suppress_debug_info = True
    options = {"messages": [{"role": "user", "content": "x"}], "api_base": url, "api_key": "k", "max_retries": 0}
    yield lambda: raised(lambda: litellm.completion(model=name, **options))


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (by_openai, "OpenAI"), (by_openai, "Groq"), (by_anthropic, "Anthropic"), (by_http, "httpx"),
        (by_http, "httpx2"), (by_http, "requests"), (by_urllib, "urllib"), (by_litellm, "openai/m"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_every_body_of_the_table_is_read_through_this_client(serve: Serve, client: Any, name: str) -> None:
    wrong = []
    with client(serve(200), name) as ask:
        for body in BODIES:
            serve(body.status, dict(body.headers), body.body.encode() if isinstance(body.body, str) else body.body)
            found = said(ask())
            if found != (body.kind, body.wait):
                wrong.append(f"{body.provider} {body.status}: {found}, not {(body.kind, body.wait)} ({body.address})")
    assert not wrong, "\n".join(wrong)


class InsideA200(Exception):
    """The lines of `docs/how-to/other.md`."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__("an error inside a 200")
        self.status_code, self.body = error.get("code"), error


@pytest.mark.parametrize(
    ("error", "sent", "raised_at_last"),
    [
        (
            {
                "code": 429,
                "message": "Provider returned error",
                "metadata": {"raw": '{"error": {"retry_after": 0.01}}'},
            },
            4,
            False,
        ),
        ({"code": 429, "message": "Rate limit exceeded", "metadata": {"retry_after": 0.01}}, 4, False),
        ({"code": 429, "message": "Rate limit exceeded: free-models-per-day."}, 1, True),
        ({"code": 402, "message": "Insufficient credits"}, 1, True),
        ({"code": 400, "message": "Provider returned error"}, 1, True),
    ],
)
def test_a_200_with_an_error_inside_is_read_like_any_other(
    error: dict[str, Any], sent: int, raised_at_last: bool
) -> None:
    openai = optional("openai")
    refusals = iter([Reply(200, body={"id": "x", "choices": None, "error": error})] * 3)
    with (
        serve_openai(respond=lambda request: next(refusals, None)) as server,
        openai.OpenAI(api_key="k", base_url=server.openai_url, max_retries=0) as client,
    ):

        @parallel_map(max_concurrency=1)
        def ask(prompt: str) -> object:
            reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])
            if inside := getattr(reply, "error", None):
                raise InsideA200(inside)
            return reply.choices[0].message.content

        results = ask.map(["a prompt"], return_exceptions=True)
        assert isinstance(results[0], InsideA200) == raised_at_last
        assert len(server.log) == sent


def test_a_200_with_an_error_inside_is_asked_for_again_by_one_line() -> None:
    openai = optional("openai")
    refusals = iter([Reply(200, body={"id": "x", "choices": None, "error": {"code": 502, "message": "x"}})] * 2)
    with (
        serve_openai(respond=lambda request: next(refusals, None)) as server,
        openai.OpenAI(api_key="k", base_url=server.openai_url, max_retries=0) as client,
    ):
        unanswered = tenacity.retry_if_result(lambda reply: reply.choices is None)

        @parallel_map(retry=Retry(on=unanswered, wait=0))
        def ask(prompt: str) -> Any:
            return client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])

        assert ask("a prompt").choices[0].message.content
        assert len(server.log) == 3


@pytest.fixture
def kept_alive(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server keeps its connections, and hangs up at the end, so that it can end while the client lives."""
    connections: list[socket.socket] = []
    begin = Handler.setup

    def setup(handler: Handler) -> None:
        begin(handler)
        connections.append(handler.connection)

    monkeypatch.setattr(Handler, "setup", setup)
    monkeypatch.setattr(Handler, "protocol_version", "HTTP/1.1")
    monkeypatch.setattr(Handler, "keep_alive", True)
    yield
    for connection in connections:
        with suppress(OSError):  # it is closed
            connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("name", ["AsyncOpenAI", "AsyncAnthropic"])
@pytest.mark.filterwarnings("ignore")  # the first loop's connection is left to the collector
def test_an_async_client_on_another_event_loop_is_misuse(serve: Serve, kept_alive: None, name: str) -> None:
    module = optional(name.removeprefix("Async").lower())
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
    assert verdict == ("permanent", None)
    assert "RuntimeError('Event loop is closed')" in chain
    gc.collect()


ANTHROPIC_CASES: list[tuple[int, dict[str, str], dict[str, object], Said]] = [
    (429, {"retry-after": "7"}, {"type": "rate_limit_error"}, ("rate", 7.0)),
    (429, {"retry-after": "7"}, {"details": {"error_code": "ramp_limit_exceeded"}}, ("rate", 7.0)),
    (429, {}, {"details": {"error_code": "enforced_spend_limit_reached"}}, ("spent", None)),
    (429, {}, {"message": "Number of concurrent connections has exceeded your limit"}, ("concurrency", None)),
    (429, {}, {"message": "This would exceed your maximum usage increase rate"}, ("ramp", None)),
    (400, {}, {"message": "Your credit balance is too low to access the Anthropic API."}, ("spent", None)),
    (400, {}, {"message": "messages: required"}, ("permanent", None)),
    (402, {}, {"type": "billing_error"}, ("spent", None)),
    (403, {}, {"type": "permission_error"}, ("forbidden", None)),
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
    post = functools.partial(optional(name).post, timeout=120)
    answer = post(serve(429, {"Retry-After": "7"}, OPENAI_LIMIT))
    assert said(raised(answer.raise_for_status)) == ("rate", 7.0)
    answer = post(serve(429, {}, OPENAI_LIMIT))
    assert said(raised(answer.raise_for_status)) == ("rate", 8.71)
    answer = post(serve(429, {}, OPENAI_SPENT))
    assert said(raised(answer.raise_for_status)) == ("spent", None)
    answer = post(serve(503, {}, b"busy"))
    assert said(raised(answer.raise_for_status)) == ("overloaded", None)
    assert said(raised(lambda: post(nowhere))) == ("transient", None)
    assert said(raised(lambda: post(serve(0)))) == ("transient", None)
    assert said(raised(lambda: post("127.0.0.1/v1"))) == ("permanent", None)


def test_requests_with_urllib3s_own_repeats(serve: Serve) -> None:
    requests = optional("requests")
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    def asked(url: str, **options: Any) -> Exception:
        repeats = Retry(total=2, status_forcelist=[429, 503], allowed_methods=None, backoff_factor=0, **options)
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=repeats))
            return raised(lambda: session.post(url).raise_for_status())

    error = asked(serve(429, {}, OPENAI_LIMIT))
    assert isinstance(error, requests.exceptions.RetryError)
    assert said(error) == ("rate", None)
    assert client_retries(error) == 1  # at least
    assert said(asked(serve(503))) == ("overloaded", None)
    error = asked(serve(429, {}, OPENAI_LIMIT), raise_on_status=False)
    assert isinstance(error, requests.HTTPError)
    assert said(error) == ("rate", 8.71)
    assert client_retries(error) == 2
    assert said(asked(serve(429, {}, OPENAI_SPENT), raise_on_status=False)) == ("spent", None)


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


def test_urllibs_body_is_looked_at_and_left_where_it_is(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import HTTPError
    from urllib.request import urlopen

    monkeypatch.setattr(Handler, "wbufsize", -1)  # head and body in one piece: what has not arrived is not seen
    for body, expected in ((OPENAI_SPENT, ("spent", None)), (OPENAI_LIMIT, ("rate", 8.71))):
        url = serve(429, {}, body)
        error = raised(lambda: urlopen(url))  # noqa: B023
        assert isinstance(error, HTTPError)
        with error:
            assert said(error) == expected
            assert json.loads(error.read()) == body


def test_aiohttp(serve: Serve, nowhere: str) -> None:
    aiohttp = optional("aiohttp")

    async def post(url: str) -> None:
        async with aiohttp.ClientSession(raise_for_status=True) as session, session.post(url):
            pass

    def outcome(url: str) -> Said:
        return said(raised(lambda: asyncio.run(post(url))))

    assert outcome(serve(429, {"Retry-After": "7"})) == ("rate", 7.0)
    assert outcome(serve(503)) == ("overloaded", None)
    assert outcome(serve(403)) == ("forbidden", None)
    assert outcome(nowhere) == ("transient", None)
    assert outcome(serve(0)) == ("transient", None)


def test_aiohttps_body_is_kept_by_three_lines(serve: Serve) -> None:
    """aiohttp throws the body away before it raises; the lines are those of `docs/how-to/other.md`."""
    aiohttp = optional("aiohttp")

    async def keep_the_body(response: Any) -> None:
        if not response.ok:
            body = await response.text()
            raise aiohttp.ClientResponseError(
                response.request_info, response.history,
                status=response.status, message=body, headers=response.headers,
            )  # fmt: skip

    async def post(url: str, raise_for_status: Any) -> None:
        async with aiohttp.ClientSession(raise_for_status=raise_for_status) as session, session.post(url):
            pass

    def outcome(url: str, raise_for_status: Any = keep_the_body) -> Said:
        return said(raised(lambda: asyncio.run(post(url, raise_for_status))))

    assert outcome(serve(429, {}, OPENAI_SPENT), True) == ("rate", None)
    assert outcome(serve(429, {}, OPENAI_SPENT)) == ("spent", None)
    assert outcome(serve(429, {}, OPENAI_LIMIT)) == ("rate", 8.71)
    assert outcome(serve(429, {"retry-after": "3"}, OPENAI_LIMIT)) == ("rate", 3.0)


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
    (400, {"error": {"code": 400, "message": "x", "status": "INVALID_ARGUMENT"}}, ("permanent", None)),
    (403, {"error": {"code": 403, "message": "x", "status": "PERMISSION_DENIED"}}, ("forbidden", None)),
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
    ("openai/m", 401, {}, {"error": {"message": "x"}}, ("forbidden", None)),
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
    assert said(ask(serve(400, throttled("ValidationException")))) == ("permanent", None)
    assert said(ask(serve(503, throttled("ServiceUnavailableException")))) == ("overloaded", None)
    assert said(ask(serve(403, throttled("AccessDeniedException")))) == ("forbidden", None)
    assert said(ask(nowhere)) == ("transient", None)
    assert said(ask(serve(0))) == ("transient", None)


def stream_event(kind: str, message: str) -> bytes:
    """An AWS event that ends a stream (application/vnd.amazon.eventstream)."""
    headers = b""
    for name, value in (
        (":message-type", "exception"),
        (":exception-type", kind),
        (":content-type", "application/json"),
    ):
        headers += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    payload = json.dumps({"message": message}).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    event = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return event + struct.pack(">I", zlib.crc32(event))


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        ("throttlingException", "Too many tokens, please wait before trying again.", ("rate", None)),
        ("throttlingException", "Too many tokens per day, please wait before trying again.", ("spent", None)),
        ("serviceUnavailableException", "x", ("overloaded", None)),
        ("internalServerException", "x", ("transient", None)),
        ("modelStreamErrorException", "x", ("transient", None)),
        ("validationException", "x", ("permanent", None)),
    ],
)
def test_botocores_event_stream(serve: Serve, kind: str, message: str, expected: Said) -> None:
    boto3 = optional("boto3")
    exceptions = optional("botocore.exceptions")
    url = serve(200, {"content-type": "application/vnd.amazon.eventstream"}, stream_event(kind, message))
    client = boto3.client(
        "bedrock-runtime", region_name="us-east-1", endpoint_url=url, aws_access_key_id="k", aws_secret_access_key="k",
        config=optional("botocore.config").Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip
    try:
        reply = client.converse_stream(modelId="m", messages=[])
        error = raised(lambda: list(reply["stream"]))
    finally:
        client.close()
    assert isinstance(error, exceptions.EventStreamError)
    assert said(error) == expected


def test_botocore_has_bedrocks_day_in_words(serve: Serve) -> None:
    boto3 = optional("boto3")
    url = serve(429, {"x-amzn-errortype": "ThrottlingException"}, {"message": "Too many tokens per day, please wait."})
    client = boto3.client(
        "bedrock-runtime", region_name="us-east-1", endpoint_url=url, aws_access_key_id="k", aws_secret_access_key="k",
        config=optional("botocore.config").Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip
    try:
        assert said(raised(lambda: client.converse(modelId="m", messages=[]))) == ("spent", None)
    finally:
        client.close()


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (498, {}, {"error": {"message": "x", "code": "capacity_exceeded"}}, ("overloaded", None)),
        (429, {"retry-after": "7"}, OPENAI_LIMIT, ("rate", 7.0)),
        (413, {}, {"error": {"message": "Request too large", "code": "rate_limit_exceeded"}}, ("permanent", None)),
    ],
)
def test_groq(serve: Serve, status: int, headers: dict[str, str], body: object, expected: Said) -> None:
    groq = optional("groq")
    with groq.Groq(api_key="k", base_url=serve(status, headers, body), max_retries=0) as client:
        error = raised(lambda: client.chat.completions.create(model="m", messages=[]))
    assert isinstance(error, groq.APIStatusError)
    assert said(error) == expected


@pytest.mark.parametrize("name", ["OpenAI", "Groq"])
def test_one_prompt_above_the_whole_limit_never_fits(serve: Serve, name: str) -> None:
    text = "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested {}."
    module = optional(name.lower())
    for asked, expected in ((30_601, ("permanent", None)), (29_999, ("rate", None))):
        body = {"error": {"message": text.format(asked), "type": "tokens", "code": "rate_limit_exceeded"}}
        with getattr(module, name)(api_key="k", base_url=serve(429, {}, body), max_retries=0) as client:
            assert said(raised(lambda: client.chat.completions.create(model="m", messages=[]))) == expected


VOYAGE_CARD = (
    "You have not yet added your payment method in the billing page and will have reduced rate limits of 3 RPM."
)


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (429, {"Retry-After": "3"}, {"detail": VOYAGE_CARD}, ("rate", 3.0)),
        (429, {}, {"detail": VOYAGE_CARD}, ("rate", None)),
        (429, {}, {"detail": "You have used all available credits."}, ("spent", None)),
        (401, {}, {"detail": "x"}, ("forbidden", None)),
        (400, {}, {"detail": "x"}, ("permanent", None)),
        (503, {}, {"detail": "x"}, ("overloaded", None)),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_voyageai(serve: Serve, status: int, headers: dict[str, str], body: object, expected: Said) -> None:
    voyageai = optional("voyageai")
    client = voyageai.Client(api_key="k", base_url=serve(status, headers, body), max_retries=0)
    assert said(raised(lambda: client.embed(["x"], model="voyage-3"))) == expected


@pytest.mark.parametrize("name", ["groq", "voyageai"])
@pytest.mark.filterwarnings("ignore")
def test_a_connection_that_failed_is_transient_through_this_client_too(serve: Serve, nowhere: str, name: str) -> None:
    module = optional(name)

    def ask(url: str) -> None:
        if name == "voyageai":
            module.Client(api_key="k", base_url=url, max_retries=0).embed(["x"], model="voyage-3")
        else:
            with module.Groq(api_key="k", base_url=url, max_retries=0) as client:
                client.chat.completions.create(model="m", messages=[])

    assert said(raised(lambda: ask(nowhere))) == ("transient", None)
    assert said(raised(lambda: ask(serve(0)))) == ("transient", None)


DATABRICKS_CASES: list[tuple[int, dict[str, str], str, Said]] = [
    (403, {}, "PERMISSION_DENIED", ("forbidden", None)),
    (400, {}, "BAD_REQUEST", ("permanent", None)),
    (404, {}, "RESOURCE_DOES_NOT_EXIST", ("permanent", None)),
    (500, {}, "INTERNAL_ERROR", ("transient", None)),
    (504, {}, "DEADLINE_EXCEEDED", ("transient", None)),
]


@pytest.mark.parametrize(("status", "headers", "code", "expected"), DATABRICKS_CASES)
@pytest.mark.filterwarnings("ignore")
def test_databricks_sdk(serve: Serve, status: int, headers: dict[str, str], code: str, expected: Said) -> None:
    errors = optional("databricks.sdk.errors")
    error = asked_databricks(serve(status, headers, {"error_code": code, "message": "x"}))
    assert isinstance(error, errors.DatabricksError)
    assert said(error) == expected


def asked_databricks(url: str) -> Exception:
    sdk, core = optional("databricks.sdk"), optional("databricks.sdk.core")
    config = core.Config(host=url, token="k", retry_timeout_seconds=1)
    client = sdk.WorkspaceClient(config=config)
    return raised(lambda: client.serving_endpoints.query("m", prompt="x"))


@pytest.mark.filterwarnings("ignore")
def test_databricks_sdks_refusals_come_after_its_own_repeats(serve: Serve) -> None:
    """It repeats a 429 by itself, until its time is over; then there is a TimeoutError above the refusal."""
    errors = optional("databricks.sdk.errors")
    body = {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "Exceeded output tokens per minute rate limit for m"}
    error = asked_databricks(serve(429, {"retry-after": "1"}, body))
    assert type(error) is TimeoutError
    assert isinstance(error.__cause__, errors.TooManyRequests)
    assert said(error.__cause__) == said(error) == ("rate", 1.0)
    assert client_retries(error) == 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (503, {"error": "Model m is currently loading", "estimated_time": 20.0}, ("overloaded", 20.0)),
        (402, {"error": "You have exceeded your monthly included credits."}, ("spent", None)),
        (429, {"error": "Model is overloaded", "error_type": "overloaded"}, ("rate", None)),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_huggingface_hub(serve: Serve, status: int, body: object, expected: Said) -> None:
    hub = optional("huggingface_hub")
    client = hub.InferenceClient(base_url=serve(status, {}, body))
    assert said(raised(lambda: client.text_generation("x"))) == expected


@pytest.mark.filterwarnings("ignore")
def test_ollama(serve: Serve) -> None:
    ollama = optional("ollama")
    url = serve(503, {}, {"error": "server busy, please try again.  maximum pending requests exceeded"})
    error = raised(lambda: ollama.Client(host=url).chat(model="m", messages=[]))
    assert said(error) == ("overloaded", 0.0)
    assert read_error(error, wall=0.0).refused_to_start


@pytest.mark.filterwarnings("ignore")
def test_mistralai(serve: Serve) -> None:
    mistral = optional("mistralai.client")
    prompt = [{"role": "user", "content": "x"}]
    body = {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"}
    with mistral.Mistral(api_key="k", server_url=serve(429, {"retry-after": "7"}, body)) as client:
        assert said(raised(lambda: client.chat.complete(model="m", messages=prompt))) == ("rate", 7.0)
    with mistral.Mistral(api_key="k", server_url=serve(429, {}, {"message": "Monthly quota exceeded"})) as client:
        assert said(raised(lambda: client.chat.complete(model="m", messages=prompt))) == ("spent", None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You are using a Trial key, which is limited to 1000 API calls / month.", ("spent", None)),
        ("You are using a Trial key, which is limited to 20 API calls / minute.", ("rate", None)),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_cohere(serve: Serve, text: str, expected: Said) -> None:
    cohere = optional("cohere")
    client = cohere.ClientV2("k", base_url=serve(429, {}, {"message": text}))
    prompt = [{"role": "user", "content": "x"}]
    options = {"max_retries": 0}
    assert said(raised(lambda: client.chat(model="m", messages=prompt, request_options=options))) == expected


# gRPC


Refuse = Callable[..., str]


@pytest.fixture
def refuse() -> Iterator[Refuse]:
    """Start a gRPC server that refuses every call as told; its address."""
    grpc, rpc_status = optional("grpc"), optional("grpc_status.rpc_status")
    status_pb2, any_pb2 = optional("google.rpc.status_pb2"), optional("google.protobuf.any_pb2")
    from concurrent.futures import ThreadPoolExecutor

    told: list[Any] = []

    def answer(request: object, context: Any) -> None:
        code, text, details, trailing = told
        context.set_trailing_metadata(trailing)
        if not details:
            context.abort(code, text)
        status = status_pb2.Status(code=code.value[0], message=text)
        for detail in details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        context.abort_with_status(rpc_status.to_status(status))

    class Anything(grpc.GenericRpcHandler):  # type: ignore[misc, name-defined]
        def service(self, handler_call_details: object) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)

    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        server.add_generic_rpc_handlers((Anything(),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()

        def script(code: str, text: str = "x", *details: Any, trailing: Any = ()) -> str:
            told[:] = [getattr(grpc.StatusCode, code), text, details, trailing]
            return f"127.0.0.1:{port}"

        yield script
        server.stop(None).wait()


def retry_info(seconds: int, nanos: int = 0) -> Any:
    details, duration = optional("google.rpc.error_details_pb2"), optional("google.protobuf.duration_pb2")
    return details.RetryInfo(retry_delay=duration.Duration(seconds=seconds, nanos=nanos))


def quota_failure(quota: str) -> Any:
    details = optional("google.rpc.error_details_pb2")
    violation = details.QuotaFailure.Violation(subject="s", description="d", quota_id=quota, quota_metric="m")
    return details.QuotaFailure(violations=[violation])


def error_info(**metadata: str) -> Any:
    details = optional("google.rpc.error_details_pb2")
    return details.ErrorInfo(reason="RATE_LIMIT_EXCEEDED", domain="googleapis.com", metadata=metadata)


XAI_SPENT = "Your team T has either used all available credits or reached its monthly spending limit."


def rpc_cases() -> list[tuple[str, str, Callable[[], list[Any]], list[tuple[str, str]], Said]]:
    return [
        ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).", list, [], ("rate", None)),
        ("RESOURCE_EXHAUSTED", "x", lambda: [retry_info(7, 500_000_000)], [], ("rate", 7.5)),
        ("RESOURCE_EXHAUSTED", "x", lambda: [quota_failure("RequestsPerMinute"), retry_info(27)], [], ("rate", 27.0)),
        ("RESOURCE_EXHAUSTED", "x", lambda: [quota_failure("RequestsPerDay"), retry_info(27)], [], ("spent", None)),
        ("RESOURCE_EXHAUSTED", "x", lambda: [error_info(quota_limit="RequestsPerDay")], [], ("spent", None)),
        ("RESOURCE_EXHAUSTED", XAI_SPENT, list, [], ("spent", None)),
        ("PERMISSION_DENIED", XAI_SPENT, list, [], ("spent", None)),
        ("PERMISSION_DENIED", "x", list, [], ("forbidden", None)),
        ("UNAUTHENTICATED", "x", list, [], ("forbidden", None)),
        ("UNAVAILABLE", "x", list, [], ("overloaded", None)),
        ("UNAVAILABLE", "x", lambda: [retry_info(3)], [], ("overloaded", 3.0)),
        ("DEADLINE_EXCEEDED", "x", list, [], ("transient", None)),
        ("ABORTED", "x", list, [], ("transient", None)),
        ("INTERNAL", "x", list, [], ("transient", None)),
        ("UNKNOWN", "x", list, [], ("transient", None)),
        ("INVALID_ARGUMENT", XAI_SPENT, list, [], ("permanent", None)),
        ("NOT_FOUND", "x", list, [], ("permanent", None)),
        ("RESOURCE_EXHAUSTED", "x", list, [("retry-after", "5")], ("rate", 5.0)),
    ]


@pytest.mark.parametrize(("code", "text", "details", "trailing", "expected"), rpc_cases())
@pytest.mark.parametrize("name", ["grpc", "grpc.aio", "google-api-core"])
@pytest.mark.filterwarnings("ignore")
def test_grpc(
    refuse: Refuse, name: str, code: str, text: str, details: Any, trailing: list[tuple[str, str]], expected: Said
) -> None:
    grpc = optional("grpc")
    address = refuse(code, text, *details(), trailing=trailing)

    async def asked() -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            await channel.unary_unary("/package.Service/Method")(b"")

    def ask() -> None:
        with grpc.insecure_channel(address) as channel:
            channel.unary_unary("/package.Service/Method")(b"")

    error = raised((lambda: asyncio.run(asked())) if name == "grpc.aio" else ask)
    assert isinstance(error, grpc.RpcError)
    if name == "google-api-core":
        exceptions = optional("google.api_core.exceptions")
        error = exceptions.from_grpc_error(error)
        assert isinstance(error, exceptions.GoogleAPICallError)
        if trailing:
            return  # it keeps the details only
    assert said(error) == expected


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("longest", ["grpc.max_send_message_length", "grpc.max_receive_message_length"])
@pytest.mark.parametrize("side", ["client", "server"])
def test_a_grpc_message_above_the_largest_size_is_its_items_own(side: str, longest: str) -> None:
    grpc = optional("grpc")
    from concurrent.futures import ThreadPoolExecutor

    class Echo(grpc.GenericRpcHandler):  # type: ignore[misc, name-defined]
        def service(self, handler_call_details: object) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: request)

    options = [(longest, 100)]
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads, options=options if side == "server" else [])
        server.add_generic_rpc_handlers((Echo(),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options if side == "client" else []) as channel:
            call = channel.unary_unary("/a/b")
            assert call(b"x" * 90) == b"x" * 90
            error = raised(lambda: call(b"x" * 101))
        server.stop(None).wait()
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
    assert said(error) == ("permanent", None)


@pytest.mark.filterwarnings("ignore")
def test_grpc_that_reaches_nobody_and_a_call_that_is_under_way(refuse: Refuse, nowhere: str) -> None:
    grpc = optional("grpc")
    with grpc.insecure_channel(nowhere.removeprefix("http://")) as channel:
        assert said(raised(lambda: channel.unary_unary("/a/b")(b"", timeout=30))) == ("overloaded", None)
        call = channel.unary_unary("/a/b").future(b"", wait_for_ready=True)
        assert said(call) == ("permanent", None)  # and does not wait for its end
        call.cancel()


@pytest.mark.filterwarnings("ignore")
def test_googles_own_repeats_end_with_the_servers_error(refuse: Refuse) -> None:
    grpc, exceptions, retry = (
        optional("grpc"),
        optional("google.api_core.exceptions"),
        optional("google.api_core.retry"),
    )
    address = refuse("RESOURCE_EXHAUSTED", "x", retry_info(7))

    def ask() -> None:
        with grpc.insecure_channel(address) as channel:
            try:
                channel.unary_unary("/a/b")(b"")
            except grpc.RpcError as error:
                raise exceptions.from_grpc_error(error)

    again = retry.Retry(retry.if_exception_type(exceptions.ResourceExhausted), initial=0.01, timeout=0.05)
    error = raised(lambda: again(ask)())
    assert isinstance(error, exceptions.RetryError)
    assert said(error) == ("rate", 7.0)
    assert client_retries(error) == 1


@pytest.mark.parametrize(("code", "text", "details", "trailing", "expected"), rpc_cases())
@pytest.mark.filterwarnings("ignore")
def test_xai_sdk(
    refuse: Refuse, code: str, text: str, details: Any, trailing: list[tuple[str, str]], expected: Said
) -> None:
    if code == "UNAVAILABLE":
        pytest.skip("it repeats this one by itself, up to four times")
    sdk, chats = optional("xai_sdk"), optional("xai_sdk.chat")
    address = refuse(code, text, *details(), trailing=trailing)
    client = sdk.Client(api_key="k", api_host=address, use_insecure_channel=True)
    try:
        error = raised(lambda: client.chat.create(model="m", messages=[chats.user("x")]).sample())
    finally:
        client.close()
    assert isinstance(error, optional("grpc").RpcError)
    assert said(error) == expected

    async def asked() -> None:
        async with sdk.AsyncClient(api_key="k", api_host=address, use_insecure_channel=True) as aclient:
            await aclient.chat.create(model="m", messages=[chats.user("x")]).sample()

    assert said(raised(lambda: asyncio.run(asked()))) == expected
