"""Whatever an exception carries: reading it never raises, and a wait is None or finite and above 0."""

from __future__ import annotations

import contextlib
import math
from typing import Any, get_args

from hypothesis import assume, example, given
from hypothesis import strategies as st

from fanmap._policy.failures.hidden import client_retries
from fanmap._policy.failures.quotations import own_words
from fanmap._policy.failures.signals import read_error
from fanmap._policy.failures.verdict import Kind, Verdict
from fanmap._policy.failures.words import never_fits, says_spent
from fanmap._policy.tokens.tokens import estimate_tokens, read_usage

NAMES = [
    "status_code", "status", "code", "type", "error_code", "rate_limit_type", "message", "body",
    "details", "headers", "response", "raw_response", "request", "litellm_response_headers",
    "_content", "usage", "usage_metadata", "content", "text", "reason", "http_status", "http_body", "json_body",
    "error", "retry_after_secs", "grpc_status_code", "cause", "fp", "raw", "DESCRIPTOR",
]  # fmt: skip
KEYS = [
    "error", "Error", "errors", "details", "code", "type", "retryDelay", "retry_after", "violations",
    "quotaId", "message", "seconds", "nanos", "ResponseMetadata", "HTTPStatusCode", "HTTPHeaders",
    "RetryAttempts", "metadata", "raw", "detail", "quota_limit", "estimated_time", "retry_after_ms", "reason",
    "quotaMetric", "limit_source", "msg", "headers", "prompt_tokens", "input_tokens", "total_token_count", "media_type", "data",
]  # fmt: skip
HEADERS = ["Retry-After", "retry-after", "retry-after-ms", "x-should-retry", "x-stainless-retry-count"]
TELLING = [
    "nan", "inf", "-inf", "-1", "0", "1e400", "1e9", "5, 7", "27s", "1.2.3s", "true", "false", "429",
    "insufficient_quota", "rate_limit_error", "Please try again in 8.71s", "try again in 999999999999d",
    "Tue, 14 Nov 2023 22:13:50 GMT", "Tue, 14 Nov 99999 22:13:50 GMT", "14 Nov 2023 22:13:50 +9999",
    "Limit 10, Requested 11", "used all available credits", "too many tokens per day", "Model m is currently loading",
    "{'message': 'per day', 'retry_after': 5", "b'{\\n \"code\": 429}'", '"quoted"', "prompt: 'x", "Retry in 5\u00b5s",
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
    assert verdict.wait is None or (math.isfinite(verdict.wait) and verdict.wait >= 0)
    assert verdict.wait != 0 or verdict.kind == "overloaded"
    assert verdict.wait is None or verdict.kind not in ("spent", "forbidden")
    assert client_retries(error) >= 0


# What says nothing: no letter of a word that is known, no number that could be a wait, whatever its shape.
symbols = st.text(alphabet="xqzj{}[]\"'`:;,.\\ \n\t\0_-<>\u201c\u00b5\u4e2d\U0001f600", max_size=60)
numbers = st.one_of(
    st.just(0), st.integers(max_value=0), st.floats(max_value=0), st.just(math.nan), st.just(math.inf), st.just(10**400)
)
nothings = st.recursive(
    st.one_of(symbols, symbols.map(str.encode), numbers, st.none(), st.booleans(), st.builds(object)),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=4), st.lists(inner, max_size=3), inner.map(repr)
    ),
    max_leaves=8,
)
FIELDS = [
    "body", "details", "json_body", "http_body", "message", "error", "code", "type", "error_code", "rate_limit_type",
    "headers", "litellm_response_headers", "response", "raw_response", "request", "cause", "fp", "retry_after_secs",
    "grpc_status_code", "reason", "args",
]  # fmt: skip
BARE = {400: "permanent", 401: "forbidden", 402: "spent", 403: "forbidden", 404: "permanent", 412: "permanent",
        413: "permanent", 429: "rate", 498: "overloaded", 500: "transient", 503: "overloaded", 529: "overloaded"}  # fmt: skip


@given(st.sampled_from(sorted(BARE)), st.dictionaries(st.sampled_from(FIELDS), nothings, max_size=6), WALLS)
def test_garbage_in_any_field_changes_nothing(status: int, fields: dict[str, Any], wall: float) -> None:
    error = Exception()
    for name, value in fields.items():
        with contextlib.suppress(TypeError, ValueError):  # args take a sequence only
            setattr(error, name, value)
    error.status_code = status  # type: ignore[attr-defined]
    assert read_error(error, wall=wall) == Verdict(BARE[status])  # type: ignore[arg-type]


