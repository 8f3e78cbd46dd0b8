"""OpenAI's wire format: chat completions, responses and embeddings.

Error texts are its own; answers say "simulated".
"""

from __future__ import annotations

import math
from datetime import datetime

from fanmap.testing._dialect import Asked, Dialect, Json, Levels, request_id, what_is_asked
from fanmap.testing._embeddings import count_input_tokens, embeddings, read_inputs
from fanmap.testing._provider import Fate
from fanmap.testing._text import count_tokens


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


def _read_chat(body: Json) -> Asked:
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    return what_is_asked(body, body["messages"], "", limit)


def _read_responses(body: Json) -> Asked:
    asked = body["input"]
    items = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    return what_is_asked(body, items, body.get("instructions") or "", body.get("max_output_tokens"))


def _read_embeddings(body: Json) -> Asked:
    inputs = read_inputs(body)
    size = count_input_tokens(inputs)
    return Asked("\n".join(inputs), "", str(body.get("model", "simulated")), size, size, body)


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


def _openai_headers(index: int, levels: Levels, _now: datetime) -> dict[str, str]:
    headers = {"x-request-id": request_id(index), "openai-version": "2020-10-01"}
    for what, level in levels.items():
        headers[f"x-ratelimit-limit-{what}"] = f"{level.limit:.0f}"
        headers[f"x-ratelimit-remaining-{what}"] = str(int(level.remaining))
        headers[f"x-ratelimit-reset-{what}"] = go_duration(level.reset)
    return headers


OPENAI = (
    Dialect("/v1/chat/completions", _read_chat, _answer_chat, openai_error, _openai_headers),
    Dialect("/v1/responses", _read_responses, _answer_responses, openai_error, _openai_headers),
    Dialect("/v1/embeddings", _read_embeddings, _answer_embeddings, openai_error, _openai_headers),
)
