"""Words of refusals: what is money or a day's quota, what is a minute's rate, what one request can never fit into.

The texts here are made up, of the kinds of those in `tests/bodies.py`, which are real.
"""

from __future__ import annotations

import pytest

from fanmap._policy.failures.quotations import own_words
from fanmap._policy.failures.signals import read_error
from fanmap._policy.failures.words import never_fits, says_not_started, says_spent, says_spent_in_a_400

SPENT = [
    "Your team has used all available credits.", "You have used up all of your credits", "Credits exhausted",
    "Monthly spending limit reached for this workspace.", "Organization has exceeded its spend limit",
    "Daily limit reached for this API key", "Weekly limit exceeded", "Key limit exceeded (daily limit).",
    "You have insufficient balance to perform this request", "Insufficient account balance",
    "API key has exceeded its monthly budget", "Spending cap reached. Increase the cap in billing settings.",
    "Your account has insufficient funds. Please add funds.", "This key is over its spending limit.",
    "The free trial has expired", "You are out of credits.", "No credits remaining", "Not enough credits",
    "You have no credits left", "You don't have enough credits", "You don\u2019t have any credits",
    "Account foo is suspended due to reaching the daily spending limit", "Monthly quota exhausted for account",
    "The usage limit for this virtual key has been exceeded", "Budget exceeded for this API key",
    "Monthly quota exceeded", "You have exceeded your daily quota of 100 requests", "Daily request limit reached",
    "Quota exceeded: 1000 requests per day", "Too many requests per day", "Too many tokens per month, please wait",
    "Rate limit exceeded: limit 50 requests/day", "You've hit your daily limit for free usage.",
    "Limit of 200 requests per day exceeded", "requests per day (RPD): Limit 200, Used 200 has been reached",
    "You have reached the monthly request limit of your plan", "Prepaid credits depleted", "Insufficient credits.",
    "Your prepaid balance has been depleted", "credit balance exhausted", "Free tier daily quota reached.",
    "The account has used up its daily free quota", "Your daily free allocation has been used up",
    "Number of request tokens has exceeded your daily rate limit", "Trial key: limited to 1000 calls per month",
    "You exceeded your daily token limit (TPD)", "Billing limit reached", "You exceeded your limit for this month.",
    "Sorry, your account balance is insufficient", "This project requires billing", "Billing is not active",
    "You have an overdue invoice", "Payment required", "You exceeded your monthly included credits",
    "The plan allows 60 requests per minute. You have reached your daily limit", "Cost limit reached",
    "Daily limit reached. 60 requests per minute are allowed.", "You have used up all of your allowance",
    "Yearly limit reached", "RPD limit reached", "TPD limit exceeded", "QPD limit exceeded", "IPD limit exceeded",
    "Limit of 5 requests in 24 hours reached", "5 requests per 86400 s exceeded",
    "You exceeded 5 requests per 24 hours", "50 requests per 86,400s exceeded", "5 requests every 24h: limit reached", "额度已用尽",
    "You have used all of your tokens", "Add credits: your balance is too low", "余额不足", "您的账户已欠费", "用户额度不足",
    "You've used up your free credits.", "All of your credits have been used", "You have consumed all of your credits",
    "You have exhausted your credits", "You have exhausted the credits available", "0 credits left",
    "Your balance is zero. Please recharge.", "Your available balance is $0.00", "Your balance is 0", "Zero balance",
    "Please add funds: balance -0.12 USD", "Your free quota has been consumed", "Annual quota exceeded",
    "Quarterly budget exceeded", "daily_tokens limit exceeded", "Your remaining quota is insufficient",
    "user quota is not enough", "Insufficient user quota", "Your account has run out of searches.",
    "Out of call volume quota. Quota will be replenished in 10.23:45:11.", "Too many requests today",
    "Limit of 1000 requests per 30 days exceeded", "You exceeded the limit of 100 requests in the last 7 days",
    "You have exceeded 100 requests every 24 hrs", "Quota per calendar month exceeded", "10 requests/30 days exceeded",
    "You've reached the read unit limit for the current month", "Your plan has expired", "Your Token plan quota has been exhausted", "Your package is now expired",
    "The subscription has exceeded its free quota", "达到每日调用限额", "您的套餐已到期", "套餐已过期,请续费",
    "账户余额为0", "今日请求次数已达上限", "本月配额已耗尽", "免费额度已用完", "资源包不足", "每日调用量超出限制",
]  # fmt: skip

