"""Every row of the table of failures, as the clients' exceptions carry it; exact kinds and waits."""

from __future__ import annotations

import asyncio
import enum
import math
import socket
import urllib.error
from dataclasses import FrozenInstanceError
from http.client import IncompleteRead
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from fanmap._policy.replies import read_reply
from fanmap._policy.signals import Kind, Verdict, client_retries, read_error

WALL = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


class Response:
    """As of httpx or requests; false when it is an error, as requests has it."""

    def __init__(self, status: int, headers: Any = (), content: Any = None, request: Any = None) -> None:
        self.status_code = status
        self.headers = dict(headers)
        self._content = content
        self.request = request

    def __bool__(self) -> bool:
        return self.status_code < 400


class ApiError(Exception):
    """An exception with whatever attributes the case has."""

    def __init__(self, text: str = "", /, **attributes: Any) -> None:
        super().__init__(text)
        self.__dict__.update(attributes)


class Busy(int, enum.Enum):
    """A number whose text is another."""

    BUSY = 529


def http(status: int, headers: Any = (), **attributes: Any) -> ApiError:
    """As of openai: a status, a response with headers, and the attributes given."""
    return ApiError(status_code=status, response=Response(status, headers), **attributes)


def said(error: BaseException, wall: float = WALL) -> tuple[str, float | None]:
    verdict = read_error(error, wall=wall)
    return verdict.kind, verdict.wait


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "wrong"), (401, "refused"), (402, "spent"), (403, "refused"), (404, "wrong"),
        (408, "transient"), (409, "transient"), (413, "wrong"), (422, "wrong"), (425, "wrong"),
        (429, "rate"), (499, "wrong"), (500, "transient"), (501, "wrong"), (502, "transient"),
        (503, "overloaded"), (504, "transient"), (505, "wrong"), (511, "wrong"), (520, "transient"),
        (524, "transient"), (529, "overloaded"),
    ],
)  # fmt: skip
def test_a_bare_status_has_its_kind(status: int, kind: str) -> None:
    assert said(http(status)) == (kind, None)


@pytest.mark.parametrize(
    "error",
    [
        ApiError(status_code=503),
        ApiError(response=Response(503)),
        ApiError(status=503),
        ApiError(code=503, status="UNAVAILABLE", response=None),
        ApiError(response=SimpleNamespace(status=503)),
        ApiError(raw_response=Response(503)),
        ApiError(response={"ResponseMetadata": {"HTTPStatusCode": 503}}),
    ],
    ids=["openai", "httpx", "aiohttp", "gemini", "of its response", "mistral", "botocore"],
)
def test_the_status_is_found_wherever_a_client_keeps_it(error: ApiError) -> None:
    assert said(error) == ("overloaded", None)


@pytest.mark.parametrize("status", [True, "503", 0, 99, 600, 503.0, None, float("nan")])
def test_what_is_no_status_is_not_taken_for_one(status: object) -> None:
    assert said(ApiError(status_code=status)) == ("wrong", None)


@pytest.mark.parametrize(
    ("number", "status"), [(99, None), (100, 100), (429, 429), (599, 599), (600, None), ("429", None), (None, None)]
)
def test_a_status_is_a_whole_number_from_100_to_599(number: object, status: int | None) -> None:
    assert read_reply(ApiError(status_code=number)).status == status
    assert read_reply(ApiError(response={"ResponseMetadata": {"HTTPStatusCode": number}})).status == status


def test_a_reply_is_a_value() -> None:
    reply = read_reply(ApiError(message="one", body={"message": "two", "error": "three"}))
    assert reply.text == "one\ntwo\nthree"
    assert not hasattr(reply, "__dict__")
    with pytest.raises(FrozenInstanceError):
        reply.status = 429  # type: ignore[misc]


def test_a_deprecated_code_is_not_read_where_the_status_is_known() -> None:
    class Warns(Exception):
        status = 429

        @property
        def code(self) -> int:
            pytest.fail("read")

    assert said(Warns()) == ("rate", None)


