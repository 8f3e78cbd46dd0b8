"""What a server says about its limits in the headers of an answer, and what it says an answer cost.

Pure: the time of day is an argument. Whatever a server sends, what leaves here is finite and above zero; a header that
is garbage, zero or negative (Azure's -1) is as if it were absent.

A reset says when the bucket is full again, never when the next call may start: it tells the length of the window and
nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["requests", "tokens", "input tokens", "output tokens"]

COST = "x-litellm-response-cost"
"""Dollars, from a LiteLLM proxy."""

_MARKS = ("openai-version", "openai-processing-ms", "apim-request-id", "x-ms-region")
"""OpenAI's and Azure's own headers: their limits are a minute's, whatever their resets say."""

_BEDROCK = "x-amzn-bedrock-"
_BEDROCK_TOKENS = {
    "inputTokenCount": _BEDROCK + "input-token-count",
    "outputTokenCount": _BEDROCK + "output-token-count",
    "cacheReadInputTokenCount": _BEDROCK + "cache-read-input-token-count",
    "cacheWriteInputTokenCount": _BEDROCK + "cache-write-input-token-count",
}

_NAMES = frozenset({"content-type", "content-encoding", COST, *_MARKS})
_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-", _BEDROCK)
_NAMES_IN_BYTES = frozenset(name.encode() for name in _NAMES)
_PREFIXES_IN_BYTES = tuple(prefix.encode() for prefix in _PREFIXES)

_APART: tuple[Unit, ...] = ("requests", "input tokens", "output tokens")
_TOGETHER: tuple[Unit, ...] = ("requests", "tokens")

_MINUTE = 60.0
_USUAL = (_MINUTE, 86_400.0, 3_600.0, 1.0)
"""Windows that are taken where the numbers, which are rounded, allow them; the first that fits."""

_LONGEST = 31 * 86_400.0


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit of a server's.

    Attributes:
        unit: of what.
        limit: so many of it in a window; finite, > 0.
        per: the window, in seconds; finite, > 0.
        remaining: what is left in it; finite, >= 0; None: the server does not say.
        sure: the window is known. Else it is a minute until a later answer tells: a bucket that is full tells none.
    """

    unit: Unit
    limit: float
    per: float
    remaining: float | None
    sure: bool


def pick(pairs: Iterable[tuple[str | bytes, str | bytes]]) -> dict[str, str]:
    """The headers that anybody here reads, by name in lower case; of equal names the last."""
    picked: dict[str, str] = {}
    for name, value in pairs:
        lower = name.lower()
        if isinstance(lower, bytes):
            if not (lower in _NAMES_IN_BYTES or lower.startswith(_PREFIXES_IN_BYTES)):
                continue
            lower = lower.decode("latin-1")
        elif not (lower in _NAMES or lower.startswith(_PREFIXES)):
            continue
        picked[lower] = value.decode("latin-1") if isinstance(value, bytes) else value
    return picked


def read_quotas(headers: Mapping[str, str], *, wall: float) -> tuple[Quota, ...]:
    """The limits that an answer's headers tell.

    Args:
        headers: by name in lower case.
        wall: seconds since the epoch, for a reset that is a moment.

    Returns:
        At most one a unit. Anthropic's `tokens` is whichever of its two limits is nearer to its end, so it is left out
        where the two are told apart.
    """
    found: list[Quota] = []
    for unit in _APART:
        found += _anthropic(headers, unit)
    if not any(quota.unit == "input tokens" for quota in found):
        found += _anthropic(headers, "tokens")
    told = {quota.unit for quota in found}
    minute = any(mark in headers for mark in _MARKS)
    for unit in _TOGETHER:
        if unit not in told:
            found += _openai(headers, unit, minute=minute, wall=wall)
    return tuple(found)


def read_cost(headers: Mapping[str, str]) -> float | None:
    """The dollars that an answer says it cost: finite, >= 0; None: it does not say."""
    cost = _number(headers.get(COST))
    return cost if cost is not None and cost >= 0 else None


def read_bedrock_usage(headers: Mapping[str, str]) -> dict[str, int]:
    """The usage object that Bedrock spells in headers, where it hands on a model's own body; {}: it does not."""
    if _BEDROCK_TOKENS["inputTokenCount"] not in headers:
        return {}
    counts = {field: _number(headers.get(name)) for field, name in _BEDROCK_TOKENS.items()}
    return {field: int(number) for field, number in counts.items() if number is not None}