RATES = [
    "Rate limit exceeded. Please add credits to raise your limits.", "limit", "credit", "credits", "quota exceeded",
    "Rate limit exceeded, please add 10 credits to unlock 1000 requests per day", "Too many requests",
    "Rate limit exceeded: free-models-per-min. Add 10 credits to unlock 1000 free model requests per day",
    "Rate limit exceeded: 20 requests per minute. Your daily limit is 1000.", "Your quota is 60 requests/min",
    "Too many requests per minute; the daily limit is unaffected", "Usage limit exceeded: 60 requests per minute",
    "You exceeded the limit of 60 requests per minute on the monthly plan", "Tokens per hour limit exceeded",
    "Your daily quota is 1000. You exceeded 20 requests per minute.", "Your monthly plan allows 60 requests per minute.", "You have used all your tokens for this minute",
    "Free credits temporarily have rate limits in place due to abuse. Try again later, or pay for credits.",
    "Too many requests. Purchase credits to get higher limits.", "You exceeded the limit of credits per second",
    "Rate limit of 100 requests per minute exceeded. Upgrade your plan to get 10000 requests per day.",
    "You exceeded your current quota, please check your plan and billing details.", "RPM limit reached. RPD: 1000",
    "No credits were charged for this request.", "Number of request tokens has exceeded your per-minute rate limit",
    "Quota exceeded for x/generate_content_requests_per_minute_per_project_per_base_model with base model: g",
    "400 requests per day or 10 per second", "Reached the limit of 5 QPS", "We hit a permission problem", "",
    "The model is experiencing high demand today. Please try again later.", "Rate limit reached; try again later today",
    "Rate limit reached. Your usage today was 5. See your daily usage and limits on the dashboard.",
    "You are being rate limited. Monthly plans have higher limits.", "We are very busy this month",
    "Free tier rate limit exceeded", "Rate limit of the free tier exceeded: 3 requests per minute",
    "Token budget exceeded: 1000 tokens per minute", "You exceeded the cost limit of 100 points per minute",
    "You have used up your allowance for this minute", "Your balance is 0.50", "10 credits left", "100 credits remaining",
    "60 out of 60 requests were used", "Insufficient quota: 10 requests per minute", "The input has 0 tokens left",
    "You exceeded your free quota of 3 requests per minute", "Read the pricing page for limits of a month",
    "Rate limit exceeded. If your subscription has expired, renew it.", "Expired keys are not counted.",
    "Rate limit exceeded. Read https://example.com for daily limits", "Too many requests. Read up on the limits per day",
    "We have reached the current limit of 5 requests per second", "达到每分钟调用限额", "The plan will be expired soon",
    "请求过于频繁, 请稍后再试", "已达到每分钟请求上限", "账户余额为0.5", "Unused tokens are kept for 30 days. Too many requests",
]  # fmt: skip


@pytest.mark.parametrize("text", SPENT)
def test_words_of_an_account_that_is_spent(text: str) -> None:
    for spoken in (text, text.upper(), f"Error. {text}", f"{text} See https://example.com/rates-per-minute"):
        assert says_spent(own_words(spoken), refused=True)
        assert says_spent(own_words(spoken), refused=False) or "limited to" in text.lower()


@pytest.mark.parametrize("text", RATES)
def test_words_of_a_rate(text: str) -> None:
    for spoken in (text, text.upper(), f"Sorry. {text}", f"{text} See https://example.com/daily-credits-exhausted"):
        assert not says_spent(own_words(spoken), refused=True)
        assert not says_spent(own_words(spoken), refused=False)


@pytest.mark.parametrize(
    "text", ["Plan: 50 requests per day", "You can make 5 requests a day", "5 requests / month", "limit: 5 per 24h"]
)
def test_a_limit_that_is_named_is_the_one_exceeded_only_where_the_status_says_that_one_was(text: str) -> None:
    assert says_spent(text, refused=True)
    assert not says_spent(text, refused=False)
    assert not says_spent(f"{text}, or 3 per minute", refused=True)


QUOTED = [
    'Invalid prompt: "{}"', "Invalid prompt: {}", 'The prompt "{}" violates our policy', "Your message '{}' was flagged",
    "Your input was rejected: “{}”", "Blocked content `{}`", "prompt='{}'", 'Prompt "He said "{}" to her" was blocked',
    "Flagged text: {}", "Refused: «{}»", "Refused: 「{}」", 'Refused: "{}', 'Refused: "a \\"{}\\" b"', "User message \u2018{}\u2019",
    'input: "{}" (cut)', "Not allowed: \u2018{}\u2019",
]  # fmt: skip


@pytest.mark.parametrize("frame", QUOTED)
@pytest.mark.parametrize("status", [400, 403, 412, 429])
def test_a_prompt_that_is_quoted_says_nothing(frame: str, status: int) -> None:
    told = read_error(_error(status, "Something about the request"), wall=0.0)
    for prompt in (
        "I reached my monthly spending limit", "insufficient balance", "credit balance is too low", "try again in 5s",
        "Limit 1, Requested 2", "too many concurrent requests", "usage increase rate",
    ):  # fmt: skip
        assert read_error(_error(status, frame.format(prompt)), wall=0.0) == told


