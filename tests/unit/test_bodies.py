"""Every body of the table is read as what it is, in whatever wrapping a client or a gateway hands it on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.bodies import BODIES, Body, table

from fanmap._policy.failures.signals import read_error


class Answer:
    """As of httpx or requests, false when it is an error."""

    def __init__(self, status: int, headers: Any, content: Any = None) -> None:
        self.status_code, self.headers, self._content = status, dict(headers), content

    def __bool__(self) -> bool:
        return self.status_code < 400


def raised(**attributes: Any) -> Exception:
    error = Exception()
    error.__dict__.update(attributes)
    return error


def as_text(body: Body) -> str:
    return body.body if isinstance(body.body, str) else json.dumps(body.body)


def by_openai(body: Body) -> Exception:
    """It takes what is under "error" for the body, and makes a message of all."""
    inner = body.body.get("error", body.body) if isinstance(body.body, dict) else body.body
    return raised(
        status_code=body.status, body=inner, response=Answer(body.status, body.headers), request=None,
        message=f"Error code: {body.status} - {body.body!r}",
    )  # fmt: skip


def by_httpx(body: Body) -> Exception:
    return raised(response=Answer(body.status, body.headers, as_text(body).encode()))


def by_litellm(body: Body) -> Exception:
    message = f"litellm.RateLimitError: SomeException - {as_text(body)}"
    return raised(status_code=body.status, message=message, litellm_response_headers=body.headers, body=None)


def by_a_gateway(body: Body) -> Exception:
    """JSON in a string in JSON."""
    return by_openai(
        Body(body.provider, body.status, {"error": {"message": as_text(body)}}, "", "", None, body.headers)
    )


def by_two_gateways(body: Body) -> Exception:
    inner = json.dumps({"error": {"message": "Provider returned error", "metadata": {"raw": as_text(body)}}})
    return by_httpx(Body(body.provider, body.status, {"detail": inner}, "", "", None, body.headers))


def by_a_gateway_that_escapes(body: Body) -> Exception:
    """JSON in a string, in a string once more."""
    inner = json.dumps(as_text(body))
    return by_openai(
        Body(body.provider, body.status, {"error": {"metadata": {"raw": inner}}}, "", "", None, body.headers)
    )


WRAPPINGS = [by_openai, by_httpx, by_litellm, by_a_gateway, by_two_gateways, by_a_gateway_that_escapes]
NAMES = [f"{number} {body.provider}" for number, body in enumerate(BODIES)]


@pytest.mark.parametrize("body", BODIES, ids=NAMES)
def test_a_body_is_read_as_what_it_is(body: Body) -> None:
    read = {wrapped: read_error(wrapped(body), wall=0.0) for wrapped in WRAPPINGS}
    found = {wrapped.__name__: (verdict.kind, verdict.wait) for wrapped, verdict in read.items()}
    assert found == dict.fromkeys(found, (body.kind, body.wait))


def test_the_table_has_a_source_for_each_and_prints_what_is_read() -> None:
    lines = table().splitlines()
    assert len(lines) == len(BODIES) >= 52
    assert not [line for line in lines if line.startswith("!")]
    assert not [body for body in BODIES if len(body.source) < 12]
    for kind in ("permanent", "rate", "concurrency", "overloaded", "spent", "forbidden"):
        assert any(f" {kind} " in line for line in lines)


@pytest.mark.parametrize("body", [one for one in BODIES if one.kind == "spent" and one.status in (403, 429)])
def test_words_do_not_count_with_a_status_that_is_about_the_call_or_the_server(body: Body) -> None:
    inner = next((body.body[name] for name in ("error", "detail") if isinstance(body.body.get(name), dict)), body.body)
    text = next((inner[name] for name in ("message", "error", "error_msg", "detail") if name in inner), None)
    text = text or inner["errors"][0]["message"]
    errors = {
        status: raised(status_code=status, body={"error": {"message": text}})
        for status in (400, 404, 413, 422, 500, 502)
    }
    kinds = {status: read_error(error, wall=0.0).kind for status, error in errors.items()}
    assert kinds == dict.fromkeys((400, 404, 413, 422), "permanent") | dict.fromkeys((500, 502), "transient")
