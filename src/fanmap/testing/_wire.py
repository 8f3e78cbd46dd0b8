"""The wire formats: OpenAI chat completions, responses and embeddings, Anthropic messages, Gemini generateContent.

Pure: what a request asks, and the JSON and headers of answers and errors. Error texts are the
providers' own, since that is what readers of errors must cope with; answers say "simulated".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeAlias, cast

from fanmap.testing._behaviour import Level
from fanmap.testing._embeddings import count_input_tokens, embeddings, read_inputs
from fanmap.testing._provider import Fate, Reason
from fanmap.testing._text import count_tokens

Json: TypeAlias = dict[str, Any]
Levels: TypeAlias = Mapping[Reason, Level]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request, `body`, asks: the last user message is its prompt; `tokens` count against the limit."""

    prompt: str
    system: str
    model: str
    input_tokens: int
    tokens: int
    body: Json


class Dialect(NamedTuple):
    """One provider's way of speaking at one path.

    Attributes:
        names_wait: A refusal has a Retry-After header.
    """

    path: str
    read: Callable[[Json], Asked]
    answer: Callable[[Asked, str, int, datetime], Json]
    error: Callable[..., Json]
    headers: Callable[[int, Levels, datetime], dict[str, str]]
    names_wait: bool = True


def go_duration(seconds: float) -> str:
    """As Go writes durations: 12ms, 1.2s, 2m59.56s, 1h0m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds * 1000) / 1000, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def retry_after_text(seconds: float) -> str:
    """Seconds as a header, rounded up: who waits that long is never early."""
    return f"{math.ceil(seconds * 1000 - 1e-6) / 1000:.3f}".rstrip("0").rstrip(".")


def openai_error(fate: Fate, *, model: str, code: str | None = None) -> Json:
    """The body of an OpenAI error for this fate; `code` replaces the usual one."""
    status = fate.status
    kind, usual, text = "invalid_request_error", None, f"Simulated error with status {status}."
    if code == "insufficient_quota":
        kind, text = code, "You exceeded your current quota, please check your plan and billing details."
    elif fate.reason == "concurrency":
        kind, usual = "requests", "concurrent_request_limit_exceeded"
        text = f"Your current concurrency is {fate.in_flight}, which exceeds your concurrency limit of {fate.limit:g}"
    elif status == 429:
        kind, usual = fate.reason or "requests", "rate_limit_exceeded"
        text = f"Rate limit reached for {model}"
        if fate.reason:
            text += f" on {kind} per min ({kind[0].upper()}PM): Limit {fate.limit:g}"
        text += "." if fate.wait is None else f". Please try again in {go_duration(fate.wait)}."
    elif status == 401:
        usual, text = "invalid_api_key", "Incorrect API key provided."
    elif isinstance(status, int) and status >= 500:
        kind, text = "server_error", "The server had an error while processing your request."
    return {"error": {"message": text, "type": kind, "param": None, "code": code or usual}}


_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def anthropic_error(fate: Fate, *, model: str, code: str | None = None) -> Json:
    """The body of an Anthropic error for this fate; `code` goes to `error.details.error_code`."""
    status = fate.status if isinstance(fate.status, int) else 500
    kind = _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    text = {"rate_limit_error": "Rate limited.", "overloaded_error": "Overloaded"}.get(
        kind, f"Simulated error with status {status}."
    )
    if fate.reason == "concurrency":
        text = (
            "Number of concurrent connections has exceeded your rate limit. "
            "Please try again later or contact sales to discuss your options for a rate limit increase."
        )
    elif fate.reason:
        what = "requests" if fate.reason == "requests" else "input tokens"
        text = (
            f"This request would exceed your organization's rate limit of {fate.limit:g} {what} "
            f"per minute (model: {model})."
        )
    error: Json = {"type": kind, "message": text}
    if code:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": _request_id(fate.index)}


_GEMINI_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def gemini_error(fate: Fate, *, model: str, code: str | None = None) -> Json:
    """The body of a Gemini error for this fate; `code` replaces the usual status."""
    status = fate.status if isinstance(fate.status, int) else 500
    error: Json = {
        "code": status,
        "message": f"Simulated error with status {status}.",
        "status": code or _GEMINI_STATUSES.get(status, "UNKNOWN"),
    }
    if status == 429:
        error["message"] = f"You exceeded your current quota for {model}."
        if fate.wait is not None:  # in the body alone: Gemini sends no Retry-After
            delay = retry_after_text(fate.wait) + "s"
            error["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    return {"error": error}


def models(*, after: str | None) -> Json:
    """A list of models that clients of both providers can read: one model, and none `after` it."""
    model = {
        "id": "simulated",
        "type": "model",
        "object": "model",
        "display_name": "Simulated",
        "owned_by": "fanmap.testing",
        "created": 0,
        "created_at": "1970-01-01T00:00:00Z",
    }
    if after:  # older clients don't look at has_more: they turn pages until one is empty
        return {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    return {
        "object": "list",
        "data": [model],
        "first_id": "simulated",
        "last_id": "simulated",
        "has_more": False,
    }


def _read_chat(body: Json) -> Asked:
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    return _asked(body, body["messages"], "", limit)


def _read_responses(body: Json) -> Asked:
    asked = body["input"]
    items = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    return _asked(body, items, body.get("instructions") or "", body.get("max_output_tokens"))


def _read_messages(body: Json) -> Asked:
    # Anthropic counts the input alone when a request arrives, OpenAI max_tokens as well.
    return _asked(body, body["messages"], _text(body.get("system") or ""), None)


def _read_gemini(body: Json) -> Asked:
    contents = [{"role": one.get("role", "user"), "content": one["parts"]} for one in body["contents"]]
    instruction: Json = body.get("systemInstruction") or {}
    system = _text(instruction.get("parts") or "")
    return _asked({"model": "gemini", **body}, contents, system, None)


def _read_embeddings(body: Json) -> Asked:
    inputs = read_inputs(body)
    size = count_input_tokens(inputs)
    return Asked("\n".join(inputs), "", str(body.get("model", "simulated")), size, size, body)


def _asked(body: Json, messages: list[Json], system: str, max_tokens: int | None) -> Asked:
    texts = [(message.get("role", "user"), _text(message.get("content") or "")) for message in messages]
    system += "\n".join(text for role, text in texts if role in ("system", "developer"))
    prompt = next((text for role, text in reversed(texts) if role == "user"), "")
    size = count_tokens(system) + sum(count_tokens(text) for role, text in texts if role not in ("system", "developer"))
    return Asked(prompt, system, str(body.get("model", "simulated")), size, size + (max_tokens or 0), body)


def _text(content: object) -> str:
    """The text of a message: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    parts = cast("list[Json]", content)
    return "\n".join(part["text"] for part in parts if "text" in part)


