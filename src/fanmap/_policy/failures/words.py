"""What the words of a refusal say, where there is no field for machines that says it.

Pure. The last sign that counts: `signals` asks here only with the statuses for which these words were seen. A text is
the server's own message without what it quotes (`quotations`). "credit" or "limit" alone is no word: both also stand in
advice about rates.

Sources: the bodies in `tests/bodies.py`, each with where it was seen.
"""

from __future__ import annotations

import re

_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n| [-\u2013\u2014] ")

# "Add 10 credits to unlock 1000 requests per day", "please raise your spending limit", "Monthly plans have higher
# limits", "see your daily usage at": what could be had or looked at, to the end of its clause.
_ADVICE = re.compile(
    r"\b(?:upgrad|add|purchas|buy|unlock|increas|rais|subscrib|consider|top up|recharg|switch|to get|pay for|manage"
    r"|(?:monthly|yearly|annual) (?:plan|subscription)|(?:see|view|visit|read(?! (?:units?|requests?|tokens?|limit)\b)"
    r"|later today)\b)\w*\b[^.,:;!\n]*",
    re.IGNORECASE,
)
_ACCOUNT = r"(?:balance|credits?|funds)"
_BUDGET = r"(?:spend(?:ing)?|budget|billing|credit|cost)(?: hard| soft| usage)?[ -](?:limit|cap|quota)s?"
_REACHED = r"(?:reach(?:ed|ing|es)?|exceed(?:ed|ing|s)?|hit|over|past|exhausted|used up)"
_ALL_OF = r"(?:used (?:up|all)|(?:used up|consumed|spent) all|exhausted)"
_GONE = r"(?:insufficient|too low|depleted|exhausted|negative|used up|expired|overdue|not enough|run out|ran out)"

