"""OpenAI's embeddings: what a request asks, and simulated vectors for it.

Pure. A text's vector depends on the text alone, so that equal texts have equal vectors; it has unit length, as the
provider's have, and says nothing about the text's meaning.
"""

from __future__ import annotations

import base64
import math
import struct
from hashlib import blake2b
from typing import Any, cast

from fanmap.testing._text import count_tokens

_DIMENSIONS = 8
_MOST_DIMENSIONS = 4096


def read_inputs(body: dict[str, Any]) -> list[str]:
    """The texts to embed: a string, a list of them, or tokens, which stand for the text of their numbers."""
    asked: object = body["input"]
    if isinstance(asked, str):
        return [asked]
    inputs = cast("list[object]", asked)
    if all(isinstance(one, int) for one in inputs):
        return [" ".join(map(str, inputs))]
    return [one if isinstance(one, str) else " ".join(map(str, cast("list[int]", one))) for one in inputs]


def count_input_tokens(inputs: list[str]) -> int:
    """Tokens of all of them; each is at least one."""
    return sum(max(1, count_tokens(text)) for text in inputs)


def embeddings(body: dict[str, Any], model: str) -> dict[str, Any]:
    """The body of the answer, with vectors as floats or in base64, as asked."""
    inputs = read_inputs(body)
    dimensions = max(1, min(_MOST_DIMENSIONS, int(body.get("dimensions") or _DIMENSIONS)))
    data: list[dict[str, Any]] = []
    for index, text in enumerate(inputs):
        vector: object = _vector(text, dimensions)
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{dimensions}f", *_vector(text, dimensions))).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    tokens = count_input_tokens(inputs)
    return {
        "object": "list",
        "data": data,
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _vector(text: str, dimensions: int) -> list[float]:
    numbers: list[float] = []
    for block in range(-(-dimensions // 16)):
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=64, salt=struct.pack("<Q", block)).digest()
        numbers += [number / 2**31 - 1 for number in struct.unpack("<16I", digest)]
    numbers = numbers[:dimensions]
    length = math.sqrt(math.fsum(number * number for number in numbers)) or 1.0
    return [number / length for number in numbers]