def _answer_chat(asked: Asked, text: str, index: int, now: datetime) -> Json:
    message: Json = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    output = count_tokens(text)
    return {
        "id": f"chatcmpl-simulated-{index}",
        "object": "chat.completion",
        "created": int(now.timestamp()),
        "model": asked.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": asked.input_tokens,
            "completion_tokens": output,
            "total_tokens": asked.input_tokens + output,
        },
    }


def _answer_responses(asked: Asked, text: str, index: int, now: datetime) -> Json:
    content: Json = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    output = count_tokens(text)
    return {
        "id": f"resp_simulated_{index}",
        "object": "response",
        "created_at": int(now.timestamp()),
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": asked.system or None,
        "metadata": {},
        "model": asked.model,
        "output": [
            {
                "id": f"msg_simulated_{index}",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [content],
            }
        ],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": asked.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked.input_tokens + output,
        },
    }


def _answer_embeddings(asked: Asked, _text: str, _index: int, _now: datetime) -> Json:
    return embeddings(asked.body, asked.model)


def _answer_messages(asked: Asked, text: str, index: int, _now: datetime) -> Json:
    return {
        "id": f"msg_simulated_{index}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": asked.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": count_tokens(text),
        },
    }


def _answer_gemini(asked: Asked, text: str, index: int, _now: datetime) -> Json:
    output = count_tokens(text)
    return {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": asked.input_tokens,
            "candidatesTokenCount": output,
            "totalTokenCount": asked.input_tokens + output,
        },
        "modelVersion": asked.model,
        "responseId": f"simulated-{index}",
    }


def _request_id(index: int) -> str:
    return f"req_simulated_{index}"


def _openai_headers(index: int, levels: Levels, _now: datetime) -> dict[str, str]:
    headers = {"x-request-id": _request_id(index), "openai-version": "2020-10-01"}
    for what, level in levels.items():
        headers[f"x-ratelimit-limit-{what}"] = f"{level.limit:.0f}"
        headers[f"x-ratelimit-remaining-{what}"] = str(int(level.remaining))
        headers[f"x-ratelimit-reset-{what}"] = go_duration(level.reset)
    return headers


def _anthropic_headers(index: int, levels: Levels, now: datetime) -> dict[str, str]:
    headers = {"request-id": _request_id(index)}
    for what, level in levels.items():
        # Remaining tokens are rounded to thousands, as the provider does.
        remaining = int(level.remaining) if what == "requests" else round(level.remaining, -3)
        full = (now + timedelta(seconds=math.ceil(level.reset))).strftime("%Y-%m-%dT%H:%M:%SZ")
        for name in [what] if what == "requests" else ["tokens", "input-tokens"]:
            headers[f"anthropic-ratelimit-{name}-limit"] = f"{level.limit:.0f}"
            headers[f"anthropic-ratelimit-{name}-remaining"] = f"{remaining:.0f}"
            headers[f"anthropic-ratelimit-{name}-reset"] = full
    return headers


def _gemini_headers(_index: int, _levels: Levels, _now: datetime) -> dict[str, str]:
    return {}


DIALECTS = (
    Dialect("/v1/chat/completions", _read_chat, _answer_chat, openai_error, _openai_headers),
    Dialect("/v1/responses", _read_responses, _answer_responses, openai_error, _openai_headers),
    Dialect("/v1/embeddings", _read_embeddings, _answer_embeddings, openai_error, _openai_headers),
    Dialect("/v1/messages", _read_messages, _answer_messages, anthropic_error, _anthropic_headers),
    Dialect(
        "/{version}/models/{model}:generateContent",
        _read_gemini,
        _answer_gemini,
        gemini_error,
        _gemini_headers,
        names_wait=False,
    ),
)