_MONEY = re.compile(
    rf"\binsufficient (?:\w+ ){{0,2}}{_ACCOUNT}\b"
    rf"|\b{_ACCOUNT} (?:(?:is|are|was|were|has|have|has been|have been) )?(?:now )?{_GONE}\b"
    rf"|\b(?:not enough|lacks? (?:sufficient|enough)|out of|no more|no remaining|have no|have 0"
    rf"|(?:do|does)(?:n['\u2019]t| not) have (?:any|enough|sufficient)) (?:\w+ ){{0,2}}?{_ACCOUNT}\b"
    rf"|\b(?:no|(?<![\d.,])0(?:\.0+)?) {_ACCOUNT} (?:left|remaining|available)\b|\brequires? more credits\b"
    rf"|\b{_ALL_OF} (?:\w+ ){{0,4}}?{_ACCOUNT}\b"
    rf"|\ball (?:\w+ ){{0,3}}?{_ACCOUNT} (?:are|were|have been|has been) (?:used|consumed|spent)\b"
    r"|\bbalance (?:is|of|has reached) (?:now )?(?:zero\b|[$\u20ac\u00a5]?0(?:\.0+)?(?![\d.]))"
    r"|\bbalance:? (?:is |of )?-[$\u20ac\u00a5]?\d|\b(?:zero|negative) balance\b"
    rf"|\bexceeded (?:your |the )?(?:(?:monthly|daily|included|available|free|total|prepaid|trial) ){{1,3}}credits\b"
    rf"|\boverdue (?:balance|payments?|invoices?)\b|\bunpaid invoices?\b|\bpayment (?:is )?(?:overdue|required)\b"
    rf"|\bbilling (?:is |has )?(?:not (?:active|been enabled|enabled)|disabled|inactive)\b|\brequires billing\b"
    r"|(?<!\bif )(?<!\bif the )(?<!\bif your )\b(?:plan|package|subscription) (?:has|is) (?:now )?expired\b"
    r"|套餐已?(?:到期|过期)"
    r"|余额(?:不足|为0(?![.\d])|为零)|欠费|(?:额度|配额|资源包)(?:不足|已?(?:用[尽完]|耗尽))"
    r"|(?:今日|当日|每日|每天|本周|每周|本月|每月)[^\u3002\uff0c\uff1b,;\n]{0,16}(?:上限|用[尽完]|耗尽|超限|超出)"
    r"|达到(?:今日|当日|每日|每天|本周|每周|本月|每月)[^\u3002\uff0c\uff1b,;\n]{0,12}限额",
    re.IGNORECASE,
)
# Also said of a limit by the minute: spent only where no such time stands beside it.
_ALLOWANCE = re.compile(
    rf"\b{_REACHED}\b[^.;\n]{{0,60}}?\b(?:usage|key) limits?\b|\b(?:usage|key) limits?\b[^.;\n]{{0,40}}?\b{_REACHED}\b"
    rf"|\b{_REACHED}\b[^.;\n]{{0,60}}?\b{_BUDGET}\b|\b{_BUDGET}\b[^.;\n]{{0,40}}?\b{_REACHED}\b"
    rf"|\b(?:over|exceed(?:ed|s)?) (?:\w+ ){{0,3}}budget\b|\bbudget (?:\w+ ){{0,2}}{_REACHED}\b"
    rf"|\b{_ALL_OF} (?:\w+ ){{0,4}}?(?:quota|tokens|allowance|allocation)\b"
    r"|\b(?:insufficient|not enough) (?:[a-z]+ )?quota\b"
    r"|\bquota (?:is |was )?(?:insufficient|not enough|depleted|used up)\b"
    r"|\b(?:plan|account|package|subscription|user) quota (?:is |was |has been )?exhausted\b"
    r"|(?:^\s*|\b(?:run|ran|is|are) )out of (?:[a-z]+ ){0,2}?(?:quota|tokens|searches|requests|calls)\b"
    r"|\bfree[ -](?:tier|trial|quota|credits?|allocation|allowance|usage)\b(?:(?!\brate\b)[^.;\n]){0,50}?"
    r"\b(?:exhausted|expired|ended|used up|consumed|depleted|exceeded|ran out)\b"
    r"|\bexceeded (?:its|your|the) free[ -](?:quota|credits?|allocation|allowance|usage)\b",
    re.IGNORECASE,
)
_EXCEEDED = re.compile(
    rf"\b{_REACHED}\b|\bused (?:up|all)\b|\blimited to\b|\btoo many\b|\br[au]n out\b|\bout of\b|\bdepleted\b"
    r"|\bno more\b",
    re.IGNORECASE,
)
_LIMITED = re.compile(
    r"(?<![a-z])(?:limit|quota|allow|alloca|capped|max|only|requests?|tokens?|calls?|messages?|[RTQI]PD)", re.IGNORECASE
)
_PERIOD = re.compile(
    r"(?P<long>(?:per|by)[-_ ]?(?:(?:calendar|rolling|\d{1,3})[-_ ]?)?(?:day|week|month|year)"
    r"|(?<![a-z])(?:daily|weekly|monthly|quarterly|yearly|annual(?:ly)?|today)(?![a-z])"
    r"|\b(?:last|past|every|rolling|in|within) \d{1,3}[- ]?days?\b"
    r"|/ ?(?:\d{1,3} ?)?(?:days?|week|month)\b|\b[RTQI]PD\b"
    r"|\b(?:a|each|every|this|the|one|1) (?:current )?(?:day|week|month)\b"
    r"|\bbilling (?:cycle|period)\b|\b(?:(?:per|every|in) )?(?:24[- ]?h(?:(?:ou)?rs?)?\b|86,?400 ?s))"
    r"|(?P<short>(?:per|by)[-_ ]?(?:\d{1,6} ?)?(?:sec(?:ond)?|min(?:ute)?|hour|hr|[smh])s?(?![a-z])"
    r"|/ ?(?:s|sec|second|m|min|minute|h|hr|hour)s?\b|\bhourly\b|\b[RTQI]P[SMH]\b"
    r"|\b(?:a|each|every|this|the|one|1) (?:second|minute|hour)\b)",
    re.IGNORECASE,
)


