"""Whatever an exception carries: reading it never raises, and a wait is None or finite and above 0."""

from __future__ import annotations

import math
from typing import Any, get_args

from hypothesis import example, given
from hypothesis import strategies as st

from fanmap._policy.signals import Kind, client_retries, read_error
from fanmap._policy.tokens import estimate_tokens, read_usage

NAMES = [
    "status_code", "status", "code", "type", "error_code", "rate_limit_type", "message", "body",
    "details", "headers", "response", "raw_response", "request", "litellm_response_headers",
    "_content", "usage", "usage_metadata", "content", "text", "reason",
]  # fmt: skip
KEYS = [
    "error", "Error", "errors", "details", "code", "type", "retryDelay", "retry_after", "violations",
    "quotaId", "message", "seconds", "nanos", "ResponseMetadata", "HTTPStatusCode", "HTTPHeaders",
    "RetryAttempts", "headers", "prompt_tokens", "input_tokens", "total_token_count", "media_type", "data",
]  # fmt: skip
HEADERS = ["Retry-After", "retry-after", "retry-after-ms", "x-should-retry", "x-stainless-retry-count"]
TELLING = [
    "nan", "inf", "-inf", "-1", "0", "1e400", "1e9", "5, 7", "27s", "1.2.3s", "true", "false", "429",
    "insufficient_quota", "rate_limit_error", "Please try again in 8.71s", "try again in 999999999999d",
    "Tue, 14 Nov 2023 22:13:50 GMT", "Tue, 14 Nov 99999 22:13:50 GMT", "14 Nov 2023 22:13:50 +9999",
    '{"error": {"retry_after": NaN, "retryDelay": "1e9s"}}', '{"retry_after": 1e999}', "[" * 5000,
]  # fmt: skip


class Raises:
    """A descriptor that raises."""

    def __get__(self, instance: object, owner: object) -> object:
        raise RuntimeError("not now")


texts = st.one_of(st.sampled_from(TELLING), st.text(max_size=40))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(395, 605), st.just(10**400), st.floats(), texts,
    st.binary(max_size=40), st.sampled_from([text.encode() for text in TELLING]), st.builds(object),
)  # fmt: skip
header_values = st.one_of(texts, st.floats(), st.integers(), st.binary(max_size=10), st.none())
header_names = st.one_of(
    st.sampled_from(HEADERS),
    st.sampled_from(HEADERS).map(str.encode),
    st.sampled_from(HEADERS).map(str.upper),
)
header_soups = st.one_of(
    st.dictionaries(header_names, header_values, max_size=4),
    st.lists(st.tuples(header_names, header_values), max_size=4),
    scalars,
)


def attributed(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(NAMES), st.one_of(values, header_soups, st.just(Raises())), max_size=6)


def instance(attributes: dict[str, Any], base: type = object) -> Any:
    stored = {name: value for name, value in attributes.items() if not isinstance(value, Raises)}
    thing = type("Foreign", (base,), {n: v for n, v in attributes.items() if n not in stored})()
    thing.__dict__.update(stored)
    return thing


bodies = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
        st.lists(inner, max_size=4),
        attributed(inner).map(instance),
    ),
    max_leaves=12,
)
exceptions = st.builds(
    instance,
    attributed(bodies),
    st.sampled_from([Exception, ValueError, TimeoutError, ConnectionError, BaseException]),
)

# Of the above hardly one in a hundred has a status, and none a wait: these have both to be read.
STATUSES = [200, 400, 401, 402, 403, 404, 409, 429, 429, 429, 500, 501, 503, 529]
waits = st.one_of(st.floats(), st.integers(), st.sampled_from(TELLING))
answers = st.builds(
    instance,
    st.tuples(
        attributed(scalars),
        st.fixed_dictionaries(
            {"status_code": st.sampled_from(STATUSES)},
            optional={
                "headers": st.dictionaries(header_names, waits.map(str), min_size=1),
                "body": st.fixed_dictionaries(
                    {"error": st.dictionaries(st.sampled_from(["retry_after", "retryDelay", "code"]), waits)}
                ),
                "message": texts,
            },
        ),
    ).map(lambda pair: pair[0] | pair[1]),
    st.just(Exception),
)
WALLS = st.one_of(st.floats(), st.floats(0, 4e9))


@given(st.one_of(exceptions, answers), WALLS)
def test_reading_an_exception_never_raises_and_never_names_a_bad_wait(error: Any, wall: float) -> None:
    verdict = read_error(error, wall=wall)
    assert verdict.kind in get_args(Kind)
    assert verdict.wait is None or (math.isfinite(verdict.wait) and verdict.wait > 0)
    assert verdict.wait is None or verdict.kind not in ("spent", "refused")
    assert client_retries(error) >= 0


@given(
    st.dictionaries(header_names.filter(lambda name: "should" not in str(name).lower()), header_values),
    st.sampled_from([429, 500, 503, 529]),
    WALLS,
)
@example({"retry-after": "1e400"}, 429, 0.0)
@example({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 429, math.nan)
def test_headers_never_name_a_bad_wait(headers: dict[Any, Any], status: int, wall: float) -> None:
    verdict = read_error(instance({"status": status, "headers": headers}, Exception), wall=wall)
    assert verdict.kind in ("rate", "transient", "overloaded")  # "wrong" is also what a bug would read as
    assert verdict.wait is None or (math.isfinite(verdict.wait) and verdict.wait > 0)


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_a_sound_wait_is_passed_on_as_it_is(wait: float) -> None:
    error = instance({"status": 429, "headers": {"retry-after": repr(wait)}}, Exception)
    assert read_error(error, wall=0.0).wait == wait


@given(st.lists(bodies, max_size=3), st.dictionaries(st.sampled_from(["max_tokens", "prompt"]), bodies))
def test_an_estimate_is_finite_and_at_least_one(args: list[Any], kwargs: dict[str, Any]) -> None:
    tokens = estimate_tokens(tuple(args), kwargs)
    assert math.isfinite(tokens) and tokens >= 1


@given(bodies)
def test_usage_is_none_or_finite_and_above_zero(result: Any) -> None:
    tokens = read_usage(result)
    assert tokens is None or (math.isfinite(tokens) and tokens > 0)
