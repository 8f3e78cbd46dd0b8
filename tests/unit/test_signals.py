"""Every row of the table of failures, as the clients' exceptions carry it; exact kinds and waits."""

from __future__ import annotations

import asyncio
import enum
import errno
import math
import socket
import ssl
import urllib.error
from dataclasses import FrozenInstanceError
from http.client import IncompleteRead
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from fanmap._policy.failures.hidden import client_retries
from fanmap._policy.failures.replies import read_reply
from fanmap._policy.failures.signals import read_error
from fanmap._policy.failures.verdict import Kind, Verdict

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
        (400, "permanent"), (401, "forbidden"), (402, "spent"), (403, "forbidden"), (404, "permanent"),
        (408, "transient"), (409, "transient"), (413, "permanent"), (422, "permanent"), (425, "permanent"),
        (412, "permanent"), (429, "rate"), (498, "overloaded"), (499, "permanent"), (500, "transient"), (501, "permanent"), (502, "transient"),
        (503, "overloaded"), (504, "transient"), (505, "permanent"), (511, "permanent"), (520, "transient"),
        (524, "transient"), (529, "overloaded"), (432, "spent"), (433, "spent"), (456, "spent"),
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
        ApiError(http_status=503),
        ApiError(response={"ResponseMetadata": {"HTTPStatusCode": 503}}),
    ],
    ids=["openai", "httpx", "aiohttp", "gemini", "of its response", "mistral", "voyageai", "botocore"],
)
def test_the_status_is_found_wherever_a_client_keeps_it(error: ApiError) -> None:
    assert said(error) == ("overloaded", None)


@pytest.mark.parametrize("status", [True, "503", 0, 99, 600, 503.0, None, float("nan")])
def test_what_is_no_status_is_not_taken_for_one(status: object) -> None:
    assert said(ApiError(status_code=status)) == ("permanent", None)


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
    ({"retry-after": "30s"}, 30.0),
    ({"retry-after": "6m0s"}, 360.0),
    ({"retry-after": "1.5s"}, 1.5),
    ({"retry-after": "120 seconds"}, 120.0),
    ({"retry-after": "0s"}, None),
    ({"retry-after": "-30s"}, None),
    ({"retry-after": "30s soon"}, None),
    ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
    ({"retry-after": "Tue, 14 Nov 2023 23:13:50 +0100"}, 30.0),
    ({"retry-after": "Tuesday, 14-Nov-23 22:13:50 GMT"}, 30.0),
    ({"retry-after": "Tue Nov 14 22:13:50 2023"}, 30.0),
    ({"retry-after": "Tue, 14 Nov 2023 22:13:20 GMT"}, None),
    ({"retry-after": "Tue, 14 Nov 2023 22:13:10 GMT"}, None),
    ({"retry-after": "Tue, 99 Nov 2023 99:99:99 GMT"}, None),
    ({"x-ms-retry-after-ms": "1500", "retry-after": "9"}, 1.5),
    ({"retry-after": "9", "grpc-retry-pushback-ms": "2500"}, 9.0),
    ({"grpc-retry-pushback-ms": "2500", "llm_provider-retry-after": "7"}, 2.5),
    ({"grpc-retry-pushback-ms": "-1", "llm_provider-retry-after": "7"}, 7.0),
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


def test_litellms_body_is_that_of_the_error_it_comes_from() -> None:
    spent = {"message": "x", "type": "exceeded_current_quota_error"}
    for where in ({"body": spent}, {"response": Response(403, content=b'{"error": {"code": "insufficient_quota"}}')}):
        litellms, own = foreign("litellm.exceptions", "APIError"), foreign("litellm.llms", "OpenAIError")
        litellms.__dict__.update(status_code=403, message="litellm.APIError: OpenAIException - x", body=None)
        litellms.__cause__ = own
        own.__cause__ = ApiError(**where)
        assert said(litellms) == ("spent", None)
        own.__cause__ = foreign("openai", "APIStatusError")
        own.__cause__.__cause__ = ApiError(**where)
        assert said(litellms) == ("spent", None)
        own.__cause__.__cause__ = foreign("httpx", "HTTPStatusError")
        own.__cause__.__cause__.__cause__ = ApiError(**where)  # further than that it does not go
        assert said(litellms) == ("forbidden", None)
    other = ApiError(status_code=403, message="x")
    other.__cause__ = ApiError(body=spent)
    assert said(other) == ("forbidden", None)