# One of these stands in all of the above: most refusals are about a minute's rate, and this is soon seen.
_HINTS = (
    "credit", "balance", "fund", "budget", "spend", "billing", "payment", "invoice", "cost", "free",
    "usage", "key limit", "used up", "used all", "consumed", "out of", "insufficient", "not enough",
    "day", "daily", "week", "month", "year", "annual", "quarter", "rpd", "tpd", "qpd", "ipd",
    "24", "86", "余额", "欠费", "额度", "配额", "资源包", "套餐", "日", "天", "周", "月",
    "expired", "exhausted",
)  # fmt: skip


def says_spent(text: str, *, refused: bool) -> bool:
    """Do these words say that the account is out of money, or of its quota for a day or longer?

    Args:
        text: the server's own words.
        refused: the status itself says that something was exceeded (429); else the words must.
    """
    lowered = text.lower()
    if not any(hint in lowered for hint in _HINTS):
        return False
    sentences = [_ADVICE.sub(" ", sentence) for sentence in _SENTENCE.split(text)]
    if any(_MONEY.search(one) or (_ALLOWANCE.search(one) and _period(one) != "short") for one in sentences):
        return True
    # Which limit was exceeded is said first, others that the account has come later.
    exceeded = [period for one in sentences if _EXCEEDED.search(one) and (period := _period(one)) is not None]
    if exceeded or not refused:
        return exceeded[:1] == ["long"]
    # Nothing says which: a day's, if no shorter time is spoken of. "We are very busy today" speaks of no limit.
    spoken = [one for one in sentences if _LIMITED.search(one)]
    return {found.lastgroup for one in spoken for found in _PERIOD.finditer(one)} == {"long"}


def _period(text: str) -> str | None:
    found = _PERIOD.search(text)
    return None if found is None else found.lastgroup


# Of a 400, which nearly always is the item's own fault: only what was seen word for word (Anthropic, OpenAI's images,
# LiteLLM's proxy, AssemblyAI, Abacus). "You exceeded your current quota" is not among them: Gemini says it of a
# minute's too.
_SPENT_400 = re.compile(
    r"credit balance is too low|reached your specified (?:workspace )?api usage limits"
    r"|have no remaining credits to use"
    r"|billing hard limit has been reached|budget has been exceeded|account balance is negative"
    r"|exceeded(?:token)?budget",
    re.IGNORECASE,
)


def says_spent_in_a_400(text: str) -> bool:
    """Do these words of a bad request say that the account is out of money?"""
    return _SPENT_400.search(text) is not None


_NUMBER = r"\D{0,12}?(\d[\d,_]{0,15})"
_LIMIT_FIRST = re.compile(rf"\blimit\b{_NUMBER}\b[^\n]{{0,80}}?\brequested\b{_NUMBER}\b", re.IGNORECASE)
_REQUESTED_FIRST = re.compile(rf"\brequested\b{_NUMBER}\b[^\n]{{0,80}}?\blimit\b{_NUMBER}\b", re.IGNORECASE)


# gRPC says RESOURCE_EXHAUSTED of it: "Received message larger than max (5013781 vs. 4194304)", in Java "gRPC message
# exceeds maximum size 4194304: 5013781".
_TOO_LONG = re.compile(r"\bmessage (?:is )?larger than max\b|\bmessage exceeds maximum size\b", re.IGNORECASE)


def never_fits(text: str) -> bool:
    """Does one request ask for more than the whole limit is ("Limit 30000, Requested 30601")?"""
    if _TOO_LONG.search(text) is not None:
        return True
    if "requested" not in text.lower():
        return False
    found = _LIMIT_FIRST.search(text)
    if found is not None:
        return _int(found[2]) > _int(found[1])
    found = _REQUESTED_FIRST.search(text)
    return found is not None and _int(found[1]) > _int(found[2])


def _int(digits: str) -> int:
    return int(re.sub(r"\D", "", digits))


# limit_burst_rate: Volcano Engine, DashScope; the texts are DashScope's and Anthropic's.
_RAMP = re.compile(r"acceleration limit|increased too quickly|usage increase rate|limit_burst_rate", re.IGNORECASE)

