"""What servers say of their limits in headers, and in which window those hold."""

from __future__ import annotations

import pytest

from fanmap._policy.limits.quotas import Quota, pick, read_bedrock_usage, read_cost, read_quotas, read_reset, window

WALL = 1_700_000_000.0  # 2023-11-14T22:13:20Z

OPENAI = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-reset-requests": "120ms",
    "x-ratelimit-limit-tokens": "30000",
    "x-ratelimit-remaining-tokens": "29985",
    "x-ratelimit-reset-tokens": "30ms",
}
AZURE = {
    "apim-request-id": "x",
    "x-ratelimit-limit-requests": "100",
    "x-ratelimit-remaining-requests": "99",
    "x-ratelimit-reset-requests": "10",
    "x-ratelimit-limit-tokens": "-1",
    "x-ratelimit-remaining-tokens": "0",
}
GROQ = {
    "x-ratelimit-limit-requests": "14400",
    "x-ratelimit-remaining-requests": "14370",
    "x-ratelimit-reset-requests": "2m59.56s",
    "x-ratelimit-limit-tokens": "18000",
    "x-ratelimit-remaining-tokens": "17997",
    "x-ratelimit-reset-tokens": "7.66ms",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:21Z",
    "anthropic-ratelimit-tokens-limit": "40000",
    "anthropic-ratelimit-input-tokens-limit": "30000",
    "anthropic-ratelimit-input-tokens-remaining": "28000",
    "anthropic-ratelimit-output-tokens-limit": "8000",
    "anthropic-ratelimit-output-tokens-remaining": "8000",
}


def test_openai() -> None:
    assert read_quotas({**OPENAI, "openai-version": "2020-10-01"}, wall=WALL) == (
        Quota("requests", 500.0, 60.0, 499.0, sure=True),
        Quota("tokens", 30_000.0, 60.0, 29_985.0, sure=True),
    )


def test_a_server_like_openai_whose_numbers_are_a_minutes() -> None:
    assert read_quotas(OPENAI, wall=WALL) == read_quotas({**OPENAI, "openai-version": "x"}, wall=WALL)


def test_azure_in_whole_seconds_and_with_a_limit_of_minus_one() -> None:
    assert read_quotas(AZURE, wall=WALL) == (Quota("requests", 100.0, 60.0, 99.0, sure=True),)


def test_groqs_requests_are_a_days_and_its_tokens_a_minutes() -> None:
    assert read_quotas(GROQ, wall=WALL) == (
        Quota("requests", 14_400.0, 86_400.0, 14_370.0, sure=True),
        Quota("tokens", 18_000.0, 60.0, 17_997.0, sure=True),
    )


def test_anthropic_tells_input_and_output_apart() -> None:
    assert read_quotas(ANTHROPIC, wall=WALL) == (
        Quota("requests", 50.0, 60.0, 49.0, sure=True),
        Quota("input tokens", 30_000.0, 60.0, 28_000.0, sure=True),
        Quota("output tokens", 8_000.0, 60.0, 8_000.0, sure=True),
    )
    together = {name: value for name, value in ANTHROPIC.items() if "put-tokens" not in name}
    assert read_quotas(together, wall=WALL)[1:] == (Quota("tokens", 40_000.0, 60.0, None, sure=True),)


def test_a_litellm_proxy_tells_no_reset() -> None:
    headers = {"x-ratelimit-limit-requests": "300", "x-ratelimit-remaining-requests": "299"}
    assert read_quotas(headers, wall=WALL) == (Quota("requests", 300.0, 60.0, 299.0, sure=True),)


def test_a_full_bucket_tells_no_window_and_is_taken_for_a_minutes_until_one_does() -> None:
    headers = {**GROQ, "x-ratelimit-remaining-requests": "14400", "x-ratelimit-reset-requests": "0s"}
    assert read_quotas(headers, wall=WALL)[0] == Quota("requests", 14_400.0, 60.0, 14_400.0, sure=False)