def test_botocores_headers_and_codes() -> None:
    aws = {"HTTPStatusCode": 400, "HTTPHeaders": {"retry-after": "2"}, "RetryAttempts": 4}
    error = ApiError(response={"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": aws})
    assert said(error) == ("rate", 2.0)
    assert client_retries(error) == 4
    other = ApiError(response={"Error": {"Code": "ValidationException"}, "ResponseMetadata": aws})
    assert said(other) == ("permanent", None)


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
    assert said(answered(404)) == ("permanent", None)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("throttlingException", "rate"), ("modelNotReadyException", "rate"), ("modelTimeoutException", "transient"),
        ("serviceQuotaExceededException", "rate"), ("TooManyRequestsException", "rate"),
        ("badGatewayException", "transient"), ("conflictException", "transient"), ("ModelStreamError", "transient"),
        ("dependencyFailedException", "transient"), ("InternalStreamFailure", "transient"),
        ("ServiceFailureException", "transient"), ("accessDeniedException", "forbidden"),
        ("resourceNotFoundException", "permanent"), ("runtimeClientError", "permanent"),
        ("serviceUnavailableException", "overloaded"), ("internalServerException", "transient"),
        ("modelStreamErrorException", "transient"), ("validationException", "permanent"), ("500", "transient"),
        ("otherException", "permanent"),
    ],
)  # fmt: skip
def test_botocores_event_that_ends_a_stream_has_only_its_code(code: str, kind: str) -> None:
    assert said(ApiError(response={"Error": {"Code": code, "Message": "x"}})) == (kind, None)
    assert said(ApiError(code=code)) == ("transient" if code == "500" else "permanent", None)  # of no AWS client


def test_botocores_event_that_ends_a_stream_is_read_to_its_words() -> None:
    event = {"Code": "throttlingException", "Message": "Too many tokens per day, please wait before trying again."}
    assert said(ApiError(response={"Error": event})) == ("spent", None)
    assert said(ApiError(response={"Error": event, "ResponseMetadata": {"HTTPStatusCode": 400}})) == ("spent", None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BadRequest", "permanent"), ("Unauthenticated", "forbidden"), ("PermissionDenied", "forbidden"),
        ("NotFound", "permanent"), ("ResourceConflict", "transient"), ("TooManyRequests", "rate"),
        ("Cancelled", "permanent"), ("InternalError", "transient"), ("NotImplemented", "permanent"),
        ("TemporarilyUnavailable", "overloaded"), ("DeadlineExceeded", "transient"), ("Other", "permanent"),
    ],
)  # fmt: skip
def test_databricks_sdk_has_a_class_for_a_status(name: str, kind: str) -> None:
    for names in (("DatabricksError", name), ("DatabricksError", name, "MoreSpecial")):
        assert said(foreign("databricks.sdk.errors.platform", *names)) == (kind, None)
    assert said(foreign("mine", "DatabricksError", name)) == ("permanent", None)


def test_databricks_sdk_has_its_wait_in_an_attribute_and_its_words_in_its_args() -> None:
    error = foreign("databricks.sdk.errors", "DatabricksError", "TooManyRequests")
    error.__dict__.update(retry_after_secs=7, error_code="REQUEST_LIMIT_EXCEEDED")
    assert said(error) == ("rate", 7.0)
    for garbage in (None, -1, math.nan, True, "soon", [7]):
        error.__dict__.update(retry_after_secs=garbage)
        assert said(error) == ("rate", None)
    error.args = ("Workspace has used all available credits",)
    assert said(error) == ("spent", None)
    error.args = ()
    assert said(error) == ("rate", None)


def test_the_arguments_of_any_other_error_may_be_anybodys_words() -> None:
    error = foreign("mine", "Failed")
    error.args = ("your account has used all available credits",)
    error.__dict__.update(status_code=429)
    assert said(error) == ("rate", None)


