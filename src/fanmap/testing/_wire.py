"""The wire formats: OpenAI chat completions, responses and embeddings, Anthropic messages, Gemini generateContent.

Pure: what a request asks, and the JSON and headers of answers and errors, a provider a module. Error texts are the
providers' own, since that is what readers of errors must cope with; answers say "simulated".
"""

from __future__ import annotations

from fanmap.testing._anthropic_wire import ANTHROPIC
from fanmap.testing._dialect import Json
from fanmap.testing._gemini_wire import GEMINI
from fanmap.testing._openai_wire import OPENAI

DIALECTS = (*OPENAI, ANTHROPIC, GEMINI)


def models(*, after: str | None) -> Json:
    """A list of models that clients of both providers can read: one model, and none `after` it."""
    model = {
        "id": "simulated",
        "type": "model",
        "object": "model",
        "display_name": "Simulated",
        "owned_by": "fanmap.testing",
        "created": 0,
        "created_at": "1970-01-01T00:00:00Z",
    }
    if after:  # older clients don't look at has_more: they turn pages until one is empty
        return {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    return {
        "object": "list",
        "data": [model],
        "first_id": "simulated",
        "last_id": "simulated",
        "has_more": False,
    }
