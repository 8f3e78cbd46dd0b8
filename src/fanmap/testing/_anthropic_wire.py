"""Anthropic's wire format: messages. Error texts are its own; answers say "simulated"."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from fanmap.testing._dialect import Asked, Dialect, Json, Levels, request_id, text_of, what_is_asked
from fanmap.testing._provider import Fate
from fanmap.testing._text import count_tokens

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


def _anthropic_error(fate: Fate, *, model: str, code: str | None = None) -> Json:
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
    return {"type": "error", "error": error, "request_id": request_id(fate.index)}


def _read_messages(body: Json) -> Asked:
    # Anthropic counts the input alone when a request arrives, OpenAI max_tokens as well.
    return what_is_asked(body, body["messages"], text_of(body.get("system") or ""), None)


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


def _anthropic_headers(index: int, levels: Levels, now: datetime) -> dict[str, str]:
    headers = {"request-id": request_id(index)}
    for what, level in levels.items():
        # Remaining tokens are rounded to thousands, as the provider does.
        remaining = int(level.remaining) if what == "requests" else round(level.remaining, -3)
        full = (now + timedelta(seconds=math.ceil(level.reset))).strftime("%Y-%m-%dT%H:%M:%SZ")
        for name in [what] if what == "requests" else ["tokens", "input-tokens"]:
            headers[f"anthropic-ratelimit-{name}-limit"] = f"{level.limit:.0f}"
            headers[f"anthropic-ratelimit-{name}-remaining"] = f"{remaining:.0f}"
            headers[f"anthropic-ratelimit-{name}-reset"] = full
    return headers


ANTHROPIC = Dialect("/v1/messages", _read_messages, _answer_messages, _anthropic_error, _anthropic_headers)