@given(
    st.sampled_from(sorted(BARE)),
    st.dictionaries(st.sampled_from(FIELDS), nothings, max_size=4),
    st.sampled_from(["retry-after", "retry-after-ms", "x-should-retry", "grpc-retry-pushback-ms"]),
    nothings,
)
def test_garbage_beside_a_wait_that_is_named_takes_nothing_from_it(
    status: int, fields: dict[str, Any], name: str, value: Any
) -> None:
    assume(str(value).strip().lower() not in ("true", "false"))  # these are words: x-should-retry
    error = Exception()
    for field in fields.keys() - {"response", "args"}:
        setattr(error, field, fields[field])
    headers = {name: value, "retry-after": "7"} if name != "retry-after" else {"retry-after": "7"}
    error.status_code, error.headers = status, headers  # type: ignore[attr-defined]
    verdict = read_error(error, wall=0.0)
    repeated = BARE[status] in ("rate", "overloaded", "transient")
    assert verdict == Verdict(BARE[status], 7.0 if repeated else None)  # type: ignore[arg-type]


Rpc = type("RpcError", (Exception,), {"__module__": "grpc"})
CODES = {"RESOURCE_EXHAUSTED": "rate", "UNAVAILABLE": "overloaded", "INTERNAL": "transient", "NOT_FOUND": "permanent",
         "UNAUTHENTICATED": "forbidden", "ABORTED": "transient"}  # fmt: skip
pairs = st.one_of(
    nothings,
    st.lists(st.tuples(st.sampled_from(["grpc-status-details-bin", "retry-after", "x"]), nothings), max_size=4),
)


@given(st.sampled_from(sorted(CODES)), pairs, pairs, nothings, st.binary(max_size=80))
def test_garbage_in_the_metadata_of_grpc_changes_nothing(
    code: str, initial: Any, trailing: Any, details: Any, packed: bytes
) -> None:
    error = Rpc()
    said = {"code": type("Code", (), {"name": code})(), "details": details, "initial_metadata": initial}
    for name, value in said.items():
        setattr(error, name, lambda value=value: value)
    error.trailing_metadata = lambda: trailing  # type: ignore[attr-defined]
    assert read_error(error, wall=0.0) == Verdict(CODES[code])  # type: ignore[arg-type]
    error.trailing_metadata = lambda: [("grpc-status-details-bin", packed)]  # type: ignore[attr-defined]
    verdict = read_error(error, wall=0.0)
    assert verdict.wait is None or (math.isfinite(verdict.wait) and verdict.wait > 0)


@given(st.lists(st.one_of(exceptions, answers), min_size=2, max_size=4), WALLS)
def test_a_group_of_anything_never_raises_and_never_names_a_bad_wait(errors: list[Any], wall: float) -> None:
    errors = [error for error in errors if isinstance(error, Exception)]
    if errors:
        verdict = read_error(ExceptionGroup("", errors), wall=wall)
        assert verdict.wait is None or (math.isfinite(verdict.wait) and verdict.wait >= 0)
        assert len(errors) == 1 or verdict.kind in ("permanent", "spent", "forbidden")


@given(
    st.text(max_size=200), st.sampled_from(["{}", '"{}"', "prompt: {}", "`{}`", "{} per day", "Limit 1, Requested {}"])
)
def test_words_of_any_text_are_read_without_an_error(text: str, frame: str) -> None:
    spoken = own_words(frame.replace("{}", text))
    assert says_spent(spoken, refused=True) >= says_spent(spoken, refused=False)
    assert isinstance(never_fits(spoken), bool)


@given(
    st.dictionaries(header_names.filter(lambda name: "should" not in str(name).lower()), header_values),
    st.sampled_from([429, 500, 503, 529]),
    WALLS,
)
@example({"retry-after": "1e400"}, 429, 0.0)
@example({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 429, math.nan)
def test_headers_never_name_a_bad_wait(headers: dict[Any, Any], status: int, wall: float) -> None:
    verdict = read_error(instance({"status": status, "headers": headers}, Exception), wall=wall)
    assert verdict.kind in ("rate", "transient", "overloaded")  # "permanent" is also what a bug would read as
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