@pytest.mark.parametrize(
    "limit", ["", "0", "-1", "nan", "inf", "1e999", "many", "1_000", "\u0665\u0660", "5, 7", "0x10"]
)
def test_a_limit_that_is_garbage_is_none(limit: str) -> None:
    for headers, name in ((OPENAI, "x-ratelimit-limit-requests"), (ANTHROPIC, "anthropic-ratelimit-requests-limit")):
        quotas = read_quotas({**headers, name: limit}, wall=WALL)
        assert quotas == tuple(quota for quota in read_quotas(headers, wall=WALL) if quota.unit != "requests")


@pytest.mark.parametrize("text", ["", "-1", "nan", "soon", "1m1", "tomorrow", "9" * 400, "2023-99-99T00:00:00Z"])
def test_remaining_or_reset_that_is_garbage_leaves_the_limit(text: str) -> None:
    for name in ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"):
        quota = read_quotas({**OPENAI, name: text}, wall=WALL)[0]
        assert (quota.unit, quota.limit, quota.per, quota.sure) == ("requests", 500.0, 60.0, False)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("2m59.56s", 179.56),
        ("1h0m0s", 3600.0),
        ("7.66ms", 0.00766),
        ("500µs", 0.0005),
        ("10", 10.0),
        ("0", 0.0),
        ("2.5", 2.5),
        ("2023-11-14T22:13:50Z", 30.0),
        ("2023-11-14T22:13:50", 30.0),
        ("2023-11-15T00:13:50+02:00", 30.0),
        ("2023-11-14T22:00:00Z", 0.0),
        (" 1s ", 1.0),
        ("-1", None),
        ("1x", None),
        ("s", None),
        ("", None),
    ],
)
def test_resets(text: str, seconds: float | None) -> None:
    assert read_reset(text, wall=WALL) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "per"),
    [
        (6_000, 5_999, 0.01, 60.0),
        (6_000, 5_999, 0.007, 60.0),  # what was left was rounded down
        (6_000, 0, 60.0, 60.0),
        (100, 50, 30.0, 60.0),
        (14_400, 14_399, 6.0, 86_400.0),
        (10, 7, 0.3, 1.0),
        (10, 7, 3.0, 10.0),  # no usual window: the formula
        (1_000, 500, 1_800.0, 3_600.0),
        (1_000, 400, 4_320.0, 7_200.0),
        (10, 10, 5.0, None),
        (10, 11, 5.0, None),
        (10, 5, 0.0, None),
        (10, 5, None, None),
        (1e12, 5e11, 1e15, None),  # longer than a month
    ],
)
def test_windows(limit: float, remaining: float, reset: float | None, per: float | None) -> None:
    assert window(limit, remaining, reset) == (None if per is None else pytest.approx(per))


@pytest.mark.parametrize(
    ("text", "cost"),
    [("0.00123", 0.00123), ("1e-05", 1e-05), ("0.0", 0.0), ("-1", None), ("nan", None), ("None", None), (None, None)],
)
def test_the_cost_that_an_answer_names(text: str | None, cost: float | None) -> None:
    assert read_cost({} if text is None else {"x-litellm-response-cost": text}) == cost


def test_bedrocks_tokens_in_headers() -> None:
    names = ("input-token-count", "output-token-count", "cache-read-input-token-count")
    headers = {f"x-amzn-bedrock-{name}": str(count) for name, count in zip(names, (21, 4, 7), strict=True)}
    assert read_bedrock_usage(headers) == {
        "inputTokenCount": 21,
        "outputTokenCount": 4,
        "cacheReadInputTokenCount": 7,
    }
    assert read_bedrock_usage({**headers, "x-amzn-bedrock-output-token-count": "many"}) == {
        "inputTokenCount": 21,
        "cacheReadInputTokenCount": 7,
    }
    assert read_bedrock_usage({}) == {}


def test_only_what_somebody_reads_is_picked() -> None:
    pairs: list[tuple[str | bytes, str | bytes]] = [
        (b"Content-Type", b"application/json"),
        ("X-RateLimit-Limit-Requests", "500"),
        ("Set-Cookie", "secret"),
        ("x-litellm-response-cost", "0.5"),
        ("authorization", "secret"),
    ]
    assert pick(pairs) == {
        "content-type": "application/json",
        "x-ratelimit-limit-requests": "500",
        "x-litellm-response-cost": "0.5",
    }
