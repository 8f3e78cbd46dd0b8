"""Whatever a server sends: reading it never raises, garbage changes nothing about the rest, ends say what the whole does."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from fanmap._policy.limits.quotas import pick, read_cost, read_quotas, read_reset, window
from fanmap._policy.tokens.body import WHOLE, Pieces, Said, read_body, read_document
from fanmap._policy.tokens.usage import read_taken

FIELDS = [
    "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "cache_read_input_tokens",
    "cache_creation_input_tokens", "prompt_tokens_details", "input_tokens_details", "promptTokenCount",
    "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount", "cachedContentTokenCount", "inputTokens",
    "outputTokens", "cacheReadInputTokens", "inputTokenCount", "tokens",
]  # fmt: skip
counts = st.integers(0, 10**6)
garbage = st.one_of(
    st.none(), st.booleans(), st.just(math.nan), st.just(math.inf), st.integers(max_value=-1), st.just(10**400),
    st.text(max_size=5), st.lists(counts, max_size=2), st.floats(max_value=0), st.just({}),
)  # fmt: skip
usages = st.dictionaries(st.sampled_from(FIELDS), st.one_of(counts, garbage), max_size=6)

TEXTS = ['"usage": {"prompt_tokens": 7}', "\\", '\\"', '"', "{", "}]", "usage", "model", ":", "é", "\n"]
texts = st.lists(st.one_of(st.sampled_from(TEXTS), st.text(max_size=8)), max_size=5).map("".join)
KEYS = ["usage", "model", "usageMetadata", "content", "a"]
values = st.recursive(
    st.one_of(texts, counts, st.none(), st.booleans(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.sampled_from(KEYS), texts), inner, max_size=4)
    ),
    max_leaves=12,
)
paddings = st.sampled_from(["x", "\\", '"', '\\"', "{", "é", '"usage":{"prompt_tokens":7}'])


@given(usages, st.sampled_from(FIELDS), garbage)
def test_garbage_in_a_field_is_as_if_it_were_absent(usage: dict[str, Any], field: str, value: object) -> None:
    absent = {name: count for name, count in usage.items() if name != field}
    assert read_taken({**usage, field: value}) == read_taken(absent)


@given(usages)
def test_what_is_read_makes_sense(usage: dict[str, Any]) -> None:
    taken = read_taken(usage)
    if taken is not None:
        read = taken.usage
        assert min(read.input, read.cached, read.output, read.written, taken.free) >= 0
        assert read.cached + read.written <= read.input
        assert 0 < read.total < 10**16 and 0 <= taken.counted_input <= taken.counted <= read.total
        assert all(type(number) is int for number in (read.input, read.cached, read.output, read.written))


@st.composite
def long_answers(draw: st.DrawFn) -> tuple[dict[str, Any], bool]:
    """A body longer than what is read whole, with decoys anywhere inside; and whether its usage is behind the answer."""
    behind = draw(st.booleans())
    told = {"model": "m", "usage": {"prompt_tokens": draw(counts.filter(bool)), "completion_tokens": draw(counts)}}
    answer = {"choices": [draw(values), draw(paddings) * 3 * WHOLE, draw(values)]}
    rest = draw(st.dictionaries(st.sampled_from(["service", "x", "metadata", "créé"]), values, max_size=3))
    document = {"id": draw(texts), **answer, **told, **rest} if behind else {**told, **answer, **rest}
    return document, behind


@given(long_answers(), st.sampled_from([(",", ":"), (", ", ": "), (",\n", " :\r\n")]), st.booleans())
def test_the_ends_of_a_long_body_say_what_all_of_it_says(
    answer: tuple[dict[str, Any], bool], separators: tuple[str, str], plain: bool
) -> None:
    document, _ = answer
    body = json.dumps(document, separators=separators, ensure_ascii=plain).encode()
    assert len(body) > WHOLE
    assert read_body(body) == read_document(document)


@given(st.lists(st.tuples(st.one_of(st.sampled_from(KEYS), texts), values), max_size=6), usages, st.integers(0, 6))
def test_a_short_body_whose_model_nobody_wants_says_what_all_of_it_says(
    members: list[tuple[str, Any]], usage: dict[str, Any], place: int
) -> None:
    document = dict([*members[:place], ("usage", usage), *members[place:]])
    body = json.dumps(document).encode()
    assert read_body(body, model=False).taken == read_document(json.loads(body)).taken


@given(
    st.lists(values, max_size=30),
    st.lists(st.integers(1, 5_000), min_size=1, max_size=5),
    st.integers(0, 4),
    st.sampled_from(["\n", "\r\n"]),
)
def test_a_stream_says_the_same_however_it_is_cut(deltas: list[Any], sizes: list[int], many: int, ending: str) -> None:
    words = [{"model": "m", "delta": delta, "usage": None} for delta in deltas] * (10**many // 10 + 1)
    last = {"model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    stream = "".join(f"data: {json.dumps(event)}{ending}{ending}" for event in [*words[:3_000], last]).encode()
    pieces, start, turn = Pieces(events=True), 0, 0
    while start < len(stream):
        size = sizes[turn % len(sizes)]
        pieces.feed(stream[start : start + size])
        start, turn = start + size, turn + 1
    said = pieces.read()
    assert said.taken == read_taken(last["usage"])


hostile = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda start, fill, end: start + fill * WHOLE * 2 + end, *[st.binary(max_size=40)] * 3),
    st.lists(
        st.sampled_from(
            [b'"usage"', b'"model"', b":", b"{", b"}", b"[", b"]", b'"', b"\\", b"1", b",", b"data:", b"\n"]
        ),
        max_size=60,
    ).map(b"".join),
)


@given(hostile, st.booleans())
@example(b'{"usage":' * 3_000, False)
@example(b'"' + b"\\" * 40_000, False)
@example(b'{"a":"' + b'\\"' * 20_000, False)
@example(b'\\"' * 20_000 + b'"}', False)
@example(b"[" * 40_000 + b"]" * 40_000, False)
def test_no_body_makes_reading_raise(body: bytes, events: bool) -> None:
    assert isinstance(read_body(body), Said)
    pieces = Pieces(events=events)
    for start in range(0, len(body), 7_000):
        pieces.feed(body[start : start + 7_000])
    assert isinstance(pieces.read(), Said)


NAMES = [
    f"x-ratelimit-{what}-{unit}" for what in ("limit", "remaining", "reset") for unit in ("requests", "tokens")
] + [
    f"anthropic-ratelimit-{unit}-{what}"
    for what in ("limit", "remaining", "reset")
    for unit in ("requests", "tokens", "input-tokens", "output-tokens")
]
TELLING = ["500", "0", "-1", "1e400", "nan", "12ms", "2m59.56s", "2023-11-14T22:13:50Z", "0.5", "9" * 30, "1" * 5_000]
header_values = st.one_of(st.sampled_from(TELLING), st.text(max_size=12), st.integers(0, 10**6).map(str))
tables = st.dictionaries(st.sampled_from([*NAMES, "openai-version", "x-litellm-response-cost"]), header_values)


@given(tables, st.floats(0, 4e9))
def test_whatever_headers_say_a_quota_is_finite_and_above_zero(headers: dict[str, str], wall: float) -> None:
    quotas = read_quotas(headers, wall=wall)
    assert len({quota.unit for quota in quotas}) == len(quotas)
    for quota in quotas:
        assert 0 < quota.limit < math.inf and 0 < quota.per < math.inf
        assert quota.remaining is None or 0 <= quota.remaining < math.inf
    cost = read_cost(headers)
    assert cost is None or 0 <= cost < math.inf
    assert pick([*headers.items()]) == headers


@given(st.text(max_size=30), st.floats(0, 4e9))
@example("9" * 400 + "s", 0.0)
@example("0001-01-01T00:00:00+14:00", 0.0)
@example("9999-12-31T23:59:59-14:00", 0.0)
def test_a_reset_is_none_or_seconds_from_now(text: str, wall: float) -> None:
    seconds = read_reset(text, wall=wall)
    assert seconds is None or 0 <= seconds < math.inf


@given(st.integers(1, 10**6), st.sampled_from([1.0, 60.0, 3_600.0, 86_400.0]), st.floats(0.0, 1.0))
def test_the_window_of_a_bucket_that_refills_evenly_is_told_by_its_rounded_numbers(
    limit: int, per: float, left: float
) -> None:
    """Or a usual one that the numbers allow as well, near a full bucket: a shorter limit than it is, never none."""
    held = limit * left
    reset = (limit - held) * per / limit
    found = window(limit, float(int(held)), math.ceil(reset * 1000) / 1000)
    if limit - int(held) >= 50 and reset >= 10:
        assert found == per
    else:
        assert found is None or found > 0