WAITS: list[tuple[dict[str, str], float | None]] = [
    ({}, None),
    ({"retry-after": "7"}, 7.0),
    ({"retry-after": " 0.25 "}, 0.25),
    ({"retry-after": "1.5e1"}, 15.0),
    ({"Retry-After": "7"}, 7.0),
    ({"RETRY-AFTER-MS": "1500", "retry-after": "9"}, 1.5),
    ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
    ({"retry-after-ms": "0", "retry-after": "9"}, 9.0),
    ({"retry-after-ms": "-1", "retry-after": "9"}, 9.0),
    ({"retry-after-ms": "nan", "retry-after": "9"}, 9.0),
    ({"retry-after": "1000000000"}, 1e9),
    ({"retry-after": "5, 7"}, 7.0),
    ({"retry-after": "0"}, None),
    ({"retry-after": "-5"}, None),
    ({"retry-after": "nan"}, None),
    ({"retry-after": "inf"}, None),
    ({"retry-after": "1e999"}, None),
    ({"retry-after": "1_000"}, None),
    ({"retry-after": "٣"}, None),
    ({"retry-after": ""}, None),
    ({"retry-after": "soon"}, None),
    ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
    ({"retry-after": "Tue, 14 Nov 2023 23:13:50 +0100"}, 30.0),
    ({"retry-after": "Tuesday, 14-Nov-23 22:13:50 GMT"}, 30.0),
    ({"retry-after": "Tue Nov 14 22:13:50 2023"}, 30.0),
    ({"retry-after": "Tue, 14 Nov 2023 22:13:20 GMT"}, None),
    ({"retry-after": "Tue, 14 Nov 2023 22:13:10 GMT"}, None),
    ({"retry-after": "Tue, 99 Nov 2023 99:99:99 GMT"}, None),
    ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-reset": "60"}, None),
    ({"anthropic-ratelimit-tokens-reset": "2030-01-01T00:00:00Z"}, None),
]


@pytest.mark.parametrize(("headers", "wait"), WAITS)
@pytest.mark.parametrize("status", [429, 503])
def test_headers_name_the_wait(status: int, headers: dict[str, str], wait: float | None) -> None:
    assert said(http(status, headers))[1] == (None if wait is None else pytest.approx(wait))


def test_an_http_date_without_a_zone_is_in_gmt_wherever_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    if not hasattr(time, "tzset"):
        pytest.skip("no tzset here")
    try:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert said(http(429, {"retry-after": "Tue, 14 Nov 2023 22:13:50"})) == ("rate", 30.0)
    finally:
        monkeypatch.undo()
        time.tzset()


class Pairs:
    """A multi-dict: names in any case, twice, and bytes."""

    def items(self) -> list[tuple[Any, Any]]:
        return [(b"Retry-After", b"4"), ("retry-AFTER", "3"), (None, 5), ("x-should-retry", 1)]


@pytest.mark.parametrize("headers", [Pairs(), [("Retry-After", "4")], {b"retry-after": b"4"}, {"RETRY-after": 4}])
def test_headers_of_any_make(headers: object) -> None:
    assert said(ApiError(status=429, headers=headers)) == ("rate", 4.0)


def test_a_header_that_is_neither_text_nor_number_is_not_asked_for_its_text() -> None:
    class Seven:
        def __str__(self) -> str:
            return "7"

    assert said(ApiError(status=429, headers={"retry-after": Seven()})) == ("rate", None)
    assert said(ApiError(status=429, headers={"retry-after": 7.5})) == ("rate", 7.5)


def test_256_headers_are_looked_at() -> None:
    others = [(f"x-{number}", "") for number in range(256)]
    assert said(ApiError(status=429, headers=[*others[:255], ("retry-after", "4")])) == ("rate", 4.0)
    assert said(ApiError(status=429, headers=[*others, ("retry-after", "4")])) == ("rate", None)


@pytest.mark.parametrize("headers", [None, 7, "retry-after: 4", [("a", "b", "c")], [7], object()])
def test_headers_that_are_none_are_none(headers: object) -> None:
    assert said(ApiError(status=429, headers=headers)) == ("rate", None)


def test_litellms_headers_are_read_although_its_response_has_none() -> None:
    error = http(429, code="429", type="throttling_error", litellm_response_headers={"retry-after": "7"})
    assert said(error) == ("rate", 7.0)


def test_botocores_headers_and_codes() -> None:
    aws = {"HTTPStatusCode": 400, "HTTPHeaders": {"retry-after": "2"}, "RetryAttempts": 4}
    error = ApiError(response={"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": aws})
    assert said(error) == ("rate", 2.0)
    assert client_retries(error) == 4
    other = ApiError(response={"Error": {"Code": "ValidationException"}, "ResponseMetadata": aws})
    assert said(other) == ("wrong", None)


