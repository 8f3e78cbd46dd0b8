"""Gemini's wire format: generateContent. Error texts are its own; answers say "simulated"."""

from __future__ import annotations

from datetime import datetime

from fanmap.testing._dialect import Asked, Dialect, Json, Levels, retry_after_text, text_of, what_is_asked
from fanmap.testing._provider import Fate
from fanmap.testing._text import count_tokens

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


def _gemini_error(fate: Fate, *, model: str, code: str | None = None) -> Json:
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


def _read_gemini(body: Json) -> Asked:
    contents = [{"role": one.get("role", "user"), "content": one["parts"]} for one in body["contents"]]
    instruction: Json = body.get("systemInstruction") or {}
    system = text_of(instruction.get("parts") or "")
    return what_is_asked({"model": "gemini", **body}, contents, system, None)


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


def _gemini_headers(_index: int, _levels: Levels, _now: datetime) -> dict[str, str]:
    return {}


GEMINI = Dialect(
    "/{version}/models/{model}:generateContent",
    _read_gemini,
    _answer_gemini,
    _gemini_error,
    _gemini_headers,
    names_wait=False,
)
