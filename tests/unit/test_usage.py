"""What responses say they took: every provider's spelling, whole bodies, long ones from their ends, streams."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from fanmap._policy.tokens import ends
from fanmap._policy.tokens.body import WHOLE, Documents, Pieces, Said, read_body, read_document
from fanmap._policy.tokens.usage import Taken, read_taken
from fanmap._usage import Usage

# (usage object, input, cached, output, written, tokens that count against a limit)
SPELLINGS: dict[str, tuple[dict[str, Any], int, int, int, int, int]] = {
    "OpenAI chat": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 990,
            "total_tokens": 1000,
            "prompt_tokens_details": {"cached_tokens": 6, "audio_tokens": 0},
        },
        10, 6, 990, 0, 1000,
    ),
    "OpenAI embeddings": ({"prompt_tokens": 8, "total_tokens": 8}, 8, 0, 0, 0, 8),
    "OpenAI responses": (
        {
            "input_tokens": 11,
            "input_tokens_details": {"cached_tokens": 6},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 1},
            "total_tokens": 13,
        },
        11, 6, 2, 0, 13,
    ),
    "Anthropic": (
        {
            "input_tokens": 5,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 100,
            "output_tokens": 7,
            "service_tier": "standard",
        },
        108, 100, 7, 3, 15,
    ),
    "Anthropic without a cache": (
        {"input_tokens": 5, "cache_creation_input_tokens": None, "output_tokens": 7}, 5, 0, 7, 0, 12,
    ),
    "Gemini": (
        {
            "promptTokenCount": 10,
            "cachedContentTokenCount": 4,
            "toolUsePromptTokenCount": 2,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 3,
            "totalTokenCount": 20,
        },
        12, 4, 8, 0, 20,
    ),
    "Gemini, thoughts in the total alone": (
        {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 18}, 10, 0, 8, 0, 18,
    ),
    "Mistral": ({"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9}, 4, 0, 5, 0, 9),
    "DeepSeek": (
        {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 1},
        9, 8, 1, 0, 10,
    ),
    "Bedrock Converse": (
        {
            "inputTokens": 1,
            "outputTokens": 2,
            "totalTokens": 15,
            "cacheReadInputTokens": 8,
            "cacheWriteInputTokens": 4,
        },
        13, 8, 2, 4, 7,
    ),
    "Bedrock around any model": ({"inputTokenCount": 21, "outputTokenCount": 4}, 21, 0, 4, 0, 25),
    "Cohere": (
        {"billed_units": {"input_tokens": 5}, "tokens": {"input_tokens": 71, "output_tokens": 9}}, 71, 0, 9, 0, 80,
    ),
    "reranking": ({"total_tokens": 15}, 15, 0, 0, 0, 15),
    "litellm's Anthropic": (
        {"prompt_tokens": 9, "completion_tokens": 2, "cache_creation_input_tokens": 4, "cache_read_input_tokens": 3},
        9, 3, 2, 4, 11,
    ),
    "LangChain": (
        {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11, "input_token_details": {"cache_read": 4}},
        9, 4, 2, 0, 11,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling(name: str) -> None:
    usage, *expected, counted = SPELLINGS[name]
    taken = read_taken(usage)
    assert taken is not None
    assert taken.usage == Usage(*expected)
    assert taken.counted == counted
    assert taken.usage.total == taken.usage.input + taken.usage.output


def test_cache_reads_that_are_told_apart_count_against_no_limit() -> None:
    taken = read_taken({"input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 7})
    assert taken == Taken(Usage(105, 100, 7, 0), free=100)
    assert (taken.counted, taken.counted_input) == (12, 5)


def test_no_more_is_cached_or_written_than_went_in() -> None:
    taken = read_taken({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9, "cache_write_tokens": 9}})
    assert taken == Taken(Usage(5, 5, 0, 0))


@pytest.mark.parametrize(
    "usage", [{}, {"prompt_tokens": 0}, {"prompt_tokens": "10"}, {"prompt_tokens": True}, {"x": 1}, None, "text", 7]
)
def test_what_tells_nothing(usage: object) -> None:
    assert read_taken(usage) is None


def test_usages_add_up() -> None:
    assert Usage(1, 2, 3, 4) + Usage(10, 20, 30, 40) == Usage(11, 22, 33, 44)
    assert Usage(1, 0, 3).total == 4


CHAT: dict[str, Any] = {
    "id": "c",
    "model": "small-1",
    "choices": [{"message": {"role": "assistant", "content": "hello"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 990, "total_tokens": 1000},
}
TAKEN = Taken(Usage(10, 0, 990))
SAID = Said(TAKEN, "small-1")
DECOY = 'She said "usage": {"prompt_tokens": 5} and \\"usage\\": {"prompt_tokens": 6} \\'


def dumped(document: object) -> bytes:
    return json.dumps(document).encode()


def test_a_whole_body() -> None:
    assert read_body(dumped(CHAT)) == SAID
    assert read_body(b"\xef\xbb\xbf" + dumped(CHAT)) == SAID  # a byte order mark


def test_an_array_of_the_chunks_of_one_answer() -> None:
    chunks = [
        {"modelVersion": "g", "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": n}} for n in (1, 2, 3)
    ]
    assert read_document(chunks) == Said(Taken(Usage(4, 0, 3)), "g")
    long: list[Any] = [*chunks[:1], {"text": DECOY * 1000}, *chunks[1:]]
    assert len(dumped(long)) > 2 * WHOLE
    assert read_body(dumped(long)) == Said(Taken(Usage(4, 0, 3)), "g")


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n", " :\t")])
@pytest.mark.parametrize("order", ["last", "first"])
def test_a_long_body_is_read_from_its_ends(separators: tuple[str, str], order: str) -> None:
    answer = {"choices": [{"message": {"content": DECOY * 1000, "arguments": {"usage": {"prompt_tokens": 7}}}}]}
    document = {**CHAT, **answer} if order == "last" else {"usage": CHAT["usage"], "model": "small-1", **answer}
    if order == "last":
        document["usage"] = document.pop("usage")
    document["system_fingerprint"] = 'fp "usage"'
    document["service"] = {"usage": {"prompt_tokens": 8}}
    body = json.dumps(document, separators=separators).encode()
    assert len(body) > 2 * WHOLE
    assert read_body(body) == SAID


def test_the_length_at_which_a_body_is_read_from_its_ends() -> None:
    """In the middle of a longer one nobody looks."""
    beginning = {"a": "x" * (WHOLE // 2), "usage": CHAT["usage"], "z": ""}
    body = dumped({**beginning, "z": "x" * (WHOLE - len(dumped(beginning)))})
    assert len(body) == WHOLE
    assert read_body(body).taken == TAKEN
    assert read_body(body.replace(b'"a": "', b'"a": "' + b"x" * 2 * WHOLE)).taken == TAKEN  # near the end
    assert read_body(body.replace(b'"z": "', b'"z": "' + b"x" * WHOLE)).taken is None


def test_a_model_named_behind_the_answer() -> None:
    assert read_body(dumped({"choices": ["x" * 40_000], "model": "late", "usage": CHAT["usage"]})) == Said(
        TAKEN, "late"
    )


def answered(instructions: int, text: int, usage: dict[str, Any] | None) -> dict[str, Any]:
    """A response of OpenAI's, which names its model behind the instructions that it repeats."""
    output = [{"type": "message", "content": [{"type": "output_text", "text": "x" * text}]}]
    said = {"instructions": '"model": "none" ' * (instructions // 16), "model": "late", "output": output}
    return {"id": "resp_1", "object": "response", **said, "tools": [], "usage": usage, "user": None, "metadata": {}}


@pytest.mark.parametrize("text", [10, 40_000])
@pytest.mark.parametrize("instructions", [10, 5_000, 50_000])
def test_a_model_named_behind_long_instructions(instructions: int, text: int) -> None:
    usage = SPELLINGS["OpenAI responses"][0]
    whole = answered(instructions, text, usage)
    assert read_body(dumped(whole)) == Said(read_taken(usage), "late")
    assert read_body(dumped(whole), model=False).taken == read_taken(usage)
    created, completed = ({"type": "x", "response": one} for one in (answered(instructions, 0, None), whole))
    for size in (100, 10**9):
        assert passed(events(created, WORD, completed), size) == Said(read_taken(usage), "late")


def test_a_long_body_without_a_model_is_not_looked_at_token_by_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second for each megabyte, in the loop or thread that has just fetched it."""
    looks = list[int]()
    monkeypatch.setattr(ends, "_TOKENS", Looking(ends._TOKENS, looks))
    rows = dumped([{"row": number} for number in range(200_000)])
    pieces = Pieces(events=False)
    pieces.feed(rows)
    assert read_body(rows) == pieces.read() == Said()
    named = dumped({"model": "m", "rows": ["x" * 100_000, {"model": "n"}] * 20})  # not its usage, so not its price
    assert read_body(named) == Said(None, "m")
    assert sum(looks) < 100_000


class Looking:
    """A pattern that says how much it was given to look through."""

    def __init__(self, pattern: Any, looks: list[int]) -> None:
        self.pattern, self.looks = pattern, looks

    def finditer(self, text: bytes, *args: int) -> Any:
        self.looks.append(len(text))
        return self.pattern.finditer(text, *args)


def test_bytes_that_pass_for_another_encoding_are_read_once() -> None:
    body = '{"a":1}'.encode("utf-16-le") + b"x"
    assert read_body(body) == read_body(body, model=False) == Said()
    usage = b'{"usage": {"prompt_tokens": 3, "completion_tokens": 4}, "text": "\xff"}'
    assert read_body(b"\xef\xbb\xbf" + usage) == read_body(usage)
    assert read_body(usage).taken is not None


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b'"usage"', b"\xff\xfe", b"[" * 100_000, b'{"usage": 7}'])
def test_what_is_no_answer_says_nothing(body: bytes) -> None:
    assert read_body(body) == Said()


def events(*documents: object, ending: str = "\n") -> bytes:
    text = "".join(f"event: e{ending}data: {json.dumps(one)}{ending}{ending}" for one in documents)
    return text.encode()


def passed(stream: bytes, size: int) -> Said:
    pieces = Pieces(events=True)
    for start in range(0, len(stream), size):
        pieces.feed(stream[start : start + size])
    return pieces.read()


WORD = {"model": "small-1", "choices": [{"delta": {"content": DECOY}}], "usage": None}
LAST = {"model": "small-1", "choices": [], "usage": CHAT["usage"]}
STARTED = {
    "type": "message_start",
    "message": {"model": "claude", "usage": {"input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 1}},
}
ENDED = [{"type": "message_delta", "usage": {"output_tokens": 7}}, {"type": "message_stop"}]
CREATED = {"type": "response.created", "response": {"model": "gpt", "usage": None}}
USED = {"input_tokens": 11, "output_tokens": 2}
STREAMS: dict[str, tuple[bytes, Said]] = {
    "OpenAI chat": (events(WORD, WORD, LAST) + b"data: [DONE]\n\n", SAID),
    "OpenAI chat, long": (events(*[WORD] * 900, LAST) + b"data: [DONE]\n\n", SAID),
    "lines that end as on Windows": (events(*[WORD] * 900, LAST, ending="\r\n"), SAID),
    "Anthropic": (events(STARTED, WORD, *ENDED), Said(Taken(Usage(105, 100, 7), free=100), "claude")),
    "Anthropic, long": (events(STARTED, *[WORD] * 900, *ENDED), Said(Taken(Usage(105, 100, 7), free=100), "claude")),
    "OpenAI responses": (
        events(CREATED, {"type": "response.completed", "response": {"model": "gpt", "usage": USED}}),
        Said(Taken(Usage(11, 0, 2)), "gpt"),
    ),
    "OpenAI responses, the last event longer than what is kept": (
        events(
            CREATED,
            *[{"delta": DECOY}] * 300,
            {"type": "response.completed", "response": {"output": [DECOY * 900], "usage": USED, "metadata": {}}},
        ),
        Said(Taken(Usage(11, 0, 2)), "gpt"),
    ),
    "Gemini: sums so far": (
        events(*[{"modelVersion": "g", "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4 + n}} for n in range(900)]),
        Said(Taken(Usage(4, 0, 899)), "g"),
    ),
    "Groq": (events({"model": "l", "x_groq": {"usage": CHAT["usage"]}}), Said(TAKEN, "l")),
    "no usage": (events(WORD, WORD), Said(None, "small-1")),
    "nothing": (b"", Said()),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 1000, 10**9])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_as_it_passes(name: str, size: int) -> None:
    stream, said = STREAMS[name]
    assert passed(stream, size) == said


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("words", [3, 3_000])
def test_events_whose_data_is_of_several_lines(words: int, end: bytes) -> None:
    def laid_out(document: dict[str, Any]) -> bytes:
        lines = json.dumps(document, indent=2).encode().splitlines()
        return b"".join(b"data: " + line + end for line in lines) + end

    chunk = {"model": CHAT["model"], "choices": [{"delta": {"content": "word"}}], "usage": None}
    last = {**chunk, "choices": [], "usage": CHAT["usage"]}
    stream = laid_out(chunk) * words + laid_out(last) + b"data: [DONE]" + end + end
    assert passed(stream, 1000) == SAID


def test_events_that_no_empty_line_parts() -> None:
    chunk = {"model": CHAT["model"], "choices": [], "usage": None}
    lines = [chunk, {**chunk, "usage": CHAT["usage"]}, chunk]
    assert passed(b"".join(b"data: " + dumped(one) + b"\n" for one in lines), 1000) == SAID


@pytest.mark.parametrize("length", [1, 40_000])
def test_bytes_that_are_no_text_hide_nothing(length: int) -> None:
    body = dumped({**CHAT, "choices": ["here"]}).replace(b"here", b"\xff\xfe" * length)
    assert read_body(body) == SAID
    assert read_body(body, model=False).taken == TAKEN


def test_a_stream_that_its_reader_has_left() -> None:
    stream = events(STARTED, WORD, *ENDED)
    assert passed(stream[: stream.index(b"message_delta")], 50).taken == Taken(Usage(105, 100, 1), free=100)


@pytest.mark.parametrize("size", [1, 999, WHOLE, 5 * WHOLE])
@pytest.mark.parametrize(("beginning", "kept"), [(b'{"model": "m", "text": "', 4_096), (b"", 65_536)])
def test_what_is_kept_of_a_stream_is_its_two_ends(beginning: bytes, kept: int, size: int) -> None:
    stream = beginning + b"".join(b"%d " % number for number in range(30_000))
    pieces = Pieces(events=False)
    for start in range(0, len(stream), size):
        pieces.feed(stream[start : start + size])
    head, tail = pieces._head, bytes(pieces._tail)
    assert stream.startswith(head) and len(head) == kept
    assert stream.endswith(tail) and WHOLE <= len(tail) <= 2 * WHOLE


def test_a_body_that_passes_is_read_as_one_that_is_there() -> None:
    for document in (CHAT, {**CHAT, "choices": [DECOY * 1000], "usage": CHAT["usage"]}):
        pieces = Pieces(events=False)
        body = dumped(document)
        for start in range(0, len(body), 999):
            pieces.feed(body[start : start + 999])
        assert pieces.read() == SAID


def test_events_that_the_client_has_parsed() -> None:
    documents = Documents()
    for event in ({"messageStart": {}}, {"metadata": {"usage": {"inputTokens": 8, "outputTokens": 9}}}):
        documents.note(event)
    assert documents.read() == Said(Taken(Usage(8, 0, 9)))
    raw = Documents()
    for document in (STARTED, *ENDED, {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1}}):
        raw.note({"chunk": {"bytes": dumped(document)}})
    assert raw.read().taken == Taken(Usage(105, 100, 7), free=100)
    assert Documents().read() == Said()


@pytest.mark.parametrize("count", [math.nan, math.inf, -1, 10**400, "12", True, None, [], {}])
def test_garbage_in_one_field_is_as_if_it_were_absent(count: object) -> None:
    assert read_taken({"prompt_tokens": 10, "completion_tokens": count, "total_tokens": count}) == Taken(Usage(10))