@pytest.mark.parametrize(
    "code",
    [
        "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException", "RequestThrottled",
        "TooManyRequestsException", "RequestLimitExceeded", "SlowDown", "ProvisionedThroughputExceededException",
    ],
)  # fmt: skip
def test_aws_throttles_with_a_400(code: str) -> None:
    def answered(status: int) -> ApiError:
        return ApiError(response={"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}})

    assert said(answered(400)) == ("rate", None)
    assert said(answered(404)) == ("wrong", None)


def test_the_message_of_a_botocore_error_is_read() -> None:
    said_by_aws = {"Code": "ThrottlingException", "Message": "Too many concurrent requests"}
    assert said(ApiError(response={"Error": said_by_aws, "ResponseMetadata": {"HTTPStatusCode": 400}})) == (
        "concurrency",
        None,
    )


def gemini(*quotas: str, delay: object = None, **error: object) -> dict[str, object]:
    details: list[dict[str, object]] = [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaId": quota} for quota in quotas],
        }
    ]
    if delay is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    return {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details, **error}}


@pytest.mark.parametrize(
    ("delay", "wait"),
    [
        ("27s", 27.0), ("3.700s", 3.7), ({"seconds": "2", "nanos": 500_000_000}, 2.5), ("0s", None),
        ("-3s", None), ("1.2.3s", None), ("soon", None), (27, None), ({}, None), ({"seconds": True}, None),
    ],
)  # fmt: skip
def test_gemini_names_the_wait_in_the_body(delay: object, wait: float | None) -> None:
    body = gemini("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", delay=delay)
    assert said(ApiError(code=429, status="RESOURCE_EXHAUSTED", details=body)) == ("rate", wait)


def test_gemini_through_the_openai_client_has_a_list_for_a_body() -> None:
    assert said(http(429, body=[gemini("…PerMinute…", delay="27s")])) == ("rate", 27.0)


def test_gemini_through_litellm_has_its_body_in_the_message() -> None:
    import json

    text = "litellm.RateLimitError: GeminiException - " + json.dumps(gemini("…PerMinute…", delay="27s"))
    assert said(http(429, message=text, body=None)) == ("rate", 27.0)


@pytest.mark.parametrize(
    "quotas",
    [
        ["GenerateRequestsPerDayPerProjectPerModel-FreeTier"],
        ["…PerMinute…", "…PerDay…"],
        ["requests_per_day"],
    ],
)
def test_a_quota_of_the_day_is_spent(quotas: list[str]) -> None:
    assert said(ApiError(code=429, details=gemini(*quotas, delay="27s"))) == ("spent", None)


def test_a_quotas_metric_stands_in_for_its_id() -> None:
    body = {"error": {"details": [{"violations": [{"quotaMetric": "x/generate_requests_per_model_per_day"}]}]}}
    assert said(ApiError(code=429, details=body)) == ("spent", None)


@pytest.mark.parametrize(
    ("body", "wait"),
    [
        ({"error": {"retry_after": 10}}, 10.0), ({"retry_after": 10.5}, 10.5),
        ({"error": {"retry_after": "10"}}, 10.0), ({"error": {"retry_after": math.nan}}, None),
        ({"error": {"retry_after": math.inf}}, None), ({"error": {"retry_after": -1}}, None),
        ({"error": {"retry_after": 10**400}}, None), ({"error": {"retry_after": True}}, None),
        ({"error": {"retry_after": [10]}}, None), ('{"error": {"retry_after": 10}}', 10.0),
        (b'{"error": {"retry_after": 10}}', 10.0), ("<html>busy</html>", None),
        ({"errors": [{"retry_after": 10}]}, 10.0), (b'\xff: {"retry_after": 10}', 10.0),
        ('busy: {"retry_after": 10, "details": []}', 10.0), ('[{"error": 1}, {"retry_after": 10}]', 10.0),
    ],
)  # fmt: skip
def test_a_gateways_body_names_the_wait(body: object, wait: float | None) -> None:
    assert said(http(503, body=body)) == ("overloaded", wait)
    assert type(said(http(503, body=body))[1]) is type(wait)  # seconds are floats, whatever number was sent


