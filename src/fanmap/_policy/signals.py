"""What a failure says: its kind, and the wait that it names.

Pure: no clock, no I/O, no client imported. It must not know what is done about a kind (`attempt`,
`admission`). Nothing raises out of here: a reading that fails is a failure that says nothing, and
such a failure is "wrong", which is never repeated.

Sources: the providers' documentation of errors and limits, the codes that the anthropic (2.12) and
openai (3.54) clients list in their types, botocore's list of throttling codes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from fanmap._policy.connections import chain, is_connection_error, is_misuse
from fanmap._policy.replies import Reply, header_table, mapping, peek, read_reply, whole
from fanmap._policy.waits import named_wait

Kind = Literal["rate", "concurrency", "steep", "overloaded", "transient", "spent", "refused", "wrong"]

_KINDS: tuple[str, ...] = get_args(Kind)

REFUSALS = frozenset({"rate", "concurrency", "steep"})
OUTAGES = frozenset({"transient", "overloaded"})
FATAL = frozenset({"spent", "refused"})
"""What no repeat mends, whatever a user's `on` says."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a failure is read.

    Attributes:
        kind: "rate" (too much in too short a time), "concurrency" (too many at once), "steep" (the
            rate rose too fast), "overloaded" (the server, whatever our own limit), "transient" (a
            repeat may mend it), "spent" (the account is out of money or of quota for the day),
            "refused" (this key, or this item, is not allowed), "wrong" (the call itself).
            The first three, and "overloaded" with a wait, mean that the server refused to start the
            call: it is sent again unasked. "spent" stops the run.
        wait: seconds from now, finite and >= 0; None where no wait was named.

    Raises:
        ValueError: when it is made with another kind or wait.
    """

    kind: Kind
    wait: float | None = None

    @property
    def refused_to_start(self) -> bool:
        """Did the server refuse to start the call, so that nothing was done and it may be sent again unasked?"""
        return self.kind in REFUSALS or (self.kind == "overloaded" and self.wait is not None)

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"kind must be one of {', '.join(_KINDS)}, got {self.kind!r}")
        if not _is_wait(self.wait):
            raise ValueError(f"wait must be None or finite seconds >= 0, got {self.wait!r}")


def _is_wait(wait: object) -> bool:
    if wait is None:
        return True
    if isinstance(wait, bool) or not isinstance(wait, (int, float)):
        return False
    try:
        return math.isfinite(wait) and wait >= 0
    except OverflowError:  # an int beyond what a float can hold
        return False


_SPENT_CODES = frozenset({
    # OpenAI: type or code of a 429; billing_hard_limit_reached comes with a 400 from images.
    "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded", "organization_usage_limit_exceeded", "billing_not_active",
    "billing_hard_limit_reached",
    # Anthropic: error_code of a 429, type of a 402.
    "enforced_spend_limit_reached", "contract_spend_limit_reached", "billing_error",
    # Moonshot: type of a 429. litellm: type of its own budget's end.
    "exceeded_current_quota_error", "budget", "budget_exceeded",
})  # fmt: skip

# Anthropic says these with a 400 and the bare type invalid_request_error, so the text is all there
# is. "You exceeded your current quota" is not among them: Gemini says it of a minute's quota too.
_SPENT_TEXT = re.compile(
    r"credit balance is too low|reached your specified (?:workspace )?API usage limits", re.IGNORECASE
)

# limit_burst_rate: Volcano Engine, DashScope; the texts are DashScope's and Anthropic's.
_STEEP_TEXT = re.compile(
    r"acceleration limit|increased too quickly|usage increase rate|limit_burst_rate", re.IGNORECASE
)

# "Your current concurrency is 5, which exceeds your concurrency limit of 5", "number of concurrent
# connections has exceeded your rate limit", "reached max organization concurrency: 3" (Moonshot),
# "Concurrency limit exceeded", "Too many concurrent requests". Advice such as "please reduce the
# number of concurrent requests" also follows plain rate limits and must not match.
_CONCURRENCY_TEXT = re.compile(
    r"too many (?:concurrent|simultaneous|parallel|connections)"
    r"|current concurrency is|concurrency limit (?:hit|reached|of \d)"
    r"|reached (?:the |your )?max(?:imum)? (?:\w+ )?concurren"
    r"|concurren(?:cy|t)\b[^.,;\n]{0,60}\bexceed(?:ed|s)\b"
    r"|exceed(?:(?!reduc|lower|decreas|fewer)[^.,;\n]){0,60}concurren",
    re.IGNORECASE,
)

_AWS_THROTTLED = frozenset({
    # botocore/retries/standard.py: AWS answers a throttled call with a 400 in most services.
    "throttling", "throttlingexception", "throttledexception", "requestthrottledexception",
    "requestthrottled", "toomanyrequestsexception", "requestlimitexceeded", "slowdown",
    "provisionedthroughputexceededexception",
})  # fmt: skip

_TRANSIENT_4XX = frozenset({408, 409})
_PERMANENT_5XX = frozenset({501, 505, 511})

# An error event inside a stream: the status was 200, only the type or code is left. Graver first.
_STREAMED: tuple[tuple[Kind, frozenset[str]], ...] = (
    ("spent", _SPENT_CODES | {"402"}),
    ("refused", frozenset({"authentication_error", "permission_error", "401", "403"})),
    ("overloaded", frozenset({"overloaded_error", "server_overloaded", "503", "529"})),
    # Also the refusals by rate: a reply that had begun was not refused to start, so it is repeated
    # only where that was asked for.
    ("transient", frozenset({
        "rate_limit_error", "rate_limit_exceeded", "api_error", "server_error", "internal_error",
        "internal_server_error", "timeout_error", "request_timeout", "408", "409", "429", "500",
        "502", "504",
    })),
)  # fmt: skip


def read_error(error: BaseException, *, wall: float) -> Verdict:
    """Read an exception of any client.

    A group with one leaf is read as its leaf. One with several is "wrong": it says that the item did
    several things at once, and no one kind or wait is theirs.

    A server's `x-should-retry: false` makes "wrong" of what would be repeated, and keeps the wait:
    it is about this item, the wait is about everybody. "spent" and "refused" stay what they are, as
    they stop more than the item. Apart from that, only kinds that are repeated have a wait.

    Args:
        error: what the call raised.
        wall: seconds since the epoch, for a Retry-After that is a date.

    Returns:
        The kind, and the wait where the server named one: finite seconds > 0, however long.
    """
    try:
        return _read(error, wall)
    except Exception:
        return Verdict("wrong")


def client_retries(error: BaseException) -> int:
    """How often the client below has sent this request again by itself; 0 when it does not say.

    openai and anthropic say it in the request's `x-stainless-retry-count` (litellm raises its own
    exception from theirs, so causes are looked at too), botocore in the response's metadata.
    """
    try:
        for one in chain(error):
            said = _retries_said(one)
            if said is not None:
                return said
    except Exception:
        pass
    return 0


def _retries_said(error: BaseException) -> int | None:
    response = peek(error, "response")
    if (aws := mapping(response)) is not None:
        metadata = mapping(aws.get("ResponseMetadata")) or {}
        return max(0, whole(metadata.get("RetryAttempts")) or 0)
    for request in (peek(response, "request"), peek(error, "request")):
        count = header_table(peek(request, "headers")).get("x-stainless-retry-count", "")
        if count.isascii() and count.isdigit() and len(count) <= 6:
            return int(count)
    return None


def _read(error: BaseException, wall: float) -> Verdict:
    leaf = _only_leaf(error)
    if not isinstance(leaf, Exception):  # a cancellation, Ctrl-C: no failure of the call
        return Verdict("wrong")
    reply = read_reply(leaf)
    if reply.status is None or reply.status < 400:
        return Verdict(_without_status(leaf, reply))
    kind = _by_status(reply.status, reply)
    if kind == "transient" and not reply.headers and is_misuse(leaf):
        kind = "wrong"  # litellm makes a status 500 of it; an answer that came has headers
    wait = named_wait(reply, wall=wall)
    said = reply.headers.get("x-should-retry", "").lower()
    if kind in ("spent", "refused"):
        return Verdict(kind)
    if kind == "wrong":
        return Verdict("transient", wait) if said == "true" else Verdict("wrong")
    return Verdict("wrong" if said == "false" else kind, wait)


def _only_leaf(error: BaseException) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        members = cast("tuple[BaseException, ...]", error.exceptions)
        if len(members) != 1:
            return None
        error = members[0]
    return error


def _by_status(status: int, reply: Reply) -> Kind:
    if status == 402 or _is_spent(status, reply):
        return "spent"
    if status in (401, 403):
        return "refused"
    if status == 429 or (status == 400 and reply.codes & _AWS_THROTTLED):
        return _refusal(reply)
    if status in (503, 529):
        return "overloaded"
    # RFC 9110, 15: an unknown status counts as the x00 of its class. Both large providers sit
    # behind Cloudflare, whose 520 to 524 are failures on the way; their clients repeat all of 5xx.
    if status in _TRANSIENT_4XX or (status >= 500 and status not in _PERMANENT_5XX):
        return "transient"
    return "wrong"


def _is_spent(status: int, reply: Reply) -> bool:
    if reply.codes & _SPENT_CODES:
        return True
    if status in (400, 403, 429) and _SPENT_TEXT.search(reply.text):
        return True
    return any(_per_day(record) for record in reply.records)


def _per_day(record: Mapping[object, object]) -> bool:
    """Whether it is Google's QuotaFailure of a day's quota: tomorrow, not in a minute."""
    violations = record.get("violations")
    if not isinstance(violations, list):
        return False
    names = [
        str(violation.get("quotaId") or violation.get("quotaMetric")).lower().replace("_", "")
        for violation in map(mapping, cast("list[object]", violations))
        if violation is not None
    ]
    return any("perday" in name for name in names)


def _refusal(reply: Reply) -> Kind:
    if "ramp_limit_exceeded" in reply.codes:  # Anthropic: comes with a Retry-After that is enough
        return "rate"
    if "limit_burst_rate" in reply.codes:
        return "steep"
    if any("concurren" in code for code in reply.codes):
        return "concurrency"
    if _STEEP_TEXT.search(reply.text):
        return "steep"
    return "concurrency" if _CONCURRENCY_TEXT.search(reply.text) else "rate"


def _without_status(error: Exception, reply: Reply) -> Kind:
    """No answer came, or one that broke off in the middle."""
    if is_connection_error(error):
        return "wrong" if is_misuse(error) else "transient"
    for kind, codes in _STREAMED:
        if codes & reply.codes:
            return kind
    return "wrong"
