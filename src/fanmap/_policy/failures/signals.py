"""What a failure says: its kind, and the wait that it names.

Pure: no clock, no I/O, no client imported. It must not know what is done about a kind (`attempt`, `refusal`).
Nothing raises out of here: a reading that fails is a failure that says nothing, and such a failure is "permanent",
which is never repeated.

The signs count in this order: a field for machines (a code, a type, a quota's id, the numbers of a limit and of what
was asked for), a wait that is named in a header, in the body or in words, and then words (`words`).

Sources: the providers' documentation of errors and limits, the codes that the anthropic (2.12) and openai (3.54)
clients list in their types, botocore's list of throttling codes, and the bodies in `tests/bodies.py`.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import cast

from fanmap._policy.failures.connections import is_connection_error, is_misuse
from fanmap._policy.failures.groups import leaves
from fanmap._policy.failures.hidden import behind
from fanmap._policy.failures.replies import Reply, read_reply
from fanmap._policy.failures.verdict import FATAL, Kind, Verdict
from fanmap._policy.failures.waits import named_wait
from fanmap._policy.failures.words import (
    never_fits,
    says_not_started,
    says_ramp,
    says_rate,
    says_spent,
    says_spent_in_a_400,
    says_too_many_at_once,
)
from fanmap._raw import INTERRUPTS, is_a

_SPENT_CODES = frozenset({
    # OpenAI: type or code of a 429; billing_hard_limit_reached comes with a 400 from images.
    "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded", "organization_usage_limit_exceeded", "billing_not_active",
    "billing_hard_limit_reached",
    # Anthropic: error_code of a 429, type of a 402.
    "enforced_spend_limit_reached", "contract_spend_limit_reached", "billing_error",
    # Moonshot: type of a 429. litellm: type of its own budget's end. Groq: code of a 400. Volcano: code of a 429.
    "exceeded_current_quota_error", "budget", "budget_exceeded", "blocked_api_access", "setlimitexceeded",
})  # fmt: skip

# The same in the words of others: DashScope's Arrearage, Volcano's AccountOverdueError, Novita's NOT_ENOUGH_BALANCE,
# new-api's insufficient_user_quota, OpenRouter's openrouter_free_tier_daily, OpenCode's CreditsError,
# google.rpc.ErrorInfo's BILLING_DISABLED.
_SPENT_CODE = re.compile(
    r"insufficient_?(?:\w+_)?(?:quota|balance|funds?|credits?)$|not_?enough_?(?:balance|credits?|funds)"
    r"|(?:credit|balance|budget|spend|spending)_?\w*(?:exhausted|depleted|exceeded|reached)|(?:no|out_of)_credits?$"
    r"|billing_?(?:disabled|not_active)|arrear|overdue|payment_?required|usage_limit_reached|freetieronly"
    r"|daily|weekly|monthly|yearly|per_?(?:day|week|month|year)|creditserror"
)
_TELLING = frozenset({400, 401, 402, 403, 412, 429})  # the statuses with which such a code was seen
_WORDS_COUNT = frozenset({403, 412, 429})

_SPENT_STATUSES = frozenset({402, 432, 433, 456})
"""Payment Required; Tavily's, of a plan and of pay as you go; DeepL's, of a month's quota."""

_RATE_CODES = frozenset({"ratelimitexceeded", "userratelimitexceeded"})
"""Google's APIs that are older than google.rpc say it with a 403."""

_AWS_THROTTLED = frozenset({
    # botocore/retries/standard.py: AWS answers a throttled call with a 400 in most services.
    "throttling", "throttlingexception", "throttledexception", "requestthrottledexception",
    "requestthrottled", "toomanyrequestsexception", "requestlimitexceeded", "slowdown",
    "provisionedthroughputexceededexception", "servicequotaexceededexception",
})  # fmt: skip

_TRANSIENT_4XX = frozenset({408, 409})
_PERMANENT_5XX = frozenset({501, 505, 511})