def _anthropic(headers: Mapping[str, str], unit: Unit) -> list[Quota]:
    prefix = f"anthropic-ratelimit-{unit.replace(' ', '-')}-"
    limit = _number(headers.get(prefix + "limit"))
    if limit is None or limit <= 0:
        return []
    return [Quota(unit, limit, _MINUTE, _remaining(headers.get(prefix + "remaining")), sure=True)]


def _openai(headers: Mapping[str, str], unit: Unit, *, minute: bool, wall: float) -> list[Quota]:
    limit = _number(headers.get(f"x-ratelimit-limit-{unit}"))
    if limit is None or limit <= 0:
        return []
    remaining = _remaining(headers.get(f"x-ratelimit-remaining-{unit}"))
    reset = headers.get(f"x-ratelimit-reset-{unit}")
    if minute or reset is None:  # a LiteLLM proxy tells no reset; its limits are a minute's
        return [Quota(unit, limit, _MINUTE, remaining, sure=True)]
    per = None if remaining is None else window(limit, remaining, read_reset(reset, wall=wall))
    return [Quota(unit, limit, _MINUTE if per is None else per, remaining, sure=per is not None)]


def window(limit: float, remaining: float, reset: float | None) -> float | None:
    """The window of a bucket that refills evenly, in seconds: limit * reset / (limit - remaining).

    Both numbers are rounded, so that near a full bucket they allow many windows: then a usual one that they allow is
    taken, a minute before a day before an hour before a second. None: the bucket is full, or the numbers make no sense.
    """
    used = limit - remaining
    if reset is None or reset <= 0 or used <= 0:
        return None
    # Remaining was rounded, by less than 1; reset to milliseconds where it is short, else to a second.
    unsure = 0.001 if reset < 1 else 1.0
    shortest = limit * max(0.0, reset - unsure) / (used + 1)
    longest = limit * (reset + unsure) / (used - 1) if used > 1 else math.inf
    for usual in _USUAL:
        if shortest <= usual <= longest:
            return usual
    per = limit * reset / used
    return per if math.isfinite(per) and 0 < per <= _LONGEST else None


_SPAN = re.compile(r"(?:\d{1,9}(?:\.\d{0,9})?(?:h|ms|m|us|µs|ns|s))+", re.ASCII)
_PART = re.compile(r"([\d.]+)(h|ms|m|us|µs|ns|s)", re.ASCII)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def read_reset(text: str, *, wall: float) -> float | None:
    """Seconds until a bucket is full: a Go duration (`1m30.5s`, `12ms`), a number of seconds, or a moment (RFC 3339).

    None: it is none of these. Never negative: a moment that is over is 0.
    """
    text = text.strip()
    if _SPAN.fullmatch(text):
        parts: list[tuple[str, str]] = _PART.findall(text)
        return sum(float(amount) * _SECONDS[unit] for amount, unit in parts)
    number = _number(text)
    if number is not None:
        return number if number >= 0 else None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - wall)
    except (ValueError, OverflowError):
        return None


# ASCII only and no underscores: float() would take "1_000" and digits of other scripts too.
_NUMBER = re.compile(r"[+-]?(?:\d{1,300}(?:\.\d{0,300})?|\.\d{1,300})(?:e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)


def _number(text: str | None) -> float | None:
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _remaining(text: str | None) -> float | None:
    number = _number(text)
    return number if number is not None and number >= 0 else None