def test_voyages_body_is_read() -> None:
    spent = {"detail": "You have insufficient credits"}
    assert said(ApiError(http_status=429, json_body=spent, code=None)) == ("spent", None)
    assert said(ApiError(http_status=429, http_body='{"detail": "You have insufficient credits"}')) == ("spent", None)
    assert said(ApiError(http_status=429, json_body=None, headers={"Retry-After": "3"})) == ("rate", 3.0)


def test_ollamas_message_is_an_attribute() -> None:
    error = ApiError(status_code=503, error="server busy, please try again.  maximum pending requests exceeded")
    assert said(error) == ("overloaded", 0.0)
    assert read_error(error, wall=WALL).refused_to_start


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
        ({"error": {"retry_after": [10]}}, None), ({"retryAfter": 10}, 10.0), ({"retry_after_seconds": 10}, 10.0),
        ({"retryAfterSeconds": "10"}, 10.0), ({"estimated_time": 10}, 10.0), ({"retry_after_ms": 10_000}, 10.0),
        ({"retryAfterMs": 10_000, "retry_after": 7}, 7.0), ({"estimated_time": -10}, None),
        ({"metadata": {"retry_after": 10}}, 10.0), ({"error": "{\"retry_after\": 10}"}, 10.0),
        ({"metadata": {"raw": "{\"error\": {\"retry_after\": 10}}"}}, 10.0), ({"other": {"retry_after": 10}}, None),
        ({"error": {"message": "x {'retry_after': 10, 'y': None} z"}}, 10.0), ({"body": "{\"retry_after\": 10}"}, 10.0),
        ({"error": {"message": "b'{\\n \"retry_after\": \"10\"}'"}}, 10.0), ("{'retry_after': -10}", None), ('{"error": {"retry_after": 10}}', 10.0),
        (b'{"error": {"retry_after": 10}}', 10.0), ("<html>busy</html>", None),
        ({"errors": [{"retry_after": 10}]}, 10.0), (b'\xff: {"retry_after": 10}', 10.0),
        ('busy: {"retry_after": 10, "details": []}', 10.0), ('[{"error": 1}, {"retry_after": 10}]', 10.0),
    ],
)  # fmt: skip
def test_a_gateways_body_names_the_wait(body: object, wait: float | None) -> None:
    assert said(http(503, body=body)) == ("overloaded", wait)
    assert type(said(http(503, body=body))[1]) is type(wait)  # seconds are floats, whatever number was sent


def test_65536_characters_of_a_body_are_read() -> None:
    text = "busy".ljust(65_536 - 17) + '{"retry_after": 7, "message": "cut short'
    assert said(http(503, body=text)) == said(http(503, body=text.encode())) == ("overloaded", 7.0)
    assert said(http(503, body=f" {text[1:]}")) == ("overloaded", 7.0)
    assert said(http(503, body=f"x{text}")) == said(http(503, body=f"x{text}".encode())) == ("overloaded", None)


def test_64_parts_of_a_body_are_looked_at() -> None:
    """Among them is the list itself; what a client has not is none."""
    wait = {"retry_after": 10}
    assert said(ApiError(status=503, body=[*[{}] * 62, wait])) == ("overloaded", 10.0)
    assert said(ApiError(status=503, body=[*[{}] * 63, wait])) == ("overloaded", None)


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
        ("Please wait 40000 seconds before retrying.", 40_000.0), ("wait for 5 minutes", 300.0), ("Retry in 33s", 33.0),
        ("Your rate limit resets in ~30s.", 30.0), ("available again in 2h", 7200.0), ("retry after 500\u00b5s", 5e-4),
        ("retry after 500\u03bcs", 5e-4), ("retry after 500us", 5e-4), ("try again in 3000000000ns", 3.0),
        ("try again in about 1 minute and 30 seconds", 90.0), ("try again in 9m38.016s", 578.016),
        ("try again in 1 hour, 2 minutes, and 3 seconds", 3723.0), ("the reset is 7s away", None), ("wait", None),
        ("Request was throttled. Expected available in 17 seconds.", 17.0), ("Retry-After: 30 seconds", 30.0),
        ("Please retry your request after 20 seconds.", 20.0), ("try again in: 5s", 5.0), ("an entry in 5s", None),
        ("You exceeded 150 requests within a 10 second period, and have been timed out for 60 seconds.", 60.0),
        ("please wait for another 12 seconds", 12.0), ("try your request again in 20 s", 20.0),
        ("Please wait a minute", None), ("await 7s", None), ("Please try again in 5mx", None), ("Please try again in nans", None), ("", None),
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


