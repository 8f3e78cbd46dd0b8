"""Repeats below us: how many there were, and what the last of them ended with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import tenacity

from fanmap._policy.failures.hidden import behind, client_retries
from fanmap._policy.failures.signals import read_error


def foreign(package: str, *names: str) -> type[Exception]:
    """A class of a client that is not installed: each a subclass of the one before."""
    cls: type[Exception] = Exception
    for name in names:
        cls = type(name, (cls,), {"__module__": package})
    return cls


def refused(**attributes: Any) -> Exception:
    error = Exception("refused")
    error.__dict__.update({"status_code": 429, "headers": {"retry-after": "7"}} | attributes)
    return error


def said(error: BaseException) -> tuple[str, float | None]:
    verdict = read_error(error, wall=0.0)
    return verdict.kind, verdict.wait


def exhausted(reason: str, *, requests: bool) -> Exception:
    pool = foreign("urllib3.exceptions", "MaxRetryError")(f"Max retries exceeded (Caused by {reason})")
    pool.reason = foreign("urllib3.exceptions", "ResponseError")(reason)  # type: ignore[attr-defined]
    return foreign("requests.exceptions", "RequestException", "RetryError")(pool, None) if requests else pool


@pytest.mark.parametrize("requests", [True, False])
@pytest.mark.parametrize(
    ("reason", "kind", "hidden"),
    [
        ("too many 429 error responses", "rate", 1), ("too many 503 error responses", "overloaded", 1),
        ("too many 500 error responses", "transient", 1), ("too many 403 error responses", "forbidden", 1),
        ("too many error responses", "transient", 0), ("too many redirects", "transient", 0), ("", "transient", 0),
    ],
)  # fmt: skip
def test_urllib3s_own_repeats_end_with_a_status(reason: str, kind: str, hidden: int, requests: bool) -> None:
    error = exhausted(reason, requests=requests)
    assert said(error) == (kind, None)
    assert client_retries(error) == hidden


def test_a_retry_error_without_anything_in_it_is_a_failed_connection() -> None:
    assert said(foreign("requests.exceptions", "RetryError")()) == ("transient", None)
    assert said(foreign("requests.exceptions", "RetryError")("text")) == ("transient", None)


def test_urllib3s_repeats_are_counted_in_the_answers_history() -> None:
    def history(*redirects: str | None) -> Exception:
        tries = tuple(SimpleNamespace(status=429, redirect_location=to) for to in redirects)
        raw = SimpleNamespace(retries=SimpleNamespace(history=tries))
        return refused(response=SimpleNamespace(status_code=429, headers={}, raw=raw))

    assert client_retries(history(None, None)) == 2
    assert client_retries(history(None, "/elsewhere", None)) == 2
    assert client_retries(history()) == 0
    assert client_retries(history(*[None] * 1001)) == 1000
    untouched = history()  # it was not repeated: whatever it came from may say more
    untouched.__cause__ = history(None, None, None)
    assert client_retries(untouched) == 3
    for no_history in ([SimpleNamespace(redirect_location=None)], "text", 7, None):
        error = refused(response=SimpleNamespace(raw=SimpleNamespace(retries=SimpleNamespace(history=no_history))))
        assert client_retries(error) == 0


def google(cause: object) -> Exception:
    error = foreign("google.api_core.exceptions", "GoogleAPIError", "RetryError")("Timeout of 60.0s exceeded")
    error.cause = cause  # type: ignore[attr-defined]
    return error


def test_the_servers_error_behind_googles_retry_error_is_read() -> None:
    assert said(google(refused())) == ("rate", 7.0)
    assert client_retries(google(refused())) == 1
    for nothing in (None, 7, KeyboardInterrupt()):
        assert said(google(nothing)) == ("permanent", None)
        assert client_retries(google(nothing)) == 0


def test_the_servers_error_behind_tenacitys_retry_error_is_read() -> None:
    @tenacity.retry(stop=tenacity.stop_after_attempt(3))
    def ask() -> None:
        raise refused()

    with pytest.raises(tenacity.RetryError) as caught:
        ask()
    assert said(caught.value) == ("rate", 7.0)
    assert client_retries(caught.value) == 2

    @tenacity.retry(stop=tenacity.stop_after_attempt(3), retry=tenacity.retry_if_result(lambda _: True))
    def unwanted() -> None:
        pass

    with pytest.raises(tenacity.RetryError) as caught:
        unwanted()
    assert said(caught.value) == ("permanent", None)


@pytest.mark.parametrize(
    ("attempts", "hidden"), [(3, 2), (2, 1), (1, 0), (0, 0), (-7, 0), (1001, 1000), (1002, 1000), (None, 0), ("3", 0)]
)
def test_tenacitys_attempts_are_one_more_than_its_repeats(attempts: object, hidden: int) -> None:
    error = foreign("tenacity", "RetryError")()
    error.last_attempt = SimpleNamespace(attempt_number=attempts)  # type: ignore[attr-defined]
    assert client_retries(error) == hidden


@pytest.mark.parametrize("kind", [TimeoutError, RuntimeError])
def test_the_servers_error_behind_databricks_sdks_own_is_read(kind: type[Exception]) -> None:
    throttled = foreign("databricks.sdk.errors", "DatabricksError", "TooManyRequests")("wait")
    throttled.retry_after_secs = 3  # type: ignore[attr-defined]
    error = kind("Timed out after 0:05:00")
    error.__cause__ = throttled
    assert said(error) == ("rate", 3.0)
    assert client_retries(error) == 1


def test_the_servers_error_behind_hugging_faces_own_is_read_and_is_no_repeat() -> None:
    error = foreign("huggingface_hub.errors", "TextGenerationError", "OverloadedError")("Model is overloaded")
    assert said(error) == ("permanent", None)
    assert behind(error) is error
    error.__cause__ = refused()
    assert behind(error) is error.__cause__
    assert said(error) == ("rate", 7.0)
    assert client_retries(error) == 0


@pytest.mark.parametrize("error", [TimeoutError("mine"), ValueError("mine"), type("Late", (TimeoutError,), {})()])
def test_any_other_error_that_came_from_a_servers_means_what_it_likes(error: Exception) -> None:
    error.__cause__ = refused()
    assert behind(error) is error
    error.__cause__ = foreign("databricks.sdk.errors", "DatabricksError")()
    assert (behind(error) is error) is (type(error) is not TimeoutError)
    error.__cause__ = None
    assert behind(error) is error