# "Your current concurrency is 5, which exceeds your concurrency limit of 5", "number of concurrent connections has
# exceeded your rate limit", "reached max organization concurrency: 3" (Moonshot), "Concurrency limit exceeded", "Too
# many concurrent requests", "Limit type: max_parallel_requests" (LiteLLM's proxy), "High concurrency usage of this API"
# and "API的并发数过高" (Zhipu). Advice such as "please reduce the number of concurrent requests" also follows plain
# rate limits and must not match.
_CONCURRENCY = re.compile(
    r"too many (?:concurrent|simultaneous|parallel|connections)"
    r"|parallel requests? limit (?:was |is |has been )?(?:reached|exceeded)|limit type: max_parallel_requests"
    r"|current concurrency is|concurrency limit (?:hit|reached|of \d)"
    r"|reached (?:the |your )?max(?:imum)? (?:\w+ )?concurren"
    r"|concurren(?:cy|t)\b[^.,;\n]{0,60}\bexceed(?:ed|s)\b"
    r"|\bconcurrent (?:\w+ ){1,2}limit (?:has been )?(?:reached|hit)\b"
    r"|\bhigh concurrency usage\b|并发(?:请求)?(?:数|量)?(?:已|过高|过多|超过|超出|超限|达到)"
    r"|exceed(?:(?!reduc|lower|decreas|fewer)[^.,;\n]){0,60}concurren",
    re.IGNORECASE,
)


_CROWDS = ("concurren", "simultaneous", "parallel", "connections", "并发")


def says_ramp(text: str) -> bool:
    """Do these words say that calls came to be more too quickly, whatever their number?"""
    return _RAMP.search(text) is not None


def says_too_many_at_once(text: str) -> bool:
    """Do these words say that too many calls were under way at once?"""
    lowered = text.lower()
    return any(hint in lowered for hint in _CROWDS) and _CONCURRENCY.search(text) is not None


# GitHub says with a 403 "You have exceeded a secondary rate limit" and "API rate limit exceeded for user".
_RATE = re.compile(
    rf"\b{_REACHED} (?:a|an|the|your|its) (?:\w+ )?rate limit\b|\brate limit (?:is |was |has been )?{_REACHED}\b",
    re.IGNORECASE,
)


def says_rate(text: str) -> bool:
    """Do these words say that a rate was exceeded, where the status does not?"""
    return _RATE.search(text) is not None


# Hugging Face "Model gpt2 is currently loading", llama.cpp "Loading model"; Ollama "maximum pending requests
# exceeded" and "no slots available", SGLang "The request queue is full", Triton "Exceeds maximum queue size", Ray
# Serve "Request dropped due to backpressure", Fireworks DEPLOYMENT_SCALING_UP.
_NOT_STARTED = re.compile(
    r"\bmodel\b[^\n]{0,160}?\b(?:is|still) (?:\w+ ){0,2}?(?:loading|warming up|starting(?: up)?)\b"
    r"|\bmodel\b[^\n]{0,160}?\bis (?:being loaded|not (?:yet )?(?:loaded|ready)|not (?:loaded|ready) yet)\b"
    r"|\bloading (?:the )?model\b|\bmodel_(?:is_)?loading\b"
    r"|\bdeployment[_ ](?:is[_ ])?(?:currently )?(?:scaling[_ ]up|scaled to zero)\b"
    r"|\bpending requests exceeded\b|\bqueue[ _](?:is[ _])?(?:already )?(?:full|overflow)\b|\bbackpressure\b"
    r"|\bqueue (?:limit|size|capacity|length) (?:is |was |has been )?(?:exceeded|reached)\b"
    r"|\bmax(?:imum)? queue (?:size|length|depth)\b|\btoo many (?:\w+ )?requests (?:are )?in (?:the )?queue\b"
    r"|\bno slots? available\b|\b(?:too many|maximum (?:number of )?) ?(?:queued|pending) requests\b",
    re.IGNORECASE,
)


def says_not_started(text: str) -> bool:
    """Does a busy server say that the call never began: that the model is loading, or that its queue is full?"""
    return _NOT_STARTED.search(text) is not None
