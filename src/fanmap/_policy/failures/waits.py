"""The wait that a server named, in seconds from now.

Pure: the time of day is an argument. It must not know which failures are repeated. Whatever a server
sends, what leaves here is None or finite and above zero: zero, negative, NaN and infinite waits are
as if absent, and the next source is asked.

There is no upper bound. A wait of 10^9 seconds is passed on, for the caller's `max_wait` to stop the
run: taking an absurd wait for none would send on into a server that asked for quiet.

`x-ratelimit-reset-*` is never read: it says when the bucket is full again, not when the next call
may start.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from fanmap._policy.failures.replies import Reply
from fanmap._policy.foreign import as_record

# ASCII only and no underscores: float() would take "1_000" and digits of other scripts too.
_NUMBER = re.compile(r"\+?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:e[+-]?\d{1,4})?", re.ASCII | re.IGNORECASE)

_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 0.001, "mi": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = (
    r"\d{1,12}(?:\.\d{1,12})?\s?"
    r"(?:milliseconds?|ms|ns|[u\u00b5\u03bc]s|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)"
)
# OpenAI "Please try again in 1m2.3s", Azure "Please retry after 6 seconds", Gemini "retry in 27.5s", Moonshot "please
# try again after 1 seconds", GitHub "Please wait 40 seconds before retrying", Replicate "rate limit resets in ~30s",
# Django REST framework "Expected available in 17 seconds", and others "retry your request after 20 seconds",
# Stability "have been timed out for 60 seconds".
_TEXT = re.compile(
    r"\b(?:(?:(?:re)?try(?:ing)?(?: (?:your|the|this) request)?(?: again)?|available(?: again)?|resets?)"
    r"[ -](?:in|after):?"
    r"|wait(?: for)?(?: another)?|timed out for)"
    rf" (?:about |approximately |at least )?~?((?:{_SPAN}(?:,? and |,? )?){{1,5}})(?![a-z\d])",
    re.ASCII | re.IGNORECASE,
)
_HINTS = ("try", "wait", "reset", "available", "timed out")  # one of these stands in all of them
_WHOLE = re.compile(rf"(?:{_SPAN}\s?){{1,5}}", re.ASCII | re.IGNORECASE)
_SPAN_PARTS = re.compile(r"([\d.]+)\s?(ms|ns|us|mi(?=l)|[smhd])")  # of what these have found, in lower case
_GO_DURATION = re.compile(r"\s*([+]?[\d.]{1,40})s\s*", re.ASCII)


_SECONDS = ("retry_after", "retryAfter", "retry_after_seconds", "retryAfterSeconds", "estimated_time")
"""Where gateways put the wait into the body; the last is Hugging Face's, of a model that is loading."""
_MILLISECONDS = ("retry_after_ms", "retryAfterMs")


def named_wait(reply: Reply, *, wall: float, spelt_out: bool) -> float | None:
    """Seconds until the server wants to hear from us again.

    The first that names one: `retry-after-ms`, `retry-after` in seconds (`30s` and `6m0s`, too, as servers in Go write
    them), then as an HTTP-date, gRPC's pushback, what a LiteLLM proxy passes on of the provider's, the body's
    `RetryInfo.retryDelay` (Google), the body's `retry_after` and the like (gateways), and the message's "try again in".

    Args:
        reply: what the exception carried.
        wall: seconds since the epoch, for HTTP-dates.
        spelt_out: does the message count?

    Returns:
        Finite seconds > 0, or None where no wait was named.
    """
    headers = reply.headers
    after = headers.get("retry-after")
    waits: list[float | None] = [
        _scaled(_number(headers.get("retry-after-ms")), 0.001),
        _scaled(_number(headers.get("x-ms-retry-after-ms")), 0.001),
        _seconds(after),
        _date(after, wall),
        _scaled(_number(headers.get("grpc-retry-pushback-ms")), 0.001),
        _seconds(headers.get("llm_provider-retry-after")),
        _first(_delay(record.get("retryDelay")) for record in reply.records),
        _first(_seconds(record.get(name)) for record in reply.records for name in _SECONDS),
        _first(_scaled(_number(record.get(name)), 0.001) for record in reply.records for name in _MILLISECONDS),
    ]
    if spelt_out:
        waits.append(_spelt_out(reply.text))
    return _first(waits)


def _first(waits: Iterable[float | None]) -> float | None:
    return next((wait for wait in waits if wait is not None), None)


def _sound(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _scaled(wait: float | None, factor: float) -> float | None:
    return None if wait is None else _sound(wait * factor)


def _number(value: object) -> float | None:
    """A number, or the largest of `5, 7`: two Retry-After headers, and a wait is never shortened."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    if not isinstance(value, str):
        try:
            return _sound(float(value))
        except OverflowError:
            return None
    parts = [part.strip() for part in value.split(",")]
    if not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    return _sound(max(map(float, parts)))


def _seconds(value: object) -> float | None:
    """A number, or a span of time whose units are named."""
    seconds = _number(value)
    if seconds is None and isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        seconds = _span(value)
    return seconds


def _span(text: str) -> float | None:
    parts: list[tuple[str, str]] = _SPAN_PARTS.findall(re.sub("[\u00b5\u03bc]", "u", text.lower()))
    return _sound(sum(float(amount) * _UNIT_SECONDS[unit] for amount, unit in parts))


def _date(value: str | None, wall: float) -> float | None:
    if value is None:
        return None
    from email.utils import parsedate_tz  # here: a few milliseconds that every import would pay, for a rare header

    try:
        parts = parsedate_tz(value)
        if parts is None:
            return None
        # Not mktime_tz: it takes a date without a zone for local time (HTTP-dates are in GMT), and
        # the 99th of a month for a day of a later one.
        moment = datetime(*parts[:6], tzinfo=UTC).timestamp() - (parts[9] or 0)
        return _sound(moment - wall)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _delay(value: object) -> float | None:
    """Google's duration: "3.700s", or {"seconds": 3, "nanos": 700000000}."""
    if isinstance(value, str):
        match = _GO_DURATION.fullmatch(value)
        return None if match is None else _number(match[1])
    fields = as_record(value)
    if fields is None:
        return None
    return _sound((_number(fields.get("seconds")) or 0.0) + (_number(fields.get("nanos")) or 0.0) / 1e9)


def _spelt_out(text: str) -> float | None:
    lowered = text.lower()
    match = _TEXT.search(text) if any(hint in lowered for hint in _HINTS) else None
    return None if match is None else _span(match[1])
