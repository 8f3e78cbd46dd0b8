"""What a call may take, from its arguments; what it took, from its reply."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from fanmap._policy.tokens.tokens import estimate_tokens, read_usage


def estimate(*args: object, **kwargs: object) -> float:
    return estimate_tokens(args, kwargs)


def test_nothing_is_one_token() -> None:
    assert estimate() == 1.0
    assert estimate("", None, 7, 2.5, True, object()) == 1.0


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("x" * 400, 100.0), ("x" * 5, 1.25), ("漢" * 400, 300.0), ("я" * 400, 200.0), ("\ud800" * 4, 3.0)],
)
def test_text_counts_four_bytes_a_token(text: str, tokens: float) -> None:
    assert estimate(text) == tokens
    assert estimate(prompt=text) == tokens
    assert estimate([text, text], {"a": text}, [[text]]) == 4 * tokens


def test_bytes_count_where_they_are_text() -> None:
    assert estimate(b"x" * 400) == estimate(bytearray(b"x" * 400)) == 100.0
    assert estimate("я".encode() * 2000) == 1000.0  # the 1024th byte need not end a character
    assert estimate(b"x" + "я".encode() * 2000) == 1000.25
    assert estimate(b"\x89PNG\r\n\x1a\n" + b"x" * 400) == 1.0
    assert estimate(b"x" * 400 + b"\0" + b"x" * 400) == 1.0
    assert estimate(b"x" * 1023 + b"\0") == 1.0  # by its first 1024 bytes
    assert estimate(b"x" * 1024 + b"\0") == 256.25


CHAT = [{"role": "user", "content": "x" * 396}]


@dataclass
class Message:
    content: object


@dataclass(slots=True)
class Slotted:
    content: object


@pytest.mark.parametrize(
    "messages",
    [
        [{"content": "x" * 400}],
        [Message("x" * 400)],
        [Slotted("x" * 400)],
        [Message([{"text": "x" * 400}])],
        [SimpleNamespace(parts=[SimpleNamespace(text="x" * 400)])],
        ({"content": [{"content": [{"text": "x" * 400}]}]},),
    ],
)
def test_chat_messages_are_entered(messages: object) -> None:
    assert estimate(messages=messages) == 100.0
    assert estimate(messages) == 100.0


@pytest.mark.parametrize(
    "media",
    [
        "data:image/png;base64," + "A" * 400,
        b"data:image/png;base64," + b"A" * 400,
        {"url": "data:image/png;base64," + "A" * 400},
        {"media_type": "", "data": "A" * 400},
        {"format": "", "data": "A" * 400},
        {"mime_type": "", "data": "A" * 400},
        {"mimeType": "", "data": "A" * 400},
        {"mediaType": "", "data": "A" * 400},
        {"format": "", "bytes": "A" * 400},
        {"format": "", "source": {"bytes": b"\xff" * 400}},
        b"A" * 400 + b"\0",
        b"\xff" * 400,
        "data:" + "x" * 243 + ";base64," + "A" * 400,  # within the first 256 characters
    ],
)
def test_media_are_not_text(media: object) -> None:
    assert estimate([{"content": [media]}]) == 1.0
    assert estimate([{"content": [media, "x" * 400]}]) == 100.0  # nor do they keep what follows from counting


@pytest.mark.parametrize(
    "text",
    [
        "data: " + "x" * 394,
        "x" * 392 + ";base64,",
        ";base64," + "x" * 392,
        "data:" + "x" * 244 + ";base64," + "x" * 143,
    ],
)
def test_text_that_only_resembles_a_data_url_is_text(text: str) -> None:
    assert len(text) == 400
    assert estimate(text) == 100.0


@pytest.mark.parametrize("text", [b"data: " + b"x" * 394, b";base64," + b"x" * 392])
def test_bytes_that_only_resemble_a_data_url_are_text(text: bytes) -> None:
    assert estimate(text) == 100.0


def test_what_stands_beside_the_media_is_text() -> None:
    assert estimate({"media_type": "", "data": "A" * 400, "title": "x" * 400}) == 100.0


def test_documents_of_text_are_text() -> None:
    assert estimate({"media_type": "text/plain", "data": "x" * 390}) == 100.0


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_the_limit_of_the_answer_counts(name: str) -> None:
    assert estimate("x" * 400, **{name: 50}) == 150.0
    assert estimate("x" * 400, **{name: None}) == 100.0


@pytest.mark.parametrize("limit", [True, -1, math.nan, math.inf, 10**400, 1e308, [50]])
def test_a_limit_that_is_none_counts_nothing(limit: object) -> None:
    assert estimate("x" * 400, max_tokens=limit) == 100.0


def test_a_limit_of_more_than_10_to_the_15_is_none() -> None:
    assert estimate(max_tokens=10**15) == 1e15
    assert estimate(max_tokens=10**15 + 1) == 1.0


def test_two_spellings_of_the_limit_count_once() -> None:
    assert estimate("x" * 400, max_tokens=50, max_completion_tokens=60) == 160.0


def test_what_contains_itself_counts_once() -> None:
    loop: list[object] = ["x" * 400]
    loop.append(loop)
    table: dict[str, object] = {"text": "x" * 400, "again": loop}
    table["self"] = table
    assert estimate(loop) == 100.0
    assert estimate(table) == 200.0


def test_the_same_message_twice_counts_twice() -> None:
    message = {"content": "x" * 400}
    assert estimate([message, message]) == 200.0


def nested(levels: int) -> object:
    value: object = "x" * 400
    for _ in range(levels):
        value = [value]
    return value


def test_depth_and_number_of_values_are_bounded() -> None:
    assert estimate(nested(16)) == estimate(more=nested(16)) == 100.0
    assert estimate(nested(17)) == estimate(more=nested(17)) == 1.0
    deep: object = "x" * 400
    for _ in range(100_000):
        deep = [deep]
    assert estimate(deep) == 1.0
    wide: object = ["x"]
    for _ in range(14):
        wide = [wide] * 10  # 10^14 strings to whoever visits them all
    assert estimate(wide) <= 100_000
    while isinstance(deep, list):  # freed link by link
        deep = deep.pop()


def test_100000_values_are_looked_at() -> None:
    """The container is one of them."""
    words = ["word"] * 100_000
    assert estimate(words) == 99_999
    assert estimate(dict(enumerate(words))) == 99_999
    assert estimate(words, more="word") == 99_999
    assert estimate([None] * 50, [7] * 50, words) == 99_999 - 102


def test_a_class_is_no_message() -> None:
    class Documented:
        content = "x" * 400

    assert estimate(Documented) == 1.0


def test_nothing_of_the_users_is_run() -> None:
    def generator() -> Iterator[str]:
        pytest.fail("consumed")
        yield ""

    class Lazy:
        @property
        def content(self) -> str:
            pytest.fail("computed")

        text = content

        def __getattr__(self, name: str) -> object:
            pytest.fail(name)

    class LazySlots:
        __slots__ = ()

        @property
        def content(self) -> str:
            pytest.fail("computed")

    assert estimate(generator(), iter(["x" * 400]), Lazy(), LazySlots(), print) == 1.0


def test_a_mapping_that_fails_does_not_raise() -> None:
    class Failing(Mapping[str, str]):
        def __getitem__(self, key: str) -> str:
            raise RuntimeError(key)

        def __iter__(self) -> Iterator[str]:
            return iter("ab")

        def __len__(self) -> int:
            return 2

    assert estimate(Failing(), "x" * 400) == 100.0
    assert read_usage(Failing()) is None


USAGES: list[tuple[str, dict[str, Any], float | None]] = [
    ("usage", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, 15.0),
    ("usage", {"prompt_tokens": 10, "total_tokens": 10}, 10.0),  # embeddings
    ("usage", {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}, 15.0),
    ("usage", {"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": None}, 15.0),
    (
        "usage",
        {
            "input_tokens": 1,
            "output_tokens": 2,
            "cache_creation_input_tokens": 4,
            "cache_read_input_tokens": 8,
        },
        7.0,
    ),
    # litellm, of Anthropic: what was written to the cache is in prompt_tokens already.
    ("usage", {"prompt_tokens": 9, "completion_tokens": 2, "cache_creation_input_tokens": 4}, 11.0),
    ("usage", {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}, 15.0),
    ("usage", {"inputTokens": 1, "outputTokens": 2, "cacheWriteInputTokens": 4}, 7.0),
    ("usage", {"total_tokens": 15}, 15.0),
    ("usage", {"total_tokens": 1}, 1.0),
    ("usage_metadata", {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}, 15.0),  # LangChain
    (
        "usage_metadata",
        {"prompt_token_count": 10, "candidates_token_count": 5, "total_token_count": 18},
        18.0,
    ),
    (
        "usage_metadata",
        {"prompt_token_count": 10, "candidates_token_count": 5, "thoughts_token_count": 3},
        18.0,
    ),
    ("usage_metadata", {"prompt_token_count": 10, "candidates_token_count": None}, 10.0),
    ("usageMetadata", {"promptTokenCount": 10, "candidatesTokenCount": 5}, 15.0),
    ("usageMetadata", {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 3}, 18.0),
    ("usageMetadata", {"totalTokenCount": 15}, 15.0),
    ("usage", {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
    ("usage", {"prompt_tokens": "10", "completion_tokens": True}, None),
    ("usage", {"prompt_tokens": math.nan, "completion_tokens": -1}, None),
    ("usage", {"prompt_tokens": math.inf, "completion_tokens": 10**400}, None),
    ("usage", {}, None),
]


@pytest.mark.parametrize(("name", "usage", "tokens"), USAGES)
def test_usage_of_objects_and_of_json(name: str, usage: dict[str, Any], tokens: float | None) -> None:
    assert read_usage({name: usage}) == tokens
    assert type(read_usage({name: usage})) is type(tokens)  # a float, whatever number was sent
    assert read_usage(SimpleNamespace(**{name: SimpleNamespace(**usage)})) == tokens
    assert read_usage(SimpleNamespace(**{name: usage})) == tokens


@pytest.mark.parametrize("result", ["text", None, 7, [], {}, object(), {"usage": None}, {"usage": "much"}])
def test_what_does_not_tell_its_usage(result: object) -> None:
    assert read_usage(result) is None


def test_a_usage_that_raises_does_not_tell() -> None:
    class Raising:
        @property
        def usage(self) -> object:
            raise RuntimeError

        usage_metadata = usage

    assert read_usage(Raising()) is None