def test_a_wait_that_is_named_goes_before_words_and_after_fields() -> None:
    words = "Rate limit reached on tokens per day (TPD): Limit 100000, Used 97050, Requested 3619."
    assert said(http(429, body={"message": words})) == ("spent", None)
    assert said(http(429, body={"message": f"{words} Please try again in 9m38s."})) == ("rate", 578.0)
    assert said(http(429, {"retry-after": "7"}, body={"message": words})) == ("rate", 7.0)
    assert said(http(429, body={"message": words, "retry_after": 7})) == ("rate", 7.0)
    assert said(http(429, {"retry-after": "0"}, body={"message": words})) == ("spent", None)
    assert said(http(429, {"retry-after": "7"}, body={"message": words, "code": "daily_limit_exceeded"}))[0] == "spent"
    assert said(http(403, {"retry-after": "7"}, body={"message": "Daily limit reached"})) == ("rate", 7.0)
    assert said(http(403, {"retry-after": "7"}, body={"message": "Not allowed"})) == ("forbidden", None)
    assert said(http(402, {"retry-after": "7"}, body={"message": words})) == ("spent", None)


def test_a_minutes_quota_is_one_in_whatever_words() -> None:
    words = "You have used all available credits per day"
    assert said(ApiError(code=429, details=gemini("…PerMinute…", message=words))) == ("rate", None)
    assert said(ApiError(code=429, details=gemini("…PerSecond…", message=words))) == ("rate", None)
    assert said(ApiError(code=429, details=gemini("…", message=words))) == ("spent", None)
    assert said(ApiError(code=429, details=gemini("…PerMinute…", "…PerMonth…", message="x"))) == ("spent", None)
    for quota in ("…Daily…", "…PerWeek…", "…Weekly…", "…PerYear…", "requests_per_week", "…Monthly…"):
        assert said(ApiError(code=429, details=gemini(quota, message="x"))) == ("spent", None)
    assert said(ApiError(code=429, details=gemini("…PerHour…", message="x"))) == ("rate", None)


@pytest.mark.parametrize(
    "code",
    [
        "Arrearage", "AccountOverdueError", "NOT_ENOUGH_BALANCE", "insufficient_user_quota", "insufficient_balance",
        "insufficient_funds", "INSUFFICIENT_CREDITS", "credits_exhausted", "spending_limit_reached", "no_credit",
        "openrouter_free_tier_daily", "BILLING_DISABLED", "monthly_quota_exceeded", "requests_per_day_exceeded",
        "payment_required", "usage_limit_reached", "AllocationQuota.FreeTierOnly", "out_of_credits", "budgetexceeded",
        "tokens_per_month", "weekly_limit_reached", "requests_per_week", "yearly_quota", "CreditsError",
    ],
)  # fmt: skip
def test_codes_of_a_spent_account_of_any_server(code: str) -> None:
    for name in ("code", "type", "reason", "status", "error_type", "limit_source", "error"):
        for status in (400, 401, 403, 412, 429):
            assert said(http(status, body={name: code})) == ("spent", None)
        assert said(http(404, body={name: code})) == ("permanent", None)
        assert said(http(500, body={name: code})) == ("transient", None)
    assert said(http(429, body={"error": f"the code is {code}!"})) in (("rate", None), ("spent", None))


@pytest.mark.parametrize("code", ["quota_exceeded", "rate_limit_exceeded", "credit", "limit", "requests", "balance"])
def test_other_codes_are_none_of_these(code: str) -> None:
    assert said(http(429, body={"code": code})) == ("rate", None)
    assert said(http(403, body={"code": code})) == ("forbidden", None)