@pytest.mark.parametrize("field", ["input", "flagged_input", "prompt", "content", "messages", "request"])
def test_a_field_that_gives_the_request_back_says_nothing(field: str) -> None:
    said = "My credits are depleted; try again in 5s; Limit 1, Requested 2"
    for given_back in (said, [said], {"x": said}, {"content": said}):
        error = _error(429, "Refused")
        error.body["error"] |= {field: given_back, "metadata": {field: given_back}}  # type: ignore[attr-defined]
        assert read_error(error, wall=0.0).kind == "rate"
        assert read_error(error, wall=0.0).wait is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's the users' daily limit, isn't it", "It's the users' daily limit, isn't it"),
        ('429 "Daily limit"', "Daily limit"), ('"Daily limit"', "Daily limit"), ("Error 403: 'x y'", "x y"),
        ("exceeded metric 'Requests per day' and limit 'a b'", "exceeded metric Requests per day and limit a b"),
        ("see https://a.b/c?d=daily now", "see   now"), ("x" * 5000, "x" * 4096), ("a\nb", "a\nb"),
        ('a\n"Daily limit"\nb', "a\nDaily limit\nb"),
        ('Your prompt "a "b" c" is blocked: daily limit', "Your   is blocked: daily limit"),
        ('The message "a" of "b" is "c" here', "The message   of   is   here"), ("Invalid prompt: a\nb", "Invalid  "),
        ("for model `a` in `b`", "for model   in  "), ("prompt tokens: 7", "prompt tokens: 7"),
    ],
)  # fmt: skip
def test_what_is_the_servers_own(text: str, words: str) -> None:
    assert own_words(text) == words


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("Limit 30000, Requested 30601", True), ("Limit 30000, Requested 30000", False),
        ("Limit 30000, Requested 29999", False), ("Limit 10000, Used 9000, Requested 3000", False),
        ("Limit 10000, Used 9000, Requested 10001", True), ("limit: 30,000 requested: 30,601 tokens", True),
        ("Requested 40000 tokens but the limit is 30000", True), ("Requested 30000, limit 40000", False),
        ("Requested 30000, limit 30000", False),
        ("limit=1_000 requested=999", False), ("Limit: 60 / min. Current: 70 / min.", False), ("Requested", False),
        ("Limit 9, Requested 10", True), ("Limit 5, " + "x" * 90 + " Requested 9", False), ("", False),
        ("You requested up to 65536 tokens, but can only afford 2666", False),
        ("Received message larger than max (5013781 vs. 4194304)", True), ("SERVER: Sent message larger than max (9 vs. 4)", True),
        ("grpc: received message larger than max (9 vs. 4)", True), ("gRPC message exceeds maximum size 4194304: 9000000", True),
        ("The error message is larger than maximal", False), ("Too many messages: a larger maximum is sold", False),
    ],
)  # fmt: skip
def test_one_request_above_the_whole_limit_never_fits(text: str, never: bool) -> None:
    assert never_fits(text) is never
    assert (read_error(_error(429, text), wall=0.0).kind == "permanent") is never
    assert read_error(_error(429, f"Request too large. {text}. Please try again in 5s"), wall=0.0).wait == (
        None if never else 5.0
    )


@pytest.mark.parametrize(
    "text",
    [
        "Your credit balance is too low to access", "You have reached your specified API usage limits",
        "You have reached your specified workspace API usage limits", "Billing hard limit has been reached",
        "Budget has been exceeded! Current cost: 20.0", "ExceededTokenBudget: Current spend for token", "ExceededBudget: User=u over budget",
        "Your current account balance is negative", "You have no remaining credits to use the APIs",
    ],
)  # fmt: skip
def test_words_that_are_known_of_a_400(text: str) -> None:
    assert says_spent_in_a_400(text)
    assert not says_spent_in_a_400("Insufficient balance of classes: 3 per day, and no credits left")


@pytest.mark.parametrize(
    "text",
    [
        "Model gpt2 is currently loading", "Loading model", "the model is still loading", "The request queue is full.",
        "server busy, please try again. maximum pending requests exceeded", "Exceeds maximum queue size",
        "llm busy - no slots available", "no slot available", "Request dropped due to backpressure",
        "Too many pending requests", "maximum number of queued requests", "Server is overloaded: queue full",
        "queue_full", "The queue is already full", "Request queue limit exceeded", "Too many requests in queue",
        "queue capacity reached", "The model is warming up", "Model x is starting up", "the model is not yet ready",
        "Model is being loaded", "model_loading", "The model is not loaded yet", "DEPLOYMENT_SCALING_UP",
        "The deployment is currently scaled to zero", "Deployment is scaling up",
    ],
)  # fmt: skip
def test_a_busy_server_that_did_not_begin(text: str) -> None:
    assert says_not_started(text)
    for status, wait in ((503, 0.0), (529, 0.0), (500, None)):
        verdict = read_error(_error(status, text), wall=0.0)
        assert (verdict.wait, verdict.refused_to_start) == (wait, wait is not None)
    assert not says_not_started("Service unavailable. The download is loading slowly.")
    assert not says_not_started("The model is not found. See the queue for more, which is empty.")
    coded = Exception()
    coded.__dict__.update(status_code=503, body={"error": {"message": "Busy", "code": "queue_full"}})
    assert read_error(coded, wall=0.0).refused_to_start


def _error(status: int, message: str) -> Exception:
    error = Exception()
    error.__dict__.update(status_code=status, body={"error": {"message": message}})
    return error
