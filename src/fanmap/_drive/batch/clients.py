"""What a request is to its client: as it would send it, and a response as it would get it.

httpx, httpx2 and requests, by their public faces; none of them is imported here.
"""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from http.client import responses as reasons
from io import BytesIO
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from fanmap._drive.wire.observing import Request
from fanmap._drive.wire.wires import ASYNC_HTTPX, HTTPX, REQUESTS
from fanmap._policy.json_text import compact

# What belongs to one request, and not to those that a hand-in makes.
_OWN: Final = frozenset({
    "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "host",
    "idempotency-key", "transfer-encoding",
})  # fmt: skip


class Outgoing(NamedTuple):
    """A request as its client would send it; `headers` by lower-case name."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None


def take(request: Request) -> Outgoing | None:
    """What a client is about to send; None where it is none that can be taken."""
    if request.wire not in (HTTPX, ASYNC_HTTPX, REQUESTS):
        return None
    sent: Any = request.args[0] if request.args else request.kwargs.get("request")
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.wire.headers(sent):
        name, value = _text(raw_name).lower(), _text(raw_value)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    password = unquote(urlsplit(str(sent.url)).netloc.rpartition("@")[0])
    if password.strip(":"):  # of the URL, where it is not kept; to a client it goes before a header
        headers["authorization"] = f"Basic {b64encode(password.encode()).decode()}"
    if request.wire is REQUESTS:
        body = sent.body.encode() if isinstance(sent.body, str) else sent.body
        return Outgoing(sent.method, sent.url, headers, body if isinstance(body, bytes) else None)
    try:
        body = sent.content
    except Exception:  # a stream that has not been read
        body = None
    return Outgoing(sent.method, str(sent.url), headers, body)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def respond(request: Request, status: int, body: Any, marks: Mapping[str, str]) -> Any:
    """The response that the client is handed, as if it had come over the wire; of an async one, perhaps to be awaited.

    The client's own hooks see it, as they see any: one may raise for its status.
    """
    sent: Any = request.args[0] if request.args else request.kwargs.get("request")
    content = compact(body).encode("utf-8", "surrogatepass")
    headers = {"content-type": "application/json", "content-length": str(len(content)), **marks}
    package = sys.modules[type(sent).__module__.partition(".")[0]]
    response: Any
    if request.wire is REQUESTS:
        response = package.Response()
        response.status_code, response.reason = status, reasons.get(status, "")
        raw: Any = sys.modules["urllib3"].HTTPResponse  # for who reads `response.raw`
        response.raw = raw(BytesIO(content), headers, status, reason=response.reason, preload_content=False)
        response.headers.update(headers)
        response._content, response._content_consumed = content, True
        response.encoding = "utf-8"
        response.request, response.url = sent, sent.url
        given = {name: value for name, value in request.kwargs.items() if name != "allow_redirects"}
        return package.hooks.dispatch_hook("response", sent.hooks, response, **given)
    if request.kwargs.get("stream"):  # it has not been read
        response = package.Response(status, headers=headers, stream=package.ByteStream(content), request=sent)
    else:
        response = package.Response(status, headers=headers, content=content, request=sent)
    response.elapsed = timedelta(0)
    hooks: list[Callable[[Any], Any]] = request.client.event_hooks["response"]
    if request.wire is ASYNC_HTTPX and hooks:
        return _after_hooks(response, hooks)
    for hook in hooks:
        hook(response)
    return response


async def _after_hooks(response: Any, hooks: Iterable[Callable[[Any], Any]]) -> Any:
    for hook in hooks:
        await hook(response)
    return response


def meant_for_all(headers: Mapping[str, str]) -> dict[str, str]:
    """Of a request's headers those that the batch's own requests have as well."""
    return {name: value for name, value in headers.items() if name not in _OWN and not name.startswith("x-stainless-")}