# An error event inside a stream: the status was 200, only the type or code is left. Graver first.
_STREAMED: tuple[tuple[Kind, frozenset[str]], ...] = (
    ("spent", _SPENT_CODES | {"402"}),
    ("forbidden", frozenset({"authentication_error", "permission_error", "401", "403"})),
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

    A group with one leaf is read as its leaf. One with several says that the item did several things at once: it is
    "permanent", as no one kind is theirs, with the longest wait that a refusal among them names, which is everybody's.
    It is "spent" where one of them is, and "forbidden" where all of them are.

    A server's `x-should-retry: false` makes "permanent" of what would be repeated, and keeps the wait: it is about
    this item, the wait is about everybody. "spent" and "forbidden" stay what they are, as they stop more than the
    item. Apart from that, only kinds that are repeated have a wait.

    Args:
        error: what the call raised.
        wall: seconds since the epoch, for a Retry-After that is a date.

    Returns:
        The kind, and the wait where the server named one: finite seconds > 0, however long. A busy server that says
        in words that the call never began, and names no wait, is "overloaded" with a wait of 0.
    """
    try:
        together = list(islice(leaves(error), _MOST_LEAVES))
        return _read(together[0], wall) if len(together) == 1 else _read_together(together, wall)
    except INTERRUPTS:
        raise
    except BaseException:  # an attribute may raise anything
        return Verdict("permanent")


_MOST_LEAVES = 64


def _read_together(together: list[BaseException], wall: float) -> Verdict:
    verdicts = [read_error(leaf, wall=wall) for leaf in together]
    kinds = {verdict.kind for verdict in verdicts}
    if "spent" in kinds or kinds == {"forbidden"}:
        return Verdict("spent" if "spent" in kinds else "forbidden")
    waits = [one.wait for one in verdicts if one.wait and (one.refused_to_start or one.kind == "permanent")]
    return Verdict("permanent", max(waits, default=None))


def _read(error: BaseException, wall: float) -> Verdict:
    if not is_a(error, Exception):  # a cancellation, Ctrl-C: no failure of the call
        return Verdict("permanent")
    leaf = behind(cast("Exception", error))
    reply = read_reply(leaf)
    if reply.status is None or reply.status < 400:
        return Verdict(_without_status(leaf, reply))
    status = 429 if reply.status == 400 and reply.codes & _AWS_THROTTLED else reply.status
    wait = named_wait(reply, wall=wall, spelt_out=status in _WORDS_COUNT)
    kind = _by_status(status, reply, wait)
    if kind == "transient" and not reply.headers and is_misuse(leaf):
        kind = "permanent"  # litellm makes a status 500 of it; an answer that came has headers
    if kind in FATAL:
        return Verdict(kind)
    # What fanmap itself told the client ("raise it, I send it again") is not the server's word.
    said = "" if "x-fanmap-mark" in reply.headers else reply.headers.get("x-should-retry", "").lower()
    if kind == "permanent":
        return Verdict("transient", wait) if said == "true" else Verdict("permanent")
    if said == "false":
        return Verdict("permanent", wait)
    if kind == "overloaded" and wait is None and any(map(says_not_started, (reply.text, *reply.codes))):
        wait = 0.0
    return Verdict(kind, wait)


def _by_status(status: int, reply: Reply, wait: float | None) -> Kind:
    if status in _SPENT_STATUSES or _is_spent(status, reply):
        return "spent"
    if status == 429 and never_fits(reply.text):  # whatever else it says: no wait makes room for this item
        return "permanent"
    if status in _WORDS_COUNT and not _is_of_a_minute(reply) and says_spent(reply.text, refused=status == 429):
        return "spent" if wait is None else "rate"
    if status == 403 and (reply.codes & _RATE_CODES or says_rate(reply.text)):
        return "rate"
    if status in (401, 403):
        return "forbidden"
    if status == 429:
        return _refusal(reply)
    if status in (498, 503, 529):  # 498: Groq's flex tier has no capacity left
        return "overloaded"
    # RFC 9110, 15: an unknown status counts as the x00 of its class. Both large providers sit
    # behind Cloudflare, whose 520 to 524 are failures on the way; their clients repeat all of 5xx.
    if status in _TRANSIENT_4XX or (status >= 500 and status not in _PERMANENT_5XX):
        return "transient"
    return "permanent"


def _is_spent(status: int, reply: Reply) -> bool:
    """Whether a field for machines says so, or the few words that are known of a 400."""
    if reply.codes & _SPENT_CODES or any(_per_day(name) for name in _quotas(reply)):
        return True
    if status == 401 and "quota_exceeded" in reply.codes:  # ElevenLabs; elsewhere it may be a minute's
        return True
    if status in _TELLING and any(_SPENT_CODE.search(code) for code in reply.codes):
        return True
    return status == 400 and says_spent_in_a_400(reply.text)


def _is_of_a_minute(reply: Reply) -> bool:
    """Whether Google says that it is, in whatever words: its message speaks of plan and billing all the same."""
    return any("perminute" in name or "persecond" in name for name in _quotas(reply))


_LONG_QUOTA = re.compile(r"per(?:day|week|month|year)|daily|weekly|monthly|yearly")


def _per_day(quota: str) -> bool:
    return _LONG_QUOTA.search(quota) is not None


_QUOTA_NAMES = ("quotaId", "quotaMetric", "quota_limit")  # of QuotaFailure's violations, and of ErrorInfo's metadata


def _quotas(reply: Reply) -> list[str]:
    """The quotas that Google names, in lower case and without what stands between their words."""
    names = (record.get(name) for record in reply.records for name in _QUOTA_NAMES)
    return [name.lower().replace("_", "") for name in names if isinstance(name, str)]


def _refusal(reply: Reply) -> Kind:
    if "ramp_limit_exceeded" in reply.codes:  # Anthropic: comes with a Retry-After that is enough
        return "rate"
    if "limit_burst_rate" in reply.codes:
        return "ramp"
    if any("concurren" in code for code in reply.codes):
        return "concurrency"
    if says_ramp(reply.text):
        return "ramp"
    return "concurrency" if says_too_many_at_once(reply.text) else "rate"


def _without_status(error: Exception, reply: Reply) -> Kind:
    """No answer came, or one that broke off in the middle."""
    if is_connection_error(error):
        return "permanent" if is_misuse(error) else "transient"
    for kind, codes in _STREAMED:
        if codes & reply.codes:
            return kind
    return "permanent"
