"""What a response says it took, in any provider's spelling.

Pure: attributes and items are read, nothing is called. A field that is no count (a bool, a negative, NaN, text, an
int beyond floats) is as if it were absent: garbage in one field changes nothing about the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from fanmap._policy.foreign import as_mapping, safe_getattr
from fanmap._usage import NO_USAGE, Usage

_MOST_TOKENS = 10**15
"""What is more is no count; sums stay exact."""

_HOLDERS = ("usage", "usageMetadata", "amazon-bedrock-invocationMetrics")
"""Where a body or an event keeps its usage: OpenAI, Anthropic, Mistral, Bedrock; Gemini; Bedrock around any model."""

_WRAPPERS = ("response", "message", "x_groq", "delta", "metadata")
"""What an event wraps around that: OpenAI `response.completed`, Anthropic `message_start`, Groq, Cohere, Bedrock."""


class Taken(NamedTuple):
    """What one response took.

    Attributes:
        usage: all of it.
        free: cache reads among it that the provider does not count against its limits.
    """

    usage: Usage
    free: int = 0

    @property
    def counted(self) -> int:
        """Tokens that count against a limit of tokens."""
        return self.usage.total - self.free

    @property
    def counted_input(self) -> int:
        """Tokens that count against a limit of input tokens."""
        return self.usage.input - self.free


NOTHING_TAKEN = Taken(NO_USAGE)


class _Spelling(NamedTuple):
    """Names of one provider's fields; several in a tuple add up.

    Attributes:
        prompt: what went in.
        output: what came out.
        total: both; what it has more than the two is output (a reasoning model's, where it is told nowhere else).
        reads: cache reads that `prompt` does not contain, and that count against no limit.
        writes: cache writes that `prompt` does not contain.
        cached: where else cache reads are told, inside `prompt`; the first path that tells.
        written: where else cache writes are told, inside `prompt`.
    """

    prompt: tuple[str, ...]
    output: tuple[str, ...]
    total: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    cached: tuple[tuple[str, ...], ...] = ()
    written: tuple[tuple[str, ...], ...] = ()


_SPELLINGS = (
    # OpenAI chat and embeddings, Azure, Mistral, Groq, vLLM; DeepSeek's cache; litellm's Anthropic, whose prompt_tokens
    # has the cache's both ways in it: they are left in, since too much is the safe side.
    _Spelling(
        prompt=("prompt_tokens",),
        output=("completion_tokens",),
        total=("total_tokens",),
        cached=(
            ("prompt_tokens_details", "cached_tokens"),
            ("prompt_cache_hit_tokens",),
            ("cache_read_input_tokens",),
        ),
        written=(("prompt_tokens_details", "cache_write_tokens"), ("cache_creation_input_tokens",)),
    ),
    # OpenAI responses; Anthropic, whose input_tokens leave the cache out; LangChain, whose input_tokens do not.
    _Spelling(
        prompt=("input_tokens",),
        output=("output_tokens",),
        total=("total_tokens",),
        reads=("cache_read_input_tokens",),
        writes=("cache_creation_input_tokens",),
        cached=(("input_tokens_details", "cached_tokens"), ("input_token_details", "cache_read")),
        written=(("input_token_details", "cache_creation"),),
    ),
    _Spelling(  # Bedrock's Converse
        prompt=("inputTokens",),
        output=("outputTokens",),
        total=("totalTokens",),
        reads=("cacheReadInputTokens",),
        writes=("cacheWriteInputTokens",),
    ),
    _Spelling(  # Bedrock's InvokeModel
        prompt=("inputTokenCount",),
        output=("outputTokenCount",),
        reads=("cacheReadInputTokenCount",),
        writes=("cacheWriteInputTokenCount",),
    ),
    _Spelling(  # Gemini, as JSON
        prompt=("promptTokenCount", "toolUsePromptTokenCount"),
        output=("candidatesTokenCount", "thoughtsTokenCount"),
        total=("totalTokenCount",),
        cached=(("cachedContentTokenCount",),),
    ),
    _Spelling(  # Gemini, as google-genai's objects
        prompt=("prompt_token_count", "tool_use_prompt_token_count"),
        output=("candidates_token_count", "thoughts_token_count"),
        total=("total_token_count",),
        cached=(("cached_content_token_count",),),
    ),
    # No more than that is said by reranking and by some embeddings.
    _Spelling(prompt=("total_tokens",), output=()),
    _Spelling(prompt=("totalTokenCount",), output=()),
    _Spelling(prompt=("total_token_count",), output=()),
)


def field(source: object, name: str) -> object:
    """An item of a mapping or an attribute of anything else; None where there is none."""
    table = as_mapping(source)
    return safe_getattr(source, name) if table is None else table.get(name)


def count(value: object) -> int:
    """A count of tokens, 0 for what is none: a bool, a negative, NaN, a mock, an int beyond floats."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    try:
        return int(value) if 0 < value <= _MOST_TOKENS else 0
    except (OverflowError, ValueError):
        return 0


def read_taken(usage: object) -> Taken | None:
    """Read a usage object, in the first spelling that it has; None where it tells nothing."""
    table = as_mapping(usage)
    if usage is None or (table is not None and not table):
        return None
    get = partial(safe_getattr, usage) if table is None else table.get
    for spelling in _SPELLINGS:
        taken = _in_spelling(get, spelling)
        if taken is not None:
            return taken
    tokens = as_mapping(get("tokens"))  # Cohere keeps {"tokens": {"input_tokens": …}} in its usage
    return None if tokens is None else _in_spelling(tokens.get, _SPELLINGS[1])


def find_usage(document: object) -> Mapping[object, object] | None:
    """The usage object of a body or of a stream's event; None where it has none."""
    table = as_mapping(document)
    if table is None:
        return None
    found = _held(table)
    for name in _WRAPPERS if found is None else ():
        wrapped = as_mapping(table.get(name))
        if wrapped is not None:
            found = _held(wrapped)
            if found is not None:
                break
    return found


def find_model(document: object) -> str | None:
    """The model that a body or a stream's event names."""
    table = as_mapping(document)
    if table is None:
        return None
    for holder in (table, as_mapping(table.get("response")), as_mapping(table.get("message"))):
        if holder is not None:
            for name in ("model", "modelVersion"):
                model = holder.get(name)
                if isinstance(model, str) and model:
                    return model
    return None


def _held(table: Mapping[object, object]) -> Mapping[object, object] | None:
    for name in _HOLDERS:
        usage = as_mapping(table.get(name))
        if usage:
            return usage
    return None


def _in_spelling(get: Callable[[str], object], spelling: _Spelling) -> Taken | None:
    everything, output = _sum(get, spelling.prompt), _sum(get, spelling.output)
    reads = _sum(get, spelling.reads) if spelling.reads else 0
    writes = _sum(get, spelling.writes) if spelling.writes else 0
    everything += reads + writes
    if not (everything or output):
        return None
    total = _sum(get, spelling.total)
    if total > everything + output:
        output = total - everything
    cached = reads + _first(get, spelling.cached) if spelling.cached else reads
    written = writes + _first(get, spelling.written) if spelling.written else writes
    if cached > everything:
        cached = everything
    return Taken(Usage(everything, cached, output, min(written, everything - cached)), reads)


def _sum(get: Callable[[str], object], names: tuple[str, ...]) -> int:
    total = 0
    for name in names:
        value = get(name)
        if value is not None:
            total += value if type(value) is int and 0 <= value <= _MOST_TOKENS else count(value)
    return total


def _first(get: Callable[[str], object], paths: tuple[tuple[str, ...], ...]) -> int:
    for path in paths:
        value = get(path[0])
        if value is not None:
            found = count(value if len(path) == 1 else field(value, path[1]))
            if found:
                return found
    return 0


def merged(usages: Iterable[Mapping[object, object]]) -> dict[object, object]:
    """The usage of a stream whose events told it piece by piece, or again and again: a later field stands.

    Anthropic tells the input in the first event and the output in the last; others tell sums so far, or all at the end.
    """
    together: dict[object, object] = {}
    for usage in usages:
        together.update((name, value) for name, value in usage.items() if count(value) or as_mapping(value))
    return together