def test_a_401_is_spent_where_its_code_is_a_quota_and_a_403_a_rate_where_it_says_so() -> None:
    assert said(http(401, body={"status": "quota_exceeded"})) == ("spent", None)
    for code in ("rateLimitExceeded", "userRateLimitExceeded"):
        assert said(http(403, {"retry-after": "7"}, body={"reason": code})) == ("rate", 7.0)
        assert said(http(401, body={"reason": code})) == ("forbidden", None)
    for text in ("You have exceeded a secondary rate limit", "API rate limit exceeded for user ID 1"):
        assert said(http(403, body={"message": text})) == ("rate", None)
        assert said(http(401, body={"message": text})) == ("forbidden", None)
    assert said(http(403, body={"message": "Disabled by a rate limit of 0"})) == ("forbidden", None)
    assert said(http(403, body={"message": "Daily rate limit exceeded"})) == ("spent", None)


def test_a_word_for_an_error_is_a_code_and_a_sentence_is_none() -> None:
    assert said(http(429, body={"error": "insufficient_quota"})) == ("spent", None)
    assert said(http(429, body={"error": "insufficient_quota is not meant"})) == ("rate", None)


def test_a_page_says_nothing() -> None:
    page = "<html>You have used all available credits. Try again in 7s.</html>"
    for body in (page, f"  {page}", page.encode()):
        assert said(http(429, body=body)) == ("rate", None)


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
    assert said(http(404, body=body)) == ("permanent", None)


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
        {"message": "Max parallel request limit reached"},
        {
            "message": "Rate limit exceeded for api_key: K. Limit type: max_parallel_requests. Current limit: 1, Remaining: 0."
        },
        {"message": "Your account request reached max organization concurrency: 3"},
        {"message": "Concurrency limit exceeded for user, please retry later"},
        {"message": "Rate limited: Max concurrency limit hit: 4"},
        {"body": {"error": "Too many concurrent requests. Limit: 1 concurrent requests"}},
        {"body": "Too many connections, please wait before trying again."},
        {"body": "Too many simultaneous requests"},
        {"body": "Too many parallel requests"},
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
    assert said(http(429, **attributes)) == ("ramp", None)
    assert said(http(500, **attributes)) == ("transient", None)


@pytest.mark.parametrize(
    ("status", "attributes", "kind", "wait"),
    [
        (429, {}, "permanent", 7.0), (503, {}, "permanent", 7.0), (500, {}, "permanent", 7.0),
        (400, {}, "permanent", None), (401, {}, "forbidden", None), (402, {}, "spent", None),
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
        (429, {}, "rate", 7.0), (503, {}, "overloaded", 7.0), (401, {}, "forbidden", None),
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
        OSError(errno.EHOSTUNREACH, "No route to host"), OSError(errno.ENETUNREACH, "Network is unreachable"),
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), ssl.SSLZeroReturnError(6, "closed"),
        foreign("httpx", "TransportError", "ProtocolError", "LocalProtocolError"),
        foreign("openai", "APIConnectionError", "APITimeoutError"),
        foreign("anthropic._exceptions", "APIConnectionError"), foreign("groq._exceptions", "APIConnectionError"),
        foreign("voyageai.error", "VoyageError", "APIConnectionError"), foreign("voyageai.error", "VoyageError", "Timeout"),
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


@pytest.mark.parametrize("name", ["APIConnectionError", "APITimeoutError"])
def test_a_generated_clients_failed_connection_is_told_by_what_it_was_raised_from(name: str) -> None:
    for cause in (foreign("httpx", "TransportError", "ConnectError"), TimeoutError(), ConnectionResetError()):
        error = foreign("together._exceptions", "APIError", name)
        error.__cause__ = cause
        assert said(error) == ("transient", None)
    for cause in (None, ValueError(), foreign("mine", name)):
        error = foreign("together._exceptions", "APIError", name)
        error.__cause__ = cause
        assert said(error) == ("permanent", None)
    error = foreign("together._exceptions", "APIError", name)
    error.__cause__ = foreign("httpx", "TransportError", "UnsupportedProtocol")
    assert said(error) == ("permanent", None)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("429 rate limit"), KeyError("status_code"), RuntimeError("Event loop is closed"),
        OSError(28, "No space left on device"), FileNotFoundError(), AssertionError(),
        OSError(errno.EMFILE, "Too many open files"), ssl.SSLCertVerificationError(1, "certificate verify failed"),
        urllib.error.URLError("unknown url type: gopher"), ApiError(reason=ConnectionRefusedError()),
        foreign("mine", "APIConnectionError"), foreign("mine", "TransportError"),
        foreign("httpx", "InvalidURL"), foreign("openai", "OpenAIError", "LengthFinishReasonError"),
        foreign("openai", "APIError"),
        foreign("httpx", "TransportError", "UnsupportedProtocol"),
        KeyboardInterrupt(), SystemExit(429), asyncio.CancelledError(), GeneratorExit(),
    ],
    ids=lambda error: f"{type(error).__module__}.{type(error).__name__}",
)  # fmt: skip
def test_what_says_nothing_is_permanent(error: BaseException) -> None:
    assert said(error) == ("permanent", None)


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
    assert said(error) == ("permanent", None)
    litellms = ApiError(status_code=500, response=Response(500))  # it makes a status of it, without headers
    setattr(litellms, link, between)
    assert said(litellms) == ("permanent", None)
    answered = http(500, {"server": "x"})
    setattr(answered, link, between)
    assert said(answered) == ("transient", None)
    refused = ApiError(status_code=429)
    setattr(refused, link, between)
    assert said(refused) == ("rate", None)