def test_65536_characters_of_a_body_are_read() -> None:
    text = '{"retry_after": 10, "message": "' + "x" * (65_536 - 34) + '"}'
    assert len(text) == 65_536
    assert said(http(503, body=text)) == said(http(503, body=text.encode())) == ("overloaded", 10.0)
    assert said(http(503, body=text[:-2] + 'x"}')) == ("overloaded", None)
    assert said(http(503, body=text.encode()[:-2] + b'x"}')) == ("overloaded", None)


def test_64_parts_of_a_body_are_looked_at() -> None:
    """Among them are the body itself and the three places beside it that are empty here."""
    wait = {"retry_after": 10}
    assert said(ApiError(status=503, body=[*[{}] * 59, wait])) == ("overloaded", 10.0)
    assert said(ApiError(status=503, body=[*[{}] * 60, wait])) == ("overloaded", None)


def test_the_body_of_a_response_is_read_where_the_exception_has_none() -> None:
    response = Response(429, content=b'{"error": {"retry_after": 10, "code": "insufficient_quota"}}')
    assert said(ApiError(response=response)) == ("spent", None)
    assert said(ApiError(response=Response(429, content=b'{"error": {"retry_after": 10}}'))) == ("rate", 10.0)


def test_a_body_that_was_not_read_stays_unread() -> None:
    class Streaming(Response):
        @property
        def content(self) -> bytes:
            pytest.fail("would read the socket")

        text = content

        def json(self) -> object:
            pytest.fail("would read the socket")

    assert said(ApiError(response=Streaming(429, content=False))) == ("rate", None)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("Rate limit reached. Please try again in 8.71s. Visit https://…", 8.71),
        ("Please try again in 599ms.", 0.599), ("Please try again in 1m2.3s.", 62.3),
        ("Please try again in 6m0s", 360.0), ("Please try again in 1h2m3s", 3723.0),
        ("Please try again in 1.5d", 129_600.0), ("try again in 2 days", 172_800.0),
        ("PLEASE TRY AGAIN IN 7S", 7.0), ("please try again in ٣s", None),
        ("please try again after 1 seconds", 1.0), ("Please retry after 6 seconds.", 6.0),
        ("Please retry in 27.5s.", 27.5), ("Please try again in 1 minute 30 seconds.", 90.0),
        ("try again in 20 milliseconds", 0.02), ("Please try again in 20s 5 more", 20.0),
        ("Please try again in 5 more", None), ("Please try again in 0s", None),
        ("Please try again in 20", None), ("Please try again later", None),
        ("Please try again in 5mx", None), ("Please try again in nans", None), ("", None),
    ],
)  # fmt: skip
def test_the_message_of_a_429_names_the_wait(text: str, wait: float | None) -> None:
    expected = None if wait is None else pytest.approx(wait)
    assert said(http(429, message=text)) == ("rate", expected)
    assert said(http(429, body={"error": {"message": text}})) == ("rate", expected)
    assert said(http(503, message=text)) == ("overloaded", None)


def test_the_first_source_that_names_a_wait_is_taken() -> None:
    body = {"error": {"retry_after": 10, "message": "Please try again in 8s"}}
    assert said(http(429, {"retry-after": "0"}, body=body)) == ("rate", 10.0)
    assert said(http(429, {"retry-after": "3"}, body=body)) == ("rate", 3.0)
    assert said(http(429, body={**body, "details": [{"retryDelay": "5s"}]})) == ("rate", 5.0)


OPENAI_SPENT = [
    "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded", "organization_usage_limit_exceeded", "billing_not_active",
]  # fmt: skip


@pytest.mark.parametrize("code", OPENAI_SPENT)
def test_openais_codes_of_a_spent_account(code: str) -> None:
    assert said(http(429, {"retry-after": "3"}, code=code, type="requests")) == ("spent", None)
    assert said(http(429, code=None, type=code)) == ("spent", None)
    assert said(ApiError(response=Response(429, content=f'{{"error":{{"code":"{code}"}}}}'.encode())))[0] == "spent"


def test_openais_images_are_spent_with_a_400() -> None:
    assert said(http(400, code="billing_hard_limit_reached")) == ("spent", None)


@pytest.mark.parametrize("kind", ["exceeded_current_quota_error", "budget", "budget_exceeded"])
def test_moonshots_and_litellms_types_of_a_spent_account(kind: str) -> None:
    assert said(http(429, {"retry-after": "3"}, type=kind)) == ("spent", None)