def test_an_address_without_a_protocol_is_misuse() -> None:
    error = foreign("openai", "APIConnectionError")
    error.__cause__ = foreign("httpx", "TransportError", "UnsupportedProtocol")
    assert said(error) == ("permanent", None)


def test_a_header_that_http_does_not_allow_is_misuse() -> None:
    below = type(foreign("httpx", "TransportError", "ProtocolError", "LocalProtocolError"))
    error = foreign("openai", "APIConnectionError")
    error.__cause__ = below("Illegal header value b'Bearer key\\n'")  # a key with its line end
    assert said(error) == said(error.__cause__) == ("permanent", None)
    error.__cause__ = below("Max outbound streams is 100, 100 open")
    assert said(error) == said(error.__cause__) == ("transient", None)


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
    assert said(above(closed, 15)) == ("permanent", None)
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
        ({"type": "billing_error"}, "spent"), ({"type": "permission_error"}, "forbidden"),
        ({"code": "502"}, "transient"), ({"body": {"code": 529}}, "overloaded"),
        ({"body": {"status": 529}}, "overloaded"), ({"body": {"code": Busy.BUSY}}, "overloaded"),
        ({"code": "insufficient_quota"}, "spent"), ({"type": "invalid_request_error"}, "permanent"),
        ({"type": "authentication_error"}, "forbidden"), ({"type": "server_overloaded"}, "overloaded"),
        ({"code": "rate_limit_exceeded"}, "transient"), ({"code": "server_error"}, "transient"),
        ({"code": "internal_error"}, "transient"), ({"type": "internal_server_error"}, "transient"),
        ({"type": "timeout_error"}, "transient"), ({"code": "request_timeout"}, "transient"),
        ({"code": "402"}, "spent"), ({"code": "401"}, "forbidden"), ({"code": "403"}, "forbidden"),
        ({"code": "503"}, "overloaded"), ({"code": "408"}, "transient"), ({"code": "409"}, "transient"),
        ({"code": "429"}, "transient"), ({"code": "500"}, "transient"), ({"code": "504"}, "transient"),
        ({"code": "400"}, "permanent"),
    ],
)  # fmt: skip
def test_an_error_inside_a_stream_is_read_by_its_type(attributes: dict[str, Any], kind: str) -> None:
    # Anthropic raises APIStatusError with the stream's status, 200; OpenAI a plain APIError.
    assert said(http(200, {"retry-after": "7", "x-should-retry": "true"}, **attributes)) == (kind, None)
    assert said(http(399, **attributes)) == (kind, None)
    assert said(ApiError(**attributes)) == (kind, None)