@pytest.mark.parametrize("code", ["enforced_spend_limit_reached", "contract_spend_limit_reached"])
def test_anthropics_codes_of_a_spent_account(code: str) -> None:
    assert said(http(429, error_code=code, type="rate_limit_error")) == ("spent", None)
    body = {"type": "error", "error": {"type": "rate_limit_error", "details": {"error_code": code}}}
    assert said(http(429, body=body)) == ("spent", None)


@pytest.mark.parametrize(
    "text",
    [
        "Your credit balance is too low to access the Anthropic API.",
        "You have reached your specified API usage limits. You will regain access on 2026-12-01.",
        "You have reached your specified workspace API usage limits.",
    ],
)
def test_anthropic_says_some_of_it_in_words_only(text: str) -> None:
    body = {"error": {"type": "invalid_request_error", "message": text}}
    assert said(http(400, body=body)) == ("spent", None)
    assert said(http(403, body=body)) == ("spent", None)
    assert said(http(429, body=body)) == ("spent", None)
    assert said(http(404, body=body)) == ("wrong", None)


def test_words_that_gemini_uses_for_a_minutes_quota_too_are_not_spent() -> None:
    text = "You exceeded your current quota, please check your plan and billing details."
    assert said(ApiError(code=429, details=gemini("…PerMinute…", message=text))) == ("rate", None)


@pytest.mark.parametrize(
    "attributes",
    [
        {"code": "concurrent_request_limit_exceeded"},
        {"rate_limit_type": "concurrent_requests"},
        {"message": "Your current concurrency is 5, which exceeds your concurrency limit of 5"},
        {"message": "Number of concurrent connections has exceeded your rate limit. Please try again later."},
        {"message": "Your account request reached max organization concurrency: 3"},
        {"message": "Concurrency limit exceeded for user, please retry later"},
        {"message": "Rate limited: Max concurrency limit hit: 4"},
        {"body": {"error": "Too many concurrent requests. Limit: 1 concurrent requests"}},
        {"body": "Too many connections, please wait before trying again."},
    ],
)
def test_too_many_at_once(attributes: dict[str, Any]) -> None:
    assert said(http(429, {"retry-after": "2"}, **attributes)) == ("concurrency", 2.0)


@pytest.mark.parametrize(
    "attributes",
    [
        {"code": "rate_limit_exceeded"},
        {"code": "slow_down"},
        {"message": "Too Many Requests"},
        {"message": "Rate limit exceeded, please reduce concurrency"},
        {"message": "Rate limit exceeded - reduce the number of concurrent requests"},
        {"message": "Reduce concurrent requests to avoid exceeding your limit."},
        {"message": "This request would exceed the rate limit for your organization of 40,000 input tokens"},
        {"error_code": "ramp_limit_exceeded", "message": "maximum usage increase rate"},
    ],
)
def test_a_plain_429_is_about_the_rate(attributes: dict[str, Any]) -> None:
    assert said(http(429, {"retry-after": "2"}, **attributes)) == ("rate", 2.0)


@pytest.mark.parametrize(
    "attributes",
    [
        {"code": "limit_burst_rate"},
        {"message": "Request rate increased too quickly."},
        {"message": "This request would exceed your organization's maximum usage increase rate for tokens"},
        {"message": "You hit an acceleration limit"},
    ],
)
def test_too_steep(attributes: dict[str, Any]) -> None:
    assert said(http(429, **attributes)) == ("steep", None)
    assert said(http(500, **attributes)) == ("transient", None)


@pytest.mark.parametrize(
    ("status", "attributes", "kind", "wait"),
    [
        (429, {}, "wrong", 7.0), (503, {}, "wrong", 7.0), (500, {}, "wrong", 7.0),
        (400, {}, "wrong", None), (401, {}, "refused", None), (402, {}, "spent", None),
        (429, {"type": "insufficient_quota"}, "spent", None),
    ],
)  # fmt: skip
def test_a_server_that_says_no_is_obeyed(
    status: int, attributes: dict[str, Any], kind: str, wait: float | None
) -> None:
    headers = {"X-Should-Retry": "false", "retry-after": "7"}
    assert said(http(status, headers, **attributes)) == (kind, wait)


@pytest.mark.parametrize(
    ("status", "attributes", "kind", "wait"),
    [
        (400, {}, "transient", 7.0), (422, {}, "transient", 7.0), (501, {}, "transient", 7.0),
        (429, {}, "rate", 7.0), (503, {}, "overloaded", 7.0), (401, {}, "refused", None),
        (429, {"type": "insufficient_quota"}, "spent", None),
    ],
)  # fmt: skip
def test_a_server_that_says_yes_is_believed_unless_it_is_about_money_or_the_key(
    status: int, attributes: dict[str, Any], kind: str, wait: float | None
) -> None:
    headers = {"x-should-retry": "True", "retry-after": "7"}
    assert said(http(status, headers, **attributes)) == (kind, wait)


def foreign(package: str, *names: str) -> Exception:
    """An exception of a client that is not installed: each class a subclass of the one before."""
    cls: type[Exception] = Exception
    for name in names:
        cls = type(name, (cls,), {"__module__": package})
    return cls("…")


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(), ConnectionResetError(), BrokenPipeError(),
        socket.gaierror(-2, "Name or service not known"),
        urllib.error.URLError(ConnectionRefusedError()),
        foreign("openai", "APIConnectionError", "APITimeoutError"),
        foreign("anthropic._exceptions", "APIConnectionError"),
        foreign("httpx", "TransportError", "TimeoutException", "ReadTimeout"),
        foreign("httpx2", "TransportError", "NetworkError", "ConnectError"),
        foreign("requests.exceptions", "ConnectionError"),
        foreign("requests.exceptions", "Timeout", "ReadTimeout"),
        foreign("aiohttp.client_exceptions", "ClientError", "ClientConnectionError"),
        foreign("botocore.exceptions", "HTTPClientError", "ReadTimeoutError"),
        foreign("anthropic", "RetryableError"),
        foreign("httpcore", "NetworkError"), foreign("httpcore2", "NetworkError"),
        foreign("httpcore", "TimeoutException"), foreign("httpcore2", "TimeoutException"),
        foreign("httpcore", "RemoteProtocolError"), foreign("httpcore2", "RemoteProtocolError"),
        foreign("requests.exceptions", "ChunkedEncodingError"),
        foreign("urllib3.exceptions", "ProtocolError"), foreign("urllib3.exceptions", "TimeoutError"),
        foreign("urllib3.exceptions", "MaxRetryError"),
        foreign("aiohttp.client_exceptions", "ClientPayloadError"),
        foreign("botocore.exceptions", "ConnectionError"),
        foreign("google.auth.exceptions", "TransportError"),
        IncompleteRead(b""),
        foreign("trio", "TooSlowError"),
        type("CallTimeout", (TimeoutError,), {})(),
        type("Mine", (type(foreign("httpx", "TransportError")),), {})(),
    ],
    ids=lambda error: f"{type(error).__module__}.{type(error).__name__}",
)  # fmt: skip
def test_a_connection_that_failed_is_transient(error: Exception) -> None:
    assert said(error) == ("transient", None)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("429 rate limit"), KeyError("status_code"), RuntimeError("Event loop is closed"),
        OSError(28, "No space left on device"), FileNotFoundError(), AssertionError(),
        urllib.error.URLError("unknown url type: gopher"), ApiError(reason=ConnectionRefusedError()),
        foreign("mine", "APIConnectionError"), foreign("mine", "TransportError"),
        foreign("httpx", "InvalidURL"), foreign("openai", "OpenAIError", "LengthFinishReasonError"),
        foreign("openai", "APIError"),
        foreign("httpx", "TransportError", "UnsupportedProtocol"),
        KeyboardInterrupt(), SystemExit(429), asyncio.CancelledError(), GeneratorExit(),
    ],
    ids=lambda error: f"{type(error).__module__}.{type(error).__name__}",
)  # fmt: skip
def test_what_says_nothing_is_wrong(error: BaseException) -> None:
    assert said(error) == ("wrong", None)


@pytest.mark.parametrize(
    "text",
    [
        "Event loop is closed",
        "<asyncio.locks.Event object at 0x7f [unset]> is bound to a different event loop",
        "Task got Future <Future pending> attached to a different loop",
    ],
)
@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_a_client_on_another_event_loop_is_misuse(text: str, link: str) -> None:
    between = foreign("httpx", "TransportError", "ConnectError")
    setattr(between, link, RuntimeError(text))
    error = foreign("openai", "APIConnectionError")
    setattr(error, link, between)
    assert said(error) == ("wrong", None)
    litellms = ApiError(status_code=500, response=Response(500))  # it makes a status of it, without headers
    setattr(litellms, link, between)
    assert said(litellms) == ("wrong", None)
    answered = http(500, {"server": "x"})
    setattr(answered, link, between)
    assert said(answered) == ("transient", None)
    refused = ApiError(status_code=429)
    setattr(refused, link, between)
    assert said(refused) == ("rate", None)