def test_a_group_with_one_leaf_is_its_leaf() -> None:
    one = http(429, {"retry-after": "7"})
    assert said(ExceptionGroup("", [ExceptionGroup("", [one])])) == ("rate", 7.0)
    assert said(BaseExceptionGroup("", [KeyboardInterrupt()])) == ("permanent", None)


@pytest.mark.parametrize(
    ("leaves", "kind", "wait"),
    [
        ([(429, "7"), (429, "9")], "permanent", 9.0),
        ([(429, "9"), (503, "7")], "permanent", 9.0),
        ([(503, "7"), (404, "9")], "permanent", 7.0),  # a wait counts where it was a refusal that named it
        ([(500, "9"), (429, None)], "permanent", None),
        ([(503, None), (500, None)], "permanent", None),
        ([(429, "9"), (401, None)], "permanent", 9.0),
        ([(429, "9"), (402, None)], "spent", None),
        ([(402, None), (403, None)], "spent", None),
        ([(401, None), (403, None)], "forbidden", None),
    ],
)  # fmt: skip
def test_of_a_group_the_longest_wait_is_everybodys(
    leaves: list[tuple[int, str | None]], kind: str, wait: float | None
) -> None:
    errors = [http(status, {} if after is None else {"retry-after": after}) for status, after in leaves]
    assert said(ExceptionGroup("", errors)) == (kind, wait)
    assert said(ExceptionGroup("", [ExceptionGroup("", errors[:1]), *errors[1:]])) == (kind, wait)


def test_a_server_that_says_no_within_a_group_still_names_everybodys_wait() -> None:
    never = http(429, {"retry-after": "7", "x-should-retry": "false"})
    assert said(ExceptionGroup("", [never, ValueError()])) == ("permanent", 7.0)
    assert said(BaseExceptionGroup("", [never, asyncio.CancelledError()])) == ("permanent", 7.0)


def test_64_members_of_a_group_are_looked_at() -> None:
    waits = [http(429, {"retry-after": str(seconds)}) for seconds in range(1, 66)]
    assert said(ExceptionGroup("", waits)) == ("permanent", 64.0)
    deep: Exception = waits[6]
    for _ in range(10_000):
        deep = ExceptionGroup("", [deep])
    assert said(deep) == ("rate", 7.0)


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


def test_a_body_that_cannot_be_read_says_nothing() -> None:
    class Failing(dict[str, object]):
        def items(self) -> Any:
            raise RuntimeError("not now")

    for body in (Failing(), Failing(code="insufficient_quota")):
        assert said(http(429, {"retry-after": "7"}, body=body)) == ("rate", 7.0)
        assert said(http(429, body={"error": body})) == ("rate", None)
        assert said(http(404, body=body)) == ("permanent", None)


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
    with pytest.raises(ValueError, match=r"^kind must be one of rate, .*, permanent, got "):
        Verdict(kind)


@pytest.mark.parametrize(("old", "new"), [("refused", "forbidden"), ("steep", "ramp"), ("wrong", "permanent")])
def test_an_old_kind_is_an_error_that_names_the_new_one(old: Any, new: Any) -> None:
    with pytest.raises(ValueError, match=f"^kind must be '{new}', its new name, got '{old}'$"):
        Verdict(old)
    assert Verdict(new).kind == new


@pytest.mark.parametrize("wait", [None, 0.0, 2.0])
@pytest.mark.parametrize("kind", get_args(Kind))
def test_what_the_server_refused_to_start(kind: Kind, wait: float | None) -> None:
    refused = kind in ("rate", "concurrency", "ramp") or (kind == "overloaded" and wait is not None)
    assert Verdict(kind, wait).refused_to_start is refused


def test_a_verdict_is_a_value() -> None:
    assert not hasattr(Verdict("rate"), "__dict__")
    assert Verdict("rate", 1.0) == Verdict("rate", 1.0)
    assert len({Verdict("rate"), Verdict("rate"), Verdict("ramp")}) == 2
    assert repr(Verdict("rate", 1.0)) == "Verdict(kind='rate', wait=1.0)"