def test_an_address_without_a_protocol_is_misuse() -> None:
    error = foreign("openai", "APIConnectionError")
    error.__cause__ = foreign("httpx", "TransportError", "UnsupportedProtocol")
    assert said(error) == ("wrong", None)


def test_another_failure_below_a_connection_is_no_misuse() -> None:
    error = foreign("openai", "APIConnectionError")
    error.__cause__ = RuntimeError("the proxy said no")
    assert said(error) == ("transient", None)


def above(below: BaseException, links: int) -> Exception:
    """A failed connection that came from a failure that came from ... `below`."""
    for _ in range(links - 1):
        between = foreign("httpx", "ConnectError")
        between.__context__, below = below, between
    error = foreign("openai", "APIConnectionError")
    error.__cause__ = below
    return error


def test_sixteen_exceptions_of_a_chain_are_looked_at() -> None:
    closed = RuntimeError("Event loop is closed")
    assert said(above(closed, 15)) == ("wrong", None)
    assert said(above(closed, 16)) == ("transient", None)
    counted = ApiError(request=ApiError(headers={"x-stainless-retry-count": "2"}))
    assert client_retries(above(counted, 15)) == 2
    assert client_retries(above(counted, 16)) == 0


def test_a_cause_goes_before_a_context() -> None:
    said_two, said_three = (ApiError(request=ApiError(headers={"x-stainless-retry-count": n})) for n in "23")
    error = ApiError()
    error.__cause__, error.__context__ = said_two, said_three
    assert client_retries(error) == 2
    error.__cause__ = None
    assert client_retries(error) == 3


def test_a_chain_that_bites_its_tail_ends() -> None:
    a, b = foreign("openai", "APIConnectionError"), ValueError()
    a.__cause__, b.__context__ = b, a
    assert said(a) == ("transient", None)
    assert client_retries(a) == 0


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"body": {"type": "error", "error": {"type": "overloaded_error"}}}, "overloaded"),
        ({"type": "rate_limit_error"}, "transient"), ({"type": "api_error"}, "transient"),
        ({"type": "billing_error"}, "spent"), ({"type": "permission_error"}, "refused"),
        ({"code": "502"}, "transient"), ({"body": {"code": 529}}, "overloaded"),
        ({"body": {"status": 529}}, "overloaded"), ({"body": {"code": Busy.BUSY}}, "overloaded"),
        ({"code": "insufficient_quota"}, "spent"), ({"type": "invalid_request_error"}, "wrong"),
        ({"type": "authentication_error"}, "refused"), ({"type": "server_overloaded"}, "overloaded"),
        ({"code": "rate_limit_exceeded"}, "transient"), ({"code": "server_error"}, "transient"),
        ({"code": "internal_error"}, "transient"), ({"type": "internal_server_error"}, "transient"),
        ({"type": "timeout_error"}, "transient"), ({"code": "request_timeout"}, "transient"),
        ({"code": "402"}, "spent"), ({"code": "401"}, "refused"), ({"code": "403"}, "refused"),
        ({"code": "503"}, "overloaded"), ({"code": "408"}, "transient"), ({"code": "409"}, "transient"),
        ({"code": "429"}, "transient"), ({"code": "500"}, "transient"), ({"code": "504"}, "transient"),
        ({"code": "400"}, "wrong"),
    ],
)  # fmt: skip
def test_an_error_inside_a_stream_is_read_by_its_type(attributes: dict[str, Any], kind: str) -> None:
    # Anthropic raises APIStatusError with the stream's status, 200; OpenAI a plain APIError.
    assert said(http(200, {"retry-after": "7", "x-should-retry": "true"}, **attributes)) == (kind, None)
    assert said(http(399, **attributes)) == (kind, None)
    assert said(ApiError(**attributes)) == (kind, None)


def test_a_group_with_one_leaf_is_its_leaf_and_with_more_is_wrong() -> None:
    one = http(429, {"retry-after": "7"})
    assert said(ExceptionGroup("", [ExceptionGroup("", [one])])) == ("rate", 7.0)
    assert said(ExceptionGroup("", [one, one])) == ("wrong", None)
    assert said(ExceptionGroup("", [ExceptionGroup("", [one]), http(503)])) == ("wrong", None)
    assert said(BaseExceptionGroup("", [KeyboardInterrupt()])) == ("wrong", None)


def test_attributes_that_raise_are_as_if_absent() -> None:
    class Hostile(Exception):
        status_code = 429

        def __getattr__(self, name: str) -> object:
            raise RuntimeError(name)

        @property
        def response(self) -> object:
            raise RuntimeError("no request set")

        body = details = headers = message = type = response

    assert said(Hostile()) == ("rate", None)
    assert client_retries(Hostile()) == 0


def test_a_body_that_cannot_be_read_is_wrong_and_does_not_raise() -> None:
    class Failing(dict[str, object]):
        def get(self, *_: object) -> Any:
            raise RuntimeError("not now")

    assert said(http(429, body=Failing())) == ("wrong", None)


def test_base_exceptions_from_attributes_are_let_through() -> None:
    class Interrupted(Exception):
        @property
        def response(self) -> object:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_error(Interrupted(), wall=WALL)


@pytest.mark.parametrize(
    ("count", "retries"),
    [
        ("2", 2),
        ("0", 0),
        ("-1", 0),
        ("two", 0),
        ("", 0),
        ("٣", 0),
        ("999999", 999_999),
        ("1000000", 0),
        ("9" * 100, 0),
        ("9" * 5000, 0),
        (3, 3),
    ],
)
def test_the_clients_own_retries_are_read_off_the_request(count: Any, retries: int) -> None:
    request = ApiError(headers={"X-Stainless-Retry-Count": count})
    assert client_retries(ApiError(response=Response(429, request=request))) == retries
    assert client_retries(ApiError(request=request)) == retries


@pytest.mark.parametrize(
    ("metadata", "retries"),
    [
        ({"RetryAttempts": 4}, 4), ({"RetryAttempts": 0}, 0), ({"RetryAttempts": -1}, 0), ({"RetryAttempts": "4"}, 0),
        ({"RetryAttempts": True}, 0), ({}, 0), (None, 0),
    ],
)  # fmt: skip
def test_botocores_own_retries_are_read_off_the_metadata(metadata: object, retries: int) -> None:
    error = ApiError(response={"ResponseMetadata": metadata})
    error.__context__ = ApiError(request=ApiError(headers={"x-stainless-retry-count": "9"}))
    assert client_retries(error) == retries


def test_the_clients_own_retries_are_found_below_litellm() -> None:
    below = ApiError(request=ApiError(headers={"x-stainless-retry-count": "2"}))
    above = ApiError(request=ApiError(headers={}), response=Response(429))
    above.__context__ = below
    assert client_retries(above) == 2
    assert client_retries(ValueError()) == 0


@pytest.mark.parametrize("wait", [None, 0, 0.0, 1.5, 10**9])
def test_a_verdict_takes_any_finite_wait(wait: float | None) -> None:
    assert Verdict("rate", wait).wait == wait


@pytest.mark.parametrize("wait", [-1, math.nan, math.inf, -math.inf, "7", True, 10**400])
def test_a_verdict_takes_no_other_wait(wait: Any) -> None:
    with pytest.raises(ValueError, match=r"^wait must be None or finite seconds >= 0, got "):
        Verdict("rate", wait)


@pytest.mark.parametrize("kind", ["fine", None, "", 7])
def test_a_verdict_takes_no_other_kind(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"^kind must be one of rate, .*, wrong, got "):
        Verdict(kind)


@pytest.mark.parametrize("wait", [None, 0.0, 2.0])
@pytest.mark.parametrize("kind", get_args(Kind))
def test_what_the_server_refused_to_start(kind: Kind, wait: float | None) -> None:
    refused = kind in ("rate", "concurrency", "steep") or (kind == "overloaded" and wait is not None)
    assert Verdict(kind, wait).refused_to_start is refused


def test_a_verdict_is_a_value() -> None:
    assert not hasattr(Verdict("rate"), "__dict__")
    assert Verdict("rate", 1.0) == Verdict("rate", 1.0)
    assert len({Verdict("rate"), Verdict("rate"), Verdict("steep")}) == 2
    assert repr(Verdict("rate", 1.0)) == "Verdict(kind='rate', wait=1.0)"
